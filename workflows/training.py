"""`overwatt train`: from a training file to weights with their card, or to cross-validated scores.

In: a training file (pictures with outlines, simulated tiles, settings). Out, in the output
folder: weights and card; or, with spatial folds, one set of weights a fold, the stitched
out-of-fold probabilities, scores and an overlay. Pictures are cut into blocks along the gaps
between buildings, so no building lies in two blocks, and the network that scores a block has
seen neither its labels nor its pixels.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import shapely
from pydantic import BaseModel, ConfigDict, Field
from rasterio.features import rasterize
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from scipy.optimize import minimize

from aoi.errors import ConfigError
from models import card as cards
from models.card import Calibration, ModelCard, TrainingData
from models.evaluate import Outline, Unlabelled, score
from models.network import SiteNet
from models.predict import Detector, predict
from models.samples import DATA_CENTER, IGNORE, OTHER, Picture
from models.simulate import training_tile
from models.train import TrainSettings, train
from pipeline.detect import DetectSettings
from workflows.images import Image, open_image
from workflows.settings import load_yaml
from workflows.vectors import footprints_of, outlines_px, to_pixels

Say = Callable[[str], None]
CODES = {"other_building": OTHER, "data_center": DATA_CENTER, "unknown": IGNORE}
LIMITS = (
    "Display RGB at about 2 m only; radiometry is not used.",
    "Real training pixels come from one district in Virginia, in one season; elsewhere expect more errors.",
    "At 2 m chillers and generators in ground yards look alike.",
    "Saturated white roofs hide rooftop equipment.",
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PictureSettings(_Frozen):
    """A real picture with outlines drawn by hand."""

    name: str
    image: str = Field(description="path, relative to this file, or realdata:PATH")
    outlines: str = Field(description="GeoJSON with class data_center, other_building, cooling_equipment, unknown")
    scored_against: str | None = Field(default=None, description="independent labels; used for scores only")
    licence: str
    weight: float = Field(default=1.0, gt=0)


class SimulatedSettings(_Frozen):
    """Simulated tiles."""

    tiles: int = Field(default=160, ge=0)
    size_px: int = Field(default=512, ge=64)
    seed: int = 0
    weight: float = Field(default=1.0, gt=0, description="of all simulated tiles together")


class FoldSettings(_Frozen):
    """How pictures are cut into blocks for cross-validation."""

    blocks: int = Field(default=4, ge=2)
    guard_m: float = Field(default=40.0, ge=0, description="strip around a held-out block that is not trained on")
    seed: int = 0


class TrainingFile(_Frozen):
    """A training file."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]+$")
    version: str
    licence: str
    gsd_m: float = Field(gt=0)
    gsd_range_m: tuple[float, float]
    native_range_m: tuple[float, float]
    bands: tuple[str, ...] = ("red", "green", "blue")
    units: Literal["display_uint8"] = "display_uint8"
    pictures: tuple[PictureSettings, ...] = ()
    simulated: SimulatedSettings = SimulatedSettings(tiles=0)
    pretraining: TrainSettings | None = Field(default=None, description="a first round on the simulated tiles alone")
    training: TrainSettings = TrainSettings()
    folds: FoldSettings = FoldSettings()


def real_data() -> Path:
    """Folder of the real imagery: $OVERWATT_REAL_DATA, else ../shared/data beside the checkout."""
    own = os.environ.get("OVERWATT_REAL_DATA")
    return Path(own) if own else Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def resolve(text: str, base: Path) -> Path:
    """Resolve a path of a training file: realdata:PATH, absolute, or relative to the file."""
    if text.startswith("realdata:"):
        return real_data() / text.removeprefix("realdata:")
    return (base / text).resolve()


def draft_card(file: TrainingFile) -> ModelCard:
    """The card before training: the contract without hash, scores or calibration."""
    return ModelCard(
        name=file.name,
        version=file.version,
        created=datetime.now(UTC).date().isoformat(),
        licence=file.licence,
        width=file.training.width,
        bands=file.bands,
        units=file.units,
        gsd_m=file.gsd_m,
        gsd_range_m=file.gsd_range_m,
        native_range_m=file.native_range_m,
        mean=file.training.mean,
        std=file.training.std,
        limits=LIMITS,
    )


