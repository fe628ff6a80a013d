"""Estimate of one site from an analyst's entries: counts, a footprint, metered power or chips.

In: a JSON object or flags with the fields of `FIELDS`, all optional, units in their names. Out: plain
values for JSON: quantiles of IT and facility power, H100 equivalents and FLOP, kinds of site with their weights,
shares of variance by source of error, the observations that would reduce the uncertainty of power most, questions,
assumptions. Declared chips are a statement of their own, compared with what was observed and never fused with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

import numpy as np

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.reference import facts
from overwatt.pipeline.compute import stated_power, training_compute
from overwatt.pipeline.compute.site_type import KINDS
from overwatt.pipeline.compute.time_to_threshold import SiteTrack, time_to_threshold
from overwatt.pipeline.power import annual_energy, posterior
from overwatt.pipeline.power.accelerators import parse_chips, power_of_chips
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.evidence_models import case
from overwatt.pipeline.power.fusion import fuse, shares
from overwatt.pipeline.power.next_observation import next_observations
from overwatt.pipeline.tables import QUANTILE_NAMES, QUANTILES

YEAR = 2026
"""Year used if no date is given: that of the tables in models/reference."""
FIELDS: Mapping[str, tuple[str, str]] = {
    "name": ("text", "name of the site; also selects its random draws"),
    "date": ("text", "YYYY, YYYY-MM or YYYY-MM-DD of the observation; sets building classes and chips"),
    "country": ("text", "ISO 3166 alpha-2 code; sets the mix of chips if the tables have one for it"),
    "operator": ("text", "operator of the site; sets power per building and facility ratio if the tables have it"),
    "site_type": ("text", "one of " + ", ".join(training_compute.SITE_TYPES)),
    "cooling": ("text", "air_chiller, water, direct_air or liquid"),
    "building_class": ("text", "one of " + ", ".join(facts.area_priors())),
    "footprint_m2": ("number", "footprint of the data-center buildings in m2"),
    "storeys": ("number", "mean number of storeys"),
    "height_m": ("number", "mean height of the buildings in m; not used if storeys are given"),
    "it_mw": ("number", "metered or filed IT power in MW; taken as it is, not estimated"),
    "buildings": ("count", "finished data-center buildings"),
    "cooling_area_m2": ("number", "area of the outlines of cooling equipment in m2, gaps included"),
    "gsd_m": ("number", "ground sampling distance of the image in which equipment was outlined, metres per pixel"),
    "chillers": ("count", "air-cooled chillers"),
    "chiller_fans": ("count", "fans of one chiller"),
    "chiller_area_m2": ("number", "plan area of one chiller in m2"),
    "cooling_tower_cells": ("count", "cooling-tower cells (mostly one fan each)"),
    "tower_fan_diameter_m": ("number", "diameter of one cell's fan in m"),
    "tower_cell_area_m2": ("number", "plan area of one cell in m2"),
    "tower_height_m": ("number", "height of one cell in m"),
    "dry_coolers": ("count", "dry coolers or fan walls"),
    "generators": ("count", "back-up generators"),
    "generator_mw": ("number", "nameplate MW of one generator"),
    "substation_mva": ("number", "total MVA of the site's transformers: a cap"),
    "turbines_mw": ("number", "MW of generation on a site without grid connection: a cap"),
    "climate": ("text", "temperate or hot; for the annual PUE only"),
    "stage": ("text", "stage of construction on the date: land, roof, equipment or operation"),
    "stage_seen": ("text", "YYYY-MM-DD on which that stage was first seen [default: date]"),
    "on_border": ("flag", "true if part of the site lies outside the imagery"),
    "chips": ("text", "declared or counted chips, NAME:NUMBER, separated by commas"),
}
# other spellings of a field, from registries and notes of analysts
_ALIASES = {
    "site_id": "name", "id": "name", "site": "name", "year": "date",
    "cooling_type": "cooling", "type": "site_type", "class": "building_class", "owner": "operator",
    "building_area_m2": "footprint_m2", "area_m2": "footprint_m2", "floors": "storeys",
    "chiller_count": "chillers", "n_chillers": "chillers", "fans_per_chiller": "chiller_fans",
    "chiller_fan_count": "chiller_fans", "fan_count": "chiller_fans", "fans": "chiller_fans",
    "cooling_towers": "cooling_tower_cells", "tower_cells": "cooling_tower_cells", "towers": "cooling_tower_cells",
    "cooling_tower_count": "cooling_tower_cells", "fan_diameter_m": "tower_fan_diameter_m",
    "cooling_tower_fan_diameter_m": "tower_fan_diameter_m", "generator_count": "generators",
}  # fmt: skip
# first letters of a word -> kind of cooling; the first word that fits decides
_COOLING = {
    "air": "air_chiller", "chiller": "air_chiller", "water": "water", "tower": "water", "evaporative": "direct_air",
    "direct": "direct_air", "free": "direct_air", "liquid": "liquid", "immersion": "liquid",
}  # fmt: skip
_RESERVED = ("name", "date", "chips", "it_mw", "footprint_m2", "cooling", "climate", "stage", "stage_seen")
# fields of which one is enough for an observed power
_OBSERVED = (
    "footprint_m2", "buildings", "cooling_area_m2", "chillers", "cooling_tower_cells", "dry_coolers", "generators"
)  # fmt: skip
_MAX_TEXT = 2000  # characters; own choice


def estimate_site(given: Mapping[str, Any], *, days: int = 90, seed: int = 0, draws: int = 16_384) -> dict[str, Any]:
    """Return the estimate of one site as plain values.

    Args:
        given: fields of `FIELDS`.
        days: length of the training run.
        seed: of the draws.
        draws: number of draws.

    Raises:
        ConfigError: a field is unknown, of the wrong type, or its value is impossible.
    """
    site = fields(given)
    when = _date("date", site.get("date", str(YEAR)))
    year = when.year
    chips = power_of_chips(parse_chips(site["chips"]), year=year) if "chips" in site else None
    evidence = SiteEvidence(
        site_id=site.get("name", "site"),
        building_area_m2=site.get("footprint_m2", 0.0),
        cooling=_cooling(site.get("cooling")),
        **{k: v for k, v in site.items() if k not in _RESERVED},
    )
    # without any other statement the observation is asked for, which says what is missing
    seen = any(site.get(name) for name in _OBSERVED) or not (chips or "it_mw" in site)
    found = case(evidence, year) if seen else None
    observed = posterior.estimate([evidence], year=year, seed=seed, draws=draws) if seen else None
    metered = stated_power.metered(site["it_mw"], evidence, seed=seed, draws=draws) if "it_mw" in site else None
    declared = stated_power.declared(chips, evidence, seed=seed, draws=draws) if chips else None
    estimate_of, drawn = next((k, d) for k, d in zip(_ESTIMATES, (metered, observed, declared), strict=True) if d)
    stated = {0: (chips.h100e, chips.h100e_fp8, _CHIP_COUNT_SD)} if chips else {}
    compute = partial(training_compute.estimate, year=year, days=days, evidence=[evidence])
    done = compute(drawn, chips=stated if drawn is declared else {})
    climate = site.get("climate", "temperate")
    return {
        "site": dict(site),
        "year": year,
        "days": days,
        "seed": seed,
        "estimate_of": estimate_of,
        **_amounts(drawn, done),
        "flop_if_ai": _quantiles(done.flop_ai),
        "site_types": {kind: round(float(p), 4) for kind, p in zip(KINDS, done.types[0], strict=True)},
        "annual_gwh": _quantiles(annual_energy.annual_gwh(drawn, cooling=evidence.cooling, climate=climate)),
        "time_to_threshold": _when(site, when, done.flop[0].astype(float) / days, seed),
        "error_budget": _shares(drawn.budgets[0]),
        "error_budget_facility_mw": _shares(drawn.facility_budgets[0]),
        "error_budget_flop": _shares(done.budgets[0]),
        "probability_no_ai": round(float((done.h100e[0] <= 0).mean()), 4),
        "declared": _amounts(declared, compute(declared, chips=stated)) if declared and drawn is not declared else None,
        "declared_over_estimated": _ratio(declared, drawn),
        "observed": _power(observed) if observed and drawn is not observed else None,
        "weights": {k: round(v, 4) for k, v in fuse(found.statements).weights.items()} if found else {},
        "next_observations": [
            {
                "observation": o.words,
                "kind": o.kind,
                "ln_sd_before": round(o.before, 4),
                "ln_sd_after": round(o.after, 4),
            }
            for o in (next_observations(found) if found and not metered else ())
        ],
        "questions": [
            *(w.removeprefix("question: ") for w in (found.words if found else ()) if w.startswith("question: ")),
            *_contradiction("the declared chips imply", declared, drawn),
            *_contradiction("the metered or filed power implies", metered, observed),
        ],
        "assumptions": f"{drawn.assumptions[0]} {done.assumptions[0]}",
        "basis": "H100 equivalents (h100e) and FLOP on dense BF16, h100e_fp8 on dense FP8; facility MW at peak, not "
        "annual mean; flop_if_ai: if the site were built for AI",
    }


_ESTIMATES = ("it_mw", "observation", "declaration")
_CHIP_COUNT_SD = 0.05  # ln-sd of a stated number of chips, compared with those installed; own choice


def fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a site under our names, with values of the right type.

    Raises:
        ConfigError: a field is unknown, given twice, or of the wrong type.
    """
    out: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).strip().lower().replace("-", "_")
        name = _ALIASES.get(name, name)
        if name not in FIELDS:
            raise ConfigError(f"site: field '{str(key)[:60]}' is not known; {nearest(name, FIELDS)}")
        if value is None:
            continue
        if name in out:
            raise ConfigError(f"site: field '{name}' is given twice, the second time as '{str(key)[:60]}'")
        out[name] = _value(name, value)
    return out


