"""Comparison of two runs of one area: sites that are new, grown, shrunk or gone, or that were not observed before.

In: `sites` and `looked_at` of an earlier and a later run. Out: one row per site or pair of sites, with a class and the
reason; every site of both runs is in one row. A change counts only if it exceeds its error: |ln(B / A)| must exceed
1.645 sd (one-sided 5%; own choice). The error that both runs share (models/reference, common_error) is left out, as it
is the same in both. A site is new only if the earlier run observed its place, and gone only if the later run did.
"""

from __future__ import annotations

import math

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from overwatt.aoi.geodesy import EARTH_RADIUS_M, WGS84, centres, local_frame, on_sphere
from overwatt.models.reference import facts
from overwatt.pipeline.coverage import looked_shares
from overwatt.pipeline.quantiles import SCORE_OF, ln_sd_80
from overwatt.pipeline.reconcile.assignment import assign

CHANGE_CLASSES = ("new", "grown", "shrunk", "gone", "same", "only_newly_seen", "not_looked_at_again", "improbable")
"""What happened to a site. The other run did not look at the place of those only newly seen or not looked at again, so
they are neither new nor gone; improbable are those that only one run has and whose evidence does not speak for a data
center: p_data_center is neither above the prior of their run nor 0.5 or more."""
NEAR_M = 100.0
"""Largest gap between outlines of the same site in two runs, m; outlines differ by some 10 m; own choice."""
_LOOKED = 0.8  # share of a place that must be observed, as ReconcileSettings.min_p_detect


def compare_runs(
    earlier: gpd.GeoDataFrame, later: gpd.GeoDataFrame, looked_earlier: gpd.GeoDataFrame, looked_later: gpd.GeoDataFrame
) -> gpd.GeoDataFrame:
    """Return one row per change, sorted by class and site; the order of input rows does not matter.

    Columns: class (of `CHANGE_CLASSES`), site_id_a, site_id_b, it_mw_a, it_mw_b (medians, MW; a is the earlier run),
    ln_ratio, limit (of |ln_ratio|), reason, geometry.

    Args:
        earlier: table `sites` of the earlier run.
        later: table `sites` of the later run.
        looked_earlier: table `looked_at` of the earlier run.
        looked_later: table `looked_at` of the later run.
    """
    a = earlier.sort_values("site_id", kind="stable").reset_index(drop=True)
    b = later.sort_values("site_id", kind="stable").reset_index(drop=True)
    i, j = _pairs(a, b)
    rows = [_pair(a.iloc[p], b.iloc[q]) for p, q in zip(i.tolist(), j.tolist(), strict=True)]
    rows += _alone(b, set(j.tolist()), looked_earlier, "b", "new", "only_newly_seen", "the earlier run")
    rows += _alone(a, set(i.tolist()), looked_later, "a", "gone", "not_looked_at_again", "the later run")
    columns = ["class", "site_id_a", "site_id_b", "it_mw_a", "it_mw_b", "ln_ratio", "limit", "reason", "geometry"]
    frame = pd.DataFrame(rows, columns=columns)
    order = pd.Categorical(frame["class"], CHANGE_CLASSES, ordered=True)
    keys = pd.DataFrame({"c": order, "a": frame["site_id_a"].fillna("~"), "b": frame["site_id_b"].fillna("~")})
    frame = frame.loc[keys.sort_values(["c", "b", "a"], kind="stable").index].reset_index(drop=True)
    return gpd.GeoDataFrame(frame, geometry="geometry", crs=WGS84)


