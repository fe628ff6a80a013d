"""Input that cannot be used: one line that says why, exit status 2, nothing written.

The command line is called in this process (starting one per case would take minutes); what GDAL
writes to the file descriptor itself is captured too.
"""

import json
import shutil
import sys

import numpy as np
import pytest

from overwatt.workflows.cli import main as cli
from overwatt.workflows.config.run import load
from overwatt.workflows.run import runner
from tests.support import RGB, names, save_weights, write_image

PIXELS = np.random.default_rng(0).integers(1, 255, (3, 96, 128), dtype=np.uint8)


FILES = {
    "broken": ("name: w\nimagery: {path: [\n", ("YAML", "line 3")),
    "tab": ("name: w\n\timagery: x\n", ("YAML", "line 2")),
    "list": ("- a\n- b\n", ("list",)),
    "empty": ("", ("NoneType",)),
    "unknown key": ("name: w\nimagery:\n  pathh: x\n", ("'imagery.pathh'", "'path'")),
    "unknown group": ("name: w\nimagry:\n  path: x\n", ("'imagry'", "'imagery'")),
    "unknown key in a group that may be absent": (
        "name: w\narea: [0, 0, 1, 1]\nimagery:\n  stac: {url: x, colection: y, assets: [red]}\n",
        ("'imagery.stac.colection'", "'collection'"),
    ),
    "wrong type": ("name: w\nimagery: {path: x.tif}\nreach_m: far\n", ("'reach_m'", "'far'")),
    "out of range": ("name: w\nimagery: {path: x.tif}\nprior: 3\n", ("'prior'", 1, "'3'")),
    "a group that is a list": ("name: w\nimagery: [1]\n", ("'imagery'", "'[1]'")),
    "nothing to look at": ("name: w\n", ("imagery.path", "imagery.stac", "sites")),
    "a name that leaves the folder": ("name: ../w\nimagery: {path: x.tif}\n", ("'name'", "'../w'")),
    "no such date": ("name: 2024-13-45\n", ("month",)),
    "alias bomb": (
        "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\nname: w\narea: [*c, *c]\n",
        ("aliases",),
    ),
    "a Python object": ("name: !!python/object/apply:os.system [echo]\n", ("YAML", "line 1", "os.system")),
    "nested too deeply": ("name: " + "[" * 1500 + "]" * 1500 + "\n", ("nested",)),
    "not text": ("name: \x00\n", ("YAML", "text")),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_workflow_file_that_cannot_be_used(kind, refused, tmp_path):
    text, words = FILES[kind]
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    line = refused("run", path)
    assert names(line, "bad.yaml", *words), line


def test_a_workflow_file_that_is_missing(refused, tmp_path):
    assert names(refused("run", tmp_path / "none.yaml"), tmp_path / "none.yaml")


def test_a_workflow_file_in_latin_1(refused, tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("title: Münster\n".encode("latin-1"))
    assert names(refused("run", path), "latin.yaml", "text")


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("imagery.path", ("--set", "'imagery.path'", "key.sub=value")),
        ("=x", ("--set", "'=x'", "key.sub=value")),
        ("imagery.pth=x", ("'imagery.pth'", "'path'")),
        ("name.first=x", ("--set", "'name'", "group")),
        ("prior=[", ("--set", "'prior=['", "YAML")),
        ("prior=2", ("'prior'", 1, "'2'")),
    ],
)
def test_an_override_that_cannot_be_used(assignment, words, refused, workflow, small_image):
    line = refused("run", workflow(small_image), "--set", assignment)
    assert names(line, *words), line


