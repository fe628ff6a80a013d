"""Observed sites and declarations as arrays in canonical order: shapes, metres, power, dates, labels.

In: tables `sites`, `declared`, `looked_at`. Out: `Sites`, `Declared`. Later steps refer to records by row number, so
that a million of them need arrays and not objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import EARTH_RADIUS_M, centres, local_frame, local_xy, on_sphere
from overwatt.pipeline.coverage import ASSUMED, looked_shares
from overwatt.pipeline.quantiles import ln_sd_80
from overwatt.pipeline.reconcile.settings import MIN_MW, ReconcileSettings
from overwatt.pipeline.tables import iso_days
from overwatt.pipeline.vocabulary import NOT_SAID_TO_OPERATE, OTHER_USES, PLACELESS_KINDS

EARTH_KM = EARTH_RADIUS_M / 1e3
MAX_DENSITY_KM2 = 200.0  # five neighbours within 90 m; coincident points would make it infinite (own choice)
# of the density from the k-th neighbour, that of clustered points, 0.3 to 0.8 over IM3 and OpenStreetMap, complete or
# thinned (docs/decisions/0016)
_CLUSTERED = 0.6
_LABELS = ("name", "operator", "identifier", "zone", "plant_known")


@dataclass
class Shapes:
    """Geometries of a table, and the measures of them that the score needs.

    Attributes:
        shape: (n,) geometries, lon/lat.
        centre: (n, 2) degrees.
        hull_m2: (n,) area of the convex hull.
        edge_m: (n,) perimeter of the hull; of a line twice its length.
        radius_m: (n,) distance from the centre to the farthest corner of the bounding box, 0 for points.
        sphere: (n, 3) centres on a sphere, km, for neighbour searches.
    """

    shape: np.ndarray
    centre: np.ndarray
    hull_m2: np.ndarray
    edge_m: np.ndarray
    radius_m: np.ndarray
    sphere: np.ndarray

    def density_km2(
        self, rows: np.ndarray, settings: ReconcileSettings, weight: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the density of records around `rows`, per km2, from the k nearest, each of `weight` or 1."""
        out = np.full(len(rows), settings.min_density_km2)
        k = min(settings.neighbours, len(self.shape) - 1)
        if not k or not len(rows):
            return out
        used, back = np.unique(rows, return_inverse=True)
        away_km, near = cKDTree(self.sphere).query(self.sphere[used], k=np.arange(2, k + 2), workers=-1)
        count = k if weight is None else weight[near].sum(1)
        with np.errstate(divide="ignore"):
            # k neighbours in a disc of their distance, docs/methods.md, section 6.1
            density = np.minimum(_CLUSTERED * count / (np.pi * away_km[:, -1] ** 2), MAX_DENSITY_KM2)
        return np.asarray(settings.min_density_km2 + density[back])


@dataclass
class Sites:
    """Observed sites in order of site_id, one element per site.

    Attributes:
        id: site_id.
        at: geometries.
        p: probability that the site is a data center.
        prior: prior probability of that, NaN if not stated.
        it_mw: IT power, median, MW; NaN if it is not known.
        it_low: p10, MW.
        it_high: p90, MW.
        ln_sd: standard deviation of ln IT power.
        buildings: number of buildings.
        building_m2: their area, m2.
        cooling: number of cooling objects.
        cooling_m2: their area, m2.
        equipped: data-center buildings with cooling plant were seen; if the table does not state the plant, sites with
            p of 0.5 or more count as equipped.
        plant_known: the table states cooling equipment.
        on_border: the site is cut by the border of the imagery.
        date: date of the image, NaT if unknown.
        labels: name, operator, identifier, zone, as far as known.
    """

    id: np.ndarray
    at: Shapes
    p: np.ndarray
    prior: np.ndarray
    it_mw: np.ndarray
    it_low: np.ndarray
    it_high: np.ndarray
    ln_sd: np.ndarray
    buildings: np.ndarray
    building_m2: np.ndarray
    cooling: np.ndarray
    cooling_m2: np.ndarray
    equipped: np.ndarray
    plant_known: np.ndarray
    on_border: np.ndarray
    date: np.ndarray
    labels: pd.DataFrame

    def __len__(self) -> int:
        return len(self.id)

    @cached_property
    def probable(self) -> np.ndarray:
        """Whether the evidence speaks for a data center, (n,) bool, at whatever prior the site was judged."""
        # p above the prior: a likelihood ratio above 1; a comparison with a prior that is not stated is false
        return (self.p > self.prior) | (self.p >= 0.5)

    @cached_property
    def mw_background(self) -> tuple[float, float]:
        """Median and spread of ln MW over all sites."""
        return _background(self.it_mw, MIN_MW)

    @cached_property
    def area_background(self) -> tuple[float, float]:
        """Median and spread of ln m2 over all sites."""
        return _background(self.building_m2, 100.0)


