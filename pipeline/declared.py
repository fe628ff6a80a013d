"""Registries of declared facilities: any of several file layouts in, one table `declared` out.

Layouts: `generic` (GeoJSON, GeoPackage, GeoParquet or CSV with an outline or lon/lat columns;
an id is read where there is one, else the row number), `im3` (US footprints), `osm` (Overpass
JSON), `epa` (ECHO facility search) and `epoch` (Epoch AI, two CSV files side by side). Each
reader turns its layout into records with the table's own names; one function then checks them
all alike. The first fault ends the reading with file, row and column: a registry read half
would make facilities look undeclared that are not.

Position errors are one sigma, by kind of source (domain 6.1): a match hangs on them more than
on anything else, so they are stated per row and never left at zero. Outlines stay outlines.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import Geod
from shapely.geometry.base import BaseGeometry

from aoi.errors import RegistryError, nearest
from aoi.formats import is_plain_vector
from pipeline.coverage import centres, local_frame
from pipeline.tables import CRS, conform

Format = Literal["auto", "generic", "im3", "osm", "epa", "epoch"]

POSITION_ERROR_M = {"rooftop": 30.0, "parcel": 200.0, "postcode": 1500.0, "city": 8000.0, "vague": 25_000.0}
"""One sigma by kind of coordinate, m (domain 6.1, block 2)."""

MAX_BYTES = 500 * 2**20
"""Larger files are refused: the largest open registry is under 2 MB, so it is the wrong file."""

_EPOCH_ERROR_M = {
    "building": POSITION_ERROR_M["rooftop"],
    "site": POSITION_ERROR_M["parcel"],
    "street": 500.0,  # a point on a street of about a kilometre: between parcel and postcode
    "city": POSITION_ERROR_M["city"],
    "county": POSITION_ERROR_M["vague"],
}
_DEGREE_M = 111_320.0  # a degree of the equator: how far one unit of the last digit reaches
_CAMPUS_ERROR_SHARE = 0.1  # of a campus outline's side: parcels are drawn to a few per cent, buildings apart
_M2_PER_SQFT = 0.09290304  # exact, international foot
_ODBL = "ODbL 1.0, © OpenStreetMap contributors"
_ALIASES = {
    "lon": ("lon", "longitude", "long", "lng", "x", "lon_deg", "faclong"),
    "lat": ("lat", "latitude", "y", "lat_deg", "faclat"),
    "geometry": ("geometry", "wkt", "geom", "the_geom"),
    "declared_id": ("declared_id", "id", "facility_id", "registry_id", "uid"),
    "name": ("name", "facility", "facility_name"),
    "operator": ("operator", "owner"),
}
_SAME_NAME = (
    "kind",
    "it_mw",
    "facility_mw",
    "footprint_m2",
    "status",
    "position_error_m",
    "valid_from",
    "valid_to",
    "source",
    "licence",
)
_BARE_POWER = ("mw", "power", "power_mw", "capacity_mw", "capacity")
_STATUS = {
    "operational": "operational|operating|active|in use|in operation|open|running|built",
    "construction": "construction|under construction|being built|building",
    "planned": "planned|proposed|permitted|announced|approved",
    "closed": "closed|decommissioned|retired|shut down|inactive|demolished|disused|abandoned",
}
_STATUS_OF = {word: status for status, words in _STATUS.items() for word in words.split("|")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?$")
_GEOD = Geod(ellps="WGS84")
_Record = dict[str, Any]


def read(
    path: str | Path,
    format: Format = "auto",
    default_position_error_m: float | None = None,
    aside: list[tuple[int, str, str]] | None = None,
) -> gpd.GeoDataFrame:
    """Return the registry at `path` as the table `declared`.

    Args:
        path: the file; for `epoch` either of the two CSV files, the other lying beside it.
        format: layout, or `auto` to tell it from the content.
        default_position_error_m: 1-sigma position error of rows that state none, m; without
            it the error follows from source, geometry and, for points, coordinate digits.
        aside: takes rows that cannot be used as (row, id, reason); without it the first such row is an error.

    Raises:
        RegistryError: unreadable, too large or empty file; no coordinates, or out of range;
            repeated id; a number that is none or negative; a date that is none.
    """
    file = Path(path)
    readers: dict[str, Callable[[Path], list[_Record]]] = {
        "generic": _generic,
        "im3": _im3,
        "osm": _osm,
        "epa": _epa,
        "epoch": _epoch,
    }
    if format != "auto" and format not in readers:
        raise RegistryError(f"declared.format '{format}' is unknown: {nearest(format, ['auto', *readers])}")
    if default_position_error_m is not None and not 0 < default_position_error_m < math.inf:
        raise RegistryError(
            f"default_position_error_m = {default_position_error_m}: must be a positive length in metres"
        )
    if not file.is_file():
        raise RegistryError(f"registry '{file}' is not a file: check declared.path")
    if (size := file.stat().st_size) > MAX_BYTES:
        raise RegistryError(
            f"registry '{file.name}' has {size / 2**20:.0f} MB, the limit is {MAX_BYTES // 2**20} MB: "
            "cut it to the area"
        )
    records = readers[_guess(file) if format == "auto" else format](file)
    if not records:
        raise RegistryError(f"registry '{file.name}' has no rows: nothing is declared in it")
    return _table(records, file, default_position_error_m, aside)


def records(path: Path) -> list[dict[str, Any]]:
    """Return the rows of any table with coordinates as they are, under our names where these are known; key 'row'."""
    return _generic(path, keep_all=True)


def cells(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return any table's cells, and which column holds what: our names, and every column's own in lower case.

    Raises:
        RegistryError: the file cannot be read or has no coordinates.
    """
    frame = _csv(path) if path.suffix.lower() in (".csv", ".txt") else _vector(path)
    lower = {str(c).strip().lower(): c for c in frame.columns}
    known = {key: next((lower[a] for a in aliases if a in lower), None) for key, aliases in _ALIASES.items()}
    column = {**lower, **{key: c for key, c in known.items() if c is not None}}
    if "geometry" not in column and not {"lon", "lat"} <= column.keys():
        raise RegistryError(
            f"registry '{path.name}' has no coordinates: it needs columns lon and lat, or geometry; "
            f"its columns are {', '.join(map(str, frame.columns)) or 'none'}"
        )
    return frame.reset_index(drop=True), column


