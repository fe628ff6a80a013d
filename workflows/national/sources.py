"""Readers of the files that a national training set is made from: registries, footprints, counties.

In: paths from a settings file. Out: outlines of data centers, unknown zones, large roofs, counties; all in degrees.
Registries are small and read whole. Footprint files may contain millions of buildings: they are read in batches, and
only buildings that touch a place of interest and are large enough stay in memory.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow
import pyarrow.dataset
import pyarrow.parquet
import pyogrio
import shapely
from pyproj import CRS
from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import GridError, RegistryError, nearest
from overwatt.aoi.file_signatures import head_of, is_plain_vector
from overwatt.aoi.outline import TANGLED, repaired
from overwatt.models.training.sampling_design import areas_m2, county_of, grown, roof_ids
from overwatt.pipeline.declared.osm import osm
from overwatt.pipeline.declared.parsing import as_geometry
from overwatt.workflows.io.registries import open_registry
from overwatt.workflows.io.vectors import read_vector

log = logging.getLogger(__name__)

RegistryFormat = Literal["auto", "im3", "osm", "own"]
Batches = Iterator[np.ndarray]

MAX_ROOFS = 5_000_000
"""Largest number of roofs in memory at once, about 5 GB (own choice)."""
_BATCH = 65_536  # buildings read at once (own choice)
_POLYGONS = (3, 6)  # shapely type ids of Polygon and MultiPolygon
# Own choice: a roof is the same building as an outline of the registry if at least half of its area lies within it.
_SAME_SHARE = 0.5


@dataclass(frozen=True)
class Registry:
    """Data centers of a registry, in degrees.

    Attributes:
        outlines: polygons of buildings that are data centers.
        zones: unknown ground: it contains a data center, but no outline says which building is one.
    """

    outlines: tuple[BaseGeometry, ...]
    zones: tuple[BaseGeometry, ...]


@dataclass(frozen=True)
class Roofs:
    """Building outlines of a footprint file: ids, polygons (object array) and areas in m² (float64)."""

    ids: tuple[str, ...]
    shapes: np.ndarray
    area_m2: np.ndarray


def read_registry(path: Path, layout: RegistryFormat, *, point_zone_m: float) -> Registry:
    """Read data-center outlines.

    Building polygons become outlines. Campus land becomes a zone. A point becomes a disc of radius `point_zone_m`,
    unless an outline contains it.

    Args:
        path: IM3 footprints, an Overpass response (`out geom`, or `out body; >; out skel`), or the user's own file of
            polygons and points, which may have a column `class`: data_center or unknown.
        layout: layout of the file; 'auto' recognises it by its keys.
        point_zone_m: radius of the zone around a point, metres.

    Raises:
        RegistryError: the file is unreadable, not whole or not in that layout, or an element has no usable place.
    """
    faults: list[str] = []
    elements = _overpass(path, faults)
    if faults:
        raise RegistryError(f"{faults[0]} ({len(faults)} of its elements have no usable place)")
    if layout == "osm" and elements is None and not is_plain_vector(path):
        raise RegistryError(f"{path.name}: is neither Overpass JSON nor a vector file")
    known = None if elements is None else [(g, _osm_kind(g, tags)) for g, tags in elements]
    rows = _vector_rows(path, layout) if known is None else known
    outlines = [_valid(g, path.name) for g, kind in rows if kind == "building"]
    campuses = [_valid(g, path.name) for g, kind in rows if kind == "campus"]
    points = [g for g, kind in rows if kind == "point"]
    tree = shapely.STRtree(outlines)
    campus_zones = [c for c in campuses if not c.is_empty]
    discs = [
        disc
        for point, disc in zip(points, grown(points, point_zone_m), strict=True)
        if not len(tree.query(point, predicate="intersects"))
    ]
    log.debug("%s: %d outlines, %d campuses, %d points, %d of them in no outline",
              path.name, len(outlines), len(campuses), len(points), len(discs))  # fmt: skip
    return Registry(tuple(g for g in outlines if not g.is_empty), (*campus_zones, *discs))


def read_counties(path: Path, key: str) -> dict[str, BaseGeometry]:
    """Read counties, or other areas that the split is made by.

    Args:
        path: GeoJSON, GeoPackage or GeoParquet.
        key: column with the identifier; areas with the same identifier are merged.

    Raises:
        RegistryError: the file is unreadable, has no such column, or has a county without identifier or polygon.
    """
    frame = read_vector(path)
    if key not in frame:
        known = [str(c) for c in frame.columns if c != "geometry"]
        raise RegistryError(f"{path.name}: no column '{key}'; {nearest(key, known)}")
    if frame[key].isna().any():
        raise RegistryError(f"{path.name}: a county has no value in column '{key}'")
    shapes = [_valid(g, path.name) for g in frame.geometry]
    if any(g.is_empty or g.area == 0 for g in shapes):
        raise RegistryError(f"{path.name}: counties must be polygons; one is empty, a point or a line")
    parts: dict[str, list[BaseGeometry]] = {}
    for name, shape in zip(frame[key].astype(str), shapes, strict=True):
        parts.setdefault(name.strip(), []).append(shape)
    return {name: pieces[0] if len(pieces) == 1 else shapely.union_all(pieces) for name, pieces in parts.items()}


def read_roofs(
    paths: Sequence[Path], places: Sequence[BaseGeometry], *, min_area_m2: float, say: Callable[[str], None]
) -> Roofs:
    """Read the buildings that touch one of the places and have at least a given area, without duplicates.

    Args:
        paths: Overture GeoParquet, Microsoft GeoJSON or GeoJSONL, an Overpass response, GeoPackage.
        places: polygons in degrees.
        min_area_m2: smaller buildings are left out.
        say: receives progress lines.

    Raises:
        RegistryError: a file is unreadable, or more than `MAX_ROOFS` roofs remain.
        GridError: a file is not in degrees.
    """
    if not places:
        return Roofs((), np.empty(0, object), np.empty(0))
    tree = shapely.STRtree(list(places))
    found: dict[str, tuple[BaseGeometry, float]] = {}
    for path in paths:
        n_read, n_before = 0, len(found)
        for shapes in _batches(path, tree.geometries):
            n_read += len(shapes)
            area = areas_m2(shapes)
            large = np.flatnonzero(area >= min_area_m2)
            near = large[np.unique(tree.query(shapes[large], predicate="intersects")[0])]
            for i, name in zip(near.tolist(), roof_ids(shapes[near]), strict=True):
                # ids follow from the geometry, so a building that two files contain is stored once
                found.setdefault(name, (_valid(shapes[i], path.name), float(area[i])))
            if len(found) > MAX_ROOFS:
                raise RegistryError(
                    f"{path.name}: more than {MAX_ROOFS:,} roofs remain; raise sampling.min_area_m2 "
                    "or name fewer counties"
                )
        say(f"{path.name}: {n_read:,} buildings read, {len(found) - n_before:,} in the areas and large enough")
    names = sorted(found)
    shapes = np.empty(len(names), object)
    shapes[:] = [found[n][0] for n in names]
    return Roofs(tuple(names), shapes, np.array([found[n][1] for n in names]))


def apart(roofs: Roofs, registry: Registry, clear_m: float) -> np.ndarray:
    """Return whether each roof (n,) bool is at least `clear_m` metres from everything in the registry."""
    around = grown([*registry.outlines, *registry.zones], clear_m)
    return _disjoint(roofs.shapes, around)


def in_zone(roofs: Roofs, registry: Registry) -> np.ndarray:
    """Return whether each roof (n,) bool touches an unknown zone."""
    return ~_disjoint(roofs.shapes, registry.zones)


def not_outlined(roofs: Roofs, registry: Registry) -> np.ndarray:
    """Return whether each roof (n,) bool is a different building from all outlines of the registry."""
    other = np.ones(len(roofs.shapes), bool)
    if not registry.outlines:
        return other
    tree = shapely.STRtree(list(registry.outlines))
    at, which = tree.query(roofs.shapes, predicate="intersects")
    shared = shapely.area(shapely.intersection(roofs.shapes[at], tree.geometries[which]))
    other[at[shared >= _SAME_SHARE * shapely.area(roofs.shapes[at])]] = False
    return other


def counties_of(shapes: Sequence[BaseGeometry], counties: dict[str, BaseGeometry]) -> list[str | None]:
    """Return the county of each shape; None for a shape outside of all counties."""
    array = np.empty(len(shapes), object)
    array[:] = list(shapes)
    return county_of(array, counties)


def _disjoint(shapes: np.ndarray, around: Sequence[BaseGeometry]) -> np.ndarray:
    """Whether each shape (n,) bool intersects none of the geometries in `around`."""
    free = np.ones(len(shapes), bool)
    if len(around) and len(shapes):
        free[shapely.STRtree(list(around)).query(shapes, predicate="intersects")[0]] = False
    return free


def _valid(shape: BaseGeometry | None, name: str) -> BaseGeometry:
    """The polygonal part of a shape, made valid; an empty polygon if there is none."""
    if shape is None or shape.is_empty:
        return Polygon()
    valid = repaired(shape)
    if valid is None:
        raise RegistryError(f"{name}: {TANGLED}")
    if valid.geom_type in ("Polygon", "MultiPolygon"):
        return valid
    parts = shapely.get_parts(valid)
    return shapely.union_all([p for p in parts if p.geom_type in ("Polygon", "MultiPolygon")] or [Polygon()])


def _vector_rows(path: Path, layout: RegistryFormat) -> list[tuple[BaseGeometry, str]]:
    """Geometries of a vector file with their kind: building, campus or point."""
    frame = read_vector(path)
    if lost := int((frame.geometry.isna() | frame.geometry.is_empty).sum()):
        log.warning("%s: %d of %d rows have no geometry and are left out", path.name, lost, len(frame))
    column = {"im3": "type", "osm": "building", "own": "class"}.get(layout)
    if layout == "auto":
        column = next((c for c in ("type", "class") if c in frame), None)
        column = None if column == "type" and not set(frame["type"]) <= {"building", "campus", "point"} else column
    if layout == "im3" and "type" not in frame:
        raise RegistryError(f"{path.name}: is not in IM3 layout: it has no column 'type'; use format own")
    words = list(frame[column].astype("string").fillna("")) if column in frame else [""] * len(frame)
    rows = []
    for shape, word in zip(frame.geometry, words, strict=True):
        if shape is None or shape.is_empty:
            continue
        polygon = shape.geom_type in ("Polygon", "MultiPolygon")
        land = word in ("", "no") if layout == "osm" else word in ("campus", "unknown")
        if column == "class" and word not in ("", "data_center", "unknown"):
            continue  # a labelled file may contain other classes as well
        rows.append((shape, "point" if not polygon else "campus" if land else "building"))
    return [(g if kind != "point" else shapely.point_on_surface(g), kind) for g, kind in rows]


def _overpass(path: Path, faults: list[str]) -> list[tuple[BaseGeometry, dict[str, Any]]] | None:
    """Elements of an Overpass response as (geometry, tags); None if the file is something else.

    `faults` receives why an element has no usable place; the power grid is no data center and left out.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: no such file")
    if path.suffix.lower() != ".json" or b'"elements"' not in head_of(path):
        return None
    given = open_registry(path, "osm")
    if given.part:
        raise RegistryError(f"{path.name}: is not whole: {given.part}")
    elements: list[Any] = given.content["elements"] if isinstance(given.content, dict) else []
    found = []
    for row in osm(given).to_dict("records"):
        tags = dict(elements[row["row"] - 1].get("tags") or {}) if "declared_id" in row else {}
        if isinstance(row.get("left_out"), str):
            continue
        try:
            found.append((as_geometry(_placed(row), path.name, row["row"]), tags))
        except RegistryError as error:
            if "power" not in tags or "telecom" in tags:
                faults.append(str(error))
    return found


