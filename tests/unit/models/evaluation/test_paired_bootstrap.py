import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity, box

from overwatt.aoi.errors import ConfigError
from overwatt.models.evaluation.confusion_counts import Outline, burn
from overwatt.models.evaluation.metrics import score
from overwatt.models.evaluation.paired_bootstrap import (
    MEASURES,
    MIN_BLOCKS,
    Scene,
    compare,
    labels_of,
    outlines_of,
    paired,
    scene_of,
    summary,
)
from overwatt.models.training.samples import IGNORE, NOT_CENTER, Picture
from tests.support import names, naming

SHAPE, GSD_M, CELL = (240, 320), 2.0, 40  # 48 cells of 80 m
ALL = np.ones(SHAPE, bool)
WORDS = ("A better", "B better", "no difference shown")


def town(seed):
    """A labelled building in most cells, with a machine on each data center."""
    rng = np.random.default_rng(seed)
    labelled = []
    for cell in range(48):
        y, x = (CELL * v for v in divmod(cell, SHAPE[1] // CELL))
        klass = rng.choice(["data_center", "other_building", "none"], p=[0.6, 0.25, 0.15])
        if klass != "none":
            labelled.append(Outline(str(klass), box(x + 4, y + 4, x + 34, y + 30)))
        if klass == "data_center":
            labelled.append(Outline("cooling_equipment", box(x + 8, y + 8, x + 20, y + 12)))
    return labelled


def found(labelled, seed, miss, shift_px):
    """What a detector finds: it misses some, and draws the rest beside their place."""
    rng = np.random.default_rng(seed)
    kept = [o for o in labelled if rng.random() > miss]
    return [Outline(o.klass, affinity.translate(o.polygon, *rng.normal(0, shift_px, 2))) for o in kept]


def scene(labelled, a, b, valid=ALL):
    return Scene(labelled, valid, GSD_M, a, b)


def told(scenes, **options):
    options = {"unlabelled": "background", "block_m": 80.0, "resamples": 800, **options}
    result = compare(scenes if isinstance(scenes, list) else [scenes], **options)
    json.dumps(result, allow_nan=False)
    return result


def measures(result):
    return {(k, m): result[k][m] for k, names in MEASURES.items() for m in names}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_against_itself_nothing_differs(seed):
    labelled = town(seed)
    guess = found(labelled, seed, 0.2, 2)
    for s in measures(told(scene(labelled, guess, guess), resamples=100)).values():
        assert (s["difference"], s["interval"], s["verdict"]) == (0, [0, 0], "no difference shown")
        assert s["a"] == s["b"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_swapping_the_two_flips_every_sign(seed):
    labelled = town(seed)
    a, b = found(labelled, seed, 0.1, 1), found(labelled, seed + 1, 0.3, 3)
    one = measures(told(scene(labelled, a, b), resamples=200))
    other = measures(told(scene(labelled, b, a), resamples=200))
    for key, s in one.items():
        assert (s["a"], s["b"], s["difference"]) == (other[key]["b"], other[key]["a"], -other[key]["difference"])
        np.testing.assert_allclose(s["interval"], [-v for v in other[key]["interval"][::-1]], atol=1e-12)
        swapped = {"A better": "B better", "B better": "A better"}
        assert s["verdict"] == swapped.get(other[key]["verdict"], other[key]["verdict"])


@pytest.mark.parametrize("seed", range(3))
def test_a_clearly_worse_detector_is_called_so(seed):
    labelled = town(seed)
    good, poor = found(labelled, seed, 0.02, 1), found(labelled, seed + 9, 0.5, 5)
    result = told(scene(labelled, good, poor))
    assert {s["verdict"] for s in measures(result).values()} == {"A better"}
    assert {s["verdict"] for s in measures(told(scene(labelled, poor, good))).values()} == {"B better"}
    assert result["notes"] == []
    for s in measures(result).values():
        assert s["interval"][0] <= s["difference"] <= s["interval"][1]


def test_chance_alone_is_seldom_called_a_difference():
    """Two detectors of the same quality, 40 towns: a word for one of them in about 1 of 20."""
    called = 0
    for seed in range(40):
        labelled = town(seed)
        pair = (found(labelled, 100 + seed, 0.2, 2), found(labelled, 200 + seed, 0.2, 2))
        called += told(scene(labelled, *pair), resamples=300)["data_center"]["dice"]["verdict"] != WORDS[2]
    assert called <= 6  # binomial(40, 0.05) is above 6 once in 300


def test_the_numbers_are_those_of_evaluate():
    labelled = town(0)
    a, b = found(labelled, 1, 0.1, 1), found(labelled, 2, 0.3, 3)
    result = told(scene(labelled, a, b))
    for side, guess in (("a", a), ("b", b)):
        own = score(guess, labelled, ALL, gsd_m=GSD_M, unlabelled="background", resamples=1)
        for (klass, measure), s in measures(result).items():
            assert s[side] == pytest.approx(own[klass][measure], abs=1e-12)
    assert result["blocks"] == 48
    assert result["block_m"] == 80


def test_few_blocks_are_said_and_nothing_is_claimed():
    labelled = town(0)
    good, poor = found(labelled, 1, 0, 0.5), found(labelled, 2, 0.9, 6)
    result = told(scene(labelled, good, poor), block_m=240.0)  # six blocks
    assert result["data_center"]["blocks"] == 6 < MIN_BLOCKS
    assert result["data_center"]["dice"]["interval"][0] > 0
    assert result["data_center"]["dice"]["verdict"] == "no difference shown"
    assert names(result["notes"][0], "data center", 6, "240 m")
    one = told(scene(labelled, good, poor), block_m=5000.0)
    assert (one["blocks"], one["data_center"]["dice"]["interval"]) == (1, None)
    assert summary(one)[-1].startswith("note: cooling equipment: 1 blocks of 5000 m")


def test_several_images_are_pooled_block_by_block():
    towns = [town(k) for k in range(4)]
    scenes = [scene(t, found(t, k, 0.1, 1), found(t, k + 50, 0.3, 3)) for k, t in enumerate(towns)]
    result = told(scenes, block_m=160.0)
    assert result["blocks"] == sum(told(s, block_m=160.0)["blocks"] for s in scenes) == 48
    again = told(scenes[::-1], block_m=160.0)
    for key, s in measures(result).items():
        assert s["a"] == pytest.approx(measures(again)[key]["a"])
    few, many = (measures(told(x, resamples=2000))["data_center", "dice"]["interval"] for x in (scenes[:1], scenes))
    assert many[1] - many[0] < few[1] - few[0]


def test_ground_counts_by_its_area_whatever_its_pixels():
    """The same town at 2 m and at 1 m weighs the same."""
    labelled = town(0)
    a, b = found(labelled, 1, 0.3, 0), found(labelled, 2, 0.1, 0)

    def fine(outlines):
        return [Outline(o.klass, affinity.scale(o.polygon, 2, 2, origin=(0, 0))) for o in outlines]

    sharp = Scene(fine(labelled), np.ones((480, 640), bool), 1.0, fine(b), fine(a))
    coarse = scene(labelled, a, b)
    for (_, measure), s in measures(told([coarse, sharp])).items():
        if measure != "object_f1":
            assert s["difference"] == pytest.approx(0, abs=1e-3)  # what A finds in one, B finds in the other


def test_ground_without_imagery_is_left_out():
    valid = ALL.copy()
    valid[:, 160:] = False
    assert told(scene(town(0), [], [], valid))["blocks"] == 24


def test_nothing_to_compare():
    with pytest.raises(ConfigError, match=naming("comparison")):
        compare([])
    with pytest.raises(ConfigError, match=naming("0 m")):
        told(scene([], [], []), block_m=0.0)
    result = told(scene([], [], []))
    for s in measures(result).values():
        assert (s["a"], s["b"], s["difference"], s["interval"]) == (None,) * 4
        assert s["verdict"] == "no difference shown"
    assert "undefined" in summary(result)[1]


def blocks(rng, n):
    """Counts of two detectors on blocks that are hard for both alike; B misses more; a third is empty."""
    size = np.round(rng.lognormal(8, 1, n) * (rng.random(n) > 0.3))
    hard = rng.normal(0, 1, n)

    def side(bias):
        share = 1 / (1 + np.exp(-(1.5 + bias - hard + rng.normal(0, 0.7, n))))
        tp = np.round(size * share)
        return np.stack([tp, np.round(size * (1 - share) * rng.random(n) * 0.5), size - tp], 1)

    return side(0.0), side(-0.3)


@pytest.mark.parametrize("n", [12, 40])
def test_the_interval_holds_the_true_difference(n):
    """95% nominal; 150 simulated comparisons have a standard error of 2%."""
    a, b = blocks(np.random.default_rng(0), 200_000)
    for measure in ("dice", "recall"):
        true = paired(a, b, measure, resamples=1)["difference"]
        rng = np.random.default_rng(1)
        pairs = [paired(*blocks(rng, n), measure, resamples=400, seed=k) for k in range(150)]
        inside = np.mean([p["interval"][0] <= true <= p["interval"][1] for p in pairs])
        assert 0.86 <= inside <= 0.99
        widths = np.mean([p["interval"][1] - p["interval"][0] for p in pairs])
        alone = np.std([p["a"] for p in pairs]) * np.sqrt(2) * 3.92  # what unpaired intervals would need
        assert widths < alone


def tile(seed=0, **changes):
    rng = np.random.default_rng(seed)
    building, cooling = np.zeros((2, 120, 160), np.uint8)
    instance = np.zeros((120, 160), np.uint16)
    building[10:60, 10:50], building[10:60, 50:90] = 2, 2  # two halls that touch
    instance[10:60, 10:50], instance[10:60, 50:90] = 1, 2
    building[70:100, 20:60], building[80:, 100:] = 1, IGNORE
    cooling[20:30, 20:40], cooling[:5] = 1, IGNORE
    optical = rng.integers(0, 256, (3, 120, 160)).astype(np.uint8)
    layers = {"building": building, "cooling": cooling, "instance": instance} | changes
    return Picture("tile", optical, np.ones((120, 160), bool), **layers)


def test_labels_of_a_tile_burn_back_to_its_masks():
    picture = tile()
    outlines = labels_of(picture)
    codes = {"background": 0, "other_building": 1, "data_center": 2, "unknown": IGNORE}
    np.testing.assert_array_equal(burn(outlines, (120, 160), codes, 0), picture.building)
    np.testing.assert_array_equal(burn(outlines, (120, 160), {"cooling_equipment": 1}, 0), picture.cooling == 1)
    assert sum(o.klass == "data_center" for o in outlines) == 2
    assert sum(o.klass == "data_center" for o in labels_of(tile(instance=None))) == 1
    parted = tile()
    parted.building[30:34, 10:50] = 0  # a road through the first hall: still one building
    assert [o.polygon.geom_type for o in labels_of(parted) if o.klass == "data_center"].count("MultiPolygon") == 1


def test_a_tile_with_its_own_truth_as_probabilities_is_perfect():
    picture = tile(instance=None)
    p = np.zeros((6, 120, 160), np.uint8)
    for code in range(3):
        p[code] = 255 * (picture.building == code)
    p[3] = 255 * (picture.cooling == 1)
    nothing = np.zeros_like(p)
    p[2, 110, 5] = 255  # 4 m2: below what counts as a building
    result = told(scene_of(picture, p, nothing), block_m=20.0)
    for s in measures(result).values():
        assert (s["a"], s["b"]) == (1, 0)
    assert {result["data_center"][m]["verdict"] for m in ("dice", "iou", "recall")} == {"A better"}
    assert result["data_center"]["object_f1"]["verdict"] == "no difference shown"  # it is one building
    assert [note.split(":")[0] for note in result["notes"]] == ["data center, as objects", "cooling equipment"]
    assert all(o.polygon.area * 4 >= 30 for o in outlines_of(p, picture.valid, 2.0))


def test_equipment_counts_where_it_was_looked_for_even_if_there_is_none():
    none = tile(cooling=np.zeros((120, 160), np.uint8))
    guess = [Outline("cooling_equipment", box(100, 10, 120, 30))]
    result = told(scene_of(none, guess, []))["cooling_equipment"]["dice"]
    assert (result["a"], result["b"]) == (0, None)
    blind = tile(cooling=np.full((120, 160), IGNORE, np.uint8))
    assert told(scene_of(blind, guess, []))["cooling_equipment"]["dice"]["a"] is None


def test_ground_that_is_no_data_center_makes_a_false_one():
    picture = tile()
    picture.building[:, 100:][:60] = NOT_CENTER
    guess = [o for o in labels_of(picture) if o.klass == "data_center"]
    wrong = [*guess, Outline("data_center", box(110, 10, 140, 40))]
    result = told(scene_of(picture, guess, wrong))["data_center"]
    assert (result["dice"]["a"], result["object_f1"]["a"]) == (1, 1)
    assert result["dice"]["b"] < 1
    assert result["object_f1"]["b"] == pytest.approx(0.8)
