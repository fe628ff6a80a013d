"""The inspection list for maps: GeoPackage that QGIS opens styled, GeoJSON (RFC 7946).

In: the list as of `table.listing`, and the tables next to the ledger. Out: files; the same input gives the same bytes.
Names come from untrusted sources and are escaped in every format that has markup.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely

from overwatt.aoi.geodesy import WGS84
from overwatt.workflows.export.fields import Field
from overwatt.workflows.export.styles import COLORS, DRAWN, LABELS, STATES, qml
from overwatt.workflows.export.table import Inputs, clean
from overwatt.workflows.io import run_folder

DATE = "2000-01-01T00:00:00.000Z"
"""Time of creation, where a format requires one: fixed, so that the same list gives the same bytes."""
DECIMALS = 7  # of coordinates in degrees: 1 cm; RFC 7946 section 11.2 advises against more precision than needed
_COUNTERS = (24, 92)  # offsets of file change counter and version-valid-for (SQLite file format, section 1.3)
_POINTS = (shapely.GeometryType.POINT, shapely.GeometryType.MULTIPOINT)
_AREAS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
_LINES = (shapely.GeometryType.LINESTRING, shapely.GeometryType.LINEARRING, shapely.GeometryType.MULTILINESTRING)
_STYLES = """CREATE TABLE layer_styles (
id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))"""  # as QGIS creates it
# columns of the layers ledger_areas and drawn
_AREA_COLUMNS = (
    "entry_id", "rank", "drawn", "class", "name", "wording", "site_id", "declared_id", "it_mw_p50", "declared_it_mw",
    "undeclared_flop_90d",
)  # fmt: skip


def write_geopackage(
    path: Path, table: gpd.GeoDataFrame, inputs: Inputs, fields: list[Field], about: list[tuple[str, str]]
) -> list[str]:
    """Write layers ledger (points), ledger_areas, drawn, sites, declared, looked_at, footprints; return their names.

    `ledger` is the list with the columns to fill in; an outline is corrected in `ledger_areas`; `drawn` marks visits.
    A table with points and outlines becomes two layers, NAME and NAME_points, because a style applies to one type of
    geometry. The tables `fields` and `about` describe the columns and the basis of the list; `layer_styles` holds the
    styles.
    """
    layers = _layers(table, inputs)
    with run_folder.written(path) as part:
        raw = part.with_suffix(".part.gpkg")
        try:
            for name, (frame, _) in layers.items():
                kind = _kind(frame)
                multi = {"promote_to_multi": True} if kind != "points" else {}
                geometry = {} if len(frame) else {"geometry_type": "Point"}
                pyogrio.write_dataframe(
                    frame.set_crs("EPSG:4326", allow_override=True), raw, layer=name, driver="GPKG",
                    append=raw.exists(), dataset_options={"VERSION": "1.3"}, layer_options={"GEOMETRY_NAME": "geom"},
                    **multi, **geometry,
                )  # fmt: skip
            for name, words in (
                ("fields", pd.DataFrame([(f.name, f.unit, f.meaning, f.source) for f in fields],
                                        columns=["column", "unit", "meaning", "from_table"])),
                ("about", pd.DataFrame(about, columns=["subject", "words"])),
            ):  # fmt: skip
                pyogrio.write_dataframe(words.astype("string"), raw, layer=name, driver="GPKG", append=True)
            _add_styles(raw, {name: (_kind(frame), style) for name, (frame, style) in layers.items()})
            raw.replace(part)
        finally:
            raw.unlink(missing_ok=True)
    return list(layers)


def write_geojson(path: Path, table: gpd.GeoDataFrame, about: list[tuple[str, str]]) -> None:
    """Write the list as GeoJSON (RFC 7946): WGS84, outer rings counter-clockwise, `bbox`, entry_id as id.

    The flat columns alt* are left out, because `alternatives` is a list in GeoJSON.
    """
    shapes = normalised(table.geometry.to_numpy())
    names = [c for c in table.columns if (c != "geometry" and not c.startswith("alt")) or c == "alternatives"]
    columns = [plain(table[c]) for c in names]
    texts = shapely.to_geojson(shapes)
    with run_folder.written(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type": "FeatureCollection",\n')
        box = bbox(shapes)
        if box is not None:
            file.write(f'"bbox": {json.dumps(box)},\n')
        file.write(f'"about": {json.dumps([list(row) for row in about], ensure_ascii=False)},\n"features": [')
        for n, row in enumerate(zip(*columns, strict=True)):
            own = dict(zip(names, row, strict=True))
            own["alternatives"] = _parsed_list(own.get("alternatives"))
            file.write(
                f'{"," if n else ""}\n{{"type": "Feature", "id": {json.dumps(own["entry_id"], ensure_ascii=False)}, '
                f'"geometry": {texts[n] or "null"}, '
                f'"properties": {json.dumps(own, ensure_ascii=False, allow_nan=False)}}}'
            )
        file.write("\n]}\n")


def bbox(shapes: np.ndarray) -> list[float] | None:
    """Return the smallest [west, south, east, north] in degrees; west > east crosses the antimeridian (RFC 7946, 5.2).

    None without any geometry.
    """
    edges = shapely.bounds(shapes) if len(shapes) else np.zeros((0, 4))
    edges = edges[np.isfinite(edges).all(axis=1)]
    if not len(edges):
        return None
    south, north = float(edges[:, 1].min()), float(edges[:, 3].max())
    order = np.argsort(edges[:, 0], kind="stable")
    west, reach = edges[order, 0], np.maximum.accumulate(edges[order, 2])
    # the box leaves out the widest gap in longitude; the last gap is the one across the antimeridian
    gaps = np.append(west[1:] - reach[:-1], west[0] + 360.0 - reach[-1])
    k = len(gaps) - 1 if gaps[-1] >= gaps.max() - 1e-9 else int(gaps.argmax())
    first = 0 if k == len(gaps) - 1 else k + 1
    return [float(west[first]), south, float(reach[k]), north]


def _layers(table: gpd.GeoDataFrame, inputs: Inputs) -> dict[str, tuple[gpd.GeoDataFrame, dict[str, Any]]]:
    classes = [(k, LABELS[k], color) for k, color in COLORS.items()]
    by_class = {"column": "class", "categories": classes, "title": "entry_id"}
    shapes = table.geometry.to_numpy()
    points = gpd.GeoDataFrame(table.drop(columns="geometry"), geometry=shapely.point_on_surface(shapes), crs=WGS84)
    out: dict[str, tuple[gpd.GeoDataFrame, dict[str, Any]]] = {"ledger": (points, by_class)}
    short = [c for c in _AREA_COLUMNS if c in table]
    areas = table[np.isin(shapely.get_type_id(shapes), _AREAS)]
    if len(areas):
        out["ledger_areas"] = (areas[[*short, "geometry"]], by_class | {"faint": True})
    if "drawn" in table and table["drawn"].any():
        visits = table.loc[table["drawn"].fillna(False).to_numpy(bool), [*short, "geometry"]]
        marked = [(k, f"visit: {words}", DRAWN) for k, words, _ in classes]
        for own, part in _by_kind("drawn", visits).items():
            out[own] = (part, by_class | {"categories": marked, "faint": True})
    ranked = table[table["rank"].notna()]
    first = {
        key: ranked[ranked[key].notna()].drop_duplicates(key).set_index(key)["class"]
        for key in ("site_id", "declared_id")
    }
    for name, key in (("sites", "site_id"), ("declared", "declared_id")):
        if name in inputs.tables:
            frame = _texts(inputs.tables[name])
            frame["ledger_class"] = frame[key].map(first[key]).astype("string").fillna("")
            for own, part in _by_kind(name, frame).items():
                out[own] = (part, {"column": "ledger_class", "categories": classes, "title": key, "faint": True})
    if "looked_at" in inputs.tables:
        frame = _texts(inputs.tables["looked_at"])
        state = np.where(frame["failed"], "failed", np.where(frame["screened"], "looked", "not_screened"))
        frame["state"] = pd.Series(state, frame.index, dtype="string")
        states = [(k, words, color) for k, (color, words) in STATES.items()]
        for own, part in _by_kind("looked_at", frame).items():
            out[own] = (part, {"column": "state", "categories": states, "title": "cell", "faint": True})
    if "footprints" in inputs.tables:
        kinds = [("data_center", "data center", "#d55e00"), ("other_building", "other building", "#999999"),
                 ("cooling_equipment", "cooling equipment, rooftop units", "#0072b2"),
                 ("generator", "generator", "#e69f00"), ("substation", "substation", "#7b3294")]  # fmt: skip
        for own, part in _by_kind("footprints", _texts(inputs.tables["footprints"])).items():
            out[own] = (part, {"column": "class", "categories": kinds, "title": "object_id", "faint": True})
    return out


def _by_kind(name: str, frame: gpd.GeoDataFrame) -> dict[str, gpd.GeoDataFrame]:
    """Return one layer per type of geometry; collections and geometries that cannot be drawn count as points."""
    shapes = frame.geometry.to_numpy()
    bounds = shapely.bounds(shapes) if len(shapes) else np.zeros((0, 4))
    shapes = np.where(np.isfinite(bounds).all(axis=1), shapely.force_2d(shapes), None)
    kind = shapely.get_type_id(shapes)
    area, line = np.isin(kind, _AREAS), np.isin(kind, _LINES)
    point = ~(area | line)
    shapes = np.where(point & ~np.isin(kind, _POINTS), shapely.point_on_surface(shapes), shapes)
    frame = frame.set_geometry(gpd.GeoSeries(shapes, index=frame.index, crs=WGS84))
    parts = {name: frame[area], f"{name}_lines": frame[line], f"{name}_points": frame[point]}
    held = {k: v for k, v in parts.items() if len(v)}
    if len(held) < 2:
        return {name: next(iter(held.values()), frame)}
    return held


def _kind(frame: gpd.GeoDataFrame) -> str:
    kinds = shapely.get_type_id(frame.geometry.to_numpy())
    return "areas" if np.isin(kinds, _AREAS).any() else "lines" if np.isin(kinds, _LINES).any() else "points"


def _texts(table: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return a copy of a table with its texts cleaned."""
    out = gpd.GeoDataFrame(table.copy())
    for name in out.columns:
        if out[name].dtype == "string":
            out[name] = out[name].map(clean, na_action="ignore").astype("string")
    return out


