"""The report: escaping, policy, numbers, order of contents, pictures."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from PIL import Image
from shapely.geometry import Point, box

from overwatt.pipeline.report import context, wording
from overwatt.pipeline.report.figures.power_intervals import interval_plot
from overwatt.pipeline.report.page import ReportData, render_report
from overwatt.pipeline.report.rasters import DECLARED_RGB, OUTLINE_RGB, chip, encode, overlay, to_web_mercator
from overwatt.pipeline.tables import LEDGER_CLASSES, QUANTILE_NAMES, conform, empty
from tests.support import naming

HOSTILE = "</script><img src=x onerror=alert(1)>"
NASTY = HOSTILE + "\"'--><style>*{display:none}</style>{{ 7*7 }}\u2028"
SPREAD = np.array([0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.0, 2.5])
GRID = GeoBox((300, 400), Affine(2, 0, 499600, 0, -2, 4983300), "EPSG:32626")
LON, LAT = -27.0, 45.0


def quantiles(stem: str, median: float) -> dict[str, float]:
    return {f"{stem}_{q}": float(median * f) for q, f in zip(QUANTILE_NAMES, SPREAD, strict=True)}


def site_rows(n: int) -> list[dict[str, object]]:
    rows = []
    for k in range(n):
        lon, lat = LON + 0.004 * (k % 20), LAT + 0.003 * (k // 20)
        rows.append(
            {
                "site_id": f"N{lat:.4f}W{-lon:.4f}-{k}",
                "p_data_center": 0.93,
                "prior": 0.003,
                "lon": lon,
                "lat": lat,
                "buildings": 2,
                "building_area_m2": 21000.0,
                "cooling_objects": 3,
                "cooling_area_m2": 900.0,
                "on_border": k == 1,
                **quantiles("it_mw", 52.0 + k),
                **quantiles("facility_mw", 68.0 + k),
                **quantiles("h100e", 31234.0),
                **quantiles("flop_90d", 1.3e26),
                "seed": 7,
                "assumptions": "Footprint prior of 2026.",
                "geometry": box(lon - 0.0008, lat - 0.0005, lon + 0.0008, lat + 0.0005),
            }
        )
    return rows


def declared_rows(name: str) -> list[dict[str, object]]:
    common = {"kind": "facility", "source": "register of X", "licence": "CC-BY 4.0", "operator": "Operator"}
    places = [Point(LON, LAT), Point(LON + 0.01, LAT - 0.003), Point(LON + 0.3, LAT)]
    return [
        {
            **common,
            "declared_id": f"d-{k}",
            "position_error_m": 50.0,
            "name": name,
            "it_mw": 20.0,
            "geometry": p,
        }
        for k, p in enumerate(places)
    ]


def ledger_row(rank: int, klass: str, site: str | None, declared: str | None, text: str) -> dict[str, object]:
    return {
        "entry_id": f"E-{rank}",
        "rank": rank,
        "class": klass,
        "site_id": site,
        "declared_id": declared,
        "p_match": None if declared is None else 0.87,
        "p_detect": 1.0 if site is None else None,
        "distance_m": 1234.0 if site and declared else None,
        "p_data_center": 0.93,
        "it_mw_p50": 52.0 if site else None,
        "declared_it_mw": 20.0 if declared else None,
        "undeclared_flop_90d": 1.26e26 / rank,
        "evidence_for": f"{text} Reason {rank}. More of it.",
        "evidence_against": f"{text} Against.",
        "settles": f"{text} Settles.",
        "geometry": None,
    }


def example(n: int = 3, name: str = "Alder", text: str = "", **changes: object) -> ReportData:
    sites = conform(site_rows(n), "sites")
    declared = conform(declared_rows(name), "declared")
    rows = [ledger_row(1, "above_declared", sites["site_id"][0], "d-0", text)]
    rows += [ledger_row(k + 1, "undeclared", sites["site_id"][k], None, text) for k in range(1, n - 1)]
    rows.append(ledger_row(n, "not_seen", None, "d-1", text))
    looked = [
        {"cell": "a", "imaged": 1.0, "clear_looks": 2, "screened": True, "failed": False, "reason": ""},
        {
            "cell": "b",
            "imaged": 0.0,
            "clear_looks": 0,
            "screened": False,
            "failed": True,
            "reason": f"HTTP 503 {text}",
        },
    ]
    for k, row in enumerate(looked):
        row["geometry"] = box(LON - 0.01 + 0.03 * k, LAT - 0.01, LON + 0.02 + 0.03 * k, LAT + 0.01)
    first = sites["site_id"][0]
    look = {"site_id": first, "reason": text, "ring_pixels": 90}
    looks = [{**look, "time": f"2026-0{m}-01", "used": m != 2, "excess_k": 0.5 * m} for m in (1, 2, 3)]
    heat = {
        "site_id": first,
        "looks_used": 2,
        "looks_total": 3,
        "lst_excess_k": 1.0,
        "ring_sd_k": 0.8,
        "robust_z": 1.2,
        "floor_mw": 560.0,
        "statement": f"{text} No information.",
    }
    footprint = {"object_id": "d1", "class": "data_center", "score": 0.9, "epistemic": 0.1, "area_m2": 100.0,
                 "on_border": False, "tile": "a", "scenes": "s", "geometry": sites.geometry[0]}  # fmt: skip
    values: dict[str, object] = {
        "title": f"Report {name}",
        "area_name": f"Area {text}",
        "created": "2026-11-23T12:00:00Z",
        "simulated": True,
        "sites": sites,
        "footprints": conform([footprint], "footprints"),
        "declared": declared,
        "ledger": conform(rows, "ledger"),
        "looked_at": conform(looked, "looked_at"),
        "thermal": conform([heat], "thermal"),
        "thermal_looks": conform(looks, "thermal_looks"),
        "not_looked_at": conform([{**declared_rows(name)[2], "looked_at": 0.0}], "declared"),
        "facts": {"Weights": f"w-1 {text}", "command": "overwatt run x.yaml"},
        "limits": [f"Indoor plant is not seen. {text}"],
        "attribution": [f"Imagery: simulated {text}"],
    }
    return ReportData(**{**values, **changes})


def nothing(**changes: object) -> ReportData:
    tables = ("sites", "footprints", "declared", "ledger", "looked_at", "thermal", "thermal_looks")
    bare = {name: empty(name) for name in tables} | {"not_looked_at": empty("declared")}
    return replace(example(), facts={}, limits=[], attribution=[], **{**bare, **changes})


class Page(HTMLParser):
    """Tags with their attributes, and the texts of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._open: str | None = None
        self.feed(html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = tag
            self.raw.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open:
            self.raw[-1] = (self.raw[-1][0], self.raw[-1][1] + data)
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return render_report(example())


def test_same_data_same_page(html: str) -> None:
    assert render_report(example()) == html


def test_sections_stand_in_order(html: str) -> None:
    marks = ["SIMULATED", "<h1>", 'id="said"', 'id="map"', 'id="ledger"', 'id="card-1"', 'id="nothing"']
    marks += ['id="coverage"', 'id="wrong"', 'id="made"']
    places = [html.index(mark) for mark in marks]
    assert places == sorted(places)
    assert "SIMULATED" not in render_report(example(simulated=False))


def test_policy_allows_only_this_page(html: str) -> None:
    page = Page(html)
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert "http" not in policy
    kinds = [a.get("type") for t, a in page.tags if t == "script"]
    scripts = [text for tag, text in page.raw if tag == "script"]
    executable = [text for text, kind in zip(scripts, kinds, strict=True) if kind is None]
    assert len(executable) == 2
    for text in executable + [t for tag, t in page.raw if tag == "style"]:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_no_request_no_inline_style_no_handler(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "form", "base")
        assert not [a for a in attributes if a == "style" or a.startswith("on")], (tag, attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    style = next(text for tag, text in page.raw if tag == "style")
    assert "url(" not in style
    assert "@import" not in style
    own = [text for tag, text in page.raw if tag == "script"][-1]
    assert not re.search(r"\beval\b|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write", own)


@pytest.mark.parametrize("bad", [HOSTILE, NASTY])
def test_hostile_texts_stay_texts(bad: str) -> None:
    good, page = (
        Page(render_report(example(name="Alder", text="note"))),
        Page(render_report(example(name=bad, text=bad))),
    )
    assert [t for t, _ in page.tags] == [t for t, _ in good.tags]
    assert HOSTILE in page.text
    assert "{{" not in bad or "{{ 7*7 }}" in page.text
    data = json.loads(next(text for tag, text in page.raw if '"footprints"' in text and text.startswith("{")))
    assert data["declared"][0]["t"][0] == bad


@given(st.recursive(st.text() | st.integers() | st.none(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
@settings(max_examples=40, deadline=None)
def test_safe_json_is_json_without_markup(value: object) -> None:
    text = context.safe_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_safe_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):  # the words of Python's own json
        context.safe_json({"x": math.nan})


def test_numbers_carry_their_intervals(html: str) -> None:
    page = Page(html)
    assert "52 (31 to 88)" in page.text.replace("  ", " ")
    assert "1.3 × 10 26" in page.text.replace("\xa0", " ")
    assert "31,000" in page.text
    assert re.search(r"0\.93\D+0\.3%", page.text)  # the probability and its prior
    assert re.search(r"52 MW\D+80%\D+31\D+88", html)  # the plot, in words
    assert "1.2 km" in page.text
    assert "nan" not in page.text.lower().split()
    assert "None" not in page.text.split()
    assert "<NA>" not in page.text


def test_front_page_says_what_imagery_cannot_do(html: str) -> None:
    front = Page(html[: html.index('id="ledger"')]).text
    assert re.search("10 26 .*10 25 .*blind", front)
    assert re.search("absence .*excess", front)
    assert "violation" not in html.lower()


def test_what_was_not_looked_at_is_never_empty(html: str) -> None:
    text = Page(html[html.index('id="coverage"') : html.index('id="wrong"')]).text
    assert "50% of the area" in text
    assert "HTTP 503" in text
    outside = Page(html[html.index('id="nothing"') : html.index('id="coverage"')]).text
    assert "Alder" in outside  # the declared place that was not looked at


def test_signed_links_lose_their_signature() -> None:
    link = "https://store.example/a.tif?sig=SECRET&se=1"
    html = render_report(example(text=link, attribution=[], limits=[], facts={"Scene": link}))
    coverage = html[html.index('id="coverage"') : html.index('id="wrong"')]
    assert "https://store.example/a.tif?[redacted]" in coverage
    assert "SECRET" not in coverage
    assert "SECRET" not in html[html.index('id="made"') :]
    drawn = json.loads(re.search(r'id="map-data">(.*?)</script>', html)[1])
    assert "SECRET" not in json.dumps(drawn["failed"])


def test_ledger_rows_in_order_of_rank_with_cards_that_exist(html: str) -> None:
    page = Page(html)
    rows = [a for t, a in page.tags if t == "tr" and a.get("data-anchor")]
    ids = [a["id"] for t, a in page.tags if t == "article"]
    assert [r["data-class"] for r in rows] == ["above_declared", "undeclared", "not_seen"]
    assert [r["data-anchor"] for r in rows] == ids[:3]
    assert len(ids) == len(set(ids)) == 4  # three of the ledger, and the site that did not enter it
    shuffled = example()
    assert render_report(replace(shuffled, ledger=shuffled.ledger.iloc[::-1].reset_index(drop=True))) == html


def test_every_class_has_words_and_a_colour() -> None:
    style = render_report(nothing())
    for name in LEDGER_CLASSES:
        assert wording.CLASS_LABEL[name]
        assert wording.CLASS_MEANING[name]
        assert f"--k-{name}:" in style
        assert f"--m-{name}:" in style


def test_nothing_at_all_still_makes_a_page() -> None:
    page = Page(render_report(nothing()))
    assert re.search(r"\b0 sites\b.*\b0 declared\b", page.text)
    assert not [a for _, a in page.tags if a.get("data-anchor")]


def test_five_hundred_sites_are_quick() -> None:
    """Processor time: a loaded machine makes no difference."""
    data = example(n=500, basemap=to_web_mercator(np.zeros((3, 300, 400), np.uint8), np.ones((300, 400), bool), GRID))
    start = time.process_time()
    html = render_report(data)
    assert time.process_time() - start < 10.0
    assert html.count("<article") == 501
    assert len(html) < 6_000_000


def test_only_given_chips_are_embedded() -> None:
    one = example()
    jpeg = chip(np.zeros((3, 300, 400), np.uint8), np.ones((300, 400), bool), GRID, one.footprints, Point(LON, LAT))
    page = Page(render_report(replace(one, chips={"d-1": jpeg})))
    sources = [a["src"] for t, a in page.tags if t == "img"]
    assert sources == [f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"]
    with pytest.raises(ValueError, match=naming("<svg", "JPEG", "PNG", "WebP")):
        render_report(replace(one, chips={"d-1": b"<svg onload=alert(1)>"}))


def test_map_over_the_antimeridian_is_one_map() -> None:
    data = example()
    moved = {
        name: getattr(data, name).set_geometry(getattr(data, name).geometry.affine_transform([1, 0, 0, 1, 207.0, 0]))
        for name in ("declared", "looked_at", "footprints")
    }
    wrap = moved["declared"].geometry.affine_transform([1, 0, 0, 1, -360.0, 0])
    moved["declared"] = moved["declared"].set_geometry(wrap)
    drawn = json.loads(re.search(r'id="map-data">(.*?)</script>', render_report(replace(data, **moved)))[1])
    lons = [d["g"]["coordinates"][0] for d in drawn["declared"]]
    west, _, east, _ = drawn["bounds"]
    assert all(west - 1 < lon < east + 1 for lon in lons)


@given(st.floats(1e-3, 1e5))
@settings(max_examples=40, deadline=None)
def test_written_numbers_are_near(value: float) -> None:
    if value >= 0.095:
        assert float(wording.mw(value).replace(",", "")) == pytest.approx(value, rel=0.06, abs=0.051)
    assert float(wording.count(value).replace(",", "")) == pytest.approx(value, rel=0.051, abs=0.51)
    mantissa, exponent = wording.power_of_ten(value * 1e22)
    assert float(f"{mantissa}e{exponent}") == pytest.approx(value * 1e22, rel=0.06)


def test_words_of_shares_and_probabilities() -> None:
    assert [wording.share(v) for v in (0.0, 0.003, 0.5, 0.9999, 1.0)] == ["0%", "0.3%", "50%", "99.9%", "100%"]
    assert [wording.probability(v) for v in (0.0, 0.5, 1.0)] == ["< 0.01", "0.50", "> 0.99"]
    assert wording.power_of_ten(0.0) == ("0", "")
    assert wording.first_sentence("One. Two.") == "One."
    assert len(wording.first_sentence("word " * 200)) < 230


def frame(geometry: object, klass: str = "data_center") -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame({"class": [klass]}, geometry=[geometry], crs="OGC:CRS84")


def picture() -> tuple[np.ndarray, np.ndarray]:
    """Grey, with one white block of 40 m: columns 190-209, rows 140-159."""
    rgb = np.full((3, 300, 400), 90, np.uint8)
    rgb[:, 140:160, 190:210] = 255
    return rgb, np.ones((300, 400), bool)


def block_lonlat() -> object:
    x0, y0, x1, y1 = 499600 + 380, 4983300 - 320, 499600 + 420, 4983300 - 280
    return gpd.GeoSeries([box(x0, y0, x1, y1)], crs="EPSG:32626").to_crs("OGC:CRS84")[0]


def test_basemap_lies_where_the_image_lies() -> None:
    rgb, valid = picture()
    valid[:, :100] = False
    basemap = to_web_mercator(rgb, valid, GRID)
    west, south, east, north = basemap.bounds
    corners = gpd.GeoSeries([box(*GRID.boundingbox)], crs="EPSG:32626").to_crs("OGC:CRS84")
    assert (west, south, east, north) == pytest.approx(tuple(corners.total_bounds), abs=2e-5)
    lon, lat = block_lonlat().centroid.coords[0]
    rows, cols = basemap.rgba.shape[:2]
    mercator = [math.asinh(math.tan(math.radians(v))) for v in (south, lat, north)]
    row = int((mercator[2] - mercator[1]) / (mercator[2] - mercator[0]) * rows)
    col = int((lon - west) / (east - west) * cols)
    assert basemap.rgba[row, col, 0] > 240
    assert basemap.rgba[row, col - 25, 0] < 110
    assert basemap.rgba[rows // 2, 5, 3] == 0
    assert basemap.rgba[rows // 2, cols - 60, 3] == 255
    assert Image.open(io.BytesIO(encode(basemap))).format == "WEBP"


def test_basemap_is_bounded_and_crosses_the_antimeridian() -> None:
    grid = GeoBox((50, 100), Affine(0.001, 0, 179.95, 0, -0.001, 10.0), "EPSG:4326")
    basemap = to_web_mercator(np.full((3, 50, 100), 7, np.uint8), np.ones((50, 100), bool), grid, max_px=40)
    assert max(basemap.rgba.shape[:2]) <= 40
    assert basemap.bounds == pytest.approx((179.95, 9.95, 180.05, 10.0), abs=1e-6)
    assert basemap.rgba[10, 20, 3] == 255


def near(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 60) -> np.ndarray:
    return (np.abs(pixels.astype(int) - np.array(colour)) < tolerance).all(axis=-1)


def test_chip_is_centred_to_scale_and_outlined() -> None:
    rgb, valid = picture()
    place = block_lonlat()
    shot = Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(place), place, margin_m=80.0, size_px=400)))
    assert (shot.format, shot.size) == ("JPEG", (400, 400))
    pixels = np.asarray(shot)
    magenta = near(pixels, OUTLINE_RGB["data_center"])
    rows, cols = np.nonzero(magenta)
    metres_px = 2 * 100.02 / 400  # half of 40 m and the margin, and UTM's scale of 0.9996
    assert np.ptp(cols) * metres_px == pytest.approx(40, abs=2.5)
    assert np.ptp(rows) * metres_px == pytest.approx(40, abs=2.5)
    assert (rows.mean(), cols.mean()) == pytest.approx((200, 200), abs=4)
    white = near(pixels[380:390, :200], (255, 255, 255), 40).any(axis=0)
    assert np.ptp(np.nonzero(white)[0]) * metres_px == pytest.approx(50, abs=2.5)  # the bar says 50 m


def test_chip_marks_declared_places_and_missing_imagery() -> None:
    rgb, valid = picture()
    declared = conform(declared_rows("Alder")[:1], "declared")
    spot = declared.geometry[0]
    with_it = np.asarray(Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(spot), spot, declared=declared))))
    without = np.asarray(Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(spot), spot))))
    assert near(with_it, DECLARED_RGB).sum() > 100
    assert near(without, DECLARED_RGB).sum() == 0
    far = Point(LON + 1.0, LAT)
    empty_chip = np.asarray(Image.open(io.BytesIO(chip(rgb, valid, GRID, frame(far), far))))
    assert np.median(empty_chip) > 190


