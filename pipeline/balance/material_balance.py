"""Balances: what a site, an owner, a State or a grid zone declares, against what was seen there.

In: tables `ledger`, `sites`, `declared`. Out: a row for each level, name and quantity. IAEA's material balance
(docs/methods.md, section 2: MUF over its sigma, a question past 3 sigma) for IT power, H100 equivalents and training
FLOP.

The statistic. The power of one site is log-normal about its median m with ln-sd s, of which c (0.20, common_error of
models/reference: what all evidence shares) is the same for all sites and does not average out. Of a sum, the mean and
the variance of the independent parts are exact, and the sum is taken as log-normal of the same moments (Fenton 1960):
var ln S = c^2 + ln(1 + V / M^2). For one site this is exact; for many it errs to the wide side in the lower tail. The
sum of medians is not the median of the sum: if m scatters about the truth (a measurement) it overstates the
truth by a factor e^b, if the truth scatters about m (a posterior) it understates it by the same, b = ln(M / sum m) -
ln(1 + V / M^2) / 2. As nothing tells which holds, b is taken off |ln S / D| before it is divided by its sigma.

What is no discrepancy: places that were not looked at; declarations not in operation where nothing stands; as many
places with nothing seen, or undeclared sites, as the detector misses or invents by chance (kept out of z until
that chance is under `_CHANCE`); chips or runs without a place that may be outside the ground looked at; a site that
could hold more chips or train more than is declared of its use, as capacity is not use.
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
from overwatt.pipeline.balance import wording
from overwatt.pipeline.balance.grouping import Claims, Joined, Seen, joined
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.reconcile.settings import DEFAULTS, ReconcileSettings

LEVELS = ("site", "owner", "zone")
QUANTITIES = ("it_mw", "it_mw_of_chips", "h100e", "flop")
COLUMNS = ("level", "name", "quantity", "declared", "declared_sigma", "observed", "observed_sigma", "difference", "z",
           "flagged", "n_declared", "n_observed", "reason", "sentence")  # fmt: skip
Z_FLAG = 3.0
"""Past this many sigma a difference is a question: IAEA practice for material balances (docs/methods.md, section 2)."""
_CHANCE = 0.00135  # one-sided probability of 3 sigma
_MISSED = 0.13  # worst of the sensitivities 0.87-0.95 of comparable detectors (docs/methods.md, section 0)
_MAX_LN_SD = 2.5  # spreads above this are 'may be nothing'; own choice
_SURE = 0.5  # a site's own balance needs a pairing at least this probable; own choice
_FLOOR = 1e-9


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
    """Return the balances, columns `COLUMNS`, by level, name and quantity; independent of the order of rows.

    `it_mw`: declared IT MW (facility MW over facility_per_it) against the observed, both sides. `it_mw_of_chips`: IT MW
    that declared chips need against the observed, shortfall only. `h100e`: declared chips against the H100
    equivalents that the sites could hold, both sides. `flop`: reported training FLOP against what the sites could
    train in the days of the reported runs, shortfall only. Sigmas are one standard deviation, to first order, in
    the quantity's own unit (MW, 1, FLOP); `difference` is observed minus declared; `z` NaN where not comparable
    (`reason` says why); `flagged` is |z| > 3 on a side that can be a question.

    Args:
        ledger: table `ledger` made from the two others.
        sites: table `sites`.
        declared: table `declared`.
        by: which of `LEVELS`.
        zones: polygons with column `name`; in their absence the column `zone` of ledger and declarations.
        everywhere: the ground looked at is all the ground of the owners and zones, so that what is declared
            without a place must be in it.
        at: ISO date of the balance; what ended before is left out. Default: the latest date of image or declaration.
        settings: errors of declarations.

    Raises:
        ConfigError: `by`, `zones` or `at` cannot be used, or the ledger is not of these tables.
    """
    levels = [by] if isinstance(by, str) else list(by)
    if bad := [str(v)[:60] for v in levels if v not in LEVELS]:
        raise ConfigError(f"balances: by '{bad[0]}' is not known; give any of {', '.join(LEVELS)}")
    if zones is not None and "name" not in zones.columns:
        raise ConfigError("balances: zones has no column 'name'; name each polygon's zone there")
    j = joined(ledger, sites, declared, zones=zones, at=at, settings=settings)
    parts = [_level(j, level, quantity, everywhere, settings) for level in LEVELS if level in levels
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
    kinds = {"flagged": "bool", "n_declared": "int64", "n_observed": "int64"}
    texts = ("level", "name", "quantity", "reason", "sentence")
    return frame[list(COLUMNS)].astype({c: kinds.get(c, "string" if c in texts else "float64") for c in COLUMNS})


def _level(j: Joined, level: str, quantity: str, everywhere: bool, settings: ReconcileSettings) -> pd.DataFrame:
    """All balances of one level and quantity that have anything on the declared side, or sites to lay against it."""
    d, o, n, names = j.sides(level, quantity)
    if not n:
        return pd.DataFrame()
    d_sum, d_var = declared_sum(d, n, quantity, settings)
    low, high = observed_sums(o, n, quantity)
    s_sum = low[0]
    credit_d = _missed(d, n) + _excused(d, n, everywhere)
    credit_o = _invented(o, n)
    no_d, no_o = np.zeros(n), np.zeros(n)
    z = _z(d_sum, d_var, s_sum, low, high, credit_d, credit_o)
    raw = _z(d_sum, d_var, s_sum, low, high, no_d, no_o)
    has_d, has_o = d_sum > 0, s_sum > 0
    over, under = s_sum > d_sum, s_sum < d_sum
    small = (np.abs(z) <= Z_FLAG) & (np.abs(raw) > Z_FLAG)
    never = {
        "nothing is declared": ~has_d,
        "nothing was seen": ~has_o,
        "no owner or zone is stated": np.array([not v for v in names], bool),
        "the pairing of site and declaration is uncertain": j.uncertain(names, level, _SURE),
    }
    idle = {
        "what could be need not be used": over & (quantity in ("it_mw_of_chips", "flop")),
        "the sites may hold no accelerators at all": over & (low[3] > _SURE) & (quantity == "h100e"),
        "sites that may be none account for it": over & small,
        "places idle, cut by an image's border, missed by chance or not stated account for it": under & small,
    }  # fmt: skip
    reason = np.select([*never.values(), *idle.values()], [*never, *idle], "").astype(object)
    z = np.where(np.isin(reason, list(never)), np.nan, z)
    frame = pd.DataFrame({
        "level": level, "name": [v or "(not stated)" for v in names], "quantity": quantity, "declared": d_sum,
        "declared_sigma": d_sum * np.sqrt(d_var), "observed": s_sum,
        "observed_sigma": s_sum * np.sqrt(np.where(over, low[1], high[1])), "difference": s_sum - d_sum, "z": z,
        "flagged": (reason == "") & (np.abs(np.nan_to_num(z)) > Z_FLAG),
        "n_declared": np.bincount(d.group, minlength=n), "n_observed": np.bincount(o.group, minlength=n),
        "reason": reason, "missed": credit_d, "invented": credit_o, "not_looked": j.left_out(names, level),
    })[has_d | (has_o & (quantity == "it_mw"))]  # fmt: skip
    return frame.assign(sentence=wording.sentences(frame))


def _z(
    d_sum: np.ndarray, d_var: np.ndarray, s_sum: np.ndarray, low: tuple[np.ndarray, ...], high: tuple[np.ndarray, ...],
    credit_d: np.ndarray, credit_o: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Sigmas of ln(observed / declared), on the side on which it lies, b and the credits taken off, (group,)."""
    most = np.log(np.maximum(s_sum - credit_o, _FLOOR)) - np.log(np.maximum(d_sum, _FLOOR))
    least = np.log(np.maximum(s_sum, _FLOOR)) - np.log(np.maximum(d_sum - credit_d, _FLOOR))
    excess = np.maximum(most - low[2], 0.0) / np.sqrt(low[1] + d_var)
    short = np.minimum(least + high[2], 0.0) / np.sqrt(high[1] + d_var)
    return np.where(s_sum >= d_sum, excess, short)


