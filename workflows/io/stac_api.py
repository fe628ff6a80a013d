"""Scenes from a STAC catalogue: search, select, read onto a grid.

In: an `Area` and a `SensorSource`. Out: STAC Items (addresses unsigned) in a fixed order, and pixels on a `GeoBox`.
Addresses are signed only when pixels are read: tokens last under an hour, a run may last days, and a signed link must
not reach a log, a stored part or a report. For the same reason pixels are read immediately, one tile per call, and not
through a lazy graph that would carry signed links. Answers of the catalogue are not trusted: only http(s) addresses
are followed, and a failed read raises an error instead of leaving a gap that looks like nodata.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal
from urllib.parse import urlparse

import odc.stac
import pystac
import rasterio
import rasterio.errors
import shapely
import stamina
import xarray as xr
from odc.geo.geobox import GeoBox
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.area import Area, from_bbox
from overwatt.aoi.errors import AssetReadError, CatalogError, redact
from overwatt.pipeline.imagery.scenes import footprint_of, time_then_id

Sign = Literal["none", "planetary_computer"]

ATTEMPTS = 3
_TIMEOUT_S = (10.0, 60.0)  # connect, read
_PAGE_ITEMS = 100
_MAX_ITEMS = 20_000
# Servers limit the length of a request; larger areas are sent as the bounding boxes of their parts. Own choice.
_MAX_VERTICES = 500
# Timeout, too early, too many requests, and server errors that may pass.
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# urllib3 reports addresses without host ('url: /x?sig=…'), which `redact` does not recognise.
_QUERY = re.compile(r"\?[^\s'\"()]+")
_RASTER_EXTENSION = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"
# Reads of cloud-optimized files (GDAL configuration options): no folder listing, merged ranges, retries.
_GDAL_ENV = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}


@dataclass(frozen=True)
class SensorSource:
    """Where scenes of one sensor come from.

    Attributes:
        api_url: http(s) address of the STAC API.
        collection: id of the collection.
        assets: assets (or band aliases such as 'red') to read.
        sign: how addresses are signed at read time.
        datetime: a date or an interval in STAC notation, for example '2023-01-01/2023-12-31'.
        max_cloud: upper limit of eo:cloud_cover in percent; items without this property are kept.
    """

    api_url: str
    collection: str
    assets: tuple[str, ...]
    sign: Sign = "none"
    datetime: str | None = None
    max_cloud: float | None = None

    def __post_init__(self) -> None:
        if not _is_http(self.api_url):
            raise CatalogError(
                f"catalogue address '{self.api_url}' is not valid; it must start with http:// or https://"
            )
        if self.sign not in ("none", "planetary_computer"):
            raise CatalogError(f"sign '{self.sign}' is unknown; use 'none' or 'planetary_computer'")

    def __str__(self) -> str:
        dates = f"dates {self.datetime}" if self.datetime else "any date"
        cloud = "" if self.max_cloud is None else f", cloud up to {self.max_cloud:g}%"
        return f"catalogue {self.api_url}, collection '{self.collection}', {dates}{cloud}"


def search(area: Area, sensor: SensorSource) -> list[pystac.Item]:
    """Return the items over the area, ordered by time then id, with unsigned addresses.

    Every request, including each page, is tried three times if the failure is transient.

    Raises:
        CatalogError: the API does not answer, refuses, does not return STAC, or has no items here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PystacClientWarning)
            client = Client.open(sensor.api_url, stac_io=_RetryingIO(timeout=_TIMEOUT_S, max_retries=None))
            request: dict[str, Any] = {"collections": [sensor.collection], "datetime": sensor.datetime}
            if sensor.max_cloud is not None and any(uri.endswith("#query") for uri in client.get_conforms_to()):
                request["query"] = {"eo:cloud_cover": {"lte": sensor.max_cloud}}
            found = list(
                client.search(
                    method=_method(client),
                    intersects=json.loads(shapely.to_geojson(_query_shape(area))),
                    limit=_PAGE_ITEMS,
                    max_items=_MAX_ITEMS,
                    **request,
                ).items()
            )
    except APIError as exc:
        status = getattr(exc, "status_code", None)
        what = f"answered {status}" if status else f"does not answer ({ATTEMPTS} attempts)"
        raise CatalogError(f"{sensor}: {what}: {_short(exc)}") from None
    except Exception as exc:  # pystac and pystac-client raise bare Exception, KeyError, ValueError, Warning
        raise CatalogError(f"{sensor}: cannot be searched: {_short(exc)}") from None
    if len(found) >= _MAX_ITEMS:
        raise CatalogError(f"{sensor}: more than {_MAX_ITEMS:,} items; choose a smaller area or shorter dates")
    unique = {item.id: item for item in found}
    items = [item for item in unique.values() if _wanted(item, area, sensor.max_cloud)]
    if not items:
        bbox = ", ".join(f"{v:.4f}" for v in area.bbox)
        raise CatalogError(
            f"{sensor}: nothing found over area '{area.name}' (bbox [{bbox}]); "
            "check the collection, widen the dates or raise max_cloud"
        )
    return sorted(items, key=time_then_id)


