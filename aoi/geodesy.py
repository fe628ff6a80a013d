"""Distances, areas and frames on the Earth, written once.

In: longitude and latitude in degrees (WGS84), or pixel polygons with their transform. Out: metres in a local
equal-area frame, unit vectors for nearest-neighbour searches, centres of geometries, lon/lat outlines. Start with
`local_frame`.

The local frame is a Lambert cylindrical equal-area projection whose standard parallel runs through the place: areas
are exact, distances good to 0.5% within 15 km below 60 degrees of latitude, the antimeridian needs no special case,
and the mapping is plain arithmetic over all vertices at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer

WGS84 = "OGC:CRS84"
"""Longitude, latitude in degrees on WGS84, in this order: the CRS of all tables."""
GEOD = Geod(ellps="WGS84")
"""Geodesic lengths and areas on the WGS84 ellipsoid (Karney 2013, through PROJ)."""
EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the WGS84 ellipsoid (IUGG: (2a + b) / 3), for chords and densities, never for a reported distance."""
DEGREE_EQUATOR_M = 111_320.0
"""A degree of longitude on the equator, m; the longest degree there is: an upper bound of what a digit reaches."""
DEGREE_LATITUDE_M = 110_574.0
"""Shortest degree of latitude on WGS84, at the equator, m: dividing by it never makes a search box too small."""

_SEMI_MAJOR_M = 6_378_137.0  # WGS84
_E2 = 6.69437999014e-3  # WGS84 first eccentricity squared


def local_frame(geometry: np.ndarray, lon0: np.ndarray | float, lat0: np.ndarray | float) -> np.ndarray:
    """Return `geometry` (lon/lat, degrees) in metres in an equal-area frame about (lon0, lat0).

    Args:
        geometry: shapely geometries, shape (n,).
        lon0: longitude of each frame's origin, degrees, scalar or (n,).
        lat0: latitude of each frame's origin and standard parallel, degrees, scalar or (n,).
    """
    geometry = np.asarray(geometry, dtype=object)
    lonlat, index = shapely.get_coordinates(geometry, return_index=True)
    origin = [np.broadcast_to(np.asarray(v, dtype=float), geometry.shape)[index] for v in (lon0, lat0)]
    xy = np.column_stack(local_xy(lonlat[:, 0], lonlat[:, 1], *origin))
    return np.asarray(shapely.set_coordinates(shapely.force_2d(geometry), xy))


