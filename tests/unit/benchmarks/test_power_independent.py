"""Scores by how independent the truth is, on simulated clusters."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.power import independent
from overwatt.models.capacity.cluster_power import CLASSES


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Simulated: 40 listed runs at 520 W an A100, 12 statements near 1,450 W an H100, 10 counts made from power."""
    rng = np.random.default_rng(3)
    rows = []
    for k in range(40):
        kw = round(0.52 * (n := int(rng.integers(200, 5000))) * np.exp(rng.normal(0, 0.15)))
        rows.append((f"listed {k}", "NVIDIA A100", n, round(kw * 1.18 / 0.67 / 1e3, 4), "", "Existing"))
    for k in range(12):
        n = int(rng.integers(200, 5000)) * 7 + 1
        rows.append(
            (f"stated {k}", "NVIDIA H100 SXM5 80GB", n, round(1450e-6 * n * np.exp(rng.normal(0, 0.1)), 1), "", "")
        )
    made = "chips estimated from power"
    rows += [(f"computed {k}", "NVIDIA GB200", (k + 11) * 1500, (k + 11) * 3.0, made, "") for k in range(10)]
    frame = pd.DataFrame(rows, columns=["Name", "Chip type (primary)", "Chip quantity (primary)",
                                        "Reported Power Capacity (MW)", "Note", "Status"])  # fmt: skip
    empty = ["Hardware note", "Quote", "Certainty Note", "Chip type (secondary)", "Chip quantity (secondary)",
             "Calculated Power Capacity (MW)", *(f"Source {k}" for k in range(1, 6))]  # fmt: skip
    frame = frame.assign(Owner=frame["Name"], **{"First Operational Date": "2021-06-01"}, **dict.fromkeys(empty, ""))
    folder = tmp_path_factory.mktemp("clusters")
    frame.to_csv(folder / "epoch_gpu_clusters.csv", index=False)
    return independent.measure(folder)


def test_the_headline_is_the_independent_part(found):
    by = {name: part["n"] for name, part in found["classes"].items()}
    assert tuple(by) == CLASSES
    assert by["computed"] == 10
    assert found["n"] == by["metered"] + by["reported"] == 52
    assert len(found["rows"]) == 62


def test_listed_runs_come_back_to_whole_kilowatts(found):
    # a simulated statement to 0.1 MW is never taken for a listed run
    assert found["whole_kilowatts"] > 0.9
    assert found["reported_over_run"]["low"] == pytest.approx(1.18 / 0.67, abs=0.01)


def test_independent_rows_are_scored_right_and_computed_ones_apart(found):
    assert abs(found["bias"]) < 0.1
    assert found["crps"] < 0.12
    low, high = found["intervals"]["coverage_80"]
    assert low <= found["coverage_80"] <= high


def test_the_law_without_the_filer_has_the_filing_within_its_interval(found):
    for filed in found["filing"]:
        assert filed["ours_it_mw"] == pytest.approx(filed["it_mw"], rel=0.01)
        error = abs(np.log(filed["law_without_it_mw"] / filed["it_mw"]))
        assert error < 1.96 * filed["law_without_ln_sd"]
