"""What runs on a GPU agrees with the CPU. Skipped, with the reason, where torch finds no CUDA device."""

import copy

import numpy as np
import pytest
import torch

from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import SiteNet
from overwatt.models.training.checkpoint import curve
from overwatt.models.training.samples import Picture
from overwatt.models.training.settings import TrainSettings
from overwatt.models.training.train import train

RGB = ("red", "green", "blue")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine"),
    # some gradients have no deterministic kernel there; train() asks for a warning only
    pytest.mark.filterwarnings("ignore:.*deterministic.*:UserWarning"),
]


def picture(seed=0):
    rng = np.random.default_rng(seed)
    building, cooling = np.zeros((2, 96, 96), np.uint8)
    building[10:40, 10:40], building[50:80, 20:70] = 1, 2
    cooling[55:60, 25:60] = 1
    optical = rng.integers(0, 256, (3, 96, 96)).astype(np.uint8)
    return Picture(f"noise{seed}", optical, np.ones((96, 96), bool), building, cooling)


def losses(tmp_path, device, precision, **changes):
    setting = TrainSettings(
        seed=3, steps=4, batch=2, crop_px=64, width=4, imagenet=False, precision=precision, **changes
    )
    at = tmp_path / f"{device}-{precision}.pt"
    val = [picture(5)] if "check_every" in changes else None
    net = train([picture()], RGB, setting, checkpoint=at, device=device, val=val)
    assert all(p.device.type == "cpu" and p.isfinite().all() for p in net.parameters())
    return [loss for _, loss in curve(at).losses]


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 0.01), ("auto", 0.05), ("float16", 0.05)])
def test_training_on_cuda_has_the_losses_of_the_cpu(tmp_path, precision, rtol):
    cpu = losses(tmp_path, "cpu", "float32")
    gpu = losses(tmp_path, "cuda", precision)
    assert gpu[0] == pytest.approx(cpu[0], rel=rtol)  # the same weights on the same crops
    assert gpu[-1] == pytest.approx(cpu[-1], rel=4 * rtol)  # and after some steps of rounding


def test_checks_and_accumulation_run_on_cuda(tmp_path):
    assert all(np.isfinite(losses(tmp_path, "cuda", "auto", accumulate=2, check_every=2, patience=5)))


def test_inference_on_cuda_is_that_of_the_cpu():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = SiteNet(3, 4).eval()
    card = ModelCard(
        name="test", version="1", created="2026-01-01", licence="Apache-2.0", width=4, bands=RGB, units="display_uint8",
        gsd_m=2.0, gsd_range_m=(0.5, 3), native_range_m=(1.5, 3), mean=(0.5,) * 3, std=(0.25,) * 3,
    )  # fmt: skip
    image = np.random.default_rng(0).normal(size=(3, 512, 512)).astype(np.float32)
    cpu = Detector.of(net, card, "cpu").windows([image], 2.0)
    gpu = Detector.of(copy.deepcopy(net), card, "cuda")
    apart = np.abs(gpu.windows([image], 2.0).astype(int) - cpu.astype(int))
    assert cpu.std() > 0
    assert apart.mean() < 1  # of 255: bfloat16 rounds to three digits
    assert np.quantile(apart, 0.999) <= 8
