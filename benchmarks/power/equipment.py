"""(a) Equipment to cooling capacity, leave-one-manufacturer-out, on Epoch AI's tables of machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.power.scores import crps, summary
from overwatt.models.capacity.equipment import best
from overwatt.models.capacity.fit_equipment import fit, read

_INPUTS = ("area_m2", "fans", "height_m", "motor_hp", "fan_diameter_m")


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return scores over all machines and by kind, and those of a constant per kind as baseline.

    Each regression is fitted without the manufacturer whose machines are predicted; the one with the smallest spread
    that the row's stated sizes allow is used, as in production.
    """
    chillers, towers = read(folder)
    rows = pd.concat([chillers, towers], ignore_index=True)
    out: list[dict[str, Any]] = []
    left: dict[str, int] = {}
    for maker in sorted(rows["maker"].unique()):
        laws = fit(chillers[chillers["maker"] != maker], towers[towers["maker"] != maker])
        rest = rows[rows["maker"] != maker]
        for row in rows[rows["maker"] == maker].to_dict("records"):
            values = {k: float(row[k]) for k in _INPUTS if pd.notna(row[k])}
            law = best(laws, row["machine"], values)
            if law is None:
                reason = f"{row['machine']}: no size stated"
                left[reason] = left.get(reason, 0) + 1
                continue
            others = np.log(rest.loc[rest["machine"] == row["machine"], "kw"].to_numpy(float))
            mu, sd = law.predict(values)
            out.append({
                "maker": str(maker), "machine": row["machine"], "law": law.law, "y": float(np.log(row["kw"])),
                "mu": mu, "sd": sd, "rule": float(np.median(others)), "rule_sd": float(others.std()),
            })  # fmt: skip
    found = pd.DataFrame(out)
    air = found["machine"] == "air_chiller"
    parts = {
        "chillers": found["machine"].str.endswith("chiller"),
        "air_chillers": air,
        "air_chillers_500_kw": air & (found["y"] >= np.log(500.0)),
        "towers": found["machine"] == "tower_cell",
        "towers_motor_known": found["law"].str.contains("motor"),
    }
    result = _scores(found, seed)
    result |= {name: _scores(found[mask], seed) for name, mask in parts.items()}
    result["by_manufacturer"] = [
        {"name": str(name), "n": len(g), "mean_ln_error": round(float((g["y"] - g["mu"]).mean()), 3),
         "coverage_80": round(float((np.abs(g["y"] - g["mu"]) <= 1.2816 * g["sd"]).mean()), 3)}
        for name, g in found.groupby("maker")
    ]  # fmt: skip
    result["laws"] = {str(k): int(v) for k, v in found["law"].value_counts().sort_index().items()}
    result["left_out"] = left
    return result


def _scores(found: pd.DataFrame, seed: int) -> dict[str, Any]:
    """Return the scores of the regressions, and of the baseline: the median of the other makers' machines."""
    y = found["y"].to_numpy()
    scores = summary(y, found["mu"].to_numpy(), found["sd"].to_numpy(), found["maker"].to_numpy(), seed=seed)
    error = y - found["rule"].to_numpy()
    one = {"ln_sd": round(float(np.sqrt((error**2).mean())), 4),
           "crps": round(float(crps(error, found["rule_sd"].to_numpy()).mean()), 4)}  # fmt: skip
    return {**scores, "one_number_rule": one}
