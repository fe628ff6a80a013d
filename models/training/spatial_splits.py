"""Spatial splits: neighbours, assignment of places to train, val and test, and leaks between splits.

In: geometries in WGS84 lon/lat, or a table of tiles. Out: groups, a split for each place, a list of leaks.
Neighbouring tiles look alike (spatial autocorrelation), so a random split of tiles would measure memorisation. Here
labels near each other form one site, sites form places, and a place belongs to exactly one split.
Distances are geodesic: nearest points are found in a Mercator plane (conformal, so small neighbourhoods keep their
shape), then measured on the ellipsoid. Cost: n log n for n labels or tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import geopandas as gpd
import numpy as np
import shapely
from pyproj import CRS, Transformer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from overwatt.aoi.geodesy import DEGREE_LATITUDE_M, GEOD, WGS84

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Leak:
    """Two tiles of different splits that share information.

    Attributes:
        kind: `near` (overlap, or closer than the guard), `pixels`, `image`, `site` or `place`.
        first: tile id.
        second: tile id in another split.
        detail: text with their distance, or the hash or name that they share.
    """

    kind: str
    first: str
    second: str
    detail: str


def pairs_within(
    first: Sequence[shapely.Geometry], second: Sequence[shapely.Geometry] | None, within_m: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of geometries closer than a distance (geodesic).

    Args:
        first: lon/lat geometries; empty or missing ones have no neighbours. They may touch the antimeridian.
        second: the other geometries; None for pairs within `first`, each pair once.
        within_m: metres; pairs at exactly this distance are not returned.

    Returns:
        i, j (int) and distance in metres (float), sorted by (i, j).
    """
    a = np.asarray(first, dtype=object)
    b = a if second is None else np.asarray(second, dtype=object)
    to = _mercator([*a, *b])
    plane_a, plane_b = (_moved(g, to) for g in (a, b))
    lat = np.abs(shapely.bounds(a)[:, [1, 3]]).max(1) if len(a) else np.empty(0)
    # Mercator stretches by 1 / cos(lat): take the highest latitude in reach; limited to 89 degrees
    reach = (within_m + 1e-6) / np.cos(np.radians(np.minimum(np.nan_to_num(lat) + within_m / DEGREE_LATITUDE_M, 89.0)))
    i, j = shapely.STRtree(plane_b).query(plane_a, predicate="dwithin", distance=reach)
    if second is None:
        i, j = i[i < j], j[i < j]
    if not len(i):
        return i.astype(int), j.astype(int), np.empty(0)
    ends = shapely.get_coordinates(shapely.shortest_line(plane_a[i], plane_b[j])).reshape(-1, 2, 2)
    lon, lat = to.transform(ends[..., 0], ends[..., 1], direction="INVERSE")
    distance = np.asarray(GEOD.inv(lon[:, 0], lat[:, 0], lon[:, 1], lat[:, 1])[2])
    keep = np.flatnonzero(distance < within_m)
    keep = keep[np.lexsort((j[keep], i[keep]))]
    return i[keep], j[keep], distance[keep]


def _mercator(geometries: Iterable[shapely.Geometry]) -> Transformer:
    """Return a Mercator projection whose seam lies in the widest gap of longitudes, so that no neighbours are split."""
    ends = shapely.get_coordinates(shapely.envelope(np.asarray(list(geometries), dtype=object)))[:, 0] % 360
    lon = np.unique(np.nan_to_num(ends))
    if len(lon):
        gap = np.diff(lon, append=lon[0] + 360)
        widest = int(np.argmax(gap))
        cut = lon[widest] + gap[widest] / 2
    else:
        cut = 180.0
    crs = CRS.from_user_input(f"+proj=merc +lon_0={(cut + 180) % 360:.9f} +datum=WGS84")
    return Transformer.from_crs(CRS.from_user_input(WGS84), crs, always_xy=True)


def _moved(geometries: np.ndarray, to: Transformer) -> np.ndarray:
    def move(xy: np.ndarray) -> np.ndarray:
        return np.column_stack(to.transform(xy[:, 0], xy[:, 1]))

    return np.asarray(shapely.transform(geometries, move), dtype=object)


