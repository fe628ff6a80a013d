import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.pipeline.power.fusion import Statement, fuse, without

sds = st.floats(0.05, 2)
medians = st.floats(0.1, 1e4)


@given(st.lists(st.tuples(medians, sds), min_size=1, max_size=5))
def test_independent_statements_add_their_precisions(parts):
    found = fuse([Statement(str(k), m, {str(k): s}) for k, (m, s) in enumerate(parts)])
    precision = np.array([s**-2 for _, s in parts])
    assert found.ln_sd == pytest.approx(precision.sum() ** -0.5, rel=1e-6)
    assert math.log(found.median) == pytest.approx(
        (precision * np.log([m for m, _ in parts])).sum() / precision.sum(), abs=1e-6
    )


@given(medians, sds, sds, st.integers(2, 6))
def test_a_shared_error_is_not_averaged_out(m, own, shared, n):
    found = fuse([Statement(str(k), m, {f"own {k}": own, "unit": shared}) for k in range(n)])
    assert found.ln_sd == pytest.approx(math.sqrt(own**2 / n + shared**2), rel=1e-6)


@given(st.lists(st.tuples(medians, sds, sds, sds), min_size=1, max_size=4))
def test_shares_add_up_and_more_evidence_never_widens(parts):
    statements = [Statement(str(k), m, {f"a{k}": a, "b": b, "c": c}) for k, (m, a, b, c) in enumerate(parts)]
    found = fuse(statements)
    assert sum(found.shares().values()) == pytest.approx(1)
    assert all(w >= 0 for w in found.weights.values())
    assert sum(found.weights.values()) == pytest.approx(1)
    assert found.ln_sd <= min(s.ln_sd for s in statements) + 1e-6
    assert found.ln_sd**2 == pytest.approx(sum(v**2 for v in found.loadings.values()))
    low, high = min(s.median for s in statements), max(s.median for s in statements)
    assert low * 0.999 <= found.median <= high * 1.001
    assert fuse(without(statements, "b", 0.01)).ln_sd <= found.ln_sd + 1e-6


@given(st.lists(st.tuples(medians, sds, sds), min_size=1, max_size=4), st.integers(0, 3), st.floats(1, 10))
def test_evidence_of_more_is_never_evidence_of_less(parts, which, factor):
    which %= len(parts)
    first = [Statement(str(k), m, {f"a{k}": a, "b": b}) for k, (m, a, b) in enumerate(parts)]
    more = [Statement(s.name, s.median * (factor if k == which else 1), s.errors) for k, s in enumerate(first)]
    assert fuse(more).median >= fuse(first).median * (1 - 1e-9)


def test_nothing_to_fuse_is_a_bug():
    for none in ([], [Statement("a", 0.0, {"x": 1.0})]):
        with pytest.raises(ValueError, match="median"):
            fuse(none)
