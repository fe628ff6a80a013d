"""Sentences that ledger entries of several classes share.

In: sites, declarations and candidate pairs. Out: texts for the columns of table `ledger`.
"""

from __future__ import annotations

import json

import numpy as np

from overwatt.pipeline.reconcile.linkage import Pairs
from overwatt.pipeline.reconcile.records import Declared, Sites
from overwatt.pipeline.vocabulary import NOT_BUILT, NOT_OPERATING, UNKNOWN_STATUS

_MIN_P = 0.01  # less probable alternatives are not listed; own choice, readers drown in them otherwise
_MAX_LISTED = 3  # alternatives per entry and text cell; own choice


def km(metres: float) -> str:
    """Return a length as readable text: '80 m', '3.2 km'."""
    return f"{metres / 1e3:.1f} km" if metres >= 1000 else f"{metres:.0f} m"


def mw(value: float) -> str:
    """Return megawatts as text without a unit: '1,234', '12', '0.4'."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def chance(p: float) -> str:
    """Return a probability as text: '0.42'; 'less than 0.01' and 'more than 0.99' at the ends."""
    return "less than 0.01" if p < 0.005 else "more than 0.99" if p > 0.995 else f"{p:.2f}"


def number(n: float, noun: str) -> str:
    """Return a number of things: '1 building', '1,234 buildings'."""
    return f"{n:,.0f} {noun}{'' if round(n) == 1 else 's'}"


def power(low: float, mid: float, high: float) -> str:
    """Return the power that a site could carry (MW of IT; NaN: not known) as a part of a sentence."""
    if np.isnan(mid):
        return "its power is not known"
    return f"could carry {mw(mid)} MW of IT (p10-p90 {mw(low)}-{mw(high)})"


def plant(buildings: float, building_m2: float, cooling: float, cooling_m2: float, known: bool) -> str:
    """Return what was seen of a site; `known`: whether cooling equipment is stated at all."""
    text = number(buildings, "data-center building") + (f" of {building_m2:,.0f} m2" if building_m2 > 0 else "")
    if not known:
        return f"{text}, cooling equipment not stated"
    return f"{text} and {number(cooling, 'cooling object')}" + (f" of {cooling_m2:,.0f} m2" if cooling_m2 > 0 else "")


def declared_power(low: float, mid: float, high: float) -> str:
    """Return declared IT power (MW) as text; `low` and `high` are the ends of its range: 0 and infinite where open."""
    if low == high or low >= mid >= high:
        return f"{mw(mid)} MW"
    if low <= 0:
        return f"up to {mw(high)} MW"
    return f"{mw(low)} MW or more" if np.isinf(high) else f"{mw(low)}-{mw(high)} MW"


def above_or_below(
    observed: tuple[float, float, float], stated: tuple[float, float, float], *, complete: bool, unseen: bool,
    asked: bool, ratio: float, limit: float,
) -> str:  # fmt: skip
    """Return the sentence that compares observed with declared power.

    Args:
        observed: p10, median and p90, MW of IT; NaN if not known.
        stated: lower end, middle and upper end of what is declared, MW.
        complete: all declarations of the match state their power.
        unseen: the power of some sites of the match is not known, so that the observed power is a lower bound.
        asked: whether the difference is a question.
        ratio: ln of observed over declared, from the nearer end of the range.
        limit: ln of the largest factor that the errors of both explain.
    """
    declared = f"{'' if complete else 'at least '}{declared_power(*stated)} of IT are declared"
    if np.isnan(observed[1]):
        return f"The power of the site is not known, so it was not compared; {declared}."
    text = f"The site {power(*observed)}{', its known parts alone' if unseen else ''}; {declared}."
    factor, most = np.exp(abs(ratio)), np.exp(limit)
    if asked:
        return f"{text} It is {factor:.1f} times {'more' if ratio > 0 else 'less'}; errors explain {most:.1f} times."
    if stated[0] <= observed[1] <= stated[2] or factor < most:
        return f"{text} They agree within the errors of both (a factor {most:.1f})."
    return f"{text} The difference is no question: one side is incomplete or need not be seen."


def compared(distance: str, p_match: float, stated_mw: float, seen_mw: float, status: str) -> str:
    """Return what of a match was compared without a difference, and what could not be.

    Args:
        distance: between site and declared place, as text.
        p_match: probability that they are the same facility.
        stated_mw: declared IT power, MW; NaN if none is declared.
        seen_mw: observed IT power, MW; NaN if it is not known.
        status: of `status_checks`.
    """
    done, not_done = [f"place ({distance} apart)"], []
    if np.isnan(stated_mw):
        not_done.append("power (none is declared)")
    elif np.isnan(seen_mw):
        not_done.append("power (that of the site is not known)")
    else:
        done.append("power")
    if status.startswith("agrees"):
        done.append("status")
    else:
        not_done.append(f"status ({status.partition(': ')[2] or status})")
    words = f"None: no difference in {' and '.join([', '.join(done[:-1]), done[-1]]) if len(done) > 1 else done[0]}."
    words += f" Not compared: {', '.join(not_done)}." if not_done else ""
    return words + (f" That they are one facility is uncertain (p_match {chance(p_match)})." if p_match < 0.5 else "")


def limits(p: float, no_plant: bool, cut: bool) -> list[str]:
    """Return the reasons why the image alone does not settle what a site is, none if there are none."""
    words = []
    if cut:
        words.append("The site lies on the border of the imagery: its size and power are lower bounds.")
    if p < 0.5:
        words.append(f"The probability that this is a data center is {chance(p)} from the image alone.")
    if no_plant:
        words.append("No cooling equipment was seen: a warehouse looks the same.")
    return words


def status_checks(declared: Declared, j: np.ndarray, sites: Sites, i: np.ndarray) -> list[str]:
    """Return whether the image agrees with the declared status, (pair,): agrees, differs, or unknown and why.

    A status can be compared if both sides have a date and the image was taken in the period for which the status is
    declared; a declaration without an end date is still valid. Without dates one thing can be said: what is planned or
    cancelled has no cooling plant, whenever the image was taken.
    """
    status, seen, since, until = declared.status[j], sites.date[i], declared.since[j], declared.until[j]
    stated = np.array([isinstance(v, str) for v in status], bool)
    undated = np.isnat(since) & np.isnat(until)
    idle = np.isin(status.astype(str), list(NOT_OPERATING))
    equipped = sites.equipped[i]
    words = np.where(idle == equipped, "differs", "agrees").astype(object)
    words[~idle & ~equipped] = "unknown: no plant was seen, which does not show that nothing runs"
    for k in np.flatnonzero(idle):
        words[k] = f"{words[k]}: the image is of {seen[k]}, the declaration holds {_period(since[k], until[k])}"
    # later lines overwrite earlier ones; comparisons with NaT are false
    words[seen > until] = "unknown: the image is newer than the span of the declaration"
    words[seen < since] = "unknown: the image is older than the declaration"
    undated_text = np.where(
        np.isnat(seen), np.where(undated, "neither image nor declaration has a date", "the image has no date"),
        "the declaration has no date",
    )  # fmt: skip
    for k in np.flatnonzero(undated | np.isnat(seen)):
        words[k] = f"unknown: {undated_text[k]}"
    plant_seen = sites.plant_known[i] & (sites.cooling[i] >= 1) & (sites.buildings[i] >= 1)
    for k in np.flatnonzero((undated | np.isnat(seen)) & plant_seen & np.isin(status.astype(str), list(NOT_BUILT))):
        words[k] = f"differs: {undated_text[k]}, but what is {status[k]} has no cooling plant at any time"
    words[~stated] = "unknown: no status is declared"
    words[status == UNKNOWN_STATUS] = "unknown: the registry's word for the status is not a known one"
    return [str(w) for w in words]


def _period(first: np.datetime64, last: np.datetime64) -> str:
    if np.isnat(first):
        return f"until {last}"
    return f"from {first} on" if np.isnat(last) else f"from {first} to {last}"


def alternatives(
    pairs: Pairs, sites: Sites, declared: Declared, *, site_entry: tuple[np.ndarray, int] | None = None,
    decl_entry: tuple[np.ndarray, int] | None = None, own: np.ndarray | None = None,
) -> list[str | None]:  # fmt: skip
    """Return the most probable other partners of each entry as JSON, (entry,); None if none has 1% or more.

    Args:
        pairs: candidate pairs with marginal probabilities.
        sites: observed sites.
        declared: declarations.
        site_entry: site of each entry, and number of sites; lists other declarations for that site.
        decl_entry: declaration of each entry, and number of declarations; lists other sites for that declaration.
        own: pairs that the entries are made of; they are not alternatives.
    """
    usable = pairs.p_match >= _MIN_P
    if own is not None:
        usable[own] = False
    near = np.flatnonzero(usable)
    entries, which, names = [], [], []
    for given, key, is_site in ((site_entry, pairs.site, False), (decl_entry, pairs.decl, True)):
        if given is not None:
            entry_of = np.full(given[1], -1)
            entry_of[given[0]] = np.arange(len(given[0]))
            here = near[entry_of[key[near]] >= 0]
            entries.append(entry_of[key[here]])
            which.append(here)
            names.append(np.full(len(here), is_site))
    n = len((site_entry or decl_entry or (np.zeros(0), 0))[0])
    out: list[str | None] = [None] * n
    entry, pair, side = np.concatenate(entries), np.concatenate(which), np.concatenate(names)
    order = np.lexsort((pair, -pairs.p_match[pair], entry))
    found: dict[int, list[dict[str, object]]] = {}
    for entry_row, k, is_site in zip(entry[order].tolist(), pair[order].tolist(), side[order].tolist(), strict=True):
        have = found.setdefault(entry_row, [])
        if len(have) < _MAX_LISTED:
            have.append(_alternative(int(k), is_site, pairs, sites, declared))
    for entry_row, rows in found.items():
        out[entry_row] = json.dumps(rows, ensure_ascii=False)
    return out


def _alternative(k: int, is_site: bool, pairs: Pairs, sites: Sites, declared: Declared) -> dict[str, object]:
    i, j = int(pairs.site[k]), int(pairs.decl[k])
    why = [f"{km(pairs.distance_m[k])} apart, position error {km(declared.error_m[j])}"]
    if not np.isnan(declared.it_mw[j]):
        seen = "power not known" if np.isnan(sites.it_mw[i]) else f"{mw(sites.it_mw[i])} MW seen"
        why.append(f"{seen}, {mw(declared.it_mw[j])} MW declared")
    if pairs.label[k] > 0.5:
        why.append("names or identifiers agree")
    elif pairs.label[k] < -0.5:
        why.append("names differ")
    return {
        "id": str(sites.id[i] if is_site else declared.id[j]), "side": "site" if is_site else "declaration",
        "p": round(float(pairs.p_match[k]), 3), "distance_m": round(float(pairs.distance_m[k]), 1),
        "why": "; ".join(why),
    }  # fmt: skip
