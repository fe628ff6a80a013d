"""Sites: who belongs together, what they are called, and how sure we are."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from overwatt.aoi.errors import ConfigError
from overwatt.models.detector.card import DEFAULT_WEIGHTS, Calibration, SiteEvidence, load_card
from overwatt.pipeline.sites.clustering import cluster_sites, p_data_center, site_ratio
from overwatt.pipeline.tables import conform
from tests.support import naming

GEOD = Geod(ellps="WGS84")
LON, LAT = -77.46, 39.01
PLAIN = Calibration()


def box(east_m, north_m, width_m=40.0, height_m=30.0, *, lon=LON, lat=LAT):
    """A rectangle whose lower left corner lies so many metres east and north of a place."""
    corners = []
    for dx, dy in ((0, 0), (width_m, 0), (width_m, height_m), (0, height_m)):
        x, y, _ = GEOD.fwd(lon, lat, 0, north_m + dy)
        x, y, _ = GEOD.fwd(x, y, 90, east_m + dx)
        corners.append((x, y))
    return shapely.Polygon(corners)


def table(*rows):
    """Table `footprints` from (class, geometry, score)."""
    records = [
        {
            "object_id": f"o{i}",
            "class": klass,
            "score": score,
            "epistemic": 0.1,
            "area_m2": abs(GEOD.geometry_area_perimeter(g)[0]),
            "on_border": False,
            "tile": "t",
            "scenes": "s",
            "geometry": g,
        }
        for i, (klass, g, score) in enumerate(rows)
    ]
    return conform(records, "footprints")


def center(*args, score=0.9, **kw):
    return "data_center", box(*args, **kw), score


def test_each_building_has_the_calibration_of_what_it_was_seen_with():
    frame = table(center(0, 0, score=0.7), center(70, 0, score=0.6), center(400, 0, score=0.7))
    frame["used_thermal"] = [False, True, False]
    plain, hot = Calibration(), Calibration(a=2.0, b=1.5, prevalence=0.4)
    sites, member = cluster_sites(frame, reach_m=60, calibration=plain, calibration_thermal=hot, prior=0.1)
    sites = sites.set_index("site_id")
    expected = p_data_center(np.array([0.6]), hot, 0.1)[0]
    assert expected > p_data_center(np.array([0.7]), plain, 0.1)[0]
    assert sites.loc[member[0], ["p_data_center", "used_thermal"]].tolist() == [expected, True]
    assert sites.loc[member[2], ["p_data_center", "used_thermal"]].tolist() == [
        p_data_center(np.array([0.7]), plain, 0.1)[0], False,
    ]  # fmt: skip
    # one calibration serves both where the weights have but one
    alone, _ = cluster_sites(frame, reach_m=60, calibration=plain, prior=0.1)
    assert alone["p_data_center"].tolist() == pytest.approx([p_data_center(np.array([0.7]), plain, 0.1)[0]] * 2)


def cooler(*args, **kw):
    return "cooling_equipment", box(*args, 6, 5, **kw), 0.9


def made(frame, reach_m=60.0, prior=0.1):
    return cluster_sites(frame, reach_m=reach_m, calibration=PLAIN, prior=prior)


def test_buildings_within_reach_are_one_site_and_those_beyond_are_not():
    rows = [center(0, 0), center(90, 0), center(180, 0), center(281, 0)]  # gaps of 50, 50 and 61 m
    sites, member = made(table(*rows))
    assert sorted(sites["buildings"]) == [1, 3]
    assert member[0] == member[1] == member[2] != member[3]


def test_the_reach_is_in_metres_between_outlines():
    sites, _ = made(table(center(0, 0), center(40 + 59.5, 0)))
    assert len(sites) == 1
    sites, _ = made(table(center(0, 0), center(40 + 60.5, 0)))
    assert len(sites) == 2


def test_equipment_goes_to_the_nearest_building_in_reach_and_alone_makes_no_site():
    # two sites 200 m apart with reach 110: the first chiller is in reach of both, nearer to the second
    frame = table(center(0, 0), center(240, 0), cooler(140, 0), cooler(44, 10), cooler(0, 900))
    sites, member = made(frame, reach_m=110)
    assert len(sites) == 2
    assert member[2] == member[1]
    assert member[3] == member[0]
    assert pd.isna(member[4])
    of = sites.set_index("site_id")
    assert of.loc[member[0], "cooling_objects"] == of.loc[member[1], "cooling_objects"] == 1
    assert of.loc[member[1], "cooling_area_m2"] == pytest.approx(30, rel=1e-3)
    assert of.loc[member[0], "building_area_m2"] == pytest.approx(1200, rel=1e-3)


def test_other_buildings_are_of_no_site():
    frame = table(center(0, 0), ("other_building", box(45, 0), 0.9))
    sites, member = made(frame)
    assert len(sites) == 1
    assert sites["buildings"].tolist() == [1]
    assert pd.isna(member[1])


def test_no_data_center_gives_an_empty_table():
    sites, member = made(table(cooler(0, 0)))
    assert len(sites) == 0
    assert "building_area_m2" in sites
    assert member.isna().all()


def test_bayes_by_hand():
    # score 0.9: odds 9 at prevalence 0.5 is a likelihood ratio of 9; at 3 in 1,000: 9 * 3/997
    expected = 9 * 3 / 997 / (1 + 9 * 3 / 997)
    assert p_data_center(np.array([0.9]), PLAIN, 0.003)[0] == pytest.approx(expected)
    # fit at prevalence 0.8, log-odds 0.5 + 2 logit(0.6)
    calibration = Calibration(a=0.5, b=2.0, prevalence=0.8)
    odds = np.exp(0.5) * (0.6 / 0.4) ** 2 / (0.8 / 0.2) * (0.1 / 0.9)
    assert p_data_center(np.array([0.6]), calibration, 0.1)[0] == pytest.approx(odds / (1 + odds))


def test_at_the_prevalence_of_the_calibration_nothing_is_moved():
    calibration = Calibration(a=0.0, b=1.0, prevalence=0.3)
    assert p_data_center(np.array([0.55, 0.8]), calibration, 0.3) == pytest.approx([0.55, 0.8])


@settings(max_examples=40)
@given(st.floats(0, 1), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_p_is_a_probability_that_rises_with_the_prior(score, prior, other):
    low, high = sorted((prior, other))
    p, q = (p_data_center(np.array([score]), PLAIN, x)[0] for x in (low, high))
    assert 0 < p <= q < 1


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.2, 3.0])
def test_a_prior_that_is_no_share_is_refused(prior):
    with pytest.raises(ConfigError, match=naming("prior", prior)):
        p_data_center(np.array([0.5]), PLAIN, prior)


def test_a_sites_probability_is_that_of_its_most_certain_building():
    sites, _ = made(table(center(0, 0, score=0.6), center(60, 0, score=0.95)), prior=0.5)
    assert sites["p_data_center"].tolist() == pytest.approx([0.95])


def test_names_say_where_and_stay_when_other_sites_come_or_rows_change_order():
    rows = [center(0, 0), center(60, 0, 80, 50), cooler(20, 40)]
    alone, _ = made(table(*rows))
    name = alone["site_id"].iloc[0]
    assert name.startswith("N39.0")
    assert "W077.45" in name
    more = [center(-500, 0), center(0, 700), cooler(-480, 40)]
    for frame in (table(*rows, *more), table(*more, *rows[::-1])):
        sites, _ = made(frame)
        same = sites[sites["site_id"] == name]
        assert len(same) == 1
        columns = [c for c in alone.columns if c != "geometry"]
        pd.testing.assert_frame_equal(same[columns].reset_index(drop=True), alone[columns], check_exact=True)
        assert same.geometry.iloc[0].equals(alone.geometry.iloc[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_footprints_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    rows = [center(*rng.uniform(0, 600, 2), *rng.uniform(20, 60, 2), score=rng.uniform(0.5, 1)) for _ in range(7)]
    rows += [cooler(*rng.uniform(0, 600, 2)) for _ in range(6)]
    one, _ = made(table(*rows))
    two, _ = made(table(*(rows[i] for i in rng.permutation(len(rows)))))
    assert one["site_id"].tolist() == two["site_id"].tolist()
    for name in ("buildings", "cooling_objects", "building_area_m2", "cooling_area_m2", "p_data_center"):
        assert one[name].tolist() == pytest.approx(two[name].tolist(), rel=1e-12)


@pytest.mark.parametrize(("lon", "lat"), [(-77, 39), (25, 65), (15.6, 78.2), (10, -33), (0, 0), (-0.00001, 10)])
def test_distances_hold_at_every_latitude(lon, lat):
    """The reach that just joins two buildings is the gap between them, to 0.2%."""
    place = {"lon": lon, "lat": lat}
    for other, gap in ((center(40 + 57, 0, **place), 57.0), (center(0, 30 + 55, **place), 55.0)):
        frame = table(center(0, 0, **place), other)
        assert [len(made(frame, reach_m=gap * k)[0]) for k in (0.998, 1.002)] == [2, 1]


def test_neighbours_across_the_antimeridian_are_neighbours():
    west, east = box(0, 0, lon=179.9994, lat=-17), box(0, 0, lon=-179.9998, lat=-17)
    gap = GEOD.inv(west.bounds[2], -17, east.bounds[0], -17)[2]
    assert 20 < gap < 60
    for a, b in ((west, east), (east, west)):
        frame = table(("data_center", a, 0.9), ("data_center", b, 0.9))
        assert [len(made(frame, reach_m=gap * k)[0]) for k in (0.998, 1.002)] == [2, 1]


def test_a_site_at_the_edge_of_the_imagery_says_so():
    frame = table(center(0, 0), center(500, 0))
    frame.loc[1, "on_border"] = True
    sites, member = made(frame)
    assert sites.set_index("site_id")["on_border"].to_dict() == {member[0]: False, member[1]: True}


def test_the_result_is_in_longitude_and_latitude():
    sites, _ = made(table(center(0, 0)))
    assert isinstance(sites, gpd.GeoDataFrame)
    assert sites.crs == "OGC:CRS84"
    assert sites["lon"].iloc[0] == pytest.approx(LON, abs=0.001)


def test_further_buildings_and_equipment_raise_the_probability_of_a_site_as_its_card_says():
    halls = [center(70 * k, 0) for k in range(3)]
    plant = [("cooling_equipment", box(70 * k, 40, 10, 10), 0.8) for k in range(3)]
    evidence = SiteEvidence(per_building=0.5, per_equipment=0.25, ordinary=1.2)
    p = []
    for rows in (halls[:1], halls, [*halls, *plant]):
        whole = cluster_sites(table(*rows), reach_m=60, calibration=PLAIN, prior=0.1, evidence=evidence)[0]
        alone = cluster_sites(table(*rows), reach_m=60, calibration=PLAIN, prior=0.1)[0]
        p.append(whole["p_data_center"][0])
        odds, before = (v / (1 - v) for v in (p[-1], alone["p_data_center"][0]))
        buildings, coolers = whole["buildings"][0], whole["cooling_objects"][0]
        assert odds / before == pytest.approx(buildings**0.5 * (1 + coolers) ** 0.25 / 1.2)
    assert p[0] < p[1] < p[2]


@pytest.mark.parametrize("prior", [0.5, 0.15, 0.003])
def test_a_whole_site_with_equipment_outweighs_every_prior_with_the_bundled_weights(prior):
    card = load_card(DEFAULT_WEIGHTS)
    assert card.site_evidence is not None
    best = float(p_data_center(np.array([1.0]), card.calibration, prior)[0])
    odds = best / (1 - best) * site_ratio(8, 44, card.site_evidence)
    assert odds > 1
    # and what one called building without equipment says is not more than its score says
    assert site_ratio(1, 0, card.site_evidence) < 1
