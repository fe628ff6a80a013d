"""Real canvases: simulated lots, and simulated plant on real roofs, pasted on real pictures.

In: a real picture of any place, and what its labels say, if any. Out: a `Scene` of that picture with one lot or one
roof changed; ground that was not covered keeps its labels, or is unknown. Data centers and ordinary buildings take
the same path, so that no trace of pasting tells the class. Sun and lean come from the caller or are drawn; tone,
sharpness, noise and darkness of shadows are measured on the canvas. Thresholds are own choices, judged by eye on NAIP.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely
from rasterio.features import rasterize
from scipy import ndimage

from overwatt.aoi.errors import ConfigError
from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.building_parts import (
    Body,
    clutter,
    inside,
    lattice,
    photovoltaics,
    rooftop_units,
)
from overwatt.models.simulate.camera import View, canvas_cells, lit, random_view, shadow_steps
from overwatt.models.simulate.canvas_look import SIMULATED, Labels, blend, label, look, painted
from overwatt.models.simulate.data_centers import CENTER_KINDS, build_center, new_manner, settle
from overwatt.models.simulate.equipment import new_plant
from overwatt.models.simulate.equipment_placement import roof_plant
from overwatt.models.simulate.lookalikes import machines, regular
from overwatt.models.simulate.palette import PLACES, World, new_palette
from overwatt.models.simulate.render import block_mean, cast_shadow, paint
from overwatt.models.simulate.scene import Scene, frame_scene
from overwatt.models.simulate.streets import Lot
from overwatt.models.simulate.training_scenes import FILLERS, OPEN
from overwatt.models.simulate.urban_buildings import parked

GSD_RANGE_M = (0.3, 2.0)
UNKNOWN = np.uint8(255)
FLEETS = ((226, 172, 62), (236, 236, 234), (196, 60, 52), (70, 96, 150), (120, 124, 128))
"""Roof colours of fleets: yellow school buses, white vans, red, blue, grey; display counts (own choice)."""
LEAST_M = 18.0
"""Narrowest roof that plant is put on, of data centers as of others (own choice)."""
ORDINARY = {
    "warehouse": 4.0, "cold_store": 2.5, "factory": 3.0, "mall": 1.5, "big_box": 2.5, "office": 2.0, "hospital": 1.5,
    "car_deck": 1.0, "city_block": 1.0, "school": 1.0, "greenhouse": 0.7, "self_storage": 1.0, "depot": 1.0,
    "sheds": 1.0, "substation": 1.5, "open_parking": 1.5, "container_yard": 1.0, "solar_field": 0.5, "tank_farm": 0.5,
}  # fmt: skip
"""Uses that are not data centers, of `FILLERS`, and their weights (own choice)."""
BESIDE = 0.35
"""Share of the roofs, of either class, with rows of vehicles beside them: they look like machines (own choice)."""
DENSE = 0.04
"""Machines on at least this share of a real roof make it a data center's; large shops have less than 0.02."""


def paste(
    canvas: np.ndarray,
    gsd_m: float,
    rng: np.random.Generator,
    *,
    center: bool | None = None,
    kind: str | None = None,
    lot: Lot | None = None,
    view: View | None = None,
    labels: Labels | None = None,
) -> Scene:
    """Return the canvas with one simulated lot on it: a data center or, as often, an ordinary use.

    Args:
        canvas: (band=3 red, green, blue; y, x) uint8.
        gsd_m: ground sampling distance of the canvas, 0.3 to 2 m.
        rng: random numbers; the same state gives the same scene.
        center: whether it is a data center; drawn if None.
        kind: of `CENTER_KINDS` or `ORDINARY`; drawn if None.
        lot: place in metres east and south of the upper left corner; a quiet place along the streets if None.
        view: sun and lean; drawn if None. Give the same one for all pastes on one picture.
        labels: layers of the canvas; without them it is known only to hold no data center.

    Raises:
        ConfigError: `kind` is unknown, contradicts `center` or does not fit the lot, or the canvas cannot be used.
    """
    world, view = _world(canvas, gsd_m, rng, view)
    if kind is not None:
        if kind not in {**CENTER_KINDS, **ORDINARY} or center not in (None, kind in CENTER_KINDS):
            raise ConfigError(f"kind: '{kind}' is no use for a lot with center={center}; see CENTER_KINDS, ORDINARY")
        center = kind in CENTER_KINDS
    center = world.chance(0.5) if center is None else center
    place = lot or _spot(canvas, gsd_m, rng)
    uses = CENTER_KINDS if center else ORDINARY
    weights = np.array(list(uses.values())) / sum(uses.values())
    # three kinds at random, then colocation, which fits every lot that `_spot` gives
    tries = [kind] if kind else [str(k) for k in rng.choice(list(uses), 3, p=weights)] + ["colocation"]
    if not center:
        FILLERS[tries[0]](world, place)
    elif not any(build_center(world, place, "s1", k) for k in tries):
        raise ConfigError(f"lot: {place.width_m:g} m x {place.depth_m:g} m is too small for '{tries[-1]}'")
    # the whole lot, or only what is built and paved, or only what stands up: the rest shows the real ground
    grounds = [(), (d.GRASS, d.SOIL), (d.GRASS, d.SOIL, d.TREE)]
    # open uses such as car parks are flat and need their paving
    clear = grounds[int(rng.choice(3, p=[0.2, 0.8, 0.0] if tries[0] in OPEN else [0.2, 0.4, 0.4]))]
    return _picture(world, canvas, gsd_m, view, labels, clear)


