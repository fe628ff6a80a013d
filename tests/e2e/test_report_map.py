"""The report's map in a real browser: it follows the classes, and its legend has every mark with its look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from shapely.geometry import GeometryCollection, LineString, MultiPoint, box

from overwatt.pipeline.report.page import ReportData, render_report
from overwatt.pipeline.report.wording import MAP_MARKS
from overwatt.pipeline.tables import LEDGER_CLASSES, conform, empty
from tests.browser import BROWSER, MISSING, ask
from tests.report_data import HOSTILE, LAT, LON, hostile_report

pytestmark = pytest.mark.skipif(BROWSER is None, reason=MISSING)


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(hostile_report())


STATE = """
      function bar(at) { return document.querySelectorAll(".filters")[at]; }
      function button(at, name) { return bar(at).querySelector('button[data-class="' + name + '"]'); }
      function state() { return {
        rows: Array.from(document.querySelectorAll("#ledger tbody tr"))
          .filter(function (r) { return r.offsetHeight > 0; }).map(function (r) { return r.dataset.class; }),
        pins: Array.from(document.querySelectorAll("#map .pin")).map(function (p) { return p.textContent; }).sort(),
        outlines: document.querySelectorAll("#map path").length,
        pressed: [0, 1].map(function (at) { return Array.from(bar(at).querySelectorAll('[aria-pressed="true"]'))
          .map(function (b) { return b.dataset.class; }).join(); }),
        shown: Array.from(document.querySelectorAll(".shown")).map(function (e) { return e.textContent; }) }; }
