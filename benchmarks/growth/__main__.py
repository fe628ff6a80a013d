"""Time and memory of everything after the network on up to 10,000 tiles and a million footprints.

    python -m benchmarks.growth --json [--quick] [--sides 25,50,100]

All objects are SIMULATED: the parts of the tiles are written beforehand, as if the network had found them, and a run
reads, joins, groups, estimates, compares and reports them. `exponent` is the slope of the logarithm of its time over
that of the number of footprints, between the two largest sizes: 1 is linear. `by_stage` gives for each stage its share
of the time at the largest size, and its own exponent; `peak_mb` is the peak memory of the whole process there. There is
no rival: no other system has these stages. `--quick` uses few tiles: it checks, and measures nothing of interest.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dask.system import CPU_COUNT

from benchmarks.growth.scene import prepare, store
from benchmarks.streaming.process import apart
from overwatt.workflows.config.run import load

SIDES = (25, 50, 100)
QUICK = (5, 10)


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def exponent(small: dict[str, Any], large: dict[str, Any], before: float, after: float) -> float:
    """Return the slope of ln time over ln footprints."""
    return math.log(after / before) / math.log(large["footprints"] / small["footprints"])


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures from the measures at all sizes, ascending."""
    small, large = found[-2:]
    total = [sum(f["by_stage"].values()) for f in (small, large)]
    stages = {
        name: {
            "seconds": seconds,
            "share": round(seconds / total[1], 3),
            # the clock has steps of 10 ms
            "exponent": round(exponent(small, large, small["by_stage"][name], seconds), 2)
            if min(small["by_stage"][name], seconds) >= 0.1
            else None,
        }
        for name, seconds in large["by_stage"].items()
    }
    return {
        "exponent": round(exponent(small, large, *total), 3),
        "peak_mb": round(large["peak_mb"]),
        "by_stage": stages,
        "seconds": [round(sum(f["by_stage"].values()), 1) for f in found],
        **{name: [f[name] for f in found] for name in ("tiles", "footprints", "sites", "ledger")},
        "cores": CPU_COUNT,
        "simulated": True,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few tiles: a check, not a measure")
    parser.add_argument("--sides", default="", help="tiles along each side of the square, for each size, ascending")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    sides = [int(s) for s in options.sides.split(",") if s] or list(QUICK if options.quick else SIDES)
    found = []
    for side in sides:
        with TemporaryDirectory() as folder:
            file = prepare(Path(folder) / "in", side)
            out = Path(folder) / "run"
            say(f"{store(load(file), out)} tiles are stored")
            found.append(apart("benchmarks.growth.measure", workflow=file, out=out))
        say(f"  {found[-1]}")
    result = summary(found)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
