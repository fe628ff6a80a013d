"""Construction between two Sentinel-2 dates: `python -m benchmarks.construction --json [--data DIR] [--pastes N]`.

REAL: Eemshaven, 2018-05-21 and 2022-04-20, true growth marked by eye before any result was seen. The threshold was
chosen on the part west of `EAST_PX`; both campuses lie east of it. PASTED: simulated data centers on crops of a real
scene (Muenster), against the untouched crop as the other date, both with their own haze, gain, noise and a shift of up
to one pixel. The weights learned from such simulated data centers and from Muenster: that part is optimistic.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
import shapely.affinity
from affine import Affine
from scipy import ndimage

from benchmarks.real_data import real_data
from overwatt.models.detector import sensors
from overwatt.models.detector.inference import Detector, predict
from overwatt.models.simulate import training_scene
from overwatt.pipeline.change.construction import construction
from overwatt.workflows.io.raster_checks import quiet

GSD_M = 10.5
"""Of the Eemshaven pictures, from the length of the harbour's quays; stated as about 10-12 m."""
SHIFT = (5, 1)
"""Rows and columns from the later to the earlier picture, by phase correlation of their gradients."""
EAST_PX = 497
GROWTH = {
    "first campus, halls": [(680, 534), (713, 519), (725, 514), (728, 532), (688, 553)],
    "first campus, pad": [(652, 536), (677, 530), (686, 554), (650, 571)],
    "second campus": [(656, 580), (688, 570), (696, 590), (662, 607)],
}
"""Outlines in columns and rows of the later picture, drawn by eye before any result was seen."""
FIRST_SEEDS = {"chosen": 920_000_000, "fresh": 930_000_000}
"""Seeds of the pastes that the rule for the other date was chosen on, and of others."""
PLACE = Affine.translation(400_000, 5_800_000)
CRS = "EPSG:32632"


