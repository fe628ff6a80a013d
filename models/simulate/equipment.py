"""Visible equipment of a data center: banks of cooling machines, generators, substations, tanks.

In: a world, a frame and machine models from the reference table. Out: shapes, and in the truth one bank per group
of machines with the machines' rectangles, count and capacity. The power of a site follows from these banks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from overwatt.models.reference.facts import UnitModel, unit_models
from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.ground import Part
from overwatt.models.simulate.palette import World


@dataclass(frozen=True)
class Plant:
    """The machines of one site: model, paints and spacing.

    Attributes:
        model: size, fans and capacity.
        paint: paint of the machines' casing.
        fan: paint of their fans.
        deck: paint of the floor below them.
        gap_m: distance between neighbours in a row.
        aisle_m: distance between rows.
        group: machines side by side before a wider gap.
        along: whether the machines' long side lies along the row instead of across it.
    """

    model: UnitModel
    paint: int
    fan: int
    deck: int
    gap_m: float
    aisle_m: float
    group: int
    along: bool

    @property
    def cell_m(self) -> tuple[float, float]:
        """Sides of one machine along and across a row, metres."""
        long, wide = self.model.length_m, self.model.width_m
        return (long, wide) if self.along else (wide, long)


@cache
def _models(machine: str) -> tuple[UnitModel, ...]:
    return tuple(m for m in unit_models().values() if m.machine == machine)


def new_plant(w: World, machine: str, least_kw: float = 0.0) -> Plant:
    """Choose a random model of `machine` (chiller, dry_cooler, tower, air_handler) and its paints and spacing."""
    models = [m for m in _models(machine) if m.capacity_kw >= least_kw]
    model = models[int(w.rng.integers(len(models)))]
    # range of the gap between neighbours, metres; tower cells share walls, air handlers stand far apart
    tight = {"tower": (0.0, 0.6), "chiller": (0.6, 3.2), "dry_cooler": (0.3, 2.0), "air_handler": (3.0, 9.0)}[machine]
    rng = w.rng
    return Plant(
        model,
        w.one(w.paints.unit),
        w.one(w.paints.fan),
        w.one(w.paints.pad if w.chance(0.6) else w.paints.dark),
        float(rng.uniform(*tight)),
        float(rng.uniform(1.2, 7.0)),
        int(rng.integers(2, 8) if machine == "tower" else rng.integers(4, 24)),
        bool(rng.random() < (0.5 if machine == "air_handler" else 0.2)),
    )


def bank(w: World, frame: d.Frame, uv: np.ndarray, p: Plant, floor_m: float, site_id: str, outline: Part) -> None:
    """Draw machines at `uv` (n, 2) and add them to the truth as one bank.

    Args:
        w: world to draw in.
        frame: frame of the floor, as seen.
        uv: (n, 2) centres of the machines.
        p: the machines.
        floor_m: height of the floor above the ground.
        site_id: site that the bank belongs to.
        outline: rectangle u, v, du, dv of the bank, gaps included.
    """
    if len(uv) == 0:
        return
    a, b = p.cell_m
    w.drawing.layer = 1
    top = w.drawing.lifted(frame, p.model.height_m)
    w.drawing.boxes(top, uv, a, b, p.paint, floor_m + p.model.height_m)
    _faces(w, top, uv, p)
    w.things.append(
        d.Thing(
            site_id,
            "cooling_equipment",
            p.model.machine,
            top.box(*outline),
            units=len(uv),
            unit_area_m2=len(uv) * a * b,
            capacity_kw=len(uv) * p.model.capacity_kw,
            machines=_rectangles(top, uv, a, b),
        )
    )


def _rectangles(frame: d.Frame, uv: np.ndarray, du: float | np.ndarray, dv: float | np.ndarray) -> np.ndarray:
    """Return (n, 5) x, y, sides in metres and angle of machines at `uv` (n, 2), as `Thing.machines`."""
    xy = frame.world(uv)
    return np.column_stack([xy, *(np.broadcast_to(a, len(xy)) for a in (du, dv, frame.angle))])


def note_machines(
    w: World, frame: d.Frame, uv: np.ndarray, du: float | np.ndarray, dv: float | np.ndarray, kind: str
) -> None:
    """Add drawn machines that are no data center's cooling to the masks: each is a bank of its own.

    Args:
        w: world in which they were drawn.
        frame: frame of their tops, as seen.
        uv: (n, 2) centres.
        du: sides along u, metres; one for all or (n,).
        dv: sides along v, likewise.
        kind: of `MACHINE_KINDS` or a machine of the reference table.
    """
    for row in _rectangles(frame, uv, du, dv):
        box = d.Frame(row[0], row[1], row[4]).box(0, 0, row[2], row[3])
        w.plant.append(d.Thing("", "machine", kind, box, units=1, machines=row[None]))


def _faces(w: World, top: d.Frame, uv: np.ndarray, p: Plant) -> None:
    """Draw the tops of the machines: fans, coils, hoods."""
    draw, (a, b), m = w.drawing, p.cell_m, p.model
    if m.machine == "tower":
        # a tower cell has one large fan in a light ring
        fan = m.fan_diameter_m or 0.7 * m.width_m
        draw.discs(top, uv, fan + 0.7, w.near((210.0, 210.0, 208.0), 0.0))
        draw.discs(top, uv, fan, p.fan)
        draw.discs(top, uv, 0.25 * fan, p.paint)
        return
    if m.machine == "air_handler":
        side = -1.0 if w.chance(0.5) else 1.0
        shift = np.array([side * 0.36 * a, 0.0]) if a >= b else np.array([0.0, side * 0.36 * b])
        size = (0.22 * a, 0.86 * b) if a >= b else (0.86 * a, 0.22 * b)
        draw.boxes(top, uv + shift, *size, p.fan)
        if draw.finest_m < 0.8:
            draw.boxes(top, uv - 0.4 * shift, 0.35 * a, 0.35 * b, w.near((150.0, 152.0, 154.0), 0.0))
        return
    # chillers and dry coolers: fans in two rows along the machine
    rows = max(2, m.fans // 2)
    pitch = m.length_m * 0.94 / rows
    # single fans are not resolved: one patch in the mean tone of casing and fans
    if draw.finest_m >= 0.55:
        draw.boxes(top, uv, *((0.9 * a, 0.66 * b) if a >= b else (0.66 * a, 0.9 * b)), w.near(_mid(w, p), 0.0, 2.0))
        return
    along = (np.arange(rows) - (rows - 1) / 2) * pitch
    dots = np.stack(np.meshgrid([-0.25 * m.width_m, 0.25 * m.width_m], along), -1).reshape(-1, 2)
    dots = dots[:, ::-1] if p.along else dots
    at = (uv[:, None] + dots[None]).reshape(-1, 2)
    draw.discs(top, at, min(0.46 * m.width_m, 0.94 * pitch), p.fan)


def _mid(w: World, p: Plant) -> tuple[float, float, float]:
    """Return the mean colour of casing and fans; fans cover somewhat more than half of the top."""
    case, fan = np.array(w.drawing.paints[p.paint][:3]), np.array(w.drawing.paints[p.fan][:3])
    r, g, b = 0.45 * case + 0.55 * fan
    return float(r), float(g), float(b)


def fill_rows(
    w: World, frame: d.Frame, area: Part, p: Plant, floor_m: float, site_id: str, *, rows: int = 0, full: float = 1.0
) -> int:
    """Fill a rectangle with rows of machines, one bank per group; return the number of machines.

    Args:
        w: world to draw in.
        frame: frame of the floor, as seen.
        area: rectangle u, v, du, dv; rows run along u.
        p: the machines.
        floor_m: height of the floor above the ground.
        site_id: site that the banks belong to.
        rows: number of rows; 0 for as many as fit with the aisle of `p`.
        full: probability that a group exists.
    """
    u, v, du, dv = area
    a, b = p.cell_m
    fit = int((dv + p.aisle_m) // (b + p.aisle_m))
    fit = min(fit, rows) if rows else fit
    if fit < 1 or du < a:
        return 0
    pitch = b + p.aisle_m if not rows or fit == 1 else max(b + p.aisle_m, (dv - b) / max(fit - 1, 1))
    wider = max(p.gap_m, w.uniform(1.5, 7.0))
    span = p.group * (a + p.gap_m) - p.gap_m
    starts = np.arange(0.0, max(du - a, 0.01), span + wider)
    used = min(du, starts[-1] + span)
    placed = 0
    for k in range(fit):
        row = v + (k - (fit - 1) / 2) * pitch
        for start in starts:
            n = min(p.group, int((du - start + p.gap_m) // (a + p.gap_m)))
            if n < 1 or not w.chance(full):
                continue
            # an incomplete group: one or two machines not yet installed
            if w.chance(0.12):
                n = max(1, n - int(w.rng.integers(1, 3)))
            first = u - used / 2 + start
            uv = np.column_stack([first + a / 2 + np.arange(n) * (a + p.gap_m), np.full(n, row)])
            length = n * (a + p.gap_m) - p.gap_m
            # air handlers that stand apart are banks of one, so that no bank outlines bare roof
            spread = p.model.machine == "air_handler" and p.gap_m > 2.0
            for piece in [uv[i : i + 1] for i in range(n)] if spread else [uv]:
                wide = a if spread else length
                bank(w, frame, piece, p, floor_m, site_id, (float(piece[:, 0].mean()), row, wide, b))
            placed += n
    return placed


def generators(w: World, frame: d.Frame, area: Part, *, full: float = 0.9) -> int:
    """Draw a row of generator containers in groups, with tanks, stacks and pads; return their number."""
    u, v, du, dv = area
    draw = w.drawing
    draw.layer = 1
    # sizes of containerised generator sets, metres
    long, wide = min(w.uniform(8, 15), dv - 1), w.uniform(2.6, 3.8)
    if long < 5 or du < 8:
        return 0
    step = wide + w.uniform(1.2, 4.5)
    group, gap = int(w.rng.integers(1, 7)), w.uniform(0, 8)
    n = max(1, int(du // (step + gap / group)))
    k = np.arange(n)
    at = u - du / 2 + wide / 2 + k * step + (k // group) * gap
    at = at[(w.rng.random(n) < full) & (at < u + du / 2 - wide / 2)]
    n = len(at)
    if n == 0:
        return 0
    paint = w.one(w.paints.genset)
    tones = np.full(n, paint) if w.chance(0.7) else w.pick(w.paints.genset, n)
    v = v + w.uniform(-0.5, 0.5) * max(dv - long, 0)
    uv = np.column_stack([at, np.full(n, v)])
    pad = w.one(w.paints.pad)
    draw.boxes(frame, uv, wide + 1.4, long + 2.0, pad, 0.0)
    draw.boxes(draw.lifted(frame, 3.5), uv, wide, long, tones, w.uniform(3.0, 5.5))
    note_machines(w, draw.lifted(frame, 3.5), uv, wide, long, "generator")
    end = w.rng.choice([-1.0, 1.0])
    draw.boxes(draw.lifted(frame, 3.5), uv + [0, end * 0.38 * long], wide * 0.8, long * 0.16, w.one(w.paints.fan))
    draw.discs(draw.lifted(frame, 4.5), uv - [0, end * 0.25 * long], 0.9, w.one(w.paints.dark), 6.0)
    if w.chance(0.4):
        draw.boxes(frame, uv - [0, end * (0.5 * long + 1.8)], wide * 0.9, 2.2, w.one(w.paints.metal), 2.0)
    return n


def substation(w: World, frame: d.Frame, du: float, dv: float) -> None:
    """Draw a substation: gravel, transformers with radiators, bus bars, gantries, a control house."""
    if min(du, dv) < 18:
        return
    draw = w.drawing
    draw.layer = 0
    draw.rect(frame, 0, 0, du + 1.2, dv + 1.2, w.one(w.paints.dark), 0.0)
    draw.rect(frame, 0, 0, du, dv, w.paints.gravel, 0.0, w.earth(0.6))
    w.plant.append(d.Thing("", "substation", "substation", frame.box(0, 0, du, dv)))
    draw.layer = 1
    n = int(np.clip(du // w.uniform(14, 26), 1, 8))
    u = (np.arange(n) - (n - 1) / 2) * du * 0.84 / n
    row = w.uniform(-0.32, -0.1) * dv
    uv = np.column_stack([u, np.full(n, row)])
    draw.boxes(frame, uv, 7.5, 10.5, w.one(w.paints.pad), 0.0)
    draw.boxes(frame, uv, 3.4, 6.4, w.one(w.paints.metal), 4.5)
    for side in (-1, 1):
        draw.boxes(frame, uv + [side * 2.6, 0], 1.1, 5.0, w.one(w.paints.dark), 3.5)
    bars = np.arange(row + 9, dv / 2 - 3, w.uniform(4, 8))
    mast = w.one(w.paints.metal)
    draw.boxes(frame, np.column_stack([0 * bars, bars]), du - 6, 0.35, mast, 6.0)
    posts = lattice_of(du - 6, dv / 2 - row - 10, w.uniform(5, 10), w.uniform(4, 8)) + [0, (row + 9 + dv / 2) / 2]
    draw.boxes(frame, posts, 0.9, 0.9, mast, 5.0)
    draw.boxes(frame, posts[::3], 1.6, 0.8, w.one(w.paints.dark), 3.0)
    if dv > 30:
        draw.rect(frame, du * w.uniform(-0.35, 0.35), dv / 2 - 6, 12, 5, w.one(w.paints.metal), 3.5)


def lattice_of(du: float, dv: float, a: float, b: float) -> np.ndarray:
    """Return grid points (n, 2) with spacing (a, b) metres over du x dv, centred on 0."""
    n, m = max(1, int(du // a)), max(1, int(dv // b))
    x, y = (np.arange(n) - (n - 1) / 2) * a, (np.arange(m) - (m - 1) / 2) * b
    return np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def tanks(w: World, frame: d.Frame, uv: np.ndarray, diameter_m: float, height_m: float = 8.0) -> None:
    """Draw round tanks with a rim and a hatch at `uv` (n, 2)."""
    if len(uv) == 0:
        return
    draw = w.drawing
    draw.layer = 1
    top = draw.lifted(frame, height_m)
    tone = w.near((222.0, 221.0, 216.0), w.uniform(-50, 12))
    draw.discs(top, uv, diameter_m, w.near((190.0, 190.0, 186.0), w.uniform(-40, 10)), height_m)
    draw.discs(top, uv, diameter_m * 0.93, tone, height_m)
    draw.discs(top, uv + [0.1 * diameter_m, -0.1 * diameter_m], diameter_m * 0.16, w.one(w.paints.metal))
