"""From power to compute: H100 equivalents that a site could hold and the training FLOP they could deliver.

In: `PowerDraws` of overwatt.pipeline.power.posterior. Out: `ComputeDraws`, from the same Monte Carlo draws, so that
a site's IT power, facility power, kind, H100 equivalents and FLOP stay correlated; and the columns of
table `sites` filled from them.

Method: C(D) = P_IT · u · phi / W_IT · f_bf16 · MFU · availability · 86400 s · D (docs/methods.md, section 5.2).
H100 equivalents count installed chips, P_IT · phi / W_IT · f_bf16 / f_bf16(H100), and are not
reduced by utilisation. The basis of FLOP is dense BF16; training in FP8 or FP4 can count 2-4 times more
FLOP per joule. phi, the share of the load that is AI accelerators, follows from the kind of the site, which is not
visible from above and is inferred (overwatt.pipeline.compute.site_type).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.reference import facts
from overwatt.pipeline.compute import factors
from overwatt.pipeline.compute import site_type as kinds
from overwatt.pipeline.compute.factors import FLOP_PER_TFLOP, POOL, SECONDS_PER_DAY
from overwatt.pipeline.compute.site_type import KINDS, Hint
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.posterior import PowerDraws, pool_slice
from overwatt.pipeline.quantiles import quantile_columns
from overwatt.pipeline.tables import conform

UNKNOWN = "unknown"
SITE_TYPES = (UNKNOWN, *KINDS)
FIRST_YEAR, LAST_YEAR = 2020, 2035
PHI = "the share of the load that is AI accelerators (phi_AI)"
MIX = "the mix of chips"
_NO_HINTS: Mapping[int, Hint] = MappingProxyType({})


@dataclass(frozen=True)
class ComputeDraws:
    """Draws of compute; column j belongs to column j of the power draws.

    Attributes:
        h100e: (site, draw) float32, H100 equivalents installed, dense BF16 basis.
        flop: (site, draw) float32, training FLOP in `days` days.
        assumptions: one text per site.
        types: (site, kind) float64, probability of each of `site_type.KINDS`: the share of the draws.
        h100e_fp8: (site, draw) float32, H100 equivalents installed, FP8 basis.
        flop_ai: (site, draw) float32, FLOP if the site were built for AI whatever it looks like: the worst case.
        days: length of the training run.
        budgets: per site, variance of ln FLOP by source of error, given that it has AI accelerators.
    """

    h100e: np.ndarray
    flop: np.ndarray
    assumptions: tuple[str, ...]
    types: np.ndarray
    h100e_fp8: np.ndarray
    flop_ai: np.ndarray
    days: int = 90
    budgets: tuple[Mapping[str, float], ...] = ()


def estimate(
    power: PowerDraws,
    *,
    year: int,
    days: int = 90,
    site_type: str = UNKNOWN,
    country: str | None = None,
    chips: Mapping[int, tuple[float, float, float]] = MappingProxyType({}),
    words: bool = True,
    evidence: Sequence[SiteEvidence] | None = None,
    hints: Mapping[int, Hint] = _NO_HINTS,
) -> ComputeDraws:
    """Return draws of H100 equivalents and of training FLOP in `days` days.

    Args:
        power: draws of IT power; the seeds of the sites are used again, with other streams.
        year: year of the fleet; sets the mix of chips and the odds of the kinds. A site's own year wins.
        days: length of the training run.
        site_type: one of `SITE_TYPES`, for all sites; 'unknown': inferred. A site's own stated kind wins.
        country: ISO 3166 alpha-2 code. A site's own country wins.
        chips: row of a site -> (H100 equivalents on the BF16 and on the FP8 basis, ln-sd) of its declared or counted
            chips; used instead of the kind and the mix of chips.
        words: whether to make texts and budgets.
        evidence: per row, what else is known of the site; its area, cooling, operator, country, year and kind are used.
        hints: row of a site -> declaration that probably belongs to it.

    Raises:
        ConfigError: year, days or site type is out of range or unknown.
    """
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ConfigError(f"year: {year} is outside {FIRST_YEAR}-{LAST_YEAR}; give the year of the fleet")
    if days < 1:
        raise ConfigError(f"days: {days} is too short; give 1 or more")
    for name in {site_type, *((e.site_type or UNKNOWN) for e in evidence or ())}:
        if name not in SITE_TYPES:
            raise ConfigError(f"site_type: '{name}' is not known; {nearest(name, SITE_TYPES)}")
    it_mw = np.asarray(power.it_mw, np.float32)
    h100e, h100e_fp8, flop, flop_ai = (np.empty_like(it_mw) for _ in range(4))
    types = np.zeros((len(it_mw), len(KINDS)))
    texts, budgets = [], []
    n = max(POOL, 2 * it_mw.shape[1]) if it_mw.ndim == 2 else POOL
    use = factors.use(n)
    for row, mw in enumerate(it_mw):
        seed = int(power.seeds[row])
        about = kinds.known(evidence[row] if evidence else None, year=year, country=country, kind=site_type)
        stated = chips.get(row)
        site = _inferred(about, mw, seed, n, hints.get(row)) if stated is None else _declared(stated, seed, len(mw))
        h100e[row], h100e_fp8[row], types[row] = site.h100e, site.h100e_fp8, site.types
        # C = H100e x f_BF16(H100) u MFU availability 86400 s x days (docs/methods.md, section 5.2)
        per_day = pool_slice(use.flop_per_day, seed, 5, len(mw))
        for amount, out in ((site.h100e, flop[row]), (site.h100e_if_ai, flop_ai[row])):
            np.multiply(amount, per_day, out=out)
            out *= np.float32(days)
        if words:
            own = power.budgets[row] if power.budgets else {"the IT power": float(np.log(mw).var())}
            budget = {**({} if row in chips else own), **site.variances(), **use.variances}
            budgets.append(dict(sorted(budget.items(), key=lambda item: -item[1])))
            # a share that can be 0 has unbounded spread in ln
            widest = PHI if (site.phi <= 0).any() else next(iter(budgets[-1]))
            texts.append(f"{site.words(about)} {_use_words(days)} Dominant unknown of compute: {widest}.")
        else:
            texts.append("")
    return ComputeDraws(h100e, flop, tuple(texts), types, h100e_fp8, flop_ai, days, tuple(budgets))


def per_it_mw(
    year: int, site_type: str = UNKNOWN, country: str | None = None, it_mw: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return draws of H100 equivalents and of FLOP per day per MW of IT power, each (value,) float32.

    Args:
        year: year of the fleet.
        site_type: one of `SITE_TYPES`.
        country: ISO 3166 alpha-2 code.
        it_mw: power of the site, from which its kind is inferred; None: the sizes are those of all sites.
    """
    about = kinds.known(None, year=year, country=country, kind=site_type)
    mw = kinds.sizes(year, country, POOL) if it_mw is None else np.full(POOL, it_mw, np.float32)
    site = _inferred(about, mw, 0, POOL, None)
    h100e = site.h100e / mw
    return h100e, h100e * factors.use(POOL).flop_per_day


