import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from overwatt.aoi import geodesy
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline import coverage
from overwatt.pipeline.tables import conform, empty

GEOD = Geod(ellps="WGS84")


def cells(*boxes, failed=(), unscreened=()):
    rows = [
        {
            "cell": f"t{i}",
            "imaged": 1.0,
            "clear_looks": 1,
            "screened": i not in unscreened,
            "failed": i in failed,
            "reason": "",
            "geometry": shapely.box(*b),
        }
        for i, b in enumerate(boxes)
    ]
    return conform(gpd.GeoDataFrame(rows, crs=WGS84), "looked_at")


@settings(max_examples=30, deadline=None)
@given(st.floats(-179, 179), st.floats(-60, 60), st.floats(0, 360), st.floats(10, 15_000), st.floats(200, 3000))
def test_frame_keeps_areas_and_nearby_distances(lon, lat, azimuth, distance, size):
    lon1, lat1, _ = GEOD.fwd(lon, lat, azimuth, distance)
    a, b = geodesy.local_frame(np.array([shapely.Point(lon, lat), shapely.Point(lon1, lat1)]), lon, lat)
    assert shapely.distance(a, b) == pytest.approx(distance, rel=5e-3)
    half = size / 2 / 111_000
    box = shapely.box(lon1 - half, lat1 - half, lon1 + half, lat1 + half)
    area = abs(GEOD.geometry_area_perimeter(box)[0])
    assert geodesy.local_frame(np.array([box]), lon, lat)[0].area == pytest.approx(area, rel=1e-5)


def test_half_of_an_outline_was_looked_at():
    outline = shapely.box(10.00, 50.0, 10.02, 50.01)
    assert coverage.looked_share(outline, 30.0, cells((9.9, 49.9, 10.01, 50.1))) == pytest.approx(0.5, abs=1e-6)


def test_half_of_a_disc_was_looked_at_and_the_disc_is_two_sigma():
    point = shapely.Point(10.0, 50.0)
    assert coverage.looked_share(point, 500.0, cells((9.0, 49.0, 10.0, 51.0))) == pytest.approx(0.5, abs=1e-3)
    lon_900, _, _ = GEOD.fwd(10.0, 50.0, 90, 900.0)
    share = coverage.looked_share(point, 500.0, cells((9.0, 49.0, lon_900, 51.0)))
    assert 0.9 < share < 0.999


def test_vague_outline_is_widened_by_its_error():
    outline = shapely.box(10.0, 50.0, 10.001, 50.001)
    tight = cells((9.999, 49.999, 10.002, 50.002))
    assert coverage.looked_share(outline, 10.0, tight) == pytest.approx(1.0)
    assert coverage.looked_share(outline, 8000.0, tight) < 0.01


def test_overlapping_cells_count_once_and_failed_or_unscreened_ones_not_at_all():
    boxes = ((9.9, 49.9, 10.01, 50.1), (9.95, 49.9, 10.01, 50.1), (10.01, 49.9, 10.1, 50.1))
    outline = shapely.box(10.00, 50.0, 10.02, 50.01)
    both = cells(*boxes)
    assert coverage.looked_share(outline, 30.0, both) == pytest.approx(1.0)
    assert coverage.looked_share(outline, 30.0, cells(*boxes, failed={2})) == pytest.approx(0.5, abs=1e-6)
    assert coverage.looked_share(outline, 30.0, cells(*boxes, unscreened={0, 1})) == pytest.approx(0.5, abs=1e-6)
    assert coverage.looked_share(outline, 30.0, cells(*boxes, failed={0, 1, 2})) == 0.0
    assert coverage.looked_share(outline, 30.0, empty("looked_at")) == 0.0


def test_area_is_geodesic_and_counts_overlap_once():
    one = shapely.box(10.0, 50.0, 10.1, 50.1)
    expected = abs(GEOD.geometry_area_perimeter(one)[0]) / 1e6
    assert coverage.looked_area_km2(cells(one.bounds)) == pytest.approx(expected, rel=1e-3)
    assert coverage.looked_area_km2(cells(one.bounds, (10.0, 50.0, 10.05, 50.1))) == pytest.approx(expected, rel=1e-3)
    assert coverage.looked_area_km2(cells(one.bounds, failed={0})) == 0.0
    assert coverage.looked_area_km2(empty("looked_at")) == 0.0


