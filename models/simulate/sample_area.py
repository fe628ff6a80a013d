"""The sample area: one simulated district whose registry has four planted discrepancies.

In: a seed. Out: `SampleArea`. Streets and data centers are drawn first, with the parts of the training scenes; the
equipment gives each site's power, and the powers decide which site is omitted, which is declared too low and which
is declared at a wrong position. Layouts are redrawn until no two of the four can be confused with one facility; then
the other lots are filled.
"""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr

from overwatt.aoi.errors import ConfigError
from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.camera import View, photograph
from overwatt.models.simulate.data_centers import build_center
from overwatt.models.simulate.lots import area_of, lay_out
from overwatt.models.simulate.palette import World, new_palette
from overwatt.models.simulate.render import paint
from overwatt.models.simulate.scene import CENTRE_M, CRS, Scene, frame_scene
from overwatt.models.simulate.streets import Lot
from overwatt.models.simulate.thermal import Source, surface_temperature
from overwatt.models.simulate.training_scenes import fill

SHAPE_PX, GSD_M, CELLS = (1500, 1800), 2.0, 2
"""Rows and columns; metres per pixel; canvas cells along one pixel."""
APART_M = 250.0
"""Minimum distance between the lots of two owners, so that campuses stay separate."""
EDGE_M = 160.0
"""Minimum distance of data-center lots and of the misplaced declaration from the edge of the picture."""
GHOST_CLEAR_M, DISPLACED_M = 700.0, 2000.0
DISPLACED_CLEAR_M, DISPLACED_FROM_PLANTS_M = 500.0, 1200.0
"""Clear distance around the declaration without a site; offset of the misplaced declaration, and its clear distances
to all sites and to the other planted records (own choice: no other record is a plausible match)."""
JITTER_SD_M, STATED_ERROR_M = 15.0, 50.0
"""Position error of the registry, per axis, and the position error that it states, metres."""
SITES = (7, 10)
"""Minimum and maximum number of data-center sites."""
LEAST_UNDECLARED_MW, LEAST_ABOVE_MW, MISMATCH_MW = 90.0, 40.0, (10.0, 40.0)
"""IT MW: minimum of the omitted site, minimum of the site declared too low, range of the misplaced site."""
LARGEST_MW, LEAST_M2, DENSITY_KW_PER_M2 = 240.0, 4000.0, (2.5, 5.0)
"""Maximum IT power of a site; minimum footprint; range of IT power per square metre of footprint."""
GHOST_SHARE = (0.27, 0.33)
"""IT MW of the declaration without a site, as a share of the undeclared site's: too different to be matched."""
_GHOST_M2_PER_MW = 650.0
"""Declared footprint per IT MW: 1.3 facility / IT divided by 2 kW facility power per m2 of building."""
RURAL_SHARE = 0.55
"""Share of the lots without a data center that carry no large building."""
_RURAL = {"field": 0.35, "forest": 0.3, "houses": 0.2, "bare": 0.1, "pond": 0.05}
ZONES, OWN_USE_SHARE = 27, 0.3
"""Zones of one use, some 600 m across; share of the lots whose use does not follow their zone (own choices)."""
_KINDS = {"hyperscale_hall": 3.0, "ai_campus": 2.0, "penthouse_rows": 2.0, "colocation": 1.0}
"""Kinds with visible rows of machines, and their weights: these are easier to detect."""
_TRIES = 400
_NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel", "Ivy", "Juniper")


@dataclass(frozen=True)
class SampleArea:
    """A simulated area.

    Attributes:
        scene: picture, masks and truth at 2 m.
        lst: (time, y, x) float32 kelvin, 30 m, NaN under cloud.
        registry: WGS84 points: id, name, operator, kind, it_mw, status, position_error_m, source, licence.
        planted: for 'undeclared', 'above_declared', 'not_seen', 'position_mismatch' the site_id and
            declared_id concerned, and what was done.
        seed: seed that reproduces the area.
    """

    scene: Scene
    lst: xr.DataArray
    registry: gpd.GeoDataFrame
    planted: dict[str, dict[str, object]]
    seed: int


@dataclass(frozen=True)
class _Site:
    site_id: str
    lot: int
    area: shapely.Polygon
    point: tuple[float, float]
    it_mw: float
    facility_mw: float
    footprint_m2: float
    machines: list[shapely.Polygon]


