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
        self.source, self.settings = source, settings
        self.looked_at = LookedAt(source, area)
        self.raster = ProbabilityRaster(folder, source, [t.core for t in tiles])
        self.waiting: list[pd.DataFrame] = []
        self.finished: list[pd.DataFrame] = []

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
        probability, valid, waiting, finished = unpack(arrays, tile)
        self.raster.put(tile.core, probability, valid, stored)
        self.looked_at.add(tile.core, valid)
        self.waiting.append(waiting)
        self.finished.append(finished)

    def fail(self, tile: Tile, reason: str) -> None:
        """Add a tile that failed."""
        self.looked_at.add(tile.core, None, reason)

    def tables(self) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
        """Return tables `footprints` and `looked_at`, once all tiles are there."""
        self.raster.convert()
        source, box = self.source, self.source.geobox
        assert box is not None
        tables = self.waiting, self.finished
        self.waiting, self.finished = [], []  # a million objects are a gigabyte: they are not kept
        footprints = merge_footprints(
            *tables, transform=box.affine, crs=str(box.crs), gsd_m=source.gsd_m, scene=source.name,
            settings=self.settings, cells=lattice(source.shape, source.gsd_m),
        )  # fmt: skip
        return footprints, self.looked_at.table()
