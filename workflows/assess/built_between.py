"""Construction between two runs, from the probability rasters in their folders.

In: two run folders. Out: the table of `pipeline.change.construction`. The earlier raster is read on the grid of the
later one; both are checked by their headers first.
"""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from overwatt.aoi.errors import AssetReadError, ConfigError, GridError
from overwatt.pipeline.change.construction import construction
from overwatt.workflows.io.placement import placement_of
from overwatt.workflows.io.raster_checks import open_raster, reason
from overwatt.workflows.io.run_folder import RASTER_BANDS

MAX_COMPARED_PX = 200_000_000
"""Largest grid compared in one piece: a Sentinel-2 tile has 120 million pixels and needs about 3 GB (own choice)."""
_BUILDING = [RASTER_BANDS.index(name) + 1 for name in ("other_building", "data_center")]


def construction_between(earlier: Path, later: Path) -> gpd.GeoDataFrame:
    """Return the places of construction between two run folders.

    Raises:
        AssetReadError: a probability raster is missing, damaged or of another layout.
        ConfigError: the rasters are too large, or have no ground in common.
        GridError: a raster has no usable georeference.
    """
    paths = [folder / "probability.tif" for folder in (earlier, later)]
    with _opened(paths[0]) as before, _opened(paths[1]) as after:
        place = placement_of(after, paths[1].name)
        if place is None or before.crs is None:
            raise GridError(f"{earlier} or {later}: probability.tif has no georeference")
        if after.width * after.height > MAX_COMPARED_PX:
            raise ConfigError(
                f"{paths[1]}: more than {MAX_COMPARED_PX / 1e6:g} million pixels; compare parts of the area"
            )
        try:
            roof_after, seen_after = _building(after)
            with WarpedVRT(
                before, crs=after.crs, transform=after.transform, width=after.width, height=after.height,
                resampling=Resampling.nearest,
            ) as same:  # fmt: skip
                roof_before, seen_before = _building(same)
        except (RasterioError, OSError) as error:
            raise AssetReadError(f"{earlier} or {later}: probability.tif cannot be read ({reason(error)})") from error
        seen = seen_after & seen_before
        if not seen.any():
            raise ConfigError(f"{earlier} and {later} looked at no ground in common; compare two searches of one area")
        return construction(
            roof_before, roof_after, seen, transform=after.transform, crs=str(after.crs), gsd_m=place.gsd_m
        )


def _opened(path: Path) -> rasterio.DatasetReader:
    """Return an opened probability raster after a check of its layout."""
    source = open_raster(path, "raster")
    if source.count < max(_BUILDING) or set(source.dtypes) != {"uint8"}:
        source.close()
        raise AssetReadError(f"{path}: not the probability raster of a run", str(path))
    return source


def _building(source: rasterio.DatasetReader) -> tuple[np.ndarray, np.ndarray]:
    """Return the building probability times 255, and where the raster has data; (y, x) uint8 and bool."""
    one, two = source.read(_BUILDING)
    # the sum of two rounded probabilities may be 256
    return np.minimum(one, 255 - two) + two, source.dataset_mask() > 0
