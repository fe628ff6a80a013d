"""Turns a drawing into a picture, with the variation of public imagery: sun, haze, tone, blur, seams, JPEG, labels.

In: a drawing and a `View`. Out: uint8 picture (3, y, x). `render` paints shapes and shadows; this module adds what
sensor, atmosphere and processing add. The ranges are wide (domain randomisation), so that a network cannot fit one
sensor; they are own choices, judged by eye on public aerial pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from overwatt.models.simulate.drawing import Drawing
from overwatt.models.simulate.render import block_mean, cast_shadow, jpeg, paint, smooth

_TINT_AT = 190.0
"""Display value at which a texture has its full amplitude; on darker paint it is proportionally weaker."""


@dataclass(frozen=True)
class View:
    """Acquisition and processing parameters of one picture.

    Attributes:
        sun_azimuth_deg: clockwise from north.
        sun_elevation_deg: above the horizon.
        shade: share of the light that is left in shadow, for red, green, blue.
        lean: relief displacement, metres east and south per metre of height.
        gain: display gain per band.
        saturation: factor on colour differences; 1 keeps the painted colours.
        gamma: exponent of the display's tone curve.
        lift: counts added to black.
        haze: share of haze.
        haze_rgb: colour of the haze, counts.
        blur_px: standard deviation of the blur, pixels.
        sharpen: amount of unsharp masking.
        soften: the camera's true pixel size, in pixels of the picture; above 1 the picture is upsampled.
        noise: standard deviation of independent pixel noise, counts.
        grain: standard deviation of grain of 2-3 pixels, counts.
        ceiling: display value at which highlights clip.
        shift_px: misregistration of red and of blue relative to green (y, x each).
        jpeg_quality: 0 skips the compression.
        seam: whether a mosaic seam crosses the picture.
        labels: number of map pins and place names drawn over the picture.
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
    """Draw the acquisition parameters of a picture with a ground sampling distance of `gsd_m`."""
    dark = float(rng.uniform(0.22, 0.7))
    cast = rng.normal(0, 0.055 if rng.random() < 0.12 else 0.018, 3)
    # sun in the south (northern hemisphere) in 80% of the pictures
    south = rng.random() < 0.8
    azimuth = float(rng.uniform(95, 265)) if south else float(rng.uniform(-85, 85)) % 360
    # tangent of the off-nadir angle: nadir mosaics, frame edges, oblique satellite views (up to 19 degrees)
    off = float(rng.choice([0.0, rng.uniform(0, 0.12), rng.uniform(0.05, 0.35)], p=[0.35, 0.4, 0.25]))
    toward = float(rng.uniform(0, 2 * np.pi))
    # 8% of the pictures are under-exposed
    gain = np.exp(rng.normal(0.0, 0.12)) * (rng.uniform(0.4, 0.7) if rng.random() < 0.08 else 1.0)
    # coarse pictures come from orbit, through the whole atmosphere
    haze = float(rng.choice([0.0, rng.uniform(0, 0.3)])) if gsd_m < 4 else float(rng.uniform(0.05, 0.4))
    fog = float(rng.uniform(150, 215))
    shift = (0.0, 0.0, 0.0, 0.0)
    if rng.random() < 0.3:
        red_y, red_x, blue_y, blue_x = (float(x) for x in rng.normal(0, 0.45, 4).clip(-1, 1))
        shift = (red_y, red_x, blue_y, blue_x)
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
        shift_px=shift,
        jpeg_quality=int(rng.choice([0, int(rng.integers(70, 96)), int(rng.integers(28, 70))], p=[0.15, 0.6, 0.25])),
        seam=bool(rng.random() < 0.08),
        labels=int(rng.integers(1, 7)) if gsd_m < 3 and rng.random() < 0.08 else 0,
    )


