"""Capacity of one machine from what an image can show: plan area, fans, fan diameter, height, motor.

In: the fitted power laws ln kW = b0 + sum b_k ln x_k of models/reference/equipment_laws.csv, with the covariance of b.
Out: `unit_capacity`, which takes the law with the smallest spread among those whose inputs are known, and `cap_mw`, the
upper limit that a substation or turbines set. `fit_equipment` makes the table. Formulas and constants:
docs/methods.md, section 4.3.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from overwatt.aoi.errors import ConfigError, nearest

MACHINES = ("air_chiller", "water_chiller", "tower_cell", "dry_cooler", "generator")
LARGE_M2 = 10
"""Air-cooled chillers of this plan area or more, about 400 kW, as data centers have, follow a law of their own."""
# possible sizes of one unit; other values are input errors (own choice, wide)
_LIMITS = {"area_m2": (0.1, 1000.0), "fans": (1, 200), "fan_diameter_m": (0.2, 20.0), "height_m": (0.3, 60.0),
           "motor_hp": (0.1, 2000.0)}  # fmt: skip
_SUBSTATION = (0.85, 0.45)  # MW per MVA (power factor and loading) and ln-sd; docs/methods.md 4.3, recalled
_TURBINES = (1.0, 0.20)  # MW per MW of nameplate, and ln-sd; docs/methods.md 4.3, own choice


@dataclass(frozen=True)
class Law:
    """One fitted law.

    Attributes:
        law: name.
        machine: one of `MACHINES`.
        inputs: names of x_k.
        coefficients: b0, b1, ... for kW.
        covariance: of the coefficients, row-major.
        within: ln-sd of units of one manufacturer about its mean.
        between: ln-sd of manufacturers' means.
        makers: number of manufacturers.
        n: rows of the table that it was fitted to.
    """

    law: str
    machine: str
    inputs: tuple[str, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[float, ...]
    within: float
    between: float
    makers: int
    n: int

    def predict(self, values: Mapping[str, float]) -> tuple[float, float]:
        """Return ln kW, and the ln-sd for a unit whose manufacturer may be absent from the table."""
        x = np.array([1.0, *(math.log(values[k]) for k in self.inputs)])
        # variance of the next unit: within and between manufacturers, plus that of the fitted mean, x' Cov x
        leverage = float(x @ np.reshape(self.covariance, (len(x), len(x))) @ x)
        ln_sd = math.sqrt(self.within**2 + self.between**2 + leverage)
        return float(x @ np.array(self.coefficients)), ln_sd


@dataclass(frozen=True)
class Capacity:
    """Capacity of one unit.

    Attributes:
        kw: median; cooling, or electric for a generator.
        ln_sd: its spread.
        law: name of the law.
        words: what it rests on, for the report.
    """

    kw: float
    ln_sd: float
    law: str
    words: str


@cache
def laws() -> Mapping[str, Law]:
    """Return the laws of models/reference/equipment_laws.csv by name."""
    text = (files("overwatt.models.reference") / "equipment_laws.csv").read_text(encoding="utf-8")
    out = {}
    for r in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        coefficients, covariance = (tuple(float(v) for v in r[k].split()) for k in ("coefficients", "covariance"))
        out[r["law"]] = Law(
            r["law"], r["machine"], tuple(r["inputs"].split()), coefficients, covariance,
            float(r["within"]), float(r["between"]), int(r["makers"]), int(r["n"]),
        )  # fmt: skip
    return out


def unit_capacity(
    machine: str,
    *,
    area_m2: float | None = None,
    fans: float | None = None,
    fan_diameter_m: float | None = None,
    height_m: float | None = None,
    motor_hp: float | None = None,
) -> Capacity | None:
    """Return the capacity of one unit from its sizes; None if no law has its inputs (see `counted_units`).

    Args:
        machine: one of `MACHINES`.
        area_m2: plan area of the unit.
        fans: number of fans of the unit.
        fan_diameter_m: diameter of one fan.
        height_m: height of the casing.
        motor_hp: power of the fan motor, horsepower.

    Raises:
        ConfigError: the machine is unknown, or a size is out of range.
    """
    if machine not in MACHINES:
        raise ConfigError(f"machine: '{machine}' is unknown; {nearest(machine, MACHINES)}")
    given = {"area_m2": area_m2, "fans": fans, "fan_diameter_m": fan_diameter_m, "height_m": height_m,
             "motor_hp": motor_hp}  # fmt: skip
    values = {k: _checked(machine, k, float(v)) for k, v in given.items() if v is not None}
    found = best(laws().values(), machine, values)
    if found is None:
        return None
    ln_kw, ln_sd = found.predict(values)
    sizes = ", ".join(f"{k} {values[k]:g}" for k in found.inputs)
    return Capacity(math.exp(ln_kw), ln_sd, found.law, f"{machine} of {sizes}")


def best(candidates: Iterable[Law], machine: str, values: Mapping[str, float]) -> Law | None:
    """Return the law with the smallest ln-sd among those of a machine whose inputs are given; None without any."""
    usable = [
        law
        for law in candidates
        if law.machine == machine
        and all(k in values for k in law.inputs)
        and (law.law != "air_large_area" or values["area_m2"] >= LARGE_M2)
        and (law.law != "air_area" or values["area_m2"] < LARGE_M2)
    ]
    return min(usable, key=lambda law: (law.predict(values)[1], law.law), default=None)


def either_way(ln_sd: float) -> str:
    """Return a spread as text: the factor either way that holds 80% of the cases."""
    # 1.2816: 90% quantile of a standard normal
    return f"a factor {math.exp(1.2816 * ln_sd):.1f} either way at 80%"


def cap_mw(*, substation_mva: float | None = None, turbines_mw: float | None = None) -> tuple[float, float, str]:
    """Return an upper limit of facility power: MW, ln-sd, wording for the report.

    An installed limit is a cap and no estimate: docs/methods.md, section 4.3.

    Raises:
        ValueError: neither is given (an error of the caller, not of the user).
    """
    if substation_mva is not None:
        factor, ln_sd = _SUBSTATION
        return substation_mva * factor, ln_sd, f"a substation of {substation_mva:g} MVA caps it ({either_way(ln_sd)})"
    if turbines_mw is not None:
        factor, ln_sd = _TURBINES
        return turbines_mw * factor, ln_sd, f"own generation of {turbines_mw:g} MW caps it ({either_way(ln_sd)})"
    raise ValueError("a cap needs substation_mva or turbines_mw")


def _checked(machine: str, name: str, value: float) -> float:
    low, high = _LIMITS[name]
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(
            f"{machine}: {name} {value:g} is out of range; give a value from {low:g} to {high:g} for one unit"
        )
    return value
