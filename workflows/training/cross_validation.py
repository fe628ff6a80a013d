"""Spatial cross-validation: blocks of one picture, held out in turn.

Pictures are cut along the gaps between buildings, so no building lies in two blocks, and the
network that scores a block has seen neither its labels nor its pixels.
"""

from __future__ import annotations

import json
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
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.config.training import FoldSettings, PictureSettings, resolve
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.vectors import footprints_of, outlines_px, to_pixels

COVERED = 0.3
"""Share of an object that a label must cover to say what it is."""


def blocks_of(picture: Picture, settings: FoldSettings) -> np.ndarray:
    """Cut a picture into spatial blocks: (y, x) int, no building in two blocks.

    Buildings are grouped by place (k-means on their centres), and every pixel goes with its
    nearest building.
    """
    labels, n = ndimage.label((picture.building != 0) & picture.valid)
    if n < settings.blocks:
        raise ConfigError(f"{picture.name}: {n} buildings cannot be cut into {settings.blocks} blocks")
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, np.arange(1, n + 1)))
    areas = np.bincount(labels.ravel())[1:]
    big = areas >= np.median(areas)
    means, _ = kmeans2(centres[big], settings.blocks, seed=settings.seed, minit="++", iter=50)
    group = np.argmin(((centres[:, None] - means[None]) ** 2).sum(-1), axis=1)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.concatenate([[-1], group])[labels[tuple(nearest)]]


def without(picture: Picture, held_out: np.ndarray, guard_px: float) -> Picture:
    """The picture with a block blanked: no pixel of it is seen, none within the guard is learned from."""
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
    """Score out-of-fold probabilities against independent labels and against the own outlines; fit the calibration."""
    own = outlines_px(resolve(settings.outlines, base), image)

    def look(offset: float) -> tuple[gpd.GeoDataFrame, np.ndarray]:
        """Footprints at an offset, and the block of each."""
        there = DetectSettings.of(card.model_copy(update={"offset": offset}))
        table = footprints_of(stitched, picture.valid, image, there)
        points = to_pixels(table.geometry.representative_point(), image)
        return table, np.array([block[int(p.y), int(p.x)] for p in points], int)

    raw, _ = look(0.0)
    at, center, where = objects(outlines_of(raw, image), raw["score"].to_numpy(), own, block)
    offset = offset_for(card, at, center)
    tables = []
    for b in range(int(block.max()) + 1):  # no block is decided on by an offset that it helped to find
        table, place = look(offset_for(card, at[where != b], center[where != b]))
        tables.append(table[place == b])
    found = gpd.GeoDataFrame(pd.concat(tables, ignore_index=True), crs=raw.crs)
    found.to_file(out / "footprints.gpkg", layer="footprints")
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
        "score": [round(float(v), 5) for v in at],
        "data_center": center.tolist(),
        "block": where.tolist(),
        "epistemic": [round(float(v), 4) for v in found["epistemic"]],
    }
    fitted = calibration.fit(calibration.shifted(at, offset), center).model_dump()
    result = {"scores": scores, "offset": offset, "calibration": fitted, "held_out": held_out}
    (out / "folds.json").write_text(json.dumps(result, indent=1) + "\n")
    return {"folds": str(out / "folds.json"), **result}


def outlines_of(footprints: gpd.GeoDataFrame, image: Image) -> list[Outline]:
    """Footprints as outlines in an image's pixels."""
    shapes = to_pixels(footprints.geometry, image)
    return [Outline(k, g) for k, g in zip(footprints["class"], shapes, strict=True)]


def offset_for(card: ModelCard, score: np.ndarray, center: np.ndarray) -> float:
    """Offset of scoring 'peak' from held-out objects; 0 for scoring 'mean', which has none."""
    return calibration.offset_for(score, center) if card.scoring == "peak" else 0.0


def objects(
    predicted: list[Outline], scores: np.ndarray, labels: list[Outline], block: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Held-out buildings whose class a label tells.

    Args:
        predicted: out-of-fold objects.
        scores: score of each one's own class, 0..1.
        labels: outlines; an object takes the class of the label that covers most of it.
        block: (y, x) int, which block a pixel lies in.

    Returns:
        Data-center score (n,), whether it is a data center (n,) bool, block (n,) int.
    """
    known = [o for o in labels if o.klass in ("data_center", "other_building")]
    tree = shapely.STRtree([o.polygon for o in known])
    x, y, where = [], [], []
    for o, s in zip(predicted, scores, strict=True):
        if o.klass == "cooling_equipment":
            continue
        covers = dict.fromkeys(("data_center", "other_building"), 0.0)
        for j in tree.query(o.polygon, predicate="intersects"):
            covers[known[j].klass] += o.polygon.intersection(known[j].polygon).area
        if max(covers.values()) < COVERED * o.polygon.area:
            continue
        inside = o.polygon.representative_point()
        x.append(s if o.klass == "data_center" else 1 - s)
        y.append(covers["data_center"] > covers["other_building"])
        where.append(int(block[int(inside.y), int(inside.x)]))
    return np.array(x, float), np.array(y, bool), np.array(where, int)
