"""Hints from matched declarations: the likeliest one of each site, with its probability."""

import pandas as pd
import pytest

from overwatt.pipeline.reconcile.second_pass import hints
from overwatt.pipeline.tables import conform
from tests.ledger_data import box, decl, declared_of, site, sites_of

SITES = sites_of([site("a", 0, 0, 50), site("b", 900, 0, 50), site("c", 1800, 0, 50)])


def entries(*pairs):
    rows = [
        {"entry_id": f"E-{k}", "class": "matched", "site_id": s, "declared_id": d, "p_match": p, "evidence_for": "",
         "evidence_against": "", "settles": "", "geometry": box(0, 0, 9, 9)}
        for k, (s, d, p) in enumerate(pairs)
    ]  # fmt: skip
    return conform(rows, "entries")


def test_the_likeliest_declaration_counts_with_its_probability():
    declared = declared_of([
        decl("x", 0, 0, operator="Meta", kind="facility"), decl("y", 0, 0, operator="Equinix", zone="US-VA"),
        decl("z", 0, 0, operator="QTS"), decl("w", 0, 0, 20.0),
    ])  # fmt: skip
    found = hints(
        entries(("b", "x", 0.2), ("b", "y", 0.7), ("a", "w", 0.9), (None, "z", None), ("c", None, 0.4)), SITES, declared
    )
    assert list(found) == [1]  # w says nothing but power
    assert (found[1].operator, found[1].weight, found[1].country, found[1].use) == ("Equinix", 0.7, "US", None)


def test_use_and_chips_are_read_and_two_letters_alone_are_no_country():
    declared = declared_of([
        decl("x", 0, 0, kind="mine", zone="CA"), decl("y", 0, 0, chip="NVIDIA H100", chips=5000.0),
    ])  # fmt: skip
    found = hints(entries(("a", "x", 0.5), ("b", "y", 0.5)), SITES, declared)
    assert (found[0].use, found[0].country) == ("mine", None)
    assert found[1].chips == {"NVIDIA H100": 5000.0}


@pytest.mark.parametrize("declared", [declared_of([]), declared_of([decl("x", 0, 0, operator="Meta")])])
def test_no_match_gives_no_hint(declared):
    assert hints(entries(("a", None, 0.3)), SITES, declared) == {}
    assert hints(entries(), SITES, declared) == {}
    assert pd.isna(entries(("a", None, 0.3))["declared_id"]).all()
