import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity, box

from overwatt.models.evaluation.metrics import SIZE_BANDS_M2, Judged, Outline, burn, imaged_share, score, score_all

SHAPE = (120, 160)
ALL = np.ones(SHAPE, bool)
MODES = ("ignore", "background")


def dc(*bounds):
    return Outline("data_center", box(*bounds))


def other(*bounds):
    return Outline("other_building", box(*bounds))


def unknown(*bounds):
    return Outline("unknown", box(*bounds))


def equipment(*bounds):
    return Outline("cooling_equipment", box(*bounds))


def rate(predicted, labelled, valid=ALL, **options):
    options = {"gsd_m": 2.0, "block_px": 40, "resamples": 200, **options}
    result = score(predicted, labelled, valid, **options)
    json.dumps(result, allow_nan=False)  # undefined is None, never NaN
    return result


def four(result, klass="data_center"):
    return [result[klass][k] for k in ("iou", "dice", "precision", "recall")]


def objects(result):
    return tuple(result["data_center"]["objects"][k] for k in ("matched", "surplus", "missed"))


@pytest.mark.parametrize("unlabelled", MODES)
def test_perfect(unlabelled):
    shapes = [dc(10, 10, 30, 30), other(50, 10, 80, 30), equipment(12, 12, 16, 16), dc(100, 60, 140, 100)]
    result = rate(shapes, shapes, unlabelled=unlabelled)
    for klass in ("data_center", "other_building", "cooling_equipment"):
        assert four(result, klass) == [1, 1, 1, 1]
        assert result[klass]["interval"]["dice"] == [1, 1]
    assert objects(result) == (2, 0, 0)
    assert result["data_center"]["object_f1"] == 1
    assert result["other_building"]["n"] == 1
    assert result["other_building"]["called_data_center"] == 0


def test_shifted_by_a_quarter():
    label, guess = dc(10, 10, 30, 30), dc(15, 10, 35, 30)  # 400 pixels each, 300 in common
    assert four(rate([guess], [label], unlabelled="background")) == [0.6, 0.75, 0.75, 0.75]
    # what has no label is ignored: the quarter outside of the label is not counted
    assert four(rate([guess], [label])) == [0.75, pytest.approx(6 / 7), 1, 0.75]
    for unlabelled in MODES:
        assert objects(rate([guess], [label], unlabelled=unlabelled)) == (1, 0, 0)


def test_shifted_by_half_is_no_match():
    label, guess = dc(10, 10, 30, 30), dc(20, 10, 40, 30)  # IoU 1/3
    result = rate([guess], [label], unlabelled="background")
    assert objects(result) == (0, 1, 1)
    assert result["data_center"]["object_f1"] == 0


def test_iou_of_exactly_a_half_is_a_match():
    assert objects(rate([dc(10, 10, 30, 20)], [dc(10, 10, 30, 30)])) == (1, 0, 0)
    assert objects(rate([dc(10, 10, 30, 19.9)], [dc(10, 10, 30, 30)])) == (0, 1, 1)


def test_missed():
    result = rate([], [dc(10, 10, 30, 30)])
    assert four(result) == [0, 0, None, 0]
    assert objects(result) == (0, 0, 1)
    assert result["data_center"]["object_f1"] == 0


def test_surplus_counts_on_background_but_not_where_nothing_is_labelled():
    shapes = [dc(10, 10, 30, 30), dc(60, 60, 80, 80)]
    strict = rate(shapes, shapes[:1], unlabelled="background")
    assert four(strict)[2:] == [0.5, 1]
    assert objects(strict) == (1, 1, 0)
    mild = rate(shapes, shapes[:1], unlabelled="ignore")
    assert four(mild)[2:] == [1, 1]
    assert objects(mild) == (1, 0, 0)


@pytest.mark.parametrize("unlabelled", MODES)
def test_another_building_called_data_center(unlabelled):
    labelled = [other(10, 10, 30, 30), other(50, 10, 90, 60)]
    result = rate([dc(10, 10, 30, 30), other(50, 10, 90, 60)], labelled, unlabelled=unlabelled)
    assert result["other_building"]["n"] == 2
    assert result["other_building"]["called_data_center"] == 1
    assert result["other_building"]["called_share"] == 0.5
    assert objects(result) == (0, 1, 0)
    assert four(result, "other_building")[2:] == [1, pytest.approx(2000 / 2400)]
    assert four(result) == [0, 0, 0, None]


