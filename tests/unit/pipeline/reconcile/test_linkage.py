"""Shares that are estimated, campuses that keep together, labels that differ, and sites cut by the border."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.pipeline.reconcile import ledger as rc
from overwatt.pipeline.reconcile.shares import LEAST, MOST, posterior
from tests.ledger_data import box, decl, declared_of, looked, site, sites_of, spread


def matched(ledger):
    pairs = ledger.dropna(subset=["site_id", "declared_id"])
    return {(s, d): p for s, d, p in zip(pairs["site_id"], pairs["declared_id"], pairs["p_match"], strict=True)}


def thinned(rng, missing, n=150):
    """A country of `n` facilities, of which each side lacks a share."""
    places = spread(rng, n, 400_000.0, 3_000.0)
    mw = np.exp(rng.uniform(math.log(10), math.log(150), n))
    seen, told = rng.random((2, n)) >= missing
    return (
        [site(f"S{k}", *places[k], mw[k], p=0.999) for k in range(n) if seen[k]],
        [decl(f"D{k}", *np.add(places[k], rng.normal(0, 30, 2)), mw[k], operator="A") for k in range(n) if told[k]],
    )


@pytest.mark.parametrize("missing", [0.05, 0.25, 0.6])
def test_missing_shares_are_found_and_order_free(missing):
    sites, rows = thinned(np.random.default_rng(7), missing)
    seen = looked(-600_000, -600_000, 600_000, 600_000)
    shares = rc.compare(sites_of(sites), declared_of(rows), seen).shares
    for name in ("p_missed", "p_undeclared"):
        low, high = shares.interval[name]
        assert low < getattr(shares, name) < high
        assert getattr(shares, name) == pytest.approx(missing, abs=0.12)
    assert rc.compare(sites_of(sites[::-1]), declared_of(rows[::-1]), seen).shares == shares


def test_without_records_the_priors_hold_and_a_set_share_is_kept():
    none = rc.compare(sites_of([]), declared_of([]), looked()).shares
    assert none.p_missed == pytest.approx(0.35)
    own = rc.ReconcileSettings(p_missed=0.2, p_undeclared=0.4, detector_recall=0.9)
    told = rc.compare(sites_of([site("S", 0, 0, 50)]), declared_of([decl("D", 0, 0, 50)]), looked(), own).shares
    assert (told.p_missed, told.p_undeclared) == (0.2, 0.4)
    assert told.as_dict()["p_missed_low"] == told.as_dict()["p_missed_high"] == 0.2


@settings(max_examples=50, deadline=None)
@given(st.floats(0.02, 0.9), st.floats(1, 50), st.integers(0, 400), st.floats(0, 1))
def test_law_a_share_lies_between_prior_and_data_within_its_limits(mean, n, trials, p):
    share, low, high = posterior(mean, n, np.full(trials, p), np.ones(trials))
    assert LEAST <= share <= MOST
    assert low <= high
    assert min(mean, p) - 1e-9 <= share <= max(mean, p) + 1e-9 or share in (LEAST, MOST)


@pytest.mark.parametrize("halls", [2, 3, 4])
@pytest.mark.parametrize("with_mw", [True, False])
def test_a_declared_campus_and_its_halls_keep_together(halls, with_mw):
    x = 170.0 * (np.arange(halls) - (halls - 1) / 2)
    far = [(9_000.0 * k, 20_000.0) for k in range(1, 4)]
    sites = [site(f"S{k}", x[k], 0, 30) for k in range(halls)] + [site(f"T{k}", *v, 50) for k, v in enumerate(far)]
    rows = [decl("D", 0, 0, 30.0 * halls if with_mw else None, error_m=100.0)]
    rows += [decl(f"E{k}", *v, 50) for k, v in enumerate(far)]
    found = matched(rc.reconcile(sites_of(sites), declared_of(rows), looked()))
    p = [found.get((f"S{k}", "D"), 0.0) for k in range(halls)]
    assert max(p) > 0.75
    if with_mw:
        assert min(p) > 0.75


@pytest.mark.parametrize("halls", [2, 3, 4])
def test_declared_halls_of_one_observed_campus_keep_together(halls):
    x = 150.0 * (np.arange(halls) - (halls - 1) / 2)
    rows = [decl(f"D{k}", x[k], 0, 30, error_m=60.0, operator="A") for k in range(halls)]
    found = matched(
        rc.reconcile(sites_of([site("S", 0, 0, 30.0 * halls, width_m=150.0 * halls)]), declared_of(rows), looked())
    )
    assert len(found) == halls
    assert min(found.values()) > 0.8


def test_a_hall_with_its_own_declaration_is_no_part_of_another():
    rng = np.random.default_rng(1)
    places = spread(rng, 20, 3_000.0, 250.0)
    mw = np.exp(rng.uniform(math.log(10), math.log(150), 20))
    rows = [decl(f"D{k:02}", *places[k], mw[k], error_m=30.0) for k in range(1, 20)]
    ledger = rc.reconcile(
        sites_of([site(f"S{k:02}", *places[k], mw[k]) for k in range(20)]), declared_of(rows), looked()
    )
    assert {(s[1:], d[1:]) for s, d in matched(ledger)} == {(f"{k:02}",) * 2 for k in range(1, 20)}
    assert ledger.loc[ledger["class"] == "undeclared", "site_id"].tolist() == ["S00"]


@pytest.mark.parametrize(("operator", "same"), [("Meta", False), ("Equinix", True)])
def test_a_lone_pair_of_different_operators_is_no_match(operator, same):
    labels = pd.DataFrame({"site_id": ["S"], "operator": [operator]})
    others = [decl(f"D{k}", 10_000.0 * k, 30_000, operator=f"Other {k}") for k in range(20)]
    rows = declared_of([decl("D", 0, 0, 50, operator="Equinix"), *others])
    found = matched(rc.reconcile(sites_of([site("S", 1_200, 0, 50)]), rows, looked(), labels=labels))
    assert bool(found) == same


@pytest.mark.parametrize("error_m", [30.0, 200.0])
def test_a_campus_cut_by_the_border_matches_its_declaration_beyond(error_m):
    """The imagery ends at x = 0, the declared place lies 93 m beyond, and the piece that is seen is a tenth of it."""
    seen = looked(-40_000, -40_000, 0, 40_000)
    rows = declared_of([decl("D", 93, 0, 150, error_m=error_m, footprint_m2=60_000.0)])
    cut = site("S", -40, 0, 15, border=True, width_m=80.0)
    assert list(matched(rc.reconcile(sites_of([cut]), rows, seen))) == [("S", "D")]
    whole = {**cut, "on_border": False}
    assert matched(rc.reconcile(sites_of([whole]), rows, seen)) == {}


def test_a_site_inside_a_declared_outline_is_a_part_of_it():
    land = box(0, 0, 1200, 600)
    rows = declared_of([decl("D", 0, 0, 120, geometry=land, area_m2=720_000.0)])
    found = matched(rc.reconcile(sites_of([site("A", -300, 0, 60), site("B", 300, 0, 60)]), rows, looked()))
    assert min(found[k, "D"] for k in "AB") > 0.85
