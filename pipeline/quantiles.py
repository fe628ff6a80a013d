"""The nine quantiles that represent a distribution in the tables, and functions of them.

In: draws, or the columns `stem_p025` .. `stem_p975` of a table. Out: quantiles, values between them, the probability
above a value, the spread of the logarithm. Between two quantiles the logarithm is linear in the normal score, so a
log-normal is exact; beyond the outer two the last pieces are extrapolated. Start with `quantile_columns`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from overwatt.pipeline.tables import QUANTILE_NAMES, QUANTILES

SCORES = ndtri(np.array(QUANTILES))
"""Standard normal scores of `QUANTILES`, (9,)."""
SCORE_OF = dict(zip(QUANTILE_NAMES, SCORES.tolist(), strict=True))
Z80 = SCORE_OF["p90"]
"""Half the width of the central 80% of a standard normal, 1.2816: p10 to p90 spans twice this."""
_P50, _P90 = QUANTILE_NAMES.index("p50"), QUANTILE_NAMES.index("p90")
_LOG_MAX = 36.0  # exp(36) = 4e15: far beyond any value in its unit; sums of squares stay within float32


def quantile_columns(stem: str, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Return columns `stem_p025` .. `stem_p975` of the tables, each (site,) float64.

    Args:
        stem: such as 'it_mw'.
        draws: (site, draw).
    """
    if draws.shape[0] == 0:
        return {f"{stem}_{name}": np.empty(0) for name in QUANTILE_NAMES}
    place = np.array(QUANTILES) * (draws.shape[1] - 1)  # linear interpolation (Hyndman and Fan 1996, type 7)
    low = np.floor(place).astype(int)
    ordered = np.sort(draws, axis=1)
    below, above = ordered[:, low].astype(float), ordered[:, np.minimum(low + 1, draws.shape[1] - 1)].astype(float)
    values = (below + (place - low) * (above - below)).T
    return {f"{stem}_{name}": row for name, row in zip(QUANTILE_NAMES, values, strict=True)}


def quantiles_of(table: pd.DataFrame, stem: str, unit: float = 1.0) -> np.ndarray:
    """Return the nine quantiles of a table's rows, (row, 9) float32 in `unit`, made ascending and finite."""
    out = np.empty((len(table), len(QUANTILE_NAMES)), np.float32)
    for k, name in enumerate(QUANTILE_NAMES):
        out[:, k] = np.clip(np.nan_to_num(table[f"{stem}_{name}"].to_numpy(float) / unit), 0.0, 1e15)
    return np.asarray(np.maximum.accumulate(out, axis=1))


def curve(quantiles: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return values at normal scores, (row, score) float32.

    Args:
        quantiles: (row, 9) float32, >= 0, ascending.
        scores: (score,) ascending.
    """
    q = quantiles
    log = np.log(np.maximum(q, np.float32(1e-30)))
    slope = np.diff(log, axis=1) / np.diff(SCORES).astype(np.float32)
    out = np.empty((len(q), len(scores)), np.float32)
    edges = [0, *np.searchsorted(scores, SCORES), len(scores)]
    pieces = [(k, slice(a, b)) for k, (a, b) in enumerate(pairwise(edges)) if a < b]
    for k, at in pieces:
        knot, piece = max(k - 1, 0), min(max(k - 1, 0), 7)
        np.multiply(slope[:, piece, None], (scores[at] - SCORES[knot]).astype(np.float32), out=out[:, at])
        out[:, at] += log[:, knot, None]
    np.minimum(out, np.float32(_LOG_MAX), out=out)
    np.exp(out, out=out)
    if not (q <= 0).any():
        return out
    # a piece that starts at 0 has no logarithm: there the value itself is linear in the score
    for k, at in pieces:
        zero = np.flatnonzero(q[:, min(max(k - 1, 0), 7)] <= 0)
        if not len(zero):
            continue
        if k in (0, 9):
            out[zero, at] = 0.0 if k == 0 else q[zero, 8, None]
        else:
            step = ((scores[at] - SCORES[k - 1]) / (SCORES[k] - SCORES[k - 1])).astype(np.float32)
            out[zero, at] = q[zero, k, None] * step
    return out


def probability_above(quantiles: np.ndarray, value: float) -> np.ndarray:
    """Return the probability above `value`, (row,) float64, from quantiles (row, 9), >= 0 and ascending."""
    n, last = len(quantiles), len(QUANTILES) - 1
    upper = (quantiles <= value).sum(axis=1)
    left = np.clip(upper - 1, 0, last - 1)
    rows = np.arange(n)
    a, b = quantiles[rows, left], quantiles[rows, left + 1]
    log = a > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(log, np.log(value / np.where(log, a, 1.0)), value - a)
        width = np.where(log, np.log(np.where(log, b, 1.0) / np.where(log, a, 1.0)), b - a)
        share = np.where(width > 0, x / np.where(width > 0, width, 1.0), np.where(x < 0, -np.inf, np.inf))
        # above the last quantile a piece that starts at 0 has no slope to continue: nothing is left above it
        share = np.where((upper > last) & ~log, np.inf, share)
        z = SCORES[left] + share * (SCORES[left + 1] - SCORES[left])
    return np.asarray(1.0 - ndtr(z), dtype=np.float64)


def ln_sd_80(low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """Return the ln-sd of a log-normal whose p10 and p90 are given."""
    return np.asarray(np.log(np.divide(high, low)) / (2 * Z80))


def ln_sd(quantiles: np.ndarray) -> np.ndarray:
    """Spread of the logarithm from median to p90, (row,); 10 where the median is 0. The lower half may be zeros."""
    mid, high = quantiles[:, _P50].astype(float), quantiles[:, _P90].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mid > 0, np.log(high / mid) / Z80, 10.0)


def widest_spread(table: pd.DataFrame, stem: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return median, and ln-sd downwards and upwards: the widest that the outer quantiles show, each (row,)."""

    def column(name: str) -> np.ndarray:
        out = pd.to_numeric(table[f"{stem}_{name}"], errors="coerce").to_numpy(float, na_value=np.nan)[rows]
        return np.nan_to_num(np.where(np.isfinite(out), out, np.nan))

    mid = column("p50")
    sd = {-1: np.full(len(rows), 0.01), 1: np.full(len(rows), 0.01)}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in ("p025", "p05", "p10", "p90", "p95", "p975"):
            z = SCORE_OF[name]
            value = np.nan_to_num(np.log(column(name) / mid) / z, nan=np.inf)
            side = -1 if z < 0 else 1
            sd[side] = np.maximum(sd[side], value)
    return mid, sd[-1], sd[1]
