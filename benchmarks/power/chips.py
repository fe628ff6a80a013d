"""(b) Chips to power, one owner left out at a time, on clusters whose power was reported (Epoch AI)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.power.scores import summary
from models.chip_power import fit, read_chips, read_clusters

EPOCH_LN_SD = 0.26
"""Epoch AI: 80% of its estimates lie within a factor of 1.4."""


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return the scores, those of Epoch's own calculation on the same rows, and every row."""
    rows = read_clusters(folder, {c.chip: c for c in read_chips(folder)})
    mu, sd = np.zeros(len(rows)), np.zeros(len(rows))
    for owner in sorted(rows["owner"].unique()):
        held = (rows["owner"] == owner).to_numpy()
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
    owner, calculated = rows["owner"].to_numpy(), rows["calculated_mw"].to_numpy(float)
    both, named = np.isfinite(calculated), ~rows["unknown"].to_numpy(bool)

    def scores(mask: np.ndarray, median: np.ndarray, spread: np.ndarray) -> dict[str, Any]:
        return summary(y[mask], median[mask], spread[mask], owner[mask], seed=seed)

    epoch, epoch_sd = np.log(np.where(both, calculated, 1.0)), np.full(len(y), EPOCH_LN_SD)
    return {
        **scores(np.ones(len(y), bool), mu, sd),
        "chip_named": scores(named, mu, sd),
        "where_epoch_calculates": {"ours": scores(both, mu, sd), "epoch": scores(both, epoch, epoch_sd)},
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
