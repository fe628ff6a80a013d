"""What names, operators and identifiers say about a pair: a log-likelihood ratio of 'same facility'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from overwatt.pipeline.declared.names import company, plain, same_code, similarities

IDENTIFIER_GAIN = 20.0
"""Log-likelihood ratio of equal identifiers: decides alone; own choice (docs/methods.md, section 6.1)."""
LABEL_LIMIT = 6.0
"""Limit of the sum of name and operator terms where they agree; own choice (docs/methods.md, section 6.1)."""
AGREE = {"name": 0.8, "operator": 0.9}
"""Prior mean of the share of true pairs whose labels agree, of those that agree or differ; own choice."""
# Share of unrelated neighbours with the same label: at any distance within 5 km, more of those close by, and how close,
# km. IM3 and OpenStreetMap (docs/decisions/0016): operators build campuses. Half of the operator's close ones are taken
# for the same campus, and so for no wrong partner (own choice).
_NEIGHBOURS = {"name": (0.02, 0.28, 0.6), "operator": (0.2, 0.35, 0.4)}
_NEIGHBOUR_KM = 5.0


@dataclass
class LabelEvidence:
    """How the labels of pairs compare, one element per pair.

    Attributes:
        state: per label 1 where it agrees, -1 where it differs, 0 where it is unknown or neither.
        chance: per label the probability that it agrees for unrelated records.
        identifier: log-likelihood ratio of equal identifiers.
    """

    state: dict[str, np.ndarray]
    chance: dict[str, np.ndarray]
    identifier: np.ndarray

    def gain(self, agree: Mapping[str, float]) -> np.ndarray:
        """Return the log-likelihood ratio of the labels, (pair,), if that share of true pairs agrees.

        Agreement is limited, by the frequency of the label and by `LABEL_LIMIT`; a difference counts fully.
        """
        out = np.zeros(len(self.identifier))
        for column, state in self.state.items():
            chance, same = self.chance[column], agree[column]
            # Fellegi and Sunter (1969): ln(agree / chance), or ln((1 - agree) / (1 - chance))
            out += np.where(state > 0, np.maximum(0.0, np.log(same / chance)), 0.0)
            out += np.where(state < 0, np.minimum(0.0, np.log((1.0 - same) / (1.0 - chance))), 0.0)
        return np.minimum(out, LABEL_LIMIT) + self.identifier

    def take(self, which: np.ndarray) -> LabelEvidence:
        """Return the evidence of the pairs of a mask or index."""
        state, chance = ({k: v[which] for k, v in of.items()} for of in (self.state, self.chance))
        return LabelEvidence(state, chance, self.identifier[which])


def compare_labels(
    sites: pd.DataFrame, declared: pd.DataFrame, site: np.ndarray, decl: np.ndarray, km: np.ndarray
) -> LabelEvidence:
    """Return how the labels of the pairs compare.

    Args:
        sites: columns name, operator, identifier (each may be missing), row = site index.
        declared: columns name, operator, declared_id, row = declaration index.
        site: (pair,) indices.
        decl: (pair,) indices.
        km: (pair,) distance from the place that the declaration may have.
    """
    state, chance = {}, {}
    for column in AGREE:
        if column in sites and column in declared:
            state[column], frequency, coded = _compared(sites[column], declared[column], site, decl)
            if column == "operator":
                _by_company(sites, declared, site, decl, state, frequency)
            least, more, reach = _NEIGHBOURS[column]
            nearby = np.where(km <= _NEIGHBOUR_KM, least + more * np.exp(-((km / reach) ** 2)), 0.0)
            # a site code is one building's, also where neighbours share the rest of the name
            chance[column] = np.clip(np.where(coded, frequency, np.maximum(frequency, nearby)), 1e-3, 0.9)
    identifier = np.zeros(len(site))
    if "identifier" in sites:
        same = sites["identifier"].astype("string").fillna("").to_numpy(object)[site]
        theirs = declared["declared_id"].astype("string").fillna("").to_numpy(object)[decl]
        identifier = np.where((same != "") & (same == theirs), IDENTIFIER_GAIN, 0.0)
    return LabelEvidence(state, chance, identifier)


def label_terms(sites: pd.DataFrame, declared: pd.DataFrame, site: np.ndarray, decl: np.ndarray) -> np.ndarray:
    """Return the log-likelihood ratio of labels of records far apart, (pair,), at the prior means `AGREE`."""
    return compare_labels(sites, declared, site, decl, np.full(len(site), np.inf)).gain(AGREE)


def agreement(labels: pd.Series, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return 1 where the labels of two records of a table agree, -1 where they differ, else 0, (pair,)."""
    return _compared(labels, labels, one, other)[0]


