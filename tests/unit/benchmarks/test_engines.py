"""Engines are compared by what they change; nothing is timed."""

import geopandas as gpd
import pytest
import shapely

from benchmarks import engines
from benchmarks.streaming.scene import write
from overwatt.models.detector.card import DEFAULT_WEIGHTS, verified
from overwatt.workflows.io.images import open_image


def table(*rows):
    return gpd.GeoDataFrame({"class": [c for c, _ in rows]}, geometry=[shapely.box(x, 0, x + 10, 10) for _, x in rows])


def test_lost_and_changed_buildings_are_counted():
    ours = table(("data_center", 0), ("other_building", 100), ("other_building", 200))
    theirs = table(("other_building", 1), ("other_building", 101))
    assert engines.changes(ours, theirs) == {"objects": 3, "lost": 1, "class_changed": 1}
    assert engines.changes(ours, ours) == {"objects": 3, "lost": 0, "class_changed": 0}


@pytest.mark.parametrize("name", [n for n in ("onnxruntime",) if not engines.missing(n)])
def test_an_engine_gives_the_buildings_of_torch(tmp_path, name):
    image = open_image(write(tmp_path / "scene.tif", 448, plain=False), verified(DEFAULT_WEIGHTS))
    found = engines.measure(image, [name], 1, lambda text: None)[name]
    assert found["objects"] > 0
    assert found["lost"] == found["class_changed"] == 0
    assert found["logits_apart"] < 0.01


def test_without_its_library_an_engine_is_missing(monkeypatch):
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert "overwatt[bench]" in engines.missing("openvino")
    assert engines.missing("bfloat16") == ""
