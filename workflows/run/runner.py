"""One run, end to end: inputs checked, tiles looked at, tables written, report made.

In: a `Workflow`. Out: a run folder with every table, the probability raster, the report and
`manifest.json`, and a `Summary`. All inputs are opened and checked before the folder is
touched. Tiles that have a part are not computed again, so running the same command after a
stop finishes the rest and ends with the same bytes.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import shapes

from overwatt.aoi.area import Area, area_from_setting, check_size
from overwatt.aoi.errors import ConfigError, GridError, OverwattError, redact
from overwatt.aoi.geodesy import to_lonlat
from overwatt.aoi.grid import Tile, crop_to_area, tiles
from overwatt.models.detector.card import ModelCard
from overwatt.models.detector.sensors import weights_of
from overwatt.models.detector.weights import load
from overwatt.pipeline import coverage
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.declared import registry as declared
from overwatt.pipeline.detection import footprints as detect
from overwatt.pipeline.detection.footprints import DetectSettings
from overwatt.pipeline.inspection import ranking
from overwatt.pipeline.power import posterior
from overwatt.pipeline.reconcile import ledger as reconcile
from overwatt.pipeline.sites import clustering, thermal_anomaly
from overwatt.pipeline.tables import conform, empty
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import registries, run_folder
from overwatt.workflows.io.images import Image, check_any_valid, content_sha256, open_image
from overwatt.workflows.io.stac_source import StacSource, open_stac
from overwatt.workflows.io.temperature_stack import load_stack
from overwatt.workflows.io.thermal_excess import ExcessRaster, WithThermal, open_excess
from overwatt.workflows.io.vectors import read_vector
from overwatt.workflows.run import cluster, part_keys, results

DECLARED_MARGIN_M = 3_000.0  # declarations this far outside of the area are still compared: positions err


@dataclass
class Progress:
    """Where progress goes: `say` a line, `tile` after every tile (done, failed, total)."""

    say: Callable[[str], None] = lambda text: None
    tile: Callable[[int, int, int], None] = lambda done, failed, total: None


@dataclass
class Inputs:
    """Everything a run reads, opened and checked."""

    area: Area | None
    source: Image | StacSource | None
    card: ModelCard
    weights: Path
    declared: gpd.GeoDataFrame
    known_sites: gpd.GeoDataFrame | None
    stack: Any
    stack_box: GeoBox | None
    stack_files: list[Path]
    hashes: dict[str, str] = field(default_factory=dict)
    heat: ExcessRaster | None = None
    kept_aside: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(registries.KEPT)))


@dataclass
class Tables:
    """All tables of a run."""

    footprints: gpd.GeoDataFrame
    sites: gpd.GeoDataFrame
    thermal: pd.DataFrame
    thermal_looks: pd.DataFrame
    declared: gpd.GeoDataFrame
    ledger: gpd.GeoDataFrame
    looked_at: gpd.GeoDataFrame
    not_looked_at: gpd.GeoDataFrame


def open_inputs(workflow: Workflow) -> Inputs:
    """Open and check every input; nothing is written.

    Raises:
        OverwattError: whichever input is unusable, in one line.
    """
    weights, narrow = weights_of(workflow.detector.profile, workflow.detector.weights)
    _, card = load(weights)  # whole: a hash that differs must not come out in a worker
    card = narrow.narrowed(card) if narrow else card
    area = area_from_setting(workflow.area, Path.cwd(), workflow.name) if workflow.area is not None else None
    source: Image | StacSource | None = None
    hashes = {"weights": card.weights_sha256}
    if workflow.sites is None:
        if area is not None:
            check_size(area, card.gsd_m)
        if workflow.imagery.path is not None:
            source = open_image(workflow.imagery.path, card)
            if source.geobox is None:
                raise GridError(f"image {source.name}: no CRS; a run needs georeferenced imagery")
            if area is not None:
                crop_to_area(source.geobox, area)
            check_any_valid(source)
            hashes["imagery"] = source.sha256
        else:
            assert workflow.imagery.stac is not None and area is not None
            source = open_stac(workflow.imagery.stac, area, card)
            hashes["imagery"] = run_folder.key(source.sha256)
    heat = None
    if source is not None and workflow.imagery.thermal_excess is not None:
        heat = open_excess(workflow.imagery.thermal_excess, source, card)
        hashes["thermal_excess"] = content_sha256(workflow.imagery.thermal_excess)
    registry, kept = empty("declared"), pd.DataFrame(columns=list(registries.KEPT))
    if workflow.declared.path is not None:
        settings = workflow.declared
        registry, kept = registries.read(
            workflow.declared.path, settings.also, format=settings.format,
            position_error_m=settings.position_error_m, columns=settings.columns,
        )  # fmt: skip
        hashes["declared"] = content_sha256(workflow.declared.path)
        hashes |= {f"declared/{f.name}": content_sha256(f) for f in settings.also}
    known = None
    if workflow.sites is not None:
        known = _known_sites(workflow)
        if workflow.declared.path is None:
            registry = declared.read(workflow.sites, "generic")
    stack = box = None
    files: list[Path] = []
    if workflow.thermal.stack is not None:
        files = _stack_files(workflow.thermal.stack)
        stack, box = load_stack(files, unit=workflow.thermal.unit)
        hashes |= {f"thermal/{f.name}": content_sha256(f) for f in files}
    return Inputs(area, source, card, weights, registry, known, stack, box, files, hashes, heat, kept)


def _stack_files(pattern: str) -> list[Path]:
    """Files that a path or a pattern in its last part names, by name."""
    path = Path(pattern)
    files = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
    if not files:
        raise ConfigError(f"thermal.stack '{pattern}': no such file")
    return files


def _known_sites(workflow: Workflow) -> gpd.GeoDataFrame:
    assert workflow.sites is not None
    frame = read_vector(workflow.sites)
    if frame.empty:
        raise ConfigError(f"{workflow.sites.name}: holds no sites")
    names = frame["name"] if "name" in frame else pd.Series([f"site {i + 1}" for i in range(len(frame))])
    return gpd.GeoDataFrame({"site_id": [str(n) for n in names]}, geometry=frame.geometry.values, crs="OGC:CRS84")


def run(
    workflow: Workflow, out: Path, *, scheduler: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Run a workflow into a folder.

    Returns:
        The summary that `--json` prints: run, report, tiles {done, failed}, sites, ledger.

    Raises:
        OverwattError: an input is unusable; the folder is then untouched.
    """
    progress = progress or Progress()
    started, clock = datetime.now(UTC), _Clock()
    inputs = open_inputs(workflow)
    if len(inputs.kept_aside):
        progress.say(f"{len(inputs.kept_aside)} declared rows cannot be used: kept_aside.csv says why")
    clock.lap("open")
    with run_folder.locked(out):
        outcomes: list[dict[str, Any]] = []
        if inputs.source is not None:
            footprints, looked, outcomes, described = _detect(workflow, inputs, out, scheduler, progress)
        else:
            footprints, looked, described = (
                empty("footprints"),
                empty("looked_at"),
                "no detection: known sites",
            )
        clock.lap("tiles")
        progress.say("sites, power, compute, ledger")
        tables = analyse(workflow, inputs, footprints, looked)
        clock.lap("analyse")
        progress.say("tables and report")
        results.write(out, workflow, inputs, tables, outcomes)
        clock.lap("write")
        manifest = {
            "overwatt": version("overwatt") if _installed() else "source tree",
            "code": run_folder.code_version(),
            "started": started.isoformat(timespec="seconds"),
            "inputs": inputs.hashes,
            "parameters": json.loads(redact(json.dumps(workflow.model_dump(mode="json")))),
            "computed_with": described,
            "python": platform.python_version(),
            "libraries": {n: version(n) for n in ("torch", "torchvision", "rasterio", "geopandas", "shapely", "dask")},
            "seconds": clock.laps,
            "tiles": outcomes,
            "outputs": {p.name: content_sha256(p) for p in sorted(out.iterdir()) if p.suffix in {".parquet", ".tif"}},
        }
        run_folder.write_json(out / "manifest.json", manifest)
    failed = sum(o["outcome"] == "failed" for o in outcomes)
    return {
        "run": str(out),
        "report": str(out / "report.html"),
        "tiles": {"done": len(outcomes) - failed, "failed": failed},
        "sites": len(tables.sites) if inputs.known_sites is None else len(inputs.known_sites),
        "ledger": [
            {k: None if pd.isna(v) else (int(v) if k == "rank" else str(v)) for k, v in row.items()}
            for row in tables.ledger[["class", "declared_id", "site_id", "rank"]].to_dict("records")
        ],
    }


