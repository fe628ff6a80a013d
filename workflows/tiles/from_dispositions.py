"""Training tiles from the findings of inspectors.

In: dispositions (workflows/io/dispositions.py) and the run that they refer to. Out: a folder of tiles
(workflows/tiles/cut.py) in order of use: false positives of the run, those of the highest probability first; then
confirmed sites; then missed sites; then empty cells. Only what an inspector judged is a label, with a strip of
background around an outline drawn by hand. All else is unknown, including cooling equipment, which nobody inspected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import ConfigError, GridError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.inspection.candidates import CELL
from overwatt.workflows.io.dispositions import latest, own_files, place_of, read_dispositions, read_own
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.raster_checks import content_sha256
from overwatt.workflows.io.vectors import grown, to_pixels
from overwatt.workflows.tiles.cut import Progress, cut_labels
from overwatt.workflows.tiles.files import Plan
from overwatt.workflows.tiles.finished_run import cells_of, run_image, run_table
from overwatt.workflows.tiles.splits import TileSettings, check_settings, open_images

KINDS = ("hard_negative", "confirmed", "missed", "empty_cell")
_NAMED = 5  # findings named in a note
RING_M = 20.0  # background around a drawn outline; own choice: the width of a road, rarely reaches a neighbour


def cut_dispositions(
    run: Path,
    dispositions: Path | None,
    out: Path,
    settings: TileSettings,
    *,
    images: Sequence[Path] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Turn dispositions into training tiles.

    Args:
        run: run folder of `overwatt run`.
        dispositions: table of the findings [default: those of the run folder, see `dispositions.read_own`].
        out: output folder.
        settings: how to cut; ground without a finding is unknown, whatever `unlabelled` and `empty` say.
        images: imagery to cut from [default: the image file of the run].
        progress: receivers of progress.

    Returns:
        The summary of `cut.cut` with `dispositions`: number of each finding; superseded; of each kind, inside of the
        imagery; ignored (refused or undetermined); without_outline, no_label and gone, as of `Verdicts`.

    Raises:
        OverwattError: a file is unusable, or no finding gives a label.
    """
    check_settings(settings)
    sites = run_table(run, "sites", ("site_id", "p_data_center"))
    footprints = run_table(run, "footprints", ("class",))
    given = read_dispositions(dispositions) if dispositions is not None else read_own(run)
    if given is None:
        raise ConfigError(
            f"--run {run}: no findings in it; record them with `overwatt record`, or name a table with --dispositions"
        )
    source = dispositions.name if dispositions is not None else " and ".join(f.name for f in own_files(run))
    judged = _with_earlier_outlines(latest(given), given)
    opened = open_images(images or [run_image(run)], settings)
    if any(i.geobox is None for i in opened):
        raise GridError(
            "dispositions: the imagery has no georeference, so sites cannot be located on it; give imagery with a CRS"
        )
    cells = cells_of(run)
    found = verdicts_of(judged, sites, footprints, cells, source)
    verdicts = found.examples
    ignored = int((judged["class"] == "unknown").sum())
    notes = [f"{ignored} findings are refused or undetermined: that ground stays unknown"] if ignored else []
    notes += found.notes()
    if not len(verdicts):
        raise ConfigError(f"{source}: no usable finding among {len(judged)}; {'; '.join(notes)}")
    manifest = content_sha256(run / "manifest.json") if (run / "manifest.json").is_file() else ""
    outside: list[str] = []

    def plan(placed: gpd.GeoDataFrame) -> list[Plan]:
        split = dict(zip(placed["disposition_id"], placed["split"], strict=True))
        plans = []
        for rank, v in enumerate(verdicts.to_dict("records"), 1):
            extra = {k: v[k] for k in ("kind", "disposition_id", "site_id", "finding", "p_data_center")}
            extra |= {"rank": rank, "run": manifest}
            spots = [
                p for i, image in enumerate(opened) for p in _tiles_over(i, image, v["geometry"], settings.size_px)
            ]
            if not spots:
                outside.append(v["disposition_id"])
            plans += [Plan(i, row, col, split[v["disposition_id"]], extra) for i, row, col in spots]
        return plans

    strict = TileSettings(**{**settings.__dict__, "unlabelled": "ignore", "empty": False})
    result = cut_labels(opened, found.labels, out, strict, progress=progress or Progress(), plan=plan)
    result["dispositions"] = {
        "read": len(given),
        "superseded": len(given) - len(judged),
        "findings": dict(Counter(judged["finding"])),
        "kinds": {k: int(((verdicts["kind"] == k) & ~verdicts["disposition_id"].isin(outside)).sum()) for k in KINDS},
        "ignored": ignored,
        "without_outline": len(found.without_outline),
        "no_label": len(found.no_label),
        "gone": len(found.gone),
    }
    result["warnings"] += notes
    if outside:
        result["warnings"].append(f"{len(outside)} findings lie outside of the imagery: {', '.join(outside[:5])}")
    return result


