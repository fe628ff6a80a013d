"""Settings files: read safely, overridden, checked, with errors that help."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import ConfigError
from overwatt.workflows.config.run import Workflow, load
from overwatt.workflows.config.yaml import apply_set, read_yaml, validate
from tests.support import ROOT, names, naming


def write(folder: Path, text: str, name: str = "w.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["ashburn", "demo", "muenster"])
def test_the_shipped_workflows_are_valid(name):
    workflow = load(ROOT / "workflows" / "examples" / f"{name}.yaml")
    assert workflow.name == name


@pytest.mark.parametrize("path", ["x", "imagery.path", "a.b.c"])
@settings(max_examples=40)
@given(value=st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False), st.none(), st.lists(st.integers())))
def test_set_then_get(path, value):
    text = yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    data = apply_set({}, [f"{path}={text}"])
    for key in path.split("."):
        data = data[key]
    assert data == value


def test_set_keeps_what_it_does_not_name_and_later_ones_win():
    data = apply_set({"a": {"b": 1, "c": 2}}, ["a.b=3", "d=x=y", "a.b=4"])
    assert data == {"a": {"b": 4, "c": 2}, "d": "x=y"}


def test_the_file_is_not_changed_by_an_override(tmp_path):
    path = write(tmp_path, "name: w\nimagery: {path: a.tif}\n")
    assert load(path, ["reach_m=12"]).reach_m == 12
    assert load(path).reach_m == 60


def test_paths_in_the_file_are_relative_to_it_and_overrides_to_the_current_folder(tmp_path):
    path = write(tmp_path / "deep", "name: w\nimagery: {path: a.tif}\ndeclared: {path: ../r.csv}\n")
    workflow = load(path, ["imagery.path=b.tif"], base=tmp_path / "here")
    assert workflow.imagery.path == tmp_path / "here" / "b.tif"
    assert workflow.declared.path is not None
    assert workflow.declared.path.resolve() == tmp_path / "r.csv"


def test_the_area_may_be_a_file_beside_the_workflow_a_box_or_geojson(tmp_path):
    head = "name: w\nimagery: {path: a.tif}\n"
    assert load(write(tmp_path, head + "area: here.kml\n")).area == str(tmp_path / "here.kml")
    assert load(write(tmp_path, head + "area: [1, 2, 3, 4]\n")).area == [1, 2, 3, 4]
    inline = load(write(tmp_path, head + "area: {type: Polygon, coordinates: []}\n")).area
    assert inline == {"type": "Polygon", "coordinates": []}


def test_an_area_file_may_be_overridden_by_a_box(tmp_path):
    path = write(tmp_path, "name: w\nimagery: {path: a.tif}\narea: here.kml\n")
    assert load(path, ["area=[1, 2, 3, 4]"]).area == [1, 2, 3, 4]


def test_every_field_has_a_description():
    def walk(model):
        for name, field in model.model_fields.items():
            nested = field.annotation if isinstance(field.annotation, type) else None
            if nested is not None and hasattr(nested, "model_fields"):
                assert nested.__doc__
                walk(nested)
            else:
                assert field.description, name

    walk(Workflow)


def test_a_workflow_cannot_be_changed(tmp_path):
    workflow = load(write(tmp_path, "name: w\nimagery: {path: a.tif}\n"))
    with pytest.raises(ValueError, match="frozen_instance"):
        workflow.seed = 3


def test_an_alias_is_refused_before_it_is_expanded(tmp_path):
    levels = "\n".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]" for i in range(1, 12))
    with pytest.raises(ConfigError, match=naming("w.yaml", "aliases")):
        read_yaml(write(tmp_path, f"k0: &k0 [x]\n{levels}\n"))


@pytest.mark.parametrize("unit", ["[", "{a: ", "[{", "- ", "? "])
def test_deep_nesting_is_refused_before_it_is_parsed(tmp_path, unit):
    path = tmp_path / "w.yaml"
    path.write_text("name: w\nx:\n  " + unit * (900_000 // len(unit)))
    with pytest.raises(ConfigError, match=naming("w.yaml:3", "nested too deeply", 50)):
        read_yaml(path)


def test_twenty_levels_are_read(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text("x: " + "[" * 20 + "{a: 1}" + "]" * 20 + "\ny: [[1], [2]]\n")
    assert read_yaml(path)["y"] == [[1], [2]]


def test_a_file_of_a_megabyte_is_not_read(tmp_path):
    with pytest.raises(ConfigError, match=naming("w.yaml", 1000000)):
        read_yaml(write(tmp_path, "a: " + "x" * 1_000_001))


def test_the_nearest_known_key_is_named():
    with pytest.raises(ConfigError, match=naming("w.yaml", "'prioor'", "'prior'")):
        validate({"name": "w", "prioor": 1}, Workflow, "w.yaml")


def test_a_rule_over_several_fields_names_the_setting_to_give():
    with pytest.raises(ConfigError, match=naming("w.yaml", "sites", "thermal.stack")) as raised:
        validate({"name": "w", "sites": "a.geojson"}, Workflow, "w.yaml")
    assert not names(str(raised.value), "Value error")  # pydantic's own words are left out


def test_a_message_is_one_line_whatever_the_value():
    with pytest.raises(ConfigError) as raised:
        validate({"name": "a\nb\nc", "imagery": {"path": "x"}}, Workflow, "w.yaml")
    assert "\n" not in str(raised.value)
