"""Candidates for inspection: the entries of a ledger and the cells without an entry.

In: table `ledger`, and `sites` and `looked_at` if available. Out: one row per place, for `plan_inspections`.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
from shapely.geometry.base import BaseGeometry

from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.inspection.settings import InspectionSettings
from overwatt.pipeline.inspection.undeclared_compute import UNIT, compute_and_power
from overwatt.pipeline.tables import QUANTILE_NAMES

CELL = "cell "
"""What the name of a place without an entry begins with; the name of the cell follows."""
NOTHING_FOUND, NOT_LOOKED_AT = "nothing found", "not looked at"
"""Strata of cells without an entry."""


def inspection_candidates(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame | None = None,
    looked_at: gpd.GeoDataFrame | None = None,
    settings: InspectionSettings | None = None,
) -> pd.DataFrame:
    """Return place, score, value, seen, cost, stratum: one row per entry, then one per cell without an entry.

    An entry's value is the compute that it could host (p90) over `settings.flop`, at most 1; for a match
    it is multiplied by 1 - p_match. Cells without an entry have value 1: they could host all of it.

    Args:
        ledger: table `ledger`, ranked.
        sites: table `sites`; without it the compute of an entry is derived from its power.
        looked_at: table `looked_at`; without it no cells are added.
        settings: assumptions; the defaults if None.
    """
    settings = settings or InspectionSettings()
    # p90 of FLOP in 90 days per IT MW, for a site of unknown kind
    per_mw = float(np.quantile(training_compute.per_it_mw(settings.year)[1], 0.9)) * 90.0
    flop = np.nan_to_num(ledger[["it_mw_p50", "declared_it_mw"]].astype(float).max(axis=1).to_numpy()) * per_mw
    if sites is not None:
        p90 = compute_and_power(sites)[0][:, QUANTILE_NAMES.index("p90")].astype(float) * UNIT
        known = ledger["site_id"].map(pd.Series(p90, sites["site_id"])).to_numpy(float)
        flop = np.where(np.isfinite(known), known, flop)
    share = np.where(ledger["class"] == "matched", 1.0 - ledger["p_match"].fillna(0.0).to_numpy(float), 1.0)
    value = np.minimum(1.0, flop / settings.flop) * share
    parts = {
        "id": ledger["entry_id"].tolist(), "score": ledger["undeclared_flop_90d"].to_numpy(float) / settings.flop,
        "value": value, "seen": np.zeros(len(ledger)), "stratum": ledger["class"].tolist(),
    }  # fmt: skip
    if looked_at is not None and len(looked_at):
        strata = cell_strata(looked_at)
        has_entry = np.zeros(len(looked_at), bool)
        if len(ledger):
            points = gpd.GeoSeries(ledger.geometry.representative_point().to_numpy(), crs=looked_at.crs)
            has_entry[np.unique(looked_at.sindex.query(points, predicate="intersects")[1])] = True
        empty = ~has_entry
        parts["id"] += [f"{CELL}{c}" for c in looked_at["cell"][empty]]
        parts["score"] = np.append(parts["score"], np.zeros(int(empty.sum())))
        parts["value"] = np.append(parts["value"], np.ones(int(empty.sum())))
        parts["seen"] = np.append(
            parts["seen"],
            np.where(strata == NOTHING_FOUND, settings.found * looked_at["imaged"].to_numpy(float), 0.0)[empty],
        )
        parts["stratum"] += strata[empty].tolist()
    # own choice: every visit costs the same
    parts["cost"] = np.ones(len(parts["id"]))
    order = ["id", "score", "value", "seen", "cost", "stratum"]
    return pd.DataFrame({k: parts[k] for k in order}).rename(columns={"id": "place"})


def cell_strata(looked_at: gpd.GeoDataFrame) -> np.ndarray:
    """Return the stratum of each cell, (cell,) of text, if it has no entry."""
    usable = (looked_at["screened"] & ~looked_at["failed"]).to_numpy(bool)
    return np.where(usable, NOTHING_FOUND, NOT_LOOKED_AT)


def cell_outlines(looked_at: gpd.GeoDataFrame) -> dict[str, BaseGeometry]:
    """Return the outlines of the cells of table `looked_at`, by the name of the place: `CELL` and the cell's name."""
    return {f"{CELL}{name}": shape for name, shape in zip(looked_at["cell"], looked_at.geometry, strict=True)}
