"""From the regions of all tiles to one table of footprints.

In: tables of `vectorize_tile`. Out: table `footprints`. Most objects lie inside one tile and are finished there:
touching buildings are separated, machines are counted, outlines are straightened (`finish`). What reaches a tile's edge
waits until all tiles are there, becomes one object with what continues it, and is finished in the same way. Then class
and score are set, and objects are sorted into a canonical order. An object depends on its own pixels alone, so the
table is the same however the area was cut.

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
from overwatt.aoi.grid import Lattice, Window
from overwatt.models.detector import calibration
from overwatt.models.detector.card import EVIDENCE_STEP, EVIDENCE_ZERO, NOVELTY_STEP, UNIT_GSD_M
from overwatt.pipeline.detection.instances import SUMS, add_sums, separate
from overwatt.pipeline.detection.regularization import regularise, simplify
from overwatt.pipeline.detection.vectorization import COOLERS, KINDS, DetectSettings
from overwatt.pipeline.tables import conform

CLASS_OF = {"cooling": "cooling_equipment", "generator": "generator", "substation": "substation"}
"""Class in the table `footprints` of each kind of region that is no building."""
EQUIPMENT = ("cooling", "generator")
"""Kinds of regions that consist of machines."""
OBJECT_COLUMNS = ("kind", "row", "col", "geometry", *SUMS, "core_pixels", "on_border", "units")
OUTLINES = 8192
"""Outlines that are straightened together; own choice, to bound the temporary arrays."""


def split(regions: pd.DataFrame, core: Window) -> np.ndarray:
    """Return which regions of a tile must wait for its neighbours, (n,) bool.

    These are the ones that reach the tile's edge, and those that belong to one: interiors to buildings, machines to
    equipment.

    Args:
        regions: a table of `vectorize_tile`.
        core: (y0, x0, y1, x1) of the tile in pixels of the image.
    """
    geometry, kind = np.asarray(regions["geometry"], dtype=object), regions["kind"].to_numpy(object)
    if not len(regions):
        return np.zeros(0, bool)
    y0, x0, y1, x1 = core
    left, top, right, low = shapely.bounds(geometry).T
    edge = (left <= x0) | (top <= y0) | (right >= x1) | (low >= y1)
    if not edge.any():
        return edge
    pairs = []
    for inner, outer in (("interior", ("building",)), ("unit", EQUIPMENT)):
        mine, whole = np.flatnonzero(kind == inner), np.flatnonzero(np.isin(kind, outer))
        i, j = shapely.STRtree(geometry[whole]).query(geometry[mine], predicate="intersects")
        pairs.append((mine[i], whole[j]))
    i, j = (np.concatenate(part) for part in zip(*pairs, strict=True))
    links = coo_array((np.ones(len(i)), (i, j)), shape=(len(regions),) * 2)
    count, group = connected_components(links, directed=False)
    waits = np.zeros(count, bool)
    waits[group[edge]] = True
    return waits[group]


def finish(regions: pd.DataFrame, settings: DetectSettings, gsd_m: float) -> pd.DataFrame:
    """Make objects of whole regions.

    Args:
        regions: tables of `vectorize_tile`, of one or several tiles.
        settings: thresholds.
        gsd_m: ground sampling distance, m per pixel; for the size thresholds.

    Returns:
        One row per object, columns `OBJECT_COLUMNS`, in any order: kind, row and col of the anchor (its topmost pixel,
        the leftmost of several), geometry (outline in image pixels), `SUMS`, core_pixels, on_border, and units, the
        number of machines, -1 if not counted.
    """
    if not len(regions):
        return pd.DataFrame({name: [] for name in OBJECT_COLUMNS})
    merged = _merge(regions)
    per = {kind: merged[merged["kind"] == kind] for kind in KINDS}
    least_px, wall_px = settings.min_interior_m2 / gsd_m**2, settings.wall_m / gsd_m
    buildings = separate(per["building"], per["interior"], least_px, wall_px)
    others = pd.concat([per[k] for k in CLASS_OF], ignore_index=True)
    objects = pd.concat([buildings, others.assign(core_pixels=others["pixels"])], ignore_index=True)
    least = {"building": settings.min_building_m2, "substation": settings.min_substation_m2}
    machine_m2 = settings.min_machine_m2 if gsd_m <= UNIT_GSD_M else settings.min_cooling_m2
    min_m2 = objects["kind"].map(least).fillna(machine_m2)
    objects = objects[objects["pixels"] * gsd_m**2 >= min_m2].reset_index(drop=True)
    pixels = np.asarray(objects["geometry"], dtype=object)
    corner = _anchors(pixels)
    kind = objects["kind"].to_numpy(object)
    tolerance = max(settings.simplify_m / gsd_m, 1.0)  # less than a pixel would keep the steps of the pixel edges
    return objects.assign(
        row=corner[:, 1],
        col=corner[:, 0],
        units=_units(pixels, np.isin(kind, EQUIPMENT), per["unit"]["geometry"], gsd_m),
        geometry=pd.Series(_straight(pixels, kind == "building", tolerance), dtype=object),
    )[list(OBJECT_COLUMNS)]


def merge_footprints(
    parts: Sequence[pd.DataFrame],
    finished: Sequence[pd.DataFrame] = (),
    *,
    transform: Affine | None,
    crs: str | None,
    gsd_m: float,
    scene: str,
    settings: DetectSettings,
    cells: Lattice | None = None,
) -> gpd.GeoDataFrame:
    """Join the regions and objects of all tiles into footprints.

    Args:
        parts: tables of `vectorize_tile`, in any order: regions that are not finished.
        finished: tables of `finish`, in any order.
        transform: pixel to map coordinates.
        crs: CRS of the map coordinates; None for an image without georeference, whose footprints stay in pixels.
        gsd_m: ground sampling distance, m per pixel; for the size thresholds, and for areas without georeference.
        scene: name of the image.
        settings: thresholds.
        cells: of the image; the cell of an object is that of its anchor. None: the image is one.

    Returns:
        Table `footprints`, sorted by position (row, column of the anchor).
    """
    waiting = [p for p in parts if len(p)]
    ready = [*finished, *([finish(pd.concat(waiting, ignore_index=True), settings, gsd_m)] if waiting else [])]
    ready = [p for p in ready if len(p)]
    if not ready:
        return conform(pd.DataFrame(), "footprints")
    objects = pd.concat(ready, ignore_index=True).sort_values(["row", "col", "kind"], ignore_index=True)
    building = (objects["kind"] == "building").to_numpy()
    score = _score(objects, building, settings)
    # own choice: the more likely class; the prior of the area enters later, at the site (docs/methods.md, section 6.1)
    called = np.where(score > 0.5, "data_center", "other_building")
    klass = np.where(building, called, objects["kind"].map(CLASS_OF).fillna("").to_numpy(object))
    # geodesic on the WGS84 ellipsoid where there is a CRS; pixel areas otherwise
    geometry = np.asarray(objects["geometry"], dtype=object)
    mapped = to_lonlat(geometry, transform, crs)
    area = [abs(GEOD.geometry_area_perimeter(g)[0]) for g in mapped] if crs else shapely.area(geometry) * gsd_m**2
    units = objects["units"].to_numpy(np.int64)
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
                "units": pd.arrays.IntegerArray(np.maximum(units, 0), units < 1),
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


def _units(objects: np.ndarray, machines: np.ndarray, units: pd.Series, gsd_m: float) -> np.ndarray:
    """Count the machines of objects, (n,) int64; -1 for coarse pixels, and where there is none or `machines` is False.

    Args:
        objects: (n,) polygons along pixel edges.
        machines: (n,) bool.
        units: polygons of the single machines.
        gsd_m: ground sampling distance, m per pixel.
    """
    if gsd_m > UNIT_GSD_M:
        return np.full(len(objects), -1)
    tree = shapely.STRtree(objects)
    # a machine belongs to the object that holds a point of its surface: a centroid may lie outside
    inside = tree.query(shapely.point_on_surface(np.asarray(units, dtype=object)), predicate="within")[1]
    count = np.bincount(inside, minlength=len(objects))
    return np.where(machines & (count > 0), count, -1)


def _merge(frame: pd.DataFrame) -> pd.DataFrame:
    """Unite regions of one kind that share an edge; add their sums; sort by anchor (topmost, leftmost pixel)."""
    geometry = np.asarray(frame["geometry"], dtype=object)
    kinds, tiles = frame["kind"].to_numpy(object), frame["tile"].to_numpy(object)
    several = (tiles != tiles[0]).any()
    tree = shapely.STRtree(geometry if several else [])
    left, right = tree.query(geometry, predicate="intersects")
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
