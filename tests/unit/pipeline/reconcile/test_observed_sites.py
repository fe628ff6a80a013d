"""Any two tables: observed rows, bad rows kept aside, names in the matching."""

import json
import math

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.declared.names import plain, similarity
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.reconcile.label_likelihood import label_terms
from overwatt.workflows.assess import reconcile as work
from overwatt.workflows.cli.main import app
from overwatt.workflows.io import registries


def written(tmp_path, text, name="o.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_a_plain_table_becomes_sites(tmp_path):
    sites, labels, aside = registries.read_observed(
        written(tmp_path, "id,lon,lat,it_mw_p50,it_mw_p10,it_mw_p90,operator\na,1,2,30,15,60,Big\nb,3,4,,,,\n")
    )
    assert sites["site_id"].tolist() == ["a", "b"]
    assert sites["it_mw_p50"][0] == pytest.approx(30)
    assert sites["it_mw_p90"][0] == pytest.approx(60, rel=0.01)
    assert labels["operator"].tolist()[0] == "Big"
    assert aside.empty
    assert sites["flop_90d_p90"][0] > sites["flop_90d_p50"][0] > 0
    power = [c for c in sites if c.startswith(("it_mw_", "facility_mw_", "h100e_", "flop_", "p_ai"))]
    assert sites.loc[1, power].isna().all()
    assert sites["evidence"].tolist()[0] == "stated" and pd.isna(sites["evidence"][1])
    assert sites["assumptions"][1].startswith("Power not known")


def test_a_footprint_goes_through_the_power_model_with_the_year_of_its_row(tmp_path):
    text = (
        "id,lon,lat,building_area_m2,storeys,image_date,operator,country,cooling_area_m2\n"
        "old,-77,39,20000,,2021-06-01,,US,\nnew,-78,39,20000,,2026-06-01,,US,\nhigh,-79,39,20000,3,2026,,US,900\n"
    )
    sites, _, _ = registries.read_observed(written(tmp_path, text))
    sites = sites.set_index("site_id")
    own = SiteEvidence("new", building_area_m2=20000.0, year=2026, country="US")
    drawn = posterior.estimate([own], year=2026)
    assert sites.loc["new", "it_mw_p50"] == pytest.approx(np.median(drawn.it_mw), rel=1e-3)
    assert "year 2021." in sites.loc["old", "assumptions"] and "year 2026." in sites.loc["new", "assumptions"]
    assert "storeys" in sites.loc["high", "evidence"]
    assert sites["country"].tolist() == ["US"] * 3


def test_ranges_and_facility_power_are_intervals(tmp_path):
    text = "id,lon,lat,it_mw,facility_mw\na,1,2,50-100 MW,\nb,3,4,>= 100,\nc,5,6,,130\nd,7,8,up to 300,\n"
    sites, _, aside = registries.read_observed(written(tmp_path, text))
    low, mid, high = (sites[f"it_mw_{q}"].to_numpy(float) for q in ("p10", "p50", "p90"))
    assert (low[0], mid[0], high[0]) == pytest.approx((50, math.sqrt(5000), 100), rel=0.02)
    assert low[1] == pytest.approx(100, rel=0.02) and high[3] == pytest.approx(300, rel=0.02)
    assert sites["facility_mw_p50"][2] == pytest.approx(130, rel=0.01) and 85 < mid[2] < 115
    assert aside.empty


def test_ids_do_not_depend_on_the_order_of_rows(tmp_path):
    rows = ["Alpha,1,2", "Google,3,4", "Google,5,6", ",-77.1234,39.1"]
    for order in (rows, rows[::-1]):
        _, labels, _ = registries.read_observed(written(tmp_path, "\n".join(["name,lon,lat", *order])))
        ids = dict(zip(labels["site_id"], labels["name"], strict=True))
        assert set(ids) == {"Alpha", "N04.0000E003.0000", "N06.0000E005.0000", "N39.1000W077.1234"}
        assert ids["N04.0000E003.0000"] == "Google"
    twice = "name,lon,lat\nGoogle,3,4\nGoogle,3,4\n"
    _, _, aside = registries.read_observed(written(tmp_path, twice))
    assert aside["reason"].tolist() == ["no id, and the place and name of row 1"]


def test_evidence_that_cannot_be_keeps_its_row_aside(tmp_path):
    text = "id,lon,lat,building_area_m2,storeys\na,1,2,20000,\nb,3,4,20000,900\n"
    sites, _, aside = registries.read_observed(written(tmp_path, text))
    assert sites["site_id"].tolist() == ["a"]
    assert "storeys 900 is not possible" in aside["reason"][0]


def test_a_bare_point_is_asked_nothing_about_its_power(tmp_path):
    observed = written(tmp_path, "name,lon,lat,image_date\nAlpha,-77.5,39.1100,2026-01-01\n")
    declared = written(tmp_path, "id,lon,lat,it_mw,name\nD,-77.5,39.1100,900,Alpha\nE,-77.9,39.2,30,Beta\n", "d.csv")
    work.run(observed, declared, tmp_path / "out")
    ledger = pd.read_csv(tmp_path / "out" / "ledger.csv").set_index("declared_id")
    entry = ledger.loc["D"]
    assert entry["class"] == "matched" and pd.isna(entry["it_mw_p50"])
    assert "power of the site is not known" in entry["evidence_against"]
    assert "power (that of the site is not known)" in entry["evidence_for"]


def test_bad_rows_are_kept_aside(tmp_path):
    head = "id,lon,lat,it_mw_p50,it_mw_p10,it_mw_p90\n"
    text = head + "a,1,2,30,,\nb,0,0,1,,\nc,1,99,1,,\nd,1,2,~30,,\na,5,6,1,,\ne,1,2,5,9,4\n"
    sites, _, aside = registries.read_observed(written(tmp_path, text))
    assert len(sites) == 1
    assert aside["row"].tolist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "id,lon,lat\nx,0,0\n"])
