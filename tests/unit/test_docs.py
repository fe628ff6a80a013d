"""The reference pages are generated; a change in the code must reach them."""

import re
import subprocess
import sys
from pathlib import Path

from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from overwatt.models.detector.sensors import PROFILES

ROOT = Path(__file__).resolve().parents[2]


def test_reference_pages_are_current():
    done = subprocess.run(
        [sys.executable, "docs/make_reference.py", "--check"],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_setting_is_described_on_its_page():
    """No row of the pages of settings lacks its meaning, also of a key that is added later."""
    for name in ("workflow", "training"):
        rows = re.findall(r"^\| `(.+?)` \|.*?\| ([^|]*) \|$", (ROOT / f"docs/reference/{name}.md").read_text(), re.M)
        assert len(rows) > 50
        assert not [key for key, meaning in rows if not meaning.strip()]


def test_the_page_on_runs_has_the_ranges_of_the_profiles():
    rows = [re.split(r"\s*\|\s*", line) for line in (ROOT / "docs/howto/run.md").read_text().splitlines()]
    found = {row[1].strip("`"): row[3:-1] for row in rows if len(row) == 7}
    card = load_card(DEFAULT_WEIGHTS)
    for name, kind in {"none": card, **{p.name: p for p in PROFILES}}.items():
        (least, most), (fine, coarse) = kind.gsd_range_m, kind.native_range_m
        averaged = f"{kind.gsd_m:g}" if least < fine else ""
        assert found[name] == [f"{least:g}-{most:g}", f"{fine:g}-{coarse:g}", averaged]


def test_the_page_on_methods_has_the_evidence_of_a_whole_site_of_the_card():
    e = load_card(DEFAULT_WEIGHTS).site_evidence
    assert e is not None
    words = f"`buildings^{e.per_building:g} (1 + cooling objects)^{e.per_equipment:g} / {e.ordinary:g}`"
    assert words in (ROOT / "docs/methods.md").read_text(encoding="utf-8")


def test_no_page_has_a_figure_that_was_never_filled_in():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert not [p.name for p in pages if re.search(r"@[A-Z]+@", p.read_text(encoding="utf-8"))]


def test_links_in_the_docs_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    broken = [
        f"{page.name}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if not target.startswith(("http://", "https://")) and not (page.parent / target).exists()
    ]
    assert not broken


ROOMS = ("aoi", "models", "pipeline", "workflows", "docs", "tests", "benchmarks")
SECTION = r"\d(?:\.\d)?"


def cited_files():
    """Text files of the repository's folders, this one aside: it names what it forbids."""
    files = (p for room in ROOMS for kind in ("py", "md", "csv") for p in sorted((ROOT / room).rglob(f"*.{kind}")))
    return [p for p in files if p.resolve() != Path(__file__).resolve()]


def test_no_citation_of_a_document_that_readers_do_not_have():
    private = re.compile(r"dossier|(?<!public )\bdomain[\s#]+(?:notes?|tables?|\d)|\bdomain\.md", re.IGNORECASE)
    found = [f"{p.relative_to(ROOT)}: {m[0]!r}" for p in cited_files() for m in private.finditer(p.read_text())]
    assert not found


def test_citations_of_the_methods_lead_to_a_section():
    headings = re.findall(rf"^##+ ({SECTION}) ", (ROOT / "docs" / "methods.md").read_text(), re.MULTILINE)
    assert len(headings) == len(set(headings))
    # A citation may go on in the next line of a docstring or comment
    cited = re.compile(
        rf"docs/methods\.md,?[\s#]+(?:sections?[\s#]+)?({SECTION})(?:(?:,| and)[\s#]+({SECTION}))?(?![\d.]*\d)"
    )
    named = re.compile(r"docs/methods\.md,?[\s#]+(?:section|\d)")
    counted, broken = 0, []
    for p in cited_files():
        text = p.read_text()
        hits = list(cited.finditer(text))
        counted += len(hits)
        broken += [f"{p.relative_to(ROOT)}: {m[0]!r}" for m in hits if {m[1], m[2]} - {None, *headings}]
        if len(hits) < len(named.findall(text)):
            broken.append(f"{p.relative_to(ROOT)}: a citation without a section number")
    assert not broken
    assert counted > 30


def test_modules_and_functions_that_pages_name_exist():
    """`pipeline.sites.clustering.cluster_sites` in a page leads to a function; the prefix overwatt may be left out."""
    import importlib

    wrong = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        named = re.findall(r"`(?:overwatt\.)?((?:aoi|models|pipeline|workflows)\.[\w.]*\w)", page.read_text())
        for name in sorted(set(named)):
            parts, found = f"overwatt.{name}".split("."), None
            for k in range(len(parts), 0, -1):
                try:
                    found = importlib.import_module(".".join(parts[:k]))
                    break
                except ModuleNotFoundError:
                    continue
            for attribute in parts[k:]:
                found = getattr(found, attribute, None)
            if found is None:
                wrong.append(f"{page.name}: {name}")
    assert not wrong