def groups(n: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the group number (n,) of n items, where the items of each pair (i, j) belong together."""
    links = coo_array((np.ones(len(i), bool), (i, j)), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1])


def sites_of(geometries: Sequence[shapely.Geometry], link_m: float) -> list[str]:
    """Return the site name of each geometry; geometries closer than `link_m`, directly or in a chain, form one site.

    The name is the position of the site's south-westernmost centre to five decimals (about 1 m). It does not depend on
    the order of the geometries nor on distant ones.
    """
    if not len(geometries):
        return []
    i, j, _ = pairs_within(geometries, None, link_m)
    group = groups(len(geometries), i, j)
    centres = shapely.centroid(np.asarray(geometries, dtype=object))
    position = sorted(zip(shapely.get_y(centres), shapely.get_x(centres), group, strict=True), reverse=True)
    # sorted in reverse, so the southernmost (then westernmost) centre of a group is written last and stays
    name = {g: f"{lat:+.5f}{lon:+.5f}" for lat, lon, g in position}
    return [name[g] for g in group]


def assign(places: Mapping[str, tuple[int, int]], shares: Sequence[float], seed: int) -> dict[str, str]:
    """Assign a split to each place; the same places, shares and seed give the same splits.

    Places with data centers are assigned first, counted by data centers, so that each split gets some; then the
    others, counted by labels. Larger places come first (in classes of doubling size, random within a class), each to
    the split that is furthest below its share (greedy balancing).

    Args:
        places: name -> (number of data centers, number of labels).
        shares: shares of train, val and test; their sum need not be 1.
        seed: seed of the random order.
    """

    def draw(name: str) -> float:
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        return float(np.random.default_rng([seed, word]).random())

    out: dict[str, str] = {}
    share = np.asarray(shares, float) / np.sum(shares)
    for with_centers in (True, False):
        weight = {
            name: centers if with_centers else max(labels, 1)
            for name, (centers, labels) in places.items()
            if (centers > 0) == with_centers
        }
        total, had = sum(weight.values()), np.zeros(len(SPLITS))
        # bit_length is the class of doubling size
        for name in sorted(weight, key=lambda n: (-weight[n].bit_length(), draw(n), n)):
            lack = np.where(share > 0, share * total - had, -np.inf)
            best = int(np.argmax(lack))
            had[best] += weight[name]
            out[name] = SPLITS[best]
    return out


def leaks(index: gpd.GeoDataFrame, guard_m: float) -> list[Leak]:
    """Return the leaks between the splits of an index; an empty list means that none was found.

    Detected: footprints of different splits that overlap or are closer than the guard distance; identical pixels; one
    image without georeference in two splits; a site or a place in two splits. Not detected: the same ground in an
    image without georeference and in another file.

    Args:
        index: tiles, as `overwatt.models.training.tileset` describes them; geometry WGS84 or missing.
        guard_m: guard distance between splits, metres.
    """
    found = []
    split, names = index["split"].to_numpy(), index["tile_id"].to_numpy()
    shape = index.geometry.to_numpy()
    for one, other in combinations(sorted(set(split)), 2):
        at, by = np.flatnonzero(split == one), np.flatnonzero(split == other)
        # at a guard of 0 m, touching or overlapping tiles still share pixels
        for i, j, metres in zip(*pairs_within(shape[at], shape[by], max(guard_m, 1e-3)), strict=True):
            what = f"{metres:.1f} m apart" if metres > 0 else "overlapping"
            found.append(Leak("near", names[at[i]], names[by[j]], f"{what}, guard {guard_m:g} m"))
    # without a footprint the only evidence of shared ground is the common source image
    bare = np.array([g is None or g.is_empty for g in shape], bool)
    keys = {
        "pixels": [[h] if h else [] for h in index["pixels_sha256"]],
        "image": [[h] if b else [] for h, b in zip(index["image_sha256"], bare, strict=True)],
        "site": [str(s).split(" ") if s else [] for s in index["sites"]],
        "place": [[p] for p in index["place"]],
    }
    for kind, values in keys.items():
        holders: dict[str, dict[str, str]] = {}
        for s, name, own in zip(split, names, values, strict=True):
            for value in own:
                holders.setdefault(value, {}).setdefault(s, name)
        for value, by_split in sorted(holders.items()):
            found += [Leak(kind, a, b, f"{kind} {value[:40]}") for a, b in combinations(by_split.values(), 2)]
    return found
