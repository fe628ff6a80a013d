"""Stability of the ranks: resampled draws, ties, and the spread of the true order.

In: the `Basis` of `undeclared_compute`, expected undeclared compute. Out: 5% and 95% quantiles of the ranks, ties,
a summary.

Two different questions:

* *Resampling.* The list is sorted by an expectation. If the expectation is estimated from 4,000 Monte Carlo draws
  ("worlds", in which "is a data center" and "is undeclared" are drawn too), how much would the order change with new
  draws? 200 bootstrap resamples of the worlds (Efron 1979) answer that: rank_low, rank_high, tie. The list itself uses
  the lattice of `undeclared_compute`, whose error is smaller, so the answer is conservative.
* *Posterior.* What is the true order? In each world the entries are ranked by their undeclared compute in that world.
  This spread is wide, mostly because of "is it undeclared at all", and more draws do not reduce it.

The first 1,200 entries with undeclared compute are resampled and 1,000 of them reported. Ranks after these come from
the normal approximation: the entries whose expectation is within 1.645 standard errors of the entry's own.

`tie` is the rank of the first entry of a group. An entry belongs to the group as long as it changes places with that
first entry in more than a third of the resamples (after the first 1,000: is within 0.43 standard errors of the
difference, which is the same for normal errors). So all entries of a group are compared with its first one.
"""

from __future__ import annotations

import hashlib
import math

import geopandas as gpd
import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from overwatt.pipeline.inspection import undeclared_compute
from overwatt.pipeline.inspection.settings import RankingSettings
from overwatt.pipeline.inspection.undeclared_compute import UNIT, Basis
from overwatt.pipeline.quantiles import SCORE_OF

WORLDS, RESAMPLES, SEED = 4000, 200, 5  # own choices (docs/methods.md, section 6.2)
RESAMPLED, REPORTED = 1200, 1000  # own choice: 200 more than reported, so that the last ranks reported have rivals
FLIP = 1.0 / 3.0  # own choice: two entries with certain order flip in none, equal ones in half of the resamples
TOP = 10
_Z_FLIP = float(ndtri(2 / 3))  # two entries change places in a third of the draws
_ORDERED_WORLDS = 400  # worlds in which the true order is ranked; own choice, for time


def worlds(b: Basis, rows: np.ndarray) -> np.ndarray:
    """Return undeclared FLOP in joint Monte Carlo draws, (n, WORLDS) float32, in `UNIT`.

    The draws of an entry depend only on its id and the shared error, not on other entries.

    Args:
        b: from `undeclared_compute.basis`.
        rows: (n,) int, of `b`, none of class matched.
    """
    place = np.full(len(b), -1)
    place[rows] = np.arange(len(rows))
    common = np.random.default_rng(SEED).standard_normal(WORLDS)
    out = np.empty((len(rows), WORLDS), np.float32)
    for part, draws, _ in undeclared_compute.conditional(b, rows):
        load = undeclared_compute.shared(b, part)
        for k, row in enumerate(part.tolist()):
            seed = int.from_bytes(hashlib.sha256(str(b.entry_id[row]).encode()).digest()[:8])
            rng = np.random.default_rng((SEED, seed))
            own = rng.standard_normal(WORLDS)
            # one-factor Gaussian copula: correlation `load` with the error that all sites share
            u = ndtr(load[k] * common + math.sqrt(1.0 - load[k] ** 2) * own)
            at = np.minimum((u * draws.shape[1]).astype(np.int64), draws.shape[1] - 1)
            out[place[row]] = draws[k, at] * (rng.random(WORLDS) < b.weight[row])
    return out


