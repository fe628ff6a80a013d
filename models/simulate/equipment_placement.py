"""Where a data center's equipment stands: on roofs, in yards next to the halls, in blocks of cooling towers.

In: a world, a hall and the site's design (`Manner`). Out: shapes and banks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.building_parts import (
    Body,
    clutter,
    inside,
    penthouse,
    photovoltaics,
    raise_body,
    rooftop_units,
    screen,
)
from overwatt.models.simulate.equipment import Plant, fill_rows, generators, tanks
from overwatt.models.simulate.ground import Part
from overwatt.models.simulate.palette import Rgb, World


@dataclass(frozen=True)
class Manner:
    """Design of one site, the same for all its halls.

    Attributes:
        kind: kind of data center, of `data_centers.CENTER_KINDS`.
        plant: the cooling machines.
        roof: layout on the roof: rows, dense, half, patch, wells, spread, bars or none.
        rows: rows of machines on a roof of layout rows; 0 for as many as fit.
        cover: share of the roof's length that rows cover.
        ground: chillers on the ground on 0, 1 or 2 long sides.
        generators: generators on 0, 1 or 2 long sides.
        height_m: height of the halls.
        busy: density of small rooftop objects, relative.
    """

    kind: str
    plant: Plant
    roof: str
    rows: int
    cover: float
    ground: int
    generators: int
    height_m: float
    busy: float


def hall(w: World, frame: d.Frame, part: Part, m: Manner, like: Rgb | None) -> Body:
    """Draw one hall with its annexes and return it; its roof has the colour `like`, or a random one if None."""
    u, v, du, dv = part
    parts = [part]
    if (m.kind in ("conversion", "colocation") and w.chance(0.6)) or w.chance(0.35):
        side, wide, share = w.rng.choice([-1.0, 1.0]), w.uniform(6, 22), w.uniform(0.2, 0.8)
        parts.append((u + side * (du / 2 + wide / 2 - 0.5), v + w.uniform(-0.15, 0.15) * dv, wide, dv * share))
    if m.kind == "conversion" and w.chance(0.5):
        deep = w.uniform(8, 24)
        parts.append(
            (u + w.uniform(-0.25, 0.25) * du, v + w.rng.choice([-1.0, 1.0]) * (dv / 2 + deep / 2 - 0.5), du * 0.4, deep)
        )
    body = raise_body(
        w,
        frame,
        parts,
        m.height_m,
        strength=0.4 if m.kind == "tent" else 1.0,
        ribbed=m.kind == "tent" and w.chance(0.6),
        like=like,
    )
    if m.kind == "tent":
        w.drawing.rect(body.frame, u, v, du - 2, dv * 0.12, w.near(body.rgb, 14.0), m.height_m + 1.5)
    return body


def roof_plant(w: World, body: Body, part: Part, m: Manner, site_id: str) -> None:
    """Draw the machines that the design puts on a roof, and small objects between them."""
    u, v, du, dv = part
    if m.kind in ("tent",):
        return
    deck = w.near(body.rgb, w.uniform(-70, 10))
    top, height = body.frame, body.height_m
    rooms = _roof_areas(w, part, m)
    for area in rooms:
        style = m.roof
        if style in ("dense", "half", "patch", "wells"):
            w.drawing.rect(top, *area, deck, height)
            if w.chance(0.6) or style == "wells":
                screen(w, body, area, w.uniform(1.5, 4.5))
        raised = w.uniform(0.6, 2.0) if style in ("dense", "half") else 0.0
        floor = w.drawing.lifted(top, raised)
        if style == "bars":
            _bar(w, body, area, m, site_id)
        elif style != "none":
            rows = m.rows if style == "rows" else 1 if style == "wells" else 0
            plant = m.plant
            if style == "spread":
                plant = replace(plant, group=99, aisle_m=max(plant.aisle_m, w.uniform(5, 16)))
            inner = (area[0], area[1], area[2] - 2.0, area[3] - 1.6)
            fill_rows(w, floor, inner, plant, height + raised, site_id, rows=rows, full=0.93)
    if m.roof in ("none", "patch") and m.kind != "tent":
        if w.chance(0.35):
            penthouse(
                w,
                body,
                u + w.uniform(-0.2, 0.2) * du,
                v,
                du * w.uniform(0.1, 0.4),
                dv * w.uniform(0.08, 0.3),
                w.uniform(2, 5),
            )
        if w.chance(0.1):
            photovoltaics(w, body, part, w.uniform(0.2, 0.8))
    if m.roof in ("rows", "half", "patch", "none") and w.chance(0.6):
        rooftop_units(w, body, inside(w, part, int(w.rng.poisson(min(m.busy * du * dv / 3000, 30)))), (1.5, 5.0))
    clutter(w, body, 2.5 * m.busy)


def _roof_areas(w: World, part: Part, m: Manner) -> list[Part]:
    """Return the rectangles of a roof that hold machines in the site's roof layout."""
    u, v, du, dv = part
    if m.roof in ("rows", "spread"):
        return [(u, v, (du - 6) * (m.cover if m.roof == "rows" else 0.97), dv - 6)]
    if m.roof == "dense":
        return [(u, v, (du - 5) * w.uniform(0.8, 1), (dv - 5) * w.uniform(0.75, 1))]
    if m.roof == "half":
        share, side = w.uniform(0.3, 0.65), w.rng.choice([-1.0, 1.0])
        if w.chance(0.5):
            return [(u + side * (1 - share) * (du - 5) / 2, v, share * (du - 5), (dv - 5) * w.uniform(0.8, 1))]
        return [(u, v + side * (1 - share) * (dv - 5) / 2, (du - 5) * w.uniform(0.8, 1), share * (dv - 5))]
    if m.roof == "patch":
        n = int(w.rng.integers(1, 4))
        size = np.column_stack([w.rng.uniform(0.12, 0.4, n) * du, w.rng.uniform(0.15, 0.4, n) * dv])
        at = w.rng.uniform(-0.5, 0.5, (n, 2)) * (np.array([du, dv]) - 4 - size)
        # only the first patch is used; dropping the other draws would change every released seed
        return [(u + a[0], v + a[1], s[0], s[1]) for a, s in zip(at[:1], size[:1], strict=True)]
    if m.roof in ("wells", "bars"):
        across = m.plant.cell_m[1] + w.uniform(2.5, 6)
        n = max(1, int((dv - 4) // (across + w.uniform(4, 16))))
        n = min(n, 5)
        pitch = (dv - 3) / n
        length = (du - 8) * m.cover
        return [(u, v + (k - (n - 1) / 2) * pitch, length, min(across, pitch - 1)) for k in range(n)]
    return []


def _bar(w: World, body: Body, area: Part, m: Manner, site_id: str) -> None:
    """Draw a penthouse along a roof, with louvres; machines stand on top of it or are hidden inside."""
    u, v, du, dv = area
    tall = w.uniform(2.5, 5.5)
    top = penthouse(w, body, u, v, du, dv, tall)
    if w.drawing.finest_m < 1.6:
        step = w.uniform(3, 9)
        at = np.arange(u - du / 2 + 2, u + du / 2 - 2, step)
        for side in (-1, 1):
            w.drawing.boxes(
                body.frame,
                np.column_stack([at, np.full(len(at), v + side * (dv / 2 + 0.5))]),
                step * 0.6,
                0.9,
                w.paints.vent,
                body.height_m + 1,
            )
    # on the other bars the machines are inside and not countable, as on real roofs
    if m.cover > 0.75:
        fill_rows(w, top.frame, (u, v, du - 2, dv - 1), m.plant, top.height_m, site_id, rows=1, full=0.9)


def yards(w: World, frame: d.Frame, part: Part, m: Manner, site_id: str, rooms: dict[int, float]) -> None:
    """Draw chillers and generators on the ground along the long sides of a hall.

    Args:
        w: world to draw in.
        frame: frame of the lot.
        part: the hall, u, v, du, dv.
        m: design of the site.
        site_id: site that the banks belong to.
        rooms: side (-1 or 1) -> free depth in metres, the preferred side first.
    """
    u, v, du, dv = part
    gensets = list(rooms)[: m.generators]
    machine_depth = m.plant.cell_m[1]
    for k, (s, depth) in enumerate(rooms.items()):
        used = w.uniform(1.5, 4.0)
        if m.ground and m.plant.model.machine != "tower" and (k == 0 or m.ground == 2):
            # a second row only if the yard is deep enough for both and the aisle
            rows = 2 if depth > used + 2 * machine_depth + m.plant.aisle_m + 1 and w.chance(0.5) else 1
            band = rows * machine_depth + (rows - 1) * m.plant.aisle_m + 1.0
            if depth > used + band:
                centre = v + s * (dv / 2 + used + band / 2)
                w.drawing.layer = 0
                w.drawing.rect(frame, u, centre, du * 0.97, band + 2, m.plant.deck, 0.0, w.earth(0.5))
                fill_rows(w, frame, (u, centre, du * 0.96, band), m.plant, 0.0, site_id, full=0.95)
                if w.chance(0.4):
                    # `screen` takes a building: a flat one of height 0 stands for the yard
                    ground = Body(frame, 0.0, ((u, centre, du, band),), (150.0, 150.0, 150.0))
                    screen(w, ground, (u, centre, du * 0.98, band + 3), w.uniform(3, 6))
                used += band + w.uniform(2, 5)
        room = depth - used
        if s in gensets and room > 7:
            yard = min(room, 17.0)
            length = du * w.uniform(0.5, 0.98)
            centre = v + s * (dv / 2 + used + yard / 2)
            if w.chance(0.6):
                w.drawing.layer = 0
                w.drawing.rect(frame, u, centre, length + 4, yard + 1, w.one(w.paints.pad), 0.0, w.earth(0.6))
            generators(w, frame, (u + w.uniform(-0.5, 0.5) * (du - length), centre, length, yard))
        elif room > 4 and m.kind != "no_plant":
            _odds(w, frame, (u, v + s * (dv / 2 + used + min(room, 12) / 2), du * 0.96, min(room, 12) - 1))


def _odds(w: World, frame: d.Frame, area: Part) -> None:
    """Draw small yard objects: cabinets, transformers, pipes, containers, parked vans."""
    if w.drawing.finest_m > 1.2:
        return
    n = int(w.rng.poisson(area[2] / w.uniform(6, 30)))
    uv = inside(w, area, n, 0.5)
    w.drawing.layer = 0
    tones = w.pick(
        np.concatenate([w.paints.metal, w.paints.genset, w.paints.dark, w.paints.container, w.paints.car]), n
    )
    w.drawing.boxes(frame, uv, w.rng.gamma(2.0, 1.1, n) + 0.6, w.rng.gamma(2.0, 0.7, n) + 0.6, tones, w.uniform(1, 3))
    if w.chance(0.5):
        w.drawing.rect(
            frame,
            area[0],
            area[1] + w.uniform(-0.4, 0.4) * area[3],
            area[2] * w.uniform(0.2, 0.9),
            0.7,
            w.one(w.paints.metal),
            3.0,
        )


def towers(w: World, frame: d.Frame, halls: list[Part], m: Manner, site_id: str, depth_m: float) -> None:
    """Draw a block of cooling-tower cells next to a hall, sometimes with tanks; nothing if the lot is too small."""
    u, v, du, dv = halls[int(w.rng.integers(len(halls)))]
    a, b = m.plant.cell_m
    rows = int(w.rng.integers(1, 3))
    n = int(np.clip(du * w.uniform(0.2, 0.9) // (a + 0.5), 2, 14))
    side = w.rng.choice([-1.0, 1.0])
    deep = rows * (b + m.plant.aisle_m)
    centre = v + side * (dv / 2 + deep / 2 + w.uniform(3, 9))
    if abs(centre) + deep / 2 > depth_m / 2 + 10:
        centre = 2 * v - centre  # try the other side of the hall
    if abs(centre) + deep / 2 > depth_m / 2 + 10:
        return
    w.drawing.layer = 0
    w.drawing.rect(frame, u, centre, n * (a + 0.6) + 6, deep + 4, w.one(w.paints.pad), 0.0, w.earth(0.5))
    fill_rows(w, frame, (u, centre, n * (a + m.plant.gap_m) + 3, deep), m.plant, 0.0, site_id, rows=rows)
    if w.chance(0.5):
        k = int(w.rng.integers(1, 4))
        at = np.column_stack([u + n * a / 2 + 12 + np.arange(k) * 11, np.full(k, centre)])
        tanks(w, frame, at, w.uniform(6, 10))
