"""Record linkage: candidate pairs, their log-odds and probabilities, the matches, and further members of a match.

In: `Sites`, `Declared`. Out: `Pairs` with marginal match probabilities, and `Matches`, the best assignment with the
further declarations and sites of each match. Cost: O(n log n + pairs), as a k-d tree finds the candidates. The score
is that of Fellegi and Sunter (1969), docs/methods.md, section 6.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from itertools import chain

import numpy as np
from scipy.spatial import cKDTree

from overwatt.pipeline.reconcile.assignment import assign, marginals, propagated
from overwatt.pipeline.reconcile.campuses import Members, Totals, further_declarations, further_sites
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
from overwatt.pipeline.reconcile.records import Declared, Sites, distances_m, overlaps
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
        p_match: (match,) probability, summed over the members of the match.
        more_decls: (joined, 2) match and further declaration.
        p_decls: (joined,) probability that the match is right and the declaration a part of it.
        more_sites: (joined, 2) match and further site.
        p_sites: (joined,) the same of the site.
    """

    pair: np.ndarray
    p_match: np.ndarray
    more_decls: np.ndarray
    p_decls: np.ndarray
    more_sites: np.ndarray
    p_sites: np.ndarray


def link(sites: Sites, declared: Declared, settings: ReconcileSettings) -> tuple[Pairs, Matches, Shares]:
    """Return the candidate pairs with their match probabilities, the matches, and the shares that both rest on.

    Only pairs within max(gross_error_m, 3 sigma), edge to edge, are candidates (docs/methods.md, section 6.1).
    """
    start = prior(settings)
    loose = _candidates(start, sites, declared, settings)

    def expected(shares: Shares) -> Trials:
        _score(loose, sites, declared, shares, settings)
        loose.p_match = propagated(loose.site, loose.decl, loose.gain, len(sites), len(declared))
        alone = unseen(declared, shares.p_missed, settings)
        more = {
            "whole_share": halls.trials(
                shares.whole_share, np.full(len(sites), shares.p_undeclared), _no_center(sites.p)
            ),
            "split_share": parts.trials(shares.split_share, alone, 0.0),
        }
        part = tuple(p * weight for p, weight in more.values())
        return more | _trials(loose, part, shares, sites, declared, settings)

    def linked(shares: Shares) -> tuple[Pairs, tuple[Matches, Members, Members]]:
        _score(loose, sites, declared, shares, settings)
        pairs = _plausible(loose, sites, declared, settings, _WEAK_GAIN)
        pairs.p_match = marginals(pairs.site, pairs.decl, pairs.gain, len(sites), len(declared))
        return pairs, match(pairs, shares, sites, declared, settings)

    # a part of a campus is neither missed nor undeclared, and which records are parts needs a first assignment
    _, (_, halls, parts) = linked(start)
    shares = estimate(settings, start, expected)
    pairs, (found, _, _) = linked(shares)
    return pairs, found, shares


def _candidates(start: Shares, sites: Sites, declared: Declared, settings: ReconcileSettings) -> Pairs:
    """Return all pairs that could match, at whatever shares."""
    reach_m = np.maximum(settings.gross_error_m, 3.0 * declared.sigma_m)
    site, decl = _neighbours(sites, declared, reach_m)
    distance_m = distances_m(sites.at, site, declared.at, decl)
    keep = distance_m <= reach_m[decl]
    site, decl, distance_m = site[keep], decl[keep], distance_m[keep]
    # Cheap terms first: labels are compared only where full agreement could lift the pair over the limit.
    pairs = _without_labels(site, decl, distance_m, sites, declared, settings)
    _score(pairs, sites, declared, start, settings)
    most = _SLACK + LABEL_LIMIT + (IDENTIFIER_GAIN if "identifier" in sites.labels else 0.0)
    pairs = pairs.take(pairs.gain > _WEAK_GAIN - most)
    km = np.hypot(pairs.distance_m, declared.sigma_m[pairs.decl]) / 1e3
    pairs.labels = compare_labels(sites.labels, declared.labels, pairs.site, pairs.decl, km)
    _score(pairs, sites, declared, start, settings)
    return _plausible(pairs, sites, declared, settings, _WEAK_GAIN - _SLACK)


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
    return np.asarray(shares.p_undeclared + _no_center(p))


def _no_center(p: np.ndarray) -> np.ndarray:
    """Return the odds that a site of that p_data_center is none, (n,)."""
    p = np.clip(p, 1e-6, 1.0)  # keeps logarithms finite
    return np.asarray((1.0 - p) / p)


