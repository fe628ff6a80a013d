"""The search of a catalogue against a real STAC API over loopback: paging, retries, selection, signatures."""

import logging
import socket
from datetime import UTC, datetime

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box, mapping, shape

from overwatt.aoi.area import from_bbox
from overwatt.aoi.errors import CatalogError
from overwatt.pipeline.imagery.scenes import covered_share, latest_coverage
from overwatt.workflows.io.stac_api import SensorSource, _signed, search
from tests.stac_server import CONFORMS, serving
from tests.support import naming

# odc-geo 0.5.3 and pystac-client use calls that their newest dependencies announce to drop
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
]

PIXEL_M, SIDE_PX = 10.0, 64
WEST_M, NORTH_M = 400_000.0, 4_000_640.0


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    connect = socket.socket.connect

    def guarded(self, address):
        assert address[0] in ("127.0.0.1", "::1"), f"a test reached for the network: {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path) as running:
        yield running


def pixels(value):
    return (np.arange(SIDE_PX * SIDE_PX, dtype=np.uint16) % 500 + value).reshape(SIDE_PX, SIDE_PX)


def grid(y0=0, x0=0, ny=SIDE_PX, nx=SIDE_PX):
    corner = (WEST_M + x0 * PIXEL_M, NORTH_M - y0 * PIXEL_M)
    return GeoBox((ny, nx), Affine(PIXEL_M, 0, corner[0], 0, -PIXEL_M, corner[1]), "EPSG:32618")


def footprint(geobox):
    to_lonlat = Transformer.from_crs("EPSG:32618", "OGC:CRS84", always_xy=True)
    return box(*to_lonlat.transform_bounds(*geobox.boundingbox))


def add(server, name, when, value=1000, geobox=None, cloud=None, href=None, collection="images"):
    """Write a one-band GeoTIFF and list it as an item."""
    geobox = geobox or grid()
    a = geobox.affine
    with rasterio.open(
        server.folder / f"{name}.tif",
        "w",
        driver="GTiff",
        dtype="uint16",
        count=1,
        height=SIDE_PX,
        width=SIDE_PX,
        crs="EPSG:32618",
        transform=a,
        tiled=True,
        blockxsize=32,
        blockysize=32,
        nodata=0,
    ) as file:
        file.write(pixels(value), 1)
    shown = footprint(geobox)
    properties = {"datetime": when, "proj:epsg": 32618, "proj:shape": [SIDE_PX, SIDE_PX]}
    properties["proj:transform"] = [a.a, a.b, a.c, a.d, a.e, a.f]
    server.items.append(
        {
            "type": "Feature",
            "stac_version": "1.0.0",
            "stac_extensions": [
                "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
                "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
            ],
            "id": name,
            "collection": collection,
            "geometry": mapping(shown),
            "bbox": list(shown.bounds),
            "properties": properties | ({} if cloud is None else {"eo:cloud_cover": cloud}),
            "links": [],
            "assets": {
                "image": {
                    "href": href or f"{server.url}/{name}.tif",
                    "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                    "roles": ["data"],
                    "raster:bands": [{"data_type": "uint16", "nodata": 0}],
                }
            },
        }
    )


def area():
    west, south, east, north = footprint(grid()).bounds
    return from_bbox(west + 1e-4, south + 1e-4, east - 1e-4, north - 1e-4, "test area")


def source(server, **changes):
    return SensorSource(**({"api_url": server.url, "collection": "images", "assets": ("image",)} | changes))


@pytest.mark.parametrize("methods", [("GET", "POST"), ("GET",)])
def test_search_pages_through_and_orders_by_time_then_id(server, methods):
    server.methods = methods
    for name, day in (("c", 3), ("b", 1), ("e", 2), ("a", 1), ("d", 5)):
        add(server, name, f"2023-06-0{day}T10:00:00Z")
    found = search(area(), source(server))
    assert [item.id for item in found] == ["a", "b", "e", "c", "d"]
    assert [entry[0] for entry in server.requests("/search")] == [methods[-1]] * 3
    assert all("?" not in item.assets["image"].href for item in found)


