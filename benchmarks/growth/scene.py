"""Run folders with all tiles stored: what the network would have found, SIMULATED, for any number of tiles.

In: a folder, a number of tiles. Out: a workflow whose run only joins, groups, estimates, compares and reports.
One pattern of 5 x 5 tiles with 2,500 slots for objects is drawn on a torus and repeated, so that objects cross the
borders of tiles and every tile holds about 100 of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy import ndimage

from overwatt.aoi.geodesy import pixels_to_lonlat
from overwatt.aoi.grid import Tile
from overwatt.models.detector.card import CHANNELS
from overwatt.pipeline.detection.footprints import finish, split
from overwatt.pipeline.detection.vectorization import DetectSettings, vectorize_tile
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import run_folder
from overwatt.workflows.run.computing import plan_tiles
from overwatt.workflows.run.inputs import open_inputs
from overwatt.workflows.run.tile import Arrays, packed, unpack
from overwatt.workflows.run.tiling import part_file

GSD_M, TILE_PX, SIDE = 2.0, 256, 5  # side of the pattern, tiles
SLOTS = 50  # along a side of the pattern, one object each
CENTERS, COMPANY = 0.02, 2  # share of the buildings that are called data centers, chillers beside each; own choice
EDGE_PX = 2  # interiors stay 4 m away from outlines, as the network learned
CRS, LEFT, TOP = "EPSG:32618", 285_000.0, 4_322_000.0
DESCRIPTION = "SIMULATED parts of benchmarks.growth"
AT = {name: k for k, name in enumerate(CHANNELS)}


def pattern(seed: int = 1) -> np.ndarray:
    """Return (channel, y, x) uint8, what the network would say of a pattern, on a torus.

    Buildings of 20 to 44 m in any direction, one in fifty called a data center with two rows of chillers beside it.
    """
    rng = np.random.default_rng(seed)
    n, slot = TILE_PX * SIDE, TILE_PX * SIDE / SLOTS
    out = np.zeros((len(CHANNELS), n, n), np.uint8)
    hall, center, machines = [], [], []
    for row in range(SLOTS):
        for col in range(SLOTS):
            x, y = (col + 0.5) * slot, (row + 0.5) * slot
            w, h = rng.uniform(10, 22, 2)
            shape = shapely.affinity.rotate(shapely.box(x - w / 2, y - h / 2, x + w / 2, y + h / 2), rng.uniform(0, 90))
            if rng.random() < CENTERS:
                center.append(shape)
                machines += [shapely.box(x + k, y + 14, x + k + 3, y + 24) for k in range(0, 4 * COMPANY, 4)]
            else:
                hall.append(shape)

    def drawn(shapes: list[shapely.Polygon]) -> np.ndarray:
        """Return (y, x) bool; what leaves the pattern on one side comes back on the other."""
        size, margin = n + 2 * TILE_PX, TILE_PX
        moved = [shapely.affinity.translate(s, margin, margin) for s in shapes]
        canvas = rasterize(moved, (size, size), dtype="uint8").astype(bool)
        folded = canvas[margin:-margin].copy()
        folded[-margin:] |= canvas[:margin]
        folded[:margin] |= canvas[-margin:]
        inner = folded[:, margin:-margin].copy()
        inner[:, -margin:] |= folded[:, :margin]
        inner[:, :margin] |= folded[:, -margin:]
        return inner

    halls, centers = drawn(hall), drawn(center)
    equipment = drawn(machines) & ~halls & ~centers
    halls &= ~centers
    out[1][halls], out[2][centers], out[3][equipment] = 255, 255, 255
    wide = np.pad(halls | centers, EDGE_PX, mode="wrap")
    inside = ndimage.binary_erosion(wide, iterations=EDGE_PX)[EDGE_PX:-EDGE_PX, EDGE_PX:-EDGE_PX]
    out[AT["interior"]][inside] = 255
    out[AT["evidence"]][halls], out[AT["evidence"]][centers] = 60, 190
    out[AT["chiller"]][equipment] = 255
    out[0][~(halls | centers | equipment)] = 255
    return out


def stored(settings: DetectSettings, gsd_m: float) -> dict[tuple[int, int], Arrays]:
    """Return the arrays of each tile of the pattern, by its row and column in it, as if it lay at pixel 0, 0."""
    whole, valid = pattern(), np.ones((TILE_PX, TILE_PX), bool)
    out = {}
    for row in range(SIDE):
        for col in range(SIDE):
            y, x = row * TILE_PX, col * TILE_PX
            part = whole[:, y : y + TILE_PX, x : x + TILE_PX]
            regions = vectorize_tile(part, valid, (0, 0), "r000c000", np.zeros_like(valid), settings, gsd_m)
            waits = split(regions, (0, 0, TILE_PX, TILE_PX))
            out[row, col] = packed(part, valid, regions[waits], finish(regions[~waits], settings, gsd_m))
    return out


def placed(arrays: Arrays, tile: Tile) -> Arrays:
    """Return the arrays of a tile of the pattern, moved to where it lies."""
    _, _, *tables = unpack(arrays, Tile(tile.name, 0, 0, (0, 0, TILE_PX, TILE_PX)))
    y0, x0 = tile.core[:2]
    for table in tables:
        moved = shapely.transform(np.asarray(table["geometry"], dtype=object), lambda xy: xy + (x0, y0))
        table["geometry"] = pd.Series(moved, dtype=object)
    tables[1]["row"] += y0
    tables[1]["col"] += x0
    probability, valid = arrays["probability"], np.ones((TILE_PX, TILE_PX), bool)
    return packed(probability, valid, *tables)


def prepare(folder: Path, tiles_per_side: int) -> Path:
    """Write imagery, registry, workflow file and run folder with all parts; return the workflow file."""
    folder.mkdir(parents=True, exist_ok=True)
    side = tiles_per_side * TILE_PX
    _imagery(folder / "image.tif", side)
    _registry(folder / "registry.csv", side)
    file = folder / "growth.yaml"
    file.write_text(
        "name: growth\nsimulated: true\nyear: 2025\nimagery:\n  path: image.tif\n  date: 2025-06-01\n"
        f"declared:\n  path: registry.csv\ndetector:\n  tile_px: {TILE_PX}\n"
    )
    return file


def store(workflow: Workflow, out: Path) -> int:
    """Store the parts of all tiles of a workflow in a run folder; return their number."""
    inputs = open_inputs(workflow)
    assert inputs.source is not None
    known = stored(DetectSettings.of(inputs.card), inputs.source.gsd_m)
    tiles = plan_tiles(inputs.source, inputs.area, workflow.detector.tile_px)
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    run_folder.write_text(parts / "computed_with.txt", DESCRIPTION)
    for tile in tiles:
        y0, x0, y1, x1 = tile.core
        assert (y1 - y0, x1 - x0) == (TILE_PX, TILE_PX), tile
        arrays = placed(known[y0 // TILE_PX % SIDE, x0 // TILE_PX % SIDE], tile)
        # not compressed: a part is read either way, and writing it is no part of the measure
        with part_file(parts, workflow, inputs, tile, DESCRIPTION).open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    return len(tiles)


def _imagery(path: Path, side_px: int) -> None:
    """Write flat ground, in bands so that any size fits into memory."""
    profile = {
        "driver": "GTiff", "count": 3, "height": side_px, "width": side_px, "dtype": "uint8", "tiled": True,
        "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1, "photometric": "rgb",
        "crs": CRS, "transform": Affine(GSD_M, 0, LEFT, 0, -GSD_M, TOP), "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    ground = np.empty((3, TILE_PX * SIDE, side_px), np.uint8)
    # a slight texture: flat pixels count as no imagery
    ground[:] = (
        np.random.default_rng(0)
        .integers(90, 110, (3, TILE_PX * SIDE, TILE_PX * SIDE))
        .astype(np.uint8)[:, :, np.arange(side_px) % (TILE_PX * SIDE)]
    )
    with rasterio.open(path, "w", **profile) as file:
        for y in range(0, side_px, ground.shape[1]):
            rows = min(ground.shape[1], side_px - y)
            file.write(ground[:, :rows], window=Window(0, y, side_px, rows))


def _registry(path: Path, side_px: int) -> None:
    """Write declared facilities, a hundredth of the tiles of them, anywhere."""
    rng = np.random.default_rng(side_px)
    n = max(3, (side_px // TILE_PX) ** 2 // 100)
    place = pixels_to_lonlat(Affine(GSD_M, 0, LEFT, 0, -GSD_M, TOP), CRS)(rng.uniform(0, side_px, (n, 2)))
    pd.DataFrame({
        "id": [f"D{k}" for k in range(n)], "name": [f"Hall {k}" for k in range(n)], "lon": place[:, 0],
        "lat": place[:, 1], "it_mw": rng.uniform(5, 100, n).round(1), "operator": rng.choice(["Equinix", "Meta"], n),
    }).to_csv(path, index=False)  # fmt: skip
