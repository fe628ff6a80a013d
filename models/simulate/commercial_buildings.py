"""Shops, offices, hospitals and laboratories: large roofs with many units, unordered or loosely ordered.

In: a world and a lot. Out: shapes and `other_building` things.
"""

from __future__ import annotations

import numpy as np

from overwatt.models.simulate.building_parts import (
    Body,
    clutter,
    inside,
    lattice,
    penthouse,
    photovoltaics,
    raise_body,
    record,
    rooftop_units,
    screen,
)
from overwatt.models.simulate.equipment import generators, new_plant
from overwatt.models.simulate.ground import Part
from overwatt.models.simulate.lookalikes import annexes, base, box_on, machines, regular
from overwatt.models.simulate.palette import World
from overwatt.models.simulate.streets import Lot, parking


def mall(w: World, lot: Lot) -> None:
    """Build a mall: shops of different depths side by side, many scattered rooftop units, a large car park."""
    base(w, lot, 1.0)
    side, u = float(w.rng.choice([-1, 1])), -lot.width_m / 2 + 10.0
    parts: list[Part] = []
    while u < lot.width_m / 2 - 30:
        wide = min(w.uniform(16, 110), lot.width_m / 2 - 10 - u)
        dv = w.uniform(0.22, 0.5) * lot.depth_m
        parts.append((u + wide / 2, side * (lot.depth_m / 2 - 8 - dv / 2), wide + 0.8, dv))
        u += wide
    if not parts:
        return
    deepest = max(p[3] for p in parts)
    parking(w, lot.frame, 0, -side * (deepest / 2 + 5), lot.width_m - 18, lot.depth_m - deepest - 26)
    height = w.uniform(5, 11)
    body = raise_body(w, lot.frame, parts, height)
    record(w, body, "mall")
    # roof area per packaged unit, m2
    density = w.uniform(80, 450)
    for part in parts:
        n = min(int(part[2] * part[3] / density), 140)
        uv = lattice(part, w.uniform(8, 16), w.uniform(8, 16), 4) if w.chance(0.3) else inside(w, part, n)
        rooftop_units(w, body, uv, (1.6, w.uniform(3, 7)))
    clutter(w, body, w.uniform(1, 5))


def big_box(w: World, lot: Lot) -> None:
    """Build a large single shop: a plain roof with units in a loose grid, a car park in front."""
    base(w, lot, 0.8)
    side = float(w.rng.choice([-1, 1]))
    u, _, du, dv = box_on(w, lot, 0.42 * lot.depth_m)
    part = (u, side * (lot.depth_m / 2 - dv / 2 - 8), du, dv)
    room = lot.depth_m - dv - 22
    if room > 16:
        parking(w, lot.frame, 0, -side * (dv / 2 + 4), lot.width_m - 18, room)
    body = raise_body(w, lot.frame, annexes(w, part, 0.6), w.uniform(6, 11))
    record(w, body, "big_box")
    # half of these roofs have an almost exact grid: the hardest to tell from rows of chillers
    uv = lattice(part, w.uniform(14, 34), w.uniform(14, 34), 7)
    rooftop_units(w, body, uv + w.rng.normal(0, w.rng.choice([0.2, 2.5]), uv.shape), (2.0, 6.0))
    if w.chance(0.3):
        regular(w, body)
    if w.chance(0.2):
        photovoltaics(w, body, part, w.uniform(0.2, 0.9))
    clutter(w, body, w.uniform(0.5, 4))


def office(w: World, lot: Lot) -> None:
    """Build an office: wings in an L, U or H with mechanical penthouses, screens and a car park."""
    base(w, lot, 0.3)
    dv, du = w.uniform(15, 34), w.uniform(0.4, 0.85) * (lot.width_m - 16)
    side = float(w.rng.choice([-1, 1]))
    v = side * (lot.depth_m / 2 - dv / 2 - 10)
    parts: list[Part] = [(0, v, du, dv)]
    if w.chance(0.6) and lot.depth_m > 60:
        leg = w.uniform(0.2, 0.5) * lot.depth_m
        ends = w.rng.choice([-1, 1], int(w.rng.integers(1, 3)), replace=False)
        parts += [(end * (du - dv) / 2, v - side * (leg + dv - 2) / 2, dv * 0.9, leg) for end in ends]
    parking(w, lot.frame, 0, v - side * (lot.depth_m / 2 - 2), lot.width_m - 20, lot.depth_m - dv - 32)
    body = raise_body(w, lot.frame, parts, w.uniform(7, 42))
    record(w, body, "office")
    _mechanical(w, body, 1)


def _mechanical(w: World, body: Body, count: int) -> None:
    """Draw mechanical penthouses, screened equipment and a few cooling towers, as on offices and hospitals."""
    for part in body.parts[: count + 1]:
        u, v, du, dv = part
        a, b = w.uniform(0.2, 0.55) * du, w.uniform(0.25, 0.6) * dv
        at = (u + w.uniform(-0.4, 0.4) * (du - a), v + w.uniform(-0.4, 0.4) * (dv - b))
        if w.chance(0.7):
            house = penthouse(w, body, *at, a, b, w.uniform(2.5, 6))
            rooftop_units(w, house, inside(w, (*at, a, b), int(w.rng.integers(0, 6)), 1.5), (1.2, 3.5))
        else:
            screen(w, body, (*at, a, b), w.uniform(2, 4))
        if w.chance(0.4):
            # real cooling machines from the same models as data centers use, but few of them
            p = new_plant(w, str(w.rng.choice(["tower", "dry_cooler", "chiller"])))
            n = int(np.clip(a // (p.cell_m[0] + 0.5), 1, int(w.rng.integers(1, 6))))
            uv = np.column_stack([at[0] + (np.arange(n) - (n - 1) / 2) * (p.cell_m[0] + 0.5), np.full(n, at[1])])
            if p.cell_m[1] < b:
                machines(w, body, uv, p)
        rooftop_units(w, body, inside(w, part, int(w.rng.poisson(du * dv / 300)), 2.0), (1.2, 5.0))
    clutter(w, body, w.uniform(2, 8))


def hospital(w: World, lot: Lot) -> None:
    """Build a hospital or laboratory: wings on a spine, each with equipment on its roof; sometimes a helipad."""
    base(w, lot, 0.6)
    wings = int(w.rng.integers(2, 6))
    spine = w.uniform(18, 32)
    du = min(lot.width_m - 20, w.uniform(70, 200))
    at = w.uniform(-0.15, 0.15) * lot.depth_m
    parts: list[Part] = [(0.0, at, du, spine)]
    for k in range(wings):
        u = (k + 0.5) / wings * du - du / 2
        deep = w.uniform(0.15, 0.38) * lot.depth_m
        s = w.rng.choice([-1.0, 1.0])
        parts.append((u, at + s * (spine + deep - 2) / 2, du / wings * w.uniform(0.4, 0.85), deep))
    body = raise_body(w, lot.frame, parts, w.uniform(10, 34))
    record(w, body, str(w.rng.choice(["hospital", "laboratory"])))
    _mechanical(w, body, wings)
    if w.chance(0.3):
        u, v, a, b = parts[1]
        w.drawing.discs(body.frame, np.array([[u, v]]), min(a, b, 20.0) * 0.8, w.one(w.paints.dark))
    parking(w, lot.frame, 0, -lot.depth_m / 2 + 12, lot.width_m - 20, 20)
    if w.chance(0.3):
        generators(w, lot.frame, (0.0, lot.depth_m / 2 - 10, 24.0, 12.0))
