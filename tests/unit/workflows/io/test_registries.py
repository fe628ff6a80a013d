"""Several registries as one, rows kept aside, and what `overwatt reconcile` makes of them."""

import json

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from typer.testing import CliRunner

from overwatt.aoi.errors import ConfigError, RegistryError
from overwatt.workflows.assess import reconcile
from overwatt.workflows.cli.main import app
from overwatt.workflows.config.run import load
from overwatt.workflows.io import registries
from overwatt.workflows.run import runner as runs
from tests.support import names, naming

FACILITIES = "id,lon,lat,name,operator,it_mw\na,-77.5,39.0,Alpha One,Big,40\nb,-77.4,39.1,Beta,Small,10\n"
PERMITS = "id,lon,lat,name,operator,generators\np1,-77.5001,39.0001,Alpha One,Big,30\np2,-77.2,39.3,Gamma,Other,8\n"
TRANSFERS = "transfer_id,seller,buyer,chip,quantity,date,destination\nt1,Maker,Big,H100,30000,2025-03-01,US-VA\n"
OBSERVED = "id,lon,lat,it_mw_p50,it_mw_p10,it_mw_p90,zone\ns1,-77.5,39.0,42,30,60,US-VA\ns2,-77.3,39.2,25,18,35,US-VA\n"


@pytest.fixture
def files(tmp_path):
    texts = {"facilities": FACILITIES, "permits": PERMITS, "transfers": TRANSFERS, "observed": OBSERVED}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_one_facility_in_two_registries_is_one_row(files):
    table, kept = registries.read_all(files / "facilities.csv", [files / "permits.csv"])
    assert len(table) == 3
    alpha = table[table["name"] == "Alpha One"].iloc[0]
    assert "p1" in f"{alpha['also']} {alpha['declared_id']}"
    assert alpha["it_mw"] == 40
    assert kept.empty
    assert list(kept.columns) == list(registries.KEPT)


def test_rows_kept_aside_name_their_file_and_are_defused(files, tmp_path):
    (files / "bad.csv").write_text("id,lon,lat\n=cmd(),0,0\nok,1,2\n")
    table, kept = registries.read_all(files / "facilities.csv", [files / "bad.csv"])
    assert len(table) == 3
    assert kept[["table", "row", "id"]].to_numpy().tolist() == [["bad.csv", 1, "=cmd()"]]
    path = registries.write_kept(tmp_path, kept)
    assert pd.read_csv(path)["id"][0] == "'=cmd()"


