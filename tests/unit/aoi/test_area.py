import json
import math
import re

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box, mapping

from overwatt.aoi.area import Area, area_from_setting, check_size, from_bbox, from_file, from_geojson
from overwatt.aoi.errors import GridError
from tests.support import naming

ASHBURN = (-77.50, 39.00, -77.44, 39.05)
BOWTIE = Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": mapping(geometry), "properties": properties}


def collection(*features):
    return {"type": "FeatureCollection", "features": list(features)}


def geodesic_km2(geometry):
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(geometry)[0]) / 1e6


def test_bbox_of_a_plain_box_is_itself():
    area = from_bbox(*ASHBURN)
    assert area.bbox == ASHBURN
    assert not area.crosses_antimeridian
    assert area.area_km2 == pytest.approx(geodesic_km2(area.geometry), rel=1e-5)


def test_area_of_the_whole_globe_is_that_of_the_ellipsoid():
    assert from_bbox(-180, -90, 180, 90).area_km2 == pytest.approx(510_065_621.7, rel=1e-5)
    assert from_bbox(-180, -90, 180, 90).bbox == (-180, -90, 180, 90)


@settings(max_examples=40, deadline=None)
@given(
    west=st.integers(-180, 179),
    width=st.integers(1, 40),
    south=st.integers(-80, 70),
    height=st.integers(1, 10),
)
def test_a_box_has_the_same_area_and_bbox_wherever_it_lies(west, width, south, height):
    east = west + width
    moved = from_bbox(west, south, east if east <= 180 else east - 360, south + height)
    base = from_bbox(0, south, width, south + height)
    assert moved.area_km2 == pytest.approx(base.area_km2, rel=1e-9)
    assert moved.bbox == (west, south, east if east <= 180 else east - 360, south + height)
    assert moved.crosses_antimeridian == (east > 180)
    assert moved.geometry.is_valid
    assert moved.geometry.bounds[0] >= -180
    assert moved.geometry.bounds[2] <= 180


def test_west_greater_than_east_is_split_at_the_antimeridian():
    area = from_bbox(179, -18, -179, -16, name="Fiji")
    assert isinstance(area.geometry, MultiPolygon)
    assert area.geometry.bounds == (-180, -18, 180, -16)
    assert area.bbox == (179, -18, -179, -16)
    assert area.area_km2 == pytest.approx(from_bbox(0, -18, 2, -16).area_km2)


def test_box_that_ends_on_the_antimeridian_does_not_cross_it():
    for west, east in ((179, -180), (180, -179)):
        area = from_bbox(west, 0, east, 1)
        assert not area.crosses_antimeridian
        assert area.geometry.area == pytest.approx(1.0)


def test_geojson_with_an_edge_over_the_antimeridian_is_split():
    area = from_geojson(mapping(Polygon([(179, 0), (-179, 0), (-179, 1), (179, 1)])))
    assert area.bbox == (179, 0, -179, 1)
    assert area.area_km2 == pytest.approx(from_bbox(0, 0, 2, 1).area_km2)


def test_geojson_hole_survives_the_split():
    shell = [(178, 0), (-178, 0), (-178, 4), (178, 4)]
    for hole in (
        [(-179.5, 1), (-179, 1), (-179, 2), (-179.5, 2)],
        [(179, 1), (179.5, 1), (179.5, 2), (179, 2)],
    ):
        area = from_geojson(mapping(Polygon(shell, [hole])))
        assert area.geometry.area == pytest.approx(16 - 0.5)


def test_already_split_multipolygon_keeps_its_crossing_bbox():
    area = from_geojson(mapping(MultiPolygon([box(179, 0, 180, 1), box(-180, 0, -179, 1)])))
    assert area.bbox == (179, 0, -179, 1)


def test_two_far_parts_do_not_cross():
    area = from_geojson(mapping(MultiPolygon([box(139, 35, 140, 36), box(-122, 37, -121, 38)])))
    assert area.bbox == (-122, 35, 140, 38)


