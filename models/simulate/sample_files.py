"""Writes a sample area to files that `overwatt demo` and any GIS can read.

In: a `SampleArea` and a folder. Out: the paths of the files. Text files have sorted keys and rounded coordinates,
so that the same seed always gives the same files.
"""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy as copy_raster

from overwatt.models.simulate.sample_area import DENSITY_KW_PER_M2, SampleArea
from overwatt.models.simulate.thermal import CELL_M

_README = """# Simulated sample area

Nothing here is a real place. The scene, its surface temperatures and its registry were simulated from
seed {seed} by

    overwatt simulate --seed {seed} --out DIR

and put into the open Atlantic (around 45.0 N, 27.0 W) so that they cannot be mistaken for one. CC0.

| file | content |
|---|---|
| optical.tif | picture, red green blue, 2 m, EPSG:32626, cloud-optimised GeoTIFF, JPEG quality 90 |
| lst.tif | surface temperature in kelvin, 30 m, one band a look (description = date), NaN under cloud |
| registry.geojson | what was declared: {declared} facilities, four of the area's facts wrong on purpose |
| planted.json | which four: the answer key of the demo |
| truth.geojson | every building and bank of cooling equipment as simulated, with the power; for scoring |

In truth.geojson a data center's `it_mw` is split over its buildings: add up by `site_id`. The outlines of
cooling equipment are banks (rows of units with their gaps); `unit_area_m2` is the area of the units alone.

How it could mislead: the detector learned from scenes made of the same parts. The data centers are of the easier kinds
(rows of machines in view, {low:g} to {high:g} kW of IT a square metre of footprint), half of the other lots are open
ground, and the seed of the embedded area and the number of its zones of one use were chosen so that the ledger names
three of the planted discrepancies and lists both halves of the fourth; with many seeds it does not. It shows that the
program works, not how well it does on real imagery.
"""


def write_area(area: SampleArea, folder: Path) -> dict[str, Path]:
    """Write the area's files into `folder` (created if missing) and return their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("optical.tif", "lst.tif", "registry.geojson", "truth.geojson", "planted.json", "README.md")
    paths = {Path(name).stem.lower(): folder / name for name in names}
    _optical(area, paths["optical"])
    _lst(area, paths["lst"])
    _geojson(area.registry, paths["registry"])
    _geojson(area.scene.truth.to_crs("EPSG:4326"), paths["truth"])
    paths["planted"].write_text(json.dumps(area.planted, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    text = _README.format(
        seed=area.seed, declared=len(area.registry), low=DENSITY_KW_PER_M2[0], high=DENSITY_KW_PER_M2[1]
    )
    paths["readme"].write_text(text, encoding="utf-8")
    return paths


def _optical(area: SampleArea, path: Path) -> None:
    image, scene = area.scene.optical, area.scene
    profile = {
        "driver": "GTiff",
        "count": 3,
        "height": image.shape[1],
        "width": image.shape[2],
        "dtype": "uint8",
    }
    with MemoryFile() as memory:
        with memory.open(**profile, crs=scene.crs, transform=scene.transform, photometric="RGB") as out:
            out.write(image)
            out.descriptions = ("red", "green", "blue")
            out.update_tags(note="simulated, not a real place", seed=str(area.seed))
        with memory.open() as src:
            copy_raster(
                src,
                path,
                driver="COG",
                compress="JPEG",
                quality=90,
                blocksize=512,
                overview_resampling="average",
            )


def _lst(area: SampleArea, path: Path) -> None:
    lst = area.lst
    acquisitions, rows, cols = lst.shape
    transform = Affine(CELL_M, 0, float(lst.x[0]) - CELL_M / 2, 0, -CELL_M, float(lst.y[0]) + CELL_M / 2)
    profile = {
        "driver": "GTiff",
        "count": acquisitions,
        "height": rows,
        "width": cols,
        "dtype": "float32",
        "nodata": np.nan,
    }
    with rasterio.open(
        path, "w", **profile, crs=area.scene.crs, transform=transform, compress="deflate", predictor=3
    ) as out:
        out.write(lst.to_numpy())
        out.descriptions = tuple(str(t)[:10] for t in lst.time.to_numpy())
        out.units = ("K",) * acquisitions
        out.update_tags(units="K", note="simulated, not a real place", seed=str(area.seed))
        for band, look in enumerate(lst.look.to_numpy(), start=1):
            out.update_tags(band, look=str(look))


def _geojson(frame: gpd.GeoDataFrame, path: Path) -> None:
    # 1e-7 degrees is about 1 cm
    rounded = frame.set_geometry(shapely.set_precision(frame.geometry.to_numpy(), 1e-7), crs=frame.crs)
    features = json.loads(rounded.to_json(drop_id=True, show_bbox=False))["features"]
    lines = ",\n".join(json.dumps(f, sort_keys=True) for f in features)
    path.write_text(f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n', encoding="utf-8")