def test_place_on_the_antimeridian():
    looked = cells((179.9, -17.1, 180.0, -16.9), (-180.0, -17.1, -179.9, -16.9))
    assert coverage.looked_share(shapely.Point(179.999, -17.0), 1000.0, looked) == pytest.approx(1.0)
    assert coverage.looked_share(shapely.Point(-179.999, -17.0), 1000.0, looked.iloc[:1]) == pytest.approx(
        0.47, abs=0.03
    )
    split = shapely.MultiPolygon([shapely.box(179.99, -17, 180, -16.99), shapely.box(-180, -17, -179.99, -16.99)])
    assert abs(geodesy.centres(np.array([split]))[0, 0]) == pytest.approx(180.0)
    assert coverage.looked_share(split, 30.0, looked.iloc[1:]) == pytest.approx(0.5, abs=1e-6)


def test_with_looked_at_fills_the_column_row_by_row():
    looked = cells((9.9, 49.9, 10.1, 50.1))
    declared = conform(
        gpd.GeoDataFrame(
            [
                {"declared_id": i, "position_error_m": 50.0, "kind": "facility", "source": "t", "geometry": p}
                for i, p in (("a", shapely.Point(10, 50)), ("b", shapely.Point(20, 50)))
            ],
            crs=WGS84,
        ),
        "declared",
    )
    assert coverage.looked_at_share(declared, looked)["looked_at"].tolist() == pytest.approx([1.0, 0.0])
    assert declared["looked_at"].isna().all()


def world(step):
    lon, lat = np.meshgrid(np.arange(-180, 180, step), np.arange(-90, 90, step))
    return [(a, b, a + step, b + step) for a, b in zip(lon.ravel(), lat.ravel(), strict=True)]


@settings(max_examples=30, deadline=None)
@given(st.floats(-180, 180), st.floats(-70, 70), st.floats(30, 25_000))
def test_a_place_is_covered_by_the_whole_world_however_it_is_cut(lon, lat, error_m):
    place = shapely.Point(lon, lat)
    for step in (360 / 2, 45):
        assert coverage.looked_share(place, error_m, cells(*world(step))) == pytest.approx(1.0, abs=1e-4)


def test_a_cell_that_reaches_round_the_earth_counts_where_it_is():
    """A hull about a world list of sites once made an invalid outline in the frame of a place on the other side."""
    ring = shapely.Polygon([(-170, -40), (170, -40), (160, 60), (0, 10), (-160, 60)])
    table = cells((0, 0, 1, 1))
    table.loc[0, "geometry"] = ring
    places = np.array([shapely.Point(lon, -20) for lon in range(-156, 157, 12)] + [shapely.Point(0, 40)], dtype=object)
    shares = coverage.looked_shares(places, np.full(len(places), 500.0), table)
    assert shares[:-1] == pytest.approx(1.0, abs=1e-3)
    assert shares[-1] == 0.0


def test_the_share_weighs_cells_by_the_ground_asked_for_in_them():
    rows = [
        {"cell": "a", "imaged": 1.0, "asked_km2": 1.0, "screened": True, "failed": False},
        {"cell": "b", "imaged": 0.5, "asked_km2": 2.0, "screened": True, "failed": False},
        {"cell": "c", "imaged": 0.0, "asked_km2": 6.0, "screened": False, "failed": False},
        {"cell": "d", "imaged": 0.0, "asked_km2": 1.0, "screened": False, "failed": True},
    ]
    frame = gpd.GeoDataFrame(rows, geometry=[shapely.box(0, 0, 1, 1)] * 4, crs=WGS84).assign(clear_looks=0, reason="")
    assert coverage.asked_share(conform(frame, "looked_at")) == pytest.approx(0.2)
    assert coverage.asked_share(conform(frame.drop(columns="asked_km2"), "looked_at")) == pytest.approx(1.5 / 4)
    assert coverage.asked_share(empty("looked_at")) == 0.0
