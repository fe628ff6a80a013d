"""EPA air permits compared with IM3 footprints, judged pairs: `python -m benchmarks.reconcile.permits [--json]`.

The truth is not planted. Observed: IM3's buildings of 1500 m2 or more (PNNL, IM3 open data center atlas), those
within 60 m as one site, with IM3's names and operators as labels. Declared: the 440 facilities with air permits under
NAICS 518210 (US EPA, ECHO; US government work). Neither states power, so power is not used. IM3 lacks the buildings
of about half of the permits, so few permits can be matched.

`permit_pairs.csv` has 60 randomly drawn pairs (numpy seed 518210, on 24 November 2026): 8 from each of five ranges of
p_match, 12 of a permit and the nearest unmatched site within 1.5 km where the permit was matched elsewhere, and all 8
where it was not matched. `weight` is the number of pairs in the population that a row represents.
The maintainers' software agent, not a person, judged them from names, addresses, distances and the names and addr:*
tags of nearby OpenStreetMap objects (ODbL, © OpenStreetMap contributors), in random order, before it saw p_match or
the result of the matcher: 'same' if the site is the permit's facility or a part of it, 'cannot tell' without evidence.
IM3 is derived from OpenStreetMap, so sites and address tags are not independent; relations of companies such as
Andale (Meta) are from the agent's memory. One judge, no second reading. The key of a site is its centre, lon,lat to
four decimals.

Errors seen: false pairs join a permit whose building IM3 lacks with the nearest footprint, which belongs to another
company in the same street and often has its own permit. Missed pairs: the permit's coordinate is a kilometre away from
its campus, or the permit names several halls and only one is matched.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

from benchmarks.real_data import real_data
from benchmarks.reconcile import planted, rivals
from overwatt.aoi.geodesy import centres
from overwatt.pipeline.coverage import assumed_looked_at
from overwatt.pipeline.reconcile import ledger as reconcile
from overwatt.pipeline.reconcile.observed_sites import sites_from_rows
from overwatt.workflows.io import registries

JUDGED = Path(__file__).with_name("permit_pairs.csv")
PERMITS = "epa_echo_naics_518210.json"
STATED = 0.5
"""A pair with a lower p_match is uncertain in the ledger."""
_BINS = 5


@dataclass(frozen=True)
class Tables:
    """Sites of IM3 (`site_id` is the stable key), their labels (site_id, name, operator), the permits, `looked_at`."""

    sites: gpd.GeoDataFrame
    labels: pd.DataFrame
    permits: gpd.GeoDataFrame
    looked_at: gpd.GeoDataFrame


def tables(folder: Path) -> Tables:
    """Read both registries from the folder of the facility files."""
    base = planted.base(folder, "im3", planted.REACH_M)
    key = [f"{x:.4f},{y:.4f}" for x, y in centres(base.geometry.to_numpy())]
    frame = pd.DataFrame({
        "site_id": key, "geometry": base.geometry, "mid": base["it_mw"], "spread": 1.2, "p": 0.95,
        "area": base["area_m2"], "cooling": 0, "cooling_m2": 0.0, "name": base["name"], "operator": base["operator"],
    })  # fmt: skip
    sites = sites_from_rows(frame)
    permits = registries.read(folder / PERMITS, aside=[])
    return Tables(sites, frame[["site_id", "name", "operator"]], permits, assumed_looked_at(sites))


def judged(path: Path = JUDGED) -> list[dict[str, str]]:
    """Return the rows of the judged pairs: RegistryID, site, verdict, stratum, weight, reason; all text."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def wilson(hits: float, n: float) -> list[float]:
    """Return the 95% interval of a share (Wilson 1927); [0, 1] if n is 0. `n` may be an effective sample size."""
    if n <= 0:
        return [0.0, 1.0]
    z2, p = 1.959964**2, hits / n
    middle, half = (p + z2 / (2 * n)) / (1 + z2 / n), np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return [round(float(max(0.0, middle - half)), 3), round(float(min(1.0, middle + half)), 3)]


