"""Grids, tiles and windows: cut an area so that the result does not depend on the cut.

In: an `Area`, a `GeoBox`, a tile size. Out: pixel windows `(y0, x0, y1, x1)`, half-open, rows
downward. Coordinates go lon/lat (area) -> CRS of the grid -> pixel of the grid (y down, origin
at the upper left corner of pixel 0, 0). There are two cuts: *tiles* are units of work and may
have any size; the cells of a *lattice*, and the windows that the network sees to compute them, depend
on the grid alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
import shapely.affinity
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from rasterio.features import geometry_mask
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.area import Area
from overwatt.aoi.errors import GridError
from overwatt.aoi.geodesy import WGS84
from overwatt.aoi.outline import project

Window = tuple[int, int, int, int]

# An area that ends within this share of a pixel from a pixel edge does not take the next pixel:
# float64 world coordinates of 1e7 m at 0.1 m pixels carry about 2e-8 pixels of noise.
_EDGE_PX = 1e-6
_SLIVER_PX = 16.0  # smaller ground beyond the image is rounding of its edge; as for pieces of `looked_at`
# 12 degrees from the central meridian a UTM length is 2.2% too long at the equator.
_UTM_REACH_DEG = 12.0


@dataclass(frozen=True)
class Tile:
    """A unit of work.

    Attributes:
        name: 'r003c012', row and column of the tile.
        row: row of the tile, from the top.
        col: column of the tile, from the left.
        core: pixel window (y0, x0, y1, x1), half-open, that belongs to this tile alone.
    """

    name: str
    row: int
    col: int
    core: Window


def tiles(shape: tuple[int, int], sides: tuple[int, int]) -> list[Tile]:
    """Return tiles, row by row, whose cores are disjoint and together are exactly the grid.

    Args:
        shape: (ny, nx) of the grid, each at least 1.
        sides: (height, width) of a core in pixels; those at the right and lower edge may be smaller.

    Raises:
        GridError: a size is out of range.
    """
    ny, nx = shape
    _check_shape(shape)
    if min(sides) < 1:
        raise GridError(f"tile of {sides[0]} x {sides[1]} pixels: must be at least 1 pixel")
    return [
        Tile(_name(row, col), row, col, (y0, x0, min(y0 + sides[0], ny), min(x0 + sides[1], nx)))
        for row, y0 in enumerate(range(0, ny, sides[0]))
        for col, x0 in enumerate(range(0, nx, sides[1]))
    ]


@dataclass(frozen=True)
class Lattice:
    """Cells that divide a grid, each with the window that the network sees to compute it.

    A cell and its window depend on the grid alone, so a pixel is always computed from the same window, whatever part
    of the grid is asked for. Cells are as equal as `step_px` allows; windows end at the grid's edge, rounded up to
    `step_px`, because beyond it there is nothing to see.

    Attributes:
        shape: (ny, nx) of the grid.
        cell_px: (height, width) of a cell, multiples of `step_px`; the last row and column may be smaller.
        halo_px: pixels by which a window exceeds its cell on each side inside the grid, a multiple of `step_px`.
        step_px: sides of windows are multiples of this.
    """

    shape: tuple[int, int]
    cell_px: tuple[int, int]
    halo_px: int
    step_px: int

    @classmethod
    def of(cls, shape: tuple[int, int], most_px: int, halo_px: int, step_px: int) -> Lattice:
        """Divide a grid into as few cells as possible, of at most `most_px` on a side.

        Raises:
            GridError: a size is out of range, or no multiple of `step_px`.
        """
        _check_shape(shape)
        for what, value in (("most_px", most_px), ("halo_px", halo_px)):
            if step_px < 1 or value % step_px or value < (what == "most_px"):
                raise GridError(f"{what} {value}: must be a multiple of the step, {step_px} pixels")
        ny, nx = (_up(-(-n // -(-n // most_px)), step_px) for n in shape)  # -(-a // b): division rounded up
        return cls(shape, (ny, nx), halo_px, step_px)

    def cells(self, core: Window | None = None) -> list[Tile]:
        """Return the cells that intersect a pixel window, row by row; all of them if it is None.

        Raises:
            GridError: `core` is empty.
        """
        ny, nx = self.shape
        y0, x0, y1, x1 = (0, 0, ny, nx) if core is None else core
        if y0 >= y1 or x0 >= x1:
            raise GridError(f"pixel window {core} is empty")
        y0, x0, y1, x1 = _clip((y0, x0, y1, x1), self.shape)
        cy, cx = self.cell_px
        return [
            Tile(_name(i, j), i, j, (i * cy, j * cx, min((i + 1) * cy, ny), min((j + 1) * cx, nx)))
            for i in range(y0 // cy, -(-y1 // cy))
            for j in range(x0 // cx, -(-x1 // cx))
            if y0 < y1 and x0 < x1
        ]

    def window(self, cell: Tile) -> Window:
        """Return the window (y0, x0, y1, x1) that a cell is computed from; it may exceed the grid by a step."""
        y0, x0 = (max(k * c - self.halo_px, 0) for k, c in zip((cell.row, cell.col), self.cell_px, strict=True))
        y1, x1 = (
            min((k + 1) * c + self.halo_px, _up(n, self.step_px))
            for k, c, n in zip((cell.row, cell.col), self.cell_px, self.shape, strict=True)
        )
        return y0, x0, y1, x1

    def name_at(self, y: int, x: int) -> str:
        """Return the name of the cell that holds a pixel."""
        return _name(y // self.cell_px[0], x // self.cell_px[1])


def grid_for(area: Area, gsd_m: float, crs: str | int | CRS | None = None) -> GeoBox:
    """Return a north-up grid that covers the area, its pixel edges at multiples of `gsd_m` from 0, 0.

    Args:
        area: the area.
        gsd_m: edge of a pixel in metres.
        crs: a projected CRS in metres; by default the UTM zone of the area's centroid.

    Raises:
        GridError: the pixel size or the CRS is unusable, or the area is too wide for one UTM zone.
    """
    if not (math.isfinite(gsd_m) and gsd_m > 0):
        raise GridError(f"pixel size {gsd_m:g} m: must be greater than 0")
    try:
        target = area.utm_crs() if crs is None else CRS.from_user_input(crs)
    except CRSError:
        raise GridError(f"grid CRS '{crs}' is unknown; give an EPSG code, for example EPSG:32618") from None
    if not target.is_projected or target.axis_info[0].unit_conversion_factor != 1.0:
        raise GridError(f"grid CRS '{target.name}': must be projected, in metres (for example a UTM zone)")
    if crs is None:
        west, _, east, _ = area.bbox
        width_deg = (east - west) % 360.0 or 360.0
        if width_deg > _UTM_REACH_DEG:
            raise GridError(
                f"area '{area.name}' spans {width_deg:.1f} degrees of longitude, "
                f"more than one UTM grid can hold ({_UTM_REACH_DEG:g}); split it, or name a CRS"
            )
    left, bottom, right, top = _in_crs(area, target).bounds
    if not all(math.isfinite(v) for v in (left, bottom, right, top)):
        raise GridError(f"area '{area.name}' lies outside the range of '{target.name}'; name another CRS")
    # edges at multiples of the pixel size: two areas of one CRS and pixel size share a lattice
    col0, row0 = math.floor(left / gsd_m + _EDGE_PX), math.floor(bottom / gsd_m + _EDGE_PX)
    col1, row1 = math.ceil(right / gsd_m - _EDGE_PX), math.ceil(top / gsd_m - _EDGE_PX)
    shape = (max(row1 - row0, 1), max(col1 - col0, 1))
    transform = Affine(gsd_m, 0.0, col0 * gsd_m, 0.0, -gsd_m, (row0 + shape[0]) * gsd_m)
    return GeoBox(shape, transform, target.to_wkt())


def crop_to_area(geobox: GeoBox, area: Area) -> Window:
    """Return the smallest pixel window of the source's own grid that covers the overlap with the area.

    Args:
        geobox: grid of the source; any CRS, rotated or not.
        area: the area.

    Raises:
        GridError: the grid has no CRS, or the two do not overlap.
    """
    ny, nx = geobox.shape
    frame = box(0.0, 0.0, nx, ny)
    geometry = _in_pixels(geobox, area)
    overlap = geometry.intersection(frame)
    if overlap.area <= 0.0:
        raise GridError(
            f"area '{area.name}' (bbox {_degrees(area.bbox)}) does not overlap the image "
            f"(bbox {_degrees(_lonlat_bounds(geobox))})"
        )
    x0, y0, x1, y1 = overlap.bounds
    top, left = math.floor(y0 + _EDGE_PX), math.floor(x0 + _EDGE_PX)
    low, right = math.ceil(y1 - _EDGE_PX), math.ceil(x1 - _EDGE_PX)
    return _clip((top, left, max(low, top + 1), max(right, left + 1)), (ny, nx))


def outside_cells(geobox: GeoBox, area: Area, side_px: int, most: int = 2000) -> list[tuple[str, BaseGeometry]]:
    """Return the ground of the area that the grid does not cover, in named squares, pixel coordinates.

    Args:
        geobox: grid of the source.
        area: the area.
        side_px: side of the squares, which lie on the lattice of the tiles; doubled until there are at most `most`.
        most: of squares.

    Raises:
        GridError: the grid has no CRS.
    """
    ny, nx = geobox.shape
    outside = _in_pixels(geobox, area).difference(box(0.0, 0.0, nx, ny))
    if outside.is_empty or outside.area < _SLIVER_PX:
        return []
    x0, y0, x1, y1 = outside.bounds
    while ((x1 - x0) / side_px + 1) * ((y1 - y0) / side_px + 1) > most:
        side_px *= 2
    shapely.prepare(outside)
    cells = []
    for row in range(math.floor(y0 / side_px), math.ceil(y1 / side_px)):
        for col in range(math.floor(x0 / side_px), math.ceil(x1 / side_px)):
            square = box(col * side_px, row * side_px, (col + 1) * side_px, (row + 1) * side_px)
            part = square if outside.contains(square) else outside.intersection(square)
            if part.area >= _SLIVER_PX:
                cells.append((f"outside r{row}c{col}", part))
    return cells


def area_mask(geobox: GeoBox, area: Area) -> np.ndarray:
    """Return which pixel centres lie inside the area.

    Args:
        geobox: grid, any CRS.
        area: the area.

    Returns:
        bool (y, x).

    Raises:
        GridError: the grid has no CRS.
    """
    ny, nx = geobox.shape
    return geometry_mask([_in_pixels(geobox, area)], (ny, nx), Affine.identity(), all_touched=False, invert=True)


def _in_crs(area: Area, crs: CRS) -> BaseGeometry:
    return project(area.geometry, Transformer.from_crs(WGS84, crs, always_xy=True))


def _in_pixels(geobox: GeoBox, area: Area) -> BaseGeometry:
    """Return the area in pixel coordinates (x right, y down) of the grid, valid."""
    crs = _crs_of(geobox)
    inverse = ~geobox.affine
    matrix = [inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]
    projected = _in_crs(area, crs)
    if not np.isfinite(shapely.get_coordinates(projected)).all():
        raise GridError(f"area '{area.name}' lies outside the range of the image's CRS '{geobox.crs}'")
    pixels = shapely.affinity.affine_transform(projected, matrix)
    return pixels if pixels.is_valid else shapely.make_valid(pixels)


def _crs_of(geobox: GeoBox) -> CRS:
    if geobox.crs is None:
        raise GridError("the image states no coordinate reference system; give it one (gdal_edit -a_srs)")
    return CRS.from_wkt(geobox.crs.to_wkt())


def _lonlat_bounds(geobox: GeoBox) -> tuple[float, float, float, float]:
    ny, nx = geobox.shape
    a = geobox.affine
    frame = shapely.segmentize(box(0.0, 0.0, nx, ny), max(nx, ny) / 16)  # edges may be curved in lon/lat
    world = shapely.affinity.affine_transform(frame, [a.a, a.b, a.d, a.e, a.c, a.f])
    to_lonlat = Transformer.from_crs(_crs_of(geobox), WGS84, always_xy=True)
    lon, lat = to_lonlat.transform(*shapely.get_coordinates(world).T)
    return float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())


def _clip(window: Window, shape: tuple[int, int]) -> Window:
    y0, x0, y1, x1 = window
    return max(y0, 0), max(x0, 0), min(y1, shape[0]), min(x1, shape[1])


def _check_shape(shape: tuple[int, int]) -> None:
    if min(shape) < 1:
        raise GridError(f"grid of {shape[0]} x {shape[1]} pixels: each side must have at least 1 pixel")


def _up(length: int, step: int) -> int:
    """Round up to a multiple of `step`."""
    return -(-length // step) * step


def _name(row: int, col: int) -> str:
    return f"r{row:03d}c{col:03d}"


def _degrees(bbox: tuple[float, float, float, float]) -> str:
    return "[" + ", ".join(f"{v:.4f}" for v in bbox) + "]"
