"""Layout of a training scene: curved streets, irregular blocks of several districts, campuses, crossings.

In: a world and the scene's side in metres. Out: lots; streets, rivers, railways and motorways are already painted.
"""

from __future__ import annotations

import numpy as np
import shapely

from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.palette import World
from overwatt.models.simulate.streets import Lot, streets, trees


def lay_out(
    w: World, side_m: float, depths_m: tuple[float, ...], widths_m: tuple[float, float]
) -> tuple[list[Lot], int]:
    """Return the visible lots of a scene, campuses first, and the number of campuses.

    Args:
        w: world to draw in.
        side_m: side of the scene.
        depths_m: block depths to choose from.
        widths_m: range of lot widths along the street.
    """
    _background(w, side_m)
    extent = shapely.box(0, 0, side_m, side_m)
    # large scenes show several districts more often than one street grid
    if w.chance(0.55 if side_m < 1500 else 0.15):
        lots = streets(w, (side_m, side_m), depths_m, widths_m)
    else:
        lots = _districts(w, side_m, depths_m, widths_m)
    clear = _crossing(w, side_m)
    campuses = [lot for lot in _campuses(w, lots, side_m) if clear is None or not clear.intersects(area_of(lot))]
    taken = shapely.union_all([area_of(lot).buffer(4) for lot in campuses] + ([clear] if clear is not None else []))
    # lots just outside still cast shadows and lean into the picture
    near = extent.buffer(30)
    shapely.prepare(taken)
    seen: list[Lot] = []
    queue = [(lot, 0) for lot in lots]
    while queue:
        lot, depth = queue.pop()
        area = area_of(lot)
        if not area.intersects(near):
            continue
        if not area.intersects(taken):
            seen.append(lot)
        # halve a lot under a campus or crossing up to four times and keep the free pieces
        elif depth < 4 and max(lot.width_m, lot.depth_m) > 60:
            queue += [(half, depth + 1) for half in halves(lot, 1.0)]
    return campuses + seen, len(campuses)


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


def _districts(w: World, side_m: float, depths_m: tuple[float, ...], widths_m: tuple[float, float]) -> list[Lot]:
    """Divide the scene into districts with blocks of their own bearing and size; paint their streets."""
    n = 1 if side_m < 700 else int(w.rng.integers(1, 4 + int(side_m / 1500)))
    seeds = w.rng.uniform(0, side_m, (n, 2))
    base = w.uniform(0, np.pi)
    lots: list[Lot] = []
    for k in range(n):
        angle = base if w.chance(0.3) else w.uniform(0, np.pi)
        low = float(w.rng.choice(depths_m))
        grain = (low, float(np.mean(widths_m)) * w.uniform(0.7, 1.3))
        reach = side_m * 1.5 + 200
        frame = d.Frame(side_m / 2 + w.uniform(-80, 80), side_m / 2 + w.uniform(-80, 80), angle)
        road = w.uniform(7, 16)
        draw = w.drawing
        draw.layer = 0
        for lot, gap in _cut(w, Lot(frame, reach, reach), grain, road):
            centre = np.array([lot.frame.x, lot.frame.y])
            # a block belongs to the district of the nearest seed (Voronoi cell)
            if n > 1 and np.argmin(((seeds - centre) ** 2).sum(1)) != k:
                continue
            margin = max(lot.width_m, lot.depth_m)
            if not (-margin < centre[0] < side_m + margin and -margin < centre[1] < side_m + margin):
                continue
            # verge, street and verge again, each as a larger rectangle under the lot
            draw.rect(lot.frame, 0, 0, lot.width_m + 2 * gap + 3, lot.depth_m + 2 * gap + 3, w.paints.dry, 0.0)
            draw.rect(lot.frame, 0, 0, lot.width_m + 2 * gap, lot.depth_m + 2 * gap, w.paints.road, 0.0)
            verge = w.paints.grass if w.chance(0.6) else w.paints.concrete
            draw.rect(lot.frame, 0, 0, lot.width_m + 3, lot.depth_m + 3, verge, 0.0)
            if draw.finest_m < 0.4:
                draw.rect(lot.frame, 0, lot.depth_m / 2 + gap, lot.width_m, 0.25, w.paints.mark, 0.0)
            lots.append(lot)
    return lots


def _cut(w: World, lot: Lot, grain_m: tuple[float, float], road_m: float) -> list[tuple[Lot, float]]:
    """Bisect a block repeatedly at uneven positions; return blocks, each with half the width of its streets."""
    out: list[tuple[Lot, float]] = []
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
        else:
            a = deep * share
            queue += [(Lot(block.frame.moved(0, a / 2 - deep / 2), wide, a), gap)]
            queue += [(Lot(block.frame.moved(0, a / 2), wide, deep - a), gap)]
    return out


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

    draw.layer = 0
    draw.path(line, wide * 1.4 + 6, w.paints.dry if w.chance(0.5) else w.paints.grass)
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