@dataclass
class Declared:
    """Declared facilities in order of declared_id, one element per declaration.

    Attributes:
        id: declared_id.
        at: geometries.
        error_m: stated position error, 1 sigma, m.
        sigma_m: position error with that of the imagery, 1 sigma, m.
        it_mw: declared IT power, MW; from facility power if only that is stated; NaN if unknown.
        it_low: lower end of a declared range, MW; NaN if it is open or no range is declared.
        it_high: its upper end, likewise.
        ln_sd: standard deviation of ln declared power.
        outline_m2: area of the declared outline, m2; may be land.
        footprint_m2: declared footprint of the buildings, m2.
        looked: share of the place that was observed.
        assumed: the ground is only assumed to have been looked at.
        idle: the status does not say that the facility operates.
        kind: declared use.
        odd_use: the declared use contradicts a data center with cooling plant.
        status: declared status.
        since: first day of the status, NaT if unknown.
        until: last day of the status, NaT if unknown.
        zone: declared zone.
        labels: name, operator, declared_id.
    """

    id: np.ndarray
    at: Shapes
    error_m: np.ndarray
    sigma_m: np.ndarray
    it_mw: np.ndarray
    it_low: np.ndarray
    it_high: np.ndarray
    ln_sd: np.ndarray
    outline_m2: np.ndarray
    footprint_m2: np.ndarray
    looked: np.ndarray
    assumed: bool
    idle: np.ndarray
    kind: np.ndarray
    odd_use: np.ndarray
    status: np.ndarray
    since: np.ndarray
    until: np.ndarray
    zone: np.ndarray
    labels: pd.DataFrame

    def __len__(self) -> int:
        return len(self.id)


def sites_of(frame: gpd.GeoDataFrame, labels: pd.DataFrame | None = None) -> Sites:
    """Return the table `sites` as arrays, in order of site_id; `labels` as in `ledger.reconcile`."""
    frame = _in_order(frame, "site_id")
    own = pd.DataFrame(index=range(len(frame)))
    if labels is not None:
        given = labels.drop_duplicates("site_id").set_index("site_id").reindex(frame["site_id"])
        own = own.assign(**{k: given[k].to_numpy(object) for k in _LABELS if k in given})
    number = {c: frame[c].to_numpy(float) for c in ("p_data_center", "prior", "it_mw_p10", "it_mw_p50", "it_mw_p90",
              "buildings", "building_area_m2", "cooling_objects", "cooling_area_m2")}  # fmt: skip
    known = own.pop("plant_known").fillna(True).to_numpy(bool) if "plant_known" in own else np.ones(len(frame), bool)
    plant = (number["cooling_objects"] >= 1) | (~known & (number["p_data_center"] >= 0.5))
    low, high = (np.maximum(number[f"it_mw_{q}"], MIN_MW) for q in ("p10", "p90"))
    return Sites(
        id=frame["site_id"].to_numpy(object), at=shapes_of(frame), p=number["p_data_center"], prior=number["prior"],
        it_mw=number["it_mw_p50"], it_low=number["it_mw_p10"], it_high=number["it_mw_p90"],
        ln_sd=ln_sd_80(low, high), buildings=number["buildings"], building_m2=number["building_area_m2"],
        cooling=number["cooling_objects"], cooling_m2=number["cooling_area_m2"],
        equipped=plant & (number["buildings"] >= 1), plant_known=known,
        on_border=frame["on_border"].to_numpy(bool), date=_dates(frame, "image_date"), labels=own,
    )  # fmt: skip


