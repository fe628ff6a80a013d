"""Calibration elsewhere: weighted to a prior, and an offset of one half on the other."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from benchmarks.calibration import _elsewhere_lines, plot
from benchmarks.elsewhere.counted import Row
from benchmarks.elsewhere.looks import Roof
from benchmarks.elsewhere.reliability import PRIORS, elsewhere, logit_of, offset_for
from overwatt.models.detector.card import Calibration
from overwatt.pipeline.sites.clustering import p_data_center

PLAIN = Calibration(a=0.0, b=1.0, prevalence=0.5)


def rows(seed=0, shift=0.0, count=600):
    """Roofs of four places whose scores are calibrated at even prior, but for a shift of the log-odds."""
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        z = rng.normal(0, 2)
        center = rng.random() < expit(z)
        score = float(expit(z + shift))
        place = f"p{i % 4}"
        roof = Roof(f"{i}.jpg", "set", place, "data_center" if center else "other_building", 5000.0, score, 1.0)
        out.append(Row(roof, bool(center), place, f"{i}", "choose" if i % 4 < 2 else "report"))
    return out


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_an_offset_of_one_half_calibrates_the_other(shift):
    found = elsewhere(rows(shift=shift), PLAIN, resamples=30)
    json.dumps(found, allow_nan=False)
    for prior in PRIORS:
        at = found["priors"][f"{prior:g}"]
        low, high = at["intervals"]["mean_p"]
        assert (low <= prior <= high) == (shift == 0)
        for half in at["halves"].values():
            assert half["offset"] == pytest.approx(-shift, abs=0.5)
            assert half["mean_p"] == pytest.approx(prior, rel=0.4)
            assert half["per_large_roof"] < 0.05
        assert sum(b["data_centers"] for b in at["reliability"]) == found["data_centers"]
        assert sum(b["others"] for b in at["reliability"]) == found["others"]
    assert len(_elsewhere_lines(found)) == 2 * 3
    assert _elsewhere_lines(None) == []


def test_reliable_probabilities_lie_on_the_diagonal():
    at = elsewhere(rows(count=4000), PLAIN, resamples=30)["priors"]["0.05"]
    for b in at["reliability"]:
        assert b["interval"][0] <= b["share"] <= b["interval"][1]
        if min(b["data_centers"], b["others"]) >= 50:  # fewer leave a wide error
            assert b["share"] == pytest.approx(b["p"], rel=0.35)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20), st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.floats(0.001, 0.5),
)  # fmt: skip
def test_with_its_offset_the_mean_probability_is_the_prior(center, other, prior):
    offset = offset_for(np.array(center), np.array(other), PLAIN, prior)
    c, o = (expit(logit_of(p_data_center(np.array(s), PLAIN, prior)) + offset).mean() for s in (center, other))
    assert prior * c + (1 - prior) * o == pytest.approx(prior, rel=1e-6)


def test_one_class_alone_has_no_calibration():
    assert elsewhere([r for r in rows() if r.known], PLAIN) is None
    assert elsewhere([r for r in rows() if not r.known], PLAIN) is None


def test_the_diagram_shows_all_three_sources(tmp_path):
    source = {"reliability": [{"p": 0.5, "share": 0.4, "n": 3, "interval": [0.2, 0.6]}], "objects": 3, "brier": 0.1}
    far = elsewhere(rows(), PLAIN, resamples=5)
    plot({"real": source, "simulated": None, "elsewhere": far}, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
