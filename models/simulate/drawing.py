"""A drawing: the objects on the ground as painted rectangles, discs and blobs in metres.

In: shapes in the local frame of a lot. Out: `Drawing`, an ordered list of shapes that `render`
turns into an image, and `Thing`s, the true objects. Rotated rectangles approximate everything on an
industrial estate, so no polygon filling is needed and thousands of cars cost milliseconds.

World frame: x metres east, y metres *south*, origin at the scene's upper left corner, so that
pixel = metre / gsd on both axes. A lot's frame (u, v) is that frame turned and shifted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from shapely import Polygon, union_all

GRASS, TREE, ASPHALT, WATER, ROOF_LIGHT, ROOF_DARK, SOIL, CONCRETE, MACHINE, VEHICLE = range(10)
"""Materials of paints; `thermal` has one temperature contrast for each, in this order."""
KEEP_HEIGHT = -1.0
"""Height of shapes that are flat paint: the height below them stays."""


@dataclass(frozen=True)
class Frame:
    """Local frame: centre (`x`, `y`) in world metres, `angle` from world x to local u in radians."""

    x: float
    y: float
    angle: float

    def world(self, uv: np.ndarray) -> np.ndarray:
        """Return world metres (n, 2) of local points `uv` (n, 2)."""
        uv = np.asarray(uv, dtype=float).reshape(-1, 2)
        # rotation by `angle`, clockwise on the map because y points south
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.column_stack([self.x + c * uv[:, 0] - s * uv[:, 1], self.y + s * uv[:, 0] + c * uv[:, 1]])

    def moved(self, u: float, v: float, turn: float = 0.0) -> Frame:
        """Return a frame centred on local (u, v), turned by `turn` radians."""
        x, y = self.world(np.array([[u, v]]))[0]
        return Frame(float(x), float(y), self.angle + turn)

    def box(self, u: float, v: float, du: float, dv: float) -> Polygon:
        """Return the world polygon of a rectangle centred on (u, v) with sides du, dv in metres."""
        h, k = du / 2, dv / 2
        return Polygon(self.world(np.array([[u - h, v - k], [u + h, v - k], [u + h, v + k], [u - h, v + k]])))


@dataclass(frozen=True)
class Thing:
    """One object of the truth: class, kind, power in MW (NaN if it has none), outline in world metres."""

    site_id: str
    category: str
    kind: str
    outline: Polygon
    it_mw: float = float("nan")
    facility_mw: float = float("nan")
    units: int = 0
    unit_area_m2: float = 0.0
    capacity_kw: float = 0.0
    machines: np.ndarray | None = field(default=None, compare=False)
    """(units, 5) x, y, du, dv in metres and angle in radians of each machine; None if not known."""


@dataclass(frozen=True)
class Texture:
    """A brightness pattern over one large shape, in the shape's own frame; amplitudes are display counts.

    Attributes:
        seed: seed of the pattern.
        slope: brightness difference over the whole shape along u and v.
        panel_m: sides of panels with one tone each.
        panel_sd: standard deviation of the panels' tones.
        line_m: spacing of straight lines across u and v; 0 for none.
        line_wide_m: width of the lines.
        line: tone of the lines.
        wave_m: period along v of a light and a dark half (sawtooth and ribbed roofs, crop rows).
        wave: amplitude of that wave.
        stain_m: size of irregular stains.
        stain_sd: standard deviation of the stains.
    """

    seed: int
    slope: tuple[float, float] = (0.0, 0.0)
    panel_m: tuple[float, float] = (10.0, 10.0)
    panel_sd: float = 0.0
    line_m: tuple[float, float] = (0.0, 0.0)
    line_wide_m: float = 0.2
    line: float = 0.0
    wave_m: float = 0.0
    wave: float = 0.0
    stain_m: float = 10.0
    stain_sd: float = 0.0


@dataclass(frozen=True)
class Shapes:
    """Shapes that are painted together.

    Attributes:
        boxes: (n, 5) x, y, du, dv in metres, angle in radians.
        paints: (n,) paint numbers.
        height_m: height of the top; `KEEP_HEIGHT` for flat paint.
        round_: discs or ellipses instead of rectangles.
        lobes: see `Drawing.blob`.
        layer: higher layers are painted later, whatever the order of insertion.
        texture: only for shapes larger than a few metres.
    """

    boxes: np.ndarray
    paints: np.ndarray
    height_m: float
    round_: bool = False
    lobes: tuple[float, ...] = ()
    layer: int = 0
    texture: Texture | None = None


@dataclass
class Drawing:
    """Ordered shapes and the paints they use; later shapes cover earlier ones.

    Attributes:
        paints: red, green, blue, roughness (standard deviation, counts) and material of each paint.
        shapes: in the order of insertion.
        finest_m: rectangles and discs smaller than this in both directions are left out: they cost nothing.
        lean: relief displacement of the off-nadir view, metres east and south per metre of height.
        layer: layer of the shapes that are added next.
    """

    paints: list[tuple[float, float, float, float, int]] = field(default_factory=list)
    shapes: list[Shapes] = field(default_factory=list)
    finest_m: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    layer: int = 0

    def lifted(self, frame: Frame, height_m: float) -> Frame:
        """Return `frame` displaced as the view shows it at `height_m` above the ground."""
        return Frame(frame.x + self.lean[0] * height_m, frame.y + self.lean[1] * height_m, frame.angle)

    def sees(self, size_m: float | np.ndarray) -> bool:
        """Return whether at least one of the sizes is large enough to be drawn."""
        return bool(np.max(size_m, initial=0.0) >= self.finest_m)

    def paint(self, rgb: tuple[float, float, float], rough: float, material: int) -> int:
        """Register a paint (colour 0..255, texture sd in counts, material) and return its number."""
        self.paints.append((*rgb, rough, material))
        return len(self.paints) - 1

    def rect(
        self,
        frame: Frame,
        u: float,
        v: float,
        du: float,
        dv: float,
        paint: int,
        height_m: float = KEEP_HEIGHT,
        texture: Texture | None = None,
    ) -> None:
        """Paint one rectangle centred on (u, v)."""
        self.boxes(frame, np.array([[u, v]]), du, dv, paint, height_m, texture=texture)

    def boxes(
        self,
        frame: Frame,
        uv: np.ndarray,
        du: float | np.ndarray,
        dv: float | np.ndarray,
        paint: int | np.ndarray,
        height_m: float = KEEP_HEIGHT,
        turn: float | np.ndarray = 0.0,
        texture: Texture | None = None,
    ) -> None:
        """Paint rectangles centred on `uv` (n, 2); sides, paint and turn are scalars or one value each."""
        # too small to be visible
        if not (self.sees(du) or self.sees(dv)):
            return
        xy = frame.world(uv)
        n = len(xy)
        if n == 0:
            return
        columns = [
            xy[:, 0],
            xy[:, 1],
            *(np.broadcast_to(a, n) for a in (du, dv, frame.angle + np.asarray(turn))),
        ]
        boxes = np.column_stack(columns)
        self.shapes.append(Shapes(boxes, np.broadcast_to(paint, n), height_m, layer=self.layer, texture=texture))

    def discs(
        self,
        frame: Frame,
        uv: np.ndarray,
        diameter_m: float | np.ndarray,
        paint: int | np.ndarray,
        height_m: float = KEEP_HEIGHT,
    ) -> None:
        """Paint discs centred on `uv` (n, 2)."""
        if not self.sees(diameter_m):
            return
        xy = frame.world(uv)
        n = len(xy)
        if n == 0:
            return
        size = np.broadcast_to(diameter_m, n)
        boxes = np.column_stack([xy, size, size, np.zeros(n)])
        self.shapes.append(Shapes(boxes, np.broadcast_to(paint, n), height_m, round_=True, layer=self.layer))

    def blob(self, frame: Frame, u: float, v: float, du: float, dv: float, paint: int, lobes: np.ndarray) -> None:
        """Paint an ellipse whose radius varies with the angle; `lobes`: relative amplitudes of harmonics 2, 3, ..."""
        x, y = frame.world(np.array([[u, v]]))[0]
        box = np.array([[x, y, du, dv, frame.angle]])
        waves = tuple(float(a) for a in lobes)
        self.shapes.append(Shapes(box, np.array([paint]), 0.0, True, waves, layer=self.layer))

    def path(self, xy: np.ndarray, width_m: float, paint: int, height_m: float = KEEP_HEIGHT) -> None:
        """Paint a strip of `width_m` along world points `xy` (n, 2)."""
        step = np.diff(xy, axis=0)
        length = np.hypot(step[:, 0], step[:, 1])
        middle = (xy[1:] + xy[:-1]) / 2
        angle = np.arctan2(step[:, 1], step[:, 0])
        # 12% of the width as overlap closes the wedge between two segments at a bend
        self.boxes(Frame(0, 0, 0), middle, length + 0.12 * width_m, width_m, paint, height_m, turn=angle)


def outline(frame: Frame, parts: list[tuple[float, float, float, float]]) -> Polygon:
    """Return the union of local rectangles (u, v, du, dv) as one world polygon."""
    return union_all([frame.box(*part) for part in parts])
