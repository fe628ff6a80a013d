"""The replay: every way starts alike, labels what it says, and is scored on scenes that it never saw."""

import numpy as np
import pytest

from benchmarks import active_learning as bench


@pytest.fixture(scope="module")
def buildings():
    """Thirty scenes of six buildings; one feature tells the classes apart, the score tells a little."""
    rng = np.random.default_rng(1)
    n = 180
    center = rng.random(n) < 0.3
    features = rng.normal(0, 1, (n, 4))
    features[:, 0] += 2 * center
    score = np.clip(0.4 + 0.2 * center + rng.normal(0, 0.2, n), 0, 1)
    return bench.Buildings(
        scene=np.repeat(np.arange(30), 6), center=center, score=score,
        novelty=rng.uniform(1, 3, n), area_m2=rng.uniform(500, 9000, n), xy_m=rng.uniform(0, 768, (n, 2)),
        features=features,
    )  # fmt: skip


def test_all_ways_start_alike_and_label_as_many_as_they_say(buildings, monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 3)
    curves = bench.replay(buildings, (0.0, 1.0), 0)
    assert list(curves) == list(bench.WAYS)
    assert all(curve[0] == curves["random"][0] for curve in curves.values())
    for way in ("most_useful", "diverse_only", "random"):
        assert [c["squares"] for c in curves[way]] == [bench.START + bench.BATCH * t for t in range(4)]
    as_many = [c["buildings"] for c in curves["random_as_many_buildings"]]
    assert all(a >= b["buildings"] for a, b in zip(as_many[1:], curves["most_useful"][1:], strict=True))
    assert bench.replay(buildings, (0.0, 1.0), 0) == curves
    difference = bench.summary([curves] * 3)["difference"]["most_useful - random"]["auc"]
    low, high = difference["interval"]
    assert low == high == difference["mean"], "equal replicates have no spread"


def test_labels_teach_the_regression_and_without_any_it_is_the_calibrated_score(buildings):
    model = bench.Regression(buildings, 0.3, 0.8)

    inner = (buildings.score > 0.01) & (buildings.score < 0.99)
    s = buildings.score[inner]
    assert model.p(buildings)[inner] == pytest.approx(1 / (1 + np.exp(-0.3 - 0.8 * np.log(s / (1 - s)))))
    before = bench.scores(model.p(buildings), buildings.center)
    model.fit(buildings)
    after = bench.scores(model.p(buildings), buildings.center)
    assert after["auc"] > before["auc"]
    assert after["brier"] < before["brier"]


def test_scores_of_a_perfect_and_a_useless_order():
    center = np.array([True, True, False, False])
    assert bench.scores(np.array([0.9, 0.8, 0.1, 0.2]), center)["auc"] == 1
    assert bench.scores(np.full(4, 0.4), center) == pytest.approx({"auc": 0.5, "brier": 0.26, "error": 0.5})


def test_buildings_of_a_simulated_scene_carry_truth_and_features(monkeypatch):
    detector = bench.Detector.load()
    found = bench.detected(detector, 905_000_003, 7)
    n = len(found.scene)
    assert n > 0
    assert (found.scene == 7).all()
    assert found.features.shape == (n, 112)
    assert np.isfinite(found.features).all()
    assert ((found.score >= 0) & (found.score <= 1)).all()
    assert not detector.net.blocks[bench.TAP]._forward_hooks, "nothing is left in the network"
