"""Power to compute: tables of docs/methods.md, sections 5.1 and 5.2, laws of the draws, and the filled table."""

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from overwatt.aoi.errors import ConfigError
from overwatt.models.reference import facts
from overwatt.pipeline import quantiles
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.posterior import SiteEvidence
from overwatt.pipeline.tables import QUANTILE_NAMES, SCHEMAS
from tests.support import naming

LIGHT = settings(max_examples=30, deadline=None)
CHIPS = ("A100 SXM", "H100 SXM", "GB200 NVL72", "TPU v7", "Ascend 910C")
TABLE_5_2 = {  # facility MW at 30, 90 and 180 days
    1e24: ((4.2, 1.4, 0.7), (2.2, 0.75, 0.37), (1.4, 0.48, 0.24), (0.70, 0.23, 0.12), (2.8, 0.94, 0.47)),
    1e25: ((42, 14, 7), (22, 7.5, 3.7), (14, 4.8, 2.4), (7, 2.3, 1.2), (28, 9.4, 4.7)),
    1e26: ((420, 140, 70), (224, 75, 37), (144, 48, 24), (70, 23, 12), (282, 94, 47)),
    1e27: (
        (4200, 1400, 700),
        (2240, 747, 373),
        (1440, 480, 240),
        (701, 234, 117),
        (2820, 940, 470),
    ),
}


def draws_of(n=3, draws=512, **options):
    sites = [SiteEvidence(f"s{k}", 10_000.0 * (k + 1), 300.0 * k, gsd_m=2.0) for k in range(n)]
    return posterior.estimate(sites, year=2025, draws=draws, **options)


@pytest.mark.parametrize("flop", TABLE_5_2)
@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("days", [30, 90, 180])
def test_table_5_2(flop, chip, days):
    stated = TABLE_5_2[flop][CHIPS.index(chip)][(30, 90, 180).index(days)]
    half_a_digit = 0.5 * 10.0 ** (np.floor(np.log10(stated)) - 1)  # the table is rounded to two digits
    assert training_compute.power_needed_mw(flop, days, chip) == pytest.approx(stated, rel=0.01, abs=half_a_digit)


@pytest.mark.parametrize(("chip", "stated"), list(zip(CHIPS, (7.2e25, 1.3e26, 2.1e26, 4.3e26, 1.1e26), strict=True)))
def test_flop_of_100_mw_in_90_days(chip, stated):
    step = 10.0 ** (np.floor(np.log10(stated)) - 1)  # docs/methods.md 5.2 gives two digits
    assert 100.0 / training_compute.power_needed_mw(1.0, 90, chip) == pytest.approx(stated, abs=0.51 * step)


@pytest.mark.parametrize(
    ("chip", "h100e", "w_it"),
    [
        ("A100 SXM", 0.32, 820),
        ("H100 SXM", 1.00, 1390),
        ("H200 SXM", 1.00, 1420),
        ("H20", 0.15, 900),
        ("B200 HGX", 2.27, 1900),
        ("GB200 NVL72", 2.53, 2170),
        ("GB300 NVL72", 2.53, 2280),
        ("MI300X", 1.32, 1450),
        ("MI355X", 2.54, 2100),
        ("TPU v4", 0.28, 330),
        ("TPU v5p", 0.46, 760),
        ("TPU v6e", 0.93, 530),
        ("TPU v7", 2.33, 1075),
        ("Trainium2", 0.67, 835),
        ("Trainium3", 0.68, 1100),
        ("Ascend 910B", 0.38, 750),
        ("Ascend 910C", 0.81, 1560),
    ],
)
def test_table_5_1(chip, h100e, w_it):
    unit = facts.accelerator(chip)
    assert unit.h100e == pytest.approx(h100e, abs=0.006)
    assert unit.w_it == w_it
    assert unit.w_it > unit.tdp_w


