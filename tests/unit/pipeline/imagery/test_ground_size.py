"""The ground size of a picture: enlarged pictures are asked about, sharp ones and flat ones are not."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from overwatt.pipeline.imagery.ground_size import ENLARGED, enlargement, ground_size

LIGHT = settings(max_examples=25, deadline=None)


def picture(seed: int, side: int = 256) -> np.ndarray:
    """Grey values of rectangles of all sizes, as roofs and roads: edges give the power law of photographs."""
    rng = np.random.default_rng(seed)
    grey = np.full((side, side), 110.0)
    for size in np.geomspace(side / 2, 2, 400).astype(int):
        y, x = rng.integers(-size // 2, side, 2)
        grey[max(y, 0) : max(y + size, 0), max(x, 0) : max(x + rng.integers(size, 2 * size + 1), 0)] = rng.uniform(
            20, 235
        )
    return grey


def enlarged(grey: np.ndarray, factor: int, order: int) -> np.ndarray:
    side = grey.shape[0]
    part = grey[: side // factor + 1, : side // factor + 1]
    return np.rint(np.clip(ndimage.zoom(part, factor, order=order), 0, 255))[:side, :side]


@LIGHT
@given(st.integers(0, 10_000))
def test_a_sharp_picture_is_not_asked_about(seed):
    found = ground_size(np.rint(picture(seed))[None], 0.6)
    assert found.looks_like_m is None and found.question == ""


def detail(grey: np.ndarray, factor: int) -> float:
    """Share of the pixels that `enlarged` takes that lie at an edge."""
    part = grey[: grey.shape[0] // factor + 1, : grey.shape[1] // factor + 1]
    return float(((np.diff(part, axis=0) != 0)[:, 1:] | (np.diff(part, axis=1) != 0)[1:]).mean())


@LIGHT
@given(st.integers(0, 10_000), st.sampled_from([4, 5, 8]), st.sampled_from([1, 3]))
@example(6462, 8, 1)  # nearly flat
def test_an_enlarged_picture_is_asked_about_with_a_size_near_its_own(seed, factor, order):
    grey = picture(seed)
    found = ground_size(enlarged(grey, factor, order)[None], 1.0)
    if found.looks_like_m is None:  # it cannot be told of a picture with few edges; of 2,500 seeds at 8 these were 9
        assert detail(grey, factor) < 0.1
        assert found.question == ""
    else:
        assert factor / 2 <= found.looks_like_m <= 2 * factor
        assert "1 m is declared: please check" in found.question


@LIGHT
@given(st.integers(0, 10_000), st.floats(0.3, 1.0), st.floats(-40, 40))
def test_contrast_and_brightness_do_not_matter_above_the_rounding_noise(seed, gain, shift):
    grey = picture(seed)
    assert enlargement((gain * grey + shift)[None]) == pytest.approx(enlargement(grey[None]))


@pytest.mark.parametrize(
    "windows",
    [np.zeros((0, 256, 256)), picture(1)[None, :100, :100], np.full((1, 256, 256), 80.0)],
    ids=["no window", "too small", "flat"],
)
def test_what_cannot_be_told_is_unknown(windows):
    assert enlargement(windows) is None
    assert ground_size(windows, 2.0).question == ""


def test_rounding_noise_that_hides_the_end_of_the_detail_gives_unknown():
    faint = enlarged(picture(3), 5, 3)
    assert enlargement(faint[None]) >= ENLARGED
    assert enlargement(np.rint(128 + (faint - faint.mean()) / 100)[None]) is None
