"""What weights say of labelled pictures that they have not seen, object by object.

In: a detector and pictures with truth. Out: arrays over the buildings found: data-center score,
what they were, which picture they are of, novelty and area; what calibration is fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
from rasterio.features import rasterize

from overwatt.models.detector.inference import Detector, Read, predict
from overwatt.models.training.samples import DATA_CENTER, OTHER, Picture
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings, near_void, vectorize_tile

COVERED = 0.3
"""Share of an object that labelled buildings must cover for it to be one of them."""


@dataclass(frozen=True)
class Objects:
    """Buildings found in pictures with truth: score 0..1, whether a data center, picture, novelty, m2."""

    score: np.ndarray
    center: np.ndarray
    picture: np.ndarray
    epistemic: np.ndarray
    area_m2: np.ndarray


def reader(picture: Picture) -> Read:
    """Windows of a picture, float32 0..1; what lies outside of it is not valid."""
    ny, nx = picture.valid.shape

    def read(y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        values = np.zeros((len(picture.optical), y1 - y0, x1 - x0), np.float32)
        valid = np.zeros((y1 - y0, x1 - x0), bool)
        a, b, c, d = max(y0, 0), max(x0, 0), min(y1, ny), min(x1, nx)
        if a < c and b < d:
            to = (slice(a - y0, c - y0), slice(b - x0, d - x0))
            values[:, *to] = picture.optical[:, a:c, b:d].astype(np.float32) / 255.0
            valid[to] = picture.valid[a:c, b:d]
        return values, valid

    return read


def footprints_on(detector: Detector, picture: Picture) -> gpd.GeoDataFrame:
    """Table `footprints` of a picture in memory, in its pixels."""
    probability, valid = predict(detector, reader(picture), (0, 0, *picture.valid.shape), picture.gsd_m)
    settings = DetectSettings.of(detector.card)
    void = near_void(np.pad(valid, 1))[1:-1, 1:-1]
    part = vectorize_tile(probability, valid, (0, 0), "r000c000", void, settings, picture.gsd_m)
    return merge_footprints(
        [part], transform=None, crs=None, gsd_m=picture.gsd_m, scene=picture.name, settings=settings
    )


def objects_on(detector: Detector, pictures: Sequence[Picture]) -> Objects:
    """Run weights on pictures with truth and say what each building found there was.

    Buildings that the truth does not tell (mostly unlabelled ground) count as no data center:
    a false site is one, whatever it stands on.
    """
    rows: list[tuple[float, bool, int, float, float]] = []
    for number, picture in enumerate(pictures):
        found = footprints_on(detector, picture)
        found = found[found["class"] != "cooling_equipment"]
        for klass, score, novelty, area, geometry in zip(
            found["class"], found["score"], found["epistemic"], found["area_m2"], found.geometry, strict=True
        ):
            inside = rasterize([geometry], picture.valid.shape, dtype="uint8").astype(bool)
            total = max(1, int(inside.sum()))
            center = int((picture.building[inside] == DATA_CENTER).sum())
            other = int((picture.building[inside] == OTHER).sum())
            unknown = int((picture.building[inside] > DATA_CENTER).sum())
            if unknown > total / 2:
                continue
            is_center = center > other and center >= COVERED * total
            rows.append((float(score if klass == "data_center" else 1 - score), is_center, number, novelty, area))
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    kinds = (float, bool, int, float, float)
    return Objects(*(np.array(c, k) for c, k in zip(columns, kinds, strict=True)))
