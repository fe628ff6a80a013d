import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.power.scores import binomial_band, crps, summary


@given(st.floats(-3, 3), st.floats(0.05, 2))
def test_crps_is_the_integral_of_the_squared_difference_of_distributions(error, sd):
    from scipy.stats import norm

    x = np.linspace(-14, 14, 40_001)
    integrand = (norm.cdf(x / sd) - (x >= error)) ** 2
    assert crps(np.array([error]), np.array([sd]))[0] == pytest.approx(np.trapezoid(integrand, x), abs=2e-3)


def test_crps_without_spread_is_the_absolute_error():
    assert crps(np.array([-0.5]), np.array([0.0])) == [0.5]


def test_right_predictions_cover_as_often_as_they_say():
    rng = np.random.default_rng(1)
    sd = rng.uniform(0.1, 1, 4000)
    found = summary(rng.normal(0, sd), np.zeros(4000), sd, np.arange(4000), samples=50)
    low, high = binomial_band(4000)
    assert low <= found["coverage_80"] <= high
    assert found["coverage_50"] == pytest.approx(0.5, abs=0.03)
    assert found["intervals"]["coverage_80"][0] < found["coverage_80"] < found["intervals"]["coverage_80"][1]


def test_narrow_predictions_do_not():
    rng = np.random.default_rng(1)
    found = summary(rng.normal(0, 1, 500), np.zeros(500), 0.5, np.arange(500), samples=20)
    assert found["coverage_80"] < binomial_band(500)[0]