def share(right: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Return the correct share: unweighted, and weighted to the population (interval by Kish's effective sample size).

    Args:
        right: (n,) bool.
        weight: (n,) number of pairs that each row represents.
    """
    n, hits = len(right), int(right.sum())
    if not n:
        return {"n": 0, "hits": 0, "share": None, "interval": [0.0, 1.0]}
    weighted = float(weight @ right / weight.sum())
    # Kish (1965): effective n = (sum w)^2 / sum w^2
    effective = float(weight.sum() ** 2 / (weight**2).sum())
    return {
        "n": n, "hits": hits, "share": round(hits / n, 3), "interval": wilson(hits, n),
        "weighted": round(weighted, 3), "weighted_interval": wilson(weighted * effective, effective),
    }  # fmt: skip


def measure(folder: Path) -> dict[str, Any]:
    """Return counts, precision, recall and calibration on the judged pairs, and the rivals' scores on them."""
    t = tables(folder)
    ledger = reconcile.reconcile(t.sites, t.permits, t.looked_at, labels=t.labels)
    paired = ledger[ledger["site_id"].notna() & ledger["declared_id"].notna()]
    p_of = dict(zip(zip(paired["declared_id"], paired["site_id"], strict=True), paired["p_match"], strict=True))
    rows = judged()
    known = set(t.permits["declared_id"])
    sites = set(t.sites["site_id"])
    lost = [r["RegistryID"] for r in rows if r["RegistryID"] not in known or r["site"] not in sites]
    rows = [r for r in rows if r["verdict"] != "cannot tell" and r["RegistryID"] not in lost]
    pair = [(r["RegistryID"], r["site"]) for r in rows]
    same = np.array([r["verdict"] == "same" for r in rows])
    weight = np.array([float(r["weight"]) for r in rows])
    p = np.array([p_of.get(k, np.nan) for k in pair], float)

    def scored(of: np.ndarray) -> dict[str, Any]:
        return {"precision": share(same[of], weight[of]), "recall_of_judged_same": share(of[same], weight[same])}

    of = np.isfinite(p)
    others = {
        "nearest_greedy": rivals.nearest(t.sites, t.permits),
        "rapidfuzz_only": rivals.names_only(t.sites, t.labels, t.permits),
    }
    return {
        "permits": len(t.permits), "sites": len(t.sites), "matched": len(paired),
        "matched_stated": int((paired["p_match"] >= STATED).sum()),
        "judged": len(judged()), "cannot_tell": sum(r["verdict"] == "cannot tell" for r in judged()),
        "no_longer_in_the_files": lost,
        "stated": scored(np.nan_to_num(p) >= STATED), "all_pairs": scored(of),
        "by_stratum": _by_stratum(rows, same), "calibration": calibration(p[of], same[of], weight[of]),
        "rivals": {
            k: {"matched": len(v), "also_ours": sum(i in p_of for i in v.items()),
                **scored(np.array([v.get(a) == b for a, b in pair]))}
            for k, v in others.items()
        },
        "note": "judged by one software agent, not a person; drawn from this matcher's pairs and near misses, so of "
        "the rivals' pairs only those it also found or came near are judged: their precision here is an upper figure",
    }  # fmt: skip


def calibration(p: np.ndarray, same: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Return Brier score and expected calibration error (five bins of equal count), weighted to the population.

    `ece_if_calibrated` is the mean ECE of simulated verdicts that follow p exactly: the effect of chance at this n.

    Args:
        p: (n,) probabilities of a match.
        same: (n,) verdicts, bool.
        weight: (n,) number of pairs that each row represents.
    """
    bins = [k for k in np.array_split(np.argsort(p, kind="stable"), _BINS) if len(k)]

    def ece(y: np.ndarray) -> float:
        return float(sum(abs(weight[k] @ (p[k] - y[k])) for k in bins) / weight.sum())

    rng = np.random.default_rng(0)
    chance = [ece((rng.random(len(p)) < p).astype(float)) for _ in range(1000)]
    pick = [rng.integers(len(p), size=len(p)) for _ in range(1000)]
    boot = [float(weight[k] @ (p[k] - same[k]) ** 2 / weight[k].sum()) for k in pick]
    return {
        "n": len(p), "ece": round(ece(same.astype(float)), 3), "ece_if_calibrated": round(float(np.mean(chance)), 3),
        "ece_if_calibrated_p95": round(float(np.quantile(chance, 0.95)), 3),
        "brier": round(float(weight @ (p - same) ** 2 / weight.sum()), 3),
        "brier_interval": [round(float(v), 3) for v in np.quantile(boot, (0.025, 0.975))],
        "mean_p": round(float(weight @ p / weight.sum()), 3),
        "share_same": round(float(weight @ same / weight.sum()), 3),
    }  # fmt: skip


def _by_stratum(rows: list[dict[str, str]], same: np.ndarray) -> dict[str, str]:
    out: dict[str, list[bool]] = {}
    for row, yes in zip(rows, same.tolist(), strict=True):
        out.setdefault(row["stratum"], []).append(yes)
    return {k: f"{sum(v)} same of {len(v)}" for k, v in sorted(out.items())}


def main(argv: list[str] | None = None) -> int:
    """Print the results; return 1 if the files are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the JSON on one line")
    parser.add_argument("--data", type=Path, help="folder of the facility files")
    asked = parser.parse_args(argv)
    folder = asked.data or real_data() / "facilities"
    if not (folder / PERMITS).is_file():
        print(f"{folder / PERMITS} is missing; give --data or $OVERWATT_REAL_DATA", file=sys.stderr)
        return 1
    print(json.dumps(measure(folder), indent=None if asked.json else 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
