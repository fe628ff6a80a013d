"""Vector files with all their layers: GeoJSON, GeoPackage, KML, GeoParquet. The files are not trusted.

In: a path. Out: one frame in WGS84 with the rows of every layer (in KML: of every folder), and what was not read.
Integers stay integers, also beside empty cells; those that a double cannot hold become text, so that ids keep their
digits. GDAL leaves some faults to a warning or
says nothing (an unknown CRS, an unreadable feature or placemark), so text formats are parsed a second time and counted.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from xml.parsers import expat

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from overwatt.aoi.completeness import part_of
from overwatt.aoi.errors import GridError, RegistryError, nearest
from overwatt.aoi.file_signatures import head_of, is_plain_vector
from overwatt.aoi.geodesy import WGS84
from overwatt.workflows.io.limits import MAX_COLUMNS, MAX_PASSES, MAX_ROWS
from overwatt.workflows.io.parquet import INTEGERS, read_parquet

MAX_BYTES = 500_000_000  # read as a whole; own choice
MAX_LAYERS = 1000  # each layer is a pass over a KML file; own choice
_EXACT = 2**53  # from here on a double no longer holds every integer
_LONG = re.compile(rb"(?<![\d.eE+-])-?\d{16,}(?![\d.eE])")  # 2**53 has 16 digits
_TEXT_OR_LONG = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|' + _LONG.pattern, re.DOTALL)
_TABLES_OF_QGIS = ("layer_styles", "qgis_projects")  # stored beside the data in a GeoPackage


def read_layers(path: Path, layer: str | None = None) -> gpd.GeoDataFrame | pd.DataFrame:
    """Read all layers of a vector file, or one.

    Args:
        path: the file.
        layer: the only layer to read; in KML a folder. Folders of one name are called `NAME`, `NAME (#2)`, ...

    Returns:
        The rows of all layers in the order of the file, geometry in WGS84 (x, y). Text column `layer` names the layer
        of each row, unless the file has a column of that name, which is kept. Columns keep their names; those of
        different case are different columns. A plain frame if no layer has geometries.
        `attrs["not_read"]`, tuple of text, names what the file holds besides: tables without geometries, in
        `attrs["tables"]` with their numbers of rows, and network links, counted in `attrs["links"]`.
        `attrs["cut_short"]` says what the file itself says is missing (see `completeness.part_of`), '' if nothing.

    Raises:
        RegistryError: the file is missing, of another format, too large, cut short or damaged; no such layer.
        GridError: a layer has no known CRS, or its coordinates do not fit the CRS.
    """
    _check_format(path)
    found = _checked(path)
    with _long_integers_as_text(path) as source:
        names = _names(source)
        if layer is not None and layer not in names:
            raise RegistryError(f"{path.name}: no layer '{layer}'; {nearest(layer, names)}")
        chosen = names if layer is None else [layer]
        if _is_kml(path) and len(chosen) > 1 and len(chosen) * path.stat().st_size > MAX_PASSES:
            raise RegistryError(
                f"{path.name}: {len(chosen)} folders in {path.stat().st_size / 1e6:.0f} MB of KML take too long; "
                f"convert it: ogr2ogr -f GPKG {path.stem}.gpkg {path.name}"
            )
        _refuse_views(source, chosen)
        frames = {name: read_parquet(source) if _is_parquet(source) else _layer(source, name) for name in chosen}
    rows = sum(map(len, frames.values()))
    if layer is None and rows < found.get("rows", 0):
        raise RegistryError(
            f"{path.name}: {rows} of {found['rows']} {found['what']} could be read; repair the file or export it again"
        )
    not_read = [f"{found['links']} network links, which are not followed"] if found.get("links") else []
    tables: dict[str, int] = {}
    if any(isinstance(f, gpd.GeoDataFrame) for f in frames.values()):
        tables = {k: len(f) for k, f in frames.items() if not isinstance(f, gpd.GeoDataFrame)}
        not_read += [f"layer '{k}': {n} rows without geometries" for k, n in tables.items()]
        frames = {k: f for k, f in frames.items() if k not in tables}
    out = _joined(path, frames)
    out.attrs |= {"not_read": tuple(not_read), "cut_short": found.get("cut_short", ""), "tables": tables}
    out.attrs["links"] = found.get("links", 0)
    return out


def layer_names(path: Path) -> list[str]:
    """Return the names of the layers of a vector file, in KML of its folders, in order.

    Raises:
        RegistryError: the file is missing, of another format, too large or unreadable.
    """
    _check_format(path)
    with _long_integers_as_text(path) as source:
        return _names(source)


def _names(path: Path) -> list[str]:
    if _is_parquet(path):
        return [path.stem]
    try:
        with _quiet():
            names = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
    except (pyogrio.errors.DataSourceError, ValueError) as error:
        raise _unreadable(path, error) from error
    names = [name for name in names if name not in _TABLES_OF_QGIS]
    if not names:
        raise RegistryError(f"{path.name}: holds no layers; export it again")
    if len(names) > MAX_LAYERS:
        raise RegistryError(f"{path.name}: more than {MAX_LAYERS} layers; join them into one")
    return names


def json_members(path: Path) -> dict[str, Any] | None:
    """Return the members of a JSON object, with None for every feature; None if the file is not one JSON object.

    Raises:
        RegistryError: it is truncated or broken JSON.
    """
    # features are dropped as they are parsed, so that the memory stays that of the text
    lean = json.JSONDecoder(object_hook=lambda o: None if _is_feature(o) else o)
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
        content, end = lean.raw_decode(text)
        if end < len(text):  # one feature per line
            for line in text.split("\n"):
                json.loads(line.strip() or "null")
            return None
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{path.name}: truncated or broken JSON ({error}); export it again") from error
    return content if isinstance(content, dict) else None


def _is_feature(found: dict[str, Any]) -> bool:
    """Whether a JSON object is a feature of GeoJSON or of Esri, and no collection of features."""
    return "features" not in found and (found.get("type") == "Feature" or "attributes" in found)


def _check_format(path: Path) -> None:
    if not path.is_file():
        raise RegistryError(f"{path}: {'a folder; give one file in it' if path.is_dir() else 'no such file'}")
    if path.stat().st_size > MAX_BYTES:
        raise RegistryError(f"{path.name}: larger than {MAX_BYTES / 1e6:.0f} MB; reduce it to the area")
    if head_of(path).startswith(b"PK\3\4"):
        raise RegistryError(f"{path.name}: a ZIP file (such as KMZ or a zipped shapefile); unzip it, give GeoPackage "
                            "or the KML in it; a shapefile: ogr2ogr -f GPKG NAME.gpkg NAME.shp")  # fmt: skip
    if not is_plain_vector(path):
        raise RegistryError(
            f"{path.name}: not GeoJSON, GeoPackage, KML or GeoParquet by its first bytes; convert it: "
            f"ogr2ogr -f GPKG {path.stem}.gpkg {path.name}"
        )


def _refuse_views(path: Path, layers: list[str]) -> None:
    """Refuse layers of a GeoPackage that are views: their SQL is the file's, and may never end."""
    if not head_of(path).startswith(b"SQLite format 3"):
        return
    # immutable: without the lock and the journal (WAL), which a folder that cannot be written to does not allow
    causes, views = [], set[str]()
    for how in ("mode=ro", "immutable=1"):
        try:
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True)) as base:
                views = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
            break
        except sqlite3.Error as error:
            causes.append(error)
    else:
        raise _unreadable(path, causes[0])
    if found := [name for name in layers if name in views]:
        raise RegistryError(f"{path.name}: layer '{found[0]}' is a view (a stored query); save it as a layer")