@dataclass(frozen=True)
class _Plan:
    world: World
    view: View
    lots: list[Lot]
    sites: list[_Site]
    undeclared: _Site
    above: _Site
    mismatch: _Site
    displaced: tuple[float, float]
    ghost_lot: int


def sample_area(seed: int) -> SampleArea:
    """Return the simulated sample area of `seed` (3.6 x 3.0 km at 2 m, 7-10 data-center sites).

    Raises:
        ConfigError: no layout met all distance rules (about one seed in thousands); use another seed.
    """
    for attempt in range(_TRIES):
        plan = _plan(np.random.default_rng([seed, attempt]))
        if plan is not None:
            return _build(plan, seed)
    raise ConfigError(f"sample area: seed {seed} gave no layout that meets the distance rules; use another seed")


def _plan(rng: np.random.Generator) -> _Plan | None:
    """Draw streets and data centers and choose the four planted records; None if the rules cannot be met."""
    size = (SHAPE_PX[1] * GSD_M, SHAPE_PX[0] * GSD_M)
    place, view = str(rng.choice(["estate", "suburb"])), _view(rng)
    drawing = d.Drawing(finest_m=0.6 * GSD_M / CELLS, lean=view.lean)
    w = World(drawing, new_palette(drawing, rng, place), rng, [], place, float(rng.choice([0.0, 1.0])))
    lots = lay_out(w, max(size), (150, 200, 260, 340), (120, 360)).lots
    boxes = [area_of(lot) for lot in lots]
    inner = shapely.box(EDGE_M, EDGE_M, size[0] - EDGE_M, size[1] - EDGE_M)
    usable = [i for i, box in enumerate(boxes) if inner.contains(box) and min(lots[i].width_m, lots[i].depth_m) > 90]
    corner = [
        i for i in usable if abs(lots[i].frame.x / size[0] - 0.5) > 0.27 and abs(lots[i].frame.y / size[1] - 0.5) > 0.22
    ]
    if not corner:
        return None
    ghost = int(rng.choice(corner))
    ghost_at = shapely.Point(lots[ghost].frame.x, lots[ghost].frame.y)
    free = [i for i in usable if boxes[i].distance(ghost_at) >= GHOST_CLEAR_M + 20]
    sites = _sites(w, lots, boxes, free)
    # the largest site is omitted, the second is declared at a sixth, a modest one is misplaced
    by_power = sorted(sites, key=lambda s: -s.it_mw)
    if len(sites) < SITES[0] or by_power[0].it_mw < LEAST_UNDECLARED_MW or by_power[1].it_mw < LEAST_ABOVE_MW:
        return None
    low, high = MISMATCH_MW
    modest = [s for s in by_power[2:] if low <= s.it_mw <= high]
    # prefer the site whose footprint is least like the others: its misplaced record fits no other site
    for site in sorted(modest, key=lambda s: -_unlike(s, sites)):
        at = _displace(rng, site, sites, by_power[0], ghost_at, inner)
        if at is not None:
            return _Plan(w, view, lots, sites, by_power[0], by_power[1], site, at, ghost)
    return None


def _view(rng: np.random.Generator) -> View:
    """Draw a view like a bright public aerial picture: morning sun, bluish shadows, nearly saturated roofs."""
    return View(
        sun_azimuth_deg=float(rng.uniform(125, 175)),
        sun_elevation_deg=float(rng.uniform(42, 55)),
        shade=(0.5, 0.53, 0.6),
        lean=(float(rng.normal(0, 0.04)), float(rng.normal(0, 0.04))),
        gain=(1.0, 1.0, 1.0),
        saturation=0.9,
        gamma=1.0,
        lift=0.0,
        haze=0.03,
        haze_rgb=(185.0, 190.0, 200.0),
        blur_px=0.5,
        sharpen=0.4,
        soften=1.0,
        noise=1.5,
        grain=0.8,
        ceiling=240.0,
        shift_px=(0.0, 0.0, 0.0, 0.0),
        jpeg_quality=0,
        seam=False,
        labels=0,
    )


