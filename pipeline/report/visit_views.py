"""Pictures of a visit: which squares of ground they show, and what is drawn over them.

In: a row of the inspection list and the tables around it. Out: `View`s, for which the caller cuts images, and plain
values for an SVG of 1,000 by 1,000 units.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.geodesy import GEOD, WGS84, centres
from overwatt.pipeline.inspection.candidates import NOT_LOOKED_AT, NOTHING_FOUND
from overwatt.pipeline.report import wording

if TYPE_CHECKING:
    from overwatt.pipeline.report.visits import VisitsData

Row = dict[str, Any]
MAP_HALF_M = 4_000.0
"""Half the side of the largest map, m: a larger area is shown around the place only; own choice, a short drive."""
CHIP_HALF_M = (150.0, 1_500.0)
"""Least and largest half side of a chip, m: a building with its street; 3,000 pixels of 1 m; own choice."""
_CHIP_MARGIN_M = 60.0
_SIDE = 1000.0  # units of a picture's SVG
_LABELS = 14  # places with a number on a map besides the place itself; own choice, more cannot be told apart
_COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


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


def is_cell(row: Row) -> bool:
    """Return whether a row of the list is a drawn cell, neither an entry nor an almost-listed site."""
    return row.get("class") in (NOTHING_FOUND, NOT_LOOKED_AT)


def views_of(
    places: gpd.GeoDataFrame, looked_at: gpd.GeoDataFrame, listed: gpd.GeoDataFrame
) -> dict[str, tuple[View, View]]:
    """Return the map and the chip of each row of `places` that has a position, by entry_id."""
    views = {}
    for row in places.itertuples():
        if row.geometry is not None and not row.geometry.is_empty:
            chip = _chip_view(row.geometry, _error_m(row.site_id, row.position_sigma_m))
            views[str(row.entry_id)] = (_map_view(row.geometry, looked_at, listed), chip)
    return views


def _error_m(site_id: str | None, sigma_m: float) -> float:
    """Return the position error, metres, of a place without a site; 0 where one was seen or no error is stated."""
    return float(sigma_m) if pd.isna(site_id) and pd.notna(sigma_m) else 0.0


def _chip_view(place: BaseGeometry, error_m: float) -> View:
    """Return the square around a place, and around twice its position error."""
    # a cell that surrounds the imagery can have lines as parts, which are no ground
    shape = shapely.union_all([g for g in shapely.get_parts([place]) if g.area]) or place
    lon, lat = (float(v) for v in centres(np.array([shape], dtype=object))[0])
    reach = np.abs(gpd.GeoSeries([shape], crs=WGS84).to_crs(View(lon, lat, 1.0).crs).total_bounds).max()
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


def neighbours(data: VisitsData, row: Row) -> str:
    """Return the nearest other place of the list, by distance and direction, '' if there is none."""
    others = data.listed[(data.listed["entry_id"] != row["entry_id"]) & data.listed["lon"].notna()]
    if not len(others):
        return ""
    metres, ways = _away(row, others[["lon", "lat"]].to_numpy(float))
    k = int(np.argmin(metres))
    rank = others["rank"].iloc[k]
    unranked = "a drawn cell" if is_cell(others.iloc[k].to_dict()) else "an almost-listed site"
    name = unranked if pd.isna(rank) else f"no. {rank}"
    if metres[k] < 1:
        return f"{name[0].upper()}{name[1:]} is at the same place"
    return f"Nearest other: {name}, {wording.distance(float(metres[k]))} {ways[k]}"


def declared_place(data: VisitsData, row: Row) -> tuple[float, float, str] | None:
    """Return latitude and longitude that the place's declaration states, and where that is from the place.

    None without a declaration or a position.
    """
    own = data.declared[data.declared["declared_id"] == row.get("declared_id")]
    if not len(own) or row.get("lon") is None or own.geometry.iloc[0] is None or own.geometry.iloc[0].is_empty:
        return None
    lonlat = centres(own.geometry.to_numpy()[:1])
    metres, ways = _away(row, lonlat)
    return float(lonlat[0, 1]), float(lonlat[0, 0]), f"{wording.distance(float(metres[0]))} {ways[0]}"


def _away(row: Row, lonlat: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return distances, metres, and compass directions from a place to others, (n, 2) in degrees."""
    lon, lat = np.full(len(lonlat), row["lon"]), np.full(len(lonlat), row["lat"])
    azimuth, _, metres = GEOD.inv(lon, lat, lonlat[:, 0], lonlat[:, 1])
    return metres, [_COMPASS[round(a / 45) % 8] for a in azimuth.tolist()]


def drawn(data: VisitsData, row: Row, view: View, *, whole: bool) -> Row:
    """Return a picture and what is drawn over it, in units of its SVG.

    Args:
        data: content of the pages.
        row: the place.
        view: the square on the ground.
        whole: map of the area, with cells and neighbours; else the chip, with all outlines.
    """
    jpeg = data.pictures.get(view)
    scale = _SIDE / (2 * view.half_m)
    shapes: list[tuple[str, str]] = []
    if whole:
        cells = _within(data.looked_at, view)
        unseen = ~cells["screened"].to_numpy(bool) | cells["failed"].to_numpy(bool)
        shapes += [("unseen" if u else "grid", _path(g, scale)) for u, g in zip(unseen, cells.geometry, strict=True)]
    outlines = _within(data.footprints, view)
    for klass, name in (("other_building", "ob"), ("data_center", "dc"), ("cooling_equipment", "eq")):
        if not whole or name == "dc":
            shapes += [(name, _path(g, scale)) for g in outlines.geometry[outlines["class"] == klass]]
    if is_cell(row):
        own = data.places.geometry[(data.places["entry_id"] == row["entry_id"]).to_numpy()].to_crs(view.crs)
        shapes.append(("cell", _path(own.iloc[0], scale)))
    points, circles, named = [], [], []
    declared = _within(data.declared, view)
    for shape, name, error_m in zip(
        declared.geometry, declared["declared_id"], declared["position_error_m"], strict=True
    ):
        if shape.geom_type != "Point":
            shapes.append(("decl faint" if whole else "decl", _path(shape, scale)))
            continue
        x, y = _at(shape, scale)
        points.append((x, y))
        if str(name) == row.get("declared_id"):
            named.append((x, y, x > _SIDE / 2))
            if not whole:
                circles.append((x, y, round(float(error_m) * scale, 1)))
    metres = _bar_m(2 * view.half_m / 3)
    return {
        "image": None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "shapes": [(k, d) for k, d in shapes if d],
        "points": points,
        "circles": circles,
        "named": named,  # position of the place's own declaration, and whether its label stands to the left
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
