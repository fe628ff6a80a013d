import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely import Point, Polygon, box

from overwatt.aoi.errors import AssetReadError, ConfigError, GridError
from overwatt.pipeline.sites.thermal_anomaly import COUNTED, p_detect, thermal_anomaly
from overwatt.pipeline.tables import SCHEMAS
from overwatt.workflows.io.temperature_stack import load_stack
from tests.support import naming

UTM, CELL, SIZE = "EPSG:32632", 30.0, 70
LEFT, TOP = 400_000.0, 5_760_000.0
CORNER = Affine(CELL, 0, LEFT, 0, -CELL, TOP)
GRID = GeoBox((SIZE, SIZE), CORNER, UTM)
MIDDLE = Point(LEFT + SIZE * CELL / 2, TOP - SIZE * CELL / 2)
CAMPUS = box(MIDDLE.x - 150, MIDDLE.y - 120, MIDDLE.x + 150, MIDDLE.y + 120)  # whole pixels


def sites_of(*geometries, crs=UTM):
    return gpd.GeoDataFrame(
        {"site_id": [f"s{i}" for i in range(len(geometries))]}, geometry=list(geometries), crs=crs
    ).to_crs("EPSG:4326")


def stack_of(looks, times=None):
    looks = np.asarray(looks, dtype=np.float32)
    times = times or [f"2025-06-{day + 1:02d}" for day in range(len(looks))]
    return xr.DataArray(looks, dims=("time", "y", "x"), coords={"time": times})


def noise(looks=3, sd_k=1.0, seed=7):
    return 290.0 + np.random.default_rng(seed).normal(0, sd_k, (looks, SIZE, SIZE))


def on_campus():
    x, y = LEFT + (np.arange(SIZE) + 0.5) * CELL, TOP - (np.arange(SIZE) + 0.5) * CELL
    return ((abs(x - MIDDLE.x) < 150)[None, :]) & ((abs(y - MIDDLE.y) < 120)[:, None])


def test_planted_excess_is_recovered():
    looks = noise(5)
    looks[:, on_campus()] += 6.0
    table, per_look = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS))
    row = table.iloc[0]
    # 80 pixels of sd 1 K make a mean good to 0.11 K; the median of five to about 0.06 K
    assert row["lst_excess_k"] == pytest.approx(6.0, abs=0.25)
    assert row["ring_sd_k"] == pytest.approx(1.0, abs=0.1)
    assert row["robust_z"] == pytest.approx(6.0, abs=0.8)
    assert (row["looks_used"], row["looks_total"]) == (5, 5)
    assert "outside the surroundings' spread" in row["statement"]
    assert list(per_look.columns) == [c.name for c in SCHEMAS["thermal_looks"]]
    assert list(per_look["time"]) == [f"2025-06-0{i}" for i in range(1, 6)]


def test_mean_is_weighted_by_the_covered_share_of_each_pixel():
    looks = np.full((1, SIZE, SIZE), 280.0)
    looks += np.arange(SIZE)[None, None, :] * CELL  # 1 K a metre to the east
    shifted = box(MIDDLE.x - 143, MIDDLE.y - 120, MIDDLE.x + 157, MIDDLE.y + 120)
    _, per_look = thermal_anomaly(stack_of(looks), GRID, sites_of(shifted))
    # the mean of a linear field over a box, from fractional pixels, is its value at the box's middle;
    # whole pixels would give it at the nearest pixel edge, 7 m off (half a pixel's value spread aside)
    expected = 280.0 + (shifted.centroid.x - LEFT) - CELL / 2
    assert per_look["site_k"].iloc[0] == pytest.approx(expected, abs=0.3)


def test_cloudy_looks_are_not_used_and_say_why():
    looks = noise(4)
    looks[1, on_campus()] = np.nan
    looks[2, :, : SIZE // 2 - 5] = np.nan  # west half: ring, not site
    table, per_look = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS))
    assert list(per_look["used"]) == [True, False, False, True]
    assert per_look["reason"].iloc[1] == "only 0% of the site is clear, 80% needed"
    assert "of the ring is clear, 80% needed" in per_look["reason"].iloc[2]
    assert per_look.loc[~per_look["used"], ["site_k", "excess_k", "robust_z"]].isna().all(axis=None)
    assert (table["looks_used"].iloc[0], table["looks_total"].iloc[0]) == (2, 4)


