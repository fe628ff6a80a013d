import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import BASE_OUTPUTS, OUTPUTS
from overwatt.models.detector.network import SiteNet, adopt
from overwatt.models.training import train as trainer
from overwatt.models.training.checkpoint import curve
from overwatt.models.training.loss import loss_of
from overwatt.models.training.samples import IGNORE, Batch, Picture, batch
from overwatt.models.training.settings import TrainSettings
from overwatt.models.training.train import train
from tests.support import naming

RGB = ("red", "green", "blue")
TINY = TrainSettings(seed=3, steps=4, batch=2, crop_px=64, width=4, imagenet=False, precision="float32")


def picture(seed=0, bands=3):
    rng = np.random.default_rng(seed)
    building = np.zeros((96, 96), np.uint8)
    building[10:40, 10:40], building[50:80, 20:70], building[:5] = 1, 2, IGNORE
    cooling = np.zeros((96, 96), np.uint8)
    cooling[55:60, 25:60] = 1
    optical = rng.integers(0, 256, (bands, 96, 96)).astype(np.uint8)
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


@pytest.fixture(scope="module")
def undisturbed():
    losses = []
    net = train([picture()], RGB, TINY, report=lambda step, steps, loss: losses.append((step, steps, loss)))
    return net, losses


def test_every_step_is_reported_and_the_network_is_ready_to_use(undisturbed):
    net, losses = undisturbed
    assert [(step, steps) for step, steps, _ in losses] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(np.isfinite(loss) for *_, loss in losses)
    assert not net.training
    assert all(p.device.type == "cpu" and p.isfinite().all() for p in net.parameters())


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before(undisturbed):
    torch.rand(7)
    assert same(train([picture()], RGB, TINY), undisturbed[0])


def test_another_seed_or_picture_gives_other_weights(undisturbed):
    assert not same(train([picture()], RGB, TINY.model_copy(update={"seed": 4})), undisturbed[0])
    assert not same(train([picture(1)], RGB, TINY), undisturbed[0])


def test_every_step_learns_from_its_own_batch_after_a_resume_too(tmp_path, monkeypatch):
    drawn = []

    def noted(*pictures, **options):
        drawn.append(options["step"])
        return batch(*pictures, **options)

    monkeypatch.setattr(trainer, "batch", noted)
    train([picture()], RGB, TINY, checkpoint=tmp_path / "net.pt", stop_after=2)
    assert drawn[:2] == [0, 1]
    drawn.clear()
    train([picture()], RGB, TINY, checkpoint=tmp_path / "net.pt")
    assert drawn[:2] == [2, 3]


@pytest.mark.parametrize("stops", [(1,), (2, 3), (4,)])
def test_stopped_and_resumed_is_undisturbed_bit_for_bit(tmp_path, undisturbed, stops):
    checkpoint = tmp_path / "run" / "net.pt"
    steps = []
    for stop in stops:
        train(
            [picture()],
            RGB,
            TINY,
            checkpoint=checkpoint,
            stop_after=stop,
            report=lambda s, n, x: steps.append(s),
        )
    net = train([picture()], RGB, TINY, checkpoint=checkpoint, report=lambda s, n, x: steps.append(s))
    assert steps == [1, 2, 3, 4]  # nothing is trained twice
    assert same(net, undisturbed[0])
    assert [p.name for p in checkpoint.parent.iterdir()] == ["net.pt"]
    assert curve(checkpoint).losses == tuple((s, x) for s, _, x in undisturbed[1])


