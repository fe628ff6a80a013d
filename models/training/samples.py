"""Training samples: crops of labelled pictures with random rotation, scale and radiometry.

In: `Picture`s (pixels, validity, class masks) from hand-drawn outlines or from the simulator. Out: batches of
(band, y, x) crops with their targets. Each batch depends only on (seed, step), so a resumed training sees the same
batches as an uninterrupted one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

IGNORE, NOT_CENTER = 255, 254
"""Codes of unknown pixels, and of pixels known only not to be a data center."""
OTHER, DATA_CENTER = 1, 2
EQUIPMENT = -1
"""Label for `Picture.centres`: pixels of cooling equipment."""
WALL_M = 4.0
"""Width of the strip along an outline that is not interior: half of the narrowest gap between halls."""
UNIT_GSD_M = 0.8
"""Largest pixel size at which single machines are learned; they are counted at 0.6 m."""


@dataclass(frozen=True)
class Picture:
    """A labelled picture.

    Attributes:
        name: used in messages.
        optical: (band, y, x) uint8, display values.
        valid: (y, x) bool, True for pixels with imagery.
        building: (y, x) uint8: 0 background, 1 other building, 2 data center, 255 unknown, 254 known
            only not to be a data center.
        cooling: (y, x) uint8: 0 none, 1 machines of any kind, 255 unknown.
        weight: sampling weight relative to other pictures.
        gsd_m: metres per pixel.
        instance: (y, x) uint16 number of each building, 0 none; None if buildings are not separated.
        unit: (y, x) uint8: 1 within one machine, 0 elsewhere, 255 unknown; None if nothing is known.
        kind: (y, x) uint8: index of the machine's kind in `MACHINE_KINDS`, 255 unknown or no machine; None if
            nothing is known.
        substation: (y, x) uint8: 1 within a substation, 0 elsewhere, 255 unknown; None if nothing is known.
        thermal: (t, y, x) float32 kelvin above the surroundings; None without thermal bands.
        scale: range of the scale factor, replaces the augmentation's; a 2 m picture at scale 2 looks like 1 m.
    """

    name: str
    optical: np.ndarray
    valid: np.ndarray
    building: np.ndarray
    cooling: np.ndarray
    weight: float = 1.0
    gsd_m: float = 2.0
    instance: np.ndarray | None = None
    unit: np.ndarray | None = None
    kind: np.ndarray | None = None
    substation: np.ndarray | None = None
    thermal: np.ndarray | None = None
    scale: tuple[float, float] | None = None
    _centres: dict[int, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    def centres(self, label: int) -> np.ndarray:
        """Return (n, 2) row, column of pixels of a label, fewer than 8,192, as candidates for crop centres.

        Args:
            label: `OTHER`, `DATA_CENTER` or `EQUIPMENT`.
        """
        if label not in self._centres:
            at = np.argwhere((self.cooling == 1 if label == EQUIPMENT else self.building == label) & self.valid)
            if label == EQUIPMENT and self.kind is not None:
                # each kind as often as the others: rows of chillers cover most of the ground under machines
                kinds = self.kind[tuple(at.T)]
                groups = [at[kinds == k] for k in np.unique(kinds)]
                least = max(1, min(1024, max((len(g) for g in groups), default=1)))
                at = (
                    np.concatenate([g[np.linspace(0, len(g) - 1, least).astype(int)] for g in groups]) if groups else at
                )
            else:
                at = at[:: max(1, len(at) // 4096)]
            self._centres[label] = at
        return self._centres[label]


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random augmentation; each prevents overfitting to one picture. All values are own choices.

    Attributes:
        scale: range of the scale factor, so that neither size nor GSD gives the class away; `Picture.scale` has
            priority.
        gain: range of the gain over all bands.
        gamma: range of the exponent of the tone curve.
        cast: twice the standard deviation of the colour cast, 0..1 scale.
        saturation: range of the factor on colour differences.
        clip: range of the display value above which highlights saturate.
        haze: largest share of haze.
        blur_px: largest standard deviation of the blur.
        sharpen: largest amount of unsharp masking.
        noise: largest standard deviation of the noise, 0..1 scale.
        soft: (probability, largest factor) of downsampling and enlarging again.
        jpeg: probability of JPEG compression.
        patches: mean number of blanked rectangles, which imitate masked map pins and logos.
        colours: probability that a crop takes mean and spread of each band from another crop of the batch.
        spectrum: probability that it takes the coarsest part of another crop's amplitude spectrum instead.
        heat: range of the factor on thermal bands.
        heat_noise_k: largest standard deviation of thermal noise.
        no_heat: probability that thermal bands are absent, so that the weights work with and without them.
    """

    scale: tuple[float, float] = (0.7, 1.45)
    gain: tuple[float, float] = (0.6, 1.35)
    gamma: tuple[float, float] = (0.6, 1.6)
    cast: float = 0.08
    saturation: tuple[float, float] = (0.1, 1.7)
    clip: tuple[float, float] = (0.75, 1.0)
    haze: float = 0.25
    blur_px: float = 1.2
    sharpen: float = 1.5
    noise: float = 0.03
    soft: tuple[float, float] = (0.25, 2.0)
    jpeg: float = 0.3
    patches: float = 0.5
    colours: float = 0.25
    spectrum: float = 0.15
    heat: tuple[float, float] = (0.3, 2.0)
    heat_noise_k: float = 0.4
    no_heat: float = 0.5


