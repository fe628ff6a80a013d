"""Parsing of single cells of received tables: text, numbers, dates, geometries.

In: cells as others wrote them. Out: clean values, or `RegistryError` with registry, row, column and reason. Control
characters are removed, numbers must be finite, dates must exist and coordinates must lie on the Earth. `validation`
does the same for whole columns.

Points in the sea are not detected: no shoreline is bundled, and distance from other rows is no evidence.
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
"""Position error of a campus outline as share of its side: parcels are drawn to a few per cent, but the buildings may
stand anywhere inside; own choice."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")
_NUMBERS_ONLY = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[ T].*)?$")
_RANGE = re.compile(r"(approx|about|circa|ca\.|~|≈|up to|[<>≤≥])|\d\s*(-|–|—|to)\s*\d", re.IGNORECASE)
_YEARS = (1900, 2200)  # accepted years of validity dates; own choice
_Record = dict[str, Any]


def as_text(value: object) -> str | None:
    """Return a cell as text without control characters; None where it is empty."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(_CONTROL.sub(" ", str(value)).split()) or None


def as_number(value: object, source: str, n: int, column: str, negative: bool = False) -> float | None:
    """Return a cell as a finite number, None if it is empty.

    Args:
        value: the cell.
        source: name of the registry, for messages.
        n: row, counted from 1, for messages.
        column: name of the column, for messages.
        negative: whether negative numbers are allowed.

    Raises:
        RegistryError: non-numeric, not finite, or negative although `negative` is false.
    """
    text = as_text(value)
    if text is None:
        return None
    try:
        number = float(text) if "_" not in text else math.nan  # float() would accept 1_000
    except ValueError:
        number = math.nan
    where = f"registry '{source}', row {n}, column '{column}'"
    if not math.isfinite(number):
        hint = "; a range or estimate: give one value" if _RANGE.search(text) else ""
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            hint = "; write a decimal point and no thousands separator"
        raise RegistryError(f"{where}: '{text[:40]}' is not a number{hint}")
    if number < 0 and not negative:
        raise RegistryError(f"{where}: {number:g} is negative")
    return number


def as_date(value: object, source: str, n: int, column: str) -> str | None:
    """Return a cell as ISO date, year or month (2026, 2026-08, 2026-08-31), None where empty.

    Raises:
        RegistryError: invalid date, not between 1900 and 2200, or ambiguous order of day and month (03/04/2025).
    """
    text = as_text(value)
    if text is None:
        return None
    problem = "is not a date"
    try:
        if match := _DATE.match(text):
            year, month, day = (int(g) if g else 1 for g in match.groups())
            datetime.date(year, month, day)
        # a bare number is a date only as YYYYMMDD: pandas would read others as times since 1970
        elif (text.isdigit() and len(text) != 8) or not re.search(r"\d{4}", text):
            raise ValueError
        else:
            if (parts := _NUMBERS_ONLY.match(text)) and len(parts[4]) == 4 and len(parts[1]) <= 2:
                first, second, year = int(parts[1]), int(parts[3]), int(parts[4])
                if first <= 12 and second <= 12 and first != second:
                    problem = "is ambiguous: day or month first"
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
    """Return the point or outline of a row, WGS84 lon/lat; invalid outlines are repaired.

    Args:
        record: `geometry` (shapely or WKT), else `lon` and `lat`; `fault` if the row could not be read at all.
        source: name of the registry, for messages.
        n: row, counted from 1, for messages.

    Raises:
        RegistryError: no coordinates, coordinates out of range or 0, 0, another type than point or polygon, or an
            outline without area.
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
        raise RegistryError(f"{where}: coordinates 0, 0; no facility lies there, so they stand for missing coordinates")
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
    """Return one unit of the last decimal digit shown, m (0.01 degrees: 1.1 km), of the more precise coordinate."""
    # docs/methods.md, section 6.1: digits shown limit the accuracy of a point
    digits = max(len(str(v).partition(".")[2].rstrip("0")) for v in (lon, lat))
    return min(DEGREE_EQUATOR_M * 10.0**-digits, POSITION_ERROR_M["vague"])


def texts(values: object) -> np.ndarray:
    """Return cells as clean text, (n,) object, None where empty: `as_text` for a column."""
    # clean texts skip `as_text`, which is slow
    array = np.asarray(values, dtype=object)
    return np.array([v if type(v) is str and _clean(v) else as_text(v) for v in array.tolist()] + [None], object)[:-1]


def _clean(text: str) -> bool:
    """Whether `as_text` would return the text unchanged; may be false for other clean texts."""
    return (text.isalnum() and text.isascii()) or (
        text.isprintable() and text.isascii() and bool(text) and text[0] != " " != text[-1] and "  " not in text
    )