def _is_parquet(path: Path) -> bool:
    return head_of(path).startswith(b"PAR1")


def _is_kml(path: Path) -> bool:
    return head_of(path).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _unreadable(path: Path, error: Exception) -> RegistryError:
    return RegistryError(f"{path.name}: not a readable vector file ({str(error)[:160]}); repair it or export it again")


def _checked(path: Path) -> dict[str, Any]:
    """Parse a text format a second time; return the number of rows that it must give, links, signs of a cut."""
    head = head_of(path).removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"<"):
        return _count_kml(path)
    if not head.startswith((b"{", b"[")):
        return {}
    members = json_members(path)
    if members is None:
        return {}
    crs = members.get("crs")
    stated = crs.get("properties") if isinstance(crs, dict) else None
    named = stated.get("name") if isinstance(stated, dict) else None
    try:
        # GDAL takes an unknown CRS for longitude and latitude
        named is None or CRS.from_user_input(str(named))
    except CRSError as error:
        raise GridError(f"{path.name}: its CRS '{str(named)[:60]}' is unknown; store the file in WGS84") from error
    features = members.get("features")
    rows = {"rows": len(features), "what": "features"} if isinstance(features, list) else {}
    return {**rows, "cut_short": part_of(members)}


def _count_kml(path: Path) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        counts[name.rpartition(":")[2]] += 1

    def refuse(*declaration: object) -> None:
        raise RegistryError(f"{path.name}: declares XML entities, which can expand without limit; remove them")

    parser.StartElementHandler = start
    parser.EntityDeclHandler = refuse
    try:
        with path.open("rb") as file:
            parser.ParseFile(file)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding that does not exist
        raise RegistryError(f"{path.name}: truncated or broken XML ({error}); export it again") from error
    links = counts["NetworkLink"]
    if links and not counts["Placemark"]:
        raise RegistryError(f"{path.name}: holds only a network link; open it and save the places themselves as KML")
    return {"rows": counts["Placemark"], "what": "placemarks", "links": links}


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out GDAL's warnings: what matters of them is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _layer(path: Path, name: str) -> pd.DataFrame:
    try:
        with _quiet():
            info = {} if _is_kml(path) else pyogrio.read_info(path, layer=name)  # of KML it is a pass over the file
            if len(info.get("fields", ())) > MAX_COLUMNS:
                raise RegistryError(f"{path.name}: more than {MAX_COLUMNS:,} columns; reduce it to the needed ones")
            is_geojson = info.get("driver") in ("GeoJSON", "GeoJSONSeq")
            meta, table = pyogrio.read_arrow(
                path, layer=name, return_fids=is_geojson, datetime_as_string=True, max_features=MAX_ROWS + 1
            )
        if len(table) > MAX_ROWS:
            raise RegistryError(f"{path.name}: more than {MAX_ROWS:,} rows; reduce it to the area")
        ids = table.column(0).to_numpy() if is_geojson else None
        table = table.remove_column(0) if is_geojson else table
        own = meta["geometry_name"] or "wkb_geometry"
        values = table.column(own) if meta["geometry_type"] is not None else None
        frame = table.drop_columns([own] if values is not None else []).to_pandas(types_mapper=INTEGERS.get)
        if values is not None:
            outlines = shapely.force_2d(shapely.from_wkb(values.to_numpy()))
            frame = gpd.GeoDataFrame(frame, geometry=outlines, crs=meta["crs"])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pa.ArrowException, ValueError) as error:
        raise _unreadable(path, error) from error
    except shapely.errors.GEOSException as error:
        raise _unreadable(path, error) from error
    if ids is None:
        return frame
    # `id` beside `properties`: text becomes a column, an integer only a row number, which GDAL alters if it repeats
    if "id" not in frame and not np.array_equal(ids, np.arange(len(frame))):
        stated = [f.get("id") if isinstance(f, dict) else None for f in _features(path)]
        if len(stated) == len(frame):
            frame.insert(0, "id", pd.array([k if type(k) is int else pd.NA for k in stated], dtype="Int64"))
    return frame