def plant_on_roof(
    canvas: np.ndarray,
    gsd_m: float,
    rng: np.random.Generator,
    roof: shapely.Polygon,
    *,
    center: bool | None = None,
    view: View | None = None,
    labels: Labels | None = None,
) -> Scene:
    """Return the canvas with simulated machines on one real roof: rows as a data center has, or a few scattered.

    The roof becomes a data center where machines cover at least `DENSE` of it. With fewer it stays another building,
    or is unknown if `center`: a roof with so few may be either.

    Args:
        canvas: as in `paste`.
        gsd_m: as in `paste`.
        rng: as in `paste`.
        roof: outline, metres east and south of the upper left corner.
        center: whether to draw a data center's plant; drawn if None.
        view: as in `paste`.
        labels: as in `paste`.

    Raises:
        ConfigError: the roof has no room for machines, or the canvas cannot be used.
    """
    world, view = _world(canvas, gsd_m, rng, view)
    center = world.chance(0.5) if center is None else center
    frame, part, size_m = _room(roof)
    covered = rasterize([(roof, 1)], canvas.shape[1:], transform=(gsd_m, 0, 0, 0, gsd_m, 0)) == 1
    if min(part[2:]) < LEAST_M or not covered.any():
        raise ConfigError(f"roof: {part[2]:.0f} m x {part[3]:.0f} m of it are usable; give {LEAST_M:g} m or more")
    rgb = painted(look(canvas), np.median(canvas[:, covered], axis=1))
    # heights count from the roof: only machines are drawn, and their shadows fall on it
    body = Body(frame, 0.0, (part,), rgb)
    world.things.append(d.Thing("", "other_building", "roof", roof))
    dense = False
    # some machines are too large for some roofs: up to four designs are tried
    for _ in range(4 if center else 0):
        world.things, world.drawing.shapes = world.things[:1], []
        world.plant.clear()
        kind = str(rng.choice(["colocation", "hyperscale_hall", "air_handler_halls"], p=[0.5, 0.25, 0.25]))
        manner = new_manner(world, kind)
        # air handlers stand apart all over the roof; the others have any layout with machines in view
        if manner.roof != "spread":
            manner = replace(manner, roof=str(rng.choice(["rows", "dense", "half", "wells"])))
        roof_plant(world, body, part, manner, "s1")
        if dense := sum(t.unit_area_m2 for t in world.things) >= DENSE * roof.area:
            world.things[0] = replace(world.things[0], site_id="s1", category="data_center")
            settle(world, 0, "s1")
            break
    if not center:
        _scattered(world, body, part)
    if world.chance(BESIDE):
        _vehicles(world, frame, size_m)
    scene = _picture(world, canvas, gsd_m, view, labels, ())
    if center and not dense:
        return replace(scene, building=np.where(covered, UNKNOWN, scene.building))
    return scene


