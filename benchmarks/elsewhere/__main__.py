"""Recall, size-matched AUC and false alarms outside the training district, compared with the weights before.

    python -m benchmarks.elsewhere --json [--data DIR] [--boxes DIR] [--frames SETS] [--cache DIR] [--weights FILE]
        [--before FILE]

All results are on real pictures. Data centers are those of named_sites with visible cooling equipment, one box per
building; ordinary large roofs are those of New York, Los Angeles, Boston and Las Vegas of 3,000 m2 and more. Ordinary
buildings in the same frames as data centers are reported separately, since frame and style are the same there. A roof
that several pictures show counts once. Everything is given for all places and for two fixed halves of them: choose
recipes on `choose`, report them on `report`. A data set or picture that is missing is skipped and named.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.elsewhere.before import BEFORE, weights_before
from benchmarks.elsewhere.counted import Row, rows_of
from benchmarks.elsewhere.frames import SCENES, SETS, Frame, labelled, unlabelled
from benchmarks.elsewhere.looks import Look, look_at_all
from benchmarks.elsewhere.results import HALF, ONE_IN, at_recall, summary
from benchmarks.elsewhere.statistics import HALVES
from benchmarks.real_data import real_data
from overwatt.models.detector.card import DEFAULT_WEIGHTS


@dataclass(frozen=True)
class Run:
    """Results of one set of weights.

    Attributes:
        rows: roofs, counted once.
        quiet: looks at frames in which no data center is known.
        twice: number of roofs and of sites that were left out because another picture shows them.
        refused: number of frames that are coarser than the weights accept.
    """

    rows: list[Row]
    quiet: list[Look]
    twice: dict[str, int]
    refused: int


def run(frames: Sequence[Frame], weights: Path, cache: Path | None = None) -> Run:
    """Run one set of weights on frames and count every roof once."""
    found = look_at_all(frames, weights, cache)
    looks = [k for k in found if k is not None]
    rows, twice = rows_of([k for k in looks if k.frame.boxes], cache)
    known = {r.roof.group for r in rows if r.known}
    return Run(rows, [k for k in looks if k.frame.group not in known], twice, len(found) - len(looks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=real_data(), help="folder of the real imagery")
    parser.add_argument("--boxes", type=Path, help="folder with your own boxes, NAME_OF_SET.csv, instead of ours")
    parser.add_argument("--frames", default="", help="data sets, comma-separated [default: all]")
    parser.add_argument("--cache", type=Path, help="folder that keeps the result of each frame for the next run")
    parser.add_argument("--weights", type=Path, default=DEFAULT_WEIGHTS)
    parser.add_argument(
        "--before", default=BEFORE, help="weights to compare with, a file or COMMIT:PATH of git; skipped if missing"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--roofs", type=Path, help="write the score of each roof to this CSV file")
    args = parser.parse_args()
    sets = [s for s in args.frames.split(",") if s]
    with TemporaryDirectory() as folder:
        before = weights_before(args.before, Path(folder))
        result = measure(args.data, args.boxes, sets, args.weights, before, args.cache, args.roofs)
    for line in lines(result):
        print(line, file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(json.dumps(result))


def measure(
    data: Path,
    boxes: Path | None,
    sets: Sequence[str],
    weights: Path,
    before: Path,
    cache: Path | None = None,
    roofs: Path | None = None,
) -> dict[str, Any]:
    """Return all results as the command prints them; see its options.

    Raises:
        SystemExit: an unknown data set, an invalid table of boxes, or not one picture.
    """
    own = sorted(p.stem for p in boxes.glob("*.csv")) if boxes else []
    known_sets = list(dict.fromkeys([*SETS, *own, SCENES]))
    sets = sets or known_sets
    if unknown := [s for s in sets if s not in known_sets]:
        raise SystemExit(f"--frames {unknown[0]}: no such data set; known are {', '.join(known_sets)}")
    frames, notes = labelled(data, boxes, [s for s in sets if s != SCENES])
    scenes = list(unlabelled(data)) if SCENES in sets else []
    if SCENES in sets and not scenes:
        notes.append(f"{SCENES}: no picture in {data}, skipped")
    if not frames and not scenes:
        raise SystemExit(f"{data}: no picture of {', '.join(sets)}; give --data DIR or OVERWATT_REAL_DATA")
    frames += scenes
    now = run(frames, weights, cache)
    result = summary(now.rows, now.quiet)
    result |= {
        "roofs_seen_twice": now.twice["roofs"],
        "sites_seen_twice": now.twice["sites"],
        "frames_outside_gsd_range": now.refused,
        "epistemic_named": _median([r.roof.novelty for r in now.rows if r.known]),
        "skipped": notes,
        "pixels": "real; boxes drawn by eye",
    }
    if before.is_file():
        was = run(frames, before, cache)
        first = summary(was.rows, was.quiet)
        result["before"] = first
        if first["at_half"]["recall"] is not None:
            result["equal_recall"] = {
                name: at_recall(r.rows, r.quiet, first["at_half"]["recall"])
                for name, r in (("now", now), ("before", was))
            }
            result["same_ground"] = same_ground(*(result["equal_recall"][k]["by_class"] for k in ("now", "before")))
    if roofs:
        roofs.write_text("\n".join(_table(now.rows)) + "\n")
    return result


def same_ground(now: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return false sites per 1,000 km2 of both on the classes both accept: weights may reject coarse frames."""
    both = [k for k in now if k in before]

    def rate(classes: dict[str, dict[str, Any]]) -> float | None:
        km2 = sum(classes[k]["km2"] for k in both)
        return sum(classes[k]["false_sites"] for k in both) / km2 * 1000 if km2 else None

    return {"classes": len(both), "per_1000_km2": rate(now), "before": rate(before)}


