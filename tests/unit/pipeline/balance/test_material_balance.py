"""Balances: sums with their errors, and what is no discrepancy."""

from __future__ import annotations

from random import Random

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline import tables
from overwatt.pipeline.balance import material_balance
from overwatt.pipeline.balance.grouping import Claims, Seen
from overwatt.pipeline.declared.zones import zone_name
from overwatt.pipeline.reconcile.observed_sites import sites_from_rows
from overwatt.pipeline.reconcile.settings import DEFAULTS
from tests.support import naming


def make(sites: list[dict], declared: list[dict], pairs: list[tuple]) -> tuple:
    """Tables from short rows: sites (id, mw, sd, p), declarations (id, ...), and pairs of ids for the ledger."""
    frame = pd.DataFrame([
        {"site_id": s["id"], "geometry": shapely.Point(s.get("x", k * 0.1), 40.0).buffer(1e-3), "mid": s["mw"],
         "spread": s.get("sd", 0.3), "p": s.get("p", 0.95), "area": 5000.0, "cooling": 3}
        for k, s in enumerate(sites)
    ])  # fmt: skip
    table = sites_from_rows(frame) if len(frame) else tables.empty("sites")
    rows = [
        {"declared_id": d["id"], "position_error_m": 30.0, "kind": d.get("kind", "facility"), "source": "test",
         "geometry": d.get("at", shapely.Point(k * 0.1, 40.0)),
         **{c: d.get(c) for c in ("it_mw", "facility_mw", "operator", "zone", "status", "valid_from", "valid_to",
                                  "chip", "chips", "training_flop")}}
        for k, d in enumerate(declared)
    ]  # fmt: skip
    claims = tables.conform(gpd.GeoDataFrame(rows, geometry="geometry", crs=WGS84), "declared")
    owner = {d["id"]: (d.get("operator"), d.get("zone")) for d in declared}
    known = {s["id"]: (s.get("owner"), s.get("zone")) for s in sites}
    entries = [
        {"entry_id": f"E{k}", "rank": k, "class": "matched", "site_id": s, "declared_id": d, "p_match": 0.99,
         "undeclared_flop_90d": 0.0, "evidence_for": "", "evidence_against": "", "settles": "",
         "owner": (owner[d] if d else known[s])[0], "zone": (owner[d] if d else known[s])[1],
         "geometry": shapely.Point(0, 0)}
        for k, (s, d) in enumerate(pairs)
    ]  # fmt: skip
    ledger = tables.conform(gpd.GeoDataFrame(entries, geometry="geometry", crs=WGS84), "ledger")
    return ledger, table, claims


def row(frame: pd.DataFrame, level: str, quantity: str = "it_mw") -> pd.Series:
    found = frame[(frame["level"] == level) & (frame["quantity"] == quantity)]
    assert len(found) == 1, found
    return found.iloc[0]


def owned(mw: list[float], declared: list[float], **more: object) -> tuple:
    n = len(mw)
    return make(
        [{"id": f"S{k}", "mw": mw[k], "sd": more.get("sd", 0.3)} for k in range(n)],
        [{"id": f"D{k}", "it_mw": declared[k], "operator": "Acme Inc", "zone": "US-VA"} for k in range(n)],
        [(f"S{k}", f"D{k}") for k in range(n)],
    )


def test_one_site_by_hand() -> None:
    found = row(material_balance.material_balance(*owned([100.0], [30.0])), "site")
    z = np.log(100 / 30) / np.hypot(0.3, 0.15)
    assert found["z"] == pytest.approx(z, rel=0.01)
    assert found["flagged"] and found["difference"] == pytest.approx(70.0)
    assert found["observed_sigma"] == pytest.approx(30.0, rel=0.02)
    assert "violation" not in found["sentence"] and "question" in found["sentence"]


def test_common_error_does_not_average_out() -> None:
    many = row(material_balance.material_balance(*owned([10.0] * 200, [10.0] * 200)), "owner")
    assert 0.20 <= many["observed_sigma"] / many["observed"] < 0.21
    assert many["declared_sigma"] / many["declared"] < 0.02
    assert not many["flagged"]