def building(detector: Detector, rgb: np.ndarray, gsd_m: float) -> np.ndarray:
    """Return the building probability times 255 of a picture (band, y, x) uint8."""

    def read(y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = rgb.shape[1:]
        out, valid = np.zeros((3, y1 - y0, x1 - x0), np.float32), np.zeros((y1 - y0, x1 - x0), bool)
        a, b, c, d = max(y0, 0), max(x0, 0), min(y1, height), min(x1, width)
        out[:, a - y0 : c - y0, b - x0 : d - x0] = rgb[:, a:c, b:d] / np.float32(255)
        valid[a - y0 : c - y0, b - x0 : d - x0] = True
        return out, valid

    probability, _ = predict(detector, read, rgb.shape[1:], gsd_m)
    return np.minimum(probability[1], 255 - probability[2]) + probability[2]


def found_at(places: gpd.GeoDataFrame, gsd_m: float) -> np.ndarray:
    """Return column and row of each place, (n, 2)."""
    if places.empty:
        return np.zeros((0, 2))
    points = places.to_crs(CRS).geometry.representative_point()
    return np.column_stack([(points.x - PLACE.c) / gsd_m, (PLACE.f - points.y) / gsd_m])


def real(detector: Detector, folder: Path) -> dict[str, Any]:
    """Return which marked growth is found, and all places of each half for a look by eye."""
    pictures = []
    for date in ("20180521", "20220420"):
        with quiet(), rasterio.open(folder / f"eemshaven_s2_{date}.jpg") as source:
            pictures.append(source.read([1, 2, 3]))
    dy, dx = SHIFT
    height, width = pictures[0].shape[1] - dy, pictures[0].shape[2] - dx
    earlier = building(detector, pictures[0], GSD_M)[dy:, dx:]
    later = building(detector, pictures[1], GSD_M)[:height, :width]
    grid = {"transform": PLACE * Affine.scale(GSD_M, -GSD_M), "crs": CRS, "gsd_m": GSD_M}
    places = construction(earlier, later, np.ones(later.shape, bool), **grid)
    at = found_at(places, GSD_M)
    new = places["class"].isin(["new", "grown"]).to_numpy()
    drawn = {
        name: shapely.affinity.scale(shapely.Polygon(xy), GSD_M, -GSD_M, origin=(0, 0)) for name, xy in GROWTH.items()
    }
    mapped = places.to_crs(CRS).geometry.translate(-PLACE.c, -PLACE.f)
    growth = {name: bool((new & mapped.intersects(outline).to_numpy()).any()) for name, outline in drawn.items()}
    east = at[:, 0] >= EAST_PX
    km2 = {"west": EAST_PX * height * GSD_M**2 / 1e6, "east": (width - EAST_PX) * height * GSD_M**2 / 1e6}
    rows = [
        {"x": round(x), "y": round(y), "class": k, "area_m2": round(a), "half": "east" if e else "west"}
        for (x, y), k, a, e in zip(at, places["class"], places["area_m2"], east, strict=True)
    ]
    return {"growth_found": growth, "km2": {k: round(v, 1) for k, v in km2.items()}, "places": rows}


def other_day(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture as on another day: gain and haze per band, noise, a shift of up to a pixel (own choice)."""
    moved = ndimage.shift(rgb.astype(np.float32), (0, *rng.uniform(-1, 1, 2)), order=1, mode="nearest")
    toned = moved * rng.normal(1, 0.1, (3, 1, 1)) + rng.normal(0, 8, (3, 1, 1)) + rng.normal(0, 2, rgb.shape)
    return np.asarray(np.clip(np.rint(toned), 0, 255), dtype=np.uint8)


def pasted(detector: Detector, file: Path, pastes: int, first_seed: int, side: int = 128) -> dict[str, Any]:
    """Return how many pasted data centers of 5,000 m2 and more are found, and false places per 100 km2."""
    with rasterio.open(file) as source:
        ground = source.read([1, 2, 3])
    rng = np.random.default_rng(first_seed)
    grid = {"transform": PLACE * Affine.scale(10.0, -10.0), "crs": CRS, "gsd_m": 10.0}
    done = hits = false = 0
    seed = first_seed
    while done < pastes:
        seed += 1
        scene = training_scene(seed, side, 10.0)
        halls = scene.building == 2
        y, x = rng.integers(0, ground.shape[1] - side), rng.integers(0, ground.shape[2] - side)
        crop = ground[:, y : y + side, x : x + side]
        if halls.sum() * 100 < 5_000 or (crop.max(0) == 0).any():
            continue
        # the yard of 40 m around the halls comes with them, with a soft edge of a pixel
        blend = ndimage.gaussian_filter(ndimage.binary_dilation(halls, iterations=4).astype(np.float32), 1.0)
        site = crop * (1 - blend) + scene.optical[:3] * blend
        later = building(detector, other_day(site, rng), 10.0)
        earlier = building(detector, other_day(crop, rng), 10.0)
        places = construction(earlier, later, np.ones(halls.shape, bool), **grid)
        at = found_at(places, 10.0).astype(int)
        inside = ndimage.binary_dilation(halls, iterations=4)[at[:, 1].clip(0, side - 1), at[:, 0].clip(0, side - 1)]
        hits += bool(inside.any())
        false += int((~inside).sum())
        done += 1
    km2 = pastes * (side * 10.0) ** 2 / 1e6
    return {"pasted": pastes, "found": hits, "false_per_100_km2": round(100 * false / km2, 1), "km2": round(km2)}


def main() -> None:
    """Print the measures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--data", type=Path, default=real_data())
    parser.add_argument("--pastes", type=int, default=40)
    options = parser.parse_args()
    detector = Detector.load(sensors.named("sentinel2").path)
    result = {
        "real": real(detector, options.data / "sentinel2_hyperscale"),
        "pasted": {
            half: pasted(detector, options.data / "muenster" / "S2_RGB_10m_uint8.tif", options.pastes, seed)
            for half, seed in FIRST_SEEDS.items()
        },
    }
    print(json.dumps(result, indent=None if options.json else 1))


if __name__ == "__main__":
    main()
