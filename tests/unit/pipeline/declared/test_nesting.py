"""Geometries that are nested too deep are told before they are parsed."""

import json

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from overwatt.pipeline.declared.coordinates import drawn
from overwatt.pipeline.declared.nesting import MAX_DEPTH, too_deep

POINT = "0101000000" + "00" * 16
FORMS = {
    "WKT": lambda n: "GEOMETRYCOLLECTION(" * n + "POINT(1 2)" + ")" * n,
    "hexadecimal WKB": lambda n: "010700000001000000" * n + POINT,
    "big-endian": lambda n: bytes.fromhex("000000000700000001" * n + POINT),
    "with points before": lambda n: bytes.fromhex(("010700000002000000" + POINT) * n + POINT),
    "EWKB with Z": lambda n: bytes.fromhex("0107000080" + "01000000" + ("01EF03000001000000") * n + POINT),
    "several polygons": lambda n: "010600000001000000" * n + POINT,
    "GeoJSON": lambda n: (
        '{"type":"GeometryCollection","geometries":[' * n + '{"type":"Point","coordinates":[1,2]}' + "]}" * n
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("levels", [60, 300_000])
def test_deep_geometries_are_faults_of_their_rows(form, levels):
    shapes, faults = drawn(np.array([FORMS[form](levels), "POINT(1 2)"], object))
    assert shapes.tolist() == [None, shapely.Point(1, 2)]
    assert faults == {0: f"nested deeper than {MAX_DEPTH} levels"}


@pytest.mark.parametrize("form", FORMS)
def test_usual_ones_are_not_deep(form):
    assert not too_deep(FORMS[form](5))


boxes = st.tuples(st.floats(-170, 170), st.floats(-80, 80)).map(lambda p: shapely.box(*p, p[0] + 1, p[1] + 1))


@given(st.lists(boxes, min_size=1, max_size=120), st.booleans(), st.booleans())
def test_many_parts_are_not_deep(parts, collected, ordered):
    shape = (shapely.geometrycollections if collected else shapely.multipolygons)(parts)
    bare, high = (shapely.to_wkb(g, byte_order=int(ordered), flavor="iso") for g in (shape, shapely.force_3d(shape)))
    for cell in (shape.wkt, bare, bare.hex(), high, json.dumps(shapely.geometry.mapping(shape))):
        assert not too_deep(cell)