def test_search_keeps_to_area_dates_collection_and_cloud(server):
    add(server, "good", "2023-06-01T10:00:00Z", cloud=5)
    add(server, "unstated", "2023-06-02T10:00:00Z")
    add(server, "cloudy", "2023-06-03T10:00:00Z", cloud=80)
    add(server, "old", "2020-06-01T10:00:00Z", cloud=5)
    add(server, "far", "2023-06-01T10:00:00Z", geobox=grid(y0=5000), cloud=5)
    add(server, "other", "2023-06-01T10:00:00Z", cloud=5, collection="else")
    wanted = source(server, datetime="2023-01-01/2023-12-31", max_cloud=20)
    assert [item.id for item in search(area(), wanted)] == ["good", "unstated"]
    assert server.requests("/search")[0][2]["query"] == {"eo:cloud_cover": {"lte": 20}}


def test_cloud_limit_holds_where_the_api_cannot_query(server):
    server.conforms = CONFORMS[:2]
    add(server, "good", "2023-06-01T10:00:00Z", cloud=5)
    add(server, "cloudy", "2023-06-03T10:00:00Z", cloud=80)
    assert [item.id for item in search(area(), source(server, max_cloud=20))] == ["good"]
    assert "query" not in server.requests("/search")[0][2]


@pytest.mark.parametrize("failures", [[503], [429, 502], [0, 503]])
def test_passing_failures_are_retried_also_on_later_post_pages(server, failures):
    for day in range(1, 6):
        add(server, f"i{day}", f"2023-06-0{day}T10:00:00Z")
    server.failures = list(failures)
    assert [item.id for item in search(area(), source(server))] == ["i1", "i2", "i3", "i4", "i5"]
    asked = server.requests("/search")
    assert len(asked) == 3 + sum(bool(status) for status in failures)
    assert {entry[0] for entry in asked} == {"POST"}


def test_three_failures_end_the_search_and_the_message_names_it(server):
    add(server, "i", "2023-06-01T10:00:00Z")
    server.failures = [503] * 5
    with pytest.raises(CatalogError, match=naming(503)) as info:
        search(area(), source(server, datetime="2023-01-01/2023-12-31"))
    for words in (server.url, "'images'", "2023-01-01/2023-12-31"):
        assert words in str(info.value)
    assert "SECRET" not in str(info.value)
    assert len(server.requests("/search")) == 3


def test_refusal_is_not_retried(server):
    server.failures = [400] * 5
    with pytest.raises(CatalogError, match=naming(400)):
        search(area(), source(server))
    assert len(server.requests("/search")) == 1


def test_nothing_found_and_nobody_there(server):
    with pytest.raises(CatalogError, match=naming(server.url, "'images'", "'test area'", "max_cloud")):
        search(area(), source(server))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://user:pw@127.0.0.1:{free.getsockname()[1]}/?key=SECRET"
    with pytest.raises(CatalogError, match=naming("'images'", 3)) as info:
        search(area(), source(server, api_url=closed))
    assert "SECRET" not in str(info.value)
    assert "pw" not in str(info.value)


def test_answers_that_are_no_stac_api(server):
    server.conforms = CONFORMS[:1]
    with pytest.raises(CatalogError, match=naming(server.url, "ITEM_SEARCH")):
        search(area(), source(server))
    server.conforms = CONFORMS
    with pytest.raises(CatalogError, match=naming(server.url, "last summer")):
        search(area(), source(server, datetime="last summer"))
    (server.folder / "page.html").write_text("<html>maintenance</html>", encoding="utf-8")
    with pytest.raises(CatalogError, match=naming(f"{server.url}/page.html")):
        search(area(), source(server, api_url=f"{server.url}/page.html"))


def test_area_with_many_vertices_is_sent_simplified_but_judged_exactly(server):
    add(server, "i", "2023-06-01T10:00:00Z")
    centre = footprint(grid()).centroid
    ring = centre.buffer(0.05, quad_segs=300).difference(centre.buffer(0.02, quad_segs=300))
    wreath = type(area())("wreath", ring)
    with pytest.raises(CatalogError, match=naming("'wreath'")):
        search(wreath, source(server))
    sent = server.requests("/search")[0][2]["intersects"]
    assert shape(sent).covers(ring)
    assert len(sent["coordinates"][0]) <= 500


