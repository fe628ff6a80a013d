"""Inspection lists as inspectors return them: XLSX, CSV, GeoPackage, KML, GeoJSON. The files are not trusted.

In: a path. Out: the rows with the columns to fill in, cells as they stand, and the outlines that the file has. Nothing
is judged here but the form of the file.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from pathlib import Path

import geopandas as gpd
import pandas as pd

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.aoi.file_signatures import head_of
from overwatt.pipeline.declared.parsing import as_text
from overwatt.pipeline.declared.received import FAULT
from overwatt.workflows.io.delimited import read_csv
from overwatt.workflows.io.filled_workbooks import read_forms
from overwatt.workflows.io.layers import layer_names, read_layers
from overwatt.workflows.io.run_folder import undefused
from overwatt.workflows.io.tabular import TABLE_SUFFIXES

TO_FILL = ("finding", "measured_mw", "chips", "inspector", "time", "note")
"""Columns that inspectors fill in."""
_READ = ("entry_id", *TO_FILL, "lon", "lat")


def read_filled(path: Path) -> pd.DataFrame:
    """Read a returned list: `where` (file and row, for messages), entry_id, `TO_FILL`, lon, lat, geometry.

    Cells are as in the file, None where empty, texts without the apostrophe of `run_folder.defuse`; geometry is a shape
    in WGS84 or None. Of a GeoPackage, layers with entry_id and finding are forms, those with entry_id alone give
    outlines, and others are not read.

    Raises:
        RegistryError: the file is missing, unreadable, of another format, or without entry_id and finding.
        GridError: a layer has no known CRS.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: {'a folder; give one file in it' if path.is_dir() else 'no such file'}")
    suffix = path.suffix.lower()
    if suffix in (".xls", ".ods", ".numbers"):
        raise RegistryError(f"{path.name}: a workbook of another format; save it as XLSX, or the sheet form as CSV")
    if suffix in (".xlsx", ".xlsm"):
        return _columns(path, pd.DataFrame(read_forms(path, _READ), columns=["where", *_READ]))
    if suffix in TABLE_SUFFIXES:
        return _columns(path, _delimited(path))
    return _columns(path, _geopackage(path) if head_of(path).startswith(b"SQLite format 3") else _layers(path))


def _delimited(path: Path) -> pd.DataFrame:
    try:
        frame = read_csv(path)
    except RegistryError as error:
        raise RegistryError(str(error).removeprefix("registry ")) from error
    if len(faults := frame[FAULT].dropna()):
        raise RegistryError(f"{faults.iloc[0].removeprefix('registry ')}; mend the line")
    if frame.attrs["cut_off"]:
        raise RegistryError(f"{path.name}: ends within a row; copy the file again")
    frame = frame.drop(columns=FAULT)
    return frame.assign(where=[f"{path.name}, row {n}" for n in range(2, len(frame) + 2)])


def _geopackage(path: Path) -> pd.DataFrame:
    """Return the rows of the forms with all columns, and entry_id and geometry of the layers with outlines."""
    parts, forms = [], 0
    for name in layer_names(path):
        frame = _layers(path, name)
        own = {str(c).strip().lower(): c for c in frame.columns}
        is_form = {"entry_id", "finding"} <= own.keys()
        forms += is_form
        if is_form:
            parts.append(frame)
        elif "entry_id" in own and "geometry" in frame:
            parts.append(frame[["where", own["entry_id"], "geometry"]].rename(columns={own["entry_id"]: "entry_id"}))
    if not forms:
        has = " (the layers here have outlines alone)" if parts else ""
        raise RegistryError(
            f"{path.name}: no layer has the columns entry_id and finding{has}; give a filled-in list of "
            "`overwatt export`, with its layer ledger"
        )
    # an empty part decides no type
    return pd.concat([p.astype(object) for p in parts if len(p)] or parts[:1], ignore_index=True)


def _layers(path: Path, layer: str | None = None) -> pd.DataFrame:
    if head_of(path).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise RegistryError(f"{path.name}: text in UTF-16; save it in UTF-8")
    frame = read_layers(path, layer)
    if sign := frame.attrs["cut_short"]:
        raise RegistryError(f"{path.name}: is not complete: {sign}; export all of it")
    of = frame["layer"] if layer is None else pd.Series(layer, frame.index)
    number = frame.groupby(of, dropna=False).cumcount() + 1
    where = [f"{path.name}, layer '{k}', row {n}" for k, n in zip(of, number, strict=True)]
    plain = pd.DataFrame(frame).assign(where=where)
    if isinstance(frame, gpd.GeoDataFrame):
        return plain.assign(geometry=pd.Series(list(frame.geometry), dtype=object))
    return plain.drop(columns="geometry", errors="ignore")


def _columns(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Return `where`, the columns that are read, whatever the case of their names, and geometry."""
    own: dict[str, str] = {}
    for column in frame.columns:
        name = str(column).strip().lower()
        if name in _READ and name in own:
            raise RegistryError(f"{path.name}: two columns '{name}'; delete one")
        own[name] = column
    for needed in ("entry_id", "finding"):
        if needed not in own:
            raise RegistryError(f"{path.name}: no column '{needed}'; {_remedy(path, needed, own)}")
    out = pd.DataFrame({"where": frame["where"].astype(object)})
    for name in _READ:
        values = frame[own[name]].astype(object) if name in own else pd.Series([None] * len(frame), dtype=object)
        out[name] = [
            (undefused(v) or None) if isinstance(v, str) else v for v in values.where(values.notna(), None).tolist()
        ]
        out[name] = out[name].astype(object).where(out[name].notna(), None)
    out["entry_id"] = pd.Series([as_text(v) for v in out["entry_id"]], dtype=object)
    out["geometry"] = frame.get("geometry")
    return out


def _remedy(path: Path, needed: str, columns: Iterable[str]) -> str:
    if path.suffix.lower() == ".kml" and not {"entry_id", "finding"} & set(columns):
        return ("its placemarks have no fields (SimpleData with a Schema), which some programs drop as they save; fill "
                "in the exported KML in a GIS or a text editor")  # fmt: skip
    return f"{nearest(needed, columns)}; give a filled-in list of `overwatt export`"
