"""The dispositions table: what inspectors found. The file is not trusted.

In: GeoParquet, CSV with a WKT outline, GeoJSON or GeoPackage. Out: disposition_id, entry_id, site_id, time,
finding, class and outline (geometry, WGS84). The table is append-only: rows are never changed, and of two findings on
one place the later one counts. Power and chips are checked; other columns, such as the inspector, are not read.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow
import shapely

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.aoi.geodesy import WGS84
from overwatt.aoi.outline import TANGLED, repaired
from overwatt.pipeline.declared.parsing import as_date, as_number, as_text
from overwatt.pipeline.declared.received import FAULT
from overwatt.pipeline.declared.registry import MAX_MW
from overwatt.pipeline.power.accelerators import MAX_CHIPS
from overwatt.workflows.io.delimited import read_csv
from overwatt.workflows.io.vectors import read_vector

FINDINGS = {
    "ai": "data_center",
    "non_ai_dc": "data_center",
    "not_dc": "not_data_center",
    "refused": "unknown",
    "cannot_determine": "unknown",
}
"""Findings, as in the inspection list, and the class of the label that each gives."""

_ALIASES = {
    "ai_dc": "ai",
    "ai_data_center": "ai",
    "non_ai": "non_ai_dc",
    "non_ai_data_center": "non_ai_dc",
    "not_a_dc": "not_dc",
    "not_data_center": "not_dc",
    "not_a_data_center": "not_dc",
    # as the printed list says them
    "data_center_with_ai_compute": "ai",
    "data_center_without_ai_compute": "non_ai_dc",
    "no_data_center": "not_dc",
    "no_dc": "not_dc",
    "access_was_refused": "refused",
    "access_refused": "refused",
    "seen_and_still_open": "cannot_determine",
}
MAX_TABLE_BYTES = 200_000_000  # own choice: far above any real table
_EARLIEST = pd.Timestamp("1900-01-01", tz="UTC")  # a finding without a time counts as the earliest
_FIRST_IMAGERY = pd.Timestamp("1972-07-23", tz="UTC")  # launch of Landsat 1; nothing could be inspected before
_AHEAD = timedelta(hours=14)  # largest offset from UTC, for times without a zone
_CLOCK = re.compile(
    r"[ ,T]+(\d{1,2})(?::(\d{2})(?::(\d{2})(?:\.\d+)?)?)? ?([ap]\.?m\.?)?"
    r" ?(Z|UTC|GMT)? ?(?:([+-]\d{1,2})(?::?(\d{2}))?)?$",
    re.IGNORECASE,
)
"""Clock after a date: hour, minute, second, am or pm, UTC, hours and minutes from UTC."""
_DAY = re.compile(
    r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )?(?:\d{4}([./-])\d{1,2}\1\d{1,2}|\d{1,2}([./-])\d{1,2}\2\d{4}|\d{8}"
    r"|\d{1,2}(?:\.|st|nd|rd|th)?[ -][a-z]{3,9}\.?,?[ -]\d{4}|[a-z]{3,9}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4})",
    re.IGNORECASE,
)
"""A date alone: whatever else stands in the cell, such as a clock of another form, is not dropped."""
_GROUP = re.compile(r"\d{1,3}[.,]\d{3}")
_ENDINGS = ("parquet", "csv", "geojson", "gpkg")
RECORDED = "dispositions.parquet"
"""Table of a run folder to which `overwatt record` appends."""


def read_dispositions(path: Path) -> gpd.GeoDataFrame:
    """Read a dispositions table: disposition_id, entry_id, site_id, time, finding, class, outline (geometry, WGS84).

    Raises:
        RegistryError: the file is unreadable, a column is missing, a finding is unknown, a time, a power, a number of
            chips or an outline is impossible, or an id occurs twice.
    """
    frame = _table(path)
    name = path.name
    columns = {str(c).strip().lower(): c for c in frame.columns}
    for needed in ("disposition_id", "finding", "time"):
        if needed not in columns:
            raise RegistryError(f"{name}: no column '{needed}'; {nearest(needed, columns)}")
    out = pd.DataFrame({k: frame[columns[k]] for k in ("disposition_id", "finding", "time")}).reset_index(drop=True)
    for key in ("entry_id", "site_id"):
        cells = [as_text(v) for v in frame[columns[key]]] if key in columns else [None] * len(out)
        out[key] = pd.Series(cells, dtype=object)  # None, and not NaN, where it is empty
    out["disposition_id"] = [str(v).strip() for v in out["disposition_id"]]
    if duplicates := out["disposition_id"][out["disposition_id"].duplicated()].tolist():
        raise RegistryError(
            f"{name}: disposition_id '{duplicates[0]}' occurs twice; the table is append-only: give each row its own id"
        )
    where = [f"{name}: disposition '{i}'" for i in out["disposition_id"]]
    out["finding"] = [finding_of(v, w) for v, w in zip(out["finding"], where, strict=True)]
    out["class"] = out["finding"].map(FINDINGS)
    out["time"] = [time_of(v, w) or _EARLIEST for v, w in zip(out["time"], where, strict=True)]
    for column, check in (("measured_mw", power_of), ("chips", chips_of)):
        for value, w in zip(frame[columns[column]] if column in columns else (), where, strict=False):
            check(value, w)
    shapes = [outline_of(g, w) for g, w in zip(frame.geometry, where, strict=True)]
    without_place = out["entry_id"].isna() & out["site_id"].isna() & pd.isna(np.asarray(shapes, dtype=object))
    if without_place.any():
        raise RegistryError(f"{where[int(without_place.argmax())]} has no entry_id, site_id or outline; give one")
    return gpd.GeoDataFrame(out, geometry=gpd.GeoSeries(shapes, crs=WGS84), crs=WGS84)


def latest(dispositions: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Keep the latest finding on each place (of equal times, the later row).

    The place is the site, else the entry; a finding with an outline alone is a place of its own.
    """
    order = dispositions.assign(_row=range(len(dispositions))).sort_values(["time", "_row"])
    key = place_of(order)
    key = key.where(key.notna(), "\1" + order["disposition_id"])
    return order[~key.duplicated(keep="last")].sort_values("_row").drop(columns="_row").reset_index(drop=True)


