"""What cannot be recorded is named by file, row and value, and then nothing is written."""

import json
import os
import sys

import geopandas as gpd
import openpyxl
import pandas as pd
import pytest
import shapely
from filelock import FileLock

from overwatt.aoi.errors import ConfigError, OverwattError, RegistryError
from overwatt.workflows.assess import record
from overwatt.workflows.cli import main as cli
from overwatt.workflows.io.dispositions import RECORDED, read_dispositions
from tests.integration.returned_lists import DRAWN, FILLED, WHEN, make_run, outline, returned
from tests.support import names, naming

GOOD = {"finding": "ai", "inspector": "Jane Doe", "time": WHEN}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("source") / "run")


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    """A run with one finding, which no refused list may change."""
    folder, file = returned(source, tmp_path_factory.mktemp("kept"), "csv", {"E-S1": GOOD})
    record.run(folder, [file])
    return folder


def csv_of(tmp_path, **cells):
    """A list of one good row and one with a fault, in row 3."""
    rows = [{"entry_id": "E-S1", **GOOD, "note": "new"}, {"entry_id": "E-S2", **GOOD, **cells}]
    file = tmp_path / "list.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"entry_id": "E-S9"}, ("'E-S9'", "another run")),
        ({"entry_id": "cell r9c9"}, ("'cell r9c9'",)),
        ({"entry_id": None}, ("without entry_id",)),
        ({"finding": "demolished"}, ("E-S2", "'demolished'", "not_dc", "refused")),
        ({"finding": None, "chips": 5}, ("E-S2", "'chips'", "finding is empty")),
        ({"note": "x" * 32_768}, ("E-S2", "note", "32,768", "32,767")),
        ({"inspector": "x" * 32_768}, ("E-S2", "inspector", "32,767")),
        ({"inspector": None}, ("E-S2", "no inspector", "--inspector")),
        ({"time": None}, ("E-S2", "no time", "--time")),
        ({"time": "2999-01-01"}, ("E-S2", "2999", "future")),
        ({"time": "1950-01-01"}, ("E-S2", "1950", "imagery")),
        ({"time": "last week"}, ("E-S2", "'last week'", "ISO 8601")),
        ({"time": "03/04/2025"}, ("E-S2", "'03/04/2025'", "the day or the month", "ISO 8601")),
        ({"time": "2025-12-25 10:30 CET"}, ("E-S2", "10:30 CET'", "ISO 8601")),
        ({"time": "25.12.2024 22:30 PM"}, ("E-S2", "22:30 PM'", "ISO 8601")),
        ({"measured_mw": 1e9}, ("E-S2", "1e+09", "100,000", "kW")),
        ({"measured_mw": -2}, ("E-S2", "measured_mw", -2, "negative")),
        ({"measured_mw": "about 12"}, ("E-S2", "'measured_mw'", "'about 12'", "give one value")),
        ({"measured_mw": "1,234"}, ("E-S2", "'1,234'", "decimal point")),
        ({"measured_mw": "1.234"}, ("E-S2", "'1.234'", "decimal point")),
        ({"chips": "25.000"}, ("E-S2", "'25.000'", "thousands separator")),
        ({"lon": "-77.4567891", "chips": "25.000"}, ("E-S2", "'25.000'", "thousands")),
        ({"chips": 1.5}, ("E-S2", "chips", 1.5, "whole number")),
        ({"chips": -1}, ("E-S2", "chips", -1, "negative")),
        ({"chips": 10**12}, ("E-S2", "chips", "1e+12", "100,000,000")),
        ({"entry_id": "E-S1", "finding": "not_dc"}, ("E-S1", "otherwise", "row 2")),
    ],
)
def test_a_fault_in_one_row_records_none(run, tmp_path, cells, words):
    before = (run / RECORDED).read_bytes()
    with pytest.raises(RegistryError, match=naming("list.csv, row 3", "nothing was recorded", *words)) as caught:
        record.run(run, [csv_of(tmp_path, **cells)])
    assert "\n" not in str(caught.value)
    assert (run / RECORDED).read_bytes() == before


def test_of_several_faults_the_first_is_named_and_the_others_counted(run, tmp_path):
    file = tmp_path / "list.csv"
    pd.DataFrame([{"entry_id": f"X{k}", **GOOD} for k in range(3)]).to_csv(file, index=False)
    with pytest.raises(RegistryError, match=naming("'X0'", 2, "more rows")):
        record.run(run, [file])


def test_a_fault_in_one_file_records_none_of_the_others(run, tmp_path):
    good = csv_of(tmp_path)
    bad = tmp_path / "bad.csv"
    bad.write_text(good.read_text().replace("E-S2", "E-S9"))
    before = (run / RECORDED).read_bytes()
    with pytest.raises(RegistryError, match=naming("bad.csv", "'E-S9'")):
        record.run(run, [good, bad])
    assert (run / RECORDED).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.csv", b"a,b\n1,2\n", ("'entry_id'", "overwatt export")),
        ("list.csv", b"", ("list.csv",)),
        ("list.csv", b'entry_id,finding,note\nE-S1,,\nE-S2,ai,"x\n', ("row 2", "quote", "mend")),
        ("list.xlsx", b"not a workbook", ("list.xlsx", "XLSX")),
        ("list.xls", b"\xd0\xcf\x11\xe0", ("list.xls", "XLSX", "CSV")),
        ("list.geojson", b'{"type": "FeatureCollection", "features": [{"ty', ("list.geojson", "truncated")),
        ("list.kml", b"<kml><Placemark>", ("list.kml", "truncated")),
        ("list.kmz", b"PK\3\4", ("list.kmz", "unzip")),
        ("list.pdf", b"%PDF-1.4", ("list.pdf", "GeoPackage")),
    ],
)
def test_files_that_are_no_lists_are_named(run, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OverwattError, match=naming(*words)):
        record.run(run, [tmp_path / name])