"""


def test_classes_and_search_select_in_list_and_map(tmp_path: Path, page: str) -> None:
    script = (
        STATE
        + """
      var out = [state()], search = document.getElementById("search");
      button(1, "undeclared").click(); out.push(state());
      button(0, "not_seen").click(); out.push(state());
      button(1, "undeclared").click(); out.push(state());
      button(0, "").click(); out.push(state());
      search.value = "s2"; search.dispatchEvent(new Event("input")); out.push(state());
      out.push(document.querySelectorAll(".filters button:not([tabindex])").length);
      return out;"""
    )
    every, one, two, other, again, found, focusable = ask(tmp_path, page, script)
    assert every["rows"] == ["above_declared", "undeclared", "undeclared", "not_seen"]
    assert every["pins"] == ["1", "2", "3", "4"]
    assert (every["pressed"], every["shown"]) == (["", ""], ["all 4 shown"] * 2)
    assert one["rows"] == ["undeclared", "undeclared"]
    assert one["pins"] == ["2", "3"]
    assert one["outlines"] < every["outlines"]
    assert (one["pressed"], one["shown"]) == (["undeclared"] * 2, ["2 of 4 shown"] * 2)
    assert (two["pins"], two["shown"][0]) == (["2", "3", "4"], "3 of 4 shown")
    assert (other["rows"], other["pins"]) == (["not_seen"], ["4"])
    assert again == every
    assert (found["rows"], found["pins"], found["shown"][0]) == (["undeclared"], ["3"], "1 of 4 shown")
    assert focusable == 8  # All and three classes, above the map and above the list


def test_what_is_filtered_out_comes_back_to_be_shown_on_the_map(tmp_path: Path, page: str) -> None:
    script = (
        STATE
        + """
      button(0, "undeclared").click();
      document.querySelector('.go[data-anchor="card-4"]').click();
      return state();"""
    )
    assert ask(tmp_path, page, script)["pins"] == ["1", "2", "3", "4"]


def almost_listed() -> str:
    """The report with its third entry almost listed."""
    data = hostile_report()
    cut = data.ledger["site_id"].eq("S2").fillna(False)
    rest = conform(data.ledger[cut].assign(left_out="value", p_data_center=0.2), "almost_listed")
    return render_report(replace(data, ledger=data.ledger[~cut], almost_listed=rest))


def test_a_card_is_shown_on_the_map_whatever_was_searched_for(tmp_path: Path) -> None:
    script = (
        STATE
        + """
      var search = document.getElementById("search");
      search.value = "s2"; search.dispatchEvent(new Event("input")); var found = state();
      document.querySelector('.go[data-anchor="card-1"]').click();
      return [found, state(), search.value];"""
    )
    found, after, text = ask(tmp_path, almost_listed(), script)
    assert (found["rows"], found["pins"]) == ([], ["·"])  # no listed entry, and the pin of the almost listed site
    assert found["shown"][0] == "0 of 3 shown, and 1 almost listed below"
    assert (len(after["rows"]), len(after["pins"]), text) == (3, 4, "")


def test_a_button_for_the_map_has_a_place_there(tmp_path: Path) -> None:
    """A known site, examined in surface temperature alone, has the place of its declaration."""
    data = hostile_report()
    known = data.declared.assign(name=["North", "South"])
    heat = pd.DataFrame(
        {"site_id": ["North", "South", "Elsewhere"], "looks_used": 0, "looks_total": 1, "statement": "None."}
    )
    bare = {name: empty(name) for name in ("sites", "ledger", "looked_at", "footprints")}
    page = render_report(replace(data, **bare, declared=known, thermal=conform(heat, "thermal")))
    script = """
      var go = Array.from(document.querySelectorAll(".go")); go[1].click();
      return [go.map(function (b) { return b.hidden; }),
        Array.from(document.querySelectorAll(".chosen")).map(function (e) { return e.id; })];"""
    assert ask(tmp_path, page, script) == [[False, False, True], ["card-2"]]


def every_mark() -> ReportData:
    """A report whose map has a site of each class, and each of the other marks."""
    data = hostile_report(10)
    seen = [c for c in LEDGER_CLASSES if c != "not_seen"]
    ledger = data.ledger.iloc[: len(seen)].assign(**{"class": seen})
    shape = box(LON + 0.001, LAT + 0.001, LON + 0.002, LAT + 0.0015)
    outlined = data.declared.iloc[:1].assign(declared_id="d2", geometry=[shape])
    kinds = ("data_center", "other_building", "cooling_equipment", "generator", "substation")
    prints = [data.footprints.assign(**{"object_id": k, "class": k}) for k in kinds]
    return replace(
        data,
        ledger=conform(pd.concat([ledger, data.ledger.iloc[-1:]]), "ledger"),
        declared=conform(pd.concat([data.declared, outlined]), "declared"),
        footprints=conform(pd.concat(prints), "footprints"),
    )


DRAWN = """
      function look(el) { return ["stroke", "stroke-width", "stroke-dasharray", "fill", "fill-opacity"]
        .map(function (key) { return el.getAttribute(key); }).join(" "); }
      function pins(where) { return Array.from(document.querySelectorAll(where)).map(function (el) {
        return el.getAttribute("class").match(/k-\\w+/)[0]; }).sort(); }
      var legend = Array.from(document.querySelectorAll("#map-section .legend li:not([hidden])"));
      return {
        map: Array.from(document.querySelectorAll("#map path")).map(look),
        legend: Array.from(document.querySelectorAll("#map-section li:not([hidden]) .sym > :first-child"))
          .filter(function (el) { return !el.hasAttribute("class"); }).map(look),
        mapPins: pins("#map .pin"), legendPins: pins("#map-section li:not([hidden]) .sym [class]"),
        texts: legend.map(function (li) { return li.textContent; }),
        sizes: legend.map(function (li) { return li.querySelector(".sym").getBoundingClientRect().width; }) };"""


def test_every_mark_on_the_map_is_in_the_legend_with_its_look(tmp_path: Path) -> None:
    got = ask(tmp_path, render_report(every_mark()), DRAWN)
    assert set(got["map"]) == set(got["legend"])
    assert set(got["mapPins"]) == set(got["legendPins"])
    assert len(got["texts"]) == len(LEDGER_CLASSES) + len(MAP_MARKS)
    assert min(got["sizes"]) > 20


def test_the_legend_has_only_what_is_drawn(tmp_path: Path) -> None:
    data = hostile_report()
    bare = replace(data, declared=data.declared.iloc[:0], ledger=data.ledger.iloc[1:2])
    texts = ask(tmp_path, render_report(bare), DRAWN)["texts"]
    assert not [text for text in texts if "declared place" in text or "cooling" in text]
    assert any("building taken for a data center" in text for text in texts)


def test_the_legend_follows_the_chosen_class(tmp_path: Path, page: str) -> None:
    script = """
      function marks() { return Array.from(document.querySelectorAll(".legend [data-mark]:not([hidden])"))
        .map(function (li) { return li.dataset.mark; }); }
      var out = [marks()];
      document.querySelector('.filters button[data-class="undeclared"]').click(); out.push(marks());
      document.querySelector('.filters button[data-class=""]').click(); out.push(marks());
      return out;"""
    every, one, again = ask(tmp_path, page, script)
    assert {"undeclared", "above_declared", "not_seen", "declared_point"} <= set(every)
    assert "undeclared" in one
    assert not {"above_declared", "not_seen", "declared_point"} & set(one)
    assert again == every


def test_map_and_lists_point_at_each_other(tmp_path: Path, page: str) -> None:
    script = """
      function chosen() { return Array.from(document.querySelectorAll(".chosen")).map(function (e) {
        return e.id || e.dataset.anchor; }); }
      var out = [];
      document.querySelectorAll(".pin")[1].parentNode.click(); out.push(chosen(), document.activeElement.id);
      document.querySelectorAll("#ledger .rank")[3].click();
      out.push(chosen(), Array.from(document.querySelectorAll(".leaflet-tooltip b")).pop().textContent);
      return out;"""
    second, focus, fourth, tip = ask(tmp_path, page, script)
    assert second == ["card-2", "card-2"]
    assert focus == "card-2"
    assert fourth == ["card-4", "card-4"]
    assert tip == HOSTILE


def test_collections_of_shapes_are_drawn(tmp_path: Path) -> None:
    """Cutting an area leaves polygons with lines; a declared place may be several points."""
    data = hostile_report()
    sliver = GeometryCollection([box(LON, LAT, LON + 0.01, LAT + 0.01), LineString([(LON, LAT), (LON, LAT + 0.02)])])
    odd = replace(
        data,
        looked_at=conform(data.looked_at.assign(geometry=[data.looked_at.geometry[0], sliver]), "looked_at"),
        declared=conform(
            data.declared.assign(geometry=[MultiPoint([(LON, LAT), (LON + 0.001, LAT)]), sliver]), "declared"
        ),
    )
    assert ask(tmp_path, render_report(odd), "return document.querySelectorAll('#map .pin').length;") == 4