def _trials(
    pairs: Pairs, part: tuple[np.ndarray, ...], shares: Shares, sites: Sites, declared: Declared,
    settings: ReconcileSettings,
) -> Trials:  # fmt: skip
    """Return the expected trials of each share at the match probabilities of the pairs.

    `part`: probability of each site, and of each declaration, to be a further part of a match.
    """
    seen = np.minimum(np.bincount(pairs.decl, pairs.p_match, len(declared)), 1.0)
    # P(looked at | not matched): where nobody looked, nothing was missed
    looked = 1.0 - (1.0 - declared.looked) / unseen(declared, shares.p_missed, settings)
    missed = (1.0 - seen) * np.clip(looked, 0.0, 1.0) * (1.0 - part[1])
    listed = np.minimum(np.bincount(pairs.site, pairs.p_match, len(sites)), 1.0)
    # P(data center | not matched)
    center = shares.p_undeclared / _unlisted(sites.p, shares)
    unlisted = (1.0 - listed) * center * (1.0 - part[0])
    sound = np.log(1.0 - shares.gross_share) + pairs.ln_gauss
    gross = 1.0 - np.exp(sound - mixed(pairs.ln_gauss, pairs.ln_gross, shares.gross_share))
    return {
        "p_missed": _trial(missed, np.where(declared.idle, 0.0, seen + missed)),
        "p_undeclared": _trial(unlisted, listed + unlisted),
        "gross_share": (gross, pairs.p_match),
        **{
            f"{column}_agreement": ((state > 0).astype(float), pairs.p_match * (state != 0))
            for column, state in pairs.labels.state.items()
        },
    }


def _trial(one: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.divide(one, weight, out=np.zeros(len(one)), where=weight > 0), weight


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
    fixed += overlap_term(overlap, declared.sigma_m[decl], sites.at.radius_m[site], sites.on_border[site])
    fixed += power_term(site, declared.it_mw[decl], declared.ln_sd[decl], sites, settings)
    fixed += area_term(site, declared.outline_m2[decl], declared.footprint_m2[decl], sites)
    fixed += use_term(site, decl, sites, declared, settings)
    none = np.zeros(len(site))
    labels = LabelEvidence({}, {}, none)
    return Pairs(site, decl, distance_m, ln_gauss, ln_gross, overlap, labels, fixed, none, none)


def match(
    pairs: Pairs, shares: Shares, sites: Sites, declared: Declared, settings: ReconcileSettings
) -> tuple[Matches, Members, Members]:
    """Return the best one-to-one assignment, and the further sites and declarations of each match."""
    chosen = assign(pairs.site, pairs.decl, pairs.gain)
    i, j = pairs.site[chosen], pairs.decl[chosen]
    of_site, of_decl = np.full(len(sites), -1), np.full(len(declared), -1)
    of_site[i] = of_decl[j] = np.arange(len(chosen))
    totals = Totals(i, j, sites, declared, settings)
    near = np.flatnonzero((of_site[pairs.site] >= 0) & (of_site[pairs.site] != of_decl[pairs.decl]))
    parts = further_declarations(
        of_decl, pairs.site[near], of_site[pairs.site[near]], pairs.decl[near], pairs.distance_m[near],
        shares.split_share, unseen(declared, shares.p_missed, settings), totals, j, sites, declared,
    )  # fmt: skip
    halls = further_sites(
        of_site,
        j,
        shares.whole_share,
        np.full(len(sites), shares.p_undeclared),
        _no_center(sites.p),
        totals,
        sites,
        declared,
    )
    # a match is right if any of its members is the facility: their probabilities are kept together
    p_match = pairs.p_match[chosen] + _together(pairs, i, parts.who, parts.p, of_decl=True)
    p_match = np.minimum(p_match + _together(pairs, j, halls.who, halls.p, of_decl=False), 1.0)
    found = Matches(
        chosen, p_match, parts.who, parts.p * p_match[parts.who[:, 0]], halls.who, halls.p * p_match[halls.who[:, 0]]
    )
    return found, halls, parts


def _together(pairs: Pairs, own: np.ndarray, who: np.ndarray, p: np.ndarray, *, of_decl: bool) -> np.ndarray:
    """Return the match probability of the further members with the record `own` of their match, (match,)."""
    out = np.zeros(len(own))
    key = pairs.site * np.int64(2**32) + pairs.decl
    order = np.argsort(key, kind="stable")
    mine, other = own[who[:, 0]], who[:, 1]
    wanted = (mine * np.int64(2**32) + other) if of_decl else (other * np.int64(2**32) + mine)
    at = np.minimum(np.searchsorted(key[order], wanted), max(len(key) - 1, 0))
    if len(wanted):
        is_pair = key[order][at] == wanted
        np.add.at(out, who[:, 0], np.where(is_pair, pairs.p_match[order[at]], 0.0) * p)
    return out