def test_the_command_on_several_registries(files):
    zones = gpd.GeoDataFrame({"name": ["North"]}, geometry=[shapely.box(-78, 38, -77, 40)], crs=4326)
    zones.to_file(files / "zones.geojson")
    arguments = ["reconcile", str(files / "observed.csv"), str(files / "facilities.csv"), "--out", str(files / "out")]
    more = ["--also", str(files / "permits.csv"), "--also", str(files / "transfers.csv")]
    done = CliRunner().invoke(app, [*arguments, *more, "--zones", str(files / "zones.geojson"), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["counts"]["matched"] == 1
    assert result["counts"]["undeclared"] == 1
    sums = pd.read_csv(files / "out" / "balances.csv")
    assert {"site", "owner", "zone"} == set(sums["level"])
    assert (sums["name"] == "NORTH").any()
    for name in ("ledger", "sites", "declared", "looked_at", "balances"):
        assert (files / "out" / f"{name}.parquet").is_file()
    again = CliRunner().invoke(app, [*arguments, "--column", "nonsense"])
    assert isinstance(again.exception, ConfigError)
    exported = CliRunner().invoke(app, ["export", str(files / "out"), "--json"])
    assert exported.exit_code == 0, exported.output


def test_zones_need_names_and_outlines(files):
    gpd.GeoDataFrame({"size": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326).to_file(files / "z.geojson")
    with pytest.raises(RegistryError, match=naming("z.geojson", "'name'", "size")):
        reconcile.read_zones(files / "z.geojson")
    gpd.GeoDataFrame({"name": ["a"]}, geometry=[shapely.Point(0, 0)], crs=4326).to_file(files / "p.geojson")
    with pytest.raises(RegistryError, match=naming("p.geojson")):
        reconcile.read_zones(files / "p.geojson")


def test_a_column_map(files):
    (files / "de.csv").write_text("kennung;laenge;breite;leistung\nx;-77.5;39.0;40\n")
    names = {"declared_id": "kennung", "lon": "laenge", "lat": "breite", "it_mw": "Leistung"}
    table, _ = registries.read_all(files / "de.csv", columns=names)
    assert table[["declared_id", "it_mw"]].to_numpy().tolist() == [["x", 40.0]]


def test_a_bad_row_does_not_end_a_run(files, workflow_file, registry):
    (files / "twice.csv").write_text("id,lon,lat\na,-27,45\na,-26,45\n")
    given = [f"declared.path={registry}", f"declared.also=[{files / 'twice.csv'}]"]
    inputs = runs.open_inputs(load(workflow_file, given))
    assert len(inputs.kept_aside) == 1
    assert names(inputs.kept_aside["reason"][0], "'a'", "row 1")
    assert any(name.endswith("twice.csv") for name in inputs.hashes)


def test_a_run_says_what_its_registry_does_not(files, workflow_file):
    page = {"type": "FeatureCollection", "numberMatched": 9, "features": [
        {"type": "Feature", "properties": {"id": "a", "status": "tbd"},
         "geometry": {"type": "Point", "coordinates": [-27.01234, 45.01234]}}]}  # fmt: skip
    (files / "page.geojson").write_text(json.dumps(page))
    given = [f"declared.path={files / 'page.geojson'}", "declared.format=auto"]
    with pytest.raises(RegistryError, match=naming("'page.geojson'", "1 of 9 rows", "declared.partial")):
        runs.open_inputs(load(workflow_file, given))
    notes = runs.open_inputs(load(workflow_file, [*given, "declared.partial=true"])).notes
    assert names(notes[0], "not whole", "1 of 9 rows")
    assert names(notes[1], "'tbd' (1)")


def test_known_negatives_say_how_much_of_the_list_is_false(files):
    (files / "controls.csv").write_text("p_data_center\n" + "\n".join(str(k / 100) for k in range(99)) + "\n")
    call = [
        "reconcile",
        str(files / "observed.csv"),
        str(files / "facilities.csv"),
        "--out",
        str(files / "o"),
        "--json",
    ]
    q = {}
    for name, more in {
        "own": [], "controls": ["--controls", str(files / "controls.csv")],
        "screened": ["--controls", str(files / "controls.csv"), "--screened", "6"],
    }.items():  # fmt: skip
        done = CliRunner().invoke(app, [*call, *more])
        assert done.exit_code == 0, done.output
        ledger = gpd.read_parquet(files / "o" / "ledger.parquet")
        q[name] = float(ledger.loc[ledger["class"] == "undeclared", "q_value"].iloc[0])
    assert q["controls"] != q["own"]
    assert q["screened"] == pytest.approx(3 * q["controls"])  # 6 screened instead of 2


@pytest.mark.parametrize(
    ("text", "words"),
    [("x\n1\n", ("'p_data_center'", "x")), ("p_data_center\n2\n", ("row 1", "p_data_center")), (None, ())],
)
def test_controls_that_cannot_be_used(files, text, words):
    if text is not None:
        (files / "c.csv").write_text(text)
    with pytest.raises(RegistryError, match=naming("c.csv", *words)):
        reconcile.read_controls(files / "c.csv")


SITES = "Name,lon,lat,coord_precision\nAsh,-77.1,39.1,building\nBeech,-77.2,39.2,building\nElm,-77.3,39.3,building\n"
POWER = "Name,Current power (MW),Current H100 equivalents\n"


def epoch(tmp_path, power, notes=None, aside=None, partial=False):
    (tmp_path / "epoch_site_coordinates.csv").write_text(SITES)
    (tmp_path / "epoch_data_centers.csv").write_text(POWER + power)
    given = [tmp_path / name for name in ("epoch_site_coordinates.csv", "epoch_data_centers.csv")]
    tables = [registries.read(f, aside=aside, notes=notes, partial=partial) for f in given]
    return [dict(t[["declared_id", "it_mw"]].to_numpy().tolist()) for t in tables]


def test_either_file_of_epoch_that_ends_within_a_row_is_a_part(tmp_path):
    with pytest.raises(RegistryError, match=naming("not whole", "'epoch_data_centers.csv' ends within row 2")):
        epoch(tmp_path, "Ash,100,1\nBeech,20")


def test_rows_of_power_are_found_by_name_and_their_faults_are_those_of_the_site(tmp_path):
    notes, aside = [], []
    found = epoch(tmp_path, 'ash ,100,1\nBeech,"2"00,1\nElm,1,1\nElm,900,1\n', notes, aside)
    assert found == [{"Ash": 100.0}] * 2
    assert [row for row, _, _ in aside] == [2, 3] * 2
    assert names(aside[0][2], "'epoch_data_centers.csv'", "row 2", "cannot be read")
    assert names(aside[1][2], "'epoch_data_centers.csv'", "2 rows are named 'Elm'")
    assert notes == []


def test_sites_of_epoch_in_one_file_only_are_told(tmp_path):
    notes = []
    found = epoch(tmp_path, "Ash,100,1\nBeech,0,1\nOak,9,1\n", notes)
    assert found[0]["Ash"] == 100
    assert len(found[0]) == 3
    assert names(notes[0], "'epoch_site_coordinates.csv'", "1 site has", "'Elm'", "'epoch_data_centers.csv'")
    assert names(notes[1], "'epoch_data_centers.csv'", "1 site has", "'Oak'", "nothing is declared")
