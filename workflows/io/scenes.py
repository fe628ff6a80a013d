"""Scenes of a catalogue on a grid: read by the same rules as files, one item at a time.

In: STAC Items and the bands that are wanted. Out: pixels and what counts as looked at. All bands of a pixel come from
one item: bands of two dates side by side are a picture of nothing. The header of every file is read before pixels are,
since what an item states about type and pixel size need not be true. Addresses are signed only for a read.
"""

from __future__ import annotations

import http.client
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pystac
import rasterio
from odc.geo.geobox import GeoBox

from overwatt.aoi.errors import AssetReadError, CatalogError, redact
from overwatt.aoi.file_signatures import RASTERS
from overwatt.aoi.grid import Window
from overwatt.models.detector.card import ModelCard, check_fits
from overwatt.pipeline.imagery.validity import Raw, looked_at
from overwatt.workflows.io.bands import marks_of, names_of
from overwatt.workflows.io.placement import placement_of
from overwatt.workflows.io.raster import Raster, window_px
from overwatt.workflows.io.raster_checks import READ_ERRORS, quiet, reason
from overwatt.workflows.io.stac_api import Sign, addresser

# Reads of cloud-optimized files (GDAL configuration options): no folder listing, merged ranges, retries.
GDAL_ENV = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}
_DRIVERS = {"jp2": "JP2OpenJPEG", "png": "PNG", "jpeg": "JPEG", "jpg": "JPEG"}  # by media type; anything else: GeoTIFF
_MASK_TIMEOUT_S = 10.0

BandPlace = tuple[str, int | str]
"""Key of an asset, and the band in it: 1-based, or by the name that the file itself gives it."""


@dataclass(frozen=True)
class Scene:
    """The wanted bands of one item on a grid. Picklable: addresses are stored unsigned.

    Attributes:
        name: id of the item.
        parts: (positions among the wanted bands, file) of each file.
        types: types of the pixels, sorted.
        gsd_m: metres per pixel of the coarsest file.
        gsd_range_m: smallest and largest over all files, in the middle and the corners.
        window: part (y0, x0, y1, x1) of the grid that all files reach; may be empty.
        sign: how addresses are signed.
    """

    name: str
    parts: tuple[tuple[tuple[int, ...], Raster], ...]
    types: tuple[str, ...]
    gsd_m: float
    gsd_range_m: tuple[float, float]
    window: Window
    sign: Sign

    def read(self, y0: int, x0: int, y1: int, x1: int) -> Raw:
        """Return (pixels, masked, empty) of a window of the grid: masked if any of the bands is.

        Raises:
            AssetReadError: a file cannot be read.
        """
        count = sum(len(at) for at, _ in self.parts)
        pixels = np.zeros((count, y1 - y0, x1 - x0), np.uint8)
        masked, empty = np.zeros(pixels.shape[1:], bool), np.zeros(pixels.shape, bool)
        for at, raster in self.parts:
            with reading(self.name, raster.address, (y0, x0, y1, x1)):
                found, off, without = raster.read_signed((y0, x0, y1, x1), addresser(self.sign))
            pixels[list(at)], masked, empty[list(at)] = found, masked | off, without
        return pixels, masked, empty


