"""The inspection list as KML 2.2 for globe viewers and GIS: a folder and a colour per class, drawn visits first.

In: the list as of `table.listing`. Out: a file; the same input gives the same bytes. Values are typed by a schema, so
that GIS programs read them as columns; the columns to fill in are there, empty. Names come from untrusted sources:
they are escaped.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import geopandas as gpd
import pandas as pd
import shapely

from overwatt.workflows.export.fields import OUTCOME
from overwatt.workflows.export.gis import DECIMALS, normalised, plain
from overwatt.workflows.export.styles import COLORS, DRAWN, LABELS
from overwatt.workflows.io import run_folder

_IN_DESCRIPTION = (
    "wording", "rank", "undeclared_flop_90d", "p_over_1e25", "p_over_1e26", "p_data_center", "p_match", "it_mw_p50",
    "declared_it_mw", "status_check", "evidence_for", "evidence_against", "settles", "next_step", "declared_source",
    "declared_licence",
)  # fmt: skip
_FILLED = frozenset(f.name for f in OUTCOME)
# GDAL takes `name` for the name of the placemark, whatever its case; a list is not a column
_NOT_DATA = ("geometry", "name", "alternatives")
_VISITS = "visits drawn by the plan"


def write_kml(path: Path, table: gpd.GeoDataFrame, about: list[tuple[str, str]]) -> None:
    """Write the list as KML 2.2: drawn visits, then one folder per class; one placemark per row."""
    shapes = normalised(table.geometry.to_numpy())
    names = [c for c in table.columns if c != "geometry"]
    columns = {c: plain(table[c]) for c in names}
    groups: dict[str, list[int]] = {}
    for n, (klass, drawn) in enumerate(zip(columns["class"], columns.get("drawn", [None] * len(table)), strict=True)):
        groups.setdefault(_VISITS if drawn else str(klass), []).append(n)
    order = [_VISITS, *COLORS]
    with run_folder.written(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write('<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>\n')
        file.write(f"<name>Inspection list</name><description>{_markup(about)}</description>\n")
        for klass, color in COLORS.items():
            file.write(_style(_xml_id(klass), color, color, 2) + _style(f"{_xml_id(klass)}-drawn", color, DRAWN, 4))
        fields = "".join(f'<SimpleField type="{_type(table[c])}" name="{c}"/>' for c in names if c not in _NOT_DATA)
        file.write(f'<Schema name="entry" id="entry">{fields}</Schema>\n')
        for group in sorted(groups, key=lambda k: (order.index(k) if k in order else len(order), k)):
            title = f"{LABELS.get(group, group)} ({len(groups[group])})"
            file.write(f"<Folder><name>{escape(title)}</name>\n")
            file.writelines(_placemark({c: columns[c][n] for c in names}, shapes[n]) for n in groups[group])
            file.write("</Folder>\n")
        file.write("</Document></kml>\n")


def _xml_id(text: str) -> str:
    """Return a text as an id of XML (NCName): letters, digits, `.`, `-`, `_`, and no digit at the start."""
    return re.sub(r"^(?=[^A-Za-z_])", "_", re.sub(r"[^\w.-]", "_", text, flags=re.ASCII))


def _style(name: str, fill: str, line: str, width: int) -> str:
    own, edge = (c[5:7] + c[3:5] + c[1:3] for c in (fill, line))  # KML colours are alpha, blue, green, red
    return (
        f'<Style id="{name}"><IconStyle><color>ff{edge}</color><scale>0.9</scale></IconStyle>'
        f"<LabelStyle><scale>0.7</scale></LabelStyle><LineStyle><color>ff{edge}</color><width>{width}</width>"
        f"</LineStyle><PolyStyle><color>80{own}</color></PolyStyle></Style>\n"
    )


def _type(column: pd.Series) -> str:
    # GDAL reads an empty number as 0, so what is to be filled in is text
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return "double" if numeric and column.name not in _FILLED else "string"


def _placemark(row: dict[str, Any], shape: shapely.Geometry | None) -> str:
    shown = [(k, row[k]) for k in _IN_DESCRIPTION if row.get(k) is not None]
    data = "".join(
        f'<SimpleData name="{k}">{"" if v is None else escape(_figure(v))}</SimpleData>'
        for k, v in row.items()
        if k not in _NOT_DATA and (v is not None or k in _FILLED)
    )
    style = _xml_id(str(row["class"])) + ("-drawn" if row.get("drawn") else "")
    title = row["name"] if row["rank"] is None else f"{row['rank']}. {row['name']}"
    return (
        f"<Placemark id={quoteattr(_xml_id(row['entry_id']))}><name>{escape(str(title))}</name>"
        f"<description>{_markup(shown)}</description><styleUrl>#{escape(style)}</styleUrl>"
        f'<ExtendedData><SchemaData schemaUrl="#entry">{data}</SchemaData></ExtendedData>'
        f"{'' if shape is None else _geometry(shape)}</Placemark>\n"
    )


def _markup(rows: list[tuple[str, Any]]) -> str:
    """Return rows as HTML for viewers: values are escaped as HTML, and the result as XML."""
    lines = (f"<b>{html.escape(k.replace('_', ' '))}</b>: {html.escape(_figure(v))}" for k, v in rows)
    return escape("<br/>\n".join(lines)).replace("$[", "$ [")  # viewers would replace $[name] by a value


def _figure(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _geometry(shape: shapely.Geometry) -> str:
    kind = shape.geom_type
    if kind == "Point":
        return f"<Point><coordinates>{_coordinates(shape)}</coordinates></Point>"
    if kind in ("LineString", "LinearRing"):
        return f"<LineString><coordinates>{_coordinates(shape)}</coordinates></LineString>"
    if kind == "Polygon":
        rings = [("outer", shape.exterior), *(("inner", r) for r in shape.interiors)]
        return "<Polygon>" + "".join(
            f"<{side}BoundaryIs><LinearRing><coordinates>{_coordinates(r)}</coordinates></LinearRing></{side}BoundaryIs>"
            for side, r in rings
        ) + "</Polygon>"  # fmt: skip
    return f"<MultiGeometry>{''.join(_geometry(p) for p in shape.geoms)}</MultiGeometry>"


def _coordinates(shape: shapely.Geometry) -> str:
    return " ".join(f"{x:.{DECIMALS}f},{y:.{DECIMALS}f}" for x, y in shapely.get_coordinates(shape).tolist())
