"""Surface temperature anomaly next to optical imagery, on the same lattice and in the same windows.

In: a GeoTIFF of kelvin above the surroundings (thermal excess) on any grid, and the source of the optical pixels. Out:
a source that returns the thermal bands of the card after the optical ones, NaN where nothing was measured.
The raster is resampled bilinearly onto the whole optical lattice, and windows are cut from it, so the value of a pixel
does not depend on the window. Masks, nodata, scale and offset of the file apply first (workflows/io/thermal_values.py).
Only weights with thermal bands use it, and the sensor must be sharp enough to separate a cooling yard from its hall.
Pixels far from 0 are nodata, and a file with mostly such is refused: absolute temperatures are easily given by mistake.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags, Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from overwatt.aoi.errors import AssetReadError, GridError, ModelContractError
from overwatt.models.detector.card import ModelCard
from overwatt.pipeline.imagery.radiometry import is_fill
from overwatt.workflows.io.raster_checks import DECODE_ROWS, READ_ERRORS, check_complete, check_size, reason
from overwatt.workflows.io.thermal_values import check_georeference, meaning_of, opened, stored_values, value_bands

if TYPE_CHECKING:
    from overwatt.workflows.io.source import Source

MAX_GSD_M = 40.0
"""Coarser pixels mix hall, yard and car park; the weights were trained with point spreads of 3.5 to 30 m."""
MAX_EXCESS_K = 200.0
"""Limit of |excess|, own choice: no roof, stack or yard reaches it; absolute temperatures in kelvin exceed it."""
MAX_PIXELS = 400_000_000  # every pixel is checked; own choice: 20 x 20 km at 1 m


@dataclass(frozen=True)
class ExcessRaster:
    """A raster of thermal excess on the lattice of an image. Picklable: each process opens the file itself.

    Attributes:
        path: the file.
        bands: number of its bands.
        geobox: lattice of the image.
        plain: whether the stored numbers are kelvin, with NaN or the declared nodata where nothing was measured.
    """

    path: Path
    bands: int
    geobox: GeoBox
    plain: bool = True
    _open: dict[int, WarpedVRT] = field(default_factory=dict, compare=False, repr=False, hash=False)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_open": {}}

    def read(self, y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
        """Return (band, y, x) float32 kelvin above the surroundings of a window, NaN where not measured.

        Raises:
            AssetReadError: the file is truncated or damaged there.
        """
        ny, nx = self.geobox.shape
        out = np.full((self.bands, y1 - y0, x1 - x0), np.nan, np.float32)
        a0, b0, a1, b1 = max(y0, 0), max(x0, 0), min(y1, ny), min(x1, nx)
        if a0 < a1 and b0 < b1:
            try:
                out[:, a0 - y0 : a1 - y0, b0 - x0 : b1 - x0] = self._warped().read(
                    window=Window(b0, a0, b1 - b0, a1 - a0)
                )
            except READ_ERRORS as error:
                raise AssetReadError(
                    f"{self.path.name}: cannot be read at rows {a0}-{a1}, columns {b0}-{b1} ({reason(error)}); "
                    "the file is truncated or damaged",
                    str(self.path),
                    (a0, b0, a1, b1),
                ) from error
        return out

    def _warped(self) -> WarpedVRT:
        own = threading.get_ident()  # GDAL datasets are not safe to share between threads
        if own not in self._open:
            source = rasterio.open(self.path, driver="GTiff") if self.plain else _measured_copy(self.path, self.bands)
            self._open[own] = WarpedVRT(
                source,
                crs=str(self.geobox.crs),
                transform=self.geobox.affine,
                height=int(self.geobox.shape[0]),
                width=int(self.geobox.shape[1]),
                resampling=Resampling.bilinear,
                tolerance=1e-6,  # pixels: nearly exact, so no seams between windows; GDAL refuses 0
                src_nodata=np.nan if source.nodata is None else source.nodata,
                nodata=np.nan,
                dtype="float32",
            )
        return self._open[own]


@dataclass(frozen=True)
class WithThermal:
    """Optical pixels with the thermal bands after them; a `Source`."""

    optical: Source
    thermal: ExcessRaster

    @property
    def name(self) -> str:
        """Name of the optical imagery."""
        return self.optical.name

    @property
    def remote(self) -> bool:
        """Whether reads of the optical imagery cross a network."""
        return self.optical.remote

    @property
    def date(self) -> str | None:
        """Acquisition date of the optical imagery."""
        return self.optical.date

    @property
    def left_out(self) -> tuple[str, ...]:
        """Scenes of the optical imagery that are not read, with reasons."""
        return self.optical.left_out

    @property
    def geobox(self) -> GeoBox | None:
        """Lattice; None without georeference."""
        return self.optical.geobox

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the lattice."""
        return self.optical.shape

    @property
    def gsd_m(self) -> float:
        """Metres per pixel."""
        return self.optical.gsd_m

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values (band, y, x) float32, optical 0..1, then thermal, kelvin or NaN; valid (y, x) of the optical.

        Raises:
            AssetReadError: a file is truncated or damaged there.
        """
        values, valid = self.optical.read(y0, x0, y1, x1)
        return np.concatenate([values, self.thermal.read(y0, x0, y1, x1)]), valid


def open_excess(path: Path, source: Source, card: ModelCard) -> ExcessRaster:
    """Open a raster of thermal excess for an image and weights; check header and values.

    Args:
        path: GeoTIFF of kelvin above the surroundings, floating-point or with a scale; one band per thermal band of
            the card.
        source: the optical imagery.
        card: card of the weights.

    Raises:
        ModelContractError: the weights take no thermal bands or another number of them, or pixels exceed `MAX_GSD_M`.
        AssetReadError: the file is missing, damaged or too large, holds unscaled integers, or has no or impossible
            values.
        GridError: the file or the image has no place on Earth, or they do not overlap.
    """
    if not card.thermal_bands:
        raise ModelContractError(
            f"thermal {path.name}: weights '{card.name}' take no thermal bands; give weights that do (--weights) "
            "or leave the thermal file out"
        )
    if source.geobox is None:
        raise GridError(
            f"thermal {path.name}: image {source.name} has no CRS, so the two cannot be aligned; give it one"
        )
    if not path.is_file():
        raise AssetReadError(f"thermal {path}: no such file", str(path))
    try:
        with opened(path) as file:
            _check_header(file, path, source, card)
            plain = _check_values(file, path)
            return ExcessRaster(path.resolve(), len(value_bands(file)), source.geobox, plain)
    except READ_ERRORS as error:
        raise AssetReadError(
            f"thermal {path.name}: cannot be read ({reason(error)}); it is truncated or damaged", str(path)
        ) from error


def _check_header(file: rasterio.DatasetReader, path: Path, source: Source, card: ModelCard) -> None:
    check_size(file, path)
    if file.width * file.height > MAX_PIXELS:
        raise AssetReadError(
            f"thermal {path.name}: {file.width} x {file.height} pixels, the limit is {MAX_PIXELS:,}; crop it"
        )
    bands = value_bands(file)
    for band in bands:
        meaning, dtype = meaning_of(file, band, path.name), file.dtypes[band - 1]
        if np.issubdtype(np.dtype(dtype), np.integer) and not meaning.origin:
            raise AssetReadError(
                f"thermal {path.name}: holds {dtype}; give floating-point kelvin above the surroundings, not counts"
            )
        if meaning.unit == "fahrenheit":
            raise AssetReadError(f"thermal {path.name}: states degrees Fahrenheit; give kelvin above the surroundings")
    if len(bands) != len(card.thermal_bands):
        raise ModelContractError(
            f"thermal {path.name}: {len(bands)} bands; weights '{card.name}' take {', '.join(card.thermal_bands)}"
        )
    place = check_georeference(file, path.name)
    if place.gsd_m > MAX_GSD_M:
        raise ModelContractError(
            f"thermal {path.name}: {place.gsd_m:.0f} m per pixel, the limit is {MAX_GSD_M:g} m; public thermal "
            "satellites are too coarse for the detector: give their acquisitions as thermal.stack"
        )
    own = GeoBox((file.height, file.width), file.transform, file.crs.to_wkt()).geographic_extent
    assert source.geobox is not None
    if not own.intersects(source.geobox.geographic_extent):
        raise GridError(f"thermal {path.name}: lies outside image {source.name}; give a file of the same area")
    check_complete(file, path)


def _check_values(file: rasterio.DatasetReader, path: Path) -> bool:
    """Refuse values that are no thermal excess; return whether GDAL alone reads the file as it is meant."""
    measured, plain = False, value_bands(file) == list(file.indexes)
    for band in value_bands(file):
        meaning = meaning_of(file, band, path.name)
        plain &= not meaning.origin and file.mask_flag_enums[band - 1] in ([MaskFlags.all_valid], [MaskFlags.nodata])
        far_pixels = valid_pixels = 0
        sample = 0.0
        for rows in _stripes(file):
            stored, valid = stored_values(file, band, rows)
            values = stored * meaning.scale + meaning.offset
            # infinite values are far, not missing: a division by zero made them
            far = (np.abs(values) > MAX_EXCESS_K) & (valid | np.isinf(stored))
            plain &= not far.any()
            strange = far & ~is_fill(stored) | np.isinf(stored)
            sample = float(values[strange][0]) if strange.any() and not far_pixels else sample
            far_pixels += int(strange.sum())
            valid_pixels += int((valid & ~far).sum())
        if far_pixels > valid_pixels:
            raise AssetReadError(
                f"thermal {path.name}: holds {sample:g}, the limit is {MAX_EXCESS_K:g} K; give kelvin above "
                "the surroundings, not temperatures, and state nodata"
            )
        measured |= valid_pixels > 0
    if not measured:
        raise AssetReadError(f"thermal {path.name}: every pixel is nodata; leave the file out")
    return plain


def _stripes(file: rasterio.DatasetReader) -> Iterator[Window]:
    for y in range(0, file.height, DECODE_ROWS):
        yield Window(0, y, file.width, min(DECODE_ROWS, file.height - y))


def _measured_copy(path: Path, bands: int) -> rasterio.DatasetReader:
    """Return a copy in memory: kelvin above the surroundings, NaN where masked, missing or impossible."""
    memory = MemoryFile()
    with opened(path) as file:
        shape = {"count": bands, "height": file.height, "width": file.width, "dtype": "float32", "nodata": np.nan}
        place = {"crs": file.crs, "transform": file.transform, "compress": "deflate"}
        with memory.open(driver="GTiff", **shape, **place) as copy:
            for k, band in enumerate(value_bands(file), 1):
                meaning = meaning_of(file, band, path.name)
                for rows in _stripes(file):
                    stored, valid = stored_values(file, band, rows)
                    values = np.where(valid, stored * meaning.scale + meaning.offset, np.nan)
                    values[np.abs(values) > MAX_EXCESS_K] = np.nan
                    copy.write(values.astype(np.float32), k, window=rows)
    return memory.open()
