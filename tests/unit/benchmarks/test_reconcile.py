"""Planted edits on the real registry: the harness is fair, the ledger is ahead of the rivals."""

import json

from benchmarks.reconcile import scaling
from benchmarks.reconcile.__main__ import main
from benchmarks.reconcile.planted import EDITS, base, plant


def test_truth_of_a_planted_case(realdata):
    truth = base(realdata / "facilities").iloc[:300].reset_index(drop=True)
    case = plant(truth, family="other", coordinates="parcel", seed=1, names=0.5)
    again = plant(truth, family="other", coordinates="parcel", seed=1, names=0.5)
    assert case.partner == again.partner
    assert case.declared.geometry.geom_equals(again.declared.geometry).all()
    assert set(case.edit.values()) == set(EDITS)
    assert {s for s in case.partner.values() if s} <= set(case.sites["site_id"])
    assert set(case.partner) == set(case.declared["declared_id"])
    deleted = {k for k, e in case.edit.items() if e == "delete"}
    assert not deleted & set(case.partner.values())


def test_ahead_of_the_rivals_on_the_real_registry(realdata, capsys):
    main(["--json", "--data", str(realdata / "facilities"), "--repeats", "1", "--observed", "0", "--rows", "400"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"recall", "precision", "ece", "by_edit", "rivals"} <= set(found)
    ours = found["rivals"].pop("ours")
    assert all(ours["f1"] > other["f1"] for other in found["rivals"].values())
    assert found["ece"] < 0.05


def test_scaling_compares_like_with_like():
    row = scaling.compare(1000, 100, 0)
    assert row["recall"] > 0.95
    assert row["baseline_recall"] > 0.95
