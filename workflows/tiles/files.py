"""One training tile: its territory, its masks, its two files and its row of the index.

In: an image, the labels near it in its working pixels, and the position of the tile. Out: files under
`pictures/` and `masks/` of the output folder, and rows for models/training/tileset.py. The masks are made first, from
vectors alone, and determine the name of the tile. Pixels are read only if no intact tile of that name exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from affine import Affine
from rasterio.features import rasterize, shapes
from shapely.geometry import shape as as_shape

from overwatt.aoi.errors import AssetReadError
from overwatt.aoi.geodesy import to_lonlat
from overwatt.models.training import tileset
from overwatt.models.training.samples import DATA_CENTER, IGNORE, NOT_CENTER, OTHER
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.cog import write_raster
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.raster_checks import quiet

_FORMAT = 1  # version of the files of a tile; part of its name
# codes of the building mask, in the order in which they are drawn: later ones cover earlier ones
_BUILDING = {
    "background": 0,
    "unknown": IGNORE,
    "car_park": 0,
    "substation": 0,
    "not_data_center": NOT_CENTER,
    "other_building": OTHER,
    "data_center": DATA_CENTER,
}


@dataclass(frozen=True)
class Plan:
    """A tile to cut: image number, first row and column; optionally the only split, and additional columns."""

    image: int
    row: int
    col: int
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CutSettings:
    """The settings of a cut on which a single tile depends."""

    size_px: int
    cell_px: int
    guard_m: float
    ignore_unlabelled: bool
    empty: bool
    licence: str
    attribution: str


@dataclass
class Job:
    """Inputs for the tiles of one image; picklable.

    Attributes:
        image: the image.
        shapes: outlines in its working pixels, in canonical order.
        labels: class, split, site, place, cooling, source, licence, attribution of each.
        settings: of the cut.
        out: output folder.
        unknown: ground of labels that are left out, in working pixels; labels are drawn over it.
    """

    image: Image
    shapes: tuple[shapely.Geometry, ...]
    labels: pd.DataFrame
    settings: CutSettings
    out: Path
    unknown: tuple[shapely.Geometry, ...] = ()
    _trees: dict[str, shapely.STRtree] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trees": {}}

    def tree(self, split: str, own: bool) -> shapely.STRtree:
        """Return a spatial index of the outlines of a split (`own`) or of all other splits."""
        key = f"{split} {own}"
        if key not in self._trees:
            chosen = (self.labels["split"] == split) == own
            self._trees[key] = shapely.STRtree([self.shapes[i] for i in np.flatnonzero(chosen)])
        return self._trees[key]


def cell_px(gsd_m: float, cell_m: float) -> int:
    """Return the side of a territory cell in pixels, at least 1."""
    return max(1, int(cell_m / gsd_m))


def cut_plan(job: Job, plan: Plan) -> tuple[list[dict[str, Any]], int]:
    """Cut one window, once for every split with territory in it.

    Returns:
        Rows of the index, and the number of those whose files existed already.

    Raises:
        AssetReadError: the image cannot be read there.
    """
    rows, reused = [], 0
    for split in [plan.split] if plan.split else sorted(set(job.labels["split"])):
        got = _cut(job, plan, split)
        if got is not None:
            rows.append(got[0])
            reused += got[1]
    return rows, reused


def _cut(job: Job, plan: Plan, split: str) -> tuple[dict[str, Any], bool] | None:
    size = job.settings.size_px
    frame = shapely.box(plan.col, plan.row, plan.col + size, plan.row + size)
    own = np.flatnonzero(job.labels["split"] == split)
    near = np.sort(own[job.tree(split, True).query(frame, predicate="intersects")])
    if not len(near) and not job.settings.empty:
        return None
    keep = _territory(job, plan, split)
    mask, labelled = _masks(job, plan, near, keep)
    if not keep.any() or not (labelled.any() or job.settings.empty):
        return None
    image = job.image
    tile_id = run_folder.key(
        _FORMAT, image.sha256, str(image.geobox), image.shape, image.gsd_m, plan.row, plan.col, size,
        run_folder.key(np.packbits(keep).tobytes()), run_folder.key(mask.tobytes()),
    )  # fmt: skip
    row: dict[str, Any] = {
        "tile_id": tile_id,
        "path": f"pictures/{tile_id}.tif",
        "mask_path": f"masks/{tile_id}.tif",
    }
    reused = _intact(job.out, row)
    if not reused and not _write(job, plan, row, keep, mask):
        return None
    optical, valid, mask = tileset.read_tile(job.out, row)
    if not (labelled & valid).any() and not job.settings.empty:
        return None  # the label lies on nodata; `_remove_stale` removes the files, as no index lists them
    return {**row, **_described(job, plan, split, near, keep), **_counted(optical, valid, mask)}, reused


def _territory(job: Job, plan: Plan, split: str) -> np.ndarray:
    """Return the pixels (y, x) bool that belong to a split, by whole cells, inside the image."""
    size, cell, image = job.settings.size_px, job.settings.cell_px, job.image
    n = -(-size // cell)
    own, other = job.tree(split, True), job.tree(split, False)
    cells = np.ones((n, n), bool)
    if len(other.geometries):
        half = cell / np.sqrt(2)
        at = (np.arange(n) + 0.5) * cell
        points = shapely.points(*(a.ravel() for a in np.meshgrid(plan.col + at, plan.row + at)))
        d_own, d_other = (t.query_nearest(points, return_distance=True, all_matches=False)[1] for t in (own, other))
        # from the centre to a corner of a cell, a distance changes by at most `half`, a difference by twice that;
        # 2% because a metre of the grid is a metre on the ground only within 1%
        cells = (d_other - d_own >= 1.02 * job.settings.guard_m / image.gsd_m + 2 * half).reshape(n, n)
    keep = np.kron(cells, np.ones((cell, cell), bool))[:size, :size]
    keep[max(0, image.shape[0] - plan.row) :] = False
    keep[:, max(0, image.shape[1] - plan.col) :] = False
    keep[: max(0, -plan.row)] = False
    keep[:, : max(0, -plan.col)] = False
    return keep


def _masks(job: Job, plan: Plan, near: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask (building, cooling, instance; y, x) uint16, and which pixels have a known label."""
    size = job.settings.size_px
    transform = Affine(1, 0, plan.col, 0, 1, plan.row)
    klass = job.labels["class"].to_numpy()

    def burn(pairs: list[tuple[Any, int]], fill: int) -> np.ndarray:
        if not pairs:
            return np.full((size, size), fill, np.uint16)
        return np.asarray(rasterize(pairs, (size, size), fill=fill, transform=transform, dtype="uint16"))

    fill = IGNORE if job.settings.ignore_unlabelled else 0
    frame = shapely.box(plan.col, plan.row, plan.col + size, plan.row + size)
    hidden = np.array(job.unknown, dtype=object)
    left_out = [(g, IGNORE) for g in hidden[shapely.intersects(hidden, frame)]]

    def drawn_in(order: dict[str, int]) -> list[tuple[Any, int]]:
        pairs = {k: [(job.shapes[i], c) for i in near if klass[i] == k] for k, c in order.items()}
        return [*pairs.pop("background"), *left_out, *(pair for rest in pairs.values() for pair in rest)]

    building = burn(drawn_in(_BUILDING), fill)
    # a label file without equipment leaves it unknown, not absent
    drawn = bool(job.labels["cooling"].to_numpy()[near].any()) or (not len(near) and job.labels["cooling"].any())
    order = {"background": 0, "unknown": IGNORE, "cooling_equipment": 1}
    cooling = burn(drawn_in(order), fill) if drawn else np.full((size, size), IGNORE, np.uint16)
    halls = [i for k in ("other_building", "data_center") for i in near if klass[i] == k]
    instance = burn([(job.shapes[i], n) for n, i in enumerate(halls, 1)], 0)
    instance[(building != OTHER) & (building != DATA_CENTER)] = 0
    labelled = burn([(job.shapes[i], 1) for i in near if klass[i] != "unknown"], 0) > 0
    for layer, blank in ((building, IGNORE), (cooling, IGNORE), (instance, 0)):
        layer[~keep] = blank
    return np.stack([building, cooling, instance]), labelled & keep


