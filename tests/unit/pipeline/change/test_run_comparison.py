"""Two runs compared: laws, and what is not a difference."""

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.change.run_comparison import compare_runs
from overwatt.pipeline.coverage import assumed_looked_at
from overwatt.pipeline.reconcile.observed_sites import sites_from_rows
from overwatt.workflows.cli.main import app

LIGHT = settings(max_examples=25, deadline=None)


def sites(rows, spread=0.3):
    """Rows of (name, x in 0.01 degree, MW)."""
    return sites_from_rows(
        pd.DataFrame({
            "site_id": [r[0] for r in rows],
            "geometry": [shapely.box(0.01 * r[1], 40, 0.01 * r[1] + 0.001, 40.001) for r in rows],
            "mid": [float(r[2]) for r in rows], "spread": spread, "p": [(*r, 0.9)[3] for r in rows],
            "area": 9000.0, "cooling": 2,
        })
    )  # fmt: skip


def looked(west=-1.0, east=2.0):
    frame = assumed_looked_at(sites([("x", 0, 1)]))
    return frame.set_geometry(gpd.GeoSeries([shapely.box(west, 39, east, 41)], crs=frame.crs))


runs = st.lists(st.tuples(st.integers(0, 40), st.floats(1, 500)), max_size=8, unique_by=lambda r: r[0]).map(
    lambda rows: [(f"s{x}", x, mw) for x, mw in rows]
)


@LIGHT
@given(runs.filter(bool))
def test_a_run_against_itself_is_the_same(rows):
    found = compare_runs(sites(rows), sites(rows), looked(), looked())
    assert set(found["class"]) == {"same"}
    assert (found["site_id_a"] == found["site_id_b"]).all()


@LIGHT
@given(runs.filter(bool), runs.filter(bool))
def test_swapped_runs_swap_their_classes(one, two):
    there = compare_runs(sites(one), sites(two), looked(), looked())["class"].value_counts().to_dict()
    back = compare_runs(sites(two), sites(one), looked(), looked())["class"].value_counts().to_dict()
    swap = {"new": "gone", "gone": "new", "grown": "shrunk", "shrunk": "grown", "same": "same"}
    assert {swap[k]: v for k, v in there.items()} == back


@LIGHT
@given(runs.filter(bool), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows, random):
    mixed = random.sample(rows, len(rows))
    other = [(n, x, mw * 3) for n, x, mw in rows]
    pd.testing.assert_frame_equal(
        pd.DataFrame(compare_runs(sites(rows), sites(other), looked(), looked())),
        pd.DataFrame(compare_runs(sites(mixed), sites(other[::-1]), looked(), looked())),
    )


@pytest.mark.parametrize(("factor", "klass"), [(1.1, "same"), (3.0, "grown"), (0.3, "shrunk")])
def test_differences_smaller_than_the_errors_are_none(factor, klass):
    found = compare_runs(sites([("a", 0, 50)]), sites([("b", 0, 50 * factor)]), looked(), looked())
    assert found["class"].tolist() == [klass]


def test_what_was_not_looked_at_is_neither_new_nor_gone():
    one, two = sites([("a", 0, 50), ("b", 100, 50)]), sites([("a", 0, 50), ("c", 50, 50)])
    here = looked(-1, 0.2)
    found = dict(zip(*(compare_runs(one, two, here, here)[c] for c in ("reason", "class")), strict=True))
    assert sorted(found.values()) == ["not_looked_at_again", "only_newly_seen", "same"]


SWAPPED = {"new": "gone", "grown": "shrunk", "only_newly_seen": "not_looked_at_again"}
SWAPPED |= {there: back for back, there in SWAPPED.items()}

likely = st.lists(
    st.tuples(st.integers(0, 40), st.floats(1, 500), st.floats(0, 1)), max_size=8, unique_by=lambda r: r[0]
).map(lambda rows: [(f"s{x}", x, mw, p) for x, mw, p in rows])
grounds = st.tuples(st.floats(-0.1, 0.2), st.floats(0.21, 0.5)).map(lambda ends: looked(*ends))


@LIGHT
@given(likely.filter(bool), likely.filter(bool), grounds, grounds)
def test_every_site_of_both_runs_is_in_one_row(one, two, ground_a, ground_b):
    """Whatever each run looked at, and however probable its sites are."""
    found = compare_runs(sites(one), sites(two), ground_a, ground_b)
    assert sorted(found["site_id_a"].dropna()) == sorted(r[0] for r in one)
    assert sorted(found["site_id_b"].dropna()) == sorted(r[0] for r in two)
    back = compare_runs(sites(two), sites(one), ground_b, ground_a)["class"].value_counts().to_dict()
    assert {SWAPPED.get(k, k): n for k, n in found["class"].value_counts().items()} == back


