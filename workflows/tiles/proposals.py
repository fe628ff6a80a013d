"""What to label next: squares of a finished run, as a map, a picture, and outlines to fill in.

In: a run folder, its image, and labels that exist already. Out: `squares.geojson` (rank, why, uncertainty, novelty),
`to_label.geojson` (the squares and the outlines of the run in them, all of class `unknown`, for `overwatt tiles
--labels`), and `contact_sheet_NN.png`. Most squares are chosen by models/training/active_learning.py. The others are
drawn at random where nothing was detected, because what the network misses has no score to be uncertain about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from overwatt.aoi.errors import AssetReadError, ConfigError, GridError
from overwatt.aoi.geodesy import GEOD, WGS84, pixels_to_lonlat, to_lonlat
from overwatt.models.training.active_learning import CONSIDERED, choose, similarity, uncertainty, usefulness
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.raster_checks import open_raster
from overwatt.workflows.io.vectors import lonlat_to_pixels
from overwatt.workflows.tiles import proposal_files
from overwatt.workflows.tiles.finished_run import run_image
from overwatt.workflows.tiles.labels import LabelFile, merged, read_labels
from overwatt.workflows.tiles.splits import TileSettings, open_images
from overwatt.workflows.tiles.unlabelled import DECLARED, in_words, judged_ground, objects_of

SQUARE_M = 300.0
"""Side of a square, metres; own choice: a hall of 200 m and its yard are whole in it."""
RANDOM_SHARE = 0.2
"""Share of squares that are drawn where nothing was detected; own choice: enough to see misses, few enough to pay."""
_MARGIN_M = 30.0  # about an object larger than a square
_LARGEST = 4  # times the side of a square: cap for merged blocks of buildings
_LEAST_BUILT = 0.002  # least weight in the draw: a hall which the network takes for ground can come up; own choice
_LEAST_SEEN = 0.5  # share of a square that must show ground
_MAX_COUNT = 1000


@dataclass(frozen=True)
class _Grid:
    """The lattice of the run: grid of its probability raster, and metres per pixel."""

    box: GeoBox
    gsd_m: float

    def lonlat(self, boxes: np.ndarray) -> list[shapely.Geometry]:
        """Return boxes (n, 4) left, top, right, bottom in pixels as outlines in WGS84."""
        return to_lonlat(list(shapely.box(*boxes.T)), self.box.affine, str(self.box.crs))


def propose(
    run: Path,
    count: int,
    out: Path,
    *,
    images: Sequence[Path] = (),
    labels: Sequence[LabelFile] = (),
    class_map: Mapping[str, str] | None = None,
    dispositions: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Choose the squares of a run that are most useful to label next, and write them.

    Args:
        run: run folder of `overwatt run`.
        count: number of squares wanted; there may be fewer.
        out: output folder.
        images: imagery for the pictures [default: the image file of the run].
        labels: labels that exist already; what they outline is not proposed again.
        class_map: {class name in these labels: our class}.
        dispositions: table of findings [default: those of the run folder]; judged ground is not proposed again.
        seed: of the random squares; the others do not depend on it.

    Returns:
        The summary for `--json`: squares {most_useful, random}, random_share, objects, files, warnings.

    Raises:
        OverwattError: an input is unusable, or the run leaves nothing to label.
    """
    if not 1 <= count <= _MAX_COUNT or seed < 0:
        raise ConfigError(f"--most-useful {count}, --seed {seed}: give 1 to {_MAX_COUNT} squares, a seed of 0 or more")
    objects, notes = objects_of(run, SQUARE_M / 2)
    opened = open_images(images or [run_image(run)], TileSettings())
    if any(i.geobox is None for i in opened):
        raise GridError("--from-run: the imagery has no georeference, so nothing can be shown; give one with a CRS")
    known = judged_ground(run, dispositions)
    for file in merged(labels):
        frame = read_labels(file, opened, class_map or {})
        known += list(frame.geometry[(frame["class"] != "unknown") & (frame["image"] == "")])
    ground = shapely.STRtree(known)
    fresh = objects[~_touches(objects.geometry.to_numpy(), ground)].reset_index(drop=True)
    grid, built, imaged, side_px = _lattice(run)
    useful = _most_useful(fresh, grid, count)
    wanted = round(RANDOM_SHARE * count)
    first = useful.geometry.head(count - wanted)
    drawn = _random(grid, built, imaged, side_px, objects, [*known, *first], wanted, seed)
    useful = useful[~_touches(useful.geometry.to_numpy(), shapely.STRtree(drawn.geometry))].head(count - len(drawn))
    squares = _interleaved(useful, drawn)
    if squares.empty:
        raise ConfigError(f"run folder {run}: nothing is left to label: all objects are labelled or judged already")
    squares.insert(0, "rank", range(1, len(squares) + 1))
    seen, open_ = (table[table["class"] != DECLARED] for table in (objects, fresh))
    with run_folder.locked(out):
        files = proposal_files.write(out, squares, seen, open_, opened)
    if len(squares) < count:
        notes.append(f"only {len(squares)} squares are proposed: nothing more is left in the run")
    return {
        "squares": {"most_useful": len(useful), "random": len(drawn)},
        "random_share": round(len(drawn) / len(squares), 3),
        "objects": int(squares["objects"].sum()),
        "files": [str(f) for f in files],
        "warnings": notes,
    }