def test_polygon_around_a_pole_is_refused():
    ring = Polygon([(-120, 80), (0, 80), (120, 80)])
    with pytest.raises(GridError, match="pole"):
        from_geojson(mapping(ring))


@pytest.mark.parametrize(
    ("bbox", "words"),
    [
        ((1, 0, 1, 1), ("[1, 0, 1, 1]", "west", "east")),
        ((180, 0, -180, 1), ("[180, 0, -180, 1]", "west", "east")),
        ((0, 1, 1, 1), ("[0, 1, 1, 1]", "south", "north")),
        ((0, 2, 1, 1), ("[0, 2, 1, 1]", "south", "north")),
        ((0, 0, 1, 91), ("latitude", 91, "±90")),
        ((0, -90.5, 1, 1), ("latitude", -90.5, "±90")),
        ((0, 0, 181, 1), ("longitude", 181, "±180")),
        ((math.nan, 0, 1, 1), ("[nan, 0, 1, 1]",)),
        ((0, 0, math.inf, 1), ("[0, 0, inf, 1]",)),
    ],
)
def test_unusable_bbox_is_named(bbox, words):
    with pytest.raises(GridError, match=naming(*words)):
        from_bbox(*bbox)


@pytest.mark.parametrize(
    ("lon", "lat", "epsg"),
    [
        (-77.4, 39.0, 32618),
        (7.6, 51.9, 32632),
        (151.2, -33.9, 32756),
        (-179.9, 0.1, 32601),
        (179.9, 0.1, 32660),
    ],
)
def test_utm_zone_holds_the_centroid(lon, lat, epsg):
    assert from_bbox(lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01).utm_crs().to_epsg() == epsg


def test_utm_zone_of_an_area_over_the_antimeridian():
    assert from_bbox(179, 0, -179.5, 1).utm_crs().to_epsg() == 32660
    assert from_bbox(179.5, 0, -179, 1).utm_crs().to_epsg() == 32601


def test_utm_is_refused_near_the_poles():
    with pytest.raises(GridError, match=naming("85.50", "UTM", "-80", 84)):
        from_bbox(0, 85, 1, 86).utm_crs()


def test_self_crossing_says_where():
    with pytest.raises(GridError, match=naming(1, "knot", "0.5 0.5")):
        from_geojson(feature(BOWTIE, name="knot"))


def test_self_crossing_is_not_healed_by_the_union():
    with pytest.raises(GridError, match=naming("feature 2")):
        from_geojson(collection(feature(box(0, 0, 1, 1)), feature(BOWTIE)))


def test_features_are_united_and_names_kept():
    area = from_geojson(
        collection(
            feature(box(0, 0, 1, 1), name="north"),
            feature(box(0.5, 0, 2, 1), name="south"),
            feature(box(5, 0, 6, 1)),
        )
    )
    assert area.names == ("north", "south")
    assert area.name == "north + south"
    assert area.geometry.area == pytest.approx(3.0)


def test_many_names_are_shortened_only_in_the_title():
    area = from_geojson(collection(*(feature(box(i, 0, i + 0.5, 1), name=f"n{i}") for i in range(9))))
    assert area.name == "n0 + n1 + n2 + n3 + n4 and 4 more"
    assert len(area.names) == 9


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({}, ("feature 1", "geometry")),
        ({"type": "Polygon", "coordinates": []}, ("polygon",)),
        ({"type": "Polygon", "coordinates": "x"}, ("feature 1", "Polygon")),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, ("feature 1", "Polygon")),
        ({"type": "Blob", "coordinates": []}, ("feature 1", "Blob")),
        ({"type": "FeatureCollection", "features": []}, ("polygon", "empty")),
        ({"type": "FeatureCollection", "features": [1]}, ("'features'",)),
        ({"type": "FeatureCollection", "features": None}, ("'features'",)),
        ({"type": "Feature", "geometry": None}, ("polygon",)),
        (collection(feature(Point(0, 0)), feature(LineString([(0, 0), (1, 1)]))), ("LineString", "Point")),
        (feature(box(0, 0, 1, 95)), ("feature 1", "latitude", 95)),
        (feature(box(500000, 4000000, 501000, 4001000)), ("latitude", "4e+06", "WGS84")),
        (feature(box(170, 0, 190, 1)), ("longitude", 190, "west > east")),
        (feature(Polygon([(0, 0), (1, 0), (1, 0)])), ("feature 1", "0 0")),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, math.nan], [1, 1], [0, 0]]]}, ("feature 1", "finite")),
        ({**feature(box(0, 0, 1, 1)), "crs": {"properties": {"name": "EPSG:999999"}}}, ("crs", "EPSG:999999")),
        ({**feature(box(0, 0, 1, 1)), "crs": "WGS84"}, ("crs", "OGC:CRS84")),
    ],
)
def test_unusable_geojson_is_named(source, words):
    with pytest.raises(GridError, match=naming(*words)):
        from_geojson(source)


