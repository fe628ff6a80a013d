"""The ledger tested on planted edits, compared with rivals, and at scale: `python -m benchmarks.reconcile --json`."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.real_data import real_data
from benchmarks.reconcile import campuses, missing, rivals
from benchmarks.reconcile.bound import best_threshold, informed, ratios
from benchmarks.reconcile.planted import EDITS, ERROR_M, EXPECTED, REACH_M, Case, base, plant
from overwatt.pipeline.reconcile import ledger as reconcile

FINE = ("rooftop", "parcel")  # coordinate classes precise enough for the headline result
SETUPS = {"im3 sites": ("im3", REACH_M), "osm sites": ("osm", REACH_M), "im3 buildings": ("im3", 0.0)}
"""Registry and linking distance of buildings to sites, metres; the first is the headline, as the pipeline does it."""
STATED = 0.5
"""A pair with a lower p_match is uncertain in the ledger and does not count as stated."""


def pairs_of(ledger: pd.DataFrame, least: float = STATED) -> pd.DataFrame:
    """Return the ledger rows that match a site with a declaration."""
    return ledger[ledger["site_id"].notna() & ledger["declared_id"].notna() & (ledger["p_match"] >= least)]


def score(case: Case, found: dict[str, str]) -> dict[str, float]:
    """Return counts of true, found and correct pairs; all parts of a split declaration have the same site."""
    true = {d: s for d, s in case.partner.items() if s}
    hit = sum(found.get(d) == s for d, s in true.items())
    return {"true": len(true), "found": len(found), "hit": hit}


def ratio(parts: list[dict[str, float]]) -> dict[str, float]:
    """Return recall, precision and F1 over several cases."""
    hit, true, found = (sum(p[k] for p in parts) for k in ("hit", "true", "found"))
    recall, precision = hit / max(true, 1), hit / max(found, 1)
    f1 = 2 * recall * precision / max(recall + precision, 1e-9)
    return {"recall": round(recall, 4), "precision": round(precision, 4), "f1": round(f1, 4), "true_pairs": int(true)}


def by_edit(case: Case, ledger: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return counts by edit: rows, correct pairs, correct classes, rows of the expected class, correct ones of them."""
    paired = dict(zip(pairs_of(ledger)["declared_id"], pairs_of(ledger)["site_id"], strict=True))
    class_of = {d: c for d, c in zip(ledger["declared_id"], ledger["class"], strict=True) if isinstance(d, str)}
    class_of |= {
        s: c
        for s, c in zip(ledger["site_id"], ledger["class"], strict=True)
        if isinstance(s, str) and c == "undeclared"
    }
    out = {}
    for edit in EDITS:
        rows = [k for k, e in case.edit.items() if e == edit and (k.startswith("S") or case.partner.get(k))]
        pair = sum(paired.get(k) == case.partner.get(k) for k in rows) if edit != "delete" else 0
        wanted = EXPECTED.get(edit)
        right = sum(class_of.get(k) == wanted for k in rows) if wanted else 0
        called = [k for k, c in class_of.items() if c == wanted] if wanted else []
        rightly = sum(case.edit.get(k) == edit or (edit == "delete" and k in case.false) for k in called)
        out[edit] = {"n": len(rows), "pair": pair, "class": right, "called": len(called), "rightly": rightly}
    return out


def calibration(p: np.ndarray, y: np.ndarray, group: np.ndarray, seed: int) -> tuple[float, list[float]]:
    """Return the expected calibration error over ten bins of equal count, with a bootstrap interval over groups."""

    def ece(p: np.ndarray, y: np.ndarray) -> float:
        # ECE: mean |mean p - share correct| over bins, weighted by their size
        parts = np.array_split(np.argsort(p, kind="stable"), 10)
        return float(sum(len(k) * abs(p[k].mean() - y[k].mean()) for k in parts if len(k)) / max(len(p), 1))

    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(group == g) for g in np.unique(group)]
    drawn = []
    for _ in range(200):
        rows = np.concatenate([groups[k] for k in rng.integers(len(groups), size=len(groups))])
        drawn.append(ece(p[rows], y[rows]))
    return ece(p, y), [round(float(v), 4) for v in np.quantile(drawn, (0.025, 0.975))]


