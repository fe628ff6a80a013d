"""Fit the table of operators: IT power per building, and peak facility power over IT power.

In: Epoch AI's tables of sites and their timelines (epoch.ai/data, CC-BY 4.0). Out, by
`python -m overwatt.models.capacity.fit_operators --data DIR`: models/reference/operators.csv, the table that
`operators` reads.

The values of one operator are shrunk towards those of all operators (normal hierarchical model by moments; Gelman et
al., Bayesian Data Analysis, section 5.4), so that an operator with one site says little.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
import pandas as pd

from overwatt.models.capacity.operators import ANY, Operator

LATEST = "2026-08-01"
"""Rows of this date or later are projections: the tables were read in summer 2026."""
_PRIOR_SITES = 4.0  # weight of the common spread within operators in an operator's own, in sites; own choice


def fit(centers: pd.DataFrame, timelines: pd.DataFrame) -> list[Operator]:
    """Fit the operators, by name.

    A site counts once, with its last row that is not a projection and has buildings in operation.

    Args:
        centers: Epoch's data_centers: Name, Owner.
        timelines: Epoch's data_center_timelines.
    """
    owner = centers.drop_duplicates("Name").set_index("Name")["Owner"].astype("string")
    rows = timelines[(timelines["IT power (MW)"] > 0) & (timelines["Buildings operational"] > 0)]
    rows = rows[rows["Date"] < LATEST].sort_values("Date").groupby("Data center").tail(1)
    rows = rows[rows["Power (MW)"] > rows["IT power (MW)"]]
    # the first owner named; '#' starts Epoch's mark of how certain the owner is
    owners = rows["Data center"].map(owner).str.split("#").str[0].str.split(",").str[0].str.strip().str.lower()
    names = owners.fillna("").to_numpy(object)
    per = np.log((rows["IT power (MW)"] / rows["Buildings operational"]).to_numpy(float))
    # ln(ratio - 1), because a ratio of facility to IT power exceeds 1
    ratio = np.log((rows["Power (MW)"] / rows["IT power (MW)"]).to_numpy(float) - 1)
    mw, over = _shrunk(per, names), _shrunk(ratio, names)
    return [
        Operator(k, mw[k][2], math.exp(mw[k][0]), mw[k][1], 1 + math.exp(over[k][0]), over[k][1]) for k in sorted(mw)
    ]


def _shrunk(y: np.ndarray, names: np.ndarray) -> dict[str, tuple[float, float, int]]:
    """Return (mean, ln-sd of the next site, number of sites) by operator, and for 'any' over all."""
    groups = {str(n): y[names == n] for n in sorted(set(names)) if n}
    several = [g for g in groups.values() if len(g) > 1]
    within = sum(((g - g.mean()) ** 2).sum() for g in several) / max(1, sum(len(g) - 1 for g in several))
    # variance of the operators' means less their sampling error (one-way analysis of variance, by moments)
    between = max(
        0.0,
        float(np.var([g.mean() for g in groups.values()], ddof=1))
        - within / np.mean([len(g) for g in groups.values()]),
    )
    centre = float(np.mean([g.mean() for g in groups.values()]))
    out = {ANY: (centre, math.sqrt(within + between), len(y))}
    for name, g in groups.items():
        # own variance, drawn to the common one by the weight of `_PRIOR_SITES` sites
        own = (_PRIOR_SITES * within + ((g - g.mean()) ** 2).sum()) / (_PRIOR_SITES + len(g) - 1)
        # weight of the operator's own mean by precision (Gelman et al., Bayesian Data Analysis, section 5.4)
        trust = between / (between + own / len(g)) if between > 0 else 0.0
        mean = centre + trust * (float(g.mean()) - centre)
        out[name] = (mean, math.sqrt(own + between * (1 - trust)), len(g))
    return out


def main() -> None:
    """Write operators.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder with epoch_data_centers.csv and epoch_data_center_timelines.csv",
    )
    folder = parser.parse_args().data
    found = fit(pd.read_csv(folder / "epoch_data_centers.csv"), pd.read_csv(folder / "epoch_data_center_timelines.csv"))
    path = Path(__file__).parents[1] / "reference" / "operators.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/fit_operators.py "
            "to Epoch AI's data-center timelines (epoch.ai/data, CC-BY 4.0)\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Operator.__annotations__)
        for o in found:
            writer.writerow([o.operator, o.sites, *(f"{v:.4g}" for v in list(vars(o).values())[2:])])


if __name__ == "__main__":
    main()
