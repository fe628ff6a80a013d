"""Campuses: further sites and declarations of a match, where one side lists parts and the other the whole.

In: an assignment of candidate pairs. Out: `Members`, each with the probability that it is a part of the match. A record
is on the campus of a match with the share that data centers at that distance have one operator, and then the other side
lists that campus as a whole with a share of `Shares`. The alternative is a facility of its own that the other side
lacks. Power and building area of a match are sums over its members (docs/methods.md, section 6.1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.spatial import cKDTree

from overwatt.pipeline.reconcile.label_likelihood import agreement, shared_codes
from overwatt.pipeline.reconcile.likelihood_ratios import ln_outline
from overwatt.pipeline.reconcile.records import Declared, Shapes, Sites, distances_m, share_inside
from overwatt.pipeline.reconcile.settings import MIN_MW, ReconcileSettings

# Further buildings of one operator at a distance d of the centres: 12 exp(-d / 165 m) per km2, two in all; of others
# 0.3 per km2 more than in the ring of 0.5 to 2 km. IM3 and OpenStreetMap, docs/decisions/0016.
_SAME_KM2, _SAME_KM, _OTHERS_KM2, _RING_KM = 12.0, 0.165, 0.3, (0.5, 2.0)
_FURTHER = 2.0 * math.pi * _SAME_KM2 * _SAME_KM**2
_REACH_M = 600.0  # farther, the operator is seldom the same other than by chance
_HALF_M = 100.0  # from the edge of a hall to its centre; own choice
_OPERATOR = 10.0  # odds by which equal operators make one campus likelier, and different ones less; own choice
_CODED = 5.0  # log-odds of a declaration that lists the code of the site, "IAD-104/105"; own choice
_SURE = 0.98  # most that place and operator can say; own choice
_LIMIT = 4.0  # ln of the odds by which power or area can move a member; own choice


@dataclass
class Members:
    """Further records of the matches, and what is known of every record that could be one.

    Attributes:
        who: (member, 2) match and record.
        p: (member,) probability that the record is a part of the match, if the match is right.
        same: (record,) probability that it lies on the campus of another record that has a match.
        inside: (record,) share of it inside the outline that the other side has of a match.
        gain: (record,) log-odds that the sums of power and area add.
        free: (record,) whether it has no match of its own.
    """

    who: np.ndarray
    p: np.ndarray
    same: np.ndarray
    inside: np.ndarray
    gain: np.ndarray
    free: np.ndarray

    def trials(self, share: float, alone: np.ndarray, nothing: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Return P(a part | on the campus) of every record and P(on the campus), a trial of `share`, each (record,).

        Args:
            share: share of campuses that the other side lists as a whole.
            alone: (record,) P(the other side lacks it), of a facility of its own.
            nothing: (record,) odds of no facility at all.
        """
        odds = ln_odds(share, self.same, self.inside, alone, nothing) + self.gain
        part = np.where(self.free, 1.0 / (1.0 + np.exp(-odds)), 0.0)
        # on the campus and no part: listed by itself, or lacking there
        apart = self.same * (1.0 - share)
        other = 1.0 - self.same * share
        lacking = (1.0 - part) * apart * alone / np.maximum(other * alone + nothing, 1e-9)
        weight = part + np.where(self.free, lacking, apart / other)
        return np.divide(part, weight, out=np.zeros(len(part)), where=weight > 0), weight


def ln_odds(
    share: float, same: np.ndarray, inside: np.ndarray, alone: np.ndarray, nothing: np.ndarray | float
) -> np.ndarray:
    """Return the log-odds of a part of the match over a facility of its own or none; arguments as in `Members`."""
    part = np.maximum(share * same, _SURE * inside)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(part) - np.log(alone * (1.0 - part) + nothing))


