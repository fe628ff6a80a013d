"""Wall-clock time of the whole path over that of the bare forward passes on the same windows, in turn.

In: a raster. Out: the ratio of each round. One thread computes in both; the path reads and joins beside it.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.streaming.ours import detector_for, patches, whole_path
from overwatt.models.detector.card import DEFAULT_WEIGHTS, verified
from overwatt.workflows.io.images import open_image
from overwatt.workflows.run.computing import plan_tiles


def measure(path: str, *, rounds: int) -> dict[str, Any]:
    """Return the median ratio and its range, and the seconds of both in the last round."""
    torch.set_num_threads(1)
    image = open_image(Path(path), verified(DEFAULT_WEIGHTS))
    detector = detector_for(image, identity=False)
    windows = patches(image, detector)
    net = detector.net

    def bare() -> None:
        with torch.inference_mode():
            for window in windows:
                net(torch.from_numpy(window)[None].contiguous(memory_format=torch.channels_last))

    ratios = []
    for _ in range(rounds):
        start = time.perf_counter()
        bare()
        between = time.perf_counter()
        with TemporaryDirectory() as folder:
            whole_path(image, detector, Path(folder), 1, plan_tiles(image))
        end = time.perf_counter()
        ratios.append((end - between) / (between - start))
    return {
        "ratio": median(ratios), "range": [min(ratios), max(ratios)], "whole_s": end - between,
        "bare_s": between - start, "windows": len(windows),
    }  # fmt: skip
