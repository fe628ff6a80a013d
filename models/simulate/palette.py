"""Colours of places all over the world, for simulated scenes: from desert to port, from wet green to winter grey.

In: a drawing, a random generator and the kind of place. Out: `Palette`, the paints that all builders of one scene
share, and `World`, which draws roof colours building by building. Values are display counts before the camera's
tone curve; means were judged by eye on public aerial pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from overwatt.models.simulate import drawing as d

Rgb = tuple[float, float, float]

PLACES = ("estate", "suburb", "forest", "farmland", "desert", "port", "city")
CLIMATES: dict[str, tuple[Rgb, Rgb, Rgb]] = {
    # grass, dry ground, tree
    "lush": ((92, 118, 62), (150, 146, 104), (48, 70, 40)),
    "temperate": ((122, 132, 86), (170, 158, 122), (62, 78, 48)),
    "dry_summer": ((168, 154, 108), (190, 172, 132), (78, 84, 54)),
    "arid": ((194, 172, 138), (204, 182, 148), (96, 96, 68)),
    "winter": ((136, 128, 100), (150, 140, 118), (98, 92, 80)),
    "red_earth": ((134, 124, 78), (184, 124, 86), (64, 80, 44)),
    "boreal": ((104, 112, 74), (142, 134, 110), (40, 56, 42)),
}
# a repeated name is a weight
_CLIMATE_OF = {
    "estate": ("temperate", "lush", "dry_summer", "winter", "temperate", "red_earth"),
    "suburb": ("temperate", "lush", "dry_summer", "winter", "temperate"),
    "forest": ("lush", "temperate", "boreal", "boreal", "red_earth"),
    "farmland": ("temperate", "lush", "winter", "dry_summer"),
    "desert": ("arid", "arid", "dry_summer"),
    "port": ("temperate", "dry_summer", "winter", "lush"),
    "city": ("temperate", "dry_summer", "winter", "lush"),
}
# roof colour and its share; shares are own estimates from public aerial pictures
_ROOFS: tuple[tuple[Rgb, float], ...] = (
    ((232, 231, 229), 0.27),  # white membrane
    ((206, 207, 208), 0.17),  # light grey
    ((168, 170, 172), 0.15),  # mid grey
    ((196, 184, 160), 0.09),  # tan
    ((110, 112, 116), 0.08),  # dark grey
    ((70, 71, 76), 0.05),  # black
    ((134, 126, 116), 0.05),  # gravel
    ((120, 152, 184), 0.035),  # blue sheet
    ((122, 142, 118), 0.03),  # green
    ((156, 108, 86), 0.035),  # rust
    ((128, 106, 88), 0.03),  # brown
    ((222, 214, 196), 0.06),  # aged white
)


@dataclass(frozen=True)
class Palette:
    """Paint numbers of one scene, drawn once so that all its asphalt looks alike; arrays where shapes vary."""

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
    house_shade: np.ndarray
    container: np.ndarray
    wall: np.ndarray
    metal: np.ndarray
    dark: np.ndarray
    pad: np.ndarray
    rust: np.ndarray
    crown: np.ndarray
    climate: str = ""


@dataclass
class Ground:
    """What streets and open ground need: the drawing, its paints, the generator, the true objects so far."""

    drawing: d.Drawing
    paints: Palette
    rng: np.random.Generator
    things: list[d.Thing]
    plant: list[d.Thing] = field(default_factory=list, kw_only=True)
    """Machines and substations that belong to no data center's cooling: they are in the masks, not in the truth."""

    def pick(self, paints: np.ndarray, n: int | None = None, weights: list[float] | None = None) -> np.ndarray:
        """Return `n` random paint numbers of `paints`."""
        p = None if weights is None else np.array(weights) / np.sum(weights)
        return self.rng.choice(paints, size=n, p=p)