def resample(drawn: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return bootstrap estimates of `expected`, (n, RESAMPLES) float64.

    Args:
        drawn: (n, world) float32 from `worlds`.
        expected: (n,) float64, same unit.
    """
    count = drawn.shape[1]
    rng = np.random.default_rng(SEED + 1)
    # how often each world is in each resample: the same worlds for all entries keeps their correlation
    times = rng.multinomial(count, np.full(count, 1.0 / count), RESAMPLES).astype(np.float32)
    means = (drawn @ times.T).astype(float) / count
    # shifted so that they spread around the lattice's expectation, not around that of these draws
    return np.asarray(means + (expected - drawn.mean(axis=1, dtype=float))[:, None])


def places(
    b: Basis, order: np.ndarray, expected: np.ndarray, error: np.ndarray, over: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rank_low, rank_high and tie, each (n,) int64 in the list's order.

    Args:
        b: from `undeclared_compute.basis`.
        order: (n,) int, rows of `b` in order of rank.
        expected: (n,) float64 in the order of the list, not increasing, in `UNIT`; with `over` a probability.
        error: (n,) float64, standard error of each from WORLDS draws, in its unit.
        over: threshold in `UNIT` of a list ordered by the probability above it; None: ordered by the expectation.
    """
    n = len(order)
    own = np.arange(1, n + 1)
    low = 1 + np.searchsorted(-expected, -(expected + SCORE_OF["p95"] * error), side="left")
    high = np.searchsorted(-expected, -(expected - SCORE_OF["p95"] * error), side="right")
    first = order[: min(RESAMPLED, int(np.count_nonzero(expected > 0)))]
    means = np.empty((0, RESAMPLES))
    if len(first):
        means = resample(_counted(worlds(b, first), over), expected[: len(first)])
        ranks = _ranks(means)
        shown = min(REPORTED, len(first)) if n > len(first) and len(first) == RESAMPLED else len(first)
        bounds = np.quantile(ranks, [0.05, 0.95], axis=1, method="inverted_cdf")
        low[:shown], high[:shown] = bounds[:, :shown]
    return np.minimum(low, own), np.maximum(high, own), _ties(means, expected, error)


def stability(
    ledger: gpd.GeoDataFrame, sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame | None = None
) -> dict[str, object]:
    """Return how stable the first ranks of a ledger are; deterministic.

    Args:
        ledger: from `ranking.rank_discrepancies`.
        sites: table `sites`.
        declared: table `declared`, as given to `ranking.rank_discrepancies`.

    Returns:
        entries: number of entries with undeclared compute; top: 10, or fewer if there are fewer; top10_kept: mean share
        of the top that stays in it over the resamples, top10_kept_p05 its 5% quantile, first_kept: share of resamples
        in which the first stays first; median_move, p95_move: ranks by which an entry of the top moves; ties_in_top:
        number of tie groups in the top; posterior_top10_kept, posterior_median_move: the same for the order in single
        worlds, among the resampled entries; resamples, draws; statement: a summary in words. Figures are None without
        entries.
    """
    by = RankingSettings.of(ledger["ranked_by"].iloc[0] if len(ledger) else "")
    b = undeclared_compute.basis(ledger, sites, declared, worst_case=by.by == "worst_case")
    over = by.flop / UNIT if by.by == "p_over" else None
    names = ledger["entry_id"].to_numpy(object)[b.row]
    stem = "undeclared_flop_90d_ai" if by.by == "worst_case" else "undeclared_flop_90d"
    expected = ledger[stem].to_numpy(float)[b.row] / UNIT
    order = np.argsort(ledger["rank"].to_numpy()[b.row], kind="stable")
    hides = int(np.count_nonzero(expected > 0))
    first = order[: min(RESAMPLED, hides)]
    top = min(TOP, hides)
    out: dict[str, object] = {"entries": hides, "top": top, "resamples": RESAMPLES, "draws": WORLDS}
    keys = ("top10_kept", "top10_kept_p05", "first_kept", "median_move", "p95_move", "ties_in_top",
            "posterior_top10_kept", "posterior_median_move")  # fmt: skip
    if not top:
        return (
            out | dict.fromkeys(keys) | {"statement": "Nothing on the list hides compute: there is no order to move."}
        )
    assert len(names) == len(order)
    drawn = worlds(b, first)
    counted = _counted(drawn, over)
    moved = _ranks(resample(counted, counted.mean(axis=1, dtype=float) if over else expected[first]))[:top]
    kept = (moved <= top).mean(axis=0)
    away = np.abs(moved - np.arange(1, top + 1)[:, None])
    true = rankdata(-drawn[:, :_ORDERED_WORLDS], method="average", axis=0)[:top]
    lone = np.abs(true - np.arange(1, top + 1)[:, None])
    groups = len(set(ledger["tie"].to_numpy(float, na_value=np.nan)[b.row][order[:top]].tolist()))
    values = (
        float(kept.mean()), float(np.quantile(kept, 0.05, method="inverted_cdf")), float((moved[0] == 1).mean()),
        float(np.median(away)), float(np.quantile(away, 0.95, method="inverted_cdf")), groups,
        float((true <= top).mean()), float(np.median(lone)),
    )  # fmt: skip
    found = dict(zip(keys, values, strict=True))
    words = (
        f"Drawn again ({RESAMPLES} resamples of {WORLDS:,} draws), {values[0]:.0%} of the top {top} stay in it; half "
        f"of them move by {values[3]:.0f} places or fewer, 95% by {values[4]:.0f}. The top {top} are {groups} groups "
        f"that can be told apart. What truly stands there is less sure: in a single draw of the world {values[6]:.0%} "
        f"of the top {top} are among the {top} that hide most."
    )
    return out | found | {"statement": words}


def _counted(drawn: np.ndarray, over: float | None) -> np.ndarray:
    """The draws whose mean orders the list: themselves, or whether they are above a threshold."""
    return drawn if over is None else (drawn > over).astype(np.float32)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each row in each column, 1 for the largest, ties in the order of rows, (n, k) int64."""
    order = np.argsort(-values, axis=0, kind="stable")
    out = np.empty_like(order)
    np.put_along_axis(out, order, np.arange(1, len(values) + 1)[:, None], axis=0)
    return out


def _ties(means: np.ndarray, expected: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Rank of the first entry of each entry's group, (n,) int64."""
    n, known = len(expected), len(means)
    out = np.empty(n, np.int64)
    # difference of two independent estimates: sqrt 2 times the standard error
    reach = np.searchsorted(-expected, -(expected - math.sqrt(2.0) * _Z_FLIP * error), side="right")
    start = 0
    while start < n:
        end = max(int(reach[start]), start + 1)
        if start < known:
            flips = (means[start + 1 :] > means[start]).mean(axis=1)
            apart = (flips <= FLIP) & (expected[start + 1 : known] < expected[start])
            end = start + 1 + int(np.argmax(apart)) if apart.any() else max(end, known)
        out[start:end] = start + 1
        start = end
    return out
