"""Run time of the ledger compared with rapidfuzz plus a search tree, on simulated tables of a given size."""

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
from overwatt.pipeline.coverage import assumed_looked_at
from overwatt.pipeline.reconcile import ledger as reconcile
from overwatt.pipeline.reconcile.observed_sites import sites_from_rows
from overwatt.pipeline.tables import conform

GHOSTS = 0.05  # share of declarations without a detected site
_WORDS = ("north", "river", "oak", "stone", "valley", "metro", "prime", "delta", "ridge", "lake", "iron", "west")


def tables(observed: int, declared: int, seed: int) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, pd.DataFrame]:
    """Return sites, declarations and labels: towns of about ten sites each, spread over a country.

    The density is the same at each size: a million sites over the contiguous United States, fewer on a part of it.
    Sites are data centers with their stated probability; only data centers are declared, and 5% of the declarations
    have no detected site.
    """
    rng = np.random.default_rng((seed, observed))
    part = np.sqrt(observed / 1e6)  # part of the country's sides, so that the density stays the same
    towns = rng.uniform((-120, 28), (-120 + 45 * part, 28 + 19 * part), (max(1, observed // 10), 2))
    at = towns[rng.integers(len(towns), size=observed)] + rng.normal(0, 0.03, (observed, 2))
    mw = np.exp(rng.normal(3, 1, observed))
    names = [
        f"{_WORDS[a]} {_WORDS[b]} {c}" for a, b, c in rng.integers((12, 12, 400), size=(observed, 3)) % (12, 12, 400)
    ]
    p = rng.uniform(0.05, 1.0, observed)
    frame = pd.DataFrame({
        "site_id": [f"S{k}" for k in range(observed)], "geometry": shapely.points(at), "mid": mw, "spread": 0.3,
        "p": p, "area": 1000 * mw, "cooling": 1, "cooling_m2": 10.0,
    })  # fmt: skip
    known = rng.random(observed) < 0.5
    labels = pd.DataFrame({"site_id": frame["site_id"], "name": np.where(known, names, None)})
    rows = rng.choice(np.flatnonzero(rng.random(observed) < p), declared, replace=False)
    there = at[rows] + rng.normal(0, 0.002, (declared, 2))
    ghost = rng.random(declared) < GHOSTS
    there[ghost] = towns[rng.integers(len(towns), size=int(ghost.sum()))] + rng.normal(0, 0.03, (int(ghost.sum()), 2))
    decl = pd.DataFrame({
        "declared_id": [f"{'G' if g else 'D'}{k}" for k, g in zip(rows, ghost, strict=True)],
        "position_error_m": 300.0,
        "name": [f"new {k}" if g else names[k] for k, g in zip(rows, ghost, strict=True)],
        "operator": None, "kind": "facility", "it_mw": mw[rows] * np.exp(rng.normal(0, 0.2, declared)),
        "source": "simulated", "geometry": shapely.points(there),
    })  # fmt: skip
    sites = sites_from_rows(frame)
    return sites, conform(gpd.GeoDataFrame(decl, geometry="geometry", crs="OGC:CRS84"), "declared"), labels


def compare(observed: int, declared: int, seed: int) -> dict[str, Any]:
    """Return seconds, recall and precision of both; ours makes the complete ledger, the baseline only pairs."""
    sites, table, labels = tables(observed, declared, seed)
    looked = assumed_looked_at(sites)
    start = time.perf_counter()
    ledger = reconcile.reconcile(sites, table, looked, labels=labels)
    seconds = time.perf_counter() - start
    paired = ledger[ledger["site_id"].notna() & ledger["declared_id"].notna()]
    ours = list(zip(paired["site_id"], paired["declared_id"], strict=True))
    entries = len(ledger)
    del ledger, paired
    start = time.perf_counter()
    found = baseline(sites, table, labels)
    other = time.perf_counter() - start
    theirs = [(f"S{s}", d) for s, d in zip(found, table["declared_id"], strict=True) if s >= 0]
    true = int(table["declared_id"].str.startswith("D").sum())
    row: dict[str, Any] = {"observed": observed, "declared": declared, "seconds": round(seconds, 2)}
    for prefix, pairs in (("", ours), ("baseline_", theirs)):
        hit = sum(d == f"D{s[1:]}" for s, d in pairs)
        row |= {f"{prefix}recall": round(hit / true, 4), f"{prefix}precision": round(hit / max(len(pairs), 1), 4)}
    return row | {"baseline_seconds": round(other, 2), "entries": entries}


def baseline(sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame, labels: pd.DataFrame) -> list[int]:
    """Return for each declaration the site within 5 km with the best mean of name, distance and power scores, or -1."""
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
