"""What `overwatt compare` does: the changes between two runs of an area, as a table.

In: two run folders. Out: changes of sites; or, if both used weights that do not tell the type of a roof, construction.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.change.construction import CONSTRUCTION_CLASSES
from overwatt.pipeline.change.run_comparison import CHANGE_CLASSES, compare_runs
from overwatt.pipeline.coverage import common_ground
from overwatt.workflows.assess.built_between import construction_between
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.run_folder import read_table


def run(earlier: Path, later: Path, out: Path | None) -> dict[str, Any]:
    """Compare two run folders; write changes.parquet and changes.csv, or construction.parquet and construction.csv.

    Raises:
        ConfigError: a folder is no run, the two runs looked at no ground in common, or only one of them tells the
            type of a roof.
    """
    untold = [_untold(folder / "manifest.json") for folder in (earlier, later)]
    if untold[0] != untold[1]:
        raise ConfigError(
            f"{earlier} and {later}: only one of them was made with weights for construction only, so they do not "
            "compare; run both with the same profile"
        )
    name, classes = ("construction", CONSTRUCTION_CLASSES) if untold[0] else ("changes", CHANGE_CLASSES)
    found = construction_between(earlier, later) if untold[0] else _sites_between(earlier, later)
    target = out or later / "compare"
    paths = run_folder.write_table(target, name, found)
    return {
        "changes": str(paths[1]),
        "kind": "construction" if untold[0] else "sites",
        "counts": {c: int((found["class"] == c).sum()) for c in classes},
        "earlier": str(earlier), "later": str(later), "settings": _differing(earlier, later),
    }  # fmt: skip


def _sites_between(earlier: Path, later: Path) -> gpd.GeoDataFrame:
    """Return the changes of sites between two run folders, as of `compare_runs`."""
    parts = [
        read_table(folder / f"{name}.parquet", name) for name in ("sites", "looked_at") for folder in (earlier, later)
    ]
    if not common_ground(*parts[2:]):
        raise ConfigError(f"{earlier} and {later} looked at no ground in common; compare two searches of one area")
    return compare_runs(*parts)


def _differing(earlier: Path, later: Path) -> dict[str, list[Any]]:
    """Return the settings in which two runs differ, by key: the values of both. Other settings give other sites."""
    one, other = (_settings(folder / "manifest.json") for folder in (earlier, later))
    return {k: [one.get(k), other.get(k)] for k in sorted(one.keys() | other.keys()) if one.get(k) != other.get(k)}


def _untold(manifest: Path) -> bool:
    """Return whether a manifest says that the weights did not tell the type of a roof."""
    return _read(manifest).get("type_told") is False


def _read(manifest: Path) -> dict[str, Any]:
    """Return the content of a manifest; empty if there is none, or it is not of a run."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _settings(manifest: Path) -> dict[str, Any]:
    """Return the settings in a manifest as `key.sub`; empty if there is none."""
    settings = _read(manifest).get("parameters")
    left = list(settings.items()) if isinstance(settings, dict) else []
    flat = {}
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += [(f"{key}.{k}", v) for k, v in value.items()]
        else:
            flat[key] = value
    return flat
