"""The inspection plan against simulated evading operators: `python -m benchmarks.inspection --json`.

Ledgers are simulated: entries with log-normal capacity and a probability of being an undeclared data center, imaged
cells without a detection, and cells that were not imaged. Three budgets, several seeds; worst case and mean are
reported.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

from overwatt.pipeline.inspection.plan import Places, detection, draw, plan, top_list, worst_case


def split_detection(places: Places, q: np.ndarray, parts: int) -> float:
    """Return the detection of an evader who knows q and uses the `parts` places with the least detection.

    Finding one part is enough: 1 - Π (1 - d). Only places that can host their part are considered.
    """
    d = np.sort(detection(places, q)[places.value >= 1.0 / parts])[:parts]
    return float(1.0 - np.prod(1.0 - d)) if len(d) else 1.0


def least_watched(places: Places, q: np.ndarray) -> float:
    """Return the detection of an evader who uses a random place of the stratum with the least detection."""
    past = places.value * (1.0 - detection(places, q))
    names = np.array(places.stratum)
    return float(1.0 - max(past[names == s].mean() for s in set(places.stratum)))


def ledger(entries: int, cells: int, seed: int) -> Places:
    """Return a simulated ledger: entries in three classes, imaged and not imaged cells."""
    rng = np.random.default_rng((seed, entries, cells))
    # all distributions here are own choices: many small sites, few likely ones, high recall in imaged cells
    capacity = np.exp(rng.normal(-1.2, 1.1, entries))
    value = np.minimum(1.0, capacity)
    p = rng.beta(0.6, 2.5, entries)
    kinds = rng.choice(["undeclared", "above_declared", "not_seen"], entries, p=[0.6, 0.3, 0.1])
    looked = rng.random(cells) < 0.9
    seen = np.where(looked, rng.uniform(0.85, 0.99, cells), 0.0)
    return Places(
        place_id=tuple([f"E{k}" for k in range(entries)] + [f"C{k}" for k in range(cells)]),
        score=np.concatenate([p * value, np.full(cells, 0.002)]),
        value=np.concatenate([value, np.where(looked, 1.0, 0.3)]),
        seen=np.concatenate([np.zeros(entries), seen]),
        cost=np.ones(entries + cells),
        stratum=(*kinds.tolist(), *np.where(looked, "nothing found", "not looked at").tolist()),
    )


def measure(seed: int = 0, repeats: int = 5) -> dict[str, Any]:
    """Return worst case and mean of each measure over all instances, and all instances."""
    rows = []
    for entries, cells in ((60, 40), (200, 200), (1000, 500)):
        for share in (0.05, 0.15, 0.3):
            for k in range(repeats):
                places = ledger(entries, cells, seed + k)
                budget = max(3.0, round(share * entries))
                found = plan(places, budget)
                top = top_list(places, budget)
                uniform = np.full(len(top), budget / len(top))
                # mean number of places drawn over 20 seeds, to compare with the budget
                drawn = np.mean([len(draw(places, found.q, s)) for s in range(20)])
                rows.append({
                    "entries": entries, "cells": cells, "budget": budget, "worst_case": found.worst_case,
                    "gap": 1.0 - found.worst_case / found.optimum,
                    "of_free": found.worst_case / found.free_optimum, "vs_uniform": found.worst_case / found.uniform,
                    "naive_vs_top": found.naive / found.naive_top, "top_worst_case": worst_case(places, top),
                    "split_3": split_detection(places, found.q, 3), "split_3_top": split_detection(places, top, 3),
                    "least_watched": least_watched(places, found.q),
                    "least_watched_uniform": least_watched(places, uniform),
                    "found_naive": float(np.mean(detection(places, found.q))), "drawn": float(drawn),
                })  # fmt: skip
    of = {k: np.array([r[k] for r in rows]) for k in rows[0]}
    return {
        "worst_case_detection": round(float(of["worst_case"].mean()), 4),
        "worst_case_detection_least": round(float(of["worst_case"].min()), 4),
        "gap_to_optimum": round(float(of["gap"].max()), 5),
        "ratio_vs_uniform": round(float(of["vs_uniform"].min()), 4),
        "worst_case_over_free_optimum_mean": round(float(of["of_free"].mean()), 4),
        "worst_case_over_free_optimum_least": round(float(of["of_free"].min()), 4),
        "naive_ratio_vs_topk": round(float(of["naive_vs_top"].min()), 4),
        "naive_ratio_vs_topk_mean": round(float(of["naive_vs_top"].mean()), 4),
        "topk_worst_case_mean": round(float(of["top_worst_case"].mean()), 4),
        "adversaries": {
            "splits_over_3": round(float(of["split_3"].mean()), 4),
            "splits_over_3_against_topk": round(float(of["split_3_top"].mean()), 4),
            "moves_to_least_watched": round(float(of["least_watched"].mean()), 4),
            "moves_to_least_watched_against_uniform": round(float(of["least_watched_uniform"].mean()), 4),
        },
        "instances": len(rows), "simulated": True,
        "rows": [{k: round(float(v), 4) for k, v in r.items()} for r in rows],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure; the last line of standard output is JSON with --json."""
    parser = argparse.ArgumentParser(prog="benchmarks.inspection", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    result = measure(options.seed, options.repeats)
    out = sys.stderr if options.json else sys.stdout
    for key, value in result.items():
        if key != "rows":
            print(f"{key}: {value}", file=out)
    if options.json:
        print(json.dumps(result, allow_nan=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
