"""The figures of benchmarks.elsewhere, on made-up looks with known answers, and a whole run on made-up pictures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.elsewhere.__main__ import lines, measure, same_ground
from benchmarks.elsewhere.counted import rows_of
from benchmarks.elsewhere.frames import BOXES, Box, Frame, boxed, boxes_of, labelled, nyc, place_of
from benchmarks.elsewhere.looks import Cache, Look, Roof
from benchmarks.elsewhere.results import at_recall, headline, summary
from benchmarks.elsewhere.statistics import Clusters, auc, halves, intervals, share, threshold_at
from tests.support import names

scores = st.lists(st.integers(0, 6), min_size=1, max_size=20)


@settings(max_examples=30, deadline=None)
@given(scores, scores)
def test_auc_is_the_share_of_pairs_in_order(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs))
    assert auc(positive, negative) + auc(negative, positive) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=700), st.integers(1, 300))
def test_at_most_one_in_so_many_ordinary_roofs_reaches_the_threshold(ordinary, one_in):
    threshold = threshold_at(ordinary, one_in)
    assert share(ordinary, threshold) <= 1 / one_in or one_in == 1


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 30), min_size=2, max_size=12))
def test_the_halves_are_a_partition_as_even_as_the_largest_place_allows(counts):
    vectors = {k: (c,) for k, c in counts.items()}
    half = halves(vectors)
    assert half == halves(dict(reversed(vectors.items())))
    held = [sum(counts[k] for k in counts if half[k] == h) for h in ("choose", "report")]
    assert sum(held) == sum(counts.values())
    assert abs(held[0] - held[1]) <= max(counts.values())


def test_both_halves_have_large_buildings_and_several_places():
    # sites, of them large, place: one large place without large buildings, two small ones with some
    half = halves({"VA": (20, 0, 1), "CA": (7, 0, 1), "EU": (6, 0, 1), "JP": (6, 0, 1), "G": (5, 4, 1), "F": (2, 2, 1)})
    assert half["G"] != half["F"]
    assert min(list(half.values()).count(h) for h in ("choose", "report")) >= 2


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 99))
def test_a_resample_takes_whole_units_of_the_drawn_places(where, seed):
    place, unit = zip(*where, strict=True)
    drawn = Clusters(place, unit).draw(np.random.default_rng(seed))
    copies = np.bincount(drawn, minlength=len(where))
    for p, u in set(where):
        assert len({int(c) for c, w in zip(copies, where, strict=True) if w == (p, u)}) == 1


def test_intervals_are_wider_where_the_places_differ():
    values = np.repeat([0.0, 1.0], 50)

    def mean(a, b):
        return {"mean": float(values[a].mean()), "undefined": None}

    nothing = Clusters([], [])
    by_place = intervals(mean, Clusters(np.repeat([0, 1], 50).tolist(), range(100)), nothing)
    mixed = intervals(mean, Clusters(np.tile([0, 1], 50).tolist(), range(100)), nothing)
    assert by_place["mean"] == [0.0, 1.0]
    assert 0.3 < mixed["mean"][0] < mixed["mean"][1] < 0.7
    assert mixed["undefined"] is None


def look(klass, values, area_m2=8000.0, place="VA", file="a", group="set", pieces=1):
    boxes = tuple(Box((20.0 * i, 0, 20.0 * i + 10, 10), klass, area_m2) for i in range(len(values)))
    frame = Frame(Path(f"/x/{group}/{file}.jpg"), group, place, 1.0, boxes)
    roofs = tuple(Roof(f"{file}.jpg", group, place, klass, area_m2, s, 1.0, 0.5, pieces) for s in values)
    return Look(frame, roofs, tuple((s, area_m2) for s in values), 2.0)


@pytest.fixture
def apart(monkeypatch):
    """Made-up looks have no pictures: none of them overlap."""
    monkeypatch.setattr("benchmarks.elsewhere.counted.overlaps", lambda frames: [])


def test_recall_and_false_sites_of_a_line_are_at_one_threshold(apart):
    named = [look("data_center", [0.2, 0.9], pieces=2), look("data_center", [0.6], file="b", place="CA")]
    ordinary = [look("other_building", [v, *[0.1] * 99], file=str(v), group="roofs") for v in (0.95, 0.7)]
    rows, twice = rows_of([*named, *ordinary])
    r = summary(rows, ordinary, resamples=20)
    assert r["recall_by_place"] == {"CA": 0.0, "VA": 1.0}  # one in 200 may pass: above 0.7
    assert r["recall"] == 0.5
    assert r["per_large_roof"] == share([x.roof.score for x in rows if not x.known], r["threshold"]) == 1 / 200
    assert {k: r["at_half"][k] for k in ("recall", "per_large_roof")} == {"recall": 1.0, "per_large_roof": 2 / 200}
    assert r["at_half"]["per_1000_km2"] == pytest.approx(2 / 4 * 1000)
    assert r["per_1000_km2"] == pytest.approx(1 / 4 * 1000)
    assert r["auc_by_size"]["6-12"]["data_centers"] == 3
    assert r["auc_by_size"][">25"]["auc"] is None
    assert r["style_control"]["roofs"]["auc"] == 0.5
    assert r["recall_without"] == {"roofs": None}
    assert r["halves"]["report"]["at_other_threshold"]["threshold"] == r["halves"]["choose"]["threshold"]
    assert r["pieces"]["median"] == 2
    assert set(r["halves"]) == {"choose", "report"}
    assert {p for h in r["halves"].values() for p in h["places"]} == {"VA", "CA"}
    assert sum(h["large_roofs"] for h in r["halves"].values()) == r["large_roofs"] == 200
    assert twice == {"roofs": 0, "sites": 0}
    assert at_recall(rows, ordinary, 0.5)["per_large_roof"] == 1 / 200
    json.dumps(r, allow_nan=False)


@pytest.mark.parametrize("only", ["data_center", "other_building"])
def test_sites_alone_or_roofs_alone_have_the_figures_that_they_can_have(apart, only):
    looks = [look(only, [0.9, 0.2]), look(only, [0.6], file="b", place="CA")]
    result = summary(rows_of(looks)[0], looks if only == "other_building" else [], resamples=5)
    assert result["auc"] is None
    assert result["recall"] is None
    assert (result["at_half"]["recall"] is None) == (only == "other_building")
    assert (result["at_half"]["per_large_roof"] is None) == (only == "data_center")
    assert lines(result | {"skipped": [], "roofs_seen_twice": 0, "sites_seen_twice": 0})
    json.dumps(result, allow_nan=False)


def test_small_roofs_are_no_large_roofs(apart):
    looks = [look("other_building", [0.9], area, file=str(area)) for area in (2999.0, 3000.0, 9000.0)]
    assert headline(rows_of(looks)[0], resamples=2)["large_roofs"] == 2


def test_places_come_from_file_names():
    assert place_of(Path("amazon_VA_12.jpg")) == "VA"
    assert place_of(Path("google_9.jpg")) == "google"


def test_the_projects_boxes_are_whole():
    known = {"data_center", "data_center_no_plant", "data_center_building_site", "other_building", "unsure", "pin"}
    for name in ("named_sites", "la_boston_roofs", "spacenet_vegas"):
        rows = [r for rs in boxes_of(Path("/nowhere"), name).values() for r in rs]
        assert {r["class"] for r in rows} <= known
        assert all(0.05 <= float(r["gsd_m"]) <= 1.0 for r in rows)
    assert (BOXES / "cooling_roofs.csv").is_file()


HEADER = "file,x0,y0,x1,y1,class,gsd_m\n"


def test_own_boxes_come_before_those_beside_the_pictures_and_missing_things_are_named(tmp_path):
    folder, own = tmp_path / "named_sites", tmp_path / "own"
    folder.mkdir()
    own.mkdir()
    for number in (1, 2):
        (folder / f"amazon_XX_{number}.jpg").write_bytes(b"")
    (folder / "boxes.csv").write_text(f"{HEADER}amazon_XX_1.jpg,0,0,100,50,data_center,0.5\n")
    (frame,) = boxed(tmp_path, "named_sites")
    assert frame.place == "XX"
    assert frame.boxes[0].area_m2 == 1250
    rows = "amazon_XX_2.jpg,0,0,10,10,unsure,1\ngone.jpg,0,0,1,1,pin,1\n"
    (own / "named_sites.csv").write_text(HEADER + rows)
    frames, notes = labelled(tmp_path, own, ["named_sites", "la_boston_roofs"])
    assert [f.path.name for f in frames] == ["amazon_XX_2.jpg"]
    assert names("; ".join(notes), "gone.jpg", "la_boston_roofs")


@pytest.mark.parametrize(
    "row", ["a.jpg,5,0,4,9,pin,1", "a.jpg,0,0,x,9,pin,1", "a.jpg,0,0,9,9,pin,0", "a.jpg,0,0,9", "a.jpg,0,0,nan,9,pin,1"]
)
def test_a_row_that_is_no_box_is_named(tmp_path, row):
    (tmp_path / "named_sites.csv").write_text(f"{HEADER}{row}\n")
    with pytest.raises(SystemExit, match="line 2"):
        boxes_of(tmp_path, "named_sites", tmp_path)


@pytest.mark.parametrize("text", ["{", '[{"tile": "a"}]', "[1]", '[{"tile": "a", "group": 1, "large_roofs": [{}]}]'])
def test_a_listing_that_is_none_is_named(tmp_path, text):
    folder = tmp_path / "nyc_large_roofs" / "image"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"")
    (folder.parent / "large_roofs.json").write_text(text)
    with pytest.raises(SystemExit, match=r"large_roofs\.json"):
        list(nyc(tmp_path))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_a_file_that_is_no_picture_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"GIF89a, cut")
    with pytest.raises(SystemExit, match=name):
        Frame(tmp_path / name, "set", "VA", 1.0).read()


def test_false_sites_are_compared_on_classes_that_both_weights_took():
    now = {"fine": {"false_sites": 2, "km2": 4.0}, "coarse": {"false_sites": 50, "km2": 10.0}}
    found = same_ground(now, {"fine": {"false_sites": 8, "km2": 4.0}})
    assert found == {"classes": 1, "per_1000_km2": 500.0, "before": 2000.0}
    assert same_ground(now, {}) == {"classes": 0, "per_1000_km2": None, "before": None}


def test_a_cached_result_is_of_the_same_pixels_boxes_and_weights(tmp_path, weights):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    store = Cache(tmp_path / "cache", weights)
    one = replace(look("data_center", [0.25]), frame=Frame(path, "set", "VA", 1.0))
    assert store.get(one.frame) is None
    store.put(one)
    assert store.get(one.frame) == one
    assert store.get(replace(one.frame, gsd_m=2.0)) is None
    for file in (tmp_path / "cache").iterdir():
        file.write_text("[]")
    assert store.get(one.frame) is None
    store.put(one)
    Image.new("RGB", (8, 8), "red").save(path)
    assert store.get(one.frame) is None


@pytest.mark.slow  # about 15 s: one process is started twice
def test_a_whole_run_on_own_pictures_and_again_from_the_cache(tmp_path, weights, monkeypatch):
    rng = np.random.default_rng(3)
    for name in ("sites", "roofs"):
        (tmp_path / name).mkdir()
        for number in (1, 2):
            pixels = np.kron(rng.integers(0, 255, (12, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
            Image.fromarray(pixels).save(tmp_path / name / f"x_P{number}_1.png")
    own = tmp_path / "boxes"
    own.mkdir()
    for name, klass in (("sites", "data_center"), ("roofs", "other_building")):
        rows = [f"x_P{n}_1.png,10,10,60,60,{klass},2\nx_P{n}_1.png,0,0,9,9,pin,2\n" for n in (1, 2)]
        (own / f"{name}.csv").write_text(HEADER + "".join(rows))
    options = (tmp_path, own, [], weights, tmp_path / "none", tmp_path / "cache")
    first = measure(*options, roofs=tmp_path / "roofs.csv")
    assert first["sites"] == first["large_roofs"] == 2
    assert any("named_sites" in note for note in first["skipped"])
    assert all(line.count(",") == 10 for line in (tmp_path / "roofs.csv").read_text().splitlines())
    monkeypatch.setattr("benchmarks.elsewhere.looks.ProcessPoolExecutor", None)  # everything is known
    assert measure(*options) == first
    with pytest.raises(SystemExit, match="elsewhere_else"):
        measure(tmp_path, None, ["elsewhere_else"], weights, tmp_path / "none")
    with pytest.raises(SystemExit, match="--data"):
        measure(tmp_path / "empty", None, [], weights, tmp_path / "none")
