"""Fusion of log-normal statements on one quantity, with named sources of error.

In: `Statement`s. Out: their best linear combination in log space, and the share of its variance from
each source of error. A source that two statements name is one and the same error, so it does not
average out. Shares add up to one.

ln m_k = θ + Σ_j a_kj z_j, z_j standard normal. Weights minimise the variance of Σ_k w_k ln m_k under
Σ w = 1 (generalised least squares, Aitken 1935; docs/methods.md, section 4.4) and w ≥ 0: with a negative
weight, evidence for more power would lower the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np


@dataclass(frozen=True)
class Statement:
    """One kind of evidence on the quantity.

    Attributes:
        name: of the evidence.
        median: of the quantity, > 0.
        errors: source of error -> ln-sd, >= 0; the same name in another statement is the same error.
        words: description in words.
    """

    name: str
    median: float
    errors: Mapping[str, float]
    words: str = ""

    @property
    def ln_sd(self) -> float:
        """ln-sd of this statement alone."""
        return math.sqrt(sum(s * s for s in self.errors.values()))


@dataclass(frozen=True)
class Fused:
    """The result: `median`, `ln_sd`, `loadings` (source -> ln-sd that it contributes), `weights` (name -> 0..1)."""

    median: float
    ln_sd: float
    loadings: Mapping[str, float]
    weights: Mapping[str, float]

    def shares(self) -> dict[str, float]:
        """Share of variance by source, largest first; they add up to 1, or are empty if there is no spread."""
        return shares(self.loadings)


def shares(loadings: Mapping[str, float]) -> dict[str, float]:
    """Share of variance by source of independent errors, largest first."""
    total = sum(v * v for v in loadings.values())
    parts = {k: v * v / total for k, v in loadings.items() if v} if total > 0 else {}
    return dict(sorted(parts.items(), key=lambda item: (-item[1], item[0])))


def fuse(statements: Sequence[Statement]) -> Fused:
    """Fuse statements on one quantity.

    Raises:
        ValueError: there is no statement, or a median is not positive (a bug, not user input).
    """
    if not statements or any(not s.median > 0 for s in statements):
        raise ValueError("fusion needs statements of positive median")
    w, loadings, ln_sd = _combination(tuple(tuple(s.errors.items()) for s in statements))
    ln_median = sum(x * math.log(s.median) for x, s in zip(w, statements, strict=True))
    return Fused(math.exp(ln_median), ln_sd, loadings, {s.name: x for s, x in zip(statements, w, strict=True)})


@lru_cache(maxsize=4096)
def _combination(
    errors: tuple[tuple[tuple[str, float], ...], ...],
) -> tuple[tuple[float, ...], Mapping[str, float], float]:
    """Weights, loadings and ln-sd; cached, because they depend only on the errors, which are the same at many sites."""
    rows = [dict(e) for e in errors]
    sources = sorted({name for row in rows for name in row})
    a = np.array([[row.get(name, 0.0) for name in sources] for row in rows])
    w = _weights(a @ a.T)  # covariance of the statements: shared sources give its off-diagonal terms
    loading = w @ a
    loadings = MappingProxyType(dict(zip(sources, loading.tolist(), strict=True)))
    return tuple(w.tolist()), loadings, float(np.sqrt((loading**2).sum()))


def without(statements: Iterable[Statement], source: str, left: float) -> list[Statement]:
    """Return the statements with the ln-sd of one source of error limited to `left`."""
    return [
        Statement(s.name, s.median, {k: min(v, left) if k == source else v for k, v in s.errors.items()}, s.words)
        for s in statements
    ]


def _weights(covariance: np.ndarray) -> np.ndarray:
    """Weights >= 0 with sum 1 of least variance: drop the most negative one of the free solution until none is left."""
    n = len(covariance)
    # ridge: two statements with the same errors make the matrix singular
    covariance = covariance + 1e-12 * np.eye(n)
    kept = list(range(n))
    while True:
        # w = C^-1 1 / (1' C^-1 1)
        w = np.linalg.solve(covariance[np.ix_(kept, kept)], np.ones(len(kept)))
        w /= w.sum()
        if (w >= 0).all():
            out = np.zeros(n)
            out[kept] = w
            return out
        del kept[int(w.argmin())]