def test_chip_is_north_up_on_a_turned_grid() -> None:
    turned = GeoBox((300, 300), Affine(0, 2, 499700, 2, 0, 4982700), "EPSG:32626")
    rgb = np.full((3, 300, 300), 60, np.uint8)
    rgb[:, :, 160:] = 220  # columns run north here
    place = gpd.GeoSeries([Point(500000, 4983010)], crs="EPSG:32626").to_crs("OGC:CRS84")[0]
    shot = chip(rgb, np.ones((300, 300), bool), turned, frame(place), place, size_px=200)
    grey = np.asarray(Image.open(io.BytesIO(shot)).convert("L"))
    assert grey[40, 60:140].mean() > 180
    assert grey[150, 60:140].mean() < 90


def test_overlay_draws_on_the_images_own_grid() -> None:
    rgb, valid = picture()
    labels = gpd.GeoDataFrame({"label": ["A <b>"]}, geometry=[block_lonlat()], crs="OGC:CRS84")
    plain = Image.open(io.BytesIO(overlay(rgb, valid, GRID, frame(block_lonlat()))))
    assert (plain.format, plain.size) == ("PNG", (400, 300))
    rows, cols = np.nonzero(near(np.asarray(plain), OUTLINE_RGB["data_center"], 5))
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == pytest.approx((140, 160, 190, 210), abs=2)
    labelled = overlay(rgb, valid, GRID, frame(block_lonlat()), labels, max_px=200)
    assert Image.open(io.BytesIO(labelled)).size == (200, 150)


def test_interval_plot_is_accessible_deterministic_and_free_of_style() -> None:
    data = example()
    svg = interval_plot(data.sites, data.ledger)
    assert svg == interval_plot(data.sites, data.ledger)
    assert "style=" not in svg
    assert "<style" not in svg
    assert "http-equiv" not in svg
    assert 'role="img"' in svg
    for site_id in data.sites["site_id"]:
        assert f">{site_id}<" in svg
    assert "var(--declared)" in svg
    assert "var(--declared)" not in interval_plot(data.sites)
    odd = data.sites.assign(site_id=["$a_b$", "<i>&", "c"])
    assert "&lt;i&gt;&amp;" in interval_plot(odd)
    assert "$a_b$" in interval_plot(odd)
    assert interval_plot(conform(site_rows(70), "sites")).count(">N45") == 60
    assert interval_plot(empty("sites")).startswith("<svg")
