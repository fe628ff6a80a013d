"""Surface temperature as weak evidence on whether a site is a data center, weighted by what it could have shown.

In: tables `sites` and `thermal`. Out: both, with `p_data_center`, `p_detect` and `likelihood_ratio`.

d is the probability that the heat of the site's power would exceed the detection floor, averaged over the site's power
and over the prior of the thermal coupling S (`thermal_anomaly.p_detect`; docs/methods.md, section 3.3), with a floor
`FLOOR_FACTOR` times the computed one: it may be wrong by that much, and this channel must not decide. An ordinary
building exceeds it with probability f (`FALSE_EXCESS`), because roof and surroundings differ in land cover, and so does
a data center of which the heat alone does not. So the likelihood ratio is

    above the floor     (d + (1 - d) f) / f       between 1 and 1 / f
    not above it        (1 - d) (1 - f) / (1 - f) = 1 - d

and where d is small it is 1: nothing was to be seen. It is left out if the floor is above what the site could draw
(97.5% quantile), or if the detector has used the site's heat already.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.pipeline.quantiles import curve, quantiles_of
from overwatt.pipeline.sites.thermal_anomaly import FLOOR_FACTOR, FLOOR_SIGMAS, p_detect

FALSE_EXCESS = 0.3
"""f: own choice. In Muenster, by day, 2.2% of the acquisitions of ordinary built-up places stand out by three standard
deviations of their ring (docs/thermal-muenster.md); a lone roof among fields does so far more often."""
_SCORES = np.linspace(-2.0, 2.0, 9)  # normal scores at which a site's power is read; own choice
_WEIGHTS = np.exp(-0.5 * _SCORES**2)


def likelihood_ratio(detect: float, excess_sigmas: float) -> float:
    """Return the ratio for a data center of a site, from P(detect) and its excess in standard errors."""
    if excess_sigmas > FLOOR_SIGMAS:
        return (detect + (1.0 - detect) * FALSE_EXCESS) / FALSE_EXCESS
    return 1.0 - detect


def weigh(sites: gpd.GeoDataFrame, thermal: pd.DataFrame) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    """Return `sites` with `p_data_center` after the heat was weighed, and `thermal` with what it weighed.

    Args:
        sites: table `sites` with power; `used_thermal` says whose heat the detector has used.
        thermal: table `thermal` of the same sites.
    """
    rows = {site: k for k, site in enumerate(sites["site_id"])}
    power, most = quantiles_of(sites, "facility_mw"), sites["facility_mw_p975"].to_numpy(float)
    counted = sites["used_thermal"].to_numpy(bool)
    p = sites["p_data_center"].to_numpy(float, copy=True)
    detects, ratios, texts = [], [], []
    found = zip(
        *(thermal[c] for c in ("site_id", "statement")),
        *(thermal[c].to_numpy(float) for c in ("floor_mw", "excess_sigmas")),
        strict=True,
    )
    for site_id, text, floor_mw, sigmas in found:
        k = rows[site_id]
        detect = ratio = np.nan
        if np.isfinite(floor_mw) and np.isfinite(most[k]):
            mw = curve(power[k : k + 1], _SCORES)[0].astype(float)
            detect = float(np.average([p_detect(v, FLOOR_FACTOR * floor_mw) for v in mw], weights=_WEIGHTS))
            if np.isfinite(sigmas) and floor_mw <= most[k] and not counted[k]:
                ratio = likelihood_ratio(detect, sigmas)
                p[k] = p[k] * ratio / (p[k] * ratio + 1.0 - p[k])  # Bayes' rule on odds
                text = f"{text} The odds of a data center were multiplied by {ratio:.2f} for it."
        detects.append(detect)
        ratios.append(ratio)
        texts.append(text)
    weighed = thermal.assign(p_detect=detects, likelihood_ratio=ratios, statement=texts)
    return sites.assign(p_data_center=p), weighed
