"""Inference: from windows of an image to class probabilities that do not depend on the tiling.

In: a `Detector` and the pixels of a part of an image, from `windows.gather`. Out: its probabilities.
A pixel is always computed from the same window, whichever tile asks for it (`windows.lattice`), and only the cell in
the centre of a window is kept. Probabilities are integers 0..255, so that all later sums, means and thresholds are
exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from overwatt.aoi.grid import Window
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
from overwatt.models.detector.weights import load
from overwatt.models.detector.windows import (
    CELL_PX,
    HALO_PX,
    NEAR_CELL_PX,
    NEAR_HALO_PX,
    Gathered,
    Patch,
    Read,
    gather,
    inside,
    lattice,
    second_look,
)
from overwatt.models.reference.machine_kinds import MACHINE_KINDS

Part = tuple[slice, slice]
"""Rows and columns."""

PEAK_M = 24.0
"""Side of the square that evidence is averaged over, metres: a row of rooftop chillers, a bay of a generator yard."""
BLOCK_PX = 256
"""The branches for machines run in blocks of this side: few blocks of a window hold a building or a machine."""
BRANCH_MARGIN_PX = 12  # the receptive field of a branch is 23 pixels
_EQUIPMENT = 0.25  # machines are counted only in blocks with a pixel above this equipment probability; own choice
_BUILT = 0.25  # a pixel with a building probability above this is built up; own choice
_BUILT_M2 = 400.0  # less than this in a window: no second evaluation; own choice, for speed
_BUILT_BLOCK_M2 = 40.0  # less than this in a block: no branch for machines; own choice, for speed


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
            f"threads {torch.get_num_threads()} {arithmetic(self.net)} "
            f"cells {CELL_PX} and {NEAR_CELL_PX} halo {HALO_PX} and {NEAR_HALO_PX} "
            f"scoring {self.card.scoring} {self.card.offset:g}"
        )

    def windows(self, images: Sequence[np.ndarray], gsd_m: float, kept: Part | None = None) -> np.ndarray:
        """Map normalised windows, each (band, y, x) float32, to (n, channel, y, x) uint8 as in `CHANNELS`.

        Values are probabilities times 255, and novelty in units of `NOVELTY_STEP`. Weights without the output
        `interior` give the building probability instead, so that touching buildings are not separated. Evidence is the
        probability of data center given building, times 255. With scoring 'peak' it is computed at two resolutions,
        weighted by building probability, averaged over `PEAK_M`, and given as log-odds in units of `EVIDENCE_STEP`.

        Args:
            images: windows of one shape, its sides multiples of those that `windows.lattice` gives.
            gsd_m: ground sampling distance, metres.
            kept: rows and columns to return; None: all.
        """
        shape = images[0].shape[1:]
        kept = kept or (slice(0, shape[0]), slice(0, shape[1]))
        # what is kept, and the margin that averages and branches reach beyond it, in whole pixels of the features
        margin = max(_peak_px(gsd_m) // 2, BRANCH_MARGIN_PX)
        outer = (_grown(kept[0], margin, shape[0]), _grown(kept[1], margin, shape[1]))
        inner = _within(kept, outer)
        out = []
        for at in range(0, len(images), self.batch):
            chunk = list(images[at : at + self.batch])
            real = len(chunk)
            chunk += [np.zeros_like(chunk[0])] * (self.batch - real)
            with (
                torch.inference_mode(),
                torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"),
            ):
                p = self._channels(self._moved(chunk), gsd_m, outer)[:, :, *inner]
                out.append((p * 255).round().to(torch.uint8).cpu().numpy()[:real])
        return np.concatenate(out) if len(out) > 1 else out[0]

    def _moved(self, chunk: list[np.ndarray]) -> Tensor:
        """Return windows as one tensor on the device, (n, band, y, x)."""
        x = torch.from_numpy(np.stack(chunk) if len(chunk) > 1 else chunk[0][None])
        if self.device != "cuda":
            return x.contiguous(memory_format=torch.channels_last)
        # from pinned memory the copy does not wait for what the GPU computes
        return x.pin_memory().to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)

    def _channels(self, x: Tensor, gsd_m: float, outer: Part) -> Tensor:
        """Return (n, channel, y, x) float32, 0..1, of the part `outer` of windows; see `windows`."""
        logits, features, finest = self.net.forward_with_features(x)
        logits, near = logits[:, :, *outer].float(), x[:, :, *outer]
        p = probabilities(logits)
        built = 1 - p[:, 0] > _BUILT
        p, kinds = p[:, : len(BASE_OUTPUTS)], p[:, len(BASE_OUTPUTS) :]
        if self.net.outputs >= len(BASE_OUTPUTS):
            coarse = [slice(o.start // NOVELTY_STRIDE, o.stop // NOVELTY_STRIDE) for o in outer]
            distance = self.net.novelty(features[:, :, *coarse]) / (NOVELTY_STEP * 255)
            p = torch.cat([p, _repeated(distance.clamp(max=1), NOVELTY_STRIDE)[:, None]], 1)
        else:
            zero = torch.zeros_like(p[:, :2])  # no unit, no novelty
            p = torch.cat([p, 1 - p[:, :1], zero], 1)
        if self.net.machines is not None and gsd_m <= UNIT_GSD_M:
            if not kinds.shape[1]:  # of weights without kinds, which have none outside of the blocks
                kinds = torch.zeros_like(p[:, : len(MACHINE_KINDS)])
            fine = finest[:, :, *outer]
            for i, rows, columns, wide, own in _blocks(built, _BUILT_BLOCK_M2 / gsd_m**2):
                told = self.net.machine_logits(near[i : i + 1, :, *wide], fine[i : i + 1, :, *wide])[0, :, *own].float()
                p[i, 3, rows, columns] = torch.maximum(p[i, 3, rows, columns], told[0].sigmoid())
                kinds[i, : len(MACHINE_KINDS), rows, columns] = told[1:].softmax(0)
        if self.net.counter is not None and gsd_m <= UNIT_GSD_M:
            for i, rows, columns, wide, own in _blocks(p[:, 3] > _EQUIPMENT, 1):
                p[i, 5, rows, columns] = self.net.counter(near[i : i + 1, :, *wide])[0, 0, *own].float().sigmoid()
        evidence = self._evidence(x, logits, p, built, gsd_m, outer)
        p = torch.cat([p, evidence[:, None], kinds], 1)
        return F.pad(p, (0, 0, 0, 0, 0, len(CHANNELS) - p.shape[1]))  # older weights have no kinds

    def _evidence(self, x: Tensor, logits: Tensor, p: Tensor, built: Tensor, gsd_m: float, outer: Part) -> Tensor:
        """Return the evidence (n, y, x) as counts / 255 of the part `outer` of windows; see `windows`."""
        # difference of two softmax logits: log-odds of data center against other building
        odds = logits[:, 2] - logits[:, 1]
        if self.card.scoring == "mean":
            return torch.sigmoid(odds)
        built_up = built.sum((1, 2)) * gsd_m**2 >= _BUILT_M2
        factor = second_look(gsd_m)
        if factor > 1 and bool(built_up.any()):
            coarse = self.net(F.avg_pool2d(x, factor).contiguous(memory_format=torch.channels_last)).float()
            coarse_odds = _repeated(coarse[:, 2] - coarse[:, 1], factor)[:, *outer]
            odds = torch.where(built_up[:, None, None], (odds + coarse_odds) / 2, odds)
        side = _peak_px(gsd_m)
        # a square mean as two one-dimensional means
        mean = F.avg_pool2d(((1 - p[:, 0]) * torch.sigmoid(odds))[:, None], (side, 1), 1, (side // 2, 0))
        mean = F.avg_pool2d(mean, (1, side), 1, (0, side // 2))[:, 0]
        # rounding may leave a mean of probabilities just outside of 0..1
        return (torch.logit(mean, 1e-5) / EVIDENCE_STEP + EVIDENCE_ZERO).clamp(0, 255) / 255


def _peak_px(gsd_m: float) -> int:
    """Return the odd number of pixels nearest to `PEAK_M`, so that the square is centred; at least 3."""
    return max(3, 2 * round((PEAK_M / gsd_m - 1) / 2) + 1)


def _grown(part: slice, by: int, length: int) -> slice:
    """Return a range grown on both sides, within 0..length, its ends multiples of the stride of the features."""
    start = max(part.start - by, 0) // NOVELTY_STRIDE * NOVELTY_STRIDE
    return slice(start, min(-(-(part.stop + by) // NOVELTY_STRIDE) * NOVELTY_STRIDE, length))


def _within(part: Part, whole: Part) -> Part:
    """Return a part as rows and columns of a larger part."""
    (a, b), (c, d) = part, whole
    return slice(a.start - c.start, a.stop - c.start), slice(b.start - d.start, b.stop - d.start)


def _repeated(x: Tensor, times: int) -> Tensor:
    """Return (n, y, x) with each pixel repeated in both directions."""
    return x.repeat_interleave(times, 1).repeat_interleave(times, 2)


def _blocks(mask: Tensor, least_px: float) -> Iterator[tuple[int, slice, slice, Part, Part]]:
    """Yield the blocks in which at least `least_px` pixels of a mask (n, y, x) are true.

    Yields:
        Window, rows and columns of the block; rows and columns with the margin of a branch; and the block in these.
    """
    _, ny, nx = mask.shape
    counts = F.avg_pool2d(mask.float()[:, None], BLOCK_PX, ceil_mode=True, divisor_override=1)[:, 0].tolist()
    for i, window in enumerate(counts):
        for row, line in enumerate(window):
            for column, count in enumerate(line):
                if count < least_px:
                    continue
                y, x = row * BLOCK_PX, column * BLOCK_PX
                block = slice(y, min(y + BLOCK_PX, ny)), slice(x, min(x + BLOCK_PX, nx))
                near = slice(max(y - BRANCH_MARGIN_PX, 0), min(block[0].stop + BRANCH_MARGIN_PX, ny))
                wide = near, slice(max(x - BRANCH_MARGIN_PX, 0), min(block[1].stop + BRANCH_MARGIN_PX, nx))
                yield i, *block, wide, _within(block, wide)


def infer(detector: Detector, pixels: Gathered, gsd_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute the probabilities of a part of an image.

    Args:
        detector: network and card.
        pixels: of the part.
        gsd_m: ground sampling distance of the pixels, metres.

    Returns:
        (channel, y, x) uint8 in the order of `CHANNELS`, zero where not valid; and (y, x) bool, pixels that are valid,
        asked for and computed.
    """
    y0, x0, y1, x1 = pixels.core
    out = np.zeros((len(CHANNELS), y1 - y0, x1 - x0), np.uint8)
    seen = np.zeros((y1 - y0, x1 - x0), bool)
    alike: dict[tuple[object, ...], list[Patch]] = {}  # windows of one shape and cell, which share batches
    for patch in pixels.patches:
        rows, columns = patch.kept
        alike.setdefault((patch.values.shape, str(rows), str(columns)), []).append(patch)
    for patches in alike.values():
        for at in range(0, len(patches), detector.batch):
            batch = patches[at : at + detector.batch]
            found = detector.windows([patch.values for patch in batch], gsd_m, batch[0].kept)
            for patch, p in zip(batch, found, strict=True):
                part = inside(patch.core, pixels.core)
                np.multiply(p[:, *inside(patch.core, patch.cell)], patch.seen, out=out[:, *part])
                seen[part] = patch.seen
    return out, seen


def predict(
    detector: Detector, read: Read, shape: tuple[int, int], gsd_m: float, core: Window | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compute probabilities of an image that fits into memory, or of a part of any image.

    Args:
        detector: network and card.
        read: returns values and validity of any pixel window; pixels outside the image are not valid.
        shape: (ny, nx) of the image.
        gsd_m: ground sampling distance of the pixels from `read`, metres.
        core: (y0, x0, y1, x1), the part; None: the whole image.

    Returns:
        As `infer`.
    """
    return infer(detector, gather(detector.card, read, lattice(shape, gsd_m), core or (0, 0, *shape)), gsd_m)
