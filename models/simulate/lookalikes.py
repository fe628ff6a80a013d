"""Large buildings that are not data centers, built from the same parts in the same sizes: hard negatives.

In: a world and a lot. Out: shapes and objects of class `other_building`. Here: warehouses with skylights and smoke
vents in regular grids and trailers at their docks, cold stores with rows of condensers, factories; also the parts
that `commercial_buildings` and `urban_buildings` share.
"""

from __future__ import annotations

import numpy as np

from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.building_parts import (  # fmt: skip
    Body,
    clutter,
    inside,
    lattice,
    photovoltaics,
    raise_body,
    record,
    rooftop_units,
)
from overwatt.models.simulate.equipment import Plant, bank, generators, new_plant, substation, tanks
from overwatt.models.simulate.ground import Part
from overwatt.models.simulate.palette import World
from overwatt.models.simulate.streets import Lot, belt, driveway, parking, pave, trailers


def base(w: World, lot: Lot, paved: float) -> None:
    """Draw ground, trees and drives of a lot; with probability `paved` also a hard surface over most of it."""
    draw, frame = w.drawing, lot.frame
    draw.layer = 0
    ground = w.paints.grass if w.chance(0.7) else w.paints.dry if w.chance(0.7) else w.one(w.paints.soil)
    draw.rect(frame, 0, 0, lot.width_m, lot.depth_m, ground, 0.0, w.earth())
    belt(w, lot, w.uniform(0, 0.8))
    driveway(w, lot)
    if w.chance(paved):
        tone = w.one(w.paints.asphalt) if w.chance(0.7) else w.one(w.paints.pad)
        inset = w.uniform(3, 12)
        pave(w, frame, 0, 0, lot.width_m - inset, lot.depth_m - inset, tone)
        draw.rect(frame, 0, 0, lot.width_m - inset - 1, lot.depth_m - inset - 1, tone, 0.0, w.earth(0.8))
        litter(w, frame, (0.0, 0.0, lot.width_m - inset - 4, lot.depth_m - inset - 4))
        if lot.depth_m > 110 and w.chance(0.6):
            # a large yard is rarely empty: a car park along one side, as far as no building covers it
            v = w.rng.choice([-1, 1]) * (lot.depth_m / 2 - inset - 21)
            parking(w, frame, w.uniform(-0.05, 0.05) * lot.width_m, v, lot.width_m * w.uniform(0.4, 0.85), 38)


def litter(w: World, frame: d.Frame, area: Part) -> None:
    """Draw loose objects of a yard: cars along its edges, lorries, pallets, skips, worn lanes."""
    if w.drawing.finest_m > 2.0:
        return
    u, v, du, dv = area
    w.drawing.layer = 0
    lanes = int(w.rng.poisson(1.2))
    for _ in range(lanes):
        along = w.chance(0.5)
        at = (u, v + w.uniform(-0.4, 0.4) * dv) if along else (u + w.uniform(-0.4, 0.4) * du, v)
        size = (du * w.uniform(0.5, 1), w.uniform(4, 9)) if along else (w.uniform(4, 9), dv * w.uniform(0.5, 1))
        w.drawing.rect(frame, *at, *size, w.one(w.paints.asphalt))
    if w.chance(0.6):
        for side in (-1, 1):
            n = int(w.rng.poisson(du / 14))
            uv = np.column_stack([u + w.rng.uniform(-0.5, 0.5, n) * du, np.full(n, v + side * (dv / 2 - 3))])
            w.drawing.boxes(frame, uv, 1.9, 4.5, w.pick(w.paints.car, n), 1.5)
    n = int(w.rng.poisson(du * dv / w.uniform(600, 6000)))
    # one object per 600 to 6,000 m2; 60 bounds the cost of large yards
    uv = inside(w, area, min(n, 60), 2.0)
    tones = w.pick(np.concatenate([w.paints.container, w.paints.car, w.paints.trailer, w.paints.metal]), len(uv))
    turn = w.rng.choice([0.0, np.pi / 2, 0.4], len(uv))
    w.drawing.boxes(frame, uv, w.rng.choice([1.5, 3.0, 6.0, 12.0], len(uv)), 2.3, tones, 1.8, turn)
    if w.chance(0.25):
        trailers(w, frame, u, v + w.uniform(-0.45, 0.45) * dv, du * w.uniform(0.2, 0.8), w.uniform(0.1, 0.9))


