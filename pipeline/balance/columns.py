"""Columns of balances: keys, numbers, dates, and the site to which chips or runs belong.

In: columns of the tables `ledger`, `sites`, `declared`. Out: arrays for `places` and `grouping`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import EARTH_RADIUS_M, WGS84, centres, on_sphere
from overwatt.pipeline.tables import iso_days

RUN_DAYS = 90.0
"""Length of a reported run without stated dates, days: the period of column flop_90d; own choice."""
_REACH_M, _REACH_SIGMA, _MAX_ERROR_M = 500.0, 2.0, 1500.0  # limits for assigning chips to a site; own choice
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: object) -> str:
    """Return text without control and direction characters, at most 120 long; '' if it is no text."""
    return " ".join(_CONTROL.sub(" ", text).split())[:120] if isinstance(text, str) else ""


def table_rows(ids: pd.Series, known: pd.Series) -> np.ndarray:
    """Return the row of each id in `known`, (n,) int; -1 for null.

    Raises:
        ConfigError: an id is missing in `known`.
    """
    given = ids.astype("string")
    row = pd.Index(known.astype("string")).get_indexer(pd.Index(given)) if len(known) else np.full(len(ids), -1)
    row = np.where(given.isna(), -1, row)
    if (lost := (row < 0) & given.notna().to_numpy(bool)).any():
        name = clean(given[np.flatnonzero(lost)[0]])[:60]
        raise ConfigError(
            f"ledger: {ids.name} '{name}' is not in its table; use the tables from which the ledger was made"
        )
    return np.asarray(row, int)


def each(values: np.ndarray, change: Callable[[object], str]) -> np.ndarray:
    """Return `change(value)` for each value, called once per distinct value; '' for null."""
    code, found = pd.factorize(values)
    texts = np.empty(len(found) + 1, object)
    texts[:] = [*(change(v) for v in found), ""]
    return texts[code]


def of_site(values: pd.Series, i: np.ndarray, n: int) -> np.ndarray:
    """Return for each site the first stated value in alphabetical order, (n,); '' if none is stated.

    Args:
        values: (ledger row,) texts.
        i: (ledger row,) row of the site, -1 if none.
        n: number of sites.
    """
    text = values.astype("string").fillna("").to_numpy(object)
    out = np.full(n, "", object)
    rows = np.flatnonzero((i >= 0) & (text != ""))
    rows = rows[np.lexsort([text[rows].astype(str), i[rows]])][::-1]
    out[i[rows]] = text[rows]
    return out


def number(values: pd.Series) -> np.ndarray:
    """Return values as float64, (n,); NaN if null, non-numeric or not finite."""
    out = pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan).copy()
    out[~np.isfinite(out)] = np.nan
    return out


def tied(declared: gpd.GeoDataFrame, rows: np.ndarray, sites: gpd.GeoDataFrame, place: np.ndarray) -> np.ndarray:
    """Return the place of the site to which each declaration of chips or runs clearly belongs, (row,).

    -1 if no site is near, if the position error is large, or if a site of another place is about as near.

    Args:
        declared: table `declared`.
        rows: (row,) row numbers of the declarations.
        sites: table `sites`.
        place: (site,) place of each site, -1 if none.
    """
    known = np.flatnonzero(place >= 0)
    out = np.full(len(rows), -1)
    if not len(known) or not len(rows):
        return out
    # km from here on; the side of a square of the buildings' area serves as radius of the site
    radius_km = 1e-3 * np.sqrt(np.maximum(number(sites["building_area_m2"])[known], 0.0))
    tree = cKDTree(on_sphere(centres(sites.geometry.to_numpy()[known]), EARTH_RADIUS_M / 1e3))
    away_km, near = tree.query(
        on_sphere(centres(declared.geometry.to_numpy()[rows]), EARTH_RADIUS_M / 1e3), k=min(8, len(known))
    )
    away_km, near = away_km.reshape(len(rows), -1), near.reshape(len(rows), -1)
    away_km = np.maximum(away_km - np.nan_to_num(radius_km)[near], 0.0)
    order = np.argsort(away_km, axis=1, kind="stable")
    away_km, near = np.take_along_axis(away_km, order, 1), np.take_along_axis(near, order, 1)
    near_place = place[known][near]
    error_km = 1e-3 * np.nan_to_num(number(declared["position_error_m"])[rows], nan=np.inf)
    other_away = np.where(near_place != near_place[:, :1], away_km, np.inf).min(1)
    reach_km = np.maximum(1e-3 * _REACH_M, _REACH_SIGMA * error_km)
    # clear: another place is more than twice as far, and farther than one sigma; own choice
    clear = (
        (error_km <= 1e-3 * _MAX_ERROR_M)
        & (away_km[:, 0] <= reach_km)
        & (other_away > np.maximum(2 * away_km[:, 0], error_km))
    )
    out[clear] = near_place[clear, 0]
    return out


def dates(values: pd.Series, *, last: bool) -> np.ndarray:
    """Return ISO dates as days since 1970, (n,) float64; NaN if there is none.

    Args:
        values: texts; a year or a month stands for its first day.
        last: the dates are the ends of periods: the day after the last day is returned.
    """
    day = iso_days(values, end=last) + int(last)
    return np.where(np.isnat(day), np.nan, day.astype(np.int64).astype(float))


def days(declared: gpd.GeoDataFrame, rows: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """Return the number of days on which the runs of each group ran, (group,); overlapping days count once.

    A run without dates counts `RUN_DAYS`, in addition to the others.

    Args:
        declared: table `declared`.
        rows: (run,) row numbers of the runs.
        group: (run,) number of the group.
        n: number of groups.
    """
    start = dates(declared["valid_from"], last=False)[rows]
    end = dates(declared["valid_to"], last=True)[rows]
    undated = np.isnan(start) & np.isnan(end)
    out = RUN_DAYS * np.bincount(group[undated], minlength=n)
    only = np.isnan(end)  # a single date is that of the publication: the run ended before it
    end = np.where(only, start, end)
    start = np.where(only | np.isnan(start), end - RUN_DAYS, start)
    frame = pd.DataFrame({"g": group, "a": start, "b": end})[~undated].sort_values(["g", "a", "b"], kind="stable")
    # union of intervals: in order of start, each adds only the days after the latest end so far
    reached = frame.groupby("g")["b"].cummax().groupby(frame["g"]).shift(1).fillna(-np.inf)
    fresh = np.maximum(frame["b"] - np.maximum(frame["a"], reached), 0.0)
    return np.asarray(out + np.bincount(frame["g"], fresh, n))


def inside(points: np.ndarray, zones: gpd.GeoDataFrame) -> np.ndarray:
    """Return the name of the zone that contains each point, (n,) object; None if none, the first by name if several."""
    ordered = zones.assign(name=zones["name"].astype("string").fillna("")).sort_values("name", kind="stable")
    shapes = ordered.to_crs(WGS84).geometry if ordered.crs is not None else ordered.geometry
    out = np.full(len(points), None, object)
    usable = np.flatnonzero(~(shapely.is_missing(points) | shapely.is_empty(points)))
    at, zone = shapely.STRtree(shapes.to_numpy()).query(points[usable], predicate="intersects")
    best = np.full(len(points), len(ordered))
    np.minimum.at(best, usable[at], zone)
    hit = best < len(ordered)
    out[hit] = ordered["name"].to_numpy(object)[best[hit]]
    return out
