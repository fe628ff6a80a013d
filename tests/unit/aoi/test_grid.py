import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import Point, Polygon

from overwatt.aoi.area import Area, from_bbox
from overwatt.aoi.errors import GridError
from overwatt.aoi.grid import Lattice, area_mask, crop_to_area, grid_for, tiles
from tests.support import naming

# odc-geo 0.5.3 itself multiplies affines with `*`, which affine 3.0.1 announces it will drop
pytestmark = pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning")

ASHBURN = from_bbox(-77.50, 39.00, -77.47, 39.02)
sides = st.integers(1, 60)


@settings(max_examples=40, deadline=None)
@given(ny=sides, nx=sides, tile=st.integers(1, 70))
def test_cores_cover_the_grid_exactly_once(ny, nx, tile):
    seen = np.zeros((ny, nx), dtype=int)
    cut = tiles((ny, nx), (tile, tile))
    for one in cut:
        y0, x0, y1, x1 = one.core
        assert y0 < y1
        assert x0 < x1
        seen[y0:y1, x0:x1] += 1
    assert (seen == 1).all()
    assert len({one.name for one in cut}) == len(cut)


def test_names_give_row_and_column():
    assert [t.name for t in tiles((3, 2), (2, 2))] == ["r000c000", "r001c000"]
    assert tiles((1, 40), (3, 3))[12].name == "r000c012"


@pytest.mark.parametrize(
    ("shape", "tile", "words"),
    [((0, 5), (4, 4), ("0 x 5",)), ((5, 5), (0, 4), ("0 x 4",))],
)
def test_unusable_cut_is_named(shape, tile, words):
    with pytest.raises(GridError, match=naming(*words)):
        tiles(shape, tile)


@st.composite
def lattices(draw):
    step = draw(st.integers(1, 8))
    most, halo = step * draw(st.integers(1, 6)), step * draw(st.integers(0, 3))
    return Lattice.of((draw(sides), draw(sides)), most, halo, step), most


@settings(max_examples=60, deadline=None)
@given(lattices(), st.integers(1, 70), st.integers(1, 70))
def test_cells_do_not_depend_on_the_tiling(made, high, wide):
    lattice, _ = made
    cut = {cell for one in tiles(lattice.shape, (high, wide)) for cell in lattice.cells(one.core)}
    assert cut == set(lattice.cells())
    assert len(cut) == len(lattice.cells())


@settings(max_examples=60, deadline=None)
@given(lattices())
def test_cells_are_the_grid_and_their_windows_reach_a_halo_beyond_them_inside_it(made):
    lattice, most = made
    seen = np.zeros(lattice.shape, int)
    for cell in lattice.cells():
        y0, x0, y1, x1 = cell.core
        seen[y0:y1, x0:x1] += 1
        assert lattice.name_at(y0, x0) == lattice.name_at(y1 - 1, x1 - 1) == cell.name
        window = lattice.window(cell)
        for axis, n in enumerate(lattice.shape):
            low, high = window[axis], window[axis + 2]
            assert (high - low) % lattice.step_px == low % lattice.step_px == 0
            assert low == max(cell.core[axis] - lattice.halo_px, 0)
            # up to the grid's edge, rounded up to a step
            assert high >= min(cell.core[axis + 2] + lattice.halo_px, n)
            assert high < n + lattice.step_px
    assert (seen == 1).all()
    assert max(lattice.cell_px) <= most


