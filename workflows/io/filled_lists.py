"""Inspection lists as inspectors return them: XLSX, CSV, GeoPackage, KML, GeoJSON. The files are not trusted.

In: a path. Out: the rows with the columns to fill in, cells as they stand, and the outlines that the file has. Nothing
is judged here but the form of the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import geopandas as gpd
import openpyxl
import pandas as pd
from openpyxl.utils.datetime import from_excel

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.pipeline.declared.parsing import as_text
from overwatt.pipeline.declared.received import FAULT
from overwatt.workflows.io.delimited import read_csv
from overwatt.workflows.io.layers import read_layers
from overwatt.workflows.io.run_folder import undefused
from overwatt.workflows.io.tabular import TABLE_SUFFIXES

TO_FILL = ("finding", "measured_mw", "chips", "inspector", "time", "note")
"""Columns that inspectors fill in."""
_READ = ("entry_id", *TO_FILL, "lon", "lat")
MAX_UNPACKED_BYTES = 1_000_000_000  # of a workbook: a list of 100,000 entries takes 0.4 GB; own choice
_MAX_LINES, _MAX_CELLS = 1_048_576, 256  # rows of a sheet (Excel specifications and limits); cells read of a row
_HEAD_ROWS = 10  # of a sheet, in which the header is looked for; own choice
_SERIALS = (20_000, 80_000)  # days since 1899-12-30 of the years 1954 to 2119: dates in cells formatted as numbers


def read_filled(path: Path) -> pd.DataFrame:
    """Read a returned list: `where` (file and row, for messages), entry_id, `TO_FILL`, lon, lat, geometry.

    Cells are as in the file, None where empty; geometry is a shape in WGS84 or None. A GeoPackage gives the rows of all
    layers, also of those with outlines and nothing to fill in.

    Raises:
        RegistryError: the file is missing, unreadable, of another format, or without entry_id and finding.
        GridError: a layer has no known CRS.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix in (".xls", ".ods", ".numbers"):
        raise RegistryError(f"{path.name}: a workbook of another format; save it as XLSX, or the sheet form as CSV")
    if suffix == ".xlsx":
        return _columns(path, _workbook(path))
    return _columns(path, _delimited(path) if suffix in TABLE_SUFFIXES else _layers(path))


def _workbook(path: Path) -> pd.DataFrame:
    """Return the rows of all sheets that have the columns entry_id and finding."""
    try:
        with ZipFile(path) as archive:
            unpacked = sum(i.file_size for i in archive.infolist())
        if unpacked > MAX_UNPACKED_BYTES:
            raise RegistryError(
                f"{path.name}: unpacks to {unpacked / 1e9:.1f} GB, the limit is {MAX_UNPACKED_BYTES / 1e9:.0f} GB; "
                "save the sheet form alone"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl warns of extensions of other programs, which are not read
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                found = [
                    _sheet(path, sheet.title, sheet.iter_rows(values_only=True, max_col=_MAX_CELLS))
                    for sheet in book.worksheets
                ]
            finally:
                book.close()
    except (BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError, SyntaxError) as error:  # SyntaxError: XML
        cause = next(iter(str(error).splitlines()), type(error).__name__)[:100]
        raise RegistryError(f"{path.name}: not a readable workbook ({cause}); save it as XLSX again") from error
    forms = [rows for rows in found if rows is not None]
    if not forms:
        raise RegistryError(
            f"{path.name}: no sheet has the columns entry_id and finding; give a filled-in list of `overwatt export`"
        )
    return pd.DataFrame([row for rows in forms for row in rows], columns=["where", *_READ])


def _sheet(path: Path, title: str, lines: Iterable[tuple[object, ...]]) -> list[dict[str, Any]] | None:
    """Return the rows of a sheet that are not empty; None if it is no form."""
    header: list[str] = []
    rows = []
    for n, cells in enumerate(lines, 1):
        if not header:
            header = [(as_text(c) or "").lower() for c in cells]
            if not {"entry_id", "finding"} <= set(header):
                header = []
                if n == _HEAD_ROWS:
                    return None
            continue
        if n > _MAX_LINES:
            raise RegistryError(f"{path.name}, sheet '{title}': more than {_MAX_LINES:,} rows; save it again")
        row = {k: _cell(v) for k, v in zip(header, cells, strict=False) if k in _READ}
        if any(v is not None for v in row.values()):
            row["time"] = _excel_time(row.get("time"))
            rows.append({"where": f"{path.name}, sheet '{title}', row {n}", **row})
    return rows if header else None


def _cell(value: object) -> object:
    return (undefused(value) or None) if isinstance(value, str) else value


def _excel_time(value: object) -> object:
    if isinstance(value, int | float) and _SERIALS[0] < value < _SERIALS[1]:
        found = from_excel(value)
        return found.replace(microsecond=0) if isinstance(found, datetime) else found
    return value


def _delimited(path: Path) -> pd.DataFrame:
    try:
        frame = read_csv(path)
    except RegistryError as error:
        raise RegistryError(str(error).removeprefix("registry ")) from error
    if len(faults := frame[FAULT].dropna()):
        raise RegistryError(f"{faults.iloc[0].removeprefix('registry ')}; mend the line")
    if frame.attrs["cut_off"]:
        raise RegistryError(f"{path.name}: ends within a row; copy the file again")
    frame = frame.drop(columns=FAULT).map(lambda v: undefused(v) or None)
    return frame.assign(where=[f"{path.name}, row {n}" for n in range(2, len(frame) + 2)])


def _layers(path: Path) -> pd.DataFrame:
    frame = read_layers(path)
    if sign := frame.attrs["cut_short"]:
        raise RegistryError(f"{path.name}: is not complete: {sign}; export all of it")
    number = frame.groupby("layer", dropna=False).cumcount() + 1
    where = [f"{path.name}, layer '{k}', row {n}" for k, n in zip(frame["layer"], number, strict=True)]
    plain = pd.DataFrame(frame).assign(where=where)
    if isinstance(frame, gpd.GeoDataFrame):
        return plain.assign(geometry=pd.Series(list(frame.geometry), dtype=object))
    return plain.drop(columns="geometry", errors="ignore")


def _columns(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Return `where`, the columns that are read, whatever the case of their names, and geometry."""
    own = {str(c).strip().lower(): c for c in frame.columns}
    for needed in ("entry_id", "finding"):
        if needed not in own:
            raise RegistryError(
                f"{path.name}: no column '{needed}'; {nearest(needed, own)}; give a filled-in list of `overwatt export`"
            )
    out = pd.DataFrame({"where": frame["where"].astype(object)})
    for name in _READ:
        values = frame[own[name]].astype(object) if name in own else pd.Series([None] * len(frame), dtype=object)
        out[name] = values.where(values.notna(), None).to_numpy()
    out["entry_id"] = pd.Series([as_text(v) for v in out["entry_id"]], dtype=object)
    out["geometry"] = frame.get("geometry")
    return out
