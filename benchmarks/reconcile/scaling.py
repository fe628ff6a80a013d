"""Time of the ledger against rapidfuzz plus BallTree, on simulated tables of a size."""

from __future__ import annotations

import time
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from rapidfuzz import fuzz
from scipy.spatial import cKDTree

from benchmarks.reconcile.rivals import _ball
from pipeline import reconcile
from pipeline.observed import _sites, assumed_looked_at
from pipeline.tables import conform

_WORDS = ("north", "river", "oak", "stone", "valley", "metro", "prime", "delta", "ridge", "lake", "iron", "west")


def tables(observed: int, declared: int, seed: int) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, pd.DataFrame]:
    """Return sites, declarations and labels: towns of ten facilities each over a country, nine in ten sites false."""
    rng = np.random.default_rng((seed, observed))
    towns = rng.uniform((-120, 28), (-75, 47), (max(1, observed // 10), 2))
    at = towns[rng.integers(len(towns), size=observed)] + rng.normal(0, 0.03, (observed, 2))
    mw = np.exp(rng.normal(3, 1, observed))
    names = [
        f"{_WORDS[a]} {_WORDS[b]} {c}" for a, b, c in rng.integers((12, 12, 400), size=(observed, 3)) % (12, 12, 400)
    ]
    frame = pd.DataFrame({
        "site_id": [f"S{k}" for k in range(observed)], "geometry": shapely.points(at), "mid": mw, "spread": 0.3,
        "p": rng.uniform(0.05, 1.0, observed), "area": 1000 * mw, "cooling": 1, "cooling_m2": 10.0,
    })  # fmt: skip
    known = rng.random(observed) < 0.5
    labels = pd.DataFrame({"site_id": frame["site_id"], "name": np.where(known, names, None)})
    rows = np.arange(declared)
    there = at[rows] + rng.normal(0, 0.002, (declared, 2))
    decl = pd.DataFrame({
        "declared_id": [f"D{k}" for k in rows], "position_error_m": 300.0, "name": [names[k] for k in rows],
        "operator": None, "kind": "facility", "it_mw": mw[rows] * np.exp(rng.normal(0, 0.2, declared)),
        "source": "simulated", "geometry": shapely.points(there),
    })  # fmt: skip
    sites = _sites(frame)
    return sites, conform(gpd.GeoDataFrame(decl, geometry="geometry", crs="OGC:CRS84"), "declared"), labels


def compare(observed: int, declared: int, seed: int) -> dict[str, Any]:
    """Return seconds and recall of both."""
    sites, table, labels = tables(observed, declared, seed)
    looked = assumed_looked_at(sites)
    start = time.perf_counter()
    ledger = reconcile.reconcile(sites, table, looked, labels=labels)
    seconds = time.perf_counter() - start
    paired = ledger[ledger["site_id"].notna() & ledger["declared_id"].notna()]
    hit = sum(s[1:] == d[1:] for s, d in zip(paired["site_id"], paired["declared_id"], strict=True))
    start = time.perf_counter()
    found = baseline(sites, table, labels)
    other = time.perf_counter() - start
    return {
        "observed": observed, "declared": declared, "seconds": round(seconds, 2), "recall": round(hit / declared, 4),
        "baseline_seconds": round(other, 2),
        "baseline_recall": round(sum(s == k for k, s in enumerate(found)) / declared, 4),
        "entries": len(ledger),
    }  # fmt: skip


def baseline(sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame, labels: pd.DataFrame) -> list[int]:
    """For each declaration the site within 5 km of the best mean of name, distance and power scores."""
    ours, theirs = _ball(sites), _ball(declared)
    name = labels["name"].to_numpy(object)
    mine, stated = sites["it_mw_p50"].to_numpy(float), declared["it_mw"].to_numpy(float)
    out = []
    for j, near in enumerate(cKDTree(ours).query_ball_point(theirs, 5000.0)):
        best, score = -1, -1.0
        for i in near:
            d = float(np.sqrt(((ours[i] - theirs[j]) ** 2).sum()))
            parts = [max(0.0, 1 - d / 1000.0), min(mine[i], stated[j]) / max(mine[i], stated[j])]
            if isinstance(name[i], str):
                parts.append(fuzz.token_sort_ratio(name[i], declared["name"].iloc[j]) / 100.0)
            value = sum(parts) / len(parts)
            if value > score:
                best, score = i, value
        out.append(best)
    return out
