"""Rival matchers on the same tables: each returns pairs declared_id -> site_id."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
from rapidfuzz import fuzz, process
from scipy.spatial import cKDTree

from overwatt.aoi.geodesy import EARTH_RADIUS_M, centres, on_sphere
from overwatt.pipeline.declared.names import plain


def nearest(sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame) -> dict[str, str]:
    """Return greedy one-to-one nearest neighbours within 500 m plus three stated position errors."""
    ours, theirs = _ball(sites), _ball(declared)
    reach = 500.0 + 3.0 * declared["position_error_m"].to_numpy(float)
    pairs = []
    for j, near in enumerate(cKDTree(ours).query_ball_point(theirs, reach)):
        pairs += [(float(np.linalg.norm(ours[i] - theirs[j])), i, j) for i in near]
    return _greedy(sorted(pairs), sites, declared)


def names_only(sites: gpd.GeoDataFrame, labels: pd.DataFrame, declared: gpd.GeoDataFrame) -> dict[str, str]:
    """Return the site with the best rapidfuzz score of operator and name above 85, at any distance; first of ties."""
    text = _texts(labels.set_index("site_id").reindex(sites["site_id"]))
    known = [i for i, t in enumerate(text) if t]
    out: dict[str, str] = {}
    used: set[int] = set()
    for name, query in zip(declared["declared_id"], _texts(declared), strict=True):
        if not query or not known:
            continue
        found = process.extractOne(query, [text[i] for i in known], scorer=fuzz.token_sort_ratio, score_cutoff=85)
        if found is not None and known[found[2]] not in used:
            used.add(known[found[2]])
            out[str(name)] = str(sites["site_id"].iloc[known[found[2]]])
    return out


def plant_matching(sites: gpd.GeoDataFrame, labels: pd.DataFrame, declared: gpd.GeoDataFrame) -> dict[str, str]:
    """Return pairs by rules like those of powerplantmatching: mean of name, distance and capacity scores above 0.6.

    The distance score falls linearly to 0 at 10 km; the capacity score is the smaller over the larger capacity; the
    name score is a token-sort similarity if both have a name. Greedy, not one to one, as in that package.
    """
    ours, theirs = _ball(sites), _ball(declared)
    text = _texts(labels.set_index("site_id").reindex(sites["site_id"]))
    other = _texts(declared)
    mine, stated = sites["it_mw_p50"].to_numpy(float), declared["it_mw"].to_numpy(float)
    out = {}
    for j, near in enumerate(cKDTree(ours).query_ball_point(theirs, 10_000.0)):
        best, score = -1, 0.6
        for i in near:
            parts = [1.0 - float(np.linalg.norm(ours[i] - theirs[j])) / 10_000.0]
            if np.isfinite(stated[j]) and stated[j] > 0:
                parts.append(min(mine[i], stated[j]) / max(mine[i], stated[j]))
            if text[i] and other[j]:
                parts.append(fuzz.token_sort_ratio(text[i], other[j]) / 100.0)
            value = float(np.mean(parts))
            if value > score:
                best, score = i, value
        if best >= 0:
            out[str(declared["declared_id"].iloc[j])] = str(sites["site_id"].iloc[best])
    return out


def _greedy(pairs: list[tuple[float, int, int]], sites: pd.DataFrame, declared: pd.DataFrame) -> dict[str, str]:
    taken, out = set(), {}
    for _, i, j in pairs:
        name = str(declared["declared_id"].iloc[j])
        if i not in taken and name not in out:
            taken.add(i)
            out[name] = str(sites["site_id"].iloc[i])
    return out


def _texts(frame: pd.DataFrame) -> list[str]:
    return [f"{plain(a)} {plain(b)}".strip() for a, b in zip(frame["operator"], frame["name"], strict=True)]


def _ball(frame: gpd.GeoDataFrame) -> np.ndarray:
    """Return (n, 3) points on the sphere in metres: chords approximate distances for the tree search."""
    return on_sphere(centres(frame.geometry.to_numpy()), EARTH_RADIUS_M)