def test_levels_and_facility_power() -> None:
    ledger, sites, claims = owned([50.0, 60.0], [50.0, 60.0])
    claims = claims.assign(facility_mw=claims["it_mw"] * 1.3, it_mw=np.nan)
    out = material_balance.material_balance(ledger, sites, claims)
    assert list(out["level"]) == ["site", "site", "owner", "zone"]
    assert row(out, "owner")["name"] == "acme" and row(out, "zone")["name"] == "US-VA"
    assert row(out, "owner")["declared"] == pytest.approx(110.0)
    assert row(out, "owner")["declared_sigma"] > 11.0  # the ratio's error is common
    assert list(material_balance.material_balance(ledger, sites, claims, by="zone")["level"]) == ["zone"]


def test_places_not_looked_at_and_not_in_operation_are_not_missing() -> None:
    ledger, sites, claims = make(
        [{"id": "S", "mw": 50.0}],
        [{"id": "D", "it_mw": 50.0, "operator": "A"}, {"id": "far", "it_mw": 5000.0, "operator": "A"},
         {"id": "plan", "it_mw": 900.0, "operator": "A", "status": "planned"}],
        [("S", "D"), (None, "plan")],
    )  # fmt: skip
    found = row(material_balance.material_balance(ledger, sites, claims), "owner")
    assert found["declared"] == 50.0 and not found["flagged"]
    assert "1 declared place not looked at, and left out." in found["sentence"]
    assert found["declared_not_operating"] == 900.0
    assert "900 more are declared as planned or under construction, and not counted." in found["sentence"]


@pytest.mark.parametrize("status", ["closed", "cancelled"])
def test_what_is_closed_or_cancelled_declares_nothing(status: str) -> None:
    sites = [{"id": "A", "mw": 30.0}, {"id": "D", "mw": 35.0}]
    declared = [
        {"id": "a", "it_mw": 30.0, "operator": "Arbor", "status": "operational"},
        {"id": "d", "it_mw": 35.0, "operator": "Arbor", "status": status},
    ]
    out = material_balance.material_balance(*make(sites, declared, [("A", "a"), ("D", "d")]))
    owner = row(out, "owner")
    assert owner["declared"] == 30.0
    assert owner["n_observed"] == 2
    assert owner["observed"] > 60.0  # what runs on cancelled land is seen and not declared
    assert out.loc[out["level"] == "site", "declared"].max() == 30.0


def test_a_status_that_is_not_known_counts_on_no_side() -> None:
    sites = [{"id": "A", "mw": 30.0}, {"id": "D", "mw": 35.0}]
    declared = [
        {"id": "a", "it_mw": 30.0, "operator": "Arbor", "status": "operational"},
        {"id": "d", "it_mw": 35.0, "operator": "Arbor", "status": "unknown"},
        {"id": "n", "chip": "H100", "chips": 1000, "kind": "chips", "operator": "Arbor", "status": "unknown",
         "at": shapely.Point()},
    ]  # fmt: skip
    out = material_balance.material_balance(*make(sites, declared, [("A", "a"), ("D", "d")]))
    owner = row(out, "owner")
    assert (owner["declared"], owner["observed"], owner["declared_unknown"]) == pytest.approx((30.0, 30.0, 35.0))
    assert "35 MW of IT" not in owner["sentence"].split(".")[0]
    assert "35 more are declared with a status that is not known" in owner["sentence"]
    chips = row(out, "owner", "h100e")
    assert (chips["declared"], chips["n_declared"], chips["flagged"]) == (0.0, 0, False)
    assert chips["declared_unknown"] > 900 and chips["sentence"].startswith("Owner arbor: no H100 equivalents are")


