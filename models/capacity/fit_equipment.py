"""Fit the capacity of cooling machines as a power law of their sizes.

In: Epoch AI's tables of chillers and cooling towers (epoch.ai/data, CC-BY 4.0). Out, by
`python -m overwatt.models.capacity.fit_equipment --data DIR`: models/reference/equipment_laws.csv, the table that
`equipment` reads.

The fit is Huber's M-estimate, because single catalogue rows are far off. The rows of one manufacturer are not
independent, so a manufacturer of n rows has the weight sqrt(n). The spread holds for the next unit of a manufacturer
that may be absent from the table: within manufacturers, between them, and the uncertainty of the coefficients.
`python -m benchmarks.power` measures it with one manufacturer left out at a time.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from overwatt.models.capacity.equipment import LARGE_M2, Law

# name of a law: machine, inputs
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
_BETWEEN, _PRIOR_MAKERS = 0.15, 4.0
"""Prior ln-sd between manufacturers, and its weight in manufacturers.

0.15 is the spread of nine manufacturers' means of chillers of 500 kW and more; the weight is our own choice.
"""


def read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of chillers and of towers: columns maker, machine, kw and the inputs, NaN where not stated."""
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
    """Return positive numbers, read with thousands separators; NaN for anything else."""
    found = pd.to_numeric(column.astype("string").str.replace(",", ""), errors="coerce").astype(float)
    return found.where(found > 0)


def fit(chillers: pd.DataFrame, towers: pd.DataFrame) -> list[Law]:
    """Fit every law that has enough rows; tables as of `read`."""
    out = []
    for name, (machine, inputs) in _SPECS.items():
        rows = towers if machine == "tower_cell" else chillers
        rows = rows[(rows["machine"] == machine) & rows[list(inputs)].notna().all(axis=1)]
        if name == "air_large_area":
            rows = rows[rows["area_m2"] >= LARGE_M2]
        # own choice: fewer rows, or one manufacturer, tell nothing of the next manufacturer (docs/methods.md 4.3)
        if len(rows) >= 10 and rows["maker"].nunique() > 1:
            out.append(_fitted(name, machine, inputs, rows))
    return out


def _fitted(name: str, machine: str, inputs: tuple[str, ...], rows: pd.DataFrame) -> Law:
    x = np.column_stack([np.ones(len(rows)), *(np.log(rows[k].to_numpy(float)) for k in inputs)])
    y = np.log(rows["kw"].to_numpy(float))
    makers = rows["maker"].to_numpy(object)
    # each of n rows weighs n^-1/2, so a manufacturer weighs sqrt(n): its rows share its conventions (own choice)
    maker_weight = rows.groupby("maker")["kw"].transform("size").to_numpy(float) ** -0.5
    weight = maker_weight
    for _ in range(100):
        root = np.sqrt(weight)
        b = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
        r = y - x @ b
        scale = 1.4826 * float(np.median(np.abs(r - np.median(r)))) + 1e-9  # MAD to sigma of a normal distribution
        # Huber (1964); k = 1.345 keeps 95% efficiency for normal errors
        new = maker_weight * np.minimum(1.0, 1.345 * scale / np.maximum(np.abs(r), 1e-12))
        if np.abs(new - weight).max() < 1e-9:
            break
        weight = new
    means = {m: (float(r[makers == m].mean()), int((makers == m).sum())) for m in sorted(set(makers))}
    own = r - np.array([means[m][0] for m in makers])
    several = own[np.array([means[m][1] > 2 for m in makers])]
    # half-width of the central 80% over its normal value: robust, and the interval that the benchmark scores
    within = float(np.quantile(np.abs(several if len(several) > 5 else own), 0.8) / 1.2816)
    # variance of the manufacturers' means less their sampling error; a mean counts for at most 3 prior sigmas
    found = sum(max(0.0, min(abs(m), 3 * _BETWEEN) ** 2 - within**2 / n) for m, n in means.values())
    # scale of the posterior scaled inverse chi-squared: a law may rest on two manufacturers
    between = math.sqrt((_PRIOR_MAKERS * _BETWEEN**2 + found) / (_PRIOR_MAKERS + len(means)))
    covariance = np.linalg.inv((x * weight[:, None]).T @ x) * within**2
    return Law(
        name, machine, inputs, tuple(b.tolist()), tuple(covariance.ravel().tolist()),
        within, between, len(means), len(rows),
    )  # fmt: skip


def main() -> None:
    """Write equipment_laws.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Epoch's chiller and cooling-tower tables")
    found = fit(*read(parser.parse_args().data))
    path = Path(__file__).parents[1] / "reference" / "equipment_laws.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/fit_equipment.py "
            "to Epoch AI's chiller and cooling-tower tables (CC-BY 4.0); ln kW\n"
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
