"""Raster files are not trusted: opened by signature only, refused by their header, with the files beside them.

In: a path. Out: the open dataset or one line why not; the files that GDAL reads with it (masks, overviews, metadata),
and a hash that covers all of them.
"""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError  # the base of GDAL's own errors has no public name
from rasterio.enums import Interleaving
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from overwatt.aoi.errors import AssetReadError
from overwatt.aoi.file_signatures import raster_driver

MAX_PIXELS = 40_000_000_000  # of files read in windows; own choice: 200 x 200 km at 1 m
MAX_PIXELS_UNTILED = 400_000_000  # PNG and JPEG are decoded as a whole: 1.2 GB of RGB
DECODE_ROWS = 512  # rows decoded at once when a file is checked
_RASTER_SIDECARS = (".msk", ".ovr")  # GDAL opens these by content, with any driver

_QUIET, _QUIET_LOCK = ExitStack(), threading.Lock()
_quiet_now = 0  # contexts of `quiet` that are open

READ_ERRORS = (RasterioError, CPLE_BaseError, OSError)
"""What reading a file may raise: rasterio's errors; GDAL's own, which a damaged tag leaves for the next call to raise;
the system's."""


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; for a raster also of the files beside it that are read with it.

    Without such files it is the hash of the file's bytes alone. A mask that is laid beside an image changes it.
    """
    digest = _hashed(hashlib.sha256(), path)
    for beside in sidecars(path):
        if beside.suffix == ".xml" and _facts(path, pam=True) == _facts(path, pam=False):
            continue  # statistics that a viewer wrote there do not change what is read
        digest.update(beside.name.encode())
        _hashed(digest, beside)
    return digest.hexdigest()


def _facts(path: Path, *, pam: bool) -> str:
    """Return what decides how a raster is read, with or without the metadata in its .aux.xml (GDAL's PAM)."""
    try:
        with (
            quiet(),
            rasterio.Env(GDAL_PAM_ENABLED="YES" if pam else "NO"),
            rasterio.open(path, driver=raster_driver(path), sharing=False) as s,
        ):
            return repr((s.crs, s.transform, s.gcps, s.rpcs, s.nodatavals, s.mask_flag_enums, s.colorinterp,
                         s.descriptions, s.scales, s.offsets, s.units))  # fmt: skip
    except (*READ_ERRORS, ValueError):
        return str(pam)  # cannot be told: the file counts


def _hashed(digest: hashlib._Hash, path: Path) -> hashlib._Hash:
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest


def sidecars(path: Path) -> list[Path]:
    """Return the files beside a raster that GDAL reads with it, by name: masks, overviews, world files, metadata."""
    if raster_driver(path) is None:
        return []
    try:
        with quiet(), rasterio.open(path, driver=raster_driver(path)) as source:
            found = {Path(name) for name in source.files}
    except (*READ_ERRORS, ValueError):  # ValueError: metadata that are no text
        return []  # the reader says why
    return sorted(f for f in found if f.is_file() and f.resolve() != path.resolve())


@contextmanager
def quiet() -> Iterator[None]:
    """Do not warn of a missing georeference: the readers say what it means.

    Python's warning filters belong to the whole process. Of threads that overlap the first sets them and the last
    restores them, else each would restore what another had set.
    """
    global _quiet_now
    with _QUIET_LOCK:
        if _quiet_now == 0:
            _QUIET.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
        _quiet_now += 1
    try:
        yield
    finally:
        with _QUIET_LOCK:
            _quiet_now -= 1
            if _quiet_now == 0:
                _QUIET.close()


def open_raster(path: Path, what: str = "image") -> rasterio.DatasetReader:
    """Open a raster file as the format of its first bytes.

    Raises:
        AssetReadError: the file is missing, in another format, damaged or too large, or a mask beside it is no GeoTIFF.
    """
    if path.is_dir():
        raise AssetReadError(f"{what} {path}: a folder; give one file, or join its files: {_joined(path / '*.tif')}")
    if not path.is_file():
        if set("*?") & set(path.name):
            raise AssetReadError(f"{what} {path}: a pattern; give one file, or join its files: {_joined(path)}")
        raise AssetReadError(f"{what} {path}: no such file", str(path))
    driver = driver_of(path, what)
    for suffix in _RASTER_SIDECARS:
        beside = path.with_name(path.name + suffix)
        if beside.is_file() and raster_driver(beside) != "GTiff":
            helps = "without it hidden ground would count as seen: get it again"
            helps = helps if suffix == ".msk" else "GDAL would read it instead of the image: remove it"
            raise AssetReadError(
                f"{what} {path.name}: {beside.name} beside it is not a GeoTIFF by its first bytes; {helps}", str(path)
            )
    try:
        with quiet():
            source = rasterio.open(path, driver=driver)
    except (*READ_ERRORS, ValueError) as error:
        raise AssetReadError(
            f"{what} {path.name}: not a readable {driver} file ({reason(error)}); it is truncated or damaged", str(path)
        ) from error
    try:
        check_size(source, path, what)
    except AssetReadError:
        source.close()
        raise
    return source


def _joined(files: Path) -> str:
    return f"rio merge {files} joined.tif"


def driver_of(path: Path, what: str = "image") -> str:
    """Return the driver that may read a raster file.

    Raises:
        AssetReadError: the format is not one that is read.
    """
    if driver := raster_driver(path):
        return driver
    raise AssetReadError(
        f"{what} {path.name}: its first bytes are not those of GeoTIFF, PNG, JPEG or JPEG 2000; "
        f"if it is an image or a VRT, convert it: rio convert {path.name} {path.stem}.tif",
        str(path),
    )


def reason(error: BaseException) -> str:
    """Return the first line of the cause of an error, short enough for a message."""
    cause = error.__cause__ or error
    return str(cause).splitlines()[0][:120] if str(cause) else type(cause).__name__


def check_size(source: rasterio.DatasetReader, path: Path, what: str = "image") -> None:
    """Refuse an image of which a window can only be read by decoding too many pixels.

    Raises:
        AssetReadError: the image or one of its blocks is too large.
    """
    pixels, block = source.width * source.height, max(h * w for h, w in source.block_shapes)
    limit = MAX_PIXELS if source.driver in ("GTiff", "JP2OpenJPEG") else MAX_PIXELS_UNTILED
    if pixels > limit:
        raise AssetReadError(
            f"{what} {path.name}: {source.width} x {source.height} pixels, "
            f"the limit for {source.driver} is {limit:,}; crop it",
            str(path),
        )
    if block > MAX_PIXELS_UNTILED:
        raise AssetReadError(
            f"{what} {path.name}: stored in blocks of {block:,} pixels, the limit is {MAX_PIXELS_UNTILED:,}; "
            f"tile it (gdal_translate -co TILED=YES {path.name} …)",
            str(path),
        )


def check_complete(source: rasterio.DatasetReader, path: Path) -> None:
    """Refuse a truncated file: a GeoTIFF by the offsets of its blocks, other formats by decoding them once.

    A block without an offset is sparse, which is legal.

    Raises:
        AssetReadError: the file is truncated or damaged.
    """
    if source.driver == "GTiff":
        size = path.stat().st_size
        rows, cols = source.block_shapes[0]
        bands = source.indexes if source.interleaving == Interleaving.band else source.indexes[:1]
        for band in bands:
            for y in range(-(-source.height // rows)):
                for x in range(-(-source.width // cols)):
                    start = source.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band)
                    length = source.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)
                    if start and length and int(start) + int(length) > size:
                        raise AssetReadError(
                            f"image {path.name}: truncated: the block at row {y * rows}, column {x * cols} should "
                            f"end at byte {int(start) + int(length):,}, the file has {size:,}; download it again",
                            str(path),
                        )
        return
    # without these options GDAL 3.10 returns noise for missing parts of a PNG, grey for a JPEG, and no error
    strict = {"GDAL_ERROR_ON_LIBJPEG_WARNING": True, "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
    try:
        with quiet(), rasterio.Env(**strict):
            file = rasterio.open(path, driver=source.driver)  # open again: the options act at opening
            for y in range(0, source.height, DECODE_ROWS):
                file.read(window=Window(0, y, source.width, min(DECODE_ROWS, source.height - y)))
    except READ_ERRORS as error:
        raise AssetReadError(
            f"image {path.name}: cannot be decoded ({reason(error)}); it is truncated or damaged", str(path)
        ) from error