def _value(name: str, value: object) -> str | bool | float:
    kind = FIELDS[name][0]
    if kind == "text":
        if name == "date" and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if name == "chips" and isinstance(value, Mapping):
            value = ",".join(f"{k}:{v}" for k, v in value.items())
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT:
            raise ConfigError(f"site: {name} must be a text of 1 to {_MAX_TEXT} characters")
        return value
    if kind == "flag":
        if not isinstance(value, bool):
            raise ConfigError(f"site: {name} must be true or false")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"site: {name} '{str(value)[:60]}' must be a number")
    if kind == "count" and math.isfinite(value) and value == int(value):
        return int(value)
    return value


def _date(name: str, text: str) -> date:
    if not re.fullmatch(r"\d{4}(-\d{2}(-\d{2})?)?", text):
        raise ConfigError(f"{name}: '{text[:40]}' cannot be read; give YYYY, YYYY-MM or YYYY-MM-DD")
    try:
        return date.fromisoformat((text + "-01-01")[:10] if len(text) < 10 else text)
    except ValueError as error:
        raise ConfigError(f"{name}: '{text}' is not a date; give YYYY, YYYY-MM or YYYY-MM-DD") from error


def _when(site: Mapping[str, Any], when: date, flop_per_day: np.ndarray, seed: int) -> dict[str, Any] | None:
    """Return the dates on which the site passes 1e24 to 1e27 FLOP; None if its stage is not known."""
    if "stage" not in site:
        return None
    seen = _date("stage_seen", site["stage_seen"]) if "stage_seen" in site else when
    track = SiteTrack(site.get("name", "site"), flop_per_day, site["stage"], seen)
    found = [time_to_threshold([track], f, start=when, seed=seed) for f in (1e24, 1e25, 1e26, 1e27)]
    return {f"{c.flop:.0e}": {**c.dates, "probability_in_10_years": round(c.probability, 4)} for c in found}