def attach(sites: gpd.GeoDataFrame, power: PowerDraws, compute: ComputeDraws) -> gpd.GeoDataFrame:
    """Return table `sites` with power, compute, seed and assumptions filled from the draws.

    FLOP of a run of another length are scaled to 90 days, in proportion.

    Args:
        sites: the remaining columns of table `sites`, rows in the order of the draws.
        power: draws of the same sites.
        compute: draws made from `power`.

    Raises:
        ValueError: rows and draws do not correspond (a bug, not user input).
    """
    if not len(sites) == len(power.it_mw) == len(compute.flop):
        raise ValueError(f"{len(sites)} sites, {len(power.it_mw)} power and {len(compute.flop)} compute rows")
    if power.site_ids and list(sites["site_id"]) != list(power.site_ids):
        raise ValueError("the sites are not in the order of the power draws")
    texts = [f"{p} {c}" for p, c in zip(power.assumptions, compute.assumptions, strict=True)]
    per_90d = 90.0 / compute.days
    columns = {
        **quantile_columns("it_mw", power.it_mw),
        **quantile_columns("facility_mw", power.facility_mw),
        **quantile_columns("h100e", compute.h100e),
        **quantile_columns("h100e_fp8", compute.h100e_fp8),
        **quantile_columns("flop_90d", compute.flop * per_90d),
        **quantile_columns("flop_90d_ai", compute.flop_ai * per_90d),
        "flop_90d_mean": compute.flop.mean(axis=1, dtype=float) * per_90d,
        "site_type": np.array(KINDS, object)[compute.types.argmax(axis=1)],
        **{f"p_{kind}": compute.types[:, k] for k, kind in enumerate(KINDS)},
        "evidence": np.array([", ".join(names) for names in power.evidence or [()] * len(sites)], dtype=object),
        "seed": power.seeds,
        "assumptions": np.array(texts, dtype=object),
    }
    rows = sites.reset_index(drop=True).drop(columns=list(columns), errors="ignore")
    return conform(gpd.GeoDataFrame(pd.concat([rows, pd.DataFrame(columns)], axis=1)), "sites")


