"""A simulated scene and its truth.

In: the drawn objects and their picture. Out: `Scene` with picture, masks and the truth table; the masks are
rasterised from that table, so both agree exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from rasterio import Affine
from rasterio.features import rasterize

from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.models.simulate.drawing import Thing

CRS = "EPSG:32626"
CENTRE_M = (500_000.0, 4_982_950.0)
"""UTM 26N coordinates of 27.0 W, 45.0 N: open Atlantic, so that no scene can be mistaken for a real place."""
UNIT_MARGIN = 0.25
"""Share cut from each side of a machine's rectangle in the unit mask: neighbours stay separate at 0.5 m pixels."""
LARGE_M2 = 400.0
"""Buildings of at least this footprint are labelled; between half of it and it they are 255, unknown (own choice)."""
UNKNOWN = 255
"""Code of unknown in masks."""


@dataclass(frozen=True)
class Scene:
    """A simulated scene.

    Attributes:
        optical: (band=3 red, green, blue; y, x) uint8 display values.
        building: (y, x) uint8: 0 background, 1 other building of 400 m2 or more, 2 data-center building,
            255 unknown (buildings of 200-400 m2).
        cooling: (y, x) uint8: 1 on machines of any kind on any roof or yard, and on the gaps within a bank; 255
            unknown, at machines that are not resolved.
        transform: from pixels to `crs` metres.
        crs: of transform and truth.
        truth: one row per object: object_id, site_id, class, kind, it_mw, facility_mw (only on
            data_center rows, else NaN; per building, so a site's power is their sum), units, unit_area_m2,
            capacity_kw (cooling_equipment), geometry (whole, even where the scene's edge cuts it; of the
            roof as it is seen).
        instance: (y, x) uint16: number of the building (its row in `truth` + 1), 0 none; touching buildings
            have different numbers. None if not available.
        unit: (y, x) uint8: 1 on the middle of each single machine. None if not available.
        kind: (y, x) uint8: index in `MACHINE_KINDS` of the machine, 255 elsewhere. None if not available.
        substation: (y, x) uint8: 1 within a substation. None if not available.
        machines: (n, 6) truth row of the bank, x, y, sides in metres, angle (clockwise) of each machine in `crs`.
    """

    optical: np.ndarray
    building: np.ndarray
    cooling: np.ndarray
    transform: Affine
    crs: str
    truth: gpd.GeoDataFrame
    instance: np.ndarray | None = None
    unit: np.ndarray | None = None
    machines: np.ndarray | None = None
    kind: np.ndarray | None = None
    substation: np.ndarray | None = None


def frame_scene(things: list[Thing], optical: np.ndarray, gsd_m: float, plant: Sequence[Thing] = ()) -> Scene:
    """Combine a picture and the drawn objects into a `Scene`, with instances and single machines.

    Args:
        things: buildings, and banks of cooling machines of data centers: the truth.
        optical: picture (3, y, x) uint8.
        gsd_m: ground sampling distance, metres per pixel.
        plant: machines of other use and substations; they are in the masks only.
    """
    shape_px = (optical.shape[1], optical.shape[2])
    rows, cols = shape_px
    west, north = CENTRE_M[0] - cols * gsd_m / 2, CENTRE_M[1] + rows * gsd_m / 2
    transform = Affine(gsd_m, 0, west, 0, -gsd_m, north)
    extent = shapely.box(west, north - rows * gsd_m, west + cols * gsd_m, north)
    truth, kept = _truth(things, west, north, extent)
    building = burn(truth, shape_px, transform)
    banks = [t for t in (*kept, *plant) if t.machines is not None]
    outlines = _placed([t.outline for t in banks], west, north)
    cooling, kind = _machine_masks(banks, outlines, shape_px, transform)
    yards = _placed([t.outline for t in plant if t.category == "substation"], west, north)
    substation = _raster([(g, 1) for g in yards], shape_px, transform, "uint8")
    area = truth.geometry.area.to_numpy()
    center = (truth["class"] == "data_center").to_numpy()
    shown = (truth["class"] != "cooling_equipment").to_numpy() & ((area >= LARGE_M2 / 2) | center)
    order = np.flatnonzero(shown)
    # data centers last, so that they win where outlines overlap
    order = order[np.argsort(center[order], kind="stable")]
    instance = _raster([(truth.geometry.iloc[i], int(i) + 1) for i in order], shape_px, transform, "uint16")
    machines = _machines(kept, west, north)
    single = _middles(_machines(banks, west, north))
    unit = _raster([(box, 1) for box in single], shape_px, transform, "uint8")
    return Scene(optical, building, cooling, transform, CRS, truth, instance, unit, machines, kind, substation)


