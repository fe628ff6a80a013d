"""Pixels from a catalogue: STAC items on a UTM grid over the area of interest, read tile by tile."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pystac
from affine import Affine
from odc.geo.geobox import GeoBox

from overwatt.aoi.area import Area, check_size
from overwatt.aoi.grid import grid_for
from overwatt.models.detector.card import ModelCard, check_fits
from overwatt.pipeline.imagery.scenes import covered_share, latest_coverage
from overwatt.workflows.config.catalogue import StacSettings
from overwatt.workflows.io.stac_api import SensorSource, load, search


@dataclass(frozen=True)
class StacSource:
    """Imagery of a STAC collection. Picklable: items are stored as dicts, with unsigned addresses.

    Attributes:
        name: collection and number of scenes.
        settings: of the catalogue.
        items: STAC items, newest first; the first one with a pixel is used.
        geobox: grid over the area, with the ground sampling distance of the network.
        gsd_m: that distance, metres.
        covered: share of the area inside the footprints of the items, 0..1.
        remote: always True.
    """

    name: str
    settings: StacSettings
    items: tuple[dict[str, Any], ...]
    geobox: GeoBox
    gsd_m: float
    covered: float
    remote: bool = True
    _parsed: list[pystac.Item] = field(default_factory=list, compare=False, repr=False)

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
        """Date of the newest item; None if the items span more than a month or have no date."""
        days = sorted(str(i["properties"].get("datetime") or "")[:10] for i in self.items)
        if not days or not days[0]:
            return None
        apart = datetime.fromisoformat(days[-1]) - datetime.fromisoformat(days[0])
        return days[-1] if apart <= timedelta(days=31) else None

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values (band, y, x) float32 0..1 and valid (y, x); pixels that are zero in all bands are not valid.

        Raises:
            AssetReadError: an image could not be read.
        """
        if not self._parsed:
            self._parsed.extend(pystac.Item.from_dict(i) for i in self.items)
        box = GeoBox((y1 - y0, x1 - x0), self.geobox.affine * Affine.translation(x0, y0), self.geobox.crs)
        data = load(
            self._parsed, box, self.settings.assets, sign=self.settings.sign,
            resampling="average", dtype="uint8", nodata=0, mosaic=True,
        )  # fmt: skip
        values = np.stack([data[a].isel(time=0).to_numpy() for a in self.settings.assets])
        valid = np.asarray(values.any(axis=0))
        return values.astype(np.float32) / 255.0, valid


def open_stac(settings: StacSettings, area: Area, card: ModelCard) -> StacSource:
    """Search a catalogue, and make a grid over the area with the ground sampling distance of the network.

    Raises:
        CatalogError: the catalogue is unreachable or has no items here.
        GridError: the area is too large at this ground sampling distance.
        ModelContractError: the assets are not the bands of the card, or the items are too fine or too coarse.
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
    items = latest_coverage(search(area, sensor), area)
    for item in items:
        # pixels are averaged onto the lattice of the network when read; the stated distance of the item must allow it
        gsd_m = float(item.properties.get("gsd") or card.gsd_m)
        check_fits(card, bands=settings.assets, gsd_m=gsd_m, units="display_uint8", source=f"item {item.id}")
    return StacSource(
        f"{settings.collection} ({len(items)} scenes)",
        settings,
        tuple(i.to_dict(transform_hrefs=False) for i in items),
        grid_for(area, card.gsd_m),
        card.gsd_m,
        covered_share(items, area),
    )
