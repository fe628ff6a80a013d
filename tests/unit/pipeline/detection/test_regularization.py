"""Outlines: valid, of the same area, with straight walls where the building has them."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize, shapes

from overwatt.pipeline.detection.regularization import regularise, simplify


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 6))
def test_simplification_keeps_validity_and_area_within_5_percent(seed, tolerance):
    rng = np.random.default_rng(seed)
    boxes = [shapely.box(x, y, x + w, y + h) for x, y, w, h in rng.integers(1, 12, (8, 4))]
    shape = max(shapely.get_parts(shapely.union_all(boxes)), key=shapely.area)
    for straighten in (simplify, regularise):
        simple = straighten(np.array([shape]), tolerance)[0]
        assert simple.is_valid
        assert simple.geom_type == "Polygon"
        assert abs(simple.area - shape.area) <= 0.05 * shape.area


def test_simplification_straightens_a_staircase():
    steps = shapely.union_all([shapely.box(0, 0, 40 - i, i + 1) for i in range(30)])
    simple = simplify(np.array([steps]), 2.0)[0]
    assert shapely.get_num_coordinates(simple) < shapely.get_num_coordinates(steps) / 4


def test_turned_buildings_get_their_walls_back():
    """Regularising lowers the error of the outline: halls and wings in any direction, 12-60 pixels long."""
    rng, errors = np.random.default_rng(0), []
    for i in range(60):
        length, depth = rng.uniform(20, 60), rng.uniform(12, 40)
        whole = shapely.box(0, 0, length, depth)
        if i % 2:
            whole = whole.union(shapely.box(length * 0.6, depth, length, depth * 1.6))
        truth = shapely.affinity.rotate(whole, rng.uniform(0, 180), origin=(0, 0))
        truth = shapely.affinity.translate(truth, 80, 80)
        mask = rasterize([truth], (160, 160), dtype="uint8")
        pixels = np.array([shapely.geometry.shape(g) for g, v in shapes(mask, mask=mask > 0)])
        (drawn,) = zip(pixels, simplify(pixels, 1.0), regularise(pixels, 1.0), strict=True)
        errors.append([g.symmetric_difference(truth).area / truth.area for g in drawn])
    staircase, simple, walls = np.mean(errors, axis=0)
    assert walls < 0.75 * simple < 0.75 * staircase
    assert (np.diff(errors, axis=1)[:, 1] < 0.01).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_outlines_do_not_depend_on_which_are_straightened_together(seed, count):
    """With courtyards, and rings that start anywhere in a wall."""
    rng, polygons = np.random.default_rng(seed), []
    for _ in range(count):
        hall = shapely.affinity.rotate(shapely.box(0, 0, *rng.uniform(20, 60, 2)), rng.uniform(0, 180))
        mask = rasterize([shapely.affinity.translate(hall, 50, 50)], (160, 160), dtype="uint8")
        if rng.random() < 0.5:
            mask[70:76, 70:80] = 0
        pixels = max((shapely.geometry.shape(g) for g, _ in shapes(mask, mask=mask > 0)), key=shapely.area)
        ring = shapely.get_coordinates(pixels.exterior)[:-1]
        polygons.append(shapely.Polygon(np.roll(ring, rng.integers(len(ring)), axis=0), pixels.interiors))
    together = regularise(np.array(polygons), 1.0)
    apart = [regularise(np.array([p]), 1.0)[0] for p in polygons]
    assert shapely.equals_exact(together, apart, 1e-9).all()
    assert [len(p.interiors) for p in together] == [len(p.interiors) for p in polygons]
