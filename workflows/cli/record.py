"""`overwatt record`: findings on returned inspection lists go into the run's dispositions table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.workflows.cli.common import Json, show


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(record)


def record(
    run_folder: Annotated[Path, typer.Argument(help="Run folder, or its ledger.parquet.")],
    files: Annotated[
        list[Path],
        typer.Argument(help="Lists of `overwatt export`, filled in: XLSX, CSV, GeoPackage, KML or GeoJSON."),
    ],
    inspector: Annotated[
        str | None, typer.Option("--inspector", help="Name of the inspector, for rows that give none.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="Time of the visit (ISO 8601), for rows that give none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Append the findings of filled-in inspection lists to the run's dispositions."""
    from overwatt.workflows.assess import record as recording

    result = recording.run(run_folder, files, inspector=inspector, time=time)
    counts = ", ".join(f"{n} {finding}" for finding, n in result["findings"].items())
    lines = [
        f"{result['recorded']} findings recorded{f' ({counts})' if counts else ''}, "
        f"{result['already_there']} already there, {result['blank']} rows blank: {result['file']}",
        *([f"{len(kept)} outlines kept: {', '.join(kept)}"] if (kept := result["outlines"]) else []),
        *(f"note: {text}" for text in result["notes"]),
    ]
    show(result, as_json, lines)
