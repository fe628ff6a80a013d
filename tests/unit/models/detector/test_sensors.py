"""Profiles: their weights are shipped and cover them, and a profile only narrows its weights' card."""

from pathlib import Path

import pytest

from overwatt.aoi.errors import ConfigError, ModelContractError
from overwatt.models.detector import sensors
from overwatt.models.detector.card import DEFAULT_WEIGHTS, ModelCard, load_card
from tests.support import naming


def test_a_profile_or_weights_but_not_both():
    assert sensors.weights_of(None, None) == (DEFAULT_WEIGHTS, None)
    assert sensors.weights_of(None, Path("w.safetensors")) == (Path("w.safetensors"), None)
    path, profile = sensors.weights_of("sentinel2", None)
    assert path == profile.path and profile.gsd_m == 10.0
    with pytest.raises(ConfigError, match=naming("'naip'", "w.safetensors")):
        sensors.weights_of("naip", Path("w.safetensors"))


@pytest.mark.parametrize("profile", sensors.PROFILES, ids=lambda p: p.name)
def test_the_weights_of_a_profile_are_shipped_and_cover_it(profile):
    card = load_card(profile.path)
    assert card.gsd_range_m[0] <= profile.gsd_range_m[0] and profile.gsd_range_m[1] <= card.gsd_range_m[1]


def test_profiles_are_consistent():
    for p in sensors.PROFILES:
        assert p.gsd_range_m[0] <= p.native_range_m[0] <= p.gsd_m <= p.native_range_m[1] <= p.gsd_range_m[1]
    names = [p.name for p in sensors.PROFILES]
    assert len(set(names)) == len(names)


def test_an_unknown_name_gets_a_hint():
    assert sensors.named("naip").gsd_m == 1.0
    with pytest.raises(ModelContractError, match=naming("'nap'", "'naip'")):
        sensors.named("nap")


def test_a_profile_changes_the_ground_sizes_alone():
    card = ModelCard(
        name="w", version="1", created="2026-01-01", licence="CC0-1.0", bands=("red",), units="display_uint8",
        gsd_m=1.0, gsd_range_m=(0.1, 4), native_range_m=(0.5, 4), mean=(0.5,), std=(0.2,),
    )  # fmt: skip
    narrow = sensors.named("aerial_2m").narrowed(card)
    assert (narrow.gsd_m, narrow.gsd_range_m) == (2.0, (1.2, 4.0))
    same = {"gsd_m": card.gsd_m, "gsd_range_m": card.gsd_range_m, "native_range_m": card.native_range_m}
    assert narrow.model_copy(update=same) == card
