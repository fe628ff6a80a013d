"""Date on which the cumulative training FLOP of a site, or of several together, pass a threshold F.

In: sites with draws of FLOP per day at full capacity, and their stage of construction. Out: the distribution
of the crossing date. A site that is not in operation starts after a wait drawn from
overwatt.models.capacity.construction_delay, given the time already spent in its stage. The parameters of the
wait are drawn too, once per draw for all sites, because their error is common to all. From its start a site
computes at its full rate, so FLOP grow linearly (docs/methods.md, section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from scipy.special import ndtr, ndtri

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.capacity.construction_delay import DAYS_PER_MONTH, STAGES, Hazard, hazards
from overwatt.pipeline.power.posterior import site_seed

QUANTILES = {"p05": 0.05, "p10": 0.10, "p50": 0.50, "p90": 0.90, "p95": 0.95}
OPERATION = "operation"


@dataclass(frozen=True)
class SiteTrack:
    """A site in operation or under construction.

    Attributes:
        site_id: id; also selects its random draws.
        flop_per_day: (draw,) at full capacity.
        stage: 'land', 'roof', 'equipment' or 'operation'.
        seen: date on which the stage was first seen; for operation, the start of computing.
    """

    site_id: str
    flop_per_day: np.ndarray
    stage: str
    seen: date


@dataclass(frozen=True)
class Crossing:
    """Date on which F is passed.

    Attributes:
        flop: F.
        sites: ids.
        days: (draw,) days after `start`; infinite if never.
        start: date of the forecast.
        dates: quantile name -> ISO date; None if beyond the horizon or never.
        probability: of passing within the horizon.
        words: the result as a sentence.
    """

    flop: float
    sites: tuple[str, ...]
    days: np.ndarray
    start: date
    dates: dict[str, str | None]
    probability: float
    words: str


def stage_delays(
    stage: str, months_in_stage: float, draws: int, seed: int, *, table: dict[str, Hazard] | None = None,
    common: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Return months until operation, (draw,), for a site that has been `months_in_stage` in a stage.

    Args:
        stage: one of `overwatt.models.capacity.construction_delay.STAGES`, or 'operation' (0 months).
        months_in_stage: since the stage was first seen, 0 or more.
        draws: number of draws.
        seed: of the draws.
        table: waits by stage [default: bundled table].
        common: (2, draw) standard normals for the parameters, shared by all sites; None: own ones.

    Raises:
        ConfigError: the stage is unknown, or the time is negative.
    """
    if stage == OPERATION:
        return np.zeros(draws)
    known = hazards() if table is None else table
    if stage not in known:
        raise ConfigError(f"stage: '{stage}' is not known; {nearest(stage, [*STAGES, OPERATION])}")
    if not (math.isfinite(months_in_stage) and months_in_stage >= 0):
        raise ConfigError(f"months_in_stage: {months_in_stage} is not possible; give 0 or more")
    h = known[stage]
    rng = np.random.default_rng((seed, 6))
    z = rng.standard_normal((2, draws)) if common is None else common
    # (mu, ln sigma) from their covariance by its Cholesky factor
    a = math.sqrt(h.var_mu)
    b = h.cov / a if a > 0 else 0.0
    mu = h.mu + a * z[0]
    sigma = h.sigma * np.exp(b * z[0] + math.sqrt(max(0.0, h.var_ln_sigma - b * b)) * z[1])
    spent = np.full(draws, -np.inf) if months_in_stage == 0 else (math.log(months_in_stage) - mu) / sigma
    left = ndtr(-spent)  # probability of a wait at least as long as the time spent
    # inverse of the conditional distribution: a log-normal truncated below at the time spent
    wait = np.exp(mu - sigma * ndtri(np.maximum(left * (1.0 - rng.random(draws)), 1e-300)))
    return np.asarray(np.maximum(wait - months_in_stage, 0.0))


def time_to_threshold(
    sites: Sequence[SiteTrack], flop: float, *, start: date, seed: int = 0, horizon_days: float = 3650.0
) -> Crossing:
    """Return the date on which the cumulative FLOP of these sites together pass `flop`.

    Args:
        sites: one or more, with equal numbers of draws.
        flop: F, dense BF16 basis.
        start: date of the forecast; FLOP before it do not count.
        seed: of the run.
        horizon_days: a later crossing counts as never.

    Raises:
        ConfigError: no site, unequal numbers of draws, F not positive, or an unknown stage.
    """
    if not sites:
        raise ConfigError("sites: none given; give one or more")
    draws = len(sites[0].flop_per_day)
    if any(len(s.flop_per_day) != draws for s in sites):
        raise ConfigError("sites: they have different numbers of draws; give the same")
    if not (math.isfinite(flop) and flop > 0):
        raise ConfigError(f"flop: {flop} is not possible; give a finite number above 0")
    common = np.random.default_rng((seed, 7)).standard_normal((2, draws))
    starts, rates = np.empty((len(sites), draws)), np.empty((len(sites), draws))
    for k, site in enumerate(sites):
        spent = max(0.0, (start - site.seen).days / DAYS_PER_MONTH)
        ahead = max(0.0, (site.seen - start).days)
        months = stage_delays(site.stage, spent, draws, site_seed(seed, site.site_id), common=common)
        starts[k] = ahead + months * DAYS_PER_MONTH
        rates[k] = np.maximum(site.flop_per_day, 0.0)
    days = _crossing(starts, rates, flop)
    return _described(flop, tuple(s.site_id for s in sites), days, start, horizon_days)


def _crossing(starts: np.ndarray, rates: np.ndarray, flop: float) -> np.ndarray:
    """Days until Σ rate_k max(0, t - start_k) = flop, (draw,); infinite where all rates are 0."""
    order = np.argsort(starts, axis=0, kind="stable")
    begin, rate = np.take_along_axis(starts, order, 0), np.take_along_axis(rates, order, 0)
    total, weighted = np.cumsum(rate, axis=0), np.cumsum(rate * begin, axis=0)
    t = np.divide(flop + weighted, total, out=np.full_like(total, np.inf), where=total > 0)
    # t_k assumes that the first k sites run: valid if it comes before the next one starts; take the least valid t_k
    following = np.vstack([begin[1:], np.full((1, begin.shape[1]), np.inf)])
    return np.asarray(np.where(t <= following, t, np.inf).min(axis=0))


def _described(flop: float, ids: tuple[str, ...], days: np.ndarray, start: date, horizon: float) -> Crossing:
    probability = float((days <= horizon).mean())
    dates: dict[str, str | None] = {}
    ordered = np.sort(days)
    for name, q in QUANTILES.items():
        value = float(ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)])
        dates[name] = (start + timedelta(days=value)).isoformat() if value <= horizon else None
    whose = ids[0] if len(ids) == 1 else f"{len(ids)} sites together"
    when = dates["p50"] or f"not within {horizon / 365.25:.0f} years"
    span = f"{dates['p10'] or 'later'} to {dates['p90'] or 'later'}"
    words = f"{whose}: {flop:.0e} FLOP by {when} (80%: {span}); chance within the horizon {probability:.0%}"
    return Crossing(flop, ids, days, start, dates, probability, words)
