"""Real pictures without a data center as training pictures: as they are, and with simulated sites pasted on them.

In: a folder of small pictures and one JSON file with their outlines in pixels (x column, y row):
`{"folder/file.tif": {"gsd_m": 0.6, "complete": true, "outlines": [OUTLINE, …]}}`, where an outline has `class`,
`polygon` `[[x, y], …]`, and of machines `kind` and `single` (one machine, not a row). Out: `Picture`s. On a part of
the pictures a lot is pasted, on the others plant on a roof; data centers and ordinary uses alike. Pasted pictures are
made once and stored, where a resumed training finds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import shapely
from dask.system import CPU_COUNT
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from rasterio.features import rasterize, shapes

from overwatt.aoi.errors import AssetReadError, ConfigError, RegistryError
from overwatt.aoi.outline import repaired
from overwatt.models.evaluation.metrics import Outline
from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.models.simulate.camera import random_view
from overwatt.models.simulate.canvases import paste, plant_on_roof
from overwatt.models.training.samples import IGNORE, OTHER, Picture
from overwatt.workflows.config.training import CanvasSettings, resolve
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.vectors import CLASSES
from overwatt.workflows.training.samples import Say, masks, read_rgb

MAX_BYTES = 20_000_000  # of the file of outlines (own choice)
LAYERS = ("optical", "building", "cooling", "instance", "unit", "kind", "substation")
ROOFS = 0.6
"""Share of the pastes that put plant on a real roof, where there is one; the others put a whole lot (own choice)."""
LEAST_M2 = 1000.0
"""Smaller roofs get no plant: a data center on one would be below what is looked for (own choice)."""
MIDDLE = 0.25
"""Share cut from each side of a machine's outline in the unit mask, as in simulated scenes."""


