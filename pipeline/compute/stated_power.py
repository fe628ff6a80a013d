"""Power that is stated and not observed: metered or filed IT power, and the power of declared chips.

Out: `PowerDraws` as of the posterior, so that compute and annual energy take them alike. A declaration is a statement
to be compared with the observation; the two are never fused.
"""

from __future__ import annotations

import math

import numpy as np

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.compute.factors import RATIO_ERROR
from overwatt.pipeline.power.accelerators import ChipPower
from overwatt.pipeline.power.equipment_evidence import RATIO
from overwatt.pipeline.power.evidence import SiteEvidence, mw_words
from overwatt.pipeline.power.evidence_models import facility_ratio, ratio_slope
from overwatt.pipeline.power.posterior import PowerDraws, site_seed

MAX_IT_MW = 20_000.0
"""Larger IT power is refused as a wrong unit; own choice: above the largest campus planned."""


def metered(it_mw: float, site: SiteEvidence, *, seed: int, draws: int) -> PowerDraws:
    """Return draws in which IT power is `it_mw`, taken as it is; facility power has the error of its ratio.

    Raises:
        ConfigError: `it_mw` is impossible.
    """
    if not (math.isfinite(it_mw) and 0.0 < it_mw <= MAX_IT_MW):
        raise ConfigError(f"site '{site.site_id}': it_mw {it_mw} is not possible; give MW, above 0 to {MAX_IT_MW:,.0f}")
    own = site_seed(seed, site.site_id)
    rng = np.random.default_rng((own, 10))
    words = f"IT power {mw_words(it_mw)} as metered or filed, taken as it is."
    return _draws(np.full(draws, it_mw), site, rng, own, {}, words)


def declared(chips: ChipPower, site: SiteEvidence, *, seed: int, draws: int) -> PowerDraws:
    """Return draws of the power of declared chips."""
    own = site_seed(seed, site.site_id)
    rng = np.random.default_rng((own, 9))
    # the error of the ratio is drawn with the ratio
    errors = {name: sd**2 for name, sd in chips.errors.items() if name != RATIO_ERROR}
    it_mw = chips.it_mw * np.exp(math.sqrt(sum(errors.values())) * rng.standard_normal(draws))
    return _draws(it_mw, site, rng, own, errors, f"Power of the declared chips alone: {chips.words}.")


def _draws(
    it_mw: np.ndarray, site: SiteEvidence, rng: np.random.Generator, seed: int, variances: dict[str, float], words: str
) -> PowerDraws:
    median, ln_sd = ratio = facility_ratio(site.operator, site.cooling)
    # R = 1 + log-normal (docs/methods.md, section 4.3)
    facility_mw = it_mw * (1.0 + (median - 1.0) * np.exp(ln_sd * rng.standard_normal(len(it_mw))))
    it, facility = (a.astype(np.float32)[None] for a in (it_mw, facility_mw))
    budget = {**variances, RATIO: ratio_slope(ratio) ** 2}
    return PowerDraws(it, facility, np.array([seed]), (words,), (site.site_id,), (variances,), (budget,), ((),))
