"""The area in common is that of the overlay, for any pair of polygons."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi import overlap
from overwatt.aoi.overlap import overlap_area


def polygon(rng):
    """Along pixel edges or not, with courtyards, rings in either direction."""
    boxes = shapely.box(*rng.integers(0, 12, (2, 8)), *rng.integers(12, 25, (2, 8)))
    holes = shapely.box(*rng.integers(12, 14, (2, 2)), *rng.integers(15, 20, (2, 2)))
    shape = shapely.difference(shapely.union_all(boxes), shapely.union_all(holes))
    shape = max(shapely.get_parts(shape), key=shapely.area)
    if rng.random() < 0.5:
        shape = shapely.affinity.rotate(shape, rng.uniform(0, 360))
    return shape if rng.random() < 0.5 else shapely.reverse(shape)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.sampled_from([40, 2_000, 500_000]))
def test_area_is_that_of_the_overlay(seed, count, pairs):
    rng = np.random.default_rng(seed)
    far = rng.uniform(-1e6, 1e6, 2)
    a, b = (
        np.array([shapely.affinity.translate(polygon(rng), *(far + rng.integers(0, 30, 2))) for _ in range(count)])
        for _ in range(2)
    )
    before, overlap.PAIRS = overlap.PAIRS, pairs
    try:
        found = overlap_area(a, b)
    finally:
        overlap.PAIRS = before
    np.testing.assert_allclose(found, shapely.area(shapely.intersection(a, b)), atol=1e-6)
    np.testing.assert_allclose(overlap_area(a, a), shapely.area(a), rtol=1e-9)


def test_without_polygons_there_is_no_area():
    assert overlap_area(np.empty(0, object), np.empty(0, object)).shape == (0,)
