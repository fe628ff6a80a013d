"""`overwatt tiles`: from imagery and labels to a folder of training tiles, split by place.

In: opened images and one table of labels (workflows/tiles/labels.py). Out: GeoTIFF tiles and an
index (models/training/tileset.py).

Labels closer than a link distance form a site, and a site is in one split. A pixel belongs to a split only if it is
closer to the labels of that split than to those of any other split by at least the guard g. Let d_S(p) be the distance
of p from the labels of split S. If d_T(p) - d_S(p) >= g and d_S(q) - d_T(q) >= g, then |pq| >= g, because a
distance changes by at most |pq| from p to q. So tiles of different splits keep the guard by construction,
even in a dense district; the leak check at the end is independent of this.

A tile is named by a hash of its inputs. So an interrupted command can be resumed, and the result does not depend on the
order of files or on the number of workers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import AssetReadError, ConfigError, RegistryError
from overwatt.aoi.geodesy import DEGREE_LATITUDE_M, WGS84
from overwatt.models.training import tileset
from overwatt.models.training.spatial_splits import SPLITS, Leak, leaks
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.vectors import to_pixels
from overwatt.workflows.tiles.files import CutSettings, Job, Plan, cell_px, cut_plan
from overwatt.workflows.tiles.labels import LabelFile, merged, read_labels
from overwatt.workflows.tiles.left_out import LeftOut, Notes, check_background, summary, unknown_ground
from overwatt.workflows.tiles.splits import (
    CELL_M,
    TileSettings,
    check_settings,
    extent_of,
    on_image,
    open_images,
    with_empty_images,
    with_splits,
)

Say = Callable[[str], None]
Tick = Callable[[int, int, int], None]  # done, failed, total
_CHUNK = 32  # tiles per task; own choice: small enough for a steady progress bar, large enough to amortise the task
# names of tiles; only such files are removed as stale
_TILE_NAME = re.compile(r"^[0-9a-f]{24}\.tif$")


@dataclass
class Progress:
    """Receivers of progress: `say` takes a line, `tick` takes (done, failed, total) after every tile."""

    say: Say = lambda text: None
    tick: Tick = field(default=lambda done, failed, total: None)


def cut(
    images: Sequence[Path],
    label_files: Sequence[LabelFile],
    out: Path,
    settings: TileSettings,
    *,
    class_map: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Cut training tiles; all inputs are opened and checked before anything is written.

    Args:
        images: image files.
        label_files: label files.
        out: output folder.
        settings: how to cut.
        class_map: {class name in the files: our class}.
        progress: receivers of progress.

    Returns:
        A summary for `--json`: index, tiles {written, reused, failed}, splits, labels, left_out {total, by_cause,
        first}, leaks, failures, warnings.

    Raises:
        OverwattError: an option, an image or a label file is unusable, or no label lies on an image.
    """
    check_settings(settings)
    progress = progress or Progress()
    opened = open_images(images, settings)
    if not label_files:
        raise ConfigError("--labels: no label file given; give FILE or FILE=CLASS")
    notes = Notes()
    frames = []
    for file in merged(label_files):
        frame = read_labels(file, opened, class_map or {}, notes)
        where = [on_image(frame, image) for image in opened]
        anywhere = np.any(where, axis=0)
        if not len(frame) and not (settings.empty and notes.listed):
            raise RegistryError(
                f"{file.path.name}: holds no labels; give polygons with a class"
                + (", or --empty if its images show background only" if notes.listed else "")
            )
        if len(frame) and not anywhere.any():
            raise RegistryError(
                f"{file.path.name}: none of its {len(frame)} labels lies on {_names(opened)}; "
                f"check their coordinates{_guess(frame, opened)}, or give the image that they were drawn on"
            )
        outside = frame[~anywhere]
        places = outside.geometry.representative_point()
        notes.left_out += [
            LeftOut(f"{file.path.name}: '{k}' at {p.x:.5f}, {p.y:.5f}", "lies outside every image", elsewhere=True)
            for k, p in zip(outside["class"], places, strict=True)
        ]
        notes.listed |= {image.path for image, rows in zip(opened, where, strict=True) if rows.any()}
        frames.append(frame)
    if settings.unlabelled == "background" or settings.empty:
        check_background(notes)
    labels = gpd.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=WGS84)
    return cut_labels(opened, labels, out, settings, progress=progress, notes=notes)


