import json
import os
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.declared import registry
from overwatt.pipeline.tables import SCHEMAS
from overwatt.workflows.io import registries
from tests.support import naming

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"
REAL = Path(os.environ.get("OVERWATT_REAL_DATA", SHARED)) / "facilities"
real = pytest.mark.skipif(not REAL.is_dir(), reason=f"no registries at {REAL}; set OVERWATT_REAL_DATA")
SQUARE = shapely.box(-77.50, 39.00, -77.49, 39.01)


def csv(tmp_path, text, name="r.csv"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def geojson(tmp_path, rows, name="r.geojson", crs=WGS84):
    file = tmp_path / name
    gpd.GeoDataFrame(rows, crs=crs).to_file(file, driver="GeoJSON")
    return file


@pytest.mark.parametrize("header", ["lon,lat,id", "Longitude,LATITUDE,Declared_ID", "X,y,ID"])
def test_csv_needs_only_coordinates_and_finds_them_by_any_usual_name(tmp_path, header):
    table = registries.read(csv(tmp_path, f"{header}\n-77.48012,39.01234,A1\n10.5,-50.25,B2\n"))
    assert list(table.columns) == [c.name for c in SCHEMAS["declared"]] + ["geometry"]
    assert table["declared_id"].tolist() == ["A1", "B2"]
    assert (table.geometry.x[0], table.geometry.y[0]) == (-77.48012, 39.01234)
    assert table["kind"].tolist() == ["facility", "facility"]
    assert table["source"].tolist() == ["r.csv", "r.csv"]
    assert table[["it_mw", "facility_mw", "status", "area_m2"]].isna().all(axis=None)


def test_everything_else_is_read_where_present(tmp_path):
    text = (
        "lon,lat,id,name,operator,kind,it_mw,facility_mw,status,position_error_m,valid_from,valid_to,source,licence\n"
        "1.5,2.5,a,Hall 1,Acme,Warehouse,12.5,16,Under construction,45,2024-05,1 Feb 2026,Ministry,open\n"
    )
    row = registries.read(csv(tmp_path, text)).iloc[0]
    assert (row["name"], row["operator"], row["kind"]) == ("Hall 1", "Acme", "warehouse")
    assert (row["it_mw"], row["facility_mw"], row["position_error_m"]) == (12.5, 16.0, 45.0)
    assert (row["status"], row["valid_from"], row["valid_to"]) == ("construction", "2024-05", "2026-02-01")
    assert (row["source"], row["licence"]) == ("Ministry", "open")


def test_without_an_id_the_row_number_is_the_id(tmp_path):
    assert registries.read(csv(tmp_path, "lon,lat\n1,2\n3,4\n"))["declared_id"].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("lon", "error_m"),
    [
        ("-77.5", 11_132),
        ("-77.51", 1113),
        ("-77.5123", 200),
        ("-77.5123456", 200),
        ("-77", 25_000),
        ("-77.5000", 200),
        ("-77.0", 25_000),
    ],
)
def test_coordinate_digits_give_the_error_of_points(tmp_path, lon, error_m):
    lat = lon.replace("-77", "39")
    table = registries.read(csv(tmp_path, f"lon,lat\n{lon},{lat}\n"))
    assert table["position_error_m"][0] == pytest.approx(error_m, rel=0.01)
    stated = registries.read(csv(tmp_path, f"lon,lat\n{lon},{lat}\n"), default_position_error_m=75.0)
    assert stated["position_error_m"][0] == 75.0