def _installed() -> bool:
    from importlib.metadata import PackageNotFoundError

    try:
        version("overwatt")
    except PackageNotFoundError:
        return False
    return True


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.laps[name] = round(now - self._last, 2)
        self._last = now


def plan_tiles(source: Image | StacSource, area: Area | None, tile_px: int) -> list[Tile]:
    """Tiles of the source's lattice that meet the area, cores clipped to it."""
    assert source.geobox is not None
    y0, x0, y1, x1 = crop_to_area(source.geobox, area) if area is not None else (0, 0, *source.shape)
    out = []
    for t in tiles(source.shape, tile_px, 0):
        a, b, c, d = t.core
        core = (max(a, y0), max(b, x0), min(c, y1), min(d, x1))
        if core[0] < core[2] and core[1] < core[3]:
            out.append(Tile(t.name, t.row, t.col, core, core))
    return out


def _detect(
    workflow: Workflow, inputs: Inputs, out: Path, scheduler: str | None, progress: Progress
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, list[dict[str, Any]], str]:
    source = inputs.source
    assert source is not None and source.geobox is not None
    settings = DetectSettings.of(inputs.card, workflow.detector.building, workflow.detector.cooling)
    todo = plan_tiles(source, inputs.area, workflow.detector.tile_px)
    pixels = source if inputs.heat is None else WithThermal(source, inputs.heat)
    job = cluster.Job(pixels, inputs.weights, inputs.card.weights_sha256, inputs.area, settings)
    parts_folder = out / "parts"
    outcome: dict[str, dict[str, Any]] = {}
    files: dict[str, Path] = {}
    described = _described_before(parts_folder)

    def files_for(description: str) -> None:
        for t in todo:
            key = run_folder.key(
                inputs.hashes["imagery"], inputs.card.weights_sha256, part_keys.detector_code_version(), description,
                t.core, settings, inputs.area.geometry.wkb_hex if inputs.area else "", str(source.geobox),
                inputs.hashes.get("thermal_excess", ""),
            )  # fmt: skip
            files[t.name] = parts_folder / f"{t.name}-{key}.npz"

    def note(tile: Tile, what: str, reason: str = "") -> None:
        outcome[tile.name] = {"tile": tile.name, "core": tile.core, "outcome": what, "reason": reason}
        failed = sum(o["outcome"] == "failed" for o in outcome.values())
        progress.tile(len(outcome) - failed, failed, len(todo))

    def on_done(tile: Tile, status: str, result: cluster.Arrays | str) -> None:
        if status == "done":
            assert not isinstance(result, str)
            run_folder.save_part(files[tile.name], result)
            note(tile, "computed")
        else:
            note(tile, "failed", str(result))

    if described:
        files_for(described)
    if described and all(run_folder.load_part(f) is not None for f in files.values()):
        for t in todo:
            note(t, "reused")
    else:
        progress.say(f"{len(todo)} tiles; starting workers")
        with cluster.workers(job, scheduler, len(todo)) as (ready, described):
            files_for(described)
            run_folder.write_text(parts_folder / "computed_with.txt", described)
            rest = []
            for t in todo:
                if run_folder.load_part(files[t.name]) is not None:
                    note(t, "reused")
                else:
                    rest.append(t)
            progress.say(f"{len(todo) - len(rest)} of {len(todo)} tiles are done already")
            cluster.run_tiles(ready, rest, on_done)

    regions, cells = [], []
    with results.ProbabilityRaster(out, source, [t.core for t in todo]) as raster:
        for t in todo:
            arrays = run_folder.load_part(files[t.name]) if outcome[t.name]["outcome"] != "failed" else None
            if arrays is None:
                if outcome[t.name]["outcome"] != "failed":
                    raise OverwattError(f"part {files[t.name].name} is damaged; run again to compute it anew")
                cells.append(_cell(t, source, None, outcome[t.name]["reason"]))
                continue
            probability, valid, part = cluster.unpack(arrays, t)
            raster.put(t.core, probability, valid)
            regions.append(part)
            cells.append(_cell(t, source, valid, ""))
    footprints = detect.join(
        regions, transform=source.geobox.affine, crs=str(source.geobox.crs), gsd_m=source.gsd_m,
        scene=source.name, settings=settings,
    )  # fmt: skip
    return (
        footprints,
        conform(pd.DataFrame(cells), "looked_at"),
        [outcome[t.name] for t in todo],
        str(described),
    )


