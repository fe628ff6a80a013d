"""OpenStreetMap in every form in which Overpass and its converters give it."""

import json

import pytest
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.workflows.io import registries
from tests.support import naming

SIDE = 0.001
CORNERS = [(1.0, 2.0), (1.0 + SIDE, 2.0), (1.0 + SIDE, 2.0 + SIDE), (1.0, 2.0 + SIDE)]
RING = [*CORNERS, CORNERS[0]]
SQUARE = shapely.Polygon(RING)
TAGS = {"building": "data_center", "name": "Ash"}
POINTS = [{"lon": x, "lat": y} for x, y in RING]
VERTICES = [{"type": "node", "id": k, **p} for k, p in enumerate(POINTS[:4])]
WAY = {"type": "way", "id": 9, "nodes": [0, 1, 2, 3, 0]}


def read(tmp_path, content, aside=None):
    file = tmp_path / "o.json"
    file.write_text(json.dumps(content))
    return registries.read(file, aside=aside)


def feature(properties, geometry, **more):
    return {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(geometry), **more}


HALVES = [
    {"type": "way", "ref": 1, "role": "outer", "geometry": POINTS[:3]},
    {"type": "way", "ref": 2, "role": "outer", "geometry": POINTS[2:]},
]
FORMS = {
    "geom": [{**WAY, "tags": TAGS, "geometry": POINTS}],
    "body and skel": [{**WAY, "tags": TAGS}, *VERTICES],
    "tags and body twice": [{"type": "way", "id": 9, "tags": TAGS}, WAY, *VERTICES],
    "relation, geom": [{"type": "relation", "id": 9, "tags": TAGS, "members": HALVES}],
    "relation, member ways": [
        {"type": "relation", "id": 9, "tags": TAGS, "members": [{"type": "way", "ref": 9, "role": "outer"}]},
        WAY, *VERTICES,
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_outlines_are_assembled_and_vertices_are_no_facilities(tmp_path, form):
    table = read(tmp_path, {"elements": FORMS[form]}, aside=[])
    assert table["name"].tolist() == ["Ash"]
    assert table.geometry[0].normalize().equals_exact(SQUARE.normalize(), 1e-12)
    assert table["area_m2"][0] == pytest.approx(111 * 111, rel=0.02)


def test_inner_members_are_holes_and_tagged_nodes_are_facilities(tmp_path):
    hole = shapely.box(1.0002, 2.0002, 1.0004, 2.0004)
    inner = [{"lon": x, "lat": y} for x, y in hole.exterior.coords]
    members = [*HALVES, {"type": "way", "ref": 3, "role": "inner", "geometry": inner}]
    node = {"type": "node", "id": 2, "lon": 1.5, "lat": 2.5, "tags": {"telecom": "data_center"}}
    table = read(tmp_path, {"elements": [{"type": "relation", "id": 1, "tags": TAGS, "members": members}, node]})
    assert table["declared_id"].tolist() == ["relation/1", "node/2"]
    assert table.geometry[0].equals(SQUARE - hole)


@pytest.mark.parametrize(
    ("properties", "more"),
    [
        ({"@id": "way/9", **TAGS, "disused:building": "yes"}, {"id": "way/9"}),
        ({"id": "way/9", **TAGS, "disused:building": "yes"}, {}),
        ({"type": "way", "id": 9, "tags": {**TAGS, "disused:building": "yes"}, "meta": {}}, {"id": "way/9"}),
    ],
)
@pytest.mark.parametrize("drawn", [SQUARE, shapely.LineString(RING), shapely.MultiPolygon([SQUARE])])
def test_geojson_of_converters_has_the_status_of_openstreetmap(tmp_path, properties, more, drawn):
    table = read(tmp_path, {"type": "FeatureCollection", "features": [feature(properties, drawn, **more)]})
    assert table["declared_id"].tolist() == ["way/9"]
    assert table["status"].tolist() == ["closed"]
    assert table.geometry[0].area == pytest.approx(SQUARE.area)
    assert table["source"].tolist() == ["OpenStreetMap"]


def test_the_table_of_out_csv(tmp_path):
    text = "@id\t@type\tname\tdisused:building\t@lat\t@lon\n1\tway\tAsh\tyes\t2.5\t1.5\n1\tnode\t\t\t2.6\t1.5\n2\tway\n"
    (tmp_path / "o.csv").write_text(text)
    aside = []
    table = registries.read(tmp_path / "o.csv", aside=aside)
    assert table["declared_id"].tolist() == ["way/1", "node/1"]
    assert table["status"].tolist() == ["closed", "operational"]
    assert table["source"].unique().tolist() == ["OpenStreetMap"]
    assert [row for row, _, _ in aside] == [3]


def test_what_is_not_used_has_its_reason(tmp_path):
    node = {"type": "node", "id": 7, "lon": 1.5, "lat": 2.5, "tags": TAGS}
    elements = [
        node, node, {**WAY, "tags": TAGS, "geometry": [*POINTS[:2], None, *POINTS[3:]]},
        {"type": "way", "id": 10, "tags": TAGS, "geometry": POINTS[:3]},
        {"type": "way", "id": 11, "tags": TAGS},
        {"type": "way", "id": 12, "tags": TAGS, "bounds": {"minlat": 2, "minlon": 1, "maxlat": 2.01, "maxlon": 1.01}},
        {"type": "relation", "id": 13, "tags": TAGS, "members": HALVES[:1]},
        {"type": "way", "id": [1], "tags": "x"}, 5,
        {"type": "way", "id": 14, "tags": TAGS | {"power": ["line"]}, "bounds": {"minlon": 10**400}},
        {"type": "way", "id": 15, "tags": TAGS, "bounds": {"minlat": 2, "minlon": 10**400, "maxlat": 2, "maxlon": 1}},
    ]  # fmt: skip
    aside = []
    table = read(tmp_path, {"elements": elements}, aside)
    assert table["declared_id"].tolist() == ["node/7", "way/12"]
    assert table["position_error_m"][1] > 700  # half the diagonal of its box
    reasons = {row: reason for row, _, reason in aside}
    assert sorted(reasons) == [2, 3, 4, 5, 7, 8, 9, 10, 11]
    for row, word in {
        2: "row 1",
        3: "vertices",
        4: "open line",
        5: "no coordinates",
        7: "closed ring",
        11: "bounds",
    }.items():
        assert word in reasons[row]


@pytest.mark.parametrize(
    ("elements", "word"),
    [
        ([{"type": "way", "id": 1, "tags": TAGS}], "no element has a place"),  # out tags
        ([{"type": "way", "id": 1}], "no element has a place"),  # out ids
        (VERTICES, "no element has tags"),  # out skel
    ],
)
def test_answers_without_places_or_tags_say_what_to_ask(tmp_path, elements, word):
    with pytest.raises(RegistryError, match=naming("'o.json'", word, "out center;", "out geom;")):
        read(tmp_path, {"elements": elements})


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ({"building": "data_center"}, "operational"),
        ({"was:building": "data_center"}, "closed"),
        ({"removed:telecom": "data_center"}, "closed"),
        ({"building": "ruins", "telecom": "data_center"}, "closed"),
        ({"building": "data_center", "disused": "yes"}, "closed"),
        ({"building": "data_center", "disused": "no"}, "operational"),
        ({"telecom": "data_center", "demolished:building": "barn"}, "operational"),
        ({"building": "data_centre", "construction:name": "Ash 2"}, "operational"),
        ({"office": "it", "was:name": "Elm", "old_name": "x"}, "operational"),
        ({"cancelled:telecom": "data_center"}, "cancelled"),
        ({"construction:building": "data_center", "landuse": "industrial"}, "construction"),
        ({"telecom": "data_center", "building": "construction"}, "construction"),
        ({"building": "data_center", "end_date": "2019"}, "closed"),
        ({"building": "construction", "construction": "data_center"}, "construction"),
        ({"proposed:building": "data_center"}, "planned"),
        ({"telecom": "data_center", "operational_status": "out of order"}, "unknown"),
        ({"telecom": "data_center", "operational_status": "closed"}, "closed"),
    ],
)
def test_tags_of_the_life_cycle_give_the_status(tmp_path, tags, status):
    file = tmp_path / "o.json"
    node = {"type": "node", "id": 1, "lat": 2.5, "lon": 1.5, "tags": {"name": "Ash", **tags}}
    file.write_text(json.dumps({"elements": [node]}))
    assert registries.read(file, "osm")["status"].tolist() == [status]