def measure(folder: Path, seed: int = 0, repeats: int = 2, rows: int | None = None) -> dict[str, Any]:
    """Return recall, precision, calibration, results by edit and coordinates, rivals, and the upper bound.

    Args:
        folder: of the registries.
        seed: of all edits.
        repeats: cases of each kind.
        rows: sites of each registry that are used; None: all.
    """
    cells: dict[tuple[str, str, str, float], list[dict[str, float]]] = {}
    best: dict[tuple[str, str, float], list[dict[str, float]]] = {}
    edits: dict[str, dict[str, dict[str, int]]] = {}
    against: dict[str, list[dict[str, float]]] = {}
    scored: dict[str, tuple[list[float], list[bool], list[str]]] = {}
    power: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"halve": [], "triple": []}
    head = next(iter(SETUPS))
    for setup, (name, reach_m) in SETUPS.items():
        truth = base(folder, name, reach_m).iloc[:rows]
        for family, coordinates, names, k in product(("tuned", "other"), ERROR_M, (0.0, 0.5), range(repeats)):
            if setup != head and (family == "tuned" or coordinates not in FINE):
                continue
            case = plant(
                truth, family=family, coordinates=coordinates, seed=seed + k, names=names, footprints=name == "im3"
            )
            ledger = reconcile.reconcile(case.sites, case.declared, case.looked_at, labels=case.labels)
            stated, paired = pairs_of(ledger), pairs_of(ledger, 0.0)
            found = dict(zip(stated["declared_id"], stated["site_id"], strict=True))
            cells.setdefault((setup, family, coordinates, names), []).append(score(case, found))
            if family == "other":
                p, y, group = scored.setdefault(setup, ([], [], []))
                right = [
                    case.partner.get(d) == s for d, s in zip(paired["declared_id"], paired["site_id"], strict=True)
                ]
                p += paired["p_match"].tolist()
                y += right
                group += [f"{coordinates}/{k}/{n % 10}" for n in range(len(right))]
                if coordinates in FINE:
                    best.setdefault((setup, coordinates, names), []).append(score(case, informed(case, family)))
            if setup == head and coordinates in FINE and family == "other":
                for edit, parts in power.items():
                    parts.append(ratios(case, edit))
            if setup == head and coordinates in FINE:
                _add(edits.setdefault(f"{family}/{coordinates}", {}), by_edit(case, ledger))
                if names and family == "other":
                    for rival, pairs in (
                        ("ours", found),
                        ("nearest_greedy", rivals.nearest(case.sites, case.declared)),
                        ("rapidfuzz_only", rivals.names_only(case.sites, case.labels, case.declared)),
                        ("powerplantmatching_style", rivals.plant_matching(case.sites, case.labels, case.declared)),
                    ):
                        against.setdefault(rival, []).append(score(case, pairs))
    ece = {s: calibration(np.array(p), np.array(y, float), np.array(g), seed) for s, (p, y, g) in scored.items()}
    return {
        **_pooled(cells, head), "ece": round(ece[head][0], 4), "ece_interval": ece[head][1],
        "matches_scored": len(scored[head][0]),
        "headline": f"{head}: IM3's buildings within {REACH_M:g} m as one site, rooftop and parcel coordinates, half "
        "of the cases with names, noise family 'other' (decision 0016); pairs of p_match >= 0.5",
        "simulated": "places, names and sizes are real; power, what was observed and the edits are simulated",
        "by_setup": {
            s: {**_pooled(cells, s), "ece": round(ece[s][0], 4), "ece_interval": ece[s][1]} for s in SETUPS
        },
        "informed_matcher": {f"{s}/{c}/names {n:g}": ratio(parts) for (s, c, n), parts in best.items()},
        "power_edits_bound": {e: best_threshold(p, 1.0 if e == "halve" else -1.0) for e, p in power.items()},
        "by_edit": {which: {e: _shares(v) for e, v in found.items()} for which, found in edits.items()},
        "by_coordinates": {f"{s}/{f}/{c}/names {n:g}": ratio(parts) for (s, f, c, n), parts in cells.items()},
        "rivals": {name: ratio(parts) for name, parts in against.items()},
        **missing.measure({name: base(folder, name).iloc[:rows] for name in ("im3", "osm")}, seed),
        "campuses": campuses.measure(base(folder, "im3", 0.0), seed),
    }  # fmt: skip


