"""How far the order of the list hangs on chance: resampled draws, and what the true order may be.

Two questions, kept apart. `resampled`: the ranking number is a mean over a finite number of draws of power and compute;
other draws of the same number give another mean, hence another order. `true_order`: even with endless draws nobody
knows which site really holds most; a list by expectation says where to look, not who is largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REPEATS = 200
TOP = 1000
"""Entries that are resampled; further down ranks stand without a range."""
DRAWS = 4000
"""Draws that a ranking number stands for (pipeline.power)."""
_TIED = 1 / 3  # neighbours whose order flips in more than this share of the repeats cannot be told apart


@dataclass(frozen=True)
class Stability:
    """Ranges of rank of the first `TOP` entries, and what they come to.

    Attributes:
        low: (n,) 5% quantile of the rank, from 1.
        high: (n,) 95% quantile.
        tie: (n,) group of entries whose order cannot be told apart, from 1.
        top10_kept: mean share of the top 10 that stays in the top 10 when the draws are resampled.
        median_move: median over the top 10 of the mean change of rank.
        true_top10: expected share of the top 10 that is among the ten largest in truth.
    """

    low: np.ndarray
    high: np.ndarray
    tie: np.ndarray
    top10_kept: float
    median_move: float
    true_top10: float


def stability(weight: np.ndarray, values: np.ndarray, names: np.ndarray, seed: int = 0) -> Stability:
    """Return how stable the order of entries is that are given from first to last.

    Args:
        weight: (n,) probability that an entry hides anything.
        values: (n, node) equally likely FLOP if it does.
        names: (n,) entry ids: chance goes by name, so that the order of the input plays no part.
        seed: of the resampling.
    """
    n = len(weight)
    if not n:
        return Stability(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), 1.0, 0.0, 1.0)
    mean = weight * values.mean(1)
    sd = np.sqrt(np.maximum(weight * (values**2).mean(1) - mean**2, 0.0) / DRAWS)
    by_name = np.argsort(names.astype(str), kind="stable")
    noise, uniform, hit = np.empty((REPEATS, n)), np.empty((REPEATS, n)), np.empty((REPEATS, n))
    rng = np.random.default_rng((seed, 6))
    noise[:, by_name], uniform[:, by_name], hit[:, by_name] = (
        rng.standard_normal((REPEATS, n)), rng.random((REPEATS, n)), rng.random((REPEATS, n)),
    )  # fmt: skip
    again = _ranks(mean + sd * noise)
    node = np.minimum((uniform * values.shape[1]).astype(int), values.shape[1] - 1)
    truth = _ranks(np.where(hit < weight, values[np.arange(n), node], 0.0))
    top = min(10, n)
    flips = (again[:, 1:] < again[:, :-1]).mean(0)
    return Stability(
        low=np.floor(np.quantile(again, 0.05, axis=0)).astype(int),
        high=np.ceil(np.quantile(again, 0.95, axis=0)).astype(int),
        tie=1 + np.concatenate([[0], np.cumsum(flips <= _TIED)]),
        top10_kept=float((again[:, :top] <= top).mean()),
        median_move=float(np.median(np.abs(again[:, :top] - np.arange(1, top + 1)).mean(0))),
        true_top10=float((truth[:, :top] <= top).mean()),
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each column in each row, 1 for the largest; ties to the first."""
    order = np.argsort(-values, axis=1, kind="stable")
    out = np.empty_like(order)
    np.put_along_axis(out, order, np.arange(1, values.shape[1] + 1)[None, :], axis=1)
    return out