def test_killed_between_checkpoints_is_undisturbed_bit_for_bit(tmp_path, undisturbed):
    checkpoint = tmp_path / "net.pt"

    def die(step, steps, loss):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([picture()], RGB, TINY, checkpoint=checkpoint, report=die, save_every_s=-1.0)
    assert checkpoint.is_file()
    assert same(train([picture()], RGB, TINY, checkpoint=checkpoint), undisturbed[0])


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    checkpoint = tmp_path / "net.pt"
    train([picture()], RGB, TINY, checkpoint=checkpoint, stop_after=1)
    with pytest.raises(ConfigError, match=naming("net.pt", "settings")):
        train([picture()], RGB, TINY.model_copy(update={"rate": 2e-3}), checkpoint=checkpoint)
    relabelled = picture()
    relabelled.building[90, 90] = 1
    with pytest.raises(ConfigError, match=naming("net.pt", "pictures", "bands", "start")):
        train([relabelled], RGB, TINY, checkpoint=checkpoint)
    with pytest.raises(ConfigError, match=naming("net.pt", "pictures", "bands", "start")):
        train([picture()], RGB[::-1], TINY, checkpoint=checkpoint)


def test_a_given_start_is_gone_on_from_and_survives_a_stop(tmp_path, undisturbed):
    first, checkpoint = undisturbed[0], tmp_path / "net.pt"
    before = {k: v.clone() for k, v in first.state_dict().items()}
    on = train([picture(1)], RGB, TINY, start=first)
    assert not same(on, train([picture(1)], RGB, TINY))
    train([picture(1)], RGB, TINY, start=first, checkpoint=checkpoint, stop_after=2)
    with pytest.raises(ConfigError, match=naming("net.pt", "pictures", "bands", "start")):
        train([picture(1)], RGB, TINY, checkpoint=checkpoint)
    assert same(train([picture(1)], RGB, TINY, start=first, checkpoint=checkpoint), on)
    assert all(torch.equal(before[k], v) for k, v in first.state_dict().items())  # the start is left as it was


def test_an_encoder_at_rate_0_stays_as_it_was_batch_norm_included(tmp_path, undisturbed):
    start = undisturbed[0]
    frozen = TINY.model_copy(update={"encoder_rate": 0.0})
    train([picture(1)], RGB, frozen, start=start, checkpoint=tmp_path / "c.pt", stop_after=2)
    net = train([picture(1)], RGB, frozen, start=start, checkpoint=tmp_path / "c.pt")
    before, after = start.state_dict(), net.state_dict()
    held = [k for k in before if k.startswith(("stem.", "blocks."))]
    assert all(torch.equal(before[k], after[k]) for k in held)
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert same(net, train([picture(1)], RGB, frozen, start=start))


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_damaged_checkpoint_is_refused(tmp_path, keep):
    checkpoint = tmp_path / "net.pt"
    torch.save({"settings": TINY.model_dump_json(), "step": 1, "fill": torch.zeros(1000)}, checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(ConfigError, match=naming("net.pt")):
        train([picture()], RGB, TINY, checkpoint=checkpoint)


def test_settings_and_pictures_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=naming("training", "pictures")):
        train([], RGB, TINY)
    with pytest.raises(ConfigError, match=naming(3, "mean", 4, "red, green, blue, nir")):
        train([picture(bands=4)], (*RGB, "nir"), TINY)
    with pytest.raises(ConfigError, match=naming("'noise0'", 1, 3)):
        train([picture(bands=1)], RGB, TINY)
    for wrong in ({"crop_px": 32}, {"crop_px": 100}, {"steps": 0}, {"precision": "float8"}, {"epochs": 3}):
        with pytest.raises(ValidationError, match=naming(*wrong, *wrong.values())):
            TrainSettings(**wrong)


def test_the_smallest_crop_and_batch_train():
    one = TrainSettings(steps=1, batch=1, crop_px=64, width=4, imagenet=False, precision="float32")
    assert all(p.isfinite().all() for p in train([picture()], RGB, one).parameters())


def test_torch_is_left_as_it_was():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train([picture()], RGB, TINY.model_copy(update={"steps": 1}))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_pictures_without_anything_known_leave_finite_weights():
    blank = picture()
    blank.building[:], blank.cooling[:] = IGNORE, IGNORE
    losses = []
    one = TINY.model_copy(update={"steps": 2})
    net = train([blank], RGB, one, report=lambda s, n, loss: losses.append(loss))
    assert losses == [0, 0]
    assert all(p.isfinite().all() for p in net.parameters())


