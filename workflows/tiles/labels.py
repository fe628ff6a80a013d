"""Labels from files: GeoJSON, GeoPackage, GeoParquet, KML or COCO in, one table of polygons out.

In: a label file, the opened images, and a map from its class names to ours. Out: a GeoDataFrame with
`geometry`, `class`, `image` (file name; '' for georeferenced labels), `cooling` (whether the file contains
cooling equipment at all), `source`, `licence`, `attribution` and the other columns of the file.
Geometry is WGS84, or working pixels of `image` if the image has no georeference. COCO polygons and
boxes are in pixels of the named image file and are converted to one of the two. Run-length masks are
refused: their decoded size is not bounded, and every tool can export polygons.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning

from overwatt.aoi.errors import ConfigError, RegistryError, nearest
from overwatt.aoi.file_signatures import head_of, raster_driver
from overwatt.aoi.geodesy import WGS84, pixels_to_lonlat
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.vectors import read_vector

CLASSES = ("data_center", "other_building", "not_data_center", "cooling_equipment", "unknown", "background")
LEFT_OUT = "ignore"
MAX_COCO_BYTES = 200_000_000  # parsed as a whole, about ten times that in memory; own choice
MAX_VERTICES = 1_000_000  # per outline; own choice
_PEEK = 65_536  # bytes read to detect the format


@dataclass(frozen=True)
class LabelFile:
    """A file of labels.

    Attributes:
        path: the file.
        klass: class of all its labels; None if the file states the classes.
    """

    path: Path
    klass: str | None = None


def parse_label_file(text: str) -> LabelFile:
    """Parse `FILE` or `FILE=CLASS` of the command line.

    Raises:
        ConfigError: the class after '=' is unknown.
    """
    name, sep, klass = text.rpartition("=")
    if not sep or Path(text).exists():
        return LabelFile(Path(text))
    if klass not in CLASSES:
        raise ConfigError(f"--labels '{text}': unknown class '{klass}'; {nearest(klass, CLASSES)}")
    return LabelFile(Path(name), klass)


def parse_class_map(assignments: Sequence[str]) -> dict[str, str]:
    """Parse `NAME=CLASS` assignments; the class `ignore` drops the labels of that name.

    Raises:
        ConfigError: there is no '=', or the class is unknown.
    """
    out = {}
    for text in assignments:
        name, sep, klass = text.rpartition("=")
        if not sep or not name:
            raise ConfigError(f"--class-map '{text}': expected NAME=CLASS, such as datacentre=data_center")
        if klass not in (*CLASSES, LEFT_OUT):
            raise ConfigError(f"--class-map '{text}': unknown class '{klass}'; {nearest(klass, (*CLASSES, LEFT_OUT))}")
        out[name] = klass
    return out


def read_labels(file: LabelFile, images: Sequence[Image], class_map: Mapping[str, str]) -> gpd.GeoDataFrame:
    """Read one label file.

    Args:
        file: the file.
        images: opened images; a COCO file refers to them by name.
        class_map: {class name in the file: our class, or `ignore`}.

    Raises:
        RegistryError: the file is missing, unreadable or too large, a class is unknown, or geometries are not polygons.
        ConfigError: a COCO file names images that are not among `images` or have another size.
    """
    coco = _coco(file.path)
    frame = _from_coco(file, coco, images) if coco is not None else _from_vector(file)
    frame["class"] = [_class_of(str(k), file.path.name, class_map) for k in frame["class"]]
    frame = frame[frame["class"] != LEFT_OUT].reset_index(drop=True)
    frame["cooling"] = bool((frame["class"] == "cooling_equipment").any())
    frame["source"] = file.path.name
    for column in ("licence", "attribution"):
        frame[column] = frame[column].fillna("").astype(str) if column in frame else ""
    return frame


def _class_of(name: str, file: str, class_map: Mapping[str, str]) -> str:
    klass = class_map.get(name, name)
    if klass not in (*CLASSES, LEFT_OUT):
        raise RegistryError(
            f"{file}: unknown class '{name[:60]}'; {nearest(name, (*CLASSES, *class_map))} "
            f"or assign it: --class-map '{name[:60]}=CLASS'"
        )
    return klass


def _from_vector(file: LabelFile) -> gpd.GeoDataFrame:
    name = file.path.name
    if file.path.is_file() and head_of(file.path).startswith(b"SQLite format 3\0"):
        layers = [str(layer) for layer, kind in pyogrio.list_layers(file.path) if kind is not None]
        if len(layers) > 1:
            raise RegistryError(f"{name}: holds layers {', '.join(layers)}; give a file with one layer")
    if file.path.is_file() and head_of(file.path).startswith(b"PAR1"):
        frame = _parquet(file.path)
    else:
        frame = read_vector(file.path)
    if file.klass is not None:
        frame["class"] = file.klass
    if "class" not in frame:
        columns = [str(c) for c in frame.columns if c != "geometry"]
        raise RegistryError(
            f"{name}: no property 'class' ({nearest('class', columns) if columns else 'it has no properties'}); "
            f"if all labels are of one class: --labels {name}=data_center"
        )
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].reset_index(drop=True)
    if not frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        raise RegistryError(f"{name}: labels are polygons; found {sorted(set(frame.geometry.geom_type))}")
    frame["geometry"] = [_polygons(g, name) for g in frame.geometry]
    frame["image"] = ""
    return frame[~frame.geometry.is_empty].reset_index(drop=True)


def _parquet(path: Path) -> gpd.GeoDataFrame:
    if path.stat().st_size > MAX_COCO_BYTES * 5:
        raise RegistryError(f"{path.name}: larger than {MAX_COCO_BYTES * 5 / 1e6:.0f} MB; reduce it to the area")
    try:
        frame = gpd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's errors are both
        raise RegistryError(f"{path.name}: not a readable GeoParquet file") from error
    if frame.crs is None:
        raise RegistryError(f"{path.name}: no CRS; store the file with one")
    return frame.to_crs(WGS84)


def _polygons(shape: shapely.Geometry, name: str) -> shapely.Geometry:
    """Return the valid polygons of an outline; lines and points that make_valid leaves are dropped."""
    if shapely.get_num_coordinates(shape) > MAX_VERTICES:
        raise RegistryError(f"{name}: an outline has more than {MAX_VERTICES:,} vertices; simplify it")
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise RegistryError(f"{name}: an outline has a non-numeric coordinate, or lies outside its CRS")
    valid = shape if shape.is_valid else shapely.make_valid(shape)
    parts = [p for p in shapely.get_parts(valid) if p.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if len(parts) != 1 else parts[0]


# --- COCO -----------------------------------------------------------------------------------------


def _coco(path: Path) -> dict[str, Any] | None:
    """Return the content of a COCO file; None for another format."""
    if not path.is_file():
        return None  # the reader of vector files says so
    with path.open("rb") as file:
        head = file.read(_PEEK)
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or b'"FeatureCollection"' in head:
        return None
    if path.stat().st_size > MAX_COCO_BYTES:
        raise RegistryError(f"{path.name}: larger than {MAX_COCO_BYTES / 1e6:.0f} MB; split it")
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{path.name}: not readable JSON; export the labels again") from error
    return data if {"images", "annotations"} <= set(data) else None


def _from_coco(file: LabelFile, data: dict[str, Any], images: Sequence[Image]) -> gpd.GeoDataFrame:
    name = file.path.name
    categories = {c["id"]: str(c["name"]) for c in _records(data, "categories", ("id", "name"), name)}
    licences = {c["id"]: str(c["name"]) for c in _records(data, "licenses", ("id", "name"), name)}
    described = {i["id"]: i for i in _records(data, "images", ("id", "file_name"), name)}
    known = _by_name(images, [str(i["file_name"]) for i in described.values()], name)
    maps = {}
    for key, entry in described.items():
        if image := known.get(_base(str(entry["file_name"]))):
            maps[key] = (image, _to_working(image, entry, name))
    rows = []
    for a in _records(data, "annotations", ("id", "image_id"), name):
        if a["image_id"] not in described:
            raise RegistryError(f"{name}: annotation {a['id']}: image_id {a['image_id']} is not in the file")
        if a["image_id"] not in maps:
            continue  # its image is not being cut
        image, move = maps[a["image_id"]]
        if file.klass is None and a.get("category_id") not in categories:
            raise RegistryError(f"{name}: annotation {a['id']}: category_id {a.get('category_id')} is not in the file")
        shape = _polygons(_shape_of(a, name), name)
        if shape.is_empty:
            continue
        rows.append(
            {
                "geometry": shapely.transform(shape, move),
                "class": file.klass or categories[a["category_id"]],
                "image": image.name if image.geobox is None else "",
                "licence": licences.get(described[a["image_id"]].get("license"), ""),
            }
        )
    frame = pd.DataFrame(rows, columns=["geometry", "class", "image", "licence"])
    return gpd.GeoDataFrame(frame, geometry="geometry", crs=WGS84)


def _records(data: dict[str, Any], key: str, needed: tuple[str, ...], name: str) -> list[dict[str, Any]]:
    records = data.get(key) or []
    if not isinstance(records, list):
        raise RegistryError(f"{name}: '{key}' is not a list; COCO requires one")
    for n, record in enumerate(records):
        for field in needed:
            if not isinstance(record, dict) or not isinstance(record.get(field), int | str):
                raise RegistryError(f"{name}: {key}[{n}] has no usable '{field}'")
    return records


def _base(file_name: str) -> str:
    return file_name.replace("\\", "/").rsplit("/", 1)[-1]


def _by_name(images: Sequence[Image], wanted: list[str], name: str) -> dict[str, Image]:
    """Return images by file name; folders in a COCO file belong to another machine and are ignored."""
    out: dict[str, Image] = {}
    for image in images:
        if image.name in out and out[image.name].path != image.path and image.name in map(_base, wanted):
            raise ConfigError(f"{name}: two images are called {image.name}; a COCO file identifies images by name only")
        out[image.name] = image
    if wanted and not any(_base(w) in out for w in wanted):
        raise ConfigError(
            f"{name}: image '{_base(wanted[0])[:80]}' is not among those given; {nearest(wanted[0], out)}"
        )
    return out


def _to_working(image: Image, entry: dict[str, Any], name: str) -> Any:  # noqa: ANN401  # a function on (n, 2)
    """Return a function from pixels of the image file to lon/lat, or to working pixels without georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(image.path, driver=raster_driver(image.path)) as source:
            width, height, transform, crs = source.width, source.height, source.transform, source.crs
    stated = (entry.get("width", width), entry.get("height", height))
    if stated != (width, height):
        raise ConfigError(
            f"{name}: image {image.name} has {width} x {height} pixels, the labels were drawn on "
            f"{stated[0]} x {stated[1]}; give the image that they were drawn on"
        )
    if image.geobox is None:
        factor = np.array([image.shape[1] / width, image.shape[0] / height])
        return lambda xy: xy * factor
    return pixels_to_lonlat(transform, str(crs))