def test_table_5_1_agrees_with_known_sites():
    gb200 = facts.accelerator("GB200 NVL72")
    assert gb200.w_it * 110e3 / 1e6 == pytest.approx(239, abs=1)  # Colossus 2, IT
    assert gb200.facility_w * 110e3 / 1e6 == pytest.approx(323, abs=1)  # and facility
    assert facts.accelerator("GB300 NVL72").w_it * 110e3 / 1e6 == pytest.approx(251, abs=1)
    assert 457e3 < 398e6 / facts.accelerator("Trainium2").w_it < 500e3  # New Carlisle
    assert facts.accelerator("Ascend 910C").h100e_fp8_per_it_mw == pytest.approx(485, rel=0.01)  # Horinger
    assert 2040 < facts.accelerator("TPU v7").h100e_per_it_mw < 2330  # Google 2026
    assert facts.accelerator("H100 SXM").h100e_per_it_mw == pytest.approx(719, abs=1)


def test_years_outside_the_table_take_the_nearest_without_later_chips():
    assert {c.chip for c, _ in facts.fleet_mix(2021)} == {"NVIDIA A100", "NVIDIA V100", "Google TPU v4"}
    for year in range(2020, 2031):
        mix = facts.fleet_mix(year)
        assert sum(w for _, w in mix) == pytest.approx(1.0)
        assert all(c.release_year <= year for c, _ in mix)
    assert "2030, taken from 2026" in training_compute.estimate(draws_of(1), year=2030).assumptions[0]


def test_the_formula_draw_by_draw():
    """FLOP over H100e is utilisation, MFU and availability times the speed of an H100 and the time."""
    site = training_compute.estimate(draws_of(1, 4096), year=2025, days=90, site_type="ai")
    factor = site.flop / (site.h100e * 989.5e12 * 86_400 * 90)
    parts = [facts.ratio(n).median for n in ("utilisation", "mfu", "availability")]
    assert np.median(factor) == pytest.approx(np.prod(parts), rel=0.05)
    assert factor.min() > 0
    assert factor.max() < 1


@LIGHT
@given(st.integers(1, 365), st.sampled_from(("ai", "cloud", "unknown")))
def test_flop_is_linear_in_days(days, site_type):
    draws = draws_of(1, 32)
    one, many = (training_compute.estimate(draws, year=2025, days=d, site_type=site_type) for d in (1, days))
    np.testing.assert_allclose(many.flop, one.flop * days, rtol=1e-12)
    np.testing.assert_array_equal(many.h100e, one.h100e)


def test_compute_is_correlated_with_power_and_not_made_of_its_stream():
    draws = draws_of(1, 4096)
    site = training_compute.estimate(draws, year=2025, site_type="ai")
    assert np.corrcoef(np.log(draws.it_mw[0]), np.log(site.h100e[0]))[0, 1] > 0.5
    rest = np.log(site.h100e[0] / draws.it_mw[0])
    assert abs(np.corrcoef(np.log(draws.it_mw[0]), rest)[0, 1]) < 0.06


def test_kinds_of_site_are_ordered_and_a_mine_has_none():
    draws = draws_of(1, 2048)
    kinds = {t: training_compute.estimate(draws, year=2025, site_type=t) for t in training_compute.SITE_TYPES}
    medians = {t: np.median(k.flop) for t, k in kinds.items()}
    assert medians["ai"] > medians["cloud"] > medians["enterprise"] > medians["mine"] == 0.0
    assert "no AI accelerators are assumed" in kinds["mine"].assumptions[0]
    assert medians["cloud"] > medians["colocation"] > medians["enterprise"]


def test_phi_is_named_as_the_dominant_unknown_of_an_unknown_site():
    """Even where power rests on footprint alone, the widest statement there is."""
    for text in training_compute.estimate(draws_of(), year=2025).assumptions:
        assert "Dominant unknown of compute: the share of the load that is AI accelerators" in text
        assert "kind of site inferred from size, year: " in text


def test_a_site_does_not_depend_on_the_others():
    all_three, last = (
        draws_of(),
        posterior.estimate([SiteEvidence("s2", 3e4, 600, gsd_m=2.0)], year=2025, draws=512),
    )
    np.testing.assert_array_equal(
        training_compute.estimate(all_three, year=2025).flop[2], training_compute.estimate(last, year=2025).flop[0]
    )


@LIGHT
@given(st.integers(0, 2**31), st.integers(1, 40))
def test_quantiles_are_ordered_and_named_as_the_tables_want(seed, draws):
    values = np.random.default_rng(seed).lognormal(size=(3, draws))
    columns = quantiles.quantile_columns("it_mw", values)
    assert list(columns) == [f"it_mw_{n}" for n in QUANTILE_NAMES]
    assert (np.diff(np.stack(list(columns.values())), axis=0) >= 0).all()
    np.testing.assert_allclose(columns["it_mw_p50"], np.median(values, axis=1))


