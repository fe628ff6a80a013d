"""One tile of a run: its pixels, its probabilities and its regions, as arrays that can be stored.

In: a pixel source, the loaded detector, a tile. Out: the arrays of a stored part. Reading and computing are two steps,
so that one thread can read a tile while another computes the one before.
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


def regions_of(job: Job, detector: Detector, tile: Tile, pixels: Gathered) -> Arrays:
    """Compute a tile: probabilities, validity and the regions as polygons.

    Returns:
        The arrays of a stored part; `unpack` reads them.
    """
    from overwatt.models.detector.inference import infer

    y0, x0, y1, x1 = tile.core
    probability = np.zeros((len(CHANNELS), y1 - y0, x1 - x0), np.uint8)
    valid = np.zeros((y1 - y0, x1 - x0), bool)
    if pixels.patches:
        probability, valid = infer(detector, pixels, job.source.gsd_m)
    void = near_void(pixels.valid)[1:-1, 1:-1]
    parts = vectorize_tile(
        probability, valid, (y0, x0), tile.name, void, job.settings, job.source.gsd_m, pixels.measured
    )
    return {"probability": probability[: len(run_folder.RASTER_BANDS)], "valid": np.packbits(valid), **_pack(parts)}


def _pack(parts: pd.DataFrame) -> Arrays:
    """Regions as plain arrays, which `np.load` reads without pickle."""
    wkb = [shapely.to_wkb(g) for g in parts["geometry"]]
    return {
        "wkb": np.frombuffer(b"".join(wkb), np.uint8),
        "wkb_bytes": np.array([len(b) for b in wkb], np.int64),
        "kind": np.array([KINDS.index(k) for k in parts["kind"]], np.int8),
        **{n: parts[n].to_numpy(np.int64) for n in SUMS},
        "on_border": parts["on_border"].to_numpy(bool),
    }


def unpack(arrays: Arrays, tile: Tile) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return what a stored part contains.

    Args:
        arrays: from `regions_of`.
        tile: the same tile.

    Returns:
        Probability (band, y, x) uint8, bands as in `run_folder.RASTER_BANDS`; valid (y, x) bool; table of the regions.
    """
    y0, x0, y1, x1 = tile.core
    n = (y1 - y0) * (x1 - x0)
    valid = np.unpackbits(arrays["valid"], count=n).astype(bool).reshape(y1 - y0, x1 - x0)
    ends = np.cumsum(arrays["wkb_bytes"])
    blob = arrays["wkb"].tobytes()
    geometry = [shapely.from_wkb(blob[e - b : e]) for e, b in zip(ends, arrays["wkb_bytes"], strict=True)]
    parts = pd.DataFrame(
        {
            "kind": [KINDS[k] for k in arrays["kind"]],
            "geometry": pd.Series(geometry, dtype=object),
            **{c: arrays[c] for c in SUMS},
            "tile": tile.name,
            "on_border": arrays["on_border"],
        },
        columns=list(PART_COLUMNS),
    )
    return arrays["probability"], valid, parts
