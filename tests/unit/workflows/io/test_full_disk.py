"""Every writer on a disk that takes no more: one line with the folder and the remedy, and no half file.

The limit of the size of a file (RLIMIT_FSIZE) stands for the full disk: the system refuses the same writes.
"""

import errno
import os
import resource
from contextlib import contextmanager

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch

from overwatt.aoi.errors import OutputError
from overwatt.aoi.output import why, written
from overwatt.models.detector import weights
from overwatt.models.training import checkpoint
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.cog import ProbabilityRaster, write_raster
from overwatt.workflows.io.images import open_image
from tests.support import names, save_weights

NOISE = np.random.default_rng(0).integers(0, 255, (4, 300, 300), dtype=np.uint8)
SITES = gpd.GeoDataFrame(
    {"name": [f"{n}" * 40 for n in range(500)]},
    geometry=[shapely.Point(n / 10, 1).buffer(0.01) for n in range(500)],
    crs="EPSG:4326",
)


def cog(folder, small_image):
    """A probability raster of four tiles over an image of 90 x 70 pixels."""
    card = weights.load_card(weights.DEFAULT_WEIGHTS)
    cores = [(y, x, min(y + 40, 70), min(x + 60, 90)) for y in (0, 40) for x in (0, 60)]
    with ProbabilityRaster(folder, open_image(small_image, card), cores) as raster:
        for y0, x0, y1, x1 in cores:
            raster.put((y0, x0, y1, x1), NOISE[:, y0:y1, x0:x1], NOISE[0, y0:y1, x0:x1] > 9, 0)
        raster.convert()


WRITERS = {
    "part": lambda folder, _: run_folder.save_part(folder / "a.npz", {"p": NOISE, "q": NOISE}),
    "table": lambda folder, _: run_folder.write_table(folder, "sites", SITES),
    "geopackage": lambda folder, _: run_folder.write_geopackage(folder / "a.gpkg", {"sites": SITES, "more": SITES}),
    "text": lambda folder, _: run_folder.write_json(folder / "manifest.json", {"rows": list(range(60_000))}),
    "raster": lambda folder, _: write_raster(folder / "a.tif", NOISE, ("a", "b", "c", "d"), photometric="MINISBLACK"),
    "cog": cog,
    "checkpoint": lambda folder, _: checkpoint.write(folder / "net.pt", {"net": torch.zeros(99_999)}),
    "weights": lambda folder, _: save_weights(folder),
}


@contextmanager
def file_limit(size):
    """Let no file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_writer_writes_a_whole_file_or_none(writer, small_image, tmp_path, capfd):
    write = WRITERS[writer]
    whole = tmp_path / "whole" / "out"
    whole.mkdir(parents=True)
    write(whole, small_image)
    wanted = contents(whole)
    largest = max(map(len, wanted.values()))
    for n, part in enumerate((0.0, 0.01, 0.3, 0.6, 0.9, 0.99)):
        folder = tmp_path / f"{n}" / "out"
        folder.mkdir(parents=True)
        with file_limit(int(part * largest)), pytest.raises(OutputError) as refused:
            write(folder, small_image)
        assert names(str(refused.value), folder, "run the same command again")
        assert "\n" not in str(refused.value)
        found = contents(folder)
        assert found.keys() <= wanted.keys()
        if writer != "geopackage":  # holds the time at which it was written
            assert all(found[name] == wanted[name] for name in found)
        # the same command again, with space
        write(folder, small_image)
        assert contents(folder).keys() == wanted.keys()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("missing", ["a block", "the mask"])
def test_a_raster_with_holes_does_not_get_its_name(missing, small_image, tmp_path, monkeypatch):
    """GDAL reports no error where it cannot write the last blocks as it closes the scratch file."""
    copied = rasterio.shutil.copy

    def with_holes(source, *args, **kwargs):
        with rasterio.open(source, "r+") as file:
            if missing == "a block":
                file.write(np.zeros((4, 20, 20), np.uint8), window=rasterio.windows.Window(0, 0, 20, 20))
            else:
                file.write_mask(np.ones((70, 90), bool))
        copied(source, *args, **kwargs)

    monkeypatch.setattr(rasterio.shutil, "copy", with_holes)
    with pytest.raises(OutputError, match=r"probability\.tif cannot be written"):
        cog(tmp_path / "run", small_image)
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free space there"),
        (errno.EDQUOT, "lift the quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "give another folder"),
        (errno.EACCES, "give another folder"),
    ],
)
def test_the_remedy_fits_the_reason(number, words, tmp_path):
    def refused():
        with written(tmp_path / "run" / "a.csv"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError) as error:
        refused()
    assert names(str(error.value), tmp_path / "run", "a.csv", os.strerror(number), words)
    assert not list((tmp_path / "run").iterdir())


def test_another_error_of_a_block_is_not_said_to_be_the_disks(tmp_path):
    def wrong():
        with written(tmp_path / "a.csv"):
            raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        wrong()


def test_a_folder_that_is_gone_is_no_reason_to_fail_twice(tmp_path):
    assert why(OSError(errno.ENOSPC, ""), tmp_path / "gone").startswith("No space left on device; free space there")
