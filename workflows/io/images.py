"""Image files: checked, opened, and read in windows on one pixel lattice. No file is trusted.

In: a path and the card of the weights. Out: an `Image` that returns any pixel window as (band, y, x) float32 in 0..1
with its validity. Pixels close to the ground sampling distance of the network are used without resampling. Finer pixels
are averaged onto a lattice of that distance; the card refuses coarser ones. Grids in degrees, Web Mercator and rotated
or mirrored grids are warped once, to the UTM zone. Pixels are read only after the header has been checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox

from overwatt.aoi.errors import AssetReadError, GridError, ModelContractError
from overwatt.models.detector.card import ModelCard, check_fits
from overwatt.pipeline.imagery.validity import Raw, looked_at
from overwatt.workflows.io import bands
from overwatt.workflows.io.placement import Placement, placement_of
from overwatt.workflows.io.raster import Raster
from overwatt.workflows.io.raster_checks import READ_ERRORS, check_complete, content_sha256, open_raster, reason


@dataclass(frozen=True)
class Image:
    """An image file on its working lattice. Picklable: each process opens the file itself.

    Attributes:
        path: the file.
        raster: its bands on the lattice.
        gsd_m: metres per lattice pixel.
        source_gsd_m: metres per pixel of the file.
        remote: whether reads cross a network; False for files.
    """

    path: Path
    raster: Raster
    gsd_m: float
    source_gsd_m: float
    remote: bool = False

    @property
    def date(self) -> str | None:
        """None: an image file states no date that can be trusted; the workflow file may (`imagery.date`)."""
        return None

    @property
    def left_out(self) -> tuple[str, ...]:
        """Nothing: a file that does not fit the weights is refused."""
        return ()

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    @property
    def geobox(self) -> GeoBox | None:
        """The lattice; None without georeference."""
        return self.raster.geobox

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the lattice."""
        return self.raster.shape

    @property
    def native(self) -> bool:
        """Whether the lattice is that of the file."""
        return self.raster.native

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file and of the files beside it that are read with it."""
        return content_sha256(self.path)

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values (band, y, x) float32 in 0..1 and valid (y, x) bool of a window of the lattice.

        Pixels outside the image, masked ones and voids are zero and not valid.

        Raises:
            AssetReadError: the file is truncated or damaged there.
        """
        try:
            pixels, valid = looked_at(self.raster.read, (y0, x0, y1, x1), self.gsd_m, self._beyond)
        except READ_ERRORS as error:
            raise AssetReadError(
                f"{self.name}: cannot be read at rows {max(y0, 0)}-{min(y1, self.shape[0])}, "
                f"columns {max(x0, 0)}-{min(x1, self.shape[1])} ({reason(error)}); the file is truncated or damaged",
                str(self.path),
                (y0, x0, y1, x1),
            ) from error
        return pixels.astype(np.float32) / 255.0, valid

    def _beyond(self, y0: int, x0: int, y1: int, x1: int) -> Raw:
        """Read the surroundings of a window; what is damaged there counts as masked, in squares of a fixed lattice."""
        try:
            return self.raster.read(y0, x0, y1, x1)
        except READ_ERRORS:
            pixels = np.zeros((len(self.raster.indexes), y1 - y0, x1 - x0), np.uint8)
            masked, empty = np.ones((y1 - y0, x1 - x0), bool), np.zeros(pixels.shape, bool)
            for a0, b0, a1, b1 in _pieces((y0 // 64 * 64, x0 // 64 * 64, y1, x1), 64):
                a0, b0 = max(a0, y0), max(b0, x0)
                piece = (slice(a0 - y0, a1 - y0), slice(b0 - x0, b1 - x0))
                with contextlib.suppress(*READ_ERRORS):
                    pixels[:, *piece], masked[piece], empty[:, *piece] = self.raster.read(a0, b0, a1, b1)
            return pixels, masked, empty


def open_image(path: Path, card: ModelCard, *, gsd_m: float | None = None, require_crs: bool = True) -> Image:
    """Open an image for a set of weights; check its header against the card.

    Args:
        path: GeoTIFF, PNG, JPEG or JPEG 2000.
        card: card of the weights.
        gsd_m: ground sampling distance of an image without georeference, metres.
        require_crs: refuse an image without georeference.

    Raises:
        AssetReadError: the file is missing, unreadable, in another format, truncated or too large.
        GridError: no usable georeference although it is required, or neither georeference nor `gsd_m`.
        ModelContractError: bands, ground sampling distance or units do not fit the weights.
    """
    with open_raster(path) as source:
        try:
            raster, gsd, own = _fitted(source, path, card, gsd_m, require_crs)
        except READ_ERRORS as error:
            raise AssetReadError(
                f"image {path.name}: its header cannot be read ({reason(error)}); it is damaged", str(path)
            ) from error
        except UnicodeDecodeError as error:  # names of bands or tags
            raise AssetReadError(f"image {path.name}: its metadata are no text; it is damaged", str(path)) from error
    return Image(path.resolve(), raster, gsd, own)


def _fitted(
    source: rasterio.DatasetReader, path: Path, card: ModelCard, gsd_m: float | None, require_crs: bool
) -> tuple[Raster, float, float]:
    """Return an opened image on its lattice, and metres per pixel of the lattice and of the file."""
    unplaced = source.crs is None or source.transform.is_identity
    place = None if gsd_m is not None and unplaced else placement_of(source, path.name)
    indexes = fitting_bands(source, card, f"image {path.name}", path.name)
    box = None
    if place is None:
        shape, own, gsd = _unplaced(source, path.name, card, gsd_m, require_crs)
    else:
        own, gsd = place.gsd_m, working_gsd(place, card, f"image {path.name}")
        box = place.lattice(gsd)
        shape = int(box.shape[0]), int(box.shape[1])
    check_complete(source, path)
    marks = bands.marks_of(source, bands.names_of(source), indexes)
    raster = Raster(
        str(path.resolve()), source.driver, indexes, marks, (source.height, source.width), box, shape, place,
        coarser=own < gsd,
    )  # fmt: skip
    if not raster.native:
        _check_warp(raster, source, path.name)
    return raster, gsd, own


def _check_warp(raster: Raster, source: rasterio.DatasetReader, name: str) -> None:
    """Refuse an image whose masks would not survive the warp to its lattice."""
    if raster.marks.measured_alpha:
        raise ModelContractError(
            f"image {name}: a band is tagged alpha but holds measured values, so it cannot be warped; say "
            f"so: rio edit-info {name} --colorinterp {bands.without_alpha(source)}"
        )
    if raster.marks.alpha and raster.marks.mask:
        target = raster.geobox.crs if raster.geobox is not None else "EPSG:…"
        raise ModelContractError(
            f"image {name}: it has an alpha band and a mask, of which only one can be warped; warp it first: "
            f"rio warp {name} warped.tif --dst-crs {target}"
        )


def fitting_bands(source: rasterio.DatasetReader, card: ModelCard, what: str, name: str) -> tuple[int, ...]:
    """Return the 1-based indexes of the card's bands in a file, all of the type that the card expects.

    Raises:
        ModelContractError: a band is missing or of another type.
    """
    names = bands.names_of(source)
    missing = [b for b in card.bands if b not in names]
    if missing and (helps := bands.hint(source, name)):
        raise ModelContractError(
            f"{what}: weights '{card.name}' need bands {', '.join(card.bands)}; missing {missing[0]}: {helps}"
        )
    own = card.gsd_m  # the ground size is checked with the placement
    indexes = tuple(names.index(b) + 1 for b in card.bands if b in names)
    types = sorted({source.dtypes[i - 1] for i in indexes})
    units = "display_uint8" if types == ["uint8"] else f"unknown ({', '.join(types)})"
    check_fits(card, bands=tuple(names), gsd_m=own, units=units, source=what)
    return indexes


def working_gsd(place: Placement, card: ModelCard, what: str) -> float:
    """Return the metres per pixel of the lattice to work on: the file's own, or the card's if the file is finer.

    Raises:
        ModelContractError: the pixels are outside the range of the card, in the middle or in a corner.
    """
    for gsd_m in (place.gsd_m, *place.gsd_range_m):
        check_fits(card, bands=card.bands, gsd_m=gsd_m, units=card.units, source=what)
    low, high = card.native_range_m
    return place.gsd_m if low <= place.gsd_m <= high else card.gsd_m


def _unplaced(
    source: rasterio.DatasetReader, name: str, card: ModelCard, gsd_m: float | None, require_crs: bool
) -> tuple[tuple[int, int], float, float]:
    """Return lattice shape, metres per pixel of the file and of the lattice, for an image without georeference."""
    if gsd_m is None:
        needs = "a run needs a georeferenced image" if require_crs else ""
        raise GridError(
            f"image {name}: no georeference (no CRS and no position)"
            + (f"; {needs}" if needs else "; give its ground sampling distance with --gsd METRES")
        )
    check_fits(card, bands=card.bands, gsd_m=gsd_m, units=card.units, source=f"image {name}")
    low, high = card.native_range_m
    if low <= gsd_m <= high:
        return (source.height, source.width), gsd_m, gsd_m
    factor = gsd_m / card.gsd_m
    shape = max(1, round(source.height * factor)), max(1, round(source.width * factor))
    return shape, gsd_m, card.gsd_m


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
    raise AssetReadError(
        f"image {image.name}: no pixel shows ground: all are nodata, masked, black (0-3 of 255 in all bands) or "
        "white; give an image with data, in 8-bit display values",
        str(image.path),
    )


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
