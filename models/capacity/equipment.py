"""Capacity of one machine from what can be measured of it: plan area, fans, fan diameter, height, motor.

In: Epoch AI's tables of chillers and cooling towers (epoch.ai/data, CC-BY 4.0). Out: power laws
ln kW = b0 + Σ b_k ln x_k with the covariance of b, in models/reference/equipment_laws.csv, by
`python -m models.capacity.equipment --data DIR`; and `unit_capacity`, which takes the narrowest law whose inputs
are known.

Fit: Huber's M-estimate (k = 1.345), as single catalogue rows are far out; a manufacturer of n rows has the
weight of sqrt(n), as its rows share its habits. Spread of the next unit, of a manufacturer that may not be
in the table: within manufacturers (80% quantile of absolute residuals over 1.2816), between them (variance
of their means, each counted for 0.45 at most, drawn towards 0.15² with the weight of four manufacturers:
scaled inverse chi-squared, as a law may rest on two), and the leverage from the covariance. Measured by
`python -m benchmarks.power`.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.reference import facts

MACHINES = ("air_chiller", "water_chiller", "tower_cell", "dry_cooler", "generator")
LARGE_M2 = 10
"""Air-cooled chillers from this plan area on have a law of their own: about 400 kW, as data centers have."""
_SPECS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "air_large_area": ("air_chiller", ("area_m2",)),
    "air_area": ("air_chiller", ("area_m2",)),
    "air_fans": ("air_chiller", ("fans",)),
    "water_area": ("water_chiller", ("area_m2",)),
    "tower_area_motor_height": ("tower_cell", ("area_m2", "motor_hp", "height_m")),
    "tower_area_motor": ("tower_cell", ("area_m2", "motor_hp")),
    "tower_area_height": ("tower_cell", ("area_m2", "height_m")),
    "tower_area": ("tower_cell", ("area_m2",)),
    "tower_fan_diameter": ("tower_cell", ("fan_diameter_m",)),
}
_LIMITS = {"area_m2": (0.1, 1000.0), "fans": (1, 200), "fan_diameter_m": (0.2, 20.0), "height_m": (0.3, 60.0),
           "motor_hp": (0.1, 2000.0)}  # fmt: skip
_BETWEEN, _PRIOR_MAKERS = 0.15, 4.0  # spread of nine makers' means of chillers of 500 kW and more; own choice of weight
_SUBSTATION = (0.85, 0.45)  # power factor and loading of what the transformers can carry; ln-sd (docs/methods.md 4.3)
_TURBINES = (1.0, 0.20)  # nameplate; own choice


@dataclass(frozen=True)
class Law:
    """One fitted law.

    Attributes:
        law: name.
        machine: one of `MACHINES`.
        inputs: names of x_k.
        coefficients: b0, b1, ...; kW.
        covariance: of the coefficients, rows one after the other.
        within: ln-sd of units of one manufacturer about its mean.
        between: ln-sd of manufacturers' means.
        makers: number of manufacturers.
        n: rows.
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
        """Return ln kW and the ln-sd of a unit of a manufacturer that the table may not have."""
        x = np.array([1.0, *(math.log(values[k]) for k in self.inputs)])
        leverage = float(x @ np.reshape(self.covariance, (len(x), len(x))) @ x)
        ln_sd = math.sqrt(self.within**2 + self.between**2 + leverage)
        return float(x @ np.array(self.coefficients)), ln_sd


@dataclass(frozen=True)
class Capacity:
    """Of one unit: median kW (cooling; electric for a generator), ln-sd, name of the law, words."""

    kw: float
    ln_sd: float
    law: str
    words: str


