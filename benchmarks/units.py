"""Accuracy of machine counts at 0.5 m: `python -m benchmarks.units --json [--data DIR] [--scenes N]`.

SIMULATED: banks of data centers' machines in new scenes, counted against true units, and all machines by kind. REAL: 34
photographs of ordinary roofs with a hand-drawn box around every machine; in those of Los Angeles and Boston small ones
are missing, so nothing found there is called false.
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
from rasterio.features import rasterize

from benchmarks.elsewhere.frames import BOXES, MAX_PX
from benchmarks.real_data import real_data
from overwatt.models.detector import sensors
from overwatt.models.detector.inference import Detector
from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.models.simulate import training_scene
from overwatt.models.training.samples import IGNORE, Picture
from overwatt.workflows.training.held_out import footprints_on

FIRST_SEED = 910_000_000  # no training uses seeds from 900,000,000 on
GSD_M = 0.5
SETS = ("cooling_roofs", "uc_merced", "la_boston_roofs")
COMPLETE = SETS[:2]
"""Sets of photographs in which every machine has a box."""
MACHINES = ("cooling_equipment", "generator")
SIZES_M2 = {"30 and more": 30.0, "10-30": 10.0, "below 10": 0.0}
"""Size of a boxed machine and its least area, m2: a packaged unit of 2 x 2 m is three pixels wide at 0.6 m."""
UNTOLD = len(MACHINE_KINDS) + 1
"""Code of machines whose kind the weights do not tell."""
LEAST_UNITS = 4
"""Scenes with fewer machines are left out of the ratio."""


def simulated(detector: Detector, scenes: int) -> dict[str, Any]:
    """Return counted and true units of the data centers, in total and as ratios per scene; and those counted beside."""
    true, found, beside, ratios = 0, 0, 0, []
    for i in range(scenes):
        s = training_scene(FIRST_SEED + i, 512, GSD_M)
        valid = np.ones(s.building.shape, bool)
        table = footprints_on(detector, Picture(f"s{i}", s.optical, valid, s.building, s.cooling, gsd_m=GSD_M))
        equipment = table[table["class"] == "cooling_equipment"]
        banks = s.truth[s.truth["class"] == "cooling_equipment"]
        inverse = ~s.transform
        frame = shapely.box(0, 0, *s.building.shape[::-1])
        drawn = [shapely.affinity.affine_transform(g, inverse.to_shapely()) for g in banks.geometry]
        on = equipment.geometry.intersects(shapely.union_all(drawn)).to_numpy(bool)
        units_of = equipment["units"].fillna(0).to_numpy(int)
        counted, beside = int(units_of[on].sum()), beside + int(units_of[~on].sum())
        whole = 0
        for units, pixels in zip(banks["units"], drawn, strict=True):
            inside = pixels.intersection(frame).area / pixels.area
            # a bank cut by the edge counts by its visible share
            whole += round(units * inside)
        true, found = true + whole, found + counted
        if whole >= LEAST_UNITS:
            ratios.append(counted / whole)
    spread = np.percentile(ratios, [10, 25, 50, 75, 90]).round(3).tolist() if ratios else []
    return {
        "scenes": len(ratios),
        "units": true,
        "counted": found,
        "beside": beside,
        "ratio_p10_p25_p50_p75_p90": spread,
    }


def kinds(detector: Detector, scenes: int) -> dict[str, Any]:
    """Return, for each kind of machine in simulated scenes, how much of its area is outlined, and as its kind."""
    area = {k: np.zeros(3) for k in MACHINE_KINDS}
    for i in range(scenes):
        s = training_scene(FIRST_SEED + i, 512, GSD_M)
        valid = np.ones(s.building.shape, bool)
        table = footprints_on(detector, Picture(f"s{i}", s.optical, valid, s.building, s.cooling, gsd_m=GSD_M))
        machines = table[table["class"].isin(MACHINES)]
        told = machines["kind"].fillna("")
        codes = [MACHINE_KINDS.index(k) + 1 if k in MACHINE_KINDS else UNTOLD for k in told]
        drawn = list(zip(machines.geometry, codes, strict=True))
        found = rasterize(drawn, valid.shape, dtype="uint8") if drawn else np.zeros(valid.shape, np.uint8)
        for code, kind in enumerate(MACHINE_KINDS):
            own = np.asarray(s.kind) == code
            area[kind] += [own.sum(), (found[own] > 0).sum(), (found[own] == code + 1).sum()]
    return {
        k: {"m2": round(float(a) * GSD_M**2), "outlined": _share(f, a), "kind_right": _share(r, f)}
        for k, (a, f, r) in area.items()
    }


def _share(part: float, whole: float) -> float | None:
    return round(float(part / whole), 3) if whole else None


def real(detector: Detector, data: Path) -> dict[str, Any]:
    """Return boxed machines, how many are outlined, and outlines without a box, of photographs of ordinary roofs."""
    by_set: dict[str, dict[str, int | None]] = {}
    by_kind = {k: {"boxed": 0, "found": 0, "kind_right": 0} for k in (*MACHINE_KINDS, "unknown")}
    by_m2 = {k: {"boxed": 0, "found": 0} for k in SIZES_M2}
    for name in SETS:
        rows: dict[str, list[dict[str, str]]] = {}
        with (BOXES / "units" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["file"], []).append(row)
        total = {"boxed": 0, "found": 0, "false": 0, "counted": 0}
        for picture, mine in sorted(rows.items()):
            if (path := data / name / picture).is_file():
                for key, value in _photograph(detector, path, mine, by_kind, by_m2).items():
                    total[key] += value
        if total["boxed"]:
            by_set[name] = total | ({} if name in COMPLETE else {"false": None})
    sums = {k: sum(s[k] or 0 for s in by_set.values()) for k in ("boxed", "found", "false")}
    return {
        **sums,
        "false_from": [n for n in COMPLETE if n in by_set],
        "by_set": by_set,
        "by_kind": by_kind,
        "by_m2": by_m2,
    }


def _photograph(
    detector: Detector,
    path: Path,
    mine: list[dict[str, str]],
    by_kind: dict[str, dict[str, int]],
    by_m2: dict[str, dict[str, int]],
) -> dict[str, int]:
    """Return the counts of one photograph, and add its boxes to `by_kind` and `by_m2`."""
    with Image.open(path) as image:
        if image.width * image.height > MAX_PX:
            raise SystemExit(f"{path.name}: more than {MAX_PX:,} pixels")
        factor = float(mine[0]["gsd_m"]) / GSD_M
        size = (round(image.width * factor), round(image.height * factor))
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX)).transpose(2, 0, 1)
    unknown = np.full(pixels.shape[1:], IGNORE, np.uint8)
    table = footprints_on(detector, Picture(path.name, pixels, unknown > 0, unknown, unknown, gsd_m=GSD_M))
    machines = table[table["class"].isin(MACHINES)]
    shapes, kinds_of = np.asarray(machines.geometry, dtype=object), machines["kind"].fillna("").to_numpy(object)
    boxes = np.array([shapely.box(*(float(r[k]) * factor for k in ("x0", "y0", "x1", "y1"))) for r in mine])
    shared = (
        shapely.area(shapely.intersection(boxes[:, None], shapes[None])) if len(shapes) else np.zeros((len(mine), 0))
    )
    # a machine is found if outlines cover more than 30% of its box
    found = shared.sum(1) > 0.3 * shapely.area(boxes)
    for row, box, hit, cover in zip(mine, boxes, found, shared, strict=True):
        size = next(k for k, least in SIZES_M2.items() if box.area * GSD_M**2 >= least)
        by_m2[size]["boxed"] += 1
        by_m2[size]["found"] += int(hit)
        own = by_kind[row["class"] if row["class"] in MACHINE_KINDS else "unknown"]
        own["boxed"] += 1
        own["found"] += int(hit)
        own["kind_right"] += int(hit and kinds_of[int(cover.argmax())] == row["class"])
    false = int((~(shared > 0).any(0)).sum())
    return {
        "boxed": len(mine), "found": int(found.sum()), "false": false,
        "counted": int(machines["units"].fillna(0).sum()),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=real_data())
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--weights", type=Path, default=sensors.named("units").path)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    detector = Detector.load(args.weights)
    counts = simulated(detector, args.scenes) | {"by_kind": kinds(detector, args.scenes)}
    result = {"real": real(detector, args.data), "simulated": counts}
    print(json.dumps(result) if args.json else json.dumps(result, indent=1), file=sys.stdout)


if __name__ == "__main__":
    main()
