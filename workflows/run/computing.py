"""Where tiles are computed: in this process, in worker processes of this machine, or on a given Dask scheduler.

In: a `Job` and how many tiles there are. Out: a function that computes tiles. Results do not depend on the choice.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dask.system import CPU_COUNT

from overwatt.aoi.area import Area
from overwatt.aoi.errors import ModelContractError
from overwatt.aoi.grid import Tile, crop_to_area, tiles
from overwatt.models.detector.windows import lattice
from overwatt.workflows.io.source import Source
from overwatt.workflows.run import in_process
from overwatt.workflows.run.tile import Job

log = logging.getLogger(__name__)

THREADS = 8
"""Cores up to which this process computes, one thread each. With two, threads were 1.2 times as fast as worker
processes and started 6 s sooner (docs/decisions/0022); with many, Python's lock would hold them up (own choice)."""
WORKER_BYTES = 2_500_000_000
"""Memory for each core that computes: libraries and weights (0.8 GB), a window of 1,920 pixels (1.0 GB), a tile."""
GPU_TILE_PX = 4096
"""Side of a tile where one process computes on a GPU, so that the windows of a tile fill its batches; own choice."""


@dataclass(frozen=True)
class Computing:
    """A place where tiles are computed.

    Attributes:
        description: everything there that the bits of a result depend on.
        run: computes tiles and passes each result to a callback.
        where: in words.
    """

    description: str
    run: Callable[[Sequence[Tile], in_process.OnDone], None]
    where: str


def plan_tiles(source: Source, area: Area | None = None, tile_px: int | None = None) -> list[Tile]:
    """Return the tiles of the source that intersect the bounds of the area.

    Tiles consist of whole cells of the network's lattice, so that no window is computed twice; smaller ones are
    possible, and slower.

    Args:
        source: imagery.
        area: area of interest; None for all of the source.
        tile_px: side of a tile in pixels, rounded down to whole cells; None: one cell, or `GPU_TILE_PX` with a GPU.

    Returns:
        Tiles whose cores, (y0, x0, y1, x1) in pixels, are clipped to the bounds of the area.
    """
    y0, x0, y1, x1 = (0, 0, *source.shape)
    if area is not None:
        assert source.geobox is not None
        y0, x0, y1, x1 = crop_to_area(source.geobox, area)
    if tile_px is None:
        tile_px = GPU_TILE_PX if in_process.has_cuda() else 0
    cell = lattice(source.shape, source.gsd_m).cell_px
    sides = tuple(tile_px // c * c if tile_px >= c else tile_px or c for c in cell)
    out = []
    # tiles of the whole source, so that two areas of interest share the tile borders
    for t in tiles(source.shape, (sides[0], sides[1])):
        a, b, c, d = t.core
        core = (max(a, y0), max(b, x0), min(c, y1), min(d, x1))
        if core[0] < core[2] and core[1] < core[3]:
            out.append(Tile(t.name, t.row, t.col, core))
    return out


@contextlib.contextmanager
def computing(job: Job, scheduler: str | None, wanted: int) -> Iterator[Computing]:
    """Load the detector where the tiles will be computed, and yield that place.

    Args:
        job: what is computed.
        scheduler: address of a running Dask scheduler; None for this machine.
        wanted: number of tiles.

    Raises:
        ConfigError: the scheduler is not reachable, has no workers, or its workers compute differently.
        ModelContractError: the weights cannot be used.
    """
    cores = max(1, min(CPU_COUNT, _memory() // WORKER_BYTES))
    if scheduler is None and (min(wanted, cores) <= THREADS or in_process.has_cuda()):
        from overwatt.models.detector.inference import Detector

        detector = Detector.load(job.weights)
        if detector.card.weights_sha256 != job.card.weights_sha256:
            raise ModelContractError(f"{job.weights.name}: has changed since this run began; run again")
        with in_process.one_thread():
            description = detector.describe()
        log.debug("computing in this process with: %s", description)
        yield Computing(
            description, lambda todo, on_done: in_process.run_tiles(job, detector, todo, on_done, cores), "this process"
        )
        return
    from overwatt.workflows.run import cluster  # Dask's scheduler takes a second to import

    with cluster.workers(job, scheduler, min(cores, wanted)) as (ready, description):
        where = "the given scheduler" if scheduler else "worker processes"
        yield Computing(description, lambda todo, on_done: cluster.run_tiles(ready, todo, on_done), where)


def _memory() -> int:
    """Bytes of memory of this machine; a terabyte where the system does not say."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return 10**12
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
