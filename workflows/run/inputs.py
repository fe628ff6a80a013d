"""All inputs of a run, opened and checked before anything is written.

In: a `Workflow`. Out: `Inputs`, or an error of one line that names the input and the problem.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
from odc.geo.geobox import GeoBox

from overwatt.aoi.area import Area, area_from_setting, check_size
from overwatt.aoi.errors import ConfigError, GridError
from overwatt.aoi.geodesy import WGS84
from overwatt.aoi.grid import crop_to_area
from overwatt.models.detector.card import ModelCard, verified
from overwatt.models.detector.sensors import weights_of
from overwatt.pipeline.imagery.ground_size import GroundSize
from overwatt.pipeline.sites import surroundings
from overwatt.pipeline.tables import empty
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.io import registries, run_folder
from overwatt.workflows.io.images import Image, check_any_valid, open_image
from overwatt.workflows.io.raster_checks import content_sha256
from overwatt.workflows.io.source import Source
from overwatt.workflows.io.temperature_stack import load_stack, stack_files
from overwatt.workflows.io.thermal_excess import ExcessRaster, open_excess
from overwatt.workflows.io.vectors import read_vector
from overwatt.workflows.run.ground_check import check_ground_size

log = logging.getLogger(__name__)


@dataclass
class Inputs:
    """All inputs of a run, opened and checked.

    Attributes:
        area: area of interest; None for the whole image or for known sites.
        source: image or STAC mosaic; None for a run on known sites.
        card: model card of the weights, narrowed to the sensor profile.
        weights: weights file.
        declared: table `declared`.
        known_sites: sites to examine without detection, or None.
        stack: surface temperature, (time, y, x), kelvin, or None.
        stack_box: grid of the stack, or None.
        stack_files: files of the stack, one per acquisition.
        hashes: content hash of each input, by name.
        heat: raster of thermal excess for the detector, or None.
        kept_aside: declared rows that are rejected, with reasons.
        notes: what the registries do not say or was not read of them.
        ground_size: what the pixels of an image file say of its ground size; None for catalogues and known sites.
        buildings: buildings of known storeys or height, or None.
        power_plant: substations and generators, or None.
        countries: outlines of countries, or None.
    """

    area: Area | None
    source: Source | None
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
    notes: list[str] = field(default_factory=list)
    ground_size: GroundSize | None = None
    buildings: gpd.GeoDataFrame | None = None
    power_plant: gpd.GeoDataFrame | None = None
    countries: gpd.GeoDataFrame | None = None


def open_inputs(workflow: Workflow) -> Inputs:
    """Open and check every input; nothing is written.

    Raises:
        OverwattError: an input is unusable; the message is one line.
    """
    weights, narrow = weights_of(workflow.detector.profile, workflow.detector.weights)
    card = verified(weights)  # now: a hash that differs must not come out in a worker
    card = narrow.narrowed(card) if narrow else card
    area = area_from_setting(workflow.area, Path.cwd(), workflow.name) if workflow.area is not None else None
    source: Source | None = None
    hashes = {"weights": card.weights_sha256}
    if workflow.sites is None:
        if area is not None:
            check_size(area, card.gsd_m)  # before a catalogue is searched
        if workflow.imagery.path is not None:
            source = image = open_image(workflow.imagery.path, card)
            if image.geobox is None:
                raise GridError(f"image {image.name}: no CRS; a run needs georeferenced imagery")
            if area is not None:
                crop_to_area(image.geobox, area)
            check_any_valid(image)
            hashes["imagery"] = image.sha256
        else:
            assert workflow.imagery.stac is not None and area is not None
            from overwatt.workflows.io.stac_source import open_stac  # its libraries are slow to import

            source = catalogue = open_stac(workflow.imagery.stac, area, card)
            # a STAC source is identified by its items, not by the content of its files
            hashes["imagery"] = run_folder.key(catalogue.sha256)
    heat = ground_size = None
    if isinstance(source, Image):
        ground_size = check_ground_size(source)
    if source is not None and workflow.imagery.thermal_excess is not None:
        heat = open_excess(workflow.imagery.thermal_excess, source, card)
        hashes["thermal_excess"] = content_sha256(workflow.imagery.thermal_excess)
    notes = list[str]()
    registry, kept = empty("declared"), pd.DataFrame(columns=list(registries.KEPT))
    if workflow.declared.path is not None:
        settings = workflow.declared
        registry, kept = registries.read_all(
            workflow.declared.path, settings.also, format=settings.format,
            position_error_m=settings.position_error_m, columns=settings.columns, layer=settings.layer,
            partial=settings.partial, notes=notes,
        )  # fmt: skip
        hashes["declared"] = content_sha256(workflow.declared.path)
        hashes |= {f"declared/{f.name}": content_sha256(f) for f in settings.also}
    known = None
    if workflow.sites is not None:
        known = _known_sites(workflow)
        if workflow.declared.path is None:  # the known sites themselves are the declared ones
            registry = registries.read(workflow.sites, "generic")
    stack = box = None
    files: list[Path] = []
    if workflow.thermal.stack is not None:
        files = stack_files(workflow.thermal.stack)
        stack, box = load_stack(files, unit=workflow.thermal.unit)
        # files of one name in several folders are told apart by their folders
        common = Path(os.path.commonpath([f.parent for f in files]))
        hashes |= {f"thermal/{f.relative_to(common).as_posix()}": content_sha256(f) for f in files}
    beside: dict[str, gpd.GeoDataFrame | None] = dict.fromkeys(_BESIDE)
    for name, of in _BESIDE.items():
        path: Path | None = getattr(workflow, name)
        if path is not None:
            beside[name] = of(read_vector(path), path.name)
            hashes[name] = content_sha256(path)
    for name, value in hashes.items():
        log.debug("input %s: %s", name, value)
    log.debug("weights %s, %d declared rows, %d rejected", weights, len(registry), len(kept))
    return Inputs(
        area, source, card, weights, registry, known, stack, box, files, hashes, heat, kept, notes, ground_size,
        **beside,
    )  # fmt: skip


_BESIDE: dict[str, Callable[[gpd.GeoDataFrame, str], gpd.GeoDataFrame]] = {
    "buildings": surroundings.known_buildings,
    "power_plant": surroundings.power_plant,
    "countries": surroundings.countries,
}
"""Settings that name files on the surroundings of the sites, and what reads their columns."""


def _known_sites(workflow: Workflow) -> gpd.GeoDataFrame:
    """Column `site_id` and geometry of the known sites."""
    assert workflow.sites is not None
    frame = read_vector(workflow.sites)
    if frame.empty:
        raise ConfigError(f"{workflow.sites.name}: contains no sites")
    own = next((frame[k] for k in ("name", "Name") if k in frame), pd.Series(None, frame.index))  # KML: Name
    names = [f"site {i + 1}" if pd.isna(n) or not str(n).strip() else str(n) for i, n in enumerate(own)]
    return gpd.GeoDataFrame({"site_id": _told_apart(names)}, geometry=frame.geometry.values, crs=WGS84)


def _told_apart(names: list[str]) -> list[str]:
    """Return the names, with a number at the second and further ones of a name: results are told apart by them."""
    own, used = set(names), set[str]()
    number: dict[str, int] = {}
    out = []
    for name in names:
        text = name
        while text in used or (text in own and text != name):
            number[name] = number.get(name, 1) + 1
            text = f"{name} ({number[name]})"
        used.add(text)
        out.append(text)
    return out
