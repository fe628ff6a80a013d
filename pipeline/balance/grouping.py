"""Ledger, sites and declarations joined for balances: who claims what where, and which sites it is laid against.

In: tables `ledger`, `sites`, `declared`. Out: `Joined`, whose `sides` gives for a level and a quantity the claims and
the seen sites by group. A place is a set of sites and declarations that the ledger ties together.
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
from overwatt.pipeline.power.accelerators import find_chip, power_of_chips
from overwatt.pipeline.quantiles import widest_spread
from overwatt.pipeline.reconcile.settings import ReconcileSettings
from overwatt.pipeline.vocabulary import NOT_OPERATING, PLACELESS_KINDS

WORKLOAD_LN_SD = 0.67
"""Of reported training FLOP: within a factor 3 at 90% (Epoch AI's 'Confident'), ln 3 / 1.645."""
_STEM = {"it_mw": "it_mw", "it_mw_of_chips": "it_mw", "h100e": "h100e", "flop": "flop_90d"}
_MAX_CHIP_NAMES = 2000  # distinct names looked up; own choice


@dataclass
class Claims:
    """Declared amounts, one element a row: (k,) each.

    `group`; `value`; `ln_sd` of its own; `common` ln-sd of the error that all such claims share; `nowhere`: no place is
    stated or none that was seen; `idle`: not in operation; `unseen`: its place was looked at and nothing was seen;
    `cut`: the site there is cut by the border of an image.
    """

    group: np.ndarray
    value: np.ndarray
    ln_sd: np.ndarray
    common: np.ndarray
    nowhere: np.ndarray
    idle: np.ndarray
    unseen: np.ndarray
    cut: np.ndarray


@dataclass
class Seen:
    """Seen sites, one element a site and group: (k,) each.

    `group`; `value`: median; `ln_sd` downwards and `ln_sd_high` upwards; `p`: probability that it is one;
    `undeclared`: no declaration is tied to it.
    """

    group: np.ndarray
    value: np.ndarray
    ln_sd: np.ndarray
    ln_sd_high: np.ndarray
    p: np.ndarray
    undeclared: np.ndarray


@dataclass
class Joined:
    """Sites and declarations with the place each belongs to.

    Attributes:
        sites: table `sites`.
        declared: table `declared`.
        site_place: (site,) place, -1: not in the ledger.
        decl_place: (declaration,) place, -1: none.
        places: number of places.
        p_match: (place,) largest p_match of its pairs, NaN where there is none.
        used: (declaration,) counts at all: neither ended nor to come nor left out.
        left: (declaration,) its place was not looked at.
        site_key: level -> (site,) text key from the ledger or the zones.
        decl_key: level -> (declaration,) text key, '' where not stated.
        by_site: zones are polygons: a site's zone is that of its own place, and a claim's that of its site.
        settings: errors of declarations.
    """

    sites: gpd.GeoDataFrame
    declared: gpd.GeoDataFrame
    site_place: np.ndarray
    decl_place: np.ndarray
    places: int
    p_match: np.ndarray
    used: np.ndarray
    left: np.ndarray
    site_key: dict[str, np.ndarray]
    decl_key: dict[str, np.ndarray]
    by_site: bool
    settings: ReconcileSettings

    @cached_property
    def kind(self) -> np.ndarray:
        """Kind of each declaration in lower case."""
        return self.declared["kind"].astype("string").fillna("").str.lower().to_numpy(object)

    @cached_property
    def idle(self) -> np.ndarray:
        """Declarations that are planned, under construction or closed."""
        return self.declared["status"].astype("string").str.lower().isin(list(NOT_OPERATING)).to_numpy(bool)

    @cached_property
    def has_site(self) -> np.ndarray:
        """Places with a seen site; the last element, of no place, is False."""
        return np.bincount(self.site_place[self.site_place >= 0], minlength=self.places + 1) > 0

    @cached_property
    def of_use(self) -> np.ndarray:
        """Declarations of chips and runs."""
        return np.isin(self.kind, list(PLACELESS_KINDS))

    @cached_property
    def has_claim(self) -> np.ndarray:
        """Places with a facility or power declaration of the ledger."""
        rows = (self.decl_place >= 0) & ~self.of_use
        return np.bincount(self.decl_place[rows], minlength=self.places + 1) > 0

    @cached_property
    def it_mw(self) -> tuple[np.ndarray, np.ndarray]:
        """Declared IT MW of facilities and permits, NaN where not stated or said twice; whether from facility MW."""
        it, facility = (columns.number(self.declared[c]) for c in ("it_mw", "facility_mw"))
        turned = np.isnan(it) & ~np.isnan(facility)
        value = np.where(turned, facility / self.settings.facility_per_it, it)
        value[self.of_use] = np.nan
        permit, known = self.kind == "power", ~np.isnan(value)
        at = self.decl_place
        stated = np.bincount(at[(at >= 0) & known & ~permit], minlength=self.places + 1) > 0
        value[permit & (at >= 0) & stated[at]] = np.nan
        return value, turned

    @cached_property
    def complete(self) -> np.ndarray:
        """Places all of whose facility declarations (permits where there are none) state their power."""
        value = self.it_mw[0]
        at, rows = self.decl_place, (self.decl_place >= 0) & ~self.of_use
        facility = rows & (self.kind != "power")
        any_facility = np.bincount(at[facility], minlength=self.places + 1) > 0
        asked = facility | (rows & ~any_facility[at])
        unknown = np.bincount(at[asked & np.isnan(value)], minlength=self.places + 1) > 0
        return ~unknown

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
        a, b, c, d = table[code].T
        return a, b, c, d

    def sides(self, level: str, quantity: str) -> tuple[Claims, Seen, int, list[str]]:
        """Return claims and seen sites of a quantity by group, the number of groups and their names."""
        value, own, common = self._amounts(quantity)
        rows = self.used & (value > 0) & np.isfinite(value)
        rows &= ~(self.idle & ~self._sited)
        if quantity == "it_mw":
            rows &= (self.decl_place < 0) | self.complete[self.decl_place] | ~self._sited
        if level == "site":
            rows &= self._sited
        seen = self._seen_places(quantity, rows, level)
        site, site_key, weight = self._attributed(level, value, seen)
        decl = np.flatnonzero(rows)
        key = self.decl_place[decl] if level == "site" else self._claim_keys(level)[decl]
        code, found = pd.factorize(np.concatenate([key, site_key]), sort=True)
        n, group, of = len(found), code[: len(decl)], code[len(decl) :]
        days = columns.days(self.declared, decl, group, n) if quantity == "flop" else np.full(n, columns.RUN_DAYS)
        p = np.where(self.has_claim[self.site_place[site]], 1.0, columns.number(self.sites["p_data_center"])[site])
        median, low, high = widest_spread(self.sites, _STEM[quantity], site)
        claims = Claims(group, value[decl], own[decl], common[decl], (self.decl_place < 0)[decl], self.idle[decl],
                        ((self.decl_place >= 0) & ~self._sited)[decl], self._cut[decl])  # fmt: skip
        sites = Seen(
            of,
            weight * median * days[of] / columns.RUN_DAYS,
            low,
            high,
            p,
            ~self.has_claim[self.site_place[site]],
        )
        names = self._place_names(found) if level == "site" else [str(v) for v in found]
        return claims, sites, n, names

    def uncertain(self, names: list[str], level: str, least: float) -> np.ndarray:
        """Groups of level 'site' whose pairing is less probable than `least`, (group,)."""
        if level != "site":
            return np.zeros(len(names), bool)
        of = dict(zip(self._place_names(np.arange(self.places)), self.p_match.tolist(), strict=True))
        return np.array([not of[name] >= least for name in names], bool)

    def left_out(self, names: list[str], level: str) -> np.ndarray:
        """Number of declarations of each group whose place was not looked at, (group,)."""
        if level == "site":
            return np.zeros(len(names), int)
        count = pd.Series(self.decl_key[level][self.left]).value_counts()
        return count.reindex(names).fillna(0).to_numpy(int)

    @cached_property
    def _sited(self) -> np.ndarray:
        return (self.decl_place >= 0) & self.has_site[self.decl_place]

    @cached_property
    def _cut(self) -> np.ndarray:
        border = self.sites["on_border"].to_numpy(bool) & (self.site_place >= 0)
        cut = np.bincount(self.site_place[border], minlength=self.places + 1) > 0
        return self._sited & cut[self.decl_place]

    def _amounts(self, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Amount, own ln-sd and common ln-sd of each declaration; NaN where it claims none."""
        n, error = len(self.declared), self.settings.declared_ln_sd
        if quantity == "it_mw":
            value, turned = self.it_mw
            return value, np.full(n, error), np.where(turned, self.settings.facility_per_it_ln_sd, 0.0)
        if quantity == "flop":
            value = np.where(self.kind == "workload", columns.number(self.declared["training_flop"]), np.nan)
            return value, np.full(n, WORKLOAD_LN_SD), np.zeros(n)
        h100e, mw, own, law = self.per_chip
        count = np.where(self.kind == "workload", np.nan, columns.number(self.declared["chips"]))
        if quantity == "h100e":
            return count * h100e, np.full(n, error), np.zeros(n)
        return count * mw, np.hypot(np.nan_to_num(own), error), np.nan_to_num(law)

    def _seen_places(self, quantity: str, rows: np.ndarray, level: str) -> np.ndarray:
        """Whether each site is laid against the claims `rows`, (site,)."""
        at = self.site_place
        inside = at >= 0
        tied = np.bincount(self.decl_place[rows & (self.decl_place >= 0)], minlength=self.places + 1) > 0
        free = ~self.has_claim & ~tied
        if quantity == "it_mw":
            tied = self.has_claim & self.complete
        if level == "site":
            return inside & tied[at]
        allowed = inside & (tied | free)[at]
        if quantity != "it_mw":  # what is declared without a place may be at any place of its owner or zone
            keys = set(self._claim_keys(level)[rows & (self.decl_place < 0)])
            if keys:
                allowed |= inside & np.isin(self.site_key[level], list(keys))
                many = (self.decl_place >= 0) & ~self.of_use & np.isin(self.decl_key[level], list(keys))
                allowed |= inside & (np.bincount(self.decl_place[many], minlength=self.places + 1) > 0)[at]
        return allowed

    def _attributed(self, level: str, value: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sites (row), the key of the group each counts for, and the share of it that does.

        The site of a place that several owners declare is divided by declared power, evenly where one states none.
        """
        site = np.flatnonzero(seen)
        at = self.site_place[site]
        if level == "site":
            return site, at, np.ones(len(site))
        own = self.site_key[level]
        rows = np.flatnonzero((self.decl_place >= 0) & ~self.of_use & (self.decl_key[level] != ""))
        if (level == "zone" and self.by_site) or not len(rows):
            return site, own[site], np.ones(len(site))
        mw = self.it_mw[0][rows]
        part = pd.DataFrame({"place": self.decl_place[rows], "key": self.decl_key[level][rows], "mw": mw})
        blank = part["mw"].isna().groupby(part["place"]).transform("any")
        part["share"] = np.where(blank, 1.0, part["mw"])
        part = part.groupby(["place", "key"], sort=True)[["share"]].sum().reset_index()
        part["share"] /= part.groupby("place")["share"].transform("sum").clip(lower=1e-12)
        both = pd.DataFrame({"site": site, "place": at}).merge(part, on="place", how="left")
        none = both["key"].isna().to_numpy(bool)
        row = both["site"].to_numpy(int)
        key = np.where(none, own[row], both["key"].to_numpy(object))
        return row, key, np.where(none, 1.0, both["share"].to_numpy(float))

    def _claim_keys(self, level: str) -> np.ndarray:
        """Keys of the declarations; of one that states none, that of the first site of its place."""
        key = self.decl_key[level]
        first = np.full(self.places + 1, "", object)
        inside = np.flatnonzero(self.site_place >= 0)[::-1]
        first[self.site_place[inside]] = self.site_key[level][inside]
        theirs = first[self.decl_place]
        take = theirs != "" if level == "zone" and self.by_site else key == ""
        return np.where(take & (self.decl_place >= 0), theirs, key)

    def _place_names(self, places: np.ndarray) -> list[str]:
        inside = np.flatnonzero(self.site_place >= 0)
        ids = pd.Series(self.sites["site_id"].astype("string").to_numpy(object)[inside])
        first = ids.groupby(self.site_place[inside]).min()
        return [columns.clean(v) if isinstance(v, str) else "" for v in first.reindex(places).tolist()]


def joined(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame,
    *,
    zones: gpd.GeoDataFrame | None,
    at: str | None,
    settings: ReconcileSettings,
) -> Joined:
    """Join the tables; arguments and errors as `balance.balances`."""
    sites = sites.sort_values("site_id", kind="stable").reset_index(drop=True)
    declared = declared.sort_values("declared_id", kind="stable").reset_index(drop=True)
    i, j = (
        columns.table_rows(ledger["site_id"], sites["site_id"]),
        columns.table_rows(ledger["declared_id"], declared["declared_id"]),
    )
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
    decl_place[use & placed] = columns.tied(declared, np.flatnonzero(use & placed), sites, site_place)
    left = (decl_place < 0) & placed & ~use
    site_key = {
        "owner": columns.of_site(ledger["owner"], i, len(sites)),
        "zone": columns.of_site(ledger["zone"], i, len(sites)),
    }
    decl_key = {c: declared[k].astype("string").fillna("").to_numpy(object)
                for c, k in (("owner", "operator"), ("zone", "zone"))}  # fmt: skip
    for key in (site_key, decl_key):
        key["owner"], key["zone"] = (
            columns.each(key["owner"], plain),
            columns.each(key["zone"], columns.zone_name),
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
            key["zone"] = columns.each(key["zone"], columns.zone_name)
    used = ~left & _current(sites, declared, at)
    return Joined(sites, declared, site_place, decl_place, places, p_match, used, left, site_key, decl_key,
                  zones is not None, settings)  # fmt: skip


def _current(sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame, at: str | None) -> np.ndarray:
    """Declarations that hold at the date: of chips and facilities neither ended nor to come; runs begun by then."""
    start, end = (
        columns.dates(declared["valid_from"], last=False),
        columns.dates(declared["valid_to"], last=True),
    )
    if at is not None:
        now = float(columns.dates(pd.Series([at]), last=False)[0])
        if math.isnan(now):
            raise ConfigError(f"balances: at '{columns.clean(at)[:40]}' is no date; give YYYY-MM-DD")
    else:
        idle = declared["status"].astype("string").str.lower().isin(list(NOT_OPERATING)).to_numpy(bool)
        seen = np.r_[columns.dates(sites["image_date"], last=False), start[~idle]]
        now = float(np.nanmax(seen)) if np.isfinite(seen).any() else math.nan
    run = declared["kind"].astype("string").str.lower().eq("workload").fillna(False).to_numpy(bool)
    return ~((start > now) | ((end <= now) & ~run))
