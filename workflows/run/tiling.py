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

from overwatt.aoi.grid import Tile
from overwatt.models.detector.sensors import TYPE_UNTOLD, tells_type
from overwatt.pipeline.detection.untold import without_type
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.thermal_excess import WithThermal
from overwatt.workflows.run import part_keys
from overwatt.workflows.run.computing import computing, plan_tiles
from overwatt.workflows.run.inputs import Inputs
from overwatt.workflows.run.joining import Joining
from overwatt.workflows.run.progress import Progress
from overwatt.workflows.run.tile import Arrays, Job

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
        OverwattError: no worker can be used.
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
        files.update({t.name: part_file(parts_folder, workflow, inputs, t, description) for t in todo})

    def note(tile: Tile, what: str, reason: str = "") -> None:
        outcome[tile.name] = {"tile": tile.name, "core": tile.core, "outcome": what, "reason": reason}
        if what == "failed":
            log.warning("tile %s failed: %s", tile.name, reason)
        else:
            log.debug("tile %s %s: %s", tile.name, what, files[tile.name].name)
        failed = sum(o["outcome"] == "failed" for o in outcome.values())
        progress.tile(len(outcome) - failed, failed, len(todo))

    def add(joining: Joining, tile: Tile, what: str, arrays: Arrays) -> None:
        joining.add(tile, arrays, files[tile.name].stat().st_size)
        note(tile, what)

    def joined(joining: Joining) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
        progress.clock.lap("tiles")
        progress.say("joining objects across tiles")  # minutes, for a million of them
        return joining.tables()

    # the key contains how the workers compute; a complete run in this folder says it, so no worker need start
    if described:
        files_for(described)
    if described and all(f.is_file() for f in files.values()):
        with Joining(out, source, inputs.area, settings, todo) as joining:
            for t in todo:
                if (arrays := run_folder.load_part(files[t.name])) is None:
                    break
                add(joining, t, "reused", arrays)
            else:
                footprints, looked = joined(joining)
    if len(outcome) < len(todo):
        outcome.clear()
        progress.say(f"{len(todo)} tiles; loading the weights")
        with (
            computing(job, scheduler, len(todo)) as place,
            Joining(out, source, inputs.area, settings, todo) as joining,
        ):
            described = place.description
            files_for(described)
            run_folder.write_text(parts_folder / "computed_with.txt", described)
            rest = []
            for t in todo:
                if (arrays := run_folder.load_part(files[t.name])) is not None:
                    add(joining, t, "reused", arrays)
                else:
                    if files[t.name].is_file():
                        log.warning("part %s is damaged; the tile is computed again", files[t.name].name)
                    rest.append(t)
            progress.say(f"{len(todo) - len(rest)} of {len(todo)} tiles are stored already")
            progress.say(f"computing in {place.where}")

            def on_done(tile: Tile, status: str, result: Arrays | str) -> None:
                if isinstance(result, str):
                    joining.fail(tile, result)
                    note(tile, "failed", result)
                else:
                    run_folder.save_part(files[tile.name], result)
                    add(joining, tile, "computed", result)

            place.run(rest, on_done)
            footprints, looked = joined(joining)
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


def part_file(parts: Path, workflow: Workflow, inputs: Inputs, tile: Tile, description: str) -> Path:
    """Return the file that stores the part of a tile.

    Args:
        parts: folder of the parts.
        workflow: settings.
        inputs: opened inputs, with imagery.
        tile: the tile.
        description: how the worker computes.
    """
    assert inputs.source is not None
    # everything that can change a bit of the part: pixels, weights, code, worker, window, settings, area, grid
    key = run_folder.key(
        inputs.hashes["imagery"], inputs.card.weights_sha256, part_keys.detector_code_version(), description,
        tile.core, DetectSettings.of(inputs.card, **workflow.detector.thresholds),
        inputs.area.geometry.wkb_hex if inputs.area else "", str(inputs.source.geobox),
        inputs.hashes.get("thermal_excess", ""),
    )  # fmt: skip
    return parts / f"{tile.name}-{key}.npz"


def _described_before(parts: Path) -> str:
    """The stored description of how an earlier run in this folder computed; empty if there is none."""
    file = parts / "computed_with.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else ""
