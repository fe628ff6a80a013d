"""Labels from GeoJSON, GeoPackage, GeoParquet and COCO: the same outlines, and one line where they cannot be used."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from overwatt.aoi.errors import ConfigError, OverwattError, RegistryError
from overwatt.workflows.io.vectors import to_pixels
from overwatt.workflows.tiles.labels import LabelFile, parse_class_map, parse_label_file, read_labels
from overwatt.workflows.tiles.left_out import Notes, summary
from overwatt.workflows.tiles.splits import TileSettings, open_images
from tests.support import UTM_26N, naming
from tests.unit.workflows.tiles.label_files import CORNERS, coco, on_map, vector


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    path = tmp_path_factory.mktemp("bare") / "photo.png"
    pixels = np.random.default_rng(1).integers(1, 255, (70, 90, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path)
    (image,) = open_images([path], TileSettings(gsd_m=1.0))
    return image


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.parquet", "a.json"])
def test_every_format_gives_the_same_outlines(tmp_path, placed, name):
    file = coco(tmp_path / name) if name == "a.json" else vector(tmp_path / name)
    labels = read_labels(file, [placed], {})
    pixels = to_pixels(labels.geometry, placed)
    assert shapely.equals_exact(pixels[0].normalize(), shapely.Polygon(np.reshape(CORNERS, (-1, 2))).normalize(), 1e-2)
    assert shapely.equals_exact(pixels[1].normalize(), shapely.box(50, 40, 70, 50).normalize(), 1e-2)
    assert list(labels["class"]) == ["data_center"] * 2
    assert set(labels["image"]) == {""}
    assert set(labels["source"]) == {name}
    assert set(labels["licence"]) == {"CC-BY-4.0" if name == "a.json" else ""}
    assert not labels["cooling"].any()


def test_labels_of_a_photo_stay_in_its_pixels(tmp_path, bare, placed):
    labels = read_labels(coco(tmp_path / "a.json", "dir\\photo.png"), [bare, placed], {})
    assert set(labels["image"]) == {"photo.png"}
    assert labels.geometry.iloc[1].equals(shapely.box(50, 40, 70, 50))


def test_classes_are_mapped_or_left_out(tmp_path, placed):
    annotation = {"id": 3, "image_id": 1, "category_id": 8, "bbox": [12, 12, 4, 4]}
    file = coco(tmp_path / "a.json", annotations=[annotation])
    with pytest.raises(RegistryError, match=naming("a.json", "'Chiller'", "--class-map 'Chiller=CLASS'")):
        read_labels(file, [placed], {})
    labels = read_labels(file, [placed], parse_class_map(["Chiller=cooling_equipment"]))
    assert labels["class"].tolist() == ["cooling_equipment"]
    assert labels["cooling"].all()
    assert len(read_labels(file, [placed], parse_class_map(["Chiller=ignore"]))) == 0
    with pytest.raises(ConfigError, match=naming("--class-map", "'data_centre'", "'data_center'")):
        parse_class_map(["Chiller=data_centre"])
    with pytest.raises(ConfigError, match=naming("--class-map", "'Chiller'", "NAME=CLASS")):
        parse_class_map(["Chiller"])


def test_a_file_of_one_class_needs_no_column(tmp_path, placed):
    file = vector(tmp_path / "registry.geojson", classes=("colo", "cloud"))
    with pytest.raises(RegistryError, match=naming("registry.geojson", "'colo'", "--class-map 'colo=CLASS'")):
        read_labels(file, [placed], {})
    named = parse_label_file(f"{file.path}=data_center")
    assert read_labels(named, [placed], {})["class"].tolist() == ["data_center"] * 2
    with pytest.raises(ConfigError, match=naming("--labels", "'datacenter'", "'data_center'")):
        parse_label_file("x.geojson=datacenter")


def test_columns_of_the_file_are_kept_for_splits_and_credit(tmp_path, placed):
    file = vector(tmp_path / "a.geojson", county=["Loudoun", "Fairfax"], licence=["ODbL", "CC0"])
    labels = read_labels(file, [placed], {})
    assert labels["county"].tolist() == ["Loudoun", "Fairfax"]
    assert labels["licence"].tolist() == ["ODbL", "CC0"]


def annotation(**fields):
    """COCO annotations: one, number 5."""
    return {"annotations": [{"id": 5, "image_id": 1, "category_id": 7, **fields}]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (annotation(segmentation={"counts": "a", "size": [9, 9]}), ("annotation 5", "RLE")),
        (annotation(image_id=2, bbox=[0, 0, 1, 1]), ("annotation 5", "image_id 2")),
        (annotation(category_id=9, bbox=[0, 0, 1, 1]), ("annotation 5", "category_id 9")),
        (annotation(bbox=[0, 0, 0, 1]), ("annotation 5", "bbox", "0 x 1")),
        (annotation(bbox=[0, 0, 1]), ("annotation 5", "bbox", "[0, 0, 1]")),
        (annotation(segmentation=[[0, 1, 2]]), ("annotation 5", "segmentation", "[0, 1, 2]")),
        (annotation(bbox=[10**400, 0, 1, 1]), ("annotation 5", "bbox")),
        (annotation(segmentation=[[0, 0, 9, 0, 9, -(10**400)]]), ("annotation 5", "segmentation")),
        ({"images": [{"id": 1, "file_name": "small.tif", "width": 10**400, "height": 70}]}, ("small.tif", "90 x 70")),
        (annotation(segmentation="0 1 2"), ("annotation 5", "segmentation", "polygons")),
        ({"annotations": {"id": 5}}, ("'annotations'",)),
        ({"annotations": [{"id": [5]}]}, ("annotations[0]", "'id'")),
        ({"annotations": None}, ("'annotations'", "null")),
        ({"categories": None}, ("annotation 1", "category_id 7", "--labels")),
        ({"images": [{"id": 1, "file_name": "small.tif"}] * 2}, ("images", "id 1 occurs twice")),
        (
            {"images": [{"id": 1, "file_name": "a/small.tif"}, {"id": 2, "file_name": "b/small.tif"}]},
            ("several images", "small.tif"),
        ),
        (
            {"images": [{"id": 1, "file_name": "small.tif", "width": 45, "height": 35}]},
            ("small.tif", "90 x 70", "45 x 35"),
        ),
        ({"images": [{"id": 1, "file_name": "smal.tif"}]}, ("'smal.tif'", "'small.tif'")),
    ],
)
def test_what_is_wrong_in_a_coco_file_is_named(tmp_path, placed, changes, words):
    with pytest.raises(OverwattError, match=naming("a.json", *words)):
        read_labels(coco(tmp_path / "a.json", **changes), [placed], {})


NULLS = {
    "licenses": [{"id": 4, "name": None, "url": None}, {"id": None}],
    "info": None,
    "categories": [{"id": 7, "name": "data_center", "supercategory": None}, {"id": 9, "name": None}],
    "images": [{"id": "1", "file_name": "C:\\photos\\small.tif", "width": None, "height": None, "license": None}],
}


@pytest.mark.parametrize("changes", [{"licenses": None}, {"licenses": []}, NULLS, {"images": [
    {"id": 1, "file_name": "file:///a%20b/small.tif", "width": "90", "height": 70.0}]}])  # fmt: skip
def test_fields_that_may_be_null_are_not_needed(tmp_path, placed, changes):
    full = {"image_id": 1, "category_id": 7, "area": None, "iscrowd": None}
    annotations = [
        {"id": None, "segmentation": [CORNERS], "bbox": None, **full},
        {"segmentation": None, "bbox": [50, 40, 20, 10], **full, "category_id": "7"},
        {"id": 3, "segmentation": [[]], "bbox": [50, 40, 20, 10], **full},
    ]
    labels = read_labels(coco(tmp_path / "a.json", **changes, annotations=annotations), [placed], {})
    assert list(labels["class"]) == ["data_center"] * 3
    assert set(labels["licence"]) == {""}


def test_a_coco_file_of_one_class_needs_no_categories(tmp_path, placed):
    file = coco(tmp_path / "a.json", categories=None)
    assert set(read_labels(LabelFile(file.path, "data_center"), [placed], {})["class"]) == {"data_center"}


def test_labels_of_coco_that_cannot_be_used_are_noted_with_their_cause(tmp_path, placed):
    images = [
        {"id": 1, "file_name": "small.tif"}, {"id": 2, "file_name": "other.tif"}, {"id": 3, "file_name": None},
    ]  # fmt: skip
    corners = {"segmentation": [CORNERS]}
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 7, **corners},
        {"id": 2, "image_id": 1, "category_id": None, **corners},
        {"id": 3, "image_id": 1, "category_id": 7},
        {"id": 4, "image_id": 1, "category_id": 7, "bbox": [1, 2, 0, 5]},
        {"id": 5, "image_id": 2, "category_id": 7, **corners},
        {"id": 6, "image_id": 3, "category_id": 7, **corners},
        {"id": 7, "image_id": None, "category_id": 7, **corners},
        {"id": 8, "image_id": 1, "category_id": 8, **corners},
    ]
    notes = Notes()
    labels = read_labels(
        coco(tmp_path / "a.json", images=images, annotations=annotations), [placed], {"Chiller": "ignore"}, notes
    )
    assert len(labels) == 1
    assert {k.label[-1]: (k.cause, k.shape is None, k.elsewhere) for k in notes.left_out} == {
        "2": ("has no class", False, False),
        "3": ("has neither polygon nor box", True, False),
        "4": ("has no area (bbox 0 x 5)", False, False),
        "5": ("its image is not given", True, True),
        "6": ("its image has no file name", True, False),
        "7": ("names no image", True, False),
        "8": ("class ignored by --class-map", False, False),
    }
    assert notes.not_read == ["a.json: 2 of its 3 images are not given: other.tif, None"]
    assert summary(notes)["total"] == 7


def test_lists_of_results_and_halves_are_not_coco(tmp_path, placed):
    path = tmp_path / "a.json"
    for text, words in (('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]', ("COCO results",)),
                        ('{"images": [{"id": 1}]}', ("'annotations' is missing",)),
                        ('{"images": [], "annotations": [', ("not readable JSON",))):  # fmt: skip
        path.write_text(text)
        with pytest.raises(RegistryError, match=naming("a.json", *words)):
            read_labels(LabelFile(path), [placed], {})


def test_nan_in_coco_is_refused(tmp_path, placed):
    file = coco(tmp_path / "a.json")
    file.path.write_text(file.path.read_text().replace("[50, 40,", "[NaN, 40,"))
    with pytest.raises(RegistryError, match=naming("annotation 2", "bbox", "[nan, 40, 20, 10]")):
        read_labels(file, [placed], {})


def test_points_alone_and_missing_files_are_refused(tmp_path, placed):
    with pytest.raises(RegistryError, match=naming("no.geojson")):
        read_labels(LabelFile(tmp_path / "no.geojson"), [placed], {})
    gpd.GeoDataFrame({"class": ["unknown"]}, geometry=[shapely.Point(0, 0)], crs=4326).to_file(tmp_path / "p.geojson")
    with pytest.raises(RegistryError, match=naming("p.geojson", "polygons", "'Point'")):
        read_labels(LabelFile(tmp_path / "p.geojson"), [placed], {})
    gpd.GeoDataFrame({"klass": ["x"]}, geometry=[on_map(CORNERS)], crs=UTM_26N).to_crs(4326).to_file(
        tmp_path / "k.geojson"
    )
    with pytest.raises(RegistryError, match=naming("k.geojson", "'class'", "'klass'", "--labels")):
        read_labels(LabelFile(tmp_path / "k.geojson"), [placed], {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "bbox", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["images", "annotations", "categories", "licenses"]), JSON), JSON, JSON)
@settings(max_examples=30, deadline=None)
def test_any_json_is_read_or_refused_in_one_line(tmp_path_factory, placed, top, box, ring):
    path = tmp_path_factory.mktemp("any") / "a.json"
    coco(path, **top)
    data = json.loads(path.read_text())
    if "annotations" not in top:
        data["annotations"] = [{"id": 1, "image_id": 1, "category_id": 7, "bbox": box, "segmentation": ring}]
    path.write_text(json.dumps(data))
    refusal = ""
    try:
        labels = read_labels(LabelFile(path), [placed], {})
    except OverwattError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("a.json: ")
        assert "\n" not in refusal
    else:
        assert labels.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all()
