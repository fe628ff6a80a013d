"""Pixels of one training tile from a STAC catalogue.

In: a planned tile and an imagery source. Out: display values and their validity on a UTM grid, and the ids of
the items. The newest item that covers the whole tile is used; if there is none, the newest items that together
cover most of it. Only the window of the tile is read, with an address signed for this read. A failed read is
retried with a new search, because some catalogues return addresses that expire.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pystac
import rasterio
import stamina
from affine import Affine
from odc.geo.geobox import GeoBox
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyproj import CRS, Transformer

from overwatt.aoi.area import Area
from overwatt.aoi.errors import AssetReadError, CatalogError, redact
from overwatt.models.training.sampling_design import Cut
from overwatt.pipeline.imagery.scenes import covered_share, latest_coverage
from overwatt.workflows.io.scenes import Scene, mosaic, scene_of
from overwatt.workflows.io.stac_api import ATTEMPTS, SensorSource, search

log = logging.getLogger(__name__)

# An item's footprint has straight edges in degrees, a tile has not. Own choice: 0.1% is one or two pixels of an edge.
_WHOLE = 0.999
# Own choice: an item more than this factor coarser than the tile's grid would be upsampled. NAIP states 0.3, 0.6 or 1.
_COARSER = 1.25
_ASK_AGAIN = {"CPL_VSIL_CURL_NON_CACHED": "/vsicurl/http"}  # GDAL remembers that an address failed
RGB = ("red", "green", "blue")


class ImagerySource(BaseModel):
    """The catalogue and collection that imagery is read from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(description="address of the STAC API")
    collection: str = Field(default="naip", description="collection to search")
    asset: str = Field(default="image", description="asset that holds the bands")
    bands: tuple[str, ...] = Field(
        default=("red", "green", "blue", "nir"), min_length=1, description="bands of the asset, in file order"
    )
    sign: Literal["none", "planetary_computer"] = Field(default="none", description="how addresses are signed")
    datetime: str | None = Field(default=None, description="date range in STAC notation")
    gsd_m: float | None = Field(
        default=None, gt=0.05, le=30, description="metres per pixel of the tiles; default: that of the item"
    )
    source_gsd_m: float = Field(
        default=0.6, gt=0, description="usual metres per pixel of the items; only for the cost estimate"
    )
    block_px: int = Field(
        default=512, ge=16, description="block size of the files in pixels; only for the cost estimate"
    )
    licence: str = Field(default="US public domain", description="imagery licence, stored with every tile")
    attribution: str = Field(
        default="USDA Farm Production and Conservation, NAIP", description="credit, stored with every tile"
    )

    @model_validator(mode="after")
    def _colours(self) -> ImagerySource:
        if missing := [b for b in RGB if b not in self.bands]:
            raise ValueError(f"imagery.bands: '{missing[0]}' is missing; tiles need red, green and blue")
        return self

    @property
    def sensor(self) -> SensorSource:
        """The same source as the catalogue stage describes it."""
        return SensorSource(self.url, self.collection, (self.asset,), self.sign, self.datetime)


@dataclass(frozen=True)
class TilePixels:
    """One tile's imagery.

    Attributes:
        optical: (3, y, x) uint8, red, green, blue as display values; zero where not valid.
        valid: (y, x) bool.
        geobox: its grid.
        items: ids of the items it is composed of, the topmost first.
        hrefs: their addresses, unsigned.
        date: date of the topmost item, ISO 8601.
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
        CatalogError: nothing found, no such asset, or no item with pixels that are small enough.
        AssetReadError: the image could not be read, after `ATTEMPTS` attempts.
    """
    for attempt in stamina.retry_context(
        on=AssetReadError, attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=5.0, wait_jitter=0.5
    ):
        with attempt, rasterio.Env(**(_ASK_AGAIN if attempt.num > 1 else {})):
            try:
                return _read(cut, source)
            except AssetReadError as error:
                log.debug("tile %s: attempt %d of %d failed: %s", cut.name, attempt.num, ATTEMPTS, redact(str(error)))
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def items_for(cut: Cut, source: ImagerySource) -> list[pystac.Item]:
    """Return the items to read, the topmost first; a single item if one covers the whole tile.

    Raises:
        CatalogError: nothing found, no such asset, or no item with pixels that are small enough.
    """
    area = Area(f"tile {cut.name}", cut.footprint)
    found = search(area, source.sensor)
    fine = [i for i in found if source.gsd_m is None or _gsd_m(i, source) <= source.gsd_m * _COARSER]
    if not fine:
        finest = min(_gsd_m(i, source) for i in found)
        raise CatalogError(
            f"tile {cut.name}: the finest item has {finest:g} m per pixel, imagery.gsd_m is {source.gsd_m:g}; imagery "
            f"is never upsampled: set imagery.gsd_m to {finest:g} or more, or widen imagery.datetime"
        )
    newest = list(reversed(fine))
    whole = next((i for i in newest if covered_share([i], area) >= _WHOLE), None)
    chosen = [whole] if whole is not None else latest_coverage(fine, area)
    for item in chosen:
        if source.asset not in item.assets:
            known = ", ".join(sorted(item.assets)) or "none"
            raise CatalogError(f"tile {cut.name}: item '{item.id}' has no asset '{source.asset}'; it has: {known}")
    log.debug("tile %s: %d items found, chosen: %s", cut.name, len(found), ", ".join(i.id for i in chosen))
    return chosen


