"""Chips to power by how independent the truth is: metered, reported, computed, rounded.

The rules are those of overwatt.models.capacity.cluster_power; they read words and columns, never names. The headline
is the independent part, metered and reported together, its owner left out (`benchmarks.power.chips`). A row of which
one figure was computed from the other tells how the author of the table computes, not what chips draw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.power.chips import held_out
from benchmarks.power.scores import summary
from overwatt.models.capacity.chip_power import PowerLaw, features, is_dense
from overwatt.models.capacity.cluster_power import CLASSES, INDEPENDENT, LIST_SHARE
from overwatt.models.capacity.fit_chip_power import anchors, fit
from overwatt.models.reference import facts
from overwatt.pipeline.power.accelerators import parse_chips, power_of_chips

FILER = "xAI"
FILED = (
    {"site": "Colossus 2, first array", "chips": "GB200:110000", "servers_mw": 210.0, "it_mw": 239.0,
     "facility_mw": 323.0},
    {"site": "Colossus 2, second array", "chips": "GB300:110000", "servers_mw": 220.0, "it_mw": 251.0,
     "facility_mw": 338.0},
)  # fmt: skip
"""Company S-1 filing, page 76, as quoted in Epoch AI's timelines: chips and MW of servers. IT and facility MW are Epoch
AI's: with network and storage x 1.14, with cooling x 1.35."""


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return the scores on independent rows, those of each class, the filing, and all rows.

    `bias` is the median of ln(truth / estimate). Metered truth is the run of the list: the table's figure times
    0.67 / PUE; `whole_kilowatts` is the share of these that come back to a whole kW within 0.03, 0.06 by chance.
    """
    rows = held_out(folder)
    kilowatts = rows["mw"][rows["basis"] == "metered"].to_numpy(float) * 1e3
    whole = np.abs(kilowatts - np.round(kilowatts)) < 0.03
    independent = rows[rows["basis"].isin(INDEPENDENT)]
    others = [c for c in anchors(facts.accelerators()) if FILER not in c.source]
    # chips of known power but of the filer: the law has to do without
    blind = rows["w_it"].where(rows["chip"].map(lambda c: FILER not in _source(c)))
    without = fit(rows.assign(w_it=blind)[~rows["owner"].str.contains(FILER)], others)
    return {
        **_scores(independent, seed),
        "classes": {name: _scores(rows[rows["basis"] == name], seed) for name in CLASSES},
        "list_share": LIST_SHARE,
        "whole_kilowatts": round(float(whole.mean()), 3) if len(whole) else None,
        "reported_over_run": _over_run(rows),
        "filing": [_filed(f, without) for f in FILED],
        "rows": [
            {"name": r["name"], "class": r["basis"], "chip": r["chip"], "n": int(r["n"]),
             "true_mw": round(r["mw"], 4), "ours_mw": round(float(np.exp(r["mu"])), 4), "ln_sd": round(r["sd"], 3)}
            for r in rows.to_dict("records")
        ],
    }  # fmt: skip


def _scores(rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    if rows.empty:
        return {"n": 0}
    y, mu, sd, group = (rows[c].to_numpy() for c in ("ln_true", "mu", "sd", "group"))
    return {**summary(y, mu, sd, group, seed=seed), "bias": round(float(np.median(y - mu)), 4)}


def _over_run(rows: pd.DataFrame) -> dict[str, float] | None:
    """Factor between the table's figure of a listed cluster and the list's: smallest, largest."""
    listed = rows[rows["basis"] == "metered"]
    if listed.empty:
        return None
    factor = listed["stated_mw"] / listed["mw"]
    return {"low": round(float(factor.min()), 3), "high": round(float(factor.max()), 3)}


def _source(chip: str) -> str:
    known = facts.accelerators().get(chip)
    return known.source if known else ""


def _filed(filed: dict[str, Any], without: PowerLaw) -> dict[str, Any]:
    """Our power of the chips of a filing; the table has their watts from it, so only the law without it is a test."""
    ((name, n),) = parse_chips(filed["chips"])
    found, chip = power_of_chips([(name, n)]), facts.accelerator(name)
    over, ln_sd = without.predict(features(chip.tdp_w, dense=float(is_dense(chip.chip))))
    return {
        **filed, "ours_it_mw": round(found.it_mw, 1), "ours_facility_mw": round(found.facility_mw, 1),
        "ln_sd": round(found.ln_sd, 3), "law_without_it_mw": round(float(n * chip.tdp_w * np.exp(over) / 1e6), 1),
        "law_without_ln_sd": round(ln_sd, 3),
    }  # fmt: skip
