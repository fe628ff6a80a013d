"""Ledger, sites and declarations joined for balances: which records belong together.

In: tables `ledger`, `sites`, `declared`. Out: `JoinedTables`. A place is a set of sites and declarations that the
ledger connects; places are numbered from 0. `grouping` makes claims and seen sites per group of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.balance import columns
from overwatt.pipeline.declared.names import plain
from overwatt.pipeline.declared.zones import zone_name
from overwatt.pipeline.power.accelerators import find_chip, power_of_chips
from overwatt.pipeline.reconcile.settings import ReconcileSettings
from overwatt.pipeline.vocabulary import (
    NOT_OPERATING,
    NOT_SAID_TO_OPERATE,
    NOTHING_DECLARED,
    PLACELESS_KINDS,
    UNKNOWN_STATUS,
)

_MAX_CHIP_NAMES = 2000  # distinct chip names looked up, bounds the time for hostile tables; own choice


@dataclass
class JoinedTables:
    """Sites and declarations, each with the place it belongs to.

    Attributes:
        sites: table `sites`.
        declared: table `declared`.
        site_place: (site,) place, -1 if the site is not in the ledger.
        decl_place: (declaration,) place, -1 if there is none.
        places: number of places.
        p_match: (place,) largest p_match of its pairs, NaN if it has no pair.
        used: (declaration,) counts in the balance: in force at its date, and its place was observed or is not stated.
        unobserved: (declaration,) its place was not observed.
        site_key: level -> (site,) owner or zone as text, from the ledger or the zones.
        decl_key: level -> (declaration,) owner or zone as text, '' if not stated.
        zones_given: zones are polygons; a site has the zone in which it lies, a claim that of its site.
        settings: error models of declarations.
    """

    sites: gpd.GeoDataFrame
    declared: gpd.GeoDataFrame
    site_place: np.ndarray
    decl_place: np.ndarray
    places: int
    p_match: np.ndarray
    used: np.ndarray
    unobserved: np.ndarray
    site_key: dict[str, np.ndarray]
    decl_key: dict[str, np.ndarray]
    zones_given: bool
    settings: ReconcileSettings

    @cached_property
    def kind(self) -> np.ndarray:
        """Kind of each declaration, lower case, (declaration,)."""
        return self.declared["kind"].astype("string").fillna("").str.lower().to_numpy(object)

    @cached_property
    def pending(self) -> np.ndarray:
        """Whether a declaration is planned or under construction, so that it declares no power yet, (declaration,)."""
        return self.declared["status"].isin(NOT_OPERATING - NOTHING_DECLARED).to_numpy(bool)

    @cached_property
    def void(self) -> np.ndarray:
        """Whether a declaration is closed or cancelled, so that it declares nothing, (declaration,)."""
        return self.declared["status"].isin(NOTHING_DECLARED).to_numpy(bool)

    @cached_property
    def unclear(self) -> np.ndarray:
        """Whether the status of a declaration is unknown, so that it counts on no side, (declaration,)."""
        return self.declared["status"].eq(UNKNOWN_STATUS).fillna(False).to_numpy(bool)

    @cached_property
    def dark(self) -> np.ndarray:
        """Whether a place has a seen site whose power is not known, (place + 1,); the last is False."""
        rows = (self.site_place >= 0) & np.isnan(columns.number(self.sites["it_mw_p50"]))
        return np.bincount(self.site_place[rows], minlength=self.places + 1) > 0

    @cached_property
    def place_has_site(self) -> np.ndarray:
        """Whether a place has a seen site, (place + 1,); the last element is False, index -1 means no place."""
        return np.bincount(self.site_place[self.site_place >= 0], minlength=self.places + 1) > 0

    @cached_property
    def is_use(self) -> np.ndarray:
        """Whether a declaration is of chips or training runs, (declaration,)."""
        return np.isin(self.kind, list(PLACELESS_KINDS))

    @cached_property
    def has_claim(self) -> np.ndarray:
        """Whether a place has a facility or power declaration in the ledger, (place + 1,); the last is False."""
        rows = (self.decl_place >= 0) & ~self.is_use & ~self.void
        return np.bincount(self.decl_place[rows], minlength=self.places + 1) > 0

    @cached_property
    def it_mw(self) -> tuple[np.ndarray, np.ndarray]:
        """Declared IT MW of facilities and permits, and whether it comes from facility MW; each (declaration,).

        NaN if not stated. Also NaN for a permit at a place where a facility states its power: it would count twice.
        """
        it, facility = (columns.number(self.declared[c]) for c in ("it_mw", "facility_mw"))
        from_facility = np.isnan(it) & ~np.isnan(facility)
        # facility over IT power at peak, docs/methods.md, section 4.3
        value = np.where(from_facility, facility / self.settings.facility_per_it, it)
        value[self.is_use] = np.nan
        permit, known = self.kind == "power", ~np.isnan(value) & ~self.void
        at = self.decl_place
        stated = np.bincount(at[(at >= 0) & known & ~permit], minlength=self.places + 1) > 0
        value[permit & (at >= 0) & stated[at]] = np.nan
        return value, from_facility

    @cached_property
    def complete(self) -> np.ndarray:
        """Whether the power of a place can be compared, (place + 1,).

        It can if all its facility declarations in operation (permits if it has none) state their power, and the power
        of its sites is known. A power of unknown status is as good as none: it may be declared, or not. A place that
        is only planned or under construction declares no power yet.
        """
        value = np.where(self.unclear, np.nan, self.it_mw[0])
        at, rows = self.decl_place, (self.decl_place >= 0) & ~self.is_use & ~self.void
        pending_only = np.bincount(at[rows & self.pending], minlength=self.places + 1) > 0
        rows &= ~self.pending
        facility = rows & (self.kind != "power")
        any_facility = np.bincount(at[facility], minlength=self.places + 1) > 0
        must_state = facility | (rows & ~any_facility[at])
        unknown = np.bincount(at[must_state & np.isnan(value)], minlength=self.places + 1) > 0
        pending_only &= np.bincount(at[rows], minlength=self.places + 1) == 0
        return ~unknown & ~pending_only & ~self.dark

    @cached_property
    def per_chip(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """H100 equivalents and IT MW of one chip, own and common ln-sd of the MW; (declaration,), NaN if unknown."""
        code, names = pd.factorize(self.declared["chip"].astype("string").to_numpy(object))
        table = np.full((len(names) + 1, 4), np.nan)
        for k, name in enumerate(names[:_MAX_CHIP_NAMES]):
            try:
                chip = find_chip(str(name)[:80])
                one = power_of_chips([(chip.chip, 1)])
            except ConfigError:
                continue
            own, law = (one.errors[e] for e in ("sites with the same chips", "the law of power of chips"))
            table[k] = one.h100e, one.it_mw, own, law
        h100e, it_mw, own_ln_sd, common_ln_sd = table[code].T
        return h100e, it_mw, own_ln_sd, common_ln_sd

    @cached_property
    def decl_has_site(self) -> np.ndarray:
        """Whether a declaration has a place with a seen site, (declaration,)."""
        return (self.decl_place >= 0) & self.place_has_site[self.decl_place]

    @cached_property
    def is_cut(self) -> np.ndarray:
        """Whether a site at the declared place is cut by the border of the imagery, (declaration,)."""
        border = self.sites["on_border"].to_numpy(bool) & (self.site_place >= 0)
        cut = np.bincount(self.site_place[border], minlength=self.places + 1) > 0
        return self.decl_has_site & cut[self.decl_place]


def join_tables(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame,
    *,
    zones: gpd.GeoDataFrame | None,
    at: str | None,
    settings: ReconcileSettings,
) -> JoinedTables:
    """Join the tables; arguments and errors as in `material_balance.material_balance`."""
    sites = sites.sort_values("site_id", kind="stable").reset_index(drop=True)
    declared = declared.sort_values("declared_id", kind="stable").reset_index(drop=True)
    i = columns.table_rows(ledger["site_id"], sites["site_id"])
    j = columns.table_rows(ledger["declared_id"], declared["declared_id"])
    # a place is a connected component of the pairs of the ledger; records outside the ledger have none
    both = (i >= 0) & (j >= 0)
    n = len(sites) + len(declared)
    graph = coo_array((np.ones(int(both.sum())), (i[both], len(sites) + j[both])), shape=(n, n))
    group = connected_components(graph, directed=False)[1]
    listed = np.zeros(n, bool)
    listed[i[i >= 0]] = True
    listed[len(sites) + j[j >= 0]] = True
    place = np.full(n, -1)
    place[listed] = np.unique(group[listed], return_inverse=True)[1]
    places = int(place.max(initial=-1)) + 1
    site_place, decl_place = place[: len(sites)], place[len(sites) :]
    p_match = np.full(places, np.nan)
    np.fmax.at(p_match, site_place[i[both]], columns.number(ledger["p_match"])[both])
    use = declared["kind"].astype("string").str.lower().isin(list(PLACELESS_KINDS)).to_numpy(bool)
    shape = declared.geometry.to_numpy()
    placed = ~(shapely.is_missing(shape) | shapely.is_empty(shape))
    # chips and runs are not in the ledger: they go to the place of a clearly nearest site
    decl_place[use & placed] = columns.tied(declared, np.flatnonzero(use & placed), sites, site_place)
    unobserved = (decl_place < 0) & placed & ~use
    site_key = {
        "owner": columns.of_site(ledger["owner"], i, len(sites)),
        "zone": columns.of_site(ledger["zone"], i, len(sites)),
    }
    decl_key = {c: declared[k].astype("string").fillna("").to_numpy(object)
                for c, k in (("owner", "operator"), ("zone", "zone"))}  # fmt: skip
    for key in (site_key, decl_key):
        key["owner"], key["zone"] = (
            columns.each(key["owner"], plain),
            columns.each(key["zone"], zone_name),
        )
    if zones is not None:
        site_key["zone"] = columns.inside(
            np.asarray(shapely.point_on_surface(sites.geometry.to_numpy()), object), zones
        )
        middle = np.array(shapely.centroid(shape), object)
        middle[~placed] = None
        own = columns.inside(middle, zones)
        decl_key["zone"] = np.where(placed, own, decl_key["zone"])
        for key in (site_key, decl_key):
            key["zone"] = columns.each(key["zone"], zone_name)
    used = ~unobserved & _current(sites, declared, at)
    return JoinedTables(sites, declared, site_place, decl_place, places, p_match, used, unobserved, site_key, decl_key,
                  zones is not None, settings)  # fmt: skip


def _current(sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame, at: str | None) -> np.ndarray:
    """Return whether a declaration is in force at the date, (declaration,).

    Facilities and chips must have begun and not ended, training runs must have begun. Without `at` the date is the
    latest one of an image or of the start of a declaration in operation.
    """
    start, end = (
        columns.dates(declared["valid_from"], last=False),
        columns.dates(declared["valid_to"], last=True),
    )
    if at is not None:
        now = float(columns.dates(pd.Series([at]), last=False)[0])
        if math.isnan(now):
            raise ConfigError(f"balances: at '{columns.clean(at)[:40]}' is not a date; give YYYY-MM-DD")
    else:
        idle = declared["status"].isin(NOT_SAID_TO_OPERATE).to_numpy(bool)
        seen = np.r_[columns.dates(sites["image_date"], last=False), start[~idle]]
        now = float(np.nanmax(seen)) if np.isfinite(seen).any() else math.nan
    run = declared["kind"].astype("string").str.lower().eq("workload").fillna(False).to_numpy(bool)
    return ~((start > now) | ((end <= now) & ~run))
