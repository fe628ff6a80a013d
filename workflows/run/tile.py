"""One tile of a run: its pixels, its probabilities and its regions, as arrays that can be stored.

In: a pixel source, the loaded detector, a tile. Out: the arrays of a stored part. Reading, computing and outlining are
three steps, so that other threads can read the next tile and outline the one before while one computes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely
from odc.geo.geobox import GeoBox

from overwatt.aoi.area import Area
from overwatt.aoi.grid import Tile, area_mask
from overwatt.models.detector.card import CHANNELS, ModelCard
from overwatt.models.detector.windows import Gathered, gather, lattice
from overwatt.pipeline.detection.footprints import OBJECT_COLUMNS, finish, split
from overwatt.pipeline.detection.instances import SUMS
from overwatt.pipeline.detection.vectorization import KINDS, PART_COLUMNS, DetectSettings, near_void, vectorize_tile
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.source import Source

if TYPE_CHECKING:
    from overwatt.models.detector.inference import Detector

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Job:
    """What every worker needs once.

    Attributes:
        source: the imagery.
        weights: weights file.
        card: its card, as the sensor profile narrows it.
        area: area of interest; None for all of the source.
        settings: of the vectorisation.
    """

    source: Source
    weights: Path
    card: ModelCard
    area: Area | None
    settings: DetectSettings


def pixels_of(job: Job, tile: Tile) -> Gathered:
    """Read the windows of a tile.

    Raises:
        AssetReadError, CatalogError: the pixels cannot be read.
    """
    source, asked = job.source, None
    if job.area is not None and source.geobox is not None:
        y0, x0, y1, x1 = tile.core
        shift = type(source.geobox.affine).translation(x0 - 1, y0 - 1)
        # one pixel more on each side, so that ground next to the tile that is not asked for is known
        asked = area_mask(GeoBox((y1 - y0 + 2, x1 - x0 + 2), source.geobox.affine * shift, source.geobox.crs), job.area)
    return gather(job.card, source.read, lattice(source.shape, source.gsd_m), tile.core, asked)


@dataclass(frozen=True)
class Computed:
    """What the network says of a tile.

    Attributes:
        probability: (channel, y, x) uint8, channels as in `CHANNELS`, probability times 255.
        valid: (y, x) bool, pixels that were imaged and screened.
        void: (y, x) bool, valid pixels next to one without imagery.
        measured: (y, x) bool, where the network saw a thermal band; None: nowhere.
    """

    probability: np.ndarray
    valid: np.ndarray
    void: np.ndarray
    measured: np.ndarray | None


def computed(job: Job, detector: Detector, tile: Tile, pixels: Gathered) -> Computed:
    """Run the network on the windows of a tile."""
    from overwatt.models.detector.inference import infer

    y0, x0, y1, x1 = tile.core
    probability = np.zeros((len(CHANNELS), y1 - y0, x1 - x0), np.uint8)
    valid = np.zeros((y1 - y0, x1 - x0), bool)
    if pixels.patches:
        probability, valid = infer(detector, pixels, job.source.gsd_m)
    return Computed(probability, valid, near_void(pixels.valid)[1:-1, 1:-1], pixels.measured)


def regions_of(job: Job, tile: Tile, found: Computed) -> Arrays:
    """Turn what the network says of a tile into objects, and into regions where they reach the tile's edge.

    Returns:
        The arrays of a stored part; `unpack` reads them.
    """
    parts = vectorize_tile(
        found.probability, found.valid, tile.core[:2], tile.name, found.void, job.settings, job.source.gsd_m,
        found.measured,
    )  # fmt: skip
    waits = split(parts, tile.core)
    return packed(found.probability, found.valid, parts[waits], finish(parts[~waits], job.settings, job.source.gsd_m))


def packed(probability: np.ndarray, valid: np.ndarray, waiting: pd.DataFrame, finished: pd.DataFrame) -> Arrays:
    """Return a tile as plain arrays, which `np.load` reads without pickle.

    Args:
        probability: (channel, y, x) uint8; only `run_folder.RASTER_BANDS` are kept.
        valid: (y, x) bool.
        waiting: regions that reach the tile's edge, as of `vectorize_tile`.
        finished: the other objects, as of `finish`.
    """
    return {
        "probability": probability[: len(run_folder.RASTER_BANDS)],
        "valid": np.packbits(valid),
        **_plain(waiting, SUMS, "waiting"),
        **_plain(finished, _INTEGERS, "finished"),
    }


_INTEGERS = tuple(c for c in OBJECT_COLUMNS if c not in ("kind", "geometry", "on_border"))


def _plain(table: pd.DataFrame, integers: tuple[str, ...], name: str) -> Arrays:
    """Return a table of regions or objects as arrays whose names start with `name`."""
    wkb = shapely.to_wkb(np.asarray(table["geometry"], dtype=object))
    return {
        f"{name}_wkb": np.frombuffer(b"".join(wkb), np.uint8),
        f"{name}_wkb_bytes": np.array([len(b) for b in wkb], np.int64),
        f"{name}_kind": np.array([KINDS.index(k) for k in table["kind"]], np.int8),
        f"{name}_on_border": table["on_border"].to_numpy(bool),
        # one array: a file has few of them, and each takes time to open
        f"{name}_integers": np.stack([table[n].to_numpy(np.int64) for n in integers]),
    }


def _table(arrays: Arrays, integers: tuple[str, ...], name: str) -> pd.DataFrame:
    """Return the table that `_plain` turned into arrays."""
    size, blob = arrays[f"{name}_wkb_bytes"], arrays[f"{name}_wkb"].tobytes()
    ends = np.cumsum(size)
    wkb = np.array([blob[e - b : e] for e, b in zip(ends, size, strict=True)], dtype=object)
    return pd.DataFrame(
        {
            "kind": np.array(KINDS, dtype=object)[arrays[f"{name}_kind"]],
            "geometry": pd.Series(shapely.from_wkb(wkb), dtype=object),
            "on_border": arrays[f"{name}_on_border"],
            **dict(zip(integers, arrays[f"{name}_integers"], strict=True)),
        }
    )


def unpack(arrays: Arrays, tile: Tile) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Return what a stored part contains.

    Args:
        arrays: from `regions_of`.
        tile: the same tile.

    Returns:
        Probability (band, y, x) uint8, bands as in `run_folder.RASTER_BANDS`; valid (y, x) bool; the regions that reach
        the tile's edge, as of `vectorize_tile`; the other objects, as of `finish`.
    """
    y0, x0, y1, x1 = tile.core
    n = (y1 - y0) * (x1 - x0)
    valid = np.unpackbits(arrays["valid"], count=n).astype(bool).reshape(y1 - y0, x1 - x0)
    waiting = _table(arrays, SUMS, "waiting").assign(tile=tile.name)[list(PART_COLUMNS)]
    return arrays["probability"], valid, waiting, _table(arrays, _INTEGERS, "finished")[list(OBJECT_COLUMNS)]