def _intact(out: Path, row: dict[str, Any]) -> bool:
    if not (out / row["path"]).is_file() or not (out / row["mask_path"]).is_file():
        return False
    try:
        tileset.read_tile(out, row)
    except AssetReadError:
        return False
    return True


def _write(job: Job, plan: Plan, row: dict[str, Any], keep: np.ndarray, mask: np.ndarray) -> bool:
    """Read the pixels and write both files; return False if there is no valid pixel."""
    size, image = job.settings.size_px, job.image
    values, valid = image.read(plan.row, plan.col, plan.row + size, plan.col + size)
    valid &= keep
    if not valid.any():
        return False
    optical = np.rint(values * 255).astype(np.uint8)
    optical[:, ~valid] = 0
    mask[0][~valid] = mask[1][~valid] = IGNORE
    mask[2][~valid] = 0
    picture = np.concatenate([optical, np.where(valid, np.uint8(255), np.uint8(0))[None]])
    georeference: dict[str, Any] = {}
    if image.geobox is not None:
        affine = image.geobox.affine @ Affine.translation(plan.col, plan.row)
        georeference = {"crs": str(image.geobox.crs), "transform": affine}
    for path, layers, names, extra in (
        (row["path"], picture, tileset.PICTURE_BANDS, {"photometric": "RGB"}),
        (row["mask_path"], mask, tileset.MASK_BANDS, {}),
    ):
        with quiet():
            write_raster(job.out / path, layers, names, compress="deflate", **georeference, **extra)
    return True


