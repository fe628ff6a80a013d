"""Inference: from windows of an image to class probabilities that do not depend on the tiling.

In: a `Detector` and a function that reads windows of an image. Out: probabilities of a pixel window.
A window is `WINDOW_PX` wide and only its centre of `CORE_PX` is kept. Windows lie on a lattice anchored at the first
pixel of the image, so a pixel is always computed from the same window, whichever tile asks for it. Probabilities are
integers 0..255, so that all later sums, means and thresholds are exact in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from overwatt.aoi.grid import windows
from overwatt.models.detector.card import (
    BASE_OUTPUTS,
    CHANNELS,
    DEFAULT_WEIGHTS,
    EVIDENCE_STEP,
    EVIDENCE_ZERO,
    NOVELTY_STEP,
    UNIT_GSD_M,
    ModelCard,
)
from overwatt.models.detector.cpu_inference import arithmetic, fast
from overwatt.models.detector.network import NOVELTY_STRIDE, SiteNet, probabilities
from overwatt.models.detector.sensors import Profile
from overwatt.models.detector.weights import load, normalise
from overwatt.models.reference.machine_kinds import MACHINE_KINDS

WINDOW_PX = 512
CORE_PX = 384
HALO_PX = (WINDOW_PX - CORE_PX) // 2  # 64 pixels of context on each side: 128 m at 2 m

PEAK_M = 24.0
"""Side of the square that evidence is averaged over, metres: a row of rooftop chillers, a bay of a generator yard."""
SECOND_LOOK_M = 1.5
"""Imagery finer than this is evaluated a second time, averaged to 1.5-3 m."""
_EQUIPMENT = 0.25  # machines are counted only in windows with a pixel above this equipment probability; own choice
# neither a second evaluation nor the branch for machines where less than 400 m2 of a window have a building probability
# over 0.25; own choice, for speed
_BUILT, _BUILT_M2 = 0.25, 400.0

Read = Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]]
"""(y0, x0, y1, x1) in pixels, possibly outside the image -> values (band, y, x) float32 0..1, valid (y, x) bool."""


@dataclass(frozen=True)
class Detector:
    """A network, its card, and how it is run.

    Attributes:
        net: the network, in evaluation mode.
        card: card of its weights.
        device: 'cpu' or 'cuda'.
        precision: 'float32' or 'bfloat16'.
        batch: windows per batch; always filled, because another batch shape may round differently.
    """

    net: SiteNet
    card: ModelCard
    device: str
    precision: str
    batch: int

    @classmethod
    def load(cls, weights: Path = DEFAULT_WEIGHTS, device: str = "auto", profile: Profile | None = None) -> Detector:
        """Load weights, restrict them to a profile if one is given, and choose device, precision and batch.

        With CUDA: bfloat16 (float32 where unsupported) and 16 windows per batch. Else the CPU in float32 with one
        window per batch, as several worker processes run in parallel.
        """
        net, card = load(weights)
        return cls.of(net, profile.narrowed(card) if profile else card, device)

    @classmethod
    def of(cls, net: SiteNet, card: ModelCard, device: str = "auto") -> Detector:
        """Make a detector from a network in memory; device, precision and batch as in `load`."""
        cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
        net = net.eval()
        if cuda:
            half = torch.cuda.is_bf16_supported()
            return cls(net.to("cuda"), card, "cuda", "bfloat16" if half else "float32", 16)
        return cls(fast(net.to("cpu")), card, "cpu", "float32", 1)

    def describe(self) -> str:
        """Return everything that the bits of a result depend on; part of the key under which it is stored."""
        cuda = self.device == "cuda"
        chip = torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability()
        return (
            f"torch {torch.__version__} {self.device} ({chip}) {self.precision} batch {self.batch} "
            f"threads {torch.get_num_threads()} {arithmetic(self.net)} window {WINDOW_PX} core {CORE_PX} "
            f"scoring {self.card.scoring} {self.card.offset:g}"
        )

    def windows(self, images: Sequence[np.ndarray], gsd_m: float) -> np.ndarray:
        """Map normalised windows, each (band, y, x) float32, to (n, channel, y, x) uint8 as in `CHANNELS`.

        Values are probabilities times 255, and novelty in units of `NOVELTY_STEP`. Weights without the output
        `interior` give the building probability instead, so that touching buildings are not separated. Evidence is the
        probability of data center given building, times 255. With scoring 'peak' it is computed at two resolutions,
        weighted by building probability, averaged over `PEAK_M`, and given as log-odds in units of `EVIDENCE_STEP`.
        """
        out = []
        for at in range(0, len(images), self.batch):
            chunk = list(images[at : at + self.batch])
            real = len(chunk)
            chunk += [np.zeros_like(chunk[0])] * (self.batch - real)
            x = torch.from_numpy(np.stack(chunk)).to(self.device, memory_format=torch.channels_last)
            with (
                torch.inference_mode(),
                torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"),
            ):
                logits, features, finest = self.net.forward_with_features(x)
                p = probabilities(logits.float())
                built_up = (1 - p[:, 0] > _BUILT).sum((1, 2)) * gsd_m**2 >= _BUILT_M2
                p, kinds = p[:, : len(BASE_OUTPUTS)], p[:, len(BASE_OUTPUTS) :]
                if self.net.outputs >= len(BASE_OUTPUTS):
                    distance = self.net.novelty(features) / (NOVELTY_STEP * 255)
                    distance = (
                        distance.clamp(max=1).repeat_interleave(NOVELTY_STRIDE, 1).repeat_interleave(NOVELTY_STRIDE, 2)
                    )
                    p = torch.cat([p, distance[:, None]], 1)
                else:
                    zero = torch.zeros_like(p[:, :2])  # no unit, no novelty
                    p = torch.cat([p, 1 - p[:, :1], zero], 1)
                if self.net.machines is not None and gsd_m <= UNIT_GSD_M and bool(built_up.any()):
                    # each window as if it were alone in its batch
                    own = self.net.machine_logits(x, finest).float()
                    roofs = built_up[:, None, None]
                    p[:, 3] = torch.where(roofs, torch.maximum(p[:, 3], own[:, 0].sigmoid()), p[:, 3])
                    told, rest = own[:, 1:].softmax(1), kinds[:, len(MACHINE_KINDS) :]
                    coarse = kinds[:, : len(MACHINE_KINDS)] if kinds.shape[1] else torch.zeros_like(told)
                    kinds = torch.cat([torch.where(roofs[:, None], told, coarse), rest], 1)
                if self.net.counter is not None and gsd_m <= UNIT_GSD_M and bool((p[:, 3] > _EQUIPMENT).any()):
                    p[:, 5] = self.net.counter(x)[:, 0].float().sigmoid()
                p = torch.cat([p, self._evidence(x, logits.float(), p, built_up, gsd_m)[:, None], kinds], 1)
                p = F.pad(p, (0, 0, 0, 0, 0, len(CHANNELS) - p.shape[1]))  # older weights have no kinds
            out.append((p * 255).round().to(torch.uint8).cpu().numpy()[:real])
        return np.concatenate(out)

    def _evidence(self, x: Tensor, logits: Tensor, p: Tensor, built_up: Tensor, gsd_m: float) -> Tensor:
        """Return the evidence (n, y, x) as counts / 255, of windows of which some are built up; see `windows`."""
        # difference of two softmax logits: log-odds of data center against other building
        odds = logits[:, 2] - logits[:, 1]
        if self.card.scoring == "mean":
            return torch.sigmoid(odds)
        built = 1 - p[:, 0]
        factor = second_look(gsd_m)
        if factor > 1 and bool(built_up.any()):
            coarse = self.net(F.avg_pool2d(x, factor).contiguous(memory_format=torch.channels_last)).float()
            coarse_odds = (coarse[:, 2] - coarse[:, 1]).repeat_interleave(factor, 1).repeat_interleave(factor, 2)
            odds = torch.where(built_up[:, None, None], (odds + coarse_odds) / 2, odds)
        # odd number of pixels nearest to PEAK_M, so that the square is centred; at least 3
        side = max(3, 2 * round((PEAK_M / gsd_m - 1) / 2) + 1)
        # a square mean as two one-dimensional means
        mean = F.avg_pool2d((built * torch.sigmoid(odds))[:, None], (side, 1), 1, (side // 2, 0))
        mean = F.avg_pool2d(mean, (1, side), 1, (0, side // 2))[:, 0]
        # rounding may leave a mean of probabilities just outside of 0..1
        return (torch.logit(mean, 1e-5) / EVIDENCE_STEP + EVIDENCE_ZERO).clamp(0, 255) / 255


def second_look(gsd_m: float) -> int:
    """Return the factor by which pixels are averaged for the second evaluation; 1 means that there is none."""
    return 1 if gsd_m >= SECOND_LOOK_M else 2 if gsd_m >= SECOND_LOOK_M / 2 else 4


def predict(
    detector: Detector, read: Read, core: tuple[int, int, int, int], gsd_m: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute probabilities for a pixel window of an image.

    Args:
        detector: network and card.
        read: returns values and validity of any pixel window; pixels outside the image are not valid.
        core: (y0, x0, y1, x1), half-open.
        gsd_m: ground sampling distance of the pixels from `read`, metres.

    Returns:
        (channel, y, x) uint8 in the order of `CHANNELS`, zero where not valid; and valid (y, x) bool.
        Windows without a valid pixel in their centre are skipped. At most one batch of windows is in memory.
    """
    y0, x0, y1, x1 = core
    out = np.zeros((len(CHANNELS), y1 - y0, x1 - x0), np.uint8)
    seen = np.zeros((y1 - y0, x1 - x0), bool)
    places, images = [], []
    todo = windows(core, CORE_PX, HALO_PX)
    for number, ((wy, wx, _, _), full) in enumerate(todo, 1):
        values, valid = read(*full)
        centre = valid[HALO_PX:-HALO_PX, HALO_PX:-HALO_PX]
        if centre.any():
            places.append((wy, wx, centre))
            images.append(normalise(detector.card, values, valid))
        if len(images) < detector.batch and number < len(todo):
            continue
        for (py, px, mask), p in zip(places, detector.windows(images, gsd_m) if images else [], strict=True):
            a0, b0, a1, b1 = max(py, y0), max(px, x0), min(py + CORE_PX, y1), min(px + CORE_PX, x1)
            part = (slice(a0 - y0, a1 - y0), slice(b0 - x0, b1 - x0))
            inner = (slice(a0 - py, a1 - py), slice(b0 - px, b1 - px))
            seen[part] = mask[inner]
            kept = p[:, HALO_PX:-HALO_PX, HALO_PX:-HALO_PX][:, inner[0], inner[1]]
            out[:, *part] = kept * mask[inner]
        places, images = [], []
    return out, seen
