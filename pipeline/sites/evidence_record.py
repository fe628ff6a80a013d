"""One evidence record per site of a run: what its estimates of power and compute rest on.

In: table of sites, how fine the image is, what the detector shows of a site's equipment. Out: `SiteEvidence`, one per
row. Nothing that a declaration says is in it: declared and observed power are compared, never fused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.pipeline.power.evidence import YEARS, SiteEvidence
from overwatt.pipeline.power.sites import site_evidence
from overwatt.pipeline.tables import iso_days

Beta = tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """What the detector shows of a site's cooling equipment, as (a, b) of Beta distributions over sites.

    Attributes:
        area: share of its area that is outlined.
        units: share of its machines that are counted.
    """

    area: Beta
    units: Beta


def records(sites: gpd.GeoDataFrame, *, gsd_m: float, shown: Shown) -> list[SiteEvidence]:
    """Return the evidence on each site, in the order of the rows.

    Machines of unknown kind are taken as chillers, the smallest kind that stands in numbers. The number of buildings is
    no evidence here: the law for it is one of finished halls of large operators, and detected buildings are of any
    size. The year is that of the site's own image, or the nearest one for which there are estimates.

    Args:
        sites: columns of `cluster_sites`, `image_date`, and those of `surroundings`.
        gsd_m: ground sampling distance at which the equipment was outlined, m.
        shown: from the detector's card.
    """
    day = iso_days(sites["image_date"])
    year = pd.Series(day.astype("datetime64[Y]").astype(float) + 1970, sites.index).where(~np.isnat(day))
    own = sites.drop(columns="buildings").assign(
        chillers=sites["cooling_units"], year=year.clip(*YEARS).round().astype("Int64")
    )
    found = site_evidence(own, gsd_m=gsd_m, count_recall=shown.area)
    return [replace(e, count_recall=shown.units) if e.chillers else e for e in found]
