"""Gradient accumulation, half precision, early stopping, logs: each resumes to the same curve."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.network import SiteNet
from overwatt.models.training import train as trainer
from overwatt.models.training.checkpoint import Checks, Curve, curve, key_of
from overwatt.models.training.samples import Picture, batch
from overwatt.models.training.settings import LATER, TrainSettings
from overwatt.models.training.train import train

RGB = ("red", "green", "blue")
TINY = TrainSettings(seed=3, steps=4, batch=2, crop_px=64, width=4, imagenet=False, precision="float32")


def but(**changes):
    return TrainSettings(**(TINY.model_dump() | changes))


def picture(seed=0):
    rng = np.random.default_rng(seed)
    building, cooling = np.zeros((2, 96, 96), np.uint8)
    building[10:40, 10:40], building[50:80, 20:70] = 1, 2
    cooling[55:60, 25:60] = 1
    optical = rng.integers(0, 256, (3, 96, 96)).astype(np.uint8)
    return Picture(f"noise{seed}", optical, np.ones((96, 96), bool), building, cooling)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stopped_twice(folder, setting, **options):
    """The training, stopped after steps 1 and 3, with its curve."""
    at = folder / "net.pt"
    for stop in (1, 3):
        train([picture()], RGB, setting, checkpoint=at, stop_after=stop, **options)
    return train([picture()], RGB, setting, checkpoint=at, **options), curve(at)


def at_once(folder, setting, **options):
    at = folder / "whole.pt"
    return train([picture()], RGB, setting, checkpoint=at, **options), curve(at)


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 3},
        {"precision": "bfloat16"},
        {"precision": "float16", "batch": 1},
        {"accumulate": 2, "check_every": 2},
    ],
)
def test_a_resume_has_the_same_curve_and_weights(tmp_path, changes):
    val = [picture(5)] if "check_every" in changes else None
    net, whole = at_once(tmp_path, but(**changes), val=val)
    again, resumed = stopped_twice(tmp_path, but(**changes), val=val)
    assert whole == resumed
    assert [step for step, _ in whole.losses] == [1, 2, 3, 4]
    assert same(net, again)
    assert not same(net, train([picture()], RGB, TINY))


def test_float16_keeps_the_scale_of_its_gradients(tmp_path):
    at = tmp_path / "net.pt"
    train([picture()], RGB, but(precision="float16"), checkpoint=at, stop_after=1)
    scaler = torch.load(at, weights_only=True)["scaler"]
    assert scaler["scale"] > 0
    assert scaler["_growth_tracker"] in (0, 1)
    train([picture()], RGB, TINY, checkpoint=tmp_path / "plain.pt", stop_after=1)
    assert torch.load(tmp_path / "plain.pt", weights_only=True)["scaler"] == {}


def test_half_precision_learns_nearly_the_same(tmp_path):
    plain = at_once(tmp_path, but(steps=2))[1].losses
    for precision in ("bfloat16", "float16"):
        found = at_once(tmp_path / precision, but(precision=precision, steps=2))[1].losses
        assert found != plain
        np.testing.assert_allclose(found, plain, rtol=0.05)


def test_accumulated_steps_draw_every_batch_once(tmp_path, monkeypatch):
    drawn = []

    def noted(*pictures, **options):
        drawn.append(options["step"])
        return batch(*pictures, **options)

    monkeypatch.setattr(trainer, "batch", noted)
    train([picture()], RGB, but(accumulate=3), checkpoint=tmp_path / "net.pt", stop_after=2)
    assert drawn[:6] == [0, 1, 2, 3, 4, 5]
    drawn.clear()
    train([picture()], RGB, but(accumulate=3), checkpoint=tmp_path / "net.pt")
    assert drawn[:6] == [6, 7, 8, 9, 10, 11]


def test_an_accumulated_step_is_the_mean_over_its_batches(tmp_path):
    """Each batch is seen by the same network."""
    three = at_once(tmp_path, but(accumulate=3, steps=1))[1].losses[0][1]
    losses = []
    for k in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(TINY.seed)
            net = SiteNet(3, TINY.width).to(memory_format=torch.channels_last).train()
        b = batch([picture()], seed=3, step=k, size=2, size_px=64, mean=TINY.mean, std=TINY.std).to("cpu")
        with torch.no_grad():
            losses.append(float(trainer.loss_of(net(b.image), b)))
    assert len(set(losses)) == 3
    assert three == pytest.approx(np.mean(losses), rel=1e-5)


def test_without_a_lower_validation_loss_training_ends_early_at_the_best_state(tmp_path):
    worse = but(steps=30, rate=0.3, check_every=2, patience=2, val_crops=3)  # a rate that spoils the weights
    val = [picture(5)]
    net, found = at_once(tmp_path, worse, val=val)
    assert found.stopped
    assert found.losses[-1][0] == found.checks[-1][0] < 30
    assert [step for step, _ in found.checks] == list(range(2, found.losses[-1][0] + 1, 2))
    assert found.best_step == min(found.checks, key=lambda c: c[1])[0] == found.checks[-3][0]
    to_best = but(steps=30, rate=0.3, check_every=2, val_crops=3)
    at = tmp_path / "best.pt"
    assert same(net, train([picture()], RGB, to_best, checkpoint=at, stop_after=found.best_step, val=val))
    again, resumed = stopped_twice(tmp_path, worse, val=val)
    assert (resumed, same(net, again)) == (found, True)
    steps = []
    train([picture()], RGB, worse, checkpoint=tmp_path / "net.pt", val=val, report=lambda s, n, x: steps.append(s))
    assert steps == []  # a training that has ended stays ended


def test_checks_change_nothing_of_what_is_learned(tmp_path):
    plain = at_once(tmp_path, TINY)[1]
    checked = at_once(tmp_path / "val", but(check_every=1, val_crops=2), val=[picture(5)])[1]
    assert checked.losses == plain.losses
    assert len(checked.checks) == 4
    assert len({loss for _, loss in checked.checks}) == 4
    assert plain.checks == ()


def test_the_validation_loss_depends_on_the_pictures_and_not_on_when_it_is_asked(tmp_path):
    def first(pictures, setting):
        return at_once(tmp_path / f"{pictures[0].name}{setting.check_every}", setting, val=pictures)[1].checks

    every, second = first([picture(5)], but(check_every=1)), first([picture(5)], but(check_every=2))
    assert [c for c in every if c[0] % 2 == 0] == list(second)
    assert first([picture(6)], but(check_every=2)) != second


def test_what_cannot_be_checked_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="patience 2 needs validation pictures"):
        train([picture()], RGB, but(patience=2))
    with pytest.raises(ConfigError, match="validation: no pictures to check on"):
        train([picture()], RGB, TINY, val=[])
    four = Picture(
        "four", np.zeros((4, 96, 96), np.uint8), *(getattr(picture(), k) for k in ("valid", "building", "cooling"))
    )
    norm = but(mean=(0.5,) * 4, std=(0.2,) * 4)
    with pytest.raises(ConfigError, match="validation: picture 'noise5' has 3 bands, not 4"):
        train([four], (*RGB, "nir"), norm, val=[picture(5)])
    with pytest.raises(ConfigError, match="device 'gpu': known: auto, cpu, cuda"):
        train([picture()], RGB, TINY, device="gpu")
    at = tmp_path / "net.pt"
    train([picture()], RGB, TINY, checkpoint=at, stop_after=1, val=[picture(5)])
    with pytest.raises(ConfigError, match="other pictures"):
        train([picture()], RGB, TINY, checkpoint=at, val=[picture(6)])


def test_settings_that_came_later_do_not_disown_older_checkpoints():
    assert not any(name in key_of(TINY, LATER) for name in LATER)
    assert '"accumulate":2' in key_of(but(accumulate=2), LATER)
    assert key_of(but(patience=3), LATER) != key_of(TINY, LATER)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 4) | st.just(float("nan")), max_size=12), st.integers(1, 3))
def test_laws_of_early_stopping(losses, patience):
    checks, net = Checks(patience), torch.nn.Linear(1, 1, bias=False)
    for number, loss in enumerate(losses):
        if checks.stop:
            break
        torch.nn.init.constant_(net.weight, number)
        checks.add(number, loss, net)
    seen = [x for _, x in checks.seen]
    finite = [x for x in seen if np.isfinite(x)]
    if finite:
        assert seen[checks.best_step] == min(finite)
        assert float(checks.best["weight"]) == checks.best_step == seen.index(min(finite))
    else:
        assert (checks.best, checks.best_step) == (None, None)
    assert checks.stop == (len(seen) - 1 - (checks.best_step if finite else -1) >= patience)
    after = Checks(patience)
    after.load(checks.state())
    assert (after.stop, after.best_step) == (checks.stop, checks.best_step)


def test_tensorboard_shows_every_step_once_after_a_kill(tmp_path):
    at, logs = tmp_path / "net.pt", tmp_path / "logs"
    setting, val = but(check_every=2, steps=6), [picture(5)]

    def die(step, steps, loss):
        if step == 3:
            raise KeyboardInterrupt

    train([picture()], RGB, setting, checkpoint=at, log_dir=logs, val=val, stop_after=2)
    with pytest.raises(KeyboardInterrupt):  # step 3 is logged, its checkpoint is not written
        train([picture()], RGB, setting, checkpoint=at, log_dir=logs, val=val, report=die)
    train([picture()], RGB, setting, checkpoint=at, log_dir=logs, val=val)
    read = EventAccumulator(str(logs))
    read.Reload()
    whole = at_once(tmp_path, setting, val=val)[1]
    for tag, expected in (("loss/training", whole.losses), ("loss/validation", whole.checks)):
        assert [e.step for e in read.Scalars(tag)] == [step for step, _ in expected]
        np.testing.assert_allclose([e.value for e in read.Scalars(tag)], [x for _, x in expected], rtol=1e-6)
    assert len(read.Scalars("rate")) == len(read.Scalars("gradient norm")) == 6


def test_a_curve_without_a_checkpoint_is_refused(tmp_path):
    (tmp_path / "net.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"net\.pt: not a readable checkpoint"):
        curve(tmp_path / "net.pt")
    old = {"settings": "{}", "step": 2, "net": {}, "optimiser": {}}
    torch.save(old, tmp_path / "old.pt")
    assert curve(tmp_path / "old.pt") == Curve((), (), None, False)
