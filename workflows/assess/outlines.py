"""Outlines on returned lists: which ones the inspector drew or corrected, and whether the list is of this run's state.

In: rows of a list and the places of the run. Out: the outlines that differ from those of the run. What is not taken is
counted in notes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import local_xy
from overwatt.pipeline.declared.parsing import as_number
from overwatt.workflows.io import dispositions

SAME_DEGREES = 1e-6
"""Outlines that differ less are the same, some 0.1 m: files store coordinates in 7 digits; own choice."""
SAME_M = 0.5
"""A listed point this close to that of the place is the same: coordinates of 6 digits; own choice."""
_AREAS = ("Polygon", "MultiPolygon")


@dataclass
class Changed:
    """Outlines that differ from those of the run by entry_id, notes on what is not taken, faults."""

    shapes: dict[str, shapely.Geometry] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def moved_m(frame: pd.DataFrame, places: gpd.GeoDataFrame, mark: str) -> dict[str, float]:
    """Return the distance of the listed lon and lat from the place in the run, metres, by entry_id, where known.

    Args:
        frame: rows as of `filled_lists.read_filled`.
        places: of the run, by entry_id.
        mark: decimal mark of the texts among the coordinates.
    """
    rows = frame[frame["lon"].notna() & frame["lat"].notna() & frame["entry_id"].isin(places.index)]
    rows = rows.drop_duplicates("entry_id")
    listed = [[_degrees(v, k, mark) for k in ("lon", "lat")] for v in rows.to_dict("records")]
    shapes = places.geometry.reindex(pd.Index(rows["entry_id"])).to_numpy()
    # as the export makes them
    points = shapely.point_on_surface(shapes)
    lon, lat = np.asarray(listed, dtype=float).reshape(-1, 2).T
    distance = np.hypot(*local_xy(lon, lat, shapely.get_x(points), shapely.get_y(points)))
    return {k: d for k, d in zip(rows["entry_id"], distance.tolist(), strict=True) if np.isfinite(d)}


def changed(name: str, frame: pd.DataFrame, places: gpd.GeoDataFrame, off_m: dict[str, float]) -> Changed:
    """Return the outlines of a file that differ from those of the run.

    Args:
        name: of the file, for notes.
        frame: rows as of `filled_lists.read_filled`.
        places: of the run, by entry_id.
        off_m: as of `moved_m`; where a point is off, the outline is that of an earlier state and is left out.
    """
    out, left = Changed(), Counter[str]()
    for row in frame[frame["geometry"].notna()].to_dict("records"):
        entry, shape = row["entry_id"], row["geometry"]
        if shape.is_empty:
            continue
        if shape.geom_type == "MultiPoint" and len(shape.geoms) == 1:  # as GIS programs store a point
            shape = shape.geoms[0]
        area = _polygons(shape)
        if entry is None or entry not in places.index:
            left["polygons without an entry_id of this run"] += area is not None
        elif off_m.get(entry, 0.0) > SAME_M:
            continue  # its finding gives a note, or a fault
        elif area is None:
            is_point = shape.geom_type == "Point"
            left["moved points, which are no outlines"] += is_point and _moved(shape, places.geometry[entry])
            left[f"shapes of type {shape.geom_type}, which are no outlines; draw polygons"] += not is_point
        elif not same(area, places.geometry[entry]):
            _add(out, entry, area, row["where"])
    out.notes = [f"{name}: not recorded: {n} {what}" for what, n in left.items() if n]
    return out


def same(one: shapely.Geometry, other: shapely.Geometry | None) -> bool:
    """Return whether two outlines differ by less than `SAME_DEGREES`."""
    if other is None or other.is_empty or other.geom_type not in _AREAS:
        return False
    return bool(shapely.hausdorff_distance(one, other) <= SAME_DEGREES)


def _add(out: Changed, entry: str, area: shapely.Geometry, where: str) -> None:
    try:
        valid = dispositions.outline_of(area, where)
        if valid is not None and not same(valid, out.shapes.setdefault(entry, valid)):
            raise RegistryError(f"{where}: entry '{entry}' has two changed outlines; keep one of them")
    except RegistryError as error:
        out.faults.append(str(error))


def _polygons(shape: shapely.Geometry) -> shapely.Geometry | None:
    """Return an outline as it is, the polygons of a collection as one, None of other shapes."""
    if shape.geom_type in _AREAS:
        return shape
    if shape.geom_type != "GeometryCollection":
        return None
    found = [p for part in shapely.get_parts(shape) if (p := _polygons(part)) is not None]
    parts = [p for area in found for p in shapely.get_parts(area).tolist()]
    return shapely.MultiPolygon(parts) if parts else None


def _moved(point: shapely.Point, place: shapely.Geometry | None) -> bool:
    if place is None or place.is_empty:
        return True
    own = shapely.point_on_surface(place)
    return bool(np.hypot(*local_xy(*(np.array([v]) for v in (point.x, point.y, own.x, own.y))))[0] > SAME_M)


def _degrees(row: dict[Any, Any], column: str, mark: str) -> float:
    """Return a coordinate of a row, NaN where it is none."""
    value = row[column]
    try:
        number = as_number(value, "", 0, column, negative=True, mark=mark if isinstance(value, str) else ".")
    except RegistryError:
        return np.nan
    return np.nan if number is None or abs(number) > 360 else number
