"""Takes a picture of a drawing as any camera anywhere might: sun, haze, tone, blur, seams, compression, labels.

In: a drawing and a `View`. Out: uint8 picture (3, y, x). Painting and shadows are `render`'s. The view may lean,
and the look varies as public imagery does, so that a network cannot learn one sensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from overwatt.models.simulate.drawing import Drawing
from overwatt.models.simulate.render import block_mean, cast_shadow, jpeg, paint, smooth

_TINT_AT = 190.0
"""Brightness at which textures count in full; on darker paint they are as much weaker."""


@dataclass(frozen=True)
class View:
    """How one picture was taken.

    Attributes:
        sun_azimuth_deg, sun_elevation_deg: clockwise from north; above the horizon.
        shade: light left in shadow, a share for red, green, blue.
        lean: displacement of tall things, metres east and south a metre of height.
        gain, saturation, gamma, lift: display gain a band; 1 is as painted; of the display; counts added to black.
        haze, haze_rgb: share of haze and its colour.
        blur_px, sharpen, soften: sd of the blur; unsharp amount; pixel size the camera had, in pixels of the picture.
        noise, grain: sd in counts, of single pixels and of 2-3 pixel grain.
        ceiling: display value at which highlights clip.
        shift_px: displacement of red and of blue against green (y, x each).
        jpeg_quality: 0 skips the compression. seam: whether another strip of tone begins somewhere.
        labels: how many pins and place names lie over the picture.
    """

    sun_azimuth_deg: float
    sun_elevation_deg: float
    shade: tuple[float, float, float]
    lean: tuple[float, float]
    gain: tuple[float, float, float]
    saturation: float
    gamma: float
    lift: float
    haze: float
    haze_rgb: tuple[float, float, float]
    blur_px: float
    sharpen: float
    soften: float
    noise: float
    grain: float
    ceiling: float
    shift_px: tuple[float, float, float, float]
    jpeg_quality: int
    seam: bool
    labels: int


def random_view(rng: np.random.Generator, gsd_m: float) -> View:
    """Draw how a picture of `gsd_m` was taken."""
    dark = float(rng.uniform(0.22, 0.7))
    cast = rng.normal(0, 0.055 if rng.random() < 0.12 else 0.018, 3)
    south = rng.random() < 0.8
    azimuth = float(rng.uniform(95, 265)) if south else float(rng.uniform(-85, 85)) % 360
    off = float(rng.choice([0.0, rng.uniform(0, 0.12), rng.uniform(0.05, 0.35)], p=[0.35, 0.4, 0.25]))
    toward = float(rng.uniform(0, 2 * np.pi))
    gain = np.exp(rng.normal(0.0, 0.12)) * (rng.uniform(0.4, 0.7) if rng.random() < 0.08 else 1.0)
    haze = float(rng.choice([0.0, rng.uniform(0, 0.3)])) if gsd_m < 4 else float(rng.uniform(0.05, 0.4))
    fog = float(rng.uniform(150, 215))
    shift = tuple(float(x) for x in rng.normal(0, 0.45, 4).clip(-1, 1)) if rng.random() < 0.3 else (0.0,) * 4
    return View(
        sun_azimuth_deg=azimuth,
        sun_elevation_deg=float(rng.uniform(24, 72)),
        shade=(dark, dark + float(rng.uniform(0, 0.04)), min(dark + float(rng.uniform(0.0, 0.16)), 0.95)),
        lean=(off * float(np.cos(toward)), off * float(np.sin(toward))),
        gain=(float(gain * (1 + cast[0])), float(gain * (1 + cast[1])), float(gain * (1 + cast[2]))),
        saturation=float(
            rng.choice([rng.uniform(0.3, 0.8), rng.uniform(0.75, 1.1), rng.uniform(1.05, 1.4)], p=[0.35, 0.5, 0.15])
        ),
        gamma=float(np.exp(rng.normal(0.05, 0.22))),
        lift=float(rng.choice([0.0, rng.uniform(-18, 20)])),
        haze=haze,
        haze_rgb=(fog - float(rng.uniform(0, 16)), fog, fog + float(rng.uniform(-4, 16))),
        blur_px=float(rng.uniform(0.25, 0.9)),
        sharpen=float(rng.choice([0.0, rng.uniform(0.2, 0.7), rng.uniform(0.7, 1.6)], p=[0.4, 0.4, 0.2])),
        soften=float(rng.choice([1.0, rng.uniform(1.2, 2.2)], p=[0.65, 0.35])),
        noise=float(rng.gamma(1.6, 1.3)),
        grain=float(rng.gamma(1.2, 0.8)),
        ceiling=float(rng.choice([255.0, rng.uniform(205, 250)], p=[0.7, 0.3])),
        shift_px=shift,  # type: ignore[arg-type]
        jpeg_quality=int(rng.choice([0, int(rng.integers(70, 96)), int(rng.integers(28, 70))], p=[0.15, 0.6, 0.25])),
        seam=bool(rng.random() < 0.08),
        labels=int(rng.integers(1, 7)) if gsd_m < 3 and rng.random() < 0.08 else 0,
    )


def canvas_cells(gsd_m: float, size_px: int) -> int:
    """Return how many canvas cells lie along one pixel."""
    fine = 2 if gsd_m < 2.6 else 3 if gsd_m < 5 or size_px > 320 else 4
    return fine if size_px * fine <= 2304 else max(1, 2304 // size_px)


def photograph(
    drawing: Drawing,
    shape_px: tuple[int, int],
    gsd_m: float,
    view: View,
    rng: np.random.Generator,
    cells: int | None = None,
) -> np.ndarray:
    """Return the picture (band=3 red, green, blue; y, x) uint8.

    Args:
        drawing: what lies there, in metres.
        shape_px: rows, columns.
        gsd_m: metres a pixel.
        view: how it is taken.
        rng: texture, noise and the places of seams and labels.
        cells: canvas cells along one pixel; `canvas_cells` where None.
    """
    fine = cells or canvas_cells(gsd_m, max(shape_px))
    size_m = gsd_m / fine
    ids, height, tint = paint(drawing, (shape_px[0] * fine, shape_px[1] * fine), size_m, tinted=True)
    assert tint is not None
    shadow = cast_shadow(height, size_m, view.sun_azimuth_deg, view.sun_elevation_deg, _steps(height, size_m, view))
    light = block_mean(_lit(drawing, ids, tint, shadow, view, size_m, rng), fine)
    optical = _camera(light, view, rng, gsd_m)
    if view.labels:
        _label(optical, view.labels, rng)
    return jpeg(optical, view.jpeg_quality) if view.jpeg_quality else optical


def _steps(height_dm: np.ndarray, size_m: float, view: View) -> list[int]:
    """Return the distances, in cells, at which to look for what hides the sun: closer together near by."""
    reach = int(height_dm.max() / 10 / np.tan(np.deg2rad(view.sun_elevation_deg)) / size_m) + 1
    steps, k = [], 1
    while k < min(reach + 1, 300, *height_dm.shape):
        steps.append(k)
        k += 1 if k < 20 else 2 if k < 50 else 4
    return steps


def _lit(
    drawing: Drawing,
    ids: np.ndarray,
    tint: np.ndarray,
    shadow: np.ndarray,
    view: View,
    size_m: float,
    rng: np.random.Generator,
) -> np.ndarray:
    table = np.array(drawing.paints, dtype=np.float32)
    rough = table[:, 3][ids]
    fine = rng.standard_normal(ids.shape, dtype=np.float32)
    if size_m < 0.5:
        fine = ndimage.uniform_filter(fine, 2) * 1.8
    fine *= 0.75
    fine += 0.6 * smooth(rng, ids.shape, max(2, round(5 / size_m)))
    patches = smooth(rng, ids.shape, max(2, round(45 / size_m)))
    fine += 0.5 * patches
    fine *= rough
    tone = tint * (table[:, 1] / np.float32(_TINT_AT))[ids]
    fine += tone
    patches *= rough
    patches += 0.15 * tone
    out = np.empty((3, *ids.shape), dtype=np.float32)
    for band, hue in enumerate((0.35, -0.1, -0.25)):
        out[band] = table[:, band][ids]
        out[band] += fine
        out[band] += hue * patches
        out[band][shadow] *= view.shade[band]
    return out


def _camera(light: np.ndarray, view: View, rng: np.random.Generator, gsd_m: float) -> np.ndarray:
    rows, cols = light.shape[1:]
    grey = light.mean(axis=0, keepdims=True)
    light = grey + view.saturation * (light - grey)
    blur = float(np.hypot(view.blur_px, 0.45 * (view.soften - 1)))
    light = ndimage.gaussian_filter(light, (0, blur, blur), truncate=3)
    if view.soften > 1:
        small = ndimage.zoom(light, (1, 1 / view.soften, 1 / view.soften), order=1, grid_mode=True, mode="nearest")
        zoom = (1, rows / small.shape[1], cols / small.shape[2])
        light = ndimage.zoom(small, zoom, order=1, grid_mode=True, mode="nearest")[:, :rows, :cols]
    if any(view.shift_px):
        for band, (dy, dx) in ((0, view.shift_px[:2]), (2, view.shift_px[2:])):
            light[band] = ndimage.shift(light[band], (dy, dx), order=1, mode="nearest")
    haze = np.array(view.haze_rgb, dtype=np.float32)[:, None, None]
    light = light * (1 - view.haze) + haze * view.haze
    light *= 1 + 0.03 * smooth(rng, (rows, cols), max(40, rows // 3))
    if view.sharpen > 0:
        light += view.sharpen * (light - ndimage.gaussian_filter(light, (0, 1.2, 1.2), truncate=2))
    light = np.clip(light / 255.0, 0, 1) ** np.float32(view.gamma)
    light *= np.array(view.gain, dtype=np.float32)[:, None, None] * 255.0
    light += view.lift
    if view.seam:
        _seam(light, rng)
    light += view.noise * rng.standard_normal(light.shape, dtype=np.float32)
    grain = ndimage.uniform_filter(rng.standard_normal((rows, cols), dtype=np.float32), 2) * 2
    light += view.grain * grain
    return np.clip(np.rint(light), 0, view.ceiling).astype(np.uint8)


def _seam(light: np.ndarray, rng: np.random.Generator) -> None:
    """Give one side of a line another tone, as where two dates meet in a mosaic."""
    rows, cols = light.shape[1:]
    angle, (y, x) = float(rng.uniform(0, 2 * np.pi)), rng.uniform(0.2, 0.8, 2) * [rows, cols]
    yy, xx = np.mgrid[:rows, :cols]
    side = (np.cos(angle) * (xx - x) + np.sin(angle) * (yy - y)) > 0
    tone = (1 + rng.normal(0, 0.1)) * (1 + rng.normal(0, 0.04, 3))
    for band in range(3):
        light[band][side] *= np.float32(tone[band])


def _label(optical: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Lay pins and lines of letter-like marks over a picture, as a screenshot of a map has them."""
    _, rows, cols = optical.shape
    for _ in range(count):
        y, x = int(rng.integers(8, max(rows - 12, 9))), int(rng.integers(4, max(cols - 60, 5)))
        colour = np.array([(66, 133, 244), (219, 68, 55), (244, 160, 0), (15, 157, 88)][int(rng.integers(4))])
        yy, xx = np.mgrid[:rows, :cols]
        if rng.random() < 0.7:
            radius = float(rng.uniform(3, 7))
            pin = (yy - y) ** 2 + (xx - x) ** 2 < radius**2
            optical[:, pin] = colour[:, None].astype(np.uint8)
            optical[:, (yy - y) ** 2 + (xx - x) ** 2 < (0.4 * radius) ** 2] = 255
        for k in range(int(rng.integers(4, 18))):
            left, wide = x + 9 + 6 * k, int(rng.integers(3, 6))
            if left + wide >= cols or rng.random() < 0.15:
                continue
            tall = int(rng.integers(5, 8))
            box = (slice(None), slice(y - tall // 2 - 1, y + tall // 2 + 2), slice(left - 1, left + wide + 1))
            optical[box] = (optical[box] * 0.35).astype(np.uint8)
            mark = rng.random((tall, wide)) < 0.55
            patch = optical[:, y - tall // 2 : y - tall // 2 + tall, left : left + wide]
            patch[:, mark[: patch.shape[1], : patch.shape[2]]] = 245
