"""From the evidence on one site to statements on its IT power, for the fusion.

In: `SiteEvidence`. Out: `Case`: log-normal statements on IT megawatts with named errors, caps, text, and
questions. Equipment laws come from `models.capacity.equipment`; densities, ratios and errors from
models/reference (docs/methods.md, section 4). A statement on facility power carries the error of the
ratio of facility to IT power, which the draws then share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.equipment import Capacity, cap_mw, unit_capacity
from overwatt.models.capacity.operators import operator
from overwatt.models.reference import facts
from overwatt.pipeline.power.evidence import SiteEvidence, check, mw_words
from overwatt.pipeline.power.fusion import Statement, fuse

MAX_KW_PER_M2 = 5000.0  # refused: dense AI halls are 6-12, HPC white space 20-40 (docs/methods.md, section 4.1)
ODD_KW_PER_M2 = 60.0  # a question is printed; own choice: five times the densest AI halls
MAX_SITE_MW = 20_000.0  # refused: the largest planned campuses are a few GW (docs/methods.md, section 4.2)
MAX_PULL = 2.0  # standard deviations; own choice: one small outline must not turn a large hall into an empty one
_RATIOS = {
    "air_chiller": (1.37, 0.25),
    "water": (1.21, 0.30),
    "direct_air": (1.20, 0.30),
    "liquid": (1.25, 0.30),
}
"""Peak facility over IT power by kind of cooling: median, ln-sd of (ratio - 1). Medians: Epoch AI timelines
(CC-BY 4.0) of sites whose text names the cooling; spreads: own choice."""
RATIO = "the ratio of facility to IT power at peak"
COMMON = "an error common to all evidence"
DENSITY = "the power density of the building"
LOAD = "the kind of load"
BUILDING = "the power of one building"
UNIT = "the capacity of one unit"
TOWER = "the capacity of one cooling-tower cell"
DRY = "the capacity of one dry cooler"
COUNT = "the count"
PACKING = "the share of the outlined cooling area that is units"
TYPE = "the type of equipment outlined"
DERATE = "derating and redundancy"
HIDDEN = "hidden cooling"
BACKED = "the share of the load that generators back up"
SEEN = "whether the equipment seen is all there is, and is cooling"
BORDER = "what lies outside the imagery"
UNSEEN = "why no cooling was seen"
_LOAD_SD = 0.3  # error that footprint and number of buildings share; own choice
_STRANGER_SD = 0.7  # more spread for an operator that is not in the table; own choice (docs/methods.md, 4.3)
_LEGACY_OF_LARGE = 0.1  # factor on the share of legacy halls for operators of large AI sites; own choice
_BACKUP = (0.7, 0.35, 0.6)  # load per nameplate, ln-sd, ln-sd of sites since 2025 (docs/methods.md, section 4.3)


@dataclass(frozen=True)
class Case:
    """The evidence on a site as statements.

    Attributes:
        site: the evidence.
        statements: on IT MW.
        ratio: median of facility over IT power, ln-sd of (ratio - 1).
        caps: (facility MW, ln-sd, words); facility power stays below each.
        prior_only: the only evidence is footprint or number of buildings.
        excess: shift of the equipment's statements towards the footprint's, in ln.
        words: the evidence in sentences.
    """

    site: SiteEvidence
    statements: tuple[Statement, ...]
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
    cooling = [s for s in (_counted(site), _outlined(site)) if s is not None]
    others = [s for s in (_buildings(site), _generators(site, year, ratio[0], slope)) if s]
    flag = _flag(site, [s for s in (prior, *cooling, *others) if s is not None], ratio[0])
    words = [prior.words if prior else "No footprint given, so no prior"]
    excess = 0.0
    if cooling:
        words.append(f"{' and '.join(s.words for s in cooling)}{_together(cooling)}")
        if prior is not None:
            pulled = _pull(prior, cooling)
            gap = max((math.log(s.median / prior.median) for s in cooling), key=abs)
            excess = abs(pulled)
            if excess > 0:
                words.append(f"that is {math.exp(gap):.2g} times what the footprint suggests, so its pull is capped")
                cooling = [Statement(s.name, s.median * math.exp(pulled), s.errors, s.words) for s in cooling]
    elif not site.cooling and not any(s.name == "generators" for s in others):
        words.append("no cooling seen, which says little (indoors, covered, direct air or not built yet)")
    words += [s.words for s in others]
    statements = tuple(([prior] if prior else []) + cooling + others)
    if not statements:
        raise ConfigError(f"site '{site.site_id}': building_area_m2 0 and no equipment; give a footprint or a count")
    prior_only = all(s.name in ("footprint", "buildings") for s in statements)
    caps = _caps(site)
    words += [c[2] for c in caps] + ([flag] if flag else [])
    words += [_over(statements, ratio[0], c) for c in caps if _over(statements, ratio[0], c)]
    return Case(site, statements, ratio, caps, prior_only, excess, tuple(words))


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


def packing(gsd_m: float | None) -> tuple[float, float]:
    """Return the share of outlined cooling area that is units: median and ln-sd.

    Linear in GSD between 0.6 m and 2 m; beyond, the median stays and the spread grows in
    proportion to GSD. Own choice, to be measured on simulated scenes (docs/methods.md, section 4.3).
    """
    return _packing(2.0 if gsd_m is None else gsd_m)


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


@lru_cache(maxsize=4096)
def _packing(gsd_m: float) -> tuple[float, float]:
    fine, coarse = facts.ratio("packing_fine"), facts.ratio("packing_2m")
    median = float(np.interp(gsd_m, (0.6, 2.0), (fine.median, coarse.median)))
    ln_sd = float(np.interp(gsd_m, (0.6, 2.0), (fine.ln_sd, coarse.ln_sd)))
    return median, ln_sd * max(1.0, gsd_m / 2.0)


@lru_cache(maxsize=1)
def _shared() -> dict[str, float]:
    """Errors that all statements from cooling equipment share."""
    names = {DERATE: "derate_net", HIDDEN: "hidden_cooling", COMMON: "common_error"}
    return {k: facts.ratio(v).ln_sd for k, v in names.items()}


def _footprint(site: SiteEvidence, year: int, ratio: float, slope: float) -> Statement | None:
    if not site.building_area_m2 > 0:
        return None
    large = bool(site.operator) and operator(site.operator).operator != "any"
    mw, ln_sd = footprint_prior(
        site.building_area_m2,
        year=year,
        storeys=site.storeys,
        building_class=site.building_class,
        large_operator=large,
    )
    load = min(_LOAD_SD, 0.9 * ln_sd)  # the shared part must leave some of the spread to the footprint itself
    errors = {DENSITY: math.sqrt(ln_sd**2 - load**2), LOAD: load, RATIO: slope, COMMON: _shared()[COMMON]}
    storeys = "" if site.storeys is None else f" of {site.storeys:g} storeys"
    kind = site.building_class or f"mix of {'' if large else 'legacy, '}cloud and AI halls of {year}"
    words = (
        f"Prior: footprint {site.building_area_m2:,.0f} m2{storeys} at {1000.0 * mw / site.building_area_m2:.2g} kW/m2 "
        f"(facility, {kind}, ln-sd {ln_sd:.2f})"
    )
    return Statement("footprint", mw / ratio, errors, words)


def _buildings(site: SiteEvidence) -> Statement | None:
    if not site.buildings:
        return None
    known = operator(site.operator)
    ln_sd = known.ln_sd if known.operator != "any" else math.hypot(known.ln_sd, _STRANGER_SD)
    load = min(_LOAD_SD, 0.9 * ln_sd)
    errors = {BUILDING: math.sqrt(ln_sd**2 - load**2), LOAD: load, COMMON: _shared()[COMMON]}
    whose = "operators of large AI sites" if known.operator == "any" else known.operator
    words = (
        f"{site.buildings} buildings at {known.it_mw_per_building:.0f} MW IT each, as of {whose} (ln-sd {ln_sd:.2f})"
    )
    return Statement("buildings", known.it_mw_per_building * site.buildings, errors, words)


def _counted(site: SiteEvidence) -> Statement | None:
    """IT power from counted machines. The units of a site are of one model, so their errors do not average out."""
    parts: list[tuple[str, str, int, Capacity]] = []
    if site.chillers:
        unit = _unit("air_chiller", site.chiller_area_m2, site.chiller_fans, None, None)
        parts.append((UNIT, "chillers", site.chillers, unit))
    if site.cooling_tower_cells:
        size = (site.tower_cell_area_m2, None, site.tower_fan_diameter_m, site.tower_height_m)
        parts.append((TOWER, "cooling-tower cells", site.cooling_tower_cells, _unit("tower_cell", *size)))
    if site.dry_coolers:
        parts.append((DRY, "dry coolers", site.dry_coolers, _unit("dry_cooler", None, None, None, None)))
    if not parts:
        return None
    mw = [n * unit.kw / 1000.0 for _, _, n, unit in parts]
    # to first order each kind contributes its ln-sd times its share of the sum
    errors = {name: unit.ln_sd * m / sum(mw) for (name, _, _, unit), m in zip(parts, mw, strict=True)}
    errors |= {COUNT: facts.ratio("count_error").ln_sd, **_shared()}
    words = " and ".join(f"{n} counted {plural} at {unit.kw / 1000.0:.2f} MW each" for _, plural, n, unit in parts)
    return Statement("counted", sum(mw) * facts.ratio("derate_net").median, errors, words)


@lru_cache(maxsize=4096)
def _unit(
    machine: str, area_m2: float | None, fans: int | None, diameter_m: float | None, height_m: float | None
) -> Capacity:
    return unit_capacity(machine, area_m2=area_m2, fans=fans, fan_diameter_m=diameter_m, height_m=height_m)


def _outlined(site: SiteEvidence) -> Statement | None:
    if not site.cooling_area_m2 > 0:
        return None
    law = facts.law("chiller_row_area")
    share, share_sd = packing(site.gsd_m)
    kind_known = bool(site.chillers or site.cooling_tower_cells or site.dry_coolers or site.cooling)
    kind_sd = 0.0 if kind_known else facts.ratio("outline_equipment_type").ln_sd
    # C = 53 kW/m2 x area x share of units (docs/methods.md, section 4.3)
    mw = law.capacity_kw(site.cooling_area_m2 * share) / 1000.0
    errors = {PACKING: share_sd, TYPE: kind_sd, UNIT: law.ln_sd, **_shared()}
    at = "an unstated GSD (taken as 2 m)" if site.gsd_m is None else f"{site.gsd_m:g} m GSD"
    words = (
        f"{site.cooling_area_m2:,.0f} m2 of cooling equipment outlined at {at}, {share:.0%} of it "
        f"units of {law.coefficient_kw:g} kW/m2"
    )
    return Statement("outlined", mw * facts.ratio("derate_net").median, errors, words)


def _generators(site: SiteEvidence, year: int, ratio: float, slope: float) -> Statement | None:
    if not site.generators:
        return None
    one = _unit("generator", None, None, None, None)
    each = one.kw / 1000.0 if site.generator_mw is None else site.generator_mw
    share, ln_sd, recent = _BACKUP
    # new AI sites back up only a part of their load (docs/methods.md, section 4.3)
    backed = recent if year >= 2025 else ln_sd
    known = 0.0 if site.generator_mw is not None else one.ln_sd
    errors = {BACKED: math.hypot(backed, known), RATIO: slope, COMMON: _shared()[COMMON]}
    words = f"{site.generators} generators of {each:g} MW, {share:.0%} of it load (facility, ln-sd {backed:.2f})"
    return Statement("generators", site.generators * each * share / ratio, errors, words)


def _caps(site: SiteEvidence) -> tuple[tuple[float, float, str], ...]:
    given = ({"substation_mva": site.substation_mva}, {"turbines_mw": site.turbines_mw})
    found = [cap_mw(**one) for one in given if next(iter(one.values())) is not None]
    return tuple(c for c in found if c is not None)


def _together(cooling: Sequence[Statement]) -> str:
    derate = facts.ratio("derate_net").median
    parts = [f"{mw_words(s.median / derate)} of cooling, {mw_words(s.median)} IT" for s in cooling]
    return f": {' and '.join(parts)} after derating {derate:.2f} (ln-sd {min(s.ln_sd for s in cooling):.2f})"


def _pull(prior: Statement, cooling: Sequence[Statement]) -> float:
    """Logarithm of the factor that moves the equipment to within `MAX_PULL` of the footprint; 0 if it is there."""
    gap = float(np.mean([math.log(s.median / prior.median) for s in cooling]))
    limit = MAX_PULL * math.hypot(prior.ln_sd, min(s.ln_sd for s in cooling))
    return -math.copysign(max(0.0, abs(gap) - limit), gap)


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
