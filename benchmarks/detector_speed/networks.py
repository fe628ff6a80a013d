"""The two networks with the same interface.

In: a seed. Out: networks with six outputs, their sizes, and the model card that both are run with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import OUTPUTS, ModelCard
from overwatt.models.detector.network import NOVELTY_STRIDE
from overwatt.models.training.settings import TrainSettings

RGB = ("red", "green", "blue")
Network = TypeVar("Network", bound=nn.Module)

WINDOW_PX = 512
"""Side of the windows and scenes that both networks are given."""


class Rival(nn.Module):
    """The rival, with the methods that `models.detector.inference` needs; its novelty is zero, at no cost.

    It has no branches.
    """

    def __init__(self, outputs: int = len(OUTPUTS)) -> None:
        super().__init__()
        try:
            import segmentation_models_pytorch as smp
        except ImportError as error:
            raise ConfigError("segmentation-models-pytorch is missing: pip install 'overwatt[bench]'") from error
        self.outputs = outputs
        self.counter = self.machines = None
        self.unet = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, output, y, x) for pictures (n, 3, y, x)."""
        logits: Tensor = self.unet(x)
        return logits

    def forward_with_features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, and the input in place of both kinds of features, the first at the stride of novelty."""
        return self(x), x[:, :, ::NOVELTY_STRIDE, ::NOVELTY_STRIDE], x

    def novelty(self, features: Tensor) -> Tensor:
        """Return zeros (n, y, x)."""
        return features.new_zeros((len(features), *features.shape[2:]))


def built(make: Callable[[], Network], seed: int) -> Network:
    """Return a network initialised from a seed, independent of earlier random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def card_of(settings: TrainSettings) -> ModelCard:
    """Return the model card of both networks: RGB at 2 m."""
    return ModelCard(
        name="benchmark", version="0", created="2026-01-01", licence="Apache-2.0", width=settings.width, bands=RGB,
        units="display_uint8", gsd_m=2.0, gsd_range_m=(0.25, 2.9), native_range_m=(1.5, 2.9),
        mean=settings.mean, std=settings.std,
    )  # fmt: skip


def size_of(net: nn.Module) -> dict[str, float]:
    """Return the number of parameters, and multiply-accumulates of convolutions per pixel (counted on one window)."""
    x = torch.zeros(1, 3, WINDOW_PX, WINDOW_PX)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        copy.deepcopy(net).eval()(x)
    return {
        "parameters": sum(p.numel() for p in net.parameters()),
        # torch counts two FLOP per multiply-accumulate
        "macs_per_px": round(counter.get_total_flops() / 2 / WINDOW_PX**2),
    }