@pytest.mark.parametrize("suffix", ["geojson", "gpkg", "parquet"])
def test_outlines_stay_outlines_in_every_vector_format(tmp_path, suffix):
    frame = gpd.GeoDataFrame({"id": ["a", "b"], "it_mw": [30.0, None]}, geometry=[SQUARE, SQUARE.centroid], crs=WGS84)
    file = tmp_path / f"r.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(file)
    else:
        frame.to_file(file)
    table = registries.read(file)
    assert table.geom_type.tolist() == ["Polygon", "Point"]
    assert table.geometry[0].normalize().equals_exact(SQUARE.normalize(), 1e-9)
    area = abs(Geod(ellps="WGS84").geometry_area_perimeter(SQUARE)[0])
    assert table["area_m2"][0] == pytest.approx(area)
    assert table["position_error_m"][0] == pytest.approx(0.1 * area**0.5)
    assert pd.isna(table["area_m2"][1])
    assert table["it_mw"].tolist()[0] == 30.0
    assert table["it_mw"].isna().tolist() == [False, True]


def test_other_coordinate_systems_are_brought_to_lon_lat_and_wkt_is_read(tmp_path):
    utm = gpd.GeoDataFrame({"id": ["a"]}, geometry=[SQUARE], crs=WGS84).to_crs(32618)
    utm.to_file(tmp_path / "u.gpkg")
    assert registries.read(tmp_path / "u.gpkg").geometry[0].centroid.distance(SQUARE.centroid) < 1e-6
    wkt = registries.read(csv(tmp_path, f'id;geometry\na;"{SQUARE.wkt}"\n'.replace(";", ",")))
    assert wkt.geometry[0].equals(SQUARE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,town\na,Ashburn\n", ("lon", "lat", "geometry", "id, town")),
        ("lon,lat\n", ("rows",)),
        ("", ("empty",)),
        ("lon,lat\n1,2\n1,95\n", ("row 2", "'lat'", 95, "-90", 90)),
        ("lon,lat\n39,-77\n-77,120\n", ("row 2", "'lat'", 120, "-90", 90)),
        ("lon,lat\n181,2\n-5,2\n", ("row 1", "'lon'", 181, "-180", 180)),
        ("lon,lat\nabc,2\n", ("row 1", "'lon'", "'abc'")),
        ("lon,lat\nnan,2\n", ("row 1", "no coordinates")),
        ("lon,lat\n,2\n", ("row 1", "coordinates")),
        ("lon,lat,id\n1,2,a\n3,4,a\n", ("row 2", "'a'", "row 1")),
        ("lon,lat,it_mw\n1,2,many\n", ("row 1", "'it_mw'", "'many'")),
        ("lon,lat,facility_mw\n1,2,-3\n", ("row 1", "'facility_mw'", "-3")),
        ("lon,lat,it_mw\n1,2,inf\n", ("'it_mw'", "'inf'")),
        ("lon,lat,power_mw\n1,2,3\n", ("'power_mw'", "it_mw", "facility_mw")),
        ("lon,lat,position_error_m\n1,2,0\n", ("'position_error_m'", 0)),
        ("lon,lat,valid_from\n1,2,soon\n", ("row 1", "'valid_from'", "'soon'", "2026-08-31")),
        ("lon,lon\u200b,lat\n1,2,3\n", ("'lon'", "twice")),
        ('lon,lat\n"1,2\n', ("row 1",)),
    ],
)
def test_faults_are_named_in_one_line(tmp_path, text, words):
    with pytest.raises(RegistryError, match=naming("'r.csv'", *words)) as caught:
        registries.read(csv(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_unusable_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(RegistryError, match=naming("none.csv", "declared.path")):
        registries.read(tmp_path / "none.csv")
    with pytest.raises(RegistryError, match=naming("'b.geojson'")):
        registries.read(csv(tmp_path, "{broken", "b.geojson"))
    with pytest.raises(RegistryError, match=naming("declared.format", "'osmm'", "'osm'")):
        registries.read(csv(tmp_path, "lon,lat\n1,2\n"), format="osmm")
    with pytest.raises(RegistryError, match=naming("default_position_error_m", "-5")):
        registries.read(csv(tmp_path, "lon,lat\n1,2\n"), default_position_error_m=-5.0)
    line = gpd.GeoSeries([shapely.LineString([(0, 0), (1, 1)])], crs=WGS84)
    with pytest.raises(RegistryError, match=naming("r.geojson", "row 1", "'geometry'", "LineString")):
        registries.read(geojson(tmp_path, {"id": ["a"], "geometry": line}))
    monkeypatch.setattr(registries, "MAX_BYTES", 10)
    with pytest.raises(RegistryError, match=naming("r.csv", "MB")):
        registries.read(csv(tmp_path, "lon,lat\n1,2\n"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_tables_of_other_encodings_are_read(tmp_path, encoding):
    (tmp_path / "r.csv").write_bytes("lon,lat,name\n1,2,Zürich\n".encode(encoding))
    assert registries.read(tmp_path / "r.csv")["name"].tolist() == ["Zürich"]


def test_bad_rows_are_kept_aside_with_their_reason(tmp_path):
    text = "id,lon,lat,it_mw\na,1,2,5\nb,0,0,5\nc,2,100,5\nd,1,2,some 20\na,3,4,5\ne,,,5\nf,5,6,7\n"
    aside = []
    table = registries.read(csv(tmp_path, text), aside=aside)
    assert table["declared_id"].tolist() == ["a", "f"]
    assert [(row, name) for row, name, _ in aside] == [(2, "b"), (3, "c"), (4, "d"), (5, "a"), (6, "e")]
    for (_, _, reason), word in zip(
        aside, ("coordinates 0, 0", "swapped", "not a number", "already", "no coordinates"), strict=True
    ):
        assert word in reason


def test_words_for_an_empty_cell_are_empty_cells(tmp_path):
    words = ("N/A", "NULL", "-", "n/a", "none")
    rows = "".join(f"{w},1.5,2.{k},{w},{w},{w}\n" for k, w in enumerate(words))
    table = registries.read(csv(tmp_path, f"name,lon,lat,it_mw,status,valid_from\n{rows}"))
    assert table["name"].tolist() == list(words)
    assert table[["it_mw", "status", "status_stated", "valid_from"]].isna().all(axis=None)


def test_self_crossing_outline_is_mended_and_control_characters_go(tmp_path):
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    table = registries.read(geojson(tmp_path, {"id": ["a"], "name": ["x\u202ey\x07z"], "geometry": [bow]}))
    assert table.geometry.is_valid.all()
    assert table.geometry[0].area == pytest.approx(0.5)
    assert table["name"][0] == "x y z"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90), st.floats(0, 1e4)), min_size=1, max_size=5))
