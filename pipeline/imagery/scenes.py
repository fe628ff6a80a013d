"""Which scenes of a catalogue cover an area.

In: STAC Items and an `Area`. Out: the newest ones that cover it, and the share that they cover. Nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pystac
import shapely
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.acquisition import possible_day
from overwatt.aoi.area import Area, from_geojson
from overwatt.aoi.errors import GridError
from overwatt.aoi.outline import repaired

# Differences of footprints leave slivers; 1e-6 of the area is one pixel in a million. Own choice.
_SLIVER_SHARE = 1e-6


def latest_coverage(items: Iterable[pystac.Item], area: Area) -> list[pystac.Item]:
    """Return the newest items that together cover as much of the area as all `items`.

    An item is kept only if it covers ground that no newer item covers. This suits imagery that is
    flown every few years (NAIP): the newest image at each place.

    Returns:
        Items, newest first, for `workflows.io.scenes.mosaic`. `covered_share` says how much of the area
        they cover.
    """
    chosen: list[pystac.Item] = []
    missing: BaseGeometry = area.geometry
    sliver = area.geometry.area * _SLIVER_SHARE
    for item in sorted(items, key=time_then_id, reverse=True):
        if missing.area <= sliver:
            break
        footprint = footprint_of(item)
        if missing.intersection(footprint).area > sliver:
            chosen.append(item)
            missing = missing.difference(footprint)
    return chosen


def covered_share(items: Iterable[pystac.Item], area: Area) -> float:
    """Return the share (0 to 1) of the area inside the footprints of the items; gaps within images are ignored."""
    covered = shapely.union_all([footprint_of(item) for item in items]).intersection(area.geometry)
    parts = [p for p in shapely.get_parts(covered) if p.geom_type in ("Polygon", "MultiPolygon") and p.area > 0]
    if not parts:
        return 0.0
    geometry = shapely.union_all(parts)
    return min(Area(area.name, geometry).area_km2 / area.area_km2, 1.0)


def time_then_id(item: pystac.Item) -> tuple[datetime, str]:
    """Return the key that puts items into order of time, ties by id; without a possible date they are the oldest."""
    when = item.datetime or item.common_metadata.start_datetime or datetime.min
    when = when if possible_day(when.date()) else datetime.min
    return when.replace(tzinfo=when.tzinfo or UTC), item.id


def footprint_of(item: pystac.Item) -> BaseGeometry:
    """Return the polygons of the item's footprint within ±180 degrees, empty if it states none."""
    shape: BaseGeometry = shapely.Polygon()
    if item.geometry is not None:
        try:
            return from_geojson(item.geometry).geometry
        except GridError:  # it crosses itself, or has longitudes beyond 180: no reason to search less ground
            drawn = shapely.geometry.shape(item.geometry)
            valid = repaired(drawn)
            shape = shapely.convex_hull(drawn) if valid is None else valid
    elif item.bbox:
        west, south, east, north = (*item.bbox[:2], *item.bbox[len(item.bbox) // 2 :][:2])
        shape = box(west, south, east + 360.0 * (west > east), north)
    turned = []
    for west in (-540.0, -180.0, 180.0):  # each turn of the globe, brought back to ±180
        part = shape.intersection(box(west, -90.0, west + 360.0, 90.0))
        turned.append(shapely.transform(part, lambda xy, west=west: xy - [west + 180.0, 0.0]))
    found = [p for p in shapely.get_parts(shapely.get_parts(turned)) if p.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(found) if found else shapely.Polygon()