@dataclass(frozen=True)
class Batch:
    """One batch: `image` (n, band, y, x) float32 normalised, targets (n, y, x) int64 as in `Picture`."""

    image: Tensor
    building: Tensor
    cooling: Tensor
    interior: Tensor
    unit: Tensor
    kind: Tensor
    substation: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, the image in channels-last order."""
        image = self.image.to(device, memory_format=torch.channels_last)
        targets = (self.building, self.cooling, self.interior, self.unit, self.kind, self.substation)
        return Batch(image, *(t.to(device) for t in targets))


def _tone(rgb: np.ndarray, rng: np.random.Generator, a: Augmentation) -> np.ndarray:
    """Return the crop (3, y, x), 0..1, with random radiometry: sensor, sun, season, sharpness, file format."""
    grey = rgb.mean(0, keepdims=True)
    rgb = grey + (rgb - grey) * rng.uniform(*a.saturation)
    haze = rng.uniform(0, a.haze) * (rng.random() < 0.4)
    rgb = rgb * (1 - haze) + haze * rng.uniform(0.6, 1.0)
    rgb = rgb * rng.uniform(*a.gain) + rng.normal(0, a.cast, (rgb.shape[0], 1, 1)) * 0.5
    rgb = np.clip(rgb, 0, 1) ** rng.uniform(*a.gamma)
    if rng.random() < 0.4:
        rgb = np.minimum(rgb, rng.uniform(*a.clip))
    if rng.random() < a.soft[0]:
        factor, (ny, nx) = rng.uniform(1, a.soft[1]), rgb.shape[1:]
        small = (max(1, round(ny / factor)), max(1, round(nx / factor)))
        x = F.interpolate(torch.from_numpy(np.ascontiguousarray(rgb, np.float32))[None], small, mode="area")
        rgb = F.interpolate(x, (ny, nx), mode="bilinear", align_corners=False)[0].numpy()
    if rng.random() < 0.5:
        sigma = rng.uniform(0, a.blur_px)
        rgb = ndimage.gaussian_filter(rgb, (0, sigma, sigma))
    elif rng.random() < 0.4:
        rgb = rgb + rng.uniform(0, a.sharpen) * (rgb - ndimage.gaussian_filter(rgb, (0, 1.0, 1.0)))
    rgb = np.clip(rgb + rng.normal(0, rng.uniform(0, a.noise), rgb.shape), 0, 1)
    return _jpeg(rgb, int(rng.integers(30, 92))) if len(rgb) == 3 and rng.random() < a.jpeg else rgb


def _jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    """Return (3, y, x) float32, 0..1, after JPEG compression and decompression."""
    file = io.BytesIO()
    pixels = np.rint(rgb * 255).astype(np.uint8).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    file.seek(0)
    return np.asarray(Image.open(file), np.float32).transpose(2, 0, 1) / 255


def _interior(instance: np.ndarray, building: np.ndarray, wall_px: float) -> np.ndarray:
    """Return (y, x) uint8: 1 inside a building at least `wall_px` from its outline, 255 if buildings are unknown."""
    wall = np.zeros(instance.shape, bool)
    # outlines are where the instance number changes between neighbours
    wall[1:] |= instance[1:] != instance[:-1]
    wall[:-1] |= instance[1:] != instance[:-1]
    wall[:, 1:] |= instance[:, 1:] != instance[:, :-1]
    wall[:, :-1] |= instance[:, 1:] != instance[:, :-1]
    away = ndimage.distance_transform_edt(~wall) >= wall_px if wall.any() else np.ones(wall.shape, bool)
    inside = (instance > 0) & away & (building > 0)
    return np.where(building >= NOT_CENTER, np.uint8(IGNORE), inside.astype(np.uint8))


@dataclass(frozen=True)
class Crop:
    """One crop: `image` (band, y, x) float32, `valid` (y, x) bool, targets (y, x) uint8 as in `Picture`.

    Optical bands are 0..1; thermal bands follow, kelvin above the surroundings, NaN if absent.
    """

    image: np.ndarray
    valid: np.ndarray
    building: np.ndarray
    cooling: np.ndarray
    interior: np.ndarray
    unit: np.ndarray
    kind: np.ndarray
    substation: np.ndarray


def crop(picture: Picture, size_px: int, rng: np.random.Generator, a: Augmentation, equipment: float = 0.0) -> Crop:
    """Cut one random crop: rotated, flipped and scaled, then with random radiometry.

    Args:
        picture: picture to cut from.
        size_px: rows and columns of the crop.
        rng: random generator.
        a: ranges of the augmentation.
        equipment: share of the crops that are centred on machines instead of buildings.
    """
    ny, nx = picture.valid.shape
    kind = rng.random()
    # 40% of the crops on data centers, 35% on other buildings, 25% anywhere (own choice: the classes are rare)
    centres = picture.centres(DATA_CENTER if kind < 0.4 else OTHER) if kind < 0.75 else np.empty((0, 2))
    if equipment and rng.random() < equipment:
        centres = picture.centres(EQUIPMENT)
    if len(centres):
        row, col = centres[rng.integers(len(centres))] + rng.normal(0, size_px / 8, 2)
    else:
        row, col = rng.uniform(0, ny), rng.uniform(0, nx)
    # log-uniform scale: halving is as likely as doubling
    angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(*np.log(picture.scale or a.scale)))
    flip = 1.0 if rng.random() < 0.5 else -1.0
    if rng.random() < 0.8:  # own choice: few crops reach beyond the picture, where there is nothing to learn
        room = np.minimum(size_px / 2 / scale, np.array([ny, nx]) / 2)
        row, col = np.clip([row, col], room, np.array([ny, nx]) - room)
    # crop pixel (u, v) from its centre -> turned, scaled -> picture pixel -> [-1, 1] of grid_sample
    u = (np.arange(size_px) - (size_px - 1) / 2) / scale
    vv, uu = np.meshgrid(u, u * flip, indexing="ij")
    x = col + np.cos(angle) * uu - np.sin(angle) * vv
    y = row + np.sin(angle) * uu + np.cos(angle) * vv
    grid = torch.from_numpy(np.stack([(2 * x + 1) / nx - 1, (2 * y + 1) / ny - 1], -1)[None].astype(np.float32))

    # read only the part of the picture that the crop covers; 2 px margin for the interpolation
    y0, y1 = max(0, int(y.min()) - 2), min(ny, int(y.max()) + 3)
    x0, x1 = max(0, int(x.min()) - 2), min(nx, int(x.max()) + 3)
    if y0 >= y1 or x0 >= x1:
        bands = len(picture.optical) + (0 if picture.thermal is None else len(picture.thermal))
        nothing = np.zeros((bands, size_px, size_px), np.float32)
        return Crop(nothing, *(np.zeros((7, size_px, size_px), np.uint8)))
    part = (slice(y0, y1), slice(x0, x1))
    # grid_sample counts from -1 to 1 over its input: rescale from the whole picture to the part
    grid[..., 0] = (grid[..., 0] + 1) * nx / (x1 - x0) - 2 * x0 / (x1 - x0) - 1
    grid[..., 1] = (grid[..., 1] + 1) * ny / (y1 - y0) - 2 * y0 / (y1 - y0) - 1

    def sample(layers: np.ndarray, mode: str) -> np.ndarray:
        source = torch.from_numpy(layers.astype(np.float32))[None]
        return F.grid_sample(source, grid, mode=mode, padding_mode="zeros", align_corners=False)[0].numpy()

    colour: np.ndarray = sample(picture.optical[:, *part], "bilinear") / 255.0
    unknown = np.full(picture.valid.shape, IGNORE, np.uint8)
    layers = [picture.valid, picture.building, picture.cooling]
    more = (picture.instance, picture.unit, picture.kind, picture.substation)
    layers += [unknown if layer is None else layer for layer in more]
    valid, building, cooling, instance, unit, kind_of, substation = sample(
        np.stack([layer[part] for layer in layers]), "nearest"
    )
    gsd_m = picture.gsd_m / scale
    target = building.astype(np.uint8)
    interior = np.full(target.shape, IGNORE, np.uint8)
    if picture.instance is not None:
        # at least 1.5 px, so that the strip exists at coarse pixels
        interior = _interior(instance, target, max(1.5, WALL_M / gsd_m))
    # at coarser pixels single machines are not resolved
    if gsd_m > UNIT_GSD_M:
        unit = np.full_like(unit, IGNORE)
    image: np.ndarray = _tone(colour, rng, a).astype(np.float32)
    if picture.thermal is not None:
        heat = sample(picture.thermal[:, *part], "bilinear")
        heat = heat * rng.uniform(*a.heat) + rng.normal(0, rng.uniform(0, a.heat_noise_k), heat.shape)
        absent = rng.random() < a.no_heat
        image = np.concatenate([image, np.where(absent, np.nan, heat).astype(np.float32)])
    return Crop(
        image,
        _blank(valid > 0.5, rng, a.patches),
        target,
        cooling.astype(np.uint8),
        interior,
        unit.astype(np.uint8),
        kind_of.astype(np.uint8),
        substation.astype(np.uint8),
    )


def _exchange(crops: list[Crop], optical: int, rng: np.random.Generator, a: Augmentation) -> list[np.ndarray]:
    """Return the crops' images (band, y, x) after some took the look of another: style must not tell the class."""
    images = []
    for own in crops:
        draw, other = rng.random(), crops[rng.integers(len(crops))]
        image, (x, y) = own.image, (own.image[:optical], other.image[:optical])
        if other is not own and draw < a.colours + a.spectrum and own.valid.any() and other.valid.any():
            if draw < a.colours:
                to, of = y[:, other.valid], x[:, own.valid]
                # own choice: the spread changes by a factor of 2.5 at most, so that plain crops do not turn to noise
                gain = np.clip((to.std(1) + 0.02) / (of.std(1) + 0.02), 0.4, 2.5)
                new = (x - of.mean(1)[:, None, None]) * gain[:, None, None] + to.mean(1)[:, None, None]
            elif min(own.valid.mean(), other.valid.mean()) > 0.9:  # the edge of a void has a spectrum of its own
                new = _with_spectrum(x, y)
            else:
                new = x
            image = np.concatenate([np.clip(new, 0, 1).astype(np.float32), image[optical:]])
        images.append(image)
    return images


