"""Statements on IT power from equipment: counted machines, outlined cooling area, generators.

In: `SiteEvidence`. Out: log-normal `Statement`s with named errors. Capacities of machines come from
`models.capacity.equipment`, power per counted machine from `models.capacity.counted_units`
(docs/methods.md, section 4.3).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.special import polygamma, psi

from overwatt.models.capacity.counted_units import unit_power
from overwatt.models.capacity.equipment import either_way, unit_capacity
from overwatt.models.reference import facts
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.fusion import Statement

RATIO = "the ratio of facility to IT power at peak"
COMMON = "an error common to all evidence"
UNIT = "the capacity of one unit"
TOWER = "the capacity of one cooling-tower cell"
DRY = "the capacity of one dry cooler"
COUNT = "the count"
RECALL = "the share of the equipment that is found"
PACKING = "the share of the outlined cooling area that is units"
TYPE = "the type of equipment outlined"
DERATE = "derating and redundancy"
HIDDEN = "hidden cooling"
BACKED = "the share of the load that generators back up"
_KINDS = (
    ("chillers", "air_chiller", UNIT, "chillers"),
    ("cooling_tower_cells", "tower_cell", TOWER, "cooling-tower cells"),
    ("dry_coolers", "dry_cooler", DRY, "dry coolers"),
)
_RECENT = 0.6  # ln-sd of load per generator at sites since 2025, which back up a part (docs/methods.md, section 4.3)


def counted(site: SiteEvidence) -> Statement | None:
    """IT power from counted machines. The units of a site are of one model, so their errors do not average out."""
    parts = []
    for field, machine, error, plural in _KINDS:
        number = getattr(site, field)
        if number:
            mw, ln_sd, sized = _unit(machine, *_sizes(site, machine))
            parts.append((number * mw, number, mw, ln_sd, sized, error, plural))
    if not parts:
        return None
    total = sum(p[0] for p in parts)
    # to first order each kind contributes its ln-sd times its share of the sum
    errors = {error: ln_sd * mw / total for mw, _, _, ln_sd, _, error, _ in parts}
    # a figure per machine taken from sites is IT power already: only capacities of measured machines are derated
    errors[DERATE] = facts.ratio("derate_net").ln_sd * sum(p[0] for p in parts if p[4]) / total
    errors |= {COUNT: facts.ratio("count_error").ln_sd, **_shared()}
    share, found = _recall(site, errors)
    each = " and ".join(
        f"{n} counted {_plural(n, plural)} at {mw:.2f} MW IT each" for _, n, mw, _, _, _, plural in parts
    )
    statement = Statement("counted", total / share, errors, "")
    return Statement("counted", total / share, errors, f"{each}{found} ({either_way(statement.ln_sd)})")


def outlined(site: SiteEvidence) -> Statement | None:
    """IT power from the area of outlined cooling equipment."""
    law, derate = facts.law("chiller_row_area"), facts.ratio("derate_net")
    share, share_sd = packing(site.gsd_m)
    kind_known = bool(site.chillers or site.cooling_tower_cells or site.dry_coolers or site.cooling)
    kind_sd = 0.0 if kind_known else facts.ratio("outline_equipment_type").ln_sd
    # C = 53 kW/m2 x area x share of units (docs/methods.md, section 4.3)
    mw = law.capacity_kw(site.cooling_area_m2 * share) / 1000.0 * derate.median
    if not mw > 0:
        return None
    errors = {PACKING: share_sd, TYPE: kind_sd, UNIT: law.ln_sd, DERATE: derate.ln_sd, **_shared()}
    seen, found = _recall(site, errors)
    at = "an unstated GSD (taken as 2 m)" if site.gsd_m is None else f"{site.gsd_m:g} m GSD"
    words = (
        f"{site.cooling_area_m2:,.0f} m2 of cooling equipment outlined at {at}, {share:.0%} of it units of "
        f"{law.coefficient_kw:g} kW/m2, {derate.median:.2f} of that IT after derating{found}"
    )
    statement = Statement("outlined", mw / seen, errors, "")
    return Statement("outlined", mw / seen, errors, f"{words} ({either_way(statement.ln_sd)})")


def generators(site: SiteEvidence, year: int, ratio: float, slope: float) -> Statement | None:
    """IT power from counted generators; `slope` is the ln-sd of the ratio of facility to IT power."""
    if not site.generators:
        return None
    if site.generator_mw is None:
        load, spread, _ = _unit("generator")
        each = f"{load:.2g} MW of load each"
    else:
        share = facts.ratio("generator_share")
        load, spread = site.generator_mw * share.median, share.ln_sd
        each = f"{site.generator_mw:g} MW, {share.median:.0%} of it load"
    backed = max(spread, _RECENT) if year >= 2025 else spread
    errors = {BACKED: backed, COUNT: facts.ratio("count_error").ln_sd, RATIO: slope, COMMON: _shared()[COMMON]}
    words = f"{site.generators} {_plural(site.generators, 'generators')} of {each} (facility, {either_way(backed)})"
    return Statement("generators", site.generators * load / ratio, errors, words)


def _plural(n: int, words: str) -> str:
    return words.removesuffix("s") if n == 1 else words


def packing(gsd_m: float | None) -> tuple[float, float]:
    """Return the share of outlined cooling area that is units: median and ln-sd.

    Linear in GSD between 0.6 m and 2 m; beyond, the median stays and the spread grows in
    proportion to GSD. Own choice, to be measured on simulated scenes (docs/methods.md, section 4.3).
    """
    return _packing(2.0 if gsd_m is None else gsd_m)


@lru_cache(maxsize=4096)
def _packing(gsd_m: float) -> tuple[float, float]:
    fine, coarse = facts.ratio("packing_fine"), facts.ratio("packing_2m")
    median = float(np.interp(gsd_m, (0.6, 2.0), (fine.median, coarse.median)))
    ln_sd = float(np.interp(gsd_m, (0.6, 2.0), (fine.ln_sd, coarse.ln_sd)))
    return median, ln_sd * max(1.0, gsd_m / 2.0)


@lru_cache(maxsize=1)
def _shared() -> dict[str, float]:
    """Errors that all statements from cooling equipment share."""
    return {HIDDEN: facts.ratio("hidden_cooling").ln_sd, COMMON: facts.ratio("common_error").ln_sd}


def _recall(site: SiteEvidence, errors: dict[str, float]) -> tuple[float, str]:
    """Add the error of the recall; return the share that is found, and words."""
    if site.count_recall is None:
        return 1.0, ""
    share, errors[RECALL] = _ln_beta(*site.count_recall)
    return share, f", taken as {share:.0%} of what stands there"


@lru_cache(maxsize=256)
def _ln_beta(a: float, b: float) -> tuple[float, float]:
    # mean and variance of the logarithm of a Beta(a, b): psi(a) - psi(a + b), psi'(a) - psi'(a + b)
    return math.exp(psi(a) - psi(a + b)), math.sqrt(polygamma(1, a) - polygamma(1, a + b))


def _sizes(site: SiteEvidence, machine: str) -> tuple[float | None, ...]:
    """Return plan area, fans, fan diameter and height of one machine."""
    if machine == "air_chiller":
        return site.chiller_area_m2, site.chiller_fans, None, None
    if machine == "tower_cell":
        return site.tower_cell_area_m2, None, site.tower_fan_diameter_m, site.tower_height_m
    return None, None, None, None


@lru_cache(maxsize=4096)
def _unit(
    machine: str,
    area_m2: float | None = None,
    fans: float | None = None,
    diameter_m: float | None = None,
    height_m: float | None = None,
) -> tuple[float, float, bool]:
    """Return MW of one machine (IT; facility of a generator), ln-sd, and whether it rests on its measured size."""
    size = unit_capacity(machine, area_m2=area_m2, fans=fans, fan_diameter_m=diameter_m, height_m=height_m)
    if size is not None:
        return size.kw / 1000.0 * facts.ratio("derate_net").median, size.ln_sd, True
    known = unit_power(machine)
    return known.mw, known.ln_sd, False
