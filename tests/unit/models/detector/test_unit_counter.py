"""The branch that counts machines: learned alone, kept in its file, run where pixels are fine."""

import numpy as np
import pytest
import torch

from overwatt.aoi.errors import ModelContractError
from overwatt.models.detector import weights as weight_files
from overwatt.models.detector.card import CHANNELS, ModelCard
from overwatt.models.detector.cpu_inference import fast
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import SiteNet, widened
from overwatt.models.detector.windows import normalise
from overwatt.models.training.samples import Picture
from overwatt.models.training.settings import TrainSettings
from overwatt.models.training.train import train
from tests.support import naming

RGB = ("red", "green", "blue")
UNITS = TrainSettings(
    learn="units", seed=5, steps=60, batch=4, crop_px=64, width=4, rate=0.01, imagenet=False, precision="float32"
)
CARD = ModelCard(
    name="tiny", version="0", created="2026-11-24", licence="Apache-2.0", width=4, bands=RGB, units="display_uint8",
    gsd_m=0.5, gsd_range_m=(0.1, 4), native_range_m=(0.5, 4), mean=UNITS.mean, std=UNITS.std,
)  # fmt: skip


def bank(seed=0):
    """A dark roof with a bank of bright machines, 4 x 10 pixels with gaps of 3."""
    rng = np.random.default_rng(seed)
    unit = np.zeros((160, 160), np.uint8)
    for k in range(12):
        unit[60:70, 30 + 7 * k : 34 + 7 * k] = 1
    cooling = np.zeros_like(unit)
    cooling[60:70, 30:112] = 1
    building = np.zeros_like(unit)
    building[20:140, 20:140] = 2
    optical = np.clip(rng.normal(70, 6, (3, 160, 160)) + 120 * unit, 0, 255).astype(np.uint8)
    return Picture(f"bank{seed}", optical, unit < 2, building, cooling, gsd_m=0.5, unit=unit, scale=(0.95, 1.05))


@pytest.fixture(scope="module")
def counted():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = SiteNet(3, 4).eval()
    yield start, train([bank(0), bank(1)], RGB, UNITS, start=start)
    torch.set_num_threads(before)


def test_machines_of_a_bank_come_apart_in_the_form_for_inference_too(counted):
    _, net = counted
    picture = bank(7)
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (UNITS.mean, UNITS.std))
    x = torch.from_numpy((picture.optical.astype(np.float32) / 255 - mean) / std)[None]
    quick = fast(net)
    assert quick.counter is not None
    with torch.inference_mode():
        plain, folded = net.counter(x), quick.counter(x)
    torch.testing.assert_close(plain, folded, rtol=1e-3, atol=1e-3)
    found = (plain[0, 0] > 0).numpy()
    middle = found[65, 28:116].astype(int)
    assert (np.diff(middle) == 1).sum() == 12


@pytest.mark.parametrize("gsd_m", [0.5, 0.6, 0.7, 1.0])
def test_it_runs_where_pixels_are_fine_and_equipment_may_be(counted, gsd_m):
    start, net = counted
    for equipment, ran in ((5.0, gsd_m <= 0.6), (-20.0, False)):
        for n in (start, net):
            with torch.no_grad():
                n.head.bias[3] = equipment
        pixels = bank(0).optical[:, :128, :128].astype(np.float32) / 255
        x = [normalise(CARD, pixels, np.ones((128, 128), bool))]
        without, with_counter = (Detector.of(n, CARD, "cpu").windows(x, gsd_m)[0] for n in (start, net))
        channel = CHANNELS.index("unit")
        assert np.array_equal(without[channel], with_counter[channel]) != ran
        others = [i for i in range(len(CHANNELS)) if i != channel]
        assert np.array_equal(without[others], with_counter[others])


def test_its_file_says_so_and_other_bands_keep_it(counted, tmp_path):
    _, net = counted
    saved = weight_files.save(net, CARD, tmp_path / "w.safetensors")
    assert saved.counting
    again, card = weight_files.load(tmp_path / "w.safetensors")
    assert card.counting
    assert again.counter is not None
    wide = widened(again, RGB, ("blue", "green", "red", "heat"))
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            wide.counter(torch.cat([x.flip(1), torch.randn(1, 1, 64, 64)], 1)), again.counter(x), rtol=1e-4, atol=1e-4
        )
    text = (tmp_path / "w.json").read_text().replace('"counting": true', '"counting": false')
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(ModelContractError, match=naming("w.safetensors", "tensors")):
        weight_files.load(tmp_path / "w.safetensors")
