"""`import overwatt` is quick, offers every public function, and imports none before it is used."""

import importlib
import inspect
import subprocess
import sys

import pytest

import overwatt


def test_import_brings_in_nothing_heavy():
    code = (
        "import overwatt, sys\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'pandas', 'geopandas', 'rasterio', 'scipy', 'distributed'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert len(dir(overwatt)) > 20\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tables_need_no_torch():
    """Everything between a footprint table and a report runs without the network's library."""
    names = [n for n in overwatt.__all__ if n not in ("detect", "run", "train", "evaluate", "models", "workflows")]
    stages = [n for n in names if "workflows" not in getattr(getattr(overwatt, n), "__module__", "")]
    code = f"import overwatt, sys\nfor n in {stages!r}:\n    getattr(overwatt, n)\nassert 'torch' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", sorted(overwatt.__all__))
def test_public_names_are_documented(name):
    value = getattr(overwatt, name)
    if inspect.ismodule(value):
        assert importlib.import_module(f"overwatt.{name}") is value
    assert inspect.getdoc(value)
