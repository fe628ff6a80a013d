"""Training: from labelled pictures to weights, reproducible from a seed, resumable.

In: pictures and settings. Out: a trained network. Batches depend on (seed, step) alone and
the checkpoint holds everything else (weights, optimiser, step), so a training that was
stopped and resumed ends with the same weights as one that was not, on the same machine with
the same number of threads. Checkpoints are ours, live in the run folder, and are still read
with torch's restricted loader.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from aoi.errors import ConfigError
from models.network import SiteNet, load_imagenet
from models.samples import IGNORE, Augmentation, Picture, batch

Report = Callable[[int, int, float], None]  # step, steps, loss


class TrainSettings(BaseModel):
    """Settings of one training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, description="everything random follows from it")
    steps: int = Field(400, ge=1, description="optimiser steps")
    batch: int = Field(8, ge=1, description="crops a step")
    crop_px: int = Field(256, ge=32, multiple_of=32, description="side of a crop, pixels")
    width: int = Field(16, ge=4, le=64, description="channels of the finest decoder stage")
    rate: float = Field(1e-3, gt=0, description="peak learning rate of the decoder; the encoder takes a quarter")
    decay: float = Field(0.02, ge=0, description="weight decay")
    imagenet: bool = Field(True, description="start the encoder from ImageNet weights")
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    precision: str = Field("auto", pattern="^(auto|float32|bfloat16)$", description="auto: bfloat16 where the CPU or GPU has it")


def loss_of(logits: Tensor, building: Tensor, cooling: Tensor) -> Tensor:
    """Cross entropy and soft Dice on the building classes, weighted binary cross entropy on equipment.

    Args:
        logits: (n, 4, y, x).
        building: (n, y, x) int64: 0, 1, 2, or 255 unknown.
        cooling: (n, y, x) int64: 0, 1, or 255 unknown.
    """
    weight = torch.tensor([0.7, 1.2, 1.2], device=logits.device)
    known = building != IGNORE
    ce = F.cross_entropy(logits[:, :3], building, weight=weight, ignore_index=IGNORE)
    p = logits[:, :3].softmax(1)
    dice = logits.new_zeros(())
    for label in (1, 2):
        truth = ((building == label) & known).float()
        guess = p[:, label] * known
        dice = dice + 1 - (2 * (truth * guess).sum() + 50) / (truth.sum() + guess.sum() + 50)
    seen = cooling != IGNORE
    target = (cooling == 1).float()
    bce = F.binary_cross_entropy_with_logits(logits[:, 3], target, weight=1 + 3 * target, reduction="none")
    equipment = (bce * seen).sum() / seen.sum().clamp(min=1)
    guess = logits[:, 3].sigmoid() * seen
    dice_eq = 1 - (2 * (target * guess).sum() + 50) / ((target * seen).sum() + guess.sum() + 50)
    return ce + 0.5 * dice + equipment + 0.5 * dice_eq


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
        checkpoint: file to resume from and to save to; removed by the caller when done.
        report: called after every step with step, steps and loss.
        save_every_s: seconds between checkpoints.
        stop_after: stop after this step as if interrupted, leaving the checkpoint.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        ConfigError: no pictures, or a checkpoint of other settings.
    """
    if not pictures:
        raise ConfigError("training: no pictures to learn from")
    torch.manual_seed(settings.seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    device, half = _device(settings.precision)
    net = SiteNet(len(bands), settings.width)
    if settings.imagenet:
        load_imagenet(net, bands)
    net = net.to(device, memory_format=torch.channels_last)
    encoder = {id(p) for p in net.encoder_parameters()}
    rest = [p for p in net.parameters() if id(p) not in encoder]
    scale = 0.25 if settings.imagenet else 1.0
    optimiser = torch.optim.AdamW(
        [{"params": net.encoder_parameters(), "peak": settings.rate * scale}, {"params": rest, "peak": settings.rate}],
        lr=settings.rate,
        weight_decay=settings.decay,
    )
    key = settings.model_dump_json()
    step = 0
    if checkpoint and checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["settings"] != key:
            raise ConfigError(f"{checkpoint}: checkpoint of other settings; remove it or use another folder")
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        step = state["step"]
    net.train()
    saved = time.monotonic()
    while step < settings.steps:
        warm = min(1.0, (step + 1) / 20)
        factor = warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        b = batch(
            pictures, seed=settings.seed, step=step, size=settings.batch, size_px=settings.crop_px,
            mean=settings.mean, std=settings.std, augmentation=Augmentation(),
        )  # fmt: skip
        image = b.image.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            logits = net(image)
        loss = loss_of(logits.float(), b.building.to(device), b.cooling.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        step += 1
        if report:
            report(step, settings.steps, float(loss.detach()))
        last = step == settings.steps or step == stop_after
        if checkpoint and (last or time.monotonic() - saved > save_every_s):
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            part = checkpoint.with_suffix(".part")
            torch.save(
                {"settings": key, "step": step, "net": net.state_dict(), "optimiser": optimiser.state_dict()}, part
            )
            os.replace(part, checkpoint)
            saved = time.monotonic()
        if step == stop_after:
            break
    return net.eval().to("cpu")
