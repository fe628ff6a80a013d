"""The GPU path, measured in under five minutes on a machine with one GPU and nothing but the repository.

    python -m benchmarks.gpu --json [--side N] [--device cuda|cpu] [--seconds S]

`encoder`, `network`, `compiled`, `graphed`: pixels per second of forward passes on a batch that lies in the memory of
the GPU already, as throughput-bench measures encoders: the encoder of the shipped network alone, the whole network as
the program runs it, compiled by Inductor, and compiled with CUDA graphs. `end_to_end`: pixels per second of the whole
path on a SIMULATED raster, from reading to the written outputs, windows' overlap not counted. `of_encoder` is the share
of the encoder's speed that is left of it; the goal is one half. `copies_apart` says how far the compiled logits are
from the others. On the CPU it runs as a check and measures nothing of interest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.streaming.ours import patches, whole_path
from benchmarks.streaming.scene import write
from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import DEFAULT_WEIGHTS, verified
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import SiteNet
from overwatt.workflows.io.images import open_image
from overwatt.workflows.run.computing import plan_tiles


def encoder(net: SiteNet, x: Tensor) -> Tensor:
    """Return the coarsest features."""
    x = net.stem(x)
    for block in net.blocks:
        x = block(x)
    return x


def speed(run: Callable[[], object], pixels: int, device: str, seconds: float) -> float:
    """Return pixels per second of a call, repeated for about `seconds` after two calls that are not counted."""

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(2):
        run()
    wait()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        run()
        wait()
        calls += 1
    return calls * pixels / (time.perf_counter() - start)


def measure(folder: Path, side: int, device: str, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Return all figures, in millions of pixels per second."""
    image = open_image(write(folder / "scene.tif", side, plain=False), verified(DEFAULT_WEIGHTS))
    detector = Detector.load(DEFAULT_WEIGHTS, device)
    window = patches(image, detector)[0]
    batch = torch.from_numpy(window)[None].repeat(detector.batch, 1, 1, 1).to(device)
    batch = batch.contiguous(memory_format=torch.channels_last)
    pixels = batch.shape[0] * batch.shape[2] * batch.shape[3]
    net = detector.net
    name = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    result: dict[str, Any] = {
        "device": name, "precision": detector.precision, "batch": detector.batch, "window": list(window.shape[1:])
    }  # fmt: skip
    passes: dict[str, Callable[[], object]] = {"encoder": lambda: encoder(net, batch), "network": lambda: net(batch)}
    if device == "cuda" or shutil.which("g++"):
        default = torch.compile(net, dynamic=False)
        passes["compiled"] = lambda: default(batch)
        if device == "cuda":
            graphed = torch.compile(net, mode="reduce-overhead", dynamic=False)
            passes["graphed"] = lambda: graphed(batch)
    with (
        torch.inference_mode(),
        torch.autocast(device, dtype=torch.bfloat16, enabled=detector.precision == "bfloat16"),
    ):
        for key, run in passes.items():
            result[key] = round(speed(run, pixels, device, seconds) / 1e6, 2)
            say(f"{key}: {result[key]} Mpx/s")
        if "compiled" in passes:
            result["copies_apart"] = round(float((default(batch) - net(batch)).abs().max()), 4)
    start = time.perf_counter()
    whole_path(image, detector, folder / "run", 1, plan_tiles(image))
    result["end_to_end"] = round(side**2 / 1e6 / (time.perf_counter() - start), 2)
    result["of_encoder"] = round(result["end_to_end"] / result["encoder"], 3)
    return result | {"side": side, "simulated": True}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="side of the raster, pixels")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seconds", type=float, default=10.0, help="time of each kind of forward pass")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch finds no CUDA device on this machine; --device cpu checks the script")
    with TemporaryDirectory() as folder:
        result = measure(Path(folder), options.side, options.device, options.seconds,
                         lambda text: print(text, file=sys.stderr, flush=True))  # fmt: skip
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
