"""Entries of the ledger as columns: class, figures, evidence for and against, what would settle it.

In: pairs and matches. Out: the columns of table `ledger`, one array an attribute; words are made once for each entry
from lists, never from table rows, so that half a million entries take seconds.
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
from overwatt.pipeline.reconcile.wording import above_or_below, alternatives, km, limits, status_checks
from overwatt.pipeline.vocabulary import NOT_OPERATING

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
    """Return the entry's stable name: it depends on the two ids only, not on the class."""
    name = f"{site_id or ''}\x1f{declared_id or ''}"
    return "E-" + hashlib.sha256(name.encode()).hexdigest()[:12]


def matched(m: Matches, pairs: Pairs, s: Sites, d: Declared, settings: ReconcileSettings) -> Columns:
    """Return the columns of the pairs of the assignment, (match,)."""
    i, j = pairs.site[m.pair], pairs.decl[m.pair]
    distance_m = pairs.distance_m[m.pair]
    low, mid, high = (_with_parts(v, i, m.more_sites) for v in (s.it_low, s.it_mw, s.it_high))
    known = _with_parts((~np.isnan(d.it_mw)).astype(float), j, m.more_decls)
    of_decls = 1 + np.bincount(m.more_decls[:, 0], minlength=len(i))
    of_sites = 1 + np.bincount(m.more_sites[:, 0], minlength=len(i))
    declared_mw = np.where(known > 0, _with_parts(np.nan_to_num(d.it_mw), j, m.more_decls), np.nan)
    complete = known == of_decls
    cut = _with_parts(s.on_border.astype(float), i, m.more_sites) > 0
    status = status_checks(d, j, s, i)
    equipped = s.equipped[i]
    no_plant = s.plant_known & (s.cooling == 0)
    idle = np.isin(d.status[j].astype(str), list(NOT_OPERATING))
    ratio = np.log(np.maximum(mid, MIN_MW) / np.maximum(declared_mw, MIN_MW))
    limit = settings.power_z * np.hypot(s.ln_sd[i], d.ln_sd[j])
    off_limit_m = np.maximum(settings.position_z * d.error_m[j], np.sqrt(s.at.hull_m2[i] / math.pi))
    flags = {
        "type_mismatch": equipped & d.odd_use[j],
        "status_mismatch": np.array([c.startswith("differs") for c in status], bool),
        "above_declared": complete & (ratio > limit),
        "position_mismatch": distance_m > off_limit_m,
        "below_declared": (ratio < -limit) & ~cut & ~idle,
    }
    klass = np.select(list(flags.values()), list(flags), "matched").astype(object)
    columns = _both(i, j, s, d)
    more = {int(k): d.id[m.more_decls[m.more_decls[:, 0] == k, 1]].tolist() for k in np.flatnonzero(of_decls > 1)}
    rows = zip(
        *(v.tolist() for v in (i, j, distance_m, m.p_match, low, mid, high, declared_mw, complete, ratio, limit)),
        strict=True,
    )
    speaks, against = [], []
    for k, (a, b, away, p, lo, me, hi, declared, whole, r, most) in enumerate(rows):
        yes, no = [], [f"Site lies {km(away)} from the declared place (error {km(d.error_m[b])}); p_match {p:.2f}."]
        plant = (
            f"{s.buildings[a]:.0f} data-center building(s) and {s.cooling[a]:.0f} cooling object(s) of "
            f"{s.cooling_m2[a]:.0f} m2"
            if s.plant_known[a]
            else f"a data center of {me:.0f} MW of IT, its plant not stated"
        )
        if flags["type_mismatch"][k]:
            yes.append(f"Declared as '{d.kind[b]}', seen with {plant}.")
        if flags["status_mismatch"][k]:
            yes.append(f"Declared as {d.status[b]}, seen with {plant}; {status[k].partition(': ')[2]}.")
            no.append("Buildings and plant stand months before operation, and remain after it ends.")
        elif idle[k] and equipped[k]:
            no.append(f"Declared as {d.status[b]}, seen with {plant}: {status[k]}.")
        if not math.isnan(declared):
            words = above_or_below(lo, me, hi, declared, whole, r, most)
            if flags["above_declared"][k]:
                yes.append(words)
                no.append("Capacity is not use: spare cooling or empty halls give the same picture.")
            elif flags["below_declared"][k]:
                yes.append(words)
                no.append("Plant may be hidden (indoors, underground) or newer than the image.")
            else:
                no.append(words)
        if flags["position_mismatch"][k]:
            yes.append(
                f"The nearest fitting site lies {km(away)} from the declared place, whose stated error is "
                f"{km(d.error_m[b])}; nothing that fits better was seen at the declared place."
            )
            no.append(
                f"With probability {max(1 - p, 0.01):.2f} they are not the same facility: "
                "then the site is undeclared and the declaration not seen."
            )
        if p < 0.5:
            no.append("Other sites or declarations nearby fit about as well: the pairing is uncertain.")
        no += limits(float(s.p[a]), bool(no_plant[a]), bool(cut[k]))
        if of_decls[k] > 1:
            names = ", ".join([d.id[b], *more[k]][:5])
            no.append(f"{of_decls[k]} declarations lie on this site and are taken together ({names}).")
        if of_sites[k] > 1:
            no.append(f"{of_sites[k]} observed sites lie within the declared outline and are taken together.")
        speaks.append(" ".join(yes) or "None: site and declaration agree.")
        against.append(" ".join(no))
    return columns | {
        "class": klass, "p_match": m.p_match, "distance_m": distance_m, "evidence_for": speaks,
        "evidence_against": against, "settles": [_SETTLES.get(c, _NOTHING) for c in klass], "status_check": status,
        "alternatives": alternatives(pairs, s, d, site_entry=(i, len(s)), decl_entry=(j, len(d)), own=m.pair),
    }  # fmt: skip