def _add_styles(file: Path, layers: dict[str, tuple[str, dict[str, Any]]]) -> None:
    """Add the styles, and replace times of creation by a fixed time."""
    base = sqlite3.connect(file)
    try:
        base.execute(_STYLES)
        base.executemany(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner, ui, update_time) "
            "VALUES ('', '', ?, 'geom', ?, ?, '', 1, 'by class', '', NULL, ?)",
            [(name, name, qml(kind, **style), DATE) for name, (kind, style) in layers.items()],
        )
        base.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change) "
            "VALUES ('layer_styles', 'attributes', 'layer_styles', 'styles for QGIS', ?)", (DATE,)
        )  # fmt: skip
        base.execute(
            "INSERT OR REPLACE INTO gpkg_ogr_contents (table_name, feature_count) VALUES ('layer_styles', ?)",
            (len(layers),),
        )
        base.execute("UPDATE gpkg_contents SET last_change = ?", (DATE,))
        base.commit()
        base.execute("VACUUM")
    finally:
        base.close()
    with file.open("r+b") as handle:  # the change counter depends on how GDAL groups its writes
        for offset in _COUNTERS:
            handle.seek(offset)
            handle.write((1).to_bytes(4, "big"))


def normalised(shapes: np.ndarray) -> np.ndarray:
    """Return shapes with outer rings counter-clockwise and coordinates of `DECIMALS` digits."""
    out = shapely.orient_polygons(shapes)
    return np.asarray(shapely.transform(out, lambda xy: np.round(xy, DECIMALS)), dtype=object)


def plain(column: pd.Series) -> list[Any]:
    """Return the values of a column as plain Python, None if absent."""
    return column.astype(object).where(column.notna(), None).tolist()


def _parsed_list(text: object) -> list[Any] | None:
    if not isinstance(text, str):
        return None
    try:
        found = _cleaned_json(json.loads(text, parse_constant=lambda _: None))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _cleaned_json(value: object) -> object:
    """Return parsed JSON with cleaned texts, and null for numbers that are not finite (1e999)."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, list):
        return [_cleaned_json(v) for v in value]
    if isinstance(value, dict):
        return {clean(k): _cleaned_json(v) for k, v in value.items()}
    return value