@dataclass
class Verdicts:
    """What findings give.

    Attributes:
        examples: kind, disposition_id, site_id, finding, p_data_center, geometry; in order of use.
        labels: as of `labels.read_labels`, with disposition_id.
        without_outline: findings of a data center where the run saw no site and nobody drew it, by id.
        no_label: findings `not_dc` that leave nothing to label, such as on a declaration where the run saw no site.
        gone: findings on sites or cells that the run does not have.
        contradicted: (finding, its cell, finding on a data center in that cell).
    """

    examples: gpd.GeoDataFrame
    labels: gpd.GeoDataFrame
    without_outline: list[str]
    no_label: list[str]
    gone: list[str]
    contradicted: list[tuple[str, str, str]]

    def notes(self) -> list[str]:
        """Return in words what gives no label, or less than was judged."""
        out = []
        for ids, words in (
            (self.without_outline, "find a data center where the run saw no site, and have no outline, so they give no "
             "label: draw the data center in the GeoPackage, the KML or the GeoJSON, and record that file"),
            (self.no_label, "say not_dc where the run saw no site: they give no label and need no outline"),
            (self.gone, "are on sites or cells that the run does not have (is it of another run?): they give no label"),
        ):  # fmt: skip
            if ids:
                more = ", ..." if len(ids) > _NAMED else ""
                out.append(f"{len(ids)} findings {words}: {', '.join(ids[:_NAMED])}{more}")
        return out + [
            f"finding {one} says that no data center stands in {cell}, but finding {other} says that one does: its "
            "place is left out of the cell; record which is right"
            for one, cell, other in self.contradicted
        ]


