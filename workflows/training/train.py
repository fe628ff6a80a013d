"""`overwatt train`: from a training file to weights with their card, or to cross-validated scores.

In: a training file (pictures with outlines, simulated scenes, negatives, tiles, settings). Out, in the output
folder: weights and card; or, with spatial folds, one set of weights per fold, the stitched out-of-fold probabilities,
scores and calibration. Each stage (pretraining, training, counting, machines) has a weights file of its own. A stage
whose file exists is not repeated, so the same command resumes a stopped training.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from dask.system import CPU_COUNT

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.output import writing
from overwatt.models.detector import stac_mlm
from overwatt.models.detector import weights as weight_files
from overwatt.models.detector.card import CHANNELS, Calibration, ModelCard, TrainingData
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.detector.network import SiteNet, widened
from overwatt.models.training import out_of_distribution
from overwatt.models.training.checkpoint import curve
from overwatt.models.training.samples import Picture
from overwatt.models.training.settings import TrainSettings
from overwatt.models.training.tileset import pictures_of
from overwatt.models.training.train import train
from overwatt.workflows.config.training import BranchSettings, PictureSettings, TrainingFile, resolve
from overwatt.workflows.config.yaml import load_yaml
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, open_image
from overwatt.workflows.io.vectors import outlines_px
from overwatt.workflows.training import canvases as canvas_sources
from overwatt.workflows.training import samples as sources
from overwatt.workflows.training.calibration import calibrate
from overwatt.workflows.training.cross_validation import blocks_of, score_stitched, without
from overwatt.workflows.training.scores import ground_of

log = logging.getLogger(__name__)

Say = Callable[[str], None]
PRETRAINED = "pretrained.safetensors"


def draft_card(file: TrainingFile) -> ModelCard:
    """Return the card before training: the input contract, without hash, scores or calibration."""
    return ModelCard(
        name=file.name,
        version=file.version,
        created=datetime.now(UTC).date().isoformat(),
        licence=file.licence,
        width=file.training.width,
        bands=file.bands,
        thermal_bands=file.thermal_bands,
        units=file.units,
        gsd_m=file.gsd_m,
        gsd_range_m=file.gsd_range_m,
        native_range_m=file.native_range_m,
        scoring=file.scoring,
        offset=file.offset,
        mean=file.training.mean,
        std=file.training.std,
        limits=file.limits,
    )


def run(config: Path, out: Path, *, folds: str | None, say: Say, steps: int | None = None) -> dict[str, Any]:
    """Train from a file.

    Args:
        config: the training file.
        out: output folder; a stopped training is resumed from it.
        folds: None to train the weights, 'spatial' for cross-validation.
        say: receives progress lines.
        steps: overrides the number of steps of every stage.

    Returns:
        A summary for `--json`: `weights`, `sha256` and `bytes`, or the result of `score_stitched`.

    Raises:
        ConfigError: the training file or an option cannot be used.
        OverwattError: an image, raster or label file cannot be used.
    """
    if folds not in (None, "spatial"):
        raise ConfigError(
            f"--folds '{folds}': only 'spatial' is supported; a random split puts neighbouring pixels on both sides"
        )
    ready = _prepare(config, out, steps, say)
    file = ready.file
    start = _initial_network(ready, say)
    if folds:
        return _cross_validate(ready, start, say)
    job = _Job("all pictures", ready.real, ready, start, out / "all.safetensors")
    net = weight_files.load(_train(job, say))[0]
    for name, branch in file.branches.items():
        net = _train_branch(name, branch, ready, net, say)
    update: dict[str, Any] = {"training": _provenance(ready)}
    scores_path = out / "folds.json"
    if scores_path.is_file():
        # scores of an earlier `--folds spatial` in this folder go into the card
        cv = json.loads(scores_path.read_text())
        update |= {"scores": cv["scores"], "calibration": Calibration(**cv["calibration"]), "offset": cv["offset"]}
    if ready.held_out:
        say(f"calibration on {len(ready.held_out)} held-out simulated scenes")
        fitted = calibrate(net, ready.card, ready.held_out)
        update |= fitted | {"scores": update.get("scores", {}) | fitted["scores"]}
    weights = out / f"{file.name}.safetensors"
    saved = weight_files.save(net, ready.card.model_copy(update=update), weights)
    stac_mlm.write(saved, weights, hyperparameters=file.training.model_dump())
    return {"weights": str(weights), "sha256": saved.weights_sha256, "bytes": weights.stat().st_size}


def first_round(config: Path, out: Path, *, say: Say, steps: int | None = None) -> Path:
    """Run only the pretraining on simulated scenes; return its weights file, without scores or calibration.

    Raises:
        ConfigError: the training file has no `pretraining`.
    """
    ready = _prepare(config, out, steps, say)
    if ready.file.pretraining is None:
        raise ConfigError(f"{config.name}: has no pretraining")
    _initial_network(ready, say)
    return out / PRETRAINED


def _prepare(config: Path, out: Path, steps: int | None, say: Say) -> _Prepared:
    """Read a training file and all inputs that it names."""
    file = load_yaml(config, TrainingFile)
    if steps:
        short = {"steps": steps}
        stages = {"training": file.training, "pretraining": file.pretraining}
        file = file.model_copy(update={k: s.model_copy(update=short) for k, s in stages.items() if s})
        for name, branch in file.branches.items():
            training = {"training": branch.training.model_copy(update=short)}
            file = file.model_copy(update={name: branch.model_copy(update=training)})
    with writing(out / "checkpoint"):
        out.mkdir(parents=True, exist_ok=True)
    return _load_pictures(file, config.resolve().parent, out, say)


@dataclass(frozen=True)
class _Prepared:
    """A training file with its pictures: `real` ones have outlines, `more` are negatives, land cover and tiles."""

    file: TrainingFile
    base: Path
    out: Path
    card: ModelCard
    images: list[tuple[PictureSettings, Image]]
    real: list[Picture]
    simulated: list[Picture]
    more: list[Picture]
    val: list[Picture]
    held_out: list[Picture] = field(default_factory=list)
    """Simulated scenes that are not trained on, for calibration."""


def _load_pictures(file: TrainingFile, base: Path, out: Path, say: Say) -> _Prepared:
    """Read or render every picture of a training file.

    Raises:
        ConfigError: a thermal band without the simulated scenes that it needs.
    """
    card, heat = draft_card(file), len(file.thermal_bands)
    if heat and (heat > 1 or not file.simulated.psfs_m or not file.simulated.tiles or not file.simulated.held_out):
        raise ConfigError(
            "thermal_bands: give one band, with simulated.psfs_m and simulated.tiles to train it "
            "and simulated.held_out to calibrate it"
        )
    images, real = [], []
    for p in file.pictures:
        image = open_image(resolve(p.image, base), card)
        images.append((p, image))
        real.append(sources.outlined(image, outlines_px(resolve(p.outlines, base), image), p.name, p.weight, p.scale))
    scenes = sources.simulated(file.simulated, out / "simulated", say) if file.simulated.tiles else []
    simulated, held_out = scenes[: file.simulated.tiles], scenes[file.simulated.tiles :]
    more = [p for n in file.negatives for p in sources.mosaics(n, resolve(n.images, base))]
    more += canvas_sources.of_groups(file.canvases, base, out / "canvases", say)
    for land in file.land_covers:
        image = open_image(resolve(land.image, base), card)
        known = resolve(land.data_centers, base) if land.data_centers else None
        more.append(sources.land_cover(image, resolve(land.land_cover, base), known, land))
    val: list[Picture] = []
    for t in file.tiles:
        pictures = pictures_of(resolve(t.index, base), t.split, weight=t.weight)
        (val if t.split == "val" else more).extend(pictures)
    log.debug("pictures: %d outlined, %d simulated, %d held out, %d more, %d val",
              len(real), len(simulated), len(held_out), len(more), len(val))  # fmt: skip
    real, more, val = (sources.not_measured(pictures, heat) for pictures in (real, more, val))
    return _Prepared(file, base, out, card, images, real, simulated, more, val, held_out)


def _provenance(ready: _Prepared) -> tuple[TrainingData, ...]:
    """What the weights were trained on, for their card."""
    file, found = ready.file, []
    for (p, image), picture in zip(ready.images, ready.real, strict=True):
        extent = image.geobox.geographic_extent.boundingbox if image.geobox is not None else None
        # one ring around what is imaged; of a scattered picture it follows the outer edge
        ring = shapely.concave_hull(ground_of(image, picture.valid), 0.05)
        found.append(
            TrainingData(
                name=p.name,
                licence=p.licence,
                outlines=f"{Path(p.outlines).name}, drawn by hand from the picture",
                image_sha256=image.sha256,
                # six decimals of a degree: about 0.1 m
                extent=tuple(round(v, 6) for v in extent) if extent else None,
                outline=tuple((round(x, 6), round(y, 6)) for x, y in shapely.get_coordinates(ring)) or None,
            )
        )
    if ready.simulated:
        sim = file.simulated
        name = f"{sim.tiles} simulated scenes at {', '.join(f'{g:g}' for g in sim.gsds_m)} m, seed {sim.seed}"
        spread = ", ".join(f"{w:g}" for w in sim.psfs_m)
        if ready.held_out:
            name += f", and {len(ready.held_out)} more for calibration only"
        if sim.psfs_m:
            name += f"; thermal point spread {spread} m"
        found.append(TrainingData(name=name, licence="Apache-2.0", outlines="exact, from the simulator"))
    nothing = "none: known to hold no data center"
    for branch, settings in file.branches.items():
        fine = settings.simulated
        name = f"{fine.tiles} simulated scenes at {', '.join(f'{g:g}' for g in fine.gsds_m)} m, seed {fine.seed}, "
        name += f"for the branch `{branch}` alone"
        found.append(TrainingData(name=name, licence="Apache-2.0", outlines="exact, from the simulator"))
    found.extend(TrainingData(name=n.name, licence=n.licence, outlines=nothing) for n in file.negatives)
    drawn = "drawn by hand from the pictures; simulated sites pasted on them"
    found.extend(TrainingData(name=c.name, licence=c.licence, outlines=drawn) for c in file.canvases)
    said = "land cover: open land is background, built-up land is no data center"
    found.extend(TrainingData(name=c.name, licence=c.licence, outlines=said) for c in file.land_covers)
    names = ((Path(t.index).name, t.split) for t in file.tiles)
    found.extend(TrainingData(name=name, licence="see its index", outlines=f"split {split}") for name, split in names)
    return tuple(found)


@dataclass(frozen=True)
class _Job:
    """One stage of training: its pictures, and the weights file that exists when it is finished."""

    label: str
    real: list[Picture]
    ready: _Prepared
    start: SiteNet | None
    weights: Path
    settings: TrainSettings | None = None
    """Settings of a stage with pictures of its own; None for the main training."""
    scenes: list[Picture] | None = None
    """Pictures of this stage; None for the simulated ones of the main training."""


def _train(job: _Job, say: Say) -> Path:
    """Train, unless the weights file exists; return it."""
    if job.weights.is_file():
        log.debug("%s: %s exists, not trained again", job.label, job.weights)
    else:
        file, card, apart = job.ready.file, job.ready.card, job.settings is not None
        settings = job.settings or file.training
        scenes = job.ready.simulated if job.scenes is None else job.scenes
        checkpoint = job.weights.with_suffix(".pt")
        log.debug("%s: %d steps%s", job.label, settings.steps, ", from a checkpoint" if checkpoint.is_file() else "")
        net = train(
            [*job.real, *scenes, *([] if apart else job.ready.more)],
            (*file.bands, *file.thermal_bands),
            settings,
            start=job.start,
            checkpoint=checkpoint,
            report=_reporter(job.label, say),
            val=None if apart else job.ready.val or None,
            # curves for TensorBoard only where it is installed
            log_dir=job.ready.out / "logs" / job.weights.stem if find_spec("tensorboard") else None,
        )
        if settings.learn == "all":  # other stages leave the features, and so the novelty statistics, as they are
            out_of_distribution.fit(net, card, job.real or job.ready.more)
        weight_files.save(net, card, job.weights)
        history = asdict(curve(checkpoint))
        with run_folder.written(job.weights.with_suffix(".curve.json")) as part:
            part.write_text(json.dumps(history) + "\n")
        checkpoint.unlink(missing_ok=True)
    return job.weights


def _train_in_process(job: _Job) -> Path:
    """`_train` in a process of its own, with progress on standard error."""
    return _train(job, lambda text: print(text, file=sys.stderr, flush=True))


def _initial_network(ready: _Prepared, say: Say) -> SiteNet | None:
    """The network that every training starts from: given weights, pretraining on simulated scenes, or None.

    Pretraining uses no real pixel, so all folds may start from it without a leak.
    """
    file = ready.file
    start = _given(resolve(file.start, ready.base), ready) if file.start else None
    if file.pretraining is None:
        return start
    job = _Job("simulated", [], ready, start, ready.out / PRETRAINED, file.pretraining)
    return weight_files.load(_train(job, say))[0]


def _given(path: Path, ready: _Prepared) -> SiteNet:
    """Read weights to start from, with filters for the bands of this training."""
    file = ready.file
    start, card = weight_files.load(path)
    if card.width != file.training.width:
        raise ConfigError(
            f"start: {path.name} has width {card.width}, but training.width is {file.training.width}; "
            f"set the width to {card.width}"
        )
    old_bands, new_bands = (*card.bands, *card.thermal_bands), (*file.bands, *file.thermal_bands)
    return start if old_bands == new_bands else widened(start, old_bands, new_bands)


def _train_branch(name: str, own: BranchSettings, ready: _Prepared, net: SiteNet, say: Say) -> SiteNet:
    """Train the branch `name`, `counting` or `machines`."""
    scenes = sources.simulated(own.simulated, ready.out / "simulated", say)
    # scenes without a single machine would teach only the background
    scenes = [s for s in scenes if s.unit is not None and (s.unit == 1).any()]
    say(f"{name}: {len(scenes)} of {own.simulated.tiles} simulated scenes contain machines")
    groups = tuple(c.model_copy(update={"untouched": own.untouched}) for c in ready.file.canvases)
    canvases = canvas_sources.of_groups(groups, ready.base, ready.out / "canvases", say) if own.canvases else []
    total, (fine, coarse) = sum(c.weight for c in canvases), own.gsds_m
    for c in canvases:
        scale = (c.gsd_m / coarse, c.gsd_m / fine)
        scenes.append(replace(c, weight=own.canvases * c.weight / total, scale=scale))
    scenes = sources.not_measured(scenes, len(ready.file.thermal_bands))
    job = _Job(name, [], ready, net, ready.out / f"{name}.safetensors", own.training, scenes)
    return weight_files.load(_train(job, say))[0]


def _reporter(label: str, say: Say) -> Callable[[int, int, float], None]:
    """A callback (step, steps, loss) that reports every 20 steps; the time left ignores steps before a resume."""
    began = time.monotonic()
    first: list[int] = []

    def report(step: int, steps: int, loss: float) -> None:
        first[:] = first or [step - 1]
        if step % 20 == 0 or step == steps:
            left = (time.monotonic() - began) / (step - first[0]) * (steps - step)
            say(f"{label}: step {step} of {steps}, loss {loss:.3f}, {left / 60:.1f} min left")

    return report


def _cross_validate(ready: _Prepared, start: SiteNet | None, say: Say) -> dict[str, Any]:
    """Train one network per block without that block, and score the stitched predictions."""
    file, out = ready.file, ready.out
    if len(ready.real) != 1:
        raise ConfigError(f"--folds spatial: needs exactly one entry under `pictures`, found {len(ready.real)}")
    (settings, image), picture = ready.images[0], ready.real[0]
    block = blocks_of(picture, file.folds)
    guard_px = file.folds.guard_m / image.gsd_m
    jobs = [
        _Job(
            f"fold {k + 1} of {file.folds.blocks}",
            [without(picture, block == k, guard_px)],
            ready,
            _given(resolve(file.start_folds, ready.base) / f"fold{k}.safetensors", ready)
            if file.start_folds
            else start,
            out / f"fold{k}.safetensors",
        )
        for k in range(file.folds.blocks)
    ]
    processes = max(1, CPU_COUNT // file.training.threads)
    log.debug("%d folds in %d processes, guard %.1f pixels", file.folds.blocks, processes, guard_px)
    # spawn: a forked process must not inherit the threads of torch
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        trained = list(pool.map(_train_in_process, jobs))
    stitched = np.zeros((len(CHANNELS), *image.shape), np.uint8)
    for k, weights in enumerate(trained):
        net, card = weight_files.load(weights)
        # each pixel comes from the network that was not trained on its block
        p, _ = predict(Detector.of(net, card), image.read, image.shape, image.gsd_m)
        stitched = np.where(block == k, p, stitched)
    np.savez_compressed(out / "stitched.npz", probability=stitched, block=block)
    say(f"{file.folds.blocks} folds done")
    return score_stitched(stitched, block, picture, image, settings, ready.base, out, ready.card)
