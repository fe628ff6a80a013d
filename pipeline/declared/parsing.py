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
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import DEGREE_EQUATOR_M
from overwatt.aoi.outline import TANGLED, repaired
from overwatt.pipeline.vocabulary import POSITION_ERROR_M

NO_VALUE = frozenset(
    {"n/a", "#n/a", "na", "n.a.", "null", "none", "-", "--", "–", "—", "nan", "not available", "k. a.", "k.a."}
)
"""Words for an empty cell, in lower case; they may be names, so they count in numbers, dates and statuses only."""
CAMPUS_ERROR_SHARE = 0.1
"""Position error of a campus outline as share of its side: parcels are drawn to a few per cent, but the buildings may
stand anywhere inside; own choice."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?$")
_NUMBERS_ONLY = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[ T].*)?$")
_GROUPED = re.compile(r"(?<=\d)[ '\u2019](?=\d{3}(?!\d))")  # spaces and apostrophes between thousands
_SURE = {
    mark: re.compile(
        rf"[+-]?(?:\d{{1,3}}(?:{group}\d{{3}})+{own}\d+|\d{{1,3}}(?:{group}\d{{3}}){{2,}}|\d+{own}(?:\d{{1,2}}|\d{{4,}})"
        rf"|0+{own}\d+|\d{{4,}}{own}\d+)"
    )
    for mark, own, group in ((",", ",", r"\."), (".", r"\.", ","))
}
"""Numbers that can be read only with this decimal mark: 51,5 but not 1,234."""
_THREE = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
_RANGE = re.compile(r"(approx|about|circa|ca\.|~|≈|up to|[<>≤≥])|\d\s*(-|–|—|to)\s*\d", re.IGNORECASE)
_ABOUT = re.compile(r"^(?:approx(?:imately)?\.?|about|around|circa|ca\.?|estimated|est\.?|~|≈)\s*")
_MW = {"kw": 1e-3, "mw": 1.0, "gw": 1e3}
_CELL = r"(\d[\d.,'\u2019 ]*?)\s*(?:(kw|mw|gw)e?)?"
_POWER = re.compile(
    r"(?:(>=?|≥|at least|minimum|min\.?|more than|over|from(?=[^-–—]*$))"
    r"|(<=?|≤|up to|at most|maximum|max\.?|less than|under))?"
    rf"\s*(?:between|from)?\s*{_CELL}\s*(?:(\+|or more|and above|plus|or less|max\.?)\s*(?:mw|gw|kw)?"
    rf"|(?:-|–|—|to|and|bis)\s*{_CELL})?"
)
"""Least, most, first number, its unit, what follows it, second number, its unit."""
_YEARS = (1900, 2200)  # accepted years of validity dates; own choice
_Record = dict[str, Any]


def as_text(value: object) -> str | None:
    """Return a cell as text without control characters; None where it is empty."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(_CONTROL.sub(" ", str(value)).split()) or None


def decimal_mark(cells: Iterable[str]) -> str | None:
    """Return the decimal mark of a column, ',' or '.'; '?' if cells contradict each other, None if none shows it."""
    found: set[str] = set()
    for cell in cells:
        text = _GROUPED.sub("", cell)
        found |= {mark for mark, sure in _SURE.items() if sure.fullmatch(text)}
        if len(found) == len(_SURE):
            return "?"
    return found.pop() if found else None


def standard_number(text: str, mark: str | None) -> str:
    """Return a number with a decimal point and without separators of thousands; other text unchanged.

    Args:
        text: a cell.
        mark: decimal mark of its column, as `decimal_mark` returns it; decides on 1,234 and 1.234.
    """
    plain = _GROUPED.sub("", text)
    own = next((m for m, sure in _SURE.items() if sure.fullmatch(plain)), None)
    if own is None and _THREE.fullmatch(plain):
        if mark == "?" or (mark is None and "," in plain):
            return text
        own = mark or "."
    if own == ",":
        return plain.replace(".", "").replace(",", ".")
    return plain.replace(",", "") if own == "." else plain


def as_number(
    value: object, source: str, n: int, column: str, negative: bool = False, mark: str | None = None
) -> float | None:
    """Return a cell as a finite number, None if it is empty.

    Args:
        value: the cell.
        source: name of the registry, for messages.
        n: row, counted from 1, for messages.
        column: name of the column, for messages.
        negative: whether negative numbers are allowed.
        mark: decimal mark of the column, as `decimal_mark` returns it.

    Raises:
        RegistryError: non-numeric, not finite, or negative although `negative` is false.
    """
    text = as_text(value)
    if text is None:
        return None
    plain = standard_number(text, mark)
    unclear = mark == "?" and _THREE.fullmatch(plain)
    try:
        number = float(plain) if "_" not in plain and not unclear else math.nan  # float() would accept 1_000
    except ValueError:
        number = math.nan
    where = f"registry '{source}', row {n}, column '{column}'"
    if not math.isfinite(number):
        hint = "; a range or estimate: give one value" if _RANGE.search(text) else ""
        if _THREE.fullmatch(plain):
            hint = "; write a decimal point and no thousands separator"
        if column in ("lon", "lat"):
            hint = "; write decimal degrees such as -77.46, negative in the west and south"
        raise RegistryError(f"{where}: '{text[:40]}' is not a number{hint}")
    if number < 0 and not negative:
        raise RegistryError(f"{where}: {number:g} is negative")
    return number


