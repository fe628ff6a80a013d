"""Delimited text (CSV): encoding, separator and header are found, broken lines are kept with their fault.

In: a path; the file is not trusted. Out: a frame of text columns. pyarrow parses the records, a chunk at a time, so
that a million rows take the memory of their text. It would join the lines after a quote that is never closed into one
cell, so lines with quotes are first read by the strict reader of the standard library.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

import charset_normalizer
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.declared.parsing import as_text
from overwatt.pipeline.declared.received import FAULT
from overwatt.workflows.io.limits import MAX_COLUMNS, MAX_ROWS

_CHUNK = 50_000  # records parsed at once
_FIELD_LIMIT = 16 * 2**20  # characters per cell: outlines as WKT are long; own choice
_MAX_LINES = 1000  # lines of one record; beyond it a quote was not closed; own choice
_HEAD_LINES = 200  # read to find separator and header; own choice
_SEPARATORS = ",;\t|"
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
_SAMPLE = 65_536  # bytes from which an encoding is told
# code pages of spreadsheets; among all 90 that the detector knows, short texts are often mistaken
_CODE_PAGES = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "gb18030", "big5", "euc_kr", "koi8_r",
               "mac_roman", "cp850"]  # fmt: skip
_BAD_UTF8 = "overwatt-cp1252"  # name of the handler of bytes that are not UTF-8
_NOT_CP1252 = b"\x81\x8d\x8f\x90\x9d"  # bytes without a character there
_OTHERS = {
    b"PK\x03\x04": "an Excel workbook or another ZIP file; save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (XLS); save the sheet as CSV (UTF-8)",
    b"PAR1": "Parquet; rename it to .parquet",
    b"SQLite format 3": "a GeoPackage or another SQLite database; rename it to .gpkg",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
    b"%PDF": "a PDF; give the table behind it as CSV",
}


def read_csv(file: Path) -> pd.DataFrame:
    """Return a CSV as text columns, '' in empty cells, with a column `FAULT` that describes unreadable lines.

    Separators are comma, semicolon, tab and |; a line `sep=;` and title lines before the header are skipped. Lines of
    nothing but separators are no rows. `attrs["cut_off"]` is true if the file ends within a row; `attrs["encoding"]`
    says how characters were read if the file does not tell, else ''.

    Raises:
        RegistryError: the file is unreadable, empty or of another format, a column name occurs twice, or it is unclear
            which line is the header.
    """
    with _opened(file) as (lines, separator, names, said):
        frame = _table(file, lines, separator, names)
    frame.attrs["encoding"] = said
    return frame


def header_of(file: Path) -> list[str]:
    """Return the column names of a CSV; errors as of `read_csv`."""
    with _opened(file) as (_, _, names, _):
        return names


@contextmanager
def _opened(file: Path) -> Iterator[tuple[_Lines, str, list[str], str]]:
    """Yield the lines after the header, the separator, the column names and what is to be said of the encoding."""
    limit = csv.field_size_limit(_FIELD_LIMIT)
    try:
        _refuse_others(file)
        encoding, said = _encoding(file)
        errors = _BAD_UTF8 if encoding.startswith("utf-8") else "strict"
        with file.open(encoding=encoding, errors=errors, newline=None) as stream:
            head = list(islice(stream, _HEAD_LINES))
            separator, first = _start(file, head)
            lines = _Lines(chain(head[first:], stream))
            header, problem = next(_records(lines, separator, None), ("", None))
            if problem:
                raise RegistryError(f"registry '{file.name}', header: {problem}")
            header = header.removeprefix("#")  # a header written as a comment
            names = _unique(file, (as_text(c) or "" for c in next(csv.reader([header], delimiter=separator), [])))
            if len(names) > MAX_COLUMNS:
                raise RegistryError(
                    f"registry '{file.name}' has {len(names):,} columns, the limit is {MAX_COLUMNS:,}; drop some"
                )
            if all(n.startswith("\0") for n in names):
                raise RegistryError(f"registry '{file.name}' is empty")
            yield lines, separator, names, said
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        cause = next(iter(str(error).strip().splitlines()), "unknown cause")[:200]
        raise RegistryError(f"registry '{file.name}' cannot be read: {cause}") from error
    finally:
        csv.field_size_limit(limit)


class _Lines:
    """Lines without their ends that can be taken back."""

    def __init__(self, source: Iterable[str]) -> None:
        self.source, self.unread = iter(source), list[str]()
        self.ended = True  # whether the last line had an end

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.unread:
            return self.unread.pop()
        line = next(self.source)
        self.ended = line.endswith("\n")
        line = line[:-1] if self.ended else line
        return line.replace("\0", " ") if "\0" in line else line


def _table(file: Path, lines: _Lines, separator: str, names: list[str]) -> pd.DataFrame:
    parts, faults = list[pa.Table](), list[str | None]()
    records = _records(lines, separator, len(names))
    while chunk := list(islice(records, _CHUNK)):
        parts.append(_parsed([text for text, _ in chunk], separator, len(names)))
        start = len(faults)
        if start + len(chunk) > MAX_ROWS:
            raise RegistryError(f"registry '{file.name}' has more than {MAX_ROWS:,} rows; reduce it to the area")
        faults += [f and f"registry '{file.name}', row {start + k}: {f}" for k, (_, f) in enumerate(chunk, start=1)]
    data = pa.concat_tables(parts) if parts else _parsed([], separator, len(names))
    columns = {n: pd.Series(pd.arrays.ArrowStringArray(data.column(k))) for k, n in enumerate(names)}
    columns[FAULT] = pd.Series(pd.arrays.ArrowStringArray(pa.chunked_array([faults], pa.large_string())))
    frame = pd.DataFrame(columns)
    last = faults[-1] if faults else None
    # a short last line that has no end: the file was cut; a footer of one cell is not
    frame.attrs["cut_off"] = not lines.ended and last is not None and ("never closed" in last or "1 field," not in last)
    return frame


def _parsed(records: list[str], separator: str, width: int) -> pa.Table:
    """Return records of `width` fields each as text columns."""
    names = [str(k) for k in range(width)]
    if not records:
        return pa.table({n: pa.array([], pa.large_string()) for n in names})
    return pyarrow.csv.read_csv(
        io.BytesIO("\n".join(records).encode("utf-8", "replace")),
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=2**28),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
    )


def _records(lines: _Lines, separator: str, width: int | None) -> Iterator[tuple[str, str | None]]:
    """Yield the text of each record and its fault, None if there is none; a faulty one is cut or filled to `width`.

    A broken quote swallows the lines after it. These lines are therefore taken back, so that only the line with the
    broken quote is lost.
    """
    blank = separator + " \t\r"
    for line in lines:
        if not line.strip(blank):
            continue
        if '"' not in line:
            fields, text, problem, cells = line.count(separator) + 1, line, None, None
        else:
            taken = [line]
            cells, problem = _quoted(taken, lines, separator)
            fields, text = len(cells), "\n".join(taken)
            if problem or (width and fields != width):
                lines.unread.extend(reversed(taken[1:]))
        if not problem and fields in (width, width or fields):
            yield text, None
            continue
        assert width is not None or problem
        cells = text.split(separator) if cells is None else cells
        # spreadsheets append empty fields to lines
        if not problem and not any(c.strip() for c in cells[width:]) and fields > (width or 0):
            yield _line(cells[:width], separator), None
        else:
            n = width or len(cells)
            counted = f"{fields} field{'s' if fields > 1 else ''}, the header has {width}"
            yield _line((cells + [""] * n)[:n], separator), problem or counted


def _quoted(taken: list[str], lines: _Lines, separator: str) -> tuple[list[str], str | None]:
    """Return the fields of the record that begins with the line in `taken`, and its fault; adds the lines it takes."""

    def feed() -> Iterator[str]:
        yield taken[0] + "\n"
        for line in islice(lines, _MAX_LINES):
            taken.append(line)
            yield line + "\n"

    try:
        return next(csv.reader(feed(), delimiter=separator, strict=True)), None
    except csv.Error as error:
        never = str(error) == "unexpected end of data"
        cells = next(csv.reader(taken[:1], delimiter=separator), [])
        return cells, "a quote is never closed" if never else f"cannot be read: {error}"


def _line(cells: list[str], separator: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="", quoting=csv.QUOTE_ALL).writerow(cells)
    return out.getvalue()


def _start(file: Path, head: list[str]) -> tuple[str, int]:
    """Return the separator, and the index of the line with the header.

    Raises:
        RegistryError: lines before the header are not plainly titles or comments.
    """
    stated = re.fullmatch(r'"?sep=(.|\\t)"?;*\s*', head[0], re.IGNORECASE) if head else None
    skip = int(stated is not None)
    choices = _SEPARATORS if stated is None else stated[1].replace("\\t", "\t")
    found = {s: _rows(head[skip:], s) for s in choices}
    typical = {s: _typical(rows) for s, rows in found.items()}
    separator = max(choices, key=lambda s: (_agreement(found[s], typical[s][0]), _has_header(found[s])))
    rows, (_, width) = found[separator], typical[separator]
    if not rows or len(rows[0][1]) >= width:
        return separator, skip
    # the first line is narrower than the others: a title, if a line below looks like a header
    at = next((k for k, (_, row) in enumerate(rows) if len(row) == width and _is_header(row)), 0)
    line = rows[at][0]
    if all(sum(bool(c.strip()) for c in row) <= 1 or row[0].startswith("#") for _, row in rows[:at]):
        return separator, skip + line
    raise RegistryError(f"registry '{file.name}': line {skip + line + 1} looks like the header; "
                        "delete the lines before it")  # fmt: skip


def _rows(lines: list[str], separator: str) -> list[tuple[int, list[str]]]:
    """Return (index of its first line, fields without empty ones at the end) of each record that is not empty."""
    reader, rows, before = csv.reader(lines, delimiter=separator), list[tuple[int, list[str]]](), 0
    for row in reader:
        while row and not row[-1].strip():
            row.pop()
        if row:
            rows.append((before, row))
        before = reader.line_num
    return rows


def _typical(rows: list[tuple[int, list[str]]]) -> tuple[int, int]:
    """Return how many records have the most frequent number of fields above one, and that number."""
    counts = Counter(len(row) for _, row in rows if len(row) > 1)
    return max(((n, width) for width, n in counts.items()), default=(0, 1))


def _agreement(rows: list[tuple[int, list[str]]], typical: int) -> float:
    """Return the number of records of the typical width, times the square of their share.

    Quoted cells that hold another separator, or go over several lines, make a few records of one width among others.
    """
    return typical**3 / max(len(rows), 1) ** 2


def _has_header(rows: list[tuple[int, list[str]]]) -> bool:
    return bool(rows) and len(rows[0][1]) > 1 and _is_header(rows[0][1])


def _is_header(row: list[str]) -> bool:
    """Whether all cells are different texts and none is a number."""
    texts = [c.strip().casefold() for c in row]
    return all(t and not re.fullmatch(r"[+-]?[\d.,\s]+", t) for t in texts) and len(set(texts)) == len(texts)


def _unique(file: Path, names: Iterable[str]) -> list[str]:
    out, seen = list(names), set[str]()
    for name in out:
        if name and name in seen:
            raise RegistryError(f"registry '{file.name}': column '{name}' occurs twice; rename one")
        seen.add(name)
    # a column without a name gets one that no file can contain
    return [name or f"\0{k}" for k, name in enumerate(out)]


def _refuse_others(file: Path) -> None:
    with file.open("rb") as stream:
        head = stream.read(1024)
    kind = next((words for signature, words in _OTHERS.items() if head.startswith(signature)), None)
    text = head.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        kind = "a web page (HTML) or XML, perhaps an error or login page; download the table itself"
    elif text.startswith(b"{") or re.match(rb"\[\s*[\{\[]", text):
        kind = "JSON; rename it to .json"
    if kind:
        raise RegistryError(f"registry '{file.name}' is named as a table, but is {kind}")


def _encoding(file: Path) -> tuple[str, str]:
    """Return the encoding, and what is to be said of it: by byte-order mark, UTF-16 by its zero bytes, UTF-8 if most
    lines are valid, else the likeliest code page.
    """
    sample, lines = b"", Counter[bool]()
    with file.open("rb") as stream:
        head = stream.read(_SAMPLE)
        for bom, name in _BOMS.items():
            if head.startswith(bom) and name != "utf-8-sig":
                return name, ""
        for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
            if zeros and zeros.count(0) > 0.4 * len(zeros):
                return name, ""
        stream.seek(0)
        while part := stream.read(2**20) + stream.readline():
            if part.isascii():
                continue
            # only the lines that are not ASCII tell the code page
            special = [line for line in part.splitlines() if not line.isascii()]
            lines.update(map(_is_utf8, special))
            if len(sample) < _SAMPLE and lines[False]:
                sample += b"\n".join(special)
    utf8 = "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"
    if not lines[False]:
        return utf8, ""
    if lines[True] > lines[False] or utf8 == "utf-8-sig":
        of = f"{lines[False]:,} of its {lines.total():,} lines with characters beyond ASCII"
        return utf8, f"{of} are not UTF-8, their characters were read as cp1252"
    best = charset_normalizer.from_bytes(sample[:_SAMPLE], cp_isolation=_CODE_PAGES).best()
    page = "latin-1" if best is None or not _decodes(file, best.encoding) else best.encoding
    return page, f"states no encoding, {page} is the likeliest; if names look wrong, save it as UTF-8"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _as_cp1252(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "".join(bytes([b]).decode("cp1252" if b not in _NOT_CP1252 else "latin-1") for b in bad), error.end


codecs.register_error(_BAD_UTF8, _as_cp1252)


def _decodes(file: Path, encoding: str) -> bool:
    try:
        with file.open(encoding=encoding) as stream:
            while stream.read(2**20):
                pass
    except UnicodeError:
        return False
    return True
