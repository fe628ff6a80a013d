"""A contact sheet shows every picture once, in order."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from overwatt.pipeline.report.figures.contact_sheet import CHIP_PX, COLUMNS, ROWS, contact_sheet


def picture(colour):
    out = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(out, "PNG")
    return out.getvalue()


@given(st.integers(1, COLUMNS * ROWS))
@settings(max_examples=6, deadline=None)
def test_pictures_stand_row_by_row_with_their_captions(n):
    colours = [(10 * i, 255 - 10 * i, 7) for i in range(n)]
    png = contact_sheet([picture(c) for c in colours], [f"{i}. some words" for i in range(n)])
    assert png == contact_sheet([picture(c) for c in colours], [f"{i}. some words" for i in range(n)])
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    seen = [
        tuple(int(v) for v in c)
        for c in dict.fromkeys(map(tuple, pixels[:: CHIP_PX // 4, :: CHIP_PX // 4].reshape(-1, 3)))
    ]
    assert [c for c in seen if c in colours] == colours
    assert (pixels < 60).all(2).any(), "captions are drawn"


def test_a_long_caption_stays_in_its_place_and_too_many_pictures_are_refused():
    short, long = (contact_sheet([picture((9, 9, 9))], [text]) for text in ("a", "word " * 900))
    assert Image.open(io.BytesIO(short)).size == Image.open(io.BytesIO(long)).size
    with pytest.raises(ValueError, match="25"):
        contact_sheet([b""] * 25, [""] * 25)
