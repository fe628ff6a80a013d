"""What stands where a facility is declared and no site was matched: the outlined buildings there.

In: table `entries`, `declared`, `footprints` with the probability of each that it is a data center. Out: the entries,
with a sentence on the buildings within the error of each declared place. That nothing was matched does not mean that
nothing stands there.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.geodesy import DEGREE_LATITUDE_M, centres, local_frame
from overwatt.pipeline.reconcile.wording import km
from overwatt.pipeline.vocabulary import BUILDING_CLASSES

_REACH_M = 500.0  # buildings farther from a vague place say nothing about it; own choice
_LEAST_M = 30.0  # rooftop class of position errors (docs/methods.md, section 6.1)


def with_buildings(
    entries: gpd.GeoDataFrame, declared: gpd.GeoDataFrame, footprints: gpd.GeoDataFrame, p_center: np.ndarray
) -> gpd.GeoDataFrame:
    """Return the entries with what stands at declared places that no site was matched to, in `evidence_for`.

    Args:
        entries: table `entries`.
        declared: table `declared`.
        footprints: table `footprints`; only buildings are used.
        p_center: (footprint,) probability of being a data center, 0..1.
    """
    rows = np.flatnonzero((entries["class"] == "not_seen").to_numpy(bool))
    if not len(rows):
        return entries
    building = footprints["class"].isin(BUILDING_CLASSES).to_numpy(bool)
    outlines, p_center = footprints.geometry.to_numpy()[building], p_center[building]
    area_m2, classes = footprints["area_m2"].to_numpy(float)[building], footprints["class"].to_numpy(object)[building]
    place = pd.Series(np.arange(len(declared)), declared["declared_id"])
    j = place.loc[entries["declared_id"].iloc[rows]].to_numpy()
    shapes = declared.geometry.to_numpy()[j]
    reach_m = np.clip(declared["position_error_m"].to_numpy(float)[j], _LEAST_M, _REACH_M)
    tree = shapely.STRtree(outlines)
    words = entries["evidence_for"].to_numpy(object).copy()
    for k, shape, within_m in zip(rows.tolist(), shapes, reach_m.tolist(), strict=True):
        lon, lat = centres(np.array([shape], object))[0]
        # a box that is never too small, then exact distances in metres
        up = within_m / DEGREE_LATITUDE_M
        side = up / np.cos(np.radians(min(abs(lat) + up, 89.0)))
        west, south, east, north = shape.bounds
        near = tree.query(shapely.box(west - side, south - up, east + side, north + up))
        if len(near):
            own = local_frame(np.array([shape], object), lon, lat)[0]
            near = near[shapely.distance(local_frame(outlines[near], lon, lat), own) <= within_m]
        words[k] = f"{words[k]} {_sentence(near, within_m, p_center, area_m2, classes)}"
    return entries.assign(evidence_for=pd.array(words, dtype=entries["evidence_for"].dtype))


def _sentence(near: np.ndarray, within_m: float, p: np.ndarray, area_m2: np.ndarray, classes: np.ndarray) -> str:
    if not len(near):
        return f"No building is outlined within {km(within_m)} of it."
    best = near[int(np.argmax(p[near]))]
    count = "A building is" if len(near) == 1 else f"{len(near)} buildings are"
    return (
        f"{count} outlined within {km(within_m)} of it; the likeliest data center has {area_m2[best]:,.0f} m2, "
        f"class {str(classes[best]).replace('_', ' ')}, probability {p[best]:.2f}."
    )
