"""Law: every row of a registry is used, joined with another, or kept aside with its reason."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import RegistryError
from overwatt.workflows.io import registries

cell = st.sampled_from(
    ["1.5", "2,5", "-77.46", "", "x", '"', '"a', "nan", "1e9", "77°27'36\"W", "200", "0", "1,234", "\t", "Total", "-1"]
)
status = st.sampled_from(["Operating", "TBD", "", "cancelled", "planned (2027)"])
name = st.sampled_from(["a", "b", "c", "", "7.0"])
rows = st.lists(st.tuples(name, cell, cell, cell, status), min_size=1, max_size=8)
number = st.one_of(st.floats(-200, 200), st.none(), st.just("39.02"), st.just("x"))
geometry = st.one_of(
    st.none(),
    st.builds(lambda x, y: {"type": "Point", "coordinates": [x, y]}, st.floats(-300, 300), st.floats(-90, 90)),
    st.just({"type": "MultiPoint", "coordinates": [[1, 2], [9, 9]]}),
    st.just({"type": "LineString", "coordinates": [[1, 2], [9, 9]]}),
)
nodes = st.builds(
    lambda i, x, tags: {"type": "node", "id": i, "lon": x, "lat": 1.5, "tags": tags},
    st.integers(1, 3), number, st.sampled_from([{"building": "data_center"}, {"power": "line"}, {"name": "x"}]),
)  # fmt: skip


def check(file, n):
    aside = []
    try:
        table = registries.read(file, aside=aside)
    except RegistryError:  # no row is usable
        return
    assert len(table) + len(aside) == n
    assert all(reason for _, _, reason in aside)
    assert len({row for row, _, _ in aside}) == len(aside)


@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from("\t;|"))
def test_rows_of_a_csv(tmp_path_factory, rows, separator):
    file = tmp_path_factory.mktemp("d") / "r.csv"
    lines = [separator.join(c.replace("\t", " ") for c in row) for row in rows]
    file.write_text(separator.join(("id", "lon", "lat", "it_mw", "status")) + "\n" + "\n".join(lines) + "\n")
    # a quote that closes in a later line joins the lines, so only rows without quotes are counted
    if not any('"' in c and "°" not in c for row in rows for c in row):
        check(file, sum(bool(line.strip(separator + " ")) for line in lines))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(geometry, number, number), min_size=1, max_size=6))
def test_rows_of_a_geojson(tmp_path_factory, rows):
    features = [
        {"type": "Feature", "properties": {"name": f"n{k}", "lon": x, "lat": y}, "geometry": g}
        for k, (g, x, y) in enumerate(rows)
    ]
    file = tmp_path_factory.mktemp("d") / "r.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    check(file, len(rows))


@settings(max_examples=40, deadline=None)
@given(st.lists(nodes, min_size=1, max_size=6))
def test_elements_of_openstreetmap(tmp_path_factory, elements):
    file = tmp_path_factory.mktemp("d") / "r.json"
    file.write_text(json.dumps({"elements": elements}))
    check(file, len(elements))


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_broken_quote_costs_its_own_row_only(tmp_path, separator):
    lines = ["id,lon,lat,name", "a,1.5,2.5,x", 'b,1.5,3.5,"never', "c,1.5,4.5,y", 'd,1.5,5.5,"z"']
    (tmp_path / "r.csv").write_text("\n".join(lines).replace(",", separator) + "\n")
    aside = []
    table = registries.read(tmp_path / "r.csv", aside=aside)
    assert table["declared_id"].tolist() == ["a", "c", "d"]
    assert [row for row, _, _ in aside] == [2]