def joined(m: Matches, pairs: Pairs, s: Sites, d: Declared) -> Columns:
    """Return the columns of declarations and sites that joined a match, (joined,)."""
    i, j = pairs.site[m.pair], pairs.decl[m.pair]
    a = np.concatenate([i[m.more_decls[:, 0]], m.more_sites[:, 1]])
    b = np.concatenate([m.more_decls[:, 1], j[m.more_sites[:, 0]]])
    speaks = [f"None of its own: compared together with declaration {d.id[j[k]]}." for k in m.more_decls[:, 0]]
    speaks += [f"None of its own: compared together with site {s.id[i[k]]}." for k in m.more_sites[:, 0]]
    against = ["Further declaration on the same site."] * len(m.more_decls)
    against += [f"{p:.0%} of the site lies within the declared outline." for p in m.p_sites]
    return _both(a, b, s, d) | {
        "class": ["matched"] * len(a), "p_match": np.concatenate([m.p_decls, m.p_sites]),
        "distance_m": distances_m(s.at, a, d.at, b), "evidence_for": speaks, "evidence_against": against,
        "settles": [_NOTHING] * len(a), "status_check": status_checks(d, b, s, a),
    }  # fmt: skip


def undeclared(i: np.ndarray, pairs: Pairs, s: Sites, d: Declared, settings: ReconcileSettings) -> Columns:
    """Return the columns of probable sites that no declaration is matched to, (i,)."""
    best, p_match = _best(pairs.site, pairs, len(s))
    nearest = np.full(len(i), -1)
    if len(d) and len(i):
        nearest = cKDTree(d.at.sphere).query(s.at.sphere[i], workers=-1)[1]
    away_m = distances_m(s.at, i, d.at, nearest)
    speaks, against = [], []
    reach = f"No declaration within {km(settings.gross_error_m)} or its own error could be this site."
    own = (s.p, s.prior, s.it_mw, s.it_low, s.it_high, s.buildings, s.building_m2, s.cooling, s.cooling_m2,
           s.plant_known, s.on_border)  # fmt: skip
    lists = [v[i].tolist() for v in (*own, best, p_match)]
    ids, errors = d.id.tolist(), d.error_m.tolist()
    for near, away, p, prior, mid, low, high, n, m2, plant, plant_m2, known, cut, k, p_any in zip(
        nearest.tolist(), away_m.tolist(), *lists, strict=True
    ):
        place = (
            f"Nearest declaration: {ids[near]}, {km(away)} away, stated error {km(errors[near])}."
            if near >= 0
            else "The registry is empty here."
        )
        speaks.append(
            f"Data center with probability {p:.2f} at a prior of {prior:.2g}; could carry {mid:.0f} "
            f"MW of IT (p10-p90 {low:.0f}-{high:.0f}). {n:.0f} building(s) of "
            f"{m2:.0f} m2{f' and {plant:.0f} cooling object(s) of {plant_m2:.0f} m2' if known else ''}. {place}"
        )
        other = (
            f"It is some declared facility at another place with probability {p_any:.2f}; the likeliest is "
            f"{ids[pairs.decl[k]]}, {km(pairs.distance_m[k])} away (p {pairs.p_match[k]:.2f})."
            if k >= 0
            else reach
        )
        against.append(" ".join([other, *limits(p, known and plant == 0, cut)]))
    none = np.full(len(i), -1)
    return _both(i, none, s, d) | {
        "class": ["undeclared"] * len(i), "p_match": np.minimum(p_match[i], 1.0), "evidence_for": speaks,
        "evidence_against": against, "status_check": ["unknown: nothing is declared"] * len(i),
        "settles": ["A question to the declaring party; an image at 0.3 m; permits, grid connection."] * len(i),
        "alternatives": alternatives(pairs, s, d, site_entry=(i, len(s))),
    }  # fmt: skip


