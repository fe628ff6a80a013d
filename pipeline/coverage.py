"""What was looked at: which share of a declared place was imaged and screened.

In: the table `looked_at`, whose geometry is the part of each cell that was imaged and screened,
and places (outlines, or points with a position error). Out: shares between 0 and 1, and the
area that was looked at. A cell that failed or was not screened counts as not looked at:
nothing that was not looked at is ever reported as empty.

Everything is measured in a Lambert cylindrical equal-area frame whose standard parallel runs
through the place: areas are exact, distances good to 0.5% within 15 km below 60 degrees of
latitude, the antimeridian needs no special case, and the mapping is plain arithmetic over all
vertices at once, so thousands of places take a second rather than thousands of projections.
"""

from __future__ import annotations

import math

import geopandas as gpd
import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

BASIS = "coverage only"
"""What `p_detect` rests on; goes into every list that shows it."""

_A_M = 6378137.0  # WGS84 semi-major axis
_E2 = 6.69437999014e-3  # WGS84 first eccentricity squared
_METRES_PER_DEGREE = 110574.0  # shortest degree of latitude on WGS84 (at the equator)
_MIN_RADIUS_M = 30.0  # rooftop class of position errors (docs/methods.md, section 6.1): a point is never smaller
_MAX_RADIUS_M = 50_000.0  # two sigma of the vaguest class, 25 km (docs/methods.md, section 6.1)


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
    """Return x, y of points in metres in the equal-area frame about (lon0, lat0); all (n,), degrees in."""
    phi0 = np.radians(np.clip(lat0, -89.0, 89.0))
    scale = np.cos(phi0) / np.sqrt(1.0 - _E2 * np.sin(phi0) ** 2)
    x = _A_M * scale * np.radians((lon - lon0 + 180.0) % 360.0 - 180.0)
    y = _A_M * (_authalic_q(np.radians(lat)) - _authalic_q(phi0)) / (2.0 * scale)
    return x, y


def looked_share(geometry: BaseGeometry, position_error_m: float, looked_at: gpd.GeoDataFrame) -> float:
    """Return the share of the declared place that was looked at, 0 to 1.

    The place is the outline; or, for a point, the disc of two sigma of its position error
    (86% of a Gaussian's mass; 30 m to 50 km), all of it weighted alike. An outline whose
    two-sigma error exceeds its own radius is widened by that error.

    Args:
        geometry: point or outline, lon/lat.
        position_error_m: 1-sigma position error, m.
        looked_at: table `looked_at`.
    """
    return float(looked_shares(np.array([geometry], dtype=object), np.array([position_error_m]), looked_at)[0])


def looked_shares(places: np.ndarray, position_error_m: np.ndarray, looked_at: gpd.GeoDataFrame) -> np.ndarray:
    """Return `looked_share` of many places at once, float64, shape (n,); 0 where a place is empty.

    Args:
        places: points or outlines, lon/lat, shape (n,).
        position_error_m: 1-sigma position errors, m, shape (n,).
        looked_at: table `looked_at`.
    """
    places = np.asarray(places, dtype=object)
    shares = np.zeros(len(places))
    cells = _screened(looked_at)
    if not len(cells) or not len(places):
        return shares
    stated = ~shapely.is_empty(places)  # an empty point: nobody said where
    if not stated.all():
        shares[stated] = looked_shares(places[stated], np.asarray(position_error_m, float)[stated], looked_at)
        return shares
    lon0, lat0 = centres(places).T
    outline = local_frame(places, lon0, lat0)
    radius_m = np.clip(2.0 * np.asarray(position_error_m, dtype=float), _MIN_RADIUS_M, _MAX_RADIUS_M)
    own_radius_m = np.sqrt(shapely.area(outline) / math.pi)
    exact = radius_m <= own_radius_m
    x_min, y_min, x_max, y_max = shapely.bounds(outline).T
    more = np.where(exact, 0.0, radius_m)
    reach_lat = (np.maximum(-y_min, y_max) + more) / _METRES_PER_DEGREE
    reach_lon = (np.maximum(-x_min, x_max) + more) / _METRES_PER_DEGREE
    reach_lon /= np.cos(np.radians(np.clip(np.abs(lat0) + reach_lat, 0.0, 89.0)))
    tree = shapely.STRtree(cells)

    def boxes(rows: np.ndarray, turn: float) -> np.ndarray:
        lon, lat, dx, dy = lon0[rows] + turn, lat0[rows], reach_lon[rows], reach_lat[rows]
        return np.asarray(shapely.box(lon - dx, lat - dy, lon + dx, lat + dy))

    every = np.arange(len(places))
    shares[tree.query(boxes(every, 0.0), predicate="within")[0]] = 1.0  # wholly inside one cell
    rest = np.flatnonzero(shares < 1.0)
    row, part = [np.zeros(0, int)], [np.zeros(0, object)]
    for turn in (-360.0, 0.0, 360.0):
        i, cell = tree.query(boxes(rest, turn))
        row.append(rest[i])
        # cut to the place's box first: a cell may reach round the earth, where a local frame has its seam
        part.append(shapely.intersection(cells[cell], boxes(rest[i], turn)))
    rows, parts = np.concatenate(row), np.concatenate(part)
    if not len(rows):
        return np.clip(shares, 0.0, 1.0)
    place = np.full(len(places), None, object)
    place[rest] = shapely.make_valid(
        np.where(exact[rest], outline[rest], shapely.buffer(outline[rest], radius_m[rest]))
    )
    seen = shapely.intersection(place[rows], shapely.make_valid(local_frame(parts, lon0[rows], lat0[rows])))
    order = np.argsort(rows, kind="stable")
    for pieces in np.split(order, np.flatnonzero(np.diff(rows[order])) + 1):
        k = rows[pieces[0]]
        shares[k] = shapely.area(shapely.union_all(seen[pieces])) / shapely.area(place[k])
    return np.clip(shares, 0.0, 1.0)


