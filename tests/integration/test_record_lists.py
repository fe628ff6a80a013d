"""Lists that are not as exported: of another run or state, in several files, with shapes of other types, untrusted."""

import json
import re
import shutil
import sqlite3
import zipfile

import geopandas as gpd
import openpyxl
import pandas as pd
import pytest
import shapely
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline import tables
from overwatt.workflows.assess import record
from overwatt.workflows.io import filled_workbooks
from overwatt.workflows.io.dispositions import RECORDED, read_dispositions
from tests.integration.returned_lists import DRAWN, WHEN, make_run, outline, returned
from tests.support import names, naming

BY = {"inspector": "Jane Doe", "time": WHEN}
GOOD = {"finding": "ai", **BY}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("source") / "run")


@pytest.fixture
def run(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


def csv_of(folder, *rows, name="list.csv"):
    file = folder / name
    pd.DataFrame(rows).to_csv(file, index=False)
    return file


def sheet_of(file, *rows, change=lambda sheet: None, **options):
    book = openpyxl.Workbook()
    for name, value in options.items():
        setattr(book, name, value)
    sheet = book.active
    sheet.title = "form"
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append(list(row.values()))
    change(sheet)
    book.save(file)
    return file


def rewritten(file, part, change):
    """Rewrite a part of a workbook."""
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file


def moved(run, entry, table="ledger", by=0.0001):
    """Move a place of a run, as a re-run with other settings would."""
    frame = gpd.read_parquet(run / f"{table}.parquet")
    key, value = ("cell", entry.removeprefix("cell ")) if table == "looked_at" else ("entry_id", entry)
    at = frame[key] == value
    frame.loc[at, "geometry"] = frame.geometry[at].translate(by, 0).to_numpy()
    frame.to_parquet(run / f"{table}.parquet")


@pytest.mark.parametrize("by", [1.0, 0.02])
def test_a_list_of_another_run_is_refused(source, tmp_path, by):
    run, file = returned(source, tmp_path, "csv", {"E-S1": GOOD})
    moved(run, "E-S1", by=by)
    with pytest.raises(RegistryError, match=naming("inspection_list.csv", "E-S1", "km", "another run")):
        record.run(run, [file])


def test_a_cell_of_another_run_is_refused_though_its_name_is_known(source, tmp_path):
    run, file = returned(source, tmp_path, "geojson", {"cell r1c0": GOOD})
    moved(run, "cell r1c0", "looked_at", 0.001)
    with pytest.raises(RegistryError, match=naming("cell r1c0", "m from this place", "another run")):
        record.run(run, [file])


@pytest.mark.parametrize("how", ["gpkg", "kml", "geojson"])
def test_the_machines_outline_of_an_earlier_state_is_not_the_inspectors(source, tmp_path, how):
    run, file = returned(source, tmp_path, how, {"E-S1": GOOD})
    moved(run, "E-S1")
    result = record.run(run, [file])
    assert (result["recorded"], result["outlines"]) == (1, [])
    assert names(" ".join(result["notes"]), "earlier state", "E-S1")
    assert gpd.read_parquet(run / RECORDED).geometry.isna().all()


def test_entries_that_are_almost_listed_are_known(run, tmp_path):
    ledger = gpd.read_parquet(run / "ledger.parquet")
    gone = ledger["entry_id"] == "E-S1"
    tables.conform(ledger[gone].assign(left_out="unsure").to_dict("records"), "almost_listed").to_parquet(
        run / "almost_listed.parquet"
    )
    ledger[~gone].to_parquet(run / "ledger.parquet")
    record.run(run, [csv_of(tmp_path, {"entry_id": "E-S1", **GOOD})])
    assert gpd.read_parquet(run / RECORDED)["site_id"].tolist() == ["S1"]


def test_a_correction_back_to_an_earlier_finding_is_kept(run, tmp_path):
    files = {k: csv_of(tmp_path, {"entry_id": "E-S1", **BY, "finding": k}, name=f"{k}.csv") for k in ("ai", "not_dc")}
    order = ("not_dc", "not_dc", "ai", "ai", "not_dc", "ai", "ai")
    assert [record.run(run, [files[k]])["recorded"] for k in order] == [1, 0, 1, 0, 1, 1, 0]
    assert gpd.read_parquet(run / RECORDED)["finding"].tolist() == ["not_dc", "ai", "not_dc", "ai"]
    assert read_dispositions(run / RECORDED)["disposition_id"].is_unique


def test_files_of_one_command_that_contradict_each_other_are_refused(run, tmp_path):
    one = csv_of(tmp_path, {"entry_id": "E-S1", **GOOD})
    other = csv_of(tmp_path, {"entry_id": "E-S1", **BY, "finding": "not_dc"}, name="other.csv")
    with pytest.raises(RegistryError, match=naming("other.csv, row 2", "otherwise", "list.csv, row 2")):
        record.run(run, [one, other])
    assert not (run / RECORDED).exists()


@pytest.mark.parametrize("reverse", [False, True])
def test_an_outline_in_one_file_belongs_to_the_finding_in_another(source, tmp_path, reverse):
    run, drawn = returned(source, tmp_path, "geojson", {}, {"E-D1": outline(*DRAWN)})
    files = [drawn, csv_of(tmp_path, {"entry_id": "E-D1", **GOOD})]
    result = record.run(run, files[::-1] if reverse else files)
    assert (result["recorded"], result["outlines"], result["notes"]) == (1, ["E-D1"], [])
    assert record.run(run, files)["already_there"] == 1


def features_of(folder, *features):
    file = folder / "drawn.geojson"
    rows = [
        {"type": "Feature", "properties": {"finding": None, **p}, "geometry": json.loads(shapely.to_geojson(g))}
        for p, g in features
    ]
    file.write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    return file


def test_polygons_are_taken_out_of_collections(run, tmp_path):
    area = outline(*DRAWN)
    shape = shapely.GeometryCollection([area, area.centroid])
    result = record.run(run, [features_of(tmp_path, ({"entry_id": "E-D1", **GOOD}, shape))])
    assert result["outlines"] == ["E-D1"]
    assert gpd.read_parquet(run / RECORDED).geometry.iloc[0].area == pytest.approx(area.area)


def test_shapes_that_are_no_outlines_of_entries_are_counted(run, tmp_path):
    area = outline(*DRAWN)
    file = features_of(
        tmp_path, ({"entry_id": "E-S1", **GOOD}, area.exterior), ({"entry_id": "E-D1"}, shapely.Point(1, 2)),
        ({"entry_id": None}, area), ({"entry_id": "E-S1"}, area.exterior),
    )  # fmt: skip
    result = record.run(run, [file])
    assert (result["recorded"], result["outlines"]) == (1, [])
    assert names(" ".join(result["notes"]), "2 shapes of type LineString", "1 moved points", "1 polygons without")


def test_what_contradicts_itself_is_recorded_with_a_note(run, tmp_path):
    result = record.run(run, [csv_of(tmp_path, {"entry_id": "E-S1", **BY, "finding": "not_dc", "chips": 5})])
    assert result["recorded"] == 1
    assert names(result["notes"][0], "not_dc", "chips", "E-S1")


def test_a_name_and_a_time_filled_down_judge_nothing(run, tmp_path):
    result = record.run(run, [csv_of(tmp_path, {"entry_id": "E-S1", **GOOD}, {"entry_id": "E-S2", **BY})])
    assert (result["recorded"], result["blank"]) == (1, 1)


def test_one_note_in_two_formats_counts_once(run, tmp_path):
    row = {"entry_id": "E-S1", **GOOD, "note": "'=closed"}
    files = [csv_of(tmp_path, row), features_of(tmp_path, (row, outline(20, 20, 24)))]
    assert [record.run(run, [f])["recorded"] for f in files] == [1, 0]


def test_rows_beyond_the_stated_size_of_a_sheet_are_read(run, tmp_path):
    file = sheet_of(tmp_path / "list.xlsx", {"entry_id": "E-S1", **GOOD}, {"entry_id": "E-S2", **GOOD})
    rewritten(file, "xl/worksheets/sheet1.xml", lambda x: x.replace(b'ref="A1:D3"', b'ref="A1:D2"'))
    assert record.run(run, [file])["recorded"] == 2


def broken(file, kind):
    def last_cell(sheet):
        sheet["B1048576"] = "ai"

    def formula(sheet):
        sheet["B2"] = '=IF(1,"ai","")'

    def merged(sheet):
        sheet.merge_cells("B2:B3")

    def twice(sheet):
        sheet["E1"] = "Finding"

    changes = {"last cell": last_cell, "formula": formula, "merged": merged, "twice": twice}
    sheet_of(file, *({"entry_id": k, **GOOD} for k in ("E-S1", "E-S2")), change=changes.get(kind, lambda sheet: None))
    if kind == "strings":
        rewritten(file, "xl/styles.xml", lambda x: x + b" " * (filled_workbooks.MAX_PART_BYTES + 1))
    if kind == "damaged":
        content = bytearray(file.read_bytes())
        start = content.index(b"xl/worksheets/sheet1.xml") + 40
        content[start : start + 40] = b"\xff" * 40
        file.write_bytes(content)
    if kind == "indexes":
        rewritten(file, "xl/worksheets/sheet1.xml", lambda x: re.sub(rb'"inlineStr"><is>.*?</is>', b'"s"><v>9</v>', x))
    if kind == "compression":
        content = file.read_bytes().replace(b"PK\1\2\x14\0\x14\0\0\0\x08\0", b"PK\1\2\x14\0\x14\0\0\0\x62\0")
        file.write_bytes(content.replace(b"PK\1\2\x14\3\x14\0\0\0\x08\0", b"PK\1\2\x14\3\x14\0\0\0\x62\0"))
    return file


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("last cell", ("sheet 'form'", "10,000 empty rows")),
        ("formula", ("sheet 'form'", "B2", "'finding'", "no stored result")),
        ("merged", ("sheet 'form'", "B2:B3", "'finding'", "unmerge")),
        ("twice", ("sheet 'form'", "two columns 'finding'")),
        ("strings", ("xl/styles.xml", "50 MB")),
        ("damaged", ("not a readable workbook",)),
        ("indexes", ("not a readable workbook",)),
        ("compression", ("not a readable workbook",)),
    ],
)
def test_a_workbook_that_would_be_misread_is_refused(run, tmp_path, kind, words):
    file = broken(tmp_path / "list.xlsx", kind)
    with pytest.raises(RegistryError, match=naming("list.xlsx", *words)) as caught:
        record.run(run, [file])
    assert "\n" not in str(caught.value)


