"""Which sites without a declaration are on the list: by value, by expected false share, at every prior."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.pipeline.inspection.listing import LIKELY, left_out_counts, left_out_words, ranked_list, why_left_out
from overwatt.pipeline.inspection.settings import ListSettings
from overwatt.pipeline.inspection.value_of_information import DEFAULTS
from overwatt.pipeline.tables import SCHEMAS, conform
from tests.unit.pipeline.inspection.test_ranking import entry, ledger_of, site, sites_of

NAMES = [c.name for c in SCHEMAS["entries"]]


def entries_of(rows):
    """Table `entries` of (id, site, p, p_match)."""
    table = ledger_of([entry(n, "undeclared", s, p=p, p_match=m) for n, s, p, m in rows])
    return conform(table[[*NAMES, "geometry"]], "entries")


def listed(rows, sites, limit=0.95):
    """Ids on the list, and the reasons of those that are not."""
    entries = entries_of(rows)
    why = dict(zip(entries["entry_id"], why_left_out(entries, sites, None, DEFAULTS, limit), strict=True))
    return {n for n, reason in why.items() if not reason}, {n: reason for n, reason in why.items() if reason}


@pytest.mark.parametrize("prior", [0.5, 0.15, 0.003])
def test_a_large_site_with_a_likelihood_ratio_of_60_is_listed_at_every_prior(prior):
    odds = 60 * prior / (1 - prior)
    assert listed([("a", "S", odds / (1 + odds), 0.0)], sites_of([site("S", 200)])) == ({"a"}, {})


def test_reasons_are_named_and_counted():
    table = sites_of([site("big", 300), site("small", 1), site("weak", 300), site("likely", 1)])
    rows = [("a", "big", 0.1, 0.0), ("b", "small", 0.3, 0.0), ("c", "weak", 0.05, 0.0), ("d", "likely", 0.6, 0.0)]
    assert listed(rows, table) == ({"a", "c", "d"}, {"b": "value"})
    # of those worth a look the surest come first: 0.4, then (0.4 + 0.9) / 2 = 0.65, then 0.75
    assert listed(rows, table, 0.7) == ({"a", "d"}, {"b": "value", "c": "false_share"})
    assert listed(rows, table, 0.5) == ({"d"}, {"a": "false_share", "b": "value", "c": "false_share"})
    assert listed(rows, table, 0.0)[0] == set()
    ledger, almost = ranked_list(entries_of(rows), table)
    assert set(ledger["entry_id"]) == {"a", "c", "d"}
    assert almost[["entry_id", "left_out", "rank"]].to_numpy().tolist() == [["b", "value", 1]]
    words = left_out_words(left_out_counts(almost), DEFAULTS, ListSettings())
    assert len(words) == 1
    assert words[0].startswith("1 too improbable or too small")


def test_a_site_that_is_probably_declared_needs_more():
    table = sites_of([site("S", 200)])
    assert listed([("a", "S", 0.8, 0.99)], table) == (set(), {"a": "value"})


def test_entries_with_a_declaration_are_always_listed():
    rows = [entry("m", "matched", "S", "D", 50, 50, p=0.01), entry("n", "not_seen", None, "E", declared_mw=20)]
    entries = conform(ledger_of(rows)[[*NAMES, "geometry"]], "entries")
    ledger, almost = ranked_list(entries, sites_of([site("S", 50)]), settings=ListSettings(max_false_share=0.0))
    assert set(ledger["entry_id"]) == {"m", "n"}
    assert len(almost) == 0
    assert list(almost.columns) == [*(c.name for c in SCHEMAS["almost_listed"]), "geometry"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([1, 20, 300])), min_size=1, max_size=8),
    st.floats(0, 0.99),
    st.randoms(use_true_random=False),
)
def test_laws_of_the_cut(found, limit, order):
    """Nothing is lost, the limit holds, and neither order of rows nor a looser limit takes a site off the list."""
    table = sites_of([site(f"S{k}", mw) for k, (_, _, mw) in enumerate(found)])
    rows = [(f"e{k:02}", f"S{k}", p, m) for k, (p, m, _) in enumerate(found)]
    on, off = listed(rows, table, limit)
    assert on | set(off) == {r[0] for r in rows}
    assert not on & set(off)
    p = {n: pd * (1 - m) for n, _, pd, m in rows}
    if on:
        assert np.mean([1 - p[n] for n in on]) <= limit + 1e-9
    assert all(p[n] < LIKELY for n, why in off.items() if why == "value")
    shuffled = order.sample(rows, len(rows))
    assert listed(shuffled, table, limit) == (on, off)
    assert on <= listed(rows, table, min(0.999, limit + 0.1))[0]