def box_on(w: World, lot: Lot, apron_m: float, largest: tuple[float, float] = (300.0, 125.0)) -> Part:
    """Return a random rectangle for a building, by the same rule as for halls: limited by the lot, otherwise random."""
    wide, deep = lot.width_m - 16, max(16.0, lot.depth_m - 14 - apron_m)
    du = min(wide, w.uniform(45, largest[0]))
    dv = float(np.clip(w.uniform(0.25, 1.0) * du, 22, min(deep, largest[1])))
    # same limits (300 m x 125 m) as halls, so that size alone does not give the class away
    return (w.uniform(-0.5, 0.5) * (wide - du), 0.0, du, min(dv, deep))


def annexes(w: World, part: Part, p: float) -> list[Part]:
    """Return the rectangle and, with probability `p`, an annex on a short side; half as often one on a long side."""
    u, v, du, dv = part
    parts = [part]
    if w.chance(p):
        side, wide, share = w.rng.choice([-1.0, 1.0]), w.uniform(6, 26), w.uniform(0.2, 0.9)
        parts.append((u + side * (du / 2 + wide / 2 - 0.5), v + w.uniform(-0.1, 0.1) * dv, wide, dv * share))
    if w.chance(p / 2):
        deep = w.uniform(6, 18)
        parts.append((u + w.uniform(-0.3, 0.3) * du, v + w.rng.choice([-1.0, 1.0]) * (dv / 2 + deep / 2 - 0.5),
                      du * w.uniform(0.15, 0.45), deep))  # fmt: skip
    return parts


def regular(w: World, body: Body) -> None:
    """Draw skylights, smoke vents, curbs or turbines in a regular grid: they resemble rows of rooftop machines."""
    # usual column spacings of halls, metres
    du, dv = float(w.rng.choice([6.0, 9.0, 12.0, 15.0, 20.0])), float(w.rng.choice([6.0, 9.0, 12.0, 16.0, 24.0]))
    uv = lattice(body.main, du, dv, w.uniform(4, 9))
    uv = uv[w.rng.random(len(uv)) < w.uniform(0.8, 1.0)]
    style = str(w.rng.choice(["skylight", "dark", "vent", "long", "curb"]))
    frame, top = body.frame, body.height_m
    if style == "vent":
        w.drawing.discs(frame, uv, w.uniform(0.9, 1.8), w.one(w.paints.metal), top + 1.0)
    elif style == "long":
        tone = w.one(w.paints.skylight)
        w.drawing.boxes(frame, uv, w.uniform(1.0, 2.2), min(dv * w.uniform(0.35, 0.9), 14.0), tone, top + 0.3)
    else:
        tone = w.one(w.paints.skylight if style == "skylight" else w.paints.dark if style == "dark" else w.paints.rtu)
        a, b = w.uniform(1.1, 3.2), w.uniform(1.4, 5.0)
        if w.chance(0.3):
            w.drawing.boxes(frame, uv, a + 0.8, b + 0.8, w.near(body.rgb, -35.0), top + 0.3)
        w.drawing.boxes(frame, uv, a, b, tone, top + w.uniform(0.3, 1.6))


