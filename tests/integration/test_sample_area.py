"""The embedded sample is what `overwatt simulate` makes of its seed, and small."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from overwatt.models.simulate import sample_area, write_area

SAMPLE = Path(__file__).resolve().parents[2] / "data_samples" / "demo"
SEED = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("area")
    write_area(sample_area(SEED), folder)
    return folder


@pytest.mark.slow  # about 7 s
def test_the_sample_follows_from_its_seed(made):
    assert json.loads((made / "planted.json").read_text()) == json.loads((SAMPLE / "planted.json").read_text())
    assert (made / "registry.geojson").read_text() == (SAMPLE / "registry.geojson").read_text()
    ours, theirs = gpd.read_file(made / "truth.geojson"), gpd.read_file(SAMPLE / "truth.geojson")
    assert ours.geom_equals_exact(theirs, 1e-9).all()
    with rasterio.open(made / "optical.tif") as a, rasterio.open(SAMPLE / "optical.tif") as b:
        # JPEG decoders differ by a count or two between builds
        assert np.abs(a.read().astype(int) - b.read().astype(int)).mean() < 1
    with rasterio.open(made / "lst.tif") as a, rasterio.open(SAMPLE / "lst.tif") as b:
        np.testing.assert_allclose(a.read(), b.read(), atol=0.01)


def test_the_sample_is_small_and_says_that_it_is_simulated():
    assert sum(f.stat().st_size for f in SAMPLE.iterdir()) < 5_000_000
    assert "simulated" in (SAMPLE / "README.md").read_text().lower()


def test_roofs_of_every_size_stand_in_both_groups():
    truth = gpd.read_file(SAMPLE / "truth.geojson").to_crs("EPSG:6933")
    area = truth.geometry.area
    for low, high in ((3_000, 9_000), (9_000, 50_000)):
        for klass in ("data_center", "other_building"):
            assert ((truth["class"] == klass) & area.between(low, high)).sum() >= 2, (klass, low)
