"""Where the pixels of a raster lie on the Earth, from any of the ways in which files say it.

In: an open dataset. Out: a `Placement`, or one line why there is none and what helps. A geotransform goes before ground
control points, these before rational polynomials; a height above the ellipsoid or the sea is left aside; degrees beyond
180 are counted from a meridian inside the image, so that no warp meets a seam.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.errors import RasterioError, TransformError
from rasterio.transform import from_gcps

from overwatt.aoi.errors import GridError
from overwatt.aoi.geodesy import GEOD, WGS84

_EQUATOR_M = 6_378_137.0  # WGS84; all ellipsoids of the Earth are within 0.1%
_EDGE_POINTS = 21  # per edge: map edges are curved in another CRS
_FIT_PX = 0.5  # control points off an affine grid by less are read through it; own choice
_EDGE_PX = 1e-6  # a border this near to a pixel edge lies on it: noise of float64 coordinates


@dataclass(frozen=True)
class Placement:
    """Pixels on the Earth.

    Attributes:
        crs: horizontal CRS, as text.
        transform: pixel (column, row) to map.
        width, height: pixels.
        changed: whether crs or transform differ from those that GDAL takes from the file.
        gsd_m: metres per pixel on the ground, in the middle.
        gsd_range_m: shortest and longest side of a pixel in the middle and the corners, on the ground.
        metric: whether a metre of the map is a metre on the ground within 1%, and pixels are square and not rotated.
    """

    crs: str
    transform: Affine
    width: int
    height: int
    changed: bool
    gsd_m: float
    gsd_range_m: tuple[float, float]
    metric: bool

    def lattice(self, gsd_m: float) -> GeoBox:
        """Return a north-up lattice over the raster.

        It is that of the raster, turned upright, if this is metric and of that size; else one of the UTM zone, on
        multiples of `gsd_m`.

        Raises:
            GridError: the raster has no finite extent there.
        """
        a = self.transform
        if self.metric and gsd_m == self.gsd_m:
            # mirror the axes that run backwards
            west, north = a.c + min(a.a, 0) * self.width, a.f + max(a.e, 0) * self.height
            return GeoBox((self.height, self.width), Affine(abs(a.a), 0, west, 0, -abs(a.e), north), self.crs)
        crs = self.crs if self.crs.startswith(("EPSG:326", "EPSG:327")) else self._zone()
        left, bottom, right, top = self.bounds(crs)
        x0, y1 = math.floor(left / gsd_m + _EDGE_PX) * gsd_m, math.ceil(top / gsd_m - _EDGE_PX) * gsd_m
        nx, ny = math.ceil((right - x0) / gsd_m - _EDGE_PX), math.ceil((y1 - bottom) / gsd_m - _EDGE_PX)
        return GeoBox((max(ny, 1), max(nx, 1)), Affine(gsd_m, 0, x0, 0, -gsd_m, y1), crs)

    def bounds(self, crs: str) -> tuple[float, float, float, float]:
        """Return (left, bottom, right, top) in another CRS.

        Raises:
            GridError: not finite there.
        """
        t = np.linspace(0, 1, _EDGE_POINTS)
        col = np.concatenate([t, t, 0 * t, 0 * t + 1]) * self.width
        row = np.concatenate([0 * t, 0 * t + 1, t, t]) * self.height
        x, y = np.array([self.transform @ (c, r) for c, r in zip(col, row, strict=True)]).T
        if crs != self.crs:
            x, y = _transformer(self.crs, crs).transform(x, y)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise GridError(f"an edge of the image lies outside the range of {crs}; crop it")
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def _zone(self) -> str:
        lon, lat = _lonlat(self.crs, [self.transform @ (self.width / 2, self.height / 2)])[0]
        if not -80.0 <= lat <= 84.0:
            return "EPSG:32661" if lat > 0 else "EPSG:32761"  # UPS north, south: metres where UTM ends
        # zones of 6 degrees from -180; EPSG 326xx north, 327xx south
        zone = int(((lon + 180) % 360) // 6) + 1
        return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def placement_of(source: rasterio.DatasetReader, name: str, what: str = "image") -> Placement | None:
    """Return where the pixels of an open dataset lie; None if the file says nothing at all.

    Raises:
        GridError: it says something, but not enough or not on the Earth; the message says what helps.
    """
    try:
        found = _georeference(source, name)
        if found is None:
            return None
        crs, transform = found
        text, transform = _unwrapped(_horizontal(crs, name), crs, transform, source.width, source.height)
        return _measured(text, transform, source, name)
    except GridError as error:
        raise GridError(what + str(error).removeprefix("image")) from error
    except (CRSError, ProjError, RasterioError, OverflowError, ValueError) as error:
        raise GridError(
            f"{what} {name}: its georeference cannot be used ({_first_line(error)}); store it anew"
        ) from error


def _georeference(source: rasterio.DatasetReader, name: str) -> tuple[rasterio.crs.CRS, Affine] | None:
    """Return CRS and geotransform as the file states them, through its control points if it has only these."""
    placed = not source.transform.is_identity
    points, points_crs = source.gcps
    if placed and source.crs is not None:
        return source.crs, source.transform
    if points and (not placed or points_crs):
        # beside control points GDAL does not give the CRS of a geotransform: theirs is meant if they agree with it
        agree = placed and points_crs and _off_px(source.transform, points) <= _FIT_PX
        return (points_crs, source.transform) if agree else _through_points(points, points_crs, name)
    if placed:
        tiff = name if source.driver == "GTiff" else f"{name.rpartition('.')[0] or name}.tif"
        first = "" if tiff == name else f"rio convert {name} {tiff}, then "
        raise GridError(
            f"image {name}: it has a position but no CRS; if you know which one its coordinates are in: "
            f"{first}rio edit-info {tiff} --crs EPSG:…"
        )
    if source.rpcs is not None:
        raise GridError(
            f"image {name}: georeferenced by rational polynomials (RPC) alone, which need the height of the ground; "
            f"orthorectify it: gdalwarp -rpc -to RPC_DEM=DEM.tif -t_srs EPSG:… {name} ortho.tif"
        )
    if source.crs is not None:
        raise GridError(
            f"image {name}: it has a CRS ({_short(source.crs)}) but no position (no geotransform, no world file); "
            "get the file with its georeference, or if you know the corners: "
            f"gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM {name}"
        )
    return None


def _through_points(points: list[Any], crs: rasterio.crs.CRS | None, name: str) -> tuple[rasterio.crs.CRS, Affine]:
    if crs is None:
        raise GridError(
            f"image {name}: its ground control points state no CRS; store them with it: "
            f"gdal_translate -a_srs EPSG:… {name} out.tif"
        )
    warp = f"rio warp {name} warped.tif --dst-crs EPSG:…"
    if len(points) < 3:
        raise GridError(f"image {name}: {len(points)} ground control points do not place it; give 3 or more")
    try:
        fit = from_gcps(points)
        rms_px = _off_px(fit, points)
    except (ValueError, TransformError, ZeroDivisionError) as error:
        raise GridError(f"image {name}: its ground control points lie on one line; give others") from error
    if not rms_px <= _FIT_PX:
        raise GridError(
            f"image {name}: its {len(points)} ground control points bend it by {rms_px:.1f} pixels; "
            f"warp it first: {warp}"
        )
    return crs, fit


def _off_px(transform: Affine, points: list[Any]) -> float:
    """Return the root mean square distance of control points from a geotransform, pixels."""
    found = np.array([(~transform) @ (p.x, p.y) for p in points])
    return float(np.sqrt(((found - [(p.col, p.row) for p in points]) ** 2).sum(1).mean()))


def _horizontal(crs: rasterio.crs.CRS, name: str) -> CRS:
    """Return the horizontal CRS on the Earth, without heights.

    Raises:
        GridError: an engineering or geocentric CRS, or one of another body.
    """
    own = CRS.from_wkt(crs.to_wkt())
    flat = own.sub_crs_list[0] if own.is_compound else own
    flat = flat.to_2d() if len(flat.axis_info) > 2 and not flat.is_geocentric else flat
    base = flat.source_crs if flat.is_bound and flat.source_crs is not None else flat
    if not (base.is_projected or base.is_geographic):
        meant = _meant(base.name)
        raise GridError(
            f"image {name}: its CRS '{base.name}' ({base.type_name}) has no place on the Earth; assign the real one: "
            f"rio edit-info {name} --crs {meant or 'EPSG:…'}" + (", if that is what its name means" if meant else "")
        )
    if base.ellipsoid is not None and abs(base.ellipsoid.semi_major_metre / _EQUATOR_M - 1) > 0.01:
        raise GridError(f"image {name}: its CRS '{base.name}' is not of the Earth; give an image of the Earth")
    return flat


def _meant(name: str) -> str | None:
    """Return the EPSG code of a projected CRS of that name."""
    try:
        code = CRS.from_user_input(name).to_epsg()
    except CRSError:
        return None
    return f"EPSG:{code}" if code else None


def _unwrapped(flat: CRS, own: rasterio.crs.CRS, transform: Affine, width: int, height: int) -> tuple[str, Affine]:
    """Return the CRS as text and the transform; degrees beyond 180 are counted from a meridian inside the image."""
    whole = CRS.from_wkt(own.to_wkt()) == flat
    text = str(own) if whole else (f"EPSG:{flat.to_epsg()}" if flat.to_epsg() else flat.to_wkt())
    if not flat.is_geographic:
        return text, transform
    lon = [(transform @ corner)[0] for corner in ((0, 0), (width, 0), (0, height), (width, height))]
    if max(lon) <= 180.0 + _EDGE_PX and min(lon) >= -180.0 - _EDGE_PX:
        return text, transform
    middle = round((max(lon) + min(lon)) / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as PROJ text a CRS loses its name and area of use, not its datum
        turned = {**flat.to_dict(), "pm": middle}
    return CRS.from_dict(turned).to_wkt(), Affine.translation(-middle, 0) @ transform


def _measured(crs: str, transform: Affine, source: rasterio.DatasetReader, name: str) -> Placement:
    width, height = source.width, source.height
    inner = 1 - 1e-9  # the last pixel, not the one behind it
    places = [(width / 2, height / 2)] + [(w * inner, h * inner) for w in (0, width - 1) for h in (0, height - 1)]
    gsd = []
    for col, row in places:
        lonlat = _lonlat(crs, [transform @ p for p in ((col, row), (col + 1, row), (col, row + 1))])
        if not np.isfinite(lonlat).all() or transform.determinant == 0:
            gsd.append((math.nan, math.nan))
            continue
        # geodesic lengths of the two pixel sides on WGS84
        gsd.append(tuple(GEOD.inv(*lonlat[0], *lonlat[k])[2] for k in (1, 2)))
    dx, dy = gsd[0]
    if not (dx > 0 and dy > 0):
        raise GridError(f"image {name}: its georeference is not on Earth; check its CRS {_short(source.crs)}")
    middle = math.sqrt(dx * dy)  # geometric mean of the two sides
    sides = [side for pair in gsd if min(pair) > 0 for side in pair]
    a = transform
    square = abs(dx / dy - 1) < 0.01 and a.b == 0 and a.d == 0
    metric = square and CRS.from_user_input(crs).is_projected and abs(middle / abs(a.a) - 1) < 0.01
    changed = crs != str(source.crs) or transform != source.transform
    return Placement(crs, transform, width, height, changed, middle, (min(sides), max(sides)), bool(metric))


def _lonlat(crs: str, points: list[tuple[float, float]]) -> np.ndarray:
    xy = np.array(points, float)
    return np.column_stack(_transformer(crs, WGS84).transform(xy[:, 0], xy[:, 1]))


def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(CRS.from_user_input(source), CRS.from_user_input(target), always_xy=True)


def _short(crs: rasterio.crs.CRS | None) -> str:
    text = str(crs)
    return text if len(text) < 60 else CRS.from_wkt(text).name


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
