"""`overwatt compare`: what changed between two runs of an area."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.workflows.cli.common import Json, show


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("compare")(compare_runs)


def compare_runs(
    earlier: Annotated[Path, typer.Argument(help="Folder of the earlier run.")],
    later: Annotated[Path, typer.Argument(help="Folder of the later run.")],
    out: Annotated[Path | None, typer.Option("--out", help="Output folder.", show_default="LATER/compare")] = None,
    as_json: Json = False,
) -> None:
    """Compare two runs: sites that are new, grown, shrunk, gone or newly imaged; of Sentinel-2, construction."""
    from overwatt.workflows.assess import compare

    result = compare.run(earlier, later, out)
    counts = ", ".join(f"{n} {c.replace('_', ' ')}" for c, n in result["counts"].items() if n)
    built = result["kind"] == "construction"
    lines = [f"{counts or ('no construction' if built else 'no sites')}: {result['changes']}"]
    if built:
        lines.append(
            "note: places where large roofs appeared or vanished; what they are is not told at this pixel size"
        )
    if result["settings"]:
        pairs = [f"{k} {str(a)[:60]} and {str(b)[:60]}" for k, (a, b) in list(result["settings"].items())[:8]]
        lines.append(f"note: the settings of the runs differ: {'; '.join(pairs)}")
    for unseen, own, other in (("only_newly_seen", "later", "earlier"), ("not_looked_at_again", "earlier", "later")):
        if count := result["counts"].get(unseen, 0):
            lines.append(f"note: {count} in the {own} run only, where the {other} did not look: neither new nor gone")
    show(result, as_json, lines)
