"""Power of sites from footprint, cooling equipment, generators and caps.

In: `SiteEvidence`, one per site. Out: `PowerDraws`: paired draws of IT and facility power, the seed that reproduces
them, an error budget and a text with their assumptions.

Method (docs/methods.md, section 4): every kind of evidence is a log-normal statement on IT power with named errors
(overwatt.pipeline.power.evidence_models). The statements are fused by generalised least squares in log space
(overwatt.pipeline.power.fusion), which is exact; draws are made from the result. An error that several statements
share never averages out. Equipment seen is a lower bound (overwatt.pipeline.power.lower_bound): more of it never
lowers the median, and none seen is no evidence of low power, because much of it stands indoors or under cover, and
some halls use outside air. A substation or a site's own turbines are caps: power stays below them.

Each site has its own random stream, named by its id: its numbers do not depend on the other sites. Secondary factors
are slices of pools of draws made once (`pool_slice`), so 100,000 sites take only a few times as long as drawing as
many log-normals. Constants and their sources are in models/reference.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.equipment import either_way
from overwatt.models.reference import facts
from overwatt.pipeline.power.equipment_evidence import COMMON, RATIO, packing
from overwatt.pipeline.power.evidence import YEARS, SiteEvidence
from overwatt.pipeline.power.evidence_models import (  # fmt: skip
    BORDER,
    SEEN,
    UNSEEN,
    Case,
    case,
    facility_ratio,
    footprint_prior,
    ratio_slope,
)
from overwatt.pipeline.power.fusion import Fused, fuse
from overwatt.pipeline.power.lower_bound import A_PART, Part

__all__ = ["PowerDraws", "SiteEvidence", "estimate", "footprint_prior", "packing", "pool_slice", "sharpen", "site_seed"]

POOL = 65_536
"""Draws in a pool; own choice: 16 times the usual 4,096 draws of a site."""


@dataclass(frozen=True)
class PowerDraws:
    """Paired draws: column j of `it_mw` and of `facility_mw` belong together.

    Attributes:
        it_mw: (site, draw) float32, MW, IT power that the site could carry.
        facility_mw: (site, draw) float32, MW, IT and cooling at peak; above `it_mw` in every draw.
        seeds: (site,) int64, the seed of each site's draws.
        assumptions: one text per site; empty if not requested.
        site_ids: ids of the sites, in row order.
        budgets: per site, variance of ln IT power by source of error; divided by their sum they are shares.
            Caps are applied afterwards and reduce all sources alike.
        facility_budgets: the same for facility power.
        evidence: per site, names of the statements and caps used: footprint, buildings, outlined, counted, generators,
            substation, turbines; storeys where the number of storeys or the height changed the footprint's statement.
    """

    it_mw: np.ndarray
    facility_mw: np.ndarray
    seeds: np.ndarray
    assumptions: tuple[str, ...]
    site_ids: tuple[str, ...] = ()
    budgets: tuple[Mapping[str, float], ...] = ()
    facility_budgets: tuple[Mapping[str, float], ...] = ()
    evidence: tuple[tuple[str, ...], ...] = ()


def estimate(
    evidence: Sequence[SiteEvidence], *, year: int, seed: int = 0, draws: int = 4096, words: bool = True
) -> PowerDraws:
    """Return draws of IT and facility power of each site.

    Args:
        evidence: sites, in any order.
        year: year of the estimate; sets the mix of building classes. The year of a site's own image wins.
        seed: of the run; each site's own seed is derived from it and the site's id.
        draws: number of draws.
        words: whether to make texts and budgets, which take a third of the time.

    Raises:
        ConfigError: a value, or the power that follows from it, is impossible (mostly a wrong unit).
    """
    if not YEARS[0] <= year <= YEARS[1]:
        raise ConfigError(f"year: {year} is outside {YEARS[0]}-{YEARS[1]}; give the year of the imagery")
    if draws < 1:
        raise ConfigError(f"draws: {draws} is too few; give 1 or more")
    shape = (len(evidence), draws)  # float32: half the memory, and errors far below those of the evidence
    it_mw, facility_mw = np.empty(shape, np.float32), np.empty(shape, np.float32)
    seeds = np.array([site_seed(seed, e.site_id) for e in evidence], dtype=np.int64)
    texts, budgets, facility_budgets, used = [], [], [], []
    for row, site in enumerate(evidence):
        found = case(site, year)
        fused = fuse(found.statements)
        used.append(found.names)
        _draw(found, fused, int(seeds[row]), it_mw[row], facility_mw[row])
        if words:
            budgets.append(variances(found, fused))
            facility_budgets.append(variances(found, fused, facility=True))
            texts.append(_words(found, budgets[-1]))
        else:
            texts.append("")
    ids = tuple(e.site_id for e in evidence)
    return PowerDraws(
        it_mw, facility_mw, seeds, tuple(texts), ids, tuple(budgets), tuple(facility_budgets), tuple(used)
    )


def sharpen(drawn: PowerDraws, hints: Mapping[int, tuple[str | None, str | None, float]]) -> PowerDraws:
    """Return the draws with facility power drawn again where a matched declaration tells the operator or the cooling.

    IT power stays as it is: a declaration must not move the power that it is to be compared with.

    Args:
        drawn: of `estimate`.
        hints: row -> (operator, kind of cooling, weight); in a share `weight` (0 to 1) of the draws the ratio of
            facility to IT power is that of the operator, else of the cooling.
    """
    draws = drawn.it_mw.shape[1]
    facility_mw = drawn.facility_mw.copy()
    texts, budgets = list(drawn.assumptions), list(drawn.facility_budgets)
    for row, (name, cooling, weight) in hints.items():
        median, ln_sd = facility_ratio(name, cooling)
        seed = int(drawn.seeds[row])
        chosen = np.random.default_rng((seed, 5)).random(draws) < weight
        # the same draws of the ratio's error as in `_draw`: rows without a hint and with weight 0 stay as they are
        own = 1.0 + (median - 1.0) * np.exp(ln_sd * _errors_of_ratio(seed, draws))
        facility_mw[row, chosen] = (drawn.it_mw[row] * own)[chosen]
        if texts[row]:
            whose = " and ".join(x for x in (name, cooling) if x) or "any site"
            texts[row] += f" In {weight:.0%} of the draws the ratio is that of {whose}, as a matched declaration says."
        if budgets:
            # var(ln facility) less the part that the ratio has no share in: 2 cov + var of the ratio + its part in IT
            both = np.cov(np.log(drawn.it_mw[row]), np.log(facility_mw[row] / drawn.it_mw[row]))
            of_ratio = drawn.budgets[row].get(RATIO, 0.0) + float(2.0 * both[0, 1] + both[1, 1])
            budgets[row] = {**budgets[row], RATIO: max(0.0, of_ratio)}
    return replace(drawn, facility_mw=facility_mw, assumptions=tuple(texts), facility_budgets=tuple(budgets))


def site_seed(seed: int, site_id: str) -> int:
    """Return the seed of one site's draws: 63 bits of SHA-256 over the run's seed and the id (fits int64)."""
    digest = hashlib.sha256(f"{seed}\0{site_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def pool_slice(pool: np.ndarray, seed: int, stream: int, draws: int) -> np.ndarray:
    """Return `draws` consecutive values of a pool, from a start given by seed and stream.

    Slices of two sites may overlap, but shifted against each other, so draws of the same column are independent.

    Args:
        pool: (value,) independent draws, at least `draws` of them.
        seed: of the site.
        stream: number of the factor; the factors of one site start at unrelated places.
        draws: number of draws.
    """
    # multiply-xor mix with the 64-bit constants of SplitMix64 (Steele, Lea and Flood 2014)
    mixed = (seed ^ (stream * 0x9E3779B97F4A7C15)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    start = (mixed >> 20) % (len(pool) - draws + 1)
    return pool[start : start + draws]


def variances(found: Case, fused: Fused, *, facility: bool = False) -> dict[str, float]:
    """Return the variance of ln power by source of error, largest first, before caps.

    The ratio of facility to IT power acts on the two in opposite directions: statements on facility power
    are divided by it to get IT power.
    """
    loadings, slope, part = dict(fused.loadings), ratio_slope(found.ratio), found.part
    if facility:
        loadings[RATIO] = slope - loadings.get(RATIO, 0.0)
    rest = 0.0 if part is None else part.weight
    out = {k: (1.0 - rest) * v * v for k, v in loadings.items() if v}
    if found.excess > 0:
        out[SEEN] = (1.0 - rest) * _more(found) ** 2
    if part is not None:
        # law of total variance: within both readings, and between their means
        mean, sd = part.moments()
        narrowed = rest * (sd / part.sd) ** 2
        for k, v in part.loadings.items():
            out[k] = out.get(k, 0.0) + narrowed * v * v
        if facility:
            out[RATIO] = out.get(RATIO, 0.0) + rest * slope**2
        out[SEEN] = out.get(SEEN, 0.0) + (1.0 - rest) * rest * (math.log(fused.median) - mean) ** 2
    if _unseen(found):
        out[UNSEEN] = float(np.log(_mixture(POOL)).var())
    if found.site.on_border:
        # variance of a half-normal: 1 - 2 / pi of the normal's
        out[BORDER] = facts.ratio("border").ln_sd ** 2 * (1.0 - 2.0 / math.pi)
    return dict(sorted(out.items(), key=lambda item: (-item[1], item[0])))


def _draw(found: Case, fused: Fused, seed: int, it_mw: np.ndarray, facility_mw: np.ndarray) -> None:
    """Fill `it_mw` and `facility_mw`, (draw,) float32 each, of one site."""
    draws, part = len(it_mw), found.part
    rng = np.random.default_rng((seed, 0))
    # the error of the ratio R = 1 + log-normal is drawn once and used in both powers; the rest is IT power's own
    shared = fused.loadings.get(RATIO, 0.0)
    own = math.hypot(math.sqrt(max(0.0, fused.ln_sd**2 - shared**2)), _more(found))
    size = max(POOL, 2 * draws)
    of_ratio = _errors_of_ratio(seed, draws)
    per_it = np.exp(np.float32(found.ratio[1]) * of_ratio)
    per_it *= np.float32(found.ratio[0] - 1.0)
    per_it += np.float32(1.0)
    half = (draws + 1) // 2
    np.multiply(rng.standard_normal(half, dtype=np.float32), np.float32(own), out=it_mw[:half])
    np.negative(it_mw[: draws - half], out=it_mw[half:])
    if shared:
        it_mw -= np.float32(shared) * of_ratio
    it_mw += np.float32(math.log(fused.median))
    if part is not None:
        # an own error of the ratio in this reading: it is a hundredth of the variance of a footprint's
        chosen = np.flatnonzero(pool_slice(_uniforms(size), seed, 4, draws) < part.weight)
        it_mw[chosen] = part.draw(rng, len(chosen))
        it_mw += np.float32(_lift(part, _median(it_mw)))
    np.exp(it_mw, out=it_mw)
    if part is not None:
        median, ln_sd = found.ratio
        # the same for facility power; mean of ln R to second order: ln median + s²/2 (R - 1) / R²
        mean = math.log(median) + 0.5 * ln_sd**2 * (median - 1.0) / median**2
        per_it *= np.float32(math.exp(_lift(part, math.log(_median(it_mw * per_it)) - mean)))
    if _unseen(found):
        it_mw *= pool_slice(_mixture(size), seed, 2, draws)
    if found.site.on_border:  # upward only: half-normal (docs/methods.md, section 4.4)
        outside = np.abs(pool_slice(_normals(size), seed, 3, draws))
        it_mw *= np.exp(np.float32(facts.ratio("border").ln_sd) * outside)
    if found.caps:
        it_mw[:] = _below(it_mw * per_it, min(found.caps), rng) / per_it
    np.multiply(it_mw, per_it, out=facility_mw)


def _median(draws: np.ndarray) -> float:
    # a sort of float32 takes half the time of np.median
    ordered = np.sort(draws)
    return 0.5 * (float(ordered[(len(draws) - 1) // 2]) + float(ordered[len(draws) // 2]))


def _lift(part: Part, median: float) -> float:
    """Return what to add to ln MW so that its sampled median is not below that of the other evidence, as the law says.

    Up to a thousandth more the more equipment there is, so that rounding cannot turn the order.
    """
    lift = part.mean + 1e-3 * (1.0 - part.weight) - median
    return lift if part.weight > A_PART else max(lift, 0.0)


def _errors_of_ratio(seed: int, draws: int) -> np.ndarray:
    """Return standard normals, (draw,) float32: the second half mirrors the first, so their median is 0."""
    half = pool_slice(_normals(max(POOL, 2 * draws)), seed, 1, (draws + 1) // 2)
    return np.concatenate([half, -half[: draws // 2]])


def _below(facility_mw: np.ndarray, cap: tuple[float, float, str], rng: np.random.Generator) -> np.ndarray:
    """Return draws of facility power under the condition that it is below an uncertain cap, (draw,) float32.

    With ln P ~ N(m, s²) and ln cap ~ N(c, t²), u = ln P + (c - ln cap) given u < c is a truncated normal and
    ln P given u is normal. This is exact, however far the cap lies below the evidence.
    """
    ln_p = np.log(facility_mw.astype(np.float64))
    m, s, (c, t) = float(ln_p.mean()), max(float(ln_p.std()), 1e-6), (math.log(cap[0]), cap[1])
    wide = math.hypot(s, t)
    below = max(float(ndtr((c - m) / wide)), 1e-12)
    if below > 0.999:  # the cap does not bind
        return facility_mw
    u = m + wide * ndtri(below * (1.0 - rng.random(len(ln_p))))
    mean = m + (s / wide) ** 2 * (u - m)
    return np.asarray(np.exp(mean + s * t / wide * rng.standard_normal(len(ln_p))), np.float32)


def _more(found: Case) -> float:
    # own choice: half of the shift made by `MAX_PULL` is one standard deviation, up to 0.5
    return 0.5 * min(found.excess, 1.0)


def _unseen(found: Case) -> bool:
    return found.prior_only and not found.site.cooling


@lru_cache(maxsize=4)
def _normals(n: int) -> np.ndarray:
    return np.random.default_rng((n, 1)).standard_normal(n, dtype=np.float32)


@lru_cache(maxsize=4)
def _uniforms(n: int) -> np.ndarray:
    return np.random.default_rng((n, 3)).random(n, dtype=np.float32)


@lru_cache(maxsize=4)
def _mixture(n: int) -> np.ndarray:
    """Factor on power if no cooling was seen: a mixture over the possible reasons (docs/methods.md, section 4.3)."""
    rng = np.random.default_rng((n, 2))
    states = facts.group("no_cooling")
    state = rng.choice(len(states), size=n, p=[s.weight for s in states])
    return np.stack([s.draw(rng, n) for s in states])[state, np.arange(n)].astype(np.float32)


def _words(found: Case, budget: Mapping[str, float]) -> str:
    words = [*found.words]
    if found.site.on_border:
        words.append("part of the site lies outside the imagery: a lower bound, widened upward only")
    median, ln_sd = found.ratio
    low, high = (1.0 + (median - 1.0) * math.exp(z * ln_sd) for z in (-1.96, 1.96))
    widest = next((k for k in budget if k != COMMON), COMMON)
    common = (
        f"an error common to all evidence of {either_way(facts.ratio('common_error').ln_sd)}; "
        if COMMON in budget
        else ""
    )
    return (
        f"{'; '.join(w for w in words if w)}. "
        f"Facility to IT at peak {median:.2f} ({low:.2f}-{high:.2f}), "
        f"{common}dominant unknown of power: {widest}."
    )
