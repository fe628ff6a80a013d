"""Area that two polygons have in common, for many pairs at once.

In: two arrays of polygons. Out: areas. No outline of the overlap is built, which is what makes overlays slow for
outlines along pixel edges, with hundreds of vertices each.
"""

from __future__ import annotations

import numpy as np
import shapely

PAIRS = 500_000
"""Pairs of edges that are computed at once; own choice, to bound the temporary arrays."""


def overlap_area(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the area of the intersection of each pair of polygons, (n,) float64, in square units of the coordinates.

    At height y, a polygon is the sum over its edges of s [x < X(y)], with s = +1 for an edge that goes up and -1 for
    one that goes down, if its exterior runs counter-clockwise. The product of two such sums, integrated over x, is the
    sum over pairs of edges of s_a s_b min(X_a(y), X_b(y)); constants cancel, because the signs at any height add up to
    0. Over y, min of two straight lines has a closed form, so the area is exact up to rounding.

    Args:
        a: (n,) valid polygons, holes allowed.
        b: (n,) valid polygons, holes allowed.
    """
    out = np.zeros(len(a))
    if not len(a):
        return out
    origin = shapely.bounds(a)[:, :2]  # coordinates near 0: differences of large numbers would lose digits
    first, second = _edges(a, origin), _edges(b, origin)
    count = np.bincount(first[0], minlength=len(a)) * np.bincount(second[0], minlength=len(a))
    huge = count > PAIRS
    for k in np.flatnonzero(huge):
        out[k] = shapely.area(shapely.intersection(a[k], b[k]))
    # consecutive polygons whose pairs together stay below the bound
    batch = np.cumsum(np.where(huge, 0, count)) // PAIRS
    at = np.flatnonzero(np.diff(batch, prepend=-1))
    for start, end in zip(at.tolist(), [*at[1:].tolist(), len(a)], strict=True):
        out[start:end] = np.where(huge[start:end], out[start:end], _overlaps(first, second, start, end, huge))
    return out


def _edges(polygons: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return polygon, x0, y0, x1, y1 and sign of all edges that are not horizontal, from low to high y."""
    rings, owner = shapely.get_rings(shapely.orient_polygons(polygons), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    xy = xy - origin[owner[ring]]
    edge = np.flatnonzero((ring[1:] == ring[:-1]) & (xy[1:, 1] != xy[:-1, 1]))
    low, high, up = xy[edge], xy[edge + 1], xy[edge + 1, 1] > xy[edge, 1]
    low, high = np.where(up[:, None], low, high), np.where(up[:, None], high, low)
    return owner[ring[edge]], low[:, 0], low[:, 1], high[:, 0], high[:, 1], np.where(up, 1.0, -1.0)


def _overlaps(
    first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...], start: int, end: int, skip: np.ndarray
) -> np.ndarray:
    """Return the areas of polygons `start` to `end`, 0 where `skip`."""
    (s0, s1), (t0, t1) = (np.searchsorted(e[0], (start, end)) for e in (first, second))
    mine = np.arange(s0, s1)
    mine = mine[~skip[first[0][mine]]]
    owner = first[0][mine]
    at = t0 + np.searchsorted(second[0][t0:t1], owner)
    size = t0 + np.searchsorted(second[0][t0:t1], owner, side="right") - at
    # every edge of the first polygon with every one of the second
    i = np.repeat(mine, size)
    j = np.arange(size.sum()) + np.repeat(at - np.cumsum(size) + size, size)
    meet = np.minimum(first[4][i], second[4][j]) > np.maximum(first[2][i], second[2][j])
    i, j = i[meet], j[meet]
    low, high = np.maximum(first[2][i], second[2][j]), np.minimum(first[4][i], second[4][j])
    a0, a1, b0, b1 = *_at(first, i, low, high), *_at(second, j, low, high)
    d0, d1 = a0 - b0, a1 - b1
    below, apart = np.minimum(d0, 0.0) + np.minimum(d1, 0.0), np.abs(d0) + np.abs(d1)
    # mean over y of min(X_a, X_b) = X_b + min(X_a - X_b, 0); the part below 0 of a line that crosses it is a triangle
    share = np.divide(-below, apart, out=np.zeros_like(apart), where=apart > 0)
    mean = (b0 + b1 + below * share) / 2
    return np.bincount(first[0][i] - start, first[5][i] * second[5][j] * (high - low) * mean, end - start)


def _at(edges: tuple[np.ndarray, ...], k: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return x of the edges `k` at two heights."""
    _, x0, y0, x1, y1, _ = edges
    slope = (x1 - x0) / (y1 - y0)
    return x0[k] + (low - y0[k]) * slope[k], x0[k] + (high - y0[k]) * slope[k]
