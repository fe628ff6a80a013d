"""Scores: predicted against labelled buildings, with intervals, within size bands.

In: predicted and labelled polygons in one pixel frame and the mask of imaged pixels. Out: one
nested dict. Pixels are pooled over the picture; objects are matched one to one at IoU 0.5 among
those imaged by >= 99%. What has no label is ignored by default, since a label file need not be
complete, or taken as background. Intervals are 95% percentiles of a bootstrap over square
blocks, because pixels and neighbours are not independent; resamples in which a ratio is
undefined are left out, and a picture of a single block has no interval. A building that spans
several blocks still makes them a little too narrow.
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

SIZE_BANDS_M2 = ((0, 3_000), (3_000, 6_000), (6_000, 12_000), (12_000, 25_000), (25_000, np.inf))
IMAGED = 0.99
UNLABELLED, UNKNOWN = 254, 255
CODES = {"background": 0, "other_building": 1, "data_center": 2}
Unlabelled = Literal["ignore", "background"]


@dataclass(frozen=True)
class Outline:
    """A polygon with its class, in pixels (x = column, y = row)."""

    klass: str
    polygon: shapely.Polygon | shapely.MultiPolygon


def burn(outlines: Sequence[Outline], shape: tuple[int, int], codes: dict[str, int], fill: int) -> np.ndarray:
    """Rasterise outlines, later classes of `codes` over earlier ones, into (y, x) uint8."""
    order = [(o.polygon, codes[o.klass]) for k in codes for o in outlines if o.klass == k]
    if not order:
        return np.full(shape, fill, np.uint8)
    return np.asarray(rasterize(order, shape, fill=fill, dtype="uint8"))


def _ratios(tp: float, fp: float, fn: float) -> dict[str, float | None]:
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
    """One-to-one pairs (predicted, labelled) with IoU >= `at`, maximising total IoU."""
    if not predicted or not labelled:
        return []
    iou = np.zeros((len(predicted), len(labelled)))
    tree = shapely.STRtree(labelled)
    for i, polygon in enumerate(predicted):
        for j in tree.query(polygon, predicate="intersects"):
            inter = polygon.intersection(labelled[j]).area
            iou[i, j] = inter / (polygon.area + labelled[j].area - inter)
    rows, cols = linear_sum_assignment(-np.where(iou >= at, iou, 0))
    return [(int(i), int(j)) for i, j in zip(rows, cols, strict=True) if iou[i, j] >= at]


def score(
    predicted: Sequence[Outline],
    labelled: Sequence[Outline],
    valid: np.ndarray,
    *,
    gsd_m: float,
    unlabelled: Unlabelled = "ignore",
    block_px: int = 128,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, object]:
    """Score one picture.

    Args:
        predicted: outlines of data_center, other_building, cooling_equipment.
        labelled: the same classes and unknown, which is ignored wherever it lies (equipment
            labelled on an unknown building still counts as equipment). Shapes that cross
            themselves are repaired.
        valid: (y, x) bool, imaged pixels.
        gsd_m: metres a pixel.
        unlabelled: what pixels and objects without a label count as.
        block_px: side of the bootstrap's blocks, pixels.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        `data_center` {iou, dice, precision, recall, object_f1, objects, interval}, the same for
        `other_building` and `cooling_equipment` (pixels only), `other_building` with n and
        called_data_center and its share and interval, `by_size`. Undefined ratios are None.
    """
    shape = valid.shape
    predicted, labelled = _clean(predicted), _clean(labelled)
    truth = burn(labelled, shape, {**CODES, "unknown": UNKNOWN}, UNLABELLED if unlabelled == "ignore" else 0)
    pred = burn(predicted, shape, CODES, 0)
    known = valid & (truth < UNLABELLED)
    nby, nbx = -(-shape[0] // block_px), -(-shape[1] // block_px)
    block = (np.arange(shape[0])[:, None] // block_px) * nbx + np.arange(shape[1])[None, :] // block_px
    n = nby * nbx
    used = np.unique(block[valid])
    rng = np.random.default_rng(seed)
    draws = used[rng.integers(len(used), size=(resamples, len(used)))] if len(used) > 1 else np.empty((0, 0), int)

    out: dict[str, object] = {"unlabelled": unlabelled, "block_m": block_px * gsd_m}
    area = gsd_m**2
    scores: dict[str, dict[str, object]] = {}
    for klass in ("data_center", "other_building", "cooling_equipment"):
        if klass == "cooling_equipment":
            fill = UNLABELLED if unlabelled == "ignore" else 0
            t = burn(labelled, shape, {"other_building": 0, "data_center": 0, "unknown": UNKNOWN, klass: 1}, fill)
            p = burn(predicted, shape, {klass: 1}, 0)
            # a label file without any equipment says nothing about it
            said = any(o.klass == klass for o in labelled)
            counts = _counts(p, t, valid & (t < UNLABELLED) & said, 1, block, n)
        else:
            counts = _counts(pred, truth, known, CODES[klass], block, n)
        result: dict[str, object] = dict(_ratios(*counts.sum(0)))
        resampled = [_ratios(*counts[d].sum(0)) for d in draws]
        interval = {k: _interval([r[k] for r in resampled]) for k in ("iou", "dice", "precision", "recall")}
        if klass == "data_center":
            objects = _objects(predicted, labelled, truth, valid, unlabelled, block, n)
            total = objects.sum(0)
            result["object_f1"] = _ratios(*total)["dice"]
            result["objects"] = {"matched": int(total[0]), "surplus": int(total[1]), "missed": int(total[2])}
            interval["object_f1"] = _interval([_ratios(*objects[d].sum(0))["dice"] for d in draws])
        result["interval"] = interval
        scores[klass] = result

    confusion = _confusion(labelled, pred, valid, area)
    others = [c for c in confusion if c["class"] == "other_building"]
    called = sum(bool(c["called_data_center"]) for c in others)
    per_block = np.zeros((n, 2))
    for c in others:
        per_block[block[c["row"], c["col"]]] += [c["called_data_center"], 1]
    shares = [v[0] / v[1] if v[1] else None for v in (per_block[d].sum(0) for d in draws)]
    scores["other_building"] |= {
        "n": len(others),
        "called_data_center": called,
        "called_share": called / len(others) if others else None,
        "called_interval": _interval(shares),
    }
    out |= scores
    out["by_size"] = [_band(confusion, low, high) for low, high in SIZE_BANDS_M2]
    return out


def _interval(values: Sequence[float | None]) -> list[float] | None:
    known = [v for v in values if v is not None]
    return [float(np.quantile(known, q)) for q in (0.025, 0.975)] if known else None


def _clean(outlines: Sequence[Outline]) -> list[Outline]:
    """Make outlines valid; keep their polygons, drop those that have no area."""
    kept = []
    for o in outlines:
        parts = shapely.get_parts(o.polygon if o.polygon.is_valid else shapely.make_valid(o.polygon))
        parts = shapely.get_parts(parts)  # a repaired shape may hold a MultiPolygon beside stray lines
        polygons = [p for p in parts if p.geom_type == "Polygon" and p.area > 0]
        if polygons:
            kept.append(Outline(o.klass, polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)))
    return kept


def _pixels(polygon: shapely.Geometry, shape: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the part of the picture around a polygon, and which of its pixels lie in the polygon.

    A polygon that holds no pixel's centre gets every pixel it touches.
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


def _place(polygon: shapely.Geometry, shape: tuple[int, int]) -> tuple[int, int]:
    point = polygon.representative_point()
    return int(np.clip(point.y, 0, shape[0] - 1)), int(np.clip(point.x, 0, shape[1] - 1))


def imaged_share(polygon: shapely.Geometry, valid: np.ndarray) -> float:
    """Share of a polygon's area (pixels) that lies on valid pixels of the image."""
    if polygon.area == 0:
        return 0.0
    part, inside = _pixels(polygon, valid.shape)
    if not inside.any():
        return 0.0
    frame = shapely.box(0, 0, valid.shape[1], valid.shape[0])
    return float(polygon.intersection(frame).area / polygon.area * valid[part][inside].mean())


