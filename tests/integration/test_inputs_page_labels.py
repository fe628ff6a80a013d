"""Labels of docs/howto/inputs.md: each is written and read, and its outlines are compared in pixels."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from overwatt.workflows.io.vectors import to_pixels
from overwatt.workflows.tiles.cut import cut
from overwatt.workflows.tiles.labels import LabelFile, parse_label_file, read_labels
from overwatt.workflows.tiles.left_out import Notes, check_background
from overwatt.workflows.tiles.splits import TileSettings, open_images
from tests.inputs_page import each, holds, same_rows
from tests.support import UTM_26N, write_image
from tests.unit.workflows.tiles.label_files import CORNERS, coco, on_map, vector
from tests.unit.workflows.tiles.test_left_out import BOXES, kml

SECTION = "Labels"
WHOLE = [(10, 10, 40, 30), (50, 40, 70, 50)]  # bounds of the outlines, pixels
SETTINGS = TileSettings(size_px=64, shares=(1.0, 0.0, 0.0), licence="x", workers=1)
TYPES = {"image_id": 1, "category_id": 7}


def image(folder):
    path = folder / "small.tif"
    if path.exists():
        return path
    return write_image(path, np.random.default_rng(5).integers(1, 255, (3, 70, 90), dtype=np.uint8), block=16)


def labelled(file, bounds=WHOLE, class_map=None, classes=None):
    """Read labels as `overwatt tiles` does without options: so many outlines, where they were drawn."""
    notes = Notes()
    opened = open_images([image(file.path.parent)], TileSettings())
    labels = read_labels(file, opened, class_map or {}, notes)
    check_background(notes)
    found = [g.bounds for g in to_pixels(labels.geometry, opened[0])]
    np.testing.assert_allclose(found, bounds, atol=0.02)
    assert list(labels["class"]) == (classes or ["data_center"] * len(bounds))
    outcome = "kept aside" if notes.left_out else "read in part" if notes.not_read else "read"
    return outcome, " ".join([*(f"{k.label}: {k.cause}" for k in notes.left_out), *notes.not_read])


def tiles(file):
    """The whole command: labels left out, by cause."""
    result = cut([image(file.path.parent)], [file], file.path.parent / "out", SETTINGS)
    assert result["tiles"]["written"] > 0
    return ("kept aside" if result["left_out"]["total"] else "read"), " ".join(result["left_out"]["first"])


def json_changed(name="a.geojson", **members):
    def check(folder):
        file = vector(folder / name)
        file.path.write_text(json.dumps(json.loads(file.path.read_text()) | members))
        return labelled(file)

    return check


def with_shapes(*shapes, classes=None, bounds=WHOLE[:1]):
    """One hall and other things."""

    def check(folder):
        drawn = [on_map(CORNERS), *shapes]
        frame = gpd.GeoDataFrame({"class": classes or ["data_center"] * len(drawn)}, geometry=drawn, crs=UTM_26N)
        frame.to_crs(4326).to_file(folder / "a.geojson")
        return labelled(LabelFile(folder / "a.geojson"), bounds)

    return check


def changed_coco(bounds=WHOLE, klass=None, **changes):
    return lambda d: labelled(LabelFile(coco(d / "a.json", **changes).path, klass), bounds)


def annotations(*fields):
    return {"annotations": [{"id": k, **TYPES, **f} for k, f in enumerate(fields)]}


def kml_file(folder):
    path = kml(folder / "a.kml", data_center=WHOLE[:1], unknown=WHOLE[1:])
    return labelled(LabelFile(path), classes=["data_center", "unknown"])


def folders_mapped(folder):
    path = kml(folder / "a.kml", **BOXES)
    return labelled(parse_label_file(f"{path}=data_center"), [b for v in BOXES.values() for b in v])


def folder_chosen(folder):
    path = kml(folder / "a.kml", **BOXES)
    return labelled(parse_label_file(f"{path}:done=data_center"), BOXES["done"])


def moved(move):
    def check(folder):
        file = vector(folder / "a.geojson")
        frame = gpd.read_file(file.path)
        frame.set_geometry(shapely.transform(frame.geometry, move)).to_file(file.path)
        return tiles(file)

    return check


def one_outside(folder):
    far = shapely.box(0, 0, 20, 20)
    file = vector(folder / "a.geojson")
    frame = gpd.read_file(file.path)
    frame.loc[1, "geometry"] = shapely.transform(far, lambda xy: xy / 1e4 + [1, 1])
    frame.to_file(file.path)
    return tiles(file)


def cut_short(folder):
    file = vector(folder / "a.geojson")
    file.path.write_text(file.path.read_text()[:-40])
    return labelled(file)


def without_crs(folder):
    frame = gpd.GeoDataFrame({"class": ["data_center"]}, geometry=[on_map(CORNERS)])
    with pytest.warns(UserWarning, match="crs"):
        frame.to_file(folder / "a.gpkg")
    return labelled(LabelFile(folder / "a.gpkg"))


def results(folder):
    (folder / "a.json").write_text('[{"image_id": 1, "bbox": [1, 2, 3, 4]}]')
    return labelled(LabelFile(folder / "a.json"))


def shapefile(folder):
    (folder / "a.shp").write_bytes(b"\0\0\x27\x0a" + bytes(96))
    return labelled(LabelFile(folder / "a.shp"))


BOTH = annotations({"segmentation": [CORNERS]}, {"bbox": [50, 40, 20, 10]})
NULLS = {
    **annotations(
        {"segmentation": [CORNERS], "bbox": None, "area": None}, {"segmentation": None, "bbox": [50, 40, 20, 10]}
    ),
    "licenses": [{"id": 4, "name": None}], "info": None,
    "images": [{"id": 1, "file_name": "small.tif", "width": None, "height": None, "license": None}],
}  # fmt: skip
TWO_IMAGES = [{"id": 1, "file_name": "small.tif"}, {"id": 2, "file_name": "other.tif"}]
HALL = on_map(CORNERS)
CHECKS = {
    "polygons in GeoJSON, GeoPackage, GeoParquet with a property class, also in a GeometryCollection": each(
        *(lambda d, n=n: labelled(vector(d / n)) for n in ("a.geojson", "a.gpkg", "a.parquet")),
        with_shapes(
            shapely.GeometryCollection([on_map([50, 40, 70, 40, 70, 50, 50, 50]), HALL.centroid]), bounds=WHOLE
        ),
    ),
    "several layers, folders of KML: named by classes, or with one class for all (FILE=CLASS)": each(
        kml_file, folders_mapped
    ),
    "COCO with polygons or boxes; null fields; ids as text and as numbers; file names of another machine": each(
        changed_coco(**BOTH),
        changed_coco(**NULLS),
        changed_coco(
            images=[{"id": "1", "file_name": "small.tif"}], categories=[{"id": "7", "name": "data_center"}], **BOTH
        ),
        *(
            changed_coco(images=[{"id": 1, "file_name": n}])
            for n in ("C:\\photos\\small.tif", "file:///a%20b/small.tif")
        ),
    ),
    "one of several layers chosen (FILE:LAYER=CLASS)": folder_chosen,
    "a label without class, a point or line, a box without area, a label outside every image, beside others": each(
        with_shapes(HALL, classes=["data_center", None]),
        with_shapes(HALL.centroid, HALL.exterior),
        changed_coco(WHOLE[:1], **annotations({"segmentation": [CORNERS]}, {"bbox": [50, 40, 0, 10]})),
        one_outside,
    ),
    "a label without geometry, or an empty one": each(
        with_shapes(None),
        with_shapes(shapely.Polygon()),
        changed_coco(WHOLE[:1], **annotations({"segmentation": [CORNERS]}, {})),
    ),
    "file or layer without class, a class that is not known": each(
        lambda d: labelled(LabelFile(kml(d / "a.kml", **BOXES))),
        lambda d: labelled(vector(d / "a.geojson", classes=("data_center", "colo"))),
    ),
    "COCO of several images, not all of them given": changed_coco(WHOLE, images=TWO_IMAGES),
    "COCO of other images, of another size, or with an annotation of an image that it does not list": each(
        changed_coco(images=[{"id": 1, "file_name": "smal.tif"}]),
        changed_coco(images=[{"id": 1, "file_name": "small.tif", "width": 45, "height": 35}]),
        changed_coco(annotations=[{"id": 1, "image_id": 9, "category_id": 7, "bbox": [50, 40, 20, 10]}]),
    ),
    "run-length masks (RLE), list of COCO results": each(
        changed_coco(**annotations({"segmentation": {"counts": "a", "size": [9, 9]}})), results
    ),
    "COCO with an empty list of annotations": lambda d: tiles(coco(d / "a.json", annotations=[])),
    "file that says that it is not complete": each(
        json_changed(exceededTransferLimit=True),
        json_changed(numberMatched=900),
        json_changed(links=[{"rel": "next", "href": "x"}]),
    ),
    "truncated GeoJSON, GeoPackage without CRS, Shapefile": each(cut_short, without_crs, shapefile),
    "no label on any image: axes swapped, longitudes of 0 to 360, pixels": each(
        moved(lambda xy: xy[:, ::-1]), moved(lambda xy: xy + [360, 0]), moved(lambda xy: xy - xy.min(0) + [10, 12])
    ),
}


def test_the_page_and_the_checks_have_the_same_rows():
    same_rows(SECTION, CHECKS)


@pytest.mark.parametrize("given", CHECKS)
def test_labels_fare_as_the_page_says(given, tmp_path):
    holds(SECTION, given, CHECKS[given], tmp_path)
