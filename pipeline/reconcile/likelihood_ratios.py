"""Log-likelihood ratios of a candidate pair from position, size, power, use and time, one number per pair.

In: `Sites`, `Declared` and pairs of row numbers. Out: ln p(data | same facility) - ln p(data | unrelated), per term.
Names and identifiers are in `overwatt.pipeline.declared.names`. All terms: docs/methods.md, section 6.1.
"""

from __future__ import annotations

import math

import numpy as np

from overwatt.aoi.geodesy import local_xy
from overwatt.pipeline.reconcile.records import Declared, Sites
from overwatt.pipeline.reconcile.settings import MIN_MW, ReconcileSettings

_GROSS_NORM = math.pi * (1.0 + 2.0 * math.log(1.0 / 0.3))  # integral of the gross-error density, see ln_place
_NEAR_KM = 0.25  # below it the density of further data centers stays as it is (docs/decisions/0016)
_ALIKE = 0.5  # correlation of ln area of IM3's sites within 5 km of each other (docs/decisions/0016)
_CUT_M = 150.0  # least extent of a cut site beyond the border of the imagery, a hall; own choice
_MIDDLE = 0.25  # sigma of a coordinate meant as the outline's centre, as share of its radius; own choice
# own choice: longest time a building stands before it operates, twice the status lag (docs/methods.md, section 4.3)
_LEAD_DAYS = 365


