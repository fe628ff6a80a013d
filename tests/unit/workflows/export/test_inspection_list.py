import csv
import json
import sqlite3
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import openpyxl
import pandas as pd
import pyogrio
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline import tables
from overwatt.workflows.export import fields as export_fields
from overwatt.workflows.export import gis, inspection_list, kml, spreadsheet, styles
from overwatt.workflows.export import table as export_table
from overwatt.workflows.io.dispositions import FINDINGS
from tests.support import names, naming

NASTY = '=HYPERLINK("http://x","<b>&]]>")'
SQUARE = shapely.Polygon([(9.0, 50.0), (9.0, 50.01), (9.01, 50.01), (9.01, 50.0)])  # clockwise


def ledger(n=4, **more):
    k = np.arange(n)
    rows = pd.DataFrame({
        "entry_id": [f"E-{i:04d}" for i in k], "rank": k + 1,
        "class": [tables.LEDGER_CLASSES[i % 8] for i in k], "site_id": [f"s{i}" if i % 2 == 0 else None for i in k],
        "declared_id": [f"d{i}" if i % 3 else None for i in k], "p_match": 0.25, "p_detect": 0.5, "distance_m": np.nan,
        "p_data_center": np.where(k % 2 == 0, 0.97, np.nan), "it_mw_p50": 40.123456789, "declared_it_mw": 20.0,
        "undeclared_flop_90d": 1.23456789e25, "evidence_for": NASTY, "evidence_against": "-2+3", "settles": "@x",
        "alternatives": '[{"id": "=1+1", "side": "site", "p": 0.2, "distance_m": 10, "why": "near"}]',
        "geometry": [SQUARE if i % 2 == 0 else shapely.Point(9.5 + i, 50.5) for i in k],
    })  # fmt: skip
    return tables.conform(rows.assign(**more), "ledger")


def sites(names):
    row = {
        c.name: {"float64": 2.0, "int64": 7 * 10**18 + 1, "Int64": 3, "bool": False}.get(c.dtype, "x")
        for c in tables.SCHEMAS["sites"]
    }
    rows = pd.DataFrame([row | {"site_id": s, "geometry": SQUARE} for s in names])
    return tables.conform(rows, "sites")


def declared(names, **more):
    rows = pd.DataFrame([{"declared_id": d, "position_error_m": 30.0, "kind": "facility", "source": "t", "name": NASTY,
                          "licence": "ODbL", "geometry": shapely.Point(9.5, 50.5)} for d in names])  # fmt: skip
    return tables.conform(rows.assign(**more), "declared")


@pytest.fixture
def folder(tmp_path):
    ledger(8).to_parquet(tmp_path / "ledger.parquet")
    sites(["s0", "s2", "s4", "s6"]).to_parquet(tmp_path / "sites.parquet")
    shapes = gpd.GeoSeries([SQUARE, *[shapely.Point(9.5, 50.5)] * 4], crs=WGS84)
    declared([f"d{i}" for i in (1, 2, 4, 5, 7)]).set_geometry(shapes).to_parquet(tmp_path / "declared.parquet")
    cells = [{"cell": f"c{i}", "imaged": 1.0, "clear_looks": 1, "screened": i > 0, "failed": i == 2, "reason": "",
              "geometry": SQUARE} for i in range(3)]  # fmt: skip
    tables.conform(cells, "looked_at").to_parquet(tmp_path / "looked_at.parquet")
    (tmp_path / "inspection").mkdir()
    (tmp_path / "inspection" / "plan.csv").write_text(
        "place,stratum,probability,visit\nE-0000,matched,0.25,True\nE-0001,undeclared,0.5,False\n"
    )
    (tmp_path / "dispositions.csv").write_text("disposition_id,site_id,finding,time\nx1,s0,ai,2026-03-04T05:06:07Z\n")
    return tmp_path


