"""Pools of draws of the factors between IT power and compute, made once and sliced for each site.

In: year, country, operator or declared chips. Out: AI shares by kind of site, H100 equivalents per MW of AI
accelerators on both bases, FLOP per H100 equivalent and day. Distributions: docs/methods.md, sections 5.1 and 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from overwatt.aoi.errors import ConfigError
from overwatt.models.reference import facts
from overwatt.pipeline.compute.site_type import KINDS, LEVELS
from overwatt.pipeline.power.accelerators import power_of_chips

POOL = 16_384
"""Least draws in a pool; own choice: four times the usual 4,096 of a site; all pools fit a core's cache."""
SECONDS_PER_DAY = 86_400.0
FLOP_PER_TFLOP = 1e12
RATIO_ERROR = "facility over IT power"
"""Name of the error of the ratio in `ChipPower.errors`."""
_USE = {
    "the utilisation of the IT power": "utilisation",
    "the FLOP utilisation of training (MFU)": "mfu",
    "the availability": "availability",
}


@dataclass(frozen=True)
class Shares:
    """AI shares and levels, the same for all sites.

    Attributes:
        phi: (kind * value,) float32, AI share of the IT load of `KINDS`, one kind after the other.
        level: (value,) int32, uniform levels of probability from which kinds are drawn.
        place: (value,) 0, 1, 2, ..., places in `phi`.
    """

    phi: np.ndarray
    level: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Chips:
    """H100 equivalents per MW of IT power of AI accelerators.

    Attributes:
        bf16, fp8: (value,) float32 on the dense BF16 and FP8 bases, of the same fleets.
        median: of `bf16`.
        ln_var: variance of ln `bf16`.
    """

    bf16: np.ndarray
    fp8: np.ndarray
    median: float
    ln_var: float


@dataclass(frozen=True)
class Use:
    """FLOP per H100 equivalent and day, (value,) float32; `variances` of its ln by source of error."""

    flop_per_day: np.ndarray
    variances: Mapping[str, float]


@lru_cache(maxsize=4)
def shares(n: int) -> Shares:
    """Return pools of `n` AI shares per kind and of `n` levels."""
    rng = np.random.default_rng((n, 3))
    phi = np.concatenate([facts.ratio(f"phi_ai_{kind}").draw(rng, n) for kind in KINDS])
    return Shares(phi.astype(np.float32), rng.integers(LEVELS, size=n, dtype=np.int32), np.arange(n))


@lru_cache(maxsize=64)
def chips(year: int, country: str | None, operator: str | None, n: int) -> Chips:
    """Return a pool of `n` fleets of a year, drawn from the mix of the operator or country, else of the world.

    A fleet is two chips from the mix, the first with 50-100% of the power (own choice: sites hold few generations);
    the all-in watts of each have the error of their row (docs/methods.md, 5.1).
    """
    mix, weights = zip(*facts.fleet_mix(year, country, operator), strict=True)
    ln_sd = np.array([c.w_it_ln_sd for c in mix])
    rng = np.random.default_rng((n, 4))
    kind = rng.choice(len(mix), size=(2, n), p=weights)
    error = np.exp(-ln_sd[kind] * rng.standard_normal((2, n)))
    share = rng.uniform(0.5, 1.0, n)
    # past the table's last year the mix is a trend, and one error is common to the chips of a fleet
    trend = np.exp(facts.fleet_mix_ln_sd(year) * rng.standard_normal(n))
    parts = np.stack([share, 1.0 - share]) * error * trend
    bases = (np.array([c.h100e_per_it_mw for c in mix]), np.array([c.h100e_fp8_per_it_mw for c in mix]))
    return _chips(*((parts * per_mw[kind]).sum(axis=0) for per_mw in bases))


@lru_cache(maxsize=64)
def declared_chips(numbers: tuple[tuple[str, int], ...], n: int) -> Chips | None:
    """Return a pool of `n` fleets of declared chips, (name, number); None if the table does not have them all."""
    try:
        fleet = power_of_chips(numbers)
    except ConfigError:  # a declaration may name any chip; then the mix of chips stands
        return None
    # the ratio of facility to IT power has no part in chips per IT MW
    variance = sum(sd**2 for source, sd in fleet.errors.items() if source != RATIO_ERROR)
    spread = np.exp(math.sqrt(variance) * np.random.default_rng((n, 7)).standard_normal(n))
    return _chips(fleet.h100e / fleet.it_mw * spread, fleet.h100e_fp8 / fleet.it_mw * spread)


@lru_cache(maxsize=4)
def use(n: int) -> Use:
    """Return a pool of `n` FLOP per H100 equivalent and day."""
    rng = np.random.default_rng((n, 5))
    parts = {name: facts.ratio(key).draw(rng, n) for name, key in _USE.items()}
    # f_BF16(H100) u MFU availability 86400 s (docs/methods.md, section 5.2)
    flop = facts.H100_BF16_TFLOP_S * FLOP_PER_TFLOP * SECONDS_PER_DAY * np.prod(list(parts.values()), axis=0)
    variances = {name: float(np.log(values).var()) for name, values in parts.items()}
    return Use(flop.astype(np.float32), MappingProxyType(variances))


def _chips(bf16: np.ndarray, fp8: np.ndarray) -> Chips:
    return Chips(bf16.astype(np.float32), fp8.astype(np.float32), float(np.median(bf16)), float(np.log(bf16).var()))
