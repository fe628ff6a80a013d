"""Which roofs a training set is made of: sizes, counties, splits, size-matched others, tiles.

In: outlines of data centers and of other buildings in degrees, counties, a seed. Out: which other
roofs to take for each data center, which square tiles to cut, and to which split each belongs.
All choices rest on a hash of (seed, what is chosen) and not on a stream of random numbers: a
county keeps its split and a roof its rank when data is added, and the order of files and rows
does not matter. Nothing here opens a file.
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

from overwatt.models.training.spatial_splits import pairs_within

Split = Literal["train", "val", "test"]
Role = Literal["data_center", "other_building"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

# WGS84: semi-major axis in metres and first eccentricity squared (NIMA TR8350.2, table 3.1 and 3.3)
_A_M, _E2 = 6_378_137.0, 6.694_379_990_14e-3
# Counties are drawn apart by rounding: 0.001 degrees is about 100 m.
_TOUCH_DEG = 1e-3
_BUCKET_DEG = 0.05
_TOUCH_M = 1e-3  # nothing is closer than a guard of zero, but what touches shares pixels


@dataclass(frozen=True)
class Shares:
    """Shares of the splits by county; train takes the rest."""

    val: float = 0.15
    test: float = 0.15


@dataclass(frozen=True)
class Target:
    """One building that a tile is to show.

    Attributes:
        roof: its id, see `roof_ids`.
        role: what it is.
        county: id of the county it lies in.
        area_m2: of its outline.
        outline: in degrees.
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
        name: 'COUNTY-ZONE-EAST-NORTH', its centre in metres of the UTM zone.
        role: of the first building it was made for.
        county: that building's county.
        split: that county's split.
        crs: 'EPSG:326ZZ' or 'EPSG:327ZZ'.
        centre_m: (east, north) of the centre, whole metres.
        side_m: edge.
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

    Degrees are scaled by the ellipsoid's two radii of curvature at each shape's middle; for shapes
    below 2 km that is exact to 1e-4, and a hundred times faster than a geodesic line integral.
    """
    bounds = shapely.bounds(shapes)
    ew, ns = _degree_m((bounds[:, 1] + bounds[:, 3]) / 2)
    return np.asarray(shapely.area(shapes) * ew * ns)


def roof_ids(shapes: np.ndarray) -> list[str]:
    """Return ids of outlines: a hash of their place to 1e-6 degrees (0.1 m) and their vertex count."""
    bounds, points = shapely.bounds(shapes), shapely.get_num_coordinates(shapes)
    return [
        hashlib.sha256(f"{w:.6f} {s:.6f} {e:.6f} {n:.6f} {k}".encode()).hexdigest()[:16]
        for (w, s, e, n), k in zip(bounds, points, strict=True)
    ]


def grown(shapes: Sequence[BaseGeometry], by_m: float) -> list[BaseGeometry]:
    """Return shapes in degrees grown by metres on the ground, at each one's latitude."""
    out = []
    for shape in shapes:
        lon, lat = shape.centroid.x, shape.centroid.y
        scale = np.column_stack(_degree_m(np.array([lat])))
        local = shapely.transform(shape, lambda xy, at=(lon, lat), by=scale: (xy - at) * by)
        wider = shapely.buffer(local, by_m, quad_segs=8)
        out.append(shapely.transform(wider, lambda xy, at=(lon, lat), by=scale: xy / by + at))
    return out


def size_bands(area_m2: np.ndarray, per_doubling: float) -> np.ndarray:
    """Return the band of each area (int): bands are equally wide in log2, `per_doubling` to a factor of two."""
    return np.floor(np.log2(np.maximum(area_m2, 1.0)) * per_doubling + 1e-9).astype(int)


def split_of(county: str, seed: int, shares: Shares, fixed: Mapping[str, Split] | None = None) -> Split:
    """Return a county's split, which depends on (seed, county id) and the shares alone."""
    if fixed and county in fixed:
        return fixed[county]
    u = _uniform(seed, "county", county)
    return "test" if u < shares.test else "val" if u < shares.test + shares.val else "train"


