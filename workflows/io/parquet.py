"""Parquet, with geometries as GeoParquet, GeoArrow or plain cells. The files are not trusted.

In: a path. Out: a frame. Parquet repeats values by reference, so that a file of 100 KB can hold cells of many GB; their
size is therefore told before they are unpacked.
"""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from pyproj.exceptions import CRSError

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.declared.nesting import MAX_DEPTH, too_deep
from overwatt.workflows.io.limits import MAX_COLUMNS, MAX_ROWS, MAX_UNPACKED

# of pyarrow and geopandas on damaged files and metadata
_BROKEN = (pa.ArrowException, shapely.errors.ShapelyError, CRSError, OSError, ValueError, TypeError, KeyError,
           AttributeError)  # fmt: skip
# nullable integers: an empty cell must not turn its column into floats
INTEGERS: dict[pa.DataType, pd.api.extensions.ExtensionDtype] = {
    t: pd.Int64Dtype() for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32())
}


def read_parquet(path: Path) -> pd.DataFrame:
    """Return the rows of a Parquet file; a GeoDataFrame in the CRS of the file if its geometries are marked as such.

    Raises:
        RegistryError: the file is damaged or too large, or a geometry is nested too deep.
    """
    try:
        file = pq.ParquetFile(path)
        if (rows := file.metadata.num_rows) > MAX_ROWS or file.metadata.num_columns > MAX_COLUMNS:
            raise RegistryError(
                f"{path.name}: {rows:,} rows and {file.metadata.num_columns:,} columns; the limits are {MAX_ROWS:,} "
                f"and {MAX_COLUMNS:,}; reduce it to the area"
            )
        if _unpacked(path, file.metadata) > MAX_UNPACKED:
            raise RegistryError(
                f"{path.name}: more than {MAX_UNPACKED / 1e9:g} GB uncompressed; reduce it to the area, or export it "
                "again with other settings"
            )
        content = file.read()
        content.validate(full=True)  # text that is no UTF-8 would fail later, wherever it is first looked at
        _refuse_deep(path, content)
        options = {"types_mapper": INTEGERS.get}
        if b"geo" in (file.schema_arrow.metadata or {}):
            return gpd.read_parquet(path, to_pandas_kwargs=options)
        marks = [(f.metadata or {}).get(b"ARROW:extension:name", b"") for f in file.schema_arrow]
        if any(m.startswith(b"geoarrow.") for m in marks):
            frame = gpd.GeoDataFrame.from_arrow(content, to_pandas_kwargs=options)
            return frame.set_crs(WGS84) if frame.crs is None else frame
        return content.to_pandas(**options)
    except _BROKEN as error:
        raise RegistryError(f"{path.name}: not a readable Parquet file ({str(error)[:160]})") from error


def _unpacked(path: Path, metadata: pq.FileMetaData) -> float:
    """Return the size of all cells in memory, bytes; infinite if it cannot be told without unpacking them."""
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    size = 0.0
    for k in range(metadata.num_columns):
        chunks = [group.column(k) for group in groups]
        if not chunks:
            continue
        values = sum(c.num_values for c in chunks)
        size += max(8, metadata.schema.column(k).length or 0) * values
        # a value is at most its whole chunk, and every cell may refer to the largest one
        worst = sum(c.num_values * c.total_uncompressed_size for c in chunks)
        if chunks[0].physical_type != "BYTE_ARRAY" or size + worst <= MAX_UNPACKED:
            size += worst if chunks[0].physical_type == "BYTE_ARRAY" else 0
        elif any("DELTA_BYTE_ARRAY" in c.encodings for c in chunks):
            return float("inf")  # values that share their beginnings
        else:
            name = chunks[0].path_in_schema
            column = pq.ParquetFile(path, read_dictionary=[name]).read(columns=[name]).column(0)
            size += sum(map(_text_bytes, column.chunks))
        if size > MAX_UNPACKED:
            break
    return size


def _text_bytes(array: pa.Array) -> int:
    """Return the bytes of the texts of an array once its references are resolved."""
    while not pa.types.is_dictionary(array.type):
        if pa.types.is_struct(array.type):
            return sum(map(_text_bytes, array.flatten()))
        if not hasattr(array, "values"):
            return int(array.nbytes)
        array = array.values
    return int(pc.sum(pc.binary_length(array.dictionary).cast(pa.int64()).take(array.indices)).as_py() or 0)


def _refuse_deep(path: Path, table: pa.Table) -> None:
    for name, column in zip(table.column_names, table.columns, strict=True):
        if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
            continue
        # each level takes 9 bytes
        long = column.filter(pc.greater(pc.binary_length(column), 9 * MAX_DEPTH))
        if any(too_deep(cell) for chunk in long.iterchunks() for cell in chunk.to_pylist() if cell):
            raise RegistryError(f"{path.name}, column '{name}': a geometry is nested deeper than {MAX_DEPTH} levels")
