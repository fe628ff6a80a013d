import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio

from overwatt.models.simulate import Scene, sample_area, write_area
from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.camera import photograph, random_view
from overwatt.models.simulate.render import cast_shadow, paint
from overwatt.models.simulate.sample_area import (
    APART_M,
    DENSITY_KW_PER_M2,
    GSD_M,
    JITTER_SD_M,
    LARGEST_MW,
    LEAST_M2,
    SHAPE_PX,
    SITES,
    _plan,
)
from overwatt.models.simulate.scene import burn
from overwatt.models.simulate.thermal import CELL_M, EXCESS_K_M2_PER_MW, Source, surface_temperature


@pytest.fixture(scope="module")
def area():
    return sample_area(7)


def _site_rows(truth: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return truth[truth["class"] == "data_center"]


def _same(a: Scene, b: Scene) -> bool:
    arrays = all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("optical", "building", "cooling"))
    return arrays and a.truth.to_json() == b.truth.to_json()


def test_a_rectangle_is_painted_where_it_lies():
    drawing = d.Drawing()
    ground, roof = (drawing.paint((v, v, v), 0.0, m) for v, m in ((50.0, d.GRASS), (200.0, d.ROOF_LIGHT)))
    drawing.rect(d.Frame(10, 20, np.pi / 2), 0, 0, 20, 8, roof)
    ids, heights, _ = paint(drawing, (40, 40), 1.0)
    assert (ids == roof).sum() == 20 * 8
    assert ids[20, 10] == roof
    assert ids[20, 16] == ground == 0
    assert not heights.any()


def test_small_and_large_shapes_are_painted_alike():
    def painted(n: int) -> np.ndarray:
        drawing = d.Drawing()
        drawing.paint((10.0, 10.0, 10.0), 0, d.GRASS)
        box = drawing.paint((200.0, 200.0, 200.0), 0, d.MACHINE)
        u = (np.arange(n) - (n - 1) / 2) * 60 / n
        drawing.boxes(d.Frame(40, 40, 0.3), np.column_stack([u, np.zeros(n)]), 60 / n, 12.0, box)
        return paint(drawing, (80, 80), 1.0)[0]

    assert (painted(1) == painted(6)).mean() > 0.999


def test_shadow_falls_away_from_the_sun_by_height_over_tangent():
    drawing = d.Drawing()
    drawing.paint((100.0, 100.0, 100.0), 0, d.GRASS)
    roof = drawing.paint((200.0, 200.0, 200.0), 0, d.ROOF_LIGHT)
    drawing.rect(d.Frame(30, 30, 0), 0, 0, 10, 10, roof, 8.0)
    _, heights, _ = paint(drawing, (60, 60), 1.0)
    column = cast_shadow(heights, 1.0, 180.0, 45.0, range(1, 20))[:, 30]
    assert 7 <= column[:25].sum() <= 9
    assert not column[25:].any()


def test_more_canvas_cells_give_a_picture_of_the_same_size():
    drawing = d.Drawing()
    drawing.paint((100.0, 100.0, 100.0), 0, d.GRASS)
    view, rng = random_view(np.random.default_rng(1), 2.0), np.random.default_rng(2)
    pictures = [photograph(drawing, (40, 50), 2.0, view, rng, cells=n) for n in (1, 3)]
    assert pictures[0].shape == pictures[1].shape == (3, 40, 50)


def test_only_data_centers_have_power_and_only_banks_have_units(area):
    truth = area.scene.truth
    center, bank = truth["class"] == "data_center", truth["class"] == "cooling_equipment"
    assert (truth.it_mw.notna() == center).all()
    assert ((truth.units > 0) == bank).all()
    assert set(truth[bank].site_id) <= set(truth[center].site_id)
    assert truth.is_valid.all()
    assert truth.object_id.is_unique


def test_small_buildings_are_unknown():
    frame = d.Frame(0, 0, 0)
    boxes = [frame.box(30, 30, 20, side) for side in (25, 15, 5)]
    truth = gpd.GeoDataFrame({"class": ["other_building"] * 3}, geometry=boxes, crs="EPSG:32626")
    for row, value in ((0, 1), (1, 255), (2, 0)):
        building = burn(truth.iloc[[row]], (60, 60), rasterio.Affine.identity())
        assert building[30, 30] == value


