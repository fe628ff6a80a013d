"""What the next step at an entry is worth, net of its cost: a visit, a sharper image first, or neither.

In: for each entry the chance p that more than `THRESHOLD` undeclared FLOP in 90 days stand there, and the stake. Out:
the best next step and its net value. Unit: the cost of one visit is 1.

Value of information (domain 6.2): VOI = E_y[max_a U(a | y)] - max_a E[U(a)] - cost. The actions are to raise the matter
with the declaring party as an established inconsistency, or not to. Raising it rightly gains the stake g, wrongly loses
g t / (1 - t), so that it pays from p = t on; not raising it gains nothing. A step gives an outcome y with a
sensitivity and a specificity. An image is followed by a visit where that is worth it. So certain and hopeless entries
are worth no visit, those near the threshold of action most.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

THRESHOLD = 1e25
"""FLOP in 90 days from which undeclared compute matters here; below, imagery is blind (domain table 0, 7)."""
STAKE = 200.0
"""Visits that finding undeclared 1e26 FLOP is worth; less in proportion below. Own choice: change it with the
mandate."""
ACT_FROM = 0.5
"""Probability from which the matter is raised without a further step. Own choice: as bad to raise wrongly as to
miss."""
VISIT = (0.95, 0.99)
"""Sensitivity and specificity of a visit (domain 6.2)."""
IMAGE_COST = 1e-3
"""Of a 0.3 m image, in visits (domain 6.2: about a thousand times cheaper)."""
IMAGE = {
    "undeclared": (0.90, 0.90), "above_declared": (0.80, 0.80), "below_declared": (0.70, 0.80),
    "position_mismatch": (0.70, 0.70), "type_mismatch": (0.75, 0.75), "status_mismatch": (0.65, 0.65),
    "not_seen": (0.60, 0.70), "matched": (0.60, 0.60),
}  # fmt: skip
"""Sensitivity and specificity of a 0.3 m image by class. It tells data centers from warehouses nearly as detectors of
cooling towers do (TowerScout 0.92/0.81 out of domain, domain table 0, 9); it counts machines, which bounds power; of
use and operation it says little. Own choice within these bounds, until dispositions exist to fit them."""
STEPS = ("none", "image", "visit")
_Value = Callable[[np.ndarray, np.ndarray], np.ndarray]


def next_step(p: np.ndarray, stake: np.ndarray, klass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the step worth most and its value net of cost, in visits, each (n,); 'none' is worth 0.

    Args:
        p: (n,) chance of undeclared compute above the threshold.
        stake: (n,) gain of raising the matter rightly, in visits, >= 0.
        klass: (n,) class of each entry.
    """
    p = np.clip(np.asarray(p, float), 0.0, 1.0)
    now = _now(p, stake)
    image = np.array([IMAGE[c] for c in klass.tolist()]).reshape(-1, 2).T
    test = np.broadcast_to(np.array(VISIT)[:, None], image.shape)
    visit = _after(p, stake, test, _now) - 1.0

    def then(q: np.ndarray, g: np.ndarray) -> np.ndarray:
        return np.maximum(_now(q, g), _after(q, g, test, _now) - 1.0)

    look = _after(p, stake, image, then) - IMAGE_COST
    gain = np.stack([np.zeros(len(p)), look - now, visit - now])
    # rounding: a certain entry learns nothing, and no step is advised for a gain of 1e-12
    best = np.argmax(np.where(gain > 1e-9, gain, np.where(np.arange(3)[:, None] == 0, 0.0, -1.0)), axis=0)
    return np.array(STEPS, object)[best], np.maximum(gain[best, np.arange(len(p))], 0.0)


def gross(p: np.ndarray, stake: np.ndarray, sensitivity: float, specificity: float) -> np.ndarray:
    """Return the value of an outcome before its cost, (n,): never negative, 0 where p is 0 or 1."""
    test = np.stack([np.full(len(p), sensitivity), np.full(len(p), specificity)])
    return np.asarray(_after(p, stake, test, _now) - _now(p, stake))


def _now(p: np.ndarray, stake: np.ndarray) -> np.ndarray:
    """Value of the better action as things stand."""
    return np.maximum(0.0, stake * (p - (1.0 - p) * ACT_FROM / (1.0 - ACT_FROM)))


def _after(p: np.ndarray, stake: np.ndarray, test: np.ndarray, value: _Value) -> np.ndarray:
    """Expected value after an outcome of a test, (sensitivity, specificity) x (n,)."""
    sensitivity, specificity = test
    total = np.zeros(len(p))
    for given, other in ((sensitivity, 1.0 - specificity), (1.0 - sensitivity, specificity)):
        chance = p * given + (1.0 - p) * other
        posterior = np.where(chance > 0, p * given / np.where(chance > 0, chance, 1.0), 0.0)
        total += chance * value(posterior, stake)
    return total
