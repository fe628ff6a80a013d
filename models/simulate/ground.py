"""Lots without a recorded building: container yards, photovoltaic rows, detached houses, lakes.

In: a lot. Out: shapes only; nothing here enters the truth. Houses are too small to be recorded.
"""

from __future__ import annotations

import numpy as np

from overwatt.models.simulate.palette import Ground
from overwatt.models.simulate.streets import Lot, trees, wood

Part = tuple[float, float, float, float]
"""A rectangle in a local frame: centre u, v and sides du, dv in metres."""


def grid(part: Part, du: float, dv: float, inset: float = 6.0) -> np.ndarray:
    """Return grid points (n, 2) with spacing (du, dv) metres inside a rectangle, `inset` metres from its edges."""
    u, v, w, h = part
    a, b = np.arange(-w / 2 + inset, w / 2 - inset, du), np.arange(-h / 2 + inset, h / 2 - inset, dv)
    return np.stack(np.meshgrid(u + a, v + b), -1).reshape(-1, 2)


def panels(g: Ground, lot: Lot, part: Part) -> None:
    """Draw photovoltaic rows on a random share of a rectangle: dark blue, straight, with walkways."""
    u, v, du, dv = part
    dark, width = int(g.pick(g.paints.pv)), float(g.rng.choice([1.1, 2.1, 4.2]))
    share, walk = float(g.rng.uniform(0.4, 0.92)), float(g.rng.uniform(20, 45))
    rows = np.arange(-dv / 2 + 5, dv / 2 - 4, width + float(g.rng.uniform(0.5, 1.4)))
    start = -du / 2 * share
    while start < du / 2 * share - 6:
        length = min(walk, du / 2 * share - start)
        # 3% of the tables are missing
        at = np.column_stack([np.full(len(rows), u + start + length / 2), v + rows])
        g.drawing.boxes(lot.frame, at[g.rng.random(len(at)) < 0.97], length - 2.2, width, dark)
        start += walk


def container_yard(g: Ground, lot: Lot) -> None:
    """Draw rows of 20 ft or 40 ft containers on concrete or gravel."""
    rng, frame = g.rng, lot.frame
    g.drawing.rect(frame, 0, 0, lot.width_m, lot.depth_m, int(rng.choice([g.paints.concrete, g.paints.gravel])))
    # ISO 668: 2.44 m wide, 6.1 or 12.2 m long, about 2.6 m high; one or two layers
    long = float(rng.choice([6.1, 12.2]))
    part = (0.0, 0.0, lot.width_m - 16, lot.depth_m - 16)
    uv = grid(part, 2.7, long + rng.uniform(0.8, 6), 4)
    block = np.floor(uv[:, 0] / rng.uniform(25, 60)).astype(int)
    # every third block stays empty as a lane
    uv = uv[(rng.random(len(uv)) < 0.75) & (block % 3 != 0)]
    one = rng.random() < 0.4
    paint = int(g.pick(g.paints.container)) if one else g.pick(g.paints.container, len(uv))
    g.drawing.boxes(frame, uv, 2.44, long, paint, float(rng.choice([2.6, 5.2])))


def houses(g: Ground, lot: Lot) -> None:
    """Draw detached houses in gardens along a lane; two boxes each look like the two slopes of a roof."""
    rng, frame = g.rng, lot.frame
    g.drawing.rect(frame, 0, 0, lot.width_m + 6, lot.depth_m + 6, g.paints.grass)
    g.drawing.rect(frame, 0, 0, lot.width_m + 6, 5.5, g.paints.road)
    uv = grid((0, 0, lot.width_m, lot.depth_m), rng.uniform(19, 26), 34, 11)
    uv = uv[np.abs(uv[:, 1]) > 12] + rng.normal(0, 1.5, (int((np.abs(uv[:, 1]) > 12).sum()), 2))
    n = len(uv)
    trees(g, frame, rng.uniform(-0.5, 0.5, (2 * n, 2)) * [lot.width_m, lot.depth_m])
    g.drawing.boxes(frame, uv + np.array([0, 1.9]), rng.uniform(9, 13, n), 4.6, g.pick(g.paints.house, n), 6.0)
    g.drawing.boxes(frame, uv - np.array([0, 1.9]), rng.uniform(9, 13, n), 4.6, g.pick(g.paints.house, n), 6.0)


def lake(g: Ground, lot: Lot) -> None:
    """Draw a pond or lake with trees on its shore."""
    wood(g, lot, 0.01)
    du, dv = lot.width_m * g.rng.uniform(0.6, 0.95), lot.depth_m * g.rng.uniform(0.6, 0.95)
    lobes = g.rng.normal(0, 0.09, 4)
    g.drawing.blob(lot.frame, 0, 0, du + 8, dv + 8, g.paints.dry, lobes)
    g.drawing.blob(lot.frame, 0, 0, du, dv, g.paints.water, lobes)