def lines(result: dict[str, Any]) -> list[str]:
    """Return the summary as lines of text."""
    n = result["squares"]
    return [
        f"{n['most_useful']} squares chosen as most useful, {n['random']} drawn where nothing was detected "
        f"({result['random_share']:.0%}); {result['objects']} detected objects in them",
        *(f"note: {text}" for text in result["warnings"]),
        *result["files"],
    ]


def _touches(shapes: np.ndarray, ground: shapely.STRtree) -> np.ndarray:
    hit = np.zeros(len(shapes), bool)
    hit[np.unique(ground.query(shapes, predicate="intersects")[0])] = True
    return hit


def _points(objects: gpd.GeoDataFrame) -> shapely.STRtree:
    """Return a point in each detected object, as a spatial index."""
    return shapely.STRtree(objects.geometry[objects["class"] != DECLARED].representative_point().to_numpy())


def _lattice(run: Path) -> tuple[_Grid, np.ndarray, np.ndarray, int]:
    """Return the grid of a run, the built-up and the imaged share of its regular squares, and their side in pixels."""
    path = run / "probability.tif"
    with open_raster(path, "probability raster") as source:
        if source.crs is None or source.count < 1 or source.dtypes[0] != "uint8":
            raise AssetReadError(f"{path}: not the probability raster of `overwatt run`", str(path))
        box = GeoBox(source.shape, source.transform, str(source.crs))
        middle = np.array([[source.width / 2, source.height / 2]])
        ends = pixels_to_lonlat(box.affine, str(box.crs))(np.concatenate([middle, middle + [1, 0]]))
        gsd_m = float(GEOD.inv(*ends[0], *ends[1])[2])
        side = max(1, round(SQUARE_M / gsd_m))
        rows, cols = source.height // side, source.width // side
        if not rows or not cols:
            return _Grid(box, gsd_m), np.zeros((0, 0)), np.zeros((0, 0)), side
        part = {"window": Window(0, 0, cols * side, rows * side), "out_shape": (rows, cols)}
        try:
            background = source.read(1, **part, resampling=Resampling.average)
            seen = source.dataset_mask(**part, resampling=Resampling.average) / 255
        except (RasterioError, OSError) as error:
            raise AssetReadError(f"{path}: cannot be read; it is truncated or damaged", str(path)) from error
    return _Grid(box, gsd_m), np.where(seen > 0, 1 - background / 255, 0.0), seen, side


def _most_useful(objects: gpd.GeoDataFrame, grid: _Grid, count: int) -> gpd.GeoDataFrame:
    """Return the squares of greatest use, in order of use."""
    columns = ["kind", "why", "uncertainty", "novelty", "object_id", "objects", "geometry"]
    table = objects.assign(
        use=usefulness(objects["p"].to_numpy(), objects["novelty"].to_numpy(), objects["area_m2"].to_numpy())
    )
    table = table.sort_values(["use", "object_id"], ascending=[False, True]).head(CONSIDERED)
    table = table[table["use"] > 0].reset_index(drop=True)
    if table.empty:
        return gpd.GeoDataFrame(columns=columns, geometry="geometry", crs=WGS84)
    shapes = lonlat_to_pixels(list(table.geometry), grid.box)
    boxes = _squares_about(shapes, grid)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2] - boxes[:, 0]) / 2
    points = shapely.point_on_surface(shapes)
    at, inside = shapely.STRtree(points).query(shapely.box(*boxes.T), predicate="intersects")
    squares = [np.sort(inside[at == n]) for n in range(len(boxes))]
    clash = (np.abs(middle[:, None] - middle[None]) < (half[:, None] + half[None])[..., None]).all(2)
    similar = similarity(
        table["p"].to_numpy(), table["novelty"].to_numpy(), table["area_m2"].to_numpy(), middle * grid.gsd_m,
        table["kind"].to_numpy(),
    )  # fmt: skip
    chosen = choose(table["use"].to_numpy(), similar, squares, count, clash=clash)
    detected = _points(objects)
    outlines = grid.lonlat(boxes[chosen])
    rows = []
    for number, outline in zip(chosen, outlines, strict=True):
        main = table.iloc[int(squares[number].min())]  # the table is in order of use
        held = len(detected.query(outline, predicate="intersects"))
        others = held - (main["class"] != DECLARED)
        more = f"; {others} more object{'s' * (others > 1)}" if others > 0 else ""
        rows.append({
            "kind": "declared" if main["class"] == DECLARED else "detected", "why": in_words(main) + more,
            "uncertainty": round(float(uncertainty(main["p"])), 3), "novelty": round(float(main["novelty"]), 2) or None,
            "object_id": main["object_id"], "objects": held, "geometry": outline,
        })  # fmt: skip
    return gpd.GeoDataFrame(pd.DataFrame(rows, columns=columns), geometry="geometry", crs=WGS84)


