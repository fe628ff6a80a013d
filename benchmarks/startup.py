"""How long the command line takes to answer, in processor time, next to what Python and its libraries take alone.

usage: python -m benchmarks.startup [--runs 5] [--json]

Each command runs as a process of its own, with a warm disk cache; the median of the runs is printed. Processor time
is user plus system time of the process and its children, so that another load on the machine counts little. The time
to the first tile is wall-clock time from the start of `overwatt demo` to the line that reports a tile: it depends on
the load, so the machine's own `import torch` in the same run stands next to it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = {
    "help_cpu_s": ("--help",),
    "version_cpu_s": ("--version",),
    "bad_flag_cpu_s": ("run", "--no-such-flag"),
    "estimate_cpu_s": ("estimate", "--chillers", "121", "--json"),
}
RIVALS = {
    "python": "pass",
    "typer": "import typer; typer.Typer()",
    "geopandas": "import geopandas",
    "torch": "import torch",
    "torchvision": "import torchvision",
}
"""What starts anyway, and what the command line would pay if it imported them."""


def cpu_s(command: list[str], runs: int) -> float:
    """Median processor seconds of a command over several runs, after one to warm the disk cache."""
    taken = []
    for _ in range(runs + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken[1:])


def first_tile_s(runs: int) -> float:
    """Median wall-clock seconds from the start of `overwatt demo` to the report of its first tile."""
    taken = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            command = [sys.executable, "-m", "overwatt", "demo", "--out", str(Path(folder) / "demo")]
            run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            assert run.stderr is not None
            for line in run.stderr:
                if line.startswith("tiles 1/"):
                    taken.append(time.perf_counter() - start)
                    break
            run.communicate()
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each command")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    result: dict[str, object] = {
        name: round(cpu_s([sys.executable, "-m", "overwatt", *arguments], options.runs), 3)
        for name, arguments in OURS.items()
    }
    result["first_tile_s"] = round(first_tile_s(min(options.runs, 3)), 2)
    result["rivals_cpu_s"] = {
        name: round(cpu_s([sys.executable, "-c", code], options.runs), 3) for name, code in RIVALS.items()
    }
    result["load"] = round(os.getloadavg()[0], 2)
    result["cores"] = os.cpu_count()
    for name, value in result.items():
        print(f"{name}: {value}", file=sys.stderr)
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