@pytest.mark.parametrize("url", ["ftp://example.org/stac", "file:///etc/stac.json", "stac.json", "http:///x"])
def test_only_http_addresses_are_searched(url):
    with pytest.raises(CatalogError, match=naming(f"'{url}'", "http://", "https://")):
        SensorSource(url, "c", ("image",))
    with pytest.raises(CatalogError, match=naming("sign", "'aws'", "'none'", "'planetary_computer'")):
        SensorSource("https://example.org", "c", ("image",), sign="aws")


def test_latest_coverage_leaves_out_what_newer_images_show(server):
    add(server, "oldest", "2015-06-01T10:00:00Z")
    add(server, "old", "2019-06-01T10:00:00Z")
    items = search(area(), source(server))
    assert [item.id for item in latest_coverage(items, area())] == ["old"]
    assert covered_share(items, area()) == pytest.approx(1.0)
    west, south, east, north = area().bbox
    wider = from_bbox(west, south, 2 * east - west, north)
    assert covered_share(items, wider) == pytest.approx(0.5, abs=0.02)
    assert covered_share([], area()) == 0.0
    assert latest_coverage([], area()) == []


def test_planetary_computer_tokens_are_fetched_at_read_time(server, monkeypatch):
    # `_signed` alone: what it signs lies on a host that no test reaches, so `load` would fail after it
    assert _signed("https://example.org/x.tif") == "https://example.org/x.tif"
    import planetary_computer.sas  # only now: `_signed` has imported it with its warnings silenced

    monkeypatch.setenv("PC_SDK_SAS_URL", f"{server.url}/token")
    monkeypatch.setenv("PC_SDK_SUBSCRIPTION_KEY", "")
    monkeypatch.setattr(planetary_computer.sas, "TOKEN_CACHE", {})
    planetary_computer.settings.Settings.get.cache_clear()
    href = "https://naipeuwest.blob.core.windows.net/naip/x.tif"
    assert _signed(href) == f"{href}?sig=SECRET"
    assert len(server.requests("/token/naipeuwest/naip")) == 1
    planetary_computer.settings.Settings.get.cache_clear()


def test_pages_that_go_round_in_a_circle_end(server):
    for day in range(1, 4):
        add(server, f"i{day}", f"2023-06-0{day}T10:00:00Z")
    server.circle = True
    with pytest.raises(CatalogError, match=naming("no new item", "circle")):
        search(area(), source(server))
    assert len(server.requests("/search")) == 4


@pytest.mark.parametrize("counted", [3, 5])
def test_a_search_that_stops_short_of_its_own_count_is_not_the_whole(server, counted):
    for day in range(1, 4):
        add(server, f"i{day}", f"2023-06-0{day}T10:00:00Z")
    server.counted = counted
    if counted == 3:
        assert len(search(area(), source(server))) == 3
    else:
        with pytest.raises(CatalogError, match=naming("counts 5", "gave 3")):
            search(area(), source(server))


def test_an_item_that_is_none_is_left_out_and_named(server, caplog):
    for name, day in (("good", 1), ("broken", 2)):
        add(server, name, f"2023-06-0{day}T10:00:00Z")
    server.items[1]["assets"] = "none"
    with caplog.at_level(logging.WARNING):
        assert [item.id for item in search(area(), source(server))] == ["good"]
    assert "broken" in caplog.text
    server.items.pop(0)
    with pytest.raises(CatalogError, match=naming("'broken'", "no STAC item")):
        search(area(), source(server))


def test_a_number_is_a_name_too(server):
    add(server, "i", "2023-06-01T10:00:00Z")
    server.items[0]["id"] = 20230601
    assert [item.id for item in search(area(), source(server))] == ["20230601"]


def test_items_come_back_as_pystac_items(server):
    add(server, "i", "2023-06-01T10:00:00Z")
    (item,) = search(area(), source(server))
    assert isinstance(item, pystac.Item)
    assert item.datetime == datetime(2023, 6, 1, 10, tzinfo=UTC)
