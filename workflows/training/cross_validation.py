"""Spatial cross-validation: the blocks of one picture are held out in turn.

In: a labelled picture and, later, the out-of-fold probabilities. Out: blocks, training pictures without one block,
scores and the fitted calibration. The cuts follow the gaps between buildings, so no building lies in two blocks, and
the network that scores a block was trained on neither its labels nor its pixels.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector import calibration
from overwatt.models.detector.card import ModelCard
from overwatt.models.evaluation.metrics import Outline, Unlabelled, score
from overwatt.models.training.active_learning import LARGE_ROOF_M2
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.pipeline.vocabulary import BUILDING_CLASSES
from overwatt.workflows.config.training import FoldSettings, PictureSettings, resolve
from overwatt.workflows.io import run_folder, vectors
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.vectors import footprints_of, outlines_px, to_pixels
from overwatt.workflows.training.held_out import COVERED

log = logging.getLogger(__name__)


def blocks_of(picture: Picture, settings: FoldSettings) -> np.ndarray:
    """Cut a picture into spatial blocks.

    Buildings are grouped by position (k-means on their centres), and every pixel belongs to the block of its
    nearest building.

    Returns:
        Block number of each pixel, (y, x) int. No building lies in two blocks.

    Raises:
        ConfigError: the picture has fewer buildings than blocks.
    """
    labels, n = ndimage.label((picture.building != 0) & picture.valid)
    if n < settings.blocks:
        raise ConfigError(f"{picture.name}: {n} buildings cannot be cut into {settings.blocks} blocks")
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, np.arange(1, n + 1)))
    areas = np.bincount(labels.ravel())[1:]
    # own choice: only the larger half places the blocks, so that many small buildings do not dominate the means
    big = areas >= np.median(areas)
    means, _ = kmeans2(centres[big], settings.blocks, seed=settings.seed, minit="++", iter=50)
    group = np.argmin(((centres[:, None] - means[None]) ** 2).sum(-1), axis=1)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    # index 0 is background, which is nearest to no pixel
    return np.concatenate([[-1], group])[labels[tuple(nearest)]]


def without(picture: Picture, held_out: np.ndarray, guard_px: float) -> Picture:
    """Return the picture without one block: its pixels are blanked, and labels within the guard are ignored.

    Args:
        picture: to copy.
        held_out: (y, x) bool, the block.
        guard_px: width of the strip around the block that is not trained on, in pixels.
    """
    near = ndimage.distance_transform_edt(~held_out) <= guard_px
    return replace(
        picture,
        optical=np.where(held_out, np.uint8(0), picture.optical),
        valid=picture.valid & ~held_out,
        building=np.where(near, np.uint8(IGNORE), picture.building),
        cooling=np.where(near, np.uint8(IGNORE), picture.cooling),
    )


def score_stitched(
    stitched: np.ndarray,
    block: np.ndarray,
    picture: Picture,
    image: Image,
    settings: PictureSettings,
    base: Path,
    out: Path,
    card: ModelCard,
) -> dict[str, Any]:
    """Score out-of-fold probabilities against independent labels and against our outlines; fit the calibration.

    Args:
        stitched: (channel, y, x) uint8, each pixel from the network that was not trained on its block.
        block: (y, x) int, block of each pixel.
        picture: the labelled picture.
        image: its image, for the grid.
        settings: its entry in the training file.
        base: folder that paths in the training file are relative to.
        out: output folder; receives `footprints.gpkg` and `folds.json`.
        card: the draft card.

    Returns:
        `folds` (path of the JSON file), `scores`, `offset`, `calibration` and `held_out` (score, truth and block of the
        held-out buildings of `LARGE_ROOF_M2` and more, on which both are fitted; novelty of all objects).
    """
    own = outlines_px(resolve(settings.outlines, base), image)

    def footprints_at(offset: float) -> tuple[gpd.GeoDataFrame, np.ndarray]:
        """Footprints at an offset, and the block of each."""
        detect_settings = DetectSettings.of(card.model_copy(update={"offset": offset}))
        table = footprints_of(stitched, picture.valid, image, detect_settings)
        points = to_pixels(table.geometry.representative_point(), image)
        return table, np.array([block[int(p.y), int(p.x)] for p in points], int)

    raw, _ = footprints_at(0.0)
    # the prior of an area is a share of its large roofs: annexes and small plant houses belong to no such share
    large_px = LARGE_ROOF_M2 / image.gsd_m**2
    predicted = outlines_of(raw, image)
    held_score, is_center, in_block = objects(predicted, raw["score"].to_numpy(), own, block, large_px)
    offset = offset_for(card, held_score, is_center)
    log.debug("out of fold: %d objects, %d data centers, offset %.3f", len(held_score), is_center.sum(), offset)
    tables = []
    for b in range(int(block.max()) + 1):
        # the offset for a block is fitted on the other blocks only
        table, table_block = footprints_at(offset_for(card, held_score[in_block != b], is_center[in_block != b]))
        tables.append(table[table_block == b])
    found = gpd.GeoDataFrame(pd.concat(tables, ignore_index=True), crs=raw.crs)
    run_folder.write_geopackage(out / "footprints.gpkg", {"footprints": found})
    predicted = outlines_of(found, image)
    scores: dict[str, Any] = {"folds": int(block.max()) + 1, "split": "spatial blocks, no building in two"}
    sets = {"own_outlines": own}
    if settings.scored_against:
        sets["independent_labels"] = outlines_px(resolve(settings.scored_against, base), image)
    for name, labels in sets.items():
        for mode in get_args(Unlabelled):
            scores[f"{name}, unlabelled {mode}"] = score(
                predicted, labels, picture.valid, gsd_m=image.gsd_m, unlabelled=mode
            )
    held_out = {
        "score": [round(float(v), 5) for v in held_score],
        "data_center": is_center.tolist(),
        "block": in_block.tolist(),
        "epistemic": [round(float(v), 4) for v in found["epistemic"]],
    }
    fitted = calibration.fit(calibration.shifted(held_score, offset), is_center).model_dump()
    result = {"scores": scores, "offset": offset, "calibration": fitted, "held_out": held_out}
    run_folder.write_json(out / "folds.json", result)
    return {"folds": str(out / "folds.json"), **result}


def outlines_of(footprints: gpd.GeoDataFrame, image: Image) -> list[Outline]:
    """Return footprints as outlines in the pixels of an image."""
    return vectors.outlines_of(footprints, to_pixels(footprints.geometry, image))


def offset_for(card: ModelCard, score: np.ndarray, center: np.ndarray) -> float:
    """Return the offset of scoring 'peak': of the draft card if it has one, else fitted to held-out objects.

    Scoring 'mean' has no offset: 0.
    """
    if card.scoring == "mean":
        return 0.0
    return card.offset or calibration.offset_for(score, center)


def objects(
    predicted: list[Outline], scores: np.ndarray, labels: list[Outline], block: np.ndarray, least_px: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the held-out buildings whose class is known from a label.

    Args:
        predicted: out-of-fold objects.
        scores: score of the predicted class of each, 0..1.
        labels: outlines; an object takes the class of the label that covers most of it.
        block: (y, x) int, block of each pixel.
        least_px: objects of a smaller area are left out, pixels.

    Returns:
        Data-center score (n,), whether it is a data center (n,) bool, block (n,) int.
    """
    known = [o for o in labels if o.klass in BUILDING_CLASSES]
    tree = shapely.STRtree([o.polygon for o in known])
    center_score, is_center, in_block = [], [], []
    for o, s in zip(predicted, scores, strict=True):
        if o.klass not in BUILDING_CLASSES or o.polygon.area < least_px:
            continue
        covers = dict.fromkeys(BUILDING_CLASSES, 0.0)
        for j in tree.query(o.polygon, predicate="intersects"):
            covers[known[j].klass] += o.polygon.intersection(known[j].polygon).area
        if max(covers.values()) < COVERED * o.polygon.area:
            continue
        inside = o.polygon.representative_point()
        # a score is that of the predicted class: turn it into that of "data center"
        center_score.append(s if o.klass == "data_center" else 1 - s)
        is_center.append(covers["data_center"] > covers["other_building"])
        in_block.append(int(block[int(inside.y), int(inside.x)]))
    return np.array(center_score, float), np.array(is_center, bool), np.array(in_block, int)
