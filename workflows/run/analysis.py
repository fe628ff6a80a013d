"""From footprints to the ranked ledger: the stages of `overwatt.pipeline` in order.

In: a `Workflow`, opened inputs, tables `footprints` and `looked_at`. Out: all tables of the run. No file is read or
written.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.geodesy import to_lonlat
from overwatt.pipeline import coverage
from overwatt.pipeline.compute.site_type import Hint
from overwatt.pipeline.compute.sites import estimate_from
from overwatt.pipeline.declared import registry
from overwatt.pipeline.inspection import listing
from overwatt.pipeline.power.record import records, shown_by
from overwatt.pipeline.reconcile import ledger, second_pass
from overwatt.pipeline.reconcile.buildings import with_buildings
from overwatt.pipeline.sites import clustering, heat_evidence, surroundings, thermal_anomaly
from overwatt.pipeline.tables import empty
from overwatt.workflows.config.run import Workflow
from overwatt.workflows.run.inputs import Inputs
from overwatt.workflows.run.progress import Clock

log = logging.getLogger(__name__)

DECLARED_MARGIN_M = 3_000.0
"""Declarations up to this distance outside of the area are still compared, because stated positions have errors (own
choice)."""


@dataclass
class Tables:
    """All tables of a run; columns as in `overwatt.pipeline.tables`."""

    footprints: gpd.GeoDataFrame
    sites: gpd.GeoDataFrame
    thermal: pd.DataFrame
    thermal_looks: pd.DataFrame
    declared: gpd.GeoDataFrame
    ledger: gpd.GeoDataFrame
    almost_listed: gpd.GeoDataFrame
    looked_at: gpd.GeoDataFrame
    not_looked_at: gpd.GeoDataFrame


def analyse(
    workflow: Workflow,
    inputs: Inputs,
    footprints: gpd.GeoDataFrame,
    looked: gpd.GeoDataFrame,
    clock: Clock | None = None,
) -> Tables:
    """Compute all tables of a run from its footprints.

    Args:
        workflow: settings.
        inputs: opened inputs.
        footprints: table `footprints`; empty for a run on known sites.
        looked: table `looked_at`: cells that were imaged and screened.
        clock: receives the duration of each stage.
    """
    clock = clock or Clock()
    if inputs.known_sites is not None:
        assert inputs.stack_box is not None
        heat, looks = thermal_anomaly.thermal_anomaly(
            inputs.stack, inputs.stack_box, inputs.known_sites, exclude=inputs.known_sites,
            ring_inner_m=workflow.thermal.ring_inner_m, ring_outer_m=workflow.thermal.ring_outer_m,
        )  # fmt: skip
        return Tables(
            footprints,
            empty("sites"),
            heat,
            looks,
            inputs.declared,
            empty("ledger"),
            empty("almost_listed"),
            looked,
            inputs.declared,
        )  # known sites appear as declared ones without optical information
    grouped, _ = clustering.cluster_sites(
        footprints, reach_m=workflow.reach_m, calibration=inputs.card.calibration, prior=workflow.prior,
        calibration_thermal=inputs.card.calibration_thermal, evidence=inputs.card.site_evidence,
    )  # fmt: skip
    grouped = _with_surroundings(grouped, workflow, inputs)
    clock.lap("sites")
    assert inputs.source is not None
    evidence = records(grouped, gsd_m=inputs.source.gsd_m, shown=shown_by(inputs.card))
    table = estimate_from(grouped, evidence, year=workflow.year, seed=workflow.seed)
    clock.lap("power")
    heat, looks = empty("thermal"), empty("thermal_looks")
    if inputs.stack_box is not None and len(table):
        heat, looks = thermal_anomaly.thermal_anomaly(
            inputs.stack, inputs.stack_box, table, it_mw_p50=table["it_mw_p50"],
            ring_inner_m=workflow.thermal.ring_inner_m, ring_outer_m=workflow.thermal.ring_outer_m,
            exclude=footprints,
        )  # fmt: skip
        table, heat = heat_evidence.weigh(table, heat)
        clock.lap("heat")
    near = inputs.declared
    if len(near):
        near = registry.within(near, asked_ground(inputs), DECLARED_MARGIN_M)
    near = coverage.looked_at_share(near, looked) if len(near) else near
    entries = ledger.reconcile(table, near, looked, settings=workflow.reconcile)
    if len(near):
        entries = with_buildings(entries, near, footprints, _p_center(workflow, inputs, footprints))
    # second pass: what matched declarations say of operator, use and chips sharpens compute and facility power only
    hints = second_pass.hints(entries, table, near)
    if hints:
        rows = sorted(hints)
        sharper = estimate_from(
            table.iloc[rows], [evidence[row] for row in rows], year=workflow.year, seed=workflow.seed,
            hints={k: hints[row] for k, row in enumerate(rows)},
        )  # fmt: skip
        others = table.drop(index=rows)
        table = gpd.GeoDataFrame(pd.concat([others, sharper.set_axis(rows)]).sort_index())
    table = _with_evidence(table, heat, hints)
    ranked, almost = listing.ranked_list(entries, table, near, workflow.stakes, workflow.listing, workflow.ranking)
    log.debug("%d footprints, %d sites, %d declared in reach, %d ledger entries, %d almost listed",
              len(footprints), len(table), len(near), len(ranked), len(almost))  # fmt: skip
    unseen = ledger.not_looked_at(near, looked, ledger=ranked) if len(near) else near
    clock.lap("ledger")
    return Tables(footprints, table, heat, looks, near, ranked, almost, looked, unseen)


def _with_surroundings(sites: gpd.GeoDataFrame, workflow: Workflow, inputs: Inputs) -> gpd.GeoDataFrame:
    """Return the sites with what other files say of them, and with the date of their image."""
    assert inputs.source is not None
    # a date in the settings has priority over that of the catalogue
    date = workflow.imagery.date or inputs.source.date
    sites = sites.assign(image_date=pd.array([date] * len(sites), dtype="string"))
    sites = surroundings.with_country(sites, workflow.country, inputs.countries)
    if inputs.buildings is not None:
        sites = surroundings.with_buildings(sites, inputs.buildings)
    if inputs.power_plant is not None:
        sites = surroundings.with_power_plant(sites, inputs.power_plant, workflow.reach_m)
    return sites


def _with_evidence(sites: gpd.GeoDataFrame, heat: pd.DataFrame, hints: Mapping[int, Hint]) -> gpd.GeoDataFrame:
    """Return the sites with `evidence` also naming heat, country and matched declaration where they were used."""
    warm = set(heat.loc[heat["likelihood_ratio"].notna(), "site_id"])
    more = {
        "country": sites["country"].notna().to_numpy(bool),
        "surface temperature": sites["site_id"].isin(warm).to_numpy(bool),
        "matched declaration": np.isin(np.arange(len(sites)), list(hints)),
    }
    names = [
        ", ".join([*([] if pd.isna(own) else [own]), *(name for name, on in more.items() if on[k])])
        for k, own in enumerate(sites["evidence"])
    ]
    return sites.assign(evidence=pd.array(names, dtype="string"))


def _p_center(workflow: Workflow, inputs: Inputs, footprints: gpd.GeoDataFrame) -> np.ndarray:
    """Return the probability of each footprint that it is a data center, (n,)."""
    score = footprints["score"].to_numpy(float)
    center = (footprints["class"] == "data_center").to_numpy(bool)
    # the score is that of the footprint's own class
    return clustering.p_data_center(np.where(center, score, 1 - score), inputs.card.calibration, workflow.prior)


def asked_ground(inputs: Inputs) -> shapely.Geometry:
    """Return the ground that a run is asked to look at, lon/lat: the area, else the outline of the image."""
    if inputs.area is not None:
        return inputs.area.geometry
    source = inputs.source
    assert source is not None and source.geobox is not None
    ny, nx = source.shape
    frame = shapely.segmentize(shapely.box(0, 0, nx, ny), max(nx, ny) / 16)  # edges may be curved in degrees
    return to_lonlat([frame], source.geobox.affine, str(source.geobox.crs))[0]
