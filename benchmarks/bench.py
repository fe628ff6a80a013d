"""Runs the benchmarks of speed and memory and writes one Markdown table: ours, the rival's, the ratio.

    python -m benchmarks.bench [--out docs/speed-table.md] [--quick] [--only NAMES]

`make bench` installs the rivals first. Figures of time hold for the machine that the table names; ratios were taken in
the same run, which is why they are given. Benchmarks of accuracy (elsewhere, units, calibration, power, reconcile)
print their own results and are no part of this.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dask.system import CPU_COUNT

from overwatt.aoi.errors import ConfigError, OverwattError, nearest
from overwatt.aoi.output import written

Row = tuple[str, str, str, str, str]
"""What, ours, rival, the rival's name, ratio (above 1: we are ahead)."""


def streaming(found: dict[str, Any]) -> list[Row]:
    """Return the rows of `benchmarks.streaming`."""
    rows: list[Row] = [
        ("peak memory, 10,980 x 10,980 pixels, no network", f"{found['peak_mb']:.0f} MB", "", "", ""),
        ("peak memory, 40,000 x 40,000 pixels, no network", f"{found['peak_mb_40k']:.0f} MB", "", "", ""),
        ("whole path over bare forward passes", f"{found['efficiency']:.2f}", "1", "forward passes alone", ""),
        ("pixels computed for each that is kept", f"{found['computed_over_kept']:.2f}", "1.78", "before", ""),
    ]
    own = found.get("ours")
    for name, theirs in found["rivals"].items():
        if own is None or "missing" in theirs:
            rows.append((f"whole path against {name}", "", theirs.get("missing", "not run"), name, ""))
            continue
        for what, key, unit in (("time", "seconds", "s"), ("peak memory", "peak_mb", "MB")):
            ratio = theirs["speed_ratio" if key == "seconds" else "memory_ratio"]
            rows.append((f"whole path, {what}", f"{own[key]} {unit}", f"{theirs[key]} {unit}", name, f"{ratio:.2f}"))
    return rows


def detector_speed(found: dict[str, Any]) -> list[Row]:
    """Return the rows of `benchmarks.detector_speed`."""
    names = {
        "one_thread": "network, one thread",
        "all_cores": "network, all cores",
        "predict_path": "windows, one thread",
    }
    speed = found["speed"]
    return [
        (what, f"{speed[k]['ours_mpx_s']} Mpx/s", f"{speed[k]['rival_mpx_s']} Mpx/s", "U-Net, ResNet-18 (smp)",
         f"{speed[k]['ratio']:.2f}")
        for k, what in names.items()
    ]  # fmt: skip


def startup(found: dict[str, Any]) -> list[Row]:
    """Return the rows of `benchmarks.startup`."""
    rivals = found["rivals_cpu_s"]
    pairs = (("`overwatt --help`", "help_cpu_s", "typer"), ("`overwatt estimate`", "estimate_cpu_s", "geopandas"))
    rows: list[Row] = [
        (f"start of {what}, processor time", f"{found[key]} s", f"{rivals[of]} s", f"import {of}",
         f"{rivals[of] / found[key]:.2f}")
        for what, key, of in pairs
    ]  # fmt: skip
    return [
        *rows,
        ("first tile of `overwatt demo`", f"{found['first_tile_s']} s", f"{rivals['torch']} s", "import torch", ""),
    ]


def growth(found: dict[str, Any]) -> list[Row]:
    """Return the rows of `benchmarks.growth`."""
    size = f"{found['tiles'][-1]:,} tiles, {found['footprints'][-1]:,} footprints"
    stages = sorted(found["by_stage"].items(), key=lambda item: -item[1]["seconds"])
    return [
        (f"after the network, {size}, time", f"{found['seconds'][-1]:,.0f} s", "", "", ""),
        (f"after the network, {size}, peak memory", f"{found['peak_mb']:,} MB", "", "", ""),
        ("exponent of time over footprints", f"{found['exponent']:.2f}", "1", "linear", ""),
        *((f"share of {name}", f"{stage['share']:.0%}", "", "", "") for name, stage in stages[:4]),
    ]


def engines(found: dict[str, Any]) -> list[Row]:
    """Return the rows of `benchmarks.engines`."""
    of = "real picture" if not found["simulated"] else "simulated picture"
    rows: list[Row] = []
    for name, engine in found.items():
        if isinstance(engine, dict) and "speed_ratio" in engine:
            changed = engine["lost"] + engine["class_changed"]
            what = f"network, one thread; {changed} of {engine['objects']} buildings of a {of} change"
            rows.append((what, f"{engine['torch_s']} s", f"{engine['torch_s'] / engine['speed_ratio']:.2f} s", name,
                         f"{1 / engine['speed_ratio']:.2f}"))  # fmt: skip
    return rows


BENCHMARKS: dict[str, tuple[list[str], list[str], Callable[[dict[str, Any]], list[Row]]]] = {
    "streaming": ([], ["--quick", "--rounds", "1"], streaming),
    "growth": ([], ["--quick"], growth),
    "engines": ([], ["--rounds", "1", "--only", "bfloat16"], engines),
    "detector_speed": (["--no-training", "--rounds", "5"], ["--no-training", "--rounds", "1"], detector_speed),
    "startup": (["--runs", "2"], ["--runs", "1"], startup),
}
"""Name: options, options of the quick form, rows of its result."""


def run(name: str, *, quick: bool) -> dict[str, Any]:
    """Run a benchmark in a process of its own and return its JSON object.

    Raises:
        OverwattError: it failed.
    """
    options, fast, _ = BENCHMARKS[name]
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *(fast if quick else options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise OverwattError(f"benchmarks.{name} ended with status {done.returncode}; its error is above")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[Row], *, quick: bool) -> str:
    """Return the Markdown page."""
    libraries = []
    for name in ("torch", "rasterio", "dask", "torchgeo", "segmentation-models-pytorch"):
        try:
            libraries.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            libraries.append(f"{name} missing")
    head = [
        "# Speed and memory",
        "",
        "Written by `make bench`; see [speed](speed.md) for what it means."
        + (" **Quick form: a check, not a measure.**" if quick else ""),
        "",
        f"{datetime.now(UTC).date().isoformat()}, {platform.machine()}, {CPU_COUNT} cores, Python "
        f"{platform.python_version()}; {', '.join(libraries)}. Rasters and objects are "
        "SIMULATED where a row does not say real. Ratio: the rival's figure "
        "over ours (for speeds ours over the rival's), taken in the same run; above 1 we are ahead.",
        "",
        "| what | ours | rival | which | ratio |",
        "|---|---|---|---|---|",
    ]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/speed-table.md"), help="the Markdown file")
    parser.add_argument("--quick", action="store_true", help="small forms: a check, not a measure")
    parser.add_argument("--only", default="", help="benchmarks, comma-separated [default: all]")
    options = parser.parse_args()
    names = [n for n in options.only.split(",") if n] or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            raise ConfigError(f"--only {name}: {nearest(name, list(BENCHMARKS))}")
    rows = [row for name in names for row in BENCHMARKS[name][2](run(name, quick=options.quick))]
    with written(options.out) as part:
        part.write_text(table(rows, quick=options.quick), encoding="utf-8")
    print(f"written: {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
