"""Sites that left the list after visits were drawn, or on which a finding is recorded, stay rows of it."""

import json
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

KML = "{http://www.opengis.net/kml/2.2}"
ROWS = ["E-1", "E-2", "E-3", "cell c1"]


def entry(k, **more):
    return {"entry_id": f"E-{k}", "rank": 1, "class": "undeclared", "site_id": f"s{k}", "undeclared_flop_90d": 1e25,
            "evidence_for": "a", "evidence_against": "b", "settles": "c", "p_data_center": 0.99, "p_match": 0.0,
            "q_value": 0.1, "next_step": "none", "geometry": shapely.box(9 + k, 50, 9.1 + k, 50.1)} | more  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """E-1 is listed; of the almost listed E-2 is drawn, E-3 has a finding, E-4 neither."""
    tables.conform([entry(1)], "ledger").to_parquet(tmp_path / "ledger.parquet")
    almost = [entry(k, rank=5 - k, left_out="value") for k in (2, 3, 4)]
    tables.conform(almost, "almost_listed").to_parquet(tmp_path / "almost_listed.parquet")
    (tmp_path / "inspection").mkdir()
    (tmp_path / "inspection" / "plan.csv").write_text(
        "place,stratum,probability,visit\nE-1,undeclared,0.5,False\nE-2,undeclared,0.25,True\n"
        "E-4,undeclared,0.25,False\ncell c1,nothing found,0.125,True\n"
    )
    (tmp_path / "dispositions.csv").write_text("disposition_id,site_id,finding,time\nx1,s3,not_dc,2026-03-04\n")
    return tmp_path


def test_they_follow_the_entries_without_a_rank(folder):
    inputs = export_table.read(folder)
    table = export_table.listing(inputs).set_index("entry_id")
    assert table.index.tolist() == ROWS
    assert table["rank"].isna().tolist() == [False, True, True, True]
    assert table.loc["E-2":, ["rank", "rank_low", "rank_high", "tie", "q_value"]].isna().all(axis=None)
    assert table["class"].tolist() == ["undeclared"] * 3 + ["nothing found"]
    assert table["wording"].tolist() == ["inconsistency", "almost listed", "almost listed", "none"]
    assert table["left_out"].fillna("").tolist() == ["", "value", "value", ""]
    assert table["drawn"].fillna(False).tolist() == [False, True, False, True]
    assert table["last_finding"]["E-3"] == "not_dc"
    assert not any("visits" in w for w in inputs.warnings)


@pytest.mark.parametrize("top", [None, 1])
def test_each_format_and_the_pages_have_them(folder, top):
    result = inspection_list.run(folder, top=top)
    files = result["files"]
    assert (result["entries"], result["almost_listed"], result["cells"], result["drawn"]) == (1, 2, 1, 2)
    assert sum(result["counts"].values()) == 1
    assert pd.read_csv(files["csv"])["entry_id"].tolist() == ROWS
    assert pd.read_excel(files["xlsx"], sheet_name="list")["entry_id"].tolist() == ROWS
    assert [f["id"] for f in json.loads(Path(files["geojson"]).read_text())["features"]] == ROWS
    assert pyogrio.read_dataframe(files["gpkg"], layer="ledger")["entry_id"].tolist() == ROWS
    assert len(list(ET.parse(files["kml"]).iter(f"{KML}Placemark"))) == len(ROWS)
    html = Path(files["visits"]).read_text(encoding="utf-8")
    assert html.count('<article class="sheet"') == 2
    assert "entry_id</span><b>E-2<" in html
    assert "none: almost listed" in html


def test_without_a_plan_a_finding_is_enough(folder):
    (folder / "inspection" / "plan.csv").unlink()
    assert pd.read_csv(inspection_list.run(folder)["files"]["csv"])["entry_id"].tolist() == ["E-1", "E-3"]


def test_what_is_gone_is_named_with_the_remedy(folder):
    (folder / "almost_listed.parquet").unlink()
    (warning,) = inspection_list.run(folder)["warnings"][:1]
    assert names(warning, 1, "E-2", "overwatt inspect")
