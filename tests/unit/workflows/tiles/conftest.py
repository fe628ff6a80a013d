"""An opened image with a place on the map, for labels."""

import pytest

from overwatt.workflows.tiles.splits import TileSettings, open_images


@pytest.fixture(scope="module")
def placed(small_image):
    (image,) = open_images([small_image], TileSettings())
    return image
