"""False-discovery rate of a list: from known-negative controls, or from the model's own probabilities.

In: scores of the candidates, scores of known negatives (warehouses, cold stores, factories). Out: q-values.

With controls: a candidate's conformal p-value is (1 + controls that score at least as high) / (1 + controls). It is
valid for any score, if the negatives of the area are exchangeable with the controls. The step-up procedure of Benjamini
and Hochberg (1995) on these p-values keeps the expected false share at or below the level (conformal p-values are
positively dependent, Bates et al. 2023), times the share of candidates that are negatives: 1 - prior (Storey 2002). If
the prior is too high, the list has more false entries than stated, by the ratio of the two null shares.
With few controls the result is still valid, but has little power: no p-value is below 1 / (1 + controls).

Candidates are all objects that were screened, not only those on the list: a list of sites above 0.5 contains the
highest scores, and the p-values of a selection are not uniform. Give `screened` if the scores are those of a list.

Without controls: the running mean of 1 - p down the list (Bayesian FDR, Efron 2008), valid if the probabilities are
calibrated. See docs/methods.md, section 6.2.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control

from overwatt.aoi.errors import ConfigError


def conformal_p(score: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Return conformal p-values, (n,) float64, 1 / (m + 1) .. 1; ties count against the candidate.

    Args:
        score: (n,) of the candidates; higher is more like a data center.
        controls: (m,) of known negatives, on the same scale.
    """
    above = len(controls) - np.searchsorted(np.sort(controls), score, side="left")
    return np.asarray((1.0 + above) / (1.0 + len(controls)))


def benjamini_hochberg(p: np.ndarray, null_share: float = 1.0, tests: int | None = None) -> np.ndarray:
    """Return adjusted p-values, (n,) float64, <= 1: selecting all <= a keeps the false-discovery rate <= a.

    Args:
        p: (n,) p-values.
        null_share: share of the tests whose null hypothesis is true, above 0, at most 1.
        tests: number of tests made, if `p` are the smallest of them; the others count as p = 1.
    """
    if not len(p):
        return np.empty(0)
    # Benjamini and Hochberg (1995) over all tests made; times the null share (Storey 2002)
    whole = np.concatenate([p, np.ones(max(len(p), tests or 0) - len(p))])
    return np.asarray(null_share * false_discovery_control(whole, method="bh")[: len(p)])


def running_share(null: np.ndarray) -> np.ndarray:
    """Return the mean of the null probabilities down to each place of a list, (n,) float64; `null` in list order."""
    return np.asarray(np.cumsum(null) / np.arange(1, len(null) + 1))


def false_discovery(
    p: np.ndarray, controls: np.ndarray | None = None, prior: float | None = None, screened: int | None = None
) -> np.ndarray:
    """Return the q-value of each candidate, (n,) float64: the expected false share of the list down to it.

    Args:
        p: (n,) scores of the candidates; without controls, probabilities that they are true.
        controls: (m,) scores of known negatives on the same scale; None or empty: use the model's own probabilities.
        prior: share of the screened objects that are data centers; None: 0, the most cautious.
        screened: number of objects screened, if `p` are the highest scores among them.

    Raises:
        ConfigError: a score is not finite, the prior is not a share, or fewer were screened than are listed.
    """
    score = np.asarray(p, float)
    if not np.isfinite(score).all():
        raise ConfigError("false_discovery: a score is not finite; leave out what was not scored")
    if controls is None or len(controls) == 0:
        if ((score < 0) | (score > 1)).any():
            raise ConfigError("false_discovery: without controls the scores must be probabilities, 0..1")
        ranked = np.sort(score)[::-1]
        down_to = np.searchsorted(-ranked, -score, side="right")  # ties are on the list together
        return running_share(1.0 - ranked)[down_to - 1] if len(score) else np.empty(0)
    known = np.asarray(controls, float)
    if not np.isfinite(known).all():
        raise ConfigError("false_discovery: a control score is not finite; leave out what was not scored")
    if prior is not None and not 0 <= prior < 1:
        raise ConfigError(f"prior {prior:g}: a share from 0 up to 1 (3 in 1,000 is 0.003)")
    if screened is not None and screened < len(score):
        raise ConfigError(f"screened {screened}: fewer than the {len(score)} candidates given")
    return benjamini_hochberg(conformal_p(score, known), 1.0 - (prior or 0.0), screened)
