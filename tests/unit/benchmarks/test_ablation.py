"""The variants of the ablation differ by what they say they do, and by nothing else."""

import geopandas as gpd
import pytest
import shapely
import yaml

from benchmarks import ablation
from overwatt.workflows.config.training import TrainingFile
from overwatt.workflows.config.yaml import load_yaml


@pytest.fixture
def file(tmp_path):
    shapes = [shapely.box(i, 0, i + 0.5, 1) for i in range(9)]
    classes = ["data_center", "other_building", "cooling_equipment"] * 3
    gpd.GeoDataFrame({"class": classes}, geometry=shapes, crs=4326).to_file(tmp_path / "o.geojson", driver="GeoJSON")
    path = tmp_path / "train.yaml"
    text = """
name: t
version: "1"
licence: test
gsd_m: 2.0
gsd_range_m: [0.5, 4]
native_range_m: [1.5, 4]
pictures: [{name: p, image: i.tif, outlines: o.geojson, licence: test}]
simulated: {tiles: 3}
start: w.safetensors
start_folds: before
training: {keep_start: 0.5}
"""
    path.write_text(text)
    return path


def test_own_has_nothing_simulated_and_none_starts_from_weights_that_saw_the_outlines(file, tmp_path):
    own, both, whole = (
        load_yaml(ablation.variant(n, file, tmp_path / n), TrainingFile) for n in ("own", "both", "whole")
    )
    assert own.simulated.tiles == 0
    assert own.pretraining is None
    assert both.simulated.tiles == 3
    assert both.pretraining is not None
    assert both == whole
    for v in (own, both):
        assert v.start is v.start_folds is None
        assert v.training.keep_start == 0
    assert both.pictures[0].scored_against == both.pictures[0].outlines == str(tmp_path / "o.geojson")


@pytest.mark.parametrize(("name", "known"), [("half", 3), ("quarter", 2)])
def test_fewer_outlines_are_known_and_all_are_scored_against(file, tmp_path, name, known):
    settings = yaml.safe_load(ablation.variant(name, file, tmp_path / name).read_text())["pictures"][0]
    left = gpd.read_file(settings["outlines"])["class"].value_counts()
    assert left["unknown"] == 6 - known
    assert left["cooling_equipment"] == 3
    assert settings["scored_against"] == str(tmp_path / "o.geojson")
    again = gpd.read_file(
        yaml.safe_load(ablation.variant(name, file, tmp_path / "b").read_text())["pictures"][0]["outlines"]
    )
    assert again["class"].tolist() == gpd.read_file(settings["outlines"])["class"].tolist()
