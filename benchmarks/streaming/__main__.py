"""Time and memory of streaming inference, against what other libraries do with the same network and raster.

    python -m benchmarks.streaming --json [--quick] [--folder DIR] [--no-rivals] [--rounds N]

All pixels are SIMULATED. `peak_mb` is the peak of the resident memory above that after the imports, with a model that
computes nothing, on 10,980 x 10,980 pixels; `peak_mb_40k` the same on 40,000 x 40,000. `efficiency` is the wall-clock
time of the whole path (read, normalise, infer, join, write) over that of the bare forward passes of the shipped network
on the same windows of 4,096 x 4,096 pixels at 2 m, one computing thread in both. `identical`: any tile size, order and
number of threads gives the same footprints and probabilities, byte for byte. A rival has the same network, raster and
cores; ratios are its time and memory over ours, above 1 where we are ahead. Everything runs in processes of its own, so
nothing inherits another one's memory. `--quick` uses small rasters: it checks, and measures nothing of interest.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dask.system import CPU_COUNT

from benchmarks.streaming.ours import computed_over_kept
from benchmarks.streaming.process import apart
from benchmarks.streaming.rivals import NAMES, missing
from benchmarks.streaming.scene import GSD_M, write

SIDES = {"peak": 10_980, "large": 40_000, "speed": 4_096, "same": 1_800}
QUICK = {"peak": 1_500, "large": 3_000, "speed": 1_024, "same": 950}


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def identical(plain: Path, scene: Path) -> bool:
    """Whether tile size, order and number of threads leave the outputs of both models as they are.

    The model that computes nothing gets plain pixels: it would make a region of each speck of a scene.
    """
    ways: list[dict[str, Any]] = [
        {"cores": 1},
        {"cores": 2, "tile_px": 700},
        {"cores": 2, "tile_px": 5_000, "backwards": True},
        {"cores": 2, "backwards": True},
    ]
    for path in (plain, scene):
        identity = path == plain
        found = [apart("benchmarks.streaming.ours", path=path, identity=identity, **way)["hashes"] for way in ways]
        if any(f != found[0] for f in found):
            return False
    return True


def measured(folder: Path, sides: dict[str, int], rounds: int, rivals: bool) -> dict[str, Any]:
    """Return all figures; `sides` are those of the rasters, pixels."""
    ours = "benchmarks.streaming.ours"
    result: dict[str, Any] = {}
    for key, side in (("peak_mb", sides["peak"]), ("peak_mb_40k", sides["large"])):
        say(f"{side} x {side} pixels, a model that computes nothing")
        path = write(folder / f"plain-{side}.tif", side, plain=True)
        found = apart(ours, path=path, identity=True, cores=1)
        result[key] = round(found["peak_mb"], 1)
        result[f"{key.removeprefix('peak_mb') or '_11k'}_mpx_s"[1:]] = round(side**2 / 1e6 / found["seconds"], 2)
        say(f"  {found['peak_mb']:.0f} MB, {found['seconds']:.1f} s")
    side = sides["speed"]
    path = write(folder / f"scene-{side}.tif", side, plain=False)
    say(f"whole path over bare forward passes, {side} x {side} pixels")
    passes = apart("benchmarks.streaming.efficiency", path=path, rounds=rounds)
    result["efficiency"] = round(passes["ratio"], 3)
    say(f"  {passes}")
    result["efficiency_range"] = [round(v, 3) for v in passes["range"]]
    result["computed_over_kept"] = round(computed_over_kept((side, side), GSD_M), 3)
    result["computed_over_kept_at_60_cm"] = round(computed_over_kept((side, side), 0.6), 3)
    say("tile sizes, orders, threads")
    same = sides["same"]
    plain, scene = (write(folder / f"{kind}-{same}.tif", same, plain=kind == "plain") for kind in ("plain", "scene"))
    result["identical"] = identical(plain, scene)
    result["rivals"] = {}
    if rivals:
        say(f"ours with the shipped network, {CPU_COUNT} cores")
        own = apart(ours, path=path, identity=False, cores=CPU_COUNT)
        result["ours"] = {"seconds": round(own["seconds"], 1), "peak_mb": round(own["peak_mb"])}
        result["km2_s"] = round(side**2 * GSD_M**2 / 1e6 / own["seconds"], 3)
        for name in NAMES:
            if words := missing(name):
                say(words)
                result["rivals"][name] = {"missing": words}
                continue
            say(name)
            theirs = apart("benchmarks.streaming.rivals", name=name, path=path, threads=CPU_COUNT)
            result["rivals"][name] = {
                "speed_ratio": round(theirs["seconds"] / own["seconds"], 2),
                "memory_ratio": round(theirs["peak_mb"] / own["peak_mb"], 2),
                "seconds": round(theirs["seconds"], 1),
                "peak_mb": round(theirs["peak_mb"]),
            }
    return result | {"cores": CPU_COUNT, "simulated": True}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small rasters: a check, not a measure")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of the ratio to the bare forward passes")
    parser.add_argument("--no-rivals", action="store_true", help="leave the rivals out")
    parser.add_argument("--folder", type=Path, help="folder that keeps the rasters for the next run")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measured(folder, QUICK if options.quick else SIDES, options.rounds, not options.no_rivals)
    for name, value in result.items():
        say(f"{name}: {value}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
