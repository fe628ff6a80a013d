"""The rules that tell true pairs of two registries, and the count of false questions on small registries."""

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely

from benchmarks.questions import __main__ as questions
from benchmarks.questions import registers, truth


def table(rows):
    names, operators, x = zip(*rows, strict=True)
    ids = [f"{names[k]}#{k}" for k in range(len(rows))]
    return gpd.GeoDataFrame(
        {"id": ids, "name": names, "operator": operators}, geometry=[shapely.Point(-77 + v, 39.0) for v in x], crs=4326
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [("AMAZON IAD-161/162", {("iad", "161"), ("iad", "162")}), ("CoreSite DC1", {("dc", "1")}), 
     ("CMH050", {("cmh", "50")}),
     ("No 5 Main St", set()), (None, set())],
)  # fmt: skip
def test_codes_of_names(text, found):
    assert truth.codes(text) == found


def test_towns_and_legal_forms_are_no_companies():
    assert truth.companies("AMAZON DATA SERVICES INC", None) == truth.companies(None, "AWS") == {"amazon"}
    assert not truth.companies("QTS New Albany", None) & truth.companies("Meta New Albany", "Meta")


def test_pairs_need_a_company_and_a_code_or_no_rival():
    sites = table([("Acme DC1", None, 0.0), ("Acme DC2", None, 0.01), ("Zenith", "Zenith", 1.0), ("Borea", None, 2.0)])
    declared = table([("ACME LLC (DC-2)", None, 0.0), ("Zenith Corp", None, 1.01), ("Other", None, 2.0),
                      ("Acme", None, 0.005)])  # fmt: skip
    found = truth.pairs(sites, declared, np.full(4, 3000.0))
    assert found == {"ACME LLC (DC-2)#0": {"Acme DC2#1"}, "Zenith Corp#1": {"Zenith#2"}}


def im3(folder, n=8):
    shapes = [shapely.box(-77 + 0.05 * k, 39.0, -77 + 0.05 * k + 2e-3, 39.0015) for k in range(n)]
    gpd.GeoDataFrame(
        {"state_abb": "VA", "county": "X", "operator": [f"Firm{'abcdefgh'[k]}" for k in range(n)],
         "name": [f"Firm{'abcdefgh'[k]} hall" for k in range(n)], "sqft": 250_000.0, "type": "building"},
        geometry=shapes, crs=4326,
    ).to_file(folder / registers.IM3, driver="GeoJSON")  # fmt: skip


def test_a_copy_of_a_registry_is_compared_by_the_command(tmp_path, capsys):
    im3(tmp_path)
    assert questions.main(["--data", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["pairs"] == 8 and result["missing_files"] == list(registers.FILES[1:])
    assert result["false_questions"] == sum(result["by_cause"].values()) == round(8 * result["rate"])
    assert {"pairs", "false_questions", "rate", "by_cause", "by_comparison", "power", "examples"} <= set(result)


def test_no_files_are_no_pairs(tmp_path, capsys):
    assert questions.main(["--data", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 0
    assert questions.main(["--data", str(tmp_path / "none")]) == 2
