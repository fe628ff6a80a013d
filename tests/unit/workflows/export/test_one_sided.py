"""Ledgers in which no row has a site, or none has a declaration: every format is written."""

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely

from overwatt.pipeline import tables
from overwatt.workflows.export import inspection_list

SQUARE = shapely.box(9.0, 50.0, 9.01, 50.01)
ROW = {"evidence_for": "a", "evidence_against": "b", "settles": "c", "undeclared_flop_90d": 1e25, "geometry": SQUARE}


def table(name, *ids):
    key = {"sites": "site_id", "declared": "declared_id"}[name]
    row = {
        c.name: {"float64": 2.0, "int64": 1, "Int64": 1, "bool": False}.get(c.dtype, "x") for c in tables.SCHEMAS[name]
    }
    return tables.conform([row | {key: i, "geometry": SQUARE} for i in ids], name)


def layer(folder, name):
    return pyogrio.read_dataframe(folder / "export" / "inspection_list.gpkg", layer=name)


@pytest.mark.parametrize(
    ("klass", "own", "other", "site", "declared"),
    [("undeclared", "sites", "declared", "s0", None), ("not_seen", "declared", "sites", None, "d0")],
)
@pytest.mark.parametrize("more", [(), ("far",)])
def test_entries_of_one_side_alone(tmp_path, klass, own, other, site, declared, more):
    row = {**ROW, "entry_id": "E-0", "rank": 1, "class": klass, "site_id": site, "declared_id": declared}
    tables.conform([row], "ledger").to_parquet(tmp_path / "ledger.parquet")
    table(own, site or declared).to_parquet(tmp_path / f"{own}.parquet")
    table(other, *more).to_parquet(tmp_path / f"{other}.parquet")
    assert inspection_list.run(tmp_path)["entries"] == 1
    assert layer(tmp_path, own)["ledger_class"].tolist() == [klass]
    assert layer(tmp_path, other)["ledger_class"].fillna("").tolist() == [""] * len(more)


def test_sites_without_any_entry(tmp_path):
    tables.empty("ledger").to_parquet(tmp_path / "ledger.parquet")
    almost = tables.conform([{**ROW, "entry_id": "E-0", "rank": 1, "class": "undeclared", "site_id": "s0",
                              "left_out": "value"}], "almost_listed")  # fmt: skip
    almost.to_parquet(tmp_path / "almost_listed.parquet")
    table("sites", "s0").to_parquet(tmp_path / "sites.parquet")
    gpd.GeoDataFrame(table("declared", "far")).to_parquet(tmp_path / "declared.parquet")
    result = inspection_list.run(tmp_path)
    assert (result["entries"], result["of"]) == (0, 0)
    assert len(pd.read_csv(result["files"]["csv"])) == 0
