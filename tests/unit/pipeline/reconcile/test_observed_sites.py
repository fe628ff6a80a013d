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
from overwatt.pipeline.reconcile.label_likelihood import label_terms
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
    assert sites["it_mw_p50"].tolist() == pytest.approx([30, 20])
    assert sites["it_mw_p90"][0] == pytest.approx(60, rel=0.01)
    assert sites["it_mw_p90"][1] / sites["it_mw_p50"][1] > 4
    assert labels["operator"].tolist()[0] == "Big"
    assert aside.empty
    assert (sites["flop_90d_p90"] > sites["flop_90d_p50"]).all()


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
