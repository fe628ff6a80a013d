"""The analysis of a run: declarations sharpen compute and facility power, and never the IT power.

Footprints are made, no image is read.
"""

from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.area import area_from_setting
from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.models.detector.card import DEFAULT_WEIGHTS, load_card
from overwatt.pipeline.sites import surroundings
from overwatt.pipeline.tables import QUANTILE_NAMES, conform, empty
from overwatt.workflows.config.run import load
from overwatt.workflows.run import inputs as run_inputs
from overwatt.workflows.run.analysis import analyse
from overwatt.workflows.run.inputs import Inputs
from tests.ledger_data import at, box, decl, declared_of, looked

AREA = [*at(-3000, -3000), *at(3000, 3000)]
IT = [f"it_mw_{q}" for q in QUANTILE_NAMES]
CARD = load_card(DEFAULT_WEIGHTS)


def footprints(units=None):
    rows = []
    for k, x in enumerate((-1500, 0, 1500)):
        shapes = {"data_center": box(x, 0, 220, 90), "cooling_equipment": box(x, 70, 200, 12)}
        for klass, shape in shapes.items():
            rows.append({
                "object_id": f"{klass[0]}{k}", "class": klass, "score": 0.95, "epistemic": 1.0, "on_border": False,
                "area_m2": 220 * 90.0 if klass == "data_center" else 2400.0,
                "units": units if klass != "data_center" else None, "used_thermal": False, "tile": "t", "scenes": "s",
                "geometry": shape,
            })  # fmt: skip
    return conform(gpd.GeoDataFrame(rows, crs=WGS84), "footprints")


def workflow(tmp_path: Path, *assignments):
    file = tmp_path / "w.yaml"
    file.write_text("name: w\nimagery: {path: a.tif}\nprior: 0.3\nyear: 2025\n", encoding="utf-8")
    return load(file, list(assignments))


def run(flow, declared=(), date=None, objects=None, **beside):
    source = SimpleNamespace(gsd_m=1.0, date=date, name="s")
    area = area_from_setting(AREA, Path.cwd(), "w")
    inputs = Inputs(
        area, source, CARD, DEFAULT_WEIGHTS, declared_of(list(declared)), None, None, None, [], **beside
    )  # fmt: skip
    return analyse(flow, inputs, footprints() if objects is None else objects, looked())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    flow = workflow(tmp_path_factory.mktemp("two"))
    return flow, run(flow).sites


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.builds(
            decl, st.uuids().map(str), st.sampled_from([-1500, 0, 1400, 2500]), st.integers(-300, 300),
            st.one_of(st.none(), st.floats(1, 500)), operator=st.sampled_from([None, "Meta", "Equinix", "Unheard of"]),
            kind=st.sampled_from(["facility", "mine", "warehouse"]), zone=st.sampled_from([None, "US-VA", "China"]),
            status=st.sampled_from([None, "operational", "planned"]),
            chip=st.just("NVIDIA H100"), chips=st.one_of(st.none(), st.floats(1, 1e6)),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_no_declaration_ever_changes_the_it_power(alone, declared):
    flow, without = alone
    found = run(flow, declared).sites
    pd.testing.assert_frame_equal(found[["site_id", *IT]], without[["site_id", *IT]], check_exact=True)
    for column in ("cooling_area_m2", "p_data_center", "seed"):
        assert found[column].tolist() == without[column].tolist()


@pytest.mark.parametrize(
    ("operator", "column"), [("Meta", "facility_mw_p50"), ("Equinix", "p_colocation"), ("Equinix", "flop_90d_p50")]
)
def test_a_matched_operator_sharpens_kind_and_facility_power_of_its_site_alone(alone, operator, column):
    flow, without = alone
    found = run(flow, [decl("x", 0, 0, 40.0, operator=operator)]).sites
    matched = found["evidence"].str.contains("matched declaration").to_numpy(bool)
    assert matched.tolist() == [False, True, False]
    rest = [c for c in found if c != "geometry"]
    pd.testing.assert_frame_equal(pd.DataFrame(found[rest])[~matched], pd.DataFrame(without[rest])[~matched])
    assert found.loc[matched, column].item() != without.loc[matched, column].item()


def test_kinds_sum_to_one_and_the_worst_case_is_no_better(alone):
    sites = alone[1]
    kinds = ["p_ai", "p_cloud", "p_enterprise", "p_colocation", "p_mine"]
    assert np.allclose(sites[kinds].sum(axis=1), 1)
    assert (sites["site_type"] == sites[kinds].idxmax(axis=1).str.removeprefix("p_")).all()
    assert (sites["flop_90d_ai_p50"] > sites["flop_90d_p50"]).all()
    assert sites["evidence"].eq("footprint, outlined").all()


def test_what_stands_beside_a_site_is_in_its_record(tmp_path, alone):
    flow = workflow(tmp_path, "country=de")
    shapes = [box(0, 0, 220, 90)]
    buildings = surroundings.known_buildings(gpd.GeoDataFrame({"levels": [3]}, geometry=shapes, crs=WGS84), "b")
    near = [box(150, 0, 20, 20), box(1650, 0, 20, 20)]
    plant = gpd.GeoDataFrame({"power": ["substation"] * 2, "mva": [8.0, None]}, geometry=near, crs=WGS84)
    found = run(flow, date="2023-05-01", buildings=buildings, power_plant=surroundings.power_plant(plant, "p")).sites
    assert found["country"].tolist() == ["DE"] * 3
    assert found["image_date"].tolist() == ["2023-05-01"] * 3
    assert found["storeys"].fillna(0).tolist() == [0, 3, 0]
    assert found["substation_mva"].fillna(0).tolist() == [0, 8, 0]
    assert found["evidence"].iloc[1] == "footprint, outlined, storeys, substation, country"
    assert found["evidence"].iloc[0] == "footprint, outlined, country"
    assert found["facility_mw_p50"].iloc[1] < found["facility_mw_p50"].iloc[0] / 2


def test_counted_machines_are_evidence(tmp_path):
    found = run(workflow(tmp_path), objects=footprints(units=14)).sites
    assert found["cooling_units"].tolist() == [14] * 3
    assert "14 counted" in found["assumptions"].iloc[0]


def test_an_old_image_is_no_error(tmp_path):
    assert len(run(workflow(tmp_path), date="2011-05-01").sites) == 3


def test_a_file_beside_the_imagery_is_checked_before_the_run(tmp_path, monkeypatch):
    file = tmp_path / "b.geojson"
    gpd.GeoDataFrame({"colour": [1]}, geometry=[box(0, 0, 9, 9)], crs=WGS84).to_file(file)
    flow = workflow(tmp_path, f"buildings={file}")
    monkeypatch.setattr(run_inputs, "open_image", lambda *_: SimpleNamespace(geobox=object(), sha256="0", name="i"))
    monkeypatch.setattr(run_inputs, "check_any_valid", lambda _: None)
    with pytest.raises(RegistryError, match=r"^b\.geojson: no column of storeys or heights"):
        run_inputs.open_inputs(flow)


@pytest.mark.parametrize("order", ["expected", "worst_case", "p_over"])
def test_the_order_is_a_setting_of_the_workflow(tmp_path, order):
    found = run(workflow(tmp_path, f"ranking.by={order}", "ranking.flop=1e25"))
    assert found.ledger["ranked_by"].unique().tolist() == ["p_over 1e+25" if order == "p_over" else order]
    assert len(empty("ledger")) == 0
