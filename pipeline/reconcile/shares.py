"""Shares of what is missing or wrong on either side, estimated from the two tables by expectation maximisation.

In: expected trials of each share at given shares. Out: `Shares`: data centers that the detector misses or the registry
lacks, coordinates that are plainly wrong, labels that agree. Expectation step: the marginal match probabilities of the
linkage. Maximisation step: Beta priors plus expected counts, so that a small table stays near the priors
(docs/methods.md, section 6.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta

from overwatt.pipeline.reconcile.label_likelihood import AGREE
from overwatt.pipeline.reconcile.settings import ReconcileSettings

Trials = dict[str, tuple[np.ndarray, np.ndarray]]
"""Per share (record,) the probability that a record is one of it, and (record,) its weight as a trial, each 0..1."""
LEAST, MOST = 0.01, 0.95
"""Limits of an estimated share: no table shows that nothing, or everything, is so; own choice."""
MOST_MISSING = 0.5
"""Limit of what is missing on either side: beyond it a true pair without names is taken for two strangers, and each
becomes a false question (docs/decisions/0016); own choice."""
# Beta priors: mean and weight in records. What a registry lacks is unknown beforehand: weak. 6% of EPA's rows share a
# coordinate with another address. All weights are own choices.
_UNDECLARED, _GROSS, _WHOLE, _SPLIT, _AGREE_N = (0.2, 5.0), (0.06, 30.0), (0.25, 6.0), (0.1, 10.0), 10.0
_STEPS, _STILL = 20, 0.002  # most EM steps, and the change that ends them; own choice


@dataclass(frozen=True)
class Shares:
    """Shares that the linkage uses.

    Attributes:
        p_missed: operating, imaged declarations that were not detected.
        p_undeclared: observed data centers that are not in the registry.
        gross_share: declared coordinates that are plainly wrong.
        name_agreement: true pairs whose names agree, of those whose names agree or differ.
        operator_agreement: the same of operators.
        whole_share: campuses of several sites that are declared as one.
        split_share: campuses of one site that are declared in several parts.
        interval: 80% interval (p10, p90) of each; a share that was set has no width.
    """

    p_missed: float
    p_undeclared: float
    gross_share: float
    name_agreement: float
    operator_agreement: float
    whole_share: float
    split_share: float
    interval: Mapping[str, tuple[float, float]]

    def as_dict(self) -> dict[str, float]:
        """Return `name`, `name_low` and `name_high` (p10, p90) of each share, three digits, for `--json`."""
        out: dict[str, float] = {}
        for name, (low, high) in self.interval.items():
            out |= {name: getattr(self, name), f"{name}_low": low, f"{name}_high": high}
        return {k: round(v, 3) for k, v in out.items()}


def prior(settings: ReconcileSettings) -> Shares:
    """Return the shares before any record is compared: those that were set, and the prior means of the others.

    The estimate starts from few missing records; own choice.
    """
    own = _shares(settings, {})
    return replace(
        own, p_missed=settings.p_missed or min(own.p_missed, 0.1), p_undeclared=settings.p_undeclared or 0.05
    )


def estimate(settings: ReconcileSettings, start: Shares, expected: Callable[[Shares], Trials]) -> Shares:
    """Return the shares that the tables make most probable.

    Args:
        settings: a share that is set there is kept.
        start: shares of the first step.
        expected: returns the trials that are expected at given shares.
    """
    shares = start
    for _ in range(_STEPS):
        new = _shares(settings, expected(shares))
        moved = max(abs(getattr(new, k) - getattr(shares, k)) for k in new.interval)
        shares = new
        if moved < _STILL:
            break
    return shares


def _shares(settings: ReconcileSettings, trials: Trials) -> Shares:
    priors = {
        "p_missed": (1.0 - settings.detector_recall, settings.detector_recall_n),
        "p_undeclared": _UNDECLARED, "gross_share": _GROSS,
        "name_agreement": (AGREE["name"], _AGREE_N), "operator_agreement": (AGREE["operator"], _AGREE_N),
        "whole_share": _WHOLE, "split_share": _SPLIT,
    }  # fmt: skip
    none = (np.zeros(0), np.zeros(0))
    value, interval = {}, {}
    for name, (mean, n) in priors.items():
        own = getattr(settings, name)
        most = MOST_MISSING if name in ("p_missed", "p_undeclared") else MOST
        found = (own, own, own) if own is not None else posterior(mean, n, *trials.get(name, none), most)
        value[name], interval[name] = found[0], found[1:]
    return Shares(**value, interval=interval)


def posterior(
    mean: float, n: float, p: np.ndarray, weight: np.ndarray, most: float = MOST
) -> tuple[float, float, float]:
    """Return mean, p10 and p90 of a share, from a Beta prior of that mean and weight and uncertain trials.

    Args:
        mean: prior mean.
        n: weight of the prior, in records.
        p: (record,) probability that the record is one of the share, 0..1.
        weight: (record,) weight of the record as a trial, 0..1.
        most: upper limit of the share.
    """
    trials = float(weight.sum())
    share = float(np.clip((mean * n + float(weight @ p)) / (n + trials), LEAST, most))
    # Louis (1982): trials of uncertain outcome inform less, by their variance over that of the share
    known = 1.0 - float(weight @ (p * (1.0 - p))) / max(trials * share * (1.0 - share), 1e-9)
    size = n + trials * float(np.clip(known, 0.0, 1.0))
    low, high = beta.ppf([0.1, 0.9], share * size, (1.0 - share) * size)
    return share, float(low), float(high)