def load_picture(image: Image, outlines: list[Outline], name: str, weight: float) -> Picture:
    """Read a whole picture and burn its outlines; what is not outlined counts as background."""
    ny, nx = image.shape
    values, valid = image.read(0, 0, ny, nx)

    def burn(order: dict[str, int]) -> np.ndarray:
        shapes = [(o.polygon, code) for klass, code in order.items() for o in outlines if o.klass == klass]
        return rasterize(shapes, (ny, nx), dtype="uint8") if shapes else np.zeros((ny, nx), np.uint8)

    building = burn({"unknown": IGNORE, "other_building": OTHER, "data_center": DATA_CENTER})
    cooling = burn({"unknown": IGNORE, "cooling_equipment": 1})
    return Picture(name, np.rint(values * 255).astype(np.uint8), valid, building, cooling, weight)


def simulated_pictures(settings: SimulatedSettings, gsd_m: float, say: Say) -> list[Picture]:
    """Render the simulated tiles; tile i depends on seed + i alone."""
    pictures = []
    for i in range(settings.tiles):
        scene = training_tile(settings.seed + i, settings.size_px, gsd_m)
        valid = np.ones(scene.building.shape, bool)
        pictures.append(
            Picture(
                f"sim{i}",
                scene.optical,
                valid,
                scene.building,
                scene.cooling,
                settings.weight / settings.tiles,
            )
        )
        if i % 20 == 19:
            say(f"simulated tiles: {i + 1} of {settings.tiles}")
    return pictures


def blocks_of(picture: Picture, settings: FoldSettings) -> np.ndarray:
    """Cut a picture into spatial blocks: (y, x) int, no building in two blocks.

    Buildings are grouped by place (k-means on their centres), and every pixel goes with its
    nearest building.
    """
    labels, n = ndimage.label((picture.building != 0) & picture.valid)
    if n < settings.blocks:
        raise ConfigError(f"{picture.name}: {n} buildings cannot be cut into {settings.blocks} blocks")
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, np.arange(1, n + 1)))
    areas = np.bincount(labels.ravel())[1:]
    big = areas >= np.median(areas)
    means, _ = kmeans2(centres[big], settings.blocks, seed=settings.seed, minit="++", iter=50)
    group = np.argmin(((centres[:, None] - means[None]) ** 2).sum(-1), axis=1)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.concatenate([[-1], group])[labels[tuple(nearest)]]


def without(picture: Picture, held_out: np.ndarray, guard_px: float) -> Picture:
    """The picture with a block blanked: no pixel of it is seen, none within the guard is learned from."""
    near = ndimage.distance_transform_edt(~held_out) <= guard_px
    return Picture(
        picture.name,
        np.where(held_out, np.uint8(0), picture.optical),
        picture.valid & ~held_out,
        np.where(near, np.uint8(IGNORE), picture.building),
        np.where(near, np.uint8(IGNORE), picture.cooling),
        picture.weight,
    )


