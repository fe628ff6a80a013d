"""The one table of chips: the same watts by all routes, the filing, both bases, the mix of fleets and its trend."""

import numpy as np
import pandas as pd
import pytest

from overwatt.aoi.errors import ConfigError
from overwatt.models.capacity.fit_fleet_mix import YEARS, read_sites
from overwatt.models.capacity.hardware_table import EPOCH, read_chips
from overwatt.models.reference import facts
from overwatt.pipeline.compute import evasion, thresholds, training_compute
from overwatt.pipeline.power.accelerators import find_chip, power_of_chips
from tests.support import naming

NEWEST = {  # name: H100 equivalents on BF16 and on 8 bit, dense
    "GB300 NVL72": (2.53, 2.53), "B300": (2.27, 2.27), "VR200 NVL144": (4.04, 8.84), "TPU v7": (2.33, 2.33),
    "TPU v6e": (0.93, 0.93), "TPU v5p": (0.46, 0.46), "TPU v5e": (0.20, 0.20), "Trainium3": (0.68, 1.27),
    "Trainium2": (0.67, 0.66), "MI350X": (2.33, 2.33), "MI355X": (2.54, 2.54), "MI400": (10.1, 10.1),
    "Ascend 910B": (0.38, 0.38), "Ascend 910C": (0.81, 0.76), "Ascend 920": (0.91, 0.91), "Ascend 950": (0.51, 0.51),
    "H20": (0.15, 0.15),
    "Kunlun P800": (0.35, 0.35), "Maia 200": (1.28, 2.56), "Meta MTIA 300": (0.61, 0.61),
}  # fmt: skip


@pytest.mark.parametrize("chip", [c for c in facts.accelerators().values() if c.bf16_tflop_s], ids=lambda c: c.chip)
def test_all_routes_give_the_same_watts(chip):
    found = power_of_chips([(chip.chip, 1000)])
    assert found.it_mw * 1e3 == pytest.approx(chip.w_it)
    assert found.facility_mw * 1e3 == pytest.approx(chip.facility_w)
    flop = 1000 * chip.bf16_tflop_s * 1e12 * 0.35 * 0.9 * 86_400 * 90
    assert training_compute.power_needed_mw(flop, 90, chip.chip) == pytest.approx(found.facility_mw)
    assert found.h100e / found.it_mw == pytest.approx(chip.h100e_per_it_mw)
    assert found.h100e_fp8 / found.it_mw == pytest.approx(chip.h100e_fp8_per_it_mw)


def test_the_routes_of_thresholds_take_the_same_watts():
    h100 = facts.accelerator("H100 SXM")
    assert thresholds.cluster_gap(16.0)["kw"] == pytest.approx(16 * h100.facility_w / 1e3)
    needed = evasion.gaming(90)["inference"][5]["facility_mw"][0]
    assert needed == pytest.approx(training_compute.power_needed_mw(1e26, 90, "GB200 NVL72"))
    for chip, _ in facts.fleet_mix(2026):
        assert chip.h100e_per_it_mw == pytest.approx(facts.accelerator(chip.chip).h100e * 1e6 / chip.w_it)


@pytest.mark.parametrize(("chips", "it_mw", "facility_mw"), [("GB200", 239.0, 323.0), ("GB300 NVL72", 251.0, 338.0)])
def test_the_filing_of_colossus_2(chips, it_mw, facility_mw):
    """Company S-1 filing: 110,000 chips are 210 and 220 MW of servers; IT x 1.14, facility x 1.35 by Epoch AI."""
    found = power_of_chips([(chips, 110_000)])
    assert found.it_mw == pytest.approx(it_mw, rel=0.01)
    assert found.facility_mw == pytest.approx(facility_mw, rel=0.02)


def test_variants_of_one_product_have_one_power():
    for name in ("NVIDIA A100 SXM4 40 GB", "NVIDIA A100 SXM4 80 GB", "NVIDIA A800 SXM"):
        assert facts.accelerator(name).w_it == facts.accelerator("A100 SXM").w_it
    assert facts.accelerator("H800").w_it == facts.accelerator("H100").w_it


@pytest.mark.parametrize("name", NEWEST)
def test_newest_chips_in_both_bases(name):
    chip = find_chip(name)
    assert chip.h100e == pytest.approx(NEWEST[name][0], abs=0.012)
    assert chip.h100e_fp8 == pytest.approx(NEWEST[name][1], abs=0.012)