def test_clear_pixels_alone_count_where_a_look_is_partly_cloudy():
    looks = noise(1)
    rows, columns = np.nonzero(on_campus())
    looks[0, on_campus()] += 6.0
    looks[0, rows[:10], columns[:10]] = np.nan
    table, _ = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS))
    assert table["lst_excess_k"].iloc[0] == pytest.approx(6.0, abs=0.4)


def test_no_usable_look_says_nothing():
    table, _ = thermal_anomaly(stack_of(np.full((2, SIZE, SIZE), np.nan)), GRID, sites_of(CAMPUS))
    row = table.iloc[0]
    assert row["looks_used"] == 0
    assert row[["lst_excess_k", "robust_z", "ring_sd_k", "floor_mw"]].isna().all()
    assert "No usable acquisition (only 0% of the site is clear" in row["statement"]
    assert "says nothing about this site" in row["statement"]


def test_constant_field_has_no_spread_to_scale_by():
    looks = np.full((2, SIZE, SIZE), 290.0)
    looks[:, on_campus()] = 293.0
    table, per_look = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS))
    assert per_look["excess_k"].to_numpy() == pytest.approx(3.0, abs=1e-4)
    assert per_look["used"].all()
    assert table[["robust_z", "ring_sd_k", "floor_mw"]].isna().all(axis=None)
    assert "no spread" in table["statement"].iloc[0]


def test_site_at_the_edge_uses_the_half_ring_and_says_so():
    at_edge = box(LEFT + 30, MIDDLE.y - 120, LEFT + 330, MIDDLE.y + 120)
    table, per_look = thermal_anomaly(stack_of(noise()), GRID, sites_of(at_edge))
    middle = thermal_anomaly(stack_of(noise()), GRID, sites_of(CAMPUS))[1]
    assert table["looks_used"].iloc[0] == 3
    assert per_look["ring_pixels"].iloc[0] < 0.75 * middle["ring_pixels"].iloc[0]
    assert "one-sided" in table["statement"].iloc[0]


def test_sites_across_and_beyond_the_edge_are_not_used():
    across = box(LEFT - 200, MIDDLE.y - 120, LEFT + 100, MIDDLE.y + 120)
    beyond = Point(LEFT - 300, MIDDLE.y)
    far = Point(LEFT - 50_000, MIDDLE.y)
    table, per_look = thermal_anomaly(stack_of(noise(1)), GRID, sites_of(across, beyond, far))
    assert not per_look["used"].any()
    assert per_look["reason"].iloc[0] == "only 33% of the site is clear, 80% needed"
    assert list(per_look["reason"].iloc[1:]) == ["site lies outside the image"] * 2
    assert table["lst_excess_k"].isna().all()


def test_points_and_small_sites_are_grown_to_one_footprint():
    shed = box(MIDDLE.x - 10, MIDDLE.y - 10, MIDDLE.x + 10, MIDDLE.y + 10)
    disc = MIDDLE.buffer(100 / np.sqrt(np.pi), quad_segs=32)
    looks = noise(2)
    _, per_look = thermal_anomaly(stack_of(looks), GRID, sites_of(MIDDLE, shed, disc))
    by_site = per_look.pivot(index="time", columns="site_id", values="excess_k").to_numpy()
    np.testing.assert_allclose(by_site[:, 1], by_site[:, 0], atol=1e-6)
    np.testing.assert_allclose(by_site[:, 2], by_site[:, 0], atol=2e-2)


def test_excluded_ground_is_no_background():
    looks = noise(1, sd_k=0.5)
    warm = box(MIDDLE.x + 320, MIDDLE.y - 900, MIDDLE.x + 900, MIDDLE.y + 900)
    x = LEFT + (np.arange(SIZE) + 0.5) * CELL
    looks[0][:, x > MIDDLE.x + 320] += 20.0
    with_it = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS))[1].iloc[0]
    without = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS), exclude=sites_of(warm))[1].iloc[0]
    assert without["ring_pixels"] < with_it["ring_pixels"]
    assert abs(without["robust_z"]) < 1
    assert without["ring_k"] == pytest.approx(290.0, abs=0.1)


