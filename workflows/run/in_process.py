"""Compute tiles in this process: threads that read ahead, threads that compute, threads that outline what was found.

In: a `Job`, the loaded detector, tiles. Out, in the order of completion: the arrays of each tile, or the reason why it
failed. Few tiles, one core or a GPU need no worker processes, whose start costs more than it saves.
Each computing thread gives torch one thread, as a worker process does, so the results are the same bit for bit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
import stamina

from overwatt.aoi.errors import AssetReadError, CatalogError, redact
from overwatt.aoi.grid import Tile
from overwatt.models.detector.windows import Gathered
from overwatt.workflows.io.limits import CACHE_BYTES
from overwatt.workflows.io.raster_checks import quiet
from overwatt.workflows.run.tile import Arrays, Computed, Job, computed, pixels_of, regions_of

if TYPE_CHECKING:
    from overwatt.models.detector.inference import Detector

OnDone = Callable[[Tile, str, Arrays | str], None]
"""Receives a tile, 'done' and its arrays, or 'failed' and the reason."""

UNREADABLE = (AssetReadError, CatalogError, OSError)
GPU_READERS = 4  # threads that decode pixels for one GPU; own choice


def has_cuda() -> bool:
    """Whether this machine computes on CUDA; without a device file torch is not imported."""
    if not (any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists()):
        return False
    import torch

    return bool(torch.cuda.is_available())


def give_back_memory() -> None:
    """Return freed memory to the system: glibc keeps what each thread freed, hundreds of MB after some tiles."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # not in musl
        trim(0)


def read_tile(job: Job, tile: Tile) -> Gathered:
    """Read the windows of a tile; remote reads, which fail for short times, are tried three times (own choice).

    Raises:
        AssetReadError, CatalogError, OSError: the pixels cannot be read.
    """
    attempts = 3 if job.source.remote else 1
    for attempt in stamina.retry_context(on=(AssetReadError, OSError), attempts=attempts, timeout=None):
        with attempt:
            return pixels_of(job, tile)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Give torch one thread for as long as the context lasts: results must not depend on the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run_tiles(job: Job, detector: Detector, tiles: Sequence[Tile], on_done: OnDone, cores: int) -> None:
    """Compute tiles, a few in flight at a time, and pass each result to a callback in this thread.

    Args:
        job: pixel source, area and settings.
        detector: the loaded model.
        tiles: tiles to compute.
        on_done: receives each result.
        cores: threads that compute; one with a GPU.

    Raises:
        Exception: what a tile raised, if its pixels could be read.
    """
    gpu = detector.device == "cuda"
    computers = 1 if gpu else max(1, min(cores, len(tiles)))
    readers = min(GPU_READERS, os.cpu_count() or 1) if gpu else computers
    waiting = list(reversed(tiles))
    running: dict[Future[Arrays], Tile] = {}
    reading, computing, outlining = (
        ThreadPoolExecutor(n, name) for n, name in ((readers, "read"), (computers, "compute"), (computers, "outline"))
    )

    def compute(tile: Tile, pixels: Future[Gathered]) -> Computed:
        return computed(job, detector, tile, pixels.result())

    def outline(tile: Tile, found: Future[Computed]) -> Arrays:
        arrays = regions_of(job, tile, found.result())
        give_back_memory()
        return arrays

    # GDAL would keep a twentieth of the machine's memory in decoded blocks; `quiet` for all threads together, because
    # rasterio switches this warning off and on for the whole process when it polygonises from pixel 0, 0
    with one_thread(), quiet(), rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES):
        try:
            while waiting or running:
                while waiting and len(running) < computers + readers:
                    tile = waiting.pop()
                    found = computing.submit(compute, tile, reading.submit(read_tile, job, tile))
                    running[outlining.submit(outline, tile, found)] = tile
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    tile = running.pop(future)
                    try:
                        arrays = future.result()
                    except UNREADABLE as error:
                        on_done(tile, "failed", redact(str(error)))
                    else:
                        on_done(tile, "done", arrays)
        finally:
            outlining.shutdown(cancel_futures=True)
            computing.shutdown(cancel_futures=True)
            reading.shutdown(cancel_futures=True)
