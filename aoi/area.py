"""An area of interest: read it, check it, say how large it is.

In: a bbox, a GeoJSON object, a file (GeoJSON, GeoPackage, KML), or the `area` setting of a
workflow file. Out: one `Area` in WGS84 longitude/latitude within ±180, split at the
antimeridian where it crosses. Faults are reported and never repaired in silence: a polygon
that crosses itself has no agreed inside, so any repair would choose for the analyst what is
searched. Shapes are therefore checked one by one, before they are united.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import GridError, nearest
from overwatt.aoi.file_signatures import is_plain_vector

WGS84 = "OGC:CRS84"
# A judgement: 10,000 km2 at 1 m. Memory is bounded by the tile, so this guards time and traffic.
MAX_PIXELS = 10_000_000_000
# Chords of 0.05 degrees deviate from a parallel by less than 0.5 m up to 60 degrees latitude.
_DENSE_DEG = 0.05
_DENSE_M = 1000.0
_SUFFIXES = (".geojson", ".json", ".gpkg", ".kml")


@dataclass(frozen=True)
class Area:
    """Where to look.

    Attributes:
        name: as given, else the features' names, else the file's: text from outside, to be escaped.
        geometry: valid, non-empty polygon(s), lon/lat WGS84 within ±180; an area that crosses
            the antimeridian is a MultiPolygon with parts on both sides of it.
        names: names of the features it was united from, in file order; empty where they had none.
    """

    name: str
    geometry: Polygon | MultiPolygon
    names: tuple[str, ...] = ()

    @property
    def crosses_antimeridian(self) -> bool:
        """Whether parts lie on both sides of ±180 and leave a gap in longitude elsewhere."""
        west, _, east, _ = self.geometry.bounds
        return west == -180.0 and east == 180.0 and self._widest_gap() is not None

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """(west, south, east, north) in degrees; west > east where it crosses the antimeridian."""
        west, south, east, north = self.geometry.bounds
        if self.crosses_antimeridian and (gap := self._widest_gap()):
            east, west = gap
        return float(west), float(south), float(east), float(north)

    @property
    def area_km2(self) -> float:
        """Area on the WGS84 ellipsoid in km2; edges are straight in longitude/latitude (RFC 7946)."""
        to_equal_area = Transformer.from_crs(WGS84, "+proj=cea +ellps=WGS84 +units=m", always_xy=True)
        return float(project(self.geometry, to_equal_area).area / 1e6)

    def utm_crs(self) -> CRS:
        """Return the UTM zone (WGS84) that holds the centroid.

        Raises:
            GridError: the centroid lies where UTM is not defined (north of 84 N, south of 80 S).
        """
        geometry = self.geometry
        if self.crosses_antimeridian:
            geometry = shapely.union_all(
                [_shift(p, 360.0) if p.bounds[2] <= self.bbox[2] else p for p in shapely.get_parts(geometry)]
            )
        lon, lat = geometry.centroid.x, geometry.centroid.y
        if not -80.0 <= lat <= 84.0:
            raise GridError(f"area '{self.name}': its centroid at latitude {lat:.2f} lies outside UTM (-80..84)")
        zone = int((lon + 180.0) // 6.0) % 60 + 1
        return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)

    def _widest_gap(self) -> tuple[float, float] | None:
        """Return (start, end) of the widest gap in longitude inside ±180, None where there is none."""
        spans = sorted((p.bounds[0], p.bounds[2]) for p in shapely.get_parts(self.geometry))
        reach, gaps = spans[0][1], []
        for west, east in spans[1:]:
            if west > reach:
                gaps.append((west - reach, reach, west))
            reach = max(reach, east)
        return max(gaps)[1:] if gaps else None


def from_bbox(west: float, south: float, east: float, north: float, name: str = "area") -> Area:
    """Return the area of a box in degrees; west > east crosses the antimeridian.

    Raises:
        GridError: not finite, outside ±180/±90, west == east, or south >= north.
    """
    values = [float(v) for v in (west, south, east, north)]
    shown = "[" + ", ".join(f"{v:g}" for v in values) + "]"
    if not all(math.isfinite(v) for v in values):
        raise GridError(f"bbox {shown}: every number must be finite")
    west, south, east, north = values
    _check_range(f"bbox {shown}", (west, south, east, north))
    if west == east:
        raise GridError(f"bbox {shown}: west equals east, the box has no width")
    if south >= north:
        raise GridError(f"bbox {shown}: south must be less than north (order: west, south, east, north)")
    if west < east:
        return Area(name, box(west, south, east, north))
    parts = [box(w, south, e, north) for w, e in ((west, 180.0), (-180.0, east)) if w < e]
    if not parts:
        raise GridError(f"bbox {shown}: west and east are the same meridian, the box has no width")
    return Area(name, parts[0] if len(parts) == 1 else MultiPolygon(parts))


def from_geojson(source: Mapping[str, Any] | str | Path, name: str | None = None) -> Area:
    """Return the area of a GeoJSON object, or of the GeoJSON file at a path.

    Features are united and their names kept. Coordinates are WGS84 unless the old `crs` member
    says otherwise; an edge that spans more than 180 degrees crosses the antimeridian.

    Raises:
        GridError: unreadable, no polygon, self-crossing, outside ±180/±90, not finite, unknown CRS.
    """
    label, default = "GeoJSON", "area"
    if not isinstance(source, Mapping):
        path = Path(source)
        label = f"area file '{path}'"
        try:
            source = json.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as exc:
            raise GridError(f"{label} cannot be read: {exc.strerror or exc}") from None
        except (ValueError, RecursionError) as exc:
            raise GridError(f"{label} is not valid JSON: {exc}") from None
        default = path.stem
        if not isinstance(source, Mapping):
            raise GridError(f"{label} holds a {type(source).__name__}, not a GeoJSON object")
    geometries, names = _geojson_geometries(source, label)
    return _build(geometries, names, _geojson_crs(source, label), (name, default), label)


def from_file(path: str | Path, name: str | None = None) -> Area:
    """Return the area of a .geojson/.json, .gpkg or .kml file; all layers are united.

    Raises:
        GridError: as `from_geojson`, or the suffix is unknown, or a GeoPackage states no CRS.
    """
    path = Path(path)
    label = f"area file '{path}'"
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise GridError(f"{label}: format '{path.suffix}' is not read; {nearest(suffix, _SUFFIXES)}")
    if not path.is_file():
        raise GridError(f"{label} does not exist")
    if suffix in (".geojson", ".json"):
        return from_geojson(path, name)
    if not is_plain_vector(path):
        raise GridError(f"{label} cannot be read as {suffix[1:]}: its first bytes are of another format")
    geometries: list[BaseGeometry] = []
    names: list[str] = []
    crs: CRS | None = None
    try:
        for layer in (str(row[0]) for row in pyogrio.list_layers(path) if row[1] is not None):
            frame = gpd.read_file(path, layer=layer, engine="pyogrio")
            layer_crs = _stated_crs(frame.crs, f"{label}, layer '{layer}'")
            frame = frame if crs is None or layer_crs == crs else frame.to_crs(crs)
            crs = crs or layer_crs
            column = next((c for c in frame.columns if str(c).lower() == "name"), None)
            geometries += list(frame.geometry)
            names += [_text(v) for v in frame[column]] if column else [""] * len(frame)
    except (RuntimeError, ValueError, shapely.errors.ShapelyError) as exc:
        raise GridError(f"{label} cannot be read as {suffix[1:]}: {exc}") from None
    return _build(geometries, names, crs or CRS.from_user_input(WGS84), (name, path.stem), label)


def area_from_setting(value: object, base_dir: Path, name: str | None = None) -> Area:
    """Return the area of a workflow's `area` setting.

    Args:
        value: [west, south, east, north], a path (relative to `base_dir`), or inline GeoJSON.
        base_dir: folder of the workflow file.
        name: name of the area; by default its features' names, the file's name, or 'area'.

    Raises:
        GridError: none of these, or the area itself is unusable.
    """
    if isinstance(value, Mapping):
        return from_geojson(value, name)
    if isinstance(value, str | Path):
        return from_file(base_dir / Path(value).expanduser(), name)
    if isinstance(value, Sequence) and len(value) == 4:
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value):
            west, south, east, north = value
            return from_bbox(west, south, east, north, name or "area")
        raise GridError(f"area: {list(value)!r} must be four numbers [west, south, east, north]")
    raise GridError(
        f"area: {str(value)[:80]!r} is not usable; give [west, south, east, north], a file or inline GeoJSON"
    )


def check_size(area: Area, sensor_gsd_m: float, max_pixels: int = MAX_PIXELS) -> None:
    """Raise where the area holds more pixels of the sensor than one run should take.

    Args:
        area: the area.
        sensor_gsd_m: ground size of a pixel in metres.
        max_pixels: limit; the default is 10,000 km2 at 1 m.

    Raises:
        GridError: 'too large for the chosen sensor', with km2, pixels and limit.
    """
    if not (math.isfinite(sensor_gsd_m) and sensor_gsd_m > 0):
        raise GridError(f"pixel size {sensor_gsd_m:g} m: must be greater than 0")
    pixels = area.area_km2 * 1e6 / sensor_gsd_m**2
    if pixels > max_pixels:
        raise GridError(
            f"area '{area.name}' is too large for the chosen sensor: {area.area_km2:,.1f} km2 at "
            f"{sensor_gsd_m:g} m is {pixels:,.0f} pixels, the limit is {max_pixels:,}; "
            "choose a smaller area or a coarser sensor, or raise max_pixels"
        )


def project(geometry: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    """Return a lon/lat geometry in the transformer's target CRS, its edges densified first."""
    west, south, east, north = geometry.bounds
    step = max(_DENSE_DEG, max(east - west, north - south) / 5000.0)
    return _transform(shapely.segmentize(geometry, step), transformer)