def _cooling(text: str | None) -> str | None:
    if text is None:
        return None
    words = re.split(r"[^a-z]+", text.lower())
    for word in words:
        for start, kind in _COOLING.items():
            if word.startswith(start):
                return kind
    return text


def _quantiles(draws: np.ndarray) -> dict[str, float]:
    # six digits: more would be noise of the draws
    values = np.quantile(draws[0].astype(float), QUANTILES)
    return {name: float(f"{v:.6g}") for name, v in zip(QUANTILE_NAMES, values, strict=True)}


def _shares(variance: Mapping[str, float]) -> dict[str, float]:
    return {k: round(v, 6) for k, v in shares({k: math.sqrt(v) for k, v in variance.items()}).items()}


def _amounts(power: posterior.PowerDraws, compute: training_compute.ComputeDraws) -> dict[str, dict[str, float]]:
    return {
        **_power(power),
        "h100e": _quantiles(compute.h100e),
        "h100e_fp8": _quantiles(compute.h100e_fp8),
        "flop": _quantiles(compute.flop),
    }


def _power(power: posterior.PowerDraws) -> dict[str, dict[str, float]]:
    return {"it_mw": _quantiles(power.it_mw), "facility_mw": _quantiles(power.facility_mw)}


def _ratio(declared: posterior.PowerDraws | None, estimated: posterior.PowerDraws) -> dict[str, float] | None:
    """Quantiles of declared over estimated facility power; None if there are not two statements."""
    if declared is None or declared is estimated:
        return None
    return _quantiles(declared.facility_mw / estimated.facility_mw)


def _contradiction(
    says: str, stated: posterior.PowerDraws | None, estimated: posterior.PowerDraws | None
) -> tuple[str, ...]:
    """Return a question if what is stated and what is estimated contradict each other."""
    if stated is None or estimated is None or stated is estimated:
        return ()
    # own choice: the central 95% interval of their ratio excludes 1
    below = float((stated.facility_mw < estimated.facility_mw).mean())
    if min(below, 1.0 - below) >= 0.025:
        return ()
    s, e = (_quantiles(p.facility_mw) for p in (stated, estimated))
    return (
        f"{says} {s['p05']:,.0f} to {s['p95']:,.0f} MW of facility power, "
        f"the rest of the evidence {e['p05']:,.0f} to {e['p95']:,.0f} MW",
    )
