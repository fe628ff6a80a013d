"""Temperature files as people have them: masks, scales, units, fill values, names of files, grids."""

import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from overwatt.aoi.errors import AssetReadError, ConfigError, GridError
from overwatt.workflows.io.temperature_stack import load_stack, stack_files
from tests.support import naming

UTM = "EPSG:32618"
PLACE = Affine(70, 0, 286000, 0, -70, 4323000)
CELSIUS = (25 + np.random.default_rng(0).normal(0, 1, (6, 8))).astype(np.float32)
KELVIN = CELSIUS + np.float32(273.15)
CLOUD = np.zeros((6, 8), bool)
CLOUD[:, :3] = True


def write(path, *bands, mask=None, alpha=False, scale=None, offset=None, unit=None, tags=None, file_tags=None, **more):
    bands = np.stack(bands)
    profile = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{"driver": "GTiff", **profile, "crs": UTM, "transform": PLACE, **more}) as file:
            if alpha:
                file.colorinterp = [ColorInterp.gray] * (len(bands) - 1) + [ColorInterp.alpha]
            file.write(bands)
            if scale is not None:
                file.scales = (scale,) * len(bands)
            if offset is not None:
                file.offsets = (offset,) * len(bands)
            if unit is not None:
                file.units = (unit,) * len(bands)
            file.update_tags(1, **(tags or {}))
            file.update_tags(**(file_tags or {}))
            if mask is not None:
                file.write_mask(np.where(mask, 0, 255).astype(np.uint8))
    return path


def read(path, unit="kelvin"):
    stack, _ = load_stack([path], unit=unit)
    return stack.to_numpy()


def check(got, hole=CLOUD, atol=0.06):
    """All pixels are `KELVIN` but those of the hole, which are missing."""
    np.testing.assert_array_equal(np.isnan(got[0]), hole)
    np.testing.assert_allclose(got[0][~hole], KELVIN[~hole], atol=atol)


NO_HOLE = np.zeros((6, 8), bool)
HIDDEN = np.where(CLOUD, np.float32(0), CELSIUS)


@pytest.mark.parametrize("internal", [True, False])
@pytest.mark.parametrize("nodata", [None, -9999.0])
def test_masks_inside_and_beside_the_file_hide_pixels(tmp_path, internal, nodata):
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        values = HIDDEN.copy()
        values[0, 7] = -9999
        path = write(tmp_path / "a.tif", values, mask=CLOUD, nodata=nodata)
    assert path.with_name("a.tif.msk").exists() is not internal
    hole = CLOUD.copy()
    hole[0, 7] = True
    check(read(path, "celsius"), hole)


def test_an_alpha_band_hides_pixels_and_is_no_acquisition(tmp_path):
    alpha = np.where(CLOUD, 0, 255).astype(np.float32)
    got = read(write(tmp_path / "a.tif", CELSIUS, alpha, alpha=True), "celsius")
    assert got.shape[0] == 1
    check(got)


def test_nodata_of_any_kind(tmp_path):
    for nodata in (-9999.0, float("nan"), float(np.finfo(np.float32).min), 0.0):
        values = np.where(CLOUD, np.float32(nodata), CELSIUS)
        check(read(write(tmp_path / "a.tif", values, nodata=nodata), "celsius"))
    check(read(write(tmp_path / "a.tif", np.where(CLOUD, np.float32("inf"), CELSIUS)), "celsius"))


@pytest.mark.parametrize("fill", [0, -9999, 65535, 1e20, -3.4e38, -32768, 120])
def test_a_fill_value_that_is_not_declared_is_nodata(tmp_path, fill):
    check(read(write(tmp_path / "a.tif", np.where(CLOUD, np.float32(fill), KELVIN))))


@pytest.mark.parametrize("tag", ["_FillValue", "missing_value", "lst#_FillValue"])
def test_a_fill_value_in_the_metadata_of_netcdf_is_nodata(tmp_path, tag):
    """A fill that could be a temperature is known by its tag alone."""
    values = np.where(CLOUD, np.float32(280.5), KELVIN)
    tags = {"file_tags": {tag: "280.5"}} if "#" in tag else {"tags": {tag: "280.5"}}
    check(read(write(tmp_path / "a.tif", values, **tags)))


def test_zeros_among_degrees_are_nodata_where_nothing_is_near_zero(tmp_path):
    check(read(write(tmp_path / "a.tif", HIDDEN), "celsius"))
    winter = np.where(CLOUD, np.float32(0), CELSIUS - 25)
    assert np.isfinite(read(write(tmp_path / "b.tif", winter), "celsius")).all()


TENTHS = (CELSIUS * 10).round().astype(np.int16)


