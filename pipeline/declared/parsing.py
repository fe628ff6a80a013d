"""Cells of received tables: text, numbers, dates, places, one at a time.

Everything here was written by others: control characters are removed, numbers must be finite, dates must be real
and places must lie on the Earth. Each function says what is wrong. `validation` does the same for whole columns.

Whether a point lies in the sea cannot be told: no shoreline is shipped, and distance from other rows is
no evidence.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import DEGREE_EQUATOR_M
from overwatt.pipeline.vocabulary import POSITION_ERROR_M

CAMPUS_ERROR_SHARE = 0.1
"""Of a campus outline's side: parcels are drawn to a few per cent, buildings apart; own choice."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")
_NUMBERS_ONLY = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[ T].*)?$")
_RANGE = re.compile(r"(approx|about|circa|ca\.|~|≈|up to|[<>≤≥])|\d\s*(-|–|—|to)\s*\d", re.IGNORECASE)
_YEARS = (1900, 2200)  # dates of validity; own choice
_Record = dict[str, Any]


def as_text(value: object) -> str | None:
    """Return a cell as text without control characters; None where it is empty."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(_CONTROL.sub(" ", str(value)).split()) or None


def as_number(value: object, source: str, n: int, column: str, negative: bool = False) -> float | None:
    """Return a cell as a finite number, None where it is empty; RegistryError where it is none or negative."""
    text = as_text(value)
    if text is None:
        return None
    try:
        number = float(text) if "_" not in text else math.nan
    except ValueError:
        number = math.nan
    where = f"registry '{source}', row {n}, column '{column}'"
    if not math.isfinite(number):
        hint = "; a range or estimate: give one value" if _RANGE.search(text) else ""
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            hint = "; write a decimal point and no thousands mark"
        raise RegistryError(f"{where}: '{text[:40]}' is not a number{hint}")
    if number < 0 and not negative:
        raise RegistryError(f"{where}: {number:g} is negative")
    return number


def as_date(value: object, source: str, n: int, column: str) -> str | None:
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
            f"registry '{source}', row {n}, column '{column}': '{text[:40]}' {problem}; write 2026-08-31"
        ) from error
    return text


def as_geometry(record: _Record, source: str, n: int) -> BaseGeometry:
    """Return the point or outline of a row, WGS84; RegistryError where there is none or it cannot be.

    Args:
        record: `geometry` (shapely or WKT), else `lon` and `lat`; `fault` where the row could not be read at all.
        source: name of the registry, for errors.
        n: row, counted from 1.
    """
    where = f"registry '{source}', row {n}"
    if fault := record.get("fault"):
        raise RegistryError(str(fault))
    geometry = record.get("geometry")
    if isinstance(geometry, str):
        geometry = shapely.from_wkt(geometry, on_invalid="ignore")
    if geometry is None and record.get("lon") is not None:
        x, y = (as_number(record.get(c), source, n, c, negative=True) for c in ("lon", "lat"))
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
    return min(DEGREE_EQUATOR_M * 10.0**-digits, POSITION_ERROR_M["vague"])


def texts(values: object) -> np.ndarray:
    """Return cells as clean text, (n,) object, None where empty: `as_text` of a column."""
    array = np.asarray(values, dtype=object)
    return np.array([v if type(v) is str and _clean(v) else as_text(v) for v in array.tolist()] + [None], object)[:-1]


def _clean(text: str) -> bool:
    return (text.isalnum() and text.isascii()) or (
        text.isprintable() and text.isascii() and bool(text) and text[0] != " " != text[-1] and "  " not in text
    )
