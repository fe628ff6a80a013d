"""Coverage: the share of a declared place that was imaged and screened.

In: the table `looked_at`, whose geometry is the part of each cell that was imaged and screened,
and places (outlines, or points with a position error). Out: shares between 0 and 1, and the
area that was screened. A cell that failed or was not screened counts as not looked at: a place
that was not looked at is never reported as empty.

Areas are measured in the local equal-area frame of `overwatt.aoi.geodesy`: plain arithmetic over all vertices
at once, so thousands of places take a second.
"""

from __future__ import annotations

import math

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.geodesy import DEGREE_LATITUDE_M, WGS84, centres, local_frame
from overwatt.pipeline.tables import conform

BASIS = "coverage only"
"""Basis of `p_detect`; shown in every list that has it."""

OUTSIDE = "outside the imagery"
"""Reason of a cell of the ground asked for that no image covers."""
ASSUMED = "assumed"
"""First word of the reason of a cell that nobody stated to have been looked at."""
_CELL_DEGREES = 1.0  # side of assumed cells; own choice
_MIN_RADIUS_M = 30.0  # rooftop class of position errors (docs/methods.md, section 6.1), the least for a point
_MAX_RADIUS_M = 50_000.0  # two sigma of the vaguest class, 25 km (docs/methods.md, section 6.1)


def looked_share(geometry: BaseGeometry, position_error_m: float, looked_at: gpd.GeoDataFrame) -> float:
    """Return the share of the declared place that was looked at, 0 to 1.

    The place is the outline; or, for a point, the disc of two sigma of its position error
    (86% of a two-dimensional Gaussian; 30 m to 50 km; docs/methods.md, section 6.1), with uniform
    weight. An outline whose two-sigma error exceeds its own radius is widened by that error.

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
    stated = ~shapely.is_empty(places)  # an empty point: position not stated
    if not stated.all():
        shares[stated] = looked_shares(places[stated], np.asarray(position_error_m, float)[stated], looked_at)
        return shares
    lon0, lat0 = centres(places).T
    outline = local_frame(places, lon0, lat0)
    radius_m = np.clip(2.0 * np.asarray(position_error_m, dtype=float), _MIN_RADIUS_M, _MAX_RADIUS_M)
    # radius of the disc with the area of the outline; points have 0
    own_radius_m = np.sqrt(shapely.area(outline) / math.pi)
    exact = radius_m <= own_radius_m
    x_min, y_min, x_max, y_max = shapely.bounds(outline).T
    more = np.where(exact, 0.0, radius_m)
    # half sides of a search box in degrees, never too small: a degree of longitude is shortest at its poleward side
    reach_lat = (np.maximum(-y_min, y_max) + more) / DEGREE_LATITUDE_M
    reach_lon = (np.maximum(-x_min, x_max) + more) / DEGREE_LATITUDE_M
    reach_lon /= np.cos(np.radians(np.clip(np.abs(lat0) + reach_lat, 0.0, 89.0)))
    tree = shapely.STRtree(cells)

    def boxes(rows: np.ndarray, turn: float) -> np.ndarray:
        lon, lat, dx, dy = lon0[rows] + turn, lat0[rows], reach_lon[rows], reach_lat[rows]
        return np.asarray(shapely.box(lon - dx, lat - dy, lon + dx, lat + dy))

    every = np.arange(len(places))
    shares[tree.query(boxes(every, 0.0), predicate="within")[0]] = 1.0  # fully inside one cell
    rest = np.flatnonzero(shares < 1.0)
    row, part = [np.zeros(0, int)], [np.zeros(0, object)]
    for turn in (-360.0, 0.0, 360.0):  # cells on the other side of the antimeridian
        i, cell = tree.query(boxes(rest, turn))
        row.append(rest[i])
        # clip to the place's box first: a cell may span the globe, and the local frame has a seam at 180 degrees
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


def looked_at_share(declared: gpd.GeoDataFrame, looked_at: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return table `declared` with its column `looked_at` filled: the share of each place that was looked at."""
    places = declared.geometry.to_numpy()
    shares = looked_shares(places, declared["position_error_m"].to_numpy(float), looked_at)
    return declared.assign(looked_at=np.where(shapely.is_empty(places), np.nan, shares))


def asked_share(looked_at: gpd.GeoDataFrame) -> float:
    """Return the share of the ground asked for that was imaged and screened, 0 to 1; 0 without cells.

    Cells weigh by the ground that was asked for in them; where a table does not say it, all cells weigh the same.
    """
    if not len(looked_at):
        return 0.0
    asked_km2 = looked_at["asked_km2"].to_numpy(float)
    weight = asked_km2 if np.isfinite(asked_km2).all() and asked_km2.sum() > 0 else np.ones(len(looked_at))
    seen = looked_at["screened"].to_numpy(bool) & ~looked_at["failed"].to_numpy(bool)
    return float((looked_at["imaged"].to_numpy(float) * seen * weight).sum() / weight.sum())


def looked_area_km2(looked_at: gpd.GeoDataFrame) -> float:
    """Return the area that was imaged and screened, km2; overlapping cells count once."""
    cells = _screened(looked_at)
    if not len(cells):
        return 0.0
    lat0 = float(np.median(shapely.get_coordinates(cells)[:, 1]))
    return float(shapely.union_all(local_frame(cells, 0.0, lat0)).area) / 1e6


def common_ground(one: gpd.GeoDataFrame, other: gpd.GeoDataFrame) -> bool:
    """Return whether there is ground that both tables `looked_at` have as imaged and screened."""
    seen = [shapely.union_all(_screened(table)) for table in (one, other)]
    return bool(shapely.area(shapely.intersection(*seen)) > 0)


def _screened(looked_at: gpd.GeoDataFrame) -> np.ndarray:
    geometry = looked_at.geometry.to_numpy()
    if not len(geometry):
        return np.array([], dtype=object)
    usable = looked_at["screened"].to_numpy(bool) & ~looked_at["failed"].to_numpy(bool)
    usable &= ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    return np.asarray(shapely.make_valid(geometry[usable]), dtype=object)


def assumed_looked_at(sites: gpd.GeoDataFrame, margin_degrees: float = 0.05) -> gpd.GeoDataFrame:
    """Return a table `looked_at` that assumes that the surroundings of the observed sites were looked at, in cells.

    An assumption for tables of sites that come without `looked_at`: the convex hull of all sites with a margin
    of about 5 km. It may turn 'not seen' into evidence where nobody looked, so every use of it must be stated.
    """
    hull = shapely.convex_hull(shapely.multipoints(centres(sites.geometry.to_numpy()))).buffer(margin_degrees)
    hull = shapely.intersection(hull, shapely.box(-180.0, -90.0, 180.0, 90.0))
    west, south, east, north = shapely.bounds(hull)
    # at most 200 x 200 cells
    step = max(_CELL_DEGREES, (east - west) / 200, (north - south) / 200)
    lon, lat = (a.ravel() for a in np.meshgrid(np.arange(west, east, step), np.arange(south, north, step)))
    cells = shapely.intersection(shapely.box(lon, lat, lon + step, lat + step), hull)
    cells = cells[shapely.area(cells) > 0]
    rows = pd.DataFrame({"cell": [f"assumed-{k}" for k in range(len(cells))], "imaged": 1.0, "clear_looks": 1,
                         "screened": True, "failed": False,
                         "reason": f"{ASSUMED}: no table of what was looked at was given"})  # fmt: skip
    return conform(gpd.GeoDataFrame(rows, geometry=cells, crs=WGS84), "looked_at")
