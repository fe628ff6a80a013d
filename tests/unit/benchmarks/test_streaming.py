"""The streaming benchmark computes what it says, on small rasters; nothing is timed."""

import importlib
import json

import numpy as np
import pytest
import rasterio

from benchmarks.streaming import __main__ as command
from benchmarks.streaming import ours, rivals
from benchmarks.streaming.scene import write
from overwatt.models.detector.card import DEFAULT_WEIGHTS, verified
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.windows import normalise
from overwatt.workflows.io.images import open_image
from overwatt.workflows.run.computing import plan_tiles


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write(tmp_path_factory.mktemp("scene") / "scene.tif", 900, plain=False)


def test_the_pattern_is_repeated_without_an_edge(tmp_path):
    with rasterio.open(write(tmp_path / "plain.tif", 2100, plain=True)) as file:
        pixels = file.read()
    np.testing.assert_array_equal(pixels[:, :1024, 1024:2048], pixels[:, :1024, 1023::-1])
    np.testing.assert_array_equal(pixels[:, 1024:2048, :1024], pixels[:, 1023::-1, :1024])


def test_the_identity_model_streams_the_classes_of_the_pixels(tmp_path):
    image = open_image(write(tmp_path / "plain.tif", 1300, plain=True), verified(DEFAULT_WEIGHTS))
    detector = ours.detector_for(image, identity=True)
    ours.whole_path(image, detector, tmp_path, 2, plan_tiles(image, None, 500))
    with rasterio.open(tmp_path / "probability.tif") as file:
        found = file.read((1, 2, 3)).argmax(0)
    values, valid = image.read(0, 0, *image.shape)
    np.testing.assert_array_equal(found, normalise(detector.card, values, valid).argmax(0))
    assert len(np.unique(found)) > 1


@pytest.mark.parametrize("name", [n for n in rivals.NAMES if not rivals.missing(n)])
def test_rivals_find_the_classes_that_the_network_gives(scene, name):
    detector = Detector.load(DEFAULT_WEIGHTS, "cpu")
    way = {"torchgeo": rivals.by_torchgeo, "geoai": rivals.by_accumulation, "whole_raster": rivals.at_once}[name]
    # the whole raster is a multiple of the network's stride then
    with rasterio.open(scene) as file:
        profile, pixels = file.profile, file.read()[:, :896, :896]
    cut = scene.with_name(f"{name}.tif")
    with rasterio.open(cut, "w", **profile | {"height": 896, "width": 896}) as file:
        file.write(pixels)
    classes = way(cut, detector)
    whole = rivals.at_once(cut, detector)
    assert classes.shape == whole.shape
    assert (classes != whole).mean() < 0.05  # windows see less around them


def test_computed_over_kept_is_that_of_the_windows():
    assert ours.computed_over_kept((896, 896), 2.0) == 1.0
    assert ours.computed_over_kept((4096, 4096), 2.0) == pytest.approx(((4096 + 4 * 128) / 4096) ** 2)
    assert ours.computed_over_kept((4096, 4096), 0.6) == pytest.approx(((4096 + 2 * 256) / 4096) ** 2)


def test_the_command_prints_what_was_promised(monkeypatch, capsys):
    """In this process: the figures of memory mean nothing here."""
    monkeypatch.setattr(command, "apart", lambda module, **how: importlib.import_module(module).measure(**how))
    monkeypatch.setattr(command, "QUICK", {"peak": 300, "large": 400, "speed": 320, "same": 350})
    monkeypatch.setattr("sys.argv", ["streaming", "--quick", "--json", "--rounds", "1", "--no-rivals"])
    command.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["identical"] is True
    assert result["efficiency"] > 0
    assert result["computed_over_kept"] == pytest.approx(1, abs=0.1)
    assert result["rivals"] == {}
    assert {"peak_mb", "peak_mb_40k", "efficiency_range", "cores"} <= set(result)
