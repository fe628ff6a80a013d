"""Validation of whole columns of received tables; a row with a fault is rejected, with its first reason.

In: columns as received. Out: arrays of numbers, dates and geometries, and `RowValidator.reason`. Columns are checked
with array operations; only doubtful cells go to the functions of `parsing`, so both give the same result and message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import chord, on_sphere
from overwatt.pipeline.declared.coordinates import drawn, one_place, spread_m, wrapped
from overwatt.pipeline.declared.parsing import as_date, as_geometry, as_number, as_power, decimal_mark, stated, texts

_NUMBER = re.compile(r"\d[\d.,'\u2019]*")
_SWAP_M, _ALONE_M = 50_000.0, 500_000.0  # own choices, reasons in RowValidator.swapped


class RowValidator:
    """Validates the columns of one table and collects the first fault of each row.

    Attributes:
        source: name of the registry, for reasons.
        row: (n,) int, row numbers as the user counts them.
        reason: (n,) object: None, or the reason why the row is rejected.
        spread_m: (n,) distance up to which points lie from the middle that stands for them, m; 0 for single points.
    """

    def __init__(self, source: str, row: np.ndarray, fault: np.ndarray | None = None) -> None:
        self.source, self.row = source, row
        self.reason = np.full(len(row), None, dtype=object)
        self.spread_m = np.zeros(len(row))
        if fault is not None:
            self.reason[:] = [f or None for f in texts(fault)]

    def faulty(self, rows: np.ndarray, of: Callable[[int], object]) -> dict[int, object]:
        """Return `of(k)` by row index `k`; where it raises RegistryError, the message becomes the reason of the row."""
        values = {}
        for k in rows.tolist():
            try:
                values[k] = of(k)
            except RegistryError as error:
                self.note(k, str(error))
        return values

    def note(self, k: int, reason: str) -> None:
        """Reject row index `k`; an earlier reason is kept."""
        if self.reason[k] is None:
            self.reason[k] = reason

    def numbers(self, values: np.ndarray, column: str, negative: bool = False) -> np.ndarray:
        """Return cells as float64 (n,), NaN where empty or rejected; `negative`: negative numbers are allowed."""
        if values.dtype.kind in "iuf":
            out = values.astype(float)
            bad = np.isinf(out) | ((out < 0) & (not negative))
            self.faulty(np.flatnonzero(bad), lambda k: as_number(values[k], self.source, int(self.row[k]), column))
            return np.where(bad, np.nan, out)
        text = stated(texts(values))
        empty = text == np.array(None, dtype=object)
        mark = None
        try:
            out = np.where(empty, np.nan, text).astype(float)
        except ValueError:
            mark = decimal_mark(t for t in text.tolist() if t)
            out = np.array([_float(t, mark) for t in text.tolist()])
        bad = ~empty & (~np.isfinite(out) | ((out < 0) & (not negative)))
        self.faulty(
            np.flatnonzero(bad), lambda k: as_number(text[k], self.source, int(self.row[k]), column, negative, mark)
        )
        return np.where(bad, np.nan, out)

    def powers(self, values: np.ndarray, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return power in MW and the ends of its range, float64 (n,) each, NaN where empty, open or rejected."""
        text = stated(texts(values)) if values.dtype.kind not in "iuf" else np.zeros(0, object)
        try:  # most columns are plain numbers
            plain = np.where(text == np.array(None, dtype=object), np.nan, text).astype(float)
        except ValueError:
            plain = np.array([-1.0])
        if not (plain < 0).any() and not np.isinf(plain).any():
            nothing = np.full(len(values), np.nan)
            return self.numbers(values, column), nothing, nothing.copy()
        mark = decimal_mark(number for t in text.tolist() if t for number in _NUMBER.findall(t))
        out = np.full((3, len(text)), np.nan)
        given = np.flatnonzero(text != np.array(None, dtype=object))
        found = self.faulty(given, lambda k: as_power(text[k], self.source, int(self.row[k]), column, mark))
        for k, power in found.items():
            out[:, k] = power
        return out[0], out[1], out[2]

    def power_range(self, frame: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return power in MW and the ends of its range, float64 (n,) each, from `column` and its '_low' and '_high'.

        A row that states only the ends has their geometric mean as its power, or the one end that it states.
        """
        nothing = np.full(len(frame), np.nan)
        mid, low, high = self.powers(frame[column].to_numpy(), column) if column in frame else (nothing,) * 3
        ends = [self.powers(frame[c].to_numpy(), c)[0] if c in frame else nothing
                for c in (f"{column}_low", f"{column}_high")]  # fmt: skip
        low, high = (np.where(np.isnan(v), own, v) for v, own in zip(ends, (low, high), strict=True))
        low = np.where(low > 0, low, np.nan)
        for k in np.flatnonzero(low > high).tolist():
            self.note(k, f"registry '{self.source}', row {self.row[k]}: {column}_low {low[k]:g} is above {column}_high "
                         f"{high[k]:g}")  # fmt: skip
        for k in np.flatnonzero((mid < low) | (mid > high)).tolist():
            self.note(k, f"registry '{self.source}', row {self.row[k]}: {column} {mid[k]:g} lies outside of its range")
        between = np.where(np.isnan(low), high, np.where(np.isnan(high), low, np.sqrt(low * high)))
        return np.where(np.isnan(mid), between, mid), low, high

    def dates(self, values: np.ndarray, column: str) -> np.ndarray:
        """Return cells as ISO dates (n,) object, None where empty or rejected."""
        # each distinct text is parsed once; code -1 (empty) picks the extra None at the end of `out`
        code, words = _coded(stated(texts(values)))
        out = np.full(len(words) + 1, None, dtype=object)
        for c, word in enumerate(words.tolist()):
            try:
                out[c] = as_date(word, self.source, 0, column)
            except RegistryError:
                rows = np.flatnonzero(code == c)
                self.faulty(rows, partial(self._dated, word, column))
        return out[code]

    def _dated(self, word: str, column: str, k: int) -> str | None:
        return as_date(word, self.source, int(self.row[k]), column)

    def places(self, frame: pd.DataFrame, placeless: np.ndarray) -> np.ndarray:
        """Return geometries (n,) object, lon/lat; None where rejected.

        Args:
            frame: columns geometry (as `coordinates.drawn` reads it), or lon and lat, or all of them.
            placeless: (n,) bool, rows that may have no place; they get an empty point.

        Raises:
            RegistryError: lon and lat are projected coordinates.
        """
        n = len(frame)
        shape = np.full(n, None, dtype=object)
        if "geometry" in frame:
            shape, unreadable = drawn(frame["geometry"].to_numpy(dtype=object))
            for k, why in unreadable.items():
                self.note(k, f"registry '{self.source}', row {self.row[k]}, column 'geometry': {why}")
        given = np.zeros(n, bool)
        if {"lon", "lat"} <= set(frame):
            missing = np.array([g is None for g in shape])
            before = self.reason.copy()
            lon, lat = (self.numbers(frame[c].to_numpy(), c, negative=True) for c in ("lon", "lat"))
            # faulty lon or lat do not matter in a row that has a geometry
            self.reason = np.where(missing, self.reason, before)
            given = missing & np.isfinite(lon) & np.isfinite(lat)
            # degrees lie within 360; where most rows do not, the columns are those of a map projection
            far = given & (np.fmax(np.abs(lon), np.abs(lat)) > 360)
            if 2 * far.sum() > given.sum():
                k = np.flatnonzero(far)[0]
                raise RegistryError(
                    f"registry '{self.source}': coordinates such as x {lon[k]:g}, y {lat[k]:g} are projected, not "
                    "degrees; give columns lon and lat, or a file that states its CRS (GeoPackage)"
                )
            shape[given] = shapely.points(lon[given], lat[given])
        for k in np.flatnonzero(
            np.isin(shapely.get_type_id(shape), (1, 4, 7))
        ).tolist():  # lines, several points, collections
            self.spread_m[k] = spread_m(shape[k])
            try:
                shape[k] = one_place(shape[k])
            except RegistryError as error:
                self.note(k, f"registry '{self.source}', row {self.row[k]}, column 'geometry': {error}")
        shape = wrapped(shape)
        here = np.flatnonzero([g is not None and not g.is_empty for g in shape])
        absent = np.ones(n, bool)
        absent[here] = False
        self.faulty(np.flatnonzero(absent & ~placeless), lambda k: as_geometry({}, self.source, int(self.row[k])))
        shape[absent] = None
        shape[absent & placeless] = shapely.Point()
        kind = shapely.get_type_id(shape)
        west, south, east, north = shapely.bounds(shape).T
        # points (type 0) and valid polygons (3, 6) within range and away from 0, 0 need no further check
        plain = (west >= -180) & (east <= 180) & (south >= -90) & (north <= 90)
        plain &= ~((west == 0) & (east == 0) & (south == 0) & (north == 0)) & ~shapely.has_z(shape)
        plain &= (kind == 0) | (np.isin(kind, (3, 6)) & shapely.is_valid(shape))
        odd = np.flatnonzero(~plain & ~absent)
        mended = self.faulty(odd, lambda k: as_geometry({"geometry": shape[k]}, self.source, int(self.row[k])))
        for k in odd.tolist():
            shape[k] = mended.get(k)
        return shape

    def swapped(self, shape: np.ndarray, zone: np.ndarray) -> None:
        """Reject points with swapped lon and lat that are still in range, if the other rows show the swap.

        A point counts as swapped only if no other row lies within 500 km of it, three others lie within 50 km of it
        after the swap, and, if it states a zone, one of these states the same zone. The distances are own choices, so
        that a remote true facility is kept (docs/reference/registries.md).

        Args:
            shape: (n,) geometries, lon/lat.
            zone: (n,) object, stated zone or None.
        """
        points = np.flatnonzero((self.reason == np.array(None, dtype=object)) & (shapely.get_type_id(shape) == 0))
        points = points[~shapely.is_empty(shape[points])]
        if len(points) < 5:
            return
        xy = shapely.get_coordinates(shape[points])
        tree = cKDTree(on_sphere(xy))
        back = np.flatnonzero(np.abs(xy[:, 0]) <= 90)
        away, near = tree.query(on_sphere(xy[back][:, ::-1]), k=3, distance_upper_bound=chord(_SWAP_M))
        back, near = back[np.isfinite(away[:, 2])], near[np.isfinite(away[:, 2])]
        # a place with many rows of its own is not a swap: at most 3, or 2% of the rows; own choice
        here = tree.query_ball_point(on_sphere(xy[back]), chord(_SWAP_M), return_length=True)
        back, near = back[here <= max(3, len(points) // 50)], near[here <= max(3, len(points) // 50)]
        # rows that were swapped together lie close to each other: they do not count as neighbours
        sure = np.ones(len(points), bool)
        sure[back] = False
        if not len(back) or not sure.any():
            return
        cells = np.unique(np.round(xy[sure], 1), axis=0)
        lone = cKDTree(on_sphere(cells)).query(on_sphere(xy[back]))[0]
        lone = (lone > chord(_ALONE_M)) & sure[near].all(axis=1)
        for k, close in zip(back[lone].tolist(), near[lone], strict=True):
            if zone[points[k]] is None or zone[points[k]] in zone[points[close]]:
                self.note(
                    int(points[k]),
                    f"registry '{self.source}', row {self.row[points[k]]}: {xy[k, 0]:g}, {xy[k, 1]:g} lies far from "
                    "all other rows, but among them after exchanging lon and lat; are they swapped?",
                )


def _float(text: str | None, mark: str | None) -> float:
    try:
        value = as_number(text, "", 0, "", negative=True, mark=mark)
    except RegistryError:
        return math.nan
    return math.nan if value is None else value


def _coded(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    code, words = pd.factorize(text)
    return code, np.asarray(words, dtype=object)
