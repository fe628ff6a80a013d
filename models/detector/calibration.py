"""Calibration: from scores to probabilities, and how good the probabilities are.

In: scores of held-out objects and their true classes. Out: Platt coefficients for the card of the weights, the Brier
score, and reliability by bins. Intervals are 95% from a bootstrap over groups (blocks, scenes or places), because the
errors within a group are correlated.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from overwatt.models.detector.card import Calibration

LEAST = 1 / 512
"""Half a step of 8 bits. Scores are means of 8-bit numbers, so values closer to 0 or 1 cannot be told from 0 or 1."""


def logit(p: np.ndarray | float) -> np.ndarray:
    """Return the log-odds of scores, clipped to [LEAST, 1 - LEAST]."""
    # not scipy.special.logit: it differs in the last bits on 64 of the 256 scores k/255, and thus in stored results
    q = np.clip(p, LEAST, 1 - LEAST)
    return np.asarray(np.log(q / (1 - q)))


def fit(score: np.ndarray, center: np.ndarray) -> Calibration:
    """Fit Platt scaling with a weak prior towards the identity (Platt 1999).

    Args:
        score: (n,) data-center score of held-out objects, 0..1.
        center: (n,) bool, whether they are data centers.

    Returns:
        Coefficients a, b of log-odds = a + b logit(score), and the share of data centers among the objects; the
        identity if all objects are of one class.
    """
    x, y = logit(score), np.asarray(center, float)
    if len(np.unique(y)) < 2:
        return Calibration(objects=len(y))

    def loss(ab: np.ndarray) -> float:
        z = ab[0] + ab[1] * x
        miss = np.logaddexp(0, z) - y * z  # negative log-likelihood of a logistic regression
        # priors a ~ N(0, 1), b ~ N(1, 0.5^2); own choice: few objects leave it near the identity
        return float(miss.sum() + 0.5 * ab[0] ** 2 / 1.0 + 0.5 * (ab[1] - 1) ** 2 / 0.25)

    # b > 0: a higher score never means a lower probability
    a, b = minimize(loss, [0.0, 1.0], bounds=[(-5, 5), (0.05, 3)]).x
    return Calibration(a=float(a), b=float(b), prevalence=float(np.clip(y.mean(), 0.02, 0.98)), objects=len(y))


def shifted(score: np.ndarray, offset: float) -> np.ndarray:
    """Return scores 0..1, shifted so that a score with log-odds `offset` becomes 0.5."""
    return of_log_odds(logit(score) - offset)


def of_log_odds(odds: np.ndarray) -> np.ndarray:
    """Return the probabilities of log-odds."""
    # not scipy.special.expit: it differs in the last bit on some scores
    return np.asarray(1 / (1 + np.exp(-odds)))


def offset_for(score: np.ndarray, center: np.ndarray, called: float = 0.1) -> float:
    """Return the smallest offset at which at most a given share of other buildings is called a data center.

    Args:
        score: (n,) score of held-out objects, 0..1.
        center: (n,) bool, whether they are data centers.
        called: that share. 0.1 is the target of the project for a district. At a prevalence of 0.3% of large roofs,
            false positives cost more than the few data centers that a higher offset loses.

    Returns:
        Log-odds, at least 0; 0 if there is no other building.
    """
    others = np.asarray(score)[~np.asarray(center, bool)]
    return max(0.0, float(logit(np.quantile(others, 1 - called, method="higher")))) if len(others) else 0.0


def brier(p: np.ndarray, center: np.ndarray) -> float:
    """Return the mean squared error of probabilities (Brier 1950)."""
    return float(np.mean((np.asarray(p) - np.asarray(center, float)) ** 2))


def interval(
    p: np.ndarray, center: np.ndarray, group: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95% interval of the Brier score from a bootstrap over groups; None for fewer than two groups."""
    names, member = np.unique(group, return_inverse=True)
    if len(names) < 2:
        return None
    miss = (np.asarray(p) - np.asarray(center, float)) ** 2
    total, count = np.bincount(member, miss), np.bincount(member)
    pick = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    low, high = np.percentile(total[pick].sum(1) / count[pick].sum(1), [2.5, 97.5])
    return float(low), float(high)


def reliability(
    p: np.ndarray, center: np.ndarray, group: np.ndarray, *, bins: int = 5, resamples: int = 1000, seed: int = 0
) -> list[dict[str, float | list[float]]]:
    """Return mean probability and share of data centers in bins of equal width, without empty bins.

    Returns:
        One row per bin: p, share, n, and the 95% interval of the share over groups.
    """
    p, y = np.asarray(p, float), np.asarray(center, float)
    names, member = np.unique(group, return_inverse=True)
    pick = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    which = np.minimum((p * bins).astype(int), bins - 1)
    rows: list[dict[str, float | list[float]]] = []
    for b in np.unique(which):
        here = which == b
        hits = np.bincount(member[here], y[here], len(names))[pick].sum(1)
        count = np.bincount(member[here], minlength=len(names))[pick].sum(1)
        low, high = np.percentile((hits / np.maximum(count, 1))[count > 0], [2.5, 97.5])
        n = int(here.sum())
        rows.append({"p": float(p[here].mean()), "share": float(y[here].mean()), "n": n, "interval": [low, high]})
    return rows
