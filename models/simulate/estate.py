"""Everything on an estate that is not a data center, from the same parts: the hard negatives.

In: a lot. Out: shapes and `other_building` things. Warehouses with skylights and docks, malls and
offices with scattered rooftop units, factories, cold stores with a few condensers, photovoltaic roofs,
container yards, car parks, houses, solar fields, woods, lakes, bare soil. Buildings under 400 m2 are
recorded too (`kind` 'small'); the masks leave them out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.simulate import drawing as d
from models.simulate.streets import Ground, Lot, belt, driveway, parking, pave, trailers, trees, wood

Parts = list[tuple[float, float, float, float]]


def _roof(g: Ground, lot: Lot, kind: str, parts: Parts, height: float, paint: int) -> None:
    for part in parts:
        g.drawing.rect(lot.frame, *part, g.paints.edge, height + 0.7)
    for u, v, du, dv in parts:
        g.drawing.rect(lot.frame, u, v, du - 1.4, dv - 1.4, paint, height)
    outline = d.outline(lot.frame, parts)
    g.things.append(d.Thing("", "other_building", kind if outline.area >= 400 else "small", outline))


def _spots(g: Ground, part: tuple[float, float, float, float], n: int) -> np.ndarray:
    u, v, du, dv = part
    return g.rng.uniform(-0.46, 0.46, (n, 2)) * [du, dv] + [u, v]


def _grid(part: tuple[float, float, float, float], du: float, dv: float, inset: float = 6.0) -> np.ndarray:
    u, v, w, h = part
    a, b = np.arange(-w / 2 + inset, w / 2 - inset, du), np.arange(-h / 2 + inset, h / 2 - inset, dv)
    return np.stack(np.meshgrid(u + a, v + b), -1).reshape(-1, 2)


def _units(g: Ground, lot: Lot, uv: np.ndarray, height: float, largest_m: float = 6.0) -> None:
    """Single rooftop units: air handlers of 2-`largest_m` m, each with one dark fan end. Not data-center cooling."""
    n = len(uv)
    du, dv = g.rng.uniform(1.8, largest_m, n), g.rng.uniform(1.6, 3.2, n)
    g.drawing.boxes(lot.frame, uv, du, dv, g.pick(g.paints.rtu, n), height + 1.8)
    g.drawing.boxes(lot.frame, uv + [0.5, 0.0], du * 0.35, dv * 0.6, int(g.pick(g.paints.fan)))


def _light_roof(g: Ground, white: float = 0.6) -> int:
    draw = g.rng.random()
    if draw < white:
        return int(g.pick(g.paints.roof_light))
    return int(g.pick(g.paints.roof_mid if draw < white + 0.8 * (1 - white) else g.paints.roof_dark))


def _base(g: Ground, lot: Lot, paved: float = 0.5) -> None:
    g.drawing.rect(lot.frame, 0, 0, lot.width_m + 4, lot.depth_m + 4, g.paints.grass if g.rng.random() < 0.75 else g.paints.dry)
    belt(g, lot, 0.75)
    driveway(g, lot)
    if g.rng.random() < paved:
        pave(g, lot.frame, 0, 0, lot.width_m - 10, lot.depth_m - 10)


def _body(g: Ground, lot: Lot, apron: float, share: tuple[float, float] = (0.6, 0.95)) -> tuple[float, float, float, float]:
    du = (lot.width_m - 24) * float(g.rng.uniform(*share))
    dv = max(14.0, (lot.depth_m - apron - 14) * float(g.rng.uniform(*share)))
    return (float(g.rng.uniform(-0.5, 0.5)) * (lot.width_m - 24 - du), 0.0, du, min(dv, 0.9 * lot.depth_m))


def warehouse(g: Ground, lot: Lot) -> None:
    """A big box with docks and trailers on one long side, skylights or a few units, or photovoltaics."""
    rng, frame = g.rng, lot.frame
    _base(g, lot, 0.8)
    apron = min(44.0, 0.32 * lot.depth_m)
    side = float(rng.choice([-1, 1]))
    u, _, du, dv = _body(g, lot, apron, (0.5, 1.0))
    v = -side * (lot.depth_m / 2 - dv / 2 - rng.uniform(6, 10))
    pave(g, frame, u, v + side * (dv / 2 + apron / 2), du + 6, apron, g.paints.concrete if rng.random() < 0.5 else None)
    height, part = float(rng.uniform(8, 13)), (u, v, du, dv)
    parts: Parts = [part]
    if rng.random() < 0.4:
        w, k = rng.uniform(8, 20), rng.uniform(0.2, 0.7)
        parts.append((u + rng.choice([-1, 1]) * (du + w - 1) / 2, v + rng.uniform(-0.15, 0.15) * dv, w, dv * k))
    pv = rng.random() < 0.2
    _roof(g, lot, "pv_warehouse" if pv else "warehouse", parts, height, _light_roof(g, 0.65))
    if pv:
        _panels(g, lot, part)
    elif rng.random() < 0.5:
        bright = int(g.pick(g.paints.skylight))
        g.drawing.boxes(frame, _grid(part, rng.uniform(9, 20), rng.uniform(9, 18)), 1.3, rng.uniform(2.4, 7), bright)
    if not pv:
        _units(g, lot, _spots(g, part, int(rng.integers(0, 3 + du * dv / 1800))), height, 4.0)
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


def _panels(g: Ground, lot: Lot, part: tuple[float, float, float, float]) -> None:
    """Photovoltaic rows on a share of a roof: dark blue, straight, with walkways."""
    u, v, du, dv = part
    dark, width = int(g.pick(g.paints.pv)), float(g.rng.choice([1.1, 2.1, 4.2]))
    share, walk = float(g.rng.uniform(0.4, 0.92)), float(g.rng.uniform(20, 45))
    rows = np.arange(-dv / 2 + 5, dv / 2 - 4, width + float(g.rng.uniform(0.5, 1.4)))
    start = -du / 2 * share
    while start < du / 2 * share - 6:
        length = min(walk, du / 2 * share - start)
        at = np.column_stack([np.full(len(rows), u + start + length / 2), v + rows])
        g.drawing.boxes(lot.frame, at[g.rng.random(len(at)) < 0.97], length - 2.2, width, dark)
        start += walk


def office(g: Ground, lot: Lot) -> None:
    """One or two bars in an L, a mechanical penthouse, a car park with trees."""
    rng, frame = g.rng, lot.frame
    _base(g, lot, 0.2)
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
        _units(g, lot, _spots(g, part, int(rng.integers(2, 12))), height, 5.0)


def mall(g: Ground, lot: Lot) -> None:
    """Shops of many depths side by side, many scattered rooftop units, a large car park."""
    rng, frame = g.rng, lot.frame
    _base(g, lot, 1.0)
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
        _units(g, lot, _spots(g, part, int(part[2] * part[3] / density)), height, 6.0)


def factory(g: Ground, lot: Lot) -> None:
    """Bays of different roofs, ridge vents or sawteeth, tanks and stacks."""
    rng, frame = g.rng, lot.frame
    _base(g, lot, 0.9)
    u, v, du, dv = _body(g, lot, 24)
    bays = int(rng.integers(1, 4))
    cuts = du * (np.arange(bays) + 0.5) / bays - du / 2
    parts: Parts = [(u + float(c), v + float(rng.uniform(-6, 6)), du / bays + 0.8, dv * float(rng.uniform(0.75, 1))) for c in cuts]
    height = float(rng.uniform(8, 16))
    _roof(g, lot, "factory", parts, height, _light_roof(g, 0.25))
    for pu, pv, pw, ph in parts:
        if rng.random() < 0.5:
            g.drawing.rect(frame, pu, pv, pw - 2, ph - 2, _light_roof(g, 0.3))
        lines = np.arange(-ph / 2 + 5, ph / 2 - 4, rng.uniform(7, 22))
        at = np.column_stack([np.full(len(lines), pu), pv + lines])
        g.drawing.boxes(frame, at, pw - rng.uniform(4, 20), rng.uniform(0.8, 3), int(rng.choice([g.paints.vent, g.paints.edge])))
        _units(g, lot, _spots(g, (pu, pv, pw, ph), int(rng.integers(0, 14))), height, 5.0)
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
    g.drawing.boxes(room, np.repeat(uv, 3, 0) + np.tile([[0, -2.4], [0, 0], [0, 2.4]], (n, 1)), 1.5, 1.5, int(g.pick(g.paints.fan)))


def container_yard(g: Ground, lot: Lot) -> None:
    """Rows of 6 and 12 m containers on concrete."""
    rng, frame = g.rng, lot.frame
    g.drawing.rect(frame, 0, 0, lot.width_m, lot.depth_m, int(rng.choice([g.paints.concrete, g.paints.gravel])))
    long = float(rng.choice([6.1, 12.2]))
    part = (0.0, 0.0, lot.width_m - 16, lot.depth_m - 16)
    uv = _grid(part, 2.7, long + rng.uniform(0.8, 6), 4)
    block = np.floor(uv[:, 0] / rng.uniform(25, 60)).astype(int)
    uv = uv[(rng.random(len(uv)) < 0.75) & (block % 3 != 0)]
    one = rng.random() < 0.4
    paint = int(g.pick(g.paints.container)) if one else g.pick(g.paints.container, len(uv))
    g.drawing.boxes(frame, uv, 2.44, long, paint, float(rng.choice([2.6, 5.2])))


def car_park(g: Ground, lot: Lot) -> None:
    """A car park alone."""
    _base(g, lot, 0.0)
    parking(g, lot.frame, 0, 0, lot.width_m - 14, lot.depth_m - 14)


def solar_field(g: Ground, lot: Lot) -> None:
    """Photovoltaic rows on grass."""
    _base(g, lot, 0.0)
    _panels(g, lot, (0.0, 0.0, lot.width_m - 12, lot.depth_m - 12))


def houses(g: Ground, lot: Lot) -> None:
    """Detached houses in gardens, a little lane."""
    rng, frame = g.rng, lot.frame
    g.drawing.rect(frame, 0, 0, lot.width_m + 6, lot.depth_m + 6, g.paints.grass)
    g.drawing.rect(frame, 0, 0, lot.width_m + 6, 5.5, g.paints.road)
    uv = _grid((0, 0, lot.width_m, lot.depth_m), rng.uniform(19, 26), 34, 11)
    uv = uv[np.abs(uv[:, 1]) > 12] + rng.normal(0, 1.5, (int((np.abs(uv[:, 1]) > 12).sum()), 2))
    n = len(uv)
    trees(g, frame, rng.uniform(-0.5, 0.5, (2 * n, 2)) * [lot.width_m, lot.depth_m])
    g.drawing.boxes(frame, uv + [0, 1.9], rng.uniform(9, 13, n), 4.6, g.pick(g.paints.house, n), 6.0)
    g.drawing.boxes(frame, uv - [0, 1.9], rng.uniform(9, 13, n), 4.6, g.pick(g.paints.house, n), 6.0)


def meadow(g: Ground, lot: Lot) -> None:
    """A field with tractor lines, or rough grass with a few trees."""
    rng = g.rng
    paint = int(g.pick(g.paints.field))
    g.drawing.rect(lot.frame, 0, 0, lot.width_m + 8, lot.depth_m + 8, paint)
    if rng.random() < 0.5:
        lines = np.arange(-lot.depth_m / 2, lot.depth_m / 2, rng.uniform(8, 24))
        g.drawing.boxes(lot.frame, np.column_stack([np.zeros(len(lines)), lines]), lot.width_m, 1.2, g.paints.dry)
    belt(g, lot, 0.4)


def bare(g: Ground, lot: Lot) -> None:
    """A building site: bare soil, tracks, some heaps and boxes."""
    rng = g.rng
    g.drawing.rect(lot.frame, 0, 0, lot.width_m, lot.depth_m, g.paints.dry)
    for _ in range(3):
        u, v = rng.uniform(-0.2, 0.2, 2) * [lot.width_m, lot.depth_m]
        size = rng.uniform(0.45, 0.75, 2) * [lot.width_m, lot.depth_m]
        g.drawing.blob(lot.frame, u, v, *size, int(g.pick(g.paints.soil)), rng.normal(0, 0.12, 4))
    if rng.random() < 0.15:
        _slab(g, lot)
    n = int(rng.integers(3, 20))
    spots = _spots(g, (0, 0, lot.width_m * 0.7, lot.depth_m * 0.7), n)
    g.drawing.boxes(lot.frame, spots, rng.uniform(2, 7, n), 2.5, g.pick(g.paints.container, n), 2.6)


def _slab(g: Ground, lot: Lot) -> None:
    du, dv = lot.width_m * g.rng.uniform(0.3, 0.7), lot.depth_m * g.rng.uniform(0.3, 0.6)
    g.drawing.rect(lot.frame, 0, 0, du, dv, g.paints.concrete)
    columns = _grid((0, 0, du, dv), 12, 12, 3)
    g.drawing.boxes(lot.frame, columns, 1.2, 1.2, g.paints.vent, 5.0)


def lake(g: Ground, lot: Lot) -> None:
    """A pond or lake with a wooded shore."""
    wood(g, lot, 0.01)
    du, dv = lot.width_m * g.rng.uniform(0.6, 0.95), lot.depth_m * g.rng.uniform(0.6, 0.95)
    lobes = g.rng.normal(0, 0.09, 4)
    g.drawing.blob(lot.frame, 0, 0, du + 8, dv + 8, g.paints.dry, lobes)
    g.drawing.blob(lot.frame, 0, 0, du, dv, g.paints.water, lobes)


Builder = Callable[[Ground, Lot], None]
KINDS: dict[str, tuple[Builder, float]] = {
    "warehouse": (warehouse, 5.0),
    "office": (office, 2.5),
    "mall": (mall, 1.6),
    "factory": (factory, 2.2),
    "cold_store": (cold_store, 1.2),
    "container_yard": (container_yard, 0.7),
    "car_park": (car_park, 0.9),
    "solar_field": (solar_field, 0.4),
    "houses": (houses, 1.0),
    "meadow": (meadow, 2.0),
    "wood": (wood, 1.6),
    "bare": (bare, 1.2),
    "lake": (lake, 0.5),
}
"""What may stand on a lot, with its weight in a random district."""


_BUILT = ("warehouse", "office", "mall", "factory", "cold_store", "car_park")


def _split(lot: Lot) -> tuple[Lot, Lot] | None:
    """Return the two halves of a lot across its longer side, or None where they would be slivers."""
    along_u = lot.width_m >= lot.depth_m
    side = (lot.width_m if along_u else lot.depth_m) / 2 - 3
    if side < 62:
        return None
    du, dv = (side, lot.depth_m) if along_u else (lot.width_m, side)
    step = (side / 2 + 3, 0.0) if along_u else (0.0, side / 2 + 3)
    return Lot(lot.frame.moved(*step), du, dv), Lot(lot.frame.moved(-step[0], -step[1]), du, dv)


def fill(g: Ground, lot: Lot, kind: str | None = None) -> str:
    """Build `kind` (random where None) on a lot and return what was built; small lots take small things."""
    if kind is None:
        weight = np.array([w for _, w in KINDS.values()])
        kind = str(g.rng.choice(list(KINDS), p=weight / weight.sum()))
    if kind in _BUILT and lot.width_m * lot.depth_m > 12_000 and g.rng.random() < 0.55:
        halves = _split(lot)
        if halves is not None:
            fill(g, halves[0], kind)
            fill(g, halves[1], kind if g.rng.random() < 0.6 else str(g.rng.choice(_BUILT)))
            return kind
    if min(lot.width_m, lot.depth_m) < 52 and kind in ("warehouse", "mall", "factory", "cold_store"):
        kind = "office" if min(lot.width_m, lot.depth_m) > 42 else "meadow"
    KINDS[kind][0](g, lot)
    return kind
