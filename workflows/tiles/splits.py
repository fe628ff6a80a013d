"""Inputs of a cut of training tiles: settings, images, and the split of every label.

In: options, image paths, a table of labels. Out: opened images, and the labels with `site`, `place`
and `split`. Nothing is written here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import ConfigError, nearest
from overwatt.aoi.geodesy import WGS84, to_lonlat
from overwatt.models.detector.card import ModelCard
from overwatt.models.training import tileset
from overwatt.models.training.spatial_splits import SPLITS, assign, sites_of
from overwatt.workflows.io.images import Image, check_any_valid, open_image

CELL_M = 8.0
"""Side of the cells by which pixels are assigned to splits, metres; own choice, below the size of a building."""


@dataclass(frozen=True)
class TileSettings:
    """Settings of a cut.

    Attributes:
        size_px: side of a tile, pixels.
        overlap_px: overlap of neighbouring tiles, pixels; pixels of another split are blanked.
        gsd_m: ground sampling distance of images without georeference, metres.
        tile_gsd_m: ground sampling distance of the tiles, metres; None keeps the pixels of each image.
        split_by: `place`, or a column of the labels such as county or site.
        shares: shares of train, val and test.
        guard_m: least distance between splits, metres; the default is that of cross-validation.
        seed: seed of the assignment to splits.
        unlabelled: class of ground without a label: `background` or `ignore` (unknown).
        empty: also cut tiles without labels, as background.
        licence, attribution: of the imagery; added to those of the labels.
        workers: number of processes.
    """

    size_px: int = 512
    overlap_px: int = 0
    gsd_m: float | None = None
    tile_gsd_m: float | None = None
    split_by: str = "place"
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    guard_m: float = 40.0
    seed: int = 0
    unlabelled: str = "background"
    empty: bool = False
    licence: str = ""
    attribution: str = ""
    workers: int = 1


def check_settings(s: TileSettings) -> None:
    """Refuse invalid settings.

    Raises:
        ConfigError: a setting is invalid; the message names the option, its value and the valid range.
    """
    if not 64 <= s.size_px <= tileset.MAX_TILE_PX:
        raise ConfigError(f"--size-px {s.size_px}: give 64 to {tileset.MAX_TILE_PX}")
    if not 0 <= s.overlap_px < s.size_px:
        raise ConfigError(f"--overlap-px {s.overlap_px}: give 0 or more, less than --size-px {s.size_px}")
    for name, value in (("--gsd", s.gsd_m), ("--tile-gsd", s.tile_gsd_m)):
        if value is not None and not 0.01 <= value <= 100:
            raise ConfigError(f"{name} {value:g}: give metres per pixel, 0.01 to 100")
    if not 0 <= s.guard_m <= 10_000:
        raise ConfigError(f"--guard-m {s.guard_m:g}: give metres, 0 to 10000")
    if len(s.shares) != len(SPLITS) or min(s.shares) < 0 or not 0 < sum(s.shares) < np.inf:
        raise ConfigError(
            f"--shares {','.join(f'{v:g}' for v in s.shares)}: give train,val,test, such as 0.7,0.15,0.15"
        )
    if s.unlabelled not in ("background", "ignore"):
        raise ConfigError(
            f"--unlabelled '{s.unlabelled}' is unknown; {nearest(s.unlabelled, ('background', 'ignore'))}"
        )
    if s.workers < 1 or s.seed < 0:
        raise ConfigError(f"--workers {s.workers}, --seed {s.seed}: give at least 1 worker, and a seed of 0 or more")


def open_images(paths: Sequence[Path], settings: TileSettings) -> list[Image]:
    """Open images for cutting, in order of their content hash, each once; they need not fit any weights.

    Raises:
        OverwattError: no image is given, or an image is unusable.
    """
    if not paths:
        raise ConfigError("tiles: no image given; give at least one")
    wanted = settings.tile_gsd_m
    card = ModelCard(
        name="training tiles", version="0", created="", licence="", bands=tileset.PICTURE_BANDS[:3],
        units="display_uint8", mean=(0.0,) * 3, std=(1.0,) * 3, gsd_m=wanted or 1.0,
        # upsampling invents detail: pixels coarser than 1.45 times are refused, as on the cards of the bundled weights
        gsd_range_m=(0.01, 1.45 * wanted if wanted else 100.0),
        native_range_m=(0.999 * wanted, 1.001 * wanted) if wanted else (0.01, 100.0),
    )  # fmt: skip
    found: dict[str, Image] = {}
    for path in paths:
        image = open_image(path, card, gsd_m=settings.gsd_m, require_crs=False)
        check_any_valid(image)
        found.setdefault(image.sha256, image)
    return [found[key] for key in sorted(found)]


def with_splits(labels: gpd.GeoDataFrame, images: Sequence[Image], settings: TileSettings) -> gpd.GeoDataFrame:
    """Add `site`, `place` and `split` to every label.

    Georeferenced labels are linked over the guard plus a margin for the cells and for scale errors of the grids, so
    that the ground of a label stays in its split. All labels of an image without georeference form one site.

    Raises:
        ConfigError: the column of `split_by` is missing or has empty values.
    """
    cell_m = max(CELL_M, *(i.gsd_m for i in images)) / np.sqrt(2)  # half a diagonal
    sha = {i.name: i.sha256[:12] for i in images if i.geobox is None}
    on_earth = (labels["image"] == "").to_numpy()
    # L with 0.99 L - 2h >= 1.02 g + 2h: a metre of a grid is a metre within 1% (workflows/io/placement.py)
    link_m = 1.04 * settings.guard_m + 4.1 * cell_m
    site = np.array([f"image-{sha.get(n, '')}" for n in labels["image"]], dtype=object)
    site[on_earth] = sites_of(labels.geometry[on_earth].to_numpy(), link_m)
    out = labels.assign(site=site, place=site)
    if settings.split_by != "place":
        if settings.split_by not in labels or settings.split_by in ("geometry", "image", "cooling", "source"):
            columns = [str(c) for c in labels.columns if c not in ("geometry", "image", "cooling", "source")]
            raise ConfigError(
                f"--split-by '{settings.split_by}' is no column of the labels; "
                f"{nearest(settings.split_by, ['place', *columns])}"
            )
        if labels[settings.split_by].isna().any():
            n = int(labels[settings.split_by].isna().sum())
            raise ConfigError(f"--split-by {settings.split_by}: {n} labels have no value in that column")
        # a site across the border of two counties belongs to the one with more of its labels
        values = labels[settings.split_by].astype(str).groupby(site)  # group by ours: the file may have a column `site`
        votes = {str(s): Counter(v) for s, v in values}
        chosen = {s: min(c, key=lambda value: (-c[value], value)) for s, c in votes.items()}
        out["place"] = out["site"].map(chosen)
    counts = {
        str(p): (int((g["class"] == "data_center").sum()), int((g["class"] != "unknown").sum()))
        for p, g in out.groupby("place")
    }
    split = assign(counts, settings.shares, settings.seed)
    return out.assign(split=out["place"].map(split))


def on_image(labels: gpd.GeoDataFrame, image: Image) -> np.ndarray:
    """Return, (label,) bool, which labels lie on an image."""
    if image.geobox is None:
        inside = shapely.box(0, 0, image.shape[1], image.shape[0])
        return (labels["image"] == image.name).to_numpy() & shapely.intersects(labels.geometry.to_numpy(), inside)
    return (labels["image"] == "").to_numpy() & shapely.intersects(labels.geometry.to_numpy(), extent_of(image))


def extent_of(image: Image) -> shapely.Geometry:
    """Return the extent of an image, lon/lat; its edges are split into 16, because they are curved in lon/lat."""
    box = image.geobox
    assert box is not None
    frame = shapely.segmentize(shapely.box(0, 0, image.shape[1], image.shape[0]), max(image.shape) / 16)
    return to_lonlat([frame], box.affine, str(box.crs))[0]


def with_empty_images(images: Sequence[Image], labels: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Add one background label per image without labels: its whole extent, a site like any other."""
    rows = [
        {
            "geometry": shapely.box(0, 0, i.shape[1], i.shape[0]) if i.geobox is None else extent_of(i),
            "class": "background",
            "image": i.name if i.geobox is None else "",
            "cooling": True,
            "source": "no label: background",
            "licence": "",
            "attribution": "",
        }
        for i in images
        if not on_image(labels, i).any()
    ]
    if not rows:
        return labels
    extra = gpd.GeoDataFrame(pd.DataFrame(rows), geometry="geometry", crs=WGS84)
    return gpd.GeoDataFrame(pd.concat([labels, extra], ignore_index=True), crs=WGS84)
