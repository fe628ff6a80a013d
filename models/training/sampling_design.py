"""Sampling design of a training set: counties to splits, size-matched other buildings, tiles.

In: outlines of data centers and other buildings in degrees, counties, a seed. Out: the other buildings chosen for
each data center, the square tiles to cut, and the split of each tile.
Each choice depends on a hash of (seed, chosen object), not on a stream of random numbers: a county keeps its split
and a building its rank when data is added, and the order of files and rows does not matter. No file is opened here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import shapely
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.geodesy import WGS84, degree_m
from overwatt.models.training.spatial_splits import pairs_within

Split = Literal["train", "val", "test"]
Role = Literal["data_center", "other_building"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

# Rounding leaves gaps between neighbouring counties: they touch if within 0.001 degrees, about 100 m.
_TOUCH_DEG = 1e-3
_BUCKET_DEG = 0.05  # about 5 km: larger than a tile, so a tile and its 8 neighbour buckets hold all candidates
_TOUCH_M = 1e-3  # at a guard of 0 m, touching tiles still share pixels


@dataclass(frozen=True)
class Shares:
    """Probability that a county is in val or test; the rest is train."""

    val: float = 0.15
    test: float = 0.15


@dataclass(frozen=True)
class Target:
    """One building that a tile shall contain.

    Attributes:
        roof: id of the building, see `roof_ids`.
        role: its class.
        county: id of its county.
        area_m2: area of its outline.
        outline: its outline in degrees.
    """

    roof: str
    role: Role
    county: str
    area_m2: float
    outline: BaseGeometry


@dataclass(frozen=True)
class Cut:
    """One square tile.

    Attributes:
        name: 'COUNTY-ZONE-EAST-NORTH', the centre in metres of the UTM zone.
        role: class of the first building it was made for.
        county: that building's county.
        split: that county's split.
        crs: 'EPSG:326ZZ' or 'EPSG:327ZZ'.
        centre_m: (east, north) of the centre, whole metres.
        side_m: length of an edge.
        roofs: ids of the buildings it was made for.
        footprint: the tile in degrees.
    """

    name: str
    role: Role
    county: str
    split: Split
    crs: str
    centre_m: tuple[int, int]
    side_m: float
    roofs: tuple[str, ...]
    footprint: BaseGeometry


def areas_m2(shapes: np.ndarray) -> np.ndarray:
    """Return areas on the WGS84 ellipsoid, float64 m², of shapes in degrees.

    Degrees are scaled by the two radii of curvature of the ellipsoid at each shape's centre. The relative error is
    below 1e-4 for shapes below 2 km, and it is a hundred times faster than a geodesic line integral.
    """
    bounds = shapely.bounds(shapes)
    ew, ns = degree_m((bounds[:, 1] + bounds[:, 3]) / 2)
    return np.asarray(shapely.area(shapes) * ew * ns)


def roof_ids(shapes: np.ndarray) -> list[str]:
    """Return ids of outlines: a hash of their bounds to 1e-6 degrees (0.1 m) and of their vertex count."""
    bounds, points = shapely.bounds(shapes), shapely.get_num_coordinates(shapes)
    return [
        hashlib.sha256(f"{w:.6f} {s:.6f} {e:.6f} {n:.6f} {k}".encode()).hexdigest()[:16]
        for (w, s, e, n), k in zip(bounds, points, strict=True)
    ]


def grown(shapes: Sequence[BaseGeometry], by_m: float) -> list[BaseGeometry]:
    """Return shapes in degrees, buffered by `by_m` metres on the ground at the latitude of each."""
    out = []
    for shape in shapes:
        lon, lat = shape.centroid.x, shape.centroid.y
        scale = np.column_stack(degree_m(np.array([lat])))
        local = shapely.transform(shape, lambda xy, at=(lon, lat), by=scale: (xy - at) * by)
        wider = shapely.buffer(local, by_m, quad_segs=8)
        out.append(shapely.transform(wider, lambda xy, at=(lon, lat), by=scale: xy / by + at))
    return out


def size_bands(area_m2: np.ndarray, per_doubling: float) -> np.ndarray:
    """Return the size band of each area (int): equally wide in log2, `per_doubling` bands per factor of two."""
    # 1e-9: an area exactly on a limit must not fall below it by rounding
    return np.floor(np.log2(np.maximum(area_m2, 1.0)) * per_doubling + 1e-9).astype(int)


def split_of(county: str, seed: int, shares: Shares, fixed: Mapping[str, Split] | None = None) -> Split:
    """Return the split of a county; it depends only on (seed, county id) and the shares, unless `fixed` names it."""
    if fixed and county in fixed:
        return fixed[county]
    u = _uniform(seed, "county", county)
    return "test" if u < shares.test else "val" if u < shares.test + shares.val else "train"


def county_of(shapes: np.ndarray, counties: Mapping[str, BaseGeometry]) -> list[str | None]:
    """Return the county that contains an inner point of each shape; None outside all counties."""
    names = sorted(counties)
    tree = shapely.STRtree([counties[name] for name in names])
    found: list[str | None] = [None] * len(shapes)
    at, which = tree.query(shapely.point_on_surface(shapes), predicate="intersects")
    for i, j in sorted(zip(at.tolist(), which.tolist(), strict=True), reverse=True):
        found[i] = names[j]  # on a shared border the alphabetically first name wins
    return found


def neighbours(counties: Mapping[str, BaseGeometry]) -> dict[str, tuple[str, ...]]:
    """Return for each county the sorted names of the counties that touch it."""
    names = sorted(counties)
    shapes = np.array([counties[name] for name in names], dtype=object)
    left, right = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=_TOUCH_DEG)
    out: dict[str, list[str]] = {name: [] for name in names}
    for i, j in zip(left.tolist(), right.tolist(), strict=True):
        if i != j:
            out[names[i]].append(names[j])
    return {name: tuple(sorted(near)) for name, near in out.items()}


def match(
    centers: Sequence[Target],
    others: Sequence[Target],
    near: Mapping[str, tuple[str, ...]],
    split: Mapping[str, Split],
    *,
    per_center: int,
    per_doubling: float,
    seed: int,
) -> tuple[list[Target], int]:
    """Choose other buildings of the same size band for each data center, without repetition.

    Buildings of the same county are taken first, then of touching counties in the same split, then of other touching
    counties; within each group in the order of a hash of (seed, building).

    Args:
        centers: data centers.
        others: candidates, not near any data center.
        near: result of `neighbours`.
        split: split of each county.
        per_center: buildings to choose for each data center.
        per_doubling: see `size_bands`.
        seed: seed of the order.

    Returns:
        The chosen buildings, in the order of choice, and the number missing because the candidates ran out.
    """
    pools: dict[tuple[str, int], list[Target]] = {}
    if others:
        bands = size_bands(np.array([o.area_m2 for o in others]), per_doubling)
        for other, band in zip(others, bands.tolist(), strict=True):
            pools.setdefault((other.county, band), []).append(other)
    for pool in pools.values():  # popped from the end
        pool.sort(key=lambda o: (_uniform(seed, "roof", o.roof), o.roof), reverse=True)
    chosen: list[Target] = []
    missing = 0
    for center in sorted(centers, key=lambda c: (_uniform(seed, "center", c.roof), c.roof)):
        band = int(size_bands(np.array([center.area_m2]), per_doubling)[0])
        around = near.get(center.county, ())
        same = [c for c in around if split.get(c) == split.get(center.county)]
        places = [center.county, *same, *(c for c in around if c not in same)]
        wanted = per_center
        for place in places:
            pool = pools.get((place, band), [])
            while wanted and pool:
                chosen.append(pool.pop())
                wanted -= 1
        missing += wanted
    return chosen, missing


def cut_tiles(targets: Sequence[Target], split: Mapping[str, Split], side_m: float) -> list[Cut]:
    """Return square tiles so that each target lies in a tile of its split; a tile is centred on its first target.

    Targets are processed in the given order; one completely inside a tile of its split gets no new tile.
    """
    cuts: list[Cut] = []
    buckets: dict[tuple[int, int], list[int]] = {}
    for target in targets:
        middle = shapely.box(*target.outline.bounds).centroid
        home = (math.floor(middle.x / _BUCKET_DEG), math.floor(middle.y / _BUCKET_DEG))
        held = next(
            (
                i
                for i in buckets.get(home, ())
                if cuts[i].split == split[target.county] and cuts[i].footprint.covers(target.outline)
            ),
            None,
        )
        if held is not None:
            cuts[held] = replace(cuts[held], roofs=(*cuts[held].roofs, target.roof))
            continue
        cut = _cut(target, split[target.county], side_m, (middle.x, middle.y))
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                buckets.setdefault((home[0] + di, home[1] + dj), []).append(len(cuts))
        cuts.append(cut)
    return _named(cuts)


def without_leaks(cuts: Sequence[Cut], guard_m: float) -> tuple[list[Cut], list[Cut]]:
    """Divide tiles into kept and rejected, so that no two kept tiles of different splits are near each other.

    Of two tiles of different splits within `guard_m`, the training tile is rejected first, then the validation tile:
    tiles for measurement have priority.
    """
    kept: list[Cut] = []
    aside: list[Cut] = []
    for split in ("test", "val", "train"):
        own = [c for c in cuts if c.split == split]
        near, _, _ = pairs_within([c.footprint for c in own], [c.footprint for c in kept], max(guard_m, _TOUCH_M))
        clash = set(near.tolist())
        aside += [c for i, c in enumerate(own) if i in clash]
        kept += [c for i, c in enumerate(own) if i not in clash]
    order = {c.name: i for i, c in enumerate(cuts)}
    return sorted(kept, key=lambda c: order[c.name]), sorted(aside, key=lambda c: order[c.name])


def _cut(target: Target, split: Split, side_m: float, lonlat: tuple[float, float]) -> Cut:
    """Return the tile of one target, in the UTM zone of its centre."""
    lon, lat = lonlat
    zone = int((lon + 180.0) // 6.0) % 60 + 1
    # EPSG 326ZZ is UTM north, 327ZZ UTM south; zones are 6 degrees wide from 180 W
    crs = f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
    to = _to_utm(crs)
    east, north = (round(v) for v in to.transform(lon, lat))
    half = side_m / 2
    # extra vertices at the middle of each edge: an edge straight in UTM is slightly curved in degrees
    frame = shapely.segmentize(shapely.box(east - half, north - half, east + half, north + half), side_m / 2)
    degrees = shapely.transform(
        frame, lambda xy: np.column_stack(to.transform(xy[:, 0], xy[:, 1], direction="INVERSE"))
    )
    safe = "".join(c if c.isascii() and c.isalnum() else "_" for c in target.county)[:32] or "_"
    name = f"{safe}-{zone:02d}{'N' if lat >= 0 else 'S'}-{east}-{north}"
    return Cut(name, target.role, target.county, split, crs, (east, north), side_m, (target.roof,), degrees)


@cache
def _to_utm(crs: str) -> Transformer:
    return Transformer.from_crs(CRS.from_user_input(WGS84), CRS.from_user_input(crs), always_xy=True)


def _named(cuts: list[Cut]) -> list[Cut]:
    """Return the tiles with unique names: a number is appended if two targets share a centre."""
    seen: dict[str, int] = {}
    out = []
    for cut in cuts:
        n = seen.get(cut.name, 0)
        seen[cut.name] = n + 1
        out.append(replace(cut, name=f"{cut.name}-{n + 1}") if n else cut)
    return out


def _uniform(seed: int, *what: str) -> float:
    """Return a number in [0, 1) that depends only on (seed, what)."""
    digest = hashlib.sha256("\0".join([str(seed), *what]).encode()).digest()
    # the first 64 bits of SHA-256 as a fraction
    return int.from_bytes(digest[:8], "big") / 2**64
