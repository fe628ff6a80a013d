"""Repair of outlines that cross themselves: valid, where it ends in a moment."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from overwatt.aoi.outline import repaired
from tests.support import random_ring

NUMBER = st.integers(0, 12)


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=4, max_size=12))
def test_a_repaired_outline_is_valid_and_covers_no_other_ground(corners):
    ring = shapely.Polygon(corners)
    out = repaired(ring)
    assert out.is_valid
    assert shapely.get_dimensions(out) in (-1, 2)
    assert shapely.difference(out, shapely.convex_hull(ring)).area < 1e-6
    if ring.is_valid:
        assert out is ring


def test_parts_that_overlap_are_united():
    twice = shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)])
    assert repaired(twice).area == 7


@pytest.mark.parametrize("wrap", [lambda g: g, lambda g: shapely.GeometryCollection([shapely.MultiPolygon([g])])])
def test_an_outline_that_crosses_itself_everywhere_is_not_repaired(wrap):
    assert repaired(wrap(random_ring(2000))) is None
    assert repaired(wrap(random_ring(200))).is_valid


def test_a_long_outline_with_small_loops_is_repaired():
    angle = np.linspace(0, 2 * np.pi, 20_000)
    shaky = angle + np.random.default_rng(1).normal(0, 6e-4, len(angle))
    outline = shapely.Polygon(np.column_stack([np.cos(shaky), np.sin(angle)]))
    assert not outline.is_valid
    assert repaired(outline).area == pytest.approx(np.pi, rel=1e-3)