def county_of(shapes: np.ndarray, counties: Mapping[str, BaseGeometry]) -> list[str | None]:
    """Return the county that each shape's inner point lies in, None outside of all."""
    names = sorted(counties)
    tree = shapely.STRtree([counties[name] for name in names])
    found: list[str | None] = [None] * len(shapes)
    at, which = tree.query(shapely.point_on_surface(shapes), predicate="intersects")
    for i, j in sorted(zip(at.tolist(), which.tolist(), strict=True), reverse=True):
        found[i] = names[j]  # on a shared border the first name wins
    return found


def neighbours(counties: Mapping[str, BaseGeometry]) -> dict[str, tuple[str, ...]]:
    """Return, for each county, the others that it touches, by name."""
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
    """Choose for each data center other roofs of its size band, none twice.

    The same county comes first, then touching counties of the same split, then the other touching
    ones; within those the order is a hash of (seed, roof).

    Args:
        centers: data centers.
        others: candidates, none of them near a data center.
        near: `neighbours`.
        split: split by county.
        per_center: roofs wanted for each data center.
        per_doubling: see `size_bands`.
        seed: of the order.

    Returns:
        The chosen roofs, in order of choice, and how many are missing because there are none left.
    """
    pools: dict[tuple[str, int], list[Target]] = {}
    if others:
        bands = size_bands(np.array([o.area_m2 for o in others]), per_doubling)
        for other, band in zip(others, bands.tolist(), strict=True):
            pools.setdefault((other.county, band), []).append(other)
    for pool in pools.values():  # taken from the end
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
    """Return square tiles such that each target lies in one of its own split, centred on the first it was made for.

    Targets are taken in the order given; one that lies whole within a tile of its split needs no other.
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
    """Part tiles into those kept and those set aside, so that no two of different splits come near each other.

    Of two tiles of different splits within `guard_m` the one for training is set aside, then the one
    for validation: what measures is kept.
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
    lon, lat = lonlat
    zone = int((lon + 180.0) // 6.0) % 60 + 1
    crs = f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
    to = _to_utm(crs)
    east, north = (round(v) for v in to.transform(lon, lat))
    half = side_m / 2
    frame = shapely.segmentize(shapely.box(east - half, north - half, east + half, north + half), side_m / 2)
    degrees = shapely.transform(
        frame, lambda xy: np.column_stack(to.transform(xy[:, 0], xy[:, 1], direction="INVERSE"))
    )
    safe = "".join(c if c.isascii() and c.isalnum() else "_" for c in target.county)[:32] or "_"
    name = f"{safe}-{zone:02d}{'N' if lat >= 0 else 'S'}-{east}-{north}"
    return Cut(name, target.role, target.county, split, crs, (east, north), side_m, (target.roof,), degrees)


@cache
def _to_utm(crs: str) -> Transformer:
    return Transformer.from_crs(CRS.from_user_input("OGC:CRS84"), CRS.from_user_input(crs), always_xy=True)


def _named(cuts: list[Cut]) -> list[Cut]:
    """Names told apart where two outlines share a centre."""
    seen: dict[str, int] = {}
    out = []
    for cut in cuts:
        n = seen.get(cut.name, 0)
        seen[cut.name] = n + 1
        out.append(replace(cut, name=f"{cut.name}-{n + 1}") if n else cut)
    return out


def _degree_m(lat_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metres of one degree eastward and northward at latitudes."""
    lat = np.radians(lat_deg)
    w = 1 - _E2 * np.sin(lat) ** 2
    return np.radians(_A_M / np.sqrt(w) * np.cos(lat)), np.radians(_A_M * (1 - _E2) / w**1.5)


def _uniform(seed: int, *what: str) -> float:
    """A number in [0, 1) that depends on (seed, what) alone."""
    digest = hashlib.sha256("\0".join([str(seed), *what]).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
