"""`overwatt tiles`, `training-set` and `simulate`: data to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.workflows.cli.common import Json, Out, say, show


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(tiles)
    app.command("training-set")(training_set)
    app.command()(simulate)


def tiles(
    images: Annotated[
        list[Path] | None, typer.Argument(help="Images to cut; with --run, instead of the run's own image.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--labels",
            help="Labels: GeoJSON, GeoPackage, KML, GeoParquet or COCO; FILE, FILE=CLASS or FILE:LAYER=CLASS. "
            "May be repeated.",
        ),
    ] = None,
    out: Out = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run folder; cuts tiles of the inspectors' findings on it, hard negatives first."),
    ] = None,
    dispositions: Annotated[
        Path | None,
        typer.Option("--dispositions", help="Table of the findings.", show_default="as `overwatt record` wrote it"),
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option("--from-run", help="Run folder; with --most-useful, proposes what to label next. Cuts no tiles."),
    ] = None,
    most_useful: Annotated[
        int | None,
        typer.Option(
            "--most-useful",
            min=1,
            help="Number of squares to propose: uncertain, novel and diverse ones, a fifth random.",
        ),
    ] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option("--check", help="Only check an index of tiles for leaks between splits. May be repeated."),
    ] = None,
    class_map: Annotated[
        list[str] | None, typer.Option("--class-map", help="NAME=CLASS or NAME=ignore. May be repeated.")
    ] = None,
    size_px: Annotated[int, typer.Option("--size-px", help="Side of a tile, pixels.")] = 512,
    overlap_px: Annotated[int, typer.Option("--overlap-px", help="Overlap of neighbouring tiles, pixels.")] = 0,
    gsd: Annotated[
        float | None, typer.Option("--gsd", help="Metres per pixel, for images without georeference.")
    ] = None,
    tile_gsd: Annotated[
        float | None,
        typer.Option(
            "--tile-gsd", help="Resample tiles to this ground sampling distance, m.", show_default="the image's own"
        ),
    ] = None,
    split_by: Annotated[
        str, typer.Option("--split-by", help="'place', or a column of the labels, such as county or site.")
    ] = "place",
    shares: Annotated[
        str | None,
        typer.Option("--shares", help="Shares of train,val,test.", show_default="0.7,0.15,0.15; with --run 1,0,0"),
    ] = None,
    guard_m: Annotated[
        float | None,
        typer.Option(
            "--guard-m", help="Distance between splits, m.", show_default="40; with --check that of the index"
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the splits, or of the random squares.")] = 0,
    unlabelled: Annotated[
        str, typer.Option("--unlabelled", help="How pixels without a label are treated: background or ignore.")
    ] = "background",
    empty: Annotated[bool, typer.Option("--empty", help="Also cut tiles without labels, as background.")] = False,
    licence: Annotated[str, typer.Option("--licence", help="Imagery licence, stored in the index.")] = "",
    attribution: Annotated[str, typer.Option("--attribution", help="Attribution required by the licence.")] = "",
    workers: Annotated[int, typer.Option("--workers", help="Number of processes; does not change the result.")] = 1,
    as_json: Json = False,
) -> None:
    """Cut training tiles from labels or from inspectors' findings, split by place; or propose what to label next."""
    from overwatt.workflows.cli.progress import TileBar
    from overwatt.workflows.tiles import command

    options = command.Options(
        size_px=size_px, overlap_px=overlap_px, gsd_m=gsd, tile_gsd_m=tile_gsd, split_by=split_by, shares=shares,
        guard_m=guard_m, seed=seed, unlabelled=unlabelled, empty=empty, licence=licence, attribution=attribution,
        workers=workers,
    )  # fmt: skip
    with TileBar(every=100) as bar:
        result = command.run(
            images or [], labels or [], out, options, run_folder=run, dispositions=dispositions, check=check or [],
            class_map=class_map or [], from_run=from_run, most_useful=most_useful, say=say, tick=bar,
        )  # fmt: skip
    show(result, as_json, command.lines(result))
    if check and result["leaks"]:
        raise typer.Exit(1)
    if "tiles" in result and not check and result["tiles"]["failed"]:
        raise typer.Exit(3)


def training_set(
    settings: Annotated[Path, typer.Argument(help="Settings file, such as workflows/examples/national.yaml.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder; a stopped build resumes there.")],
    plan: Annotated[bool, typer.Option("--plan", help="Only report contents and cost; nothing is downloaded.")] = False,
    train: Annotated[
        Path | None, typer.Option("--train", help="Training file: also train, and score on the test counties.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Number of steps, instead of the file's.")] = None,
    as_json: Json = False,
) -> None:
    """Build a training set from registries, footprints and a catalogue, split by county."""
    from overwatt.workflows.national import build as sets
    from overwatt.workflows.national import plan as training_plan

    if plan:
        result = sets.plan(settings, say=say)
        show(result, as_json, training_plan.cost_lines(result))
        return

    def tick(done: int, failed: int, total: int) -> None:
        say(f"tiles {done + failed}/{total}, {failed} failed")

    result = sets.build(settings, out, say=say, tick=tick)
    lines = sets.summary_lines(result)
    if train:
        from overwatt.workflows.national import train_and_score

        result["training"] = train_and_score.train_and_evaluate(out, train, say, steps)
        lines += train_and_score.lines(result["training"])
    show(result, as_json, lines)
    if result["failed"]:
        raise typer.Exit(3)


def simulate(
    out: Annotated[Path, typer.Option("--out", help="Output folder.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the area.")] = 0,
    as_json: Json = False,
) -> None:
    """Simulate an area: imagery, temperature stack, registry with four planted inconsistencies, ground truth."""
    from overwatt.aoi.output import writing
    from overwatt.models.simulate import sample_area, write_area

    area = sample_area(seed)
    with writing(out / "the sample area"):
        paths = write_area(area, out)
    result = {name: str(path) for name, path in paths.items()}
    show(result, as_json, [f"{name}: {path}" for name, path in result.items()])
