"""The list by expectation, by worst case and by probability over a threshold; sites of unknown power."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.pipeline.inspection import candidates, listing, rank_stability, ranking, undeclared_compute
from overwatt.pipeline.inspection.settings import ListSettings, RankingSettings
from overwatt.pipeline.reconcile.ledger import reconcile
from overwatt.pipeline.tables import QUANTILE_NAMES, conform
from tests.ledger_data import declared_of, looked, site, sites_of

ALL = ListSettings(max_false_share=0.99)


def places(*sites):
    """Sites 3 km apart: (MW, factor from expected to worst-case FLOP, p)."""
    rows = []
    for k, (mw, factor, p) in enumerate(sites):
        row = site(f"S{k}", 3000.0 * k, 0, mw, p=p)
        rows.append(row | {f"flop_90d_ai_{q}": factor * row[f"flop_90d_{q}"] for q in QUANTILE_NAMES})
    return sites_of(rows)


def ranked(sites, **order):
    none = declared_of([])
    return listing.ranked_list(reconcile(sites, none, looked()), sites, none, settings=ALL,
                               ranking=RankingSettings(**order))[0]  # fmt: skip


def test_each_order_sorts_by_its_own_measure():
    # a surely AI site, a larger cloud that would be worse, a small improbable one
    sites = places((100, 1.0, 0.9), (60, 10.0, 0.9), (400, 1.0, 0.3))
    expected, worst, over = (
        ranked(sites, by="expected"), ranked(sites, by="worst_case"), ranked(sites, by="p_over", flop=2e25)
    )  # fmt: skip
    assert expected["undeclared_flop_90d"].is_monotonic_decreasing
    assert worst["undeclared_flop_90d_ai"].is_monotonic_decreasing
    assert expected["site_id"].tolist() == ["S2", "S0", "S1"]
    assert worst["site_id"].tolist() == ["S1", "S2", "S0"]
    p = ranking.p_over(over, sites, 2e25)
    assert (np.diff(p) <= 0).all()
    assert over["site_id"].iloc[0] == "S0"
    assert [t["ranked_by"].iloc[0] for t in (expected, worst, over)] == ["expected", "worst_case", "p_over 2e+25"]
    # both expectations are given in any order
    for other in (worst, over):
        pd.testing.assert_frame_equal(
            *(t.set_index("entry_id")[["undeclared_flop_90d", "undeclared_flop_90d_ai"]].sort_index()
              for t in (expected, other))
        )  # fmt: skip


def test_the_order_without_a_setting_is_the_expectation():
    sites = places((100, 1.0, 0.9), (60, 10.0, 0.9))
    none = declared_of([])
    assert listing.ranked_list(reconcile(sites, none, looked()), sites, none)[0]["ranked_by"].unique().tolist() == [
        "expected"
    ]


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.tuples(st.floats(2, 500), st.floats(1, 20), st.floats(0.2, 0.98)), min_size=1, max_size=5),
    st.sampled_from([{"by": "expected"}, {"by": "worst_case"}, {"by": "p_over", "flop": 1e25}, {"by": "p_over"}]),
)
def test_ranks_lie_in_their_range_and_stability_follows_the_order(sites, order):
    table = places(*sites)
    ledger = ranked(table, **order)
    assert ledger["rank"].tolist() == list(range(1, len(ledger) + 1))
    assert (ledger["rank_low"] <= ledger["rank"]).all() and (ledger["rank"] <= ledger["rank_high"]).all()
    found = rank_stability.stability(ledger, table)
    assert found["top"] <= len(ledger)
    if found["first_kept"] is not None and len(ledger) == 1:
        assert found["first_kept"] == 1


def test_what_pays_in_the_worst_case_only_is_listed_there():
    sites = places((2, 60.0, 0.45))  # 2e24 FLOP expected, 1.2e26 if all AI
    assert not len(ranked(sites, by="expected"))
    assert len(ranked(sites, by="worst_case")) == 1


@pytest.mark.parametrize("text", [None, pd.NA, "", "worst", "p_over ten", "p_over -1", "p_over 1e999"])
def test_an_unreadable_order_is_the_default(text):
    assert RankingSettings.of(text) == RankingSettings()


@pytest.mark.parametrize("order", [RankingSettings(by="worst_case"), RankingSettings(by="p_over", flop=3.2e25)])
def test_the_order_survives_the_ledger(order):
    assert RankingSettings.of(order.text).text == order.text


def unknown(sites):
    stems = ("it_mw", "facility_mw", "h100e", "flop_90d", "flop_90d_ai")
    out = pd.DataFrame(sites)
    out.loc[0, [f"{s}_{q}" for s in stems for q in QUANTILE_NAMES]] = np.nan
    return conform(out, "sites")


@pytest.mark.parametrize("by", ["expected", "worst_case", "p_over"])
def test_a_site_of_unknown_power_is_ranked_with_a_stated_assumption(by):
    sites = unknown(places((100, 1.0, 0.9), (100, 1.0, 0.9)))
    ledger = ranked(sites, by=by)
    row = ledger.set_index("site_id").loc["S0"]
    assert row["undeclared_flop_90d"] > 0
    assert row["undeclared_flop_90d_ai"] > row["undeclared_flop_90d"]
    assert row["evidence_against"].endswith(undeclared_compute.ASSUMED_WORDS)
    assert undeclared_compute.ASSUMED_WORDS not in ledger.set_index("site_id").loc["S1", "evidence_against"]
    again = ranking.rank_discrepancies(ledger, sites)  # said once only
    assert again.set_index("site_id").loc["S0", "evidence_against"] == row["evidence_against"]
    value = candidates.inspection_candidates(ledger, sites).set_index("place").loc[row["entry_id"], "value"]
    assert 0 < value < 1


def test_a_table_without_the_worst_case_takes_its_power_times_that_of_ai_sites():
    row = site("S0", 0, 0, 100)
    flop, it_mw = undeclared_compute.compute_and_power(sites_of([row]), worst_case=True)
    per_mw = flop[0, 4] / it_mw[0, 4]
    assert 0.1 < per_mw < 10  # UNIT per MW: about 1e24 FLOP in 90 days
    assert (np.diff(flop[0]) >= 0).all()
