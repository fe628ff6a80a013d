"""`overwatt tiles` where labels are left out or missing: unknown ground, never background."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.models.training import tileset
from overwatt.workflows.tiles import command as tile_command
from overwatt.workflows.tiles.splits import TileSettings
from tests.integration.test_tiles import HALLS, SMALL, coco, cut, district, labels, outline, photo
from tests.support import UTM_26N, WEST_M, naming

__all__ = ["district"]  # a fixture


def masks(out, index, shape=(300, 300)):
    """The building masks of all tiles on the image: 256 where no tile is."""
    whole = np.full(shape, 256)
    for _, row in index.iterrows():
        _, valid, mask = tileset.read_tile(out, row)
        ny, nx = min(128, shape[0] - row["row_px"]), min(128, shape[1] - row["col_px"])
        part = whole[row["row_px"] : row["row_px"] + ny, row["col_px"] : row["col_px"] + nx]
        part[valid[:ny, :nx]] = mask[0][:ny, :nx][valid[:ny, :nx]]
    return whole


ONE_SPLIT = TileSettings(**{**SMALL.__dict__, "shares": (1.0, 0.0, 0.0)})


def test_the_ground_of_labels_that_are_left_out_is_unknown(tmp_path, district):
    image, _ = district
    halls = gpd.GeoSeries([outline(20, 20, 24), outline(60, 20, 24), outline(60, 60, 24).centroid], crs=UTM_26N)
    classes = {"class": ["data_center", "shed", "data_center"]}
    file = tmp_path / "l.geojson"
    gpd.GeoDataFrame(classes, geometry=halls, crs=UTM_26N).to_crs(4326).to_file(file)
    result, index = cut([image], [file], tmp_path / "out", ONE_SPLIT, class_map={"shed": "ignore"})
    assert result["left_out"] == {
        "total": 2,
        "by_cause": {"a 'Point', labels are polygons": 1, "class ignored by --class-map": 1},
        "first": ["l.geojson: label 3: a 'Point', labels are polygons",
                  "l.geojson: label 2: class ignored by --class-map"],
    }  # fmt: skip
    mask = masks(tmp_path / "out", index)
    assert (mask[20:44, 20:44] == 2).all()
    assert (mask[20:44, 60:84] == 255).all()  # the shed
    assert (mask[60:84, 60:84] == 255).all()  # about the point
    assert set(np.unique(mask[125:128, 10:20])) <= {0, 255}
    lines = " ".join(tile_command.lines(result))
    assert "labels left out: 2" in lines


def test_background_is_not_assumed_where_labels_may_be_missing(tmp_path, district):
    image, file = district
    data = json.loads(file.read_text())
    data["features"].append({"type": "Feature", "properties": {"class": "data_center"}, "geometry": None})
    lost = tmp_path / "lost.geojson"
    lost.write_text(json.dumps(data))
    short = tmp_path / "short.geojson"
    short.write_text(json.dumps(json.loads(file.read_text()) | {"numberMatched": 900}))
    cut_off = tmp_path / "cut.geojson"
    cut_off.write_text(file.read_text()[:-40])
    for path, words in ((lost, ("label 10", "has no geometry")), (short, ("9 of 900",))):
        for settings_ in (ONE_SPLIT, TileSettings(**{**ONE_SPLIT.__dict__, "unlabelled": "ignore", "empty": True})):
            with pytest.raises(ConfigError, match=naming(path.name, *words, "--unlabelled ignore")):
                cut([image], [path], tmp_path / "out", settings_)
        known = TileSettings(**{**ONE_SPLIT.__dict__, "unlabelled": "ignore"})
        _, index = cut([image], [path], tmp_path / "out", known)
        assert index["background_px"].sum() == 0
    with pytest.raises(RegistryError, match=naming("cut.geojson", "truncated")):
        cut([image], [cut_off], tmp_path / "out")


def test_images_that_a_coco_file_does_not_list_are_not_background(tmp_path):
    photos = [photo(tmp_path / f"{i}.png", i) for i in range(3)]
    file = coco(tmp_path / "coco.json", photos[:2])
    data = json.loads(file.read_text())
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] == 0]
    file.write_text(json.dumps(data))
    s = TileSettings(size_px=128, gsd_m=0.5, shares=(1.0, 0.0, 0.0), licence="x", empty=True)
    _, index = cut(photos, [file], tmp_path / "out", s)
    assert set(index["image"]) == {"0.png", "1.png"}  # listed, the second without annotations
    data["annotations"] = []
    file.write_text(json.dumps(data))
    with pytest.raises(RegistryError, match=naming("coco.json", "holds no labels", "--empty")):
        cut(photos, [file], tmp_path / "no", TileSettings(**{**s.__dict__, "empty": False}))
    _, index = cut(photos, [file], tmp_path / "empty", s)
    assert set(index["image"]) == {"0.png", "1.png"}
    assert index["data_center_px"].sum() == 0


def test_labels_off_the_image_are_counted_and_usual_mistakes_named(tmp_path, district):
    image, file = district
    both = tmp_path / "both.geojson"
    far = labels(tmp_path / "far.geojson", HALLS[:1], west=WEST_M + 50_000)
    near, away = json.loads(file.read_text()), json.loads(far.read_text())
    both.write_text(json.dumps(near | {"features": near["features"] + away["features"]}))
    result, _ = cut([image], [both], tmp_path / "out")
    assert result["left_out"]["by_cause"] == {"lies outside every image": 1}
    frame = gpd.read_file(file)
    for move, words in (
        (lambda xy: xy[:, ::-1], "longitude and latitude look swapped"),
        (lambda xy: xy + [360, 0], "look like 0 to 360"),
        (lambda xy: xy - xy.min(0) + [10, 12], "look like pixels"),
    ):
        frame.set_geometry(shapely.transform(frame.geometry, move)).to_file(tmp_path / "moved.geojson")
        with pytest.raises(RegistryError, match=words):
            cut([image], [tmp_path / "moved.geojson"], tmp_path / "no")
