import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from overwatt.aoi.geodesy import GEOD, WGS84
from overwatt.pipeline import tables
from overwatt.pipeline.report import fitting
from overwatt.pipeline.report.visit_views import CHIP_HALF_M, MAP_HALF_M, views_of
from overwatt.pipeline.report.visits import VisitsData, _minutes, render_visits

HOSTILE = "</script><img src=x onerror=alert(1)><style>*{display:none}</style>"
FINDINGS = {"ai": "a data center with AI compute", "refused": "access was refused"}
ESTIMATES = {f"{s}_{q}": 5.0 for s in ("it_mw", "facility_mw", "h100e", "flop_90d") for q in ("p05", "p50", "p95")}


def square(lon, lat, half=0.001):
    return shapely.box(lon - half, lat - half, lon + half, lat + half)


def place(k, lon=-27.0, lat=45.0, **more):
    shape = square(lon + 0.004 * k, lat)
    row = {"entry_id": f"E-{k}", "rank": k, "class": "undeclared", "name": f"S{k}", "site_id": f"S{k}",
           "declared_id": None, "lon": lon + 0.004 * k, "lat": lat, "position_sigma_m": 10.0, "p_data_center": 0.8,
           "prior": 0.15, "evidence_for": "One. Two.", "evidence_against": "Three.", "settles": "Four; five.",
           "inspection_probability": 0.9, "building_area_m2": 9e3, "cooling_area_m2": 4e2, "on_border": False,
           "image_date": None, "geometry": shape, **ESTIMATES}  # fmt: skip
    return row | more


def cell(name="cell c1", **more):
    blank = dict.fromkeys(place(1))
    return blank | {"entry_id": name, "name": name, "class": "nothing found", "lon": -27.0, "lat": 45.01,
                    "settles": "a visit", "geometry": square(-27.0, 45.01, 0.004)} | more  # fmt: skip


def content(rows, **more):
    frame = gpd.GeoDataFrame(pd.DataFrame(rows).astype({"rank": "Int64"}), geometry="geometry", crs=WGS84)
    looked = tables.conform(
        [{"cell": f"c{k}", "imaged": 1.0, "clear_looks": 1, "screened": k > 0, "failed": False, "reason": "",
          "geometry": square(-27.0 + 0.01 * k, 45.005, 0.005)} for k in range(3)], "looked_at",
    )  # fmt: skip
    found = {"looked_at": looked, "title": "Run", "chosen": "As drawn.", "findings": FINDINGS} | more
    return VisitsData(places=frame, listed=frame, views=views_of(frame, found["looked_at"], frame), **found)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def sheets(html):
    return re.findall(r'<article class="sheet".*?</article>', html, re.DOTALL)


def words(html):
    return " ".join(" ".join(Page(html).texts).split())


def test_every_place_has_one_sheet_in_order():
    html = render_visits(content([place(1), place(2), cell()]))
    assert [re.search(r"<b>(.*?)</b></p>", s)[1] for s in sheets(html)] == ["E-1", "E-2", "cell c1"]
    assert all("overwatt record RUN FILE" in s for s in sheets(html))
    for meaning in FINDINGS.values():
        assert html.count(meaning) == 3
    assert render_visits(content([place(1), place(2), cell()])) == html


def test_a_sheet_says_where_why_and_what_it_rests_on():
    text = words(render_visits(content([place(1, image_date="2026-05-04", p_match=0.38)])))
    for said in ("Seen, not declared: S1", "45.00000", "-26.99600", "45° 00.000′ N", "26° 59.760′ W", "10 m (1 sigma)",
                 "2026-05-04", "0.80 at a prior of 15%", "none matched; probability 0.38 that one is meant",
                 "9,000 m² of buildings", "5.0 to 5.0", "A question to be settled, not a finding."):  # fmt: skip
        assert said in text, said
    assert "violation" not in text.lower()


def test_what_is_unknown_is_said():
    bare = dict.fromkeys(place(1)) | {"entry_id": "E-1", "rank": 1, "class": "not_seen", "declared_id": "d"}
    text = words(render_visits(content([bare | {"geometry": shapely.Point(-27, 45), "lon": -27.0, "lat": 45.0}])))
    for said in ("Position error not stated", "Image taken not stated", "p (data center) unknown", "power not stated, "
                 "status not stated, operator not stated", "unknown, because no site was seen here",
                 "Evidence for not stated", "No imagery of this place."):  # fmt: skip
        assert said in text, said


