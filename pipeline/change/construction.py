"""Construction between two dates at 10 m per pixel: large roofs that are new, grown, shrunk or gone.

In: the building probability of two runs on one grid, and where each has imagery. Out: one row per place of
construction. At 10 m a roof does not show its use, so nothing here says what was built. A pixel counts as changed only
if the other date has surely no roof within the registration error, and only large pieces that the network is sure of
are kept: bare fields rarely are both. Bright yards and solar fields look like roofs and are listed too.
"""

from __future__ import annotations

import math

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from rasterio.features import shapes
from scipy import ndimage

from overwatt.aoi.geodesy import GEOD, WGS84, to_lonlat

CONSTRUCTION_CLASSES = ("new", "grown", "shrunk", "gone")
"""What happened to the large roofs of a place; new and gone have no other large roof within `REACH_M`."""
LEAST_M2 = 2_000.0
"""Smallest change; a fifth of a data hall of 10,000 m2, and larger than a farm's barn (own choice)."""
LEAST_SCORE = 0.7
"""Least mean building probability; chosen on the west half of the Eemshaven pair (docs/detector.md)."""
SHIFT_PX = 2
"""Registration error in pixels; Sentinel-2 dates differ by up to 1.5 pixels (own choice: rounded up)."""
REACH_M = 100.0
"""Changes up to this far apart are one place; the reach of the sites of a run is of the same size (own choice)."""
_ROOF = 127  # of 255: a pixel more probably roof than not
# of 255: most at the other date; at 127 a change of tone gave half as many false places again (docs/detector.md)
_NO_ROOF = 64


def construction(
    earlier: np.ndarray,
    later: np.ndarray,
    seen: np.ndarray,
    *,
    transform: Affine,
    crs: str,
    gsd_m: float,
) -> gpd.GeoDataFrame:
    """Return one row per place of construction, largest change first.

    Columns: class (of `CONSTRUCTION_CLASSES`), area_m2 (of roof that appeared or vanished), pieces, score (mean
    building probability of those pixels), reason, geometry (lon/lat).

    Args:
        earlier: (y, x) uint8, building probability times 255 at the earlier date.
        later: the same at the later date, on the same grid.
        seen: (y, x) bool, where both dates have imagery.
        transform: pixel to map coordinates.
        crs: of the map coordinates.
        gsd_m: metres per pixel on the ground.
    """
    rows = _places(later, earlier, seen, gsd_m, ("new", "grown")) + _places(
        earlier, later, seen, gsd_m, ("gone", "shrunk")
    )
    columns = ["class", "area_m2", "pieces", "score", "reason", "geometry"]
    frame = pd.DataFrame(rows, columns=columns)
    if rows:
        frame["geometry"] = to_lonlat(list(frame["geometry"]), transform, crs)
        # geodesic on the WGS84 ellipsoid: pixels of a map projection are not true to area
        frame["area_m2"] = [abs(GEOD.geometry_area_perimeter(g)[0]) for g in frame["geometry"]]
    frame = frame.sort_values("area_m2", ascending=False, kind="stable", ignore_index=True)
    return gpd.GeoDataFrame(frame, geometry="geometry", crs=WGS84)


def _places(
    now: np.ndarray, other: np.ndarray, seen: np.ndarray, gsd_m: float, words: tuple[str, str]
) -> list[dict[str, object]]:
    """Return the places with roof in `now` and none in `other`; classes: without and with a large roof in `other`."""
    elsewhere = _large(other > _ROOF, gsd_m)
    near = ndimage.maximum_filter(other, 2 * SHIFT_PX + 1) > _NO_ROOF
    labels, count = ndimage.label((now > _ROOF) & ~near & seen, np.ones((3, 3)))
    if not count:
        return []
    every = np.arange(1, count + 1)
    pixels = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    score = ndimage.mean(now, labels, every) / 255
    kept = np.zeros(count + 1, bool)
    kept[1:] = (pixels * gsd_m**2 >= LEAST_M2) & (score >= LEAST_SCORE)
    changed = kept[labels]
    # single linkage: masks grown by half the reach touch where pieces are within it
    places, _ = ndimage.label(_grown(changed, REACH_M / 2, gsd_m), np.ones((3, 3)))
    rows: list[dict[str, object]] = []
    for number, window in enumerate(ndimage.find_objects(places), start=1):
        mask = changed[window] & (places[window] == number)
        if not mask.any():
            continue
        # the surroundings of a place: its window, larger by the reach
        margin = math.ceil(REACH_M / gsd_m)
        outer = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in window)
        offset = tuple(s.start - o.start for s, o in zip(window, outer, strict=True))
        around = np.zeros(elsewhere[outer].shape, bool)
        around[offset[0] : offset[0] + mask.shape[0], offset[1] : offset[1] + mask.shape[1]] = mask
        beside = bool((elsewhere[outer] & _grown(around, REACH_M, gsd_m)).any())
        shift = Affine.translation(window[1].start, window[0].start)
        outlines = [shapely.geometry.shape(g) for g, _ in shapes(mask.astype(np.uint8), mask=mask, transform=shift)]
        mean = float(now[window][mask].mean() / 255)
        rows.append({
            "class": words[1] if beside else words[0], "area_m2": float(mask.sum() * gsd_m**2),
            "pieces": len(np.unique(labels[window][mask])), "score": mean,
            "reason": _reason(words, beside), "geometry": shapely.union_all(outlines),
        })  # fmt: skip
    return rows


def _reason(words: tuple[str, str], beside: bool) -> str:
    """Return why a place has its class, in words."""
    here, there = ("later", "earlier") if words[0] == "new" else ("earlier", "later")
    rest = "a large roof stands beside it" if beside else "no large roof is beside it"
    return f"roof in the {here} image, none in the {there} one, in which {rest}; its use cannot be told at this size"


def _large(roof: np.ndarray, gsd_m: float) -> np.ndarray:
    """Return, (y, x) bool, the roofs of at least `LEAST_M2`."""
    labels, _ = ndimage.label(roof, np.ones((3, 3)))
    size = np.bincount(labels.ravel()) * gsd_m**2
    return np.asarray(roof & (size >= LEAST_M2)[labels])


def _grown(mask: np.ndarray, metres: float, gsd_m: float) -> np.ndarray:
    """Return a mask grown by a distance, as a square."""
    return np.asarray(ndimage.maximum_filter(mask, 2 * math.ceil(metres / gsd_m) + 1))
