"""What a card says of kind, worst case and evidence; the order of the list; sites of unknown power."""

import re
from dataclasses import replace

import numpy as np
import pytest

from overwatt.pipeline.report import estimates
from overwatt.pipeline.report.page import render_report
from overwatt.pipeline.tables import QUANTILE_NAMES, conform
from tests.report_data import example, quantiles

KINDS = {"p_ai": 0.7, "p_cloud": 0.2, "p_enterprise": 0.06, "p_colocation": 0.04, "p_mine": 0.0}


def site(**columns):
    names = [
        *KINDS,
        "flop_90d_mean",
        "evidence",
        *(f"{s}_{q}" for s in ("flop_90d_ai", "h100e") for q in QUANTILE_NAMES),
    ]
    return dict.fromkeys(names) | columns


def text_of(html):
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"(?s)<(style|script).*?</\1>", "", html)).split())


def test_kinds_fill_the_bar_and_the_small_ones_are_not_named():
    found = estimates.kinds(site(**KINDS, flop_90d_mean=1e26, **quantiles("flop_90d_ai", 1e26)))
    assert sum(width for _, _, width in found["parts"]) == pytest.approx(560, abs=0.5)
    assert [words for _, words in found["words"]] == ["AI 70%", "cloud 20%", "enterprise 6%", "colocation 4%"]
    share = int(re.search(r"About (\d+)%", found["carried"])[1])
    assert 70 < share < 100


def test_an_old_table_says_nothing_of_kinds():
    assert estimates.kinds(site()) is None
    assert estimates.none_or_some(site()) == ""
    assert estimates.evidence(site()) == ""


def test_none_is_said_in_words():
    some = dict(zip((f"h100e_{q}" for q in QUANTILE_NAMES), [0, 0, 0, 5e3, 2e4, 5e4, 1e5, 1.5e5, 2e5], strict=True))
    words = estimates.none_or_some(site(**some))
    assert re.fullmatch(
        r"No AI accelerators at all in 10% of the draws or more; if it has some, [\d,]+ to [\d,]+ H100 equivalents "
        r"\(80%\)\.", words,
    )  # fmt: skip
    assert estimates.none_or_some(site(**quantiles("h100e", 1e4))) == ""
    assert estimates.none_or_some(site(**quantiles("h100e", 0.0))) == "No AI accelerators are expected here."


def test_evidence_in_words_and_unknown_names_as_they_are():
    assert estimates.evidence(site(evidence="footprint, counted, moon")) == (
        "footprint of the buildings, machines counted, moon"
    )


@pytest.mark.parametrize(
    ("by", "heading", "column"),
    [
        (None, "expected undeclared compute", "undeclared_flop_90d"),
        ("worst_case", "worst case: every site all AI", "undeclared_flop_90d_ai"),
        ("p_over 1e+26", "probability of more than 10²⁶ FLOP", "p_over_1e26"),
        ("p_over 2.5e+25", "probability of more than 2.5 × 10²⁵ FLOP", "undeclared_flop_90d"),
    ],
)
def test_the_heading_of_the_list_says_what_orders_it(by, heading, column):
    data = example()
    shown = text_of(render_report(replace(data, ledger=conform(data.ledger.assign(ranked_by=by), "ledger"))))
    assert f"Ranked list by {heading}" in shown
    assert estimates.order(by)["column"] == column


def test_a_card_shows_worst_case_both_bases_kinds_and_evidence():
    data = example()
    more = {**KINDS, "site_type": "ai", "flop_90d_mean": 2e26, "evidence": "footprint, outlined",
            **quantiles("flop_90d_ai", 3e26), **quantiles("h100e_fp8", 4e4)}  # fmt: skip
    shown = text_of(render_report(replace(data, sites=conform(data.sites.assign(**more), "sites"))))
    said = (
        "worst case: all AI", "its expected value", "H100 equivalents, BF16", "H100 equivalents, FP8",
        "Kind of site , if it is a data center: AI 70%", "Evidence used: footprint of the buildings, area of",
    )  # fmt: skip
    for words in said:
        assert words in shown, words


def test_unknown_power_is_unknown_and_never_0():
    data = example()
    stems = ("it_mw", "facility_mw", "h100e", "flop_90d")
    table = data.sites.copy()
    table.loc[0, [f"{s}_{q}" for s in stems for q in QUANTILE_NAMES]] = np.nan
    for sites in (table, table.iloc[:1]):
        ids = set(sites["site_id"])
        ledger = data.ledger[data.ledger["site_id"].isna() | data.ledger["site_id"].isin(ids)]
        html = render_report(replace(data, sites=sites, ledger=ledger))
        assert "Its power is unknown" in html
        assert "IT power unknown" in html
        assert "nan" not in text_of(html).lower().split()