def test_a_state_of_projects_declares_no_power_in_operation() -> None:
    sites = [{"id": "A", "mw": 30.0}, {"id": "P", "mw": 200.0}]
    declared = [
        {"id": "a", "it_mw": 30.0, "zone": "US-OH", "status": "operational"},
        {"id": "p", "it_mw": 500.0, "zone": "US-OH", "status": "planned"},
        {"id": "c", "it_mw": 300.0, "zone": "US-OH", "status": "construction"},
        {"id": "t", "it_mw": 900.0, "zone": "US-TX", "status": "planned"},
    ]
    out = material_balance.material_balance(
        *make(sites, declared, [("A", "a"), ("P", "p"), (None, "c"), (None, "t")]), by="zone"
    ).set_index("name")
    ohio, texas = out.loc["US-OH"], out.loc["US-TX"]
    assert (ohio["declared"], ohio["observed"], ohio["declared_not_operating"]) == pytest.approx((30.0, 30.0, 800.0))
    assert (texas["declared"], texas["declared_not_operating"], texas["flagged"]) == (0.0, 900.0, False)
    assert texas["sentence"].startswith(
        "Zone US-TX: no MW of IT are declared as in operation. 900 more are declared as"
    )


def test_a_site_of_unknown_power_counts_on_no_side() -> None:
    sites = [{"id": "A", "mw": 30.0}, {"id": "B", "mw": float("nan")}, {"id": "C", "mw": float("nan")}]
    declared = [{"id": d, "it_mw": 30.0, "operator": "Arbor"} for d in "ab"]
    ledger, table, claims = make(sites, declared, [("A", "a"), ("B", "b"), ("C", None)])
    table.loc[table["site_id"] != "A", [c for c in table if c.startswith("it_mw_")]] = None
    owner = row(material_balance.material_balance(ledger, table, claims, by="owner").query("name == 'arbor'"), "owner")
    assert (owner["declared"], owner["observed"], owner["n_power_unknown"]) == pytest.approx((30.0, 30.0, 1))
    assert "1 seen site of unknown power, left out with what is declared there." in owner["sentence"]


def test_a_range_is_less_certain_than_its_middle() -> None:
    sites = [{"id": "A", "mw": 60.0}, {"id": "B", "mw": 60.0}]
    ledger, table, claims = make(
        sites, [{"id": d, "it_mw": 60.0, "operator": d} for d in "ab"], [("A", "a"), ("B", "b")]
    )
    claims.loc[claims["declared_id"] == "b", ["it_mw_low", "it_mw_high"]] = (40.0, 90.0)
    out = material_balance.material_balance(ledger, table, claims, by="owner").set_index("name")
    assert out.loc["b", "declared_sigma"] > 1.5 * out.loc["a", "declared_sigma"]


def test_misses_by_chance_are_no_question_but_many_are() -> None:
    def found(unseen: int) -> pd.Series:
        seen = [{"id": f"D{k}", "it_mw": 10.0, "operator": "A"} for k in range(4)]
        gone = [{"id": f"N{k}", "it_mw": 50.0, "operator": "A"} for k in range(unseen)]
        pairs = [(f"S{k}", f"D{k}") for k in range(4)] + [(None, f"N{k}") for k in range(unseen)]
        sites = [{"id": f"S{k}", "mw": 10.0, "sd": 0.25} for k in range(4)]
        return row(material_balance.material_balance(*make(sites, seen + gone, pairs)), "owner")

    assert not found(1)["flagged"] and found(1)["declared"] == 90.0 and found(1)["reason"]
    assert found(8)["flagged"] and found(8)["z"] < -3


def test_undeclared_sites_count_and_may_be_false() -> None:
    def found(extra: int) -> pd.Series:
        sites = [{"id": "S", "mw": 10.0}] + [{"id": f"U{k}", "mw": 40.0, "owner": "A", "p": 0.95} for k in range(extra)]
        pairs = [("S", "D")] + [(f"U{k}", None) for k in range(extra)]
        return row(
            material_balance.material_balance(*make(sites, [{"id": "D", "it_mw": 10.0, "operator": "A"}], pairs)),
            "owner",
        )

    sums = [found(k)["observed"] for k in range(7)]
    assert np.all(np.diff(sums) > 0)
    assert not found(1)["flagged"] and "may be none" in found(1)["reason"]
    assert found(6)["flagged"]


