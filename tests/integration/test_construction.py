"""Sentinel-2 pixels: a run calls no roof a data center and misses nothing; two runs are compared for construction."""

import json

import numpy as np
import pandas as pd
import pytest
import rasterio
from affine import Affine
from scipy import ndimage
from typer.testing import CliRunner

from overwatt.aoi.errors import AssetReadError, ConfigError
from overwatt.models.detector.sensors import TYPE_UNTOLD
from overwatt.workflows.assess import compare
from overwatt.workflows.cli.main import app
from overwatt.workflows.config.run import load
from overwatt.workflows.io.raster_checks import quiet
from overwatt.workflows.io.run_folder import RASTER_BANDS
from overwatt.workflows.run import runner, single_image
from tests.support import naming, registry_file

SIDE, GSD_M = 160, 10.0
PLACE = Affine.translation(400_000, 5_800_000) * Affine.scale(GSD_M, -GSD_M)


def write(path, pixels, transform=PLACE):
    count, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=count, dtype="uint8", crs="EPSG:32632",
        transform=transform,
    ) as file:  # fmt: skip
        file.write(pixels)
    return path


@pytest.fixture(scope="module")
def fields():
    """Fields with a white roof of 200 x 150 m, (3, y, x) uint8."""
    rng = np.random.default_rng(4)
    tone = np.kron(rng.integers(40, 120, (3, 10, 10)), np.ones((16, 16), int)) + rng.integers(-12, 13, (3, SIDE, SIDE))
    tone[:, 60:80, 70:85] = 250
    return np.clip(tone, 1, 254).astype(np.uint8)


def folder(path, *roofs, told=False, shift=0):
    """A run folder with a probability raster and a manifest."""
    path.mkdir()
    pixels = np.full((len(RASTER_BANDS), 60, 60), 2, np.uint8)
    for y, x in roofs:
        pixels[2, y : y + 8, x : x + 8] = 240
    write(path / "probability.tif", pixels, PLACE * Affine.translation(shift, 0))
    (path / "manifest.json").write_text(json.dumps({"type_told": told, "parameters": {}}))
    return path


def test_a_run_calls_no_data_center_and_misses_no_declared_one(fields, tmp_path):
    image = write(tmp_path / "s2.tif", fields)
    registry = registry_file(tmp_path / "r.geojson", [(7.548, 52.334, {"id": "d-1", "name": "Declared"})])
    file = tmp_path / "s2.yaml"
    file.write_text(
        f"name: s2\nimagery:\n  path: {image}\ndetector:\n  profile: sentinel2\ndeclared:\n  path: {registry}\n"
    )
    said = []
    result = runner.run(load(file, []), tmp_path / "run", progress=runner.Progress(say=said.append))
    assert result["sites"] == 0 and result["ledger"] == []
    assert TYPE_UNTOLD in said
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["type_told"] is False
    assert manifest["ground_size"] == result["ground_size"]
    assert result["ground_size"] == {"declared_m": pytest.approx(GSD_M, rel=0.01), "looks_like_m": None}
    report = (tmp_path / "run" / "report.html").read_text()
    assert "no roof is called a data center" in report and "the ground counts as not looked at" in report


def test_a_run_over_an_enlarged_picture_asks_in_one_line_and_in_the_report(fields, tmp_path):
    large = ndimage.zoom(fields[:, :40, :40].astype(float), (1, 8, 8), order=1).clip(1, 254).astype(np.uint8)
    file = tmp_path / "s2.yaml"
    file.write_text(
        f"name: s2\nimagery:\n  path: {write(tmp_path / 's2.tif', large)}\ndetector:\n  profile: sentinel2\n"
    )
    said = []
    result = runner.run(load(file, []), tmp_path / "run", progress=runner.Progress(say=said.append))
    assert 40 <= result["ground_size"]["looks_like_m"] <= 160
    (line,) = (s for s in said if "please check" in s)
    assert line[1:] in (tmp_path / "run" / "report.html").read_text()


def test_detect_asks_about_an_enlarged_picture_and_calls_no_data_center(fields, tmp_path):
    large = ndimage.zoom(fields[:, :40, :40].astype(float), (1, 8, 8), order=1).clip(0, 255).astype(np.uint8)
    pictures = []
    for name, pixels in (("sharp", fields), ("large", large)):
        path = tmp_path / f"{name}.png"
        with (
            quiet(),
            rasterio.open(
                path, "w", driver="PNG", width=pixels.shape[2], height=pixels.shape[1], count=3, dtype="uint8"
            ) as file,
        ):
            file.write(pixels)
        pictures.append(path)
    said = []
    result = single_image.detect(
        pictures, tmp_path / "out", gsd_m=10.0, weights=None, say=said.append, profile="sentinel2"
    )
    sharp, enlarged = result["ground_size"]
    assert sharp == {"image": "sharp.png", "declared_m": 10.0, "looks_like_m": None}
    assert 40 <= enlarged["looks_like_m"] <= 160
    assert [s for s in said if "please check" in s] == [
        f"large.png: ground size: the picture looks like about {enlarged['looks_like_m']:.2g} m per pixel, enlarged; "
        "10 m is declared: please check"
    ]


def test_two_runs_list_construction_on_the_grid_of_the_later(tmp_path):
    earlier = folder(tmp_path / "a", (10, 10))
    later = folder(tmp_path / "b", (10, 10 - 5), (40, 30), shift=5)  # the same roof on a grid five pixels east
    shown = CliRunner().invoke(app, ["compare", str(earlier), str(later)])
    assert shown.exit_code == 0, shown.output
    assert "1 new" in shown.stdout and "is not told at this pixel size" in shown.stdout
    rows = pd.read_csv(later / "compare" / "construction.csv")
    assert list(rows["class"]) == ["new"] and rows["area_m2"][0] == pytest.approx(6400, rel=0.01)


def test_runs_that_do_not_compare(tmp_path):
    a, told, away = folder(tmp_path / "a"), folder(tmp_path / "t", told=True), folder(tmp_path / "w", shift=500)
    with pytest.raises(ConfigError, match=naming("only one of them", "same profile")):
        compare.run(a, told, None)
    with pytest.raises(ConfigError, match="no ground in common"):
        compare.run(a, away, None)
    write(a / "probability.tif", np.ones((1, 8, 8), np.uint8))
    with pytest.raises(AssetReadError, match="not the probability raster"):
        compare.run(a, folder(tmp_path / "b"), None)
