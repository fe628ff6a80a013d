"""Registries of a workflow or a command: one or several files in, one table out, and the rows that were kept aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import geopandas as gpd
import pandas as pd

from overwatt.pipeline.declared import registry
from overwatt.workflows.io import run_folder

KEPT = ("table", "row", "id", "reason")


def read(
    path: Path,
    also: Sequence[Path] = (),
    *,
    format: str = "auto",
    position_error_m: float | None = None,
    columns: Mapping[str, str] | None = None,
) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    """Return the table `declared` of all files, duplicates across sources joined, and the rows kept aside.

    Args:
        path: the registry.
        also: further ones; their layout is told by their content.
        format: layout of the first.
        position_error_m: 1-sigma position error where a row states none.
        columns: {our name: column} of the first, where it is a generic table.

    Raises:
        RegistryError: a file cannot be read, or has no usable row.
    """
    found, kept = [], []
    for k, file in enumerate((path, *also)):
        aside: list[tuple[int, str, str]] = []
        own = cast(registry.Format, format if k == 0 else "auto")
        found.append(registry.read(file, own, position_error_m, aside, columns if k == 0 else None))
        kept.append(pd.DataFrame(aside, columns=["row", "id", "reason"]).assign(table=file.name))
    table = registry.merge(found) if len(found) > 1 else found[0]
    return table, pd.concat(kept, ignore_index=True)[list(KEPT)]


def write_kept(folder: Path, kept: pd.DataFrame) -> Path:
    """Write kept_aside.csv; it is there also when it is empty, so that nobody need guess."""
    path = folder / "kept_aside.csv"
    with run_folder.written(path) as part:
        run_folder.defuse(kept[list(KEPT)]).to_csv(part, index=False)
    return path
