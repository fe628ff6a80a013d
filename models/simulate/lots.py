"""Layout of a training scene: curved streets, irregular blocks of several districts, campuses, crossings.

In: a world and the scene's side in metres. Out: lots; streets, rivers, railways and motorways are already painted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import shapely

from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.palette import World
from overwatt.models.simulate.streets import STREET_LAYER, Lot, Street, paint_streets, streets, trees

RING_M = 5.0
"""Distance of the street around a campus from the edge of the campus."""


@dataclass(frozen=True)
class Layout:
    """What lies where in a scene.

    Attributes:
        lots: visible lots, campuses first.
        campuses: number of campuses.
        streets: visible streets, cut where a campus or crossing lies.
        crossing: area of a motorway, river or railway; None without one.
    """

    lots: list[Lot]
    campuses: int
    streets: list[Street]
    crossing: shapely.Geometry | None


def lay_out(w: World, side_m: float, depths_m: tuple[float, ...], widths_m: tuple[float, float]) -> Layout:
    """Return the layout of a scene and paint its open ground, streets and crossing.

    Args:
        w: world to draw in.
        side_m: side of the scene.
        depths_m: block depths to choose from.
        widths_m: range of lot widths along the street.
    """
    # looks of streets come from a generator of their own: they do not change what stands on the lots
    looks = replace(w, rng=w.rng.spawn(1)[0])
    _background(w, side_m)
    extent = shapely.box(0, 0, side_m, side_m)
    # large scenes show several districts more often than one street grid
    if w.chance(0.55 if side_m < 1500 else 0.15):
        lots, roads = streets(w, (side_m, side_m), depths_m, widths_m)
    else:
        lots, roads = _districts(w, side_m, depths_m, widths_m)
    clear = _crossing(w, side_m)
    campuses = [lot for lot in _campuses(w, lots, side_m) if clear is None or not clear.intersects(area_of(lot))]
    taken = shapely.union_all([area_of(lot).buffer(4) for lot in campuses] + ([clear] if clear is not None else []))
    # lots just outside still cast shadows and lean into the picture
    near = extent.buffer(30)
    shapely.prepare(taken)
    seen = [
        piece
        for lot in reversed(lots)
        if area_of(lot).intersects(near)
        for piece in pieces(lot, lambda area: not area.intersects(taken))
        if area_of(piece).intersects(near)
    ]
    joined = _join(roads, campuses, clear, near)
    paint_streets(looks, joined)
    if clear is not None:
        _bridges(w, roads, clear)
    return Layout(campuses + seen, len(campuses), joined, clear)


def pieces(lot: Lot, fits: Callable[[shapely.Polygon], bool], cuts: int = 4) -> list[Lot]:
    """Return the lot if its area fits, else what fits of its halves, which are halved again up to `cuts` times."""
    if fits(area_of(lot)):
        return [lot]
    if cuts == 0 or max(lot.width_m, lot.depth_m) <= 60:
        return []
    return [piece for half in reversed(halves(lot, 1.0)) for piece in pieces(half, fits, cuts - 1)]


def _join(
    roads: list[Street], campuses: list[Lot], clear: shapely.Geometry | None, near: shapely.Polygon
) -> list[Street]:
    """Return the streets near the scene: they end at a street around each campus, and at a crossing."""
    around = [area_of(lot).buffer(RING_M, join_style="mitre") for lot in campuses]
    crossing = shapely.Polygon() if clear is None else clear
    lines = [(shapely.LineString(r.line), r.width_m, shapely.union_all([*around, crossing])) for r in roads]
    lines += [(ring.exterior, 8.0, crossing) for ring in around]
    return [
        Street(shapely.get_coordinates(part), width)
        for line, width, blocked in lines
        for part in shapely.get_parts(shapely.line_merge(line.intersection(near).difference(blocked)))
        if part.length > width
    ]


def _bridges(w: World, roads: list[Street], clear: shapely.Geometry) -> None:
    """Draw bridges that carry the wider streets over a crossing."""
    w.drawing.layer = STREET_LAYER
    for road in roads:
        for part in shapely.get_parts(shapely.LineString(road.line).intersection(clear)):
            line = shapely.get_coordinates(part)
            # a street that ends in the crossing, or meets it at a flat angle, has no bridge
            across = len(line) > 1 and clear.boundary.distance(shapely.points(line[[0, -1]])).max() < 0.1
            if road.width_m >= 10 and across and part.length < 160:
                w.drawing.path(line, road.width_m + 3, w.paints.concrete, 6.0)
                w.drawing.path(line, road.width_m, w.paints.road, 6.0)
    w.drawing.layer = 0


def area_of(lot: Lot) -> shapely.Polygon:
    """Return the rectangle of a lot in world metres."""
    return lot.frame.box(0, 0, lot.width_m, lot.depth_m)


def halves(lot: Lot, gap_m: float = 3.0) -> tuple[Lot, Lot]:
    """Return the two halves of a lot, cut across its longer side, each `gap_m` from the cut."""
    if lot.width_m >= lot.depth_m:
        side = lot.width_m / 2 - gap_m
        step = side / 2 + gap_m
        return Lot(lot.frame.moved(-step, 0), side, lot.depth_m), Lot(lot.frame.moved(step, 0), side, lot.depth_m)
    side = lot.depth_m / 2 - gap_m
    step = side / 2 + gap_m
    return Lot(lot.frame.moved(0, -step), lot.width_m, side), Lot(lot.frame.moved(0, step), lot.width_m, side)


def _background(w: World, side_m: float) -> None:
    """Draw open ground with patches of other vegetation, tracks and groups of trees."""
    draw, rng = w.drawing, w.rng
    whole = d.Frame(side_m / 2, side_m / 2, w.uniform(0, 3))
    draw.rect(whole, 0, 0, 1.5 * side_m, 1.5 * side_m, 0, 0.0, w.earth())
    for _ in range(int(rng.poisson(3 + min(side_m / 400, 8)))):
        u, v = rng.uniform(-0.6, 0.6, 2) * side_m
        size = rng.uniform(40, 400, 2)
        tone = int(
            rng.choice(
                [w.paints.dry, w.paints.grass, w.one(w.paints.field), w.one(w.paints.soil), w.one(w.paints.crown)]
            )
        )
        draw.blob(whole, float(u), float(v), float(size[0]), float(size[1]), tone, rng.normal(0, 0.13, 5))
    for _ in range(int(rng.poisson(1.5))):
        t = np.linspace(-0.7, 0.7, 30) * side_m
        line = np.column_stack([t, w.uniform(-0.5, 0.5) * side_m + w.uniform(5, 60) * np.sin(t / w.uniform(60, 300))])
        draw.path(d.Frame(side_m / 2, side_m / 2, w.uniform(0, 7)).world(line), w.uniform(1.5, 5), w.one(w.paints.soil))
    density = {"desert": 0.2, "forest": 3.0, "farmland": 0.3, "city": 0.4}.get(w.place, 1.0)
    # one tree per 2,500 m2 times the density of the place; 4,000 bound the cost
    n = int(min(side_m**2 / 2500 * density * rng.gamma(1.5, 0.6), 4000))
    if n:
        centre = rng.uniform(0, side_m, (max(1, n // 12), 2))
        # trees stand in groups of about twelve
        at = centre[rng.integers(0, len(centre), n)] + rng.normal(0, 16, (n, 2)) * rng.gamma(1.0, 1.0, (n, 1))
        trees(w, d.Frame(0, 0, 0), at)


def _districts(
    w: World, side_m: float, depths_m: tuple[float, ...], widths_m: tuple[float, float]
) -> tuple[list[Lot], list[Street]]:
    """Divide the scene into districts with blocks of their own bearing and size; return their lots and streets."""
    n = 1 if side_m < 700 else int(w.rng.integers(1, 4 + int(side_m / 1500)))
    cells = _cells(w.rng.uniform(0, side_m, (n, 2)), side_m)
    # a main street runs between two districts
    edges = [cells[i].intersection(cells[j]) for i in range(n) for j in range(i)]
    roads = [Street(shapely.get_coordinates(e), 13.0) for e in edges if e.length > 0]
    base = w.uniform(0, np.pi)
    lots: list[Lot] = []
    for cell in cells:
        angle = base if w.chance(0.3) else w.uniform(0, np.pi)
        low = float(w.rng.choice(depths_m))
        grain = (low, float(np.mean(widths_m)) * w.uniform(0.7, 1.3))
        reach = side_m * 1.5 + 200
        frame = d.Frame(side_m / 2 + w.uniform(-80, 80), side_m / 2 + w.uniform(-80, 80), angle)
        road = w.uniform(7, 16)
        inner = cell.buffer(-8)
        shapely.prepare(inner)
        blocks, cuts = _cut(w, Lot(frame, reach, reach), grain, road)
        for cut in cuts:
            part = shapely.LineString(cut.line).intersection(cell)
            if part.length > 0:
                roads.append(Street(shapely.get_coordinates(part), cut.width_m))
        for lot, gap in blocks:
            margin = max(lot.width_m, lot.depth_m)
            centre = np.array([lot.frame.x, lot.frame.y])
            if not (-margin < centre[0] < side_m + margin and -margin < centre[1] < side_m + margin):
                continue
            own = pieces(lot, inner.covers)
            if own:
                verge = w.paints.grass if w.chance(0.6) else w.paints.dry
                block = (lot.width_m + 2 * gap + 3, lot.depth_m + 2 * gap + 3)
                w.drawing.rect(lot.frame, 0, 0, *block, verge, 0.0)
            lots += own
    return lots, roads


def _cells(seeds: np.ndarray, side_m: float) -> list[shapely.Polygon]:
    """Return the Voronoi cells of points (n, 2) in a box that holds all blocks of the scene."""
    box = shapely.box(-2 * side_m - 500, -2 * side_m - 500, 3 * side_m + 500, 3 * side_m + 500)
    if len(seeds) == 1:
        return [box]
    return list(shapely.get_parts(shapely.voronoi_polygons(shapely.MultiPoint(seeds), extend_to=box, ordered=True)))


def _cut(
    w: World, lot: Lot, grain_m: tuple[float, float], road_m: float
) -> tuple[list[tuple[Lot, float]], list[Street]]:
    """Bisect a block repeatedly at uneven positions.

    Returns:
        blocks, each with half the width of its streets, and the streets: each cut, from edge to edge of what it cuts.
    """
    out: list[tuple[Lot, float]] = []
    roads: list[Street] = []
    queue = [(lot, 6.0)]
    while queue:
        block, gap = queue.pop()
        wide, deep = block.width_m, block.depth_m
        # stop at a random size around the wanted grain, so that blocks differ
        if wide * deep < 1.6 * grain_m[0] * grain_m[1] * w.uniform(0.6, 2.2) or max(wide, deep) < 70:
            if min(wide, deep) > 2 * gap + 25:
                out.append((Lot(block.frame, wide - 2 * gap - 3, deep - 2 * gap - 3), gap))
            continue
        share = w.uniform(0.32, 0.68)
        gap = max(3.5, min(gap, road_m / 2 * w.uniform(0.8, 1.2)))
        if wide > deep * w.uniform(0.7, 1.6):
            a = wide * share
            queue += [(Lot(block.frame.moved(a / 2 - wide / 2, 0), a, deep), gap)]
            queue += [(Lot(block.frame.moved(a / 2, 0), wide - a, deep), gap)]
            cut = np.array([[a - wide / 2, -deep / 2], [a - wide / 2, deep / 2]])
        else:
            a = deep * share
            queue += [(Lot(block.frame.moved(0, a / 2 - deep / 2), wide, a), gap)]
            queue += [(Lot(block.frame.moved(0, a / 2), wide, deep - a), gap)]
            cut = np.array([[-wide / 2, a - deep / 2], [wide / 2, a - deep / 2]])
        # long streets are main streets, up to 3 m of them on the edges of their lots
        long = np.ptp(cut, axis=0).max() > 700
        roads.append(Street(block.frame.world(cut), float(np.clip(road_m, 10, 14)) if long else 8.0))
    return out, roads


def _campuses(w: World, lots: list[Lot], side_m: float) -> list[Lot]:
    """Return large lots that interrupt the street network: campuses or other large uses."""
    # one campus per 2 km2
    many = side_m**2 / 1e6 * 0.5
    n = int(w.rng.poisson(1.2 * many)) if many > 1 else int(w.rng.random() < 0.65)
    out: list[Lot] = []
    for _ in range(min(n, 14)):
        reach = 0.5 if side_m > 800 else 0.3
        x, y = side_m * (0.5 + w.rng.uniform(-reach, reach, 2))
        turn = lots[int(w.rng.integers(len(lots)))].frame.angle if lots else w.uniform(0, 3)
        lot = Lot(d.Frame(float(x), float(y), turn), w.uniform(130, 520), w.uniform(110, 380))
        if not any(area_of(lot).buffer(15).intersects(area_of(other)) for other in out):
            out.append(lot)
    return out


def _crossing(w: World, side_m: float) -> shapely.Geometry | None:
    """Paint a motorway, river or railway across the scene; return the area it covers, or None without one."""
    if not w.chance(0.2 if side_m < 1500 else 0.7):
        return None
    t = np.linspace(-1.1, 1.1, 40) * side_m
    bend = w.uniform(-0.25, 0.25) * side_m * np.sin(t / side_m * w.uniform(1, 4) + w.uniform(0, 6))
    off = bend + w.uniform(-0.5, 0.5) * side_m
    frame = d.Frame(side_m / 2, side_m / 2, w.uniform(0, 2 * np.pi))
    what = str(w.rng.choice(["motorway", "river", "railway"], p=[0.45, 0.3, 0.25]))
    wide = {"motorway": w.uniform(24, 46), "river": w.uniform(12, 140), "railway": w.uniform(9, 30)}[what]
    draw, line = w.drawing, frame.world(np.column_stack([t, off]))

    def parallel(shift: float) -> np.ndarray:  # the line shifted sideways by metres
        return frame.world(np.column_stack([t, off + shift]))

    draw.layer = STREET_LAYER
    draw.path(line, wide * 1.2 + 6, w.paints.dry if w.chance(0.5) else w.paints.grass)
    draw.path(line, wide, {"motorway": w.paints.road, "river": w.paints.water, "railway": w.paints.gravel}[what])
    if what == "motorway":
        draw.path(line, wide * 0.12, w.paints.grass if w.chance(0.5) else w.paints.concrete)
        # lanes are about 3.7 m (12 ft) wide
        for lane in np.arange(-wide / 2 + 1.5, wide / 2, 3.7):
            draw.path(parallel(float(lane)), 0.25, w.paints.mark)
        _traffic(w, line, wide)
    if what == "railway":
        # tracks about 5 m apart; 1.5 m is the standard gauge (1.435 m)
        for track in np.arange(-wide / 2 + 3, wide / 2 - 2, 5.0):
            draw.path(parallel(float(track)), 1.5, w.one(w.paints.rust))
    if what != "motorway" and w.chance(0.7):
        n = int(side_m / 5)
        pick = w.rng.integers(0, len(line), n)
        away = (wide * 0.6 + w.rng.gamma(1.5, 4, (n, 1))) * w.rng.choice([-1.0, 1.0], (n, 1))
        trees(
            w,
            d.Frame(0, 0, 0),
            parallel(0)[pick]
            + away * np.array([[-np.sin(frame.angle), np.cos(frame.angle)]])
            + w.rng.normal(0, side_m / 60, (n, 1)) * np.array([[np.cos(frame.angle), np.sin(frame.angle)]]),
        )
    draw.layer = 0
    return shapely.LineString(line).buffer(wide * 0.6 + 3)


def _traffic(w: World, line: np.ndarray, wide: float) -> None:
    """Draw vehicles on the lanes of a motorway along world points `line`."""
    step = np.diff(line, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    n = int(length.sum() / w.uniform(25, 120))
    k, f = w.rng.integers(0, len(step), n), w.rng.random((n, 1))
    side = np.column_stack([-step[:, 1], step[:, 0]]) / length[:, None]
    lane = (np.floor(w.rng.uniform(0, wide / 2 / 3.7, (n, 1))) * 3.7 + 3.4) * w.rng.choice([-1.0, 1.0], (n, 1))
    at = line[k] + f * step[k] + lane * side[k]
    turn = np.arctan2(step[k, 1], step[k, 0])
    w.drawing.boxes(
        d.Frame(0, 0, 0), at, w.rng.choice([4.4, 4.8, 5.2, 16.0], n), 2.1, w.pick(w.paints.car, n), 1.6, turn
    )
