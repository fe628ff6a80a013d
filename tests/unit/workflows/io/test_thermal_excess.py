"""Thermal excess beside an image: one value a pixel whichever window asks, and what is refused."""

import pickle
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp

from overwatt.aoi.errors import AssetReadError, GridError, ModelContractError
from overwatt.models.detector.card import Calibration, ModelCard, load_card
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import widened
from overwatt.models.detector.weights import load, save
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io.images import open_image
from overwatt.workflows.io.thermal_excess import ExcessRaster, WithThermal, open_excess
from overwatt.workflows.run import single_image
from overwatt.workflows.run.computing import plan_tiles
from overwatt.workflows.run.tile import Job, computed, pixels_of, regions_of, unpack
from tests.support import NORTH_M, RGB, UTM_26N, WEST_M, naming, write_image

DEGREES = Affine(6e-5, 0, -27.0002, 0, -5e-5, 45.0097)
RNG = np.random.default_rng(21)
PIXELS = RNG.integers(1, 255, (3, 60, 80), dtype=np.uint8)
KELVIN = RNG.normal(0, 3, (1, 40, 45)).astype(np.float32)


@pytest.fixture(scope="module")
def thermal_weights(weights, tmp_path_factory):
    """The small random weights, widened by a band that they listen to."""
    net, card = load(weights)
    wide = widened(net, RGB, (*RGB, "thermal_excess"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in (wide.stem, wide.fine):
            filters = next(p for p in layer.parameters() if p.ndim == 4)
            filters[:, 3] = 0.3 * torch.randn(filters[:, 3].shape, generator=generator)
    fields = {"name": "hot", "thermal_bands": ("thermal_excess",), "mean": (*card.mean, 0.0), "std": (*card.std, 3.0)}
    path = tmp_path_factory.mktemp("thermal") / "hot.safetensors"
    save(wide, card.model_copy(update=fields | {"calibration_thermal": Calibration(a=1.0)}), path)
    return path


@pytest.fixture(scope="module")
def card(thermal_weights) -> ModelCard:
    return load_card(thermal_weights)


@pytest.fixture(scope="module")
def image(tmp_path_factory, card):
    return open_image(write_image(tmp_path_factory.mktemp("image") / "image.tif", PIXELS, block=16), card)


def write_heat(path, values=KELVIN, *, gsd_m=5.0, crs=UTM_26N, transform=None, **profile):
    """A raster of thermal excess whose corner is 13 m outside of the image's."""
    return write_image(
        path, values, crs=crs, names=(), block=16,
        transform=transform or Affine(gsd_m, 0, WEST_M - 13, 0, -gsd_m, NORTH_M + 13), **profile,
    )  # fmt: skip


@pytest.fixture(scope="module")
def rasters(tmp_path_factory, image, card):
    folder = tmp_path_factory.mktemp("heat")
    holes = KELVIN.copy()
    holes[0, 10:14, 10:14] = np.nan
    return {
        "same CRS": open_excess(write_heat(folder / "utm.tif"), image, card),
        "degrees": open_excess(write_heat(folder / "degrees.tif", crs="EPSG:4326", transform=DEGREES), image, card),
        "holes": open_excess(write_heat(folder / "holes.tif", holes), image, card),
        "another zone": open_excess(
            write_heat(folder / "zone.tif", crs="EPSG:32627", transform=_in_zone_27()), image, card
        ),
    }


def _in_zone_27():
    from pyproj import Transformer

    x, y = Transformer.from_crs(UTM_26N, "EPSG:32627", always_xy=True).transform(WEST_M, NORTH_M)
    return Affine(5, 0, x - 20, 0, -5, y + 20)


@pytest.mark.parametrize("kind", ["same CRS", "degrees", "holes", "another zone"])
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_window_is_a_piece_of_the_whole_and_not_measured_outside(kind, rasters, image, data):
    raster = rasters[kind]
    ny, nx = image.shape
    y0, y1 = sorted(data.draw(st.lists(st.integers(-20, ny + 20), min_size=2, max_size=2, unique=True)))
    x0, x1 = sorted(data.draw(st.lists(st.integers(-20, nx + 20), min_size=2, max_size=2, unique=True)))
    whole = raster.read(-20, -20, ny + 20, nx + 20)
    np.testing.assert_array_equal(raster.read(y0, x0, y1, x1), whole[:, y0 + 20 : y1 + 20, x0 + 20 : x1 + 20])
    assert np.isnan(whole[:, :20]).all()
    assert np.isnan(whole[:, :, -20:]).all()
    assert np.isfinite(whole[:, 30:40, 60:70]).all()


def test_a_slope_is_resampled_bilinearly(tmp_path, image, card):
    x = WEST_M - 13 + (np.arange(45) + 0.5) * 5
    slope = np.repeat(((x - WEST_M) / 10)[None, None], 40, axis=1).astype(np.float32)
    raster = open_excess(write_heat(tmp_path / "slope.tif", slope), image, card)
    centres = (np.arange(80) + 0.5) * 2
    np.testing.assert_allclose(raster.read(0, 0, 60, 80)[0, 30], centres / 10, atol=1e-4)


def test_nodata_is_not_measured_and_does_not_leak(tmp_path, image, card):
    values = KELVIN.copy()
    values[0, 10:14, 10:14] = -9999
    raster = open_excess(write_heat(tmp_path / "nodata.tif", values, nodata=-9999), image, card)
    seen = raster.read(0, 0, 60, 80)
    assert np.isnan(seen).any()
    assert np.nanmin(seen) >= KELVIN.min() - 1e-3


def test_the_raster_and_the_source_survive_a_pickle(rasters, image):
    both = WithThermal(image, rasters["holes"])
    values, valid = both.read(-3, 4, 30, 70)
    again, seen = pickle.loads(pickle.dumps(both)).read(-3, 4, 30, 70)
    np.testing.assert_array_equal(values, again)
    np.testing.assert_array_equal(valid, seen)
    assert values.shape[0] == 4


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"values": (KELVIN * 10).astype(np.int16)}, AssetReadError, ("int16", "kelvin")),
        ({"values": KELVIN + 290}, AssetReadError, ("284.514", "200 K", "kelvin")),
        ({"values": np.full_like(KELVIN, np.inf)}, AssetReadError, ("inf", "200 K")),
        ({"values": np.full_like(KELVIN, np.nan)}, AssetReadError, ("nodata",)),
        ({"values": np.repeat(KELVIN, 2, 0)}, ModelContractError, ("2 bands", "'hot'", "thermal_excess")),
        ({"crs": None}, GridError, ("thermal", "CRS", "rio edit-info")),
        ({"crs": "+proj=eqc +R=1737400 +units=m"}, GridError, ("thermal", "not of the Earth")),
        ({"gsd_m": 70.0}, ModelContractError, ("70 m", "40 m", "thermal.stack")),
        ({"transform": Affine(5, 0, WEST_M + 9000, 0, -5, NORTH_M)}, GridError, ("image.tif",)),
    ],
)
def test_what_is_no_thermal_excess_is_refused(change, error, words, tmp_path, image, card):
    values = change.pop("values", KELVIN)
    with pytest.raises(error, match=naming("heat.tif", *words)):
        open_excess(write_heat(tmp_path / "heat.tif", values, **change), image, card)


