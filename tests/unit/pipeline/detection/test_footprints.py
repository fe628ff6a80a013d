"""Footprints: the laws of cutting and joining, and geometry by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from overwatt.aoi.grid import Lattice, tiles
from overwatt.models.detector.card import CHANNELS
from overwatt.pipeline.detection.footprints import finish, merge_footprints, split, to_lonlat
from overwatt.pipeline.detection.vectorization import DetectSettings, near_void, vectorize_tile
from overwatt.pipeline.vocabulary import BUILDING_CLASSES

GEOD = Geod(ellps="WGS84")
UTM = "EPSG:32618"
TO_UTM = Affine(2, 0, 300_000, 0, -2, 4_300_000)
TINY = DetectSettings(min_building_m2=0, min_cooling_m2=0, min_machine_m2=0, min_interior_m2=0)
"""Keeps every region, however small: the law must hold for all of them."""


def probabilities(building, center=None, cooling=None, interior=None, **more):
    """(channel, y, x) uint8 with certain buildings where True, data centers among them, equipment, and other layers."""
    center = np.zeros_like(building) if center is None else center
    cooling = np.zeros_like(building) if cooling is None else cooling
    interior = building if interior is None else interior
    none = np.zeros_like(building)
    planes = [~building, building & ~center, building & center, cooling, interior, none, none, center]
    return np.stack([*planes, *(more.get(name, none) for name in CHANNELS[8:])]).astype(np.uint8) * 255


def footprints(p, valid=None, *, tile_px=None, order=None, crs=UTM, transform=TO_UTM, gsd_m=2.0, keep=TINY, heat=None):
    """Cut (channel, y, x) into tiles, take them in any order, and join them."""
    valid = np.ones(p.shape[1:], bool) if valid is None else valid
    p = p * valid
    void = near_void(valid)
    cut = tiles(valid.shape, (tile_px or max(valid.shape),) * 2)
    parts, done = [], []
    for t in cut if order is None else [cut[i] for i in order]:
        y0, x0, y1, x1 = t.core
        window = (slice(y0, y1), slice(x0, x1))
        seen = None if heat is None else heat[window]
        regions = vectorize_tile(p[:, *window], valid[window], (y0, x0), t.name, void[window], keep, gsd_m, seen)
        waits = split(regions, t.core) if tile_px else np.ones(len(regions), bool)
        parts.append(regions[waits])
        done.append(finish(regions[~waits], keep, gsd_m))
    cells = Lattice.of(valid.shape, 20, 0, 20)
    return merge_footprints(
        parts, done, transform=transform, crs=crs, gsd_m=gsd_m, scene="s", settings=keep, cells=cells
    )


def rectangle(shape, *boxes):
    """(y, x) bool, True inside of boxes (y0, x0, y1, x1)."""
    out = np.zeros(shape, bool)
    for y0, x0, y1, x1 in boxes:
        out[y0:y1, x0:x1] = True
    return out


@st.composite
def rasters(draw):
    """Random probabilities with random gaps; smooth ones make large regions, noise makes pinches and holes."""
    ny, nx = draw(st.integers(1, 26)), draw(st.integers(1, 26))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = draw(st.sampled_from([1, 2, 5]))
    coarsely = (len(CHANNELS), -(-ny // coarse), -(-nx // coarse))
    logits = rng.normal(0, 3, coarsely).repeat(coarse, 1).repeat(coarse, 2)[:, :ny, :nx]
    shares = np.exp(logits[:3]) / np.exp(logits[:3]).sum(0)
    p = np.rint(np.concatenate([shares, 1 / (1 + np.exp(-logits[3:]))]) * 255).astype(np.uint8)
    if draw(st.booleans()):
        p[8:] = 0  # weights without kinds of machines
    valid = rng.random((ny, nx)) < draw(st.sampled_from([1.0, 0.95, 0.6]))
    tile_px, gsd_m = draw(st.integers(1, 27)), draw(st.sampled_from([0.5, 2.0]))
    count = len(tiles((ny, nx), (tile_px, tile_px)))
    heat = rng.random((ny, nx)) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return (
        p,
        valid,
        tile_px,
        draw(st.permutations(range(count))) if count < 60 else list(rng.permutation(count)),
        gsd_m,
        heat,
    )


@settings(max_examples=40, deadline=None)
@given(rasters())
def test_footprints_do_not_depend_on_the_cut_or_the_order(case):
    p, valid, tile_px, order, gsd_m, heat = case
    whole = footprints(p, valid, gsd_m=gsd_m, heat=heat)
    cut = footprints(p, valid, tile_px=tile_px, order=order, gsd_m=gsd_m, heat=heat)
    columns = [c for c in whole.columns if c != "geometry"]
    pd.testing.assert_frame_equal(whole[columns], cut[columns], check_exact=True)
    assert whole.geometry.to_wkb().tolist() == cut.geometry.to_wkb().tolist()


@settings(max_examples=40, deadline=None)
@given(rasters())
def test_footprints_are_valid_unique_and_keep_their_area(case):
    p, valid, tile_px, order, _, _ = case
    found = footprints(p, valid, tile_px=tile_px, order=order, crs=None, transform=None, gsd_m=1.0)
    assert found.geometry.is_valid.all()
    assert found["object_id"].is_unique
    build = ((p[1].astype(int) + p[2]) > 127.5) & valid
    pixels = build.sum()
    buildings = found[found["class"].isin(BUILDING_CLASSES)]
    assert abs(buildings["area_m2"].sum() - pixels) <= 0.05 * pixels + 1e-9


def test_a_building_across_four_tiles_is_one_polygon():
    mask = rectangle((40, 40), (12, 11, 29, 30))
    found = footprints(probabilities(mask, mask), tile_px=20, crs=None, transform=None, gsd_m=1.0)
    assert len(found) == 1
    assert found.geometry.iloc[0].equals(shapely.box(11, 12, 30, 29))
    assert found.loc[0, ["object_id", "class", "score", "area_m2"]].tolist() == [
        "d11_12",
        "data_center",
        1.0,
        323.0,
    ]


def test_the_tile_is_the_cell_that_holds_the_anchor_however_the_work_was_cut():
    mask = rectangle((40, 40), (5, 25, 30, 30), (25, 5, 30, 30))  # topmost pixel at the right, the rest lower left
    for tile_px in (20, 7, 100):
        assert footprints(probabilities(mask), tile_px=tile_px)["tile"].tolist() == ["r000c001"]


def test_a_courtyard_stays_a_hole():
    mask = rectangle((60, 60), (5, 5, 55, 55)) & ~rectangle((60, 60), (20, 20, 40, 40))
    found = footprints(probabilities(mask), tile_px=16, crs=None, transform=None, gsd_m=1.0)
    assert len(found) == 1
    assert len(found.geometry.iloc[0].interiors) == 1
    assert found["area_m2"].iloc[0] == 50 * 50 - 20 * 20


@pytest.mark.parametrize("tile_px", [100, 20, 10, 7])
def test_a_diagonal_touch_stays_two_buildings(tile_px):
    mask = rectangle((40, 40), (5, 5, 20, 20), (20, 20, 35, 35))  # corner on corner, at a tile corner for 20 and 10
    found = footprints(probabilities(mask), tile_px=tile_px)
    assert len(found) == 2
    assert found["object_id"].tolist() == ["o5_5", "o20_20"]


def test_a_hole_that_touches_the_outside_by_a_corner_keeps_its_area():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = mask[0, 0] = False
    found = footprints(probabilities(mask), tile_px=2, crs=None, transform=None, gsd_m=1.0)
    assert len(found) == 1
    assert found.geometry.iloc[0].is_valid
    assert found["area_m2"].iloc[0] == 7


def test_areas_are_geodesic_at_60_degrees_north():
    to_utm = Transformer.from_crs("OGC:CRS84", "EPSG:32632", always_xy=True)
    east, north = to_utm.transform(9.0, 60.0)
    transform = Affine(2, 0, round(east) - 250, 0, -2, round(north) + 250)
    mask = rectangle((250, 250), (25, 25, 225, 225))
    found = footprints(probabilities(mask), tile_px=77, crs="EPSG:32632", transform=transform)
    ring = np.array([[50, 50], [450, 50], [450, 450], [50, 450]], float)
    back = Transformer.from_crs("EPSG:32632", "OGC:CRS84", always_xy=True)
    lon, lat = back.transform(transform.c + ring[:, 0], transform.f - ring[:, 1])
    expected = abs(GEOD.polygon_area_perimeter(lon, lat)[0])
    assert found["area_m2"].iloc[0] == pytest.approx(expected, rel=1e-9)
    # UTM shrinks lengths to 0.9996 on its central meridian: map metres would be off by 0.08%
    assert found["area_m2"].iloc[0] == pytest.approx(400**2 / 0.9996**2, rel=1e-5)


def test_what_is_too_small_is_dropped_as_a_whole_object_not_by_its_parts():
    settings_ = DetectSettings(min_building_m2=400)  # 100 pixels of 4 m2
    mask = rectangle((40, 40), (5, 5, 15, 15), (25, 5, 34, 16))  # 100 and 99 pixels
    for tile_px in (40, 7):
        assert footprints(probabilities(mask), tile_px=tile_px, keep=settings_)["object_id"].tolist() == ["o5_5"]


def test_class_and_score_are_of_the_whole_object():
    mask = rectangle((30, 60), (5, 5, 25, 55))
    left = mask & (np.arange(60) < 25)  # 20 of 50 columns say data center
    found = footprints(probabilities(mask, left), tile_px=25)
    assert found["class"].tolist() == ["other_building"]
    assert found["score"].iloc[0] == pytest.approx(30 / 50)


def test_equipment_on_a_roof_is_an_object_of_its_own():
    roof, unit = rectangle((40, 40), (5, 5, 35, 35)), rectangle((40, 40), (10, 10, 14, 30))
    found = footprints(probabilities(roof, roof, unit), tile_px=15)
    assert sorted(found["class"]) == ["cooling_equipment", "data_center"]


def test_on_border_only_beside_a_pixel_without_imagery():
    mask = rectangle((60, 60), (5, 5, 15, 15), (5, 30, 15, 40), (40, 0, 50, 10))
    valid = ~rectangle((60, 60), (16, 41, 17, 42))  # diagonal neighbour of the second building
    found = footprints(probabilities(mask), valid, tile_px=13)
    # the third touches the array's edge, which is for the caller to pad
    assert dict(zip(found["object_id"], found["on_border"], strict=True)) == {
        "o5_5": False,
        "o30_5": False,
        "o0_40": False,
    }
    valid[15, 40] = False
    found = footprints(probabilities(mask), valid, tile_px=13)
    assert found.set_index("object_id")["on_border"].to_dict() == {
        "o5_5": False,
        "o30_5": True,
        "o0_40": False,
    }


def test_the_images_edge_counts_once_it_is_padded():
    valid = np.pad(np.ones((4, 4), bool), 1)
    assert near_void(valid)[1:-1, 1:-1].tolist() == [
        [True] * 4, [True, False, False, True], [True, False, False, True], [True] * 4,
    ]  # fmt: skip


def test_the_kind_of_machines_is_that_of_most_of_them_and_generators_are_apart():
    none = rectangle((40, 60))
    row = rectangle((40, 60), (5, 5, 11, 55))
    cells, gensets = rectangle((40, 60), (5, 5, 11, 20)), rectangle((40, 60), (5, 41, 11, 55))
    told = {"tower": cells, "generator": gensets, "chiller": row & ~cells & ~gensets}
    for tile_px in (9, 60):
        found = footprints(probabilities(none, cooling=row, **told), tile_px=tile_px, crs=None, transform=None)
        assert found["class"].tolist() == ["cooling_equipment", "generator"]
        assert found["kind"].tolist() == ["chiller", "generator"]
        assert (found["area_m2"] / 4).tolist() == [6 * 36, 6 * 14]
    assert footprints(probabilities(none, cooling=row))["kind"].isna().all()  # of weights without kinds


def test_a_substation_is_an_object_of_its_own():
    yard = rectangle((40, 60), (5, 5, 30, 30))
    found = footprints(probabilities(yard & False, substation=yard), crs=None, transform=None)
    assert found["class"].tolist() == ["substation"]
    assert found["kind"].isna().all()
    small = replace(TINY, min_substation_m2=25 * 25 * 4 + 1)
    assert footprints(probabilities(yard & False, substation=yard), keep=small).empty


def test_halls_that_a_yard_bridges_are_told_apart():
    building = rectangle((40, 60), (5, 5, 35, 25), (5, 35, 35, 55), (15, 25, 20, 35))
    inner = rectangle((40, 60), (8, 8, 32, 22), (8, 38, 32, 52))
    center = rectangle((40, 60), (0, 0, 40, 30))
    whole = footprints(probabilities(building, center))
    assert len(whole) == 1
    for tile_px in (7, 16, 60):
        apart = footprints(probabilities(building, center, interior=inner), tile_px=tile_px, crs=None, transform=None)
        assert apart["class"].tolist() == ["data_center", "other_building"]
        assert apart["score"].tolist() == [1.0, 1.0]  # of the interior: what the yard looks like does not count
        assert (apart["area_m2"] / 4).tolist() == [625, 625]  # the yard goes half and half


@pytest.mark.parametrize(("gap_px", "halls"), [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_an_interior_broken_by_less_than_two_walls_is_one_hall(gap_px, halls):
    building = rectangle((40, 80), (5, 5, 35, 75))
    # a strip of 4 m along both sides of a wall is 4 pixels of 2 m; machines on a roof may break less
    inner = rectangle((40, 80), (7, 7, 33, 40), (7, 40 + gap_px, 33, 73))
    for tile_px in (7, 41, 80):
        found = footprints(probabilities(building, interior=inner), tile_px=tile_px, crs=None, transform=None)
        assert len(found) == halls
        assert found["area_m2"].sum() == building.sum() * 4


def test_a_hall_of_several_interiors_is_scored_over_all_of_them():
    building = rectangle((40, 80), (5, 5, 35, 75))
    inner = rectangle((40, 80), (7, 7, 33, 27), (7, 29, 33, 69))
    center = rectangle((40, 80), (0, 0, 40, 28))
    found = footprints(probabilities(building, center, interior=inner))
    assert found["class"].tolist() == ["other_building"]
    assert found["score"].tolist() == [pytest.approx(40 / 60)]
    peak = footprints(probabilities(building, center, interior=inner), keep=replace(TINY, peak=True))
    assert peak["class"].tolist() == ["data_center"]  # the strongest place of all interiors


@settings(max_examples=30, deadline=None)
@given(rasters(), st.floats(0, 30), st.floats(0, 30))
def test_a_wider_wall_only_joins_buildings(case, wall_m, more_m):
    p, valid, tile_px, order, gsd_m, _ = case

    def found(wall):
        keep = replace(TINY, wall_m=wall)
        return footprints(p, valid, tile_px=tile_px, order=order, crs=None, transform=None, gsd_m=gsd_m, keep=keep)

    few, many = found(wall_m + more_m), found(wall_m)
    assert len(few) <= len(many)
    # each building of the wider wall starts where one of the narrower wall starts
    place = {i[1:] for i in many["object_id"]}
    assert {i[1:] for i in few["object_id"]} <= place


def test_a_spot_of_interior_does_not_make_a_building():
    building = rectangle((40, 60), (5, 5, 35, 55))
    inner = rectangle((40, 60), (8, 8, 32, 40), (20, 48, 22, 50))
    keep = DetectSettings(min_building_m2=0, min_interior_m2=20)
    assert len(footprints(probabilities(building, interior=inner), keep=TINY)) == 2
    assert len(footprints(probabilities(building, interior=inner), keep=keep)) == 1


def test_machines_are_counted_where_pixels_are_fine_enough():
    yard = rectangle((30, 40), (4, 4, 26, 36))
    machines = rectangle((30, 40), (6, 6, 10, 12), (6, 16, 10, 22), (14, 6, 18, 12))
    p = probabilities(np.zeros_like(yard), cooling=yard)
    p[5] = machines * 255
    for tile_px in (9, 40):
        assert footprints(p, gsd_m=0.5, tile_px=tile_px)["units"].tolist() == [3]
    assert footprints(p, gsd_m=1.0)["units"].isna().all()


def test_novelty_is_a_mean_over_the_interior():
    building = rectangle((20, 20), (2, 2, 18, 18))
    p = probabilities(building, interior=rectangle((20, 20), (5, 5, 15, 15)))
    p[6] = np.where(p[4] > 0, 64, 255)
    assert footprints(p)["epistemic"].tolist() == [2.0]


def test_heat_was_used_where_most_of_the_interior_was_measured():
    building = rectangle((20, 40), (2, 2, 18, 18), (2, 22, 18, 38))
    inner = rectangle((20, 40), (5, 5, 15, 15), (5, 25, 15, 35))
    half = inner & (np.arange(40) % 2 == 0)  # of both interiors
    p = probabilities(building, interior=inner)
    heat = half | rectangle((20, 40), (2, 2, 18, 18)) & ~inner  # walls do not count
    assert footprints(p, heat=heat)["used_thermal"].tolist() == [False, False]
    heat[5, 25] = heat[5, 26] = True
    for tile_px in (40, 7):
        assert footprints(p, heat=heat, tile_px=tile_px)["used_thermal"].tolist() == [False, True]
    assert not footprints(p)["used_thermal"].any()


def test_nothing_found_is_a_table_with_all_columns():
    found = footprints(probabilities(np.zeros((10, 10), bool)), tile_px=3)
    assert len(found) == 0
    assert found["area_m2"].dtype == "float64"
    assert found.crs == "OGC:CRS84"


def test_without_crs_pixels_stay_pixels():
    square = shapely.box(1, 2, 3, 4)
    assert to_lonlat([square], None, None)[0] is square
