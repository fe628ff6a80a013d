"""Compute of the sites of a table: from power to H100 equivalents and training FLOP.

In: table `sites` with the evidence columns. Out: table `sites`, complete. The law is in `training_compute`.
"""

from __future__ import annotations

import geopandas as gpd

from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.record import Shown, records


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
    power = posterior.estimate(evidence, year=year, seed=seed)
    compute = training_compute.estimate(
        power, year=year, days=days, site_type=site_type, country=country, evidence=evidence
    )
    return training_compute.attach(sites, power, compute)
