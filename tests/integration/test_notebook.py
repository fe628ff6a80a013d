"""The notebook runs from its first cell to its last, on a tiny set, with the commands as they are."""

import re

import nbclient
import nbformat
import pytest

from tests.support import HANG_S, ROOT

NOTEBOOK = ROOT / "docs" / "retrain.ipynb"


@pytest.mark.slow
# what the kernel's own libraries do is not ours
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_takes_tiles_to_weights_in_a_workflow(tmp_path, monkeypatch):
    """About 98 s: eight starts of the command, and a simulated district."""
    for name, value in {
        "OVERWATT_NOTEBOOK_DIR": str(tmp_path),
        "OVERWATT_NOTEBOOK_STEPS": "2",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "MPLBACKEND": "agg",
    }.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {"metadata": {"path": tmp_path}}
    client = nbclient.NotebookClient(notebook, timeout=int(HANG_S), kernel_name="python3", resources=where)
    client.execute()
    printed = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", ()))
    assert re.search(r"new \{'data_center': (None|\d)", printed)  # scores of the new weights
    assert (tmp_path / "weights" / "retrained.safetensors").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_the_notebook_is_stored_without_output():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(c.get("outputs") or c.get("execution_count") for c in notebook.cells)
