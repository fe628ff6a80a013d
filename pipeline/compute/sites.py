"""Compute of the sites of a table: from power to H100 equivalents and training FLOP.

In: table `sites` with the evidence columns. Out: table `sites`, complete. The law is in `training_compute`. A site has
100 kB of draws, so sites are computed in blocks: each has its own random stream, so blocks change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import geopandas as gpd
import pandas as pd

from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.compute.site_type import Hint
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.record import Shown, records

BLOCK = 2000
"""Sites whose draws are in memory at once, 300 MB at the peak; own choice."""


def estimate_compute(
    sites: gpd.GeoDataFrame,
    *,
    gsd_m: float,
    year: int,
    seed: int = 0,
    days: int = 90,
    site_type: str = "unknown",
    country: str | None = None,
    shown: Shown | None = None,
) -> gpd.GeoDataFrame:
    """Return table `sites` with `h100e_*` and `flop_90d_*` (and power, seed and assumptions) filled.

    The draws of power are made again from the same evidence and seed: the table holds their quantiles, and compute
    needs them whole. FLOP of another length of run is scaled to 90 days.

    Args:
        sites: as `cluster_sites` or `estimate_power` gives it.
        gsd_m: ground sampling distance at which the equipment was outlined, m.
        year: of the halls' power density and of the mix of chips.
        seed: of the draws.
        days: length of a training run.
        site_type: 'unknown' mixes over all kinds; see `training_compute.SITE_TYPES`.
        country: ISO 3166 alpha-2 code; sets the mix of chips where the tables have one for it.
        shown: share of the equipment that the detector shows, as for `estimate_power`.

    Raises:
        ConfigError: a site's evidence, the year, the days or the site type cannot be used.
    """
    evidence = records(sites, gsd_m=gsd_m, shown=shown)
    return estimate_from(sites, evidence, year=year, seed=seed, days=days, site_type=site_type, country=country)


def estimate_from(
    sites: gpd.GeoDataFrame,
    evidence: Sequence[SiteEvidence],
    *,
    year: int,
    seed: int = 0,
    days: int = 90,
    site_type: str = "unknown",
    country: str | None = None,
    hints: Mapping[int, Hint] = MappingProxyType({}),
) -> gpd.GeoDataFrame:
    """Return the same from evidence that is known already.

    Args:
        sites: the other columns of table `sites`.
        evidence: of each row.
        year: as of `estimate_compute`, like the next four.
        seed: of the draws.
        days: length of a training run.
        site_type: kind of all sites.
        country: of all sites that do not state one.
        hints: row -> matched declaration, which sharpens facility power and compute and leaves IT power as it is.

    Raises:
        ConfigError: as of `estimate_compute`.
    """
    blocks = []
    for start in range(0, max(len(sites), 1), BLOCK):
        part, known = sites.iloc[start : start + BLOCK], evidence[start : start + BLOCK]
        mine = {row - start: hint for row, hint in hints.items() if start <= row < start + len(part)}
        # no kind of cooling: declarations rarely state it
        operators = {row: (hint.operator, None, hint.weight) for row, hint in mine.items() if hint.operator}
        power = posterior.sharpen(posterior.estimate(known, year=year, seed=seed), operators)
        compute = training_compute.estimate(
            power, year=year, days=days, site_type=site_type, country=country, evidence=known, hints=mine
        )
        blocks.append(training_compute.attach(part, power, compute))
    return blocks[0] if len(blocks) == 1 else gpd.GeoDataFrame(pd.concat(blocks, ignore_index=True))
