"""OpenStreetMap in each form in which Overpass and its converters give it.

In: parsed JSON of `out center`, `out geom`, `out body; >; out skel qt;` or `out bb`, the table of `[out:csv]`, or
GeoJSON from overpass-turbo or osmtogeojson. Out: one row per element with tags; outlines are assembled from vertices,
ways and members. Vertices and members without tags are parts of an outline and no rows.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import DEGREE_EQUATOR_M
from overwatt.pipeline.declared.parsing import as_text
from overwatt.pipeline.declared.received import FAULT, Received
from overwatt.pipeline.declared.status import status_of
from overwatt.pipeline.vocabulary import POSITION_ERROR_M

LICENCE = "ODbL 1.0, © OpenStreetMap contributors"
RELIABILITY = 0.9
"""Share of rows that are right about place and identity: mapped by volunteers; includes some telephone exchanges."""
_PARTIAL_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?$")
_POWER_GRID = frozenset({"line", "minor_line", "substation", "cable", "tower", "pole", "plant", "generator"})
_NO_TAGS = frozenset({"created_by", "source", "source:date", "attribution"})  # of the mapping, not of the thing
_TYPES = ("node", "way", "relation")
_GONE = frozenset({"abandoned", "disused", "demolished", "razed", "removed", "destroyed", "dismantled", "ruins", "was",
                   "end_date"})  # fmt: skip
"""Keys, prefixes of keys and values of what no longer stands or runs."""
_FACILITY = frozenset({"telecom", "building", "man_made", "landuse", "office"})
"""Keys that say what a place is; a prefix before another key ('was:name') says nothing about it."""
Element = dict[str, Any]


def osm(given: Received) -> pd.DataFrame:
    """Read OpenStreetMap; lines and substations of the power grid are rejected.

    Raises:
        RegistryError: not an answer of Overpass, or one without places or without tags.
    """
    elements = _elements(given)
    nodes, ways, parts = _index(elements)
    merged: dict[tuple[str, str], int] = {}
    rows = []
    for n, element in enumerate(elements, start=1):
        where = f"registry '{given.name}', row {n}"
        if not isinstance(element, dict) or not isinstance(element.get("tags") or {}, dict):
            rows.append({"row": n, "fault": f"{where}: not an OpenStreetMap element"})
            continue
        key = _key(element, "id")
        tags = {k: v for k, v in (element.get("tags") or {}).items() if k not in _NO_TAGS}
        if not tags and (key[0] == "node" or key in parts):
            continue
        row = _row(element, n, where)
        if key[1] != "None" and (first := merged.setdefault(key, n)) != n:
            row["left_out"] = f"the same element as in row {first}"
        elif "fault" not in row:
            row |= _place(element, nodes, ways, where)
        rows.append(row)
    if not rows and elements:
        raise RegistryError(
            f"registry '{given.name}': no element has tags, so none is known to be a facility; ask Overpass with "
            "'out center;' or 'out geom;'"
        )
    usable = [r for r in rows if not r.get("left_out") and not r.get("fault")]
    if usable and not any(r.get("geometry") is not None or r.get("lon") is not None for r in usable):
        raise RegistryError(
            f"registry '{given.name}': no element has a place; ask Overpass with 'out center;' or 'out geom;'"
        )
    return pd.DataFrame(rows)


def _elements(given: Received) -> list[Any]:
    """Return the elements of an Overpass answer, or of a GeoJSON made from one."""
    if given.frame is not None:
        return [_element_of_row(r) for r in given.frame.to_dict("records")]
    content = given.content
    if isinstance(content, dict) and isinstance(content.get("features"), list):
        return [_element_of(f) for f in content["features"]]
    elements = content.get("elements") if isinstance(content, dict) else None
    if not isinstance(elements, list):
        raise RegistryError(f"registry '{given.name}' is not Overpass JSON: key 'elements' is missing")
    return elements


def _element_of_row(row: dict[Any, Any]) -> Element:
    """Return a row of [out:csv(::type, ::id, ::lat, ::lon, name, …)] as an element."""
    cells = {str(k).lower(): as_text(v) for k, v in row.items()}
    return {"type": cells.get("@type") or "node", "id": cells.get("@id"), "lon": cells.get("@lon"),
            "lat": cells.get("@lat"), "fault": row.get(FAULT),
            "tags": {k: v for k, v in cells.items() if v and k[0] not in "@\0"} or {"csv": "no tags"}}  # fmt: skip


def _element_of(feature: object) -> object:
    """Return a GeoJSON feature as an element whose geometry is in `outline`."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(feature, dict) or not isinstance(properties, dict):
        return feature
    own = properties.get("@id") or feature.get("id") or properties.get("id") or ""
    kind, _, number = str(own).partition("/")
    if kind not in _TYPES:  # osmtogeojson without flat properties
        kind, number = str(properties.get("type")), str(properties.get("id"))
    tags = properties.get("tags")
    if not isinstance(tags, dict):
        tags = {k: v for k, v in properties.items() if not k.startswith("@") and k != "id"}
    drawn = feature.get("geometry")
    outline = shapely.from_geojson(json.dumps(drawn), on_invalid="ignore") if isinstance(drawn, dict) else None
    if outline is not None and outline.geom_type == "LineString" and outline.is_closed:
        outline = shapely.Polygon(outline.coords)  # a closed way that its converter did not take for an area
    return {"type": kind, "id": int(number) if number.isdigit() else number, "tags": tags, "outline": outline,
            "middle": properties.get("@geometry") in ("center", "bounds")}  # fmt: skip


