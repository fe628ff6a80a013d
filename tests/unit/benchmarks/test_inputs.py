"""The benchmark of inputs tells the outcomes apart: each by a case of its own."""

import json

import pytest

from benchmarks import inputs

README = "A case. Run here, with $OUT a free path and the environment's `bin` first in PATH: `{}`\n"
LINE = "overwatt: registry 'x.csv' is empty"


@pytest.mark.parametrize(
    ("expected", "calls", "printed", "in_time", "outcome"),
    [
        ({"if_not": "lost", "any_of": [{"exit": 0, "output": ["^4 rows"]}]}, [[0, ""]], "x\n4 rows", True, "right"),
        ({"if_not": "lost", "any_of": [{"exit": 0, "output": ["^4 rows"]}]}, [[0, ""]], "3 rows", True, "lost"),
        ({"if_not": "wrong", "any_of": [{"exit": 0, "absent": ["nan"]}]}, [[0, ""]], "a nan", True, "wrong"),
        ({"if_not": "wrong", "any_of": [{"exit": 0, "output": ["tile"]}]}, [[3, ""]], "tile", True, "wrong"),
        ({"if_not": "wrong", "any_of": [{"exit": 3, "output": ["tile"]}]}, [[3, ""]], "tile", True, "right"),
        ({"if_not": "wrong", "any_of": [{"exit": 2, "error": ["EMPTY"]}]}, [[2, LINE]], "", True, "clear_error"),
        ({"if_not": "wrong", "any_of": [{"exit": 2, "error": ["full"]}]}, [[2, LINE]], "", True, "wrong"),
        ({"if_not": "wrong", "any_of": [{"exit": 2}]}, [[2, f"{LINE}\n{LINE}"]], "", True, "wrong"),
        (None, [[0, ""], [1, "Traceback (most recent call last):\n"]], "", True, "traceback"),
        (None, [[0, ""]], "", False, "hang"),
        (None, [[2, LINE]], "", True, "clear_error"),
        (None, [[0, ""]], "", True, "unjudged"),
        ({"other": 1}, [[0, ""]], "", True, "unjudged"),
    ],
)
def test_outcomes(expected, calls, printed, in_time, outcome):
    assert inputs.judge(expected, calls, printed, in_time) == outcome


def test_a_case_is_built_and_run_in_a_copy_of_its_folder(tmp_path):
    case = tmp_path / "case"
    case.mkdir()
    (case / "build.py").write_text("open('x.csv', 'w').write('')")
    (case / "README.md").write_text(README.format("overwatt reconcile x.csv x.csv --out $OUT ; echo done"))
    (case / "expected.json").write_text(json.dumps({"if_not": "wrong", "any_of": [{"exit": 2, "error": ["empty"]}]}))
    result = inputs.run_case(case)
    assert result["outcome"] == "clear_error"
    assert result["printed"].endswith("done\n")
    assert not (case / "x.csv").exists()


def test_every_shared_case_has_its_expectation():
    if not inputs.SHARED.is_dir():
        pytest.skip(f"no cases at {inputs.SHARED}")
    names = {p.parent.name for p in inputs.SHARED.glob("*/build.py")}
    assert names == {p.parent.name for p in inputs.EXPECTED.glob("*/expected.json")}
