"""What other libraries do with the same network and the same raster, each to a class map and its polygons.

In: a raster and the name of a rival. Out: seconds, and peak memory above that after the imports.

- `torchgeo`: a `RasterDataset` with its `GridGeoSampler`, windows of 512 at a stride of 384, whose centres are kept, as
  its tutorials and issues #30, #1991 and #3666 do by hand, since it has no stitching of its own.
- `geoai`: the accumulation of its `predict_geotiff` (geoai/inference.py): windows of 512 that overlap by 128, cosine
  weights, two accumulators of the whole raster in float64. Written here from that description, without the package.
- `whole_raster`: one forward pass over all of the raster.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.features import shapes
from rasterio.windows import Window

from benchmarks.streaming.process import memory_mb, reset_peak
from overwatt.models.detector.card import DEFAULT_WEIGHTS
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.windows import normalise

WINDOW_PX, STRIDE_PX, CLASSES = 512, 384, 3
NAMES = ("torchgeo", "geoai", "whole_raster")


def missing(name: str) -> str | None:
    """Return what to install for a rival that is not there."""
    if name == "torchgeo" and importlib.util.find_spec("torchgeo") is None:
        return "torchgeo is not installed: pip install 'overwatt[bench]'"
    return None


def measure(name: str, path: str, threads: int) -> dict[str, Any]:
    """Return seconds and peak_mb of a rival."""
    warnings.simplefilter("ignore")
    if name == "torchgeo":
        importlib.import_module("torchgeo.samplers")  # its import is no part of the measure
    torch.set_num_threads(threads)
    start_mb, start = reset_peak(), time.perf_counter()
    detector = Detector.load(DEFAULT_WEIGHTS, "cpu")
    classes = {"torchgeo": by_torchgeo, "geoai": by_accumulation, "whole_raster": at_once}[name](Path(path), detector)
    with TemporaryDirectory() as folder, rasterio.open(path) as source:
        profile = source.profile | {"count": 1, "photometric": "minisblack", "driver": "GTiff"}
        with rasterio.open(Path(folder) / "classes.tif", "w", **profile) as out:
            out.write(classes, 1)
        polygons = list(shapes(classes, mask=classes > 0, transform=source.transform))
    return {"seconds": time.perf_counter() - start, "peak_mb": memory_mb("VmHWM") - start_mb, "objects": len(polygons)}


def probabilities(detector: Detector, pixels: np.ndarray) -> np.ndarray:
    """Return the class probabilities (class, y, x) float32 of a window (band, y, x) uint8."""
    x = normalise(detector.card, pixels.astype(np.float32) / 255, np.ones(pixels.shape[1:], bool))
    with torch.inference_mode():
        logits = detector.net(torch.from_numpy(x)[None].contiguous(memory_format=torch.channels_last))
        return logits[0, :CLASSES].softmax(0).numpy()


def by_torchgeo(path: Path, detector: Detector) -> np.ndarray:
    """Return the class map (y, x) uint8."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GridGeoSampler

    class Scene(RasterDataset):
        filename_glob = path.name

    dataset = Scene(path.parent)
    loader = DataLoader(
        dataset, sampler=GridGeoSampler(dataset, size=WINDOW_PX, stride=STRIDE_PX), collate_fn=stack_samples
    )
    with rasterio.open(path) as source:
        shape, inverse = source.shape, ~source.transform
    classes = np.zeros(shape, np.uint8)
    halo = (WINDOW_PX - STRIDE_PX) // 2
    for batch in loader:
        left, top = _corner(batch)
        x, y = (round(v) for v in inverse @ (left, top))
        found = probabilities(detector, batch["image"][0].numpy().astype(np.uint8)).argmax(0).astype(np.uint8)
        # centres only, but at the edge; there the sampler's windows exceed the raster
        a, b = (halo if v > 0 else -v for v in (y, x))
        c, d = (n - v if v + WINDOW_PX >= n else WINDOW_PX - halo for v, n in ((y, shape[0]), (x, shape[1])))
        classes[y + a : y + c, x + b : x + d] = found[a:c, b:d]
    return classes


def _corner(batch: dict[str, Any]) -> tuple[float, float]:
    """Return the upper left map coordinate of a sample of torchgeo 0.8: slices of x, y and time."""
    x, y, _ = batch["bounds"][0]
    return x.start, y.stop


def by_accumulation(path: Path, detector: Detector) -> np.ndarray:
    """Return the class map (y, x) uint8 from weighted means over all windows of a pixel."""
    overlap = WINDOW_PX - STRIDE_PX
    ramp = np.minimum(np.arange(WINDOW_PX) + 0.5, overlap) / overlap
    edge = 0.5 * (1 - np.cos(np.pi * np.minimum(ramp, ramp[::-1])))
    weight = np.outer(edge, edge)
    with rasterio.open(path) as source:
        total = np.zeros((CLASSES, *source.shape), np.float64)
        weights = np.zeros(source.shape, np.float64)
        for y, x in _windows(source.shape):
            pixels = source.read(window=Window(x, y, WINDOW_PX, WINDOW_PX))
            part = (slice(y, y + WINDOW_PX), slice(x, x + WINDOW_PX))
            total[:, *part] += probabilities(detector, pixels) * weight
            weights[part] += weight
    total /= np.maximum(weights, 1e-10)
    return total.argmax(0).astype(np.uint8)


def _windows(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the corners (y, x) of windows; the last ones are moved inward."""
    ys, xs = (sorted({min(v, n - WINDOW_PX) for v in range(0, n, STRIDE_PX)}) for n in shape)
    yield from ((y, x) for y in ys for x in xs)


def at_once(path: Path, detector: Detector) -> np.ndarray:
    """Return the class map (y, x) uint8 of one forward pass."""
    with rasterio.open(path) as source:
        pixels = source.read()
    return probabilities(detector, pixels).argmax(0).astype(np.uint8)
