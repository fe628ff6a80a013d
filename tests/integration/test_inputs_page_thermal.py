"""Thermal files of docs/howto/inputs.md: each is made and read, and its kelvin are compared with the truth."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

from overwatt.workflows.io.temperature_stack import load_stack, stack_files
from tests.inputs_page import each, holds, same_rows
from tests.unit.workflows.io.test_temperature_stack import CELSIUS, CLOUD, KELVIN, PLACE, named, write

SECTION = "Thermal files"
HUNDREDTHS = (CELSIUS * 100).round().astype(np.int16)
LANDSAT = ((KELVIN - 149) / 0.00341802).round().astype(np.uint16)
FAHRENHEIT = CELSIUS * np.float32(1.8) + np.float32(32)


def kelvin(path, unit="kelvin", expected=KELVIN):
    """Read a file: every pixel is right to 0.06 K, or missing under the cloud."""
    stack = load_stack([path], unit=unit)[0].to_numpy()
    (values,) = stack
    missing = np.isnan(values)
    assert not missing.any() or np.array_equal(missing, CLOUD)
    np.testing.assert_allclose(values[~missing], expected[~missing], atol=0.06)
    return ("read in part" if np.isnan(stack).any() else "read"), ""


def read(values, setting="kelvin", name="a.tif", **options):
    return lambda d: kelvin(write(d / name, values, **options), setting)


def masked(internal):
    def check(folder):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
            return kelvin(write(folder / "a.tif", np.where(CLOUD, np.float32(290), KELVIN), mask=CLOUD))

    return check


def with_alpha(folder):
    return kelvin(write(folder / "a.tif", KELVIN, np.where(CLOUD, 0, 255).astype(np.float32), alpha=True))


def filled(value, values=KELVIN, setting="kelvin", **options):
    return read(np.where(CLOUD, np.float32(value), values), setting, **options)


def two_offsets(folder):
    tenths = (CELSIUS * 10).round().astype(np.int16)
    path = write(folder / "a.tif", tenths, tenths + 41, scale=0.1)
    with rasterio.open(path, "r+") as file:
        file.offsets = (273.15, 270.05)
    stack = load_stack([path], unit="kelvin")[0].to_numpy()
    np.testing.assert_allclose(stack, [KELVIN, KELVIN + 1], atol=0.06)
    return "read", ""


def cold_fahrenheit(folder):
    cold = FAHRENHEIT - np.float32(30)
    return kelvin(write(folder / "a.tif", cold), "celsius", cold + 273.15)


def winter(folder):
    cold = CELSIUS - 25
    return kelvin(write(folder / "a.tif", np.where(CLOUD, np.float32(0), cold)), "celsius",
                  np.where(CLOUD, 273.15, cold + 273.15))  # fmt: skip


def turned(folder):
    t = PLACE @ Affine(-1, 0, 8, 0, -1, 6)
    return kelvin(write(folder / "a.tif", KELVIN[::-1, ::-1], transform=t))


def two_files(folder, second=KELVIN + 1, **options):
    first = write(folder / "2023-06-01.tif", KELVIN)
    stack, _ = load_stack([first, write(folder / "2023-06-17.tif", second, **options)], unit="kelvin")
    assert list(stack["time"].to_numpy()) == ["2023-06-01", "2023-06-17"]
    np.testing.assert_allclose(stack.to_numpy()[1], second)
    return "read", ""


def found(*names, ask, wanted):
    def check(folder):
        folder = folder / "scenes [2]"
        named(folder, *names)
        assert [f.name for f in stack_files(f"{folder}/{ask}")] == wanted
        return "read", ""

    return check


def other_format(folder):
    (folder / "a.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    return kelvin(folder / "a.nc")


def truncated(folder):
    path = write(folder / "a.tif", np.random.default_rng(1).normal(290, 1, (200, 200)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:9000])
    return kelvin(path)


GCPS = [GroundControlPoint(0, 0, -77, 39), GroundControlPoint(0, 8, -76.9, 39), GroundControlPoint(6, 0, -77, 38.9)]
STEM = "LC08_L2SP_196024_20240626_20220427_02_T1"
CHECKS = {
    "GeoTIFF in K, °C or °F by its metadata, else in the unit of thermal.unit": each(
        read(KELVIN), read(CELSIUS, "celsius"), read(KELVIN, "celsius", unit="K"), read(CELSIUS, unit="degC"),
        read(FAHRENHEIT, "celsius", unit="degF"),
    ),
    "integers with scale and offset, for each band, in the file or in the metadata of netCDF": each(
        read(HUNDREDTHS, scale=0.01, offset=273.15), read(HUNDREDTHS, "celsius", scale=0.01), two_offsets,
        read(HUNDREDTHS, tags={"scale_factor": "0.01", "add_offset": "273.15", "units": "K"}),
    ),
    "Landsat Collection 2 ST_B10, MODIS LST as distributed": each(
        read(LANDSAT, name=f"{STEM}_ST_B10.TIF"),
        read((KELVIN / 0.02).round().astype(np.uint16), name="MOD11A1.061_LST_Day_1km_doy2023152_aid0001.tif"),
        read(LANDSAT, "landsat_dn"),
    ),
    "internal mask, .msk file, alpha band, nodata, NaN": each(
        masked(True), masked(False), with_alpha, filled(-9999, nodata=-9999), filled(np.nan), filled(np.inf),
        filled(0, CELSIUS, "celsius", nodata=0),
    ),
    "fill values that are not stated: 0 K, -9999, -273.15 °C, 1e36, 900 K": each(
        filled(0), filled(-9999), filled(-273.15, CELSIUS, "celsius"), filled(9.96921e36, CELSIUS, "celsius"),
        filled(900),
    ),
    "0 °C in clouds of a summer scene, not stated": filled(0, CELSIUS, "celsius"),
    "0 °C in a winter scene": winter,
    "°F without a unit in the file, digital numbers of an unknown product": each(
        read(FAHRENHEIT, "celsius"), read(FAHRENHEIT), read(LANDSAT)
    ),
    "°F of a cold day without a unit in the file": cold_fahrenheit,
    "a unit that is no temperature, values that contradict the unit of the file": each(
        read(KELVIN, unit="W m-2 sr-1"), read(CELSIUS, unit="K")
    ),
    "one file for each acquisition, on one grid": two_files,
    "files on different grids": lambda d: two_files(d, transform=PLACE @ Affine.translation(0.5, 0)),
    "the same acquisition twice": lambda d: two_files(d, KELVIN),
    "rows that run north, columns that run west": turned,
    "rotated grid, ground control points only, no CRS": each(
        read(KELVIN, transform=PLACE @ Affine.rotation(20)), read(KELVIN, crs=None),
        read(KELVIN, crs="EPSG:4326", transform=None, gcps=GCPS),
    ),
    "file or folder name with brackets, blanks or *": each(
        found("lst [2023-06-01].tif", "lst 2.tif", ask="lst [2023-06-01].tif", wanted=["lst [2023-06-01].tif"]),
        found("day*night.tif", "day-night.tif", ask="day*night.tif", wanted=["day*night.tif"]),
    ),
    "pattern that also matches .TIF, masks, overviews, metadata or other bands": found(
        f"{STEM}_ST_B10.TIF", f"{STEM}_ST_B10.TIF.msk", f"{STEM}_QA_PIXEL.TIF", f"{STEM}_MTL.txt",
        ask="LC08*.*", wanted=[f"{STEM}_ST_B10.TIF"],
    ),
    "pattern that matches nothing": lambda d: (str(stack_files(f"{d}/*.tif")), ""),
    "netCDF, HDF, PNG, truncated GeoTIFF": each(other_format, truncated),
}  # fmt: skip


def test_the_page_and_the_checks_have_the_same_rows():
    same_rows(SECTION, CHECKS)


@pytest.mark.parametrize("given", CHECKS)
def test_a_thermal_file_fares_as_the_page_says(given, tmp_path):
    holds(SECTION, given, CHECKS[given], tmp_path)
