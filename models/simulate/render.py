"""Turns a drawing into pixels: paint and height maps, shadows, texture, sensor, JPEG.

In: a `Drawing` in metres and a `Look` (sun, tone, sensor). Out: uint8 image (3, y, x) and the map of
materials. Everything is painted on a canvas finer than the pixel (so a 2.3 m chiller is some grey
share of a 2 m pixel, as in life), shadows are cast from the height map, and the camera comes last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rasterio import Affine
from rasterio.io import MemoryFile
from scipy import ndimage

from models.simulate.drawing import Drawing, Shapes, Texture

_PATCH_PX = 44
"""Shapes up to this many canvas pixels across are tested in equal patches, larger ones in windows."""


@dataclass(frozen=True)
class Look:
    """How the scene was taken.

    Attributes:
        sun_azimuth_deg: clockwise from north. sun_elevation_deg: above the horizon.
        shade: light left in shadow (red, green, blue), shares.
        gain: display gain a band. saturation: 1 is as painted. gamma: of the display.
        blur_px: sd of the camera blur in pixels. sharpen: unsharp amount. noise: sd in counts.
        ceiling: display value at which roofs saturate (223 in the real picture the colours were read from).
        jpeg_quality: 0 skips the JPEG.
    """

    sun_azimuth_deg: float
    sun_elevation_deg: float
    shade: tuple[float, float, float]
    gain: tuple[float, float, float]
    saturation: float
    gamma: float
    blur_px: float
    sharpen: float
    noise: float
    ceiling: float
    jpeg_quality: int


def random_look(rng: np.random.Generator) -> Look:
    """Draw a look wide enough to cover what public 0.5-2 m aerial pictures do."""
    cast = rng.normal(0, 0.02, 3) + rng.normal(0, 0.05)
    dark = rng.uniform(0.42, 0.8)
    return Look(
        sun_azimuth_deg=float(rng.uniform(95, 265)),
        sun_elevation_deg=float(rng.uniform(30, 68)),
        shade=(dark, dark + 0.03, min(dark + rng.uniform(0.04, 0.14), 0.95)),
        gain=(float(1 + cast[0]), float(1 + cast[1]), float(1 + cast[2])),
        saturation=float(rng.uniform(0.5, 1.2)),
        gamma=float(np.exp(rng.normal(0.08, 0.22))),
        blur_px=float(rng.uniform(0.45, 1.0)),
        sharpen=float(rng.choice([0.0, 0.4, 0.9])),
        noise=float(rng.uniform(1.0, 5.0)),
        ceiling=float(rng.choice([255.0, rng.uniform(215, 250)])),
        jpeg_quality=int(rng.integers(60, 96)),
    )


def naip_look(rng: np.random.Generator) -> Look:
    """Draw a look like a bright public aerial picture: morning sun, blue shadows, near-saturated roofs."""
    return Look(
        sun_azimuth_deg=float(rng.uniform(125, 175)),
        sun_elevation_deg=float(rng.uniform(42, 55)),
        shade=(0.62, 0.68, 0.80),
        gain=(1.0, 1.0, 1.0),
        saturation=0.9,
        gamma=1.0,
        blur_px=0.55,
        sharpen=0.5,
        noise=2.0,
        ceiling=224.0,
        jpeg_quality=92,
    )


def render(
    drawing: Drawing, shape_px: tuple[int, int], gsd_m: float, look: Look, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture and the materials.

    Args:
        drawing: what lies there, in metres.
        shape_px: rows, columns of the picture.
        gsd_m: ground sampling distance, metres.
        look: sun, tone and camera.
        rng: texture and noise.

    Returns:
        optical (band=3 red, green, blue; y, x) uint8; materials (y, x) uint8 at the centre of each pixel.
    """
    fine = max(1, min(3, round(gsd_m / 0.9)))
    size_m = gsd_m / fine
    ids, height, _ = paint(drawing, (shape_px[0] * fine, shape_px[1] * fine), size_m)
    table = np.array(drawing.paints, dtype=np.float32)
    reach = int(height.max() / 10 / np.tan(np.deg2rad(look.sun_elevation_deg)) / size_m) + 1
    steps = range(1, min(reach, 60) + 1)
    shadow = cast_shadow(height, size_m, look.sun_azimuth_deg, look.sun_elevation_deg, steps)
    light = block_mean(_shade_and_texture(ids, table, shadow, look, size_m, rng), fine)
    materials = table[:, 4].astype(np.uint8)[ids[fine // 2 :: fine, fine // 2 :: fine]]
    return _camera(light, look, rng), materials


def paint(
    drawing: Drawing, shape: tuple[int, int], size_m: float, tinted: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Paint a drawing on a canvas.

    Args:
        drawing: what lies there.
        shape: rows, columns of the canvas.
        size_m: side of a canvas cell, metres.
        tinted: also draw the shapes' textures.

    Returns:
        paint numbers (y, x) uint16; heights (y, x) int16 decimetres; tints (y, x) int8 counts, or None.
    """
    canvas = _Canvas(
        np.zeros(shape, dtype=np.uint16),
        np.zeros(shape, dtype=np.int16),
        np.zeros(shape, dtype=np.int8) if tinted else None,
        size_m,
    )
    for shapes in sorted(drawing.shapes, key=lambda s: s.layer):
        across = np.hypot(shapes.boxes[:, 2], shapes.boxes[:, 3]) / size_m
        small = across <= _PATCH_PX
        if small.any() and not shapes.lobes:
            _patches(canvas, shapes, small, float(across[small].max()))
        for i in np.flatnonzero(~small) if not shapes.lobes else range(len(across)):
            _window(canvas, shapes, int(i))
    return canvas.ids, canvas.height_dm, canvas.tint


@dataclass(frozen=True)
class _Canvas:
    ids: np.ndarray
    height_dm: np.ndarray
    tint: np.ndarray | None
    size_m: float


def _patches(canvas: _Canvas, shapes: Shapes, small: np.ndarray, across_px: float) -> None:
    ids, size_m = canvas.ids, canvas.size_m
    x, y, du, dv, angle = shapes.boxes[small].T
    half = int(np.ceil(across_px / 2)) + 1
    col, row = np.floor(x / size_m).astype(int), np.floor(y / size_m).astype(int)
    keep = (col > -half) & (row > -half) & (col < ids.shape[1] + half) & (row < ids.shape[0] + half)
    if not keep.any():
        return
    col, row, x, y, du, dv, angle = (a[keep, None, None] for a in (col, row, x, y, du, dv, angle))
    offset = np.arange(-half, half + 1)
    cols, rows = col + offset[None, None, :], row + offset[None, :, None]
    px, py = (cols + 0.5) * size_m - x, (rows + 0.5) * size_m - y
    if shapes.round_:
        inside = px**2 + py**2 <= (du / 2) ** 2
    else:
        c, s = np.cos(angle), np.sin(angle)
        inside = (np.abs(c * px + s * py) <= du / 2) & (np.abs(c * py - s * px) <= dv / 2)
    inside &= (cols >= 0) & (rows >= 0) & (cols < ids.shape[1]) & (rows < ids.shape[0])
    which, r, c_ = np.nonzero(inside)
    at = (rows[which, r, 0], cols[which, 0, c_])
    ids[at] = shapes.paints[small][keep][which]
    if canvas.tint is not None:
        canvas.tint[at] = 0
    if shapes.height_m >= 0:
        canvas.height_dm[at] = round(shapes.height_m * 10)


def _window(canvas: _Canvas, shapes: Shapes, i: int) -> None:
    ids, size_m = canvas.ids, canvas.size_m
    x, y, du, dv, angle = shapes.boxes[i]
    c, s = np.cos(angle), np.sin(angle)
    grow = 0.5 + sum(abs(a) for a in shapes.lobes)
    rx, ry = grow * (abs(c) * du + abs(s) * dv), grow * (abs(s) * du + abs(c) * dv)
    c0, c1 = max(0, int((x - rx) / size_m)), min(ids.shape[1], int((x + rx) / size_m) + 2)
    r0, r1 = max(0, int((y - ry) / size_m)), min(ids.shape[0], int((y + ry) / size_m) + 2)
    if c0 >= c1 or r0 >= r1:
        return
    px = ((np.arange(c0, c1) + 0.5) * size_m - x)[None, :]
    py = ((np.arange(r0, r1) + 0.5) * size_m - y)[:, None]
    u, v = (c * px + s * py) / (du / 2), (c * py - s * px) / (dv / 2)
    if shapes.round_:
        limit: np.ndarray | float = 1.0
        if shapes.lobes:
            theta = np.arctan2(v, u)
            limit = 1.0 + sum(a * np.sin((k + 2) * theta + 2.4 * k * k) for k, a in enumerate(shapes.lobes))
        inside = np.hypot(u, v) <= limit
    else:
        inside = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    at = (slice(r0, r1), slice(c0, c1))
    ids[at][inside] = shapes.paints[i]
    if canvas.tint is not None:
        tone = 0 if shapes.texture is None else _tone(shapes.texture, u[inside], v[inside], du, dv, size_m)
        canvas.tint[at][inside] = tone
    if shapes.height_m >= 0:
        canvas.height_dm[at][inside] = round(shapes.height_m * 10)


def _tone(t: Texture, u: np.ndarray, v: np.ndarray, du: float, dv: float, size_m: float) -> np.ndarray:
    """Return the counts int8 that a texture adds at points (n) given in half sides of the shape."""
    rng = np.random.default_rng(t.seed)
    tone = (0.5 * t.slope[0]) * u + (0.5 * t.slope[1]) * v
    u_m, v_m = (u + 1) * (du / 2), (v + 1) * (dv / 2)
    if t.panel_sd > 0:
        tones = (t.panel_sd * rng.standard_normal((32, 32))).astype(np.float32)
        tone += tones[(v_m / t.panel_m[1]).astype(int) % 32, (u_m / t.panel_m[0]).astype(int) % 32]
    if t.stain_sd > 0:
        noise = ndimage.gaussian_filter(rng.standard_normal((64, 64)), 1.5, mode="wrap")
        noise *= t.stain_sd / noise.std()
        for step, share in ((t.stain_m / 3, 0.8), (t.stain_m / 13, 0.5)):
            if step > 0.5 * size_m:
                tone += share * noise[(v_m / step).astype(int) % 64, (u_m / step).astype(int) % 64]
    if t.wave != 0 and t.wave_m > size_m:
        tone += np.where((v_m / t.wave_m) % 1 < 0.5, t.wave, -t.wave)
    for apart_m, at_m in ((t.line_m[0], u_m), (t.line_m[1], v_m)):
        if t.line != 0 and apart_m > 2 * size_m:
            seen = min(1.0, t.line_wide_m / size_m)
            tone += np.where(at_m % apart_m < max(t.line_wide_m, size_m), t.line * seen, 0.0)
    return np.clip(tone, -120, 120).astype(np.int8)


def cast_shadow(
    height_dm: np.ndarray, size_m: float, azimuth_deg: float, elevation_deg: float, steps: Iterable[int]
) -> np.ndarray:
    """Return (y, x) bool where the sun is hidden: a cell `steps` cells toward the sun stands higher than its ray."""
    azimuth, rise = np.deg2rad(azimuth_deg), np.tan(np.deg2rad(elevation_deg))
    east, south = np.sin(azimuth), -np.cos(azimuth)
    rows, cols = height_dm.shape
    dark = np.zeros(height_dm.shape, dtype=bool)
    for k in steps:
        dx, dy = round(east * k), round(south * k)
        here = (slice(max(0, -dy), rows - max(0, dy)), slice(max(0, -dx), cols - max(0, dx)))
        there = (slice(max(0, dy), rows - max(0, -dy)), slice(max(0, dx), cols - max(0, -dx)))
        dark[here] |= height_dm[there] - height_dm[here] > round(10 * k * size_m * rise)
    return dark


def smooth(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Return unit-variance noise that varies over about `cell` canvas pixels."""
    rows, cols = shape[0] // cell + 3, shape[1] // cell + 3
    coarse = rng.standard_normal((rows, cols), dtype=np.float32)
    y = np.linspace(0.0, rows - 2.01, shape[0], dtype=np.float32)
    x = np.linspace(0.0, cols - 2.01, shape[1], dtype=np.float32)
    yi, xi = y.astype(int), x.astype(int)
    fy, fx = (y - yi)[:, None], (x - xi)[None, :]
    a = coarse[:, xi] * (1 - fx) + coarse[:, xi + 1] * fx
    return 1.3 * (a[yi] * (1 - fy) + a[yi + 1] * fy)


def _shade_and_texture(
    ids: np.ndarray,
    table: np.ndarray,
    shadow: np.ndarray,
    look: Look,
    size_m: float,
    rng: np.random.Generator,
) -> np.ndarray:
    rough = table[:, 3][ids]
    fine = rng.standard_normal(ids.shape, dtype=np.float32)
    fine *= 0.8
    fine += 0.6 * smooth(rng, ids.shape, max(2, round(5 / size_m)))
    patches = smooth(rng, ids.shape, max(2, round(45 / size_m)))
    fine += 0.5 * patches
    fine *= rough
    patches *= rough
    out = np.empty((3, *ids.shape), dtype=np.float32)
    for band, hue in enumerate((0.35, -0.1, -0.25)):
        out[band] = table[:, band][ids]
        out[band] += fine
        out[band] += hue * patches
        out[band][shadow] *= look.shade[band]
    return out


def block_mean(image: np.ndarray, fine: int) -> np.ndarray:
    """Return (band, y, x) means of blocks of fine x fine cells."""
    if fine == 1:
        return image
    parts = [image[:, i::fine, j::fine] for i in range(fine) for j in range(fine)]
    return sum(parts[1:], parts[0].copy()) / np.float32(fine * fine)


def _camera(light: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    grey = light.mean(axis=0, keepdims=True)
    light = grey + look.saturation * (light - grey)
    if look.blur_px > 0:
        light = ndimage.gaussian_filter(light, (0, look.blur_px, look.blur_px), truncate=3)
    if look.sharpen > 0:
        light += look.sharpen * (light - ndimage.gaussian_filter(light, (0, 1.2, 1.2), truncate=2))
    light = np.clip(light / 255.0, 0, 1) ** np.float32(look.gamma)
    light *= np.array(look.gain, dtype=np.float32)[:, None, None] * 255.0
    light += look.noise * rng.standard_normal(light.shape, dtype=np.float32)
    optical = np.clip(np.rint(light), 0, look.ceiling).astype(np.uint8)
    return jpeg(optical, look.jpeg_quality) if look.jpeg_quality else optical


def jpeg(optical: np.ndarray, quality: int) -> np.ndarray:
    """Return (3, y, x) uint8 after JPEG compression at `quality` and decompression."""
    _, rows, cols = optical.shape
    options = {
        "driver": "GTiff",
        "compress": "JPEG",
        "photometric": "YCBCR",
        "tiled": True,
        "jpeg_quality": quality,
    }
    options["transform"] = Affine(1, 0, 0, 0, -1, rows)
    with MemoryFile() as memory:
        with memory.open(count=3, height=rows, width=cols, dtype="uint8", **options) as out:
            out.write(optical)
        with memory.open() as src:
            return src.read()
