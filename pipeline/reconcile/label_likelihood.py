"""What names, operators and identifiers say about a pair: a log-likelihood ratio of 'same facility'."""

from __future__ import annotations

import numpy as np
import pandas as pd

from overwatt.pipeline.declared.names import plain, similarities

IDENTIFIER_GAIN = 20.0
"""Log-likelihood ratio of equal identifiers: decides alone; own choice (docs/methods.md, section 6.1)."""
_AGREE = {"name": 0.7, "operator": 0.75}  # share of true pairs whose labels agree; own choice
LABEL_LIMIT = 6.0
"""Limit of the sum of name and operator terms where they agree; own choice (docs/methods.md, section 6.1)."""


def label_terms(sites: pd.DataFrame, declared: pd.DataFrame, site: np.ndarray, decl: np.ndarray) -> np.ndarray:
    """Return the log-likelihood ratio of 'same facility' from labels, (pair,) float64; 0 where labels are missing.

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
    gain = np.minimum(gain, LABEL_LIMIT)
    if "identifier" in sites:
        same = sites["identifier"].astype("string").fillna("").to_numpy(object)[site]
        theirs = declared["declared_id"].astype("string").fillna("").to_numpy(object)[decl]
        gain = gain + np.where((same != "") & (same == theirs), IDENTIFIER_GAIN, 0.0)
    return gain


def _term(ours: pd.Series, theirs: pd.Series, site: np.ndarray, decl: np.ndarray, agree: float) -> np.ndarray:
    """Return the term of one label, (pair,): ln(agree / chance) or ln((1 - agree) / (1 - chance)).

    The chance of agreement of unrelated records is the frequency of the declared label (Winkler 2000).
    """
    out = np.zeros(len(site))
    known = np.flatnonzero(ours.notna().to_numpy(bool)[site] & theirs.notna().to_numpy(bool)[decl])
    if not len(known):
        return out
    (a_code, a_text), (b_code, b_text) = _coded(ours), _coded(theirs)
    frequency = np.bincount(b_code[b_code >= 0], minlength=len(b_text)) / len(theirs)
    key = a_code[site[known]].astype(np.int64) * len(b_text) + b_code[decl[known]]
    pairs, back = np.unique(key, return_inverse=True)
    a, b = pairs // len(b_text), pairs % len(b_text)
    alike = similarities(a_text[a].tolist(), b_text[b].tolist())
    chance = np.clip(frequency[b], 1e-3, 0.9)
    # docs/methods.md, section 6.1: from 0.85 on labels agree, below 0.65 they differ, between they say nothing
    value = np.where(
        alike >= 0.85,
        np.maximum(0.0, np.log(agree / chance)),
        np.where(alike >= 0.65, 0.0, np.minimum(0.0, np.log((1 - agree) / (1 - chance)))),
    )
    out[known] = np.where(np.isnan(alike), 0.0, value)[back]
    return out


def _coded(texts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of the plain texts (-1: missing) and the texts; each distinct text is simplified once."""
    code, raw = pd.factorize(texts.to_numpy(object))
    of_raw, text = pd.factorize(np.array([plain(t) for t in raw] + [""], object))
    return np.where(code >= 0, of_raw[code], -1), np.asarray(text, object)
