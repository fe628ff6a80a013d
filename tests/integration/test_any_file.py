"""A law: whatever a received file holds, its reader reads it or refuses it in one line; the rest is a bug.

Valid files of every form are damaged at random: bytes changed, pieces cut out, doubled or put elsewhere, the end cut.
"""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.area import from_file
from overwatt.aoi.errors import OverwattError
from overwatt.models.detector.card import load_card
from overwatt.workflows.config.run import load
from overwatt.workflows.io import registries
from overwatt.workflows.io.images import open_image
from overwatt.workflows.io.temperature_stack import load_stack
from overwatt.workflows.tiles.labels import LabelFile, read_labels
from tests.support import write_image

SQUARES = [shapely.box(-27 + d, 45, -26.999 + d, 45.001) for d in (0, 0.01)]
ROWS = {"id": ["a1", "a2"], "name": ["Ash", "Beech"], "it_mw": [30.0, 40.5], "status": ["Operating", "Planned"],
        "class": ["data_center", "other_building"]}  # fmt: skip
KML = """<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder>
<name>Operating</name><Placemark><name>Ash</name>
<ExtendedData><Data name="it_mw"><value>30</value></Data></ExtendedData>
<Polygon><outerBoundaryIs><LinearRing><coordinates>-27,45 -26.9,45 -26.9,45.1 -27,45</coordinates></LinearRing>
</outerBoundaryIs></Polygon></Placemark></Folder></Document></kml>"""
OVERPASS = {"version": 0.6, "elements": [
    {"type": "way", "id": 1, "nodes": [1, 2, 3, 1], "tags": {"building": "data_center", "name": "Ash"}},
    {"type": "way", "id": 2, "tags": {"telecom": "data_center", "power": "line"},
     "bounds": {"minlon": -27, "minlat": 45, "maxlon": -26.9, "maxlat": 45.1}},
    *({"type": "node", "id": k, "lon": -27 + k / 100, "lat": 45 + k % 2 / 100} for k in (1, 2, 3)),
]}  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "photo.tif", "width": 80, "height": 60}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]], "bbox": [1, 1, 8, 8]},
    ],
    "categories": [{"id": 1, "name": "data_center"}], "licenses": [{"id": 1, "name": "CC0"}],
}  # fmt: skip
WORKFLOW = {"name": "t", "area": [-27.0, 45.0, -26.9, 45.1], "imagery": {"path": "photo.tif", "date": "2024-05-01"},
            "prior": 0.003, "declared": {"path": "r.csv", "columns": {"it_mw": "Leistung"}}}  # fmt: skip

FEATURES = {"type": "FeatureCollection", "total": 2, "crs": {"type": "name", "properties": {"name": "EPSG:4326"}},
            "features": [{"type": "Feature", "id": k, "properties": {"it_mw": 2**53 + k, "class": "data_center"},
                          "geometry": shapely.geometry.mapping(s)} for k, s in enumerate(SQUARES, 7)]}  # fmt: skip
ESRI = {"geometryType": "esriGeometryPoint", "spatialReference": {"wkid": 4326},
        "fields": [{"name": "id", "type": "esriFieldTypeString"}],
        "features": [{"attributes": {"id": "a"}, "geometry": {"x": -27, "y": 45}}]}  # fmt: skip

NAMES = ("r.geojson", "r.gpkg", "r.parquet", "r.csv", "wkt.csv", "r.json", "r.kml", "overpass.json", "coco.json",
         "wf.yaml", "lst.tif")  # fmt: skip
