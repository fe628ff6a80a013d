"""What the bands of a raster mean, and how it marks pixels without data.

In: an open dataset. Out: names of the bands, and `Marks`. A description goes before the colour interpretation. A band
tagged alpha is a mask only if it holds one: near-infrared is often tagged alpha, since TIFF calls every fourth band so.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.windows import Window

_ALIASES = {
    "r": "red", "g": "green", "b": "blue", "nir08": "nir", "nir1": "nir", "near infrared": "nir", "infrared": "nir",
    "near ir": "nir", "alpha": "valid", "mask": "valid", "transparency": "valid", "opacity": "valid",
}  # fmt: skip
_COLOURS = {ColorInterp.red: "red", ColorInterp.green: "green", ColorInterp.blue: "blue", ColorInterp.nir: "nir"}
OPAQUE = 128
"""Alpha from which a pixel is opaque enough to be seen: half; own choice."""
_SAMPLES, _SAMPLE_PX = 4, 128  # windows per side and their side: enough to tell a mask from a picture
_LEVELS = 16  # a mask has two levels, and some between them at its edge; own choice


@dataclass(frozen=True)
class Marks:
    """How a file marks pixels without data.

    Attributes:
        valid: 1-based index of a band that is 0 there; 0 if there is none.
        alpha: 1-based index of the alpha band, 0 if there is none.
        measured_alpha: whether a band is tagged alpha but holds measured values.
        mask: whether it has an internal mask or a .msk file.
        nodata: nodata value of each band that is read, None where there is none.
    """

    valid: int
    alpha: int
    measured_alpha: bool
    mask: bool
    nodata: tuple[float | None, ...]


def names_of(source: rasterio.DatasetReader) -> list[str]:
    """Return band names from the descriptions, else from the colour interpretation, else 'band N'.

    A band 'valid' is 0 where there is no data.
    """
    names = []
    for i, (text, colour) in enumerate(zip(source.descriptions, source.colorinterp, strict=True), 1):
        word = re.sub(r"[\s_-]+", " ", text or "").strip().lower()
        word = "" if re.fullmatch(r"(band|channel|layer)? ?\d*", word) else word  # 'Band 1' names nothing
        names.append(_ALIASES.get(word, word) or _COLOURS.get(colour) or f"band {i}")
    return names


def marks_of(source: rasterio.DatasetReader, names: Sequence[str], indexes: Sequence[int]) -> Marks:
    """Return how the file marks pixels without data, for the bands at `indexes` (1-based)."""
    tagged = source.colorinterp.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in source.colorinterp else 0
    measured = bool(tagged) and (tagged in indexes or names[tagged - 1] == "nir" or _is_picture(source, tagged))
    valid = names.index("valid") + 1 if "valid" in names else 0
    if valid == tagged and valid:
        valid = 0
    flags = source.mask_flag_enums[indexes[0] - 1]
    own = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags and MaskFlags.nodata not in flags
    nodata = tuple(_in_range(source.nodatavals[i - 1], source.dtypes[i - 1]) for i in indexes)
    return Marks(valid, 0 if measured else tagged, measured, own, nodata)


def hint(source: rasterio.DatasetReader, name: str) -> str:
    """Return what helps where the colours are not found, '' if nothing better is known than their names."""
    colours = source.colorinterp
    if ColorInterp.palette in colours:
        return f"its colours are a palette; write them out: gdal_translate -expand rgb {name} rgb.tif"
    if source.count <= 2:
        return "it is a grey image; give one in colour"
    if source.count >= 3 and not any(source.descriptions):
        order = ",".join(["red", "green", "blue"] + ["undefined"] * (source.count - 3))
        return (
            "its bands have no names; if the first three are red, green and blue: "
            f"rio edit-info {name} --colorinterp {order}"
        )
    return ""


def without_alpha(source: rasterio.DatasetReader) -> str:
    """Return the colours of all bands as `rio edit-info --colorinterp` takes them, with alpha as undefined."""
    return ",".join("undefined" if c == ColorInterp.alpha else c.name for c in source.colorinterp)


def _in_range(value: float | None, dtype: str) -> float | None:
    """Return a nodata value that a pixel of the type can have; a tag out of its range marks nothing."""
    if value is None or not np.issubdtype(np.dtype(dtype), np.integer):
        return value
    info = np.iinfo(dtype)
    return value if np.isfinite(value) and info.min <= value <= info.max and value == int(value) else None


def _is_picture(source: rasterio.DatasetReader, band: int) -> bool:
    """Whether an 'alpha' band holds measured values: many levels, most of them neither clear nor opaque."""
    seen = []
    for y in np.linspace(0, max(source.height - _SAMPLE_PX, 0), _SAMPLES).astype(int):
        for x in np.linspace(0, max(source.width - _SAMPLE_PX, 0), _SAMPLES).astype(int):
            size = (min(_SAMPLE_PX, source.width), min(_SAMPLE_PX, source.height))
            with contextlib.suppress(RasterioError):  # a damaged block; its reads fail by name
                seen.append(source.read(band, window=Window(int(x), int(y), *size)).ravel())
    if not seen:
        return False
    values = np.concatenate(seen)
    full = np.iinfo(values.dtype).max if np.issubdtype(values.dtype, np.integer) else values.max()
    between = values[(values > 0) & (values < full)]
    return bool(len(between) > len(values) / 2 and len(np.unique(between)) > _LEVELS)
