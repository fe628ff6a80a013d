"""Inspection plan: a mixed strategy that an evader who knows it cannot exploit.

In: places that could be inspected, both ledger entries and empty cells. Out: a probability of inspection for
each, a seeded draw with exactly these probabilities, and the detection of evaders under the plan.

A fixed list of the k highest scores can be exploited by an evader who knows it. At place i an evader can host the
share v of the compute in question, and imagery would have shown it with probability m. With inspections of
sensitivity s and probability q, the expected undetected share is v (1 - m) (1 - s q). A linear program finds the q
that minimise the largest of these over all places (an inspection game with commitment: Avenhaus, von Stengel and
Zamir 2002; docs/methods.md, section 6.2), under two conditions: every stratum, empty cells included, gets a minimum
share of the effort; and a naive evader, whose place follows the scores, is found at least 0.8 times as often as with
the list. Without the second condition the worst case is better and the naive evader is found less often:
`free_optimum` is that worst case. No plan is best in both.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linprog
from scipy.sparse import coo_array, csr_array, hstack, vstack

from overwatt.aoi.errors import ConfigError

SENSITIVITY = 0.95
"""Probability that a visit finds AI compute that is present (docs/methods.md, section 6.2)."""
NAIVE = 0.8
"""Least detection of a naive evader, as a share of the list's; own choice (docs/methods.md, section 6.2)."""


@dataclass(frozen=True)
class Places:
    """Places that could be inspected, one element each.

    Attributes:
        place_id: names of the places.
        score: probability of, or expected, undeclared compute, >= 0; a naive evader chooses in proportion to it.
        value: share of the compute in question that could be hosted there, 0..1.
        seen: probability that imagery shows it, 0..1; 0 for a listed entry that is not settled yet.
        cost: of one inspection, > 0.
        stratum: name of the stratum of each place.
    """

    place_id: tuple[str, ...]
    score: np.ndarray
    value: np.ndarray
    seen: np.ndarray
    cost: np.ndarray
    stratum: tuple[str, ...]

    @classmethod
    def of(cls, candidates: pd.DataFrame) -> Places:
        """Return the rows of a table from `inspection_candidates`."""
        score, value, seen, cost = (candidates[c].to_numpy(float) for c in ("score", "value", "seen", "cost"))
        return cls(tuple(candidates["place"]), score, value, seen, cost, tuple(candidates["stratum"]))


@dataclass(frozen=True)
class Plan:
    """A mixed strategy.

    Attributes:
        q: (place,) probability of inspection.
        worst_case: 1 - the largest expected undetected share of an evader who knows q, 0..1.
        optimum: the value of `worst_case` in the linear program.
        free_optimum: the same without the condition on the naive evader.
        uniform: `worst_case` of a uniform draw.
        naive: expected detection of the naive evader; naive_top: that of the list of the highest scores.
        budget: total cost of inspections, in units of `Places.cost`.
    """

    q: np.ndarray
    worst_case: float
    optimum: float
    free_optimum: float
    uniform: float
    naive: float
    naive_top: float
    budget: float


def plan_inspections(candidates: pd.DataFrame, budget: float, *, floor: float = 0.02, seed: int = 0) -> pd.DataFrame:
    """Return the candidates with `probability` of inspection and `visit` (drawn), highest probability first.

    Args:
        candidates: as from `inspection_candidates`.
        budget: total cost of inspections.
        floor: least share of the budget for each stratum.
        seed: of the draw; publish it before the draw.

    Raises:
        ConfigError: see `plan`.
    """
    places = Places.of(candidates)
    found = plan(places, budget, floor=floor)
    return with_draw(candidates, found, draw(places, found.q, seed))


def with_draw(candidates: pd.DataFrame, found: Plan, visits: list[str]) -> pd.DataFrame:
    """Return place, stratum, probability, score, value, visit; highest probability first, ties by name."""
    table = candidates[["place", "stratum", "score", "value"]].astype({"place": "string", "stratum": "string"})
    table.insert(2, "probability", np.round(found.q, 6))
    table["visit"] = table["place"].isin(set(visits)).to_numpy(bool)
    return table.sort_values(["probability", "place"], ascending=[False, True], kind="stable")


