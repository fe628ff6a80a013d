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
