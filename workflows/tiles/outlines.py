"""Polygons of a label's outline, whatever its format."""

from __future__ import annotations

import numpy as np
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.outline import repaired

MAX_VERTICES = 1_000_000  # per outline; own choice


def polygons_of(shape: shapely.Geometry, where: str) -> shapely.Geometry | None:
    """Return the valid polygons of an outline, empty if it has no area; lines and points in it are dropped.

    None if it crosses itself too often to be repaired.

    Raises:
        RegistryError: too many vertices, or a coordinate that is no number.
    """
    if shapely.get_num_coordinates(shape) > MAX_VERTICES:
        raise RegistryError(f"{where}: an outline has more than {MAX_VERTICES:,} vertices; simplify it")
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        raise RegistryError(f"{where}: an outline has a non-numeric coordinate, or lies outside its CRS")
    valid = repaired(shape)
    if valid is None:
        return None
    parts = [p for p in shapely.get_parts(valid) if p.geom_type in ("Polygon", "MultiPolygon") and p.area > 0]
    return shapely.union_all(parts) if len(parts) != 1 else parts[0]