def canvas_cells(gsd_m: float, size_px: int) -> int:
    """Return the number of canvas cells along one pixel (supersampling factor)."""
    fine = 2 if gsd_m < 2.6 else 3 if gsd_m < 5 or size_px > 320 else 4
    # 2304 cells a side bound the memory of one scene (own choice)
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
        drawing: the shapes, in metres.
        shape_px: rows, columns.
        gsd_m: ground sampling distance, metres per pixel.
        view: acquisition parameters.
        rng: random numbers for texture, noise and the positions of seams and labels.
        cells: canvas cells along one pixel; `canvas_cells` decides if None.
    """
    fine = cells or canvas_cells(gsd_m, max(shape_px))
    size_m = gsd_m / fine
    ids, height, tint = paint(drawing, (shape_px[0] * fine, shape_px[1] * fine), size_m, tinted=True)
    assert tint is not None
    shadow = cast_shadow(
        height, size_m, view.sun_azimuth_deg, view.sun_elevation_deg, shadow_steps(height, size_m, view)
    )
    light = block_mean(lit(drawing, ids, tint, shadow, view, size_m, rng), fine)
    optical = _camera(light, view, rng, gsd_m)
    if view.labels:
        _label(optical, view.labels, rng)
    return jpeg(optical, view.jpeg_quality) if view.jpeg_quality else optical


def shadow_steps(height_dm: np.ndarray, size_m: float, view: View) -> list[int]:
    """Return the distances, in cells, at which shadows are tested: dense near the object, sparser further away."""
    # longest possible shadow: height / tan(sun elevation)
    reach = int(height_dm.max() / 10 / np.tan(np.deg2rad(view.sun_elevation_deg)) / size_m) + 1
    steps, k = [], 1
    while k < min(reach + 1, 300, *height_dm.shape):
        steps.append(k)
        k += 1 if k < 20 else 2 if k < 50 else 4
    return steps


def lit(
    drawing: Drawing,
    ids: np.ndarray,
    tint: np.ndarray,
    shadow: np.ndarray,
    view: View,
    size_m: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return light on the canvas (3, y, x) float32: paints, textures, three scales of noise, shadows."""
    table = np.array(drawing.paints, dtype=np.float32)
    rough = table[:, 3][ids]
    fine = rng.standard_normal(ids.shape, dtype=np.float32)
    if size_m < 0.5:
        fine = ndimage.uniform_filter(fine, 2) * 1.8
    # texture of a surface: white noise, 5 m structure and 45 m patches, scaled by the paint's roughness
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
    # patches change hue as well as brightness: dry or wet ground is redder or bluer
    for band, hue in enumerate((0.35, -0.1, -0.25)):
        out[band] = table[:, band][ids]
        out[band] += fine
        out[band] += hue * patches
        out[band][shadow] *= view.shade[band]
    return out


def _camera(light: np.ndarray, view: View, rng: np.random.Generator, gsd_m: float) -> np.ndarray:
    """Return (3, y, x) uint8 after the imaging chain: colour, optics, sampling, haze, sharpening, tone, noise."""
    rows, cols = light.shape[1:]
    grey = light.mean(axis=0, keepdims=True)
    light = grey + view.saturation * (light - grey)
    # a sensor with larger pixels blurs more; independent blurs add in quadrature
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
    # slow brightness change over the frame (vignetting, BRDF), 3%
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
    """Change the tone on one side of a line, as at the border of two acquisition dates in a mosaic."""
    rows, cols = light.shape[1:]
    angle, (y, x) = float(rng.uniform(0, 2 * np.pi)), rng.uniform(0.2, 0.8, 2) * [rows, cols]
    yy, xx = np.mgrid[:rows, :cols]
    side = (np.cos(angle) * (xx - x) + np.sin(angle) * (yy - y)) > 0
    tone = (1 + rng.normal(0, 0.1)) * (1 + rng.normal(0, 0.04, 3))
    for band in range(3):
        light[band][side] *= np.float32(tone[band])


def _label(optical: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Draw map pins and rows of letter-like marks over a picture, as on screenshots of web maps."""
    _, rows, cols = optical.shape
    for _ in range(count):
        y, x = int(rng.integers(8, max(rows - 12, 9))), int(rng.integers(4, max(cols - 60, 5)))
        # blue, red, yellow and green of common web-map pins
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
