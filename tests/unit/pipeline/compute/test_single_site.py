"""One site from typed evidence: budgets add up, caps hold, the next look narrows, nonsense is refused."""

import dataclasses
import html
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.compute.single_site import estimate_site, fields
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.evidence_models import case
from overwatt.pipeline.power.next_observation import next_observations
from overwatt.pipeline.report.figures.single_site import lines, page
from overwatt.workflows.cli.main import app
from tests.support import naming

LIGHT = settings(max_examples=25, deadline=None)
evidence = st.fixed_dictionaries(
    {},
    optional={
        "building_area_m2": st.floats(5000.0, 100_000.0), "chillers": st.integers(1, 200),
        "cooling_tower_cells": st.integers(1, 60), "cooling_area_m2": st.floats(50.0, 4000.0),
        "generators": st.integers(1, 120), "buildings": st.integers(1, 12),
        "operator": st.sampled_from(["Google", "Meta", "somebody"]),
        "cooling": st.sampled_from(["air_chiller", "water", "direct_air", "liquid"]),
    },
).filter(lambda d: d.keys() - {"operator", "cooling"})  # fmt: skip


@LIGHT
@given(evidence)
def test_the_budget_adds_up_to_the_spread_of_the_draws(given_):
    site = SiteEvidence("a", **given_)
    drawn = posterior.estimate([site], year=2025, draws=40_000)
    for draws, budget in ((drawn.it_mw, drawn.budgets[0]), (drawn.facility_mw, drawn.facility_budgets[0])):
        assert float(np.log(draws).std()) == pytest.approx(math.sqrt(sum(budget.values())), rel=0.05)
        assert list(budget.values()) == sorted(budget.values(), reverse=True)


@LIGHT
@given(evidence)
def test_the_next_observation_never_widens(given_):
    found = next_observations(case(SiteEvidence("a", **given_), 2025))
    assert found
    assert all(0 < o.after <= o.before + 1e-12 for o in found)
    assert [o.after for o in found] == sorted(o.after for o in found)


@LIGHT
@given(st.floats(60.0, 300.0))
def test_power_stays_below_a_cap(mva):
    site = SiteEvidence("a", 40_000.0, chillers=100)
    free = posterior.estimate([site], year=2025).facility_mw[0]
    capped = posterior.estimate([dataclasses.replace(site, substation_mva=mva)], year=2025).facility_mw[0]
    assert np.quantile(capped, 0.95) <= np.quantile(free, 0.95) * 1.02
    assert np.median(capped) < 0.85 * mva * 2.1
    assert np.isfinite(capped).all()


def test_evidence_far_above_its_supply_is_a_question():
    assert estimate_site({"chillers": 150, "substation_mva": 20})["questions"]
    assert not estimate_site({"chillers": 150, "substation_mva": 400})["questions"]


def test_a_cap_far_above_says_nothing():
    site = SiteEvidence("a", 10_000.0, 300.0)
    free = posterior.estimate([site], year=2025).facility_mw
    capped = posterior.estimate([dataclasses.replace(site, turbines_mw=5000.0)], year=2025).facility_mw
    np.testing.assert_allclose(free, capped, rtol=0.02)


def test_units_of_one_site_share_their_error():
    """121 chillers of one model: counting more of them does not make the error of the model vanish."""
    spread = [
        float(np.log(posterior.estimate([SiteEvidence("a", chillers=n)], year=2025).it_mw).std()) for n in (2, 200)
    ]
    assert spread[0] == pytest.approx(spread[1], rel=0.03)


def test_an_operator_and_kinds_of_cooling_move_the_facility_ratio():
    ratio = {}
    for name, kind in (("Google", None), ("CoreWeave", None), (None, "air_chiller"), (None, "direct_air")):
        drawn = posterior.estimate([SiteEvidence("a", chillers=50, operator=name, cooling=kind)], year=2025)
        ratio[name or kind] = float(np.median(drawn.facility_mw / drawn.it_mw))
    assert ratio["Google"] < ratio["CoreWeave"]
    assert ratio["direct_air"] < ratio["air_chiller"]


def test_a_country_has_its_own_chips():
    drawn = posterior.estimate([SiteEvidence("a", chillers=50)], year=2026)
    world, china = (training_compute.estimate(drawn, year=2026, site_type="ai", country=c).h100e for c in ("US", "CN"))
    assert np.median(china) < 0.7 * np.median(world)