def _table(rows: Sequence[Row]) -> list[str]:
    lines = ["file,group,place,unit,half,class,area_m2,score,novelty,style,pieces"]
    for r in rows:
        k = r.roof
        lines.append(
            f"{k.file},{k.group},{r.place},{r.unit},{r.half},{k.klass},{k.area_m2:.0f},{k.score:.4f},{k.novelty:.3f},"
            f"{k.style:.4f},{k.pieces}"
        )
    return lines


def _median(values: list[float]) -> float | None:
    kept = [v for v in values if np.isfinite(v)]
    return float(np.median(kept)) if kept else None


def lines(r: dict[str, Any]) -> list[str]:
    """Return the results as readable lines: one operating point a line, intervals in brackets."""
    out = [f"skipped: {note}" for note in r["skipped"]]
    for name, part in (("all places", r), *((h, r["halves"][h]) for h in HALVES)):
        spread = part["intervals"]
        where = "" if name == "all places" else f" ({', '.join(part['places'])})"
        out.append(f"{name}{where}: {part['sites']} sites, {part['large_roofs']} ordinary large roofs")
        points = [(f"one false in {ONE_IN}", part, ""), (f"score {HALF}", part["at_half"], "at_half ")]
        if "at_other_threshold" in part:
            points.append(("threshold of the other half", part["at_other_threshold"], None))
        for title, point, prefix in points:
            recall = _number(point["recall"], spread.get(f"{prefix}recall"))
            false = _number(point["per_large_roof"], spread.get(f"{prefix}per_large_roof"))
            level = "-" if point["threshold"] is None else f"{point['threshold']:.3f}"
            out.append(f"  {title} (threshold {level}): recall of sites {recall}, false sites per large roof {false}")
        for band, v in part["auc_by_size"].items():
            count = f"({v['data_centers']} against {v['others']})"
            out.append(f"  AUC {band} thousand m2: {_number(v['auc'], v['interval'])} {count}")
        out.append(f"  AUC in the same frames: {_number(part['auc_same_frame'], spread.get('auc_same_frame'))}")
        for group, v in part["style_control"].items():
            out.append(f"  style control against {group}: {_number(v['auc'], v['interval'])}")
        p = part["pieces"]
        out.append(
            f"  pieces per hall: median {_number(p['median'])}, in one {_number(p['share_one'])}, in more "
            f"{_number(p['share_split'])}, in none {p['none']} of {p['buildings']}"
        )
    out += [f"  {p}: {_number(v)} of {r['sites_by_place'][p]} sites" for p, v in r["recall_by_place"].items()]
    out += [f"  recall of sites without the roofs of {g}: {_number(v)}" for g, v in r["recall_without"].items()]
    out.append(f"seen twice and counted once: {r['roofs_seen_twice']} roofs, {r['sites_seen_twice']} sites")
    for name, x in (r.get("equal_recall") or {}).items():
        out.append(
            f"{name}, at recall {_number(x['recall'])}: {_number(x['per_large_roof'])} per large roof, "
            f"{_number(x['per_1000_km2'])} per 1,000 km2"
        )
    if both := r.get("same_ground"):
        now, was = _number(both["per_1000_km2"]), _number(both["before"])
        out.append(f"on ground that both take: {now} per 1,000 km2, before {was}")
    return out


def _number(value: float | None, interval: list[float] | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" + (f" ({interval[0]:.2g}-{interval[1]:.2g})" if interval else "")


if __name__ == "__main__":
    main()
