"""Whole runs on a simulated district, with small random weights and real Dask workers.

The weights find nonsense, and much of it: what is tested is that every pixel arrives, that
stopping and cutting change nothing, and what is said about what went wrong.
"""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from html.parser import HTMLParser

import geopandas as gpd
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely

from overwatt.pipeline.tables import SCHEMAS
from overwatt.workflows.config.run import load
from overwatt.workflows.run import computing, tiling
from overwatt.workflows.run import runner as runs
from tests.run_process import finish, start, wait_for_parts
from tests.support import HANG_S, ROOT, corrupt_block, environment, names

SPATIAL = ("footprints", "sites", "declared", "ledger", "almost_listed", "looked_at", "not_looked_at")


def hashes(folder):
    """sha256 of every GeoParquet and COG of a run, by name."""
    files = sorted([*folder.glob("*.parquet"), *folder.glob("*.tif")])
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def leftovers(folder):
    """Temporary files that should not be there any more."""
    return [p.name for p in folder.rglob("*") if ".part" in p.name or "scratch" in p.name or p.name.endswith(".tmp")]


@pytest.fixture(scope="module")
def clean(tmp_path_factory, workflow_file):
    """An undisturbed run (about 29 s): its folder, its summary, its standard error. Not to be changed."""
    out = tmp_path_factory.mktemp("clean") / "run"
    summary, stderr = finish(workflow_file, out)
    return out, summary, stderr


def test_the_summary_has_exactly_what_was_promised(clean):
    out, summary, _ = clean
    assert list(summary) == ["run", "report", "tiles", "sites", "ledger", "ground_size"]
    assert summary["run"] == str(out)
    assert summary["report"] == str(out / "report.html")
    assert summary["tiles"] == {"done": 6, "failed": 0}
    assert summary["sites"] == len(gpd.read_parquet(out / "sites.parquet")) > 0
    assert summary["ledger"]
    for row in summary["ledger"]:
        assert list(row) == ["class", "declared_id", "site_id", "rank"]
    assert [r["rank"] for r in summary["ledger"]] == list(range(1, len(summary["ledger"]) + 1))


def test_progress_is_shown_while_it_runs(clean):
    done = re.findall(r"\b([0-6])/6\b", clean[2])
    assert len(done) >= 6
    assert done[-1] == "6"
    assert "Traceback" not in clean[2]
    assert "Warning" not in clean[2]


def test_every_output_is_there_and_nothing_temporary(clean):
    out = clean[0]
    names = {p.name for p in out.iterdir()}
    for table in set(SCHEMAS) - {"entries"}:  # the ledger before it is ranked
        assert {f"{table}.parquet", f"{table}.csv"} <= names
    assert {"overwatt.gpkg", "probability.tif", "report.html", "manifest.json", "parts"} <= names
    assert leftovers(out) == []


@pytest.mark.parametrize("table", SPATIAL)
def test_geoparquet_is_valid(clean, table):
    path = clean[0] / f"{table}.parquet"
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert column.get("crs", {"id": {"code": "CRS84"}})["id"]["code"] == "CRS84"
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    frame = gpd.read_parquet(path)
    names = [c.name for c in SCHEMAS["declared" if table == "not_looked_at" else table]]
    assert frame.columns.tolist() == [*names, "geometry", *[c for c in frame.columns if c == "bbox"]]
    assert frame.geometry.is_valid.all()
    assert frame.crs == "OGC:CRS84"


def test_a_bbox_filter_reads_the_footprints_inside(clean):
    path = clean[0] / "footprints.parquet"
    every = gpd.read_parquet(path)
    box = every.geometry.iloc[0].bounds
    some = gpd.read_parquet(path, bbox=box)
    assert 0 < len(some) < len(every)
    assert set(some["object_id"]) == set(every[every.intersects(shapely.box(*box))]["object_id"]) | set(
        every[every.geometry.map(lambda g: shapely.box(*g.bounds).intersects(shapely.box(*box)))]["object_id"]
    )


def test_the_geopackage_has_every_layer(clean):
    layers = gpd.list_layers(clean[0] / "overwatt.gpkg")
    assert set(SPATIAL) == set(layers["name"])
    assert len(gpd.read_file(clean[0] / "overwatt.gpkg", layer="sites")) == clean[1]["sites"]


def test_the_probabilities_are_a_cloud_optimised_geotiff(clean, scene):
    with rasterio.open(clean[0] / "probability.tif") as cog, rasterio.open(scene) as image:
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert cog.block_shapes == [(512, 512)] * 4
        assert cog.overviews(1) == [2]
        assert cog.descriptions == ("background", "other_building", "data_center", "cooling_equipment")
        assert cog.shape == image.shape
        assert cog.transform == image.transform
        assert cog.crs == image.crs
        values = cog.read().astype(int)
        assert (cog.dataset_mask() == 255).all()
    assert abs(values[:3].sum(0) - 255).max() <= 2  # three shares, rounded


