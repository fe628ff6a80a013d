"""Surface temperature moves the probability of a data center little, and never where nothing was to be seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.pipeline.sites.heat_evidence import FALSE_EXCESS, likelihood_ratio, weigh
from overwatt.pipeline.tables import conform
from tests.ledger_data import site, sites_of


def thermal(floor_mw, sigmas):
    row = {"site_id": "a", "looks_used": 4, "looks_total": 4, "floor_mw": floor_mw, "excess_sigmas": sigmas,
           "statement": "Seen."}  # fmt: skip
    return conform([row], "thermal")


def weighed(mw, floor_mw, sigmas, used=False):
    table = sites_of([site("a", 0, 0, mw, p=0.5)]).assign(used_thermal=used)
    sites, heat = weigh(table, thermal(floor_mw, sigmas))
    p = float(sites["p_data_center"].iloc[0])
    return p / (1 - p), heat.iloc[0]


@given(st.floats(0, 1), st.floats(-50, 50))
def test_the_ratio_is_within_what_detection_implies(detect, sigmas):
    ratio = likelihood_ratio(detect, sigmas)
    assert 1 - detect <= ratio <= (detect / FALSE_EXCESS + 1 - detect) * (1 + 1e-9)
    assert ratio >= 1 if sigmas > 3 else ratio <= 1


@pytest.mark.parametrize("floor_mw", [120.0, 300.0, 1200.0])
def test_no_anomaly_at_50_mw_says_next_to_nothing(floor_mw):
    assert weighed(50 / 1.3, floor_mw, 0.5)[0] >= 0.95


def test_a_floor_above_what_the_site_could_draw_is_no_evidence():
    odds, heat = weighed(10, 500.0, 9.0)
    assert odds == 1
    assert np.isnan(heat["likelihood_ratio"])
    assert heat["p_detect"] < 0.01
    assert heat["statement"] == "Seen."


def test_heat_that_the_detector_used_is_not_counted_again():
    odds, heat = weighed(2000, 100.0, 9.0, used=True)
    assert odds == 1
    assert np.isnan(heat["likelihood_ratio"])


def test_a_gigawatt_without_an_anomaly_counts_against_and_with_one_weakly_for():
    for sigmas, low, high in ((0.0, 0.05, 0.9), (9.0, 1.3, 1 / FALSE_EXCESS)):
        odds, heat = weighed(2000, 200.0, sigmas)
        assert low < odds < high
        assert odds == pytest.approx(heat["likelihood_ratio"])
        assert "The odds of a data center were multiplied by" in heat["statement"]


def test_unknown_power_or_floor_is_no_evidence():
    table = sites_of([site("a", 0, 0, 50, p=0.5)])
    table[[c for c in table if c.startswith(("it_mw", "facility_mw"))]] = np.nan
    for sites, floor_mw in ((table, 100.0), (sites_of([site("a", 0, 0, 50, p=0.5)]), np.nan)):
        out, heat = weigh(sites, thermal(floor_mw, 0.0))
        assert out["p_data_center"].tolist() == [0.5]
        assert heat["likelihood_ratio"].isna().all()
