import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import pytest

from overwatt.pipeline.sites.thermal_anomaly import thermal_anomaly
from overwatt.workflows.io.temperature_stack import load_stack
from tests.support import HANG_S

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("OVERWATT_REAL_DATA", ROOT.parent / "shared" / "data")) / "muenster"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is missing; set OVERWATT_REAL_DATA"),
]


def test_real_looks_give_evidence_for_all_three_sites():
    stack, grid = load_stack(sorted(DATA.glob("*_ST_B10.TIF")), unit="celsius")
    assert stack.sizes["time"] == 12
    assert 275 < float(stack.median()) < 315
    sites = gpd.read_file(DATA / "known_datacenters.geojson")
    sites["site_id"] = sites["name"]
    table, looks = thermal_anomaly(stack, grid, sites, daytime=True)
    assert list(table["looks_used"]) == [12, 12, 12]
    assert looks["used"].all()
    # day scenes of a city: nothing below hundreds of megawatts can be told, and no site stands out
    assert (table["floor_mw"] > 300).all()
    assert (table["robust_z"].abs() < 3).all()
    assert table["statement"].str.contains("not a data center from a warehouse").all()


@pytest.mark.slow  # about 5 s
def test_data_centers_are_ordinary_among_matched_controls(tmp_path):
    (tmp_path / "images").mkdir()
    page = ROOT / "docs" / "thermal-muenster.md"
    (tmp_path / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    command = [
        sys.executable,
        "benchmarks/thermal_muenster.py",
        "--data",
        str(DATA),
        "--out-docs",
        str(tmp_path),
        "--controls",
        "40",
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    for site in result["sites"]:
        assert site["matched_controls"] == 40
        # 88% with 300 controls for the warmest: the rank of 40 has a standard error of 5 points
        assert 5 < site["matched_percentile"] < 99
    assert 0.3 < result["floor_mw_design"] / result["floor_mw_from_controls"] < 3
    assert (tmp_path / "images" / "thermal-muenster.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert "| GLOBE Development Datacenter | 91% / 31% |" in (tmp_path / page.name).read_text(encoding="utf-8")
