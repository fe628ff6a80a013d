"""The probability raster of a run, written tile by tile as a Cloud Optimized GeoTIFF (COG).

In: tiles of probabilities with their validity, in any order. Out: probability.tif in the run folder, whole or absent.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.windows import Window

from overwatt.workflows.io import run_folder
from overwatt.workflows.io.source import Source


class ProbabilityRaster:
    """Context manager that collects tiles in a scratch GeoTIFF and converts it to a COG on success.

    Bands are `run_folder.RASTER_BANDS`, uint8, probability times 255; masked where nothing was screened.
    """

    def __init__(self, folder: Path, source: Source, cores: list[tuple[int, int, int, int]]) -> None:
        """Open the scratch file.

        Args:
            folder: run folder.
            source: imagery of the run; must have a georeference.
            cores: (y0, x0, y1, x1) of all tiles, half-open, in pixels of the source; the raster is their bounding box.
        """
        assert source.geobox is not None
        self.target = folder / "probability.tif"
        self.scratch = folder / f".probability.tif.{os.getpid()}.part.scratch"
        self.y0, self.x0 = min(c[0] for c in cores), min(c[1] for c in cores)
        ny, nx = max(c[2] for c in cores) - self.y0, max(c[3] for c in cores) - self.x0
        folder.mkdir(parents=True, exist_ok=True)
        self._env = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_NUM_THREADS=1)
        self._env.__enter__()
        self._file = rasterio.open(
            self.scratch, "w", driver="GTiff", dtype="uint8", count=len(run_folder.RASTER_BANDS), height=ny, width=nx,
            crs=str(source.geobox.crs), transform=source.geobox.affine * Affine.translation(self.x0, self.y0),
            tiled=True, blockxsize=512, blockysize=512, compress="lzw", BIGTIFF="IF_SAFER",
        )  # fmt: skip
        self._file.descriptions = run_folder.RASTER_BANDS
        self._file.update_tags(units="probability x 255")

    def __enter__(self) -> ProbabilityRaster:
        return self

    def put(self, core: tuple[int, int, int, int], probability: np.ndarray, valid: np.ndarray) -> None:
        """Write one tile: probability (band, y, x) uint8 and valid (y, x) bool."""
        window = Window(core[1] - self.x0, core[0] - self.y0, core[3] - core[1], core[2] - core[0])
        self._file.write(probability, window=window)
        self._file.write_mask(valid, window=window)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        try:
            if kind is None:
                with run_folder.written(self.target) as part:
                    rasterio.shutil.copy(
                        self.scratch, part, driver="COG", compress="DEFLATE", blocksize=512,
                        overview_resampling="average", overview_compress="DEFLATE", num_threads="1",
                    )  # fmt: skip
        finally:
            self.scratch.unlink(missing_ok=True)
            self._env.__exit__(kind, value, trace)