def test_a_workbook_without_a_form_is_named(run, tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["entry_id", "class"])
    book.save(tmp_path / "other.xlsx")
    with pytest.raises(RegistryError, match=naming("other.xlsx", "entry_id", "finding")):
        record.run(run, [tmp_path / "other.xlsx"])


def test_missing_files_and_folders_are_named(run, tmp_path):
    with pytest.raises(RegistryError, match=naming("nowhere.csv", "no such file")):
        record.run(run, [tmp_path / "nowhere.csv"])
    with pytest.raises(ConfigError, match=naming("ledger.parquet", "no such file")):
        record.run(tmp_path, [csv_of(tmp_path)])
    assert not (tmp_path / ".lock").exists()


def test_options_fill_in_what_rows_leave_blank(source, tmp_path):
    filled = {"E-S1": {"finding": "ai"}, "E-S2": {"finding": "not_dc", "inspector": "Jane Doe", "time": WHEN}}
    folder, file = returned(source, tmp_path, "csv", filled)
    record.run(folder, [file], inspector="Max Roe", time="2025-06-01T08:00+02:00")
    table = gpd.read_parquet(folder / RECORDED).set_index("entry_id")
    assert table["inspector"].to_dict() == {"E-S1": "Max Roe", "E-S2": "Jane Doe"}
    assert table["time"].to_dict() == {"E-S1": "2025-06-01T06:00:00Z", "E-S2": WHEN}
    with pytest.raises(RegistryError, match=naming("--time", "'tomorrow'")):
        record.run(folder, [file], time="tomorrow")


def test_earlier_rows_stay_as_they_are(source, tmp_path):
    folder, file = returned(source, tmp_path, "gpkg", {"E-D1": FILLED["E-D1"]}, {"E-D1": outline(*DRAWN)})
    record.run(folder, [file])
    first = gpd.read_parquet(folder / RECORDED)
    record.run(folder, [returned(source, tmp_path / "later", "kml", {"E-S1": FILLED["E-S1"]})[1]])
    both = gpd.read_parquet(folder / RECORDED)
    assert len(both) == 2
    pd.testing.assert_frame_equal(both.iloc[:1], first)
    assert len(read_dispositions(folder / RECORDED)) == 2


def test_an_outline_without_a_finding_is_noted(source, tmp_path):
    folder, file = returned(source, tmp_path, "geojson", {"E-S1": GOOD}, {"E-D1": outline(*DRAWN)})
    result = record.run(folder, [file])
    assert (result["recorded"], result["blank"]) == (1, 4)
    assert names(result["notes"][0], 1, "outlines")


def test_an_outline_that_is_none_is_refused(source, tmp_path):
    far = shapely.box(200, 0, 201, 1)
    folder, file = returned(source, tmp_path, "geojson", {"E-D1": GOOD}, {"E-D1": far})
    with pytest.raises(RegistryError, match=naming("inspection_list.geojson", "degrees")):
        record.run(folder, [file])
    assert not (folder / RECORDED).exists()


def test_a_killed_write_leaves_the_old_table(run, tmp_path, monkeypatch):
    before = (run / RECORDED).read_bytes()

    def killed(part, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            record.run(run, [csv_of(tmp_path)])
    assert (run / RECORDED).read_bytes() == before
    assert not list(run.glob("*.part*"))


def test_two_writers_do_not_overwrite_each_other(run, tmp_path):
    with FileLock(run / ".lock"), pytest.raises(ConfigError, match=naming("wait")):
        record.run(run, [csv_of(tmp_path)])


def test_a_table_of_another_kind_is_not_appended_to(source, tmp_path):
    folder, file = returned(source, tmp_path, "csv")
    pd.DataFrame([{"disposition_id": "d1", "site_id": "S1", "finding": "ai", "time": "2025-01-01"}]).to_parquet(
        folder / RECORDED
    )
    before = (folder / RECORDED).read_bytes()
    with pytest.raises(RegistryError, match=naming(RECORDED, "'entry_id'", "dispositions.gpkg")):
        record.run(folder, [file])
    assert (folder / RECORDED).read_bytes() == before


def test_one_id_in_two_tables_is_named(source, tmp_path):
    folder, file = returned(source, tmp_path, "csv")
    record.run(folder, [file])
    gpd.read_parquet(folder / RECORDED).drop(columns="geometry").to_csv(folder / "dispositions.csv", index=False)
    with pytest.raises(RegistryError, match=naming("dispositions.parquet", "dispositions.csv")):
        record.run(folder, [file])


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["overwatt", *map(str, arguments)])
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    return status, capsys.readouterr()


def test_the_command_prints_one_object_and_one_line_per_error(source, tmp_path, monkeypatch, capsys):
    folder, file = returned(source, tmp_path, "xlsx")
    status, printed = command(monkeypatch, capsys, "record", folder, file, "--json")
    result = json.loads(printed.out.splitlines()[-1])
    assert status == 0
    assert (result["file"], result["recorded"], result["blank"]) == (str(folder / RECORDED), 4, 1)
    drawn = returned(source, tmp_path / "drawn", "kml", {"E-D1": GOOD}, {"E-D1": outline(*DRAWN)})[1]
    status, printed = command(monkeypatch, capsys, "record", folder, drawn)
    assert "1 outlines kept: E-D1" in printed.out.splitlines()
    status, printed = command(monkeypatch, capsys, "record", folder, csv_of(tmp_path, finding="?"))
    assert (status, printed.err.count("\n")) == (2, 1)