def loaded(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read(folder, top=None):
    inputs = export_table.read(folder)
    return export_table.listing(inputs, top), inputs


def test_every_format_holds_every_entry(folder):
    result = inspection_list.run(folder)
    files = result["files"]
    assert result["entries"] == result["of"] == 8
    assert result["counts"]["undeclared"] == 1
    assert result["left_out"] == ["almost_listed.parquet", "footprints.parquet", "thermal.parquet"]
    flat = pd.read_csv(files["csv"])
    sheet = pd.read_excel(files["xlsx"], sheet_name="list")
    to_fill = [f.name for f in export_fields.OUTCOME]
    pd.testing.assert_frame_equal(flat.drop(columns=to_fill), sheet, check_dtype=False)
    collection = loaded(files["geojson"])
    assert [f["id"] for f in collection["features"]] == flat["entry_id"].tolist()
    layer = pyogrio.read_dataframe(files["gpkg"], layer="ledger")
    assert layer["entry_id"].tolist() == flat["entry_id"].tolist()
    found = ET.parse(files["kml"]).iter("{http://www.opengis.net/kml/2.2}Placemark")
    assert sorted(p.get("id") for p in found) == flat["entry_id"].tolist()


def test_the_columns_say_what_lies_beside_the_ledger(folder):
    table, _ = read(folder)
    first = table.iloc[0]
    assert (first["inspection_probability"], first["drawn"], first["last_finding"]) == (0.25, True, "ai")
    assert first["last_finding_time"] == "2026-03-04T05:06:07Z"
    assert first["prior"] == 2.0
    assert first["seed"] == "7000000000000000001"
    assert first["alt1_id"] == "=1+1"
    assert first["alt1_p"] == 0.2
    assert pd.isna(first["alt2_id"])
    assert first["it_mw_p50"] == 40.1235  # six digits
    assert table["position_sigma_m"].tolist()[:2] == [10.0, 30.0]  # the imagery's; the declaration's
    assert table["wording"].tolist()[:3] == ["none", "question", "question"]
    assert SQUARE.covers(shapely.Point(first["lon"], first["lat"]))


def test_wording_goes_no_further_than_the_probabilities():
    frame = ledger(2, **{"class": "undeclared", "p_match": [0.01, 0.5], "p_data_center": 0.97})
    assert export_table.listing(_inputs(frame))["wording"].tolist() == ["inconsistency", "question"]
    weak = ledger(1, **{"class": "not_seen", "p_match": 1.0, "p_data_center": 1.0})
    assert export_table.listing(_inputs(weak))["wording"].tolist() == ["question"]


def test_a_ledger_alone_is_enough(tmp_path):
    ledger().to_parquet(tmp_path / "some.parquet")
    result = inspection_list.run(tmp_path / "some.parquet", tmp_path / "o", top=2)
    assert result["entries"] == 2
    names = pd.read_csv(result["files"]["csv"]).columns
    assert "facility_mw_p50" not in names
    assert {"finding", "measured_mw", "chips", "note"} <= set(names)
    book = openpyxl.load_workbook(result["files"]["xlsx"], read_only=True)
    about = list(book["about"].iter_rows(values_only=True))
    assert any(row[0] == "not there: sites.parquet" and "facility_mw_p50" in row[1] for row in about)
    meanings = dict(about)
    assert all(meanings[f"finding: {finding}"] for finding in FINDINGS)
    assert sum(row[0] == "cannot say" for row in about) >= 1
    book.close()


def test_an_empty_ledger_gives_empty_lists(tmp_path):
    tables.empty("ledger").to_parquet(tmp_path / "ledger.parquet")
    result = inspection_list.run(tmp_path)
    assert result["entries"] == 0
    assert loaded(result["files"]["geojson"])["features"] == []
    assert len(pd.read_excel(result["files"]["xlsx"], sheet_name="list")) == 0
    assert len(pyogrio.read_dataframe(result["files"]["gpkg"], layer="ledger")) == 0
    ET.parse(result["files"]["kml"])


def test_the_same_input_gives_the_same_bytes(folder):
    first = inspection_list.run(folder, folder / "a")["files"]
    later = inspection_list.run(folder, folder / "b")["files"]
    for kind in inspection_list.FORMATS:
        assert Path(first[kind]).read_bytes() == Path(later[kind]).read_bytes(), kind


def test_the_order_of_the_ledger_does_not_matter(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    gpd.read_parquet(folder / "ledger.parquet").iloc[::-1].to_parquet(other / "ledger.parquet")
    ordered = export_table.listing(export_table.read(other))
    assert ordered["entry_id"].tolist() == [f"E-{i:04d}" for i in range(8)]


def test_nothing_runs_in_a_spreadsheet(folder):
    files = inspection_list.run(folder)["files"]
    with open(files["csv"], newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            assert not any(c.startswith(("=", "+", "@", "\t", "\r")) for c in row)
            assert not any(c.startswith("-") and not c[1:2].isdigit() for c in row)
    book = openpyxl.load_workbook(files["xlsx"])
    kinds = {c.data_type for sheet in book for line in sheet.iter_rows() for c in line}
    assert kinds <= {"s", "inlineStr", "n", "b"}
    texts = [c.value for line in book["list"].iter_rows() for c in line if isinstance(c.value, str)]
    assert not any(t.startswith(("=", "+", "@")) for t in texts)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=20), st.sampled_from(["", "=", "\t=", " \r\n+", "＝", "@"]))
def test_no_text_starts_a_formula(tmp_path_factory, text, start):
    cleaned = export_table.clean(start + text)
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    spreadsheet.write_csv(path, pd.DataFrame({start + "h": pd.array([cleaned], dtype="string")}))
    with open(path, newline="", encoding="utf-8") as file:
        (header, *_), (cell, *_) = csv.reader(file)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert not header.startswith(("=", "+", "-", "@", "\t"))
    ET.fromstring(f"<a>{kml.escape(cleaned)}</a>")
    assert all(c >= " " for c in cleaned)


def test_a_sheet_has_the_inspectors_lists_and_its_form(folder):
    book = openpyxl.load_workbook(inspection_list.run(folder)["files"]["xlsx"])
    assert book.sheetnames == ["form", "list", "fields", "about"]
    sheet = book["form"]
    assert sheet.freeze_panes == "F2"
    names = [c.value for c in sheet[1]]
    assert names == list(export_fields.FORM)
    letter = openpyxl.utils.get_column_letter(names.index("finding") + 1)
    rule = next(v for v in sheet.data_validations.dataValidation if v.type == "list")
    assert str(rule.sqref) == f"{letter}2:{letter}9"
    assert rule.formula1.strip('"').split(",") == list(FINDINGS)
    assert sheet.auto_filter.ref.endswith("9")
    meanings = {r[0]: r[1:] for r in book["fields"].iter_rows(min_row=2, values_only=True)}
    assert list(meanings)[: len(names)] == names
    assert meanings["scenes"][2].startswith("footprints: not there")
    assert all(meanings[name][1] == f"No column: {why}." for name, why in export_fields.NOT_HELD)
    assert all(m[1] for m in meanings.values())
    assert meanings["it_mw_p50"][0] == "MW"


def test_long_lists_and_long_texts_fit(tmp_path):
    long = "é😀" * 20_000
    table = export_table.listing(_inputs(ledger(7, evidence_for=long)))
    fields = [f for f in export_fields.FIELDS if f.name in table]
    flat = pd.DataFrame(table.drop(columns="geometry"))
    notes = spreadsheet.write_xlsx(tmp_path / "x.xlsx", flat, fields, [("a", "b")], max_rows=4)
    assert notes == ["XLSX: 3 sheets, as one holds 3 entries", "XLSX: 7 texts cut at 32767 characters"]
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    forms = ["form", "form 2", "form 3"]
    assert book.sheetnames == [*forms, "list", "list 2", "list 3", "fields", "about"]
    at = [c.value for c in book["list 3"][1]].index("evidence_for")
    text = book["list 3"][2][at].value
    assert len(text.encode("utf-16-le")) // 2 <= 32_767
    assert text.endswith("the CSV has it whole]")
    spreadsheet.write_csv(tmp_path / "x.csv", flat)
    assert pd.read_csv(tmp_path / "x.csv")["evidence_for"].iloc[0] == long


def _inputs(frame):
    return export_table.Inputs(frame, {}, {"ledger": ("ledger.parquet", "0" * 64)}, {})


def test_escapes_that_a_spreadsheet_would_decode_stay_text(tmp_path):
    table = export_table.listing(_inputs(ledger(1, owner="_x0009_=1", zone="#REF!")))
    fields = [f for f in export_fields.FIELDS if f.name in table]
    spreadsheet.write_xlsx(tmp_path / "x.xlsx", pd.DataFrame(table.drop(columns="geometry")), fields, [])
    with zipfile.ZipFile(tmp_path / "x.xlsx") as archive:
        sheet = archive.read("xl/worksheets/sheet2.xml").decode()
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert "_x005F_x0009_=1" in sheet
    assert 't="e"' not in sheet
    assert "<f>" not in sheet


def test_the_geopackage_opens_styled(folder):
    file = inspection_list.run(folder)["files"]["gpkg"]
    kinds = dict(pyogrio.list_layers(file))
    assert kinds["ledger"] == "Point"
    assert kinds["ledger_areas"] == "MultiPolygon"
    assert (kinds["declared"], kinds["declared_points"]) == ("MultiPolygon", "Point")
    assert kinds["looked_at"] == "MultiPolygon"
    points = pyogrio.read_dataframe(file, layer="declared_points").set_index("declared_id")
    assert points["ledger_class"]["d2"] == "above_declared"
    base = sqlite3.connect(file)
    names = [r[1] for r in base.execute("PRAGMA table_info(layer_styles)")]
    assert names == [
        "id", "f_table_catalog", "f_table_schema", "f_table_name", "f_geometry_column", "styleName", "styleQML",
        "styleSLD", "useAsDefault", "description", "owner", "ui", "update_time",
    ]  # fmt: skip
    contents = dict(base.execute("SELECT table_name, data_type FROM gpkg_contents"))
    assert contents["layer_styles"] == "attributes"
    assert {d for (d,) in base.execute("SELECT DISTINCT last_change FROM gpkg_contents")} == {gis.DATE}
    rows = base.execute("SELECT f_table_name, f_geometry_column, styleQML, useAsDefault FROM layer_styles").fetchall()
    base.close()
    assert {r[0] for r in rows} == {k for k, v in contents.items() if v == "features"}
    for name, column, text, default in rows:
        style = ET.fromstring(text)
        own = style.find("renderer-v2").get("attr")
        frame = pyogrio.read_dataframe(file, layer=name)
        assert default == 1
        assert column == "geom"
        assert own in frame.columns
        values = {c.get("value") for c in style.iter("category")}
        assert set(frame[own]) <= values
        assert {c.get("symbol") for c in style.iter("category")} == {s.get("name") for s in style.iter("symbol")}
        wanted = "marker" if kinds[name] == "Point" else "fill"
        assert {s.get("type") for s in style.iter("symbol")} == {wanted}


def test_geojson_keeps_to_its_standard(folder):
    data = loaded(inspection_list.run(folder)["files"]["geojson"])
    assert "crs" not in data
    assert data["bbox"] == [9.0, 50.0, 16.5, 50.5]
    first = data["features"][0]
    assert shapely.geometry.shape(first["geometry"]).exterior.is_ccw
    assert first["properties"]["alternatives"][0]["id"] == "=1+1"
    assert first["properties"]["evidence_for"] == NASTY  # no spreadsheet: as it is
    assert first["properties"]["finding"] is None  # to be filled in


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(0, 40)), min_size=1, max_size=8))
def test_the_box_holds_all_the_shortest_way_round(spans):
    spans = [(w, min(w + d, 180.0)) for w, d in spans]
    west, south, east, north = gis.bbox(np.array([shapely.box(a, -1, b, 1) for a, b in spans]))
    width = (east - west) % 360.0 if west > east else east - west
    assert (south, north) == (-1, 1)
    for a, b in spans:
        assert (a - west) % 360.0 <= width + 1e-9 or (a - west) % 360.0 > 360.0 - 1e-9
        assert (b - west) % 360.0 <= width + 1e-9 or (b - west) % 360.0 > 360.0 - 1e-9
    assert width <= max(b for _, b in spans) - min(a for a, _ in spans) + 1e-9