def _sites(ids):
    n = len(ids)
    return gpd.GeoDataFrame(
        {
            "site_id": ids,
            "p_data_center": np.full(n, 0.9),
            "prior": np.full(n, 0.003),
            "lon": np.full(n, -77.5),
            "lat": np.full(n, 39.0),
            "buildings": np.ones(n, dtype="int64"),
            "building_area_m2": np.full(n, 1e4),
            "cooling_objects": np.zeros(n, dtype="int64"),
            "cooling_area_m2": np.zeros(n),
            "on_border": np.zeros(n, dtype=bool),
        },
        geometry=[box(-77.5, 39.0, -77.49, 39.01)] * n,
        crs="OGC:CRS84",
    )


def test_attach_fills_the_table():
    draws = draws_of()
    site = training_compute.estimate(draws, year=2025)
    table = training_compute.attach(_sites(["s0", "s1", "s2"]), draws, site)
    assert list(table.columns) == [c.name for c in SCHEMAS["sites"]] + ["geometry"]
    assert table.crs == "OGC:CRS84"
    np.testing.assert_array_equal(table["seed"], draws.seeds)
    np.testing.assert_allclose(table["facility_mw_p90"], np.quantile(draws.facility_mw, 0.9, axis=1), rtol=1e-6)
    assert table["assumptions"].str.contains("power: ").all()
    assert table["assumptions"].str.contains("Compute: ").all()


def test_attach_brings_another_length_to_90_days_and_replaces_old_columns():
    draws = draws_of()
    first = training_compute.attach(_sites(["s0", "s1", "s2"]), draws, training_compute.estimate(draws, year=2025))
    again = training_compute.attach(first, draws, training_compute.estimate(draws, year=2025, days=30))
    np.testing.assert_allclose(again["flop_90d_p50"], first["flop_90d_p50"])


def test_attach_of_no_sites():
    draws = draws_of(0)
    table = training_compute.attach(_sites([]), draws, training_compute.estimate(draws, year=2025))
    assert len(table) == 0
    assert "flop_90d_p975" in table


@pytest.mark.parametrize(("ids", "word"), [(["s0", "s1"], "2 sites"), (["s1", "s0", "s2"], "order")])
def test_attach_refuses_other_rows(ids, word):
    draws = draws_of()
    with pytest.raises(ValueError, match=naming(word)):
        training_compute.attach(_sites(ids), draws, training_compute.estimate(draws, year=2025))


def test_power_needed_scales_with_its_shares():
    full = training_compute.power_needed_mw(1e25, 90, "H100 SXM")
    part = training_compute.power_needed_mw(1e25, 90, "H100 SXM", phi=0.5, u=0.8)
    assert part == pytest.approx(full / 0.4)
    assert training_compute.power_needed_mw(1e25, 90, "Trainium2") == pytest.approx(
        1e25 / (667e12 * 0.35 * 0.9 * 86_400 * 90) * 835 * 1.23 / 1e6
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"chip": "H10O"}, ("accelerator", "H10O", "H20")),
        ({"flop": -1.0}, ("flop", "-1")),
        ({"flop": float("nan")}, ("flop", "nan")),
        ({"days": 0}, ("days", 0)),
        ({"mfu": 35}, ("mfu", 35)),
        ({"phi": 0.0}, ("phi", 0)),
    ],
)
def test_power_needed_refuses_nonsense(change, words):
    with pytest.raises(ConfigError, match=naming(*words)):
        training_compute.power_needed_mw(**{"flop": 1e25, "days": 90, "chip": "H100 SXM", **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"year": 2012}, ("year", 2012, "2020-2035")),
        ({"days": 0}, ("days", 0)),
        ({"site_type": "clud"}, ("site_type", "clud", "cloud")),
    ],
)
def test_unusable_options_are_refused(change, words):
    with pytest.raises(ConfigError, match=naming(*words)):
        training_compute.estimate(draws_of(1, 8), **{"year": 2025, **change})