def test_ring_that_exclusions_have_emptied_is_refused():
    everything = box(LEFT, TOP - SIZE * CELL, LEFT + SIZE * CELL, TOP)
    _, per_look = thermal_anomaly(stack_of(noise(1)), GRID, sites_of(CAMPUS), exclude=sites_of(everything))
    assert "holds 0.0 sensor footprints, 9 needed" in per_look["reason"].iloc[0]


def test_floor_scales_with_the_spread_and_not_with_the_looks():
    def floor(looks, sd_k):
        return thermal_anomaly(stack_of(noise(looks, sd_k)), GRID, sites_of(CAMPUS))[0]["floor_mw"].iloc[0]

    assert floor(2, 2.0) / floor(2, 1.0) == pytest.approx(2.0, rel=1e-3)
    assert floor(8, 1.0) / floor(2, 1.0) == pytest.approx(1.0, rel=0.1)


def test_floor_of_one_point_by_hand():
    table, per_look = thermal_anomaly(stack_of(noise(1)), GRID, sites_of(MIDDLE))
    heat_m2 = np.pi * (100 / np.sqrt(np.pi) + 100) ** 2
    ring_m2 = per_look["ring_pixels"].iloc[0] * CELL**2
    sigma_e = heat_m2 * table["ring_sd_k"].iloc[0] * np.sqrt(1e4 / heat_m2 + np.pi / 2 * 1e4 / ring_m2)
    assert table["floor_mw"].iloc[0] == pytest.approx(3 * sigma_e / 200, rel=5e-3)


def test_statement_names_what_the_estimated_power_could_show():
    power = pd.Series({"s0": 20.0})
    small = thermal_anomaly(stack_of(noise()), GRID, sites_of(CAMPUS), it_mw_p50=power)[0]["statement"].iloc[0]
    assert "a missing anomaly says nothing" in small
    large = thermal_anomaly(stack_of(noise()), GRID, sites_of(CAMPUS), it_mw_p50=power * 500)[0]["statement"].iloc[0]
    assert "would speak weakly against full load" in large
    for text in (small, large):
        assert "that 1 MW warms one hectare by 0.02 K is assumed, not measured" in text
        for insider in ("sigma", "robust", " sd ", "looks", "prior", "m2"):
            assert insider not in text
        assert "not a data center from a warehouse" in text
    night = thermal_anomaly(stack_of(noise()), GRID, sites_of(CAMPUS), daytime=False)[0]["statement"].iloc[0]
    assert "at night" in night


def test_chance_of_detection_rises_with_power_and_ignores_unknowns():
    chances = [p_detect(mw, 300.0) for mw in (0, 30, 100, 300, 1000, 10_000)]
    assert chances == sorted(chances)
    assert chances[0] == pytest.approx(0.00135, abs=1e-4)
    assert chances[3] == pytest.approx(0.5, abs=0.05)
    assert chances[-1] > 0.98
    assert np.isnan(p_detect(np.nan, 300.0))
    assert np.isnan(p_detect(100.0, np.nan))


@settings(max_examples=15, deadline=None)
@given(shift=st.floats(-60, 60), seed=st.integers(0, 1000))
def test_a_constant_added_to_a_look_changes_no_excess(shift, seed):
    looks = noise(2, seed=seed)
    looks[0, :9, :9] = np.nan
    moved = looks.copy()
    moved[1] += shift
    plain = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS, MIDDLE))[1]
    added = thermal_anomaly(stack_of(moved), GRID, sites_of(CAMPUS, MIDDLE))[1]
    np.testing.assert_allclose(added["excess_k"], plain["excess_k"], atol=1e-3)  # float32 near 300 K: 3e-5
    np.testing.assert_allclose(added["robust_z"], plain["robust_z"], atol=1e-2)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(4)))
def test_order_of_looks_changes_no_summary(order):
    looks = noise(4)
    plain = thermal_anomaly(stack_of(looks), GRID, sites_of(CAMPUS))[0]
    mixed = thermal_anomaly(stack_of(looks[list(order)]), GRID, sites_of(CAMPUS))[0]
    pd.testing.assert_frame_equal(plain, mixed)


