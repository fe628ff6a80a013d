"""From the evidence on one site to statements on its IT power, for the fusion.

In: `SiteEvidence`. Out: `Case`: log-normal statements on IT megawatts with named errors, the reading of the equipment
as a lower bound, caps, text, and questions. Densities, ratios and errors come from models/reference (docs/methods.md,
section 4). A statement on facility power carries the error of the ratio of facility to IT power, which the draws share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.equipment import cap_mw, either_way
from overwatt.models.capacity.operators import operator
from overwatt.models.reference import facts
from overwatt.pipeline.power.equipment_evidence import COMMON, RATIO, counted, generators, outlined
from overwatt.pipeline.power.evidence import SiteEvidence, check, mw_words
from overwatt.pipeline.power.fusion import Statement, fuse
from overwatt.pipeline.power.lower_bound import A_PART, Part, combine

MAX_KW_PER_M2 = 5000.0  # refused: dense AI halls are 6-12, HPC white space 20-40 (docs/methods.md, section 4.1)
ODD_KW_PER_M2 = 60.0  # a question is printed; own choice: five times the densest AI halls
MAX_SITE_MW = 20_000.0  # refused: the largest planned campuses are a few GW (docs/methods.md, section 4.2)
MAX_PULL = 2.0  # standard deviations; own choice: outlines include other plant
_RATIOS = {
    "air_chiller": (1.37, 0.25),
    "water": (1.21, 0.30),
    "direct_air": (1.20, 0.30),
    "liquid": (1.25, 0.30),
}
"""Peak facility over IT power by kind of cooling: median, ln-sd of (ratio - 1). Medians: Epoch AI timelines
(CC-BY 4.0) of sites whose text names the cooling; spreads: own choice."""
DENSITY = "the power density of the building"
STOREYS = "the number of storeys"
LOAD = "the kind of load"
BUILDING = "the power of one building"
SEEN = "whether the equipment seen is all there is, and is cooling"
BORDER = "what lies outside the imagery"
UNSEEN = "why no cooling was seen"
STOREY_M = 5.7
"""Height of one storey, m: 14 ft, and 4 to 5 ft for services (wsp.com, "Can we reboot office buildings")."""
_STOREY_SD = 0.3  # ln-sd of storeys from a height: roofs, parapets and high halls; own choice
_LOAD_SD = 0.3  # error that footprint and number of buildings share; own choice
_STRANGER_SD = 0.7  # more spread for an operator that is not in the table; own choice (docs/methods.md, 4.3)
_LEGACY_OF_LARGE = 0.1  # factor on the share of legacy halls for operators of large AI sites; own choice


@dataclass(frozen=True)
class Case:
    """The evidence on a site as statements.

    Attributes:
        site: the evidence.
        others: statements on IT MW from footprint and buildings.
        equipment: statements from machines counted or outlined.
        statements: those of both that are fused.
        part: the reading that the equipment is a part of what is there; None without equipment or without others.
        ratio: median of facility over IT power, ln-sd of (ratio - 1).
        caps: (facility MW, ln-sd, words); facility power stays below each.
        prior_only: no equipment was seen.
        excess: shift of the outlines' statement towards the footprint's, in ln.
        words: the evidence in sentences.
    """

    site: SiteEvidence
    others: tuple[Statement, ...]
    equipment: tuple[Statement, ...]
    statements: tuple[Statement, ...]
    part: Part | None
    ratio: tuple[float, float]
    caps: tuple[tuple[float, float, str], ...]
    prior_only: bool
    excess: float
    words: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the evidence used: of the statements and caps, and 'storeys' where they scaled the footprint."""
        site = self.site
        more = {"storeys": site.building_area_m2 > 0 and (site.storeys or site.height_m),
                "substation": site.substation_mva, "turbines": site.turbines_mw}  # fmt: skip
        return (*(s.name for s in self.statements), *(k for k, v in more.items() if v))


