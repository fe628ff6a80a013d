"""Streets, lots and open ground: parking, trees, paving, drives.

In: a `Ground` (drawing, paints, generator). Out: streets and the `Lot`s between them, and shapes. The grid of streets
is slightly curved, so every lot is aligned with its street, as on industrial estates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.palette import Ground


@dataclass(frozen=True)
class Lot:
    """A buildable rectangle: local frame at its centre, sides in metres (u along the street, v across it)."""

    frame: d.Frame
    width_m: float
    depth_m: float


@dataclass(frozen=True)
class Street:
    """A street: world points (n, 2) of its middle and the width of its carriageway in metres."""

    line: np.ndarray
    width_m: float


REACH_M = 10.0
"""How far drives and lanes run beyond the edge of a lot: the street lies there, and covers what is too long."""
ISLAND_STALLS = 12
"""Stalls from one planted island of a car park to the next, the island's own two included (own choice)."""
STREET_LAYER = 1
"""Streets are painted over the ground of the lots, and under the buildings, which are added later."""


def streets(
    g: Ground, size_m: tuple[float, float], depths_m: tuple[float, ...], widths_m: tuple[float, float]
) -> tuple[list[Lot], list[Street]]:
    """Return the lots of a curved street grid over (x, y) `size_m`, and its streets.

    Args:
        g: source of the random numbers.
        size_m: extent of the scene in metres.
        depths_m: block depths to choose from; neighbouring blocks share one street.
        widths_m: range of lot widths along the street.
    """
    rng = g.rng
    grid = d.Frame(size_m[0] / 2, size_m[1] / 2, float(rng.uniform(-np.pi, np.pi)))
    reach = float(np.hypot(*size_m)) / 2 + 60
    # streets are sine curves; the amplitude follows from the largest curvature, 0.0016 per metre (radius 625 m)
    wave, phase = float(rng.uniform(700, 1500)), float(rng.uniform(0, 2 * np.pi))
    swing = float(rng.uniform(0.0, 0.0016)) * (wave / (2 * np.pi)) ** 2

    def bend(u: np.ndarray | float) -> np.ndarray:
        return swing * np.sin(2 * np.pi * np.asarray(u) / wave + phase)

    def tilt(u: float) -> float:
        return float(np.arctan(swing * 2 * np.pi / wave * np.cos(2 * np.pi * u / wave + phase)))

    def side_end(here: float, v: float, depth: float, side: int) -> tuple[float, float]:
        # where a side street across the block at `here`, square to its middle, meets the street before or behind it
        c, s = np.cos(tilt(here)), np.sin(tilt(here))
        away = 0.0
        # fixed point: the error shrinks by tan(tilt)^2 < 0.15 a step
        for _ in range(6):
            away = (side * depth / 2 + float(bend(here - away * s) - bend(here))) / c
        return here - away * s, v + depth / 2 + float(bend(here)) + away * c

    lots: list[Lot] = []
    roads: list[Street] = []
    # 25 m per segment: the curve is at most 0.13 m off the chord
    along = np.arange(-reach, reach + 25, 25.0)
    v = -reach - float(rng.uniform(0, 150))
    carriage = float(rng.choice([9.0, 12.0, 20.0], p=[0.4, 0.4, 0.2]))
    while v < reach:
        depth = float(rng.choice(depths_m))
        roads.append(Street(grid.world(np.column_stack([along, v + bend(along)])), carriage))
        next_carriage = float(rng.choice([9.0, 12.0, 20.0], p=[0.4, 0.4, 0.2]))
        u = -reach - float(rng.uniform(0, 200))
        while u < reach:
            width = float(rng.uniform(*widths_m))
            if rng.random() < 0.3:
                roads.append(Street(grid.world(np.array([side_end(u - 7, v, depth, s) for s in (-1, 1)])), 9.0))
                u += 10
            middle = u + width / 2
            t = tilt(middle)
            curve = swing * (2 * np.pi / wave) ** 2
            # a rectangle between two curved streets: subtract half the carriageways, verges and the sagitta k w^2 / 8
            deep = depth * np.cos(t) - (carriage + next_carriage) / 2 - 14 - curve * width**2 / 8
            wide = width / np.cos(t) - 8 - curve * width * depth * 0.6
            frame = grid.moved(middle, v + depth / 2 + float(bend(middle)), t)
            # narrower lots hold no building of interest
            if min(wide, deep) > 35 and _near(frame, max(wide, deep), size_m):
                lots.append(Lot(frame, wide, deep))
            u += width
        v += depth
        carriage = next_carriage
    return lots, roads


def _near(frame: d.Frame, side: float, size_m: tuple[float, float]) -> bool:
    margin = 0.6 * side
    return -margin < frame.x < size_m[0] + margin and -margin < frame.y < size_m[1] + margin


