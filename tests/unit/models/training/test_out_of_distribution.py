"""Novelty: about 1 on the ground it was measured on, larger elsewhere, and savable whatever the features."""

import numpy as np
import pytest
import torch
from torch import nn

from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.network import NOVELTY_CHANNELS, SiteNet
from overwatt.models.detector.weights import load, save
from overwatt.models.training import out_of_distribution
from overwatt.models.training.samples import IGNORE, Picture

CARD = ModelCard(
    name="n", version="0", created="2026-01-01", licence="CC0-1.0", width=4, bands=("red", "green", "blue"),
    units="display_uint8", gsd_m=2.0, gsd_range_m=(1, 3), native_range_m=(1, 3), mean=(0.5,) * 3, std=(0.25,) * 3,
)  # fmt: skip


def make_net():
    """An untrained network whose every depth is alive."""
    torch.manual_seed(0)
    net = SiteNet(3, width=4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)))
    return net.eval()


def features(n, seed=0, shift=0.0):
    """(n, channels) of a correlated normal distribution, moved by `shift` sd along its first axis."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(9).normal(size=(NOVELTY_CHANNELS, NOVELTY_CHANNELS))
    white = rng.normal(size=(n, NOVELTY_CHANNELS))
    white[:, 0] += shift
    return torch.from_numpy(white @ axes).float()


def mean_novelty(net, x):
    return float(net.novelty(x.T[None, :, :, None]).mean())


def test_it_is_one_on_its_own_ground_and_grows_away_from_it():
    net = make_net()
    assert mean_novelty(net, features(50)) == 0  # nothing measured yet
    net.fit_novelty(features(5000))
    own, other, far = (mean_novelty(net, features(500, 1, shift)) for shift in (0.0, 10.0, 40.0))
    assert own == pytest.approx(1, abs=0.15)
    assert own < other < far


def picture(seed, level=0.5, side=640):
    rng = np.random.default_rng(seed)
    coarse = rng.normal(level * 255, 25, (3, side // 8, side // 8)).repeat(8, 1).repeat(8, 2)
    building = np.zeros((side, side), np.uint8)
    building[40:600, 40:600] = 2
    pixels = np.clip(coarse, 0, 255).astype(np.uint8)
    return Picture(f"p{seed}", pixels, np.ones((side, side), bool), building, building * 0, gsd_m=2.0)


def test_it_is_fitted_on_the_buildings_of_pictures_across_all_their_windows(tmp_path):
    net = make_net()
    assert out_of_distribution.fit(net, CARD, [picture(0)])
    saved = save(net, CARD, tmp_path / "n.safetensors")
    again = load(tmp_path / "n.safetensors")[0]
    assert saved.weights_sha256
    assert float(again.novelty_map.abs().sum()) > 0
    seen = []
    with torch.inference_mode():
        for p in (picture(1), picture(2, level=0.9)):
            x = torch.from_numpy((p.optical[None] / 255 - 0.5) / 0.25).float()
            seen.append(again.novelty(again.forward_with_features(x)[1]))
    inner = [float(s[0, 8:72, 8:72].mean()) for s in seen]
    assert inner[0] == pytest.approx(1, abs=0.3)
    assert inner[1] > 1.5 * inner[0]


def test_ground_without_labelled_buildings_leaves_it_unknown():
    net, bare = make_net(), picture(0)
    bare.building[:] = IGNORE
    assert not out_of_distribution.fit(net, CARD, [bare])
    assert not out_of_distribution.fit(net, CARD, [])
    assert float(net.novelty_map.abs().sum()) == 0


def test_dead_features_do_not_leave_half_precision(tmp_path):
    net = make_net()
    net.fit_novelty(torch.zeros(300, NOVELTY_CHANNELS))
    save(net, CARD, tmp_path / "n.safetensors")
