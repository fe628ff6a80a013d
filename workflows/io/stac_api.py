"""Scenes of a STAC catalogue: search and sign; `overwatt.workflows.io.scenes` reads their pixels.

In: an `Area` and a `SensorSource`. Out: STAC Items (addresses unsigned) in a fixed order. Addresses are signed only
when pixels are read: tokens last under an hour, a run may last days, and a signed link must not reach a log, a stored
part or a report. Answers of the catalogue are not trusted: only http(s) addresses are followed, and a search that does
not bring all items that the catalogue counts is an error, since scenes would be missing without a word.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Literal
from urllib.parse import urlparse

import pystac
import shapely
import stamina
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.area import Area, from_bbox
from overwatt.aoi.errors import CatalogError
from overwatt.pipeline.imagery.scenes import footprint_of, time_then_id

log = logging.getLogger(__name__)

Sign = Literal["none", "planetary_computer"]

ATTEMPTS = 3
_TIMEOUT_S = (10.0, 60.0)  # connect, read
_PAGE_ITEMS = 100
_MAX_ITEMS = 20_000
_IDLE_PAGES = 3  # pages in a row without a new item; own choice: items may be indexed while one pages
# Servers limit the length of a request; larger areas are sent as the bounding boxes of their parts. Own choice.
_MAX_VERTICES = 500
# Timeout, too early, too many requests, and server errors that may pass.
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
# urllib3 reports addresses without host ('url: /x?sig=…'), which `redact` does not recognise.
_QUERY = re.compile(r"\?[^\s'\"()]+")


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
            asked = client.search(
                method=_method(client),
                intersects=json.loads(shapely.to_geojson(_query_shape(area))),
                limit=_PAGE_ITEMS,
                max_items=_MAX_ITEMS,
                **request,
            )
            found = _parsed(_all_pages(asked.pages_as_dicts(), str(sensor)), client, str(sensor))
    except CatalogError:
        raise
    except APIError as exc:
        status = getattr(exc, "status_code", None)
        what = f"answered {status}" if status else f"does not answer ({ATTEMPTS} attempts)"
        raise CatalogError(f"{sensor}: {what}: {_short(exc)}") from None
    except Exception as exc:  # pystac and pystac-client raise bare Exception, KeyError, ValueError, Warning
        raise CatalogError(f"{sensor}: cannot be searched: {_short(exc)}") from None
    if len(found) >= _MAX_ITEMS:
        raise CatalogError(f"{sensor}: more than {_MAX_ITEMS:,} items; choose a smaller area or shorter dates")
    items = [item for item in found if _wanted(item, area, sensor.max_cloud)]
    if not items:
        bbox = ", ".join(f"{v:.4f}" for v in area.bbox)
        raise CatalogError(
            f"{sensor}: nothing found over area '{area.name}' (bbox [{bbox}]); "
            "check the collection, widen the dates or raise max_cloud"
        )
    return sorted(items, key=time_then_id)


def _parsed(listed: list[dict[str, Any]], client: Client, what: str) -> list[pystac.Item]:
    """Return items that are valid; others are named in the log.

    Raises:
        CatalogError: items are listed, and none is valid.
    """
    items, bad = [], []
    for given in listed:
        try:
            items.append(pystac.Item.from_dict({**given, "id": str(given.get("id"))}, root=client))
            time_then_id(items[-1])
        except Exception as exc:  # pystac raises many types on malformed items
            bad.append(f"item '{str(given.get('id'))[:60]}' is no STAC item ({_short(exc)})")
            items = [i for i in items if i.id != str(given.get("id"))]
    if bad and not items:
        raise CatalogError(f"{what}: {bad[0]}; report it to the operator")
    for text in bad:
        log.warning("left out: %s", text)
    return items


def _all_pages(pages: Iterable[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    """Return the items of all pages, each once, the later of two versions.

    Raises:
        CatalogError: the pages go round in a circle, or end before all items that the catalogue counts.
    """
    items: dict[str, dict[str, Any]] = {}
    idle, counted = 0, None
    for page in pages:
        before = len(items)
        items |= {str(item.get("id")): item for item in page["features"] if isinstance(item, dict)}
        idle = idle + 1 if len(items) == before else 0
        if idle == _IDLE_PAGES:
            raise CatalogError(
                f"{what}: its last {idle} pages brought no new item, {len(items)} in all; its paging goes round in a "
                "circle: report it to the operator, or choose a smaller area or shorter dates that fit one page"
            )
        context = page.get("context") if isinstance(page.get("context"), dict) else {}
        counted = page.get("numberMatched", (context or {}).get("matched", counted))
    # large counts are estimates of some servers (pgstac): then only a plain shortfall counts; own choice
    sure = isinstance(counted, int) and (counted <= 10 * _PAGE_ITEMS or len(items) < 0.9 * counted)
    if sure and len(items) < min(counted or 0, _MAX_ITEMS):
        raise CatalogError(
            f"{what}: it counts {counted:,} items and gave {len(items):,}, and no further page; scenes are missing: "
            "choose a smaller area or shorter dates"
        )
    return list(items.values())


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


def addresser(sign: Sign) -> Callable[[str], str]:
    """Return the function that converts a stored address to one that can be read now.

    It raises CatalogError for an address that is not http(s).
    """

    def address(href: str) -> str:
        if not _is_http(href):
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


def _is_http(address: str) -> bool:
    parsed = urlparse(address)
    return parsed.scheme in ("http", "https") and bool(parsed.netloc)


def _short(exc: BaseException) -> str:
    text = _QUERY.sub("?[redacted]", " ".join(str(exc).split())) or type(exc).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
