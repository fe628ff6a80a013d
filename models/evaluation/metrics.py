"""Scores of predicted against labelled buildings, with intervals and by size band.

In: predicted and labelled polygons in one pixel frame and the mask of imaged pixels. Out: one nested dict.
Pixels are pooled over the picture; objects are matched one to one at IoU 0.5 among those imaged by >= 99%. Ground
without a label is ignored by default, since a label file may be incomplete, or counts as background. Intervals are
95% percentile intervals of a block bootstrap, because neighbouring pixels and buildings are not independent.
Resamples in which a ratio is undefined are left out, and a picture of a single block has no interval. Buildings that
span several blocks make the intervals slightly too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from overwatt.models.evaluation import pieces
from overwatt.models.evaluation.confusion_counts import (
    CODES,
    IMAGED,
    Outline,
    Unlabelled,
    block_counts,
    burn,
    imaged_share,
    pixels_of,
    place,
    ratios,
)

__all__ = ["SIZE_BANDS_M2", "Judged", "Outline", "Unlabelled", "burn", "imaged_share", "score", "score_all"]

# bands of doubling size: size-matched comparison, since large buildings are more often data centers
SIZE_BANDS_M2 = ((0, 3_000), (3_000, 6_000), (6_000, 12_000), (12_000, 25_000), (25_000, np.inf))


@dataclass(frozen=True)
class Judged:
    """A labelled picture with its predictions, in one pixel frame; attributes as the arguments of `score`."""

    predicted: Sequence[Outline]
    labelled: Sequence[Outline]
    valid: np.ndarray
    cooling_known: np.ndarray | None = None


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
        labelled: the same classes and unknown; unknown areas are ignored (but equipment labelled on an unknown
            building counts as equipment). Self-intersecting polygons are repaired.
        valid: (y, x) bool, imaged pixels.
        gsd_m: metres per pixel.
        unlabelled: whether pixels and objects without a label are ignored or count as background.
        block_px: side of the bootstrap's blocks, pixels.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        `data_center` {iou, dice, precision, recall, object_f1, objects, interval}, the same for
        `other_building` and `cooling_equipment` (pixels only); `other_building` also has n, called_data_center,
        called_share and called_interval; both building classes have `pieces` (see `pieces.summary`), which shows
        over-splitting; `by_size`. Undefined ratios are None.
    """
    one = Judged(predicted, labelled, valid)
    return score_all(
        [one], gsd_m=gsd_m, unlabelled=unlabelled, block_px=block_px, resamples=resamples, seed=seed
    )  # fmt: skip


def score_all(
    pictures: Sequence[Judged],
    *,
    gsd_m: float,
    unlabelled: Unlabelled = "ignore",
    block_px: int = 128,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, object]:
    """Score several pictures of one pixel size, pooled; arguments and result as for `score`.

    Blocks of different pictures are treated as independent.
    """
    parts = [
        block_counts(
            p.predicted,
            p.labelled,
            p.valid,
            unlabelled=unlabelled,
            block_px=block_px,
            cooling_known=p.cooling_known,
        )
        for p in pictures
    ]
    # offset of each picture's block numbers in the pooled list
    first = np.cumsum([0, *(len(c.objects) for c in parts)])
    used = np.concatenate([c.used + f for c, f in zip(parts, first, strict=False)])
    objects = np.concatenate([c.objects for c in parts])
    rng = np.random.default_rng(seed)
    # block bootstrap: draw as many blocks as there are, with replacement
    draws = used[rng.integers(len(used), size=(resamples, len(used)))] if len(used) > 1 else np.empty((0, 0), int)

    scores: dict[str, dict[str, object]] = {}
    for klass in parts[0].pixels:
        pixels = np.concatenate([c.pixels[klass] for c in parts])
        result: dict[str, object] = dict(ratios(*pixels.sum(0)))
        resampled = [ratios(*pixels[d].sum(0)) for d in draws]
        interval = {k: _interval([r[k] for r in resampled]) for k in ("iou", "dice", "precision", "recall")}
        if klass == "data_center":
            total = objects.sum(0)
            # F1 of objects equals Dice of their counts
            result["object_f1"] = ratios(*total)["dice"]
            result["objects"] = {"matched": int(total[0]), "surplus": int(total[1]), "missed": int(total[2])}
            interval["object_f1"] = _interval([ratios(*objects[d].sum(0))["dice"] for d in draws])
        result["interval"] = interval
        scores[klass] = result

    confusion = [
        record | {"block": int(f + c.block[record["row"], record["col"]])}
        for p, c, f in zip(pictures, parts, first, strict=False)
        for record in _confusion(c.labelled, c.predicted, p, gsd_m**2)
    ]
    for klass in ("data_center", "other_building"):
        scores[klass]["pieces"] = pieces.summary([int(c["pieces"]) for c in confusion if c["class"] == klass])
    others = [c for c in confusion if c["class"] == "other_building"]
    called = sum(bool(c["called_data_center"]) for c in others)
    per_block = np.zeros((len(objects), 2))
    for c in others:
        per_block[c["block"]] += [c["called_data_center"], 1]
    shares = [v[0] / v[1] if v[1] else None for v in (per_block[d].sum(0) for d in draws)]
    scores["other_building"] |= {
        "n": len(others),
        "called_data_center": called,
        "called_share": called / len(others) if others else None,
        "called_interval": _interval(shares),
    }
    by_size = [_band(confusion, low, high) for low, high in SIZE_BANDS_M2]
    return {"unlabelled": unlabelled, "block_m": block_px * gsd_m, **scores, "by_size": by_size}


def _interval(values: Sequence[float | None]) -> list[float] | None:
    """Return the central 95% of the defined values."""
    known = [v for v in values if v is not None]
    return [float(np.quantile(known, q)) for q in (0.025, 0.975)] if known else None


def _confusion(labelled: Sequence[Outline], pred: np.ndarray, picture: Judged, pixel_m2: float) -> list[dict]:
    """Return one record per labelled building imaged by >= 99%: class, area, pieces, whether called data center."""
    valid = picture.valid
    found = shapely.make_valid(np.array([o.polygon for o in picture.predicted if o.klass in CODES], object))
    records = []
    for o in labelled:
        if o.klass not in CODES or imaged_share(o.polygon, valid) < IMAGED:
            continue
        part, inside = pixels_of(o.polygon, valid.shape)
        row, col = place(o.polygon, valid.shape)
        records.append(
            {
                "class": o.klass,
                "area_m2": o.polygon.area * pixel_m2,
                "pieces": pieces.pieces_of(o.polygon, found),
                # a building is called a data center if more than half of its pixels are
                "called_data_center": bool((pred[part][inside] == CODES["data_center"]).mean() > 0.5),
                "row": row,
                "col": col,
            }
        )
    return records


def _band(confusion: list[dict], low: float, high: float) -> dict[str, object]:
    """Return counts of both classes in one size band, and how many were called data center."""
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
