import math

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.inspection.rank_stability import stability
from overwatt.pipeline.inspection.ranking import FLOP_90D_PER_MW, SHARE, p_over, rank_discrepancies
from overwatt.pipeline.tables import LEDGER_CLASSES, QUANTILE_NAMES, QUANTILES, conform, empty
from tests.support import naming

FLOP_PER_MW = 1.5e24
SD = 0.3


def site(name, mw, sd=SD):
    q = {n: mw * math.exp(sd * z) for n, z in zip(QUANTILE_NAMES, ndtri(QUANTILES), strict=True)}
    return {
        "site_id": name,
        "p_data_center": 0.9,
        "prior": 0.3,
        "lon": 0.0,
        "lat": 0.0,
        "buildings": 1,
        "building_area_m2": 1e4,
        "cooling_objects": 4,
        "cooling_area_m2": 160.0,
        "on_border": False,
        "seed": 0,
        "assumptions": "",
        **{f"it_mw_{n}": v for n, v in q.items()},
        **{f"facility_mw_{n}": 1.3 * v for n, v in q.items()},
        **{f"h100e_{n}": v for n, v in q.items()},
        **{f"flop_90d_{n}": FLOP_PER_MW * v for n, v in q.items()},
        "geometry": shapely.Point(0, 0),
    }


def entry(name, klass, site_id=None, declared_id=None, mw=None, declared_mw=None, p_match=0.9, p_detect=1.0, p=0.9):
    return {
        "entry_id": name,
        "rank": 0,
        "class": klass,
        "site_id": site_id,
        "declared_id": declared_id,
        "p_match": p_match,
        "p_detect": p_detect,
        "p_data_center": p if site_id else None,
        "it_mw_p50": mw,
        "declared_it_mw": declared_mw,
        "undeclared_flop_90d": 0.0,
        "evidence_for": "",
        "evidence_against": "",
        "settles": "",
        "geometry": shapely.Point(0, 0),
    }


def ledger_of(rows):
    return conform(gpd.GeoDataFrame(rows, crs=WGS84), "ledger")


def sites_of(rows):
    return conform(gpd.GeoDataFrame(rows, crs=WGS84), "sites")


def one(row, sites, declared=None):
    return rank_discrepancies(ledger_of([row]), sites, declared)["undeclared_flop_90d"][0]


MEAN = math.exp(SD**2 / 2)


def test_undeclared_is_probability_times_mean_compute():
    value = one(entry("a", "undeclared", "S", mw=100, p_match=0.25), sites_of([site("S", 100)]))
    assert value == pytest.approx(0.9 * 0.75 * MEAN * 100 * FLOP_PER_MW, rel=0.005)


def test_above_declared_is_the_mean_excess():
    draws = 100 * np.exp(SD * np.random.default_rng(0).normal(size=200_000))
    for declared_mw in (30.0, 100.0, 150.0):
        value = one(entry("a", "above_declared", "S", "D", 100, declared_mw), sites_of([site("S", 100)]))
        expected = np.maximum(draws - declared_mw, 0).mean() * FLOP_PER_MW
        assert value == pytest.approx(expected, rel=0.03)


def test_above_declared_takes_the_declarations_of_its_site_together():
    rows = [
        entry("a", "above_declared", "S", "D", 100, 20.0),
        entry("b", "matched", "S", "E", 100, 30.0),
    ]
    joint = rank_discrepancies(ledger_of(rows), sites_of([site("S", 100)])).set_index("entry_id")["undeclared_flop_90d"]
    alone = one(entry("a", "above_declared", "S", "D", 100, 50.0), sites_of([site("S", 100)]))
    assert joint["a"] == pytest.approx(alone)
    assert joint["b"] == 0.0


def test_observed_power_of_sites_under_one_declaration_is_summed():
    rows = [
        entry("a", "above_declared", "S", "D", 100, 100.0),
        entry("b", "matched", "T", "D", 100, 100.0),
    ]
    sites = sites_of([site("S", 100), site("T", 100)])
    value = rank_discrepancies(ledger_of(rows), sites).set_index("entry_id")["undeclared_flop_90d"]["a"]
    assert value == pytest.approx((200 * MEAN - 100) * FLOP_PER_MW, rel=0.05)


