"""Loading of the shared registries, and deduplication across sources.

`python -m benchmarks.registries [--json]` prints a table, and with --json one JSON object on the last line: for each
file rows, used rows, rows with a position, rejected rows by reason, and kinds; merged rows by pair of sources; and
(simulated) how many of 100 OpenStreetMap rows with swapped lon and lat are detected, and how many correct rows are
rejected.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely

from benchmarks.real_data import real_data
from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.declared import deduplication
from overwatt.workflows.io import registries

FILES = (
    "im3_footprints.geojson",
    "osm_world_overpass.json",
    "epa_echo_naics_518210.json",
    "epoch_data_centers.csv",
    "epoch_gpu_clusters.csv",
    "epoch_data_center_chip_quantities.csv",
    "epoch_notable_models.csv",
    "cloud_regions.json",
    "osm_power_east_valley_AZ.json",
    "epoch_data_center_timelines.csv",
)
MERGED = FILES[:4]
_SWAPPED = 100


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return counts by file and the tables that were read."""
    figures, tables = dict[str, Any](), dict[str, Any]()
    for name in FILES:
        aside: list[tuple[int, str, str]] = []
        begun = time.perf_counter()
        try:
            table = registries.read(folder / name, aside=aside)
        except RegistryError as error:
            figures[name] = {"rows": len(aside), "used": 0, "aside": _reasons(aside), "error": str(error)}
            continue
        tables[name] = table
        figures[name] = {
            "rows": len(table) + len(aside),
            "used": len(table),
            "placed": int((~table.geometry.is_empty).sum()),
            "aside": _reasons(aside),
            "kinds": table["kind"].value_counts().to_dict(),
            "seconds": round(time.perf_counter() - begun, 2),
        }
    return figures, tables


def _reasons(aside: list[tuple[int, str, str]]) -> dict[str, int]:
    # strip file, row and values, so that equal reasons are counted together
    said = (re.sub(r"^registry '[^']*', row \d+[:,] ", "", reason) for _, _, reason in aside)
    return dict(Counter(re.sub(r"( of .*|'[^']*')", "", words)[:80] for words in said))


def joins(tables: dict[str, Any]) -> dict[str, Any]:
    """Return how many rows of the four facility registries are merged, by pair of sources."""
    chosen = [tables[name] for name in MERGED if name in tables]
    begun = time.perf_counter()
    merged = deduplication.merge_registries(chosen)
    pairs: Counter[str] = Counter()
    for source, also in zip(merged["source"], merged["also"], strict=True):
        if not pd.isna(also):
            names = sorted({source, *(part.rpartition(":")[0] for part in str(also).split(" | "))})
            pairs[" + ".join(names)] += 1
    return {
        "rows": sum(len(t) for t in chosen),
        "facilities": len(merged),
        "joined": int(merged["also"].notna().sum()),
        "by_sources": dict(pairs.most_common()),
        "seconds": round(time.perf_counter() - begun, 2),
    }


def swapped(table: pd.DataFrame, seed: int = 7) -> dict[str, int]:
    """Swap lon and lat of 100 rows that stay in range (simulated) and count the rejected rows."""
    xy = shapely.get_coordinates(shapely.centroid(table["geometry"].to_numpy(object)))
    # a longitude beyond 90 degrees is no valid latitude and would be found trivially
    can = np.flatnonzero(np.abs(xy[:, 0]) < 90)
    turned = np.random.default_rng(seed).choice(can, _SWAPPED, replace=False)
    xy[turned] = xy[turned, ::-1]
    aside: list[tuple[int, str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "swapped.csv"
        pd.DataFrame({"id": np.arange(len(xy)), "lon": xy[:, 0], "lat": xy[:, 1]}).to_csv(file, index=False)
        registries.read(file, aside=aside)
    found = {int(row) - 1 for row, _, _ in aside}
    right = len(found & set(turned.tolist()))
    return {"swapped": _SWAPPED, "noticed": right, "true_rows_put_aside": len(found) - right}


def main(argv: list[str] | None = None) -> int:
    """Print the results; return 0, or 2 if the registries are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    folder = real_data() / "facilities"
    if not folder.is_dir():
        print(f"no registries at {folder}; set OVERWATT_REAL_DATA", file=sys.stderr)
        return 2
    files, tables = load(folder)
    result = {"files": files, "merge": joins(tables), "swapped_simulated": swapped(tables[FILES[1]])}
    for name, f in files.items():
        print(f"{name:40s} {f['rows']:>6d} rows {f['used']:>6d} used  {f.get('kinds', '')}", file=sys.stderr)
        for reason, count in f["aside"].items():
            print(f"{'':42s}{count:>5d} aside: {reason}", file=sys.stderr)
        if "error" in f:
            print(f"{'':42s}refused: {f['error']}", file=sys.stderr)
    for key in ("merge", "swapped_simulated"):
        print(f"{key}: {result[key]}", file=sys.stderr)
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
