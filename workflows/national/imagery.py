"""Pixels of one training tile from a STAC catalogue.

In: a planned tile and where imagery comes from. Out: display values and their validity on a
UTM grid, and which item they come from. The newest item that shows the whole tile is taken; where
none does, the newest ones that together show most of it. Only the tile's window is read, at the
moment of the call, with a signature made for it; a read that fails is tried again with a fresh
search, because some catalogues hand out addresses that expire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pystac
import rasterio
import stamina
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyproj import CRS, Transformer

from overwatt.aoi.area import Area
from overwatt.aoi.errors import AssetReadError, CatalogError
from overwatt.models.training.sampling_design import Cut
from overwatt.workflows.io.stac_api import ATTEMPTS, SensorSource, covered_share, latest_coverage, load, search

# Footprints in degrees have straight edges and the tile's do not: 0.1% is a pixel or two of a tile's edge.
_WHOLE = 0.999
# An item this much coarser than the tile's grid would be blown up; NAIP states 0.3, 0.6 or 1.
_COARSER = 1.25
_ASK_AGAIN = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/http"}  # GDAL remembers that an address failed
_EO_EXTENSION = "https://stac-extensions.github.io/eo/v1.1.0/schema.json"
RGB = ("red", "green", "blue")


class ImagerySource(BaseModel):
    """Where pixels come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="address of the STAC API")
    collection: str = Field(default="naip", description="collection to search")
    asset: str = Field(default="image", description="asset that holds the bands")
    bands: tuple[str, ...] = Field(
        default=("red", "green", "blue", "nir"), min_length=1, description="the asset's bands, in its order"
    )
    sign: Literal["none", "planetary_computer"] = Field(default="none", description="how addresses are signed")
    datetime: str | None = Field(default=None, description="date range, as STAC writes it")
    gsd_m: float | None = Field(default=None, gt=0.05, le=30, description="resampled to; the item's own if absent")
    source_gsd_m: float = Field(default=0.6, gt=0, description="the items' usual distance; for the plan's bytes only")
    block_px: int = Field(default=512, ge=16, description="side of the files' blocks; for the plan's bytes only")
    licence: str = Field(default="US public domain", description="kept with every tile")
    attribution: str = Field(default="USDA Farm Production and Conservation, NAIP", description="the same")

    @model_validator(mode="after")
    def _colours(self) -> ImagerySource:
        if missing := [b for b in RGB if b not in self.bands]:
            raise ValueError(f"imagery.bands: '{missing[0]}' is missing; tiles hold red, green and blue")
        return self

    @property
    def sensor(self) -> SensorSource:
        """The catalogue stage's own description."""
        return SensorSource(self.url, self.collection, (self.asset,), self.sign, self.datetime)


@dataclass(frozen=True)
class TilePixels:
    """One tile's imagery.

    Attributes:
        optical: (3, y, x) uint8, red, green, blue as display values; zero where not valid.
        valid: (y, x) bool.
        geobox: its grid.
        items: ids of the items it shows, the one on top first.
        hrefs: their addresses, unsigned.
        date: of the item on top, ISO 8601.
    """

    optical: np.ndarray
    valid: np.ndarray
    geobox: GeoBox
    items: tuple[str, ...]
    hrefs: tuple[str, ...]
    date: str


def fetch(cut: Cut, source: ImagerySource) -> TilePixels:
    """Search and read one tile.

    Raises:
        CatalogError: nothing found, no such asset, or no item that is fine enough.
        AssetReadError: the image could not be read, after `ATTEMPTS` attempts.
    """
    for attempt in stamina.retry_context(
        on=AssetReadError, attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=5.0, wait_jitter=0.5
    ):
        with attempt, rasterio.Env(**(_ASK_AGAIN if attempt.num > 1 else {})):
            return _read(cut, source)
    raise AssertionError("unreachable: the last attempt returns or raises")


def items_for(cut: Cut, source: ImagerySource) -> list[pystac.Item]:
    """Return the items to read, the one on top first; a single one where one shows the whole tile.

    Raises:
        CatalogError: nothing found, no such asset, or no item that is fine enough.
    """
    area = Area(f"tile {cut.name}", cut.footprint)
    found = search(area, source.sensor)
    fine = [i for i in found if source.gsd_m is None or _gsd_m(i, source) <= source.gsd_m * _COARSER]
    if not fine:
        finest = min(_gsd_m(i, source) for i in found)
        raise CatalogError(
            f"tile {cut.name}: the finest item has {finest:g} m, imagery.gsd_m is {source.gsd_m:g}; "
            f"nothing is blown up: set gsd_m to {finest:g} or more, or widen the dates"
        )
    newest = list(reversed(fine))
    whole = next((i for i in newest if covered_share([i], area) >= _WHOLE), None)
    chosen = [whole] if whole is not None else latest_coverage(fine, area)
    for item in chosen:
        if source.asset not in item.assets:
            known = ", ".join(sorted(item.assets)) or "none"
            raise CatalogError(f"tile {cut.name}: item '{item.id}' has no asset '{source.asset}'; it has: {known}")
    return chosen


