"""Observed sites against declared facilities: who is who, and what does not agree.

In: tables `sites`, `declared`, `looked_at`. Out: table `ledger`, one row per matched pair,
per unmatched site that is probably a data center, and per unmatched declaration whose place
was looked at. Declarations whose place was not looked at get no row (`not_looked_at`).

Why this way. Nearest-neighbour matching fails in both places that matter: in a dense district
it invents agreements, in the open it turns one wrong coordinate into a hidden site and a ghost.
So each pair gets a log-odds `gain` of "the same facility" over "unrelated site, missed
declaration" (Fellegi-Sunter with a spatial Poisson background, domain 6.1):

    gain = ln p(distance) - ln(site density) + ln LR(power) + ln LR(area) + overlap
           + ln p_data_center + ln P(seen | declared)
           - ln P(site unrelated to the registry) - ln P(missed | declared)

p(distance) mixes a Gaussian about the site's outline with a gross error within some km. The
assignment that maximises the sum of gains, one to one with everyone free to stay alone, is
exact, `p_match` the marginal over all assignments (pipeline.assignment).

One to many: an unassigned declaration that lies on a matched site becomes a member of that
match when this beats "missed" in the same currency; an unassigned site at least half inside
the declared outline of a match joins it too. Powers are compared between the sums. Cost:
k-d tree for candidates, so O(n log n + pairs); exact distances only for pairs in question.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from aoi.errors import ConfigError, RegistryError
from pipeline.assignment import assign, marginals
from pipeline.coverage import BASIS, centres, local_frame, looked_shares
from pipeline.names import label_terms
from pipeline.tables import conform, empty

_EARTH_KM = 6371.0088  # mean radius; densities and candidate radii only, never a reported distance
_Z80 = 1.2815515655446004  # standard normal quantile at 0.9: p10 to p90 spans twice this
_MIN_MW = 0.1  # below any optical floor (domain table 0, 7): keeps logarithms finite
_GROSS_NORM = math.pi * (1.0 + 2.0 * math.log(1.0 / 0.3))  # of the gross-error density, see _score
_WEAK_GAIN = -7.0  # e-7 = 0.1%: fainter alternatives do not enter p_match
_MAX_DENSITY_KM2 = 200.0  # five neighbours within 90 m; coincident points would make it infinite
_CONTRADICTED = frozenset(  # by a data-center building with cooling plant; "cloud" no image contradicts
    {"warehouse", "storage", "logistics", "factory", "manufacturing", "office", "retail", "mall", "mine"}
)
_READ = (  # columns that the entries' words and figures need
    "site_id", "p_data_center", "prior", "buildings", "building_area_m2", "cooling_objects", "cooling_area_m2",
    "on_border", "it_mw_p10", "it_mw_p50", "it_mw_p90", "declared_id", "position_error_m", "kind", "status",
    "valid_from", "valid_to", "geometry",
)  # fmt: skip
_CHUNK = 20_000  # entries as records at a time: as a table they take a quarter of the memory
_LABELS = ("name", "operator", "identifier")
NOT_OPERATING = frozenset({"planned", "construction", "closed"})


@dataclass(frozen=True)
class ReconcileSettings:
    """What the reconciliation assumes. Every default is a judgement with its reason.

    Attributes:
        min_p_data_center: a lone site enters the ledger from here on; below it may still match.
        min_p_detect: `not_seen` needs at least this share of the place to have been looked at.
        gross_share: share of coordinates that are plainly wrong. 6% of EPA's rows share a
            coordinate with another address; those that nobody notices come on top. Of 19 areas of
            the first simulator 0.1 named the declaration planted 2 km off in 8, 0.15 in 11.
        gross_error_m: how far a plainly wrong coordinate is off, m (next town, wrong parcel).
        registration_m: position error of the imagery, 1 sigma, m (NAIP 6 m at 95%; other 10 m).
        p_undeclared: prior share of data centers that are not in the registry.
        p_missed: prior share of operating, looked-at declarations that the detector does not
            find (sensitivity 0.87-0.95 for comparable detectors, domain table 0) or that are not there.
        p_missed_not_operating: the same for planned, closed or unfinished ones.
        declared_ln_sd: spread of a truthful declared MW about the capacity, in ln (rounding, PUE).
        misdeclared_share: share of declared MW that say little about the capacity.
        misdeclared_ln_sd: their spread in ln: 1.2 lets a 3x under-declaration at the right place match.
        facility_per_it: facility MW per IT MW at peak (Epoch median 1.30, range 1.17-1.52).
        facility_per_it_ln_sd: its spread in ln, from that range.
        power_z: how many sigma of ln(observed/declared) make a power inconsistency (one-sided 10%).
        position_z: how many stated sigma off make a position inconsistency.
        member_share: prior share of declarations that are a further part of a campus matched already.
        neighbours: the site density about a place is that of this many neighbours.
        min_density_km2: density where neighbours are far: the US has about 1e-3 data centers per km2
            of populated land; also keeps a lone pair from matching at any distance.
    """

    min_p_data_center: float = 0.5
    min_p_detect: float = 0.8
    gross_share: float = 0.15
    gross_error_m: float = 5000.0
    registration_m: float = 10.0
    p_undeclared: float = 0.05
    p_missed: float = 0.05
    p_missed_not_operating: float = 0.7
    declared_ln_sd: float = 0.15
    misdeclared_share: float = 0.1
    misdeclared_ln_sd: float = 1.2
    facility_per_it: float = 1.3
    facility_per_it_ln_sd: float = 0.1
    power_z: float = 1.28
    position_z: float = 3.0
    member_share: float = 0.05
    neighbours: int = 5
    min_density_km2: float = 1e-3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            share = name.startswith(("p_", "min_p_")) or name.endswith("_share")
            if not 0 < value < math.inf or (share and value >= 1 and not name.startswith("min_p_")):
                raise ConfigError(f"reconcile.{name} = {value}: must be {'a share in 0..1' if share else '> 0'}")


DEFAULTS = ReconcileSettings()


@dataclass
class _Sites:
    """A table in canonical order with what the score needs: shapes, metres, density."""

    frame: gpd.GeoDataFrame
    shape: np.ndarray
    centre: np.ndarray
    hull_m2: np.ndarray
    edge_m: np.ndarray
    radius_m: np.ndarray
    density_km2: np.ndarray

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The frame as records: many rows are read one at a time."""
        return list(self.frame[[c for c in _READ if c in self.frame]].to_dict("records"))

    @cached_property
    def ln_sd_it(self) -> np.ndarray:
        """Spread of the observed IT power, (n,)."""
        return _site_ln_sd(self.frame)