@pytest.mark.parametrize(
    ("values", "options", "unit"),
    [
        (TENTHS, {"scale": 0.1, "offset": 273.15}, "kelvin"),
        (TENTHS, {"scale": 0.1, "offset": 273.15, "unit": "K"}, "celsius"),
        (TENTHS, {"scale": 0.1}, "celsius"),
        (TENTHS, {"scale": 0.1, "unit": "degC"}, "kelvin"),
        (TENTHS, {"tags": {"scale_factor": "0.1", "add_offset": "273.15", "units": "Kelvin"}}, "celsius"),
        (TENTHS, {"file_tags": {"lst#scale_factor": "0.1", "lst#units": "degrees_Celsius"}}, "kelvin"),
        (CELSIUS, {"unit": "°C"}, "kelvin"),
        (CELSIUS, {"tags": {"units": "celsius"}}, "kelvin"),
        (KELVIN, {"unit": "K"}, "celsius"),
        (CELSIUS * np.float32(1.8) + 32, {"unit": "degF"}, "kelvin"),
        ((KELVIN / 0.02).round().astype(np.uint16), {"scale": 0.02}, "kelvin"),
        (((KELVIN - 149) / 0.00341802).round().astype(np.uint16), {}, "landsat_dn"),
        (((KELVIN - 149) / 0.00341802).round().astype(np.uint16), {"scale": 0.00341802, "offset": 149}, "landsat_dn"),
        (((KELVIN - 149) / 0.00341802).round().astype(np.uint16), {"scale": 0.00341802, "offset": 149}, "kelvin"),
    ],
)
def test_scale_and_unit_of_the_file_apply_once(tmp_path, values, options, unit):
    check(read(write(tmp_path / "a.tif", values, **options), unit), NO_HOLE)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("LC08_L2SP_196024_20240626_20220427_02_T1_ST_B10.TIF", ((KELVIN - 149) / 0.00341802).round()),
        ("MOD11A1.061_LST_Day_1km_doy2023152_aid0001.tif", (KELVIN / 0.02).round()),
    ],
)
def test_integers_of_known_products_need_no_setting(tmp_path, name, values):
    check(read(write(tmp_path / name, values.astype(np.uint16))), NO_HOLE)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([0.01, 0.02, 0.1, 1.0]), st.sampled_from([0.0, 149.0, 273.15]), st.sampled_from(["K", "degC"]))
def test_what_was_scaled_comes_back(tmp_path_factory, scale, offset, unit):
    path = tmp_path_factory.mktemp("scaled") / "a.tif"
    values = KELVIN if unit == "K" else CELSIUS
    stored = ((values.astype(np.float64) - offset) / scale).round().astype(np.int32)
    check(read(write(path, stored, scale=scale, offset=offset, unit=unit)), NO_HOLE, atol=scale)


@pytest.mark.parametrize(
    ("values", "options", "unit", "words"),
    [
        (CELSIUS, {"unit": "K"}, "celsius", ("a.tif", "states kelvin", "thermal.unit is celsius")),
        (KELVIN, {"scale": 0.1}, "kelvin", ("scale 0.1", "gdal_translate", "OUT")),
        (KELVIN, {"unit": "W m-2 sr-1"}, "kelvin", ("'W m-2 sr-1'", "K or degC")),
        (KELVIN, {"tags": {"scale_factor": "tenth"}}, "kelvin", ("scale_factor",)),
        (KELVIN * 10, {}, "kelvin", ("tenths",)),
        (CELSIUS * 1.8 + 32, {}, "kelvin", ("Fahrenheit",)),
        (CELSIUS * 1.8 + 32, {}, "celsius", ("thermal.unit",)),
        (KELVIN * 0 + 0.97, {"descriptions": "emissivity"}, "kelvin", ("thermal.unit",)),
    ],
)
def test_values_that_contradict_the_file_or_the_setting_are_refused(tmp_path, values, options, unit, words):
    options.pop("descriptions", None)
    with pytest.raises(AssetReadError, match=naming(*words)) as raised:
        read(write(tmp_path / "a.tif", values.astype(np.float32), **options), unit)
    assert "\n" not in str(raised.value)


def test_the_unit_of_the_file_is_said_where_it_replaces_the_setting(tmp_path, caplog):
    read(write(tmp_path / "a.tif", CELSIUS, unit="degC"))
    assert "celsius, which is used instead of thermal.unit: kelvin" in caplog.text


def test_grids_of_any_direction_are_turned_north_up(tmp_path):
    straight, box = load_stack([write(tmp_path / "a.tif", KELVIN)], unit="kelvin")
    for name, values, t in (
        ("south.tif", KELVIN[::-1], PLACE @ Affine(1, 0, 0, 0, -1, 6)),
        ("west.tif", KELVIN[:, ::-1], PLACE @ Affine(-1, 0, 8, 0, 1, 0)),
    ):
        stack, turned = load_stack([write(tmp_path / name, values, transform=t)], unit="kelvin")
        assert turned.affine.almost_equals(box.affine)
        np.testing.assert_array_equal(stack, straight)


