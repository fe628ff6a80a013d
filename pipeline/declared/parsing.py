"""Cells and shapes of received tables: text, numbers, dates, places; one at a time or a column at once.

Everything here was written by others: control characters go, numbers must be finite, dates must be real
and places must lie on the earth. The scalar functions say what is wrong; the column functions take the fast
way and ask the scalar ones only about cells that are not plainly right, so both say the same.

Whether a point lies in the sea cannot be told: no shoreline is shipped, and distance from other rows is
no evidence.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import RegistryError

POSITION_ERROR_M = {"rooftop": 30.0, "parcel": 200.0, "postcode": 1500.0, "city": 8000.0, "vague": 25_000.0}
"""One sigma by kind of coordinate, m (docs/methods.md, section 6.1)."""

DEGREE_M = 111_320.0
"""A degree of the equator, m: how far one unit of the last digit reaches."""

CAMPUS_ERROR_SHARE = 0.1
"""Of a campus outline's side: parcels are drawn to a few per cent, buildings apart; own choice."""

NOWHERE_KINDS = frozenset({"chips", "workload"})
"""Kinds that may state no place: they count in balances, with an empty point."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")
_NUMBERS_ONLY = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[ T].*)?$")
_RANGE = re.compile(r"(approx|about|circa|ca\.|~|≈|up to|[<>≤≥])|\d\s*(-|–|—|to)\s*\d", re.IGNORECASE)
_SWAP_KM, _ALONE_KM = 50.0, 500.0  # own choices, see Column.swapped
_YEARS = (1900, 2200)  # dates of validity; own choice
_GEOD = Geod(ellps="WGS84")
_Record = dict[str, Any]


def outline_m2(geometry: BaseGeometry) -> float:
    """Geodesic area, m2."""
    return abs(float(_GEOD.geometry_area_perimeter(shapely.force_2d(geometry))[0]))


def as_text(value: object) -> str | None:
    """Return a cell as text without control characters; None where it is empty."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(_CONTROL.sub(" ", str(value)).split()) or None


def as_number(value: object, file: Path, n: int, column: str, negative: bool = False) -> float | None:
    """Return a cell as a finite number, None where it is empty; RegistryError where it is none or negative."""
    text = as_text(value)
    if text is None:
        return None
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    where = f"registry '{file.name}', row {n}, column '{column}'"
    if not math.isfinite(number):
        hint = "; a range or estimate: give one value" if _RANGE.search(text) else ""
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            hint = "; write a decimal point and no thousands mark"
        raise RegistryError(f"{where}: '{text[:40]}' is not a number{hint}")
    if number < 0 and not negative:
        raise RegistryError(f"{where}: {number:g} is negative")
    return number


def as_date(value: object, file: Path, n: int, column: str) -> str | None:
    """Return a cell as ISO date, year or month (2026, 2026-08, 2026-08-31), None where empty.

    Raises:
        RegistryError: no date, not between 1900 and 2200, or day and month cannot be told apart (03/04/2025).
    """
    text = as_text(value)
    if text is None:
        return None
    problem = "is no date"
    try:
        if match := _DATE.match(text):
            year, month, day = (int(g) if g else 1 for g in match.groups())
            datetime.date(year, month, day)
        elif (text.isdigit() and len(text) != 8) or not re.search(r"\d{4}", text):
            raise ValueError
        else:
            if (parts := _NUMBERS_ONLY.match(text)) and len(parts[4]) == 4 and len(parts[1]) <= 2:
                first, second, year = int(parts[1]), int(parts[3]), int(parts[4])
                if first <= 12 and second <= 12 and first != second:
                    problem = "may be day or month first"
                    raise ValueError
                month, day = (second, first) if first > 12 else (first, second)
                text = datetime.date(year, month, day).isoformat()
            else:
                text = str(pd.Timestamp(text).date().isoformat())
            year = int(text[:4])
        if not _YEARS[0] <= year < _YEARS[1]:
            problem = f"is not between {_YEARS[0]} and {_YEARS[1]}"
            raise ValueError
    except (ValueError, TypeError, OverflowError) as error:
        raise RegistryError(
            f"registry '{file.name}', row {n}, column '{column}': '{text[:40]}' {problem}; write 2026-08-31"
        ) from error
    return text


