"""Power of the sites of a table: evidence from its columns, then draws and quantiles.

In: table `sites` from `overwatt.pipeline.sites.clustering`. Out: draws, or the table with `it_mw_*` and
`facility_mw_*`. The columns that are read are those of `record`; the estimate itself is in `posterior`.
"""

from __future__ import annotations

import geopandas as gpd

from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.record import Shown, records
from overwatt.pipeline.quantiles import quantile_columns


def estimate_power(
    sites: gpd.GeoDataFrame, *, gsd_m: float, year: int, seed: int = 0, shown: Shown | None = None
) -> gpd.GeoDataFrame:
    """Return `sites` with `it_mw_p025` .. `facility_mw_p975`, MW.

    Args:
        sites: columns as of `record.records`.
        gsd_m: ground sampling distance at which the equipment was outlined, m.
        year: of the estimate; sets the mix of building classes.
        seed: of the draws.
        shown: share of the equipment that the detector shows; None: equipment was drawn by an analyst.

    Raises:
        ConfigError: a site's evidence cannot be used.
    """
    drawn = draw_power(sites, gsd_m=gsd_m, year=year, seed=seed, shown=shown)
    return sites.assign(**quantile_columns("it_mw", drawn.it_mw), **quantile_columns("facility_mw", drawn.facility_mw))


def draw_power(
    sites: gpd.GeoDataFrame, *, gsd_m: float, year: int, seed: int = 0, shown: Shown | None = None
) -> posterior.PowerDraws:
    """Return the draws behind `estimate_power`, with the same arguments: the compute estimate needs all of them."""
    return posterior.estimate(records(sites, gsd_m=gsd_m, shown=shown), year=year, seed=seed)
