"""What files beside the imagery say of sites: storeys, heights, power plant, countries."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.sites import surroundings as s
from tests.ledger_data import LAT0, LON0, at, box


def frame(geometry, **columns):
    return gpd.GeoDataFrame(columns, geometry=geometry, crs=WGS84)


def two_sites():
    rows = frame([box(0, 0, 200, 100), box(1000, 0, 200, 100)], site_id=["a", "b"])
    middle = [g.centroid for g in rows.geometry]
    return rows.assign(lon=[m.x for m in middle], lat=[m.y for m in middle])


@pytest.mark.parametrize("column", s.STOREYS)
def test_storeys_are_the_mean_of_the_buildings_on_the_site_weighted_by_overlap(column):
    halves = [box(-50, 0, 100, 100), box(50, 0, 100, 100), box(1000, 0, 200, 100)]
    buildings = s.known_buildings(frame(halves, **{column: ["1", "3", None], "height": [10, np.nan, 20.0]}), "f")
    out = s.with_buildings(two_sites(), buildings)
    assert out["storeys"].tolist() == pytest.approx([2.0, np.nan], nan_ok=True)
    assert out["height_m"].tolist() == pytest.approx([10.0, 20.0], rel=1e-3)


@pytest.mark.parametrize("value", [-1, 0, "-1", "two", "30 ft", "12;14", 900, None, "", float("inf")])
def test_an_impossible_height_is_not_known(value):
    buildings = s.known_buildings(frame([box(0, 0, 200, 100)], height=[value]), "f")
    assert not len(buildings)


def test_a_height_with_its_unit_is_read_and_the_order_of_rows_does_not_matter():
    shapes = [box(x, 0, 37, 100) for x in range(-80, 81, 40)]
    rows = frame(shapes, height=["12 m", "13.5", "14 metres", 9, 11])
    one, other = (s.with_buildings(two_sites(), s.known_buildings(f, "f")) for f in (rows, rows.iloc[::-1]))
    assert one["height_m"].iloc[0] == other["height_m"].iloc[0] == pytest.approx(11.9, abs=0.01)


def test_the_edge_of_a_neighbour_says_nothing():
    buildings = s.known_buildings(frame([box(110, 0, 60, 100)], levels=[9]), "f")
    assert s.with_buildings(two_sites(), buildings)["storeys"].isna().all()


def test_files_without_their_columns_are_refused_in_one_line():
    for read in (s.known_buildings, s.power_plant, s.countries):
        with pytest.raises(RegistryError, match=r"^x\.geojson: no column .*$"):
            read(frame([box(0, 0, 9, 9)], colour=["red"]), "x.geojson")


def test_power_plant_belongs_to_the_nearest_site_and_solar_panels_are_no_generators():
    rows = frame(
        [shapely.Point(at(x, 0)) for x in (110, 120, 130, 140, 890, 400)],
        power=["generator", "generator", "generator", "substation", "substation", "substation"],
        **{"generator:source": ["diesel", "solar", "gas;diesel", None, None, None],
           "rating": [None, None, None, "40 MVA", "750 kVA", "99 MVA"]},
    )  # fmt: skip
    out = s.with_power_plant(two_sites(), s.power_plant(rows, "f"), 60.0)
    assert out["generators"].tolist() == [2, pd.NA]
    assert out["substation_mva"].tolist() == [40.0, 0.75]


def test_substations_cap_only_if_each_states_its_capacity():
    rows = frame([shapely.Point(at(110, y)) for y in (0, 20)], power=["substation"] * 2, mva=[40, None])
    out = s.with_power_plant(two_sites(), s.power_plant(rows, "f"), 60.0)
    assert out["substation_mva"].isna().all()
    bare = frame([shapely.Point(at(110, 0))], power=["substation"], rating=["40"])  # MW? kVA? not said
    assert s.with_power_plant(two_sites(), s.power_plant(bare, "f"), 60.0)["substation_mva"].isna().all()


def test_the_country_is_that_of_the_outline_around_the_site_else_the_stated_one():
    west = shapely.box(LON0 - 1, LAT0 - 1, LON0 + 0.005, LAT0 + 1)
    outlines = s.countries(frame([west, west], iso_a2=["-99", None], country=["France", "nowhere"]), "f")
    assert outlines["country"].tolist() == ["FR"]
    assert s.with_country(two_sites(), "US", outlines)["country"].tolist() == ["FR", "US"]
    assert s.with_country(two_sites(), None)["country"].isna().all()


def test_no_sites_at_all():
    none = two_sites().iloc[:0]
    assert len(s.with_buildings(none, s.known_buildings(frame([box(0, 0, 9, 9)], levels=[2]), "f"))) == 0
    assert len(s.with_power_plant(none, s.power_plant(frame([box(0, 0, 9, 9)], power=["line"]), "f"), 60)) == 0
    assert len(s.with_country(none, "US")) == 0
