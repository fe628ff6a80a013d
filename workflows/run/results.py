"""The files that a run writes: tables in three formats, GeoPackage, report.

In: tables and imagery of a run. Out: files in the run folder. The same tables give the same bytes; no result is
computed here.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from overwatt.aoi.errors import AssetReadError, CatalogError, redact
from overwatt.models.detector.sensors import TYPE_UNTOLD, tells_type
from overwatt.models.detector.trained_ground import trained_on
from overwatt.pipeline import coverage
from overwatt.pipeline.declared import registry
from overwatt.pipeline.inspection import rank_stability
from overwatt.pipeline.inspection.listing import left_out_counts, left_out_words
from overwatt.pipeline.report import page, rasters, wording
from overwatt.pipeline.report.page import ReportData
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import registries, run_folder
from overwatt.workflows.io.images import Image
from overwatt.workflows.io.source import Source
from overwatt.workflows.io.vectors import lonlat_to_pixels
from overwatt.workflows.run.analysis import DECLARED_MARGIN_M, Tables, asked_ground
from overwatt.workflows.run.inputs import Inputs
from overwatt.workflows.run.progress import Clock

log = logging.getLogger(__name__)

BASEMAP_PX = 1600
"""Largest side of the basemap; own choice, it limits the size of the report."""


def write(
    folder: Path, workflow: Workflow, inputs: Inputs, tables: Tables, outcomes: list[dict[str, Any]], clock: Clock
) -> None:
    """Write all tables, the GeoPackage and the report.

    Args:
        folder: the run folder.
        workflow: settings.
        inputs: opened inputs.
        tables: tables of the run.
        outcomes: outcome of each tile, from `tiling.detect`.
        clock: receives the duration of both stages.
    """
    spatial = {
        "footprints": run_folder.hilbert_sorted(tables.footprints),
        "sites": tables.sites,
        "declared": tables.declared,
        "ledger": tables.ledger,
        "almost_listed": tables.almost_listed,
        "looked_at": tables.looked_at,
        "not_looked_at": tables.not_looked_at,
    }
    for name, frame in spatial.items():
        run_folder.write_table(folder, name, frame)
        log.debug("table %s: %d rows", name, len(frame))
    for name, plain in {"thermal": tables.thermal, "thermal_looks": tables.thermal_looks}.items():
        run_folder.write_table(folder, name, plain)
        log.debug("table %s: %d rows", name, len(plain))
    registries.write_kept(folder, inputs.kept_aside)
    run_folder.write_geopackage(folder / "overwatt.gpkg", spatial)
    clock.lap("tables")
    run_folder.write_text(folder / "report.html", page.render_report(report_data(workflow, inputs, tables, outcomes)))
    clock.lap("report")


def report_data(workflow: Workflow, inputs: Inputs, tables: Tables, outcomes: list[dict[str, Any]]) -> ReportData:
    """Return the content of the report; arguments as of `write`."""
    source = inputs.source
    basemap, chips = None, {}
    if source is not None and source.geobox is not None:
        rgb, valid, box = decimated(source, outcomes)
        basemap = rasters.to_web_mercator(rgb, valid, box, BASEMAP_PX)
        chips = _chips(source, tables, workflow.report.chips)
    elif inputs.stack_box is not None and inputs.known_sites is not None:
        rgb, valid = _heat_picture(inputs.stack)
        basemap = rasters.to_web_mercator(rgb, valid, inputs.stack_box, BASEMAP_PX)
        for name, shape in zip(inputs.known_sites["site_id"], inputs.known_sites.geometry, strict=True):
            chips[str(name)] = rasters.chip(
                rgb,
                valid,
                inputs.stack_box,
                tables.footprints,
                shape,
                margin_m=1000.0,
                declared=tables.declared,
            )
    inside = len(registry.within(tables.declared, asked_ground(inputs))) if source else None
    looked_km2 = coverage.looked_area_km2(tables.looked_at) if len(tables.looked_at) else 0.0
    failed = [o for o in outcomes if o["outcome"] == "failed"]
    learned = _learned(inputs, tables) if source else []
    warned = []
    if learned:
        warned.append(
            f"The weights learned from this very ground ({', '.join(learned)}). How well they do here says nothing of "
            "how they do elsewhere."
        )
    if inputs.ground_size is not None and inputs.ground_size.question:
        question = inputs.ground_size.question
        warned.append(f"{question[0].upper()}{question[1:]}. Areas and powers follow from the declared size.")
    if source and not tells_type(inputs.card):
        roofs = int((tables.footprints["class"] == "other_building").sum())
        warned.append(
            f"{TYPE_UNTOLD[0].upper()}{TYPE_UNTOLD[1:]} with overwatt compare. {roofs} large roofs are outlined; the "
            "list says nothing of declared facilities here, and the ground counts as not looked at."
        )
    if source and workflow.declared.path and not len(tables.declared):
        warned.append(
            f"No declared facility lies within {DECLARED_MARGIN_M / 1e3:g} km of the area. Does the registry "
            f"{workflow.declared.path.name} cover it? If not, every site here looks undeclared."
        )
    facts = {
        "Imagery": source.name if source else "none; known sites were examined",
        "Date of the imagery": workflow.imagery.date
        or (source.date if source else None)
        or "not stated, so statuses are not compared",
        "Pixels": _pixels(source) if source else "none",
        "Weights and this ground": f"the weights learned from this very ground ({', '.join(learned)})"
        if learned
        else "no training imagery whose place the card states overlaps it"
        if source
        else "not used",
        "Scenes left out": "; ".join(source.left_out) if source and source.left_out else "none",
        "Area imaged and screened": f"{looked_km2:,.2f} km²" if source else "the surroundings of the known sites",
        "Tiles": f"{len(outcomes) - len(failed)} done, {len(failed)} failed" if source else "none",
        "Weights": f"{inputs.card.name} {inputs.card.version} (sha256 {inputs.card.weights_sha256[:12]})",
        "Scores of the weights": " ".join(wording.scores(inputs.card.scores)),
        "Prior": f"{workflow.prior:g} of the large roofs in the area are assumed to be data centers",
        "Year of chips and power density": str(workflow.year),
        "Declared": f"{workflow.declared.path.name if workflow.declared.path else 'no registry given'}, "
        f"{len(tables.declared)} facilities within {DECLARED_MARGIN_M / 1e3:g} km of the area"
        + (f", {inside} of them in it" if inside is not None else "")
        + ("" if len(tables.declared) or not workflow.declared.path else "; does the registry cover this area?")
        + (f", {len(inputs.kept_aside)} rows rejected (reasons in kept_aside.csv)" if len(inputs.kept_aside) else ""),
        **({"Notes on the registry": "; ".join(inputs.notes)} if inputs.notes else {}),
        "Stability of the ranking": str(
            rank_stability.stability(tables.ledger, tables.sites, tables.declared)["statement"]
            if len(tables.ledger)
            else "the list is empty"
        ),
        "Thermal acquisitions": str(inputs.stack.sizes["time"]) if inputs.stack_files else "none",
        "Thermal excess in the detector": inputs.heat.path.name if inputs.heat else "none",
        "Code": run_folder.code_version(),
    }
    credits = {str(v) for v in tables.declared["licence"].dropna()} if len(tables.declared) else set()
    return ReportData(
        title=workflow.title or workflow.name,
        area_name=inputs.area.name if inputs.area else workflow.name,
        created=pd.Timestamp.now("UTC").date().isoformat(),
        simulated=workflow.simulated,
        sites=tables.sites,
        footprints=tables.footprints,
        declared=tables.declared,
        declared_inside=inside,
        ledger=tables.ledger,
        looked_at=tables.looked_at,
        thermal=tables.thermal,
        thermal_looks=tables.thermal_looks,
        almost_listed=tables.almost_listed,
        left_out=left_out_words(left_out_counts(tables.almost_listed), workflow.stakes, workflow.listing),
        not_looked_at=tables.not_looked_at,
        basemap=basemap,
        chips=chips,
        facts=facts,
        warnings=warned,
        limits=[*wording.LIMITS, wording.scores(inputs.card.scores)[-1], *inputs.card.limits],
        attribution=[*workflow.attribution, *sorted(credits), "Map display: Leaflet (BSD-2-Clause)"],
    )


def _pixels(source: Source) -> str:
    """Ground size and grid of the imagery, in words."""
    own = source.source_gsd_m if isinstance(source, Image) else None
    resampled = "" if own is None or abs(own - source.gsd_m) < 0.01 * own else f", averaged from {own:.3g} m"
    crs = CRS.from_user_input(str(source.geobox.crs)).name if source.geobox is not None else "no place on Earth"
    return f"{source.gsd_m:.3g} m on the ground{resampled}; {crs}"


def _learned(inputs: Inputs, tables: Tables) -> list[str]:
    """Names of the training imagery of the weights that shows the ground that was looked at, or possibly does."""
    ground = shapely.union_all(tables.looked_at.geometry[tables.looked_at["screened"]].to_numpy())
    found = [(t.name, trained_on(ground, [t])) for t in inputs.card.training]
    return [name if answer is True else f"{name}, possibly" for name, answer in found if answer]


def _heat_picture(stack: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Median surface temperature over the acquisitions in grey, black to white from the 2nd to the 98th percentile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # pixels without any acquisition are NaN
        median = np.nanmedian(stack.to_numpy(), axis=0)
    valid = np.isfinite(median)
    low, high = np.percentile(median[valid], (2, 98)) if valid.any() else (0.0, 1.0)
    grey = np.clip((np.where(valid, median, low) - low) / max(high - low, 1e-6), 0, 1)
    return np.repeat(np.rint(grey * 255).astype(np.uint8)[None], 3, axis=0), valid


def decimated(source: Source, outcomes: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, GeoBox]:
    """Return the part of the image that has tiles, averaged to about `BASEMAP_PX`; void where a read fails.

    Colours (3, y, x) uint8, validity (y, x) bool, and their grid.
    """
    assert source.geobox is not None
    cores = [o["core"] for o in outcomes]
    y0, x0 = min(c[0] for c in cores), min(c[1] for c in cores)
    y1, x1 = max(c[2] for c in cores), max(c[3] for c in cores)
    step = max(1, -(-max(y1 - y0, x1 - x0) // BASEMAP_PX))
    ny, nx = -(-(y1 - y0) // step), -(-(x1 - x0) // step)
    rgb, valid = np.zeros((3, ny, nx), np.uint8), np.zeros((ny, nx), bool)
    # pieces of about 512 pixels, a whole number of output pixels each, so that no mean crosses a piece
    rows = max(step, 512 // step * step)
    for a in range(0, ny * step, rows):
        for b in range(0, nx * step, rows):
            h, w = min(rows, ny * step - a), min(rows, nx * step - b)
            try:
                values, seen = source.read(y0 + a, x0 + b, y0 + a + h, x0 + b + w)
            except (AssetReadError, CatalogError) as error:  # its tile is reported as failed
                log.debug("basemap: no pixels at row %d, column %d: %s", y0 + a, x0 + b, error)
                continue
            weight = seen.reshape(h // step, step, w // step, step).sum((1, 3))
            total = values[:3].reshape(-1, h // step, step, w // step, step).sum((2, 4))
            part = (slice(a // step, (a + h) // step), slice(b // step, (b + w) // step))
            rgb[:, *part] = np.rint(total / np.maximum(weight, 1) * 255).astype(np.uint8)
            valid[part] = weight > 0
    affine = source.geobox.affine * Affine.translation(x0, y0) * Affine.scale(step)
    return rgb, valid, GeoBox((ny, nx), affine, source.geobox.crs)


def _chips(source: Source, tables: Tables, limit: int) -> dict[str, bytes]:
    """Image chips of at most `limit` entries, those of the ledger first: of the site, else of the declared location."""
    chips: dict[str, bytes] = {}
    site_shape = dict(zip(tables.sites["site_id"], tables.sites.geometry, strict=True)) if len(tables.sites) else {}
    declared_shape = (
        dict(zip(tables.declared["declared_id"], tables.declared.geometry, strict=True)) if len(tables.declared) else {}
    )
    rows = [r for table in (tables.ledger, tables.almost_listed) for r in table.sort_values("rank").itertuples()]
    for row in rows:
        if len(chips) >= limit:
            break
        name, shapes = (row.site_id, site_shape) if not pd.isna(row.site_id) else (row.declared_id, declared_shape)
        if name in chips or name not in shapes:
            continue
        try:
            chips[str(name)] = _chip(source, shapes[name], tables)
        except (AssetReadError, CatalogError) as error:  # its tile is reported as failed
            log.debug("no chip of %s: %s", name, redact(str(error)))
    return chips


def _chip(source: Source, shape: shapely.Geometry, tables: Tables, margin_m: float = 150.0) -> bytes:
    """A square image chip around a shape; the margin of 150 m shows the surroundings (own choice)."""
    assert source.geobox is not None
    pixels = lonlat_to_pixels([shape], source.geobox)[0]
    left, top, right, bottom = pixels.bounds
    side = max(right - left, bottom - top) + 2 * margin_m / source.gsd_m
    x0, y0 = int((left + right - side) / 2), int((top + bottom - side) / 2)
    n = int(np.ceil(side))
    values, valid = source.read(y0, x0, y0 + n, x0 + n)
    box = GeoBox((n, n), source.geobox.affine * Affine.translation(x0, y0), source.geobox.crs)
    near = shapely.box(*shape.bounds).buffer(0.02)  # degrees: generous, only shortens the list of shapes to draw
    return rasters.chip(
        np.rint(values[:3] * 255).astype(np.uint8), valid, box,
        tables.footprints[tables.footprints.intersects(near)], shape,
        declared=tables.declared[tables.declared.intersects(near)] if len(tables.declared) else None,
    )  # fmt: skip
