"""Record linkage: candidate pairs, their log-odds and probabilities, the matches, and further members of a match.

In: `Sites`, `Declared`. Out: `Pairs` with marginal match probabilities, and `Matches`, the best assignment with the
further declarations and sites of each match. Cost: O(n log n + pairs), as a k-d tree finds the candidates. The score
is that of Fellegi and Sunter (1969), docs/methods.md, section 6.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from itertools import chain

import numpy as np
from scipy.spatial import cKDTree

from overwatt.pipeline.reconcile.assignment import assign, marginals
from overwatt.pipeline.reconcile.label_likelihood import IDENTIFIER_GAIN, LABEL_LIMITS, label_terms
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

_WEAK_GAIN = -7.0  # odds e-7 = 0.1%: weaker pairs do not enter p_match; own choice, keeps groups small
_CHUNK = 20_000  # declarations per neighbour query, bounds memory; own choice


@dataclass
class Pairs:
    """Candidate pairs as columns: indices, distance, parts of the log-odds.

    Attributes:
        site: (pair,) index.
        decl: (pair,) index.
        distance_m: (pair,) edge to edge.
        ln_gauss: (pair,) ln density of the distance without gross errors, per km2.
        overlap: (pair,) shared area over the area of the smaller outline; NaN for points.
        label: (pair,) log-likelihood ratio of names and identifiers.
        gain: (pair,) log-odds of 'same facility' over 'unrelated site, missed declaration'.
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
    """The best assignment, one element per match, and the further members of each match.

    Attributes:
        pair: (match,) index into pairs.
        p_match: (match,) probability, summed over the declarations of the match.
        more_decls: (joined, 2) match and further declaration.
        p_decls: (joined,) probability that the declaration belongs to the match.
        more_sites: (joined, 2) match and further site.
        p_sites: (joined,) share of the site inside the declared outline.
    """

    pair: np.ndarray
    p_match: np.ndarray
    more_decls: np.ndarray
    p_decls: np.ndarray
    more_sites: np.ndarray
    p_sites: np.ndarray


def candidates(sites: Sites, declared: Declared, settings: ReconcileSettings) -> Pairs:
    """Return the candidate pairs with their scores and marginal match probabilities.

    Only pairs within max(gross_error_m, 3 sigma), edge to edge, are candidates (docs/methods.md, section 6.1).
    """
    reach_m = np.maximum(settings.gross_error_m, 3.0 * declared.sigma_m)
    site, decl = _neighbours(sites, declared, reach_m)
    distance_m = distances_m(sites.at, site, declared.at, decl)
    keep = distance_m <= reach_m[decl]
    site, decl, distance_m = site[keep], decl[keep], distance_m[keep]
    # Cheap terms first: labels are compared only where full agreement could lift the pair over the limit.
    rest = _without_labels(site, decl, distance_m, sites, declared, settings)
    most = LABEL_LIMITS[1] + (IDENTIFIER_GAIN if "identifier" in sites.labels else 0.0)
    rest = rest.take(rest.gain > _WEAK_GAIN - most)
    rest.label = label_terms(sites.labels, declared.labels, rest.site, rest.decl)
    rest.gain = rest.gain + rest.label
    # A gross coordinate error is considered only if no probable site fits the stated place: two declarations on one
    # campus are more likely parts of it than one of them misplaced by kilometres.
    fits = rest.distance_m <= settings.position_z * declared.sigma_m[rest.decl]
    fitted = np.zeros(len(declared), bool)
    fitted[rest.decl[fits & (rest.gain > _WEAK_GAIN) & sites.probable[rest.site]]] = True
    pairs = rest.take((rest.gain > _WEAK_GAIN) & (fits | ~fitted[rest.decl]))
    pairs.p_match = marginals(pairs.site, pairs.decl, pairs.gain, len(sites), len(declared))
    return pairs


