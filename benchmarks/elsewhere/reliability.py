"""Calibration elsewhere: probabilities of known sites' buildings and of ordinary large roofs, at the prior of an area.

In: roofs counted once, and the calibration on a card. Out: reliability with intervals over places, and how an offset
chosen on one half of the places does on the other. Roofs are weighted so that data centers are as rare as in the area
(importance weights); a roof on which nothing was detected has score 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from benchmarks.elsewhere.counted import Row
from benchmarks.elsewhere.results import HALF, ONE_IN, Table, tables
from benchmarks.elsewhere.statistics import HALVES, RESAMPLES, intervals, share, threshold_at
from overwatt.models.detector.card import Calibration
from overwatt.pipeline.sites.clustering import p_data_center

PRIORS = (0.003, 0.05)
"""Share of data centers among the large roofs of a region, and of a district known for them."""
EDGES = (0.0, 0.003, 0.03, 0.1, 0.3, 1.0)
"""Limits of the bins of probability, about equal on a logarithmic scale: at a low prior most are small."""


def elsewhere(rows: Sequence[Row], card: Calibration, resamples: int = RESAMPLES) -> dict[str, Any] | None:
    """Return reliability and offsets at each prior; None without both known sites and ordinary roofs.

    Returns:
        `data_centers`, `others`, and `priors`: for each prior what `_at_prior` gives for all places, and `halves`: on
        each half, the offset and the threshold chosen on the other half.
    """
    known, ordinary = tables(rows)
    if not known.center.any() or not len(ordinary.score):
        return None
    return {
        "data_centers": int(known.center.sum()),
        "others": len(ordinary.score),
        "priors": {f"{q:g}": _at_prior(rows, card, q, resamples) for q in PRIORS},
    }


def _at_prior(rows: Sequence[Row], card: Calibration, prior: float, resamples: int) -> dict[str, Any]:
    result = _scores(*tables(rows), card, prior, 0.0, HALF, resamples) | {"halves": {}}
    for test in HALVES:
        fit = next(h for h in HALVES if h != test)
        known, ordinary = tables(rows, fit)
        on = tables(rows, test)
        if all(t.center.any() and len(o.score) for t, o in ((known, ordinary), on)):
            offset = offset_for(known.score[known.center], ordinary.score, card, prior)
            level = threshold_at(ordinary.score, ONE_IN)
            result["halves"][test] = {
                "chosen_on": fit,
                "offset": offset,
                "threshold": level,
                **_scores(*on, card, prior, offset, level, resamples),
                "without_offset": _scores(*on, card, prior, 0.0, HALF, resamples),
            }
    return result


def offset_for(center: np.ndarray, other: np.ndarray, card: Calibration, prior: float) -> float:
    """Return the log-odds to add to all probabilities so that their weighted mean is the prior.

    This is the maximum-likelihood intercept of a logistic regression with a fixed slope.

    Args:
        center: (n,) scores of data centers.
        other: (n,) scores of other roofs.
        card: calibration that turns scores into probabilities.
        prior: share of data centers in the area.
    """
    z = [logit_of(p_data_center(s, card, prior)) for s in (center, other)]

    def excess(offset: float) -> float:
        return float(prior * expit(z[0] + offset).mean() + (1 - prior) * expit(z[1] + offset).mean() - prior)

    # the mean rises from 0 to 1 with the offset: one root
    return float(brentq(excess, -30, 30))


def logit_of(p: np.ndarray) -> np.ndarray:
    """Return log-odds; unlike `calibration.logit` also below the resolution of a score, since a prior is small."""
    return np.log(p) - np.log1p(-p)


def _scores(
    known: Table, ordinary: Table, card: Calibration, prior: float, offset: float, level: float, resamples: int
) -> dict[str, Any]:
    """Return mean probability, Brier score, reliability, and recall and false rate at a threshold of the score."""
    p_known, p_other = (
        expit(logit_of(p_data_center(t.score, card, prior)) + offset) if len(t.score) else t.score
        for t in (known, ordinary)
    )

    def measure(k: np.ndarray, o: np.ndarray) -> dict[str, float | None]:
        k = k[known.center[k]]
        p = np.concatenate([p_known[k], p_other[o]])
        center = np.concatenate([np.ones(len(k)), np.zeros(len(o))])
        if not len(k) or not len(o):
            return {}
        weight = np.where(center == 1, prior / len(k), (1 - prior) / len(o))
        out: dict[str, float | None] = {
            "mean_p": float(weight @ p),
            "brier": float(weight @ (p - center) ** 2),
            "recall_buildings": share(known.score[k], level),
            "per_large_roof": share(ordinary.score[o], level),
        }
        which = np.digitize(p, EDGES[1:-1])
        for b in range(len(EDGES) - 1):
            here = weight * (which == b)
            if here.sum() > 0:
                out[f"p {b}"] = float(here @ p / here.sum())
                out[f"share {b}"] = float(here @ center / here.sum())
        return out

    everything = np.arange(len(known.score)), np.arange(len(ordinary.score))
    found = measure(*everything)
    spread = intervals(measure, known.clusters, ordinary.clusters, resamples)
    which_known = np.digitize(p_known[known.center], EDGES[1:-1])
    which_other = np.digitize(p_other, EDGES[1:-1])
    bins = [
        {
            "from": EDGES[b],
            "to": EDGES[b + 1],
            "p": found[f"p {b}"],
            "share": found[f"share {b}"],
            "interval": spread[f"share {b}"],
            "data_centers": int((which_known == b).sum()),
            "others": int((which_other == b).sum()),
        }
        for b in range(len(EDGES) - 1)
        if f"p {b}" in found
    ]
    plain = ("mean_p", "brier", "recall_buildings", "per_large_roof")
    return {
        **{k: found[k] for k in plain},
        "brier_prior_only": prior * (1 - prior),
        "intervals": {k: spread[k] for k in plain},
        "reliability": bins,
    }