def shared_codes(ours: pd.Series, theirs: pd.Series, site: np.ndarray, decl: np.ndarray) -> np.ndarray:
    """Return whether two names share a company and a site code, (pair,) bool."""
    if not ours.notna().any() or not theirs.notna().any():
        return np.zeros(len(site), bool)
    return _compared(ours, theirs, site, decl)[2]


def _by_company(
    sites: pd.DataFrame, declared: pd.DataFrame, site: np.ndarray, decl: np.ndarray, state: dict[str, np.ndarray],
    frequency: np.ndarray,
) -> None:  # fmt: skip
    """Let operators agree where the company is the same, in place; without an operator the name may start with it.

    A registry of permits has 'AMAZON DATA SERVICES INC - IAD-104' as a name and no operator. A name that starts with
    another word is no contradiction.
    """
    (a, _), (b, share) = _companies(sites), _companies(declared)
    both = sites["operator"].notna().to_numpy(bool)[site] & declared["operator"].notna().to_numpy(bool)[decl]
    # the company within names that agree is no second agreement
    again = ~both & (state["name"] > 0) if "name" in state else np.zeros(len(site), bool)
    same = (a[site] == b[decl]) & (a[site] != "") & ~again
    state["operator"][same], frequency[same] = 1, share[decl][same]


def _companies(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the company of each record and its share of the records, (record,)."""
    text = table["operator"]
    if "name" in table:
        text = text.where(text.notna(), table["name"])
    code, known = pd.factorize(np.array([company(t) for t in text], object))
    return np.asarray(known, object)[code], (np.bincount(code) / max(len(code), 1))[code]


def _compared(
    ours: pd.Series, theirs: pd.Series, site: np.ndarray, decl: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return state (1, -1, 0), frequency of the declared label, and whether a site code is shared, each (pair,).

    The chance of agreement of unrelated records is the frequency of the declared label (Winkler 2000).
    """
    state, frequency, coded = np.zeros(len(site), np.int8), np.zeros(len(site)), np.zeros(len(site), bool)
    known = np.flatnonzero(ours.notna().to_numpy(bool)[site] & theirs.notna().to_numpy(bool)[decl])
    if not len(known):
        return state, frequency, coded
    (a_code, a_text), (b_code, b_text) = _coded(ours), _coded(theirs)
    of_text = np.bincount(b_code[b_code >= 0], minlength=len(b_text)) / len(theirs)
    key = a_code[site[known]].astype(np.int64) * len(b_text) + b_code[decl[known]]
    pairs, back = np.unique(key, return_inverse=True)
    a, b = pairs // len(b_text), pairs % len(b_text)
    alike = similarities(a_text[a].tolist(), b_text[b].tolist())
    # docs/methods.md, section 6.1: from 0.85 on labels agree, below 0.65 they differ, between they say nothing
    value = np.where(alike >= 0.85, 1, np.where(alike < 0.65, -1, 0))  # comparisons with NaN are false
    state[known], frequency[known] = value[back], of_text[b][back]
    shared = np.fromiter((same_code(x, y) for x, y in zip(a_text[a], b_text[b], strict=True)), bool, len(a))
    coded[known] = shared[back]
    return state, frequency, coded


def _coded(texts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of the plain texts (-1: missing) and the texts; each distinct text is simplified once."""
    code, raw = pd.factorize(texts.to_numpy(object))
    of_raw, text = pd.factorize(np.array([plain(t) for t in raw] + [""], object))
    return np.where(code >= 0, of_raw[code], -1), np.asarray(text, object)
