"""Laws of the simulated ground: streets join, lots lie between them, houses have drives, trees stay off the stalls."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.data_centers import build_center
from overwatt.models.simulate.ground import houses
from overwatt.models.simulate.lots import area_of, lay_out
from overwatt.models.simulate.palette import PLACES, World, new_palette
from overwatt.models.simulate.streets import Lot, parking
from overwatt.models.simulate.training_scenes import FILLERS

SEEDS = st.integers(0, 10_000)
LAYOUT_SETTINGS = settings(max_examples=12, deadline=None)


def _world(seed: int, place: str = "estate") -> World:
    rng = np.random.default_rng(seed)
    drawing = d.Drawing(finest_m=0.2)
    return World(drawing, new_palette(drawing, rng, place), rng, [], place)


def _boxes(shapes: d.Shapes) -> np.ndarray:
    """Return the rectangles of `shapes` as polygons (n,)."""
    return np.array([d.Frame(x, y, angle).box(0, 0, du, dv) for x, y, du, dv, angle in shapes.boxes])


def _painted(w: World, paint: int) -> np.ndarray:
    """Return all flat rectangles of one paint."""
    flat = [s for s in w.drawing.shapes if s.height_m <= 0 and not s.round_]
    return np.concatenate([np.zeros(0, dtype=object), *(_boxes(s)[s.paints == paint] for s in flat)])


@LAYOUT_SETTINGS
@given(seed=SEEDS, side_m=st.sampled_from([300.0, 900.0, 2400.0]))
def test_every_street_ends_at_a_street_or_a_crossing(seed, side_m):
    layout = lay_out(_world(seed), side_m, (150, 200, 260, 340), (120, 360))
    lines = [shapely.LineString(s.line) for s in layout.streets]
    inside = shapely.box(1, 1, side_m - 1, side_m - 1)
    for i, line in enumerate(lines):
        if line.is_closed:
            continue
        others = shapely.union_all([*lines[:i], *lines[i + 1 :]])
        for end in (shapely.Point(line.coords[0]), shapely.Point(line.coords[-1])):
            if end.within(inside):
                at_crossing = layout.crossing is not None and end.distance(layout.crossing) < 0.1
                assert at_crossing or end.distance(others) < 0.5, (end, layout.streets[i].width_m)


@LAYOUT_SETTINGS
@given(seed=SEEDS, side_m=st.sampled_from([300.0, 900.0, 2400.0]))
def test_lots_lie_apart_from_each_other_and_beside_the_streets(seed, side_m):
    layout = lay_out(_world(seed), side_m, (150, 200, 260, 340), (120, 360))
    # main streets lie on up to 3 m of a lot's edge, the street around a campus on up to 5 m
    areas = np.array([area_of(lot).buffer(-6) for lot in layout.lots])
    a, b = shapely.STRtree(areas).query(areas, predicate="intersects")
    assert (a == b).all()
    lines = np.array([shapely.LineString(s.line) for s in layout.streets])
    assert shapely.STRtree(areas).query(lines, predicate="intersects").size == 0
    assert all(min(lot.width_m, lot.depth_m) > 20 for lot in layout.lots)
    if layout.crossing is not None:
        assert not shapely.intersects(areas, layout.crossing).any()


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, width_m=st.floats(36, 360), depth_m=st.floats(36, 340))
def test_every_house_has_a_drive_to_a_lane_that_leaves_its_lot(seed, width_m, depth_m):
    w, lot = _world(seed), Lot(d.Frame(200, 200, 0.4), width_m, depth_m)
    houses(w, lot)
    lanes, drives = shapely.union_all(_painted(w, w.paints.road)), _painted(w, w.paints.concrete)
    assert lanes.geom_type == "Polygon" or depth_m <= 150
    for lane in shapely.get_parts(lanes):
        assert not area_of(lot).buffer(8).covers(lane)
    slopes = [box for s in w.drawing.shapes if s.height_m == 6.0 and not s.round_ for box in _boxes(s)]
    assert len(slopes) == 2 * len(drives)
    assert (shapely.distance(drives, lanes) < 0.1).all()
    for slope in slopes:
        # the half of a house that faces its garden is one half away
        assert shapely.distance(drives, slope).min() < 5
        assert not slope.intersects(lanes)
        assert area_of(lot).covers(slope)


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, du=st.floats(20, 200), dv=st.floats(10, 120))
def test_trees_of_a_car_park_stand_on_islands_without_cars(seed, du, dv):
    w, frame = _world(seed), d.Frame(150, 150, 0.7)
    parking(w, frame, 0, 0, du, dv, 1.0)
    islands = shapely.union_all(_painted(w, w.paints.grass)).buffer(0.01)
    cars = [box for s in w.drawing.shapes if s.height_m == 1.5 for box in _boxes(s)]
    assert not any(islands.buffer(-1).intersects(car) for car in cars)
    for crowns in (s for s in w.drawing.shapes if s.round_ and s.height_m == 5.0):
        for x, y, size, *_ in crowns.boxes:
            assert islands.covers(shapely.Point(x, y).buffer(size / 2))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", [*sorted(FILLERS), "data_center"])
def test_the_ground_of_a_lot_ends_at_its_edge(kind, place):
    for seed in range(3):
        w, lot = _world(seed, place), Lot(d.Frame(300, 300, 0.3), 210.0, 170.0)
        if kind == "data_center":
            build_center(w, lot, "s1", "hyperscale_hall")
        else:
            FILLERS[kind](w, lot)
        # ground resets the height; flat paint that keeps it are drives and marks
        ground = [s for s in w.drawing.shapes if s.height_m == 0 and s.layer == 0 and not s.lobes]
        assert all(area_of(lot).buffer(1).covers(box) for s in ground for box in _boxes(s))
