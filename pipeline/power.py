"""Sites' power: what footprint and cooling equipment say about IT and facility megawatts.

In: `SiteEvidence`, one a site. Out: `PowerDraws`, paired draws of IT and facility power, with
the seed that reproduces them and a sentence that says what they assume.

Way: footprint gives a log-normal prior of facility power, moment-matched to a mixture of
building classes of the year; cooling equipment, outlined or counted, gives IT power through a
capacity law and derating. The two are fused by precision in log space, which is exact, and only
then drawn from; an error common to all evidence is added after fusion, so that more evidence
never makes it vanish. No cooling equipment seen is not evidence of low power: much of it stands
indoors or under cover, some halls take outside air. Evidence far outside the prior pulls no
more than two standard deviations: outlines miss equipment and mistake other plant for it.

Each site draws from its own stream, named by its id: its numbers do not depend on which other
sites there are. The constants and their sources are in models/reference.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aoi.errors import ConfigError
from models import reference

YEARS = (2015, 2035)
MAX_KW_PER_M2 = 5000.0  # refused: dense AI halls are 6-12, HPC white space 20-40 (methods dossier 4.1)
ODD_KW_PER_M2 = 60.0  # flagged
MAX_SITE_MW = 20_000.0  # refused: the largest planned campuses are a few GW (methods dossier 4.2)
MAX_PULL = 2.0  # standard deviations; own choice, keeps one small outline from emptying a large hall


@dataclass(frozen=True)
class SiteEvidence:
    """What was seen of one site.

    Attributes:
        site_id: stable name; also names the stream of random draws.
        building_area_m2: footprint; 0 where only equipment was counted.
        cooling_area_m2: area of outlined cooling-equipment polygons, gaps between units included.
        chillers: air-cooled chillers counted; None or 0 is "none counted", not "none there".
        cooling_tower_cells: cooling-tower cells counted; the same holds.
        gsd_m: ground sampling distance the outlines were drawn at; None is taken as 2 m.
        storeys: mean number of storeys; None leaves it to the spread of the prior.
        on_border: part of the site lies outside the imagery, areas and counts are lower bounds.
    """

    site_id: str
    building_area_m2: float
    cooling_area_m2: float = 0.0
    chillers: int | None = None
    cooling_tower_cells: int | None = None
    gsd_m: float | None = None
    storeys: float | None = None
    on_border: bool = False


@dataclass(frozen=True)
class PowerDraws:
    """Paired draws: column j of `it_mw` and `facility_mw` is one possible world.

    Attributes:
        it_mw: (site, draw) float64, MW, IT power the site could carry.
        facility_mw: (site, draw) float64, MW, IT and cooling at peak; above `it_mw` in every draw.
        seeds: (site,) int64, the seed of each site's draws.
        assumptions: one text a site.
        site_ids: the sites' names, in row order.
    """

    it_mw: np.ndarray
    facility_mw: np.ndarray
    seeds: np.ndarray
    assumptions: tuple[str, ...]
    site_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Term:
    """A log-normal statement on power: median MW, ln-sd, words, and its error terms by name."""

    mw: float
    ln_sd: float
    words: str
    errors: tuple[tuple[str, float], ...]


def estimate(evidence: Sequence[SiteEvidence], *, year: int, seed: int = 0, draws: int = 4096) -> PowerDraws:
    """Return draws of IT and facility power of each site.

    Args:
        evidence: sites, in any order.
        year: year of the estimate; sets the mix of building classes.
        seed: of the run; each site's own seed is made from it and the site's id.
        draws: number of draws.

    Raises:
        ConfigError: a value is impossible, or the power it gives is (a wrong unit, mostly).
    """
    if not YEARS[0] <= year <= YEARS[1]:
        raise ConfigError(f"year: {year} is outside {YEARS[0]}-{YEARS[1]}; give the year of the imagery")
    if draws < 1:
        raise ConfigError(f"draws: {draws} is too few; give 1 or more")
    shape = (len(evidence), draws)
    it_mw, facility_mw = np.empty(shape), np.empty(shape)
    seeds = np.array([site_seed(seed, e.site_id) for e in evidence], dtype=np.int64)
    texts = []
    for row, site in enumerate(evidence):
        it_mw[row], facility_mw[row], text = _site(site, year, int(seeds[row]), draws)
        texts.append(text)
    return PowerDraws(it_mw, facility_mw, seeds, tuple(texts), tuple(e.site_id for e in evidence))


def site_seed(seed: int, site_id: str) -> int:
    """Return the seed of one site's draws: 63 bits of SHA-256 over the run's seed and the id."""
    digest = hashlib.sha256(f"{seed}\0{site_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def fuse(
    medians: Sequence[float | np.ndarray], ln_sds: Sequence[float], common_ln_sd: float = 0.0
) -> tuple[np.ndarray, float]:
    """Return median and ln-sd of the product of independent log-normal statements.

    1/s² = Σ 1/s_k², ln m = s² Σ ln(m_k)/s_k²; `common_ln_sd` is an error all of them share and
    is added to the spread after fusion.

    Args:
        medians: positive; scalars or arrays (draw,) that broadcast together.
        ln_sds: positive; infinity is no information.
        common_ln_sd: ln-sd of the shared error.
    """
    precision = [s**-2.0 for s in ln_sds]
    ln_m = sum((p * np.log(m) for p, m in zip(precision, medians, strict=True)), np.zeros(()))
    total = sum(precision)
    return np.exp(ln_m / total), math.sqrt(1.0 / total + common_ln_sd**2)


def footprint_prior(building_area_m2: float, *, year: int, storeys: float | None = None) -> tuple[float, float]:
    """Return median facility MW and ln-sd from footprint alone.

    The mixture of building classes is replaced by the log-normal of the same mean and spread in
    log space, never narrower than the ln-sd 0.65 found over campuses.
    """
    classes = list(reference.area_priors().values())
    years = sorted(classes[0].weight)
    weight = np.array([np.interp(year, years, [c.weight[y] for y in years]) for c in classes])
    weight /= weight.sum()
    scale = np.array([1.0 if storeys is None else storeys / c.storeys for c in classes])
    ln_kw = np.log([c.kw_per_m2 for c in classes]) + np.log(scale)
    mean = float(weight @ ln_kw)
    within = np.array([c.ln_sd for c in classes]) ** 2
    ln_sd = math.sqrt(float(weight @ (within + (ln_kw - mean) ** 2)))
    return math.exp(mean) * building_area_m2 / 1000.0, max(ln_sd, reference.ratio("footprint_floor").ln_sd)


def packing(gsd_m: float | None) -> tuple[float, float]:
    """Return the share of outlined cooling area that is unit area: median and ln-sd.

    Linear in GSD between 0.6 m and 2 m; beyond, the median stays and the spread grows in
    proportion to GSD. Own assumption, to be measured on simulated scenes.
    """
    fine, coarse = reference.ratio("packing_fine"), reference.ratio("packing_2m")
    gsd = 2.0 if gsd_m is None else gsd_m
    median = float(np.interp(gsd, (0.6, 2.0), (fine.median, coarse.median)))
    ln_sd = float(np.interp(gsd, (0.6, 2.0), (fine.ln_sd, coarse.ln_sd)))
    return median, ln_sd * max(1.0, gsd / 2.0)


def _site(site: SiteEvidence, year: int, seed: int, draws: int) -> tuple[np.ndarray, np.ndarray, str]:
    _check(site)
    rng = np.random.default_rng((seed, 0))
    ratio = reference.ratio("facility_per_it")
    common = reference.ratio("common_error").ln_sd
    per_it, z = ratio.draw(rng, draws), rng.standard_normal(draws)
    prior, prior_sd = 1.0, math.inf  # no information, where no footprint is given
    if site.building_area_m2 > 0:
        prior, prior_sd = footprint_prior(site.building_area_m2, year=year, storeys=site.storeys)
    cooling = _cooling(site)
    errors = [("the power density of the building", prior_sd if cooling is None else 0.0)]
    words = [_prior_words(site, prior, prior_sd, year)]
    if cooling is None:
        it_mw = prior / per_it * np.exp(math.hypot(prior_sd, common) * z) * _no_cooling(rng, draws)
        words.append("no cooling seen, which says little (indoors, covered, direct air or not built yet)")
    else:
        words.append(f"{cooling.words} (ln-sd {cooling.ln_sd:.2f})")
        errors += cooling.errors
        ln_gap = math.log(cooling.mw * ratio.median / prior)
        excess = max(0.0, abs(ln_gap) - MAX_PULL * math.hypot(prior_sd, cooling.ln_sd))
        pulled = cooling.mw * math.exp(-math.copysign(excess, ln_gap))
        median, ln_sd = fuse([prior / per_it, pulled], [prior_sd, cooling.ln_sd], common)
        it_mw = median * np.exp(math.hypot(ln_sd, 0.5 * min(excess, 1.0)) * z)
        if excess > 0:
            errors.append(("whether the equipment seen is all there is, and is cooling", excess))
            words.append(f"that is {math.exp(ln_gap):.2g} times what the footprint suggests, so its pull is capped")
    if site.on_border:
        border = reference.ratio("border").ln_sd
        it_mw = it_mw * np.exp(border * np.abs(rng.standard_normal(draws)))
        errors.append(("what lies outside the imagery", border))
        words.append("part of the site lies outside the imagery: a lower bound, widened upward only")
    facility_mw = it_mw * per_it
    words.append(_flag(site, cooling, float(np.median(facility_mw))))
    text = (
        f"{'; '.join(w for w in words if w)}. "
        f"Facility to IT at peak {ratio.median:.2f} ({ratio.low}-{ratio.high}), "
        f"error common to all evidence ln-sd {common:.2f}; "
        f"dominant unknown of power: {max(errors, key=lambda e: e[1])[0]}."
    )
    return it_mw, facility_mw, text


def _cooling(site: SiteEvidence) -> _Term | None:
    """IT power from equipment: capacity by count and by area, fused, then derated once."""
    counted, outlined = _counted(site), _outlined(site, bool(site.chillers or site.cooling_tower_cells))
    terms = [t for t in (counted, outlined) if t is not None]
    if not terms:
        return None
    derate, hidden = reference.ratio("derate_net"), reference.ratio("hidden_cooling")
    capacity, ln_sd = fuse([t.mw for t in terms], [t.ln_sd for t in terms])
    it_mw = float(capacity) * derate.median
    least = min(terms, key=lambda t: t.ln_sd)
    errors = (*least.errors, ("derating and redundancy", derate.ln_sd), ("hidden cooling", hidden.ln_sd))
    words = (
        f"{' and '.join(t.words for t in terms)}, together {_mw(float(capacity))} of cooling, "
        f"{_mw(it_mw)} IT after derating {derate.median:.2f}"
    )
    return _Term(it_mw, math.sqrt(ln_sd**2 + derate.ln_sd**2 + hidden.ln_sd**2), words, errors)


def _counted(site: SiteEvidence) -> _Term | None:
    kinds = (("chiller_unit", site.chillers, "chillers"), ("tower_cell", site.cooling_tower_cells, "cells"))
    parts = [(reference.law(name), n, plural) for name, n, plural in kinds if n]
    if not parts:
        return None
    mw = [law.capacity_kw(1.0) * n / 1000.0 for law, n, _ in parts]
    # units of one site are one model: their errors do not average out; the two kinds are independent
    unit = math.hypot(*(law.ln_sd * m for (law, _, _), m in zip(parts, mw, strict=True))) / sum(mw)
    count = reference.ratio("count_error").ln_sd
    words = " and ".join(
        f"{n} counted {'cooling-tower ' if plural == 'cells' else ''}{plural} at "
        f"{law.capacity_kw(1.0) / 1000.0:.2f} MW each"
        for law, n, plural in parts
    )
    errors = (("the capacity of one unit", unit), ("the count", count))
    return _Term(sum(mw), math.hypot(unit, count), words, errors)


def _outlined(site: SiteEvidence, kind_known: bool) -> _Term | None:
    if not site.cooling_area_m2 > 0:
        return None
    law = reference.law("chiller_row_area")
    share, share_sd = packing(site.gsd_m)
    kind_sd = 0.0 if kind_known else reference.ratio("outline_equipment_type").ln_sd
    mw = law.capacity_kw(site.cooling_area_m2 * share) / 1000.0
    errors = (
        ("the share of the outlined cooling area that is units", share_sd),
        ("the type of equipment outlined", kind_sd),
        ("the capacity of one unit", law.ln_sd),
    )
    at = "an unstated GSD (taken as 2 m)" if site.gsd_m is None else f"{site.gsd_m:g} m GSD"
    words = (
        f"{site.cooling_area_m2:,.0f} m2 of cooling equipment outlined at {at}, {share:.0%} of it "
        f"units of {law.coefficient_kw:g} kW/m2"
    )
    return _Term(mw, math.sqrt(share_sd**2 + kind_sd**2 + law.ln_sd**2), words, errors)


def _no_cooling(rng: np.random.Generator, draws: int) -> np.ndarray:
    """Factor on power where no cooling was seen: a mixture over the reasons for seeing none."""
    states = reference.group("no_cooling")
    state = rng.choice(len(states), size=draws, p=[s.weight for s in states])
    return np.stack([s.draw(rng, draws) for s in states])[state, np.arange(draws)]


def _prior_words(site: SiteEvidence, prior: float, prior_sd: float, year: int) -> str:
    if site.building_area_m2 <= 0:
        return "No footprint given, so no prior"
    storeys = "" if site.storeys is None else f" of {site.storeys:g} storeys"
    kw_per_m2 = 1000.0 * prior / site.building_area_m2
    return (
        f"Prior: footprint {site.building_area_m2:,.0f} m2{storeys} at {kw_per_m2:.2g} kW/m2 "
        f"(facility, mix of legacy, cloud and AI halls of {year}, ln-sd {prior_sd:.2f})"
    )


def _flag(site: SiteEvidence, cooling: _Term | None, facility_mw: float) -> str:
    """Refuse power that no site has; return a remark on a density that none is known to have."""
    seen = 0.0 if cooling is None else cooling.mw * reference.ratio("facility_per_it").median
    where = f"site '{site.site_id}'"
    if max(seen, facility_mw) > MAX_SITE_MW:
        raise ConfigError(
            f"{where}: {_mw(max(seen, facility_mw))} is above any planned campus; check that areas are in m2 "
            "and that counts are of units"
        )
    if site.building_area_m2 <= 0 or site.on_border:
        return ""
    kw_per_m2 = 1000.0 * seen / site.building_area_m2
    if kw_per_m2 > MAX_KW_PER_M2:
        raise ConfigError(
            f"{where}: equipment for {_mw(seen)} on {site.building_area_m2:g} m2 is {kw_per_m2:,.0f} kW/m2, "
            f"above {MAX_KW_PER_M2:,.0f}; check building_area_m2, cooling_area_m2 and the counts"
        )
    if kw_per_m2 > ODD_KW_PER_M2:
        return f"question: the equipment would mean {kw_per_m2:,.0f} kW/m2 of footprint, above any known hall"
    return ""


def _check(site: SiteEvidence) -> None:
    where = f"site '{site.site_id}'"
    if not site.site_id:
        raise ConfigError("site_id: '' is empty; give each site a name")
    lengths = {
        "building_area_m2": (site.building_area_m2, False),
        "cooling_area_m2": (site.cooling_area_m2, False),
        "gsd_m": (site.gsd_m, True),
        "storeys": (site.storeys, True),
    }
    for name, (value, positive) in lengths.items():
        if value is None:
            continue
        if not math.isfinite(value) or value < 0 or (positive and value == 0):
            need = "a finite number above 0" if positive else "a finite number, 0 or more"
            raise ConfigError(f"{where}: {name} {value} cannot be; give {need}")
    if site.storeys is not None and site.storeys > 50:
        raise ConfigError(f"{where}: storeys {site.storeys:g} cannot be; give storeys, not metres")
    for name, count in (("chillers", site.chillers), ("cooling_tower_cells", site.cooling_tower_cells)):
        if count is not None and not (math.isfinite(count) and count >= 0 and count == int(count)):
            raise ConfigError(f"{where}: {name} {count} cannot be; give a whole number, 0 or more")
    if site.building_area_m2 == 0 and _cooling(site) is None:
        raise ConfigError(f"{where}: building_area_m2 0 and no equipment; give a footprint or a count")


def _mw(mw: float) -> str:
    return f"{mw:,.0f} MW" if mw >= 10 else f"{mw:.2g} MW"
