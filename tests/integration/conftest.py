"""What integration tests share: a refused call of the command line, a workflow file."""

import sys

import pytest

from overwatt.workflows.cli import main as cli


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Run the command line, check that it refuses, and return its one line."""

    def call(*args, out=True):
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "out"
        argv = ["overwatt", *map(str, args), *(["--out", str(folder)] if out else [])]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capfd.readouterr()
        assert stop.value.code == 2, printed.err
        assert printed.out == ""
        lines = printed.err.splitlines()
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("overwatt: ")
        assert not folder.exists()
        return lines[0]

    return call


@pytest.fixture
def workflow(tmp_path, weights):
    """Write a workflow file for an image with more settings; returns its path."""

    def write(image=None, text=""):
        path = tmp_path / "w.yaml"
        imagery = f"imagery:\n  path: {image}\n" if image else ""
        path.write_text(f"name: w\n{imagery}detector:\n  weights: {weights}\n{text}", encoding="utf-8")
        return path

    return write