@LIGHT
@given(likely.filter(bool), likely.filter(bool), grounds, grounds)
def test_what_the_other_run_did_not_look_at_is_neither_new_nor_gone(one, two, ground_a, ground_b):
    found = compare_runs(sites(one), sites(two), ground_a, ground_b)
    for klass, ground in (("new", ground_a), ("gone", ground_b)):
        place = found[found["class"] == klass].geometry
        assert place.intersects(ground.union_all()).all()


def test_an_improbable_site_of_one_run_is_said_and_not_new():
    found = compare_runs(sites([("a", 0, 50)]), sites([("a", 0, 50), ("b", 9, 5, 0.2)]), looked(), looked())
    assert found.set_index("site_id_b")["class"].to_dict() == {"a": "same", "b": "improbable"}
    assert "0.2" in found.set_index("site_id_b")["reason"]["b"]


def test_a_narrow_estimate_sees_smaller_changes():
    wide, narrow = (
        compare_runs(sites([("a", 0, 50)], s), sites([("a", 0, 70)], s), looked(), looked())["limit"][0]
        for s in (0.5, 0.25)
    )
    assert narrow < wide


def test_the_command(tmp_path):
    for name, rows in (("a", [("s0", 0, 50), ("s1", 5, 50)]), ("b", [("s0", 0, 200), ("s2", 9, 50)])):
        (tmp_path / name).mkdir()
        sites(rows).to_parquet(tmp_path / name / "sites.parquet")
        looked().to_parquet(tmp_path / name / "looked_at.parquet")
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    counts = json.loads(done.stdout.splitlines()[-1])["counts"]
    assert {k: v for k, v in counts.items() if v} == {"new": 1, "gone": 1, "grown": 1}
    assert np.isfinite(pd.read_csv(tmp_path / "b" / "compare" / "changes.csv")["lon"]).all()


def written_run(folder, rows, ground):
    folder.mkdir()
    sites(rows).to_parquet(folder / "sites.parquet")
    ground.to_parquet(folder / "looked_at.parquet")
    return str(folder)


def test_the_command_says_what_the_other_run_did_not_look_at(tmp_path):
    one = written_run(tmp_path / "a", [("s0", 0, 50), ("s1", -50, 50)], looked(-1, 0.2))
    two = written_run(tmp_path / "b", [("s0", 0, 50), ("s2", 50, 50), ("s3", 60, 50)], looked(-0.1, 2))
    done = CliRunner().invoke(app, ["compare", one, two])
    assert done.exit_code == 0
    assert "1 same, 2 only newly seen, 1 not looked at again" in done.output
    assert "2 in the later run only, where the earlier did not look" in done.output
    assert "1 in the earlier run only, where the later did not look" in done.output


def test_the_command_says_in_which_settings_the_runs_differ(tmp_path):
    one, two = (written_run(tmp_path / n, [("s0", 0, 50)], looked()) for n in "ab")
    for name, prior in (("a", 0.2), ("b", 0.003)):
        told = {"parameters": {"prior": prior, "reconcile": {"p_missed": 0.05}}}
        (tmp_path / name / "manifest.json").write_text(json.dumps(told))
    assert (
        "the settings of the runs differ: prior 0.2 and 0.003" in CliRunner().invoke(app, ["compare", one, two]).output
    )
    (tmp_path / "b" / "manifest.json").write_text("[" * 100_000)
    done = CliRunner().invoke(app, ["compare", one, one, "--json"])
    assert json.loads(done.stdout.splitlines()[-1])["settings"] == {}
    assert CliRunner().invoke(app, ["compare", one, two]).exit_code == 0


def test_runs_without_common_ground_are_not_compared(tmp_path):
    one = written_run(tmp_path / "a", [("s0", 0, 50)], looked(-1, 0.2))
    two = written_run(tmp_path / "b", [("s0", 50, 50)], looked(0.2, 2))
    done = CliRunner().invoke(app, ["compare", one, two])
    assert isinstance(done.exception, ConfigError)
    assert "no ground in common" in str(done.exception)
    assert not (tmp_path / "b" / "compare").exists()
