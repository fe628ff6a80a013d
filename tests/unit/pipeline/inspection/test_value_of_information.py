"""Value of the next step, and the share of a list that is false."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.inspection import value_of_information
from overwatt.pipeline.inspection.false_discovery import benjamini_hochberg, conformal_p, false_discovery


@given(st.floats(0, 1), st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.floats(0.5, 1), st.floats(0.5, 1))
def test_what_a_visit_tells_is_never_worth_less_than_nothing(p, find, wrong, sensitivity, specificity):
    stakes = value_of_information.Stakes(find=find, wrong=wrong, sensitivity=sensitivity, specificity=specificity)
    assert value_of_information.visit_gross(np.array([p]), stakes)[0] >= 0


@given(st.sampled_from([0.0, 1.0]), st.sampled_from(list(value_of_information.IMAGE)))
def test_certain_and_hopeless_entries_are_worth_no_step(p, klass):
    step, value = value_of_information.next_step(np.array([p]), np.array([klass]))
    assert step[0] == "none"
    assert value[0] == 0


def test_the_value_peaks_at_the_threshold_of_action():
    p = np.linspace(0, 1, 1001)
    value = value_of_information.visit_gross(p)
    at = p[np.argmax(value)]
    assert at == pytest.approx(value_of_information.DEFAULTS.act_from, abs=0.002)
    assert (np.diff(value[p < at - 0.01]) >= -1e-9).all()
    assert (np.diff(value[p > at + 0.01]) <= 1e-9).all()


def test_by_hand():
    """p = 0.8: acting now gains 0; after a visit 0.8 0.95 20 - 0.2 0.01 80 = 15.04."""
    assert value_of_information.visit_gross(np.array([0.8]))[0] == pytest.approx(15.04)
    assert value_of_information.visit_net(np.array([0.8]))[0] == pytest.approx(14.04)


def test_a_useless_image_is_never_the_step():
    p = np.linspace(0, 1, 101)
    step, _ = value_of_information.next_step(p, np.full(101, "matched", object))
    assert "image" not in step
    sharp, _ = value_of_information.next_step(p, np.full(101, "undeclared", object))
    assert {"none", "visit", "image"} == set(sharp)


@given(st.floats(0, 1), st.sampled_from(list(value_of_information.IMAGE)))
def test_the_step_is_worth_at_least_a_visit_and_nothing(p, klass):
    _, value = value_of_information.next_step(np.array([p]), np.array([klass]))
    assert value[0] >= max(0.0, value_of_information.visit_net(np.array([p]))[0]) - 1e-12


@pytest.mark.parametrize("more", [{"find": 0.0}, {"sensitivity": 1.2}, {"image_cost": float("nan")}])
def test_stakes_that_are_none_are_refused(more):
    with pytest.raises(ValidationError):
        value_of_information.Stakes(**more)


@pytest.mark.parametrize("controls", [20, 200, 5000])
def test_the_realised_share_of_false_ones_stays_below_the_target(controls):
    """Simulated: 500 screened of which 60% are negative, scored 2.5 sd apart; the mean over 200 lists."""
    rng = np.random.default_rng(7)
    shares, found = [], []
    for _ in range(200):
        false = rng.random(500) < 0.6
        scores = rng.standard_normal(500) + np.where(false, 0.0, 2.5)
        listed = false_discovery(scores, rng.standard_normal(controls), prior=0.4) <= 0.2
        shares.append(false[listed].mean() if listed.any() else 0.0)
        found.append(listed.sum())
    assert np.mean(shares) <= 0.2 + 2 * np.std(shares) / np.sqrt(200)
    assert np.mean(found) > (100 if controls > 100 else -1)


def test_a_list_of_the_best_needs_the_number_screened():
    """Simulated: of 2000 screened the best 300 are listed; taken as all there is, too many pass."""
    rng = np.random.default_rng(3)
    false = rng.random(2000) < 0.9
    scores = rng.standard_normal(2000) + np.where(false, 0.0, 2.5)
    best = np.argsort(-scores)[:300]
    controls = rng.standard_normal(5000)
    honest, naive = (false_discovery(scores[best], controls, 0.1, n) <= 0.2 for n in (2000, None))
    assert false[best][honest].mean() <= 0.25
    assert naive.sum() > honest.sum()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.randoms())
def test_q_values_keep_the_order_and_do_not_depend_on_it(scores, random):
    controls = np.linspace(0, 1, 50)
    q = false_discovery(np.array(scores), controls, 0.5)
    order = np.argsort(-np.array(scores), kind="stable")
    assert (np.diff(q[order]) >= -1e-12).all()
    shuffled = list(range(len(scores)))
    random.shuffle(shuffled)
    assert false_discovery(np.array(scores)[shuffled], controls, 0.5) == pytest.approx(q[shuffled])


def test_without_controls_the_models_own_word_is_taken():
    assert false_discovery(np.array([0.6, 0.99])).tolist() == pytest.approx([(0.01 + 0.4) / 2, 0.01])


def test_ties_count_against_the_candidate_and_no_p_value_is_zero():
    assert conformal_p(np.array([2.0, 1.0, 0.0]), np.array([1.0, 0.5])).tolist() == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert benjamini_hochberg(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.04, 0.04])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (([np.nan], None, None, None), "not finite"), (([2.0], None, None, None), "probabilities"),
        (([0.5], [np.inf], None, None), "control score"), (([0.5], [0.1], 1.5, None), "prior 1.5"),
        (([0.5, 0.6], [0.1], 0.5, 1), "screened 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(given, why):
    scores, controls, prior, screened = given
    known = None if controls is None else np.array(controls)
    with pytest.raises(ConfigError, match=why):
        false_discovery(np.array(scores), known, prior, screened)