@contextmanager
def _long_integers_as_text(path: Path) -> Iterator[Path]:
    """Yield the file, or a copy of JSON with quotes around integers from 2**53, which GDAL does not keep."""
    content = path.read_bytes() if head_of(path).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[") else b""
    if not _LONG.search(content):
        yield path
        return

    def quoted(match: re.Match[bytes]) -> bytes:
        found = match[0]
        return found if found.startswith(b'"') or (len(found) < 18 and abs(int(found)) < _EXACT) else b'"%b"' % found

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name  # GDAL names the layer by the file
        copy.write_bytes(_TEXT_OR_LONG.sub(quoted, content))
        yield copy


def _features(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except ValueError:  # one feature per line
        return [json.loads(k) for k in text.split("\n") if k.strip()]
    features = content.get("features") if isinstance(content, dict) else None
    return features if isinstance(features, list) else [content]


def _joined(path: Path, frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for name, frame in frames.items():
        if isinstance(frame, gpd.GeoDataFrame):
            frame = _in_wgs84(path, name, frame)
        parts.append(frame if "layer" in frame else frame.assign(layer=name))
    full = [p for p in parts if len(p)] or parts[:1]
    types: dict[str, set[Any]] = {}
    for part in full:
        for column, dtype in part.dtypes.items():
            types.setdefault(str(column), set()).add(dtype)
    # integers in one layer and decimals in another would all become floats
    mixed = [c for c, found in types.items() if len(found) > 1]
    out = pd.concat([p.astype({c: object for c in mixed if c in p}) for p in full], ignore_index=True)
    for column in out.select_dtypes("Int64"):
        if not out[column].isna().any():
            out[column] = out[column].astype("int64")
    if any(isinstance(p, gpd.GeoDataFrame) for p in parts):
        return gpd.GeoDataFrame(out, geometry="geometry", crs=WGS84)
    return out


def _in_wgs84(path: Path, name: str, frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    where = path.name if name == path.stem else f"{path.name}, layer '{name}'"
    if frame.geometry.name != "geometry":
        frame = frame.drop(columns="geometry", errors="ignore").rename_geometry("geometry")
    if not len(frame):
        return frame.set_crs(WGS84, allow_override=True)
    if frame.crs is None:
        raise GridError(f"{where}: no CRS; store the file with one")
    bounds = frame.geometry.bounds.to_numpy()
    known = np.isfinite(bounds).all(axis=1)
    # longitudes up to 360 are in use; pixels or metres stored as GeoJSON lie beyond
    off = (np.abs(bounds[:, [0, 2]]) > 360).any(axis=1) | (np.abs(bounds[:, [1, 3]]) > 90).any(axis=1)
    if frame.crs.is_geographic and known.any() and off[known].all():
        x, y = bounds[known][0, :2]
        raise GridError(
            f"{where}: coordinates such as ({x:g}, {y:g}) are not longitude and latitude; "
            "store the file in WGS84, or with the CRS of its coordinates"
        )
    try:
        return frame.to_crs(WGS84)
    except CRSError as error:
        raise GridError(f"{where}: cannot be converted to WGS84 ({str(error)[:120]}); store it in WGS84") from error
