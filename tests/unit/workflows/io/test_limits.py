"""Small files that unpack to much, or take long, are refused before they do."""

import json
import sqlite3

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.workflows.io import layers, registries
from overwatt.workflows.io.parquet import _unpacked
from tests.support import naming

N = 50_000
DEEP = bytes.fromhex("010700000001000000" * 300_000 + "0101000000" + "00" * 16)


def repeated(kind):
    """A column of N cells that all refer to one text of 100 KB."""
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(N, np.int32)), pa.array(["x" * 100_000]))
    if kind == "list":
        return pa.ListArray.from_arrays(pa.array(np.arange(N + 1, dtype=np.int32)), words)
    return pa.StructArray.from_arrays([words], ["a"]) if kind == "struct" else words


def geoarrow(n):
    field = pa.field("geometry", pa.struct([("x", pa.float64()), ("y", pa.float64())]),
                     metadata={"ARROW:extension:name": "geoarrow.point"})  # fmt: skip
    zeros = pa.array(np.zeros(n))
    points = pa.StructArray.from_arrays([zeros, zeros], fields=list(field.type))
    return pa.Table.from_arrays([points], schema=pa.schema([field]))


@pytest.mark.parametrize("kind", ["text", "list", "struct"])
def test_parquet_that_unpacks_to_much_is_refused(tmp_path, kind):
    file = tmp_path / "r.parquet"
    pq.write_table(pa.table({"name": repeated(kind)}), file, compression="zstd", store_schema=False)
    assert file.stat().st_size < 500_000
    with pytest.raises(RegistryError, match=naming("'r.parquet'", "4 GB uncompressed")):
        registries.read(file)


def test_texts_that_share_their_beginnings_are_counted_as_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("overwatt.workflows.io.parquet.MAX_UNPACKED", 1_000_000)
    table = pa.table({"name": ["x" * 100_000 + str(k) for k in range(50)]})
    encoding = {"name": "DELTA_BYTE_ARRAY"}
    pq.write_table(table, tmp_path / "r.parquet", use_dictionary=False, column_encoding=encoding)
    with pytest.raises(RegistryError, match=naming("'r.parquet'", "uncompressed")):
        registries.read(tmp_path / "r.parquet")


def test_the_size_of_ordinary_parquet_is_told_well(tmp_path):
    file = tmp_path / "r.parquet"
    gpd.GeoDataFrame({"id": range(9)}, geometry=[shapely.Point(k, 2) for k in range(9)], crs=4326).to_parquet(file)
    assert 9 * 29 <= _unpacked(file, pq.ParquetFile(file).metadata) < 100_000
    assert len(registries.read(file)) == 9


def test_rows_of_every_format_are_counted(tmp_path, monkeypatch):
    pq.write_table(geoarrow(5_000_001), tmp_path / "r.parquet", compression="zstd")
    with pytest.raises(RegistryError, match=naming("'r.parquet'", "5,000,001 rows")):
        registries.read(tmp_path / "r.parquet")
    for place in ("layers", "delimited", "limits"):
        monkeypatch.setattr(f"overwatt.workflows.io.{place}.MAX_ROWS", 9)
    (tmp_path / "r.csv").write_text("lon,lat\n" + "1.5,2.5\n" * 10)
    (tmp_path / "r.json").write_text(json.dumps([{"lon": 1.5, "lat": 2.5}] * 10))
    gpd.GeoDataFrame({"a": ["x"] * 10}, geometry=[shapely.Point(1, 2)] * 10, crs=4326).to_file(tmp_path / "r.gpkg")
    for name in ("r.csv", "r.json", "r.gpkg"):
        with pytest.raises(RegistryError, match=naming(f"'{name}'", "rows")):
            registries.read(tmp_path / name)


def test_a_view_is_not_run(tmp_path):
    gpd.GeoDataFrame({"a": ["x"]}, geometry=[shapely.Point(1, 2)], crs=4326).to_file(tmp_path / "r.gpkg", layer="t")
    with sqlite3.connect(tmp_path / "r.gpkg") as base:
        base.execute("create view v as with recursive c(x) as (select 1 union all select x+1 from c) "
                     "select x as fid, t.a, t.geom from c, t")  # fmt: skip
        base.execute("insert into gpkg_contents(table_name, data_type, identifier, srs_id) "
                     "values('v', 'features', 'v', 4326)")  # fmt: skip
        base.execute("insert into gpkg_geometry_columns values('v', 'geom', 'POINT', 4326, 0, 0)")
    base.close()
    with pytest.raises(RegistryError, match=naming("'r.gpkg'", "'v'", "view", "layer")):
        registries.read(tmp_path / "r.gpkg")


def test_columns_of_every_format_are_counted(tmp_path):
    names = [f"c{k}" for k in range(10_001)]
    (tmp_path / "r.csv").write_text("lon,lat," + ",".join(names) + "\n1,2" + ",x" * len(names) + "\n")
    row = {"lon": 1.5, "lat": 2.5, **dict.fromkeys(names, 1)}
    (tmp_path / "r.json").write_text(json.dumps([row]))
    feature = {"type": "Feature", "properties": row, "geometry": {"type": "Point", "coordinates": [1, 2]}}
    (tmp_path / "r.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    pq.write_table(pa.table({k: [1] for k in row}), tmp_path / "r.parquet")
    for name in ("r.csv", "r.json", "r.geojson", "r.parquet"):
        with pytest.raises(RegistryError, match=naming(f"'{name}'", "columns")):
            registries.read(tmp_path / name)


def test_many_folders_of_a_large_kml_are_refused_unless_one_is_asked_for(tmp_path):
    place = "<Placemark><name>a</name><Point><coordinates>1,2</coordinates></Point></Placemark>"
    folders = "".join(f"<Folder><name>f{k}</name>{place * 16}</Folder>" for k in range(900))
    file = tmp_path / "r.kml"
    file.write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>')
    with pytest.raises(RegistryError, match=naming("r.kml", "900 folders", "ogr2ogr")):
        layers.read_layers(file)
    assert len(layers.read_layers(file, "f7")) == 16


@pytest.mark.parametrize("marked", [True, False])
def test_deep_geometries_of_parquet_are_refused(tmp_path, marked):
    metadata = {"ARROW:extension:name": "geoarrow.wkb"} if marked else None
    schema = pa.schema([pa.field("geometry", pa.binary(), metadata=metadata)])
    pq.write_table(pa.table([pa.array([DEEP, shapely.Point(1, 2).wkb])], schema=schema), tmp_path / "r.parquet")
    with pytest.raises(RegistryError, match=naming("'r.parquet'", "'geometry'", "nested")):
        registries.read(tmp_path / "r.parquet")
