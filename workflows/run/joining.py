"""What the tiles of a run become: footprints, the ground that was looked at, the probability raster.

In: the arrays of each tile as it is done, in any order, or why it failed. Out: tables `footprints` and `looked_at`, and
the raster in the run folder. Tiles are taken while others are still computed, so little is left after the last one;
then the raster is compressed while the footprints are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.aoi.area import Area
from overwatt.aoi.grid import Tile
from overwatt.models.detector.windows import lattice
from overwatt.pipeline.detection.footprints import merge_footprints
from overwatt.pipeline.detection.vectorization import DetectSettings
from overwatt.workflows.io.cog import ProbabilityRaster
from overwatt.workflows.io.source import Source
from overwatt.workflows.run.looked_at import LookedAt
from overwatt.workflows.run.tile import Arrays, unpack


class Objects:
    """Collects the objects and regions of tiles, in any order, into the table `footprints`."""

    def __init__(self, source: Source, settings: DetectSettings) -> None:
        """Start without any tile."""
        self.source, self.settings = source, settings
        self._waiting: list[pd.DataFrame] = []
        self._finished: list[pd.DataFrame] = []

    def add(self, tile: Tile, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
        """Add a tile; return its probability (band, y, x) uint8 and valid (y, x) bool."""
        probability, valid, waiting, finished = unpack(arrays, tile)
        self._waiting.append(waiting)
        self._finished.append(finished)
        return probability, valid

    def footprints(self) -> gpd.GeoDataFrame:
        """Return the table, once all tiles are there; without georeference its geometries are in pixels."""
        source, box = self.source, self.source.geobox
        transform, crs = (box.affine, str(box.crs)) if box is not None else (None, None)
        return merge_footprints(
            self._waiting, self._finished, transform=transform, crs=crs, gsd_m=source.gsd_m, scene=source.name,
            settings=self.settings, cells=lattice(source.shape, source.gsd_m),
        )  # fmt: skip


class Joining:
    """Context manager that takes tiles and joins them; at its end the raster is whole, or absent."""

    def __init__(
        self, folder: Path, source: Source, area: Area | None, settings: DetectSettings, tiles: Sequence[Tile]
    ) -> None:
        """Start without any tile.

        Args:
            folder: the run folder.
            source: imagery of the run; must have a georeference.
            area: area of interest; None for all of the source.
            settings: of the objects.
            tiles: all that will be added.

        Raises:
            OutputError: the folder is full or closed to this user.
        """
        self.objects = Objects(source, settings)
        self.looked_at = LookedAt(source, area)
        self.raster = ProbabilityRaster(folder, source, [t.core for t in tiles])

    def __enter__(self) -> Joining:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.raster.__exit__(kind, value, trace)

    def add(self, tile: Tile, arrays: Arrays, stored: int) -> None:
        """Add a tile that was computed; `stored` is the size of its part on disk, bytes.

        Raises:
            OutputError: the folder is full or closed to this user.
        """
        probability, valid = self.objects.add(tile, arrays)
        self.raster.put(tile.core, probability, valid, stored)
        self.looked_at.add(tile.core, valid)

    def fail(self, tile: Tile, reason: str) -> None:
        """Add a tile that failed."""
        self.looked_at.add(tile.core, None, reason)

    def tables(self) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
        """Return tables `footprints` and `looked_at`, once all tiles are there."""
        self.raster.convert()
        return self.objects.footprints(), self.looked_at.table()