def _sites(w: World, lots: list[Lot], boxes: list[shapely.Polygon], free: list[int]) -> list[_Site]:
    """Build data centers on lots at least `APART_M` apart; larger lots are more likely to come first."""
    wanted = int(w.rng.integers(SITES[0], SITES[1] + 1))
    kinds, weights = list(_KINDS), np.array(list(_KINDS.values()))
    room = np.array([boxes[i].area for i in free])
    sites: list[_Site] = []
    for i in w.rng.choice(free, len(free), replace=False, p=room / room.sum()):
        if len(sites) == wanted:
            break
        if any(boxes[i].distance(s.area) < APART_M for s in sites):
            continue
        site_id = f"site-{len(sites) + 1:02d}"
        things, plant, shapes = len(w.things), len(w.plant), len(w.drawing.shapes)
        for kind in w.rng.choice(kinds, 4, p=weights / weights.sum()):
            site = None
            if build_center(w, lots[i], site_id, str(kind)):
                site = _site(site_id, int(i), boxes[i], w.things[things:])
            if site is not None and _usual(site):
                sites.append(site)
                break
            del w.things[things:], w.plant[plant:], w.drawing.shapes[shapes:]
    return sites


def _usual(site: _Site) -> bool:
    """Return whether power density, power and footprint are in the usual range."""
    low, high = DENSITY_KW_PER_M2
    dense = low <= site.it_mw * 1000 / site.footprint_m2 <= high
    return dense and site.it_mw <= LARGEST_MW and site.footprint_m2 >= LEAST_M2


def _unlike(site: _Site, sites: list[_Site]) -> float:
    """Return the smallest |ln ratio| between the footprint of a site and that of any other site."""
    return min(abs(float(np.log(site.footprint_m2 / s.footprint_m2))) for s in sites if s is not site)


def _site(site_id: str, lot: int, area: shapely.Polygon, things: list[d.Thing]) -> _Site:
    halls = [t for t in things if t.category == "data_center"]
    banks = [t.outline for t in things if t.units]
    footprint = np.array([t.outline.area for t in halls])
    # mean of the halls' centroids, weighted by area
    x, y = footprint @ np.array([t.outline.centroid.coords[0] for t in halls]) / footprint.sum()
    return _Site(
        site_id,
        lot,
        area,
        (float(x), float(y)),
        sum(t.it_mw for t in halls),
        sum(t.facility_mw for t in halls),
        float(footprint.sum()),
        banks or [t.outline for t in halls],
    )


def _displace(
    rng: np.random.Generator,
    site: _Site,
    sites: list[_Site],
    undeclared: _Site,
    ghost: shapely.Point,
    inner: shapely.Polygon,
) -> tuple[float, float] | None:
    """Return a point 2 km from `site` that keeps all clear distances, or None."""
    x, y = site.point
    for angle in rng.permutation(np.linspace(0, 2 * np.pi, 120, endpoint=False)):
        at = shapely.Point(x + DISPLACED_M * np.cos(angle), y + DISPLACED_M * np.sin(angle))
        clear = all(s.area.distance(at) >= DISPLACED_CLEAR_M for s in sites)
        plants = min(at.distance(ghost), at.distance(undeclared.area)) >= DISPLACED_FROM_PLANTS_M
        if clear and plants and inner.contains(at):
            return float(at.x), float(at.y)
    return None


def _build(plan: _Plan, seed: int) -> SampleArea:
    """Fill the other lots, take the picture, and simulate temperatures and registry."""
    w = plan.world
    registry, planted = _register(plan, w.rng)
    taken = {site.lot for site in plan.sites}
    for i, (lot, use) in enumerate(zip(plan.lots, _uses(w, plan.lots), strict=True)):
        if i not in taken:
            fill(w, lot, "field" if i == plan.ghost_lot else use)
    optical = photograph(w.drawing, SHAPE_PX, GSD_M, plan.view, w.rng, cells=CELLS)
    scene = frame_scene(w.things, optical, GSD_M, w.plant)
    ids, _, _ = paint(w.drawing, SHAPE_PX, GSD_M)
    materials = np.array([p[4] for p in w.drawing.paints], dtype=np.uint8)[ids]
    sources = [Source(site.machines, site.facility_mw) for site in plan.sites]
    lst = surface_temperature(materials, GSD_M, sources, scene.transform, CRS, seed)
    return SampleArea(scene, lst, registry, planted, seed)