def _objects(
    predicted: Sequence[Outline],
    labelled: Sequence[Outline],
    truth: np.ndarray,
    valid: np.ndarray,
    unlabelled: Unlabelled,
    block: np.ndarray,
    n: int,
) -> np.ndarray:
    """Return (block, 3): matched, surplus and missed data-center objects.

    A surplus object lying mostly on what is ignored (no label, unknown, or a data center that is
    only partly imaged) or outside of the picture is not counted.
    """
    guesses = [o.polygon for o in predicted if o.klass == "data_center"]
    centers = [o.polygon for o in labelled if o.klass == "data_center"]
    whole = [imaged_share(p, valid) >= IMAGED for p in centers]
    pairs = dict(_match(guesses, centers))
    counts = np.zeros((n, 3))
    for j, polygon in enumerate(centers):
        if whole[j]:
            counts[block[_place(polygon, valid.shape)]] += [j in pairs.values(), 0, j not in pairs.values()]
    partial = burn([Outline("x", p) for p, w in zip(centers, whole, strict=True) if not w], valid.shape, {"x": 1}, 0)
    skip = (truth >= UNLABELLED) | (partial == 1) | ~valid
    for i, polygon in enumerate(guesses):
        part, inside = _pixels(polygon, valid.shape)
        if i not in pairs and inside.any() and skip[part][inside].mean() <= 0.5:
            counts[block[_place(polygon, valid.shape)], 1] += 1
    return counts


def _confusion(labelled: Sequence[Outline], pred: np.ndarray, valid: np.ndarray, pixel_m2: float) -> list[dict]:
    """One record a labelled building imaged by >= 99%: class, area, whether mostly called data center."""
    records = []
    for o in labelled:
        if o.klass not in CODES or imaged_share(o.polygon, valid) < IMAGED:
            continue
        part, inside = _pixels(o.polygon, valid.shape)
        row, col = _place(o.polygon, valid.shape)
        records.append(
            {
                "class": o.klass,
                "area_m2": o.polygon.area * pixel_m2,
                "called_data_center": bool((pred[part][inside] == CODES["data_center"]).mean() > 0.5),
                "row": row,
                "col": col,
            }
        )
    return records


def _band(confusion: list[dict], low: float, high: float) -> dict[str, object]:
    inside = [c for c in confusion if low <= c["area_m2"] < high]
    centers = [c for c in inside if c["class"] == "data_center"]
    others = [c for c in inside if c["class"] == "other_building"]
    return {
        "area_m2": [low, None if np.isinf(high) else high],
        "data_center": {
            "n": len(centers),
            "called_data_center": sum(c["called_data_center"] for c in centers),
        },
        "other_building": {
            "n": len(others),
            "called_data_center": sum(c["called_data_center"] for c in others),
        },
    }
