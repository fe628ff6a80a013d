"""Models without a figure of compute: ranges on a planted table (simulated), hardware, an empty selection."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.pipeline.compute import ai_models, missing_compute
from overwatt.pipeline.compute.thresholds import THRESHOLDS_FLOP
from overwatt.workflows.io.tabular import read_models


def world(seed, n=300, hide=lambda rng, flop: rng.random(len(flop)) < 0.5):
    """Return a simulated table with hidden figures, and the true FLOP."""
    rng = np.random.default_rng(seed)
    year = rng.integers(2019, 2027, n)
    organisation = rng.choice(["A", "B", "C", "D"], n)
    flop = 10.0 ** (rng.normal(20.5, 1.3, n) + 0.6 * (year - 2019) + (organisation == "A"))
    frame = pd.DataFrame({
        "model": "m", "organisation": organisation, "country": "c", "year": year,
        "flop": np.where(hide(rng, flop), np.nan, flop), "ln_sd": 1e-9, "stated": True, "flop_by_hardware": np.nan,
    })  # fmt: skip
    return frame, flop


@given(st.integers(0, 10_000), st.sampled_from(["random", "large", "none known of a year"]))
@settings(max_examples=15, deadline=None)
def test_the_range_covers_the_truth(seed, how):
    hide = {
        "random": lambda rng, flop: rng.random(len(flop)) < 0.5,
        "large": lambda rng, flop: rng.random(len(flop)) < np.clip(np.log10(flop) / 10 - 1.7, 0.05, 0.95),
        "none known of a year": lambda rng, flop: flop > np.quantile(flop, 0.7),
    }[how]
    models, truth = world(seed, hide=hide)
    for t in ai_models.against_models(models)["thresholds"]:
        assert t["at_least"] <= (truth >= t["flop"]).sum() <= t["at_most"]
        assert t["at_least"] <= t["middle"] <= t["at_most"]
        assert t["at_least"] == t["published"]


def test_the_middle_is_right_where_figures_are_missing_at_random():
    errors = []
    for seed in range(12):
        models, truth = world(seed)
        found = ai_models.against_models(models)["thresholds"]
        errors.append([t["middle"] - (truth >= t["flop"]).sum() for t in found])
    assert (np.abs(np.mean(errors, axis=0)) < 5).all()
    assert (np.std(errors, axis=0) < 12).all()


def test_the_middle_knows_organisations_and_years():
    known, _ = world(1, hide=lambda rng, flop: np.zeros(len(flop), bool))

    def middle(**who):
        unknown = known.head(1).assign(flop=np.nan, **who)
        return missing_compute.expected(known, unknown, 0, (1e23,))[0]

    assert middle(organisation="A", year=2023) > middle(organisation="B", year=2023)
    assert middle(organisation="B", year=2026) > middle(organisation="B", year=2020)
    assert 0 < middle(organisation="unheard of", year=0) < 1


def test_a_table_without_any_unknown_is_a_selection_and_says_so():
    models, truth = world(2, hide=lambda rng, flop: np.zeros(len(flop), bool))
    found = ai_models.against_models(models)
    assert found["without_compute"] == 0
    assert found["without_compute_assumed"] == len(truth)
    assert "only models with a figure" in found["without_compute_words"]
    for t in found["thresholds"]:
        assert t["at_most"] == t["published"] + len(truth)


HEADER = (
    "Model,Organization,Publication date,Country (of organization),Training compute (FLOP),Confidence,"
    "Training hardware,Hardware quantity,Training time (hours),Hardware utilization (MFU)"
)


def test_hardware_and_hours_give_a_figure(tmp_path):
    path = tmp_path / "models.csv"
    rows = ["a,o,2024-01-01,c,1e22,Likely,,,,", "b,o,2024-01-01,c,,,NVIDIA H100 SXM5 80GB,1000,1000,0.4",
            "c,o,2024-01-01,c,,,unheard of,1000,1000,", "d,o,2024-01-01,c,,,NVIDIA A100,-5,many,9"]  # fmt: skip
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    models = read_models(path)
    assert models["flop_by_hardware"].iloc[1] == pytest.approx(989.4e12 * 1000 * 1000 * 3600 * 0.4)
    assert models["flop_by_hardware"].isna().tolist() == [True, False, True, True]
    found = {t["flop"]: t["middle"] for t in ai_models.against_models(models)["thresholds"]}
    # 1.4e24 by hardware: surely above 1e22, probably above 1e24, hardly above 1e26
    assert found[1e22] - found[1e23] == pytest.approx(3.0, abs=0.05)
    assert 0.5 < found[1e24] < 0.8
    assert found[1e26] < 0.01
    assert len(THRESHOLDS_FLOP) == len(found)
