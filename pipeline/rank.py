"""The ledger in order of what it could hide: expected undeclared training FLOP in 90 days.

In: tables `ledger`, `sites`, `declared`. Out: the ledger in order of rank, with the distribution behind the number
(pipeline.undeclared), the chance to pass 1e25 and 1e26 FLOP, the next step and its worth (pipeline.worth), the share of
the list that is expected to be false (pipeline.false_discovery) and how firm the order is (pipeline.stability).

One number per row, in the unit in which agreements are written, so that a small certain site and a large doubtful one
can stand in one list (domain 6.2, EUC).
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd

from pipeline import false_discovery, stability, worth
from pipeline.tables import conform
from pipeline.undeclared import FLOP_90D_PER_MW, NODES, SHARE, Entries, entries_of

__all__ = ["FLOP_90D_PER_MW", "SHARE", "p_over", "rank", "ranked"]

_CLASS_ORDER = ("undeclared", "above_declared", "type_mismatch", "status_mismatch", "position_mismatch", "not_seen",
                "below_declared", "matched")  # fmt: skip
_CONFIRMED = 1e26  # FLOP: the stake is whole from here on


def rank(
    ledger: gpd.GeoDataFrame, sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame | None = None
) -> gpd.GeoDataFrame:
    """Return `ledger` in order of rank, its columns of ranking filled; see `ranked`."""
    return ranked(ledger, sites, declared)[0]


def ranked(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame | None = None,
    controls: np.ndarray | None = None,
    null_share: float = 1.0,
) -> tuple[gpd.GeoDataFrame, dict[str, float | str]]:
    """Return `ledger` in order of rank, and in figures how firm the order is.

    Ties go by class, then p_data_center, then entry_id, so the order never depends on the
    order of the input.

    Args:
        ledger: table `ledger` from `reconcile`.
        sites: table `sites` that it was made from.
        declared: table `declared`; with it, a not_seen row whose declaration is planned, under
            construction or closed counts 0: it claims nothing in operation.
        controls: p_data_center of known negatives; with them `q_value` of undeclared entries is from them.
        null_share: with controls, share of the undeclared entries that is expected to be no data center.
    """
    if not len(ledger):
        return ledger, {}
    of = entries_of(ledger, sites, declared)
    columns = _figures(of)
    order = pd.DataFrame({
        "flop": -columns["undeclared_flop_90d"],
        "class": pd.Series(of.klass).map({c: k for k, c in enumerate(_CLASS_ORDER)}).to_numpy(),
        "p": -np.nan_to_num(ledger["p_data_center"].to_numpy(float)), "entry": ledger["entry_id"].to_numpy(object),
    }).sort_values(["flop", "class", "p", "entry"], kind="stable").index.to_numpy()  # fmt: skip
    out = ledger.iloc[order].reset_index(drop=True)
    columns = {k: v[order] for k, v in columns.items()}
    open_ = of.klass[order] != "matched"
    q = np.full(len(out), np.nan)
    q[open_] = false_discovery.from_model(1.0 - columns.pop("_true")[open_])
    basis = "the model's own probabilities"
    if controls is not None:
        sure = of.klass[order] == "undeclared"
        q[sure] = false_discovery.from_controls(out["p_data_center"].to_numpy(float)[sure], controls, null_share)
        basis = f"{len(controls)} known negatives for undeclared entries, the model's own probabilities for others"
    first = order[: min(stability.TOP, int((columns["undeclared_flop_90d"] > 0).sum()))]
    firm = stability.stability(of.weight[first], of.values(first), ledger["entry_id"].to_numpy(object)[first])
    ranges = {
        name: pd.array(np.append(v, np.zeros(len(out) - len(v), int)), dtype="Int64")
        for name, v in (("rank_low", firm.low), ("rank_high", firm.high), ("tie", firm.tie))
    }
    for values in ranges.values():
        values[len(first) :] = pd.NA
    out = out.assign(**columns, **ranges, q_value=q, rank=np.arange(1, len(out) + 1))
    listed = q[open_][:100]
    return conform(out, "ledger"), {
        "top10_kept": round(firm.top10_kept, 4), "top10_median_move": round(firm.median_move, 3),
        "true_top10": round(firm.true_top10, 4), "false_in_top100": round(float(listed[-1]), 4) if len(listed) else 0.0,
        "false_basis": basis,
    }  # fmt: skip


def p_over(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    flop: float,
    days: float = 90.0,
    declared: gpd.GeoDataFrame | None = None,
) -> np.ndarray:
    """Return P(more than `flop` FLOP in `days` days, undeclared) of each entry of `ledger`, (n,).

    Compute is proportional to time: a run of 180 days passes twice the FLOP of one of 90.
    """
    of = entries_of(ledger, sites, declared)
    out = np.zeros(len(ledger))
    for rows, values in of.curves():
        out[rows] = of.weight[rows] * (values * (days / 90.0) > flop).mean(1)
    return out


def _figures(of: Entries) -> dict[str, np.ndarray]:
    """The columns of ranking of each entry, in the ledger's own order; `_true`: chance that there is anything."""
    n = len(of.klass)
    out = {k: np.zeros(n) for k in ("undeclared_flop_90d", "undeclared_flop_90d_p05", "undeclared_flop_90d_p50",
           "undeclared_flop_90d_p95", "p_over_1e25", "p_over_1e26", "value_of_inspection", "_true")}  # fmt: skip
    step = np.full(n, "none", object)
    for rows, values in of.curves():
        w = of.weight[rows]
        out["undeclared_flop_90d"][rows] = w * values.mean(1)
        ascending = np.where(values[:, :1] > values[:, -1:], values[:, ::-1], values)  # below_declared falls
        for q in (0.05, 0.50, 0.95):
            out[f"undeclared_flop_90d_p{round(100 * q):02d}"][rows] = _quantile(w, ascending, q)
        over = values > worth.THRESHOLD
        for name, flop in (("1e25", 1e25), ("1e26", 1e26)):
            out[f"p_over_{name}"][rows] = w * (values > flop).mean(1)
        p = w * over.mean(1)
        size = np.where(over, np.minimum(values, _CONFIRMED), 0.0).sum(1) / np.maximum(over.sum(1), 1) / _CONFIRMED
        step[rows], out["value_of_inspection"][rows] = worth.next_step(p, worth.STAKE * size, of.klass[rows])
        out["_true"][rows] = w * (values > 0).mean(1)
    return {**out, "next_step": step}


def _quantile(weight: np.ndarray, values: np.ndarray, q: float) -> np.ndarray:
    """Quantile of 'with probability w one of the ascending values, else 0', (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(weight > 0, (q - (1.0 - weight)) / weight, -1.0)
    node = np.clip((inner * NODES).astype(int), 0, NODES - 1)
    return np.where(inner > 0, values[np.arange(len(values)), node], 0.0)
