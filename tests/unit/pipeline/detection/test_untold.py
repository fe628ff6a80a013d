"""Weights that do not tell the type of a roof: no data center, and a probability that is the prior."""

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.models.detector.card import Calibration
from overwatt.pipeline.detection.untold import without_type
from overwatt.pipeline.sites.clustering import p_data_center
from overwatt.pipeline.tables import conform, empty


def footprints():
    return conform(
        pd.DataFrame({
            "object_id": ["d3_4", "o9_9", "c5_5", "g7_7", "s8_8"],
            "class": ["data_center", "other_building", "cooling_equipment", "generator", "substation"],
            "score": [0.99, 0.8, 0.7, 0.7, 0.7], "epistemic": 0.0, "area_m2": 9000.0,
            "units": pd.array([None] * 5, "Int64"), "on_border": False, "used_thermal": False, "tile": "r0c0",
            "scenes": "s",
            "geometry": [shapely.box(7, 52, 7.001, 52.001)] * 5,
        }),
        "footprints",
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    st.builds(Calibration, a=st.floats(-1, 1), b=st.floats(0.7, 3), prevalence=st.floats(0.1, 0.9)),
    st.floats(0.001, 0.9),
)
def test_no_data_center_is_called_and_the_probability_is_the_prior(calibration, prior):
    found = without_type(footprints(), calibration)
    assert list(found["class"]) == ["other_building"] * 2
    assert list(found["object_id"]) == ["o3_4", "o9_9"]
    assert p_data_center(1 - found["score"].to_numpy(), calibration, prior) == pytest.approx(np.full(2, prior))


def test_no_footprints_stay_none():
    assert without_type(empty("footprints"), Calibration()).empty
