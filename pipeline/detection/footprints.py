"""From the regions of all tiles to one table of footprints.

In: tables of `vectorize_tile`. Out: table `footprints`. Regions that share an edge across tile borders become one
object. After that, touching buildings are separated, machines are counted, class and score are set, objects are
sorted into a canonical order and their outlines are straightened.

Whether a building is a data center is decided once for the whole object, from the scores of the pixels in its
interior: their mean, or their maximum (`DetectSettings.peak`).
"""

from __future__ import annotations

from collections.abc import Sequence

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overwatt.aoi.geodesy import GEOD, to_lonlat
from overwatt.aoi.grid import Lattice
from overwatt.models.detector import calibration
from overwatt.models.detector.card import EVIDENCE_STEP, EVIDENCE_ZERO, NOVELTY_STEP, UNIT_GSD_M
from overwatt.pipeline.detection.instances import add_sums, separate
from overwatt.pipeline.detection.regularization import regularise, simplify
from overwatt.pipeline.detection.vectorization import COOLERS, KINDS, DetectSettings
from overwatt.pipeline.tables import conform

CLASS_OF = {"cooling": "cooling_equipment", "generator": "generator", "substation": "substation"}
"""Class in the table `footprints` of each kind of region that is no building."""
MACHINES = ("cooling_equipment", "generator")
OUTLINES = 8192
"""Outlines that are straightened together: 100 MB of temporary arrays; own choice."""


def merge_footprints(
    parts: Sequence[pd.DataFrame],
    *,
    transform: Affine | None,
    crs: str | None,
    gsd_m: float,
    scene: str,
    settings: DetectSettings,
    cells: Lattice | None = None,
) -> gpd.GeoDataFrame:
    """Join the regions of all tiles into footprints.

    Args:
        parts: tables of `vectorize_tile`, in any order.
        transform: pixel to map coordinates.
        crs: CRS of the map coordinates; None for an image without georeference, whose footprints stay in pixels.
        gsd_m: ground sampling distance, m per pixel; for the size thresholds, and for areas without georeference.
        scene: name of the image.
        settings: thresholds.
        cells: of the image; the cell of an object is that of its anchor, its topmost pixel. None: the image is one.

    Returns:
        Table `footprints`, sorted by position (row, column of the anchor pixel).
    """
    frame = pd.concat([p for p in parts if len(p)], ignore_index=True) if any(len(p) for p in parts) else None
    if frame is None:
        return conform(pd.DataFrame(), "footprints")
    merged = _merge(frame)
    per = {kind: merged[merged["kind"] == kind] for kind in KINDS}
    least_px, wall_px = settings.min_interior_m2 / gsd_m**2, settings.wall_m / gsd_m
    buildings = separate(per["building"], per["interior"], least_px, wall_px)
    others = pd.concat([per[k] for k in CLASS_OF], ignore_index=True)
    objects = pd.concat([buildings, others.assign(core_pixels=others["pixels"])], ignore_index=True)
    least = {"building": settings.min_building_m2, "substation": settings.min_substation_m2}
    machine_m2 = settings.min_machine_m2 if gsd_m <= UNIT_GSD_M else settings.min_cooling_m2
    min_m2 = objects["kind"].map(least).fillna(machine_m2)
    objects = objects[objects["pixels"] * gsd_m**2 >= min_m2].reset_index(drop=True)
    if objects.empty:
        return conform(pd.DataFrame(), "footprints")
    corner = _anchors(np.asarray(objects["geometry"], dtype=object))
    objects = objects.assign(row=corner[:, 1], col=corner[:, 0])
    objects = objects.sort_values(["row", "col", "kind"], ignore_index=True)
    building = (objects["kind"] == "building").to_numpy()
    score = _score(objects, building, settings)
    # own choice: the more likely class; the prior of the area enters later, at the site (docs/methods.md, section 6.1)
    called = np.where(score > 0.5, "data_center", "other_building")
    klass = np.where(building, called, objects["kind"].map(CLASS_OF).fillna("").to_numpy(object))
    tolerance = max(settings.simplify_m / gsd_m, 1.0)  # less than a pixel would keep the steps of the pixel edges
    geometry = _straight(np.asarray(objects["geometry"], dtype=object), building, tolerance)
    # geodesic on the WGS84 ellipsoid where there is a CRS; pixel areas otherwise
    mapped = to_lonlat(geometry, transform, crs)
    area = [abs(GEOD.geometry_area_perimeter(g)[0]) for g in mapped] if crs else [g.area * gsd_m**2 for g in geometry]
    return conform(
        pd.DataFrame(
            {
                "object_id": [f"{k[0]}{c}_{r}" for k, c, r in zip(klass, objects["col"], objects["row"], strict=True)],
                "class": klass,
                "kind": _kinds(objects, klass),
                # a score below 0.5 of "data center" is one above 0.5 of "other building"
                "score": np.where(klass == "other_building", 1 - score, score),
                "epistemic": objects["sum_novelty"] / objects["core_pixels"] * NOVELTY_STEP,
                "area_m2": area,
                "units": _units(objects["geometry"], np.isin(klass, MACHINES), per["unit"]["geometry"], gsd_m),
                "on_border": objects["on_border"],
                # thermal pixels are more than half of those that were scored
                "used_thermal": 2 * objects["sum_thermal"] > objects["core_pixels"],
                "tile": [cells.name_at(r, c) for r, c in zip(objects["row"], objects["col"], strict=True)]
                if cells
                else "r000c000",
                "scenes": scene,
                "geometry": mapped,
            }
        ),
        "footprints",
    )


