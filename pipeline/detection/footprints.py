"""From probabilities to polygons: footprints of buildings and cooling equipment.

In: class probabilities of tiles, as integers 0..255. Out: one table of footprints. Two steps:

1. `tile_parts`: the connected regions of one tile as polygons on pixel edges, with integer
   sums of the probabilities over their pixels;
2. `join`: parts that share an edge across tile borders become one object. Only now touching
   buildings are told apart, machines are counted, and class, score and geometry are decided;
   then objects are put into canonical order and their outlines are straightened.

Pixel-edge polygons and integer sums are exact, so the result does not depend on how the area
was cut into tiles: the same objects, bit for bit. A region is a building where building
probability (other + data center) exceeds that of background; whether it is a data center is
decided for the object as a whole, by the evidence in its interior: its mean, or its strongest place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from rasterio.features import shapes
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overwatt.aoi.geodesy import GEOD, to_lonlat
from overwatt.models.detector import calibration
from overwatt.models.detector.card import NOVELTY_STEP, UNIT_GSD_M, ModelCard
from overwatt.pipeline.detection.instances import SUMS, separate
from overwatt.pipeline.detection.regularization import regularise, simplify
from overwatt.pipeline.tables import conform

PART_COLUMNS = ("kind", "geometry", *SUMS, "tile", "on_border")
KINDS = ("building", "cooling", "interior", "unit")


@dataclass(frozen=True)
class DetectSettings:
    """Thresholds of the step from probabilities to objects.

    Attributes:
        building: building probability a pixel needs, 0..1.
        cooling: equipment probability a pixel needs, 0..1.
        min_building_m2: smaller regions are dropped; the network learned buildings of >= 400 m2.
        min_cooling_m2: the same for equipment; two chillers of 2.4 x 6 m.
        simplify_m: tolerance of the outlines.
        interior: interior probability a pixel needs, 0..1.
        min_interior_m2: smaller interiors do not make a building of their own.
        peak: the score is the strongest evidence in an object, not the mean.
        offset: log-odds of the strongest evidence at which the score is 0.5.
    """

    building: float = 0.5
    cooling: float = 0.5
    min_building_m2: float = 400.0
    min_cooling_m2: float = 30.0
    simplify_m: float = 1.0
    interior: float = 0.5
    min_interior_m2: float = 200.0
    peak: bool = False
    offset: float = 0.0

    @classmethod
    def of(cls, card: ModelCard, building: float = 0.5, cooling: float = 0.5) -> DetectSettings:
        """Thresholds with the scoring that the weights' card asks for."""
        return cls(building=building, cooling=cooling, peak=card.scoring == "peak", offset=card.offset)


def near_void(valid: np.ndarray) -> np.ndarray:
    """Mark valid pixels beside one without imagery, diagonals included; the array's own edge does not count.

    Args:
        valid: (y, x) bool, with a margin of one pixel around the part of interest where that matters.
    """
    return valid & ~ndimage.binary_erosion(valid, np.ones((3, 3), bool), border_value=1)


