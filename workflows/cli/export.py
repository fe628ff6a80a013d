"""`overwatt export`: the inspection list as CSV, XLSX, GeoPackage, KML and GeoJSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.workflows.cli.common import Json, show


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(export)


def export(
    run_or_ledger: Annotated[Path, typer.Argument(help="Run folder, or a ledger.parquet.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Output folder.", show_default="`export` next to the ledger")
    ] = None,
    top: Annotated[
        int | None,
        typer.Option("--top", help="Number of entries, by rank; drawn visits are always listed.", show_default="all"),
    ] = None,
    observed: Annotated[
        Path | None,
        typer.Option("--observed", help="Table of sites, if sites.parquet is not next to the ledger."),
    ] = None,
    declared: Annotated[
        Path | None, typer.Option("--declared", help="Registry, if declared.parquet is not next to the ledger.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the inspection list as CSV, XLSX, GeoPackage with styles, KML and GeoJSON."""
    from overwatt.workflows.export import inspection_list

    result = inspection_list.run(run_or_ledger, out, top=top, observed=observed, declared=declared)
    counts = ", ".join(f"{n} {c}" for c, n in result["counts"].items() if n)
    lines = [f"{result['entries']} of {result['of']} entries ({counts or 'none'}), {result['columns']} columns"]
    if not result["of"]:
        lines = ["nothing to list: the ledger has no entries"]
    if result["drawn"]:
        lines.append(f"{result['drawn']} drawn visits, {result['cells']} of them cells without an entry")
    if result["almost_listed"]:
        lines.append(f"{result['almost_listed']} almost-listed sites, because they are drawn or have a finding")
    lines += [f"  {path}" for path in result["files"].values()]
    lines += [
        f"kept: {path} (changed since it was exported; findings in it: `overwatt record {run_or_ledger} {path}`)"
        for path in result["kept"]
    ]
    if result["left_out"]:
        lines.append(f"missing, so their columns are left out: {', '.join(result['left_out'])}")
    lines += [f"note: {text}" for text in result["warnings"]]
    show(result, as_json, lines)