def test_not_seen_is_a_small_share_of_the_declared_power():
    sites = sites_of([site("S", 100), site("T", 20)])
    value = one(entry("a", "not_seen", None, "D", None, 60.0, p_detect=0.8), sites)
    assert value == pytest.approx(SHARE["not_seen"] * 0.8 * 60 * FLOP_PER_MW, rel=1e-6)
    bare = one(entry("a", "not_seen", None, "D", None, 60.0), empty("sites"))
    assert bare == pytest.approx(SHARE["not_seen"] * 60 * FLOP_90D_PER_MW)
    unknown = one(entry("a", "not_seen", None, "D", None, None), sites)
    assert unknown == pytest.approx(SHARE["not_seen"] * 60 * FLOP_PER_MW, rel=1e-6)


def test_not_seen_of_what_was_only_planned_counts_nothing():
    rows = [{"declared_id": "D", "position_error_m": 50.0, "kind": "facility", "source": "t", "status": "planned"}]
    declared = conform(gpd.GeoDataFrame(rows, geometry=[shapely.Point(0, 0)], crs=WGS84), "declared")
    row = entry("a", "not_seen", None, "D", None, 60.0)
    assert one(row, sites_of([site("S", 100)]), declared) == 0.0
    operating = declared.assign(status="operational")
    assert one(row, sites_of([site("S", 100)]), operating) > 0.0


def test_order_of_magnitude_between_classes_of_one_site():
    """The same 100 MW: hidden outranks under-declared, that a displaced one, that a ghost, that agreement."""
    sites = sites_of([site("S", 100)])
    value = {
        "undeclared": one(entry("a", "undeclared", "S", mw=100, p_match=0.02), sites),
        "above_declared": one(entry("a", "above_declared", "S", "D", 100, 33.0), sites),
        "position_mismatch": one(entry("a", "position_mismatch", "S", "D", 100, 100.0, p_match=0.8), sites),
        "not_seen": one(entry("a", "not_seen", None, "D", None, 100.0), sites),
        "below_declared": one(entry("a", "below_declared", "S", "D", 100, 300.0, p_match=0.99), sites),
        "matched": one(entry("a", "matched", "S", "D", 100, 100.0), sites),
    }
    named = ["undeclared", "above_declared", "position_mismatch", "not_seen", "matched"]
    assert sorted(named, key=lambda k: -value[k]) == named
    assert 0 < value["below_declared"] < value["position_mismatch"]
    assert value["matched"] == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_rank_is_a_permutation_in_falling_order_whatever_the_order_of_rows(seed, n):
    rng = np.random.default_rng(seed)
    rows, sites = [], []
    for k in range(n):
        klass = str(rng.choice(LEDGER_CLASSES))
        seen = klass != "not_seen"
        mw = float(rng.choice([10.0, 50.0]))
        rows.append(
            entry(
                f"e{k}",
                klass,
                f"S{k}" if seen else None,
                None if klass == "undeclared" else f"D{k}",
                mw if seen else None,
                None if klass == "undeclared" else float(rng.choice([20.0, 60.0])),
            )
        )
        sites.append(site(f"S{k}", mw))
    ranked = rank_discrepancies(ledger_of(rows), sites_of(sites))
    assert ranked["rank"].tolist() == list(range(1, n + 1))
    assert (np.diff(ranked["undeclared_flop_90d"]) <= 0).all()
    assert (ranked["undeclared_flop_90d"] >= 0).all()
    shuffled = rank_discrepancies(ledger_of([rows[k] for k in rng.permutation(n)]), sites_of(sites[::-1]))
    assert ranked["entry_id"].tolist() == shuffled["entry_id"].tolist()
    again = rank_discrepancies(ranked, sites_of(sites))
    assert ranked["entry_id"].tolist() == again["entry_id"].tolist()