def test_chips_with_and_without_a_place() -> None:
    chips = {"id": "C", "kind": "chips", "chip": "H100", "chips": 100_000, "operator": "A", "zone": "X"}
    facility = {"id": "D", "it_mw": 20.0, "operator": "A", "zone": "X"}
    tables_ = make([{"id": "S", "mw": 20.0}], [facility, {**chips, "at": shapely.Point()}], [("S", "D")])
    free = material_balance.material_balance(*tables_)
    assert row(free, "owner", "h100e")["declared"] == pytest.approx(1e5, rel=1e-3)
    assert 120 < row(free, "owner", "it_mw_of_chips")["declared"] < 180  # 1.2 to 1.8 kW all in
    assert not row(free, "zone", "it_mw_of_chips")["flagged"]  # they may stand elsewhere
    assert not len(free[(free["level"] == "site") & (free["quantity"] == "h100e")])
    whole = material_balance.material_balance(*tables_, everywhere=True)
    assert row(whole, "zone", "it_mw_of_chips")["flagged"]
    elsewhere = {**chips, "at": shapely.Point(0, 40)}
    placed = material_balance.material_balance(*make([{"id": "S", "mw": 20.0}], [facility, elsewhere], [("S", "D")]))
    assert row(placed, "site", "it_mw_of_chips")["flagged"]
    unknown = make([{"id": "S", "mw": 20.0}], [facility, {**chips, "chip": "=cmd|x"}], [("S", "D")])
    assert set(material_balance.material_balance(*unknown)["quantity"]) == {"it_mw"}


def test_runs_are_laid_against_their_days() -> None:
    def z(first: str, last: str) -> pd.Series:
        run = {"id": "W", "kind": "workload", "training_flop": 1e27, "valid_from": first, "valid_to": last,
               "operator": "A", "at": shapely.Point(0, 40)}  # fmt: skip
        data = make(
            [{"id": "S", "mw": 20.0, "sd": 0.25}], [{"id": "D", "it_mw": 20.0, "operator": "A"}, run], [("S", "D")]
        )
        return row(material_balance.material_balance(*data), "site", "flop")

    short, long = z("2026-01-01", "2026-01-30"), z("2026-01-01", "2026-12-26")
    assert long["observed"] == pytest.approx(12 * short["observed"])
    assert short["z"] < long["z"] < 0
    assert z("2026-01", "2026-01")["observed"] == pytest.approx(short["observed"] * 31 / 30)


def test_zones_as_polygons() -> None:
    ledger, sites, claims = owned([10.0, 20.0], [10.0, 20.0])
    zones = gpd.GeoDataFrame({"name": ["west", "east"]}, geometry=[shapely.box(-1, 39, 0.05, 41),
                             shapely.box(0.05, 39, 1, 41)], crs="OGC:CRS84")  # fmt: skip
    out = material_balance.material_balance(ledger, sites, claims, by=["zone"], zones=zones)
    assert dict(zip(out["name"], out["observed"], strict=True)) == pytest.approx({"EAST": 20.0, "WEST": 10.0})


def test_a_shared_site_is_divided_and_uncertain_pairs_are_left() -> None:
    ledger, sites, claims = make(
        [{"id": "S", "mw": 100.0}],
        [{"id": "D1", "it_mw": 75.0, "operator": "A"}, {"id": "D2", "it_mw": 25.0, "operator": "B"}],
        [("S", "D1"), ("S", "D2")],
    )
    out = material_balance.material_balance(ledger, sites, claims)
    owners = out[out["level"] == "owner"]
    assert list(owners["observed"]) == pytest.approx([75.0, 25.0])
    low = material_balance.material_balance(ledger.assign(p_match=0.2), sites, claims)
    assert np.isnan(row(low, "site")["z"]) and "uncertain" in row(low, "site")["reason"]


