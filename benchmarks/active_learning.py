"""Replay of active learning: labels chosen by `overwatt tiles --most-useful` against labels chosen at random.

    python -m benchmarks.active_learning --json [--scenes N] [--replicates N] [--first-seed N]

SIMULATED scenes that no training uses, at 2 m; the bundled weights detect buildings in them. What is retrained is not
the network but a logistic regression on the pooled features of a building's encoder, in two ways: `new`, which starts
from nothing, as on a kind of place whose scores say little; and `corrected`, which starts as the network's own
calibrated score. Ashburn is left out: the weights learned from it. In each replicate two thirds of the scenes are the
pool and the others the test. All ways start from the same squares and label `BATCH` more in each round. Only detected
buildings can be labelled, so the squares without a detection, which the command adds, are not in the curve. Random
choice is replayed twice: with as many squares, and with as many buildings, because squares that are worth more hold
more buildings. `diverse_only` is the same choice without uncertainty, novelty and size.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rasterio.features import rasterize
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import mannwhitneyu

from overwatt.models.detector import calibration
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.windows import in_memory
from overwatt.models.simulate import training_scene
from overwatt.models.training.active_learning import choose, similarity, usefulness
from overwatt.models.training.samples import DATA_CENTER, OTHER
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings, near_void, vectorize_tile
from overwatt.pipeline.vocabulary import BUILDING_CLASSES
from overwatt.workflows.tiles.proposals import SQUARE_M

FIRST_SEED = 923_000_000  # no training uses seeds from 900,000,000 on; 920 to 922 million chose the settings
GSD_M = 2.0
SCENE_PX = 512
TAP = 10
"""Block of the encoder whose features are pooled: of those at hand the one that learns most, on other scenes."""
START, BATCH, ROUNDS = 4, 4, 12
PRIOR_SD = 0.1
"""Standard deviation of the prior of a standardised weight; chosen on other scenes."""
LEARNERS = ("new", "corrected")
WAYS = ("most_useful", "diverse_only", "random", "random_as_many_buildings")


@dataclass(frozen=True)
class Buildings:
    """Detected buildings: all arrays (n, ...), one row per building.

    Attributes:
        scene: number of the scene.
        center: whether it is a data center.
        score, novelty, area_m2: as in the table of footprints; score of "data center".
        xy_m: (n, 2) position in its scene.
        features: (n, 112) features of the encoder at stride 16, mean over the building.
    """

    scene: np.ndarray
    center: np.ndarray
    score: np.ndarray
    novelty: np.ndarray
    area_m2: np.ndarray
    xy_m: np.ndarray
    features: np.ndarray

    def of(self, keep: np.ndarray) -> Buildings:
        """Return some of the rows."""
        return Buildings(**{name: value[keep] for name, value in self.__dict__.items()})


def detected(detector: Detector, seed: int, number: int) -> Buildings:
    """Return the buildings that are detected in one new scene; those that are mostly unknown are left out."""
    scene = training_scene(seed, SCENE_PX, GSD_M)
    valid = np.ones(scene.building.shape, bool)
    taps: list[torch.Tensor] = []
    hook = detector.net.blocks[TAP].register_forward_hook(lambda _, inputs, output: taps.append(output))
    # one window: the whole scene
    probability, seen = predict(detector, in_memory(scene.optical, valid), valid.shape, GSD_M)
    hook.remove()
    settings = DetectSettings.of(detector.card)
    part = vectorize_tile(probability, seen, (0, 0), "scene", near_void(np.pad(seen, 1))[1:-1, 1:-1], settings, GSD_M)
    table = merge_footprints([part], transform=None, crs=None, gsd_m=GSD_M, scene="scene", settings=settings)
    table = table[table["class"].isin(BUILDING_CLASSES)]
    (window,) = taps
    coarse = window[0].numpy()
    stride = SCENE_PX // coarse.shape[1]
    fine, truth = coarse.repeat(stride, 1).repeat(stride, 2), scene.building
    rows = []
    for klass, score, novelty, area, shape in zip(
        table["class"], table["score"], table["epistemic"], table["area_m2"], table.geometry, strict=True
    ):
        inside = rasterize([shape], truth.shape, dtype="uint8") > 0
        if not inside.any() or (truth[inside] > DATA_CENTER).mean() > 0.5:
            continue
        center, other = ((truth[inside] == code).sum() for code in (DATA_CENTER, OTHER))
        at = (shape.centroid.x * GSD_M, shape.centroid.y * GSD_M)
        own = score if klass == "data_center" else 1 - score
        rows.append((number, center > other, own, novelty, area, at, fine[:, inside].mean(1)))
    if not rows:
        return Buildings(*(np.zeros((0, *s)) for s in ((), (), (), (), (), (2,), (len(coarse),))))
    return Buildings(*(np.array(c) for c in zip(*rows, strict=True)))


def joined(parts: list[Buildings]) -> Buildings:
    """Return the buildings of all scenes."""
    found = [p for p in parts if len(p.scene)]
    return Buildings(**{k: np.concatenate([getattr(p, k) for p in found]) for k in found[0].__dict__})


class Regression:
    """Logistic regression on score and features; without labels, of log-odds a + b logit(score)."""

    def __init__(self, pool: Buildings, a: float, b: float) -> None:
        self.scored = b != 0
        self.mean, self.sd = pool.features.mean(0), pool.features.std(0) + 1e-6
        self.prior = np.concatenate([[a, b], np.zeros(pool.features.shape[1])])
        self.weights = self.prior
        self.penalty = np.concatenate([[1.0, 1 / 0.5**2], np.full(len(self.mean), 1 / PRIOR_SD**2)])

    def _inputs(self, b: Buildings) -> np.ndarray:
        score = calibration.logit(b.score) if self.scored else np.zeros(len(b.scene))
        return np.column_stack([np.ones(len(b.scene)), score, (b.features - self.mean) / self.sd])

    def fit(self, b: Buildings) -> None:
        """Fit to labelled buildings: maximum posterior about the network's own score."""
        x, y = self._inputs(b), b.center.astype(float)

        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            z, off = x @ w, w - self.prior
            value = (np.logaddexp(0, z) - y * z).sum() + 0.5 * (self.penalty * off**2).sum()
            return float(value), x.T @ (expit(z) - y) + self.penalty * off

        self.weights = minimize(loss, self.prior, jac=True, method="L-BFGS-B").x

    def p(self, b: Buildings) -> np.ndarray:
        """Return the probability of a data center of each building, (n,)."""
        return np.asarray(expit(self._inputs(b) @ self.weights))


