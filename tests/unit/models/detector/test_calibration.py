"""Calibration: the fit, the scores of probabilities, and the change of prevalence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.models.detector.calibration import brier, fit, interval, logit, offset_for, reliability, shifted
from overwatt.pipeline.sites.clustering import p_data_center


def drawn(rng, n, prevalence, a=0.4, b=0.7):
    """Objects whose scores are over-confident: the true log-odds are a + b logit(score) at prevalence 0.5."""
    center = rng.random(n) < prevalence
    spread = 2.0
    # equal-variance normal log-odds: the log-likelihood ratio is linear in the score's logit
    ratio = rng.normal(np.where(center, 1, -1) * spread**2 / 2, spread)
    score = 1 / (1 + np.exp(-(ratio - a) / b))
    return np.clip(score, 1 / 512, 511 / 512), center


def test_the_fit_finds_the_coefficients_and_the_prevalence():
    score, center = drawn(np.random.default_rng(0), 20_000, 0.5)
    c = fit(score, center)
    assert c.a == pytest.approx(0.4, abs=0.1)
    assert c.b == pytest.approx(0.7, abs=0.05)
    assert c.prevalence == pytest.approx(0.5, abs=0.02)
    assert c.objects == 20_000


def test_one_class_alone_leaves_the_identity():
    c = fit(np.array([0.2, 0.9]), np.array([True, True]))
    assert (c.a, c.b, c.objects) == (0, 1, 2)


@pytest.mark.parametrize("prevalence", [0.5, 0.05, 0.003])
def test_probabilities_are_right_at_other_prevalences(prevalence):
    """Fitted at 0.5, re-weighted to the prior: as many data centers as the probabilities say, by simulation."""
    rng = np.random.default_rng(1)
    c = fit(*drawn(rng, 20_000, 0.5))
    score, center = drawn(rng, 400_000, prevalence)
    p = p_data_center(score, c, prevalence)
    assert p.mean() == pytest.approx(prevalence, rel=0.1)
    sure = p >= np.quantile(p, 0.99)
    assert center[sure].mean() == pytest.approx(p[sure].mean(), rel=0.15)
    assert brier(p, center) < brier(np.full(len(p), prevalence), center)
    unmoved = p_data_center(score, c, 0.5)
    if prevalence < 0.1:
        assert unmoved.mean() > 2 * prevalence


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_reliability_counts_everything_once_and_brier_lies_in_its_interval(seed, n):
    rng = np.random.default_rng(seed)
    p, center, group = rng.random(n), rng.random(n) < 0.5, rng.integers(0, 5, n)
    rows = reliability(p, center, group, resamples=200)
    assert sum(r["n"] for r in rows) == n
    assert sum(r["n"] * r["share"] for r in rows) == pytest.approx(center.sum())
    assert all(0 <= r["interval"][0] <= r["interval"][1] <= 1 for r in rows)
    spread = interval(p, center, group, resamples=200)
    if spread is not None and n > 30:
        assert spread[0] <= brier(p, center) <= spread[1]


def test_intervals_know_that_groups_hang_together():
    p = np.full(400, 0.5)
    center = np.repeat([True, False] * 10, 20)
    apart = interval(p + 0.1, center, np.arange(400))
    together = interval(p + 0.1, center, np.repeat(np.arange(20), 20))
    assert together[1] - together[0] > 3 * (apart[1] - apart[0])
    assert interval(p, center, np.zeros(400)) is None


def test_logit_stops_where_eight_bits_end():
    assert float(logit(0.0)) == float(logit(1 / 512))
    assert float(logit(1.0)) == -float(logit(0.0))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.lists(st.floats(0, 1), max_size=10))
def test_the_offset_lets_at_most_a_tenth_of_the_others_through(others, centers):
    score = np.array(others + centers)
    center = np.arange(len(score)) >= len(others)
    moved = shifted(score, offset_for(score, center))
    assert (moved[~center] > 0.5 + 1e-12).sum() <= len(others) / 10
    order = np.argsort(score, kind="stable")
    assert (np.diff(moved[order]) >= 0).all()


def test_the_offset_is_not_larger_than_it_needs_to_be():
    score = np.array([0.1] * 18 + [0.8, 0.9, 0.99])
    center = np.array([False] * 20 + [True])
    assert offset_for(score, center) == pytest.approx(float(logit(0.8)))
    assert offset_for(score, np.ones(21, bool)) == 0
    assert shifted(np.array([0.8]), float(logit(0.8))) == pytest.approx(0.5)
    assert offset_for(np.array([0.1, 0.2]), np.array([False, True])) == 0  # never a bonus