@pytest.mark.parametrize("seed", range(4))
def test_planned_sites_keep_their_distances(seed):
    # private: laws of the plan alone; `sample_area` draws a picture of each, 6 s a seed
    plans = (_plan(np.random.default_rng([seed, k])) for k in range(400))
    plan = next(p for p in plans if p is not None)
    assert SITES[0] <= len(plan.sites) <= SITES[1]
    things = {t.site_id for t in plan.world.things}
    assert things == {s.site_id for s in plan.sites}
    for i, a in enumerate(plan.sites):
        assert all(a.area.distance(b.area) >= APART_M for b in plan.sites[:i])
        low, high = DENSITY_KW_PER_M2
        assert low <= a.it_mw * 1000 / a.footprint_m2 <= high
        assert a.footprint_m2 >= LEAST_M2
        assert a.it_mw <= LARGEST_MW


@pytest.mark.parametrize("seed", [7, 8])
def test_registry_holds_the_four_planted_discrepancies(seed, area):
    found = area if seed == area.seed else sample_area(seed)
    metres = found.registry.to_crs(found.scene.crs).set_index("id")
    rows = _site_rows(found.scene.truth)
    sites = rows.dissolve("site_id", aggfunc={"it_mw": "sum"})
    weighted = rows.assign(x=rows.centroid.x * rows.area, y=rows.centroid.y * rows.area).groupby("site_id")
    centre = gpd.GeoSeries.from_xy(
        weighted.x.sum() / rows.area.groupby(rows.site_id).sum(),
        weighted.y.sum() / rows.area.groupby(rows.site_id).sum(),
        crs=found.scene.crs,
    )
    centre.index = list(weighted.groups)
    plants = found.planted
    assert set(plants) == {"undeclared", "above_declared", "not_seen", "position_mismatch"}
    hidden = plants["undeclared"]["site_id"]
    ghost = metres.loc[plants["not_seen"]["declared_id"]]
    moved = plants["position_mismatch"]
    assert len(metres) == len(sites)
    assert sites.loc[hidden].it_mw / ghost.it_mw >= 2.5
    assert sites.distance(ghost.geometry).min() >= 700
    there = metres.loc[moved["declared_id"]].geometry
    assert sites.distance(there).min() >= 500
    assert centre[moved["site_id"]].distance(there) == pytest.approx(2000, abs=25)
    assert there.distance(ghost.geometry) >= 1200
    assert there.distance(sites.loc[hidden].geometry) >= 1200
    low = plants["above_declared"]
    assert metres.loc[low["declared_id"]].it_mw / sites.loc[low["site_id"]].it_mw == pytest.approx(1 / 6, abs=0.01)
    odd = {ghost.name, moved["declared_id"]}
    for name, row in metres.drop(index=list(odd)).iterrows():
        near = centre.distance(row.geometry)
        assert near.min() < 5 * JITTER_SD_M
        assert near.idxmin() != hidden
        if name != low["declared_id"]:
            assert 0.88 < row.it_mw / sites.loc[near.idxmin()].it_mw < 1.12
    west, south, east, north = rasterio.transform.array_bounds(*SHAPE_PX, found.scene.transform)
    for bounds in [*metres.bounds.to_numpy(), *sites.bounds.to_numpy()]:
        assert bounds[0] - west >= 140
        assert bounds[1] - south >= 140
        assert east - bounds[2] >= 140
        assert north - bounds[3] >= 140


def test_sample_area_is_mixed_and_in_the_atlantic(area):
    assert area.scene.optical.shape == (3, *SHAPE_PX)
    lon, lat = area.registry.geometry.x, area.registry.geometry.y
    assert ((lon + 27).abs() < 0.03).all()
    assert ((lat - 45).abs() < 0.03).all()
    truth = area.scene.truth
    centers, others = _site_rows(truth).area, truth[truth["class"] == "other_building"].area
    assert (others > np.median(centers)).sum() >= 3
    assert (others >= 400).sum() >= 25
    assert (others > 15_000).sum() >= 2
    assert centers.min() >= 2_900
    assert centers.max() <= 38_000


