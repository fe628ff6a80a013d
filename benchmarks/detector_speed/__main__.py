"""Speed and Dice compared with a U-Net with ResNet-18 encoder of segmentation-models-pytorch, in one process.

    python -m benchmarks.detector_speed --json [--no-training] [--steps N] [--folds DIR]

Needs `pip install 'overwatt[bench]'`. In: nothing, or the folder of a cross-validation. Out: pixels per
second of both networks, six outputs each, and Dice of both after a short training on the same batches.

Speed: the same 512 x 512 windows in float32, each network in its faster memory layout, ours as
`models.detector.inference` runs it. Rounds alternate, so that other load on the machine affects both; the ratio is
the median of the rounds' ratios. Pixels are random: the time does not depend on them.

Dice: each batch is drawn once and used by all networks, with the loss, optimiser and schedule of
`models.training.train`. The comparison is between random initial weights: the rival's ImageNet weights are on a model
hub that cannot be reached (encoder_weights=None), so ours from ImageNet is reported separately. The training is far
shorter than that of the bundled weights: it ranks networks and is no measure of the detector's quality. Results on
simulated scenes are marked as such; one block of the real district is held out if its picture is available.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from dask.system import CPU_COUNT

from benchmarks.detector_speed.networks import WINDOW_PX, Rival, built, card_of, size_of
from benchmarks.detector_speed.scores import dice_simulated, real_district, shipped
from benchmarks.detector_speed.speed import speed
from benchmarks.detector_speed.training import Learner, fit, settle
from benchmarks.real_data import real_data
from overwatt.aoi.errors import OverwattError
from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from overwatt.models.detector.inference import Detector
from overwatt.models.detector.network import SiteNet
from overwatt.models.training.samples import Batch, batch
from overwatt.models.training.settings import TrainSettings
from overwatt.workflows.config.training import FoldSettings, SimulatedSettings
from overwatt.workflows.training.cross_validation import without
from overwatt.workflows.training.samples import simulated

SEED = 20270110  # of simulated scenes; no bundled weights were trained on scenes of these seeds
HELD_OUT_SEED = SEED + 100_000
REAL_SHARE = 0.6  # of the crops, as in workflows/examples/train_aerial.yaml; the others are simulated
STATISTICS_BATCHES = 12  # to re-estimate batch norm


def compare(options: argparse.Namespace, width: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Train and score three networks on the same batches: ours from random weights and from ImageNet, and the rival."""
    settings = TrainSettings(
        seed=1, steps=options.steps, batch=options.batch, crop_px=options.crop_px, width=width, imagenet=False,
        threads=CPU_COUNT,
    )  # fmt: skip
    card, folds = card_of(settings), FoldSettings()
    real = real_district(card, folds, options.block, REAL_SHARE)
    if real is None:
        say(f"no real imagery at {real_data()}: Dice on simulated scenes alone; set OVERWATT_REAL_DATA to its folder")
    scenes = SimulatedSettings(tiles=options.scenes, size_px=WINDOW_PX, seed=SEED, weight=1 - REAL_SHARE)
    apart = SimulatedSettings(tiles=max(2, options.scenes // 4), size_px=WINDOW_PX, seed=HELD_OUT_SEED)
    pictures, held_out = simulated(scenes, options.cache, say), simulated(apart, options.cache, say)
    if real is not None:
        pictures = [without(real.picture, real.held_out, folds.guard_m / real.image.gsd_m), *pictures]

    def draw(step: int) -> Batch:
        return batch(
            pictures, seed=settings.seed, step=step, size=settings.batch, size_px=settings.crop_px,
            mean=settings.mean, std=settings.std,
        )  # fmt: skip

    learners = {
        "ours_random": Learner.ours(settings),
        "rival_random": Learner.rival(settings),
        "ours_imagenet": Learner.ours(settings.model_copy(update={"imagenet": True})),
    }
    losses = fit(list(learners.values()), draw, settings, say)
    more = [draw(settings.steps + i) for i in range(STATISTICS_BATCHES)]
    settle([one.net for one in learners.values()], more, settings.threads)
    found: dict[str, Any] = {}
    for (name, one), history in zip(learners.items(), losses, strict=True):
        detector = Detector(cast(SiteNet, one.net), card, "cpu", "float32", 1)
        found[name] = {"loss_last_ten": round(float(np.mean(history[-10:])), 4)}
        found[name]["simulated"] = dice_simulated(detector, held_out)
        found[name]["ashburn"] = real.dice(detector) if real else None
        say(f"{name}: {found[name]}")
    on = "ashburn" if real else "simulated"
    return {
        "dice": found["ours_random"][on]["data_center"],
        "rival_dice": found["rival_random"][on]["data_center"],
        "dice_on": f"Ashburn, real, spatial block {options.block} of {folds.blocks}, held out, own outlines"
        if real
        else f"{len(held_out)} held-out simulated scenes (no real imagery found)",
        "trained": found,
        "training": {
            **settings.model_dump(include={"steps", "batch", "crop_px", "seed", "precision", "rate"}),
            "simulated_scenes": len(pictures) - (real is not None),
            "simulated_scenes_held_out": len(held_out),
            "real_pictures": int(real is not None),
            "statistics": f"batch norm re-estimated on {STATISTICS_BATCHES} training batches, for all alike",
        },
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--no-training", action="store_true", help="measure speed only; dice is null")
    parser.add_argument("--steps", type=int, default=150, help="training steps")
    parser.add_argument("--batch", type=int, default=4, help="crops per batch")
    parser.add_argument("--crop-px", type=int, default=192, help="side of a crop, a multiple of 32")
    parser.add_argument("--scenes", type=int, default=24, help="simulated scenes; a quarter more are held out")
    parser.add_argument(
        "--block",
        type=int,
        default=0,
        choices=range(4),
        help="block of Ashburn to hold out; 1 and 2 contain no other building",
    )
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds")
    parser.add_argument("--side-px", type=int, default=768, help="side of the image for the predict path")
    parser.add_argument("--cache", type=Path, default=Path("runs/detector_speed"), help="folder of simulated scenes")
    parser.add_argument("--folds", type=Path, help="folder with folds.json of a full cross-validation")
    options = parser.parse_args(arguments)
    for name in ("steps", "batch", "scenes", "rounds", "side_px"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(options, name)}: at least 1")
    if options.crop_px < 64 or options.crop_px % 32:
        parser.error(f"--crop-px {options.crop_px}: use a multiple of 32, at least 64")
    return options


def run(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure and return the object that `--json` prints."""
    from_folds = shipped(options.folds)
    width = load_card(DEFAULT_WEIGHTS).width
    ours, rival = built(lambda: SiteNet(3, width), 0), built(Rival, 0)
    networks = {"ours": size_of(ours), "rival": size_of(rival)}
    load_before = os.getloadavg()[0]
    timed = speed(ours.eval(), rival, card_of(TrainSettings(width=width)), options.rounds, options.side_px)
    one = timed["one_thread"]
    for name in ("one_thread", "all_cores", "predict_path"):
        say(f"{name}: {timed[name]}")
    nothing = {"dice": None, "rival_dice": None, "dice_on": None}
    trained = nothing if options.no_training else compare(options, width, say)
    return {
        "benchmark": "detector_speed",
        **{k: one[k] for k in ("ours_mpx_s", "rival_mpx_s", "ratio", "ratio_range", "ratio_processor_time")},
        **trained,
        **from_folds,
        "speed": timed | {"load_average": [round(load_before, 2), round(os.getloadavg()[0], 2)]},
        "networks": networks,
        "machine": {"cores": CPU_COUNT, "torch": torch.__version__,
                    "processor": torch.backends.cpu.get_cpu_capability(), "precision": "float32"},
        "rival": "U-Net, ResNet-18, segmentation-models-pytorch, encoder_weights=None: no model hub can be reached",
        "simulated": "the scenes of the training and of every result called simulated; speed is on random pixels",
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    try:
        result = run(options, lambda text: print(text, file=sys.stderr, flush=True))
    except OverwattError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
