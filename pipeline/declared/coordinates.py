"""Coordinates as registries write them: degrees, minutes and seconds, hemispheres, WKT, WKB, GeoJSON, several points.

In: cells of the columns lon, lat and geometry. Out: decimal degrees as text, or shapely geometries in lon/lat.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import GEOD
from overwatt.aoi.outline import repaired
from overwatt.pipeline.declared.nesting import MAX_DEPTH, too_deep
from overwatt.pipeline.declared.parsing import decimal_mark, standard_number, texts
from overwatt.pipeline.vocabulary import POSITION_ERROR_M

_SIGNS = str.maketrans({"º": "°", "˚": "°", "′": "'", "’": "'", "´": "'", "″": '"', "”": '"', "−": "-"})
_NUMBER = r"\d{1,3}(?:[.,]\d+)?"
_DEGREES = re.compile(
    rf"([NSEW])?\s*([+-])?\s*({_NUMBER})\s*(°|:|\s)?"
    rf"(?:(?<=[°:\s])\s*({_NUMBER})\s*('|:|\s)?(?:(?<=[':\s])\s*({_NUMBER})\s*(?:\"|'')?)?)?\s*([NSEW])?",
    re.IGNORECASE,
)
_SIDES = {"lon": "EW", "lat": "NS"}
_HEX = re.compile(r"0[01](?:[0-9A-Fa-f]{2}){8,}")
_SRID = re.compile(r"\s*SRID\s*=\s*(\d+)\s*;", re.IGNORECASE)
_LONLAT = (0, 4326, 4258, 4269)  # SRIDs in longitude and latitude; 0: none stated
NEAR_M = POSITION_ERROR_M["parcel"]
"""Points of one facility within this distance of their middle are taken as its middle, m: they lie on one parcel. Of
points farther apart the middle may be empty ground; own choice."""


def degrees(values: pd.Series, axis: str) -> pd.Series:
    """Return a column of longitudes or latitudes with decimal degrees as text where other notations are unambiguous.

    Decimal commas and '77°27'36" W' are converted, with as many digits as they show; numbers and other texts are
    returned unchanged.

    Args:
        values: (n,) cells.
        axis: 'lon' or 'lat'.
    """
    if values.dtype.kind in "iuf":
        return values
    cells = texts(values)
    try:
        np.where(cells == np.array(None, dtype=object), np.nan, cells).astype(float)
    except ValueError:
        # no longitude or latitude has thousands, so a comma is a decimal mark
        mark = decimal_mark(c for c in cells.tolist() if c) or ","
        plain = [c and (_decimal(c, axis) or standard_number(c, mark)) for c in cells.tolist()]
        return pd.Series(plain, values.index, dtype=object)
    return values


def _decimal(text: str, axis: str) -> str | None:
    """Return degrees, minutes and seconds, or degrees with a hemisphere, as decimal text; None if unclear."""
    match = _DEGREES.fullmatch(text.translate(_SIGNS).strip())
    if match is None:
        return None
    before, sign, whole, mark, minutes, _, seconds, after = match.groups()
    side = (before or after or "").upper()
    if (before and after) or (sign and side) or (side and side not in _SIDES[axis]):
        return None
    if not side and (mark is None or (minutes and not sign)):  # plain numbers are no concern of this function
        return None
    parts = [p.replace(",", ".") for p in (whole, minutes, seconds) if p]
    if any("." in p for p in parts[:-1]) or any(float(p) >= 60 for p in parts[1:]):
        return None
    value = sum(float(p) / 60**k for k, p in enumerate(parts))
    # digits as shown: a minute is about two of a degree, a second about four
    places = len(parts[-1].partition(".")[2]) + (0, 2, 5)[len(parts) - 1]
    return f"{'-' if sign == '-' or side in ('W', 'S') else ''}{value:.{places}f}"


def drawn(cells: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
    """Return the geometries of a column (n,) object, None where there is none, and faults by index.

    Args:
        cells: (n,) shapely geometries, WKT, EWKT, WKB as bytes or hexadecimal text, or GeoJSON as text or dict.
    """
    shape = np.full(len(cells), None, dtype=object)
    faults: dict[int, str] = {}
    written: dict[int, str] = {}
    for k, cell in enumerate(cells.tolist()):
        if isinstance(cell, (str, bytes)) and too_deep(cell):
            faults[k] = f"nested deeper than {MAX_DEPTH} levels"
            continue
        if isinstance(cell, BaseGeometry):
            shape[k] = cell
        elif isinstance(cell, bytes):
            shape[k] = shapely.from_wkb(cell, on_invalid="ignore")
        elif isinstance(cell, dict):
            shape[k] = _of_dict(cell)
        elif isinstance(cell, str) and cell.strip():
            if match := _SRID.match(cell):
                if int(match[1]) not in _LONLAT:
                    faults[k] = f"SRID {match[1]} is not longitude and latitude"
                    continue
                cell = cell[match.end() :]
            if _HEX.fullmatch(cell.strip()):
                shape[k] = shapely.from_wkb(cell.strip(), on_invalid="ignore")
            elif cell.lstrip().startswith("{"):
                shape[k] = shapely.from_geojson(cell, on_invalid="ignore")
            else:
                written[k] = cell
        else:
            continue
        if k not in written:
            if shape[k] is None:
                faults[k] = "cannot be read as WKT, WKB or GeoJSON"
            elif (srid := int(shapely.get_srid(shape[k]))) not in _LONLAT:
                shape[k], faults[k] = None, f"SRID {srid} is not longitude and latitude"
    if written:
        rows = np.array(list(written))
        shape[rows] = shapely.from_wkt(np.array(list(written.values())), on_invalid="ignore")
        faults |= {int(k): "cannot be read as WKT, WKB or GeoJSON" for k in rows if shape[k] is None}
    return shape, faults


def _of_dict(cell: dict[str, Any]) -> BaseGeometry | None:
    try:
        if cell.keys() == {"x", "y"}:  # a native point of GeoArrow
            return shapely.Point(*map(float, cell.values())) if None not in cell.values() else shapely.Point()
        return shapely.from_geojson(json.dumps(cell), on_invalid="ignore")
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def one_place(geometry: BaseGeometry) -> BaseGeometry:
    """Return the point or outline that stands for a geometry of several parts; others are returned unchanged.

    The outlines of a collection count, its points only if it has nothing else. Points near each other become their
    middle, a closed line an outline.

    Raises:
        RegistryError: points far from each other.
    """
    if geometry.geom_type == "GeometryCollection":
        parts = [p for g in shapely.get_parts(geometry) for p in shapely.get_parts(g)]
        kinds = {kind: [p for p in parts if p.geom_type == kind] for kind in ("Polygon", "Point")}
        if found := kinds["Polygon"]:
            return shapely.multipolygons(found) if len(found) > 1 else found[0]
        geometry = shapely.multipoints(kinds["Point"]) if len(kinds["Point"]) == len(parts) else geometry
    if geometry.geom_type == "LineString" and geometry.is_closed and len(geometry.coords) > 3:
        return shapely.Polygon(geometry.coords)  # an outline drawn as a path
    if geometry.geom_type != "MultiPoint":
        return geometry
    if (far := spread_m(geometry)) > NEAR_M:
        raise RegistryError(
            f"its points (MultiPoint) lie up to {far / 1e3:.1f} km from their middle, which may be empty ground; "
            "give a row each"
        )
    return shapely.centroid(geometry)


def spread_m(geometry: BaseGeometry | None) -> float:
    """Return the largest distance of the points of a geometry from their middle, m; 0 if it is not several points."""
    if geometry is None or geometry.geom_type not in ("MultiPoint", "GeometryCollection"):
        return 0.0
    kinds = {p.geom_type for p in shapely.get_parts(geometry)}
    xy = shapely.get_coordinates(geometry)
    if not kinds <= {"Point", "MultiPoint"} or not len(xy) or not np.isfinite(xy).all():
        return 0.0
    x, y = xy.mean(axis=0)
    return float(np.max(GEOD.inv(np.full(len(xy), x), np.full(len(xy), y), *xy.T)[2]))


def wrapped(shape: np.ndarray) -> np.ndarray:
    """Return geometries with longitudes from -180 to 180, (n,) object.

    Longitudes of 0 to 360 are told by the whole table: at least half are above 180 and none is negative; otherwise one
    above 180 stays, an error of its row. An outline that crosses 180 degrees, in whatever way it is written, becomes
    one of two parts.
    """
    west, _, east, _ = shapely.bounds(shape).T
    known = np.isfinite(west)
    beyond = known & (east > 180) & (east <= 360)
    to_360 = known.any() and west[known].min() >= 0 and 2 * beyond.sum() >= known.sum()
    turned = beyond & (to_360 | ((west <= 180) & (east - west < 180)))
    jumps = known & (east - west > 180) & (east <= 180) & (west >= -180)
    out = shape.copy()
    points = np.flatnonzero(turned & (shapely.get_type_id(shape) == 0))
    out[points] = shapely.points((shapely.get_coordinates(shape[points]) + [180.0, 0.0]) % 360.0 - [180.0, 0.0])
    for k in np.flatnonzero((turned | jumps) & (shapely.get_type_id(shape) != 0)).tolist():
        whole = shapely.transform(shape[k], lambda xy: np.column_stack([xy[:, 0] % 360.0, xy[:, 1]]))
        if jumps[k] and np.ptp(shapely.bounds(whole)[[0, 2]]) > 180:
            continue  # it is that wide
        whole = repaired(whole)
        if whole is None:
            continue  # the caller checks outlines, and says so
        halves = [shapely.intersection(whole, shapely.box(0, -90, 180, 90)),
                  shapely.transform(shapely.intersection(whole, shapely.box(180, -90, 360, 90)),
                                    lambda xy: xy - [360.0, 0.0])]  # fmt: skip
        out[k] = shapely.union_all([p for p in halves if shapely.get_dimensions(p) == shapely.get_dimensions(whole)])
    return out