def within(declared: gpd.GeoDataFrame, area: BaseGeometry, margin_m: float = 0.0) -> gpd.GeoDataFrame:
    """Return the declarations whose geometry lies within `margin_m` of `area` (lon/lat), same order.

    Position errors do not widen the selection: a margin that covers them is the caller's choice.
    """
    geometry = declared.geometry.to_numpy()
    if not len(geometry):
        return declared
    middle = centres(geometry)
    areas = np.full(len(geometry), area, dtype=object)
    if len(shapely.get_coordinates(area)) * len(geometry) > 5_000_000:
        areas = shapely.simplify(areas, 1e-5)  # about 1 m: bounds memory for outlines of coastlines
    gap_m = shapely.distance(
        local_frame(geometry, middle[:, 0], middle[:, 1]), local_frame(areas, middle[:, 0], middle[:, 1])
    )
    return declared[(gap_m <= margin_m) | shapely.intersects(geometry, area)].reset_index(drop=True)


def _guess(file: Path) -> str:
    with file.open("rb") as stream:
        head = stream.read(4096).decode("utf-8", errors="replace")
    if file.suffix.lower() == ".csv":
        first = head.splitlines()[0] if head.strip() else ""
        return "epoch" if "coord_precision" in first or "Current H100 equivalents" in first else "generic"
    if file.suffix.lower() in (".json", ".geojson"):
        if '"elements"' in head or "Overpass" in head:
            return "osm"
        if '"RegistryID"' in head:
            return "epa"
        if '"sqft"' in head and '"state_abb"' in head:
            return "im3"
    return "generic"


