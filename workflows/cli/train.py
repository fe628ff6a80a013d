"""`overwatt train` and `evaluate`: weights from a training file, and how good weights are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from overwatt.aoi.errors import ConfigError
from overwatt.workflows.cli.common import Json, say, show


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(train)
    app.command()(evaluate)


def train(
    config: Annotated[Path, typer.Argument(help="Training file.")],
    out: Annotated[Path, typer.Option("--out", help="Output folder; a stopped training resumes there.")] = Path(
        "runs/training"
    ),
    folds: Annotated[
        str | None, typer.Option("--folds", help="'spatial': cross-validate over spatial blocks instead.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Number of steps, instead of the file's.")] = None,
    as_json: Json = False,
) -> None:
    """Train weights from a training file, or cross-validate it over spatial blocks."""
    from overwatt.workflows.training import scores
    from overwatt.workflows.training import train as training

    result = training.run(config, out, folds=folds, say=say, steps=steps)
    show(result, as_json, scores.training_lines(result))


def evaluate(
    image: Annotated[Path | None, typer.Option("--image", help="Image to score on.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Labels, GeoJSON with class data_center, other_building, cooling_equipment or unknown."
        ),
    ] = None,
    tiles: Annotated[
        Path | None, typer.Option("--tiles", help="Index of tiles to score on instead of an image.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="With --tiles: train, val or test.")] = "test",
    unlabelled: Annotated[
        str, typer.Option("--unlabelled", help="How pixels without a label are treated: ignore or background.")
    ] = "ignore",
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", help="Weights file; two are compared.", show_default="bundled weights"),
    ] = None,
    block_m: Annotated[
        float, typer.Option("--block-m", help="Side of the blocks that a comparison resamples, m.")
    ] = 512.0,
    out: Annotated[Path | None, typer.Option("--out", help="Output folder for an overlay image.")] = None,
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
    show(result, as_json, evaluation.lines(result))
