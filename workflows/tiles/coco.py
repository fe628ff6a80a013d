"""Labels from a COCO file: polygons and boxes in pixels of named images.

In: the content of the file, and the opened images. Out: polygons in WGS84, or in working pixels of an image without
georeference. Fields that COCO allows to be null or absent may be. Run-length masks are refused: their decoded size is
not bounded, and every tool can export polygons.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import ConfigError, RegistryError, nearest
from overwatt.aoi.geodesy import WGS84, pixels_to_lonlat
from overwatt.aoi.outline import TANGLED, repaired
from overwatt.workflows.io.images import Image
from overwatt.workflows.tiles.left_out import WHERE, LeftOut, Notes
from overwatt.workflows.tiles.outlines import polygons_of

MAX_COCO_BYTES = 200_000_000  # parsed as a whole, about ten times that in memory; own choice
_MAX_FLOAT = sys.float_info.max
_PEEK = 65_536  # bytes read to detect the format


def coco_content(path: Path) -> dict[str, Any] | None:
    """Return the content of a COCO file; None for another format.

    Raises:
        RegistryError: broken or too large JSON, or half of a COCO file.
    """
    if not path.is_file():
        return None  # the reader of vector files says so
    with path.open("rb") as file:
        head = file.read(_PEEK).lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"[") and b'"image_id"' in head:
        raise RegistryError(f"{path.name}: a list of COCO results; give the COCO file with images and annotations")
    if not head.startswith(b"{") or b'"FeatureCollection"' in head:
        return None
    if path.stat().st_size > MAX_COCO_BYTES:
        raise RegistryError(f"{path.name}: larger than {MAX_COCO_BYTES / 1e6:.0f} MB; split it")
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"{path.name}: not readable JSON; export the labels again") from error
    if not {"images", "annotations"} & set(data):
        return None
    for key in ("images", "annotations"):
        if data.get(key) is None:
            raise RegistryError(f"{path.name}: '{key}' is missing or null; export the labels again, whole")
    return data


def read_coco(
    name: str, klass: str | None, data: dict[str, Any], images: Sequence[Image], notes: Notes
) -> gpd.GeoDataFrame:
    """Read the annotations of a COCO file.

    Args:
        name: of the file, for messages.
        klass: class of all labels; None if their categories state it.
        data: its content.
        images: opened images.
        notes: receives what is left out.

    Returns:
        geometry, class (None if unknown), image, licence, `WHERE`.

    Raises:
        RegistryError: the file is not consistent, or an outline is no list of numbers.
        ConfigError: it names none of the images, or images of another size.
    """
    categories = _by_id(_records(data, "categories", name), "categories", name)
    licences = {str(k.get("id")): str(k.get("name") or "") for k in _records(data, "licenses", name)}
    described = _by_id(_records(data, "images", name), "images", name)
    given = _given(described, images, name)
    maps = {key: (image, _to_working(image, described[key], name)) for key, image in given.items()}
    notes.by_image = True
    notes.listed |= {image.path for image in given.values()}
    if absent := [str(e.get("file_name")) for key, e in described.items() if key not in given]:
        notes.not_read.append(
            f"{name}: {len(absent)} of its {len(described)} images are not given: {', '.join(absent[:5])[:200]}"
        )
    rows = []
    for n, a in enumerate(_records(data, "annotations", name)):
        where = f"{name}: annotation {a['id']}" if a.get("id") is not None else f"{name}: annotations[{n}]"
        key = str(a.get("image_id"))
        if a.get("image_id") is None:
            notes.left_out.append(LeftOut(where, "names no image"))
            continue
        if key not in described:
            raise RegistryError(f"{where}: image_id {key[:40]} is not in the file; export the labels again, whole")
        if key not in maps:
            unnamed = not described[key].get("file_name")
            cause = "its image has no file name" if unnamed else "its image is not given"
            notes.left_out.append(LeftOut(where, cause, elsewhere=not unnamed))
            continue
        image, move = maps[key]
        own = image.name if image.geobox is None else ""
        category = a.get("category_id")
        if klass is None and category is not None and str(category) not in categories:
            raise RegistryError(f"{where}: category_id {str(category)[:40]} is not in the file; "
                                f"if all labels are of one class: --labels {name}=data_center")  # fmt: skip
        drawn = _shape_of(a, where)
        if drawn is None:
            notes.left_out.append(LeftOut(where, "has neither polygon nor box"))
            continue
        outline = polygons_of(drawn, where)
        if outline is None:
            notes.left_out.append(LeftOut(where, TANGLED, shapely.transform(shapely.convex_hull(drawn), move), own))
            continue
        if outline.is_empty:
            notes.left_out.append(LeftOut(where, f"has no area{_size(a)}", shapely.transform(drawn, move), own))
            continue
        rows.append(
            {
                "geometry": shapely.transform(outline, move),
                "class": klass or categories.get(str(category), {}).get("name"),
                "image": own,
                "licence": licences.get(str(described[key].get("license")), ""),
                WHERE: where,
            }
        )
    frame = pd.DataFrame(rows, columns=["geometry", "class", "image", "licence", WHERE])
    return gpd.GeoDataFrame(frame, geometry="geometry", crs=WGS84)


def _records(data: dict[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    records = data.get(key) or []
    if not isinstance(records, list):
        raise RegistryError(f"{name}: '{key}' is not a list; COCO requires one")
    for n, record in enumerate(records):
        if not isinstance(record, dict):
            raise RegistryError(f"{name}: {key}[{n}] is not an object")
        for field in ("id", "image_id", "category_id", "name", "file_name", "license"):
            if not isinstance(record.get(field), int | str | None):
                raise RegistryError(f"{name}: {key}[{n}] has no usable '{field}'")
    return records


def _by_id(records: list[dict[str, Any]], key: str, name: str) -> dict[str, dict[str, Any]]:
    """Return records by id as text: some tools write 1 in one list and "1" in the other."""
    out: dict[str, dict[str, Any]] = {}
    for n, record in enumerate(records):
        if record.get("id") is None:
            raise RegistryError(f"{name}: {key}[{n}] has no usable 'id'")
        if out.setdefault(str(record["id"]), record) is not record:
            raise RegistryError(f"{name}: {key}: id {str(record['id'])[:40]} occurs twice; export the labels again")
    return out


def _path(file_name: object) -> str:
    return str(file_name or "").replace("\\", "/")


def _base(file_name: object) -> str:
    return _path(file_name).rsplit("/", 1)[-1]


def _given(described: dict[str, dict[str, Any]], images: Sequence[Image], name: str) -> dict[str, Image]:
    """Return the given image of each listed one, by id. Folders belong to another machine, but tell twins apart."""
    out: dict[str, Image] = {}
    wanted = {key: e["file_name"] for key, e in described.items() if e.get("file_name")}
    for image in images:
        twins = [i for i in images if i.name == image.name and i.path != image.path]
        # spaces and umlauts may be stored as in a URL
        keys = [k for k, f in wanted.items() if image.name in (_base(f), unquote(_base(f)))]
        if keys and twins:
            raise ConfigError(f"{name}: two images are called {image.name}; a COCO file identifies images by name only")
        if len(keys) > 1:
            keys = [k for k in keys if image.path.as_posix().endswith(f"/{unquote(_path(wanted[k])).lstrip('./')}")]
            if len(keys) != 1:
                raise ConfigError(
                    f"{name}: lists several images called {image.name}; put it into the folder of its own"
                )
        out |= dict.fromkeys(keys, image)
    if wanted and not out:
        first = _base(next(iter(wanted.values())))
        raise ConfigError(
            f"{name}: image '{first[:80]}' is not among those given; {nearest(first, {i.name for i in images})}"
        )
    return out


def _to_working(image: Image, entry: dict[str, Any], name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function on (n, 2): pixels of the image file to lon/lat, or to working pixels without georeference."""
    height, width = image.raster.size
    stated = (entry.get("width") or width, entry.get("height") or height)
    if not all(_is_number(text, n) for text, n in zip(stated, (width, height), strict=True)):
        raise ConfigError(
            f"{name}: image {image.name} has {width} x {height} pixels, the labels were drawn on "
            f"{str(stated[0])[:20]} x {str(stated[1])[:20]}; give the image that they were drawn on"
        )
    place = image.raster.placement
    if place is None:
        factor = np.array([image.shape[1] / width, image.shape[0] / height])
        return lambda xy: xy * factor
    return pixels_to_lonlat(place.transform, place.crs)


