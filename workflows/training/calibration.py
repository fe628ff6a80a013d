"""Calibration on held-out simulated scenes: without thermal excess and, for weights with a thermal band, with it.

In: a trained network and simulated scenes that it was not trained on. Out: fields of its model card.
With a thermal band the detector runs on the same scenes twice: with the band, and with the band marked as not
measured. The two calibrations and their scores therefore differ only by the thermal measurement.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import shapely
from rasterio.features import shapes

from overwatt.models.detector import calibration
from overwatt.models.detector.card import Calibration, ModelCard
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.network import SiteNet
from overwatt.models.detector.windows import in_memory
from overwatt.models.evaluation.metrics import Outline
from overwatt.models.training.samples import DATA_CENTER, OTHER, Picture
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings, near_void, vectorize_tile
from overwatt.pipeline.sites.clustering import p_data_center
from overwatt.workflows.training.cross_validation import objects, offset_for

log = logging.getLogger(__name__)

CLASSES = {OTHER: "other_building", DATA_CENTER: "data_center"}


def calibrate(net: SiteNet, card: ModelCard, pictures: list[Picture]) -> dict[str, Any]:
    """Fit the calibrations on held-out scenes.

    Args:
        net: the trained network.
        card: its card, for normalisation.
        pictures: scenes with pixel sizes that the network supports.

    Returns:
        Fields of the card: `offset` and `calibration` (both without thermal excess), `calibration_thermal` (with it,
        only for weights with a thermal band), and `scores`. Each score has the number of objects and of data
        centers, the Brier score, the Brier score of the constant prediction "share of data centers", and the AUC.
    """
    detector = Detector.of(net, card.model_copy(update={"offset": 0.0}))
    optical = _pooled(detector, pictures, heat=False)
    offset = offset_for(card, *optical)
    without, measures = _fitted(*optical, offset)
    log.debug("calibration without thermal excess, offset %.3f: %s", offset, measures)
    if not card.thermal_bands:
        return {"offset": offset, "calibration": without, "scores": {"held-out simulated scenes": measures}}
    # the offset is the one without thermal excess: the card has a single offset for both cases
    with_heat, thermal_measures = _fitted(*_pooled(detector, pictures, heat=True), offset)
    log.debug("calibration with thermal excess: %s", thermal_measures)
    scores = {
        "held-out simulated scenes, without heat": measures,
        "held-out simulated scenes, with heat": thermal_measures,
    }
    return {"offset": offset, "calibration": without, "calibration_thermal": with_heat, "scores": scores}


def _pooled(detector: Detector, pictures: list[Picture], *, heat: bool) -> tuple[np.ndarray, np.ndarray]:
    """Data-center score (n,) and truth (n,) bool of the objects of all pictures."""
    found = [_objects(detector, p, heat=heat) for p in pictures]
    return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])


def _fitted(score: np.ndarray, center: np.ndarray, offset: float) -> tuple[Calibration, dict[str, Any]]:
    """Calibration fitted to shifted scores, and its measures."""
    score = calibration.shifted(score, offset)
    fitted = calibration.fit(score, center)
    measures: dict[str, Any] = {"objects": len(center), "data_centers": int(center.sum())}
    if 0 < center.sum() < len(center):
        p = p_data_center(score, fitted, fitted.prevalence)
        # AUC: share of pairs (data center, other building) in the right order, ties count half (Hanley & McNeil 1982)
        difference = score[center][:, None] - score[~center][None]
        measures |= {
            "brier": round(calibration.brier(p, center), 4),
            # Brier score of always predicting the share s: s (1 - s)
            "brier_share_only": round(float(center.mean() * (1 - center.mean())), 4),
            "auc": round(float((difference > 0).mean() + (difference == 0).mean() / 2), 4),
        }
    return fitted, measures


def _objects(detector: Detector, picture: Picture, *, heat: bool) -> tuple[np.ndarray, np.ndarray]:
    """Data-center score (n,) of the objects found in a picture, and whether each is a data center (n,) bool."""
    ny, nx = picture.valid.shape
    settings = DetectSettings.of(detector.card)
    values = picture.optical
    if heat and picture.thermal is not None:
        values = np.concatenate([values.astype(np.float32) / 255, picture.thermal])
    probability, valid = predict(detector, in_memory(values, picture.valid), (ny, nx), picture.gsd_m)
    # one pixel of padding: ground outside of the scene counts as void, as at the edge of real imagery
    void = near_void(np.pad(valid, 1))[1:-1, 1:-1]
    part = vectorize_tile(probability, valid, (0, 0), "", void, settings, picture.gsd_m)
    frame = merge_footprints(
        [part], transform=None, crs=None, gsd_m=picture.gsd_m, scene=picture.name, settings=settings
    )
    predicted = [Outline(k, g) for k, g in zip(frame["class"], frame.geometry, strict=True)]
    one_block = np.zeros((ny, nx), int)
    score, center, _ = objects(predicted, frame["score"].to_numpy(), _labels(picture), one_block)
    return score, center


def _labels(picture: Picture) -> list[Outline]:
    """Outlines of the buildings of known class in a scene, in pixels."""
    known = np.isin(picture.building, tuple(CLASSES)) & picture.valid
    number = picture.building if picture.instance is None else picture.instance
    code = np.where(known, number.astype(np.int32) * 4 + picture.building, 0)  # classes are 1 or 2
    return [
        Outline(CLASSES[int(v) % 4], shapely.geometry.shape(g))
        for g, v in shapes(code.astype(np.int32), mask=known, connectivity=4)
    ]
