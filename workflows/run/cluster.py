"""Compute tiles as Dask tasks, on a local cluster of processes or on a given scheduler.

In: a pixel source, weights, tiles still to do. Out, in the order of completion: the part of each tile, or the reason
why it failed. A plugin loads the model once per worker; a task contains only the run's name and the tile. At most
`IN_FLIGHT` tiles per worker are in flight, which bounds the memory. Workers that would round differently (another
torch build, device or thread count) are refused: results must not depend on which worker computed a tile.

Torch is imported by the workers alone: the process that plans, joins and reports has no use for it.
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
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
import stamina
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, WorkerPlugin, as_completed
from odc.geo.geobox import GeoBox

from overwatt.aoi.area import Area
from overwatt.aoi.errors import AssetReadError, CatalogError, ConfigError, ModelContractError, OverwattError, redact
from overwatt.aoi.grid import Tile, area_mask
from overwatt.models.detector.card import CHANNELS
from overwatt.pipeline.detection.instances import SUMS
from overwatt.pipeline.detection.vectorization import KINDS, PART_COLUMNS, DetectSettings, near_void, vectorize_tile
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.source import Source

if TYPE_CHECKING:
    from overwatt.models.detector.inference import Detector

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]
_STATE: dict[str, tuple[Job, Detector]] = {}  # of this worker process, by name of the run
_ONE_TILE = threading.Lock()
_FAILED: dict[str, str] = {}  # why this worker process cannot compute, by name of the run
IN_FLIGHT = 2  # tiles per worker: one computing, one waiting


@dataclass(frozen=True)
class Job:
    """What every worker needs once: pixel source, weights, area and detection settings."""

    source: Source
    weights: Path
    weights_sha256: str
    area: Area | None
    settings: DetectSettings


@dataclass(frozen=True)
class Workers:
    """Dask workers that have loaded the detector for one run."""

    client: Client
    run: str


class _Load(WorkerPlugin):
    """Load the detector once per worker. One torch thread, so that results do not depend on the number of cores.

    Each run has its own name: runs that share a scheduler must not use each other's weights.
    """

    def __init__(self, job: Job, run: str) -> None:
        self.job, self.name = job, run

    def setup(self, worker: object) -> None:
        import torch

        from overwatt.models.detector.inference import Detector

        torch.set_num_threads(1)
        # a run that stops cancels its tasks; the line that says why is enough
        logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
        try:
            detector = Detector.load(self.job.weights)
        except OverwattError as error:  # told by `_describe`: raised here, Dask would print a traceback
            _FAILED[self.name] = str(error)
            return
        if detector.card.weights_sha256 != self.job.weights_sha256:
            _FAILED[self.name] = f"a worker has different weights at {self.job.weights}; copy the same file to all"
            return
        _STATE[self.name] = (self.job, detector)
        log.debug("worker ready for %s: weights %s", self.name, self.job.weights_sha256[:12])

    def teardown(self, worker: object) -> None:
        _STATE.pop(self.name, None)
        _FAILED.pop(self.name, None)


def _describe(run: str) -> tuple[bool, str]:
    """Whether this worker is ready, and how it computes (everything that may change the rounding), or why not."""
    return (False, _FAILED[run]) if run in _FAILED else (True, str(_STATE[run][1].describe()))


def look(job: Job, detector: Detector, tile: Tile) -> Arrays:
    """Compute one tile: probabilities, validity and the regions as polygons.

    Args:
        job: pixel source, area and settings.
        detector: the loaded model.
        tile: core in pixels of the source.

    Returns:
        The arrays of a stored part; `unpack` reads them.

    Raises:
        AssetReadError, CatalogError: the pixels cannot be read.
    """
    from overwatt.models.detector.inference import predict

    y0, x0, y1, x1 = tile.core
    # one pixel more on each side, so that void ground next to the core is known
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
    """Regions as plain arrays, which `np.load` reads without pickle."""
    wkb = [shapely.to_wkb(g) for g in parts["geometry"]]
    return {
        "wkb": np.frombuffer(b"".join(wkb), np.uint8),
        "wkb_bytes": np.array([len(b) for b in wkb], np.int64),
        "kind": np.array([KINDS.index(k) for k in parts["kind"]], np.int8),
        **{n: parts[n].to_numpy(np.int64) for n in SUMS},
        "on_border": parts["on_border"].to_numpy(bool),
    }


def unpack(arrays: Arrays, tile: Tile) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return what a stored part contains.

    Args:
        arrays: from `look`.
        tile: the same tile.

    Returns:
        Probability (band, y, x) uint8, bands as in `run_folder.RASTER_BANDS`; valid (y, x) bool; table of the regions.
    """
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
    """One tile on a worker: ('done', arrays) or ('failed', reason). Unexpected exceptions propagate."""
    job, detector = _STATE[run]
    try:
        # own choice: remote reads fail for short times, local ones do not
        attempts = 3 if job.source.remote else 1
        for attempt in stamina.retry_context(on=(AssetReadError, OSError), attempts=attempts, timeout=None):
            # one tile per process, even if a worker has several threads: GDAL datasets are not thread-safe
            with attempt, _ONE_TILE:
                _one_thread()
                try:
                    return "done", look(job, detector, tile)
                except (AssetReadError, OSError) as error:
                    log.debug(
                        "tile %s: attempt %d of %d failed: %s", tile.name, attempt.num, attempts, redact(str(error))
                    )
                    raise
    except (AssetReadError, CatalogError, OSError) as error:
        return "failed", redact(str(error))
    raise AssertionError("unreachable")


