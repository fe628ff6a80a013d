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
from overwatt.models.detector.network import NOVELTY_STRIDE, SiteNet
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
PASS_BYTES = 250
"""Peak memory of a forward pass, bytes per pixel, float32: measured on a CPU with 1,024 x 1,024 pixels."""
MAX_BATCH = 16
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

        With CUDA: bfloat16 (float32 where unsupported) and as many windows per batch as `batch_for` says. Else the CPU
        in float32 with one window per batch, as several threads compute in parallel.
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
            return cls(
                net.to("cuda"), card, "cuda", "bfloat16" if half else "float32", batch_for(torch.cuda.mem_get_info()[0])
            )
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
        ny, nx = images[0].shape[1:]
        kept = kept or (slice(0, ny), slice(0, nx))
        out = []
        for at in range(0, len(images), self.batch):
            chunk = list(images[at : at + self.batch])
            real = len(chunk)
            chunk += [np.zeros_like(chunk[0])] * (self.batch - real)
            with (
                torch.inference_mode(),
                torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"),
            ):
                out.append(self._channels(self._moved(chunk), gsd_m, kept).cpu().numpy()[:real])
        return np.concatenate(out) if len(out) > 1 else out[0]

    def _moved(self, chunk: list[np.ndarray]) -> Tensor:
        """Return windows as one tensor on the device, (n, band, y, x)."""
        x = torch.from_numpy(np.stack(chunk) if len(chunk) > 1 else chunk[0][None])
        if self.device != "cuda":
            return x.contiguous(memory_format=torch.channels_last)
        # from pinned memory the copy does not wait for what the GPU computes
        return x.pin_memory().to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)

    def _channels(self, x: Tensor, gsd_m: float, kept: Part) -> Tensor:
        """Return (n, channel, y, x) uint8 of the part `kept` of windows; see `windows`."""
        logits, features, finest = self.net.forward_with_features(x)
        own, first, last = logits[:, :, *kept], len(BASE_OUTPUTS), len(BASE_OUTPUTS) + len(MACHINE_KINDS)
        # evidence is a mean over a square, which reaches beyond the part
        reach = _peak_px(gsd_m) // 2 if self.card.scoring == "peak" else 0
        outer = _grown(kept[0], reach, x.shape[2]), _grown(kept[1], reach, x.shape[3])
        scores = logits[:, :3, *outer].float()
        shares, inner = scores.softmax(1), _within(kept, outer)
        evidence = self._evidence(x, scores, shares, gsd_m, outer)[:, *inner]
        classes, base = shares[:, :, *inner], own[:, 3:first].float().sigmoid()
        kinds, rest = own[:, first:last].float().softmax(1), own[:, last:].float().sigmoid()
        branches = gsd_m <= UNIT_GSD_M
        if self.net.machines is not None and branches:
            if not kinds.shape[1]:  # of weights without kinds, which have none outside of the blocks
                kinds = torch.zeros(len(x), len(MACHINE_KINDS), *own.shape[2:], device=x.device)
            for i, block, wide, inner in _blocks(1 - classes[:, 0] > _BUILT, _BUILT_BLOCK_M2 / gsd_m**2, kept, x):
                told = self.net.machine_logits(x[i : i + 1, :, *wide], finest[i : i + 1, :, *wide])[
                    0, :, *inner
                ].float()
                base[i, 0, *block] = torch.maximum(base[i, 0, *block], told[0].sigmoid())
                kinds[i, :, *block] = told[1:].softmax(0)
        out = torch.zeros(len(x), len(CHANNELS), *own.shape[2:], dtype=torch.uint8, device=x.device)
        if self.net.outputs < first:  # the first version of the weights: no unit, no novelty
            base = torch.cat([base, 1 - classes[:, :1]], 1)
        elif self.net.counter is not None and branches:
            for i, block, wide, inner in _blocks(base[:, 0] > _EQUIPMENT, 1, kept, x):
                base[i, 2, *block] = self.net.counter(x[i : i + 1, :, *wide])[0, 0, *inner].float().sigmoid()
        if self.net.outputs >= first:
            step = NOVELTY_STRIDE
            whole = _grown(kept[0], 0, x.shape[2]), _grown(kept[1], 0, x.shape[3])
            coarse = [slice(k.start // step, k.stop // step) for k in whole]
            distance = self.net.novelty(features[:, :, *coarse]) / (NOVELTY_STEP * 255)
            out[:, 6] = _repeated(_counts(distance.clamp(max=1)), step)[:, *_within(kept, whole)]
        at = 0
        for found in (classes, base):
            out[:, at : at + found.shape[1]] = _counts(found)
            at += found.shape[1]
        out[:, 7] = _counts(evidence)
        at = 8
        for found in (kinds, rest):
            out[:, at : at + found.shape[1]] = _counts(found)
            at += found.shape[1]
        return out

    def _evidence(self, x: Tensor, scores: Tensor, shares: Tensor, gsd_m: float, part: Part) -> Tensor:
        """Return the evidence (n, y, x) as counts / 255; see `windows`.

        Args:
            x: windows.
            scores: logits of the classes, (n, 3, y, x) float32, of a part of the windows.
            shares: their softmax.
            gsd_m: ground sampling distance, metres.
            part: the part.
        """
        # difference of two softmax logits: log-odds of data center against other building
        odds = scores[:, 2] - scores[:, 1]
        if self.card.scoring == "mean":
            return torch.sigmoid(odds)
        side = _peak_px(gsd_m)
        built = 1 - shares[:, 0]
        built_up = (built > _BUILT).sum((1, 2)) * gsd_m**2 >= _BUILT_M2
        factor = second_look(gsd_m)
        if factor > 1 and bool(built_up.any()):
            coarse = self.net(F.avg_pool2d(x, factor).contiguous(memory_format=torch.channels_last)).float()
            coarse_odds = _repeated(coarse[:, 2] - coarse[:, 1], factor)[:, *part]
            odds = torch.where(built_up[:, None, None], (odds + coarse_odds) / 2, odds)
        # a square mean as two one-dimensional means
        mean = F.avg_pool2d((built * torch.sigmoid(odds))[:, None], (side, 1), 1, (side // 2, 0))
        mean = F.avg_pool2d(mean, (1, side), 1, (0, side // 2))[:, 0]
        # rounding may leave a mean of probabilities just outside of 0..1
        return (torch.logit(mean, 1e-5) / EVIDENCE_STEP + EVIDENCE_ZERO).clamp(0, 255) / 255


def _counts(share: Tensor) -> Tensor:
    """Return 0..1 as counts of 255, uint8; the argument is overwritten."""
    return share.mul_(255).round_().to(torch.uint8)


def batch_for(free_bytes: int) -> int:
    """Return the windows per batch for a GPU with that much free memory: a power of two, 1 to `MAX_BATCH`."""
    largest = (NEAR_CELL_PX + 2 * NEAR_HALO_PX) ** 2 * PASS_BYTES
    # half of what is free: the rest is for the copies before and after, and for the libraries
    fits = max(1, min(MAX_BATCH, free_bytes // (2 * largest)))
    return int(2 ** (fits.bit_length() - 1))


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


def _blocks(mask: Tensor, least_px: float, kept: Part, x: Tensor) -> Iterator[tuple[int, Part, Part, Part]]:
    """Yield the blocks in which at least `least_px` pixels are true in a mask (n, y, x) of the part `kept` of windows.

    Yields:
        Number of the window; the block in the mask; the block with the margin of a branch, in the window; the block
        in this.
    """
    counts = F.avg_pool2d(mask.float()[:, None], BLOCK_PX, ceil_mode=True, divisor_override=1)[:, 0]
    for i, row, column in (counts >= least_px).nonzero().tolist():
        y, x0 = row * BLOCK_PX, column * BLOCK_PX
        block = slice(y, min(y + BLOCK_PX, mask.shape[1])), slice(x0, min(x0 + BLOCK_PX, mask.shape[2]))
        placed = tuple(slice(b.start + k.start, b.stop + k.start) for b, k in zip(block, kept, strict=True))
        wide = tuple(
            slice(max(b.start - BRANCH_MARGIN_PX, 0), min(b.stop + BRANCH_MARGIN_PX, n))
            for b, n in zip(placed, x.shape[2:], strict=True)
        )
        yield i, block, (wide[0], wide[1]), _within((placed[0], placed[1]), (wide[0], wide[1]))


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
