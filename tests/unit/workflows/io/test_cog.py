"""The probability raster: its bytes depend on what is in it alone."""

import hashlib

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from overwatt.models.detector.card import load_card
from overwatt.workflows.io.cog import ProbabilityRaster
from overwatt.workflows.io.images import open_image
from tests.support import write_image


@pytest.fixture(scope="module")
def image(tmp_path_factory, weights):
    pixels = np.random.default_rng(1).integers(1, 255, (3, 1300, 1100), dtype=np.uint8)
    return open_image(write_image(tmp_path_factory.mktemp("cog") / "image.tif", pixels), load_card(weights))


def written(folder, image, tiles):
    rng = np.random.default_rng(2)
    probability = rng.integers(0, 255, (4, *image.shape), dtype=np.uint8)
    valid = rng.random(image.shape) > 0.3
    with ProbabilityRaster(folder, image, tiles) as raster:
        for y0, x0, y1, x1 in tiles:
            raster.put((y0, x0, y1, x1), probability[:, y0:y1, x0:x1] * valid[y0:y1, x0:x1], valid[y0:y1, x0:x1], 0)
        raster.convert()
    return (folder / "probability.tif").read_bytes()


def test_the_order_of_the_tiles_changes_no_byte(tmp_path, image):
    tiles = [(0, 0, 700, 1100), (700, 0, 1300, 600), (700, 600, 1300, 1100)]
    assert written(tmp_path / "a", image, tiles) == written(tmp_path / "b", image, tiles[::-1])


def test_nor_does_the_number_of_threads_that_compress_it(tmp_path, image):
    """What `num_threads="ALL_CPUS"` rests on: other machines have other numbers of cores."""
    found = set()
    for threads in ("1", "2", "7"):
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            rasterio.shutil.copy(
                image.path, tmp_path / f"{threads}.tif", driver="COG", compress="DEFLATE", blocksize=512,
                overview_resampling="average", overview_compress="DEFLATE", num_threads=threads,
            )  # fmt: skip
        found.add(hashlib.sha256((tmp_path / f"{threads}.tif").read_bytes()).hexdigest())
    assert len(found) == 1
