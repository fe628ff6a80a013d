"""Lots without a recorded building: container yards, photovoltaic rows, detached houses, lakes.

In: a lot. Out: shapes only; nothing here enters the truth. Houses are too small to be recorded.
"""

from __future__ import annotations

import numpy as np

from overwatt.models.simulate.palette import Ground
from overwatt.models.simulate.streets import REACH_M, Lot, trees, wood

Part = tuple[float, float, float, float]
"""A rectangle in a local frame: centre u, v and sides du, dv in metres."""
LANE_M = 6.0
"""Width of a lane between houses."""


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
    """Draw detached houses on both sides of lanes that cross the lot from street to street, each house with a drive."""
    rng, draw, frame = g.rng, g.drawing, lot.frame
    draw.rect(frame, 0, 0, lot.width_m, lot.depth_m, g.paints.grass, 0.0)
    if lot.width_m < 36:
        # too narrow for a lane between two houses: a garden
        wood(g, lot, 0.004)
        return
    # a lane and two plots of 30 m depth need 66 m
    n = max(1, round(lot.width_m / 66))
    pitch = lot.width_m / n
    lanes = (np.arange(n) - (n - 1) / 2) * pitch
    draw.boxes(frame, np.column_stack([lanes, 0 * lanes]), LANE_M, lot.depth_m + 2 * REACH_M, g.paints.road)
    along = np.arange(-lot.depth_m / 2 + 13, lot.depth_m / 2 - 12, rng.uniform(18, 25))
    if n > 1 and lot.depth_m > 150:
        draw.rect(frame, 0, 0, lot.width_m + 2 * REACH_M, LANE_M, g.paints.road)
        along = along[np.abs(along) > 14]
    # plots: one for each lane, side of the lane and position along it; 4% are not built on
    lane, side, at = (a.ravel() for a in np.meshgrid(lanes, [-1.0, 1.0], along, indexing="ij"))
    built = rng.random(len(at)) < 0.96
    lane, side, at = lane[built], side[built], at[built]
    many = len(at)
    at = at + rng.uniform(-2, 2, many)
    # the middle of a house, from the lane
    away = min(15.0, pitch / 2 - 6) + rng.uniform(-0.8, 0.8, many)
    long, paint = rng.uniform(10, 15, many), rng.integers(0, len(g.paints.house), many)
    front = away - 4.0
    drive = np.column_stack([lane + side * front / 2, at + 0.35 * long])
    draw.boxes(frame, drive, front, 3.2, g.paints.concrete)
    # gardens: three trees behind or beside each house
    uv = np.column_stack([np.tile(lane + side * away, 3), np.tile(at, 3)])
    off = np.column_stack(
        [np.tile(side, 3) * rng.uniform(8, max(9.0, pitch / 2 - 16), 3 * many), rng.uniform(-9, 9, 3 * many)]
    )
    trees(g, frame, uv + off)
    # two boxes of two shades look like the two slopes of a roof
    for slope, tones in ((-2.3, g.paints.house), (2.3, g.paints.house_shade)):
        draw.boxes(frame, np.column_stack([lane + side * away + slope, at]), 4.6, long, tones[paint], 6.0)


def lake(g: Ground, lot: Lot) -> None:
    """Draw a pond or lake in grass, with trees on its shore."""
    g.drawing.rect(lot.frame, 0, 0, lot.width_m, lot.depth_m, g.paints.grass, 0.0)
    wood(g, lot, 0.01)
    du, dv = lot.width_m * g.rng.uniform(0.5, 0.75), lot.depth_m * g.rng.uniform(0.5, 0.75)
    lobes = g.rng.normal(0, 0.09, 4)
    g.drawing.blob(lot.frame, 0, 0, du + 8, dv + 8, g.paints.dry, lobes)
    g.drawing.blob(lot.frame, 0, 0, du, dv, g.paints.water, lobes)