def test_called_means_most_of_the_building():
    label = other(10, 10, 30, 30)
    for width, called in ((9, 0), (10, 0), (11, 1)):
        result = rate([dc(10, 10, 10 + width, 30)], [label])
        assert result["other_building"]["called_data_center"] == called


@pytest.mark.parametrize("unlabelled", MODES)
def test_unknown_is_ignored_wherever_it_lies(unlabelled):
    labelled = [dc(10, 10, 30, 30), unknown(20, 0, 60, 60)]
    result = rate([dc(10, 10, 20, 30), dc(40, 20, 55, 50)], labelled, unlabelled=unlabelled)
    assert four(result) == [1, 1, 1, 1]  # the half under `unknown` does not count
    assert objects(result)[1] == 0


def test_a_surplus_half_on_known_ground_counts():
    labelled = [other(10, 10, 20, 30), unknown(20, 10, 40, 30)]
    assert objects(rate([dc(10, 10, 30, 30)], labelled))[1] == 1
    assert objects(rate([dc(10, 10, 31, 30)], labelled))[1] == 0


def test_equipment_on_a_roof_is_scored_apart_from_the_roof():
    labelled = [dc(10, 10, 50, 50), equipment(20, 20, 30, 30)]
    result = rate([dc(10, 10, 50, 50), equipment(20, 20, 30, 40)], labelled)
    assert four(result) == [1, 1, 1, 1]
    assert four(result, "cooling_equipment") == [0.5, pytest.approx(2 / 3), 0.5, 1]


@pytest.mark.parametrize("unlabelled", MODES)
def test_partly_imaged_objects_are_left_out_as_objects(unlabelled):
    valid = ALL.copy()
    valid[:, 30:] = False
    label = dc(20, 10, 40, 30)
    for predicted in ([], [dc(20, 10, 30, 30)], [dc(20, 10, 40, 30)], [dc(22, 12, 28, 20)]):
        result = rate(predicted, [label], valid, unlabelled=unlabelled)
        assert objects(result) == (0, 0, 0)
        assert result["data_center"]["object_f1"] is None
        assert result["by_size"][0]["data_center"]["n"] == 0
    assert four(rate([dc(20, 10, 40, 30)], [label], valid, unlabelled=unlabelled)) == [1, 1, 1, 1]


def test_objects_over_the_edge_of_the_picture():
    assert objects(rate([dc(-10, 10, 20, 30)], [dc(-10, 10, 20, 30)])) == (0, 0, 0)
    assert objects(rate([dc(500, 500, 520, 520)], [dc(400, 10, 420, 30)], unlabelled="background")) == (
        0,
        0,
        0,
    )


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 60), st.floats(0, 60), st.floats(0.4, 40), st.floats(0.4, 40), st.floats(0, 90))
def test_what_lies_inside_is_wholly_imaged_at_any_size_place_and_angle(x, y, width, height, angle):
    polygon = affinity.rotate(box(x, y, x + width, y + height), angle)
    polygon = affinity.translate(polygon, *np.maximum(0, -np.array(polygon.bounds[:2])))
    assert imaged_share(polygon, ALL) == pytest.approx(1)
    assert imaged_share(polygon, ~ALL) == 0
    assert imaged_share(affinity.translate(polygon, 1000), ALL) == 0


def test_imaged_share_by_hand():
    assert imaged_share(box(-10, 0, 10, 20), ALL) == pytest.approx(0.5)
    valid = ALL.copy()
    valid[:, :5] = False
    assert imaged_share(box(-10, 0, 10, 20), valid) == pytest.approx(0.25)
    assert imaged_share(shapely.Polygon(), ALL) == 0


def test_by_size_counts_each_building_in_its_band():
    labelled = [
        other(0, 0, 20, 20),  # 1,600 m² at 2 m
        dc(30, 0, 60, 25),  # 3,000 m²: the lower bound belongs to the band
        other(70, 0, 110, 40),  # 6,400 m²
        dc(0, 50, 100, 115),  # 26,000 m²
    ]
    predicted = [dc(0, 0, 20, 20), other(30, 0, 60, 25), other(70, 0, 110, 40), dc(0, 50, 100, 115)]
    bands = rate(predicted, labelled)["by_size"]
    assert [b["area_m2"] for b in bands] == [[low, None if np.isinf(high) else high] for low, high in SIZE_BANDS_M2]
    table = [(b[k]["n"], b[k]["called_data_center"]) for b in bands for k in ("data_center", "other_building")]
    assert table == [(0, 0), (1, 1), (1, 0), (0, 0), (0, 0), (1, 0), (0, 0), (0, 0), (1, 1), (0, 0)]


