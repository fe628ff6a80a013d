"""What an operator's sites have in common: IT power a building, and peak facility power over IT power.

In: Epoch AI's tables of sites and their timelines (CC-BY 4.0). Out: models/reference/operators.csv, by
`python -m overwatt.models.capacity.operators --data DIR`. Values of one operator are shrunk towards all operators'
(normal hierarchical model, moments; Gelman et al., Bayesian Data Analysis, 5.4), so that an operator
with one site says little. The powers are Epoch's own estimates, mostly made from counted cooling.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

LATEST = "2026-08-01"
"""Rows dated later are projections: the tables were read in summer 2026."""
_PRIOR_SITES = 4.0  # what an operator's own spread is worth against all operators'; own choice
_EVERY = "any"


@dataclass(frozen=True)
class Operator:
    """One operator, or all of them ('any').

    Attributes:
        operator: name, lower case.
        sites: that it was learned from.
        it_mw_per_building: median IT MW of one finished building.
        ln_sd: spread of the next site's.
        facility_per_it: median peak facility power over IT power.
        ratio_ln_sd: spread of (ratio - 1) in the log.
    """

    operator: str
    sites: int
    it_mw_per_building: float
    ln_sd: float
    facility_per_it: float
    ratio_ln_sd: float


@cache
def operators() -> dict[str, Operator]:
    """Return the operators by name in lower case; 'any' is that of an unknown operator."""
    text = (files("overwatt.models.reference") / "operators.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = [
        Operator(r["operator"], int(r["sites"]), *(float(r[k]) for k in list(Operator.__annotations__)[2:]))
        for r in rows
    ]
    return {o.operator: o for o in found}


def operator(name: str | None) -> Operator:
    """Return the operator whose name is a word of `name`, else 'any'."""
    known = operators()
    for key in sorted(known, key=len, reverse=True):
        if name and key != _EVERY and re.search(rf"\b{re.escape(key)}\b", name.lower()):
            return known[key]
    return known[_EVERY]


def fit(centers: pd.DataFrame, timelines: pd.DataFrame) -> list[Operator]:
    """Fit from Epoch's `data_centers` (Name, Owner) and `data_center_timelines`.

    A site counts once: with its last row that is no projection and has finished buildings.
    """
    owner = centers.drop_duplicates("Name").set_index("Name")["Owner"].astype("string")
    rows = timelines[(timelines["IT power (MW)"] > 0) & (timelines["Buildings operational"] > 0)]
    rows = rows[rows["Date"] < LATEST].sort_values("Date").groupby("Data center").tail(1)
    rows = rows[rows["Power (MW)"] > rows["IT power (MW)"]]
    owners = rows["Data center"].map(owner).str.split("#").str[0].str.split(",").str[0].str.strip().str.lower()
    names = owners.fillna("").to_numpy(object)
    per = np.log((rows["IT power (MW)"] / rows["Buildings operational"]).to_numpy(float))
    ratio = np.log((rows["Power (MW)"] / rows["IT power (MW)"]).to_numpy(float) - 1)
    mw, over = _shrunk(per, names), _shrunk(ratio, names)
    return [
        Operator(k, mw[k][2], math.exp(mw[k][0]), mw[k][1], 1 + math.exp(over[k][0]), over[k][1]) for k in sorted(mw)
    ]


def _shrunk(y: np.ndarray, names: np.ndarray) -> dict[str, tuple[float, float, int]]:
    """Mean, spread of the next, and number, by name; 'any' over all."""
    groups = {str(n): y[names == n] for n in sorted(set(names)) if n}
    several = [g for g in groups.values() if len(g) > 1]
    within = sum(((g - g.mean()) ** 2).sum() for g in several) / max(1, sum(len(g) - 1 for g in several))
    between = max(
        0.0,
        float(np.var([g.mean() for g in groups.values()], ddof=1))
        - within / np.mean([len(g) for g in groups.values()]),
    )
    centre = float(np.mean([g.mean() for g in groups.values()]))
    out = {_EVERY: (centre, math.sqrt(within + between), len(y))}
    for name, g in groups.items():
        own = (_PRIOR_SITES * within + ((g - g.mean()) ** 2).sum()) / (_PRIOR_SITES + len(g) - 1)
        trust = between / (between + own / len(g)) if between > 0 else 0.0
        mean = centre + trust * (float(g.mean()) - centre)
        out[name] = (mean, math.sqrt(own + between * (1 - trust)), len(g))
    return out


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Epoch's tables")
    folder = parser.parse_args().data
    found = fit(pd.read_csv(folder / "epoch_data_centers.csv"), pd.read_csv(folder / "epoch_data_center_timelines.csv"))
    path = Path(__file__).parents[1] / "reference" / "operators.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/operators.py to Epoch AI's data-center timelines (epoch.ai/data, CC-BY 4.0)\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Operator.__annotations__)
        for o in found:
            writer.writerow([o.operator, o.sites, *(f"{v:.4g}" for v in list(vars(o).values())[2:])])


if __name__ == "__main__":
    main()