def test_points_beside_polygons_are_left_out_and_heights_dropped():
    solid = {
        "type": "GeometryCollection",
        "geometries": [
            mapping(Point(0, 0)),
            {"type": "Polygon", "coordinates": [[[0, 0, 9], [1, 0, 9], [1, 1, 9], [0, 0, 9]]]},
        ],
    }
    area = from_geojson(solid)
    assert area.geometry.geom_type == "Polygon"
    assert not area.geometry.has_z


def test_old_crs_member_is_honoured():
    utm = gpd.GeoSeries([box(*ASHBURN)], crs="OGC:CRS84").to_crs(32618).iloc[0]
    source = {**feature(utm), "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32618"}}}
    assert from_geojson(source).bbox == pytest.approx(ASHBURN, abs=1e-5)


def write(path, layers, crs):
    for layer, rows in layers.items():
        names, shapes = zip(*rows, strict=True)
        frame = gpd.GeoDataFrame({"Name": list(names)}, geometry=list(shapes), crs=crs)
        frame.to_file(path, layer=layer, engine="pyogrio", driver={".gpkg": "GPKG", ".kml": "KML"}[path.suffix])
    return path


def test_geopackage_in_utm_over_several_layers(tmp_path):
    east, west = box(-77.47, 39.00, -77.44, 39.05), box(-77.50, 39.00, -77.47, 39.05)
    utm = gpd.GeoSeries([east, west], crs="OGC:CRS84").to_crs(32618)
    path = write(tmp_path / "areas.gpkg", {"a": [("east", utm[0])], "b": [("west", utm[1])]}, 32618)
    area = from_file(path)
    assert area.bbox == pytest.approx(ASHBURN, abs=1e-6)
    assert area.names == ("east", "west")


def test_geopackage_layers_of_different_crs(tmp_path):
    path = write(tmp_path / "areas.gpkg", {"a": [("plain", box(-77.5, 39.0, -77.4, 39.1))]}, 4326)
    utm = gpd.GeoSeries([box(-77.4, 39.0, -77.3, 39.1)], crs=4326).to_crs(32618)
    write(path, {"b": [("utm", utm[0])]}, 32618)
    assert from_file(path).bbox == pytest.approx((-77.5, 39.0, -77.3, 39.1), abs=1e-3)


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_geopackage_without_crs_is_refused(tmp_path):
    path = write(tmp_path / "plain.gpkg", {"a": [("x", box(0, 0, 1, 1))]}, None)
    with pytest.raises(GridError, match=naming("plain.gpkg", "layer 'a'", "CRS")):
        from_file(path)


def test_kml(tmp_path):
    path = tmp_path / "area.kml"
    folders = "".join(
        f"<Folder><name>{name} folder</name><Placemark><name>{name}</name><Polygon><outerBoundaryIs>"
        f"<LinearRing><coordinates>{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon></Placemark></Folder>"
        for name, ring in (
            ("one", "0,0,5 1,0,5 1,1,5 0,1,5 0,0,5"),
            ("two", "2,0 3,0 3,1 2,1 2,0"),
        )
    )
    path.write_text(
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>', encoding="utf-8"
    )
    area = from_file(path)
    assert area.names == ("one", "two")
    assert area.bbox == (0, 0, 3, 1)
    assert not area.geometry.has_z


