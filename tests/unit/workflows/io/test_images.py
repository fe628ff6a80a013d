"""Image files: one lattice, the same pixels whichever window asks for them."""

import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.shutil import copy as copy_raster

from overwatt.aoi.errors import AssetReadError, GridError, ModelContractError
from overwatt.models.detector.card import ModelCard, load_card
from overwatt.workflows.io.images import check_any_valid, open_image
from overwatt.workflows.io.raster_checks import content_sha256
from tests.support import RGB, corrupt_block, naming, write_image

DEGREES = Affine(2e-5, 0, -27, 0, -1.8e-5, 45)
RNG = np.random.default_rng(11)
PIXELS = RNG.integers(1, 255, (3, 60, 80), dtype=np.uint8)


@pytest.fixture(scope="module")
def card(weights) -> ModelCard:
    return load_card(weights)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, card):
    """The same picture as its own lattice, averaged down, and warped from degrees."""
    folder = tmp_path_factory.mktemp("kinds")
    return {
        "native": open_image(write_image(folder / "native.tif", PIXELS, block=16), card),
        "finer": open_image(write_image(folder / "finer.tif", PIXELS, block=16, gsd_m=0.6), card),
        "degrees": open_image(
            write_image(folder / "degrees.tif", PIXELS, block=16, crs="EPSG:4326", transform=DEGREES), card
        ),
    }


