"""Image files: checked, opened, and read in windows on one pixel lattice. No file is trusted.

In: a path and the card of the weights. Out: an `Image` that returns any pixel window as (band, y, x) float32 in 0..1
with its validity. Pixels close to the ground sampling distance of the network are used without resampling. Finer pixels
are averaged onto a lattice of that distance; the card refuses coarser ones. Grids in degrees, Web Mercator and rotated
grids are warped to the UTM zone. Pixels are read only after the header has been checked.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.enums import ColorInterp, Interleaving, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from overwatt.aoi.errors import AssetReadError, GridError
from overwatt.aoi.file_signatures import raster_driver
from overwatt.aoi.geodesy import GEOD, WGS84
from overwatt.models.detector.card import ModelCard, check_fits

MAX_PIXELS = 40_000_000_000  # of files read in windows; own choice: 200 x 200 km at 1 m
MAX_PIXELS_UNTILED = 400_000_000  # PNG and JPEG are decoded as a whole: 1.2 GB of RGB
DECODE_ROWS = 512  # rows decoded at once when a file is checked
_ALIASES = {"r": "red", "g": "green", "b": "blue", "nir08": "nir"}


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Image:
    """An image file on its working lattice. Picklable: each process opens the file itself.

    Attributes:
        path: the file.
        bands: names of the optical bands of the card, in order.
        indexes: their 1-based indexes in the file.
        geobox: the working lattice; None without georeference.
        shape: (ny, nx) of the lattice.
        gsd_m: metres per lattice pixel.
        native: whether the lattice is that of the file.
        valid_index: 1-based index of the band that holds validity, 0 if none.
        source_gsd_m: metres per pixel of the file.
        remote: whether reads cross a network; False for files.
    """

    path: Path
    bands: tuple[str, ...]
    indexes: tuple[int, ...]
    geobox: GeoBox | None
    shape: tuple[int, int]
    gsd_m: float
    native: bool
    valid_index: int
    source_gsd_m: float
    remote: bool = False
    _open: dict[str, object] = field(default_factory=dict, compare=False, repr=False, hash=False)

    @property
    def date(self) -> str | None:
        """None: an image file states no date that can be trusted; the workflow file may (`imagery.date`)."""
        return None

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return content_sha256(self.path)

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k not in {"_open"}} | {"_open": {}}

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values (band, y, x) float32 in 0..1 and valid (y, x) bool of a window of the lattice.

        Pixels outside the image are zero and not valid.

        Raises:
            AssetReadError: the file is truncated or damaged there.
        """
        ny, nx = self.shape
        values = np.zeros((len(self.indexes), y1 - y0, x1 - x0), np.float32)
        valid = np.zeros((y1 - y0, x1 - x0), bool)
        a0, b0, a1, b1 = max(y0, 0), max(x0, 0), min(y1, ny), min(x1, nx)
        if a0 >= a1 or b0 >= b1:
            return values, valid
        try:
            pixels, mask = self._window(a0, b0, a1, b1)
        except (RasterioError, OSError) as error:
            raise AssetReadError(
                f"{self.name}: cannot be read at rows {a0}-{a1}, columns {b0}-{b1} "
                f"({reason(error)}); the file is truncated or damaged",
                str(self.path),
                (a0, b0, a1, b1),
            ) from error
        inner = (slice(a0 - y0, a1 - y0), slice(b0 - x0, b1 - x0))
        values[:, *inner] = pixels.astype(np.float32) / 255.0
        valid[inner] = mask
        values[:, ~valid] = 0
        return values, valid

    def _window(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        window = Window(x0, y0, x1 - x0, y1 - y0)
        source = self._dataset()
        if self.geobox is None and not self.native:
            sy, sx = source.height / self.shape[0], source.width / self.shape[1]
            window = Window(x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy)
        out = (y1 - y0, x1 - x0)
        pixels = source.read(
            self.indexes, window=window, out_shape=(len(self.indexes), *out), resampling=Resampling.average
        )
        if self.valid_index:
            return pixels, source.read(
                self.valid_index, window=window, out_shape=out, resampling=Resampling.nearest
            ) > 0
        mask = source.read_masks(
            self.indexes, window=window, out_shape=(len(self.indexes), *out), resampling=Resampling.nearest
        )
        return pixels, mask.any(0)  # nodata in only one band is a dark or saturated colour

    def _dataset(self) -> rasterio.DatasetReader | WarpedVRT:
        if "dataset" not in self._open:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(self.path, driver=_driver(self.path))
            if self.geobox is not None and not self.native:
                dataset = WarpedVRT(
                    dataset,
                    crs=str(self.geobox.crs),
                    transform=self.geobox.affine,
                    height=self.shape[0],
                    width=self.shape[1],
                    resampling=Resampling.average if self.source_gsd_m < self.gsd_m else Resampling.bilinear,
                    tolerance=1e-6,  # pixels: nearly exact, so no seams between windows; GDAL refuses 0
                    add_alpha=not self.valid_index and dataset.nodata is None,
                )
            self._open["dataset"] = dataset
        return self._open["dataset"]


def reason(error: BaseException) -> str:
    """Return the first line of the cause of an error, short enough for a message."""
    cause = error.__cause__ or error
    return str(cause).splitlines()[0][:120] if str(cause) else type(cause).__name__


def open_image(path: Path, card: ModelCard, *, gsd_m: float | None = None, require_crs: bool = True) -> Image:
    """Open an image for a set of weights; check its header against the card.

    Args:
        path: GeoTIFF, PNG, JPEG or JPEG 2000.
        card: card of the weights.
        gsd_m: ground sampling distance of an image without georeference, metres.
        require_crs: refuse an image without georeference.

    Raises:
        AssetReadError: the file is missing, unreadable, in another format, truncated or too large.
        GridError: no CRS although it is required, or neither CRS nor `gsd_m`.
        ModelContractError: bands, ground sampling distance or units do not fit the weights.
    """
    if not path.is_file():
        raise AssetReadError(f"image {path}: no such file", str(path))
    driver = _driver(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path, driver=driver)
    except RasterioError as error:
        raise AssetReadError(
            f"image {path.name}: not a readable {driver} file ({reason(error)}); it is truncated or damaged",
            str(path),
        ) from error
    with source:
        check_size(source, path)
        names = _band_names(source)
        dtypes = set(source.dtypes)
        units = "display_uint8" if dtypes == {"uint8"} else f"unknown ({', '.join(sorted(dtypes))})"
        if source.crs is None:
            if require_crs and gsd_m is None:
                raise GridError(f"image {path.name}: no CRS; give it one (gdal_edit.py -a_srs EPSG:… {path.name})")
            if gsd_m is None:
                raise GridError(
                    f"image {path.name}: no georeference; give its ground sampling distance with --gsd METRES"
                )
            own, projected = gsd_m, False
        else:
            own, projected = ground_gsd(source, path.name)
        check_fits(card, bands=tuple(names), gsd_m=own, units=units, source=f"image {path.name}")
        indexes = tuple(names.index(b) + 1 for b in card.bands)
        valid_index = names.index("valid") + 1 if "valid" in names else 0
        # three cases: pixel lattice without georeference, the lattice of the file, a UTM lattice
        low, high = card.native_range_m
        native_scale = low <= own <= high
        box: GeoBox | None
        if source.crs is None:
            factor = 1.0 if native_scale else own / card.gsd_m
            shape = (max(1, round(source.height * factor)), max(1, round(source.width * factor)))
            box, native, gsd = None, native_scale, own if native_scale else card.gsd_m
        elif projected and native_scale:
            box = GeoBox((source.height, source.width), source.transform, str(source.crs))
            shape, native, gsd = (source.height, source.width), True, own
        else:
            box = _lattice(source, card.gsd_m if not native_scale else own)
            shape, native, gsd = (
                (int(box.shape[0]), int(box.shape[1])),
                False,
                card.gsd_m if not native_scale else own,
            )
        check_complete(source, path)
    return Image(path.resolve(), card.bands, indexes, box, shape, gsd, native, valid_index, own)


def check_size(source: rasterio.DatasetReader, path: Path) -> None:
    """Refuse an image of which a window can only be read by decoding too many pixels.

    Raises:
        AssetReadError: the image or one of its blocks is too large.
    """
    pixels, block = source.width * source.height, max(h * w for h, w in source.block_shapes)
    limit = MAX_PIXELS if source.driver in ("GTiff", "JP2OpenJPEG") else MAX_PIXELS_UNTILED
    if pixels > limit:
        raise AssetReadError(
            f"image {path.name}: {source.width} x {source.height} pixels, "
            f"the limit for {source.driver} is {limit:,}; crop it",
            str(path),
        )
    if block > MAX_PIXELS_UNTILED:
        raise AssetReadError(
            f"image {path.name}: stored in blocks of {block:,} pixels, the limit is {MAX_PIXELS_UNTILED:,}; "
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
        with warnings.catch_warnings(), rasterio.Env(**strict):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(path, driver=source.driver)  # open again: the options act at opening
            for y in range(0, source.height, DECODE_ROWS):
                file.read(window=Window(0, y, source.width, min(DECODE_ROWS, source.height - y)))
    except (RasterioError, OSError) as error:
        raise AssetReadError(
            f"image {path.name}: cannot be decoded ({reason(error)}); it is truncated or damaged", str(path)
        ) from error


def _driver(path: Path) -> str:
    if driver := raster_driver(path):
        return driver
    raise AssetReadError(
        f"image {path.name}: its first bytes are not those of GeoTIFF, PNG, JPEG or JPEG 2000; "
        "convert it (gdal_translate)",
        str(path),
    )


def _band_names(source: rasterio.DatasetReader) -> list[str]:
    """Return band names from the descriptions, else from the colour interpretation, else 'band N'."""
    colours = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue"}
    names = []
    for i, (text, colour) in enumerate(zip(source.descriptions, source.colorinterp, strict=True), 1):
        word = (text or "").strip().lower()
        name = _ALIASES.get(word, word) or colours.get(colour) or f"band {i}"
        names.append("valid" if name == "alpha" else name)
    return names


def ground_gsd(source: rasterio.DatasetReader, name: str) -> tuple[float, bool]:
    """Return metres per pixel on the ground at the centre of the image, and whether its own lattice may be used.

    The lattice may be used if its pixels are square and north-up and a metre of the map is a metre on the ground within
    1% (UTM and similar projections; not Web Mercator).

    Raises:
        GridError: the centre of the image is not a place on Earth.
    """
    t = source.transform
    to = Transformer.from_crs(CRS.from_user_input(source.crs), CRS.from_user_input(WGS84), always_xy=True)
    col, row = source.width / 2, source.height / 2
    points = [t @ (col, row), t @ (col + 1, row), t @ (col, row + 1)]
    lon, lat = to.transform([p[0] for p in points], [p[1] for p in points])
    if not np.isfinite([*lon, *lat]).all() or t.determinant == 0:
        raise GridError(f"image {name}: its georeference is not on Earth; check its CRS {source.crs}")
    dx = GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2]
    dy = GEOD.inv(lon[0], lat[0], lon[2], lat[2])[2]
    gsd = math.sqrt(dx * dy)  # geometric mean of the two pixel sides, geodesic lengths on WGS84
    square = abs(dx / dy - 1) < 0.01 and t.b == 0 and t.d == 0 and t.e < 0 < t.a
    return gsd, bool(square and source.crs.is_projected and abs(gsd / t.a - 1) < 0.01)


def _lattice(source: rasterio.DatasetReader, gsd_m: float) -> GeoBox:
    """Return a lattice in the UTM zone of the centre of the image, on multiples of `gsd_m`."""
    if source.crs.is_projected and str(source.crs).startswith(("EPSG:326", "EPSG:327")):
        crs = str(source.crs)
        left, bottom, right, top = source.bounds
    else:
        to = Transformer.from_crs(CRS.from_user_input(source.crs), CRS.from_user_input(WGS84), always_xy=True)
        west, south, east, north = to.transform_bounds(*source.bounds)
        # zones of 6 degrees from -180; EPSG 326xx north, 327xx south
        zone = int((((west + east) / 2 + 180) % 360) // 6) + 1
        crs = f"EPSG:{(32600 if south + north >= 0 else 32700) + zone}"
        back = Transformer.from_crs(CRS.from_user_input(source.crs), CRS.from_user_input(crs), always_xy=True)
        left, bottom, right, top = back.transform_bounds(*source.bounds)
    x0, y1 = math.floor(left / gsd_m) * gsd_m, math.ceil(top / gsd_m) * gsd_m
    nx, ny = math.ceil((right - x0) / gsd_m), math.ceil((y1 - bottom) / gsd_m)
    return GeoBox((ny, nx), Affine(gsd_m, 0, x0, 0, -gsd_m, y1), crs)


def check_any_valid(image: Image) -> None:
    """Refuse an image without any valid pixel, before anything is computed.

    Raises:
        AssetReadError: every pixel is nodata, or no pixel can be read.
    """
    damaged: AssetReadError | None = None
    for window in _pieces((0, 0, *image.shape), 512):
        try:
            if image.read(*window)[1].any():
                return
        except AssetReadError as error:
            damaged = error  # a damaged block: try its smaller parts
            if any(_any_valid(image, piece) for piece in _pieces(window, 64)):
                return
    if damaged is not None:
        raise damaged
    raise AssetReadError(f"image {image.name}: every pixel is nodata; give an image with data", str(image.path))


def _any_valid(image: Image, window: tuple[int, int, int, int]) -> bool:
    try:
        return bool(image.read(*window)[1].any())
    except AssetReadError:
        return False


def _pieces(window: tuple[int, int, int, int], step: int) -> Iterator[tuple[int, int, int, int]]:
    y0, x0, y1, x1 = window
    for y in range(y0, y1, step):
        for x in range(x0, x1, step):
            yield y, x, min(y + step, y1), min(x + step, x1)
