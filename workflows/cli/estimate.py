"""The options of `overwatt estimate`: one site from typed counts, a footprint, metered power or chips.

Every flag states its unit; a JSON file of the same fields may be given instead, flags then override it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from overwatt.workflows.cli.common import Json, show

Number: TypeAlias = float | None
Count: TypeAlias = int | None
Text: TypeAlias = str | None
opt = typer.Option


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(estimate)


def estimate(
    site: Annotated[
        Path | None, typer.Argument(help="JSON file of one site's fields (docs/howto/estimate.md).")
    ] = None,
    name: Annotated[Text, opt("--name", help="Name of the site.")] = None,
    footprint_m2: Annotated[Number, opt("--footprint-m2", help="Footprint of the buildings, m2.")] = None,
    storeys: Annotated[Number, opt("--storeys", help="Mean number of storeys.")] = None,
    height_m: Annotated[Number, opt("--height-m", help="Mean height of the buildings, m.")] = None,
    it_mw: Annotated[
        Number, opt("--it-mw", help="Metered or filed IT power, MW: taken as it is, not estimated.")
    ] = None,
    buildings: Annotated[Count, opt("--buildings", help="Finished data-center buildings, number.")] = None,
    cooling_area_m2: Annotated[Number, opt("--cooling-area-m2", help="Outlined cooling equipment, m2.")] = None,
    gsd_m: Annotated[Number, opt("--gsd-m", help="Ground sampling distance of that outline, m.")] = None,
    chillers: Annotated[Count, opt("--chillers", help="Air-cooled chillers, number.")] = None,
    chiller_fans: Annotated[Count, opt("--chiller-fans", help="Fans of one chiller, number.")] = None,
    chiller_area_m2: Annotated[Number, opt("--chiller-area-m2", help="Plan area of one chiller, m2.")] = None,
    cooling_tower_cells: Annotated[Count, opt("--tower-cells", help="Cooling-tower cells, number.")] = None,
    tower_fan_diameter_m: Annotated[Number, opt("--tower-fan-diameter-m", help="Fan diameter of one cell, m.")] = None,
    tower_cell_area_m2: Annotated[Number, opt("--tower-cell-area-m2", help="Plan area of one cell, m2.")] = None,
    tower_height_m: Annotated[Number, opt("--tower-height-m", help="Height of one cell, m.")] = None,
    dry_coolers: Annotated[Count, opt("--dry-coolers", help="Dry coolers, number.")] = None,
    generators: Annotated[Count, opt("--generators", help="Back-up generators, number.")] = None,
    generator_mw: Annotated[Number, opt("--generator-mw", help="Nameplate of one generator, MW.")] = None,
    substation_mva: Annotated[
        Number, opt("--substation-mva", help="Total transformer capacity, MVA: an upper limit.")
    ] = None,
    turbines_mw: Annotated[
        Number, opt("--turbines-mw", help="On-site generation of a site without grid connection, MW: an upper limit.")
    ] = None,
    cooling: Annotated[Text, opt("--cooling", help="air_chiller, water, direct_air or liquid.")] = None,
    operator: Annotated[Text, opt("--operator", help="Operator.")] = None,
    site_type: Annotated[
        Text, opt("--site-type", help="ai, cloud, enterprise, colocation, mine; else inferred.")
    ] = None,
    building_class: Annotated[
        Text, opt("--building-class", help="Building class of models/reference/area_priors.csv.")
    ] = None,
    chips: Annotated[
        Text, opt("--chips", help="Declared chips, NAME:NUMBER, separated by commas: compared with the rest.")
    ] = None,
    when: Annotated[Text, opt("--date", help="YYYY, YYYY-MM or YYYY-MM-DD.")] = None,
    country: Annotated[Text, opt("--country", help="ISO 3166 alpha-2 code.")] = None,
    climate: Annotated[Text, opt("--climate", help="temperate or hot, for the annual PUE.")] = None,
    stage: Annotated[
        Text, opt("--stage", help="Construction stage on the date: land, roof, equipment or operation.")
    ] = None,
    stage_seen: Annotated[
        Text, opt("--stage-seen", help="Date on which that stage was first seen, YYYY-MM-DD.")
    ] = None,
    days: Annotated[int, typer.Option("--days", help="Length of a training run, days.")] = 90,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    page: Annotated[Path | None, typer.Option("--html", help="Write an HTML page with a plot to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Estimate power and compute of one site from counts, a footprint, metered MW or chips, with the error budget."""
    from overwatt.pipeline.report.figures import single_site
    from overwatt.workflows.assess import estimate

    typed = {
        "name": name, "footprint_m2": footprint_m2, "storeys": storeys, "height_m": height_m, "it_mw": it_mw,
        "buildings": buildings,
        "cooling_area_m2": cooling_area_m2, "gsd_m": gsd_m, "chillers": chillers, "chiller_fans": chiller_fans,
        "chiller_area_m2": chiller_area_m2, "cooling_tower_cells": cooling_tower_cells,
        "tower_fan_diameter_m": tower_fan_diameter_m, "tower_cell_area_m2": tower_cell_area_m2,
        "tower_height_m": tower_height_m, "dry_coolers": dry_coolers, "generators": generators,
        "generator_mw": generator_mw, "substation_mva": substation_mva, "turbines_mw": turbines_mw,
        "cooling": cooling, "operator": operator, "site_type": site_type, "building_class": building_class,
        "chips": chips, "date": when, "country": country,
        "climate": climate, "stage": stage, "stage_seen": stage_seen,
    }  # fmt: skip
    typed = {name: value for name, value in typed.items() if value is not None}
    result = estimate.run(site, typed, days=days, seed=seed, page=page)
    show(result, as_json, single_site.lines(result))
