"""Balances of ledgers that `reconcile` made: laws, and how often they raise a question where there is none."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.balance import material_balance
from overwatt.pipeline.coverage import assumed_looked_at
from overwatt.pipeline.reconcile import ledger as reconcile
from overwatt.pipeline.reconcile.observed_sites import sites_from_rows
from overwatt.pipeline.tables import conform
from tests.support import naming


def world(true_mw, seen_factor, told_factor, *, drop=(), chips=None, spread=0.3):
    """A row of sites 20 km apart of one owner; `drop` are not declared."""
    n = len(true_mw)
    place = shapely.points(np.arange(n) * 0.25 - 80.0, np.full(n, 40.0))
    sites = sites_from_rows(pd.DataFrame({
        "site_id": [f"S{k}" for k in range(n)], "geometry": place, "mid": true_mw * seen_factor, "spread": spread,
        "p": 0.99, "area": 1e4, "cooling": 4,
    }))  # fmt: skip
    keep = [k for k in range(n) if k not in drop]
    rows = gpd.GeoDataFrame({
        "declared_id": [f"D{k}" for k in keep], "position_error_m": 50.0, "kind": "facility", "operator": "Big",
        "zone": "US-VA", "source": "t", "it_mw": (true_mw * told_factor)[keep],
    }, geometry=place[keep], crs=WGS84)  # fmt: skip
    if chips is not None:
        more = {"declared_id": "C", "position_error_m": 25_000.0, "kind": "chips", "operator": "Big", "zone": "US-VA",
                "source": "t", "chip": "NVIDIA H100 SXM5 80GB", "chips": chips,
                "geometry": shapely.Point()}  # fmt: skip
        rows = pd.concat([rows, gpd.GeoDataFrame([more], crs=WGS84)], ignore_index=True)
    declared = conform(rows, "declared")
    labels = pd.DataFrame({"site_id": sites["site_id"], "operator": "Big", "zone": "US-VA"})
    looked = assumed_looked_at(sites)
    return reconcile.reconcile(sites, declared, looked, labels=labels), sites, declared


def row(table, level, quantity="it_mw"):
    found = table[(table["level"] == level) & (table["quantity"] == quantity)]
    assert len(found) == 1
    return found.iloc[0]


MW = np.array([20.0, 40.0, 80.0, 30.0])
ONE = np.ones(4)


def test_sums_and_their_sigma():
    found = material_balance.material_balance(*world(MW, ONE, ONE))
    owner, zone = row(found, "owner"), row(found, "zone")
    assert owner["declared"] == zone["declared"] == pytest.approx(170)
    assert owner["n_declared"] == owner["n_observed"] == 4
    assert abs(owner["z"]) < 1
    assert not found["flagged"].any()
    each = found[(found["level"] == "site") & (found["quantity"] == "it_mw")]
    alone = np.sqrt((each["observed_sigma"] ** 2).sum())
    assert alone < owner["observed_sigma"] < each["observed_sigma"].sum()  # part of the error is shared


def test_scaling_both_sides_changes_no_z():
    a, b = (material_balance.material_balance(*world(MW * k, ONE, ONE * 1.4)) for k in (1.0, 2.0))
    assert row(a, "owner")["z"] == pytest.approx(row(b, "owner")["z"], abs=1e-6)


def test_the_order_of_rows_plays_no_part():
    ledger, sites, declared = world(MW, ONE, ONE * 1.2)
    again = material_balance.material_balance(ledger.iloc[::-1], sites.iloc[::-1], declared.iloc[::-1])
    pd.testing.assert_frame_equal(material_balance.material_balance(ledger, sites, declared), again)


def test_an_undeclared_site_raises_what_is_observed():
    whole, part = (material_balance.material_balance(*world(MW, ONE, ONE, drop=d)) for d in ((), (2,)))
    assert row(part, "owner")["declared"] == pytest.approx(90)
    assert row(part, "owner")["observed"] == pytest.approx(row(whole, "owner")["observed"], rel=0.05)
    assert row(part, "owner")["difference"] > row(whole, "owner")["difference"]


def test_a_site_of_many_times_the_declared_power_is_a_question():
    found = material_balance.material_balance(*world(MW, np.array([1, 1, 6, 1.0]), ONE))
    site = found[(found["level"] == "site") & (found["name"] == "S2") & (found["quantity"] == "it_mw")].iloc[0]
    assert site["flagged"]
    assert site["z"] > 3
    assert "question" in site["sentence"]
    assert "violation" not in site["sentence"]


def test_chips_that_do_not_fit_are_a_question():
    few, many = (
        material_balance.material_balance(*world(MW, ONE, ONE, chips=c), everywhere=True)
        for c in (20_000.0, 3_000_000.0)
    )
    assert not row(few, "owner", "it_mw_of_chips")["flagged"]
    assert row(many, "owner", "it_mw_of_chips")["flagged"]
    assert row(many, "owner", "it_mw_of_chips")["declared"] == pytest.approx(
        150 * row(few, "owner", "it_mw_of_chips")["declared"], rel=1e-6
    )


def test_chips_without_a_place_may_be_elsewhere():
    found = row(material_balance.material_balance(*world(MW, ONE, ONE, chips=3_000_000.0)), "owner", "it_mw_of_chips")
    assert not found["flagged"]
    assert found["reason"]


def test_what_was_not_looked_at_is_not_missing():
    ledger, sites, declared = world(MW, ONE, ONE)
    far = declared.iloc[[0]].assign(declared_id="far", it_mw=900.0, geometry=[shapely.Point(20, 50)])
    more = conform(pd.concat([declared, far], ignore_index=True), "declared")
    assert not row(material_balance.material_balance(ledger, sites, more), "owner")["flagged"]


def test_questions_are_rare_where_there_is_none():
    """Simulated: 60 owners of 8 sites, observed with ln-sd 0.3 of which 0.20 shared, declared with 0.15."""
    rng = np.random.default_rng(4)
    flagged = 0
    for _ in range(60):
        true = np.exp(rng.normal(3.5, 0.8, 8))
        shared = rng.normal(0, 0.2)
        seen = np.exp(shared + rng.normal(0, np.sqrt(0.3**2 - 0.2**2), 8))
        found = material_balance.material_balance(*world(true, seen, np.exp(rng.normal(0, 0.15, 8))), by=("owner",))
        flagged += int(found["flagged"].sum())
    assert flagged <= 1  # expected 0.16


@pytest.mark.parametrize("by", [["planet"], "county"])
def test_levels_that_are_none_are_named(by):
    with pytest.raises(
        ConfigError, match=naming("by", "planet" if "planet" in by else "county", "site", "owner", "zone")
    ):
        material_balance.material_balance(*world(MW, ONE, ONE), by=by)
