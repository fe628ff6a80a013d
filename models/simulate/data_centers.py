"""Data centers of every kind: hyperscale halls, AI campuses, colocation, tents, conversions and plain boxes.

In: a world, a lot and a site id. Out: shapes, buildings and banks of machines in the truth. The drawn equipment
determines the power: cooling capacity times `IT_SHARE_OF_COOLING` where machines are visible, otherwise floor area
times a published power density.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from overwatt.models.reference.facts import area_priors, ratio
from overwatt.models.simulate.building_parts import record
from overwatt.models.simulate.equipment import new_plant, substation
from overwatt.models.simulate.equipment_placement import Manner, hall, roof_plant, towers, yards
from overwatt.models.simulate.ground import Part
from overwatt.models.simulate.lookalikes import litter
from overwatt.models.simulate.palette import Rgb, World
from overwatt.models.simulate.streets import Lot, belt, driveway, parking, pave

IT_SHARE_OF_COOLING = 0.68
"""IT power per kW of cooling capacity of simulated sites; own choice. The estimate has its own: ratio `derate_net`."""


def new_manner(w: World, kind: str) -> Manner:
    """Draw the design of a site of `kind`: roof layout, machines, generators, height."""
    rng = w.rng
    # roof layouts per kind; a repeated name is a weight
    roof = {
        "hyperscale_hall": ["rows", "rows", "wells", "none", "half", "bars"],
        "ai_campus": ["none", "none", "rows", "wells"],
        "colocation": ["dense", "dense", "half", "half", "wells", "rows"],
        "tent": ["none"],
        "conversion": ["patch", "patch", "half", "none"],
        "air_handler_halls": ["spread"],
        "penthouse_rows": ["bars"],
        "evaporative_hall": ["none", "bars"],
        "no_plant": ["none"],
    }[kind]
    choice = str(rng.choice(roof))
    machine = str(rng.choice(["chiller", "chiller", "chiller", "dry_cooler", "tower"]))
    if kind == "air_handler_halls":
        machine = "air_handler"
    elif kind == "evaporative_hall":
        machine = "tower"
    elif kind in ("tent", "ai_campus", "hyperscale_hall", "penthouse_rows") and machine == "tower":
        machine = "chiller"
    # a site without machines on its roofs has them on the ground, unless its kind hides them
    grounded = choice == "none" or (kind in ("hyperscale_hall", "conversion") and w.chance(0.25))
    ground = 0 if kind in ("no_plant", "evaporative_hall") or not grounded else int(rng.integers(1, 3))
    tall = {"colocation": (9.0, 36.0), "tent": (5.0, 9.0), "conversion": (6.0, 20.0)}.get(kind, (7.0, 16.0))
    return Manner(
        kind,
        new_plant(w, machine, 900.0 if kind == "ai_campus" and machine == "chiller" else 0.0),
        choice,
        int(rng.integers(2, 6)) if w.chance(0.7) else 0,
        float(rng.uniform(0.55, 0.97)),
        ground,
        0 if kind == "no_plant" else int(rng.choice([0, 1, 2], p=[0.25, 0.5, 0.25])),
        float(rng.uniform(*tall)),
        float(rng.gamma(1.6, 1.6)),
    )


def build_center(w: World, lot: Lot, site_id: str, kind: str) -> bool:
    """Build a data center of `kind` on a lot; return False and draw nothing if it does not fit."""
    halls = _arrange(w, lot, kind)
    if not halls:
        return False
    manner = new_manner(w, kind)
    first = len(w.things)
    frame = lot.frame
    _grounds(w, lot, halls)
    first_side = 1 if w.chance(0.5) else -1
    like: Rgb | None = None
    same_roof = w.chance(0.8)
    for k, part in enumerate(halls):
        body = hall(w, frame, part, manner, like)
        like = body.rgb if same_roof else None
        record(w, body, kind, "data_center", site_id)
        area = body.main
        roof_plant(w, body, area, manner, site_id)
        sides = (first_side, -first_side) if len(halls) == 1 or k % 2 else (-first_side, first_side)
        yards(w, frame, part, manner, site_id, {s: _room_m(lot, halls, part, s) for s in sides})
    if (
        manner.plant.model.machine == "tower"
        and (kind == "evaporative_hall" or manner.roof == "none")
        and kind != "no_plant"
    ):
        towers(w, frame, halls, manner, site_id, lot.depth_m)
    settle(w, first, site_id)
    return True


def _arrange(w: World, lot: Lot, kind: str) -> list[Part]:
    """Return the halls of `kind` on a lot as rectangles u, v, du, dv; an empty list if the lot is too small."""
    # 9 m to each boundary stay free for a drive and trees
    wide, deep = lot.width_m - 18, lot.depth_m - 18
    if kind in ("colocation", "conversion", "no_plant"):
        if min(wide, deep) < 26:
            return []
        du = min(wide, w.uniform(36, 110) if kind == "colocation" else w.uniform(55, 230))
        dv = min(deep * 0.9, float(np.clip(du * w.uniform(0.4, 1.15), 28, 125)))
        return [(w.uniform(-0.5, 0.5) * (wide - du), w.uniform(-0.5, 0.5) * (deep - dv), du, dv)]
    least = 60.0 if kind in ("tent", "penthouse_rows", "evaporative_hall") else 75.0
    if wide < least or deep < 52:
        return []
    du = min(wide, w.uniform(least, 170) if kind == "tent" else w.uniform(100, 310))
    dv = w.uniform(24, 42) if kind == "tent" else float(np.clip(w.uniform(0.2, 0.7) * du, 32, 125))
    dv = min(dv, deep - 14)
    gap = w.uniform(20, 64) if kind != "tent" else w.uniform(12, 30)
    most = {"ai_campus": 6, "tent": 6, "air_handler_halls": 3}.get(kind, 4)
    n = int(np.clip((deep + gap) // (dv + gap), 1, most))
    if n > 1 and kind != "ai_campus" and w.chance(0.45):
        n = int(w.rng.integers(1, n + 1))
    columns = 2 if wide > 2 * du + 40 and w.chance(0.7) else 1
    slack = w.uniform(-0.5, 0.5) * max(deep - n * dv - (n - 1) * gap, 0)
    split = w.uniform(18, 40)
    parts = []
    for c in range(columns):
        u = (c - (columns - 1) / 2) * (du + split) + (w.uniform(-0.5, 0.5) * (wide - du) if columns == 1 else 0.0)
        parts += [(u, (k - (n - 1) / 2) * (dv + gap) + slack, du, dv) for k in range(n)]
    return parts


def _room_m(lot: Lot, halls: list[Part], part: Part, side: int) -> float:
    """Return the free depth of a yard on one long side of a hall: to the lot's edge or half way to the next hall."""
    u, v, du, dv = part
    edge = v + side * dv / 2
    neighbours = [h for h in halls if h is not part and abs(h[0] - u) < (h[2] + du) / 2 and (h[1] - v) * side > 0]
    between = min((abs(h[1] - side * h[3] / 2 - edge) / 2 for h in neighbours), default=np.inf)
    # deeper yards than 34 m are not used for equipment
    return float(np.clip(min(between, lot.depth_m / 2 - side * edge) - 1, 0, 34))