def test_lengths_are_true_in_a_geographic_grid():
    lonlat = gpd.GeoSeries([MIDDLE], crs=UTM).to_crs("EPSG:4326").iloc[0]
    step = 30 / 111_195
    grid = GeoBox(
        (SIZE, 2 * SIZE),
        Affine(step, 0, lonlat.x - SIZE * step, 0, -step, lonlat.y + SIZE / 2 * step),
        "EPSG:4326",
    )
    _, per_look = thermal_anomaly(stack_of(np.full((1, SIZE, 2 * SIZE), 290.0)), grid, sites_of(MIDDLE))
    _, in_utm = thermal_anomaly(stack_of(noise(1)), GRID, sites_of(MIDDLE))
    # at 52 N a 30 m step of longitude is 18.5 m long, so the same ring holds more of these pixels
    pixels = in_utm["ring_pixels"].iloc[0] / np.cos(np.radians(lonlat.y))
    assert per_look["ring_pixels"].iloc[0] == pytest.approx(pixels, rel=0.01)


def test_numpy_dates_and_no_sites():
    stack = stack_of(noise(2)).assign_coords(time=np.array(["2025-06-01T00:00", "2025-06-02T10:30"], "datetime64[ns]"))
    _, per_look = thermal_anomaly(stack, GRID, sites_of(CAMPUS))
    assert list(per_look["time"]) == ["2025-06-01", "2025-06-02T10:30:00"]
    table, per_look = thermal_anomaly(stack, GRID, sites_of(CAMPUS).iloc[:0])
    assert len(table) == len(per_look) == 0
    assert list(table.columns) == [c.name for c in SCHEMAS["thermal"]]


@pytest.mark.parametrize(
    ("grid", "sites", "options", "words"),
    [
        (GeoBox((9, 9), CORNER, UTM), sites_of(CAMPUS), {}, ("(70, 70)", "(9, 9)")),
        (GeoBox((SIZE, SIZE), CORNER, None), sites_of(CAMPUS), {}, ("grid", "CRS")),
        (GeoBox((SIZE, SIZE), Affine(30, 5, LEFT, 5, -30, TOP), UTM), sites_of(CAMPUS), {}, ("grid", "(30.0, 5.0,")),
        (GRID, sites_of(CAMPUS), {"ring_inner_m": 800.0}, ("ring", 800, 750)),
        (GRID, sites_of(CAMPUS).set_crs(None, allow_override=True), {}, ("sites", "CRS")),
        (GRID, sites_of(CAMPUS, Polygon()), {}, ("'s1'", "geometry")),
    ],
)
def test_unusable_input_is_named(grid, sites, options, words):
    with pytest.raises(GridError, match=naming(*words)):
        thermal_anomaly(stack_of(noise(1)), grid, sites, **options)


def write(path, bands, *, descriptions=(), crs=UTM, transform=CORNER, nodata=None):
    bands = np.asarray(bands)
    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    with rasterio.open(path, "w", **profile, dtype=bands.dtype, crs=crs, transform=transform, nodata=nodata) as out:
        out.write(bands)
        for band, text in enumerate(descriptions, start=1):
            out.set_band_description(band, text)
    return path


def celsius(value=20.0):
    return np.full((1, 4, 5), value, dtype=np.float32)


LANDSAT = "LC08_L2SP_196024_{}_20220427_02_T1_ST_B10.TIF"


def test_landsat_files_become_one_stack_in_order_of_time(tmp_path):
    first, second = celsius(10), celsius(20)
    second[0, 0, 0] = -9999
    paths = [
        write(tmp_path / LANDSAT.format("20240626"), second, nodata=-9999),
        write(tmp_path / LANDSAT.format("20220418"), first, nodata=-9999),
    ]
    stack, grid = load_stack(paths, unit="celsius")
    assert stack.dims == ("time", "y", "x")
    assert stack.dtype == np.float32
    assert list(stack["time"].to_numpy()) == ["2022-04-18", "2024-06-26"]
    np.testing.assert_allclose(stack[0], 283.15, atol=1e-4)
    assert np.isnan(stack[1, 0, 0])
    assert int(np.isnan(stack).sum()) == 1
    assert (grid.shape, grid.affine, str(grid.crs)) == ((4, 5), CORNER, UTM)