def plan(places: Places, budget: float, *, floor: float = 0.02, naive: float = NAIVE) -> Plan:
    """Return the plan.

    Args:
        places: at least one.
        budget: total cost of inspections.
        floor: least share of the budget for each stratum (the cost of all its places, if that is less).
        naive: least detection of the naive evader, as a share of the list's; lowered if the worst case would
            otherwise be worse than with a uniform draw.

    Raises:
        ConfigError: the budget or the floor is out of range, or the floors need more than the budget.
    """
    n = len(places.place_id)
    strata = sorted(set(places.stratum))
    if n == 0:
        raise ConfigError("inspect: nothing to inspect; the ledger and the cells are empty")
    if not (math.isfinite(budget) and budget > 0):
        raise ConfigError(f"--budget {budget:g}: give a number above 0")
    if not 0 <= floor * len(strata) <= 1:
        raise ConfigError(f"--floor {floor:g}: {len(strata)} strata need {floor * len(strata):.0%} of the budget")
    cost = places.cost
    group = np.array([strata.index(s) for s in places.stratum])
    # a stratum cannot take more than the cost of visiting all its places
    least = np.minimum(floor * budget, np.bincount(group, cost, len(strata)))
    rows = csr_array(coo_array((-cost, (group, np.arange(n))), shape=(len(strata), n)))
    open_to = places.value * (1.0 - places.seen)
    uniform_q = np.full(n, min(1.0, budget / cost.sum()))
    # a naive evader chooses a place in proportion to its score
    weight = places.score / places.score.sum() if places.score.sum() > 0 else np.full(n, 1.0 / n)
    top = float(weight @ detection(places, top_list(places, budget)))
    # detection of the naive evader is linear in q: weight (seen + (1 - seen) s q)
    gain = weight * (1.0 - places.seen) * SENSITIVITY
    wanted = naive * top - float(weight @ places.seen)
    uniform = worst_case(places, uniform_q)
    free = 1.0 - _solve(places, open_to, rows, least, budget, gain, None, None)[1]
    q, past = _solve(places, open_to, rows, least, budget, gain, wanted, None)
    # the condition costs too much: take the most naive detection that leaves the worst case of a uniform draw
    if 1.0 - past < uniform:
        q, _ = _solve(places, open_to, rows, least, budget, gain, None, 1.0 - min(uniform, free) + 1e-9)
        past = float((open_to * (1.0 - SENSITIVITY * q)).max())
    found = float(weight @ detection(places, q))
    return Plan(q, worst_case(places, q), 1.0 - past, free, uniform, found, top, budget)


def detection(places: Places, q: np.ndarray) -> np.ndarray:
    """Return the probability that compute at each place is found, by imagery or by a visit, (place,) float64."""
    return np.asarray(1.0 - (1.0 - places.seen) * (1.0 - SENSITIVITY * q))


def worst_case(places: Places, q: np.ndarray) -> float:
    """Return 1 - the largest expected undetected share over all places."""
    return float(1.0 - (places.value * (1.0 - detection(places, q))).max())


def top_list(places: Places, budget: float) -> np.ndarray:
    """Return q of the list of the highest scores that the budget pays for; the last place gets what is left."""
    order = np.lexsort((np.array(places.place_id), -places.score))
    q, left = np.zeros(len(order)), budget
    for k in order:
        q[k] = min(1.0, left / places.cost[k])
        left -= q[k] * places.cost[k]
        if left <= 0:
            break
    return q


def draw(places: Places, q: np.ndarray, seed: int) -> list[str]:
    """Return the places to visit: systematic sampling in a seeded random order, inclusion probabilities exactly q.

    The number of places is sum(q), rounded up or down at random (Madow 1949).
    """
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"inspection {seed}".encode()).digest()[:8], "big"))
    order = rng.permutation(len(q))
    edges = np.concatenate([[0.0], np.cumsum(q[order])])
    # equidistant ticks with one random start over intervals of length q: each is hit with probability q
    ticks = rng.random() + np.arange(math.ceil(edges[-1]) + 1)
    hit = np.searchsorted(edges, ticks[ticks < edges[-1]], side="right") - 1
    return sorted(places.place_id[order[k]] for k in set(hit.tolist()))


def digest(places: Places) -> str:
    """Return a SHA-256 hash of all input of the plan, so that a draw can be audited."""
    text = "\n".join(
        f"{p}|{a:.9g}|{b:.9g}|{c:.9g}|{d:.9g}|{s}"
        for p, a, b, c, d, s in zip(
            places.place_id, places.score, places.value, places.seen, places.cost, places.stratum, strict=True
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _solve(
    places: Places, open_to: np.ndarray, floors: csr_array, least: np.ndarray, budget: float,
    gain: np.ndarray, wanted: float | None, most: float | None,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Minimise the largest undetected share t, with naive gain >= `wanted`; with `most`, maximise gain at t <= `most`.

    Returns:
        q (place,) and t.
    """
    n = len(open_to)
    # open (1 - s q) <= t   ->   -open s q - t <= -open
    diagonal = csr_array(coo_array((-open_to * SENSITIVITY, (np.arange(n), np.arange(n))), shape=(n, n)))
    parts = [
        hstack([diagonal, csr_array(-np.ones((n, 1)))]),
        csr_array(np.append(places.cost, 0.0)[None, :]),
        hstack([floors, csr_array((floors.shape[0], 1))]),
    ]
    right = [-open_to, np.array([budget]), -least]
    if wanted is not None:
        parts.append(csr_array(np.append(-gain, 0.0)[None, :]))
        right.append(np.array([-wanted]))
    if most is None:
        # the tiny cost term picks the cheapest of equally good plans
        c, bounds = np.append(1e-9 * places.cost / places.cost.sum(), 1.0), [(0.0, 1.0)] * (n + 1)
    else:
        c, bounds = np.append(-gain, 0.0), [(0.0, 1.0)] * n + [(0.0, most)]
    found = linprog(c, A_ub=vstack(parts).tocsr(), b_ub=np.concatenate(right), bounds=bounds, method="highs")
    if found.status != 0:
        raise ConfigError(f"inspect: no plan within the budget meets the floors ({found.message[:80]})")
    return np.clip(found.x[:n], 0.0, 1.0), float(found.x[n])
