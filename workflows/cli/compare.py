"""`overwatt compare`: what changed between two runs of an area."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import geopandas as gpd
import pyarrow
import typer

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline import tables
from overwatt.pipeline.change.run_comparison import CLASSES, compare
from overwatt.workflows.io import run_folder


def run(earlier: Path, later: Path, out: Path | None) -> dict[str, Any]:
    """Compare two run folders; write changes.parquet and changes.csv."""
    parts = [_read(folder, name) for name in ("sites", "looked_at") for folder in (earlier, later)]
    found = compare(*parts)
    target = out or later / "compare"
    target.mkdir(parents=True, exist_ok=True)
    paths = run_folder.write_table(target, "changes", found)
    return {
        "changes": str(paths[1]),
        "counts": {c: int((found["class"] == c).sum()) for c in CLASSES},
        "earlier": str(earlier), "later": str(later),
    }  # fmt: skip


def register(app: typer.Typer, show: Callable[[dict[str, Any], bool, list[str]], None]) -> None:
    """Add the command to `app`; `show` prints a result, as JSON or as lines."""

    @app.command("compare")
    def compare_runs(
        earlier: Annotated[Path, typer.Argument(help="Folder of the earlier run.")],
        later: Annotated[Path, typer.Argument(help="Folder of the later run.")],
        out: Annotated[Path | None, typer.Option("--out", help="Output folder; LATER/compare if absent.")] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")
        ] = False,
    ) -> None:
        """What is new, grown, shrunk, gone or only newly seen between two runs."""
        result = run(earlier, later, out)
        counts = ", ".join(f"{n} {c.replace('_', ' ')}" for c, n in result["counts"].items() if n)
        show(result, as_json, [f"{counts or 'no sites'}: {result['changes']}"])


def _read(folder: Path, name: str) -> gpd.GeoDataFrame:
    file = folder / f"{name}.parquet"
    if not file.is_file():
        raise ConfigError(f"{file}: no such file; give a folder that `overwatt run` wrote")
    try:
        return tables.conform(gpd.read_parquet(file), name)
    except (ValueError, pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{file.name}: not a table of {name} as `overwatt run` writes it") from error
