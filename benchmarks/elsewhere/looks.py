"""What weights say of a frame: objects, a score for each box, and what they say of a site they cannot see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from benchmarks.elsewhere.frames import PIN, Frame
from models.predict import Detector, predict
from pipeline.detect import DetectSettings, join, near_void, tile_parts

OVERLAP = 0.3
"""An object belongs to a box when this share of it lies inside, or this share of the box is covered."""
STYLE_MARGIN_M = 10.0


@dataclass(frozen=True)
class Roof:
    """A box that was looked at: score 0..1 (0 where nothing was found), novelty, and what it is."""

    file: str
    group: str
    place: str
    klass: str
    area_m2: float
    score: float
    novelty: float


@dataclass(frozen=True)
class Look:
    """A frame that was looked at.

    Attributes:
        roofs: its boxes but pins.
        found: score and area of every building called a data center at 0.5 or above a tenth of that.
        style: (klass, share) of each box when all boxes are blanked: what the frame alone says.
        km2: ground that was looked at.
    """

    frame: Frame
    roofs: tuple[Roof, ...]
    found: tuple[tuple[float, float], ...]
    style: tuple[tuple[str, float], ...]
    km2: float


def look(detector: Detector, frame: Frame) -> Look | None:
    """Run weights on a frame; None where its ground size is outside of their range."""
    low, high = detector.card.gsd_range_m
    if not low <= frame.gsd_m <= high:
        return None
    values, valid, gsd_m = frame.at(detector.card)
    probability = _predict(detector, values, valid)
    settings = DetectSettings()
    void = near_void(np.pad(valid, 1))[1:-1, 1:-1]
    part = tile_parts(probability, valid, (0, 0), "", void, settings, gsd_m)
    objects = join([part], transform=None, crs=None, gsd_m=gsd_m, scene=frame.path.name, settings=settings)
    objects = objects[objects["class"] != "cooling_equipment"]
    center = np.where(objects["class"] == "data_center", objects["score"], 1 - objects["score"])
    shapes = np.asarray(objects.geometry.to_numpy(), dtype=object)
    factor = frame.gsd_m / gsd_m
    boxes = [(b, shapely.box(*(v * factor for v in b.xyxy))) for b in frame.boxes if b.klass != PIN]
    roofs = []
    for b, box in boxes:
        shared = shapely.area(shapely.intersection(shapes, box)) if len(shapes) else np.empty(0)
        mine = (shared >= OVERLAP * shapely.area(shapes)) | (shared >= OVERLAP * box.area) if len(shapes) else []
        best = int(np.argmax(np.where(mine, center, -1))) if np.any(mine) else -1
        score = float(center[best]) if best >= 0 else 0.0
        novelty = float(objects["epistemic"].iloc[best]) if best >= 0 else float("nan")
        where = (frame.path.name, frame.group, frame.place)
        roofs.append(Roof(*where, b.klass, b.area_m2, score, novelty))
    found = tuple((float(c), float(a)) for c, a in zip(center, objects["area_m2"], strict=True) if c > 0.05)
    style = _style(detector, values, valid, [(b.klass, box) for b, box in boxes], STYLE_MARGIN_M / gsd_m)
    return Look(frame, tuple(roofs), found, style, float(valid.sum()) * gsd_m**2 / 1e6)


def _predict(detector: Detector, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    ny, nx = valid.shape

    def read(y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        v, ok = np.zeros((3, y1 - y0, x1 - x0), np.float32), np.zeros((y1 - y0, x1 - x0), bool)
        a0, b0, a1, b1 = max(y0, 0), max(x0, 0), min(y1, ny), min(x1, nx)
        if a0 < a1 and b0 < b1:
            inner = (slice(a0 - y0, a1 - y0), slice(b0 - x0, b1 - x0))
            v[:, *inner], ok[inner] = values[:, a0:a1, b0:b1], valid[a0:a1, b0:b1]
        return v, ok

    return predict(detector, read, (0, 0, ny, nx))[0]


def _style(
    detector: Detector, values: np.ndarray, valid: np.ndarray, boxes: list[tuple[str, shapely.Polygon]], margin: float
) -> tuple[tuple[str, float], ...]:
    """Data-center probability over each box with all boxes blanked: at best it says nothing."""
    if not boxes:
        return ()
    places = []
    hidden = valid.copy()
    for _, box in boxes:
        x0, y0, x1, y1 = box.buffer(margin, join_style="mitre").bounds
        place = (slice(max(0, int(y0)), max(0, int(y1) + 1)), slice(max(0, int(x0)), max(0, int(x1) + 1)))
        places.append(place)
        hidden[place] = False
    # blanked for the network, but asked about: the values are the training mean there
    mean = np.asarray(detector.card.mean, np.float32)[:3, None, None]
    p = _predict(detector, np.where(hidden, values, mean), valid)
    return tuple((k, float(p[2][place].mean()) / 255) for (k, _), place in zip(boxes, places, strict=True))