def test_a_table_of_nothing_is_refused(tmp_path, text):
    with pytest.raises(RegistryError):
        registries.read_observed(written(tmp_path, text))


def test_outlines_give_their_area(tmp_path):
    box = shapely.box(10.0, 50.0, 10.002, 50.001)
    gpd.GeoDataFrame({"id": ["a"]}, geometry=[box], crs=4326).to_file(tmp_path / "o.geojson")
    sites, _, _ = registries.read_observed(tmp_path / "o.geojson")
    assert sites["building_area_m2"][0] == pytest.approx(143 * 111, rel=0.02)


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [("AWS IAD104", "AWS IAD105", 0, 0.6), ("CoreSite DC1 Data Center", "coresite dc1", 1, 1),
     ("Google LLC", "google", 1, 1), ("Amazon Web Services", "Meta", 0, 0.6)],
)  # fmt: skip
def test_names(a, b, low, high):
    assert low <= similarity(plain(a), plain(b)) <= high


def test_no_name_says_nothing_and_rare_ones_say_more():
    sites = pd.DataFrame({"name": [None, "Common", "Rare"]})
    declared = pd.DataFrame({"name": ["Common"] * 8 + ["Rare"] * 1, "declared_id": [str(k) for k in range(9)]})
    gain = label_terms(sites, declared, np.array([0, 1, 2, 2]), np.array([0, 0, 8, 0]))
    assert gain[0] == 0
    assert 0 <= gain[1] < gain[2]
    assert gain[3] <= 0


def test_an_identifier_decides():
    sites = pd.DataFrame({"identifier": ["D1", None]})
    declared = pd.DataFrame({"declared_id": ["D0", "D1"]})
    assert label_terms(sites, declared, np.array([0, 0, 1]), np.array([0, 1, 1])).tolist() == [0, 20, 0]


@given(st.text(max_size=20), st.text(max_size=20))
def test_similarity_is_symmetric_and_bounded(a, b):
    one, two = similarity(plain(a), plain(b)), similarity(plain(b), plain(a))
    assert (math.isnan(one) and math.isnan(two)) or (one == pytest.approx(two) and 0 <= one <= 1)


def test_the_command_on_two_tables_of_strangers(tmp_path):
    """One agreement, one tripled declaration, one not declared, one not seen, one unusable row on either side."""
    written(tmp_path, "id,lon,lat,it_mw_p50,it_mw_p10,it_mw_p90\n"
            "s1,-100,40,30,20,45\ns2,-100.3,40,60,40,90\ns3,-100.6,40,80,60,100\nbad,0,0,1,1,1\n")  # fmt: skip
    written(tmp_path, "id,lon,lat,it_mw,status\nd1,-100.00012,40.00011,31,operational\n"
            "d2,-100.30012,40.00011,10,operational\n"
            "d4,-100.15012,40.01011,50,operational\nbad,0,0,=1+1,\n", "d.csv")  # fmt: skip
    done = CliRunner().invoke(
        app, ["reconcile", str(tmp_path / "o.csv"), str(tmp_path / "d.csv"), "--out", str(tmp_path / "x"), "--json"]
    )
    result = json.loads(done.stdout.splitlines()[-1])
    found = {k: v for k, v in result["counts"].items() if v}
    assert found == {"matched": 1, "above_declared": 1, "undeclared": 1, "not_seen": 1}
    assert result["kept_aside"]["observed"] == result["kept_aside"]["declared"] == 1
    assert gpd.read_parquet(result["ledger"])["entry_id"].is_unique
    assert "assumed" in result["looked_at"]
    assert len(pd.read_csv(tmp_path / "x" / "kept_aside.csv")) == 2


def test_the_sites_of_a_run_are_returned_as_they_are(tmp_path):
    sites, _, _ = registries.read_observed(written(tmp_path, "id,lon,lat\na,1,2\nb,3,4\n"))
    sites.to_parquet(tmp_path / "sites.parquet")
    again, labels, aside = registries.read_observed(tmp_path / "sites.parquet")
    pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(sites), check_dtype=False)
    assert list(labels) == ["site_id"]
    assert aside.empty