def grid_of(cut: Cut, item: pystac.Item, source: ImagerySource) -> GeoBox:
    """Return the grid of a tile.

    With `gsd_m` set, pixel edges are multiples of it. Otherwise the grid is part of the item's own lattice, if the
    item states one (STAC projection extension), so that no pixel is resampled.
    """
    east, north = map(float, cut.centre_m)
    if source.gsd_m is not None:
        return _grid(cut.crs, source.gsd_m, 0.0, 0.0, east, north, cut.side_m)
    stated = item.assets[source.asset].extra_fields | item.properties
    transform = stated.get("proj:transform")
    code = stated.get("proj:code") or (f"EPSG:{stated['proj:epsg']}" if stated.get("proj:epsg") else None)
    if transform and code and _is_lattice(transform):
        lattice = CRS.from_user_input(code)
        if lattice != CRS.from_user_input(cut.crs):  # another UTM zone, or NAD83: transform the centre
            east, north = _centre_in(cut, lattice)
        return _grid(str(code), float(transform[0]), transform[2], transform[5], east, north, cut.side_m)
    return _grid(cut.crs, _gsd_m(item, source), 0.0, 0.0, east, north, cut.side_m)


def _read(cut: Cut, source: ImagerySource) -> TilePixels:
    items = items_for(cut, source)
    geobox = grid_of(cut, items[0], source)
    scenes = [_scene(i, source, geobox) for i in items]
    window = (0, 0, int(geobox.shape[0]), int(geobox.shape[1]))
    optical, valid = mosaic(scenes, window, float(abs(geobox.affine.a)), len(RGB))
    date = items[0].datetime or items[0].common_metadata.start_datetime
    return TilePixels(
        optical,
        valid,
        geobox,
        tuple(i.id for i in items),
        tuple(i.assets[source.asset].href.partition("?")[0] for i in items),
        date.date().isoformat() if date else "",
    )


def _scene(item: pystac.Item, source: ImagerySource, geobox: GeoBox) -> Scene:
    """The item's colours on the grid of a tile, its bands in the order of the settings.

    Raises:
        CatalogError: the asset states another number of bands, or holds another type than 8 bits.
    """
    listed = item.assets[source.asset].extra_fields.get("raster:bands") or []
    if listed and len(listed) != len(source.bands):
        raise CatalogError(
            f"item '{item.id}': asset '{source.asset}' has {len(listed)} bands, imagery.bands has {len(source.bands)}"
        )
    scene = scene_of(item, [(source.asset, source.bands.index(b) + 1) for b in RGB], geobox, source.sign)
    if scene.types != ("uint8",):
        raise CatalogError(
            f"item '{item.id}': asset '{source.asset}' holds {', '.join(scene.types)}; tiles need 8-bit display values"
        )
    return scene


def _gsd_m(item: pystac.Item, source: ImagerySource) -> float:
    """Metres per pixel that an item states, else the usual one of the source."""
    stated = item.properties.get("gsd") or item.common_metadata.gsd
    return float(stated) if isinstance(stated, int | float) and stated > 0 else source.source_gsd_m


def _is_lattice(transform: object) -> bool:
    """Whether a stated transform has square, north-up pixels."""
    if not isinstance(transform, list) or len(transform) < 6:
        return False
    a, b, _, d, e, _ = (float(v) for v in transform[:6])
    return b == d == 0 and a > 0 and abs(a + e) < 1e-9 * a


def _centre_in(cut: Cut, crs: CRS) -> tuple[float, float]:
    """Easting and northing of a tile's centre in another CRS."""
    to = Transformer.from_crs(CRS.from_user_input(cut.crs), crs, always_xy=True)
    east, north = to.transform(*cut.centre_m)
    return float(east), float(north)


def _grid(crs: str, gsd_m: float, x0: float, y0: float, east: float, north: float, side_m: float) -> GeoBox:
    """A square grid around a centre whose pixel edges lie at multiples of `gsd_m` from (x0, y0)."""
    n = max(1, round(side_m / gsd_m))
    col = round((east - side_m / 2 - x0) / gsd_m)
    row = round((y0 - north - side_m / 2) / gsd_m)
    return GeoBox((n, n), Affine(gsd_m, 0, x0 + col * gsd_m, 0, -gsd_m, y0 - row * gsd_m), crs)