def paint_streets(g: Ground, roads: list[Street]) -> None:
    """Paint streets that join where they meet: all verges first, then all carriageways, lines, trees and vehicles."""
    draw = g.drawing
    draw.layer = STREET_LAYER
    # short pieces are rasterised together, in patches
    lines = [shapely.get_coordinates(shapely.segmentize(shapely.LineString(r.line), 30.0)) for r in roads]
    for road, line in zip(roads, lines, strict=True):
        draw.path(line, road.width_m + 3, g.paints.dry, 0.0)
    for road, line in zip(roads, lines, strict=True):
        draw.path(line, road.width_m, g.paints.road, 0.0)
    for road, line in zip(roads, lines, strict=True):
        if road.width_m >= 18:
            draw.path(line, 3.0, g.paints.grass, 0.0)
        elif road.width_m >= 9:
            draw.path(line, 0.5, g.paints.mark, 0.0)
    # medians stop at junctions, and dead ends have room to turn
    ends = np.array([end for road in roads for end in (road.line[0], road.line[-1])]).reshape(-1, 2)
    draw.discs(d.Frame(0, 0, 0), ends, np.repeat([r.width_m + 4 for r in roads], 2), g.paints.road, 0.0)
    for road, line in zip(roads, lines, strict=True):
        _furnish(g, line, road.width_m)
    draw.layer = 0


