"""Laws of the choice of what to label next."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from overwatt.models.training.active_learning import choose, similarity, uncertainty, unfamiliarity, usefulness

SHARES = st.floats(0, 1)


def objects(n, seed):
    """Random objects: p, novelty, area, position, kind."""
    rng = np.random.default_rng(seed)
    return (
        rng.random(n),
        rng.uniform(0, 8, n),
        rng.uniform(50, 20_000, n),
        rng.uniform(0, 3000, (n, 2)),
        rng.choice(2, n),
    )


@given(arrays(float, 5, elements=SHARES))
def test_uncertainty_is_greatest_at_one_half_and_the_same_on_both_sides(p):
    bits = uncertainty(p)
    assert ((bits >= 0) & (bits <= 1)).all()
    assert bits == pytest.approx(uncertainty(1 - p), abs=1e-9)
    order = np.argsort(np.abs(p - 0.5), kind="stable")
    assert (np.diff(bits[order]) <= 1e-12).all()
    assert uncertainty(np.array([0.0, 0.5, 1.0])).tolist() == [0, 1, 0]


@given(SHARES, st.floats(0, 8), st.floats(0, 8), st.floats(0, 1e5), st.floats(0, 1e5))
def test_more_novel_and_larger_objects_are_no_less_useful(p, novelty, more, area, larger):
    least = usefulness(np.array([p]), np.array([novelty]), np.array([area]))[0]
    most = usefulness(np.array([p]), np.array([novelty + more]), np.array([area + larger]))[0]
    assert 0 <= least <= most <= 1


def test_unknown_novelty_counts_as_that_of_the_training_areas():
    assert unfamiliarity(np.array([0.0, 1.0, 2.0, 4.0])).tolist() == [0, 0, 0, 0.5]


@given(st.integers(1, 12), st.integers(0, 99))
def test_similarity_is_symmetric_and_does_not_depend_on_the_origin(n, seed):
    p, novelty, area, xy, kind = objects(n, seed)
    got = similarity(p, novelty, area, xy, kind)
    assert got == pytest.approx(got.T)
    assert np.diag(got) == pytest.approx(np.ones(n))
    assert ((got >= 0) & (got <= 1)).all()
    assert (got[kind[:, None] != kind] == 0).all()
    assert similarity(p, novelty, area, xy + [1e4, -1e5], kind) == pytest.approx(got)


@given(st.integers(1, 15), st.integers(0, 999))
@settings(deadline=None)
def test_squares_are_chosen_once_without_clashes_and_fewer_are_the_first_of_more(n, seed):
    p, novelty, area, xy, kind = objects(n, seed)
    squares = [np.flatnonzero(np.abs(xy - at).max(1) < 300) for at in xy]
    clash = np.abs(xy[:, None] - xy[None]).max(2) < 600
    useful, similar = usefulness(p, novelty, area), similarity(p, novelty, area, xy, kind)
    got = choose(useful, similar, squares, n, clash=clash)
    assert len(set(got)) == len(got) <= n
    assert not clash[np.ix_(got, got)][~np.eye(len(got), dtype=bool)].any()
    for count in range(n):
        assert choose(useful, similar, squares, count, clash=clash) == got[:count]
    # a submodular gain falls as more is known
    cover, gains = np.zeros(n), []
    for number in got:
        after = np.maximum(cover, similar[squares[number]].max(0))
        gains.append((after - cover) @ useful)
        cover = after
    assert (np.diff(gains) <= 1e-9).all()


def test_ten_equal_roofs_are_not_ten_tasks():
    p = np.array([0.5] * 10 + [0.3, 0.7])
    novelty, area = np.ones(12), np.array([9000.0] * 10 + [4000.0, 40_000.0])
    xy = np.column_stack([np.arange(12) * 1000.0, np.zeros(12)])
    similar = similarity(p, novelty, area, xy, np.zeros(12))
    alone = [np.array([i]) for i in range(12)]
    got = choose(usefulness(p, novelty, area), similar, alone, 3, clash=np.eye(12, dtype=bool))
    assert {10, 11} < set(got)


def test_objects_in_one_square_count_together():
    p, novelty, area = np.array([0.5, 0.5, 0.5]), np.ones(3), np.array([3000.0, 3000.0, 30_000.0])
    similar = similarity(p, novelty, area, np.array([[0.0, 0], [5000, 0], [5100, 0]]), np.arange(3))
    got = choose(np.ones(3), similar, [np.array([0]), np.array([1, 2]), np.array([], int)], 3, clash=np.eye(3) > 0)
    assert got == [1, 0], "the one with two objects first, the empty one never"