def _generic(file: Path, keep_all: bool = False) -> list[_Record]:
    frame = _csv(file) if file.suffix.lower() in (".csv", ".txt") else _vector(file)
    lower = {str(c).strip().lower(): c for c in frame.columns}
    column = {
        key: next(lower[a] for a in aliases if a in lower)
        for key, aliases in _ALIASES.items()
        if any(a in lower for a in aliases)
    }
    column |= {name: lower[name] for name in _SAME_NAME if name in lower}
    if not keep_all and (bare := [lower[b] for b in _BARE_POWER if b in lower]):
        raise RegistryError(
            f"registry '{file.name}', column '{bare[0]}': not clear whether IT or facility power; "
            "rename it to it_mw or facility_mw"
        )
    if "geometry" not in column and not {"lon", "lat"} <= column.keys():
        raise RegistryError(
            f"registry '{file.name}' has no coordinates: it needs columns lon and lat, or geometry; "
            f"its columns are {', '.join(map(str, frame.columns)) or 'none'}"
        )
    records = []
    for n, row in enumerate(frame.to_dict("records"), start=1):
        record: _Record = {name: row[c] for name, c in lower.items()} if keep_all else {}
        record |= {key: row[c] for key, c in column.items()}
        record["row"] = n
        if "geometry" in column:
            record |= {"lon": None, "lat": None}
        records.append(record)
    return records


def _im3(file: Path) -> list[_Record]:
    """A campus that holds a mapped building is dropped: its buildings stand for it.

    IM3 maps some campuses twice, as land and as buildings; keeping both would declare one
    facility twice. The land without buildings stays, because nothing else declares it.
    """
    frame = _vector(file)
    if missing := {"type", "sqft", "name", "operator"} - set(frame.columns):
        raise RegistryError(
            f"registry '{file.name}' is not IM3: column '{min(missing)}' is missing; use format generic"
        )
    geometry = shapely.make_valid(frame.geometry.to_numpy())
    campus = (frame["type"] == "campus").to_numpy()
    inside = shapely.point_on_surface(geometry[(frame["type"] == "building").to_numpy()])
    holders = shapely.STRtree(geometry[campus]).query(inside, predicate="within")[1]
    twice = set(np.flatnonzero(campus)[np.unique(holders)].tolist())
    records = []
    for n, row in enumerate(frame.to_dict("records")):
        if n in twice:
            continue
        sqft = row["sqft"]
        area_m2 = None if sqft is None or pd.isna(sqft) else float(sqft) * _M2_PER_SQFT
        error_m = POSITION_ERROR_M["rooftop"]
        if row["type"] == "campus":
            error_m = max(error_m, _CAMPUS_ERROR_SHARE * math.sqrt(area_m2 or outline_m2(row["geometry"])))
        records.append(
            {
                "row": n + 1,
                "declared_id": f"im3-{n + 1}",
                "geometry": row["geometry"],
                "name": row["name"],
                "operator": row["operator"],
                "area_m2": area_m2 if row["type"] != "point" else None,
                "usual_error_m": error_m,
                "source": "IM3 data center footprints",
                "licence": f"{_ODBL}; IM3 / Pacific Northwest National Laboratory",
            }
        )
    return records


def _osm(file: Path) -> list[_Record]:
    elements = _json(file).get("elements")
    if not isinstance(elements, list):
        raise RegistryError(f"registry '{file.name}' is not Overpass JSON: key 'elements' is missing")
    records = []
    for n, element in enumerate(elements, start=1):
        if not isinstance(element, dict) or not isinstance(element.get("tags", {}), dict):
            raise RegistryError(f"registry '{file.name}', row {n}: not an OpenStreetMap element")
        tags, place = element.get("tags", {}), element.get("center") or element
        start = str(tags.get("start_date", ""))
        # A way's centre is that of its outline's box: within the building, or within the land.
        outline = element.get("type") != "node" and "building" not in tags
        records.append(
            {
                "row": n,
                "declared_id": f"{element.get('type')}/{element.get('id')}",
                "lon": place.get("lon"),
                "lat": place.get("lat"),
                "name": tags.get("name"),
                "operator": tags.get("operator") or tags.get("owner"),
                "status": _osm_status(tags),
                "usual_error_m": POSITION_ERROR_M["parcel" if outline else "rooftop"],
                "valid_from": start if _DATE.match(start) else None,
                "source": "OpenStreetMap",
                "licence": _ODBL,
            }
        )
    return records


