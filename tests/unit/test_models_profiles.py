"""Profiles: every ground size has one or is refused, and a profile only narrows its weights' card."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoi.errors import ModelContractError
from models import profiles
from models.card import ModelCard


@given(st.floats(0.01, 100))
def test_a_ground_size_has_a_profile_that_takes_it_or_is_refused(gsd_m):
    taken = [p for p in profiles.PROFILES if p.by_itself and p.gsd_range_m[0] <= gsd_m <= p.gsd_range_m[1]]
    if taken:
        assert profiles.for_gsd(gsd_m, "image a.tif") == taken[0]
    else:
        with pytest.raises(ModelContractError, match=r"image a\.tif: no weights for"):
            profiles.for_gsd(gsd_m, "image a.tif")


def test_profiles_are_consistent():
    for p in profiles.PROFILES:
        assert p.gsd_range_m[0] <= p.native_range_m[0] <= p.gsd_m <= p.native_range_m[1] <= p.gsd_range_m[1]
    names = [p.name for p in profiles.PROFILES]
    assert len(set(names)) == len(names)


def test_an_unknown_name_gets_a_hint():
    assert profiles.named("naip").gsd_m == 1.0
    with pytest.raises(ModelContractError, match="naip"):
        profiles.named("nap")


def test_a_profile_changes_the_ground_sizes_alone():
    card = ModelCard(
        name="w", version="1", created="2026-01-01", licence="CC0-1.0", bands=("red",), units="display_uint8",
        gsd_m=1.0, gsd_range_m=(0.1, 4), native_range_m=(0.5, 4), mean=(0.5,), std=(0.2,),
    )  # fmt: skip
    narrow = profiles.named("aerial_2m").narrowed(card)
    assert (narrow.gsd_m, narrow.gsd_range_m) == (2.0, (1.2, 4.0))
    same = {"gsd_m": card.gsd_m, "gsd_range_m": card.gsd_range_m, "native_range_m": card.native_range_m}
    assert narrow.model_copy(update=same) == card
