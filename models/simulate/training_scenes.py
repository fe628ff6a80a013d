"""Training scenes: all kinds of places and of data centers among look-alikes, ground sampling distance 0.3 to 12 m.

In: a seed, a size and a GSD. Out: `Scene`. A third of the scenes contain no data center. Lots lie along curved
streets; some are large campuses cut out of the street network, and rivers, railways and motorways cross it. The use
of a lot depends on the kind of place. The lots of data centers are chosen first and independently of the use, so
position, size and roof do not give the class away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely

from overwatt.aoi.errors import ConfigError
from overwatt.models.simulate import commercial_buildings, data_centers, lookalikes, urban_buildings
from overwatt.models.simulate import drawing as d
from overwatt.models.simulate.camera import canvas_cells, photograph, random_view
from overwatt.models.simulate.lots import area_of, halves, lay_out
from overwatt.models.simulate.palette import PLACES, World, new_palette
from overwatt.models.simulate.scene import Scene, frame_scene
from overwatt.models.simulate.streets import Lot

GSD_RANGE_M = (0.3, 12.0)
NO_CENTER_SHARE = 1 / 3
"""Share of scenes without a data center, so that the network learns to find none (own choice)."""

Filler = Callable[[World, Lot], None]
FILLERS: dict[str, Filler] = {
    "warehouse": lookalikes.warehouse,
    "cold_store": lookalikes.cold_store,
    "factory": lookalikes.factory,
    "mall": commercial_buildings.mall,
    "big_box": commercial_buildings.big_box,
    "office": commercial_buildings.office,
    "hospital": commercial_buildings.hospital,
    "car_deck": urban_buildings.car_deck,
    "apartments": urban_buildings.apartments,
    "city_block": urban_buildings.city_block,
    "school": urban_buildings.school,
    "greenhouse": urban_buildings.greenhouses,
    "self_storage": urban_buildings.self_storage,
    "depot": urban_buildings.depot,
    "sheds": urban_buildings.sheds,
    "tank_farm": urban_buildings.tank_farm,
    "rail_yard": urban_buildings.rail_yard,
    "substation": urban_buildings.substation_alone,
    "container_yard": urban_buildings.container_yard,
    "houses": urban_buildings.housing,
    "field": urban_buildings.field,
    "forest": urban_buildings.forest,
    "bare": urban_buildings.bare,
    "pond": urban_buildings.pond,
    "open_parking": urban_buildings.open_parking,
    "solar_field": urban_buildings.solar_field,
}
OPEN = (
    "houses", "field", "forest", "bare", "pond", "open_parking", "solar_field", "container_yard", "rail_yard",
    "tank_farm", "substation",
)  # fmt: skip
"""Uses that may cover a lot of any size."""


@dataclass(frozen=True)
class _Place:
    """Block depths, range of lot widths, and weights of the uses at one kind of place (own choices)."""

    depths_m: tuple[float, ...]
    widths_m: tuple[float, float]
    weights: dict[str, float]


_INDUSTRY = {
    "warehouse": 6.0, "cold_store": 2.0, "factory": 3.5, "mall": 1.2, "big_box": 1.8, "office": 1.8, "hospital": 0.8,
    "car_deck": 0.7, "school": 0.4, "greenhouse": 0.3, "self_storage": 0.5, "depot": 0.8, "sheds": 1.2,
    "substation": 0.4, "container_yard": 0.4, "open_parking": 0.5, "solar_field": 0.2, "tank_farm": 0.3,
    "rail_yard": 0.2, "field": 1.2, "forest": 1.0, "bare": 0.9, "pond": 0.3, "houses": 0.4,
}  # fmt: skip


def _mix(**changes: float) -> dict[str, float]:
    """Return the weights of an industrial estate with some of them replaced."""
    return {**_INDUSTRY, **changes}


_PLACES = {
    "estate": _Place((110, 160, 220, 280), (80, 300), _INDUSTRY),
    "suburb": _Place(
        (75, 95, 130, 190), (70, 220),
        _mix(houses=6, mall=2, big_box=2.5, office=2.5, school=1.5, hospital=1.2, apartments=2, warehouse=2, factory=1),
    ),
    "forest": _Place((180, 260, 380), (160, 420), _mix(forest=9, field=2.5)),
    "farmland": _Place((200, 300, 420), (180, 460), _mix(field=10, forest=2, greenhouse=1.2, solar_field=0.7)),
    "desert": _Place((130, 220, 340), (120, 380), _mix(bare=7, solar_field=0.8, forest=0, pond=0.1, field=2)),
    "port": _Place((130, 200, 300), (110, 340), _mix(container_yard=4, tank_farm=3, rail_yard=1.2, pond=1.5)),
    "city": _Place(
        (55, 70, 95, 120), (55, 160),
        _mix(city_block=9, apartments=3, office=3, car_deck=1.6, hospital=1.2, school=1, warehouse=1.5, field=0),
    ),
}  # fmt: skip


def training_scene(seed: int, size_px: int, gsd_m: float, *, bands: str = "rgb") -> Scene:
    """Return a random scene with its truth.

    Args:
        seed: the same seed, size and GSD give the same scene.
        size_px: rows and columns.
        gsd_m: ground sampling distance, metres per pixel, 0.3 to 12.
        bands: 'rgb', the only choice.

    Raises:
        ConfigError: the GSD is outside the range, or `bands` is not 'rgb'.
    """
    low, high = GSD_RANGE_M
    if not low <= gsd_m <= high:
        raise ConfigError(f"gsd_m: {gsd_m} m cannot be simulated; give {low} to {high} m")
    if bands != "rgb":
        raise ConfigError(f"bands: '{bands}' cannot be simulated; give 'rgb'")
    rng = np.random.default_rng([seed, 11])
    # weights in the order of `PLACES`: estate, suburb, forest, farmland, desert, port, city
    place = str(rng.choice(PLACES, p=[0.28, 0.16, 0.1, 0.1, 0.1, 0.1, 0.16]))
    view = random_view(rng, gsd_m)
    canvas_m = gsd_m / canvas_cells(gsd_m, size_px)
    # shapes below 0.6 canvas cells are invisible; coarse scenes are large, so drop shapes below 1.9 cells to save time
    drawing = d.Drawing(finest_m=0.6 * canvas_m if gsd_m < 4 else 1.9 * canvas_m, lean=view.lean)
    w = World(drawing, new_palette(drawing, rng, place), rng, [], place, float(rng.choice([0.0, 0.0, 1.0, 3.0])))
    w.open_share = 0.4 if size_px * gsd_m < 600 else 1.0
    _build(w, size_px * gsd_m)
    optical = photograph(drawing, (size_px, size_px), gsd_m, view, rng)
    return frame_scene(w.things, optical, gsd_m, w.plant)


def _build(w: World, side_m: float) -> None:
    """Draw all lots of a scene."""
    place = _PLACES[w.place]
    layout = lay_out(w, side_m, place.depths_m, place.widths_m)
    lots = layout.lots
    chosen = _choose(w, lots, shapely.box(0, 0, side_m, side_m), layout.campuses)
    style, mixed = str(w.rng.choice(list(place.weights))), w.rng.random()
    made = 0
    for i, lot in enumerate(lots):
        if i in chosen and _center(w, lot, f"s{made + 1}"):
            made += 1
            continue
        # 15% of the scenes are monotonous: half of their lots have the same use
        fill(w, lot, style if mixed < 0.15 and style not in OPEN and w.chance(0.5) else None)


def _choose(w: World, lots: list[Lot], extent: shapely.Polygon, campuses: int) -> set[int]:
    """Choose the lots that data centers are tried on."""
    if not lots or w.chance(NO_CENTER_SHARE):
        return set()
    cover = np.array([area_of(lot).intersection(extent).area for lot in lots])
    whole = np.array([lot.width_m * lot.depth_m for lot in lots])
    # about half visible, or large in the picture: a site at the edge teaches little
    good = np.flatnonzero((cover > 0.45 * whole) | (cover > 0.2 * extent.area))
    if cover.max() == 0:
        return set()
    if len(good) == 0:
        good = np.array([int(cover.argmax())])
    # scenes with few, some or many sites
    wanted = max(1, int(w.rng.poisson(len(good) * float(w.rng.choice([0.05, 0.13, 0.26])))))
    weight = cover[good] * np.where(good < campuses, 1.5, 1.0)
    picked = w.rng.choice(good, min(wanted, len(good)), replace=False, p=weight / weight.sum())
    return {int(i) for i in picked}


def _center(w: World, lot: Lot, site_id: str) -> bool:
    """Build a data center of a random kind that suits the lot; return whether one of four tries fits."""
    kinds = list(data_centers.CENTER_KINDS)
    weights = np.array([data_centers.CENTER_KINDS[k] for k in kinds])
    # small or urban lots: mostly colocation and conversions; very large ones: campuses
    if w.place == "city" or min(lot.width_m, lot.depth_m) < 90:
        weights = weights * np.array([3.0 if k == "colocation" else 1.5 if k == "conversion" else 1.0 for k in kinds])
    if lot.width_m * lot.depth_m > 90_000:
        weights = weights * np.array(
            [3.0 if k in ("ai_campus", "hyperscale_hall", "air_handler_halls") else 1.0 for k in kinds]
        )
    for kind in w.rng.choice(kinds, 4, replace=False, p=weights / weights.sum()):
        if data_centers.build_center(w, lot, site_id, str(kind)):
            return True
    return False


def fill(w: World, lot: Lot, kind: str | None = None) -> None:
    """Build `kind` (random if None) on a lot; a large lot is split unless the use may cover any size (`OPEN`)."""
    if kind is None:
        weights = _PLACES[w.place].weights
        share = np.array([x * (w.open_share if k in OPEN else 1.0) for k, x in weights.items()])
        kind = str(w.rng.choice(list(weights), p=share / share.sum()))
    small = min(lot.width_m, lot.depth_m)
    if (
        kind not in OPEN
        and max(lot.width_m, lot.depth_m) > 150
        and (lot.width_m * lot.depth_m > 90_000 or w.chance(0.3))
    ):
        for half in halves(lot):
            fill(w, half, kind if w.chance(0.5) else None)
        return
    # large buildings need 48 m; smaller lots get a smaller use
    if small < 48 and kind in ("warehouse", "mall", "factory", "cold_store", "hospital", "big_box", "school", "depot"):
        kind = str(w.rng.choice(["sheds", "office", "open_parking", "field"])) if small > 36 else "field"
    FILLERS[kind](w, lot)
