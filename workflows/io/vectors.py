"""Conversion of outlines between files, map and pixels."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from overwatt.aoi.errors import GridError, RegistryError, nearest
from overwatt.aoi.file_signatures import is_plain_vector
from overwatt.aoi.geodesy import WGS84
from overwatt.models.evaluation.metrics import Outline
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings, near_void, vectorize_tile
from overwatt.workflows.io.images import Image

CLASSES = ("data_center", "other_building", "cooling_equipment", "unknown")
MAX_BYTES = 500_000_000  # read as a whole; own choice


def to_pixels(geometry: gpd.GeoSeries, image: Image) -> list[shapely.Geometry]:
    """Convert WGS84 geometries to pixels of an image (x = column, y = row); unchanged without georeference."""
    box = image.geobox
    if box is None:
        return list(geometry)
    return lonlat_to_pixels(list(geometry), box)


def lonlat_to_pixels(geometry: list[shapely.Geometry], box: GeoBox) -> list[shapely.Geometry]:
    """Convert WGS84 geometries to pixels of a grid (x = column, y = row)."""
    to = Transformer.from_crs(CRS.from_user_input(WGS84), CRS.from_user_input(str(box.crs)), always_xy=True)
    inverse = ~box.affine

    def move(xy: np.ndarray) -> np.ndarray:
        x, y = to.transform(xy[:, 0], xy[:, 1])
        return np.column_stack([inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f])

    return [shapely.transform(g, move) for g in geometry]


def read_vector(path: Path) -> gpd.GeoDataFrame:
    """Read a vector file into WGS84.

    Raises:
        RegistryError: the file is missing, unreadable, too large or without geometries.
        GridError: it has no CRS.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise RegistryError(f"{path.name}: larger than {MAX_BYTES / 1e6:.0f} MB; reduce it to the area")
    if not is_plain_vector(path):
        raise RegistryError(f"{path.name}: not GeoJSON, GeoPackage, KML or GeoParquet by its first bytes")
    try:
        frame = gpd.read_file(path, engine="pyogrio")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise RegistryError(f"{path.name}: not a readable vector file") from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise RegistryError(f"{path.name}: holds no geometries; give polygons")
    if frame.crs is None:
        raise GridError(f"{path.name}: no CRS; store the file with one")
    return frame.to_crs(WGS84)


def outlines_px(path: Path, image: Image) -> list[Outline]:
    """Read labelled outlines and convert them to pixels of the image.

    Raises:
        RegistryError: there is no column `class`, a class is unknown, or geometries are not polygons.
    """
    frame = read_vector(path)
    if "class" not in frame:
        raise RegistryError(f"{path.name}: no property 'class'; {nearest('class', [str(c) for c in frame.columns])}")
    if wrong := sorted(set(map(str, frame["class"])) - set(CLASSES)):
        raise RegistryError(f"{path.name}: unknown class '{wrong[0]}'; {nearest(wrong[0], CLASSES)}")
    if not frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        raise RegistryError(f"{path.name}: labels are polygons; found {sorted(set(frame.geometry.geom_type.dropna()))}")
    shapes = [shapely.make_valid(g) for g in to_pixels(frame.geometry, image)]
    return [Outline(str(k), g) for k, g in zip(frame["class"], shapes, strict=True) if not g.is_empty]


def footprints_of(
    probability: np.ndarray,
    valid: np.ndarray,
    image: Image,
    settings: DetectSettings,
    measured: np.ndarray | None = None,
) -> gpd.GeoDataFrame:
    """Return the footprints of a whole image in memory: one tile, with the same two steps as a run.

    Args:
        probability: (channel, y, x) uint8, as of `inference.predict`.
        valid: (y, x) bool.
        image: the image.
        settings: of the vectorisation.
        measured: (y, x) bool, where thermal bands were measured; None without thermal bands.
    """
    # pad with void: the border of the image counts as the border of the imagery
    void = near_void(np.pad(valid, 1))[1:-1, 1:-1]
    part = vectorize_tile(probability, valid, (0, 0), "r000c000", void, settings, image.gsd_m, measured)
    box = image.geobox
    return merge_footprints(
        [part],
        transform=box.affine if box is not None else None,
        crs=str(box.crs) if box is not None else None,
        gsd_m=image.gsd_m,
        scene=image.name,
        settings=settings,
    )
