"""Rank the ledger by undeclared training FLOP in 90 days: expected, in the worst case, or by probability over a limit.

In: tables `ledger` and `sites`. Out: the ledger sorted by rank, with `rank` and the columns that belong to it filled.
One number per row, in the unit of the agreements, so that a small certain site and a large uncertain one can be
compared in one list (docs/methods.md, section 6.2).

| class | expected undeclared FLOP in 90 days |
|---|---|
| undeclared | p_data_center (1 - p_match) E[C] |
| above_declared | E[(C_obs - C_decl)+] |
| position_mismatch | p_data_center (1 - p_match) E[C]: it may be another facility |
| status_mismatch, type_mismatch | SHARE p_data_center E[C]: it may train, contrary to its declaration |
| below_declared | SHARE E[(C_decl - C_obs)+]: the missing part may stand elsewhere |
| not_seen | SHARE p_detect C_decl: likewise; the median declared MW if none is stated |
| matched | 0 |

`RankingSettings.by` says what orders the list: this expectation over the kinds of site (`expected`), the same if every
site were all AI (`worst_case`), or the probability of more than a threshold (`p_over`). Both expectations are columns
whatever the order; ranks, ties, q_value and, in the worst case, the next step follow the chosen one.

Draws and their assumptions: `undeclared_compute`. Further columns are the quantiles of this number, the probability
of more than 1e25 and 1e26 FLOP in 90 days, the next step with the highest value (`value_of_information`), the share of
the list expected to be false (`false_discovery`), and the stability of the rank (`rank_stability`).

Declared MW become FLOP with the FLOP per IT MW of their site, or with the median of all sites if there is no site:
chips are assumed to be the same. p_data_center holds at the prior in `sites.prior`; another prior gives another list.

q_value uses the model's own probabilities, because a ledger has no scores of known negatives. An entry is false if
nothing undeclared stands behind it: it is not a data center, or it is declared, or its power is not above the declared.
"""

from __future__ import annotations

import math

import geopandas as gpd
import numpy as np

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.inspection import rank_stability, undeclared_compute, value_of_information
from overwatt.pipeline.inspection.false_discovery import false_discovery, running_share
from overwatt.pipeline.inspection.settings import RankingSettings
from overwatt.pipeline.inspection.undeclared_compute import (
    ASSUMED_WORDS,
    CLASSES,
    FLOP_90D_PER_MW,
    SHARE,
    UNIT,
    Basis,
)
from overwatt.pipeline.tables import conform, empty

__all__ = ["FLOP_90D_PER_MW", "SHARE", "p_over", "rank_discrepancies"]

_DAYS = 90.0
_LEVELS = (0.05, 0.50, 0.95)  # quantiles in the ledger
_LEVEL_NAMES = ("p05", "p50", "p95")
_FLOP = (1e25, 1e26)  # thresholds of agreements (docs/methods.md, section 5.3)


def rank_discrepancies(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame | None = None,
    stakes: value_of_information.Stakes = value_of_information.DEFAULTS,
    ranking: RankingSettings | None = None,
) -> gpd.GeoDataFrame:
    """Return `ledger` sorted by rank, with `undeclared_flop_90d` and the columns that belong to the rank filled.

    Ties are sorted by expected FLOP, class, then p_data_center, then entry_id, so the result does not depend on the
    order of the input.

    Args:
        ledger: table `entries` from `reconcile`, or a ledger to rank again.
        sites: table `sites` that it was made from.
        declared: table `declared`; with it, a not_seen row whose declaration is planned, under
            construction or closed counts 0: it does not claim to operate.
        stakes: values of a find and of a wrong entry, costs of a visit and of an image.
        ranking: what orders the list; the default if None.

    Raises:
        RegistryError: an entry names a site that `sites` does not have.
    """
    if not len(ledger):
        return empty("ledger")
    ranking = ranking or RankingSettings()
    b = undeclared_compute.basis(ledger, sites, declared)
    found = _summary(b, (*_FLOP, stakes.flop, ranking.flop))
    worst = undeclared_compute.basis(ledger, sites, declared, worst_case=True)
    found |= {f"worst_{k}": v for k, v in _summary(worst, (stakes.flop,)).items()}
    p = found["over_3"]
    key, error, of, over, hides = {
        "expected": (found["mean"], found["error"], b, None, found["over_2"]),
        "worst_case": (found["worst_mean"], found["worst_error"], worst, None, found["worst_over_0"]),
        # standard error of a share of WORLDS draws
        "p_over": (p, np.sqrt(p * (1 - p) / rank_stability.WORLDS), b, ranking.flop / UNIT, found["over_2"]),
    }[ranking.by]
    order = np.lexsort((np.arange(len(b)), -b.p, b.klass, -found["mean"], -key))
    low, high, tie = rank_stability.places(of, order, key[order], error[order], over)
    step, value = value_of_information.next_step(hides[order], np.array(CLASSES, object)[b.klass[order]], stakes)
    found = {k: v[order] for k, v in found.items()}
    columns = {
        "rank": np.arange(1, len(b) + 1), "undeclared_flop_90d": found["mean"] * UNIT,
        "undeclared_flop_90d_ai": found["worst_mean"] * UNIT, "ranked_by": ranking.text, "p_over_1e25": found["over_0"],
        "p_over_1e26": found["over_1"], "value_of_inspection": value, "next_step": step,
        "q_value": running_share(found["null"]), "rank_low": low, "rank_high": high, "tie": tie,
    }  # fmt: skip
    columns |= {f"undeclared_flop_90d_{q}": found[q] * UNIT for q in _LEVEL_NAMES}
    out = ledger.iloc[b.row[order]].reset_index(drop=True)
    return conform(_with_assumed_power(out, sites).assign(**columns), "ledger")


