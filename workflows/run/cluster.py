"""Tiles as Dask tasks: a local cluster of processes by default, or a scheduler's address.

In: a source of pixels, weights, tiles still to do. Out, as they finish: each tile's part, or
the reason why it failed. The model is loaded once a worker, by a plugin; what travels is the
weights' path and the tile. At most a few tiles a worker are in flight, so memory is bounded by
the tile. Workers that would round differently (another torch build, device or thread count)
are refused: results must not depend on who did the work.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import stamina
import torch
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, WorkerPlugin, as_completed
from odc.geo.geobox import GeoBox

from overwatt.aoi.area import Area
from overwatt.aoi.errors import AssetReadError, CatalogError, ConfigError, ModelContractError, OverwattError, redact
from overwatt.aoi.grid import Tile, area_mask
from overwatt.models.detector.card import CHANNELS
from overwatt.models.detector.inference import Detector, predict
from overwatt.pipeline.detection.instances import SUMS
from overwatt.pipeline.detection.vectorization import KINDS, PART_COLUMNS, DetectSettings, near_void, vectorize_tile
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.source import Source

Arrays = dict[str, np.ndarray]
_STATE: dict[str, tuple[Job, Detector]] = {}  # by run
_ONE = threading.Lock()
IN_FLIGHT = 2  # tiles a worker: one computing, one waiting


@dataclass(frozen=True)
class Job:
    """What every worker needs, once."""

    source: Source
    weights: Path
    weights_sha256: str
    area: Area | None
    settings: DetectSettings


@dataclass(frozen=True)
class Workers:
    """Dask workers that are ready for one run."""

    client: Client
    run: str


class _Load(WorkerPlugin):
    """Loads the detector once a worker; one torch thread, so that the bits do not depend on the machine's cores.

    Each run has a name of its own: runs that share a scheduler must not take over each other's weights.
    """

    def __init__(self, job: Job, run: str) -> None:
        self.job, self.name = job, run

    def setup(self, worker: object) -> None:
        torch.set_num_threads(1)
        detector = Detector.load(self.job.weights)
        if detector.card.weights_sha256 != self.job.weights_sha256:
            raise ModelContractError(f"a worker holds other weights under {self.job.weights}; copy the same there")
        _STATE[self.name] = (self.job, detector)

    def teardown(self, worker: object) -> None:
        _STATE.pop(self.name, None)


def _describe(run: str) -> str:
    return str(_STATE[run][1].describe())


def look(job: Job, detector: Detector, tile: Tile) -> Arrays:
    """Compute one tile: probabilities, validity and the regions as polygons.

    Raises:
        AssetReadError, CatalogError: the pixels cannot be read.
    """
    y0, x0, y1, x1 = tile.core
    values, margin = job.source.read(y0 - 1, x0 - 1, y1 + 1, x1 + 1)
    measured = np.isfinite(values[len(detector.card.bands) :, 1:-1, 1:-1]).any(0)
    if job.area is not None and job.source.geobox is not None:
        box = job.source.geobox
        shifted = GeoBox(margin.shape, box.affine * type(box.affine).translation(x0 - 1, y0 - 1), box.crs)
        margin &= area_mask(shifted, job.area)
    valid = margin[1:-1, 1:-1]
    probability = np.zeros((len(CHANNELS), y1 - y0, x1 - x0), np.uint8)
    if valid.any():
        probability, seen = predict(detector, job.source.read, tile.core, job.source.gsd_m)
        valid = valid & seen
        probability = probability * valid
    void = near_void(margin)[1:-1, 1:-1]
    parts = vectorize_tile(probability, valid, (y0, x0), tile.name, void, job.settings, job.source.gsd_m, measured)
    return {"probability": probability[: len(run_folder.RASTER_BANDS)], "valid": np.packbits(valid), **_pack(parts)}


def _pack(parts: pd.DataFrame) -> Arrays:
    wkb = [shapely.to_wkb(g) for g in parts["geometry"]]
    return {
        "wkb": np.frombuffer(b"".join(wkb), np.uint8),
        "wkb_bytes": np.array([len(b) for b in wkb], np.int64),
        "kind": np.array([KINDS.index(k) for k in parts["kind"]], np.int8),
        **{n: parts[n].to_numpy(np.int64) for n in SUMS},
        "on_border": parts["on_border"].to_numpy(bool),
    }


def unpack(arrays: Arrays, tile: Tile) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return probability (band, y, x), as in `store.RASTER_BANDS`, valid (y, x) and the regions of a stored part."""
    y0, x0, y1, x1 = tile.core
    n = (y1 - y0) * (x1 - x0)
    valid = np.unpackbits(arrays["valid"], count=n).astype(bool).reshape(y1 - y0, x1 - x0)
    ends = np.cumsum(arrays["wkb_bytes"])
    blob = arrays["wkb"].tobytes()
    geometry = [shapely.from_wkb(blob[e - b : e]) for e, b in zip(ends, arrays["wkb_bytes"], strict=True)]
    parts = pd.DataFrame(
        {
            "kind": [KINDS[k] for k in arrays["kind"]],
            "geometry": pd.Series(geometry, dtype=object),
            **{c: arrays[c] for c in SUMS},
            "tile": tile.name,
            "on_border": arrays["on_border"],
        },
        columns=list(PART_COLUMNS),
    )
    return arrays["probability"], valid, parts


