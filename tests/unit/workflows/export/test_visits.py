import json
import shutil
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from overwatt.pipeline import tables
from overwatt.workflows.config.run import load
from overwatt.workflows.export import inspection_list, visits
from overwatt.workflows.export import table as export_table
from overwatt.workflows.io.raster_checks import content_sha256

ROOT = Path(__file__).resolve().parents[4]
FINDINGS = {"ai": "a data center with AI compute"}
LON, LAT = -27.0036, 44.9967  # inside the image of the sample area


def entries(n, lon=LON, lat=LAT):
    rows = [{
        "entry_id": f"E-{k}", "rank": k + 1, "class": "undeclared", "site_id": f"s{k}", "undeclared_flop_90d": 1e25,
        "evidence_for": "for", "evidence_against": "against", "settles": "a visit",
        "geometry": shapely.Point(lon + 1e-5 * k, lat).buffer(0.001),
    } for k in range(n)]  # fmt: skip
    return tables.conform(rows, "ledger")


@pytest.fixture
def folder(tmp_path):
    image = tmp_path / "optical.tif"
    shutil.copy(ROOT / "data_samples/demo/optical.tif", image)
    workflow = load(ROOT / "workflows/examples/demo.yaml", [f"imagery.path={image}", "imagery.date=2026-05-04"])
    manifest = {"parameters": workflow.model_dump(mode="json"), "inputs": {"imagery": content_sha256(image)}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    cells = [{"cell": f"c{k}", "imaged": 1.0, "clear_looks": 1, "screened": True, "failed": False, "reason": "",
              "geometry": shapely.box(LON + 0.01 * k, LAT - 0.005, LON + 0.01 * (k + 1), LAT + 0.005)}
             for k in (-1, 0)]  # fmt: skip
    tables.conform(cells, "looked_at").to_parquet(tmp_path / "looked_at.parquet")
    entries(3).to_parquet(tmp_path / "ledger.parquet")
    return tmp_path


def pages(folder):
    inputs, file = export_table.read(folder), folder / "visits.html"
    visits.write(file, inputs, export_table.listing(inputs), FINDINGS)
    return file.read_text(encoding="utf-8")


def plan(folder, *drawn):
    (folder / "inspection").mkdir()
    places = ["E-0", "E-1", "E-2", "cell c-1", "cell c0"]
    strata = ["undeclared"] * 3 + ["nothing found"] * 2
    frame = pd.DataFrame({"place": places, "stratum": strata, "probability": 0.5})
    frame.assign(visit=frame["place"].isin(drawn)).to_csv(folder / "inspection" / "plan.csv", index=False)


def test_drawn_places_and_cells_have_a_page_with_map_and_chip(folder):
    plan(folder, "E-1", "cell c0")
    html = pages(folder)
    assert html.count('<article class="sheet"') == 2
    assert "entry_id</span><b>E-1<" in html
    assert "entry_id</span><b>cell c0<" in html
    assert html.count("data:image/jpeg") == 4
    assert "2026-05-04" in html
    assert "2 of 5 places, drawn by overwatt inspect." in html
    assert html == pages(folder)


def test_the_export_writes_all_drawn_places_whatever_the_top(folder):
    plan(folder, "E-2", "cell c0")
    result = inspection_list.run(folder, top=1)
    html = Path(result["files"]["visits"]).read_text(encoding="utf-8")
    assert html.count('<article class="sheet"') == 2
    assert html.count("access was refused") == 2


def test_a_plan_without_visits_says_so(folder):
    plan(folder)
    assert "No visit" in pages(folder)


def test_without_a_plan_the_first_entries_have_pages_and_the_remedy_is_named(folder, monkeypatch):
    monkeypatch.setattr(visits, "MOST", 2)
    html = pages(folder)
    assert html.count('<article class="sheet"') == 2
    assert "The first 2 of 3 entries by rank" in html
    assert "overwatt inspect RUN --budget N" in html


def test_imagery_that_changed_or_is_gone_is_named_and_not_shown(folder):
    with (folder / "optical.tif").open("ab") as file:
        file.write(b"\0")
    assert "the image file has changed since the run" in (html := pages(folder))
    assert "data:image" not in html
    (folder / "optical.tif").unlink()
    assert "could not be read" in pages(folder)


@pytest.mark.parametrize("text", ['{"parameters": {"imagery": []}, "inputs": {}}', '{"parameters": 3}', "[]", "?"])
def test_any_manifest_is_survived(folder, text):
    (folder / "manifest.json").write_text(text)
    assert "No picture: " in pages(folder)


def test_a_catalogue_is_not_searched_again(folder):
    workflow = load(ROOT / "workflows/examples/ashburn.yaml")
    manifest = {"parameters": workflow.model_dump(mode="json"), "inputs": {"imagery": "x"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "a catalogue is not searched again" in pages(folder)


@pytest.mark.parametrize(("lon", "lat"), [(10.0, 50.0), (153.0, -45.0), (-27.0, 89.99), (63.0, 0.0)])
def test_a_place_outside_the_image_has_no_picture(folder, lon, lat):
    entries(1, lon, lat).to_parquet(folder / "ledger.parquet")
    html = pages(folder)
    assert "No imagery of this place." in html


def test_an_empty_ledger_has_no_visit(folder):
    gpd.GeoDataFrame(entries(1).iloc[:0]).to_parquet(folder / "ledger.parquet")
    assert "No visit" in pages(folder)
