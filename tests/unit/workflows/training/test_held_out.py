"""Held-out objects, land cover as background, and mosaics: small pictures, exact answers."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image as Pillow

from overwatt.aoi.errors import ConfigError, GridError
from overwatt.models.detector.card import load_card
from overwatt.models.detector.inference import Detector
from overwatt.models.training.samples import IGNORE, NOT_CENTER, Picture
from overwatt.workflows.config.training import LandCoverSettings, NegativeSettings
from overwatt.workflows.io.images import open_image
from overwatt.workflows.training import held_out
from overwatt.workflows.training import samples as sources
from tests.support import naming

GRID = Affine(2, 0, 500000, 0, -2, 4400000)


def write(path, pixels, transform=GRID):
    profile = {"driver": "GTiff", "height": pixels.shape[1], "width": pixels.shape[2], "count": len(pixels)}
    with rasterio.open(path, "w", dtype="uint8", crs="EPSG:32631", transform=transform, **profile) as out:
        out.write(pixels)
        if len(pixels) == 3:
            out.descriptions = ("red", "green", "blue")
    return path


def test_objects_are_what_the_truth_under_them_is(weights):
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (3, 12, 12)), np.ones((1, 16, 16))).astype(np.uint8)
    detector = Detector.load(weights)
    none = np.zeros(pixels.shape[1:], np.uint8)

    def seen(value):
        return held_out.objects_on(detector, [Picture("p", pixels, none == 0, none + value, none, gsd_m=2.0)])

    centers, others, unknown = seen(2), seen(1), seen(IGNORE)
    assert len(centers.score) > 1
    assert centers.center.all()
    assert not others.center.any()
    assert len(unknown.score) == 0
    np.testing.assert_array_equal(centers.score, others.score)
    assert ((centers.score >= 0) & (centers.score <= 1)).all()


def test_land_cover_says_background_outside_of_towns_and_no_data_center_within(tmp_path, weights):
    image = write(tmp_path / "image.tif", np.full((3, 40, 50), 90, np.uint8))
    classes = np.full((1, 40, 50), 4, np.uint8)
    classes[0, 10:20, 10:30] = 1
    cover = write(tmp_path / "cover.tif", classes)
    opened = open_image(image, load_card(weights))
    settings = LandCoverSettings(name="c", image="i", land_cover="l", built_up=(1,), licence="CC0-1.0")
    picture = sources.land_cover(opened, cover, None, settings)
    assert (picture.building == np.where(classes[0] == 1, NOT_CENTER, 0)).all()
    assert (picture.cooling == np.where(classes[0] == 1, IGNORE, 0)).all()
    shifted = write(tmp_path / "shifted.tif", classes, GRID @ Affine.translation(1, 0))
    with pytest.raises(GridError, match=naming("shifted.tif", "image.tif")):
        sources.land_cover(opened, shifted, None, settings)


def test_mosaics_keep_the_pixels_and_say_only_that_no_data_center_is_there(tmp_path):
    for i in range(9):
        Pillow.fromarray(np.full((20, 24, 3), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    settings = NegativeSettings(name="n", images="x", gsd_m=0.3, licence="CC0-1.0", side=2)
    first, second = sources.mosaics(settings, tmp_path)
    assert first.optical.shape == (3, 20, 20)
    assert first.gsd_m == 0.6
    assert (first.building == NOT_CENTER).all()
    assert (first.cooling == IGNORE).all()
    assert set(np.unique(first.optical)) | set(np.unique(second.optical)) <= {20 * i for i in range(9)}
    with pytest.raises(ConfigError, match=naming("'n'", 9, 16)):
        sources.mosaics(settings.model_copy(update={"side": 4}), tmp_path)
