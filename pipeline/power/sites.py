"""Power of the sites of a table: evidence from its columns, then draws and quantiles.

In: table `sites` from `overwatt.pipeline.sites.clustering`. Out: draws, or the table with `it_mw_*` and
`facility_mw_*`. The estimate itself is in `posterior`.
"""

from __future__ import annotations

import geopandas as gpd

from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.quantiles import quantile_columns


def estimate_power(sites: gpd.GeoDataFrame, *, gsd_m: float, year: int, seed: int = 0) -> gpd.GeoDataFrame:
    """Return `sites` with `it_mw_p025` .. `facility_mw_p975`, MW.

    Args:
        sites: columns site_id, building_area_m2, cooling_area_m2 and on_border are read.
        gsd_m: ground sampling distance at which the equipment was outlined, m.
        year: of the estimate; sets the mix of building classes.
        seed: of the draws.

    Raises:
        ConfigError: a site's evidence cannot be used.
    """
    drawn = draw_power(sites, gsd_m=gsd_m, year=year, seed=seed)
    return sites.assign(**quantile_columns("it_mw", drawn.it_mw), **quantile_columns("facility_mw", drawn.facility_mw))


def draw_power(sites: gpd.GeoDataFrame, *, gsd_m: float, year: int, seed: int = 0) -> posterior.PowerDraws:
    """Return the draws behind `estimate_power`, with the same arguments: the compute estimate needs all of them."""
    evidence = [
        SiteEvidence(
            site_id=row.site_id,
            building_area_m2=row.building_area_m2,
            cooling_area_m2=row.cooling_area_m2,
            gsd_m=gsd_m,
            on_border=row.on_border,
        )
        for row in sites.itertuples()
    ]
    return posterior.estimate(evidence, year=year, seed=seed)
