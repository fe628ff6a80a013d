"""Scores of H100 equivalents, from a table of two sites."""

import pandas as pd
import pytest

from benchmarks.power import h100e

TIMELINES = """Data center,Date,IT power (MW),H100 equivalents
Far,2025-05-01,20,20000
Far,2026-05-01,200,220000
Far,2027-05-01,900,900000
Near,2026-02-01,100,0
Near,2026-03-01,150,160000
"""
SITES = """Name,Owner,Country,Current chip types
Far,Meta #confident,United States,B200
Near,,China,Ascend 910C
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "epoch_data_center_timelines.csv").write_text(TIMELINES)
    (tmp_path / "epoch_data_centers.csv").write_text(SITES)
    return tmp_path


def test_rows_are_built_with_chips_and_before_the_latest_date(folder):
    rows = h100e._rows(folder)
    assert rows["Date"].tolist() == ["2025-05-01", "2026-03-01", "2026-05-01"]
    assert rows["country"].tolist() == ["US", "CN", "US"]
    assert rows["family"].tolist() == ["NVIDIA", "Ascend", "NVIDIA"]
    assert rows["owner"].tolist()[0] == "Meta"


def test_a_known_kind_is_nearer_than_an_unknown_one(folder):
    rows = h100e._rows(folder)
    ai, unknown = (h100e._predict(rows, kind, 0) for kind in ("ai", "unknown"))
    assert (ai["p50"] > unknown["p50"]).all()
    assert (ai["p_ai"] == 1.0).all()
    assert h100e._predict(rows, "ai", 0, ln_sd=0.0)["p50"].notna().all()


def test_scores_are_ours_over_truth():
    rows = pd.DataFrame({"p10": [1.0, 1.0], "p50": [2.0, 2.0], "p90": [4.0, 4.0], "truth": [2.0, 8.0]})
    found = h100e._scores(rows)
    assert found["coverage_80"] == 0.5
    assert found["bias"] == pytest.approx(-0.6931, abs=1e-4)
    assert found["median_factor"] == pytest.approx(2.0)
