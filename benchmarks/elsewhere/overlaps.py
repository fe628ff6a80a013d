"""Pictures that show the same ground: a roof or a site that is seen twice is counted once.

In: frames of a data set. Out: pairs of frames with the shift between them, and for each box the number of its roof.
The best shift of two frames is the one of the highest normalised cross-correlation (Padfield 2012, "Masked object
registration in the Fourier domain", eq. 8); they overlap if their edges agree there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import shapely
from PIL import Image
from scipy import fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.elsewhere.frames import PIN, Frame

SIDE_PX = 128
"""Pixels of the longer side of the larger frame of a pair when they are compared."""
CORRELATION, EDGES = 0.8, 0.4
"""Least correlation of grey values and of their gradients. On 13,600 pairs of New York tiles, sharp pictures of sites
and Las Vegas tiles, overlaps have 0.80-1.00 and 0.46-0.99; all others have less than 0.8 or at most 0.3."""
SHARED = 0.12
"""Least overlap, as a share of the smaller frame: smaller overlaps of unrelated pictures correlate by chance."""
SHARED_PX = 400  # the same in compared pixels: 20 x 20, for frames of very different size (own choice)
SAME_ROOF = 0.5
"""Two boxes show one roof if this share of the smaller box lies in the other (own choice: one may be cut)."""


@dataclass(frozen=True)
class Overlap:
    """Frames number `a` and `b` show the same ground; the corner of b lies at (dx_m, dy_m) in a, metres."""

    a: int
    b: int
    dx_m: float
    dy_m: float


def overlaps(frames: Sequence[Frame]) -> list[Overlap]:
    """Return the pairs of frames of one data set that overlap."""
    grey = [_grey(f) for f in frames]
    extent_m = [f.gsd_m * max(size) for f, (_, size) in zip(frames, grey, strict=True)]

    @lru_cache(maxsize=512)
    def spectra(number: int, pixel_m: float) -> tuple[np.ndarray, tuple[int, int]]:
        image, size = grey[number]
        nx, ny = _size(size, frames[number].gsd_m, pixel_m)
        values = np.asarray(image.resize((nx, ny), Image.Resampling.BOX), np.float32)
        values = (values - values.mean()) / max(float(values.std()), 1e-6)
        return _spectra(values), (ny, nx)

    found = []
    for a, b in combinations(range(len(frames)), 2):
        # two significant digits: few pixel sizes, so that most spectra are used again
        pixel_m = float(f"{max(extent_m[a], extent_m[b]) / SIDE_PX:.2g}")
        if shift := _shift(*spectra(a, pixel_m), *spectra(b, pixel_m)):
            fine_m = pixel_m / 2
            edges = [_edges(grey[k][0], _size(grey[k][1], frames[k].gsd_m, fine_m)) for k in (a, b)]
            if _agree(*edges, 2 * shift[0], 2 * shift[1]):
                found.append(Overlap(a, b, shift[1] * pixel_m, shift[0] * pixel_m))
    return found


def _size(size: tuple[int, int], gsd_m: float, pixel_m: float) -> tuple[int, int]:
    return max(1, round(size[0] * gsd_m / pixel_m)), max(1, round(size[1] * gsd_m / pixel_m))


def _edges(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Return the length of the grey gradient (y, x) of a picture resampled to a size (x, y)."""
    return np.hypot(*np.gradient(np.asarray(image.resize(size, Image.Resampling.BOX), np.float32)))


def _agree(a: np.ndarray, b: np.ndarray, y: int, x: int, reach: int = 3) -> bool:
    """Return whether edges correlate where b lies at (y, x) in a, or within `reach` pixels of it."""
    for dy in range(y - reach, y + reach + 1):
        for dx in range(x - reach, x + reach + 1):
            y0, x0 = max(0, dy), max(0, dx)
            y1, x1 = min(a.shape[0], dy + b.shape[0]), min(a.shape[1], dx + b.shape[1])
            pair = a[y0:y1, x0:x1].ravel(), b[y0 - dy : y1 - dy, x0 - dx : x1 - dx].ravel()
            if len(pair[0]) > 1 and pair[0].std() > 0 and pair[1].std() > 0 and np.corrcoef(*pair)[0, 1] >= EDGES:
                return True
    return False