def _transform(geometry: BaseGeometry, transformer: Transformer) -> BaseGeometry:
    def apply(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

    return shapely.transform(geometry, apply)


def _build(
    geometries: Sequence[BaseGeometry | None],
    names: Sequence[str],
    crs: CRS,
    title: tuple[str | None, str],
    label: str,
) -> Area:
    """Check each geometry, bring it to lon/lat within ±180, and unite them."""
    given, default = title
    polygons: list[BaseGeometry] = []
    kept: list[str] = []
    kinds: set[str] = set()
    for number, (geometry, named) in enumerate(zip(geometries, names, strict=True), start=1):
        if geometry is None or geometry.is_empty:
            continue
        where = f"{label}, feature {number}" + (f" '{named}'" if named else "")
        if not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise GridError(f"{where}: a coordinate is not a finite number")
        found = _polygons_of(shapely.force_2d(geometry))
        kinds.add(geometry.geom_type)
        for polygon in found:
            polygons += _to_lonlat(polygon, crs, where)
        if found and named:
            kept.append(named)
    if not polygons:
        found_kinds = f"only {', '.join(sorted(kinds))}" if kinds else "it is empty"
        raise GridError(f"{label} has no polygon: {found_kinds}; draw the area as a polygon")
    united = shapely.union_all(polygons)
    parts = [p for p in shapely.get_parts(united) if p.geom_type == "Polygon" and p.area > 0]
    joined = " + ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
    geometry = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    return Area(given or joined or default, geometry, tuple(kept))


def _polygons_of(geometry: BaseGeometry) -> list[Polygon]:
    """Return the polygons in a geometry, also in nested collections; points and lines are left out."""
    if geometry.geom_type == "Polygon":
        return [] if geometry.is_empty else [geometry]
    if not hasattr(geometry, "geoms"):
        return []
    return [polygon for part in geometry.geoms for polygon in _polygons_of(part)]


def _to_lonlat(polygon: Polygon, crs: CRS, where: str) -> list[Polygon]:
    """Check one polygon and return it in lon/lat, cut at the antimeridian if it crosses it."""
    if not crs.equals(WGS84, ignore_axis_order=True):
        _check_valid(polygon, where)
        unit_m = crs.axis_info[0].unit_conversion_factor if crs.is_projected else None
        if unit_m:
            polygon = shapely.segmentize(polygon, max(_DENSE_M / unit_m, polygon.length / 10_000))
        try:
            polygon = _transform(polygon, Transformer.from_crs(crs, WGS84, always_xy=True))
        except ProjError as exc:
            raise GridError(f"{where}: cannot be brought from '{crs.name}' to WGS84: {exc}") from None
        if not np.isfinite(shapely.get_coordinates(polygon)).all():
            raise GridError(f"{where}: lies outside what '{crs.name}' can express in longitude/latitude")
    _check_range(where, polygon.bounds)
    unwrapped = _unwrap(polygon, where)
    _check_valid(unwrapped, where)
    if unwrapped.area == 0:
        raise GridError(f"{where}: has no area")
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        window = box(-180.0 + turn, -90.0, 180.0 + turn, 90.0)
        parts += [_shift(p, -turn) for p in _polygons_of(unwrapped.intersection(window)) if p.area > 0]
    return [polygon] if len(parts) == 1 and unwrapped is polygon else parts


def _unwrap(polygon: Polygon, where: str) -> Polygon:
    """Return the polygon with longitudes made continuous over edges of more than 180 (not 360) degrees.

    A box over the whole globe has edges of exactly 360 degrees and is left as it is.
    """

    def continuous(ring: np.ndarray) -> np.ndarray:
        step = np.diff(ring[:, 0])
        turns = np.where((np.abs(step) > 180.0) & (np.abs(step) < 360.0), -360.0 * np.sign(step), 0.0)
        shift = np.concatenate([[0.0], np.cumsum(turns)])
        if shift[-1] != 0.0:
            raise GridError(f"{where}: encloses a pole, which is not supported; cut it at a parallel")
        return np.column_stack([ring[:, 0] + shift, ring[:, 1]])

    shell = np.asarray(polygon.exterior.coords)
    holes = [np.asarray(ring.coords) for ring in polygon.interiors]
    if all(np.array_equal(continuous(ring), ring) for ring in (shell, *holes)):
        return polygon
    outer = Polygon(continuous(shell))
    inner = [continuous(ring) for ring in holes]
    middle = outer.bounds[0] / 2 + outer.bounds[2] / 2
    inner = [np.add(ring, (360.0 * round((middle - ring[:, 0].mean()) / 360.0), 0.0)) for ring in inner]
    return Polygon(outer.exterior.coords, inner)


def _shift(polygon: Polygon, degrees: float) -> Polygon:
    return shapely.transform(polygon, lambda xy: np.add(xy, (degrees, 0.0))) if degrees else polygon


def _check_valid(polygon: Polygon, where: str) -> None:
    if not polygon.is_valid:
        raise GridError(
            f"{where}: the polygon is not valid: {shapely.is_valid_reason(polygon)}; mend its outline there"
        )


def _check_range(where: str, bounds: Sequence[float]) -> None:
    west, south, east, north = bounds
    if lat := next((v for v in (south, north) if not -90.0 <= v <= 90.0), None):
        raise GridError(f"{where}: latitude {lat:g} is outside ±90; is it in WGS84 longitude, latitude?")
    if lon := next((v for v in (west, east) if not -180.0 <= v <= 180.0), None):
        raise GridError(
            f"{where}: longitude {lon:g} is outside ±180; is it in WGS84 longitude, latitude? "
            "An area over the antimeridian is a bbox with west > east"
        )


def _stated_crs(crs: CRS | None, label: str) -> CRS:
    """Return the CRS, refusing none and the 'undefined' placeholders that GeoPackage uses."""
    if crs is None or not (crs.is_geographic or crs.is_projected) or "undefined" in crs.name.lower():
        raise GridError(f"{label} states no coordinate reference system; set its CRS and save it again")
    return crs


def _geojson_crs(source: Mapping[str, Any], label: str) -> CRS:
    """Return WGS84, or the CRS in the `crs` member of GeoJSON from before RFC 7946."""
    member = source.get("crs")
    if member is None:
        return CRS.from_user_input(WGS84)
    stated = member.get("properties") if isinstance(member, Mapping) else None
    code = stated.get("name") if isinstance(stated, Mapping) else None
    try:
        return CRS.from_user_input(str(code))
    except CRSError:
        raise GridError(f"{label}: its crs {code!r} is unknown; save it in WGS84 (OGC:CRS84)") from None


def _geojson_geometries(source: Mapping[str, Any], label: str) -> tuple[list[BaseGeometry | None], list[str]]:
    kind = source.get("type")
    features: object = [source]
    if kind == "FeatureCollection":
        features = source.get("features")
    elif kind != "Feature":
        features = [{"geometry": source}]
    if not isinstance(features, Sequence) or not all(isinstance(f, Mapping) for f in features):
        raise GridError(f"{label}: 'features' is not a list of features")
    geometries: list[BaseGeometry | None] = []
    names: list[str] = []
    for number, feature in enumerate(features, start=1):
        properties = feature.get("properties")
        title = properties.get("name", properties.get("Name")) if isinstance(properties, Mapping) else None
        names.append(_text(title))
        geometry = feature.get("geometry")
        if geometry is None:
            geometries.append(None)
            continue
        try:
            with np.errstate(invalid="ignore"):  # NaN is reported by `_build`
                geometries.append(shapely.geometry.shape(geometry))
        except Exception as exc:  # shapely raises many kinds on malformed input
            kind = geometry.get("type") if isinstance(geometry, Mapping) else type(geometry).__name__
            raise GridError(f"{label}, feature {number}: not a GeoJSON geometry ({kind!r}): {exc}") from None
    return geometries, names


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
