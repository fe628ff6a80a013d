"""Calibration where much is missing on either side, and of pairs far apart in sparse places.

The planted cases of `planted`, noise family 'other', with a given share of the sites not detected and the same share of
the facilities not declared. Pairs more than 1 km apart are judged where the truth has few data centers around.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import geopandas as gpd
import numpy as np
from scipy.spatial import cKDTree

from benchmarks.reconcile.planted import plant
from overwatt.aoi.geodesy import EARTH_RADIUS_M, centres, on_sphere
from overwatt.pipeline.reconcile import ledger as reconcile

MISSING = (0.05, 0.25, 0.6)
FAR_M = 1000.0
SPARSE_KM = 10.0
"""A place is sparse if the fifth neighbour in the complete registry is farther than this."""
_STATED = 0.5
_BINS = 10


def measure(truths: dict[str, gpd.GeoDataFrame], seed: int, family: str = "other") -> dict[str, Any]:
    """Return recall, precision and calibration by missing share, and of the far pairs in sparse places.

    Args:
        truths: registries of `planted.base`; the shares are of the first, the far pairs of all of them.
        seed: seed of the planted noise.
        family: of the planted noise.
    """
    by_share: dict[str, Any] = {}
    far_p, far_right = [], []
    for missing, (name, truth) in product(MISSING, truths.items()):
        at = on_sphere(centres(truth.geometry.to_numpy()), EARTH_RADIUS_M / 1e3)
        sparse = cKDTree(at).query(at, k=[6])[0][:, 0] > SPARSE_KM
        alone = {f"S{k}" for k in np.flatnonzero(sparse)}
        hit = true = 0
        p, right, used = [], [], []
        for coordinates, names, k in product(("rooftop", "parcel"), (0.0, 0.5), range(2)):
            case = plant(
                truth, family=family, coordinates=coordinates, seed=seed + k, names=names, footprints=name == "im3",
                missing=missing,
            )  # fmt: skip
            found = reconcile.compare(case.sites, case.declared, case.looked_at, labels=case.labels)
            used.append(found.shares.as_dict())
            pairs = found.entries.dropna(subset=["site_id", "declared_id"])
            ids = zip(pairs["declared_id"], pairs["site_id"], strict=True)
            ok = np.array([case.partner.get(d) == s for d, s in ids], bool)
            own = pairs["p_match"].to_numpy(float)
            hit += int(ok[own >= _STATED].sum())
            true += sum(bool(s) for s in case.partner.values())
            p.append(own)
            right.append(ok)
            far = (own >= _STATED) & (pairs["distance_m"] > FAR_M).to_numpy(bool)
            far &= (pairs["site_id"].isin(alone) | pairs["site_id"].str.startswith("F")).to_numpy(bool)
            far_p.append(own[far])
            far_right.append(ok[far])
        all_p, all_right = np.concatenate(p), np.concatenate(right)
        if name == next(iter(truths)):
            by_share[f"{missing:g}"] = {
                "recall": round(hit / max(true, 1), 4),
                "precision": round(hit / max(int((all_p >= _STATED).sum()), 1), 4),
                "ece": round(ece(all_p, all_right), 4), "pairs": len(all_p),
                "shares": {k: round(float(np.mean([u[k] for u in used])), 3) for k in used[0]},
            }  # fmt: skip
    return {"by_missing_share": by_share, "far_pairs": mean_p(np.concatenate(far_p), np.concatenate(far_right))}


def mean_p(p: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Return number of pairs, mean p_match and share right; None without pairs."""
    some = len(p) > 0
    return {
        "n": len(p), "mean_p": round(float(p.mean()), 3) if some else None,
        "right": round(float(right.mean()), 3) if some else None,
    }  # fmt: skip


def ece(p: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error over ten bins of equal count."""
    parts = np.array_split(np.argsort(p, kind="stable"), _BINS)
    return float(sum(len(k) * abs(p[k].mean() - right[k].mean()) for k in parts if len(k)) / max(len(p), 1))
