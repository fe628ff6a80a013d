import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from benchmarks.detector_speed import __main__ as command
from benchmarks.detector_speed import networks, scores, speed
from benchmarks.detector_speed.networks import Rival, built, size_of
from benchmarks.detector_speed.training import Learner, fit, settle
from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import OUTPUTS
from overwatt.models.detector.network import SiteNet
from overwatt.models.training.samples import Picture, batch
from overwatt.models.training.settings import TrainSettings
from overwatt.models.training.train import train
from overwatt.workflows.config.training import FoldSettings
from overwatt.workflows.training.cross_validation import without

TINY = TrainSettings(seed=3, steps=3, batch=2, crop_px=64, width=4, imagenet=False, precision="float32")
FIGURES = ("ours_mpx_s", "rival_mpx_s", "ratio", "dice", "rival_dice", "dice_shipped")


def picture():
    rng = np.random.default_rng(0)
    building = np.zeros((96, 96), np.uint8)
    building[10:40, 10:40], building[50:80, 20:70] = 1, 2
    optical = rng.integers(0, 256, (3, 96, 96)).astype(np.uint8)
    return Picture("noise", optical, np.ones((96, 96), bool), building, np.zeros((96, 96), np.uint8))


def draw(step):
    return batch(
        [picture()], seed=TINY.seed, step=step, size=TINY.batch, size_px=TINY.crop_px, mean=TINY.mean, std=TINY.std
    )


@pytest.fixture
def small_window(monkeypatch):
    """Windows of 64 pixels where speed is measured: the code is the same, the time is not."""
    monkeypatch.setattr(speed, "WINDOW_PX", 64)
    monkeypatch.setattr(networks, "WINDOW_PX", 64)


def test_one_of_several_networks_learns_what_it_learns_alone_in_the_training_of_the_project(one_thread):
    losses = []
    alone = train([picture()], ("red", "green", "blue"), TINY, report=lambda step, steps, loss: losses.append(loss))
    ours, other = Learner.ours(TINY), Learner.ours(TINY.model_copy(update={"width": 6}))
    beside = fit([other, ours], draw, TINY)
    assert beside[1] == losses
    assert beside[0] != losses
    found, expected = ours.net.state_dict(), alone.state_dict()
    assert all(torch.equal(found[k], expected[k]) for k in expected)


def test_rates_from_imagenet_are_those_of_the_training_of_the_project():
    from_imagenet = Learner.ours(TINY.model_copy(update={"imagenet": True}))
    assert [g["peak"] for g in from_imagenet.groups] == [0.25 * TINY.rate, TINY.rate]
    assert [g["peak"] for g in Learner.ours(TINY).groups] == [TINY.rate, TINY.rate]


