"""The page of the report: escaping, policy, numbers, order of contents."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point

from overwatt.pipeline.compute.thresholds import verdicts
from overwatt.pipeline.report import context, page, wording
from overwatt.pipeline.report.page import render_report
from overwatt.pipeline.report.rasters import OUTLINE_RGB, chip, to_web_mercator
from overwatt.pipeline.tables import LEDGER_CLASSES, conform, empty
from tests.report_data import GRID, LAT, LON, example, nothing
from tests.support import naming

HOSTILE = "</script><img src=x onerror=alert(1)>"
NASTY = HOSTILE + "\"'--><style>*{display:none}</style>{{ 7*7 }}\u2028"


class Page(HTMLParser):
    """Tags with their attributes, and the texts of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: str | None = None
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = tag
            self.raw.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.raw[-1] = (self.raw[-1][0], self.raw[-1][1] + data)
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(example())


def test_same_data_same_page(html: str) -> None:
    assert render_report(example()) == html


def test_sections_stand_in_order(html: str) -> None:
    marks = ["SIMULATED", "<h1>", 'id="said"', 'id="map"', 'id="ledger"', 'id="card-1"', 'id="nothing"']
    marks += ['id="coverage"', 'id="wrong"', 'id="made"']
    places = [html.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "SIMULATED" not in render_report(example(simulated=False))


def test_policy_allows_only_this_page(html: str) -> None:
    read = Page(html)
    policy = next(a["content"] for t, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert "http" not in policy
    kinds = [a.get("type") for t, a in read.tags if t == "script"]
    scripts = [text for tag, text in read.raw if tag == "script"]
    executable = [text for text, kind in zip(scripts, kinds, strict=True) if kind is None]
    assert len(executable) == 2
    for text in executable + [t for tag, t in read.raw if tag == "style"]:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_no_request_no_inline_style_no_handler(html: str) -> None:
    read = Page(html)
    for tag, attributes in read.tags:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base")
        assert not [a for a in attributes if a == "style" or a.startswith("on")], (tag, attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    style = next(text for tag, text in read.raw if tag == "style")
    assert "url(" not in style
    assert "@import" not in style
    own = [text for tag, text in read.raw if tag == "script"][-1]
    assert not re.search(r"\beval\b|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", own)


@pytest.mark.parametrize("bad", [HOSTILE, NASTY])
def test_hostile_texts_stay_texts(bad: str) -> None:
    good, read = (
        Page(render_report(example(name="Alder", text="note"))),
        Page(render_report(example(name=bad, text=bad))),
    )
    assert [t for t, _ in read.tags] == [t for t, _ in good.tags]
    assert HOSTILE in read.text
    assert "{{" not in bad or "{{ 7*7 }}" in read.text
    data = json.loads(next(text for tag, text in read.raw if '"footprints"' in text and text.startswith("{")))
    assert data["declared"][0]["t"][0] == bad


@given(st.recursive(st.text() | st.integers() | st.none(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
@settings(max_examples=40, deadline=None)
def test_safe_json_is_json_without_markup(value: object) -> None:
    text = context.safe_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_safe_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):  # the words of Python's own json
        context.safe_json({"x": math.nan})


def test_numbers_carry_their_intervals(html: str) -> None:
    read = Page(html)
    assert "52 (31 to 88)" in read.text.replace("  ", " ")
    assert "1.3 × 10 26" in read.text.replace("\xa0", " ")
    assert "31,000" in read.text
    assert re.search(r"0\.93\D+0\.3% assumed before", read.text)  # the probability and its prior
    assert re.search(r"52 MW\D+80%\D+31\D+88", html)  # the plot, in words
    assert "1.2 km" in read.text
    assert "nan" not in read.text.lower().split()
    assert "None" not in read.text.split()
    assert "<NA>" not in read.text


def test_front_page_says_what_imagery_cannot_do(html: str) -> None:
    front = Page(html[: html.index('id="ledger"')]).text
    assert re.search("10 26 .*10 25 .*blind", front)
    assert "not warmer says nothing" in front
    assert "violation" not in html.lower()
    for row in verdicts():
        if row["flop"] >= 1e24:  # the same figures as `overwatt thresholds` and docs/methods.md
            assert f"{wording.mw(row['mw_low'])} to {wording.mw(row['mw_high'])} MW" in front


def test_warnings_stand_before_the_list() -> None:
    read = Page(render_report(example(warnings=[f"The weights learned here. {HOSTILE}"])))
    assert "Before you read on: The weights learned here. </script>" in read.text
    assert read.text.index("The weights learned") < read.text.index("Ranked list")


def test_words_of_the_trade_are_explained_or_absent(html: str) -> None:
    text = Page(html).text
    for word in ("p (match)", "p (data center)", "1 sigma", "visits net", "p_match", "p10-p90", "over resampled draws"):
        assert word not in text
    assert "What was compared" not in text  # no match in this list


def test_what_was_not_looked_at_is_never_empty(html: str) -> None:
    text = Page(html[html.index('id="coverage"') : html.index('id="wrong"')]).text
    assert "50% of the area" in text
    assert "HTTP 503" in text
    outside = Page(html[html.index('id="nothing"') : html.index('id="coverage"')]).text
    assert "Alder" in outside  # the declared place that was not looked at


def test_signed_links_lose_their_signature() -> None:
    link = "https://store.example/a.tif?sig=SECRET&se=1"
    html = render_report(example(text=link, attribution=[], limits=[], facts={"Scene": link}))
    coverage = html[html.index('id="coverage"') : html.index('id="wrong"')]
    assert "https://store.example/a.tif?[redacted]" in coverage
    assert "SECRET" not in coverage
    assert "SECRET" not in html[html.index('id="made"') :]
    drawn = json.loads(re.search(r'id="map-data">(.*?)</script>', html)[1])
    assert "SECRET" not in json.dumps(drawn["failed"])


def test_ledger_rows_in_order_of_rank_with_cards_that_exist(html: str) -> None:
    read = Page(html)
    rows = [a for t, a in read.tags if t == "tr" and a.get("data-anchor")]
    ids = [a["id"] for t, a in read.tags if t == "article"]
    assert [r["data-class"] for r in rows] == ["above_declared", "undeclared", "not_seen"]
    assert [r["data-anchor"] for r in rows] == ids[:3]
    assert len(ids) == len(set(ids)) == 4  # three of the ledger, and the site that did not enter it
    shuffled = example()
    assert render_report(replace(shuffled, ledger=shuffled.ledger.iloc[::-1].reset_index(drop=True))) == html


def test_almost_listed_sites_are_counted_with_their_reasons_and_have_cards() -> None:
    data = example(6)
    cut = (data.ledger["class"] == "undeclared") & (data.ledger["rank"] > 3)
    why = np.resize(["value", "false_share"], int(cut.sum()))
    html = render_report(
        replace(
            data,
            ledger=data.ledger[~cut],
            almost_listed=conform(data.ledger[cut].assign(left_out=why, rank=[9, 8]), "almost_listed"),
            left_out=["1 too small", "1 too many"],
        )
    )
    section = html[html.index('<section id="almost">') : html.index('<section id="cards">')]
    assert "2 more sites were seen without a declaration and left out of the list: 1 too small; 1 too many." in section
    # as example() has them: two sites with 0.93 of a data center, and no other partner
    ranked = html[html.index('<section id="list">') : html.index('<section id="almost">')]
    assert "Of the 2 sites seen without a declaration fewer than 1 is expected to have an innocent answer" in ranked
    cards = re.findall(r'<article class="card" id="[^"]+".*?<h3>(.*?)</h3>', html, flags=re.DOTALL)
    listed = data.ledger["site_id"][~cut]
    assert cards[len(listed) :][: int(cut.sum())] == list(data.ledger["site_id"][cut])[::-1]  # after the list, by rank
    for site_id, reason in zip(data.ledger["site_id"][cut], why, strict=True):
        anchor = re.search(rf'<a href="#([^"]+)">{re.escape(site_id)}</a>', section)
        assert anchor
        card = html[html.index(f'id="{anchor[1]}"') :].split("</article>")[0]
        assert wording.LEFT_OUT[reason] in section
        assert wording.LEFT_OUT[reason] in card
    assert "No site was left out of the list." in render_report(data)


def test_an_empty_list_says_why_it_is_empty() -> None:
    data = example()
    cut = data.ledger["class"] == "undeclared"
    rest = conform(data.ledger[cut].assign(left_out="value"), "almost_listed")
    almost = Page(render_report(replace(data, ledger=empty("ledger"), almost_listed=rest))).text
    assert "No question is worth a place on the list; 1 site is almost listed below." in almost
    assert "1 site was seen without a declaration" in almost
    assert "No entry" not in almost
    assert "nothing differs from the declarations" in Page(render_report(replace(data, ledger=empty("ledger")))).text


def test_a_run_without_imagery_claims_no_coverage() -> None:
    heat = example().thermal.assign(site_id=["Alder"])
    alone = nothing(thermal=heat, declared=example().declared.iloc[:1], chips={"Alder": b"\xff\xd8"})
    html = render_report(replace(alone, not_looked_at=alone.declared))
    read = Page(html)
    assert "No list: no imagery was searched." in read.text
    for gone in ("Nothing can be said", "tiles", "Assumed before", "interval, median", "open question"):
        assert gone not in read.text[: read.text.index("How each number could be wrong")], gone
    assert 'class="sw f-dc"' not in html
    ids = [a.get("id") for _, a in read.tags]
    assert not {"almost", "nothing", "coverage"} & set(ids)
    links = [str(a["href"])[1:] for t, a in read.tags if t == "a"]
    assert set(links) <= set(ids)
    drawn = json.loads(re.search(r'id="map-data">(.*?)</script>', html)[1])
    assert drawn["declared"][0]["a"] == "card-1"  # the card's button finds its place on the map


def test_an_unknown_prior_is_said() -> None:
    data = example()
    text = Page(render_report(replace(data, sites=data.sites.assign(prior=np.nan)))).text
    assert "(prior not stated)" in text
    assert "Assumed before looking not stated" in text
    assert "nan" not in text.lower().split()


def test_every_class_has_words_and_a_colour() -> None:
    style = render_report(nothing())
    for name in LEDGER_CLASSES:
        assert wording.CLASS_LABEL[name]
        assert wording.CLASS_MEANING[name]
        assert f"--k-{name}:" in style
        assert f"--m-{name}:" in style


def test_every_mark_of_the_map_is_in_the_legend(html: str) -> None:
    script = (Path(page.__file__).parent / "report.js").read_text(encoding="utf-8")
    for body in script.split("\n  function ")[1:]:
        if re.search(r"\bL\.(geoJSON|circle|circleMarker|marker|polyline|polygon|rectangle|divIcon)\(", body):
            assert re.search(r"\buse\(", body), body[:200]  # the only way to a look, and it notes the mark
    table = script[script.index("var looks = {") : script.index("data.classes.forEach")]
    looks = set(re.findall(r"(?m)^ {6}(\w+): ", table))
    assert looks | {"none"} == set(wording.MAP_MARKS)
    listed = [a["data-mark"] for t, a in Page(html).tags if t == "li" and "data-mark" in a]
    assert listed == [*wording.CLASS_LABEL, *wording.MAP_MARKS]


def test_the_legend_of_the_cards_has_the_marks_that_occur_in_their_colours(html: str) -> None:
    data = example(chips={"d-1": b"\xff\xd8"})
    kinds = {"data_center": "dc", "cooling_equipment": "eq", "other_building": "ob"}
    prints = pd.concat([data.footprints.assign(**{"object_id": k, "class": k}) for k in kinds])
    full = render_report(replace(data, footprints=conform(prints, "footprints")))
    assert 'class="sw f-' not in html  # no picture
    for name, short in kinds.items():
        red, green, blue = OUTLINE_RGB[name]
        assert f'<i class="sw f-{short}"></i>{wording.MAP_MARKS[name]}' in full
        style = re.search(rf"--m-{short}: #(\w+)", full)
        assert style
        drawn = tuple(bytes.fromhex(style[1]))
        assert np.abs(np.subtract(drawn, (red, green, blue))).max() < 40


def test_nothing_at_all_still_makes_a_page() -> None:
    read = Page(render_report(nothing()))
    assert "No imagery was searched in this run. 0 known sites examined" in read.text
    assert not [a for _, a in read.tags if a.get("data-anchor")]


def test_five_hundred_sites_are_quick() -> None:
    """Processor time: a loaded machine makes no difference."""
    data = example(n=500, basemap=to_web_mercator(np.zeros((3, 300, 400), np.uint8), np.ones((300, 400), bool), GRID))
    start = time.process_time()
    html = render_report(data)
    assert time.process_time() - start < 10.0
    assert html.count("<article") == 501
    assert len(html) < 6_000_000


def test_beyond_a_limit_the_page_says_what_only_the_tables_have(monkeypatch: pytest.MonkeyPatch) -> None:
    data = example()
    data = replace(data, footprints=pd.concat([data.footprints] * 3, ignore_index=True))
    listed = {str(s) for s in data.ledger["site_id"].dropna()}
    monkeypatch.setattr(context, "_MAX_CARDS", len(data.ledger))
    monkeypatch.setattr(context, "_MAX_OUTLINES", 2)
    found = context.context(data)
    cards = {c["id"] for c in found["cards"]}
    assert listed <= cards  # the list is never cut
    assert found["without_card"] == len(set(data.sites["site_id"]) - cards) > 0
    drawn = json.loads(found["map_json"])
    assert len(drawn["footprints"]) == 2
    assert found["outlines"] == (2, len(data.footprints))
    assert sum(site["a"] is None for site in drawn["sites"]) == found["without_card"]
    text = render_report(data)
    assert f"The map shows 2 of {len(data.footprints)} footprints" in text
    assert "are in the table sites" in text


def test_the_map_keeps_the_outlines_nearest_to_the_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Across 180 degrees too."""
    at = [179.9990, -179.9990, 179.95, -179.90, 0.0]
    footprints = gpd.GeoDataFrame(geometry=[Point(lon, 10).buffer(1e-4) for lon in at], crs="OGC:CRS84")
    sites = gpd.GeoDataFrame(geometry=[Point(179.9999, 10).buffer(1e-4)], crs="OGC:CRS84")
    monkeypatch.setattr(context, "_MAX_OUTLINES", 3)
    assert context._near(footprints, sites).index.tolist() == [0, 1, 2]
    assert len(context._near(footprints, sites.iloc[:0])) == 3


def test_only_given_chips_are_embedded() -> None:
    one = example()
    jpeg = chip(np.zeros((3, 300, 400), np.uint8), np.ones((300, 400), bool), GRID, one.footprints, Point(LON, LAT))
    read = Page(render_report(replace(one, chips={"d-1": jpeg})))
    sources = [a["src"] for t, a in read.tags if t == "img"]
    assert sources == [f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"]
    with pytest.raises(ValueError, match=naming("<svg", "JPEG", "PNG", "WebP")):
        render_report(replace(one, chips={"d-1": b"<svg onload=alert(1)>"}))


def test_map_over_the_antimeridian_is_one_map() -> None:
    data = example()
    moved = {
        name: getattr(data, name).set_geometry(getattr(data, name).geometry.affine_transform([1, 0, 0, 1, 207.0, 0]))
        for name in ("declared", "looked_at", "footprints")
    }
    wrap = moved["declared"].geometry.affine_transform([1, 0, 0, 1, -360.0, 0])
    moved["declared"] = moved["declared"].set_geometry(wrap)
    drawn = json.loads(re.search(r'id="map-data">(.*?)</script>', render_report(replace(data, **moved)))[1])
    lons = [d["g"]["coordinates"][0] for d in drawn["declared"]]
    west, _, east, _ = drawn["bounds"]
    assert all(west - 1 < lon < east + 1 for lon in lons)
