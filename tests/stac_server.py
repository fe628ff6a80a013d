"""A STAC API over loopback, small but real, for the tests of catalogues.

It answers the landing page, /collections and /search (GET and POST, with paging links), and serves GeoTIFFs in byte
ranges, as cloud storage does.
"""

import json
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlparse

import stamina
from shapely.geometry import shape

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
        self.circle, self.counted = False, None  # every page links to itself; stated number of matches

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
        if start + size < len(found) or self.server.circle:
            following = {**query, "token": start + size * (not self.server.circle)}
            link = {"rel": "next", "type": "application/geo+json", "href": f"{self.server.url}/search"}
            if self.command == "POST":
                link |= {"method": "POST", "body": following}
            else:
                following |= {"collections": ",".join(query["collections"])}
                following |= {"intersects": json.dumps(query["intersects"])}
                link["href"] += "?" + urlencode(following)
            links.append(link)
        page = found[start : start + size]
        answer = {"type": "FeatureCollection", "features": page, "links": links}
        if self.server.counted is not None:
            answer["numberMatched"] = self.server.counted
        self.answer(answer)

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


@contextmanager
def serving(folder):
    """Run the server on a free port; failed requests are retried three times, without waiting."""
    with StacServer(folder) as running, stamina.set_testing(True, attempts=3):
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield running
        finally:  # a thread that outlives its socket spins on whatever gets the number of that socket next
            running.shutdown()
            thread.join(timeout=5)
