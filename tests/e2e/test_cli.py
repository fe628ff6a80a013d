"""The command as a user starts it: exit status, standard output, standard error."""

import json
import re
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster
from shapely.geometry import box, mapping

from overwatt.workflows.run import single_image
from tests.support import HANG_S, ROOT, command, environment

RATIOS = {"iou", "dice", "precision", "recall"}


def last_object(done: subprocess.CompletedProcess) -> dict:
    """The object on the last line of standard output, which must be the only line."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout
    return json.loads(lines[-1])


def labels_file(path: Path, outlines: list[tuple[str, object]]) -> Path:
    """Write labelled outlines, in longitude and latitude."""
    features = [{"type": "Feature", "properties": {"class": k}, "geometry": mapping(g)} for k, g in outlines]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_help_names_every_command(overwatt):
    done = overwatt("--help")
    assert done.returncode == 0
    for name in ("demo", "run", "detect", "evaluate", "train", "simulate", "reconcile"):
        assert name in done.stdout


def test_help_loads_no_heavy_library():
    """What makes `--help` slow is what it imports: a fact that does not depend on the load of the machine."""
    heavy = ("torch", "torchvision", "distributed", "scipy", "geopandas", "matplotlib")
    script = (
        "import sys\nfrom overwatt.workflows.cli.main import main\nsys.argv = ['overwatt', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, timeout=HANG_S, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "detect" in done.stdout
    assert done.stderr.split() == []


def test_an_input_error_ends_with_2_and_one_line(overwatt, tmp_path):
    wrong = overwatt("run", "none.yaml", "--json")
    assert wrong.returncode == 2
    assert re.fullmatch("overwatt: .*none\\.yaml.*\n", wrong.stderr)
    assert wrong.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_detect_on_a_georeferenced_image(overwatt, corner, weights, tmp_path):
    result = last_object(overwatt("detect", corner, "--out", "found", "--weights", weights, "--json"))
    assert set(result) == {"footprints", "count", "ground_size"}
    found = gpd.read_parquet(tmp_path / result["footprints"])
    assert len(found) == result["count"] > 10
    assert found.crs == "OGC:CRS84"
    assert found.total_bounds == pytest.approx([-27.0, 45.0032, -26.9886, 45.0095], abs=1e-3)


def test_detect_on_a_picture_with_its_scale(overwatt, corner, weights, tmp_path):
    picture = tmp_path / "picture.png"
    copy_raster(corner, picture, driver="PNG", strict=False)
    for sidecar in tmp_path.glob("picture.*"):
        if sidecar != picture:
            sidecar.unlink()
    args = ("detect", picture, "--out", "found", "--gsd", "2", "--weights", weights, "--json")
    result = last_object(overwatt(*args))
    found = gpd.read_parquet(tmp_path / result["footprints"])
    assert found.crs is None
    assert len(found) == result["count"] > 10
    assert found.total_bounds[0] >= -1e-9
    assert found.total_bounds[2] <= 450
    assert found.total_bounds[3] <= 350
    pixels = found.geometry.area * 4
    np.testing.assert_allclose(found["area_m2"], pixels)
    flat = pd.read_csv(tmp_path / "found" / "footprints.csv")
    assert {"x_px", "y_px"} <= set(flat.columns)
    # the same pixels, with and without georeference
    other = single_image.detect([corner], tmp_path / "geo", gsd_m=None, weights=weights, say=lambda text: None)
    assert other["count"] == result["count"]


def test_detect_without_json_prints_for_people(overwatt, small_image, weights):
    done = overwatt("detect", small_image, "--out", "found", "--weights", weights)
    assert done.returncode == 0
    assert "footprints:" in done.stdout
    assert "Warning" not in done.stderr


@pytest.mark.slow  # about 9 s
def test_evaluate(overwatt, corner, weights, tmp_path):
    """About 15 s: two starts of the command."""
    outlines = [
        ("data_center", box(-26.995, 45.004, -26.993, 45.005)),
        ("other_building", box(-26.991, 45.004, -26.989, 45.005)),
        ("other_building", box(-26.991, 45.006, -26.9905, 45.0065)),
        ("cooling_equipment", box(-26.9945, 45.0042, -26.994, 45.0044)),
        ("unknown", box(-26.999, 45.006, -26.997, 45.008)),
    ]
    labels = labels_file(tmp_path / "labels.geojson", outlines)
    args = ("evaluate", "--image", corner, "--labels", labels, "--weights", weights, "--json")
    result = last_object(overwatt(*args))
    assert result["in_training"] is False
    assert {*RATIOS, "object_f1", "interval"} <= set(result["data_center"])
    assert set(result["data_center"]["interval"]) >= RATIOS
    assert result["other_building"]["n"] == 2
    assert 0 <= result["other_building"]["called_data_center"] <= 2
    assert len(result["by_size"]) >= 4
    assert sum(band["other_building"]["n"] for band in result["by_size"]) == 2
    for name in RATIOS:
        value = result["data_center"][name]
        assert value is None or 0 <= value <= 1
    background = last_object(overwatt(*args, "--unlabelled", "background", "--out", "pictures"))
    assert background["unlabelled"] == "background"
    assert background["data_center"]["precision"] <= (result["data_center"]["precision"] or 1)
    assert (tmp_path / "pictures" / "corner-overlay.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow  # about 13 s
def test_simulate_writes_its_files_and_names_them(overwatt, tmp_path):
    """About 14 s. That a seed decides everything is a test of `models.simulate`."""
    result = last_object(overwatt("simulate", "--seed", "0", "--out", "one", "--json"))
    assert {"optical", "lst", "registry", "planted", "truth"} <= set(result)
    for path in result.values():
        assert (tmp_path / path).is_file()
    planted = json.loads((tmp_path / result["planted"]).read_text())
    assert set(planted) == {"undeclared", "above_declared", "not_seen", "position_mismatch"}


@pytest.mark.slow  # about 11 s
def test_reconcile_makes_the_ledger_of_a_run_again(overwatt, workflow_file, corner, registry, tmp_path):
    """About 20 s: two starts of the command, one with workers."""
    settings = ("--set", f"imagery.path={corner}", "--set", "prior=0.9")  # high, so that some are undeclared
    run = last_object(overwatt("run", workflow_file, *settings, "--out", "run", "--json"))
    assert any(row["class"] == "undeclared" for row in run["ledger"])
    again = last_object(overwatt("reconcile", "run/sites.parquet", registry, "--out", "ledger", "--json"))
    assert {"ledger", "counts"} <= set(again)
    ledger = gpd.read_parquet(tmp_path / again["ledger"])
    assert ledger.loc[ledger["class"] == "undeclared", "site_id"].tolist() == [
        r["site_id"] for r in run["ledger"] if r["class"] == "undeclared"
    ]
    assert ledger["rank"].tolist() == list(range(1, sum(again["counts"].values()) + 1))


@pytest.mark.slow  # about 12 s
def test_a_run_prints_for_people_too(overwatt, small_image, weights, tmp_path):
    """About 12 s."""
    (tmp_path / "w.yaml").write_text(f"name: w\nimagery: {{path: {small_image}}}\ndetector: {{weights: {weights}}}\n")
    done = overwatt("run", "w.yaml")
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout
    assert (tmp_path / "runs" / "w" / "report.html").is_file()


def test_folders_named_like_ours_disturb_nothing(tmp_path):
    for name in ("aoi", "models", "pipeline", "workflows"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not Overwatt')")
    done = subprocess.run(
        command("estimate", "--chillers", 12, "--json"),
        cwd=tmp_path, env={**environment(), "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=HANG_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.realdata
@pytest.mark.slow  # about 13 s
def test_the_real_district_offline(realdata, tmp_path):
    done = subprocess.run(
        command(
            "run", ROOT / "workflows" / "examples" / "ashburn.yaml", "--out", tmp_path / "run", "--json",
            "--set", f"imagery.path={realdata / 'ashburn' / 'naip_rgb_2m.tif'}",
            "--set", f"declared.path={realdata / 'facilities' / 'im3_footprints.geojson'}",
            "--set", "declared.format=im3",
        ),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip
    result = last_object(done)
    assert set(result) == {"run", "report", "tiles", "sites", "ledger", "ground_size"}
    assert result["tiles"]["failed"] == 0
    assert result["sites"] >= 5
    classes = [row["class"] for row in result["ledger"]]
    assert classes.count("matched") >= 1
    run = Path(result["run"])
    sites = gpd.read_parquet(run / "sites.parquet")
    assert sites["it_mw_p50"].between(0.1, 500).all()
    assert (sites["it_mw_p05"] < sites["it_mw_p95"]).all()
    assert (sites["facility_mw_p50"] > sites["it_mw_p50"]).all()
    assert sites["lon"].between(-77.5, -77.44).all()
    ledger = gpd.read_parquet(run / "ledger.parquet")
    assert (ledger["undeclared_flop_90d"].diff().dropna() <= 0).all()
    declared = gpd.read_parquet(run / "declared.parquet")
    assert 0 < len(declared) < 200
    assert declared["licence"].notna().all()
    assert gpd.read_parquet(run / "footprints.parquet")["class"].nunique() >= 2
    with rasterio.open(run / "probability.tif") as cog:
        assert 0.3 < (cog.dataset_mask() > 0).mean() < 1
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "OpenStreetMap" in report
    assert "NAIP" in report


@pytest.mark.realdata
@pytest.mark.slow  # about 7 s
def test_the_known_data_centers_of_muenster(realdata, tmp_path):
    done = subprocess.run(
        command(
            "run", ROOT / "workflows" / "examples" / "muenster.yaml", "--out", tmp_path / "run", "--json",
            "--set", f"sites={realdata / 'muenster' / 'known_datacenters.geojson'}",
            "--set", f"thermal.stack={realdata / 'muenster'}/*_ST_B10.TIF",
        ),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip
    result = last_object(done)
    assert result["sites"] == 3
    assert result["ledger"] == []
    heat = pd.read_parquet(tmp_path / "run" / "thermal.parquet")
    assert len(heat) == 3
    assert (heat["looks_total"] == 12).all()
    assert heat["looks_used"].between(1, 12).all()
    assert heat["lst_excess_k"].between(-10, 15).all()
    assert heat["statement"].str.len().min() > 20
    looks = pd.read_parquet(tmp_path / "run" / "thermal_looks.parquet")
    assert len(looks) == 36
    assert looks.loc[looks["used"], "site_k"].between(250, 330).all()
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
