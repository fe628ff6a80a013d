"""Energy of a year: IT power, its utilisation and the annual PUE, kept apart from the ratio at peak.

The ratio at peak sizes cooling and transformers (pipeline.power.posterior); the PUE is the mean of a year and lower.
In: `PowerDraws`. Out: draws of GWh a year. PUE by kind of cooling, more in hot climates: models/reference.
"""

from __future__ import annotations

import numpy as np

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.models.reference import facts
from overwatt.pipeline.power.posterior import POOL, PowerDraws, pool_slice

HOURS = 8766.0
CLIMATES = ("temperate", "hot")


def annual_pue(cooling: str | None, climate: str = "temperate", *, n: int = POOL) -> np.ndarray:
    """Return draws of the annual PUE, (n,): 1 plus a log-normal.

    Args:
        cooling: kind of cooling (overwatt.pipeline.power.evidence), or None where it is not known.
        climate: 'temperate', or 'hot' for the tropics and deserts, where 0.1 is added.
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
    """Return energy of a year at full occupancy, (site, draw) float64, GWh.

    IT power × utilisation × PUE × 8766 h; utilisation is that of the compute, drawn by the same stream.
    """
    n = max(POOL, 2 * power.it_mw.shape[1])
    pue = annual_pue(cooling, climate, n=n)
    used = facts.ratio("utilisation").draw(np.random.default_rng((n, 9)), n)
    out = np.empty(power.it_mw.shape)
    for row, it_mw in enumerate(power.it_mw):
        seed = int(power.seeds[row])
        out[row] = it_mw * pool_slice(pue, seed, 8, len(it_mw)) * pool_slice(used, seed, 9, len(it_mw))
    return out * HOURS / 1000.0