def as_power(
    value: object, source: str, n: int, column: str, mark: str | None = None
) -> tuple[float, float, float] | None:
    """Return a cell as power in MW and the ends of its range (NaN where open or not stated); None if it is empty.

    '50-100 MW', '>= 100', '100 MW+', 'up to 300', '~30', '1.2 GW' and '500 kW' are read. The power of a range is its
    geometric mean, of a range that is open on one side its stated end.

    Args:
        value: the cell.
        source: name of the registry, for messages.
        n: row, counted from 1, for messages.
        column: name of the column, for messages.
        mark: decimal mark of the column, as `decimal_mark` returns it.

    Raises:
        RegistryError: neither a power nor a range of powers, or negative.
    """
    text = as_text(value)
    found = None if text is None else _POWER.fullmatch(_ABOUT.sub("", text.lower()))
    if text is None or found is None:
        number = as_number(value, source, n, column, mark=mark)
        return None if number is None else (number, math.nan, math.nan)
    least, most, one, unit, plus, other, unit_2 = found.groups()
    factor = _MW[unit or unit_2 or "mw"]
    first = (as_number(one, source, n, column, mark=mark) or 0.0) * factor
    if other is None:
        is_least = bool(least or (plus or "").startswith(("+", "or more", "and above", "plus")))
        return first, first if is_least else math.nan, first if most or (plus and not is_least) else math.nan
    last = (as_number(other, source, n, column, mark=mark) or 0.0) * _MW[unit_2 or unit or "mw"]
    if first > last:
        raise RegistryError(
            f"registry '{source}', row {n}, column '{column}': '{text[:40]}' runs from the larger to the smaller power"
        )
    # the range '0-50' is one that is open below: its geometric mean would be 0
    return (math.sqrt(first * last), first, last) if first > 0 else (last, math.nan, last)


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
        record: `geometry` (shapely), if there is one; `fault` if the row could not be read at all.
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
    if geometry is None or geometry.is_empty:
        raise RegistryError(f"{where}: no coordinates; give them or leave the row out")
    geometry = shapely.force_2d(geometry)
    if geometry.geom_type not in ("Point", "Polygon", "MultiPolygon"):
        raise RegistryError(f"{where}, column 'geometry': {geometry.geom_type}; give a point or an outline")
    xy = shapely.get_coordinates(geometry)
    if (xy == 0).all():
        raise RegistryError(f"{where}: coordinates 0, 0; no facility lies there, so they stand for missing coordinates")
    for name, values, limit in (("lon", xy[:, 0], 180.0), ("lat", xy[:, 1], 90.0)):
        if not (np.abs(values) <= limit).all():
            value = values[~(np.abs(values) <= limit)][0]
            hint = "; are lon and lat swapped?" if name == "lat" and abs(value) <= 180 else ""
            hint = "; give degrees, not projected metres or feet" if abs(value) > 360 else hint
            raise RegistryError(
                f"{where}, column '{name}': {value:g} lies outside -{limit:g} to {limit:g} degrees{hint}"
            )
    if geometry.geom_type != "Point" and not geometry.is_valid:
        if (valid := repaired(geometry)) is None:
            raise RegistryError(f"{where}, column 'geometry': {TANGLED}")
        parts = shapely.get_parts(valid).tolist()
        polygons = [p for part in parts for p in shapely.get_parts(part).tolist() if p.geom_type == "Polygon"]
        geometry = shapely.union_all(polygons)
        if geometry.is_empty:
            raise RegistryError(f"{where}, column 'geometry': the outline has no area")
    return geometry


def digits_error_m(lon: object, lat: object) -> float:
    """Return one unit of the last decimal digit shown, m (0.01 degrees: 1.1 km), of the more precise coordinate."""
    # docs/methods.md, section 6.1: digits shown limit the accuracy of a point
    digits = max(decimals(str(v)) for v in (lon, lat))
    return min(DEGREE_EQUATOR_M * 10.0**-digits, POSITION_ERROR_M["vague"])


def decimals(text: str) -> int:
    """Return the number of decimal digits as written: four of 39.1100; 0 of 39.0, which is how programs write 39."""
    shown = text.partition(".")[2]
    return 0 if shown == "0" else len(shown)


def texts(values: object) -> np.ndarray:
    """Return cells as clean text, (n,) object, None where empty: `as_text` for a column."""
    # clean texts skip `as_text`, which is slow
    array = np.asarray(values, dtype=object)
    return np.array([v if type(v) is str and _clean(v) else as_text(v) for v in array.tolist()] + [None], object)[:-1]


def stated(cells: np.ndarray) -> np.ndarray:
    """Return clean texts, (n,) object, with None also for words that stand for an empty cell (`NO_VALUE`)."""
    # the length first: for a million cells it is cheaper than the comparison
    empty = np.array([isinstance(c, str) and len(c) < 14 and c.lower() in NO_VALUE for c in cells.tolist()], bool)
    out = cells.copy()
    out[empty] = None
    return out


def _clean(text: str) -> bool:
    """Whether `as_text` would return the text unchanged; may be false for other clean texts."""
    return (text.isalnum() and text.isascii()) or (
        text.isprintable() and text.isascii() and bool(text) and text[0] != " " != text[-1] and "  " not in text
    )
