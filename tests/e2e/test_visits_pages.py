"""Pages of visits in a real browser: one sheet of A4 per visit whatever the texts, readable on small screens."""

import base64
import hashlib
import html as htmllib
import json
import re

import pytest

from overwatt.pipeline.report.visits import render_visits
from tests.browser import BROWSER, MISSING, browse
from tests.unit.pipeline.report.test_visits import FINDINGS, cell, content, place

pytestmark = pytest.mark.skipif(BROWSER is None, reason=MISSING)

MEANINGS = FINDINGS | {
    "non_ai_dc": "a data center without AI compute", "not_dc": "no data center", "cannot_determine": "seen, still open",
}  # fmt: skip
LONG = {
    "words": " ".join(f"Sentence {k} says something of the place and its equipment." for k in range(60)),
    "unbroken": "W" * 3000,
    "rtl": "مركز بيانات " * 300,
    "cjk": "データセンター。" * 300,
    "short sentences": "A. " * 500,
    "capitals": "MEGAWATT MMMMMMMMMMMMMMMMMM. " * 200,
}


def sheet(text, k=1):
    names = ("name", "declared_operator", "declared_status", "evidence_for", "evidence_against", "settles",
             "image_date", "site_id")  # fmt: skip
    return place(k, **dict.fromkeys(names, text), declared_id="d", declared_it_mw=1e9, on_border=True)


@pytest.fixture(scope="module")
def page():
    rows = [sheet(text, k) for k, text in enumerate(LONG.values(), 1)]
    rows += [place(9), cell(), place(10) | {"geometry": None, "lon": None, "lat": None}]
    more = {"title": LONG["unbroken"], "attribution": [LONG["words"]], "simulated": True,
            "imagery": "No picture: the imagery of the run could not be read."}  # fmt: skip
    return render_visits(content(rows, findings=MEANINGS, **more))


def ask(tmp_path, page, script, *options):
    """The answer of a script that is added to the page and allowed by its hash."""
    script = f"document.documentElement.dataset.answer = JSON.stringify((function () {{ {script} }})());"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("style-src ", f"script-src &#39;sha256-{digest}&#39;; style-src ", 1)
    file = tmp_path / "visits.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    dom, console = browse(file, "--dump-dom", *options)
    assert not console
    found = re.search(r'<html[^>]* data-answer="([^"]*)"', dom)
    assert found, dom[:300]
    return json.loads(htmllib.unescape(found[1]))


def test_the_print_has_one_sheet_per_visit(tmp_path, page):
    file, pdf = tmp_path / "visits.html", tmp_path / "visits.pdf"
    file.write_text(page, encoding="utf-8")
    _, console = browse(file, f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    assert not console
    content = pdf.read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", content)) == page.count('<article class="sheet"') == 9
    # A4 in points, as Chromium rounds it
    assert set(re.findall(rb"/MediaBox \[0 0 (\d+)[.\d]* (\d+)", content)) == {(b"594", b"841")}


def test_no_text_is_cut_by_the_edge_of_its_box(tmp_path, page):
    script = """
      return Array.from(document.querySelectorAll(".sheet, .evidence, .facts, .head, .form")).filter(function (e) {
        return e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1;
      }).map(function (e) { return [e.className, e.closest(".sheet").id, e.scrollHeight, e.clientHeight,
        e.scrollWidth, e.clientWidth]; });"""
    assert ask(tmp_path, page, script, "--window-size=1440,1000") == []


def test_what_is_left_out_is_counted(page):
    assert re.search(r"… and \d+ more: see the report", page)


@pytest.mark.parametrize(("window", "width"), [(520, 390), (520, 520), (830, 830), (1440, 1440)])
def test_nothing_is_wider_than_the_page(tmp_path, page, window, width):
    # Chromium opens no window below 500 pixels: the page itself is made as narrow as a telephone
    script = f"""
      document.body.style.width = "{width}px";
      return Math.max.apply(null, Array.from(document.querySelectorAll("body *")).filter(function (e) {{
        return !e.closest("svg"); }}).map(function (e) {{ return e.getBoundingClientRect().right; }}));"""
    assert ask(tmp_path, page, script, f"--window-size={window},900") <= width
