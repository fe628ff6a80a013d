"""Confusion counts: true positives, false positives and false negatives in each block of a picture.

In: predicted and labelled outlines in one pixel frame and the mask of imaged pixels. Out: counts of pixels and of
objects for each square block. A score is computed from their sum; its interval, and the comparison of two sets of
weights, from sums over resampled blocks. Objects are matched one to one at IoU 0.5 among those imaged by >= 99%, and
belong to the block of their inner point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy.optimize import linear_sum_assignment

IMAGED = 0.99
"""Share of an object's area that must be imaged to count it: a cut object is neither found nor missed (own choice)."""
UNLABELLED, UNKNOWN = 254, 255
"""Codes of ignored pixels, without a label and with the label unknown; larger than all `CODES`."""
CODES = {"background": 0, "other_building": 1, "data_center": 2}
Unlabelled = Literal["ignore", "background"]


@dataclass(frozen=True)
class Outline:
    """A polygon with its class, in pixels (x = column, y = row); of equipment also the kind, '' if not known."""

    klass: str
    polygon: shapely.Polygon | shapely.MultiPolygon
    kind: str = ""


def burn(outlines: Sequence[Outline], shape: tuple[int, int], codes: dict[str, int], fill: int) -> np.ndarray:
    """Return outlines rasterised to (y, x) uint8; classes later in `codes` overwrite earlier ones."""
    order = [(o.polygon, codes[o.klass]) for k in codes for o in outlines if o.klass == k]
    if not order:
        return np.full(shape, fill, np.uint8)
    return np.asarray(rasterize(order, shape, fill=fill, dtype="uint8"))


@dataclass(frozen=True)
class BlockCounts:
    """Counts of one picture.

    Attributes:
        pixels: class -> (block, 3) float: true positive, false positive, false negative pixels, for
            data_center, other_building and cooling_equipment.
        objects: (block, 3) float: matched, surplus, missed data centers.
        block: (y, x) int, block number of each pixel.
        used: numbers of the blocks with imagery.
        predicted: (y, x) uint8, predicted building class by `CODES`.
        labelled: the labelled outlines, made valid.
    """

    pixels: dict[str, np.ndarray]
    objects: np.ndarray
    block: np.ndarray
    used: np.ndarray
    predicted: np.ndarray
    labelled: list[Outline]


