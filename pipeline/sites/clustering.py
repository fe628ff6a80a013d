"""From footprints to sites: campuses of data-center buildings with the cooling equipment near them.

In: table `footprints`. Out: the columns of table `sites` that do not depend on power, and the site
of each footprint. Data-center buildings within `reach_m` of one another form one site; equipment
belongs to the nearest building within `reach_m`. Equipment without such a building forms no site:
at 2 m, generators, condensers and stacked containers look alike.

`p_data_center` is the calibrated probability of the site's most probable building, moved from the
prevalence of the calibration data to the prior of the area (Bayes' rule on odds). The union over
buildings is not used, because the errors on buildings of one campus are not independent; what further
buildings and equipment add was measured for the weights and is on their card (`site_evidence`).
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import DEGREE_LATITUDE_M, GEOD, WGS84
from overwatt.models.detector.calibration import logit
from overwatt.models.detector.card import Calibration, SiteEvidence

PLANT_M2 = 30.0
"""Smaller machines belong to no site: about two chillers of 2.4 x 6 m (own choice, as `DetectSettings`)."""
PAIRS = 20_000
"""Pairs whose distance is computed at once; own choice, to bound the copies of outlines."""


def p_data_center(score: np.ndarray, calibration: Calibration, prior: float) -> np.ndarray:
    """Return the probability that objects are data centers, at the prior of the area, (n,) float64.

    log-odds = a + b logit(score) - logit(prevalence) + logit(prior), Bayes' rule for a change of
    prevalence with the likelihood ratio kept (Saerens et al. 2002).

    Args:
        score: (n,) data-center score of the object, 0..1.
        calibration: coefficients from the model card.
        prior: share of large roofs in the area that are data centers.

    Raises:
        ConfigError: the prior is not between 0 and 1.
    """
    if not 0 < prior < 1:
        raise ConfigError(f"prior {prior:g}: a share strictly between 0 and 1 (3 in 1,000 is 0.003)")

    prior_odds = float(np.log(prior / (1 - prior)))
    z = calibration.a + calibration.b * logit(score) - logit(calibration.prevalence) + prior_odds
    return 1 / (1 + np.exp(-z))


def site_ratio(buildings: int, cooling_objects: int, evidence: SiteEvidence) -> float:
    """Return the likelihood ratio of the counts of a site beyond its most probable building (docs/methods.md)."""
    counts = float(buildings) ** evidence.per_building * (1.0 + cooling_objects) ** evidence.per_equipment
    return counts / evidence.ordinary


def cluster_sites(
    footprints: gpd.GeoDataFrame,
    *,
    reach_m: float,
    calibration: Calibration,
    prior: float,
    calibration_thermal: Calibration | None = None,
    evidence: SiteEvidence | None = None,
) -> tuple[gpd.GeoDataFrame, pd.Series]:
    """Group footprints into sites.

    Args:
        footprints: table `footprints` with WGS84 geometries.
        reach_m: buildings and equipment at most this far apart, outline to outline, belong together.
        calibration: of the weights that made the scores.
        prior: share of large roofs in the area that are data centers.
        calibration_thermal: of the same weights, for footprints with `used_thermal`; None: as for the others.
        evidence: of the same weights, what the counts of a whole site say; None: nothing.

    Returns:
        sites: one row per site, WGS84, sorted by site_id: site_id, p_data_center, prior, lon, lat,
            buildings, building_area_m2, cooling_objects, cooling_area_m2, cooling_units (NA: none counted),
            on_border, used_thermal, geometry.
        site of each footprint: Series of site_id (NA for none), indexed like `footprints`.
    """
    klass = footprints["class"].to_numpy()
    centers = np.flatnonzero(klass == "data_center")
    # packaged units and single machines stand on every shop: they are no evidence of a data center's cooling
    packaged = (footprints["kind"] == "rooftop_unit").fillna(False).to_numpy(bool)
    plant = footprints["area_m2"].to_numpy() >= PLANT_M2
    coolers = np.flatnonzero((klass == "cooling_equipment") & plant & ~packaged)
    member = pd.Series(pd.NA, index=footprints.index, dtype="string")
    if not len(centers):
        return _frame([]), member
    geometry = np.asarray(footprints.geometry, dtype=object)
    left, right, _ = within(geometry[centers], geometry[centers], reach_m)
    links = coo_array((np.ones(len(left)), (left, right)), shape=(len(centers), len(centers)))
    # single linkage: a chain of buildings within reach is one campus (docs/methods.md, section 6.1)
    _, group = connected_components(links, directed=False)
    groups: dict[int, list[int]] = {}
    for at, g in zip(centers, group, strict=True):
        groups.setdefault(int(g), []).append(int(at))
    equipment: dict[int, list[int]] = {}
    near_left, near_right, distance = within(geometry[coolers], geometry[centers], reach_m)
    # of each cooler the nearest building; of equally near ones the first
    order = np.lexsort((near_right, distance, near_left))
    for i in order[np.unique(near_left[order], return_index=True)[1]]:
        equipment.setdefault(int(group[near_right[i]]), []).append(int(coolers[near_left[i]]))

    area = footprints["area_m2"].to_numpy()
    score = footprints["score"].to_numpy()
    units = footprints["units"].fillna(0).to_numpy(int)
    heat = footprints["used_thermal"].to_numpy(bool)
    border = footprints["on_border"].to_numpy(bool)
    p = np.where(
        heat,
        p_data_center(score, calibration_thermal or calibration, prior),
        p_data_center(score, calibration, prior),
    )
    rows: list[dict[str, object]] = []
    site_of = np.full(len(footprints), "", dtype=object)
    used: dict[str, int] = {}
    # the anchor of a site is its largest building: its name survives changes of the smaller ones
    places = {g: _place(geometry[max(b, key=lambda i: (area[i], -i))]) for g, b in groups.items()}
    for g in sorted(groups, key=lambda g: places[g]):
        buildings, cooling = groups[g], equipment.get(g, [])
        lon, lat = places[g]
        name = f"{'N' if lat >= 0 else 'S'}{abs(lat):07.4f}{'E' if lon >= 0 else 'W'}{abs(lon):08.4f}"
        used[name] = used.get(name, 0) + 1
        sure = float(p[buildings].max())
        if evidence is not None:  # Bayes' rule on odds
            ratio = site_ratio(len(buildings), len(cooling), evidence)
            sure = sure * ratio / (sure * ratio + 1.0 - sure)
        site_id = name if used[name] == 1 else f"{name}-{used[name]}"
        site_of[buildings + cooling] = site_id
        rows.append(
            {
                "site_id": site_id,
                "p_data_center": sure,
                "prior": prior,
                "lon": lon,
                "lat": lat,
                "buildings": len(buildings),
                "building_area_m2": float(area[buildings].sum()),
                "cooling_objects": len(cooling),
                "cooling_area_m2": float(area[cooling].sum()),
                "cooling_units": int(units[cooling].sum()) or None,
                "on_border": bool(border[buildings].any()),
                "used_thermal": bool(heat[buildings].any()),
                "geometry": shapely.union_all(geometry[buildings + cooling]),
            }
        )
    return _frame(rows).sort_values("site_id", ignore_index=True), member.where(site_of == "", site_of)


def _frame(rows: list[dict[str, object]]) -> gpd.GeoDataFrame:
    names = [
        *("site_id", "p_data_center", "prior", "lon", "lat", "buildings", "building_area_m2"),
        *("cooling_objects", "cooling_area_m2", "cooling_units", "on_border", "used_thermal", "geometry"),
    ]
    frame = pd.DataFrame(rows, columns=names).astype({"cooling_units": "Int64"})
    return gpd.GeoDataFrame(frame, geometry="geometry", crs=WGS84)


def _place(polygon: shapely.Geometry) -> tuple[float, float]:
    """Centroid rounded to 4 decimals of a degree (about 10 m), so that a site keeps its name in a rerun."""
    centre = polygon.centroid
    return round(centre.x, 4), round(centre.y, 4)


def within(a: np.ndarray, b: np.ndarray, reach_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (i of a, j of b) of WGS84 geometries at most `reach_m` apart, and their distances in metres.

    Candidates come from bounding boxes; the nearest points from a local equirectangular frame, good to
    0.1% over the few hundred metres that matter. Also works across the antimeridian, for geometries
    that do not cross it themselves.
    """
    none = np.empty(0, int)
    if not len(a) or not len(b):
        return none, none, np.empty(0)
    bounds = shapely.bounds(a)
    dy = reach_m / DEGREE_LATITUDE_M
    # a degree of longitude shrinks with the cosine of latitude; 0.01 keeps the box finite at the poles
    dx = dy / np.maximum(np.cos(np.radians(np.abs(bounds[:, [1, 3]]).max(1))), 0.01)
    grown = shapely.box(bounds[:, 0] - dx, bounds[:, 1] - dy, bounds[:, 2] + dx, bounds[:, 3] + dy)
    tree = shapely.STRtree(b)
    left, right = tree.query(grown, predicate="intersects")
    turn = np.zeros(len(left))  # degrees by which a geometry is moved to meet those beyond 180
    for at, degrees in ((bounds[:, 0] - dx < -180, 360.0), (bounds[:, 2] + dx > 180, -360.0)):
        if at.any():
            beyond = shapely.transform(grown[at], lambda xy, d=degrees: xy + (d, 0.0))
            i, j = tree.query(beyond, predicate="intersects")
            left, right = np.append(left, np.flatnonzero(at)[i]), np.append(right, j)
            turn = np.append(turn, np.full(len(i), degrees))
    keep, distances = [], []
    for start in range(0, len(left), PAIRS):
        i, j, shift = (v[start : start + PAIRS] for v in (left, right, turn))
        # local frame of each pair: longitudes times the cosine of latitude
        scale = np.stack([np.cos(np.radians((bounds[i, 1] + bounds[i, 3]) / 2)), np.ones(len(i))], axis=1)
        line = shapely.shortest_line(_framed(a[i], scale, shift), _framed(b[j], scale, np.zeros(len(j))))
        ends = shapely.get_coordinates(line).reshape(-1, 2, 2) / scale[:, None]
        metres = GEOD.inv(*ends[:, 0].T, *ends[:, 1].T)[2]
        near = np.flatnonzero(metres <= reach_m)
        keep.append(start + near)
        distances.append(metres[near])
    if not keep:
        return none, none, np.empty(0)
    kept = np.concatenate(keep)
    return left[kept], right[kept], np.concatenate(distances)


def _framed(shapes: np.ndarray, scale: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return each geometry moved east by its `turn`, degrees, and scaled by its row of `scale`."""
    xy, owner = shapely.get_coordinates(shapes, return_index=True)
    xy[:, 0] += turn[owner]
    return shapely.set_coordinates(shapely.force_2d(shapes), xy * scale[owner])
