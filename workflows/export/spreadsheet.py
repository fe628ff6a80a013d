"""The inspection list for spreadsheets: CSV and XLSX without formulas, with the same bytes for the same list.

In: the list as of `table.listing`, its fields, and the notes on it. Out: files. A text that a spreadsheet would take
for a formula gets an apostrophe in front (CSV injection, OWASP). In XLSX every text also has the type text.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pandas as pd
from openpyxl import Workbook
from openpyxl.cell import Cell, WriteOnlyCell
from openpyxl.styles import Alignment, Border, Font, PatternFill, Side
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._write_only import WriteOnlyWorksheet as _Sheet
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.page import PageMargins
from openpyxl.worksheet.properties import PageSetupProperties

from overwatt.pipeline.declared.registry import MAX_MW
from overwatt.workflows.export.fields import FIELDS, FORM, NOT_HELD, Field
from overwatt.workflows.export.styles import COLORS
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.dispositions import FINDINGS

MAX_ROWS = 1_048_576  # per sheet, with the header (Excel specifications and limits)
MAX_UNITS = 32_767  # UTF-16 code units per cell (Excel specifications and limits)
_CUT = " ... [cut: a cell holds no more; the CSV has it whole]"
_PART = 5000  # rows converted to XML at once
_EPOCH = (1980, 1, 1, 0, 0, 0)  # earliest date of a ZIP archive
# full-width = + - @: formulas in spreadsheets set to an East Asian language
_FULL_WIDTH_OPERATORS = ("＝", "＋", "－", "＠")
_ESCAPE = re.compile("_(?=x[0-9A-Fa-f]{4}_)")  # Excel reads _x0009_ as a tab (ECMA-376, ST_Xstring)
# columns of long texts, which get wide columns
_LONG_TEXTS = re.compile(r"(evidence|settles|statement|assumptions|status_check|alternatives|_why|licence|also|scenes)")

# columns of the form, in characters: together one landscape page at about 70%
_FORM_WIDTHS = {"entry_id": 16, "rank": 7, "drawn": 8, "class": 18, "name": 24, "lon": 11, "lat": 11, "finding": 18,
                "measured_mw": 14, "chips": 9, "inspector": 16, "time": 18, "note": 44}  # fmt: skip


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write the list; UTF-8 without byte-order mark."""
    with run_folder.written(path) as part:
        _safe(table).to_csv(part, index=False, lineterminator="\n")


def write_xlsx(
    path: Path, table: pd.DataFrame, fields: list[Field], about: list[tuple[str, str]], *, max_rows: int = MAX_ROWS
) -> list[str]:
    """Write sheets `form`, `list`, `fields`, `about`; return messages on texts cut and sheets split.

    The form has the columns that are filled in, drawn visits first; the list has all others. openpyxl writes everything
    but the rows. They are inserted as XML, which takes a tenth of the time.

    Args:
        path: output file.
        table: the list.
        fields: its columns, in order.
        about: notes on the list, (subject, text).
        max_rows: limit of rows per sheet; further rows go to the sheets `form 2`, `list 2`, ...
    """
    book = Workbook(write_only=True)
    room = max_rows - 1
    later = ~table["drawn"].fillna(False) if "drawn" in table else pd.Series(True, table.index)
    visits_first = table.loc[later.sort_values(kind="stable").index]
    rows: dict[str, Iterator[str]] = {}
    cut = [0]
    starts = range(0, max(len(table), 1), room)
    for title, frame, columns in (
        ("form", visits_first, [f for f in fields if f.name in FORM]),
        ("list", table, [f for f in fields if f.source != "inspector"]),
    ):
        for n, start in enumerate(starts, 1):
            part_of = frame.iloc[start : start + room]
            styles = _sheet(book, title if n == 1 else f"{title} {n}", len(part_of), columns)
            rows[f"xl/worksheets/sheet{len(rows) + 1}.xml"] = _rows(part_of, columns, styles, cut)
    entries = [
        (
            f.name, f.unit, f.meaning, "to fill in" if f.source == "inspector" else f.source,
            int(table[f.name].notna().sum()) if f.name in table else 0,
        )
        for f in fields
    ]  # fmt: skip
    have = {f.name for f in fields}
    entries += [
        (f.name, f.unit, f.meaning, f"{f.source}: not there, so the column is left out", 0)
        for f in FIELDS if f.name not in have
    ]  # fmt: skip
    entries += [(name, "", f"No column: {why}.", "none", 0) for name, why in NOT_HELD]
    header = ("column", "unit", "meaning", "from table", "entries that have it")
    _text_sheet(book, "fields", header, entries, (26, 10, 100, 14, 18))
    _text_sheet(book, "about", ("subject", "what it says"), about, (34, 130))
    with run_folder.written(path) as part:
        raw = part.with_suffix(".raw.part")
        try:
            book.save(raw)
            _with_rows_inserted(raw, part, rows)
        finally:
            raw.unlink(missing_ok=True)
    notes = [f"XLSX: {len(starts)} sheets, as one holds {room} entries"] if len(starts) > 1 else []
    return notes + ([f"XLSX: {cut[0]} texts cut at {MAX_UNITS} characters"] if cut[0] else [])