def test_temperature_stack_is_dated_kelvin_on_the_grid_of_the_scene(area):
    lst = area.lst
    assert lst.dims == ("time", "y", "x")
    assert lst.dtype == np.float32
    assert lst.shape == (8, SHAPE_PX[0] * GSD_M / CELL_M, SHAPE_PX[1] * GSD_M / CELL_M)
    assert lst.attrs["units"] == "K"
    assert 0 < float(lst.isnull().mean()) < 0.15
    night, day = (lst.where(lst.look == look, drop=True) for look in ("winter night", "summer day"))
    assert 255 < float(night.min()) < float(night.max()) < 290
    assert 285 < float(day.min()) < float(day.max()) < 330
    assert float(day.std("y").mean()) > 1.5 * float(night.std("y").mean())


def test_integrated_excess_is_s_times_power():
    frame, cells = d.Frame(1500, 1500, 0), 100
    ground = np.zeros((cells, cells), dtype=np.uint8)
    site = Source([frame.box(0, 0, 200, 30)], 300.0)
    grid = rasterio.Affine(30, 0, 0, 0, -30, 3000)
    with_heat, without = (surface_temperature(ground, 30.0, s, grid, "EPSG:32626", 11) for s in ([site], []))
    assert with_heat.shape == without.shape
    again = surface_temperature(ground, 30.0, [Source(site.outlines, 600.0)], grid, "EPSG:32626", 11)
    extra = (again - with_heat).sum(("y", "x")).to_numpy() * CELL_M**2
    s = extra / 300.0
    assert (s > EXCESS_K_M2_PER_MW / 4).all()
    assert (s < EXCESS_K_M2_PER_MW * 4).all()
    hottest = (again - with_heat).mean("time")
    assert float(hottest.max()) == pytest.approx(float(hottest.sel(x=1500, y=1500, method="nearest")), rel=0.2)


def test_written_area_reads_back(area, tmp_path):
    paths = write_area(area, tmp_path / "area")
    with rasterio.open(paths["optical"]) as src:
        assert src.descriptions == ("red", "green", "blue")
        assert src.crs.to_string() == area.scene.crs
        assert src.transform.almost_equals(area.scene.transform)
        assert src.compression.name == "jpeg"
        assert src.photometric.name == "ycbcr"
        assert src.overviews(1)
        difference = np.abs(src.read().astype(int) - area.scene.optical)
        assert difference.mean() < 4
    with rasterio.open(paths["lst"]) as src:
        assert src.descriptions == tuple(str(t)[:10] for t in area.lst.time.to_numpy())
        assert src.tags()["units"] == "K"
        assert np.isnan(src.nodata)
        np.testing.assert_array_equal(src.read(), area.lst.to_numpy())
    truth = gpd.read_file(paths["truth"])
    assert list(truth["class"]) == list(area.scene.truth["class"])
    assert truth.to_crs(area.scene.crs).area.sum() == pytest.approx(area.scene.truth.area.sum(), rel=1e-4)
    registry = gpd.read_file(paths["registry"])
    assert list(registry["id"]) == list(area.registry["id"])
    assert json.loads(paths["planted"].read_text()) == area.planted
    assert "simulated" in paths["readme"].read_text()
    assert f"--seed {area.seed}" in paths["readme"].read_text()
    assert sum(p.stat().st_size for p in paths.values()) < 5_000_000


def test_files_are_the_same_bytes_for_the_same_area(area, tmp_path):
    one, two = (write_area(area, tmp_path / name) for name in "ab")
    assert all(one[k].read_bytes() == two[k].read_bytes() for k in one)


def test_sample_area_is_determined_by_its_seed(area):
    again = sample_area(area.seed)
    assert _same(area.scene, again.scene)
    np.testing.assert_array_equal(area.lst.to_numpy(), again.lst.to_numpy())
    assert area.registry.to_json() == again.registry.to_json()
    assert area.planted == again.planted
