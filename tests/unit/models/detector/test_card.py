import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors

from overwatt.aoi.errors import ModelContractError
from overwatt.models.detector import weights as weight_files
from overwatt.models.detector.card import Calibration, ModelCard, check_fits, load_card
from overwatt.models.detector.network import SiteNet
from overwatt.models.detector.weights import load, save
from overwatt.models.detector.windows import normalise
from tests.support import naming

RGB = ("red", "green", "blue")


def make_card(**changes):
    return ModelCard(
        **{
            "name": "tiny",
            "version": "0",
            "created": "2026-11-23",
            "licence": "Apache-2.0",
            "width": 4,
            "bands": RGB,
            "units": "display_uint8",
            "gsd_m": 2.0,
            "gsd_range_m": (0.25, 2.9),
            "native_range_m": (1.5, 2.9),
            "mean": (0.4, 0.5, 0.6),
            "std": (0.1, 0.2, 0.4),
            **changes,
        }
    )


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A saved net of random weights: (net, card, path)."""
    torch.manual_seed(5)
    net = SiteNet(3, width=4)
    path = tmp_path_factory.mktemp("shipped") / "tiny.safetensors"
    return net, save(net, make_card(), path), path


@pytest.fixture
def weights(shipped, tmp_path):
    """A copy of the saved weights that a test may spoil."""
    path = tmp_path / "tiny.safetensors"
    shutil.copy(shipped[2], path)
    shutil.copy(shipped[2].with_suffix(".json"), path.with_suffix(".json"))
    return path


def rewrite(path, blob=None, **changes):
    """Change the card's fields; with `blob`, also the weights, under a hash that fits."""
    if blob is not None:
        path.write_bytes(blob)
        changes["weights_sha256"] = hashlib.sha256(blob).hexdigest()
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def test_weights_and_card_survive_the_round_trip(shipped):
    net, card, path = shipped
    again, read = load(path)
    assert read == card
    assert card.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not again.training
    own, back = net.state_dict(), again.state_dict()
    assert own.keys() == back.keys()
    for key, value in own.items():
        torch.testing.assert_close(back[key], value.half().float() if value.is_floating_point() else value)


def test_saving_what_was_loaded_gives_the_same_bytes(shipped, tmp_path):
    net, card = load(shipped[2])
    assert save(net, card, tmp_path / "again.safetensors").weights_sha256 == card.weights_sha256


def test_a_thermal_card_makes_a_wider_network(tmp_path):
    card = make_card(thermal_bands=("lst",), mean=(0.4, 0.5, 0.6, 290.0), std=(0.1, 0.2, 0.4, 10.0))
    path = tmp_path / "thermal.safetensors"
    save(SiteNet(4, width=4), card, path)
    net, read = load(path)
    assert net.bands == read.channels == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bands": ("red", "green", "blu")}, ("blue", "'blu'")),
        ({"bands": ("b1",)}, ("red, green, blue", "b1")),
        ({"bands": ()}, ("red, green, blue", "bands")),
        ({"gsd_m": 3.0}, ("3 m", "0.25-2.9")),
        ({"gsd_m": 0.1}, ("0.1 m", "0.25-2.9")),
        ({"gsd_m": float("nan")}, ("nan m", "0.25-2.9")),
        ({"units": "kelvin"}, ("'kelvin'", "'display_uint8'")),
        ({"units": "reflectance"}, ("'reflectance'", "'display_uint8'")),
    ],
)
def test_imagery_that_does_not_fit_is_refused_with_the_reason(changes, words):
    imagery = {"bands": RGB, "gsd_m": 2.0, "units": "display_uint8", "source": "area.tif", **changes}
    with pytest.raises(ModelContractError, match=naming("area.tif", "'tiny'", *words)):
        check_fits(make_card(), **imagery)


@settings(max_examples=20)
@given(st.permutations([*RGB, "nir"]), st.floats(0.25, 2.9))
def test_imagery_that_fits_passes_in_any_band_order(bands, gsd_m):
    card = make_card(thermal_bands=("lst",))  # absent thermal bands are no reason to refuse
    check_fits(card, bands=tuple(bands), gsd_m=gsd_m, units="display_uint8", source="area.tif")


def test_normalise_by_hand():
    values = np.array([0.5, 0.5, 0.2], np.float32).reshape(3, 1, 1).repeat(2, 2)
    out = normalise(make_card(), values, np.array([[True, False]]))
    np.testing.assert_allclose(out[:, 0, 0], [1, 0, -1], atol=1e-6)
    assert out.dtype == np.float32
    assert (out[:, 0, 1] == 0).all()


def test_an_absent_thermal_band_is_zero_and_a_present_one_is_normalised():
    card = make_card(thermal_bands=("lst",), mean=(0, 0, 0, 290.0), std=(1, 1, 1, 10.0))
    valid = np.ones((1, 2), bool)
    optical = np.full((3, 1, 2), 0.5, np.float32)
    without = normalise(card, optical, valid)
    assert without.shape == (4, 1, 2)
    assert (without[3] == 0).all()
    lst_k = np.array([[[305.0, np.nan]]], np.float32)
    with_it = normalise(card, np.concatenate([optical, lst_k]), valid)
    np.testing.assert_allclose(with_it[3], [[1.5, 0]])
    np.testing.assert_array_equal(with_it[:3], without[:3])


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_another_number_of_bands_is_refused_and_never_broadcast(bands):
    card = make_card(thermal_bands=("lst",), mean=(0, 0, 0, 290.0), std=(1, 1, 1, 10.0))
    with pytest.raises(ModelContractError, match=naming(f"{bands} bands", "'tiny'", 3, 4)):
        normalise(card, np.zeros((bands, 2, 2), np.float32), np.ones((2, 2), bool))