def _key(element: Element, name: str) -> tuple[str, str]:
    """Return type and id of an element or, with `name` 'ref', of the member of a relation; 'None' if there is none."""
    return str(element.get("type")), str(element.get(name))


def _index(elements: list[Any]) -> tuple[dict[str, Any], dict[str, Element], set[tuple[str, str]]]:
    """Return places of nodes by id, ways by id, and the (type, id) of elements that are parts of others."""
    nodes, ways, parts = dict[str, Any](), dict[str, Element](), set[tuple[str, str]]()
    for element in elements:
        if not isinstance(element, dict):
            continue
        kind, number = _key(element, "id")
        if kind == "node" and "lon" in element and "lat" in element:
            nodes[number] = (element["lon"], element["lat"])
        elif kind == "way":  # may come twice, with tags and with vertices
            ways[number] = {**element, **{k: v for k, v in ways.get(number, {}).items() if v}}
        elif kind == "relation":
            parts |= {_key(m, "ref") for m in _members(element)}
    return nodes, ways, parts


def _members(relation: Element) -> list[Element]:
    members = relation.get("members")
    return [m for m in members if isinstance(m, dict)] if isinstance(members, list) else []


def _place(element: Element, nodes: dict[str, Any], ways: dict[str, Element], where: str) -> dict[str, Any]:
    """Return lon and lat, or geometry and what follows from it, or the fault of an element."""
    outline, fault = element.get("outline"), None
    if element.get("middle") and outline is not None:
        middle = shapely.centroid(outline)
        return {"lon": middle.x, "lat": middle.y}
    try:
        if outline is None and element.get("type") == "way":
            outline = _ring(_vertices({**ways[_key(element, "id")[1]], **element}, nodes))
        elif outline is None and element.get("type") == "relation":
            outline = _assembled(element, nodes, ways)
    except (ValueError, TypeError, shapely.errors.GEOSException) as error:
        outline, fault = None, f"{where}: {error}"
    if outline is not None:
        # the position error of an outline follows from its size, as in every registry
        return {"geometry": outline} | ({} if outline.geom_type == "Point" else {"usual_error_m": np.nan})
    middle = element.get("center")
    place = middle if isinstance(middle, dict) else element
    if place.get("lon") is not None:
        return {"lon": place["lon"], "lat": place.get("lat")}
    box = element.get("bounds")
    if isinstance(box, dict) and fault is None:
        try:
            west, south, east, north = (float(box[k]) for k in ("minlon", "minlat", "maxlon", "maxlat"))
        except (KeyError, TypeError, ValueError, OverflowError):
            return {"fault": f"{where}: its bounds are not four numbers"}
        # the facility is somewhere in the box: half its diagonal is taken as the error
        half_m = np.hypot(east - west, north - south) * DEGREE_EQUATOR_M / 2
        return {"lon": (west + east) / 2, "lat": (south + north) / 2,
                "usual_error_m": max(POSITION_ERROR_M["rooftop"], half_m)}  # fmt: skip
    return {} if fault is None else {"fault": fault}


