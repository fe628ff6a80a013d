"""Planted edits: a real registry, copied with noise as observed sites, and with edits as declarations.

The truth is known for each row: which declaration is which site, and which edit was made. Two families of noise:
'tuned', with the distributions that the matching assumes, and 'other', with different distributions and rates (Laplace
position errors, Student t size errors, more missed and false sites); both were seen while constants were chosen
(docs/decisions/0016).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from shapely.affinity import translate

from overwatt.aoi.geodesy import DEGREE_EQUATOR_M, EARTH_RADIUS_M, centres, local_frame, on_sphere
from overwatt.pipeline.coverage import assumed_looked_at
from overwatt.pipeline.reconcile.observed_sites import sites_from_rows
from overwatt.pipeline.tables import conform
from overwatt.workflows.io import registries

EDITS = ("delete", "move", "halve", "triple", "relabel", "split", "vague", "rename")
EXPECTED = {
    "delete": "undeclared", "move": "position_mismatch", "triple": "below_declared", "halve": "above_declared",
    "relabel": "type_mismatch",
}  # fmt: skip
ERROR_M = {"rooftop": 30.0, "parcel": 200.0, "postcode": 1500.0, "city": 8000.0}
REACH_M = 60.0
"""Buildings within this distance form one site: the default of the workflows."""


@dataclass(frozen=True)
class Case:
    """One test case: tables, labels of the sites, and the truth.

    Attributes:
        sites: table `sites`.
        labels: site_id, name, operator.
        declared: table `declared`.
        looked_at: table `looked_at`.
        partner: declared_id -> site_id, '' if the site was not detected.
        edit: declared_id or site_id -> edit.
        false: site_ids of false detections.
    """

    sites: gpd.GeoDataFrame
    labels: pd.DataFrame
    declared: gpd.GeoDataFrame
    looked_at: gpd.GeoDataFrame
    partner: dict[str, str]
    edit: dict[str, str]
    false: frozenset[str]


def base(folder: Path, registry_name: str = "im3", reach_m: float = REACH_M) -> gpd.GeoDataFrame:
    """Return a real registry with neighbours within `reach_m` merged to one site, as the pipeline does.

    Power is simulated, because neither registry states it. For IM3 it follows from the footprint; OpenStreetMap rows
    are points without a size, so their area is drawn at random.

    Args:
        folder: folder of the registry files.
        registry_name: 'im3' or 'osm'.
        reach_m: outlines within this distance are one site; 0 keeps all buildings separate.
    """
    rng = np.random.default_rng(5)
    if registry_name == "osm":
        found = registries.read(folder / "osm_world_overpass.json", aside=[])
        found = found[found["status"] == "operational"].reset_index(drop=True)
        found["area_m2"] = np.exp(rng.normal(np.log(8000), 0.8, len(found)))
    else:
        found = registries.read(folder / "im3_footprints.geojson")
        found = found[(found.geometry.geom_type != "Point") & (found["area_m2"] >= 1500)].reset_index(drop=True)
    # 1.5 kW facility power per m2, ln-sd 0.6, divided by a facility / IT ratio of 1.3 (own choices)
    found["it_mw"] = found["area_m2"] / 1000.0 * 1.5 * np.exp(0.6 * rng.standard_normal(len(found))) / 1.3
    return _campuses(found, reach_m) if reach_m else found


def _campuses(found: gpd.GeoDataFrame, reach_m: float) -> gpd.GeoDataFrame:
    middle = centres(found.geometry.to_numpy())
    # candidates: centres within 2 km plus the distance; then exact distances in a local plane
    a, b = cKDTree(on_sphere(middle, EARTH_RADIUS_M / 1e3)).query_pairs(2.0 + reach_m / 1e3, output_type="ndarray").T
    shape = found.geometry.to_numpy()
    near = shapely.distance(local_frame(shape[a], *middle[a].T), local_frame(shape[b], *middle[a].T)) <= reach_m
    graph = coo_array((np.ones(int(near.sum())), (a[near], b[near])), shape=(len(found), len(found)))
    group = connected_components(graph, directed=False)[1]
    first = found.groupby(group)[["name", "operator"]].first()
    sums = found.groupby(group)[["it_mw", "area_m2"]].sum()
    joined = [shapely.union_all(shape[rows]) for rows in found.groupby(group).indices.values()]
    joined = [g.convex_hull if g.geom_type == "MultiPoint" else g for g in joined]
    return gpd.GeoDataFrame(pd.concat([first, sums], axis=1), geometry=joined, crs=found.crs)


def plant(
    truth: gpd.GeoDataFrame, *, family: str, coordinates: str, seed: int, share: float = 0.05, names: float = 0.0,
    footprints: bool = True, missing: float | None = None,
) -> Case:  # fmt: skip
    """Return a test case.

    Args:
        truth: result of `base`.
        family: 'tuned' or 'other'.
        coordinates: class of the declared coordinates, a key of `ERROR_M`.
        seed: seed of all random numbers.
        share: share of the rows on which each edit is made.
        names: share of sites with known name and operator (imagery shows none).
        footprints: whether declarations state the footprint of their buildings, as IM3 does.
        missing: share of the rows that are not detected, and share that are not declared; None: that of the family.
    """
    rng = np.random.default_rng((seed, 1 if family == "tuned" else 2))
    other = family == "other"
    n = len(truth)
    missed = rng.random(n) < ((0.10 if other else 0.05) if missing is None else missing)
    kinds = np.array(["", *EDITS], object)
    edit = rng.choice(kinds, n, p=[1 - share * len(EDITS), *([share] * len(EDITS))])
    if missing is not None:
        edit = np.where(edit == "delete", "", edit)
        edit = np.where(rng.random(n) < missing, "delete", edit)
    # observed
    jitter = 15.0 if other else 8.0
    off = rng.laplace(0, jitter / 1.4, (n, 2)) if other else rng.normal(0, jitter / 1.4, (n, 2))
    size = 0.3 * (rng.standard_t(4, n) / np.sqrt(2) if other else rng.standard_normal(n))
    mid = centres(truth.geometry.to_numpy())
    seen = [
        translate(g, dx / (DEGREE_EQUATOR_M * np.cos(np.radians(lat))), dy / DEGREE_EQUATOR_M)
        for g, (dx, dy), (_, lat) in zip(truth.geometry, off, mid, strict=True)
    ]
    mw = truth["it_mw"].to_numpy(float) * np.exp(size)
    area = truth["area_m2"].to_numpy(float) * np.exp(
        0.3 * (rng.standard_t(4, n) / np.sqrt(2) if other else rng.standard_normal(n))
    )
    known = rng.random(n) < names
    # of the table once, not of each row
    title, operators, stated_mw, stated_m2, outline = (
        truth[c].to_numpy() for c in ("name", "operator", "it_mw", "area_m2", "geometry")
    )
    rows = [
        {"site_id": f"S{k}", "geometry": seen[k], "mid": mw[k], "spread": 0.3, "p": 0.95, "area": area[k],
         "cooling": 3, "cooling_m2": 100.0, "name": title[k] if known[k] else None,
         "operator": operators[k] if known[k] else None, "identifier": None}
        for k in range(n) if not missed[k]
    ]  # fmt: skip
    extra = int(n * (0.08 if other else 0.04))
    at = rng.integers(n, size=extra)
    for k, i in enumerate(at):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(500, 5000)
        dx, dy = away * np.cos(angle), away * np.sin(angle)
        shape = translate(outline[i], dx / (DEGREE_EQUATOR_M * np.cos(np.radians(mid[i, 1]))), dy / DEGREE_EQUATOR_M)
        rows.append({**rows[0], "site_id": f"F{k}", "geometry": shape, "mid": float(rng.choice(mw)),
                     "area": float(rng.choice(area)), "p": float(rng.uniform(0.3, 0.9)), "name": None,
                     "operator": None})  # fmt: skip
    frame = pd.DataFrame(rows)
    # declared
    sigma = ERROR_M[coordinates]
    out, partner, edits = [], {}, {}
    for k in range(n):
        site = "" if missed[k] else f"S{k}"
        if edit[k] == "delete":
            if site:
                edits[site] = "delete"
            continue
        scale = {"halve": 0.5, "triple": 3.0}.get(str(edit[k]), 1.0) * np.exp(rng.normal(0, 0.1))
        error = ERROR_M["city"] if edit[k] == "vague" else sigma
        # normal, error / 1.4 per axis: the radial rms is the stated error; Laplace errors are about 1.2 times as wide
        spread = rng.laplace(0, error / 1.7, 2) if other else rng.normal(0, error / 1.4, 2)
        if edit[k] == "move":
            angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(1500, 4500)
            spread = spread + away * np.array([np.cos(angle), np.sin(angle)])
        lon = mid[k, 0] + spread[0] / (DEGREE_EQUATOR_M * np.cos(np.radians(mid[k, 1])))
        lat = mid[k, 1] + spread[1] / DEGREE_EQUATOR_M
        operator = operators[k]
        row = {
            "declared_id": f"D{k}", "position_error_m": error, "name": title[k],
            "operator": "Holding 7 LLC" if edit[k] == "rename" else operator,
            "kind": "warehouse" if edit[k] == "relabel" else "facility",
            "it_mw": float(stated_mw[k] * scale), "facility_mw": None, "area_m2": None,
            "footprint_m2": float(stated_m2[k] * np.exp(rng.normal(0, 0.05))) if footprints else None,
            "status": "operational", "valid_from": None, "valid_to": None, "source": "planted", "licence": None,
            "looked_at": None, "geometry": shapely.Point(lon, lat),
        }  # fmt: skip
        if edit[k] == "split":
            for part in (1, 2):
                shift = rng.normal(0, 20.0, 2) / DEGREE_EQUATOR_M
                half = {**row, "declared_id": f"D{k}-{part}", "it_mw": row["it_mw"] / 2,
                        "footprint_m2": row["footprint_m2"] / 2 if footprints else None,
                        "geometry": shapely.Point(lon + shift[0], lat + shift[1])}  # fmt: skip
                out.append(half)
                partner[f"D{k}-{part}"], edits[f"D{k}-{part}"] = site, "split"
            continue
        out.append(row)
        partner[f"D{k}"] = site
        if edit[k]:
            edits[f"D{k}"] = str(edit[k])
    declared = conform(gpd.GeoDataFrame(out, geometry="geometry", crs="OGC:CRS84"), "declared")
    sites = sites_from_rows(frame)
    false = frozenset(frame["site_id"][frame["site_id"].str.startswith("F")])
    labels = frame[["site_id", "name", "operator"]]
    return Case(sites, labels, declared, assumed_looked_at(sites), partner, edits, false)