def verdicts_of(
    judged: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    footprints: gpd.GeoDataFrame,
    cells: dict[str, shapely.Geometry],
    name: str,
) -> Verdicts:
    """Convert findings to training examples in order of use, and to labels.

    An outline drawn by an inspector replaces the footprints of the run. A finding on an entry without a site gives a
    label only with an outline; `not_dc` on a cell says that no data center stands anywhere in it, so the cell is the
    outline, without the sites of the run and the places judged a data center that reach into it.

    Args:
        judged: latest findings, as of `io.dispositions.latest`.
        sites: table of the run.
        footprints: table of the run.
        cells: outlines of the cells of the run, by entry_id.
        name: name of the dispositions file, as source of the labels.
    """
    known = {str(s): i for i, s in enumerate(sites["site_id"])}
    buildings = footprints[footprints["class"] == "data_center"]
    tree = shapely.STRtree(buildings.geometry.to_numpy())
    rows: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    out = Verdicts(gpd.GeoDataFrame(), gpd.GeoDataFrame(), [], [], [], [])
    # cells last, because the places judged a data center are left out of them
    empty_cell = (judged["class"] == "not_data_center") & judged["site_id"].isna()
    empty_cell &= judged["entry_id"].astype("string").str.startswith(CELL).fillna(False).astype(bool)
    for d in [*judged[~empty_cell].to_dict("records"), *judged[empty_cell].to_dict("records")]:
        own, drawn = str(d["disposition_id"]), d["geometry"]
        site = None if pd.isna(d["site_id"]) else d["site_id"]
        is_cell = d["class"] == "not_data_center" and site is None and str(d["entry_id"]).startswith(CELL)
        outline = cells.get(d["entry_id"]) if is_cell and drawn is None else drawn
        if outline is None and (is_cell or (site is not None and site not in known)):
            if d["class"] != "unknown":
                out.gone.append(own)
            continue
        site = site if site in known else None  # else a name of the inspector, not of the run
        p = None if site is None else float(sites["p_data_center"].iloc[known[site]])
        if is_cell and outline is not None:
            centers = [r for r in rows if r["kind"] in ("confirmed", "missed") and r["geometry"].intersects(outline)]
            held = [r for r in centers if outline.intersects(r["geometry"].point_on_surface())]
            out.contradicted += [(own, d["entry_id"], r["disposition_id"]) for r in held]
            others = [*sites.geometry[sites.intersects(outline)], *(r["geometry"] for r in centers)]
            shapes = [shapely.difference(outline, shapely.union_all(others))]
        elif outline is not None:
            shapes = [outline]
        elif site is not None:
            shapes = _buildings_of(sites.geometry.iloc[known[site]], buildings, tree)
        else:
            shapes = []
        if not shapes or shapes[0].is_empty:
            if d["class"] != "unknown":
                (out.without_outline if d["class"] == "data_center" else out.no_label).append(own)
            continue
        # the edge of a footprint is an estimate of the network; only a drawn outline shows where background begins
        ring = [("background", grown(drawn, RING_M))] if drawn is not None and not is_cell else []
        for klass, shape in [(d["class"], s) for s in shapes] + ring:
            labels.append({"geometry": shape, "class": klass, "disposition_id": own})
        if d["class"] == "unknown":
            continue
        kind = "hard_negative" if d["class"] == "not_data_center" else "missed" if site is None else "confirmed"
        rows.append(
            {
                "kind": "empty_cell" if is_cell else kind,
                "disposition_id": own,
                "site_id": d["site_id"],
                "finding": d["finding"],
                "p_data_center": p,
                "geometry": shapely.union_all(shapes),
            }
        )
    # a hard negative without a site of the run is not a false positive of the run, so it comes last of its kind
    rows.sort(key=lambda r: (KINDS.index(r["kind"]), -(r["p_data_center"] or 0.0), r["disposition_id"]))
    table = gpd.GeoDataFrame(
        pd.DataFrame(labels, columns=["geometry", "class", "disposition_id"]), geometry="geometry", crs=WGS84
    )
    out.labels = table.assign(image="", cooling=False, source=name, licence="", attribution="")
    columns = ["kind", "disposition_id", "site_id", "finding", "p_data_center", "geometry"]
    out.examples = gpd.GeoDataFrame(pd.DataFrame(rows, columns=columns), geometry="geometry", crs=WGS84)
    return out


def _with_earlier_outlines(judged: gpd.GeoDataFrame, given: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Give findings of a data center without an outline the newest one that was drawn for a data center there."""
    drawn = given[(given["class"] == "data_center") & given.geometry.notna()].sort_values("time", kind="stable")
    newest = dict(zip(place_of(drawn), drawn.geometry, strict=True))
    lacks = (judged["class"] == "data_center") & judged.geometry.isna() & place_of(judged).notna()
    places = place_of(judged)
    shapes = [newest.get(k) if lack else g for k, lack, g in zip(places, lacks, judged.geometry, strict=True)]
    return judged.set_geometry(gpd.GeoSeries(shapes, index=judged.index, crs=WGS84))


def _buildings_of(site: shapely.Geometry, buildings: gpd.GeoDataFrame, tree: shapely.STRtree) -> list[shapely.Geometry]:
    """Return the data-center buildings of a site in the run; the outline of the site if there is none."""
    # a building belongs to the site if half of it lies inside; own choice, as outlines of sites are simplified
    found = [buildings.geometry.iloc[int(i)] for i in np.sort(tree.query(site, predicate="intersects"))]
    return [g for g in found if site.intersection(g).area >= 0.5 * g.area] or [site]


def _tiles_over(number: int, image: Image, shape: shapely.Geometry, size_px: int) -> list[tuple[int, int, int]]:
    """Return (image, row, col) of the smallest regular cover of a shape, centred on it; empty if off the image."""
    px = to_pixels(gpd.GeoSeries([shape], crs=WGS84), image)[0]
    ny, nx = image.shape
    if not px.intersects(shapely.box(0, 0, nx, ny)):
        return []
    left, top, right, bottom = px.bounds
    starts = []
    for low, high in ((top, bottom), (left, right)):
        n = max(1, int(np.ceil((high - low) / size_px)))
        begin = (low + high - n * size_px) / 2
        starts.append([round(begin + k * size_px) for k in range(n)])
    return [(number, row, col) for row in starts[0] for col in starts[1]]
