"""Which site is which declaration: candidate pairs, their log-odds, probabilities, and what joins a match.

In: `Sites`, `Declared`. Out: `Pairs` with marginal match probabilities, and `Matches`, the best assignment with the
declarations and sites that joined it. Cost: k-d tree for candidates, so O(n log n + pairs).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from itertools import chain

import numpy as np
from scipy.spatial import cKDTree

from overwatt.pipeline.declared.names import IDENTIFIER_GAIN, LABEL_LIMITS, label_terms
from overwatt.pipeline.reconcile.assignment import assign, marginals
from overwatt.pipeline.reconcile.likelihood_ratios import (
    area_term,
    ln_place,
    overlap_term,
    p_seen,
    power_term,
    use_term,
)
from overwatt.pipeline.reconcile.records import Declared, Sites, distances_m, overlaps, share_inside
from overwatt.pipeline.reconcile.settings import ReconcileSettings

_WEAK_GAIN = -7.0  # e-7 = 0.1%: fainter alternatives do not enter p_match
_CHUNK = 20_000  # declarations whose neighbours are gathered at a time


@dataclass
class Pairs:
    """Candidate pairs as columns: indices, distance, parts of the log-odds.

    Attributes:
        site: (pair,) index.
        decl: (pair,) index.
        distance_m: (pair,) edge to edge.
        ln_gauss: (pair,) ln density of the distance without gross errors, per km2.
        overlap: (pair,) shared area over the smaller one's; NaN for points.
        label: (pair,) what names and identifiers say, ln.
        gain: (pair,) log-odds of 'the same facility' over 'unrelated, missed'.
        p_match: (pair,) marginal probability over all assignments.
    """

    site: np.ndarray
    decl: np.ndarray
    distance_m: np.ndarray
    ln_gauss: np.ndarray
    overlap: np.ndarray
    label: np.ndarray
    gain: np.ndarray
    p_match: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.site)

    def take(self, which: np.ndarray) -> Pairs:
        """Return the pairs of a mask or index."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Pairs(**{k: v[which] if len(v) == len(self) else v for k, v in parts.items()})


@dataclass
class Matches:
    """The best assignment: one element a match, and who joined which.

    Attributes:
        pair: (match,) index into pairs.
        p_match: (match,) probability, with that of the declarations that joined.
        more_decls: (joined, 2) match and declaration; p_decls: (joined,) probability that it belongs.
        more_sites: (joined, 2) match and site; p_sites: (joined,) share of the site inside the outline.
    """

    pair: np.ndarray
    p_match: np.ndarray
    more_decls: np.ndarray
    p_decls: np.ndarray
    more_sites: np.ndarray
    p_sites: np.ndarray


def candidates(s: Sites, d: Declared, settings: ReconcileSettings) -> Pairs:
    """Return the pairs that could be the same facility, scored, with marginal match probabilities."""
    reach_m = np.maximum(settings.gross_error_m, 3.0 * d.sigma_m)
    site, decl = _neighbours(s, d, reach_m)
    distance_m = distances_m(s.at, site, d.at, decl)
    keep = distance_m <= reach_m[decl]
    site, decl, distance_m = site[keep], decl[keep], distance_m[keep]
    # Cheap terms first: where not even a full agreement of labels could help, labels are not compared.
    rest = _without_labels(site, decl, distance_m, s, d, settings)
    most = LABEL_LIMITS[1] + (IDENTIFIER_GAIN if "identifier" in s.labels else 0.0)
    rest = rest.take(rest.gain > _WEAK_GAIN - most)
    rest.label = label_terms(s.labels, d.labels, rest.site, rest.decl)
    rest.gain = rest.gain + rest.label
    # A wrong coordinate is only supposed where no probable site fits the stated place: two declarations
    # on one campus are parts of it rather than one of them lost from kilometres away.
    fits = rest.distance_m <= settings.position_z * d.sigma_m[rest.decl]
    fitted = np.zeros(len(d), bool)
    fitted[rest.decl[fits & (rest.gain > _WEAK_GAIN) & (s.p[rest.site] >= settings.min_p_data_center)]] = True
    pairs = rest.take((rest.gain > _WEAK_GAIN) & (fits | ~fitted[rest.decl]))
    pairs.p_match = marginals(pairs.site, pairs.decl, pairs.gain, len(s), len(d))
    return pairs