def test_a_place_without_position_still_has_its_sheet():
    html = render_visits(content([place(1) | {"geometry": None, "lon": None, "lat": None}, place(2)]))
    assert len(sheets(html)) == 2
    assert "No position is stated" in sheets(html)[0]
    assert "No position is stated" not in sheets(html)[1]


def test_cells_say_what_was_looked_at_and_what_is_declared_there():
    declared = tables.conform(
        [{"declared_id": "d", "position_error_m": 30.0, "kind": "facility", "source": "t", "name": "Alder",
          "geometry": shapely.Point(-27.0, 45.01)}], "declared",
    )  # fmt: skip
    rows = [cell(evidence_against="80% was imaged"), cell("cell c2", **{"class": "not looked at"})]
    html = render_visits(content(rows, declared=declared, image_date="2026-05-04"))
    first, second = (words(s) for s in sheets(html)[:2])
    assert "Empty cell" in first
    assert "80% was imaged" in first
    assert "1 in the cell: Alder" in first
    assert "The visit is a check." in first
    assert "Cell not looked at" in second
    assert "Image taken no image" in second


def test_an_almost_listed_site_is_a_site_and_says_why_it_is_visited():
    almost = place(2, rank=None, left_out="value", drawn=True, next_step="none")
    first, second = (words(s) for s in sheets(render_visits(content([place(1), almost]))))
    for said in ("none: almost listed", "Almost listed.", "neither a visit nor an image would pay", "draws at random",
                 "9,000 m² of buildings", "The visit is a check."):  # fmt: skip
        assert said in second, said
    assert "an almost-listed site" in first
    assert "draws at random" not in first


@pytest.mark.parametrize(("step", "said"), [("none", True), ("visit", False), (None, False)])
def test_a_visit_that_nothing_speaks_for_says_why(step, said):
    html = render_visits(content([place(1, drawn=True, next_step=step)]))
    assert ("Next step: nothing yet. The plan draws at random" in words(html)) == said


def test_where_the_position_differs_the_declared_place_is_stated_and_marked():
    declared = tables.conform(
        [{"declared_id": "d", "position_error_m": 30.0, "kind": "facility", "source": "t", "name": "Alder",
          "geometry": shapely.Point(-27.0, 45.0)}], "declared",
    )  # fmt: skip
    differs = place(1, declared_id="d", **{"class": "position_mismatch"})
    html = render_visits(content([differs], declared=declared))
    assert "Declared place 45.00000 -27.00000" in words(html)
    assert "m west of what was seen" in words(html)
    assert html.count(">declared</text>") == 2 - (content([differs]).views["E-1"][1].half_m < 315)


def test_texts_of_registries_are_text():
    bad = dict.fromkeys(("entry_id", "name", "class", "declared_id", "declared_operator", "declared_status",
                         "evidence_for", "evidence_against", "settles", "image_date"), HOSTILE)  # fmt: skip
    html = render_visits(content([place(1, **bad)], title=HOSTILE, attribution=[HOSTILE], imagery=HOSTILE))
    safe = render_visits(content([place(1)], attribution=["a"], imagery="b"))
    assert {t for t, _ in Page(html).tags} <= {t for t, _ in Page(safe).tags} | {"bdi"}
    assert "alert(1)&gt;" in html


def test_no_script_no_handler_no_request():
    page = Page(html := render_visits(content([place(1), cell()], pictures={})))
    assert not any(tag == "script" or name.startswith("on") or name == "style" for tag, a in page.tags for name in a)
    assert not re.search(r"https?://", html)
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy


def test_pictures_are_those_of_their_views():
    data = content([place(1), place(2)])
    chip = data.views["E-2"][1]
    html = render_visits(content([place(1), place(2)], pictures={chip: b"\xff\xd8picture"}))
    first, second = sheets(html)
    assert "data:image/jpeg" not in first
    assert base64.b64encode(b"\xff\xd8picture").decode() in second


