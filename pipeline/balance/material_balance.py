"""Material balances: declared amounts of a site, an owner, a State or a grid zone compared with what was seen there.

In: tables `ledger`, `sites`, `declared`. Out: one row per level, name and quantity. IAEA's material balance
(docs/methods.md, section 2: MUF over its sigma, a question past 3 sigma) for IT power, H100 equivalents and training
FLOP.

The statistic. The power of one site is log-normal with median m and ln-sd s. A part c of s (0.20, common_error of
models/reference: the error that all evidence shares) is the same for all sites and does not average out. For a sum, the
mean M and the variance V of the independent parts are exact, and the sum is taken as the log-normal with the same
moments (Fenton 1960): var ln S = c^2 + ln(1 + V / M^2). This is exact for one site; for many sites the lower tail is
too wide. The sum of medians is not the median of the sum. If m scatters about the truth (a measurement), the sum
overstates the truth by a factor e^b; if the truth scatters about m (a posterior), it understates it by the same factor,
b = ln(M / sum m) - ln(1 + V / M^2) / 2. The data do not show which case holds, so b is subtracted from |ln S / D|
before the division by sigma.

What is closed or cancelled declares nothing. What is planned or under construction, and what has a status that is not
known, counts on no side; the amounts are `declared_not_operating` and `declared_unknown`. Places with a site whose
power is not known count on no side either; `n_power_unknown` such sites.

Not a discrepancy: places that were not observed; as many places
with nothing seen, or undeclared sites, as the detector misses or invents by chance (excluded from z while the
probability of that chance is at least `_CHANCE`); chips or runs without a place that may be outside the observed
ground; a site that could hold more chips or train more than it declares to use, as capacity is not use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import geopandas as gpd
import numpy as np
import pandas as pd
from scipy.stats import binom

from overwatt.aoi.errors import ConfigError
from overwatt.models.reference import facts
from overwatt.pipeline.balance import grouping, wording
from overwatt.pipeline.balance.grouping import Claims, Seen
from overwatt.pipeline.balance.places import JoinedTables, join_tables
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.reconcile.settings import DEFAULTS, ReconcileSettings

LEVELS = ("site", "owner", "zone")
QUANTITIES = ("it_mw", "it_mw_of_chips", "h100e", "flop")
COLUMNS = ("level", "name", "quantity", "declared", "declared_sigma", "observed", "observed_sigma", "difference", "z",
           "flagged", "n_declared", "n_observed", "n_power_unknown", "declared_unknown", "declared_not_operating",
           "reason", "sentence")  # fmt: skip
Z_FLAG = 3.0
"""A difference of more than this many sigma is a question: IAEA material balances (docs/methods.md, section 2)."""
_CHANCE = 0.00135  # one-sided probability of 3 sigma
_MISSED = 0.13  # 1 - the worst of the sensitivities 0.87-0.95 of comparable detectors (docs/methods.md, section 0)
_MAX_LN_SD = 2.5  # ln-sd above this means that the amount may be zero (a factor 60 at 90%); own choice
_SURE = 0.5  # a balance of a single site needs at least this match probability; own choice
_FLOOR = 1e-9  # keeps logarithms and divisions finite


def material_balance(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame,
    *,
    by: Sequence[str] = LEVELS,
    zones: gpd.GeoDataFrame | None = None,
    everywhere: bool = False,
    at: str | None = None,
    settings: ReconcileSettings = DEFAULTS,
) -> pd.DataFrame:
    """Return the balances, columns `COLUMNS`, sorted by level, name and quantity, whatever the order of input rows.

    Quantities: `it_mw` compares declared IT MW (facility MW over facility_per_it) with the observed, both directions.
    `it_mw_of_chips` compares the IT MW that declared chips need with the observed, shortfall only. `h100e` compares
    declared chips with the H100 equivalents that the sites could hold, both directions. `flop` compares reported
    training FLOP with what the sites could train in the days of the reported runs, shortfall only.

    Sigmas are one standard deviation, to first order, in the unit of the quantity (MW, 1, FLOP). `difference` is
    observed minus declared. `z` is NaN if the sides cannot be compared (`reason` says why). `flagged` is |z| > 3 in a
    direction that can be a question.

    Args:
        ledger: table `ledger`, made from the other two tables.
        sites: table `sites`.
        declared: table `declared`.
        by: which of `LEVELS`.
        zones: polygons with column `name`; without them column `zone` of ledger and declarations is used.
        everywhere: all ground of the owners and zones was observed, so that what is declared without a place must be
            in it.
        at: ISO date of the balance; declarations that ended before are left out. Default: the latest date of an image
            or declaration.
        settings: error models of declarations.

    Raises:
        ConfigError: `by`, `zones` or `at` cannot be used, or the ledger was not made from these tables.
    """
    levels = [by] if isinstance(by, str) else list(by)
    if bad := [str(v)[:60] for v in levels if v not in LEVELS]:
        raise ConfigError(f"balances: by '{bad[0]}' is not known; use any of {', '.join(LEVELS)}")
    if zones is not None and "name" not in zones.columns:
        raise ConfigError("balances: zones has no column 'name'; add it with the name of each zone")
    tables = join_tables(ledger, sites, declared, zones=zones, at=at, settings=settings)
    parts = [_level(tables, level, quantity, everywhere, settings) for level in LEVELS if level in levels
             for quantity in QUANTITIES]  # fmt: skip
    parts = [p for p in parts if len(p)]
    if not parts:
        return _typed(pd.DataFrame({c: [] for c in COLUMNS}))
    out = pd.concat(parts, ignore_index=True)
    order = pd.DataFrame({
        "l": out["level"].map({v: k for k, v in enumerate(LEVELS)}), "n": out["name"],
        "q": out["quantity"].map({v: k for k, v in enumerate(QUANTITIES)}),
    }).sort_values(["l", "n", "q"], kind="stable").index  # fmt: skip
    return _typed(out.loc[order].reset_index(drop=True))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    kinds = {"flagged": "bool", "n_declared": "int64", "n_observed": "int64", "n_power_unknown": "int64"}
    texts = ("level", "name", "quantity", "reason", "sentence")
    return frame[list(COLUMNS)].astype({c: kinds.get(c, "string" if c in texts else "float64") for c in COLUMNS})


def _level(
    tables: JoinedTables, level: str, quantity: str, everywhere: bool, settings: ReconcileSettings
) -> pd.DataFrame:
    """Return the balances of one level and quantity, for groups with claims or (IT power only) with seen sites."""
    claims, seen, n, names = grouping.sides(tables, level, quantity)
    if not n:
        return pd.DataFrame()
    declared, declared_var = declared_sum(claims, n, quantity, settings)
    low, high = observed_sums(seen, n, quantity)
    observed = low[0]
    declared_credit = _missed(claims, n) + _excused(claims, n, everywhere)
    observed_credit = _invented(seen, n)
    none = np.zeros(n)
    z = _z(declared, declared_var, observed, low, high, declared_credit, observed_credit)
    raw = _z(declared, declared_var, observed, low, high, none, none)
    has_claims, has_seen = declared > 0, observed > 0
    over, under = observed > declared, observed < declared
    # past the limit only because of amounts that chance explains
    small = (np.abs(z) <= Z_FLAG) & (np.abs(raw) > Z_FLAG)
    # reasons why sides cannot be compared (z is NaN), then reasons why a difference is not a question
    never = {
        "nothing is declared": ~has_claims,
        "nothing was seen": ~has_seen,
        "no owner or zone is stated": np.array([not v for v in names], bool),
        "the pairing of site and declaration is uncertain": grouping.uncertain(tables, names, level, _SURE),
    }
    no_question = {
        "what could be need not be used": over & (quantity in ("it_mw_of_chips", "flop")),
        "the sites may hold no accelerators at all": over & (low[3] > _SURE) & (quantity == "h100e"),
        "sites that may be none account for it": over & small,
        "places cut by an image's border, missed by chance or not stated account for it": under & small,
    }  # fmt: skip
    reason = np.select([*never.values(), *no_question.values()], [*never, *no_question], "").astype(object)
    z = np.where(np.isin(reason, list(never)), np.nan, z)
    frame = pd.DataFrame({
        "level": level, "name": [v or "(not stated)" for v in names], "quantity": quantity, "declared": declared,
        "declared_sigma": declared * np.sqrt(declared_var), "observed": observed,
        "observed_sigma": observed * np.sqrt(np.where(over, low[1], high[1])),
        "difference": observed - declared, "z": z,
        "flagged": (reason == "") & (np.abs(np.nan_to_num(z)) > Z_FLAG),
        "n_declared": np.bincount(claims.group, minlength=n), "n_observed": np.bincount(seen.group, minlength=n),
        "n_power_unknown": grouping.power_unknown(tables, names, level),
        "declared_unknown": grouping.apart(tables, names, level, quantity, tables.unclear),
        "declared_not_operating": grouping.apart(tables, names, level, quantity, tables.pending),
        "reason": reason, "missed": declared_credit, "invented": observed_credit,
        "not_looked": grouping.left_out(tables, names, level),
    })  # fmt: skip
    aside = (frame["declared_unknown"] + frame["declared_not_operating"] > 0) & (level != "site")
    frame = frame[has_claims | aside | (has_seen & (quantity == "it_mw"))]
    return frame.assign(sentence=wording.sentences(frame))


def _z(
    declared: np.ndarray, declared_var: np.ndarray, observed: np.ndarray, low: tuple[np.ndarray, ...],
    high: tuple[np.ndarray, ...], declared_credit: np.ndarray, observed_credit: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return ln(observed / declared) in sigmas, (group,), reduced by the bias b and by the credits, never past 0.

    Args:
        declared: sum of declared amounts.
        declared_var: variance of its ln.
        observed: sum of observed medians.
        low: of `observed_sums`, downwards; used if more was seen than is declared.
        high: the same, upwards; used if less was seen.
        declared_credit: declared amount that need not be seen.
        observed_credit: observed amount that may be false.
    """
    # docs/methods.md, section 2
    most = np.log(np.maximum(observed - observed_credit, _FLOOR)) - np.log(np.maximum(declared, _FLOOR))
    least = np.log(np.maximum(observed, _FLOOR)) - np.log(np.maximum(declared - declared_credit, _FLOOR))
    excess = np.maximum(most - low[2], 0.0) / np.sqrt(low[1] + declared_var)
    short = np.minimum(least + high[2], 0.0) / np.sqrt(high[1] + declared_var)
    return np.where(observed >= declared, excess, short)


