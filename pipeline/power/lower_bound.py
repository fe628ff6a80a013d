"""Equipment that was seen, as a lower bound on power.

What an image shows is a part of what stands there: the rest is indoors, under cover or not outlined, and the site
decides what it shows. So the equipment is read in two ways: as all of it, fused with the other evidence as usual
(overwatt.pipeline.power.fusion), and as a part, above which the other evidence holds. The second reading takes the
share of the draws that keeps the median from falling below that of the other evidence, and `A_PART` at least.
So more equipment never lowers the median (docs/methods.md, section 4.4; docs/decisions/0013).

In: statements of the other evidence and of the equipment. Out: the statements to fuse, and the second reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr, ndtr, ndtri, ndtri_exp, owens_t

from overwatt.pipeline.power.fusion import Fused, Statement, fuse

A_PART = 0.2
"""Least share of the draws in which the equipment seen is a part; own choice: some of a site's cooling is often
indoors, under cover or outside air, and nothing in a picture tells."""


@dataclass(frozen=True)
class Part:
    """Power given the other evidence and that it lies above what the equipment seen can serve.

    Attributes:
        weight: share of the draws, 0 to 1.
        mean, sd: of ln IT MW by the other evidence.
        bound, bound_sd: of ln IT MW that the equipment seen can serve.
        loadings: source of error -> ln-sd of the other evidence.
    """

    weight: float
    mean: float
    sd: float
    bound: float
    bound_sd: float
    loadings: Mapping[str, float]

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Return n draws of ln IT MW, (draw,) float32.

        With X ~ N(mean, sd²) and the bound's error, u = X - error is normal; given u > bound it is a truncated normal,
        and X given u is normal.
        """
        wide, k = self._standard()
        left = 1.0 - rng.random(n)
        # inverse of the upper tail of a normal; far out by its logarithm, because the tail itself is 0
        u = -ndtri(ndtr(-k) * left) if k < 8.0 else -ndtri_exp(log_ndtr(-k) + np.log(left))
        share = self.sd / wide
        out = np.multiply(rng.standard_normal(n, np.float32), np.float32(self.sd * math.sqrt(1.0 - share**2)))
        out += np.float32(self.mean) + np.float32(self.sd * share) * u.astype(np.float32)
        return out

    def moments(self) -> tuple[float, float]:
        """Return mean and standard deviation of ln IT MW."""
        wide, k = self._standard()
        # inverse Mills ratio φ(k) / Φ(-k): mean of a standard normal above k
        h = math.exp(-0.5 * k * k - 0.5 * math.log(2.0 * math.pi) - float(log_ndtr(-k)))
        share = self.sd / wide
        variance = 1.0 - share**2 * h * (h - k)
        return self.mean + self.sd * share * h, self.sd * math.sqrt(max(variance, 1e-12))

    def below_mean(self) -> float:
        """Return the probability that ln IT MW is below `mean`, at most 0.5."""
        _, k = self._standard()
        above = float(ndtr(-k))
        # P(X < 0, u > k) = (1 - Φ(k)) / 2 - T(k, r / sqrt(1 - r²)) with Owen's function T (Owen 1956)
        return 0.5 - float(owens_t(k, self.sd / self.bound_sd)) / above if above > 1e-300 else 0.0

    def _standard(self) -> tuple[float, float]:
        wide = math.hypot(self.sd, self.bound_sd)
        return wide, (self.bound - self.mean) / wide


def combine(others: Sequence[Statement], equipment: Sequence[Statement]) -> tuple[tuple[Statement, ...], Part | None]:
    """Return the statements to fuse, and the reading of the equipment as a part; None without other evidence.

    Of several statements on equipment, either all are used or one: what gives most power. So one generator cannot
    lower what a hundred chillers say.
    """
    if not equipment:
        return tuple(others), None
    choices = [tuple(equipment)] + ([(s,) for s in equipment] if len(equipment) > 1 else [])
    found = [_read(others, choice) for choice in choices]
    return found[0] if len(found) == 1 else max(found, key=lambda choice: ln_median(*choice))


def _read(others: Sequence[Statement], equipment: tuple[Statement, ...]) -> tuple[tuple[Statement, ...], Part | None]:
    statements = (*others, *equipment)
    if not others:
        return statements, None
    rest, seen, both = fuse(others), fuse(equipment), fuse(statements)
    mean = math.log(rest.median)
    part = Part(A_PART, mean, rest.ln_sd, math.log(seen.median), seen.ln_sd, rest.loadings)
    below = _below(both, mean)
    if below > 0.5:
        # weight w at which half of the draws are below: (1 - w) below + w below_mean = 1/2
        least = (below - 0.5) / (below - part.below_mean())
        part = Part(max(A_PART, least), mean, rest.ln_sd, part.bound, part.bound_sd, rest.loadings)
    return statements, part


def _below(fused: Fused, ln_mw: float) -> float:
    return float(ndtr((ln_mw - math.log(fused.median)) / max(fused.ln_sd, 1e-9)))


def ln_median(statements: Sequence[Statement], part: Part | None) -> float:
    """Return the median of ln IT MW of both readings together, to 0.001."""
    fused = fuse(statements)
    mean = math.log(fused.median)
    if part is None:
        return mean
    top = max(mean + 2 * fused.ln_sd, part.bound, part.mean) + 4 * part.sd
    x = np.linspace(part.mean - 8 * part.sd, top, 8001)  # the median is not below part.mean
    # density of the second reading, up to a factor: φ((x - mean) / sd) Φ((x - bound) / bound_sd)
    density = np.exp(-0.5 * ((x - part.mean) / part.sd) ** 2 + log_ndtr((x - part.bound) / part.bound_sd))
    second = np.cumsum(density) / density.sum()
    cdf = (1.0 - part.weight) * ndtr((x - mean) / fused.ln_sd) + part.weight * second
    return float(np.interp(0.5, cdf, x))
