"""Upper bound: a matcher that knows how the noise was generated, with the exact densities of all planted errors.

It is not a rival but a reference: it is given the distributions, rates and shares of edits, which are unknown in use.
Where it stays below a target, neighbours are indistinguishable within the errors, for any matcher.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from scipy.stats import t as student

from benchmarks.reconcile.planted import Case
from overwatt.aoi.geodesy import local_xy
from overwatt.pipeline.reconcile.assignment import assign
from overwatt.pipeline.reconcile.label_likelihood import label_terms
from overwatt.pipeline.reconcile.records import declared_of, sites_of
from overwatt.pipeline.reconcile.settings import DEFAULTS

_REACH = 6.0  # search radius in stated position errors


def informed(case: Case, family: str, share: float = 0.05) -> dict[str, str]:
    """Return the pairs (declared_id -> site_id) of the best assignment under the true densities of `plant`."""
    s = sites_of(case.sites, case.labels)
    d = declared_of(case.declared, case.looked_at, DEFAULTS)
    other = family == "other"
    reach_km = np.maximum(5.0, _REACH * d.error_m / 1e3)
    hits = cKDTree(s.at.sphere).query_ball_point(d.at.sphere, reach_km)
    decl = np.repeat(np.arange(len(d)), [len(h) for h in hits])
    site = np.concatenate([np.asarray(h, int) for h in hits])
    x, y = local_xy(*s.at.centre[site].T, *d.at.centre[decl].T)
    error = d.error_m[decl]
    jitter = 15.0 if other else 8.0
    if other:
        # scales as in `planted.plant`: Laplace or normal errors of declaration and site, added in quadrature
        scale = np.hypot(error / 1.7, jitter / 1.4)
        ln_near = -(np.abs(x) + np.abs(y)) / scale - 2 * np.log(2 * scale)
    else:
        scale = np.hypot(error, jitter) / 1.4
        ln_near = -0.5 * (x**2 + y**2) / scale**2 - np.log(2 * np.pi * scale**2)
    away = np.hypot(x, y)
    # edit `move`: uniform over angle and over 1.5-4.5 km, so density 1 / (2 pi r 3 km); margins for the jitter
    moved = np.where((away > 1300) & (away < 4700), 1.0 / (2 * np.pi * 3000.0 * np.maximum(away, 1.0)), 1e-30)
    ln_place = np.logaddexp(np.log(1 - share) + ln_near, np.log(share) + np.log(moved))

    def ln_size(off: np.ndarray, wide: float) -> np.ndarray:
        sd = np.hypot(0.3, wide)
        # Student t with 4 degrees of freedom has variance 2: scaled to sd
        return student.logpdf(off * np.sqrt(2) / sd, 4) + np.log(np.sqrt(2) / sd) if other else _normal(off, sd)

    off = np.log(s.it_mw[site] / d.it_mw[decl])
    shares = {0.0: 1 - 3 * share, np.log(2): 2 * share, -np.log(3): share}  # halved or split, tripled
    ln_power = np.logaddexp.reduce([np.log(p) + ln_size(off - shift, 0.1) for shift, p in shares.items()])
    ln_area = np.zeros(len(site))
    if not np.isnan(d.footprint_m2).all():
        off = np.log(s.building_m2[site] / d.footprint_m2[decl])
        parts = ((0.0, 1 - share), (np.log(2), share))
        ln_area = np.logaddexp.reduce([np.log(p) + ln_size(off - shift, 0.05) for shift, p in parts])
        ln_area -= _normal(np.log(s.building_m2[site]) - np.log(s.building_m2).mean(), np.log(s.building_m2).std())
    ln_power -= _normal(np.log(s.it_mw[site]) - np.log(s.it_mw).mean(), np.log(s.it_mw).std())
    missed, false = (0.10, 0.08) if other else (0.05, 0.04)
    alone = (false + share) / (1 + false)  # share of the sites that nothing declares
    # log likelihood ratio of match against chance, plus prior odds of a match
    gain = ln_place - np.log(s.at.density_km2(site, DEFAULTS) / 1e6) + ln_power + ln_area
    gain += label_terms(s.labels, d.labels, site, decl) + np.log((1 - missed) / missed) - np.log(alone)
    # false sites were given a p_data_center of 0.3 to 0.9, true ones 0.95: the informed matcher knows that
    gain = np.where(s.p[site] < 0.94, -1.0, gain)
    chosen = assign(site, decl, gain)
    found = {str(d.id[decl[k]]): str(s.id[site[k]]) for k in chosen}
    for j in np.flatnonzero(~np.isin(d.id.astype(str), list(found))):  # parts of a split declaration share their site
        near = np.flatnonzero(decl == j)
        if len(near) and gain[near].max() > np.log(1 / share):
            found[str(d.id[j])] = str(s.id[site[near[np.argmax(gain[near])]]])
    return found


def ratios(case: Case, edit: str) -> tuple[np.ndarray, np.ndarray]:
    """Return ln(observed / declared MW) of all true pairs, and whether `edit` was made on them, each (pair,)."""
    seen = case.sites.set_index("site_id")["it_mw_p50"]
    told = case.declared.set_index("declared_id")["it_mw"]
    pairs = [(d, s) for d, s in case.partner.items() if s and case.edit.get(d) != "split"]
    off = np.log([seen[s] / told[d] for d, s in pairs])
    return off, np.array([case.edit.get(d) == edit for d, _ in pairs])


def best_threshold(parts: list[tuple[np.ndarray, np.ndarray]], sign: float) -> dict[str, float]:
    """Return the scores of the best threshold on the power ratio with known pairs: the bound of any rule on power.

    Args:
        parts: results of `ratios`.
        sign: 1 if the edit makes observed larger than declared, -1 if smaller.
    """
    off = sign * np.concatenate([p[0] for p in parts])
    made = np.concatenate([p[1] for p in parts])
    order = np.argsort(-off)
    hit, called = np.cumsum(made[order]), np.arange(1, len(off) + 1)
    precision, recall = hit / called, hit / max(made.sum(), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return {
        "best_f1": round(float(f1.max()), 3),
        "precision_at_recall_0.95": round(float(precision[recall >= 0.95].max()), 3),
        "recall_at_precision_0.95": round(float(recall[precision >= 0.95].max(initial=0.0)), 3),
    }


def _normal(x: np.ndarray, sd: float) -> np.ndarray:
    return -0.5 * (x / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
