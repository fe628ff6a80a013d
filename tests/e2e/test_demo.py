"""The promise of the front page: the demo, with the bundled weights, names the four planted inconsistencies."""

import json

import geopandas as gpd
import pytest

from tests.support import ROOT

SAMPLE = ROOT / "data_samples" / "demo"


@pytest.mark.slow
def test_the_demo_names_the_four_planted_inconsistencies(overwatt, tmp_path):
    """About 23 s."""
    done = overwatt("demo", "--out", "run", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["tiles"]["failed"] == 0
    planted = json.loads((SAMPLE / "planted.json").read_text())
    truth = gpd.read_file(SAMPLE / "truth.geojson").to_crs("OGC:CRS84")
    sites = gpd.read_parquet(tmp_path / "run" / "sites.parquet").set_index("site_id")
    for klass, wrong in planted.items():
        rows = [row for row in result["ledger"] if row["class"] == klass]
        if wrong["declared_id"]:
            rows = [row for row in rows if row["declared_id"] == wrong["declared_id"]]
        if wrong["site_id"]:
            place = truth[truth["site_id"] == wrong["site_id"]].union_all()
            rows = [row for row in rows if row["site_id"] and sites.geometry[row["site_id"]].intersects(place)]
        assert rows, f"{klass}: not named"