def test_one_to_one_matching_takes_the_better_pair():
    label = dc(10, 10, 30, 30)
    good, poor = dc(10, 10, 30, 29), dc(10, 10, 30, 23)
    result = rate([poor, good], [label], unlabelled="background")
    assert objects(result) == (1, 1, 0)
    # two labels, two guesses: each guess overlaps the first label, only one pairing serves both
    wide = [dc(10, 10, 30, 30), dc(16, 10, 36, 30)]
    assert objects(rate([dc(13, 10, 33, 30), dc(8, 10, 28, 30)], wide, unlabelled="background")) == (2, 0, 0)


@pytest.mark.parametrize("unlabelled", MODES)
def test_no_data_center_at_all(unlabelled):
    result = rate([], [other(10, 10, 30, 30)], unlabelled=unlabelled)
    assert four(result) == [None] * 4
    assert result["data_center"]["object_f1"] is None
    assert set(result["data_center"]["interval"].values()) == {None}
    assert objects(result) == (0, 0, 0)


@pytest.mark.parametrize("unlabelled", MODES)
def test_nothing_labelled_nothing_predicted_nothing_imaged(unlabelled):
    result = rate([], [], ~ALL, unlabelled=unlabelled)
    assert four(result) == [None] * 4
    assert result["other_building"]["called_share"] is None
    assert result["other_building"]["called_interval"] is None


def test_shapes_that_cross_themselves_or_come_in_parts():
    bow = shapely.Polygon([(10, 10), (30, 30), (30, 10), (10, 30)])
    parts = shapely.MultiPolygon([box(50, 10, 70, 30), box(80, 10, 100, 30)])
    spike = shapely.Polygon([(50, 60), (70, 60), (70, 80), (70, 110), (70, 80), (50, 80)])
    line = shapely.Polygon([(100, 100), (110, 100), (100, 100)])
    shapes = [Outline("data_center", s) for s in (bow, parts, spike, line, shapely.Polygon())]
    result = rate(shapes, shapes, unlabelled="background")
    assert four(result) == [1, 1, 1, 1]
    assert objects(result) == (3, 0, 0)
    assert sum(b["data_center"]["n"] for b in result["by_size"]) == 3


def test_later_classes_are_burnt_over_earlier_ones():
    got = burn([dc(0, 0, 4, 4), other(0, 0, 8, 4)], (4, 10), {"other_building": 1, "data_center": 2}, 9)
    np.testing.assert_array_equal(got, [[2] * 4 + [1] * 4 + [9] * 2] * 4)


def scattered(seed, n=8):
    """Non-overlapping squares of both classes, and guesses that miss some and are shifted a little."""
    rng = np.random.default_rng(seed)
    labelled, predicted = [], []
    for cell in rng.choice(48, n, replace=False):
        y, x = divmod(int(cell), 8)
        shape = box(x * 20 + 2, y * 20 + 2, x * 20 + 16, y * 20 + 16)
        klass = str(rng.choice(["data_center", "other_building"]))
        labelled.append(Outline(klass, shape))
        if rng.random() < 0.8:
            told = klass if rng.random() < 0.8 else str(rng.choice(["data_center", "other_building"]))
            predicted.append(Outline(told, affinity.translate(shape, *rng.integers(-4, 5, 2))))
    return predicted, labelled


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(MODES))
def test_laws_of_a_score(seed, unlabelled):
    predicted, labelled = scattered(seed)
    result = rate(predicted, labelled, unlabelled=unlabelled, resamples=60)
    matched, surplus, missed = objects(result)
    assert matched + missed == sum(o.klass == "data_center" for o in labelled)
    assert matched + surplus <= sum(o.klass == "data_center" for o in predicted)
    for klass in ("data_center", "other_building", "cooling_equipment"):
        iou, dice, precision, recall = four(result, klass)
        assert all(v is None or 0 <= v <= 1 for v in (iou, dice, precision, recall))
        if iou is not None:
            assert dice == pytest.approx(2 * iou / (1 + iou))
        for low, high in filter(None, result[klass]["interval"].values()):
            assert 0 <= low <= high <= 1
    assert rate(predicted, labelled, unlabelled=unlabelled, resamples=60) == result
    assert rate(predicted[::-1], labelled[::-1], unlabelled=unlabelled, resamples=60) == result


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_swapping_guess_and_label_swaps_precision_and_recall(seed):
    predicted, labelled = scattered(seed)
    a = rate(predicted, labelled, unlabelled="background", resamples=2)
    b = rate(labelled, predicted, unlabelled="background", resamples=2)
    assert a["data_center"]["iou"] == b["data_center"]["iou"]
    assert a["data_center"]["precision"] == b["data_center"]["recall"]