def power_needed_mw(
    flop: float,
    days: float,
    chip: str,
    mfu: float = 0.35,
    availability: float = 0.9,
    phi: float = 1.0,
    u: float = 1.0,
) -> float:
    """Return the facility power, MW, that reaches `flop` in `days` days with one kind of chip.

    Facility watts of a chip are those of `facts.accelerator`, as for declared chips (docs/methods.md, sections 5.1 and
    5.2).

    Args:
        flop: training FLOP, dense BF16 basis.
        days: length of the run.
        chip: name in models/reference/chips.csv.
        mfu: model FLOP utilisation, 0 to 1.
        availability: share of days on which the cluster trains, 0 to 1.
        phi: share of IT load that is AI accelerators, 0 to 1.
        u: IT load over nameplate, 0 to 1.

    Raises:
        ConfigError: the chip is unknown or has no 16-bit speed, or a value is out of range.
    """
    for name, value in (("flop", flop), ("days", days)):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name}: {value} is not possible; give a finite number above 0")
    for name, value in (("mfu", mfu), ("availability", availability), ("phi", phi), ("u", u)):
        if not 0.0 < value <= 1.0:
            raise ConfigError(f"{name}: {value} is not possible; give a share above 0, at most 1")
    unit = facts.accelerator(chip)
    if unit.bf16_tflop_s is None:
        raise ConfigError(f"chip: the table has no 16-bit speed of '{unit.chip}'; give another chip")
    # C(D) of docs/methods.md, section 5.2, solved for facility power
    flop_per_chip = unit.bf16_tflop_s * FLOP_PER_TFLOP * mfu * availability * SECONDS_PER_DAY * days
    return flop / flop_per_chip * unit.facility_w / (phi * u) / 1e6


@dataclass(frozen=True)
class _Site:
    """Compute of one site before utilisation.

    `h100e`, `h100e_fp8`, `h100e_if_ai`, `phi` are (draw,) float32, `types` (kind,) float64. `ln_var`: variance of ln of
    the number of chips, or of H100e per MW. `per_mw`: median H100e per MW of AI accelerators; None: chips are stated.
    """

    h100e: np.ndarray
    h100e_fp8: np.ndarray
    h100e_if_ai: np.ndarray
    phi: np.ndarray
    types: np.ndarray
    ln_var: float
    per_mw: float | None

    def variances(self) -> dict[str, float]:
        """Variance of ln H100e by source of error, given power and that there are AI accelerators."""
        if self.per_mw is None:
            return {"the number of chips": self.ln_var}
        some = self.phi[self.phi > 0]  # ln of 0 is left out: a mine has none
        return {PHI: float(np.log(some).var()) if len(some) else 0.0, MIX: self.ln_var}

    def words(self, about: kinds.Known) -> str:
        """The kind, the AI share and the chips in words."""
        if self.per_mw is None:
            return f"Compute: chips as stated, {float(np.median(self.h100e)):,.0f} H100e;"
        kind = kinds.words(self.types, about)
        low, high = np.quantile(self.phi, (0.05, 0.95))
        if high <= 0:
            return f"Compute: {kind}, so no AI accelerators are assumed; if some are there, this is wrong;"
        tabled = facts.fleet_mix_year(about.year, about.country)
        fleet = str(about.year) if tabled == about.year else f"{about.year}, taken from {tabled}"
        if about.country and facts.fleet_mix_country(about.country):
            fleet += f" in {about.country}"
        return (
            f"Compute: {kind}, so AI accelerators take {low:.0%} to {high:.0%} of the IT load; "
            f"fleet of {fleet}, about {_round(self.per_mw)} H100e per MW;"
        )


