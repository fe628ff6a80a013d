"""Detected objects on held-out labelled pictures, to fit a calibration on.

In: a detector and pictures with ground truth. Out: arrays over the buildings found: data-center score, true class,
picture number, novelty and area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
from rasterio.features import rasterize

from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.windows import in_memory
from overwatt.models.training.samples import DATA_CENTER, OTHER, Picture
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings, near_void, vectorize_tile
from overwatt.pipeline.vocabulary import BUILDING_CLASSES

COVERED = 0.3
"""Share of an object that labelled data centers must cover for it to be one. Own choice: below one half, because
detected and labelled outlines differ in position and extent."""


@dataclass(frozen=True)
class Objects:
    """Buildings found in pictures with ground truth, all arrays (n,).

    Attributes:
        score: data-center score, float64, 0..1.
        center: whether the building is a data center, bool.
        picture: number of the picture, int.
        epistemic: novelty of the object to the network, float64.
        area_m2: area in m2, float64.
    """

    score: np.ndarray
    center: np.ndarray
    picture: np.ndarray
    epistemic: np.ndarray
    area_m2: np.ndarray


def footprints_on(detector: Detector, picture: Picture) -> gpd.GeoDataFrame:
    """Return table `footprints` of a picture in memory, with geometries in its pixels."""
    probability, valid = predict(
        detector, in_memory(picture.optical, picture.valid), picture.valid.shape, picture.gsd_m
    )
    settings = DetectSettings.of(detector.card)
    # one pixel of padding: ground outside of the picture counts as void, as at the edge of real imagery
    void = near_void(np.pad(valid, 1))[1:-1, 1:-1]
    part = vectorize_tile(probability, valid, (0, 0), "r000c000", void, settings, picture.gsd_m)
    return merge_footprints(
        [part], transform=None, crs=None, gsd_m=picture.gsd_m, scene=picture.name, settings=settings
    )


def objects_on(detector: Detector, pictures: Sequence[Picture]) -> Objects:
    """Run a detector on pictures with ground truth and return the class of each building found.

    A building on ground without any label counts as no data center, because it is a false detection wherever it is.
    A building that lies mostly on ground labelled as unknown is left out.
    """
    rows: list[tuple[float, bool, int, float, float]] = []
    for number, picture in enumerate(pictures):
        found = footprints_on(detector, picture)
        found = found[found["class"].isin(BUILDING_CLASSES)]
        for klass, score, novelty, area, geometry in zip(
            found["class"], found["score"], found["epistemic"], found["area_m2"], found.geometry, strict=True
        ):
            inside = rasterize([geometry], picture.valid.shape, dtype="uint8").astype(bool)
            total = max(1, int(inside.sum()))
            center = int((picture.building[inside] == DATA_CENTER).sum())
            other = int((picture.building[inside] == OTHER).sum())
            # codes above DATA_CENTER are the unknown ones: IGNORE and NOT_CENTER
            unknown = int((picture.building[inside] > DATA_CENTER).sum())
            if unknown > total / 2:
                continue
            is_center = center > other and center >= COVERED * total
            # the score is that of the predicted class: turn it into that of "data center"
            rows.append((float(score if klass == "data_center" else 1 - score), is_center, number, novelty, area))
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    kinds = (float, bool, int, float, float)
    return Objects(*(np.array(c, k) for c, k in zip(columns, kinds, strict=True)))