def _osm_status(tags: dict[str, Any]) -> str:
    keys = {str(k).split(":")[0] for k in tags}
    if keys & {"abandoned", "disused", "demolished", "razed"}:
        return "closed"
    if "construction" in keys or "construction" in (tags.get("building"), tags.get("landuse")):
        return "construction"
    return "planned" if keys & {"planned", "proposed"} else "operational"


def _epa(file: Path) -> list[_Record]:
    results = _json(file).get("Results")
    facilities = results.get("Facilities") if isinstance(results, dict) else None
    if not isinstance(facilities, list) or not all(isinstance(f, dict) for f in facilities):
        raise RegistryError(f"registry '{file.name}' is not an ECHO answer: 'Results.Facilities' is missing")
    places = [(f.get("FacLon") or f.get("FacLong"), f.get("FacLat")) for f in facilities]
    shared = pd.Series(places).duplicated(keep=False).tolist()
    return [
        {
            "row": n,
            "declared_id": f.get("RegistryID"),
            "lon": lon,
            "lat": lat,
            "name": f.get("AIRName") or f.get("FacName"),
            # Several addresses at one coordinate: that is the centre of a postcode or a town.
            "usual_error_m": max(POSITION_ERROR_M["postcode" if many else "parcel"], _digits_error_m(lon, lat)),
            "source": "US EPA ECHO, air permits",
            "licence": "US government work, public domain",
        }
        for n, (f, (lon, lat), many) in enumerate(zip(facilities, places, shared, strict=True), start=1)
    ]


def _epoch(file: Path) -> list[_Record]:
    """Epoch's "Current power (MW)" is IT power; 0 means that nothing runs yet."""
    names = {"where": "epoch_site_coordinates.csv", "what": "epoch_data_centers.csv"}
    files = {key: file.with_name(name) for key, name in names.items()}
    if file.name not in names.values():
        files["what" if "Current H100 equivalents" in "".join(_csv(file).columns) else "where"] = file
    if absent := [f.name for f in files.values() if not f.is_file()]:
        raise RegistryError(
            f"registry '{file.name}': '{absent[0]}' must lie beside it (coordinates and power are two files)"
        )
    where, what = (_csv(files[key]) for key in ("where", "what"))
    for name, frame, column in (
        (files["where"].name, where, "coord_precision"),
        (files["where"].name, where, "Name"),
        (files["what"].name, what, "Name"),
        (files["what"].name, what, "Current power (MW)"),
    ):
        if column not in frame:
            raise RegistryError(f"registry '{name}': column '{column}' is missing")
    power = dict(zip(what["Name"], what["Current power (MW)"], strict=True))
    records = []
    for n, row in enumerate(where.to_dict("records"), start=1):
        mw = as_number(power.get(row["Name"]), file, n, "Current power (MW)")
        records.append(
            {
                "row": n,
                "declared_id": row["Name"],
                "lon": row.get("lon"),
                "lat": row.get("lat"),
                "name": row["Name"],
                "operator": str(row.get("Owner") or "").split(" #")[0],
                "it_mw": mw or None,
                "status": "construction" if mw == 0 else "operational",
                "usual_error_m": _EPOCH_ERROR_M.get(row["coord_precision"], POSITION_ERROR_M["vague"]),
                "source": "Epoch AI, frontier data centers",
                "licence": "CC BY 4.0, Epoch AI",
            }
        )
    return records


def _table(
    records: list[_Record], file: Path, default_error_m: float | None, aside: list[tuple[int, str, str]] | None = None
) -> gpd.GeoDataFrame:
    rows, seen = [], dict[str, int]()
    for record in records:
        try:
            row = _row(record, file, default_error_m, seen)
        except RegistryError as error:
            if aside is None:
                raise
            aside.append((int(record["row"]), as_text(record.get("declared_id")) or "", str(error)))
            continue
        rows.append(row)
    if not rows:
        raise RegistryError(f"registry '{file.name}' has no usable row; the first: {aside[0][2] if aside else ''}")
    return conform(gpd.GeoDataFrame(rows, geometry="geometry", crs=CRS), "declared")


