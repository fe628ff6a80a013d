"""Conversion of outlines between files, map and pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.aoi.geodesy import WGS84
from overwatt.aoi.outline import TANGLED, repaired
from overwatt.models.evaluation.metrics import Outline
from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings, near_void, vectorize_tile
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.layers import read_layers

CLASSES = ("data_center", "other_building", "cooling_equipment", "substation", "car_park", "unknown")


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


def grown(shape: shapely.Geometry, metres: float) -> shapely.Geometry:
    """Return a shape in lon/lat grown by a distance on the ground."""
    centre = shape.centroid
    # azimuthal equidistant projection about the centre: metres are true over the size of a site
    local = CRS.from_user_input(f"+proj=aeqd +lat_0={centre.y:.6f} +lon_0={centre.x:.6f} +datum=WGS84")
    to = Transformer.from_crs(CRS.from_user_input(WGS84), local, always_xy=True)
    out = shapely.transform(shape, lambda xy: np.column_stack(to.transform(xy[:, 0], xy[:, 1]))).buffer(metres)

    def back(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(to.transform(xy[:, 0], xy[:, 1], direction="INVERSE"))

    return shapely.transform(out, back)


def read_vector(path: Path) -> gpd.GeoDataFrame:
    """Read all layers of a vector file into WGS84; see `layers.read_layers`.

    Raises:
        RegistryError: the file is missing, unreadable, too large, not complete or without geometries.
        GridError: a layer has no CRS, or coordinates that do not fit it.
    """
    frame = read_layers(path)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise RegistryError(f"{path.name}: holds no geometries; give polygons")
    if sign := frame.attrs["cut_short"]:
        raise RegistryError(f"{path.name}: is not complete: {sign}; download all of it")
    if links := frame.attrs["links"]:
        what = f"{links} network link{'s' * (links > 1)}"
        raise RegistryError(f"{path.name}: has {what} to further places, not followed; save all in one file")
    return frame


def outlines_px(path: Path, image: Image) -> list[Outline]:
    """Read labelled outlines and convert them to pixels of the image; property `kind` may name the kind of machines.

    Raises:
        RegistryError: there is no column `class`, a class is unknown, or geometries are not polygons.
    """
    frame = read_vector(path)
    if "class" not in frame:
        raise RegistryError(f"{path.name}: no property 'class'; {nearest('class', [str(c) for c in frame.columns])}")
    if wrong := sorted(set(map(str, frame["class"])) - set(CLASSES)):
        raise RegistryError(f"{path.name}: unknown class '{wrong[0]}'; {nearest(wrong[0], CLASSES)}")
    if not frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        found = sorted(set(frame.geometry.geom_type.fillna("no geometry")))
        raise RegistryError(f"{path.name}: labels are polygons; found {found}")
    shapes = []
    for n, drawn in enumerate(to_pixels(frame.geometry, image), start=1):
        if (valid := repaired(drawn)) is None:
            raise RegistryError(f"{path.name}: label {n}: {TANGLED}")
        shapes.append(valid)
    kinds = frame["kind"] if "kind" in frame else [None] * len(frame)
    named = [k if isinstance(k, str) and k in MACHINE_KINDS else "" for k in kinds]
    return [
        Outline(str(k), g, kind) for k, g, kind in zip(frame["class"], shapes, named, strict=True) if not g.is_empty
    ]


def outlines_of(footprints: gpd.GeoDataFrame, shapes: Sequence[shapely.Geometry]) -> list[Outline]:
    """Return footprints as outlines in the classes of labels: generators are equipment there, with their kind."""
    kinds = footprints["kind"].astype(object).where(footprints["kind"].notna(), "")
    classes = footprints["class"].replace("generator", "cooling_equipment")
    return [Outline(str(c), g, str(k)) for c, g, k in zip(classes, shapes, kinds, strict=True)]


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
