"""One evidence record per row of the table of sites."""

import pandas as pd

from overwatt.models.detector.card import DEFAULT_WEIGHTS, EquipmentRecall, load_card
from overwatt.pipeline.power.record import Shown, records, shown_by
from tests.ledger_data import site, sites_of

SHOWN = Shown(area=(2.0, 1.0), units=(1.0, 1.0))


def one(**columns):
    table = sites_of([site("a", 0, 0, 50)])
    return records(table.assign(**{k: [v] for k, v in columns.items()}), gsd_m=0.5, shown=SHOWN)[0]


def test_what_is_not_known_is_none_and_the_equipment_is_outlined_with_its_recall():
    got = one()
    assert (got.building_area_m2, got.cooling_area_m2, got.gsd_m) == (12000.0, 320.0, 0.5)
    assert (got.chillers, got.storeys, got.height_m, got.generators, got.substation_mva, got.year, got.country) == (
        (None,) * 7
    )
    assert got.count_recall == SHOWN.area


def test_counted_machines_come_with_the_recall_of_the_count():
    got = one(cooling_units=7)
    assert got.chillers == 7
    assert got.count_recall == SHOWN.units


def test_everything_known_is_in_the_record():
    got = one(storeys=2.0, height_m=9.0, generators=4, substation_mva=60.0, image_date="2023-06-01", country="DE")
    assert (got.storeys, got.height_m, got.generators, got.substation_mva) == (2.0, 9.0, 4, 60.0)
    assert (got.year, got.country, got.operator, got.cooling) == (2023, "DE", None, None)


def test_an_old_image_takes_the_first_year_of_the_estimates():
    assert one(image_date="2009-06-01").year == 2015


def test_a_table_of_an_analyst_without_optional_columns():
    table = sites_of([site("a", 0, 0, 50)])[["site_id", "building_area_m2", "cooling_area_m2", "on_border", "geometry"]]
    got = records(table, gsd_m=1.0)
    assert [g.count_recall for g in got] == [None]
    assert records(table.iloc[:0], gsd_m=1.0) == []
    assert isinstance(table, pd.DataFrame)


def test_what_the_detector_shows_is_that_of_its_card_else_any_share():
    card = load_card(DEFAULT_WEIGHTS.with_suffix(".json"))
    measured = EquipmentRecall(a=2.0, b=0.5, sites=9, source="a test")
    card = card.model_copy(update={"equipment_recall": measured, "unit_recall": None})
    assert shown_by(card) == Shown(area=(2.0, 0.5), units=(1.0, 1.0))
