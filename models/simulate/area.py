"""The sample area: one simulated district with a registry that is wrong in four planted ways.

In: a seed. Out: `SampleArea`. The plan comes first, without a pixel: lots, powers, and where the four
planted discrepancies go. It is redrawn until nobody could take two of them for one facility.
"""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr

from aoi.errors import ConfigError
from models.simulate import centers, estate, programs
from models.simulate.render import naip_look
from models.simulate.scene import CENTRE_M, CRS, Scene, finish_with, new_ground
from models.simulate.streets import Ground, Lot, streets
from models.simulate.thermal import Source, surface_temperature

SHAPE_PX, GSD_M = (1500, 1800), 2.0
APART_M = 250.0
"""Least distance between the lots of two owners, so that campuses stay apart."""
EDGE_M = 160.0
GHOST_CLEAR_M, DISPLACED_M = 700.0, 2000.0
DISPLACED_CLEAR_M, DISPLACED_FROM_PLANTS_M = 500.0, 1200.0
JITTER_SD_M, STATED_ERROR_M = 15.0, 50.0
_TRIES = 400
_NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel", "Ivy", "Juniper")


@dataclass(frozen=True)
class SampleArea:
    """A simulated area.

    Attributes:
        scene: picture, masks and truth, 2 m.
        lst: (time, y, x) float32 kelvin, 30 m, NaN under cloud.
        registry: WGS84 points: id, name, operator, kind, it_mw, status, position_error_m, source, licence.
        planted: for 'undeclared', 'above_declared', 'not_seen', 'position_mismatch' the site_id and
            declared_id concerned, and what was done.
        seed: reproduces all of it.
    """

    scene: Scene
    lst: xr.DataArray
    registry: gpd.GeoDataFrame
    planted: dict[str, dict[str, object]]
    seed: int


@dataclass(frozen=True)
class _Site:
    lot: int
    program: programs.Program
    halls: list[programs.Hall]
    area: shapely.Polygon
    point: tuple[float, float]


@dataclass(frozen=True)
class _Plan:
    ground: Ground
    lots: list[Lot]
    sites: list[_Site]
    ghost_lot: int
    displaced: tuple[float, float]


_GHOST_M2_PER_MW = 650.0  # IT MW x 1.3 facility/IT over 2 kW per m2 of building, as the sites here have
_UNDECLARED, _ABOVE, _MISMATCH = 0, 1, 2
"""Places of the three planted sites in a plan's list."""


def sample_area(seed: int) -> SampleArea:
    """Return the simulated sample area of `seed` (3.6 x 3.0 km at 2 m, 7-9 data-center sites).

    Raises:
        ConfigError: no layout met every distance rule (a seed in thousands); take another seed.
    """
    for attempt in range(_TRIES):
        plan = _plan(np.random.default_rng([seed, attempt]))
        if plan is not None:
            return _build(plan, seed)
    raise ConfigError(f"sample area: seed {seed} gave no layout that meets the distance rules; use another seed")


def _plan(rng: np.random.Generator) -> _Plan | None:
    size = (SHAPE_PX[1] * GSD_M, SHAPE_PX[0] * GSD_M)
    g = new_ground(rng)
    lots = streets(g, size, (150.0, 200.0, 260.0, 340.0, 430.0), (120.0, 400.0))
    boxes = [lot.frame.box(0, 0, lot.width_m, lot.depth_m) for lot in lots]
    inner = shapely.box(EDGE_M, EDGE_M, size[0] - EDGE_M, size[1] - EDGE_M)
    usable = [i for i, box in enumerate(boxes) if inner.contains(box)]
    corner = [
        i for i in usable if abs(lots[i].frame.x / size[0] - 0.5) > 0.27 and abs(lots[i].frame.y / size[1] - 0.5) > 0.22
    ]
    if not corner:
        return None
    ghost = int(rng.choice(corner))
    ghost_at = shapely.Point(lots[ghost].frame.x, lots[ghost].frame.y)
    free = [i for i in usable if boxes[i].distance(ghost_at) >= GHOST_CLEAR_M + 20]
    sites: list[_Site] = []
    for number, it_mw in enumerate(_powers(rng)):
        site = _place(rng, f"site-{number + 1:02d}", it_mw, lots, boxes, free, sites)
        if site is None:
            return None
        sites.append(site)
    displaced = _displace(rng, sites, ghost_at, inner)
    return None if displaced is None else _Plan(g, lots, sites, ghost, displaced)


def _powers(rng: np.random.Generator) -> list[float]:
    """IT powers in MW; the first three are planted: undeclared, above declared, far from its declaration."""
    planted = [rng.uniform(102, 145), rng.uniform(45, 80), rng.uniform(11, 19)]
    others = np.exp(rng.uniform(np.log(10), np.log(120), int(rng.integers(4, 7))))
    return [float(p) for p in [*planted, *others]]


def _place(
    rng: np.random.Generator,
    site_id: str,
    it_mw: float,
    lots: list[Lot],
    boxes: list[shapely.Polygon],
    free: list[int],
    sites: list[_Site],
) -> _Site | None:
    plan = programs.program(rng, site_id, it_mw)
    for i in rng.permutation(free):
        if any(boxes[i].distance(s.area) < APART_M for s in sites):
            continue
        halls = programs.arrange(rng, lots[i], plan)
        if halls is not None:
            x, y = lots[i].frame.world(np.array([[h.u, h.v] for h in halls])).mean(axis=0)
            return _Site(int(i), plan, halls, boxes[i], (float(x), float(y)))
    return None