def test_a_product_of_temperatures_is_known_by_its_name(tmp_path, image, card):
    path = tmp_path / "LC09_L2SP_044034_20230601_20230603_02_T1_ST_B10.TIF"
    counts = np.full(KELVIN.shape, 44_000, np.uint16)  # 299 K
    with pytest.raises(AssetReadError, match=naming(path.name, "299.393", "200 K", "not temperatures")):
        open_excess(write_heat(path, counts), image, card)


def test_other_weights_files_and_images_are_refused(tmp_path, weights, image, card):
    path = write_heat(tmp_path / "heat.tif")
    with pytest.raises(ModelContractError, match=naming("heat.tif", "'tiny'", "--weights")):
        open_excess(path, image, load_card(weights))
    with pytest.raises(GridError, match=naming("image.tif", "CRS")):
        open_excess(path, replace(image, raster=replace(image.raster, geobox=None)), card)
    with pytest.raises(AssetReadError, match=naming("none.tif")):
        open_excess(tmp_path / "none.tif", image, card)
    (tmp_path / "text.tif").write_text("hot")
    with pytest.raises(AssetReadError, match=naming("text.tif", "GeoTIFF")):
        open_excess(tmp_path / "text.tif", image, card)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(AssetReadError, match=naming("heat.tif", f"{path.stat().st_size:,}")):
        open_excess(path, image, card)


@pytest.fixture(scope="module")
def half_seen(tmp_path_factory, image):
    """A raster that covers the left half of the image."""
    return write_heat(tmp_path_factory.mktemp("half") / "half.tif", 3 * KELVIN[:, :, :19])