def scene_of(item: pystac.Item, places: Sequence[BandPlace], box: GeoBox, sign: Sign) -> Scene:
    """Open the files of an item and return it as a scene on a grid.

    Args:
        item: the item, addresses unsigned.
        places: of the wanted bands, in order; see `places_of`.
        box: the grid.
        sign: how addresses are signed.

    Raises:
        AssetReadError: a file cannot be opened.
        CatalogError: a file lacks a band or a georeference, has a mask beside it, or an address is not http(s).
    """
    parts, types, sizes, windows = [], set[str](), [], []
    for key in dict.fromkeys(asset for asset, _ in places):
        asset = item.assets[key]
        at = tuple(n for n, (k, _) in enumerate(places) if k == key)
        address = asset.get_absolute_href() or asset.href
        with reading(item.id, address, None), opened(address, asset, sign) as source:
            names = names_of(source)
            indexes = tuple(_index(b, names, item.id, key) for b in (places[n][1] for n in at))
            place = placement_of(source, f"{item.id}, asset {key}")
            if place is None:
                raise CatalogError(f"item '{item.id}', asset '{key}': the file has no georeference")
            marks = marks_of(source, names, indexes)
            stated = _stated_nodata(asset, indexes)
            nodata = tuple(own if own is not None else said for own, said in zip(marks.nodata, stated, strict=True))
            types |= {source.dtypes[i - 1] for i in indexes}
            size = source.height, source.width
        if mask_beside(address, sign):
            raise CatalogError(
                f"item '{item.id}', asset '{key}': a mask lies beside its file (.msk), which is not read over the "
                "network: what it hides would count as seen; download both and give imagery.path"
            )
        shape = int(box.shape[0]), int(box.shape[1])
        coarser = place.gsd_m < float(abs(box.affine.a))
        marks = replace(marks, nodata=nodata)
        raster = Raster(address, driver_of(asset), indexes, marks, size, box, shape, place, coarser)
        parts.append((at, raster))
        sizes.append(place)
        windows.append(window_px(place, box))
    low, high = zip(*(p.gsd_range_m for p in sizes), strict=True)
    y0, x0, y1, x1 = zip(*windows, strict=True)
    reach = (max(y0), max(x0), min(y1), min(x1))
    return Scene(
        item.id, tuple(parts), tuple(sorted(types)), max(p.gsd_m for p in sizes), (min(low), max(high)), reach, sign
    )


def check_scene(scene: Scene, card: ModelCard) -> None:
    """Refuse a scene that the weights were not trained for: what is checked of a file, checked of an item.

    Raises:
        ModelContractError: type or ground sampling distance do not fit.
    """
    units = "display_uint8" if scene.types == ("uint8",) else f"unknown ({', '.join(scene.types)})"
    for gsd_m in (scene.gsd_m, *scene.gsd_range_m):
        check_fits(card, bands=card.bands, gsd_m=gsd_m, units=units, source=f"item {scene.name}")


