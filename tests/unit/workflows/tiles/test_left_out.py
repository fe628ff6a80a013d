"""Layers of label files, labels that are left out, and the ground that is unknown because of them."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.workflows.io.vectors import to_pixels
from overwatt.workflows.tiles.labels import LabelFile, merged, parse_label_file, read_labels
from overwatt.workflows.tiles.left_out import POINT_M, Notes, check_background, summary, unknown_ground
from tests.support import UTM_26N, naming, random_ring
from tests.unit.workflows.tiles.label_files import CORNERS, coco, on_map, vector


def kml(path, **folders):
    """A KML file; of each folder its name and the outlines in it, in pixels."""

    def placemark(box):
        ring = gpd.GeoSeries([on_map(shapely.get_coordinates(shapely.box(*box)).ravel())], crs=UTM_26N).to_crs(4326)[0]
        text = " ".join(f"{x},{y}" for x, y in ring.exterior.coords)
        return (
            "<Placemark><Polygon><outerBoundaryIs><LinearRing><coordinates>"
            f"{text}</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark>"
        )

    inner = "".join(f"<Folder><name>{k}</name>{''.join(map(placemark, v))}</Folder>" for k, v in folders.items())
    path.write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{inner}</Document></kml>')
    return path


BOXES = {"done": [(1, 1, 9, 9)], "checked": [(20, 1, 29, 9), (40, 1, 49, 9)]}


def test_all_folders_of_kml_are_read(tmp_path, placed):
    path = kml(tmp_path / "a.kml", **BOXES)
    assert list(read_labels(parse_label_file(f"{path}=data_center"), [placed], {})["class"]) == ["data_center"] * 3
    with pytest.raises(RegistryError, match=naming("layer 'done'", "'class'", "--labels", "a.kml:done=data_center")):
        read_labels(LabelFile(path), [placed], {})
    mapped = read_labels(LabelFile(path), [placed], {"done": "data_center", "checked": "other_building"})
    assert list(mapped["class"]) == ["data_center", "other_building", "other_building"]


def test_layers_can_be_chosen_and_the_others_are_left_out(tmp_path, placed):
    path = kml(tmp_path / "a.kml", **BOXES)
    notes = Notes()
    labels = read_labels(parse_label_file(f"{path}:done=data_center"), [placed], {}, notes)
    assert list(labels["class"]) == ["data_center"]
    assert [k.cause for k in notes.left_out] == ["its layer is not among those given"] * 2
    assert all(k.shape is not None for k in notes.left_out)
    both = merged([parse_label_file(f"{path}:done=data_center"), parse_label_file(f"{path}:checked=unknown")])
    assert list(read_labels(both[0], [placed], {})["class"]) == ["data_center", "unknown", "unknown"]
    with pytest.raises(RegistryError, match=naming("no layer 'don'", "'done'")):
        read_labels(parse_label_file(f"{path}:don=data_center"), [placed], {})
    with pytest.raises(ConfigError, match=naming("a.kml", "given twice")):
        merged([LabelFile(path), parse_label_file(f"{path}:done=data_center")])


def test_layers_of_a_geopackage_with_classes_are_read_together(tmp_path, placed):
    file = vector(tmp_path / "two.gpkg")
    frame = gpd.read_file(file.path)
    frame.assign(**{"class": "unknown"}).to_file(file.path, layer="second")
    frame.drop(columns="class").to_file(file.path, layer="other_building")
    labels = read_labels(file, [placed], {})
    assert list(labels["class"]) == ["data_center"] * 2 + ["unknown"] * 2 + ["other_building"] * 2


def test_shapes_without_area_or_place_are_noted(tmp_path, placed):
    inside = on_map(CORNERS)
    shapes = [inside, inside.centroid, inside.exterior, None, shapely.Polygon(), inside]
    classes = ["data_center"] * 5 + [None]
    path = tmp_path / "a.gpkg"
    gpd.GeoDataFrame({"class": classes}, geometry=shapes, crs=UTM_26N).to_file(path)
    notes = Notes()
    assert len(read_labels(LabelFile(path), [placed], {}, notes)) == 1
    assert [(k.label, k.cause, k.shape is None) for k in notes.left_out] == [
        ("a.gpkg: label 2", "a 'Point', labels are polygons", False),
        ("a.gpkg: label 3", "a 'LineString', labels are polygons", False),
        ("a.gpkg: label 4", "has no geometry", True),
        ("a.gpkg: label 5", "has an empty geometry", True),
        ("a.gpkg: label 6", "has no class", False),
    ]
    ground = unknown_ground(notes.left_out, [placed])
    disc = to_pixels(ground.geometry, placed)[0]
    assert disc.area == pytest.approx(np.pi * (POINT_M / 2) ** 2, rel=0.02)


def test_a_file_that_says_it_is_not_complete_is_noted(tmp_path, placed):
    file = vector(tmp_path / "a.geojson")
    file.path.write_text(json.dumps(json.loads(file.path.read_text()) | {"exceededTransferLimit": True}))
    notes = Notes()
    read_labels(file, [placed], {}, notes)
    with pytest.raises(ConfigError, match=naming("a.geojson", "exceededTransferLimit", "--unlabelled ignore")):
        check_background(notes)


def test_a_link_to_further_labels_is_no_background(tmp_path, placed):
    path = kml(tmp_path / "a.kml", data_center=[(1, 1, 9, 9)])
    link = "<NetworkLink><name>rest</name><Link><href>http://x/y.kml</href></Link></NetworkLink></Document>"
    path.write_text(path.read_text().replace("</Document>", link))
    notes = Notes()
    read_labels(LabelFile(path), [placed], {}, notes)
    with pytest.raises(ConfigError, match=naming("a.kml", "1 network link", "--unlabelled ignore")):
        check_background(notes)


def test_rows_of_tables_without_geometries_are_labels_without_a_place(tmp_path, placed):
    file = vector(tmp_path / "a.gpkg")
    table = pd.DataFrame({"class": ["data_center"] * 3, "wkt": ["POLYGON((1 2,1 3,2 3,1 2))"] * 3})
    pyogrio.write_dataframe(table, file.path, layer="drawn")
    notes = Notes()
    assert len(read_labels(file, [placed], {}, notes)) == 2
    assert summary(notes)["by_cause"] == {"has no geometry": 3}
    with pytest.raises(ConfigError, match=naming("a.gpkg", "'drawn'", "3 labels have no place")):
        check_background(notes)
    # the user may say that a table holds no labels
    notes = Notes()
    read_labels(parse_label_file(f"{file.path}:a"), [placed], {}, notes)
    check_background(notes)
    assert summary(notes)["total"] == 0


@pytest.mark.parametrize("kind", ["coco", "gpkg"])
def test_an_outline_that_crosses_itself_everywhere_is_left_out_with_its_ground(tmp_path, placed, kind):
    ring = shapely.transform(random_ring(1500), lambda xy: xy * 30 + 10)
    corners = shapely.get_coordinates(ring)
    if kind == "coco":
        first = {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [corners.ravel().tolist()]}
        second = {**first, "segmentation": [CORNERS]}
        file = coco(tmp_path / "a.json", annotations=[first, second])
    else:
        file = LabelFile(tmp_path / "a.gpkg")
        shapes = [on_map(corners), on_map(CORNERS)]
        gpd.GeoDataFrame({"class": ["data_center"] * 2}, geometry=shapes, crs=UTM_26N).to_file(file.path)
    notes = Notes()
    assert len(read_labels(file, [placed], {}, notes)) == 1
    assert "crosses itself too often" in notes.left_out[0].cause
    ground = to_pixels(unknown_ground(notes.left_out, [placed]).geometry, placed)[0]
    assert ground.area == pytest.approx(shapely.convex_hull(ring).area, rel=1e-3)
