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

from overwatt.pipeline.reconcile.assignment import assign, marginals, propagated
from overwatt.pipeline.reconcile.label_likelihood import (
    IDENTIFIER_GAIN,
    LABEL_LIMIT,
    LabelEvidence,
    compare_labels,
)
from overwatt.pipeline.reconcile.likelihood_ratios import (
    area_term,
    background_km2,
    ln_place,
    ln_seen,
    mixed,
    overlap_term,
    power_term,
    unseen,
    use_term,
)
from overwatt.pipeline.reconcile.records import Declared, Sites, distances_m, overlaps, share_inside
from overwatt.pipeline.reconcile.settings import ReconcileSettings
from overwatt.pipeline.reconcile.shares import Shares, Trials, estimate, prior

_WEAK_GAIN = -7.0  # odds e-7 = 0.1%: weaker pairs do not enter p_match; own choice, keeps groups small
_SLACK = 3.0  # by which the shares may still raise a gain above that at the priors; own choice
_CHUNK = 20_000  # declarations per neighbour query, bounds memory; own choice


@dataclass
class Pairs:
    """Candidate pairs as columns: indices, distance, parts of the log-odds.

    Attributes:
        site: (pair,) index.
        decl: (pair,) index.
        distance_m: (pair,) edge to edge.
        ln_gauss: (pair,) ln density of the distance of a sound coordinate, per km2.
        ln_gross: (pair,) the same of a plainly wrong one.
        overlap: (pair,) shared area over the area of the smaller outline; NaN for points.
        labels: how names and identifiers compare.
        fixed: (pair,) terms that no share of `Shares` enters.
        label: (pair,) log-likelihood ratio of names and identifiers.
        gain: (pair,) log-odds of 'same facility' over 'unrelated site, missed declaration'.
        p_match: (pair,) marginal probability over all assignments.
    """

    site: np.ndarray
    decl: np.ndarray
    distance_m: np.ndarray
    ln_gauss: np.ndarray
    ln_gross: np.ndarray
    overlap: np.ndarray
    labels: LabelEvidence
    fixed: np.ndarray
    label: np.ndarray
    gain: np.ndarray
    p_match: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.site)

    def take(self, which: np.ndarray) -> Pairs:
        """Return the pairs of a mask or index."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        labels = parts.pop("labels").take(which)
        return Pairs(labels=labels, **{k: v[which] if len(v) == len(self) else v for k, v in parts.items()})


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


def candidates(sites: Sites, declared: Declared, settings: ReconcileSettings) -> tuple[Pairs, Shares]:
    """Return the candidate pairs with their scores and marginal match probabilities, and the shares they rest on.

    Only pairs within max(gross_error_m, 3 sigma), edge to edge, are candidates (docs/methods.md, section 6.1).
    """
    reach_m = np.maximum(settings.gross_error_m, 3.0 * declared.sigma_m)
    site, decl = _neighbours(sites, declared, reach_m)
    distance_m = distances_m(sites.at, site, declared.at, decl)
    keep = distance_m <= reach_m[decl]
    site, decl, distance_m = site[keep], decl[keep], distance_m[keep]
    start = prior(settings)
    # Cheap terms first: labels are compared only where full agreement could lift the pair over the limit.
    pairs = _without_labels(site, decl, distance_m, sites, declared, settings)
    _score(pairs, sites, declared, start, settings)
    most = _SLACK + LABEL_LIMIT + (IDENTIFIER_GAIN if "identifier" in sites.labels else 0.0)
    pairs = pairs.take(pairs.gain > _WEAK_GAIN - most)
    km = np.hypot(pairs.distance_m, declared.sigma_m[pairs.decl]) / 1e3
    pairs.labels = compare_labels(sites.labels, declared.labels, pairs.site, pairs.decl, km)
    _score(pairs, sites, declared, start, settings)
    pairs = _plausible(pairs, sites, declared, settings, _WEAK_GAIN - _SLACK)

    def expected(shares: Shares) -> Trials:
        _score(pairs, sites, declared, shares, settings)
        pairs.p_match = propagated(pairs.site, pairs.decl, pairs.gain, len(sites), len(declared))
        return _trials(pairs, sites, declared, shares, settings)

    shares = estimate(settings, expected)
    _score(pairs, sites, declared, shares, settings)
    pairs = _plausible(pairs, sites, declared, settings, _WEAK_GAIN)
    pairs.p_match = marginals(pairs.site, pairs.decl, pairs.gain, len(sites), len(declared))
    return pairs, shares


def _plausible(pairs: Pairs, sites: Sites, declared: Declared, settings: ReconcileSettings, least: float) -> Pairs:
    """Return the pairs of a gain above `least`, without far ones where a probable site fits the stated place."""
    # A gross coordinate error is considered only if no probable site fits the stated place: two declarations on one
    # campus are more likely parts of it than one of them misplaced by kilometres.
    fits = pairs.distance_m <= settings.position_z * declared.sigma_m[pairs.decl]
    fitted = np.zeros(len(declared), bool)
    fitted[pairs.decl[fits & (pairs.gain > least) & sites.probable[pairs.site]]] = True
    return pairs.take((pairs.gain > least) & (fits | ~fitted[pairs.decl]))


def _score(pairs: Pairs, sites: Sites, declared: Declared, shares: Shares, settings: ReconcileSettings) -> None:
    """Set the label term and the log-odds of the pairs at these shares."""
    pairs.label = pairs.labels.gain({"name": shares.name_agreement, "operator": shares.operator_agreement})
    unlisted = np.log(_unlisted(sites.p, shares))[pairs.site]
    seen = ln_seen(pairs.site, pairs.decl, sites, declared, shares.p_missed, settings)
    place = mixed(pairs.ln_gauss, pairs.ln_gross, shares.gross_share)
    pairs.gain = pairs.fixed + pairs.label + place - unlisted + seen


def _unlisted(p: np.ndarray, shares: Shares) -> np.ndarray:
    """Return sites without a declaration per data center, of sites with that p_data_center, (n,)."""
    p = np.clip(p, 1e-6, 1.0)  # keeps logarithms finite
    return np.asarray(shares.p_undeclared + (1.0 - p) / p)


def _trials(pairs: Pairs, sites: Sites, declared: Declared, shares: Shares, settings: ReconcileSettings) -> Trials:
    """Return the expected trials of each share (`shares.estimate`) at the match probabilities of the pairs."""
    seen = np.minimum(np.bincount(pairs.decl, pairs.p_match, len(declared)), 1.0)
    # P(looked at | not matched): where nobody looked, nothing was missed
    looked = 1.0 - (1.0 - declared.looked) / unseen(declared, shares.p_missed, settings)
    weight = np.where(declared.idle, 0.0, seen + (1.0 - seen) * np.clip(looked, 0.0, 1.0))
    listed = np.minimum(np.bincount(pairs.site, pairs.p_match, len(sites)), 1.0)
    # P(data center | not matched)
    center = shares.p_undeclared / _unlisted(sites.p, shares)
    gross = 1.0 - np.exp(
        np.log(1.0 - shares.gross_share) + pairs.ln_gauss - mixed(pairs.ln_gauss, pairs.ln_gross, shares.gross_share)
    )
    return {
        "p_missed": ((1.0 - seen) * (weight > 0), weight),
        "p_undeclared": ((1.0 - listed), listed + (1.0 - listed) * center),
        "gross_share": (gross, pairs.p_match),
        **{
            f"{column}_agreement": ((state > 0).astype(float), pairs.p_match * (state != 0))
            for column, state in pairs.labels.state.items()
        },
    }


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
    # Sum of log-likelihood ratios, the score of docs/methods.md, section 6.1.
    ln_gauss, ln_gross = ln_place(site, decl, distance_m, sites, declared, settings)
    overlap = overlaps(sites.at, site, declared.at, decl, distance_m)
    fixed = -np.log(background_km2(site, decl, distance_m, sites, declared, settings))
    fixed += overlap_term(overlap, declared.sigma_m[decl], sites.at.radius_m[site])
    fixed += power_term(site, declared.it_mw[decl], declared.ln_sd[decl], sites, settings)
    fixed += area_term(site, declared.outline_m2[decl], declared.footprint_m2[decl], sites)
    fixed += use_term(site, decl, sites, declared, settings)
    none = np.zeros(len(site))
    labels = LabelEvidence({}, {}, none)
    return Pairs(site, decl, distance_m, ln_gauss, ln_gross, overlap, labels, fixed, none, none)


def match(pairs: Pairs, sites: Sites, declared: Declared, shares: Shares, settings: ReconcileSettings) -> Matches:
    """Return the best one-to-one assignment, with the further declarations and sites of each match."""
    chosen = assign(pairs.site, pairs.decl, pairs.gain)
    of_site, of_decl = np.full(len(sites), -1), np.full(len(declared), -1)
    of_site[pairs.site[chosen]] = of_decl[pairs.decl[chosen]] = np.arange(len(chosen))
    p_match = pairs.p_match[chosen].copy()
    more_decls, p_decls = _join_declarations(
        pairs, chosen, of_site, of_decl, p_match, sites, declared, shares, settings
    )
    more_sites, p_sites = _join_sites(pairs, of_site, of_decl, sites, declared, settings)
    return Matches(chosen, np.minimum(p_match, 1.0), more_decls, p_decls, more_sites, p_sites)


def _join_declarations(
    pairs: Pairs, chosen: np.ndarray, of_site: np.ndarray, of_decl: np.ndarray, p_match: np.ndarray,
    sites: Sites, declared: Declared, shares: Shares, settings: ReconcileSettings,
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
        - np.log(unseen(declared, shares.p_missed, settings)[decl])
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
