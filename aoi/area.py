"""An area of interest: read it, check it, measure its size.

In: a bbox, a GeoJSON object, a file (GeoJSON, GeoPackage, KML), or the `area` setting of a
workflow file. Out: one `Area` in WGS84 longitude/latitude within ±180, split at the
antimeridian where it crosses. Faults are reported and never repaired silently: a polygon
that crosses itself has no agreed inside, so a repair would decide for the analyst what is
searched. Shapes are therefore checked one by one, before they are united (`overwatt.aoi.outline`).
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
from pyproj.exceptions import CRSError
from shapely.geometry import MultiPolygon, Polygon, box
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.completeness import part_of
from overwatt.aoi.errors import GridError, nearest
from overwatt.aoi.file_signatures import is_plain_vector
from overwatt.aoi.geodesy import WGS84
from overwatt.aoi.outline import check_range, project, shift, united

# Own choice: 10,000 km2 at 1 m. Memory is bounded by the tile, so this limits time and traffic.
MAX_PIXELS = 10_000_000_000
_SUFFIXES = (".geojson", ".json", ".gpkg", ".kml")


@dataclass(frozen=True)
class Area:
    """An area of interest.

    Attributes:
        name: as given, else the features' names, else the file's; untrusted text, escape it.
        geometry: valid, non-empty polygon(s), lon/lat WGS84 within ±180; an area that crosses
            the antimeridian is a MultiPolygon with parts on both sides of it.
        names: names of the features it was united from, in file order; empty if they had none.
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
        # Lambert cylindrical equal-area on the ellipsoid (Snyder 1987, USGS PP 1395, section 10)
        to_equal_area = Transformer.from_crs(WGS84, "+proj=cea +ellps=WGS84 +units=m", always_xy=True)
        return float(project(self.geometry, to_equal_area).area / 1e6)

    def utm_crs(self) -> CRS:
        """Return the CRS of the UTM zone (WGS84) in which the centroid lies.

        Raises:
            GridError: the centroid lies where UTM is not defined (north of 84 N, south of 80 S).
        """
        geometry = self.geometry
        # parts west of the antimeridian and east of it: bring them together before taking the centroid
        if self.crosses_antimeridian:
            geometry = shapely.union_all(
                [shift(p, 360.0) if p.bounds[2] <= self.bbox[2] else p for p in shapely.get_parts(geometry)]
            )
        lon, lat = geometry.centroid.x, geometry.centroid.y
        if not -80.0 <= lat <= 84.0:
            raise GridError(f"area '{self.name}': its centroid at latitude {lat:.2f} lies outside UTM (-80..84)")
        # zones of 6 degrees from 180 W on; EPSG 326xx north of the equator, 327xx south
        zone = int((lon + 180.0) // 6.0) % 60 + 1
        return CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)

    def _widest_gap(self) -> tuple[float, float] | None:
        """Return (start, end) of the widest gap in longitude inside ±180, None if there is none."""
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
    check_range(f"bbox {shown}", (west, south, east, north))
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
    states another CRS; an edge that spans more than 180 degrees crosses the antimeridian.

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
    if missing := part_of(dict(source)):
        raise GridError(f"{label} is not whole: {missing}")
    geometries, names = _geojson_geometries(source, label)
    return _area(geometries, names, _geojson_crs(source, label), (name, default), label)


def from_file(path: str | Path, name: str | None = None) -> Area:
    """Return the area of a .geojson/.json, .gpkg or .kml file; all layers are united.

    Raises:
        GridError: as `from_geojson`, or the suffix is unknown, or a layer states no CRS.
    """
    path = Path(path)
    label = f"area file '{path}'"
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise GridError(
            f"{label}: format '{path.suffix}' is not read; {nearest(suffix, _SUFFIXES)}; "
            f"convert it: ogr2ogr -f GPKG {path.stem}.gpkg {path.name}"
        )
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
            crs = crs or layer_crs  # the first layer's CRS is that of all
            name_column = next((c for c in frame.columns if str(c).lower() == "name"), None)
            geometries += list(frame.geometry)
            names += [_text(v) for v in frame[name_column]] if name_column else [""] * len(frame)
    except (RuntimeError, ValueError, shapely.errors.ShapelyError) as exc:
        raise GridError(f"{label} cannot be read as {suffix[1:]}: {exc}") from None
    return _area(geometries, names, crs or CRS.from_user_input(WGS84), (name, path.stem), label)


def area_from_setting(value: object, base_dir: Path, name: str | None = None) -> Area:
    """Return the area of a workflow's `area` setting.

    Args:
        value: [west, south, east, north], a path (relative to `base_dir`), or inline GeoJSON.
        base_dir: folder of the workflow file.
        name: name of the area; by default its features' names, the file's name, or 'area'.

    Raises:
        GridError: it is none of these, or the area itself is unusable.
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
    """Raise if the area holds more pixels of the sensor than one run should process.

    Args:
        area: the area.
        sensor_gsd_m: ground sampling distance of the sensor, m.
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


def _stated_crs(crs: CRS | None, label: str) -> CRS:
    """Return the CRS; refuse a missing one and the 'undefined' placeholders of GeoPackage (srs_id -1 and 0)."""
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
    """Return the geometry of each feature (None if it has none) and its name ('' if it has none)."""
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
            with np.errstate(invalid="ignore"):  # NaN is reported by `united`
                geometries.append(shapely.geometry.shape(geometry))
        except Exception as exc:  # shapely raises many kinds on malformed input
            kind = geometry.get("type") if isinstance(geometry, Mapping) else type(geometry).__name__
            raise GridError(f"{label}, feature {number}: not a GeoJSON geometry ({kind!r}): {exc}") from None
    return geometries, names


def _area(
    geometries: Sequence[BaseGeometry | None], names: Sequence[str], crs: CRS, title: tuple[str | None, str], label: str
) -> Area:
    """Return the united area; `title` is the given name, if any, and the default one."""
    geometry, kept = united(geometries, names, crs, label)
    joined = " + ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
    given, default = title
    return Area(given or joined or default, geometry, tuple(kept))


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
