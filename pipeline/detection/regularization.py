"""Outlines of buildings: from steps along pixel edges to straight walls.

In: polygons on pixel edges. Out: polygons with straight walls, right-angled if the building is.
The result of each step is used only if it is valid and its area changed by at most 5%. All polygons are computed
together: one at a time took several times as long.
"""

from __future__ import annotations

import numpy as np
import shapely

from overwatt.aoi.overlap import overlap_area

MAX_AREA_CHANGE = 0.05
"""Own choice: small against the spread of power per area, ln-sd 0.65 (docs/methods.md, section 4.1)."""
SNAP_DEG = 20.0
"""Edges within this angle of the main direction, or of its normal, are walls of that direction; own choice."""
MIN_FIT = 0.9
"""Least intersection over union with the pixel outline; below, the building is not right-angled; own choice."""
MAX_LOSS = 0.02
"""Loss of intersection over union, relative to the simplified outline, that right angles may cost; own choice."""


def simplify(polygons: np.ndarray, tolerance: float) -> np.ndarray:
    """Drop vertices within `tolerance` (pixels) of the outlines (Douglas and Peucker 1973), (n,) polygons.

    An outline that would break is simplified with its topology preserved, which takes ten times as long, and stays
    unchanged if that fails too.
    """
    simple = shapely.simplify(polygons, tolerance, preserve_topology=False)
    broken = ~_kept(simple, polygons)
    simple[broken] = shapely.simplify(polygons[broken], tolerance, preserve_topology=True)
    return np.where(_kept(simple, polygons), simple, polygons)


def regularise(polygons: np.ndarray, tolerance: float) -> np.ndarray:
    """Make the walls of buildings straight and right-angled, or only simplify outlines that are not right-angled.

    Walls run along the main direction of a building or at a right angle to it. Neighbouring edges of one direction
    become one wall at their length-weighted mean position.

    Args:
        polygons: (n,) outlines on pixel edges; holes (courtyards) are only simplified.
        tolerance: of the simplification that comes first, pixels.
    """
    simple = simplify(polygons, tolerance)
    best, fit = simple.copy(), np.maximum(MIN_FIT, _iou(simple, polygons) - MAX_LOSS)
    # of the candidate directions, the one whose right-angled outline fits the pixels best
    for angle in (_of_rectangle(polygons), _of_walls(simple)):
        at, squared = _squared(simple, angle, tolerance)
        good = _kept(squared, polygons[at])
        at, squared = at[good], squared[good]
        overlap = _iou(squared, polygons[at])
        better = overlap > fit[at]
        best[at[better]], fit[at[better]] = squared[better], overlap[better]
    return best


def _of_rectangle(polygons: np.ndarray) -> np.ndarray:
    """Direction of the long side of the smallest rectangle around each polygon, radians."""
    corners = shapely.get_coordinates(shapely.oriented_envelope(polygons)).reshape(len(polygons), 5, 2)
    sides = np.diff(corners, axis=1)
    along = sides[np.arange(len(sides)), np.hypot(sides[..., 0], sides[..., 1]).argmax(1)]
    return np.arctan2(along[:, 1], along[:, 0])


def _of_walls(polygons: np.ndarray) -> np.ndarray:
    """Mean direction of the walls of each polygon modulo 90 degrees, radians; long walls count more."""
    step, owner, _ = _sides(*_exteriors(polygons))
    # the mean of directions modulo 90 degrees is taken on the circle of four times the angle
    weight, angle = (step**2).sum(1), 4 * np.arctan2(step[:, 1], step[:, 0])
    x, y = (np.bincount(owner, weight * part, len(polygons)) for part in (np.cos(angle), np.sin(angle)))
    return np.arctan2(y, x) / 4


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of each pair."""
    overlap = overlap_area(a, b)
    return overlap / (shapely.area(a) + shapely.area(b) - overlap)


def _kept(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    change = np.abs(shapely.area(new) - shapely.area(old))
    polygon = shapely.get_type_id(new) == shapely.GeometryType.POLYGON
    return polygon & shapely.is_valid(new) & (change <= MAX_AREA_CHANGE * shapely.area(old))


def _exteriors(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return shapely.get_coordinates(shapely.get_exterior_ring(polygons), return_index=True)


def _sides(xy: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the vector (m, 2), the ring and the middle (m, 2) of each edge of closed rings."""
    edge = np.flatnonzero(owner[1:] == owner[:-1])
    return xy[edge + 1] - xy[edge], owner[edge], (xy[edge + 1] + xy[edge]) / 2