def case(site: SiteEvidence, year: int) -> Case:
    """Return the statements that the evidence on one site makes in its own year, else in `year`.

    Raises:
        ConfigError: a value, or the power that follows from it, is impossible (mostly a wrong unit).
    """
    check(site)
    year = year if site.year is None else site.year
    ratio = facility_ratio(site.operator, site.cooling)
    slope = ratio_slope(ratio)
    prior = _footprint(site, year, ratio[0], slope)
    others = tuple(s for s in (prior, _buildings(site)) if s is not None)
    equipment = tuple(
        s for s in (counted(site), outlined(site), generators(site, year, ratio[0], slope)) if s is not None
    )
    if not others and not equipment:
        raise ConfigError(f"site '{site.site_id}': building_area_m2 0 and no equipment; give a footprint or a count")
    flag = _flag(site, (*others, *equipment), ratio[0])
    equipment, excess = _held(equipment, prior)
    statements, part = combine(others, equipment)
    words = [s.words for s in others] if prior else ["No footprint given", *(s.words for s in others)]
    words += [s.words for s in equipment]
    if excess > 0:
        words.append("the outlines say far more than the footprint, so their pull is capped")
    unused = [s.name for s in equipment if s not in statements]
    if unused:
        words.append(f"the rest says more power than {' and '.join(unused)}, which cannot lower it")
    if part is not None:
        words.append(_reading(part))
    elif not equipment and not site.cooling:
        words.append("no cooling seen, which says little (indoors, covered, direct air or not built yet)")
    caps = _caps(site)
    words += [c[2] for c in caps] + ([flag] if flag else [])
    words += [_over(statements, ratio[0], c) for c in caps if _over(statements, ratio[0], c)]
    return Case(site, others, equipment, statements, part, ratio, caps, not equipment, excess, tuple(words))


def facility_ratio(operator_name: str | None, cooling: str | None) -> tuple[float, float]:
    """Return peak facility power over IT power: median, ln-sd of (ratio - 1).

    By operator if the table has it, else by kind of cooling, else over all sites (docs/methods.md, section 4.3).
    """
    return _facility_ratio(operator_name, cooling)


def ratio_slope(ratio: tuple[float, float]) -> float:
    """Spread (ln-sd) of the ratio itself, to first order."""
    return ratio[1] * (ratio[0] - 1.0) / ratio[0]  # d ln R = (R - 1) / R d ln(R - 1)


def footprint_prior(
    building_area_m2: float,
    *,
    year: int,
    storeys: float | None = None,
    building_class: str | None = None,
    large_operator: bool = False,
) -> tuple[float, float]:
    """Return median facility MW and ln-sd from footprint alone.

    The mixture of building classes is replaced by the log-normal of the same mean and spread in
    log space, never narrower than the ln-sd 0.65 found over campuses; a stated class is used alone.
    An operator of large AI sites (models.capacity.operators) has few legacy halls: their share is multiplied by 0.1.
    docs/methods.md, section 4.1.
    """
    kw_per_m2, ln_sd = _density(year, storeys, building_class, large_operator)
    return kw_per_m2 * building_area_m2 / 1000.0, ln_sd


@lru_cache(maxsize=256)
def _facility_ratio(name: str | None, cooling: str | None) -> tuple[float, float]:
    if name and operator(name).operator != "any":
        known = operator(name)
        return known.facility_per_it, known.ratio_ln_sd
    if cooling:
        return _RATIOS[cooling]
    every = facts.ratio("facility_per_it")
    return every.median, every.ln_sd


@lru_cache(maxsize=4096)
def _density(year: int, storeys: float | None, building_class: str | None, large_operator: bool) -> tuple[float, float]:
    classes = [c for c in facts.area_priors().values() if building_class in (None, c.building_class)]
    years = sorted(classes[0].weight)
    weight = np.array([np.interp(year, years, [c.weight[y] for y in years]) for c in classes])
    if large_operator:
        weight = weight * np.array([_LEGACY_OF_LARGE if c.building_class == "legacy" else 1.0 for c in classes])
    weight = weight / weight.sum() if weight.sum() > 0 else np.full(len(classes), 1.0 / len(classes))
    # density per footprint grows with storeys, relative to those that are usual in the class
    scale = np.array([1.0 if storeys is None else storeys / c.storeys for c in classes])
    ln_kw = np.log([c.kw_per_m2 for c in classes]) + np.log(scale)
    mean = float(weight @ ln_kw)
    # variance of a mixture: within the classes plus between their means
    within = np.array([c.ln_sd for c in classes]) ** 2
    ln_sd = math.sqrt(float(weight @ (within + (ln_kw - mean) ** 2)))
    floor = facts.ratio("footprint_floor").ln_sd if building_class is None else 0.0
    return math.exp(mean), max(ln_sd, floor)


@lru_cache(maxsize=1)
def _common() -> float:
    return facts.ratio("common_error").ln_sd


