"""Table schemas: what they take and what they refuse."""

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from overwatt.pipeline.tables import SCHEMAS, conform, empty
from tests.support import naming

CELL = {
    "cell": "r000c000",
    "imaged": 1,
    "clear_looks": 1.0,
    "screened": True,
    "failed": False,
    "reason": "",
    "geometry": shapely.box(0, 0, 1, 1),
}
LOOK = {"site_id": "a", "time": "2024-01-01", "used": True, "reason": "", "ring_pixels": 3}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_an_empty_table_has_every_column_with_its_dtype(name):
    frame = empty(name)
    for column in SCHEMAS[name]:
        assert frame[column.name].dtype == pd.api.types.pandas_dtype(column.dtype)
    if isinstance(frame, gpd.GeoDataFrame):
        assert frame.crs == "OGC:CRS84"
    assert conform(frame, name).equals(frame)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_every_column_says_what_it_is(name):
    names = [c.name for c in SCHEMAS[name]]
    assert len(set(names)) == len(names)
    for column in SCHEMAS[name]:
        assert column.meaning
        if column.name.endswith(("_m2", "_m", "_k")) or "_mw_" in column.name:
            assert column.unit in {"m2", "m", "K", "MW"}


def test_columns_come_in_order_with_their_dtypes():
    frame = conform([dict(reversed(CELL.items()))], "looked_at")
    assert frame.columns.tolist() == [c.name for c in SCHEMAS["looked_at"]] + ["geometry"]
    assert frame["imaged"].dtype == "float64"
    assert frame["clear_looks"].dtype == "int64"


def test_conform_is_idempotent():
    frame = conform([CELL, {**CELL, "cell": "b"}], "looked_at")
    assert conform(frame, "looked_at").equals(frame)


@pytest.mark.parametrize("missing", ["cell", "imaged", "screened", "geometry"])
def test_a_missing_column_is_refused(missing):
    with pytest.raises(ValueError, match=naming("looked_at", f"'{missing}'")):
        conform([{k: v for k, v in CELL.items() if k != missing}], "looked_at")


@pytest.mark.parametrize("name", ["cell", "imaged", "clear_looks", "screened", "failed"])
@pytest.mark.parametrize("null", [None, float("nan"), pd.NA])
def test_a_null_is_refused_whatever_the_dtype(name, null):
    with pytest.raises(ValueError, match=naming("looked_at", f"'{name}'")):
        conform([CELL, {**CELL, name: null}], "looked_at")


def test_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match=naming("looked_at", "'imagde'")):
        conform([{**CELL, "imagde": 1}], "looked_at")


def test_a_nullable_column_may_be_absent_or_null():
    frame = conform([LOOK, {**LOOK, "site_k": 300.5}], "thermal_looks")
    assert frame["site_k"].isna().tolist() == [True, False]
    assert frame["ring_k"].dtype == "float64"
    assert "geometry" not in frame


def test_a_table_without_geometry_refuses_one():
    with pytest.raises(ValueError, match=naming("thermal_looks", "'geometry'")):
        conform([{**LOOK, "geometry": shapely.Point(0, 0)}], "thermal_looks")


def test_a_number_that_is_none_is_refused():
    with pytest.raises((ValueError, TypeError)):
        conform([{**CELL, "imaged": "much"}], "looked_at")
