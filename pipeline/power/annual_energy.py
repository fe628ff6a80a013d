"""Annual energy from IT power, utilisation and annual PUE.

The annual PUE is not the ratio of facility to IT power at peak: that ratio sizes cooling and transformers
(overwatt.pipeline.power.posterior), the PUE is a mean over the year and lower (docs/methods.md, section 4.3).
In: `PowerDraws`. Out: draws of GWh per year. PUE by kind of cooling and climate: models/reference.
"""

from __future__ import annotations

import numpy as np

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.reference import facts
from overwatt.pipeline.power.posterior import POOL, PowerDraws, pool_slice

HOURS = 8766.0
"""Hours of a mean year of 365.25 days."""
CLIMATES = ("temperate", "hot")


def annual_pue(cooling: str | None, climate: str = "temperate", *, n: int = POOL) -> np.ndarray:
    """Return draws of the annual PUE, (n,) float64: 1 plus a log-normal (docs/methods.md, section 4.3).

    Args:
        cooling: kind of cooling (overwatt.pipeline.power.evidence), or None if it is not known.
        climate: 'temperate', or 'hot' for the tropics and deserts, which adds 0.1.
        n: number of draws.

    Raises:
        ConfigError: the climate is not known.
    """
    if climate not in CLIMATES:
        raise ConfigError(f"climate: '{climate}' is not known; {nearest(climate, CLIMATES)}")
    drawn = facts.ratio(f"pue_{cooling or 'unknown'}").draw(np.random.default_rng((n, 8)), n)
    more = facts.ratio("pue_hot").median if climate == "hot" else 0.0
    return np.asarray(drawn + more)


def annual_gwh(power: PowerDraws, *, cooling: str | None = None, climate: str = "temperate") -> np.ndarray:
    """Return annual energy at full occupancy, (site, draw) float64, GWh.

    IT power × utilisation × PUE × 8766 h; the distribution of utilisation is that of the compute estimate.
    """
    n = max(POOL, 2 * power.it_mw.shape[1])
    pue = annual_pue(cooling, climate, n=n)
    used = facts.ratio("utilisation").draw(np.random.default_rng((n, 9)), n)
    out = np.empty(power.it_mw.shape)
    for row, it_mw in enumerate(power.it_mw):
        seed = int(power.seeds[row])
        # streams 8 and 9: other factors of the site use other numbers
        out[row] = it_mw * pool_slice(pue, seed, 8, len(it_mw)) * pool_slice(used, seed, 9, len(it_mw))
    return out * HOURS / 1000.0
