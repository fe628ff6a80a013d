"""From stored numbers to physical values: the only step that applies scale and offset.

In: pixel values as stored and the `SensorProfile` that describes them. Out: float32 with NaN
where invalid, plus the mask. It is one explicit step because a scale applied twice, or not at
all, still looks like data: Sentinel-2 shifted its zero by 1000 in 2022 and some catalogues undo
that already; Landsat surface temperature is distributed as integers, kelvin and degrees Celsius.
Values that contradict the declared unit are therefore refused, with a guess at what they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from overwatt.aoi.errors import ConfigError, nearest

Units = Literal["display_uint8", "reflectance", "kelvin", "celsius", "dn"]

ZERO_CELSIUS_K = 273.15
# Surface temperatures seen from orbit: -98 C (Scambos 2018, East Antarctica), +81 C (Zhao 2021, Lut desert).
COLDEST_K, HOTTEST_K = 175.0, 354.0
# stored in place of missing pixels by many tools: the ends of the integer types, runs of nines; own choice
_FILLS = (0.0, -32768.0, -32767.0, 32767.0, 65535.0, 255.0, -99.0, -999.0, -9999.0, 9999.0, -99999.0, 99999.0)
_HUGE = 1e10  # 1e20 of climate models, 3.4e38 of float32; own choice
# Water and shadow fall below zero even with the right offset; a quarter of a scene only with a wrong one (own choice).
_NEGATIVE_REFLECTANCE, _NEGATIVE_SHARE = -0.01, 0.25
# Snow and cloud reach 1 to 1.3, so a median above 2 cannot be reflectance (own choice).
_MAX_MEDIAN_REFLECTANCE = 2.0


@dataclass(frozen=True)
class SensorProfile:
    """What the stored numbers of a product mean: physical = stored * scale + offset.

    Attributes:
        name: key in `PROFILES`.
        bands: names in stored order.
        units: unit of the physical value; 'dn' where there is none.
        scale: factor.
        offset: added after scaling, in `units`.
        nodata: stored value of pixels without data. In 'display_uint8' it is also the darkest
            value, so a pixel is without data only if all its bands have it.
        gsd_min_m: smallest pixel of the product in metres.
        gsd_max_m: largest pixel of the product in metres.
    """

    name: str
    bands: tuple[str, ...]
    units: Units
    scale: float
    offset: float
    nodata: float | None
    gsd_min_m: float
    gsd_max_m: float


_RGB = ("red", "green", "blue")
_S2 = ("blue", "green", "red", "nir")
PROFILES: dict[str, SensorProfile] = {
    p.name: p
    for p in (
        # US aerial imagery, 8-bit, stretched for display: no radiometry. 0.3 to 1 m by state and year.
        SensorProfile("naip", (*_RGB, "nir"), "display_uint8", 1 / 255, 0.0, 0, 0.3, 1.2),
        # The same, resampled to 2 m; a further band with the valid pixels is passed as `valid` of `to_unit`.
        SensorProfile("aerial_2m", _RGB, "display_uint8", 1 / 255, 0.0, 0, 1.5, 2.5),
        # ESA processing baseline 04.00 and later (from 2022-01-25): (DN - 1000) / 10000.
        SensorProfile("sentinel2_l2a", _S2, "reflectance", 1e-4, -1000 * 1e-4, 0, 10.0, 10.0),
        # Baseline before 04.00, or a catalogue that has applied the offset (Earth Search's sentinel-2-l2a).
        SensorProfile("sentinel2_l2a_no_offset", _S2, "reflectance", 1e-4, 0.0, 0, 10.0, 10.0),
        # Landsat Collection 2 Level 2 ST_B10 as distributed (USGS LSDS-1618); sensed at about 100 m.
        SensorProfile("landsat_st", ("lwir11",), "kelvin", 0.00341802, 149.0, 0, 30.0, 100.0),
        # The same product converted by others to float degrees Celsius.
        SensorProfile("landsat_st_celsius", ("lst",), "celsius", 1.0, 0.0, -9999.0, 30.0, 100.0),
    )
}
TemperatureUnit = Literal["kelvin", "celsius", "fahrenheit"]
_UNIT_WORDS: dict[TemperatureUnit, tuple[str, ...]] = {
    "kelvin": ("k", "kelvin", "kelvins", "degk", "degreekelvin", "degreeskelvin"),
    "celsius": ("c", "celsius", "celcius", "centigrade", "degc", "degcelsius", "degreecelsius", "degreescelsius",
                "degreec", "degreesc"),
    "fahrenheit": ("f", "fahrenheit", "degf", "degreefahrenheit", "degreesfahrenheit", "degreef", "degreesf"),
}  # fmt: skip
# (K1 in W m-2 sr-1 um-1, K2 in K) of band 10, from MTL files (Landsat 9: USGS handbook); docs/methods.md, section 3.1.
THERMAL_CONSTANTS: dict[str, tuple[float, float]] = {
    "landsat8_b10": (774.8853, 1321.0789),
    "landsat9_b10": (799.0284, 1329.2405),
}


def profile_named(name: str) -> SensorProfile:
    """Return the profile of that name.

    Raises:
        ConfigError: there is no such profile.
    """
    if name not in PROFILES:
        raise ConfigError(f"sensor profile '{name}' is unknown; {nearest(name, PROFILES)}")
    return PROFILES[name]


def temperature_unit(text: str) -> TemperatureUnit | None:
    """Return the unit that a text such as 'K', '°C', 'deg_C' or 'degrees Celsius' names, None for another."""
    word = text.strip().lower().replace("℃", "c").replace("°", "").replace("º", "")
    word = "".join(c for c in word if c not in " _.-")
    for unit, words in _UNIT_WORDS.items():
        if word in words:
            return unit
    return None


def to_kelvin(
    values: np.ndarray, profile: SensorProfile, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return surface temperature in kelvin.

    A pixel that no place on Earth can have (`COLDEST_K` to `HOTTEST_K`) is invalid. Most pixels being such, apart from
    the usual fill values, shows that the profile is wrong.

    Args:
        values: stored values, any shape.
        profile: a profile in kelvin or degrees Celsius.
        valid: bool, broadcastable to `values`; pixels known to be usable (clear, inside).

    Returns:
        (temperature float32 in K, NaN where invalid; mask bool), both shaped as `values`.

    Raises:
        ConfigError: the profile is not a temperature, or the values contradict it.
    """
    if profile.units not in ("kelvin", "celsius"):
        raise ConfigError(
            f"sensor profile '{profile.name}' is in {profile.units}, not a temperature; "
            "use landsat_st or landsat_st_celsius"
        )
    stored, ok = _stored(values, profile, valid)
    shift = ZERO_CELSIUS_K if profile.units == "celsius" else 0.0
    kelvin = stored * profile.scale + (profile.offset + shift)
    possible = (kelvin >= COLDEST_K) & (kelvin <= HOTTEST_K)
    judged = ok & (possible | ~is_fill(stored))
    if judged.any() and possible[judged].mean() < 0.5:
        raw_median, median_k = float(np.median(stored[judged])), float(np.median(kelvin[judged]))
        raise ConfigError(
            f"sensor profile '{profile.name}': the median stored value {raw_median:g} would be "
            f"{median_k:.1f} K, outside {COLDEST_K:g}-{HOTTEST_K:g} K on Earth; "
            f"{_looks_like_temperature(raw_median)}"
        )
    ok &= possible
    return _masked(kelvin, ok), ok