def _placed(row: dict[Any, Any]) -> dict[str, Any]:
    """Fault and geometry of a row, a point if it has lon and lat alone."""
    shape = row.get("geometry")
    if not isinstance(shape, BaseGeometry):
        try:
            lon, lat = float(row["lon"]), float(row["lat"])
        except (KeyError, TypeError, ValueError, OverflowError):
            lon = lat = np.nan
        shape = Point(lon, lat) if np.isfinite([lon, lat]).all() else None
    return {"geometry": shape, "fault": row["fault"] if isinstance(row.get("fault"), str) else None}


def _osm_kind(shape: BaseGeometry, tags: dict[str, Any]) -> str:
    """Building, campus or point, by geometry and the tag `building`."""
    if shape.geom_type == "Point":
        return "point"
    return "building" if str(tags.get("building", "no")) != "no" else "campus"


def _batches(path: Path, places: np.ndarray) -> Batches:
    """Polygons of a file in batches, valid or not: at least those within the bounds of the places."""
    if not path.is_file():
        raise RegistryError(f"{path}: no such file")
    bounds = tuple(float(v) for v in shapely.total_bounds(places))
    faults: list[str] = []
    elements = _overpass(path, faults)
    if faults:
        log.warning("%s: %d elements have no usable place and are left out: %s", path.name, len(faults), faults[0])
    try:
        if elements is not None:
            found = [g for g, tags in elements if _osm_kind(g, tags) == "building"]
            yield from _polygons(np.array(found, dtype=object))
        elif _is_parquet(path):
            yield from _parquet_batches(path, bounds)
        elif is_plain_vector(path):
            yield from _ogr_batches(path, bounds)
        else:
            raise RegistryError(
                f"{path.name}: not a GeoJSON, GeoJSONL, GeoPackage or GeoParquet file by its first bytes"
            )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyarrow.ArrowException, ValueError) as error:
        raise RegistryError(f"{path.name}: cannot be read: {' '.join(str(error).split())[:200]}") from None


