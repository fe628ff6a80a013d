"""Outlines of an area: check each polygon, bring it to longitude/latitude within ±180, unite all of them.

In: geometries of a file with their names and CRS. Out: valid polygons in WGS84 longitude/latitude, split at the
antimeridian. `united` is what `overwatt.aoi.area` calls; `project` takes a lon/lat geometry to another CRS. The outline
of an area is refused if it crosses itself; those of registries and labels are `repaired`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import GridError
from overwatt.aoi.geodesy import WGS84

# Chords of 0.05 degrees deviate from a parallel by less than 0.5 m up to 60 degrees latitude.
_DENSE_DEG = 0.05
# Own choice: 1 km keeps an edge of a projected CRS straight after it is moved to longitude/latitude.
_DENSE_M = 1000.0
# Pairs of edges whose boxes meet. A random ring of 500 vertices has 90,000 and is repaired in 0.5 s; own choice.
_MAX_MEETINGS = 100_000
TANGLED = "the outline crosses itself too often to be repaired; draw it anew"
"""What is wrong with an outline for which `repaired` has no answer."""


def united(
    geometries: Sequence[BaseGeometry | None], names: Sequence[str], crs: CRS, label: str
) -> tuple[Polygon | MultiPolygon, list[str]]:
    """Check each geometry, bring it to lon/lat within ±180, and unite them.

    Args:
        geometries: of any type, nested collections too; None and empty ones are skipped.
        names: name of each geometry, '' if it has none.
        crs: CRS of the geometries.
        label: names the source in errors.

    Returns:
        The polygon(s), and the names of the geometries that hold a polygon, in order.

    Raises:
        GridError: no polygon, a self-crossing one, outside ±180/±90, not finite, around a pole.
    """
    polygons: list[BaseGeometry] = []
    kept: list[str] = []
    kinds: set[str] = set()
    for number, (geometry, name) in enumerate(zip(geometries, names, strict=True), start=1):
        if geometry is None or geometry.is_empty:
            continue
        where = f"{label}, feature {number}" + (f" '{name}'" if name else "")
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise GridError(f"{where}: a coordinate is not a finite number")
        found = _polygons_of(shapely.force_2d(geometry))
        kinds.add(geometry.geom_type)
        for polygon in found:
            polygons += _to_lonlat(polygon, crs, where)
        if found and name:
            kept.append(name)
    if not polygons:
        found_kinds = f"only {', '.join(sorted(kinds))}" if kinds else "it is empty"
        raise GridError(f"{label} has no polygon: {found_kinds}; draw the area as a polygon")
    # polygons that only touch may unite to a collection with lines: keep what has an area
    parts = [p for p in shapely.get_parts(shapely.union_all(polygons)) if p.geom_type == "Polygon" and p.area > 0]
    return (parts[0] if len(parts) == 1 else MultiPolygon(parts)), kept


def project(geometry: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    """Return a lon/lat geometry in the transformer's target CRS, its edges densified first."""
    west, south, east, north = geometry.bounds
    step = max(_DENSE_DEG, max(east - west, north - south) / 5000.0)  # at most 5000 vertices per edge of the bbox
    return _transform(shapely.segmentize(geometry, step), transformer)


def repaired(geometry: BaseGeometry) -> BaseGeometry | None:
    """Return a valid geometry: parts without extent are dropped, parts that overlap united.

    None if it crosses itself so often that the repair could take hours.
    """
    if geometry.is_valid:
        return geometry
    if _tangled(geometry):
        return None
    mended = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    # GEOS 3.14 leaves parts that share an edge apart, which is not valid
    return mended if mended.is_valid else shapely.union_all(shapely.get_parts(mended))