def grid_of(cut: Cut, item: pystac.Item, source: ImagerySource) -> GeoBox:
    """Return the tile's grid: at `gsd_m` on multiples of it, else on the item's own lattice where it states one."""
    east, north = map(float, cut.centre_m)
    if source.gsd_m is not None:
        return _grid(cut.crs, source.gsd_m, 0.0, 0.0, east, north, cut.side_m)
    stated = item.assets[source.asset].extra_fields | item.properties
    transform = stated.get("proj:transform")
    code = stated.get("proj:code") or (f"EPSG:{stated['proj:epsg']}" if stated.get("proj:epsg") else None)
    if transform and code and _is_lattice(transform):
        lattice = CRS.from_user_input(code)
        if lattice != CRS.from_user_input(cut.crs):  # its own zone, or NAD83: the centre in that system
            east, north = _centre_in(cut, lattice)
        return _grid(str(code), float(transform[0]), transform[2], transform[5], east, north, cut.side_m)
    return _grid(cut.crs, _gsd_m(item, source), 0.0, 0.0, east, north, cut.side_m)


def _read(cut: Cut, source: ImagerySource) -> TilePixels:
    items = items_for(cut, source)
    geobox = grid_of(cut, items[0], source)
    native = source.gsd_m is None and len(items) == 1
    data = load(
        [_named(i, source) for i in items], geobox, RGB, sign=source.sign,
        resampling="nearest" if native else "average", dtype="uint8", nodata=0, mosaic=True,
    )  # fmt: skip
    optical = np.stack([data[b].isel(time=0).to_numpy() for b in RGB])
    date = items[0].datetime or items[0].common_metadata.start_datetime
    return TilePixels(
        optical,
        np.asarray(optical.any(axis=0)),  # NAIP states no nodata; outside of the flight all bands are 0
        geobox,
        tuple(i.id for i in items),
        tuple(i.assets[source.asset].href.partition("?")[0] for i in items),
        date.date().isoformat() if date else "",
    )


def _named(item: pystac.Item, source: ImagerySource) -> pystac.Item:
    """The item such that its asset's bands have the settings' names."""
    item = item.clone()
    asset = item.assets[source.asset]
    asset.extra_fields["eo:bands"] = [{"name": b, "common_name": b} for b in source.bands]
    asset.extra_fields.pop("bands", None)
    listed: list[dict[str, Any]] = list(asset.extra_fields.get("raster:bands") or [])
    if listed and len(listed) != len(source.bands):
        raise CatalogError(
            f"item '{item.id}': asset '{source.asset}' has {len(listed)} bands, imagery.bands names {len(source.bands)}"
        )
    item.assets = {source.asset: asset}
    if not any("/eo/" in extension for extension in item.stac_extensions):
        item.stac_extensions.append(_EO_EXTENSION)
    return item


def _gsd_m(item: pystac.Item, source: ImagerySource) -> float:
    stated = item.properties.get("gsd") or item.common_metadata.gsd
    return float(stated) if isinstance(stated, int | float) and stated > 0 else source.source_gsd_m


def _is_lattice(transform: Any) -> bool:  # noqa: ANN401  # JSON is anything
    if not isinstance(transform, list) or len(transform) < 6:
        return False
    a, b, _, d, e, _ = (float(v) for v in transform[:6])
    return b == d == 0 and a > 0 and abs(a + e) < 1e-9 * a


def _centre_in(cut: Cut, crs: CRS) -> tuple[float, float]:
    to = Transformer.from_crs(CRS.from_user_input(cut.crs), crs, always_xy=True)
    east, north = to.transform(*cut.centre_m)
    return float(east), float(north)


def _grid(crs: str, gsd_m: float, x0: float, y0: float, east: float, north: float, side_m: float) -> GeoBox:
    """A square grid around a centre whose pixel edges lie at multiples of `gsd_m` from (x0, y0)."""
    n = max(1, round(side_m / gsd_m))
    col = round((east - side_m / 2 - x0) / gsd_m)
    row = round((y0 - north - side_m / 2) / gsd_m)
    return GeoBox((n, n), Affine(gsd_m, 0, x0 + col * gsd_m, 0, -gsd_m, y0 - row * gsd_m), crs)
