"""One tile of a national training set: rasterized labels, two files, and a row of the index.

In: fetched pixels and outlines in degrees. Out: two GeoTIFFs in the layout of `overwatt.models.training.tileset`,
and the columns of the index that follow from the pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import OverwattError
from overwatt.models.training import tileset
from overwatt.models.training.samples import DATA_CENTER, IGNORE, OTHER
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.cog import write_raster
from overwatt.workflows.io.vectors import lonlat_to_pixels
from overwatt.workflows.national.imagery import TilePixels

log = logging.getLogger(__name__)

Shapes = Sequence[BaseGeometry]


def burn(shape: tuple[int, int], centers: Shapes, others: Shapes, unknown: Shapes) -> np.ndarray:
    """Return the mask of a tile, (3, y, x) uint16: building, cooling, instance.

    Unknown ground is drawn over other buildings, and data centers over both. No registry lists cooling equipment,
    so that layer is unknown everywhere. Instances are numbered from 1, data centers last.

    Args:
        shape: (ny, nx).
        centers: outlines of data centers in pixels (x = column, y = row).
        others: outlines of other buildings in pixels.
        unknown: polygons of unknown ground in pixels.
    """
    layers = np.zeros((3, *shape), np.uint16)
    layers[1] = IGNORE
    for shapes, code in ((others, OTHER), (unknown, IGNORE), (centers, DATA_CENTER)):
        if len(shapes):
            layers[0][rasterize(list(shapes), shape, dtype="uint8") > 0] = code
    if buildings := [(g, n) for n, g in enumerate([*others, *centers], start=1)]:
        layers[2] = rasterize(buildings, shape, dtype="uint16")
    # an instance is only where the class is a building, not under unknown ground
    layers[2][~np.isin(layers[0], (OTHER, DATA_CENTER))] = 0
    return layers


def write(
    out: Path, tile_id: str, pixels: TilePixels, centers: Shapes, others: Shapes, unknown: Shapes
) -> dict[str, Any]:
    """Rasterize the labels of a tile and write its two files.

    Args:
        out: folder of the training set.
        tile_id: name of the files.
        pixels: imagery.
        centers: outlines of data centers in degrees.
        others: outlines of other buildings in degrees.
        unknown: polygons of unknown ground in degrees.

    Returns:
        Columns of the index that follow from pixels and labels, as JSON values; `geometry` as WKT.
    """
    moved = [lonlat_to_pixels(list(shapes), pixels.geobox) for shapes in (centers, others, unknown)]
    mask = burn(pixels.valid.shape, *moved)
    mask[:2, ~pixels.valid] = IGNORE
    mask[2, ~pixels.valid] = 0
    optical = np.where(pixels.valid, pixels.optical, np.uint8(0))
    # fourth band: 255 where there is imagery
    picture = np.concatenate([optical, pixels.valid[None].astype(np.uint8) * np.uint8(255)])
    row = {"tile_id": tile_id, "path": f"pictures/{tile_id}.tif", "mask_path": f"masks/{tile_id}.tif"}
    _write(out / row["path"], picture, tileset.PICTURE_BANDS, pixels, photometric="RGB")
    _write(out / row["mask_path"], mask, tileset.MASK_BANDS, pixels)
    box, gsd_m = pixels.geobox, float(pixels.geobox.resolution.x)
    building = mask[0][pixels.valid]
    return row | {
        "image": " ".join(pixels.items),
        # the key of the addresses: only a window is read, so the hash of the whole file is not known
        "image_sha256": run_folder.key(*pixels.hrefs),
        "pixels_sha256": tileset.pixels_sha256(optical, pixels.valid),
        "crs": str(box.crs),
        "gsd_m": gsd_m,
        # position of the tile on the lattice of its pixel size, counted from the origin of the CRS
        "row_px": round(-box.affine.f / gsd_m),
        "col_px": round(box.affine.c / gsd_m),
        "valid_px": int(pixels.valid.sum()),
        "background_px": int((building == 0).sum()),
        "other_building_px": int((building == OTHER).sum()),
        "data_center_px": int((building == DATA_CENTER).sum()),
        "cooling_equipment_px": 0,
        "unknown_px": int((building == IGNORE).sum()),
        # eight decimals of a degree: about 1 mm
        "geometry": shapely.to_wkt(box.extent.to_crs("EPSG:4326").geom, rounding_precision=8),
    }


def intact(out: Path, row: dict[str, Any]) -> bool:
    """Return whether the files of a tile exist and can be read."""
    try:
        tileset.read_tile(out, row)
    except OverwattError as error:
        log.warning("tile %s is damaged and is made again: %s", row.get("tile_id"), error)
        return False
    return True


def _write(path: Path, layers: np.ndarray, names: tuple[str, ...], pixels: TilePixels, **extra: str) -> None:
    georeference = {"crs": str(pixels.geobox.crs), "transform": pixels.geobox.affine}
    write_raster(path, layers, names, compress="deflate", **georeference, **extra)
