"""Synthetic districts with planted edits: each must come out as the one row that it is."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.optimize import linear_sum_assignment

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.coverage import assumed_looked_at
from overwatt.pipeline.reconcile import assignment
from overwatt.pipeline.reconcile import ledger as rc
from overwatt.pipeline.reconcile import records as tables_of
from overwatt.pipeline.reconcile.entries import entry_id
from overwatt.pipeline.reconcile.likelihood_ratios import ln_place, mixed
from overwatt.pipeline.tables import LEDGER_CLASSES, empty
from tests.ledger_data import (
    LAT0,
    LON0,
    MW_SD,
    box,
    by_class,
    decl,
    declared_of,
    looked,
    planted,
    site,
    sites_of,
    spread,
)
from tests.support import naming


@pytest.mark.parametrize("origin", [(LON0, LAT0), (179.95, -17.0), (24.9, 60.2)])
@pytest.mark.parametrize("seed", range(8))
def test_planted_edits_come_out_as_what_they_are(seed, origin):
    ledger = rc.reconcile(*planted(np.random.default_rng(seed), lon0=origin[0], lat0=origin[1]))
    found = by_class(ledger)
    assert found.pop("undeclared") == [("S0", "")]
    assert found.pop("above_declared") == [("S1", "D1")]
    assert found.pop("position_mismatch") == [("S2", "D2")]
    assert found.pop("not_seen") == [("", "ghost")]
    assert found == {"matched": [(f"S{k}", f"D{k}") for k in range(3, 10)]}
    assert (ledger.loc[ledger["class"] == "matched", "p_match"] > 0.97).all()
    displaced = ledger.set_index("class").loc["position_mismatch"]
    assert displaced["distance_m"] == pytest.approx(1930, abs=90)
    assert 0.5 < displaced["p_match"] < 1


def test_displacement_is_found_in_a_small_area_too():
    """Eight sites in 10 km by 10 km: the planted declaration's 2 km is one row in most cases."""
    found = []
    for seed in range(5):
        sites, declared, seen = planted(np.random.default_rng(100 + seed), side_m=10_000, gap_m=2_700, n=8)
        found.append("position_mismatch" in by_class(rc.reconcile(sites, declared, seen)))
    assert sum(found) >= 4


@pytest.mark.parametrize("with_mw", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_dense_district_beats_gross_errors(seed, with_mw):
    """30 sites in 3 km2, 3 of them undeclared, 3 declarations without a site in the same district."""
    rng = np.random.default_rng(seed)
    places = spread(rng, 33, 1730.0, 210.0)
    mw = np.exp(rng.uniform(math.log(10), math.log(150), 33))
    sites = sites_of([site(f"S{k:02}", *places[k], mw[k]) for k in range(30)])
    declared = [
        decl(f"D{k:02}", *np.add(places[k], rng.normal(0, 30, 2)), mw[k] if with_mw else None, error_m=30.0)
        for k in range(3, 33)
    ]
    ledger = rc.reconcile(sites, declared_of(declared), looked())
    pairs = ledger.dropna(subset=["site_id", "declared_id"])
    wrong = pairs[pairs["site_id"].str[1:] != pairs["declared_id"].str[1:]]
    assert wrong["declared_id"].isin(["D30", "D31", "D32"]).all()
    assert len(wrong) <= 1
    assert (pairs["distance_m"] < 250).all()
    assert set(ledger.loc[ledger["class"] == "undeclared", "site_id"]) >= {"S00", "S01", "S02"} - set(wrong["site_id"])
    assert len(ledger[ledger["class"] == "not_seen"]) >= 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 7), st.integers(0, 7), st.sampled_from([800.0, 4000.0, 40_000.0]))
