"""The form of an inspection list in a workbook (XLSX, XLSM), as filled in. The file is not trusted.

In: a path and the columns to read. Out: rows of cells as they stand. What a reader would lose silently is refused:
formulas without a stored result, merged cells, two columns of one name.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

import openpyxl
from openpyxl.utils.cell import coordinate_to_tuple, range_boundaries
from openpyxl.utils.datetime import from_excel
from openpyxl.xml.functions import fromstring

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.declared.parsing import as_text

MAX_UNPACKED_BYTES = 1_000_000_000  # of a workbook: a list of 100,000 entries takes 0.4 GB; own choice
MAX_PART_BYTES = 50_000_000  # of a part that openpyxl holds as a whole, such as the shared strings; own choice
MAX_EMPTY_ROWS = 10_000  # in a row: one cell in the last row of a sheet is a million empty rows; own choice
_MAX_CELLS = 256  # cells read of a row
_HEAD_ROWS = 10  # of a sheet, in which the header is looked for; own choice
_SERIALS = (20_000, 80_000)  # days since 1899-12-30 of the years 1954 to 2119: dates in cells formatted as numbers
_CONTENT_TYPES = "[Content_Types].xml"
# of zipfile, zlib, openpyxl and its XML parser on damaged files; SyntaxError: XML
_BROKEN = (BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError, SyntaxError, zlib.error, IndexError,
           AttributeError, OverflowError, RuntimeError, expat.ExpatError)  # fmt: skip


def read_forms(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of all sheets that have the columns entry_id and finding: `where` and those of `columns`.

    Raises:
        RegistryError: the file is unreadable or too large, no sheet has the columns, or a cell to read has no plain
            value.
    """
    try:
        with ZipFile(path) as archive, path.open("rb") as file:  # openpyxl would leave a broken file open
            _check_sizes(path, archive)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # openpyxl warns of extensions of other programs, which are not read
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            sheets: list[Any] = book.worksheets
            found = []
            for sheet in sheets:
                sheet.reset_dimensions()  # as the file states them; rows beyond would be dropped
                where = f"{path.name}, sheet '{sheet.title}'"
                lines = sheet.iter_rows(values_only=True, max_col=_MAX_CELLS)
                if (form := _form(where, lines, book.epoch, columns)) is not None:
                    header, top, rows = form
                    # openpyxl does not say where the sheet is stored
                    _check_cells(where, archive, sheet._worksheet_path, header, top)
                    found.append(rows)
    except _BROKEN as error:
        cause = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise RegistryError(f"{path.name}: not a readable workbook ({cause[:100]}); save it as XLSX again") from error
    if not found:
        raise RegistryError(
            f"{path.name}: no sheet has the columns entry_id and finding; give a filled-in list of `overwatt export`"
        )
    return [row for rows in found for row in rows]


def _check_sizes(path: Path, archive: ZipFile) -> None:
    """Refuse what unpacks to too much; sheets are read row by row, all other parts at once."""
    sizes = {i.filename: i.file_size for i in archive.infolist()}
    if (unpacked := sum(sizes.values())) > MAX_UNPACKED_BYTES:
        raise RegistryError(
            f"{path.name}: unpacks to {unpacked / 1e9:.1f} GB, the limit is {MAX_UNPACKED_BYTES / 1e9:.0f} GB; "
            "save the sheet form alone"
        )
    sheets = set()
    if sizes.get(_CONTENT_TYPES, 0) <= MAX_PART_BYTES:
        parts = [(p.get("PartName", ""), p.get("ContentType", "")) for p in fromstring(archive.read(_CONTENT_TYPES))]
        sheets = {name.lstrip("/") for name, kind in parts if kind.endswith("worksheet+xml")}
    for name, size in sizes.items():
        if size > MAX_PART_BYTES and name not in sheets:
            raise RegistryError(
                f"{path.name}: its part '{name[:60]}' unpacks to {size / 1e6:.0f} MB, the limit is "
                f"{MAX_PART_BYTES / 1e6:.0f} MB; save the sheet form alone"
            )


def _form(
    where: str, lines: Iterable[tuple[object, ...]], epoch: datetime, columns: Sequence[str]
) -> tuple[list[str], int, list[dict[str, Any]]] | None:  # fmt: skip
    """Return the names of the columns ('' if not read), the row of the header, and the rows below that are not empty.

    None if the sheet is no form.
    """
    header: list[str] = []
    top = empty = 0
    rows = []
    for n, cells in enumerate(lines, 1):
        if not header:
            header = [(as_text(c) or "").lower() for c in cells]
            if not {"entry_id", "finding"} <= set(header):
                header = []
                if n == _HEAD_ROWS:
                    return None
                continue
            top = n
            if twice := [k for k in columns if header.count(k) > 1]:
                raise RegistryError(f"{where}: two columns '{twice[0]}'; delete one")
            continue
        row: dict[str, Any] = {k: v for k, v in zip(header, cells, strict=False) if k in columns}
        if all(v is None for v in row.values()):
            empty += 1
            if empty > MAX_EMPTY_ROWS:
                raise RegistryError(f"{where}: more than {MAX_EMPTY_ROWS:,} empty rows before row {n}; delete them")
            continue
        empty = 0
        row["time"] = _excel_time(row.get("time"), epoch)
        rows.append({"where": f"{where}, row {n}", **row})
    return ([k if k in columns else "" for k in header], top, rows) if header else None


def _check_cells(where: str, archive: ZipFile, part: str, header: Sequence[str], top: int) -> None:
    """Refuse formulas without a stored result and merged cells below the header, in columns that are read."""
    parser = expat.ParserCreate()
    at: dict[str, Any] = {"cell": "", "type": "", "formula": False, "value": False, "text": ""}

    def name(row: int, column: int) -> str:
        return header[column - 1] if row > top and column <= len(header) else ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "c":
            at.update(cell=attributes.get("r", ""), type=attributes.get("t", ""), formula=False, text="")
        elif tag == "f":
            at["formula"] = True
        elif tag == "mergeCell":
            left, _, right, last = (int(v or 0) for v in range_boundaries(attributes.get("ref", "")))
            of = [header[c - 1] for c in range(left, min(right, len(header)) + 1) if header[c - 1]]
            if last > top and of:
                raise RegistryError(
                    f"{where}: cells {attributes['ref'][:20]} of column '{of[0]}' are merged; unmerge them and fill in "
                    "each row"
                )
        at["value"] = tag in ("v", "t")

    def text(found: str) -> None:
        if at["value"]:
            at["text"] = found

    def end(tag: str) -> None:
        # a formula that gives an empty text has a result of type str
        if tag.rpartition(":")[2] == "c" and at["formula"] and not at["text"] and at["type"] != "str" and at["cell"]:
            column = name(*coordinate_to_tuple(at["cell"]))
            if column:
                raise RegistryError(
                    f"{where}, cell {at['cell']}: the formula of '{column}' has no stored result; save the workbook "
                    "in a spreadsheet program, or type the value"
                )

    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = start, text, end
    with archive.open(part) as file:
        parser.ParseFile(file)


def _excel_time(value: object, epoch: datetime) -> object:
    if isinstance(value, int | float) and _SERIALS[0] < value < _SERIALS[1]:
        found = from_excel(value, epoch)
        return found.replace(microsecond=0) if isinstance(found, datetime) else found
    return value
