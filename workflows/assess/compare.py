"""What `overwatt compare` does: the changes between two runs of an area, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.change.run_comparison import CHANGE_CLASSES, compare_runs
from overwatt.pipeline.coverage import common_ground
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.run_folder import read_table


def run(earlier: Path, later: Path, out: Path | None) -> dict[str, Any]:
    """Compare two run folders; write changes.parquet and changes.csv.

    Raises:
        ConfigError: a folder is no run, or the two runs looked at no ground in common.
    """
    parts = [
        read_table(folder / f"{name}.parquet", name) for name in ("sites", "looked_at") for folder in (earlier, later)
    ]
    if not common_ground(*parts[2:]):
        raise ConfigError(f"{earlier} and {later} looked at no ground in common; compare two runs of one area")
    found = compare_runs(*parts)
    target = out or later / "compare"
    paths = run_folder.write_table(target, "changes", found)
    return {
        "changes": str(paths[1]),
        "counts": {c: int((found["class"] == c).sum()) for c in CHANGE_CLASSES},
        "earlier": str(earlier), "later": str(later),
    }  # fmt: skip