def load(
    items: Sequence[pystac.Item],
    geobox: GeoBox,
    assets: Sequence[str],
    *,
    sign: Sign = "none",
    resampling: str = "nearest",
    dtype: str | None = None,
    nodata: float | None = None,
    groupby: str = "time",
    mosaic: bool = False,
    allow_local: bool = False,
) -> xr.Dataset:
    """Read assets of items onto a grid, immediately.

    Args:
        items: items; where they overlap within a group, the first by (time, id) is used.
        geobox: the grid.
        assets: asset keys or band aliases; they become the variables.
        sign: how addresses are signed for this read.
        resampling: resampling of odc-stac; 'nearest' keeps the values if the grid is the lattice of the source.
        dtype: type of the result; by default as the items state, else float32.
        nodata: fill value if the items state none; give 0 for NAIP, so that images can be merged.
        groupby: what makes one time step: 'time', 'solar_day' or 'id'.
        mosaic: all items make one time step, and the first in the given order is used.
        allow_local: also read local files, for catalogues of one's own.

    Returns:
        Dataset with dims (time, y, x) and raw values: neither scale nor offset is applied.

    Raises:
        CatalogError: there is no item or no such asset, or an address is not http(s).
        AssetReadError: an image could not be read (after GDAL's own retries).
    """
    if not items:
        raise CatalogError("no item to load; search again with a larger area or longer dates")
    address = _addresser(sign, allow_local)
    options: dict[str, Any] = {"dtype": dtype, "nodata": nodata} if nodata is not None else {"dtype": dtype}
    try:
        with rasterio.Env(**_GDAL_ENV), _unsigned_log():
            data: xr.Dataset = odc.stac.load(
                [_with_band_count(item) for item in items],
                list(assets),
                geobox=geobox,
                resampling=resampling,
                groupby=(lambda item, parsed, index: 0) if mosaic else groupby,
                preserve_original_order=mosaic,
                patch_url=address,
                **options,
            )
    except (rasterio.errors.RasterioError, OSError) as exc:
        href = _first_unreadable(items, assets, address)
        names = href or ", ".join(item.id for item in items[:3])
        raise AssetReadError(
            f"image {names} cannot be read: {_short(exc)}", href=href, window=geobox.boundingbox
        ) from None
    except (ValueError, KeyError) as exc:
        known = ", ".join(sorted({key for item in items for key in item.assets}))
        raise CatalogError(
            f"assets {list(assets)} of '{items[0].id}' cannot be loaded: {_short(exc)}; known: {known}"
        ) from None
    return data


def _with_band_count(item: pystac.Item) -> pystac.Item:
    """Return the item with raster:bands added to assets that list their bands only in eo:bands.

    odc-stac counts bands by raster:bands. NAIP on the Planetary Computer has only eo:bands: without this, 'red',
    'green' and 'blue' are not found.
    """
    bare = {
        key: len(asset.extra_fields["eo:bands"])
        for key, asset in item.assets.items()
        if asset.extra_fields.get("eo:bands") and not {"bands", "raster:bands"} & asset.extra_fields.keys()
    }
    if not bare:
        return item
    item = item.clone()
    if not any("/raster/" in extension for extension in item.stac_extensions):
        item.stac_extensions.append(_RASTER_EXTENSION)
    for key, count in bare.items():
        item.assets[key].extra_fields["raster:bands"] = [{} for _ in range(count)]
    return item


