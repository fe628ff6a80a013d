"""Pixels from a catalogue: STAC items on a UTM grid over the area, read tile by tile."""

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
from overwatt.workflows.config.catalogue import StacSettings
from overwatt.workflows.io.stac_api import SensorSource, covered_share, latest_coverage, load, search


@dataclass(frozen=True)
class StacSource:
    """Imagery of a STAC collection. Picklable: items travel as dicts, addresses unsigned."""

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
        """What stands for the content: id, address and time of update of every item."""
        return "|".join(
            f"{i['id']} {[a['href'] for a in i['assets'].values()]} {i['properties'].get('updated', '')}"
            for i in self.items
        )

    @property
    def date(self) -> str | None:
        """Day of the newest item; None where the items lie more than a month apart or have no date."""
        days = sorted(str(i["properties"].get("datetime") or "")[:10] for i in self.items)
        if not days or not days[0]:
            return None
        apart = datetime.fromisoformat(days[-1]) - datetime.fromisoformat(days[0])
        return days[-1] if apart <= timedelta(days=31) else None

    def read(self, y0: int, x0: int, y1: int, x1: int) -> tuple[np.ndarray, np.ndarray]:
        """Values (band, y, x) float32 0..1 and valid (y, x); pixels that are zero in all bands are not valid.

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
    """Search a catalogue and lay a grid of the network's ground sampling distance over the area.

    Raises:
        CatalogError: unreachable, or nothing found.
        GridError: the area is too large for the sensor.
        ModelContractError: the assets are not the card's bands.
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
        # pixels are averaged onto the network's own lattice when read; what the item states must allow that
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
