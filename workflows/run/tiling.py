"""The tiles of a run: plan them, compute or reuse each, and merge them.

In: a `Workflow` and opened inputs. Out: tables `footprints` and `looked_at` (cells that were imaged and screened), the
probability raster, and the outcome of each tile. A computed tile is stored as a part, under a key of everything that
its content depends on.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import shapes

from overwatt.aoi.area import Area
from overwatt.aoi.errors import OverwattError
from overwatt.aoi.geodesy import to_lonlat
from overwatt.aoi.grid import Tile, area_mask, crop_to_area, outside_cells, tiles
from overwatt.models.detector.sensors import TYPE_UNTOLD, tells_type
from overwatt.pipeline import coverage
from overwatt.pipeline.detection import footprints as detection
from overwatt.pipeline.detection.untold import without_type
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.pipeline.tables import conform
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.cog import ProbabilityRaster
from overwatt.workflows.io.source import Source
from overwatt.workflows.io.thermal_excess import WithThermal
from overwatt.workflows.run import cluster, part_keys
from overwatt.workflows.run.inputs import Inputs
from overwatt.workflows.run.progress import Progress

log = logging.getLogger(__name__)


def plan_tiles(source: Source, area: Area | None, tile_px: int) -> list[Tile]:
    """Return the tiles of the source's lattice that intersect the bounds of the area.

    Args:
        source: imagery.
        area: area of interest; None for all of the source.
        tile_px: side of a tile in pixels.

    Returns:
        Tiles whose cores, (y0, x0, y1, x1) in pixels, are clipped to the bounds of the area.
    """
    assert source.geobox is not None
    y0, x0, y1, x1 = crop_to_area(source.geobox, area) if area is not None else (0, 0, *source.shape)
    out = []
    # tiles of the whole source, so that two areas of interest share the tile borders
    for t in tiles(source.shape, tile_px):
        a, b, c, d = t.core
        core = (max(a, y0), max(b, x0), min(c, y1), min(d, x1))
        if core[0] < core[2] and core[1] < core[3]:
            out.append(Tile(t.name, t.row, t.col, core))
    return out


def detect(
    workflow: Workflow, inputs: Inputs, out: Path, scheduler: str | None, progress: Progress
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, list[dict[str, Any]], str]:
    """Compute the tiles that have no stored part, and merge all tiles.

    Args:
        workflow: settings.
        inputs: opened inputs, with imagery.
        out: the run folder.
        scheduler: address of a Dask scheduler; None for local processes.
        progress: receives lines and counts.

    Returns:
        Tables `footprints` and `looked_at`, the outcome of each tile (tile, core, outcome, reason), and the
        description of how the workers computed (device, library versions).

    Raises:
        OverwattError: no worker can be used, or a stored part is damaged.
    """
    source = inputs.source
    assert source is not None and source.geobox is not None
    settings = DetectSettings.of(inputs.card, **workflow.detector.thresholds)
    todo = plan_tiles(source, inputs.area, workflow.detector.tile_px)
    pixels = source if inputs.heat is None else WithThermal(source, inputs.heat)
    job = cluster.Job(pixels, inputs.weights, inputs.card.weights_sha256, inputs.area, settings)
    parts_folder = out / "parts"
    outcome: dict[str, dict[str, Any]] = {}
    files: dict[str, Path] = {}
    described = _described_before(parts_folder)

    def files_for(description: str) -> None:
        for t in todo:
            # everything that can change a bit of the part: pixels, weights, code, worker, window, settings, area, grid
            key = run_folder.key(
                inputs.hashes["imagery"], inputs.card.weights_sha256, part_keys.detector_code_version(), description,
                t.core, settings, inputs.area.geometry.wkb_hex if inputs.area else "", str(source.geobox),
                inputs.hashes.get("thermal_excess", ""),
            )  # fmt: skip
            files[t.name] = parts_folder / f"{t.name}-{key}.npz"

    def note(tile: Tile, what: str, reason: str = "") -> None:
        outcome[tile.name] = {"tile": tile.name, "core": tile.core, "outcome": what, "reason": reason}
        if what == "failed":
            log.warning("tile %s failed: %s", tile.name, reason)
        else:
            log.debug("tile %s %s: %s", tile.name, what, files[tile.name].name)
        failed = sum(o["outcome"] == "failed" for o in outcome.values())
        progress.tile(len(outcome) - failed, failed, len(todo))

    def on_done(tile: Tile, status: str, result: cluster.Arrays | str) -> None:
        if status == "done":
            assert not isinstance(result, str)
            run_folder.save_part(files[tile.name], result)
            note(tile, "computed")
        else:
            note(tile, "failed", str(result))

    # the key contains how the workers compute; a complete run in this folder says it, so no worker need start
    if described:
        files_for(described)
    if described and all(run_folder.load_part(f) is not None for f in files.values()):
        for t in todo:
            note(t, "reused")
    else:
        progress.say(f"{len(todo)} tiles; starting workers")
        with cluster.workers(job, scheduler, len(todo)) as (ready, described):
            files_for(described)
            run_folder.write_text(parts_folder / "computed_with.txt", described)
            rest = []
            for t in todo:
                if run_folder.load_part(files[t.name]) is not None:
                    note(t, "reused")
                else:
                    if files[t.name].is_file():
                        log.warning("part %s is damaged; the tile is computed again", files[t.name].name)
                    rest.append(t)
            progress.say(f"{len(todo) - len(rest)} of {len(todo)} tiles are stored already")
            cluster.run_tiles(ready, rest, on_done)

    regions, cells = [], []
    stored = sum(f.stat().st_size for f in files.values() if f.is_file())
    with ProbabilityRaster(out, source, [t.core for t in todo], stored) as raster:
        for t in todo:
            arrays = run_folder.load_part(files[t.name]) if outcome[t.name]["outcome"] != "failed" else None
            if arrays is None:
                if outcome[t.name]["outcome"] != "failed":
                    raise OverwattError(
                        f"part {files[t.name].name} is damaged; run the same command again to compute it again"
                    )
                cells.append(looked_at_row(t, source, inputs.area, None, outcome[t.name]["reason"]))
                continue
            probability, valid, part = cluster.unpack(arrays, t)
            raster.put(t.core, probability, valid)
            regions.append(part)
            cells.append(looked_at_row(t, source, inputs.area, valid, ""))
    cells = [c for c in cells if c["asked_km2"] > 0]
    if inputs.area is not None:
        cells += outside_rows(source, inputs.area, workflow)
    footprints = detection.merge_footprints(
        regions, transform=source.geobox.affine, crs=str(source.geobox.crs), gsd_m=source.gsd_m,
        scene=source.name, settings=settings,
    )  # fmt: skip
    looked = conform(pd.DataFrame(cells), "looked_at")
    if not tells_type(inputs.card):
        footprints = without_type(footprints, inputs.card.calibration)
        # nothing was looked for there that could be missing: a declared facility is not "not seen"
        looked = looked.assign(screened=False, reason=looked["reason"].where(~looked["screened"], TYPE_UNTOLD))
    return (
        footprints,
        looked,
        [outcome[t.name] for t in todo],
        str(described),
    )


def _described_before(parts: Path) -> str:
    """The stored description of how an earlier run in this folder computed; empty if there is none."""
    file = parts / "computed_with.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def outside_rows(source: Source, area: Area, workflow: Workflow) -> list[dict[str, Any]]:
    """Return the rows of `looked_at` for the ground of the area that the imagery does not cover."""
    assert source.geobox is not None
    named = outside_cells(source.geobox, area, workflow.detector.tile_px)
    ground = to_lonlat([part for _, part in named], source.geobox.affine, str(source.geobox.crs))
    return [
        {
            "cell": name, "imaged": 0.0, "asked_km2": part.area * source.gsd_m**2 / 1e6, "clear_looks": 0,
            "screened": False, "failed": False, "reason": coverage.OUTSIDE, "geometry": shape,
        }
        for (name, part), shape in zip(named, ground, strict=True)
    ]  # fmt: skip


def looked_at_row(
    tile: Tile, source: Source, area: Area | None, valid: np.ndarray | None, reason: str
) -> dict[str, Any]:
    """Return a row of `looked_at`: its geometry is the part imaged and screened, the whole cell if there is none.

    Args:
        tile: the cell.
        source: imagery, for the grid.
        area: area of interest; None for all of the imagery.
        valid: (y, x) bool, pixels with imagery; None if the tile failed.
        reason: why it failed, or empty.
    """
    y0, x0, y1, x1 = tile.core
    shift = Affine.translation(x0, y0)
    if valid is None:
        seen: shapely.Geometry = shapely.box(x0, y0, x1, y1)
    else:
        pieces = [shapely.geometry.shape(g) for g, _ in shapes(valid.astype(np.uint8), mask=valid, transform=shift)]
        # own choice: pieces below 16 pixels and notches below 1.5 pixels at the edge are too small for a data center
        big = [p for p in pieces if p.area >= 16] or pieces
        seen = shapely.make_valid(shapely.simplify(shapely.union_all(big), 1.5)) if big else shapely.box(x0, y0, x1, y1)
    assert source.geobox is not None
    mapped = to_lonlat([seen], source.geobox.affine, str(source.geobox.crs))[0]
    asked = (y1 - y0) * (x1 - x0)
    if area is not None:
        box = source.geobox
        shape = (y1 - y0, x1 - x0)
        asked = int(area_mask(GeoBox(shape, box.affine * Affine.translation(x0, y0), box.crs), area).sum())
    # valid pixels lie in the area: the tile task masked the others
    imaged = 0.0 if valid is None or not asked else float(valid.sum() / asked)
    return {
        "cell": tile.name,
        "imaged": imaged,
        "asked_km2": asked * source.gsd_m**2 / 1e6,
        "clear_looks": int(imaged > 0),
        "screened": valid is not None and imaged > 0,
        "failed": valid is None,
        "reason": reason or ("no imagery here" if imaged == 0 else ""),
        "geometry": mapped,
    }
