"""Rows of the list for drawn cells: places that the plan visits although the ledger has no entry there.

In: the plan, the table `looked_at`. Out: rows with columns of the ledger; what is not known is empty.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.inspection.candidates import CELL, NOT_LOOKED_AT, NOTHING_FOUND

SETTLES = {
    NOTHING_FOUND: "A visit: whether a data center stands anywhere in the cell.",
    NOT_LOOKED_AT: "Imagery of the cell, or a visit: whether a data center stands anywhere in it.",
}
"""What settles the question of an empty cell, by stratum of the plan."""


def drawn_cells(plan: pd.DataFrame, looked_at: gpd.GeoDataFrame | None) -> gpd.GeoDataFrame:
    """Return entry_id, class, evidence_against, settles, geometry of the cells that the plan visits, by place.

    Args:
        plan: place, stratum, probability, visit.
        looked_at: table `looked_at`; without it the cells have no outline.
    """
    drawn = plan[plan["visit"] & plan["place"].str.startswith(CELL)].drop_duplicates("place").sort_values("place")
    name = drawn["place"].str.removeprefix(CELL)
    out = pd.DataFrame({
        "entry_id": drawn["place"], "class": drawn["stratum"], "settles": drawn["stratum"].map(SETTLES),
    }).reset_index(drop=True)  # fmt: skip
    shapes = pd.Series([None] * len(out), dtype=object)
    if looked_at is not None and len(looked_at):
        cells = looked_at.drop_duplicates("cell").set_index("cell").reindex(pd.Index(name))
        out["evidence_against"] = [_seen(row) for row in cells.to_dict("records")]
        shapes = pd.Series(cells.geometry.to_numpy(), dtype=object)
    return gpd.GeoDataFrame(out, geometry=gpd.GeoSeries([_usable(s) for s in shapes], crs=WGS84), crs=WGS84)


def lost_visits(ledger: gpd.GeoDataFrame, plan: pd.DataFrame) -> list[str]:
    """Return the places that the plan visits and that are neither entries nor cells."""
    known = plan["place"].isin(ledger["entry_id"]) | plan["place"].str.startswith(CELL)
    return list(plan["place"][plan["visit"] & ~known])


def _seen(cell: dict[str, Any]) -> str | None:
    """Return what imagery showed of a cell, in words; None if the table does not have the cell."""
    if pd.isna(cell["screened"]):
        return None
    if not cell["screened"] or cell["failed"]:
        return f"None; the cell was not looked at: {cell['reason'] or 'no reason is stated'}."
    return f"{cell['imaged']:.0%} of the ground asked for in the cell was imaged; no entry came of it."


def _usable(shape: shapely.Geometry | None) -> shapely.Geometry | None:
    return None if shape is None or shape.is_empty else shape
