"""Shares of what is missing on either side, estimated from the two tables by expectation maximisation.

In: candidate pairs, sites, declarations. Out: `Shares`: data centers the detector misses, data centers the registry
lacks, declared coordinates that are plainly wrong. Expectation step: the marginal match probabilities. Maximisation
step: Beta priors plus expected counts, so that a small table stays near the priors (docs/methods.md, section 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import beta

from overwatt.pipeline.reconcile.settings import ReconcileSettings

Trials = dict[str, tuple[np.ndarray, np.ndarray]]
LEAST, MOST = 0.01, 0.95
"""Limits of an estimated share: no table shows that nothing, or everything, is missing; own choice."""
# Beta priors, mean and weight in records. A registry's gaps are unknown beforehand: weak. 6% of EPA's rows share a
# coordinate with another address (docs/methods.md, section 6.1).
_UNDECLARED, _GROSS = (0.2, 5.0), (0.06, 30.0)
_STEPS, _STILL = 20, 0.002  # most EM steps, and the change that ends them; own choice


@dataclass(frozen=True)
class Shares:
    """Shares used by the linkage, each with its 80% interval (p10, p90); a share that was set has no width.

    Attributes:
        p_missed: operating, imaged declarations that were not detected.
        p_undeclared: observed data centers that are not in the registry.
        gross_share: declared coordinates that are plainly wrong.
    """

    p_missed: float
    p_missed_low: float
    p_missed_high: float
    p_undeclared: float
    p_undeclared_low: float
    p_undeclared_high: float
    gross_share: float
    gross_share_low: float
    gross_share_high: float

    def as_dict(self) -> dict[str, float]:
        """Return the shares by name, rounded to three digits, for `--json`."""
        return {k: round(v, 3) for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Posterior:
    """Beta posterior of one share from expected counts.

    Attributes:
        mean: of the posterior, within `LEAST` and `MOST`.
        low: p10.
        high: p90.
    """

    mean: float
    low: float
    high: float


def prior(settings: ReconcileSettings) -> Shares:
    """Return the shares before any record is compared: those that were set, and the prior means of the others."""
    empty = np.zeros(0)
    return _shares(settings, dict.fromkeys(_priors(settings), (empty, empty)))


def estimate(settings: ReconcileSettings, start: Shares, expected: Callable[[Shares], Trials]) -> Shares:
    """Return the shares that the tables make most probable.

    Args:
        settings: a share that is set there is kept.
        start: shares of the first step.
        expected: from shares to the expectation of each share's trials: (record,) probability that the record is one
            of the share, and (record,) weight of the record as a trial.
    """
    shares = start
    for _ in range(_STEPS):
        new = _shares(settings, expected(shares))
        moved = max(abs(getattr(new, k) - getattr(shares, k)) for k in _priors(settings))
        shares = new
        if moved < _STILL:
            break
    return shares


def _priors(settings: ReconcileSettings) -> dict[str, tuple[float, float]]:
    return {
        "p_missed": (1.0 - settings.detector_recall, settings.detector_recall_n),
        "p_undeclared": _UNDECLARED, "gross_share": _GROSS,
    }  # fmt: skip


def _shares(settings: ReconcileSettings, trials: Trials) -> Shares:
    out: dict[str, float] = {}
    for name, (mean, n) in _priors(settings).items():
        own = getattr(settings, name)
        found = Posterior(own, own, own) if own is not None else posterior(mean, n, *trials[name])
        out |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
    return Shares(**out)


def posterior(mean: float, n: float, p: np.ndarray, weight: np.ndarray) -> Posterior:
    """Return the posterior of a share, from a Beta prior of that mean and weight and uncertain trials.

    Args:
        mean: prior mean.
        n: weight of the prior, in records.
        p: (record,) probability that the record is one of the share, 0..1.
        weight: (record,) weight of the record as a trial, 0..1.
    """
    trials = float(weight.sum())
    share = float(np.clip((mean * n + float(weight @ p)) / (n + trials), LEAST, MOST))
    # Louis (1982): uncertain trials carry less information, by the variance of what is not known of them
    known = 1.0 - float(weight @ (p * (1.0 - p))) / max(trials * share * (1.0 - share), 1e-9)
    size = n + trials * float(np.clip(known, 0.0, 1.0))
    low, high = beta.ppf([0.1, 0.9], max(share * size, 1e-3), max((1.0 - share) * size, 1e-3))
    return Posterior(share, float(low), float(high))