def test_arguments_and_empty_tables() -> None:
    data = owned([1.0], [1.0])
    with pytest.raises(ConfigError, match=naming("by", "'town'", "site", "owner", "zone")):
        material_balance.material_balance(*data, by=["town"])
    with pytest.raises(ConfigError, match=naming("at", "'soon'", "YYYY-MM-DD")):
        material_balance.material_balance(*data, at="soon")
    with pytest.raises(ConfigError, match=naming("zones", "'name'")):
        material_balance.material_balance(*data, zones=data[1][["geometry"]])
    with pytest.raises(ConfigError, match=naming("site_id", "'other'")):
        material_balance.material_balance(data[0].assign(site_id="other"), *data[1:])
    empty = material_balance.material_balance(tables.empty("ledger"), tables.empty("sites"), tables.empty("declared"))
    assert list(empty.columns) == list(material_balance.COLUMNS) and empty.empty
    only = material_balance.material_balance(tables.empty("ledger"), tables.empty("sites"), data[2])
    assert only.empty or not only["flagged"].any()


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1, 500), st.floats(1, 500)), min_size=1, max_size=6), st.floats(0.1, 10), st.randoms()
)
def test_laws(pairs: list[tuple[float, float]], factor: float, random: Random) -> None:
    seen, told = [list(v) for v in zip(*pairs, strict=True)]
    ledger, sites, claims = owned(seen, told)
    base = material_balance.material_balance(ledger, sites, claims)
    scaled = material_balance.material_balance(*owned([v * factor for v in seen], [v * factor for v in told]))
    np.testing.assert_allclose(scaled["z"], base["z"], atol=1e-6)
    np.testing.assert_allclose(scaled["observed"], factor * base["observed"], rtol=1e-9)
    order = list(range(len(seen)))
    random.shuffle(order)
    again = material_balance.material_balance(ledger.iloc[order], sites.iloc[order[::-1]], claims.iloc[order])
    pd.testing.assert_frame_equal(base, again, rtol=1e-9)


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize(("n", "sd"), [(1, 0.3), (3, 0.7), (12, 0.4), (12, 0.9), (60, 0.65), (10, 1.2)])
def test_false_flags_under_the_null(n: int, sd: float, measured: bool) -> None:
    """Simulated: true powers, both ways in which an estimate may scatter; at most 0.5% beyond 3 sigma on each side."""
    draws, rng = 20_000, np.random.default_rng((n, int(10 * sd)))
    common = material_balance.common_ln_sd("it_mw")
    size = np.exp(1.0 * rng.standard_normal((1, n)))
    noise = common * rng.standard_normal((draws, 1)) + np.sqrt(sd**2 - common**2) * rng.standard_normal((draws, n))
    truth = size if measured else size * np.exp(noise)
    seen = size * np.exp(noise) if measured else np.broadcast_to(size, (draws, n))
    told = np.broadcast_to(truth, (draws, n)) * np.exp(DEFAULTS.declared_ln_sd * rng.standard_normal((draws, n)))
    group, k = np.repeat(np.arange(draws), n), draws * n
    no = np.zeros(k, bool)
    claims = Claims(group, told.ravel(), np.full(k, DEFAULTS.declared_ln_sd), np.zeros(k), no, no, no)
    sites = Seen(group, seen.ravel(), np.full(k, sd), np.full(k, sd), np.ones(k), no)
    d_sum, d_var = material_balance.declared_sum(claims, draws, "it_mw", DEFAULTS)
    low, high = material_balance.observed_sums(sites, draws, "it_mw")
    none = np.zeros(draws)
    # private: a statistical law of z alone; through `balances` 20,000 draws of tables would take an hour
    z = material_balance._z(d_sum, d_var, low[0], low, high, none, none)
    assert (z > material_balance.Z_FLAG).mean() <= 0.005
    assert (z < -material_balance.Z_FLAG).mean() <= 0.005


@pytest.mark.parametrize(
    ("stated", "zone"),
    [("United States of America", "US"), ("usa", "US"), ("U.S.A.", "US"), ("the Netherlands", "NL"), ("us-va", "US-VA"),
     ("Atlantis", "ATLANTIS"), (None, "")],
)  # fmt: skip
def test_names_of_countries_are_one_zone(stated: str | None, zone: str) -> None:
    assert zone_name(stated) == zone