class Totals:
    """Power and building area of each match as sums over its members so far."""

    def __init__(
        self, i: np.ndarray, j: np.ndarray, sites: Sites, declared: Declared, settings: ReconcileSettings
    ) -> None:
        """Start with one site `i` and one declaration `j` per match, each (match,)."""
        self._seen = np.column_stack([sites.it_mw[i], sites.building_m2[i]])
        self._told = np.column_stack([declared.it_mw[j], declared.footprint_m2[j]])
        self._sd = np.column_stack([np.hypot(sites.ln_sd[i], declared.ln_sd[j]), np.full(len(i), _AREA_SD)])
        self._least = np.array([MIN_MW, 100.0])
        self._background = np.array([sites.mw_background, sites.area_background]).T if len(sites) else np.zeros((2, 2))
        self._far = np.array([settings.misdeclared_share, _AREA_FAR])
        self._wide = np.array([settings.misdeclared_ln_sd, _AREA_WIDE])

    def change(self, match: int, more: np.ndarray, seen: bool) -> tuple[float, np.ndarray]:
        """Return by how much a further record moves the ln odds, and the new total of its side, (MW, m2)."""
        both = np.stack([(self._seen if seen else self._told)[match], more])
        total = np.where(np.isnan(both).all(0), np.nan, np.nansum(both, 0))
        new = self._fit(match, total, self._told[match]) if seen else self._fit(match, self._seen[match], total)
        gain = float(np.sum(np.clip(new - self._fit(match, self._seen[match], self._told[match]), -_LIMIT, _LIMIT)))
        return gain, total

    def add(self, match: int, total: np.ndarray, seen: bool) -> None:
        """Set the total of one side of a match."""
        (self._seen if seen else self._told)[match] = total

    def _fit(self, match: int, seen: np.ndarray, told: np.ndarray) -> np.ndarray:
        # as `likelihood_ratios.power_term` and `area_term`, of sums
        known = ~np.isnan(told) & (seen > 0)
        ln_seen = np.log(np.maximum(seen, self._least))
        off = ln_seen - np.log(np.maximum(np.where(known, told, 1.0), self._least))
        near, wide = self._sd[match], np.hypot(self._sd[match], self._wide)
        same = np.logaddexp(
            np.log(1.0 - self._far) - 0.5 * (off / near) ** 2 - np.log(near),
            np.log(self._far) - 0.5 * (off / wide) ** 2 - np.log(wide),
        )
        mean, spread = self._background
        other = -0.5 * ((ln_seen - mean) / spread) ** 2 - np.log(spread)
        return np.where(known, np.clip(same - other, -6.0, 3.0), 0.0)


_AREA_SD, _AREA_FAR, _AREA_WIDE = 0.3, 0.2, 1.2  # of building areas, as in `likelihood_ratios.area_term`


def further_sites(
    of_site: np.ndarray, decl: np.ndarray, share: float, alone: np.ndarray, nothing: np.ndarray, totals: Totals,
    sites: Sites, declared: Declared,
) -> Members:  # fmt: skip
    """Return the unassigned probable sites that are a part of a match.

    Args:
        of_site: (site,) match of each site, -1 without one.
        decl: (match,) declaration of each match.
        share: share of campuses of several sites that are declared as one.
        alone: (site,) P(not declared) of a data center.
        nothing: (site,) odds that it is none.
        totals: of the matches; changed in place.
        sites: observed sites.
        declared: declarations.
    """
    site, near = _neighbours(sites.at, np.flatnonzero(sites.probable), np.flatnonzero(of_site >= 0))
    away_m = distances_m(sites.at, site, sites.at, near)
    away_m += np.minimum(_HALF_M, sites.at.radius_m[site] + sites.at.radius_m[near])
    same = _one_campus(_SAME_KM2 * np.exp(-away_m / 1e3 / _SAME_KM), sites.at, site)
    if "operator" in sites.labels:
        same = _with_operator(same, agreement(sites.labels["operator"], site, near))
    match, free = of_site[near], of_site < 0
    inside = np.zeros(len(site))
    row = np.flatnonzero(free[site] & (declared.at.hull_m2[decl[match]] > 0))
    inside[row] = share_inside(sites.at, site[row], declared.at, decl[match[row]])
    values = np.column_stack([sites.it_mw, sites.building_m2])
    odds = ln_odds(share, same, inside, alone[site], nothing[site])
    if "name" in sites.labels:
        odds = odds + _CODED * shared_codes(sites.labels["name"], declared.labels["name"], site, decl[match])
    return _joined(site, match, odds, free, same, inside, totals, values, seen=True)