def declared_sum(d: Claims, n: int, quantity: str, settings: ReconcileSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of declared amounts and the variance of its ln, each (n,).

    Every row has its own error; that of turning facility MW to IT MW, or chips to MW, is taken as the same for all.
    """
    total = np.bincount(d.group, d.value, n)
    square = np.bincount(d.group, d.value**2 * np.expm1(d.ln_sd**2), n)
    shared = np.bincount(d.group, d.value * d.common, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        var = np.log1p(np.nan_to_num(square / total**2)) + np.nan_to_num(shared / total) ** 2
    return total, np.maximum(var, settings.declared_ln_sd**2 / 1e4)


def observed_sums(o: Seen, n: int, quantity: str) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Return, downwards and upwards: sum of medians, var of its ln, b, share that may be nothing; (n,) each."""
    c = common_ln_sd(quantity)
    out = []
    for ln_sd in (o.ln_sd, o.ln_sd_high):
        s = np.minimum(ln_sd, _MAX_LN_SD)
        own2 = np.maximum(s**2 - c**2, 0.0)
        mean = o.p * o.value * np.exp(own2 / 2)
        variance = o.value**2 * (o.p * np.exp(2 * own2) - o.p**2 * np.exp(own2))
        medians, means, square, shared, nothing = (
            np.bincount(o.group, v, n)
            for v in (o.p * o.value, mean, np.maximum(variance, 0.0), o.p * o.value * np.minimum(c, s),
                      o.p * o.value * (ln_sd > _MAX_LN_SD))
        )  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log1p(np.nan_to_num(square / means**2))
            var = spread + np.nan_to_num(shared / medians) ** 2
            b = np.maximum(np.nan_to_num(np.log(means / medians)) - spread / 2, 0.0)
            out.append((medians, np.maximum(var, _FLOOR), b, np.nan_to_num(nothing / medians)))
    return out[0], out[1]


@cache
def common_ln_sd(quantity: str) -> float:
    """Ln-sd of the error that all sites share: of power 0.20; of FLOP the use of the chips besides.

    The share of AI accelerators and the mix of chips are taken as each site's own, as training_compute draws them.
    """
    power = facts.ratio("common_error").ln_sd
    if quantity != "flop":
        return power
    h100e, flop = training_compute.per_it_mw(training_compute.LAST_YEAR)
    some = h100e > 0
    return math.hypot(power, float(np.log(flop[some] / h100e[some]).std()))


def _missed(d: Claims, n: int) -> np.ndarray:
    """Amount at places where nothing was seen, where a detector misses as many by chance, (n,)."""
    places = np.bincount(d.group[~d.nowhere], minlength=n)
    unseen = np.bincount(d.group[d.unseen], minlength=n)
    amount = np.bincount(d.group[d.unseen], d.value[d.unseen], n)
    return np.where(binom.sf(unseen - 1, places, _MISSED) >= _CHANCE, amount, 0.0)


def _excused(d: Claims, n: int, everywhere: bool) -> np.ndarray:
    """Amount of which nothing need be seen: not in operation, at a cut site, or perhaps elsewhere, (n,)."""
    rows = (d.idle | d.cut | (d.nowhere & (not everywhere))) & ~d.unseen
    return np.bincount(d.group[rows], d.value[rows], n)


def _invented(o: Seen, n: int) -> np.ndarray:
    """Amount of the largest undeclared sites that may all be false by chance, (n,)."""
    out = np.zeros(n)
    rows = np.flatnonzero(o.undeclared)
    if not len(rows):
        return out
    amount = o.p[rows] * o.value[rows]
    rows = rows[np.lexsort([-amount, o.group[rows]])]
    group = o.group[rows]
    ln_false = np.log(np.maximum(1.0 - o.p[rows], 1e-12))
    run = np.cumsum(ln_false)
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    before = np.repeat(run[first] - ln_false[first], np.diff(np.r_[first, len(rows)]))
    false = run - before >= math.log(_CHANCE)
    np.add.at(out, group[false], (o.p[rows] * o.value[rows])[false])
    return out
