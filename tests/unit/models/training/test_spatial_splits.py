"""Near means near on the ground, splits are by place, and a planted leak is always found."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from overwatt.models.training.spatial_splits import SPLITS, assign, groups, leaks, pairs_within, sites_of

GEOD = Geod(ellps="WGS84")
FEW = settings(max_examples=25, deadline=None)
LON = st.floats(-180, 180)
LAT = st.floats(-75, 75)


def square(lon, lat, side_m=50.0):
    """A square of about `side_m` whose lower left corner is at a place; longitudes are not wrapped."""
    up = GEOD.fwd(lon, lat, 0, side_m)[1] - lat
    right = (GEOD.fwd(lon, lat, 90, side_m)[0] - lon) % 360
    return shapely.box(lon, lat, lon + right, lat + up)


def tile(i, split, geometry, **columns):
    return {
        "tile_id": f"t{i}", "split": split, "place": f"p{i}", "sites": f"s{i}", "pixels_sha256": f"x{i}",
        "image_sha256": f"i{i}", "geometry": geometry, **columns,
    }  # fmt: skip


def index_of(rows):
    return gpd.GeoDataFrame(rows, geometry="geometry", crs="OGC:CRS84")


@given(LON, LAT, st.floats(0, 360), st.floats(1, 2000), st.floats(1, 2000))
@FEW
def test_two_points_are_near_when_the_ellipsoid_says_so(lon, lat, azimuth, apart_m, within_m):
    to_lon, to_lat, _ = GEOD.fwd(lon, lat, azimuth, apart_m)
    i, _, metres = pairs_within([shapely.Point(lon, lat)], [shapely.Point(to_lon, to_lat)], within_m)
    if abs(apart_m - within_m) > 0.01 + 1e-4 * apart_m:
        assert (len(i) == 1) == (apart_m < within_m)
    if len(i):
        assert metres[0] == pytest.approx(apart_m, rel=1e-4, abs=0.01)


def test_pairs_of_nothing_and_of_missing_shapes():
    nothing = [None, shapely.Polygon()]
    for i, j, metres in (pairs_within([], None, 100), pairs_within(nothing, [shapely.Point(0, 0)], 100)):
        assert len(i) == len(j) == len(metres) == 0


def test_a_campus_on_the_antimeridian_is_one_site():
    east, west = square(179.9993, 10.0), shapely.box(-179.9999, 10.0, -179.9995, 10.0005)
    assert len(set(sites_of([east, west], 100))) == 1
    assert len(set(sites_of([east, west], 10))) == 2


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12, unique=True), st.randoms())
@FEW
def test_sites_are_the_chains_of_near_labels_in_any_order(cells, random):
    shapes = [square(10 + 0.001 * x, 50 + 0.001 * y) for x, y in cells]
    names = sites_of(shapes, 60.0)
    i, j, _ = pairs_within(shapes, None, 60.0)
    group = groups(len(shapes), i, j)
    for a in range(len(shapes)):
        for b in range(len(shapes)):
            assert (names[a] == names[b]) == (group[a] == group[b])
    order = list(range(len(shapes)))
    random.shuffle(order)
    again = sites_of([shapes[k] for k in order], 60.0)
    assert [again[order.index(k)] for k in range(len(shapes))] == names


PLACES = st.dictionaries(st.text("abcdef", min_size=1, max_size=4), st.tuples(st.integers(0, 9), st.integers(0, 40)))


@given(PLACES, st.integers(0, 5), st.randoms())
@FEW
def test_every_place_gets_one_split_whatever_the_order(places, seed, random):
    given_ = assign(places, (0.7, 0.15, 0.15), seed)
    names = list(places)
    random.shuffle(names)
    assert assign({n: places[n] for n in names}, (0.7, 0.15, 0.15), seed) == given_
    assert set(given_) == set(places)
    assert set(given_.values()) <= set(SPLITS)


def test_shares_hold_for_data_centers_and_a_share_of_zero_gets_nothing():
    places = {f"place {i}": (1, 3) for i in range(100)} | {f"other {i}": (0, 2) for i in range(100)}
    split = assign(places, (0.6, 0.4, 0.0), seed=3)
    for kind in ("place", "other"):
        counts = [sum(split[f"{kind} {i}"] == s for i in range(100)) for s in SPLITS]
        assert counts == [60, 40, 0]
    assert assign(places, (0.6, 0.4, 0.0), seed=4) != split


def far_apart(n):
    """Tiles of 1 km in all three splits, 5 km from each other: nothing leaks."""
    return [tile(i, SPLITS[i % 3], square(10 + 0.07 * (i % 4), 50 + 0.05 * (i // 4), 1000.0)) for i in range(n)]


def test_tiles_far_apart_do_not_leak():
    assert leaks(index_of(far_apart(12)), 100.0) == []


@given(st.integers(0, 11), st.floats(0.5, 99.0), st.sampled_from([0, 90, 180, 270]))
@FEW
def test_a_tile_planted_within_the_guard_of_another_split_is_found(victim, gap_m, azimuth):
    rows = far_apart(12)
    west, south, east, north = rows[victim]["geometry"].bounds
    edge = {0: (east, north), 90: (east, south), 180: (east, south), 270: (west, south)}[azimuth]
    lon, lat, _ = GEOD.fwd(*edge, azimuth, gap_m)
    shift = {0: (0, 0), 90: (0, 0), 180: (0, -(north - south)), 270: (-(east - west), 0)}[azimuth]
    planted = shapely.box(lon + shift[0], lat + shift[1], lon + shift[0] + east - west, lat + shift[1] + north - south)
    other = SPLITS[(victim + 1) % 3]
    found = leaks(index_of([*rows, tile(99, other, planted)]), 100.0)
    assert {(k.kind, frozenset((k.first, k.second))) for k in found} == {("near", frozenset((f"t{victim}", "t99")))}


@given(st.integers(0, 11), st.sampled_from(["pixels_sha256", "sites", "place"]))
@FEW
def test_a_planted_copy_is_found_however_far_away(victim, column):
    rows = far_apart(12)
    value = rows[victim][column] if column != "sites" else f"new {rows[victim][column]}"
    found = leaks(index_of([*rows, tile(99, SPLITS[(victim + 1) % 3], square(60, 10), **{column: value})]), 100.0)
    assert [(k.first, k.second) for k in found] == [(f"t{victim}", "t99")]


def test_one_image_without_georeference_is_not_shared_but_one_with_it_may_be():
    rows = [tile(0, "train", None, image_sha256="same"), tile(1, "test", None, image_sha256="same")]
    assert [k.kind for k in leaks(index_of(rows), 10.0)] == ["image"]
    placed = [{**r, "geometry": square(10 + k, 50)} for k, r in enumerate(rows)]
    assert leaks(index_of(placed), 10.0) == []


def test_overlap_is_a_leak_even_with_a_guard_of_zero():
    rows = [tile(0, "train", square(10, 50, 500)), tile(1, "test", square(10.001, 50.001, 500))]
    assert [k.kind for k in leaks(index_of(rows), 0.0)] == ["near"]


def test_equal_void_is_no_leak():
    rows = far_apart(3)
    assert leaks(index_of([{**r, "pixels_sha256": "", "sites": ""} for r in rows]), 50.0) == []


def test_names_do_not_depend_on_numpy_or_list():
    shapes = [square(1, 2), square(3, 4)]
    assert sites_of(shapes, 10) == sites_of(np.array(shapes, dtype=object), 10)
