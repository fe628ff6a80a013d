"""The inspection plan: laws of the linear program and of the draw, the command and its audit."""

import dataclasses
import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.inspection.__main__ import ledger, main
from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.inspection import plan as i
from overwatt.pipeline.tables import conform
from overwatt.workflows.cli.main import app

LIGHT = settings(max_examples=25, deadline=None)
cases = st.builds(ledger, st.integers(1, 40), st.integers(0, 30), st.integers(0, 1000))


@LIGHT
@given(cases, st.floats(0.5, 30.0))
def test_the_plan_keeps_its_promises(places, budget):
    found = i.plan(places, budget)
    assert ((found.q >= 0) & (found.q <= 1)).all()
    assert found.q @ places.cost <= budget * (1 + 1e-6)
    assert found.worst_case >= found.uniform - 1e-6
    assert found.worst_case >= 0.99 * found.optimum - 1e-9
    assert found.optimum <= found.free_optimum + 1e-6
    if found.optimum > found.uniform + 1e-6:
        assert found.naive >= 0.8 * found.naive_top - 1e-6
    for name in set(places.stratum):
        own = np.array(places.stratum) == name
        assert found.q[own].sum() >= min(0.02 * budget, own.sum()) - 1e-6


@LIGHT
@given(cases, st.integers(0, 100))
def test_the_draw_has_the_planned_size_and_is_the_same_again(places, seed):
    q = i.plan(places, 5.0).q
    drawn = i.draw(places, q, seed)
    assert drawn == i.draw(places, q, seed)
    assert np.floor(q.sum()) <= len(drawn) <= np.ceil(q.sum())
    assert set(drawn) <= {p for p, x in zip(places.place_id, q, strict=True) if x > 0}


def test_inclusion_probabilities_are_those_of_the_plan():
    places = ledger(20, 10, 3)
    q = i.plan(places, 6.0).q
    often = np.zeros(len(q))
    for seed in range(4000):
        hit = set(i.draw(places, q, seed))
        often += [p in hit for p in places.place_id]
    assert np.abs(often / 4000 - q).max() < 4.5 * 0.5 / np.sqrt(4000)


def test_a_certain_list_is_gamed_and_the_plan_is_not():
    places = ledger(100, 50, 1)
    top = i.top_list(places, 10.0)
    found = i.plan(places, 10.0)
    assert i.worst_case(places, top) < 0.05 < found.worst_case


def test_a_changed_score_changes_the_digest():
    places = ledger(5, 5, 0)
    other = dataclasses.replace(places, score=places.score * 1.001)
    assert i.digest(places) != i.digest(other)


@pytest.mark.parametrize(("budget", "floor"), [(0.0, 0.02), (np.nan, 0.02), (3.0, 0.9), (3.0, -0.1)])
def test_nonsense_is_refused(budget, floor):
    with pytest.raises(ConfigError):
        i.plan(ledger(5, 5, 0), budget, floor=floor)


def test_benchmark(capsys):
    main(["--json", "--repeats", "1"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["gap_to_optimum"] <= 0.01
    assert result["ratio_vs_uniform"] >= 1.0
    assert result["naive_ratio_vs_topk"] >= 0.8 - 1e-3


def test_the_command_writes_a_plan_that_can_be_audited(tmp_path):
    rows = [
        {"entry_id": f"E{k}", "rank": k + 1, "class": "undeclared" if k % 2 else "matched", "site_id": f"=S{k}",
         "declared_id": None, "p_match": 0.9, "p_detect": None, "distance_m": None, "p_data_center": 0.9,
         "it_mw_p50": 50.0, "declared_it_mw": None, "undeclared_flop_90d": 1e25 * k,
         "evidence_for": "", "evidence_against": "", "settles": "", "geometry": shapely.Point(k, 0)} for k in range(12)
    ]  # fmt: skip
    conform(gpd.GeoDataFrame(rows, geometry="geometry", crs="OGC:CRS84"), "ledger").to_parquet(
        tmp_path / "ledger.parquet"
    )
    call = ["inspect", str(tmp_path), "--budget", "4", "--seed", "9", "--json"]
    first = json.loads(CliRunner().invoke(app, call).stdout.splitlines()[-1])
    assert len(first["visits"]) in (3, 4)
    plan = str(tmp_path / "inspection" / "plan.json")
    check = json.loads(
        CliRunner().invoke(app, ["inspect", str(tmp_path), "--audit", plan, "--json"]).stdout.splitlines()[-1]
    )
    assert check == {"same_ledger": True, "same_draw": True}
    conform(gpd.GeoDataFrame(rows[1:], geometry="geometry", crs="OGC:CRS84"), "ledger").to_parquet(
        tmp_path / "ledger.parquet"
    )
    check = json.loads(
        CliRunner().invoke(app, ["inspect", str(tmp_path), "--audit", plan, "--json"]).stdout.splitlines()[-1]
    )
    assert not check["same_ledger"]


def test_the_assumptions_of_a_plan_can_be_set_are_recorded_and_audited(tmp_path):
    rows = [
        {"entry_id": f"E{k}", "rank": k + 1, "class": "undeclared", "site_id": f"S{k}", "p_data_center": 0.9,
         "it_mw_p50": 2.0, "undeclared_flop_90d": 1e25, "evidence_for": "", "evidence_against": "", "settles": "",
         "geometry": shapely.Point(k, 0)} for k in range(6)
    ]  # fmt: skip
    table = conform(gpd.GeoDataFrame(rows, geometry="geometry", crs="OGC:CRS84"), "ledger")
    table.to_parquet(tmp_path / "ledger.parquet")

    def inspect(*more: str) -> dict:
        return json.loads(CliRunner().invoke(app, ["inspect", str(tmp_path), *more, "--json"]).stdout.splitlines()[-1])

    usual = inspect("--budget", "2")
    smaller = inspect("--budget", "2", "--set", "inspection.flop=1e24")
    assert smaller["settings"]["flop"] == 1e24
    assert smaller["digest"] != usual["digest"]  # places of 2 MW can host 1e24 FLOP whole, 1e26 in small part
    assert smaller["worst_case_detection"] < usual["worst_case_detection"]
    plan = str(tmp_path / "inspection" / "plan.json")
    assert inspect("--audit", plan) == {"same_ledger": True, "same_draw": True}
    # the run's own workflow counts where it states them
    manifest = {"parameters": {"inspection": {"flop": 1e24}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert inspect("--budget", "2")["digest"] == smaller["digest"]