def cut_labels(
    images: Sequence[Image],
    labels: gpd.GeoDataFrame,
    out: Path,
    settings: TileSettings,
    *,
    progress: Progress,
    plan: Callable[[gpd.GeoDataFrame], list[Plan]] | None = None,
    notes: Notes | None = None,
) -> dict[str, Any]:
    """Cut training tiles from opened images and a table of labels; see `cut`.

    Args:
        images: opened images.
        labels: as of `read_labels`.
        out: output folder.
        settings: how to cut.
        progress: receivers of progress.
        plan: function from the labels, with their sites, places and splits, to the tiles to cut
            [default: a regular cover of the images].
        notes: what reading the labels showed besides them.
    """
    notes = notes or Notes()
    unknown = unknown_ground(notes.left_out, images)
    # ground of an image that no COCO file lists was not looked at by those who drew the labels
    described = [i for i in images if not notes.by_image or i.path in notes.listed]
    placed = with_splits(with_empty_images(described, labels) if settings.empty else labels, images, settings)
    plans = plan(placed) if plan else [p for i, image in enumerate(images) for p in _cover(i, image, settings)]
    progress.say(f"{len(placed)} labels, {placed['site'].nunique()} sites, {placed['place'].nunique()} places")
    jobs = [_job(image, placed, unknown, image in described, settings, out) for image in images]
    with run_folder.locked(out):
        rows, reused, failures = _run(jobs, plans, settings.workers, progress)
        if not rows and failures:
            raise AssetReadError(failures[0])
        if not rows:
            raise ConfigError(
                "no tile holds a labelled pixel with imagery; check that the labels lie on the images "
                + ("" if settings.unlabelled == "background" else "and that not all of them are unknown")
            )
        index = tileset.conform(sorted(rows.values(), key=lambda r: (r["rank"], r["tile_id"])))
        _check(index, settings)
        _remove_stale(out, set(index["tile_id"]))
        path = out / tileset.INDEX_NAME
        with run_folder.written(path) as part:
            index.to_parquet(part, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")
    return _summary(path, index, placed, reused, failures, settings, notes)


def check_leaks(indices: Sequence[Path], guard_m: float | None) -> dict[str, Any]:
    """Check finished indexes, alone or together, for leaks between their splits; return the summary for `--json`."""
    found = tileset.check(indices, guard_m)
    tiles = sum(len(tileset.read_index(p)) for p in indices)
    return {"tiles": tiles, "leaks": len(found), "by_kind": dict(Counter(k.kind for k in found)),
            "first": leak_lines(found)[:20]}  # fmt: skip


def leak_lines(found: Sequence[Leak]) -> list[str]:
    """Return leaks as lines of text."""
    return [f"{k.kind}: tiles {k.first} and {k.second}, {k.detail}" for k in found]


def _names(images: Sequence[Image]) -> str:
    names = sorted(i.name for i in images)
    return f"image {names[0]}" if len(names) == 1 else f"any of {len(names)} images ({', '.join(names[:3])}, …)"


def _guess(labels: gpd.GeoDataFrame, images: Sequence[Image]) -> str:
    """Return what labels on none of the images look like, '' if nothing usual explains them."""
    placed = labels[(labels["image"] == "").to_numpy()]
    for words, move in (
        ("longitude and latitude look swapped", lambda xy: xy[:, ::-1]),
        ("longitudes look like 0 to 360 instead of -180 to 180", lambda xy: xy - [360, 0]),
    ):
        if any(on_image(placed.set_geometry(shapely.transform(placed.geometry, move)), i).any() for i in images):
            return f" ({words})"
    left, low, right, high = placed.total_bounds
    if left >= 0 and low >= 0 and any(right <= i.shape[1] and high <= i.shape[0] for i in images):
        return " (they look like pixels: give COCO, or map coordinates)"
    return ""


def _cover(number: int, image: Image, settings: TileSettings) -> Iterator[Plan]:
    """Yield a regular cover of an image; the last tile of a row or column is moved inside the image."""
    size, stride = settings.size_px, settings.size_px - settings.overlap_px
    starts = [sorted({max(0, min(a, n - size)) for a in range(0, n, stride)}) for n in image.shape]
    for row in starts[0]:
        for col in starts[1]:
            yield Plan(number, row, col)


def _job(
    image: Image,
    labels: gpd.GeoDataFrame,
    unknown: gpd.GeoDataFrame,
    described: bool,
    settings: TileSettings,
    out: Path,
) -> Job:
    """Return the inputs for the tiles of one image: the labels and unknown ground within reach, in its pixels."""
    # a label farther than the diagonal plus twice the guard decides on no pixel; 2% and 100 m for scale errors of grids
    reach_m = float(np.hypot(*image.shape)) * image.gsd_m * 1.02 + 2 * settings.guard_m + 100
    near, blank = (_near(image, table, reach_m) for table in (labels, unknown))
    # canonical order, so that the order of the files does not matter
    order = np.argsort([g.wkb for g in near.geometry], kind="stable")
    near = near.iloc[order]
    frame = pd.DataFrame(near.drop(columns="geometry"))
    cut_settings = CutSettings(
        settings.size_px, cell_px(image.gsd_m, CELL_M), settings.guard_m,
        settings.unlabelled == "ignore" or not described, settings.empty and described,
        settings.licence, settings.attribution,
    )  # fmt: skip
    keep = ["class", "split", "site", "place", "cooling", "source", "licence", "attribution"]
    return Job(
        image, tuple(to_pixels(near.geometry, image)), frame[keep].reset_index(drop=True), cut_settings, out,
        tuple(to_pixels(blank.geometry, image)),
    )  # fmt: skip


def _near(image: Image, table: gpd.GeoDataFrame, reach_m: float) -> gpd.GeoDataFrame:
    """Return the rows of an image without georeference, or those on Earth within reach of the image."""
    if image.geobox is None:
        return table[(table["image"] == image.name).to_numpy()]
    return table[(table["image"] == "").to_numpy() & _within_reach(table, extent_of(image), reach_m)]


def _within_reach(labels: gpd.GeoDataFrame, extent: shapely.Geometry, reach_m: float) -> np.ndarray:
    """Return, (label,) bool, which labels may lie within reach of an extent, by their boxes; some are farther."""
    west, south, east, north = extent.bounds
    left, low, right, high = labels.bounds.to_numpy().T
    up = reach_m / DEGREE_LATITUDE_M
    side = up / np.cos(np.radians(min(max(abs(south), abs(north)) + up, 89.0)))
    # distance of the centres in longitude, across the antimeridian if that is shorter
    apart = np.abs(((left + right) / 2 - (west + east) / 2 + 180) % 360 - 180)
    return (high >= south - up) & (low <= north + up) & (apart <= (right - left + east - west) / 2 + side)


def _run(
    jobs: list[Job], plans: list[Plan], workers: int, progress: Progress
) -> tuple[dict[str, dict[str, Any]], int, list[str]]:
    """Cut all planned tiles; return rows by tile id, the number of reused tiles, and failure messages."""
    rows: dict[str, dict[str, Any]] = {}
    reused, failures, looked = 0, [], 0
    by_image: dict[int, list[Plan]] = {}
    for plan in plans:
        by_image.setdefault(plan.image, []).append(plan)
    chunks = [
        (jobs[number], own[a : a + (_CHUNK if workers > 1 else 1)])
        for number, own in sorted(by_image.items())
        for a in range(0, len(own), _CHUNK if workers > 1 else 1)
    ]

    def collect(results: list[tuple[list[dict[str, Any]], int, str]]) -> None:
        nonlocal reused, looked
        for found, kept, failure in results:
            for row in found:
                best = rows.setdefault(row["tile_id"], row)
                if row["rank"] < best["rank"]:
                    rows[row["tile_id"]] = row
            reused += kept
            looked += 1
            failures.extend([failure] if failure else [])
            progress.tick(looked - len(failures), len(failures), len(plans))

    if workers == 1:
        for chunk in chunks:
            collect(_cut_chunk(chunk))
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            try:
                for results in pool.map(_cut_chunk, chunks):
                    collect(results)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return rows, reused, sorted(failures)


def _cut_chunk(chunk: tuple[Job, list[Plan]]) -> list[tuple[list[dict[str, Any]], int, str]]:
    job, plans = chunk
    out = []
    for plan in plans:
        try:
            rows, kept = cut_plan(job, plan)
            out.append((rows, kept, ""))
        except AssetReadError as error:
            out.append(([], 0, str(error)))
    return out


def _check(index: gpd.GeoDataFrame, settings: TileSettings) -> None:
    found = leaks(index, settings.guard_m)
    same = [k for k in found if k.kind == "pixels"]
    if same:  # the same image under two names or at two places: the only leak that inputs can cause
        image = dict(zip(index["tile_id"], index["image"], strict=True))
        raise ConfigError(
            f"images {image[same[0].first]} and {image[same[0].second]} hold the same pixels but fall into "
            "different splits; give only one of them"
        )
    if found:
        raise RuntimeError(f"the splits leak: {leak_lines(found)[0]}")


def _remove_stale(out: Path, current: set[str]) -> None:
    """Remove tiles of earlier cuts that are not in the new index; other files are kept."""
    for folder in ("pictures", "masks"):
        for path in (out / folder).glob("*.tif"):
            if _TILE_NAME.match(path.name) and path.stem not in current:
                path.unlink()
        for path in (out / folder).glob(".*.part"):  # incomplete files of a killed command
            path.unlink()


def _summary(
    path: Path,
    index: gpd.GeoDataFrame,
    placed: gpd.GeoDataFrame,
    reused: int,
    failures: list[str],
    settings: TileSettings,
    notes: Notes,
) -> dict[str, Any]:
    splits = {
        s: {
            "tiles": int((index["split"] == s).sum()),
            "places": int(placed.loc[placed["split"] == s, "place"].nunique()),
            "data_centers": int(((placed["split"] == s) & (placed["class"] == "data_center")).sum()),
        }
        for s in SPLITS
    }
    warnings = [*notes.not_read, *notes.cut_short]
    for s, share in zip(SPLITS, settings.shares, strict=True):
        if share > 0 and not splits[s]["tiles"]:
            warnings.append(
                f"split '{s}' is empty: {placed['place'].nunique()} places at a guard of {settings.guard_m:g} m; "
                "add imagery of other places, or lower --guard-m"
            )
        elif share > 0 and not splits[s]["data_centers"]:
            warnings.append(f"split '{s}' holds no data center")
    if not (index["licence"] != "").all():
        warnings.append("some tiles state no licence; give that of the imagery with --licence")
    if not placed["cooling"].any():
        warnings.append("no label file draws cooling equipment: it is unknown everywhere, not absent")
    return {
        "index": str(path),
        "tiles": {"written": len(index) - reused, "reused": reused, "failed": len(failures)},
        "splits": splits,
        "labels": {str(k): int(n) for k, n in placed["class"].value_counts().items()},
        "left_out": summary(notes),
        "leaks": 0,
        "failures": failures,
        "warnings": warnings,
    }
