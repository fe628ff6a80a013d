"""The dispositions table: what inspectors found. The file is not trusted.

In: GeoParquet, CSV with a WKT outline, GeoJSON or GeoPackage. Out: disposition_id, site_id, time,
finding, class and outline (geometry, WGS84). The table is append-only: rows are never changed, and of two findings on
one site the later one counts. Other columns, such as the name of the inspector, are not read.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow
import shapely

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.aoi.geodesy import WGS84
from overwatt.aoi.outline import TANGLED, repaired
from overwatt.pipeline.declared.received import FAULT
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
}
MAX_TABLE_BYTES = 200_000_000  # own choice: far above any real table
_EARLIEST = pd.Timestamp("1900-01-01", tz="UTC")  # a finding without a time counts as the earliest


def read_dispositions(path: Path) -> gpd.GeoDataFrame:
    """Read a dispositions table: disposition_id, site_id, time, finding, class, outline (geometry, WGS84).

    Raises:
        RegistryError: the file is unreadable, a column is missing, a finding is unknown, a time or an outline is
            invalid, or an id occurs twice.
    """
    frame = _table(path)
    name = path.name
    columns = {str(c).strip().lower(): c for c in frame.columns}
    for needed in ("disposition_id", "finding", "time"):
        if needed not in columns:
            raise RegistryError(f"{name}: no column '{needed}'; {nearest(needed, columns)}")
    out = pd.DataFrame({k: frame[columns[k]] for k in ("disposition_id", "finding", "time")}).reset_index(drop=True)
    out["site_id"] = frame[columns["site_id"]].to_numpy() if "site_id" in columns else None
    out["site_id"] = [None if pd.isna(v) or not str(v).strip() else str(v).strip() for v in out["site_id"]]
    out["disposition_id"] = [str(v).strip() for v in out["disposition_id"]]
    if duplicates := out["disposition_id"][out["disposition_id"].duplicated()].tolist():
        raise RegistryError(
            f"{name}: disposition_id '{duplicates[0]}' occurs twice; the table is append-only: give each row its own id"
        )
    out["finding"] = [_finding(v, i, name) for v, i in zip(out["finding"], out["disposition_id"], strict=True)]
    out["class"] = out["finding"].map(FINDINGS)
    out["time"] = [_time(v, i, name) for v, i in zip(out["time"], out["disposition_id"], strict=True)]
    shapes = [_outline(g, i, name) for g, i in zip(frame.geometry, out["disposition_id"], strict=True)]
    without_place = (out["site_id"].isna() & pd.isna(np.asarray(shapes, dtype=object))).tolist()
    if any(without_place):
        disposition = out["disposition_id"][without_place.index(True)]
        raise RegistryError(f"{name}: disposition '{disposition}' has neither site_id nor outline; give one of them")
    return gpd.GeoDataFrame(out, geometry=gpd.GeoSeries(shapes, crs=WGS84), crs=WGS84)


def latest(dispositions: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Keep the latest finding on each site (of equal times, the later row), and all findings without a site."""
    order = dispositions.assign(_row=range(len(dispositions))).sort_values(["time", "_row"])
    # a finding without a site gets a key of its own: \0 occurs in no site_id
    key = order["site_id"].where(order["site_id"].notna(), "\0" + order["disposition_id"])
    return order[~key.duplicated(keep="last")].sort_values("_row").drop(columns="_row").reset_index(drop=True)


def _finding(value: object, disposition: str, name: str) -> str:
    word = re.sub(r"[^a-z]+", "_", str(value).strip().lower()).strip("_").replace("centre", "center")
    word = _ALIASES.get(word, word)
    if word not in FINDINGS:
        raise RegistryError(
            f"{name}: disposition '{disposition}': unknown finding '{str(value)[:60]}'; {nearest(word, FINDINGS)}"
        )
    return word


def _time(value: object, disposition: str, name: str) -> pd.Timestamp:
    if value is None or value is pd.NaT or value is pd.NA or value != value:  # NaN differs from itself
        return _EARLIEST
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        text = str(value)[:40]
        raise RegistryError(
            f"{name}: disposition '{disposition}': time '{text}' is not ISO 8601, such as 2026-05-04"
        ) from error
    return pd.Timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _outline(shape: shapely.Geometry | None, disposition: str, name: str) -> shapely.Geometry | None:
    if shape is None or shape.is_empty:
        return None
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise RegistryError(f"{name}: disposition '{disposition}': the outline is a {shape.geom_type}; give a polygon")
    west, south, east, north = shape.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise RegistryError(f"{name}: disposition '{disposition}': the outline is not in degrees; give WGS84, lon lat")
    valid = repaired(shape)
    if valid is None:
        raise RegistryError(f"{name}: disposition '{disposition}': {TANGLED}")
    return valid


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
