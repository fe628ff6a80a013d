"""`overwatt evaluate`: score one set of weights, or compare two, on a labelled image or on tiles.

In: one or two weights files and either an image with labels or an index of tiles. Out: scores, and for two sets of
weights also the paired comparison of `paired_bootstrap`. Objects come from the pipeline, with the same thresholds as
in a run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import geopandas as gpd
import numpy as np
import shapely

from overwatt.aoi.errors import ConfigError, GridError, ModelContractError, RegistryError, nearest
from overwatt.aoi.grid import Window
from overwatt.models.detector.card import DEFAULT_WEIGHTS, ModelCard, check_fits, verified
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.trained_ground import Trained, trained_on
from overwatt.models.evaluation.metrics import Judged, Outline, Unlabelled, score_all
from overwatt.models.evaluation.paired_bootstrap import Scene, compare, labels_of, summary
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.models.training.tileset import PICTURE_BANDS, pictures_of, read_index
from overwatt.pipeline.report import rasters
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image, check_any_valid, open_image
from overwatt.workflows.io.vectors import outlines_of, outlines_px, read_vector, to_pixels
from overwatt.workflows.run.single_image import footprints
from overwatt.workflows.training.held_out import footprints_on
from overwatt.workflows.training.scores import in_training, label_texts, score_lines

log = logging.getLogger(__name__)


def on_image(
    image_path: Path,
    labels_path: Path,
    *,
    unlabelled: str,
    weights: Sequence[Path],
    out: Path | None = None,
    block_m: float = 512.0,
) -> dict[str, Any]:
    """Score one or two sets of weights on a labelled image.

    Args:
        image_path: the image.
        labels_path: its labels.
        unlabelled: how unlabelled ground counts in the headline, 'ignore' or 'background'.
        weights: one or two weights files; none for the bundled weights.
        out: folder for an overlay of footprints and labels; None for no overlay.
        block_m: side of the blocks of the paired bootstrap, in metres.

    Returns:
        Scores of the first weights; `by_unlabelled`, the scores for either way to count unlabelled ground; and
        `in_training`: true, false or "possibly", whether they were trained on this ground. With two sets of weights
        also `scores_b`, the same for the second, and `comparison`, whether the two differ.

    Raises:
        ConfigError: an option is invalid.
        RegistryError: no label lies on the image.
    """
    if unlabelled not in get_args(Unlabelled):
        raise ConfigError(f"--unlabelled '{unlabelled}': {nearest(unlabelled, get_args(Unlabelled))}")
    mode = cast(Unlabelled, unlabelled)
    detections = [_detect_on(path, image_path, labels_path) for path in _one_or_two(weights)]
    results = [
        {"in_training": in_training(d.image, d.card, d.valid)}
        | _scored([Judged(d.outlines(d.image), d.labels, d.valid)], gsd_m=d.image.gsd_m, unlabelled=mode)
        for d in detections
    ]
    first = detections[0]
    if out is not None:
        _overlay(first, labels_path, out / f"{image_path.stem}-overlay.png")
    if len(detections) == 1:
        return results[0]
    # both in the pixels of the first grid, so that the comparison uses the same blocks for both
    a, b = (d.outlines(first.image) for d in detections)
    scene = Scene(first.labels, first.valid, first.image.gsd_m, a, b)
    return results[0] | {"scores_b": results[1], "comparison": compare([scene], unlabelled=mode, block_m=block_m)}


def on_tiles(index: Path, split: str, *, weights: Sequence[Path], block_m: float = 512.0) -> dict[str, Any]:
    """Score one or two sets of weights on the tiles of a split.

    Unlabelled pixels of a tile count as background in the headline, since a tile states what is unknown.

    Args:
        index: index of the tiles, or its folder.
        split: train, val or test.
        weights: one or two weights files; none for the bundled weights.
        block_m: side of the blocks of the paired bootstrap, in metres.

    Returns:
        As `on_image`, and `tiles`, their number.

    Raises:
        ConfigError: the tiles have different pixel sizes.
        ModelContractError: the weights do not support their pixel size.
    """
    tiles = pictures_of(index, split)
    gsd_m = tiles[0].gsd_m
    # 1%: equal but for the rounding of projected grids (own choice)
    if any(abs(t.gsd_m - gsd_m) > 0.01 * gsd_m for t in tiles):
        raise ConfigError(f"{index}: tiles of different pixel sizes in split '{split}'; cut them with one --tile-gsd")
    truth = [labels_of(t) for t in tiles]
    results, found_by_weights = [], []
    for path in _one_or_two(weights):
        detector = Detector.load(path)
        found_by_weights.append([found_on(detector, t) for t in tiles])
        log.debug("%s: %d objects on %d tiles", path, sum(map(len, found_by_weights[-1])), len(tiles))
        judged = [
            Judged(found, labels, t.valid, t.cooling != IGNORE)
            for found, labels, t in zip(found_by_weights[-1], truth, tiles, strict=True)
        ]
        # own choice: bootstrap blocks of 256 m, half of the usual tile side of 512 m
        result = _scored(judged, gsd_m=gsd_m, unlabelled="background", block_px=max(1, round(256 / gsd_m)))
        results.append({"in_training": _trained_on(index, split, detector.card), "tiles": len(tiles), **result})
    if len(found_by_weights) == 1:
        return results[0]
    scenes = [
        Scene(labels, t.valid, gsd_m, a, b, t.cooling != IGNORE)
        for labels, t, a, b in zip(truth, tiles, *found_by_weights, strict=True)
    ]
    return results[0] | {
        "scores_b": results[1],
        "comparison": compare(scenes, unlabelled="background", block_m=block_m),
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Return the scores, and the comparison if there is one, as lines of text."""
    if "comparison" not in result:
        return score_lines(result)
    a, b = score_lines(result), score_lines(result["scores_b"])
    return ["A", *a, "B", *b, *summary(result["comparison"])]


