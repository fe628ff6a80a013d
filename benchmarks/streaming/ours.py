"""Our whole path on one raster: read, normalise, infer, join, write footprints and the probability raster.

In: a raster, weights or the identity model. Out: seconds, and peak memory above that after the imports.
"""

from __future__ import annotations

import hashlib
import importlib
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.streaming.process import memory_mb, reset_peak
from overwatt.aoi.grid import Tile
from overwatt.models.detector.card import DEFAULT_WEIGHTS, verified
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import NOVELTY_STRIDE, SiteNet
from overwatt.models.detector.windows import gather, lattice
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, open_image
from overwatt.workflows.run import in_process
from overwatt.workflows.run.computing import plan_tiles
from overwatt.workflows.run.joining import Joining
from overwatt.workflows.run.tile import Arrays, Job


class Identity(nn.Module):
    """A stand-in for the network: the three bands are the logits of the three classes, so the path alone is measured.

    It has what `Detector` needs, four outputs and no branches.
    """

    outputs, machines, counter = 4, None, None

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return 'logits' (n, 4, y, x), and features that nothing uses."""
        return torch.cat([x, x[:, :1]], 1), x[:, :, ::NOVELTY_STRIDE, ::NOVELTY_STRIDE], x

    def forward(self, x: Tensor) -> Tensor:
        """Return the 'logits'."""
        return self.forward_with_features(x)[0]


def detector_for(image: Image, *, identity: bool) -> Detector:
    """Return the shipped detector or the identity model, on the CPU."""
    card = verified(DEFAULT_WEIGHTS)
    if not identity:
        return Detector.load(DEFAULT_WEIGHTS, "cpu")
    card = card.model_copy(update={"scoring": "mean"})
    return Detector(cast(SiteNet, Identity()), card, "cpu", "float32", 1)


def whole_path(image: Image, detector: Detector, out: Path, cores: int, tiles: list[Tile]) -> dict[str, str]:
    """Run everything from reading to the written outputs; return the hashes of what came out."""
    settings = DetectSettings.of(detector.card)
    job = Job(image, DEFAULT_WEIGHTS, detector.card, None, settings)
    with Joining(out, image, None, settings, tiles) as joining:

        def on_done(tile: Tile, status: str, result: Arrays | str) -> None:
            assert not isinstance(result, str), result
            part = out / f"{tile.name}.npz"
            run_folder.save_part(part, result)
            joining.add(tile, result, part.stat().st_size)

        in_process.run_tiles(job, detector, tiles, on_done, cores)
        table, looked = joining.tables()
    run_folder.write_table(out, "looked_at", looked)
    run_folder.write_table(out, "footprints", table)
    names = ("footprints.parquet", "looked_at.parquet", "probability.tif")
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names}


def measure(
    path: str, *, identity: bool, cores: int, tile_px: int | None = None, backwards: bool = False
) -> dict[str, Any]:
    """Return seconds, peak_mb above the memory after the imports, and the hashes of the outputs."""
    importlib.import_module("pyarrow.parquet")  # what is imported later would count as memory of the path
    torch.set_num_threads(1)
    start_mb = reset_peak()
    start = time.perf_counter()
    card = verified(DEFAULT_WEIGHTS)
    image = open_image(Path(path), card)
    detector = detector_for(image, identity=identity)
    tiles = plan_tiles(image, None, tile_px)
    with TemporaryDirectory() as folder:
        hashes = whole_path(image, detector, Path(folder), cores, tiles[::-1] if backwards else tiles)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb": memory_mb("VmHWM") - start_mb, "tiles": len(tiles), "hashes": hashes}


def patches(image: Image, detector: Detector) -> list[np.ndarray]:
    """Return the normalised windows of an image, (band, y, x) each."""
    cells = lattice(image.shape, image.gsd_m)
    return [p.values for p in gather(detector.card, image.read, cells, (0, 0, *image.shape)).patches]


def computed_over_kept(shape: tuple[int, int], gsd_m: float) -> float:
    """Return pixels that the network computes for each pixel that is kept."""
    cells = lattice(shape, gsd_m)
    windows = [cells.window(cell) for cell in cells.cells()]
    return sum((y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in windows) / (shape[0] * shape[1])