def _uses(w: World, lots: list[Lot]) -> list[str | None]:
    """Draw the use of each lot, None for a building: most lots are used like the zone in which they lie."""
    kinds: list[str | None] = [*_RURAL, None]
    p = np.array([*(RURAL_SHARE * share for share in _RURAL.values()), 1 - RURAL_SHARE])
    zones = w.rng.uniform(0, 1, (ZONES, 2)) * [SHAPE_PX[1] * GSD_M, SHAPE_PX[0] * GSD_M]
    # each use has its share of the zones, so that areas do not differ much; ponds and bare ground do not form zones
    wide = p * np.array([kind not in ("bare", "pond") for kind in kinds])
    of_zone = w.rng.permutation(np.searchsorted(np.cumsum(wide / wide.sum()), (np.arange(ZONES) + 0.5) / ZONES))
    centre = np.array([(lot.frame.x, lot.frame.y) for lot in lots])
    nearest = np.hypot(*(centre[:, None] - zones).T).argmin(0)
    own = w.rng.choice(len(p), len(lots), p=p)
    use = np.where(w.rng.random(len(lots)) < OWN_USE_SHARE, own, of_zone[nearest])
    return [kinds[k] for k in use]


def _register(plan: _Plan, rng: np.random.Generator) -> tuple[gpd.GeoDataFrame, dict[str, dict[str, object]]]:
    """Return the registry with its four discrepancies, and the record of what was planted."""
    rows: list[tuple[str, float, float, tuple[float, float]]] = []
    for site in plan.sites:
        if site is plan.undeclared:
            continue
        # correct declarations are within 10% of the true power
        share = 1 / 6 if site is plan.above else float(rng.uniform(0.9, 1.1))
        jitter = rng.normal(0, JITTER_SD_M, 2)
        at = plan.displaced if site is plan.mismatch else (site.point[0] + jitter[0], site.point[1] + jitter[1])
        rows.append((site.site_id, site.it_mw * share, site.footprint_m2, at))
    ghost, ghost_mw = plan.lots[plan.ghost_lot].frame, plan.undeclared.it_mw * float(rng.uniform(*GHOST_SHARE))
    rows.append(("", ghost_mw, ghost_mw * _GHOST_M2_PER_MW, (ghost.x, ghost.y)))
    rows = [rows[i] for i in rng.permutation(len(rows))]
    declared = {site_id: f"declared-{i + 1:02d}" for i, (site_id, *_) in enumerate(rows)}
    west, north = CENTRE_M[0] - SHAPE_PX[1] * GSD_M / 2, CENTRE_M[1] + SHAPE_PX[0] * GSD_M / 2
    points = gpd.GeoSeries([shapely.Point(west + x, north - y) for *_, (x, y) in rows], crs=CRS).to_crs("EPSG:4326")
    n = len(rows)
    columns = {
        "id": list(declared.values()),
        "name": [f"{_NAMES[i % len(_NAMES)]} (simulated)" for i in range(n)],
        "operator": [f"Simulated operator {chr(65 + i)}" for i in range(n)],
        "kind": ["facility"] * n,
        "it_mw": [round(mw, 1) for _, mw, _, _ in rows],
        "footprint_m2": [round(m2, -2) for _, _, m2, _ in rows],
        "status": ["operational"] * n,
        "position_error_m": [STATED_ERROR_M] * n,
        "source": ["simulated registry"] * n,
        "licence": ["CC0, simulated"] * n,
    }
    ids = [site.site_id for site in (plan.undeclared, plan.above, plan.mismatch)]
    planted: dict[str, dict[str, object]] = {
        "undeclared": {"site_id": ids[0], "declared_id": None, "what": "left out of the registry"},
        "above_declared": {"site_id": ids[1], "declared_id": declared[ids[1]], "what": "declared at a sixth"},
        "position_mismatch": {
            "site_id": ids[2],
            "declared_id": declared[ids[2]],
            "what": "declared 2.0 km away",
        },
        "not_seen": {"site_id": None, "declared_id": declared[""], "what": "declared on a field"},
    }
    return gpd.GeoDataFrame(columns, geometry=points, crs="EPSG:4326"), planted
