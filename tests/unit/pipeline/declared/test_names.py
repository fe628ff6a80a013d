"""Names: what counts as alike, and what agreement is worth."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.pipeline.declared import names
from overwatt.pipeline.reconcile import label_likelihood

TEXT = st.text(alphabet="abcdefgh 0123456789", max_size=20)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20))
def test_similarity_is_symmetric_and_within_bounds(pairs):
    a, b = ([names.plain(p[k]) for p in pairs] for k in (0, 1))
    one, other = names.similarities(a, b), names.similarities(b, a)
    assert np.array_equal(one, other, equal_nan=True)
    assert ((one >= 0) & (one <= 1) | np.isnan(one)).all()
    same = names.similarities(a, a)
    assert (np.isnan(same) | (same == 1)).all()


def test_numbers_must_agree():
    assert names.similarity("iad 104", "iad 105") <= 0.6
    assert names.similarity("iad 104", "104 iad") == 1.0
    assert math.isnan(names.similarity("", "x"))


def test_a_rare_name_says_more_than_a_common_one():
    declared = pd.DataFrame({
        "name": ["Alpha North"] + ["Common Cloud"] * 99, "operator": None,
        "declared_id": [f"D{k}" for k in range(100)],
    })  # fmt: skip
    sites = pd.DataFrame({"name": ["alpha north", "common cloud", None]})
    gain = label_likelihood.label_terms(sites, declared, np.array([0, 1, 2, 1]), np.array([0, 1, 2, 0]))
    assert gain[0] > gain[1] >= 0
    assert gain[2] == 0
    assert gain[3] < 0


def test_an_identifier_settles_it():
    declared = pd.DataFrame({"name": ["a", "b"], "operator": [None, None], "declared_id": ["X1", "X2"]})
    sites = pd.DataFrame({"name": ["b"], "identifier": ["X1"]})
    gain = label_likelihood.label_terms(sites, declared, np.array([0, 0]), np.array([0, 1]))
    assert gain[0] > gain[1] + 10
    assert gain[0] == pytest.approx(label_likelihood.IDENTIFIER_GAIN + label_likelihood.label_terms(
        sites[["name"]], declared, np.array([0]), np.array([0]))[0])  # fmt: skip
