"""Every visit that the plan draws is a row of the list, cells without an entry included."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pandas as pd
import pyogrio
import pytest
import shapely

from overwatt.pipeline import tables
from overwatt.workflows.export import inspection_list
from overwatt.workflows.export import table as export_table
from tests.support import names

PLAN = """place,stratum,probability,visit
cell c2,not looked at,0.5,True
E-2,undeclared,0.25,True
cell c1,nothing found,0.125,True
E-1,undeclared,0.5,False
cell c3,nothing found,0.5,False
"""
DRAWN = ["E-2", "cell c1", "cell c2"]


def box(n):
    return shapely.box(9.0 + n, 50.0, 9.5 + n, 50.5)


@pytest.fixture
def folder(tmp_path):
    row = {"class": "undeclared", "undeclared_flop_90d": 1e25, "evidence_for": "a", "evidence_against": "b",
           "settles": "c"}  # fmt: skip
    ledger = [{**row, "entry_id": f"E-{k}", "rank": k, "site_id": f"s{k}", "geometry": box(-k)} for k in (1, 2)]
    tables.conform(ledger, "ledger").to_parquet(tmp_path / "ledger.parquet")
    cells = [{"cell": f"c{k}", "imaged": 0.75 * (k != 2), "clear_looks": 1, "screened": k != 2, "failed": k == 2,
              "reason": "unreadable" * (k == 2), "geometry": box(k)} for k in (1, 2, 3)]  # fmt: skip
    tables.conform(cells, "looked_at").to_parquet(tmp_path / "looked_at.parquet")
    (tmp_path / "inspection").mkdir()
    (tmp_path / "inspection" / "plan.csv").write_text(PLAN)
    return tmp_path


def listing(folder, top=None):
    inputs = export_table.read(folder)
    return export_table.listing(inputs, top), inputs.warnings


def test_drawn_cells_follow_the_entries(folder):
    table, warnings = listing(folder)
    assert table["entry_id"].tolist() == ["E-1", "E-2", "cell c1", "cell c2"]
    assert table["drawn"].tolist() == [False, True, True, True]
    assert table["class"].tolist()[2:] == ["nothing found", "not looked at"]
    assert table["inspection_probability"].tolist() == [0.5, 0.25, 0.125, 0.5]
    assert table.geometry.iloc[2].equals(box(1))
    assert (table["lon"][2], table["lat"][2]) == (10.25, 50.25)
    assert table["settles"].notna().all()
    assert table["wording"].tolist() == ["question", "question", "none", "none"]
    assert names(table["evidence_against"][2], "75%")
    assert names(table["evidence_against"][3], "unreadable")
    unknown = [
        "rank",
        "evidence_for",
        "p_data_center",
        "it_mw_p50",
        "undeclared_flop_90d",
        "site_id",
        "value_of_inspection",
    ]
    assert table.loc[2:, unknown].isna().all(axis=None)
    assert not warnings


@pytest.mark.parametrize("top", [1, 2, None])
def test_no_number_of_entries_drops_a_visit(folder, top):
    table, _ = listing(folder, top)
    assert table["entry_id"][table["drawn"].fillna(False)].tolist() == DRAWN


def test_each_format_has_each_visit_with_its_outline(folder):
    files = inspection_list.run(folder, top=1)["files"]
    flat = pd.read_csv(files["csv"])
    assert flat["entry_id"][flat["drawn"]].tolist() == DRAWN
    features = json.loads(Path(files["geojson"]).read_text())["features"]
    drawn = [f for f in features if f["properties"]["drawn"]]
    assert [f["id"] for f in drawn] == DRAWN
    assert shapely.geometry.shape(drawn[1]["geometry"]).equals(box(1))
    points = pyogrio.read_dataframe(files["gpkg"], layer="ledger")
    assert points["entry_id"][points["drawn"]].tolist() == DRAWN
    areas = pyogrio.read_dataframe(files["gpkg"], layer="drawn").set_index("entry_id")
    assert areas.index.tolist() == DRAWN
    assert areas.geometry["cell c2"].equals(box(2))
    ns = "{http://www.opengis.net/kml/2.2}"
    marks = list(ET.parse(files["kml"]).iter(f"{ns}Placemark"))
    styles = {m.find(f".//{ns}SimpleData[@name='entry_id']").text: m.find(f"{ns}styleUrl").text for m in marks}
    assert [i for i in styles if styles[i].endswith("-drawn")] == DRAWN
    assert all(re.fullmatch(r"[A-Za-z_][\w.-]*", m.get("id")) for m in marks), "an XML id has no spaces"
    for name in ("form", "list"):
        sheet = pd.read_excel(files["xlsx"], sheet_name=name)
        assert set(sheet["entry_id"][sheet["drawn"]]) == set(DRAWN)


def test_without_a_table_of_cells_a_visit_is_listed_without_a_place(folder):
    (folder / "looked_at.parquet").unlink()
    table, warnings = listing(folder)
    assert table["entry_id"].tolist()[2:] == ["cell c1", "cell c2"]
    assert table["lon"][2:].isna().all()
    assert names(warnings[0], 2, "position")


def test_visits_of_another_ledger_are_noticed(folder):
    (folder / "inspection" / "plan.csv").write_text(PLAN.replace("E-2", "E-9"))
    _, warnings = listing(folder)
    assert any(names(w, 1, "E-9") for w in warnings)


def test_a_ledger_without_entries_lists_its_visits(folder):
    for name in ("ledger", "sites", "declared", "footprints", "thermal"):
        tables.empty(name).to_parquet(folder / f"{name}.parquet")
    (folder / "inspection" / "plan.csv").write_text(PLAN.replace("E-2,undeclared,0.25,True\n", ""))
    result = inspection_list.run(folder)
    assert (result["entries"], result["drawn"], result["cells"]) == (0, 2, 2)
    assert pd.read_csv(result["files"]["csv"])["entry_id"].tolist() == ["cell c1", "cell c2"]
    (folder / "inspection" / "plan.csv").unlink()
    assert len(pd.read_csv(inspection_list.run(folder)["files"]["csv"])) == 0