def run(config: Path, out: Path, *, folds: str | None, say: Say, steps: int | None = None) -> dict[str, Any]:
    """Train from a file.

    Args:
        config: the training file.
        out: output folder; a stopped training is resumed from it.
        folds: None for the weights themselves, 'spatial' for cross-validation.
        say: receives progress lines.
        steps: overrides the file's number of steps.

    Returns:
        A summary for `--json`.
    """
    file = load_yaml(config, TrainingFile)
    if steps:
        short = {"steps": steps}
        rounds = {"training": file.training, "pretraining": file.pretraining}
        file = file.model_copy(update={k: r.model_copy(update=short) for k, r in rounds.items() if r})
    if folds not in (None, "spatial"):
        raise ConfigError(f"--folds '{folds}': only 'spatial' is offered; a random split would leak neighbours")
    out.mkdir(parents=True, exist_ok=True)
    base = config.resolve().parent
    card = draft_card(file)
    loaded = []
    for p in file.pictures:
        image = open_image(resolve(p.image, base), card)
        loaded.append((p, image, load_picture(image, outlines_px(resolve(p.outlines, base), image), p.name, p.weight)))
    simulated = simulated_pictures(file.simulated, file.gsd_m, say)
    start = _pretrain(file, card, simulated, out, say)
    if folds:
        return _cross_validate(file, card, base, loaded, simulated, start, out, say)
    training = []
    for p, image, _ in loaded:
        assert image.geobox is not None
        extent = image.geobox.geographic_extent.boundingbox
        training.append(
            TrainingData(
                name=p.name,
                licence=p.licence,
                outlines=f"{Path(p.outlines).name}, drawn by hand from the picture",
                image_sha256=image.sha256,
                extent=tuple(round(v, 6) for v in extent),
            )
        )
    if simulated:
        training.append(
            TrainingData(
                name=f"{file.simulated.tiles} simulated tiles, seed {file.simulated.seed}",
                licence="Apache-2.0",
                outlines="exact, from the simulator (models/simulate)",
            )
        )
    job = _Job("all pictures", [p for _, _, p in loaded] + simulated, file, card, start, out / "all.safetensors")
    net = cards.load(_train(job, say))[0]
    scores_path = out / "folds.json"
    update: dict[str, Any] = {"training": tuple(training)}
    if scores_path.is_file():
        cv = json.loads(scores_path.read_text())
        update |= {"scores": cv["scores"], "calibration": Calibration(**cv["calibration"])}
    weights = out / f"{file.name}.safetensors"
    saved = cards.save(net, card.model_copy(update=update), weights)
    return {"weights": str(weights), "sha256": saved.weights_sha256, "bytes": weights.stat().st_size}


@dataclass(frozen=True)
class _Job:
    """One training: what to learn from, and the weights file that says it is done."""

    what: str
    pictures: list[Picture]
    file: TrainingFile
    card: ModelCard
    start: SiteNet | None
    weights: Path


def _train(job: _Job, say: Say, settings: TrainSettings | None = None) -> Path:
    """Train unless done before; return the weights file."""
    if not job.weights.is_file():
        checkpoint = job.weights.with_suffix(".pt")
        net = train(
            job.pictures,
            job.file.bands,
            settings or job.file.training,
            start=job.start,
            checkpoint=checkpoint,
            report=_reporter(job.what, say),
        )
        cards.save(net, job.card, job.weights)
        checkpoint.unlink(missing_ok=True)
    return job.weights


def _train_apart(job: _Job) -> Path:
    """The same in a process of its own, which says its progress on standard error."""
    return _train(job, lambda text: print(text, file=sys.stderr, flush=True))


def _pretrain(file: TrainingFile, card: ModelCard, simulated: list[Picture], out: Path, say: Say) -> SiteNet | None:
    """Learn from the simulated tiles alone, once: no real pixel is in it, so all folds may start from it."""
    if file.pretraining is None:
        return None
    job = _Job("simulated", simulated, file, card, None, out / "pretrained.safetensors")
    return cards.load(_train(job, say, file.pretraining))[0]


def _reporter(what: str, say: Say) -> Callable[[int, int, float], None]:
    began = time.monotonic()
    first: list[int] = []

    def report(step: int, steps: int, loss: float) -> None:
        first[:] = first or [step - 1]
        if step % 20 == 0 or step == steps:
            left = (time.monotonic() - began) / (step - first[0]) * (steps - step)
            say(f"{what}: step {step} of {steps}, loss {loss:.3f}, {left / 60:.1f} min left")

    return report