def _described(job: Job, plan: Plan, split: str, near: np.ndarray, keep: np.ndarray) -> dict[str, Any]:
    """Return the columns of a row that describe the origin of the tile."""
    image, labels, s = job.image, job.labels.iloc[near], job.settings

    def joined_texts(*texts: str) -> str:
        return "; ".join(sorted({t for t in texts if t}))

    if len(near):
        places = labels["place"].value_counts()  # the place with most labels; of equals the first by name
        place = min(places[places == places.max()].index)
    else:
        centre = shapely.Point(plan.col + s.size_px / 2, plan.row + s.size_px / 2)
        own = np.flatnonzero(job.labels["split"] == split)
        place = job.labels["place"].iloc[own[int(job.tree(split, True).nearest(centre))]]
    footprint = None
    if image.geobox is not None:
        shift = Affine.translation(plan.col, plan.row)
        parts = [as_shape(g) for g, _ in shapes(keep.astype(np.uint8), mask=keep, transform=shift)]
        footprint = to_lonlat([shapely.union_all(parts)], image.geobox.affine, str(image.geobox.crs))[0]
    return {
        "split": split,
        "place": place,
        "sites": " ".join(sorted(set(labels["site"]))),
        "image": image.name,
        "image_sha256": image.sha256,
        "crs": "" if image.geobox is None else str(image.geobox.crs),
        "gsd_m": image.gsd_m,
        "row_px": plan.row,
        "col_px": plan.col,
        "guard_m": s.guard_m,
        "weight": 1.0,
        "licence": joined_texts(s.licence, *labels["licence"]),
        "attribution": joined_texts(s.attribution, *labels["attribution"]),
        "label_source": joined_texts(*labels["source"]),
        "rank": 1,
        "geometry": footprint,
        **plan.extra,
    }


def _counted(optical: np.ndarray, valid: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    building, cooling = mask[0][valid], mask[1][valid]
    return {
        "pixels_sha256": tileset.pixels_sha256(optical, valid),
        "valid_px": int(valid.sum()),
        "background_px": int((building == 0).sum()),
        "other_building_px": int((building == OTHER).sum()),
        "data_center_px": int((building == DATA_CENTER).sum()),
        "cooling_equipment_px": int((cooling == 1).sum()),
        "unknown_px": int((building >= NOT_CENTER).sum()),
    }
