"""Expected value of information of a site visit or of a finer image, net of cost.

In: probabilities that entries hide more than the threshold of compute. Out: the next step with the highest net value,
and that value.

The unit is one visit: its cost is 1. Two states: the entry hides more than `Stakes.flop` undeclared FLOP in 90 days,
or not. Two actions once it is settled: act (put it forward as a discrepancy), or leave it.

| | hides it | does not |
|---|---|---|
| act | + find | - wrong |
| leave | 0 | 0 |

Acting pays if p >= p* = wrong / (find + wrong). With U(p) = max(0, p find - (1 - p) wrong) and y what the
visit says,

    VOI_visit(p) = E_y[U(p | y)] - U(p)             gross: >= 0, 0 at p = 0 and p = 1, largest at p*
    visit, net   = VOI_visit(p) - 1
    image, net   = E_y[max(U(p | y), U(p | y) + VOI_visit(p | y) - 1)] - U(p) - image_cost

(Raiffa and Schlaifer 1961; docs/methods.md, section 6.2.) After an image one may still visit, or save the visit: that
is most of its worth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

_Value = Callable[[np.ndarray], np.ndarray]
STEPS = ("none", "visit", "image")
IMAGE = {
    "undeclared": (0.85, 0.80),
    "position_mismatch": (0.60, 0.80),
    "above_declared": (0.75, 0.80),
    "below_declared": (0.70, 0.75),
    "type_mismatch": (0.60, 0.75),
    "status_mismatch": (0.80, 0.75),
    "not_seen": (0.60, 0.60),
    "matched": (0.50, 0.50),
}
"""Sensitivity and specificity of one image of 0.3 m for 'hides more than the threshold', by class; own choices until
dispositions exist. It shows plant and counts cooling units (undeclared, above_declared, status_mismatch), but not whose
chips stand inside nor that they do AI, hence specificities of 0.75-0.80. It resolves a wrong
coordinate or a declared use hardly better than the first image, and it does not show what is elsewhere (not_seen)."""


class Stakes(BaseModel):
    """What finding, being wrong, a visit and an image are worth, in visits; own choices, each with its reason."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    flop: float = Field(
        # 1e25: the EU AI Act's (docs/methods.md, section 5.3)
        default=1e25, gt=0, description="threshold of undeclared compute in 90 days, FLOP",
    )  # fmt: skip
    find: float = Field(
        # one would make 20 fruitless visits for one find
        default=20.0, gt=0, description="gain of acting on an entry that hides the threshold, visits",
    )  # fmt: skip
    wrong: float = Field(
        # four finds, so that acting pays from p = 0.8 on: one in five put forward may be wrong, as the list's target
        # of 20% false discoveries allows (docs/methods.md, section 6.2)
        default=80.0, gt=0, description="loss of acting on an entry that does not hide it, visits",
    )  # fmt: skip
    sensitivity: float = Field(  # docs/methods.md, section 6.2
        default=0.95, gt=0, le=1, description="chance that a visit finds what is there"
    )
    specificity: float = Field(  # docs/methods.md, section 6.2
        default=0.99, gt=0, le=1, description="chance that a visit finds nothing where nothing is"
    )
    visit_cost: float = Field(default=1.0, gt=0, description="cost of a visit; 1 by definition of the unit")
    image_cost: float = Field(  # docs/methods.md, section 6.2
        default=1e-3, gt=0, description="cost of an image of 0.3 m, visits"
    )

    @property
    def act_from(self) -> float:
        """Smallest probability p* at which acting pays."""
        return self.wrong / (self.find + self.wrong)


DEFAULTS = Stakes()


def utility(p: np.ndarray, stakes: Stakes = DEFAULTS) -> np.ndarray:
    """Return the expected gain of the better action without further information, (n,) float64, visits."""
    return np.asarray(np.maximum(0.0, p * stakes.find - (1.0 - p) * stakes.wrong))


def visit_gross(p: np.ndarray, stakes: Stakes = DEFAULTS) -> np.ndarray:
    """Return the gross value of information of a visit, (n,) float64, visits, >= 0."""
    told = _told(p, stakes.sensitivity, stakes.specificity, lambda q: utility(q, stakes))
    return np.asarray(np.maximum(0.0, told - utility(p, stakes)))


def visit_net(p: np.ndarray, stakes: Stakes = DEFAULTS) -> np.ndarray:
    """Return the net value of a visit, (n,) float64, visits."""
    return visit_gross(p, stakes) - stakes.visit_cost


def image_net(p: np.ndarray, sensitivity: np.ndarray, specificity: np.ndarray, stakes: Stakes = DEFAULTS) -> np.ndarray:
    """Return the net value of an image, followed by a visit where that then pays, (n,) float64, visits."""

    def then(q: np.ndarray) -> np.ndarray:
        return utility(q, stakes) + np.maximum(0.0, visit_net(q, stakes))

    return _told(p, sensitivity, specificity, then) - utility(p, stakes) - stakes.image_cost


def next_step(p: np.ndarray, klass: np.ndarray, stakes: Stakes = DEFAULTS) -> tuple[np.ndarray, np.ndarray]:
    """Return the next step with the highest net value for each entry, and that value.

    Args:
        p: (n,) probability that the entry hides more than `stakes.flop`, 0..1.
        klass: (n,) names of ledger classes.
        stakes: what things are worth.

    Returns:
        step (n,) object: 'visit', 'image', or 'none' if neither is worth its cost;
        value (n,) float64, visits, 0 for 'none'.
    """
    p = np.clip(np.asarray(p, float), 0.0, 1.0)
    names, code = np.unique(np.asarray(klass, object).astype(str), return_inverse=True)
    sharp = np.array([IMAGE.get(str(c), (0.5, 0.5)) for c in names]).reshape(-1, 2)[code]
    net = np.stack([np.zeros(len(p)), visit_net(p, stakes), image_net(p, sharp[:, 0], sharp[:, 1], stakes)])
    best = np.argmax(net, axis=0) if len(p) else np.empty(0, int)
    return np.array(STEPS, object)[best], net[best, np.arange(len(p))]


def _told(p: np.ndarray, sensitivity: np.ndarray | float, specificity: np.ndarray | float, value: _Value) -> np.ndarray:
    """Expected value after a binary observation y: E_y[value(p | y)]."""
    yes = p * sensitivity + (1.0 - p) * (1.0 - specificity)
    no = 1.0 - yes
    after_yes = np.divide(p * sensitivity, yes, out=np.zeros_like(p), where=yes > 0)
    after_no = np.divide(p * (1.0 - sensitivity), no, out=np.zeros_like(p), where=no > 0)
    return yes * value(np.clip(after_yes, 0, 1)) + no * value(np.clip(after_no, 0, 1))