def as_geometry(record: _Record, file: Path, n: int) -> BaseGeometry:
    """Return the point or outline of a row, WGS84; RegistryError where there is none or it cannot be.

    Args:
        record: `geometry` (shapely or WKT), else `lon` and `lat`; `fault` where the row could not be read at all.
        file: named in errors.
        n: row, counted from 1.
    """
    where = f"registry '{file.name}', row {n}"
    if fault := record.get("fault"):
        raise RegistryError(str(fault))
    geometry = record.get("geometry")
    if isinstance(geometry, str):
        geometry = shapely.from_wkt(geometry, on_invalid="ignore")
    if geometry is None and record.get("lon") is not None:
        x, y = (as_number(record.get(c), file, n, c, negative=True) for c in ("lon", "lat"))
        geometry = shapely.Point(x, y) if x is not None and y is not None else None
    if geometry is None or geometry.is_empty:
        raise RegistryError(f"{where}: no coordinates; give them or leave the row out")
    geometry = shapely.force_2d(geometry)
    if geometry.geom_type == "MultiPoint":
        geometry = geometry.centroid
    if geometry.geom_type not in ("Point", "Polygon", "MultiPolygon"):
        raise RegistryError(f"{where}, column 'geometry': {geometry.geom_type}; give a point or an outline")
    xy = shapely.get_coordinates(geometry)
    if (xy == 0).all():
        raise RegistryError(f"{where}: coordinates 0, 0; no facility lies there, so none were given")
    for name, values, limit in (("lon", xy[:, 0], 180.0), ("lat", xy[:, 1], 90.0)):
        if not (np.abs(values) <= limit).all():
            value = values[~(np.abs(values) <= limit)][0]
            hint = "; are lon and lat swapped?" if name == "lat" and abs(value) <= 180 else ""
            raise RegistryError(
                f"{where}, column '{name}': {value:g} lies outside -{limit:g} to {limit:g} degrees{hint}"
            )
    if geometry.geom_type != "Point" and not geometry.is_valid:
        parts = shapely.get_parts(shapely.make_valid(geometry)).tolist()
        polygons = [p for part in parts for p in shapely.get_parts(part).tolist() if p.geom_type == "Polygon"]
        geometry = shapely.union_all(polygons)
        if geometry.is_empty:
            raise RegistryError(f"{where}, column 'geometry': the outline has no area")
    return geometry


def digits_error_m(lon: object, lat: object) -> float:
    """One unit of the last digit that either coordinate shows, m (0.01 degrees: 1.1 km)."""
    digits = max(len(str(v).partition(".")[2].rstrip("0")) for v in (lon, lat))
    return min(DEGREE_M * 10.0**-digits, POSITION_ERROR_M["vague"])


