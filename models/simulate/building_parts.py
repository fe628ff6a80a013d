"""Parts that all simulated buildings share: walls and parapet, roof, rooftop units, small objects.

In: a world, a frame and a building. Out: shapes, and the true outline as the picture shows it (the roof's edge,
displaced by the relief displacement of an off-nadir view). Data centers and look-alikes use the same parts, so that
only their cooling equipment distinguishes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.equipment import note_machines
from overwatt.models.simulate.ground import Part
from overwatt.models.simulate.palette import Rgb, World

LEAST_M2 = 400.0
"""Other buildings below this footprint are recorded with the `kind` small (same limit as `scene.LARGE_M2`)."""


@dataclass(frozen=True)
class Body:
    """A building in the drawing: frame of its roof as seen, height in metres, rectangles in that frame, roof colour."""

    frame: d.Frame
    height_m: float
    parts: tuple[Part, ...]
    rgb: Rgb

    @property
    def main(self) -> Part:
        """The rectangle with the largest area."""
        return max(self.parts, key=lambda p: p[2] * p[3])


def raise_body(
    w: World,
    frame: d.Frame,
    parts: list[Part],
    height_m: float,
    *,
    strength: float = 1.0,
    ribbed: bool = False,
    like: Rgb | None = None,
) -> Body:
    """Draw walls, parapet and roof over the rectangles `parts`; the caller adds the building to the truth.

    Args:
        w: world to draw in.
        frame: frame of the ground, in which `parts` are given.
        parts: rectangles u, v, du, dv in metres.
        height_m: height of the roof.
        strength: factor on the roof's texture.
        ribbed: whether the roof has ribs, as sawtooth roofs and tents have.
        like: roof colour; drawn at random if None.
    """
    draw = w.drawing
    draw.layer = 1
    paint, rgb = w.roof()
    if like is not None:
        paint, rgb = w.near(like, 0.0, 3.0), like
    # a leaning wall is drawn as copies of the footprint, one per finest visible step, at most 8
    lean_m = float(np.hypot(*draw.lean)) * height_m
    steps = int(np.clip(np.ceil(lean_m / max(draw.finest_m, 0.5)), 0, 8))
    wall = w.one(w.paints.wall)
    for k in range(steps):
        at = draw.lifted(frame, height_m * k / steps)
        for part in parts:
            draw.rect(at, *part, wall, height_m * k / steps)
    top = draw.lifted(frame, height_m)
    # width of the parapet seen from above and its height over the roof, metres
    rim = w.uniform(0.4, 1.0)
    parapet = w.uniform(0.2, 1.3)
    edge = w.near(rgb, w.uniform(-45, 30)) if w.chance(0.7) else w.paints.edge
    for part in parts:
        draw.rect(top, *part, edge, height_m + parapet)
    same = w.texture(strength)
    for k, (u, v, du, dv) in enumerate(parts):
        tone = paint if k == 0 or w.chance(0.6) else w.near(rgb, w.uniform(-30, 20))
        look = same if not ribbed else d.Texture(same.seed, same.slope, wave_m=w.uniform(6, 14), wave=w.uniform(6, 30))
        draw.rect(top, u, v, du - 2 * rim, dv - 2 * rim, tone, height_m, look)
    body = Body(top, height_m, tuple(parts), rgb)
    _wear(w, body)
    return body


def record(w: World, body: Body, kind: str, category: str = "other_building", site_id: str = "") -> d.Thing:
    """Add the building to the truth; other buildings below `LEAST_M2` get the kind small."""
    outline = d.outline(body.frame, list(body.parts))
    if category == "other_building" and outline.area < LEAST_M2:
        kind = "small"
    w.things.append(d.Thing(site_id, category, kind, outline))
    return w.things[-1]


def _wear(w: World, body: Body) -> None:
    """Draw what ageing leaves on a roof: patches of another tone, ponding water, streaks."""
    # patches are a few metres wide: not visible on a coarser canvas
    if w.drawing.finest_m > 2.5:
        return
    for u, v, du, dv in body.parts:
        n = int(w.rng.poisson(min(8.0, du * dv / 1800)))
        if n == 0:
            continue
        at = w.rng.uniform(-0.45, 0.45, (n, 2)) * [du, dv] + [u, v]
        tones = np.array([w.near(body.rgb, w.uniform(-26, 16)) for _ in range(min(n, 4))])
        a, b = w.rng.gamma(2.0, 0.06, (2, n))
        a, b = np.minimum(a, 0.4) * du, np.minimum(b, 0.4) * dv
        # keep every patch 1.2 m inside its rectangle, so that it does not cover the parapet
        room = np.maximum(0, np.array([[du, dv]]) / 2 - np.column_stack([a, b]) / 2 - 1.2)
        at = np.clip(at - [u, v], -room, room) + [u, v]
        if w.chance(0.6):
            w.drawing.boxes(body.frame, at, a, b, w.pick(tones, n))
        else:
            w.drawing.discs(body.frame, at, np.minimum(np.minimum(a, b), 9), w.pick(tones, n))


def inside(w: World, part: Part, n: int, inset_m: float = 2.5) -> np.ndarray:
    """Return `n` random points (n, 2) of a rectangle, at least `inset_m` from its edges."""
    u, v, du, dv = part
    half = np.maximum(np.array([du, dv]) / 2 - inset_m, 0.1)
    return w.rng.uniform(-1, 1, (n, 2)) * half + [u, v]


def lattice(part: Part, du: float, dv: float, inset_m: float = 5.0) -> np.ndarray:
    """Return grid points (n, 2) with spacing (du, dv) metres, centred on a rectangle and `inset_m` from its edges."""
    u, v, wide, deep = part
    n, m = max(1, int((wide - 2 * inset_m) // du) + 1), max(1, int((deep - 2 * inset_m) // dv) + 1)
    a, b = (np.arange(n) - (n - 1) / 2) * du, (np.arange(m) - (m - 1) / 2) * dv
    return np.stack(np.meshgrid(u + a, v + b), -1).reshape(-1, 2)


def rooftop_units(w: World, body: Body, uv: np.ndarray, sizes: tuple[float, float] = (1.6, 6.0)) -> None:
    """Draw packaged rooftop units at `uv` (n, 2): lengths from `sizes` in metres, a fan at one end, some ducts."""
    n = len(uv)
    if n == 0:
        return
    du = w.rng.uniform(*sizes, n)
    dv = np.minimum(w.rng.uniform(1.3, 3.0, n), du)
    paint = w.pick(w.paints.rtu, n)
    if w.chance(0.4):
        du, dv = dv, du
    w.drawing.boxes(body.frame, uv, du, dv, paint, body.height_m + w.uniform(1.2, 2.6))
    note_machines(w, body.frame, uv, du, dv, "rooftop_unit")
    if w.drawing.finest_m < 1.2:
        w.drawing.boxes(body.frame, uv + np.column_stack([0.22 * du, 0 * du]), du * 0.35, dv * 0.6, w.one(w.paints.fan))
        some = uv[w.rng.random(n) < 0.3]
        turn = w.rng.choice([0.0, np.pi / 2], len(some))
        w.drawing.boxes(body.frame, some + w.rng.normal(0, 2, some.shape), w.uniform(3, 9), 0.6, w.one(w.paints.metal),
                        body.height_m + 0.6, turn)  # fmt: skip


def clutter(w: World, body: Body, per_1000_m2: float) -> None:
    """Draw small objects that every roof has: vents, hatches, pipes, ladders, drains; mean count per 1,000 m2."""
    # below the resolution of the canvas: skip the cost
    if w.drawing.finest_m > 1.2:
        return
    for part in body.parts:
        n = int(w.rng.poisson(per_1000_m2 * part[2] * part[3] / 1000))
        # 150 per rectangle bounds the cost of very large roofs
        uv = inside(w, part, min(n, 150))
        size = w.rng.gamma(2.0, 0.45, len(uv)) + 0.3
        tone = w.pick(np.concatenate([w.paints.metal, w.paints.dark, w.paints.rtu]), len(uv))
        w.drawing.boxes(body.frame, uv, size, size * w.uniform(0.6, 1.5), tone, body.height_m + 0.8)
    for _ in range(int(w.rng.poisson(0.8))):
        u, v, du, dv = body.main
        line = w.uniform(0.2, 0.9) * du
        w.drawing.rect(body.frame, u + w.uniform(-0.5, 0.5) * (du - line), v + w.uniform(-0.42, 0.42) * dv, line,
                       w.uniform(0.25, 0.9), w.one(w.paints.metal), body.height_m + 0.5)  # fmt: skip


def penthouse(w: World, body: Body, u: float, v: float, du: float, dv: float, height_m: float) -> Body:
    """Draw a smaller storey on a roof and return it; it belongs to the building and gets no row in the truth."""
    frame = w.drawing.lifted(body.frame, height_m)
    tone = w.near(body.rgb, w.uniform(-40, 25))
    w.drawing.rect(body.frame, u, v, du, dv, w.one(w.paints.wall), body.height_m + height_m / 2)
    w.drawing.rect(frame, u, v, du, dv, w.near(body.rgb, w.uniform(-50, 20)), body.height_m + height_m)
    w.drawing.rect(frame, u, v, max(du - 1.2, 0.5), max(dv - 1.2, 0.5), tone, body.height_m + height_m, w.texture(0.7))
    return Body(frame, body.height_m + height_m, ((u, v, du, dv),), body.rgb)


def screen(w: World, body: Body, part: Part, height_m: float, paint: int | None = None) -> None:
    """Draw a louvred screen around equipment: a thin bright or dark wall on four sides of a rectangle."""
    u, v, du, dv = part
    tone = w.one(w.paints.metal) if paint is None else paint
    frame, top, thick = w.drawing.lifted(body.frame, height_m), body.height_m + height_m, 0.7
    for at, a, b in (((u, v - dv / 2), du, thick), ((u, v + dv / 2), du, thick),
                     ((u - du / 2, v), thick, dv), ((u + du / 2, v), thick, dv)):  # fmt: skip
        w.drawing.rect(frame, *at, a, b, tone, top)


def photovoltaics(w: World, body: Body, part: Part, cover: float) -> None:
    """Draw rows of photovoltaic panels over the share `cover` of a roof, with walkways and gaps."""
    u, v, du, dv = part
    # depth of a row: 1, 2, 4 or 6 modules of about 1.05 m
    dark, deep = w.one(w.paints.pv), float(w.rng.choice([1.1, 2.1, 4.2, 6.3]))
    rows = np.arange(-dv / 2 + 3, dv / 2 - 3, deep + w.uniform(0.4, 1.6))
    step, start, end = w.uniform(14, 45), -du / 2 + 3, -du / 2 + 3 + cover * (du - 6)
    while start < end - 5:
        length = min(step, end - start)
        # 5% of the panels are missing: roof lights and vents interrupt the rows
        at = np.column_stack([np.full(len(rows), u + start + length / 2), v + rows])
        w.drawing.boxes(body.frame, at[w.rng.random(len(at)) < 0.95], length - 1.6, deep, dark, body.height_m + 0.5)
        start += length
