"""Accuracy of machine counts at 0.5 m: `python -m benchmarks.units --json [--data DIR] [--scenes N]`.

SIMULATED: banks of machines in new scenes, counted against true units. REAL: cooling_roofs, thirteen photographs with
hand-drawn boxes of cooling-tower cells; only the cells are labelled reliably there.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from PIL import Image

from benchmarks.elsewhere.frames import BOXES, MAX_PX
from benchmarks.real_data import real_data
from overwatt.models.detector import sensors
from overwatt.models.detector.inference import Detector
from overwatt.models.simulate import training_scene
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.workflows.training.held_out import footprints_on

FIRST_SEED = 910_000_000  # no training uses seeds from 900,000,000 on
GSD_M = 0.5
LEAST_UNITS = 4
"""Scenes with fewer machines are left out of the ratio."""


def simulated(detector: Detector, scenes: int) -> dict[str, Any]:
    """Return counted and true units, in total and as ratios per scene."""
    true, found, ratios = 0, 0, []
    for i in range(scenes):
        s = training_scene(FIRST_SEED + i, 512, GSD_M)
        valid = np.ones(s.building.shape, bool)
        table = footprints_on(detector, Picture(f"s{i}", s.optical, valid, s.building, s.cooling, gsd_m=GSD_M))
        equipment = table[table["class"] == "cooling_equipment"]
        banks = s.truth[s.truth["class"] == "cooling_equipment"]
        inverse = ~s.transform
        frame = shapely.box(0, 0, *s.building.shape[::-1])
        counted = int(equipment["units"].fillna(0).sum())
        whole = 0
        for units, geometry in zip(banks["units"], banks.geometry, strict=True):
            pixels = shapely.affinity.affine_transform(geometry, inverse.to_shapely())
            inside = pixels.intersection(frame).area / pixels.area
            # a bank cut by the edge counts by its visible share
            whole += round(units * inside)
        true, found = true + whole, found + counted
        if whole >= LEAST_UNITS:
            ratios.append(counted / whole)
    spread = np.percentile(ratios, [10, 25, 50, 75, 90]).round(3).tolist() if ratios else []
    return {"scenes": len(ratios), "units": true, "counted": found, "ratio_p10_p25_p50_p75_p90": spread}


def real(detector: Detector, folder: Path) -> dict[str, Any]:
    """Return boxed tower cells and counted machines, per photograph and in total."""
    boxes: dict[str, list[dict[str, str]]] = {}
    with (BOXES / "cooling_roofs.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            boxes.setdefault(row["file"], []).append(row)
    rows = []
    for name, mine in sorted(boxes.items()):
        path = folder / Path(name).name
        if not path.is_file():
            continue
        with Image.open(path) as image:
            if image.width * image.height > MAX_PX:
                raise SystemExit(f"{path.name}: more than {MAX_PX:,} pixels")
            factor = float(mine[0]["gsd_m"]) / GSD_M
            size = (round(image.width * factor), round(image.height * factor))
            pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX)).transpose(2, 0, 1)
        unknown = np.full(pixels.shape[1:], IGNORE, np.uint8)
        picture = Picture(name, pixels, unknown > 0, unknown, unknown, gsd_m=GSD_M)
        table = footprints_on(detector, picture)
        equipment = table[table["class"] == "cooling_equipment"]
        cells = [r for r in mine if r["class"] == "cooling_tower_cell"]
        hit = 0
        for r in cells:
            box = shapely.box(*(float(r[k]) * factor for k in ("x0", "y0", "x1", "y1")))
            # a cell counts as covered if more than 30% of its box is detected as equipment
            hit += bool((equipment.geometry.intersection(box).area.sum() if len(equipment) else 0) > 0.3 * box.area)
        counted = int(equipment["units"].fillna(0).sum())
        rows.append(
            {"file": name, "cells": len(cells), "cells_covered": hit, "all_machines": len(mine), "counted": counted}
        )
    total = {k: sum(int(r[k]) for r in rows) for k in ("cells", "cells_covered", "all_machines", "counted")}
    return {**total, "photographs": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=real_data())
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--weights", type=Path, default=sensors.named("units").path)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    detector = Detector.load(args.weights)
    result: dict[str, Any] = {"simulated": simulated(detector, args.scenes), "cooling_roofs": None}
    if (args.data / "cooling_roofs").is_dir():
        result["cooling_roofs"] = real(detector, args.data / "cooling_roofs")
    print(json.dumps(result) if args.json else json.dumps(result, indent=1), file=sys.stdout)


if __name__ == "__main__":
    main()