@dataclass
class _Declared(_Sites):
    sigma_m: np.ndarray
    it_mw: np.ndarray
    ln_sd: np.ndarray
    looked: np.ndarray
    p_missed: np.ndarray


@dataclass
class _Pairs:
    """Candidate pairs as columns: site and declaration (indices), distance, parts of the score."""

    site: np.ndarray
    decl: np.ndarray
    distance_m: np.ndarray
    ln_gauss_km2: np.ndarray
    overlap: np.ndarray
    gain: np.ndarray
    p_match: np.ndarray = field(default_factory=lambda: np.array([]))

    def take(self, which: np.ndarray) -> _Pairs:
        return _Pairs(**{k: v[which] for k, v in vars(self).items() if len(v) == len(self.site)})


@dataclass
class _Match:
    """One facility: its pair, the declarations and sites that joined it, with their probabilities."""

    pair: int
    decls: dict[int, float]
    sites: dict[int, float]
    p_match: float


class _Rows:
    """Entries of a ledger, gathered in tables of `_CHUNK`."""

    def __init__(self) -> None:
        self._new: list[dict[str, object]] = []
        self._done: list[gpd.GeoDataFrame] = []

    def append(self, row: dict[str, object]) -> None:
        self.extend([row])

    def extend(self, rows: list[dict[str, object]]) -> None:
        self._new += rows
        if len(self._new) >= _CHUNK:
            self._flush()

    def ledger(self) -> gpd.GeoDataFrame:
        """The table in canonical order: by site, then declaration, those without last."""
        self._flush()
        if not self._done:
            return empty("ledger")
        table = pd.concat(self._done, ignore_index=True)
        keys = pd.DataFrame({k: table[k].fillna("~").astype(object) for k in ("site_id", "declared_id")})
        table = table.loc[keys.sort_values(["site_id", "declared_id"], kind="stable").index].reset_index(drop=True)
        return conform(table.assign(rank=np.arange(1, len(table) + 1)), "ledger")

    def _flush(self) -> None:
        if self._new:
            self._done.append(conform([{**r, "rank": 0} for r in self._new], "ledger"))
            self._new = []


class _Near:
    """The likeliest pair of each site and each declaration (-1: none), and each site's nearest declaration."""

    def __init__(self, pairs: _Pairs, s: _Sites, d: _Declared) -> None:
        order = np.argsort(pairs.p_match, kind="stable")
        self.of_site = np.full(len(s.frame), -1)
        self.of_site[pairs.site[order]] = order
        self.of_decl = np.full(len(d.frame), -1)
        self.of_decl[pairs.decl[order]] = order
        self.nearest = np.full(len(s.frame), -1)
        self.away_m = np.full(len(s.frame), math.nan)
        if len(d.frame) and len(s.frame):
            self.nearest = cKDTree(_on_sphere(d.centre)).query(_on_sphere(s.centre))[1]
            lon0, lat0 = d.centre[self.nearest].T
            a, b = local_frame(s.shape, lon0, lat0), local_frame(d.shape[self.nearest], lon0, lat0)
            self.away_m = shapely.distance(a, b)


