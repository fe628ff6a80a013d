import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from overwatt.models.detector.card import DEFAULT_WEIGHTS
from overwatt.models.detector.cpu_inference import arithmetic, fast
from overwatt.models.detector.network import NOVELTY_CHANNELS, SiteNet
from overwatt.models.detector.weights import load


def make_net(bands, width, outputs, seed=0):
    """An untrained network whose batch norms all do something, each channel its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = SiteNet(bands, width, outputs)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.05, 0.3)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
    return net.eval()


def noise(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def like_aerial(side):
    """Flat roofs with sharp edges on smooth ground, a strip without data: uint8 colours, 0..1."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side] / side
    picture = np.stack([0.3 + 0.1 * np.sin(3 * x + band) * y for band in range(3)])
    for _ in range(30):
        y0, x0 = rng.integers(0, side, 2)
        height, wide = rng.integers(3, side // 3, 2)
        picture[:, y0 : y0 + height, x0 : x0 + wide] = rng.uniform(0.1, 0.95, (3, 1, 1))
    return np.round(255 * (picture + rng.normal(0, 0.02, picture.shape)).clip(0, 1)) / 255


@settings(max_examples=8, deadline=None)
@given(
    st.sampled_from([1, 3, 5]),
    st.sampled_from([4, 5, 16]),
    st.sampled_from([4, 6]),
    st.tuples(st.integers(1, 2), st.sampled_from([32, 64]), st.sampled_from([32, 96])),
)
def test_in_double_precision_it_is_the_same_function_borders_included(bands, width, outputs, shape):
    net = make_net(bands, width, outputs).double()
    x = noise(shape[0], bands, *shape[1:])
    with torch.inference_mode():
        logits, features, finest = net.forward_with_features(x)
        found, same, fine = fast(net).forward_with_features(x)
    assert float(logits.std()) > 0.01
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-10)
    torch.testing.assert_close(same, features, rtol=0, atol=1e-10)
    torch.testing.assert_close(fine, finest, rtol=0, atol=1e-10)


def test_a_pixel_row_at_any_border_moves_both_alike():
    net = make_net(3, 4, 6).double()
    x = noise(1, 3, 32, 64).repeat(5, 1, 1, 1)
    borders = (np.s_[..., 0, :], np.s_[..., 0], np.s_[..., -1, :], np.s_[..., -1])
    for number, border in enumerate(borders, 1):
        x[number][border] += 1
    with torch.inference_mode():
        logits, found = net(x), fast(net)(x)
    for number, border in enumerate(borders, 1):
        change = logits[number] - logits[0]
        assert float(change[border].abs().max()) > 0.01
        torch.testing.assert_close(found[number] - found[0], change, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["noise", "aerial"])
def test_shipped_weights_give_their_logits_within_a_ten_thousandth(kind):
    net, card = load(DEFAULT_WEIGHTS)
    if kind == "noise":
        x = noise(1, card.channels, 160, 160).float()
    else:
        optical = np.resize(like_aerial(160), (len(card.bands), 160, 160))
        n = len(card.bands)
        values = (optical - np.array(card.mean)[:n, None, None]) / np.array(card.std)[:n, None, None]
        x = torch.zeros(1, card.channels, 160, 160)
        x[0, :n] = torch.from_numpy(values)
        x[..., 100:120] = 0
    net.eval()
    with torch.inference_mode():
        logits = net(x)
        found = fast(net)(x.to(memory_format=torch.channels_last))
    assert float(logits.std()) > 0.5
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, logits, rtol=0, atol=1e-4)


def test_the_network_stays_as_it_is_and_the_copy_does_not_follow_it():
    net = make_net(3, 4, 6).train()
    before, x = copy.deepcopy(net.state_dict()), noise(1, 3, 32, 32).float()
    quick = fast(net)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not quick.training
    with torch.inference_mode():
        expected = quick(x)
        for parameter in net.parameters():
            parameter.zero_()
        assert torch.equal(quick(x), expected)


def test_what_a_detector_asks_of_a_network_is_there():
    net = make_net(4, 5, 6)
    net.fit_novelty(noise(500, NOVELTY_CHANNELS).float())
    quick = fast(net)
    assert (quick.bands, quick.width, quick.outputs) == (4, 5, 6)
    x = noise(1, 4, 64, 64).float()
    with torch.inference_mode():
        far, found = (n.novelty(n.forward_with_features(x)[1]) for n in (net, quick))
    assert far.min() > 0
    torch.testing.assert_close(found, far, rtol=1e-4, atol=0)


def test_no_batch_norm_padding_or_gradient_is_left_and_arithmetic_has_its_own_name():
    net = make_net(3, 4, 6)
    quick = fast(net)
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.ZeroPad2d)) for m in quick.modules())
    assert not any(p.requires_grad for p in quick.parameters())
    assert arithmetic(net) == "as trained"
    assert arithmetic(quick) not in ("", "as trained")


def test_a_copy_of_a_copy_gives_the_same_bits():
    quick, x = fast(make_net(3, 4, 6)), noise(1, 3, 32, 32).float()
    with torch.inference_mode():
        assert torch.equal(fast(quick)(x), quick(x))