@pytest.mark.parametrize(
    ("area", "words"),
    [
        ("[10, 50, 11, 51]", ("[10.0000, 50.0000, 11.0000, 51.0000]", "image")),
        ("[-27, 45, -27, 45.1]", ("[-27, 45, -27, 45.1]", "west", "east")),
        ("[-27, 95, -26, 96]", ("latitude", 95, "±90")),
        ("[-27, 45, -26]", ("[-27, 45, -26]", "[west, south, east, north]", "GeoJSON")),
        ("nowhere.geojson", ("nowhere.geojson",)),
        ("area.txt", (".txt", ".geojson", ".gpkg", ".kml")),
        (
            "{type: Polygon, coordinates: [[[-27, 45], [-26.9, 45.01], [-26.9, 45], [-27, 45.01], [-27, 45]]]}",
            ("polygon", "-26.95 45.005"),
        ),
        ("{type: Polygon, coordinates: []}", ("polygon", "empty")),
        ("{type: Point, coordinates: [-27, 45]}", ("polygon", "Point")),
        ("[-30, 40, -10, 60]", ("793,279,236,664", "10,000,000,000")),
    ],
)
def test_an_area_that_cannot_be_used(area, words, refused, workflow, small_image):
    line = refused("run", workflow(small_image, f"area: {area}\n"))
    assert names(line, *words), line


REGISTRIES = {
    "missing": (None, ("declared.path",)),
    "no coordinates": ('id,name,it_mw\na,Alpha,20\n', ("lon", "lat", "id, name, it_mw")),
    "not numbers": ("id,lon,lat\na,east,45\n", ("row 1", "'lon'", "'east'")),
    "off the globe": ("id,lon,lat\na,-27,145\n", ("row 1", "'lat'", 145)),
    "no rows": ("id,lon,lat\n", ("rows",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", REGISTRIES)
def test_a_registry_that_cannot_be_used(kind, refused, workflow, small_image, tmp_path):
    text, words = REGISTRIES[kind]
    path = tmp_path / "registry.csv"
    if text is not None:
        path.write_text(text)
    line = refused("run", workflow(small_image, f"declared:\n  path: {path}\n"))
    assert names(line, "registry.csv", *words), line


def test_geojson_without_geometry(refused, workflow, small_image, tmp_path):
    path = tmp_path / "registry.geojson"
    feature = {"type": "Feature", "properties": {"id": "a"}, "geometry": None}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert "registry.geojson" in refused("run", workflow(small_image, f"declared:\n  path: {path}\n"))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ("tiny.safetensors",)),
        ("no card", ("tiny.safetensors", "tiny.json")),
        ("other hash", ("tiny.safetensors", "sha256")),
        ("other bands", ("small.tif", "'tiny'", "nir", "blue, green, red")),
        ("a pickle", ("tiny.safetensors", "sha256")),
        ("an empty card", ("tiny.json", "'name'")),
    ],
)
def test_weights_that_do_not_fit(kind, words, refused, workflow, small_image, tmp_path):
    folder = tmp_path / "weights"
    bands = (*RGB, "nir") if kind == "other bands" else RGB
    path = save_weights(folder, bands=bands)
    if kind == "missing":
        path.unlink()
    elif kind == "no card":
        path.with_suffix(".json").unlink()
    elif kind == "other hash":
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    elif kind == "a pickle":
        path.write_bytes(b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.")
    elif kind == "an empty card":
        path.with_suffix(".json").write_text("{}")
    line = refused("run", workflow(small_image), "--set", f"detector.weights={path}")
    assert names(line, *words), line


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", ("thermal.stack",)),
        ("celsius as kelvin", ("unit", "'kelvin'", 25, "Celsius")),
        ("no crs", ("CRS",)),
        ("text", ("GeoTIFF",)),
    ],
)
def test_a_thermal_stack_that_cannot_be_used(kind, words, refused, workflow, small_image, tmp_path):
    path = tmp_path / "lst.tif"
    values = np.full((2, 8, 8), 25.0 if "celsius" in kind else 298.0, np.float32)
    if kind == "text":
        path.write_text("warm")
    elif kind != "missing":
        write_image(path, values, gsd_m=30, crs=None if kind == "no crs" else "EPSG:32626", names=(), block=16)
    line = refused("run", workflow(small_image, f"thermal:\n  stack: {path}\n"))
    assert names(line, "lst.tif", *words), line


