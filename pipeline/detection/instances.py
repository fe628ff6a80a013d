"""Separation of touching buildings.

In: buildings and interiors as polygons on pixel edges, joined across tiles. Out: one building per
interior. Halls that stand wall to wall, or that a yard of machines connects, are one region of
building pixels. The network's interior output stays away from every outline, so each hall has an
interior of its own. A region with several interiors is divided among them by the shortest path
inside the region, so every part is connected. This is done on whole regions, after the tiles were
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

SUMS = ("pixels", "sum_p", "max_p", "sum_novelty", "sum_thermal", "sum_chiller", "sum_tower", "sum_rooftop_unit")
"""Integer columns of a region; max_p is the maximum over its parts, the others are sums."""


def separate(buildings: pd.DataFrame, interiors: pd.DataFrame, min_interior_px: float) -> pd.DataFrame:
    """Divide buildings among their interiors.

    Args:
        buildings: regions with geometry (image pixels, on pixel edges), `SUMS`, tile, on_border.
        interiors: the same columns for interiors; each lies in one building.
        min_interior_px: interiors of fewer pixels are ignored.

    Returns:
        One row per building, columns as `buildings` plus core_pixels: number of pixels over which sum_p,
        max_p, sum_novelty and sum_thermal were taken: those of its interior if it has one.
    """
    frame = buildings.assign(core_pixels=buildings["pixels"])
    seeds = interiors[interiors["pixels"] >= min_interior_px]
    if frame.empty or seeds.empty:
        return frame
    cores = np.asarray(seeds["geometry"], dtype=object)
    tree = shapely.STRtree(np.asarray(frame["geometry"], dtype=object))
    core, owner = tree.query(shapely.point_on_surface(cores), predicate="within")
    rows: list[dict[Hashable, Any]] = []
    interiors_of: dict[int, list[int]] = {}
    for c, i in zip(core, owner, strict=True):
        interiors_of.setdefault(int(i), []).append(int(c))
    records = seeds.to_dict("records")  # once for all: a table of its own per building takes 1 ms each
    for i, whole in enumerate(frame.to_dict("records")):
        mine = [records[c] for c in interiors_of.get(i, [])]
        areas = _divide(whole["geometry"], [c["geometry"] for c in mine]) if len(mine) > 1 else [whole["geometry"]]
        if not mine:
            rows.append(whole)
            continue
        for c, geometry in zip(mine, areas, strict=True):
            # scores of the interior, outline and size of the part
            own: dict[Hashable, Any] = {name: c[name] for name in SUMS}
            own |= {"geometry": geometry, "pixels": round(geometry.area), "core_pixels": c["pixels"]}
            rows.append({**whole, **own, "tile": c["tile"] if len(mine) > 1 else whole["tile"]})
    return pd.DataFrame(rows, columns=list(frame.columns))


def _divide(region: shapely.Polygon, cores: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """Assign every pixel of the region to the core with the shortest path inside the region."""
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
    label = np.zeros(shape, np.int32)
    label[inside] = seed[source]
    found = {int(v): shapely.geometry.shape(g) for g, v in shapes(label, mask=inside, connectivity=4, transform=shift)}
    return [found[k + 1] for k in range(len(cores))]