@dataclass(frozen=True)
class _Detections:
    """What one set of weights found on a labelled image."""

    card: ModelCard
    image: Image
    labels: list[Outline]
    found: gpd.GeoDataFrame
    valid: np.ndarray

    def outlines(self, image: Image) -> list[Outline]:
        return outlines_of(self.found, to_pixels(self.found.geometry, image))


def _detect_on(weights: Path, image_path: Path, labels_path: Path) -> _Detections:
    card = verified(weights)
    image = open_image(image_path, card)
    check_any_valid(image)
    labels = outlines_px(labels_path, image)
    ny, nx = image.shape
    if not any(o.polygon.intersects(shapely.box(0, 0, nx, ny)) for o in labels):
        raise RegistryError(
            f"{labels_path.name}: no label lies on image {image.name}; check the coordinates of the labels"
        )
    valid = np.zeros(image.shape, bool)

    def on_tile(window: Window, seen: np.ndarray, done: int, of: int) -> None:
        valid[window[0] : window[2], window[1] : window[3]] = seen

    found = footprints(weights, card, image, on_tile=on_tile)
    return _Detections(card, image, labels, found, valid)


def _overlay(detections: _Detections, labels_path: Path, path: Path) -> None:
    image = detections.image
    if image.geobox is None:
        raise GridError(f"image {image.name}: an overlay needs a georeferenced image")
    values, _ = image.read(0, 0, *image.shape)
    rgb = np.rint(values[:3] * 255).astype(np.uint8)
    drawn = rasters.overlay(
        rgb, detections.valid, image.geobox, detections.found, label_texts(read_vector(labels_path))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with run_folder.written(path) as part:
        part.write_bytes(drawn)


def found_on(detector: Detector, tile: Picture) -> list[Outline]:
    """Return the objects that the pipeline outlines on a tile, in the pixels of the tile.

    Raises:
        ModelContractError: the weights do not support the pixel size of the tile.
    """
    low, high = detector.card.native_range_m
    if not low <= tile.gsd_m <= high:
        raise ModelContractError(
            f"tile {tile.name}: {tile.gsd_m:g} m per pixel; weights '{detector.card.name}' support {low:g}-{high:g} m "
            f"per pixel: cut the tiles with --tile-gsd {detector.card.gsd_m:g}"
        )
    check_fits(detector.card, bands=PICTURE_BANDS[:3], gsd_m=tile.gsd_m, units="display_uint8", source=tile.name)
    found = footprints_on(detector, tile)
    return outlines_of(found, list(found.geometry))


def _one_or_two(weights: Sequence[Path]) -> list[Path]:
    if len(weights) > 2:
        raise ConfigError(f"--weights given {len(weights)} times; give one to score it or two to compare them")
    return list(weights) or [DEFAULT_WEIGHTS]


def _scored(judged: Sequence[Judged], *, gsd_m: float, unlabelled: Unlabelled, block_px: int = 128) -> dict[str, Any]:
    """Return the scores for one way to count unlabelled ground, and under `by_unlabelled` those for each."""
    by_mode = {m: score_all(judged, gsd_m=gsd_m, unlabelled=m, block_px=block_px) for m in get_args(Unlabelled)}
    return by_mode[unlabelled] | {"by_unlabelled": by_mode}


def _trained_on(index: Path, split: str, card: ModelCard) -> Trained:
    """Whether the weights were trained on an image of these tiles, or on ground that one of them shows."""
    rows = read_index(index)
    rows = rows[rows["split"] == split]
    if set(rows["image_sha256"]) & ({t.image_sha256 for t in card.training} - {""}):
        return True
    answers = {trained_on(tile, card.training) for tile in rows.geometry}
    return True if True in answers else "possibly" if "possibly" in answers else False