def _pooled(cells: dict[tuple[str, str, str, float], list[dict[str, float]]], setup: str) -> dict[str, float]:
    parts = [
        c for (s, family, at, _), cs in cells.items() if s == setup and family == "other" and at in FINE for c in cs
    ]
    return ratio(parts)


def _add(total: dict[str, dict[str, int]], more: dict[str, dict[str, int]]) -> None:
    for edit, counts in more.items():
        have = total.setdefault(edit, dict.fromkeys(counts, 0))
        for k, v in counts.items():
            have[k] += v


def _shares(c: dict[str, int]) -> dict[str, float | int | None]:
    return {
        "n": c["n"], "pair_recall": round(c["pair"] / c["n"], 4) if c["n"] and c["pair"] else None,
        "class_recall": round(c["class"] / c["n"], 4) if c["n"] and c["called"] else None,
        "class_precision": round(c["rightly"] / c["called"], 4) if c["called"] else None,
    }  # fmt: skip


def scale(sizes: tuple[int, ...] = (30_000, 100_000, 300_000, 1_000_000), seed: int = 0) -> dict[str, Any]:
    """Return seconds, memory and the exponent of time by number of sites; declarations are a tenth of the sites."""
    from benchmarks.reconcile.scaling import compare

    rows = [compare(n, n // 10, seed) for n in sizes]
    x, t = np.log([r["observed"] for r in rows]), np.log([r["seconds"] for r in rows])
    last = rows[-1]
    return {
        "seconds": last["seconds"], "observed": last["observed"], "declared": last["declared"],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        # slope of ln(seconds) over ln(sites) on the three largest sizes
        "exponent": round(float(np.polyfit(x[-3:], t[-3:], 1)[0]), 3),
        "time_vs_baseline": round(last["seconds"] / last["baseline_seconds"], 3), "sweep": rows, "simulated": True,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure; with --json the last line of standard output is JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.reconcile", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--data", type=Path, default=None, help="folder with im3_footprints.geojson")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rows", type=int, default=None, help="sites of each registry, a check [default: all]")
    parser.add_argument("--observed", type=int, default=1_000_000, help="largest number of sites; 0: no scaling test")
    options = parser.parse_args(arguments)
    folder = options.data or real_data() / "facilities"
    if not (folder / "im3_footprints.geojson").is_file():
        print(f"{folder}: no im3_footprints.geojson; give --data or OVERWATT_REAL_DATA", file=sys.stderr)
        return 2
    start = time.monotonic()
    result = measure(folder, options.seed, options.repeats, options.rows)
    if options.observed:
        result["scale"] = scale(tuple(max(100, options.observed // k) for k in (30, 10, 3, 1)), options.seed)
    result["elapsed_s"] = round(time.monotonic() - start, 1)
    out = sys.stderr if options.json else sys.stdout
    for key in ("recall", "precision", "ece"):
        print(f"{key}: {result[key]}", file=out)
    for key in (
        "by_setup", "informed_matcher", "power_edits_bound", "by_coordinates", "rivals", "by_missing_share", "campuses",
    ):  # fmt: skip
        for name, value in result[key].items():
            print(f"{name:40} {value}", file=out)
    print(f"far_pairs: {result['far_pairs']}", file=out)
    for family, found in result["by_edit"].items():
        for name, value in found.items():
            print(f"{family:16}{name:10} {value}", file=out)
    print(f"scale: {result.get('scale')}", file=out)
    if options.json:
        print(json.dumps(result, allow_nan=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
