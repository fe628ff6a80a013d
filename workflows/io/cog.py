"""Rasters that are written: a small GeoTIFF, and the probability raster of a run, a Cloud Optimized GeoTIFF (COG).

In: layers of one file; or tiles of probabilities with their validity, in any order. Out: the file, whole or absent.
GDAL writes its last blocks as it closes a file, and reports no error then (rasterio 1.4): on a full disk that leaves a
raster with holes. So a small file is made in memory, and the large one is read back before it gets its name.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile
from rasterio.windows import Window

from overwatt.aoi.output import writing
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.limits import CACHE_BYTES
from overwatt.workflows.io.source import Source


def write_raster(path: Path, layers: np.ndarray, names: tuple[str, ...], **profile: object) -> None:
    """Write a GeoTIFF that fits into memory.

    Args:
        path: the file.
        layers: (band, y, x).
        names: of the bands.
        profile: further creation options of rasterio: crs, transform, compress.

    Raises:
        OutputError: the folder is full or closed to this user.
    """
    count, height, width = layers.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype=layers.dtype, **profile
        ) as file:
            file.write(layers)
            file.descriptions = names
        with run_folder.written(path) as part:
            part.write_bytes(memory.getbuffer())


class ProbabilityRaster:
    """Context manager that collects tiles in a scratch GeoTIFF, which `convert` makes a COG.

    Bands are `run_folder.RASTER_BANDS`, uint8, probability times 255; masked where nothing was screened.
    """

    def __init__(self, folder: Path, source: Source, cores: list[tuple[int, int, int, int]]) -> None:
        """Open the scratch file.

        Args:
            folder: run folder.
            source: imagery of the run; must have a georeference.
            cores: (y0, x0, y1, x1) of all tiles, half-open, in pixels of the source; the raster is their bounding box.

        Raises:
            OutputError: the folder is full or closed to this user.
        """
        assert source.geobox is not None
        self.target = folder / "probability.tif"
        self.scratch = folder / f".probability.tif.{os.getpid()}.part.scratch"
        self.y0, self.x0 = min(c[0] for c in cores), min(c[1] for c in cores)
        ny, nx = max(c[2] for c in cores) - self.y0, max(c[3] for c in cores) - self.x0
        self._sums: list[tuple[Window, int]] = []
        self._stored, self._room = 0, 0
        self._thread = ThreadPoolExecutor(1, "raster")
        self._converted: Future[None] | None = None
        with writing(self.target):
            folder.mkdir(parents=True, exist_ok=True)
            self._try_room()
        with self._env(), writing(self.target):
            self._file = rasterio.open(
                self.scratch, "w", driver="GTiff", dtype="uint8", count=len(run_folder.RASTER_BANDS),
                height=ny, width=nx, crs=str(source.geobox.crs),
                transform=source.geobox.affine * Affine.translation(self.x0, self.y0), interleave="band",
                tiled=True, blockxsize=512, blockysize=512, compress="zstd", zstd_level=1, BIGTIFF="IF_SAFER",
            )  # fmt: skip
        self._file.descriptions = run_folder.RASTER_BANDS
        self._file.update_tags(units="probability x 255")

    def __enter__(self) -> ProbabilityRaster:
        return self

    def put(self, core: tuple[int, int, int, int], probability: np.ndarray, valid: np.ndarray, stored: int) -> None:
        """Write one tile.

        Args:
            core: one of the cores.
            probability: (band, y, x) uint8.
            valid: (y, x) bool.
            stored: bytes that the part of the tile takes, from which the room for the raster is estimated.

        Raises:
            OutputError: the folder is full or closed to this user.
        """
        window = Window(core[1] - self.x0, core[0] - self.y0, core[3] - core[1], core[2] - core[0])
        self._stored += stored
        with self._env(), writing(self.target):
            self._try_room()
            self._file.write(probability, window=window)
            self._file.write_mask(valid, window=window)
        self._sums.append((window, _sum(probability, valid)))

    def convert(self) -> None:
        """Begin to make the COG, in a thread, once all tiles are there; the end of the context waits for it."""
        self._converted = self._thread.submit(self._convert)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._converted is not None:
                with contextlib.nullcontext() if kind is None else contextlib.suppress(Exception):
                    self._converted.result()
        finally:
            self._thread.shutdown()
            self._file.close()
            self.scratch.unlink(missing_ok=True)

    @staticmethod
    def _env() -> rasterio.Env:
        """Settings of GDAL; they hold in one thread."""
        return rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_NUM_THREADS=1, GDAL_CACHEMAX=CACHE_BYTES)

    def _convert(self) -> None:
        with self._env():
            self._file.close()
            with run_folder.written(self.target) as part:
                rasterio.shutil.copy(
                    self.scratch, part, driver="COG", compress="DEFLATE", level=3, blocksize=512,
                    overview_resampling="average", overview_compress="DEFLATE",
                    num_threads="ALL_CPUS",  # the bytes are the same: tests/unit/workflows/io/test_cog.py
                )  # fmt: skip
                self._check(part)

    def _try_room(self) -> None:
        """Raise OSError where the disk does not take what is still to be written; asked for in steps of a quarter."""
        # own choice: scratch file and COG took 2.9 times the parts on the sample area
        wanted = max(1_000_000, 4 * self._stored)
        if wanted > self._room:
            self._room = wanted * 5 // 4
            _try_room(self.scratch.with_suffix(".room"), self._room)

    def _check(self, file: Path) -> None:
        with rasterio.open(file) as found:
            for window, wanted in self._sums:
                if _sum(found.read(window=window), found.dataset_mask(window=window) > 0) != wanted:
                    raise RasterioIOError("blocks are missing")


def _try_room(path: Path, size: int) -> None:
    """Raise OSError where the disk does not take `size` bytes more: there GDAL (3.10) corrupts memory instead."""
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), 0, size)
    finally:
        path.unlink(missing_ok=True)


def _sum(probability: np.ndarray, valid: np.ndarray) -> int:
    return zlib.crc32(valid.tobytes(), zlib.crc32(probability.tobytes()))
