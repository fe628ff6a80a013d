"""Separation of touching buildings.

In: buildings and interiors as polygons on pixel edges, joined across tiles. Out: the buildings.
Halls that stand wall to wall, or that a yard of machines connects, are one region of building pixels. The network's
interior output stays away from every outline, so each hall has an interior of its own. But machines on a roof break
the interior of one hall too. A region with several interiors is divided among them by the shortest path inside the
region; then parts that share an edge are joined where no wall can lie between their interiors. This is done on whole
regions, after the tiles were joined, so the result does not depend on how the area was cut.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import shapely
from affine import Affine
from rasterio.features import rasterize, shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra

SUMS = ("pixels", "sum_p", "max_p", "sum_novelty", "sum_thermal", "sum_chiller", "sum_tower", "sum_rooftop_unit")
"""Integer columns of a region; max_p is the maximum over its parts, the others are sums."""


def add_sums(frame: pd.DataFrame, order: np.ndarray, starts: np.ndarray) -> dict[str, np.ndarray]:
    """Return `SUMS` of groups of rows, each (groups,) int64; a group is a run of `order` from one start to the next."""
    return {
        name: (np.maximum if name == "max_p" else np.add).reduceat(frame[name].to_numpy(np.int64)[order], starts)
        for name in SUMS
    }


def separate(buildings: pd.DataFrame, interiors: pd.DataFrame, min_interior_px: float, wall_px: float) -> pd.DataFrame:
    """Divide buildings among their interiors.

    Args:
        buildings: regions with geometry (image pixels, on pixel edges), `SUMS`, on_border.
        interiors: the same columns for interiors; each lies in one building.
        min_interior_px: interiors of fewer pixels are ignored.
        wall_px: two interiors nearer than this cannot be of two buildings.

    Returns:
        One row per building, columns as `buildings` plus core_pixels: number of pixels over which sum_p,
        max_p, sum_novelty and sum_thermal were taken: those of its interiors if it has any.
    """
    frame = buildings.assign(core_pixels=buildings["pixels"])
    seeds = interiors[interiors["pixels"] >= min_interior_px]
    if frame.empty or seeds.empty:
        return frame
    tree = shapely.STRtree(np.asarray(frame["geometry"], dtype=object))
    cores = np.asarray(seeds["geometry"], dtype=object)
    # interiors by region
    cores_of: dict[int, list[int]] = {}
    for c, i in zip(*tree.query(shapely.point_on_surface(cores), predicate="within"), strict=True):
        cores_of.setdefault(int(i), []).append(int(c))
    owner: list[int] = []
    shapes_of: list[shapely.Polygon] = []
    members: list[np.ndarray] = []
    for i, whole in enumerate(frame["geometry"]):
        mine = np.array(cores_of.get(i, []), dtype=np.int64)
        if not len(mine):
            continue
        areas, group = _divide(whole, cores[mine], wall_px) if len(mine) > 1 else ([whole], np.zeros(1, np.int64))
        owner += [i] * len(areas)
        shapes_of += areas
        members += [mine[group == g] for g in range(len(areas))]
    # scores of the interiors, outline and size of the parts
    order = np.concatenate(members)
    starts = np.cumsum([0, *(len(m) for m in members[:-1])])
    sums = add_sums(seeds, order, starts)
    parts = frame.iloc[owner].assign(
        **sums, core_pixels=sums["pixels"], geometry=pd.Series(shapes_of, dtype=object).array
    )
    parts["pixels"] = np.rint(shapely.area(shapes_of)).astype(np.int64)
    without = ~np.isin(np.arange(len(frame)), owner)
    return pd.concat([frame[without], parts], ignore_index=True)


def _divide(region: shapely.Polygon, cores: np.ndarray, wall_px: float) -> tuple[list[shapely.Polygon], np.ndarray]:
    """Assign every pixel of the region to the core with the shortest path inside the region, and join the parts.

    Returns:
        Geometry of each building, and the building (core,) int of each core.
    """
    x0, y0, x1, y1 = (int(v) for v in region.bounds)
    shape, shift = (y1 - y0, x1 - x0), Affine.translation(x0, y0)
    inside = rasterize([region], shape, transform=shift, dtype="uint8").astype(bool)
    seeds = rasterize([(c, k + 1) for k, c in enumerate(cores)], shape, transform=shift, dtype="int32")
    # graph of the region's pixels, linked to their four neighbours
    node = np.cumsum(inside).reshape(shape) - 1
    pairs = [
        (node[a][inside[a] & inside[b]], node[b][inside[a] & inside[b]])
        for a, b in (((np.s_[:, :-1]), (np.s_[:, 1:])), ((np.s_[:-1]), (np.s_[1:])))
    ]
    left, right = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(inside.sum(),) * 2).tocsr()
    seed = seeds[inside]
    # min_only: the nearest source of each pixel, in one pass over all sources (Dijkstra 1959)
    _, _, source = dijkstra(
        graph, directed=False, indices=np.flatnonzero(seed), unweighted=True, min_only=True, return_predecessors=True
    )
    core = seed[source] - 1
    # parts that share an edge, each pair once
    a, b = np.unique(np.sort(np.stack([core[left], core[right]])[:, core[left] != core[right]], axis=0), axis=1)
    # the interiors of two buildings are apart by the strips along both outlines (docs/decisions/0019)
    near = shapely.distance(cores[a], cores[b]) < wall_px
    joined = coo_array((np.ones(near.sum()), (a[near], b[near])), shape=(len(cores),) * 2)
    count, group = connected_components(joined, directed=False)
    label = np.zeros(shape, np.int32)
    label[inside] = group[core] + 1
    found = {int(v): shapely.geometry.shape(g) for g, v in shapes(label, mask=inside, connectivity=4, transform=shift)}
    return [found[k + 1] for k in range(count)], group
