"""A part of a registry is refused, or read and said so."""

import json

import geopandas as gpd
import pytest
import shapely
from typer.testing import CliRunner

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.workflows.cli.main import app
from overwatt.workflows.io import registries
from tests.support import naming

POINT = {"type": "Point", "coordinates": [-77.46012, 39.02012]}
FEATURES = {
    "type": "FeatureCollection",
    "features": [{"type": "Feature", "properties": {"id": "a"}, "geometry": POINT}],
}
ROWS = [{"id": "a", "lon": -77.46012, "lat": 39.02012}]
NODE = {"type": "node", "id": 1, "lon": -77.46012, "lat": 39.02012, "tags": {"building": "data_center"}}
ESRI = {
    "geometryType": "esriGeometryPoint", "spatialReference": {"wkid": 4326},
    "fields": [{"name": "OBJECTID", "type": "esriFieldTypeOID"}],
    "features": [{"attributes": {"OBJECTID": 1}, "geometry": {"x": -77.46012, "y": 39.02012}}],
}  # fmt: skip
PARTS = {
    "ArcGIS": (FEATURES | {"exceededTransferLimit": True}, ("exceededTransferLimit", "resultOffset")),
    "ArcGIS, properties": (FEATURES | {"properties": {"exceededTransferLimit": True}}, ("exceededTransferLimit",)),
    "Esri JSON": (ESRI | {"exceededTransferLimit": True}, ("exceededTransferLimit",)),
    "OGC API": (FEATURES | {"numberMatched": 1853, "numberReturned": 1}, ("1 of 1,853 rows",)),
    "OGC API, link only": (FEATURES | {"links": [{"rel": "next", "href": "x"}]}, ("more pages",)),
    "WFS": (FEATURES | {"totalFeatures": 9}, ("1 of 9 rows",)),
    "STAC": (FEATURES | {"context": {"matched": 4, "returned": 1}}, ("1 of 4 rows",)),
    "Overpass": ({"elements": [NODE], "remark": "runtime error: Query timed out in \"query\" at line 4."},
                 ("timed out", "[timeout:]")),
    "Django": ({"count": 3, "next": "http://x", "previous": None, "results": ROWS}, ("1 of 3 rows",)),
    "CKAN": ({"result": {"total": 5, "records": ROWS}}, ("1 of 5 rows",)),
    "attributes at the root": (FEATURES | {"attributes": {"a": 1}, "numberMatched": 9}, ("1 of 9 rows",)),
    "total of pages": (FEATURES | {"total": 9, "limit": 1}, ("1 of 9 rows",)),
    "total of rows": ({"total": 9, "data": ROWS}, ("1 of 9 rows",)),
    "count of pages": ({"count": 9, "offset": 0, "data": ROWS}, ("1 of 9 rows",)),
    "HAL": ({"_links": {"next": {"href": "x"}}, "results": ROWS}, ("more pages",)),
    "JSON:API": ({"links": {"next": "x"}, "data": ROWS}, ("more pages",)),
    "a flag": ({"has_more": True, "data": ROWS}, ("more pages",)),
    "GBIF": ({"endOfRecords": False, "offset": 0, "count": 1853, "results": ROWS}, ("1 of 1,853 rows",)),
    "Strapi": ({"data": ROWS, "meta": {"pagination": {"total": 4}}}, ("1 of 4 rows",)),
    "pages": ({"page": 1, "total_pages": 4, "results": ROWS}, ("more pages",)),
    "DataTables": ({"recordsTotal": 1853, "data": ROWS}, ("1 of 1,853 rows",)),
    "Airtable": ({"records": ROWS, "offset": "itrX"}, ("more pages",)),
    "OData count": ({"@odata.count": 9, "value": ROWS}, ("1 of 9 rows",)),
    "OData": ({"value": ROWS, "@odata.nextLink": "x"}, ("more pages",)),
}  # fmt: skip
WHOLE = {
    "all matched": FEATURES | {"numberMatched": 1, "links": [{"rel": "next", "href": "x"}]},
    "limit not reached": FEATURES | {"exceededTransferLimit": False},
    "last page": {"count": 1, "next": None, "previous": None, "results": ROWS},
    "no error": {"elements": [NODE], "remark": "data of yesterday"},
    "total of something else": FEATURES | {"total": 5000, "count": 9},
    "property of that name": {"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"id": "a", "next": "b", "total": 12}, "geometry": POINT}]},
}  # fmt: skip


def written(tmp_path, content):
    file = tmp_path / "part.json"
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("kind", PARTS)
def test_a_part_is_refused_or_read_and_said_so(tmp_path, kind):
    content, words = PARTS[kind]
    file = written(tmp_path, content)
    with pytest.raises(RegistryError, match=naming("'part.json'", "not whole", *words, "--partial")) as caught:
        registries.read_all(file)
    assert "\n" not in str(caught.value)
    notes = []
    table, _ = registries.read_all(file, partial=True, notes=notes)
    assert len(table) == 1
    assert len(notes) == 1
    assert "not whole" in notes[0]
    assert "undeclared" in notes[0]


@pytest.mark.parametrize("kind", WHOLE)
def test_the_whole_is_not_taken_for_a_part(tmp_path, kind):
    notes = []
    assert len(registries.read_all(written(tmp_path, WHOLE[kind]), notes=notes)[0]) == 1
    assert notes == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.geojson", json.dumps(FEATURES)[:-9]),
        ("r.json", json.dumps({"elements": [NODE]})[:-9]),
        ("r.json", json.dumps(ROWS)[:-9]),
        ("r.ndjson", json.dumps(ROWS[0]) + "\n" + json.dumps(ROWS[0])[:-9]),
        ("r.csv", 'id,lon,lat\na,-77.46,39.02\nb,"-77.4'),
        ("r.csv", "id,lon,lat\na,-77.46,39.02\nb,-77.4"),
    ],
)
def test_a_file_cut_short_is_refused(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(RegistryError, match=naming(f"'{name}'")):
        registries.read_all(tmp_path / name)


def test_the_command_says_that_the_registry_is_not_whole(tmp_path):
    (tmp_path / "obs.csv").write_text("id,lon,lat\ns,-77.46012,39.02012\nt,-77.47012,39.03012\n")
    call = ["reconcile", str(tmp_path / "obs.csv"), str(written(tmp_path, PARTS["OGC API"][0]))]
    done = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "o")])
    assert isinstance(done.exception, RegistryError)
    done = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "o"), "--partial", "--json"])
    assert done.exit_code == 0, done.output
    assert "1 of 1,853 rows" in json.loads(done.stdout.splitlines()[-1])["notes"][0]
    assert "not whole: 1 of 1,853 rows" in done.output


