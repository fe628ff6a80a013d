"""Which pixels were really seen: the one decision for files and catalogues, on which `looked_at` rests.

In: 8-bit display pixels as read, and what the file itself masks. Out: which pixels count as looked at. A pixel counts
only if no band that the weights need is masked there and it does not lie in a void. Mosaics have black or white
collars, sparse files black blocks, and most of them state no nodata. A void is a solid square of `BLACK_M` in which
every pixel is masked, black, or 0 or nodata in one and the same band; or one of `WHITE_M` in which every pixel is
masked or white. Smaller dark or white things are ground: water, shadows, and the overexposed roofs of data centers.

A square of a fixed side is a local rule: the answer for a pixel depends on its surroundings and not on the window that
is read, so results stay independent of the tiling.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

BLACK_M = 32.0
"""Side of the smallest black void, m. Own choice: in 300 NAIP images at 0.6 m of shops, warehouses and car parks no
square of 10 m is black throughout, or 0 in one band."""
WHITE_M = 256.0
"""Side of the smallest white void, m. Own choice: two of 61 pictures of known data centers hold overexposed halls,
white over 145 m, which must not be taken for a collar."""
DARKEST, BRIGHTEST = 3, 252
"""A pixel up to the first in all bands is black, from the second in all bands white: JPEG leaves 0 and 255 by as much
inside a collar. Own choice."""

Raw = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Pixels (band, y, x) uint8; masked (y, x) bool; empty (band, y, x) bool: where a band may hold no data."""


Reader = Callable[[int, int, int, int], Raw]


def void_px(side_m: float, gsd_m: float) -> int:
    """Return the side of the smallest void in pixels: odd, at least 9."""
    return max(math.ceil(side_m / gsd_m), 8) | 1


def looked_at(
    read: Reader, window: tuple[int, int, int, int], gsd_m: float, beyond: Reader | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of a window, and which of them count as looked at.

    Args:
        read: returns any window (y0, x0, y1, x1), half-open, pixels outside the image masked.
        window: the window.
        gsd_m: metres per pixel.
        beyond: reads the surroundings of the window instead of `read`.

    Returns:
        Pixels (band, y, x) uint8, zero where not looked at; (y, x) bool.
    """
    pixels, masked, empty = read(*window)
    y0, x0, y1, x1 = window
    hidden = masked.copy()
    for shades, side_m in ((_black, BLACK_M), (_white, WHITE_M)):
        side = void_px(side_m, gsd_m)
        found = [shade & ~masked for shade in shades(pixels, empty)]
        if not any(f.any() for f in found):
            continue
        any_shade = np.logical_or.reduce([masked, *found])
        edges = (any_shade[0], any_shade[-1], any_shade[:, 0], any_shade[:, -1])
        # a square that reaches beyond the window crosses its edge: at a corner, or in all of its length
        if any(line[0] or line[-1] or _holds_run(line, side) for line in edges):
            around, off, without = (beyond or read)(y0 - side + 1, x0 - side + 1, y1 + side - 1, x1 + side - 1)
            inner = slice(side - 1, 1 - side)
            for shade in shades(around, without):
                hidden |= solid(off | shade, side)[inner, inner]
        else:
            for shade in found:
                hidden |= solid(masked | shade, side)
    pixels[:, hidden] = 0
    return pixels, ~hidden


def _black(pixels: np.ndarray, empty: np.ndarray) -> list[np.ndarray]:
    """Return, for each band that may hold no data somewhere, where it holds none or the pixel is black."""
    black = np.asarray((pixels <= DARKEST).all(0))
    # band by band: zeros of different bands side by side are colours; a band that is 0 or nodata throughout is missing
    missing = empty | (pixels == 0)
    return [black | band for band in missing if band.any()] or [black]


def _white(pixels: np.ndarray, empty: np.ndarray) -> list[np.ndarray]:
    return [np.asarray((pixels >= BRIGHTEST).all(0))]


def solid(mask: np.ndarray, side: int) -> np.ndarray:
    """Return the pixels (y, x) bool that lie in a square of `side` (odd) pixels that is true throughout.

    This is the morphological opening by a square (Serra 1982); beyond its border the mask counts as false. A square of
    `side` contains one of the blocks of half that side that begin at multiples of it; without such a block it is empty.
    """
    # the filters are slow, and most images hold no such square
    block = (side + 1) // 2
    ny, nx = (n // block for n in mask.shape)
    rows = mask[: ny * block, : nx * block].reshape(ny, block, nx * block).all(1)
    if not rows.reshape(ny, nx, block).all(2).any():
        return np.zeros(mask.shape, bool)
    inside = minimum_filter(mask.astype(np.uint8), side, mode="constant", cval=0)
    return maximum_filter(inside, side, mode="constant", cval=0).astype(bool)


def _holds_run(line: np.ndarray, side: int) -> bool:
    """Whether a line (n,) bool can hold a run of `side` (odd) true pixels; false is certain.

    Such a run contains one of the blocks of half its length that begin at multiples of that length.
    """
    block = (side + 1) // 2
    count = len(line) // block
    return bool(line[: count * block].reshape(count, block).all(1).any())
