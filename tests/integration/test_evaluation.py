"""Two sets of weights on one image, and on the tiles cut from it."""

import geopandas as gpd
import pytest
from shapely import box

from overwatt.aoi.errors import ConfigError, ModelContractError
from overwatt.workflows.tiles.command import Options, run
from overwatt.workflows.training import evaluation
from tests.support import naming


@pytest.fixture
def labels(tmp_path):
    shapes = [box(-26.995, 45.004, -26.993, 45.005), box(-26.991, 45.004, -26.989, 45.005)]
    path = tmp_path / "labels.geojson"
    gpd.GeoDataFrame({"class": ["data_center", "other_building"]}, geometry=shapes, crs="OGC:CRS84").to_file(path)
    return path


def undisturbed(two, one):
    """Scores of two equal weights are those of one, and nothing differs."""
    assert {k: v for k, v in two.items() if k not in ("scores_b", "comparison")} == two["scores_b"] == one
    for measure in ("dice", "iou", "recall", "object_f1"):
        s = two["comparison"]["data_center"][measure]
        assert s["difference"] in (0, None)
        assert s["verdict"] == "no difference shown"
        assert s["a"] == s["b"] == one["data_center"][measure]
    assert evaluation.lines(two)[-1].startswith("note: ")


def test_weights_against_themselves_on_an_image(corner, weights, labels):
    options = {"unlabelled": "background"}
    one = evaluation.on_image(corner, labels, weights=[weights], **options)
    undisturbed(evaluation.on_image(corner, labels, weights=[weights, weights], block_m=100.0, **options), one)
    with pytest.raises(ConfigError, match=naming("--weights", 3)):
        evaluation.on_image(corner, labels, weights=[weights] * 3, **options)


def test_weights_against_themselves_on_tiles(corner, weights, labels, tmp_path):
    def cut(**options):
        settings = Options(size_px=128, shares="0,0,1", **options)
        nothing = {"run_folder": None, "dispositions": None, "check": [], "class_map": []}
        out = tmp_path / f"tiles{len(options)}"
        run([corner], [str(labels)], out, settings, **nothing, say=lambda text: None, tick=lambda *n: None)
        return out

    tiles = cut()
    one = evaluation.on_tiles(tiles, "test", weights=[weights])
    assert one["tiles"] > 0
    assert one["in_training"] is False
    undisturbed(evaluation.on_tiles(tiles, "test", weights=[weights, weights]), one)
    with pytest.raises(ModelContractError, match=naming("--tile-gsd")):
        evaluation.on_tiles(cut(tile_gsd_m=4.0), "test", weights=[weights])
