"""Kind of a site as an inference: AI, cloud, enterprise, colocation or mine.

In: draws of IT power and what is known of the site. Out: probabilities of the kinds, and the kind of each draw, so that
power and compute stay correlated: a large draw is more often an AI site.

Method (docs/methods.md, section 5.2): p(kind | MW, evidence) is proportional to the number of sites of the kind, the
density of their ln MW, the density of MW per m2 where the footprint is known, and the likelihoods of cooling, operator
and country. A matched declaration changes this in a share of the draws, its `p_match`; it never changes MW.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from overwatt.models.capacity import site_kinds
from overwatt.models.capacity.site_kinds import KINDS
from overwatt.models.reference import facts
from overwatt.pipeline.power.evidence import SiteEvidence

__all__ = ["KINDS", "Hint", "Known", "draw", "known", "probabilities"]

LEVELS = 1024
"""Steps of the probabilities from which kinds are drawn; own choice: 0.1% is finer than 4,096 draws resolve."""
# first letters of a word of a declared use -> kind; the first that fits decides
_USES = {
    "ai": "ai", "artificial": "ai", "hpc": "ai", "supercomput": "ai", "gpu": "ai", "machine": "ai", "training": "ai",
    "crypto": "mine", "bitcoin": "mine", "mining": "mine", "mine": "mine", "blockchain": "mine",
    "colo": "colocation", "retail": "colocation", "wholesale": "colocation", "carrier": "colocation",
    "cloud": "cloud", "hyperscale": "cloud", "enterprise": "enterprise", "corporate": "enterprise",
}  # fmt: skip
_STATED = 5.0
"""Likelihood ratio of a declared use: our assumption. It is a claim of the party that is checked, so no proof."""
# bins of MW: the upper bits of a float32, exponent and 2 bits of the mantissa, 4 bins per factor of 2
_SHIFT = 21
_LOW_MW, _HIGH_MW = np.float32(2.0**-6), np.float32(2.0**14 - 1.0)
_FIRST, _LAST = (int(mw.view(np.int32)) >> _SHIFT for mw in (_LOW_MW, _HIGH_MW))
_BINS = _LAST - _FIRST + 1


@dataclass(frozen=True)
class Hint:
    """A declaration that probably belongs to the site. It may sharpen kind and mix of chips, never power.

    Attributes:
        weight: probability that it belongs to the site (`p_match`), 0 to 1.
        operator, use, country: as declared; None: not stated.
        chips: name of chip -> number.
    """

    weight: float
    operator: str | None = None
    use: str | None = None
    country: str | None = None
    chips: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What the kind of a site follows from, besides its power; sites with the same values share their tables.

    Attributes:
        year: of the site.
        country: ISO 3166 alpha-2 code.
        operator: a name of site_operators.csv.
        cooling: kind of cooling.
        area_m2: footprint, in steps of 5%; 0 if not known.
        kind: stated by an analyst: the others have probability 0.
        use: kind that is declared.
    """

    year: int
    country: str | None = None
    operator: str | None = None
    cooling: str | None = None
    area_m2: float = 0.0
    kind: str | None = None
    use: str | None = None


def known(site: SiteEvidence | None, *, year: int, country: str | None = None, kind: str = "unknown") -> Known:
    """Return what the kind follows from; the site's own year, country and stated kind win."""
    if site is None:
        return Known(year, country, kind=None if kind == "unknown" else kind)
    kind = site.site_type or kind
    # steps of 5%: far below the spread of MW per m2, and few tables serve many sites
    area = math.exp(round(math.log(site.building_area_m2) * 20.0) / 20.0) if site.building_area_m2 > 0 else 0.0
    return Known(
        site.year or year,
        site.country or country,
        site_kinds.operator(site.operator),
        site.cooling,
        area,
        None if kind == "unknown" else kind,
    )


def with_hint(about: Known, hint: Hint) -> Known:
    """Return what would be known if the declaration belonged to the site; what was seen wins."""
    return Known(
        about.year,
        about.country or hint.country,
        about.operator or site_kinds.operator(hint.operator),
        about.cooling,
        about.area_m2,
        about.kind,
        stated_use(hint.use),
    )


def stated_use(text: str | None) -> str | None:
    """Return the kind that a declared use means; None if it is not stated or not known."""
    words = (text or "").lower().replace("-", " ").replace("_", " ").replace("/", " ").split()
    # 'ai' only as a whole word: it begins others
    found = (k for w in words for start, k in _USES.items() if (w == start if len(start) < 3 else w.startswith(start)))
    return next(found, None)


