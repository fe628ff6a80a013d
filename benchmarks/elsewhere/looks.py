"""Runs weights on frames: detected objects, a score for each box, and a control for the frame's style.

In: `Frame`s and a weights file. Out: one `Look` per frame, also from a cache folder. The style control blanks all
boxes with their shadows and asks for the probability there: it measures how much the surroundings alone reveal.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import shapely
import torch
from dask.system import CPU_COUNT

from benchmarks.elsewhere.frames import PIN, Frame
from overwatt.models.detector.card import CHANNELS, verified
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.windows import in_memory
from overwatt.models.evaluation.pieces import pieces_of
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.workflows.run.part_keys import source_hash
from overwatt.workflows.training.held_out import footprints_on

OVERLAP = 0.3
"""An object belongs to a box if at least this share of it lies inside, or it covers this share of the box."""
SHADOW_M = 15.0
"""Blanked around each box, on all sides because the sun is unknown: the shadow of a hall of 15 m at a sun 45 degrees
high, and drawing error (own choice)."""
_STATE: dict[str, Detector] = {}


@dataclass(frozen=True)
class Roof:
    """A scored box.

    Attributes:
        file: name of the picture.
        group: data set.
        place: place within it.
        klass: class of the box.
        area_m2: imaged area of the roof.
        score: data-center score of its object, 0..1; 0 if nothing was detected.
        novelty: of the same object; NaN if nothing was detected.
        style: mean data-center probability over its pixels when all boxes are blanked; NaN if none of them is valid.
        pieces: number of detected buildings that are pieces of it.
    """

    file: str
    group: str
    place: str
    klass: str
    area_m2: float
    score: float
    novelty: float
    style: float = float("nan")
    pieces: int = 0


@dataclass(frozen=True)
class Look:
    """The result of one frame.

    Attributes:
        frame: the frame.
        roofs: its boxes without map pins, in their order.
        found: data-center score and area of each detected building with a score above 0.05.
        km2: imaged area.
    """

    frame: Frame
    roofs: tuple[Roof, ...]
    found: tuple[tuple[float, float], ...]
    km2: float


def look_at_all(frames: Sequence[Frame], weights: Path, cache: Path | None = None) -> list[Look | None]:
    """Run weights on frames, one process per core; progress on standard error.

    Args:
        frames: what to look at.
        weights: weights file.
        cache: folder that keeps the result of each frame; results of the same weights, code and frame are read there.

    Returns:
        Results in the given order; None for frames that are coarser than the weights accept.
    """
    began = time.monotonic()
    card = verified(weights)
    store = Cache(cache, weights) if cache else None
    looks: list[Look | None] = [store.get(f) if store else None for f in frames]
    todo = [i for i, f in enumerate(frames) if looks[i] is None and f.gsd_m <= card.gsd_range_m[1]]
    if not todo:
        return looks
    with ProcessPoolExecutor(CPU_COUNT, get_context("spawn"), initializer=_load, initargs=(weights,)) as pool:
        results = pool.map(_look, [frames[i] for i in todo], chunksize=8)
        for n, (i, found) in enumerate(zip(todo, results, strict=True), 1):
            looks[i] = found
            if store:
                store.put(found)
            if n % 100 == 0:
                took = time.monotonic() - began
                print(f"{weights.stem}: frame {n} of {len(todo)}, {took:.0f} s", file=sys.stderr, flush=True)
    return looks


def _load(weights: Path) -> None:
    torch.set_num_threads(1)
    _STATE["detector"] = Detector.load(weights)


def _look(frame: Frame) -> Look:
    return look(_STATE["detector"], frame)


def look(detector: Detector, frame: Frame) -> Look:
    """Run weights on a frame. Pixels finer than they take are averaged first."""
    values, valid, gsd_m = frame.at(detector.card)
    picture = picture_of(frame, values, valid, gsd_m)
    objects = footprints_on(detector, picture)
    objects = objects[objects["class"].isin(["data_center", "other_building"])]
    # score is the probability of the object's own class; turn it into that of a data center
    center = np.where(objects["class"] == "data_center", objects["score"], 1 - objects["score"])
    shapes = np.asarray(objects.geometry.to_numpy(), dtype=object)
    factor = frame.gsd_m / gsd_m
    boxes = [(b, shapely.box(*(v * factor for v in b.xyxy))) for b in frame.boxes if b.klass != PIN]
    styles = _style(detector, picture, [box for _, box in boxes])
    roofs = []
    for (b, box), style in zip(boxes, styles, strict=True):
        shared = shapely.area(shapely.intersection(shapes, box)) if len(shapes) else np.empty(0)
        mine = (shared >= OVERLAP * shapely.area(shapes)) | (shared >= OVERLAP * box.area) if len(shapes) else []
        best = int(np.argmax(np.where(mine, center, -1))) if np.any(mine) else -1
        score = float(center[best]) if best >= 0 else 0.0
        novelty = float(objects["epistemic"].iloc[best]) if best >= 0 else float("nan")
        where = (frame.path.name, frame.group, frame.place)
        roofs.append(Roof(*where, b.klass, b.area_m2, score, novelty, style, pieces_of(box, shapes)))
    found = tuple((float(c), float(a)) for c, a in zip(center, objects["area_m2"], strict=True) if c > 0.05)
    return Look(frame, tuple(roofs), found, float(valid.sum()) * gsd_m**2 / 1e6)


def picture_of(frame: Frame, values: np.ndarray, valid: np.ndarray, gsd_m: float) -> Picture:
    """Return the pixels of a frame as a picture without labels."""
    pixels = np.rint(values * 255).astype(np.uint8)
    unknown = np.full(valid.shape, IGNORE, np.uint8)
    return Picture(frame.path.name, pixels, valid, unknown, unknown, gsd_m=gsd_m)


def _style(detector: Detector, picture: Picture, boxes: list[shapely.Polygon]) -> list[float]:
    """Return the mean data-center probability over each box with all boxes blanked; ideally it is uninformative."""
    if not boxes:
        return []
    places = []
    blank = picture.optical.copy()
    # blanked but valid: the colour is the training mean, so the input of the network is zero there
    grey = np.rint(np.asarray(detector.card.mean[:3]) * 255).astype(np.uint8)
    for box in boxes:
        x0, y0, x1, y1 = box.buffer(SHADOW_M / picture.gsd_m, join_style="mitre").bounds
        blank[:, max(0, int(y0)) : max(0, int(y1) + 1), max(0, int(x0)) : max(0, int(x1) + 1)] = grey[:, None, None]
        x0, y0, x1, y1 = box.bounds
        places.append((slice(max(0, int(y0)), max(0, int(y1) + 1)), slice(max(0, int(x0)), max(0, int(x1) + 1))))
    hidden = replace(picture, optical=blank)
    p, seen = predict(detector, in_memory(hidden.optical, hidden.valid), picture.valid.shape, picture.gsd_m)
    center = p[CHANNELS.index("data_center")]
    # pins are void, where the probability is 0 by convention: left out of the mean
    return [float(center[i][seen[i]].mean()) / 255 if seen[i].any() else float("nan") for i in places]


class Cache:
    """Results of frames in a folder, by weights with their card, code, and the frame with its pixels and boxes."""

    def __init__(self, folder: Path, weights: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        code = b"".join(Path(__file__).with_name(n).read_bytes() for n in ("looks.py", "frames.py"))
        parts = (code, source_hash("overwatt.workflows.training.held_out").encode())
        self._base = hashlib.sha256(b"".join((*parts, weights.with_suffix(".json").read_bytes())))

    def _file(self, frame: Frame) -> Path:
        digest = self._base.copy()
        digest.update(repr(replace(frame, path=Path(frame.path.name))).encode())
        digest.update(frame.path.read_bytes())
        return self.folder / f"{digest.hexdigest()[:32]}.json"

    def get(self, frame: Frame) -> Look | None:
        """Return the stored result of a frame; None if there is none that can be read."""
        try:
            stored = json.loads(self._file(frame).read_bytes())
            roofs = tuple(Roof(**r) for r in stored["roofs"])
            return Look(frame, roofs, tuple((float(s), float(a)) for s, a in stored["found"]), float(stored["km2"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, look: Look) -> None:
        """Store the result of a frame."""
        kept = {"roofs": [asdict(r) for r in look.roofs], "found": look.found, "km2": look.km2}
        file = self._file(look.frame)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(kept))
        part.replace(file)