def test_laws_one_to_one_complete_and_order_free(seed, n_sites, n_declared, side_m):
    rng = np.random.default_rng(seed)
    sites = [
        site(f"S{k}", *rng.uniform(-side_m, side_m, 2), rng.uniform(1, 200), p=rng.uniform(0.2, 1))
        for k in range(n_sites)
    ]
    declared = [
        decl(
            f"D{k}",
            *rng.uniform(-side_m, side_m, 2),
            rng.uniform(1, 200) if rng.random() < 0.7 else None,
            error_m=float(rng.choice([30.0, 200.0, 1500.0])),
            status=str(rng.choice(["operational", "planned"])),
        )
        for k in range(n_declared)
    ]
    seen = looked(-side_m, -side_m, 0.5 * side_m, side_m)
    ledger = rc.reconcile(sites_of(sites), declared_of(declared), seen)
    blind = rc.not_looked_at(declared_of(declared), seen, ledger=ledger)
    assert set(ledger["class"]) <= set(LEDGER_CLASSES)
    assert ledger["entry_id"].is_unique
    extra = ledger["evidence_for"].str.startswith("None of its own")
    for column in ("site_id", "declared_id"):  # parts of a campus repeat the record that stands for the whole
        assert ledger.loc[~extra, column].dropna().is_unique
    listed = ledger["declared_id"].dropna().unique()
    assert sorted([*listed, *blind["declared_id"]]) == [f"D{k}" for k in range(n_declared)]
    assert {r["site_id"] for r in sites if r["p_data_center"] >= 0.5} <= set(ledger["site_id"].dropna())
    assert ledger["p_match"].between(0, 1).all()
    assert (ledger.loc[ledger["class"] == "not_seen", "p_detect"] >= 0.8).all()
    mixed = rc.reconcile(
        sites_of([sites[k] for k in rng.permutation(n_sites)]),
        declared_of([declared[k] for k in rng.permutation(n_declared)]),
        seen,
    )
    pd.testing.assert_frame_equal(pd.DataFrame(ledger), pd.DataFrame(mixed))


def all_assignments(gain):
    """Every one-to-one assignment of a small matrix with its weight."""
    n, m = gain.shape
    for choice in itertools.product(range(-1, m), repeat=n):
        used = [c for c in choice if c >= 0]
        if len(used) == len(set(used)):
            yield choice, math.exp(sum(gain[i, c] for i, c in enumerate(choice) if c >= 0))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_assignment_is_optimal_and_marginals_agree_with_enumeration(seed, n, m):
    gain = np.random.default_rng(seed).normal(0, 3, (n, m))
    i, j = (a.ravel() for a in np.meshgrid(range(n), range(m), indexing="ij"))
    chosen = assignment.assign(i, j, gain.ravel())
    positive = np.maximum(gain, 0)
    assert gain.ravel()[chosen].sum() == pytest.approx(positive[linear_sum_assignment(-positive)].sum())
    assert len(set(i[chosen])) == len(set(j[chosen])) == len(chosen)
    exact, total = np.zeros((n, m)), 0.0
    for choice, weight in all_assignments(gain):
        total += weight
        for a, c in enumerate(choice):
            if c >= 0:
                exact[a, c] += weight
    p = assignment.marginals(i, j, gain.ravel(), n, m).reshape(n, m)
    assert p == pytest.approx(exact / total, abs=1e-9)
    assert (p.sum(axis=0) <= 1 + 1e-6).all()
    assert (p.sum(axis=1) <= 1 + 1e-6).all()


def test_three_times_under_declared_at_the_right_place_still_matches():
    ledger = rc.reconcile(sites_of([site("S", 0, 0, 120)]), declared_of([decl("D", 40, 0, 40)]), looked())
    assert by_class(ledger) == {"above_declared": [("S", "D")]}
    assert "120 MW" in ledger["evidence_for"][0]
    assert "40 MW" in ledger["evidence_for"][0]


def test_power_limit_is_exact():
    limit = math.exp(1.96 * math.hypot(MW_SD, 0.15))
    for factor, klass in ((0.99, "matched"), (1.01, "above_declared")):
        rows = [decl("D", 0, 0, 100 / limit / factor)]
        assert rc.reconcile(sites_of([site("S", 0, 0, 100)]), declared_of(rows), looked())["class"][0] == klass
        rows = [decl("D", 0, 0, 100 * limit * factor)]
        klass = klass.replace("above", "below")
        assert rc.reconcile(sites_of([site("S", 0, 0, 100)]), declared_of(rows), looked())["class"][0] == klass


def test_facility_power_is_brought_to_it_power():
    ledger = rc.reconcile(
        sites_of([site("S", 0, 0, 100)]), declared_of([decl("D", 0, 0, None, facility_mw=130.0)]), looked()
    )
    assert ledger["declared_it_mw"][0] == pytest.approx(100.0)
    assert ledger["class"][0] == "matched"


