"""Other buildings of towns and estates: car decks, schools, flats, dense blocks, greenhouses, depots, yards.

In: a world and a lot. Out: shapes and objects of class `other_building`. The choice favours regular, crowded or
machine-like textures, which are the difficult negatives.
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
)
from overwatt.models.simulate.equipment import substation, tanks
from overwatt.models.simulate.ground import container_yard as containers
from overwatt.models.simulate.ground import grid, houses, lake, panels
from overwatt.models.simulate.lookalikes import base
from overwatt.models.simulate.palette import World
from overwatt.models.simulate.streets import Lot, parking, pave, trailers, trees, wood


def car_deck(w: World, lot: Lot) -> None:
    """Build a multi-storey car park: stalls and cars on a grey roof, stair towers."""
    base(w, lot, 0.6)
    du, dv = min(lot.width_m - 14, w.uniform(45, 130)), min(lot.depth_m - 14, w.uniform(32, 75))
    body = raise_body(w, lot.frame, [(0, 0, du, dv)], w.uniform(6, 22), strength=0.6)
    record(w, body, "car_deck")
    parked(w, body, (du, dv), w.uniform(0.05, 0.9))
    for end in (-1, 1):
        penthouse(w, body, end * (du / 2 - 4), w.uniform(-0.4, 0.4) * dv, 6, 6, 3.0)
    if w.chance(0.2):
        photovoltaics(w, body, body.main, w.uniform(0.4, 1))


def parked(w: World, body: Body, size_m: tuple[float, float], full: float) -> None:
    """Draw the top deck of a car park on a roof: marks of the rows, and cars on the share `full` of the stalls."""
    du, dv = size_m
    # same stall geometry as `streets.parking`
    rows = np.arange(-dv / 2 + 5, dv / 2 - 3, 8.5)
    stalls = np.arange(-du / 2 + 4, du / 2 - 3, 2.6)
    w.drawing.boxes(body.frame, np.column_stack([0 * rows, rows]), du - 8, 0.3, w.paints.mark)
    uv = np.stack(np.meshgrid(stalls, rows), -1).reshape(-1, 2)
    uv = uv[w.rng.random(len(uv)) < full]
    w.drawing.boxes(body.frame, uv, 1.9, 4.5, w.pick(w.paints.car, len(uv)), body.height_m + 1.5)


def apartments(w: World, lot: Lot) -> None:
    """Build blocks of flats with small rooftop boxes, trees and parking between them."""
    base(w, lot, 0.2)
    deep, height = w.uniform(11, 19), w.uniform(8, 45)
    n = int(np.clip(lot.depth_m // (deep + w.uniform(18, 34)), 1, 5))
    for k in range(n):
        v = (k - (n - 1) / 2) * lot.depth_m / n
        du = w.uniform(0.4, 0.9) * (lot.width_m - 12)
        parts = [(0.0, v, du, deep)]
        if w.chance(0.3):
            parts.append((du / 2 - deep / 2, v + deep, deep, deep * 1.6))
        body = raise_body(w, lot.frame, parts, height)
        record(w, body, "apartments")
        at = np.arange(-du / 2 + 6, du / 2 - 4, w.uniform(10, 22))
        w.drawing.boxes(
            body.frame, np.column_stack([at, 0 * at + v]), 4.0, 3.5, w.near(body.rgb, -25.0), body.height_m + 2.6
        )
        rooftop_units(w, body, inside(w, parts[0], int(du / 6), 1.5), (0.8, 2.0))
        trees(w, lot.frame, w.rng.uniform(-0.5, 0.5, (10, 2)) * [lot.width_m, 16] + [0, v + deep])
    parking(w, lot.frame, 0, lot.depth_m / 2 - 9, lot.width_m - 12, 15)


def city_block(w: World, lot: Lot) -> None:
    """Build a dense city block: touching roofs of different heights and tones around small courts."""
    draw = w.drawing
    draw.layer = 0
    draw.rect(lot.frame, 0, 0, lot.width_m, lot.depth_m, w.paints.concrete, 0.0, w.earth(0.5))
    rows = max(1, int(lot.depth_m // w.uniform(22, 45)))
    deep = lot.depth_m / rows
    tall = w.uniform(6, 30)
    for k in range(rows):
        u, v = -lot.width_m / 2, (k + 0.5) * deep - lot.depth_m / 2
        while u < lot.width_m / 2 - 6:
            wide = min(float(w.rng.choice([w.uniform(7, 20), w.uniform(20, 70)], p=[0.6, 0.4])), lot.width_m / 2 - u)
            if wide > 5 and w.chance(0.93):
                back = w.uniform(0.7, 1.0) * deep
                edge = (k % 2 * 2 - 1) * (deep - back) / 2
                body = raise_body(w, lot.frame, [(u + wide / 2, v + edge, wide, back)], tall * w.uniform(0.5, 1.5))
                record(w, body, "city_block")
                rooftop_units(w, body, inside(w, body.main, int(w.rng.poisson(wide * back / 160)), 1.5), (0.8, 4.5))
                if w.chance(0.35) and wide > 14:
                    penthouse(w, body, u + wide / 2, v + edge, wide * 0.3, back * 0.3, w.uniform(2.5, 5))
                clutter(w, body, 5.0)
            u += wide


def school(w: World, lot: Lot) -> None:
    """Build a school: wings around a court and a playing field with a track."""
    base(w, lot, 0.2)
    wide = min(lot.width_m * 0.55, 110.0)
    u0 = -lot.width_m / 2 + wide / 2 + 8
    bar = w.uniform(12, 22)
    deep = min(lot.depth_m - 20, w.uniform(50, 110))
    parts = [(u0, -deep / 2 + bar / 2, wide, bar), (u0, deep / 2 - bar / 2, wide * w.uniform(0.5, 1), bar)]
    parts += [(u0 - wide / 2 + bar / 2, 0.0, bar, deep), (u0 + w.uniform(-0.1, 0.35) * wide, 0.0, bar * 1.3, deep)]
    body = raise_body(w, lot.frame, parts, w.uniform(5, 12))
    record(w, body, "school")
    for part in parts:
        rooftop_units(w, body, inside(w, part, int(w.rng.poisson(part[2] * part[3] / 260)), 2.0), (1.2, 4.0))
    clutter(w, body, 3.0)
    u = lot.width_m / 4 + 8
    size = (min(lot.width_m * 0.4, 70.0), min(lot.depth_m - 14, 150.0))
    w.drawing.layer = 0
    if w.chance(0.6):
        w.drawing.rect(lot.frame, u, 0, *size, w.one(w.paints.rust), 0.0)
    w.drawing.rect(lot.frame, u, 0, size[0] * 0.8, size[1] * 0.8, w.paints.grass, 0.0, w.earth(0.5, 10.0))


def greenhouses(w: World, lot: Lot) -> None:
    """Build greenhouses side by side: pale, ribbed, large."""
    base(w, lot, 0.3)
    # usual widths of greenhouse spans, metres
    pitch = float(w.rng.choice([4.0, 6.4, 9.6]))
    du, dv = w.uniform(0.6, 0.95) * (lot.width_m - 10), w.uniform(0.5, 0.95) * (lot.depth_m - 10)
    body = raise_body(w, lot.frame, [(0, 0, du, dv)], w.uniform(3, 6))
    record(w, body, "greenhouse")
    tone = w.near((198.0, 208.0, 204.0), w.uniform(-50, 30))
    w.drawing.rect(body.frame, 0, 0, du - 1, dv - 1, tone, body.height_m, w.texture(1.2))
    ribs = np.arange(-dv / 2 + pitch, dv / 2 - 1, pitch)
    w.drawing.boxes(body.frame, np.column_stack([0 * ribs, ribs]), du - 1, 0.5, w.near((160.0, 170.0, 168.0), 0.0))


def self_storage(w: World, lot: Lot) -> None:
    """Build long, low rows of storage units with lanes between them."""
    base(w, lot, 1.0)
    deep, lane = w.uniform(6, 14), w.uniform(6, 9)
    for v in np.arange(-lot.depth_m / 2 + deep, lot.depth_m / 2 - deep, deep + lane):
        body = raise_body(w, lot.frame, [(0.0, float(v), (lot.width_m - 20) * w.uniform(0.8, 1), deep)], 3.5)
        record(w, body, "self_storage")


def depot(w: World, lot: Lot) -> None:
    """Build a truck or bus depot: rows of long vehicles and a workshop."""
    base(w, lot, 1.0)
    v = -lot.depth_m / 2 + 14.0
    while v < lot.depth_m / 2 - 34:
        trailers(w, lot.frame, 0, v, lot.width_m - 20, w.uniform(0.1, 1))
        v += float(w.rng.choice([17.0, 34.0]))
    body = raise_body(
        w,
        lot.frame,
        [(w.uniform(-0.2, 0.2) * lot.width_m, lot.depth_m / 2 - 16, lot.width_m * w.uniform(0.3, 0.7), 20)],
        7,
    )
    record(w, body, "depot")
    rooftop_units(w, body, inside(w, body.main, 5), (1.0, 3.0))


def tank_farm(w: World, lot: Lot) -> None:
    """Draw a tank farm: a grid of round tanks with pipes between them."""
    base(w, lot, 0.3)
    size = w.uniform(10, 46)
    part = (0.0, 0.0, lot.width_m, lot.depth_m)
    w.drawing.rect(lot.frame, 0, 0, lot.width_m - 6, lot.depth_m - 6, w.paints.gravel, 0.0, w.earth())
    uv = lattice(part, size * w.uniform(1.3, 1.8), size * w.uniform(1.3, 1.8), size / 2 + 6)
    tanks(w, lot.frame, uv[w.rng.random(len(uv)) < 0.85], size, w.uniform(8, 18))
    for v in np.unique(uv[:, 1]):
        w.drawing.rect(lot.frame, 0, float(v) + size * 0.6, lot.width_m - 12, 1.6, w.one(w.paints.metal), 1.0)


def rail_yard(w: World, lot: Lot) -> None:
    """Draw a rail yard: parallel tracks on ballast with standing wagons."""
    draw = w.drawing
    draw.layer = 0
    draw.rect(
        lot.frame,
        0,
        0,
        lot.width_m,
        lot.depth_m,
        w.near((120.0, 112.0, 104.0), w.uniform(-20, 30), rough=8.0),
        0.0,
        w.earth(),
    )
    tracks = np.arange(-lot.depth_m / 2 + 4, lot.depth_m / 2 - 3, w.uniform(4.5, 7))
    draw.boxes(lot.frame, np.column_stack([0 * tracks, tracks]), lot.width_m, 1.4, w.one(w.paints.rust))
    for v in tracks[w.rng.random(len(tracks)) < 0.5]:
        n = int(w.rng.integers(3, max(4, int(lot.width_m / 17))))
        # wagons of 15.4 m at a coupling distance of 16.5 m
        u = -lot.width_m / 2 + w.uniform(0, 0.4) * lot.width_m + np.arange(n) * 16.5
        u = u[u < lot.width_m / 2 - 8]
        tones = w.pick(w.paints.container, len(u)) if w.chance(0.6) else np.full(len(u), w.one(w.paints.container))
        draw.boxes(lot.frame, np.column_stack([u, np.full(len(u), v)]), 15.4, 2.8, tones, 4.0)


def substation_alone(w: World, lot: Lot) -> None:
    """Draw a substation without a neighbouring building."""
    base(w, lot, 0.1)
    substation(w, lot.frame, min(lot.width_m - 12, 140), min(lot.depth_m - 12, 110))


def container_yard(w: World, lot: Lot) -> None:
    """Draw a container yard."""
    w.drawing.layer = 0
    containers(w, lot)


def housing(w: World, lot: Lot) -> None:
    """Draw detached houses in gardens."""
    w.drawing.layer = 0
    houses(w, lot)


def field(w: World, lot: Lot) -> None:
    """Draw farmland or pasture, with or without crop rows."""
    w.drawing.layer = 0
    rows = float(w.rng.choice([0.0, 0.0, 3.0, 6.0, 14.0]))
    # what is left of a block beside a motorway or district is not worth a plough: it stays meadow
    if min(lot.width_m, lot.depth_m) > 70:
        w.drawing.rect(lot.frame, 0, 0, lot.width_m, lot.depth_m, w.one(w.paints.field), 0.0, w.earth(1.3, rows))
    n = int(w.rng.poisson(4))
    trees(w, lot.frame, w.rng.uniform(-0.5, 0.5, (n, 2)) * [lot.width_m, lot.depth_m])


def forest(w: World, lot: Lot) -> None:
    """Draw a dense or open forest; the ground between the crowns is as dark as they are, but not in a small grove."""
    w.drawing.layer = 0
    if min(lot.width_m, lot.depth_m) > 70:
        w.drawing.rect(lot.frame, 0, 0, lot.width_m - 10, lot.depth_m - 10, w.paints.tree[2], 0.0, w.earth())
    area = lot.width_m * lot.depth_m
    # at most 2,400 (1,500) trees per lot bound the cost; coarse canvases need fewer
    wood(w, lot, min(w.uniform(0.01, 0.03), 2400 / area) if w.drawing.finest_m < 3 else min(0.006, 1500 / area))


def bare(w: World, lot: Lot) -> None:
    """Draw a construction site or wasteland: soil, heaps, containers, sometimes a slab."""
    w.drawing.layer = 0
    w.drawing.rect(lot.frame, 0, 0, lot.width_m, lot.depth_m, w.paints.dry, 0.0, w.earth(1.4))
    for _ in range(4):
        u, v = w.rng.uniform(-0.2, 0.2, 2) * [lot.width_m, lot.depth_m]
        du, dv = w.rng.uniform(0.2, 0.5, 2) * [lot.width_m, lot.depth_m]
        w.drawing.blob(lot.frame, u, v, float(du), float(dv), w.one(w.paints.soil), w.rng.uniform(-0.08, 0.08, 4))
    n = int(w.rng.integers(3, 30))
    uv = inside(w, (0, 0, lot.width_m * 0.8, lot.depth_m * 0.8), n)
    w.drawing.boxes(lot.frame, uv, w.rng.uniform(2, 9, n), 2.5, w.pick(w.paints.container, n), 2.6)
    if w.chance(0.2):
        pave(
            w,
            lot.frame,
            0,
            0,
            lot.width_m * w.uniform(0.3, 0.6),
            lot.depth_m * w.uniform(0.3, 0.6),
            w.one(w.paints.pad),
        )


def pond(w: World, lot: Lot) -> None:
    """Draw a pond or lake."""
    w.drawing.layer = 0
    lake(w, lot)


def open_parking(w: World, lot: Lot) -> None:
    """Draw a car park without a building."""
    base(w, lot, 0.0)
    # larger car parks belong to a building
    du, dv = min(lot.width_m - 10, 140.0), min(lot.depth_m - 10, 100.0)
    room = (lot.width_m - 10 - du, lot.depth_m - 10 - dv)
    parking(w, lot.frame, w.uniform(-0.5, 0.5) * room[0], 0.5 * w.rng.choice([-1, 1]) * room[1], du, dv)


def solar_field(w: World, lot: Lot) -> None:
    """Draw ground-mounted photovoltaic rows."""
    base(w, lot, 0.0)
    panels(w, lot, (0.0, 0.0, lot.width_m - 12, lot.depth_m - 12))


def sheds(w: World, lot: Lot) -> None:
    """Build small workshops with yards full of small objects."""
    base(w, lot, 0.9)
    for u, v in grid((0, 0, lot.width_m, lot.depth_m), w.uniform(28, 60), w.uniform(26, 50), 16):
        part = (float(u), float(v), w.uniform(12, 40), w.uniform(10, 24))
        body = raise_body(w, lot.frame, [part], w.uniform(4, 9), ribbed=w.chance(0.4))
        record(w, body, "workshop")
        clutter(w, body, 3.0)
    n = int(lot.width_m * lot.depth_m / 500)
    uv = inside(w, (0, 0, lot.width_m - 8, lot.depth_m - 8), n)
    w.drawing.layer = 0
    w.drawing.boxes(
        lot.frame,
        uv,
        w.rng.uniform(1, 8, n),
        w.rng.uniform(1, 2.6, n),
        w.pick(np.concatenate([w.paints.container, w.paints.car]), n),
        1.8,
        w.rng.uniform(0, 3, n),
    )