def _one_thread() -> None:
    """Another task of this process may have set more; results must not depend on it."""
    import torch

    torch.set_num_threads(1)


def _cuda() -> bool:
    """Whether local workers will compute on CUDA; without a device file torch is not imported."""
    if not (any(Path("/dev").glob("nvidia*")) or Path("/dev/dxg").exists()):
        return False
    import torch

    return bool(torch.cuda.is_available())


@contextlib.contextmanager
def workers(job: Job, scheduler: str | None, wanted: int) -> Iterator[tuple[Workers, str]]:
    """Start or connect workers, load the detector on them, and yield them with the description of how they compute.

    Args:
        job: what the workers need.
        scheduler: address of a running scheduler (tls:// except on the loopback), or None for local processes.
        wanted: number of tiles; no more processes than this are started.

    Raises:
        ConfigError: the scheduler is not reachable, has no workers, or its workers compute differently.
    """
    for name in ("distributed.nanny", "distributed.worker", "distributed.scheduler", "distributed.core"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        if scheduler:
            client = stack.enter_context(_connect(scheduler))
        else:
            # one process owns a GPU; on CPUs each core has one
            cores = 1 if _cuda() else CPU_COUNT
            cluster = stack.enter_context(_local(max(1, min(cores, wanted))))
            client = stack.enter_context(Client(cluster))
        run = f"overwatt-{uuid.uuid4().hex}"
        client.register_plugin(_Load(job, run))
        if scheduler:
            stack.callback(client.unregister_worker_plugin, run)
        answers = set(client.run(_describe, run).values())
        if failed := sorted(text for ready, text in answers if not ready):
            raise ModelContractError(failed[0])
        described = {text for _, text in answers}
        if len(described) != 1:
            raise ConfigError(f"workers compute differently ({'; '.join(sorted(described))}); use identical workers")
        description = described.pop()
        log.debug("workers of %s at %s compute with: %s", run, redact(scheduler or "local processes"), description)
        yield Workers(client, run), description


def _local(count: int) -> LocalCluster:
    """Start worker processes that ignore Ctrl-C, because they would print tracebacks; this process ends them."""
    with _interrupt_blocked():
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # otherwise Dask takes port 8787, and warns if it is in use
            scheduler_kwargs={"dashboard": False},
            host="127.0.0.1",
            memory_limit=0,
        )


@contextlib.contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """Block Ctrl-C while processes start, which inherit that; nothing to do where there are no POSIX signals."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started later, it would unblock the signal in this thread
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _connect(address: str) -> Client:
    """Connect to a scheduler that has workers; tasks carry pickled code, so a network connection must be encrypted."""
    host = address.split("://")[-1].rsplit(":", 1)[0].strip("[]")
    loopback = host in ("localhost", "::1") or host.startswith("127.")
    if not loopback and not address.startswith("tls://"):
        raise ConfigError(f"--scheduler {address}: tls:// only, except on the loopback")
    try:
        client = Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigError(f"--scheduler {address}: not reachable") from error
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.close()
        raise ConfigError(f"--scheduler {address}: has no workers; start one with: dask worker {address}")
    return client


def run_tiles(workers: Workers, tiles: Sequence[Tile], on_done: Callable[[Tile, str, Arrays | str], None]) -> None:
    """Run tiles, a few in flight at a time, and pass each result to a callback.

    Args:
        workers: from `workers`.
        tiles: tiles to compute.
        on_done: called with the tile, 'done' and its arrays, or 'failed' and the reason.

    Raises:
        Exception: what a task raised, if it is neither an `OverwattError` nor a killed worker.
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
            # a worker that is killed (for example: out of memory) fails its tile and not the run
            if not isinstance(error, OverwattError) and "KilledWorker" not in type(error).__name__:
                raise error
            on_done(tile, "failed", redact(f"{type(error).__name__}: {error}"))
        else:
            status, result = future.result()
            on_done(tile, status, result)
        future.release()
        if waiting:
            submit()
