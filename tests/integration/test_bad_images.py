"""Images that cannot be used: one line that says why, exit status 2, nothing written; see test_bad_input.py."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster

from overwatt.models.detector.card import load_card
from overwatt.workflows.io.images import open_image
from tests.support import RGB, WEST_M, names, write_image

PIXELS = np.random.default_rng(0).integers(1, 255, (3, 96, 128), dtype=np.uint8)


def bad_image(kind: str, path: Path) -> Path:
    """Make a file that is no usable image."""
    if kind == "missing":
        return path
    if kind == "text":
        path.write_text("this is not an image\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "vrt":
        target = write_image(path.with_name("target.tif"), PIXELS)
        path.write_text(
            f'<VRTDataset rasterXSize="128" rasterYSize="96"><VRTRasterBand dataType="Byte" band="1">'
            f"<SimpleSource><SourceFilename>{target}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
        )
    elif kind == "no crs":
        write_image(path, PIXELS, crs=None)
    elif kind == "all nodata":
        write_image(path, np.zeros_like(PIXELS), nodata=0)
    elif kind == "all masked":
        write_image(path, np.concatenate([PIXELS, np.zeros_like(PIXELS[:1])]), names=(*RGB, "valid"))
    elif kind == "one band":
        write_image(path, PIXELS[:1], names=("panchromatic",))
    elif kind == "no names":
        write_image(path, PIXELS, names=(), photometric="minisblack")
    elif kind == "uint16":
        write_image(path, PIXELS.astype(np.uint16) * 100)
    elif kind == "10 m":
        write_image(path, PIXELS, gsd_m=10.0)
    elif kind == "5 cm":
        write_image(path, PIXELS, gsd_m=0.05)
    elif kind in ("truncated", "truncated strips", "truncated bands"):
        noise = np.random.default_rng(1).integers(1, 255, (3, 600, 600), dtype=np.uint8)
        extra = {
            "truncated": {},
            "truncated strips": {"tiled": False, "blockxsize": None, "blockysize": 16},
            "truncated bands": {"interleave": "band"},
        }
        write_image(path, noise, **extra[kind])
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    elif kind == "truncated at the end of its header":  # a COG: header first
        noise = np.random.default_rng(1).integers(1, 255, (3, 600, 600), dtype=np.uint8)
        copy_raster(write_image(path.with_name("whole.tif"), noise), path, driver="COG", blocksize=256)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    elif kind == "bomb":
        with rasterio.open(
            path, "w", driver="GTiff", count=3, dtype="uint8", width=300_000, height=300_000, tiled=True,
            blockxsize=4096, blockysize=4096, compress="deflate", SPARSE_OK=True, BIGTIFF="YES", crs="EPSG:32626",
            transform=rasterio.Affine(2, 0, WEST_M, 0, -2, 4_984_000),
        ) as out:  # fmt: skip
            out.descriptions = RGB
    elif kind == "one huge tile":
        with rasterio.open(
            path, "w", driver="GTiff", count=3, dtype="uint8", width=24_000, height=24_000, tiled=True,
            blockxsize=24_000, blockysize=24_000, interleave="band", compress="deflate", SPARSE_OK=True,
            crs="EPSG:32626", transform=rasterio.Affine(2, 0, WEST_M, 0, -2, 4_984_000),
        ) as out:  # fmt: skip
            out.descriptions = RGB
    return path


FORMATS = ("GeoTIFF", "PNG", "JPEG", "JPEG 2000")


IMAGES = {  # what the message names, next to the file
    "missing": (),
    "text": FORMATS,
    "empty": FORMATS,
    "vrt": FORMATS,
    "no crs": ("CRS",),
    "all nodata": ("nodata",),
    "all masked": ("nodata",),
    "one band": ("red, green, blue", "grey"),
    "no names": ("red, green, blue", "no names", "rio edit-info"),
    "uint16": ("uint16", "display_uint8"),
    "10 m": ("10.004 m", "0.25-2.9 m"),
    "5 cm": ("0.05002 m", "0.25-2.9 m"),
    "truncated": ("truncated",),
    "truncated strips": ("truncated",),
    "truncated bands": ("truncated",),
    "truncated at the end of its header": ("truncated", "row 256", "column 0"),
    "bomb": ("300000 x 300000", "40,000,000,000"),
    "one huge tile": ("576,000,000", "400,000,000"),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_that_cannot_be_used(kind, refused, workflow, tmp_path):
    path = bad_image(kind, tmp_path / "image.tif")
    line = refused("run", workflow(path))
    assert names(line, "image.tif", *IMAGES[kind]), line


@pytest.mark.parametrize("kind", ["missing", "text", "all nodata", "one band", "truncated"])
def test_detect_refuses_the_same(kind, refused, weights, tmp_path):
    line = refused("detect", bad_image(kind, tmp_path / "image.tif"), "--weights", weights)
    assert names(line, "image.tif", *IMAGES[kind]), line


def picture(path: Path) -> None:
    """Write noise as PNG, JPEG or JPEG 2000, by the name."""
    noise = np.random.default_rng(1).integers(1, 255, (3, 300, 300), dtype=np.uint8)
    whole = write_image(path.with_name("whole.tif"), noise, names=(), photometric="RGB")
    driver = {".png": "PNG", ".jpg": "JPEG", ".jp2": "JP2OpenJPEG"}[path.suffix]
    copy_raster(whole, path, driver=driver)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.jp2"])
def test_a_truncated_picture(name, refused, weights, tmp_path):
    path = tmp_path / name
    picture(path)
    open_image(path, load_card(weights), gsd_m=2.0)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    line = refused("detect", path, "--gsd", "2", "--weights", weights)
    assert names(line, name, "truncated"), line


def test_detect_asks_for_the_ground_sampling_distance(refused, weights, tmp_path):
    line = refused("detect", bad_image("no crs", tmp_path / "image.tif"), "--weights", weights)
    assert "--gsd" in line


def test_one_bad_image_among_good_ones_stops_detect_before_it_writes(refused, weights, small_image, tmp_path):
    line = refused("detect", small_image, bad_image("uint16", tmp_path / "image.tif"), "--weights", weights)
    assert "image.tif" in line


def test_a_ground_sampling_distance_below_zero(refused, small_image, weights):
    assert names(refused("detect", small_image, "--gsd", "-1", "--weights", weights), "--gsd", "-1")