def _shape_of(annotation: dict[str, Any], name: str) -> shapely.Geometry:
    where = f"{name}: annotation {annotation['id']}"
    outlines = annotation.get("segmentation")
    if isinstance(outlines, dict):
        raise RegistryError(f"{where}: a run-length mask (RLE); export the labels as polygons")
    if not outlines:
        x, y, w, h = _numbers(annotation.get("bbox"), where, "bbox", lambda n: n == 4)
        if w <= 0 or h <= 0:
            raise RegistryError(f"{where}: bbox {w:g} x {h:g} has no area; give width and height above 0")
        return shapely.box(x, y, x + w, y + h)
    if not isinstance(outlines, list):
        raise RegistryError(f"{where}: segmentation is neither polygons nor a box; export the labels as polygons")
    parts = []
    for flat in outlines:
        ring = _numbers(flat, where, "segmentation", lambda n: n >= 6 and n % 2 == 0)
        parts.append(shapely.make_valid(shapely.Polygon(np.reshape(ring, (-1, 2)))))
    return shapely.union_all(parts)


def _numbers(values: Any, where: str, what: str, fits: Any) -> list[float]:  # noqa: ANN401  # JSON is anything
    good = isinstance(values, list) and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
    if not good or not fits(len(values)):
        raise RegistryError(f"{where}: {what} is not a list of pixel coordinates: {str(values)[:60]}")
    return [float(v) for v in values]