def further_declarations(
    of_decl: np.ndarray, site: np.ndarray, match: np.ndarray, decl: np.ndarray, distance_m: np.ndarray,
    share: float, alone: np.ndarray, totals: Totals, of_match: np.ndarray, sites: Sites, declared: Declared,
) -> Members:  # fmt: skip
    """Return the unassigned declarations that are a part of a match.

    Args:
        of_decl: (declaration,) match of each declaration, -1 without one.
        site: (pair,) site that has a match.
        match: (pair,) its match.
        decl: (pair,) another declaration.
        distance_m: (pair,) edge to edge.
        share: share of campuses of one site that are declared in several parts.
        alone: (declaration,) P(no site shows it).
        totals: of the matches; changed in place.
        of_match: (match,) declaration of each match.
        sites: observed sites.
        declared: declarations.
    """
    # half of the parts lie on the outline of the site, half around it as far as a campus reaches; own choice
    sigma_km = declared.sigma_m[decl] / 1e3
    on = ln_outline(site, decl, distance_m, sigma_km, sites, declared)
    around = ln_outline(site, decl, distance_m, np.hypot(sigma_km, _SAME_KM), sites, declared)
    same = _one_campus(_FURTHER * 0.5 * (np.exp(on) + np.exp(around)), declared.at, decl)
    same = _with_operator(same, agreement(declared.labels["operator"], decl, of_match[match]))
    # where a site stands, no other facility was missed; a vague place says less about where it is
    wide_m = sites.at.radius_m[site]
    inside, on_it = np.zeros(len(decl)), np.flatnonzero((distance_m <= 0) & (wide_m > 0) & (of_decl[decl] < 0))
    inside[on_it] = share_inside(declared.at, decl[on_it], sites.at, site[on_it])
    inside *= wide_m**2 / (wide_m**2 + declared.sigma_m[decl] ** 2)
    odds = ln_odds(share, same, inside, alone[decl], 0.0)
    values = np.column_stack([declared.it_mw, declared.footprint_m2])
    return _joined(decl, match, odds, of_decl < 0, same, inside, totals, values, seen=False)


def _neighbours(at: Shapes, some: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of a record of `some` and another one of `others` in reach of a campus, each (pair,)."""
    if not len(some) or not len(others):
        return np.zeros(0, int), np.zeros(0, int)
    reach_km = (_REACH_M + at.radius_m[others] + at.radius_m[some].max()) / 1e3
    hits = cKDTree(at.sphere[some]).query_ball_point(at.sphere[others], reach_km, return_sorted=True, workers=-1)
    second = np.repeat(others, np.fromiter(map(len, hits), int, len(hits)))
    first = some[np.fromiter(chain.from_iterable(hits), int, len(second))]
    return first[first != second], second[first != second]


def _one_campus(same_km2: np.ndarray, at: Shapes, record: np.ndarray) -> np.ndarray:
    """Return the probability of one campus, (pair,): density of its parts over that of all records there."""
    used, back = np.unique(record, return_inverse=True)
    if not len(used):
        return np.zeros(0)
    tree = cKDTree(at.sphere)
    near, wide = (tree.query_ball_point(at.sphere[used], r, return_length=True, workers=-1) for r in _RING_KM)
    ring = (wide - near) / (math.pi * (_RING_KM[1] ** 2 - _RING_KM[0] ** 2))
    return np.asarray(same_km2 / (same_km2 + _OTHERS_KM2 + ring[back]))


def _with_operator(same: np.ndarray, state: np.ndarray) -> np.ndarray:
    odds = same / (1.0 - same) * _OPERATOR ** state.astype(float)
    return np.minimum(odds / (1.0 + odds), _SURE)


def _joined(
    record: np.ndarray, match: np.ndarray, odds: np.ndarray, free: np.ndarray, same: np.ndarray, inside: np.ndarray,
    totals: Totals, values: np.ndarray, *, seen: bool,
) -> Members:  # fmt: skip
    """Return the members: the likeliest first, each added to the totals before the next is judged."""
    most_same, most_inside, best = np.zeros(len(values)), np.zeros(len(values)), np.full(len(values), -np.inf)
    gain_of = np.zeros(len(values))
    np.maximum.at(most_same, record, same)
    np.maximum.at(most_inside, record, inside)
    rows = np.flatnonzero(free[record] & (odds > -2.0 * _LIMIT))
    rows = rows[np.lexsort((match[rows], record[rows], -odds[rows]))]
    found: dict[int, tuple[int, float]] = {}
    for r, m, own in zip(record[rows].tolist(), match[rows].tolist(), odds[rows].tolist(), strict=True):
        if r in found:
            continue
        gain, total = totals.change(m, values[r], seen)
        if own + gain > best[r]:
            best[r], gain_of[r] = own + gain, gain
        if own + gain > 0.0:
            found[r] = (m, 1.0 / (1.0 + math.exp(-own - gain)))
            totals.add(m, total, seen)
    who = np.array([(m, r) for r, (m, _) in found.items()], int).reshape(-1, 2)
    return Members(who, np.array([p for _, p in found.values()]), most_same, most_inside, gain_of, free)
