"""Entity resolution across registries: rows of one facility become one row that lists its sources.

In: tables `declared`. Out: one table, in which a facility that IM3, OpenStreetMap, EPA and Epoch all list is one row.
Two rows of different sources are one facility if each is the best partner of the other and if position and labels
agree: within 3 sigma of their combined position errors with an agreeing name or operator; or within 1 sigma if one of
them has no label. Rows of the same source are never joined. Chips and workloads are not joined, as they are not places.
All limits here are own choices, judged by eye on IM3, EPA and OpenStreetMap (docs/reference/registries.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import cKDTree

from overwatt.aoi.geodesy import DEGREE_EQUATOR_M, EARTH_RADIUS_M, WGS84, centres, local_frame, on_sphere
from overwatt.pipeline.declared.names import plain, similarities
from overwatt.pipeline.tables import conform, empty
from overwatt.pipeline.vocabulary import PLACELESS_KINDS, UNKNOWN_STATUS

_SIGMAS, _SIGMAS_UNNAMED = 3.0, 1.0
_FAR_M = 8000.0  # largest distance of a pair, however vague the positions: beyond it a name is not enough
_UNNAMED_M = 300.0  # rows without labels are joined only if their combined sigma is at most this
_PRECISE_M = 100.0  # rows that touch are joined whatever their names, if their combined sigma is at most this
_CLASSES_M = (60.0, 300.0, 1000.0, 3000.0, np.inf)  # one search per class of error: a vague row widens no other search
_AGREE, _DIFFER = 0.85, 0.65  # similarity of labels that agree from here on, and that differ below, as in `names`
_LABEL_GAIN = {"agree": 6.0, "unclear": 1.0, "unknown": 0.0, "differ": -4.0}
_NAME_GAIN = 2.0  # extra score of an agreeing name: unlike an operator, it distinguishes buildings of one campus
_STATUS_COLUMNS = (
    "status",
    "status_stated",
    "valid_from",
    "valid_to",
)  # from one row: other dates would make another statement
_SHAPE_COLUMNS = ("geometry", "position_error_m", "area_m2")  # from the row with the smallest position error


def merge_registries(tables: Sequence[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Return the tables `declared` as one table, with rows of different sources joined if they are one facility.

    The row with the smallest position error gives position and outline. Other columns take the first known value in
    order of position error, source, id. Status and its dates come from one row, dated rows first. `also` lists the
    other rows ('source:id | source:id'), licences are joined, reliability is the highest one. An id that occurs in two
    rows becomes 'source:id'. The order of `tables` and of their rows does not matter; the result is sorted by source
    and id.

    Args:
        tables: any number of tables `declared`.

    Raises:
        ValueError: a table lacks a column of `declared`.
    """
    tables = [t for t in tables if len(t)]
    if not tables:
        return empty("declared")
    frame = pd.concat([pd.DataFrame(conform(t, "declared")) for t in tables], ignore_index=True)
    frame["geometry"] = frame["geometry"].astype(object)
    order = {"key": [f"{s}\0{i}" for s, i in zip(frame["source"], frame["declared_id"], strict=True)]}
    wkb = shapely.to_wkb(frame["geometry"].to_numpy(object))
    frame = frame.assign(**order, wkb=wkb).sort_values(["key", "wkb", "position_error_m"], kind="stable")
    frame = frame.drop(columns=["wkb"]).reset_index(drop=True)
    group = _groups(frame)
    return _joined(frame, group)


def _groups(frame: pd.DataFrame) -> np.ndarray:
    """Return the facility of each row, (n,) int: the row number of one of its rows.

    Pairs are merged from the highest score down with union-find; a merge that would put two rows of one source into one
    facility is skipped.
    """
    n = len(frame)
    source = pd.factorize(frame["source"], sort=True)[0]
    a, b, score = _pairs(frame, source)
    best = np.ones(len(a), bool)
    # keep pairs in which each row is the best partner of the other among the rows of its source
    for mine, theirs in ((a, b), (b, a)):
        key = mine.astype(np.int64) * (source.max() + 1) + source[theirs]
        by = np.lexsort((theirs, -score, key))
        first = np.ones(len(by), bool)
        first[1:] = key[by][1:] != key[by][:-1]
        mask = np.zeros(len(a), bool)
        mask[by[first]] = True
        best &= mask
    parent = np.arange(n)
    members: dict[int, set[int]] = {}

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]  # path halving
            k = int(parent[k])
        return k

    a, b, score = a[best], b[best], score[best]
    for k in np.lexsort((b, a, -score)).tolist():
        i, j = sorted((root(int(a[k])), root(int(b[k]))))
        here, there = (members.get(r, {int(source[r])}) for r in (i, j))
        if i != j and not here & there:
            parent[j] = i
            members[i] = here | there
    return np.array([root(k) for k in range(n)], dtype=np.int64)