def _displace(
    rng: np.random.Generator, sites: list[_Site], ghost: shapely.Point, inner: shapely.Polygon
) -> tuple[float, float] | None:
    """Return a point 2 km from the mismatched site that is far from everything else, or None."""
    x, y = sites[_MISMATCH].point
    for angle in rng.permutation(np.linspace(0, 2 * np.pi, 120, endpoint=False)):
        at = shapely.Point(x + DISPLACED_M * np.cos(angle), y + DISPLACED_M * np.sin(angle))
        clear = all(s.area.distance(at) >= DISPLACED_CLEAR_M for s in sites)
        plants = min(at.distance(ghost), at.distance(sites[_UNDECLARED].area)) >= DISPLACED_FROM_PLANTS_M
        if clear and plants and inner.contains(at):
            return float(at.x), float(at.y)
    return None


def _build(plan: _Plan, seed: int) -> SampleArea:
    g, rng = plan.ground, plan.ground.rng
    taken = {site.lot: site for site in plan.sites}
    open_lots = [i for i in range(len(plan.lots)) if i not in taken and i != plan.ghost_lot]
    large = sorted(open_lots, key=lambda i: -plan.lots[i].width_m * plan.lots[i].depth_m)
    forced = dict(zip(large[:8:2], ["lake", "warehouse", "warehouse", "warehouse"], strict=False))
    forced[plan.ghost_lot] = "meadow"
    for i, lot in enumerate(plan.lots):
        if i in taken:
            centers.build(g, lot, taken[i].program, taken[i].halls)
        elif i in forced:
            estate.fill(g, lot, forced[i])
        else:
            rural = rng.random() < 0.55
            kind = str(rng.choice(["meadow", "wood", "meadow", "wood", "bare"])) if rural else None
            estate.fill(g, lot, kind, least_side_m=110.0)
    banks = {
        s.program.site_id: [t.outline for t in g.things if t.site_id == s.program.site_id and t.units]
        for s in plan.sites
    }
    scene, materials = finish_with(g, SHAPE_PX, GSD_M, naip_look(rng))
    sources = [Source(banks[s.program.site_id], s.program.facility_mw) for s in plan.sites]
    lst = surface_temperature(materials, GSD_M, sources, scene.transform, CRS, seed)
    halls = scene.truth[scene.truth["class"] == "data_center"]
    footprint_m2 = halls.geometry.area.groupby(halls["site_id"]).sum().to_dict()
    registry, planted = _register(plan, rng, footprint_m2)
    return SampleArea(scene, lst, registry, planted, seed)


def _register(
    plan: _Plan, rng: np.random.Generator, footprint_m2: dict[str, float]
) -> tuple[gpd.GeoDataFrame, dict[str, dict[str, object]]]:
    rows: list[tuple[str, float, tuple[float, float]]] = []
    for k, site in enumerate(plan.sites):
        if k == _UNDECLARED:
            continue
        share = 1 / 3 if k == _ABOVE else float(rng.uniform(0.9, 1.1))
        jitter = rng.normal(0, JITTER_SD_M, 2)
        at = plan.displaced if k == _MISMATCH else (site.point[0] + jitter[0], site.point[1] + jitter[1])
        rows.append((site.program.site_id, site.program.it_mw * share, at))
    ghost = plan.lots[plan.ghost_lot].frame
    rows.append(("", float(rng.uniform(36, 40)), (ghost.x, ghost.y)))
    rows = [rows[i] for i in rng.permutation(len(rows))]
    declared = {site: f"declared-{i + 1:02d}" for i, (site, _, _) in enumerate(rows)}
    west, north = CENTRE_M[0] - SHAPE_PX[1] * GSD_M / 2, CENTRE_M[1] + SHAPE_PX[0] * GSD_M / 2
    points = gpd.GeoSeries([shapely.Point(west + x, north - y) for _, _, (x, y) in rows], crs=CRS).to_crs("EPSG:4326")
    n = len(rows)
    columns = {
        "id": list(declared.values()),
        "name": [f"{_NAMES[i % len(_NAMES)]} (simulated)" for i in range(n)],
        "operator": [f"Simulated operator {chr(65 + i)}" for i in range(n)],
        "kind": ["facility"] * n,
        "it_mw": [round(mw, 1) for _, mw, _ in rows],
        "footprint_m2": [round(footprint_m2[site] if site else mw * _GHOST_M2_PER_MW, -2) for site, mw, _ in rows],
        "status": ["operational"] * n,
        "position_error_m": [STATED_ERROR_M] * n,
        "source": ["simulated registry"] * n,
        "licence": ["CC0, simulated"] * n,
    }
    ids = [plan.sites[k].program.site_id for k in (_UNDECLARED, _ABOVE, _MISMATCH)]
    planted: dict[str, dict[str, object]] = {
        "undeclared": {"site_id": ids[0], "declared_id": None, "what": "left out of the registry"},
        "above_declared": {"site_id": ids[1], "declared_id": declared[ids[1]], "what": "declared at a third"},
        "position_mismatch": {
            "site_id": ids[2],
            "declared_id": declared[ids[2]],
            "what": "declared 2.0 km away",
        },
        "not_seen": {"site_id": None, "declared_id": declared[""], "what": "declared on a field"},
    }
    return gpd.GeoDataFrame(columns, geometry=points, crs="EPSG:4326"), planted
