"""Rasterises a drawing: paints, heights, textures and shadows; and image operations that pictures share.

In: a `Drawing` in metres. Out: arrays on a canvas finer than the pixel, so a 2.3 m chiller gives mixed pixels at 2 m,
as in real imagery. `camera` makes the picture from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from rasterio import Affine
from rasterio.io import MemoryFile
from scipy import ndimage

from overwatt.models.simulate.drawing import Drawing, Shapes, Texture

_PATCH_PX = 44
"""Shapes up to this many canvas cells across are rasterised together in equal patches, larger ones one by one."""


def paint(
    drawing: Drawing, shape: tuple[int, int], size_m: float, tinted: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Paint a drawing on a canvas.

    Args:
        drawing: the shapes.
        shape: rows, columns of the canvas.
        size_m: side of a canvas cell, metres.
        tinted: whether to draw the shapes' textures.

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
    """Rasterise small shapes together: one patch of equal size around each centre, tested in one array operation."""
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
    # a cell belongs to the shape that covers its centre
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
    """Rasterise one large shape in its bounding window, with lobes and texture."""
    ids, size_m = canvas.ids, canvas.size_m
    x, y, du, dv, angle = shapes.boxes[i]
    c, s = np.cos(angle), np.sin(angle)
    # the lobes may reach beyond the ellipse by the sum of their amplitudes
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
            # radius with harmonics 2, 3, ...; the phase 2.4 k^2 only keeps them from lining up
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
    """Return the counts (n,) int8 that a texture adds at points u, v (n,), given in half sides of the shape."""
    rng = np.random.default_rng(t.seed)
    tone = (0.5 * t.slope[0]) * u + (0.5 * t.slope[1]) * v
    u_m, v_m = (u + 1) * (du / 2), (v + 1) * (dv / 2)
    if t.panel_sd > 0:
        tones = (t.panel_sd * rng.standard_normal((32, 32))).astype(np.float32)
        tone += tones[(v_m / t.panel_m[1]).astype(int) % 32, (u_m / t.panel_m[0]).astype(int) % 32]
    if t.stain_sd > 0:
        noise = ndimage.gaussian_filter(rng.standard_normal((64, 64)), 1.5, mode="wrap")
        noise *= t.stain_sd / noise.std()
        # two octaves of stains from one periodic 64 x 64 tile
        for step, share in ((t.stain_m / 3, 0.8), (t.stain_m / 13, 0.5)):
            if step > 0.5 * size_m:
                tone += share * noise[(v_m / step).astype(int) % 64, (u_m / step).astype(int) % 64]
    if t.wave != 0 and t.wave_m > size_m:
        tone += np.where((v_m / t.wave_m) % 1 < 0.5, t.wave, -t.wave)
    for apart_m, at_m in ((t.line_m[0], u_m), (t.line_m[1], v_m)):
        if t.line != 0 and apart_m > 2 * size_m:
            # a line thinner than a cell is drawn one cell wide and proportionally fainter
            seen = min(1.0, t.line_wide_m / size_m)
            tone += np.where(at_m % apart_m < max(t.line_wide_m, size_m), t.line * seen, 0.0)
    return np.clip(tone, -120, 120).astype(np.int8)


def cast_shadow(
    height_dm: np.ndarray, size_m: float, azimuth_deg: float, elevation_deg: float, steps: Iterable[int]
) -> np.ndarray:
    """Return (y, x) bool where the sun is hidden: some cell toward the sun is higher than the sun's ray there.

    Args:
        height_dm: (y, x) int16 heights, decimetres.
        size_m: side of a cell, metres.
        azimuth_deg: of the sun, clockwise from north.
        elevation_deg: of the sun above the horizon.
        steps: distances toward the sun, in cells, that are tested.
    """
    azimuth, rise = np.deg2rad(azimuth_deg), np.tan(np.deg2rad(elevation_deg))
    # unit vector toward the sun on the canvas, whose rows run south
    east, south = np.sin(azimuth), -np.cos(azimuth)
    rows, cols = height_dm.shape
    dark = np.zeros(height_dm.shape, dtype=bool)
    for k in steps:
        dx, dy = round(east * k), round(south * k)
        here = (slice(max(0, -dy), rows - max(0, dy)), slice(max(0, -dx), cols - max(0, dx)))
        there = (slice(max(0, dy), rows - max(0, -dy)), slice(max(0, dx), cols - max(0, -dx)))
        # blocked if the height difference exceeds distance x tan(elevation); 10 decimetres per metre
        dark[here] |= height_dm[there] - height_dm[here] > round(10 * k * size_m * rise)
    return dark


def smooth(rng: np.random.Generator, shape: tuple[int, int], cell: int) -> np.ndarray:
    """Return smooth noise (y, x) float32 of about unit variance with a correlation length of about `cell` cells."""
    rows, cols = shape[0] // cell + 3, shape[1] // cell + 3
    coarse = rng.standard_normal((rows, cols), dtype=np.float32)
    y = np.linspace(0.0, rows - 2.01, shape[0], dtype=np.float32)
    x = np.linspace(0.0, cols - 2.01, shape[1], dtype=np.float32)
    yi, xi = y.astype(int), x.astype(int)
    fy, fx = (y - yi)[:, None], (x - xi)[None, :]
    a = coarse[:, xi] * (1 - fx) + coarse[:, xi + 1] * fx
    # bilinear interpolation reduces the variance; 1.3 about restores it
    return 1.3 * (a[yi] * (1 - fy) + a[yi + 1] * fy)


def block_mean(image: np.ndarray, fine: int) -> np.ndarray:
    """Return the means (band, y, x) of blocks of fine x fine cells."""
    if fine == 1:
        return image
    parts = [image[:, i::fine, j::fine] for i in range(fine) for j in range(fine)]
    return sum(parts[1:], parts[0].copy()) / np.float32(fine * fine)


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
