import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from overwatt.pipeline.imagery.composite import composite
from tests.support import naming

values = st.floats(0, 1, width=32) | st.just(float("nan"))
stacks = hnp.arrays(np.float32, hnp.array_shapes(min_dims=4, max_dims=4, max_side=5), elements=values)


@settings(max_examples=40, deadline=None)
@given(stacks)
def test_median_of_the_looks_where_all_bands_are_there(stack):
    median, looks = composite(stack)
    _, bands, ny, nx = stack.shape
    assert median.dtype == np.float32
    assert median.shape == (bands, ny, nx)
    for y in range(ny):
        for x in range(nx):
            clear = stack[np.isfinite(stack[:, :, y, x]).all(axis=1), :, y, x]
            assert looks[y, x] == len(clear)
            if len(clear):
                np.testing.assert_allclose(median[:, y, x], np.median(clear, axis=0), atol=1e-6)
            else:
                assert np.isnan(median[:, y, x]).all()


@settings(max_examples=30, deadline=None)
@given(stacks, st.randoms(use_true_random=False))
def test_order_of_the_looks_changes_no_bit(stack, random):
    order = list(range(stack.shape[0]))
    random.shuffle(order)
    for a, b in zip(composite(stack), composite(stack[order]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_is_left_as_it_was():
    stack = np.array([3.0, np.inf, 1.0], dtype=np.float32).reshape(3, 1, 1, 1)
    before = stack.copy()
    median, looks = composite(stack)
    np.testing.assert_array_equal(stack, before)
    assert median.item() == 2.0
    assert looks.item() == 2


def test_colour_never_mixes_dates():
    stack = np.full((2, 2, 1, 1), np.nan, dtype=np.float32)
    stack[0, 0], stack[1, 1] = 0.2, 0.8
    median, looks = composite(stack)
    assert looks.item() == 0
    assert np.isnan(median).all()


def test_no_look_at_all():
    median, looks = composite(np.empty((0, 3, 2, 2), dtype=np.float32))
    assert np.isnan(median).all()
    assert median.shape == (3, 2, 2)
    assert (looks == 0).all()


def test_wrong_number_of_dimensions():
    with pytest.raises(ValueError, match=naming("(time, band, y, x)", "(3, 2, 2)")):
        composite(np.zeros((3, 2, 2), dtype=np.float32))
