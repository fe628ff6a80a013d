"""(b) Chips to power, leave-one-owner-out, on clusters with reported power (Epoch AI).

Clusters that share an owner, directly or through others, form one group: 'OpenAI,Microsoft' and 'G42,Microsoft'.
The functional form of the model was chosen with knowledge of these rows; only its coefficients are fitted without the
owner, so the errors are somewhat optimistic.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.power.scores import summary
from overwatt.models.capacity.fit_chip_power import fit, read_chips, read_clusters

EPOCH_LN_SD = 0.26
"""Epoch AI states that 80% of its estimates lie within a factor of 1.4: ln(1.4) / 1.2816 = 0.26."""


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return our scores, those of Epoch AI's own calculation on the same rows, and all rows."""
    rows = read_clusters(folder, {c.chip: c for c in read_chips(folder)})
    mu, sd = np.zeros(len(rows)), np.zeros(len(rows))
    owner = _groups(rows["owner"].tolist())
    for group in np.unique(owner):
        held = owner == group
        law = fit(rows[~held])
        for k in np.flatnonzero(held):
            r = rows.iloc[k]
            over, sd[k] = law.predict(
                float(r["mean_tdp_w"]),
                dense=float(r["dense"]),
                facility=bool(r["facility"]),
                unknown=bool(r["unknown"]),
            )
            mu[k] = over + np.log(r["tdp_w"] / 1e6)
    y = np.log(rows["mw"].to_numpy(float))
    calculated = rows["calculated_mw"].to_numpy(float)
    both, named = np.isfinite(calculated), ~rows["unknown"].to_numpy(bool)

    def scores(mask: np.ndarray, median: np.ndarray, spread: np.ndarray) -> dict[str, Any]:
        return summary(y[mask], median[mask], spread[mask], owner[mask], seed=seed)

    epoch, epoch_sd = np.log(np.where(both, calculated, 1.0)), np.full(len(y), EPOCH_LN_SD)
    by_epoch = scores(both, epoch, epoch_sd)
    return {
        **scores(np.ones(len(y), bool), mu, sd),
        "chip_named": scores(named, mu, sd),
        "where_epoch_calculates": {"ours": scores(both, mu, sd), "epoch": by_epoch},
        "epoch": by_epoch,
        "left_out": _left_out(folder, len(rows)),
        "where_epoch_calculates_and_chip_named": {
            "ours": scores(both & named, mu, sd), "epoch": scores(both & named, epoch, epoch_sd),
        },
        "rows": [
            {"name": r["name"], "chip": r["chip"], "n": int(r["n"]), "reported_mw": round(r["mw"], 4),
             "ours_mw": round(float(np.exp(mu[k])), 4), "ln_sd": round(float(sd[k]), 3),
             "epoch_mw": round(r["calculated_mw"], 4) if both[k] else None}
            for k, r in enumerate(rows.to_dict("records"))
        ],
    }  # fmt: skip


def _left_out(folder: Path, used: int) -> dict[str, int]:
    """Return the number of clusters not used, by reason."""
    table = pd.read_csv(folder / "epoch_gpu_clusters.csv")
    reported = int((pd.to_numeric(table["Reported Power Capacity (MW)"], errors="coerce") > 0).sum())
    return {"power not reported": len(table) - reported, "power reported, chips not counted": reported - used}


def _groups(owners: list[str]) -> np.ndarray:
    """Return the group name (row,): rows that share an owner, directly or through others, have the same name."""
    # a suffix such as " #confident" is Epoch AI's certainty mark, not part of the name
    parts = [{p.strip().split(" #")[0] for p in o.split(",")} for o in owners]
    groups: list[set[str]] = []
    for part in parts:
        joined = [g for g in groups if g & part]
        groups = [g for g in groups if not g & part] + [part.union(*joined)]
    return np.array([min(next(g for g in groups if g & part)) for part in parts])
