"""Ablation: value of hand-drawn outlines, of the simulator and of both on the real district.

    python -m benchmarks.ablation --out DIR --json [--variants own,simulated,both,half,quarter] [--steps N]

Each variant is the bundled training file without some of its data and without the weights that it starts from (a first
round on the simulated scenes instead), cross-validated over the same spatial blocks of real pixels: `own` uses no
simulated scene, `simulated` no real pixel, `half` and `quarter` that share of the outlined buildings (the rest is
unknown ground). Slow: a quarter of an hour per fold on one core; an interrupted benchmark resumes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import yaml

from overwatt.workflows.config.training import TrainingFile, resolve
from overwatt.workflows.config.yaml import load_yaml
from overwatt.workflows.training import evaluation, train

FILE = Path(__file__).resolve().parent.parent / "workflows" / "examples" / "train_aerial.yaml"
FIRST_ROUND = {"seed": 7, "steps": 4000, "batch": 4, "crop_px": 256, "rate": 0.001, "threads": 1}
SHARES = {"half": 0.5, "quarter": 0.25}
MODE = "independent_labels, unlabelled ignore"


def variant(name: str, file: Path, out: Path) -> Path:
    """Write the training file of a variant, with absolute paths, and return its path."""
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    for picture in settings["pictures"]:
        for key in ("image", "outlines"):
            picture[key] = str(resolve(picture[key], file.parent))
        picture["scored_against"] = picture["outlines"]  # always scored on all outlines
    # the starting weights of the bundled ones have seen the outlines
    for key in ("start", "start_folds", "canvases", "machines"):
        settings.pop(key, None)
    settings.get("training", {}).pop("keep_start", None)
    if name == "own":
        settings["simulated"] = {"tiles": 0}
    else:
        settings["pretraining"] = FIRST_ROUND
    if name in SHARES:
        for picture in settings["pictures"]:
            picture["outlines"] = str(_fewer(Path(picture["outlines"]), SHARES[name], out))
    out.mkdir(parents=True, exist_ok=True)
    path = out / "train.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _fewer(outlines: Path, share: float, out: Path) -> Path:
    """Write the outlines with a share of the buildings labelled, the same ones in each run; the rest is unknown."""
    frame = gpd.read_file(outlines)
    buildings = frame.index[frame["class"].isin(["data_center", "other_building"])]
    hidden = np.random.default_rng(0).permutation(buildings)[round(share * len(buildings)) :]
    frame.loc[hidden, "class"] = "unknown"
    out.mkdir(parents=True, exist_ok=True)
    path = out / "outlines.geojson"
    frame.to_file(path, driver="GeoJSON")
    return path


def figures(scores: dict[str, Any]) -> dict[str, Any]:
    """Return the scores by which the variants are compared."""
    center, other = scores["data_center"], scores["other_building"]
    return {
        "data_center_dice": center["dice"],
        "dice_interval": center["interval"]["dice"],
        "object_f1": center["object_f1"],
        "others_called_data_center": f"{other['called_data_center']} of {other['n']}",
        "cooling_dice": scores["cooling_equipment"]["dice"],
    }


def run(name: str, file: Path, out: Path, steps: int | None) -> dict[str, Any]:
    """Train one variant and score it on all outlines."""

    def say(text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    config = variant(name, file, out)
    if name == "simulated":
        picture = load_yaml(config, TrainingFile).pictures[0]
        weights = train.first_round(config, out, say=say, steps=steps)
        image, outlines = Path(picture.image), Path(picture.outlines)
        return figures(evaluation.on_image(image, outlines, unlabelled="ignore", weights=[weights], out=None))
    folds = train.run(config, out, folds="spatial", say=say, steps=steps)
    return figures(folds["scores"][MODE])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="working folder; trainings resume from it")
    parser.add_argument("--variants", default="own,simulated,both,half,quarter")
    parser.add_argument("--steps", type=int, help="override every number of steps")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    result = {name: run(name, FILE, args.out / name, args.steps) for name in args.variants.split(",")}
    for name, r in result.items():
        print(f"{name}: {r}", file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