def test_bands_are_looks_named_by_their_description(tmp_path):
    bands = np.concatenate([celsius(290), celsius(271), celsius(280)])
    bands[1, 2, 2] = np.nan
    path = write(tmp_path / "lst.tif", bands, descriptions=("2025-06-19", "2025-01-14", "no day"), nodata=np.nan)
    stack, _ = load_stack([path], unit="kelvin")
    assert list(stack["time"].to_numpy()) == ["2025-01-14", "2025-06-19", "lst.tif band 3"]
    assert float(stack[1].mean()) == pytest.approx(290)
    assert int(np.isnan(stack[0]).sum()) == 1


def test_landsat_numbers_are_scaled(tmp_path):
    dn = np.full((1, 4, 5), 41_000, dtype=np.uint16)
    dn[0, 0, 0] = 0
    stack, _ = load_stack([write(tmp_path / LANDSAT.format("20240626"), dn)], unit="landsat_dn")
    assert float(stack.max()) == pytest.approx(41_000 * 0.00341802 + 149.0, abs=1e-3)
    assert np.isnan(stack[0, 0, 0])


@pytest.mark.parametrize(
    ("value", "unit"), [(290.0, "celsius"), (20.0, "kelvin"), (41_000.0, "kelvin"), (-90.0, "celsius")]
)
def test_values_that_contradict_the_unit_are_refused(tmp_path, value, unit):
    path = write(tmp_path / "heat.tif", celsius(value))
    with pytest.raises(AssetReadError, match=naming("heat.tif", "unit", 183.1 if value == -90 else value)):
        load_stack([path], unit=unit)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"crs": "EPSG:32633"}, ("a.tif", "EPSG:32633", "EPSG:32632")),
        ({"crs": None}, ("CRS",)),
        ({"transform": Affine(CELL, 0, LEFT + 15, 0, -CELL, TOP)}, ("a.tif", "400015.0", "400000.0")),
    ],
)
def test_files_of_another_grid_are_refused_by_name(tmp_path, other, words):
    paths = [write(tmp_path / "a.tif", celsius()), write(tmp_path / "b.tif", celsius(), **other)]
    with pytest.raises(GridError, match=naming("b.tif", *words)):
        load_stack(paths, unit="celsius")


def test_size_is_checked_from_the_header(tmp_path):
    path = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "count": 1, "height": 40_000, "width": 40_000, "dtype": "float32"}
    with rasterio.open(path, "w", **profile, crs=UTM, transform=CORNER, tiled=True, sparse_ok=True):
        pass
    with pytest.raises(GridError, match=naming("huge.tif", "6.4 GB", "4 GB")):
        load_stack([path], unit="kelvin")


def test_unreadable_and_missing_files_are_named(tmp_path):
    bad = tmp_path / "bad.tif"
    bad.write_bytes(b"not an image")
    with pytest.raises(AssetReadError, match=naming("bad.tif", "GeoTIFF")):
        load_stack([bad], unit="kelvin")
    with pytest.raises(AssetReadError, match=naming("gone.tif")):
        load_stack([tmp_path / "gone.tif"], unit="kelvin")
    with pytest.raises(ConfigError, match="temperature"):
        load_stack([], unit="kelvin")
    with pytest.raises(ConfigError, match=naming("'fahrenheit'", "celsius", "kelvin")):
        load_stack([bad], unit="fahrenheit")


def test_heat_that_the_detector_saw_is_said_to_be_counted():
    looks = noise(5)
    looks[:, on_campus()] += 6.0
    sites = sites_of(CAMPUS, CAMPUS)
    sites["used_thermal"] = [True, False]
    table, _ = thermal_anomaly(stack_of(looks), GRID, sites, it_mw_p50=pd.Series([900.0, 900.0], index=["s0", "s1"]))
    assert table["robust_z"].iloc[0] == table["robust_z"].iloc[1]
    assert table["statement"].iloc[0] == f"{table['statement'].iloc[1]} {COUNTED}"