def warehouse(w: World, lot: Lot) -> None:
    """Build a warehouse with docks and trailers on one or both long sides; roof plain, with a grid, or with panels."""
    base(w, lot, 0.9)
    # yard in front of the docks: one lorry length, or room to turn, or two rows of trailers
    apron = min(float(w.rng.choice([18.0, 34.0, 44.0])), 0.4 * lot.depth_m)
    u, _, du, dv = box_on(w, lot, apron)
    side = float(w.rng.choice([-1, 1]))
    v = -side * (lot.depth_m / 2 - dv / 2 - w.uniform(5, 9))
    part = (u, v, du, dv)
    height = w.uniform(7, 16)
    pave(
        w, lot.frame, u, v + side * (dv / 2 + apron / 2), du + 6, apron, w.one(w.paints.pad) if w.chance(0.5) else None
    )
    body = raise_body(w, lot.frame, annexes(w, part, 0.4), height)
    what = w.rng.random()
    kind = "warehouse"
    if what < 0.4:
        kind = "skylight_warehouse"
        regular(w, body)
    elif what < 0.55:
        kind = "pv_warehouse"
        photovoltaics(w, body, part, w.uniform(0.4, 1.0))
    record(w, body, kind)
    if kind != "pv_warehouse":
        rooftop_units(
            w, body, inside(w, part, int(w.rng.poisson(w.rng.choice([0, 1, 4, 12]) * du * dv / 6000))), (1.5, 5.0)
        )
        if w.chance(0.3):
            lines = np.arange(-du / 2 + 12, du / 2 - 10, w.uniform(18, 40))
            w.drawing.boxes(
                body.frame, np.column_stack([u + lines, 0 * lines + v]), 0.7, dv - 2, w.near(body.rgb, 18.0)
            )
    clutter(w, body, w.uniform(0, 5))
    _docks(w, lot, part, side, apron)
    if w.chance(0.3):
        _docks(w, lot, part, -side, 8.0)


def _docks(w: World, lot: Lot, part: Part, side: float, apron: float) -> None:
    """Draw dock doors and parked trailers on the side `side` (-1 or 1) of a warehouse."""
    u, v, du, dv = part
    edge = v + side * (dv / 2 + 8.5)
    if w.drawing.finest_m < 1.2:
        doors = np.arange(u - du / 2 + 4, u + du / 2 - 3, 4.2)
        w.drawing.layer = 0
        w.drawing.boxes(
            lot.frame, np.column_stack([doors, 0 * doors + v + side * (dv / 2 + 0.8)]), 2.8, 1.6, w.one(w.paints.dark)
        )
    w.drawing.layer = 0
    trailers(w, lot.frame, u, edge, du * w.uniform(0.5, 1), w.uniform(0.05, 0.95))
    if apron > 30:
        trailers(w, lot.frame, u, edge + side * (apron - 19), du * w.uniform(0.4, 1), w.uniform(0.05, 0.95))


def cold_store(w: World, lot: Lot) -> None:
    """Build a cold store: a warehouse with a short row of condensers on its roof."""
    warehouse(w, lot)
    # the warehouse is the last building recorded that is not small; rename it
    index = max(i for i, t in enumerate(w.things) if t.kind not in ("small",))
    thing = w.things[index]
    w.things[index] = type(thing)("", "other_building", "cold_store", thing.outline)
    box = thing.outline.minimum_rotated_rectangle
    x, y = box.centroid.coords[0]
    corners = np.array(box.exterior.coords)[:4]
    # frame along the longer side of the outline
    side = corners[1] - corners[0]
    other = corners[2] - corners[1]
    if np.hypot(*side) < np.hypot(*other):
        side, other = other, side
    frame = d.Frame(x, y, float(np.arctan2(side[1], side[0])))
    half = np.hypot(*other) / 2
    p = new_plant(w, str(w.rng.choice(["dry_cooler", "chiller", "tower"])))
    a, b = p.cell_m
    n = int(w.rng.integers(2, 9))
    row = w.uniform(-0.9, 0.9) * max(half - b, 0.0)
    at = w.uniform(-0.35, 0.35) * np.hypot(*side)
    uv = np.column_stack([at + (np.arange(n) - (n - 1) / 2) * (a + p.gap_m + w.uniform(0, 3)), np.full(n, row)])
    # only frame and height matter to `machines`; 11 m is a usual height of cold stores
    machines(w, Body(frame, 11.0, ((0.0, 0.0, 1.0, 1.0),), (180.0, 180.0, 180.0)), uv, p)


def machines(w: World, body: Body, uv: np.ndarray, p: Plant) -> None:
    """Draw cooling machines of another building: they look the same but do not enter the truth."""
    low, high = uv.min(0) - np.array(p.cell_m) / 2, uv.max(0) + np.array(p.cell_m) / 2
    before = len(w.things)
    bank(w, body.frame, uv, p, body.height_m, "", (*(low + high) / 2, *(high - low)))
    # `bank` records cooling equipment, which only data centers have in the truth
    w.plant += w.things[before:]
    del w.things[before:]


