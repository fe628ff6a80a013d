"""What `overwatt compare` does: the changes between two runs of an area, as a table."""

from __future__ import annotations

import json
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
        raise ConfigError(f"{earlier} and {later} looked at no ground in common; compare two searches of one area")
    found = compare_runs(*parts)
    target = out or later / "compare"
    paths = run_folder.write_table(target, "changes", found)
    return {
        "changes": str(paths[1]),
        "counts": {c: int((found["class"] == c).sum()) for c in CHANGE_CLASSES},
        "earlier": str(earlier), "later": str(later), "settings": _differing(earlier, later),
    }  # fmt: skip


def _differing(earlier: Path, later: Path) -> dict[str, list[Any]]:
    """Return the settings in which two runs differ, by key: the values of both. Other settings give other sites."""
    one, other = (_settings(folder / "manifest.json") for folder in (earlier, later))
    return {k: [one.get(k), other.get(k)] for k in sorted(one.keys() | other.keys()) if one.get(k) != other.get(k)}


def _settings(manifest: Path) -> dict[str, Any]:
    """Return the settings in a manifest as `key.sub`; empty if there is none."""
    try:
        left = list(json.loads(manifest.read_text(encoding="utf-8"))["parameters"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):  # none, or not of a run
        return {}
    flat = {}
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{key}.{k}", v) for k, v in value.items()]
        else:
            flat[key] = value
    return flat