def _vertices(way: Element, nodes: dict[str, Any]) -> list[tuple[float, float]]:
    """Return lon, lat of the vertices of a way, none if the answer does not state them.

    Raises:
        ValueError: some are missing.
    """
    stated, refs = way.get("geometry"), way.get("nodes")
    if isinstance(stated, list):
        found = [(p.get("lon"), p.get("lat")) if isinstance(p, dict) else None for p in stated]
    elif isinstance(refs, list) and any(str(r) in nodes for r in refs):
        found = [nodes.get(str(r)) for r in refs]
    else:
        return []
    if missing := sum(p is None or None in p for p in found):
        raise ValueError(
            f"{missing} of the {len(found)} vertices of its outline are not in the answer; ask Overpass without a "
            "bounding box after 'out geom', or add '(._;>;);'"
        )
    return [(float(str(p[0])), float(str(p[1]))) for p in found if p]


def _ring(vertices: list[tuple[float, float]]) -> BaseGeometry | None:
    """Return the polygon of a closed way.

    Raises:
        ValueError: the way is open.
    """
    if not vertices:
        return None
    if len(vertices) < 4 or vertices[0] != vertices[-1]:
        raise ValueError("an open line; a facility is a point or a closed outline")
    return shapely.Polygon(vertices)


def _assembled(relation: Element, nodes: dict[str, Any], ways: dict[str, Element]) -> BaseGeometry | None:
    """Return the outline of a relation: rings of its outer members without those of its inner members.

    Raises:
        ValueError: its members form no closed ring.
    """
    lines: dict[bool, list[BaseGeometry]] = {True: [], False: []}
    absent = 0
    for member in _members(relation):
        if member.get("type") == "way":
            line = _vertices(member if member.get("geometry") else ways.get(str(member.get("ref")), {}), nodes)
            absent += not line
            if len(line) > 1:
                lines[member.get("role") != "inner"].append(shapely.LineString(line))
    if not lines[True]:
        return None
    if absent:
        raise ValueError(f"{absent} of its members are not in the answer; ask Overpass with 'out geom'")
    outer, inner = (shapely.union_all(shapely.get_parts(shapely.polygonize(lines[k]))) for k in (True, False))
    if outer.is_empty:
        raise ValueError("its members form no closed ring; some may be missing in the answer")
    return shapely.difference(outer, inner)


def _row(element: Element, n: int, where: str) -> dict[str, Any]:
    tags = element.get("tags") or {}
    start = str(tags.get("start_date", ""))
    # Overpass gives the centre of the bounding box: for a building within it, for land somewhere on the parcel
    land = element.get("type") != "node" and "building" not in tags
    row = {
        "row": n,
        "declared_id": f"{element.get('type')}/{element.get('id')}",
        "name": tags.get("name"),
        "operator": tags.get("operator") or tags.get("owner"),
        "status": _status(tags),
        "usual_error_m": POSITION_ERROR_M["parcel" if land else "rooftop"],
        "valid_from": start if _PARTIAL_DATE.match(start) else None,
        "zone": _zone(tags),
        "source": "OpenStreetMap",
        "licence": LICENCE,
        "reliability": RELIABILITY,
    }
    if isinstance(fault := element.get("fault"), str):
        return row | {"fault": fault}
    if element.get("type") not in _TYPES:
        return row | {"fault": f"{where}: not a node, way or relation of OpenStreetMap"}
    if str(tags.get("power")) in _POWER_GRID and "telecom" not in tags and "data" not in str(tags.get("building")):
        return row | {"fault": f"{where}: a {as_text(tags['power'])} of the power grid, not a data center"}
    return row


def _zone(tags: dict[str, Any]) -> str | None:
    country, state = (as_text(tags.get(f"addr:{k}")) for k in ("country", "state"))
    return f"{country}-{state}" if country and state else country or state


def _status(tags: dict[str, Any]) -> str:
    """Return the status by the life-cycle tags (wiki.openstreetmap.org/wiki/Lifecycle_prefix), else operational."""
    live = {k for k in _FACILITY if "data_cent" in str(tags.get(k))}
    keys = set()
    for tag, value in tags.items():
        key, _, of = str(tag).partition(":")
        # 'demolished:building=barn' is of another building than the data center that the other tags name
        own = "data_cent" in str(value) or (of in live and value == "yes")
        if str(value).lower() not in ("no", "never") and (not of or (of in _FACILITY and (own or not live))):
            keys.add(key)
    main = {str(tags.get(k)) for k in _FACILITY}
    if keys & _GONE or main & _GONE:
        return "closed"
    if "cancelled" in keys:
        return "cancelled"
    if "construction" in keys | main:
        return "construction"
    if keys & {"planned", "proposed"} or main & {"planned", "proposed"}:
        return "planned"
    stated = as_text(tags.get("operational_status"))
    return status_of(stated) if stated else "operational"