def _scattered(w: World, body: Body, part: tuple[float, float, float, float]) -> None:
    """Draw what ordinary roofs carry: packaged units, sometimes a short row of machines, skylights, panels or cars."""
    what = w.rng.random()
    if w.chance(0.12):
        parked(w, body, part[2:], w.uniform(0.2, 1.0))
        return
    if what < 0.2:
        regular(w, body)
    elif what < 0.3:
        photovoltaics(w, body, part, w.uniform(0.2, 0.9))
    elif what < 0.6:
        plant = new_plant(w, str(w.rng.choice(["tower", "dry_cooler", "chiller"])))
        n = int(np.clip(part[2] // (plant.cell_m[0] + 1), 1, w.rng.integers(1, 6)))
        along = (np.arange(n) - (n - 1) / 2) * (plant.cell_m[0] + 1)
        at = inside(w, part, 1, 6)[0] * [0.3, 0.8]
        machines(w, body, at + np.column_stack([along, np.zeros(n)]), plant)
    # packaged units: in a loose grid, as on large shops, or one per 150 to 900 m2 anywhere
    uv = inside(w, part, int(part[2] * part[3] / w.uniform(150, 900)) + 1)
    if w.chance(0.3):
        uv = lattice(part, w.uniform(9, 30), w.uniform(9, 30))
        uv = uv + w.rng.normal(0, w.rng.choice([0.2, 2.0]), uv.shape)
    rooftop_units(w, body, uv, (1.6, 5.0))
    clutter(w, body, w.uniform(1, 5))


def _vehicles(w: World, frame: d.Frame, size_m: tuple[float, float]) -> None:
    """Draw one to three rows of buses, lorries, vans or cars side by side along one side of a roof."""
    # width, length and height in metres of a car, a van, a bus and a semi-trailer; gaps and rows are own choices
    wide, long, high = ((1.9, 4.5, 1.5), (2.1, 6.5, 2.6), (2.55, 12.0, 3.2), (2.6, 14.5, 4.0))[int(w.rng.integers(4))]
    across = w.chance(0.3)
    frame = frame.moved(0, 0, np.pi / 2) if across else frame
    du, dv = size_m[::-1] if across else size_m
    along = np.arange(-du / 2 + wide, du / 2 - wide, wide + w.uniform(0.4, 1.6))
    v = dv / 2 + w.uniform(2, 16) + long / 2
    fleet = w.shade_of(np.array(FLEETS[int(w.rng.integers(len(FLEETS)))]), 8.0, 4.0)
    for _ in range(int(w.rng.integers(1, 4))):
        at = along[w.rng.random(len(along)) < w.uniform(0.3, 1.0)]
        uv = np.column_stack([at, v + w.rng.normal(0, 0.3, len(at))])
        # a fleet of one colour, or a mix
        mixed = w.pick(w.paints.car if high < 2 else w.paints.trailer, len(at))
        tones = mixed if w.chance(0.5) else np.full(len(at), w.drawing.paint(fleet, 3.0, d.VEHICLE))
        w.drawing.boxes(frame, uv, wide, long, tones, high)
        v += long + float(w.rng.choice([0.6, 7.0]))


def _check(canvas: np.ndarray, gsd_m: float) -> None:
    """Refuse canvases that are not pictures, or of another ground size."""
    if canvas.ndim != 3 or canvas.shape[0] != 3 or canvas.dtype != np.uint8 or min(canvas.shape[1:]) < 32:
        raise ConfigError(f"canvas: {canvas.dtype} {canvas.shape} is not (3, y, x) uint8 of 32 px or more")
    if not GSD_RANGE_M[0] <= gsd_m <= GSD_RANGE_M[1]:
        raise ConfigError(f"gsd_m: {gsd_m} m is outside {GSD_RANGE_M[0]} to {GSD_RANGE_M[1]} m")


def _world(canvas: np.ndarray, gsd_m: float, rng: np.random.Generator, view: View | None) -> tuple[World, View]:
    """Return an empty world whose paint 0 is clear, and the view."""
    _check(canvas, gsd_m)
    if view is None:
        view = random_view(rng, gsd_m)
        # most pictures are orthophotos: less lean than the simulator's oblique views
        view = replace(view, lean=(0.4 * view.lean[0], 0.4 * view.lean[1]))
    fine_m = gsd_m / canvas_cells(gsd_m, max(canvas.shape[1:]))
    drawing = d.Drawing(finest_m=0.6 * fine_m, lean=view.lean)
    drawing.paint((0.0, 0.0, 0.0), 0.0, d.GRASS)
    place = str(rng.choice(PLACES))
    return World(drawing, new_palette(drawing, rng, place), rng, [], place), view


def _spot(canvas: np.ndarray, gsd_m: float, rng: np.random.Generator) -> Lot:
    """Return a lot of random size: the quietest of six random places, mostly along the edges in the picture."""
    dy, dx = np.gradient(ndimage.gaussian_filter(canvas.mean(0), 1.0))
    rows, cols = dy.shape
    streets = _direction(dy, dx)
    side = gsd_m * min(rows, cols)
    wide, deep = rng.uniform(60, np.clip(1.1 * side, 80, 300)), rng.uniform(55, np.clip(0.9 * side, 70, 220))
    tries, grid = [], np.linspace(-0.5, 0.5, 24)
    for _ in range(6):
        angle = streets + float(rng.choice(4)) * np.pi / 2 + rng.normal(0, 0.02)
        angle = float(angle if rng.random() < 0.85 else rng.uniform(0, 2 * np.pi))
        x, y = rng.uniform(0.25, 0.75, 2) * [cols * gsd_m, rows * gsd_m]
        frame = d.Frame(float(x), float(y), angle)
        at = frame.world(np.stack(np.meshgrid(grid * wide, grid * deep), -1))
        col, row = np.clip((at / gsd_m).astype(int), 0, [cols - 1, rows - 1]).T
        tries.append((float(np.hypot(dx[row, col], dy[row, col]).mean()), frame))
    return Lot(min(tries, key=lambda t: t[0])[1], float(wide), float(deep))


def _direction(dy: np.ndarray, dx: np.ndarray) -> float:
    """Return the direction of streets and roofs, radians from x, modulo a right angle."""
    # the fourth power has the same phase for both directions at right angles; weighted by the squared gradient
    power = (dx + 1j * dy) ** 4 / np.maximum(np.hypot(dx, dy), 1e-6) ** 2
    return float(np.angle(power.sum())) / 4


def _room(roof: shapely.Polygon) -> tuple[d.Frame, tuple[float, float, float, float], tuple[float, float]]:
    """Return a frame along the roof's longer side, a rectangle within the roof, and the sides of one around it."""
    corners = shapely.get_coordinates(shapely.minimum_rotated_rectangle(roof))[:4]
    sides = np.diff(corners[:3], axis=0)
    long, short = sorted(sides, key=lambda s: -float(np.hypot(*s)))
    x, y = corners.mean(0)
    frame = d.Frame(float(x), float(y), float(np.arctan2(long[1], long[0])))
    size = np.hypot(*np.array([long, short]).T)
    shares = [s for s in np.arange(0.97, 0.2, -0.05) if roof.contains(frame.box(0, 0, *(s * size)))]
    du, dv = (shares[0] if shares else 0.0) * size
    return frame, (0.0, 0.0, float(du), float(dv)), (float(size[0]), float(size[1]))


def _picture(
    w: World,
    canvas: np.ndarray,
    gsd_m: float,
    view: View,
    labels: Labels | None,
    clear: tuple[int, ...],
) -> Scene:
    """Photograph a world over the canvas; paint 0 and the materials `clear` are transparent."""
    seen = look(canvas)
    rows, cols = canvas.shape[1:]
    fine = canvas_cells(gsd_m, max(rows, cols))
    size_m = gsd_m / fine
    ids, height, tint = paint(w.drawing, (rows * fine, cols * fine), size_m, tinted=True)
    assert tint is not None
    material = np.array([p[4] for p in w.drawing.paints])
    solid = (ids != 0) & ~np.isin(material, clear)[ids]
    if d.TREE in clear:
        # gravel stays: without it a substation is masts on bare ground
        solid &= (height > 0) | (ids == w.paints.gravel)
    height[~solid] = 0
    view = replace(view, shade=seen.shade)
    shadow = cast_shadow(
        height, size_m, view.sun_azimuth_deg, view.sun_elevation_deg, shadow_steps(height, size_m, view)
    )
    light = block_mean(lit(w.drawing, ids, tint, shadow, view, size_m, w.rng) * solid, fine)
    grey = light.mean(0)
    light = grey + seen.saturation * (light - grey)
    alpha = block_mean(solid[None].astype(np.float32), fine)[0]
    shadowed = block_mean((shadow & ~solid)[None].astype(np.float32), fine)[0]
    low, high = SIMULATED
    gain = (seen.high - seen.low) / (high - low)
    patch = gain * light + (seen.low - gain * low) * alpha
    # a pixel is a box of standard deviation 0.29 px; independent blurs add in quadrature
    blur = float(np.sqrt(max(seen.blur_px**2 - 0.29**2, 0.0)))
    optical = blend(canvas, patch, alpha, shadowed, seen, blur, w.rng)
    scene = frame_scene(w.things, optical, gsd_m, w.plant)
    return label(scene, alpha > 0.5, labels)
