"""What place, size, power, use and time say of a pair: log-likelihood ratios, one number a pair.

In: `Sites`, `Declared` and pairs of indices. Out: ln p(seen | the same facility) - ln p(seen | unrelated), by term.
"""

from __future__ import annotations

import math

import numpy as np

from overwatt.aoi.geodesy import local_xy
from overwatt.pipeline.reconcile.records import Declared, Sites
from overwatt.pipeline.reconcile.settings import MIN_MW, ReconcileSettings

_GROSS_NORM = math.pi * (1.0 + 2.0 * math.log(1.0 / 0.3))  # of the gross-error density, see ln_place
_MIDDLE = 0.25  # of the reach of an outline: how far off its middle a coordinate of the middle is; own choice
# A building stands at most this long before it operates: twice the status lag (docs/methods.md 4.3), own choice.
_LEAD_DAYS = 365


def ln_place(
    site: np.ndarray, decl: np.ndarray, distance_m: np.ndarray, s: Sites, d: Declared, settings: ReconcileSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln density (per km2) of the distance, with and without gross errors, each (pair,).

    A Gaussian about an outline of hull area A and perimeter P integrates to
    A + P sigma sqrt(pi/2) + 2 pi sigma^2 (Steiner's formula); two outlines in random
    orientation act as one of A1 + A2 + P1 P2 / 2 pi and P1 + P2 (Blaschke's formula).
    So a large site, on which a point lies easily by chance, earns less for distance 0.
    """
    sigma = d.sigma_m[decl] / 1e3
    a, b = s.at, d.at
    area = (a.hull_m2[site] + b.hull_m2[decl] + a.edge_m[site] * b.edge_m[decl] / (2 * np.pi)) / 1e6
    edge = (a.edge_m[site] + b.edge_m[decl]) / 1e3
    km = distance_m / 1e3
    size = area + edge * sigma * np.sqrt(np.pi / 2) + 2 * np.pi * sigma**2
    ln_outline = -0.5 * (km / sigma) ** 2 - np.log(size)
    middle = np.hypot(*local_xy(*a.centre[site].T, *b.centre[decl].T)) / 1e3
    wide = np.hypot(sigma, _MIDDLE * np.maximum(a.radius_m[site], b.radius_m[decl]) / 1e3)
    ln_middle = -0.5 * (middle / wide) ** 2 - np.log(2 * np.pi * wide**2)
    ln_gauss = np.logaddexp(ln_outline, ln_middle) - math.log(2.0)
    # Gross errors: even within 0.3 R, then alike per octave of distance up to R, so that of two
    # wrong places the nearer is preferred; integrates to 1 over the disc of radius R.
    reach = settings.gross_error_m / 1e3
    gross = np.where(km <= reach, 1.0 / (_GROSS_NORM * np.maximum(km, 0.3 * reach) ** 2), 0.0)
    with np.errstate(divide="ignore"):
        ln_all = np.logaddexp(np.log(1 - settings.gross_share) + ln_gauss, np.log(settings.gross_share) + np.log(gross))
    return ln_all, ln_gauss


def overlap_term(overlap: np.ndarray, sigma_m: np.ndarray, size_m: np.ndarray) -> np.ndarray:
    """Two outlines of one facility cover each other: density 3 x^2 of the share, with a floor of 0.1.

    Counts less as the position error grows beyond the site's size; 0 where one side is a point.
    """
    weight = size_m**2 / (size_m**2 + sigma_m**2 + 1e-9)
    return np.where(np.isnan(overlap), 0.0, weight * np.log((3.0 * np.nan_to_num(overlap) ** 2 + 0.1) / 1.1))


def power_term(
    site: np.ndarray, declared_mw: np.ndarray, declared_ln_sd: np.ndarray, s: Sites, settings: ReconcileSettings
) -> np.ndarray:
    """Log of p(observed MW | declared MW) over p(observed MW of any site here); 0 if none is declared."""
    if not len(s):
        return np.zeros(len(site))
    mean, spread = s.mw_background
    ln_mw = np.log(np.maximum(s.it_mw[site], MIN_MW))
    known = ~np.isnan(declared_mw)
    off = ln_mw - np.log(np.maximum(np.where(known, declared_mw, 1.0), MIN_MW))
    off = np.where(s.on_border[site], np.maximum(off, 0.0), off)  # a lower bound does not contradict more
    sd = np.hypot(s.ln_sd[site], declared_ln_sd)
    same = np.logaddexp(
        np.log(1 - settings.misdeclared_share) + ln_normal(off, sd),
        np.log(settings.misdeclared_share) + ln_normal(off, np.hypot(sd, settings.misdeclared_ln_sd)),
    )
    other = ln_normal(ln_mw - mean, np.hypot(spread, s.ln_sd[site]))
    return np.where(known, np.clip(same - other, -6.0, 2.0), 0.0)


def area_term(site: np.ndarray, outline_m2: np.ndarray, footprint_m2: np.ndarray, s: Sites) -> np.ndarray:
    """Agreement of the declared size with the buildings seen; 0 where no size is declared.

    A declared footprint is the best identity there is without a name: imagery measures footprints to
    some 10%, more where buildings merge or are missed, so 7 in 10 within ln-sd 0.2. An outline may
    be land: 4 in 5 within ln-sd 0.6, and it counts little.
    """
    return np.where(
        ~np.isnan(footprint_m2),
        _size_term(site, footprint_m2, s, share=0.8, ln_sd=0.3, wide=1.2, limits=(-3.0, 3.0)),
        _size_term(site, outline_m2, s, share=0.8, ln_sd=0.6, wide=2.0, limits=(-2.0, 1.0)),
    )


def _size_term(
    site: np.ndarray, declared_m2: np.ndarray, s: Sites, *, share: float, ln_sd: float, wide: float,
    limits: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    known = ~np.isnan(declared_m2) & (s.building_m2[site] > 0)
    if not known.any():
        return np.zeros(len(site))
    mean, spread = s.area_background
    ln_m2 = np.log(np.maximum(s.building_m2[site], 100.0))
    off = ln_m2 - np.log(np.maximum(np.where(known, declared_m2, 1.0), 100.0))
    same = np.logaddexp(np.log(share) + ln_normal(off, ln_sd), np.log(1 - share) + ln_normal(off, wide))
    return np.where(known, np.clip(same - ln_normal(ln_m2 - mean, spread), *limits), 0.0)


def use_term(site: np.ndarray, decl: np.ndarray, s: Sites, d: Declared, settings: ReconcileSettings) -> np.ndarray:
    """Declared use against what is seen: a 'warehouse' is seldom the data center that stands there.

    ln of the share of such uses among true data centers over that in the registry: in a registry of many uses a
    warehouse is a warehouse; where only data centers are listed the odd one out says little. 0 without cooling plant.
    """
    odd = d.odd_use
    if not odd.any():
        return np.zeros(len(site))
    share = max(float(odd.mean()), settings.contradicted_share)
    return np.where(odd[decl] & s.equipped[site], math.log(settings.contradicted_share / share), 0.0)


def p_seen(site: np.ndarray, decl: np.ndarray, s: Sites, d: Declared, settings: ReconcileSettings) -> np.ndarray:
    """P(the site's image shows the declared facility), (pair,): coverage, and whether it stood at that date."""
    early = d.since[decl] - s.date[site] > np.timedelta64(_LEAD_DAYS, "D")  # NaT compares false
    missed = np.where(early, settings.p_missed_not_operating, settings.p_missed)
    return np.asarray(np.clip(d.looked[decl], 0.05, 1.0) * (1.0 - missed))


def ln_normal(x: np.ndarray, sd: np.ndarray | float) -> np.ndarray:
    """Log density of a normal, mean 0."""
    return -0.5 * (x / sd) ** 2 - np.log(sd) - 0.5 * math.log(2 * math.pi)
