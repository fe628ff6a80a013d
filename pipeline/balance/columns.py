"""Columns of balances: keys, numbers, spreads, dates, and which site a declared place is at."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import geopandas as gpd
import numpy as np
import pandas as pd
import pycountry
import shapely
from scipy.spatial import cKDTree

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import EARTH_RADIUS_M, centres, on_sphere
from overwatt.pipeline.tables import iso_days

RUN_DAYS = 90.0
"""Taken for a reported run whose dates are not stated: the period of column flop_90d; own choice."""
_REACH_M, _REACH_SIGMA, _MAX_ERROR_M = 500.0, 2.0, 1500.0  # chips are tied to a site within this; own choice
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: object) -> str:
    """Text without control and direction characters, at most 120 long; '' for nothing."""
    return " ".join(_CONTROL.sub(" ", text).split())[:120] if isinstance(text, str) else ""


_COUNTRY_NAMES = {
    "UK": "GB", "GREAT BRITAIN": "GB", "PRC": "CN", "PEOPLES REPUBLIC OF CHINA": "CN", "UAE": "AE", "RUSSIA": "RU",
    "SOUTH KOREA": "KR", "KOREA": "KR", "REPUBLIC OF KOREA": "KR", "KOREA (REPUBLIC OF)": "KR", "TURKEY": "TR",
}  # fmt: skip
"""Names in use that ISO 3166-1 does not list."""
_AMBIGUOUS = frozenset({"GEORGIA"})
"""A zone of this name may be the State of the US: it stays as it is."""


def zone_name(text: object) -> str:
    """A zone's name in capitals without needless spaces ('us-va' is 'US-VA'), countries by their ISO 3166-1 code."""
    name = clean(text).upper()
    return _country_code(name.replace(".", "").replace("'", "").removeprefix("THE ")) or name


@cache
def _country_code(name: str) -> str:
    """ISO 3166-1 alpha-2 code of a country's name in capitals; '' where it is no country's or a code itself."""
    if name in _COUNTRY_NAMES:
        return _COUNTRY_NAMES[name]
    if len(name) < 3 or name in _AMBIGUOUS:  # two letters may be a State: VA, CA, DE
        return ""
    try:
        return str(pycountry.countries.lookup(name).alpha_2)
    except LookupError:
        return ""


def table_rows(ids: pd.Series, known: pd.Series) -> np.ndarray:
    """Row of each id in `known`, -1 where it is null, (n,) int.

    Raises:
        ConfigError: an id is not there.
    """
    given = ids.astype("string")
    row = pd.Index(known.astype("string")).get_indexer(pd.Index(given)) if len(known) else np.full(len(ids), -1)
    row = np.where(given.isna(), -1, row)
    if (lost := (row < 0) & given.notna().to_numpy(bool)).any():
        name = clean(given[np.flatnonzero(lost)[0]])[:60]
        raise ConfigError(f"ledger: {ids.name} '{name}' is not in its table; give the tables the ledger was made from")
    return np.asarray(row, int)


def each(values: np.ndarray, change: Callable[[object], str]) -> np.ndarray:
    """Change every distinct text once; '' for null."""
    code, found = pd.factorize(values)
    texts = np.empty(len(found) + 1, object)
    texts[:] = [*(change(v) for v in found), ""]
    return texts[code]


def of_site(values: pd.Series, i: np.ndarray, n: int) -> np.ndarray:
    """First value by row of the ledger that is stated of each site, '' where none, (n,)."""
    text = values.astype("string").fillna("").to_numpy(object)
    out = np.full(n, "", object)
    rows = np.flatnonzero((i >= 0) & (text != ""))
    rows = rows[np.lexsort([text[rows].astype(str), i[rows]])][::-1]
    out[i[rows]] = text[rows]
    return out


def number(values: pd.Series) -> np.ndarray:
    """Float64, NaN where null, no number or not finite, (n,)."""
    out = pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan).copy()
    out[~np.isfinite(out)] = np.nan
    return out


