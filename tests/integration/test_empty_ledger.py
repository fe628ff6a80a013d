"""A run that found nothing, over ground where nothing is declared: every later command works, and says so."""

import csv
import json
import xml.etree.ElementTree as ET

import openpyxl
import pyogrio
import pytest

from overwatt.pipeline import tables


@pytest.fixture(scope="module")
def empty_run(tmp_path_factory):
    """A folder with the ledger and all tables without rows."""
    folder = tmp_path_factory.mktemp("empty")
    for name in ("ledger", "sites", "declared", "footprints", "looked_at"):
        tables.empty(name).to_parquet(folder / f"{name}.parquet")
    return folder


def check_files(folder):
    """The five formats open and have no rows."""
    (table,) = folder.glob("*.csv")
    with table.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.DictReader(file)) == []
    (book,) = folder.glob("*.xlsx")
    entries = list(openpyxl.load_workbook(book)["list"].iter_rows(values_only=True))
    ranks = [row[entries[-1].index("rank")] for row in entries if "rank" in row]
    assert ranks == ["rank"]  # the last row of the sheet is its header
    (places,) = folder.glob("*.kml")
    assert not list(ET.parse(places).getroot().iter("{http://www.opengis.net/kml/2.2}Placemark"))
    (layers,) = folder.glob("*.gpkg")
    assert pyogrio.read_info(layers, layer="ledger")["features"] == 0
    (features,) = folder.glob("*.geojson")
    assert json.loads(features.read_text(encoding="utf-8"))["features"] == []


@pytest.mark.parametrize("given", ["the folder", "the ledger alone"])
def test_an_empty_ledger_is_exported(given, empty_run, overwatt, tmp_path):
    out = tmp_path / "out"
    path = empty_run
    if given == "the ledger alone":
        path = tmp_path / "ledger.parquet"
        tables.empty("ledger").to_parquet(path)
    done = overwatt("export", path, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "nothing to list" in done.stdout
    check_files(out)


def test_an_inspection_plan_without_places_is_one_line(empty_run, overwatt, tmp_path):
    done = overwatt("inspect", empty_run, "--out", tmp_path / "plan")
    assert done.returncode == 2
    assert "nothing to inspect" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_that_finds_nothing(workflow_file, corner, overwatt, tmp_path):
    """Report, list, plan and comparison of a real run without sites and declarations."""
    run = tmp_path / "run"
    far = tmp_path / "far.csv"
    far.write_text("id,lon,lat\na,120.0,-30.0\n")
    nothing = (
        "--set",
        "detector.min_building_m2=1e9",
        "--set",
        "detector.min_cooling_m2=1e9",
        "--set",
        "detector.min_machine_m2=1e9",
    )
    ground = ("--set", f"imagery.path={corner}", "--set", f"declared.path={far}")
    done = overwatt("run", workflow_file, "--out", run, *ground, *nothing)
    assert done.returncode == 0, done.stderr
    assert "0 sites; ledger: empty" in done.stdout
    assert "</html>" in (run / "report.html").read_text(encoding="utf-8")
    done = overwatt("export", run)
    assert done.returncode == 0, done.stderr
    assert "nothing to list" in done.stdout
    check_files(run / "export")
    done = overwatt("compare", run, run)
    assert done.returncode == 0, done.stderr
    assert "no sites" in done.stdout
    done = overwatt("inspect", run)
    assert done.returncode == 0, done.stderr
    assert "cell" in done.stdout


def test_a_run_of_undeclared_sites_alone(workflow_file, corner, overwatt, tmp_path):
    """No entry has a declaration, while the registry has one, far away."""
    run, far = tmp_path / "run", tmp_path / "far.csv"
    far.write_text("id,lon,lat\na,120.0,-30.0\n")
    ground = ("--set", f"imagery.path={corner}", "--set", f"declared.path={far}")
    done = overwatt("run", workflow_file, "--out", run, *ground)
    assert done.returncode == 0, done.stderr
    done = overwatt("export", run, "--declared", far)
    assert done.returncode == 0, done.stderr
    assert pyogrio.read_info(run / "export" / "inspection_list.gpkg", layer="declared")["features"] == 1