def mosaic(scenes: Sequence[Scene], window: Window, gsd_m: float, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels of a window from the first scene that shows each, and what counts as looked at.

    Args:
        scenes: the topmost first.
        window: (y0, x0, y1, x1) of the grid.
        gsd_m: metres per pixel of the grid.
        bands: number of bands.

    Returns:
        Pixels (band, y, x) uint8, zero where not looked at; (y, x) bool.

    Raises:
        AssetReadError: a file cannot be read.
    """
    y0, x0, y1, x1 = window
    pixels = np.zeros((bands, y1 - y0, x1 - x0), np.uint8)
    valid = np.zeros((y1 - y0, x1 - x0), bool)
    for scene in scenes:
        a0, b0, a1, b1 = scene.window
        if a0 >= y1 or b0 >= x1 or a1 <= y0 or b1 <= x0 or valid.all():
            continue
        found, seen = looked_at(scene.read, window, gsd_m)
        new = seen & ~valid
        pixels[:, new] = found[:, new]
        valid |= new
    return pixels, valid


def places_of(item: pystac.Item, wanted: Sequence[str], assets: Sequence[str]) -> tuple[BandPlace, ...]:
    """Return where the wanted bands are: an asset of that name, a band that an asset states, or one that a file names.

    Args:
        item: the item; `bands` (STAC 1.1) and `eo:bands` (1.0) are read.
        wanted: names of the bands.
        assets: assets or bands that may be used, as in the settings.

    Raises:
        CatalogError: a band is not found.
    """
    stated: dict[str, BandPlace] = {}
    for key, asset in item.assets.items():
        for n, listed in enumerate(_bands_of(asset), start=1):
            for name in (listed.get("eo:common_name"), listed.get("common_name"), listed.get("name")):
                if isinstance(name, str):
                    stated.setdefault(name.lower(), (key, n))
    whole = [key for key in assets if key in item.assets and key not in wanted]
    found: list[BandPlace] = []
    for band in wanted:
        if band in assets and band in item.assets:
            found.append((band, 1))
        elif stated.get(band, ("", 0))[0] in whole or (band in assets and band in stated):
            found.append(stated[band])
        elif whole:
            found.append((whole[0], band))
        else:
            known = ", ".join(sorted(item.assets)) or "none"
            raise CatalogError(f"item '{item.id}' has no asset or band '{band}'; its assets: {known}")
    return tuple(found)


@contextmanager
def opened(address: str, asset: pystac.Asset, sign: Sign) -> Iterator[rasterio.DatasetReader]:
    """Open the file of an asset from an address signed for this read."""
    with quiet(), rasterio.open(addresser(sign)(address), driver=driver_of(asset)) as source:
        yield source


def mask_beside(address: str, sign: Sign) -> bool:
    """Whether a mask lies beside a file of the catalogue (`x.tif.msk`); GDAL would not look for it over the network.

    A server that answers anything with a page is told by the first bytes; a refusal (403, 404) means no mask.

    Raises:
        AssetReadError: the server does not say.
    """
    path, query, rest = address.partition("?")
    url = addresser(sign)(f"{path}.msk{query}{rest}")  # refuses what is not http(s)
    try:
        request = urllib.request.Request(url, headers={"Range": "bytes=0-3"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=_MASK_TIMEOUT_S) as answer:  # noqa: S310
            return any(answer.read(4).startswith(signature[:4]) for signature in RASTERS)
    except (OSError, http.client.HTTPException, ValueError) as error:
        code = error.code if isinstance(error, urllib.error.HTTPError) else 0
        if 400 <= code < 500 and code != 429:  # 429: too many requests
            return False
        raise AssetReadError(f"{path}.msk: cannot be asked for ({redact(reason(error))})", href=address) from None


def driver_of(asset: pystac.Asset) -> str:
    """Return the GDAL driver for an asset: by its media type, else by its suffix. No other driver may open it."""
    suffix = asset.href.partition("?")[0].rpartition(".")[2].lower()
    kind = (asset.media_type or "").partition(";")[0].rpartition("/")[2].lower()
    return _DRIVERS.get(kind) or _DRIVERS.get(suffix) or "GTiff"


@contextmanager
def reading(item: str, address: str, window: object) -> Iterator[None]:
    """Read with GDAL's settings for the network; an error names item and address, without its signature."""
    try:
        with rasterio.Env(**GDAL_ENV):
            yield
    except READ_ERRORS as error:
        raise AssetReadError(
            f"image {address.partition('?')[0]} of item '{item}' cannot be read: {redact(reason(error))}",
            href=address,
            window=window,
        ) from None


def _redacted(record: logging.LogRecord) -> bool:
    record.msg, record.args = redact(record.getMessage()), ()
    return True


for _name in ("rasterio._env", "rasterio._err", "rasterio._io", "rasterio._base", "rasterio._warp"):
    logging.getLogger(_name).addFilter(_redacted)  # rasterio logs the addresses that it fails to read


def _bands_of(asset: pystac.Asset) -> list[dict[str, Any]]:
    for key in ("bands", "eo:bands"):
        listed = asset.extra_fields.get(key)
        if isinstance(listed, list) and listed and all(isinstance(b, dict) for b in listed):
            return listed
    return []


def _stated_nodata(asset: pystac.Asset, indexes: Sequence[int]) -> list[float | None]:
    """Return the nodata value that an item states of each band: raster:bands (1.0), bands or the asset itself (1.1)."""
    fields = asset.extra_fields
    given = fields.get("raster:bands") or fields.get("bands")
    listed = given if isinstance(given, list) else []
    out: list[float | None] = []
    for i in indexes:
        band = listed[i - 1] if i <= len(listed) and isinstance(listed[i - 1], dict) else {}
        value = band.get("nodata", fields.get("nodata"))
        out.append(float(value) if isinstance(value, int | float) and 0 <= value <= 255 else None)
    return out


def _index(band: int | str, names: Sequence[str], item: str, key: str) -> int:
    if isinstance(band, int) and 1 <= band <= len(names):
        return band
    if isinstance(band, str) and band in names:
        return names.index(band) + 1
    raise CatalogError(f"item '{item}', asset '{key}': its file has no band {band!r}; it has {', '.join(names)}")
