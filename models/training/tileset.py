"""A folder of training tiles: its index, and its tiles read as training pictures.

In: the index, a GeoParquet file with one row per tile, and next to it two GeoTIFFs per tile (picture: red, green,
blue, valid, uint8; mask: building, cooling, instance, uint16). Out: `Picture`s of one split, or a list of leaks
between the splits. An index may come from an untrusted source: its paths must stay in its folder, and sizes are
checked before pixels are read.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from overwatt.aoi.errors import AssetReadError, ConfigError, RegistryError, nearest
from overwatt.aoi.file_signatures import raster_driver
from overwatt.aoi.geodesy import WGS84
from overwatt.models.training.samples import DATA_CENTER, IGNORE, NOT_CENTER, OTHER, Picture
from overwatt.models.training.spatial_splits import SPLITS, Leak, leaks

INDEX_NAME = "index.parquet"
PICTURE_BANDS = ("red", "green", "blue", "valid")
MASK_BANDS = ("building", "cooling", "instance")
BUILDING_CODES = (0, OTHER, DATA_CENTER, NOT_CENTER, IGNORE)
COOLING_CODES = (0, 1, IGNORE)
MAX_INDEX_BYTES = 500_000_000  # far above a national index (own choice); a larger file is not an index
MAX_TILE_PX = 4096  # side of a tile: 16.8 million pixels, 84 MB with its mask
Row = Mapping[str, Any] | pd.Series
"""One row of an index of tiles."""
MAX_BYTES = 8_000_000_000  # of pictures in memory; a training holds all of them at once
_BYTES_PX = 8  # per pixel of a Picture: 3 bands, validity, two masks, 16-bit instances


@dataclass(frozen=True)
class IndexColumn:
    """One column of the index: name, pandas dtype, unit ('' if none), meaning, whether it may have nulls."""

    name: str
    dtype: str
    unit: str
    meaning: str
    nullable: bool = False


_S, _F, _I = "string", "float64", "int64"
INDEX: tuple[IndexColumn, ...] = (
    IndexColumn("tile_id", _S, "", "hash of the tile's source and position; name of its files"),
    IndexColumn("path", _S, "", "path of the picture, relative to the index"),
    IndexColumn("mask_path", _S, "", "path of the mask, relative to the index"),
    IndexColumn("split", _S, "", "train, val or test"),
    IndexColumn("place", _S, "", "unit that is assigned to a split: a site, the value of a column, or an image"),
    IndexColumn("sites", _S, "", "sites with a label in the tile, separated by spaces"),
    IndexColumn("image", _S, "", "image file that the tile was cut from"),
    IndexColumn("image_sha256", _S, "", "content hash of that file"),
    IndexColumn("pixels_sha256", _S, "", "hash of the tile's pixels; empty if all valid pixels have the same value"),
    IndexColumn("crs", _S, "", "CRS of the tile; empty without georeference"),
    IndexColumn("gsd_m", _F, "m", "ground sampling distance"),
    IndexColumn("row_px", _I, "px", "first row of the tile in the image's working grid"),
    IndexColumn("col_px", _I, "px", "first column of the tile in the image's working grid"),
    IndexColumn("valid_px", _I, "px", "pixels with imagery that belong to the split"),
    IndexColumn("background_px", _I, "px", "valid pixels labelled as no building"),
    IndexColumn("other_building_px", _I, "px", "valid pixels of other buildings"),
    IndexColumn("data_center_px", _I, "px", "valid pixels of data centers"),
    IndexColumn("cooling_equipment_px", _I, "px", "valid pixels of cooling equipment"),
    IndexColumn("unknown_px", _I, "px", "valid pixels whose class is unknown, or known only not to be a data center"),
    IndexColumn("guard_m", _F, "m", "guard distance between splits when the tile was cut"),
    IndexColumn("weight", _F, "1", "sampling weight relative to the other tiles"),
    IndexColumn("licence", _S, "", "licence of imagery and labels, as stated by their sources"),
    IndexColumn("attribution", _S, "", "attribution that the licence requires"),
    IndexColumn("label_source", _S, "", "files that the labels come from"),
    IndexColumn("rank", _I, "", "order of use (1 = first); tiles from inspections: hard negatives first"),
    IndexColumn("kind", _S, "", "tiles from inspections: hard_negative, confirmed, missed or empty_cell", True),
    IndexColumn("disposition_id", _S, "", "inspector's finding that the tile is based on", True),
    IndexColumn("site_id", _S, "", "site of the run that the finding is about", True),
    IndexColumn("finding", _S, "", "result of the inspection", True),
    IndexColumn("p_data_center", _F, "1", "probability of a data center that the run gave to the site", True),
    IndexColumn("run", _S, "", "sha256 of the run's manifest", True),
)
COUNTS = tuple(c.name for c in INDEX if c.name.endswith("_px") and c.name not in ("row_px", "col_px"))


def conform(rows: pd.DataFrame | Sequence[dict[str, object]]) -> gpd.GeoDataFrame:
    """Return the rows as a frame with exactly the columns of `INDEX`, in order and dtype, geometry in WGS84.

    Raises:
        ValueError: a column is unknown, or a required one is missing or has nulls.
    """
    frame = pd.DataFrame(rows).reset_index(drop=True)
    known = [c.name for c in INDEX]
    if unknown := sorted(set(frame.columns) - {*known, "geometry"}):
        raise ValueError(f"unknown column '{unknown[0]}'; {nearest(unknown[0], known)}")
    out: dict[str, pd.Series] = {}
    for column in INDEX:
        if column.name not in frame and not column.nullable and len(frame):
            raise ValueError(f"column '{column.name}' is missing")
        series = frame[column.name] if column.name in frame else pd.Series([None] * len(frame), dtype="object")
        if not column.nullable and series.isna().any():
            raise ValueError(f"column '{column.name}' has nulls")
        out[column.name] = series.astype(pd.api.types.pandas_dtype(column.dtype))
    shape = list(frame["geometry"]) if "geometry" in frame else [None] * len(frame)
    return gpd.GeoDataFrame(pd.DataFrame(out), geometry=gpd.GeoSeries(shape, crs=WGS84), crs=WGS84)


def read_index(path: Path) -> gpd.GeoDataFrame:
    """Read an index from its file or from the folder that contains it.

    Raises:
        RegistryError: missing, too large, or not an index of tiles.
    """
    path = path / INDEX_NAME if path.is_dir() else path
    if not path.is_file():
        raise RegistryError(f"{path}: no such file; `overwatt tiles` writes an index of tiles")
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise RegistryError(f"{path.name}: larger than {MAX_INDEX_BYTES / 1e6:.0f} MB, not an index of tiles")
    try:
        frame = conform(gpd.read_parquet(path))
    except (ValueError, TypeError, pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RegistryError(f"{path.name}: not an index of tiles as `overwatt tiles` writes it ({reason})") from error
    if wrong := sorted(set(frame["split"]) - set(SPLITS)):
        raise RegistryError(f"{path.name}: split '{wrong[0]}'; {nearest(wrong[0], SPLITS)}")
    if repeated := frame["tile_id"][frame["tile_id"].duplicated()].tolist():
        raise RegistryError(f"{path.name}: tile '{repeated[0]}' is in it twice; cut the tiles again")
    return frame


def pictures_of(
    index_path: Path, split: str, *, weight: float = 1.0, limit: int | None = None, max_bytes: int = MAX_BYTES
) -> list[Picture]:
    """Read the tiles of a split as training pictures, in the index's order of use.

    Args:
        index_path: index of tiles, or the folder that holds it.
        split: train, val or test.
        weight: total weight of the pictures; divided among them by the index column `weight`.
        limit: read only this many tiles, the first by rank.
        max_bytes: limit of the memory for the pictures.

    Raises:
        ConfigError: an unknown split, a split without tiles, or more pictures than `max_bytes` allows.
        RegistryError: not an index of tiles, or a path outside its folder.
        AssetReadError: a tile is missing, damaged, or does not agree with the index.
    """
    if split not in SPLITS:
        raise ConfigError(f"split '{split}'; {nearest(split, SPLITS)}")
    folder = index_path if index_path.is_dir() else index_path.parent
    index = read_index(index_path)
    rows = index[index["split"] == split].sort_values(["rank", "tile_id"])[:limit]
    if rows.empty:
        have = ", ".join(f"{n} {s}" for s, n in index["split"].value_counts().items()) or "none at all"
        raise ConfigError(f"{index_path}: no tiles in split '{split}' (there are {have})")
    if not (rows["weight"] > 0).all():
        raise RegistryError(f"{index_path}: a tile's weight is not greater than 0")
    need = sum(_shape(folder, row)[0] * _shape(folder, row)[1] for _, row in rows.iterrows()) * _BYTES_PX
    if need > max_bytes:
        raise ConfigError(
            f"{index_path}: {len(rows)} tiles of split '{split}' take {need / 1e9:.1f} GB of memory, "
            f"more than {max_bytes / 1e9:.1f} GB; use fewer of them (limit)"
        )
    total = float(rows["weight"].sum())
    return [_picture(folder, row, weight * float(row["weight"]) / total) for _, row in rows.iterrows()]


def check(index_paths: Sequence[Path], guard_m: float | None = None) -> list[Leak]:
    """Return the leaks between the splits of one index, or of several indices together.

    Pixel hashes are recomputed from the tiles, not taken from the index.

    Args:
        index_paths: indices of tiles, or folders that contain one.
        guard_m: guard distance, metres; None for the largest one stated in the indices.
    """
    frames = []
    for path in index_paths:
        frame, folder = read_index(path), path if path.is_dir() else path.parent
        frame["pixels_sha256"] = [pixels_sha256(*read_tile(folder, row)[:2]) for _, row in frame.iterrows()]
        frames.append(frame)
    index = gpd.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=WGS84) if len(frames) > 1 else frames[0]
    if not len(index):
        return []
    return leaks(index, float(index["guard_m"].max()) if guard_m is None else guard_m)


def pixels_sha256(optical: np.ndarray, valid: np.ndarray) -> str:
    """Return the SHA-256 of a tile's pixels; '' if all valid pixels are equal (void, water), which proves no leak.

    Args:
        optical: (3, y, x) uint8.
        valid: (y, x) bool.
    """
    seen = optical[:, valid]
    if not seen.size or (seen == seen[:, :1]).all():
        return ""
    digest = hashlib.sha256(repr(optical.shape).encode())
    digest.update(np.packbits(valid).tobytes())
    digest.update(np.ascontiguousarray(seen).tobytes())
    return digest.hexdigest()


def read_tile(folder: Path, row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the tile of an index row: optical (3, y, x) uint8, valid (y, x) bool, mask (3, y, x) uint16.

    Raises:
        RegistryError: a path is outside the index's folder.
        AssetReadError: a file is missing, damaged, or not a tile.
    """
    layers = _read(_inside(folder, row["path"]), len(PICTURE_BANDS), "uint8")
    mask = _read(_inside(folder, row["mask_path"]), len(MASK_BANDS), "uint16")
    name = f"tile {row['tile_id']}"
    if mask.shape[1:] != layers.shape[1:]:
        raise AssetReadError(f"{name}: picture {layers.shape[1:]} and mask {mask.shape[1:]} differ in size")
    for layer, band, codes in ((mask[0], "building", BUILDING_CODES), (mask[1], "cooling", COOLING_CODES)):
        if not np.isin(layer, codes).all():
            raise AssetReadError(
                f"{name}: band '{band}' of its mask holds codes other than {', '.join(map(str, codes))}"
            )
    return layers[:3], layers[3] > 0, mask