def reconcile(
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame,
    looked_at: gpd.GeoDataFrame,
    settings: ReconcileSettings = DEFAULTS,
    labels: pd.DataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return the ledger of `sites` against `declared`; independent of the order of their rows.

    `rank` and `undeclared_flop_90d` are placeholders (canonical order, 0) until `rank.rank`.

    Args:
        sites: table `sites`.
        declared: table `declared`.
        looked_at: table `looked_at`.
        settings: priors and limits.
        labels: site_id and any of name, operator, identifier (a declared_id), where sites have them.

    Raises:
        RegistryError: a declared_id occurs twice (two registries were joined without renaming).
    """
    s = _prepare_sites(sites, settings, labels)
    d = _prepare_declared(declared, looked_at, settings)
    pairs = _candidates(s, d, settings)
    near = _Near(pairs, s, d)
    p_site = np.bincount(pairs.site, pairs.p_match, len(s.frame))
    p_decl = np.bincount(pairs.decl, pairs.p_match, len(d.frame))
    matches = _grow([int(k) for k in assign(pairs.site, pairs.decl, pairs.gain, len(d.frame))], pairs, s, d, settings)
    rows = _Rows()
    for match in matches:
        rows.extend(_match_rows(match, pairs, s, d, settings))
    probable = (s.frame["p_data_center"].to_numpy(float) >= settings.min_p_data_center).tolist()
    taken_sites = {i for m in matches for i in (*m.sites, int(pairs.site[m.pair]))}
    taken_decls = {j for m in matches for j in (*m.decls, int(pairs.decl[m.pair]))}
    for i in range(len(s.frame)):
        if i not in taken_sites and probable[i]:
            rows.append(_undeclared_row(i, float(p_site[i]), pairs, near, s, d, settings))
    for j in range(len(d.frame)):
        if j not in taken_decls and d.looked[j] >= settings.min_p_detect:
            rows.append(_not_seen_row(j, float(p_decl[j]), pairs, near, s, d))
    return rows.ledger()


def not_looked_at(
    declared: gpd.GeoDataFrame,
    looked_at: gpd.GeoDataFrame,
    settings: ReconcileSettings = DEFAULTS,
    ledger: gpd.GeoDataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return the declarations on which nothing can be said: too little of their place was looked at.

    Their column `looked_at` holds the share. With `ledger`, those that were matched all the
    same (seen at the edge of the imagery) are left out, so that ledger and this are complements.
    """
    share = looked_shares(declared.geometry.to_numpy(), declared["position_error_m"].to_numpy(float), looked_at)
    keep = share < settings.min_p_detect
    if ledger is not None:
        keep &= ~declared["declared_id"].isin(ledger["declared_id"].dropna()).to_numpy(bool)
    return declared.assign(looked_at=share)[keep].reset_index(drop=True)


def entry_id(site_id: str | None, declared_id: str | None) -> str:
    """Return the entry's stable name: it depends on the two ids only, not on the class."""
    name = f"{site_id or ''}\x1f{declared_id or ''}"
    return "E-" + hashlib.sha256(name.encode()).hexdigest()[:12]


def _prepare_sites(frame: gpd.GeoDataFrame, settings: ReconcileSettings, labels: pd.DataFrame | None = None) -> _Sites:
    frame = frame.sort_values("site_id", kind="stable").reset_index(drop=True)
    if labels is not None:
        own = labels.drop_duplicates("site_id").set_index("site_id").reindex(frame["site_id"])
        frame = frame.assign(**{k: own[k].to_numpy(object) for k in _LABELS if k in own})
    return _Sites(frame, *_shapes(frame, settings))


def _prepare_declared(frame: gpd.GeoDataFrame, looked_at: gpd.GeoDataFrame, settings: ReconcileSettings) -> _Declared:
    twice = frame["declared_id"][frame["declared_id"].duplicated()]
    if len(twice):
        raise RegistryError(f"declared_id '{twice.iloc[0]}' occurs twice: put each registry's name before its ids")
    frame = frame.sort_values("declared_id", kind="stable").reset_index(drop=True)
    sigma_m = np.hypot(frame["position_error_m"].to_numpy(float), settings.registration_m)
    it, facility = (frame[c].to_numpy(float) for c in ("it_mw", "facility_mw"))
    from_facility = np.isnan(it)
    ln_sd = np.hypot(settings.declared_ln_sd, np.where(from_facility, settings.facility_per_it_ln_sd, 0.0))
    looked = looked_shares(frame.geometry.to_numpy(), frame["position_error_m"].to_numpy(float), looked_at)
    idle = frame["status"].isin(NOT_OPERATING).to_numpy(bool)
    missed = np.where(idle, settings.p_missed_not_operating, settings.p_missed)
    return _Declared(
        frame,
        *_shapes(frame, settings),
        sigma_m=sigma_m,
        it_mw=np.where(from_facility, facility / settings.facility_per_it, it),
        ln_sd=ln_sd,
        looked=looked,
        p_missed=1.0 - looked * (1.0 - missed),
    )


def _shapes(
    frame: gpd.GeoDataFrame, settings: ReconcileSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shapes, centres (n, 2) in degrees; hull area, hull perimeter, farthest reach in m; density per km2."""
    shape = np.asarray(frame.geometry.to_numpy(), dtype=object)
    if not len(shape):
        none = np.zeros(0)
        return shape, np.zeros((0, 2)), none, none, none, none
    centre = centres(shape)
    hull = shapely.convex_hull(local_frame(shape, centre[:, 0], centre[:, 1]))
    corners = np.abs(shapely.bounds(hull))
    radius_m = np.hypot(np.maximum(corners[:, 0], corners[:, 2]), np.maximum(corners[:, 1], corners[:, 3]))
    area_m2 = shapely.area(hull)
    edge_m = np.where(area_m2 > 0, shapely.length(hull), 2.0 * shapely.length(hull))
    k = min(settings.neighbours, len(shape) - 1)
    density = np.full(len(shape), settings.min_density_km2)
    if k:
        away_km = cKDTree(_on_sphere(centre)).query(_on_sphere(centre), k=k + 1)[0][:, k]
        with np.errstate(divide="ignore"):
            density = np.clip(k / (np.pi * away_km**2), settings.min_density_km2, _MAX_DENSITY_KM2)
    return shape, centre, area_m2, edge_m, radius_m, density


def _candidates(s: _Sites, d: _Declared, settings: ReconcileSettings) -> _Pairs:
    """Pairs that could be the same facility, scored, with marginal match probabilities."""
    reach_m = np.maximum(settings.gross_error_m, 3.0 * d.sigma_m)
    hits: list[list[int]] = []
    if len(s.frame) and len(d.frame):
        radius_km = 1.01 * (reach_m + d.radius_m + s.radius_m.max()) / 1e3
        hits = cKDTree(_on_sphere(s.centre)).query_ball_point(_on_sphere(d.centre), radius_km, return_sorted=True)
    site = np.array([i for row in hits for i in row], dtype=int)
    decl = np.repeat(np.arange(len(hits)), [len(row) for row in hits]).astype(int)
    away_m = 1e3 * np.linalg.norm(_on_sphere(s.centre[site]) - _on_sphere(d.centre[decl]), axis=1)
    nearest_m = np.maximum(0.0, 0.99 * away_m - s.radius_m[site] - d.radius_m[decl])
    best = _score(site, decl, nearest_m, np.ones(len(site)), s, d, settings)
    keep = (best.gain > _WEAK_GAIN) & (nearest_m <= reach_m[decl])
    site, decl = site[keep], decl[keep]
    lon0, lat0 = d.centre[decl].T
    a, b = local_frame(s.shape[site], lon0, lat0), local_frame(d.shape[decl], lon0, lat0)
    distance_m = shapely.distance(a, b)
    smaller_m2 = np.minimum(shapely.area(a), shapely.area(b))
    overlap = np.full(len(site), np.nan)  # a point overlaps nothing: no information
    both = smaller_m2 > 0
    overlap[both] = np.where(distance_m[both] > 0, 0.0, shapely.area(shapely.intersection(a[both], b[both])))
    overlap[both] /= smaller_m2[both]
    pairs = _score(site, decl, distance_m, overlap, s, d, settings)
    # A wrong coordinate is only supposed where no probable site fits the stated place: two declarations
    # on one campus are parts of it rather than one of them lost from kilometres away.
    fits = distance_m <= settings.position_z * d.sigma_m[decl]
    probable = s.frame["p_data_center"].to_numpy(float)[site] >= settings.min_p_data_center
    fitted = np.zeros(len(d.frame), bool)
    fitted[decl[fits & probable]] = True
    kept = (pairs.gain > _WEAK_GAIN) & (distance_m <= reach_m[decl]) & (fits | ~fitted[decl])
    pairs = pairs.take(kept)
    pairs.p_match = marginals(pairs.site, pairs.decl, pairs.gain, len(s.frame), len(d.frame))
    return pairs


def _score(
    site: np.ndarray,
    decl: np.ndarray,
    distance_m: np.ndarray,
    overlap: np.ndarray,
    s: _Sites,
    d: _Declared,
    settings: ReconcileSettings,
) -> _Pairs:
    """Log-odds of every pair; see the module's docstring for the terms.

    A Gaussian about an outline of hull area A and perimeter P integrates to
    A + P sigma sqrt(pi/2) + 2 pi sigma^2 (Steiner's formula); two outlines in random
    orientation act as one of A1 + A2 + P1 P2 / 2 pi and P1 + P2 (Blaschke's formula).
    So a large site, on which a point lies easily by chance, earns less for distance 0.
    """
    sigma = d.sigma_m[decl] / 1e3
    area = (s.hull_m2[site] + d.hull_m2[decl] + s.edge_m[site] * d.edge_m[decl] / (2 * np.pi)) / 1e6
    edge = (s.edge_m[site] + d.edge_m[decl]) / 1e3
    km = distance_m / 1e3
    size = area + edge * sigma * np.sqrt(np.pi / 2) + 2 * np.pi * sigma**2
    ln_gauss = -0.5 * (km / sigma) ** 2 - np.log(size)
    # Gross errors: even within 0.3 R, then alike per octave of distance up to R, so that of two
    # wrong places the nearer is preferred; integrates to 1 over the disc of radius R.
    reach = settings.gross_error_m / 1e3
    gross = np.where(km <= reach, 1.0 / (_GROSS_NORM * np.maximum(km, 0.3 * reach) ** 2), 0.0)
    with np.errstate(divide="ignore"):
        ln_place = np.logaddexp(
            np.log(1 - settings.gross_share) + ln_gauss, np.log(settings.gross_share) + np.log(gross)
        )
    p = np.clip(s.frame["p_data_center"].to_numpy(float)[site], 1e-6, 1.0)
    unrelated = p * settings.p_undeclared + (1.0 - p)
    missed = np.clip(d.p_missed[decl], 1e-6, 1.0)
    found = np.clip(d.looked[decl], 0.05, 1.0) * (1 - settings.p_missed)
    gain = ln_place - np.log(s.density_km2[site]) + np.log(p) + np.log(found)
    gain += _overlap_term(overlap, sigma * 1e3, s.radius_m[site])
    gain += label_terms(s.frame, d.frame, site, decl)
    gain += _power_term(site, d.it_mw[decl], d.ln_sd[decl], s, settings)
    outline_m2, footprint_m2 = (d.frame[c].to_numpy(float)[decl] for c in ("area_m2", "footprint_m2"))
    gain += _area_term(site, outline_m2, footprint_m2, s)
    gain -= np.log(unrelated) + np.log(missed)
    return _Pairs(site, decl, distance_m, ln_gauss, overlap, gain)


def _overlap_term(overlap: np.ndarray, sigma_m: np.ndarray, size_m: np.ndarray) -> np.ndarray:
    """Two outlines of one facility cover each other: density 3 x^2 of the share, with a floor of 0.1.

    Counts less as the position error grows beyond the site's size; 0 where one side is a point.
    """
    weight = size_m**2 / (size_m**2 + sigma_m**2 + 1e-9)
    return np.where(np.isnan(overlap), 0.0, weight * np.log((3.0 * np.nan_to_num(overlap) ** 2 + 0.1) / 1.1))


def _power_term(
    site: np.ndarray,
    declared_mw: np.ndarray,
    declared_ln_sd: np.ndarray,
    s: _Sites,
    settings: ReconcileSettings,
) -> np.ndarray:
    """Log of p(observed MW | declared MW) over p(observed MW of any site here); 0 if none is declared."""
    ln_all = np.log(np.maximum(s.frame["it_mw_p50"].to_numpy(float), _MIN_MW))
    if not len(ln_all):
        return np.zeros(len(site))
    mean = float(np.median(ln_all))
    spread = max(0.8, float(np.std(ln_all)))  # 0.8: MW per building, p10 31 to p90 171 (domain table 0, 6)
    known = ~np.isnan(declared_mw)
    off = ln_all[site] - np.log(np.maximum(np.where(known, declared_mw, 1.0), _MIN_MW))
    cut = s.frame["on_border"].to_numpy(bool)[site]
    off = np.where(cut, np.maximum(off, 0.0), off)  # a lower bound does not contradict more
    sd = np.hypot(s.ln_sd_it[site], declared_ln_sd)
    same = np.logaddexp(
        np.log(1 - settings.misdeclared_share) + _ln_normal(off, sd),
        np.log(settings.misdeclared_share) + _ln_normal(off, np.hypot(sd, settings.misdeclared_ln_sd)),
    )
    other = _ln_normal(ln_all[site] - mean, np.hypot(spread, s.ln_sd_it[site]))
    return np.where(known, np.clip(same - other, -6.0, 2.0), 0.0)


def _area_term(site: np.ndarray, outline_m2: np.ndarray, footprint_m2: np.ndarray, s: _Sites) -> np.ndarray:
    """Agreement of the declared size with the buildings seen; 0 where no size is declared.

    A declared footprint is the best identity there is without a name: imagery measures footprints to
    some 10%, more where buildings merge or are missed, so 7 in 10 within ln-sd 0.2. An outline may
    be land: 4 in 5 within ln-sd 0.6, and it counts little.
    """
    stated = ~np.isnan(footprint_m2)
    return np.where(
        stated,
        _size_term(site, footprint_m2, s, share=0.7, ln_sd=0.2, wide=1.2, limits=(-3.0, 3.0)),
        _size_term(site, outline_m2, s, share=0.8, ln_sd=0.6, wide=2.0, limits=(-2.0, 1.0)),
    )


def _size_term(
    site: np.ndarray,
    declared_m2: np.ndarray,
    s: _Sites,
    *,
    share: float,
    ln_sd: float,
    wide: float,
    limits: tuple[float, float],
) -> np.ndarray:
    ln_all = np.log(np.maximum(s.frame["building_area_m2"].to_numpy(float), 100.0))
    if not len(ln_all):
        return np.zeros(len(site))
    known = ~np.isnan(declared_m2) & (s.frame["building_area_m2"].to_numpy(float)[site] > 0)
    off = ln_all[site] - np.log(np.maximum(np.where(known, declared_m2, 1.0), 100.0))
    same = np.logaddexp(np.log(share) + _ln_normal(off, ln_sd), np.log(1 - share) + _ln_normal(off, wide))
    other = _ln_normal(ln_all[site] - np.median(ln_all), max(0.8, float(np.std(ln_all))))
    return np.where(known, np.clip(same - other, *limits), 0.0)


def _grow(chosen: list[int], pairs: _Pairs, s: _Sites, d: _Declared, settings: ReconcileSettings) -> list[_Match]:
    """Let further declarations and sites join the matches they belong to."""
    by_site = {int(pairs.site[k]): _Match(k, {}, {}, float(pairs.p_match[k])) for k in chosen}
    by_decl = {int(pairs.decl[k]): by_site[int(pairs.site[k])] for k in chosen}
    free = np.array([int(j) not in by_decl and int(i) in by_site for i, j in zip(pairs.site, pairs.decl, strict=True)])
    prior = (
        math.log(settings.member_share)
        + pairs.ln_gauss_km2
        - np.log(d.density_km2[pairs.decl])
        + _overlap_term(pairs.overlap, d.sigma_m[pairs.decl], s.radius_m[pairs.site])
        - np.log(np.clip(d.p_missed[pairs.decl], 1e-6, 1.0))
    )
    prior = np.where(free if len(free) else False, prior, -np.inf)
    joined: set[int] = set()
    for k in np.lexsort((pairs.site, pairs.decl, -prior)):
        i, j = int(pairs.site[k]), int(pairs.decl[k])
        if prior[k] == -np.inf:
            break
        if j in joined:
            continue
        match = by_site[i]
        have = [int(pairs.decl[match.pair]), *match.decls]
        sums = np.array([_sum_mw(d, have), _sum_mw(d, [*have, j])])
        with_it, without = _power_term(np.array([i, i]), sums[::-1], np.full(2, d.ln_sd[j]), s, settings)
        gain = prior[k] + with_it - without
        if gain > 0:
            match.decls[j] = float(1.0 / (1.0 + math.exp(-min(gain, 50.0))))
            match.p_match = min(1.0, match.p_match + float(pairs.p_match[k]))
            joined.add(j)
    for k in np.lexsort((pairs.decl, pairs.site, -np.nan_to_num(pairs.overlap))):
        i, j = int(pairs.site[k]), int(pairs.decl[k])
        if i in by_site or j not in by_decl or s.frame["p_data_center"].iloc[i] < settings.min_p_data_center:
            continue
        inside = _share_inside(i, j, s, d) if pairs.distance_m[k] == 0 and d.hull_m2[j] > 0 else 0.0
        if inside >= 0.5 and not any(i in m.sites for m in by_decl.values()):
            by_decl[j].sites[i] = inside
    return list(by_site.values())


def _share_inside(i: int, j: int, s: _Sites, d: _Declared) -> float:
    a, b = (local_frame(np.array([g]), *d.centre[j])[0] for g in (s.shape[i], d.shape[j]))
    return float(a.intersection(b).area / a.area) if a.area > 0 else float(b.contains(a))


def _match_rows(
    match: _Match, pairs: _Pairs, s: _Sites, d: _Declared, settings: ReconcileSettings
) -> list[dict[str, object]]:
    i, j = int(pairs.site[match.pair]), int(pairs.decl[match.pair])
    site, decl, distance_m = s.rows[i], d.rows[j], float(pairs.distance_m[match.pair])
    parts, group = [i, *match.sites], [j, *match.decls]
    low, mid, high = (sum(float(s.rows[k][f"it_mw_{q}"]) for k in parts) for q in ("p10", "p50", "p90"))
    declared_mw, complete = _sum_mw(d, group), not np.isnan(d.it_mw[group]).any()
    cut = any(bool(s.rows[k]["on_border"]) for k in parts)
    found: dict[str, str] = {}
    against: list[str] = []
    settles: dict[str, str] = {}
    status = decl["status"] if pd.notna(decl["status"]) else None
    equipped = site["buildings"] >= 1 and site["cooling_objects"] >= 1

    if equipped and decl["kind"] in _CONTRADICTED:
        found["type_mismatch"] = (
            f"Declared as '{decl['kind']}', seen with {site['buildings']} data-center building(s) and "
            f"{site['cooling_objects']} cooling object(s) of {site['cooling_area_m2']:.0f} m2."
        )
        settles["type_mismatch"] = "Declared use against tenancy, grid connection and load profile; a visit."
    if status in NOT_OPERATING and equipped:
        found["status_mismatch"] = (
            f"Declared as {status}, seen with {site['buildings']} data-center building(s) and "
            f"{site['cooling_objects']} cooling object(s)."
        )
        against.append("Buildings and plant stand months before operation, and remain after it ends.")
        settles["status_mismatch"] = "Date of the image against that of the declaration; a newer image; meter data."
    if not math.isnan(declared_mw):
        ratio = math.log(max(mid, _MIN_MW) / max(declared_mw, _MIN_MW))
        limit = settings.power_z * math.hypot(s.ln_sd_it[i], float(d.ln_sd[j]))
        side = "above" if ratio > 0 else "below"
        words = (
            f"Equipment and buildings could carry {mid:.0f} MW of IT (p10-p90 {low:.0f}-{high:.0f}), "
            f"declared are {'' if complete else 'at least '}{declared_mw:.0f} MW: a factor "
            f"{math.exp(abs(ratio)):.1f} {side}, where {math.exp(limit):.1f} would be a question."
        )
        if ratio > limit and complete:
            found["above_declared"] = words
            against.append("Capacity is not use: spare cooling or empty halls give the same picture.")
        elif ratio < -limit and not cut and status not in NOT_OPERATING:
            found["below_declared"] = words
            against.append("Plant may be hidden (indoors, underground) or newer than the image.")
        else:
            against.append(words)
        settles["above_declared"] = settles["below_declared"] = (
            "Count and type of cooling units at 0.3 m or better; grid connection and meter data."
        )
    stated_m = float(decl["position_error_m"])
    off_limit_m = max(settings.position_z * stated_m, math.sqrt(s.hull_m2[i] / math.pi))
    if distance_m > off_limit_m:
        found["position_mismatch"] = (
            f"The nearest fitting site lies {_km(distance_m)} from the declared place, whose stated error is "
            f"{_km(stated_m)}; nothing that fits better was seen at the declared place."
        )
        against.append(
            f"With probability {max(1 - match.p_match, 0.01):.2f} they are not the same facility: "
            "then the site is undeclared and the declaration not seen."
        )
        settles["position_mismatch"] = "Corrected coordinates or outline from the declaring party; name at the gate."
    order = ("type_mismatch", "status_mismatch", "above_declared", "position_mismatch", "below_declared")
    klass = next((c for c in order if c in found), "matched")
    against.insert(
        0,
        f"Site lies {_km(distance_m)} from the declared place (error {_km(stated_m)}); p_match {match.p_match:.2f}.",
    )
    if match.p_match < 0.5:
        against.append("Other sites or declarations nearby fit about as well: the pairing is uncertain.")
    against += _limits(site, cut)
    if len(group) > 1:
        names = ", ".join(d.frame["declared_id"].iloc[group].tolist()[:5])
        against.append(f"{len(group)} declarations lie on this site and are taken together ({names}).")
    if len(parts) > 1:
        against.append(f"{len(parts)} observed sites lie within the declared outline and are taken together.")
    rows = [
        {
            **_base(site, decl),
            "class": klass,
            "p_match": match.p_match,
            "p_detect": float(d.looked[j]),
            "distance_m": distance_m,
            "declared_it_mw": float(d.it_mw[j]),
            "evidence_for": " ".join(found.values()) or "None: site and declaration agree.",
            "evidence_against": " ".join(against),
            "settles": settles.get(klass, "Nothing to settle."),
        }
    ]
    for k, p in [
        *((("decl", m), p) for m, p in match.decls.items()),
        *((("site", m), p) for m, p in match.sites.items()),
    ]:
        a, b = (i, k[1]) if k[0] == "decl" else (k[1], j)
        rows.append(
            {
                **_base(s.frame.iloc[a], d.frame.iloc[b]),
                "class": "matched",
                "p_match": p,
                "p_detect": float(d.looked[b]),
                "distance_m": _distance_m(a, b, s, d),
                "declared_it_mw": float(d.it_mw[b]),
                "evidence_for": "None of its own: compared together with "
                + (f"declaration {decl['declared_id']}." if k[0] == "decl" else f"site {site['site_id']}."),
                "evidence_against": "Further declaration on the same site."
                if k[0] == "decl"
                else f"{p:.0%} of the site lies within the declared outline.",
                "settles": "Nothing to settle.",
            }
        )
    return rows


def _undeclared_row(
    i: int, p_match: float, pairs: _Pairs, near: _Near, s: _Sites, d: _Declared, settings: ReconcileSettings
) -> dict[str, object]:
    site = s.rows[i]
    words = [
        f"Data center with probability {site['p_data_center']:.2f} at a prior of {site['prior']:.2g}; "
        f"could carry {site['it_mw_p50']:.0f} MW of IT "
        f"(p10-p90 {site['it_mw_p10']:.0f}-{site['it_mw_p90']:.0f}).",
        f"{site['buildings']} building(s) of {site['building_area_m2']:.0f} m2 and {site['cooling_objects']} "
        f"cooling object(s) of {site['cooling_area_m2']:.0f} m2.",
    ]
    against = []
    if len(d.frame):
        decl = d.rows[int(near.nearest[i])]
        words.append(
            f"Nearest declaration: {decl['declared_id']}, {_km(float(near.away_m[i]))} away, "
            f"stated error {_km(float(decl['position_error_m']))}."
        )
    else:
        words.append("The registry is empty here.")
    k = int(near.of_site[i])
    if k >= 0:
        against.append(
            f"It is some declared facility at another place with probability {p_match:.2f}; the likeliest is "
            f"{d.rows[int(pairs.decl[k])]['declared_id']}, {_km(pairs.distance_m[k])} away "
            f"(p {pairs.p_match[k]:.2f})."
        )
    else:
        against.append(f"No declaration within {_km(settings.gross_error_m)} or its own error could be this site.")
    against += _limits(site, bool(site["on_border"]))
    return {
        **_base(site, None),
        "class": "undeclared",
        "p_match": min(p_match, 1.0),
        "p_detect": None,
        "distance_m": None,
        "declared_it_mw": None,
        "evidence_for": " ".join(words),
        "evidence_against": " ".join(against),
        "settles": "A question to the declaring party; an image at 0.3 m; permits, grid connection.",
    }


def _not_seen_row(j: int, p_match: float, pairs: _Pairs, near: _Near, s: _Sites, d: _Declared) -> dict[str, object]:
    decl = d.rows[j]
    idle = decl["status"] in NOT_OPERATING if pd.notna(decl["status"]) else False
    power = "no power" if np.isnan(d.it_mw[j]) else f"{d.it_mw[j]:.0f} MW of IT"
    words = [
        f"Declared with {power}; {d.looked[j]:.0%} of its place was looked at ({BASIS}) and no site there fits it."
    ]
    against = ["Small, indoor or underground facilities are not seen even where everything was looked at."]
    if idle:
        against.append(f"Declared as {decl['status']}: nothing need stand there.")
    k = int(near.of_decl[j])
    if k >= 0:
        against.append(
            f"It is some observed site with probability {p_match:.2f}; the likeliest is "
            f"{s.rows[int(pairs.site[k])]['site_id']}, {_km(pairs.distance_m[k])} away "
            f"(p {pairs.p_match[k]:.2f})."
        )
    return {
        **_base(None, decl),
        "class": "not_seen",
        "p_match": min(p_match, 1.0),
        "p_detect": float(d.looked[j]),
        "distance_m": None,
        "declared_it_mw": float(d.it_mw[j]),
        "evidence_for": " ".join(words),
        "evidence_against": " ".join(against),
        "settles": "Corrected coordinates; date of operation; an image newer than the declaration.",
    }


def _base(site: dict[str, Any] | None, decl: dict[str, Any] | None) -> dict[str, object]:
    site_id = None if site is None else str(site["site_id"])
    declared_id = None if decl is None else str(decl["declared_id"])
    place = site if site is not None else decl
    return {
        "entry_id": entry_id(site_id, declared_id),
        "site_id": site_id,
        "declared_id": declared_id,
        "p_data_center": None if site is None else float(site["p_data_center"]),
        "it_mw_p50": None if site is None else float(site["it_mw_p50"]),
        "undeclared_flop_90d": 0.0,
        "geometry": None if place is None else place["geometry"],
    }


def _limits(site: dict[str, Any], cut: bool) -> list[str]:
    words = []
    if cut:
        words.append("The site lies on the border of the imagery: its size and power are lower bounds.")
    if site["p_data_center"] < 0.5:
        words.append(f"The image alone gives only {site['p_data_center']:.2f} that this is a data center.")
    if site["cooling_objects"] == 0:
        words.append("No cooling equipment was seen: a warehouse looks the same.")
    return words


def _sum_mw(d: _Declared, group: list[int]) -> float:
    """Declared IT MW of a group, MW; NaN if none of them declares any."""
    known = d.it_mw[group][~np.isnan(d.it_mw[group])]
    return float(known.sum()) if len(known) else math.nan


def _site_ln_sd(frame: pd.DataFrame) -> np.ndarray:
    """ln-sd of the observed IT power from its p10 and p90, shape (n,)."""
    low, high = (np.maximum(frame[f"it_mw_{q}"].to_numpy(float), _MIN_MW) for q in ("p10", "p90"))
    return np.log(high / low) / (2 * _Z80)


def _ln_normal(x: np.ndarray, sd: np.ndarray | float) -> np.ndarray:
    return -0.5 * (x / sd) ** 2 - np.log(sd) - 0.5 * math.log(2 * math.pi)


def _distance_m(i: int, j: int, s: _Sites, d: _Declared) -> float:
    a, b = (local_frame(np.array([g]), *d.centre[j])[0] for g in (s.shape[i], d.shape[j]))
    return float(a.distance(b))


def _on_sphere(lonlat: np.ndarray) -> np.ndarray:
    """Points on a sphere in km, shape (n, 3): chords are distances, with no seam at 180 degrees."""
    lon, lat = np.radians(lonlat).T
    return _EARTH_KM * np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def _km(metres: float) -> str:
    return f"{metres / 1e3:.1f} km" if metres >= 1000 else f"{metres:.0f} m"
