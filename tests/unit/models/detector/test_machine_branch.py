"""The branch for machines on any roof: learned alone, kept in its file, run on fine pixels with something built."""

import numpy as np
import pytest
import torch

from overwatt.aoi.errors import ModelContractError
from overwatt.models.detector import weights as weight_files
from overwatt.models.detector.card import CHANNELS, MACHINE_OUTPUTS, ModelCard
from overwatt.models.detector.cpu_inference import fast
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import SiteNet, widened
from overwatt.models.detector.windows import normalise
from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.models.training.samples import EQUIPMENT, IGNORE, Picture, batch
from overwatt.models.training.settings import TrainSettings
from overwatt.models.training.train import train
from tests.support import naming

RGB = ("red", "green", "blue")
BRANCH = TrainSettings(
    learn="machines", seed=5, steps=60, batch=4, crop_px=64, width=4, rate=0.01, imagenet=False, precision="float32"
)
CARD = ModelCard(
    name="tiny", version="0", created="2026-11-24", licence="Apache-2.0", width=4, bands=RGB, units="display_uint8",
    gsd_m=0.5, gsd_range_m=(0.1, 4), native_range_m=(0.5, 4), mean=BRANCH.mean, std=BRANCH.std,
)  # fmt: skip


def bank(seed=0):
    """A dark roof that is no data center with a bank of bright chillers, 4 x 10 pixels with gaps of 3."""
    rng = np.random.default_rng(seed)
    unit = np.zeros((160, 160), np.uint8)
    for k in range(12):
        unit[60:70, 30 + 7 * k : 34 + 7 * k] = 1
    cooling = np.zeros_like(unit)
    cooling[60:70, 30:112] = 1
    building = np.zeros_like(unit)
    building[20:140, 20:140] = 1
    kind = np.where(cooling == 1, MACHINE_KINDS.index("chiller"), IGNORE).astype(np.uint8)
    optical = np.clip(rng.normal(70, 6, (3, 160, 160)) + 120 * unit, 0, 255).astype(np.uint8)
    return Picture(f"bank{seed}", optical, unit < 2, building, cooling, gsd_m=0.5, unit=unit, kind=kind, scale=(1, 1.1))


def normalised(picture):
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (BRANCH.mean, BRANCH.std))
    return torch.from_numpy((picture.optical.astype(np.float32) / 255 - mean) / std)[None]


@pytest.fixture(scope="module")
def learned():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = SiteNet(3, 4).eval()
    yield start, train([bank(0), bank(1)], RGB, BRANCH, start=start)
    torch.set_num_threads(before)


@pytest.mark.parametrize(("learn", "branch"), [("units", "counter"), ("machines", "machines")])
def test_nothing_but_the_branch_learns(learned, tmp_path, learn, branch):
    start, _ = learned
    settings = BRANCH.model_copy(update={"learn": learn})
    net = train([bank(0), bank(1)], RGB, settings, start=start)
    before, after = start.state_dict(), net.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)  # batch statistics included
    assert {k.split(".")[0] for k in after.keys() - before.keys()} == {branch}
    train([bank(0), bank(1)], RGB, settings, start=start, checkpoint=tmp_path / "c.pt", stop_after=20)
    again = train([bank(0), bank(1)], RGB, settings, start=start, checkpoint=tmp_path / "c.pt").state_dict()
    assert all(torch.equal(v, again[k]) for k, v in after.items())
    further = train([bank(2)], RGB, settings.model_copy(update={"learn": "all", "steps": 1}), start=net).state_dict()
    assert all(torch.equal(v, further[k]) for k, v in after.items() if k.startswith(f"{branch}."))
    assert not torch.equal(after["head.weight"], further["head.weight"])


