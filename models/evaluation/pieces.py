"""Pieces per building: into how many objects the detector splits one real building.

In: detected objects and one real building, in one pixel frame. Out: a count, and the summary of many counts. Pixel
scores cannot show a split: two halves of a hall cover it as well as one object does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

INSIDE = 0.5
"""An object belongs to a building if at least this share of it lies inside (own choice)."""
LEAST = 0.1
"""Smaller objects, as a share of the building's area, are annexes or noise and no pieces of it (own choice)."""


def pieces_of(building: shapely.Geometry, found: np.ndarray) -> int:
    """Return the number of detected objects that are pieces of a building.

    Args:
        building: its outline or box.
        found: (n,) detected buildings of any class, valid geometries in the same frame.
    """
    if not len(found):
        return 0
    area = shapely.area(found)
    inside = shapely.area(shapely.intersection(found, building))
    return int(((inside >= INSIDE * area) & (area >= LEAST * building.area)).sum())


def summary(pieces: Sequence[int]) -> dict[str, float | int | None]:
    """Return what the counts of many buildings say.

    Returns:
        `buildings`, `none` and `one` (how many are in no piece, in one), `median` over those in any piece, and
        `share_one` and `share_split` (more than one piece) of all buildings. Undefined values are None.
    """
    n = np.asarray(pieces, int)
    found = n[n > 0]
    return {
        "buildings": len(n),
        "none": int((n == 0).sum()),
        "one": int((n == 1).sum()),
        "median": float(np.median(found)) if len(found) else None,
        "share_one": float((n == 1).mean()) if len(n) else None,
        "share_split": float((n > 1).mean()) if len(n) else None,
    }
