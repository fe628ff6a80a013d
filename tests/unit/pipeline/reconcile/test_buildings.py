"""What stands at a declared place that no site was matched to is said, whatever its class."""

import geopandas as gpd
import numpy as np
import shapely

from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.reconcile.buildings import with_buildings
from overwatt.pipeline.tables import conform

DEG = 1 / 111_000  # one metre of latitude, degrees


def square(x_m, y_m, side_m=100.0):
    return shapely.box(*(v * DEG for v in (x_m, y_m, x_m + side_m, y_m + side_m)))


def declared(*rows):
    frame = gpd.GeoDataFrame(
        {"declared_id": [r[0] for r in rows], "position_error_m": [r[2] for r in rows], "kind": "facility"},
        geometry=[r[1] for r in rows], crs=WGS84,
    )  # fmt: skip
    return conform(frame.assign(source="t"), "declared")


def entries(*rows):
    frame = gpd.GeoDataFrame(
        {"entry_id": [f"E-{k}" for k in range(len(rows))], "class": [r[0] for r in rows],
         "declared_id": [r[1] for r in rows], "evidence_for": "Declared.", "evidence_against": "", "settles": ""},
        geometry=[shapely.Point(0, 0)] * len(rows), crs=WGS84,
    )  # fmt: skip
    return conform(frame, "entries")


def footprints(*rows):
    frame = gpd.GeoDataFrame(
        {"object_id": [str(k) for k in range(len(rows))], "class": [r[0] for r in rows], "score": 0.5, "epistemic": 1.0,
         "area_m2": 10_000.0, "on_border": False, "used_thermal": False, "tile": "t", "scenes": "s"},
        geometry=[r[1] for r in rows], crs=WGS84,
    )  # fmt: skip
    return conform(frame, "footprints")


def test_a_building_there_is_named_with_class_area_and_probability():
    near, far = shapely.Point(0, 0), shapely.Point(0, 0.1)
    table = entries(("not_seen", "a"), ("not_seen", "b"), ("matched", "a"))
    objects = footprints(
        ("other_building", square(60, 0)), ("data_center", square(300, 0)), ("cooling_equipment", square(0, 0))
    )
    out = with_buildings(table, declared(("a", near, 200.0), ("b", far, 200.0)), objects, np.array([0.12, 0.9, 0.99]))
    said = out["evidence_for"].tolist()
    assert "A building is outlined within 200 m of it" in said[0]
    assert "10,000 m2, class other building, probability 0.12" in said[0]
    assert said[1].endswith("No building is outlined within 200 m of it.")
    assert said[2] == "Declared."


def test_the_likeliest_of_several_is_named_and_a_vague_place_reaches_no_farther_than_500_m():
    objects = footprints(
        ("other_building", square(60, 0)), ("data_center", square(300, 0)), ("data_center", square(700, 0))
    )
    place = declared(("a", shapely.Point(0, 0), 8000.0))
    out = with_buildings(entries(("not_seen", "a")), place, objects, np.array([0.12, 0.9, 0.95]))
    assert "2 buildings are outlined within 500 m of it" in out["evidence_for"][0]
    assert "class data center, probability 0.90" in out["evidence_for"][0]


def test_an_outline_that_holds_the_building_and_one_across_the_antimeridian():
    across = shapely.MultiPolygon([shapely.box(179.999, 0, 180, 0.001), shapely.box(-180, 0, -179.999, 0.001)])
    objects = footprints(("other_building", shapely.box(-179.9999, 0.0001, -179.9998, 0.0002)))
    out = with_buildings(entries(("not_seen", "a")), declared(("a", across, 30.0)), objects, np.array([0.3]))
    assert "A building is outlined" in out["evidence_for"][0]