def _is_number(value: object, number: int) -> bool:
    try:
        return isinstance(value, int | float | str) and float(value) == number
    except (ValueError, OverflowError):
        return False


def _shape_of(annotation: dict[str, Any], where: str) -> shapely.Geometry | None:
    """Return the outline as drawn, in pixels; the box if there is no outline, None if there is neither."""
    outlines = annotation.get("segmentation")
    if isinstance(outlines, dict):
        raise RegistryError(f"{where}: a run-length mask (RLE); export the labels as polygons")
    if outlines and not isinstance(outlines, list):
        raise RegistryError(f"{where}: segmentation is neither polygons nor a box; export the labels as polygons")
    parts = []
    for flat in outlines or []:
        if not flat and isinstance(flat, list):
            continue
        ring = np.reshape(_numbers(flat, where, "segmentation", lambda n: n >= 2 and n % 2 == 0), (-1, 2))
        parts.append(shapely.Polygon(ring) if len(ring) > 2 else shapely.MultiPoint(ring))
    if parts:
        valid = [repaired(p) for p in parts]
        # what cannot be repaired, or has no area, still has a place
        whole = any(v is None or v.is_empty for v in valid)
        return shapely.GeometryCollection(parts) if whole else shapely.union_all(valid)
    if annotation.get("bbox") in (None, []):
        return None
    x, y, w, h = _numbers(annotation["bbox"], where, "bbox", lambda n: n == 4)
    return shapely.box(x, y, x + w, y + h) if w > 0 and h > 0 else shapely.MultiPoint([(x, y), (x + w, y + h)])


def _size(annotation: dict[str, Any]) -> str:
    return "" if annotation.get("segmentation") else f" (bbox {' x '.join(f'{v:g}' for v in annotation['bbox'][2:])})"


def _numbers(values: object, where: str, what: str, fits: Callable[[int], bool]) -> list[float]:
    # the comparison also holds for integers beyond the range of a float
    numbers = values if isinstance(values, list) else []
    good = numbers is values and all(isinstance(v, int | float) and abs(v) <= _MAX_FLOAT for v in numbers)
    if not good or not fits(len(numbers)):
        raise RegistryError(f"{where}: {what} is not a list of pixel coordinates: {str(values)[:60]}")
    return [float(v) for v in numbers]
