"""What `overwatt compare` does: the changes between two runs of an area, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overwatt.pipeline.change.run_comparison import CHANGE_CLASSES, compare_runs
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.run_folder import read_table


def run(earlier: Path, later: Path, out: Path | None) -> dict[str, Any]:
    """Compare two run folders; write changes.parquet and changes.csv."""
    parts = [
        read_table(folder / f"{name}.parquet", name) for name in ("sites", "looked_at") for folder in (earlier, later)
    ]
    found = compare_runs(*parts)
    target = out or later / "compare"
    target.mkdir(parents=True, exist_ok=True)
    paths = run_folder.write_table(target, "changes", found)
    return {
        "changes": str(paths[1]),
        "counts": {c: int((found["class"] == c).sum()) for c in CHANGE_CLASSES},
        "earlier": str(earlier), "later": str(later),
    }  # fmt: skip
