"""`overwatt detect`: the detector alone, on whole images.

In: image files, weights and optionally a raster of thermal excess. Out: the table `footprints`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.aoi.errors import AssetReadError, ConfigError
from overwatt.aoi.grid import Tile, Window
from overwatt.models.detector.card import ModelCard, verified
from overwatt.models.detector.sensors import TYPE_UNTOLD, tells_type, weights_of
from overwatt.pipeline.detection.untold import without_type
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, check_any_valid, open_image
from overwatt.workflows.io.source import Source
from overwatt.workflows.io.thermal_excess import ExcessRaster, WithThermal, open_excess
from overwatt.workflows.run.computing import computing, plan_tiles
from overwatt.workflows.run.ground_check import check_ground_size
from overwatt.workflows.run.joining import Objects
from overwatt.workflows.run.tile import Arrays, Job

log = logging.getLogger(__name__)

Say = Callable[[str], None]
OnTile = Callable[[Window, np.ndarray, int, int], None]
"""Receives a tile's window (y0, x0, y1, x1), its validity (y, x) bool, and how many of how many tiles are done."""


def detect(
    images: list[Path],
    out: Path,
    *,
    gsd_m: float | None,
    weights: Path | None,
    say: Say,
    thermal: Path | None = None,
    profile: str | None = None,
) -> dict[str, Any]:
    """Detect footprints in images and write them as one table. All images are checked before anything is written.

    Args:
        images: paths, all with georeference or all without.
        out: output folder.
        gsd_m: ground sampling distance in metres per pixel, for images without georeference.
        weights: weights file; None for the bundled weights or those of `profile`.
        say: receives progress lines.
        thermal: raster of thermal excess, for weights with a thermal band.
        profile: name of a sensor profile.

    Returns:
        `footprints` (path of the table), `count`, and `ground_size`: of each image its name, declared_m and
        looks_like_m, metres per pixel, None if nothing contradicts the declared size. Without georeference the
        geometries are in working pixels of the image, and areas follow from `gsd_m`.

    Raises:
        ConfigError: an option is invalid.
        OverwattError: an image, the thermal raster or the weights cannot be used.
    """
    if gsd_m is not None and gsd_m <= 0:
        raise ConfigError(f"--gsd {gsd_m:g}: give metres per pixel, greater than 0")
    path, card = weights_for(profile, weights)
    opened = [open_image(p, card, gsd_m=gsd_m, require_crs=False) for p in images]
    if len({i.geobox is None for i in opened}) > 1:
        raise ConfigError("detect: some images have a georeference and some do not; use one call for each kind")
    for image in opened:
        check_any_valid(image)
    heats = [open_excess(thermal, image, card) if thermal else None for image in opened]
    sizes = [check_ground_size(image) for image in opened]
    for image, size in zip(opened, sizes, strict=True):
        if size.question:
            say(f"{image.name}: {size.question}")
    found = []
    for image, heat in zip(opened, heats, strict=True):
        frame = footprints(path, card, image, heat, on_tile=_progress(image, say))
        found.append(frame)
        say(f"{image.name}: {len(frame)} footprints")
    if not tells_type(card):
        say(TYPE_UNTOLD)
    table = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    if len(opened) > 1:
        # object ids are unique within one image only
        table["object_id"] = table["scenes"] + ":" + table["object_id"]
    if opened[0].geobox is None:
        table = table.set_crs(None, allow_override=True)
    written = run_folder.write_table(out, "footprints", table)[0]
    log.debug("footprints: %d rows written to %s", len(table), written)
    asked = [{"image": i.name, **asdict(size)} for i, size in zip(opened, sizes, strict=True)]
    return {"footprints": str(written), "count": len(table), "ground_size": asked}


def weights_for(profile: str | None, weights: Path | None) -> tuple[Path, ModelCard]:
    """Return the weights file of a sensor profile or the given one, the bundled one if both are None, and its card."""
    path, narrow = weights_of(profile, weights)
    log.debug("weights %s, profile %s", path, profile or "none")
    card = verified(path)
    return path, narrow.narrowed(card) if narrow else card


def footprints(
    weights: Path,
    card: ModelCard,
    image: Image,
    heat: ExcessRaster | None = None,
    on_tile: OnTile = lambda window, valid, done, of: None,
) -> gpd.GeoDataFrame:
    """Return the footprints of an image of any size, computed tile by tile as in a run.

    Args:
        weights: weights file.
        card: its card.
        image: the image.
        heat: thermal excess for weights with a thermal band.
        on_tile: receives the validity of each tile, in the order of completion.

    Raises:
        AssetReadError: pixels cannot be read.
    """
    settings = DetectSettings.of(card)
    source: Source = image if heat is None else WithThermal(image, heat)
    todo = plan_tiles(source)
    objects, done = Objects(image, settings), 0

    def on_done(tile: Tile, status: str, result: Arrays | str) -> None:
        nonlocal done
        if isinstance(result, str):
            raise AssetReadError(result, str(image.path), tile.core)
        _, valid = objects.add(tile, result)
        done += 1
        on_tile(tile.core, valid, done, len(todo))

    with computing(Job(source, weights, card, None, settings), None, len(todo)) as place:
        place.run(todo, on_done)
    found = objects.footprints()
    return found if tells_type(card) else without_type(found, card.calibration)


def _progress(image: Image, say: Say) -> OnTile:
    """Return what says how far an image is: each tile of few, about every twentieth of many."""

    def on_tile(window: Window, valid: np.ndarray, done: int, of: int) -> None:
        if of > 1 and (done % max(1, of // 20) == 0 or done == of):
            say(f"{image.name}: {done}/{of} tiles")

    return on_tile
