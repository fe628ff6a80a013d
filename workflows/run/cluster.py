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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from distributed import Client, LocalCluster, WorkerPlugin, as_completed

from overwatt.aoi.errors import ConfigError, ModelContractError, OverwattError, redact
from overwatt.aoi.grid import Tile
from overwatt.workflows.run.in_process import UNREADABLE, OnDone, read_tile
from overwatt.workflows.run.tile import Arrays, Job, computed, regions_of

if TYPE_CHECKING:
    from overwatt.models.detector.inference import Detector

log = logging.getLogger(__name__)

_STATE: dict[str, tuple[Job, Detector]] = {}  # of this worker process, by name of the run
_ONE_TILE = threading.Lock()
_FAILED: dict[str, str] = {}  # why this worker process cannot compute, by name of the run
IN_FLIGHT = 3  # tiles per worker: one computing, one reading or read, one waiting


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
        if detector.card.weights_sha256 != self.job.card.weights_sha256:
            _FAILED[self.name] = f"a worker has different weights at {self.job.weights}; copy the same file to all"
            return
        _STATE[self.name] = (self.job, detector)
        log.debug("worker ready for %s: weights %s", self.name, self.job.card.weights_sha256[:12])

    def teardown(self, worker: object) -> None:
        _STATE.pop(self.name, None)
        _FAILED.pop(self.name, None)


def _describe(run: str) -> tuple[bool, str]:
    """Whether this worker is ready, and how it computes (everything that may change the rounding), or why not."""
    return (False, _FAILED[run]) if run in _FAILED else (True, str(_STATE[run][1].describe()))


def _task(run: str, tile: Tile) -> tuple[str, Arrays | str]:
    """One tile on a worker: ('done', arrays) or ('failed', reason). Unexpected exceptions propagate."""
    job, detector = _STATE[run]
    try:
        pixels = read_tile(job, tile)  # while another thread computes the tile before
    except UNREADABLE as error:
        return "failed", redact(str(error))
    # one computation per process: each worker counts as one core
    with _ONE_TILE:
        _one_thread()
        return "done", regions_of(job, tile, computed(job, detector, tile, pixels))


def _one_thread() -> None:
    """Another task of this process may have set more; results must not depend on it."""
    import torch

    torch.set_num_threads(1)


@contextlib.contextmanager
def workers(job: Job, scheduler: str | None, wanted: int) -> Iterator[tuple[Workers, str]]:
    """Start or connect workers, load the detector on them, and yield them with the description of how they compute.

    Args:
        job: what the workers need.
        scheduler: address of a running scheduler (tls:// except on the loopback), or None for local processes.
        wanted: number of local processes.

    Raises:
        ConfigError: the scheduler is not reachable, has no workers, or its workers compute differently.
    """
    for name in ("distributed.nanny", "distributed.worker", "distributed.scheduler", "distributed.core"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.ExitStack() as stack:
        if scheduler:
            client = stack.enter_context(_connect(scheduler))
        else:
            cluster = stack.enter_context(_local(wanted))
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
            threads_per_worker=2,  # one computes, one reads ahead
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


def run_tiles(workers: Workers, tiles: Sequence[Tile], on_done: OnDone) -> None:
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