def test_all_layers_are_read_unless_one_is_asked_for(tmp_path):
    file = tmp_path / "r.gpkg"
    for layer, x in (("Operating", 1.5), ("Planned", 2.5)):
        frame = gpd.GeoDataFrame({"id": ["1", layer]}, geometry=[shapely.Point(x, 2), shapely.Point(x, 3)], crs=WGS84)
        frame.to_file(file, layer=layer)
    table = registries.read(file)
    assert table["declared_id"].tolist() == ["Operating/1", "Operating", "Planned/1", "Planned"]
    assert table["status"].tolist() == ["operational"] * 2 + ["planned"] * 2
    assert table["status_stated"].tolist() == ["Operating"] * 2 + ["Planned"] * 2
    assert registries.read(file, layer="Planned")["declared_id"].tolist() == ["1", "Planned"]
    with pytest.raises(RegistryError, match=naming("'r.gpkg'", "'Plan'", "'Planned'")):
        registries.read(file, layer="Plan")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.shp", b"\0\0\x27\x0a" + bytes(96), ("ogr2ogr", "r.gpkg")),
        ("r.xlsx", b"PK\3\4", ("CSV",)),
        ("r.kmz", b"PK\3\4", ("unzip",)),
        ("r.json", b"<html><body>504</body></html>", ("web page",)),
        ("r.osm", b'<?xml version="1.0"?><osm version="0.6" generator="Overpass API"/>', ("[out:json]",)),
        ("r.json", b'{"error": {"message": "Invalid token"}}', ("Invalid token",)),
    ],
)
def test_formats_that_are_not_read_say_what_to_do(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RegistryError, match=naming(f"'{name}'", *words)):
        registries.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("r.json", json.dumps([{"id": 900719925474099301, "lon": 1, "lat": 2}, {"id": None, "lon": 2, "lat": 2}])),
        ("r.json", json.dumps({"id": [900719925474099301, None], "lon": [1, 2], "lat": [2, 2]})),
        ("r.ndjson", '{"id": 900719925474099301, "lon": 1, "lat": 2}\n{"lon": 2, "lat": 2}\n'),
        ("r.csv", "id,lon,lat\n900719925474099301,1,2\n,2,2\n"),
    ],
)
def test_ids_keep_their_digits_beside_an_empty_one(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert registries.read(tmp_path / name)["declared_id"].tolist() == ["900719925474099301", "2"]
    (tmp_path / "f.csv").write_text("id,lon,lat\n123.0,1,2\n00124.0,2,2\n")
    assert registries.read(tmp_path / "f.csv")["declared_id"].tolist() == ["123", "00124"]


def test_features_in_a_list_or_one_per_line(tmp_path):
    feature = FEATURES["features"][0]
    for name, text in (("r.json", json.dumps([feature])), ("r.geojsonl", json.dumps(feature) + "\n"),
                       ("r.geojson", json.dumps(feature))):  # fmt: skip
        (tmp_path / name).write_text(text)
        assert registries.read(tmp_path / name)["declared_id"].tolist() == ["a"], name
