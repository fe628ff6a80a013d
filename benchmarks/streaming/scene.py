"""The rasters that all measures read: SIMULATED pixels, written in bands so that any size fits into memory.

In: a path and a side. Out: a tiled GeoTIFF of three bands at 2 m.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from overwatt.models.simulate.training_scenes import training_scene

GSD_M = 2.0
PATTERN_PX = 1024


def pattern(plain: bool) -> np.ndarray:
    """Return (band, y, x) uint8: a simulated scene, or if `plain` flat ground with one flat roof (quick to write)."""
    if not plain:
        return training_scene(3, PATTERN_PX, GSD_M).optical
    scene = np.empty((3, PATTERN_PX, PATTERN_PX), np.uint8)
    scene[:] = np.array([60, 90, 60], np.uint8)[:, None, None]
    scene[:, 300:420, 200:500] = 220
    return scene


def write(path: Path, side_px: int, *, plain: bool) -> Path:
    """Write a square raster whose pattern is mirrored at each repetition; a file that is there is used again."""
    if path.is_file():
        return path
    # mirrored, so that repetitions meet without an edge
    quarter = pattern(plain)
    half = np.concatenate([quarter, quarter[:, :, ::-1]], 2)
    repeats = -(-side_px // half.shape[2])
    profile = {
        "driver": "GTiff", "count": 3, "height": side_px, "width": side_px, "dtype": "uint8", "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1, "photometric": "rgb",
        "crs": "EPSG:32618", "transform": Affine(GSD_M, 0, 285_000, 0, -GSD_M, 4_322_000), "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    part = path.with_suffix(".part.tif")
    with rasterio.open(part, "w", **profile) as file:
        for number, y in enumerate(range(0, side_px, PATTERN_PX)):
            rows = min(PATTERN_PX, side_px - y)
            band = np.tile(half[:, ::-1] if number % 2 else half, (1, 1, repeats))[:, :rows, :side_px]
            file.write(band, window=Window(0, y, side_px, rows))
    part.rename(path)
    return path
