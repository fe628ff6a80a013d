"""Kind of a site: laws of the inference, and what a declaration may change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.models.capacity import site_kinds
from overwatt.pipeline.compute import site_type, training_compute
from overwatt.pipeline.compute.site_type import KINDS, Hint, Known
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.posterior import PowerDraws

LIGHT = settings(max_examples=40, deadline=None)
AI, CLOUD, MINE = (KINDS.index(k) for k in ("ai", "cloud", "mine"))
about = st.builds(
    Known,
    year=st.integers(2015, 2035),
    country=st.sampled_from([None, "US", "CN", "DE"]),
    operator=st.sampled_from([None, "coreweave", "equinix", "riot"]),
    cooling=st.sampled_from([None, "air_chiller", "liquid"]),
    area_m2=st.sampled_from([0.0, 2e3, 5e4]),
    use=st.sampled_from([None, "cloud", "mine"]),
)


def one(mw, **options):
    it_mw = np.full((1, 4096), mw, np.float32)
    power = PowerDraws(it_mw, it_mw * np.float32(1.3), np.array([5]), ("",))
    return training_compute.estimate(power, **{"year": 2026, "country": "US", **options})


@LIGHT
@given(about, st.floats(1e-3, 1e5))
def test_probabilities_add_up(known, mw):
    p = site_type.probabilities(known, np.array([mw]))
    assert p.shape == (len(KINDS), 1)
    assert p.sum() == pytest.approx(1.0)
    assert (p >= 0).all()


@LIGHT
@given(st.integers(2024, 2030), st.floats(2.0, 40.0), st.floats(1.1, 3.0))
def test_a_larger_site_is_more_likely_ai_than_an_enterprise(year, mw, factor):
    p = site_type.probabilities(Known(year), np.array([mw, mw * factor]))
    odds = p[AI] / p[KINDS.index("enterprise")]
    assert odds[1] > odds[0]


def test_size_and_era():
    p = site_type.probabilities(Known(2026, "US"), np.array([5.0, 15.0, 200.0]))[AI]
    assert p[0] < 0.02
    assert p[1] < 0.10
    assert p[2] > 0.6
    assert site_type.probabilities(Known(2020, "US"), np.array([200.0]))[AI, 0] < 0.3


@pytest.mark.parametrize(
    ("operator", "kind"),
    [("CoreWeave, Inc.", "ai"), ("Equinix", "colocation"), ("Riot Platforms", "mine"), (None, None)],
)
def test_an_operator_moves_the_kind(operator, kind):
    known = site_type.known(SiteEvidence("a", operator=operator), year=2026)
    p = site_type.probabilities(known, np.array([40.0]))[:, 0]
    if kind is None:
        assert known.operator is None
    else:
        assert KINDS[int(p.argmax())] == kind


def test_names_of_operators_are_whole_words():
    assert site_kinds.operator("Metallurgy Works") is None
    assert site_kinds.operator("Amazon Web Services") == "amazon"


@LIGHT
@given(about, st.floats(0.05, 5000.0))
def test_drawn_kinds_have_the_probabilities(known, mw):
    """Bins of a quarter of a doubling: the middle of a bin stands for all of it."""
    level = np.arange(site_type.LEVELS, dtype=np.int32)
    kind = site_type.draw(known, np.full(site_type.LEVELS, mw, np.float32), level)
    near = site_type.probabilities(known, mw * np.array([0.83, 1.0, 1.2]))
    share = np.bincount(kind, minlength=len(KINDS)) / site_type.LEVELS
    assert (share >= near.min(axis=1) - 0.01).all()
    assert (share <= near.max(axis=1) + 0.01).all()


@pytest.mark.parametrize("mw", [1e-9, 1e9])
def test_power_outside_the_bins_takes_the_outermost(mw):
    kind = site_type.draw(Known(2026), np.full(8, mw, np.float32), np.arange(8, dtype=np.int32))
    assert (kind < len(KINDS)).all()


def test_a_large_draw_is_an_ai_draw_more_often():
    it_mw = np.exp(np.random.default_rng(1).normal(3.0, 1.0, (1, 8192))).astype(np.float32)
    got = training_compute.estimate(PowerDraws(it_mw, it_mw, np.array([9]), ("",)), year=2026, words=False)
    ai = got.flop[0] / got.flop_ai[0] > 0.9
    order = np.argsort(it_mw[0])
    assert ai[order[-2000:]].mean() > 3 * ai[order[:2000]].mean()


@pytest.mark.parametrize(
    ("text", "kind"),
    [("Bitcoin mining", "mine"), ("AI / HPC", "ai"), ("air-cooled hall", None), ("Retail colocation", "colocation"),
     ("hyperscale", "cloud"), (None, None), ("maintenance", None)],
)  # fmt: skip
def test_words_of_a_declared_use(text, kind):
    assert site_type.stated_use(text) == kind


def test_a_hint_without_weight_changes_nothing_and_one_with_weight_moves_the_kind():
    bare = one(30.0)
    none = one(30.0, hints={0: Hint(0.0, operator="CoreWeave", use="ai")})
    np.testing.assert_array_equal(none.flop, bare.flop)
    half, whole = (one(30.0, hints={0: Hint(w, operator="CoreWeave", use="ai")}).types[0, AI] for w in (0.5, 1.0))
    assert bare.types[0, AI] < half < whole


def test_declared_chips_set_the_mix_and_not_the_amount():
    many, few = (one(100.0, site_type="ai", hints={0: Hint(1.0, chips={"A100": n})}).h100e for n in (10, 1e6))
    np.testing.assert_array_equal(many, few)
    assert np.median(many) < 0.6 * np.median(one(100.0, site_type="ai").h100e)
    unknown = one(100.0, site_type="ai", hints={0: Hint(1.0, chips={"Voodoo 5": 3.0})})
    np.testing.assert_array_equal(unknown.h100e, one(100.0, site_type="ai").h100e)


def test_what_is_stated_of_a_site_wins():
    mine = one(100.0, evidence=[SiteEvidence("a", site_type="mine")])
    assert mine.types[0, MINE] == 1.0
    assert mine.flop.max() == 0.0 < mine.flop_ai.min()
    early = one(100.0, site_type="ai", evidence=[SiteEvidence("a", year=2023)])
    assert np.median(early.h100e_fp8) < 0.7 * np.median(one(100.0, site_type="ai").h100e_fp8)


def test_the_worst_case_is_never_below_by_much_and_is_that_of_an_ai_site():
    got = one(60.0)
    np.testing.assert_allclose(one(60.0, site_type="ai").flop, got.flop_ai, rtol=1e-6)
    assert np.quantile(got.flop, 0.5) < np.quantile(got.flop_ai, 0.5)


def test_tables_are_complete():
    for kind in site_kinds.kinds():
        assert sum(kind.cooling.values()) == pytest.approx(1.0)
        assert sorted(kind.sites) == sorted(kind.it_mw)
    for name in ("site_kinds.csv", "site_operators.csv", "site_countries.csv"):
        assert all(len(row["source"]) > 5 for row in site_kinds._rows(name))
    assert site_kinds.ai_odds(None) == site_kinds.ai_odds("us") == 1.0 > site_kinds.ai_odds("DE")


def test_per_mw_follows_the_size():
    small, large = (training_compute.per_it_mw(2026, it_mw=mw)[1].mean() for mw in (5.0, 300.0))
    assert small < training_compute.per_it_mw(2026)[1].mean() < large
