"""The catalogue stage against a real STAC API over loopback: search, paging, retries, reading.

The server below is small but real: it answers the landing page, /collections and /search (GET
and POST, with paging links), and serves GeoTIFFs in byte ranges, as cloud storage does.
"""

import json
import logging
import re
import socket
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlparse

import numpy as np
import pystac
import pytest
import rasterio
import stamina
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box, mapping, shape

from overwatt.aoi.area import from_bbox
from overwatt.aoi.errors import AssetReadError, CatalogError
from overwatt.pipeline.imagery.scenes import covered_share, latest_coverage
from overwatt.workflows.io.stac_api import SensorSource, _signed, load, search
from tests.support import naming

# odc-geo 0.5.3 and pystac-client use calls that their newest dependencies announce to drop
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use .@. matmul:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning"),
]

PIXEL_M, SIDE_PX = 10.0, 64
WEST_M, NORTH_M = 400_000.0, 4_000_640.0
CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#query",
]


class StacServer(ThreadingHTTPServer):
    """A STAC API over loopback; `failures` holds the statuses to answer /search with first."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.items, self.failures, self.log = folder, [], [], []
        self.methods, self.page, self.conforms = ("GET", "POST"), 2, CONFORMS

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def requests(self, path):
        return [entry for entry in self.log if entry[1].startswith(path)]

    def matching(self, query):
        wanted = shape(query["intersects"])
        limit = (query.get("query") or {}).get("eo:cloud_cover", {}).get("lte", 100)
        start, _, end = (query.get("datetime") or "0/9").partition("/")
        return [
            item
            for item in self.items
            if item["collection"] in query["collections"]
            and shape(item["geometry"]).intersects(wanted)
            and item["properties"].get("eo:cloud_cover", 0) <= limit
            and start <= item["properties"]["datetime"] <= (end or start)
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path, query = urlparse(self.path).path, parse_qs(urlparse(self.path).query)
        self.server.log.append((self.command, self.path, self.headers.get("Range")))
        url = self.server.url
        if path == "/":
            links = [{"rel": "self", "href": f"{url}/"}, {"rel": "root", "href": f"{url}/"}]
            links += [
                {"rel": "search", "type": "application/geo+json", "href": f"{url}/search", "method": m}
                for m in self.server.methods
            ]
            self.answer(
                {
                    "type": "Catalog",
                    "id": "test",
                    "stac_version": "1.0.0",
                    "description": "test",
                    "conformsTo": self.server.conforms,
                    "links": links,
                }
            )
        elif path == "/search":
            flat = {k: v[0] for k, v in query.items()}
            flat["collections"] = flat["collections"].split(",")
            flat["intersects"] = json.loads(flat["intersects"])
            self.search(flat)
        elif path.startswith("/token/"):
            expiry = datetime.now(UTC) + timedelta(hours=1)
            self.answer({"msft:expiry": expiry.isoformat(), "token": "sig=SECRET"})
        elif (file := self.server.folder / path.lstrip("/")).is_file():
            self.serve(file.read_bytes())
        else:
            self.answer({"code": "NotFound"}, 404)

    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.log.append((self.command, self.path, query))
        self.search(query)

    def search(self, query):
        if self.server.failures and (status := self.server.failures.pop(0)):
            self.answer({"description": f"status {status}, see https://host/x?sig=SECRET"}, status)
            return
        found, start, size = self.server.matching(query), int(query.get("token", 0)), self.server.page
        links = []
        if start + size < len(found):
            following = {**query, "token": start + size}
            link = {"rel": "next", "type": "application/geo+json", "href": f"{self.server.url}/search"}
            if self.command == "POST":
                link |= {"method": "POST", "body": following}
            else:
                following |= {"collections": ",".join(query["collections"])}
                following |= {"intersects": json.dumps(query["intersects"])}
                link["href"] += "?" + urlencode(following)
            links.append(link)
        page = found[start : start + size]
        self.answer({"type": "FeatureCollection", "features": page, "links": links})

    def serve(self, data):
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        first = int(match[1]) if match else 0
        last = min(int(match[2]), len(data) - 1) if match and match[2] else len(data) - 1
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.body(data[first : last + 1], "image/tiff")

    def answer(self, content, status=200):
        self.send_response(status)
        self.body(json.dumps(content).encode(), "application/json")

    def body(self, data, kind):
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


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
    with StacServer(tmp_path) as running, stamina.set_testing(True, attempts=3):
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(timeout=5)


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


def test_load_gives_the_right_pixels(server):
    add(server, "i", "2023-06-01T10:00:00Z", value=1000)
    add(server, "j", "2023-06-02T10:00:00Z", value=3000)
    items = search(area(), source(server))
    data = load(items, grid(), ["image"])
    assert data["image"].dims == ("time", "y", "x")
    assert data["image"].dtype == np.uint16
    np.testing.assert_array_equal(data["image"].values, [pixels(1000), pixels(3000)])
    window = load(items[1:], grid(y0=10, x0=20, ny=7, nx=9), ["image"], sign="planetary_computer")
    np.testing.assert_array_equal(window["image"].values[0], pixels(3000)[10:17, 20:29])
    assert {urlparse(entry[1]).path for entry in server.log if ".tif" in entry[1]} == {"/i.tif", "/j.tif"}


def test_load_bands_of_one_image_by_their_common_names(server):
    """NAIP's layout: one asset of four bands, 8-bit, no nodata stated."""
    add(server, "naip", "2023-06-01T10:00:00Z")
    bands = np.stack([np.full((SIDE_PX, SIDE_PX), shade, dtype=np.uint8) for shade in (10, 20, 30, 40)])
    with rasterio.open(server.folder / "naip.tif") as file:
        profile = file.profile | {"dtype": "uint8", "count": 4, "nodata": None}
    with rasterio.open(server.folder / "naip.tif", "w", **profile) as file:
        file.write(bands)
    names = ("Red", "Green", "Blue", "NIR")
    image = server.items[0]["assets"]["image"]
    image["eo:bands"] = [{"name": n, "common_name": n.lower()} for n in names]
    del image["raster:bands"]
    server.items[0]["stac_extensions"].pop()
    server.items[0]["stac_extensions"].append("https://stac-extensions.github.io/eo/v1.0.0/schema.json")
    items = search(area(), source(server))
    wanted = ["red", "green", "blue"]
    data = load(items, grid(y0=60, ny=8), wanted, dtype="uint8", nodata=0)
    for name, shade in zip(wanted, (10, 20, 30), strict=True):
        assert data[name].dtype == np.uint8
        assert (data[name].values[0, :4] == shade).all()
        assert (data[name].values[0, 4:] == 0).all()


