"""The demo from an installed wheel, in an empty folder: one import name and the four planted findings."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import geopandas as gpd
import pytest

from tests.support import HANG_S, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without a network."""
    out = tmp_path_factory.mktemp("wheel")
    source = out / "source"
    listing = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, text=True)
    for name in done.stdout.splitlines():  # setuptools leaves a build folder behind: not in the checkout
        target, origin = source / name, ROOT / name
        if name.startswith(("tests/", "benchmarks/", "docs/")) or not (origin.is_symlink() or origin.is_file()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_symlink():
            target.symlink_to(origin.readlink())
        else:
            target.write_bytes(origin.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_installs_one_name(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names} == {"overwatt", f"{wheel.name.rsplit('-', 3)[0]}.dist-info"}
    for file in (
        "overwatt/py.typed", "overwatt/__init__.pyi", "overwatt/pipeline/py.typed",
        "overwatt/workflows/examples/demo.yaml", "overwatt/data_samples/demo/optical.tif",
        "overwatt/models/weights/sitenet-aerial-v2.safetensors", "overwatt/pipeline/report/template.html.j2",
    ):  # fmt: skip
        assert file in names, file


@pytest.mark.slow  # about 40 s
def test_the_demo_of_an_installed_wheel_names_the_four_planted_inconsistencies(wheel, tmp_path):
    place = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(place)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(place), "HOME": str(tmp_path)}
    code = "import overwatt, sys; print(overwatt.__file__)"
    where = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert where.stdout.startswith(str(place)), where.stdout
    done = subprocess.run(
        [sys.executable, "-m", "overwatt", "demo", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert Path(result["report"]) == tmp_path / "runs" / "demo" / "report.html"
    assert Path(result["report"]).stat().st_size > 100_000
    assert result["tiles"]["failed"] == 0
    sample = place / "overwatt" / "data_samples" / "demo"
    planted = json.loads((sample / "planted.json").read_text())
    truth = gpd.read_file(sample / "truth.geojson").to_crs("OGC:CRS84")
    sites = gpd.read_parquet(tmp_path / "runs" / "demo" / "sites.parquet").set_index("site_id")
    for klass, wrong in planted.items():
        rows = [row for row in result["ledger"] if row["class"] == klass]
        if wrong["declared_id"]:
            rows = [row for row in rows if row["declared_id"] == wrong["declared_id"]]
        if wrong["site_id"]:
            there = truth[truth["site_id"] == wrong["site_id"]].union_all()
            rows = [row for row in rows if row["site_id"] and sites.geometry[row["site_id"]].intersects(there)]
        assert rows, f"{klass}: not named"
