"""The images of the report: basemap, chips, overview."""

import io
import math

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from shapely.geometry import Point, box

from overwatt.pipeline.report.rasters import DECLARED_RGB, OUTLINE_RGB, chip, encode, overlay, to_web_mercator
from overwatt.pipeline.tables import conform
from tests.report_data import GRID, LAT, LON, declared_rows


def frame(geometry: object, klass: str = "data_center") -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"class": [klass]}, geometry=[geometry], crs="OGC:CRS84")


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Grey, with one white block of 40 m: columns 190-209, rows 140-159."""
    rgb = np.full((3, 300, 400), 90, np.uint8)
    rgb[:, 140:160, 190:210] = 255
    return rgb, np.ones((300, 400), bool)


def block_lonlat() -> object:
    x0, y0, x1, y1 = 499600 + 380, 4983300 - 320, 499600 + 420, 4983300 - 280
    return gpd.GeoSeries([box(x0, y0, x1, y1)], crs="EPSG:32626").to_crs("OGC:CRS84")[0]


def test_basemap_lies_where_the_image_lies() -> None:
    rgb, valid = picture()
    valid[:, :100] = False
    basemap = to_web_mercator(rgb, valid, GRID)
    west, south, east, north = basemap.bounds
    corners = gpd.GeoSeries([box(*GRID.boundingbox)], crs="EPSG:32626").to_crs("OGC:CRS84")
    assert (west, south, east, north) == pytest.approx(tuple(corners.total_bounds), abs=2e-5)
    lon, lat = block_lonlat().centroid.coords[0]
    rows, cols = basemap.rgba.shape[:2]
    mercator = [math.asinh(math.tan(math.radians(v))) for v in (south, lat, north)]
    row = int((mercator[2] - mercator[1]) / (mercator[2] - mercator[0]) * rows)
    col = int((lon - west) / (east - west) * cols)
    assert basemap.rgba[row, col, 0] > 240
    assert basemap.rgba[row, col - 25, 0] < 110
    assert basemap.rgba[rows // 2, 5, 3] == 0
    assert basemap.rgba[rows // 2, cols - 60, 3] == 255
    assert Image.open(io.BytesIO(encode(basemap))).format == "WEBP"


def test_basemap_is_bounded_and_crosses_the_antimeridian() -> None:
    grid = GeoBox((50, 100), Affine(0.001, 0, 179.95, 0, -0.001, 10.0), "EPSG:4326")
    basemap = to_web_mercator(np.full((3, 50, 100), 7, np.uint8), np.ones((50, 100), bool), grid, max_px=40)
    assert max(basemap.rgba.shape[:2]) <= 40
    assert basemap.bounds == pytest.approx((179.95, 9.95, 180.05, 10.0), abs=1e-6)
    assert basemap.rgba[10, 20, 3] == 255


def near(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 60) -> np.ndarray:
    return (np.abs(pixels.astype(int) - np.array(colour)) < tolerance).all(axis=-1)


def test_chip_is_centred_to_scale_and_outlined() -> None:
    rgb, valid = picture()
    place = block_lonlat()
    shot = Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(place), place, margin_m=80.0, size_px=400)))
    assert (shot.format, shot.size) == ("JPEG", (400, 400))
    pixels = np.asarray(shot)
    magenta = near(pixels, OUTLINE_RGB["data_center"])
    rows, cols = np.nonzero(magenta)
    metres_px = 2 * 100.02 / 400  # half of 40 m and the margin, and UTM's scale of 0.9996
    assert np.ptp(cols) * metres_px == pytest.approx(40, abs=2.5)
    assert np.ptp(rows) * metres_px == pytest.approx(40, abs=2.5)
    assert (rows.mean(), cols.mean()) == pytest.approx((200, 200), abs=4)
    white = near(pixels[380:390, :200], (255, 255, 255), 40).any(axis=0)
    assert np.ptp(np.nonzero(white)[0]) * metres_px == pytest.approx(50, abs=2.5)  # the bar says 50 m


def test_chip_marks_declared_places_and_missing_imagery() -> None:
    rgb, valid = picture()
    declared = conform(declared_rows("Alder")[:1], "declared")
    spot = declared.geometry[0]
    with_it = np.asarray(Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(spot), spot, declared=declared))))
    without = np.asarray(Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(spot), spot))))
    assert near(with_it, DECLARED_RGB).sum() > 100
    assert near(without, DECLARED_RGB).sum() == 0
    far = Point(LON + 1.0, LAT)
    empty_chip = np.asarray(Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(far), far))))
    assert np.median(empty_chip) > 190


def test_chip_is_north_up_on_a_turned_grid() -> None:
    turned = GeoBox((300, 300), Affine(0, 2, 499700, 2, 0, 4982700), "EPSG:32626")
    rgb = np.full((3, 300, 300), 60, np.uint8)
    rgb[:, :, 160:] = 220  # columns run north here
    place = gpd.GeoSeries([Point(500000, 4983010)], crs="EPSG:32626").to_crs("OGC:CRS84")[0]
    shot = chip(rgb, np.ones((300, 300), bool), turned, frame(place), place, size_px=200)
    grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L"))
    assert grey[40, 60:140].mean() > 180
    assert grey[150, 60:140].mean() < 90


def test_overlay_draws_on_the_images_own_grid() -> None:
    rgb, valid = picture()
    labels = gpd.GeoDataFrame({"label": ["A <b>"]}, geometry=[block_lonlat()], crs="OGC:CRS84")
    plain = Image.open(io.BytesIO(overlay(rgb, valid, GRID, frame(block_lonlat()))))
    assert (plain.format, plain.size) == ("PNG", (400, 300))
    rows, cols = np.nonzero(near(np.asarray(plain), OUTLINE_RGB["data_center"], 5))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == pytest.approx((140, 160, 190, 210), abs=2)
    labelled = overlay(rgb, valid, GRID, frame(block_lonlat()), labels, max_px=200)
    assert Image.open(io.BytesIO(labelled)).size == (200, 150)