def _neighbours(sites: Sites, declared: Declared, reach_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    site, decl = [np.zeros(0, int)], [np.zeros(0, int)]
    if len(sites) and len(declared):
        tree = cKDTree(sites.at.sphere)
        # centres are compared on a sphere: 1% covers its difference from the local planes of the exact distances
        radius_km = 1.01 * (reach_m + declared.at.radius_m + sites.at.radius_m.max()) / 1e3
        for start in range(0, len(declared), _CHUNK):
            part = slice(start, start + _CHUNK)
            hits = tree.query_ball_point(declared.at.sphere[part], radius_km[part], return_sorted=True, workers=-1)
            size = np.fromiter(map(len, hits), int, len(hits))
            site.append(np.fromiter(chain.from_iterable(hits), int, int(size.sum())))
            decl.append(np.repeat(np.arange(start, start + len(hits)), size))
    return np.concatenate(site), np.concatenate(decl)


def _without_labels(
    site: np.ndarray,
    decl: np.ndarray,
    distance_m: np.ndarray,
    sites: Sites,
    declared: Declared,
    settings: ReconcileSettings,
) -> Pairs:
    # Sum of log-likelihood ratios and priors, the score of docs/methods.md, section 6.1; the clips keep logs finite.
    near, ln_gauss = ln_place(site, decl, distance_m, sites, declared, settings)
    overlap = overlaps(sites.at, site, declared.at, decl, distance_m)
    p = np.clip(sites.p[site], 1e-6, 1.0)
    gain = (
        near
        - np.log(sites.at.density_km2(site, settings))
        + np.log(p)
        + np.log(p_seen(site, decl, sites, declared, settings))
    )
    gain += overlap_term(overlap, declared.sigma_m[decl], sites.at.radius_m[site])
    gain += power_term(site, declared.it_mw[decl], declared.ln_sd[decl], sites, settings)
    gain += area_term(site, declared.outline_m2[decl], declared.footprint_m2[decl], sites)
    gain += use_term(site, decl, sites, declared, settings)
    gain -= np.log(p * settings.p_undeclared + (1.0 - p)) + np.log(np.clip(declared.p_missed[decl], 1e-6, 1.0))
    return Pairs(site, decl, distance_m, ln_gauss, overlap, np.zeros(len(site)), gain)


def match(pairs: Pairs, sites: Sites, declared: Declared, settings: ReconcileSettings) -> Matches:
    """Return the best one-to-one assignment, with the further declarations and sites of each match."""
    chosen = assign(pairs.site, pairs.decl, pairs.gain)
    of_site, of_decl = np.full(len(sites), -1), np.full(len(declared), -1)
    of_site[pairs.site[chosen]] = of_decl[pairs.decl[chosen]] = np.arange(len(chosen))
    p_match = pairs.p_match[chosen].copy()
    more_decls, p_decls = _join_declarations(pairs, chosen, of_site, of_decl, p_match, sites, declared, settings)
    more_sites, p_sites = _join_sites(pairs, of_site, of_decl, sites, declared, settings)
    return Matches(chosen, np.minimum(p_match, 1.0), more_decls, p_decls, more_sites, p_sites)


def _join_declarations(
    pairs: Pairs, chosen: np.ndarray, of_site: np.ndarray, of_decl: np.ndarray, p_match: np.ndarray,
    sites: Sites, declared: Declared, settings: ReconcileSettings,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Add an unassigned declaration to a matched site if this has higher log-odds than a missed declaration.

    Declared powers are summed before the comparison: two halves that add up to the observed power belong together.
    Changes `p_match` in place. Returns (match, declaration) rows and their probabilities.
    """
    free = np.flatnonzero((of_decl[pairs.decl] < 0) & (of_site[pairs.site] >= 0))
    site, decl = pairs.site[free], pairs.decl[free]
    prior = (
        math.log(settings.member_share)
        + pairs.ln_gauss[free]
        - np.log(declared.at.density_km2(decl, settings))
        + overlap_term(pairs.overlap[free], declared.sigma_m[decl], sites.at.radius_m[site])
        - np.log(np.clip(declared.p_missed[decl], 1e-6, 1.0))
    )
    near = np.flatnonzero(prior > -8.0)  # power_term lies in -6..2, so power can add at most 8
    near = near[np.lexsort((site[near], decl[near], -prior[near]))]
    total = declared.it_mw[pairs.decl[chosen]].copy()  # declared MW of each match so far
    joined: dict[int, tuple[int, float]] = {}
    for k in near.tolist():
        i, j = int(site[k]), int(decl[k])
        if j in joined:
            continue
        m = int(of_site[i])
        parts = [total[m], declared.it_mw[j]]
        sums = np.array([total[m], math.nan if np.isnan(parts).all() else np.nansum(parts)])
        without, with_it = power_term(np.array([i, i]), sums, np.full(2, declared.ln_sd[j]), sites, settings)
        gain = prior[k] + with_it - without
        if gain > 0:
            joined[j] = (m, float(1.0 / (1.0 + math.exp(-min(gain, 50.0)))))
            total[m] = sums[1]
            p_match[m] += float(pairs.p_match[free[k]])
    who = np.array([(m, j) for j, (m, _) in joined.items()], int).reshape(-1, 2)
    return who, np.array([p for _, p in joined.values()])


def _join_sites(
    pairs: Pairs,
    of_site: np.ndarray,
    of_decl: np.ndarray,
    sites: Sites,
    declared: Declared,
    settings: ReconcileSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Add an unassigned probable site to a match if at least half of it lies inside the declared outline."""
    touching = np.flatnonzero(
        (pairs.distance_m <= 0) & (declared.at.hull_m2[pairs.decl] > 0) & (of_site[pairs.site] < 0)
        & (of_decl[pairs.decl] >= 0) & sites.probable[pairs.site]
    )  # fmt: skip
    order = np.lexsort((pairs.decl[touching], pairs.site[touching], -np.nan_to_num(pairs.overlap[touching])))
    touching = touching[order]
    inside = (
        share_inside(sites.at, pairs.site[touching], declared.at, pairs.decl[touching])
        if len(touching)
        else np.zeros(0)
    )
    joined: dict[int, tuple[int, float]] = {}
    for k, share in zip(touching.tolist(), inside.tolist(), strict=True):
        if share >= 0.5:  # own choice: mostly inside
            joined.setdefault(int(pairs.site[k]), (int(of_decl[pairs.decl[k]]), float(share)))
    who = np.array([(m, i) for i, (m, _) in joined.items()], int).reshape(-1, 2)
    return who, np.array([p for _, p in joined.values()])