def test_the_box_crosses_the_antimeridian():
    assert gis.bbox(np.array([shapely.Point(179, 1), shapely.Point(-179, 2)])) == [179.0, 1.0, -179.0, 2.0]
    assert gis.bbox(np.array([], dtype=object)) is None


def test_kml_shows_names_as_names(folder):
    file = inspection_list.run(folder)["files"]["kml"]
    ns = "{http://www.opengis.net/kml/2.2}"
    root = ET.parse(file).getroot()
    texts = [p.find(f"{ns}description").text for p in root.iter(f"{ns}Placemark")]
    assert all("<b>&amp;" not in t and "&lt;b&gt;&amp;]]&gt;" in t for t in texts)
    assert {s.get("id") for s in root.iter(f"{ns}Style")} == {
        name for c in styles.COLORS for k in [c.replace(" ", "_")] for name in (k, f"{k}-drawn")
    }
    assert all(
        p.find(f"{ns}styleUrl").text[1:].removesuffix("-drawn") in styles.COLORS for p in root.iter(f"{ns}Placemark")
    )
    assert sum(len(pyogrio.read_dataframe(file, layer=name)) for name, _ in pyogrio.list_layers(file)) == 8


def test_what_cannot_be_drawn_is_listed_all_the_same(tmp_path):
    frame = ledger(3, alternatives=["{", '{"a": 1}', '[{"p": "x"}]'])
    frame["geometry"] = gpd.GeoSeries([None, shapely.Point(np.inf, 1), shapely.Polygon()], crs=WGS84)
    frame["entry_id"] = "E-1"
    frame.to_parquet(tmp_path / "ledger.parquet")
    result = inspection_list.run(tmp_path)
    assert result["entries"] == 3
    assert len(result["warnings"]) == 3
    features = loaded(result["files"]["geojson"])["features"]
    assert [f["geometry"] for f in features] == [None] * 3