def p_detect(
    mw: float | None,
    klass: str,
    place: BaseGeometry,
    position_error_m: float,
    looked_at: gpd.GeoDataFrame,
) -> float:
    """Return the probability that a facility at `place` would have been seen, from coverage only.

    What was imaged and screened counts as seen, what was not counts as 0. The facility's
    power and class are accepted so that callers need not change once detection limits are
    known, but they are NOT used yet: a small facility is harder to see than this says.
    `BASIS` names that limit for the reader of a list.

    Args:
        mw: IT power, MW, or None; not used yet.
        klass: what is declared there (`facility`, ...); not used yet.
        place: point or outline, lon/lat.
        position_error_m: 1-sigma position error, m.
        looked_at: table `looked_at`.
    """
    return looked_share(place, position_error_m, looked_at)


def with_looked_at(declared: gpd.GeoDataFrame, looked_at: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the table `declared` with its column `looked_at` filled: share of each place looked at."""
    places = declared.geometry.to_numpy()
    shares = looked_shares(places, declared["position_error_m"].to_numpy(float), looked_at)
    return declared.assign(looked_at=np.where(shapely.is_empty(places), np.nan, shares))


def looked_area_km2(looked_at: gpd.GeoDataFrame) -> float:
    """Return the area that was imaged and screened, km2; overlapping cells count once."""
    cells = _screened(looked_at)
    if not len(cells):
        return 0.0
    lat0 = float(np.median(shapely.get_coordinates(cells)[:, 1]))
    return float(shapely.union_all(local_frame(cells, 0.0, lat0)).area) / 1e6


def centres(geometry: np.ndarray) -> np.ndarray:
    """Return lon, lat of each geometry's middle, degrees, shape (n, 2); parts may lie on either side of 180.

    The middle is that of the geometry's box, taken relative to its first vertex so that an
    outline split at the antimeridian has its middle near 180 degrees and not near 0.
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


def _screened(looked_at: gpd.GeoDataFrame) -> np.ndarray:
    geometry = looked_at.geometry.to_numpy()
    if not len(geometry):
        return np.array([], dtype=object)
    usable = looked_at["screened"].to_numpy(bool) & ~looked_at["failed"].to_numpy(bool)
    usable &= ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    return np.asarray(shapely.make_valid(geometry[usable]), dtype=object)


def _authalic_q(phi: np.ndarray) -> np.ndarray:
    """Snyder (1987), Map Projections, USGS PP 1395, eq. 3-12."""
    e, sin = math.sqrt(_E2), np.sin(phi)
    return (1.0 - _E2) * (sin / (1.0 - _E2 * sin**2) + np.arctanh(e * sin) / e)
