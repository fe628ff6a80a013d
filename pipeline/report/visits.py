"""One page per visit, to print or to save as PDF: where to go, why, and the fields to fill in by hand.

In: `VisitsData`, rows of the inspection list with the tables around them and pictures that are already cut. Out: the
text of one self-contained HTML page with one sheet of A4 per place. Nothing may run over to a second sheet, so each
text has a budget of lines, and what is beyond it is counted and left to the report. Outlines differ by line, not by
colour alone, for prints in black and white. All texts are untrusted; the template escapes them.
"""

from __future__ import annotations

import base64
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import jinja2
import numpy as np
import pandas as pd
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.geodesy import GEOD, WGS84, centres
from overwatt.pipeline.report import wording
from overwatt.pipeline.report.inlined import digest, inline, read
from overwatt.pipeline.tables import empty

Row = dict[str, Any]

MAP_HALF_M = 4_000.0
"""Half the side of the largest map, m: a larger area is shown around the place only; own choice, a short drive."""
CHIP_HALF_M = (150.0, 1_500.0)
"""Least and largest half side of a chip, m: a building with its street; 3,000 pixels of 1 m; own choice."""
_CHIP_MARGIN_M = 60.0
_SIDE = 1000.0  # units of a picture's SVG
_LABELS = 14  # places with a number on a map besides the place itself; own choice, more cannot be told apart
_LINE = 34.0  # width of a line of evidence, in lower-case letters; measured in Chromium with Liberation Sans
_LINES = 12  # lines of each list of evidence
_COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
CELL_LABEL = {
    "nothing found": ("Empty cell", "the cell was looked at, and nothing on the list is in it"),
    "not looked at": ("Cell not looked at", "the imagery says nothing of this cell"),
}
"""Classes of drawn cells in words: label and meaning."""
_CLASSES = {c: (label, wording.CLASS_MEANING[c]) for c, label in wording.CLASS_LABEL.items()} | CELL_LABEL
_DRAWN = "None: the plan draws cells too, so that no place is known to be safe from a visit."
_RESTS_ON = {
    "it_mw": "a capacity, not a use",  # preceded by the areas
    "facility_mw": "IT power times the ratio of facility to IT power at peak, 1.17 to 1.52",
    "h100e": "IT power; the share of it that feeds accelerators cannot be seen",
    "flop_90d": "H100 equivalents, utilisation, dense BF16; the sum of all these errors",
}
_QUANTITY = {
    "it_mw": "IT power, MW", "facility_mw": "Facility power at peak, MW", "h100e": "H100 equivalents",
    "flop_90d": "Training FLOP in 90 days",
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """A square on the ground, north up, in the azimuthal equidistant projection about its centre.

    Attributes:
        lon: of the centre, degrees.
        lat: of the centre, degrees.
        half_m: half the side, m.
    """

    lon: float
    lat: float
    half_m: float

    @property
    def crs(self) -> str:
        """PROJ string of the projection."""
        return f"+proj=aeqd +lat_0={self.lat!r} +lon_0={self.lon!r} +datum=WGS84 +units=m +no_defs"

    @property
    def square(self) -> BaseGeometry:
        """The square in lon/lat, with points along its sides; longitudes run on across the antimeridian."""
        steps = np.linspace(-self.half_m, self.half_m, 9)
        side = np.full(9, self.half_m)
        x, y = np.r_[steps, side, -steps, -side], np.r_[-side, steps, side, -steps]
        lon, lat = Transformer.from_crs(self.crs, WGS84, always_xy=True).transform(x, y)
        return shapely.Polygon(np.column_stack([self.lon + (lon - self.lon + 180) % 360 - 180, lat]))


@dataclass(frozen=True)
class VisitsData:
    """Content of the pages.

    Attributes:
        title: of the run.
        places: rows of the inspection list to visit, in order; one page each.
        listed: all rows of the inspection list, for the neighbours on the maps.
        views: map and chip by entry_id, from `views_of`.
        chosen: sentence on how the places were chosen.
        findings: finding -> its meaning; the boxes to tick.
        looked_at: table `looked_at`; may be empty.
        footprints: table `footprints`; may be empty.
        declared: table `declared`; may be empty.
        pictures: JPEG bytes by view, cut by `rasters.chip` without furniture.
        imagery: why there are no pictures, '' if there are.
        image_date: of the run's imagery, '' if not stated.
        simulated: whether the run is simulated.
        attribution: of imagery and registries.
    """

    title: str
    places: gpd.GeoDataFrame
    listed: gpd.GeoDataFrame
    views: Mapping[str, tuple[View, View]]
    chosen: str
    findings: Mapping[str, str]
    looked_at: gpd.GeoDataFrame = field(default_factory=lambda: empty("looked_at"))
    footprints: gpd.GeoDataFrame = field(default_factory=lambda: empty("footprints"))
    declared: gpd.GeoDataFrame = field(default_factory=lambda: empty("declared"))
    pictures: Mapping[View, bytes] = field(default_factory=dict)
    imagery: str = ""
    image_date: str = ""
    simulated: bool = False
    attribution: Sequence[str] = ()


def views_of(
    places: gpd.GeoDataFrame, looked_at: gpd.GeoDataFrame, listed: gpd.GeoDataFrame
) -> dict[str, tuple[View, View]]:
    """Return the map and the chip of each row of `places` that has a position, by entry_id."""
    return {
        str(row.entry_id): (_map_view(row.geometry, looked_at, listed), _chip_view(row))
        for row in places.itertuples()
        if row.geometry is not None and not row.geometry.is_empty
    }


def _chip_view(row: Any) -> View:  # noqa: ANN401  # a named tuple of the list's columns
    """Return the square around a place, and around twice the position error where no site was seen."""
    lon, lat = (float(v) for v in centres(np.array([row.geometry], dtype=object))[0])
    reach = np.abs(gpd.GeoSeries([row.geometry], crs=WGS84).to_crs(View(lon, lat, 1.0).crs).total_bounds).max()
    error_m = float(row.position_sigma_m) if pd.isna(row.site_id) and pd.notna(row.position_sigma_m) else 0.0
    half_m = max(float(reach), 2 * error_m) + _CHIP_MARGIN_M
    return View(lon, lat, min(max(half_m, CHIP_HALF_M[0]), CHIP_HALF_M[1]))


def _map_view(place: BaseGeometry, looked_at: gpd.GeoDataFrame, listed: gpd.GeoDataFrame) -> View:
    """Return the square of the whole area, or the largest map around the place where the area is larger."""
    lon, lat = (float(v) for v in centres(np.array([place], dtype=object))[0])
    around = looked_at if len(looked_at) else listed
    shapes = around.geometry[around.geometry.notna() & ~around.geometry.is_empty]
    # the area's middle, by its bounds in the projection about the place: safe across the antimeridian
    crs = View(lon, lat, MAP_HALF_M).crs
    west, south, east, north = (float(v) for v in shapes.to_crs(crs).total_bounds)
    half_m = max(east - west, north - south) / 2
    if not half_m <= MAP_HALF_M:  # also if it is not a number
        return View(lon, lat, MAP_HALF_M)
    middle = Transformer.from_crs(crs, WGS84, always_xy=True).transform((west + east) / 2, (south + north) / 2)
    # rounded, so that all places of an area share one picture: 5 digits are 1 m
    return View(round(middle[0], 5), round(middle[1], 5), max(CHIP_HALF_M[0], math.ceil(1.06 * half_m)))


def render_visits(data: VisitsData) -> str:
    """Return the pages as one self-contained HTML text; the same data give the same text."""
    style = inline(read("visits.css"))
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # no script at all, and nothing from a network
    policy = f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src {digest(style)}"
    rows = [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in data.places.drop(columns="geometry").to_dict("records")
    ]
    visits = [_visit(data, row) for row in rows]
    template = environment.from_string(read("visits.html.j2"))
    credit = fitted(". ".join(data.attribution), 2, 150)
    return template.render(policy=policy, style=style, data=data, visits=visits, title=fitted(data.title, 1, 60),
                           credit=credit)  # fmt: skip


def _visit(data: VisitsData, row: Row) -> Row:
    """Values of one page; each text is short enough for its place on it."""
    get = row.get
    cell = get("rank") is None
    label, meaning = _CLASSES.get(str(get("class")), (fitted(str(get("class")), 1), ""))
    name = str(get("name") or "")
    views = data.views.get(str(row["entry_id"]))
    error_m, lon, lat = get("position_sigma_m"), get("lon"), get("lat")
    return {
        "entry_id": fitted(str(row["entry_id"]), 1, 40),
        "rank": get("rank"),
        "cell": cell,
        "label": label,
        "meaning": meaning,
        "name": "" if name == str(row["entry_id"]) else fitted(name, 1, 64),
        "degrees": ["not stated"] if lat is None or lon is None else [f"{lat:.5f}", f"{lon:.5f}"],
        "minutes": [] if lat is None or lon is None else [_minutes(lat, "NS"), _minutes(lon, "EW")],
        "error": "none: the whole cell"
        if cell
        else "not stated"
        if error_m is None
        else f"{wording.distance(error_m)} (1 sigma)",
        "image_date": fitted(str(get("image_date") or data.image_date or ""), 1, 20) or "not stated",
        "p": None if get("p_data_center") is None else wording.probability(row["p_data_center"]),
        "prior": "not stated" if get("prior") is None else wording.share(row["prior"]),
        "declared": "nothing on the list is in it" if cell else _declared(row),
        "estimates": [] if cell else _estimates(row),
        "evidence": [
            (title, *bullets(str(get(column) or (_DRAWN if cell and column == "evidence_for" else "")), split))
            for title, column, split in (
                ("Evidence for", "evidence_for", _SENTENCE),
                ("Evidence against", "evidence_against", _SENTENCE),
                ("What would settle it", "settles", _CLAUSE),
            )
        ],
        "map": None if views is None else _drawn(data, row, views[0], whole=True),
        "chip": None if views is None else _drawn(data, row, views[1], whole=False),
        "neighbours": "" if views is None else _neighbours(data, row),
        "probability": get("inspection_probability"),
    }


_SENTENCE = re.compile(r"(?<=[.?!])\s+|(?<=。)")
_CLAUSE = re.compile(r"(?<=[.?!])\s+|(?<=。)|;\s+")


def bullets(text: str, split: re.Pattern[str] = _SENTENCE, lines: int = _LINES) -> tuple[list[str], int]:
    """Return the parts of a text that fit into a number of lines, and how many parts are left out.

    Args:
        text: sentences.
        split: what separates the parts.
        lines: of `_LINE` letters; one is kept for the note on what is left out.
    """
    parts = [p.strip() for p in split.split(text) if p.strip()]
    shown: list[str] = []
    if sum(_height(p) for p in parts) <= lines:
        return parts, 0
    room = lines - 1
    for part in parts:
        if _height(part) > room and shown:
            break
        shown.append(fitted(part, room))
        room -= _height(shown[-1])
    return shown, len(parts) - len(shown)


def fitted(text: str, lines: int, width: float = _LINE) -> str:
    """Return a text on one line of source, cut with an ellipsis to a number of lines on paper."""
    text = " ".join(text.split())
    if _height(text, width) <= lines:
        return text
    low, high = 0, len(text)
    while low < high:  # longest beginning that fits; the height grows with the length
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _height(text[:middle] + " …", width) <= lines else (low, middle - 1)
    return text[:low].rstrip() + " …"


def _height(text: str, width: float = _LINE) -> int:
    """Lines that a text takes, broken at spaces and in words that are longer than a line."""
    lines, at = 1, 0.0
    for word in text.split():
        size = sum(_letter(c) for c in word)
        if at and at + size > width:
            lines, at = lines + 1, 0.0
        over = max(0, math.ceil(size / width) - 1)
        lines, at = lines + over, at + size - over * width + 1.0
    return lines


def _letter(c: str) -> float:
    """Width of a character in lower-case letters, from above: the fonts of the reader are not known."""
    if unicodedata.east_asian_width(c) in "WF" or c in "MWmw@%—":
        return 2.0
    return 1.0 if c.islower() or c in ".,;:()'" else 1.35


def _minutes(value: float, signs: str) -> str:
    """Degrees and decimal minutes, such as 45° 00.085′ N; 0.001′ is 2 m."""
    thousandths = round(abs(value) * 60_000)
    return f"{thousandths // 60_000}° {thousandths % 60_000 / 1000:06.3f}′ {signs[value < 0]}"


def _declared(row: Row) -> str:
    """What was declared, in one sentence."""
    if row.get("declared_id") is None:
        return "nothing fits this place"
    power = row.get("declared_it_mw"), row.get("declared_facility_mw")
    said = [
        f"{wording.mw(power[0])} MW of IT" if power[0] is not None
        else f"{wording.mw(power[1])} MW in all" if power[1] is not None
        else "power not stated",
        f"status {row.get('declared_status') or 'not stated'}",
        f"by {row['declared_operator']}" if row.get("declared_operator") else "operator not stated",
    ]  # fmt: skip
    return fitted(", ".join(said), 6, 19)


def _estimates(row: Row) -> list[Row]:
    """Rows of the table of power and compute; empty if no site was seen."""
    if row.get("it_mw_p50") is None:
        return []

    def number(stem: str, name: str) -> tuple[str, str]:
        value = row.get(f"{stem}_{name}")
        if value is None:
            return "unknown", ""
        if stem == "flop_90d":
            return wording.power_of_ten(value)
        return (wording.count(value) if stem == "h100e" else wording.mw(value)), ""

    out = []
    for stem, quantity in _QUANTITY.items():
        basis = _RESTS_ON[stem]
        if stem == "it_mw":
            areas = [
                f"{row[k]:,.0f} m² of {what}"
                for k, what in (("building_area_m2", "buildings"), ("cooling_area_m2", "cooling equipment"))
                if row.get(k) is not None
            ]
            basis = f"{' and '.join(areas) or 'areas not stated'}; {basis}"
            if row.get("on_border") is True:
                basis = f"a part of the site only, a lower bound: {basis}"
        low, middle, high = (number(stem, q) for q in ("p05", "p50", "p95"))
        out.append({"quantity": quantity, "low": low, "middle": middle, "high": high, "basis": basis})
    return out


def _neighbours(data: VisitsData, row: Row) -> str:
    """The nearest other place of the list, by distance and direction."""
    others = data.listed[(data.listed["entry_id"] != row["entry_id"]) & data.listed["lon"].notna()]
    if not len(others):
        return ""
    lon, lat = np.full(len(others), row["lon"]), np.full(len(others), row["lat"])
    azimuth, _, metres = GEOD.inv(lon, lat, others["lon"].to_numpy(float), others["lat"].to_numpy(float))
    k = int(np.argmin(metres))
    rank = others["rank"].iloc[k]
    name = "a drawn cell" if pd.isna(rank) else f"no. {rank}"
    if metres[k] < 1:
        return f"{name[0].upper()}{name[1:]} is at the same place"
    return f"Nearest other: {name}, {wording.distance(float(metres[k]))} {_COMPASS[round(azimuth[k] / 45) % 8]}"


def _drawn(data: VisitsData, row: Row, view: View, *, whole: bool) -> Row:
    """A picture and what is drawn over it, in units of its SVG; `whole` for the map, else the chip."""
    jpeg = data.pictures.get(view)
    scale = _SIDE / (2 * view.half_m)
    shapes: list[tuple[str, str]] = []
    cells = _within(data.looked_at, view)
    if whole:
        unseen = ~cells["screened"].to_numpy(bool) | cells["failed"].to_numpy(bool)
        shapes += [("unseen" if u else "grid", _path(g, scale)) for u, g in zip(unseen, cells.geometry, strict=True)]
    outlines = _within(data.footprints, view)
    kinds = {"data_center": "dc", "cooling_equipment": "eq", "other_building": "ob"}
    for klass, name in (("other_building", "ob"), ("data_center", "dc"), ("cooling_equipment", "eq")):
        if not whole or name == "dc":
            shapes += [(kinds[klass], _path(g, scale)) for g in outlines.geometry[outlines["class"] == klass]]
    if row["rank"] is None:
        own = gpd.GeoSeries([data.places.set_index("entry_id").geometry[row["entry_id"]]], crs=WGS84).to_crs(view.crs)
        shapes.append(("cell", _path(own.iloc[0], scale)))
    points, circles = [], []
    declared = _within(data.declared, view)
    for shape, name, error_m in zip(
        declared.geometry, declared["declared_id"], declared["position_error_m"], strict=True
    ):
        if shape.geom_type != "Point":
            shapes.append(("decl", _path(shape, scale)))
            continue
        x, y = _at(shape, scale)
        points.append((x, y))
        if str(name) == row.get("declared_id") and not whole:
            circles.append((x, y, round(float(error_m) * scale, 1)))
    metres = _bar_m(2 * view.half_m / 3)
    return {
        "image": None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "shapes": [(k, d) for k, d in shapes if d],
        "points": points,
        "circles": circles,
        "labels": _labels(data, row, view, scale) if whole else [],
        "place": _at(_project([shapely.Point(row["lon"], row["lat"])], view)[0], scale) if whole else None,
        "bar": (round(metres * scale, 1), f"{metres:g} m" if metres < 1000 else f"{metres / 1000:g} km"),
        "side": wording.distance(2 * view.half_m),
    }


def _labels(data: VisitsData, row: Row, view: View, scale: float) -> list[tuple[float, float, str]]:
    """Positions and ranks of the nearest other entries on the map."""
    others = data.listed[
        (data.listed["entry_id"] != row["entry_id"]) & data.listed["lon"].notna() & data.listed["rank"].notna()
    ].drop_duplicates(["lon", "lat"])
    if not len(others):
        return []
    points = _project(list(shapely.points(others[["lon", "lat"]].to_numpy(float))), view)
    own = _project([shapely.Point(row["lon"], row["lat"])], view)[0]
    order = np.argsort(shapely.distance(points, own), kind="stable")
    inside = [k for k in order if max(abs(points[k].x), abs(points[k].y)) < view.half_m]
    ranks = others["rank"].to_numpy(object)
    return [(*_at(points[k], scale), str(ranks[k])) for k in inside[:_LABELS]]


def _within(frame: gpd.GeoDataFrame, view: View) -> gpd.GeoDataFrame:
    """Rows that touch a view, in its projection, cut at its edges."""
    if not len(frame):
        return frame
    west, south, east, north = view.square.bounds
    # a square across the antimeridian lies on both ends of the map
    turns = [shapely.box(west + k, south, east + k, north) for k in (-360, 0, 360)]
    found = frame.iloc[np.unique(frame.sindex.query(turns)[1])]
    moved = found.to_crs(view.crs)
    square = shapely.box(-view.half_m, -view.half_m, view.half_m, view.half_m)
    moved = moved.set_geometry(shapely.intersection(shapely.make_valid(moved.geometry.to_numpy()), square))
    return moved.set_crs(view.crs, allow_override=True)[~moved.geometry.is_empty.to_numpy()]


def _project(points: Sequence[BaseGeometry], view: View) -> np.ndarray:
    return np.asarray(gpd.GeoSeries(list(points), crs=WGS84).to_crs(view.crs), dtype=object)


def _at(point: BaseGeometry, scale: float) -> tuple[float, float]:
    """Position in the SVG: x to the right and y down from the upper left corner."""
    return round(_SIDE / 2 + point.x * scale, 1), round(_SIDE / 2 - point.y * scale, 1)


def _path(shape: BaseGeometry, scale: float) -> str:
    """SVG path of the outlines of a geometry, '' if it has none."""
    rings = [
        ring
        for part in shapely.get_parts(shapely.get_parts([shape]))
        if part.geom_type == "Polygon"
        for ring in (part.exterior, *part.interiors)
    ]
    moved = [np.asarray(r.coords)[:, :2] * (scale, -scale) + _SIDE / 2 for r in rings]
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring[:-1]) + "Z" for ring in moved)


def _bar_m(most_m: float) -> float:
    """Length of a scale bar: 1, 2 or 5 times a power of ten, at most `most_m`."""
    power = 10.0 ** math.floor(math.log10(most_m))
    return max(n * power for n in (1, 2, 5) if n * power <= most_m)