def test_days_of_a_workbook_of_1904_are_its_own(run, tmp_path):
    row = {"entry_id": "E-S1", **GOOD, "time": 44_319}  # days since 1904-01-01 of 2025-05-04
    file = sheet_of(tmp_path / "list.xlsm", row, epoch=CALENDAR_MAC_1904)
    record.run(run, [file])
    assert gpd.read_parquet(run / RECORDED)["time"].tolist() == ["2025-05-04T00:00:00Z"]


def test_a_layer_that_is_a_query_is_refused(source, tmp_path):
    run, file = returned(source, tmp_path, "gpkg")
    base = sqlite3.connect(file)
    base.execute(
        "CREATE VIEW endless AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n FROM r) "
        "SELECT n AS entry_id, n AS finding FROM r"
    )
    base.execute("INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES ('endless', 'attributes', 'e')")
    base.commit()
    base.close()
    with pytest.raises(RegistryError, match=naming("inspection_list.gpkg", "'endless'", "view", "save it as a layer")):
        record.run(run, [file])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.kml", "<kml><Placemark/></kml>".encode("utf-16"), ("UTF-16", "UTF-8")),
        ("list.kml", b'<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark><name>x</name><Point>'
                     b"<coordinates>1,2</coordinates></Point></Placemark></Document></kml>",
         ("placemarks have no fields", "text editor")),
        ("folder.csv/x", b"", ("a folder",)),
    ],
)  # fmt: skip
def test_the_cause_is_named_where_there_are_no_fields(run, tmp_path, name, content, words):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with pytest.raises(RegistryError, match=naming(*words)):
        record.run(run, [file if file.parent == tmp_path else file.parent])


def test_outlines_alone_are_no_list(source, tmp_path):
    run, file = returned(source, tmp_path, "gpkg")
    areas = gpd.read_file(file, layer="ledger_areas")
    areas.to_file(tmp_path / "areas.gpkg", layer="ledger_areas")
    with pytest.raises(RegistryError, match=naming("areas.gpkg", "outlines alone", "ledger")):
        record.run(run, [tmp_path / "areas.gpkg"])