def _squares_about(shapes: list[shapely.Geometry], grid: _Grid) -> np.ndarray:
    """Return the square about each shape, (n, 4) left, top, right, bottom in pixels, moved inside the raster."""
    bounds = shapely.bounds(np.array(shapes, dtype=object))
    extent_m = (bounds[:, 2:] - bounds[:, :2]).max(1) * grid.gsd_m
    side = np.clip(extent_m + 2 * _MARGIN_M, SQUARE_M, _LARGEST * SQUARE_M) / grid.gsd_m
    shape = np.array(grid.box.shape[::-1])
    low = (bounds[:, :2] + bounds[:, 2:]) / 2 - side[:, None] / 2
    low = np.clip(low, 0, np.maximum(shape - side[:, None], 0))
    return np.column_stack([low, low + side[:, None]])


def _random(
    grid: _Grid,
    built: np.ndarray,
    seen: np.ndarray,
    side_px: int,
    objects: gpd.GeoDataFrame,
    known: list[shapely.Geometry],
    count: int,
    seed: int,
) -> gpd.GeoDataFrame:
    """Draw squares without a detected data center or machine, in proportion to built-up ground."""
    columns = ["kind", "why", "uncertainty", "novelty", "object_id", "objects", "built_up", "geometry"]
    rows, cols = np.indices(built.shape).reshape(2, -1)
    boxes = np.column_stack([cols, rows, cols + 1, rows + 1]) * float(side_px)
    outlines = np.array(grid.lonlat(boxes), dtype=object) if len(boxes) else np.array([], dtype=object)
    calls = objects.geometry[objects["class"] != "other_building"].to_numpy()
    taken = _touches(outlines, shapely.STRtree(np.array([*calls, *known], dtype=object)))
    free = np.flatnonzero(~taken & (seen.ravel() >= _LEAST_SEEN))
    weight = np.maximum(built.ravel()[free], _LEAST_BUILT)
    size = min(count, len(free))
    rng = np.random.default_rng(seed)
    drawn = free[rng.choice(len(free), size, replace=False, p=weight / weight.sum())] if size else free[:0]
    buildings = _points(objects)
    out = []
    for number in drawn:
        share = float(built.ravel()[number])
        inside = len(buildings.query(outlines[number], predicate="intersects"))
        why = f"no data center or machine detected, drawn at random; {share:.0%} built up: a miss would show here"
        out.append({
            "kind": "random", "why": why, "uncertainty": None, "novelty": None, "object_id": None, "objects": inside,
            "built_up": round(share, 3), "geometry": outlines[number],
        })  # fmt: skip
    return gpd.GeoDataFrame(pd.DataFrame(out, columns=columns), geometry="geometry", crs=WGS84)


def _interleaved(useful: gpd.GeoDataFrame, drawn: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return both in one order in which every beginning holds about the same share of random squares."""
    place = [(n + 0.5) / len(part) for part in (useful, drawn) for n in range(len(part))]
    whole = pd.concat([part.astype(object) for part in (useful, drawn) if len(part)] or [useful], ignore_index=True)
    types = dict.fromkeys(("uncertainty", "novelty", "built_up"), float) | {"objects": int}  # lost in parts without any
    whole = whole.astype({name: kind for name, kind in types.items() if name in whole})
    order = np.argsort(np.array(place), kind="stable")
    return gpd.GeoDataFrame(whole.iloc[order].reset_index(drop=True), geometry="geometry", crs=WGS84)
