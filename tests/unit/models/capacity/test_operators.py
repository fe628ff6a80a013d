"""Operators: shrinkage, names in longer names, the shipped table."""

import numpy as np
import pandas as pd
import pytest

from overwatt.models.capacity.fit_operators import fit
from overwatt.models.capacity.operators import operator, operators


def test_an_operator_with_one_site_says_little():
    rng = np.random.default_rng(0)
    names = [f"s{k}" for k in range(21)]
    owners = ["Big"] * 10 + ["Other"] * 10 + ["New"]
    mw = np.concatenate([np.exp(rng.normal(5, 0.2, 10)), np.exp(rng.normal(4, 0.2, 10)), [np.exp(6.5)]])
    centers = pd.DataFrame({"Name": names, "Owner": owners})
    rows = pd.DataFrame({"Data center": names, "Date": "2025-01-01", "IT power (MW)": mw,
                         "Power (MW)": 1.3 * mw + rng.uniform(0, 1, 21), "Buildings operational": 1})  # fmt: skip
    found = {o.operator: o for o in fit(centers, rows)}
    assert found["big"].it_mw_per_building == pytest.approx(np.exp(5), rel=0.2)
    assert found["any"].it_mw_per_building < found["new"].it_mw_per_building < np.exp(6.5)
    assert found["new"].ln_sd > found["big"].ln_sd


def test_names_are_found_in_longer_ones_and_unknown_ones_are_any():
    assert operator("Google LLC").operator == "google"
    assert operator("Metal Works").operator == "any"
    assert operator(None).operator == "any"


def test_the_shipped_table_is_sane():
    assert all(o.facility_per_it > 1 and o.ln_sd > 0 for o in operators().values())
