"""Sentences that ledger entries of several classes share.

In: sites, declarations and candidate pairs. Out: texts for the columns of table `ledger`.
"""

from __future__ import annotations

import json

import numpy as np

from overwatt.pipeline.reconcile.linkage import Pairs
from overwatt.pipeline.reconcile.records import Declared, Sites
from overwatt.pipeline.vocabulary import NOT_OPERATING, UNKNOWN_STATUS

_MIN_P = 0.01  # less probable alternatives are not listed; own choice, readers drown in them otherwise
_MAX_LISTED = 3  # alternatives per entry and text cell; own choice


def km(metres: float) -> str:
    """Return a length as readable text: '80 m', '3.2 km'."""
    return f"{metres / 1e3:.1f} km" if metres >= 1000 else f"{metres:.0f} m"


def above_or_below(
    low: float, mid: float, high: float, declared_mw: float, complete: bool, ratio: float, limit: float
) -> str:
    """Return the sentence that compares observed with declared power (MW); `ratio` and `limit` are ln of factors."""
    return (
        f"Equipment and buildings could carry {mid:.0f} MW of IT (p10-p90 {low:.0f}-{high:.0f}), "
        f"declared are {'' if complete else 'at least '}{declared_mw:.0f} MW: a factor "
        f"{np.exp(abs(ratio)):.1f} {'above' if ratio > 0 else 'below'}, where {np.exp(limit):.1f} would be a question."
    )


def compared(distance: str, p_match: float, stated_mw: float, status: str) -> str:
    """Return what of a match was compared without a difference, and what could not be.

    Args:
        distance: between site and declared place, as text.
        p_match: probability that they are the same facility.
        stated_mw: declared IT power, MW; NaN if none is declared.
        status: of `status_checks`.
    """
    done, not_done = [f"place ({distance} apart)"], []
    if np.isnan(stated_mw):
        not_done.append("power (none is declared)")
    else:
        done.append("power")
    if status.startswith("agrees"):
        done.append("status")
    else:
        not_done.append(f"status ({status.partition(': ')[2] or status})")
    words = f"None: no difference in {' and '.join([', '.join(done[:-1]), done[-1]]) if len(done) > 1 else done[0]}."
    words += f" Not compared: {', '.join(not_done)}." if not_done else ""
    return words + (f" That they are one facility is uncertain (p_match {p_match:.2f})." if p_match < 0.5 else "")


def limits(p: float, no_plant: bool, cut: bool) -> list[str]:
    """Return the reasons why the image alone does not settle what a site is, none if there are none."""
    words = []
    if cut:
        words.append("The site lies on the border of the imagery: its size and power are lower bounds.")
    if p < 0.5:
        words.append(f"The image alone gives only {p:.2f} that this is a data center.")
    if no_plant:
        words.append("No cooling equipment was seen: a warehouse looks the same.")
    return words


def status_checks(declared: Declared, j: np.ndarray, sites: Sites, i: np.ndarray) -> list[str]:
    """Return whether the image agrees with the declared status, (pair,): agrees, differs, or unknown and why.

    A status can be compared only if both sides have a date and the image was taken in the period for which the status
    is declared. A declaration without an end date is still valid.
    """
    status, seen, since, until = declared.status[j], sites.date[i], declared.since[j], declared.until[j]
    stated = np.array([isinstance(v, str) for v in status], bool)
    undated = np.isnat(since) & np.isnat(until)
    idle = np.isin(status.astype(str), list(NOT_OPERATING))
    equipped = sites.equipped[i]
    words = np.where(idle == equipped, "differs", "agrees").astype(object)
    words[~idle & ~equipped] = "unknown: no plant was seen, which does not show that nothing runs"
    for k in np.flatnonzero(idle):
        words[k] = f"{words[k]}: image of {seen[k]}, declared as {status[k]} from {_day(since[k])} to {_day(until[k])}"
    # later lines overwrite earlier ones; comparisons with NaT are false
    words[seen > until] = "unknown: the image is newer than the span of the declaration"
    words[seen < since] = "unknown: the image is older than the declaration"
    words[undated] = "unknown: the declaration has no date"
    words[np.isnat(seen)] = "unknown: the image has no date"
    words[~stated] = "unknown: no status is declared"
    words[status == UNKNOWN_STATUS] = "unknown: the registry's word for the status is not a known one"
    return [str(w) for w in words]


def _day(day: np.datetime64) -> str:
    return "..." if np.isnat(day) else str(day)


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
    why = [f"{km(pairs.distance_m[k])} apart, stated error {km(declared.error_m[j])}"]
    if not np.isnan(declared.it_mw[j]):
        why.append(f"{sites.it_mw[i]:.0f} MW seen, {declared.it_mw[j]:.0f} MW declared")
    if pairs.label[k] > 0.5:
        why.append("names or identifiers agree")
    elif pairs.label[k] < -0.5:
        why.append("names differ")
    return {
        "id": str(sites.id[i] if is_site else declared.id[j]), "side": "site" if is_site else "declaration",
        "p": round(float(pairs.p_match[k]), 3), "distance_m": round(float(pairs.distance_m[k]), 1),
        "why": "; ".join(why),
    }  # fmt: skip
