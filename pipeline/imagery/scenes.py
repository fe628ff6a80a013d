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

from overwatt.aoi.area import Area, from_geojson
from overwatt.aoi.errors import GridError

# Differences of footprints leave slivers; 1e-6 of the area is one pixel in a million. Own choice.
_SLIVER_SHARE = 1e-6


def latest_coverage(items: Iterable[pystac.Item], area: Area) -> list[pystac.Item]:
    """Return the newest items that together cover as much of the area as all `items`.

    An item is kept only if it covers ground that no newer item covers. This suits imagery that is
    flown every few years (NAIP): the newest image at each place.

    Returns:
        Items, newest first, for `load(..., mosaic=True)`. `covered_share` says how much of the area
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
    """Return the key that puts items into order of time, ties by id."""
    when = item.datetime or item.common_metadata.start_datetime or datetime.min
    return when.replace(tzinfo=when.tzinfo or UTC), item.id


def footprint_of(item: pystac.Item) -> BaseGeometry:
    """Return the footprint of the item within ±180 degrees, empty if it states none."""
    if item.geometry is None:
        return box(*item.bbox[:2], *item.bbox[len(item.bbox) // 2 :][:2]) if item.bbox else shapely.Polygon()
    try:
        return from_geojson(item.geometry).geometry
    except GridError:
        return shapely.make_valid(shapely.geometry.shape(item.geometry))
