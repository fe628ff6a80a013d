"""Equipment is a lower bound: laws of the two readings."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.operators import operators
from overwatt.pipeline.power.evidence_models import case
from overwatt.pipeline.power.fusion import Statement, fuse
from overwatt.pipeline.power.lower_bound import A_PART, Part, combine, ln_median
from overwatt.pipeline.power.posterior import SiteEvidence, estimate, variances

LIGHT = settings(max_examples=60, deadline=None)
COUNTS = ("chillers", "cooling_tower_cells", "dry_coolers", "generators")
sites = st.fixed_dictionaries(
    {
        "building_area_m2": st.floats(300.0, 200_000.0),
        "storeys": st.none() | st.floats(1.0, 5.0),
        "height_m": st.none() | st.floats(4.0, 40.0),
        "operator": st.none() | st.sampled_from(sorted(operators())),
        "cooling": st.sampled_from((None, "air_chiller", "water", "direct_air", "liquid")),
        "gsd_m": st.floats(0.3, 4.0),
        "buildings": st.none() | st.integers(1, 12),
        "count_recall": st.none() | st.tuples(st.floats(0.5, 20.0), st.floats(1.0, 20.0)),
        "year": st.integers(2018, 2030),
    }
)
amount = st.integers(0, 300) | st.integers(0, 5)


def exact_median(**fields):
    """ln of the median of IT MW, without sampling noise; without the chance that a bare hall is not fitted out."""
    try:
        found = case(SiteEvidence("a", **fields), 2025)
    except ConfigError:
        assume(False)
    return ln_median(found.statements, found.part)


@LIGHT
@given(sites, st.sampled_from(COUNTS), amount, amount)
def test_more_machines_never_lower_the_median(site, field, a, b):
    few, many = sorted((a, b))
    assert exact_median(**site, **{field: few}) <= exact_median(**site, **{field: many}) + 2e-3


@LIGHT
@given(sites, st.floats(0.0, 20_000.0) | st.floats(0.0, 200.0), st.floats(0.0, 20_000.0))
def test_more_outlined_area_never_lowers_the_median(site, a, b):
    few, many = sorted((a, b))
    assert exact_median(**site, cooling_area_m2=few) <= exact_median(**site, cooling_area_m2=many) + 2e-3


@LIGHT
@given(sites, st.sampled_from(COUNTS), st.sampled_from((*COUNTS, "cooling_area_m2")), st.integers(1, 200), amount)
def test_a_second_kind_of_equipment_never_lowers_the_median(site, first, second, there, more):
    assume(first != second)
    alone = exact_median(**site, **{first: there})
    assert alone <= exact_median(**site, **{first: there, second: more}) + 2e-3


@LIGHT
@given(st.integers(1, 300), st.integers(0, 300))
def test_generators_never_lower_a_count_without_footprint(chillers, more):
    alone = exact_median(chillers=chillers)
    assert alone <= exact_median(chillers=chillers, generators=more) + 2e-3


@pytest.mark.parametrize("options", [{}, {"count_recall": (1.8, 1.2)}, {"operator": "Google"}, {"storeys": 2.0}])
@pytest.mark.parametrize("basis", ["it_mw", "facility_mw"])
def test_sampled_medians_do_not_fall_either(options, basis):
    """An evader gains nothing by showing a machine; from none to one the law has it, and so have the draws."""
    for footprint in (2_000.0, 20_000.0, 45_054.0):
        found = [
            float(np.median(getattr(estimate([SiteEvidence("a", footprint, chillers=n, **options)], year=2026), basis)))
            for n in (None, 0, 1, 2, 10, 25, 50, 51, 121, 300)
        ]
        assert np.diff(np.log(found)).min() >= -1e-6


def test_upper_quantiles_fall_as_the_recall_allows():
    """The nearer the count to what the footprint suggests, the lower p90; the less certain the recall, the wider."""

    def quantile(p, **fields):
        return float(np.quantile(estimate([SiteEvidence("a", 45_054, **fields)], year=2026).it_mw, p))

    def p90(**fields):
        return quantile(0.9, **fields)

    none, one, near = p90(), p90(chillers=1), p90(chillers=33)
    assert one > 0.95 * none
    assert near < 0.85 * none
    # a count of 20 is all there is, or two thirds of 30
    assert p90(chillers=20, count_recall=(40.0, 20.0)) == pytest.approx(p90(chillers=30), rel=0.15)
    sure, unsure = ({"chillers": 60, "count_recall": r} for r in ((40.0, 20.0), (2.0, 1.0)))
    assert p90(**unsure) / quantile(0.1, **unsure) > 1.2 * p90(**sure) / quantile(0.1, **sure)


@LIGHT
@given(st.floats(-3, 3), st.floats(0.05, 2), st.floats(-6, 6), st.floats(0.05, 2))
def test_a_part_has_the_moments_and_the_median_that_it_draws(mean, sd, gap, bound_sd):
    part = Part(1.0, mean, sd, mean + gap, bound_sd, {})
    draws = part.draw(np.random.default_rng(1), 40_000)
    centre, spread = part.moments()
    assert centre == pytest.approx(draws.mean(), abs=0.03 * sd)
    assert spread == pytest.approx(draws.std(), rel=0.06)
    assert part.below_mean() == pytest.approx((draws < mean).mean(), abs=0.01)


@LIGHT
@given(sites, st.sampled_from((*COUNTS, "cooling_area_m2")), st.integers(0, 200), st.booleans())
def test_the_budget_is_the_variance_of_the_draws(site, field, n, facility):
    evidence = SiteEvidence("a", **{**site, field: n})
    try:
        found = case(evidence, 2025)
        drawn = estimate([evidence], year=2025, draws=40_000)
    except ConfigError:
        assume(False)
    mw = drawn.facility_mw if facility else drawn.it_mw
    budget = variances(found, fuse(found.statements), facility=facility)
    assert sum(budget.values()) == pytest.approx(np.log(mw[0].astype(float)).var(), rel=0.05)
    assert min(budget.values()) >= 0.0


def test_without_other_evidence_there_is_no_second_reading():
    statements, part = combine((), (Statement("counted", 10.0, {"unit": 0.3}),))
    assert part is None
    assert ln_median(statements, part) == math.log(10.0)


def test_of_two_kinds_the_one_that_says_more_is_used():
    chillers, generator = Statement("counted", 200.0, {"unit": 0.3}), Statement("generators", 2.0, {"load": 0.5})
    statements, part = combine((Statement("footprint", 60.0, {"density": 0.8}),), (chillers, generator))
    assert [s.name for s in statements] == ["footprint", "counted"]
    assert part is not None
    assert part.weight == A_PART


def test_agreeing_kinds_are_fused():
    chillers, generators = Statement("counted", 200.0, {"unit": 0.3}), Statement("generators", 190.0, {"load": 0.3})
    statements, _ = combine((Statement("footprint", 60.0, {"density": 0.8}),), (chillers, generators))
    assert [s.name for s in statements] == ["footprint", "counted", "generators"]