def _declared(chips: tuple[float, float, float], seed: int, draws: int) -> _Site:
    """Compute of a site whose chips are stated."""
    bf16, fp8, ln_sd = chips
    # own stream (seed, 1), not a pool: few sites have declared chips
    spread = np.exp(ln_sd * np.random.default_rng((seed, 1)).standard_normal(draws, dtype=np.float32))
    h100e = np.float32(bf16) * spread
    only_ai = np.array([float(kind == "ai") for kind in KINDS])
    return _Site(h100e, np.float32(fp8) * spread, h100e, np.ones_like(h100e), only_ai, ln_sd**2, None)


def _inferred(about: kinds.Known, mw: np.ndarray, seed: int, n: int, hint: Hint | None) -> _Site:
    """Compute of a site of which power is known, (draw,) float32 MW; pools have `n` values."""
    draws = len(mw)
    shares = factors.shares(n)
    fleet = factors.chips(max(FIRST_YEAR, about.year), about.country, about.operator, n)
    # streams 4, 6 and 7: other places in the pools than the factors of power
    per_mw, per_mw_fp8 = (pool_slice(pool, seed, 4, draws) for pool in (fleet.bf16, fleet.fp8))
    level = pool_slice(shares.level, seed, 6, draws)
    kind = kinds.draw(about, mw, level)
    if hint is not None:
        told = kinds.with_hint(about, hint)
        stated = tuple(sorted((name, round(number)) for name, number in hint.chips.items() if number >= 1))
        declared = (factors.declared_chips(stated, n) if stated else None) or factors.chips(
            max(FIRST_YEAR, told.year), told.country, told.operator, n
        )
        # the same draws as in posterior.sharpen: in them the declaration belongs to the site
        belongs = np.random.default_rng((seed, 4)).random(draws) < hint.weight
        kind = np.where(belongs, kinds.draw(told, mw, level), kind)
        per_mw = np.where(belongs, pool_slice(declared.bf16, seed, 4, draws), per_mw)
        per_mw_fp8 = np.where(belongs, pool_slice(declared.fp8, seed, 4, draws), per_mw_fp8)
    place = kind.astype(np.intp)
    types = np.array([np.count_nonzero(kind == k) for k in range(len(KINDS))]) / max(draws, 1)
    place *= n
    place += pool_slice(shares.place, seed, 7, draws)
    phi = shares.phi.take(place, mode="wrap")  # all places are inside: unchecked
    h100e_if_ai = mw * per_mw
    h100e = h100e_if_ai * phi
    # built for AI: the share of that kind, the first one, in every draw
    h100e_if_ai *= pool_slice(shares.phi[:n], seed, 7, draws)
    h100e_fp8 = mw * per_mw_fp8
    h100e_fp8 *= phi
    return _Site(h100e, h100e_fp8, h100e_if_ai, phi, types, fleet.ln_var, fleet.median)


def _use_words(days: int) -> str:
    u, mfu, availability = (f"{facts.ratio(name).median:.2f}" for name in ("utilisation", "mfu", "availability"))
    return f"{days} days at IT utilisation {u}, MFU {mfu}, availability {availability}, dense BF16."


def _round(value: float) -> str:
    return f"{value:,.0f}" if value < 100 else f"{round(value, -1):,.0f}"
