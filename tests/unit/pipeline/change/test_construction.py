"""Construction between two dates: laws, and what is not construction."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.pipeline.change.construction import LEAST_M2, SHIFT_PX, construction

LIGHT = settings(max_examples=25, deadline=None)
GSD_M = 10.0
SIDE = 80
GRID = {"transform": Affine.translation(400_000, 5_800_000) * Affine.scale(GSD_M, -GSD_M), "crs": "EPSG:32632"}
SEEN = np.ones((SIDE, SIDE), bool)


def ground(*roofs, value=230):
    """Building probability times 255 with roofs of (row, column, height, width)."""
    out = np.full((SIDE, SIDE), 5, np.uint8)
    for y, x, h, w in roofs:
        out[y : y + h, x : x + w] = value
    return out


def changes(earlier, later, seen=SEEN):
    return construction(earlier, later, seen, gsd_m=GSD_M, **GRID)


roofs = st.lists(
    st.tuples(st.integers(0, 70), st.integers(0, 70), st.integers(1, 12), st.integers(1, 12)), max_size=6
)  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [(20, 20, 6, 8)], ["new"]),
        ([(20, 5, 6, 8)], [(20, 5, 6, 8), (20, 20, 6, 8)], ["grown"]),
        ([(20, 20, 6, 8)], [], ["gone"]),
        ([(20, 5, 6, 8), (20, 20, 6, 8)], [(20, 5, 6, 8)], ["shrunk"]),
        ([], [(20, 20, 6, 8), (20, 32, 6, 8)], ["new"]),
        ([], [(20, 20, 6, 8), (20, 60, 6, 8)], ["new", "new"]),
        ([], [(20, 20, 3, 3)], []),
    ],
    ids=["new", "beside a roof", "gone", "a part is gone", "two pieces of a place", "two places", "too small"],
)
def test_classes(before, after, expected):
    found = changes(ground(*before), ground(*after))
    assert list(found["class"]) == expected
    assert (found["area_m2"] >= 0.99 * LEAST_M2).all()


def test_area_place_and_reason_of_a_new_roof():
    row = changes(ground(), ground((20, 20, 6, 8))).iloc[0]
    assert row["area_m2"] == pytest.approx(4800, rel=0.01) and row["pieces"] == 1
    assert row["score"] == pytest.approx(230 / 255)
    assert row["geometry"].geom_type == "Polygon" and 7 < row["geometry"].centroid.x < 8
    assert "its use cannot be told" in row["reason"] and "data center" not in row["reason"]


@LIGHT
@given(roofs)
def test_the_same_ground_has_no_change(some):
    assert changes(ground(*some), ground(*some)).empty


@LIGHT
@given(roofs, roofs)
def test_dates_exchanged_exchange_the_classes(one, other):
    there, back = changes(ground(*one), ground(*other)), changes(ground(*other), ground(*one))
    swap = {"new": "gone", "grown": "shrunk", "gone": "new", "shrunk": "grown"}
    assert sorted(there["class"].map(swap)) == sorted(back["class"])
    assert sorted(there["area_m2"]) == pytest.approx(sorted(back["area_m2"]))


@LIGHT
@given(roofs, st.integers(-SHIFT_PX, SHIFT_PX), st.integers(-SHIFT_PX, SHIFT_PX))
def test_a_shift_within_the_registration_error_is_no_construction(some, dy, dx):
    moved = np.roll(ground(*some), (dy, dx), (0, 1))
    inside = SEEN.copy()
    for rim in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]):  # rolled around
        inside[rim] = False
    assert changes(ground(*some), moved, inside).empty


@LIGHT
@given(roofs, roofs)
def test_only_ground_that_both_dates_show_counts(one, other):
    seen = SEEN.copy()
    seen[:, 40:] = False
    found = changes(ground(*one), ground(*other), seen)
    edge = shapely.box(-180, -90, changes(ground(), ground((0, 0, 80, 40))).total_bounds[2] + 1e-9, 90)
    assert found.geometry.within(edge).all()


def test_a_roof_that_the_network_doubts_is_left_out():
    assert changes(ground(), ground((20, 20, 9, 9), value=150)).empty