def _straight(polygons: np.ndarray, building: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the outlines (n,): of buildings with straight walls, of the others simplified."""
    out = np.empty(len(polygons), object)
    for chosen, straighten in ((building, regularise), (~building, simplify)):
        at = np.flatnonzero(chosen)
        for k in range(0, len(at), OUTLINES):
            out[at[k : k + OUTLINES]] = straighten(polygons[at[k : k + OUTLINES]], tolerance)
    return out


def _score(objects: pd.DataFrame, building: np.ndarray, settings: DetectSettings) -> np.ndarray:
    """Score (n,) 0..1 of each object: of "data center" for buildings, of "equipment" for the others."""
    mean = (objects["sum_p"] / objects["core_pixels"] / 255).to_numpy()
    if not settings.peak:
        return mean
    odds = (objects["max_p"].to_numpy() - EVIDENCE_ZERO) * EVIDENCE_STEP
    return np.where(building, calibration.of_log_odds(odds - settings.offset), mean)


def _kinds(objects: pd.DataFrame, klass: np.ndarray) -> list[str | None]:
    """Return the kind of machines of each object by the sum over its pixels; None for others and where not told."""
    sums = objects[[f"sum_{k}" for k in COOLERS]].to_numpy(np.int64)
    best = sums.argmax(1)
    told = (klass == "cooling_equipment") & (sums.max(1) > 0)
    return [
        "generator" if k == "generator" else COOLERS[b] if t else None
        for k, b, t in zip(klass, best, told, strict=True)
    ]


def _units(objects: pd.Series, machines: np.ndarray, units: pd.Series, gsd_m: float) -> list[int | None]:
    """Count the machines of objects; None where `machines` is False, for coarse pixels, and where none is separated."""
    if gsd_m > UNIT_GSD_M:
        return [None] * len(objects)
    tree = shapely.STRtree(np.asarray(objects, dtype=object))
    # a machine belongs to the object that holds a point of its surface: a centroid may lie outside
    inside = tree.query(shapely.point_on_surface(np.asarray(units, dtype=object)), predicate="within")[1]
    count = np.bincount(inside, minlength=len(objects))
    return [int(n) if machine and n else None for n, machine in zip(count, machines, strict=True)]


def _merge(frame: pd.DataFrame) -> pd.DataFrame:
    """Unite regions of one kind that share an edge; add their sums; sort by anchor (topmost, leftmost pixel)."""
    geometry = np.asarray(frame["geometry"], dtype=object)
    tree = shapely.STRtree(geometry)
    left, right = tree.query(geometry, predicate="intersects")
    kinds, tiles = frame["kind"].to_numpy(object), frame["tile"].to_numpy(object)
    # regions of one tile were labelled there: only those of different tiles can continue each other
    pair = (left < right) & (kinds[left] == kinds[right]) & (tiles[left] != tiles[right])
    left, right = left[pair], right[pair]
    if len(left):
        # a common length, not a common corner: labels are 4-connected in tiles too
        edge = shapely.length(shapely.intersection(geometry[left], geometry[right])) > 0
        left, right = left[edge], right[edge]
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(frame), len(frame)))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    whole = geometry[order[starts]]  # most objects have one part only: union just the others
    ends = np.append(starts[1:], len(order))
    for g in np.flatnonzero((ends - starts > 1) | ~shapely.is_valid(whole)):
        whole[g] = shapely.union_all(geometry[order[starts[g] : ends[g]]])
    whole = _canonical(whole)
    corner = _anchors(whole)
    objects = pd.DataFrame(
        {
            "kind": kinds[order[starts]],
            "geometry": pd.Series(whole, dtype=object),
            **add_sums(frame, order, starts),
            "on_border": np.logical_or.reduceat(frame["on_border"].to_numpy(bool)[order], starts),
            "row": corner[:, 1],
            "col": corner[:, 0],
        }
    )
    return objects.sort_values(["row", "col", "kind"], ignore_index=True)


def _anchors(polygons: np.ndarray) -> np.ndarray:
    """Return (n, 2) column and row of each polygon's topmost vertex, the leftmost of several."""
    xy, owner = shapely.get_coordinates(polygons, return_index=True)
    col, row = xy.astype(np.int64).T
    # one number that orders by row, then by column; images have fewer than 2^31 columns
    first = np.minimum.reduceat((row << 32) + col, np.flatnonzero(np.diff(owner, prepend=-1)))
    return np.stack([first & 0xFFFFFFFF, first >> 32], axis=1)


def _canonical(polygons: np.ndarray) -> np.ndarray:
    """Same points, same vertices: rings start at their smallest vertex and have no vertex inside an edge."""
    # the smallest vertex is a corner, so plain simplification by 0 keeps it and drops what lies on straight edges
    return shapely.normalize(shapely.simplify(shapely.normalize(polygons), 0, preserve_topology=False))