def test_the_manifest_says_what_was_done(clean, scene, weights, registry):
    manifest = json.loads((clean[0] / "manifest.json").read_text())
    assert manifest["inputs"] == {
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "imagery": hashlib.sha256(scene.read_bytes()).hexdigest(),
        "declared": hashlib.sha256(registry.read_bytes()).hexdigest(),
    }
    assert manifest["parameters"]["prior"] == 0.3
    assert manifest["code"]
    assert manifest["computed_with"].startswith("torch ")
    stages = {"open", "tiles", "footprints", "sites", "power", "ledger", "tables", "report"}
    assert set(manifest["seconds"]) == stages
    assert [t["tile"] for t in manifest["tiles"]] == [f"r00{r}c00{c}" for r in range(2) for c in range(3)]
    assert {t["outcome"] for t in manifest["tiles"]} == {"computed"}
    assert manifest["outputs"] == hashes(clean[0])


def test_no_cell_of_a_csv_is_a_formula(clean):
    cells = 0
    for path in clean[0].glob("*.csv"):
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True)):
            for cell in row:
                cells += 1
                if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
                    float(cell)  # a negative number is none
    assert cells > 1000
    declared = (clean[0] / "declared.csv").read_text()
    assert "'=HYPERLINK" in declared
    assert "'=1+1" in declared


class Live(HTMLParser):
    """Collects what a browser would run."""

    def __init__(self):
        super().__init__()
        self.scripts, self.handlers, self.links, self._in = [], [], [], False

    def handle_starttag(self, tag, attrs):
        self._in = tag == "script" and dict(attrs).get("type", "text/javascript") != "application/json"
        if self._in:
            self.scripts.append("")
        self.handlers += [(tag, k) for k, _ in attrs if k.startswith("on")]
        self.links += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith(("data:", "#"))]

    def handle_data(self, data):
        if self._in:
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self._in = False


def test_names_in_a_registry_are_never_code_in_the_report(clean):
    text = (clean[0] / "report.html").read_text(encoding="utf-8")
    assert "alert(1)" in text  # the name is there, harmless
    page = Live()
    page.feed(text)
    assert page.scripts
    assert not any("alert(" in s for s in page.scripts)
    assert page.handlers == []
    assert not [v for v in page.links if not v.startswith(("https://", "http://"))]
    assert "<img src=x" not in text


@pytest.mark.slow  # about 15 s
def test_tile_size_and_number_of_workers_change_nothing(clean, workflow_file, tmp_path, monkeypatch):
    """About 21 s."""
    monkeypatch.setattr(computing, "CPU_COUNT", 1)  # one worker; the clean run has one a core
    out = tmp_path / "run"
    summary = runs.run(load(workflow_file, ["detector.tile_px=293"]), out)
    assert summary["tiles"] == {"done": 12, "failed": 0}
    assert summary["ledger"] == clean[1]["ledger"]
    assert hashes(out) == hashes(clean[0])  # every table, sites and looked_at among them, and the raster


