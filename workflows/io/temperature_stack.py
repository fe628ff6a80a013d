"""Surface temperature files, read into one stack.

In: GeoTIFF paths, one acquisition per band, and the unit of values whose file states none. Out: (time, y, x) kelvin
with NaN at nodata, and the grid, north up. All files must share one grid, because acquisitions are compared pixel by
pixel, and resampling would blur the few pixels of a site. Headers are checked before pixels are read. Values that
contradict the unit are refused: kelvin and Celsius are easily confused.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import logging
import os
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from overwatt.aoi.acquisition import possible_day
from overwatt.aoi.errors import AssetReadError, ConfigError, GridError, nearest
from overwatt.pipeline.imagery.radiometry import PROFILES, SensorProfile, to_kelvin
from overwatt.workflows.io.raster_checks import READ_ERRORS
from overwatt.workflows.io.thermal_values import (
    Meaning,
    check_georeference,
    meaning_of,
    opened,
    stored_values,
    value_bands,
)

log = logging.getLogger(__name__)

Unit = Literal["celsius", "kelvin", "landsat_dn"]
MAX_BYTES = 4_000_000_000
"""Largest stack, float32 in memory; own choice: twelve acquisitions of a whole Landsat scene take 2.9e9 bytes."""
COLDEST_MEDIAN_K, HOTTEST_MEDIAN_K = 200.0, 345.0
"""An acquisition with a median outside this range is in another unit: no scene on Earth is that cold or hot.

