"""Questions about the ground size of real pictures: `python -m benchmarks.ground_size --json [--data DIR]`.

Every picture is judged as it is (a question is false) and enlarged 2, 3, 5 and 10 times, bilinear and cubic (a question
is right). The constants follow half `chosen`; the figures of half `other` were in sight. `chosen`: `uc_merced` 0.3 m,
half of the cities of `naip_california` 0.6 m, `muenster` 10 m. `other`: the other cities, `spacenet_vegas` 0.3 m,
`nyc_large_roofs` 0.9 m, `la_boston_roofs`, `building_masks` (Inria, 0.3 m), `sentinel2_hyperscale` (10 m).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from scipy import ndimage

from benchmarks.real_data import real_data
from overwatt.pipeline.imagery.ground_size import ENLARGED, WINDOW_PX, enlargement
from overwatt.workflows.io.raster_checks import quiet

FACTORS = (2, 3, 5, 10)
SETS = {
    "uc_merced": ("chosen", "uc_merced/*/*.png"),
    "naip_california": ("", "naip_california/*.tif"),
    "muenster": ("chosen", "muenster/S2_RGB_10m_uint8.tif"),
    "spacenet_vegas": ("other", "spacenet_vegas/*.jpg"),
    "nyc_large_roofs": ("other", "nyc_large_roofs/image/*.jpg"),
    "la_boston_roofs": ("other", "la_boston_roofs/*.png"),
    "inria": ("other", "building_masks/inria_crops/*/images/*"),
    "sentinel2_hyperscale": ("other", "sentinel2_hyperscale/*.jpg"),
}
"""Half and files of each set; the cities of `naip_california` are in either half by their names."""


def pictures(folder: Path, pattern: str) -> Iterator[tuple[Path, np.ndarray]]:
    """Yield the windows of `WINDOW_PX` of each file, (y, x) grey values; a smaller file is one window."""
    for path in sorted(folder.glob(pattern)):
        with quiet(), rasterio.open(path) as source:
            grey = source.read([1, 2, 3]).mean(0)
        side = min(WINDOW_PX, *grey.shape)
        for y in range(0, grey.shape[0] - side + 1, side):
            for x in range(0, grey.shape[1] - side + 1, side):
                yield path, grey[y : y + side, x : x + side]


def asked(grey: np.ndarray) -> bool:
    """Return whether one window would be asked about."""
    found = enlargement(np.rint(grey)[None])
    return found is not None and found >= ENLARGED


def enlarged(grey: np.ndarray, factor: int, order: int) -> np.ndarray:
    """Return the middle of a window enlarged to the size of the window."""
    side, part = grey.shape[0], -(-grey.shape[0] // factor)
    y = (side - part) // 2
    return np.clip(ndimage.zoom(grey[y : y + part, y : y + part], factor, order=order), 0, 255)[:side, :side]


def measure(folder: Path) -> dict[str, Any]:
    """Return, by half and set: pictures, share asked about as they are, and enlarged by each factor."""
    out: dict[str, Any] = {"chosen": {}, "other": {}}
    for name, (half, pattern) in SETS.items():
        rows: dict[str, list[list[bool]]] = {}
        for path, grey in pictures(folder, pattern):
            # half of the cities, by the sum of the letters of their names
            own = half or ("chosen" if sum(map(ord, path.name.split("_")[0])) % 2 else "other")
            shares = [asked(enlarged(grey, f, order)) for f in FACTORS for order in (1, 3)]
            rows.setdefault(own, []).append([asked(grey), *shares])
        for own, found in rows.items():
            mean = np.mean(found, 0)
            pairs = mean[1:].reshape(-1, 2).mean(1)
            out[own][name] = {
                "pictures": len(found), "asked": round(float(mean[0]), 3),
                "enlarged": {str(f): round(float(v), 2) for f, v in zip(FACTORS, pairs, strict=True)},
            }  # fmt: skip
    return out


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", type=Path, default=None)
    options = parser.parse_args()
    result = measure(options.data or real_data())
    if options.json:
        print(json.dumps(result))
        return
    for half, sets in result.items():
        for name, row in sets.items():
            print(f"{half:8}{name:22}{row['pictures']:5} asked {row['asked']:.3f}  enlarged {row['enlarged']}")


if __name__ == "__main__":
    main()