def _task(run: str, tile: Tile) -> tuple[str, Arrays | str]:
    """One tile on a worker: ('done', arrays) or ('failed', reason). Bugs keep their traceback."""
    job, detector = _STATE[run]
    try:
        attempts = 3 if job.source.remote else 1
        for attempt in stamina.retry_context(on=(AssetReadError, OSError), attempts=attempts, timeout=None):
            # one tile a process, however many threads a worker was started with: GDAL's files are not thread-safe
            with attempt, _ONE:
                torch.set_num_threads(1)
                return "done", look(job, detector, tile)
    except (AssetReadError, CatalogError, OSError) as error:
        return "failed", redact(str(error))
    raise AssertionError("unreachable")


@contextlib.contextmanager
def workers(job: Job, scheduler: str | None, wanted: int) -> Iterator[tuple[Workers, str]]:
    """Give workers that hold the detector, and the description of how they compute.

    Args:
        job: what the workers need.
        scheduler: address of a running scheduler (tls:// off the loopback), or None for local processes.
        wanted: number of tiles, so that no more processes than that are started.

    Raises:
        ConfigError: the scheduler is not reachable, has no workers, or its workers differ.
    """
    for name in ("distributed.nanny", "distributed.worker", "distributed.scheduler", "distributed.core"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        if scheduler:
            client = stack.enter_context(_connect(scheduler))
        else:
            cores = 1 if torch.cuda.is_available() else CPU_COUNT
            cluster = stack.enter_context(_local(max(1, min(cores, wanted))))
            client = stack.enter_context(Client(cluster))
        run = f"overwatt-{uuid.uuid4().hex}"
        client.register_plugin(_Load(job, run))
        if scheduler:
            stack.callback(client.unregister_worker_plugin, run)
        described = set(client.run(_describe, run).values())
        if len(described) != 1:
            raise ConfigError(f"workers compute differently ({'; '.join(sorted(described))}); use equal workers")
        yield Workers(client, run), described.pop()


def _local(count: int) -> LocalCluster:
    """Start worker processes that Ctrl-C does not reach: they would print tracebacks; we end them ourselves."""
    resource_tracker.ensure_running()  # or it would unblock the signal in the thread that starts the workers
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # without one dask takes port 8787, and warns when that is taken
            scheduler_kwargs={"dashboard": False},
            host="127.0.0.1",
            memory_limit=0,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(address: str) -> Client:
    host = address.split("://")[-1].rsplit(":", 1)[0].strip("[]")
    loopback = host in ("localhost", "::1") or host.startswith("127.")
    if not loopback and not address.startswith("tls://"):
        raise ConfigError(f"--scheduler {address}: off the loopback a scheduler is reached by tls:// only")
    try:
        client = Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(f"--scheduler {address}: not reachable") from error
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.close()
        raise ConfigError(f"--scheduler {address}: has no workers; start some (dask worker {address})")
    return client


def run_tiles(workers: Workers, tiles: Sequence[Tile], on_done: Callable[[Tile, str, Arrays | str], None]) -> None:
    """Run tiles, a few in flight at a time, handing each result over as it comes.

    Args:
        workers: from `workers`.
        tiles: what to do.
        on_done: called with the tile, 'done' and its arrays, or 'failed' and the reason.
    """
    client = workers.client
    count = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
    waiting = list(reversed(tiles))
    running: dict[Any, Tile] = {}
    queue = as_completed([])

    def submit() -> None:
        tile = waiting.pop()
        future = client.submit(_task, workers.run, tile, pure=False, retries=1)
        running[future] = tile
        queue.add(future)

    while waiting and len(running) < IN_FLIGHT * count:
        submit()
    for future in queue:
        tile = running.pop(future)
        if future.status == "error":
            error = future.exception()
            if not isinstance(error, OverwattError) and "KilledWorker" not in type(error).__name__:
                raise error
            on_done(tile, "failed", redact(f"{type(error).__name__}: {error}"))
        else:
            status, result = future.result()
            on_done(tile, status, result)
        future.release()
        if waiting:
            submit()
