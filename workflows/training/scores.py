"""Text and labels for the results of training and evaluation.

In: the results of `train.run` and `evaluation`, a model card, a table of labels. Out: lines for the terminal, the texts
of an overlay, and the answer whether the weights were trained on an image.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd

from overwatt.models.detector.card import ModelCard
from overwatt.workflows.io.images import Image


def label_texts(labels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the labelled buildings with a column `label`: the text that an overlay shows on each."""
    words = {"data_center": "DC", "other_building": "other", "unknown": "?"}
    buildings = labels[labels["class"].isin(list(words))]
    return buildings.assign(label=buildings["class"].map(words))


def in_training(image: Image, card: ModelCard) -> bool:
    """Return whether the weights were trained on this image: same content, or overlapping extent."""
    for source in card.training:
        if source.image_sha256 and source.image_sha256 == image.sha256:
            return True
        if source.extent and image.geobox is not None:
            w, s, e, n = source.extent  # degrees: two bounding boxes overlap if both their intervals do
            left, bottom, right, top = image.geobox.geographic_extent.boundingbox
            if left < e and w < right and bottom < n and s < top:
                return True
    return False


def score_lines(result: dict[str, Any]) -> list[str]:
    """Return the scores of one set of weights as lines of text."""

    def number(value: float | None) -> str:
        return "  -  " if value is None else f"{value:.3f}"

    lines = [f"weights trained on this area: {'YES, so this is not a test' if result['in_training'] else 'no'}"]
    for klass in ("data_center", "other_building", "cooling_equipment"):
        r = result[klass]
        interval = r["interval"]["dice"]
        spread = f" (95%: {interval[0]:.3f}-{interval[1]:.3f})" if interval else ""
        f1 = f", object F1 {number(r['object_f1'])}" if "object_f1" in r else ""
        lines.append(
            f"{klass:18s} IoU {number(r['iou'])}, Dice {number(r['dice'])}{spread}, "
            f"precision {number(r['precision'])}, recall {number(r['recall'])}{f1}"
        )
    other = result["other_building"]
    lines.append(f"other buildings classified as data center: {other['called_data_center']} of {other['n']}")
    for band in result["by_size"]:
        low, high = band["area_m2"]
        name = f"{low / 1000:g}-{high / 1000:g}" if high else f"> {low / 1000:g}"
        d, o = band["data_center"], band["other_building"]
        lines.append(
            f"  {name:>6s} thousand m²: data centers found {d['called_data_center']}/{d['n']}, "
            f"other buildings classified as data center {o['called_data_center']}/{o['n']}"
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
