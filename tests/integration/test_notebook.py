"""The notebooks of the docs run from their first cell to their last, offline."""

from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.support import ROOT

DOCS = ROOT / "docs"


def execute(notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> str:
    """Run a notebook with `folder` as its working folder; return what it printed and showed, as text."""
    given = {"HOME": str(folder), "IPYTHONDIR": str(folder / "ipython"), "MPLBACKEND": "agg"}
    for name, value in (given | more).items():
        monkeypatch.setenv(name, value)
    document = nbformat.read(notebook, as_version=4)
    where = {"metadata": {"path": folder}}
    nbclient.NotebookClient(document, timeout=900, kernel_name="python3", resources=where).execute()
    outputs = [o for c in document.cells for o in c.get("outputs", ())]
    return "".join(o.get("text", "") + str(o.get("data", {}).get("text/plain", "")) for o in outputs)


# what the kernel's own libraries do is not ours
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestNotebooks:
    @pytest.mark.slow  # about 15 s
    def test_quickstart_goes_from_an_image_to_the_report(self, tmp_path, monkeypatch):
        shown = execute(DOCS / "quickstart.ipynb", tmp_path, monkeypatch)
        for word in ("undeclared", "above_declared", "not_seen", "visit", "error_budget"):
            assert word in shown, word
        report = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "<script" in report
        assert "simulated" in report.lower()

    @pytest.mark.slow  # about 100 s
    def test_retrain_takes_tiles_to_weights_in_a_workflow(self, tmp_path, monkeypatch):
        settings = {"OVERWATT_NOTEBOOK_DIR": str(tmp_path), "OVERWATT_NOTEBOOK_STEPS": "2"}
        shown = execute(DOCS / "retrain.ipynb", tmp_path, monkeypatch, **settings)
        assert "new {'data_center':" in shown
        assert (tmp_path / "weights" / "retrained.safetensors").is_file()
        assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("name", ["quickstart.ipynb", "retrain.ipynb"])
def test_notebooks_are_stored_without_output(name):
    notebook = nbformat.read(DOCS / name, as_version=4)
    nbformat.validate(notebook)
    assert not any(c.get("outputs") or c.get("execution_count") for c in notebook.cells)
