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

from overwatt.aoi.errors import OverwattError
from overwatt.aoi.grid import Tile
from overwatt.models.detector.sensors import TYPE_UNTOLD, tells_type
from overwatt.models.detector.windows import lattice
from overwatt.pipeline.detection import footprints as detection
from overwatt.pipeline.detection.untold import without_type
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.cog import ProbabilityRaster
from overwatt.workflows.io.thermal_excess import WithThermal
from overwatt.workflows.run import part_keys
from overwatt.workflows.run.computing import computing, plan_tiles
from overwatt.workflows.run.inputs import Inputs
from overwatt.workflows.run.looked_at import LookedAt
from overwatt.workflows.run.progress import Progress
from overwatt.workflows.run.tile import Arrays, Job, unpack

log = logging.getLogger(__name__)


def detect(
    workflow: Workflow, inputs: Inputs, out: Path, scheduler: str | None, progress: Progress
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, list[dict[str, Any]], str]:
    """Compute the tiles that have no stored part, and merge all tiles.

    Args:
        workflow: settings.
        inputs: opened inputs, with imagery.
        out: the run folder.
        scheduler: address of a Dask scheduler; None for this machine.
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
    job = Job(pixels, inputs.weights, inputs.card, inputs.area, settings)
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

    def on_done(tile: Tile, status: str, result: Arrays | str) -> None:
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
        progress.say(f"{len(todo)} tiles; loading the weights")
        with computing(job, scheduler, len(todo)) as place:
            described = place.description
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
            progress.say(f"computing in {place.where}")
            place.run(rest, on_done)

    regions, looked_at = [], LookedAt(source, inputs.area)
    stored = sum(f.stat().st_size for f in files.values() if f.is_file())
    with ProbabilityRaster(out, source, [t.core for t in todo], stored) as raster:
        for t in todo:
            arrays = run_folder.load_part(files[t.name]) if outcome[t.name]["outcome"] != "failed" else None
            if arrays is None:
                if outcome[t.name]["outcome"] != "failed":
                    raise OverwattError(
                        f"part {files[t.name].name} is damaged; run the same command again to compute it again"
                    )
                looked_at.add(t.core, None, outcome[t.name]["reason"])
                continue
            probability, valid, part = unpack(arrays, t)
            raster.put(t.core, probability, valid)
            regions.append(part)
            looked_at.add(t.core, valid)
    footprints = detection.merge_footprints(
        regions, transform=source.geobox.affine, crs=str(source.geobox.crs), gsd_m=source.gsd_m,
        scene=source.name, settings=settings, cells=lattice(source.shape, source.gsd_m),
    )  # fmt: skip
    looked = looked_at.table()
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
