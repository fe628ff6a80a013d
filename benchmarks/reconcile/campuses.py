"""Campuses that one side lists as a whole and the other in parts, planted among all other facilities.

IM3's buildings; those of one operator within 300 m are a campus. `whole`: every building is observed, and a campus is
declared as one point near its middle with the sum of the power. `parts`: a campus is observed as one site, and every
building is declared. 10% of the sites are not detected, 10% of the declarations are left out. Power is simulated.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from benchmarks.reconcile.missing import mean_p
from benchmarks.reconcile.planted import ERROR_M
from overwatt.aoi.geodesy import DEGREE_EQUATOR_M, EARTH_RADIUS_M, centres, on_sphere
from overwatt.pipeline.coverage import assumed_looked_at
from overwatt.pipeline.reconcile import ledger as reconcile
from overwatt.pipeline.reconcile.observed_sites import sites_from_rows
from overwatt.pipeline.tables import conform

_CAMPUS_M, _LACKING, _REPEATS = 300.0, 0.1, 2


def measure(buildings: gpd.GeoDataFrame, seed: int) -> dict[str, Any]:
    """Return, by direction, power declared or not and coordinates, how probable the ledger calls true campus pairs.

    `p_match` is the mean over declarations of detected campuses, 0 where the ledger has no right pair; `stated` has the
    mean p_match of all pairs of these declarations and the share that is right.
    """
    campus = _campuses(buildings)
    size = np.bincount(campus)[campus]
    out = {}
    for whole in (True, False):
        for with_mw in (True, False):
            for coordinates in ("rooftop", "parcel"):
                p, stated, right = [], [], []
                for k in range(_REPEATS):
                    rng = np.random.default_rng((seed + k, whole))
                    sites, declared = _tables(buildings, campus, rng, ERROR_M[coordinates], whole, with_mw)
                    pairs = reconcile.reconcile(sites, declared, assumed_looked_at(sites))
                    pairs = pairs.dropna(subset=["site_id", "declared_id"])
                    # ids end in the number of the campus
                    place, told = (pairs[c].str.rpartition("-")[2].astype(int) for c in ("site_id", "declared_id"))
                    big = set(campus[size > 1])
                    own = pairs.assign(p=pairs["p_match"].astype(float), right=place == told)[told.isin(big)]
                    best = own[own["right"]].groupby("declared_id")["p"].max()
                    seen = set(sites["site_id"].str.rpartition("-")[2].astype(int)) & big
                    asked = [d for d in declared["declared_id"] if int(d.rpartition("-")[2]) in seen]
                    p += [float(best.get(d, 0.0)) for d in asked]
                    stated += own["p"].tolist()
                    right += own["right"].tolist()
                name = f"{'whole' if whole else 'parts'}/{'power' if with_mw else 'no power'}/{coordinates}"
                out[name] = {
                    "declarations": len(p), "p_match": round(float(np.mean(p)), 3),
                    "stated": mean_p(np.array(stated), np.array(right, bool)),
                }  # fmt: skip
    return out


def _campuses(buildings: gpd.GeoDataFrame) -> np.ndarray:
    """Return the number of the campus of each building, (building,)."""
    at = on_sphere(centres(buildings.geometry.to_numpy()), EARTH_RADIUS_M / 1e3)
    a, b = cKDTree(at).query_pairs(_CAMPUS_M / 1e3, output_type="ndarray").T
    operator = buildings["operator"].fillna("").to_numpy(object)
    one = (operator[a] == operator[b]) & (operator[a] != "")
    graph = coo_array((np.ones(int(one.sum())), (a[one], b[one])), shape=(len(at), len(at)))
    return np.asarray(connected_components(graph, directed=False)[1])


def _tables(
    buildings: gpd.GeoDataFrame,
    campus: np.ndarray,
    rng: np.random.Generator,
    error_m: float,
    whole: bool,
    with_mw: bool,
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Return sites and declarations; one of them in campuses, the other in buildings."""
    groups = buildings.groupby(campus)
    together = gpd.GeoDataFrame(
        {"it_mw": groups["it_mw"].sum(), "area_m2": groups["area_m2"].sum(), "operator": groups["operator"].first()},
        geometry=[shapely.union_all(list(g)).convex_hull for _, g in groups.geometry],
        crs=buildings.crs,
    )
    apart = buildings.assign(campus=campus)
    together = together.assign(campus=together.index)
    seen, told = (apart, together) if whole else (together, apart)
    seen = seen[rng.random(len(seen)) >= _LACKING].reset_index(drop=True)
    told = told[rng.random(len(told)) >= _LACKING].reset_index(drop=True)
    sites = sites_from_rows(pd.DataFrame({
        "site_id": [f"S{k}-{c}" for k, c in enumerate(seen["campus"])], "geometry": seen.geometry,
        "mid": seen["it_mw"] * np.exp(0.3 * rng.standard_normal(len(seen))), "spread": 0.3, "p": 0.95,
        "area": seen["area_m2"], "cooling": 3, "cooling_m2": 100.0,
    }))  # fmt: skip
    lon, lat = centres(told.geometry.to_numpy()).T
    # normal, error / 1.4 per axis: the radial rms is the stated error
    x, y = rng.normal(0.0, error_m / 1.4, (2, len(told))) / DEGREE_EQUATOR_M
    declared = pd.DataFrame({
        "declared_id": [f"D{k}-{c}" for k, c in enumerate(told["campus"])], "position_error_m": error_m,
        "kind": "facility", "status": "operational", "source": "planted", "operator": told["operator"],
        "it_mw": told["it_mw"] * np.exp(rng.normal(0, 0.1, len(told))) if with_mw else np.nan,
        "geometry": shapely.points(lon + x / np.cos(np.radians(lat)), lat + y),
    })  # fmt: skip
    return sites, conform(gpd.GeoDataFrame(declared, geometry="geometry", crs="OGC:CRS84"), "declared")
