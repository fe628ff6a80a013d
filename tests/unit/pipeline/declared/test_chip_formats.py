"""Declarations of every kind, column maps, bad rows, and duplicates across sources."""

import json
import math

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.models.capacity.counted_units import unit_power
from overwatt.models.reference import facts
from overwatt.pipeline.declared import deduplication, registry
from overwatt.pipeline.tables import conform
from overwatt.workflows.io import registries
from tests.support import naming


def file(tmp_path, text, name="r.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_text(text, encoding=encoding)
    return path


def aside_of(tmp_path, text, **more):
    aside = []
    table = registries.read(file(tmp_path, text), aside=aside, **more)
    return table, {row: reason for row, _, reason in aside}


def test_column_map_is_taken_in_any_case_and_its_faults_are_named(tmp_path):
    path = file(tmp_path, "Kennung,Ost,Nord,Leistung,power\nA,7.61,51.96,12,9\n")
    columns = {"declared_id": "kennung", "lon": "OST", "lat": "nord", "it_mw": "Leistung"}
    row = registries.read(path, columns=columns).iloc[0]
    assert (row["declared_id"], row["it_mw"], row.geometry.x) == ("A", 12.0, 7.61)
    with pytest.raises(RegistryError, match=naming("'it_mv'", "'it_mw'")):
        registries.read(path, columns=columns | {"it_mv": "power"})
    with pytest.raises(RegistryError, match=naming("'Leistng'", "'it_mw'", "'leistung'")):
        registries.read(path, columns=columns | {"it_mw": "Leistng"})
    with pytest.raises(RegistryError, match=naming("columns", "generic", "'osm'")):
        registries.read(path, format="osm", columns=columns)


def test_parquet_without_shapes_and_a_list_of_objects_are_read(tmp_path):
    pd.DataFrame({"id": ["a"], "lon": [1.25], "lat": [2.5]}).to_parquet(tmp_path / "t.parquet")
    assert registries.read(tmp_path / "t.parquet")["declared_id"].tolist() == ["a"]
    listed = file(tmp_path, json.dumps([{"id": "a", "lon": 1.25, "lat": 2.5, "it_mw": None}]), "l.json")
    assert registries.read(listed).geometry.x.tolist() == [1.25]


def test_transfers_need_no_place(tmp_path):
    text = (
        "seller,buyer,chip,quantity,date,destination,lon,lat\n"
        "NVIDIA,Acme,H100,1024,2025-03-01,Norway,,\nNVIDIA,Beta,B200,72,2025-04,Chile,-70.61234,-33.41234\n"
    )
    table = registries.read(file(tmp_path, text))
    assert table["kind"].tolist() == ["chips", "chips"]
    assert table["operator"].tolist() == ["Acme", "Beta"]
    assert table["counterparty"].tolist() == ["NVIDIA", "NVIDIA"]
    assert table["chips"].tolist() == [1024.0, 72.0]
    assert table["valid_from"].tolist() == ["2025-03-01", "2025-04"]
    assert table["zone"].tolist() == ["Norway", "Chile"]
    assert table.geometry.is_empty.tolist() == [True, False]
    assert table["position_error_m"].tolist() == [25_000.0, 200.0]
    assert registry.within(table, shapely.box(-80, -40, -60, -30))["operator"].tolist() == ["Beta"]


def test_workloads_and_power(tmp_path):
    runs = registries.read(file(tmp_path, "model,organization,flop,date\nM1,Acme,1e25,2025-06-01\n"))
    assert runs.loc[0, ["kind", "name", "operator", "training_flop"]].tolist() == ["workload", "M1", "Acme", 1e25]
    rows = "id,lon,lat,generators,generator_mw,grid_mw\na,1.1,2.2,40,,\nb,1.1,2.3,40,100,\nc,1.1,2.4,40,,90\n"
    power = registries.read(file(tmp_path, rows))
    assert power["kind"].tolist() == ["power"] * 3
    # as for observed generators; a nameplate goes before a number; a connection as it is
    expected = [40 * unit_power("generator").mw, 100 * facts.ratio("generator_share").median, 90.0]
    assert power["facility_mw"].tolist() == pytest.approx(expected)
    some = registries.read(file(tmp_path, "id,kind,chips\na,chips,8\n"))
    assert some.geometry.is_empty.all()
    table, aside = aside_of(tmp_path, "id,kind,chips,lon,lat\na,chips,8,,\nb,facility,,,\n")
    assert len(table) == 1
    assert "no coordinates" in aside[2]


def test_peeringdb_and_cloud_regions(tmp_path):
    rows = [
        {"id": 1, "org_name": "Equinix, Inc.", "name": "Equinix DC1", "address1": "21711 Filigree Ct", "country": "US",
         "state": "VA", "city": "Ashburn", "latitude": 39.01643, "longitude": -77.45911, "status": "ok"},
        {"id": 2, "org_name": "X", "name": "Y", "country": "DE", "latitude": None, "longitude": None, "status": "ok"},
    ]  # fmt: skip
    aside = []
    table = registries.read(file(tmp_path, json.dumps({"data": rows, "meta": {}}), "f.json"), aside=aside)
    assert table.loc[0, ["declared_id", "operator", "zone", "status"]].tolist() == [
        "fac/1", "Equinix, Inc.", "US-VA", "operational"]  # fmt: skip
    assert table["position_error_m"].tolist() == [200.0]
    assert [(r, i) for r, i, _ in aside] == [(2, "fac/2")]
    region = {"provider": "aws", "name": "eu-x", "label": "Town", "lat": 50.1, "lng": 8.6}
    city = registries.read(file(tmp_path, json.dumps({"attribution": "MIT", "regions": [region]}), "c.json"))
    assert city.loc[0, ["declared_id", "position_error_m", "licence"]].tolist() == ["aws/eu-x", 8000.0, "MIT"]


def test_gpu_clusters_keep_duplicates_aside_and_find_their_place(tmp_path):
    sites = "Name,Owner,Country,Address,lat,lon,coord_precision\nColossus 2,X,US,5 Tulane Rd,34.98,-90.03,site\n"
    file(tmp_path, sites, "epoch_site_coordinates.csv")
    head = ("Name,Status,Certainty,Chip type (primary),Total number of AI chips,First Operational Date,Location,"
            "Country,Power Capacity (MW),Possible Duplicate,Possible Duplicate Of,Superseded by\n")  # fmt: skip
    text = head + (
        "A Phase 1,Existing,Confirmed,H100,100,2024-05-01,5 Tulane Rd,US,10,,,A Phase 2\n"
        'A Phase 2,Existing,Likely,H100,200,2025,"27°33\'21.6""N 35°32\'18.4""E",SA,20,,,\n'
        "B,Planned,Unlikely,H100,,,France,FR,,True,C,\n"
    )
    aside = []
    table = registries.read(file(tmp_path, text), aside=aside)
    assert table["valid_to"].tolist()[0] == "2025"
    assert table["reliability"].tolist() == [0.95, 0.7]
    assert table["facility_mw"].tolist() == [10.0, 20.0]
    assert table.geometry.x.tolist() == pytest.approx([-90.03, 35.538444])
    assert "possible duplicate of C" in aside[0][2]


def test_every_kind_of_bad_row_is_kept_with_its_reason(tmp_path):
    text = (
        "id,lon,lat,it_mw,valid_from,valid_to\n"
        "ok,1.5,2.5,3,2024,\n"
        "short,1.5\n"
        "long,1.5,2.5,3,,,9,9\n"
        'quote,"1.5,2.5,3,,\n'
        "range,1.5,2.5,100-20,,\n"
        'comma,1.5,2.5,"1,234",,\n'
        "month,1.5,2.5,3,2024-13,\n"
        "order,1.5,2.5,3,2025,2024\n"
        "daymonth,1.5,2.5,3,03/04/2025,\n"
        "clear,1.5,2.5,3,31/12/2025,\n"
        "now,1.5,2.5,3,today,\n"
        "inf,1.5,2.5,-inf,,\n"
        "last,1.5,2.6,4,,\n"
    )
    table, aside = aside_of(tmp_path, text)
    assert table["declared_id"].tolist() == ["ok", "clear", "last"]
    assert table["valid_from"].tolist()[1] == "2025-12-31"
    words = {2: "2 fields, the header has 6", 3: "8 fields", 4: "cannot be read", 5: "from the larger",
             6: "decimal point", 7: "not a date", 8: "lies before", 9: "day or month first", 11: "not a date",
             12: "not a number"}  # fmt: skip
    assert set(aside) == set(words)
    assert all(words[n] in aside[n] for n in words), aside


def test_swapped_within_range_is_noticed_only_where_the_rows_show_it(tmp_path):
    rng = np.random.default_rng(3)
    lon, lat = rng.uniform(6, 9, 60), rng.uniform(49, 52, 60)
    lines = [f"r{k},{x:.5f},{y:.5f}" for k, (x, y) in enumerate(zip(lon, lat, strict=True))]
    lines += [f"turned,{lat[7]:.5f},{lon[7] + 0.01:.5f}", "nairobi,36.82190,-1.29210", "lima,-77.04280,-12.04640"]
    table, aside = aside_of(tmp_path, "id,lon,lat\n" + "\n".join(lines) + "\n")
    assert list(aside) == [61]
    assert "swapped" in aside[61]
    assert len(table) == 62


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "cp1252", "utf-8-sig"])
def test_semicolons_tabs_and_encodings(tmp_path, encoding):
    for mark in ";\t":
        path = file(
            tmp_path, f"id{mark}lon{mark}lat{mark}name\na{mark}1.5{mark}2.5{mark}Zürich, Süd\n", encoding=encoding
        )
        assert registries.read(path)["name"].tolist() == ["Zürich, Süd"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_table_or_one_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("b") / "r.csv"
    path.write_bytes(b"id,lon,lat,it_mw,valid_from\n" + content)
    try:
        table = registries.read(path, aside=[])
    except RegistryError:
        return
    assert table["declared_id"].is_unique


def table_of(source, rows):
    frame = pd.DataFrame(rows, columns=["declared_id", "lon", "lat", "position_error_m", "name", "operator", "it_mw"])
    shapes = shapely.points(frame.pop("lon"), frame.pop("lat"))
    return conform(
        gpd.GeoDataFrame(frame.assign(kind="facility", source=source), geometry=shapes, crs=WGS84), "declared"
    )


A = table_of("A", [("1", 7.0, 50.0, 200.0, "Hall North", "Acme", None), ("2", 7.5, 50.0, 200.0, "Lone", "Acme", 5.0)])
B = table_of("B", [("1", 7.001, 50.0, 30.0, "Hall North data center", None, 40.0),
                   ("x", 7.002, 50.0, 30.0, "Hall North", "Acme", None)])  # fmt: skip
C = table_of(
    "C", [("9", 7.0012, 50.0, 1500.0, "HALL NORTH", "Acme", 60.0), ("8", 7.5, 50.001, 30.0, "Other", "Zeta", 1.0)]
)


def test_merge_joins_across_sources_one_to_one_with_provenance():
    merged = deduplication.merge_registries([A, B, C]).set_index("declared_id")
    hall = merged.loc["1"]
    assert hall["also"] == "A:1 | C:9"
    assert (hall.geometry.x, hall["position_error_m"]) == (7.001, 30.0)
    assert (hall["operator"], hall["it_mw"]) == ("Acme", 40.0)
    assert set(merged.index) == {"1", "x", "2", "8"}
    alone = table_of("Z", [("2", -60.0, 10.0, 30.0, None, None, None)])
    assert {"A:2", "Z:2"} <= set(deduplication.merge_registries([A, B, alone])["declared_id"])
    assert len(deduplication.merge_registries([A])) == 2
    assert not len(deduplication.merge_registries([]))


@settings(max_examples=12, deadline=None)
@given(st.permutations([0, 1, 2]), st.integers(0, 99))
def test_merge_does_not_depend_on_order(order, seed):
    tables = [t.sample(frac=1, random_state=seed) for t in (A, B, C)]
    one, two = deduplication.merge_registries([A, B, C]), deduplication.merge_registries([tables[k] for k in order])
    pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(two))


def test_merge_never_joins_one_source_or_chips():
    again = pd.concat([A, A.assign(declared_id=["3", "4"])], ignore_index=True)
    assert len(deduplication.merge_registries([again])) == 4
    chips = B.assign(kind="chips", source="D")
    assert len(deduplication.merge_registries([A, chips])) == 4
    assert math.isnan(deduplication.merge_registries([A])["it_mw"].iloc[0])
