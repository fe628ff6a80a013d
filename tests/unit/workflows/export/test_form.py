"""The sheet to fill in: what finds the place, then what is to be filled in, and a print of a page or two."""

import math

import openpyxl
import pandas as pd
import pytest
import shapely

from overwatt.pipeline import tables
from overwatt.workflows.export import inspection_list
from overwatt.workflows.export.fields import FIELDS, FINDING_WORDS, FORM
from overwatt.workflows.io.dispositions import FINDINGS
from overwatt.workflows.io.filled_lists import TO_FILL

POINTS_PER_CHARACTER = 5.25  # 7 pixels at 96 per inch, of Calibri 11
A4_LANDSCAPE = (842.0, 595.0)  # points


@pytest.fixture
def book(tmp_path):
    row = {"class": "undeclared", "undeclared_flop_90d": 1e25, "evidence_for": "a", "evidence_against": "b",
           "settles": "c", "geometry": shapely.box(9, 50, 9.1, 50.1)}  # fmt: skip
    ledger = [{**row, "entry_id": f"E-{k}", "rank": k, "site_id": f"s{k}"} for k in range(1, 11)]
    tables.conform(ledger, "ledger").to_parquet(tmp_path / "ledger.parquet")
    (tmp_path / "inspection").mkdir()
    plan = pd.DataFrame({"place": ["E-3", "E-7"], "stratum": "undeclared", "probability": 0.5, "visit": [False, True]})
    plan.to_csv(tmp_path / "inspection" / "plan.csv", index=False)
    return openpyxl.load_workbook(inspection_list.run(tmp_path)["files"]["xlsx"])


def pages(sheet):
    """Number of pages that a sheet prints on, from its own print settings."""
    area = sheet[sheet.print_area.split("!")[-1].replace("$", "")]
    columns = range(1, len(area[0]) + 1)
    width = sum(sheet.column_dimensions[openpyxl.utils.get_column_letter(k)].width for k in columns)
    setup, margins = sheet.page_setup, sheet.page_margins
    assert sheet.sheet_properties.pageSetUpPr.fitToPage
    assert (setup.orientation, setup.fitToWidth, setup.fitToHeight) == ("landscape", 1, 0)
    across = A4_LANDSCAPE[0] - 72 * (margins.left + margins.right)
    down = A4_LANDSCAPE[1] - 72 * (margins.top + margins.bottom)
    scale = min(1.0, across / (width * POINTS_PER_CHARACTER))
    height = sheet.sheet_format.defaultRowHeight or 15.0
    return math.ceil(len(area) * height * scale / down), scale


def test_what_is_to_be_filled_in_follows_what_finds_the_place(book):
    sheet = book["form"]
    assert [c.value for c in sheet[1]] == ["entry_id", "rank", "drawn", "class", "name", "lon", "lat", *TO_FILL]
    assert tuple(c.value for c in sheet[1]) == FORM
    assert not set(TO_FILL) & {c.value for c in book["list"][1]}, "one place to fill in"
    assert book.active is sheet


def test_visits_stand_first_in_the_form(book):
    entries = [row[0].value for row in book["form"].iter_rows(min_row=2)]
    assert entries == ["E-7", *(f"E-{k}" for k in range(1, 11) if k != 7)]
    assert [row[0].value for row in book["list"].iter_rows(min_row=2)] == [f"E-{k}" for k in range(1, 11)]


def test_cells_to_fill_in_are_marked_and_the_head_stays(book):
    sheet = book["form"]
    head = [c.value for c in sheet[1]]
    colours = {name: cell.fill.start_color.rgb for name, cell in zip(head, sheet[2], strict=True)}
    assert len({colours[name] for name in TO_FILL}) == 1
    assert colours["finding"] not in {colours["name"], colours["lon"]}
    assert sheet.freeze_panes == "F2"
    assert sheet.auto_filter.ref == "A1:M11"
    assert sheet[2][head.index("time")].number_format.startswith("yyyy-mm-dd")


@pytest.mark.parametrize(("name", "least_scale"), [("form", 0.6), ("list", 0.6)])
def test_ten_entries_print_on_one_page(book, name, least_scale):
    sheet = book[name]
    assert sheet.print_title_rows == "$1:$1"
    count, scale = pages(sheet)
    assert count == 1
    assert scale >= least_scale, "still to be read"


def test_each_finding_has_a_meaning_in_the_order_of_the_form():
    assert list(FINDING_WORDS) == list(FINDINGS)


def test_fields_are_unique_and_explained():
    names = [f.name for f in FIELDS]
    assert len(names) == len(set(names))
    assert all(f.meaning for f in FIELDS)
    held = {f.column for f in FIELDS if f.source == "ledger"}
    assert held == {c.name for c in tables.SCHEMAS["ledger"]}
