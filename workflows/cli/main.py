"""The command line: thin; every command opens, checks, calls one function and prints.

Logs and progress go to standard error. With `--json` the last line of standard output is one
JSON object. Exit status: 0 done, 1 failed, 2 unusable input, 3 done but some tiles failed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from overwatt.aoi.errors import ConfigError, OverwattError
from overwatt.workflows.cli import compare, estimate, export, inspect, reconcile, thresholds

app = typer.Typer(
    name="overwatt",
    help="Finds data centers in public imagery, estimates power and AI compute, and checks declarations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_err = Console(stderr=True, highlight=False)
STOPPED = "stopped; the same command finishes the rest"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]
Out = Annotated[Path | None, typer.Option("--out", help="Output folder.")]


def _print(result: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(result))


def _say(text: str) -> None:
    _err.print(text, markup=False)


def _run(workflow_file: Path, out: Path | None, assignments: list[str], scheduler: str | None, as_json: bool) -> None:
    from overwatt.workflows.config import run as files
    from overwatt.workflows.run import runner as runs

    workflow = files.load(workflow_file, assignments)
    folder = (out or Path("runs") / workflow.name).resolve()
    start = time.monotonic()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    bar = Bar(*columns, console=_err, disable=not _err.is_terminal)
    task = bar.add_task("tiles", total=None, rate="")

    def tile(done: int, failed: int, total: int) -> None:
        bar.start()  # not before: input that is refused leaves one line and no bar
        rate = (done + failed) / max(time.monotonic() - start, 1e-9)
        note = f"{rate:.1f}/s" + (f", {failed} failed" if failed else "")
        bar.update(task, total=total, completed=done + failed, rate=note)
        if not _err.is_terminal:
            left = (total - done - failed) / rate
            _say(f"tiles {done + failed}/{total}, {note}, {left:.0f} s left")

    try:
        progress = runs.Progress(say=_say, tile=tile)
        result = runs.run(workflow, folder, scheduler=scheduler, progress=progress)
    finally:
        bar.stop()
    classes: dict[str, int] = {}
    for entry in result["ledger"]:
        classes[entry["class"]] = classes.get(entry["class"], 0) + 1
    _print(
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


@app.command()
def demo(out: Out = None, as_json: Json = False) -> None:
    """Run the embedded, simulated sample area, offline, with a report at the end."""
    with as_file(files("overwatt.workflows") / "examples" / "demo.yaml") as workflow:
        _run(workflow, out, [], None, as_json)


@app.command()
def run(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    out: Out = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: imagery.path=FILE. Repeatable.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", help="Dask scheduler; tls:// off the loopback. Local processes if absent."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a workflow over its area. Running it again after a stop finishes the rest."""
    _run(workflow, out, assignments or [], scheduler, as_json)


