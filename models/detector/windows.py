"""The windows of the network: how an image is divided for it, and the pixels of a tile made ready for it.

In: the shape of an image, its ground sampling distance, and a function that reads its pixels. Out: a `Lattice`, and the
normalised windows of a part of the image. Nothing here needs torch, so the process that plans a run and the threads
that read ahead do not load it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from overwatt.aoi.errors import ModelContractError
from overwatt.aoi.grid import Lattice, Window
from overwatt.models.detector.card import ModelCard

STRIDE = 32
"""Height and width of a window must be multiples of this, the stride of the encoder."""
SECOND_LOOK_M = 1.5
"""Imagery finer than this is evaluated a second time, averaged to 1.5-3 m."""
NEAR_M = 1.0
"""Finer pixels than this need the larger halo (docs/decisions/0022): 64 pixels would be less than 64 m of context."""
HALO_PX, NEAR_HALO_PX = 64, 128
CELL_PX, NEAR_CELL_PX = 896, 1664
"""Largest sides of a cell, so that at most 1.31 and 1.33 pixels are computed for each that is kept."""

Read = Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]]
"""(y0, x0, y1, x1) in pixels, possibly outside the image -> values (band, y, x) float32 0..1, valid (y, x) bool."""


def second_look(gsd_m: float) -> int:
    """Return the factor by which pixels are averaged for the second evaluation; 1 means that there is none."""
    return 1 if gsd_m >= SECOND_LOOK_M else 2 if gsd_m >= SECOND_LOOK_M / 2 else 4


def lattice(shape: tuple[int, int], gsd_m: float) -> Lattice:
    """Return the cells of an image of `shape` (ny, nx) pixels of `gsd_m` metres, and their windows."""
    near = gsd_m < NEAR_M
    step = STRIDE * second_look(gsd_m)  # a window averaged by the factor must be a multiple of the stride too
    return Lattice.of(shape, NEAR_CELL_PX if near else CELL_PX, NEAR_HALO_PX if near else HALO_PX, step)


def normalise(card: ModelCard, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return (value - mean) / std with the constants of the card, never with statistics of the tile.

    Args:
        card: card of the weights.
        values: (band, y, x) float32: the optical bands of the card, 0..1, in its order; then all its thermal bands in
            its order or none of them, kelvin above the surroundings. NaN in a thermal band: not measured.
        valid: (y, x) bool; where False the input is zero, the mean of the training data.

    Returns:
        (channel, y, x) float32; absent thermal bands are zero.

    Raises:
        ModelContractError: the number of bands does not fit the card.
    """
    n = len(card.bands)
    if len(values) not in (n, card.channels):
        also = f", or {card.channels} with thermal" if card.thermal_bands else ""
        raise ModelContractError(f"{len(values)} bands given, weights '{card.name}' take {n}{also}")
    mean = np.asarray(card.mean, np.float32)[: len(values), None, None]
    std = np.asarray(card.std, np.float32)[: len(values), None, None]
    # zero is the mean of the training data after scaling: void ground and absent bands say nothing
    out = np.zeros((card.channels, *valid.shape), np.float32)
    out[: len(values)] = np.where(valid, (values - mean) / std, np.float32(0))
    out[n:][np.isnan(out[n:])] = 0
    return out


@dataclass(frozen=True)
class Patch:
    """One window, ready for the network.

    Attributes:
        cell: (y0, x0, y1, x1) of the cell in the image.
        window: (y0, x0, y1, x1) of the window in the image.
        values: (channel, y, x) float32 of the window, normalised.
        core: (y0, x0, y1, x1), what of the cell belongs to the part.
        seen: (y, x) bool, pixels of the core that are valid and asked for.
    """

    cell: Window
    window: Window
    values: np.ndarray
    core: Window
    seen: np.ndarray

    @property
    def kept(self) -> tuple[slice, slice]:
        """Rows and columns of the cell in the window."""
        return inside(self.cell, self.window)


@dataclass(frozen=True)
class Gathered:
    """The pixels of a part of an image.

    Attributes:
        core: (y0, x0, y1, x1) of the part.
        valid: (y, x) bool of the part with a margin of one pixel on each side: valid pixels that are asked for.
        measured: (y, x) bool of the part, pixels with a thermal measurement.
        patches: windows of the cells in which a pixel is valid and asked for.
    """

    core: Window
    valid: np.ndarray
    measured: np.ndarray
    patches: list[Patch]


def gather(card: ModelCard, read: Read, cells: Lattice, core: Window, asked: np.ndarray | None = None) -> Gathered:
    """Read and normalise the windows of a part of an image.

    Args:
        card: card of the weights, for the normalisation.
        read: returns values and validity of any pixel window; pixels outside the image are not valid.
        cells: of the image.
        core: (y0, x0, y1, x1), the part.
        asked: (y, x) bool of the part with a margin of one pixel: pixels that are asked for; None: all. Cells without
            such a pixel are not read.
    """
    y0, x0, y1, x1 = core
    around = (y0 - 1, x0 - 1, y1 + 1, x1 + 1)
    valid, measured = np.zeros((y1 - y0 + 2, x1 - x0 + 2), bool), np.zeros((y1 - y0, x1 - x0), bool)
    patches = []
    for cell in cells.cells(core):
        mine = overlap(cell.core, core)
        part = inside(mine, core)
        if asked is not None and not asked[1:-1, 1:-1][part].any():
            continue
        window = cells.window(cell)
        values, good = read(*window)
        near = overlap(window, around)
        valid[inside(near, around)] = good[inside(near, window)]
        inner = inside(mine, window)
        measured[part] = np.isfinite(values[len(card.bands) :, *inner]).any(0)
        seen = good[inner] if asked is None else good[inner] & asked[1:-1, 1:-1][part]
        if seen.any():
            patches.append(Patch(cell.core, window, normalise(card, values, good), mine, seen))
    return Gathered(core, valid if asked is None else valid & asked, measured, patches)


def in_memory(values: np.ndarray, valid: np.ndarray) -> Read:
    """Return a function that reads windows of an image in memory; pixels outside of it are zero and not valid.

    Args:
        values: (band, y, x), uint8 0..255, or float32 as `normalise` takes it.
        valid: (y, x) bool.
    """
    whole = (0, 0, *valid.shape)

    def read(y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        window = (y0, x0, y1, x1)
        out = np.zeros((len(values), y1 - y0, x1 - x0), np.float32)
        good = np.zeros((y1 - y0, x1 - x0), bool)
        a, b, c, d = shared = overlap(window, whole)
        if a < c and b < d:
            part, to = values[:, *inside(shared, whole)], inside(shared, window)
            out[:, *to] = part.astype(np.float32) / 255.0 if values.dtype == np.uint8 else part
            good[to] = valid[inside(shared, whole)]
        return out, good

    return read


def inside(one: Window, other: Window) -> tuple[slice, slice]:
    """Return rows and columns of a window within another one that holds it."""
    return slice(one[0] - other[0], one[2] - other[0]), slice(one[1] - other[1], one[3] - other[1])


def overlap(one: Window, other: Window) -> Window:
    """Return the window that two windows share; empty, with ends before its starts, if they share none."""
    (a0, b0, a1, b1), (c0, d0, c1, d1) = one, other
    return max(a0, c0), max(b0, d0), min(a1, c1), min(b1, d1)
