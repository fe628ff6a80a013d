"""Power and compute compared with reported values: `python -m benchmarks.power --json` (about a minute)."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.power import chips, counted, equipment, footprint, h100e, independent, speed, timeline
from benchmarks.real_data import real_data

PARTS = ("equipment", "chips", "footprint", "counted_sites")
_SHOWN = (
    "n",
    "groups",
    "coverage_50",
    "coverage_80",
    "coverage_95",
    "median_abs_ln_error",
    "within_1_4",
    "ln_sd",
    "crps",
)


def main(arguments: list[str] | None = None) -> int:
    """Measure all parts; with --json the last line of standard output is JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.power", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--data", type=Path, default=None, help="folder with the tables of Epoch AI and IM3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sites", type=int, default=100_000, help="number of sites in the speed part; 0 skips it")
    options = parser.parse_args(arguments)
    folder = options.data or real_data() / "facilities"
    if not folder.is_dir():
        print(f"{folder}: no such folder; give --data or OVERWATT_REAL_DATA", file=sys.stderr)
        return 2
    start = time.monotonic()
    result: dict[str, Any] = {
        "equipment": equipment.measure(folder, options.seed),
        "chips": chips.measure(folder, options.seed),
        "footprint": footprint.measure(folder, options.seed),
        "counted_sites": counted.measure(folder, options.seed),
        "timeline": timeline.measure(folder, options.seed),
        "h100e": h100e.measure(folder, options.seed),
        "independent": independent.measure(folder, options.seed),
    }
    if options.sites:
        result["speed"] = speed.measure(options.sites, seed=options.seed)
    result["seconds"] = round(time.monotonic() - start, 1)
    out = sys.stderr if options.json else sys.stdout
    print(f"{'':16}" + "".join(f"{name[:13]:>14}" for name in _SHOWN), file=out)
    for part in PARTS:
        print(f"{part:16}" + "".join(f"{result[part].get(name, ''):>14}" for name in _SHOWN), file=out)
    for kind in ("ai", "unknown", "ordinary"):
        print(f"h100e, {kind}: {_plain(result['h100e'][kind])}", file=out)
    for part in ("independent", "timeline", "speed"):
        if part in result:
            print(f"{part}: {_plain(result[part])}", file=out)
    if options.json:
        print(json.dumps(result, allow_nan=False))
    return 0


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if not isinstance(v, (list, dict))}


if __name__ == "__main__":
    raise SystemExit(main())