def _with_assumed_power(ledger: gpd.GeoDataFrame, sites: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Say in `evidence_against` of each entry of a site of unknown power what power its rank rests on."""
    unknown = ledger["site_id"].isin(sites.loc[sites["it_mw_p50"].isna(), "site_id"]).to_numpy(bool)
    text = ledger["evidence_against"].astype(str)
    said = text.str.endswith(ASSUMED_WORDS).to_numpy(bool)  # ranked again
    return ledger.assign(evidence_against=text.where(~unknown | said, text + " " + ASSUMED_WORDS))


def with_controls(
    ledger: gpd.GeoDataFrame, sites: gpd.GeoDataFrame, controls: np.ndarray, screened: int | None = None
) -> gpd.GeoDataFrame:
    """Return `ledger` with `q_value` of undeclared entries from known negatives, not from the model's probabilities.

    Args:
        ledger: from `rank_discrepancies`.
        sites: table `sites`; its `prior` is the share of data centers among what was screened.
        controls: (m,) p_data_center of known negatives of the same imagery, at the same prior.
        screened: number of roofs screened; None: the number of sites, which is too low if small roofs were left out.

    Raises:
        ConfigError: no control, a control that is not finite, or fewer screened than listed.
    """
    if not len(controls):
        raise ConfigError("controls: the table has no row; give p_data_center of known negatives")
    listed = (ledger["class"] == "undeclared").to_numpy(bool)
    # a table of sites that states no prior: 0, the most cautious
    prior = float(np.nan_to_num(sites["prior"].astype(float).median())) if len(sites) else 0.0
    q = ledger["q_value"].to_numpy(float, copy=True)
    q[listed] = false_discovery(
        ledger["p_data_center"].to_numpy(float)[listed], controls, min(prior, 0.999), screened or len(sites)
    )
    return ledger.assign(q_value=q)


def p_over(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    flop: float,
    days: float = _DAYS,
    declared: gpd.GeoDataFrame | None = None,
    *,
    worst_case: bool = False,
) -> np.ndarray:
    """Return P(more than `flop` undeclared FLOP in `days` days) of each entry, (entry,) float64, in ledger order.

    FLOP grow in proportion to days: it is assumed that nothing is built or switched off meanwhile. In the worst case
    every site is all AI.

    Raises:
        ConfigError: flop or days is not above 0.
        RegistryError: an entry names a site that `sites` does not have.
    """
    for name, value in (("flop", flop), ("days", days)):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"p_over: {name} = {value:g}: give a number above 0")
    out = np.zeros(len(ledger))
    if len(ledger):
        b = undeclared_compute.basis(ledger, sites, declared, worst_case=worst_case)
        out[b.row] = _summary(b, (flop * _DAYS / days,))["over_0"]
    return out


def _summary(b: Basis, flops: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Mean, standard error, quantiles, P(over) and null probability of each entry of `b`, (entry,); FLOP in `UNIT`."""
    n = len(b)
    names = ("mean", "error", *_LEVEL_NAMES, *(f"over_{k}" for k in range(len(flops))))
    out = {name: np.zeros(n) for name in names} | {"null": np.ones(n)}
    limits = [np.float32(min(f / UNIT, 1e30)) for f in flops]
    with np.errstate(over="ignore"):
        for rows, draws, real in undeclared_compute.conditional(b, np.arange(n)):
            # X = B Y with P(B = 1) = w: E[X] = w E[Y], E[X^2] = w E[Y^2]
            w = b.weight[rows]
            mean = draws.mean(axis=1).astype(float)
            square = np.einsum("ij,ij->i", draws, draws).astype(float) / draws.shape[1]
            out["mean"][rows] = w * mean
            out["error"][rows] = np.sqrt(np.maximum(w * square - (w * mean) ** 2, 0.0) / rank_stability.WORLDS)
            out["null"][rows] = 1.0 - w * real
            for k, limit in enumerate(limits):
                out[f"over_{k}"][rows] = w * (draws > limit).mean(axis=1)
            for level, name in zip(_LEVELS, _LEVEL_NAMES, strict=True):
                out[name][rows] = _quantile(draws, w, level)
    return out


def _quantile(draws: np.ndarray, weight: np.ndarray, level: float) -> np.ndarray:
    """Least x with P(B Y <= x) >= level, (row,), from ascending draws of Y; 0 if P(B = 0) >= level."""
    # P(B Y <= x) = (1 - w) + w P(Y <= x): the level that Y has to reach
    share = np.divide(level - (1.0 - weight), weight, out=np.zeros_like(weight), where=weight > 1.0 - level)
    at = np.clip(np.ceil(share * draws.shape[1] - 1e-6).astype(np.int64) - 1, 0, draws.shape[1] - 1)
    values = np.take_along_axis(draws, at[:, None], axis=1)[:, 0].astype(float)
    return np.where(share > 1e-9, values, 0.0)