def test_load_outside_the_image_is_nodata(server):
    add(server, "i", "2023-06-01T10:00:00Z", value=1000)
    values = load(search(area(), source(server)), grid(y0=60, nx=4, ny=8), ["image"])["image"].values[0]
    np.testing.assert_array_equal(values[:4], pixels(1000)[60:, :4])
    assert (values[4:] == 0).all()


def test_mosaic_shows_the_newest_on_top(server):
    half = SIDE_PX // 2
    add(server, "old", "2019-06-01T10:00:00Z", value=1000)
    add(server, "new", "2023-06-01T10:00:00Z", value=3000, geobox=grid(x0=half))
    items = search(area(), source(server))
    chosen = latest_coverage(items, area())
    assert [item.id for item in chosen] == ["new", "old"]
    values = load(chosen, grid(), ["image"], mosaic=True)["image"].values
    assert values.shape == (1, SIDE_PX, SIDE_PX)
    np.testing.assert_array_equal(values[0, :, :half], pixels(1000)[:, :half])
    np.testing.assert_array_equal(values[0, :, half:], pixels(3000)[:, :half])


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


def test_unreadable_image_is_named_without_its_signature(server, caplog):
    add(server, "good", "2023-06-01T10:00:00Z")
    add(server, "gone", "2023-06-02T10:00:00Z", href=f"{server.url}/gone/away.tif?sig=SECRET")
    items = search(area(), source(server))
    with caplog.at_level(logging.DEBUG, logger="odc"), pytest.raises(AssetReadError) as info:
        load(items, grid(), ["image"])
    assert info.value.href == f"{server.url}/gone/away.tif?[redacted]"
    assert "gone/away.tif" in str(info.value)
    assert "SECRET" not in str(info.value) + caplog.text
    assert "gone/away.tif" in caplog.text


def test_damaged_image_is_named(server):
    for name, day in (("bad", 1), ("half", 2)):  # two files: GDAL remembers what it read of an address
        add(server, name, f"2023-06-0{day}T10:00:00Z")
    bad, half = search(area(), source(server))
    (server.folder / "bad.tif").write_bytes(b"not a tiff" * 50)
    whole = (server.folder / "half.tif").read_bytes()
    (server.folder / "half.tif").write_bytes(whole[: len(whole) // 2])
    for name, item in (("bad", bad), ("half", half)):
        with pytest.raises(AssetReadError, match=naming(name)):
            load([item], grid(), ["image"])


def test_unknown_asset_and_no_item_are_named(server):
    add(server, "i", "2023-06-01T10:00:00Z")
    with pytest.raises(CatalogError, match=naming("'B99'", "'i'", "image")):
        load(search(area(), source(server)), grid(), ["B99"])
    with pytest.raises(CatalogError, match="item"):
        load([], grid(), ["image"])


def test_local_files_are_read_only_where_allowed(server):
    add(server, "i", "2023-06-01T10:00:00Z", value=1000)
    server.items[0]["assets"]["image"]["href"] = str(server.folder / "i.tif")
    items = search(area(), source(server))
    with pytest.raises(CatalogError, match=naming(f"{server.folder}/i.tif", "http(s)")):
        load(items, grid(), ["image"])
    np.testing.assert_array_equal(load(items, grid(), ["image"], allow_local=True)["image"].values[0], pixels(1000))
    items[0].assets["image"].href = "s3://bucket/i.tif"
    with pytest.raises(CatalogError, match=naming("'s3://bucket/i.tif'", "http(s)")):
        load(items, grid(), ["image"], allow_local=True)


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


def test_items_come_back_as_pystac_items(server):
    add(server, "i", "2023-06-01T10:00:00Z")
    (item,) = search(area(), source(server))
    assert isinstance(item, pystac.Item)
    assert item.datetime == datetime(2023, 6, 1, 10, tzinfo=UTC)
