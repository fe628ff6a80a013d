"""Clusters by how independent their power is, and the law that rests on the independent ones (simulated rows)."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.models.capacity.chip_power import FEATURES, features, law
from overwatt.models.capacity.cluster_power import LIST_SHARE, classify, read_clusters, table_pue
from overwatt.models.capacity.fit_chip_power import fit
from overwatt.models.reference import facts


@pytest.mark.parametrize(
    ("mw", "chips", "texts", "planned", "expected"),
    [
        (123.0, 57_000, "Number of GPUs estimated from power capacity", True, "computed"),
        (87.0, 41_000, "Chip count extrapolated from the stated capacity of 87 MW", False, "computed"),
        (95.0, 52_300, "the three sites are 95 MW, the equivalent of about 52,300 H100 chips", True, "computed"),
        (48.5, 33_000, "GPU count inferred from the 48.5 MW of the permit", False, "computed"),
        (45.3, 31_300, "we back out 31,300 H100s from the 45.3MW", False, "computed"),
        (45.3, 31_300, "power: number of GPUs times an assumed 1.4 kW", False, "computed"),
        (50.1, 25_300, "50.1 MW translates to about 25,300 accelerators", False, "computed"),
        (50.1, 25_300, "The number of GPUs is estimated. The utility states 50.1 MW.", False, "reported"),
        (2.3871, 4_100, "", False, "metered"),
        (1.19, 2_100, "https://web.archive.org/web/2024/https://www.top500.org/system/1/", False, "metered"),
        (1.19, 2_100, "stated by the operator", False, "reported"),
        (46.0, 23_000, "", True, "computed"),
        (46.3, 23_000, "", True, "reported"),
        (8.0, 3_000, "", False, "rounded"),
        (140.0, 91_000, "The utility says 140 MW. The company says 91,000 GPUs.", False, "reported"),
    ],
)
def test_classes_by_words_and_figures(mw, chips, texts, planned, expected):
    assert classify(mw, chips, texts, planned=planned) == expected


@given(st.integers(5, 30), st.integers(1001, 99_999))
def test_power_made_from_the_number_of_chips_is_found(hundreds, chips):
    found = classify(chips * hundreds * 100 / 1e6, chips, "", planned=True)
    assert found in ("computed", "rounded")


def clusters(rows):
    columns = {"Name": "c", "Owner": "o", "Status": "Existing", "First Operational Date": "2021-06-01",
               "Note": "", "Hardware note": "", "Quote": "", "Certainty Note": "", "Chip type (secondary)": "",
               "Chip quantity (secondary)": "", "Calculated Power Capacity (MW)": "",
               **{f"Source {k}": "" for k in range(1, 6)}}  # fmt: skip
    return pd.DataFrame([{**columns, **row} for row in rows])


def row(name, chip, n, mw, **more):
    return {"Name": name, "Owner": name, "Chip type (primary)": chip, "Chip quantity (primary)": n,
            "Reported Power Capacity (MW)": mw, **more}  # fmt: skip


def test_a_listed_run_is_taken_back_to_the_list(tmp_path):
    stated = round(0.390 * table_pue(2021) / LIST_SHARE, 4)
    clusters([row("listed", "NVIDIA A100", 800, stated), row("bare", "unheard of", 100, 0.2135)]).to_csv(
        tmp_path / "epoch_gpu_clusters.csv", index=False
    )
    found = read_clusters(tmp_path).set_index("name")
    assert found.loc["listed", "basis"] == "metered"
    assert found.loc["listed", "mw"] == pytest.approx(0.390, rel=1e-3)
    assert found.loc["listed", "w_it"] == 800 * facts.accelerator("A100").w_it
    assert bool(found.loc["bare", "unknown"])


def test_the_fit_finds_a_planted_law_and_leaves_computed_rows_out():
    """Simulated clusters: a run takes 0.6, a statement 1.1 of an IT power of 2 TDP; computed rows say 10 TDP."""
    rng = np.random.default_rng(0)
    n, noise = 60, rng.normal(0, 0.1, 60)
    basis = np.array(["metered", "reported", "computed"])[np.arange(n) % 3]
    factor = pd.Series(basis).map({"metered": 0.6 * 2, "reported": 1.1 * 2, "computed": 10.0}).to_numpy()
    tdp = rng.uniform(200, 1200, n)
    rows = pd.DataFrame({"basis": basis, "n": 1000.0, "w_it": np.nan, "mean_tdp_w": tdp, "tdp_w": 1000 * tdp,
                         "dense": 0.0, "unknown": False, "mw": 1e-3 * tdp * factor * np.exp(noise)})  # fmt: skip
    h100 = facts.accelerator("H100")
    found = fit(rows, [replace(h100, tdp_w=w, w_it=2.0 * w) for w in np.linspace(200, 1200, 12)])
    by = dict(zip(FEATURES, np.exp(found.coefficients), strict=True))
    assert by["constant"] == pytest.approx(2.0, rel=0.08)
    assert by["run"] == pytest.approx(0.6, rel=0.12)
    assert by["stated"] == pytest.approx(1.1, rel=0.12)
    assert 0.06 < found.ln_sd < 0.14


def test_the_shipped_law_orders_what_it_tells_apart():
    usual, _ = law().predict(features(700.0, dense=0.0))
    dense, _ = law().predict(features(700.0, dense=1.0))
    run, sd = law().predict(features(700.0, dense=0.0, run=True))
    assert run < usual
    assert dense < usual
    assert 1.5 < np.exp(usual) < 2.3
    assert sd > law().ln_sd