def _neighbours(s: Sites, d: Declared, reach_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    site, decl = [np.zeros(0, int)], [np.zeros(0, int)]
    if len(s) and len(d):
        tree = cKDTree(s.at.sphere)
        radius_km = 1.01 * (reach_m + d.at.radius_m + s.at.radius_m.max()) / 1e3
        for start in range(0, len(d), _CHUNK):
            part = slice(start, start + _CHUNK)
            hits = tree.query_ball_point(d.at.sphere[part], radius_km[part], return_sorted=True, workers=-1)
            size = np.fromiter(map(len, hits), int, len(hits))
            site.append(np.fromiter(chain.from_iterable(hits), int, int(size.sum())))
            decl.append(np.repeat(np.arange(start, start + len(hits)), size))
    return np.concatenate(site), np.concatenate(decl)


def _without_labels(
    site: np.ndarray, decl: np.ndarray, distance_m: np.ndarray, s: Sites, d: Declared, settings: ReconcileSettings
) -> Pairs:
    near, ln_gauss = ln_place(site, decl, distance_m, s, d, settings)
    overlap = overlaps(s.at, site, d.at, decl, distance_m)
    p = np.clip(s.p[site], 1e-6, 1.0)
    gain = near - np.log(s.at.density_km2(site, settings)) + np.log(p) + np.log(p_seen(site, decl, s, d, settings))
    gain += overlap_term(overlap, d.sigma_m[decl], s.at.radius_m[site])
    gain += power_term(site, d.it_mw[decl], d.ln_sd[decl], s, settings)
    gain += area_term(site, d.outline_m2[decl], d.footprint_m2[decl], s)
    gain += use_term(site, decl, s, d, settings)
    gain -= np.log(p * settings.p_undeclared + (1.0 - p)) + np.log(np.clip(d.p_missed[decl], 1e-6, 1.0))
    return Pairs(site, decl, distance_m, ln_gauss, overlap, np.zeros(len(site)), gain)


def match(pairs: Pairs, s: Sites, d: Declared, settings: ReconcileSettings) -> Matches:
    """Return the best assignment, with the further declarations and sites that belong to its matches."""
    chosen = assign(pairs.site, pairs.decl, pairs.gain)
    of_site, of_decl = np.full(len(s), -1), np.full(len(d), -1)
    of_site[pairs.site[chosen]] = of_decl[pairs.decl[chosen]] = np.arange(len(chosen))
    p_match = pairs.p_match[chosen].copy()
    more_decls, p_decls = _join_declarations(pairs, chosen, of_site, of_decl, p_match, s, d, settings)
    more_sites, p_sites = _join_sites(pairs, of_site, of_decl, s, d, settings)
    return Matches(chosen, np.minimum(p_match, 1.0), more_decls, p_decls, more_sites, p_sites)


def _join_declarations(
    pairs: Pairs, chosen: np.ndarray, of_site: np.ndarray, of_decl: np.ndarray, p_match: np.ndarray,
    s: Sites, d: Declared, settings: ReconcileSettings,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """An unassigned declaration on a matched site joins it when that beats 'missed' in the same currency.

    Powers are compared between the sums: two halves that add up to what is seen belong together.
    """
    free = np.flatnonzero((of_decl[pairs.decl] < 0) & (of_site[pairs.site] >= 0))
    site, decl = pairs.site[free], pairs.decl[free]
    prior = (
        math.log(settings.member_share)
        + pairs.ln_gauss[free]
        - np.log(d.at.density_km2(decl, settings))
        + overlap_term(pairs.overlap[free], d.sigma_m[decl], s.at.radius_m[site])
        - np.log(np.clip(d.p_missed[decl], 1e-6, 1.0))
    )
    near = np.flatnonzero(prior > -8.0)  # the most that power can add, see power_term
    near = near[np.lexsort((site[near], decl[near], -prior[near]))]
    total = d.it_mw[pairs.decl[chosen]].copy()  # declared MW of each match so far
    joined: dict[int, tuple[int, float]] = {}
    for k in near.tolist():
        i, j = int(site[k]), int(decl[k])
        if j in joined:
            continue
        m = int(of_site[i])
        sums = np.array([total[m], np.nansum([total[m], d.it_mw[j]]) if not np.isnan([total[m], d.it_mw[j]]).all()
                         else math.nan])  # fmt: skip
        without, with_it = power_term(np.array([i, i]), sums, np.full(2, d.ln_sd[j]), s, settings)
        gain = prior[k] + with_it - without
        if gain > 0:
            joined[j] = (m, float(1.0 / (1.0 + math.exp(-min(gain, 50.0)))))
            total[m] = sums[1]
            p_match[m] += float(pairs.p_match[free[k]])
    who = np.array([(m, j) for j, (m, _) in joined.items()], int).reshape(-1, 2)
    return who, np.array([p for _, p in joined.values()])


def _join_sites(
    pairs: Pairs, of_site: np.ndarray, of_decl: np.ndarray, s: Sites, d: Declared, settings: ReconcileSettings
) -> tuple[np.ndarray, np.ndarray]:
    """An unassigned probable site at least half inside the declared outline of a match joins it."""
    touching = np.flatnonzero(
        (pairs.distance_m <= 0) & (d.at.hull_m2[pairs.decl] > 0) & (of_site[pairs.site] < 0)
        & (of_decl[pairs.decl] >= 0) & (s.p[pairs.site] >= settings.min_p_data_center)
    )  # fmt: skip
    order = np.lexsort((pairs.decl[touching], pairs.site[touching], -np.nan_to_num(pairs.overlap[touching])))
    touching = touching[order]
    inside = share_inside(s.at, pairs.site[touching], d.at, pairs.decl[touching]) if len(touching) else np.zeros(0)
    joined: dict[int, tuple[int, float]] = {}
    for k, share in zip(touching.tolist(), inside.tolist(), strict=True):
        if share >= 0.5:
            joined.setdefault(int(pairs.site[k]), (int(of_decl[pairs.decl[k]]), float(share)))
    who = np.array([(m, i) for i, (m, _) in joined.items()], int).reshape(-1, 2)
    return who, np.array([p for _, p in joined.values()])