def _placed(outlines: list[shapely.Polygon], west: float, north: float) -> np.ndarray:
    """Return outlines (n,) of the drawing, whose y points south, in the CRS."""
    return np.atleast_1d(
        shapely.transform(
            np.array(outlines, dtype=object), lambda xy: np.column_stack([west + xy[:, 0], north - xy[:, 1]])
        )
    )


def _machine_masks(
    banks: list[Thing], outlines: np.ndarray, shape_px: tuple[int, int], transform: Affine
) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks `cooling` and `kind` of a scene, (y, x) uint8 each."""
    # own choice: a bank below 2 pixels across and 3 in area cannot be seen as a machine, nor as ground
    across = np.array([np.sqrt(g.area) for g in outlines]) / transform.a
    codes = [MACHINE_KINDS.index(t.kind if t.kind in MACHINE_KINDS else "chiller") for t in banks]
    shown = across >= np.sqrt(3.0)
    order = np.argsort(shown, kind="stable")  # resolved ones win where outlines overlap
    cooling = _raster([(outlines[i], 1 if shown[i] else UNKNOWN) for i in order], shape_px, transform, "uint8")
    kind = np.full(shape_px, UNKNOWN, np.uint8)
    burnt = _raster([(outlines[i], codes[i] + 1) for i in order if shown[i]], shape_px, transform, "uint8")
    kind[burnt > 0] = burnt[burnt > 0] - 1
    return cooling, kind


def _machines(things: list[Thing], west: float, north: float) -> np.ndarray:
    """Return (n, 6): truth row, x, y in the CRS, sides in metres, angle, of all machines."""
    rows = [
        np.column_stack([np.full(len(t.machines), i, dtype=float), t.machines])
        for i, t in enumerate(things)
        if t.machines is not None
    ]
    out = np.concatenate(rows) if rows else np.zeros((0, 6))
    out[:, 1], out[:, 2] = west + out[:, 1], north - out[:, 2]
    return out


def _middles(machines: np.ndarray) -> np.ndarray:
    """Return the middle of each machine as polygons (n,): its rectangle without `UNIT_MARGIN` on each side."""
    _, x, y, du, dv, angle = machines.T
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (0.5 - UNIT_MARGIN)
    u, v = half[None, :, 0] * du[:, None], half[None, :, 1] * dv[:, None]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    # the angle is clockwise because y of the drawing points south; minus flips it to northing
    corners = np.stack([x[:, None] + c * u - s * v, y[:, None] - (s * u + c * v)], -1)
    return np.asarray(shapely.polygons(corners))


def _raster(
    shapes: list[tuple[shapely.Polygon, int]], shape_px: tuple[int, int], transform: Affine, dtype: str
) -> np.ndarray:
    if not shapes:
        return np.zeros(shape_px, dtype=dtype)
    return rasterize(shapes, out_shape=shape_px, transform=transform, dtype=dtype)


def burn(truth: gpd.GeoDataFrame, shape_px: tuple[int, int], transform: Affine) -> np.ndarray:
    """Return the building mask of `truth`, (y, x) uint8, sampled at pixel centres."""
    area = truth.geometry.area.to_numpy()
    small = np.where(area >= LARGE_M2, 1, np.where(area >= LARGE_M2 / 2, UNKNOWN, 0))
    code = np.where(truth["class"] == "data_center", 2, small)
    order = np.flatnonzero((truth["class"] != "cooling_equipment").to_numpy() & (code > 0))
    order = order[np.argsort(code[order] == 2, kind="stable")]
    return _raster([(truth.geometry.iloc[i], int(code[i])) for i in order], shape_px, transform, "uint8")


def _truth(
    things: list[Thing], west: float, north: float, extent: shapely.Polygon
) -> tuple[gpd.GeoDataFrame, list[Thing]]:
    """Return the truth table of the objects inside the extent, and these objects."""
    outlines = _placed([t.outline for t in things], west, north)
    seen = np.atleast_1d(shapely.intersects(outlines, extent))
    kept = [t for t, s in zip(things, seen, strict=True) if s]
    columns = {
        "object_id": [f"{t.category[0]}{i:04d}" for i, t in enumerate(kept)],
        "site_id": [t.site_id for t in kept],
        "class": [t.category for t in kept],
        "kind": [t.kind for t in kept],
        "it_mw": np.array([t.it_mw for t in kept], dtype=float),
        "facility_mw": np.array([t.facility_mw for t in kept], dtype=float),
        "units": np.array([t.units for t in kept], dtype=np.int64),
        "unit_area_m2": np.array([t.unit_area_m2 for t in kept], dtype=float),
        "capacity_kw": np.array([t.capacity_kw for t in kept], dtype=float),
    }
    return gpd.GeoDataFrame(columns, geometry=list(outlines[seen]), crs=CRS), kept
