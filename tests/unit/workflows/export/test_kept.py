"""What somebody filled in is never lost by writing the list again."""

import json
import sqlite3
from pathlib import Path

import openpyxl
import pytest
import shapely

from overwatt.pipeline import tables
from overwatt.workflows.export import inspection_list


@pytest.fixture
def folder(tmp_path):
    row = {"entry_id": "E-1", "rank": 1, "class": "undeclared", "site_id": "s1", "undeclared_flop_90d": 1e25,
           "evidence_for": "a", "evidence_against": "b", "settles": "c",
           "geometry": shapely.box(9, 50, 9.1, 50.1)}  # fmt: skip
    tables.conform([row], "ledger").to_parquet(tmp_path / "ledger.parquet")
    return tmp_path


def fill_in(file):
    book = openpyxl.load_workbook(file)
    names = [c.value for c in book["form"][1]]
    book["form"].cell(2, names.index("finding") + 1).value = "not_dc"
    book.save(file)


def names_in(folder):
    return sorted(p.name for p in (folder / "export").iterdir())


def test_unchanged_files_are_replaced_with_the_same_bytes(folder):
    first = inspection_list.run(folder)
    before = {p.name: p.read_bytes() for p in (folder / "export").iterdir()}
    assert inspection_list.run(folder)["kept"] == first["kept"] == []
    assert {p.name: p.read_bytes() for p in (folder / "export").iterdir()} == before
    assert inspection_list.run(folder, top=1)["kept"] == []


def test_a_filled_in_list_is_kept_under_a_name_of_its_own(folder):
    for n in (1, 2):
        file = Path(inspection_list.run(folder)["files"]["xlsx"])
        fill_in(file)
        filled = file.read_bytes()
        (kept,) = inspection_list.run(folder)["kept"]
        assert Path(kept).name == f"inspection_list.kept-{n}.xlsx"
        assert Path(kept).read_bytes() == filled
        assert file.read_bytes() != filled
    assert inspection_list.run(folder)["kept"] == []


def test_the_command_says_what_it_kept(folder, overwatt):
    fill_in(inspection_list.run(folder)["files"]["xlsx"])
    done = overwatt("export", folder)
    assert done.returncode == 0, done.stderr
    assert "inspection_list.kept-1.xlsx" in done.stdout
    assert "overwatt record" in done.stdout


@pytest.mark.parametrize("text", [None, "[]", "?", "[" * 100_000, '{"inspection_list.csv": 3}'])
def test_without_a_note_of_what_was_written_only_what_differs_is_kept(folder, text):
    fill_in(inspection_list.run(folder)["files"]["xlsx"])
    note = folder / "export" / "written.json"
    note.unlink() if text is None else note.write_text(text)
    result = inspection_list.run(folder)
    assert [Path(p).name for p in result["kept"]] == ["inspection_list.kept-1.xlsx"]
    assert len(names_in(folder)) == 8
    assert json.loads(note.read_text()).keys() == {Path(p).name for p in result["files"].values()}


def test_what_an_open_geopackage_holds_beside_it_is_kept_with_it(folder):
    file = inspection_list.run(folder)["files"]["gpkg"]
    base = sqlite3.connect(file)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("CREATE TABLE findings (a)")
    base.execute("INSERT INTO findings VALUES (3)")
    base.commit()
    (kept,) = inspection_list.run(folder)["kept"]
    with sqlite3.connect(kept) as other:
        assert other.execute("SELECT a FROM findings").fetchall() == [(3,)]
    other.close()
    base.close()
