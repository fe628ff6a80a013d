"""The report in a real browser: it draws, obeys its own policy, sorts, fits the window, and runs no text."""

from __future__ import annotations

import html as htmllib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from overwatt.pipeline.report.page import render_report
from overwatt.pipeline.tables import conform, empty
from tests.browser import BROWSER, MISSING, ask, browse, with_script
from tests.report_data import declared_rows, example, hostile_report

pytestmark = pytest.mark.skipif(BROWSER is None, reason=MISSING)


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(hostile_report())


def test_draws_without_errors_and_runs_no_text(tmp_path: Path, page: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    dom, console = browse(file, "--dump-dom")
    assert not console
    assert '<html lang="en" data-map="drawn">' in dom
    assert re.search(r'class="[^"]*leaflet-image-layer[^"]*"', dom)
    assert len(re.findall(r'<span class="pin ', dom)) == 4
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;|<script.*?</script>|<title>.*?</title>", "", dom, flags=re.DOTALL)
    assert 'src="x"' not in dom


def test_policy_stops_what_is_not_of_the_page(tmp_path: Path, page: str) -> None:
    intruder = (
        '<script>document.documentElement.dataset.intruder = "1"</script>'
        '<b style="color: red">x</b><img src="https://example.invalid/p.png" onerror="alert(1)">'
    )
    file = tmp_path / "report.html"
    file.write_text(page.replace("</main>", intruder + "</main>"), encoding="utf-8")
    dom, console = browse(file, "--dump-dom")
    assert "data-intruder" not in dom[:400]
    for directive in ("script-src", "style-src", "img-src"):
        assert any(directive in line for line in console), directive


def test_sorts_by_number_with_missing_last(tmp_path: Path, page: str) -> None:
    script = """
      var heads = document.querySelectorAll("#ledger th"), out = [];
      function sites() { return Array.from(document.querySelectorAll("#ledger tbody tr")).map(function (r) {
        return r.cells[2].dataset.v; }); }
      heads[4].querySelector("button").click(); out.push(sites(), heads[4].getAttribute("aria-sort"));
      heads[4].querySelector("button").click(); out.push(sites(), heads[4].getAttribute("aria-sort"));
      heads[0].querySelector("button").click(); out.push(sites(), heads[4].hasAttribute("aria-sort"));
      return out;"""
    assert ask(tmp_path, page, script) == [
        ["S0", "S2", "S1", ""],
        "ascending",
        ["S1", "S2", "S0", ""],
        "descending",
        ["S0", "S1", "S2", ""],
        False,
    ]


WIDTHS = (390, 770, 800, 820, 900, 1000, 1100, 1180, 1440)
MEASURE = """
      document.querySelectorAll(".card").forEach(function (card) { card.style.contentVisibility = "visible"; });
      var width = document.documentElement.clientWidth;
      function clipped(el) { for (var up = el.parentElement; up; up = up.parentElement) {
        if (up.id === "map" || up.tagName === "NAV") { return true; } } return false; }
      return [innerWidth, document.documentElement.scrollWidth, width,
        Array.from(document.body.querySelectorAll("*")).filter(function (el) {
          return el.getBoundingClientRect().right > width + 0.5 && !clipped(el); })
          .map(function (el) { return el.tagName + "." + el.getAttribute("class"); }).slice(0, 5)];"""


@pytest.mark.parametrize("name", ["Alder", "A" * 120])
def test_nothing_is_wider_than_the_window(tmp_path: Path, name: str) -> None:
    """A frame for each width: a window is at least 500 px wide."""
    page = render_report(example(name=name, text=name, declared=conform(with_operator(name), "declared")))
    file = tmp_path / "report.html"
    script = f"parent.postMessage((function () {{ {MEASURE} }})(), '*');"
    file.write_text(with_script(page, script), encoding="utf-8")
    frames = "".join(f'<iframe src="report.html" width="{w}" height="900" frameborder="0"></iframe>' for w in WIDTHS)
    frame = tmp_path / "frames.html"
    frame.write_text(
        "<html><body><script>var all = []; addEventListener('message', function (e) { all.push(e.data); "
        f"document.documentElement.dataset.answer = JSON.stringify(all); }});</script>{frames}</body></html>"
    )
    dom, console = browse(frame, "--dump-dom")
    assert not console
    found = re.search(r'<html[^>]* data-answer="([^"]*)"', dom)
    assert found, dom[:300]
    answers = sorted(json.loads(htmllib.unescape(found[1])))
    assert [inner for inner, *_ in answers] == list(WIDTHS)
    for _, wide, client, beyond in answers:
        assert (wide <= client, beyond) == (True, [])


def with_operator(name: str) -> list[dict[str, object]]:
    return [{**row, "operator": name, "source": name, "licence": name} for row in declared_rows(name)]


def test_light_and_dark_pictures_differ(tmp_path: Path, page: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    means = []
    for scheme in (1, 0):
        shot = tmp_path / f"{scheme}.png"
        browse(
            file,
            f"--screenshot={shot}",
            "--window-size=1000,800",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        pixels = np.asarray(Image.open(shot).convert("L"))
        assert pixels.std() > 10
        means.append(pixels.mean())
    assert means[0] > 200
    assert means[1] < 60


def test_without_imagery_or_sites_the_map_still_opens(tmp_path: Path) -> None:
    data = hostile_report()
    names = ("sites", "footprints", "declared", "ledger", "looked_at")
    bare = replace(data, basemap=None, chips={}, **{name: empty(name) for name in names})
    assert ask(tmp_path, render_report(bare), "return document.documentElement.dataset.map;") == "drawn"


@pytest.mark.slow
def test_five_hundred_sites_stay_usable(tmp_path: Path) -> None:
    script = """
      var start = performance.now(), head = document.querySelectorAll("#ledger th button")[4];
      head.click(); document.body.offsetHeight;
      return [performance.now() - start, document.querySelectorAll(".pin").length];"""
    took_ms, pins = ask(tmp_path, render_report(hostile_report(500)), script)
    assert pins == 501
    assert took_ms < 5000