@cache
def laws() -> Mapping[str, Law]:
    """Return the fitted laws by name."""
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
) -> Capacity:
    """Return the capacity of one unit from what is known of it.

    Args:
        machine: one of `MACHINES`.
        area_m2: plan area.
        fans: number of fans.
        fan_diameter_m: of one fan.
        height_m: of the casing.
        motor_hp: fan motor, horsepower.

    Raises:
        ConfigError: the machine is unknown, or a size is impossible.
    """
    if machine not in MACHINES:
        raise ConfigError(f"machine: '{machine}' is not known; {nearest(machine, MACHINES)}")
    given = {"area_m2": area_m2, "fans": fans, "fan_diameter_m": fan_diameter_m, "height_m": height_m,
             "motor_hp": motor_hp}  # fmt: skip
    values = {k: _checked(machine, k, float(v)) for k, v in given.items() if v is not None}
    found = best(laws().values(), machine, values)
    if found is None:
        return _unmeasured(machine)
    ln_kw, ln_sd = found.predict(values)
    sizes = ", ".join(f"{k} {values[k]:g}" for k in found.inputs)
    return Capacity(math.exp(ln_kw), ln_sd, found.law, f"{machine} of {sizes}")


def best(candidates: Iterable[Law], machine: str, values: Mapping[str, float]) -> Law | None:
    """Return the narrowest law of a machine whose inputs are given, None where there is none."""
    usable = [
        law
        for law in candidates
        if law.machine == machine
        and all(k in values for k in law.inputs)
        and (law.law != "air_large_area" or values["area_m2"] >= LARGE_M2)
        and (law.law != "air_area" or values["area_m2"] < LARGE_M2)
    ]
    return min(usable, key=lambda law: (law.predict(values)[1], law.law), default=None)


