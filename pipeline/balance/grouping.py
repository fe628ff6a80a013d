"""Declared amounts and seen sites of a balance, by site, owner or zone.

In: `JoinedTables`. Out: for a level and a quantity `Claims` and `Seen` with the number of the group of each element:
who declares what, and which sites it is compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from overwatt.pipeline.balance import columns
from overwatt.pipeline.balance.places import JoinedTables
from overwatt.pipeline.quantiles import widest_spread

WORKLOAD_LN_SD = 0.67
"""Error of reported training FLOP: a factor 3 at 90% (Epoch AI's 'Confident'), ln 3 / 1.645 (docs/methods.md, 5.3)."""
_OPEN_LN_SD = 0.7  # of 'up to' and 'at least': a factor 2; own choice
_STEM = {"it_mw": "it_mw", "it_mw_of_chips": "it_mw", "h100e": "h100e", "flop": "flop_90d"}


@dataclass
class Claims:
    """Declared amounts, one element per declaration, (k,) each.

    Attributes:
        group: number of the group.
        value: declared amount, in the unit of the quantity.
        ln_sd: standard deviation of ln value, of the declaration's own error.
        common: the same, of the error that all such claims share.
        without_place: no place is stated, or no site is tied to it.
        unseen: its place was observed and no site was seen.
        cut: the site there is cut by the border of the imagery.
    """

    group: np.ndarray
    value: np.ndarray
    ln_sd: np.ndarray
    common: np.ndarray
    without_place: np.ndarray
    unseen: np.ndarray
    cut: np.ndarray


@dataclass
class Seen:
    """Seen sites, one element per site and group, (k,) each.

    Attributes:
        group: number of the group.
        value: median amount, in the unit of the quantity.
        ln_sd: standard deviation of ln value, from the quantiles below the median.
        ln_sd_high: the same, from the quantiles above it.
        p: probability that the site is a data center; 1 if it is declared.
        undeclared: no declaration belongs to its place.
    """

    group: np.ndarray
    value: np.ndarray
    ln_sd: np.ndarray
    ln_sd_high: np.ndarray
    p: np.ndarray
    undeclared: np.ndarray


def sides(tables: JoinedTables, level: str, quantity: str) -> tuple[Claims, Seen, int, list[str]]:
    """Return claims and seen sites of a quantity by group, the number of groups and their names.

    Args:
        tables: the joined tables.
        level: 'site', 'owner' or 'zone'.
        quantity: 'it_mw', 'it_mw_of_chips', 'h100e' or 'flop'.
    """
    value, own, common = _amounts(tables, quantity)
    stated = tables.used & (value > 0) & np.isfinite(value)
    rows = stated & ~tables.void & ~tables.unclear & ~tables.pending & ~tables.dark[tables.decl_place]
    if quantity == "it_mw":
        rows &= (tables.decl_place < 0) | tables.complete[tables.decl_place] | ~tables.decl_has_site
    if level == "site":
        rows &= tables.decl_has_site
    seen = _seen_places(tables, quantity, rows, level)
    site, site_key, weight = _attributed(tables, level, seen)
    decl = np.flatnonzero(rows)
    key = tables.decl_place[decl] if level == "site" else _claim_keys(tables, level)[decl]
    # owners and zones that declare nothing in operation have a row too
    apart = [] if level == "site" else _claim_keys(tables, level)[stated & (tables.unclear | tables.pending)]
    code, found = pd.factorize(np.concatenate([key, site_key, apart]), sort=True)
    n, group, site_group = len(found), code[: len(decl)], code[len(decl) : len(decl) + len(site)]
    days = columns.days(tables.declared, decl, group, n) if quantity == "flop" else np.full(n, columns.RUN_DAYS)
    p = np.where(tables.has_claim[tables.site_place[site]], 1.0, columns.number(tables.sites["p_data_center"])[site])
    median, low, high = widest_spread(tables.sites, _STEM[quantity], site)
    claims = Claims(group, value[decl], own[decl], common[decl], (tables.decl_place < 0)[decl],
                    ((tables.decl_place >= 0) & ~tables.decl_has_site)[decl], tables.is_cut[decl])  # fmt: skip
    sites = Seen(
        site_group,
        weight * median * days[site_group] / columns.RUN_DAYS,
        low,
        high,
        p,
        ~tables.has_claim[tables.site_place[site]],
    )
    names = _place_names(tables, found) if level == "site" else [str(v) for v in found]
    return claims, sites, n, names


def uncertain(tables: JoinedTables, names: list[str], level: str, least: float) -> np.ndarray:
    """Return which groups of level 'site' have a match probability below `least`, (group,); none at other levels."""
    if level != "site":
        return np.zeros(len(names), bool)
    of = dict(zip(_place_names(tables, np.arange(tables.places)), tables.p_match.tolist(), strict=True))
    return np.array([not of[name] >= least for name in names], bool)


def left_out(tables: JoinedTables, names: list[str], level: str) -> np.ndarray:
    """Return the number of declarations of each group whose place was not observed, (group,)."""
    if level == "site":
        return np.zeros(len(names), int)
    count = pd.Series(tables.decl_key[level][tables.unobserved]).value_counts()
    return count.reindex(names).fillna(0).to_numpy(int)


def power_unknown(tables: JoinedTables, names: list[str], level: str) -> np.ndarray:
    """Return the number of seen sites of each group whose power is not known, (group,)."""
    rows = (tables.site_place >= 0) & np.isnan(columns.number(tables.sites["it_mw_p50"]))
    if level == "site":
        key = np.array([*_place_names(tables, np.arange(tables.places)), ""], object)[tables.site_place]
    else:
        key = tables.site_key[level]
    return pd.Series(key[rows]).value_counts().reindex(names).fillna(0).to_numpy(int)


def apart(tables: JoinedTables, names: list[str], level: str, quantity: str, which: np.ndarray) -> np.ndarray:
    """Return the amount of the declarations `which` (declaration,) of each group, (group,): they count on no side."""
    value = _amounts(tables, quantity)[0]
    rows = tables.used & which & (value > 0) & np.isfinite(value)
    if level == "site":
        rows &= tables.decl_has_site
        key = np.array([*_place_names(tables, np.arange(tables.places)), ""], object)[tables.decl_place]
    else:
        key = _claim_keys(tables, level)
    return pd.Series(value[rows]).groupby(key[rows]).sum().reindex(names).fillna(0.0).to_numpy(float)


def _amounts(tables: JoinedTables, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return amount, own ln-sd and common ln-sd of each declaration; NaN if it declares none of this quantity."""
    n, error = len(tables.declared), tables.settings.declared_ln_sd
    if quantity == "it_mw":
        value, from_facility = tables.it_mw
        return (
            value,
            np.hypot(error, _range_ln_sd(tables, from_facility)),
            np.where(from_facility, tables.settings.facility_per_it_ln_sd, 0.0),
        )
    if quantity == "flop":
        value = np.where(tables.kind == "workload", columns.number(tables.declared["training_flop"]), np.nan)
        return value, np.full(n, WORKLOAD_LN_SD), np.zeros(n)
    h100e, mw, own, law = tables.per_chip
    count = np.where(tables.kind == "workload", np.nan, columns.number(tables.declared["chips"]))
    if quantity == "h100e":
        return count * h100e, np.full(n, error), np.zeros(n)
    return count * mw, np.hypot(np.nan_to_num(own), error), np.nan_to_num(law)


def _range_ln_sd(tables: JoinedTables, from_facility: np.ndarray) -> np.ndarray:
    """Return the ln-sd of a power that is declared as a range, (declaration,): uniform in ln; 0 without a range."""
    low, high = (
        np.where(from_facility, *(columns.number(tables.declared[f"{c}_{end}"]) for c in ("facility_mw", "it_mw")))
        for end in ("low", "high")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        width = np.log(high / low)
    return np.where(
        np.isnan(low) & np.isnan(high), 0.0, np.where(np.isnan(width), _OPEN_LN_SD, width / math.sqrt(12.0))
    )


def _seen_places(tables: JoinedTables, quantity: str, rows: np.ndarray, level: str) -> np.ndarray:
    """Return which sites are compared with the claims `rows`, (site,).

    Sites at claimed places are, and above level 'site' those at undeclared places too.
    """
    at = tables.site_place
    inside = (at >= 0) & ~tables.dark[at]
    tied = np.bincount(tables.decl_place[rows & (tables.decl_place >= 0)], minlength=tables.places + 1) > 0
    free = ~tables.has_claim & ~tied
    if quantity == "it_mw":
        tied = tables.has_claim & tables.complete
    if level == "site":
        return inside & tied[at]
    allowed = inside & (tied | free)[at]
    if quantity != "it_mw":  # a claim without a place may be at any place of its owner or zone
        keys = set(_claim_keys(tables, level)[rows & (tables.decl_place < 0)])
        if keys:
            allowed |= inside & np.isin(tables.site_key[level], list(keys))
            declared_there = (tables.decl_place >= 0) & ~tables.is_use & np.isin(tables.decl_key[level], list(keys))
            allowed |= inside & (np.bincount(tables.decl_place[declared_there], minlength=tables.places + 1) > 0)[at]
    return allowed


def _attributed(tables: JoinedTables, level: str, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row of the site, key of the group and share of the site that counts for this group; each (k,).

    A site that several owners declare is divided by their declared powers, or equally if one of them states none.
    """
    site = np.flatnonzero(seen)
    at = tables.site_place[site]
    if level == "site":
        return site, at, np.ones(len(site))
    own = tables.site_key[level]
    rows = np.flatnonzero((tables.decl_place >= 0) & ~tables.is_use & (tables.decl_key[level] != ""))
    if (level == "zone" and tables.zones_given) or not len(rows):
        return site, own[site], np.ones(len(site))
    mw = tables.it_mw[0][rows]
    part = pd.DataFrame({"place": tables.decl_place[rows], "key": tables.decl_key[level][rows], "mw": mw})
    any_unstated = part["mw"].isna().groupby(part["place"]).transform("any")
    part["share"] = np.where(any_unstated, 1.0, part["mw"])
    part = part.groupby(["place", "key"], sort=True)[["share"]].sum().reset_index()
    part["share"] /= part.groupby("place")["share"].transform("sum").clip(lower=1e-12)
    both = pd.DataFrame({"site": site, "place": at}).merge(part, on="place", how="left")
    unclaimed = both["key"].isna().to_numpy(bool)
    row = both["site"].to_numpy(int)
    key = np.where(unclaimed, own[row], both["key"].to_numpy(object))
    return row, key, np.where(unclaimed, 1.0, both["share"].to_numpy(float))


def _claim_keys(tables: JoinedTables, level: str) -> np.ndarray:
    """Return the key of each declaration; if it states none, the key of the first site of its place."""
    key = tables.decl_key[level]
    first = np.full(tables.places + 1, "", object)
    inside = np.flatnonzero(tables.site_place >= 0)[::-1]
    first[tables.site_place[inside]] = tables.site_key[level][inside]
    theirs = first[tables.decl_place]
    take = theirs != "" if level == "zone" and tables.zones_given else key == ""
    return np.where(take & (tables.decl_place >= 0), theirs, key)


def _place_names(tables: JoinedTables, places: np.ndarray) -> list[str]:
    """Return for each place the first site_id, '' if it has no site."""
    inside = np.flatnonzero(tables.site_place >= 0)
    ids = pd.Series(tables.sites["site_id"].astype("string").to_numpy(object)[inside])
    first = ids.groupby(tables.site_place[inside]).min()
    return [columns.clean(v) if isinstance(v, str) else "" for v in first.reindex(places).tolist()]
