"""One evidence record per site: the columns of table `sites` that the estimates of power and compute rest on.

In: table `sites`, how fine the image is, what share of the equipment the detector shows. Out: `SiteEvidence`, one per
row. Nothing that a declaration says is in it: declared and observed power are compared, never fused.
"""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.models.detector.card import ModelCard
from overwatt.pipeline.power.evidence import YEARS, SiteEvidence

Beta = tuple[float, float]


@dataclass(frozen=True)
class Shown:
    """What the detector shows of a site's cooling equipment, as Beta distributions over sites; None: not measured.

    Attributes:
        area: (a, b) of the share of its area that is outlined.
        units: (a, b) of the share of its machines that are counted.
    """

    area: Beta | None = None
    units: Beta | None = None


def shown_by(card: ModelCard) -> Shown:
    """Return what the detector shows of a site's equipment; any share is equally likely where it was not measured."""
    area, units = ((1.0, 1.0) if r is None else (r.a, r.b) for r in (card.equipment_recall, card.unit_recall))
    return Shown(area, units)


def records(sites: gpd.GeoDataFrame, *, gsd_m: float, shown: Shown | None = None) -> list[SiteEvidence]:
    """Return the evidence on each site, in the order of the rows.

    Machines of unknown kind are taken as chillers, the smallest of the kinds that stand in numbers. The number of
    buildings is no evidence here: its law is one of finished halls of large operators (`models.capacity.operators`),
    and detected buildings are of any size. The year is that of
    the site's own image, if its date is known, at the nearest year for which there are estimates.

    Args:
        sites: columns site_id, building_area_m2, cooling_area_m2, on_border, and, where known, cooling_units, storeys,
            height_m, generators, substation_mva, country, image_date.
        gsd_m: ground sampling distance at which the equipment was outlined, m.
        shown: of the detector's card; None: equipment was drawn by an analyst.
    """
    shown = shown or Shown()
    optional = ("cooling_units", "storeys", "height_m", "generators", "substation_mva", "country", "image_date")
    known = {
        name: sites[name].astype(object).where(sites[name].notna(), None).to_list()
        if name in sites
        else [None] * len(sites)
        for name in optional
    }
    out = []
    for k, row in enumerate(sites.itertuples()):
        units, date = known["cooling_units"][k], known["image_date"][k]
        out.append(
            SiteEvidence(
                site_id=row.site_id,
                building_area_m2=row.building_area_m2,
                cooling_area_m2=row.cooling_area_m2,
                chillers=units,
                gsd_m=gsd_m,
                storeys=known["storeys"][k],
                height_m=known["height_m"][k],
                on_border=row.on_border,
                generators=known["generators"][k],
                substation_mva=known["substation_mva"][k],
                year=None if date is None else int(np.clip(pd.Timestamp(date).year, *YEARS)),
                country=known["country"][k],
                count_recall=shown.units if units else shown.area,
            )
        )
    return out