def not_seen(j: np.ndarray, pairs: Pairs, s: Sites, d: Declared) -> Columns:
    """Return the columns of declarations whose place was looked at and that no site is matched to, (j,)."""
    best, p_match = _best(pairs.decl, pairs, len(d))
    speaks, against = [], []
    for b in j.tolist():
        power = "no power" if np.isnan(d.it_mw[b]) else f"{d.it_mw[b]:.0f} MW of IT"
        speaks.append(
            f"Declared with {power}; {d.looked[b]:.0%} of its place was looked at ({BASIS}) and no site there fits it."
        )
        no = ["Small, indoor or underground facilities are not seen even where everything was looked at."]
        if d.status[b] in NOT_OPERATING:
            no.append(f"Declared as {d.status[b]}: nothing need stand there.")
        if (k := best[b]) >= 0:
            no.append(
                f"It is some observed site with probability {p_match[b]:.2f}; the likeliest is "
                f"{s.id[pairs.site[k]]}, {km(pairs.distance_m[k])} away (p {pairs.p_match[k]:.2f})."
            )
        against.append(" ".join(no))
    none = np.full(len(j), -1)
    return _both(none, j, s, d) | {
        "class": ["not_seen"] * len(j), "p_match": np.minimum(p_match[j], 1.0), "evidence_for": speaks,
        "evidence_against": against, "status_check": ["unknown: nothing was seen"] * len(j),
        "settles": ["Corrected coordinates; date of operation; an image newer than the declaration."] * len(j),
        "alternatives": alternatives(pairs, s, d, decl_entry=(j, len(d))),
    }  # fmt: skip


def _both(i: np.ndarray, j: np.ndarray, s: Sites, d: Declared) -> Columns:
    """Return what site and declaration say of themselves; index -1: there is none."""

    def of(values: np.ndarray, k: np.ndarray) -> np.ndarray:
        out = np.full(len(k), None if values.dtype == object else np.nan, values.dtype)
        out[k >= 0] = values[k[k >= 0]]
        return out

    site, decl = of(s.id, i), of(d.id, j)
    operator = of(d.labels["operator"].to_numpy(object), j)
    own = of(s.labels["operator"].to_numpy(object), i) if "operator" in s.labels else np.full(len(i), None, object)
    zone = of(s.labels["zone"].to_numpy(object), i) if "zone" in s.labels else np.full(len(i), None, object)
    declared_zone = of(d.zone, j)
    place = of(s.at.shape, i)
    place[i < 0] = of(d.at.shape, j)[i < 0]
    return {
        "entry_id": [entry_id(a, b) for a, b in zip(site, decl, strict=True)], "site_id": site, "declared_id": decl,
        "p_detect": of(d.looked, j), "p_data_center": of(s.p, i), "it_mw_p50": of(s.it_mw, i),
        "declared_it_mw": of(d.it_mw, j), "distance_m": np.nan,
        "owner": np.where(pd.isna(operator), own, operator), 
        "zone": np.where(pd.isna(declared_zone), zone, declared_zone),
        "geometry": place, "_site": np.where(i >= 0, i, len(s)), "_decl": np.where(j >= 0, j, len(d)),
    }  # fmt: skip


def _best(key: np.ndarray, pairs: Pairs, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the likeliest pair of each key (-1: none) and the sum of its probabilities, each (n,)."""
    order = np.argsort(pairs.p_match, kind="stable")
    best = np.full(n, -1)
    best[key[order]] = order
    return best, np.bincount(key, pairs.p_match, n)


def _with_parts(values: np.ndarray, own: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Return the sums over a match's own row and those that joined it, (match,)."""
    out = values[own].astype(float)
    np.add.at(out, more[:, 0], values[more[:, 1]])
    return out
