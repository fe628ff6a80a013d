"""All layers of vector files: what is read, with which digits and coordinates, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely

from overwatt.aoi.errors import GridError, RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.workflows.io.layers import json_members, layer_names, read_layers

KML = '<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2">{}</kml>'


def placemark(name: str, geometry: bool = True) -> str:
    point = "<Point><coordinates>-77.4,39.0,0</coordinates></Point>" if geometry else ""
    return f"<Placemark><name>{name}</name>{point}</Placemark>"


def folder(name: str, *inside: str) -> str:
    return f"<Folder><name>{name}</name>{''.join(inside)}</Folder>"


def feature(properties: dict[str, Any], xy: Any = (-77.4, 39.0), **more: Any) -> dict[str, Any]:
    geometry = xy and {"type": "Point", "coordinates": xy}
    return {"type": "Feature", "properties": properties, "geometry": geometry, **more}


def write(path: Path, features: list[Any], **members: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **members}))
    return path


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            f"<Document><name>S</name>{folder('Run', placemark('A'), folder('Two', placemark('B')))}"
            f"{folder('Plan', placemark('C'), placemark('D'))}</Document>",
            [("A", "Run"), ("B", "Two"), ("C", "Plan"), ("D", "Plan")],
        ),
        (
            f"<Document><name>S</name>{placemark('A')}{folder('F', placemark('B'))}{placemark('C')}</Document>",
            [("A", "S"), ("C", "S"), ("B", "F")],
        ),
        (
            f"<Document>{folder('F', placemark('A'))}{folder('empty')}{folder('F', placemark('B'))}</Document>",
            [("A", "F"), ("B", "F (#2)")],
        ),
        (f"<Document><Folder>{placemark('A')}</Folder><Folder>{placemark('B')}</Folder></Document>",
         [("A", "Layer0"), ("B", "Layer1")]),
        (folder("F", folder("G", placemark("A")), placemark("B", geometry=False)), [("B", "F"), ("A", "G")]),
        (placemark("A"), [("A", "places")]),
    ],
)  # fmt: skip
def test_every_placemark_of_every_folder_is_read(tmp_path: Path, body: str, expected: list[tuple[str, str]]) -> None:
    path = tmp_path / "places.kml"
    path.write_text(KML.format(body))
    frame = read_layers(path)
    assert list(zip(frame["Name"], frame["layer"], strict=True)) == expected
    assert frame.crs == WGS84


def test_links_of_kml_are_named_as_not_read(tmp_path: Path) -> None:
    path = tmp_path / "places.kml"
    path.write_text(KML.format(f"<Document><NetworkLink><Link><href>x.kml</href></Link></NetworkLink>{placemark('A')}"
                               "</Document>"))  # fmt: skip
    assert read_layers(path).attrs["not_read"] == ("1 network links, which are not followed",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (KML.format("<Document><NetworkLink/></Document>"), "only a network link"),
        (KML.format(f"<Document>{placemark('A')}</Document>")[:-20], "truncated or broken XML"),
        ('<!DOCTYPE kml [<!ENTITY a "b">]>' + KML.format(placemark("&a;"))[38:], "declares XML entities"),
    ],
)
def test_kml_that_is_not_whole_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "places.kml"
    path.write_text(text)
    with pytest.raises(RegistryError, match=said):
        read_layers(path)


def test_a_layer_can_be_chosen_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "places.kml"
    path.write_text(KML.format(f"<Document>{folder('A/B', placemark('A'))}{folder('Ä ö', placemark('B'))}</Document>"))
    assert layer_names(path) == ["A/B", "Ä ö"]
    assert list(read_layers(path, "Ä ö")["Name"]) == ["B"]
    with pytest.raises(RegistryError, match=r"no layer 'A-B'; did you mean 'A/B'\?"):
        read_layers(path, "A-B")


def points(values: dict[str, Any], crs: Any = 4326) -> gpd.GeoDataFrame:
    n = len(next(iter(values.values())))
    places = gpd.GeoSeries([shapely.Point(-77.4 - k, 39) for k in range(n)], crs=4326)
    return gpd.GeoDataFrame(values, geometry=places).to_crs(crs)


def test_all_layers_of_a_geopackage_each_in_its_crs(tmp_path: Path) -> None:
    path = tmp_path / "sites.gpkg"
    points({"ref": pd.array([900719925474099301, None], dtype="Int64")}).to_file(path, layer="one")
    points({"ref": [900719925474099302], "mw": [1.5]}, 3857).to_file(path, layer="two")
    pyogrio.write_dataframe(pd.DataFrame({"a": [1]}), path, layer="notes")
    pyogrio.write_dataframe(pd.DataFrame({"a": [1]}), path, layer="layer_styles")
    frame = read_layers(path)
    assert list(frame["layer"]) == ["one", "one", "two"]
    assert [str(v) for v in frame["ref"]] == ["900719925474099301", "<NA>", "900719925474099302"]
    assert frame.geometry.iloc[2].distance(shapely.Point(-77.4, 39)) < 1e-9
    assert frame.attrs["not_read"] == ("layer 'notes': 1 rows without geometries",)
    assert not isinstance(read_layers(path, "notes"), gpd.GeoDataFrame)


def test_integers_keep_their_digits_beside_decimals_of_another_layer(tmp_path: Path) -> None:
    path = tmp_path / "sites.gpkg"
    points({"ref": [900719925474099301]}).to_file(path, layer="one")
    points({"ref": [1.5]}).to_file(path, layer="two")
    assert list(read_layers(path)["ref"]) == [900719925474099301, 1.5]


def test_a_layer_without_crs_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "sites.gpkg"
    points({"a": [1]}).to_file(path, layer="one")
    bare = points({"a": [1]}).set_crs(None, allow_override=True)
    with pytest.warns(UserWarning, match="crs"):
        pyogrio.write_dataframe(bare, path, layer="bare")
    with pytest.raises(GridError, match=r"layer 'bare': no CRS"):
        read_layers(path)


def test_a_file_with_its_own_column_layer_keeps_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", [feature({"layer": "roofs"})])
    assert list(read_layers(path)["layer"]) == ["roofs"]


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([feature({"id": 900719925474099301}), feature({"id": None})], ["900719925474099301", None]),
        ([feature({"id": 900719925474099301}), feature({"id": 1.5})], ["900719925474099301", "1.5"]),
        ([feature({"id": 99007199254740993011}), feature({"id": None})], ["99007199254740993011", None]),
        ([feature({"id": 900719925474099301}), feature({"id": "A1"})], ["900719925474099301", "A1"]),
        ([feature({"id": "007"}), feature({"id": "8"})], ["007", "8"]),
        ([feature({}, id=900719925474099301), feature({}, id=5)], ["900719925474099301", "5"]),
        ([feature({}, id="way/1"), feature({}, id=5)], ["way/1", "5"]),
        ([feature({}, id=3), feature({}, id=3), feature({})], ["3", "3", None]),
        ([feature({}, id=3), feature({}, id=True), feature({}, id=[1])], ["3", None, None]),
        *(
            ([feature(properties, **top) for properties, top in made], [str(k) for k in ids])
            for ids in (
                [2**70, 2**70 + 1],
                [2**63, 5],
                [2**63 - 1, 2**63 - 2],
                [2**53 + 1, 4],
                [-(2**63) - 1, -(2**80)],
            )
            for made in ([({}, {"id": k}) for k in ids], [({"id": k}, {}) for k in ids])
        ),
    ],
)
def test_ids_of_geojson_keep_their_digits(tmp_path: Path, features: list[Any], expected: list[str | None]) -> None:
    frame = read_layers(write(tmp_path / "ids.geojson", features))
    assert [None if pd.isna(v) else str(v) for v in frame["id"]] == expected


def test_only_long_integers_become_text(tmp_path: Path) -> None:
    properties = {
        "name": 'the "9007199254740993", 9007199254740993 \\',
        "mw": 9007199254740991,
        "x": 1234567890123456.5,
    }
    frame = read_layers(write(tmp_path / "a.geojson", [feature(properties | {"id": 2**64})]))
    assert frame.drop(columns=["geometry", "layer"]).iloc[0].to_dict() == properties | {"id": str(2**64)}
    assert list(frame["layer"]) == ["a"]


def test_columns_of_different_case_stay_two_columns(tmp_path: Path) -> None:
    frame = read_layers(write(tmp_path / "a.geojson", [feature({"MW": 1, "mw": 2})]))
    assert (frame["MW"][0], frame["mw"][0]) == (1, 2)


@pytest.mark.parametrize(
    ("members", "xy", "said"),
    [
        ({}, (286360, 4322267), r"\(286360, 4.32227e\+06\) are not longitude and latitude"),
        ({"crs": {"type": "name", "properties": {"name": "EPSG:99999"}}}, (1, 2), "CRS 'EPSG:99999' is unknown"),
    ],
)
def test_coordinates_that_do_not_fit_are_refused(tmp_path: Path, members: Any, xy: Any, said: str) -> None:
    with pytest.raises(GridError, match=said):
        read_layers(write(tmp_path / "a.geojson", [feature({}, xy)], **members))


@pytest.mark.parametrize("crs", [{"properties": "x"}, {"properties": None}, {"type": "name"}, "x", None])
@pytest.mark.parametrize("properties", [{}, [1, 2], None])
def test_members_of_another_type_do_not_end_reading(tmp_path: Path, crs: Any, properties: Any) -> None:
    features = [feature({"mw": 2.0**53 + 2}, id=3), feature(properties, id=3)]
    assert len(read_layers(write(tmp_path / "a.geojson", features, crs=crs))) == 2


def test_geojson_in_metres_with_its_crs_is_read(tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32618"}}
    frame = read_layers(write(tmp_path / "a.geojson", [feature({}, (286360, 4322267))], crs=crs))
    assert frame.geometry.iloc[0].distance(shapely.Point(-77.467, 39.023)) < 1e-3


def test_a_feature_that_cannot_be_read_is_not_lost_in_silence(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="1 of 2 features could be read"):
        read_layers(write(tmp_path / "a.geojson", [feature({"a": 1}), {"a": 2}]))


def test_features_line_by_line_are_read_and_a_broken_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.geojsonl"
    lines = [json.dumps(feature({"a": k, "ref": 99007199254740993011 + k}, id=7)) for k in range(3)]
    path.write_text("\n".join(lines))
    frame = read_layers(path)
    assert list(frame["a"]) == [0, 1, 2]
    assert list(frame["ref"]) == [str(99007199254740993011 + k) for k in range(3)]
    path.write_text("\n".join(lines)[:-15])
    with pytest.raises(RegistryError, match="truncated or broken JSON"):
        read_layers(path)


def test_geoparquet_keeps_integers_and_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "sites.parquet"
    ids = pd.array([900719925474099301, None], dtype="Int64")
    points({"ref": ids}, 3857).rename_geometry("outline").to_parquet(path)
    frame = read_layers(path)
    assert [str(v) for v in frame["ref"]] == ["900719925474099301", "<NA>"]
    assert frame.geometry.name == "geometry"
    assert frame.crs == WGS84
    pd.DataFrame({"lon": [1.0]}).to_parquet(path)
    assert list(read_layers(path).columns) == ["lon", "layer"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"PK\x03\x04rest", "ZIP file"), (b"id,lon,lat\n", "by its first bytes"), (b"PAR1rest", "not a readable Parquet"),
     (b'{"type": "FeatureCollection", "features": [{', "truncated or broken JSON"), (b"{}", "not a readable vector")],
)  # fmt: skip
def test_other_and_broken_files_are_refused_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    with pytest.raises(RegistryError, match=said):
        read_layers(path)


def test_members_are_read_without_the_features(tmp_path: Path) -> None:
    path = write(tmp_path / "a.geojson", [feature({}), feature({})], numberMatched=5)
    assert json_members(path) == {"type": "FeatureCollection", "features": [None, None], "numberMatched": 5}