def _with_spectrum(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return x (band, y, x) with the lowest spatial frequencies' amplitudes of y (Yang and Soatto 2020, FDA)."""
    fx, fy = np.fft.rfft2(x), np.fft.rfft2(y)
    k = max(1, round(0.01 * x.shape[1]))  # beta 0.01, the smallest of the paper: larger ones leave ghosts
    low = (np.abs(np.fft.fftfreq(x.shape[1])) * x.shape[1] <= k)[:, None] & (np.arange(fx.shape[2]) <= k)[None]
    amplitude = np.where(low, np.abs(fy), np.abs(fx))
    changed: np.ndarray = np.fft.irfft2(amplitude * np.exp(1j * np.angle(fx)), s=x.shape[1:])
    return changed


def _blank(valid: np.ndarray, rng: np.random.Generator, mean: float) -> np.ndarray:
    """Blank a few random rectangles of `valid`, as masks of map pins and texts do."""
    valid, (ny, nx) = valid.copy(), valid.shape
    for _ in range(rng.poisson(mean)):
        y, x = rng.integers(0, ny), rng.integers(0, nx)
        h, w = rng.integers(4, 24), rng.integers(6, 80)
        valid[y : y + h, x : x + w] = False
    return valid


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
    equipment: float = 0.0,
) -> Batch:
    """Draw the batch of one step; the same (seed, step) gives the same batch.

    Args:
        pictures: pictures to sample from, by weight.
        seed: seed of the random numbers, together with `step`.
        step: number of the step.
        size: number of crops.
        size_px: side of a crop, a multiple of 32.
        mean: subtracted per band, on the 0..1 scale.
        std: divided by, per band.
        augmentation: ranges of the augmentation; defaults if None.
        equipment: see `crop`.
    """
    rng = np.random.default_rng([seed, step])
    weights = np.array([p.weight for p in pictures], float)
    m, s = (np.asarray(v, np.float32)[:, None, None] for v in (mean, std))
    crops = [
        crop(pictures[i], size_px, rng, augmentation or Augmentation(), equipment)
        for i in rng.choice(len(pictures), size, p=weights / weights.sum())
    ]
    looks = _exchange(crops, len(pictures[0].optical), rng, augmentation or Augmentation())
    # invalid pixels and absent thermal bands are 0 after normalisation, that is, the mean
    images = [np.nan_to_num(np.where(c.valid, (x - m) / s, np.float32(0))) for c, x in zip(crops, looks, strict=True)]

    def targets(layers: list[np.ndarray]) -> Tensor:
        known = [np.where(c.valid, layer, IGNORE) for c, layer in zip(crops, layers, strict=True)]
        return torch.from_numpy(np.stack(known).astype(np.int64))

    return Batch(
        torch.from_numpy(np.stack(images)),
        targets([c.building for c in crops]),
        targets([c.cooling for c in crops]),
        targets([c.interior for c in crops]),
        targets([c.unit for c in crops]),
        targets([c.kind for c in crops]),
        targets([c.substation for c in crops]),
    )