def _turn(xy: np.ndarray, angle: np.ndarray) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * xy[:, 0] - s * xy[:, 1], s * xy[:, 0] + c * xy[:, 1]], axis=1)


def _squared(polygons: np.ndarray, angle: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Make polygons (n,) right-angled along their directions (n,), those that have at least four walls.

    Returns:
        Positions (m,) of these, ascending, and their outlines (m,).
    """
    xy, owner = _exteriors(polygons)
    step, of, middle = _sides(_turn(xy, -angle[owner]), owner)
    length = np.hypot(step[:, 0], step[:, 1])
    tilt = np.degrees(np.arctan2(np.abs(step[:, 1]), np.abs(step[:, 0])))
    # 0: along x, 1: along y; oblique and short edges only connect the walls next to them
    kind = np.where(tilt <= SNAP_DEG, 0, np.where(tilt >= 90 - SNAP_DEG, 1, -1))
    wall = (kind >= 0) & (length >= tolerance)
    of, kind, length, middle = of[wall], kind[wall], length[wall], middle[wall]
    # edges of one direction that follow each other are one run
    first = np.ones(len(of), bool)
    first[1:] = (of[1:] != of[:-1]) | (kind[1:] != kind[:-1])
    run, begin = np.cumsum(first) - 1, np.flatnonzero(first)
    of_run, kind_run = of[begin], kind[begin]
    head = np.flatnonzero(np.diff(of_run, prepend=-1))  # first and last run of each ring
    tail = np.append(head[1:], len(of_run))[: len(head)] - 1
    # the ring may start in the middle of a wall
    joined = (head != tail) & (kind_run[head] == kind_run[tail])
    into = np.arange(len(of_run))
    into[tail[joined]] = head[joined]
    run = into[run]
    count = tail - head + 1 - joined
    enough = np.zeros(len(polygons), bool)
    enough[of_run[head[count >= 4]]] = True
    # mean position weighted by length
    across = middle[np.arange(len(kind)), 1 - kind]
    weight = np.bincount(run, length, len(of_run))
    offset = np.bincount(run, across * length, len(of_run)) / np.where(weight > 0, weight, 1.0)
    keep = np.flatnonzero((into == np.arange(len(of_run))) & enough[of_run])
    of_run, kind_run, offset = of_run[keep], kind_run[keep], offset[keep]
    at, head = np.unique(of_run, return_index=True)
    follow = np.arange(1, len(of_run) + 1)
    follow[np.append(head[1:], len(of_run))[: len(head)] - 1] = head
    # walls alternate in direction: each corner takes x from one wall and y from the next
    flat = kind_run == 0
    corner = np.where(flat[:, None], np.stack([offset[follow], offset], 1), np.stack([offset, offset[follow]], 1))
    back = _turn(corner, angle[of_run])
    place = np.searchsorted(at, of_run)
    shells = shapely.linearrings(back, indices=place)
    holes, whose = shapely.get_rings(polygons[at], return_index=True)
    inner = np.diff(whose, prepend=-1) == 0  # the first ring of each polygon is its exterior
    squared = shapely.polygons(shells)
    courts = np.unique(whose[inner])
    for k in courts:  # few buildings have courtyards
        squared[k] = shapely.polygons(shells[k], holes=holes[inner & (whose == k)])
    return at, squared
