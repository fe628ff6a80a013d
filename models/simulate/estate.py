"""Everything on an estate that is not a data center, from the same parts: the hard negatives.

In: a lot. Out: shapes and `other_building` things. Warehouses with skylights and docks, malls and
offices with scattered rooftop units, factories, cold stores with a few condensers, photovoltaic roofs;
between them what `ground` lays. Buildings under 400 m2 are
recorded too (`kind` 'small'); the masks leave them out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.simulate import drawing as d
from models.simulate.ground import (
    Part,
    bare,
    base,
    car_park,
    container_yard,
    grid,
    houses,
    lake,
    meadow,
    panels,
    solar_field,
    spots,
)
from models.simulate.streets import Ground, Lot, parking, pave, trailers, wood

Parts = list[Part]


_LARGEST_M2 = 42_000.0
"""Largest box; halls of data centers reach 35,000 m2, so size alone does not tell them apart."""


def _roof(g: Ground, lot: Lot, kind: str, parts: Parts, height: float, paint: int) -> None:
    for part in parts:
        g.drawing.rect(lot.frame, *part, g.paints.edge, height + 0.7)
    for u, v, du, dv in parts:
        g.drawing.rect(lot.frame, u, v, du - 1.4, dv - 1.4, paint, height)
    outline = d.outline(lot.frame, parts)
    g.things.append(d.Thing("", "other_building", kind if outline.area >= 400 else "small", outline))


def _units(g: Ground, lot: Lot, uv: np.ndarray, height: float, largest_m: float = 6.0) -> None:
    """Single rooftop units: air handlers of 2-`largest_m` m, one fan end; not data-center cooling."""
    n = len(uv)
    du, dv = g.rng.uniform(1.8, largest_m, n), g.rng.uniform(1.6, 3.2, n)
    g.drawing.boxes(lot.frame, uv, du, dv, g.pick(g.paints.rtu, n), height + 1.8)
    g.drawing.boxes(lot.frame, uv + np.array([0.5, 0.0]), du * 0.35, dv * 0.6, int(g.pick(g.paints.fan)))


def _light_roof(g: Ground, white: float = 0.6) -> int:
    draw = g.rng.random()
    if draw < white:
        return int(g.pick(g.paints.roof_light))
    return int(g.pick(g.paints.roof_mid if draw < white + 0.8 * (1 - white) else g.paints.roof_dark))


def _body(g: Ground, lot: Lot, apron: float, share: tuple[float, float] = (0.6, 0.95)) -> Part:
    du = (lot.width_m - 24) * float(g.rng.uniform(*share))
    dv = max(14.0, (lot.depth_m - apron - 14) * float(g.rng.uniform(*share)))
    shrink = min(1.0, float(np.sqrt(_LARGEST_M2 / (du * dv))))
    du, dv = du * shrink, dv * shrink
    return (float(g.rng.uniform(-0.5, 0.5)) * (lot.width_m - 24 - du), 0.0, du, min(dv, 0.9 * lot.depth_m))


def warehouse(g: Ground, lot: Lot) -> None:
    """A big box with docks and trailers on one long side, skylights or a few units, or photovoltaics."""
    rng, frame = g.rng, lot.frame
    base(g, lot, 0.8)
    apron = min(44.0, 0.32 * lot.depth_m)
    side = float(rng.choice([-1, 1]))
    u, _, du, dv = _body(g, lot, apron, (0.5, 1.0))
    v = -side * (lot.depth_m / 2 - dv / 2 - rng.uniform(6, 10))
    pave(
        g,
        frame,
        u,
        v + side * (dv / 2 + apron / 2),
        du + 6,
        apron,
        g.paints.concrete if rng.random() < 0.5 else None,
    )
    height, part = float(rng.uniform(8, 13)), (u, v, du, dv)
    parts: Parts = [part]
    if rng.random() < 0.4:
        w, k = rng.uniform(8, 20), rng.uniform(0.2, 0.7)
        parts.append((u + rng.choice([-1, 1]) * (du + w - 1) / 2, v + rng.uniform(-0.15, 0.15) * dv, w, dv * k))
    pv = rng.random() < 0.2
    _roof(g, lot, "pv_warehouse" if pv else "warehouse", parts, height, _light_roof(g, 0.65))
    if pv:
        panels(g, lot, part)
    elif rng.random() < 0.5:
        bright = int(g.pick(g.paints.skylight))
        g.drawing.boxes(frame, grid(part, rng.uniform(9, 20), rng.uniform(9, 18)), 1.3, rng.uniform(2.4, 7), bright)
    if not pv:
        _units(g, lot, spots(g, part, int(rng.integers(0, 3 + int(du * dv / 1800)))), height, 4.0)
        if rng.random() < 0.3:
            lines = np.arange(-du / 2 + 12, du / 2 - 10, rng.uniform(18, 40))
            g.drawing.boxes(frame, np.column_stack([u + lines, np.full(len(lines), v)]), 0.7, dv - 3, g.paints.edge)
    edge = v + side * (dv / 2 + 8.5)
    trailers(g, frame, u, edge, du * rng.uniform(0.5, 1), float(rng.uniform(0.1, 0.9)))
    if apron > 34:
        trailers(g, frame, u, edge + side * (apron - 19), du * rng.uniform(0.4, 1), float(rng.uniform(0.1, 0.9)))
    free = lot.width_m / 2 - (abs(u) + du / 2)
    if free > 18:
        parking(g, frame, np.sign(-u or 1.0) * (lot.width_m / 2 - free / 2 - 2), 0, free - 6, 0.8 * lot.depth_m)


def office(g: Ground, lot: Lot) -> None:
    """One or two bars in an L, a mechanical penthouse, a car park with trees."""
    rng, frame = g.rng, lot.frame
    base(g, lot, 0.2)
    dv, du = float(rng.uniform(16, 30)), float(rng.uniform(0.35, 0.75)) * (lot.width_m - 20)
    side = float(rng.choice([-1, 1]))
    v = side * (lot.depth_m / 2 - dv / 2 - 12)
    parts: Parts = [(0, v, du, dv)]
    if rng.random() < 0.6:
        leg = float(rng.uniform(0.2, 0.45)) * lot.depth_m
        parts.append((rng.choice([-1, 1]) * (du - dv) / 2, v - side * (leg + dv - 2) / 2, dv * 0.9, leg))
    height = float(rng.uniform(8, 26))
    parking(g, frame, 0, v - side * (lot.depth_m / 2 - 4), lot.width_m - 26, lot.depth_m - dv - 34)
    _roof(g, lot, "office", parts, height, _light_roof(g, 0.4))
    g.drawing.rect(frame, 0, v, min(du * 0.3, 25), dv * 0.45, g.paints.edge, height + 4)
    for part in parts:
        _units(g, lot, spots(g, part, int(rng.integers(2, 12))), height, 5.0)


def mall(g: Ground, lot: Lot) -> None:
    """Shops of many depths side by side, many scattered rooftop units, a large car park."""
    rng, frame = g.rng, lot.frame
    base(g, lot, 1.0)
    side, u = float(rng.choice([-1, 1])), -lot.width_m / 2 + 14.0
    parts: Parts = []
    while u < lot.width_m / 2 - 34:
        w = float(rng.uniform(18, 70))
        w = min(w, lot.width_m / 2 - 14 - u)
        dv = float(rng.uniform(0.25, 0.5)) * lot.depth_m
        parts.append((u + w / 2, side * (lot.depth_m / 2 - 9 - dv / 2), w + 0.8, dv))
        u += w
    deepest = max((p[3] for p in parts), default=0.0)
    parking(g, frame, 0, -side * (deepest / 2 + 6), lot.width_m - 22, lot.depth_m - deepest - 30)
    height = float(rng.uniform(6, 10))
    if not parts:
        return
    _roof(g, lot, "mall", parts, height, _light_roof(g, 0.6))
    density = rng.uniform(90, 450)
    for part in parts:
        if rng.random() < 0.3:
            g.drawing.rect(frame, part[0], part[1], part[2] - 2, part[3] - 2, _light_roof(g, 0.5))
        _units(g, lot, spots(g, part, int(part[2] * part[3] / density)), height, 6.0)


def factory(g: Ground, lot: Lot) -> None:
    """Bays of different roofs, ridge vents or sawteeth, tanks and stacks."""
    rng, frame = g.rng, lot.frame
    base(g, lot, 0.9)
    u, v, du, dv = _body(g, lot, 24)
    bays = int(rng.integers(1, 4))
    cuts = du * (np.arange(bays) + 0.5) / bays - du / 2
    parts: Parts = [
        (u + float(c), v + float(rng.uniform(-6, 6)), du / bays + 0.8, dv * float(rng.uniform(0.75, 1))) for c in cuts
    ]
    height = float(rng.uniform(8, 16))
    _roof(g, lot, "factory", parts, height, _light_roof(g, 0.25))
    for pu, pv, pw, ph in parts:
        if rng.random() < 0.5:
            g.drawing.rect(frame, pu, pv, pw - 2, ph - 2, _light_roof(g, 0.3))
        lines = np.arange(-ph / 2 + 5, ph / 2 - 4, rng.uniform(7, 22))
        at = np.column_stack([np.full(len(lines), pu), pv + lines])
        g.drawing.boxes(
            frame,
            at,
            pw - rng.uniform(4, 20),
            rng.uniform(0.8, 3),
            int(rng.choice([g.paints.vent, g.paints.edge])),
        )
        _units(g, lot, spots(g, (pu, pv, pw, ph), int(rng.integers(0, 14))), height, 5.0)
    n = int(rng.integers(0, 6))
    tanks = np.column_stack([np.linspace(-0.3, 0.3, max(n, 1))[:n] * du, np.full(n, dv / 2 + 10)])
    g.drawing.discs(frame, tanks, rng.uniform(5, 14), int(g.pick(g.paints.roof_light)), 8.0)
    parking(g, frame, 0, -(dv / 2 + (lot.depth_m - dv) / 4), du * 0.8, (lot.depth_m - dv) / 2 - 10)


def cold_store(g: Ground, lot: Lot) -> None:
    """A bright box with docks and a machine room with 2-6 condensers: too few for a data center."""
    warehouse_like = Lot(lot.frame, lot.width_m, lot.depth_m)
    before = len(g.things)
    warehouse(g, warehouse_like)
    thing = g.things[before]
    g.things[before] = d.Thing("", "other_building", "cold_store", thing.outline)
    x, y = thing.outline.representative_point().coords[0]
    room = d.Frame(x, y, lot.frame.angle).moved(float(g.rng.uniform(-12, 12)), float(g.rng.uniform(-6, 6)))
    n = int(g.rng.integers(2, 7))
    uv = np.column_stack([(np.arange(n) - (n - 1) / 2) * g.rng.uniform(3.8, 7), np.zeros(n)])
    g.drawing.boxes(room, uv, 2.8, 7.5, int(g.pick(g.paints.unit)), 14.0)
    g.drawing.boxes(
        room,
        np.repeat(uv, 3, 0) + np.tile([[0, -2.4], [0, 0], [0, 2.4]], (n, 1)),
        1.5,
        1.5,
        int(g.pick(g.paints.fan)),
    )


Builder = Callable[[Ground, Lot], None]
KINDS: dict[str, tuple[Builder, float]] = {
    "warehouse": (warehouse, 5.0),
    "office": (office, 2.5),
    "mall": (mall, 1.6),
    "factory": (factory, 2.2),
    "cold_store": (cold_store, 1.2),
    "container_yard": (container_yard, 0.7),
    "car_park": (car_park, 0.5),
    "solar_field": (solar_field, 0.4),
    "houses": (houses, 1.0),
    "meadow": (meadow, 2.0),
    "wood": (wood, 1.6),
    "bare": (bare, 1.2),
    "lake": (lake, 0.5),
}
"""What may stand on a lot, with its weight in a random district."""


def random_kind(rng: np.random.Generator, open_share: float = 1.0) -> str:
    """Draw what stands on a lot; `open_share` scales the weight of all that is not built."""
    weight = np.array([w * (1.0 if k in _BUILT else open_share) for k, (_, w) in KINDS.items()])
    return str(rng.choice(list(KINDS), p=weight / weight.sum()))


_BUILT = ("warehouse", "office", "mall", "factory", "cold_store", "car_park")


def _split(lot: Lot, least_side_m: float) -> tuple[Lot, Lot] | None:
    """Return the two halves of a lot across its longer side, or None where they would be slivers."""
    along_u = lot.width_m >= lot.depth_m
    side = (lot.width_m if along_u else lot.depth_m) / 2 - 3
    if side < least_side_m:
        return None
    du, dv = (side, lot.depth_m) if along_u else (lot.width_m, side)
    step = (side / 2 + 3, 0.0) if along_u else (0.0, side / 2 + 3)
    return Lot(lot.frame.moved(*step), du, dv), Lot(lot.frame.moved(-step[0], -step[1]), du, dv)


def fill(g: Ground, lot: Lot, kind: str | None = None, least_side_m: float = 62.0) -> str:
    """Build `kind` (random where None) on a lot and return what was built; small lots take small things."""
    kind = kind or random_kind(g.rng)
    if kind in _BUILT and lot.width_m * lot.depth_m > 12_000 and g.rng.random() < 0.55:
        halves = _split(lot, least_side_m)
        if halves is not None:
            fill(g, halves[0], kind, least_side_m)
            other = kind if g.rng.random() < 0.6 else str(g.rng.choice(_BUILT))
            fill(g, halves[1], other, least_side_m)
            return kind
    if min(lot.width_m, lot.depth_m) < 52 and kind in ("warehouse", "mall", "factory", "cold_store"):
        kind = "office" if min(lot.width_m, lot.depth_m) > 42 else "meadow"
    KINDS[kind][0](g, lot)
    return kind
