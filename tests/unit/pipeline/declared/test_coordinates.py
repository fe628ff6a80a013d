"""Coordinates and numbers in the notations that registries use."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.declared.coordinates import degrees, wrapped
from overwatt.pipeline.declared.parsing import standard_number
from overwatt.workflows.io import registries
from tests.support import names, naming, random_ring


def read(tmp_path, text, aside=None):
    file = tmp_path / "r.csv"
    file.write_text(text, encoding="utf-8")
    return registries.read(file, aside=aside)


def collection(tmp_path, *geometries):
    features = [
        {"type": "Feature", "properties": {"id": f"f{k}"}, "geometry": shapely.geometry.mapping(g)}
        for k, g in enumerate(geometries)
    ]
    (tmp_path / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return tmp_path / "r.geojson"


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        ("77°27'36\"W", "39°1'12\"N"),
        ("W 77 27 36", "N 39 01 12"),
        ("77.46 W", "39.02N"),
        ("-77,46", "39,02"),
        ("77º27′36″ w", "39˚01′12″ n"),
        ("-77:27:36", "39:01:12 N"),
        ("77°27,6'W", "39°1,2'N"),
        ("-77.46°", "39.02°"),
    ],
)
def test_notations_of_one_place(tmp_path, lon, lat):
    table = read(tmp_path, f"id\tlon\tlat\na\t{lon}\t{lat}\nb\t-77.5\t39.5\n", aside=[])
    assert (table.geometry.x[0], table.geometry.y[0]) == pytest.approx((-77.46, 39.02), abs=1e-9)
    assert 200 <= table["position_error_m"][0] < 1200


def test_an_outline_that_crosses_itself_everywhere_is_kept_aside(tmp_path):
    rings = [random_ring(1500), shapely.transform(random_ring(1500), lambda xy: xy * [359, 1])]
    rings.append(shapely.GeometryCollection([random_ring(1500), shapely.box(5, 5, 6, 6)]))
    rows = "".join(f'{k}\t"{g.wkt}"\n' for k, g in enumerate([*rings, shapely.box(1, 1, 1.001, 1.001)]))
    aside = []
    table = read(tmp_path, "id\tgeometry\n" + rows, aside)
    assert table["declared_id"].tolist() == ["3"]
    reasons = [reason for _, _, reason in aside]
    assert ["crosses itself too often" in k for k in reasons] == [True, False, True]
    assert "outside -180 to 180" in reasons[1]  # neither can it be moved


@pytest.mark.parametrize("lon", ["77°27'36\"", "77.46 O", "39.02 N", "-77.46 W", "W 77.46 W", "77°72'W", "77.5°30'W"])
def test_notations_that_are_not_clear_are_kept_aside(tmp_path, lon):
    aside = []
    assert read(tmp_path, f"id\tlon\tlat\na\t{lon}\t39.02\nb\t-77.5\t39.5\n", aside)["declared_id"].tolist() == ["b"]
    assert "decimal degrees" in aside[0][2]


@given(st.floats(-180, 180), st.sampled_from(["lon"]))
def test_degrees_minutes_seconds_give_back_the_degrees(value, axis):
    seconds = round(abs(value) * 3600, 3)
    text = f"{int(seconds // 3600)}°{int(seconds % 3600 // 60)}'{seconds % 60:.3f}\"{'W' if value < 0 else 'E'}"
    if "60.000" not in text:
        assert float(degrees(pd.Series([text]), axis)[0]) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1.234,5", "1,234", "1.234"], [1234.5, 1.234, 1234]),
        (["1,234.5", "1,234", "1.234"], [1234.5, 1234, 1.234]),
        (["1 234,5", "12", "3'400"], [1234.5, 12, 3400]),
        (["51,5", "1.234.567", "0,125"], [51.5, 1234567, 0.125]),
        (["1,234", "12", "13"], [None, 12, 13]),
        (["1,234", "51,5", "12.5"], [None, 51.5, 12.5]),
    ],
)
def test_decimal_marks_are_told_by_the_column(tmp_path, cells, values):
    rows = "".join(f"r{k}\t-77.4{k}\t39\t{c}\n" for k, c in enumerate(cells))
    aside = []
    table = read(tmp_path, f"id\tlon\tlat\tfootprint_m2\n{rows}", aside)
    assert table["footprint_m2"].tolist() == [v for v in values if v is not None]
    assert len(aside) == values.count(None)
    assert all("decimal point" in reason for _, _, reason in aside)


@pytest.mark.parametrize("cell", ["NaN", "nan", "N/A", "NULL", "-"])
def test_words_for_an_empty_cell_are_no_numbers_and_no_faults(tmp_path, cell):
    aside = []
    table = read(tmp_path, f"id,lon,lat,it_mw,status\na,-77.4,39,{cell},{cell}\nb,-77.5,39,12,Planned\n", aside)
    assert table["it_mw"].fillna(0).tolist() == [0, 12]
    assert table["status"].fillna("").tolist() == ["", "planned"]
    assert aside == []


@given(st.integers(0, 10**9), st.integers(0, 99), st.sampled_from([(".", ","), (",", "."), (" ", ","), ("'", ".")]))
def test_grouped_numbers_are_read_as_written(whole, cents, marks):
    group, mark = marks
    text = f"{whole:,}".replace(",", group) + f"{mark}{cents:02d}"
    assert float(standard_number(text, None)) == pytest.approx(whole + cents / 100)


def test_geometry_cells_of_databases(tmp_path):
    cells = {
        "ewkt": "SRID=4326;POINT(1.5 2.5)", "hex": shapely.Point(1.5, 2.5).wkb_hex,
        "ewkb": shapely.to_wkb(shapely.set_srid(shapely.Point(1.5, 2.5), 4326), hex=True, include_srid=True),
        "geojson": '{"type":"Point","coordinates":[1.5,2.5]}', "utm": "SRID=32618;POINT(1 2)", "bad": "POINT(1",
    }  # fmt: skip
    aside = []
    pd.DataFrame({"id": cells.keys(), "geom": cells.values()}).to_csv(tmp_path / "r.csv", index=False)
    table = registries.read(tmp_path / "r.csv", aside=aside)
    assert table["declared_id"].tolist() == ["ewkt", "hex", "ewkb", "geojson"]
    assert set(table.geometry.to_wkt()) == {"POINT (1.5 2.5)"}
    assert ["SRID 32618" in aside[0][2], "WKT" in aside[1][2]] == [True, True]


def test_points_of_two_members_are_read_or_kept_aside(tmp_path):
    good = {"x": 1.5, "y": "2.5"}
    bad = [{"x": "abc", "y": 1}, {"x": 10**400, "y": 1}, {"x": [1], "y": 1}, {"x": None, "y": None}]
    rows = [{"id": str(k), "geometry": g} for k, g in enumerate([good, *bad])]
    (tmp_path / "r.json").write_text(json.dumps(rows))
    aside = []
    assert registries.read(tmp_path / "r.json", aside=aside)["declared_id"].tolist() == ["0"]
    assert [row for row, _, _ in aside] == [2, 3, 4, 5]


@pytest.mark.parametrize("encoding", ["geoarrow", "WKB", "plain WKB", "geo metadata"])
@pytest.mark.parametrize("crs", [WGS84, 32618])
def test_parquet_in_every_encoding_of_geometries(tmp_path, encoding, crs):
    frame = gpd.GeoDataFrame({"id": ["a"]}, geometry=[shapely.box(-77.5, 39, -77.49, 39.01)], crs=WGS84).to_crs(crs)
    file = tmp_path / "r.parquet"
    if encoding == "plain WKB":  # states no CRS: longitude and latitude, as WKT
        pd.DataFrame(frame.to_crs(WGS84).to_wkb()).to_parquet(file)
    elif encoding == "geo metadata":
        frame.to_parquet(file, geometry_encoding="geoarrow")
    else:
        pq.write_table(pa.table(frame.to_arrow(geometry_encoding=encoding)), file)
    table = registries.read(file)
    assert table.geometry[0].centroid.distance(shapely.Point(-77.495, 39.005)) < 1e-6


def test_several_points_are_one_place_only_if_they_are_near(tmp_path):
    near, far = shapely.MultiPoint([(1, 2), (1.002, 2)]), shapely.MultiPoint([(1, 2), (1.01, 2)])
    mixed = shapely.GeometryCollection([shapely.Point(1, 2), shapely.box(1, 2, 1.1, 2.1)])
    line = shapely.GeometryCollection([shapely.LineString([(1, 2), (3, 4)])])
    path = shapely.LineString(shapely.box(1, 2, 1.1, 2.1).exterior.coords)
    aside = []
    table = registries.read(
        collection(tmp_path, near, far, mixed, line, shapely.MultiPoint([(7, 8)]), path), aside=aside
    )
    assert table["declared_id"].tolist() == ["f0", "f2", "f4", "f5"]
    assert table.geom_type.tolist() == ["Point", "Polygon", "Point", "Polygon"]
    assert table["position_error_m"][0] == 200.0
    assert [row for row, _, _ in aside] == [2, 4]
    assert "0.6 km" in aside[0][2]
    assert "MultiPoint" in aside[0][2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,x,y\na,285000,4322000\nb,285100,4322300\n", ("x 285000", "projected", "CRS")),
        ("id,Easting,Northing\na,285000,4322000\n", ("easting, northing", "projected", "lon and lat")),
        ("id,lon,lat,latitude\na,1,2,3\n", ("row 1", "'lat'", "'latitude'", "differ")),
        ("id,lon,lat,it_mw,IT_MW\na,1,2,3,300\n", ("'it_mw'", "'IT_MW'", "case")),
        ("id,lon,lat,it mw,itmw\na,1,2,3,300\n", ("'it mw'", "'itmw'", "blanks")),
    ],
)
def test_columns_that_mislead_are_refused(tmp_path, text, words):
    with pytest.raises(RegistryError, match=naming("'r.csv'", *words)) as caught:
        read(tmp_path, text, aside=[])
    assert "swapped" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_twins_in_a_vector_file_are_refused_and_equal_columns_are_not(tmp_path):
    frame = gpd.GeoDataFrame({"id": ["a"], "it_mw": [3], "IT_MW": [300]}, geometry=[shapely.Point(1, 2)], crs=WGS84)
    for name in ("r.parquet", "r.geojson"):
        write = frame.to_parquet if name == "r.parquet" else frame.to_file
        write(tmp_path / name)
        with pytest.raises(RegistryError, match=naming(f"'{name}'", "'it_mw'", "'IT_MW'")):
            registries.read(tmp_path / name)
    assert len(read(tmp_path, "id,x,y,lon,lat,latitude\na,285000,4322000,1.5,2.5,2.50\n")) == 1


def test_longitudes_to_360_and_outlines_across_180(tmp_path):
    table = read(tmp_path, "id,lon,lat\na,282.54,39.02\nb,10.5,50.1\n")
    assert table.geometry.x.tolist() == pytest.approx([-77.46, 10.5])
    across = shapely.box(179.9, 2, 180.1, 2.1)
    jumping = shapely.Polygon([(179.9, 2), (-179.9, 2), (-179.9, 2.1), (179.9, 2.1)])
    for k, shapes in enumerate(([across, shapely.Point(282.5, 2)], [jumping, shapely.Point(-77.5, 2)])):
        shape, point = registries.read(collection(tmp_path, *shapes)).geometry
        assert shape.bounds == pytest.approx((-180, 2, 180, 2.1)), k
        assert [p.area for p in shape.geoms] == pytest.approx([0.01, 0.01])
        assert point.x == -77.5


def test_one_longitude_beyond_180_among_others_is_an_error_of_its_row(tmp_path):
    aside = []
    table = read(tmp_path, "id,lon,lat\na,8.5,47\nb,9.5,48\nc,200,49\n", aside)
    assert table["declared_id"].tolist() == ["a", "b"]
    assert names(aside[0][2], "row 3", "'lon'", 200, "outside")
    fiji = [shapely.Point(178.5, -18), shapely.Point(178.6, -18), shapely.box(179.9, -17, 180.1, -16.9)]
    assert registries.read(collection(tmp_path, *fiji)).geometry[2].bounds == pytest.approx((-180, -17, 180, -16.9))


@given(st.lists(st.floats(-179, 179), min_size=1, max_size=5))
def test_longitudes_in_range_stay(lons):
    shape = np.array([shapely.Point(x, 1) for x in lons], object)
    assert wrapped(shape).tolist() == shape.tolist()