def _described_before(parts: Path) -> str:
    """How an earlier run in this folder computed, so that a complete one needs no workers."""
    file = parts / "computed_with.txt"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _cell(tile: Tile, source: Image | StacSource, valid: np.ndarray | None, reason: str) -> dict[str, object]:
    """A row of `looked_at`: the geometry is the part that was imaged and screened, or the whole cell if it failed."""
    y0, x0, y1, x1 = tile.core
    shift = Affine.translation(x0, y0)
    if valid is None:
        seen: shapely.Geometry = shapely.box(x0, y0, x1, y1)
    else:
        pieces = [shapely.geometry.shape(g) for g, _ in shapes(valid.astype(np.uint8), mask=valid, transform=shift)]
        big = [p for p in pieces if p.area >= 16] or pieces
        # a notch of a pixel or two at the edge of the imagery is no place for a data center to hide
        seen = shapely.make_valid(shapely.simplify(shapely.union_all(big), 1.5)) if big else shapely.Polygon()
    assert source.geobox is not None
    mapped = to_lonlat([seen], source.geobox.affine, str(source.geobox.crs))[0]
    imaged = 0.0 if valid is None else float(valid.mean())
    return {
        "cell": tile.name,
        "imaged": imaged,
        "clear_looks": int(imaged > 0),
        "screened": valid is not None and imaged > 0,
        "failed": valid is None,
        "reason": reason or ("no imagery here" if imaged == 0 else ""),
        "geometry": mapped,
    }


