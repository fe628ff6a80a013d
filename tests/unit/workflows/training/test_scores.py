"""Whether weights were trained on some ground, and the text of the scores."""

from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import affinity, box

from overwatt.models.detector.card import TrainingData
from overwatt.models.detector.trained_ground import trained_on
from overwatt.models.evaluation.metrics import Judged, Outline
from overwatt.workflows.training.evaluation import _scored
from overwatt.workflows.training.scores import ground_of, in_training, score_lines
from tests.support import names

TILTED = affinity.rotate(box(-77.010, 39.000, -77.000, 39.004), 30)
"""A training picture that is tilted against north; its lon/lat box is twice as large."""


def source(outline=True):
    extent = TILTED.bounds
    points = list(TILTED.exterior.coords)
    return SimpleNamespace(image_sha256="a", extent=extent, outline=points if outline else None)


def image(valid, sha256="b", transform=None):
    transform = transform or Affine(2, 0, 500_000, 0, -2, 4_984_000)
    return SimpleNamespace(geobox=GeoBox(valid.shape, transform, "EPSG:32626"), sha256=sha256)


def test_ground_beside_a_tilted_picture_is_new_where_its_outline_is_known():
    west, south, east, north = TILTED.bounds
    corner = box(west, north - 0.002, west + 0.002, north)
    assert not corner.intersects(TILTED)
    assert trained_on(corner, [source()]) is False
    assert trained_on(corner, [source(outline=False)]) == "possibly"
    assert trained_on(TILTED.centroid.buffer(0.001), [source()]) is True
    beside = box(east, south, east + 0.01, north)
    assert trained_on(beside, [source(), source(outline=False)]) is False
    # an outline that says yes outweighs a box that does not know
    assert trained_on(TILTED, [source(outline=False), source()]) is True


def test_a_common_edge_is_no_common_ground():
    a = box(10, 50, 10.01, 50.01)
    for east, expected in ((10.010, False), (10.00995, False), (10.009, "possibly")):
        card = [TrainingData(name="x", licence="y", outlines="z", extent=(east, 50, east + 0.01, 50.01))]
        assert trained_on(a, card) == expected


def test_only_valid_pixels_are_ground():
    valid = np.zeros((200, 300), bool)
    valid[:, :100] = True
    ground = ground_of(image(valid), valid)
    known = TrainingData(name="x", licence="y", outlines="z", image_sha256="c", extent=ground.bounds)
    assert in_training(image(valid), SimpleNamespace(training=[known]), valid) == "possibly"
    assert in_training(image(valid), SimpleNamespace(training=[known]), ~valid) is False
    assert in_training(image(valid, "c"), SimpleNamespace(training=[known]), ~valid) is True
    nowhere = SimpleNamespace(geobox=None, sha256="b")
    assert in_training(nowhere, SimpleNamespace(training=[known]), valid) is False
    # an image without a hash on the card is no training image
    empty = known.model_copy(update={"image_sha256": "", "extent": None})
    assert in_training(image(valid, ""), SimpleNamespace(training=[empty]), valid) is False


@pytest.mark.parametrize("degrees", [0, 20])
def test_the_outline_of_a_rotated_grid_is_rotated(degrees):
    valid = np.ones((700, 700), bool)  # more than the outline is sampled at
    turned = Affine(2, 0, 500_000, 0, -2, 4_984_000) @ Affine.rotation(degrees)
    ground = ground_of(image(valid, transform=turned), valid)
    share = ground.area / shapely.box(*ground.bounds).area
    # a square turned by 20 degrees fills 1 / (cos + sin)^2 of its box
    assert share == pytest.approx(1 / (np.cos(np.radians(degrees)) + np.sin(np.radians(degrees))) ** 2, abs=0.02)


def test_both_ways_to_count_unlabelled_ground_are_told():
    hall, guess = Outline("data_center", box(0, 0, 20, 20)), Outline("data_center", box(0, 0, 20, 40))
    judged = [Judged([guess], [hall], np.ones((60, 60), bool))]
    for mode in ("ignore", "background"):
        result = {"in_training": "possibly"} | _scored(judged, gsd_m=2.0, unlabelled=mode, block_px=30)
        assert result["unlabelled"] == mode
        assert result["by_unlabelled"]["ignore"]["data_center"]["dice"] == 1
        assert result["by_unlabelled"]["background"]["data_center"]["dice"] == pytest.approx(2 / 3)
        text = "\n".join(score_lines(result))
        assert names(text, "possibly", "ignored", "background", "1.000", "0.667", "pieces per data center")