def test_a_second_run_reuses_every_part_without_workers(clean, workflow_file, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(clean[0], out)

    def none(*args):
        raise AssertionError("workers were started")

    monkeypatch.setattr(tiling, "computing", none)
    summary = runs.run(load(workflow_file), out)
    assert summary["ledger"] == clean[1]["ledger"]
    assert hashes(out) == hashes(clean[0])
    manifest = json.loads((out / "manifest.json").read_text())
    assert {t["outcome"] for t in manifest["tiles"]} == {"reused"}


@pytest.mark.slow  # about 10 s
def test_a_damaged_part_is_computed_anew(clean, workflow_file, tmp_path):
    """About 18 s."""
    out = tmp_path / "run"
    shutil.copytree(clean[0], out)
    part = sorted((out / "parts").glob("*.npz"))[2]
    part.write_bytes(part.read_bytes()[:1000])
    runs.run(load(workflow_file), out)
    assert hashes(out) == hashes(clean[0])
    outcomes = [t["outcome"] for t in json.loads((out / "manifest.json").read_text())["tiles"]]
    assert outcomes.count("computed") == 1
    assert outcomes.count("reused") == 5


@pytest.mark.slow  # about 35 s
def test_kill_and_interrupt_and_run_again_give_the_same_bytes(clean, workflow_file, tmp_path):
    """About 61 s: three starts of the command with workers."""
    out = tmp_path / "run"
    process = start(workflow_file, out)
    wait_for_parts(process, out, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "manifest.json").exists()
    (out / ".sites.parquet.4242.part").write_bytes(b"half a table, as a kill at a bad moment leaves it")
    before = len(list((out / "parts").glob("*.npz")))

    if before < 6:
        process = start(workflow_file, out)
        wait_for_parts(process, out, before + 1)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C in a terminal does: to all of the group
        stdout, stderr = process.communicate(timeout=HANG_S)
        assert process.returncode == 130, stderr
        assert "Traceback" not in stderr
        assert stderr.splitlines()[-1].startswith("overwatt: ")
        assert stdout == ""

    summary, _ = finish(workflow_file, out)
    assert summary["ledger"] == clean[1]["ledger"]
    assert hashes(out) == hashes(clean[0])
    assert leftovers(out) == []
    outcomes = [t["outcome"] for t in json.loads((out / "manifest.json").read_text())["tiles"]]
    assert outcomes.count("reused") >= before


@pytest.fixture
def scheduler(tmp_path):
    """A Dask scheduler and one worker with four threads, started by their own commands."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address]
    log = (tmp_path / "dask.log").open("w")
    options = {"env": environment(), "cwd": ROOT, "stdout": log, "stderr": log, "start_new_session": True}
    port = address.rsplit(":", 1)[1]
    started = [
        subprocess.Popen([*dask, "--host", "127.0.0.1", "--port", port, "--no-dashboard"], **options),
        subprocess.Popen([*worker, "--nthreads", "4", "--no-dashboard", "--local-directory", tmp_path], **options),
    ]
    yield address
    for process in started:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(HANG_S)
    log.close()


@pytest.mark.slow  # about 15 s
def test_a_scheduler_elsewhere_gives_the_same_bytes(clean, workflow_file, tmp_path, scheduler):
    """About 27 s."""
    from distributed import Client

    with Client(scheduler, timeout=HANG_S) as client:
        client.wait_for_workers(1, timeout=HANG_S)
    out = tmp_path / "run"
    summary, _ = finish(workflow_file, out, "--scheduler", scheduler)
    assert summary["tiles"] == {"done": 6, "failed": 0}
    assert hashes(out) == hashes(clean[0])


@pytest.mark.slow  # about 23 s
def test_a_damaged_block_fails_its_tiles_and_the_run_says_so(clean, scene, workflow_file, tmp_path):
    """About 40 s: a run, and a second one over what it left."""
    image, out = tmp_path / "scene.tif", tmp_path / "run"
    shutil.copy(scene, image)
    corrupt_block(image, 3, 2)  # columns 768-899, rows 512-699
    summary = runs.run(load(workflow_file, [f"imagery.path={image}"]), out)
    looked = gpd.read_parquet(out / "looked_at.parquet").set_index("cell")
    failed = looked.index[looked["failed"]].tolist()
    # a tile fails when a window of it needs the block; the windows of the first cell end at column 544
    assert failed == ["r000c000 failed", "r000c001 failed"]
    assert summary["tiles"] == {"done": 2, "failed": 4}
    for name in failed:
        assert not looked.loc[name, "screened"]
        assert names(looked.loc[name, "reason"], "scene.tif", "rows", "columns")
        assert looked.loc[name, "imaged"] == 0
    assert looked.loc["r000c000", "imaged"] == 1  # of its ground that did not fail
    with rasterio.open(out / "probability.tif") as cog:
        mask = cog.dataset_mask()
    assert (mask[:, :384] == 255).all()
    assert (mask[:, 384:] == 0).all()
    whole, some = (gpd.read_parquet(f / "footprints.parquet") for f in (clean[0], out))
    inside = whole[whole["tile"] == "r000c000"]
    assert 0 < len(some) <= len(inside)
    assert "failed" in (out / "report.html").read_text()
    # a failed tile is tried again
    again, stderr = finish(workflow_file, out, "--set", f"imagery.path={image}", status=3)
    assert "Traceback" not in stderr
    assert again["tiles"] == summary["tiles"]
    outcomes = [t["outcome"] for t in json.loads((out / "manifest.json").read_text())["tiles"]]
    assert sorted(outcomes) == ["failed"] * 4 + ["reused"] * 2


def test_a_run_looks_at_its_area_and_at_nothing_else(workflow_file, tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "CPU_COUNT", 1)
    out, area = tmp_path / "run", (-26.996, 45.002, -26.985, 45.006)
    runs.run(load(workflow_file, [f"area={list(area)}"]), out)
    looked = gpd.read_parquet(out / "looked_at.parquet").union_all()
    box = shapely.box(*area)
    assert looked.symmetric_difference(box).area < 0.02 * box.area
    found = gpd.read_parquet(out / "footprints.parquet")
    assert found.geometry.within(box.buffer(1e-4)).all()
    with rasterio.open(out / "probability.tif") as cog:
        assert cog.shape[0] < 300
        assert cog.shape[1] < 500
    # what lies at the area's edge is marked as cut
    assert found["on_border"].any()
    assert not found["on_border"].all()
