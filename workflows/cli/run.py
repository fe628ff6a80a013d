"""`overwatt demo`, `run` and `detect`: from imagery to a run folder, or to footprints alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from overwatt.workflows.cli.common import Json, Out, Set, say, show


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(demo)
    app.command()(run)
    app.command()(detect)


def demo(out: Out = None, as_json: Json = False) -> None:
    """Run the embedded, simulated sample area, offline, with a report at the end."""
    from importlib.resources import as_file, files

    with as_file(files("overwatt.workflows") / "examples" / "demo.yaml") as workflow:
        _run(workflow, out, [], None, as_json)


def run(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    out: Out = None,
    assignments: Set = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            help="Address of a Dask scheduler (tls:// except on the loopback).",
            show_default="local processes",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a workflow over its area. After a stop, the same command completes the run."""
    _run(workflow, out, assignments or [], scheduler, as_json)


def detect(
    images: Annotated[list[Path], typer.Argument(help="Images.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder.")],
    gsd: Annotated[
        float | None, typer.Option("--gsd", help="Metres per pixel, for images without georeference.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights file.", show_default="bundled weights")
    ] = None,
    thermal: Annotated[
        Path | None,
        typer.Option(
            "--thermal", help="GeoTIFF of the surface temperature anomaly, kelvin; for weights with thermal bands."
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", help="Sensor profile instead of --weights: naip, aerial_2m, sentinel2 or units."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the detector alone on images and write their footprints."""
    from overwatt.workflows.run import single_image

    result = single_image.detect(images, out, gsd_m=gsd, weights=weights, say=say, thermal=thermal, profile=profile)
    show(result, as_json, [f"{result['count']} footprints: {result['footprints']}"])


def _run(workflow_file: Path, out: Path | None, assignments: list[str], scheduler: str | None, as_json: bool) -> None:
    from overwatt.workflows.cli.progress import TileBar
    from overwatt.workflows.config import run as files
    from overwatt.workflows.run import progress, runner

    workflow = files.load(workflow_file, assignments)
    folder = (out or Path("runs") / workflow.name).resolve()
    start = time.monotonic()
    with TileBar() as bar:
        result = runner.run(workflow, folder, scheduler=scheduler, progress=progress.Progress(say=say, tile=bar))
    classes: dict[str, int] = {}
    for entry in result["ledger"]:
        classes[entry["class"]] = classes.get(entry["class"], 0) + 1
    show(
        result,
        as_json,
        [
            f"{result['sites']} sites; ledger: "
            + (", ".join(f"{n} {c}" for c, n in sorted(classes.items())) or "empty"),
            f"tiles: {result['tiles']['done']} done, {result['tiles']['failed']} failed",
            f"time: {time.monotonic() - start:.0f} s",
            f"report: {result['report']}",
        ],
    )
    if result["tiles"]["failed"]:
        raise typer.Exit(3)