def test_nothing_to_visit_is_said():
    data = content([place(1)])
    html = render_visits(replace(data, places=data.places.iloc[:0]))
    assert len(sheets(html)) == 1
    assert "No visit As drawn." in words(html)


def test_a_small_area_is_one_map_and_a_large_one_is_shown_around_the_place():
    small = content([place(1), place(2)]).views
    assert small["E-1"][0].half_m == small["E-2"][0].half_m < MAP_HALF_M
    (lon1, lat1), (lon2, lat2) = ((v.lon, v.lat) for v in (small["E-1"][0], small["E-2"][0]))
    assert GEOD.inv(lon1, lat1, lon2, lat2)[2] < 3
    wide = tables.conform(
        [{"cell": "c", "imaged": 1.0, "clear_looks": 1, "screened": True, "failed": False, "reason": "",
          "geometry": square(-27, 45, 0.5)}], "looked_at",
    )  # fmt: skip
    view = content([place(1)], looked_at=wide).views["E-1"][0]
    assert (round(view.lon, 3), round(view.lat, 3), view.half_m) == (-26.996, 45.0, MAP_HALF_M)


@pytest.mark.parametrize(("half", "expected"), [(1e-5, CHIP_HALF_M[0]), (0.1, CHIP_HALF_M[1])])
def test_a_chip_is_neither_too_small_nor_too_large(half, expected):
    shown = content([place(1, geometry=square(-27, 45, half))]).views["E-1"][1]
    assert shown.half_m == expected


def test_a_chip_shows_twice_the_position_error_of_what_was_not_seen():
    unseen = place(1, site_id=None, position_sigma_m=200.0, geometry=shapely.Point(-27, 45))
    assert content([unseen]).views["E-1"][1].half_m > 400


def test_lines_are_no_ground_of_a_cell():
    line = shapely.LineString([(-27, 45), (-27, 45.1)])
    mixed = shapely.GeometryCollection([square(-27, 45, 0.002), line])
    assert content([cell(geometry=mixed)]).views["cell c1"][1].half_m < 500


def test_across_the_antimeridian_cells_and_neighbours_are_drawn():
    cells = [{"cell": f"c{k}", "imaged": 1.0, "clear_looks": 1, "screened": True, "failed": False, "reason": "",
              "geometry": square(lon, 10.0, 0.005)} for k, lon in enumerate((179.995, -179.995))]  # fmt: skip
    data = content([place(1, 179.99, 10.0), place(2, -180.012, 10.0)], looked_at=tables.conform(cells, "looked_at"))
    html = sheets(render_visits(data))[0]
    assert data.views["E-1"][0].half_m < 1500
    assert html.count('class="grid"') == 2
    assert html.count('class="dot"') == 1


@given(st.floats(-180, 180))
def test_degrees_and_minutes_are_the_place(value):
    degrees, minutes, sign = re.fullmatch(r"(\d+)° (\d\d\.\d{3})′ ([EW])", _minutes(value, "EW")).groups()
    assert float(minutes) < 60
    found = (int(degrees) + float(minutes) / 60) * (-1 if sign == "W" else 1)
    assert found == pytest.approx(value, abs=0.00051 / 60)


@given(st.text(), st.integers(1, 20), st.floats(10, 60))
def test_a_fitted_text_fits_and_is_its_beginning(text, lines, width):
    shown = fitting.fitted(text, lines, width)
    assert fitting._height(shown, width) <= lines
    plain = " ".join(text.split())
    assert shown == plain or plain.startswith(shown.removesuffix("…").rstrip())


@given(st.lists(st.text("aW 世ا", min_size=1, max_size=200).filter(str.strip), max_size=30), st.integers(2, 15))
def test_bullets_fit_and_the_rest_is_counted(parts, lines):
    text = ". ".join(" ".join(p.split()) for p in parts)
    every, none_left = fitting.bullets(text, lines=10**6)
    shown, left = fitting.bullets(text, lines=lines)
    assert none_left == 0
    assert len(shown) + left == len(every)
    assert sum(fitting._height(s) for s in shown) + (left > 0) <= lines
    assert not left or shown
    assert np.all([e.startswith(s.removesuffix("…").rstrip()) for e, s in zip(every, shown, strict=False)])