def ln_place(
    site: np.ndarray,
    decl: np.ndarray,
    distance_m: np.ndarray,
    sites: Sites,
    declared: Declared,
    settings: ReconcileSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln density (per km2) of the distance, of a sound coordinate and of a gross error, each (pair,).

    Half of the coordinates are taken to be near the outline, half near its centre (own choice).
    """
    sigma = declared.sigma_m[decl] / 1e3
    a, b, km = sites.at, declared.at, distance_m / 1e3
    ln_near = ln_outline(site, decl, distance_m, sigma, sites, declared)
    middle = np.hypot(*local_xy(*a.centre[site].T, *b.centre[decl].T)) / 1e3
    wide = np.hypot(sigma, _MIDDLE * np.maximum(a.radius_m[site], b.radius_m[decl]) / 1e3)
    ln_middle = -0.5 * (middle / wide) ** 2 - np.log(2 * np.pi * wide**2)
    ln_gauss = np.logaddexp(ln_near, ln_middle) - math.log(2.0)
    # A cut site goes on where nobody looked, about as far as is seen of it: half of the coordinates lie there.
    cut = sites.on_border[site] & (declared.looked[decl] < 1.0)
    beyond = np.hypot(sigma, np.maximum(a.radius_m[site], _CUT_M) / 1e3)
    ln_beyond = np.logaddexp(ln_gauss, ln_outline(site, decl, distance_m, beyond, sites, declared)) - math.log(2.0)
    ln_gauss = np.where(cut, ln_beyond, ln_gauss)
    # Gross errors (own choice): uniform within 0.3 R, then equal per octave of distance up to R, so that the nearer of
    # two wrong places is preferred. Integrates to 1 over the disc of radius R.
    reach = settings.gross_error_m / 1e3
    gross = np.where(km <= reach, 1.0 / (_GROSS_NORM * np.maximum(km, 0.3 * reach) ** 2), 0.0)
    with np.errstate(divide="ignore"):
        # a stated error as wide as a gross one already covers it
        return ln_gauss, np.where(3.0 * sigma < reach, np.log(gross), ln_gauss)


def ln_outline(
    site: np.ndarray,
    decl: np.ndarray,
    distance_m: np.ndarray,
    sigma_km: np.ndarray,
    sites: Sites,
    declared: Declared,
) -> np.ndarray:
    """Return ln density (per km2) of the distance from the outline, Gaussian with `sigma_km`, (pair,).

    A Gaussian about an outline of hull area A and perimeter P integrates to
    A + P sigma sqrt(pi/2) + 2 pi sigma^2 (Steiner's formula). Two outlines in random orientation act
    as one of area A1 + A2 + P1 P2 / 2 pi and perimeter P1 + P2 (Blaschke's formula).
    So a point on a large site counts less than a point on a small one: it is there by chance more often.
    """
    a, b = sites.at, declared.at
    area = (a.hull_m2[site] + b.hull_m2[decl] + a.edge_m[site] * b.edge_m[decl] / (2 * np.pi)) / 1e6
    edge = (a.edge_m[site] + b.edge_m[decl]) / 1e3
    size = area + edge * sigma_km * np.sqrt(np.pi / 2) + 2 * np.pi * sigma_km**2
    return np.asarray(-0.5 * (distance_m / 1e3 / sigma_km) ** 2 - np.log(size))


def mixed(ln_sound: np.ndarray, ln_gross: np.ndarray, gross_share: float) -> np.ndarray:
    """Return ln density of the distance if that share of the coordinates is plainly wrong, (pair,)."""
    return np.logaddexp(np.log(1.0 - gross_share) + ln_sound, np.log(gross_share) + ln_gross)


def background_km2(
    site: np.ndarray,
    decl: np.ndarray,
    distance_m: np.ndarray,
    sites: Sites,
    declared: Declared,
    settings: ReconcileSettings,
) -> np.ndarray:
    """Return the density of data centers at such a place that are not the declared one, per km2, (pair,).

    Data centers stand in groups: the density around a declared one is above that of the neighbours that were found.
    A coordinate vaguer than the distances of the neighbours could mean any of them: then the mean density around the
    stated place counts, weighted by its error. `site`, `decl`: all pairs within three sigma.
    """
    sigma_km = declared.sigma_m[decl] / 1e3
    km = np.maximum(np.hypot(distance_m / 1e3, sigma_km), _NEAR_KM)
    near = sites.at.density_km2(site, settings, sites.p)
    weight = sites.p[site] * np.exp(-0.5 * (distance_m / 1e3 / sigma_km) ** 2) / (2 * np.pi * sigma_km**2)
    around = settings.min_density_km2 + np.bincount(decl, weight, len(declared))[decl] - weight
    vague = sigma_km > np.sqrt(settings.neighbours / (np.pi * near))
    return np.asarray(np.where(vague, around, near) + settings.pair_density_km2 / km**2)


def overlap_term(overlap: np.ndarray, sigma_m: np.ndarray, size_m: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """Return the term of the shared area, (pair,): two outlines of one facility should cover each other.

    The density of the shared share x is taken as 3 x^2 with a floor of 0.1 (own choice, docs/methods.md, section 6.1).
    The term counts less if the position error exceeds the size of the site; it is 0 if one side is a point, or if
    the site is `cut` by the border of the imagery, so that more of it may lie within the declared outline.
    """
    weight = size_m**2 / (size_m**2 + sigma_m**2 + 1e-9)
    return np.where(np.isnan(overlap) | cut, 0.0, weight * np.log((3.0 * np.nan_to_num(overlap) ** 2 + 0.1) / 1.1))


def power_term(
    site: np.ndarray, declared_mw: np.ndarray, declared_ln_sd: np.ndarray, sites: Sites, settings: ReconcileSettings
) -> np.ndarray:
    """Return ln of p(observed MW | declared MW) over p(observed MW of any site), (pair,); 0 if either is not known."""
    if not len(sites):
        return np.zeros(len(site))
    mean, spread = sites.mw_background
    known = ~np.isnan(declared_mw) & ~np.isnan(sites.it_mw[site])
    ln_mw = np.log(np.maximum(np.where(known, sites.it_mw[site], 1.0), MIN_MW))
    off = ln_mw - np.log(np.maximum(np.where(known, declared_mw, 1.0), MIN_MW))
    off = np.where(
        sites.on_border[site], np.maximum(off, 0.0), off
    )  # a cut site gives a lower bound: no conflict with more
    own_sd = np.where(known, sites.ln_sd[site], 1.0)
    sd = np.hypot(own_sd, declared_ln_sd)
    same = np.logaddexp(
        np.log(1 - settings.misdeclared_share) + ln_normal(off, sd),
        np.log(settings.misdeclared_share) + ln_normal(off, np.hypot(sd, settings.misdeclared_ln_sd)),
    )
    other = _of_neighbours(ln_mw, ln_mw - off, mean, np.hypot(spread, own_sd))
    # own choice: power alone neither excludes nor proves a pair
    return np.where(known, np.clip(same - other, -6.0, 2.0), 0.0)


def area_term(site: np.ndarray, outline_m2: np.ndarray, footprint_m2: np.ndarray, sites: Sites) -> np.ndarray:
    """Return the term of the declared size against the buildings seen, (pair,); 0 if no size is declared.

    Without a name a declared footprint identifies a facility best: imagery measures footprints to some 10%, worse if
    buildings merge or are missed, so 4 in 5 are taken within ln-sd 0.3. An outline may be land: 4 in 5 within
    ln-sd 0.6, and the term is limited to -2..1. All own choices (docs/methods.md, section 6.1).
    """
    return np.where(
        ~np.isnan(footprint_m2),
        _size_term(site, footprint_m2, sites, share=0.8, ln_sd=0.3, wide=1.2, limits=(-3.0, 3.0)),
        _size_term(site, outline_m2, sites, share=0.8, ln_sd=0.6, wide=2.0, limits=(-2.0, 1.0)),
    )


def _size_term(
    site: np.ndarray, declared_m2: np.ndarray, sites: Sites, *, share: float, ln_sd: float, wide: float,
    limits: tuple[float, float],
) -> np.ndarray:  # fmt: skip
    known = ~np.isnan(declared_m2) & (sites.building_m2[site] > 0)
    if not known.any():
        return np.zeros(len(site))
    mean, spread = sites.area_background
    ln_m2 = np.log(np.maximum(sites.building_m2[site], 100.0))
    off = ln_m2 - np.log(np.maximum(np.where(known, declared_m2, 1.0), 100.0))
    off = np.where(sites.on_border[site], np.maximum(off, 0.0), off)  # as in `power_term`
    same = np.logaddexp(np.log(share) + ln_normal(off, ln_sd), np.log(1 - share) + ln_normal(off, wide))
    return np.where(known, np.clip(same - _of_neighbours(ln_m2, ln_m2 - off, mean, spread), *limits), 0.0)


def _of_neighbours(ln_seen: np.ndarray, ln_told: np.ndarray, mean: float, spread: np.ndarray | float) -> np.ndarray:
    """Return ln density of the size of an unrelated site nearby: neighbours are of similar size, (pair,)."""
    return ln_normal(ln_seen - mean - _ALIKE * (ln_told - mean), spread * math.sqrt(1.0 - _ALIKE**2))


def use_term(
    site: np.ndarray, decl: np.ndarray, sites: Sites, declared: Declared, settings: ReconcileSettings
) -> np.ndarray:
    """Return the term of the declared use, (pair,): a declared 'warehouse' is seldom the data center seen there.

    ln of the share of such uses among true data centers over their share in the registry. In a registry of many uses a
    warehouse is most likely a warehouse; in a list of data centers a single one says little. 0 without cooling plant.
    """
    odd = declared.odd_use
    if not odd.any():
        return np.zeros(len(site))
    share = max(float(odd.mean()), settings.contradicted_share)
    return np.where(odd[decl] & sites.equipped[site], math.log(settings.contradicted_share / share), 0.0)


def ln_seen(
    site: np.ndarray, decl: np.ndarray, sites: Sites, declared: Declared, p_missed: float, settings: ReconcileSettings
) -> np.ndarray:
    """Return ln of P(the site's image shows the declared facility) over P(it was missed, or not looked at), (pair,).

    A facility that starts more than `_LEAD_DAYS` after the image need not be visible yet.
    """
    early = declared.since[decl] - sites.date[site] > np.timedelta64(_LEAD_DAYS, "D")  # comparisons with NaT are false
    missed = np.where(early | declared.idle[decl], settings.p_missed_not_operating, p_missed)
    # a cut site shows that a facility reaches over the border: own choice, in half of the cases the declared one does
    looked = np.clip(declared.looked[decl], np.where(sites.on_border[site], 0.5, 0.05), 1.0)
    seen = np.log(looked * (1.0 - missed))
    return np.asarray(seen - np.log(unseen(declared, p_missed, settings)[decl]))


def unseen(declared: Declared, p_missed: float, settings: ReconcileSettings) -> np.ndarray:
    """Return P(no site shows the declared facility), (declaration,): missed, not there, or not looked at."""
    missed = np.where(declared.idle, settings.p_missed_not_operating, p_missed)
    return np.asarray(1.0 - declared.looked * (1.0 - missed))


def ln_normal(x: np.ndarray, sd: np.ndarray | float) -> np.ndarray:
    """Return the log density of a normal distribution with mean 0."""
    return -0.5 * (x / sd) ** 2 - np.log(sd) - 0.5 * math.log(2 * math.pi)
