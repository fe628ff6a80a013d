"""Colours of the scene, as they look in a bright public 2 m aerial picture (NAIP-like display values).

In: a drawing and a random generator. Out: `Paints`, the paint numbers of every material, drawn
once a scene so that one scene's asphalt is one asphalt. The means were read off a real picture of
a data-center district (bluish light asphalt, near-saturated roofs, olive trees); the spread is wider.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.simulate import drawing as d

_WHITE, _GREY, _TAN, _DARK, _BLUE = (
    (229, 228, 226),
    (196, 199, 205),
    (214, 204, 181),
    (104, 106, 112),
    (188, 202, 212),
)


@dataclass(frozen=True)
class Paints:
    """Paint numbers of one scene; arrays where shapes vary."""

    grass: int
    dry: int
    field: np.ndarray
    soil: np.ndarray
    asphalt: np.ndarray
    road: int
    mark: int
    concrete: int
    gravel: int
    water: int
    tree: np.ndarray
    car: np.ndarray
    trailer: np.ndarray
    roof_light: np.ndarray
    roof_mid: np.ndarray
    roof_dark: np.ndarray
    edge: int
    skylight: np.ndarray
    vent: int
    pv: np.ndarray
    unit: np.ndarray
    fan: np.ndarray
    rtu: np.ndarray
    genset: np.ndarray
    house: np.ndarray
    container: np.ndarray


def _some(
    drawing: d.Drawing,
    rng: np.random.Generator,
    means: list[tuple[int, int, int]],
    sd: float,
    rough: float,
    mat: int,
) -> np.ndarray:
    """Register one paint near each mean; brightness varies by `sd`, hue by a third of it."""
    out = []
    for mean in means:
        rgb = np.array(mean) + rng.normal(0, sd) + rng.normal(0, sd / 3, 3)
        r, g, b = (float(x) for x in np.clip(rgb, 8, 250))
        out.append(drawing.paint((r, g, b), rough, mat))
    return np.array(out)


def mix_paints(drawing: d.Drawing, rng: np.random.Generator) -> Paints:
    """Register the paints of one scene and return their numbers."""

    def some(means: list[tuple[int, int, int]], sd: float, rough: float, mat: int) -> np.ndarray:
        return _some(drawing, rng, means, sd, rough, mat)

    def one(mean: tuple[int, int, int], sd: float, rough: float, mat: int) -> int:
        return int(some([mean], sd, rough, mat)[0])

    green = [(70, 82, 50), (54, 68, 44), (86, 92, 56), (48, 62, 50), (100, 96, 56), (72, 74, 60)]
    autumn = [(132, 102, 54), (112, 66, 52), (120, 112, 58)] if rng.random() < 0.4 else [(80, 94, 56)]
    cars = [
        (238, 238, 238),
        (60, 62, 66),
        (160, 164, 170),
        (200, 202, 206),
        (40, 42, 48),
        (176, 56, 52),
        (70, 92, 150),
    ]
    boxes = [(168, 84, 66), (82, 108, 146), (206, 204, 198), (120, 140, 110), (196, 150, 84), (150, 154, 160)]
    return Paints(
        grass=one((134, 140, 94), 12, 12, d.GRASS),
        dry=one((176, 164, 126), 9, 9, d.GRASS),
        field=some([(140, 146, 94), (176, 160, 114), (116, 130, 80), (150, 138, 100)], 9, 6, d.GRASS),
        soil=some([(202, 178, 156), (196, 180, 158)], 9, 8, d.SOIL),
        asphalt=some([(170, 174, 186), (158, 162, 174), (182, 184, 190), (140, 143, 152)], 7, 4, d.ASPHALT),
        road=one((177, 178, 184), 8, 4, d.ASPHALT),
        mark=one((226, 226, 222), 4, 3, d.ASPHALT),
        concrete=one((206, 203, 198), 7, 4, d.CONCRETE),
        gravel=one((192, 188, 180), 8, 7, d.CONCRETE),
        water=one((112, 126, 124), 16, 3, d.WATER),
        tree=some(green + autumn, 8, 17, d.TREE),
        car=some(cars, 6, 3, d.VEHICLE),
        trailer=some([(236, 236, 235), (222, 222, 222), (190, 192, 196), (70, 90, 130)], 5, 3, d.VEHICLE),
        roof_light=some([_WHITE, (236, 235, 233), (222, 222, 222), (226, 224, 218)], 6, 1.8, d.ROOF_LIGHT),
        roof_mid=some([_GREY, _TAN, _BLUE, (178, 180, 184), (205, 198, 186)], 8, 3, d.ROOF_LIGHT),
        roof_dark=some([_DARK, (128, 122, 116), (84, 86, 92)], 8, 4, d.ROOF_DARK),
        edge=one((176, 178, 186), 8, 4, d.ROOF_LIGHT),
        skylight=some([(176, 192, 206), (240, 241, 242)], 5, 2, d.ROOF_LIGHT),
        vent=one((120, 124, 132), 10, 6, d.ROOF_LIGHT),
        pv=some([(58, 72, 108), (46, 56, 84), (74, 88, 120)], 6, 4, d.ROOF_DARK),
        unit=some([(176, 184, 192), (196, 200, 203), (160, 168, 178), (212, 213, 212)], 7, 4, d.MACHINE),
        fan=some([(96, 106, 122), (78, 88, 104), (116, 126, 140)], 8, 4, d.MACHINE),
        rtu=some([(182, 186, 190), (206, 206, 204), (150, 156, 164)], 8, 4, d.MACHINE),
        genset=some([(212, 211, 206), (216, 206, 182), (186, 188, 190), (126, 150, 138)], 6, 2.5, d.MACHINE),
        house=some([(128, 122, 120), (146, 134, 124), (104, 104, 110), (160, 146, 136)], 7, 4, d.ROOF_DARK),
        container=some(boxes, 8, 3, d.VEHICLE),
    )