def test_border_site_is_a_lower_bound():
    ledger = rc.reconcile(sites_of([site("S", 0, 0, 20, border=True)]), declared_of([decl("D", 0, 0, 150)]), looked())
    assert ledger["class"][0] == "matched"
    assert "lower bound" in ledger["evidence_against"][0]
    inner = rc.reconcile(sites_of([site("S", 0, 0, 20)]), declared_of([decl("D", 0, 0, 150)]), looked())
    assert inner["class"][0] == "below_declared"


@pytest.mark.parametrize(
    ("more", "cooling", "klass"),
    [
        ({"status": "planned", "valid_from": "2026-01"}, 8, "status_mismatch"),
        ({"status": "closed", "valid_from": "2025"}, 8, "status_mismatch"),
        ({"status": "cancelled", "valid_from": "2025"}, 8, "status_mismatch"),
        ({"status": "unknown", "valid_from": "2025"}, 8, "matched"),
        ({"status": "planned", "valid_from": "2027"}, 8, "matched"),
        ({"status": "planned", "valid_to": "2026-05"}, 8, "matched"),
        ({"status": "planned"}, 8, "status_mismatch"),
        ({"status": "cancelled"}, 8, "status_mismatch"),
        ({"status": "planned"}, 0, "matched"),
        ({"status": "closed"}, 8, "matched"),
        ({"status": "construction"}, 8, "matched"),
        ({"status": "construction", "valid_from": "2026-01"}, 0, "matched"),
        ({"status": "operational"}, 8, "matched"),
        ({"kind": "warehouse"}, 8, "type_mismatch"),
        ({"kind": "warehouse"}, 0, "matched"),
        ({"kind": "cloud"}, 8, "matched"),
    ],
)
def test_status_and_kind(more, cooling, klass):
    row = {**decl("D", 0, 0, 100), **more}
    seen = sites_of([site("S", 0, 0, 100, cooling=cooling)]).assign(image_date="2026-06-15")
    ledger = rc.reconcile(seen, declared_of([row]), looked())
    assert by_class(ledger) == {klass: [("S", "D")]}


@pytest.mark.parametrize(
    ("image", "more", "word"),
    [
        (None, {"status": "closed", "valid_from": "2026-01"}, "unknown: the image has no date"),
        (None, {"status": "planned", "valid_from": "2026-01"}, "differs: the image has no date, but what is planned"),
        ("2026-06-15", {"status": "planned"}, "differs: the declaration has no date, but what is planned has no"),
        (None, {"status": "closed"}, "unknown: neither image nor declaration has a date"),
        ("2026-06-15", {"valid_from": "2026"}, "unknown: no status is declared"),
        ("2026-06-15", {"status": "unknown", "valid_from": "2026"}, "unknown: the registry's word"),
        ("2026-06-15", {"status": "planned", "valid_from": "2026-06-16"}, "unknown: the image is older"),
        ("2026-06-15", {"status": "planned", "valid_to": "2025"}, "unknown: the image is newer"),
        (
            "2026-06-15",
            {"status": "planned", "valid_to": "2026-06"},
            "differs: the image is of 2026-06-15, the declaration holds until",
        ),
        ("2026-06-15", {"status": "operational", "valid_from": "2020"}, "agrees"),
    ],
)
def test_a_status_is_compared_only_where_both_sides_have_dates(image, more, word):
    seen = sites_of([site("S", 0, 0, 100, cooling=8)]).assign(image_date=image)
    ledger = rc.reconcile(seen, declared_of([{**decl("D", 0, 0, 100), **more}]), looked())
    assert ledger["status_check"][0].startswith(word)


def test_alternatives_name_the_other_partners_with_reasons():
    seen = sites_of([site("S", 0, 0, 50), site("T", 400, 0, 50)])
    ledger = rc.reconcile(seen, declared_of([decl("D", 150, 0, 50, error_m=300.0)]), looked())
    paired = ledger[ledger["declared_id"].notna()].iloc[0]
    (other,) = json.loads(paired["alternatives"])
    assert {paired["site_id"], other["id"]} == {"S", "T"}
    assert 0 < other["p"] < paired["p_match"]
    assert "apart, position error 300 m" in other["why"]
    alone = ledger[ledger["class"] == "undeclared"].iloc[0]
    assert json.loads(alone["alternatives"])[0]["id"] == "D"