def _grey(frame: Frame) -> tuple[Image.Image, tuple[int, int]]:
    """Return a small grey picture, and the size (x, y) of the stored one."""
    image = Image.fromarray(frame.read()).convert("L")
    size = image.size
    image.thumbnail((4 * SIDE_PX, 4 * SIDE_PX), Image.Resampling.BOX)
    return image, size


def _spectra(values: np.ndarray) -> np.ndarray:
    """Return the transforms (3, y, x) of ones, values and squares, padded against wrapping."""
    # twice the side: shifts in either direction; 1.1: rounding of the pixel size to two digits
    n = fft.next_fast_len(round(2.2 * SIDE_PX), real=True)
    padded = np.zeros((3, n, n), np.float32)
    padded[:, : values.shape[0], : values.shape[1]] = np.ones_like(values), values, values**2
    return np.asarray(fft.rfft2(padded))


def _shift(fa: np.ndarray, size_a: tuple[int, int], fb: np.ndarray, size_b: tuple[int, int]) -> tuple[int, int] | None:
    """Return the position (y, x) of b in a at the highest correlation; None if they do not overlap."""
    side = round(2.2 * SIDE_PX)
    n = fft.next_fast_len(side, real=True)
    cb = np.conj(fb)
    products = np.stack([fa[0] * cb[0], fa[1] * cb[0], fa[0] * cb[1], fa[1] * cb[1], fa[2] * cb[0], fa[0] * cb[2]])
    count, sum_a, sum_b, sum_ab, sum_aa, sum_bb = fft.irfft2(products, (n, n))
    least = max(SHARED_PX, SHARED * min(np.prod(size_a), np.prod(size_b)))
    count = np.maximum(count, 1)
    var_a, var_b = sum_aa - sum_a**2 / count, sum_bb - sum_b**2 / count
    # a flat overlap (water, void) says nothing: below 1% of the picture's variance (own choice)
    enough = (count >= least) & (var_a > 0.01 * count) & (var_b > 0.01 * count)
    r = np.where(enough, (sum_ab - sum_a * sum_b / count) / np.sqrt(np.where(enough, var_a * var_b, 1)), -1)
    y, x = np.unravel_index(int(r.argmax()), r.shape)
    if r[y, x] < CORRELATION:
        return None
    # the second half of the circular axes are negative shifts
    return int(y if y < n / 2 else y - n), int(x if x < n / 2 else x - n)


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return the number of the group (count,) of each of `count` things, where pairs are in one group."""
    a, b = np.array(pairs, int).reshape(-1, 2).T
    return np.asarray(connected_components(coo_array((np.ones(len(a)), (a, b)), (count, count)), directed=False)[1])


def same_roofs(frames: Sequence[Frame], found: Sequence[Overlap]) -> np.ndarray:
    """Return the roof number of each box of the frames, in order, map pins left out."""
    boxes = [(number, b) for number, f in enumerate(frames) for b in f.boxes if b.klass != PIN]
    shapes = [shapely.box(*(v * frames[number].gsd_m for v in b.xyxy)) for number, b in boxes]
    of_frame: dict[int, list[int]] = {}
    for i, (number, _) in enumerate(boxes):
        of_frame.setdefault(number, []).append(i)
    pairs = []
    for o in found:
        for i in of_frame.get(o.a, []):
            for j in of_frame.get(o.b, []):
                moved = shapely.transform(shapes[j], lambda xy, o=o: xy + [o.dx_m, o.dy_m])
                smaller = min(moved.area, shapes[i].area)
                if boxes[i][1].klass == boxes[j][1].klass and moved.intersection(shapes[i]).area >= SAME_ROOF * smaller:
                    pairs.append((i, j))
    return joined(len(boxes), pairs)
