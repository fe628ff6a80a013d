"""Updates the tables of docs/detector.md and its pictures from a cross-validation folder.

usage: python docs/make_detector_page.py runs/training [workflows/examples/train_aerial.yaml]
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
from PIL import Image as Pillow

from overwatt.pipeline.report import rasters
from overwatt.workflows.config.training import TrainingFile, resolve
from overwatt.workflows.config.yaml import load_yaml
from overwatt.workflows.io.images import Image, open_image
from overwatt.workflows.io.vectors import lonlat_to_pixels
from overwatt.workflows.training.scores import label_texts
from overwatt.workflows.training.train import draft_card

HERE = Path(__file__).parent
SETS = {
    "independent_labels": "labels drawn by others, from a data set",
    "own_outlines": "our own outlines",
}


def number(value: float | None) -> str:
    """Return a number with two decimals, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def spread(interval: list[float] | None) -> str:
    """Return a 95% interval in brackets."""
    return "" if interval is None else f" ({interval[0]:.2f}-{interval[1]:.2f})"


def score_table(scores: dict) -> str:
    """Return the score table: one row per set of labels, mode and class."""
    lines = [
        "| labels | without a label | class | Dice | IoU | precision | recall | object F1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, words in SETS.items():
        for mode in ("ignore", "background"):
            s = scores.get(f"{name}, unlabelled {mode}")
            if s is None:
                continue
            for klass in ("data_center", "other_building", "cooling_equipment"):
                r = s[klass]
                if r["dice"] is None:
                    continue
                i = r["interval"]
                f1 = f"{number(r['object_f1'])}{spread(i['object_f1'])}" if "object_f1" in r else ""
                lines.append(
                    f"| {words} | {mode} | {klass} | {number(r['dice'])}{spread(i['dice'])} | {number(r['iou'])} "
                    f"| {number(r['precision'])} | {number(r['recall'])} | {f1} |"
                )
    return "\n".join(lines)


def size_table(scores: dict) -> str:
    """Return the confusion table by size band."""
    lines = [
        "| labels | thousand m² | data centers called so | other buildings called data center |",
        "|---|---|---|---|",
    ]
    for name, words in SETS.items():
        s = scores.get(f"{name}, unlabelled ignore")
        if s is None:
            continue
        for band in s["by_size"]:
            low, high = band["area_m2"]
            size = f"{low / 1000:g}-{high / 1000:g}" if high else f"> {low / 1000:g}"
            d, o = band["data_center"], band["other_building"]
            lines.append(
                f"| {words} | {size} | {d['called_data_center']} of {d['n']} | {o['called_data_center']} of {o['n']} |"
            )
        o = s["other_building"]
        lines.append(f"| {words} | all | | {o['called_data_center']} of {o['n']}{spread(o['called_interval'])} |")
    return "\n".join(lines)


def main() -> None:
    """Write pictures, scores and page."""
    folder = Path(sys.argv[1])
    config = Path(sys.argv[2] if len(sys.argv) > 2 else HERE.parent / "workflows" / "examples" / "train_aerial.yaml")
    file = load_yaml(config, TrainingFile)
    scores = json.loads((folder / "folds.json").read_text())
    settings = file.pictures[0]
    image = open_image(resolve(settings.image, config.resolve().parent), draft_card(file))
    values, valid = image.read(0, 0, *image.shape)
    rgb = np.rint(values * 255).astype(np.uint8)
    found = gpd.read_file(folder / "footprints.gpkg").to_crs("OGC:CRS84")
    labels = gpd.read_file(resolve(settings.outlines, config.resolve().parent)).to_crs("OGC:CRS84")
    assert image.geobox is not None
    overlay = Pillow.open(io.BytesIO(rasters.overlay(rgb, valid, image.geobox, found, label_texts(labels)))).convert(
        "RGB"
    )
    overlay.save(HERE / "images" / "detector-ashburn.jpg", quality=82, optimize=True)
    failures(image, rgb, valid, found, labels)
    (HERE / "images" / "folds.json").write_text(json.dumps(scores, indent=1) + "\n")
    page = (HERE / "detector.md").read_text()
    # the text between <!-- mark --> and <!-- end mark --> is replaced, the rest is kept
    for mark, text in (("scores", score_table(scores["scores"])), ("sizes", size_table(scores["scores"]))):
        head, rest = page.split(f"<!-- {mark} -->")
        page = f"{head}<!-- {mark} -->\n{text}\n<!-- end {mark} -->{rest.split(f'<!-- end {mark} -->')[1]}"
    (HERE / "detector.md").write_text(page)


def failures(
    image: Image, rgb: np.ndarray, valid: np.ndarray, found: gpd.GeoDataFrame, labels: gpd.GeoDataFrame
) -> None:
    """Write a picture of the six labelled buildings least covered by predictions of their class, worst first."""
    wrong = []
    buildings = labels[labels["class"].isin(["data_center", "other_building"])]
    for name, klass, geometry in zip(buildings["id"], buildings["class"], buildings.geometry, strict=True):
        same = found[found["class"] == klass].geometry
        covered = sum(g.intersection(geometry).area for g in same if g.intersects(geometry)) / geometry.area
        wrong.append((covered, geometry, name))
    wrong.sort(key=lambda w: w[0])
    chips = []
    for covered, geometry, name in wrong[:6]:
        pixels = lonlat_to_pixels([geometry], image.geobox)[0]
        # 0.002 degrees is about 200 m
        near = found[found.intersects(geometry.buffer(0.002))]
        data = rasters.chip(rgb, valid, image.geobox, near, geometry)
        chips.append(Pillow.open(io.BytesIO(data)).convert("RGB").resize((360, 360)))
        print(
            f"{name}: {covered:.0%} of its area predicted with its class, {pixels.area * 4:.0f} m2"
        )  # a pixel is 2 m x 2 m
    sheet = Pillow.new("RGB", (360 * 3, 720), "white")
    for i, chip in enumerate(chips):
        sheet.paste(chip, (360 * (i % 3), 360 * (i // 3)))
    sheet.save(HERE / "images" / "detector-failures.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