def test_reading_what_was_written_gives_it_back(tmp_path_factory, rows):
    rows = [(lon or 1.0, lat, mw) for lon, lat, mw in rows]  # 0, 0 is refused
    file = tmp_path_factory.mktemp("d") / "r.csv"
    pd.DataFrame(rows, columns=["lon", "lat", "it_mw"]).to_csv(file, index_label="id")
    table = registries.read(file)
    back = zip(table.geometry.x, table.geometry.y, table["it_mw"], strict=True)
    assert [tuple(map(float, r)) for r in back] == [tuple(map(float, r)) for r in rows]
    assert (table["position_error_m"] > 0).all()


def im3(kind, geometry, sqft=None):
    return {
        "state_abb": "VA",
        "operator": None,
        "name": kind,
        "sqft": sqft,
        "type": kind,
        "geometry": geometry,
    }


def test_im3_campus_with_buildings_is_dropped_and_one_without_stays(tmp_path):
    inside = shapely.box(-77.498, 39.002, -77.497, 39.003)
    far = shapely.box(-76.50, 39.00, -76.49, 39.01)
    rows = [
        im3("campus", SQUARE, 10_000_000),
        im3("building", inside, 100_000),
        im3("campus", far),
        im3("point", shapely.Point(1, 2)),
    ]
    frame = pd.DataFrame(rows)
    table = registries.read(geojson(tmp_path, frame))
    assert table["declared_id"].tolist() == ["im3-2", "im3-3", "im3-4"]
    assert table["area_m2"][0] == pytest.approx(9290.304)
    assert table["area_m2"][1] == pytest.approx(1e6, rel=0.1)
    assert table["position_error_m"].tolist() == pytest.approx([30.0, 98.0, 30.0], abs=3)
    assert table["it_mw"].isna().all()
    assert table["licence"].str.contains("ODbL").all()