def test_empty_ledger_stays_empty():
    assert len(rank_discrepancies(empty("ledger"), empty("sites"))) == 0


def test_the_distribution_behind_the_number():
    table = sites_of([site("S", 100)])
    row = rank_discrepancies(ledger_of([entry("a", "undeclared", "S", mw=100, p_match=0.25)]), table).iloc[0]
    w = 0.9 * 0.75
    assert row["undeclared_flop_90d_p05"] == 0  # with 0.325 there is nothing
    assert row["undeclared_flop_90d_p50"] == pytest.approx(
        100 * FLOP_PER_MW * math.exp(SD * ndtri((0.5 - (1 - w)) / w)), rel=0.01
    )
    assert row["undeclared_flop_90d_p95"] == pytest.approx(
        100 * FLOP_PER_MW * math.exp(SD * ndtri((0.95 - (1 - w)) / w)), rel=0.01
    )
    over = 1 - ndtr(math.log(1e26 / (100 * FLOP_PER_MW)) / SD)
    assert row["p_over_1e26"] == pytest.approx(w * over, abs=0.005)
    assert row["p_over_1e25"] == pytest.approx(w, abs=0.005)
    assert row["next_step"] in ("image", "visit")
    assert row["value_of_inspection"] > 0
    assert row["q_value"] == pytest.approx(1 - w)


def test_p_over_any_threshold_in_any_time():
    ledger, table = ledger_of([entry("a", "undeclared", "S", mw=100, p_match=0.25)]), sites_of([site("S", 100)])
    assert p_over(ledger, table, 1e26)[0] == rank_discrepancies(ledger, table)["p_over_1e26"][0]
    assert p_over(ledger, table, 2e26, days=180.0)[0] == p_over(ledger, table, 1e26)[0]
    assert p_over(ledger, table, 1e27)[0] < 0.01


def test_entries_without_anything_stand_last_without_a_range():
    rows = [entry("a", "matched", "S", "D", 50, 50), entry("b", "undeclared", "S", mw=50, p_match=0.0)]
    out = rank_discrepancies(ledger_of(rows), sites_of([site("S", 50)]))
    assert out["entry_id"].tolist() == ["b", "a"]
    assert out["undeclared_flop_90d"].tolist()[1] == 0
    assert out["next_step"].tolist()[1] == "none"


def test_the_first_places_and_how_firm_they_are():
    rows = [entry(f"e{k}", "undeclared", f"S{k}", mw=mw, p_match=0.0) for k, mw in enumerate((900, 300, 299.9, 10))]
    table = sites_of([site(f"S{k}", mw) for k, mw in enumerate((900, 300, 299.9, 10))])
    out = rank_discrepancies(ledger_of(rows), table)
    assert out["rank_low"].tolist()[0] == out["rank_high"].tolist()[0] == 1
    assert out["tie"][1] == out["tie"][2] != out["tie"][0]
    assert out["rank_high"][1] == 3
    found = stability(out, table)
    assert found["first_kept"] == 1.0
    assert found["top"] == 4
    assert found == stability(out, table)
    assert found["statement"]


def test_nothing_hidden_has_no_order():
    table = sites_of([site("S", 50)])
    out = rank_discrepancies(ledger_of([entry("a", "matched", "S", "D", 50, 50)]), table)
    assert "no order" in str(stability(out, table)["statement"])


def test_a_site_that_is_not_there_is_named():
    with pytest.raises(RegistryError, match=naming("site_id", "'X'")):
        rank_discrepancies(ledger_of([entry("a", "undeclared", "X", mw=1)]), sites_of([site("S", 1)]))


@pytest.mark.parametrize(("flop", "days"), [(0.0, 90.0), (1e26, 0.0), (math.inf, 90.0)])
def test_a_threshold_must_be_a_number(flop, days):
    with pytest.raises(ConfigError, match=naming("p_over", "days" if days == 0 else "flop")):
        p_over(ledger_of([entry("a", "undeclared", "S", mw=1)]), sites_of([site("S", 1)]), flop, days)