def block_counts(
    predicted: Sequence[Outline],
    labelled: Sequence[Outline],
    valid: np.ndarray,
    *,
    unlabelled: Unlabelled,
    block_px: int,
    cooling_known: np.ndarray | None = None,
) -> BlockCounts:
    """Count pixels and objects of one picture in each block.

    Args:
        predicted: outlines of data_center, other_building, cooling_equipment.
        labelled: the same classes and unknown; unknown areas are ignored (but equipment labelled on an unknown
            building counts as equipment). Self-intersecting polygons are repaired.
        valid: (y, x) bool, imaged pixels.
        unlabelled: whether pixels and objects without a label are ignored or count as background.
        block_px: side of a block, pixels.
        cooling_known: (y, x) bool, pixels where equipment was labelled if present. If None: all pixels if any
            equipment is labelled, otherwise none, since such a label file says nothing about equipment.
    """
    shape = valid.shape
    predicted, labelled = _clean(predicted), _clean(labelled)
    truth = burn(labelled, shape, {**CODES, "unknown": UNKNOWN}, UNLABELLED if unlabelled == "ignore" else 0)
    pred = burn(predicted, shape, CODES, 0)
    known = valid & (truth < UNLABELLED)
    # ceiling division: the last row and column of blocks may be narrower
    nby, nbx = -(-shape[0] // block_px), -(-shape[1] // block_px)
    block = (np.arange(shape[0])[:, None] // block_px) * nbx + np.arange(shape[1])[None, :] // block_px
    n = nby * nbx
    klass = "cooling_equipment"
    fill = UNLABELLED if unlabelled == "ignore" else 0
    # equipment has a mask of its own: ground labelled as a building is known to be no equipment unless labelled so
    t = burn(labelled, shape, {"other_building": 0, "data_center": 0, "unknown": UNKNOWN, klass: 1}, fill)
    p = burn(predicted, shape, {klass: 1}, 0)
    equipment_known = any(o.klass == klass for o in labelled) if cooling_known is None else cooling_known
    pixels = {name: _counts(pred, truth, known, CODES[name], block, n) for name in ("data_center", "other_building")}
    pixels[klass] = _counts(p, t, valid & (t < UNLABELLED) & equipment_known, 1, block, n)
    objects = _objects(predicted, labelled, truth, valid, block, n)
    return BlockCounts(pixels, objects, block, np.unique(block[valid]), pred, labelled)


def ratios(tp: float, fp: float, fn: float) -> dict[str, float | None]:
    """Return IoU, Dice, precision and recall of counts; None if the denominator is zero."""

    def share(a: float, b: float) -> float | None:
        return float(a / b) if b > 0 else None

    return {
        "iou": share(tp, tp + fp + fn),
        "dice": share(2 * tp, 2 * tp + fp + fn),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
    }


def _counts(pred: np.ndarray, truth: np.ndarray, known: np.ndarray, code: int, block: np.ndarray, n: int) -> np.ndarray:
    """Return (block, 3) true positive, false positive, false negative pixels."""
    p, t = (pred == code) & known, (truth == code) & known
    return np.stack(
        [np.bincount(block[m], minlength=n) for m in (p & t, p & ~t, ~p & t)],
        axis=1,
    ).astype(float)


def _match(
    predicted: list[shapely.Geometry], labelled: list[shapely.Geometry], at: float = 0.5
) -> list[tuple[int, int]]:
    """Return one-to-one pairs (predicted, labelled) with IoU >= `at` and maximum total IoU (Hungarian method)."""
    if not predicted or not labelled:
        return []
    iou = np.zeros((len(predicted), len(labelled)))
    tree = shapely.STRtree(labelled)
    for i, polygon in enumerate(predicted):
        for j in tree.query(polygon, predicate="intersects"):
            inter = polygon.intersection(labelled[j]).area
            iou[i, j] = inter / (polygon.area + labelled[j].area - inter)
    # pairs below the limit are worth 0, so they never displace a valid pair
    rows, cols = linear_sum_assignment(-np.where(iou >= at, iou, 0))
    return [(int(i), int(j)) for i, j in zip(rows, cols, strict=True) if iou[i, j] >= at]


def _clean(outlines: Sequence[Outline]) -> list[Outline]:
    """Return valid outlines: keep the polygons of repaired shapes, drop those without area."""
    kept = []
    for o in outlines:
        parts = shapely.get_parts(o.polygon if o.polygon.is_valid else shapely.make_valid(o.polygon))
        parts = shapely.get_parts(parts)  # a repaired shape may hold a MultiPolygon next to lines
        polygons = [p for p in parts if p.geom_type == "Polygon" and p.area > 0]
        if polygons:
            kept.append(Outline(o.klass, polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)))
    return kept


def pixels_of(polygon: shapely.Geometry, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the window (slices) of a polygon in the picture and the mask (y, x) bool of its pixels in that window.

    A polygon without any pixel centre gets all pixels that it touches.
    """
    x0, y0, x1, y1 = polygon.bounds
    a0, a1 = (int(np.clip(v, 0, shape[0])) for v in (np.floor(y0), np.ceil(y1)))
    b0, b1 = (int(np.clip(v, 0, shape[1])) for v in (np.floor(x0), np.ceil(x1)))
    inside = np.zeros((a1 - a0, b1 - b0), np.uint8)
    for touched in (False, True):
        if inside.size and not inside.any():
            origin = Affine.translation(b0, a0)
            inside = rasterize(
                [(polygon, 1)], inside.shape, fill=0, dtype="uint8", transform=origin, all_touched=touched
            )
    return (slice(a0, a1), slice(b0, b1)), inside.astype(bool)


def place(polygon: shapely.Geometry, shape: tuple[int, int]) -> tuple[int, int]:
    """Return row and column of a point inside a polygon, clipped to the picture."""
    point = polygon.representative_point()
    return int(np.clip(point.y, 0, shape[0] - 1)), int(np.clip(point.x, 0, shape[1] - 1))


def imaged_share(polygon: shapely.Geometry, valid: np.ndarray) -> float:
    """Return the share of a polygon's area that lies on valid pixels of the picture."""
    if polygon.area == 0:
        return 0.0
    part, inside = pixels_of(polygon, valid.shape)
    if not inside.any():
        return 0.0
    frame = shapely.box(0, 0, valid.shape[1], valid.shape[0])
    # share inside the picture, times the share of valid pixels there
    return float(polygon.intersection(frame).area / polygon.area * valid[part][inside].mean())


def _objects(
    predicted: Sequence[Outline],
    labelled: Sequence[Outline],
    truth: np.ndarray,
    valid: np.ndarray,
    block: np.ndarray,
    n: int,
) -> np.ndarray:
    """Return (block, 3): matched, surplus and missed data-center objects.

    A surplus object mostly on ignored ground (no label, unknown, or a data center that is only partly imaged) or
    outside the picture is not counted.
    """
    guesses = [o.polygon for o in predicted if o.klass == "data_center"]
    centers = [o.polygon for o in labelled if o.klass == "data_center"]
    whole = [imaged_share(p, valid) >= IMAGED for p in centers]
    pairs = dict(_match(guesses, centers))
    counts = np.zeros((n, 3))
    for j, polygon in enumerate(centers):
        if whole[j]:
            counts[block[place(polygon, valid.shape)]] += [j in pairs.values(), 0, j not in pairs.values()]
    partial = burn([Outline("x", p) for p, w in zip(centers, whole, strict=True) if not w], valid.shape, {"x": 1}, 0)
    skip = (truth >= UNLABELLED) | (partial == 1) | ~valid
    for i, polygon in enumerate(guesses):
        part, inside = pixels_of(polygon, valid.shape)
        # mostly: more than half of its pixels
        if i not in pairs and inside.any() and skip[part][inside].mean() <= 0.5:
            counts[block[place(polygon, valid.shape)], 1] += 1
    return counts
