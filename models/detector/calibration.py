"""Calibration: from scores to probabilities, and how good the probabilities are.

In: held-out scores and what the objects were. Out: Platt coefficients for the weights' card, Brier
score, reliability by bins, each with a 95% interval from a bootstrap over groups (blocks, scenes or
places), because objects of one group are right and wrong together.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from overwatt.models.detector.card import Calibration

LEAST = 1 / 512
"""Scores are means of 8-bit numbers: nearer to 0 or 1 than half a step they cannot tell."""


def logit(p: np.ndarray | float) -> np.ndarray:
    """Log-odds, clipped where 8 bits cannot tell a score from 0 or 1."""
    q = np.clip(p, LEAST, 1 - LEAST)
    return np.asarray(np.log(q / (1 - q)))


def fit(score: np.ndarray, center: np.ndarray) -> Calibration:
    """Platt scaling with a weak prior towards the identity.

    Args:
        score: (n,) data-center score of held-out objects, 0..1.
        center: (n,) bool, what they were.

    Returns:
        Coefficients a, b: log-odds = a + b logit(score), and the share of data centers fit on; the
        identity where only one class was there.
    """
    x, y = logit(score), np.asarray(center, float)
    if len(np.unique(y)) < 2:
        return Calibration(objects=len(y))

    def loss(ab: np.ndarray) -> float:
        z = ab[0] + ab[1] * x
        miss = np.logaddexp(0, z) - y * z
        return float(miss.sum() + 0.5 * ab[0] ** 2 / 1.0 + 0.5 * (ab[1] - 1) ** 2 / 0.25)

    a, b = minimize(loss, [0.0, 1.0], bounds=[(-5, 5), (0.05, 3)]).x
    return Calibration(a=float(a), b=float(b), prevalence=float(np.clip(y.mean(), 0.02, 0.98)), objects=len(y))


def shifted(score: np.ndarray, offset: float) -> np.ndarray:
    """Scores 0..1 moved so that what had log-odds `offset` becomes 0.5."""
    return np.asarray(1 / (1 + np.exp(offset - logit(score))))


def offset_for(score: np.ndarray, center: np.ndarray, called: float = 0.1) -> float:
    """Return the least offset at which at most a share of other buildings is called data center.

    Args:
        score: (n,) score of held-out objects, 0..1.
        center: (n,) bool, what they were.
        called: that share. A tenth is what the project promises of the district; at three data centers
            in 1,000 large roofs false sites cost more than the few data centers between.

    Returns:
        Log-odds, at least 0; 0 where no other building was there.
    """
    others = np.asarray(score)[~np.asarray(center, bool)]
    return max(0.0, float(logit(np.quantile(others, 1 - called, method="higher")))) if len(others) else 0.0


def brier(p: np.ndarray, center: np.ndarray) -> float:
    """Mean squared error of probabilities (Brier 1950)."""
    return float(np.mean((np.asarray(p) - np.asarray(center, float)) ** 2))


def interval(
    p: np.ndarray, center: np.ndarray, group: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95% interval of the Brier score from a bootstrap over groups; None for fewer than two groups."""
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
    """Mean probability and share of data centers in bins of equal width, empty bins left out.

    Returns:
        A row a bin: p, share, n and the share's 95% interval over groups.
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
