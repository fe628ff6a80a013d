"""Words of the ledger's entries that are more than one class's own."""

from __future__ import annotations

import json

import numpy as np

from overwatt.pipeline.reconcile.linkage import Pairs
from overwatt.pipeline.reconcile.records import Declared, Sites
from overwatt.pipeline.vocabulary import NOT_OPERATING

_LEAST_P = 0.01  # fainter alternatives are not named
_NAMED = 3


def km(metres: float) -> str:
    """Return a length for people: '80 m', '3.2 km'."""
    return f"{metres / 1e3:.1f} km" if metres >= 1000 else f"{metres:.0f} m"


def above_or_below(
    low: float, mid: float, high: float, declared_mw: float, complete: bool, ratio: float, limit: float
) -> str:
    """Return the sentence on observed and declared power; `ratio` and `limit` in ln."""
    return (
        f"Equipment and buildings could carry {mid:.0f} MW of IT (p10-p90 {low:.0f}-{high:.0f}), "
        f"declared are {'' if complete else 'at least '}{declared_mw:.0f} MW: a factor "
        f"{np.exp(abs(ratio)):.1f} {'above' if ratio > 0 else 'below'}, where {np.exp(limit):.1f} would be a question."
    )


def limits(p: float, no_plant: bool, cut: bool) -> list[str]:
    """Return what the image alone leaves open about a site."""
    words = []
    if cut:
        words.append("The site lies on the border of the imagery: its size and power are lower bounds.")
    if p < 0.5:
        words.append(f"The image alone gives only {p:.2f} that this is a data center.")
    if no_plant:
        words.append("No cooling equipment was seen: a warehouse looks the same.")
    return words


def status_checks(d: Declared, j: np.ndarray, s: Sites, i: np.ndarray) -> list[str]:
    """Return what the image says of the declared status, (pair,): agrees, differs, or unknown and why.

    A status can only be compared where both sides have a date and the image lies in the span in which the status
    is declared to hold; a declaration without an end holds on.
    """
    status, seen, since, until = d.status[j], s.date[i], d.since[j], d.until[j]
    stated = np.array([isinstance(v, str) for v in status], bool)
    undated = np.isnat(since) & np.isnat(until)
    idle = np.isin(status.astype(str), list(NOT_OPERATING))
    equipped = s.equipped[i]
    words = np.where(idle == equipped, "differs", "agrees").astype(object)
    words[~idle & ~equipped] = "unknown: no plant was seen, which does not show that nothing runs"
    for k in np.flatnonzero(idle):
        words[k] = f"{words[k]}: image of {seen[k]}, declared as {status[k]} from {_day(since[k])} to {_day(until[k])}"
    words[seen > until] = "unknown: the image is newer than the span of the declaration"
    words[seen < since] = "unknown: the image is older than the declaration"
    words[undated] = "unknown: the declaration has no date"
    words[np.isnat(seen)] = "unknown: the image has no date"
    words[~stated] = "unknown: no status is declared"
    return [str(w) for w in words]


def _day(day: np.datetime64) -> str:
    return "..." if np.isnat(day) else str(day)


def alternatives(
    pairs: Pairs, s: Sites, d: Declared, *, site_entry: tuple[np.ndarray, int] | None = None,
    decl_entry: tuple[np.ndarray, int] | None = None, own: np.ndarray | None = None,
) -> list[str | None]:  # fmt: skip
    """Return each entry's likeliest other partners as JSON, (entry,); None where there is none above 1%.

    Args:
        pairs: with marginals.
        s: sites.
        d: declarations.
        site_entry: site of each entry, and number of sites: its declarations are named.
        decl_entry: declaration of each entry, and number of declarations: its sites are named.
        own: the entries' own pairs, which are no alternatives.
    """
    usable = pairs.p_match >= _LEAST_P
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
    for e, k, is_site in zip(entry[order].tolist(), pair[order].tolist(), side[order].tolist(), strict=True):
        have = found.setdefault(e, [])
        if len(have) < _NAMED:
            have.append(_alternative(int(k), is_site, pairs, s, d))
    for e, rows in found.items():
        out[e] = json.dumps(rows, ensure_ascii=False)
    return out


def _alternative(k: int, is_site: bool, pairs: Pairs, s: Sites, d: Declared) -> dict[str, object]:
    i, j = int(pairs.site[k]), int(pairs.decl[k])
    why = [f"{km(pairs.distance_m[k])} apart, stated error {km(d.error_m[j])}"]
    if not np.isnan(d.it_mw[j]):
        why.append(f"{s.it_mw[i]:.0f} MW seen, {d.it_mw[j]:.0f} MW declared")
    if pairs.label[k] > 0.5:
        why.append("names or identifiers agree")
    elif pairs.label[k] < -0.5:
        why.append("names differ")
    return {
        "id": str(s.id[i] if is_site else d.id[j]), "side": "site" if is_site else "declaration",
        "p": round(float(pairs.p_match[k]), 3), "distance_m": round(float(pairs.distance_m[k]), 1),
        "why": "; ".join(why),
    }  # fmt: skip