def is_fill(stored: np.ndarray) -> np.ndarray:
    """Return, bool, which stored numbers are usual fill values for missing pixels; they may also be measurements."""
    return np.asarray(np.isin(stored, _FILLS) | (np.abs(stored) >= _HUGE))


def to_unit(
    values: np.ndarray, profile: SensorProfile, valid: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return optical values as 0 to 1: display brightness, or surface reflectance clipped to that range.

    Args:
        values: stored values (..., band, y, x), or (y, x) for one band.
        profile: a profile in display_uint8 or reflectance.
        valid: bool, broadcastable to `values`; pixels known to be usable.

    Returns:
        (float32 in 0..1, NaN where invalid; mask bool), both shaped as `values`.

    Raises:
        ConfigError: the profile is not optical, or the values contradict it.
    """
    if profile.units not in ("display_uint8", "reflectance"):
        raise ConfigError(
            f"sensor profile '{profile.name}' is in {profile.units}, not optical; use a display or reflectance profile"
        )
    stored, ok = _stored(values, profile, valid)
    unit = stored * profile.scale + profile.offset
    if ok.any():
        _check_optical(stored[ok], unit[ok], profile, np.issubdtype(values.dtype, np.floating))
    return _masked(np.clip(unit, 0.0, 1.0), ok), ok


def brightness_temperature(dn: np.ndarray, ml: float, al: float, k1: float, k2: float) -> np.ndarray:
    """Return at-sensor brightness temperature of Landsat Level-1 thermal numbers.

    L = ml * DN + al; T = k2 / ln(k1 / L + 1) (docs/methods.md, section 3.1). This is not surface
    temperature: emissivity and atmosphere are not corrected, so compare within a scene only.

    Args:
        dn: stored numbers, any shape; 0 is fill.
        ml: RADIANCE_MULT_BAND_10 of the MTL file, W m-2 sr-1 um-1 per DN.
        al: RADIANCE_ADD_BAND_10, W m-2 sr-1 um-1.
        k1: K1_CONSTANT_BAND_10, W m-2 sr-1 um-1 (see `THERMAL_CONSTANTS`).
        k2: K2_CONSTANT_BAND_10, K.

    Returns:
        float32 in K, NaN at fill and where the radiance is not positive.

    Raises:
        ConfigError: a constant is not finite and positive (`al` may be 0 or negative).
    """
    for label, constant in (("ml", ml), ("k1", k1), ("k2", k2)):
        if not (math.isfinite(constant) and constant > 0):
            raise ConfigError(f"{label} {constant:g}: must be greater than 0; take it from the scene's MTL file")
    numbers = np.asarray(dn, dtype=np.float64)
    radiance = ml * numbers + al
    ok = np.isfinite(numbers) & (numbers != 0) & (radiance > 0)
    temperature = np.full(numbers.shape, np.nan, dtype=np.float32)
    temperature[ok] = k2 / np.log(k1 / radiance[ok] + 1.0)
    return temperature


def _stored(values: np.ndarray, profile: SensorProfile, valid: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the values as float64 (invalid ones as 0, so that nothing overflows) and the mask."""
    stored = np.asarray(values, dtype=np.float64)
    ok = np.isfinite(stored)
    if profile.nodata is not None:
        empty = stored == profile.nodata
        if profile.units == "display_uint8" and stored.ndim >= 3:
            empty = np.broadcast_to(empty.all(axis=-3, keepdims=True), stored.shape)
        ok &= ~empty
    if valid is not None:
        ok &= np.asarray(valid, dtype=bool)
    return np.where(ok, stored, 0.0), ok


def _masked(values: np.ndarray, ok: np.ndarray) -> np.ndarray:
    return np.where(ok, values, np.nan).astype(np.float32)


def _check_optical(stored: np.ndarray, unit: np.ndarray, profile: SensorProfile, is_float: bool) -> None:
    low, high = float(stored.min()), float(stored.max())
    if profile.units == "display_uint8":
        if low < 0 or high > 255:
            raise ConfigError(
                f"sensor profile '{profile.name}': values from {low:g} to {high:g} are not 8-bit display "
                "values; they look like digital numbers or reflectance of another product"
            )
        # floats up to 1 are 8-bit values already divided by 255
        if is_float and 0 < high <= 1:
            raise ConfigError(
                f"sensor profile '{profile.name}': the largest value is {high:g}; "
                "they look already scaled to 0..1, expected 0..255"
            )
        return
    median = float(np.median(unit))
    if median > _MAX_MEDIAN_REFLECTANCE:
        raise ConfigError(
            f"sensor profile '{profile.name}': the median reflectance would be {median:.3g}; "
            "the values look like digital numbers of another scale"
        )
    if is_float and 0 < high <= 2.0 and profile.scale < 1e-2:
        raise ConfigError(
            f"sensor profile '{profile.name}': the largest stored value is {high:g}; "
            "they look already scaled to reflectance, expected digital numbers"
        )
    # an offset subtracted twice moves dark pixels far below zero
    negative = float(np.mean(unit < _NEGATIVE_REFLECTANCE))
    if profile.offset < 0 and negative > _NEGATIVE_SHARE:
        raise ConfigError(
            f"sensor profile '{profile.name}': {negative:.0%} of the reflectances would be negative after "
            f"the offset {profile.offset:g}; it looks already applied, use sentinel2_l2a_no_offset"
        )


def _looks_like_temperature(median: float) -> str:
    if -100.0 <= median <= 45.0:
        return "the values look like degrees Celsius"
    if 45.0 < median <= 130.0:
        return "the values look like degrees Fahrenheit; convert them to K"
    if COLDEST_K <= median <= HOTTEST_K:
        return "the values look like kelvin already"
    for factor, words in ((10.0, "tenths"), (100.0, "hundredths")):
        if COLDEST_K * factor <= median <= HOTTEST_K * factor:
            return f"the values look like {words} of a kelvin; store scale {1 / factor:g} in the file, or kelvin"
    if median > 1000.0:
        return "the values look like digital numbers without scale; store scale and offset in the file, or kelvin"
    return "check the product's scale, offset and nodata"