def test_longitudes_beyond_180_become_negative(tmp_path):
    t = Affine(0.001, 0, 282.5, 0, -0.001, 39)
    _, box = load_stack([write(tmp_path / "a.tif", KELVIN, crs="EPSG:4326", transform=t)], unit="kelvin")
    assert box.affine.c == pytest.approx(-77.5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"transform": PLACE @ Affine.rotation(20)}, ("rotated", "gdalwarp")),
        ({"crs": None, "transform": None}, ("no CRS",)),
        ({"crs": None}, ("thermal a.tif", "no CRS", "rio edit-info a.tif --crs")),
        ({"transform": None}, ("thermal a.tif", "no position")),
        ({"crs": 'LOCAL_CS["site grid",UNIT["metre",1]]'}, ("thermal a.tif", "'site grid'", "no place on the Earth")),
        ({"crs": "+proj=eqc +R=1737400 +units=m"}, ("thermal a.tif", "not of the Earth")),
        (
            {"crs": "EPSG:4326", "transform": None, "gcps": [
                GroundControlPoint(0, 0, -77, 39), GroundControlPoint(0, 8, -76.9, 39),
                GroundControlPoint(6, 0, -77, 38.9)]},
            ("control points", "gdalwarp"),
        ),
    ],
)  # fmt: skip
def test_files_without_a_straight_place_on_earth_are_refused(tmp_path, options, words):
    with pytest.raises(GridError, match=naming("a.tif", *words)):
        read(write(tmp_path / "a.tif", KELVIN, **options))


def test_the_same_acquisition_is_not_counted_twice(tmp_path):
    first = write(tmp_path / "lst 2023-06-01.tif", KELVIN)
    other = write(tmp_path / "lst 2023-06-01 east.tif", KELVIN + 1)
    stack, _ = load_stack([first, other], unit="kelvin")
    assert list(stack["time"].to_numpy()) == ["2023-06-01"] * 2
    again = write(tmp_path / "copy.tif", KELVIN)
    with pytest.raises(AssetReadError, match=naming("copy.tif", "lst 2023-06-01.tif", "twice")):
        load_stack([first, again], unit="kelvin")


def test_without_files_the_setting_is_named():
    with pytest.raises(ConfigError, match=naming("thermal.stack")):
        load_stack([], unit="kelvin")


def test_a_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "a.tif", np.random.default_rng(1).normal(290, 1, (200, 200)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(AssetReadError, match=naming("a.tif")):
        read(path)


# --- names of files -------------------------------------------------------------------------------


def named(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"II*\0")


@pytest.mark.parametrize("name", ["lst [2023-06-01].tif", "läst ü.tif", "what?.tif", "a*b.tif", "a b.tif", "[!x].tif"])
def test_a_file_that_exists_is_read_by_its_name(tmp_path, name):
    named(tmp_path, name, "other.tif")
    assert stack_files(str(tmp_path / name)) == [tmp_path / name]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.tif", ["a.tif", "b.TIF", "lst [1].tif"]),
        ("*.TIF", ["a.tif", "b.TIF", "lst [1].tif"]),
        ("[ab].tif", ["a.tif", "b.TIF"]),
        ("lst [1]*.tif", ["lst [1].tif"]),
        ("*", ["a.tif", "b.TIF", "lst [1].tif"]),
        ("**/*.tif", ["a.tif", "b.TIF", "in/c.tif", "lst [1].tif"]),
        ("i*/*.tif", ["in/c.tif"]),
    ],
)
def test_patterns(tmp_path, caplog, pattern, expected):
    folder = tmp_path / "scenes [2023] *"
    named(folder, "a.tif", "b.TIF", "lst [1].tif", "in/c.tif", "a.tif.aux.xml", "a.tif.msk", "a.tif.ovr", "README.txt")
    found = stack_files(f"{folder}/{pattern}")
    assert [str(f.relative_to(folder)) for f in found] == expected
    assert ("not read: " in caplog.text) == (pattern == "*")


def test_other_bands_of_a_landsat_product_are_left_out(tmp_path, caplog):
    stem = "LC08_L2SP_196024_20240626_20220427_02_T1"
    named(tmp_path, f"{stem}_ST_B10.TIF", f"{stem}_ST_QA.TIF", f"{stem}_QA_PIXEL.TIF")
    assert [f.name for f in stack_files(f"{tmp_path}/*.TIF")] == [f"{stem}_ST_B10.TIF"]
    assert "_ST_QA.TIF" in caplog.text


def test_what_matches_nothing_is_refused_with_a_hint(tmp_path):
    named(tmp_path, "lst.tif")
    with pytest.raises(ConfigError, match=naming("lst_.tif", "did you mean 'lst.tif'?")):
        stack_files(str(tmp_path / "lst_.tif"))
    with pytest.raises(ConfigError, match=naming("a folder", "*.tif")):
        stack_files(str(tmp_path))
    with pytest.raises(ConfigError, match=naming("no such file")):
        stack_files(str(tmp_path / "none" / "*.tif"))
