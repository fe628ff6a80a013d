"""The figures of benchmarks.elsewhere, on made-up looks with known answers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.elsewhere.__main__ import auc, same_ground, share, summary, threshold_at
from benchmarks.elsewhere.frames import BOXES, Frame, boxed, boxes_of, place_of
from benchmarks.elsewhere.looks import Look, Roof


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_auc_is_the_share_of_pairs_in_order(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs))
    assert auc(positive, negative) + auc(negative, positive) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=700), st.integers(1, 300))
def test_at_most_one_in_so_many_ordinary_roofs_reaches_the_threshold(ordinary, one_in):
    threshold = threshold_at(ordinary, one_in)
    assert share(ordinary, threshold) <= 1 / one_in or one_in == 1


def look(klass, scores, area_m2=8000.0, place="VA", file="a"):
    frame = Frame(Path(f"/x/set/{file}.jpg"), "set", place, 1.0)
    roofs = tuple(Roof(f"{file}.jpg", "set", place, klass, area_m2, s, 1.0) for s in scores)
    return Look(frame, roofs, tuple((s, area_m2) for s in scores), ((klass, 0.5),), 2.0)


def test_a_site_is_found_by_its_best_building_and_false_alarms_are_counted_at_equal_recall():
    named = [look("data_center", [0.2, 0.9], file="a"), look("data_center", [0.6], file="b", place="CA")]
    ordinary = [look("other_building", [0.95, *[0.1] * 99]), look("other_building", [0.7, *[0.1] * 99])]
    r = summary(named, ordinary, [], None)
    assert r["recall_by_place"] == {"CA": 0.0, "VA": 1.0}  # one in 200 may pass: above 0.7
    assert r["level"] == 0.5
    assert r["recall_at_level"] == 1.0
    assert r["per_large_roof"] == 2 / 200
    assert r["per_1000_km2"] == pytest.approx(2 / 4 * 1000)
    assert r["auc_by_size"]["6-12"]["data_centers"] == 3
    assert r["auc_by_size"][">25"]["auc"] is None
    assert r["style_control_auc"] == 0.5
    stricter = summary(named, ordinary, [], 0.5)
    assert stricter["level"] == 0.9
    assert stricter["per_large_roof"] == 1 / 200


def test_places_come_from_file_names():
    assert place_of(Path("amazon_VA_12.jpg")) == "VA"
    assert place_of(Path("google_9.jpg")) == "google"


def test_the_projects_boxes_are_whole():
    known = {"data_center", "data_center_no_plant", "data_center_building_site", "other_building", "unsure", "pin"}
    for name in ("named_sites", "la_boston_roofs", "spacenet_vegas"):
        rows = [r for rs in boxes_of(Path("/nowhere"), name).values() for r in rs]
        assert {r["class"] for r in rows} <= known
        for r in rows:
            assert int(r["x0"]) < int(r["x1"])
            assert int(r["y0"]) < int(r["y1"])
            assert 0.05 <= float(r["gsd_m"]) <= 1.0
    assert (BOXES / "cooling_roofs.csv").is_file()


def test_a_folder_may_bring_its_own_boxes(tmp_path):
    folder = tmp_path / "named_sites"
    folder.mkdir()
    (folder / "amazon_XX_1.jpg").write_bytes(b"")
    (folder / "amazon_XX_2.jpg").write_bytes(b"")
    (folder / "boxes.csv").write_text("file,x0,y0,x1,y1,class,gsd_m\namazon_XX_1.jpg,0,0,100,50,data_center,0.5\n")
    (frame,) = boxed(tmp_path, "named_sites", "*.jpg")
    assert frame.place == "XX"
    assert frame.boxes[0].area_m2 == 1250


def test_false_sites_are_compared_on_classes_that_both_weights_took():
    now = {"fine": {"false_sites": 2, "km2": 4.0}, "coarse": {"false_sites": 50, "km2": 10.0}}
    found = same_ground(now, {"fine": {"false_sites": 8, "km2": 4.0}})
    assert found == {"classes": 1, "per_1000_km2": 500.0, "before": 2000.0}
    assert same_ground(now, {}) == {"classes": 0, "per_1000_km2": None, "before": None}
