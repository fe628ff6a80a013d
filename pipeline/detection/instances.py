"""Touching buildings told apart.

In: buildings and interiors as polygons on pixel edges, joined across tiles. Out: one building an
interior. Halls that stand wall to wall, or that a yard of machines bridges, are one region of
building pixels; the network's interior output is away from every outline, so each hall keeps an
interior of its own. A region with several interiors is divided among them by the shortest way
through the region, so every part is connected. The whole region is looked at, after tiles were
joined, so the result does not depend on how the area was cut.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import shapely
from affine import Affine
from rasterio.features import rasterize, shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

SUMS = ("pixels", "sum_p", "max_p", "sum_novelty", "sum_thermal")
"""Figures of a region, integers; max_p is the largest over its parts, the others add up."""


def separate(buildings: pd.DataFrame, interiors: pd.DataFrame, min_interior_px: float) -> pd.DataFrame:
    """Divide buildings among their interiors.

    Args:
        buildings: regions with geometry (image pixels, on pixel edges), `SUMS`, tile, on_border.
        interiors: the same for interiors; each lies in one building.
        min_interior_px: interiors of fewer pixels are passed over.

    Returns:
        One row a building, columns as `buildings` plus core_pixels: the pixels that sum_p, max_p,
        sum_novelty and sum_thermal were taken over, which are those of its interior where it has one.
    """
    frame = buildings.assign(core_pixels=buildings["pixels"])
    seeds = interiors[interiors["pixels"] >= min_interior_px]
    if frame.empty or seeds.empty:
        return frame
    cores = np.asarray(seeds["geometry"], dtype=object)
    tree = shapely.STRtree(np.asarray(frame["geometry"], dtype=object))
    core, owner = tree.query(shapely.point_on_surface(cores), predicate="within")
    rows: list[dict[Hashable, Any]] = []
    held: dict[int, list[int]] = {}
    for c, i in zip(core, owner, strict=True):
        held.setdefault(int(i), []).append(int(c))
    for i, whole in enumerate(frame.to_dict("records")):
        mine = seeds.iloc[held.get(i, [])].to_dict("records")
        areas = _divide(whole["geometry"], [c["geometry"] for c in mine]) if len(mine) > 1 else [whole["geometry"]]
        if not mine:
            rows.append(whole)
            continue
        for c, geometry in zip(mine, areas, strict=True):
            own: dict[Hashable, Any] = {name: c[name] for name in SUMS}
            own |= {"geometry": geometry, "pixels": round(geometry.area), "core_pixels": c["pixels"]}
            rows.append({**whole, **own, "tile": c["tile"] if len(mine) > 1 else whole["tile"]})
    return pd.DataFrame(rows, columns=list(frame.columns))


def _divide(region: shapely.Polygon, cores: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """Give every pixel of the region to the core that is nearest on a way through the region."""
    x0, y0, x1, y1 = (int(v) for v in region.bounds)
    shape, shift = (y1 - y0, x1 - x0), Affine.translation(x0, y0)
    inside = rasterize([region], shape, transform=shift, dtype="uint8").astype(bool)
    seeds = rasterize([(c, k + 1) for k, c in enumerate(cores)], shape, transform=shift, dtype="int32")
    node = np.cumsum(inside).reshape(shape) - 1
    pairs = [
        (node[a][inside[a] & inside[b]], node[b][inside[a] & inside[b]])
        for a, b in (((np.s_[:, :-1]), (np.s_[:, 1:])), ((np.s_[:-1]), (np.s_[1:])))
    ]
    left, right = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(inside.sum(),) * 2).tocsr()
    seed = seeds[inside]
    _, _, source = dijkstra(
        graph, directed=False, indices=np.flatnonzero(seed), unweighted=True, min_only=True, return_predecessors=True
    )
    label = np.zeros(shape, np.int32)
    label[inside] = seed[source]
    found = {int(v): shapely.geometry.shape(g) for g, v in shapes(label, mask=inside, connectivity=4, transform=shift)}
    return [found[k + 1] for k in range(len(cores))]
