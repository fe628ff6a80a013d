"""Bands as files tag them, and every way in which a file says where it has no data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from overwatt.aoi.errors import AssetReadError, ModelContractError
from overwatt.models.detector.card import load_card
from overwatt.workflows.io.images import open_image
from overwatt.workflows.io.raster_checks import content_sha256, quiet, sidecars
from tests.support import RGB, naming, write_image

NY, NX = 60, 80
PIXELS = np.random.default_rng(11).integers(20, 220, (3, NY, NX), dtype=np.uint8)
NIR = np.random.default_rng(12).integers(0, 255, (1, NY, NX), dtype=np.uint8)
SEEN = np.ones((NY, NX), bool)
SEEN[10:30, 30:60] = False
ALPHA = (SEEN * 255).astype(np.uint8)[None]
HOLED = np.where(SEEN, PIXELS, 0)
RIO = str(Path(sys.executable).parent / "rio")
DEGREES = {"crs": "EPSG:4326", "transform": Affine(2.54e-5, 0, -27, 0, -1.8e-5, 45)}


@pytest.fixture(scope="module")
def card(weights):
    return load_card(weights)


def valid_of(path, card):
    image = open_image(path, card)
    return image, image.read(0, 0, *image.shape)[1]


def masked(path, seen, *, internal):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        file.write_mask(seen)
    return path


def tag(path, **colours):
    with quiet(), rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp[colours.get(f"b{i}", c.name)] for i, c in enumerate(file.colorinterp, 1)]
    return path


@pytest.mark.parametrize("placed", [{}, DEGREES, {"gsd_m": 0.6}], ids=["native", "warped", "averaged"])
def test_every_way_to_mask_holds_on_every_lattice(placed, card, tmp_path):
    rgb = {"photometric": "RGB", **placed}
    files = {
        "alpha": write_image(tmp_path / "1.tif", np.concatenate([PIXELS, ALPHA]), names=(), alpha="yes", **rgb),
        "alpha by tag": write_image(
            tmp_path / "2.tif", np.concatenate([PIXELS, ALPHA]), names=(*RGB, "band 4"), alpha="yes", **rgb
        ),
        "valid band": write_image(tmp_path / "3.tif", np.concatenate([PIXELS, ALPHA]), names=(*RGB, "valid"), **placed),
        "nodata": write_image(tmp_path / "4.tif", HOLED, nodata=0, **placed),
        "internal mask": masked(write_image(tmp_path / "5.tif", PIXELS, **placed), SEEN, internal=True),
        "mask file": masked(write_image(tmp_path / "6.tif", PIXELS, **placed), SEEN, internal=False),
        "mask and nodata": masked(write_image(tmp_path / "7.tif", PIXELS, nodata=0, **placed), SEEN, internal=True),
        "black, nothing stated": write_image(tmp_path / "8.tif", HOLED, **placed),
        "a band without data": write_image(
            tmp_path / "10.tif", np.concatenate([HOLED[:1], PIXELS[1:]]), nodata=0, **placed
        ),
    }
    for name, path in files.items():
        image, valid = valid_of(path, card)
        size = NX / image.shape[1]
        hidden = 1 - valid[2:-2, 2:-2].mean()
        if placed == {}:
            np.testing.assert_array_equal(valid, SEEN, err_msg=name)
        elif size > 2 and "nothing" in name:
            continue  # averaged to 18 x 24 pixels, the hole is smaller than a void
        elif "without" not in name or size < 2:
            assert hidden == pytest.approx(1 - SEEN[2:-2, 2:-2].mean(), abs=0.06), name


def test_near_infrared_that_is_tagged_alpha_hides_nothing(card, tmp_path):
    four = np.concatenate([PIXELS, NIR])
    for name, names in (("named", (*RGB, "Near Infrared")), ("unnamed", ())):
        path = write_image(tmp_path / f"{name}.tif", four, names=names, photometric="RGB", alpha="yes")
        assert valid_of(path, card)[1].all(), name


def test_near_infrared_tagged_alpha_that_must_be_warped_says_how_to_tag_it(card, tmp_path):
    four = np.concatenate([PIXELS, NIR])
    path = write_image(tmp_path / "a.tif", four, names=(), photometric="RGB", alpha="yes", **DEGREES)
    with pytest.raises(ModelContractError, match=naming("a.tif", "alpha", "rio edit-info", "undefined")):
        open_image(path, card)
    subprocess.run(
        [RIO, "edit-info", path, "--colorinterp", "red,green,blue,undefined"], check=True, capture_output=True
    )  # the advice helps
    assert valid_of(path, card)[1].mean() > 0.9


def test_half_transparent_ground_is_seen_from_half_on(card, tmp_path):
    alpha = np.full((1, NY, NX), 255, np.uint8)
    alpha[:, :, :20], alpha[:, :, 20:40] = 60, 200
    path = write_image(tmp_path / "a.tif", np.concatenate([PIXELS, alpha]), names=(), photometric="RGB", alpha="yes")
    valid = valid_of(path, card)[1]
    assert not valid[:, :20].any()
    assert valid[:, 20:].all()


def test_a_nodata_tag_that_no_pixel_can_have_marks_nothing(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS)
    raw = path.read_bytes()
    with rasterio.open(path, "r+") as file:
        file.nodata = 99
    tagged = path.read_bytes().replace(b"99\x00", b"-9\x00")
    assert tagged != raw
    path.write_bytes(tagged)
    assert valid_of(path, card)[1].all()


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (1, {}, ("grey",)),
        (2, {}, ("grey",)),
        (3, {"photometric": "MINISBLACK"}, ("no names", "rio edit-info", "red,green,blue")),
    ],
)
def test_colours_that_are_not_named_say_what_helps(count, options, words, card, tmp_path):
    path = write_image(tmp_path / "a.tif", np.tile(PIXELS, (2, 1, 1))[:count], names=(), **options)
    with pytest.raises(ModelContractError, match=naming("a.tif", "red", *words)):
        open_image(path, card)
    if count == 3:
        subprocess.run([RIO, "edit-info", path, "--colorinterp", "red,green,blue"], check=True)
        open_image(path, card)


def test_a_palette_is_no_colour_image(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS[:1] // 64, names=(), photometric="palette")
    with quiet(), rasterio.open(path, "r+") as file:
        file.write_colormap(1, {i: (60 * i, 50, 40, 255) for i in range(4)})
    with pytest.raises(ModelContractError, match=naming("a.tif", "palette", "gdal_translate -expand rgb")):
        open_image(path, card)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_other_types_are_refused_with_what_helps(dtype, card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS.astype(dtype))
    with pytest.raises(ModelContractError, match=naming("a.tif", dtype, "8-bit")):
        open_image(path, card)


def test_the_type_of_bands_that_are_not_read_does_not_matter(card, tmp_path):
    path = tmp_path / "a.vrt.tif"
    write_image(path, PIXELS)
    assert valid_of(path, card)[1].all()


def test_the_hash_covers_what_lies_beside_the_image(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS)
    alone = content_sha256(path)
    assert sidecars(path) == []
    masked(path, SEEN, internal=False)
    with_mask = content_sha256(path)
    masked(path, ~SEEN, internal=False)
    assert [p.name for p in sidecars(path)] == ["a.tif.msk"]
    assert len({alone, with_mask, content_sha256(path)}) == 3
    (tmp_path / "a.tif.msk").unlink()
    assert content_sha256(path) == alone
    (tmp_path / "unrelated.tif.msk").write_bytes(b"x")
    assert content_sha256(path) == alone
    with quiet(), rasterio.open(path, "r") as file:
        assert file.files == [str(path)]


def test_a_mask_beside_the_image_is_opened_as_a_geotiff_only(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS)
    (tmp_path / "a.tif.msk").write_text("<VRTDataset rasterXSize='80' rasterYSize='60'></VRTDataset>")
    with pytest.raises(AssetReadError, match=naming("a.tif", "a.tif.msk", "GeoTIFF")):
        open_image(path, card)


def test_statistics_that_a_viewer_wrote_do_not_change_the_hash(tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS)
    alone = content_sha256(path)
    beside = tmp_path / "a.tif.aux.xml"
    band = "<PAMDataset><PAMRasterBand band='1'>{}</PAMRasterBand></PAMDataset>"
    beside.write_text(band.format("<Metadata><MDI key='STATISTICS_MAXIMUM'>9</MDI></Metadata>"))
    assert content_sha256(path) == alone
    beside.write_text(band.format("<NoDataValue>7</NoDataValue>"))
    assert content_sha256(path) != alone


@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_a_block_without_one_band_was_not_looked_at(interleave, card, tmp_path):
    pixels = PIXELS.copy()
    pixels[2, :, :40] = 0
    path = write_image(tmp_path / "a.tif", pixels, interleave=interleave)
    valid = valid_of(path, card)[1]
    assert valid[:, 40:].all()
    assert not valid[:, :40].any()


def test_a_damaged_image_with_an_alpha_band_is_refused_in_one_line(card, tmp_path):
    path = write_image(tmp_path / "a.tif", np.concatenate([PIXELS, ALPHA]), names=(), photometric="RGB", alpha="yes")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(AssetReadError, match=naming("a.tif", "truncated")):
        open_image(path, card)
