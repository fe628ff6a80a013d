"""Log-likelihood ratios of a pair from names, operators and identifiers, for record linkage.

In: labels of observed sites (most have none) and of declarations. Out: one number per pair. Agreement counts more if
the label is rare (Fellegi and Sunter 1969; frequency-based as in Winkler 2000): 'Amazon Web Services' may be half of
a district, 'CoreSite DC1' is one building. Numbers in names must agree: IAD104 is not IAD105.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rapidfuzz import fuzz, process

_STOP = re.compile(
    r"\b(data ?cent(?:er|re)s?|datacenters?|campus|building|bldg?|facility|llc|inc|ltd|corp|corporation|company|co|gmbh"
    r"|the|of)\b"
)
_DIGITS = re.compile(r"\d+")
_CODES = re.compile(r"\b([a-z]{2,4}) ?(\d{1,3}(?: \d{1,3})*)\b")  # letters and the numbers listed after them
# words before a number that make no site code
_NO_CODE = frozenset({"no", "po", "rd", "st", "dr", "hwy", "mw", "ste", "us", "of", "at", "in", "unit", "hall", "lot"})
# words at the start of a name that are no company; own choice
_GENERIC = frozenset({
    "project", "site", "phase", "data", "new", "proposed", "former", "future", "north", "south", "east", "west", "city",
    "county", "technology", "cloud", "digital", "server", "farm", "ai", "compute", "unnamed", "unknown", "planned",
})  # fmt: skip
_SPELLINGS = {"aws": "amazon", "vadata": "amazon", "facebook": "meta", "msft": "microsoft", "azure": "microsoft"}


def plain(text: object) -> str:
    """Return a name in lower case without punctuation and generic words; '' if it is no text."""
    if not isinstance(text, str):
        return ""
    return " ".join(_STOP.sub(" ", re.sub(r"[^\w]+", " ", text.lower())).split())


def similarity(a: str, b: str) -> float:
    """Return the similarity of two plain names, 0..1; NaN if one is empty."""
    return float(similarities([a], [b])[0])


def similarities(a: Sequence[str], b: Sequence[str]) -> np.ndarray:
    """Return the similarity of a[k] and b[k], (n,) 0..1, NaN if one is empty.

    Args:
        a: names as `plain` returns them.
        b: the same, of equal length.
    """
    if not len(a):
        return np.zeros(0)
    alike = process.cpdist(a, b, scorer=fuzz.token_sort_ratio, dtype=np.float64) / 100.0
    inside = process.cpdist(a, b, scorer=fuzz.token_set_ratio, dtype=np.float64) / 100.0
    long = np.fromiter((min(len(x), len(y)) >= 4 for x, y in zip(a, b, strict=True)), bool, len(a))
    # a name that contains the other counts 0.95, unless the shorter has under 4 letters; own choice
    best = np.maximum(alike, np.where(long, 0.95 * inside, alike))
    # thresholds of agreement are 0.65 and 0.85: names whose numbers differ stay below both, names of which only one has
    # numbers ('DataBank', 'DataBank MSP3') between them, names with a code in common above; own choices
    numbers = {t: frozenset(n.lstrip("0") for n in _DIGITS.findall(t)) for t in {*a, *b}}
    both = [(numbers[x], numbers[y]) for x, y in zip(a, b, strict=True)]
    differ = np.fromiter((bool(x and y) and not x & y for x, y in both), bool, len(a))
    one = np.fromiter((bool(x) != bool(y) for x, y in both), bool, len(a))
    part = np.fromiter((x != y for x, y in both), bool, len(a))
    coded = np.fromiter((same_code(x, y) for x, y in zip(a, b, strict=True)), bool, len(a))
    empty = np.fromiter((not x or not y for x, y in zip(a, b, strict=True)), bool, len(a))
    best = np.where(differ, np.minimum(best, 0.6), np.where(one, np.clip(best, 0.65, 0.8), best))
    best = np.where(part & ~differ & ~one, np.clip(best, 0.65, 0.8), best)
    return np.where(empty, np.nan, np.where(coded, 1.0, best))


def same_code(a: str, b: str) -> bool:
    """Whether two plain names share a company and a site code: 'aws iad104' and 'amazon data services iad 104 105'."""
    return bool(codes(a) & codes(b)) and company(a) == company(b)


@lru_cache(maxsize=100_000)
def codes(text: str) -> frozenset[str]:
    """Return the site codes of a plain name: 'iad104', 'iad105' of 'amazon iad 104 105'."""
    return frozenset(
        letters + number.lstrip("0")
        for letters, listed in _CODES.findall(text)
        if letters not in _NO_CODE
        for number in listed.split()
    )


@lru_cache(maxsize=100_000)
def company(text: object) -> str:
    """Return the first word of a name that may be a company, one spelling per company; '' without one."""
    for word in re.findall(r"[^\W\d_]{2,}", plain(text)):
        if word not in _GENERIC:
            return _SPELLINGS.get(word, word)
    return ""