def place_of(rows: pd.DataFrame) -> pd.Series:
    """Return what tells the places of findings or entries apart: the site, else the entry; null without both."""
    site = rows["site_id"].astype(object)
    # \0, and \1 in `latest`, occur in no id
    return site.where(site.notna(), "\0" + rows["entry_id"].astype(object))


def stored(path: Path) -> gpd.GeoDataFrame:
    """Return a dispositions table with all its columns, cells as they stand, outlines as geometry in WGS84.

    Raises:
        RegistryError: the file is unreadable.
    """
    return _table(path)


def own_files(folder: Path) -> list[Path]:
    """Return the dispositions tables of a run folder: that of `overwatt record` first, then those put there by hand."""
    return [file for ending in _ENDINGS if (file := folder / f"dispositions.{ending}").is_file()]


def read_own(folder: Path) -> gpd.GeoDataFrame | None:
    """Read all dispositions tables of a run folder, as `read_dispositions` does; None if there is none.

    Raises:
        RegistryError: as of `read_dispositions`, or an id is in two tables.
    """
    files = own_files(folder)
    if not files:
        return None
    out = pd.concat([read_dispositions(f).assign(_file=f.name) for f in files], ignore_index=True)
    if len(twice := out[out["disposition_id"].duplicated(keep=False)]):
        first = twice.iloc[0]["disposition_id"]
        names = " and ".join(twice["_file"][twice["disposition_id"] == first])
        raise RegistryError(f"{folder}: disposition_id '{first}' is in {names}; delete it in one of them")
    return gpd.GeoDataFrame(out.drop(columns="_file"), crs=WGS84)


def finding_of(value: object, where: str) -> str:
    """Return a finding, a key of `FINDINGS`.

    Args:
        value: the cell.
        where: file and row, for messages; so in the functions below.

    Raises:
        RegistryError: it is unknown.
    """
    word = re.sub(r"[^a-z]+", "_", str(value).strip().lower()).strip("_").replace("centre", "center")
    word = _ALIASES.get(word.removeprefix("a_"), word)
    if word not in FINDINGS:
        raise RegistryError(f"{where}: unknown finding '{str(value)[:60]}'; {nearest(word, FINDINGS)}")
    return word


def time_of(value: object, where: str) -> pd.Timestamp | None:
    """Return a time with its zone, UTC if none is stated; None of an empty cell.

    Raises:
        RegistryError: it is no date, in the future, or before there was imagery from space.
    """
    if (text := as_text(value)) is None:
        return None
    moment = pd.Timestamp(value if isinstance(value, datetime | date) else _parsed_time(text, where))
    zoned = moment.tz_localize(UTC) if moment.tzinfo is None else moment
    now = datetime.now(UTC)
    if zoned > now + (_AHEAD if moment.tzinfo is None else timedelta()):
        raise RegistryError(f"{where}: time '{moment.isoformat()}' lies in the future; give the time of the visit")
    if zoned < _FIRST_IMAGERY:
        raise RegistryError(
            f"{where}: time '{moment.isoformat()}' lies before imagery from space ({_FIRST_IMAGERY:%Y-%m-%d}); "
            "give the time of the visit"
        )
    return zoned


def power_of(value: object, where: str, mark: str | None = None) -> float | None:
    """Return a measured power, MW; None of an empty cell.

    Args:
        value: the cell.
        where: file and row.
        mark: decimal mark of the column, as of `parsing.decimal_mark`.

    Raises:
        RegistryError: it is no number, negative, or more than any facility could have.
    """
    number = _number(value, where, "measured_mw", mark)
    if number is not None and number > MAX_MW:
        raise RegistryError(
            f"{where}: measured_mw {number:g} MW is more than any facility could have ({MAX_MW:,} MW); "
            "is it in kW or W?"
        )
    return number