def test_a_warehouse_in_a_registry_of_warehouses_is_a_warehouse():
    rows = [decl(f"W{k}", 6000 * (k + 1), 0, kind="warehouse") for k in range(9)]
    seen = sites_of([site("S", 0, 0, 50)])
    others = [decl(f"W{k}", 6000 * (k + 1), 0) for k in range(9)]
    own = decl("D", 150, 0, kind="warehouse")
    p = [
        float(t.loc[t["declared_id"] == "D", "p_match"].iloc[0])
        for t in (rc.reconcile(seen, declared_of([own, *more]), looked()) for more in (others, rows))
    ]
    assert p[1] < p[0]


def test_chips_and_places_unknown_are_no_facilities():
    rows = [decl("D", 0, 0, 50), decl("C", 0, 0, kind="chips"), decl("N", 0, 0, kind="facility")]
    table = declared_of(rows)
    table.loc[table["declared_id"] == "N", "geometry"] = shapely.Point()
    ledger = rc.reconcile(sites_of([site("S", 0, 0, 50)]), table, looked())
    assert by_class(ledger) == {"matched": [("S", "D")]}


def test_not_seen_needs_coverage_and_planned_ones_say_so():
    rows = [decl("in", 0, 0, 50), decl("out", 20_000, 0, 50), decl("plan", -9000, 0, 50, status="planned")]
    seen = looked(-12_000, -12_000, 12_000, 12_000)
    ledger = rc.reconcile(empty("sites"), declared_of(rows), seen)
    assert by_class(ledger) == {"not_seen": [("", "in"), ("", "plan")]}
    assert rc.not_looked_at(declared_of(rows), seen)["declared_id"].tolist() == ["out"]
    assert "nothing need stand there" in ledger.set_index("declared_id")["evidence_against"]["plan"]
    assert len(rc.reconcile(empty("sites"), declared_of(rows), empty("looked_at"))) == 0
    assert len(rc.not_looked_at(declared_of(rows), empty("looked_at"))) == 3


def test_empty_registry_leaves_every_site_undeclared_however_improbable():
    ledger = rc.reconcile(sites_of([site("a", 0, 0, 30), site("b", 5000, 0, 30, p=0.01)]), empty("declared"), looked())
    assert by_class(ledger) == {"undeclared": [("a", ""), ("b", "")]}
    assert ledger["p_match"][0] == 0.0


def test_improbable_site_may_still_match_a_declaration_on_it():
    ledger = rc.reconcile(sites_of([site("S", 0, 0, 30, p=0.2)]), declared_of([decl("D", 10, 0, 30)]), looked())
    assert by_class(ledger) == {"matched": [("S", "D")]}
    assert "data center is 0.20 from the image alone" in ledger["evidence_against"][0]


def test_buildings_of_one_campus_join_one_match_and_their_power_is_summed():
    """Three declared outlines on one observed campus, beside a campus of its own."""
    halls = [
        decl(f"D{k}", 0, 0, 40, error_m=30.0, geometry=box(160.0 * (k - 1), 0, 150, 80), area_m2=12_000.0)
        for k in range(3)
    ]
    campus = {**site("S", 0, 0, 120, width_m=480.0)}
    other = [site("T", 3000, 0, 30), site("U", 0, 6000, 60)]
    ledger = rc.reconcile(sites_of([campus, *other]), declared_of([*halls, decl("T", 3000, 0, 30)]), looked())
    found = by_class(ledger)
    assert sorted(found["matched"]) == [("S", "D0"), ("S", "D1"), ("S", "D2"), ("T", "T")]
    assert found["undeclared"] == [("U", "")]
    assert (ledger.loc[ledger["class"] == "matched", "p_match"] > 0.9).all()
    short = [{**h, "it_mw": 8.0} for h in halls]
    found = by_class(rc.reconcile(sites_of([campus, *other]), declared_of(short), looked()))
    assert len(found["above_declared"]) == 1
    assert len(found["matched"]) == 2
    unknown = [{**halls[0], "it_mw": 12.0}, *({**h, "it_mw": None} for h in halls[1:])]
    assert "above_declared" not in by_class(rc.reconcile(sites_of([campus]), declared_of(unknown), looked()))


def test_sites_within_one_declared_outline_join_its_match():
    land = box(0, 0, 1200, 600)
    rows = [site("A", -300, 0, 60), site("B", 300, 0, 60), site("C", 9000, 0, 60)]
    ledger = rc.reconcile(
        sites_of(rows), declared_of([decl("D", 0, 0, 120, geometry=land, area_m2=720_000.0)]), looked()
    )
    assert sorted(by_class(ledger)["matched"]) == [("A", "D"), ("B", "D")]
    assert by_class(ledger)["undeclared"] == [("C", "")]


