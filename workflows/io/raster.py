"""One raster file on a lattice: its pixels in windows, and which of them it masks.

In: what was found out about a file when it was opened (`bands`, `placement`). Out: `Raster`, which returns any window
as 8-bit values with its masks, on the file's own pixels or warped once. `overwatt.pipeline.imagery.validity` decides
from these what counts as looked at, for files and catalogues alike.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from overwatt.pipeline.imagery.validity import Raw
from overwatt.workflows.io.bands import OPAQUE, Marks
from overwatt.workflows.io.placement import Placement
from overwatt.workflows.io.raster_checks import quiet

_ANY_METRES = "EPSG:32631"
_NO_VALUE = 256  # outside of uint8: switches the nodata value of a file off, so that its mask counts


@dataclass(frozen=True)
class Raster:
    """Bands of one file on a lattice. Picklable: each process opens the file itself.

    Attributes:
        address: path, or http(s) address without signature.
        driver: GDAL driver that may open it.
        indexes: 1-based bands.
        marks: how the file marks pixels without data.
        size: (height, width) of the file, pixels.
        geobox: the lattice; None without georeference.
        shape: (ny, nx) of the lattice.
        placement: where the file lies; None without georeference.
        coarser: whether pixels of the lattice are larger than those of the file, so that these are averaged.
    """

    address: str
    driver: str
    indexes: tuple[int, ...]
    marks: Marks
    size: tuple[int, int]
    geobox: GeoBox | None
    shape: tuple[int, int]
    placement: Placement | None
    coarser: bool
    _open: dict[int, rasterio.DatasetReader | WarpedVRT] = field(
        default_factory=dict, compare=False, repr=False, hash=False
    )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}

    @property
    def native(self) -> bool:
        """Whether the lattice is that of the file."""
        if self.geobox is None or self.placement is None:
            return self.shape == self.size
        same = self.placement.transform == self.geobox.affine and self.shape == self.size
        return same and str(self.geobox.crs) == self.placement.crs and not self.placement.changed

    def read(self, y0: int, x0: int, y1: int, x1: int) -> Raw:
        """Return (pixels, masked, empty) of a window of the lattice; outside of it pixels are 0 and masked.

        Raises:
            RasterioError, OSError: the file cannot be read there.
        """
        return self._read((y0, x0, y1, x1), self._dataset())

    def read_signed(self, window: tuple[int, int, int, int], sign: Callable[[str], str]) -> Raw:
        """Return the same from an address signed for this read alone; nothing stays open.

        Raises:
            RasterioError, OSError: the file cannot be read there.
        """
        with self._warped(sign(self.address)) as dataset:
            return self._read(window, dataset)

    def _read(self, window: tuple[int, int, int, int], dataset: rasterio.DatasetReader | WarpedVRT) -> Raw:
        y0, x0, y1, x1 = window
        ny, nx = self.shape
        pixels = np.zeros((len(self.indexes), y1 - y0, x1 - x0), np.uint8)
        masked = np.ones((y1 - y0, x1 - x0), bool)
        empty = np.zeros(pixels.shape, bool)
        a0, b0, a1, b1 = max(y0, 0), max(x0, 0), min(y1, ny), min(x1, nx)
        if a0 < a1 and b0 < b1:
            inner = (slice(a0 - y0, a1 - y0), slice(b0 - x0, b1 - x0))
            pixels[:, *inner], masked[inner], empty[:, *inner] = self._inside(dataset, a0, b0, a1, b1)
        return pixels, masked, empty

    def _inside(self, dataset: rasterio.DatasetReader | WarpedVRT, y0: int, x0: int, y1: int, x1: int) -> Raw:
        window, out, marks = Window(x0, y0, x1 - x0, y1 - y0), (y1 - y0, x1 - x0), self.marks
        pixels = dataset.read(self.indexes, window=window)

        def mark(band: int) -> np.ndarray:
            return dataset.read(band, window=window)

        masked = np.zeros(out, bool)
        if marks.valid:
            masked |= mark(marks.valid) == 0
        if isinstance(dataset, WarpedVRT):
            masked |= mark(marks.alpha or dataset.count) < OPAQUE  # its own alpha band, else the one that was added
        elif marks.alpha:
            masked |= mark(marks.alpha) < OPAQUE
        if marks.mask and not isinstance(dataset, WarpedVRT):
            masked |= dataset.read_masks(self.indexes[0], window=window) == 0
        empty = np.stack(
            [np.zeros(out, bool) if v is None else band == v for band, v in zip(pixels, marks.nodata, strict=True)]
        )
        masked |= empty.all(0)  # nodata in one band only may be a dark or a saturated colour
        return pixels, masked, empty

    def _dataset(self) -> rasterio.DatasetReader | WarpedVRT:
        # GDAL datasets are not safe to share: each thread opens the file itself
        own = threading.get_ident()
        if own not in self._open:
            self._open[own] = self._warped(self.address)
        return self._open[own]

    def _warped(self, address: str) -> rasterio.DatasetReader | WarpedVRT:
        with quiet():
            dataset = rasterio.open(address, driver=self.driver)
        if self.native:
            return dataset
        place: dict[str, object] = {}
        if self.geobox is None or self.placement is None:
            # without a place on Earth: the file in pixels of any grid in metres, the lattice over it
            crs, (ny, nx) = _ANY_METRES, self.shape
            transform = Affine(dataset.width / nx, 0, 0, 0, -dataset.height / ny, 0)
            place = {"src_crs": crs, "src_transform": Affine(1, 0, 0, 0, -1, 0)}
        else:
            crs, transform = str(self.geobox.crs), self.geobox.affine
            if self.placement.changed:
                place = {"src_crs": self.placement.crs, "src_transform": self.placement.transform}
        if self.marks.mask and any(v is not None for v in self.marks.nodata):
            place["src_nodata"] = _NO_VALUE  # else GDAL would look at the value alone
        return WarpedVRT(
            dataset,
            crs=crs,
            transform=transform,
            height=self.shape[0],
            width=self.shape[1],
            resampling=Resampling.average if self.coarser else Resampling.bilinear,
            tolerance=1e-6,  # pixels: nearly exact, so no seams between windows; GDAL refuses 0
            add_alpha=not self.marks.alpha,
            **place,
        )


def window_px(placement: Placement, box: GeoBox) -> tuple[int, int, int, int]:
    """Return the window (y0, x0, y1, x1) of a lattice that a raster reaches, clipped to the lattice; may be empty."""
    left, bottom, right, top = placement.bounds(str(box.crs))
    inverse: Affine = ~box.affine
    (x0, y0), (x1, y1) = inverse @ (left, top), inverse @ (right, bottom)
    ny, nx = box.shape
    return max(math.floor(y0), 0), max(math.floor(x0), 0), min(math.ceil(y1), ny), min(math.ceil(x1), nx)
