"""Findings become labels: of a cell without what stands in it, of a re-run without the sites that are gone."""

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from overwatt.aoi.geodesy import WGS84
from overwatt.workflows.io.dispositions import FINDINGS, latest
from overwatt.workflows.tiles import from_dispositions
from overwatt.workflows.tiles.from_dispositions import verdicts_of
from tests.support import names

CELL = shapely.box(9.0, 50.0, 9.1, 50.1)
IN_IT, OVER_ITS_EDGE, FAR = (shapely.box(x, 50.04, x + 0.01, 50.05) for x in (9.02, 9.095, 9.5))


def finding(i, what, entry=None, site=None, shape=None, day=1):
    return {"disposition_id": i, "entry_id": entry, "site_id": site, "finding": what, "class": FINDINGS[what],
            "time": pd.Timestamp(f"2026-05-{day:02d}", tz="UTC"), "geometry": shape}  # fmt: skip


def table(*rows):
    frame = pd.DataFrame(rows)
    return gpd.GeoDataFrame(frame, geometry=gpd.GeoSeries(list(frame["geometry"]), crs=WGS84), crs=WGS84)


def verdicts(*rows, sites=(IN_IT, OVER_ITS_EDGE, FAR)):
    shapes = gpd.GeoSeries(list(sites), crs=WGS84)
    run = gpd.GeoDataFrame(
        {"site_id": [f"S{k}" for k in range(len(sites))], "p_data_center": 0.5}, geometry=shapes, crs=WGS84
    )
    buildings = gpd.GeoDataFrame({"class": ["data_center"] * len(sites)}, geometry=shapes, crs=WGS84)
    return verdicts_of(table(*rows), run, buildings, {"cell c": CELL}, "d")


@pytest.mark.parametrize("outline", [None, CELL, CELL.buffer(0.01)])
def test_of_an_empty_cell_the_sites_of_the_run_are_left_out_drawn_or_not(outline):
    found = verdicts(finding("d1", "not_dc", "cell c", shape=outline))
    assert found.examples["kind"].tolist() == ["empty_cell"]
    assert found.labels["class"].tolist() == ["not_data_center"]
    label = found.labels.geometry.iloc[0]
    assert not any(shapely.area(shapely.intersection(label, s)) > 1e-12 for s in (IN_IT, OVER_ITS_EDGE))
    assert label.area == pytest.approx((outline or CELL).difference(IN_IT | OVER_ITS_EDGE).area)


@pytest.mark.parametrize(
    "other", [finding("d2", "ai", "E-1", site="S0"), finding("d2", "non_ai_dc", "E-9", shape=IN_IT)]
)
@pytest.mark.parametrize("cell_first", [True, False])
def test_a_data_center_in_an_empty_cell_is_named_and_left_out(other, cell_first):
    rows = [finding("d1", "not_dc", "cell c"), other]
    found = verdicts(*(rows if cell_first else rows[::-1]), sites=() if other["site_id"] is None else (IN_IT,))
    (note,) = found.notes()
    assert names(note, "d1", "d2", "cell c")
    label = found.labels.geometry[(found.labels["disposition_id"] == "d1").to_numpy()].iloc[0]
    assert shapely.area(shapely.intersection(label, IN_IT)) < 1e-12


def test_findings_on_what_the_run_does_not_have_are_counted_and_named():
    found = verdicts(
        finding("d1", "ai", site="S9"),
        finding("d2", "not_dc", "cell gone"),
        finding("d3", "refused", site="S9"),
        finding("d4", "ai", site="S2"),
    )
    assert (found.gone, found.without_outline, found.no_label) == (["d1", "d2"], [], [])
    assert found.examples["disposition_id"].tolist() == ["d4"]
    (note,) = found.notes()
    assert names(note, 2, "d1", "d2")


def test_what_needs_an_outline_and_what_needs_none_is_told_apart():
    found = verdicts(finding("d1", "ai", "E-1"), finding("d2", "not_dc", "E-2"), finding("d3", "refused", "E-3"))
    assert (found.without_outline, found.no_label) == (["d1"], ["d2"])
    first, second = found.notes()
    assert names(first, 1, "d1", "draw the data center")
    assert names(second, 1, "d2", "need no outline")


def test_a_later_finding_of_a_data_center_keeps_the_outline_that_was_drawn():
    rows = table(
        finding("d1", "ai", "E-1", shape=IN_IT, day=1),
        finding("d2", "non_ai_dc", "E-1", shape=FAR, day=2),
        finding("d3", "ai", "E-1", day=3),
        finding("d4", "ai", "E-2", shape=IN_IT, day=1),
        finding("d5", "not_dc", "E-2", day=2),
        finding("d6", "ai", "E-3", day=2),
    )
    judged = from_dispositions._with_earlier_outlines(latest(rows), rows).set_index("disposition_id")
    assert judged.geometry["d3"].equals(FAR)
    assert judged.geometry["d5"] is None
    assert judged.geometry["d6"] is None


ANY = st.tuples(
    st.sampled_from(sorted(FINDINGS)), st.sampled_from(["S0", "S9", None]),
    st.sampled_from(["cell c", "cell x", "E-1"]), st.booleans(),
)  # fmt: skip


@given(st.lists(ANY, min_size=1, max_size=6))
def test_every_finding_is_an_example_or_counted_once(rows):
    given_rows = [finding(f"d{k}", f, e, s, IN_IT if drawn else None) for k, (f, s, e, drawn) in enumerate(rows)]
    found = verdicts(*given_rows)
    unknown = sum(r["class"] == "unknown" for r in given_rows)
    counted = [*found.examples["disposition_id"], *found.without_outline, *found.no_label, *found.gone]
    assert len(counted) == len(set(counted)) == len(rows) - unknown
