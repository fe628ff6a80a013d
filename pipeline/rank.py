"""The ledger in order of what it could hide: expected undeclared training FLOP in 90 days.

In: tables `ledger` and `sites`. Out: the ledger, `undeclared_flop_90d` and `rank` filled,
rank 1 first. One number per row, in the unit in which agreements are written, so that a small
certain site and a large doubtful one can stand in one list (domain 6.2, EUC).

| class | expected undeclared FLOP in 90 days |
|---|---|
| undeclared | p_data_center (1 - p_match) E[C] |
| above_declared | E[(C_obs - C_decl)+] |
| position_mismatch | p_data_center (1 - p_match) E[C]: it may be another facility after all |
| status_mismatch, type_mismatch | SHARE p_data_center E[C]: it may compute, and not as declared |
| below_declared | SHARE E[(C_decl - C_obs)+]: what was declared here may stand elsewhere |
| not_seen | SHARE p_detect C_decl: likewise; the median declared MW where none is stated |
| matched | 0 |

E[C] comes from the quantiles that `sites` holds: ln C is taken as piecewise linear in the normal
score, the outer pieces carried on beyond p025 and p975. That is exact for a log-normal (its far
tail cut at 3 sigma) and close for anything near one. A declared MW becomes FLOP at the FLOP per
IT MW of its site, or, where there is no site, at the median of all sites: chips are assumed alike.
p_data_center holds at the prior of `sites.prior`; another prior gives another list.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
from scipy.special import ndtri

from pipeline.reconcile import NOT_OPERATING
from pipeline.tables import QUANTILE_NAMES, QUANTILES, conform

SHARE = {"status_mismatch": 0.25, "type_mismatch": 0.5, "below_declared": 0.05, "not_seen": 0.05}
"""Base rates, judgements until dispositions exist to fit them. A building that is finished
before its declared date is usual (status lag 5-7 months, domain 4.3): 1 in 4. A declared other
use with data-center plant: even odds. A declaration not seen hides nothing by itself, its power
only must be somewhere; mostly it is a wrong coordinate or was never built: 1 in 20."""

FLOP_90D_PER_MW = 1e26 / 75.0
"""Where no site gives a ratio: 1e26 FLOP in 90 days need 75 MW of H100 (domain table 0, 7)."""

_GRID = ndtri((np.arange(400) + 0.5) / 400.0)  # normal scores of 400 equally likely values
_SCORES = ndtri(np.array(QUANTILES))
_CLASS_ORDER = {
    name: n
    for n, name in enumerate(
        (
            "undeclared",
            "above_declared",
            "type_mismatch",
            "status_mismatch",
            "position_mismatch",
            "not_seen",
            "below_declared",
            "matched",
        )
    )
}


def rank(
    ledger: gpd.GeoDataFrame, sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame | None = None
) -> gpd.GeoDataFrame:
    """Return `ledger` with `undeclared_flop_90d` and `rank` filled, in order of rank.

    Ties go by class, then p_data_center, then entry_id, so the order never depends on the
    order of the input.

    Args:
        ledger: table `ledger` from `reconcile`.
        sites: table `sites` that it was made from.
        declared: table `declared`; with it, a not_seen row whose declaration is planned, under
            construction or closed counts 0: it claims nothing in operation.
    """
    if not len(ledger):
        return ledger
    site = {str(row["site_id"]): row for row in sites.to_dict("records")}
    ratio = {name: _ratio(row) for name, row in site.items()}
    usual_ratio = float(np.median(list(ratio.values()))) if ratio else FLOP_90D_PER_MW
    known_mw = ledger["declared_it_mw"].dropna()
    observed_mw = [float(r["it_mw_p50"]) for r in site.values()]
    usual_mw = float(np.median(known_mw if len(known_mw) else observed_mw or [0.0]))
    declared_mw = ledger.groupby("site_id")["declared_it_mw"].sum(min_count=1)
    observed_of = ledger.groupby("declared_id")["it_mw_p50"].sum(min_count=1)
    idle: set[str] = set()
    if declared is not None:
        idle = set(declared.loc[declared["status"].isin(NOT_OPERATING), "declared_id"])
    values = []
    for row in ledger.to_dict("records"):
        klass = row["class"]
        if klass == "matched":
            values.append(0.0)
            continue
        if klass == "not_seen":
            mw = usual_mw if pd.isna(row["declared_it_mw"]) else row["declared_it_mw"]
            share = 0.0 if row["declared_id"] in idle else SHARE[klass]
            values.append(share * row["p_detect"] * mw * usual_ratio)
            continue
        name = str(row["site_id"])
        if klass in ("above_declared", "below_declared"):
            power = _curve(site[name], "it_mw")
            if not pd.isna(row["declared_id"]) and row["it_mw_p50"] > 0:
                power = power * (observed_of[row["declared_id"]] / row["it_mw_p50"])
            excess = power - float(declared_mw[name])
            sign, share = (1.0, 1.0) if klass == "above_declared" else (-1.0, SHARE[klass])
            values.append(share * float(np.maximum(sign * excess, 0.0).mean()) * ratio[name])
            continue
        share = SHARE.get(klass, 1.0 - (0.0 if pd.isna(row["p_match"]) else row["p_match"]))
        values.append(share * row["p_data_center"] * float(_curve(site[name], "flop_90d").mean()))
    out = ledger.assign(undeclared_flop_90d=values)
    order = pd.DataFrame(
        {
            "flop": -out["undeclared_flop_90d"],
            "class": out["class"].map(_CLASS_ORDER),
            "p": -out["p_data_center"].fillna(0.0),
            "entry": out["entry_id"],
        }
    ).sort_values(["flop", "class", "p", "entry"], kind="stable")
    out = out.loc[order.index].reset_index(drop=True)
    return conform(out.assign(rank=np.arange(1, len(out) + 1)), "ledger")


def _curve(site: dict[str, object], stem: str) -> np.ndarray:
    """Return 400 equally likely values of `stem`, ascending, from its nine quantiles."""
    values = np.array([site[f"{stem}_{name}"] for name in QUANTILE_NAMES], dtype=float)
    if values[0] <= 0:
        return np.interp(_GRID, _SCORES, values)
    log = np.log(values)
    curve = np.interp(_GRID, _SCORES, log)
    slope = np.diff(log) / np.diff(_SCORES)
    below, above = _SCORES[0] > _GRID, _SCORES[-1] < _GRID
    curve[below] = log[0] + slope[0] * (_GRID[below] - _SCORES[0])
    curve[above] = log[-1] + slope[-1] * (_GRID[above] - _SCORES[-1])
    return np.exp(curve)


def _ratio(site: dict[str, object]) -> float:
    """Training FLOP in 90 days per IT MW of a site: ratio of the means."""
    mw = float(_curve(site, "it_mw").mean())
    return float(_curve(site, "flop_90d").mean()) / mw if mw > 0 else FLOP_90D_PER_MW