@pytest.mark.parametrize("kind", ["native", "finer", "degrees"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_window_is_a_piece_of_the_whole_and_zero_outside(kind, kinds, data):
    image = kinds[kind]
    ny, nx = image.shape
    y0, y1 = sorted(data.draw(st.lists(st.integers(-20, ny + 20), min_size=2, max_size=2, unique=True)))
    x0, x1 = sorted(data.draw(st.lists(st.integers(-20, nx + 20), min_size=2, max_size=2, unique=True)))
    whole, seen = image.read(-20, -20, ny + 20, nx + 20)
    values, valid = image.read(y0, x0, y1, x1)
    window = (slice(y0 + 20, y1 + 20), slice(x0 + 20, x1 + 20))
    np.testing.assert_array_equal(values, whole[:, *window])
    np.testing.assert_array_equal(valid, seen[window])
    assert not whole[:, :20].any()
    assert not seen[:, -20:].any()
    assert not values[:, ~valid].any()


def test_pixels_near_the_networks_scale_are_used_as_they_are(kinds):
    image = kinds["native"]
    values, valid = image.read(0, 0, *image.shape)
    np.testing.assert_array_equal(np.rint(values * 255).astype(np.uint8), PIXELS)
    assert valid.all()
    assert image.native
    assert values.dtype == np.float32


def test_finer_pixels_are_averaged_to_the_networks_scale(kinds):
    image = kinds["finer"]
    assert image.gsd_m == 2.0
    assert not image.native
    assert abs(image.shape[0] - 60 * 0.6 / 2) <= 1
    values, valid = image.read(0, 0, *image.shape)
    assert values[:, valid].mean() == pytest.approx(PIXELS.mean() / 255, rel=0.05)
    assert values[:, valid].std() < PIXELS.std() / 255 / 2


def test_degrees_are_warped_to_metres(kinds):
    image = kinds["degrees"]
    assert image.geobox is not None
    assert str(image.geobox.crs) == "EPSG:32626"
    assert abs(image.geobox.affine.a) == image.gsd_m
    west, _, _, north = image.geobox.geographic_extent.boundingbox
    assert west == pytest.approx(-27, abs=1e-4)
    assert north == pytest.approx(45, abs=1e-4)
    assert image.read(0, 0, *image.shape)[1].mean() > 0.9


def test_web_mercator_metres_are_not_metres_on_the_ground(card, tmp_path):
    path = write_image(
        tmp_path / "a.tif", PIXELS, gsd_m=2.828, crs="EPSG:3857", transform=Affine(2.828, 0, -3e6, 0, -2.828, 5.62e6)
    )
    image = open_image(path, card)  # at 45 degrees 2.828 m of map are 2.0 m of ground
    assert not image.native
    assert image.source_gsd_m == pytest.approx(2.0, abs=0.02)


def test_an_image_travels_to_workers(kinds):
    image = kinds["native"]
    image.read(0, 0, 5, 5)
    copy = pickle.loads(pickle.dumps(image))
    np.testing.assert_array_equal(copy.read(3, 4, 20, 30)[0], image.read(3, 4, 20, 30)[0])


def test_bands_are_found_by_name_in_any_order(card, tmp_path):
    swapped = write_image(tmp_path / "a.tif", PIXELS[::-1], names=("B", "Green", "RED"))
    values, _ = open_image(swapped, card).read(0, 0, 60, 80)
    np.testing.assert_array_equal(np.rint(values * 255).astype(np.uint8), PIXELS)


def test_validity_from_a_band_an_alpha_band_a_mask_and_nodata(card, tmp_path):
    hole = np.ones((60, 80), bool)
    hole[10:20, 30:40] = False
    holed = np.where(hole, PIXELS, 0)
    band = (hole * 255).astype(np.uint8)[None]
    files = [
        write_image(tmp_path / "band.tif", np.concatenate([PIXELS, band]), names=(*RGB, "valid")),
        write_image(tmp_path / "alpha.tif", np.concatenate([PIXELS, band]), names=(), photometric="RGB", alpha="yes"),
        write_image(tmp_path / "nodata.tif", holed, nodata=0),
    ]
    masked = write_image(tmp_path / "mask.tif", PIXELS)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "r+") as file:
        file.write_mask(hole)
    for path in (*files, masked):
        values, valid = open_image(path, card).read(0, 0, 60, 80)
        np.testing.assert_array_equal(valid, hole, err_msg=path.name)
        assert not values[:, ~hole].any()


def test_a_pure_colour_is_not_nodata(card, tmp_path):
    pixels = PIXELS.copy()
    pixels[1:, 5:9, 5:9] = 0  # red
    valid = open_image(write_image(tmp_path / "a.tif", pixels, nodata=0), card).read(0, 0, 60, 80)[1]
    assert valid.all()


def test_a_picture_without_georeference_needs_its_scale(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS, crs=None)
    with pytest.raises(GridError, match=naming("a.tif", "CRS")):
        open_image(path, card)
    with pytest.raises(GridError, match=naming("a.tif", "--gsd")):
        open_image(path, card, require_crs=False)
    fine = open_image(path, card, gsd_m=1.0)
    assert fine.geobox is None
    assert fine.shape == (30, 40)
    assert fine.gsd_m == 2.0
    with pytest.raises(ModelContractError, match=naming("a.tif", "10 m", "0.25-2.9")):
        open_image(path, card, gsd_m=10.0)


def test_a_damaged_block_is_an_error_where_it_lies_and_nowhere_else(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS, block=16)
    corrupt_block(path, 2, 1)  # rows 16-31, columns 32-47
    image = open_image(path, card)
    check_any_valid(image)
    image.read(0, 0, 16, 80)
    with pytest.raises(AssetReadError, match=naming("a.tif", "10-20", "30-40")) as raised:
        image.read(10, 30, 20, 40)
    assert raised.value.window == (10, 30, 20, 40)


def test_an_image_of_which_nothing_can_be_read_is_refused(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS, block=128)
    corrupt_block(path, 0, 0)
    with pytest.raises(AssetReadError, match=naming("a.tif", "0-60", "0-80")):
        check_any_valid(open_image(path, card))


def test_sparse_files_are_whole(card, tmp_path):
    pixels = np.zeros((3, 64, 64), np.uint8)
    pixels[:, :16, :16] = 9
    path = write_image(tmp_path / "a.tif", pixels, block=16, nodata=0, SPARSE_OK=True)
    image = open_image(path, card)
    check_any_valid(image)
    assert image.read(0, 0, 64, 64)[1].sum() == 256


@pytest.mark.parametrize("cut", [1, 100])
def test_a_cloud_optimised_file_short_of_a_byte_is_refused(card, tmp_path, cut):
    path = tmp_path / "a.tif"
    copy_raster(
        write_image(tmp_path / "whole.tif", RNG.integers(1, 255, (3, 300, 300), dtype=np.uint8)), path, driver="COG"
    )
    open_image(path, card)
    path.write_bytes(path.read_bytes()[: -cut - 8])  # COG ends with the length of its last block
    with pytest.raises(AssetReadError, match=naming("a.tif", f"{path.stat().st_size:,}")):
        open_image(path, card)


def test_the_content_hash_is_of_the_content(tmp_path):
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"x" * 3_000_000)
    two.write_bytes(b"x" * 3_000_000)
    assert content_sha256(one) == content_sha256(two)
    two.write_bytes(b"x" * 2_999_999 + b"y")
    assert content_sha256(one) != content_sha256(two)
