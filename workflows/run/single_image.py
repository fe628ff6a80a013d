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

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.sensors import TYPE_UNTOLD, tells_type, weights_of
from overwatt.pipeline.detection.untold import without_type
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, check_any_valid, open_image
from overwatt.workflows.io.thermal_excess import ExcessRaster, WithThermal, open_excess
from overwatt.workflows.io.vectors import footprints_of
from overwatt.workflows.run.ground_check import check_ground_size

log = logging.getLogger(__name__)

Say = Callable[[str], None]
MAX_WHOLE_PX = 60_000_000  # own choice: needs about 6 GB of memory while the regions are measured


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
        ConfigError: an option is invalid, or an image is too large for one piece.
        OverwattError: an image, the thermal raster or the weights cannot be used.
    """
    if gsd_m is not None and gsd_m <= 0:
        raise ConfigError(f"--gsd {gsd_m:g}: give metres per pixel, greater than 0")
    detector = detector_of(profile, weights)
    opened = [open_image(p, detector.card, gsd_m=gsd_m, require_crs=False) for p in images]
    if len({i.geobox is None for i in opened}) > 1:
        raise ConfigError("detect: some images have a georeference and some do not; use one call for each kind")
    for image in opened:
        check_whole(image)
        check_any_valid(image)
    heats = [open_excess(thermal, image, detector.card) if thermal else None for image in opened]
    sizes = [check_ground_size(image) for image in opened]
    for image, size in zip(opened, sizes, strict=True):
        if size.question:
            say(f"{image.name}: {size.question}")
    found = []
    for image, heat in zip(opened, heats, strict=True):
        frame, _ = footprints(detector, image, heat)
        found.append(frame)
        say(f"{image.name}: {len(frame)} footprints")
    if not tells_type(detector.card):
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


def detector_of(profile: str | None, weights: Path | None) -> Detector:
    """Load the detector of a sensor profile or of a weights file; the bundled weights if both are None."""
    path, narrow = weights_of(profile, weights)
    log.debug("weights %s, profile %s", path, profile or "none")
    return Detector.load(path, profile=narrow)


def check_whole(image: Image) -> None:
    """Check that an image is small enough to be processed without tiles.

    Raises:
        ConfigError: it has more than `MAX_WHOLE_PX` pixels.
    """
    if image.shape[0] * image.shape[1] > MAX_WHOLE_PX:
        raise ConfigError(
            f"image {image.name}: {image.shape[0]} x {image.shape[1]} pixels are too many for one piece; "
            "use `overwatt run`, which processes tiles"
        )


def footprints(
    detector: Detector, image: Image, heat: ExcessRaster | None = None
) -> tuple[gpd.GeoDataFrame, np.ndarray]:
    """Return the footprints of a whole image, and its validity, (y, x) bool."""
    whole = (0, 0, *image.shape)
    if heat is None:
        probability, valid = predict(detector, image.read, whole, image.gsd_m)
        found = footprints_of(probability, valid, image, DetectSettings.of(detector.card))
    else:
        probability, valid = predict(detector, WithThermal(image, heat).read, whole, image.gsd_m)
        measured = np.isfinite(heat.read(*whole)).any(0)
        found = footprints_of(probability, valid, image, DetectSettings.of(detector.card), measured)
    if not tells_type(detector.card):
        found = without_type(found, detector.card.calibration)
    return found, valid