@dataclass
class World(Ground):
    """A `Ground` with the properties of the place; what builders on lots need."""

    place: str = "estate"
    white: float = 0.0
    """Extra weight of white roofs in this scene, as in a district built in one decade; 0 for the usual mix."""
    open_share: float = 1.0
    """Weight of lots without a large building; lower in small scenes, which would often show no building."""

    def chance(self, p: float) -> bool:
        """Return True with probability p."""
        return bool(self.rng.random() < p)

    def one(self, paints: np.ndarray) -> int:
        """Return one random paint number of `paints`."""
        return int(self.pick(paints))

    def uniform(self, low: float, high: float) -> float:
        """Return a uniform random number."""
        return float(self.rng.uniform(low, high))

    def roof(self) -> tuple[int, Rgb]:
        """Register a new roof colour and return its paint number and colour."""
        share = np.array([s for _, s in _ROOFS])
        # white membrane, light grey, aged white
        share[[0, 1, 11]] *= 1 + self.white
        mean = np.array(_ROOFS[int(self.rng.choice(len(_ROOFS), p=share / share.sum()))][0])
        rgb = self.shade_of(mean, 9.0, 4.0)
        return self.drawing.paint(rgb, self.uniform(1.5, 6.0), _material(rgb)), rgb

    def near(self, rgb: Rgb, shift: float, spread: float = 5.0, rough: float = 3.0) -> int:
        """Register a paint `shift` counts brighter than `rgb`."""
        tone = self.shade_of(np.array(rgb) + shift, spread, 2.0)
        return self.drawing.paint(tone, rough, _material(tone))

    def shade_of(self, mean: np.ndarray, sd: float, hue_sd: float) -> Rgb:
        """Return `mean` with random brightness (`sd`) and hue (`hue_sd`), within 14 to 246 counts."""
        rgb = np.clip(mean + self.rng.normal(0, sd) + self.rng.normal(0, hue_sd, 3), 14, 246)
        return float(rgb[0]), float(rgb[1]), float(rgb[2])

    def texture(self, strength: float = 1.0) -> d.Texture:
        """Draw the texture of a flat roof: membrane sheets, seams, stains, a slight brightness gradient."""
        rng = self.rng
        # width of membrane sheets and of sections laid at one time, metres
        sheet = float(rng.choice([3.0, 6.0, 12.0, 30.0, 60.0]))
        return d.Texture(
            int(rng.integers(1 << 31)),
            slope=(float(rng.normal(0, 5)) * strength, float(rng.normal(0, 5)) * strength),
            panel_m=(sheet, sheet * float(rng.uniform(1, 8))),
            panel_sd=float(rng.gamma(1.2, 1.8)) * strength,
            line_m=(float(rng.choice([0, 12.0, 25.0])), float(rng.choice([0, 3.0, 6.0, 15.0]))),
            line_wide_m=float(rng.uniform(0.1, 0.4)),
            line=float(rng.normal(-6, 9)) * strength,
            wave_m=float(rng.choice([0.0, 0.0, 1.2, 2.4])),
            wave=float(rng.uniform(1, 7)) * strength,
            stain_m=float(rng.uniform(5, 40)),
            stain_sd=float(rng.gamma(1.5, 2.6)) * strength,
        )

    def earth(self, strength: float = 1.0, rows_m: float = 0.0) -> d.Texture:
        """Draw the texture of bare or vegetated ground: worn patches, and crop rows every `rows_m` if not 0."""
        rng = self.rng
        return d.Texture(
            int(rng.integers(1 << 31)),
            slope=(float(rng.normal(0, 6)), float(rng.normal(0, 6))),
            stain_m=float(rng.uniform(10, 70)),
            stain_sd=float(rng.gamma(2.0, 3.2)) * strength,
            wave_m=rows_m,
            wave=float(rng.uniform(2, 9)) if rows_m else 0.0,
            panel_m=(80.0, 60.0),
            panel_sd=float(rng.gamma(1.0, 2.0)) * strength,
        )


def _material(rgb: Rgb) -> int:
    """Return the thermal material of a roof colour: light above a mean of 140 counts."""
    return d.ROOF_LIGHT if sum(rgb) > 420 else d.ROOF_DARK