def test_machines_on_an_ordinary_roof_are_outlined_and_told(learned):
    _, net = learned
    picture = bank(7)
    x = normalised(picture)
    with torch.inference_mode():
        own, quick = (n.machine_logits(x, n.forward_with_features(x)[2]) for n in (net, fast(net)))
    torch.testing.assert_close(own, quick, rtol=1e-3, atol=1e-3)
    outline, truth = own[0, 0] > 0, torch.from_numpy(picture.cooling == 1)
    assert (outline & truth).sum() > 0.8 * (outline | truth).sum()
    told = own[0, 1:, truth].argmax(0)
    assert (told == MACHINE_KINDS.index("chiller")).float().mean() > 0.9


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_crops_are_near_machines_as_often_as_asked(share):
    nothing = np.zeros((400, 400), np.uint8)
    cooling = nothing.copy()
    cooling[196:204, 196:204] = 1
    optical = np.full((3, 400, 400), 90, np.uint8)
    picture = Picture("middle", optical, nothing < 1, nothing, cooling, gsd_m=0.5, scale=(1, 1))
    b = batch([picture], seed=1, step=0, size=60, size_px=64, mean=BRANCH.mean, std=BRANCH.std, equipment=share)
    near = np.mean([bool((c == 1).any()) for c in b.cooling])
    assert abs(near - share) < 0.2


def test_crops_near_machines_show_each_kind_as_often():
    kind = np.full((400, 400), IGNORE, np.uint8)
    kind[40:140, 40:140] = MACHINE_KINDS.index("chiller")
    kind[300:303, 300:303] = MACHINE_KINDS.index("tower")
    nothing = np.zeros(kind.shape, np.uint8)
    cooling = (kind != IGNORE).astype(np.uint8)
    picture = Picture("two", np.full((3, 400, 400), 90, np.uint8), cooling < 2, nothing, cooling, gsd_m=0.5, kind=kind)
    at = picture.centres(EQUIPMENT)
    assert np.mean(kind[tuple(at.T)] == MACHINE_KINDS.index("tower")) == 0.5


@pytest.mark.parametrize("gsd_m", [0.5, 0.6, 0.7, 1.0])
def test_it_runs_where_pixels_are_fine_and_something_is_built(learned, gsd_m):
    start, net = learned
    for built, ran in ((-20.0, gsd_m <= 0.6), (20.0, False)):
        for n in (start, net):
            with torch.no_grad():
                n.head.bias[0] = built  # of background
                n.head.bias[3] = -20.0
        pixels = bank(0).optical[:, :128, :128].astype(np.float32) / 255
        x = [normalise(CARD, pixels, np.ones((128, 128), bool))]
        without, with_branch = (Detector.of(n, CARD, "cpu").windows(x, gsd_m)[0] for n in (start, net))
        for channel, name in enumerate(CHANNELS):
            same = np.array_equal(without[channel], with_branch[channel])
            if name in MACHINE_OUTPUTS:
                assert same != ran, name
            else:
                assert same, name
        assert (with_branch[3] >= without[3]).all()  # what the rest of the network outlines stays


def test_its_file_says_so_and_other_bands_keep_it(learned, tmp_path):
    _, net = learned
    saved = weight_files.save(net, CARD, tmp_path / "w.safetensors")
    assert saved.machines
    again, card = weight_files.load(tmp_path / "w.safetensors")
    assert card.machines
    assert again.machines is not None
    wide = widened(again, RGB, ("blue", "green", "red", "heat"))
    x = torch.randn(1, 3, 64, 64)
    more = torch.cat([x.flip(1), torch.randn(1, 1, 64, 64)], 1)
    with torch.inference_mode():
        narrow, other = (n.machine_logits(i, n.forward_with_features(i)[2]) for n, i in ((again, x), (wide, more)))
    torch.testing.assert_close(other, narrow, rtol=1e-4, atol=1e-4)
    text = (tmp_path / "w.json").read_text().replace('"machines": true', '"machines": false')
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(ModelContractError, match=naming("w.safetensors", "tensors")):
        weight_files.load(tmp_path / "w.safetensors")


def test_weights_kept_from_the_start(tmp_path):
    """The result is the weighted mean of start and trained weights; outputs that the start lacks are as trained."""
    torch.manual_seed(1)
    start = SiteNet(3, 4, outputs=6).eval()
    settings = BRANCH.model_copy(update={"learn": "all", "steps": 3})
    trained = train([bank(0)], RGB, settings, start=start).state_dict()
    kept = train([bank(0)], RGB, settings.model_copy(update={"keep_start": 0.25}), start=start).state_dict()
    for name, given in start.state_dict().items():
        if given.is_floating_point():
            expected = 0.25 * given + 0.75 * trained[name][: len(given)]
            torch.testing.assert_close(kept[name][: len(given)], expected, rtol=1e-4, atol=1e-5)
            assert torch.equal(kept[name][len(given) :], trained[name][len(given) :])
