"""Chips: names, numbers, power and speed; against reported power on the real table."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.power import chips as measured
from overwatt.aoi.errors import ConfigError
from overwatt.models.reference import facts
from overwatt.pipeline.power.accelerators import find_chip, parse_chips, power_of_chips
from tests.support import naming


def test_parts_are_read():
    assert parse_chips("NVIDIA H100 SXM5 80GB:100,000") == [("NVIDIA H100 SXM5 80GB", 100_000)]
    assert parse_chips("H100:10; GB200:20, A100:5") == [("H100", 10), ("GB200", 20), ("A100", 5)]


@pytest.mark.parametrize("text", ["", "H100", "H100:", ":5", "H100:-5", "H100:0", "H100:1e5", "H100:999999999999", ";"])
def test_unreadable_parts_are_refused(text):
    with pytest.raises(ConfigError, match=naming("chips")):
        parse_chips(text)


@pytest.mark.parametrize(
    ("short", "full"),
    [("H100", "NVIDIA H100 SXM5 80GB"), ("gb200 nvl72", "NVIDIA GB200"), ("tpu v5p", "Google TPU v5p"),
     ("Trainium2", "Amazon Trainium2"), ("MI300X", "AMD Instinct MI300X"), ("ascend-910b", "Huawei Ascend 910B")],
)  # fmt: skip
def test_short_names(short, full):
    assert find_chip(short).chip == full


def test_every_name_of_the_table_finds_itself():
    for name in facts.accelerators():
        assert find_chip(name).chip == name


def test_an_unknown_name_is_answered_with_a_few_near_ones():
    with pytest.raises(ConfigError, match=naming("'H101'", "NVIDIA H100 PCIe")) as said:
        find_chip("H101")
    assert len(str(said.value)) < 250


@pytest.mark.parametrize("name", ["Cerebras CS-3", "Amazon Trainium1", "Rubin", "Intel Data Center GPU Max 1550"])
def test_chips_added_to_the_hardware_table(name):
    found = power_of_chips([(name, 1000)])
    assert 0.1 < found.facility_mw < 50
    assert found.h100e > 100


def test_every_chip_of_the_real_tables_is_found(realdata):
    clusters = pd.read_csv(realdata / "facilities" / "epoch_gpu_clusters.csv")
    sites = pd.read_csv(realdata / "facilities" / "epoch_data_center_chip_quantities.csv")
    names = {
        *clusters["Chip type (primary)"].dropna(),
        *clusters["Chip type (secondary)"].dropna(),
        *sites["Chip type"],
    }
    assert len(names) > 40
    for name in names:
        find_chip(name)


def test_rows_that_share_an_owner_are_held_out_together():
    # private: `measure` needs the real table; the rule that keeps the held-out rows apart is checked without it
    groups = measured._groups(["a,b", "c", "b,d", "d #likely", "e"])
    assert groups[0] == groups[2] == groups[3]
    assert len(set(groups)) == 3


@pytest.mark.parametrize("name", ["Voodoo 3", "", "NVIDIA"])
def test_unknown_and_ambiguous_names_are_refused(name):
    with pytest.raises(ConfigError, match=naming("chips", f"'{name}'")):
        find_chip(name)


def test_a_hundred_thousand_h100():
    """xAI said 150 MW of its first 100,000 (Epoch AI, GPU clusters)."""
    found = power_of_chips([("H100", 100_000)])
    assert 120 < found.facility_mw < 220
    assert found.h100e == pytest.approx(100_000, rel=0.01)
    assert found.it_mw < found.facility_mw
    assert sum(v**2 for v in found.errors.values()) == pytest.approx(found.ln_sd**2)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_power_is_in_proportion_to_number(a, b):
    one, two = (power_of_chips([("B200", n)]).facility_mw for n in (a, b))
    assert one / two == pytest.approx(a / b)


def test_a_chip_before_its_time_is_a_wrong_date():
    with pytest.raises(ConfigError, match=naming("NVIDIA GB200", 2025, 2020)):
        power_of_chips([("GB200", 10)], year=2020)


def test_one_owner_left_out_on_the_real_table(realdata):
    found = measured.measure(realdata / "facilities")
    assert found["n"] >= 60
    assert found["median_abs_ln_error"] <= 0.15
    assert found["within_1_4"] >= 0.80
    low, high = found["coverage_80_band_if_true"]
    assert low <= found["coverage_80"] <= high
    beside = found["where_epoch_calculates"]
    assert beside["ours"]["crps"] < beside["epoch"]["crps"]
