"""Text and labels for the results of training and evaluation.

In: the results of `train.run` and `evaluation`, a model card, a table of labels. Out: lines for the terminal, the texts
of an overlay, and the answer whether the weights were trained on an image.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes

from overwatt.aoi.geodesy import to_lonlat
from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.trained_ground import Trained, trained_on
from overwatt.workflows.io.images import Image

GROUND_PX = 512  # the outline of valid pixels is exact to this fraction of the picture's side (own choice)


def label_texts(labels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the labelled buildings with a column `label`: the text that an overlay shows on each."""
    words = {"data_center": "DC", "other_building": "other", "unknown": "?"}
    buildings = labels[labels["class"].isin(list(words))]
    return buildings.assign(label=buildings["class"].map(words))


def in_training(image: Image, card: ModelCard, valid: np.ndarray) -> Trained:
    """Return whether the weights were trained on this image: on the same file, or on ground that it shows.

    Args:
        image: the image.
        card: card of the weights.
        valid: (y, x) bool, its valid pixels.
    """
    if image.sha256 in {source.image_sha256 for source in card.training} - {""}:
        return True
    return trained_on(ground_of(image, valid), card.training)


def ground_of(image: Image, valid: np.ndarray) -> shapely.Geometry:
    """Return the ground that the valid pixels of an image show, lon/lat; empty without georeference."""
    if image.geobox is None:
        return shapely.Polygon()
    step = -(-max(valid.shape) // GROUND_PX)
    mask = np.ascontiguousarray(valid[::step, ::step])
    found = shapes(mask.astype(np.uint8), mask=mask, transform=Affine.scale(step))
    # more vertices: straight edges of a grid are curved in lon/lat
    parts = [shapely.segmentize(shapely.geometry.shape(g), max(valid.shape) / 16) for g, _ in found]
    return shapely.union_all(shapely.make_valid(to_lonlat(parts, image.geobox.affine, str(image.geobox.crs))))


_TRAINED = {True: "YES, so this is not a test", False: "no", "possibly": "possibly: inside the box on their card"}
_UNLABELLED = {"ignore": "ground without a label ignored", "background": "ground without a label is background"}


def score_lines(result: dict[str, Any]) -> list[str]:
    """Return the scores of one set of weights as lines of text, for each way to count ground without a label."""
    lines = [f"weights trained on this area: {_TRAINED[result['in_training']]}"]
    for mode, scores in result.get("by_unlabelled", {result["unlabelled"]: result}).items():
        lines += [f"{_UNLABELLED[mode]}:", *(f"  {line}" for line in _class_lines(scores))]
    other = result["other_building"]
    lines.append(f"other buildings classified as data center: {other['called_data_center']} of {other['n']}")
    for klass in ("data_center", "other_building"):
        p = result[klass]["pieces"]
        if p["buildings"]:
            median = "-" if p["median"] is None else f"{p['median']:g}"
            lines.append(
                f"pieces per {klass.replace('_', ' ')}: median {median}, "
                f"{p['share_split']:.0%} of {p['buildings']} in more than one, {p['none']} in none"
            )
    for band in result["by_size"]:
        low, high = band["area_m2"]
        name = f"{low / 1000:g}-{high / 1000:g}" if high else f"> {low / 1000:g}"
        d, o = band["data_center"], band["other_building"]
        lines.append(
            f"  {name:>6s} thousand m²: data centers found {d['called_data_center']}/{d['n']}, "
            f"other buildings classified as data center {o['called_data_center']}/{o['n']}"
        )
    return lines


def _class_lines(scores: dict[str, Any]) -> list[str]:
    def number(value: float | None) -> str:
        return "  -  " if value is None else f"{value:.3f}"

    lines = []
    for klass in ("data_center", "other_building", "cooling_equipment"):
        r = scores[klass]
        interval = r["interval"]["dice"]
        spread = f" (95%: {interval[0]:.3f}-{interval[1]:.3f})" if interval else ""
        f1 = f", object F1 {number(r['object_f1'])}" if "object_f1" in r else ""
        lines.append(
            f"{klass:18s} IoU {number(r['iou'])}, Dice {number(r['dice'])}{spread}, "
            f"precision {number(r['precision'])}, recall {number(r['recall'])}{f1}"
        )
    return lines


def training_lines(result: dict[str, Any]) -> list[str]:
    """Return the result of `train.run` as lines of text."""
    if "weights" in result:
        return [f"weights: {result['weights']} ({result['bytes'] / 1e6:.1f} MB)"]
    lines = []
    for name, scores in result["scores"].items():
        if isinstance(scores, dict):
            # the first line says whether the area was in training; out-of-fold predictions never were
            lines += [name, *(f"  {line}" for line in score_lines({"in_training": False, **scores})[1:])]
    return lines
