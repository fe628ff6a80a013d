"""Pieces per building: counted, and summed up."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from overwatt.models.evaluation.metrics import Outline, score
from overwatt.models.evaluation.pieces import pieces_of, summary

HALL = box(0, 0, 100, 20)


def found(*shapes):
    return np.array(shapes, object)


@given(st.integers(1, 10))
def test_a_hall_cut_into_equal_parts_has_as_many_pieces(n):
    parts = found(*(box(100 / n * i, 0, 100 / n * (i + 1), 20) for i in range(n)))
    # parts below a tenth of the hall are no pieces
    assert pieces_of(HALL, parts) == n


def test_neighbours_and_annexes_are_no_pieces():
    assert pieces_of(HALL, found()) == 0
    assert pieces_of(HALL, found(box(60, 0, 160, 20))) == 0  # most of it lies outside
    assert pieces_of(HALL, found(box(0, 0, 9, 20), box(9, 0, 100, 20))) == 1


@given(st.lists(st.integers(0, 5)))
def test_the_summary_counts_every_building(pieces):
    s = summary(pieces)
    assert s["buildings"] == len(pieces)
    if pieces:
        assert s["share_one"] + s["share_split"] + s["none"] / len(pieces) == pytest.approx(1)
    if any(pieces):
        assert s["median"] >= 1
    else:
        assert s["median"] is None


def test_a_split_hall_shows_in_the_scores_though_its_pixels_are_all_found():
    valid = np.ones((60, 120), bool)
    hall, office = Outline("data_center", box(10, 10, 110, 30)), Outline("other_building", box(10, 40, 30, 55))
    halves = [Outline("data_center", box(10, 10, 60, 30)), Outline("other_building", box(60, 10, 110, 30))]
    blob = Outline("cooling_equipment", box(10, 10, 110, 30))
    bow = Outline("other_building", shapely.Polygon([(10, 40), (30, 55), (30, 40), (10, 55)]))  # crosses itself
    result = score([*halves, blob, bow], [hall, office], valid, gsd_m=2.0, resamples=2)
    assert result["data_center"]["pieces"]["median"] == 2
    assert result["data_center"]["pieces"]["share_split"] == 1
    assert result["other_building"]["pieces"]["one"] == 1