def _safe(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without cells or headers that a spreadsheet would evaluate."""
    out = run_folder.defuse(table)
    for name in out.columns:
        if out[name].dtype == "string":
            wide = out[name].str.startswith(_FULL_WIDTH_OPERATORS).fillna(False).astype(bool)
            if wide.any():
                out[name] = out[name].where(~wide, "'" + out[name])
    headers = run_folder.defuse(pd.DataFrame({"name": pd.array([str(c) for c in out.columns], dtype="string")}))["name"]
    return out.set_axis(headers.tolist(), axis=1)


def _sheet(book: Workbook, title: str, n: int, columns: list[Field]) -> tuple[list[int], dict[str, int]]:
    """Add a sheet with a header and without rows; return the style ids of the columns, and of cells by class."""
    sheet = book.create_sheet(title)
    names = [f.name for f in columns]
    is_form = any(f.source == "inspector" for f in columns)
    sheet.freeze_panes = f"{get_column_letter(names.index('name') + 2)}2"
    for k, f in enumerate(columns, 1):
        sheet.column_dimensions[get_column_letter(k)].width = _FORM_WIDTHS[f.name] if is_form else _width(f)
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(columns))}{n + 1}"
    # printed: one page wide, of the list only the columns that stand in its first columns
    last = len(columns) if is_form else names.index("settles") + 1
    sheet.print_area = f"A1:{get_column_letter(last)}{n + 1}"
    sheet.print_title_rows = "1:1"
    sheet.page_setup.orientation, sheet.page_setup.paperSize = "landscape", 9  # A4
    sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = 1, 0
    sheet.sheet_properties.pageSetUpPr = PageSetupProperties(fitToPage=True)
    sheet.page_margins = PageMargins(left=0.4, right=0.4, top=0.5, bottom=0.5)  # inches
    if is_form:
        sheet.sheet_format.defaultRowHeight, sheet.sheet_format.customHeight = 24.0, True  # room to write by hand
        for check in _checks(names, n + 1):
            sheet.data_validations.append(check)
    sheet.append([_header(sheet, f) for f in columns])
    classes = {}
    for klass, color in COLORS.items():
        cell = WriteOnlyCell(sheet)
        cell.fill = PatternFill("solid", start_color=_half_white(color))
        classes[klass] = int(cell.style_id)
    return [int(_cell(sheet, f).style_id) for f in columns], classes


def _rows(
    table: pd.DataFrame, fields: list[Field], styles: tuple[list[int], dict[str, int]], cut: list[int]
) -> Iterator[str]:
    """Yield the rows of a sheet as XML, `_PART` at a time; texts have the type text, whatever they contain."""
    letters = [f'<c r="{get_column_letter(n)}' for n in range(1, len(fields) + 1)]
    for start in range(0, len(table), _PART):
        block = _safe(table.iloc[start : start + _PART][[f.name for f in fields]])
        columns = [
            _cells(_values(block[name], f, cut), style, styles[1] if f.name == "class" else {}, f.source == "inspector")
            for name, f, style in zip(block.columns, fields, styles[0], strict=False)
        ]
        out = []
        for n, row in enumerate(zip(*columns, strict=True), start + 2):
            cells = "".join([f"{at}{n}{cell}" for at, cell in zip(letters, row, strict=True) if cell])
            out.append(f'<row r="{n}">{cells}</row>')
        yield "".join(out)


def _cells(values: list[Any], style: int, by_value: dict[str, int], blank: bool) -> list[str]:
    """Return, for each value, the XML after the row number of its cell; '' for an empty cell, unless `blank`."""
    out = []
    for value in values:
        if value is None:
            out.append(f'" s="{style}"/>' if blank else "")
        elif isinstance(value, str):
            text = escape(_ESCAPE.sub("_x005F_", value))
            own = by_value.get(value, style)
            out.append(f'" s="{own}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>')
        elif isinstance(value, bool):
            out.append(f'" s="{style}" t="b"><v>{int(value)}</v></c>')
        else:
            out.append(f'" s="{style}"><v>{value!r}</v></c>')
    return out


def _values(column: pd.Series, f: Field, cut: list[int]) -> list[Any]:
    """Return the values of a column as plain Python, None if absent; texts are cut to the limit of a cell."""
    values: list[Any] = column.astype(object).where(column.notna(), None).tolist()
    if not f.text:
        return values
    for n, text in enumerate(values):
        if text is not None and len(text) > MAX_UNITS // 2:
            units = text.encode("utf-16-le")
            if len(units) > 2 * MAX_UNITS:
                cut[0] += 1
                values[n] = units[: 2 * (MAX_UNITS - len(_CUT))].decode("utf-16-le", errors="ignore") + _CUT
    return values


def _checks(names: list[str], last_row: int) -> list[DataValidation]:
    """Return the validation rules of the cells that the inspector fills in."""

    def over(name: str) -> str:
        letter = get_column_letter(names.index(name) + 1)
        return f"{letter}2:{letter}{max(last_row, 2)}"

    finding = DataValidation("list", formula1=f'"{",".join(FINDINGS)}"', allow_blank=True, sqref=over("finding"))
    finding.error, finding.errorTitle = "One of: " + ", ".join(FINDINGS), "finding"
    power = DataValidation(
        "decimal", operator="between", formula1="0", formula2=str(MAX_MW), allow_blank=True, sqref=over("measured_mw")
    )
    power.error, power.errorTitle = f"IT power in MW, 0 to {MAX_MW:,}", "measured_mw"
    chips = DataValidation("whole", operator="greaterThanOrEqual", formula1="0", allow_blank=True, sqref=over("chips"))
    chips.error, chips.errorTitle = "A whole number, 0 or more", "chips"
    for check in (finding, power, chips):
        check.showErrorMessage = True
    return [finding, power, chips]


def _header(sheet: _Sheet, f: Field) -> Cell:
    name = _safe(pd.DataFrame(columns=[f.name])).columns[0]
    cell = WriteOnlyCell(sheet, value=name)
    cell.data_type = "s"
    cell.font = Font(bold=True, color="FFFFFF")
    cell.fill = PatternFill("solid", start_color="7A4B00" if f.source == "inspector" else "2F4B66")
    cell.alignment = Alignment(vertical="top")
    return cell


def _cell(sheet: _Sheet, f: Field) -> Cell:
    cell = WriteOnlyCell(sheet)
    if f.source == "inspector":
        cell.fill = PatternFill("solid", start_color="FFF4CC")
        edge = Side("thin", color="B8A060")
        cell.border = Border(left=edge, right=edge, top=edge, bottom=edge)
        cell.alignment = Alignment(wrap_text=f.text, vertical="top")
        if f.name == "time":
            cell.number_format = "yyyy-mm-dd hh:mm"  # a date as typed becomes one that every reader takes alike
    elif not f.text:
        if "flop" in f.name:
            cell.number_format = "0.00E+00"
        elif f.unit == "1" and (f.name.startswith("p_") or f.name.endswith(("_p", "probability", "prior"))):
            cell.number_format = "0.000"
        elif f.name in ("lon", "lat"):
            cell.number_format = "0.00000"
        elif f.unit in ("MW", "m", "m2", "K") or f.name.startswith("h100e"):
            cell.number_format = "#,##0.0" if f.unit in ("MW", "K") else "#,##0"
    return cell


def _width(f: Field) -> float:
    if _LONG_TEXTS.search(f.name):
        return 60.0
    return max(10.0, len(f.name) + 3.0, 22.0 if f.text else 0.0)


def _half_white(color: str) -> str:
    """Return the colour '#rrggbb' mixed half and half with white, as 'RRGGBB'."""
    return "".join(f"{(int(color[k : k + 2], 16) + 255) // 2:02X}" for k in (1, 3, 5))


def _text_sheet(
    book: Workbook, title: str, header: tuple[str, ...], rows: list[tuple[Any, ...]] | list[tuple[str, str]],
    widths: tuple[int, ...],
) -> None:  # fmt: skip
    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    for n, width in enumerate(widths, 1):
        sheet.column_dimensions[get_column_letter(n)].width = width
    head = []
    for text in header:
        cell = WriteOnlyCell(sheet, value=text)
        cell.font = Font(bold=True)
        head.append(cell)
    sheet.append(head)
    for row in rows:
        line = []
        for value in _safe(pd.DataFrame([row])).iloc[0].tolist():
            cell = WriteOnlyCell(sheet, value=value[:MAX_UNITS] if isinstance(value, str) else int(value))
            if isinstance(value, str):
                cell.data_type = "s"
                cell.alignment = Alignment(wrap_text=True, vertical="top")
            line.append(cell)
        sheet.append(line)


def _with_rows_inserted(source: Path, target: Path, rows: dict[str, Iterator[str]]) -> None:
    """Copy an XLSX, insert `rows` into its sheets, and remove its time of creation."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as new:
        for name in old.namelist():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
            data = old.read(name)
            if name == "docProps/core.xml":
                data = re.sub(rb"(W3CDTF\">)[^<]*", rb"\g<1>1980-01-01T00:00:00Z", data)
                data = re.sub(rb"(<dc:creator>)[^<]*", rb"\g<1>Overwatt", data)
            with new.open(info, "w", force_zip64=True) as write:
                if name not in rows:
                    write.write(data)
                    continue
                before, end, after = data.rpartition(b"</sheetData>")
                write.write(before)
                for block in rows[name]:
                    write.write(block.encode("utf-8"))
                write.write(end + after)
