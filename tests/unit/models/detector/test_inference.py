import functools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import nn

from overwatt.aoi.errors import GridError
from overwatt.aoi.grid import Lattice
from overwatt.models.detector import inference as predictor
from overwatt.models.detector.card import CHANNELS, EVIDENCE_STEP, EVIDENCE_ZERO, ModelCard
from overwatt.models.detector.inference import Detector, batch_for, predict
from overwatt.models.detector.network import SiteNet
from overwatt.models.detector.windows import lattice, second_look
from tests.support import naming

GSD_M = 1.0
SHAPE = (150, 210)  # of the test image; windows of 128 with a core of 64 make 3 x 4 of them


def make_card(thermal=()):
    return ModelCard(
        name="tiny",
        version="0",
        created="2026-11-23",
        licence="Apache-2.0",
        width=4,
        bands=("red", "green", "blue"),
        thermal_bands=thermal,
        units="display_uint8",
        gsd_m=2.0,
        gsd_range_m=(1.5, 2.9),
        native_range_m=(1.5, 2.9),
        mean=(0.5,) * (3 + len(thermal)),
        std=(0.25,) * (3 + len(thermal)),
    )


def make_net(channels=3):
    """An untrained network whose every depth is alive, so that its probabilities fill 0..255."""
    torch.manual_seed(0)
    net = SiteNet(channels, width=4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    noise = torch.randn(2, channels, 128, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        spread = net.train()(noise).std()
        net.head.weight.mul_(3 / spread)
    return net.eval()


@functools.cache
def image():
    """Values and validity of an image with a hole and a wide gap."""
    rng = np.random.default_rng(0)
    values = rng.random((3, *SHAPE)).astype(np.float32)
    valid = np.ones(SHAPE, bool)
    valid[30:50, 20:60] = False
    valid[:, 128:192] = False
    return values, valid


class Reader:
    """Reads windows of an image, padding what lies outside; counts them."""

    def __init__(self, values, valid):
        self.values, self.valid, self.asked = values, valid, []

    def __call__(self, y0, x0, y1, x1):
        self.asked.append((y0, x0, y1, x1))
        ny, nx = self.valid.shape
        values = np.zeros((len(self.values), y1 - y0, x1 - x0), np.float32)
        valid = np.zeros((y1 - y0, x1 - x0), bool)
        a0, b0, a1, b1 = max(y0, 0), max(x0, 0), min(y1, ny), min(x1, nx)
        if a0 < a1 and b0 < b1:
            inner = (slice(a0 - y0, a1 - y0), slice(b0 - x0, b1 - x0))
            values[:, *inner], valid[inner] = self.values[:, a0:a1, b0:b1], self.valid[a0:a1, b0:b1]
        return values, valid


GIVEN = []


class Counting(Detector):
    """A detector that notes how many windows it was given at a time."""

    def windows(self, images, gsd_m, kept=None):
        GIVEN.append(len(images))
        return super().windows(images, gsd_m, kept)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["mean", "peak"])
def detector(request):
    card = make_card().model_copy(update={"scoring": request.param})
    return Detector.of(make_net(), card, "cpu")


@pytest.fixture
def small(monkeypatch):
    """Small cells, so that a small image has many."""
    monkeypatch.setattr(predictor, "lattice", lambda shape, gsd_m: Lattice.of(shape, 64, 64, 64))


@pytest.fixture
def whole(detector, small):
    return predict(detector, Reader(*image()), SHAPE, GSD_M)


def test_the_whole_image_is_seen_where_it_is_valid_and_zero_elsewhere(whole):
    p, seen = whole
    _, valid = image()
    assert p.dtype == np.uint8
    assert p.shape == (len(CHANNELS), *SHAPE)
    np.testing.assert_array_equal(seen, valid)
    assert (p[:, ~valid] == 0).all()
    total = p[:3, valid].astype(int).sum(0)
    assert np.abs(total - 255).max() <= 2  # a softmax, rounded thrice
    assert all(layer[valid].std() > 10 for layer in p[:6])  # else the laws below say little
    assert p[CHANNELS.index("evidence"), valid].std() > 1  # an average over a square varies less
    assert (p[CHANNELS.index("novelty")] == 0).all()  # no training ground was measured


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_core_cut_out_gives_the_pixels_of_the_whole(detector, whole, data):
    y0 = data.draw(st.integers(0, SHAPE[0] - 1))
    x0 = data.draw(st.integers(0, SHAPE[1] - 1))
    y1 = data.draw(st.integers(y0 + 1, min(y0 + 90, SHAPE[0])))
    x1 = data.draw(st.integers(x0 + 1, min(x0 + 90, SHAPE[1])))
    p, seen = predict(detector, Reader(*image()), SHAPE, GSD_M, (y0, x0, y1, x1))
    np.testing.assert_array_equal(p, whole[0][:, y0:y1, x0:x1])
    np.testing.assert_array_equal(seen, whole[1][y0:y1, x0:x1])


def test_tiles_beside_one_another_make_the_whole(detector, whole):
    p = np.full_like(whole[0], 77)
    for y0, y1 in ((0, 65), (65, 150)):
        for x0, x1 in ((0, 100), (100, 210)):
            p[:, y0:y1, x0:x1] = predict(detector, Reader(*image()), SHAPE, GSD_M, (y0, x0, y1, x1))[0]
    np.testing.assert_array_equal(p, whole[0])


def test_what_lies_outside_of_the_image_is_not_seen(detector, whole):
    p, seen = predict(detector, Reader(*image()), SHAPE, GSD_M, (-10, -70, 20, 15))
    np.testing.assert_array_equal(p[:, 10:, 70:], whole[0][:, :20, :15])
    assert not seen[:10].any()
    assert not seen[:, :70].any()
    assert (p[:, ~seen] == 0).all()


def test_windows_without_a_valid_centre_are_skipped(small):
    _, valid = image()
    counting = Counting(make_net(), make_card(), "cpu", "float32", 1)
    GIVEN.clear()
    predict(counting, Reader(*image()), SHAPE, GSD_M)
    # 3 rows of cores at columns 0, 64, 128, 192; the third lies in the gap
    assert GIVEN == [1] * 9
    GIVEN.clear()
    p, seen = predict(counting, Reader(image()[0], valid & False), SHAPE, GSD_M)
    assert GIVEN == []
    assert not p.any()
    assert not seen.any()


@pytest.mark.parametrize("n", [1, 3, 4])
def test_a_batch_filled_with_zeros_gives_what_a_full_one_gives(n):
    rng = np.random.default_rng(2)
    windows = [rng.standard_normal((3, 64, 64)).astype(np.float32) for _ in range(4)]
    four = Detector(make_net(), make_card(), "cpu", "float32", 4)
    full = four.windows(windows, GSD_M)
    assert full.shape == (4, len(CHANNELS), 64, 64)
    assert (full[0] != full[1]).any()
    np.testing.assert_array_equal(four.windows(windows[:n], GSD_M), full[:n])
    np.testing.assert_array_equal(four.windows(windows[::-1], GSD_M)[::-1], full)  # nor does the neighbour matter


def test_another_batch_size_changes_nothing_but_rounding_and_holds_one_batch_at_a_time(detector, monkeypatch):
    monkeypatch.setattr(predictor, "lattice", lambda shape, gsd_m: Lattice.of(shape, 64, 0, 64))
    one, one_seen = predict(detector, Reader(*image()), SHAPE, GSD_M)
    GIVEN.clear()
    four = Counting(make_net(), detector.card, "cpu", "float32", 4)
    p, seen = predict(four, Reader(*image()), SHAPE, GSD_M)
    # of three rows and three columns of cells with valid pixels the last ones are smaller: others share a batch
    assert GIVEN == [4, 2, 2, 1]
    assert np.abs(p.astype(int) - one).max() <= 1
    np.testing.assert_array_equal(seen, one_seen)


def test_an_image_smaller_than_a_window_and_one_of_a_single_pixel(detector):
    rng = np.random.default_rng(3)
    for shape in ((1, 1), (37, 5)):
        values, valid = rng.random((3, *shape)).astype(np.float32), np.ones(shape, bool)
        reader = Reader(values, valid)
        p, seen = predict(detector, reader, shape, GSD_M)
        assert p.shape == (len(CHANNELS), *shape)
        assert seen.all()
        assert np.abs(p[:3].astype(int).sum(0) - 255).max() <= 2
        assert reader.asked == [(0, 0, *(-(-n // 64) * 64 for n in shape))]  # nothing beyond what the network needs


@pytest.mark.parametrize(("gsd_m", "computed_over_kept"), [(0.6, 1.332), (0.9, 1.332), (1.0, 1.307), (2.0, 1.307)])
def test_windows_fit_the_strides_and_little_more_is_computed_than_is_kept(gsd_m, computed_over_kept):
    cells = lattice((200_000, 200_000), gsd_m)
    cell = cells.cells((100_000, 100_000, 100_001, 100_001))[0]
    y0, x0, y1, x1 = cells.window(cell)
    assert (y1 - y0) % (32 * second_look(gsd_m)) == (x1 - x0) % (32 * second_look(gsd_m)) == 0
    assert (y1 - y0) * (x1 - x0) / np.prod(cells.cell_px) <= computed_over_kept
    assert cells.halo_px * gsd_m >= 64  # metres of context


def test_an_empty_core_is_refused(detector):
    with pytest.raises(GridError, match=naming("(5, 5, 5, 9)")):
        predict(detector, Reader(*image()), SHAPE, GSD_M, (5, 5, 5, 9))


def test_absent_thermal_bands_are_the_mean_and_present_ones_count(small):
    thermal = Detector.of(make_net(4), make_card(("lst",)), "cpu")
    values, valid = image()
    core = (0, 0, 40, 40)
    without, _ = predict(thermal, Reader(values, valid), SHAPE, GSD_M, core)
    mean = np.full((1, *SHAPE), 0.5, np.float32)
    as_mean, _ = predict(thermal, Reader(np.concatenate([values, mean]), valid), SHAPE, GSD_M, core)
    warm, _ = predict(thermal, Reader(np.concatenate([values, mean + 1]), valid), SHAPE, GSD_M, core)
    np.testing.assert_array_equal(without, as_mean)
    assert (warm != without).any()


def test_the_detector_is_ready_and_says_what_its_bits_depend_on(detector):
    training = make_net().train()
    assert not Detector.of(training, make_card(), "cpu").net.training
    text = detector.describe()
    for word in (
        torch.__version__,
        "cpu (",
        "float32",
        "batch 1",
        "threads 1",
        "folded",
        "cells 896 and 1664",
        "halo 64 and 128",
    ):
        assert word in text


def built(net):
    """The network, made to see data centers or other buildings alike nearly everywhere."""
    with torch.no_grad():
        net.head.bias[0] -= 6.0
    return net


def evidence(gsd_m, scoring="peak", net=None):
    card = make_card().model_copy(update={"scoring": scoring})
    window = np.random.default_rng(5).standard_normal((3, 128, 128)).astype(np.float32)
    return Detector(net or built(make_net()), card, "cpu", "float32", 1).windows([window], gsd_m)[0]


def test_scoring_by_the_mean_leaves_the_share_of_data_center_in_building():
    p = evidence(2.0, "mean").astype(float)
    share = p[2] / np.maximum(p[1] + p[2], 1)
    sure = p[1] + p[2] > 200
    assert np.abs(p[CHANNELS.index("evidence")] / 255 - share)[sure].max() < 0.01


def test_one_look_is_averaged_over_its_square():
    p = evidence(2.0).astype(float)  # a square of 24 m is 13 pixels, the odd number next to 12
    mean = ndimage.uniform_filter(p[2], 13)[10:-10, 10:-10] / 255
    odds = (p[CHANNELS.index("evidence")] - EVIDENCE_ZERO)[10:-10, 10:-10] * EVIDENCE_STEP
    # p[2] is rounded to 1 / 255, which is a step of 4 / 255 in log-odds around even odds, and more elsewhere
    assert np.abs(odds - np.log(mean / (1 - mean))).max() <= EVIDENCE_STEP / 2 + 0.01 / (mean * (1 - mean)).min()


@pytest.mark.parametrize(("gsd_m", "often"), [(0.5, 4), (0.74, 4), (0.75, 2), (1.49, 2), (1.5, 1), (10.0, 1)])
def test_fine_imagery_is_looked_at_twice(gsd_m, often):
    assert second_look(gsd_m) == often
    given_to = []
    net = built(make_net())
    net.register_forward_hook(lambda module, inputs, output: given_to.append(inputs[0].shape[-1]))
    p = evidence(gsd_m, net=net)
    # the first look goes by the method that gives features too, which a hook on the module does not see
    assert given_to == ([128 // often] if often > 1 else [])
    assert p.shape == (len(CHANNELS), 128, 128)


def test_ground_without_buildings_is_looked_at_once():
    net = make_net()
    with torch.no_grad():
        net.head.bias[0] += 30.0
    net.register_forward_hook(lambda *_: pytest.fail("a second look"))
    assert evidence(1.0, net=net)[CHANNELS.index("evidence")].max() == 0


@pytest.mark.parametrize(("gib", "batch"), [(0, 1), (2, 1), (4, 2), (8, 4), (24, 8), (80, 16), (141, 16)])
def test_batches_fit_the_free_memory_of_a_gpu(gib, batch):
    """The largest window, 1,920 pixels, takes 0.9 GB."""
    assert batch_for(gib * 2**30) == batch
