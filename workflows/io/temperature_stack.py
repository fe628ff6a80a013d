"""Surface temperature files, read into one stack.

In: GeoTIFF paths, one acquisition per band, and the unit of their values. Out: (time, y, x) kelvin with NaN
at nodata, and the grid. All files must share one grid, because acquisitions are compared pixel by pixel,
and resampling would blur the few pixels of a site. Headers are checked before pixels are read. Values that
contradict the unit are refused: kelvin and Celsius are easily confused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from overwatt.aoi.errors import AssetReadError, ConfigError, GridError
from overwatt.aoi.file_signatures import raster_driver
from overwatt.pipeline.imagery.radiometry import PROFILES, SensorProfile, to_kelvin

Unit = Literal["celsius", "kelvin", "landsat_dn"]
MAX_BYTES = 4_000_000_000
"""Largest stack, float32 in memory; own choice: twelve acquisitions of a whole Landsat scene take 2.9e9 bytes."""
COLDEST_MEDIAN_K, HOTTEST_MEDIAN_K = 200.0, 360.0
"""An acquisition with a median outside this range is in another unit: no scene on Earth is that cold or hot.

Own choice; 175-354 K are the extremes of single places seen from orbit (docs/methods.md, section 3.1).
"""

# date of acquisition in Landsat Collection product ids: LXSS_LLLL_PPPRRR_YYYYMMDD_...
_LANDSAT = re.compile(r"L[COT]0[4-9]_L\w{3}_\d{6}_(\d{4})(\d{2})(\d{2})_")
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")


def load_stack(paths: Sequence[Path | str], *, unit: Unit) -> tuple[xr.DataArray, GeoBox]:
    """Read acquisitions of surface temperature into one stack, earliest first.

    Args:
        paths: GeoTIFFs on one grid; each band is an acquisition.
        unit: unit of the stored values; 'landsat_dn' for Collection 2 ST_B10 integers as distributed.

    Returns:
        (stack, grid): stack (time, y, x) float32 kelvin, NaN at nodata. `time` is text: the ISO date from the
        description of the band or from the file name; without a date, the file name (and the band).

    Raises:
        ConfigError: no file is given, or the unit is unknown.
        AssetReadError: a file cannot be read, or its values contradict the unit.
        GridError: a file has no CRS or another grid than the first, or the stack would be too large.
    """
    files = [Path(p) for p in paths]
    if not files:
        raise ConfigError("no temperature file matched; check thermal.path")
    profiles = {
        "celsius": PROFILES["landsat_st_celsius"],
        "kelvin": SensorProfile("kelvin", ("lst",), "kelvin", 1.0, 0.0, None, 30.0, 1000.0),
        "landsat_dn": PROFILES["landsat_st"],
    }
    if unit not in profiles:
        raise ConfigError(f"thermal unit '{unit}' is unknown; use one of {', '.join(profiles)}")
    geobox, bands = _headers(files)
    acquisitions: list[tuple[str, np.ndarray]] = []
    for path, count in zip(files, bands, strict=True):
        acquisitions += [_read(path, band, count, profiles[unit]) for band in range(1, count + 1)]
    acquisitions.sort(key=lambda labelled: labelled[0])
    stack = xr.DataArray(
        np.stack([values for _, values in acquisitions]),
        dims=("time", "y", "x"),
        coords={"time": [label for label, _ in acquisitions]},
        name="lst_k",
        attrs={"units": "K"},
    )
    return stack, geobox


def _headers(files: Sequence[Path]) -> tuple[GeoBox, list[int]]:
    """Check that all files share one grid and fit into memory; return the grid and the number of bands of each."""
    grids: list[GeoBox] = []
    counts: list[int] = []
    for path in files:
        try:
            with rasterio.open(path, driver=_tiff(path)) as file:
                if file.crs is None:
                    raise GridError(f"{path.name}: has no CRS; give a georeferenced GeoTIFF")
                grids.append(own := GeoBox((file.height, file.width), file.transform, file.crs.to_string()))
                counts.append(file.count)
        except (RasterioError, OSError) as error:
            raise AssetReadError(f"{path.name}: cannot be opened ({error}); is it a GeoTIFF?", str(path)) from error
        if difference := _difference(grids[0], own):
            raise GridError(f"{path.name}: {difference} as in {files[0].name}; give files on one grid")
        size = sum(counts) * own.shape[0] * own.shape[1] * 4
        if size > MAX_BYTES:
            raise GridError(
                f"{path.name}: with this file the temperature stack would take {size / 1e9:.1f} GB, the limit is "
                f"{MAX_BYTES / 1e9:g} GB; crop the files to the area or give fewer of them"
            )
    return grids[0], counts


def _tiff(path: Path) -> str:
    if raster_driver(path) != "GTiff":
        raise AssetReadError(f"{path.name}: not a GeoTIFF by its first bytes; convert it (gdal_translate)", str(path))
    return "GTiff"


def _difference(first: GeoBox, other: GeoBox) -> str:
    if first.crs != other.crs:
        return f"CRS {other.crs} is not {first.crs}"
    if first.shape != other.shape:
        return f"{tuple(other.shape)} pixels (rows, columns) are not {tuple(first.shape)}"
    # up to a thousandth of a pixel is rounding of headers, not a shift
    if not first.affine.almost_equals(other.affine, precision=1e-3 * abs(first.affine.a)):
        return f"corner and pixel size {tuple(other.affine)[:6]} are not {tuple(first.affine)[:6]}"
    return ""


def _read(path: Path, band: int, count: int, profile: SensorProfile) -> tuple[str, np.ndarray]:
    try:
        with rasterio.open(path, driver=_tiff(path)) as file:
            stored = file.read(band)
            nodata, text = file.nodatavals[band - 1], file.descriptions[band - 1] or ""
    except (RasterioError, OSError) as error:
        raise AssetReadError(
            f"{path.name}: band {band} cannot be read ({error}); the file may be truncated", str(path)
        ) from error
    valid = None if nodata is None or np.isnan(nodata) else stored != nodata
    try:
        lst_k, _ = to_kelvin(stored, profile, valid)
    except ConfigError as error:
        raise AssetReadError(f"{path.name}: unit looks wrong ({error}); check thermal.unit", str(path)) from error
    if np.isfinite(lst_k).any() and not COLDEST_MEDIAN_K <= (k := float(np.nanmedian(lst_k))) <= HOTTEST_MEDIAN_K:
        raise AssetReadError(
            f"{path.name}: unit looks wrong: read as {profile.units}, the median of band {band} is {k:.1f} K; "
            "check thermal.unit",
            str(path),
        )
    return _label(path, text, band, count), lst_k


def _label(path: Path, description: str, band: int, count: int) -> str:
    for pattern, text in ((_DATE, description), (_LANDSAT, path.name), (_DATE, path.name)):
        if found := pattern.search(text):
            try:
                return date(*map(int, found.groups())).isoformat()
            except ValueError:
                continue
    return path.name if count == 1 else f"{path.name} band {band}"
