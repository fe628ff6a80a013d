"""The look of a picture, and how a patch is blended into it and labelled.

In: real pictures (3, y, x) uint8, patches and labels. Out: measured radiometry (`Look`), the blended picture, merged
label layers. `canvases` makes the patches. Thresholds are own choices, judged by eye on NAIP.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy import ndimage, special

from overwatt.models.simulate.palette import Rgb
from overwatt.models.simulate.scene import Scene

UNTOUCHED = {"building": 254, "instance": 0, "cooling": 255, "unit": 255, "kind": 255, "substation": 255}
"""Label of ground that nothing was pasted on, per layer: no data center, everything else unknown."""
OUTLINED = ("building", "instance")
"""Layers of buildings; the others are layers of equipment."""
SIMULATED = (38.0, 226.0)
"""Display values of shadows and of white roofs in the simulator's palette."""
_COLOURED = 60.0
"""95th percentile of the range over the bands of a pixel in colourful pictures, counts."""


class Labels(Protocol):
    """Labels (y, x) of a picture, as `Scene` and training pictures have them; further layers of `UNTOUCHED` count."""

    @property
    def building(self) -> np.ndarray:
        """Classes as in `Scene`, or 254: known only not to be a data center."""

    @property
    def cooling(self) -> np.ndarray:
        """1 on equipment, 255 unknown."""


@dataclass(frozen=True)
class Look:
    """Radiometry of a picture: display values of its shadows and highlights per band, shade, blur and noise.

    Attributes:
        low: (3, 1, 1) display values of the darkest 1%.
        high: (3, 1, 1) display values of white things.
        shade: share of the light that is left in shadow, for red, green, blue.
        saturation: factor on the simulator's colour differences.
        blur_px: standard deviation of the blur, pixels.
        noise: standard deviation of pixel noise, counts.
    """

    low: np.ndarray
    high: np.ndarray
    shade: tuple[float, float, float]
    saturation: float
    blur_px: float
    noise: float


def look(optical: np.ndarray) -> Look:
    """Measure the radiometry of a picture (3, y, x) uint8."""
    rgb = optical.astype(np.float32)
    flat = rgb.reshape(3, -1)
    low, middle = np.percentile(flat, [1, 50], axis=1)
    grey = flat.mean(0)
    # the cast is that of bright grey things: among the brightest 5%, the third with the least colour
    bright = flat[:, grey >= np.percentile(grey, 95)]
    colour = np.ptp(bright, axis=0)
    white = bright[:, colour <= np.percentile(colour, 33)].mean(1)
    # a picture without white things (desert, forest) must not turn white roofs brown: hue at most 4% off grey
    hue = np.clip(white / max(white.mean(), 1.0), 0.96, 1.04)
    level = float(np.clip(np.percentile(grey, 99), 175, 250))
    # shadow against ordinary ground; bounded because many pictures have no shadow, or much dark asphalt
    shade = float(np.clip((low / np.maximum(middle, 1)).mean(), 0.28, 0.58))
    # a picture without shadow must not lift the black of what is pasted; its hue stays
    low = low * min(1.0, 60.0 / max(low.mean(), 1.0))
    return Look(
        low.astype(np.float32)[:, None, None],
        (level * hue).astype(np.float32)[:, None, None],
        # shadow is lit by the sky alone, so it is bluer than sunlit ground
        (0.95 * shade, shade, 1.1 * shade),
        float(np.clip(np.percentile(np.ptp(flat, axis=0), 95) / _COLOURED, 0.45, 1.2)),
        _blur_px(rgb.mean(0)),
        _noise(rgb.mean(0)),
    )


