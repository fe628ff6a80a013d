"""Recall, size-matched AUC and false alarms outside the training district, compared with the first weights.

    python -m benchmarks.elsewhere --json [--data DIR] [--weights FILE] [--before FILE]

All results are on real pictures. Data centers are those of named_sites with visible cooling equipment, one box per
building; ordinary large roofs are those of New York, Los Angeles, Boston and Las Vegas. Ordinary buildings in the same
frames as data centers are reported separately, since frame and style are the same there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.elsewhere.frames import Frame, boxed, nyc, unlabelled
from benchmarks.elsewhere.looks import Look, Roof, look_at_all
from benchmarks.real_data import real_data
from overwatt.models.detector.card import DEFAULT_WEIGHTS

FIRST = Path(__file__).resolve().parent.parent / "first_weights" / "sitenet-v1.safetensors"
SIZE_BANDS_M2 = ((3_000, 6_000), (6_000, 12_000), (12_000, 25_000), (25_000, float("inf")))
ONE_IN = 200  # strict threshold: false-positive rate of 0.5% among ordinary large roofs
CENTER, OTHER = "data_center", "other_building"


def auc(positive: Iterable[float], negative: Iterable[float]) -> float | None:
    """Return P(positive score > negative score), ties counted half (Mann-Whitney); None if either is empty."""
    p, n = np.sort(np.fromiter(positive, float)), np.sort(np.fromiter(negative, float))
    if not len(p) or not len(n):
        return None
    # left + right counts each tie once below and once not: half of the sum
    below = np.searchsorted(n, p, "left") + np.searchsorted(n, p, "right")
    return float(below.sum() / (2 * len(p) * len(n)))


def threshold_at(ordinary: list[float], one_in: int) -> float:
    """Return the lowest threshold that at most one in `one_in` ordinary roofs reaches."""
    ranked = np.sort(ordinary)[::-1]
    allowed = len(ranked) // one_in
    # just above the first score that is not allowed
    return float(np.nextafter(ranked[allowed], 2)) if allowed < len(ranked) else 0.0


def share(values: list[float], threshold: float) -> float | None:
    """Return the share of values at or above a threshold; None without values."""
    return float(np.mean(np.asarray(values) >= threshold)) if values else None


def sites(roofs: list[Roof]) -> dict[str, list[float]]:
    """Return the highest score of each named site, by place."""
    best: dict[tuple[str, str], float] = {}
    for r in roofs:
        best[(r.place, r.file)] = max(best.get((r.place, r.file), 0.0), r.score)
    out: dict[str, list[float]] = {}
    for (place, _), score in best.items():
        out.setdefault(place, []).append(score)
    return out


def summary(named: list[Look], ordinary: list[Look], scenes: list[Look], recall: float | None) -> dict[str, Any]:
    """Return all results of one set of weights; false alarms at the threshold with this `recall` (None: score 0.5)."""
    roofs = [r for k in named for r in k.roofs]
    centers = [r for r in roofs if r.klass == CENTER]
    negatives = [r for k in ordinary for r in k.roofs if r.klass == OTHER]
    by_place = sites(centers)
    best = [s for scores in by_place.values() for s in scores]
    strict = threshold_at([r.score for r in negatives], ONE_IN) if negatives else 0.5
    level = 0.5
    if recall is not None and best:
        # compare false alarms at equal recall: the threshold with the recall of the first weights
        level = float(np.sort(best)[::-1][min(len(best) - 1, max(0, round(recall * len(best)) - 1))])
    bands = {}
    for low, high in SIZE_BANDS_M2:
        name = f"{low / 1000:g}-{high / 1000:g}" if np.isfinite(high) else f">{low / 1000:g}"
        p, n = ([r.score for r in k if low <= r.area_m2 < high] for k in (centers, negatives))
        bands[name] = {"auc": auc(p, n), "data_centers": len(p), "others": len(n)}
    edge = [r.score for r in roofs if r.klass == OTHER]
    quiet = [*ordinary, *scenes]
    km2 = sum(k.km2 for k in quiet)
    alarms = sum(s >= level for k in quiet for s, _ in k.found)
    groups: dict[str, dict[str, float]] = {}
    for k in quiet:
        g = groups.setdefault(
            f"{k.frame.group}/{k.frame.place}" if k in scenes else k.frame.group,
            {"false_sites": 0, "frames": 0, "km2": 0.0},
        )
        g["false_sites"] += sum(s >= level for s, _ in k.found)
        g["frames"] += 1
        g["km2"] += k.km2
    no_plant = sites([r for r in roofs if r.klass == "data_center_no_plant"])
    return {
        "recall": share(best, strict),
        "recall_buildings": share([r.score for r in centers], strict),
        "recall_by_place": {p: share(s, strict) for p, s in sorted(by_place.items())},
        "sites_by_place": {p: len(s) for p, s in sorted(by_place.items())},
        "recall_no_plant": share([s for v in no_plant.values() for s in v], strict),
        "threshold": strict,
        "auc": auc([r.score for r in centers], [r.score for r in negatives]),
        "auc_by_size": bands,
        "auc_same_frame": auc([r.score for r in centers], edge),
        "style_control_auc": auc(
            [s for k in named for c, s in k.style if c == CENTER],
            [s for k in ordinary for c, s in k.style if c == OTHER],
        ),
        "recall_at_level": share(best, level),
        "level": level,
        "per_large_roof": share([r.score for r in negatives], level),
        "per_edge_building": share(edge, level),
        "large_roofs": len(negatives),
        "per_1000_km2": alarms / km2 * 1000 if km2 else None,
        "km2": km2,
        "by_class": groups,
        "worst": worst(quiet),
    }


def worst(looks: list[Look], count: int = 10) -> list[dict[str, Any]]:
    """Return the highest scores of false detections, one per picture."""
    ranked = sorted(
        ((max((s for s, _ in k.found), default=0.0), str(k.frame.path), k.frame.gsd_m) for k in looks), reverse=True
    )
    seen: dict[str, dict[str, Any]] = {}
    for score, path, gsd_m in ranked:
        seen.setdefault(path, {"file": "/".join(Path(path).parts[-3:]), "gsd_m": gsd_m, "score": round(score, 3)})
    return list(seen.values())[:count]


def run(data: Path, weights: Path) -> tuple[list[Look], list[Look], list[Look], int]:
    """Run one set of weights on all frames; return results of three sets and the number of frames outside its range."""
    sets: tuple[list[Frame], ...] = (
        list(boxed(data, "named_sites", "*.jpg")),
        [*nyc(data), *boxed(data, "la_boston_roofs", "*.png"), *boxed(data, "spacenet_vegas", "*.jpg")],
        list(unlabelled(data)),
    )
    frames = [f for s in sets for f in s]
    looks = look_at_all(frames, weights)
    a, b = len(sets[0]), len(sets[0]) + len(sets[1])
    kept = [[k for k in part if k is not None] for part in (looks[:a], looks[a:b], looks[b:])]
    return kept[0], kept[1], kept[2], sum(k is None for k in looks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=real_data(), help="folder of the real imagery")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument("--before", type=Path, default=FIRST, help="weights to compare with")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--roofs", type=Path, help="write the score of each box to this CSV file")
    args = parser.parse_args()
    if not (args.data / "named_sites").is_dir():
        raise SystemExit(f"{args.data}: no folder named_sites; give --data DIR or OVERWATT_REAL_DATA")
    was = run(args.data, args.before) if args.before.is_file() else None
    before = summary(*was[:3], None) if was else {}
    now = run(args.data, args.weights)
    result = summary(*now[:3], before.get("recall_at_level"))
    own = summary(*now[:3], None)
    result |= {
        "at_half": {k: own[k] for k in ("recall_at_level", "per_large_roof", "per_1000_km2", "level")},
        "frames_outside_gsd_range": now[3],
        "epistemic_named": _median([r.novelty for k in now[0] for r in k.roofs]),
        "before": before,
        "pixels": "real; boxes drawn by eye",
    }
    if before:
        result["same_ground"] = same_ground(result["by_class"], before["by_class"])
    if args.roofs:
        lines = ["file,group,place,class,area_m2,score,novelty"]
        lines += [
            f"{r.file},{r.group},{r.place},{r.klass},{r.area_m2:.0f},{r.score:.4f},{r.novelty:.3f}"
            for k in (*now[0], *now[1]) for r in k.roofs
        ]  # fmt: skip
        args.roofs.write_text("\n".join(lines) + "\n")
    for line in _lines(result):
        print(line, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result))


def same_ground(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return false sites per 1,000 km2 of both on the classes both accept: weights may reject coarse frames."""
    both = [k for k in now if k in before]

    def rate(classes: dict[str, dict[str, Any]]) -> float | None:
        km2 = sum(classes[k]["km2"] for k in both)
        return sum(classes[k]["false_sites"] for k in both) / km2 * 1000 if km2 else None

    return {"classes": len(both), "per_1000_km2": rate(now), "before": rate(before)}


def _median(values: list[float]) -> float | None:
    kept = [v for v in values if np.isfinite(v)]
    return float(np.median(kept)) if kept else None


def _lines(r: dict[str, Any]) -> list[str]:
    lines = [f"recall of sites at one false in {ONE_IN} large roofs: {r['recall']}"]
    lines += [f"  {p}: {v} of {r['sites_by_place'][p]}" for p, v in r["recall_by_place"].items()]
    lines += [
        f"AUC {k} thousand m2: {v['auc']} ({v['data_centers']} against {v['others']})"
        for k, v in r["auc_by_size"].items()
    ]
    lines.append(f"AUC same frames {r['auc_same_frame']}, style control {r['style_control_auc']}")
    for name, x in (("now", r), ("before", r["before"])):
        if x:
            lines.append(
                f"{name}: at recall {x['recall_at_level']}: {x['per_large_roof']} a large roof, "
                f"{x['per_1000_km2']} per 1,000 km2"
            )
    if both := r.get("same_ground"):
        lines.append(f"on ground that both take: {both['per_1000_km2']} per 1,000 km2, before {both['before']}")
    return lines


if __name__ == "__main__":
    main()