def probabilities(about: Known, it_mw: np.ndarray) -> np.ndarray:
    """Return p(kind | IT power, evidence), (kind, value) float64; columns add up to 1.

    Args:
        about: what is known besides power.
        it_mw: (value,) MW, above 0.
    """
    if about.kind is not None:
        return np.repeat([[float(k == about.kind)] for k in KINDS], len(it_mw), axis=1)
    ln_mw = np.log(np.asarray(it_mw, float))
    ln_p = np.empty((len(KINDS), len(ln_mw)))
    named = site_kinds.operators()[about.operator] if about.operator else (1.0,) * len(KINDS)
    for row, kind in enumerate(site_kinds.kinds()):
        sites, median = kind.in_year(about.year)
        ln_p[row] = math.log(sites * named[row]) + _ln_normal(ln_mw, math.log(median), kind.ln_sd)
        if kind.kind == "ai":
            ln_p[row] += math.log(site_kinds.ai_odds(about.country))
        if about.area_m2 > 0:
            kw = ln_mw + math.log(1e3 * facts.ratio("facility_per_it").median / about.area_m2)
            ln_p[row] += _ln_normal(kw, math.log(kind.kw_per_m2), kind.kw_ln_sd)
        if about.cooling in kind.cooling:
            ln_p[row] += math.log(kind.cooling[about.cooling])
        if about.use == kind.kind:
            ln_p[row] += math.log(_STATED)
    p = np.exp(ln_p - ln_p.max(axis=0))
    return np.asarray(p / p.sum(axis=0))


def words(types: np.ndarray, about: Known) -> str:
    """Return the kinds with their weights, and what they follow from."""
    if about.kind is not None:
        return f"kind of site taken as {about.kind}"
    order = sorted(zip(types, KINDS, strict=True), reverse=True)
    listed = ", ".join(f"{kind} {p:.0%}" for p, kind in order if p >= 0.005)
    more = {"power per m2": about.area_m2 > 0, "cooling": about.cooling, "operator": about.operator,
            "country": about.country}  # fmt: skip
    return f"kind of site inferred from size, year{''.join(f', {k}' for k, v in more.items() if v)}: {listed}"


@lru_cache(maxsize=16)
def sizes(year: int, country: str | None, n: int) -> np.ndarray:
    """Return IT power of `n` sites of any kind, (value,) float32 MW."""
    rng = np.random.default_rng((n, 6))
    every = site_kinds.kinds()
    odds = [site_kinds.ai_odds(country) if kind.kind == "ai" else 1.0 for kind in every]
    sites, median = np.array([kind.in_year(year) for kind in every]).T * np.array([odds, np.ones(len(every))])
    which = rng.choice(len(every), size=n, p=sites / sites.sum())
    spread = np.array([kind.ln_sd for kind in every])[which]
    return (median[which] * np.exp(spread * rng.standard_normal(n))).astype(np.float32)


def draw(about: Known, it_mw: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return the kind of each draw as its place in `KINDS`, (draw,) uint8.

    Args:
        about: what is known besides power.
        it_mw: (draw,) float32 MW.
        level: (draw,) int32, uniform in 0 to `LEVELS` - 1.
    """
    if about.kind is not None:
        return np.full(len(it_mw), KINDS.index(about.kind), np.uint8)
    place = it_mw.clip(_LOW_MW, _HIGH_MW).view(np.int32)
    place >>= _SHIFT
    place -= _FIRST
    place *= LEVELS
    place += level
    # all places are inside; without their check `take` is three times as fast
    return _table(about).take(place, mode="wrap")


@lru_cache(maxsize=512)
def _table(about: Known) -> np.ndarray:
    """Kinds by bin of MW and level of probability, (bin * level,) uint8: inverse distribution functions."""
    bits = (np.arange(_BINS, dtype=np.int32) + _FIRST) << _SHIFT
    low = bits.view(np.float32).astype(float)
    middle = np.sqrt(low * np.append(low[1:], low[-1] * 1.25))
    # (kind, bin) cumulated, compared with (bin, level)
    cumulated = np.cumsum(probabilities(about, middle), axis=0)[:-1]
    level = (np.arange(LEVELS) + 0.5) / LEVELS
    return (level > cumulated[:, :, None]).sum(axis=0, dtype=np.uint8).ravel()


def _ln_normal(x: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """Logarithm of the normal density, without its constant factor."""
    return np.asarray(-0.5 * ((x - mean) / sd) ** 2 - math.log(sd))