def analyse(workflow: Workflow, inputs: Inputs, footprints: gpd.GeoDataFrame, looked: gpd.GeoDataFrame) -> Tables:
    """From footprints to the ranked ledger; pure tables, no files."""
    if inputs.known_sites is not None:
        assert inputs.stack_box is not None
        heat, looks = thermal_anomaly.evidence(
            inputs.stack, inputs.stack_box, inputs.known_sites, exclude=inputs.known_sites,
            ring_inner_m=workflow.thermal.ring_inner_m, ring_outer_m=workflow.thermal.ring_outer_m,
        )  # fmt: skip
        return Tables(
            footprints, empty("sites"), heat, looks, inputs.declared, empty("ledger"), looked, inputs.declared
        )  # known sites are shown as declared ones of which nothing optical can be said
    grouped, _ = clustering.build(
        footprints, reach_m=workflow.reach_m, calibration=inputs.card.calibration, prior=workflow.prior,
        calibration_thermal=inputs.card.calibration_thermal,
    )  # fmt: skip
    assert inputs.source is not None
    drawn = _power(grouped, inputs.source.gsd_m, workflow)
    table = training_compute.attach(grouped, drawn, training_compute.estimate(drawn, year=workflow.year))
    taken = workflow.imagery.date or (inputs.source.date if isinstance(inputs.source, StacSource) else None)
    table = table.assign(image_date=pd.array([taken] * len(table), dtype="string"))
    heat, looks = empty("thermal"), empty("thermal_looks")
    if inputs.stack_box is not None and len(table):
        heat, looks = thermal_anomaly.evidence(
            inputs.stack, inputs.stack_box, table, it_mw_p50=table["it_mw_p50"],
            ring_inner_m=workflow.thermal.ring_inner_m, ring_outer_m=workflow.thermal.ring_outer_m,
            exclude=footprints,
        )  # fmt: skip
    near = inputs.declared
    if inputs.area is not None and len(near):
        near = declared.within(near, inputs.area.geometry, DECLARED_MARGIN_M)
    elif len(near):
        near = declared.within(near, _extent(inputs.source), DECLARED_MARGIN_M)
    near = coverage.with_looked_at(near, looked) if len(near) else near
    entries = reconcile.reconcile(table, near, looked)
    ledger = ranking.rank(entries, table, near)
    unseen = reconcile.not_looked_at(near, looked, ledger=ledger) if len(near) else near
    return Tables(footprints, table, heat, looks, near, ledger, looked, unseen)


def _extent(source: Image | StacSource) -> shapely.Geometry:
    assert source.geobox is not None
    return shapely.box(*source.geobox.geographic_extent.boundingbox)


def _power(grouped: gpd.GeoDataFrame, gsd_m: float, workflow: Workflow) -> posterior.PowerDraws:
    evidence = [
        posterior.SiteEvidence(
            site_id=row.site_id,
            building_area_m2=row.building_area_m2,
            cooling_area_m2=row.cooling_area_m2,
            gsd_m=gsd_m,
            on_border=row.on_border,
        )
        for row in grouped.itertuples()
    ]
    return posterior.estimate(evidence, year=workflow.year, seed=workflow.seed)