def test_settled_statistics_are_the_mean_over_the_batches(one_thread):
    net = built(lambda: nn.Sequential(nn.BatchNorm2d(3)), 0)
    batches = [draw(0), draw(1)]
    settle([net], batches)
    expected = torch.stack([b.image.mean((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(net[0].running_mean, expected)
    assert not net.training


@given(hnp.arrays(np.uint8, (4, 6, 5)), hnp.arrays(np.uint8, (6, 5), elements=st.sampled_from([0, 1, 2, 254, 255])))
@settings(max_examples=25, deadline=None)
def test_dice_is_that_of_sets_of_pixels(p, building):
    known = np.ones((6, 5), bool)
    known[0] = False
    cooling = np.where(building == 2, np.uint8(1), np.uint8(255))
    found = scores.dice(scores.counts(p, building, cooling, known))
    label = p[:3].argmax(0)
    a = {(y, x) for y, x in np.argwhere(label == 2) if known[y, x] and building[y, x] < 254}
    b = {(y, x) for y, x in np.argwhere(building == 2) if known[y, x]}
    assert found["data_center"] == (round(2 * len(a & b) / (len(a) + len(b)), 4) if b else None)
    there = [found[k] for k in scores.MEASURED if found[k] is not None]
    assert found["mean"] == (pytest.approx(np.mean(there), abs=1e-4) if there else None)


def test_turns_are_counted_and_the_first_is_not():
    calls = []
    found = speed.alternate(lambda: calls.append("a"), lambda: calls.append("b"), 3, 1.0)
    assert "".join(calls) == "abababab"
    assert found["rounds"] == 3
    low, high = found["ratio_range"]
    assert low <= found["ratio"] <= high


def test_shipped_dice_is_that_of_the_independent_labels(tmp_path):
    assert scores.shipped(None) == {"dice_shipped": None, "dice_shipped_on": None}
    own, other = scores.SCORED[1], scores.SCORED[0]
    file = tmp_path / "folds.json"
    file.write_text(json.dumps({"scores": {own: {"data_center": {"dice": 0.5}}, "folds": 4}}))
    assert scores.shipped(tmp_path) == {"dice_shipped": 0.5, "dice_shipped_on": own}
    file.write_text(json.dumps({"scores": {k: {"data_center": {"dice": d}} for k, d in ((own, 0.5), (other, 0.7))}}))
    assert scores.shipped(tmp_path)["dice_shipped"] == 0.7


@pytest.mark.parametrize("text", [None, "", "[]", '{"scores": {}}', '{"scores": 3}'])
def test_a_folder_without_scores_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "folds.json").write_text(text)
    with pytest.raises(ConfigError, match=r"folds\.json"):
        scores.shipped(tmp_path)


class TestBesideTheRival:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("segmentation_models_pytorch", reason="pip install 'overwatt[bench]'")

    def test_both_have_the_same_outputs_and_their_size_is_counted(self):
        x = torch.zeros(1, 3, 64, 64)
        for net in (Rival(), SiteNet(3, 4)):
            with torch.inference_mode():
                assert net.eval()(x).shape == (1, len(OUTPUTS), 64, 64)
        conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
        assert size_of(conv) == {"parameters": 135, "macs_per_px": 135}

    def test_speed_alone(self, capsys, small_window):
        command.main(["--json", "--no-training", "--rounds", "1", "--side-px", "32"])
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert set(FIGURES) <= set(result)
        assert result["ratio"] > 0
        assert result["dice"] is result["rival_dice"] is result["dice_shipped"] is None
        assert result["speed"]["one_thread"]["threads"] == result["speed"]["predict_path"]["threads"] == 1

    @pytest.mark.slow
    def test_dice_on_simulated_scenes_where_the_real_picture_is_missing(
        self, capsys, small_window, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("OVERWATT_REAL_DATA", str(tmp_path))
        monkeypatch.setattr(command, "WINDOW_PX", 128)
        options = [
            "--steps",
            "2",
            "--batch",
            "1",
            "--crop-px",
            "64",
            "--scenes",
            "2",
            "--rounds",
            "1",
            "--side-px",
            "32",
        ]
        command.main(["--json", *options, "--cache", str(tmp_path / "scenes")])
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert set(result["trained"]) == {"ours_random", "rival_random", "ours_imagenet"}
        assert "simulated" in result["dice_on"]
        assert result["training"]["real_pictures"] == 0
        for name, key in (("ours_random", "dice"), ("rival_random", "rival_dice")):
            assert result[key] == result["trained"][name]["simulated"]["data_center"]
            assert result[key] is None or 0 <= result[key] <= 1


@pytest.mark.realdata
def test_the_block_held_out_is_seen_by_none(realdata, monkeypatch):
    monkeypatch.setenv("OVERWATT_REAL_DATA", str(realdata))
    card = command.card_of(TINY)
    for block in range(4):
        real = scores.real_district(card, FoldSettings(), block, 0.6)
        learned = without(real.picture, real.held_out, 20)
        assert not (learned.valid & real.held_out).any()
        assert not learned.optical[:, real.held_out].any()
        assert (real.picture.building[real.held_out] == 2).any()
    held_out = scores.real_district(card, FoldSettings(), command.parse([]).block, 0.6)
    assert {1, 2} <= set(np.unique(held_out.picture.building[held_out.held_out]))
