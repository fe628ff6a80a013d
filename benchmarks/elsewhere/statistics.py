"""Statistics of scored roofs: AUC, thresholds, intervals over places, and two fixed halves of the places.

In: scores, and the place and picture that each comes from. Out: numbers. Roofs of one picture and pictures of one place
are alike, so intervals come from a bootstrap in two stages: places, and within each drawn place its pictures (Davison
and Hinkley 1997, "Bootstrap methods and their application", section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

HALVES = ("choose", "report")
"""Recipes are chosen on the places of the first half and reported on those of the second."""
RESAMPLES = 1000

Measures = Mapping[str, float | None]


def auc(positive: Iterable[float], negative: Iterable[float]) -> float | None:
    """Return P(positive score > negative score), ties counted half (Mann-Whitney); None if either is empty."""
    p, n = np.sort(np.fromiter(positive, float)), np.sort(np.fromiter(negative, float))
    if not len(p) or not len(n):
        return None
    # left + right counts each tie once below and once not: half of the sum
    below = np.searchsorted(n, p, "left") + np.searchsorted(n, p, "right")
    return float(below.sum() / (2 * len(p) * len(n)))


def threshold_at(ordinary: Sequence[float], one_in: int) -> float:
    """Return the lowest threshold that at most one in `one_in` ordinary roofs reaches."""
    ranked = np.sort(ordinary)[::-1]
    allowed = len(ranked) // one_in
    # just above the first score that is not allowed
    return float(np.nextafter(ranked[allowed], 2)) if allowed < len(ranked) else 0.0


def share(values: Sequence[float], threshold: float) -> float | None:
    """Return the share of values at or above a threshold; None without values."""
    return float(np.mean(np.asarray(values) >= threshold)) if len(values) else None


def halves(counts: Mapping[Any, Sequence[int]]) -> dict[Any, str]:
    """Return the half of each place: the same places and counts always give the same split.

    The places are taken from the largest to the smallest (equal ones by name), and each goes to the half with which the
    two differ least (sum of squared differences, each count relative to its total).

    Args:
        counts: for each place what both halves should have about equally many of, the most important first.
    """
    # at least 1: a thing that no place has makes no difference
    total = np.maximum(np.sum([*counts.values()], axis=0), 1)
    apart = np.zeros(len(total))  # first half minus second
    half = {}
    for place in sorted(counts, key=lambda k: (*(-c for c in counts[k]), str(k))):
        step = np.array(counts[place]) / total
        first = ((apart + step) ** 2).sum() <= ((apart - step) ** 2).sum()
        half[place] = HALVES[0] if first else HALVES[1]
        apart += step if first else -step
    return half


class Clusters:
    """Rows grouped by place, and within it by picture or site, to be resampled."""

    def __init__(self, place: Sequence[Hashable], unit: Sequence[Hashable]) -> None:
        grouped: dict[Hashable, dict[Hashable, list[int]]] = {}
        for row, (p, u) in enumerate(zip(place, unit, strict=True)):
            grouped.setdefault(p, {}).setdefault(u, []).append(row)
        self._places = [[np.array(rows) for rows in units.values()] for units in grouped.values()]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return row numbers of one resample: places with replacement, then units of each with replacement."""
        rows = [np.empty(0, int)]
        for p in rng.integers(0, len(self._places), len(self._places)) if self._places else []:
            units = self._places[p]
            rows += [units[u] for u in rng.integers(0, len(units), len(units))]
        return np.concatenate(rows)


def intervals(
    measure: Callable[[np.ndarray, np.ndarray], Measures], a: Clusters, b: Clusters, resamples: int = RESAMPLES
) -> dict[str, list[float] | None]:
    """Return the 95% interval of each measure when two tables are resampled.

    Args:
        measure: takes row numbers of both tables, returns named numbers; None where undefined.
        a: rows of the first table.
        b: rows of the second table.
        resamples: number of resamples.
    """
    rng = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        for name, value in measure(a.draw(rng), b.draw(rng)).items():
            drawn.setdefault(name, []).append(np.nan if value is None else value)
    out: dict[str, list[float] | None] = {}
    for name, values in drawn.items():
        known = np.array(values)[np.isfinite(values)]
        out[name] = [float(v) for v in np.percentile(known, [2.5, 97.5])] if len(known) else None
    return out