def factory(w: World, lot: Lot) -> None:
    """Build a factory: bays with different roofs (sawtooth, monitors, vents), stacks, ducts, tanks, a few machines."""
    base(w, lot, 0.9)
    part = box_on(w, lot, 16.0)
    u, v, du, dv = part
    bays = int(w.rng.integers(1, 5))
    edges = np.concatenate([[0], np.sort(w.rng.uniform(0.15, 0.85, bays - 1)), [1]]) * du - du / 2
    height = w.uniform(7, 18)
    first: Body | None = None
    everything: list[Part] = []
    for k in range(bays):
        wide = float(edges[k + 1] - edges[k])
        if wide < 8:
            continue
        bay = (
            u + float(edges[k] + edges[k + 1]) / 2,
            v + w.uniform(-0.1, 0.1) * dv,
            wide + 0.6,
            dv * w.uniform(0.7, 1),
        )
        body = raise_body(w, lot.frame, [bay], height, ribbed=w.chance(0.35))
        first = first or body
        everything.append(bay)
        _bay(w, body, bay)
    if first is None:
        return
    record(w, Body(first.frame, height, tuple(everything), first.rgb), "factory")
    n = int(w.rng.choice([0, 0, 2, 4, 8]))
    size = w.uniform(4, 12)
    at = np.column_stack([(np.arange(n) - n / 2) * (size + 1.5) + u, np.full(n, v + dv / 2 + size / 2 + 3)])
    tanks(w, lot.frame, at, size, w.uniform(5, 12))
    if w.chance(0.25):
        substation(w, lot.frame.moved(u + w.uniform(-0.3, 0.3) * du, -lot.depth_m / 2 + 14), 34, 22)
    if w.chance(0.3):
        generators(w, lot.frame, (u, v - dv / 2 - 8, du * 0.3, 13.0))


def _bay(w: World, body: Body, bay: Part) -> None:
    """Draw the roof of one bay in one random style."""
    pu, pv, wide, deep = bay
    style = str(w.rng.choice(["monitor", "vents", "ducts", "units", "plant", "plain"]))
    frame, top = body.frame, body.height_m
    if style == "monitor":
        rows = np.arange(-deep / 2 + 6, deep / 2 - 5, w.uniform(9, 26))
        at = np.column_stack([0 * rows + pu, pv + rows])
        w.drawing.boxes(
            frame, at, wide - w.uniform(4, 10), w.uniform(2, 5), w.near(body.rgb, w.uniform(-50, 30)), top + 2.2
        )
    elif style == "vents":
        w.drawing.discs(
            frame, lattice(bay, w.uniform(6, 16), w.uniform(6, 16)), w.uniform(1, 2.4), w.one(w.paints.metal), top + 1.4
        )
    elif style == "ducts":
        n = int(w.rng.integers(2, 9))
        uv, turn = inside(w, bay, n, 8), w.rng.choice([0.0, np.pi / 2], n)
        w.drawing.boxes(frame, uv, w.uniform(6, 14), w.uniform(0.8, 1.8), w.one(w.paints.metal), top + 1.8, turn)
        w.drawing.boxes(frame, uv, 4.0, 3.4, w.pick(w.paints.rtu, n), top + 3)
    elif style == "units":
        rooftop_units(w, body, inside(w, bay, int(w.rng.integers(4, 30)), 4), (1.5, 6.0))
    elif style == "plant":
        p = new_plant(w, str(w.rng.choice(["tower", "dry_cooler", "air_handler"])))
        n = int(w.rng.integers(1, 6))
        spot = inside(w, bay, 1, 10)[0]
        machines(w, body, spot + np.column_stack([np.arange(n) * (p.cell_m[0] + 0.6), np.zeros(n)]), p)
    stacks = inside(w, bay, int(w.rng.poisson(1.5)), 3)
    w.drawing.discs(frame, stacks, w.uniform(1.0, 2.6), w.one(w.paints.dark), top + w.uniform(2, 12))
    clutter(w, body, w.uniform(1, 8))
