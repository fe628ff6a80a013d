"""Backtest of construction forecasts: dates of operation, forecast 12 months before and from fixed dates.

A forecast uses only rows dated before it, and waiting times fitted to such rows of other sites; waits that had not
ended by then are censored. Two backtests: 'before' takes each building 12 months before its operation, which selects
by the outcome (it can only be late or right); 'from_dates' takes each building under construction on a fixed date and
scores the outcome until `LATEST`, with buildings not yet in operation as censored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from overwatt.models.capacity.construction_delay import DAYS_PER_MONTH
from overwatt.models.capacity.fit_construction_delay import Wait, fit, waits
from overwatt.models.capacity.fit_operators import LATEST
from overwatt.pipeline.compute.time_to_threshold import stage_delays
from overwatt.pipeline.power.posterior import site_seed

ORIGINS = ("2025-02-01", "2025-08-01", "2026-02-01")
RULE_MONTHS = 6.0
"""Epoch AI's rule of thumb: in operation 5 to 7 months after the roof is closed."""
# words in a status text that mark a date as estimated, not observed
_ESTIMATED = re.compile(r"estimat|rule of thumb|assum|default|based o[nf]f? (?:it|the|all|how)", re.I)
_DRAWS = 4000


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return coverage and errors in months of both backtests, the errors of Epoch AI's rule, and all rows."""
    table = pd.read_csv(folder / "epoch_data_center_timelines.csv")
    every = waits(table)
    before, dated = [], []
    for wait in _latest(every, lambda w: w.seen + pd.Timedelta(days=w.days - 365.25) if w.ended else None):
        origin = wait.seen + pd.Timedelta(days=wait.days - 365.25)
        before.append(_forecast(table, wait, origin, seed))
    for text in ORIGINS:
        origin = pd.Timestamp(text)
        dated += [_forecast(table, wait, origin, seed) for wait in _latest(every, partial(_same, origin))]
    before, dated = [r for r in before if r], [r for r in dated if r]
    opened = table[(table["Date"] < LATEST) & (table["Buildings operational"] > 0)]
    estimated = opened["Construction status"].astype(str).str.contains(_ESTIMATED)
    return {
        "hazards": [
            {"stage": h.stage, "median_months": round(float(np.exp(h.mu)), 1), "ln_sd": round(h.sigma, 3),
             "ended": h.waits, "censored": h.censored} for h in fit(every).values()
        ],
        "twelve_months_before": _scores(before, seed),
        "from_dates": _scores(dated, seed),
        "rows_of_operation_that_say_estimated": round(float(estimated.mean()), 3),
        "hindsight": "the texts were read in summer 2026; dates of operation are partly made by the rule itself",
        "rows": before + dated,
    }  # fmt: skip


def _same(origin: pd.Timestamp, wait: Wait) -> pd.Timestamp:
    return origin


def _latest(every: list[Wait], origin_of: Callable[[Wait], pd.Timestamp | None]) -> list[Wait]:
    """Return the last stage seen of each building before its forecast origin, if it was not in operation then."""
    best: dict[tuple[str, int], Wait] = {}
    for wait in every:
        origin = origin_of(wait)
        if origin is None or wait.seen >= origin or wait.seen + pd.Timedelta(days=wait.days) <= origin:
            continue
        key = (wait.site, wait.building)
        if key not in best or wait.seen > best[key].seen:
            best[key] = wait
    return [best[k] for k in sorted(best)]


def _forecast(table: pd.DataFrame, wait: Wait, origin: pd.Timestamp, seed: int) -> dict[str, Any] | None:
    """Return the forecast of one building from `origin` on; None if its stage has no fitted waiting time."""
    others = table[table["Data center"] != wait.site]
    known = fit(waits(others, origin.date().isoformat()))
    if wait.stage not in known:
        return None
    # time already spent in the stage conditions the forecast
    spent = (origin - wait.seen).days / DAYS_PER_MONTH
    drawn = stage_delays(wait.stage, spent, _DRAWS, site_seed(seed, f"{wait.site}/{wait.building}"), table=known)
    truth = (wait.seen + pd.Timedelta(days=wait.days) - origin).days / DAYS_PER_MONTH
    low, high = np.quantile(drawn, (0.1, 0.9))
    return {
        "site": wait.site, "building": wait.building, "stage": wait.stage, "origin": origin.date().isoformat(),
        "months": round(truth, 1), "ended": wait.ended, "p10": round(float(low), 1),
        "p50": round(float(np.median(drawn)), 1), "p90": round(float(high), 1),
        "below": round(float((drawn <= truth).mean()), 4),
        "rule": round(max(0.0, RULE_MONTHS - spent), 1) if wait.stage == "roof" else None,
    }  # fmt: skip


def _scores(rows: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return coverage, errors, bootstrap intervals over sites; a censored row counts by its remaining probability."""
    if not rows:
        return {"n": 0}
    frame = pd.DataFrame(rows)
    ended = frame["ended"].to_numpy(bool)
    below = frame["below"].to_numpy(float)
    error = frame["p50"].to_numpy(float) - frame["months"].to_numpy(float)

    def one(rows_of: np.ndarray) -> dict[str, float]:
        e, b, x = ended[rows_of], below[rows_of], error[rows_of]
        out = {}
        for name, width in (("coverage_50", 0.5), ("coverage_80", 0.8), ("coverage_95", 0.95)):
            low, high = 0.5 - width / 2, 0.5 + width / 2
            inside = (b >= low) & (b <= high)
            # censored at quantile b: P(inside the interval | later than b)
            rest = np.clip(high - np.maximum(b, low), 0.0, None) / np.maximum(1.0 - b, 1e-9)
            out[name] = float(np.where(e, inside, rest).mean())
        if e.any():
            out["mean_error_months"], out["mean_absolute_error_months"] = float(x[e].mean()), float(np.abs(x[e]).mean())
        return out

    names, index = np.unique(frame["site"].to_numpy(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    everything = one(np.arange(len(frame)))
    drawn = []
    for _ in range(400):
        picked = rng.integers(len(names), size=len(names))
        drawn.append(one(np.concatenate([np.flatnonzero(index == k) for k in picked])))
    intervals = {
        k: [round(float(v), 3) for v in np.quantile([d[k] for d in drawn if k in d], (0.025, 0.975))]
        for k in everything
    }
    ruled = frame[frame["rule"].notna() & frame["ended"]]
    rule = (ruled["rule"] - ruled["months"]).abs().mean() if len(ruled) else None
    ours = (ruled["p50"] - ruled["months"]).abs().mean() if len(ruled) else None
    return {
        "n": len(frame), "sites": len(names), "ended": int(ended.sum()),
        **{k: round(v, 3) for k, v in everything.items()}, "intervals": intervals,
        "roof_rows": len(ruled), "rule_absolute_error_months": None if rule is None else round(float(rule), 2),
        "ours_on_roof_rows": None if ours is None else round(float(ours), 2),
    }  # fmt: skip