Own choice; 175-354 K are the extremes of single places seen from orbit (docs/methods.md, section 3.1).
"""
_PROFILES: dict[str, SensorProfile] = {
    "celsius": PROFILES["landsat_st_celsius"],
    "kelvin": SensorProfile("kelvin", ("lst",), "kelvin", 1.0, 0.0, None, 30.0, 1000.0),
    "landsat_dn": PROFILES["landsat_st"],
}
_SIDECARS = (".aux.xml", ".xml", ".msk", ".ovr", ".tfw", ".wld", ".prj", ".txt", ".json", ".md5", ".html")
# zeros in a field of temperatures are a fill value if hardly any pixel is near 0: shares of all pixels, own choice
_ZERO_SHARE, _NEAR_ZERO = 0.01, 1.5

# date of acquisition in Landsat Collection product ids: LXSS_LLLL_PPPRRR_YYYYMMDD_...
_LANDSAT = re.compile(r"L[COTEM]0[4-9]_L\w{3}_\d{6}_(\d{4})(\d{2})(\d{2})_")
_LANDSAT_OTHER = re.compile(r"^L[COTEM]0[4-9]_L\w{3}_(?!.*_ST_B(6|10)\b)")
_DATE = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")


def stack_files(setting: str) -> list[Path]:
    """Return the files of the setting `thermal.stack`, sorted: that file if it exists, else those of the pattern.

    Folders that exist are taken by their names, whatever characters these hold; `**` stands for any folders. Files
    beside an image (masks, overviews, metadata) and other bands of a Landsat product are left out, which is logged.

    Raises:
        ConfigError: nothing matches, or it is a folder.
    """
    path = Path(setting)
    if os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        return [path]
    if os.path.isdir(path):
        raise ConfigError(f"thermal.stack '{setting}': a folder; give its files, such as {path / '*.tif'}")
    root, parts = Path(path.anchor), list(path.parts[1:] if path.anchor else path.parts)
    while len(parts) > 1 and os.path.isdir(root / parts[0]):
        root /= parts.pop(0)
    found: list[Path] = []
    # brackets are a set of characters in a pattern, and part of a name in many files
    for pattern in ("/".join(parts), "/".join(parts).replace("[", "[[]")):
        pattern = re.sub(r"\.tiff?$", lambda m: "".join(f"[{c}{c.upper()}]" for c in m[0].lower()), pattern, flags=re.I)
        pattern = pattern.replace("[..]", ".")
        found = found or sorted(Path(f) for f in glob.glob(f"{glob.escape(str(root))}/{pattern}", recursive=True))
    files = [f for f in found if f.is_file()]
    beside = [f for f in files if f.name.lower().endswith(_SIDECARS) or _LANDSAT_OTHER.search(f.name)]
    if beside:
        log.warning("thermal.stack: %d files are no temperatures by their names, not read: %s", len(beside),
                    ", ".join(f.name for f in beside[:5]))  # fmt: skip
    if chosen := [f for f in files if f not in beside]:
        return chosen
    names = [f.name for f in root.iterdir()] if root.is_dir() else []
    hint = f"folder '{root}' is empty" if root.is_dir() and not names else ""
    raise ConfigError(f"thermal.stack '{setting}': no such file; {hint or nearest(path.name, names[:20])}")


def load_stack(paths: Sequence[Path | str], *, unit: Unit) -> tuple[xr.DataArray, GeoBox]:
    """Read acquisitions of surface temperature into one stack, earliest first.

    Args:
        paths: GeoTIFFs on one grid; each band is an acquisition.
        unit: unit of values whose file states none; 'landsat_dn' for Collection 2 ST_B10 integers as distributed.

    Returns:
        (stack, grid): stack (time, y, x) float32 kelvin, NaN at nodata. `time` is text: the ISO date from the
        description of the band or from the file name; without a date, the file name (and the band).

    Raises:
        ConfigError: no file is given, or the unit is unknown.
        AssetReadError: a file cannot be read, its values contradict the unit, or two files hold the same values.
        GridError: a file has no place on Earth or another grid than the first, or the stack would be too large.
    """
    files = [Path(p) for p in paths]
    if not files:
        raise ConfigError("no temperature file matched; check thermal.stack")
    if unit not in _PROFILES:
        raise ConfigError(f"thermal unit '{unit}' is unknown; use one of {', '.join(_PROFILES)}")
    geobox, bands = _headers(files)
    acquisitions: list[tuple[str, np.ndarray]] = []
    seen: dict[bytes, str] = {}
    for path, own in zip(files, bands, strict=True):
        for band in own:
            label, lst_k = _read(path, band, len(own), unit)
            same = hashlib.sha256(lst_k.tobytes()).digest()
            if same in seen and np.isfinite(lst_k).any():
                raise AssetReadError(
                    f"{path.name}: band {band} holds the same values as {seen[same]}; leave one of them out, so that "
                    "an acquisition does not count twice", str(path)
                )  # fmt: skip
            seen[same] = path.name
            acquisitions.append((label, lst_k))
    acquisitions.sort(key=lambda labelled: labelled[0])
    geobox, values = _north_up(geobox, np.stack([lst_k for _, lst_k in acquisitions]))
    stack = xr.DataArray(
        values,
        dims=("time", "y", "x"),
        coords={"time": [label for label, _ in acquisitions]},
        name="lst_k",
        attrs={"units": "K"},
    )
    return stack, geobox


def _headers(files: Sequence[Path]) -> tuple[GeoBox, list[list[int]]]:
    """Check that all files share one grid and fit into memory; return the grid and the bands of each."""
    grids: list[GeoBox] = []
    bands: list[list[int]] = []
    for path in files:
        try:
            with opened(path) as file:
                check_georeference(file, path.name)
                grids.append(own := GeoBox((file.height, file.width), file.transform, file.crs.to_string()))
                bands.append(value_bands(file))
        except READ_ERRORS as error:
            raise AssetReadError(f"{path.name}: cannot be opened ({error}); is it a GeoTIFF?", str(path)) from error
        if own.affine.b or own.affine.d:
            raise GridError(
                f"{path.name}: its grid is rotated against the CRS; warp it into a new file (gdalwarp IN OUT.tif)"
            )
        if difference := _difference(grids[0], own):
            raise GridError(f"{path.name}: {difference} as in {files[0].name}; give files on one grid")
        size = sum(map(len, bands)) * own.shape[0] * own.shape[1] * 4
        if size > MAX_BYTES:
            raise GridError(
                f"{path.name}: with this file the temperature stack would take {size / 1e9:.1f} GB, the limit is "
                f"{MAX_BYTES / 1e9:g} GB; crop the files to the area or give fewer of them"
            )
    return grids[0], bands


def _north_up(box: GeoBox, values: np.ndarray) -> tuple[GeoBox, np.ndarray]:
    """Turn a grid whose rows run north or columns run west; longitudes of 180 to 360 become negative ones."""
    (height, width), t = box.shape, box.affine
    if t.e > 0:
        t, values = t @ Affine(1, 0, 0, 0, -1, height), values[:, ::-1]
    if t.a < 0:
        t, values = t @ Affine(-1, 0, width, 0, 1, 0), values[:, :, ::-1]
    if box.crs is not None and box.crs.geographic and t.c + t.a * width / 2 > 180:
        t = Affine.translation(-360, 0) @ t
    return GeoBox((height, width), t, box.crs), values


def _difference(first: GeoBox, other: GeoBox) -> str:
    if first.crs != other.crs:
        return f"CRS {other.crs} is not {first.crs}"
    if first.shape != other.shape:
        return f"{tuple(other.shape)} pixels (rows, columns) are not {tuple(first.shape)}"
    # up to a thousandth of a pixel is rounding of headers, not a shift
    if not first.affine.almost_equals(other.affine, precision=1e-3 * abs(first.affine.a)):
        return f"corner and pixel size {tuple(other.affine)[:6]} are not {tuple(first.affine)[:6]}"
    return ""


def _read(path: Path, band: int, count: int, unit: Unit) -> tuple[str, np.ndarray]:
    try:
        with opened(path) as file:
            meaning = meaning_of(file, band, path.name)
            stored, valid = stored_values(file, band)
            text = file.descriptions[band - 1] or ""
            declared = file.nodatavals[band - 1] is not None
    except READ_ERRORS as error:
        raise AssetReadError(
            f"{path.name}: band {band} cannot be read ({error}); the file may be truncated", str(path)
        ) from error
    profile, values = _physical(path, meaning, stored, unit)
    named = text if not _DATE.search(text) else ""
    where = f"band {band}{f' ({named[:40]})' if named else ''}"
    if not declared:
        valid &= ~_void_zeros(stored, values, valid, f"{path.name}, {where}")
    advice = _advice(meaning, unit)
    try:
        lst_k, _ = to_kelvin(values, profile, valid)
    except ConfigError as error:
        raise AssetReadError(f"{path.name}: unit looks wrong in {where} ({error}); {advice}", str(path)) from error
    if np.isfinite(lst_k).any() and not COLDEST_MEDIAN_K <= (k := float(np.nanmedian(lst_k))) <= HOTTEST_MEDIAN_K:
        raise AssetReadError(
            f"{path.name}: unit looks wrong: read as {profile.units}, the median of {where} is {k:.1f} K; {advice}",
            str(path),
        )
    return _label(path, text, band, count), lst_k


def _physical(path: Path, meaning: Meaning, stored: np.ndarray, unit: Unit) -> tuple[SensorProfile, np.ndarray]:
    """Return the profile of the values in the unit of the file, or of the setting, and the values."""
    if unit == "landsat_dn" and not meaning.origin:
        return _PROFILES[unit], stored
    setting = "kelvin" if unit == "landsat_dn" else unit
    if meaning.unit not in ("", setting):
        log.warning(
            "%s: states its unit as %s, which is used instead of thermal.unit: %s", path.name, meaning.unit, unit
        )
    values = stored * meaning.scale + meaning.offset
    if meaning.unit == "fahrenheit":
        values = (values - 32.0) / 1.8
    return _PROFILES["celsius" if meaning.unit == "fahrenheit" else meaning.unit or setting], values


def _advice(meaning: Meaning, unit: Unit) -> str:
    if meaning.origin:
        return (
            f"scale {meaning.scale:g} and offset {meaning.offset:g} of {meaning.origin} were applied; check "
            "thermal.unit, or, if the values are scaled already, write a copy without them "
            "(gdal_translate -a_scale 1 -a_offset 0 IN OUT)"
        )
    if meaning.unit:
        return f"the file states {meaning.unit}, thermal.unit is {unit}; correct the one that is wrong"
    return "check thermal.unit"


def _void_zeros(stored: np.ndarray, values: np.ndarray, valid: np.ndarray, where: str) -> np.ndarray:
    """Return, bool, the pixels of a fill value 0 that the file does not declare: unwritten blocks, collars, clouds."""
    zero = valid & (stored == 0)
    near = valid & ~zero & (np.abs(values - values[zero][0]) <= _NEAR_ZERO) if zero.any() else zero
    if zero.sum() <= _ZERO_SHARE * valid.sum() or near.sum() > 0.1 * zero.sum() or (valid & ~zero).sum() == 0:
        return np.zeros(zero.shape, bool)
    log.warning("%s: %.0f%% of the pixels are exactly 0 and hardly any is near it: read as nodata", where,
                100 * zero.sum() / valid.sum())  # fmt: skip
    return zero


def _label(path: Path, description: str, band: int, count: int) -> str:
    for pattern, text in ((_DATE, description), (_LANDSAT, path.name), (_DATE, path.name), (_DATE, path.parent.name)):
        if found := pattern.search(text):
            with contextlib.suppress(ValueError):  # of a day that does not exist
                if possible_day(day := date(*map(int, found.groups()))):
                    return day.isoformat()
    return path.name if count == 1 else f"{path.name} band {band}"
