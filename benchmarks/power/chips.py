"""(b) Chips to power, leave-one-owner-out, on clusters with a stated power (Epoch AI).

Clusters that share an owner, directly or through others, form one group: 'OpenAI,Microsoft' and 'G42,Microsoft'. IT
power of a chip whose source names an owner of the group is held out with it. The functional form of the law was
chosen with knowledge of these rows; only its coefficients are fitted without the owner, so the errors are somewhat
optimistic. Which rows are independent evidence is told apart by `benchmarks.power.independent`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.power.scores import summary
from overwatt.models.capacity.cluster_power import read_clusters
from overwatt.models.capacity.fit_chip_power import anchors, fit, row_features
from overwatt.models.reference import facts

EPOCH_LN_SD = 0.26
"""Epoch AI states that 80% of its estimates lie within a factor of 1.4: ln(1.4) / 1.2816 = 0.26."""


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return our scores, those of Epoch AI's own calculation on the same rows, and all rows."""
    rows = held_out(folder)
    y, mu, sd = (rows[c].to_numpy(float) for c in ("ln_true", "mu", "sd"))
    # Epoch AI calculates what its table states, not the draw of a benchmark run
    stated, calculated = np.log(rows["stated_mw"].to_numpy(float)), rows["calculated_mw"].to_numpy(float)
    both, named = np.isfinite(calculated), ~rows["unknown"].to_numpy(bool)
    owner = rows["group"].to_numpy(str)

    def scores(mask: np.ndarray, median: np.ndarray, spread: np.ndarray, true: np.ndarray = y) -> dict[str, Any]:
        return summary(true[mask], median[mask], spread[mask], owner[mask], seed=seed)

    epoch, epoch_sd = np.log(np.where(both, calculated, 1.0)), np.full(len(y), EPOCH_LN_SD)
    by_epoch = scores(both, epoch, epoch_sd, stated)
    return {
        **scores(np.ones(len(y), bool), mu, sd),
        "chip_named": scores(named, mu, sd),
        "where_epoch_calculates": {"ours": scores(both, mu, sd), "epoch": by_epoch},
        "epoch": by_epoch,
        "left_out": _left_out(folder, len(rows)),
        "where_epoch_calculates_and_chip_named": {
            "ours": scores(both & named, mu, sd), "epoch": scores(both & named, epoch, epoch_sd, stated),
        },
        "rows": [
            {"name": r["name"], "chip": r["chip"], "n": int(r["n"]), "class": r["basis"],
             "reported_mw": round(r["stated_mw"], 4), "true_mw": round(r["mw"], 4),
             "ours_mw": round(float(np.exp(r["mu"])), 4), "ln_sd": round(r["sd"], 3),
             "epoch_mw": round(r["calculated_mw"], 4) if both[k] else None}
            for k, r in enumerate(rows.to_dict("records"))
        ],
    }  # fmt: skip


def held_out(folder: Path) -> pd.DataFrame:
    """Return the clusters of `read_clusters` with group, ln_true, and mu and sd of ln MW without the group's owners."""
    rows = read_clusters(folder)
    rows["group"] = _groups(rows["owner"].tolist())
    rows["ln_true"], rows["mu"], rows["sd"] = np.log(rows["mw"]), 0.0, 0.0
    for group in sorted(set(rows["group"])):
        held = rows["group"] == group
        owners = set().union(*(_names(o) for o in rows["owner"][held]))
        known = facts.accelerators()
        theirs = {c.chip for c in known.values() if any(_named(o, c.source) for o in owners)}
        # the IT power of these chips rests on the owners held out: the law has to do without it
        blind = rows.assign(w_it=rows["w_it"].where(~rows["chip"].isin(theirs)))
        law = fit(blind[~held], [c for c in anchors(known) if c.chip not in theirs])
        for k in rows.index[held]:
            r = blind.loc[k].to_dict()
            x, over = row_features(r)
            ln_over, sd = law.predict(x)
            rows.loc[k, "mu"] = ln_over + over + np.log(r["tdp_w"] / 1e6)
            rows.loc[k, "sd"] = np.hypot(sd, r["w_it_ln_sd"]) if np.isfinite(r["w_it"]) else sd
    return rows


def _named(owner: str, source: str) -> bool:
    return bool(re.search(rf"\b{re.escape(owner)}\b", source, re.IGNORECASE))


def _names(owner: str) -> set[str]:
    """Return the owners of 'a #likely, b'; a suffix such as ' #confident' is Epoch AI's mark of certainty."""
    return {p.strip().split(" #")[0] for p in owner.split(",")}


def _left_out(folder: Path, used: int) -> dict[str, int]:
    """Return the number of clusters not used, by reason."""
    table = pd.read_csv(folder / "epoch_gpu_clusters.csv")
    reported = int((pd.to_numeric(table["Reported Power Capacity (MW)"], errors="coerce") > 0).sum())
    return {"power not reported": len(table) - reported, "power reported, chips not counted": reported - used}


def _groups(owners: list[str]) -> np.ndarray:
    """Return the group name (row,): rows that share an owner, directly or through others, have the same name."""
    parts = [_names(o) for o in owners]
    groups: list[set[str]] = []
    for part in parts:
        joined = [g for g in groups if g & part]
        groups = [g for g in groups if not g & part] + [part.union(*joined)]
    return np.array([min(next(g for g in groups if g & part)) for part in parts])
