"""Runs weights on frames: detected objects, a score for each box, and a control for the frame's style.

In: `Frame`s and a weights file. Out: one `Look` per frame. The style control blanks all boxes and asks for the
probability there: it measures how much the surroundings alone reveal.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import shapely
import torch
from dask.system import CPU_COUNT

from benchmarks.elsewhere.frames import PIN, Frame
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.workflows.training.held_out import footprints_on, reader

OVERLAP = 0.3
"""An object belongs to a box if at least this share of it lies inside, or it covers this share of the box."""
STYLE_MARGIN_M = 10.0  # blanked around each box, for shadows and drawing error
_STATE: dict[str, Detector] = {}


@dataclass(frozen=True)
class Roof:
    """A scored box: score 0..1 (0 if nothing was detected), novelty (NaN likewise), class and origin."""

    file: str
    group: str
    place: str
    klass: str
    area_m2: float
    score: float
    novelty: float


@dataclass(frozen=True)
class Look:
    """The result of one frame.

    Attributes:
        frame: the frame.
        roofs: its boxes without map pins.
        found: data-center score and area of each detected building with a score above 0.05.
        style: (class, mean probability) of each box when all boxes are blanked.
        km2: imaged area.
    """

    frame: Frame
    roofs: tuple[Roof, ...]
    found: tuple[tuple[float, float], ...]
    style: tuple[tuple[str, float], ...]
    km2: float


def look_at_all(frames: list[Frame], weights: Path) -> list[Look | None]:
    """Run weights on frames, one process per core; results in the given order, progress on standard error."""
    began, looks = time.monotonic(), []
    cores = CPU_COUNT
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=_load, initargs=(weights,)) as pool:
        for i, found in enumerate(pool.map(_look, frames, chunksize=8), 1):
            looks.append(found)
            if i % 100 == 0:
                took = time.monotonic() - began
                print(f"{weights.stem}: frame {i} of {len(frames)}, {took:.0f} s", file=sys.stderr, flush=True)
    return looks


def _load(weights: Path) -> None:
    torch.set_num_threads(1)
    _STATE["detector"] = Detector.load(weights)


def _look(frame: Frame) -> Look | None:
    return look(_STATE["detector"], frame)


def look(detector: Detector, frame: Frame) -> Look | None:
    """Run weights on a frame; None if it is coarser than they accept. Finer frames are averaged first."""
    if frame.gsd_m > detector.card.gsd_range_m[1]:
        return None
    values, valid, gsd_m = frame.at(detector.card)
    picture = picture_of(frame, values, valid, gsd_m)
    objects = footprints_on(detector, picture)
    objects = objects[objects["class"] != "cooling_equipment"]
    # score is the probability of the object's own class; turn it into that of a data center
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
    style = _style(detector, picture, [(b.klass, box) for b, box in boxes])
    return Look(frame, tuple(roofs), found, style, float(valid.sum()) * gsd_m**2 / 1e6)


def picture_of(frame: Frame, values: np.ndarray, valid: np.ndarray, gsd_m: float) -> Picture:
    """Return the pixels of a frame as a picture without labels."""
    pixels = np.rint(values * 255).astype(np.uint8)
    unknown = np.full(valid.shape, IGNORE, np.uint8)
    return Picture(frame.path.name, pixels, valid, unknown, unknown, gsd_m=gsd_m)


def _style(
    detector: Detector, picture: Picture, boxes: list[tuple[str, shapely.Polygon]]
) -> tuple[tuple[str, float], ...]:
    """Return the mean data-center probability over each box with all boxes blanked; ideally it is uninformative."""
    if not boxes:
        return ()
    places = []
    blank = picture.optical.copy()
    # blanked but valid: the colour is the training mean, so the input of the network is zero there
    grey = np.rint(np.asarray(detector.card.mean[:3]) * 255).astype(np.uint8)
    for _, box in boxes:
        x0, y0, x1, y1 = box.buffer(STYLE_MARGIN_M / picture.gsd_m, join_style="mitre").bounds
        place = (slice(max(0, int(y0)), max(0, int(y1) + 1)), slice(max(0, int(x0)), max(0, int(x1) + 1)))
        places.append(place)
        blank[:, *place] = grey[:, None, None]
    hidden = replace(picture, optical=blank)
    p = predict(detector, reader(hidden), (0, 0, *picture.valid.shape), picture.gsd_m)[0]
    return tuple((k, float(p[2][place].mean()) / 255) for (k, _), place in zip(boxes, places, strict=True))
