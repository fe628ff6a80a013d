"""Calibration of the probabilities: Brier score and reliability on objects that the weights were not trained on.

    python -m benchmarks.calibration --json [--folds FILE] [--scenes N] [--plot FILE.svg] [--data DIR] [--boxes DIR]
        [--cache DIR]

Three sources. REAL: the out-of-fold buildings of the one labelled district (scores from
the cross-validation; each block calibrated on the others). SIMULATED: buildings in new scenes, with seeds that no
training uses, scored by the bundled weights; these two are also pooled. ELSEWHERE: buildings of named sites against
ordinary large roofs of other places, as in `benchmarks.elsewhere`, weighted to the prior of an area; skipped where
these pictures are missing. The correction of prior odds is tested on the simulated buildings, weighted to three
prevalences.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.elsewhere.__main__ import run as look_elsewhere
from benchmarks.elsewhere.frames import labelled
from benchmarks.elsewhere.reliability import elsewhere
from benchmarks.real_data import real_data
from overwatt.models.detector import calibration
from overwatt.models.detector.card import DEFAULT_WEIGHTS, Calibration, load_card
from overwatt.models.detector.inference import Detector
from overwatt.models.simulate import training_scene
from overwatt.models.training.samples import Picture
from overwatt.pipeline.sites.clustering import p_data_center
from overwatt.workflows.training.held_out import objects_on

FOLDS = Path(__file__).resolve().parent.parent / "docs" / "images" / "folds.json"
FIRST_SEED = 900_000_000
"""First seed of the scenes; no training uses seeds from here on."""
GSDS_M = (1.0, 2.0)
PREVALENCES = (0.5, 0.05, 0.003)


def real(folds: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probability, truth and block of the out-of-fold buildings, each block calibrated on the others."""
    held = json.loads(folds.read_text())["held_out"]
    score, center, block = (np.array(held[k]) for k in ("score", "data_center", "block"))
    p, offset = np.zeros(len(score)), load_card(DEFAULT_WEIGHTS).offset
    for b in np.unique(block):
        out = block == b
        c = calibration.fit(calibration.shifted(score[~out], offset), center[~out])
        p[out] = p_data_center(calibration.shifted(score[out], offset), c, c.prevalence)
    return p, center.astype(bool), block