def test_a_mine_has_no_ai_and_says_so():
    found = estimate_site({"chillers": 50, "site_type": "mine"})
    assert found["h100e"]["p975"] == found["flop"]["p975"] == 0
    assert found["probability_no_ai"] == 1.0


def test_energy_of_a_year_is_below_peak_all_year_and_more_where_it_is_hot():
    mild, hot = (estimate_site({"chillers": 50, "climate": c})["annual_gwh"]["p50"] for c in ("temperate", "hot"))
    assert mild < hot < 8.766 * estimate_site({"chillers": 50})["facility_mw"]["p50"]


def test_a_stage_gives_dates():
    running, roof = (
        estimate_site({"chillers": 50, "site_type": "ai", "date": "2026-06-01", "stage": s})["time_to_threshold"][
            "1e+25"
        ]
        for s in ("operation", "roof")
    )
    assert "2026-06-01" < running["p50"] < roof["p50"]
    with pytest.raises(ConfigError, match=naming("stage", "dream")):
        estimate_site({"chillers": 50, "stage": "dream"})


def test_121_chillers():
    found = estimate_site({"chillers": 121})
    assert found["it_mw"]["p10"] < 200 < found["it_mw"]["p90"]
    assert sum(found["error_budget"].values()) == pytest.approx(1.0, abs=1e-4)
    assert found["it_mw"]["p50"] < found["facility_mw"]["p50"]


def test_declared_chips_fix_the_compute():
    found = estimate_site({"chips": "NVIDIA H100 SXM5 80GB:100000"})
    assert found["h100e"]["p50"] == pytest.approx(100_000, rel=0.02)
    assert found["probability_no_ai"] == 0.0
    more = estimate_site({"chips": "NVIDIA H100 SXM5 80GB:100000", "footprint_m2": 500})
    assert more["questions"]
    assert found["estimate_of"] == "declaration"


def test_declared_chips_are_compared_and_never_fused():
    bare, both = (estimate_site(g) for g in ({"chillers": 2}, {"chillers": 2, "chips": "H100:100000"}))
    for key in ("it_mw", "facility_mw", "h100e", "h100e_fp8", "flop", "site_types"):
        assert bare[key] == both[key]
    assert both["declared"]["h100e"]["p50"] == pytest.approx(100_000, rel=0.02)
    assert both["declared_over_estimated"]["p10"] > 5
    assert any("declared chips" in q for q in both["questions"])
    fits = estimate_site({"chillers": 120, "chips": "H100:110000"})
    assert not [q for q in fits["questions"] if "declared chips" in q]
    assert fits["declared_over_estimated"]["p10"] < 1 < fits["declared_over_estimated"]["p90"]


def test_metered_power_is_taken_as_it_is():
    found = estimate_site({"it_mw": 200})
    assert set(found["it_mw"].values()) == {200.0}
    assert found["facility_mw"]["p50"] == pytest.approx(260, rel=0.02)
    assert found["site_types"]["ai"] > 0.6
    assert sum(found["site_types"].values()) == pytest.approx(1.0, abs=1e-3)
    beside = estimate_site({"it_mw": 200, "footprint_m2": 2000})
    assert beside["it_mw"]["p50"] == 200.0 > beside["observed"]["it_mw"]["p95"]
    assert any("metered" in q for q in beside["questions"])
    with pytest.raises(ConfigError, match=naming("it_mw", "200000")):
        estimate_site({"it_mw": 200_000})