def cap_mw(*, substation_mva: float | None = None, turbines_mw: float | None = None) -> tuple[float, float, str]:
    """Return an upper limit of facility power: MW, ln-sd, words.

    Raises:
        ValueError: neither is given (a bug, not user input).
    """
    if substation_mva is not None:
        factor, ln_sd = _SUBSTATION
        return substation_mva * factor, ln_sd, f"a substation of {substation_mva:g} MVA caps it (ln-sd {ln_sd:.2f})"
    if turbines_mw is not None:
        factor, ln_sd = _TURBINES
        return turbines_mw * factor, ln_sd, f"own generation of {turbines_mw:g} MW caps it (ln-sd {ln_sd:.2f})"
    raise ValueError("a cap needs substation_mva or turbines_mw")


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return chillers and towers with columns maker, machine, kw and the inputs, NaN where not stated."""
    c = pd.read_csv(folder / "epoch_data_center_chillers.csv")
    t = pd.read_csv(folder / "epoch_data_center_cooling_towers.csv")
    chillers = pd.DataFrame({
        "maker": c["Manufacturer"].astype("string"),
        "machine": np.where(c["Type"] == "Air-cooled", "air_chiller", "water_chiller"),
        "kw": _positive(c["Cooling capacity (kW)"]),
        "area_m2": _positive(c["Area (m^2)"]),
        "fans": _positive(c["Number of fans"]),
    })  # fmt: skip
    towers = pd.DataFrame({
        "maker": t["Manufacturer"].astype("string"),
        "machine": "tower_cell",
        "kw": _positive(t["Cooling capacity (central estimate, kW)"]),
        "area_m2": _positive(t["Area (m^2)"]),
        "height_m": _positive(t["Height (m)"]),
        "motor_hp": _positive(t["Motor Horsepower"]),
        "fan_diameter_m": _positive(t["Fan Diameter (m)"]),
    })  # fmt: skip
    stated = [d[d["maker"].notna() & d["kw"].notna()].reset_index(drop=True) for d in (chillers, towers)]
    return stated[0], stated[1]


def _positive(column: pd.Series) -> pd.Series:
    """Numbers above 0, thousands separators read; NaN else."""
    found = pd.to_numeric(column.astype("string").str.replace(",", ""), errors="coerce").astype(float)
    return found.where(found > 0)


def fit(chillers: pd.DataFrame, towers: pd.DataFrame) -> list[Law]:
    """Fit every law that the rows allow (10 rows and two manufacturers at least); tables as of `read`."""
    out = []
    for name, (machine, inputs) in _SPECS.items():
        rows = towers if machine == "tower_cell" else chillers
        rows = rows[(rows["machine"] == machine) & rows[list(inputs)].notna().all(axis=1)]
        if name == "air_large_area":
            rows = rows[rows["area_m2"] >= LARGE_M2]
        if len(rows) >= 10 and rows["maker"].nunique() > 1:
            out.append(_fitted(name, machine, inputs, rows))
    return out


def _fitted(name: str, machine: str, inputs: tuple[str, ...], rows: pd.DataFrame) -> Law:
    x = np.column_stack([np.ones(len(rows)), *(np.log(rows[k].to_numpy(float)) for k in inputs)])
    y = np.log(rows["kw"].to_numpy(float))
    makers = rows["maker"].to_numpy(object)
    habit = rows.groupby("maker")["kw"].transform("size").to_numpy(float) ** -0.5
    weight = habit
    for _ in range(100):
        root = np.sqrt(weight)
        b = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
        r = y - x @ b
        scale = 1.4826 * float(np.median(np.abs(r - np.median(r)))) + 1e-9
        new = habit * np.minimum(1.0, 1.345 * scale / np.maximum(np.abs(r), 1e-12))
        if np.abs(new - weight).max() < 1e-9:
            break
        weight = new
    means = {m: (float(r[makers == m].mean()), int((makers == m).sum())) for m in sorted(set(makers))}
    own = r - np.array([means[m][0] for m in makers])
    several = own[np.array([means[m][1] > 2 for m in makers])]
    within = float(np.quantile(np.abs(several if len(several) > 5 else own), 0.8) / 1.2816)
    found = sum(max(0.0, min(abs(m), 3 * _BETWEEN) ** 2 - within**2 / n) for m, n in means.values())
    between = math.sqrt((_PRIOR_MAKERS * _BETWEEN**2 + found) / (_PRIOR_MAKERS + len(means)))
    covariance = np.linalg.inv((x * weight[:, None]).T @ x) * within**2
    return Law(
        name, machine, inputs, tuple(b.tolist()), tuple(covariance.ravel().tolist()),
        within, between, len(means), len(rows),
    )  # fmt: skip


def _unmeasured(machine: str) -> Capacity:
    """Capacity of a unit of which only the kind is known."""
    if machine == "generator":
        return Capacity(2500.0, 0.20, "", "generator of 2 to 3.25 MW (docs/methods.md 4.3, recalled)")
    if machine == "dry_cooler":
        return Capacity(500.0, 0.50, "", "dry cooler of 0.3 to 1 MW (docs/methods.md 4.3, recalled)")
    if machine == "air_chiller":
        return Capacity(1650.0, 0.35, "", "air-cooled chiller of a data center: half the capacity of the table's "
                        "is in units above 1.68 MW, and 121 units at Colossus 2 make 200 MW")  # fmt: skip
    if machine == "tower_cell":
        return Capacity(4200.0, 0.50, "", "cooling-tower cell: half the capacity of the table is in cells above 4.2 MW")
    law = facts.law("chiller_unit")
    return Capacity(law.capacity_kw(1.0), max(law.ln_sd, 0.5), law.law, law.equipment)


def _checked(machine: str, name: str, value: float) -> float:
    low, high = _LIMITS[name]
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{machine}: {name} {value:g} cannot be; give a number of {low:g} to {high:g}, of one unit")
    return value


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Epoch's tables")
    found = fit(*read(parser.parse_args().data))
    path = Path(__file__).parents[1] / "reference" / "equipment_laws.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/"
            "equipment.py to Epoch AI's chiller and cooling-tower tables (CC-BY 4.0); ln kW\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Law.__annotations__)
        for law in found:
            lists = [" ".join(f"{v:.6g}" for v in values) for values in (law.coefficients, law.covariance)]
            row = [law.law, law.machine, " ".join(law.inputs), *lists, f"{law.within:.4g}", f"{law.between:.4g}"]
            row += [str(law.makers), str(law.n)]
            writer.writerow(row)


if __name__ == "__main__":
    main()