class _Drawn(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    klass: str = Field(alias="class")
    kind: str | None = None
    single: bool | None = None
    polygon: Annotated[list[tuple[float, float]], Field(min_length=3, max_length=1000)]


class _Sheet(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    gsd_m: float = Field(gt=0.02, lt=20)
    complete: bool
    outlines: list[_Drawn]


@dataclass(frozen=True)
class _Paste:
    """One pasted picture to make: where to store it, and from what."""

    path: Path
    canvas: Picture
    seed: tuple[int, int]


def of_groups(groups: Sequence[CanvasSettings], base: Path, folder: Path, say: Say) -> list[Picture]:
    """Return the `pictures` of all groups of a training file, whose paths are relative to `base`."""
    return [p for g in groups for p in pictures(g, resolve(g.images, base), resolve(g.outlines, base), folder, say)]


def pictures(settings: CanvasSettings, images: Path, outlines: Path, folder: Path, say: Say) -> list[Picture]:
    """Return the pictures as they are, and those with a paste, which are made in `folder` if they are not there.

    Raises:
        ConfigError: the file of outlines names no complete picture.
        RegistryError: it cannot be read.
        AssetReadError: a picture is missing or damaged.
    """
    canvases = read(images, outlines)
    if not canvases:
        raise ConfigError(f"canvases '{settings.name}': {outlines.name} names no complete picture")
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(outlines.read_bytes()).hexdigest()[:8]
    todo = []
    for i in range(settings.pasted):
        # the name holds all that a pasted picture depends on, so a stored file is never stale
        name = f"{run_folder.simulator_version()}-{digest}-{settings.seed}-{i}.npz"
        canvas = canvases[int(np.random.default_rng([settings.seed, i, 1]).integers(len(canvases)))]
        todo.append(_Paste(folder / name, canvas, (settings.seed, i)))
    missing = [t for t in todo if not t.path.is_file()]
    if missing:
        with ProcessPoolExecutor(CPU_COUNT, mp_context=get_context("spawn")) as pool:
            for n, _ in enumerate(pool.map(_make, missing), 1):
                if n % 20 == 0:
                    say(f"canvases '{settings.name}': {n} of {len(missing)}")
    plain = settings.untouched if settings.pasted else 1.0
    weight = settings.weight * plain / len(canvases)
    out = [replace(c, weight=weight, scale=settings.scale) for c in canvases] if plain else []
    weight = settings.weight * (1 - plain) / max(settings.pasted, 1)
    for t in todo:
        with np.load(t.path, allow_pickle=False) as z:
            layers = {name: z[name] for name in LAYERS}
        valid = np.ones(layers["building"].shape, bool)
        out.append(
            Picture(t.path.stem, valid=valid, weight=weight, gsd_m=t.canvas.gsd_m, scale=settings.scale, **layers)
        )
    return out


def read(images: Path, outlines: Path) -> list[Picture]:
    """Return the pictures that a file of outlines says are complete, in its order; see `pictures`."""
    if not outlines.is_file():
        raise RegistryError(f"{outlines.name}: no such file")
    if outlines.stat().st_size > MAX_BYTES:
        raise RegistryError(f"{outlines.name}: larger than {MAX_BYTES:,} bytes")
    try:
        sheets = TypeAdapter(dict[str, _Sheet]).validate_python(json.loads(outlines.read_bytes()))
    except (ValidationError, ValueError, RecursionError) as error:
        raise RegistryError(f"{outlines.name}: {' '.join(str(error).split())[:200]}") from error
    root = images.resolve()
    found = []
    for name, sheet in sheets.items():
        path = (root / name).resolve()
        if not path.is_relative_to(root) or not path.is_file():
            raise AssetReadError(f"{outlines.name}: picture '{name}' is not in {images.name}")
        if sheet.complete:
            found.append(_picture(name, read_rgb(path), sheet, outlines.name))
    return found


def _picture(name: str, optical: np.ndarray, sheet: _Sheet, source: str) -> Picture:
    drawn = []
    unit, shape = np.zeros(optical.shape[1:], np.uint8), optical.shape[1:]
    for n, o in enumerate(sheet.outlines, 1):
        polygon = repaired(shapely.Polygon(o.polygon))
        if o.klass not in CLASSES or polygon is None or polygon.is_empty:
            raise RegistryError(f"{source}: {name}: outline {n} is no polygon of a known class")
        drawn.append(Outline(o.klass, polygon, o.kind if o.kind in MACHINE_KINDS else ""))
        if o.klass == "cooling_equipment":
            # within rows that were drawn as one, the machines are not known
            inner = polygon.buffer(-MIDDLE * np.sqrt(polygon.area), join_style="mitre") if o.single else polygon
            if not inner.is_empty:
                burnt = rasterize([inner], shape, dtype="uint8") > 0
                unit[burnt] = 1 if o.single else IGNORE
    valid = np.ones(shape, bool)
    layers: dict[str, Any] = masks(drawn, shape)
    return Picture(name, optical, valid, **layers, gsd_m=sheet.gsd_m, unit=unit)


def _make(job: _Paste) -> None:
    """Paste one site or one plant on a canvas and store the picture."""
    rng = np.random.default_rng(job.seed)
    canvas, gsd_m = job.canvas, job.canvas.gsd_m
    view = random_view(rng, gsd_m)
    # as `paste` draws it: most pictures are orthophotos, with less lean than the simulator's oblique views
    view = replace(view, lean=(0.4 * view.lean[0], 0.4 * view.lean[1]))
    scene = None
    for roof in _roofs(canvas, rng) if rng.random() < ROOFS else []:
        try:
            scene = plant_on_roof(canvas.optical, gsd_m, rng, roof, view=view, labels=scene or canvas)
            canvas = replace(canvas, optical=scene.optical)
        except ConfigError:  # a roof without room for machines
            continue
    if scene is None:
        scene = paste(canvas.optical, gsd_m, rng, view=view, labels=canvas)
    layers = {name: getattr(scene, name) for name in LAYERS}
    with run_folder.written(job.path) as part, part.open("wb") as file:
        np.savez_compressed(file, **layers)


def _roofs(canvas: Picture, rng: np.random.Generator) -> list[shapely.Polygon]:
    """Return up to three roofs of a canvas in random order, metres east and south of its upper left corner."""
    assert canvas.instance is not None
    numbers = np.unique(canvas.instance[canvas.building == OTHER])
    found = []
    for n in rng.permutation(numbers[numbers > 0])[:3]:
        mask = canvas.instance == n
        parts = [shapely.geometry.shape(g) for g, _ in shapes(mask.astype(np.uint8), mask=mask)]
        # without the steps of the pixels, which leave no long straight side
        roof = max(parts, key=lambda g: g.area).simplify(1.0)
        if roof.area * canvas.gsd_m**2 >= LEAST_M2:
            found.append(shapely.transform(roof, lambda xy: xy * canvas.gsd_m))
    return found