def declared_of(frame: gpd.GeoDataFrame, looked_at: gpd.GeoDataFrame, settings: ReconcileSettings) -> Declared:
    """Return the facilities of the table `declared` as arrays, in order of declared_id.

    Chips, workloads and rows without a place are left out: they are never matched to a site.

    Raises:
        RegistryError: a declared_id occurs twice.
    """
    twice = frame["declared_id"][frame["declared_id"].duplicated()]
    if len(twice):
        raise RegistryError(
            f"declared_id '{twice.iloc[0]}' occurs twice: prefix the ids with the name of their registry"
        )
    shape = frame.geometry.to_numpy()
    placed = ~(shapely.is_missing(shape) | shapely.is_empty(shape))
    frame = _in_order(frame[placed & ~frame["kind"].isin(PLACELESS_KINDS).to_numpy(bool)], "declared_id")
    error_m = frame["position_error_m"].to_numpy(float)
    it, facility = (frame[c].to_numpy(float) for c in ("it_mw", "facility_mw"))
    from_facility = np.isnan(it)  # then IT power = facility power / facility_per_it, docs/methods.md, section 4.3
    low, high = (
        np.where(from_facility, frame[f"facility_mw_{end}"].to_numpy(float) / settings.facility_per_it,
                 frame[f"it_mw_{end}"].to_numpy(float))
        for end in ("low", "high")
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        # a power anywhere between two ends, uniform in ln: sd = width / sqrt(12)
        spread = np.nan_to_num(np.log(high / low) / np.sqrt(12.0))
    looked = looked_shares(frame.geometry.to_numpy(), error_m, looked_at)
    idle = frame["status"].isin(NOT_SAID_TO_OPERATE).to_numpy(bool)
    return Declared(
        id=frame["declared_id"].to_numpy(object), at=shapes_of(frame), error_m=error_m,
        sigma_m=np.hypot(error_m, settings.registration_m),
        it_mw=np.where(from_facility, facility / settings.facility_per_it, it),
        it_low=low, it_high=high,
        ln_sd=np.hypot(
            np.hypot(settings.declared_ln_sd, spread), np.where(from_facility, settings.facility_per_it_ln_sd, 0.0)
        ),
        outline_m2=frame["area_m2"].to_numpy(float), footprint_m2=frame["footprint_m2"].to_numpy(float),
        looked=looked, assumed=bool(looked_at["reason"].fillna("").str.startswith(ASSUMED).any()),
        idle=idle, kind=_words(frame, "kind"),
        odd_use=odd_use(_words(frame, "kind")),
        status=_words(frame, "status"), since=_dates(frame, "valid_from"), until=_dates(frame, "valid_to", end=True),
        zone=_words(frame, "zone"),
        labels=pd.DataFrame({k: _words(frame, k) for k in ("name", "operator", "declared_id")}),
    )  # fmt: skip


def shapes_of(frame: gpd.GeoDataFrame) -> Shapes:
    """Return hull, radius and centre of the geometries of a table."""
    shape = np.asarray(frame.geometry.to_numpy(), dtype=object)
    n = len(shape)
    if not n:
        none = np.zeros(0)
        return Shapes(shape, np.zeros((0, 2)), none, none, none, np.zeros((0, 3)))
    centre = centres(shape)
    area, edge, radius = (np.zeros(n) for _ in range(3))
    some = np.flatnonzero(shapely.get_type_id(shape) != 0)
    if len(some):
        hull = shapely.convex_hull(local_frame(shape[some], centre[some, 0], centre[some, 1]))
        corners = np.abs(shapely.bounds(hull))
        radius[some] = np.hypot(np.maximum(corners[:, 0], corners[:, 2]), np.maximum(corners[:, 1], corners[:, 3]))
        area[some] = shapely.area(hull)
        # GEOS gives a line its length once, its outline is twice that
        edge[some] = np.where(area[some] > 0, shapely.length(hull), 2.0 * shapely.length(hull))
    return Shapes(shape, centre, area, edge, radius, on_sphere(centre, EARTH_KM))


def distances_m(a: Shapes, i: np.ndarray, b: Shapes, j: np.ndarray) -> np.ndarray:
    """Return the distance between a[i] and b[j], edge to edge, m, (pair,); NaN where j < 0.

    Measured in a local plane around the centre of b[j].
    """
    out = np.full(len(i), np.nan)
    if not len(b.shape) or not len(i):
        return out
    x, y = local_xy(a.centre[i, 0], a.centre[i, 1], b.centre[j, 0], b.centre[j, 1])
    out = np.hypot(x, y)
    wide = np.flatnonzero((a.radius_m[i] > 0) | (b.radius_m[j] > 0))
    if len(wide):
        lon0, lat0 = b.centre[j[wide]].T
        out[wide] = shapely.distance(
            local_frame(a.shape[i[wide]], lon0, lat0), local_frame(b.shape[j[wide]], lon0, lat0)
        )
    return np.where(j >= 0, out, np.nan)


def overlaps(a: Shapes, i: np.ndarray, b: Shapes, j: np.ndarray, distance_m: np.ndarray) -> np.ndarray:
    """Return the shared area over the smaller area, (pair,); NaN if one side is a point, which gives no information."""
    out = np.full(len(i), np.nan)
    both = (a.hull_m2[i] > 0) & (b.hull_m2[j] > 0)
    out[both] = 0.0
    touching = np.flatnonzero(both & (distance_m <= 0))
    if len(touching):
        lon0, lat0 = b.centre[j[touching]].T
        one, other = (local_frame(k.shape[m[touching]], lon0, lat0) for k, m in ((a, i), (b, j)))
        shared = shapely.area(shapely.intersection(one, other))
        out[touching] = shared / np.maximum(np.minimum(shapely.area(one), shapely.area(other)), 1e-9)
    return out


def share_inside(a: Shapes, i: np.ndarray, b: Shapes, j: np.ndarray) -> np.ndarray:
    """Return the share of a[i] that lies within b[j], (pair,); 0 or 1 for a point."""
    lon0, lat0 = b.centre[j].T
    one, other = local_frame(a.shape[i], lon0, lat0), local_frame(b.shape[j], lon0, lat0)
    area = shapely.area(one)
    part = shapely.area(shapely.intersection(one, other)) / np.where(area > 0, area, 1.0)
    return np.where(area > 0, part, shapely.contains(other, one))


def _background(values: np.ndarray, least: float) -> tuple[float, float]:
    """Return median and spread of ln values over all sites.

    The spread is at least 0.8, own choice, wider than that of MW per building (docs/methods.md, section 0, number 6).
    """
    known = values[~np.isnan(values)]
    ln_all = np.log(np.maximum(known if len(known) else least, least))
    return float(np.median(ln_all)), max(0.8, float(np.std(ln_all)))


def odd_use(kinds: np.ndarray) -> np.ndarray:
    """Return whether a data center with cooling plant contradicts the declared use, (n,) bool.

    'storage' is contradicted, 'data storage' is not.
    """
    words = {k: frozenset(re.findall(r"[a-z]+", k.lower())) for k in set(kinds.tolist()) if isinstance(k, str)}
    odd = {k: bool(w & OTHER_USES) and not w & {"data", "server", "datacenter"} for k, w in words.items()}
    return np.array([odd.get(k, False) for k in kinds.tolist()], bool)


def _in_order(frame: gpd.GeoDataFrame, key: str) -> gpd.GeoDataFrame:
    if frame[key].is_monotonic_increasing:
        return frame
    return frame.iloc[np.argsort(frame[key].to_numpy(object), kind="stable")]


def _words(frame: pd.DataFrame, column: str) -> np.ndarray[Any, Any]:
    if column not in frame:
        return np.full(len(frame), None, object)
    values = frame[column].to_numpy(object)
    out = np.full(len(values), None, object)
    known = ~pd.isna(values)
    out[known] = values[known]
    return out


def _dates(frame: pd.DataFrame, column: str, end: bool = False) -> np.ndarray:
    """Return a column as days, NaT where there is no date or no such column; `end`: last day of a month or year."""
    return iso_days(frame[column], end=end) if column in frame else np.full(len(frame), np.datetime64("NaT", "D"))