def test_osm_status_position_and_ids(tmp_path):
    elements = [
        {
            "type": "node",
            "id": 1,
            "lat": 1.0,
            "lon": 2.0,
            "tags": {"telecom": "data_center", "start_date": "2015"},
        },
        {"type": "way", "id": 1, "center": {"lat": 3.0, "lon": 4.0}, "tags": {"building": "construction"}},
        {"type": "way", "id": 2, "center": {"lat": 3.5, "lon": 4.0}, "tags": {"landuse": "industrial"}},
        {"type": "way", "id": 3, "center": {"lat": 3.6, "lon": 4.0}, "tags": {"disused:building": "yes"}},
        {"type": "way", "id": 4, "center": {"lat": 3.7, "lon": 4.0}, "tags": {"planned:building": "yes"}},
    ]
    table = registries.read(csv(tmp_path, json.dumps({"elements": elements}), "o.json"))
    assert table["declared_id"].tolist() == ["node/1", "way/1", "way/2", "way/3", "way/4"]
    assert table["status"].tolist() == ["operational", "construction", "operational", "closed", "planned"]
    assert table["position_error_m"].tolist() == [30.0, 30.0, 200.0, 200.0, 200.0]
    assert table["valid_from"][0] == "2015"
    assert (table.geometry.x[1], table.geometry.y[1]) == (4.0, 3.0)
    with pytest.raises(RegistryError, match=naming("'p.json'", "'elements'")):
        registries.read(csv(tmp_path, "{}", "p.json"), format="osm")


def test_epa_coordinates_shared_by_several_addresses_are_postcodes(tmp_path):
    rows = [
        {"RegistryID": "1", "AIRName": "A", "FacLat": "39.01234", "FacLong": "-77.41234"},
        {"RegistryID": "2", "AIRName": "B", "FacLat": "38.97003", "FacLong": "-77.46400"},
        {"RegistryID": "3", "AIRName": "C", "FacLat": "38.97003", "FacLong": "-77.46400"},
    ]
    table = registries.read(csv(tmp_path, json.dumps({"Results": {"Facilities": rows}}), "e.json"))
    assert table["position_error_m"].tolist() == [200.0, 1500.0, 1500.0]
    assert table["name"].tolist() == ["A", "B", "C"]


def test_epoch_joins_its_two_files_and_names_the_missing_one(tmp_path):
    what = csv(
        tmp_path,
        "Name,Current H100 equivalents,Current power (MW)\nColossus,1,946\nHelios,0,0\n",
        "epoch_data_centers.csv",
    )
    with pytest.raises(RegistryError, match=naming("'epoch_data_centers.csv'", "'epoch_site_coordinates.csv'")):
        registries.read(what)
    csv(
        tmp_path,
        "Name,Owner,lat,lon,coord_precision\nColossus,SpaceXAI #confident,35,-90,site\nHelios,,33,-100,city\n",
        "epoch_site_coordinates.csv",
    )
    table = registries.read(what)
    assert table["it_mw"].tolist()[0] == 946.0
    assert pd.isna(table["it_mw"][1])
    assert table["status"].tolist() == ["operational", "construction"]
    assert table["operator"][0] == "SpaceXAI"
    assert table["position_error_m"].tolist() == [200.0, 8000.0]
    assert table["licence"].str.contains("Epoch AI").all()


@pytest.mark.parametrize("header", ["lon,lat", "Longitude,Latitude"])
def test_epoch_is_read_with_the_coordinates_in_the_same_file(tmp_path, header):
    text = (
        f"Name,Owner,{header},Current H100 equivalents,Current power (MW)\nColossus,SpaceXAI #likely,-90.1,35.1,1,946\n"
    )
    table = registries.read(csv(tmp_path, text, "data_centers.csv"))
    assert table["it_mw"].tolist() == [946.0]
    assert (table.geometry[0].x, table.geometry[0].y) == (-90.1, 35.1)
    assert table["status"].tolist() == ["operational"]