def against(logits, building, cooling):
    nothing = torch.full_like(cooling, IGNORE)
    return loss_of(logits, Batch(logits, building, cooling, *[nothing] * 4))


def truth(seed):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 12, 12, generator=g)
    building = torch.randint(0, 3, (2, 12, 12), generator=g)
    cooling = torch.randint(0, 2, (2, 12, 12), generator=g)
    unknown = torch.rand(2, 2, 12, 12, generator=g) < 0.3
    building[unknown[0]], cooling[unknown[1]] = IGNORE, IGNORE
    return logits, building, cooling


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(-50, 50))
def test_unknown_pixels_have_no_say_in_the_loss(seed, value):
    logits, building, cooling = truth(seed)
    other = logits.clone()
    other[:, :3] = torch.where((building == IGNORE)[:, None], value, other[:, :3])
    other[:, 3] = torch.where(cooling == IGNORE, value, other[:, 3])
    assert not torch.equal(other, logits)
    torch.testing.assert_close(against(other, building, cooling), against(logits, building, cooling))

    logits.requires_grad_()
    against(logits, building, cooling).backward()
    assert (logits.grad[:, :3].movedim(1, -1)[building == IGNORE] == 0).all()
    assert (logits.grad[:, 3][cooling == IGNORE] == 0).all()
    assert (logits.grad[:, 3][cooling != IGNORE] != 0).all()
    assert (logits.grad[:, :3].movedim(1, -1)[building != IGNORE] != 0).any(-1).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_going_towards_the_truth_lowers_the_loss(seed):
    logits, building, cooling = truth(seed)
    right = torch.zeros_like(logits)
    for label in range(3):
        right[:, label] = torch.where(building == label, 8.0, -8.0)
    right[:, 3] = torch.where(cooling == 1, 8.0, -8.0)
    losses = [float(against(f * right, building, cooling)) for f in (-1.0, 0.0, 0.1, 1.0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.01


def test_the_loss_by_hand():
    logits = torch.zeros(1, 4, 1, 2)
    building = torch.tensor([[[2, IGNORE]]])
    cooling = torch.tensor([[[1, 0]]])
    dice = (1 - 50 / (50 + 1 / 3)) + (1 - (2 / 3 + 50) / (50 + 1 + 1 / 3))
    equipment = (4 * np.log(2) + np.log(2)) / 2
    dice_eq = 1 - (1 + 50) / (1 + 1 + 50)
    expected = np.log(3) + 0.5 * dice + 1.5 * (equipment + 0.5 * dice_eq)
    assert float(against(logits, building, cooling)) == pytest.approx(expected, rel=1e-5)


def test_every_kind_of_machine_that_occurs_weighs_the_same_in_the_loss():
    logits = torch.zeros(1, len(OUTPUTS), 16, 16)
    nothing = torch.full((1, 16, 16), IGNORE)
    kind = nothing.clone()
    kind[0, :8], kind[0, 15, 15] = 0, 2  # a row of chillers and one generator
    first = len(BASE_OUTPUTS)

    def loss(lean, machine):
        guess = logits.clone()
        guess[:, first + lean] += 1.0
        return float(loss_of(guess, Batch(logits, nothing, nothing, nothing, nothing, machine, nothing)))

    assert loss(0, kind) == pytest.approx(loss(2, kind))
    assert loss(1, kind) > loss(0, kind)
    assert loss(0, nothing) == 0


def test_a_start_without_the_last_outputs_is_adopted():
    old, new = SiteNet(3, 4, outputs=len(BASE_OUTPUTS)), SiteNet(3, 4, machines=True)
    fresh = new.head.weight[len(BASE_OUTPUTS) :].clone()
    adopt(new, old)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(new.eval()(x)[:, : len(BASE_OUTPUTS)], old.eval()(x))
    assert torch.equal(new.head.weight[len(BASE_OUTPUTS) :], fresh)
