"""Dice per class on pixels that no network was trained on.

In: detectors, the real district with one block held out, simulated scenes, the scores of a cross-validation.
Out: Dice per class.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_data import real_data
from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.windows import normalise
from overwatt.models.training.samples import DATA_CENTER, IGNORE, NOT_CENTER, OTHER, Picture
from overwatt.workflows.config.training import FoldSettings
from overwatt.workflows.io.images import Image, open_image
from overwatt.workflows.io.vectors import outlines_px
from overwatt.workflows.training.cross_validation import blocks_of
from overwatt.workflows.training.samples import outlined

MEASURED = ("data_center", "other_building", "cooling_equipment")
OUTLINES = Path(__file__).resolve().parents[2] / "models" / "labels" / "ashburn.geojson"
MAX_FOLDS_BYTES = 20_000_000
SCORED = ("independent_labels, unlabelled ignore", "own_outlines, unlabelled ignore")


def counts(p: np.ndarray, building: np.ndarray, cooling: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Count pixels for Dice.

    Args:
        p: (channel, y, x) uint8 from `overwatt.models.detector.inference`.
        building: (y, x) uint8 as in `Picture`.
        cooling: (y, x) uint8 as in `Picture`.
        known: (y, x) bool, pixels to count.

    Returns:
        (class as in `MEASURED`, [both, found, labelled]) int.
    """
    sure, label = known & (building < NOT_CENTER), p[:3].argmax(0)
    pairs = [(sure & (label == k), sure & (building == k)) for k in (DATA_CENTER, OTHER)]
    # the sigmoid of equipment at probability 0.5
    sure = known & (cooling != IGNORE)
    pairs.append((sure & (p[3] > 127), sure & (cooling == 1)))
    return np.array([[(a & b).sum(), a.sum(), b.sum()] for a, b in pairs])


def dice(found: np.ndarray) -> dict[str, float | None]:
    """Return Dice of each class from `counts`, None if a class is not labelled, and the mean of the others."""
    out: dict[str, float | None] = {}
    for name, (both, a, b) in zip(MEASURED, found, strict=True):
        # Dice = 2 |A n B| / (|A| + |B|)
        out[name] = round(float(2 * both / (a + b)), 4) if b else None
    there = [v for v in out.values() if v is not None]
    return out | {"mean": round(float(np.mean(there)), 4) if there else None}


def dice_simulated(detector: Detector, scenes: Sequence[Picture]) -> dict[str, float | None]:
    """Return Dice pooled over whole scenes, each of them one window."""
    total = np.zeros((len(MEASURED), 3), int)
    for s in scenes:
        window = normalise(detector.card, s.optical.astype(np.float32) / 255, s.valid)
        total += counts(detector.windows([window], detector.card.gsd_m)[0], s.building, s.cooling, s.valid)
    return dice(total)


@dataclass(frozen=True)
class Real:
    """The real district: its picture, and the (y, x) bool block that is held out."""

    image: Image
    picture: Picture
    held_out: np.ndarray

    def dice(self, detector: Detector) -> dict[str, float | None]:
        """Return Dice on the held-out block."""
        p, seen = predict(detector, self.image.read, self.image.shape, self.image.gsd_m)
        return dice(counts(p, self.picture.building, self.picture.cooling, seen & self.held_out))


def real_district(card: ModelCard, folds: FoldSettings, block: int, weight: float) -> Real | None:
    """Return Ashburn with one block held out, or None if its picture is missing."""
    path = real_data() / "ashburn" / "naip_rgb_2m.tif"
    if not path.is_file():
        return None
    image = open_image(path, card)
    picture = outlined(image, outlines_px(OUTLINES, image), "Ashburn (NAIP, 2 m)", weight)
    return Real(image, picture, blocks_of(picture, folds) == block)


def shipped(folder: Path | None) -> dict[str, Any]:
    """Return Dice of the bundled training file from the folds.json of a full cross-validation, which trains far longer.

    Raises:
        ConfigError: no such file, too large, or not what `overwatt train --folds spatial` writes.
    """
    if folder is None:
        return {"dice_shipped": None, "dice_shipped_on": None}
    path = folder / "folds.json"
    if not path.is_file():
        raise ConfigError(f"--folds {folder}: no folds.json in it; `overwatt train FILE --folds spatial` writes one")
    if path.stat().st_size > MAX_FOLDS_BYTES:
        raise ConfigError(f"{path.name}: larger than {MAX_FOLDS_BYTES} bytes, not scores of a cross-validation")
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
        on = next(k for k in SCORED if k in scores)
        return {"dice_shipped": float(scores[on]["data_center"]["dice"]), "dice_shipped_on": on}
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ConfigError(f"{path.name}: not scores of a cross-validation; run `overwatt train` again") from error
