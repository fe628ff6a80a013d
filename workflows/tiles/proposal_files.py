"""The files of a proposal: squares as a map, a template for outlines, contact sheets.

In: squares in order, the outlines of the run, the opened imagery. Out: files in a folder; the same input gives the
same bytes. Sheets of an earlier proposal in the folder are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.report import rasters
from overwatt.pipeline.report.figures.contact_sheet import CHIP_PX, COLUMNS, ROWS, contact_sheet
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.vectors import to_pixels
from overwatt.workflows.tiles.unlabelled import in_words

SQUARES, TEMPLATE, SHEET = "squares.geojson", "to_label.geojson", "contact_sheet_{:02d}.png"


def write(
    out: Path, squares: gpd.GeoDataFrame, footprints: gpd.GeoDataFrame, open_: gpd.GeoDataFrame, images: Sequence[Image]
) -> list[Path]:
    """Write the files of a proposal and return their paths.

    Args:
        out: the folder, which exists.
        squares: rank, kind, why, uncertainty, novelty, object_id, objects, geometry.
        footprints: all outlines of the run, for the pictures.
        open_: outlines without a label, for the template.
        images: imagery for the pictures.
    """
    files = [out / SQUARES, out / TEMPLATE]
    _geojson(files[0], squares)
    _geojson(files[1], template(squares, open_))
    for old in out.glob(SHEET.replace("{:02d}", "*")):
        old.unlink()
    shown = [
        (_chip(images, footprints, square), f"{rank}. {why}")
        for rank, why, square in zip(squares["rank"], squares["why"], squares.geometry, strict=True)
    ]
    for at in range(0, len(shown), COLUMNS * ROWS):
        pictures, captions = zip(*shown[at : at + COLUMNS * ROWS], strict=True)
        path = out / SHEET.format(at // (COLUMNS * ROWS) + 1)
        with run_folder.written(path) as part:
            part.write_bytes(contact_sheet(pictures, captions))
        files.append(path)
    return files


def template(squares: gpd.GeoDataFrame, objects: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the squares and the outlines in them, all of class `unknown`, which trains nothing: id, rank, why, class.

    `proposed` is what the run called an outline. A square whose class is set to `background` says that all in it is
    outlined, because outlines are drawn over background.
    """
    rows = [
        {"id": f"square-{rank}", "square": rank, "class": "unknown", "proposed": None, "why": why, "geometry": square}
        for rank, why, square in zip(squares["rank"], squares["why"], squares.geometry, strict=True)
    ]
    at, inside = shapely.STRtree(objects.geometry.to_numpy()).query(squares.geometry.to_numpy(), "intersects")
    # an outline that reaches into two squares is listed once, with the first of them
    pairs = sorted((int(s), int(n)) for s, n in zip(at, inside, strict=True))
    first = {n: s for s, n in reversed(pairs)}
    for number, square in sorted(first.items(), key=lambda pair: (pair[1], pair[0])):
        found = objects.iloc[number]
        rows.append({
            "id": found["object_id"], "square": squares["rank"].iloc[square], "class": "unknown",
            "proposed": found["class"], "why": in_words(found), "geometry": found["geometry"],
        })  # fmt: skip
    return gpd.GeoDataFrame(pd.DataFrame(rows), geometry="geometry", crs=WGS84)


def _geojson(path: Path, frame: gpd.GeoDataFrame) -> None:
    options = {"RFC7946": "YES", "COORDINATE_PRECISION": 7}  # 1 cm
    with run_folder.written(path) as part:
        pyogrio.write_dataframe(frame, part, layer=path.stem, driver="GeoJSON", layer_options=options)


def _chip(images: Sequence[Image], footprints: gpd.GeoDataFrame, square: shapely.Geometry) -> bytes:
    """Return the picture of a square from the image that shows most of it, as JPEG."""
    boxes = [to_pixels(gpd.GeoSeries([square], crs=WGS84), image)[0] for image in images]
    frames = [shapely.box(0, 0, *image.shape[::-1]) for image in images]
    best = int(np.argmax([b.intersection(f).area / b.area for b, f in zip(boxes, frames, strict=True)]))
    image, geobox = images[best], images[best].geobox
    assert geobox is not None
    left, top, right, bottom = boxes[best].bounds
    margin = 0.1 * (right - left)  # the picture is turned to the north
    y0, x0, y1, x1 = (int(v) for v in (top - margin, left - margin, bottom + margin, right + margin))
    values, valid = image.read(y0, x0, y1, x1)
    box = GeoBox(valid.shape, geobox.affine * Affine.translation(x0, y0), geobox.crs)
    near = footprints.iloc[np.sort(footprints.sindex.query(square))]
    pixels = np.rint(values[:3] * 255).astype(np.uint8)
    return rasters.chip(pixels, valid, box, near, square, margin_m=0.0, size_px=CHIP_PX)
