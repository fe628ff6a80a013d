"""Power and compute of a table of sites: the public functions give what the main job gives."""

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.compute import sites as compute_sites
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.compute.site_type import Hint
from overwatt.pipeline.compute.sites import estimate_compute, estimate_from
from overwatt.pipeline.power.record import records
from overwatt.pipeline.power.sites import draw_power, estimate_power
from overwatt.pipeline.tables import QUANTILE_NAMES


def sites() -> gpd.GeoDataFrame:
    """Two sites as `cluster_sites` gives them."""
    rows = pd.DataFrame({
        "site_id": ["a", "b"], "p_data_center": 0.9, "prior": 0.1, "lon": [10.0, 10.1], "lat": 50.0, "buildings": 1,
        "building_area_m2": [20_000.0, 5_000.0], "cooling_objects": [3, 0], "cooling_area_m2": [400.0, 0.0],
        "on_border": False, "used_thermal": False,
    })  # fmt: skip
    return gpd.GeoDataFrame(rows, geometry=[shapely.box(x, 50, x + 1e-3, 50.001) for x in (10.0, 10.1)], crs=WGS84)


def test_the_public_functions_and_the_main_job_agree_to_the_bit():
    table = estimate_compute(estimate_power(sites(), gsd_m=1.0, year=2025, seed=3), gsd_m=1.0, year=2025, seed=3)
    drawn = draw_power(sites(), gsd_m=1.0, year=2025, seed=3)
    compute = training_compute.estimate(drawn, year=2025, evidence=records(sites(), gsd_m=1.0))
    pd.testing.assert_frame_equal(
        pd.DataFrame(table), pd.DataFrame(training_compute.attach(sites(), drawn, compute)), check_exact=True
    )


def test_power_alone_has_the_same_quantiles():
    power = estimate_power(sites(), gsd_m=1.0, year=2025, seed=3)
    both = estimate_compute(sites(), gsd_m=1.0, year=2025, seed=3)
    for name in QUANTILE_NAMES:
        assert power[f"it_mw_{name}"].tolist() == both[f"it_mw_{name}"].tolist()
    assert (power["facility_mw_p50"] > power["it_mw_p50"]).all()


@pytest.mark.parametrize("days", [30, 180])
def test_flop_is_stated_for_90_days_whatever_the_run(days):
    usual, other = (estimate_compute(sites(), gsd_m=1.0, year=2025, days=d) for d in (90, days))
    assert other["flop_90d_p50"].tolist() == pytest.approx(usual["flop_90d_p50"].tolist(), rel=1e-6)


@pytest.mark.parametrize("rows", [[0, 1], [1], []])
def test_blocks_and_a_second_pass_over_some_rows_change_nothing(rows, monkeypatch):
    evidence = records(sites(), gsd_m=1.0)
    hint = Hint(weight=0.7, operator="Meta", use=None, country=None, chips={})
    first = estimate_from(sites(), evidence, year=2025, seed=3)
    whole = estimate_from(first, evidence, year=2025, seed=3, hints=dict.fromkeys(rows, hint))
    alone = estimate_from(
        first.iloc[rows], [evidence[k] for k in rows], year=2025, seed=3, hints=dict.fromkeys(range(len(rows)), hint)
    )
    pd.testing.assert_frame_equal(alone, whole.iloc[rows].reset_index(drop=True), check_exact=True)
    rest = [k for k in range(2) if k not in rows]
    pd.testing.assert_frame_equal(whole.iloc[rest], first.iloc[rest], check_exact=True)
    monkeypatch.setattr(compute_sites, "BLOCK", 1)
    blocks = estimate_from(first, evidence, year=2025, seed=3, hints=dict.fromkeys(rows, hint))
    pd.testing.assert_frame_equal(blocks, whole, check_exact=True)
    assert blocks.crs == whole.crs
