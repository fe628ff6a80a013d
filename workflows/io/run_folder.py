"""Files of a run folder: parts under content keys, tables, rasters, all written whole or not at all.

A part is what one tile gave. Its key holds all that its bits depend on (image content, window,
weights, code, torch build, device, precision, batch, threads), so a resumed run finds exactly
the parts that are still right. Everything is written next to its final place and renamed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow
import pyogrio
from filelock import FileLock, Timeout
from pyogrio.errors import DataSourceError

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.output import writing
from overwatt.aoi.output import written as written
from overwatt.models.detector.card import OUTPUTS
from overwatt.pipeline import tables

RASTER_BANDS = OUTPUTS[:4]
"""Bands of the probability raster of a run."""
_ROOT = Path(__file__).resolve().parents[2]  # of the four houses, in a checkout and in an installed wheel
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n")
_DEFUSED = re.compile("^'(?=[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])")  # the last four: full-width = + - @
_LEFT = ".*.[0-9]*.part*"  # temporary files of `written`, and what GDAL puts next to them


def code_version() -> str:
    """Hash of our own source files: two runs with one value ran the same code."""
    return tree_hash(("aoi", "models", "pipeline", "workflows"), {".py", ".csv", ".j2", ".js", ".css"})[:16]


def key(*parts: object) -> str:
    """Stable short hash of what a part depends on."""
    return hashlib.sha256(json.dumps([str(p) for p in parts]).encode()).hexdigest()[:24]


def simulator_version() -> str:
    """Hash of the source and tables that a simulated scene depends on."""
    return tree_hash(("models/simulate", "models/reference"), {".py", ".csv"})[:8]


def tree_hash(folders: tuple[str, ...], suffixes: set[str]) -> str:
    """SHA-256 of the files of given suffixes below folders of the source tree, by name and content."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((_ROOT / folder).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                digest.update(str(path.relative_to(_ROOT)).encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run folder; a second run in it is refused, a killed one leaves no lock behind.

    What a killed run left half-written is removed, and so is a new folder in which nothing came about.

    Raises:
        ConfigError: another run holds it, or it is not a folder.
        OutputError: the folder cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder}: is a file, not a folder")
    new = not folder.exists()
    lock = folder / ".lock"
    held = FileLock(lock)
    with writing(lock):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(f"{folder}: another run is writing here; wait for it, or use another folder") from error
    try:
        for left in (*folder.glob(_LEFT), *folder.glob(f"parts/{_LEFT}")):
            left.unlink(missing_ok=True)
        yield
    finally:
        # only while held and only in a folder that nobody else can know yet: a waiting run must not lose its lock file
        if new and [p.name for p in folder.iterdir()] == [lock.name]:
            lock.unlink()
            folder.rmdir()
        held.release()


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with written(path) as part:
        part.write_text(text, encoding="utf-8")


def save_part(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Store a part: an .npz file, compressed less than by NumPy, which takes twice the time for a tenth of the size."""
    with written(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def load_part(path: Path) -> dict[str, np.ndarray] | None:
    """Read a part, or None when it is missing or damaged (then it is computed again)."""
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def defuse(frame: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before text cells that a spreadsheet would run as a formula."""
    out = frame.copy()
    for name in out.columns:
        if out[name].dtype == "string" or out[name].dtype == object:
            text = out[name]
            if text.dtype == object:
                text = text.where(text.map(lambda v: isinstance(v, str))).astype("string")
            risky = text.str.startswith(_DANGEROUS).fillna(False).to_numpy(bool)
            if risky.any():
                out[name] = out[name].where(~risky, "'" + text)
    return out


def undefused(text: str) -> str:
    """Return a text cell without the apostrophe that `defuse` put in front."""
    return _DEFUSED.sub("", text)


def write_parquet(folder: Path, name: str, frame: gpd.GeoDataFrame | pd.DataFrame) -> Path:
    """Write a table as (Geo)Parquet 1.1, zstd, bbox covering; rows as given."""
    path = folder / f"{name}.parquet"
    with written(path) as part:
        if isinstance(frame, gpd.GeoDataFrame):
            frame.to_parquet(
                part,
                compression="zstd",
                write_covering_bbox=True,
                schema_version="1.1.0",
                row_group_size=5000,
            )
        else:
            frame.to_parquet(part, compression="zstd")
    return path


def write_table(folder: Path, name: str, frame: gpd.GeoDataFrame | pd.DataFrame) -> list[Path]:
    """Write a table as (Geo)Parquet and CSV.

    GeoParquet 1.1, zstd, bbox covering; rows as given by the caller (Hilbert-sorted there).
    CSV has lon/lat of a point inside each geometry (pixels where there is no CRS), and no cell that
    a spreadsheet would run.
    """
    paths = [write_parquet(folder, name, frame), folder / f"{name}.csv"]
    flat = pd.DataFrame(frame)
    if isinstance(frame, gpd.GeoDataFrame):
        points = frame.geometry.representative_point()
        flat = flat.drop(columns="geometry")
        if frame.crs is None:
            flat["x_px"], flat["y_px"] = points.x.round(2), points.y.round(2)
        elif "lon" not in flat:
            flat["lon"], flat["lat"] = points.x.round(7), points.y.round(7)
    with written(paths[1]) as part:
        defuse(flat).to_csv(part, index=False)
    return paths


def read_table(file: Path, name: str) -> gpd.GeoDataFrame:
    """Read a table that a run wrote, checked against its schema.

    Args:
        file: the Parquet file.
        name: of the table, a key of `overwatt.pipeline.tables.SCHEMAS`.

    Raises:
        ConfigError: there is no such file, or it is another table.
    """
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; give a folder that `overwatt run` or `overwatt reconcile` wrote")
    try:
        flat = name not in tables.WITH_GEOMETRY
        return tables.conform(pd.read_parquet(file) if flat else gpd.read_parquet(file), name)
    except (ValueError, TypeError, pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{file.name}: not a table of {name} as `overwatt run` writes it") from error


def hilbert_sorted(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Order rows along a Hilbert curve, ties by the first column, so that bbox reads touch few row groups."""
    if len(frame) < 2 or frame.geometry.is_empty.all():
        return frame
    curve = frame.geometry.representative_point().hilbert_distance(total_bounds=(-180, -90, 180, 90), level=16)
    first = frame.columns[0]
    order = pd.DataFrame({"h": curve, "k": frame[first]}).sort_values(["h", "k"]).index
    return frame.loc[order].reset_index(drop=True)


def write_geopackage(path: Path, layers: dict[str, gpd.GeoDataFrame]) -> None:
    """Write all layers into one GeoPackage."""
    with written(path) as part:
        temporary = part.with_suffix(".part.gpkg")
        try:
            for name, frame in layers.items():
                kind = {} if len(frame) else {"geometry_type": "Unknown"}
                frame.to_crs("EPSG:4326").to_file(temporary, layer=name, driver="GPKG", engine="pyogrio", **kind)
                # GDAL builds the index as it closes the file, and reports no error then
                if not pyogrio.read_info(temporary, layer=name)["capabilities"]["fast_spatial_filter"]:
                    raise DataSourceError("the spatial index is missing")
            os.replace(temporary, part)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write JSON, readable."""
    write_text(path, json.dumps(data, indent=1, default=str) + "\n")