def _row(record: _Record, file: Path, default_error_m: float | None, seen: dict[str, int]) -> _Record:
    n = int(record["row"])
    geometry = as_geometry(record, file, n)
    declared_id = as_text(record.get("declared_id")) or str(n)
    if declared_id in seen:
        raise RegistryError(
            f"registry '{file.name}', row {n}: id '{declared_id}' is already that "
            f"of row {seen[declared_id]}; ids must differ"
        )
    seen[declared_id] = n
    mw = {c: as_number(record.get(c), file, n, c) for c in ("it_mw", "facility_mw")}
    stated_m = as_number(record.get("position_error_m"), file, n, "position_error_m")
    if stated_m == 0:
        raise RegistryError(
            f"registry '{file.name}', row {n}, column 'position_error_m': 0 is not possible; leave it empty if unknown"
        )
    usual_m = record.get("usual_error_m") or _usual_error_m(geometry, record)
    status = (as_text(record.get("status")) or "").lower() or None
    outline = geometry.geom_type != "Point"
    return {
        "declared_id": declared_id,
        "position_error_m": stated_m or default_error_m or usual_m,
        "name": as_text(record.get("name")),
        "operator": as_text(record.get("operator")),
        "kind": (as_text(record.get("kind")) or "facility").lower(),
        **mw,
        "area_m2": record.get("area_m2") or (outline_m2(geometry) if outline else None),
        "footprint_m2": as_number(record.get("footprint_m2"), file, n, "footprint_m2"),
        "status": _STATUS_OF.get(status, status) if status else None,
        "valid_from": _date(record.get("valid_from"), file, n, "valid_from"),
        "valid_to": _date(record.get("valid_to"), file, n, "valid_to"),
        "source": as_text(record.get("source")) or as_text(file.name) or "registry",
        "licence": as_text(record.get("licence")),
        "geometry": geometry,
    }


def as_geometry(record: _Record, file: Path, n: int) -> BaseGeometry:
    """Return the point or outline of a row, WGS84; RegistryError where there is none or it cannot be."""
    where = f"registry '{file.name}', row {n}"
    geometry = record.get("geometry")
    if isinstance(geometry, str):
        geometry = shapely.from_wkt(geometry, on_invalid="ignore")
    if geometry is None and record.get("lon") is not None:
        x, y = (as_number(record.get(c), file, n, c, negative=True) for c in ("lon", "lat"))
        geometry = shapely.Point(x, y) if x is not None and y is not None else None
    if geometry is None or geometry.is_empty:
        raise RegistryError(f"{where}: no coordinates; give them or leave the row out")
    geometry = shapely.force_2d(geometry)
    if geometry.geom_type == "MultiPoint":
        geometry = geometry.centroid
    if geometry.geom_type not in ("Point", "Polygon", "MultiPolygon"):
        raise RegistryError(f"{where}, column 'geometry': {geometry.geom_type}; give a point or an outline")
    xy = shapely.get_coordinates(geometry)
    if (xy == 0).all():
        raise RegistryError(f"{where}: coordinates 0, 0; no facility lies there, so none were given")
    for name, values, limit in (("lon", xy[:, 0], 180.0), ("lat", xy[:, 1], 90.0)):
        if not (np.abs(values) <= limit).all():
            value = values[~(np.abs(values) <= limit)][0]
            hint = "; are lon and lat swapped?" if name == "lat" and abs(value) <= 180 else ""
            raise RegistryError(
                f"{where}, column '{name}': {value:g} lies outside -{limit:g} to {limit:g} degrees{hint}"
            )
    if geometry.geom_type != "Point" and not geometry.is_valid:
        parts = shapely.get_parts(shapely.make_valid(geometry)).tolist()
        polygons = [p for part in parts for p in shapely.get_parts(part).tolist() if p.geom_type == "Polygon"]
        geometry = shapely.union_all(polygons)
        if geometry.is_empty:
            raise RegistryError(f"{where}, column 'geometry': the outline has no area")
    return geometry