def _furnish(g: Ground, xy: np.ndarray, width_m: float) -> None:
    """Draw street trees and moving vehicles along world points `xy`."""
    step = xy[1:] - xy[:-1]
    length = np.hypot(step[:, 0], step[:, 1])
    side = np.column_stack([-step[:, 1], step[:, 0]]) / length[:, None]

    def beside(n: int, off: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:  # points and bearings there
        k, f = g.rng.integers(0, len(step), n), g.rng.random((n, 1))
        at = xy[k] + f * step[k] + off * g.rng.choice([-1, 1], (n, 1)) * side[k]
        return at, np.arctan2(step[k, 1], step[k, 0])

    if g.rng.random() < 0.7:
        # one street tree per 16 m
        n = int(length.sum() / 16)
        trees(g, d.Frame(0, 0, 0), beside(n, width_m / 2 + 5 + g.rng.normal(0, 1, (n, 1)))[0])
    # one vehicle per 90 m; lane centre at 0.27 of the street's width
    n = int(length.sum() / 90)
    at, turn = beside(n, 0.27 * width_m)
    g.drawing.boxes(d.Frame(0, 0, 0), at, g.rng.choice([4.6, 4.8, 14.0], n), 2.1, g.pick(g.paints.car, n), 1.6, turn)


def trees(
    g: Ground,
    frame: d.Frame,
    uv: np.ndarray,
    crown_m: tuple[float, float] = (3.5, 9.0),
    paints: np.ndarray | None = None,
) -> None:
    """Draw trees at `uv` (n, 2): crowns of 3.5-9 m, three discs each so that no crown is a perfect disc."""
    uv = np.asarray(uv, dtype=float).reshape(-1, 2)
    n = len(uv)
    size = g.rng.uniform(*crown_m, n)
    leaf = g.paints.tree if paints is None else paints
    for share, height in ((1.0, 5.0), (0.62, 8.0), (0.4, 10.0)):
        shift = g.rng.normal(0, 0.24, (n, 2)) * size[:, None] * (share < 1)
        g.drawing.discs(frame, uv + shift, size * share, g.pick(leaf, n), height)


def belt(g: Ground, lot: Lot, share: float = 0.6) -> None:
    """Draw rows of trees along a random `share` of the four sides of a lot."""
    half = np.array([lot.width_m / 2 - 2, lot.depth_m / 2 - 2])
    for axis in (0, 1):
        for sign in (-1, 1):
            if g.rng.random() > share:
                continue
            n = int(2 * half[axis] / g.rng.uniform(3.5, 9))
            along = g.rng.uniform(-half[axis], half[axis], n)
            off = sign * (half[1 - axis] + g.rng.normal(1, 2.2, n))
            trees(g, lot.frame, np.column_stack([along, off] if axis == 0 else [off, along]))


def wood(g: Ground, lot: Lot, density: float = 0.024) -> None:
    """Fill a lot with trees, `density` per square metre, with a ragged edge and a mix of tones of its own."""
    n = int(lot.width_m * lot.depth_m * density)
    uv = g.rng.uniform(-0.5, 0.5, (n, 2)) * [lot.width_m - 8, lot.depth_m - 8] + g.rng.normal(0, 3, (n, 2))
    mix = g.rng.dirichlet(np.ones(len(g.paints.tree)))
    trees(g, lot.frame, uv, paints=g.pick(g.paints.tree, 64, list(mix)))


def pave(g: Ground, frame: d.Frame, u: float, v: float, du: float, dv: float, paint: int | None = None) -> None:
    """Pave a rectangle, with a lighter kerb and up to two repaired patches."""
    if min(du, dv) < 2:
        return
    g.drawing.rect(frame, u, v, du + 1.6, dv + 1.6, g.paints.concrete, 0.0)
    g.drawing.rect(frame, u, v, du, dv, int(g.pick(g.paints.asphalt)) if paint is None else paint, 0.0)
    for _ in range(int(g.rng.integers(0, 3))):
        a, b = g.rng.uniform(0.15, 0.5, 2) * [du, dv]
        x, y = g.rng.uniform(-0.5, 0.5, 2) * [du - a, dv - b]
        g.drawing.rect(frame, u + x, v + y, a, b, int(g.pick(g.paints.asphalt)))


def driveway(g: Ground, lot: Lot) -> None:
    """Connect a lot to its street with one or two drives that cross its edge."""
    for _ in range(int(g.rng.integers(1, 3))):
        u, side = float(g.rng.uniform(-0.42, 0.42)) * lot.width_m, float(g.rng.choice([-1, 1]))
        length = lot.depth_m * 0.12 + 4 + REACH_M
        v = side * (lot.depth_m / 2 + REACH_M - length / 2)
        g.drawing.rect(lot.frame, u, v, float(g.rng.uniform(6, 10)), length, g.paints.road)


def parking(g: Ground, frame: d.Frame, u: float, v: float, du: float, dv: float, full: float | None = None) -> None:
    """Paint a car park with rows of stalls along its longer side; the share `full` of the stalls is occupied.

    Two rows stand head to head, then comes an aisle. Trees grow only on islands, which take the place of two stalls.
    """
    if min(du, dv) < 8:
        return
    pave(g, frame, u, v, du, dv)
    if du < dv:
        frame, u, v, du, dv = frame.moved(u, v, np.pi / 2), 0.0, 0.0, dv, du
    full = float(g.rng.beta(1.2, 2.6)) if full is None else full
    # stalls of 2.7 m by 5 m; two rows and an aisle of 7 m need 17 m
    rows = np.arange(-dv / 2 + 3.2, dv / 2 - 2.4, 8.5)
    stalls = np.arange(-du / 2 + 4, du / 2 - 4, 2.7)
    if len(rows) == 0 or len(stalls) == 0:
        return
    paired = len(rows) // 2 * 2
    rows[:paired] += np.resize([1.75, -1.75], paired)
    for row in rows:
        if g.rng.random() < 0.8:
            g.drawing.rect(frame, u, v + row, du - 8, 0.35, g.paints.mark)
    row, stall = np.divmod(np.arange(len(rows) * len(stalls)), len(stalls))
    # occupancy varies in groups of 8 stalls: cars stand near the entrance
    clump = np.repeat(g.rng.uniform(0.2, 1.8, (len(rows), len(stalls) // 8 + 1)), 8, axis=1)[:, : len(stalls)]
    used = g.rng.random(len(row)) < full * clump.ravel()
    row, stall = row[used], stall[used]
    uv = np.column_stack([u + stalls[stall], v + rows[row]]) + g.rng.normal(0, 0.2, (len(row), 2))
    # white, grey and black are the most common colours
    paint = g.pick(g.paints.car, len(uv), [5, 3, 4, 4, 3, 1, 1])
    on_island = np.zeros(len(uv), dtype=bool)
    if g.rng.random() < 0.6:
        on_island = stall % ISLAND_STALLS < 2
        islands = stalls[::ISLAND_STALLS] + 1.35
        n = int(du * dv / g.rng.uniform(250, 900))
        # each tree on the island next to a random point
        near = np.clip((g.rng.uniform(0, du, n) / (2.7 * ISLAND_STALLS)).astype(int), 0, len(islands) - 1)
        at = np.column_stack([u + islands[near], v + g.rng.choice(rows, n)])
        spots = np.stack(np.meshgrid(u + islands, v + rows), -1).reshape(-1, 2)
        g.drawing.boxes(frame, spots, 5.0, 5.2, g.paints.grass)
        trees(g, frame, at, (2.6, 4.6))
    # a car is about 1.9 m by 4.5 m
    g.drawing.boxes(frame, uv[~on_island], 1.9, 4.5, paint[~on_island], 1.5)


def trailers(g: Ground, frame: d.Frame, u: float, v: float, du: float, full: float) -> None:
    """Draw semi-trailers parked side by side along u, with their length along v; `full` is the share of places used."""
    # 3.9 m between dock doors; 2.6 m (102 inches) is the legal width of trailers in the US
    at = np.arange(-du / 2 + 3, du / 2 - 2, 3.9)
    at = at[g.rng.random(len(at)) < full]
    uv = np.column_stack([u + at, np.full(len(at), v) + g.rng.normal(0, 0.5, len(at))])
    g.drawing.boxes(
        frame,
        uv,
        2.6,
        g.rng.choice([12.0, 14.5, 16.0], len(at)),
        g.pick(g.paints.trailer, len(at), [6, 3, 2, 1]),
        4.0,
    )
