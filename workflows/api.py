"""The jobs as functions, for notebooks: detect, run, train, read a run, read registries.

In: paths. Out: tables and summaries. The stages between them are in `overwatt.pipeline`; `import overwatt` offers both.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from overwatt.aoi.errors import GridError
from overwatt.models.detector.card import ModelCard
from overwatt.pipeline.power.record import Shown, shown_by
from overwatt.pipeline.report.rasters import Basemap, to_web_mercator
from overwatt.pipeline.tables import SCHEMAS
from overwatt.workflows.config.run import Workflow, load
from overwatt.workflows.io import registries, run_folder
from overwatt.workflows.io.images import check_any_valid, open_image
from overwatt.workflows.run import runner, single_image
from overwatt.workflows.run.looked_at import LookedAt
from overwatt.workflows.run.progress import Progress
from overwatt.workflows.run.results import BASEMAP_PX, decimated

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detection:
    """What the detector found in one image.

    Attributes:
        footprints: table `footprints`.
        looked_at: table `looked_at`: the part of each cell of the image that was imaged and screened.
        card: of the weights; its calibration turns scores into probabilities.
        gsd_m: ground sampling distance of the image, m.
        basemap: the image as a picture in Web Mercator, for a report.
    """

    footprints: gpd.GeoDataFrame
    looked_at: gpd.GeoDataFrame
    card: ModelCard
    gsd_m: float
    basemap: Basemap

    @property
    def shown(self) -> Shown:
        """Share of a site's equipment that the detector shows, for `estimate_power` and `estimate_compute`."""
        return shown_by(self.card)


def detect(image: str | Path, *, weights: Path | None = None, profile: str | None = None) -> Detection:
    """Run the detector on one georeferenced image of any size.

    Args:
        image: the file.
        weights: weights file; the bundled ones by default.
        profile: sensor profile instead of weights: naip, aerial_2m, sentinel2 or units.

    Raises:
        OverwattError: the image or the weights cannot be used, in one line.
    """
    path, card = single_image.weights_for(profile, weights)
    opened = open_image(Path(image), card)
    if opened.geobox is None:
        raise GridError(f"image {opened.name}: no CRS; `overwatt detect --gsd` takes images without georeference")
    check_any_valid(opened)
    looked_at = LookedAt(opened, None)
    found = single_image.footprints(path, card, opened, on_tile=lambda core, valid, *_: looked_at.add(core, valid))
    basemap = to_web_mercator(*decimated(opened, [{"core": (0, 0, *opened.shape)}]), BASEMAP_PX)
    return Detection(found, looked_at.table(), card, opened.gsd_m, basemap)


def run(
    workflow: str | Path | Workflow, out: str | Path, *, overrides: Sequence[str] = (), scheduler: str | None = None
) -> dict[str, Any]:
    """Run a workflow into a folder; a stopped run is finished by the same call.

    Args:
        workflow: a workflow file, or its settings.
        out: the run folder.
        overrides: 'key.sub=value' settings, as `--set` takes them; only with a file.
        scheduler: address of a Dask scheduler; local processes by default.

    Returns:
        The summary that `overwatt run --json` prints.

    Raises:
        OverwattError: an input cannot be used; the folder is then untouched.
    """
    settings = workflow if isinstance(workflow, Workflow) else load(Path(workflow), list(overrides))
    return runner.run(settings, Path(out), scheduler=scheduler, progress=Progress())


def train(config: str | Path, out: str | Path, *, folds: str | None = None, steps: int | None = None) -> dict[str, Any]:
    """Train weights from a training file, or cross-validate it with folds='spatial'.

    Args:
        config: the training file.
        out: output folder; a stopped training is resumed from it.
        folds: None, or 'spatial' for a cross-validation over spatial blocks.
        steps: replaces the file's number of steps.

    Raises:
        OverwattError: the file or its data cannot be used.
    """
    from overwatt.workflows.training import train as training  # torch and its optimisers: only to train

    return training.run(Path(config), Path(out), folds=folds, say=log.info, steps=steps)


def read_run(folder: str | Path) -> dict[str, Any]:
    """Return the tables of a run folder by name, and its `manifest`.

    Raises:
        ConfigError: it is no run folder, or a table is not as this version writes it.
    """
    path = Path(folder)
    names = [name for name in SCHEMAS if (path / f"{name}.parquet").is_file()]
    tables: dict[str, Any] = {
        name: run_folder.read_table(path / f"{name}.parquet", name) for name in names or ["sites"]
    }
    manifest = path / "manifest.json"
    return tables | {"manifest": json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}}


def read_registries(
    path: str | Path, *also: str | Path, format: str = "auto", position_error_m: float | None = None
) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    """Return table `declared` of one or several registries, and the rejected rows with their reasons.

    Args:
        path: the registry.
        also: further ones, whose layout is told by their content.
        format: layout of the first.
        position_error_m: 1-sigma position error where a row states none, m.

    Raises:
        RegistryError: a file cannot be read, or has no usable row.
    """
    return registries.read_all(Path(path), [Path(p) for p in also], format=format, position_error_m=position_error_m)


def cut_tiles(
    images: Sequence[str | Path],
    labels: Sequence[str | Path],
    out: str | Path,
    **options: Any,  # noqa: ANN401  # fields of Options
) -> dict[str, Any]:
    """Cut training tiles from images and their labels, split by place, and look for leaks between the splits.

    Args:
        images: image files.
        labels: files of polygons with a property `class`, or 'FILE=CLASS'.
        out: output folder; its index.parquet is what a training file names.
        options: fields of `overwatt.workflows.tiles.command.Options`, such as size_px=256 or licence='CC0-1.0'.

    Returns:
        The summary that `overwatt tiles --json` prints, with the number of `leaks`, which must be 0.

    Raises:
        OverwattError: an input or an option cannot be used.
    """
    from overwatt.workflows.tiles import command

    def quiet(done: int, failed: int, total: int) -> None:
        log.debug("tiles %d of %d, %d failed", done, total, failed)

    common: dict[str, Any] = {"run_folder": None, "dispositions": None, "class_map": [], "say": log.info, "tick": quiet}
    chosen = command.Options(**options)
    cut = command.run([Path(i) for i in images], [str(f) for f in labels], Path(out), chosen, check=[], **common)
    checked = command.run([], [], None, command.Options(), check=[Path(out)], **common)
    return cut | {"leaks": checked["leaks"]}


def evaluate(
    image: str | Path, labels: str | Path, *, weights: Sequence[str | Path] = (), unlabelled: str = "ignore"
) -> dict[str, Any]:
    """Score weights on a labelled image; with two weights also compare them.

    Args:
        image: the image.
        labels: polygons with a property `class`.
        weights: one or two weights files; the bundled ones by default.
        unlabelled: 'ignore' or 'background': what pixels without a label count as.

    Returns:
        The scores that `overwatt evaluate --json` prints; `in_training` says whether the weights have seen the image.

    Raises:
        OverwattError: an input cannot be used.
    """
    from overwatt.workflows.training import evaluation

    return evaluation.on_image(Path(image), Path(labels), unlabelled=unlabelled, weights=[Path(w) for w in weights])
