"""Training samples: crops of labelled pictures, randomly turned, scaled, blurred and tinted.

In: `Picture`s (pixels, validity, class masks) from outlines drawn by hand or from the
simulator. Out: batches of (band, y, x) crops with their targets. Every batch depends on
(seed, step) alone, so a resumed training sees what an undisturbed one would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

IGNORE = 255
OTHER, DATA_CENTER = 1, 2


@dataclass(frozen=True)
class Picture:
    """A labelled picture.

    Attributes:
        name: for messages.
        optical: (band, y, x) uint8, display values.
        valid: (y, x) bool, True where there is imagery.
        building: (y, x) uint8: 0 background, 1 other building, 2 data center, 255 unknown.
        cooling: (y, x) uint8: 0 none, 1 cooling equipment, 255 unknown.
        weight: how often it is drawn, relative to the others.
    """

    name: str
    optical: np.ndarray
    valid: np.ndarray
    building: np.ndarray
    cooling: np.ndarray
    weight: float = 1.0
    _centres: dict[int, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def centres(self, label: int) -> np.ndarray:
        """Return (n, 2) row, column of a label's pixels, thinned to fewer than 8,192, to centre crops on."""
        if label not in self._centres:
            at = np.argwhere((self.building == label) & self.valid)
            self._centres[label] = at[:: max(1, len(at) // 4096)]
        return self._centres[label]


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; each guards against learning one picture.

    Attributes:
        scale: factor of the apparent size: neither size nor GSD may decide.
        gain, gamma, cast, saturation: tone of the sensor, season, sun and atmosphere.
        blur_px, noise: sharpness and noise, on the 0..1 scale.
    """

    scale: tuple[float, float] = (0.7, 1.45)
    gain: tuple[float, float] = (0.7, 1.3)
    gamma: tuple[float, float] = (0.75, 1.35)
    cast: float = 0.08
    saturation: tuple[float, float] = (0.4, 1.6)
    blur_px: float = 1.0
    noise: float = 0.03


@dataclass(frozen=True)
class Batch:
    """One batch: `image` (n, band, y, x) float32 normalised, targets (n, y, x) int64 with 255 unknown."""

    image: Tensor
    building: Tensor
    cooling: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, the image in channels-last order."""
        image = self.image.to(device, memory_format=torch.channels_last)
        return Batch(image, self.building.to(device), self.cooling.to(device))


def _tone(rgb: np.ndarray, rng: np.random.Generator, a: Augmentation) -> np.ndarray:
    grey = rgb.mean(0, keepdims=True)
    rgb = grey + (rgb - grey) * rng.uniform(*a.saturation)
    rgb = rgb * rng.uniform(*a.gain) + rng.normal(0, a.cast, (rgb.shape[0], 1, 1)) * 0.5
    rgb = np.clip(rgb, 0, 1) ** rng.uniform(*a.gamma)
    if rng.random() < 0.5:
        sigma = rng.uniform(0, a.blur_px)
        rgb = ndimage.gaussian_filter(rgb, (0, sigma, sigma))
    return np.clip(rgb + rng.normal(0, rng.uniform(0, a.noise), rgb.shape), 0, 1)


def crop(
    picture: Picture, size_px: int, rng: np.random.Generator, a: Augmentation
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut one random crop: rotated, flipped, scaled, then toned.

    Returns:
        image (band, y, x) float32 in 0..1, valid (y, x) bool, building and cooling (y, x) uint8.
    """
    ny, nx = picture.valid.shape
    kind = rng.random()
    centres = picture.centres(DATA_CENTER if kind < 0.4 else OTHER) if kind < 0.75 else np.empty((0, 2))
    if len(centres):
        row, col = centres[rng.integers(len(centres))] + rng.normal(0, size_px / 8, 2)
    else:
        row, col = rng.uniform(0, ny), rng.uniform(0, nx)
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(*np.log(a.scale)))
    flip = 1.0 if rng.random() < 0.5 else -1.0
    # crop pixel (u, v) from its centre -> turned, scaled -> picture pixel -> [-1, 1] of grid_sample
    u = (np.arange(size_px) - (size_px - 1) / 2) / scale
    vv, uu = np.meshgrid(u, u * flip, indexing="ij")
    x = col + np.cos(angle) * uu - np.sin(angle) * vv
    y = row + np.sin(angle) * uu + np.cos(angle) * vv
    grid = torch.from_numpy(np.stack([(2 * x + 1) / nx - 1, (2 * y + 1) / ny - 1], -1)[None].astype(np.float32))

    y0, y1 = max(0, int(y.min()) - 2), min(ny, int(y.max()) + 3)
    x0, x1 = max(0, int(x.min()) - 2), min(nx, int(x.max()) + 3)
    if y0 >= y1 or x0 >= x1:
        empty = np.zeros((size_px, size_px), np.uint8)
        return np.zeros((picture.optical.shape[0], size_px, size_px), np.float32), empty > 0, empty, empty
    part = (slice(y0, y1), slice(x0, x1))
    grid[..., 0] = (grid[..., 0] + 1) * nx / (x1 - x0) - 2 * x0 / (x1 - x0) - 1
    grid[..., 1] = (grid[..., 1] + 1) * ny / (y1 - y0) - 2 * y0 / (y1 - y0) - 1

    def sample(layers: np.ndarray, mode: str) -> np.ndarray:
        source = torch.from_numpy(layers.astype(np.float32))[None]
        return F.grid_sample(source, grid, mode=mode, padding_mode="zeros", align_corners=False)[0].numpy()

    image = sample(picture.optical[:, *part], "bilinear") / 255.0
    layers = np.stack([picture.valid[part], picture.building[part], picture.cooling[part]])
    valid, building, cooling = sample(layers, "nearest")
    return (
        _tone(image, rng, a).astype(np.float32),
        valid > 0.5,
        building.astype(np.uint8),
        cooling.astype(np.uint8),
    )


def batch(
    pictures: list[Picture],
    *,
    seed: int,
    step: int,
    size: int,
    size_px: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    augmentation: Augmentation | None = None,
) -> Batch:
    """Draw the batch of one step; the same (seed, step) gives the same batch.

    Args:
        pictures: to draw from, by weight.
        seed: what the randomness depends on, together with `step`.
        step: number of the step.
        size: crops in the batch.
        size_px: side of a crop, a multiple of 32.
        mean: subtracted per band, on the 0..1 scale.
        std: divided by, per band.
        augmentation: ranges of the random changes.
    """
    rng = np.random.default_rng([seed, step])
    weights = np.array([p.weight for p in pictures], float)
    images, buildings, coolings = [], [], []
    m, s = (np.asarray(v, np.float32)[:, None, None] for v in (mean, std))
    for index in rng.choice(len(pictures), size, p=weights / weights.sum()):
        image, valid, building, cooling = crop(pictures[index], size_px, rng, augmentation or Augmentation())
        images.append(np.where(valid, (image - m) / s, np.float32(0)))
        buildings.append(np.where(valid, building, IGNORE))
        coolings.append(np.where(valid, cooling, IGNORE))
    return Batch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack(buildings).astype(np.int64)),
        torch.from_numpy(np.stack(coolings).astype(np.int64)),
    )