def tile_parts(
    probability: np.ndarray,
    valid: np.ndarray,
    origin: tuple[int, int],
    tile: str,
    near_void: np.ndarray,
    settings: DetectSettings,
    gsd_m: float,
    measured: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the regions of one tile.

    Args:
        probability: (channel, y, x) uint8 in the order of `overwatt.models.detector.inference.CHANNELS`.
        valid: (y, x) bool.
        origin: (row, column) of the tile's first pixel in the image.
        tile: its name.
        near_void: (y, x) bool, True at valid pixels beside a pixel without imagery.
        settings: thresholds.
        gsd_m: metres a pixel.
        measured: (y, x) bool, True where the network saw a thermal band; None: nowhere.

    Returns:
        One row a region: kind (of `KINDS`), geometry in image pixels (x = column, y = row, on
        pixel edges), pixels, sum_p, max_p (sum, maximum of the class's probability: data center among buildings,
        or equipment), sum_novelty, sum_thermal (pixels measured), tile, on_border.
    """
    p = probability.astype(np.int64)
    build = p[1] + p[2]
    masks = {
        "building": (build > settings.building * 255) & valid,
        "cooling": (p[3] > settings.cooling * 255) & valid,
    }
    masks["interior"] = masks["building"] & (p[4] > settings.interior * 255)
    if gsd_m <= UNIT_GSD_M:
        masks["unit"] = masks["cooling"] & (p[5] > 127)
    value = {"building": p[7], "cooling": p[3], "interior": p[7], "unit": p[5]}
    heat = np.zeros(valid.shape, bool) if measured is None else measured
    rows: list[dict[str, object]] = []
    shift = Affine.translation(origin[1], origin[0])
    for kind, mask in masks.items():
        if not mask.any():
            continue
        labels, count = ndimage.label(mask)
        flat = labels.ravel()
        sums = {
            "pixels": np.bincount(flat, minlength=count + 1),
            "sum_p": np.bincount(flat, weights=value[kind].ravel(), minlength=count + 1),
            "max_p": ndimage.maximum(value[kind], labels, np.arange(count + 1)),
            "sum_novelty": np.bincount(flat, weights=p[6].ravel(), minlength=count + 1),
            "sum_thermal": np.bincount(flat, weights=heat.ravel(), minlength=count + 1),
        }
        void = np.bincount(flat, weights=near_void.ravel(), minlength=count + 1) > 0
        for geometry, label in shapes(labels.astype(np.int32), mask=mask, connectivity=4, transform=shift):
            i = int(label)
            rows.append(
                {
                    "kind": kind,
                    "geometry": shapely.geometry.shape(geometry),
                    **{name: int(values[i]) for name, values in sums.items()},
                    "tile": tile,
                    "on_border": bool(void[i]),
                }
            )
    return pd.DataFrame(rows, columns=list(PART_COLUMNS))


def join(
    parts: Sequence[pd.DataFrame],
    *,
    transform: Affine | None,
    crs: str | None,
    gsd_m: float,
    scene: str,
    settings: DetectSettings,
) -> gpd.GeoDataFrame:
    """Join the parts of all tiles into footprints.

    Args:
        parts: tables of `tile_parts`, in any order.
        transform: pixel to map coordinates.
        crs: the map's CRS; None for an image without georeference, whose footprints stay in pixels.
        gsd_m: metres a pixel, used for the size thresholds and without georeference for areas.
        scene: name of the image.
        settings: thresholds.

    Returns:
        Table `footprints`, sorted by position (row, column of the anchor pixel).
    """
    frame = pd.concat([p for p in parts if len(p)], ignore_index=True) if any(len(p) for p in parts) else None
    if frame is None:
        return conform(pd.DataFrame(), "footprints")
    merged = _merge(frame)
    per = {kind: merged[merged["kind"] == kind] for kind in KINDS}
    halls = separate(per["building"], per["interior"], settings.min_interior_m2 / gsd_m**2)
    cooling = per["cooling"].assign(core_pixels=per["cooling"]["pixels"])
    objects = pd.concat([halls, cooling], ignore_index=True)
    least = np.where(objects["kind"] == "building", settings.min_building_m2, settings.min_cooling_m2)
    objects = objects[objects["pixels"] * gsd_m**2 >= least].reset_index(drop=True)
    if objects.empty:
        return conform(pd.DataFrame(), "footprints")
    corner = _anchors(np.asarray(objects["geometry"], dtype=object))
    objects = objects.assign(row=corner[:, 1], col=corner[:, 0])
    objects = objects.sort_values(["row", "col", "kind"], ignore_index=True)
    building = (objects["kind"] == "building").to_numpy()
    score = _score(objects, building, settings)
    klass = np.where(~building, "cooling_equipment", np.where(score > 0.5, "data_center", "other_building"))
    tolerance = max(settings.simplify_m / gsd_m, 1.0)  # less than a pixel would keep the staircase
    geometry = [
        regularise(g, tolerance) if walls else simplify(g, tolerance)
        for g, walls in zip(objects["geometry"], building, strict=True)
    ]
    mapped = to_lonlat(geometry, transform, crs)
    area = [abs(GEOD.geometry_area_perimeter(g)[0]) for g in mapped] if crs else [g.area * gsd_m**2 for g in geometry]
    return conform(
        pd.DataFrame(
            {
                "object_id": [f"{k[0]}{c}_{r}" for k, c, r in zip(klass, objects["col"], objects["row"], strict=True)],
                "class": klass,
                "score": np.where(klass == "other_building", 1 - score, score),
                "epistemic": objects["sum_novelty"] / objects["core_pixels"] * NOVELTY_STEP,
                "area_m2": area,
                "units": _units(objects["geometry"], ~building, per["unit"]["geometry"], gsd_m),
                "on_border": objects["on_border"],
                "used_thermal": 2 * objects["sum_thermal"] > objects["core_pixels"],
                "tile": objects["tile"],
                "scenes": scene,
                "geometry": mapped,
            }
        ),
        "footprints",
    )


def _score(objects: pd.DataFrame, building: np.ndarray, settings: DetectSettings) -> np.ndarray:
    """Score (n,) 0..1 of each object: of data center among buildings, of equipment in the others."""
    mean = (objects["sum_p"] / objects["core_pixels"] / 255).to_numpy()
    if not settings.peak:
        return mean
    return np.where(building, calibration.shifted(objects["max_p"].to_numpy() / 255, settings.offset), mean)


def _units(objects: pd.Series, cooling: np.ndarray, units: pd.Series, gsd_m: float) -> list[int | None]:
    """Count the machines of cooling objects; None for buildings, coarse pixels, and where none is told apart."""
    if gsd_m > UNIT_GSD_M:
        return [None] * len(objects)
    tree = shapely.STRtree(np.asarray(objects, dtype=object))
    inside = tree.query(shapely.point_on_surface(np.asarray(units, dtype=object)), predicate="within")[1]
    count = np.bincount(inside, minlength=len(objects))
    return [int(n) if machine and n else None for n, machine in zip(count, cooling, strict=True)]


def _merge(frame: pd.DataFrame) -> pd.DataFrame:
    """Union parts of one kind that share an edge; sums add up; order by anchor (topmost, leftmost pixel)."""
    geometry = np.asarray(frame["geometry"], dtype=object)
    tree = shapely.STRtree(geometry)
    left, right = tree.query(geometry, predicate="intersects")
    kinds, tiles = frame["kind"].to_numpy(object), frame["tile"].to_numpy(object)
    pair = (left < right) & (kinds[left] == kinds[right]) & (tiles[left] != tiles[right])
    left, right = left[pair], right[pair]
    if len(left):
        edge = shapely.length(shapely.intersection(geometry[left], geometry[right])) > 0
        left, right = left[edge], right[edge]
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(frame), len(frame)))
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    whole = geometry[order[starts]]  # most objects are of one part
    for g, (at, end) in enumerate(zip(starts, np.append(starts[1:], len(order)), strict=True)):
        if end - at > 1 or not whole[g].is_valid:
            whole[g] = shapely.union_all(geometry[order[at:end]])
    whole = _canonical(whole)
    corner, part_corner = _anchors(whole), _anchors(geometry)
    tile = tiles[order[starts]]
    for g, (at, end) in enumerate(zip(starts, np.append(starts[1:], len(order)), strict=True)):
        if end - at > 1:
            members = order[at:end]
            tile[g] = tiles[members[(part_corner[members] == corner[g]).all(1)]][0]
    together = {name: np.maximum if name == "max_p" else np.add for name in SUMS}
    sums = {name: f.reduceat(frame[name].to_numpy(np.int64)[order], starts) for name, f in together.items()}
    objects = pd.DataFrame(
        {
            "kind": kinds[order[starts]],
            "geometry": pd.Series(whole, dtype=object),
            **sums,
            "tile": tile,
            "on_border": np.logical_or.reduceat(frame["on_border"].to_numpy(bool)[order], starts),
            "row": corner[:, 1],
            "col": corner[:, 0],
        }
    )
    return objects.sort_values(["row", "col", "kind"], ignore_index=True)


def _anchors(polygons: np.ndarray) -> np.ndarray:
    """Return (n, 2) column and row of each polygon's topmost, there leftmost, vertex."""
    xy, owner = shapely.get_coordinates(polygons, return_index=True)
    order = np.lexsort((xy[:, 0], xy[:, 1], owner))
    return xy[order[np.flatnonzero(np.diff(owner[order], prepend=-1))]].astype(np.int64)


def _canonical(polygons: np.ndarray) -> np.ndarray:
    """One form for one point set: rings start at their smallest vertex, no vertex within an edge."""
    return shapely.normalize(shapely.simplify(shapely.normalize(polygons), 0))