def test_other_spellings_and_kinds():
    assert fields({"Cooling-Type": "water", "tower_cells": 4.0, "id": "x", "floors": None}) == {
        "cooling": "water", "cooling_tower_cells": 4, "name": "x",
    }  # fmt: skip
    assert estimate_site({"chillers": 10, "cooling": "air-cooled chillers", "date": "2025-06"})["year"] == 2025


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({}, ("building_area_m2", 0)),
        ({"chillers": -1}, ("chillers", "-1")),
        ({"chillers": "many"}, ("chillers", "'many'", "number")),
        ({"chillers": True}, ("chillers", "True", "number")),
        ({"chillers": 3, "tower_fan_diamter_m": 3}, ("tower_fan_diamter_m", "tower_fan_diameter_m")),
        ({"chillers": 3, "chiller_fans": 0.5}, ("chiller_fans", 0.5)),
        ({"footprint_m2": 300, "chillers": 5500}, ("300 m2", "kW/m2", "5,000")),
        ({"footprint_m2": 1e9}, ("1,784,883 MW",)),
        ({"chillers": 3, "date": "2025-13"}, ("date", "2025-13", "YYYY-MM-DD")),
        ({"chillers": 3, "date": "next week"}, ("date", "next week", "YYYY-MM-DD")),
        ({"chillers": 3, "cooling": "magic"}, ("cooling", "magic", "air_chiller", "water")),
        ({"chillers": 3, "site_type": "zoo"}, ("site_type", "zoo", "ai", "cloud")),
        ({"chillers": 3, "generators": 2, "generator_mw": 2500}, ("generator_mw", 2500)),
        ({"chillers": 3, "n_chillers": 4}, ("'chillers'", "'n_chillers'")),
        ({"chips": "Voodoo:5"}, ("chips", "Voodoo")),
        ({"footprint_m2": math.nan}, ("building_area_m2", "nan")),
        ({"chillers": 3, "chiller_area_m2": 90_000}, ("area_m2", 90000)),
    ],
)
def test_nonsense_is_refused_with_the_reason(given_, words):
    with pytest.raises(ConfigError, match=naming(*words)):
        estimate_site(given_)


def test_the_picture_escapes_and_fits():
    found = estimate_site({"name": "<script>alert(1)</script>", "chillers": 20, "footprint_m2": 9000})
    assert "<script>" not in page(found)
    assert max(len(line) for line in lines(found)[:20]) <= 100
    assert page(found) == page(found)


class TestCommand:
    def run(self, *arguments):
        return CliRunner().invoke(app, ["estimate", *arguments])

    def test_flags(self):
        result = json.loads(self.run("--chillers", "121", "--json").stdout.splitlines()[-1])
        assert {"it_mw", "facility_mw", "h100e", "flop", "error_budget"} <= set(result)

    def test_a_file_and_flags_over_it(self, tmp_path):
        file = tmp_path / "SITE.json"
        file.write_text(json.dumps({"chillers": 10, "operator": "Google", "storeys": 2, "footprint_m2": 20_000}))
        result = json.loads(self.run(str(file), "--chillers", "20", "--json").stdout.splitlines()[-1])
        assert result["site"]["chillers"] == 20
        assert result["site"]["operator"] == "Google"

    def test_text_says_the_kinds_and_what_is_declared(self):
        text = self.run("--chillers", "2", "--chips", "H100:100000").stdout
        assert "Kind of site: enterprise" in text
        assert "declared over estimated" in text
        assert "that of the declared chips" in self.run("--chips", "H100:1000").stdout
        assert "200 MW as metered or filed" in self.run("--it-mw", "200").stdout

    def test_an_observation_narrows_the_interval_by_a_stated_factor(self):
        found = estimate_site({"chillers": 121})
        q, first = found["it_mw"], found["next_observations"][0]
        now = math.sqrt(q["p90"] / q["p10"])
        left = now ** (first["ln_sd_after"] / first["ln_sd_before"])
        text = self.run("--chillers", "121").stdout
        assert f"a factor {now:.1f} either way" in text
        assert f"{first['observation']} ({first['kind']}): to a factor {left:.1f}\n" in text
        assert f"to a factor {now:.1f}\n" not in text

    def test_a_page(self, tmp_path):
        assert self.run("--chillers", "5", "--html", str(tmp_path / "a" / "b.html")).exit_code == 0
        assert "<svg" in (tmp_path / "a" / "b.html").read_text()

    def test_the_page_says_all_that_the_terminal_says(self, tmp_path):
        told = self.run("--chillers", "2", "--chips", "H100:100000", "--html", str(tmp_path / "a.html")).stdout
        shown = html.unescape((tmp_path / "a.html").read_text(encoding="utf-8"))
        assert "Kind of site: " in shown
        assert "Declared chips: " in shown
        assert told.strip() in shown

    @pytest.mark.parametrize("text", ["", "[1]", "{", '{"chillers": "NaN"}', "[" * 100_000])
    def test_a_bad_file_is_refused(self, tmp_path, text):
        file = tmp_path / "SITE.json"
        file.write_text(text)
        with pytest.raises(ConfigError):
            CliRunner().invoke(app, ["estimate", str(file)], catch_exceptions=False)
