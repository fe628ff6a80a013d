"""Paired comparison of two sets of weights on the same ground, with bootstrap intervals of the difference.

In: labelled images with the predictions of A and B. Out: for each measure the difference A - B, its 95% interval
and a verdict. The bootstrap is paired: each resample draws the same square blocks of ground for A and B, so the
difficulty of a block cancels out. Blocks are 512 m by default, because a campus spans several of the 256 m blocks of
`overwatt.models.evaluation.metrics`.

Intervals are expanded percentile intervals (Hesterberg 2015, "What teachers should know about the bootstrap",
section 4.3), because plain percentile intervals are too narrow for few blocks. Below `MIN_BLOCKS` blocks no
difference is claimed. Blocks of different images are treated as independent: give adjacent tiles as one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from rasterio.features import shapes
from scipy import stats

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import OUTPUTS
from overwatt.models.evaluation.confusion_counts import BlockCounts, Outline, Unlabelled, block_counts
from overwatt.models.training.samples import DATA_CENTER, IGNORE, NOT_CENTER, OTHER, Picture

Word = Literal["A better", "B better", "no difference shown"]
MEASURES = {"data_center": ("dice", "iou", "recall", "object_f1"), "cooling_equipment": ("dice",)}
MIN_BLOCKS = 8
"""Own choice. In 300 simulated comparisons per number of blocks, a third of the blocks empty, the 95% intervals
contained the true difference in 85-88% with 6 blocks and in 90-95% with 8 to 100; plain percentile intervals in
78-80% and 86-94%."""
MIN_M2 = {"other_building": 400.0, "data_center": 400.0, "cooling_equipment": 30.0}
"""Smaller regions of a probability map are dropped, as `overwatt.pipeline.detection.footprints` does."""
CHUNK = 4_000_000  # block weights in memory at one time: 32 MB


@dataclass(frozen=True)
class Scene:
    """A labelled image with the predictions of two sets of weights, in one pixel frame.

    Attributes:
        labelled: outlines of data_center, other_building, cooling_equipment and unknown.
        valid: (y, x) bool, imaged pixels.
        gsd_m: metres per pixel.
        a: outlines predicted by the first weights.
        b: outlines predicted by the second weights.
        cooling_known: (y, x) bool, pixels with known equipment; None: see `models.evaluation.confusion_counts`.
    """

    labelled: Sequence[Outline]
    valid: np.ndarray
    gsd_m: float
    a: Sequence[Outline]
    b: Sequence[Outline]
    cooling_known: np.ndarray | None = None


def scene_of(picture: Picture, a: np.ndarray | Sequence[Outline], b: np.ndarray | Sequence[Outline]) -> Scene:
    """Return the scene of a training or test tile.

    Args:
        picture: the tile; its `instance` layer separates buildings that touch.
        a: predictions of the first weights: outlines, or (output, y, x) uint8 probabilities times 255.
        b: predictions of the second weights.
    """
    found_a, found_b = (
        outlines_of(x, picture.valid, picture.gsd_m) if isinstance(x, np.ndarray) else list(x) for x in (a, b)
    )
    known = picture.cooling != IGNORE
    return Scene(labels_of(picture), picture.valid, picture.gsd_m, found_a, found_b, cooling_known=known)


def compare(
    scenes: Sequence[Scene],
    *,
    unlabelled: Unlabelled = "ignore",
    block_m: float = 512.0,
    resamples: int = 4000,
    seed: int = 0,
) -> dict[str, object]:
    """Compare two sets of weights on the same images.

    Args:
        scenes: the images; counts are pooled over them in square metres.
        unlabelled: whether pixels and objects without a label are ignored or count as background; use 'background'
            for tiles, whose labels cover every pixel.
        block_m: side of the bootstrap's blocks, metres.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        `block_m`, `blocks` (number with imagery), `notes` (warnings, empty if there are none), and for each class its
        measures (data_center: dice, iou, recall, object_f1; cooling_equipment: dice) with `a`, `b`, `difference`
        (a - b), `interval` and `verdict`, and `blocks`, the number of blocks with that class. Undefined values are
        None.

    Raises:
        ConfigError: no scene, or a block size that is not positive.
    """
    if not scenes:
        raise ConfigError("comparison: no labelled image given")
    if not block_m > 0:
        raise ConfigError(f"comparison: blocks of {block_m:g} m; use a positive block size in metres")
    tables = _tables(scenes, unlabelled, block_m)
    out: dict[str, object] = {"block_m": block_m, "blocks": len(tables["data_center", "pixels"][0])}
    notes = []
    for klass, measures in MEASURES.items():
        scores: dict[str, object] = {}
        for measure in measures:
            pair = tables[klass, "objects" if measure == "object_f1" else "pixels"]
            scores[measure] = paired(*pair, measure, resamples=resamples, seed=seed)
            holding = _holding(*pair)
            if holding < MIN_BLOCKS and measure in ("dice", "object_f1"):
                what = klass.replace("_", " ") + (", as objects" if measure == "object_f1" else "")
                notes.append(
                    f"{what}: {holding} blocks of {block_m:g} m hold any, labelled or found; fewer than {MIN_BLOCKS} "
                    "are too few to show a difference: label more ground"
                )
        out[klass] = {"blocks": _holding(*tables[klass, "pixels"]), **scores}
    return out | {"notes": notes}


def paired(
    a: np.ndarray, b: np.ndarray, measure: str, *, resamples: int = 4000, seed: int = 0
) -> dict[str, float | list[float] | Word | None]:
    """Return the difference of one measure between A and B over the same blocks, with interval and verdict.

    Args:
        a: (block, 3) true positives, false positives, false negatives of A.
        b: the same blocks for B.
        measure: dice, iou, recall, or object_f1 (Dice of counted objects).
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    n = len(a)
    values = [_measure(t.sum(0), measure) for t in (a, b)]
    holding = _holding(a, b)
    interval = None
    if holding > 1:
        rng = np.random.default_rng(seed)
        differences = []
        rows = max(1, CHUNK // n)
        for first in range(0, resamples, rows):
            # drawing n blocks with replacement = multinomial weights; one matrix product sums them
            weights = rng.multinomial(n, np.full(n, 1 / n), size=min(rows, resamples - first)).astype(float)
            differences.append(_measure(weights @ a, measure) - _measure(weights @ b, measure))
        known = np.concatenate(differences)
        # resamples without the class have no defined measure
        known = known[np.isfinite(known)]
        # Hesterberg 2015, section 4.3: a/2 = Phi(-sqrt(n / (n - 1)) t_{0.975, n - 1}) in place of 0.025
        tail = float(stats.norm.cdf(-np.sqrt(holding / (holding - 1)) * stats.t.ppf(0.975, holding - 1)))
        if len(known):
            interval = [float(np.quantile(known, q)) for q in (tail, 1 - tail)]
    word: Word = "no difference shown"
    if interval and holding >= MIN_BLOCKS:
        word = "A better" if interval[0] > 0 else "B better" if interval[1] < 0 else word
    va, vb = (float(v) if np.isfinite(v) else None for v in values)
    difference = va - vb if va is not None and vb is not None else None
    return {"a": va, "b": vb, "difference": difference, "interval": interval, "verdict": word}


def summary(result: dict[str, object]) -> list[str]:
    """Return the result of `compare` as readable lines."""
    lines = [f"A against B, the same {result['blocks']} blocks of {result['block_m']:g} m resampled for both:"]
    for klass, measures in MEASURES.items():
        scores = result[klass]
        assert isinstance(scores, dict)
        for measure in measures:
            s = scores[measure]
            a, b = ("-" if s[k] is None else f"{s[k]:.3f}" for k in ("a", "b"))
            interval = s["interval"]
            spread = f" (95%: {interval[0]:+.3f} to {interval[1]:+.3f})" if interval else ""
            apart = "undefined" if s["difference"] is None else f"{s['difference']:+.3f}{spread}"
            lines.append(f"{klass:18s} {measure:9s} A {a}, B {b}, A - B {apart}: {s['verdict']}")
    notes = result["notes"]
    assert isinstance(notes, list)
    return [*lines, *(f"note: {note}" for note in notes)]


def _tables(
    scenes: Sequence[Scene], unlabelled: Unlabelled, block_m: float
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Return (class, pixels or objects) -> counts (block, 3) of A and of B over all scenes; pixels weighted by area."""
    parts: dict[tuple[str, str], tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for scene in scenes:
        # area of a pixel relative to the first scene: scenes may differ in pixel size
        area = (scene.gsd_m / scenes[0].gsd_m) ** 2
        for side, found in enumerate((scene.a, scene.b)):
            c: BlockCounts = block_counts(
                found,
                scene.labelled,
                scene.valid,
                unlabelled=unlabelled,
                block_px=max(1, round(block_m / scene.gsd_m)),
                cooling_known=scene.cooling_known,
            )
            for klass in MEASURES:
                parts.setdefault((klass, "pixels"), ([], []))[side].append(c.pixels[klass][c.used] * area)
            parts.setdefault(("data_center", "objects"), ([], []))[side].append(c.objects[c.used])
    return {key: (np.concatenate(a), np.concatenate(b)) for key, (a, b) in parts.items()}


def _holding(a: np.ndarray, b: np.ndarray) -> int:
    """Return the number of blocks with any count."""
    return int((a.any(1) | b.any(1)).sum())


def _measure(counts: np.ndarray, measure: str) -> np.ndarray:
    """Return a measure of (…, 3) counts; NaN if its denominator is zero."""
    tp, fp, fn = np.moveaxis(np.asarray(counts, float), -1, 0)
    above, below = {
        "dice": (2 * tp, 2 * tp + fp + fn),
        "object_f1": (2 * tp, 2 * tp + fp + fn),
        "iou": (tp, tp + fp + fn),
        "recall": (tp, tp + fn),
    }[measure]
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


def labels_of(picture: Picture) -> list[Outline]:
    """Return outlines of a tile's label layers, exact to the pixel; one per instance if instances are numbered.

    Ground known only not to be a data center counts as other buildings.
    """
    number = np.zeros(picture.valid.shape, np.int32) if picture.instance is None else picture.instance.astype(np.int32)
    out = _outlines("unknown", picture.building == IGNORE, number * 0)
    out += _outlines("other_building", picture.building == NOT_CENTER, number * 0)
    out += _outlines("other_building", picture.building == OTHER, number)
    out += _outlines("data_center", picture.building == DATA_CENTER, number)
    return out + _outlines("cooling_equipment", picture.cooling == 1, number * 0)


def outlines_of(probability: np.ndarray, valid: np.ndarray, gsd_m: float) -> list[Outline]:
    """Return outlines of the most probable building class, and of equipment at probability 0.5.

    Args:
        probability: (output, y, x) uint8 in the order of `overwatt.models.detector.network.OUTPUTS`, times 255.
        valid: (y, x) bool, imaged pixels.
        gsd_m: metres per pixel.
    """
    best = probability[:3].argmax(0)
    cooling = probability[OUTPUTS.index("cooling_equipment")] >= 128  # 0.5 of 255
    out = []
    for klass, mask in (
        ("other_building", best == OTHER),
        ("data_center", best == DATA_CENTER),
        ("cooling_equipment", cooling),
    ):
        found = _outlines(klass, mask & valid, np.zeros(valid.shape, np.int32))
        out += [o for o in found if o.polygon.area * gsd_m**2 >= MIN_M2[klass]]
    return out


def _outlines(klass: str, mask: np.ndarray, number: np.ndarray) -> list[Outline]:
    """Return one outline per connected region of number 0, and one per other number for all its regions."""
    out: list[Outline] = []
    numbered: dict[int, list[shapely.Polygon]] = {}
    for geometry, value in shapes(np.where(mask, number, 0).astype(np.int32), mask=mask, connectivity=4):
        polygon = shapely.geometry.shape(geometry)
        if value:
            numbered.setdefault(int(value), []).append(polygon)
        else:
            out.append(Outline(klass, polygon))
    return out + [Outline(klass, p[0] if len(p) == 1 else shapely.MultiPolygon(p)) for p in numbered.values()]