def _cross_validate(
    file: TrainingFile,
    card: ModelCard,
    base: Path,
    loaded: list[tuple[PictureSettings, Image, Picture]],
    simulated: list[Picture],
    start: SiteNet | None,
    out: Path,
    say: Say,
) -> dict[str, Any]:
    if len(loaded) != 1:
        raise ConfigError(f"--folds spatial: needs exactly one picture in the file, found {len(loaded)}")
    settings, image, picture = loaded[0]
    block = blocks_of(picture, file.folds)
    guard_px = file.folds.guard_m / image.gsd_m
    jobs = [
        _Job(
            f"fold {k + 1} of {file.folds.blocks}",
            [without(picture, block == k, guard_px), *simulated],
            file,
            card,
            start,
            out / f"fold{k}.safetensors",
        )
        for k in range(file.folds.blocks)
    ]
    side_by_side = max(1, len(os.sched_getaffinity(0)) // file.training.threads)
    with ProcessPoolExecutor(side_by_side, mp_context=get_context("spawn")) as pool:
        trained = list(pool.map(_train_apart, jobs))
    stitched = np.zeros((4, *image.shape), np.uint8)
    for k, weights in enumerate(trained):
        net, _ = cards.load(weights)
        p, _ = predict(Detector.of(net, card), image.read, (0, 0, *image.shape))
        stitched = np.where(block == k, p, stitched)
    np.savez_compressed(out / "stitched.npz", probability=stitched, block=block)
    return score_stitched(stitched, block, picture, image, settings, base, out)


def score_stitched(
    stitched: np.ndarray,
    block: np.ndarray,
    picture: Picture,
    image: Image,
    settings: PictureSettings,
    base: Path,
    out: Path,
) -> dict[str, Any]:
    """Score out-of-fold probabilities against independent labels and against the own outlines; fit the calibration."""
    found = footprints_of(stitched, picture.valid, image, DetectSettings())
    found.to_file(out / "footprints.gpkg", layer="footprints")
    predicted = [Outline(k, g) for k, g in zip(found["class"], to_pixels(found.geometry, image), strict=True)]
    own = outlines_px(resolve(settings.outlines, base), image)
    scores: dict[str, Any] = {"folds": int(block.max()) + 1, "split": "spatial blocks, no building in two"}
    sets = {"own_outlines": own}
    if settings.scored_against:
        sets["independent_labels"] = outlines_px(resolve(settings.scored_against, base), image)
    for name, labels in sets.items():
        for mode in get_args(Unlabelled):
            scores[f"{name}, unlabelled {mode}"] = score(
                predicted, labels, picture.valid, gsd_m=image.gsd_m, unlabelled=mode
            )
    calibration = fit_calibration(predicted, found["score"].to_numpy(), own)
    result = {"scores": scores, "calibration": calibration.model_dump()}
    (out / "folds.json").write_text(json.dumps(result, indent=1) + "\n")
    return {"folds": str(out / "folds.json"), **result}


def fit_calibration(predicted: list[Outline], scores: np.ndarray, labels: list[Outline]) -> Calibration:
    """Platt scaling of building scores on held-out objects, with a weak prior towards the identity.

    Args:
        predicted: out-of-fold objects.
        scores: score of each one's own class, 0..1.
        labels: outlines; an object takes the class of the label that covers most of it.

    Returns:
        Coefficients a, b: log-odds = a + b logit(score), and the share of data centers fit on.
    """
    known = [o for o in labels if o.klass in ("data_center", "other_building")]
    tree = shapely.STRtree([o.polygon for o in known])
    x, y = [], []
    for o, s in zip(predicted, scores, strict=True):
        if o.klass == "cooling_equipment":
            continue
        covers = {
            klass: sum(
                o.polygon.intersection(known[j].polygon).area
                for j in tree.query(o.polygon, predicate="intersects")
                if known[j].klass == klass
            )
            for klass in ("data_center", "other_building")
        }
        if max(covers.values()) < 0.3 * o.polygon.area:
            continue
        p = s if o.klass == "data_center" else 1 - s
        x.append(logit(p))
        y.append(covers["data_center"] > covers["other_building"])
    if len(set(y)) < 2:
        return Calibration(objects=len(y))
    xs, ys = np.array(x), np.array(y, float)

    def loss(ab: np.ndarray) -> float:
        z = ab[0] + ab[1] * xs
        fit = np.logaddexp(0, z) - ys * z
        return float(fit.sum() + 0.5 * ab[0] ** 2 / 1.0 + 0.5 * (ab[1] - 1) ** 2 / 0.25)

    a, b = minimize(loss, [0.0, 1.0], bounds=[(-5, 5), (0.05, 3)]).x
    return Calibration(a=float(a), b=float(b), prevalence=float(np.clip(ys.mean(), 0.02, 0.98)), objects=len(y))


def logit(p: float) -> float:
    """Log-odds of a score, clipped where 8 bits cannot tell it from 0 or 1."""
    q = min(max(p, 1 / 512), 511 / 512)
    return float(np.log(q / (1 - q)))
