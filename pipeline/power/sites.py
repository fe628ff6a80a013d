"""Power of the sites of a table: evidence from its columns, then draws and quantiles.

In: table `sites` from `overwatt.pipeline.sites.clustering`, with further evidence in columns named as the fields of
`SiteEvidence`. Out: evidence, draws, or the table with `it_mw_*` and `facility_mw_*`. The estimate itself is in
`posterior`.
"""

from __future__ import annotations

import geopandas as gpd
import pandas as pd

from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.quantiles import quantile_columns

COLUMNS = (
    "chillers", "cooling_tower_cells", "dry_coolers", "chiller_fans", "chiller_area_m2", "tower_fan_diameter_m",
    "tower_cell_area_m2", "tower_height_m", "generators", "generator_mw", "substation_mva", "turbines_mw", "buildings",
    "storeys", "height_m", "operator", "cooling", "building_class", "year", "country", "site_type",
)  # fmt: skip
"""Columns read where the table has them; a missing value is not known."""


def estimate_power(
    sites: gpd.GeoDataFrame, *, gsd_m: float, year: int, seed: int = 0, count_recall: tuple[float, float] | None = None
) -> gpd.GeoDataFrame:
    """Return `sites` with `it_mw_p025` .. `facility_mw_p975`, MW.

    Args:
        sites: columns site_id, building_area_m2, cooling_area_m2 and on_border are read, and those of `COLUMNS`.
        gsd_m: ground sampling distance at which the equipment was outlined, m.
        year: of the estimate; sets the mix of building classes.
        seed: of the draws.
        count_recall: (a, b) of a Beta distribution, as in `SiteEvidence`.

    Raises:
        ConfigError: a site's evidence cannot be used.
    """
    drawn = draw_power(sites, gsd_m=gsd_m, year=year, seed=seed, count_recall=count_recall)
    return sites.assign(**quantile_columns("it_mw", drawn.it_mw), **quantile_columns("facility_mw", drawn.facility_mw))


def draw_power(
    sites: gpd.GeoDataFrame, *, gsd_m: float, year: int, seed: int = 0, count_recall: tuple[float, float] | None = None
) -> posterior.PowerDraws:
    """Return the draws behind `estimate_power`, with the same arguments: the compute estimate needs all of them."""
    return posterior.estimate(site_evidence(sites, gsd_m=gsd_m, count_recall=count_recall), year=year, seed=seed)


def site_evidence(
    sites: gpd.GeoDataFrame, *, gsd_m: float, count_recall: tuple[float, float] | None = None
) -> list[SiteEvidence]:
    """Return the evidence on each site, in the order of the table; arguments as of `estimate_power`."""
    here = [c for c in COLUMNS if c in sites.columns]
    return [
        SiteEvidence(
            site_id=row.site_id,
            building_area_m2=row.building_area_m2,
            cooling_area_m2=row.cooling_area_m2,
            gsd_m=gsd_m,
            on_border=row.on_border,
            count_recall=count_recall,
            **{c: getattr(row, c) for c in here if pd.notna(getattr(row, c))},
        )
        for row in sites.itertuples()
    ]
