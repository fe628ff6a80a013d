"""A drawing: what lies on the ground, as painted rectangles, discs and blobs in metres.

In: shapes in the local frame of a lot. Out: `Drawing`, an ordered list of shapes that `render`
turns into an image, and `Thing`s, the true objects. Everything on an industrial estate is close
to a rotated rectangle, so no polygon filler is needed and thousands of cars cost milliseconds.

World frame: x metres east, y metres *south*, origin at the scene's upper left corner, so that
pixel = metre / gsd on both axes. A lot's frame (u, v) is that frame turned and shifted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from shapely import Polygon, union_all

GRASS, TREE, ASPHALT, WATER, ROOF_LIGHT, ROOF_DARK, SOIL, CONCRETE, MACHINE, VEHICLE = range(10)
KEEP_HEIGHT = -1.0


@dataclass(frozen=True)
class Frame:
    """Local frame: centre (`x`, `y`) in world metres, `angle` from world x to local u in radians."""

    x: float
    y: float
    angle: float

    def world(self, uv: np.ndarray) -> np.ndarray:
        """Return world metres (n, 2) of local points `uv` (n, 2)."""
        uv = np.asarray(uv, dtype=float).reshape(-1, 2)
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
    """One true object: `kind` in words, power in MW (NaN where it has none), outline in world metres."""

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
    """(units, 5) x, y, du, dv, angle of each machine, where known."""


@dataclass(frozen=True)
class Texture:
    """A pattern over one large shape, in its own frame; amounts are counts of display brightness.

    Attributes:
        seed: of the pattern.
        slope: brightness gained over the whole shape along u and v.
        panel_m, panel_sd: sides of panels of one tone each, and the sd of their tones.
        line_m, line_wide_m, line: distance of straight lines across u and v (0 none), their width, their tone.
        wave_m, wave: length along v of a light and a dark half (sawtooth and ribbed roofs, crop rows).
        stain_m, stain_sd: size and sd of irregular stains.
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
    """Shapes painted together: `boxes` (n, 5) x, y, du, dv in metres, angle; discs where `round_`.

    A higher `layer` is painted later, whatever the order; `texture` is only for shapes of more than a few metres.
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

    `finest_m`: rectangles and discs smaller than this in both directions are left out (what cannot be seen
    costs nothing). `lean`: how far, in metres east and south a metre of height, tall things are seen
    displaced (off-nadir view). `layer`: of the shapes added from now on.
    """

    paints: list[tuple[float, float, float, float, int]] = field(default_factory=list)
    shapes: list[Shapes] = field(default_factory=list)
    finest_m: float = 0.0
    lean: tuple[float, float] = (0.0, 0.0)
    layer: int = 0

    def lifted(self, frame: Frame, height_m: float) -> Frame:
        """Return `frame` as it is seen at `height_m` above the ground."""
        return Frame(frame.x + self.lean[0] * height_m, frame.y + self.lean[1] * height_m, frame.angle)

    def sees(self, size_m: float | np.ndarray) -> bool:
        """Return whether anything of `size_m` is large enough to be drawn."""
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
        """Paint rectangles centred on `uv` (n, 2); sides, paint and turn scalar or one each."""
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
        """Paint an ellipse whose radius waves by `lobes` (relative amplitudes of harmonics 2, 3, ...)."""
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
        self.boxes(Frame(0, 0, 0), middle, length + 0.12 * width_m, width_m, paint, height_m, turn=angle)


def outline(frame: Frame, parts: list[tuple[float, float, float, float]]) -> Polygon:
    """Return the union of local rectangles (u, v, du, dv) as one world polygon."""
    return union_all([frame.box(*part) for part in parts])
