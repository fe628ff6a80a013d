"""Imagery files of docs/howto/inputs.md: each is made and read, and the ground that counts is measured."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from overwatt.aoi.errors import AssetReadError
from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from overwatt.workflows.io.images import check_any_valid, open_image
from overwatt.workflows.io.raster_checks import quiet
from tests.inputs_page import each, holds, same_rows
from tests.support import UTM_26N, corrupt_block, write_image

SECTION = "Imagery files"
CARD = load_card(DEFAULT_WEIGHTS)
NY, NX, GSD_M = 120, 160, 2.0
UTM = Affine(GSD_M, 0, 500_000, 0, -GSD_M, 4_984_000)
STEP = GSD_M / 111_320  # of a grid in degrees, at the equator of its meridian
ALPHA = np.full((1, NY, NX), 255, np.uint8)
ALPHA[:, :, :80] = 0
WEST = np.zeros((NY, NX), bool)
WEST[:, :80] = True
ENGINEERING = 'LOCAL_CS["RGF93 v1 / Lambert-93",UNIT["metre",1]]'
MOON = (
    'GEOGCS["Moon 2000",DATUM["D_Moon_2000",SPHEROID["Moon_2000",1737400,0]],'
    'PRIMEM["Reference",0],UNIT["degree",0.0174532925199433]]'
)
RPC = {
    "HEIGHT_OFF": "100", "HEIGHT_SCALE": "500", "LAT_OFF": "45", "LAT_SCALE": "0.1", "LINE_OFF": "30",
    "LINE_SCALE": "30", "LONG_OFF": "-27", "LONG_SCALE": "0.1", "SAMP_OFF": "40", "SAMP_SCALE": "40",
    "LINE_NUM_COEFF": "0 0 -1" + " 0" * 17, "LINE_DEN_COEFF": "1" + " 0" * 19,
    "SAMP_NUM_COEFF": "0 1" + " 0" * 18, "SAMP_DEN_COEFF": "1" + " 0" * 19,
}  # fmt: skip


def lonlat(crs, transform, shape):
    """Longitude and latitude (y, x) of the pixel centres of a grid."""
    col, row = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = transform.a * col + transform.b * row + transform.c, transform.d * col + transform.e * row + transform.f
    return Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(x, y)


def colours(lon, lat, middle):
    """Colours that tell every place apart: red grows to the east, green to the north, blue stays."""
    east_m = ((lon - middle[0] + 180) % 360 - 180) * 111_320 * np.cos(np.radians(middle[1]))
    north_m = (lat - middle[1]) * 111_320
    red, green = (np.clip(128 + d / 4, 20, 230) for d in (east_m, north_m))
    return np.stack([red, green, np.full_like(red, 90)]).round().astype(np.uint8)


def middle_of(crs, transform, shape):
    lon, lat = lonlat(crs, transform, shape)
    return float(lon[shape[0] // 2, shape[1] // 2]), float(lat[shape[0] // 2, shape[1] // 2])


class Picture:
    """A picture of the ground on a grid, to be stored with any georeference, and to be found again."""

    def __init__(self, crs=UTM_26N, transform=UTM, shape=(NY, NX)):
        self.crs, self.transform = crs, transform
        self.middle = middle_of(crs, transform, shape)
        self.pixels = colours(*lonlat(crs, transform, shape), self.middle)

    def stored(self, path, pixels=None, **profile):
        """Write it as a GeoTIFF; `profile` may say something else of crs and transform."""
        pixels = self.pixels if pixels is None else pixels
        return write_image(path, pixels, **{"crs": self.crs, "transform": self.transform, "block": 16, **profile})

    def seen(self, path, share=1.0, ground_m2=NY * NX * GSD_M**2, **options):
        """Read it all: `share` of its ground counts, every pixel that counts has the colours of its place."""
        image = open_image(path, CARD, **options)
        check_any_valid(image)
        values, valid = image.read(0, 0, *image.shape)
        assert valid.sum() * image.gsd_m**2 / ground_m2 == pytest.approx(share, abs=0.04)
        if image.geobox is not None:
            box = image.geobox
            expected = colours(*lonlat(str(box.crs), box.affine, box.shape), self.middle)
            off = np.abs(values * 255 - expected)[:, valid]
            assert np.quantile(off, 0.99) < 4  # 16 m
        return ("read" if share == 1 else "read in part"), ""


FLAT = Picture()


def change(path, mask=None, internal=True, points=None, rpc=None, colours=None):
    """Change a file: its mask (true is hidden), control points, rational polynomials, colour interpretation."""
    with quiet(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(path, "r+") as file:
        if mask is not None:
            file.write_mask(~mask)
        if points is not None:
            file.gcps = points
        if rpc:
            file.update_tags(ns="RPC", **rpc)
        if colours:
            file.colorinterp = colours
    return path


PLACE = CRS.from_epsg(32626)


def points(bend_m=0.0, crs=PLACE):
    at = [(r, c) for r in (0, 60, 120) for c in (0, 80, 160)]
    found = [(r, c, *(UTM @ (c, r))) for r, c in at]
    return [GroundControlPoint(row=r, col=c, x=x + bend_m * (c / NX) ** 2, y=y) for r, c, x, y in found], crs


def by_points(bend_m):
    return lambda d: FLAT.seen(change(FLAT.stored(d / "a.tif", crs=None, transform=None), points=points(bend_m)))


def on(crs, transform, **options):
    """A picture on another grid, stored as it is, and read."""
    return lambda d: (p := Picture(crs, transform)).seen(p.stored(d / "a.tif"), **options)


def placed(crs, transform, **profile):
    return lambda d: FLAT.seen(FLAT.stored(d / "a.tif", crs=crs, transform=transform, **profile))


def holed(value, where, pixels=None, share=0.5, picture=FLAT, **profile):
    """The picture with `value` in some of its pixels."""

    def check(folder):
        pixels = np.where(where, np.asarray(value, np.uint8), picture.pixels)
        return picture.seen(picture.stored(folder / "a.tif", pixels, **profile), share, pixels[0].size * GSD_M**2)

    return check


def turned(folder):
    mirror = UTM @ Affine(-1, 0, NX, 0, -1, NY)
    return FLAT.seen(FLAT.stored(folder / "a.tif", FLAT.pixels[:, ::-1, ::-1], transform=mirror))


def picture_file(driver, suffix, read=True, **options):
    def check(folder):
        with (
            quiet(),
            rasterio.open(
                folder / f"a{suffix}", "w", driver=driver, count=3, height=NY, width=NX, dtype="uint8", **options
            ) as file,
        ):
            file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
            file.write(FLAT.pixels)
        return FLAT.seen(folder / f"a{suffix}") if read else None

    return check


def world_file(driver, suffix, world):
    def check(folder):
        picture_file(driver, f".{suffix}", read=False)(folder)
        (folder / f"a.{suffix}.aux.xml").unlink(missing_ok=True)
        (folder / f"a.{world}").write_text("2\n0\n0\n-2\n500001\n4983999\n")
        return FLAT.seen(folder / f"a.{suffix}")

    return check


def with_alpha(fourth, **profile):
    def check(folder):
        path = FLAT.stored(folder / "a.tif", np.concatenate([FLAT.pixels, fourth]), names=(), photometric="RGB",
                           alpha="yes", **profile)  # fmt: skip
        return FLAT.seen(path, 0.5 if fourth is ALPHA else 1.0)

    return check


def in_degrees(fourth, mask=None):
    def check(folder):
        picture = Picture("EPSG:4326", Affine(STEP, 0, -27, 0, -STEP, 0.01))
        path = picture.stored(folder / "a.tif", np.concatenate([picture.pixels, fourth]), names=(), photometric="RGB",
                              alpha="yes")  # fmt: skip
        if mask is not None:
            change(path, mask, internal=False)
        return picture.seen(path, 0.5 if fourth is ALPHA else 1.0)

    return check


NIR = np.random.default_rng(3).integers(0, 255, (1, NY, NX), dtype=np.uint8)


def masked(internal, picture=FLAT):
    return lambda d: picture.seen(change(picture.stored(d / "a.tif"), WEST, internal), 0.5)


def not_a_mask(folder):
    path = FLAT.stored(folder / "a.tif")
    (folder / "a.tif.msk").write_text("<VRTDataset/>")
    return FLAT.seen(path)


def sparse(folder):
    path = folder / "a.tif"
    profile = {"driver": "GTiff", "count": 3, "height": 128, "width": 256, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", **profile, crs=UTM_26N, transform=UTM, tiled=True, blockxsize=128, blockysize=128,
                       SPARSE_OK=True) as file:  # fmt: skip
        picture = Picture(shape=(128, 256))
        file.write(picture.pixels[:, :, 128:], window=((0, 128), (128, 256)))
    return picture.seen(path, 0.5, 128 * 256 * GSD_M**2)


def fine(folder):
    picture = Picture(transform=Affine(0.3, 0, 500_000, 0, -0.3, 4_984_000), shape=(400, 400))
    image = open_image(picture.stored(folder / "a.tif"), CARD)
    assert image.gsd_m == 0.6
    return picture.seen(folder / "a.tif", ground_m2=120 * 120)


def truncated(folder):
    path = FLAT.stored(folder / "a.tif", compress="none")
    path.write_bytes(path.read_bytes()[:-9000])
    return FLAT.seen(path)


def damaged(folder):
    path = FLAT.stored(folder / "a.tif")
    corrupt_block(path, 1, 1)
    image = open_image(path, CARD)
    assert image.read(64, 64, 120, 160)[1].all()
    with pytest.raises(AssetReadError) as raised:
        image.read(0, 0, 32, 32)
    return "read in part", str(raised.value)


def bomb(folder):
    profile = {"driver": "GTiff", "count": 3, "height": 250_000, "width": 250_000, "dtype": "uint8"}
    with rasterio.open(folder / "a.tif", "w", **profile, crs=UTM_26N, transform=UTM, tiled=True, blockxsize=8192,
                       blockysize=8192, SPARSE_OK=True, photometric="RGB", BIGTIFF="YES"):  # fmt: skip
        pass
    return FLAT.seen(folder / "a.tif")


def other_format(head):
    def check(folder):
        (folder / "a.img").write_bytes(head)
        return FLAT.seen(folder / "a.img")

    return check


def other_bands(folder):
    four = np.concatenate([FLAT.pixels[::-1], NIR])
    return FLAT.seen(FLAT.stored(folder / "a.tif", four, names=("Blue", "green", "RED", "near infrared")))


def palette(folder):
    path = FLAT.stored(folder / "a.tif", FLAT.pixels[:1] // 64, names=(), photometric="palette")
    with quiet(), rasterio.open(path, "r+") as file:
        file.write_colormap(1, {i: (60 * i, 50, 40, 255) for i in range(4)})
    return FLAT.seen(path)


def small_dark(folder):
    where = np.zeros((NY, NX), bool)
    where[40:54, 40:54] = True  # 28 m
    image = open_image(FLAT.stored(folder / "a.tif", np.where(where, np.uint8(0), FLAT.pixels)), CARD)
    assert image.read(0, 0, NY, NX)[1].all()
    return "read", ""


WIDE = Picture(shape=(300, 300))
FAR_WEST = np.arange(300)[None, :] < np.full((300, 1), 150)  # 300 m
HALL = np.zeros((300, 300), bool)
HALL[100:200, 100:200] = True  # 200 m


def overexposed(folder):
    image = open_image(WIDE.stored(folder / "a.tif", np.where(HALL, np.uint8(255), WIDE.pixels)), CARD)
    assert image.read(0, 0, 300, 300)[1].all()
    return "read", ""


def grey_collar(folder):
    image = open_image(FLAT.stored(folder / "a.tif", np.where(WEST, np.uint8(128), FLAT.pixels)), CARD)
    assert image.read(0, 0, NY, NX)[1].all()
    return "read", ""


def clipped_to_a_roof(folder):
    picture = Picture(shape=(140, 140))
    return picture.seen(picture.stored(folder / "a.tif", np.full((3, 140, 140), 254, np.uint8)))


def scattered_nodata(folder):
    pixels = FLAT.pixels.copy()
    pixels[0, 1::7, 1::9] = 0  # red is 0 in dark places
    image = open_image(FLAT.stored(folder / "a.tif", pixels, nodata=0), CARD)
    assert image.read(0, 0, NY, NX)[1].all()
    return "read", ""


def blue_block(folder):
    pixels = FLAT.pixels.copy()
    pixels[2, :, :80] = 0
    return FLAT.seen(FLAT.stored(folder / "a.tif", pixels), 0.5)


def photo(folder):
    path = FLAT.stored(folder / "a.tif", crs=None, transform=None)
    return FLAT.seen(path, gsd_m=GSD_M, require_crs=False)


RGBA = np.concatenate([FLAT.pixels, ALPHA])
CHECKS = {
    "8-bit GeoTIFF with red, green, blue in UTM, or in degrees: -180 to 180, 0 to 360, across 180° E": each(
        on(UTM_26N, UTM),
        on("EPSG:4326", Affine(STEP, 0, -27, 0, -STEP, 0.01)),
        on("EPSG:4326", Affine(STEP, 0, 333, 0, -STEP, 0.01)),
        on("EPSG:4326", Affine(STEP, 0, 180 - 80 * STEP, 0, -STEP, 0.01)),
    ),
    "in feet (State Plane), in Web Mercator far from the equator, with a height in its CRS": each(
        on("EPSG:2283", Affine(6.56168, 0, 11_800_000, 0, -6.56168, 7_000_000)),
        on("EPSG:3857", Affine(4, 0, 0, 0, -4, 8_399_738)),  # 60 N: a metre of the map is half a metre
        on("EPSG:32626+5773", UTM),
    ),
    "rows that run north, columns that run west, rotated or sheared grid": each(
        turned, on(UTM_26N, UTM @ Affine.rotation(30)), on(UTM_26N, UTM @ Affine.shear(10, 0))
    ),
    "PNG or JPEG 2000 that states its CRS": each(
        picture_file("PNG", ".png", crs=UTM_26N, transform=UTM),
        picture_file("JP2OpenJPEG", ".jp2", crs=UTM_26N, transform=UTM, QUALITY=100, REVERSIBLE="YES"),
    ),
    "ground control points on a regular grid, with their CRS": by_points(0.0),
    "ground control points that bend the image": by_points(80.0),
    "rational polynomials (RPC) only": lambda d: FLAT.seen(
        change(FLAT.stored(d / "a.tif", crs=None, transform=None), rpc=RPC)
    ),
    "position without CRS, also a PNG or JPEG with a world file": each(
        placed(None, UTM), world_file("PNG", "png", "pgw"), world_file("JPEG", "jpg", "jgw")
    ),
    "CRS without position, or no georeference, in a run": each(placed(UTM_26N, None), placed(None, None)),
    "no georeference, in `overwatt tiles --gsd METRES`": photo,
    "engineering CRS, CRS of another body, latitudes beyond 90° (also by exchanged axes)": each(
        placed(ENGINEERING, UTM),
        placed(MOON, Affine(STEP, 0, 1, 0, -STEP, 1)),
        placed("EPSG:4326", Affine(STEP, 0, 39, 0, -STEP, 139)),
    ),
    "bands in another order, named blue, green, red, near infrared": other_bands,
    "palette, grey image, bands without names and colours": each(
        palette,
        *(lambda d, k=k: FLAT.seen(FLAT.stored(d / "a.tif", RGBA[2 : 2 + k], names=())) for k in (1, 2)),
        lambda d: FLAT.seen(FLAT.stored(d / "a.tif", names=(), photometric="MINISBLACK")),
    ),
    "16-bit or float pixels": each(
        *(
            lambda d, t=t: FLAT.seen(FLAT.stored(d / "a.tif", FLAT.pixels.astype(t)))
            for t in ("uint16", "int16", "float32")
        )
    ),
    "transparent ground (alpha below 128), internal mask, .msk file, nodata value in all bands": each(
        with_alpha(ALPHA), in_degrees(ALPHA), masked(True), masked(False), holed(7, WEST, nodata=7)
    ),
    ".msk file that is no GeoTIFF": not_a_mask,
    "near infrared tagged as alpha, on its own pixels": with_alpha(NIR),
    "near infrared tagged as alpha, where the image must be warped": in_degrees(NIR),
    "alpha and a mask, where the image must be warped": in_degrees(ALPHA, WEST),
    "black collar without nodata (0 to 3), blocks that were not written, one band that is 0: from 32 m by 32 m": each(
        holed(0, WEST), holed(np.random.default_rng(1).integers(0, 4, (3, NY, NX)), WEST), sparse, blue_block
    ),
    "smaller dark ground, nodata in single pixels of one band": each(small_dark, scattered_nodata),
    "white collar without nodata from 256 m by 256 m": holed(255, FAR_WEST, picture=WIDE),
    "smaller white void": overexposed,
    "collar of another colour without nodata, for example grey": grey_collar,
    "pixels of 0.1 to 0.5 m": fine,
    "pixels above 4 m or below 0.1 m": each(
        *(placed(UTM_26N, Affine(m, 0, 500_000, 0, -m, 4_984_000)) for m in (4.6, 0.09))
    ),
    "nothing but nodata, black or white, also one overexposed roof from 256 m by 256 m": each(
        lambda d: FLAT.seen(FLAT.stored(d / "a.tif", FLAT.pixels * 0)),
        lambda d: FLAT.seen(FLAT.stored(d / "a.tif", FLAT.pixels * 0 + 9, nodata=9)),
        clipped_to_a_roof,
    ),
    "truncated file": truncated,
    "file with a damaged block": damaged,
    "VRT, HDF, netCDF, ECW, ENVI and other formats": each(
        *map(other_format, (b"<VRTDataset rasterXSize='9'/>", b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"ENVI\n"))
    ),
    "more than 40,000,000,000 pixels": bomb,
}


def test_the_page_and_the_checks_have_the_same_rows():
    same_rows(SECTION, CHECKS)


@pytest.mark.parametrize("given", CHECKS)
def test_an_imagery_file_fares_as_the_page_says(given, tmp_path):
    holds(SECTION, given, CHECKS[given], tmp_path)