def _blur_px(grey: np.ndarray) -> float:
    """Return the standard deviation of the blur, from the slopes of the strongest edges."""
    dy, dx = np.gradient(grey)
    slope = np.hypot(dy, dx)
    contrast = ndimage.maximum_filter(grey, 7) - ndimage.minimum_filter(grey, 7)
    peak = (slope == ndimage.maximum_filter(slope, 5)) & (contrast >= np.percentile(contrast, 95)) & (contrast > 20)
    if not peak.any():
        return 0.7
    # central difference of a step blurred by s: contrast x erf(1 / (s sqrt 2)) / 2
    ratio = np.clip(2 * slope[peak] / contrast[peak], 0.1, 0.97)
    return float(np.clip(np.quantile(1 / (np.sqrt(2) * special.erfinv(ratio)), 0.5), 0.3, 3.0))


def _noise(grey: np.ndarray) -> float:
    """Return the standard deviation of the noise, by the filter of Immerkaer (1996), in the quietest 16 px blocks."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    residual = np.abs(ndimage.convolve(grey, kernel))
    means = ndimage.uniform_filter(residual, 16)[8::16, 8::16]
    return float(np.clip(np.sqrt(np.pi / 2) / 6 * np.quantile(means, 0.05), 0, 8))


def painted(seen: Look, rgb: np.ndarray) -> Rgb:
    """Return the simulator's colour of a colour of the canvas."""
    low, high = SIMULATED
    share = (rgb - seen.low[:, 0, 0]) / (seen.high - seen.low)[:, 0, 0]
    r, g, b = np.clip(low + share * (high - low), 14, 246)
    return float(r), float(g), float(b)


def blend(
    canvas: np.ndarray,
    patch: np.ndarray,
    alpha: np.ndarray,
    shadow: np.ndarray,
    seen: Look,
    blur_px: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the canvas (3, y, x) uint8 with a patch over it; other pixels stay as they are.

    Args:
        canvas: (3, y, x) uint8.
        patch: (3, y, x) float32 in the canvas's tone, times `alpha`.
        alpha: (y, x) share of each pixel that the patch covers.
        shadow: (y, x) share of each pixel that is real ground in shadow of the patch.
        seen: the canvas's look: its shade and noise.
        blur_px: blur of patch, edge and shadow; it feathers the edge as the camera does.
        rng: random numbers of the noise.
    """
    layers = np.concatenate([patch, alpha[None], shadow[None]])
    layers = ndimage.gaussian_filter(layers, (0, blur_px, blur_px), truncate=3) if blur_px > 0.2 else layers
    patch, alpha, shadow = layers[:3], layers[3], layers[4]
    changed = (alpha > 0.004) | (shadow > 0.004)
    dark = np.array(seen.shade, np.float32)[:, None, None]
    ground = canvas * ((1 - alpha) - np.minimum(shadow, 1 - alpha) * (1 - dark))
    noise = seen.noise * alpha * rng.standard_normal(alpha.shape, dtype=np.float32)
    out = np.clip(np.rint(ground + patch + noise), 0, 255).astype(np.uint8)
    return np.where(changed, out, canvas)


def label(scene: Scene, covered: np.ndarray, labels: Labels | None) -> Scene:
    """Return `scene` with its layers only where something was pasted, and the canvas's labels elsewhere.

    Args:
        scene: labels of the pasted objects.
        covered: (y, x) bool, where the patch hides the canvas.
        labels: layers of the canvas; `UNTOUCHED` if None or where a layer is missing.
    """
    layers: dict[str, Any] = {}
    for name, code in UNTOUCHED.items():
        pasted = getattr(scene, name, None)
        if pasted is None:
            continue
        known = getattr(labels, name, None)
        before = np.full_like(pasted, code) if known is None else known.astype(pasted.dtype)
        if name == "instance":
            # numbers go on after the canvas's
            pasted = np.where(pasted > 0, pasted + before.max(), 0).astype(pasted.dtype)
        objects = scene.building > 0 if name in OUTLINED else (scene.cooling == 1) | (pasted == 1)
        layers[name] = np.where(covered | objects, pasted, before)
    return replace(scene, **layers)
