"""The registries as a user would give them: one as a table of observed sites, the other as declarations.

In: the folder of the registry files. Out: for each comparison the two files, and which records are one facility.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.questions import truth
from overwatt.aoi.geodesy import DEGREE_EQUATOR_M, centres
from overwatt.workflows.io import registries

IM3, OSM, EPA = "im3_footprints.geojson", "osm_world_overpass.json", "epa_echo_naics_518210.json"
EPOCH = "epoch_site_coordinates.csv"
FILES = (IM3, OSM, EPA, EPOCH, "epoch_data_centers.csv")
JOIN_M = 60.0
"""Buildings within this distance form one site: the default of the workflows."""
LEAST_M2 = 1500.0
"""Smaller buildings are left out, as the detector leaves them out."""
_REACH_M = 5_000.0  # a permit's or a street's coordinate; farther ones are paired by a code in common only
_MERCATOR = 3857


@dataclass(frozen=True)
class Comparison:
    """Two files on the same facilities.

    Attributes:
        name: of the comparison.
        observed: file of observed sites.
        declared: registry file.
        partner: declared_id -> ids of its sites; only facilities that both registries have.
    """

    name: str
    observed: Path
    declared: Path
    partner: dict[str, frozenset[str]]


def comparisons(folder: Path, work: Path, seed: int) -> Iterator[Comparison]:
    """Yield the comparisons of the registries that `folder` holds; files made for them go to `work`."""
    have = {name for name in (IM3, OSM, EPA, EPOCH) if (folder / name).is_file()}
    read = {name: _labelled(registries.read(folder / name, aside=[])) for name in have - {IM3}}
    observed = {}
    if IM3 in have:
        observed[IM3] = buildings(folder / IM3)
    if OSM in have:
        found = read[OSM]
        observed[OSM] = found[found["status"] == "operational"].reset_index(drop=True)
    for site_file, registry in ((IM3, EPA), (OSM, EPOCH), (IM3, EPOCH)):
        if {site_file, registry} <= have:
            declared = read[registry]
            # 3 sigma of the stated precision; a vaguer place than a street finds no sure partner by place alone
            reach = np.clip(3.0 * declared["position_error_m"].to_numpy(float), 2_000.0, 3 * _REACH_M)
            reach = np.minimum(reach, _REACH_M) if registry == EPA else reach
            name = f"{site_file.partition('_')[0]}_{registry.partition('_')[0]}"
            yield Comparison(
                name, written(work / f"{name}.geojson", observed[site_file]), folder / registry,
                truth.pairs(observed[site_file], declared, reach),
            )  # fmt: skip
    if IM3 in have:
        other = copied(observed[IM3], seed)
        yield Comparison(
            "im3_copy", written(work / "im3.geojson", observed[IM3]), written(work / "copy.geojson", other),
            {f"copy-{name}": frozenset({name}) for name in observed[IM3]["id"]},
        )  # fmt: skip


def buildings(path: Path) -> gpd.GeoDataFrame:
    """Return the buildings of IM3 as sites: id, name, operator, zone, building_area_m2, buildings, geometry.

    Land and points are left out.
    """
    found = gpd.read_file(path)
    found = found[(found["type"] == "building") & (found["sqft"].astype(float) * 0.09290304 >= LEAST_M2)]
    found = found.reset_index(drop=True)
    shape = found.geometry.to_crs(_MERCATOR).to_numpy()
    # Mercator stretches lengths by 1 / cos(latitude)
    reach = JOIN_M / np.cos(np.radians(centres(found.geometry.to_numpy())[:, 1]))
    a, b = shapely.STRtree(shape).query(shape, predicate="dwithin", distance=reach)
    group = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(len(found),) * 2), directed=False)[1]
    rows = found.groupby(group)
    return gpd.GeoDataFrame(
        {
            "name": rows["name"].first(), "operator": rows["operator"].first(),
            "building_area_m2": rows["sqft"].sum() * 0.09290304, "buildings": rows.size(),
            "id": [f"IM3-{k}" for k in range(len(rows))], "zone": "US-" + rows["state_abb"].first(),
        },
        geometry=[shapely.union_all(found.geometry.to_numpy()[k]) for k in rows.indices.values()], crs=4326,
    )  # fmt: skip


def copied(sites: gpd.GeoDataFrame, seed: int) -> gpd.GeoDataFrame:
    """Return sites as another registry would list them: points near them, other spellings, and power for half.

    Power is simulated, not with the power model: 1.10 kW/m2 of average draw, which is the 192 TWh of the United States
    in 2024 (LBNL) over all mapped footprints (Helios, us-data-center-observatory), over a load factor of 0.73 and a
    facility ratio of 1.3; ln-sd 0.6 is an own choice.
    """
    rng = np.random.default_rng(seed)
    n = len(sites)
    middle = centres(sites.geometry.to_numpy())
    sigma = rng.choice([15.0, 60.0, 200.0], n, p=[0.5, 0.3, 0.2])
    off = rng.laplace(0.0, sigma / 2.0, (2, n)) / DEGREE_EQUATOR_M
    lon, lat = middle[:, 0] + off[0] / np.cos(np.radians(middle[:, 1])), middle[:, 1] + off[1]
    name = sites["name"].where(rng.random(n) < 0.8)
    name = name.where(rng.random(n) < 0.7, name.str.upper() + " DATA CENTER")
    operator = sites["operator"].where(rng.random(n) < 0.8)
    operator = operator.where(rng.random(n) < 0.7, operator + ", LLC")
    mw = sites["building_area_m2"] * 1.5e-3 / 1.3 * np.exp(0.6 * rng.standard_normal(n))
    return gpd.GeoDataFrame(
        {
            "id": "copy-" + sites["id"], "name": name, "operator": operator, "zone": sites["zone"],
            "it_mw": mw.where(rng.random(n) < 0.5).round(1),
            "status": rng.choice(["Operational", "In operation", "active", "Expanding", ""], n),
        },
        geometry=gpd.points_from_xy(lon.round(5), lat.round(5)), crs=4326,
    )  # fmt: skip


def written(path: Path, sites: gpd.GeoDataFrame) -> Path:
    """Write a table as GeoJSON with the columns that a table of observed sites may have, and return its path."""
    kept = [c for c in ("id", "name", "operator", "zone", "building_area_m2", "buildings", "it_mw", "status")
            if c in sites]  # fmt: skip
    gpd.GeoDataFrame(sites[kept], geometry=sites.geometry.to_numpy(), crs=4326).to_file(path, driver="GeoJSON")
    return path


def _labelled(declared: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    out = declared[~declared.geometry.is_empty].reset_index(drop=True)
    return out.assign(id=out["declared_id"].to_numpy(object), **{c: _objects(out[c]) for c in ("name", "operator")})


def _objects(column: pd.Series) -> np.ndarray:
    return column.astype(object).where(column.notna(), None).to_numpy(object)