@app.command()
def detect(
    images: Annotated[list[Path], typer.Argument(help="Images.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder.")],
    gsd: Annotated[float | None, typer.Option("--gsd", help="Metres a pixel, for images without georeference.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Weights; the shipped ones if absent.")] = None,
    thermal: Annotated[
        Path | None,
        typer.Option("--thermal", help="GeoTIFF, kelvin above the surroundings; for weights with thermal bands."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Sensor: naip, aerial_2m, sentinel2 or units; instead of --weights.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the detector alone on images and write their footprints."""
    from overwatt.workflows.run import single_image

    result = single_image.detect(images, out, gsd_m=gsd, weights=weights, say=_say, thermal=thermal, profile=profile)
    _print(result, as_json, [f"{result['count']} footprints: {result['footprints']}"])


@app.command()
def evaluate(
    image: Annotated[Path | None, typer.Option("--image", help="Image to score on.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="GeoJSON; class data_center, other_building, cooling_equipment or unknown."),
    ] = None,
    tiles: Annotated[
        Path | None, typer.Option("--tiles", help="Index of tiles to score on, instead of an image.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="With --tiles: train, val or test.")] = "test",
    unlabelled: Annotated[
        str, typer.Option("--unlabelled", help="What pixels without a label count as: ignore or background.")
    ] = "ignore",
    weights: Annotated[
        list[Path] | None, typer.Option("--weights", help="Weights; the shipped ones if absent; two are compared.")
    ] = None,
    block_m: Annotated[
        float, typer.Option("--block-m", help="Side of the blocks that a comparison resamples, metres.")
    ] = 512.0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for an overlay picture.")] = None,
    as_json: Json = False,
) -> None:
    """Score the detector on a labelled image or on tiles, or compare two sets of weights there."""
    from overwatt.workflows.training import evaluation

    if tiles is not None and image is None and labels is None:
        result = evaluation.on_tiles(tiles, split, weights=weights or [], block_m=block_m)
    elif tiles is None and image is not None and labels is not None:
        result = evaluation.on_image(
            image, labels, unlabelled=unlabelled, weights=weights or [], out=out, block_m=block_m
        )
    else:
        raise ConfigError("evaluate: give --image with --labels, or --tiles")
    _print(result, as_json, evaluation.lines(result))


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Training file.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder; a stopped training resumes from it.")] = Path(
        "runs/training"
    ),
    folds: Annotated[str | None, typer.Option("--folds", help="'spatial': cross-validate instead.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Override the number of steps.")] = None,
    as_json: Json = False,
) -> None:
    """Train weights from a training file, or cross-validate it over spatial blocks."""
    from overwatt.workflows.run import single_image
    from overwatt.workflows.training import train as training

    result = training.run(config, out, folds=folds, say=_say, steps=steps)
    _print(result, as_json, single_image.training_lines(result))


@app.command()
def tiles(
    images: Annotated[list[Path] | None, typer.Argument(help="Images to cut; with --run, instead of its own.")] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--labels", help="GeoJSON, GeoPackage, GeoParquet or COCO; or FILE=CLASS. Repeatable."),
    ] = None,
    out: Out = None,
    run: Annotated[Path | None, typer.Option("--run", help="Run folder that --dispositions judge.")] = None,
    dispositions: Annotated[
        Path | None, typer.Option("--dispositions", help="Inspectors' findings on a run: tiles, hard negatives first.")
    ] = None,
    check: Annotated[
        list[Path] | None, typer.Option("--check", help="Only look for leaks in an index of tiles. Repeatable.")
    ] = None,
    class_map: Annotated[
        list[str] | None, typer.Option("--class-map", help="NAME=CLASS, or NAME=ignore. Repeatable.")
    ] = None,
    size_px: Annotated[int, typer.Option("--size-px", help="Side of a tile.")] = 512,
    overlap_px: Annotated[int, typer.Option("--overlap-px", help="Overlap of neighbouring tiles.")] = 0,
    gsd: Annotated[float | None, typer.Option("--gsd", help="Metres a pixel, for images without georeference.")] = None,
    tile_gsd: Annotated[
        float | None, typer.Option("--tile-gsd", help="Resample tiles to this; the images' own pixels if absent.")
    ] = None,
    split_by: Annotated[
        str, typer.Option("--split-by", help="'place', or a column of the labels such as county or site.")
    ] = "place",
    shares: Annotated[
        str | None,
        typer.Option("--shares", help="Of train,val,test; 0.7,0.15,0.15, and 1,0,0 of --dispositions, if absent."),
    ] = None,
    guard_m: Annotated[
        float | None, typer.Option("--guard-m", help="Metres between splits; 40 if absent, the index's with --check.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The splits follow from it.")] = 0,
    unlabelled: Annotated[
        str, typer.Option("--unlabelled", help="What pixels without a label count as: background or ignore.")
    ] = "background",
    empty: Annotated[bool, typer.Option("--empty", help="Also cut tiles without a label, as background.")] = False,
    licence: Annotated[str, typer.Option("--licence", help="Of the imagery; kept in the index.")] = "",
    attribution: Annotated[str, typer.Option("--attribution", help="Credits that must go with it.")] = "",
    workers: Annotated[int, typer.Option("--workers", help="Processes; the result is the same.")] = 1,
    as_json: Json = False,
) -> None:
    """Cut training tiles from imagery and labels, or from inspectors' findings, split by place."""
    from overwatt.workflows.tiles import command as tile_command

    options = tile_command.Options(
        size_px=size_px, overlap_px=overlap_px, gsd_m=gsd, tile_gsd_m=tile_gsd, split_by=split_by, shares=shares,
        guard_m=guard_m, seed=seed, unlabelled=unlabelled, empty=empty, licence=licence, attribution=attribution,
        workers=workers,
    )  # fmt: skip
    bar = Bar("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=_err)
    bar.disable = not _err.is_terminal
    task = bar.add_task("tiles", total=None)

    def tick(done: int, failed: int, total: int) -> None:
        bar.start()
        bar.update(task, total=total, completed=done + failed)
        if not _err.is_terminal and ((done + failed) % 100 == 0 or done + failed == total):
            _say(f"tiles {done + failed}/{total}" + (f", {failed} failed" if failed else ""))

    try:
        result = tile_command.run(
            images or [], labels or [], out, options, run_folder=run, dispositions=dispositions, check=check or [],
            class_map=class_map or [], say=_say, tick=tick,
        )  # fmt: skip
    finally:
        bar.stop()
    _print(result, as_json, tile_command.lines(result))
    if check and result["leaks"]:
        raise typer.Exit(1)
    if not check and result["tiles"]["failed"]:
        raise typer.Exit(3)


@app.command("training-set")
def training_set(
    settings: Annotated[Path, typer.Argument(help="Settings file, such as workflows/examples/national.yaml.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder; a stopped build resumes from it.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what it would hold and cost; nothing is fetched.")
    ] = False,
    train: Annotated[
        Path | None, typer.Option("--train", help="Training file: also train, and score on the test counties.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Override the number of steps.")] = None,
    as_json: Json = False,
) -> None:
    """Build a training set from registries, footprints and a catalogue, split by county."""
    from overwatt.workflows.national import build as sets
    from overwatt.workflows.national import plan as training_plan

    if plan:
        result = sets.plan(settings, say=_say)
        _print(result, as_json, training_plan.cost_lines(result))
        return

    def tick(done: int, failed: int, total: int) -> None:
        _say(f"tiles {done + failed}/{total}, {failed} failed")

    result = sets.build(settings, out, say=_say, tick=tick)
    lines = sets.summary_lines(result)
    if train:
        from overwatt.workflows.national import train_and_score

        result["training"] = train_and_score.train_and_evaluate(out, train, _say, steps)
        lines += train_and_score.lines(result["training"])
    _print(result, as_json, lines)
    if result["failed"]:
        raise typer.Exit(3)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="Output folder.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="The area follows from it.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a simulated area: imagery, temperature stack, registry with four planted inconsistencies, truth."""
    from overwatt.models.simulate import sample_area, write_area

    paths = write_area(sample_area(seed), out)
    result = {name: str(path) for name, path in paths.items()}
    _print(result, as_json, [f"{name}: {path}" for name, path in result.items()])


compare.register(app, _print)
estimate.register(app, _print)
export.register(app, _print)
inspect.register(app, _print)
reconcile.register(app, _print)
thresholds.register(app, _print)


def main() -> None:
    """Entry point: one line an error, a traceback only for bugs."""
    warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module=r"odc\..*")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"odc\..*")
    warnings.filterwarnings("ignore", message="Dataset has no geotransform")  # the error that follows says it better
    try:
        app()
    except OverwattError as error:
        _fail(str(error), 2)
    except OSError as error:
        if not error.strerror:
            raise
        # a full disk, a folder that may not be written: nothing the inputs are to blame for
        _fail(f"{error.filename or 'output'}: {error.strerror}", 1)
    except KeyboardInterrupt:
        _fail(STOPPED, 130)
    except SystemExit as stop:
        if stop.code == 130:
            _fail(STOPPED, 130)
        raise


def _fail(text: str, status: int) -> NoReturn:
    printable = "".join(
        c if c.isprintable() else "?" for c in text
    )  # names come from files: no escapes to the terminal
    print(f"overwatt: {printable}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
