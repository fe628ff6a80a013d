import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from overwatt.aoi.errors import ConfigError, OverwattError
from overwatt.pipeline.imagery.radiometry import (
    PROFILES,
    THERMAL_CONSTANTS,
    SensorProfile,
    brightness_temperature,
    profile_named,
    temperature_unit,
    to_kelvin,
    to_unit,
)
from tests.support import naming

ST, CELSIUS, S2, NAIP = (PROFILES[n] for n in ("landsat_st", "landsat_st_celsius", "sentinel2_l2a", "naip"))
KELVIN = SensorProfile("plain_kelvin", ("lst",), "kelvin", 1.0, 0.0, None, 30.0, 100.0)


def test_landsat_numbers_become_kelvin_and_fill_becomes_nan():
    kelvin, ok = to_kelvin(np.array([[0, 44177]], dtype=np.uint16), ST)
    assert kelvin.dtype == np.float32
    np.testing.assert_array_equal(ok, [[False, True]])
    assert math.isnan(kelvin[0, 0])
    assert kelvin[0, 1] == pytest.approx(44177 * 0.00341802 + 149.0, abs=1e-4)


def test_celsius_product_becomes_kelvin():
    kelvin, ok = to_kelvin(np.array([20.0, -9999.0, np.nan, np.inf], dtype=np.float32), CELSIUS)
    assert kelvin[0] == pytest.approx(293.15)
    np.testing.assert_array_equal(ok, [True, False, False, False])
    assert np.isnan(kelvin[1:]).all()


@pytest.mark.parametrize(
    ("values", "profile", "words"),
    [
        ([20.0, 21.0], KELVIN, (20.5, "Celsius")),
        ([44177.0], KELVIN, (44177, "digital numbers")),
        ([295.0, 296.0], CELSIUS, (295.5, "kelvin")),
        ([44177.0], CELSIUS, (44177, "digital numbers")),
        ([295.0, 296.0], ST, (295.5, "kelvin")),
        ([20.0], ST, (20, "Celsius")),
        ([77.0, 78.0], KELVIN, (77.5, "Fahrenheit")),
        ([2950.0, 2960.0], KELVIN, (2955, "tenths")),
        ([-500.0, -500.0, 295.0], KELVIN, ("-500", "nodata")),
        ([150.0], NAIP, ("display_uint8", "landsat_st")),
        ([1500.0], S2, ("reflectance", "landsat_st")),
    ],
)
def test_values_that_contradict_the_temperature_unit_are_refused(values, profile, words):
    with pytest.raises(ConfigError, match=naming(f"'{profile.name}'", *words)) as info:
        to_kelvin(np.array(values), profile)
    assert isinstance(info.value, OverwattError)


@pytest.mark.parametrize("fill", [0, -9999, -32768, 65535, 1e20, np.finfo(np.float32).min, -1234.5, 360.0, 170.0])
def test_impossible_pixels_are_invalid_one_by_one(fill):
    kelvin, ok = to_kelvin(np.array([295.0, fill, 296.0, 297.0]), KELVIN)
    np.testing.assert_array_equal(ok, [True, False, True, True])
    assert np.isnan(kelvin[1])


@pytest.mark.parametrize("fill", [0, -9999, 65535, 1e20])
def test_a_usual_fill_value_may_be_most_of_an_image(fill):
    _, ok = to_kelvin(np.array([fill, fill, fill, 297.0]), KELVIN)
    np.testing.assert_array_equal(ok, [False, False, False, True])
    assert not to_kelvin(np.full(4, float(fill)), KELVIN)[1].any()


@pytest.mark.parametrize(
    ("text", "unit"),
    [("K", "kelvin"), ("Kelvin", "kelvin"), ("degC", "celsius"), ("°C", "celsius"), ("deg_C", "celsius"),
     ("Degrees Celsius", "celsius"), ("℃", "celsius"), ("degrees_F", "fahrenheit"), ("W m-2", None), ("", None),
     ("0.1 K", None)],
)  # fmt: skip
def test_words_for_units(text, unit):
    assert temperature_unit(text) == unit


def test_a_mask_of_clouds_is_honoured_before_the_values_are_judged():
    kelvin, ok = to_kelvin(np.array([[5.0, 295.0, 296.0]]), KELVIN, valid=np.array([False, True, True]))
    np.testing.assert_array_equal(ok, [[False, True, True]])
    assert np.isnan(kelvin[0, 0])


@pytest.mark.parametrize("profile", list(PROFILES.values()), ids=lambda p: p.name)
def test_nothing_valid_gives_nan_and_no_complaint(profile):
    convert = to_kelvin if profile.units in ("kelvin", "celsius") else to_unit
    values, ok = convert(np.full((3, 4, 4), np.nan), profile)
    assert np.isnan(values).all()
    assert not ok.any()


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float64, (5,), elements=st.floats(200, 340)))
def test_kelvin_survives_every_way_it_is_stored(kelvin):
    dn = np.round((kelvin - 149.0) / 0.00341802)
    np.testing.assert_allclose(to_kelvin(dn, ST)[0], kelvin, atol=0.0035)
    np.testing.assert_allclose(to_kelvin(kelvin - 273.15, CELSIUS)[0], kelvin, atol=1e-4)
    np.testing.assert_allclose(to_kelvin(kelvin, KELVIN)[0], kelvin, atol=1e-4)


