"""`overwatt reconcile`: the ledger from any table of observed sites and any registries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.aoi.errors import ConfigError
from overwatt.workflows.cli.common import Json, Set, show


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(reconcile)


def reconcile(
    observed: Annotated[Path, typer.Argument(help="Observed sites: a run's sites.parquet, or any table.")],
    declared: Annotated[Path, typer.Argument(help="Registry of declared facilities.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder.")],
    format: Annotated[str, typer.Option("--format", help="Layout of the registry.")] = "auto",
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", help="Further registry (permits, chips, training runs). May be repeated."),
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="OUR_NAME=COLUMN of the registry. May be repeated.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="Only layer (KML: folder) of the registry.", show_default="all")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Read files that say that they are not whole; the result says so.")
    ] = False,
    looked_at: Annotated[
        Path | None,
        typer.Option(
            "--looked-at", help="Table of what was imaged (looked_at.parquet).", show_default="the one next to OBSERVED"
        ),
    ] = None,
    zones: Annotated[
        Path | None, typer.Option("--zones", help="Outlines of States or grid zones with names, for the balances.")
    ] = None,
    controls: Annotated[
        Path | None,
        typer.Option("--controls", help="CSV with p_data_center of known-negative controls, for the q_value."),
    ] = None,
    screened: Annotated[
        int | None, typer.Option("--screened", min=1, help="With --controls: number of roofs screened.")
    ] = None,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Build the ledger without imagery, from a table of observed sites and any registries."""
    from overwatt.workflows.assess import reconcile as work
    from overwatt.workflows.config.assess import assessment

    result = work.run(
        observed, declared, out, format=format, also=also or [], columns=column_map(column),
        looked_at=looked_at, zones=zones, controls=controls, screened=screened,
        settings=assessment(assignments or []), layer=layer, partial=partial,
    )  # fmt: skip
    counts = ", ".join(f"{n} {c}" for c, n in result["counts"].items() if n)
    lines = [*result["notes"], f"{counts or 'no entries'}: {result['ledger']}", f"imaged area: {result['looked_at']}"]
    lines += [f"almost listed: {text}" for text in result["left_out"]]
    sums = result["balances"]
    lines.append(f"balances: {len(sums['flagged'])} of {sums['compared']} past 3 sigma: {sums['path']}")
    lines += [f"  {sentence}" for sentence in sums["flagged"][:5]]
    if len(result["entries"]):
        lines.append(f"ranking: {result['ranking']['statement']}")
    kept = result["kept_aside"]
    if kept["observed"] + kept["declared"]:
        lines.append(
            f"rejected rows: {kept['observed']} observed, {kept['declared']} declared; reasons in {kept['path']}"
        )
    show(result, as_json, lines)


def column_map(given: list[str] | None) -> dict[str, str] | None:
    """Return {our name: column} of repeated OUR_NAME=COLUMN; None where nothing is given.

    Raises:
        ConfigError: a part is missing.
    """
    parts = [g.partition("=") for g in given or []]
    for name, sign, column in parts:
        if not (name and sign and column):
            raise ConfigError(f"--column '{name}{sign}{column}': write OUR_NAME=COLUMN, for example it_mw=Leistung")
    return {name: column for name, _, column in parts} or None
