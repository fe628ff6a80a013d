"""One run from start to end: check inputs, compute tiles, write tables and report.

In: a `Workflow`. Out: a run folder with all tables, the probability raster, the report and `manifest.json`, and a
summary. All inputs are opened and checked before anything is written. Tiles whose part is stored are not computed
again: the same command resumes a stopped run, and the results are the same byte for byte.
"""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from overwatt.aoi.errors import redact
from overwatt.models.detector.sensors import TYPE_UNTOLD, tells_type
from overwatt.pipeline import coverage
from overwatt.pipeline.tables import empty
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.raster_checks import content_sha256
from overwatt.workflows.run import tiling
from overwatt.workflows.run.inputs import open_inputs
from overwatt.workflows.run.progress import Progress

log = logging.getLogger(__name__)


def run(
    workflow: Workflow, out: Path, *, scheduler: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Run a workflow and write the results into a folder.

    Args:
        workflow: what to run.
        out: the run folder.
        scheduler: address of a Dask scheduler; None for local processes.
        progress: receives lines and counts; None for the log.

    Returns:
        The summary that `--json` prints: run, report, tiles {done, failed}, sites, ledger; ground_size of an
        image file (declared_m and looks_like_m, None if nothing contradicts the declared size); notes if there are any.

    Raises:
        OverwattError: an input is unusable; nothing has then been written.
    """
    progress = progress or Progress()
    started, clock = datetime.now(UTC), progress.clock
    inputs = open_inputs(workflow)
    if len(inputs.kept_aside):
        progress.say(f"{len(inputs.kept_aside)} declared rows are rejected; kept_aside.csv lists them with reasons")
    for note in inputs.notes:
        progress.say(note)
    size = inputs.ground_size
    if size is not None and size.question:
        progress.say(size.question)
    clock.lap("open")
    with run_folder.locked(out):
        outcomes: list[dict[str, Any]] = []
        if inputs.source is not None:
            footprints, looked, outcomes, described = tiling.detect(workflow, inputs, out, scheduler, progress)
        else:
            footprints, looked, described = (
                empty("footprints"),
                empty("looked_at"),
                "no detection: known sites",
            )
        clock.lap("footprints")
        progress.say("computing sites, power, compute and ledger")
        # here and not above: statistics and plots take a second to import, which the first tile need not wait for
        from overwatt.pipeline.inspection.listing import left_out_counts, left_out_words
        from overwatt.workflows.run import results
        from overwatt.workflows.run.analysis import analyse

        tables = analyse(workflow, inputs, footprints, looked, clock)
        seen = {
            "share": round(coverage.asked_share(tables.looked_at), 4),
            "km2": round(coverage.looked_area_km2(tables.looked_at), 4),
            "asked_km2": round(float(tables.looked_at["asked_km2"].sum()), 4),
        }
        if inputs.source is not None and not tells_type(inputs.card):
            progress.say(TYPE_UNTOLD)
        elif seen["asked_km2"]:
            progress.say(f"looked at {seen['share']:.0%} of {seen['asked_km2']:,.1f} km² asked for")
        left_out = left_out_counts(tables.almost_listed)
        for words in left_out_words(left_out, workflow.stakes, workflow.listing):
            progress.say(f"almost listed: {words}")
        progress.say("writing tables and report")
        results.write(out, workflow, inputs, tables, outcomes, clock)
        manifest = {
            "overwatt": version("overwatt"),
            "code": run_folder.code_version(),
            "started": started.isoformat(timespec="seconds"),
            "inputs": inputs.hashes,
            "notes": inputs.notes,
            # redacted as text: a setting may be a signed address
            "parameters": json.loads(redact(json.dumps(workflow.model_dump(mode="json")))),
            "computed_with": described,
            "python": platform.python_version(),
            "libraries": {n: version(n) for n in ("torch", "torchvision", "rasterio", "geopandas", "shapely", "dask")},
            "seconds": clock.laps,
            "scenes_left_out": list(inputs.source.left_out) if inputs.source is not None else [],
            "looked_at": seen,
            "ground_size": asdict(size) if size is not None else None,
            "type_told": tells_type(inputs.card),
            "almost_listed": left_out,
            "tiles": outcomes,
            "outputs": {p.name: content_sha256(p) for p in sorted(out.iterdir()) if p.suffix in {".parquet", ".tif"}},
        }
        run_folder.write_json(out / "manifest.json", manifest)
    log.debug("run folder %s: %s", out, ", ".join(sorted(manifest["outputs"])))
    failed = sum(o["outcome"] == "failed" for o in outcomes)
    return {
        "run": str(out),
        "report": str(out / "report.html"),
        "tiles": {"done": len(outcomes) - failed, "failed": failed},
        "sites": len(tables.sites) if inputs.known_sites is None else len(inputs.known_sites),
        "ledger": [
            {k: None if pd.isna(v) else (int(v) if k == "rank" else str(v)) for k, v in row.items()}
            for row in tables.ledger[["class", "declared_id", "site_id", "rank"]].to_dict("records")
        ],
        **({"ground_size": asdict(size)} if size is not None else {}),
        **({"notes": inputs.notes} if inputs.notes else {}),
    }
