"""Images of the report: basemap, image chips with outlines, overview of the whole area.

In: `rgb` (3, y, x) uint8 with `valid` (y, x) bool on a GeoBox, and tables with WGS84 geometries.
Out: arrays and bytes; no file is read or written. Chips are warped into an azimuthal equidistant
projection about their own centre, so that north is up and the scale bar is correct for every grid;
the basemap into spherical Mercator, the projection in which Leaflet places images.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image, ImageDraw, ImageFont
from pyproj import Transformer
from rasterio.warp import Resampling, reproject
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.geodesy import WGS84, centres

OUTLINE_RGB = {
    "other_building": (166, 196, 168),
    "data_center": (255, 45, 170),
    "cooling_equipment": (0, 216, 255),
    "generator": (255, 140, 0),
    "substation": (170, 110, 255),
}
DECLARED_RGB = (255, 214, 10)
_NO_IMAGE_RGB = (214, 212, 206)
_INK_RGB = (22, 24, 28)
_MERCATOR_RADIUS_M = 6378137.0  # sphere of EPSG:3857, as used by Leaflet
_MIN_HALF_M = (
    100.0  # half the side of the smallest chip, so that a single building is shown with its surroundings; own choice
)
_SUPERSAMPLE = 2  # chips are drawn at twice their size and reduced, for smooth lines and letters
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Basemap:
    """An image for Leaflet to show under the map.

    Attributes:
        rgba: (y, x, 4) uint8, spherical Mercator, alpha 0 where there is no image.
        bounds: west, south, east, north, degrees; east may exceed 180 (or west fall below -180)
            if the image crosses the antimeridian.
    """

    rgba: np.ndarray
    bounds: tuple[float, float, float, float]


def to_web_mercator(rgb: np.ndarray, valid: np.ndarray, geobox: GeoBox, max_px: int = 1600) -> Basemap:
    """Warp an image to the projection of the map.

    Args:
        rgb: (3, y, x) uint8.
        valid: (y, x) bool.
        geobox: grid of both.
        max_px: largest longer side of the result, pixels; the result is never finer than the image.
    """
    rgb, valid, affine = _thin(rgb, valid, geobox.affine, 2 * max_px)
    height, width = valid.shape
    # extent from points along all four edges: they are curved in Mercator
    edge = np.linspace(0.0, 1.0, 33)
    col = np.concatenate([edge, edge, 0 * edge, 0 * edge + 1]) * width
    row = np.concatenate([0 * edge, 0 * edge + 1, edge, edge]) * height
    to_lonlat = Transformer.from_crs(geobox.crs, WGS84, always_xy=True)
    lon, lat = to_lonlat.transform(*(affine * (col, row)))
    lon0 = float(to_lonlat.transform(*(affine * (width / 2, height / 2)))[0])
    x = _MERCATOR_RADIUS_M * np.radians((lon - lon0 + 180.0) % 360.0 - 180.0)
    # spherical Mercator (Snyder 1987, USGS PP 1395, eq. 7-2): ln tan(pi/4 + lat/2) = artanh sin lat
    y = _MERCATOR_RADIUS_M * np.arctanh(np.sin(np.radians(lat)))
    west, east, south, north = float(x.min()), float(x.max()), float(y.min()), float(y.max())
    pixel = max((east - west) / width, (north - south) / height, max(east - west, north - south) / max_px)
    shape = max(1, round((north - south) / pixel)), max(1, round((east - west) / pixel))
    to = Affine((east - west) / shape[1], 0.0, west, 0.0, -(north - south) / shape[0], north)
    crs = f"+proj=merc +a={_MERCATOR_RADIUS_M} +b={_MERCATOR_RADIUS_M} +lon_0={lon0!r} +units=m +no_defs"
    rgba = _warp(rgb, valid, affine, geobox.crs, to, crs, shape)

    def degrees(x_m: float, y_m: float) -> tuple[float, float]:
        return lon0 + math.degrees(x_m / _MERCATOR_RADIUS_M), math.degrees(
            math.asin(math.tanh(y_m / _MERCATOR_RADIUS_M))
        )

    return Basemap(rgba, (*degrees(west, south), *degrees(east, north)))


def encode(basemap: Basemap) -> bytes:
    """Return the basemap as WebP bytes, with transparency."""
    out = io.BytesIO()
    Image.fromarray(basemap.rgba).save(out, "WEBP", quality=80, method=4)
    return out.getvalue()


def chip(
    rgb: np.ndarray,
    valid: np.ndarray,
    geobox: GeoBox,
    outlines: gpd.GeoDataFrame,
    place: BaseGeometry,
    *,
    margin_m: float = 80.0,
    size_px: int = 420,
    declared: gpd.GeoDataFrame | None = None,
    furniture: bool = True,
) -> bytes:
    """Return a square JPEG around `place`: north up, with outlines and a scale bar in metres.

    Args:
        rgb: (3, y, x) uint8.
        valid: (y, x) bool; elsewhere the chip is plain grey.
        geobox: grid of both.
        outlines: table `footprints`.
        place: centre or outline, WGS84 lon/lat.
        margin_m: margin around the place on each side, m.
        size_px: side of the chip, pixels.
        declared: table `declared`: outlines are dashed, points are diamonds with a circle of the position error.
        furniture: whether to draw the scale bar and the north arrow.
    """
    side = size_px * _SUPERSAMPLE
    lon, lat = (float(v) for v in centres(np.array([place], dtype=object))[0])
    crs = f"+proj=aeqd +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84 +units=m +no_defs"
    box = gpd.GeoSeries([place], crs=WGS84).to_crs(crs).total_bounds
    half_m = max(_MIN_HALF_M, float(np.abs(box).max()) + margin_m)
    metres_px = 2 * half_m / side
    to = Affine(metres_px, 0.0, -half_m, 0.0, -metres_px, half_m)
    ring = np.linspace(-half_m, half_m, 9)
    xs, ys = np.meshgrid(ring, ring)
    px, py = ~geobox.affine * Transformer.from_crs(crs, geobox.crs, always_xy=True).transform(xs, ys)
    # window of the source that covers the chip, with 8 pixels for the interpolation
    rows, cols = (
        slice(max(0, math.floor(p.min()) - 8), max(0, min(n, math.ceil(p.max()) + 8)))
        for p, n in ((py, valid.shape[0]), (px, valid.shape[1]))
    )
    picture = Image.new("RGB", (side, side), _NO_IMAGE_RGB)
    if valid[rows, cols].any():
        affine = geobox.affine * Affine.translation(cols.start, rows.start)
        rgba = _warp(rgb[:, rows, cols], valid[rows, cols], affine, geobox.crs, to, crs, (side, side))
        picture.paste(Image.fromarray(rgba).convert("RGB"), mask=Image.fromarray(rgba[..., 3]))
    draw = ImageDraw.Draw(picture)
    edges_m = [(-half_m, -half_m), (half_m, -half_m), (half_m, half_m), (-half_m, half_m)]
    corners = Transformer.from_crs(crs, WGS84, always_xy=True).transform(*np.array(edges_m, dtype=float).T)
    near = shapely.box(min(corners[0]), min(corners[1]), max(corners[0]), max(corners[1]))
    _outlines(draw, _touching(outlines, near).to_crs(crs), ~to, _SUPERSAMPLE * 2)
    if declared is not None and len(declared):
        _declared(draw, _touching(declared, near).to_crs(crs), ~to, _SUPERSAMPLE)
    if furniture:
        _furniture(draw, side, metres_px)
    out = io.BytesIO()
    picture.resize((size_px, size_px), Image.Resampling.LANCZOS).save(out, "JPEG", quality=_JPEG_QUALITY)
    return out.getvalue()


def overlay(
    rgb: np.ndarray,
    valid: np.ndarray,
    geobox: GeoBox,
    footprints: gpd.GeoDataFrame,
    labels: gpd.GeoDataFrame | None = None,
    max_px: int = 2400,
) -> bytes:
    """Return the whole image on its own grid as PNG, with outlines and labels.

    Args:
        rgb: (3, y, x) uint8.
        valid: (y, x) bool.
        geobox: grid of both.
        footprints: table `footprints`.
        labels: column `label` and WGS84 geometries; each label is written at a representative point.
        max_px: largest longer side of the result, pixels.
    """
    rgb, valid, affine = _thin(rgb, valid, geobox.affine, max_px)
    pixels = np.where(valid[..., None], np.moveaxis(rgb, 0, -1), np.array(_NO_IMAGE_RGB, np.uint8))
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(picture)
    _outlines(draw, footprints.to_crs(geobox.crs), ~affine, 2)
    if labels is not None and len(labels):
        font = ImageFont.load_default(18)
        points = labels.to_crs(geobox.crs).geometry.representative_point()
        for text, point in zip(labels["label"].astype(str), points, strict=True):
            xy = ~affine * (point.x, point.y)
            draw.text(xy, text, (255, 255, 255), font, "mm", stroke_width=3, stroke_fill=_INK_RGB)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _thin(rgb: np.ndarray, valid: np.ndarray, affine: Affine, max_px: int) -> tuple[np.ndarray, np.ndarray, Affine]:
    step = max(1, math.ceil(max(valid.shape) / max_px))
    return rgb[:, ::step, ::step], valid[::step, ::step], affine * Affine.scale(step)


def _warp(
    rgb: np.ndarray,
    valid: np.ndarray,
    affine: Affine,
    crs: object,
    to_affine: Affine,
    to_crs: str,
    shape: tuple[int, int],
) -> np.ndarray:
    """Return (y, x, 4) uint8: colours from valid pixels, alpha 0 where there are none."""
    source = np.concatenate([rgb, np.where(valid, np.uint8(255), np.uint8(0))[None]])
    out = np.zeros((4, *shape), np.uint8)
    reproject(
        np.ascontiguousarray(source),
        out,
        src_transform=affine,
        src_crs=str(crs),
        dst_transform=to_affine,
        dst_crs=to_crs,
        src_alpha=4,
        dst_alpha=4,
        resampling=Resampling.bilinear,
    )
    return np.ascontiguousarray(np.moveaxis(out, 0, -1))


def _touching(frame: gpd.GeoDataFrame, near: BaseGeometry) -> gpd.GeoDataFrame:
    return frame.iloc[np.sort(frame.sindex.query(near))]


def _lines(geometry: BaseGeometry, to_px: Affine) -> Iterable[list[tuple[float, float]]]:
    for polygon in shapely.get_parts(shapely.get_parts([geometry])):
        rings = [polygon.exterior, *polygon.interiors] if polygon.geom_type == "Polygon" else [polygon]
        for ring in rings:
            if not ring.is_empty and ring.geom_type in ("LinearRing", "LineString"):
                x, y = to_px * np.asarray(ring.coords)[:, :2].T
                yield list(zip(x.tolist(), y.tolist(), strict=True))


def _outlines(draw: ImageDraw.ImageDraw, shapes: gpd.GeoDataFrame, to_px: Affine, width: int) -> None:
    for klass, colour in OUTLINE_RGB.items():
        thin = width if klass != "other_building" else max(1, width // 2)
        for geometry in shapes.geometry[shapes["class"] == klass]:
            for line in _lines(geometry, to_px):
                draw.line(line, _INK_RGB, thin + 2, "curve")
                draw.line(line, colour, thin, "curve")


def _declared(draw: ImageDraw.ImageDraw, shapes: gpd.GeoDataFrame, to_px: Affine, scale: int) -> None:
    for geometry, error_m in zip(shapes.geometry, shapes["position_error_m"], strict=True):
        if geometry.geom_type == "Point":
            x, y = to_px * (geometry.x, geometry.y)
            r = 7 * scale
            rhomb = [(x, y - r), (x + r, y), (x, y + r), (x - r, y)]
            draw.polygon(rhomb, DECLARED_RGB, _INK_RGB, scale)
            geometry = geometry.buffer(float(error_m))
        for line in _lines(geometry, to_px):
            path = shapely.LineString(line)
            dash = 9 * scale
            starts = np.arange(0.0, min(path.length, 1e5), 2 * dash)
            ends = shapely.get_coordinates(shapely.line_interpolate_point(path, starts + dash))
            for a, b in zip(shapely.get_coordinates(shapely.line_interpolate_point(path, starts)), ends, strict=True):
                draw.line([*a, *b], _INK_RGB, 2 * scale + 2)
                draw.line([*a, *b], DECLARED_RGB, 2 * scale)


def _furniture(draw: ImageDraw.ImageDraw, side: int, metres_px: float) -> None:
    """Scale bar (1, 2 or 5 times a power of ten, at most a third of the side) and a north arrow."""
    most_m = metres_px * side / 3
    power = 10.0 ** math.floor(math.log10(most_m))
    length_m = max(n * power for n in (1, 2, 5) if n * power <= most_m)
    length, scale = length_m / metres_px, _SUPERSAMPLE
    x, y, font = 14 * scale, side - 14 * scale, ImageFont.load_default(13 * scale)
    for colour, extra in ((_INK_RGB, 2 * scale), ((255, 255, 255), 0)):
        draw.line([(x, y), (x + length, y)], colour, 3 * scale + extra)
        draw.line([(x, y - 5 * scale), (x, y + scale)], colour, 2 * scale + extra)
        draw.line([(x + length, y - 5 * scale), (x + length, y + scale)], colour, 2 * scale + extra)

    def write(xy: tuple[float, float], text: str, anchor: str) -> None:
        draw.text(xy, text, (255, 255, 255), font, anchor, stroke_width=2 * scale, stroke_fill=_INK_RGB)

    write((x + length / 2, y - 7 * scale), f"{length_m:g} m", "mb")
    nx, ny = side - 18 * scale, 12 * scale
    tip = [(0, 0), (6, 15), (0, 11), (-6, 15)]
    draw.polygon([(nx + dx * scale, ny + dy * scale) for dx, dy in tip], (255, 255, 255), _INK_RGB, scale)
    write((nx, ny + 18 * scale), "N", "mt")
