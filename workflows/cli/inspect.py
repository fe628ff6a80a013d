"""`overwatt inspect`: a randomised inspection plan of a run, with its seed and what is needed to audit it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.workflows.cli.common import Json, Set, show


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(inspect)


def inspect(
    run_folder: Annotated[Path, typer.Argument(help="Run folder, or its ledger.parquet.")],
    budget: Annotated[float, typer.Option("--budget", help="Number of inspections.")] = 10.0,
    floor: Annotated[float, typer.Option("--floor", help="Minimum share of the budget per stratum.")] = 0.02,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draw; announce it before the draw.")] = 0,
    check: Annotated[Path | None, typer.Option("--audit", help="plan.json to reproduce and compare.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder.")] = None,
    assignments: Set = None,
    as_json: Json = False,
) -> None:
    """Make a randomised inspection plan that an evader who knows it cannot exploit."""
    from overwatt.workflows.assess import inspection

    if check is not None:
        verdict = inspection.audit(run_folder, check)
        show(verdict, as_json, [f"{k.replace('_', ' ')}: {'yes' if v else 'NO'}" for k, v in verdict.items()])
        if not all(verdict.values()):
            raise typer.Exit(1)
        return
    result = inspection.run(run_folder, budget, floor=floor, seed=seed, out=out, assignments=assignments or [])
    lines = [
        f"{len(result['visits'])} of {result['places']} places drawn with seed {seed}: {result['plan']}",
        *(f"  {p}" for p in result["visits"][:30]),
        f"worst case {result['worst_case_detection']:.2f}, of a uniform draw {result['uniform_worst_case']:.2f}, "
        f"without the condition on a naive evader {result['without_naive_condition']:.2f}",
        f"detection of a naive evader: {result['naive_detection']:.2f}, with the ranked list alone "
        f"{result['list_naive_detection']:.2f}",
        f"cost of the condition: {result['plot']}",
    ]
    show(result, as_json, lines)