def test_every_row_is_possible_and_says_where_it_is_from():
    for chip in facts.accelerators().values():
        assert chip.w_it_basis in ("measured", "derived", "estimate", "law")
        assert len(chip.source) > 10
        assert 1.0 < chip.w_it / chip.tdp_w < 2.6
        assert 0.03 < chip.w_it_ln_sd < 0.5
        if chip.w_it_basis != "law":
            assert "W_IT: " in chip.source
        if chip.bf16_tflop_s and chip.fp8_tflop_s and chip.bf16_tflop_s > 200:
            assert 0.99 <= chip.fp8_tflop_s / chip.bf16_tflop_s < 5  # a figure with sparsity would be twice too high


def test_no_name_means_two_chips():
    names = [a.lower() for c in facts.accelerators().values() for a in (c.chip, *c.aliases)]
    assert len(names) == len(set(names))


def test_the_table_is_that_of_the_source(realdata):
    renewed = read_chips(realdata / "facilities")
    for name, chip in renewed.items():
        if chip.source == EPOCH and not chip.aliases:
            kept = facts.accelerator(name)
            assert (kept.tdp_w, kept.release_year) == (chip.tdp_w, chip.release_year)
            assert kept.bf16_tflop_s == pytest.approx(chip.bf16_tflop_s) or chip.bf16_tflop_s is None


@pytest.mark.parametrize("operator", [None, "Google LLC", "AWS", "xAI"])
@pytest.mark.parametrize("year", range(2020, 2036))
def test_a_mix_is_whole_and_of_its_time(year, operator):
    mix = facts.fleet_mix(year, None, operator)
    assert sum(w for _, w in mix) == pytest.approx(1.0)
    assert all(c.release_year <= year for c, _ in mix)


def test_operators_with_own_chips_have_them():
    def share(operator, word):
        return sum(w for c, w in facts.fleet_mix(2026, None, operator) if word in c.chip)

    assert share("Google #confident", "TPU") > 0.9
    assert share("Amazon", "Trainium") > 0.8
    assert share("Meta", "NVIDIA") > 0.9
    assert sum(w for c, w in facts.fleet_mix(2026, "CN", "Google") if "Ascend" in c.chip) > 0.6


def test_past_the_table_speeds_grow_and_the_width_with_them():
    def mean(year):
        return sum(c.h100e_per_it_mw * w for c, w in facts.fleet_mix(year))

    last = facts.fleet_mix_year(2040)
    for year in (2020, last):
        assert facts.fleet_mix_ln_sd(year) == 0.0
    for k in (1, 2, 5):
        assert mean(last + k) == pytest.approx(mean(last) * facts.FLEET_GROWTH**k)
        assert facts.fleet_mix_ln_sd(last + k) == pytest.approx(k * facts.FLEET_GROWTH_LN_SD)
    assert all("trend to" in c.chip for c, _ in facts.fleet_mix(last + 1))


def test_a_year_before_all_chips_is_refused():
    with pytest.raises(ConfigError, match=naming("year", 2009)):
        facts.fleet_mix(2009)


def test_a_mix_is_near_the_timelines(realdata):
    """Sites as they stood in July, 8-bit basis; the mix is from the chips of some of these sites."""
    t = pd.read_csv(realdata / "facilities" / "epoch_data_center_timelines.csv")
    t["per_mw"] = t["H100 equivalents"] / t["IT power (MW)"]
    t = t[(t["H100 equivalents"] > 0) & (t["IT power (MW)"] > 0)].sort_values("Date")
    for year in YEARS:
        seen = t[t["Date"] <= f"{year}-07-01"].groupby("Data center")["per_mw"].last()
        mean = sum(c.h100e_fp8_per_it_mw * w for c, w in facts.fleet_mix(year))
        assert mean == pytest.approx(float(np.mean(seen)), rel=0.2)


def test_a_site_counts_once_per_year_with_its_latest_chips(tmp_path):
    rows = [("Site", "2024-01-01", "H100", 1000), ("Site", "2024-12-01", "H100", 9000),
            ("Site", "2025-06-01", "TPU v7", 500), ("Horinger", "2024-01-01", "Ascend 910C", 5)]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["Data center", "Date", "Chip type", "Number of Units"])
    frame.assign(Owner="Google #likely").to_csv(tmp_path / "epoch_data_center_chip_quantities.csv", index=False)
    found = read_sites(tmp_path)
    assert set(found["operator"]) == {"google"}
    mw = {(r["year"], r["chip"].split()[1]): round(r["mw"], 4) for r in found.to_dict("records")}
    assert mw == {(2024, "H100"): 1.39, (2025, "H100"): 12.51, (2026, "H100"): 12.51, (2025, "TPU"): 0.5375,
                  (2026, "TPU"): 0.5375}  # fmt: skip
