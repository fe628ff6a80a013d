"""The key of a stored part follows from the code: an edit of any module that it runs through is noticed."""

import importlib
from pathlib import Path

from overwatt.workflows.run import part_keys


def test_the_modules_that_were_missing_from_the_hand_kept_list_are_reached():
    reached = part_keys.reached(*part_keys.DETECTOR_ROOTS)
    for name in (
        "overwatt.models.detector.cpu_inference", "overwatt.workflows.io.stac_source", "overwatt.workflows.io.stac_api",
        "overwatt.models.detector.network", "overwatt.pipeline.detection.vectorization", "overwatt.aoi.grid",
    ):  # fmt: skip
        assert name in reached, name


def test_code_that_no_part_runs_through_is_not_reached():
    reached = part_keys.reached(*part_keys.DETECTOR_ROOTS)
    for room in ("pipeline.report", "pipeline.inspection", "workflows.cli", "workflows.export", "models.simulate"):
        assert not any(name.startswith(f"overwatt.{room}") for name in reached), room


def test_what_a_worker_imports_of_ours_is_reached():
    """The static walk misses nothing that the import system loads for a tile."""
    tile = importlib.import_module("overwatt.workflows.run.tile")
    reached = part_keys.reached("overwatt.workflows.run.tile")
    for value in vars(tile).values():
        module = getattr(value, "__module__", None) or ""
        if module.startswith("overwatt."):
            assert module in reached, module


def test_an_edit_changes_the_hash(tmp_path: Path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.py").write_text("x = 1\n")
    (tmp_path / "a.py").write_text("def f():\n    from overwatt.house import b\n")
    (tmp_path / "__init__.py").write_text("")
    folder = part_keys._folder
    monkeypatch.setattr(part_keys, "_folder", lambda name: tmp_path if name == "overwatt.house" else folder(name))
    assert {n.rpartition(".")[2] for n in part_keys.reached("overwatt.house.a")} >= {"a", "b"}
    before = part_keys.source_hash("overwatt.house.a")
    (tmp_path / "c.py").write_text("x = 2\n")
    assert part_keys.source_hash("overwatt.house.a") == before
    (tmp_path / "b.py").write_text("x = 2\n")
    assert part_keys.source_hash("overwatt.house.a") != before