def test_sentinel2_offset_applies_once():
    dn = np.array([[[0, 1000, 1500, 4000, 12000]]], dtype=np.uint16)
    unit, ok = to_unit(dn, S2)
    np.testing.assert_array_equal(ok[0, 0], [False, True, True, True, True])
    np.testing.assert_allclose(unit[0, 0, 1:], [0.0, 0.05, 0.3, 1.0], atol=1e-6)
    older, _ = to_unit(dn, PROFILES["sentinel2_l2a_no_offset"])
    np.testing.assert_allclose(older[0, 0, 1:], [0.1, 0.15, 0.4, 1.0], atol=1e-6)


def test_offset_applied_by_the_catalogue_is_noticed():
    shifted = np.random.default_rng(1).normal(600, 300, (4, 16, 16)).clip(1)
    with pytest.raises(ConfigError, match=naming("offset", "-0.1", "sentinel2_l2a_no_offset")):
        to_unit(shifted, S2)
    water = np.full((4, 16, 16), 1500.0)
    water[:, :3] = 950
    assert to_unit(water, S2)[0].min() == 0.0


def test_display_values_become_unit_and_black_counts_only_where_all_bands_are_black():
    image = np.full((3, 2, 2), 255, dtype=np.uint8)
    image[:, 0, 0] = 0
    image[0, 0, 1] = 0
    unit, ok = to_unit(image, PROFILES["aerial_2m"])
    assert unit.dtype == np.float32
    assert not ok[:, 0, 0].any()
    assert np.isnan(unit[:, 0, 0]).all()
    assert ok[:, 0, 1].all()
    np.testing.assert_array_equal(unit[:, 0, 1], [0.0, 1.0, 1.0])


def test_stack_of_images_is_masked_image_by_image():
    stack = np.full((2, 3, 2, 2), 100, dtype=np.uint8)
    stack[1, :, 0, 0] = 0
    _, ok = to_unit(stack, NAIP)
    assert ok[0].all()
    assert not ok[1, :, 0, 0].any()
    assert ok[1, :, 1].all()


@pytest.mark.parametrize(
    ("values", "profile", "words"),
    [
        (np.full((3, 2, 2), 1000, dtype=np.uint16), NAIP, ("8-bit", 1000)),
        (np.full((3, 2, 2), -5.0), NAIP, ("8-bit", "-5")),
        (np.full((3, 2, 2), 0.5), NAIP, (0.5, "0..1", "0..255")),
        (np.full((3, 2, 2), 0.3), PROFILES["sentinel2_l2a_no_offset"], (0.3, "reflectance", "digital numbers")),
        (np.full((3, 2, 2), 60000.0), S2, ("reflectance", 5.9, "digital numbers")),
        (np.full((3, 2, 2), 300.0), ST, ("kelvin", "optical")),
        (np.full((3, 2, 2), 300.0), SensorProfile("raw", ("b",), "dn", 1, 0, None, 1, 1), ("dn", "optical")),
    ],
)
def test_values_that_contradict_the_optical_unit_are_refused(values, profile, words):
    with pytest.raises(ConfigError, match=naming(f"'{profile.name}'", *words)):
        to_unit(values, profile)


def test_profiles_are_consistent():
    for name, profile in PROFILES.items():
        assert name == profile.name
        assert 0 < profile.gsd_min_m <= profile.gsd_max_m
        assert profile.scale > 0
    assert profile_named("naip") is NAIP
    with pytest.raises(ConfigError, match=naming("'niap'", "'naip'")):
        profile_named("niap")


def test_brightness_temperature_of_a_worked_number():
    dn = np.array([[0, 25000]], dtype=np.uint16)
    kelvin = brightness_temperature(dn, 3.342e-4, 0.1, *THERMAL_CONSTANTS["landsat8_b10"])
    assert kelvin.dtype == np.float32
    assert math.isnan(kelvin[0, 0])
    assert kelvin[0, 1] == pytest.approx(1321.0789 / math.log(774.8853 / 8.455 + 1), abs=1e-3)
    assert kelvin[0, 1] == pytest.approx(291.6, abs=0.2)


@settings(max_examples=40, deadline=None)
@given(st.floats(220, 340), st.sampled_from(sorted(THERMAL_CONSTANTS)))
def test_brightness_temperature_inverts_planck(kelvin, sensor):
    k1, k2 = THERMAL_CONSTANTS[sensor]
    radiance = k1 / (math.exp(k2 / kelvin) - 1)
    dn = np.array([(radiance - 0.1) / 3.342e-4])
    assert brightness_temperature(dn, 3.342e-4, 0.1, k1, k2)[0] == pytest.approx(kelvin, abs=1e-3)


def test_brightness_temperature_without_radiance_is_nan_and_bad_constants_are_named():
    assert np.isnan(brightness_temperature(np.array([5.0, np.nan]), 1e-3, -1.0, 774.0, 1321.0)).all()
    with pytest.raises(ConfigError, match=naming("k1", 0)):
        brightness_temperature(np.array([1]), 1e-3, 0.1, 0, 1321.0)
