"""Georeferences as files have them: the same picture at the same place, or one line that helps."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from overwatt.aoi.errors import GridError, ModelContractError
from overwatt.aoi.geodesy import outline_m2, to_lonlat
from overwatt.models.detector.card import load_card
from overwatt.workflows.io.images import open_image
from overwatt.workflows.io.raster_checks import quiet
from tests.support import naming, write_image

NY, NX = 60, 80
PIXELS = np.random.default_rng(11).integers(20, 220, (3, NY, NX), dtype=np.uint8)
SMOOTH = np.broadcast_to(np.linspace(40, 200, NX)[None, None], (3, NY, NX)).astype(np.uint8)
UTM = Affine(2, 0, 500_000, 0, -2, 4_984_000)
ENGINEERING = 'LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1]]'
MOON = (
    'GEOGCS["Moon 2000",DATUM["D_Moon_2000",SPHEROID["Moon_2000_IAU_IAG",1737400,0]],'
    'PRIMEM["Reference",0],UNIT["degree",0.0174532925199433]]'
)
RIO = str(Path(sys.executable).parent / "rio")


@pytest.fixture(scope="module")
def card(weights):
    return load_card(weights)


def whole(image):
    values, valid = image.read(0, 0, *image.shape)
    return np.rint(values * 255).astype(np.uint8), valid


@pytest.mark.parametrize("turn", ["south-up", "east-west", "both"])
def test_mirrored_grids_give_the_picture_of_the_upright_one(turn, card, tmp_path):
    pixels, transform = PIXELS, UTM
    if turn != "east-west":
        pixels, transform = pixels[:, ::-1], transform @ Affine(1, 0, 0, 0, -1, NY)
    if turn != "south-up":
        pixels, transform = pixels[:, :, ::-1], transform @ Affine(-1, 0, NX, 0, 1, 0)
    image = open_image(write_image(tmp_path / "a.tif", pixels, transform=transform), card)
    upright = open_image(write_image(tmp_path / "b.tif", PIXELS), card)
    assert image.geobox == upright.geobox
    for got, expected in zip(whole(image), whole(upright), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_mask_of_a_mirrored_file_is_mirrored_with_it(card, tmp_path):
    seen = np.ones((NY, NX), bool)
    seen[:20, :30] = False
    path = write_image(tmp_path / "a.tif", PIXELS[:, ::-1], transform=UTM @ Affine(1, 0, 0, 0, -1, NY))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(seen[::-1])
    np.testing.assert_array_equal(whole(open_image(path, card))[1], seen)


@pytest.mark.parametrize("angle", [3.0, 45.0, 90.0, 200.0])
def test_rotated_and_sheared_grids_cover_their_ground(angle, card, tmp_path):
    for name, change in (("r", Affine.rotation(angle)), ("s", Affine.rotation(angle) @ Affine.shear(8, 0))):
        image = open_image(write_image(tmp_path / f"{name}.tif", PIXELS, transform=UTM @ change), card)
        pixels, valid = whole(image)
        ground = valid.sum() * image.gsd_m**2
        assert ground == pytest.approx(NY * NX * 4 * abs(change.determinant), rel=0.05)
        assert pixels[:, valid].mean() == pytest.approx(PIXELS.mean(), rel=0.05)


@pytest.mark.parametrize("lon", [-60.0, 0.0, 77.47, 179.9995])
def test_degrees_are_read_on_every_meridian_and_counted_either_way(lon, card, tmp_path):
    step = 2 / 111_000
    images = []
    for turn in (0, 360):
        transform = Affine(step, 0, lon + turn, 0, -step, -17.0)
        images.append(
            open_image(write_image(tmp_path / f"{turn}.tif", SMOOTH, crs="EPSG:4326", transform=transform), card)
        )
    for image in images:
        pixels, valid = whole(image)
        assert valid.mean() > 0.9
        assert valid.sum() * image.gsd_m**2 == pytest.approx(NY * NX * 4 * np.cos(np.radians(17)) * 1.0, rel=0.05)
        line = pixels[0, image.shape[0] // 2]
        assert (np.diff(line[line > 0].astype(int)) >= 0).all()  # the gradient runs through without a seam
    assert images[0].geobox.crs == images[1].geobox.crs
    assert images[0].geobox.affine.almost_equals(images[1].geobox.affine, precision=0.05)


def test_utm_across_the_antimeridian_is_one_piece_of_ground(card, tmp_path):
    east, north = Transformer.from_crs("OGC:CRS84", "EPSG:32701", always_xy=True).transform(180.0, -17.0)
    transform = Affine(2, 0, east - NX, 0, -2, north)
    image = open_image(write_image(tmp_path / "a.tif", PIXELS, crs="EPSG:32701", transform=transform), card)
    assert whole(image)[1].all()
    (outline,) = to_lonlat([shapely.box(0, 0, NX, NY)], image.geobox.affine, str(image.geobox.crs))
    assert outline.geom_type == "MultiPolygon"
    assert outline_m2(outline) == pytest.approx(NX * NY * 4, rel=0.01)


def test_control_points_on_a_grid_place_the_image_and_bent_ones_say_how_to_warp(card, tmp_path):
    def points(bend):
        at = [(r, c) for r in (0, 30, 60) for c in (0, 40, 80)]
        return [
            GroundControlPoint(row=r, col=c, x=(UTM @ (c, r))[0] + bend * (c / 80) ** 2, y=(UTM @ (c, r))[1])
            for r, c in at
        ]

    path = write_image(tmp_path / "a.tif", PIXELS, crs=None)
    with quiet(), rasterio.open(path, "r+") as file:
        file.gcps = (points(0.0), CRS.from_epsg(32626))
    np.testing.assert_array_equal(whole(open_image(path, card))[0], PIXELS)
    with quiet(), rasterio.open(path, "r+") as file:
        file.gcps = (points(40.0), CRS.from_epsg(32626))
    with pytest.raises(GridError, match=naming("a.tif", "control points", "rio warp")):
        open_image(path, card)
    # the advice helps
    out = tmp_path / "warped.tif"
    subprocess.run([RIO, "warp", path, out, "--dst-crs", "EPSG:32626"], check=True, capture_output=True)
    assert whole(open_image(out, card))[1].any()


def test_a_height_in_the_crs_does_not_matter(card, tmp_path):
    for name, crs in (("compound", "EPSG:32626+5773"), ("3d", "EPSG:4979")):
        transform = UTM if name == "compound" else Affine(2e-5, 0, -27, 0, -1.8e-5, 45)
        image = open_image(write_image(tmp_path / f"{name}.tif", PIXELS, crs=crs, transform=transform), card)
        assert str(image.geobox.crs) == "EPSG:32626"
        assert whole(image)[1].mean() > 0.9
    assert open_image(tmp_path / "compound.tif", card).gsd_m == pytest.approx(2.0, rel=0.001)


@pytest.mark.parametrize(
    ("crs", "transform", "words"),
    [
        (ENGINEERING, UTM, ("no place on the Earth", "rio edit-info", "EPSG:2154")),
        (MOON, Affine(2e-5, 0, -27, 0, -1.8e-5, 45), ("Moon", "Earth")),
        ("EPSG:32626", None, ("EPSG:32626", "no position", "-a_ullr")),
        (None, UTM, ("position", "no CRS", "rio edit-info a.tif --crs EPSG:…")),
        ("EPSG:4326", Affine(2e-5, 0, -27, 0, -1.8e-5, 120), ("Earth",)),
        ("EPSG:32626", Affine(0, 0, 5e5, 0, 0, 5e6), ("Earth",)),
    ],
)
def test_a_georeference_that_places_nothing_is_named_with_what_helps(crs, transform, words, card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS, crs=crs, transform=transform)
    with pytest.raises(GridError, match=naming("a.tif", *words)):
        open_image(path, card)


def test_the_advice_for_a_missing_crs_helps(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS, crs=None, transform=UTM)
    subprocess.run([RIO, "edit-info", path, "--crs", "EPSG:32626"], check=True, capture_output=True)
    assert str(open_image(path, card).geobox.crs) == "EPSG:32626"
    # a world file places a PNG, and nothing says in which CRS
    with rasterio.open(path) as file, quiet():
        picture = tmp_path / "p.png"
        with rasterio.open(picture, "w", driver="PNG", count=3, height=NY, width=NX, dtype="uint8") as out:
            out.write(file.read())
    picture.with_suffix(".pgw").write_text("2\n0\n0\n-2\n500001\n4983999\n")
    with pytest.raises(GridError, match=naming("p.png", "rio convert p.png p.tif", "rio edit-info p.tif")):
        open_image(picture, card)
    tiff = tmp_path / "p.tif"
    subprocess.run([RIO, "convert", picture, tiff], check=True, capture_output=True)
    subprocess.run([RIO, "edit-info", tiff, "--crs", "EPSG:32626"], check=True, capture_output=True)
    assert open_image(tiff, card).geobox.affine == UTM


def test_rational_polynomials_alone_need_the_ground(card, tmp_path):
    rpc = {
        "HEIGHT_OFF": "100", "HEIGHT_SCALE": "500", "LAT_OFF": "45", "LAT_SCALE": "0.1",
        "LINE_OFF": "30", "LINE_SCALE": "30", "LONG_OFF": "-27", "LONG_SCALE": "0.1",
        "SAMP_OFF": "40", "SAMP_SCALE": "40",
        "LINE_NUM_COEFF": "0 0 -1" + " 0" * 17, "LINE_DEN_COEFF": "1" + " 0" * 19,
        "SAMP_NUM_COEFF": "0 1" + " 0" * 18, "SAMP_DEN_COEFF": "1" + " 0" * 19,
    }  # fmt: skip
    path = write_image(tmp_path / "a.tif", PIXELS, crs=None)
    with quiet(), rasterio.open(path, "r+") as file:
        file.update_tags(ns="RPC", **rpc)
    with pytest.raises(GridError, match=naming("a.tif", "RPC", "gdalwarp -rpc")):
        open_image(path, card)
    assert open_image(path, card, gsd_m=2.0).geobox is None  # in pixels it can be looked at


@pytest.mark.parametrize("gsd_m", [0.2499, 0.25, 2.91])
def test_nominal_ground_sizes_are_accepted(gsd_m, card, tmp_path):
    """10 cm of a UTM map are 9.996 cm of ground, and the other way round."""
    open_image(write_image(tmp_path / "a.tif", np.tile(PIXELS, (1, 3, 3)), gsd_m=gsd_m), card)


def test_feet_are_not_metres(card, tmp_path):
    transform = Affine(6.5616797, 0, 11_800_000, 0, -6.5616797, 7_000_000)  # Virginia North, US survey feet
    image = open_image(write_image(tmp_path / "a.tif", PIXELS, crs="EPSG:2283", transform=transform), card)
    assert image.source_gsd_m == pytest.approx(2.0, rel=0.01)
    assert str(image.geobox.crs).startswith("EPSG:326")
    assert whole(image)[1].mean() > 0.9


def test_both_sides_of_a_pixel_must_fit_the_weights(card, tmp_path):
    path = write_image(tmp_path / "a.tif", PIXELS, transform=Affine(0.5, 0, 500_000, 0, -8, 4_984_000))
    with pytest.raises(ModelContractError, match=naming("a.tif", "0.25-2.9")):
        open_image(path, card)  # 2 m on average, and 8 m one way


@pytest.mark.parametrize("gsd_m", [0.31, 0.47, 1.1])
def test_without_a_place_a_window_is_a_piece_of_the_whole_too(gsd_m, card, tmp_path):
    image = open_image(write_image(tmp_path / "a.tif", np.tile(PIXELS, (1, 4, 4)), crs=None), card, gsd_m=gsd_m)
    values, valid = image.read(0, 0, *image.shape)
    rng = np.random.default_rng(0)
    for _ in range(20):
        y0, x0 = (int(rng.integers(0, n - 1)) for n in image.shape)
        y1, x1 = (int(rng.integers(a + 1, n + 1)) for a, n in zip((y0, x0), image.shape, strict=True))
        part, ok = image.read(y0, x0, y1, x1)
        np.testing.assert_array_equal(part, values[:, y0:y1, x0:x1])
        np.testing.assert_array_equal(ok, valid[y0:y1, x0:x1])
    assert valid.mean() > 0.95
    assert values[:, valid].mean() == pytest.approx(PIXELS.mean() / 255, rel=0.03)