def test_distance_to_an_outline_is_edge_to_edge():
    rows = [decl("D", 0, 0, 60, geometry=box(200, 0, 150, 80), error_m=60.0)]
    ledger = rc.reconcile(sites_of([site("S", 0, 0, 60)]), declared_of(rows), looked())
    assert ledger["distance_m"][0] == pytest.approx(50.0, abs=1.0)


def test_vague_coordinate_matches_a_lone_site_and_not_one_of_many():
    lone = rc.reconcile(
        sites_of([site("S", 6000, 5000, 90)]), declared_of([decl("D", 0, 0, 90, error_m=8000.0)]), looked()
    )
    assert by_class(lone) == {"matched": [("S", "D")]}
    rng = np.random.default_rng(3)
    many = [site(f"S{k:02}", *p, 90) for k, p in enumerate(spread(rng, 25, 3000, 250))]
    ledger = rc.reconcile(sites_of(many), declared_of([decl("D", 0, 0, 90, error_m=8000.0)]), looked())
    paired = ledger.dropna(subset=["declared_id", "site_id"])
    assert (paired["p_match"] < 0.2).all()


def test_entry_id_depends_on_the_ids_only():
    assert entry_id("S", "D") == entry_id("S", "D")
    assert len({entry_id(*k) for k in (("S", "D"), ("S", None), (None, "S"), ("SD", ""), ("D", "S"))}) == 5


def test_twice_the_same_declared_id_and_bad_settings_are_named():
    with pytest.raises(RegistryError, match=naming("declared_id", "'D'", "twice")):
        rc.reconcile(sites_of([]), declared_of([decl("D", 0, 0), decl("D", 9, 9)]), looked())
    with pytest.raises(ValidationError, match="gross_share"):
        rc.ReconcileSettings(gross_share=1.5)
    with pytest.raises(ValidationError, match="gross_error_m"):
        rc.ReconcileSettings(gross_error_m=-1.0)


def test_gross_error_density_integrates_to_one():
    """The place term is a density: summed over the places where a coordinate may be, it is 1."""
    r = np.concatenate([np.arange(2.5, 400, 5.0), np.arange(410.0, 5200.0, 20.0)])
    step = np.concatenate([np.full(80, 5.0), np.full(240, 20.0)])
    turn = np.arange(24) * math.pi / 12
    x, y = (np.outer(r, f(turn)).ravel() for f in (np.cos, np.sin))
    s = tables_of.sites_of(sites_of([site("S", 0, 0, 30, width_m=120.0)]))
    rows = [decl(f"{k:05d}", *p) for k, p in enumerate(zip(x.tolist(), y.tolist(), strict=True))]
    d = tables_of.declared_of(declared_of(rows), looked(), rc.DEFAULTS)
    zero, every = np.zeros(len(x), dtype=int), np.arange(len(x))
    away = tables_of.distances_m(s.at, zero, d.at, every)
    density_m2 = np.exp(mixed(*ln_place(zero, every, away, s, d, rc.DEFAULTS), 0.15)) / 1e6
    cell_m2 = np.repeat(r * step, len(turn)) * math.pi / 12
    assert (density_m2 * cell_m2).sum() == pytest.approx(1.0, abs=0.03)


def test_a_table_that_states_no_plant_is_believed_and_says_so():
    seen = sites_of([site("S", 0, 0, 50, cooling=0)])
    table = declared_of([decl("D", 0, 0, 50, kind="warehouse")])
    stated = rc.reconcile(seen, table, looked(), labels=pd.DataFrame({"site_id": ["S"], "plant_known": [False]}))
    assert stated["class"][0] == "type_mismatch"
    assert "cooling equipment not stated" in stated["evidence_for"][0]
    assert "No cooling equipment" not in stated["evidence_against"][0]
    assert rc.reconcile(seen, table, looked())["class"][0] == "matched"


def test_ground_that_is_only_assumed_to_have_been_looked_at_is_not_said_to_have_been():
    seen = sites_of([site("S", 0, 0, 50)])
    rows = declared_of([decl("D", 0, 5200, 40)])
    ledger = rc.reconcile(seen, rows, assumed_looked_at(seen))
    text = ledger.set_index("class")["evidence_for"]["not_seen"]
    assert "is assumed to have been looked at" in text
    assert "was looked at" not in text