def _pairs(a: gpd.GeoDataFrame, b: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of matched sites, one to one: the assignment of least total distance of outlines within `NEAR_M`."""
    none = np.zeros(0, int)
    if a.empty or b.empty:
        return none, none
    shape_a, shape_b = a.geometry.to_numpy(), b.geometry.to_numpy()
    middle_a, middle_b = centres(shape_a), centres(shape_b)
    reach = NEAR_M + _radius(shape_a, middle_a).max() + _radius(shape_b, middle_b)
    hits = cKDTree(on_sphere(middle_a, EARTH_RADIUS_M)).query_ball_point(
        on_sphere(middle_b, EARTH_RADIUS_M), 1.01 * reach, return_sorted=True
    )
    i = np.array([k for row in hits for k in row], int)
    j = np.repeat(np.arange(len(hits)), [len(row) for row in hits]).astype(int)
    if not len(i):
        return none, none
    left, right = (local_frame(s[k], middle_b[j, 0], middle_b[j, 1]) for s, k in ((shape_a, i), (shape_b, j)))
    away = shapely.distance(left, right)
    apart = shapely.distance(shapely.centroid(left), shapely.centroid(right))
    # own choice: outline distance first, then distance of centroids; positive for every pair within NEAR_M
    gain = np.where(away <= NEAR_M, 2.0 - away / NEAR_M - apart / (apart + 1000.0), -1.0)
    chosen = assign(i, j, gain)
    return i[chosen], j[chosen]


def _pair(a: pd.Series, b: pd.Series) -> dict[str, object]:
    """Return the row of a site seen in both runs."""
    low, high = float(a["it_mw_p50"]), float(b["it_mw_p50"])
    if math.isnan(low) or math.isnan(high):
        where = " and ".join(run for run, mw in (("the earlier", low), ("the later", high)) if math.isnan(mw))
        return {
            "class": "same", "site_id_a": a["site_id"], "site_id_b": b["site_id"], "it_mw_a": low, "it_mw_b": high,
            "ln_ratio": math.nan, "limit": math.nan, "reason": f"its power is unknown in {where} run: not compared",
            "geometry": b["geometry"],
        }  # fmt: skip
    ratio = math.log(max(high, 1e-6) / max(low, 1e-6))
    common = facts.ratio("common_error").ln_sd
    own = [math.sqrt(max(0.0, _sd(r) ** 2 - common**2)) for r in (a, b)]
    # both errors without the shared part; changes below 5% never count (own choice: outlines vary by that much)
    limit = max(SCORE_OF["p95"] * math.hypot(*own), 0.05)
    change = f"{low:.0f} to {high:.0f} MW of IT, a factor {math.exp(abs(ratio)):.2f}"
    if bool(a["on_border"]) or bool(b["on_border"]):
        klass, reason = "same", f"{change}; cut by the border of an image, so the powers are lower bounds"
    elif abs(ratio) > limit:
        klass, reason = ("grown" if ratio > 0 else "shrunk"), f"{change}, beyond {math.exp(limit):.2f} of the errors"
    else:
        klass, reason = "same", f"{change}, within {math.exp(limit):.2f} of the errors"
    return {
        "class": klass, "site_id_a": a["site_id"], "site_id_b": b["site_id"], "it_mw_a": low, "it_mw_b": high,
        "ln_ratio": ratio, "limit": limit, "reason": reason, "geometry": b["geometry"],
    }  # fmt: skip


def _alone(
    sites: gpd.GeoDataFrame, paired: set[int], looked: gpd.GeoDataFrame, side: str, klass: str, unseen: str, run: str
) -> list[dict[str, object]]:
    """Return the rows of sites without a partner.

    Args:
        sites: sites of one run.
        paired: row numbers of sites with a partner.
        looked: table `looked_at` of the other run.
        side: suffix of the columns of this run, 'a' or 'b'.
        klass: class if the other run observed the place.
        unseen: class if it did not.
        run: name of the other run, for the reason.
    """
    rest = [k for k in range(len(sites)) if k not in paired]
    if not rest:
        return []
    own = sites.iloc[rest]
    # position error of an observed outline: that of a rooftop, 30 m (docs/methods.md, section 6.1)
    shares = looked_shares(own.geometry.to_numpy(), np.full(len(own), 30.0), looked)
    out = []
    for (_, row), share in zip(own.iterrows(), shares, strict=True):
        p = float(row["p_data_center"])
        probable = p > float(row["prior"]) or p >= 0.5
        found, reason = klass, f"{run} looked at {share:.0%} of its place"
        if share < _LOOKED:
            found = unseen
        elif not probable:  # also where it is not stated
            found, reason = "improbable", f"{reason} and has no site there; probability of a data center {p:.2g}"
        out.append({
            "class": found, f"site_id_{side}": row["site_id"], f"it_mw_{side}": float(row["it_mw_p50"]),
            "reason": reason, "geometry": row["geometry"],
        })  # fmt: skip
    return out


def _sd(row: pd.Series) -> float:
    """Return the ln-sd of the IT power of a site from its p10 and p90, 2 x 1.2816 ln-sd apart."""
    return float(ln_sd_80(max(row["it_mw_p10"], 1e-6), max(row["it_mw_p90"], 1e-6)))


def _radius(shape: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Return the distance from the centre to the farthest corner of the bounding box, m, (n,)."""
    corners = np.abs(shapely.bounds(local_frame(shape, middle[:, 0], middle[:, 1])))
    return np.asarray(np.hypot(np.maximum(corners[:, 0], corners[:, 2]), np.maximum(corners[:, 1], corners[:, 3])))
