"""`overwatt evaluate`: scores on a labelled image or on tiles, and two sets of weights side by side.

In: one or two weights files and either an image with labels or an index of tiles. Out: scores, and
with two weights also the paired comparison of `paired_bootstrap`. Objects are those of the pipeline, by
the same thresholds as in a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import geopandas as gpd
import numpy as np
import shapely

from overwatt.aoi.errors import ConfigError, GridError, ModelContractError, RegistryError, nearest
from overwatt.models.detector.card import DEFAULT_WEIGHTS, ModelCard, check_fits
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.evaluation.metrics import Judged, Outline, Unlabelled, score, score_all
from overwatt.models.evaluation.paired_bootstrap import Scene, compare, labels_of, summary
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.models.training.tileset import PICTURE_BANDS, pictures_of, read_index
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.pipeline.report import rasters
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, check_any_valid, open_image
from overwatt.workflows.io.vectors import footprints_of, outlines_px, read_vector, to_pixels
from overwatt.workflows.run.single_image import check_whole, in_training, label_texts, score_lines
from overwatt.workflows.training.held_out import footprints_on


def on_image(
    image_path: Path,
    labels_path: Path,
    *,
    unlabelled: str,
    weights: Sequence[Path],
    out: Path | None = None,
    block_m: float = 512.0,
) -> dict[str, Any]:
    """Score weights on a labelled image; `in_training` tells whether they have seen it.

    With two weights the scores are those of the first, `scores_b` those of the second, and
    `comparison` says whether they differ.
    """
    if unlabelled not in get_args(Unlabelled):
        raise ConfigError(f"--unlabelled '{unlabelled}': {nearest(unlabelled, get_args(Unlabelled))}")
    mode = cast(Unlabelled, unlabelled)
    seen = [_look(path, image_path, labels_path) for path in _one_or_two(weights)]
    results = [
        {"in_training": in_training(s.image, s.card)}
        | score(s.outlines(s.image), s.labels, s.valid, gsd_m=s.image.gsd_m, unlabelled=mode)
        for s in seen
    ]
    first = seen[0]
    if out is not None:
        _overlay(first, labels_path, out / f"{image_path.stem}-overlay.png")
    if len(seen) == 1:
        return results[0]
    # both in pixels of the first weights' grid, so that they are compared on the same blocks
    a, b = (s.outlines(first.image) for s in seen)
    scene = Scene(first.labels, first.valid, first.image.gsd_m, a, b)
    return results[0] | {"scores_b": results[1], "comparison": compare([scene], unlabelled=mode, block_m=block_m)}


def on_tiles(index: Path, split: str, *, weights: Sequence[Path], block_m: float = 512.0) -> dict[str, Any]:
    """Score one or two weights on the tiles of a split; every pixel of a tile is labelled, so none is ignored."""
    tiles = pictures_of(index, split)
    gsd_m = tiles[0].gsd_m
    if any(abs(t.gsd_m - gsd_m) > 0.01 * gsd_m for t in tiles):
        raise ConfigError(f"{index}: tiles of several pixel sizes in split '{split}'; cut them with one --tile-gsd")
    truth = [labels_of(t) for t in tiles]
    results, sides = [], []
    for path in _one_or_two(weights):
        detector = Detector.load(path)
        sides.append([found_on(detector, t) for t in tiles])
        judged = [
            Judged(found, labels, t.valid, t.cooling != IGNORE)
            for found, labels, t in zip(sides[-1], truth, tiles, strict=True)
        ]
        result = score_all(judged, gsd_m=gsd_m, unlabelled="background", block_px=max(1, round(256 / gsd_m)))
        results.append({"in_training": _seen(index, split, detector.card), "tiles": len(tiles), **result})
    if len(sides) == 1:
        return results[0]
    scenes = [
        Scene(labels, t.valid, gsd_m, a, b, t.cooling != IGNORE)
        for labels, t, a, b in zip(truth, tiles, sides[0], sides[1], strict=True)
    ]
    return results[0] | {
        "scores_b": results[1],
        "comparison": compare(scenes, unlabelled="background", block_m=block_m),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Scores, and the comparison where there is one, as lines for people."""
    if "comparison" not in result:
        return score_lines(result)
    a, b = score_lines(result), score_lines(result["scores_b"])
    return ["A", *a, "B", *b, *summary(result["comparison"])]


@dataclass(frozen=True)
class _Look:
    """What one set of weights found on a labelled image."""

    card: ModelCard
    image: Image
    labels: list[Outline]
    found: gpd.GeoDataFrame
    valid: np.ndarray

    def outlines(self, image: Image) -> list[Outline]:
        return _outlines(self.found, to_pixels(self.found.geometry, image))


def _look(weights: Path, image_path: Path, labels_path: Path) -> _Look:
    detector = Detector.load(weights)
    image = open_image(image_path, detector.card)
    check_whole(image)
    check_any_valid(image)
    labels = outlines_px(labels_path, image)
    ny, nx = image.shape
    if not any(o.polygon.intersects(shapely.box(0, 0, nx, ny)) for o in labels):
        raise RegistryError(f"{labels_path.name}: no label lies on image {image.name}; check their coordinates")
    probability, valid = predict(detector, image.read, (0, 0, ny, nx), image.gsd_m)
    found = footprints_of(probability, valid, image, DetectSettings.of(detector.card))
    return _Look(detector.card, image, labels, found, valid)


def _overlay(look: _Look, labels_path: Path, path: Path) -> None:
    image = look.image
    if image.geobox is None:
        raise GridError(f"image {image.name}: an overlay needs a georeference")
    values, _ = image.read(0, 0, *image.shape)
    rgb = np.rint(values[:3] * 255).astype(np.uint8)
    drawn = rasters.overlay(rgb, look.valid, image.geobox, look.found, label_texts(read_vector(labels_path)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with run_folder.written(path) as part:
        part.write_bytes(drawn)


def found_on(detector: Detector, tile: Picture) -> list[Outline]:
    """What weights find on a tile, as the pipeline would outline it, in the tile's pixels."""
    low, high = detector.card.native_range_m
    if not low <= tile.gsd_m <= high:
        raise ModelContractError(
            f"tile {tile.name}: {tile.gsd_m:g} m a pixel; weights '{detector.card.name}' work on {low:g}-{high:g} m "
            f"pixels: cut the tiles with --tile-gsd {detector.card.gsd_m:g}"
        )
    check_fits(detector.card, bands=PICTURE_BANDS[:3], gsd_m=tile.gsd_m, units="display_uint8", source=tile.name)
    found = footprints_on(detector, tile)
    return _outlines(found, list(found.geometry))


def _outlines(found: gpd.GeoDataFrame, polygons: list[shapely.Geometry]) -> list[Outline]:
    return [Outline(str(k), g) for k, g in zip(found["class"], polygons, strict=True)]


def _one_or_two(weights: Sequence[Path]) -> list[Path]:
    if len(weights) > 2:
        raise ConfigError(f"--weights given {len(weights)} times; one set is scored, two are compared")
    return list(weights) or [DEFAULT_WEIGHTS]


def _seen(index: Path, split: str, card: ModelCard) -> bool:
    """Whether the weights were trained on an image of these tiles, or on the ground of one."""
    rows = read_index(index)
    rows = rows[rows["split"] == split]
    images, extents = {t.image_sha256 for t in card.training}, [t.extent for t in card.training if t.extent]
    if set(rows["image_sha256"]) & (images - {""}):
        return True
    return any(rows.intersects(shapely.box(*e)).any() for e in extents if e[0] <= e[2])