def _picture(folder: Path, row: Row, weight: float) -> Picture:
    optical, valid, mask = read_tile(folder, row)
    return Picture(
        name=f"{row['image']} {row['tile_id']}",
        optical=optical,
        valid=valid,
        building=mask[0].astype(np.uint8),
        cooling=mask[1].astype(np.uint8),
        weight=weight,
        gsd_m=float(row["gsd_m"]),
        instance=mask[2],
    )


def _inside(folder: Path, text: str) -> Path:
    """Return the resolved path; refuse one outside `folder` (path traversal, links)."""
    root = folder.resolve()
    path = (root / text).resolve()
    if not path.is_relative_to(root):
        raise RegistryError(f"index of tiles: path '{text}' leaves the folder of the index")
    return path


def _shape(folder: Path, row: Row) -> tuple[int, int]:
    with _open(_inside(folder, row["path"])) as source:
        return source.height, source.width


def _open(path: Path) -> rasterio.DatasetReader:
    """Open a tile as GeoTIFF only, after checks of its first bytes and its size."""
    if not path.is_file():
        raise AssetReadError(f"tile {path.name}: no such file; cut the tiles again", str(path))
    if raster_driver(path) != "GTiff":
        raise AssetReadError(f"tile {path.name}: not a GeoTIFF by its first bytes", str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path, driver="GTiff")
    except RasterioError as error:
        raise AssetReadError(f"tile {path.name}: not a readable GeoTIFF; cut the tiles again", str(path)) from error
    # block shapes too: a small image may declare huge blocks, which GDAL allocates
    if max(source.height, source.width, *source.block_shapes[0]) > MAX_TILE_PX:
        shape = f"{source.height} x {source.width}"
        source.close()
        raise AssetReadError(f"tile {path.name}: {shape} pixels, the limit is {MAX_TILE_PX} per side", str(path))
    return source


def _read(path: Path, bands: int, dtype: str) -> np.ndarray:
    with _open(path) as source:
        if source.count != bands or set(source.dtypes) != {dtype}:
            found = f"{source.count} of {', '.join(sorted(set(source.dtypes)))}"
            raise AssetReadError(f"tile {path.name}: {bands} bands of {dtype} expected, found {found}", str(path))
        try:
            return source.read()
        except RasterioError as error:
            raise AssetReadError(f"tile {path.name}: damaged; cut the tiles again", str(path)) from error
