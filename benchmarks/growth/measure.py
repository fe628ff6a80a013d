"""One run over stored tiles, in a process of its own.

In: a workflow file and a run folder whose parts are stored. Out: seconds by stage, counts, peak memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.streaming.process import memory_mb
from overwatt.workflows.config.run import load
from overwatt.workflows.run import runner


def measure(workflow: str, out: str) -> dict[str, Any]:
    """Return the seconds of each stage, the rows of the tables, and peak_mb of the whole process."""
    folder = Path(out)
    runner.run(load(Path(workflow)), folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {t["outcome"] for t in manifest["tiles"]} == {"reused"}, "a tile was computed"
    rows = {name: pq.read_metadata(folder / f"{name}.parquet").num_rows for name in ("footprints", "sites", "ledger")}
    return {"by_stage": manifest["seconds"], "peak_mb": memory_mb("VmHWM"), "tiles": len(manifest["tiles"]), **rows}