def chips_of(value: object, where: str, mark: str | None = None) -> int | None:
    """Return a number of chips; None of an empty cell; arguments as of `power_of`.

    Raises:
        RegistryError: it is no whole number, negative, or more than were ever made of any kind.
    """
    if isinstance(value, str) and _GROUP.fullmatch(value.strip()) and mark == value.strip()[-4]:
        raise RegistryError(f"{where}: chips '{value.strip()}' may be thousands; write it without separators")
    number = _number(value, where, "chips", mark)
    if number is None:
        return None
    if not number.is_integer() or number > MAX_CHIPS:
        raise RegistryError(f"{where}: chips {number:g} is not a count; give a whole number up to {MAX_CHIPS:,}")
    return int(number)


def outline_of(shape: shapely.Geometry | None, where: str) -> shapely.Geometry | None:
    """Return an outline, repaired; None if there is none.

    Raises:
        RegistryError: it is no polygon, not in degrees, or cannot be repaired.
    """
    if shape is None or shape.is_empty:
        return None
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise RegistryError(f"{where}: the outline is a {shape.geom_type}; give a polygon")
    west, south, east, north = shape.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise RegistryError(f"{where}: the outline is not in degrees; give WGS84, lon lat")
    valid = repaired(shape)
    if valid is None:
        raise RegistryError(f"{where}: {TANGLED}")
    return valid


def _parsed_time(text: str, where: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    clock = _CLOCK.search(text)
    if clock and not (clock[2] or clock[4]):  # a number alone is no clock
        clock = None
    day = text[: clock.start()] if clock else text
    try:
        if not _DAY.fullmatch(day):
            raise ValueError
        # the order of day and month must be plain
        date_ = datetime.fromisoformat(str(as_date(day, "", 0, "time")))
        return date_.replace(**_clock(clock)) if clock else date_
    except (ValueError, RegistryError) as error:
        cause = (
            "may begin with the day or the month; write it" if "ambiguous" in str(error) else "is not read; write it"
        )
        raise RegistryError(f"{where}: time '{text[:40]}' {cause} in ISO 8601, such as 2026-05-04T10:30") from error


def _clock(match: re.Match[str]) -> dict[str, Any]:
    """Return hour, minute, second and zone of a match of `_CLOCK`."""
    hour = int(match[1])
    if half := (match[4] or "")[:1].lower():
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if half == "p" else 0)
    zone = {"tzinfo": UTC} if match[5] else {}
    if match[6]:
        sign = -1 if match[6].startswith("-") else 1
        shift = timedelta(hours=int(match[6]), minutes=sign * int(match[7] or 0))
        zone = {"tzinfo": timezone(shift)}
    return {"hour": hour, "minute": int(match[2] or 0), "second": int(match[3] or 0), **zone}


def _number(value: object, where: str, column: str, mark: str | None) -> float | None:
    if not isinstance(value, str):
        mark = "."  # a number of the file itself, and no text of unknown decimal mark
    try:
        number = as_number(value, "", 0, column, negative=True, mark=mark)
    except RegistryError as error:
        raise RegistryError(f"{where}, column '{column}': {str(error).partition(': ')[2]}") from error
    if number is not None and number < 0:
        raise RegistryError(f"{where}: {column} {number:g} is negative; give 0 or more, or leave it empty")
    return number


def _table(path: Path) -> gpd.GeoDataFrame:
    if not path.is_file():
        raise RegistryError(f"{path}: no such file")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise RegistryError(f"{path.name}: larger than {MAX_TABLE_BYTES / 1e6:.0f} MB, the limit for dispositions")
    suffix = path.suffix.lower()
    if suffix not in (".parquet", ".csv"):
        return read_vector(path)
    try:
        frame = _parquet(path) if suffix == ".parquet" else _csv(path)
    except (ValueError, pyarrow.ArrowException, OSError) as error:
        raise RegistryError(f"{path.name}: not a readable table; give GeoParquet or CSV in UTF-8") from error
    if isinstance(frame, gpd.GeoDataFrame):
        if frame.crs is None:
            raise RegistryError(f"{path.name}: no CRS; store the file with one")
        return frame.to_crs(WGS84)
    texts = frame["outline"] if "outline" in frame else pd.Series([None] * len(frame), dtype="object")
    try:
        shapes = [None if pd.isna(t) or not str(t).strip() else shapely.from_wkt(str(t)) for t in texts]
    except shapely.errors.ShapelyError as error:
        reason = " ".join(str(error).split())[:80]
        raise RegistryError(f"{path.name}: column 'outline' is not WKT ({reason})") from error
    return gpd.GeoDataFrame(frame, geometry=gpd.GeoSeries(shapes, crs=WGS84), crs=WGS84)


def _csv(path: Path) -> pd.DataFrame:
    frame = read_csv(path)
    if len(faults := frame[FAULT].dropna()):
        raise RegistryError(f"{faults.iloc[0]}; mend the line")  # a finding must not be lost
    return frame.drop(columns=FAULT).replace("", pd.NA)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return gpd.read_parquet(path)
    except ValueError:  # no geometry: the outline, if any, is a column of WKT
        return pd.read_parquet(path)
