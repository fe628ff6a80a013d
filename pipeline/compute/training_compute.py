"""From power to compute: H100 equivalents that a site could hold and the training FLOP they could deliver.

In: `PowerDraws` of overwatt.pipeline.power.posterior. Out: `ComputeDraws`, from the same Monte Carlo draws, so that
a site's IT power, facility power, H100 equivalents and FLOP stay correlated; and the columns of
table `sites` filled from them.

Method: C(D) = P_IT · u · phi / W_IT · f_bf16 · MFU · availability · 86400 s · D (docs/methods.md, section 5.2).
H100 equivalents count installed chips, P_IT · phi / W_IT · f_bf16 / f_bf16(H100), and are not
reduced by utilisation. The basis is dense BF16; training in FP8 or FP4 can count 2-4 times more
FLOP per joule. phi, the share of the load that is AI accelerators, is not visible from above and
is the most uncertain factor of an undeclared site of unknown kind: from 0 (a mine) to nearly 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.reference import facts
from overwatt.pipeline.compute.site_type import KINDS, Hint
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.posterior import POOL, PowerDraws, pool_slice
from overwatt.pipeline.quantiles import quantile_columns
from overwatt.pipeline.tables import conform

SECONDS_PER_DAY = 86_400.0
FLOP_PER_TFLOP = 1e12
SITE_TYPES = ("unknown", "ai", "cloud", "enterprise", "mine")
FIRST_YEAR, LAST_YEAR = 2020, 2035
PHI = "the share of the load that is AI accelerators (phi_AI)"
MIX = "the mix of chips"
_USE = {
    "the utilisation of the IT power": "utilisation",
    "the FLOP utilisation of training (MFU)": "mfu",
    "the availability": "availability",
}
_PREFIX = "phi_ai_"


@dataclass(frozen=True)
class ComputeDraws:
    """Draws of compute; column j belongs to column j of the power draws.

    Attributes:
        h100e: (site, draw) float32, H100 equivalents installed, dense BF16 basis.
        flop: (site, draw) float32, training FLOP in `days` days.
        assumptions: one text per site.
        days: length of the training run.
        budgets: per site, variance of ln FLOP by source of error, given that it has AI accelerators.
        probability_no_ai: probability that a site of this kind has no AI accelerators at all.
        types: (site, kind) float64, probability of each of `site_type.KINDS`.
        h100e_fp8: (site, draw) float32, H100 equivalents installed, FP8 basis.
        flop_ai: (site, draw) float32, FLOP if the whole site were AI: the worst case.
    """

    h100e: np.ndarray
    flop: np.ndarray
    assumptions: tuple[str, ...]
    types: np.ndarray
    h100e_fp8: np.ndarray
    flop_ai: np.ndarray
    days: int = 90
    budgets: tuple[Mapping[str, float], ...] = ()
    probability_no_ai: float = 0.0


def estimate(
    power: PowerDraws,
    *,
    year: int,
    days: int = 90,
    site_type: str = "unknown",
    country: str | None = None,
    chips: Mapping[int, tuple[float, float]] = MappingProxyType({}),
    words: bool = True,
    evidence: Sequence[SiteEvidence] | None = None,
    hints: Mapping[int, Hint] = MappingProxyType({}),
) -> ComputeDraws:
    """Return draws of H100 equivalents and of training FLOP in `days` days.

    Args:
        power: draws of IT power; the seeds of the sites are used again, with other streams.
        year: year of the fleet; sets the mix of chips.
        days: length of the training run.
        site_type: one of `SITE_TYPES`, for all sites; 'unknown' mixes over the others.
        country: ISO 3166 alpha-2 code; sets the mix of chips if the table has one for it.
        chips: row of a site -> (H100 equivalents, ln-sd) of its declared or counted chips; used instead
            of the AI share and the mix of chips.
        words: whether to make texts and budgets.
        evidence: what is known of each row's site: area, operator, cooling, country, year.
        hints: row of a site -> declaration that probably belongs to it.

    Raises:
        ConfigError: year, days or site type is out of range or unknown.
    """
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ConfigError(f"year: {year} is outside {FIRST_YEAR}-{LAST_YEAR}; give the year of the fleet")
    if days < 1:
        raise ConfigError(f"days: {days} is too short; give 1 or more")
    if site_type not in SITE_TYPES:
        raise ConfigError(f"site_type: '{site_type}' is not known; {nearest(site_type, SITE_TYPES)}")
    draws = power.it_mw.shape[1] if power.it_mw.ndim == 2 else 0
    pools = _pools(year, site_type, country, max(POOL, 2 * draws))
    h100e, flop = np.empty_like(power.it_mw), np.empty_like(power.it_mw)
    text = _words(year, days, site_type, country, pools) if words else ""
    texts, budgets = [], []
    for row, it_mw in enumerate(power.it_mw):
        seed = int(power.seeds[row])
        known = chips.get(row)
        # streams 4 and 5: other places in the pools than the factors of power
        if known is None:
            np.multiply(it_mw, pool_slice(pools.h100e_per_it_mw, seed, 4, draws), out=h100e[row])
        else:
            # own stream (seed, 1), not a pool: few sites have declared chips
            spread = known[1] * np.random.default_rng((seed, 1)).standard_normal(draws, dtype=np.float32)
            np.multiply(np.exp(spread), np.float32(known[0]), out=h100e[row])
        # C = H100e x f_BF16(H100) u MFU availability 86400 s x days (docs/methods.md, section 5.2)
        np.multiply(h100e[row], pool_slice(pools.flop_per_h100e_day, seed, 5, draws), out=flop[row])
        flop[row] *= np.float32(days)
        if words:
            own = power.budgets[row] if power.budgets else {"the IT power": float(np.log(it_mw).var())}
            budget = pools.budget(own) if known is None else {"the number of chips": known[1] ** 2, **pools.use}
            budgets.append(dict(sorted(budget.items(), key=lambda item: -item[1])))
            widest = pools.widest(sum(own.values()), known is not None)
            texts.append(text.format(widest=widest) if known is None else _chip_words(known[0], days, widest))
        else:
            texts.append("")
    no_ai = 1.0 - float((pools.h100e_per_it_mw > 0).mean())
    types = np.tile(
        [float(k == site_type) if site_type != "unknown" else 1.0 / len(KINDS) for k in KINDS], (len(h100e), 1)
    )
    return ComputeDraws(h100e, flop, tuple(texts), types, h100e.copy(), flop.copy(), days, tuple(budgets), no_ai)


def per_it_mw(
    year: int, site_type: str = "unknown", country: str | None = None, it_mw: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return draws of H100 equivalents and of FLOP per day per MW of IT power, each (value,) float32."""
    pools = _pools(year, site_type, country, POOL)
    return pools.h100e_per_it_mw, pools.h100e_per_it_mw * pools.flop_per_h100e_day


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
    columns = {
        **quantile_columns("it_mw", power.it_mw),
        **quantile_columns("facility_mw", power.facility_mw),
        **quantile_columns("h100e", compute.h100e),
        **quantile_columns("flop_90d", compute.flop * (90.0 / compute.days)),
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

    Facility watts of a chip come from the reference table if it has them, else they are its all-in IT watts
    times the median ratio of facility to IT power (docs/methods.md, sections 5.1 and 5.2).

    Args:
        flop: training FLOP, dense BF16 basis.
        days: length of the run.
        chip: name in models/reference/accelerators.csv.
        mfu: model FLOP utilisation, 0 to 1.
        availability: share of days on which the cluster trains, 0 to 1.
        phi: share of IT load that is AI accelerators, 0 to 1.
        u: IT load over nameplate, 0 to 1.

    Raises:
        ConfigError: the chip is unknown, or a value is out of range.
    """
    for name, value in (("flop", flop), ("days", days)):
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{name}: {value} is not possible; give a finite number above 0")
    for name, value in (("mfu", mfu), ("availability", availability), ("phi", phi), ("u", u)):
        if not 0.0 < value <= 1.0:
            raise ConfigError(f"{name}: {value} is not possible; give a share above 0, at most 1")
    unit = facts.accelerator(chip)
    facility_w = unit.facility_w or unit.w_it * facts.ratio("facility_per_it").median
    # C(D) of docs/methods.md, section 5.2, solved for facility power
    flop_per_chip = unit.bf16_tflop_s * FLOP_PER_TFLOP * mfu * availability * SECONDS_PER_DAY * days
    return flop / flop_per_chip * facility_w / (phi * u) / 1e6


@dataclass(frozen=True)
class _Pools:
    """Draws of the factors from IT power to compute, made once per year, kind of site and country.

    `h100e_per_it_mw` and `flop_per_h100e_day` are (value,) float32. `use`: variances of ln of the latter by source;
    `kind`: those of the former, given that it is above 0; `phi` and `per_mw`: its two factors.
    """

    h100e_per_it_mw: np.ndarray
    flop_per_h100e_day: np.ndarray
    phi: np.ndarray
    per_mw: np.ndarray
    kind: Mapping[str, float]
    use: Mapping[str, float]

    def budget(self, power: Mapping[str, float]) -> dict[str, float]:
        """Variance of ln FLOP by source, for a site whose power has these variances."""
        return {**power, **self.kind, **self.use}

    def widest(self, power: float, chips_known: bool) -> str:
        """Name of the factor with most spread; a share that can be 0 has unbounded spread in ln."""
        if chips_known:
            return max(self.use, key=lambda k: self.use[k])
        if (self.phi <= 0).any():
            return PHI
        factors = {"the IT power": power, **self.kind, **self.use}
        return max(factors, key=lambda k: factors[k])


@lru_cache(maxsize=32)
def _pools(year: int, site_type: str, country: str | None, n: int) -> _Pools:
    rng = np.random.default_rng((n, 3))
    phi = _draw_phi(rng, site_type, n)
    per_mw = _draw_h100e_per_it_mw(rng, year, country, n)
    use = {name: facts.ratio(key).draw(rng, n) for name, key in _USE.items()}
    flop = facts.H100_BF16_TFLOP_S * FLOP_PER_TFLOP * SECONDS_PER_DAY * np.prod(list(use.values()), axis=0)
    some = phi > 0  # ln of 0 is left out: `probability_no_ai` covers it
    kind = {PHI: float(np.log(phi[some]).var()) if some.any() else 0.0, MIX: float(np.log(per_mw).var())}
    return _Pools(
        (phi * per_mw).astype(np.float32),
        flop.astype(np.float32),
        phi,
        per_mw,
        MappingProxyType(kind),
        MappingProxyType({name: float(np.log(values).var()) for name, values in use.items()}),
    )


def _draw_phi(rng: np.random.Generator, site_type: str, draws: int) -> np.ndarray:
    if site_type != "unknown":
        return facts.ratio(_PREFIX + site_type).draw(rng, draws)
    # a site of unknown kind: mixture over the kinds with their weights (docs/methods.md, section 5.2)
    kinds = facts.group("phi_ai")
    kind = rng.choice(len(kinds), size=draws, p=[k.weight for k in kinds])
    return np.stack([k.draw(rng, draws) for k in kinds])[kind, np.arange(draws)]


def _draw_h100e_per_it_mw(rng: np.random.Generator, year: int, country: str | None, draws: int) -> np.ndarray:
    """H100e per MW of accelerator IT power, (draw,).

    A fleet is two chips from the year's mix, the first with 50-100% of the power (own choice:
    sites hold few generations); the all-in watts of each have the error of their row (docs/methods.md, 5.1).
    """
    chips, weights = zip(*facts.fleet_mix(year, country), strict=True)
    median = np.array([c.h100e_per_it_mw for c in chips])
    ln_sd = np.array([c.w_it_ln_sd for c in chips])
    kind = rng.choice(len(chips), size=(2, draws), p=weights)
    per_mw = median[kind] * np.exp(-ln_sd[kind] * rng.standard_normal((2, draws)))
    share = rng.uniform(0.5, 1.0, draws)
    return share * per_mw[0] + (1.0 - share) * per_mw[1]


def _words(year: int, days: int, site_type: str, country: str | None, pools: _Pools) -> str:
    """Return the text on a site, with a placeholder for its most uncertain factor."""
    tabled = facts.fleet_mix_year(year, country)
    fleet = str(year) if tabled == year else f"{year}, taken from {tabled}"
    if country and facts.fleet_mix_country(country):
        fleet += f" in {country}"
    if site_type == "unknown":
        kinds = ", ".join(f"{k.name.removeprefix(_PREFIX)} {k.weight:.0%}" for k in facts.group("phi_ai"))
        kind = f"kind of site unknown ({kinds})"
    else:
        kind = f"kind of site taken as {site_type}"
    low, high = np.quantile(pools.phi, (0.05, 0.95))
    if high <= 0:
        return f"Compute: {kind}, so no AI accelerators are assumed; if some are there, this is wrong."
    return (
        f"Compute: {kind}, so AI accelerators take {low:.0%} to {high:.0%} of the IT load; "
        f"fleet of {fleet}, about {_round(float(np.median(pools.per_mw)))} H100e per MW; "
        f"{days} days at IT utilisation {_median('utilisation')}, MFU {_median('mfu')}, "
        f"availability {_median('availability')}, dense BF16. "
        "Dominant unknown of compute: {widest}."
    )


def _chip_words(h100e: float, days: int, widest: str) -> str:
    return (
        f"Compute: chips as stated, {h100e:,.0f} H100e; {days} days at utilisation {_median('utilisation')}, "
        f"MFU {_median('mfu')}, availability {_median('availability')}, dense BF16. "
        f"Dominant unknown of compute: {widest}."
    )


def _median(name: str) -> str:
    return f"{facts.ratio(name).median:.2f}"


def _round(value: float) -> str:
    return f"{value:,.0f}" if value < 100 else f"{round(value, -1):,.0f}"
