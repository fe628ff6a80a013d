"""What counts as looked at: voids are found, ground is kept, whichever window asks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.pipeline.imagery.validity import BLACK_M, WHITE_M, looked_at, solid, void_px

SIDE = 300
PHOTO = np.random.default_rng(3).integers(20, 220, (3, SIDE, SIDE), dtype=np.uint8)


def reader(pixels, masked=None, nodata=None):
    """Windows of pixels in memory; outside of them they are 0 and masked. `nodata` may mark single bands."""
    ny, nx = pixels.shape[1:]
    off = np.zeros((ny, nx), bool) if masked is None else masked

    def read(y0, x0, y1, x1):
        out = np.zeros((len(pixels), y1 - y0, x1 - x0), np.uint8)
        hidden, empty = np.ones(out.shape[1:], bool), np.zeros(out.shape, bool)
        a0, b0, a1, b1 = max(y0, 0), max(x0, 0), min(y1, ny), min(x1, nx)
        if a0 < a1 and b0 < b1:
            inner = (slice(a0 - y0, a1 - y0), slice(b0 - x0, b1 - x0))
            out[:, *inner] = pixels[:, a0:a1, b0:b1]
            hidden[inner] = off[a0:a1, b0:b1]
            if nodata is not None:
                empty[:, *inner] = pixels[:, a0:a1, b0:b1] == nodata
        return out, hidden, empty

    return read


def seen(pixels, gsd_m=2.0, window=(0, 0, SIDE, SIDE), **marks):
    return looked_at(reader(pixels, **marks), window, gsd_m)[1]


def test_a_photograph_is_seen_whole():
    values, valid = looked_at(reader(PHOTO), (0, 0, SIDE, SIDE), 2.0)
    assert valid.all()
    np.testing.assert_array_equal(values, PHOTO)


def filled(where, colour):
    pixels = PHOTO.copy()
    pixels[:, *where] = colour
    hole = np.zeros((SIDE, SIDE), bool)
    hole[where] = True
    return pixels, hole


@pytest.mark.parametrize("colour", [0, 3, 252, 255])
@pytest.mark.parametrize("where", [np.s_[:, :60], np.s_[:9, :], np.s_[40:200, 30:170], np.s_[:, 290:]])
def test_a_collar_a_strip_at_the_edge_and_a_large_hole_are_void(colour, where):
    pixels, hole = filled(where, colour)
    np.testing.assert_array_equal(seen(pixels), ~hole)


def test_an_unwritten_block_is_void_and_an_overexposed_hall_is_not():
    pixels, hole = filled(np.s_[40:80, 30:70], 0)
    np.testing.assert_array_equal(seen(pixels), ~hole)
    assert seen(filled(np.s_[40:115, 30:105], 255)[0]).all()  # 150 m by 150 m


def test_noise_of_jpeg_within_a_collar_is_void():
    pixels = PHOTO.copy()
    pixels[:, :, :60] = np.random.default_rng(0).integers(0, 4, (3, SIDE, 60))
    pixels[:, :, 240:] = np.random.default_rng(0).integers(252, 256, (3, SIDE, 60))
    assert not seen(pixels)[:, :60].any()
    assert not seen(pixels)[:, 240:].any()


@pytest.mark.parametrize(("colour", "side_m"), [(0, BLACK_M), (255, WHITE_M)])
def test_dark_and_white_things_smaller_than_a_void_are_ground(colour, side_m):
    pixels = PHOTO.copy()
    pixels[:, 50 : 50 + void_px(side_m, 2.0) - 1, 20:280] = colour
    pixels[:, 10:12] = colour
    assert seen(pixels).all()


def test_a_colour_of_one_band_is_ground_and_a_block_without_a_band_is_not():
    pixels = PHOTO.copy()
    pixels[1:, 5:9, 5:9] = 0  # red
    pixels[0, 60:, 60:] = 0
    for nodata in (0, None):  # stated or not
        valid = seen(pixels, nodata=nodata)
        assert valid[:60].all()
        assert not valid[60:, 60:].any()


def test_zeros_of_different_bands_side_by_side_are_colours():
    pixels = PHOTO.copy()
    which = np.random.default_rng(0).integers(0, 3, (200, 200))
    for band in range(3):
        pixels[band, 50:250, 50:250][which == band] = 0
    assert seen(pixels, nodata=0).all()
    assert seen(pixels).all()


def test_a_strip_between_masked_ground_and_the_edge_is_void():
    masked = np.zeros((SIDE, SIDE), bool)
    masked[:, :50] = True
    pixels = PHOTO.copy()
    pixels[:, :, 50:54] = 0  # narrower than a void
    assert not seen(pixels, masked=masked)[:, :54].any()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_answer_does_not_depend_on_the_window(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    pixels = PHOTO.copy()
    for _ in range(4):
        y, x, h, w = rng.integers(0, [250, 250, 200, 200])
        pixels[:, y : y + h, x : x + w] = rng.choice([0, 255, 120])
    masked = np.zeros((SIDE, SIDE), bool)
    masked[:, rng.integers(0, SIDE) :] = True
    gsd_m = data.draw(st.sampled_from([1.0, 2.0, 4.0]))
    whole, valid = looked_at(reader(pixels, masked=masked), (0, 0, SIDE, SIDE), gsd_m)
    y0, y1 = sorted(data.draw(st.lists(st.integers(0, SIDE), min_size=2, max_size=2, unique=True)))
    x0, x1 = sorted(data.draw(st.lists(st.integers(0, SIDE), min_size=2, max_size=2, unique=True)))
    part, ok = looked_at(reader(pixels, masked=masked), (y0, x0, y1, x1), gsd_m)
    np.testing.assert_array_equal(ok, valid[y0:y1, x0:x1])
    np.testing.assert_array_equal(part, whole[:, y0:y1, x0:x1])


@given(st.integers(0, 2**32 - 1), st.sampled_from([9, 17]))
@settings(max_examples=40, deadline=None)
def test_solid_is_an_opening(seed, side):
    mask = np.random.default_rng(seed).random((60, 60)) < 0.97
    once = solid(mask, side)
    assert not (once & ~mask).any()  # only takes away
    np.testing.assert_array_equal(solid(once, side), once)  # once is enough
    views = np.lib.stride_tricks.sliding_window_view(mask, (side, side)).all((2, 3))
    assert once.any() == views.any()


def test_the_side_of_a_void_is_odd_and_near_its_length():
    for side_m in (BLACK_M, WHITE_M):
        for gsd_m in (0.1, 0.5, 1.0, 2.0, 4.0, 10.0, 30.0):
            side = void_px(side_m, gsd_m)
            assert side % 2 == 1
            assert side >= 9
            if gsd_m <= 4:
                assert side_m <= side * gsd_m <= side_m + 2 * gsd_m
