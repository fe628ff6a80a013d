"""Readers of received files: CSV in the usual encodings, vector files, JSON. The files are not trusted.

In: a path. Out: a frame or JSON content, or a `RegistryError`. A CSV is read line by line into Arrow columns, so that a
million rows take the memory of their text and not of Python objects. A line with more or fewer fields than the header,
or with a broken quote, is returned with the description of its fault.
"""

from __future__ import annotations

import codecs
import csv as csvs
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyogrio

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.aoi.file_signatures import is_plain_vector
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.compute.ai_models import MAX_ROWS, normalize_models
from overwatt.pipeline.declared.parsing import as_text
from overwatt.pipeline.declared.received import FAULT

TABLE_SUFFIXES = (".csv", ".txt", ".tsv")
_CHUNK = 50_000  # rows converted to Arrow at once
_FIELD_LIMIT = 16 * 2**20  # characters per cell: outlines as WKT are long; own choice
# bytes that Windows-1252 leaves undefined
_NOT_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")


def unreadable(file: Path, error: Exception | str) -> RegistryError:
    """Return the error for a file that cannot be read, with its cause shortened to one line."""
    cause = next(iter(str(error).strip().splitlines()), "unknown cause")[:200]
    return RegistryError(f"registry '{file.name}' cannot be read: {cause}")


def read_csv(file: Path) -> pd.DataFrame:
    """Return a CSV as text columns, '' in empty cells, with a column `FAULT` that describes unreadable lines.

    The separator is comma, semicolon or tab: the one that is most frequent in the header.

    Raises:
        RegistryError: the file is unreadable or empty, or a column name occurs twice.
    """
    limit = csvs.field_size_limit(_FIELD_LIMIT)
    try:
        with file.open(encoding=_encoding(file), newline="") as stream:
            header = stream.readline()
            if not header.strip("\ufeff\r\n\t ,;"):
                raise RegistryError(f"registry '{file.name}' is empty")
            separator = max(",;\t", key=header.count)
            names = next(csvs.reader([header], delimiter=separator))
            names = _unique(file, (as_text(c) or "" for c in names))
            return _columns(file, stream, separator, names)
    except (OSError, ValueError, csvs.Error) as error:
        raise unreadable(file, error) from error
    finally:
        csvs.field_size_limit(limit)


def _columns(file: Path, lines: Iterable[str], separator: str, names: list[str]) -> pd.DataFrame:
    width, chunks = len(names), [list[pa.Array]() for _ in [*names, FAULT]]
    rows: list[list[str]] = []
    faults: list[str | None] = []

    def flush() -> None:
        for k, cells in enumerate(zip(*rows, strict=True) if rows else ()):
            chunks[k].append(pa.array(cells, pa.large_string()))
        chunks[-1].append(pa.array(faults, pa.large_string()))
        rows.clear()
        faults.clear()

    for n, (row, problem) in enumerate(_lines(lines, separator, width), start=1):
        faults.append(f"registry '{file.name}', row {n}: {problem}" if problem else None)
        rows.append((row + [""] * width)[:width] if problem else row)
        if len(rows) == _CHUNK:
            flush()
    flush()
    columns = {
        name: pd.Series(pd.arrays.ArrowStringArray(pa.chunked_array(parts, pa.large_string())))
        for name, parts in zip([*names, FAULT], chunks, strict=True)
    }
    return pd.DataFrame(columns)


def _lines(lines: Iterable[str], separator: str, width: int) -> Iterator[tuple[list[str], str | None]]:
    """Yield each record with the description of its fault, None if there is none.

    A broken quote makes the reader swallow the lines after it. These lines are therefore read again, so that only the
    line with the broken quote is lost.
    """
    source, taken, unread = iter(lines), list[str](), list[str]()

    def feed() -> Iterator[str]:
        while True:
            line = unread.pop() if unread else next(source, None)
            if line is None:
                return
            taken.append(line)
            yield line

    reader = csvs.reader(feed(), delimiter=separator, strict=True)
    while True:
        taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csvs.Error as error:
            unread.extend(reversed(taken[1:]))
            if not taken:
                return
            yield [], f"cannot be read: {error}"
            reader = csvs.reader(feed(), delimiter=separator, strict=True)
            continue
        if len(row) == width:
            yield row, None
        elif row and len(row) > width and not any(c.strip() for c in row[width:]):
            yield row[:width], None  # spreadsheets append empty fields to lines
        elif row:
            unread.extend(reversed(taken[1:]))
            yield row, f"{len(row)} fields, the header has {width}"
        # an empty line is not a row


