"""Value of the next step, and the share of a list that is false."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi.errors import ConfigError
from pipeline import false_discovery, stability, worth

P = st.floats(0, 1)


@given(P, st.floats(0, 1e4), st.floats(0.5, 1), st.floats(0.5, 1))
def test_an_outcome_is_never_worth_less_than_nothing(p, stake, sensitivity, specificity):
    assert worth.gross(np.array([p]), np.array([stake]), sensitivity, specificity)[0] >= -1e-9 * max(stake, 1)


@given(st.sampled_from([0.0, 1.0]), st.floats(0, 1e4), st.sampled_from(list(worth.IMAGE)))
def test_certain_and_hopeless_entries_are_worth_no_step(p, stake, klass):
    step, value = worth.next_step(np.array([p]), np.array([stake]), np.array([klass]))
    assert step[0] == "none"
    assert value[0] == 0


def test_the_value_peaks_at_the_threshold_of_action():
    p = np.linspace(0, 1, 101)
    value = worth.gross(p, np.full(101, 100.0), *worth.VISIT)
    assert abs(p[np.argmax(value)] - worth.ACT_FROM) <= 0.02
    assert (np.diff(value[:45]) >= -1e-9).all()
    assert (np.diff(value[55:]) <= 1e-9).all()


def test_by_hand():
    """p = 0.5, stake 100, visit 0.95/0.99: 0.5 (0.95 100 - 0.01 100) - 0 = 47, less the visit's cost of 1."""
    assert worth.gross(np.array([0.5]), np.array([100.0]), 0.95, 0.99)[0] == pytest.approx(47.0)
    step, value = worth.next_step(np.array([0.5]), np.array([100.0]), np.array(["undeclared"]))
    assert value[0] >= 46.0
    assert step[0] in ("visit", "image")


def test_a_small_stake_is_worth_an_image_at_most():
    step, value = worth.next_step(np.full(1, 0.4), np.full(1, 0.5), np.array(["undeclared"]))
    assert step[0] == "image"
    assert 0 < value[0] < 0.5
    assert worth.next_step(np.full(1, 0.4), np.full(1, 1e-4), np.array(["undeclared"]))[0][0] == "none"


@pytest.mark.parametrize("controls", [20, 200, 5000])
def test_the_realised_share_of_false_ones_stays_below_the_target(controls):
    """Simulated: 500 entries of which 60% are negative, scored apart by 2.5 sd; the mean over 200 lists."""
    rng = np.random.default_rng(7)
    shares, found = [], []
    for _ in range(200):
        false = rng.random(500) < 0.6
        scores = rng.standard_normal(500) + np.where(false, 0.0, 2.5)
        q = false_discovery.from_controls(scores, rng.standard_normal(controls), 0.6)
        listed = q <= false_discovery.TARGET
        shares.append(false[listed].mean() if listed.any() else 0.0)
        found.append(listed.sum())
    assert np.mean(shares) <= false_discovery.TARGET + 2 * np.std(shares) / np.sqrt(200)
    assert np.mean(found) > (100 if controls > 100 else -1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms())
def test_q_values_keep_the_order_and_do_not_depend_on_it(scores, random):
    controls = np.linspace(0, 1, 50)
    q = false_discovery.from_controls(np.array(scores), controls, 0.5)
    order = np.argsort(-np.array(scores), kind="stable")
    assert (np.diff(q[order]) >= -1e-12).all()
    shuffled = list(range(len(scores)))
    random.shuffle(shuffled)
    assert false_discovery.from_controls(np.array(scores)[shuffled], controls, 0.5) == pytest.approx(q[shuffled])


def test_controls_that_are_none_are_refused():
    with pytest.raises(ConfigError, match="at least one"):
        false_discovery.from_controls(np.zeros(2), np.zeros(0), 0.5)
    with pytest.raises(ConfigError, match="null_share 2"):
        false_discovery.from_controls(np.zeros(2), np.zeros(3), 2.0)


def spread(means, sd=0.3, nodes=400):
    z = np.sort(np.random.default_rng(0).standard_normal(nodes))
    return np.array(means)[:, None] * np.exp(sd * z)


def test_a_clear_order_is_firm_and_twins_are_tied():
    names = np.array(list("abcd"), object)
    clear = stability.stability(np.ones(4), spread([1000, 100, 10, 1]), names)
    assert clear.tie.tolist() == [1, 2, 3, 4]
    assert clear.low.tolist() == clear.high.tolist() == [1, 2, 3, 4]
    assert clear.top10_kept == 1.0
    twins = stability.stability(np.ones(4), spread([1000, 100, 100, 1]), names)
    assert twins.tie.tolist() == [1, 2, 2, 3]
    assert twins.high[1] == 3


def test_chance_goes_by_name_not_by_place():
    values, names = spread([100, 99.9, 99.8]), np.array(["x", "y", "z"], object)
    one = stability.stability(np.ones(3), values, names)
    again = stability.stability(np.ones(3), values, names)
    assert one.low.tolist() == again.low.tolist()
    assert one.top10_kept == again.top10_kept