def _tangled(geometry: BaseGeometry) -> bool:
    """Whether the edges meet so often that an overlay, whose cost grows with the crossings, would not end."""
    parts = shapely.get_parts(geometry)
    while (shapely.get_type_id(parts) > 3).any():  # collections, also in others
        parts = shapely.get_parts(parts)
    xy, line = shapely.get_coordinates(shapely.get_parts(shapely.boundary(parts)), return_index=True)
    same = line[1:] == line[:-1]
    low, high = np.minimum(xy[1:], xy[:-1])[same], np.maximum(xy[1:], xy[:-1])[same]
    boxes = shapely.box(*low.T, *high.T)
    tree = shapely.STRtree(boxes)
    allowed = _MAX_MEETINGS + 6 * len(boxes)  # each meets itself and its neighbours, and some edges are long
    step = max(1, 10_000_000 // max(len(boxes), 1))  # all pairs at once could fill the memory
    for start in range(0, len(boxes), step):
        allowed -= tree.query(boxes[start : start + step]).shape[1]
        if allowed < 0:
            return True
    return False


def _transform(geometry: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    def apply(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

    return shapely.transform(geometry, apply)


def _polygons_of(geometry: BaseGeometry) -> list[Polygon]:
    """Return the polygons in a geometry, also in nested collections; points and lines are skipped."""
    if geometry.geom_type == "Polygon":
        return [] if geometry.is_empty else [geometry]
    if not hasattr(geometry, "geoms"):
        return []
    return [polygon for part in geometry.geoms for polygon in _polygons_of(part)]


def _to_lonlat(polygon: Polygon, crs: CRS, where: str) -> list[Polygon]:
    """Check one polygon and return it in lon/lat, cut at the antimeridian if it crosses it."""
    if not crs.equals(WGS84, ignore_axis_order=True):
        _check_valid(polygon, where)
        # straight in the map's CRS, curved in longitude/latitude: add vertices before the move
        unit_m = crs.axis_info[0].unit_conversion_factor if crs.is_projected else None
        if unit_m:
            polygon = shapely.segmentize(polygon, max(_DENSE_M / unit_m, polygon.length / 10_000))
        try:
            polygon = _transform(polygon, Transformer.from_crs(crs, WGS84, always_xy=True))
        except ProjError as exc:
            raise GridError(f"{where}: cannot be transformed from '{crs.name}' to WGS84: {exc}") from None
        if not np.isfinite(shapely.get_coordinates(polygon)).all():
            raise GridError(f"{where}: lies outside the range in which '{crs.name}' has a longitude and latitude")
    check_range(where, polygon.bounds)
    unwrapped = _unwrap(polygon, where)
    _check_valid(unwrapped, where)
    if unwrapped.area == 0:
        raise GridError(f"{where}: has no area")
    # cut at ±180 and move the parts beyond it back by one turn (RFC 7946, section 3.1.9)
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        window = box(-180.0 + turn, -90.0, 180.0 + turn, 90.0)
        parts += [shift(p, -turn) for p in _polygons_of(unwrapped.intersection(window)) if p.area > 0]
    return [polygon] if len(parts) == 1 and unwrapped is polygon else parts


def _unwrap(polygon: Polygon, where: str) -> Polygon:
    """Return the polygon with longitudes made continuous over edges of more than 180 (not 360) degrees.

    A box over the whole globe has edges of exactly 360 degrees and is left as it is.
    """

    def continuous(ring: np.ndarray) -> np.ndarray:
        step = np.diff(ring[:, 0])
        turns = np.where((np.abs(step) > 180.0) & (np.abs(step) < 360.0), -360.0 * np.sign(step), 0.0)
        turned = np.concatenate([[0.0], np.cumsum(turns)])
        if turned[-1] != 0.0:  # the ring does not close: it goes once round a pole
            raise GridError(f"{where}: encloses a pole, which is not supported; cut it at a parallel")
        return np.column_stack([ring[:, 0] + turned, ring[:, 1]])

    shell = np.asarray(polygon.exterior.coords)
    holes = [np.asarray(ring.coords) for ring in polygon.interiors]
    if all(np.array_equal(continuous(ring), ring) for ring in (shell, *holes)):
        return polygon
    outer = Polygon(continuous(shell))
    inner = [continuous(ring) for ring in holes]
    # a hole may start on the other side of the antimeridian: move it by whole turns to its shell
    middle = outer.bounds[0] / 2 + outer.bounds[2] / 2
    inner = [np.add(ring, (360.0 * round((middle - ring[:, 0].mean()) / 360.0), 0.0)) for ring in inner]
    return Polygon(outer.exterior.coords, inner)


def shift(polygon: Polygon, degrees: float) -> Polygon:
    """Return the polygon moved east by `degrees` of longitude."""
    return shapely.transform(polygon, lambda xy: np.add(xy, (degrees, 0.0))) if degrees else polygon


def _check_valid(polygon: Polygon, where: str) -> None:
    if not polygon.is_valid:
        raise GridError(
            f"{where}: the polygon is not valid: {shapely.is_valid_reason(polygon)}; correct its outline there"
        )


def check_range(where: str, bounds: Sequence[float]) -> None:
    """Raise GridError where (west, south, east, north), degrees, reach outside ±180/±90."""
    west, south, east, north = bounds
    if lat := next((v for v in (south, north) if not -90.0 <= v <= 90.0), None):
        raise GridError(f"{where}: latitude {lat:g} is outside ±90; is it in WGS84 longitude, latitude?")
    if lon := next((v for v in (west, east) if not -180.0 <= v <= 180.0), None):
        raise GridError(
            f"{where}: longitude {lon:g} is outside ±180; is it in WGS84 longitude, latitude? "
            "An area over the antimeridian is a bbox with west > east"
        )