def local_xy(lon: np.ndarray, lat: np.ndarray, lon0: np.ndarray, lat0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x, y of points in metres in the equal-area frame about (lon0, lat0); all (n,), degrees in.

    Snyder (1987), Map Projections: A Working Manual, USGS PP 1395, eqs. 10-13 to 10-15.
    """
    phi0 = np.radians(np.clip(lat0, -89.0, 89.0))  # the standard parallel cannot be a pole
    scale = np.cos(phi0) / np.sqrt(1.0 - _E2 * np.sin(phi0) ** 2)  # k0
    x = _SEMI_MAJOR_M * scale * np.radians((lon - lon0 + 180.0) % 360.0 - 180.0)  # shortest way round
    y = _SEMI_MAJOR_M * (_authalic_q(np.radians(lat)) - _authalic_q(phi0)) / (2.0 * scale)
    return x, y


def centres(geometry: np.ndarray) -> np.ndarray:
    """Return lon, lat of each geometry's middle, degrees, shape (n, 2); parts may lie on either side of 180.

    The middle is that of the bounding box, taken relative to the first vertex, so that an outline split at the
    antimeridian has its middle near 180 degrees and not near 0.
    """
    geometry = np.asarray(geometry, dtype=object)
    lonlat, index = shapely.get_coordinates(geometry, return_index=True)
    first = np.searchsorted(index, np.arange(len(geometry)))
    turned = (lonlat[:, 0] - lonlat[first, 0][index] + 180.0) % 360.0 - 180.0
    middle = []
    for value in (turned, lonlat[:, 1]):
        low, high = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
        middle.append((low + high) / 2.0)
    lon = (middle[0] + lonlat[first, 0] + 180.0) % 360.0 - 180.0
    return np.column_stack([lon, middle[1]])


def on_sphere(lonlat: np.ndarray, radius: float = 1.0) -> np.ndarray:
    """Return points (n, 3) on a sphere from (n, 2) degrees: chords are distances, with no seam at 180 degrees."""
    lon, lat = np.radians(lonlat).T
    return radius * np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def chord(distance_m: float) -> float:
    """Length of the chord of the unit sphere that spans a distance on the ground, for trees of `on_sphere`."""
    return 2.0 * math.sin(distance_m / EARTH_RADIUS_M / 2.0)


def to_lonlat(
    geometry: Sequence[shapely.Polygon] | np.ndarray, transform: Affine | None, crs: str | None
) -> list[shapely.Geometry]:
    """Move polygons from pixels to WGS84 longitude and latitude; without a CRS they stay in pixels.

    One that crosses 180 degrees is cut there, into parts on both sides (RFC 7946, section 3.1.9).
    """
    if crs is None or transform is None:
        return list(geometry)
    moved = shapely.transform(np.asarray(geometry, dtype=object), pixels_to_lonlat(transform, crs))
    west, _, east, _ = shapely.bounds(moved).T
    for k in np.flatnonzero(east - west > 180.0):  # nothing that lies in one image is wider
        moved[k] = _cut_at_180(moved[k])
    return list(moved)


def _cut_at_180(polygon: shapely.Geometry) -> shapely.Geometry:
    """Return a lon/lat polygon whose vertices lie on both sides of the antimeridian, cut there."""
    whole = shapely.transform(polygon, lambda xy: np.column_stack([xy[:, 0] % 360.0, xy[:, 1]]))
    whole = whole if whole.is_valid else shapely.make_valid(whole)
    parts: list[shapely.Geometry] = []
    for left, turn in ((0.0, 0.0), (180.0, 360.0)):
        side = shapely.intersection(whole, shapely.box(left, -90.0, left + 180.0, 90.0))
        side = shapely.transform(side, lambda xy, turn=turn: xy - [turn, 0.0])
        parts += [p for p in shapely.get_parts(side) if p.geom_type == "Polygon" and p.area > 0]
    return shapely.MultiPolygon(parts)


def pixels_to_lonlat(transform: Affine, crs: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that maps pixel coordinates (n, 2), x then y, to longitude and latitude (n, 2), degrees."""
    to = Transformer.from_crs(CRS.from_user_input(crs), CRS.from_user_input(WGS84), always_xy=True)

    def move(xy: np.ndarray) -> np.ndarray:
        # the six numbers of the affine transform, written out: the same arithmetic for every caller
        x = transform.a * xy[:, 0] + transform.b * xy[:, 1] + transform.c
        y = transform.d * xy[:, 0] + transform.e * xy[:, 1] + transform.f
        return np.column_stack(to.transform(x, y))

    return move


def degree_m(lat_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return metres per degree eastward and northward at latitudes: N cos(lat) and M, the radii of curvature."""
    lat = np.radians(lat_deg)
    w = 1 - _E2 * np.sin(lat) ** 2
    return np.radians(_SEMI_MAJOR_M / np.sqrt(w) * np.cos(lat)), np.radians(_SEMI_MAJOR_M * (1 - _E2) / w**1.5)


def outline_m2(geometry: shapely.Geometry) -> float:
    """Geodesic area of a lon/lat geometry, square metres."""
    return abs(float(GEOD.geometry_area_perimeter(shapely.force_2d(geometry))[0]))


def _authalic_q(phi: np.ndarray) -> np.ndarray:
    """Snyder (1987), eq. 3-12: q of the authalic latitude."""
    e, sin = math.sqrt(_E2), np.sin(phi)
    return (1.0 - _E2) * (sin / (1.0 - _E2 * sin**2) + np.arctanh(e * sin) / e)
