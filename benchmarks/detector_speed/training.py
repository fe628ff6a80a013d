"""Trains several networks on the same batches.

In: networks and a function that draws batch k. Out: the networks, trained in place. `models.training.train` trains only
a `SiteNet`; its training step is repeated here for any network, and a test checks that both agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.detector_speed.networks import RGB, Rival, built
from overwatt.models.detector.network import SiteNet, load_imagenet
from overwatt.models.training.loss import loss_of
from overwatt.models.training.runtime import deterministic, half_of
from overwatt.models.training.samples import Batch
from overwatt.models.training.settings import TrainSettings
from overwatt.models.training.train import MAX_NORM, WARM_STEPS


@dataclass
class Learner:
    """A network in training; `groups` are its parameters with their peak learning rates."""

    net: nn.Module
    groups: list[dict[str, Any]]

    @classmethod
    def ours(cls, settings: TrainSettings) -> Learner:
        """Return our network, from ImageNet or random weights, with the rates of `overwatt.models.training.train`."""
        net = built(lambda: SiteNet(3, settings.width), settings.seed)
        if settings.imagenet:
            load_imagenet(net, RGB)
        encoder = {id(p) for p in net.encoder_parameters()}
        rest = [p for p in net.parameters() if id(p) not in encoder]
        # 0.25 is the default of `TrainSettings.encoder_rate`
        peak = settings.rate * (0.25 if settings.imagenet else 1.0)
        return cls(net, [{"params": net.encoder_parameters(), "peak": peak}, {"params": rest, "peak": settings.rate}])

    @classmethod
    def rival(cls, settings: TrainSettings) -> Learner:
        """Return the rival from random weights, with one learning rate, like ours from random weights."""
        net = built(Rival, settings.seed)
        return cls(net, [{"params": list(net.parameters()), "peak": settings.rate}])


def fit(
    learners: Sequence[Learner],
    draw: Callable[[int], Batch],
    settings: TrainSettings,
    say: Callable[[str], None] = lambda text: None,
) -> list[list[float]]:
    """Train networks on the same batches, each exactly as `models.training.train` would (checked by a test).

    Returns:
        The loss of each network at each step.
    """
    half, cpu = half_of(settings.precision, torch.device("cpu")), torch.device("cpu")
    losses: list[list[float]] = [[] for _ in learners]
    with deterministic(settings.seed, settings.threads):
        nets = [one.net.to(memory_format=torch.channels_last).train() for one in learners]
        optimisers = [torch.optim.AdamW(o.groups, lr=settings.rate, weight_decay=settings.decay) for o in learners]
        for step in range(settings.steps):
            # warm-up and cosine decay as in `models.training.train`
            factor = min(1.0, (step + 1) / WARM_STEPS) * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
            b = draw(step).to(cpu)
            for net, optimiser, history in zip(nets, optimisers, losses, strict=True):
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * factor
                optimiser.zero_grad(set_to_none=True)
                with torch.autocast("cpu", dtype=half, enabled=half is not None):
                    logits = net(b.image)
                loss = loss_of(logits.float(), b)
                torch.autograd.backward(loss)
                torch.nn.utils.clip_grad_norm_(net.parameters(), MAX_NORM)
                optimiser.step()
                history.append(float(loss.detach()))
            if (step + 1) % 10 == 0 or step + 1 == settings.steps:
                say(f"step {step + 1} of {settings.steps}: loss " + ", ".join(f"{h[-1]:.3f}" for h in losses))
    for net in nets:
        net.eval()
    return losses


def settle(nets: Sequence[nn.Module], batches: Sequence[Batch], threads: int = 1) -> None:
    """Re-estimate the running statistics of batch norm as the plain mean over batches, for all networks.

    The networks use different momentum (0.01 and 0.1); after so short a training, scores would depend on how far the
    running averages have converged.
    """
    with deterministic(0, threads), torch.no_grad():
        for net in nets:
            for layer in net.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.reset_running_stats()
                    layer.momentum = None  # in torch: cumulative mean
            net.train()
            for b in batches:
                net(b.image)
            net.eval()
