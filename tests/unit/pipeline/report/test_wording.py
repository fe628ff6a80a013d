"""The words of the report: numbers, evidence, next steps, scores."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from overwatt.pipeline.inspection.value_of_information import DEFAULTS, visit_gross, visit_net
from overwatt.pipeline.report import wording
from tests.support import ROOT


@given(st.floats(1e-3, 1e5))
@settings(max_examples=40, deadline=None)
def test_written_numbers_are_near(value: float) -> None:
    if value >= 0.095:
        assert float(wording.mw(value).replace(",", "")) == pytest.approx(value, rel=0.06, abs=0.051)
    assert float(wording.count(value).replace(",", "")) == pytest.approx(value, rel=0.051, abs=0.51)
    mantissa, exponent = wording.power_of_ten(value * 1e22)
    assert float(f"{mantissa}e{exponent}") == pytest.approx(value * 1e22, rel=0.06)


def test_words_of_shares_and_probabilities() -> None:
    assert [wording.share(v) for v in (0.0, 0.003, 0.5, 0.9999, 1.0)] == ["0%", "0.3%", "50%", "99.9%", "100%"]
    assert [wording.probability(v) for v in (0.0, 0.5, 1.0)] == ["< 0.01", "0.50", "> 0.99"]
    assert wording.power_of_ten(0.0) == ("0", "")
    assert wording.first_sentence("One. Two.") == "One."
    assert len(wording.first_sentence("word " * 200)) < 230


@given(st.floats(0.3, 0.79))
@settings(max_examples=40, deadline=None)
def test_a_visit_is_worth_what_the_model_says(p: float) -> None:
    """Net value plus cost, over cost: the words state the gross value of a visit in visits."""
    net, gross = (float(f(np.array([p]))[0]) for f in (visit_net, visit_gross))
    words = wording.next_step({"class": "undeclared", "next_step": "visit", "value_of_inspection": net})
    said = re.search(r"worth about ([\d.,]+) times its cost", words)
    assert said
    assert float(said[1].replace(",", "")) == pytest.approx(gross / DEFAULTS.visit_cost, rel=0.06, abs=0.051)


def test_next_steps_in_words() -> None:
    row = {"class": "position_mismatch", "value_of_inspection": 0.29, "rank_low": 4, "rank_high": 6}
    assert wording.next_step({**row, "next_step": "image"}) == (
        "Next: an image of 0.3 m; after its own cost it is worth about 0.3 times the cost of a visit. "
        "Its rank is uncertain: 4 to 6."
    )
    assert "neither a visit nor a finer image is worth its cost" in wording.next_step({**row, "next_step": "none"})
    assert wording.next_step({**row, "class": "matched", "next_step": "none"}) == ""
    assert wording.next_step({"class": "undeclared", "next_step": None, "value_of_inspection": None}) == ""


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", "No evidence for it in this imagery."),
        (None, "No evidence for it in this imagery."),
        ("None.", "No evidence for it in this imagery."),
        ("None: no difference in place (0 m apart).", "No difference in place (0 m apart)."),
        ("None of its own: compared together with site S.", "Compared together with site S."),
        ("Error 50 m; p_match 0.99.", "Error 50 m; probability of a match 0.99."),
        ("6 building(s) of 55662 m2.", "6 buildings of 55,662 m²."),
        ("1 building(s) and 1 cooling object(s); 11 building(s).", "1 building and 1 cooling object; 11 buildings."),
        ("187 MW of IT (p10-p90 107-323)", "187 MW of IT (80% interval 107-323)"),
    ],
)
def test_evidence_in_plain_words(text: str | None, plain: str) -> None:
    assert wording.evidence(text) == plain


def test_what_was_not_looked_at_in_words() -> None:
    assert wording.not_looked_at(0.0, 0) == "All of the area was looked at."
    assert wording.not_looked_at(0.5, 0) == "Nothing can be said about 50% of the area, which was not looked at."
    assert "about 2 declared facilities and 3% of the area, which were" in wording.not_looked_at(0.03, 2)
    assert "about 1 declared facility: the place" in wording.not_looked_at(0.0, 1)


def test_priors_in_words() -> None:
    assert wording.priors([]) == "nothing: no site"
    assert wording.priors([None, None]) == wording.prior(None).removeprefix("prior ") == "not stated"
    assert wording.priors([0.2, 0.01, 0.2]) == "1%, 20% of large roofs are data centers"
    assert wording.priors([0.2, None]) == "20% of large roofs are data centers; not stated for some sites"


def test_expected_innocent_answers_are_counted() -> None:
    assert wording.innocent([]) == ""
    assert "has an innocent answer with probability 0.38," in wording.innocent([0.38])
    assert "Of the 7 sites seen without a declaration about 4 are expected" in wording.innocent([0.52] * 7)
    assert "Of the 2 sites seen without a declaration fewer than 1 is expected" in wording.innocent([0.1, 0.1])


def test_areas_are_in_square_metres() -> None:
    said = wording.areas("a lot of 9000 m2 at 1.7 kW/m2, not 2.5000 m2 or hall m2")
    assert said == "a lot of 9,000 m² at 1.7 kW/m², not 2.5000 m² or hall m2"


def test_a_fair_chance_of_a_declaration_is_not_nothing() -> None:
    assert wording.no_declaration(0.01) == wording.no_declaration(None) == "nothing fits"
    assert wording.no_declaration(0.38) == "no sure match"


def test_scores_are_those_of_the_card_and_of_the_readers_pages() -> None:
    card = load_card(DEFAULT_WEIGHTS)
    away = card.scores["elsewhere"]
    assert isinstance(away, dict)
    said = wording.scores(card.scores)[-1]
    assert "53 sites in 8 places" in said
    assert "40% of the sites (95% interval 9% to 75%) at one false site in 200 large roofs" in said
    page, readme = ((ROOT / p).read_text(encoding="utf-8") for p in ("docs/detector.md", "README.md"))
    assert re.search(rf"recall of sites at one false site in 200 large roofs .* {away['recall_of_sites']:.2f} ", page)
    assert f"{away['sites']} named sites in eight places" in page
    assert "two sites in five (9-75%) at one false site per 200 large roofs" in " ".join(readme.split())
    assert round(5 * away["recall_of_sites"]) == 2


def test_what_1e24_needs_is_the_same_everywhere() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    need = re.search(r"1e24 in 90 days needs under ([\d.]+) MW", wording.LIMITS[0])
    assert need
    assert need[0] in readme


@pytest.mark.parametrize("name", ["sitenet-sentinel2-v1", "sitenet-thermal-v1"])
def test_what_was_not_measured_is_said(name: str) -> None:
    scores = json.loads((DEFAULT_WEIGHTS.parent / f"{name}.json").read_text(encoding="utf-8"))["scores"]
    said = wording.scores(scores)
    assert "AUC" in said[0]
    assert "has not been measured" in said[-1]


values = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)


@given(st.dictionaries(st.sampled_from(["sites", "places", "recall_of_sites", "false_sites_per_large_roof"]), values))
@settings(max_examples=40, deadline=None)
def test_a_card_with_any_values_gives_a_sentence(away: dict[str, object]) -> None:
    assert len(wording.scores({"elsewhere": away, "held-out simulated scenes": 3})) == 1


def test_the_ladder_falls_from_what_can_be_seen_to_what_cannot() -> None:
    rows = wording.ladder()
    assert [r["exponent"] for r in rows] == [27, 26, 25, 24]
    assert [r["verdict"] for r in rows] == ["can", "can", "partly", "cannot"]
    assert math.isclose(wording.HEAT_MW, 300.0)
