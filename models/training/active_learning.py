"""What to label next: squares of ground whose objects are uncertain, new to the network, and unlike one another.

In: probability, novelty, size and position of detected objects, and the squares of ground that hold them. Out: numbers
of the squares in order of use. Labelling one of several near-identical roofs teaches most of what all of them would,
so a square is worth what its objects say about all useful objects, less what the squares before it said already. This
is greedy facility location over the most useful objects (Wei, Iyer and Bilmes 2015, "Submodularity in data subset
selection and active learning"). For monotone submodular functions greedy choice reaches at least 63% of the optimum
(Nemhauser, Wolsey and Fisher 1978).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import entr

LARGE_ROOF_M2 = 3000.0
"""Objects of this size have the full weight; smaller ones less, in proportion: data centers are large roofs."""
CONSIDERED = 2000
"""Number of most useful objects that the choice is made among: their matrix of similarities takes 32 MB."""
POSITION_M = 500.0
"""Distance at which two places have little in common any more: a business park. Own choice."""


def uncertainty(p: np.ndarray) -> np.ndarray:
    """Return the entropy of probabilities, in bits: 1 at 0.5, 0 where the class is certain (Shannon 1948).

    Args:
        p: (n,) calibrated probability of the class that is asked about, 0..1.
    """
    return np.asarray((entr(p) + entr(1 - np.asarray(p, float))) / np.log(2))


def unfamiliarity(novelty: np.ndarray) -> np.ndarray:
    """Return novelty as 0..1: 0 up to twice the level of the training areas, 0.5 at four times it; 0 if unknown.

    Args:
        novelty: (n,) as of column `epistemic` of footprints: 1 as in the training areas, 0 unknown.
    """
    # own choice: new ground of a known kind reaches 2; there weighing by novelty did not help (benchmarks)
    return np.asarray(1 - 1 / np.maximum(np.asarray(novelty, float) / 2, 1.0))


def usefulness(p: np.ndarray, novelty: np.ndarray, area_m2: np.ndarray) -> np.ndarray:
    """Return how much a label of each object may teach, (n,), 0..1.

    Args:
        p: as of `uncertainty`.
        novelty: as of `unfamiliarity`.
        area_m2: (n,) area on the ground.
    """
    # own choice: useful if uncertain or unfamiliar, because a network far from home can be sure and wrong
    either = 1 - (1 - uncertainty(p)) * (1 - unfamiliarity(novelty))
    return np.asarray(either * np.minimum(1.0, np.asarray(area_m2, float) / LARGE_ROOF_M2))


def similarity(
    p: np.ndarray, novelty: np.ndarray, area_m2: np.ndarray, xy_m: np.ndarray, kind: np.ndarray
) -> np.ndarray:
    """Return the similarity of each pair of objects, (n, n), 0..1; 1 of an object with itself, 0 between kinds.

    Args:
        p: (n,) probability, 0..1.
        novelty: (n,) as of `unfamiliarity`.
        area_m2: (n,) area on the ground.
        xy_m: (n, 2) position, metres.
        kind: (n,) objects of different kinds have nothing in common.
    """
    # own choice of units: e-fold odds, the distance from one novelty to the next level, twice the area count as one
    odds = np.log(np.clip(p, 0.01, 0.99) / (1 - np.clip(p, 0.01, 0.99)))
    looks = np.column_stack([odds, novelty, np.log2(np.maximum(area_m2, 1.0))])
    square = ((looks[:, None] - looks[None]) ** 2).sum(2)
    apart = np.sqrt(((xy_m[:, None] - xy_m[None]) ** 2).sum(2)) / POSITION_M
    # distance in position saturates at 1: equal roofs of two towns remain nearly equal
    out = np.exp(-(square + 1 - np.exp(-apart)) / 2)
    return np.where(kind[:, None] == kind[None], out, 0.0)


def choose(
    useful: np.ndarray, similar: np.ndarray, squares: Sequence[np.ndarray], count: int, *, clash: np.ndarray
) -> list[int]:
    """Return the numbers of at most `count` squares, in order of use; of equals the first.

    Args:
        useful: (n,) usefulness of objects.
        similar: (n, n) their similarity.
        squares: of each square, the numbers of the objects in it; objects in one square count together.
        count: number of squares wanted.
        clash: (square, square) bool, which squares exclude each other, such as those that overlap.
    """
    says = np.array([similar[inside].max(0) if len(inside) else np.zeros(len(useful)) for inside in squares])
    known, free = np.zeros(len(useful)), np.ones(len(squares), bool)
    chosen: list[int] = []
    while len(chosen) < count and free.any():
        gain = np.where(free, np.maximum(says - known, 0) @ useful, -1.0)
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        chosen.append(best)
        known = np.maximum(known, says[best])
        free &= ~clash[best]
        free[best] = False
    return chosen