def declared_sum(claims: Claims, n: int, quantity: str, settings: ReconcileSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of declared amounts and the variance of its ln, each (n,).

    Every row has its own error. The error of the conversion from facility MW to IT MW, or from chips to MW, is the same
    for all rows, so it adds up linearly.
    """
    total = np.bincount(claims.group, claims.value, n)
    square = np.bincount(claims.group, claims.value**2 * np.expm1(claims.ln_sd**2), n)
    shared = np.bincount(claims.group, claims.value * claims.common, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        var = np.log1p(np.nan_to_num(square / total**2)) + np.nan_to_num(shared / total) ** 2
    # never below a hundredth of the error of one declaration, so that z stays finite; own choice
    return total, np.maximum(var, settings.declared_ln_sd**2 / 1e4)


def observed_sums(seen: Seen, n: int, quantity: str) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return two tuples, for the downward and the upward error, of four arrays, (n,) each.

    They are the sum of medians, the variance of its ln, the bias b, and the share of the sum whose amount may be zero
    (ln-sd above `_MAX_LN_SD`). Formulas: docs/methods.md, section 2; a site counts with its probability p.
    """
    common = common_ln_sd(quantity)
    out = []
    for ln_sd in (seen.ln_sd, seen.ln_sd_high):
        capped = np.minimum(ln_sd, _MAX_LN_SD)
        own2 = np.maximum(capped**2 - common**2, 0.0)
        # mean and variance of p times a log-normal (zero with probability 1 - p)
        mean = seen.p * seen.value * np.exp(own2 / 2)
        variance = seen.value**2 * (seen.p * np.exp(2 * own2) - seen.p**2 * np.exp(own2))
        medians, means, square, shared, nothing = (
            np.bincount(seen.group, v, n)
            for v in (seen.p * seen.value, mean, np.maximum(variance, 0.0),
                      seen.p * seen.value * np.minimum(common, capped), seen.p * seen.value * (ln_sd > _MAX_LN_SD))
        )  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            # Fenton 1960: a log-normal with the mean and variance of the sum
            spread = np.log1p(np.nan_to_num(square / means**2))
            var = spread + np.nan_to_num(shared / medians) ** 2
            bias = np.maximum(np.nan_to_num(np.log(means / medians)) - spread / 2, 0.0)
            out.append((medians, np.maximum(var, _FLOOR), bias, np.nan_to_num(nothing / medians)))
    return out[0], out[1]


@cache
def common_ln_sd(quantity: str) -> float:
    """Return the ln-sd of the error that all sites share: power 0.20; for FLOP the utilisation of chips is added.

    The share of AI accelerators and the mix of chips are independent between sites, as training_compute draws them.
    """
    power = facts.ratio("common_error").ln_sd
    if quantity != "flop":
        return power
    h100e, flop = training_compute.per_it_mw(training_compute.LAST_YEAR)
    some = h100e > 0
    return math.hypot(power, float(np.log(flop[some] / h100e[some]).std()))


def _missed(claims: Claims, n: int) -> np.ndarray:
    """Return the declared amount at places where nothing was seen, 0 if these are too many for chance, (n,).

    The number of misses is binomial with the miss rate of a detector.
    """
    places = np.bincount(claims.group[~claims.without_place], minlength=n)
    unseen = np.bincount(claims.group[claims.unseen], minlength=n)
    amount = np.bincount(claims.group[claims.unseen], claims.value[claims.unseen], n)
    return np.where(binom.sf(unseen - 1, places, _MISSED) >= _CHANCE, amount, 0.0)


def _excused(claims: Claims, n: int, everywhere: bool) -> np.ndarray:
    """Return the declared amount that need not be seen: at a cut site, or perhaps elsewhere, (n,)."""
    rows = (claims.cut | (claims.without_place & (not everywhere))) & ~claims.unseen
    return np.bincount(claims.group[rows], claims.value[rows], n)


def _invented(seen: Seen, n: int) -> np.ndarray:
    """Return the observed amount of the largest undeclared sites that may all be false by chance, (n,).

    Sites are taken from the largest down as long as the probability that all of them are false is at least `_CHANCE`.
    """
    out = np.zeros(n)
    rows = np.flatnonzero(seen.undeclared)
    if not len(rows):
        return out
    amount = seen.p[rows] * seen.value[rows]
    rows = rows[np.lexsort([-amount, seen.group[rows]])]
    group = seen.group[rows]
    ln_false = np.log(np.maximum(1.0 - seen.p[rows], 1e-12))
    run = np.cumsum(ln_false)
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    before = np.repeat(run[first] - ln_false[first], np.diff(np.r_[first, len(rows)]))
    false = run - before >= math.log(_CHANCE)
    np.add.at(out, group[false], (seen.p[rows] * seen.value[rows])[false])
    return out