@pytest.mark.parametrize(
    ("setting", "known"),
    [("declared.format=xml", ("'auto'", "'im3'", "'osm'")), ("thermal.unit=fahrenheit", ("'kelvin'", "'celsius'"))],
)
def test_a_word_that_is_not_offered(setting, known, refused, workflow, small_image):
    name, value = setting.split("=")
    line = refused("run", workflow(small_image), "--set", setting)
    assert names(line, f"'{name}'", f"'{value}'", *known), line


def test_evaluate_refuses_labels_of_other_classes(refused, small_image, weights, tmp_path):
    labels = tmp_path / "labels.geojson"
    ring = [[-27, 45], [-26.99, 45], [-26.99, 45.01], [-27, 45]]
    feature = {"type": "Feature", "properties": {"class": "datacenter"}}
    feature["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    labels.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    args = ("evaluate", "--image", small_image, "--labels", labels, "--weights", weights)
    assert names(refused(*args), "labels.geojson", "'datacenter'", "'data_center'")
    feature["properties"] = {"kind": "data_center"}
    labels.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    assert names(refused(*args), "labels.geojson", "'class'", "kind")
    assert names(refused(*args, "--unlabelled", "ignored"), "--unlabelled", "'ignored'", "'ignore'")


def test_reconcile_refuses_a_file_that_is_no_table_of_sites(refused, workflow, small_image, registry):
    file = workflow(small_image)
    assert names(refused("reconcile", file, registry), file.name)


def test_an_out_that_is_a_file(workflow, small_image, tmp_path, monkeypatch, capfd):
    place = tmp_path / "taken"
    place.write_text("mine")
    monkeypatch.setattr(sys, "argv", ["overwatt", "run", str(workflow(small_image)), "--out", str(place)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert place.read_text() == "mine"


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("tcp://192.0.2.1:8786", "tls://"),
        pytest.param("tcp://127.0.0.1:1", "tcp://127.0.0.1:1", marks=pytest.mark.slow),  # about 10 s
    ],
)
def test_a_scheduler_that_cannot_be_used(address, word, workflow, small_image, tmp_path, monkeypatch, capfd):
    out = tmp_path / "out"
    argv = ["overwatt", "run", str(workflow(small_image)), "--out", str(out), "--scheduler", address]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capfd.readouterr()
    assert stop.value.code == 2
    last = printed.err.splitlines()[-1]
    assert last.startswith("overwatt: --scheduler")
    assert names(last, word), last
    assert "Traceback" not in printed.err
    assert not out.exists()


def test_messages_cannot_write_escapes_to_the_terminal(refused, tmp_path):
    line = refused("run", tmp_path / "a\x1b[31mred\x07.yaml")
    assert "\x1b" not in line
    assert "\x07" not in line


@pytest.mark.parametrize("argv", [["rum"], ["run"], ["run", "x.yaml", "--colour"], ["detect", "x.tif"]])
def test_usage_errors(argv, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["overwatt", *argv])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capfd.readouterr()
    assert stop.value.code == 2
    assert "Usage" in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert not list(tmp_path.iterdir())


def test_a_full_disk_gives_one_line_and_no_traceback(workflow, small_image, monkeypatch, capfd, tmp_path):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", str(tmp_path / "sites.parquet"))

    monkeypatch.setattr(runner, "run", full)
    monkeypatch.setattr(sys, "argv", ["overwatt", "run", str(workflow(small_image))])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    line = capfd.readouterr().err
    assert names(line, tmp_path / "sites.parquet", "No space left on device", "free space", "same command again")
    assert line.count("\n") == 1


def test_a_copy_of_the_image_is_fine(workflow, small_image, tmp_path):
    """The refusals above are for their reasons: with nothing wrong, all inputs open."""
    copy = shutil.copy(small_image, tmp_path / "image.tif")
    inputs = runner.open_inputs(load(workflow(copy)))
    assert inputs.source is not None
    assert inputs.source.shape == (70, 90)