@pytest.mark.parametrize("suffix", [".gpkg", ".kml", ".geojson", ".json"])
def test_unreadable_and_missing_files_are_named(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    with pytest.raises(GridError, match=naming(f"broken{suffix}")):
        from_file(path)
    path.write_bytes(b"\x00\x01 not this format")
    with pytest.raises(GridError, match=naming(f"broken{suffix}")):
        from_file(path)


def test_unknown_suffix_lists_the_known_ones(tmp_path):
    with pytest.raises(GridError, match=naming(".shp", ".geojson", ".gpkg", ".json", ".kml")):
        from_file(tmp_path / "area.shp")


def test_projected_edges_stay_where_they_were(tmp_path):
    square = box(400_000, 5_700_000, 500_000, 5_800_000)
    path = write(tmp_path / "wide.gpkg", {"a": [("x", square)]}, 32632)
    back = gpd.GeoSeries([from_file(path).geometry], crs="OGC:CRS84").to_crs(32632).iloc[0]
    assert back.hausdorff_distance(square.segmentize(1000)) < 0.5


def test_polygon_in_utm_over_the_antimeridian(tmp_path):
    crossing = gpd.GeoSeries([Point(180, 0.5)], crs=4326).to_crs(32660).iloc[0].buffer(5000)
    area = from_file(write(tmp_path / "line.gpkg", {"a": [("x", crossing)]}, 32660))
    assert area.crosses_antimeridian
    assert area.area_km2 == pytest.approx(crossing.area / 1e6, rel=5e-3)


def test_setting_takes_numbers_paths_and_inline_geojson(tmp_path):
    (tmp_path / "a.geojson").write_text(json.dumps(feature(box(0, 0, 1, 1))), encoding="utf-8")
    assert area_from_setting([0, 0, 1, 1], tmp_path).bbox == (0, 0, 1, 1)
    assert area_from_setting("a.geojson", tmp_path).name == "a"
    assert area_from_setting(str(tmp_path / "a.geojson"), tmp_path / "elsewhere").bbox == (0, 0, 1, 1)
    assert area_from_setting(feature(box(0, 0, 1, 1), name="its"), tmp_path).name == "its"
    assert area_from_setting(feature(box(0, 0, 1, 1), name="its"), tmp_path, name="mine").name == "mine"


@pytest.mark.parametrize("value", [None, 5, [1, 2, 3], ["0", "0", "1", "1"], [True, 0, 1, 1], "", "no.geojson"])
def test_unusable_setting_is_named(tmp_path, value):
    with pytest.raises(GridError):
        area_from_setting(value, tmp_path)


def test_size_limit_gives_the_numbers():
    area = from_bbox(0, 0, 1, 1, name="square")
    check_size(area, 10)
    with pytest.raises(GridError, match=naming("square", "10,000,000,000", "max_pixels")) as info:
        check_size(area, 0.6)
    assert re.search(r"12,3\d\d\.\d km2.*34,\d", str(info.value))
    with pytest.raises(GridError, match=naming("pixel size", 0)):
        check_size(area, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-200, 200), st.floats(-100, 100)), min_size=3, max_size=6),
)
def test_any_ring_gives_a_sound_area_or_a_grid_error(ring):
    source = {"type": "Polygon", "coordinates": [[list(p) for p in [*ring, ring[0]]]]}
    try:
        area = from_geojson(source)
    except GridError:
        return
    assert isinstance(area, Area)
    assert area.geometry.is_valid
    assert area.geometry.area > 0
    assert np.abs(area.geometry.bounds).max() <= 180


@pytest.mark.parametrize("sign", [{"exceededTransferLimit": True}, {"numberMatched": 5}])
def test_a_part_of_an_area_is_not_taken_for_the_whole(tmp_path, sign):
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    whole = {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}, "geometry": geometry}]}
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(whole | sign))
    with pytest.raises(GridError, match=naming("a.geojson", "not whole")):
        from_file(path)
    path.write_text(json.dumps(whole | {"numberMatched": 1}))
    assert from_file(path).area_km2 > 0