def _grounds(w: World, lot: Lot, halls: list[Part]) -> None:
    """Draw ground, drives, paving, parking and a substation around the halls."""
    frame, draw, rng = lot.frame, w.drawing, w.rng
    draw.layer = 0
    ground = w.one(w.paints.soil) if w.chance(0.25) else w.paints.grass if w.chance(0.65) else w.paints.dry
    draw.rect(frame, 0, 0, lot.width_m, lot.depth_m, ground, 0.0, w.earth())
    belt(w, lot, w.uniform(0, 0.8))
    driveway(w, lot)
    low, high = min(h[1] - h[3] / 2 for h in halls), max(h[1] + h[3] / 2 for h in halls)
    left, right = min(h[0] - h[2] / 2 for h in halls), max(h[0] + h[2] / 2 for h in halls)
    margin = w.uniform(6, 34)
    u0, u1 = max(left - margin, -lot.width_m / 2 + 2), min(right + margin, lot.width_m / 2 - 2)
    v0, v1 = max(low - margin, -lot.depth_m / 2 + 2), min(high + margin, lot.depth_m / 2 - 2)
    paint = w.one(w.paints.asphalt) if w.chance(0.55) else w.one(w.paints.pad)
    pave(w, frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, paint)
    draw.rect(frame, (u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0, paint, 0.0, w.earth(0.7))
    if w.chance(0.6):
        litter(w, frame, ((u0 + u1) / 2, (v0 + v1) / 2, u1 - u0 - 3, v1 - v0 - 3))
    for near, far in ((u1, lot.width_m / 2 - 3), (-lot.width_m / 2 + 3, u0)):
        if far - near < 18:
            continue
        middle, dv = (near + far) / 2, min(lot.depth_m - 10, w.uniform(40, 140))
        v = w.uniform(-0.5, 0.5) * (lot.depth_m - 8 - dv)
        if w.chance(0.5):
            parking(w, frame, middle, v, far - near - 4, dv, float(rng.beta(1.3, 2.5)))
        elif w.chance(0.75):
            substation(
                w,
                frame.moved(middle, v, w.rng.choice([0, np.pi / 2])),
                min(far - near - 6, 90),
                min(far - near - 6, 80),
            )
    for near, far in ((v1, lot.depth_m / 2 - 3), (-lot.depth_m / 2 + 3, v0)):
        if far - near > 18 and w.chance(0.45):
            parking(
                w,
                frame,
                w.uniform(-0.2, 0.2) * lot.width_m,
                (near + far) / 2,
                lot.width_m * w.uniform(0.3, 0.8),
                far - near - 5,
                float(rng.beta(1.3, 2.5)),
            )


def settle(w: World, first: int, site_id: str) -> None:
    """Set the power of each building of a site from the banks' cooling capacity, or from floor area without banks."""
    mine = [i for i in range(first, len(w.things)) if w.things[i].site_id == site_id]
    kw = sum(w.things[i].capacity_kw for i in mine)
    buildings = [i for i in mine if w.things[i].category == "data_center"]
    area = sum(w.things[i].outline.area for i in buildings)
    # facility / IT is log-normal above 1: no site uses less than its IT power
    law = ratio("facility_per_it")
    facility_per_it = 1 + (law.median - 1) * float(np.exp(w.rng.normal(0, law.ln_sd)))
    prior = area_priors()["legacy"]
    # without machines: facility power by the density of older sites, divided by facility / IT
    it_mw = kw * IT_SHARE_OF_COOLING / 1000 if kw else area * prior.kw_per_m2 / 1000 / facility_per_it
    for i in buildings:
        # buildings share the site's power by roof area
        share = w.things[i].outline.area / area * it_mw
        w.things[i] = replace(w.things[i], it_mw=share, facility_mw=share * facility_per_it)


CENTER_KINDS = {
    "hyperscale_hall": 3.0,
    "air_handler_halls": 2.2,
    "colocation": 2.4,
    "ai_campus": 1.0,
    "penthouse_rows": 0.9,
    "evaporative_hall": 1.0,
    "conversion": 1.1,
    "tent": 0.5,
    "no_plant": 0.75,
}
"""Kinds of data centers and their weights in the random choice (own choice)."""
