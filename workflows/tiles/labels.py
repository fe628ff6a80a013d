"""Labels from files: GeoJSON, GeoPackage, GeoParquet, KML or COCO in, one table of polygons out.

In: a label file, the opened images, and a map from its class names to ours. Out: a GeoDataFrame with
`geometry`, `class`, `image` (file name; '' for georeferenced labels), `cooling` (whether the file contains
cooling equipment at all), `source`, `licence`, `attribution` and the other columns of the file.
Geometry is WGS84, or working pixels of `image` if the image has no georeference. All layers of a file, in KML all
folders, are read. What is left out is noted with its cause and place (workflows/tiles/left_out.py).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import ConfigError, RegistryError, nearest
from overwatt.aoi.outline import TANGLED
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.layers import layer_names, read_layers
from overwatt.workflows.tiles.coco import coco_content, read_coco
from overwatt.workflows.tiles.left_out import WHERE, LeftOut, Notes
from overwatt.workflows.tiles.outlines import polygons_of

CLASSES = (
    "data_center", "other_building", "not_data_center", "cooling_equipment", "car_park", "substation", "unknown",
    "background",
)  # fmt: skip
LEFT_OUT = "ignore"


@dataclass(frozen=True)
class LabelFile:
    """A file of labels.

    Attributes:
        path: the file.
        klass: class of all its labels; None if the file states the classes.
        layers: {layer: class of its labels, or None}, the only layers to use; empty for all.
    """

    path: Path
    klass: str | None = None
    layers: Mapping[str, str | None] = field(default_factory=dict)


def parse_label_file(text: str) -> LabelFile:
    """Parse `FILE`, `FILE=CLASS`, `FILE:LAYER` or `FILE:LAYER=CLASS` of the command line.

    Raises:
        ConfigError: the class after '=' is unknown.
    """
    if os.path.exists(text):
        return LabelFile(Path(text))
    name, sep, klass = text.rpartition("=")
    if not sep:
        name, klass = text, ""
    # the file is the longest part before a colon that exists: both names may hold colons
    colons = [i for i, c in enumerate(name) if c == ":"]
    at = next((i for i in reversed(colons) if not os.path.exists(name) and os.path.isfile(name[:i])), None)
    if sep and klass not in CLASSES:
        raise ConfigError(f"--labels '{text}': unknown class '{klass}'; {nearest(klass, CLASSES)}")
    if at is None:
        return LabelFile(Path(name), klass or None)
    return LabelFile(Path(name[:at]), None, {name[at + 1 :]: klass or None})


def merged(files: Sequence[LabelFile]) -> list[LabelFile]:
    """Return the files with the chosen layers of one file together.

    Raises:
        ConfigError: a layer is given twice, or a file with and without a layer.
    """
    out: dict[Path, LabelFile] = {}
    for file in files:
        first = out.get(file.path)
        if first is None:
            out[file.path] = file
            continue
        if not first.layers or not file.layers or set(first.layers) & set(file.layers):
            raise ConfigError(f"--labels {file.path}: given twice; give it once, or once for each of its layers")
        out[file.path] = replace(first, layers={**first.layers, **file.layers})
    return list(out.values())


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


def read_labels(
    file: LabelFile, images: Sequence[Image], class_map: Mapping[str, str], notes: Notes | None = None
) -> gpd.GeoDataFrame:
    """Read one label file.

    Args:
        file: the file.
        images: opened images; a COCO file refers to them by name.
        class_map: {class name in the file: our class, or `ignore`}.
        notes: receives what is left out, and whether the file was cut short.

    Raises:
        RegistryError: the file is missing, unreadable or too large, a class is unknown, or no label can be used.
        GridError: a layer has no CRS, or coordinates that do not fit it.
        ConfigError: a COCO file names images that are not among `images` or have another size.
    """
    notes = Notes() if notes is None else notes
    name, before = file.path.name, len(notes.left_out)
    coco = coco_content(file.path)
    if coco is not None and file.layers:
        raise ConfigError(f"--labels {name}: a COCO file has no layers; give FILE or FILE=CLASS")
    if coco is not None:
        frame = read_coco(name, file.klass, coco, images, notes)
        frame["class"] = frame["class"].astype(object)
    else:
        frame = _from_vector(file, class_map, notes)
    blank = frame["class"].isna() | (frame["class"].astype(str).str.strip() == "")
    frame.loc[~blank, "class"] = [_class_of(str(k), name, class_map) for k in frame["class"][~blank]]
    ignored = (frame["class"] == LEFT_OUT) & ~blank
    for rows, cause in ((blank, "has no class"), (ignored, "class ignored by --class-map")):
        notes.left_out += [LeftOut(k[WHERE], cause, k["geometry"], k["image"]) for k in frame[rows].to_dict("records")]
    lost = [k for k in notes.left_out[before:] if not k.elsewhere]
    if lost and blank.sum() + ignored.sum() == len(frame) and not ignored.any():
        raise RegistryError(f"{name}: none of its {len(lost)} labels can be used; {lost[0].label}: {lost[0].cause}")
    frame = frame[~(blank | ignored)].drop(columns=WHERE).reset_index(drop=True)
    frame["cooling"] = bool((frame["class"] == "cooling_equipment").any())
    frame["source"] = name
    for column in ("licence", "attribution"):
        frame[column] = frame[column].astype("string").fillna("") if column in frame else ""
    return frame


def _class_of(name: str, file: str, class_map: Mapping[str, str]) -> str:
    klass = class_map.get(name, name)
    if klass not in (*CLASSES, LEFT_OUT):
        raise RegistryError(
            f"{file}: unknown class '{name[:60]}'; {nearest(name, (*CLASSES, *class_map))} "
            f"or assign it: --class-map '{name[:60]}=CLASS'"
        )
    return klass


def _from_vector(file: LabelFile, class_map: Mapping[str, str], notes: Notes) -> gpd.GeoDataFrame:
    name = file.path.name
    frame = read_layers(file.path)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise RegistryError(f"{name}: holds no geometries; give polygons")
    if sign := frame.attrs["cut_short"]:
        notes.cut_short.append(f"{name}: is not complete: {sign}")
    if links := frame.attrs["links"]:
        notes.cut_short.append(f"{name}: has {links} network link{'s' * (links > 1)} to further places, not followed")
    for table, rows in frame.attrs["tables"].items():
        if file.layers:
            notes.not_read.append(f"{name}: layer '{table}': {rows} rows without geometries")
        else:  # a list of labels, unless the user names the layers that hold them
            texts = [f"{name}: layer '{table}', label {n}" for n in range(1, rows + 1)]
            notes.left_out += [LeftOut(text, "has no geometry") for text in texts]
    layers = _layers_of(file, frame)
    numbers = frame.groupby(layers.to_numpy(), sort=False).cumcount() + 1
    where = [f"{name}: " + (f"layer '{k}', " if layers.nunique() > 1 else "") + f"label {n}"
             for k, n in zip(layers, numbers, strict=True)]  # fmt: skip
    frame = frame.assign(**{"class": _classes(file, frame, layers, class_map), WHERE: where}, image="")
    outlines, used = [], []
    for shape, text, layer in zip(frame.geometry, where, layers, strict=True):
        cause, place = _usable(shape, text)
        if file.layers and layer not in file.layers:
            cause = "its layer is not among those given"
        if cause:
            notes.left_out.append(LeftOut(text, cause, place))
        used.append(not cause)
        outlines.append(place)
    frame["geometry"] = gpd.GeoSeries(outlines, frame.index, crs=frame.crs)
    return frame[used].reset_index(drop=True)


def _usable(shape: shapely.Geometry | None, where: str) -> tuple[str, shapely.Geometry | None]:
    """Return why an outline cannot be used, '' if it can, and its polygons, or else its place."""
    if shape is None:
        return "has no geometry", None
    if shape.is_empty:
        return "has an empty geometry", None
    if shape.geom_type not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        placed = bool(np.isfinite(shape.bounds).all())
        return f"a '{shape.geom_type}', labels are polygons", shape if placed else None
    outline = polygons_of(shape, where)
    if outline is None:
        return TANGLED, shapely.convex_hull(shape)
    return ("has no area", shape) if outline.is_empty else ("", outline)


def _layers_of(file: LabelFile, frame: gpd.GeoDataFrame) -> pd.Series:
    """Return the layer of each row; check that the chosen ones exist."""
    names = layer_names(file.path)
    for layer in file.layers:
        if layer not in names:
            raise RegistryError(f"{file.path.name}: no layer '{layer}'; {nearest(layer, names)}")
    if len(names) == 1:
        return pd.Series(names[0], frame.index)
    layers = frame["layer"].astype(str)
    if not set(layers) <= set(names):
        raise RegistryError(f"{file.path.name}: several layers, and a column 'layer' of its own; rename that column")
    return layers


def _classes(file: LabelFile, frame: gpd.GeoDataFrame, layers: pd.Series, class_map: Mapping[str, str]) -> pd.Series:
    """Return the class of each row: as given, of the column, or the name of a layer that is a class."""
    name = file.path.name
    own = frame["class"].astype(object) if "class" in frame else pd.Series(None, frame.index, dtype=object)
    for layer in layers.unique():
        rows = layers == layer
        given = file.layers.get(layer, file.klass)
        if given is None and own[rows].isna().all() and (layer in CLASSES or layer in class_map):
            given = layer
        if given is not None:
            own[rows] = given
        elif own[rows].isna().all() and (not file.layers or layer in file.layers):
            columns = [str(c) for c in frame.columns if c not in ("geometry", "layer")]
            which = f"layer '{layer}': " if layers.nunique() > 1 else ""
            hint = f"; or of one layer: --labels '{name}:{layer}=data_center'" if which else ""
            raise RegistryError(
                f"{name}: {which}no property 'class' "
                f"({nearest('class', columns) if columns else 'it has no properties'}); "
                f"if all labels are of one class: --labels {name}=data_center{hint}"
            )
    return own
