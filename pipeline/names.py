"""What names, operators and identifiers say of a pair: log-likelihood ratios for the matching.

In: labels of observed sites (most have none) and of declarations. Out: one number a pair. Agreement counts
by how rare the label is (Fellegi and Sunter 1969; frequency-based as in Winkler 2000): 'Amazon Web Services'
is half of a district, 'CoreSite DC1' is one building. Numbers in names must agree: IAD104 is not IAD105.
"""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
from rapidfuzz import fuzz

IDENTIFIER_GAIN = 20.0
_STOP = re.compile(
    r"\b(data ?cent(?:er|re)s?|datacenters?|campus|building|bldg?|facility|llc|inc|ltd|corp|corporation|company|co|gmbh"
    r"|the|of)\b"
)
_AGREE = {"name": 0.7, "operator": 0.75}  # share of true pairs whose labels agree; own choice
_LIMITS = (-2.0, 6.0)


def plain(text: object) -> str:
    """Lower case, words of no meaning removed; '' for nothing."""
    if not isinstance(text, str):
        return ""
    return " ".join(_STOP.sub(" ", re.sub(r"[^\w]+", " ", text.lower())).split())


def similarity(a: str, b: str) -> float:
    """0..1; names whose numbers differ are at most 0.6 alike."""
    if not a or not b:
        return math.nan
    alike = fuzz.token_sort_ratio(a, b) / 100.0
    inside = fuzz.token_set_ratio(a, b) / 100.0 if min(len(a), len(b)) >= 4 else alike
    best = max(alike, 0.95 * inside)
    return min(best, 0.6) if set(re.findall(r"\d+", a)) != set(re.findall(r"\d+", b)) else best


def label_terms(sites: pd.DataFrame, declared: pd.DataFrame, site: np.ndarray, decl: np.ndarray) -> np.ndarray:
    """Return the log-likelihood ratio of 'the same facility' from labels, (pair,) float64; 0 where none is given.

    Args:
        sites: columns name, operator, identifier (each may be missing), row = site index.
        declared: columns name, operator, declared_id, row = declaration index.
        site: (pair,) indices.
        decl: (pair,) indices.
    """
    gain = np.zeros(len(site))
    for column, agree in _AGREE.items():
        if column not in sites or column not in declared:
            continue
        gain += _term(sites[column], declared[column], site, decl, agree)
    gain = np.clip(gain, *_LIMITS)
    if "identifier" in sites:
        same = sites["identifier"].astype("string").fillna("").to_numpy(object)[site]
        theirs = declared["declared_id"].astype("string").fillna("").to_numpy(object)[decl]
        gain = gain + np.where((same != "") & (same == theirs), IDENTIFIER_GAIN, 0.0)
    return gain


def _term(ours: pd.Series, theirs: pd.Series, site: np.ndarray, decl: np.ndarray, agree: float) -> np.ndarray:
    a_code, a_text = pd.factorize(pd.Series([plain(v) for v in ours]))
    b_plain = pd.Series([plain(v) for v in theirs])
    b_code, b_text = pd.factorize(b_plain)
    if not len(site):
        return np.zeros(0)
    share = b_plain.value_counts(normalize=True)
    key = a_code[site].astype(np.int64) * max(1, len(b_text)) + b_code[decl]
    pairs, back = np.unique(key, return_inverse=True)
    value = np.zeros(len(pairs))
    for n, k in enumerate(pairs):
        a, b = str(a_text[k // len(b_text)]), str(b_text[k % len(b_text)])
        alike = similarity(a, b)
        if math.isnan(alike):
            continue
        chance = min(0.9, max(float(share[b]), 1e-3))
        if alike >= 0.85:
            value[n] = max(0.0, math.log(agree / chance))
        elif alike >= 0.65:
            value[n] = 0.0
        else:
            value[n] = min(0.0, math.log((1 - agree) / (1 - chance)))
    return value[back]