def test_a_damaged_file_is_refused_by_its_hash(weights):
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(blob)
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", "sha256")):
        load(weights)


@pytest.mark.parametrize("keep", [0, 4, 1000, -1000])
def test_a_truncated_file_is_refused_even_when_its_hash_fits(weights, keep):
    rewrite(weights, weights.read_bytes()[:keep])
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", "tensors")):
        load(weights)


def test_an_oversized_file_is_refused_before_it_is_read(weights):
    os.truncate(weights, 25_000_001)
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", "25.0 MB", "25 MB")):
        load(weights)


def test_oversized_weights_are_not_written(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_files, "MAX_WEIGHTS_BYTES", 1_000_000)
    with pytest.raises(ModelContractError, match=naming("large.safetensors", "6.3 MB")):
        save(shipped[0], make_card(), tmp_path / "large.safetensors")
    assert not list(tmp_path.iterdir())


def test_missing_files_are_named(weights, tmp_path):
    with pytest.raises(ModelContractError, match=naming("none.safetensors")):
        load(tmp_path / "none.safetensors")
    weights.with_suffix(".json").unlink()
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", "tiny.json")):
        load(weights)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, ("tiny.json", "'colour'")),
        ({"units": "kelvin"}, ("tiny.json", "'units'")),
        ({"architecture": "resnet"}, ("tiny.json", "'architecture'")),
        ({"bands": []}, ("tiny.json", "'bands'")),
        ({"std": [0.1, 0.0, 0.1]}, ("tiny.json", "'std.1'")),
        ({"gsd_m": float("nan")}, ("tiny.json", "'gsd_m'")),
        ({"mean": [0.4, 0.5]}, ("tiny.safetensors", "outputs", "normalisation")),
        ({"outputs": ["background", "roof"]}, ("tiny.safetensors", "outputs", "normalisation")),
        (
            {"bands": ["red", "green"], "mean": [0, 0], "std": [1, 1]},
            ("tensors", "stem.1.0.weight"),
        ),
        ({"width": 5}, ("tensors", "fine.1.0.weight")),
    ],
)
def test_a_card_that_does_not_fit_is_refused_by_its_field(weights, changes, words):
    rewrite(weights, **changes)
    with pytest.raises(ModelContractError, match=naming(*words)):
        load(weights)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_a_card_that_is_no_json_object_is_refused(weights, text):
    weights.with_suffix(".json").write_bytes(text)
    with pytest.raises(ModelContractError, match=naming("tiny.json")):
        load_card(weights)


def test_a_huge_card_is_refused(weights):
    weights.with_suffix(".json").write_text(" " * 1_000_001)
    with pytest.raises(ModelContractError, match=naming("tiny.json", 1000000)):
        load_card(weights)


def test_tensors_missing_or_surplus_are_refused_by_name(weights, shipped):
    tensors = {k: v.contiguous() for k, v in shipped[0].state_dict().items()}
    bias = tensors.pop("head.bias")
    rewrite(weights, save_tensors(tensors))
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", '"head.bias"')):
        load(weights)
    rewrite(weights, save_tensors(tensors | {"head.bias": bias, "tail.bias": bias.clone()}))
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", '"tail.bias"')):
        load(weights)


def test_weights_that_are_not_finite_are_neither_written_nor_read(weights, tmp_path):
    net, card = load(weights)
    with torch.no_grad():
        net.head.bias[0] = 1e6  # infinite in half precision
    with pytest.raises(ModelContractError, match=naming("diverged.safetensors", "'head.bias'", "finite")):
        save(net, card, tmp_path / "out" / "diverged.safetensors")
    assert not (tmp_path / "out").exists()
    tensors = {k: v.contiguous() for k, v in net.state_dict().items()}
    rewrite(weights, save_tensors(tensors | {"head.bias": tensors["head.bias"] * torch.nan}))
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", "'head.bias'", "finite")):
        load(weights)


class _Opens:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_pickle_in_disguise_is_refused_and_never_run(weights, tmp_path, write):
    trap = tmp_path / "unpickled"
    if write == "pickle":
        weights.write_bytes(pickle.dumps(_Opens(trap)))
    else:
        torch.save({"head.bias": _Opens(trap)}, weights)
    rewrite(weights, weights.read_bytes())
    with pytest.raises(ModelContractError, match=naming("tiny.safetensors", "tensors")):
        load(weights)
    assert not trap.exists()


def test_a_thermal_calibration_without_thermal_bands_is_refused(tmp_path):
    second = Calibration(a=0.5, b=1.2, prevalence=0.3, objects=40)
    wide = make_card(thermal_bands=("heat",), mean=(0, 0, 0, 0), std=(1, 1, 1, 3), calibration_thermal=second)
    save(SiteNet(4, 4), wide, tmp_path / "wide.safetensors")
    assert load(tmp_path / "wide.safetensors")[1].calibration_thermal == second
    save(SiteNet(3, 4), make_card(calibration_thermal=second), tmp_path / "narrow.safetensors")
    with pytest.raises(ModelContractError, match=naming("narrow.safetensors", "thermal", "calibration")):
        load(tmp_path / "narrow.safetensors")
