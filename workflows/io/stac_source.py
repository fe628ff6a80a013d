"""Pixels from a catalogue: STAC items on a UTM grid over the area of interest, read tile by tile."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pystac
from odc.geo.geobox import GeoBox

from overwatt.aoi.acquisition import possible_day
from overwatt.aoi.area import Area, check_size
from overwatt.aoi.errors import AssetReadError, OverwattError
from overwatt.aoi.grid import grid_for
from overwatt.models.detector.card import ModelCard, check_fits
from overwatt.pipeline.imagery.scenes import covered_share, latest_coverage
from overwatt.workflows.config.catalogue import StacSettings
from overwatt.workflows.io.scenes import Scene, check_scene, mosaic, places_of, scene_of
from overwatt.workflows.io.stac_api import SensorSource, search

log = logging.getLogger(__name__)

_HEADERS_AT_ONCE = 8  # files opened at once when items are checked; own choice


@dataclass(frozen=True)
class StacSource:
    """Imagery of a STAC collection. Picklable: items are stored as dicts, with unsigned addresses.

    Attributes:
        name: collection and number of scenes.
        settings: of the catalogue.
        card: of the weights.
        items: STAC items, newest first; the first one that shows a pixel is used.
        geobox: grid over the area, with the ground sampling distance of the network.
        gsd_m: that distance, metres.
        covered: share of the area inside the footprints of the items, 0..1.
        left_out: items that do not fit the weights, with the reason.
        remote: always True.
    """

    name: str
    settings: StacSettings
    card: ModelCard
    items: tuple[dict[str, Any], ...]
    geobox: GeoBox
    gsd_m: float
    covered: float
    left_out: tuple[str, ...] = ()
    remote: bool = True
    _scenes: dict[str, Scene] = field(default_factory=dict, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the grid."""
        return int(self.geobox.shape[0]), int(self.geobox.shape[1])

    @property
    def sha256(self) -> str:
        """Identifier of the content: id, addresses and time of update of every item, not a hash."""
        return "|".join(
            f"{i['id']} {[a['href'] for a in i['assets'].values()]} {i['properties'].get('updated', '')}"
            for i in self.items
        )

    @property
    def date(self) -> str | None:
        """Date of the newest item; None if the items span more than a month, or if one has no possible date."""
        stated = [str(i["properties"].get("datetime") or "")[:10] for i in self.items]
        if not stated or not all(stated):
            return None
        days = sorted(map(date.fromisoformat, stated))
        if not all(map(possible_day, days)):
            return None
        return days[-1].isoformat() if days[-1] - days[0] <= timedelta(days=31) else None

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values (band, y, x) float32 0..1 and valid (y, x) of a window of the grid.

        Raises:
            AssetReadError: a file could not be read, or does not fit the weights.
        """
        scenes = [self._scene(item) for item in self.items]
        pixels, valid = mosaic(scenes, (y0, x0, y1, x1), self.gsd_m, len(self.card.bands))
        return pixels.astype(np.float32) / 255.0, valid

    def _scene(self, item: dict[str, Any]) -> Scene:
        """Return the scene of an item; it is opened here if that failed when the run began."""
        if item["id"] not in self._scenes:
            parsed = pystac.Item.from_dict(item)
            try:
                self._scenes[item["id"]] = _opened(parsed, self.settings, self.card, self.geobox)
            except AssetReadError:
                raise
            except OverwattError as error:
                raise AssetReadError(str(error)) from error
        return self._scenes[item["id"]]


def open_stac(settings: StacSettings, area: Area, card: ModelCard) -> StacSource:
    """Search a catalogue, open the newest items that cover the area, and make a grid over it.

    An item that does not fit the weights (a band is missing, another type, pixels too fine or too coarse) is left out,
    and older ones may take its place. The grid has the ground sampling distance of the network, or that of the finest
    item if all are coarser.

    Raises:
        CatalogError: the catalogue is unreachable, or has no items here that hold the bands.
        GridError: the area is too large at this ground sampling distance.
        ModelContractError: the assets are not the bands of the card, or no item fits the weights.
    """
    check_size(area, card.gsd_m)
    sensor = SensorSource(
        settings.url,
        settings.collection,
        settings.assets,
        settings.sign,
        settings.datetime,
        settings.max_cloud,
    )
    found = search(area, sensor)
    if not any(a not in card.bands and any(a in i.assets for i in found) for a in settings.assets):
        check_fits(card, bands=settings.assets, gsd_m=card.gsd_m, units=card.units, source="imagery.stac.assets")
    box = grid_for(area, card.gsd_m)
    items, scenes, left_out = _fitting(found, area, settings, card, box)
    finest = min((s.gsd_m for s in scenes.values()), default=card.gsd_m)
    gsd_m = card.gsd_m
    if finest > card.gsd_m * 1.01:  # never upsample all of it; 1%: map scales differ from the ground by as much
        gsd_m = float(f"{finest:.3g}")
        box, scenes = grid_for(area, gsd_m), {}
    for text in left_out:
        log.warning("left out: %s", text)
    return StacSource(
        f"{settings.collection} ({len(items)} scenes)",
        settings,
        card,
        tuple(i.to_dict(transform_hrefs=False) for i in items),
        box,
        gsd_m,
        covered_share(items, area),
        tuple(left_out),
        _scenes=scenes,
    )


def _fitting(
    found: list[pystac.Item], area: Area, settings: StacSettings, card: ModelCard, box: GeoBox
) -> tuple[list[pystac.Item], dict[str, Scene], list[str]]:
    """Return the newest fitting items that cover the area, their scenes by id, and why others were left out.

    An item whose files cannot be opened now stays: its tiles are tried again, and fail by name.
    """
    scenes: dict[str, Scene] = {}
    unfit: dict[str, OverwattError] = {}
    tried: set[str] = set()
    while True:
        chosen = latest_coverage([i for i in found if i.id not in unfit], area)
        new = [i for i in chosen if i.id not in tried]
        if not new:
            break
        with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
            for item, result in zip(new, pool.map(lambda i: _tried(i, settings, card, box), new), strict=True):
                tried.add(item.id)
                if isinstance(result, Scene):
                    scenes[item.id] = result
                elif not isinstance(result, AssetReadError):
                    unfit[item.id] = result
    if not chosen:
        raise next(iter(unfit.values()))
    return chosen, scenes, [str(e) for e in unfit.values()]


def _tried(item: pystac.Item, settings: StacSettings, card: ModelCard, box: GeoBox) -> Scene | OverwattError:
    try:
        return _opened(item, settings, card, box)
    except OverwattError as error:
        log.debug("item %s: %s", item.id, error)
        return error


def _opened(item: pystac.Item, settings: StacSettings, card: ModelCard, box: GeoBox) -> Scene:
    scene = scene_of(item, places_of(item, card.bands, settings.assets), box, settings.sign)
    check_scene(scene, card)
    return scene
