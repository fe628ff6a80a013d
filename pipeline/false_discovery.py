"""How much of the list is expected to be false, entry by entry.

Two ways. With scores of known-negative controls (warehouses, cold stores, factories of the same imagery): conformal
p-values and Benjamini-Hochberg at the area's share of negatives, valid for any score as long as controls and
negatives are exchangeable. Without: the mean of the model's own null probabilities down to the entry, as right as the
model is calibrated.
"""

from __future__ import annotations

import numpy as np

from aoi.errors import ConfigError

TARGET = 0.2
"""Share of the top 100 that may be false (domain 6.2)."""


def from_controls(scores: np.ndarray, controls: np.ndarray, null_share: float) -> np.ndarray:
    """Return q-values, (n,): the least share of false ones among all entries of at least this score.

    Conformal p-value (1 + #{controls >= score}) / (1 + #controls) (Vovk et al. 2005; for outlier lists Bates et al.
    2023), then Benjamini and Hochberg 1995 with the share of nulls given. Few controls cannot give small p-values, so
    the list is then cautious.

    Args:
        scores: (n,) of the entries.
        controls: (m,) of known negatives, on the same scale.
        null_share: share of the entries that is expected to be negative, 0..1: from the prior of the area.

    Raises:
        ConfigError: no controls, scores that are no numbers, or a share outside 0..1.
    """
    scores, controls = np.asarray(scores, float), np.asarray(controls, float)
    if not len(controls) or not np.isfinite(controls).all():
        raise ConfigError("controls: at least one known negative, each with a finite score")
    if not 0 <= null_share <= 1:
        raise ConfigError(f"null_share {null_share:g}: a share between 0 and 1")
    at_least = len(controls) - np.searchsorted(np.sort(controls), scores, side="left")
    return adjusted((1.0 + at_least) / (1.0 + len(controls)), null_share)


def adjusted(p_values: np.ndarray, null_share: float = 1.0) -> np.ndarray:
    """Return Benjamini-Hochberg q-values of p-values, (n,), times the share of nulls."""
    n = len(p_values)
    order = np.argsort(-p_values, kind="stable")
    q = null_share * p_values[order] * n / np.arange(n, 0, -1)
    out = np.empty(n)
    out[order] = np.minimum(np.minimum.accumulate(q), 1.0)
    return out


def from_model(null: np.ndarray) -> np.ndarray:
    """Return the mean null probability of a list down to each entry, (n,), in the list's order."""
    return np.cumsum(null) / np.arange(1, len(null) + 1)
