"""The options of `overwatt thresholds`, apart from the other commands for size."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.workflows.cli.common import Json, show


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(thresholds)


def thresholds(
    models: Annotated[
        Path | None,
        typer.Option("--models", help="CSV of AI models and their compute, as Epoch AI publishes it."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Run folder whose sites are compared with the thresholds.")
    ] = None,
    days: Annotated[float, typer.Option("--days", help="Length of a training run, days.")] = 90.0,
    doubling_months: Annotated[
        float, typer.Option("--doubling-months", help="Months in which algorithmic progress halves the FLOP needed.")
    ] = 8.0,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder: plot, tables, JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Compare FLOP thresholds with real models, power, the sites of a run, and evasion strategies."""
    from overwatt.workflows.assess import thresholds as thresholds_command

    result = thresholds_command.run(models, run, days=days, doubling_months=doubling_months, out=out)
    show(result, as_json, thresholds_command.lines(result))
