"""The smaller commands: detector alone, scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.sensors import weights_of
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, check_any_valid, open_image
from overwatt.workflows.io.thermal_excess import ExcessRaster, WithThermal, open_excess
from overwatt.workflows.io.vectors import footprints_of

Say = Callable[[str], None]
MAX_WHOLE_PX = 60_000_000  # about 6 GB while regions are measured


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
    """Write the footprints of images; all are opened and checked before anything is written.

    Footprints of an image without georeference are in its working pixels, areas by `gsd_m`.
    `thermal` is a raster of thermal excess, for weights with thermal bands.
    """
    if gsd_m is not None and gsd_m <= 0:
        raise ConfigError(f"--gsd {gsd_m:g}: metres a pixel, greater than 0")
    detector = detector_of(profile, weights)
    opened = [open_image(p, detector.card, gsd_m=gsd_m, require_crs=False) for p in images]
    if len({i.geobox is None for i in opened}) > 1:
        raise ConfigError("detect: images with and without georeference in one call; run them apart")
    for image in opened:
        check_whole(image)
        check_any_valid(image)
    heats = [open_excess(thermal, image, detector.card) if thermal else None for image in opened]
    found = []
    for image, heat in zip(opened, heats, strict=True):
        frame, _ = footprints(detector, image, heat)
        found.append(frame)
        say(f"{image.name}: {len(frame)} footprints")
    table = pd.concat(found, ignore_index=True) if len(found) > 1 else found[0]
    if len(opened) > 1:
        table["object_id"] = table["scenes"] + ":" + table["object_id"]
    if opened[0].geobox is None:
        table = table.set_crs(None, allow_override=True)
    written = run_folder.write_table(out, "footprints", table)[0]
    return {"footprints": str(written), "count": len(table)}


def detector_of(profile: str | None, weights: Path | None) -> Detector:
    """Load the detector of a profile's name or of a weights file; the bundled weights where both are None."""
    path, narrow = weights_of(profile, weights)
    return Detector.load(path, profile=narrow)


def check_whole(image: Image) -> None:
    """Refuse an image that is too large to be held whole; ConfigError says what takes it."""
    if image.shape[0] * image.shape[1] > MAX_WHOLE_PX:
        raise ConfigError(
            f"image {image.name}: {image.shape[0]} x {image.shape[1]} pixels are too many for one piece; "
            "use `overwatt run`, which works in tiles"
        )


def footprints(
    detector: Detector, image: Image, heat: ExcessRaster | None = None
) -> tuple[gpd.GeoDataFrame, np.ndarray]:
    """Return the footprints of a whole image, and where it was valid, (y, x) bool."""
    whole = (0, 0, *image.shape)
    if heat is None:
        probability, valid = predict(detector, image.read, whole, image.gsd_m)
        return footprints_of(probability, valid, image, DetectSettings.of(detector.card)), valid
    probability, valid = predict(detector, WithThermal(image, heat).read, whole, image.gsd_m)
    measured = np.isfinite(heat.read(*whole)).any(0)
    return footprints_of(probability, valid, image, DetectSettings.of(detector.card), measured), valid


def label_texts(labels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Labelled buildings with the word that an overlay writes on them."""
    words = {"data_center": "DC", "other_building": "other", "unknown": "?"}
    buildings = labels[labels["class"].isin(list(words))]
    return buildings.assign(label=buildings["class"].map(words))


def in_training(image: Image, card: ModelCard) -> bool:
    """Whether the weights were trained on this image: same content, or overlapping ground."""
    for source in card.training:
        if source.image_sha256 and source.image_sha256 == image.sha256:
            return True
        if source.extent and image.geobox is not None:
            w, s, e, n = source.extent
            left, bottom, right, top = image.geobox.geographic_extent.boundingbox
            if left < e and w < right and bottom < n and s < top:
                return True
    return False


def score_lines(result: dict[str, Any]) -> list[str]:
    """Scores as lines for people."""

    def number(value: float | None) -> str:
        return "  -  " if value is None else f"{value:.3f}"

    lines = [f"trained on this ground: {'YES, not a test' if result['in_training'] else 'no'}"]
    for klass in ("data_center", "other_building", "cooling_equipment"):
        r = result[klass]
        interval = r["interval"]["dice"]
        spread = f" (95%: {interval[0]:.3f}-{interval[1]:.3f})" if interval else ""
        f1 = f", object F1 {number(r['object_f1'])}" if "object_f1" in r else ""
        lines.append(
            f"{klass:18s} IoU {number(r['iou'])}, Dice {number(r['dice'])}{spread}, "
            f"precision {number(r['precision'])}, recall {number(r['recall'])}{f1}"
        )
    other = result["other_building"]
    lines.append(f"other buildings called data center: {other['called_data_center']} of {other['n']}")
    for band in result["by_size"]:
        low, high = band["area_m2"]
        name = f"{low / 1000:g}-{high / 1000:g}" if high else f"> {low / 1000:g}"
        d, o = band["data_center"], band["other_building"]
        lines.append(
            f"  {name:>6s} thousand m²: data centers found {d['called_data_center']}/{d['n']}, "
            f"others called data center {o['called_data_center']}/{o['n']}"
        )
    return lines


def training_lines(result: dict[str, Any]) -> list[str]:
    """What a training gave, as lines for people."""
    if "weights" in result:
        return [f"weights: {result['weights']} ({result['bytes'] / 1e6:.1f} MB)"]
    lines = []
    for name, scores in result["scores"].items():
        if isinstance(scores, dict):
            lines += [name, *(f"  {line}" for line in score_lines({"in_training": False, **scores})[1:])]
    return lines
