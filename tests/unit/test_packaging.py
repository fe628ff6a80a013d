"""The list of packages in pyproject.toml is the tree: nothing is left out of the wheel, nothing else gets in."""

import tomllib

from tests.support import ROOT

HOUSES = ("aoi", "models", "pipeline", "workflows")


def packages_of_tree() -> set[str]:
    """Folders of the houses that hold files, as dotted names; data folders without code count too."""
    found = {"overwatt", "overwatt.data_samples", "overwatt.data_samples.demo"}
    for house in HOUSES:
        for file in (ROOT / house).rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                found.add(".".join(("overwatt", *file.parent.relative_to(ROOT).parts)))
    return found


def test_every_folder_is_in_the_list():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(setuptools["packages"]) == packages_of_tree()
    for house in (*HOUSES, "data_samples"):
        assert setuptools["package-dir"][f"overwatt.{house}"] == house


def test_the_links_lead_to_the_houses():
    """Tools that read the tree (mypy, import-linter, editors) find the package under its one name."""
    for house in (*HOUSES, "data_samples"):
        link = ROOT / "overwatt" / house
        assert link.is_symlink()
        assert link.resolve() == (ROOT / house).resolve()


def test_promised_type_information_is_there():
    for house in ("overwatt", *HOUSES):
        assert (ROOT / house / "py.typed").is_file(), house


def test_no_code_file_is_longer_than_400_lines():
    long = [
        f"{path.relative_to(ROOT)}: {lines}"
        for top in (*HOUSES, "overwatt", "benchmarks", "docs")
        for path in sorted((ROOT / top).rglob("*.py"))
        if not any(part.is_symlink() for part in (path, *path.parents))
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    ]
    assert not long


def test_every_room_says_what_it_is_for():
    for house in HOUSES:
        for init in sorted((ROOT / house).rglob("__init__.py")):
            text = init.read_text(encoding="utf-8")
            assert text.startswith('"""'), init
            assert len(text) > 60, init
