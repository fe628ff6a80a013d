"""Builds data-center sites: halls, rows of machines, generators, substations.

In: a lot, a program and its halls. Out: shapes and true things. An outline of cooling equipment is a
*bank*, a row of units with the gaps between them: that is what can be seen at 1-2 m; the units' own
area and capacity are recorded beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from shapely import Polygon

from models.simulate import drawing as d
from models.simulate.programs import Hall, Program, yard_depth_m
from models.simulate.streets import Ground, Lot, belt, driveway, parking, pave


@dataclass(frozen=True)
class Strip:
    """A strip machines may stand on: centre, length along u, depth along v, height of its floor."""

    u: float
    v: float
    length: float
    depth: float
    floor_m: float


def build(g: Ground, lot: Lot, p: Program, halls: list[Hall]) -> None:
    """Paint the site and record its buildings and banks."""
    frame, rng = lot.frame, g.rng
    _grounds(g, lot, halls)
    height = float(rng.uniform(7, 14))
    per_hall = [p.units // len(halls) + (k < p.units % len(halls)) for k in range(len(halls))]
    banks: list[d.Thing] = []
    total = sum(p.areas_m2)
    for hall, units in zip(halls, per_hall, strict=True):
        outline = _hall(g, frame, hall, p, height)
        share = hall.du * hall.dv / total
        g.things.append(d.Thing(p.site_id, "data_center", p.kind, outline, p.it_mw * share, p.facility_mw * share))
        strips = _strips(rng, hall, p, height)
        if rng.random() < 0.4:
            _wells(g, frame, strips[: int(rng.integers(1, 4))], height)
        left = units
        for strip in strips:
            left = _fill(g, frame, strip, p, left, banks)
        if left > 0:
            for strip in _strips(rng, hall, p, height, other=True):
                left = _fill(g, frame, strip, p, left, banks)
        if p.place == "roof" and rng.random() < 0.6:
            _gensets(g, frame, hall)
    g.things.extend(banks)


def _grounds(g: Ground, lot: Lot, halls: list[Hall]) -> None:
    rng, frame = g.rng, lot.frame
    g.drawing.rect(frame, 0, 0, lot.width_m, lot.depth_m, g.paints.grass if rng.random() < 0.7 else g.paints.dry)
    belt(g, lot, 0.75)
    driveway(g, lot)
    low, high = min(h.v - h.dv / 2 for h in halls), max(h.v + h.dv / 2 for h in halls)
    left, right = halls[0].u - halls[0].du / 2, halls[0].u + halls[0].du / 2
    margin = float(rng.uniform(8, 24))
    v0, v1 = max(low - margin, -lot.depth_m / 2 + 3), min(high + margin, lot.depth_m / 2 - 3)
    u0, u1 = max(left - margin, -lot.width_m / 2 + 3), min(right + margin, lot.width_m / 2 - 3)
    paint = int(g.pick(g.paints.asphalt)) if rng.random() < 0.7 else g.paints.concrete
    pave(g, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, paint)
    for near, far in ((u1, lot.width_m / 2 - 5), (-lot.width_m / 2 + 5, u0)):
        if far - near > 22:
            if rng.random() < 0.55:
                parking(
                    g,
                    frame,
                    (near + far) / 2,
                    0,
                    far - near - 4,
                    min(lot.depth_m - 14, rng.uniform(40, 130)),
                    0.25,
                )
            elif rng.random() < 0.5:
                _substation(
                    g,
                    frame.moved((near + far) / 2, 0),
                    min(far - near - 6, 60.0),
                    min(lot.depth_m - 20, 80.0),
                )
    for near, far in ((v1, lot.depth_m / 2 - 5), (-lot.depth_m / 2 + 5, v0)):
        if far - near > 20 and rng.random() < 0.5:
            parking(
                g,
                frame,
                halls[0].u,
                (near + far) / 2,
                halls[0].du * rng.uniform(0.4, 0.9),
                far - near - 6,
                0.25,
            )


def _hall(g: Ground, frame: d.Frame, h: Hall, p: Program, height: float) -> Polygon:
    """Paint one hall: parapet, roof, sometimes a raised strip, an office front, a stepped end."""
    rng, draw = g.rng, g.drawing
    light = rng.random()
    roof = int(
        g.pick(g.paints.roof_light if light < 0.72 else g.paints.roof_mid if light < 0.95 else g.paints.roof_dark)
    )
    parts = [(h.u, h.v, h.du, h.dv)]
    if rng.random() < 0.45:
        side, w, k = rng.choice([-1, 1]), rng.uniform(8, 16), rng.uniform(0.2, 0.6)
        at = h.u + side * (h.du / 2 + w / 2 - 0.5)
        parts.append((at, h.v + rng.uniform(-0.15, 0.15) * h.dv, w, h.dv * k))
    for part in parts:
        draw.rect(frame, *part, g.paints.edge, height + 0.8)
    for u, v, du, dv in parts:
        draw.rect(frame, u, v, du - 1.6, dv - 1.6, roof, height)
    if rng.random() < 0.4:
        band = h.v + rng.choice([-1, 1]) * h.dv * rng.uniform(0.1, 0.42)
        draw.rect(
            frame,
            h.u,
            band,
            h.du * rng.uniform(0.6, 0.95),
            rng.uniform(2, 5),
            int(g.pick(g.paints.roof_mid)),
            height + 1.5,
        )
    if p.kind == "conversion":
        grid = np.stack(
            np.meshgrid(np.arange(-h.du / 2 + 8, h.du / 2 - 6, 14), np.arange(-h.dv / 2 + 8, h.dv / 2 - 6, 14)),
            -1,
        )
        draw.boxes(frame, grid.reshape(-1, 2) + np.array([h.u, h.v]), 1.4, 2.6, int(g.pick(g.paints.skylight)))
    n = int(h.du * h.dv / 1500)
    spots = rng.uniform(-0.45, 0.45, (n, 2)) * [h.du, h.dv] + [h.u, h.v]
    draw.boxes(frame, spots, rng.uniform(1.5, 4, n), rng.uniform(1.5, 3, n), g.pick(g.paints.rtu, n), height + 1.5)
    return d.outline(frame, parts)


def _strips(rng: np.random.Generator, h: Hall, p: Program, height: float, other: bool = False) -> list[Strip]:
    """Return where machines may stand, in order of use; the `other` place when the first is full."""
    deep = p.unit_m[1] if p.machine == "chiller" else p.unit_m[1] * (2 if p.units > 5 else 1)
    if (p.place == "roof") != other:
        rows = max(1, int((h.dv - 5) // (deep + rng.uniform(4, 9))))
        pitch = (h.dv - 4) / rows
        order = np.argsort(np.abs(np.arange(rows) - rng.choice([0, (rows - 1) / 2, rows - 1])))
        length = h.du * float(rng.uniform(0.7, 0.94))
        return [Strip(h.u, h.v + (k - (rows - 1) / 2) * pitch, length, deep, height) for k in order]
    off = h.dv / 2 + deep / 2 + float(rng.uniform(2.5, 5))
    sides = [-1, 1] if rng.random() < 0.5 else [1, -1]
    strips = [Strip(h.u, h.v + s * off, h.du * 0.96, deep, 0.0) for s in sides]
    if p.machine == "chiller" and off + 1.5 * deep + 3 < h.dv / 2 + yard_depth_m(p) + 4:
        strips += [Strip(h.u, h.v + s * (off + deep + 2.0), h.du * 0.96, deep, 0.0) for s in sides]
    return strips


def _fill(g: Ground, frame: d.Frame, s: Strip, p: Program, left: int, banks: list[d.Thing]) -> int:
    """Stand up to `left` units on a strip, in groups; record a bank a group; return how many are left."""
    if left <= 0:
        return 0
    rng, draw = g.rng, g.drawing
    width, length = p.unit_m
    rows = max(1, int(s.depth // length)) if p.machine == "tower" else 1
    gap = float(rng.uniform(1.2, 3.0)) if p.machine == "chiller" else 0.3
    group = int(rng.integers(6, 26)) if p.machine == "chiller" else int(rng.integers(2, 7))
    aisle = float(rng.uniform(5, 12))
    fits = int(s.length // (width + gap + aisle / group)) * rows
    take = min(left, max(fits, 0))
    if take == 0:
        return left
    columns = -(-take // rows)
    used = columns * (width + gap) + (columns // group) * aisle
    u = s.u - used / 2 if rng.random() < 0.5 else s.u - s.length / 2
    paint, fan = int(g.pick(g.paints.unit)), int(g.pick(g.paints.fan))
    placed = 0
    for first in range(0, columns, group):
        cols = min(group, columns - first)
        count = min(cols * rows, take - placed)
        span = cols * (width + gap) - gap
        cell = np.stack(np.meshgrid(np.arange(cols), np.arange(rows), indexing="ij"), -1).reshape(-1, 2)[:count]
        uv = np.column_stack(
            [u + width / 2 + cell[:, 0] * (width + gap), s.v + (cell[:, 1] - (rows - 1) / 2) * (length + gap)]
        )
        if s.floor_m == 0:
            draw.rect(
                frame,
                u + span / 2,
                s.v,
                span + 4,
                s.depth + 4,
                g.paints.gravel if rng.random() < 0.4 else g.paints.concrete,
            )
        draw.boxes(frame, uv, width, length, paint, s.floor_m + (3.0 if p.machine == "chiller" else 7.0))
        _fans(g, frame, uv, p, fan, s.floor_m)
        depth = rows * length + (rows - 1) * gap
        bank = frame.box(u + span / 2, s.v, span, depth)
        kw = count * p.unit_kw
        banks.append(
            d.Thing(
                p.site_id,
                "cooling_equipment",
                p.machine,
                bank,
                units=count,
                unit_area_m2=count * width * length,
                capacity_kw=kw,
            )
        )
        placed += count
        u += span + gap + aisle
    return left - placed


def _fans(g: Ground, frame: d.Frame, uv: np.ndarray, p: Program, fan: int, floor_m: float) -> None:
    if p.machine == "tower":
        g.drawing.discs(frame, uv, 0.72 * p.unit_m[0], fan, floor_m + 6.5)
        return
    along = np.arange(-p.unit_m[1] / 2 + 0.9, p.unit_m[1] / 2 - 0.5, 1.55)
    dots = np.stack(np.meshgrid([-0.55, 0.55], along), -1).reshape(-1, 2)
    g.drawing.boxes(frame, (uv[:, None] + dots[None]).reshape(-1, 2), 0.8, 1.0, fan)


def _wells(g: Ground, frame: d.Frame, strips: list[Strip], height: float) -> None:
    """Sunken or screened strips of another tone below the rooftop machines, some of them empty."""
    tone = int(g.pick(g.paints.roof_mid))
    for s in strips:
        if s.floor_m > 0:
            length = s.length * float(g.rng.uniform(0.6, 1.0))
            g.drawing.rect(frame, s.u, s.v, length, s.depth + 4.0, g.paints.edge, height + 1.5)
            g.drawing.rect(frame, s.u, s.v, length - 1.5, s.depth + 2.5, tone, height - 0.5)


def _gensets(g: Ground, frame: d.Frame, h: Hall) -> None:
    """A row of generator containers beside the hall: alike to chillers, but without fans and not cooling."""
    n = min(int(h.du * 0.8 // 6.5), int(g.rng.integers(4, 30)))
    side = g.rng.choice([-1, 1])
    u = h.u + (np.arange(n) - (n - 1) / 2) * float(g.rng.uniform(5.5, 6.5))
    uv = np.column_stack([u, np.full(n, h.v + side * (h.dv / 2 + 5.2))])
    g.drawing.boxes(frame, uv, 3.2, 9.0, int(g.pick(g.paints.genset)), 3.6)


def _substation(g: Ground, frame: d.Frame, du: float, dv: float) -> None:
    if min(du, dv) < 18:
        return
    g.drawing.rect(frame, 0, 0, du, dv, g.paints.gravel)
    n = int(g.rng.integers(2, 5))
    uv = np.column_stack([(np.arange(n) - (n - 1) / 2) * du / n * 0.8, np.zeros(n)])
    g.drawing.boxes(frame, uv, 5.0, 8.0, g.paints.vent, 5.0)
    bars = np.arange(-dv / 2 + 4, dv / 2 - 3, 7.0)
    g.drawing.boxes(frame, np.column_stack([np.zeros(len(bars)), bars]), du - 8, 0.5, g.paints.vent, 4.0)
