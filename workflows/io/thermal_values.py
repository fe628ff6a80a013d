"""Values of a thermal GeoTIFF as they were meant: masks, scale and unit of the file itself.

In: an opened file and a band. Out: physical values with their validity, and the unit that the file states. A pixel is
valid if no mask (internal, `.msk`), alpha band or nodata value excludes it and it is a number. Scale and offset are
those of the band, else of the metadata of netCDF conversions, else those that the name of a known product implies.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from overwatt.aoi.errors import AssetReadError, GridError
from overwatt.aoi.file_signatures import raster_driver
from overwatt.pipeline.imagery.radiometry import PROFILES, temperature_unit
from overwatt.workflows.io.placement import Placement, placement_of
from overwatt.workflows.io.raster_checks import open_raster

_LANDSAT_ST = PROFILES["landsat_st"]
# products that store integers and no scale in the GeoTIFF: (file name, scale, offset), all in kelvin
_PRODUCTS = (
    (re.compile(r"^L[COTEM]0\d_L2S[PR]_.*_ST_B(6|10)\b"), _LANDSAT_ST.scale, _LANDSAT_ST.offset),  # USGS LSDS-1618
    # MOD11 and MOD21 user guides, VNP21 user guide, ECOSTRESS LSTE user guide: 0.02 K
    (re.compile(r"^(M[OY]D(11|21)|VNP21|VJ121|ECO2LSTE|ECOSTRESS_L2_LSTE).*LST", re.IGNORECASE), 0.02, 0.0),
)
_NO_UNIT = ("", "1", "none", "unitless", "dimensionless", "n/a", "unknown", "metre")  # metre: written by default


@dataclass(frozen=True)
class Meaning:
    """What the stored numbers of a band mean: physical = stored * scale + offset.

    Attributes:
        scale: factor.
        offset: added after scaling.
        unit: 'kelvin', 'celsius' or 'fahrenheit'; '' if the file does not state it.
        origin: where the scale comes from, for messages; '' if the numbers are physical values.
    """

    scale: float
    offset: float
    unit: str
    origin: str


@contextmanager
def opened(path: Path) -> Iterator[rasterio.DatasetReader]:
    """Open a GeoTIFF for reading.

    Raises:
        AssetReadError: it is not a GeoTIFF by its first bytes, damaged, or too large.
    """
    if path.is_file() and raster_driver(path) != "GTiff":
        raise AssetReadError(f"{path.name}: not a GeoTIFF by its first bytes; convert it (gdal_translate)", str(path))
    with open_raster(path, "thermal") as file:
        yield file


def check_georeference(file: rasterio.DatasetReader, name: str) -> Placement:
    """Return where the pixels of a file lie on the Earth by its own CRS and geotransform.

    Raises:
        GridError: control points only, no CRS, a CRS that is not of the Earth, or no transform.
    """
    place = placement_of(file, name, what="thermal")
    if place is None:
        raise GridError(f"thermal {name}: no CRS and no position; give a georeferenced GeoTIFF")
    if file.crs is None or file.transform.is_identity:
        raise GridError(
            f"thermal {name}: placed by control points only; warp it into a new file: "
            f"gdalwarp -t_srs EPSG:… {name} warped.tif"
        )
    return place


def value_bands(file: rasterio.DatasetReader) -> list[int]:
    """Return the 1-based indexes of the bands that hold values, not opacity."""
    return [b for b, kind in zip(file.indexes, file.colorinterp, strict=True) if kind != ColorInterp.alpha]


def meaning_of(file: rasterio.DatasetReader, band: int, name: str) -> Meaning:
    """Return what the numbers of a band mean by the file itself.

    Raises:
        AssetReadError: the file states a unit that is no known unit of temperature, or an unusable scale.
    """
    tags = _tags(file, band)
    text = next((t for t in (file.units[band - 1], tags.get("units"), tags.get("unit")) if t), "").strip()
    unit = temperature_unit(text)
    if unit is None and text.lower() not in (*_NO_UNIT, "dn", "digital number", "digital numbers", "counts"):
        raise AssetReadError(
            f"{name}: states its unit as '{text[:40]}'; give a file in K or degC, with scale and offset if it is scaled"
        )
    scale, offset, origin = float(file.scales[band - 1]), float(file.offsets[band - 1]), "the file"
    if (scale, offset) == (1.0, 0.0):
        try:
            scale, offset = float(tags.get("scale_factor", 1)), float(tags.get("add_offset", 0))
        except ValueError as error:
            raise AssetReadError(f"{name}: its metadata scale_factor, add_offset are not numbers") from error
    integers = np.issubdtype(np.dtype(file.dtypes[band - 1]), np.integer)
    if (scale, offset) == (1.0, 0.0) and integers:
        product = next((p for p in _PRODUCTS if p[0].search(name)), None)
        if product is not None:
            _, scale, offset = product
            unit, origin = unit or "kelvin", "its product name"
    if not (math.isfinite(scale) and math.isfinite(offset) and scale > 0):
        raise AssetReadError(f"{name}: states scale {scale:g} and offset {offset:g}; the scale must be above 0")
    return Meaning(scale, offset, unit or "", "" if (scale, offset) == (1.0, 0.0) else origin)


def stored_values(
    file: rasterio.DatasetReader, band: int, window: Window | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stored numbers of a band (y, x) float64, and which of them are valid (y, x) bool."""
    values = file.read(band, window=window).astype(np.float64)
    valid = np.isfinite(values) & (file.read_masks(band, window=window) > 0)
    # GDAL gives one mask: that of a mask file hides nodata, and both hide an alpha band
    nodata = file.nodatavals[band - 1]
    if nodata is not None and not np.isnan(nodata):
        valid &= values != np.dtype(file.dtypes[band - 1]).type(nodata)
    tags = _tags(file, band)
    for key in ("_fillvalue", "missing_value"):  # of netCDF conversions, in stored numbers
        with contextlib.suppress(KeyError, ValueError):
            valid &= values != float(tags[key])
    for alpha in set(file.indexes) - set(value_bands(file)):
        valid &= file.read(alpha, window=window) > 0
    return values, valid


def _tags(file: rasterio.DatasetReader, band: int) -> dict[str, str]:
    """Return the metadata of a band over those of the file, by lower-case key; netCDF writes `variable#key`."""
    return {
        key.rpartition("#")[2].lower(): value
        for tags in (file.tags(), file.tags(band))
        for key, value in tags.items()
        if not key.startswith("NC_GLOBAL#")
    }