KINDS = ("byte", "byte", "word", "cut", "double", "move", "end")
WORDS = (
    b"null",
    b"-1e999",
    b"[]",
    b"{}",
    b'"',
    b"NaN",
    b"9" * 40,
    b"9" * 400,
    b'["x"]',
    b",",
    b"\n",
    b"\0",
    b"<",
    b"&x;",
    b"POLYGON((",
    b"'",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@pytest.fixture(scope="module")
def image(folder, weights):
    pixels = np.random.default_rng(1).integers(20, 220, (3, 60, 80), dtype=np.uint8)
    return open_image(write_image(folder / "photo.tif", pixels), load_card(weights))


@pytest.fixture(scope="module")
def originals(folder):
    """A folder with a valid file of each form."""
    frame = gpd.GeoDataFrame(ROWS, geometry=SQUARES, crs="OGC:CRS84")
    table = pd.DataFrame(frame.drop(columns="geometry")).assign(lon=[-27.0, -26.9], lat=[45.0, 45.1])
    made = folder / "originals"
    made.mkdir()
    frame.to_file(made / "r.geojson", driver="GeoJSON")
    frame.to_file(made / "r.gpkg", layer="sites", driver="GPKG")
    frame.to_parquet(made / "r.parquet")
    table.to_csv(made / "r.csv", index=False)
    (made / "wkt.csv").write_text(table.assign(geometry=frame.geometry.to_wkt()).to_csv(sep=";", index=False))
    (made / "r.json").write_text(table.to_json(orient="records"))
    (made / "r.kml").write_text(KML)
    (made / "overpass.json").write_text(json.dumps(OVERPASS))
    (made / "ids.geojson").write_text(json.dumps(FEATURES))
    (made / "esri.json").write_text(json.dumps(ESRI))
    points = [{"id": k, "geometry": {"x": -27.0 + k, "y": 45.0}} for k in range(2)]
    (made / "points.json").write_text(json.dumps(points))
    (made / "coco.json").write_text(json.dumps(COCO))
    (made / "wf.yaml").write_text(yaml.safe_dump(WORKFLOW))
    with rasterio.open(
        made / "lst.tif", "w", driver="GTiff", count=1, height=20, width=30, dtype="float32", crs="EPSG:32626",
        transform=Affine(70, 0, 500_000, 0, -70, 4_984_000), nodata=0,
    ) as file:  # fmt: skip
        file.write(np.random.default_rng(2).normal(300, 2, (1, 20, 30)).astype("float32"))
    return made


def read(path, image):
    """Give a file to every reader that a user could give it to."""
    if path.suffix == ".yaml":
        return [lambda: load(path)]
    if path.suffix == ".tif":
        return [lambda: load_stack([path], unit="kelvin")]
    labels = [
        lambda: read_labels(LabelFile(path), [image], {}),
        lambda: read_labels(LabelFile(path, "data_center"), [image], {}),
    ]
    areas = [lambda: from_file(path)] if path.suffix in (".geojson", ".gpkg", ".kml") else []
    return [lambda: registries.read_all(path, partial=True), *labels, *areas]


@st.composite
def damage(draw):
    """A function from bytes to damaged bytes."""
    kinds = draw(
        st.lists(st.sampled_from(["byte", "byte", "word", "cut", "double", "move", "end"]), min_size=1, max_size=3)
    )
    seed = draw(st.integers(0, 2**32 - 1))

    def apply(content):
        rng = np.random.default_rng(seed)
        out = bytearray(content)
        for kind in kinds:
            if not out:
                break
            a, b = sorted(rng.integers(0, len(out) + 1, 2).tolist())
            b = min(b, a + 60)
            if kind == "byte":
                out[min(a, len(out) - 1)] = int(rng.integers(0, 256))
            elif kind == "word":
                out[a:b] = WORDS[int(rng.integers(0, len(WORDS)))]
            elif kind == "cut":
                del out[a:b]
            elif kind == "double":
                out[a:a] = out[a:b]
            elif kind == "move":
                piece = out[a:b]
                del out[a:b]
                at = int(rng.integers(0, len(out) + 1))
                out[at:at] = piece
            else:
                del out[a:]
        return bytes(out)

    return apply


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")  # GDAL's words on damaged files
@pytest.mark.parametrize(
    "name",
    [
        "r.geojson",
        "r.gpkg",
        "r.parquet",
        "r.csv",
        "wkt.csv",
        "r.json",
        "r.kml",
        "overpass.json",
        "ids.geojson",
        "esri.json",
        "points.json",
        "coco.json",
        "wf.yaml",
        "lst.tif",
    ],
)
@settings(max_examples=60, deadline=None)
@given(damaged=damage())
def test_a_damaged_file_is_read_or_refused_in_one_line(name, damaged, originals, image, folder):
    path = folder / f"damaged-{name}"
    path.write_bytes(damaged((originals / name).read_bytes()))
    for reader in read(path, image):
        try:
            reader()
        except OverwattError as error:
            refused = str(error)
        else:
            refused = ""
        assert "\n" not in refused
