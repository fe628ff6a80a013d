"""What people write in settings files: dates, words and numbers, paths with variables, and the line of a mistake."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError
from overwatt.workflows.config.assess import assessment
from overwatt.workflows.config.run import Workflow, load
from overwatt.workflows.config.training import TrainingFile, resolve
from overwatt.workflows.config.yaml import expanded_path, load_yaml, read_yaml
from tests.support import naming

HEAD = "name: w\nimagery:\n  path: a.tif\n"
STAC = "name: w\narea: [1, 2, 3, 4]\nimagery:\n  stac: {{url: u, collection: c, assets: [red], datetime: {}}}\n"


def write(folder: Path, text: str | bytes, name: str = "w.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def value(workflow: Workflow, key: str):
    for part in key.split("."):
        workflow = getattr(workflow, part)
    return workflow


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ("name: 2024", "name", "2024"),
        ("name: no", "name", "no"),
        ("name: 1.10", "name", "1.10"),
        ("name: 010", "name", "010"),
        ("name: 1_000", "name", "1_000"),
        ("name: 2023-06-01", "name", "2023-06-01"),
        ("name: 1e3", "name", "1e3"),
        ('name: w\nprior: "0.5"', "prior", 0.5),
        ("name: w\nprior: 3e-3", "prior", 0.003),
        ("name: w\nprior: .25", "prior", 0.25),
        ('name: w\nyear: "2025"', "year", 2025),
        ("name: w\nseed: 08", "seed", 8),
        ("name: w\nseed: 010", "seed", 10),
        ("name: w\nseed: 1_000", "seed", 1000),
        ("name: w\nsimulated: yes", "simulated", True),
        ("name: w\nsimulated: false", "simulated", False),
        ("name: w\ntitle: 12:30", "title", "12:30"),
        ("name: w\ntitle: NO", "title", "NO"),
        ("name: w\ntitle: 0x1F", "title", "0x1F"),
        ("name: w\nattribution: [2024, NO]", "attribution", ("2024", "NO")),
        ("name: w\ndeclared: {columns: {it_mw: 2024, country: no}}", "declared.columns",
         {"it_mw": "2024", "country": "no"}),
        ("name: w\nthermal:\ndeclared:", "thermal.unit", "kelvin"),
        ("name: w\narea: ['-77.5', 39, '-77.4', \"39.1\"]", "area", [-77.5, 39, -77.4, 39.1]),
    ],
)  # fmt: skip
def test_the_evident_meaning_is_taken(tmp_path, line, key, expected):
    got = value(load(write(tmp_path, f"{line}\nimagery: {{path: a.tif}}\n")), key)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2023-06-01", "2023-06-01"), ("'2023-06-01'", "2023-06-01"), ("2023-06-01T10:30:00Z", "2023-06-01"),
     ("2023-06-01 10:30:00", "2023-06-01"), ("20230601", "2023-06-01")],
)  # fmt: skip
def test_a_date_that_yaml_knows_is_a_date(tmp_path, text, expected):
    path = write(tmp_path, f"{HEAD}  date: {text}\n")
    assert load(path).imagery.date == expected
    assert load(write(tmp_path, HEAD), [f"imagery.date={text}"]).imagery.date == expected


@pytest.mark.parametrize(
    "text", ["2023-02-30", "01.06.2023", "2023-6-1", "true", "0202-06-01", "1969-07-20", "2999-01-01", "20250-01-01"]
)
def test_a_date_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=naming("w.yaml:4", "'imagery.date'")):
        load(write(tmp_path, f"{HEAD}  date: {text}\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2023-06-01", "2023-06-01"), ("2023-06-01/2023-12-31", "2023-06-01/2023-12-31"), ("2023", "2023"),
     ("2023-06-01 10:00:00Z", "2023-06-01T10:00:00Z"), ("[2023-06-01, 2023-12-31]", "2023-06-01/2023-12-31"),
     ("2023-06-01/..", "2023-06-01/..")],
)  # fmt: skip
def test_dates_of_a_catalogue_are_text(tmp_path, text, expected):
    stac = load(write(tmp_path, STAC.format(text))).imagery.stac
    assert stac is not None
    assert stac.datetime == expected


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_a_title_is_the_text_of_the_file_whatever_it_looks_like(tmp_path_factory, text):
    path = write(tmp_path_factory.mktemp("t"), HEAD + "title: '" + text.replace("'", "''") + "'\n")
    assert load(path).title == text


# --- the line of a mistake ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "thermal:\n  unitt: kelvin\n", ("w.yaml:5", "'thermal.unitt'", "'unit'")),
        (HEAD + "\n# note\nprior: much\n", ("w.yaml:6", "'prior'", "'much'")),
        (HEAD + "prior: 0,5\n", ("w.yaml:4", "'0,5'")),
        (HEAD + "prior: 0.1\nseed: 1\nprior: 0.2\n", ("w.yaml:6", "'prior'", "w.yaml:4")),
        (HEAD + "thermal: {unit: kelvin, unit: celsius}\n", ("w.yaml:4", "'unit'", "twice")),
        (HEAD + "thermal:\n\tunit: kelvin\n", ("w.yaml:5", "tab", "spaces")),
        (HEAD + 'title: "C:\\data"\n', ("w.yaml:4", "backslashes")),
        ("name: w\nimagery: {path: ${A}/b.tif}\n", ("w.yaml:2", "quotes")),
        (HEAD + "title: [a\n", ("w.yaml:5", "broken YAML")),
        (HEAD + "a: &x 1\nb: *x\n", ("w.yaml", "aliases")),
        (HEAD + "? [a, b]\n: 1\n", ("w.yaml:4", "key")),
        (HEAD + "title: !!python/object:os.system x\n", ("w.yaml:4",)),
        (HEAD + "declared: {also: [a.csv, [b]]}\n", ("w.yaml:4", "declared.also.1")),
        (HEAD.replace("\n", "\r\n") + "prioor: 1\r\n", ("w.yaml:4", "'prior'")),
        ("\ufeff" + HEAD + "prioor: 1\n", ("w.yaml:4", "'prior'")),
        (HEAD.encode() + b"title: M\xfcnster\n", ("w.yaml", "UTF-8")),
        ("- a\n", ("w.yaml", "list")),
        ("", ("w.yaml", "NoneType")),
        (HEAD + "year: 1999\n", ("w.yaml:4", "'year'", "1999")),
        (HEAD + "name: x\n", ("w.yaml:4", "w.yaml:1", "'name'")),
    ],
)
def test_the_error_names_the_line(tmp_path, text, words):
    with pytest.raises(ConfigError, match=naming(*words)) as raised:
        load(write(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_file_with_byte_order_mark_and_windows_lines_is_read(tmp_path):
    assert load(write(tmp_path, b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode())).name == "w"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("prioor=1", ("--set prioor", "'prior'")),
        ("prior=much", ("--set prior", "'much'")),
        ("thermal.unit=[a", ("--set 'thermal.unit=[a'",)),
        ("imagery.path=${OVERWATT_NONE}/x.tif", ("--set imagery.path", "OVERWATT_NONE")),
    ],
)
def test_a_mistake_in_set_names_the_option(tmp_path, assignment, words):
    path = write(tmp_path, HEAD + "prior: 0.1\nthermal: {unit: kelvin}\n")
    with pytest.raises(ConfigError, match=naming(*words)) as raised:
        load(path, [assignment])
    assert "w.yaml" not in str(raised.value)
    with pytest.raises(ConfigError, match=naming("--set reconcile.p_misse", "p_missed")):
        assessment(["reconcile.p_misse=0.3"])


def test_training_files_name_the_line_too(tmp_path):
    text = "name: a\nversion: 1.10\nlicence: CC0\ngsd_m: 2\ngsd_range_m: [1, 3]\nnative_range_m: [1, 3]\n"
    assert load_yaml(write(tmp_path, text), TrainingFile).version == "1.10"
    with pytest.raises(ConfigError, match=naming("w.yaml:8", "'pictures.0.imag'", "'image'")):
        load_yaml(write(tmp_path, text + "pictures:\n  - imag: x\n    name: n\n"), TrainingFile)


# --- paths ----------------------------------------------------------------------------------------


def test_variables_in_paths_are_replaced_and_in_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERWATT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = (
        "name: w\ntitle: $OVERWATT_DATA\narea: ${OVERWATT_DATA}/area.kml\nimagery: {path: $OVERWATT_DATA/a.tif}\n"
        "thermal: {stack: '~/lst/*.tif'}\n"
        "declared: {path: '${OVERWATT_DATA}/r.csv', also: ['$OVERWATT_DATA/s.csv', t.csv], columns: {path: $HOME}}\n"
    )
    workflow = load(write(tmp_path, text))
    assert workflow.title == "$OVERWATT_DATA"
    assert workflow.area == str(tmp_path / "data" / "area.kml")
    assert workflow.imagery.path == tmp_path / "data" / "a.tif"
    assert workflow.thermal.stack == str(tmp_path / "home" / "lst" / "*.tif")
    assert workflow.declared.path == tmp_path / "data" / "r.csv"
    assert workflow.declared.also == (tmp_path / "data" / "s.csv", tmp_path / "t.csv")
    assert workflow.declared.columns == {"path": "$HOME"}
    assert resolve("$OVERWATT_DATA/p.tif", tmp_path) == (tmp_path / "data" / "p.tif").resolve()


def test_a_path_that_is_overridden_needs_no_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("OVERWATT_NONE", raising=False)
    path = write(tmp_path, HEAD.replace("a.tif", "$OVERWATT_NONE/a.tif"))
    assert load(path, ["imagery.path=b.tif"], base=tmp_path).imagery.path == tmp_path / "b.tif"


def test_one_registry_needs_no_list_and_a_number_may_name_a_file(tmp_path):
    workflow = load(write(tmp_path, HEAD.replace("a.tif", "2024") + "declared: {also: s.csv}\n"))
    assert workflow.declared.also == (tmp_path / "s.csv",)
    assert workflow.imagery.path == tmp_path / "2024"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("${OVERWATT_NONE}/x.tif", ("OVERWATT_NONE", "not set")),
        ("$OVERWATT_URL/x.tif", ("OVERWATT_URL", "holds a URL")),
        ("https://host/x.tif", ("https://host/x.tif", "URL")),
        ("C:\\data\\x.tif", ("Windows",)),
        ('"data\\tiles.tif"', ("control character", "single quotes")),
    ],
)
def test_paths_that_cannot_be_used_are_refused_with_their_line(tmp_path, monkeypatch, path, words):
    monkeypatch.delenv("OVERWATT_NONE", raising=False)
    monkeypatch.setenv("OVERWATT_URL", "https://user:secret@host/data")
    with pytest.raises(ConfigError, match=naming("w.yaml:3", "imagery.path", *words)) as raised:
        load(write(tmp_path, HEAD.replace("a.tif", path)))
    assert "secret" not in str(raised.value)


def test_a_file_of_such_a_name_is_taken_as_it_is(tmp_path):
    for name in ("$OVERWATT_NONE.tif", "a\\b.tif"):
        (tmp_path / name).touch()
        workflow = load(write(tmp_path, HEAD.replace("a.tif", name)))
        assert workflow.imagery.path == tmp_path / name
    (tmp_path / "in").mkdir()
    assert expanded_path("in\\c.tif", "x") == ("in/c.tif" if os.name == "posix" else "in\\c.tif")


def test_read_yaml_gives_places(tmp_path):
    places = {}
    read_yaml(write(tmp_path, "a:\n  b: [1, x]\n"), places)
    assert {k: (p.name, p.text) for k, p in places.items() if k} == {
        ("a",): ("w.yaml:1", None), ("a", "b"): ("w.yaml:2", None),
        ("a", "b", 0): ("w.yaml:2", "1"), ("a", "b", 1): ("w.yaml:2", "x"),
    }  # fmt: skip
