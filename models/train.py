"""Training: from labelled pictures to weights, reproducible from a seed, resumable.

In: pictures and settings. Out: a trained network. Batches depend on (seed, step) alone and
the checkpoint holds everything else (weights, optimiser, step), so a training that was
stopped and resumed ends with the same weights as one that was not, bit for bit on the same CPU
with the same number of threads; on a GPU nearly so, because not every gradient has a
deterministic kernel there. Checkpoints are ours, live in the run folder, and are still read
with torch's restricted loader.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from aoi.errors import ConfigError
from models.loss import loss_of
from models.network import SiteNet, load_imagenet
from models.samples import Augmentation, Batch, Picture, batch

Report = Callable[[int, int, float], None]  # step, steps, loss


class TrainSettings(BaseModel):
    """Settings of one training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="everything random follows from it")
    steps: int = Field(default=400, ge=1, description="optimiser steps")
    batch: int = Field(default=8, ge=1, description="crops a step")
    crop_px: int = Field(default=256, ge=64, multiple_of=32, description="side of a crop, pixels")
    width: int = Field(default=16, ge=4, le=64, description="channels of the finest decoder stage")
    rate: float = Field(
        default=1e-3, gt=0, description="peak learning rate of the decoder; the encoder takes a quarter"
    )
    decay: float = Field(default=0.02, ge=0, description="weight decay")
    imagenet: bool = Field(default=True, description="start the encoder from ImageNet weights")
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    threads: int = Field(default=1, ge=1, description="CPU threads; the bits depend on it, so it is a setting")
    precision: str = Field(
        default="auto",
        pattern="^(auto|float32|bfloat16)$",
        description="auto: bfloat16 where the CPU or GPU has it",
    )


def _check(pictures: list[Picture], bands: tuple[str, ...], settings: TrainSettings) -> None:
    if not pictures:
        raise ConfigError("training: no pictures to learn from")
    for what, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) != len(bands):
            raise ConfigError(f"training: {len(values)} values of {what} for {len(bands)} bands ({', '.join(bands)})")
    for p in pictures:
        if len(p.optical) != len(bands):
            raise ConfigError(f"training: picture '{p.name}' has {len(p.optical)} bands, not {len(bands)}")


def _digest(pictures: list[Picture], bands: tuple[str, ...], start: SiteNet | None) -> str:
    digest = hashlib.sha256(repr(bands).encode())
    for tensor in start.state_dict().values() if start is not None else ():
        digest.update(tensor.cpu().numpy().tobytes())
    for p in pictures:
        digest.update(repr((p.name, p.weight, p.optical.shape)).encode())
        for layer in (p.optical, p.valid, p.building, p.cooling):
            digest.update(np.ascontiguousarray(layer).tobytes())
    return digest.hexdigest()


def _read_checkpoint(path: Path, device: torch.device, key: str, data: str) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        own, seen = state["settings"], state.get("data", data)
    except Exception as error:  # torch raises whatever damaged bytes happen to trigger
        raise ConfigError(f"{path}: not a readable checkpoint; remove it to train from the start") from error
    if own != key:
        raise ConfigError(f"{path}: checkpoint of other settings; remove it or use another folder")
    if seen != data:
        raise ConfigError(f"{path}: checkpoint of other pictures, bands or start; remove it or use another folder")
    return state


@contextlib.contextmanager
def _deterministic(settings: TrainSettings) -> Iterator[None]:
    """Seed torch, set its threads, ask for deterministic kernels; put all back as they were."""
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    had = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        torch.set_num_threads(settings.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn)
            torch.set_num_threads(had)


def _device(precision: str) -> tuple[torch.device, bool]:
    if torch.cuda.is_available():
        return torch.device("cuda"), precision != "float32" and torch.cuda.is_bf16_supported()
    fast = bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
    return torch.device("cpu"), precision == "bfloat16" or (precision == "auto" and fast)


def train(
    pictures: list[Picture],
    bands: tuple[str, ...],
    settings: TrainSettings,
    *,
    start: SiteNet | None = None,
    checkpoint: Path | None = None,
    report: Report | None = None,
    save_every_s: float = 60.0,
    stop_after: int | None = None,
) -> SiteNet:
    """Train a network.

    Args:
        pictures: what to learn from.
        bands: their band names, in order.
        settings: seed, steps, rates.
        start: a network to go on from, instead of ImageNet weights or random ones.
        checkpoint: file to resume from and to save to; removed by the caller when done. It
            belongs to the settings, bands, pictures and start that it was made with.
        report: called after every step with step, steps and loss.
        save_every_s: seconds between checkpoints.
        stop_after: stop after this step as if interrupted, leaving the checkpoint.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        ConfigError: no pictures, another number of bands in a picture or the normalisation, or a
            checkpoint that is damaged or of other settings or pictures.
    """
    _check(pictures, bands, settings)
    with _deterministic(settings), ThreadPoolExecutor(1) as ahead:
        return _train(ahead, pictures, bands, settings, start, checkpoint, report, save_every_s, stop_after)


def _train(
    ahead: ThreadPoolExecutor,
    pictures: list[Picture],
    bands: tuple[str, ...],
    settings: TrainSettings,
    start: SiteNet | None,
    checkpoint: Path | None,
    report: Report | None,
    save_every_s: float,
    stop_after: int | None,
) -> SiteNet:
    device, half = _device(settings.precision)
    net = SiteNet(len(bands), settings.width)
    if start is not None:
        net.load_state_dict(start.state_dict())
    elif settings.imagenet:
        load_imagenet(net, bands)
    net = net.to(device).to(memory_format=torch.channels_last)
    encoder = {id(p) for p in net.encoder_parameters()}
    rest = [p for p in net.parameters() if id(p) not in encoder]
    scale = 0.25 if settings.imagenet else 1.0
    optimiser = torch.optim.AdamW(
        [
            {"params": net.encoder_parameters(), "peak": settings.rate * scale},
            {"params": rest, "peak": settings.rate},
        ],
        lr=settings.rate,
        weight_decay=settings.decay,
    )
    key, data = settings.model_dump_json(), _digest(pictures, bands, start) if checkpoint else ""
    step = 0
    if checkpoint and checkpoint.is_file():
        state = _read_checkpoint(checkpoint, device, key, data)
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    net.train()
    saved = time.monotonic()

    def draw(at: int) -> Batch:
        return batch(
            pictures, seed=settings.seed, step=at, size=settings.batch, size_px=settings.crop_px,
            mean=settings.mean, std=settings.std, augmentation=Augmentation(),
        )  # fmt: skip

    upcoming = ahead.submit(draw, step)  # the next batch is drawn while this one is learned from
    while step < settings.steps:
        warm = min(1.0, (step + 1) / 20)
        factor = warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        b = upcoming.result().to(device)
        upcoming = ahead.submit(draw, step + 1)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            logits = net(b.image)
        loss = loss_of(logits.float(), b)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        if report:
            report(step, settings.steps, float(loss.detach()))
        last = step == settings.steps or step == stop_after
        if checkpoint and (last or time.monotonic() - saved > save_every_s):
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            part = checkpoint.with_suffix(".part")
            state = {"net": net.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({"settings": key, "data": data, "step": step, **state}, part)
            os.replace(part, checkpoint)
            saved = time.monotonic()
        if step == stop_after:
            break
    return net.eval().to("cpu")
