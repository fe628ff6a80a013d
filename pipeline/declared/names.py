"""Log-likelihood ratios of a pair from names, operators and identifiers, for record linkage.

In: labels of observed sites (most have none) and of declarations. Out: one number per pair. Agreement counts more if
the label is rare (Fellegi and Sunter 1969; frequency-based as in Winkler 2000): 'Amazon Web Services' may be half of
a district, 'CoreSite DC1' is one building. Numbers in names must agree: IAD104 is not IAD105.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from rapidfuzz import fuzz, process

_STOP = re.compile(
    r"\b(data ?cent(?:er|re)s?|datacenters?|campus|building|bldg?|facility|llc|inc|ltd|corp|corporation|company|co|gmbh"
    r"|the|of)\b"
)
_DIGITS = re.compile(r"\d+")


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
    # names with different numbers stay below every threshold of agreement (0.65, 0.85); own choice
    numbers = {t: frozenset(_DIGITS.findall(t)) for t in {*a, *b}}
    differ = np.fromiter((numbers[x] != numbers[y] for x, y in zip(a, b, strict=True)), bool, len(a))
    empty = np.fromiter((not x or not y for x, y in zip(a, b, strict=True)), bool, len(a))
    return np.where(empty, np.nan, np.where(differ, np.minimum(best, 0.6), best))
