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
            "mid": [float(r[2]) for r in rows], "spread": spread, "p": 0.9, "area": 9000.0, "cooling": 2,
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