def tied(declared: gpd.GeoDataFrame, rows: np.ndarray, sites: gpd.GeoDataFrame, place: np.ndarray) -> np.ndarray:
    """Place of the site that each of `rows` (chips, runs) clearly lies at, -1 where none or several, (row,)."""
    known = np.flatnonzero(place >= 0)
    out = np.full(len(rows), -1)
    if not len(known) or not len(rows):
        return out
    radius = 1e-3 * np.sqrt(np.maximum(number(sites["building_area_m2"])[known], 0.0))
    tree = cKDTree(on_sphere(centres(sites.geometry.to_numpy()[known]), EARTH_RADIUS_M / 1e3))
    away, near = tree.query(
        on_sphere(centres(declared.geometry.to_numpy()[rows]), EARTH_RADIUS_M / 1e3), k=min(8, len(known))
    )
    away, near = away.reshape(len(rows), -1), near.reshape(len(rows), -1)
    away = np.maximum(away - np.nan_to_num(radius)[near], 0.0)
    order = np.argsort(away, axis=1, kind="stable")
    away, near = np.take_along_axis(away, order, 1), np.take_along_axis(near, order, 1)
    theirs = place[known][near]
    error = 1e-3 * np.nan_to_num(number(declared["position_error_m"])[rows], nan=np.inf)
    other = np.where(theirs != theirs[:, :1], away, np.inf).min(1)
    reach = np.maximum(1e-3 * _REACH_M, _REACH_SIGMA * error)
    clear = (error <= 1e-3 * _MAX_ERROR_M) & (away[:, 0] <= reach) & (other > np.maximum(2 * away[:, 0], error))
    out[clear] = theirs[clear, 0]
    return out


def dates(values: pd.Series, *, last: bool) -> np.ndarray:
    """Days since 1970 of ISO dates, of a year or month its first or the day after its last, NaN where none, (n,)."""
    day = iso_days(values, end=last) + int(last)
    return np.where(np.isnat(day), np.nan, day.astype(np.int64).astype(float))


def days(declared: gpd.GeoDataFrame, rows: np.ndarray, group: np.ndarray, n: int) -> np.ndarray:
    """Days on which the runs of each group ran, overlaps counted once, (group,); `RUN_DAYS` for a run without dates."""
    start = dates(declared["valid_from"], last=False)[rows]
    end = dates(declared["valid_to"], last=True)[rows]
    undated = np.isnan(start) & np.isnan(end)
    out = RUN_DAYS * np.bincount(group[undated], minlength=n)
    only = np.isnan(end)  # a single date is that of the report: the run ended before
    end = np.where(only, start, end)
    start = np.where(only | np.isnan(start), end - RUN_DAYS, start)
    frame = pd.DataFrame({"g": group, "a": start, "b": end})[~undated].sort_values(["g", "a", "b"], kind="stable")
    reached = frame.groupby("g")["b"].cummax().groupby(frame["g"]).shift(1).fillna(-np.inf)
    fresh = np.maximum(frame["b"] - np.maximum(frame["a"], reached), 0.0)
    return np.asarray(out + np.bincount(frame["g"], fresh, n))


def inside(points: np.ndarray, zones: gpd.GeoDataFrame) -> np.ndarray:
    """Return the name of the zone that holds each point, None where none does, (n,); the first by name where two do."""
    ordered = zones.assign(name=zones["name"].astype("string").fillna("")).sort_values("name", kind="stable")
    shapes = ordered.to_crs("OGC:CRS84").geometry if ordered.crs is not None else ordered.geometry
    out = np.full(len(points), None, object)
    usable = np.flatnonzero(~(shapely.is_missing(points) | shapely.is_empty(points)))
    at, zone = shapely.STRtree(shapes.to_numpy()).query(points[usable], predicate="intersects")
    best = np.full(len(points), len(ordered))
    np.minimum.at(best, usable[at], zone)
    hit = best < len(ordered)
    out[hit] = ordered["name"].to_numpy(object)[best[hit]]
    return out