@settings(max_examples=40, deadline=None)
@given(lattices())
def test_there_are_as_few_cells_as_possible(made):
    lattice, most = made
    assert [-(-n // c) for n, c in zip(lattice.shape, lattice.cell_px, strict=True)] <= [
        -(-n // most) for n in lattice.shape
    ]


def test_an_empty_window_and_an_impossible_lattice_are_refused():
    lattice = Lattice.of((20, 20), 8, 4, 4)
    with pytest.raises(GridError, match=naming("(3, 3, 3, 9)")):
        lattice.cells((3, 3, 3, 9))
    assert lattice.cells((-9, -9, -1, -1)) == []  # beside the grid
    for most, halo, step in ((6, 4, 4), (8, 3, 4), (0, 4, 4), (8, -4, 4), (8, 4, 0)):
        with pytest.raises(GridError, match="multiple of the step"):
            Lattice.of((20, 20), most, halo, step)
    with pytest.raises(GridError, match="at least 1 pixel"):
        Lattice.of((0, 20), 8, 4, 4)


@settings(max_examples=30, deadline=None)
@given(
    lon=st.floats(-179.9, 179.9),
    lat=st.floats(-75, 80),
    size=st.floats(1e-5, 0.02),
    gsd=st.sampled_from([0.3, 0.6, 1.0, 10.0, 30.0]),
)
def test_grid_covers_the_area_and_lies_on_multiples_of_the_pixel(lon, lat, size, gsd):
    assume(lon + size <= 180)
    area = from_bbox(lon, lat, lon + size, lat + size)
    grid = grid_for(area, gsd)
    to_utm = Transformer.from_crs("OGC:CRS84", area.utm_crs(), always_xy=True)
    col, row = ~grid.affine * to_utm.transform(*np.asarray(area.geometry.exterior.coords).T)
    assert min(col) >= -1e-5
    assert min(row) >= -1e-5
    assert max(col) <= grid.shape.x + 1e-5
    assert max(row) <= grid.shape.y + 1e-5
    corner = np.array([grid.affine.c, grid.affine.f]) / gsd
    np.testing.assert_allclose(corner, np.round(corner), atol=1e-6)
    assert crop_to_area(grid, area) == (0, 0, grid.shape.y, grid.shape.x)


@settings(max_examples=30, deadline=None)
@given(row=st.floats(-100, 5000), col=st.floats(-100, 5000), gsd=st.sampled_from([0.3, 2.0, 30.0]))
def test_pixel_to_world_and_back(row, col, gsd):
    grid = grid_for(ASHBURN, gsd)
    x, y = grid.pix2wld(col, row)
    np.testing.assert_allclose(grid.wld2pix(x, y), (col, row), atol=1e-6)


def test_grid_over_the_antimeridian_is_small():
    grid = grid_for(from_bbox(179.99, 0, -179.99, 0.01), 10)
    assert grid.shape.x < 300


def test_grid_refuses_degrees_feet_and_too_wide_areas():
    with pytest.raises(GridError, match=naming("WGS 84", "UTM")):
        grid_for(ASHBURN, 1, "EPSG:4326")
    with pytest.raises(GridError, match=naming("ftUS", "UTM")):
        grid_for(ASHBURN, 1, "EPSG:2283")
    with pytest.raises(GridError, match=naming("20.0", 12)):
        grid_for(from_bbox(0, 0, 20, 1), 1000)
    with pytest.raises(GridError, match=naming("EPSG:1")):
        grid_for(ASHBURN, 1, "EPSG:1")
    with pytest.raises(GridError, match=naming("pixel size", 0)):
        grid_for(ASHBURN, 0)
    assert grid_for(from_bbox(0, 40, 20, 41), 1000, "EPSG:3035").crs.epsg == 3035


def source_grid(ny=200, nx=300, x=285_761.3, y=4_322_507.7, gsd=2.0):
    return GeoBox((ny, nx), Affine(gsd, 0, x, 0, -gsd, y), "EPSG:32618")


def lonlat_box(grid, y0, x0, y1, x1):
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=float)
    world = np.column_stack(grid.affine * corners.T)
    lon, lat = Transformer.from_crs("EPSG:32618", "OGC:CRS84", always_xy=True).transform(*world.T)
    return Area("box", Polygon(np.column_stack([lon, lat])))


def test_crop_keeps_the_lattice_of_the_source():
    grid = source_grid()
    assert crop_to_area(grid, lonlat_box(grid, 20.5, 30.5, 40.5, 70.5)) == (20, 30, 41, 71)
    assert crop_to_area(grid, lonlat_box(grid, -50, -50, 10.2, 12.2)) == (0, 0, 11, 13)
    assert crop_to_area(grid, lonlat_box(grid, -50, -50, 900, 900)) == (0, 0, 200, 300)
    assert crop_to_area(grid, lonlat_box(grid, 5.2, 5.2, 5.4, 5.4)) == (5, 5, 6, 6)


def test_crop_looks_at_the_polygon_not_at_its_bbox():
    grid = source_grid()
    left, right = lonlat_box(grid, 10, -90, 20, -10), lonlat_box(grid, 10, 310, 20, 390)
    both = Area("both sides", left.geometry.union(right.geometry))
    with pytest.raises(GridError, match=naming("'both sides'", "image", "bbox")):
        crop_to_area(grid, both)


def test_crop_of_a_rotated_source():
    grid = GeoBox((200, 300), Affine.translation(285_761, 4_322_507) * Affine.rotation(30) * Affine.scale(2, -2), 32618)
    assert crop_to_area(grid, lonlat_box(grid, 20.5, 30.5, 40.5, 70.5)) == (20, 30, 41, 71)


def test_source_without_crs_is_refused():
    with pytest.raises(GridError, match="gdal_edit -a_srs"):
        crop_to_area(GeoBox((5, 5), Affine.identity(), None), ASHBURN)


def test_mask_takes_pixel_centres():
    grid = source_grid(6, 8)
    mask = area_mask(grid, lonlat_box(grid, 1.4, 2.6, 3.4, 4.6))
    expected = np.zeros((6, 8), dtype=bool)
    expected[1:3, 3:5] = True
    np.testing.assert_array_equal(mask, expected)
    assert mask.dtype == bool


def test_mask_agrees_with_point_in_polygon_and_with_its_own_crops():
    grid = source_grid(40, 50)
    area = lonlat_box(grid, 3.3, 4.1, 33.7, 41.9)
    area = Area("cut corner", area.geometry.difference(lonlat_box(grid, -1, -1, 20.2, 17.7).geometry))
    mask = area_mask(grid, area)
    to_lonlat = Transformer.from_crs("EPSG:32618", "OGC:CRS84", always_xy=True)
    for row, col in [(2, 10), (10, 10), (25, 10), (10, 20), (33, 41), (34, 20), (20, 18), (19, 17), (21, 5)]:
        x, y = grid.affine * (col + 0.5, row + 0.5)
        assert mask[row, col] == area.geometry.contains(Point(*to_lonlat.transform(x, y))), (row, col)
    np.testing.assert_array_equal(area_mask(grid[7:31, 9:44], area), mask[7:31, 9:44])


def test_mask_outside_is_empty():
    assert not area_mask(source_grid(), from_bbox(10, 10, 11, 11)).any()