def squares_of(pool: Buildings) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the buildings in the square about each building, and which squares overlap."""
    apart = np.abs(pool.xy_m[:, None] - pool.xy_m[None]).max(2)
    apart[pool.scene[:, None] != pool.scene[None]] = np.inf
    return [np.flatnonzero(row <= SQUARE_M / 2) for row in apart], apart < SQUARE_M


class Labels:
    """Which squares are labelled, and which of the buildings in a pool thereby."""

    def __init__(self, pool: Buildings, order: np.ndarray) -> None:
        self.pool, self.order = pool, order
        self.squares, self.clash = squares_of(pool)
        self.chosen: list[int] = []
        self.known = np.zeros(len(pool.scene), bool)
        self.free = np.ones(len(self.squares), bool)
        self.place = pool.xy_m + 1e5 * pool.scene[:, None]  # scenes are far from one another

    def take(self, number: int) -> None:
        """Label a square."""
        self.chosen.append(number)
        self.known[self.squares[number]] = True
        self.free[self.clash[number]] = False

    def at_random(self, squares: int, buildings: float = 0) -> None:
        """Label squares in random order until there are this many squares and buildings."""
        for number in self.order:
            if len(self.chosen) >= squares and self.known.sum() >= buildings:
                return
            if self.free[number]:
                self.take(int(number))

    def most_useful(self, p: np.ndarray, count: int, *, weighed: bool) -> None:
        """Label the squares that the command would propose, given the probability of each building.

        Args:
            p: (n,) probability of each building of the pool.
            count: number of squares.
            weighed: whether uncertain, novel and large buildings count more; else all count the same.
        """
        left, able = np.flatnonzero(~self.known), np.flatnonzero(self.free)
        at = np.full(len(self.known), -1)
        at[left] = np.arange(len(left))
        inside = [at[self.squares[s]][at[self.squares[s]] >= 0] for s in able]
        of = p[left], self.pool.novelty[left], self.pool.area_m2[left]
        similar = similarity(*of, self.place[left], np.zeros(len(left)))
        useful = usefulness(*of) if weighed else np.ones(len(left))
        for k in choose(useful, similar, inside, count, clash=self.clash[np.ix_(able, able)]):
            self.take(int(able[k]))


def replay(buildings: Buildings, prior: tuple[float, float], seed: int) -> dict[str, list[dict[str, float]]]:
    """Return the curve of each way of choosing, for one division of the scenes into pool and test.

    Args:
        buildings: of all scenes.
        prior: a, b of `Regression`; b of 0 leaves the score out.
        seed: of the division and of the random order.
    """
    rng = np.random.default_rng(seed)
    scenes = rng.permutation(np.unique(buildings.scene))
    in_test = np.isin(buildings.scene, scenes[: len(scenes) // 3])
    test, pool = buildings.of(in_test), buildings.of(~in_test)
    order = rng.permutation(len(pool.scene))
    curves: dict[str, list[dict[str, float]]] = {}
    for way in WAYS:
        model, labels, curve = Regression(pool, *prior), Labels(pool, order), []
        labels.at_random(START)
        for turn in range(ROUNDS + 1):
            if turn and way in ("most_useful", "diverse_only"):
                labels.most_useful(model.p(pool), BATCH, weighed=way == "most_useful")
            elif turn and way == "random":
                labels.at_random(START + turn * BATCH)
            elif turn:
                labels.at_random(0, curves["most_useful"][turn]["buildings"])
            model.fit(pool.of(labels.known))
            counts = {"squares": len(labels.chosen), "buildings": int(labels.known.sum())}
            curve.append({**counts, **scores(model.p(test), test.center)})
        curves[way] = curve
    return curves


def scores(p: np.ndarray, center: np.ndarray) -> dict[str, float]:
    """Return AUC, Brier score, and the share of wrong classes at probability 0.5."""
    return {
        # AUC is the Mann-Whitney U over the number of pairs (Hanley and McNeil 1982)
        "auc": float(mannwhitneyu(p[center], p[~center]).statistic / (center.sum() * (~center).sum())),
        "brier": calibration.brier(p, center),
        "error": float(((p > 0.5) != center).mean()),
    }


def summary(curves: list[dict[str, list[dict[str, float]]]]) -> dict[str, Any]:
    """Return the mean curves, and the difference of most useful and random with 95% intervals over replicates."""
    out: dict[str, Any] = {"curves": {}, "difference": {}}
    for way in WAYS:
        out["curves"][way] = [
            {k: round(float(np.mean([c[way][t][k] for c in curves])), 4) for k in curves[0][way][t]}
            for t in range(ROUNDS + 1)
        ]
    for other in WAYS[1:]:
        out["difference"][f"most_useful - {other}"] = {}
        for key in ("auc", "brier", "error"):
            # mean over the rounds after the common start: difference of the areas under the curves
            diff = np.array([
                np.mean([c["most_useful"][t][key] - c[other][t][key] for t in range(1, ROUNDS + 1)]) for c in curves
            ])  # fmt: skip
            resampled = np.random.default_rng(0).choice(diff, (2000, len(diff))).mean(1)
            low, high = np.percentile(resampled, [2.5, 97.5])
            out["difference"][f"most_useful - {other}"][key] = {
                "mean": round(float(diff.mean()), 4), "interval": [round(float(low), 4), round(float(high), 4)],
                "better_in": f"{int(((diff if key == 'auc' else -diff) > 0).sum())} of {len(diff)}",
            }  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--replicates", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    torch.set_num_threads(1)
    detector = Detector.load()
    buildings = joined([detected(detector, args.first_seed + n, n) for n in range(args.scenes)])
    card = detector.card.calibration
    result: dict[str, Any] = {
        "buildings": len(buildings.scene), "data_centers": int(buildings.center.sum()), "scenes": args.scenes,
        "replicates": args.replicates,
    }  # fmt: skip
    # one building in six is a data center, so about -1.5 on the log-odds scale without any label
    for learner, prior in zip(LEARNERS, ((-1.5, 0.0), (card.a, card.b)), strict=True):
        result[learner] = summary([replay(buildings, prior, seed) for seed in range(args.replicates)])
    print(json.dumps(result) if args.json else json.dumps(result, indent=1), file=sys.stdout)


if __name__ == "__main__":
    main()