@pytest.mark.parametrize("seed", range(5))
def test_intervals_hold_the_estimate_and_depend_on_their_seed_alone(seed):
    predicted, labelled = scattered(seed, 30)
    result = rate(predicted, labelled, unlabelled="background", block_px=20, resamples=400)
    for klass in ("data_center", "other_building"):
        for key, (low, high) in result[klass]["interval"].items():
            assert low < result[klass][key] < high, (klass, key)
    low, high = result["other_building"]["called_interval"]
    assert low <= result["other_building"]["called_share"] <= high
    again = rate(predicted, labelled, unlabelled="background", block_px=20, resamples=400, seed=1)
    assert again["data_center"]["iou"] == result["data_center"]["iou"]
    assert again["data_center"]["interval"] != result["data_center"]["interval"]


def test_the_interval_of_a_share_is_the_binomials():
    """48 blocks with a building each, half of them called data center: 0.5 ± 1.96 sqrt(0.25 / 48)."""
    labelled = [other(x + 2, y + 2, x + 16, y + 16) for y in range(0, 120, 20) for x in range(0, 160, 20)]
    predicted = [Outline("data_center", o.polygon) for o in labelled[::2]]
    low, high = rate(predicted, labelled, block_px=20, resamples=2000)["other_building"]["called_interval"]
    assert low == pytest.approx(0.5 - 0.1414, abs=0.03)
    assert high == pytest.approx(0.5 + 0.1414, abs=0.03)


def test_larger_blocks_mean_wider_intervals():
    """Errors come in whole buildings: blocks smaller than a building take its pixels for independent."""
    predicted, labelled = scattered(1, 30)
    widths = []
    for block_px in (2, 20):
        low, high = rate(predicted, labelled, unlabelled="background", block_px=block_px)["data_center"]["interval"][
            "dice"
        ]
        widths.append(high - low)
    assert widths[0] < 0.6 * widths[1]


def test_a_single_block_has_no_interval():
    result = rate([dc(10, 10, 30, 25)], [dc(10, 10, 30, 30)], block_px=200)
    assert result["data_center"]["dice"] is not None
    assert set(result["data_center"]["interval"].values()) == {None}
    assert result["block_m"] == 400


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(MODES))
def test_two_pictures_score_as_one_picture_that_holds_both(seed, unlabelled):
    frame = box(0, 0, SHAPE[1], SHAPE[0])
    (p0, l0), (p1, l1) = (
        [[Outline(o.klass, o.polygon & frame) for o in shapes] for shapes in scattered(k)] for k in (seed, seed + 1)
    )

    def below(outlines):
        return [Outline(o.klass, affinity.translate(o.polygon, 0, SHAPE[0])) for o in outlines]

    options = {"gsd_m": 2.0, "unlabelled": unlabelled, "block_px": 40, "resamples": 50}
    tall = np.ones((2 * SHAPE[0], SHAPE[1]), bool)
    together = score([*p0, *below(p1)], [*l0, *below(l1)], tall, **options)
    assert score_all([Judged(p0, l0, ALL), Judged(p1, l1, ALL)], **options) == together


def test_where_equipment_was_not_looked_for_it_does_not_count():
    shapes, guess = [dc(10, 10, 50, 50)], [dc(10, 10, 50, 50), equipment(20, 20, 30, 30)]
    known = np.zeros(SHAPE, bool)
    for looked, expected in ((known, None), (~known, 0)):
        one = Judged(guess, shapes, ALL, looked)
        assert score_all([one], gsd_m=2.0, resamples=2)["cooling_equipment"]["dice"] == expected