def simulated(scenes: int, say: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return score, truth and scene of buildings in new simulated scenes, by the bundled weights."""
    detector = Detector.load(DEFAULT_WEIGHTS)
    pictures = []
    for i in range(scenes):
        gsd_m = GSDS_M[i % len(GSDS_M)]
        s = training_scene(FIRST_SEED + i, 384, gsd_m)
        valid = np.ones(s.building.shape, bool)
        pictures.append(Picture(f"fresh {i}", s.optical, valid, s.building, s.cooling, gsd_m=gsd_m))
        if say and i % 20 == 19:
            print(f"scene {i + 1} of {scenes}", file=sys.stderr, flush=True)
    found = objects_on(detector, pictures)
    return found.score, found.center, found.picture


def at_prevalence(
    score: np.ndarray, center: np.ndarray, group: np.ndarray, fit: Calibration, prevalence: float
) -> dict[str, Any]:
    """Return the Brier score of prior-corrected probabilities where data centers are as rare as `prevalence`.

    Objects are weighted to that prevalence instead of being resampled, so all of them count.
    """
    p = p_data_center(score, fit, prevalence)
    # importance weights: target share / sample share of each class
    weight = np.where(center, prevalence / center.mean(), (1 - prevalence) / (1 - center.mean()))
    stale = p_data_center(score, fit, fit.prevalence)
    return {
        "brier": float(np.average((p - center) ** 2, weights=weight)),
        "brier_prior_only": prevalence * (1 - prevalence),
        "brier_not_reweighted": float(np.average((stale - center) ** 2, weights=weight)),
        "mean_p": float(np.average(p, weights=weight)),
        "mean_p_not_reweighted": float(np.average(stale, weights=weight)),
    }


def report(p: np.ndarray, center: np.ndarray, group: np.ndarray) -> dict[str, Any]:
    """Return Brier score with interval, the Brier score of the base rate alone, and the reliability table."""
    rate = float(center.mean())
    return {
        "brier": calibration.brier(p, center),
        "interval": calibration.interval(p, center, group),
        "brier_prior_only": rate * (1 - rate),
        "objects": len(p),
        "data_centers": int(center.sum()),
        "reliability": calibration.reliability(p, center, group),
    }


def run(folds: Path, scenes: int, say: bool) -> dict[str, Any]:
    """Return all results; of the simulated scenes, two of four fit the calibration and two test it."""
    score, center, scene = simulated(scenes, say)
    even = scene % 4 < 2  # scenes alternate between the two GSDs: both occur in both halves
    fit = calibration.fit(score[even], center[even])
    test = ~even
    p = p_data_center(score[test], fit, fit.prevalence)
    sim = report(p, center[test], scene[test])
    result: dict[str, Any] = {"simulated": sim, "real": None}
    pooled = [(p, center[test], scene[test])]
    if folds.is_file() and "held_out" in json.loads(folds.read_text()):
        r = real(folds)
        result["real"] = report(*r)
        # negative group numbers: real blocks must not share a group with simulated scenes
        pooled.append((r[0], r[1], -1 - r[2]))
    all_p, all_center, all_group = (np.concatenate(c) for c in zip(*pooled, strict=True))
    both = report(all_p, all_center, all_group)
    return {
        **{k: both[k] for k in ("brier", "brier_prior_only", "interval", "objects", "reliability")},
        **result,
        "by_prevalence": {f"{q:g}": at_prevalence(score[test], center[test], scene[test], fit, q) for q in PREVALENCES},
        "by_prevalence_on": "simulated",
    }


def away(data: Path, boxes: Path | None, cache: Path | None) -> dict[str, Any] | None:
    """Return the results on named sites and ordinary roofs; None where there are no such pictures."""
    frames, notes = labelled(data, boxes)
    for note in notes:
        print(f"skipped: {note}", file=sys.stderr)
    if not frames:
        return None
    return elsewhere(look_elsewhere(frames, DEFAULT_WEIGHTS, cache).rows, load_card(DEFAULT_WEIGHTS).calibration)


def plot(result: dict[str, Any], path: Path) -> None:
    """Write the reliability diagram: real, simulated, and elsewhere at the higher prior, each by itself."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(4.2, 4.0))
    axes.plot([0, 1], [0, 1], color="0.7", lw=1)
    curves = [
        (f"{name}: {found['objects']} buildings, Brier {found['brier']:.3f}", found["reliability"], colour)
        for name, colour in (("real", "#b3261e"), ("simulated", "#1f5fa8"))
        if (found := result[name])
    ]
    if far := result["elsewhere"]:
        prior, found = max(far["priors"].items(), key=lambda item: float(item[0]))
        title = f"elsewhere: {far['data_centers']} data centers, {far['others']} roofs, prior {prior}"
        curves.append((title, found["reliability"], "#2e7d32"))
    for label, rows, colour in curves:
        x, y = [r["p"] for r in rows], [r["share"] for r in rows]
        spread = np.array([[r["share"] - r["interval"][0], r["interval"][1] - r["share"]] for r in rows]).T
        axes.errorbar(x, y, np.clip(spread, 0, None), fmt="o-", color=colour, capsize=3, label=label)
    axes.set(xlabel="probability given", ylabel="share that were data centers", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folds", type=Path, default=FOLDS, help="folds.json of a cross-validation")
    parser.add_argument("--scenes", type=int, default=120, help="number of new simulated scenes")
    parser.add_argument("--plot", type=Path, help="write the reliability diagram to this SVG file")
    parser.add_argument("--data", type=Path, default=real_data(), help="folder of the real imagery of other places")
    parser.add_argument("--boxes", type=Path, help="folder with your own boxes, NAME_OF_SET.csv, instead of ours")
    parser.add_argument("--cache", type=Path, help="folder that keeps the result of each picture for the next run")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    args = parser.parse_args()
    result = run(args.folds, args.scenes, True)
    result["elsewhere"] = away(args.data, args.boxes, args.cache)
    if args.plot:
        plot(result, args.plot)
    for name in ("real", "simulated"):
        if result[name]:
            r = result[name]
            base = f"base rate {r['brier_prior_only']:.3f}, {r['objects']} buildings"
            line = f"{name}: Brier {r['brier']:.3f} {r['interval']}, {base}"
            print(line, file=sys.stderr if args.json else sys.stdout)
    for line in _elsewhere_lines(result["elsewhere"]):
        print(line, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result))


def _elsewhere_lines(far: dict[str, Any] | None) -> list[str]:
    """Return the results elsewhere as lines: mean probability next to the share that it should be."""
    lines = []
    for prior, found in far["priors"].items() if far else ():
        parts = [("all places", found), *((f"{h}, offset of the other half", v) for h, v in found["halves"].items())]
        for name, v in parts:
            low, high = v["intervals"]["mean_p"]
            offset = f", offset {v['offset']:+.2f}" if "offset" in v else ""
            lines.append(
                f"elsewhere, prior {prior}, {name}: mean probability {v['mean_p']:.4f} ({low:.4f}-{high:.4f}), "
                f"Brier {v['brier']:.4f}, of the prior alone {v['brier_prior_only']:.4f}{offset}"
            )
    return lines


if __name__ == "__main__":
    main()
