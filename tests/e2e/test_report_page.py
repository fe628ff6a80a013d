"""The report in a real browser: it draws, obeys its own policy, sorts, filters, and runs no text."""

from __future__ import annotations

import base64
import hashlib
import html as htmllib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from shapely.geometry import Point, box

from overwatt.pipeline.report.page import ReportData, render_report
from overwatt.pipeline.report.rasters import chip, to_web_mercator
from overwatt.pipeline.tables import QUANTILE_NAMES, conform, empty
from tests.browser import BROWSER, browse

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH (apt-get install chromium)")

HOSTILE = "</script><img src=x onerror=alert(1)><svg onload=alert(2)>"
SPREAD = np.array([0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.0, 2.5])
GRID = GeoBox((300, 400), Affine(2, 0, 499600, 0, -2, 4983300), "EPSG:32626")
LON, LAT = -27.0, 45.0


def site(k: int, mw: float) -> dict[str, object]:
    lon, lat = LON + 0.002 * (k % 3 - 1), LAT + 0.0015 * (k // 3 % 3 - 1)
    medians = {"it_mw": mw, "facility_mw": 1.3 * mw, "h100e": 500 * mw, "flop_90d": 1.3e24 * mw}
    columns = {f"{s}_{q}": m * f for s, m in medians.items() for q, f in zip(QUANTILE_NAMES, SPREAD, strict=True)}
    fixed = {
        "p_data_center": 0.9,
        "prior": 0.01,
        "buildings": 1,
        "building_area_m2": 9e3,
        "cooling_objects": 2,
    }
    rest = {
        "cooling_area_m2": 400.0,
        "on_border": False,
        "seed": 1,
        "assumptions": HOSTILE,
        "lon": lon,
        "lat": lat,
    }
    shape = box(lon - 0.0005, lat - 0.0003, lon + 0.0005, lat + 0.0003)
    return {"site_id": f"S{k}", **fixed, **rest, **columns, "geometry": shape}


def report(n: int = 3) -> ReportData:
    sites = conform([site(k, mw) for k, mw in zip(range(n), np.resize([9.0, 120.0, 30.0], n), strict=True)], "sites")
    place = {
        "kind": "facility",
        "name": HOSTILE,
        "operator": HOSTILE,
        "source": HOSTILE,
        "position_error_m": 40.0,
    }
    declared = conform(
        [
            {**place, "declared_id": "d0", "it_mw": 3.0, "geometry": Point(LON - 0.002, LAT - 0.0015)},
            {**place, "declared_id": "d1", "geometry": Point(LON, LAT + 0.001)},
        ],
        "declared",
    )
    words = {"evidence_for": HOSTILE, "evidence_against": HOSTILE, "settles": HOSTILE, "geometry": None}
    rows: list[dict[str, object]] = []
    for k in range(n):
        row = {**words, "entry_id": f"E{k}", "rank": k + 1, "class": "undeclared", "site_id": f"S{k}"}
        rows.append({**row, "it_mw_p50": 1.0, "undeclared_flop_90d": 1e25 / (k + 1)})
    rows[0] |= {"class": "above_declared", "declared_id": "d0", "declared_it_mw": 3.0, "p_match": 0.9}
    unseen = {"entry_id": "Ed", "rank": n + 1, "class": "not_seen", "declared_id": "d1", "p_detect": 1.0}
    rows.append({**words, **unseen, "undeclared_flop_90d": 0.0})
    cell = {"imaged": 1.0, "clear_looks": 1, "screened": True, "failed": False, "reason": HOSTILE}
    looked = [{**cell, "cell": HOSTILE, "geometry": box(LON - 0.005, LAT - 0.0027, LON + 0.005, LAT + 0.0027)}]
    looked.append(
        {
            **cell,
            "cell": "t1",
            "failed": True,
            "geometry": box(LON + 0.005, LAT - 0.0027, LON + 0.01, LAT + 0.0027),
        }
    )
    rgb = np.random.default_rng(0).integers(60, 160, (3, 300, 400)).astype(np.uint8)
    valid = np.ones((300, 400), bool)
    outline = {"object_id": "o", "class": "data_center", "score": 0.9, "epistemic": 0.1, "area_m2": 1.0}
    outline |= {"on_border": False, "tile": "t", "scenes": "s", "geometry": sites.geometry[0]}
    outlines = conform([outline], "footprints")
    return ReportData(
        title=HOSTILE,
        area_name="Area",
        created="2026-11-23T12:00:00Z",
        simulated=True,
        sites=sites,
        footprints=outlines,
        declared=declared,
        ledger=conform(rows, "ledger"),
        looked_at=conform(looked, "looked_at"),
        thermal=empty("thermal"),
        thermal_looks=empty("thermal_looks"),
        not_looked_at=declared.iloc[:0],
        basemap=to_web_mercator(rgb, valid, GRID),
        chips={"S0": chip(rgb, valid, GRID, outlines, sites.geometry[0], declared=declared)},
        facts={HOSTILE: HOSTILE},
        limits=[HOSTILE],
        attribution=[HOSTILE],
    )


def with_probe(page: str, script: str) -> str:
    """The page with one more script, allowed by its hash, that leaves its answer on the root element."""
    script = f"document.documentElement.dataset.answer = JSON.stringify((function () {{ {script} }})());"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    return page.replace("</body>", f"<script>{script}</script></body>")


def ask(tmp_path: Path, page: str, script: str, *options: str) -> Any:
    file = tmp_path / "report.html"
    file.write_text(with_probe(page, script), encoding="utf-8")
    dom, console = browse(file, "--dump-dom", *options)
    assert not console
    found = re.search(r'<html[^>]* data-answer="([^"]*)"', dom)
    assert found, dom[:300]
    return json.loads(htmllib.unescape(found[1]))


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(report())


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


def test_filters_by_class_and_text(tmp_path: Path, page: str) -> None:
    script = """
      function shown() {
        return Array.from(document.querySelectorAll("#ledger tbody tr"))
          .filter(function (r) { return r.offsetHeight > 0; })
          .map(function (r) { return r.dataset.class; }); }
      var button = document.querySelector('.filters button[data-class="undeclared"]'), out = [shown()];
      button.click(); out.push(shown(), button.getAttribute("aria-pressed"));
      out.push(document.getElementById("shown").textContent);
      button.click();
      var search = document.getElementById("search");
      search.value = "s2"; search.dispatchEvent(new Event("input"));
      out.push(shown()); return out;"""
    everything = ["above_declared", "undeclared", "undeclared", "not_seen"]
    assert ask(tmp_path, page, script) == [
        everything,
        ["above_declared", "not_seen"],
        "false",
        "2 of 4 shown",
        ["undeclared"],
    ]


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


@pytest.mark.parametrize("width", [1400, 520])
def test_nothing_is_wider_than_the_window(tmp_path: Path, page: str, width: int) -> None:
    script = "return [document.documentElement.scrollWidth, innerWidth];"
    wide, inner = ask(tmp_path, page, script, f"--window-size={width},900")
    assert inner == width
    assert wide <= inner


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
    data = report()
    names = ("sites", "footprints", "declared", "ledger", "looked_at")
    bare = replace(data, basemap=None, chips={}, **{name: empty(name) for name in names})
    assert ask(tmp_path, render_report(bare), "return document.documentElement.dataset.map;") == "drawn"


@pytest.mark.slow
def test_five_hundred_sites_stay_usable(tmp_path: Path) -> None:
    script = """
      var start = performance.now(), head = document.querySelectorAll("#ledger th button")[4];
      head.click(); document.body.offsetHeight;
      return [performance.now() - start, document.querySelectorAll(".pin").length];"""
    took_ms, pins = ask(tmp_path, render_report(report(500)), script)
    assert pins == 501
    assert took_ms < 5000