def _pairs(frame: pd.DataFrame, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return candidate pairs (a < b) of rows of different sources, and their scores; all (pair,)."""
    shape = frame["geometry"].to_numpy(object)
    placed = np.flatnonzero(~shapely.is_empty(shape) & ~frame["kind"].isin(PLACELESS_KINDS).to_numpy(bool))
    none = np.zeros(0, int)
    if len(placed) < 2 or len(np.unique(source[placed])) < 2:
        return none, none, np.zeros(0)
    middle = np.full((len(frame), 2), np.nan)
    middle[placed] = centres(shape[placed])
    at = on_sphere(middle, EARTH_RADIUS_M)
    west, south, east, north = shapely.bounds(shape).T
    # half the diagonal of the bounding box, m; at most 5 km, so that one huge outline does not widen the search
    reach = np.nan_to_num(np.minimum(np.hypot(east - west, north - south) * DEGREE_EQUATOR_M / 2.0, 5000.0))
    error = frame["position_error_m"].to_numpy(float)
    a, b = _near(placed, at, reach, error, source)
    gap = np.empty(len(a))
    for part in np.array_split(np.arange(len(a)), max(1, len(a) // 200_000)):
        lon, lat = middle[a[part], 0], middle[a[part], 1]
        gap[part] = shapely.distance(local_frame(shape[a[part]], lon, lat), local_frame(shape[b[part]], lon, lat))
    sigma = np.hypot(error[a], error[b])
    near = gap <= np.minimum(_SIGMAS * sigma, _FAR_M)
    a, b, gap, sigma = a[near], b[near], gap[near], sigma[near]
    named, alike = _labels(frame, a, b)
    label = np.select(
        [alike >= _AGREE, np.isnan(alike), alike >= _DIFFER],
        [_LABEL_GAIN["agree"], _LABEL_GAIN["unknown"], _LABEL_GAIN["unclear"]],
        _LABEL_GAIN["differ"],
    )
    label += np.where(named >= _AGREE, _NAME_GAIN, 0.0)
    unnamed = (gap <= _SIGMAS_UNNAMED * sigma) & (sigma <= _UNNAMED_M)
    # outlines of one building in two registries may be 10 m apart
    touch = (gap <= 10.0) & (sigma <= _PRECISE_M)
    keep = (alike >= _AGREE) | touch | (unnamed & ~(alike < _DIFFER))
    apart = np.hypot(*(middle[a] - middle[b]).T)  # degrees; breaks ties of rows inside one outline
    # labels plus the log-density of a Gaussian distance
    score = label - 0.5 * (gap / sigma) ** 2 - np.minimum(apart, 1.0) * 10.0
    return a[keep], b[keep], score[keep]


def _near(
    placed: np.ndarray, at: np.ndarray, reach: np.ndarray, error: np.ndarray, source: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (a < b) of different sources whose centres are near enough for an exact comparison.

    Args:
        placed: rows that have a place.
        at: (n, 3) centres on the sphere, m.
        reach: (n,) half size of the outline, m.
        error: (n,) position error, 1 sigma, m.
        source: (n,) int, code of the source.
    """
    reach_class = np.digitize(error + reach / _SIGMAS, _CLASSES_M, right=True)
    parts = [placed[reach_class[placed] == c] for c in range(len(_CLASSES_M))]
    trees = [cKDTree(at[p]) if len(p) else None for p in parts]
    limit = [float((np.minimum(error * _SIGMAS, _FAR_M) + reach)[p].max()) if len(p) else 0.0 for p in parts]
    left, right = [], []
    for i, one in enumerate(trees):
        for j, two in enumerate(trees[: i + 1]):
            if one is None or two is None:
                continue
            found = one.sparse_distance_matrix(two, limit[i] + limit[j], output_type="ndarray")
            x, y = parts[i][found["i"]], parts[j][found["j"]]
            near = found["v"] <= np.minimum(_SIGMAS * np.hypot(error[x], error[y]), _FAR_M) + reach[x] + reach[y]
            near &= (source[x] != source[y]) & ((x < y) if i == j else True)
            left.append(np.minimum(x, y)[near])
            right.append(np.maximum(x, y)[near])
    return np.concatenate(left), np.concatenate(right)


def _labels(frame: pd.DataFrame, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the similarity of the names, and the best one of names and operators, (pair,) 0..1, NaN if unknown.

    Names are also compared with operators: registries mix the two.
    """
    words = {c: _plain(frame[c]) for c in ("name", "operator")}
    best, named = np.full(len(a), np.nan), np.full(len(a), np.nan)
    for mine in words:
        for theirs in words:
            alike = similarities(list(words[mine][a]), list(words[theirs][b]))
            best = np.fmax(best, alike)
            if mine == theirs == "name":
                named = alike
    return named, best


def _plain(texts: pd.Series) -> np.ndarray:
    code, raw = pd.factorize(texts.to_numpy(object))
    return np.array([*(plain(t) for t in raw), ""], dtype=object)[code]


def _joined(frame: pd.DataFrame, group: np.ndarray) -> gpd.GeoDataFrame:
    """Return one row per group; the rules are in `merge_registries`."""
    frame = frame.assign(group=group)
    frame = frame.sort_values(["group", "position_error_m", "key"], kind="stable").reset_index(drop=True)
    many = frame["group"].duplicated(keep=False).to_numpy(bool)
    several = frame[many].copy()
    out = frame[~many].copy()
    if len(several):
        for power in ("it_mw", "facility_mw"):  # a range belongs to the power of its own row, the first that states one
            stated = several[power].notna()
            ends = [f"{power}_low", f"{power}_high"]
            several.loc[stated.groupby(several["group"]).cumsum() > 1, ends] = np.nan
        grouped = several.groupby("group", sort=True)
        base = grouped.head(1).set_index("group")
        own_rule = {*_SHAPE_COLUMNS, *_STATUS_COLUMNS, "group", "key", "also", "licence", "source", "declared_id",
                    "reliability", "kind"}  # fmt: skip
        rest = [c for c in frame.columns if c not in own_rule]
        base[rest] = grouped[rest].first()
        known = several["status"].notna() & (several["status"] != UNKNOWN_STATUS)
        dated = several.assign(rank=2 - known.astype(int) - several["valid_from"].notna().astype(int)).sort_values(
            ["group", "rank", "position_error_m", "key"], kind="stable"
        )
        base[list(_STATUS_COLUMNS)] = (
            dated.groupby("group", sort=True).head(1).set_index("group")[list(_STATUS_COLUMNS)]
        )
        base["area_m2"] = base["area_m2"].fillna(grouped["area_m2"].first())
        base["reliability"] = grouped["reliability"].max()
        base["also"] = _also(several)
        base["licence"] = grouped["licence"].agg(_listed)
        out = pd.concat([out, base.reset_index()], ignore_index=True)
    out = out.sort_values("key", kind="stable").reset_index(drop=True)
    again = out["declared_id"].duplicated(keep=False)
    out.loc[again, "declared_id"] = out.loc[again, "source"] + ":" + out.loc[again, "declared_id"]
    twice = out.groupby("declared_id").cumcount().to_numpy()
    out["declared_id"] = [f"{i} #{k + 1}" if k else i for i, k in zip(out["declared_id"], twice.tolist(), strict=True)]
    out = out.drop(columns=["group", "key"])
    return conform(gpd.GeoDataFrame(out, geometry="geometry", crs=WGS84), "declared")


def _listed(licences: pd.Series) -> str | None:
    return "; ".join(sorted({str(v) for v in licences.dropna()})) or None


def _also(several: pd.DataFrame) -> pd.Series:
    """Return per group the other rows as 'source:id | source:id', with what these already listed."""
    first = ~several["group"].duplicated()
    named = (several["source"] + ":" + several["declared_id"]).where(~first)
    listed: dict[int, set[str]] = {}
    for group, name, before in zip(several["group"], named, several["also"], strict=True):
        parts = listed.setdefault(group, set())
        parts.update([] if pd.isna(name) else [name], [] if pd.isna(before) else str(before).split(" | "))
    return pd.Series({g: " | ".join(sorted(parts)) for g, parts in listed.items()}, dtype="string")
