"""Readers of received files: vector files, JSON, Epoch's models. The files are not trusted.

In: a path. Out: a frame or JSON content, or a `RegistryError`. CSV is read by `delimited`, all layers of a vector file
by `layers`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from overwatt.aoi.completeness import rows_of
from overwatt.aoi.errors import ConfigError, OverwattError, RegistryError
from overwatt.aoi.file_signatures import head_of
from overwatt.pipeline.compute.ai_models import MAX_ROWS, normalize_models
from overwatt.workflows.io import limits
from overwatt.workflows.io.layers import read_layers

TABLE_SUFFIXES = (".csv", ".txt", ".tsv")
JSON_SUFFIXES = (".json", ".geojson", ".ndjson", ".jsonl", ".geojsonl")
_VECTORS = (b"SQLite format 3", b"PAR1", b"<")  # GeoPackage, Parquet, KML


def read_vector(file: Path, layer: str | None = None) -> pd.DataFrame:
    """Read GeoJSON, GeoPackage, KML or Parquet; geometries are in `geometry`, lon/lat.

    Args:
        file: the file.
        layer: the only layer to read; all of them by default.

    Returns:
        A GeoDataFrame, or a plain frame if the file has no geometries; column `layer` and `attrs["not_read"]` as
        `layers.read_layers` gives them.

    Raises:
        RegistryError: the file cannot be read or has no coordinate system.
    """
    if file.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise RegistryError(f"registry '{file.name}' is a workbook; save the sheet as CSV (UTF-8)")
    try:
        return read_layers(file, layer)
    except OverwattError as error:
        raise RegistryError(f"registry '{file.name}'{str(error).removeprefix(file.name)}") from error


def refuse_markup(file: Path) -> None:
    """Raise RegistryError for a web page, often an error page under the name of the data, and for OpenStreetMap XML."""
    head = head_of(file).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        raise RegistryError(f"registry '{file.name}' is a web page, perhaps an error page; download the data itself")
    if head.startswith(b"<") and b"<osm" in head:
        raise RegistryError(f"registry '{file.name}' is OpenStreetMap XML; ask Overpass for [out:json]")


def read_json(file: Path) -> object:
    """Return the content of a JSON file; of a file with one value per line, the list of them.

    Raises:
        RegistryError: it is not readable JSON, or is cut short.
    """
    try:
        text = file.read_text(encoding="utf-8-sig").strip()
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
            return [json.loads(line) for line in text.replace("\x1e", "\n").splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        cause = next(iter(str(error).strip().splitlines()), "unknown cause")[:200]
        cut = isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip()) - 1
        cut |= isinstance(error, json.JSONDecodeError) and error.msg.startswith("Unterminated")
        hint = "; the file is cut short: download it again" if cut else ""
        raise RegistryError(f"registry '{file.name}' cannot be read: {cause}{hint}") from error


def table_of(file: Path, content: object) -> pd.DataFrame:
    """Return JSON rows as a table of unchanged cells: a list of objects, an object that has one, or one of columns.

    Raises:
        RegistryError: there is none.
    """
    rows = [content] if isinstance(content, dict) and content.get("type") == "Feature" else rows_of(content)
    if rows is None and isinstance(content, dict):
        columns = {k: v for k, v in content.items() if isinstance(v, list)}
        if columns and len({len(v) for v in columns.values()}) == 1:
            return pd.DataFrame({k: pd.Series(v, dtype=object) for k, v in columns.items()})
    if rows is None and isinstance(content, dict) and content.get("error"):
        said = " ".join(str(content["error"]).split())[:120]
        raise RegistryError(f"registry '{file.name}' holds an error of the service, no rows: {said}; ask it again")
    if rows is None or not all(isinstance(r, dict) for r in rows):
        raise RegistryError(f"registry '{file.name}' is not a list of objects, nor an object that holds one")
    width = len({key for row in rows for key in row}) if rows else 0
    if len(rows) > limits.MAX_ROWS or width > limits.MAX_COLUMNS:
        raise RegistryError(
            f"registry '{file.name}' has {len(rows):,} rows and {width:,} columns; the limits are "
            f"{limits.MAX_ROWS:,} and {limits.MAX_COLUMNS:,}; reduce it to the area"
        )
    # as objects: beside an empty cell integers would become floats and lose digits
    return pd.DataFrame([_feature(r) if r.get("type") == "Feature" else r for r in rows], dtype=object)


def _feature(feature: dict[str, Any]) -> dict[str, Any]:
    own = feature.get("properties")
    return {"id": feature.get("id"), **(own if isinstance(own, dict) else {}), "geometry": feature.get("geometry")}


def is_vector(file: Path) -> bool:
    """Whether a file is for `read_vector`: no JSON, or GeoJSON or Esri JSON as one object."""
    head = head_of(file)
    if head.startswith(_VECTORS) or file.suffix.lower() not in JSON_SUFFIXES:
        return True
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    marks = (b'"FeatureCollection"', b'"features"', b'"geometryType"', b'"spatialReference"')
    return text.startswith(b"{") and any(m in head for m in marks)


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
