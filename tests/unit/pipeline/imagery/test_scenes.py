"""Footprints of catalogue items: whatever form they have, their ground within ±180 degrees."""

import pystac
import pytest
import shapely
from shapely.geometry import box, mapping

from overwatt.aoi.area import Area
from overwatt.pipeline.imagery.scenes import footprint_of, latest_coverage
from tests.support import random_ring

SQUARE = box(-76.2, 36.1, -76.1, 36.2)
FORMS = {
    "polygon": SQUARE,
    "collection": shapely.GeometryCollection([SQUARE, shapely.LineString([(-76.2, 36.1), (-76.1, 36.2)])]),
    "0 to 360": shapely.transform(SQUARE, lambda xy: xy + [360, 0]),
    "bow tie of two halves": shapely.Polygon([(-76.2, 36.1), (-76.1, 36.3), (-76.1, 36.1), (-76.2, 36.3)]),
}


def item(geometry, bbox=None, when="2023-06-01T00:00:00Z"):
    return pystac.Item.from_dict(
        {
            "type": "Feature", "stac_version": "1.0.0", "id": "i", "geometry": geometry,
            "bbox": bbox or list(SQUARE.bounds),
            "properties": {"datetime": when}, "links": [], "assets": {},
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_ground_of_a_footprint(name):
    found = footprint_of(item(mapping(FORMS[name])))
    assert found.geom_type in ("Polygon", "MultiPolygon")
    assert found.intersection(box(-76.2, 36.1, -76.1, 36.3)).area == pytest.approx(0.01, rel=0.05)
    assert found.area == pytest.approx(0.01, rel=0.05)


def test_ground_within_a_footprint_that_cannot_be_repaired_is_searched():
    ring = random_ring(1500)
    assert footprint_of(item(mapping(ring))).equals(ring.convex_hull)


def test_a_box_alone_and_one_across_the_antimeridian():
    assert footprint_of(item(None)).equals(SQUARE)
    across = footprint_of(item(None, [179.9, -17.1, -179.9, -17.0]))
    assert across.bounds == (-180.0, -17.1, 180.0, -17.0)
    assert across.area == pytest.approx(0.02)


@pytest.mark.parametrize("when", ["2999-01-01T00:00:00Z", "0202-01-01T00:00:00Z"])
def test_an_item_of_an_impossible_day_is_not_the_newest(when):
    right, wrong = item(mapping(SQUARE)), item(mapping(SQUARE), when=when)
    assert latest_coverage([wrong, right], Area("a", SQUARE)) == [right]