def _polygons(shapes: np.ndarray) -> Batches:
    """One batch of the polygons with finite coordinates; none if there is no such polygon."""
    shapes = shapes[np.isin(shapely.get_type_id(shapes), _POLYGONS)] if len(shapes) else shapes
    shapes = shapes[np.isfinite(shapely.bounds(shapes)).all(axis=1)] if len(shapes) else shapes
    if len(shapes):
        yield shapes


def _ogr_batches(path: Path, bounds: tuple[float, ...]) -> Batches:
    with pyogrio.raw.open_arrow(path, columns=[], bbox=bounds, batch_size=_BATCH, use_pyarrow=True) as (meta, reader):
        _check_degrees(path, meta["crs"])
        name = meta["geometry_name"] or "wkb_geometry"
        for batch in reader:
            yield from _polygons(shapely.from_wkb(batch.column(name).to_numpy(zero_copy_only=False)))


def _parquet_batches(path: Path, bounds: tuple[float, ...]) -> Batches:
    file = pyarrow.parquet.ParquetFile(path)
    geo = json.loads((file.schema_arrow.metadata or {}).get(b"geo", b"{}"))
    name = geo.get("primary_column", "geometry")
    if name not in file.schema_arrow.names:
        raise RegistryError(f"{path.name}: is not GeoParquet: it has no column '{name}'")
    column = geo.get("columns", {}).get(name, {})
    if column.get("encoding", "WKB") != "WKB":
        raise RegistryError(f"{path.name}: geometries are encoded as {column['encoding']}; write them as WKB")
    if column.get("crs"):  # GeoParquet: an absent CRS means OGC:CRS84
        _check_degrees(path, CRS.from_json_dict(column["crs"]))
    where = None
    if "bbox" in file.schema_arrow.names:  # Overture column: row groups elsewhere are skipped
        west, south, east, north = bounds
        box = [pyarrow.dataset.field("bbox", k) for k in ("xmin", "ymin", "xmax", "ymax")]
        where = (box[0] <= east) & (box[1] <= north) & (box[2] >= west) & (box[3] >= south)
    for batch in pyarrow.dataset.dataset(path).to_batches(columns=[name], filter=where, batch_size=_BATCH):
        yield from _polygons(shapely.from_wkb(batch.column(name).to_numpy(zero_copy_only=False)))


def _is_parquet(path: Path) -> bool:
    return path.is_file() and head_of(path).startswith(b"PAR1")


def _check_degrees(path: Path, crs: object) -> None:
    if crs is None:
        raise GridError(f"{path.name}: has no CRS")
    stated = CRS.from_user_input(crs)
    if not stated.is_geographic:
        raise GridError(
            f"{path.name}: CRS is '{stated.name}'; footprints are read in degrees (ogr2ogr -t_srs EPSG:4326)"
        )
