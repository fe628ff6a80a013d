"""Pixels per second of two networks, measured alternately in one process.

In: two networks. Out: medians and ratios over rounds: one thread, all cores, and the complete `predict`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from dask.system import CPU_COUNT
from torch import Tensor, nn

from benchmarks.detector_speed.networks import WINDOW_PX, Rival
from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.network import SiteNet, probabilities

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall-clock and processor seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def forward(net: nn.Module, layout: str, *, twice: bool = False) -> Callable[[], Tensor]:
    """Return a function that runs one window (forward and softmax); with `twice` also the window at half size."""
    net = net.to(memory_format=LAYOUTS[layout])
    pixels = np.random.default_rng(0).normal(0, 1, (1, 3, WINDOW_PX, WINDOW_PX)).astype(np.float32)
    window = torch.from_numpy(pixels).to(memory_format=LAYOUTS[layout])

    def work() -> Tensor:
        with torch.inference_mode():
            if twice:
                net(torch.nn.functional.avg_pool2d(window, 2))
            return probabilities(net(window))

    return work


def best_layout(net: nn.Module, tries: int = 3) -> str:
    """Return the memory layout with the least processor time on one thread, which other load disturbs least."""
    cost = {}
    for layout in LAYOUTS:
        work = forward(net, layout)
        work()
        cost[layout] = min(seconds(work)[1] for _ in range(tries))
    return min(cost, key=lambda k: cost[k])


def alternate(ours: Callable[[], object], rival: Callable[[], object], rounds: int, mpx: float) -> dict[str, Any]:
    """Time two pieces of work in turn.

    Args:
        ours: our work.
        rival: the rival's work.
        rounds: number of rounds; one more comes first (warm-up) and is not counted.
        mpx: million pixels that each of them processes.

    Returns:
        Medians of million pixels per second, median and range of the rounds' ratios. The ratio of processor time
        excludes time in which other processes ran.
    """
    times = [(*seconds(ours), *seconds(rival)) for _ in range(rounds + 1)][1:]
    ratios = [b / a for a, _, b, _ in times]
    return {
        "ours_mpx_s": round(mpx / median(t[0] for t in times), 4),
        "rival_mpx_s": round(mpx / median(t[2] for t in times), 4),
        "ratio": round(median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "ratio_processor_time": round(median(t[3] / t[1] for t in times), 3),
        "rounds": rounds,
        "threads": torch.get_num_threads(),
    }


def speed(ours: SiteNet, rival: Rival, card: ModelCard, rounds: int, side_px: int) -> dict[str, Any]:
    """Measure both on one thread, on all cores, and through the complete `predict` on one thread.

    `predict` keeps the centre of each window, so its pixels are fewer; it runs both in channels_last.
    """
    run = Detector.of(ours, card, "cpu")
    rivals = Detector(cast(SiteNet, rival.eval()), card, "cpu", "float32", run.batch)
    pixels = np.random.default_rng(0).random((3, side_px, side_px), np.float32)
    cores, mpx = CPU_COUNT, WINDOW_PX**2 / 1e6

    def read(y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        y, x = np.arange(y0, y1) % side_px, np.arange(x0, x1) % side_px
        return pixels[:, y[:, None], x], np.ones((y1 - y0, x1 - x0), bool)

    def path(detector: Detector) -> Callable[[], object]:
        return lambda: predict(detector, read, (side_px, side_px), card.gsd_m)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        layout = {"ours": best_layout(run.net), "rival": best_layout(rivals.net)}
        a, b = forward(run.net, layout["ours"]), forward(rivals.net, layout["rival"])
        found = {"layout": layout, "one_thread": alternate(a, b, rounds, mpx)}
        # the detector runs windows of fine imagery that contain a building a second time, at half size
        again = forward(run.net, layout["ours"], twice=True)
        found["second_look"] = alternate(again, b, rounds, mpx)
        torch.set_num_threads(cores)
        found["all_cores"] = alternate(a, b, rounds, mpx)
        torch.set_num_threads(1)
        for detector in (run, rivals):
            detector.net.to(memory_format=torch.channels_last)
        found["predict_path"] = alternate(path(run), path(rivals), max(1, rounds // 4), side_px**2 / 1e6)
    finally:
        torch.set_num_threads(before)
    return found