def _usual_error_m(geometry: BaseGeometry, record: _Record) -> float:
    """Error where nothing is stated: outline by size; point at least a parcel (digits are not accuracy)."""
    if geometry.geom_type != "Point":
        return max(POSITION_ERROR_M["rooftop"], _CAMPUS_ERROR_SHARE * math.sqrt(outline_m2(geometry)))
    lon, lat = (record.get("lon"), record.get("lat"))
    return max(POSITION_ERROR_M["parcel"], _digits_error_m(lon or repr(geometry.x), lat or repr(geometry.y)))


def _digits_error_m(lon: object, lat: object) -> float:
    """One unit of the last digit that either coordinate shows, m (0.01 degrees: 1.1 km)."""
    digits = max(len(str(v).partition(".")[2].rstrip("0")) for v in (lon, lat))
    return min(_DEGREE_M * 10.0**-digits, POSITION_ERROR_M["vague"])


def outline_m2(geometry: BaseGeometry) -> float:
    """Geodesic area, m2."""
    return abs(float(_GEOD.geometry_area_perimeter(shapely.force_2d(geometry))[0]))


def as_text(value: object) -> str | None:
    """Return a cell as text without control characters; None where it is empty."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return " ".join(_CONTROL.sub(" ", str(value)).split()) or None


def as_number(value: object, file: Path, n: int, column: str, negative: bool = False) -> float | None:
    """Return a cell as a finite number, None where it is empty; RegistryError where it is none or negative."""
    text = as_text(value)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RegistryError(f"registry '{file.name}', row {n}, column '{column}': '{text[:40]}' is not a number")
    if number < 0 and not negative:
        raise RegistryError(f"registry '{file.name}', row {n}, column '{column}': {number:g} is negative")
    return number


def _date(value: object, file: Path, n: int, column: str) -> str | None:
    text = as_text(value)
    if text is None or _DATE.match(text):
        return text
    try:
        return str(pd.Timestamp(text).date().isoformat())
    except (ValueError, TypeError) as error:
        raise RegistryError(
            f"registry '{file.name}', row {n}, column '{column}': '{text[:40]}' is no date; write 2026-08-31"
        ) from error


def _unreadable(file: Path, error: Exception) -> RegistryError:
    return RegistryError(f"registry '{file.name}' cannot be read: {_first_line(str(error))}")


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "unknown cause")[:200]


def _csv(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, encoding=_encoding(file), index_col=False)
    except pd.errors.EmptyDataError as error:
        raise RegistryError(f"registry '{file.name}' is empty") from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise _unreadable(file, error) from error
    return frame.set_axis(_unique(file, (as_text(c) or "" for c in frame.columns)), axis=1)


def _encoding(file: Path) -> str:
    """UTF-16 by its mark, UTF-8 where the bytes are that, else Windows-1252 as spreadsheets write."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from error
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252" if b"\x81" not in content else "latin-1"
    return "utf-8-sig"


def _unique(file: Path, names: Iterable[str]) -> list[str]:
    out = list(names)
    if twice := sorted({n for n in out if out.count(n) > 1}):
        raise RegistryError(f"registry '{file.name}': column '{twice[0]}' is there twice")
    return out


def _vector(file: Path) -> gpd.GeoDataFrame:
    if not is_plain_vector(file):
        raise RegistryError(f"registry '{file.name}': not GeoJSON, GeoPackage, KML or GeoParquet by its first bytes")
    try:
        parquet = file.suffix.lower() in (".parquet", ".geoparquet", ".pq")
        frame = gpd.read_parquet(file) if parquet else gpd.read_file(file)
    except Exception as error:  # GDAL and Arrow raise many kinds, all meaning the same to the user
        raise _unreadable(file, error) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        return pd.DataFrame(frame)
    if frame.crs is None:
        raise RegistryError(f"registry '{file.name}' has no coordinate system: store it with one")
    return frame.rename_geometry("geometry").to_crs(CRS) if frame.geometry.name != "geometry" else frame.to_crs(CRS)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(content, dict):
        raise RegistryError(f"registry '{file.name}' is not a JSON object")
    return content