def _footprint(site: SiteEvidence, year: int, ratio: float, slope: float) -> Statement | None:
    if not site.building_area_m2 > 0:
        return None
    large = bool(site.operator) and operator(site.operator).operator != "any"
    # a height stands for storeys; a hall has one at least
    storeys = max(1.0, site.height_m / STOREY_M) if site.storeys is None and site.height_m else site.storeys
    mw, ln_sd = footprint_prior(
        site.building_area_m2,
        year=year,
        storeys=storeys,
        building_class=site.building_class,
        large_operator=large,
    )
    load = min(_LOAD_SD, 0.9 * ln_sd)  # the shared part must leave some of the spread to the footprint itself
    errors = {DENSITY: math.sqrt(ln_sd**2 - load**2), LOAD: load, RATIO: slope, COMMON: _common()}
    high = ""
    if storeys is not None:
        high = f" of {storeys:.2g} storeys"
        if site.storeys is None:
            errors[STOREYS] = _STOREY_SD
            high += f" (from {site.height_m:g} m)"
    kind = site.building_class or f"mix of {'' if large else 'legacy, '}cloud and AI halls of {year}"
    words = (
        f"Footprint {site.building_area_m2:,.0f} m2{high} at {1000.0 * mw / site.building_area_m2:.2g} kW/m2 "
        f"(facility, {kind}, {either_way(ln_sd)})"
    )
    return Statement("footprint", mw / ratio, errors, words)


def _buildings(site: SiteEvidence) -> Statement | None:
    if not site.buildings:
        return None
    known = operator(site.operator)
    ln_sd = known.ln_sd if known.operator != "any" else math.hypot(known.ln_sd, _STRANGER_SD)
    load = min(_LOAD_SD, 0.9 * ln_sd)
    errors = {BUILDING: math.sqrt(ln_sd**2 - load**2), LOAD: load, COMMON: _common()}
    whose = "operators of large AI sites" if known.operator == "any" else known.operator
    words = (
        f"{site.buildings} buildings at {known.it_mw_per_building:.0f} MW IT each, as of {whose} ({either_way(ln_sd)})"
    )
    return Statement("buildings", known.it_mw_per_building * site.buildings, errors, words)


def _held(equipment: tuple[Statement, ...], prior: Statement | None) -> tuple[tuple[Statement, ...], float]:
    """Return the equipment with outlines at most `MAX_PULL` deviations above the footprint, and their shift in ln."""
    excess = 0.0
    out = []
    for s in equipment:
        if s.name == "outlined" and prior is not None:
            gap = math.log(s.median / prior.median)
            excess = max(0.0, gap - MAX_PULL * math.hypot(prior.ln_sd, s.ln_sd))
            s = replace(s, median=s.median * math.exp(-excess))
        out.append(s)
    return tuple(out), excess


def _reading(part: Part) -> str:
    """Return how the equipment is read, in words."""
    if part.weight > A_PART:
        return (
            f"less equipment than the rest suggests: a lower bound that does not lower the median "
            f"(all there is in {1.0 - part.weight:.0%} of the draws, a part of it in {part.weight:.0%})"
        )
    return f"the equipment is all there is in {1.0 - part.weight:.0%} of the draws, a part of it in {part.weight:.0%}"


def _caps(site: SiteEvidence) -> tuple[tuple[float, float, str], ...]:
    given = ({"substation_mva": site.substation_mva}, {"turbines_mw": site.turbines_mw})
    found = [cap_mw(**one) for one in given if next(iter(one.values())) is not None]
    return tuple(c for c in found if c is not None)


def _flag(site: SiteEvidence, statements: Sequence[Statement], ratio: float) -> str:
    """Refuse power that no site has; return a question on a density above that of all known halls."""
    where = f"site '{site.site_id}'"
    most = max((s.median for s in statements), default=0.0) * ratio
    if most > MAX_SITE_MW:
        raise ConfigError(
            f"{where}: {mw_words(most)} is above any planned campus; check that areas are in m2 "
            "and that counts are of units"
        )
    seen = [s.median for s in statements if s.name not in ("footprint", "buildings")]
    if site.building_area_m2 <= 0 or site.on_border or not seen:
        return ""
    mw = max(seen) * ratio
    kw_per_m2 = 1000.0 * mw / site.building_area_m2
    if kw_per_m2 > MAX_KW_PER_M2:
        raise ConfigError(
            f"{where}: evidence of {mw_words(mw)} on {site.building_area_m2:g} m2 is {kw_per_m2:,.0f} kW/m2, "
            f"above {MAX_KW_PER_M2:,.0f}; check building_area_m2, cooling_area_m2 and the counts"
        )
    if kw_per_m2 > ODD_KW_PER_M2:
        return f"question: the equipment would mean {kw_per_m2:,.0f} kW/m2 of footprint, above any known hall"
    return ""


def _over(statements: Sequence[Statement], ratio: float, cap: tuple[float, float, str]) -> str:
    """Return a question if the evidence is for more power than a cap allows, else ''."""
    fused = fuse(statements)
    gap = math.log(fused.median * ratio / cap[0])
    # own choice: one-sided 5%
    if gap < 1.645 * math.hypot(fused.ln_sd, cap[1]):
        return ""
    return f"question: the evidence is for {mw_words(fused.median * ratio)}, well above what its supply carries"