class Column:
    """Columns of one table at once; the first fault of a row is kept in `reason` and the row is out.

    Attributes:
        file: named in reasons.
        row: (n,) int, row numbers as the user counts them.
        reason: (n,) object: None, or why the row cannot be used.
    """

    def __init__(self, file: Path, row: np.ndarray, fault: np.ndarray | None = None) -> None:
        self.file, self.row = file, row
        self.reason = np.full(len(row), None, dtype=object)
        if fault is not None:
            self.reason[:] = [f or None for f in texts(fault)]

    def faulty(self, rows: np.ndarray, of: Callable[[int], object]) -> dict[int, object]:
        """Call `of(k)` for each row index; values by index, and reasons noted where it raised."""
        values = {}
        for k in rows.tolist():
            try:
                values[k] = of(k)
            except RegistryError as error:
                self.note(k, str(error))
        return values

    def note(self, k: int, reason: str) -> None:
        """Put row index `k` aside; the first reason stays."""
        if self.reason[k] is None:
            self.reason[k] = reason

    def numbers(self, values: np.ndarray, column: str, negative: bool = False) -> np.ndarray:
        """Return cells as float64 (n,), NaN where empty or faulty."""
        if values.dtype.kind in "iuf":
            out = values.astype(float)
            bad = np.isinf(out) | ((out < 0) & (not negative))
            self.faulty(np.flatnonzero(bad), lambda k: as_number(values[k], self.file, int(self.row[k]), column))
            return np.where(bad, np.nan, out)
        text = texts(values)
        empty = text == np.array(None, dtype=object)
        try:
            out = np.where(empty, np.nan, text).astype(float)
        except ValueError:
            out = np.array([_float(t) for t in text.tolist()])
        bad = ~empty & (~np.isfinite(out) | ((out < 0) & (not negative)))
        self.faulty(np.flatnonzero(bad), lambda k: as_number(text[k], self.file, int(self.row[k]), column, negative))
        return np.where(bad, np.nan, out)

    def dates(self, values: np.ndarray, column: str) -> np.ndarray:
        """Return cells as ISO dates (n,) object, None where empty or faulty."""
        code, words = _coded(texts(values))
        out = np.full(len(words) + 1, None, dtype=object)
        for c, word in enumerate(words.tolist()):
            try:
                out[c] = as_date(word, self.file, 0, column)
            except RegistryError:
                rows = np.flatnonzero(code == c)
                self.faulty(rows, partial(self._dated, word, column))
        return out[code]

    def _dated(self, word: str, column: str, k: int) -> str | None:
        return as_date(word, self.file, int(self.row[k]), column)

    def places(self, frame: pd.DataFrame, nowhere: np.ndarray) -> np.ndarray:
        """Return shapes (n,), None where there is none; `nowhere` (n,) bool: rows that may state no place."""
        n = len(frame)
        shape = np.full(n, None, dtype=object)
        if "geometry" in frame:
            raw = frame["geometry"].to_numpy(dtype=object)
            drawn = [isinstance(g, BaseGeometry) for g in raw]
            shape[drawn] = raw[drawn]
            if len(wkt := np.flatnonzero([isinstance(g, str) and bool(g.strip()) for g in raw])):
                shape[wkt] = shapely.from_wkt(raw[wkt].astype(str), on_invalid="ignore")
        given = np.zeros(n, bool)
        if {"lon", "lat"} <= set(frame):
            missing = np.array([g is None for g in shape])
            before = self.reason.copy()
            lon, lat = (self.numbers(frame[c].to_numpy(), c, negative=True) for c in ("lon", "lat"))
            self.reason = np.where(missing, self.reason, before)
            given = missing & np.isfinite(lon) & np.isfinite(lat)
            shape[given] = shapely.points(lon[given], lat[given])
        here = np.flatnonzero([g is not None and not g.is_empty for g in shape])
        absent = np.ones(n, bool)
        absent[here] = False
        self.faulty(np.flatnonzero(absent & ~nowhere), lambda k: as_geometry({}, self.file, int(self.row[k])))
        shape[absent] = None
        shape[absent & nowhere] = shapely.Point()
        kind = shapely.get_type_id(shape)
        west, south, east, north = shapely.bounds(shape).T
        plain = (west >= -180) & (east <= 180) & (south >= -90) & (north <= 90)
        plain &= ~((west == 0) & (east == 0) & (south == 0) & (north == 0)) & ~shapely.has_z(shape)
        plain &= (kind == 0) | (np.isin(kind, (3, 6)) & shapely.is_valid(shape))
        odd = np.flatnonzero(~plain & ~absent)
        mended = self.faulty(odd, lambda k: as_geometry({"geometry": shape[k]}, self.file, int(self.row[k])))
        for k in odd.tolist():
            shape[k] = mended.get(k)
        return shape

    def swapped(self, shape: np.ndarray, zone: np.ndarray) -> None:
        """Put points aside whose lon and lat are swapped within range, where the other rows show it.

        A point is taken for swapped only if no other row lies within 500 km of it, three others lie within
        50 km of it once lon and lat change places, and where it states a zone one of them states the same.
        Distances are own choices, so that a lone true facility stays (docs/reference/registries.md).
        """
        from scipy.spatial import cKDTree

        points = np.flatnonzero((self.reason == np.array(None, dtype=object)) & (shapely.get_type_id(shape) == 0))
        points = points[~shapely.is_empty(shape[points])]
        if len(points) < 5:
            return
        xy = shapely.get_coordinates(shape[points])
        tree = cKDTree(on_sphere(xy[:, 0], xy[:, 1]))
        back = np.flatnonzero(np.abs(xy[:, 0]) <= 90)
        away, near = tree.query(on_sphere(xy[back, 1], xy[back, 0]), k=3, distance_upper_bound=_chord(_SWAP_KM))
        back, near = back[np.isfinite(away[:, 2])], near[np.isfinite(away[:, 2])]
        here = tree.query_ball_point(on_sphere(xy[back, 0], xy[back, 1]), _chord(_SWAP_KM), return_length=True)
        back, near = back[here <= max(3, len(points) // 50)], near[here <= max(3, len(points) // 50)]
        # rows that were swapped alike lie together: they do not speak for each other
        sure = np.ones(len(points), bool)
        sure[back] = False
        if not len(back) or not sure.any():
            return
        cells = np.unique(np.round(xy[sure], 1), axis=0)
        lone = cKDTree(on_sphere(cells[:, 0], cells[:, 1])).query(on_sphere(xy[back, 0], xy[back, 1]))[0]
        lone = (lone > _chord(_ALONE_KM)) & sure[near].all(axis=1)
        for k, close in zip(back[lone].tolist(), near[lone], strict=True):
            if zone[points[k]] is None or zone[points[k]] in zone[points[close]]:
                self.note(
                    int(points[k]),
                    f"registry '{self.file.name}', row {self.row[points[k]]}: {xy[k, 0]:g}, {xy[k, 1]:g} lies far from "
                    "all other rows, and among them with lon and lat changed; are they swapped?",
                )


def on_sphere(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return (n, 3) unit vectors of degrees."""
    x, y = np.radians(lon), np.radians(lat)
    return np.column_stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)])


def _chord(km: float) -> float:
    return 2.0 * math.sin(km / 6371.0088 / 2.0)


def _float(text: str | None) -> float:
    try:
        return math.nan if text is None or "_" in text else float(text)
    except ValueError:
        return math.nan


def texts(values: object) -> np.ndarray:
    """Return cells as clean text, (n,) object, None where empty: `as_text` of a column."""
    array = np.asarray(values, dtype=object)
    return np.array([v if type(v) is str and _clean(v) else as_text(v) for v in array.tolist()] + [None], object)[:-1]


def _clean(text: str) -> bool:
    return (text.isalnum() and text.isascii()) or (
        text.isprintable() and text.isascii() and bool(text) and text[0] != " " != text[-1] and "  " not in text
    )


def _coded(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code, words = pd.factorize(text)
    return code, np.asarray(words, dtype=object)