class _RetryingIO(StacApiIO):
    """Requests of pystac-client, each tried up to three times, including POST and later pages."""

    def request(self, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401  # passes through
        for attempt in stamina.retry_context(
            on=_is_transient, attempts=ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=5.0, wait_jitter=0.5
        ):
            with attempt:
                return str(super().request(*args, **kwargs))
        raise AssertionError("unreachable: the last attempt returns or raises")


def _is_transient(exc: Exception) -> bool:
    """Whether a retry may help: there was no answer, or the status is transient."""
    return isinstance(exc, APIError) and getattr(exc, "status_code", None) in {None, *_TRANSIENT_STATUS}


def _method(client: Client) -> str:
    offered = {link.extra_fields.get("method", "GET") for link in client.links if link.rel == "search"}
    return "POST" if "POST" in offered or not offered else "GET"


def _query_shape(area: Area) -> BaseGeometry:
    if shapely.get_num_coordinates(area.geometry) <= _MAX_VERTICES:
        return area.geometry
    boxes = shapely.union_all([box(*part.bounds) for part in shapely.get_parts(area.geometry)])
    if shapely.get_num_coordinates(boxes) <= _MAX_VERTICES:
        return boxes
    return from_bbox(*area.bbox).geometry


def _wanted(item: pystac.Item, area: Area, max_cloud: float | None) -> bool:
    cloud = item.properties.get("eo:cloud_cover")
    if max_cloud is not None and isinstance(cloud, int | float) and cloud > max_cloud:
        return False
    return bool(footprint_of(item).intersects(area.geometry))


def _addresser(sign: Sign, allow_local: bool) -> Callable[[str], str]:
    """Return a function that converts a stored address to one that can be read now."""

    def address(href: str) -> str:
        if not _is_http(href):
            if allow_local and urlparse(href).scheme in ("", "file"):
                return href
            raise CatalogError(f"image address '{href}' is not http(s) and is not followed")
        return _signed(href) if sign == "planetary_computer" else href

    return address


def _signed(href: str) -> str:
    """Return the address with a Planetary Computer token; addresses of other hosts are returned unchanged."""
    try:
        return str(_planetary_computer().sign(href))
    except Exception as exc:  # of requests, pydantic or ValueError, depending on the answer of the token service
        raise CatalogError(f"no token for image {href}: {_short(exc)}") from None


@cache
def _planetary_computer() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # planetary-computer 1.0 uses pydantic 1 syntax
        return import_module("planetary_computer")


def _first_unreadable(items: Iterable[pystac.Item], assets: Sequence[str], address: Callable[[str], str]) -> str:
    """Return the stored address of the first image that does not open, '' if all open (the error was transient)."""
    for item in items:
        for asset in [item.assets[key] for key in assets if key in item.assets] or item.assets.values():
            href = asset.get_absolute_href() or asset.href
            try:
                with rasterio.Env(**{**_GDAL_ENV, "GDAL_HTTP_MAX_RETRY": "0"}), rasterio.open(address(href)):
                    pass
            except CatalogError:
                continue
            except (rasterio.errors.RasterioError, OSError):
                return href
    return ""


@contextmanager
def _unsigned_log() -> Iterator[None]:
    """Remove signatures from addresses in the log that the loader writes when a read fails."""

    def clean(record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True

    log = logging.getLogger("odc.loader._rio")
    log.addFilter(clean)
    try:
        yield
    finally:
        log.removeFilter(clean)


def _is_http(address: str) -> bool:
    parsed = urlparse(address)
    return parsed.scheme in ("http", "https") and bool(parsed.netloc)


def _short(exc: BaseException) -> str:
    text = _QUERY.sub("?[redacted]", " ".join(str(exc).split())) or type(exc).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
