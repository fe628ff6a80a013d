"""Entries of the ledger as columns: class, figures, evidence for and against, what would settle it.

In: candidate pairs and matches. Out: the columns of table `ledger`, one array per column. The sentences of an entry
are built from plain lists and not from table rows, so that half a million entries take seconds. In all functions `i`
holds row numbers of sites, `j` row numbers of declarations.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from overwatt.pipeline.coverage import BASIS
from overwatt.pipeline.reconcile.linkage import Matches, Pairs
from overwatt.pipeline.reconcile.records import Declared, Sites, distances_m
from overwatt.pipeline.reconcile.settings import MIN_MW, ReconcileSettings
from overwatt.pipeline.reconcile.wording import (
    above_or_below,
    alternatives,
    chance,
    compared,
    declared_power,
    km,
    limits,
    plant,
    power,
    status_checks,
)
from overwatt.pipeline.vocabulary import NOT_SAID_TO_OPERATE, UNKNOWN_STATUS

_NOTHING = "Nothing to settle."
_SETTLES = {
    "type_mismatch": "Declared use against tenancy, grid connection and load profile; a visit.",
    "status_mismatch": "Date of the image against that of the declaration; a newer image; meter data.",
    "above_declared": "Count and type of cooling units at 0.3 m or better; grid connection and meter data.",
    "below_declared": "Count and type of cooling units at 0.3 m or better; grid connection and meter data.",
    "position_mismatch": "Corrected coordinates or outline from the declaring party; name at the gate.",
}
Columns = dict[str, Any]


def entry_id(site_id: str | None, declared_id: str | None) -> str:
    """Return the stable id of an entry; it depends on the two ids only, so it survives a change of class."""
    name = f"{site_id or ''}\x1f{declared_id or ''}"
    return "E-" + hashlib.sha256(name.encode()).hexdigest()[:12]


def matched(found: Matches, pairs: Pairs, sites: Sites, declared: Declared, settings: ReconcileSettings) -> Columns:
    """Return the columns of the matched pairs, (match,); powers are the sums over all records of a match."""
    i, j = pairs.site[found.pair], pairs.decl[found.pair]
    distance_m = pairs.distance_m[found.pair]
    low, mid, high = (_with_parts(np.nan_to_num(v), i, found.more_sites)
                      for v in (sites.it_low, sites.it_mw, sites.it_high))  # fmt: skip
    seen = _with_parts((~np.isnan(sites.it_mw)).astype(float), i, found.more_sites)
    known = _with_parts((~np.isnan(declared.it_mw)).astype(float), j, found.more_decls)
    of_decls = 1 + np.bincount(found.more_decls[:, 0], minlength=len(i))
    of_sites = 1 + np.bincount(found.more_sites[:, 0], minlength=len(i))
    low, mid, high = (np.where(seen > 0, v, np.nan) for v in (low, mid, high))
    declared_low, declared_mw, declared_high = (
        np.where(known > 0, _with_parts(np.nan_to_num(v, posinf=np.inf), j, found.more_decls), np.nan)
        for v in _ends(declared)
    )
    complete, all_seen = known == of_decls, seen == of_sites
    cut = _with_parts(sites.on_border.astype(float), i, found.more_sites) > 0
    status = status_checks(declared, j, sites, i)
    equipped = sites.equipped[i]
    no_plant = sites.plant_known & (sites.cooling == 0)
    idle = np.isin(declared.status[j].astype(str), list(NOT_SAID_TO_OPERATE))
    # docs/methods.md, section 6.1: power differs past `power_z` sigma of ln(observed / nearer end of what is declared)
    limit = settings.power_z * np.hypot(sites.ln_sd[i], _ends_ln_sd(declared, settings)[j])
    over, under = (np.log(np.maximum(mid, MIN_MW) / np.maximum(v, MIN_MW)) for v in (declared_high, declared_low))
    ratio = np.where(over > 0, over, np.where(under < 0, under, 0.0))
    # farther than the position error and than the radius of a disc of the hull's area
    off_limit_m = np.maximum(settings.position_z * declared.error_m[j], np.sqrt(sites.at.hull_m2[i] / math.pi))
    flags = {
        "type_mismatch": equipped & declared.odd_use[j],
        "status_mismatch": np.array([c.startswith("differs") for c in status], bool),
        "above_declared": complete & (over > limit) & (low > declared_high),
        # of a cut site the rest lies beyond the border, perhaps at the declared place
        "position_mismatch": (distance_m > off_limit_m) & ~cut,
        "below_declared": (under < -limit) & (high < declared_low) & ~cut & ~idle & all_seen,
    }
    # the first flag that applies names the class, so the order of `flags` is part of the definition
    klass = np.select(list(flags.values()), list(flags), "matched").astype(object)
    columns = _both(i, j, sites, declared)
    more = {
        int(k): declared.id[found.more_decls[found.more_decls[:, 0] == k, 1]].tolist()
        for k in np.flatnonzero(of_decls > 1)
    }
    rows = zip(*(v.tolist() for v in (i, j, distance_m, found.p_match)), strict=True)
    powers = zip(*(v.tolist() for v in (low, mid, high, declared_low, declared_mw, declared_high)), strict=True)
    evidence_for, evidence_against = [], []
    for k, ((a, b, away, p), (*observed, least, stated_mw, most)) in enumerate(zip(rows, powers, strict=True)):
        reasons_for: list[str] = []
        reasons_against = [
            f"{called('Site', sites, a)} lies {km(away)} from the declared place (error {km(declared.error_m[b])}); "
            f"p_match {chance(p)}."
        ]
        what = plant(sites.buildings[a], sites.building_m2[a], sites.cooling[a], sites.cooling_m2[a],
                     bool(sites.plant_known[a]))  # fmt: skip
        if flags["type_mismatch"][k]:
            reasons_for.append(f"Declared as '{declared.kind[b]}', seen with {what}.")
        if flags["status_mismatch"][k]:
            reasons_for.append(f"Declared as {declared.status[b]}, seen with {what}; {status[k].partition(': ')[2]}.")
            reasons_against.append("Buildings and plant stand months before operation, and remain after it ends.")
        elif idle[k] and equipped[k]:
            reasons_against.append(f"Declared as {_status(declared.status[b])}, seen with {what}: {status[k]}.")
        if not math.isnan(stated_mw):
            words = above_or_below(
                (observed[0], observed[1], observed[2]), (least, stated_mw, most), complete=bool(complete[k]),
                unseen=not all_seen[k], asked=bool(flags["above_declared"][k] or flags["below_declared"][k]),
                ratio=float(ratio[k]), limit=float(limit[k]),
            )  # fmt: skip
            if flags["above_declared"][k]:
                reasons_for.append(words)
                reasons_against.append("Capacity is not use: spare cooling or empty halls give the same picture.")
            elif flags["below_declared"][k]:
                reasons_for.append(words)
                reasons_against.append("Plant may be hidden (indoors, underground) or newer than the image.")
            else:
                reasons_against.append(words)
        if flags["position_mismatch"][k]:
            reasons_for.append(
                f"The nearest fitting site lies {km(away)} from the declared place, whose position error is taken as "
                f"{km(declared.error_m[b])}; nothing that fits better was seen at the declared place."
            )
            # first, because the strongest: a page that has no room for all keeps the first ones
            reasons_against.insert(
                0,
                f"With probability {max(1 - p, 0.01):.2f} they are not the same facility: "
                "then the site is undeclared and the declaration not seen.",
            )
        if p < 0.5:
            reasons_against.append("Other sites or declarations nearby fit about as well: the pairing is uncertain.")
        reasons_against += limits(float(sites.p[a]), bool(no_plant[a]), bool(cut[k]))
        if of_decls[k] > 1:
            names = ", ".join([declared.id[b], *more[k]][:5])
            reasons_against.append(f"{of_decls[k]} declarations lie on this site and are taken together ({names}).")
        if of_sites[k] > 1:
            reasons_against.append(f"{of_sites[k]} observed sites are taken as parts of the declared campus.")
        evidence_for.append(" ".join(reasons_for) or compared(km(away), p, stated_mw, observed[1], status[k]))
        evidence_against.append(" ".join(reasons_against))
    return columns | {
        "class": klass, "p_match": found.p_match, "distance_m": distance_m, "evidence_for": evidence_for,
        "evidence_against": evidence_against, "settles": [_SETTLES.get(c, _NOTHING) for c in klass],
        "status_check": status, "alternatives": alternatives(
            pairs, sites, declared, site_entry=(i, len(sites)), decl_entry=(j, len(declared)), own=found.pair
        ),
    }  # fmt: skip


def joined(found: Matches, pairs: Pairs, sites: Sites, declared: Declared) -> Columns:
    """Return the columns of the further declarations and sites that were added to a match, (joined,)."""
    i, j = pairs.site[found.pair], pairs.decl[found.pair]
    a = np.concatenate([i[found.more_decls[:, 0]], found.more_sites[:, 1]])
    b = np.concatenate([found.more_decls[:, 1], j[found.more_sites[:, 0]]])
    evidence_for = [
        f"None of its own: compared together with declaration {declared.id[j[k]]}." for k in found.more_decls[:, 0]
    ]
    evidence_for += [f"None of its own: compared together with site {sites.id[i[k]]}." for k in found.more_sites[:, 0]]
    evidence_against = ["Further declaration on the same site."] * len(found.more_decls)
    evidence_against += [f"It is a part of the declared campus with probability {p:.2f}." for p in found.p_sites]
    return _both(a, b, sites, declared) | {
        "class": ["matched"] * len(a), "p_match": np.concatenate([found.p_decls, found.p_sites]),
        "distance_m": distances_m(sites.at, a, declared.at, b), "evidence_for": evidence_for,
        "evidence_against": evidence_against, "settles": [_NOTHING] * len(a),
        "status_check": status_checks(declared, b, sites, a),
    }  # fmt: skip


def undeclared(i: np.ndarray, pairs: Pairs, sites: Sites, declared: Declared, settings: ReconcileSettings) -> Columns:
    """Return the columns of sites without a matched declaration, (i,)."""
    best, p_match = _best(pairs.site, pairs, len(sites))
    nearest = np.full(len(i), -1)
    if len(declared) and len(i):
        nearest = cKDTree(declared.at.sphere).query(sites.at.sphere[i], workers=-1)[1]
    away_m = distances_m(sites.at, i, declared.at, nearest)
    evidence_for, evidence_against = [], []
    reach = f"No declaration within {km(settings.gross_error_m)} or its own error could be this site."
    own = (sites.p, sites.prior, sites.it_mw, sites.it_low, sites.it_high, sites.buildings, sites.building_m2,
           sites.cooling, sites.cooling_m2, sites.plant_known, sites.on_border)  # fmt: skip
    lists = [v[i].tolist() for v in (*own, best, p_match)]
    ids, errors = declared.id.tolist(), declared.error_m.tolist()
    names = [f"{called('Observed as', sites, a)}. " if _name(sites, a) else "" for a in i.tolist()]
    for named, near, away, p, prior, mid, low, high, n, m2, machines, machines_m2, known, cut, k, p_any in zip(
        names, nearest.tolist(), away_m.tolist(), *lists, strict=True
    ):
        place = (
            f"Nearest declaration: {ids[near]}, {km(away)} away, position error {km(errors[near])}."
            if near >= 0
            else "The registry is empty here."
        )
        evidence_for.append(
            f"{named}Data center with probability {chance(p)} {_at(prior)}; {power(low, mid, high)}. "
            f"{_capital(plant(n, m2, machines, machines_m2, known))}. {place}"
        )
        other = (
            f"It is some declared facility at another place with probability {chance(p_any)}; the likeliest is "
            f"{ids[pairs.decl[k]]}, {km(pairs.distance_m[k])} away (p {chance(pairs.p_match[k])})."
            if k >= 0
            else reach
        )
        evidence_against.append(" ".join([other, *limits(p, known and machines == 0, cut)]))
    none = np.full(len(i), -1)
    return _both(i, none, sites, declared) | {
        "class": ["undeclared"] * len(i), "p_match": np.minimum(p_match[i], 1.0), "evidence_for": evidence_for,
        "evidence_against": evidence_against, "status_check": ["unknown: nothing is declared"] * len(i),
        "settles": ["A question to the declaring party; an image at 0.3 m; permits, grid connection."] * len(i),
        "alternatives": alternatives(pairs, sites, declared, site_entry=(i, len(sites))),
    }  # fmt: skip


def not_seen(j: np.ndarray, pairs: Pairs, sites: Sites, declared: Declared) -> Columns:
    """Return the columns of declarations whose place was observed but that have no matched site, (j,)."""
    best, p_match = _best(pairs.decl, pairs, len(declared))
    least, _, most = _ends(declared)
    evidence_for, evidence_against = [], []
    for b in j.tolist():
        stated = (
            "no power"
            if np.isnan(declared.it_mw[b])
            else f"{declared_power(least[b], declared.it_mw[b], most[b])} of IT"
        )
        # of a table of sites alone nobody said where was looked
        said = "is assumed to have been looked at" if declared.assumed else f"was looked at ({BASIS})"
        evidence_for.append(
            f"Declared with {stated}; {declared.looked[b]:.0%} of its place {said} and "
            + ("no site was matched to it." if best[b] >= 0 and p_match[b] >= 0.1 else "no site there fits it.")
        )
        reasons_against = ["Small, indoor or underground facilities are not seen even where everything was looked at."]
        if declared.status[b] in NOT_SAID_TO_OPERATE:
            reasons_against.append(f"Declared as {_status(declared.status[b])}: nothing need stand there.")
        if (k := best[b]) >= 0:
            reasons_against.append(
                f"It is some observed site with probability {chance(p_match[b])}; the likeliest is "
                f"{sites.id[pairs.site[k]]}, {km(pairs.distance_m[k])} away (p {chance(pairs.p_match[k])})."
            )
        evidence_against.append(" ".join(reasons_against))
    none = np.full(len(j), -1)
    return _both(none, j, sites, declared) | {
        "class": ["not_seen"] * len(j), "p_match": np.minimum(p_match[j], 1.0), "evidence_for": evidence_for,
        "evidence_against": evidence_against, "status_check": ["unknown: nothing was seen"] * len(j),
        "settles": ["Corrected coordinates; date of operation; an image newer than the declaration."] * len(j),
        "alternatives": alternatives(pairs, sites, declared, decl_entry=(j, len(declared))),
    }  # fmt: skip


def _both(i: np.ndarray, j: np.ndarray, sites: Sites, declared: Declared) -> Columns:
    """Return the columns taken from the site and the declaration of each entry; index -1 means that there is none."""

    def of(values: np.ndarray, k: np.ndarray) -> np.ndarray:
        out = np.full(len(k), None if values.dtype == object else np.nan, values.dtype)
        out[k >= 0] = values[k[k >= 0]]
        return out

    site, decl = of(sites.id, i), of(declared.id, j)
    operator = of(declared.labels["operator"].to_numpy(object), j)
    own = (
        of(sites.labels["operator"].to_numpy(object), i)
        if "operator" in sites.labels
        else np.full(len(i), None, object)
    )
    zone = of(sites.labels["zone"].to_numpy(object), i) if "zone" in sites.labels else np.full(len(i), None, object)
    declared_zone = of(declared.zone, j)
    place = of(sites.at.shape, i)
    place[i < 0] = of(declared.at.shape, j)[i < 0]
    return {
        "entry_id": [entry_id(a, b) for a, b in zip(site, decl, strict=True)], "site_id": site, "declared_id": decl,
        "p_detect": of(declared.looked, j), "p_data_center": of(sites.p, i), "it_mw_p50": of(sites.it_mw, i),
        "declared_it_mw": of(declared.it_mw, j), "distance_m": np.nan,
        "owner": np.where(pd.isna(operator), own, operator),
        "zone": np.where(pd.isna(declared_zone), zone, declared_zone),
        "geometry": place, "_site": np.where(i >= 0, i, len(sites)), "_decl": np.where(j >= 0, j, len(declared)),
    }  # fmt: skip


def called(what: str, sites: Sites, a: int) -> str:
    """Return `what`, with the name that the table of sites gives to site `a`, if any."""
    return f"{what} '{name}'" if (name := _name(sites, a)) else what


def _name(sites: Sites, a: int) -> str:
    """Return the observed name of a site, if it says more than its id; else ''."""
    name = sites.labels["name"].iloc[a] if "name" in sites.labels else None
    return str(name)[:80] if isinstance(name, str) and name != sites.id[a] else ""


def _ends(declared: Declared) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lower end, middle and upper end of declared IT power, MW, (declaration,); 0 and infinite where open."""
    low, mid, high = declared.it_low, declared.it_mw, declared.it_high
    return (np.where(np.isnan(low), np.where(np.isnan(high), mid, 0.0), low), mid,
            np.where(np.isnan(high), np.where(np.isnan(low), mid, np.inf), high))  # fmt: skip


def _ends_ln_sd(declared: Declared, settings: ReconcileSettings) -> np.ndarray:
    """Return the ln-sd of the ends of the declared power: that of `declared` without the width of its range."""
    ranged = ~np.isnan(declared.it_low) | ~np.isnan(declared.it_high)
    return np.where(ranged, settings.declared_ln_sd, declared.ln_sd)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _at(prior: float) -> str:
    return "at a prior that is not stated" if math.isnan(prior) else f"at a prior of {prior:.2g}"


def _status(status: str) -> str:
    return "of unknown status" if status == UNKNOWN_STATUS else status


def _best(key: np.ndarray, pairs: Pairs, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable pair of each key (-1: none) and the sum of the probabilities of its pairs, each (n,)."""
    # ascending order: the last write to an index wins, and that is the most probable pair
    order = np.argsort(pairs.p_match, kind="stable")
    best = np.full(n, -1)
    best[key[order]] = order
    return best, np.bincount(key, pairs.p_match, n)


def _with_parts(values: np.ndarray, own: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Return the sum over a match's own row and the rows added to it, (match,)."""
    out = values[own].astype(float)
    np.add.at(out, more[:, 0], values[more[:, 1]])
    return out