def test_errors_name_the_file(folder, tmp_path):
    with pytest.raises(ConfigError, match=naming("nowhere")):
        inspection_list.run(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=naming("--top", 0)):
        inspection_list.run(folder, top=0)
    (folder / "sites.parquet").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=naming("sites.parquet")):
        inspection_list.run(folder)
    (folder / "sites.parquet").unlink()
    (folder / "inspection" / "plan.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=naming("plan.csv")):
        inspection_list.run(folder)
    (folder / "inspection" / "plan.csv").unlink()
    (folder / "file").write_text("")
    with pytest.raises(ConfigError, match=naming("--out", folder / "file")):
        inspection_list.run(folder, folder / "file")


def test_tables_of_another_run_are_noticed(folder):
    sites(["other"]).to_parquet(folder / "sites.parquet")
    result = inspection_list.run(folder)
    assert any(names(text, "sites.parquet") for text in result["warnings"])


def test_a_plan_of_another_ledger_is_noticed_and_odd_alternatives_stay_json(folder):
    ledger(8, alternatives='[{"id": "a\\u0007b", "p": 1e999}]').to_parquet(folder / "ledger.parquet")
    result = inspection_list.run(folder)
    assert names(result["warnings"][0], 6, "inspection/plan.csv")
    first = loaded(result["files"]["geojson"])["features"][0]["properties"]
    assert first["alternatives"] == [{"id": "a b", "p": None}]


def test_numbers_and_texts_of_alternatives_that_json_cannot_hold(tmp_path):
    rows = ledger(8)
    rows["alternatives"] = pd.array(
        ['[{"id": "a\\ud800", "side": "site", "p": 1e999, "distance_m": NaN, "why": "x\\u0000y"}]',
         '[{"id": "a", "p": 1' + "0" * 400 + "}]", "[[1]]", "{}", "not json", "[]", None, "[" * 100_000],
        dtype="string",
    )  # fmt: skip
    rows.to_parquet(tmp_path / "ledger.parquet")
    result = inspection_list.run(tmp_path)

    def refuse(word):
        raise AssertionError(word)

    found = json.loads(Path(result["files"]["geojson"]).read_text(encoding="utf-8"), parse_constant=refuse)
    assert len(found["features"]) == 8
    assert any(names(w, "JSON") for w in result["warnings"])


def test_a_plan_of_another_ledger_is_noticed_and_ids_are_found_whatever_they_start_with(folder):
    place = inspection_list.export_table.read(folder).ledger["entry_id"].tolist()
    plan = folder / "inspection" / "plan.csv"
    plan.parent.mkdir(exist_ok=True)
    pd.DataFrame({"place": ["elsewhere"], "stratum": ["matched"], "probability": [0.5], "visit": [True]}).to_csv(
        plan, index=False
    )
    assert any(names(w, len(place), "inspection/plan.csv") for w in inspection_list.run(folder)["warnings"])
