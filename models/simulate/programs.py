"""Programs of data-center sites: power first, then machines, then buildings.

In: an IT power in MW and a lot. Out: `Program` and where its halls stand. The cooling a site shows
follows the published equipment laws (domain notes 0 #2 and #3, 4.3; derived from Epoch's CC-BY tables):
air-cooled chiller C[kW] = 50.9 A^1.05 with A its footprint in m2, cooling-tower cell
C[kW] = 49.3 A^1.23, IT = 0.68 sum(C) x lognormal(0, 0.10). Units are added until the power is met.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.simulate.streets import Lot

CHILLER_KW_PER_M2, CHILLER_POWER = 50.9, 1.05
TOWER_KW_PER_M2, TOWER_POWER = 49.3, 1.23
IT_SHARE_OF_COOLING = 0.68
UNIT_WIDTH_M = 2.3
DENSITY_KW_PER_M2, DENSITY_LN_SD = 2.0, 0.5
"""Facility power a square metre of building (domain notes 4.1, between hyperscale and AI halls)."""
LARGEST_M2, SMALLEST_M2 = 35_000.0, 3_000.0


@dataclass(frozen=True)
class Program:
    """What is to be built: powers in MW, building areas in m2, machines and where they stand."""

    site_id: str
    kind: str
    it_mw: float
    facility_mw: float
    areas_m2: tuple[float, ...]
    machine: str
    place: str
    unit_m: tuple[float, float]
    units: int

    @property
    def unit_kw(self) -> float:
        """Capacity of one unit, kW."""
        return capacity_kw(self.machine, self.unit_m[0] * self.unit_m[1])


@dataclass(frozen=True)
class Hall:
    """One building: centre and sides in metres of the lot's frame."""

    u: float
    v: float
    du: float
    dv: float


def capacity_kw(machine: str, area_m2: float) -> float:
    """Return the cooling capacity of one unit ('chiller' or 'tower') of `area_m2`, in kW."""
    if machine == "tower":
        return float(TOWER_KW_PER_M2 * area_m2**TOWER_POWER)
    return float(CHILLER_KW_PER_M2 * area_m2**CHILLER_POWER)


def program(rng: np.random.Generator, site_id: str, it_mw: float, machine: str | None = None) -> Program:
    """Draw a program for `it_mw` MW of IT: density, buildings, machines."""
    facility_mw = it_mw * float(rng.uniform(1.25, 1.40))
    for _ in range(200):
        density = DENSITY_KW_PER_M2 * float(np.exp(rng.normal(0, DENSITY_LN_SD)))
        area = facility_mw * 1000 / density
        if SMALLEST_M2 <= area <= 3 * LARGEST_M2 * 0.95:
            break
    area = float(np.clip(area, SMALLEST_M2, 3 * LARGEST_M2 * 0.95))
    fewest, most = int(np.ceil(area / (LARGEST_M2 * 0.95))), int(min(3, area // SMALLEST_M2))
    count = int(rng.integers(fewest, max(fewest, most) + 1)) if rng.random() < 0.4 else fewest
    machine = machine or ("tower" if it_mw > 8 and rng.random() < 0.2 else "chiller")
    if machine == "tower":
        side = float(rng.uniform(4, 12)) if it_mw > 25 else float(rng.uniform(4, 7))
        unit = (side, side)
    else:
        unit = (UNIT_WIDTH_M, float(rng.uniform(6, 14) if it_mw < 50 else rng.uniform(9, 14)))
    cooling_kw = it_mw * 1000 / IT_SHARE_OF_COOLING * float(np.exp(rng.normal(0, 0.10)))
    units = max(2, round(cooling_kw / capacity_kw(machine, unit[0] * unit[1])))
    if count > 1 or it_mw > 60:
        kind = str(rng.choice(["hyperscale_hall", "ai_campus"]))
    else:
        kind = str(rng.choice(["hyperscale_hall", "colocation", "conversion"]))
    place = str(rng.choice(["roof", "yard"], p=[0.6, 0.4] if kind != "conversion" else [0.3, 0.7]))
    areas = tuple([area / count] * count)
    return Program(site_id, kind, it_mw, facility_mw, areas, machine, place, unit, units)


def arrange(rng: np.random.Generator, lot: Lot, p: Program) -> list[Hall] | None:
    """Return the halls of a program on a lot, or None where they do not fit."""
    n, area = len(p.areas_m2), p.areas_m2[0]
    yard = yard_depth_m(p) if p.place == "yard" else 6.0
    for _ in range(12):
        gap = float(rng.uniform(2 * yard + 6, 2 * yard + 14))
        du = min(lot.width_m - 16, float(np.sqrt(area * rng.uniform(1.2, 5.0))))
        dv = area / du
        if du > 20 and 25 <= dv <= 150 and n * dv + (n - 1) * gap + 2 * yard + 8 <= lot.depth_m and gap < 78:
            first = -(n - 1) / 2 * (dv + gap)
            shift_u = float(rng.uniform(-0.5, 0.5)) * (lot.width_m - 16 - du)
            slack = lot.depth_m - (n * dv + (n - 1) * gap + 2 * yard + 8)
            shift_v = float(rng.uniform(-0.5, 0.5)) * slack
            return [Hall(shift_u, first + k * (dv + gap) + shift_v, du, dv) for k in range(n)]
    return None


def yard_depth_m(p: Program) -> float:
    """Return how deep a yard beside a hall must be for the program's machines, metres."""
    return min(2 * p.unit_m[1] + 10, 26.0) if p.machine == "chiller" else p.unit_m[1] * 2 + 8
