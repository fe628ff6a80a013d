"""The choice of roofs, counties, splits and tiles of a national training set, and the files it reads."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod
from shapely.geometry import box, mapping

from overwatt.aoi.errors import ConfigError, GridError, RegistryError
from overwatt.models.training.sampling_design import (  # fmt: skip
    Shares,
    Target,
    areas_m2,
    cut_tiles,
    grown,
    match,
    neighbours,
    roof_ids,
    size_bands,
    split_of,
    without_leaks,
)
from overwatt.models.training.spatial_splits import pairs_within
from overwatt.workflows.io import parquet
from overwatt.workflows.national import plan as training_plan
from overwatt.workflows.national.sources import apart, in_zone, not_outlined, read_counties, read_registry, read_roofs
from overwatt.workflows.national.tile import burn
from tests.support import naming, random_ring

LAT = 39.0
DEG_M = 111_000.0
GEOD = Geod(ellps="WGS84")


def roof(east_m, north_m, side_m=60.0):
    """A square of about `side_m`, offset from -77.5, 39."""
    w, s = -77.5 + east_m / (DEG_M * np.cos(np.radians(LAT))), LAT + north_m / DEG_M
    return box(w, s, w + side_m / (DEG_M * np.cos(np.radians(LAT))), s + side_m / DEG_M)


def array(shapes):
    out = np.empty(len(shapes), object)
    out[:] = shapes
    return out


def target(role, county, east_m, north_m=0.0, side_m=60.0):
    shape = roof(east_m, north_m, side_m)
    return Target(roof_ids(array([shape]))[0], role, county, float(areas_m2(array([shape]))[0]), shape)


@given(st.floats(-60, 70), st.floats(20, 800))
@settings(max_examples=30, deadline=None)
def test_areas_and_growth_are_metres_at_any_latitude(lat, side_m):
    half = side_m / 2 / DEG_M
    shape = box(10 - half, lat - half, 10 + half, lat + half)
    geodesic = abs(GEOD.geometry_area_perimeter(shape)[0])
    assert areas_m2(array([shape]))[0] == pytest.approx(geodesic, rel=2e-4)
    wider = grown([shape], 100.0)[0]
    assert GEOD.inv(10, lat + half, 10, wider.bounds[3])[2] == pytest.approx(100, rel=0.01)
    assert GEOD.inv(10 + half, lat, wider.bounds[2], lat)[2] == pytest.approx(100, rel=0.01)


@given(st.sets(st.text(min_size=1, max_size=6), min_size=1, max_size=30), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_county_never_moves_when_others_are_added(counties, seed):
    some = dict.fromkeys(sorted(counties)[::2])
    first = {c: split_of(c, seed, Shares()) for c in some}
    assert {c: split_of(c, seed, Shares()) for c in sorted(counties)}.items() >= first.items()


def test_shares_are_met_and_the_seed_counts():
    names = [f"{n:05d}" for n in range(3000)]
    for seed in (0, 1):
        found = [split_of(n, seed, Shares(0.1, 0.2)) for n in names]
        assert found.count("val") / 3000 == pytest.approx(0.1, abs=0.02)
        assert found.count("test") / 3000 == pytest.approx(0.2, abs=0.025)
    assert [split_of(n, 0, Shares()) for n in names] != [split_of(n, 1, Shares()) for n in names]
    assert split_of("00001", 0, Shares(), {"00001": "test"}) == "test"


def test_matched_roofs_have_the_size_the_place_and_no_repeats():
    centers = [target("data_center", "a", 0, side_m=70), target("data_center", "a", 500, side_m=150)]
    others = [target("other_building", c, 3000 + 300 * i, n, side) for c, n in (("a", 0), ("b", 4000), ("far", 9000))
              for i, side in enumerate((65, 70, 75, 140, 300))]  # fmt: skip
    near = {"a": ("b",), "b": ("a",), "far": ()}
    split = {"a": "train", "b": "train", "far": "train"}

    def chosen(pool, seed=0):
        return match(centers, pool, near, split, per_center=3, per_doubling=1, seed=seed)

    found, missing = chosen(others)
    ids = [t.roof for t in found]
    assert len(set(ids)) == len(ids)
    assert {t.county for t in found} <= {"a", "b"}
    bands = set(size_bands(np.array([c.area_m2 for c in centers]), 1))
    assert set(size_bands(np.array([t.area_m2 for t in found]), 1)) <= bands
    assert len(found) + missing == 6
    assert missing > 0
    assert [t.roof for t in chosen(others[::-1])[0]] == ids


def test_own_county_first():
    centers = [target("data_center", "a", 0)]
    others = [target("other_building", c, 2000 + 200 * i) for i, c in enumerate("bbbba")]
    found, _ = match(centers, others, {"a": ("b",)}, {"a": "train", "b": "test"}, per_center=1, per_doubling=1, seed=3)
    assert [t.county for t in found] == ["a"]


def test_tiles_hold_their_roofs_and_no_two_splits_touch():
    targets = [target("data_center", "a" if i % 4 < 2 else "b", 200.0 * i) for i in range(20)]
    cuts = cut_tiles(targets, {"a": "train", "b": "test"}, 512)
    by_roof = {r: c for c in cuts for r in c.roofs}
    assert all(by_roof[t.roof].footprint.covers(t.outline) for t in targets)
    assert len(cuts) < len(targets)
    kept, aside = without_leaks(cuts, 100)
    assert len(kept) + len(aside) == len(cuts)
    assert {c.split for c in aside} == {"train"}
    train, test = ([c.footprint for c in kept if c.split == s] for s in ("train", "test"))
    assert not len(pairs_within(train, test, 100)[0])


def test_counties_that_touch():
    counties = {"a": box(0, 0, 1, 1), "b": box(1.0005, 0, 2, 1), "c": box(3, 0, 4, 1)}
    assert neighbours(counties) == {"a": ("b",), "b": ("a",), "c": ()}


def write(path, shapes, **columns):
    gpd.GeoDataFrame(columns, geometry=shapes, crs="OGC:CRS84").to_file(path, driver="GeoJSON")
    return path


def test_im3_layout_gives_outlines_and_zones(tmp_path):
    shapes = [roof(0, 0), roof(-100, -100, 400), roof(900, 0, 300), roof(0, 0).centroid, roof(5000, 0).centroid]
    path = write(tmp_path / "r.geojson", shapes, type=["building", "campus", "campus", "point", "point"])
    registry = read_registry(path, "auto", point_zone_m=150)
    assert len(registry.outlines) == 1
    assert len(registry.zones) == 3  # the point within the outline stands for nothing more
    assert areas_m2(array(registry.zones[2:]))[0] == pytest.approx(np.pi * 150**2, rel=0.02)


def test_overpass_ways_relations_and_points(tmp_path):
    far = [{"lon": x, "lat": y} for x, y in roof(2000, 0).exterior.coords]
    elements = [
        {"type": "way", "id": 1, "geometry": CORNERS, "tags": {"building": "yes", "telecom": "data_center"}},
        {"type": "way", "id": 2, "geometry": far, "tags": {"landuse": "industrial"}},
        {"type": "relation", "id": 3, "tags": {"building": "yes"},
         "members": [{"type": "way", "ref": 1, "role": "outer", "geometry": far[:3]},
                     {"type": "way", "ref": 2, "role": "outer", "geometry": far[2:]}]},
        {"type": "node", "id": 4, "lon": -77.0, "lat": 39.0, "tags": {"telecom": "data_center"}},
        {"type": "way", "id": 5, "center": {"lon": -76.0, "lat": 39.0}, "tags": {"building": "yes"}},
    ]  # fmt: skip
    path = tmp_path / "o.json"
    path.write_text(json.dumps({"version": 0.6, "elements": elements}))
    registry = read_registry(path, "osm", point_zone_m=100)
    assert len(registry.outlines) == 2
    assert len(registry.zones) == 3
    path.write_text('{"elements": [{"geometry": [{"lon": "x", "lat": 1}]}]}')
    with pytest.raises(RegistryError, match=naming("o.json", "row 1", "OpenStreetMap")):
        read_registry(path, "osm", point_zone_m=100)


def overpass(path, *elements, **more):
    path.write_text(json.dumps({"version": 0.6, "elements": list(elements), **more}))
    return path


CORNERS = [{"lon": x, "lat": y} for x, y in roof(0, 0).exterior.coords]
BUILDING = {"type": "way", "id": 1, "tags": {"building": "data_center"}}


def test_vertices_of_out_skel_are_parts_of_an_outline(tmp_path):
    nodes = [{"type": "node", "id": k, **c} for k, c in enumerate(CORNERS[:4])]
    path = overpass(tmp_path / "o.json", {**BUILDING, "nodes": [0, 1, 2, 3, 0]}, *nodes)
    registry = read_registry(path, "auto", point_zone_m=100)
    assert [g.equals(roof(0, 0)) for g in registry.outlines] == [True]
    assert registry.zones == ()


@pytest.mark.parametrize(
    ("elements", "more", "words"),
    [
        ([{**BUILDING, "geometry": CORNERS}], {"remark": "runtime error: Query timed out after 26 s."}, ("timed out",)),
        ([{**BUILDING, "geometry": [CORNERS[0], None, *CORNERS[2:]]}, {**BUILDING, "id": 2, "geometry": CORNERS}], {},
         ("row 1", "1 of the 5 vertices")),
        ([{**BUILDING, "geometry": CORNERS}, {**BUILDING, "id": 2}], {}, ("row 2", "no coordinates")),
        ([{**BUILDING, "geometry": CORNERS}, {**BUILDING, "id": 2, "center": {"lon": [1], "lat": 10**400}}], {},
         ("row 2", "no coordinates")),
    ],
)  # fmt: skip
def test_an_overpass_answer_of_which_something_is_missing_is_refused(tmp_path, elements, more, words):
    path = overpass(tmp_path / "o.json", *elements, **more)
    with pytest.raises(RegistryError, match=naming("o.json", *words)):
        read_registry(path, "auto", point_zone_m=100)


def test_parts_of_vector_files_are_refused(tmp_path):
    path = write(tmp_path / "r.geojson", [roof(0, 0)])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numberMatched": 1853}))
    with pytest.raises(RegistryError, match=naming("r.geojson", "1 of 1,853")):
        read_registry(path, "own", point_zone_m=100)
    kml = (
        '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><Point><coordinates>1,2</coordinates></Point>'
    )
    (tmp_path / "r.kml").write_text(f"{kml}</Placemark><NetworkLink/></Document></kml>")
    with pytest.raises(RegistryError, match=naming("r.kml", "1 network link")):
        read_registry(tmp_path / "r.kml", "own", point_zone_m=100)


def test_parquet_is_read_in_any_crs_and_within_limits(tmp_path, monkeypatch):
    path = tmp_path / "r.parquet"
    gpd.GeoDataFrame({"class": ["data_center"]}, geometry=[roof(0, 0)], crs=4326).to_crs(32618).to_parquet(path)
    outlines = read_registry(path, "own", point_zone_m=100).outlines
    assert outlines[0].symmetric_difference(roof(0, 0)).area < 1e-3 * roof(0, 0).area
    monkeypatch.setattr(parquet, "MAX_ROWS", 0)
    with pytest.raises(RegistryError, match=naming("r.parquet", "rows")):
        read_registry(path, "own", point_zone_m=100)


def test_an_outline_that_crosses_itself_everywhere_is_refused(tmp_path):
    path = write(tmp_path / "r.geojson", [random_ring(1500)])
    with pytest.raises(RegistryError, match=naming("r.geojson", "crosses itself")):
        read_registry(path, "own", point_zone_m=100)


@pytest.mark.parametrize("kind", ["geojsonl", "geojson", "gpkg", "parquet"])
def test_footprints_of_every_kind_give_the_same_roofs(tmp_path, kind):
    shapes = [roof(400 * i, 0, 20 + 15 * i) for i in range(8)] + [roof(90_000, 0)]
    frame = gpd.GeoDataFrame(geometry=shapes, crs="OGC:CRS84")
    path = tmp_path / f"f.{kind}"
    if kind == "geojsonl":
        path.write_text(
            "\n".join(json.dumps({"type": "Feature", "properties": {}, "geometry": mapping(s)}) for s in shapes)
        )
    elif kind == "parquet":
        frame.to_parquet(path, write_covering_bbox=True, schema_version="1.1.0")
    else:
        frame.to_file(path)
    place = box(-77.6, 38.9, -77.4, 39.1)
    found = read_roofs([path, path], [place], min_area_m2=1000, say=lambda _: None)
    assert len(found.ids) == len(set(found.ids)) == 7
    assert (found.area_m2 >= 1000).all()


def test_roofs_near_in_and_under_the_registry(tmp_path):
    path = write(tmp_path / "r.geojson", [roof(0, 0), roof(2000, 0, 200)], type=["building", "campus"])
    registry = read_registry(path, "im3", point_zone_m=100)
    roofs = write(tmp_path / "f.geojson", [roof(2, 2), roof(250, 0), roof(500, 0), roof(2050, 50)])
    found = read_roofs([roofs], [box(-78, 38, -77, 40)], min_area_m2=0, say=lambda _: None)
    order = np.argsort([s.centroid.x for s in found.shapes])
    assert not_outlined(found, registry)[order].tolist() == [False, True, True, True]
    assert apart(found, registry, 300)[order].tolist() == [False, False, True, False]
    assert in_zone(found, registry)[order].tolist() == [False, False, False, True]


def test_bad_files_are_named(tmp_path):
    with pytest.raises(RegistryError, match=naming("none.geojson")):
        read_registry(tmp_path / "none.geojson", "own", point_zone_m=1)
    path = write(tmp_path / "c.geojson", [roof(0, 0)], NAME=["a"])
    with pytest.raises(RegistryError, match=naming("c.geojson", "'GEOID'", "NAME")):
        read_counties(path, "GEOID")
    gpd.GeoDataFrame(geometry=[box(0, 0, 9, 9)], crs="EPSG:32618").to_file(tmp_path / "m.gpkg")
    with pytest.raises(GridError, match=naming("m.gpkg", "WGS 84 / UTM zone 18N", "EPSG:4326")):
        read_roofs([tmp_path / "m.gpkg"], [box(0, 0, 1, 1)], min_area_m2=0, say=lambda _: None)
    (tmp_path / "v.vrt").write_text("<OGRVRTDataSource/>")
    with pytest.raises(RegistryError, match=naming("v.vrt", "GeoJSON", "GeoPackage", "GeoParquet")):
        read_roofs([tmp_path / "v.vrt"], [box(0, 0, 1, 1)], min_area_m2=0, say=lambda _: None)


def test_a_licence_must_be_known_or_stated(tmp_path):
    text = 'name: n\nregistry: [{path: r.geojson, format: own}]\nimagery: {url: "https://example.org"}\n'
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=naming("s.yaml", "r.geojson", "licence")):
        training_plan.load(tmp_path / "s.yaml")


def test_burning_puts_data_centers_on_top_and_leaves_equipment_unknown():
    mask = burn((10, 10), [box(0, 0, 4, 4)], [box(2, 2, 8, 8)], [box(6, 6, 10, 10)])
    assert mask[0, 1, 1] == mask[0, 3, 3] == 2
    assert mask[0, 5, 5] == 1
    assert mask[0, 7, 7] == mask[0, 9, 9] == 255
    assert mask[0, 9, 0] == 0
    assert (mask[1] == 255).all()
    assert mask[2, 7, 7] == 0
    assert mask[2, 5, 5] != mask[2, 1, 1] != 0


@pytest.mark.realdata
def test_the_plan_of_the_im3_registry(realdata, tmp_path):
    """The figures of docs/howto/national.md."""
    path = tmp_path / "s.yaml"
    path.write_text(
        f"name: n\nregistry: [{{path: {realdata / 'facilities' / 'im3_footprints.geojson'}, format: im3}}]\n"
        'imagery: {url: "https://example.org", gsd_m: 2.0}\n'
    )
    plan = training_plan.make(training_plan.load(path), tmp_path, lambda _: None)
    assert (len(plan.registry.outlines), len(plan.registry.zones)) == (1039, 193)  # two of 1,040 are the same
    cost = training_plan.cost(plan)
    assert (cost["data_centers"], cost["tiles_data_center"], cost["tiles"]) == (992, 732, 3708)
    assert shapely.is_valid(np.array([c.footprint for c in plan.cuts])).all()