def test_within_takes_the_margin_in_metres(tmp_path):
    lon_900, lat, _ = Geod(ellps="WGS84").fwd(-77.49, 39.005, 90, 900.0)
    table = registries.read(csv(tmp_path, f"lon,lat,id\n-77.495,39.005,in\n{lon_900},{lat},near\n10,10,far\n"))
    assert registry.within(table, SQUARE)["declared_id"].tolist() == ["in"]
    assert registry.within(table, SQUARE, 890.0)["declared_id"].tolist() == ["in"]
    assert registry.within(table, SQUARE, 910.0)["declared_id"].tolist() == ["in", "near"]


@pytest.mark.realdata
@real
@pytest.mark.parametrize(
    ("name", "rows", "with_mw"),
    [
        ("im3_footprints.geojson", 1166, 0),
        ("osm_world_overpass.json", 4653, 0),
        ("epa_echo_naics_518210.json", 440, 0),
        ("epoch_data_centers.csv", 60, 49),
        ("epoch_site_coordinates.csv", 60, 49),
    ],
)
def test_real_registries_are_read_and_told_apart(name, rows, with_mw):
    table = registries.read(REAL / name)
    assert len(table) == rows
    assert table["it_mw"].notna().sum() == with_mw
    assert table.geometry.is_valid.all()
    assert table["licence"].notna().all()
    assert table["position_error_m"].between(30, 25_000).all()


def test_a_power_that_no_facility_has_is_kept_aside(tmp_path):
    aside = []
    table = registries.read(csv(tmp_path, "id,lon,lat,it_mw\na,1,2,1e9\nb,1,3,99000\n"), aside=aside)
    assert table["declared_id"].tolist() == ["b"]
    assert "kW or W" in aside[0][2]


@pytest.mark.parametrize(
    ("cell", "power"),
    [
        ("50-100 MW", (50 * 2**0.5, 50, 100)), ("50 to 100", (50 * 2**0.5, 50, 100)), (">= 100 MW", (100, 100, None)),
        ("100 MW+", (100, 100, None)), ("at least 40", (40, 40, None)), ("up to 300", (300, None, 300)),
        ("< 20", (20, None, 20)), ("~30", (30, None, None)), ("approx. 20-80", (40, 20, 80)),
        ("1.2 GW", (1200, None, None)),
        ("500 kW", (0.5, None, None)), ("0.5-2 GW", (1000, 500, 2000)), ("0-50", (50, None, 50)),
    ],
)  # fmt: skip
def test_a_range_of_power_is_an_interval_and_keeps_its_row(tmp_path, cell, power):
    table = registries.read(csv(tmp_path, f"id,lon,lat,it_mw\na,1,2,{cell}\nb,3,4,7\n"))
    for name, value in zip(("it_mw", "it_mw_low", "it_mw_high"), power, strict=True):
        assert table[name][0] == pytest.approx(value) if value is not None else pd.isna(table[name][0])
    assert (table["it_mw"][1], table["it_mw_low"].isna()[1]) == (7, True)


def test_ends_of_a_range_may_have_columns_of_their_own(tmp_path):
    text = "id,lon,lat,facility_mw_min,facility_mw_max\na,1,2,50,200\nb,3,4,,100\nc,5,6,60,20\n"
    aside = []
    table = registries.read(csv(tmp_path, text), aside=aside)
    assert table["facility_mw"].tolist() == pytest.approx([100, 100])
    assert table["facility_mw_high"].tolist() == [200, 100] and pd.isna(table["facility_mw_low"][1])
    assert "facility_mw_low 60 is above" in aside[0][2]
    with pytest.raises(RegistryError, match="IT or facility"):
        registries.read(csv(tmp_path, "id,lon,lat,capacity_mw_min\na,1,2,50\n"))