def new_palette(drawing: d.Drawing, rng: np.random.Generator, place: str) -> Palette:
    """Register the paints of a scene for a kind of place; paint 0 is its open ground."""
    climate = str(rng.choice(_CLIMATE_OF[place]))
    grass, dry, tree = (np.array(c) for c in CLIMATES[climate])

    def some(means: Sequence[np.ndarray | Rgb], sd: float, rough: float, mat: int) -> np.ndarray:
        out = []
        for mean in means:
            rgb = np.clip(np.array(mean) + rng.normal(0, sd) + rng.normal(0, sd / 3, 3), 10, 248)
            out.append(drawing.paint((float(rgb[0]), float(rgb[1]), float(rgb[2])), rough, mat))
        return np.array(out)

    def one(mean: np.ndarray | Rgb, sd: float, rough: float, mat: int) -> int:
        return int(some([np.array(mean)], sd, rough, mat)[0])

    # asphalt from new (dark) to old (light); four tones per scene
    tar = float(rng.choice([88, 112, 136, 158, 176]))
    bluish = float(rng.normal(2, 4))
    tarmac = [(tar + s, tar + s + bluish / 2, tar + s + bluish) for s in (-22.0, -6.0, 8.0, 24.0)]
    cement = float(rng.uniform(172, 212))
    pads: list[Rgb] = [(cement, cement - 3, cement - 9), (204, 188, 158), (cement - 24, cement - 24, cement - 26)]
    leaf = [tree * f + rng.normal(0, 5, 3) for f in (0.72, 0.9, 1.0, 1.15, 1.3)]
    if climate == "winter":
        # bare crowns in winter
        leaf += [np.array([112.0, 104, 94]), np.array([88.0, 84, 76])]
    elif rng.random() < 0.15:
        # autumn colours in 15% of the other scenes
        leaf += [np.array([134.0, 100, 54]), np.array([120.0, 74, 50])]
    fields = [grass, grass * 0.84, dry, dry * 1.08, grass * np.array([1.12, 1.06, 0.85]), dry * 0.85]
    cars: list[Rgb] = [
        (236, 236, 236), (60, 62, 66), (160, 164, 170), (202, 204, 206), (38, 40, 46), (166, 56, 52), (66, 88, 144),
    ]  # fmt: skip
    boxes: list[Rgb] = [
        (166, 84, 64), (74, 102, 146), (208, 206, 200), (96, 128, 100), (192, 142, 78), (146, 150, 156), (120, 60, 56),
    ]  # fmt: skip
    light = float(rng.uniform(-28, 14))
    steel = [(192 + light, 196 + light, 199 + light), (218 + light, 219 + light, 218 + light)]
    palette = Palette(
        grass=one(grass, 9, float(rng.uniform(5, 13)), d.GRASS),
        dry=one(dry, 9, float(rng.uniform(5, 11)), d.GRASS),
        field=some(fields, 9, 6, d.GRASS),
        soil=some([dry * 1.08, dry * 0.95 + 8, dry * 0.8], 9, 8, d.SOIL),
        asphalt=some(tarmac, 6, float(rng.uniform(2.5, 6)), d.ASPHALT),
        road=one(tarmac[int(rng.integers(0, 4))], 8, 4, d.ASPHALT),
        mark=one((218, 218, 212), 8, 3, d.ASPHALT),
        concrete=one(pads[0], 8, 5, d.CONCRETE),
        gravel=one((176, 172, 164), 14, 8, d.CONCRETE),
        water=one(((58, 78, 82), (92, 108, 98), (36, 50, 58), (110, 118, 104))[int(rng.integers(4))], 10, 2.5, d.WATER),
        tree=some(leaf, 5, float(rng.uniform(10, 18)), d.TREE),
        car=some(cars, 6, 3, d.VEHICLE),
        trailer=some([(234, 234, 233), (216, 216, 216), (182, 186, 192), (78, 96, 132)], 6, 3, d.VEHICLE),
        roof_light=some([(232, 231, 229), (210, 210, 210), (222, 216, 202)], 8, 3, d.ROOF_LIGHT),
        roof_mid=some([(170, 172, 174), (196, 184, 160), (150, 156, 164), (178, 170, 158)], 9, 4, d.ROOF_LIGHT),
        roof_dark=some([(104, 106, 112), (84, 84, 88), (122, 112, 104)], 9, 4, d.ROOF_DARK),
        edge=one((184, 185, 186), 18, 4, d.ROOF_LIGHT),
        skylight=some([(176, 192, 206), (240, 241, 242), (140, 158, 172), (206, 210, 204)], 7, 2, d.ROOF_LIGHT),
        vent=one((122, 124, 128), 16, 6, d.ROOF_LIGHT),
        pv=some([(48, 60, 96), (38, 44, 66), (64, 76, 108)], 7, 4, d.ROOF_DARK),
        unit=some([*steel, (150, 156, 162), (112, 116, 120), (176, 168, 150)], 9, 4, d.MACHINE),
        fan=some([(62, 66, 72), (46, 48, 54), (92, 98, 106)], 8, 4, d.MACHINE),
        rtu=some([*steel, (158, 162, 166), (132, 134, 136), (186, 176, 156)], 9, 4, d.MACHINE),
        genset=some([*steel, (208, 196, 168), (176, 180, 184), (118, 138, 126), (92, 96, 100)], 7, 3, d.MACHINE),
        house=some(
            [(128, 120, 116), (150, 112, 94), (96, 96, 102), (166, 146, 128), (142, 92, 74), (176, 172, 168)],
            9, 5, d.ROOF_DARK,
        ),
        house_shade=np.array([]),
        container=some(boxes, 9, 3, d.VEHICLE),
        wall=some(
            [(150, 148, 144), (118, 114, 108), (176, 170, 160), (96, 98, 102), (140, 118, 100)], 10, 4, d.ROOF_DARK
        ),
        metal=some([(170, 174, 178), (206, 207, 206), (136, 140, 144)], 8, 3, d.MACHINE),
        dark=some([(52, 54, 58), (74, 76, 80), (96, 98, 100)], 7, 4, d.ROOF_DARK),
        pad=some(pads, 8, 5, d.CONCRETE),
        rust=some([(146, 98, 76), (120, 82, 66)], 8, 5, d.ROOF_DARK),
        crown=some([tree * f for f in (0.6, 1.35)], 5, 12, d.TREE),
        climate=climate,
    )  # fmt: skip
    # the slope of a roof that looks away from the sun
    shade = [
        drawing.paint((0.8 * r, 0.8 * g, 0.8 * b), *rest) for r, g, b, *rest in np.array(drawing.paints)[palette.house]
    ]
    return replace(palette, house_shade=np.array(shade))
