"""Outlines of buildings: from steps along pixel edges to straight walls.

In: a polygon on pixel edges. Out: a polygon with straight walls, right-angled if the building is.
The result of each step is used only if it is valid and its area changed by at most 5%.
"""

from __future__ import annotations

import numpy as np
import shapely

MAX_AREA_CHANGE = 0.05
"""Own choice: small against the spread of power per area, ln-sd 0.65 (docs/methods.md, section 4.1)."""
SNAP_DEG = 20.0
"""Edges within this angle of the main direction, or of its normal, are walls of that direction; own choice."""
MIN_FIT = 0.9
"""Least intersection over union with the pixel outline; below, the building is not right-angled; own choice."""
MAX_LOSS = 0.02
"""Loss of intersection over union, relative to the simplified outline, that right angles may cost; own choice."""


def simplify(polygon: shapely.Polygon, tolerance: float) -> shapely.Polygon:
    """Drop vertices within `tolerance` (pixels) of the outline; return the polygon unchanged if that would break it."""
    simple = shapely.simplify(polygon, tolerance, preserve_topology=True)
    return simple if _kept(simple, polygon) else polygon


def regularise(polygon: shapely.Polygon, tolerance: float) -> shapely.Polygon:
    """Make the walls of a building straight and right-angled, or only simplify its outline if it is not right-angled.

    Walls run along the main direction or at a right angle to it. Neighbouring edges of one direction
    become one wall at their length-weighted mean position.

    Args:
        polygon: outline on pixel edges; holes (courtyards) are only simplified.
        tolerance: of the simplification that comes first, pixels.
    """
    simple = simplify(polygon, tolerance)
    holes = [shapely.get_coordinates(h) for h in simple.interiors]
    best, fit = simple, max(MIN_FIT, _iou(simple, polygon) - MAX_LOSS)
    # of the candidate directions, the one whose right-angled outline fits the pixels best
    for angle in _directions(polygon, simple):
        ring = _walls(_turn(shapely.get_coordinates(simple.exterior), -angle), tolerance)
        squared = shapely.Polygon(_turn(ring, angle), holes) if ring is not None else simple
        if squared is not simple and _kept(squared, polygon) and (overlap := _iou(squared, polygon)) > fit:
            best, fit = squared, overlap
    return best


def _directions(polygon: shapely.Polygon, simple: shapely.Polygon) -> list[float]:
    """Candidates for the main direction, radians: from the smallest rectangle, and from the walls by length."""
    box = shapely.minimum_rotated_rectangle(polygon)
    found = []
    if box.geom_type == "Polygon":
        sides = np.diff(shapely.get_coordinates(box), axis=0)
        along = sides[np.argmax(np.hypot(*sides.T))]
        found.append(float(np.arctan2(along[1], along[0])))
    step = np.diff(shapely.get_coordinates(simple.exterior), axis=0)
    length, angle = np.hypot(*step.T), np.arctan2(step[:, 1], step[:, 0])
    # mean direction modulo 90 degrees: average on the circle of four times the angle, long walls count more
    found.append(float(np.angle((length**2 * np.exp(4j * angle)).sum()) / 4))
    return found


def _iou(a: shapely.Polygon, b: shapely.Polygon) -> float:
    overlap = a.intersection(b).area
    return float(overlap / (a.area + b.area - overlap))


def _kept(new: shapely.Polygon, old: shapely.Polygon) -> bool:
    change = abs(new.area - old.area)
    return bool(new.is_valid and new.geom_type == "Polygon" and change <= MAX_AREA_CHANGE * old.area)


def _turn(xy: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return xy @ np.array([[c, s], [-s, c]])


def _walls(ring: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Make a closed ring (n, 2) whose main direction is x right-angled; None if it has fewer than four walls."""
    step = np.diff(ring, axis=0)
    length = np.hypot(*step.T)
    tilt = np.degrees(np.arctan2(np.abs(step[:, 1]), np.abs(step[:, 0])))
    # 0: along x, 1: along y, -1: neither
    kind = np.where(tilt <= SNAP_DEG, 0, np.where(tilt >= 90 - SNAP_DEG, 1, -1))
    kind[length < tolerance] = -1
    kept = np.flatnonzero(kind >= 0)  # oblique and short edges only connect the walls next to them
    if not len(kept):
        return None
    runs: list[list[int]] = []
    for i in kept:
        if runs and kind[runs[-1][0]] == kind[i]:
            runs[-1].append(int(i))
        else:
            runs.append([int(i)])
    # the ring may start in the middle of a wall
    if len(runs) > 1 and kind[runs[0][0]] == kind[runs[-1][0]]:
        runs[0] = runs.pop() + runs[0]
    if len(runs) < 4:
        return None
    middle = (ring[1:] + ring[:-1]) / 2
    # mean weighted by length
    offset = [float((middle[r, 1 - kind[r[0]]] * length[r]).sum() / length[r].sum()) for r in runs]
    flat = [kind[r[0]] == 0 for r in runs]
    # walls alternate in direction: each corner takes x from one wall and y from the next
    corners = [(to, at) if f else (at, to) for f, at, to in zip(flat, offset, offset[1:] + offset[:1], strict=True)]
    return np.array([*corners, corners[0]])
