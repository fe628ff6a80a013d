"""From the class probabilities of one tile to its connected regions: polygons with integer sums.

In: class probabilities as integers 0..255. Out: one row per region: a polygon on pixel edges, and sums of the
probabilities over its pixels. Both are exact, so the objects are the same, bit for bit, however the area was cut
into tiles. Building pixels are those whose building probability (other + data center) exceeds a threshold.
`footprints.merge_footprints` joins the regions of all tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import shapely
from affine import Affine
from rasterio.features import shapes
from scipy import ndimage

from overwatt.models.detector.card import CHANNELS, UNIT_GSD_M, ModelCard
from overwatt.models.reference.machine_kinds import MACHINE_KINDS
from overwatt.pipeline.detection.instances import SUMS

PART_COLUMNS = ("kind", "geometry", *SUMS, "tile", "on_border")
KINDS = ("building", "cooling", "interior", "unit", "generator", "substation")
COOLERS = tuple(k for k in MACHINE_KINDS if k != "generator")
"""Kinds of machines that cool; a region of equipment has the sum of each in `sum_KIND`."""
_AT = {name: CHANNELS.index(name) for name in CHANNELS}


@dataclass(frozen=True)
class DetectSettings:
    """Thresholds for turning probabilities into objects.

    Attributes:
        building: least building probability of a pixel, 0..1.
        cooling: least equipment probability of a pixel, 0..1.
        min_building_m2: smaller regions are dropped; the network learned buildings of >= 400 m2.
        min_cooling_m2: the same for equipment; about two chillers of 2.4 x 6 m, or a generator (own choice).
        min_machine_m2: the same where pixels are at most `UNIT_GSD_M`; a packaged unit of 2 x 3 m (own choice).
        min_substation_m2: the same for substations (own choice).
        simplify_m: tolerance of the outlines, m.
        interior: least interior probability of a pixel, 0..1.
        min_interior_m2: smaller interiors do not become a building of their own.
        wall_m: interiors nearer than this are one building, m; the network learned interiors that stay 4 m away from
            every outline (`samples.WALL_M`), so those of two buildings are 8 m apart.
        peak: the score is the maximum over an object, not the mean.
        offset: log-odds of the maximum at which the score is 0.5.
    """

    building: float = 0.5
    cooling: float = 0.5
    min_building_m2: float = 400.0
    min_cooling_m2: float = 30.0
    min_machine_m2: float = 6.0
    min_substation_m2: float = 400.0
    simplify_m: float = 1.0
    interior: float = 0.5
    min_interior_m2: float = 200.0
    wall_m: float = 8.0
    peak: bool = False
    offset: float = 0.0

    @classmethod
    def of(cls, card: ModelCard, **thresholds: float) -> DetectSettings:
        """Thresholds, by name where they are not the defaults, with the scoring that the weights' card asks for."""
        return cls(**thresholds, peak=card.scoring == "peak", offset=card.offset)


def near_void(valid: np.ndarray) -> np.ndarray:
    """Mark valid pixels next to one without imagery, diagonals included; the edge of the array does not count.

    Args:
        valid: (y, x) bool, with a margin of one pixel around the part of interest where that matters.
    """
    if valid.all():
        return np.zeros_like(valid)
    return valid & ~ndimage.binary_erosion(valid, np.ones((3, 3), bool), border_value=1)


def vectorize_tile(
    probability: np.ndarray,
    valid: np.ndarray,
    origin: tuple[int, int],
    tile: str,
    near_void: np.ndarray,
    settings: DetectSettings,
    gsd_m: float,
    measured: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the regions of one tile.

    Args:
        probability: (channel, y, x) uint8 in the order of `overwatt.models.detector.inference.CHANNELS`.
        valid: (y, x) bool.
        origin: (row, column) of the tile's first pixel in the image.
        tile: its name.
        near_void: (y, x) bool, True at valid pixels next to a pixel without imagery.
        settings: thresholds.
        gsd_m: ground sampling distance, m per pixel.
        measured: (y, x) bool, True where the network saw a thermal band; None: nowhere.

    Returns:
        One row per region: kind (of `KINDS`), geometry in image pixels (x = column, y = row, on
        pixel edges), pixels, sum_p, max_p (sum and maximum of the class's probability: data center for buildings,
        else equipment), sum_novelty, sum_thermal (pixels measured), tile, on_border.
    """
    p = probability
    equipment = (p[3] > settings.cooling * 255) & valid
    # weights without kinds have 0 in all of them: nothing is a generator then
    generator = equipment & (p[_AT["generator"]] > np.max([p[_AT[k]] for k in COOLERS], axis=0))
    masks = {
        "building": (p[1].astype(np.int16) + p[2] > settings.building * 255) & valid,
        "cooling": equipment & ~generator,
        "generator": generator,
        "substation": (p[_AT["substation"]] > 127) & valid,  # own choice: even odds
    }
    masks["interior"] = masks["building"] & (p[4] > settings.interior * 255)
    if gsd_m <= UNIT_GSD_M:
        # own choice: even odds for a machine
        masks["unit"] = equipment & (p[5] > 127)
    value = {"building": p[7], "cooling": p[3], "interior": p[7], "unit": p[5], "generator": p[3]}
    value["substation"] = p[_AT["substation"]]
    frames: list[pd.DataFrame] = []
    shift = Affine.translation(origin[1], origin[0])
    for kind, mask in masks.items():
        if not mask.any():
            continue
        labels, count = ndimage.label(mask)  # 4-connected
        at = np.flatnonzero(mask)
        member = labels.ravel()[at]
        worth = value[kind].ravel()[at]
        largest = np.zeros(count + 1, np.uint8)
        np.maximum.at(largest, member, worth)
        sums = {
            "pixels": np.bincount(member),
            "sum_p": _sum(member, worth),
            "max_p": largest,
            "sum_novelty": _sum(member, p[6].ravel()[at]),
            "sum_thermal": _sum(member, None if measured is None else measured.ravel()[at]),
            **{f"sum_{k}": _sum(member, p[_AT[k]].ravel()[at]) for k in COOLERS},
        }
        void = _sum(member, near_void.ravel()[at]) > 0
        found = list(shapes(labels.astype(np.int32, copy=False), mask=mask, connectivity=4, transform=shift))
        index = np.array([int(label) for _, label in found])
        frames.append(
            pd.DataFrame(
                {
                    "kind": kind,
                    "geometry": pd.Series(polygons([g for g, _ in found]), dtype=object),
                    **{name: values[index].astype(np.int64) for name, values in sums.items()},
                    "tile": tile,
                    "on_border": void[index],
                }
            )
        )
    if not frames:
        return pd.DataFrame({name: [] for name in PART_COLUMNS})
    return pd.concat(frames, ignore_index=True)[list(PART_COLUMNS)]


def polygons(found: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return GeoJSON polygons, as `rasterio.features.shapes` gives them, as (n,) shapely polygons."""
    rings = [ring for g in found for ring in g["coordinates"]]
    ends = np.cumsum([0, *(len(ring) for ring in rings)])
    of = np.cumsum([0, *(len(g["coordinates"]) for g in found)])
    points = np.array([xy for ring in rings for xy in ring], float).reshape(-1, 2)
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, (ends, of))


def _sum(member: np.ndarray, values: np.ndarray | None) -> np.ndarray:
    """Return the sum of values (n,) over each region, by its label; exact in float64, since they are integers."""
    if values is None or not values.any():
        return np.zeros(member.max() + 1)
    return np.bincount(member, weights=values)