def _encoding(file: Path) -> str:
    """Return the encoding: UTF-16 by its byte-order mark, UTF-8 if valid, else Windows-1252 or Latin-1."""
    decoder, utf8, not_cp1252 = codecs.getincrementaldecoder("utf-8")(), True, False
    with file.open("rb") as stream:
        first = True
        while part := stream.read(2**20):
            if first and part[:2] in (b"\xff\xfe", b"\xfe\xff"):
                return "utf-16"
            first = False
            try:
                utf8 = utf8 and decoder.decode(part) is not None
            except UnicodeDecodeError:
                utf8 = False
            not_cp1252 = not_cp1252 or bool(_NOT_CP1252 & frozenset(part))
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        utf8 = False
    return "utf-8-sig" if utf8 else "latin-1" if not_cp1252 else "cp1252"


def _unique(file: Path, names: Iterable[str]) -> list[str]:
    out, seen = list(names), set[str]()
    for name in out:
        if name and name in seen:
            raise RegistryError(f"registry '{file.name}': column '{name}' occurs twice; rename one")
        seen.add(name)
    # a column without a name gets one that no file can contain
    return [name or f"\0{k}" for k, name in enumerate(out)]


def read_vector(file: Path) -> pd.DataFrame:
    """Read GeoJSON, GeoPackage, KML or Parquet; geometries are in `geometry`, lon/lat. Of several layers, the first.

    Returns:
        A GeoDataFrame, or a plain frame if the file has no geometries.

    Raises:
        RegistryError: the file cannot be read or has no coordinate system.
    """
    if not is_plain_vector(file):
        raise RegistryError(f"registry '{file.name}': not GeoJSON, GeoPackage, KML or GeoParquet by its first bytes")
    try:
        frame = _parquet(file) if file.suffix.lower() in (".parquet", ".geoparquet", ".pq") else _layer(file)
    except Exception as error:  # GDAL and Arrow raise many types; for the user all mean the same
        raise unreadable(file, error) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        return pd.DataFrame(frame)
    if frame.crs is None:
        raise RegistryError(f"registry '{file.name}' has no coordinate system; store it with one")
    if frame.geometry.name != "geometry":
        if "geometry" in frame:
            frame = frame.drop(columns="geometry")
        frame = frame.rename_geometry("geometry")
    return frame.to_crs(WGS84)


def _parquet(file: Path) -> pd.DataFrame:
    try:
        return gpd.read_parquet(file)
    except ValueError as error:
        if "geo metadata" not in str(error).lower():
            raise
        return pd.read_parquet(file)


def _layer(file: Path) -> pd.DataFrame:
    layers = pyogrio.list_layers(file)
    return gpd.read_file(file, layer=layers[0][0]) if len(layers) > 1 else gpd.read_file(file)


def read_json(file: Path) -> object:
    """Return the content of a JSON file.

    Raises:
        RegistryError: it is not readable JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(file, error) from error


def read_models(path: Path) -> pd.DataFrame:
    """Read a CSV of AI models; returns what `overwatt.pipeline.compute.ai_models.normalize_models` returns.

    Raises:
        ConfigError: the file cannot be read as such a table; the message names an invalid cell and its row (header: 1).
    """
    if not path.is_file():
        raise ConfigError(f"--models {path}: no such file; give Epoch AI's CSV of AI models")
    try:
        raw = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig",
            skip_blank_lines=False, nrows=MAX_ROWS + 2,
        )  # fmt: skip
    except (ValueError, OSError, OverflowError) as error:  # includes rows longer than the header
        text = " ".join(str(error).split())[:160]
        raise ConfigError(
            f"--models {path.name}: cannot be read as CSV in UTF-8 ({text}); export it again as such"
        ) from error
    return normalize_models(raw, f"--models {path.name}")
