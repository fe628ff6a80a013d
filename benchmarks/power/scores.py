"""Scores of log-normal predictions.

All scores use the error e = ln(truth) - mu and the predicted ln-sd: coverage of the central 50, 80 and 95% intervals,
CRPS of the normal distribution (Gneiting and Raftery 2007, eq. 21), root mean square error (called ln_sd; Epoch AI's
factor of 1.4 at 80% is an ln-sd of 0.26). Intervals: bootstrap over groups (a manufacturer, an owner, a site),
because rows of one group share errors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binom, norm

WITHIN = float(np.log(1.4))
# quantiles of the standard normal distribution at 75%, 90% and 97.5%
_Z = {"coverage_50": 0.674490, "coverage_80": 1.281552, "coverage_95": 1.959964}


def crps(error: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Return the CRPS of N(0, sd²) at `error`, same shape; the absolute error where sd is 0."""
    error, sd = np.broadcast_arrays(np.asarray(error, float), np.asarray(sd, float))
    z = np.divide(error, sd, out=np.zeros_like(error), where=sd > 0)
    # Gneiting and Raftery 2007, eq. 21, with the sign of a loss
    value = sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    out: np.ndarray = np.where(sd > 0, value, np.abs(error))
    return out


def binomial_band(n: int, p: float = 0.8) -> list[float]:
    """Return the central 95% interval of the share of hits in n independent trials with probability p."""
    low, high = binom.ppf([0.025, 0.975], n, p) / n
    return [round(float(low), 4), round(float(high), 4)]


def summary(
    ln_true: Sequence[float] | np.ndarray,
    mu: Sequence[float] | np.ndarray,
    sd: Sequence[float] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    *,
    seed: int = 0,
    samples: int = 1000,
) -> dict[str, object]:
    """Return the scores with their 95% bootstrap intervals under 'intervals'.

    Args:
        ln_true: (row,) logarithm of the truth.
        mu: (row,) logarithm of the predicted median.
        sd: (row,) predicted ln-sd.
        groups: (row,) group that the bootstrap resamples as a whole.
        seed: seed of the bootstrap.
        samples: number of bootstrap samples.
    """
    error = np.asarray(ln_true, float) - np.asarray(mu, float)
    spread = np.broadcast_to(np.asarray(sd, float), error.shape)
    values: dict[str, tuple[np.ndarray, Callable[[np.ndarray], float]]] = {
        name: ((np.abs(error) <= z * spread).astype(float), _mean) for name, z in _Z.items()
    }
    values["median_abs_ln_error"] = (np.abs(error), lambda x: float(np.median(x)))
    values["within_1_4"] = ((np.abs(error) <= WITHIN).astype(float), _mean)
    values["ln_sd"] = (error**2, lambda x: float(np.sqrt(x.mean())))
    values["crps"] = (crps(error, spread), _mean)
    names, index = np.unique(np.asarray(groups).astype(str), return_inverse=True)
    rows = [np.flatnonzero(index == k) for k in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = [np.concatenate([rows[k] for k in rng.integers(len(rows), size=len(rows))]) for _ in range(samples)]
    out: dict[str, object] = {"n": len(error), "groups": len(names)}
    intervals = {}
    for name, (x, statistic) in values.items():
        out[name] = round(statistic(x), 4)
        intervals[name] = [round(float(v), 4) for v in np.quantile([statistic(x[d]) for d in drawn], [0.025, 0.975])]
    out["coverage_80_band_if_true"] = binomial_band(len(error))
    out["intervals"] = intervals
    return out


def _mean(x: np.ndarray) -> float:
    return float(x.mean())