def test_footprints_with_heat_do_not_depend_on_the_tiles(thermal_weights, image, half_seen, card, one_thread):
    """What a run stores of its tiles, and what they join to: the same objects whichever way the area was cut."""
    detector = Detector.load(thermal_weights, "cpu")
    keep = DetectSettings(building=0.4, min_building_m2=0, min_cooling_m2=0, min_machine_m2=0, min_interior_m2=0)
    heat: ExcessRaster = open_excess(half_seen, image, card)
    job = Job(WithThermal(image, heat), thermal_weights, card, None, keep)
    found = []
    for tile_px in (80, 23):
        todo = plan_tiles(image, None, tile_px)
        arrays = [regions_of(job, t, computed(job, detector, t, pixels_of(job, t))) for t in todo]
        parts, done = [[unpack(a, t)[k] for a, t in zip(arrays[::-1], todo[::-1], strict=True)] for k in (2, 3)]
        found.append(
            merge_footprints(
                parts, done, transform=image.geobox.affine, crs=UTM_26N, gsd_m=2.0, scene="s", settings=keep
            )
        )
    whole, cut = found
    columns = [c for c in whole.columns if c not in ("tile", "geometry")]
    pd.testing.assert_frame_equal(whole[columns], cut[columns], check_exact=True)
    assert whole.geometry.to_wkb().tolist() == cut.geometry.to_wkb().tolist()
    assert set(whole["used_thermal"]) == {True, False}
    west = whole.geometry.bounds["maxx"] < -27 + 60 / 78_847  # 60 m east of the image's edge, in degrees at 45 N
    assert whole.loc[west, "used_thermal"].any()


def test_detect_runs_with_and_without_the_file(thermal_weights, weights, image, half_seen, tmp_path):
    settings_ = {"gsd_m": None, "say": lambda text: None}
    single_image.detect([image.path], tmp_path / "with", weights=thermal_weights, thermal=half_seen, **settings_)
    single_image.detect([image.path], tmp_path / "without", weights=thermal_weights, **settings_)
    hot, cold = (gpd.read_parquet(tmp_path / name / "footprints.parquet") for name in ("with", "without"))
    assert not cold["used_thermal"].any()
    assert not hot.drop(columns="used_thermal").equals(cold.drop(columns="used_thermal"))
    with pytest.raises(ModelContractError, match=naming("half.tif", "'tiny'", "--weights")):
        single_image.detect([image.path], tmp_path / "no", weights=weights, thermal=half_seen, **settings_)
    assert not (tmp_path / "no").exists()


def test_known_sites_and_a_detector_band_exclude_one_another():
    with pytest.raises(ValueError, match=naming("imagery.thermal_excess", "sites")):
        Workflow.model_validate(
            {"name": "x", "sites": "s.geojson", "thermal": {"stack": "a.tif"}, "imagery": {"thermal_excess": "e.tif"}}
        )


HOLE = (slice(None), slice(10, 14), slice(10, 14))


def as_meant(folder, kind):
    """Rasters that mean KELVIN with a hole, each stored in another way."""
    hidden = KELVIN.copy()
    hidden[HOLE] = 0
    filled = KELVIN.copy()
    filled[HOLE] = -9999
    mask = np.full(KELVIN.shape[1:], 255, np.uint8)
    mask[HOLE[1:]] = 0
    path = folder / "heat.tif"
    if kind == "mask":
        write_heat(path, hidden)
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
    elif kind == "alpha":
        write_heat(path, np.concatenate([hidden, mask[None].astype(np.float32)]))
        with rasterio.open(path, "r+") as file:
            file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    elif kind == "scale":
        filled = np.where(filled == -9999, -32768, np.rint(KELVIN * 100)).astype(np.int16)
        write_heat(path, filled, nodata=-32768)
        with rasterio.open(path, "r+") as file:
            file.scales = (0.01,)
    elif kind == "fill":
        write_heat(path, filled)
    else:
        values = KELVIN.copy()
        values[HOLE] = np.nan
        down = Affine(5, 0, WEST_M - 13, 0, 5, NORTH_M + 13 - 5 * 40)
        write_heat(path, values[:, ::-1], transform=down)
    return path


@pytest.mark.parametrize("kind", ["mask", "alpha", "scale", "fill", "south up"])
def test_masks_scales_and_fill_values_of_the_file_apply(tmp_path, rasters, image, card, kind):
    raster = open_excess(as_meant(tmp_path, kind), image, card)
    expected = rasters["holes"].read(0, 0, 60, 80)
    got = pickle.loads(pickle.dumps(raster)).read(0, 0, 60, 80)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_allclose(got, expected, atol=0.01)
