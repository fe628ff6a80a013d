"""Rows of the list besides the entries: almost-listed sites, and cells that the plan visits.

In: the plan, the findings, the tables `almost_listed` and `looked_at`. Out: rows with columns of the ledger; what is
not known is empty.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.inspection.candidates import CELL, NOT_LOOKED_AT, NOTHING_FOUND
from overwatt.workflows.io.dispositions import place_of

SETTLES = {
    NOTHING_FOUND: "A visit: whether a data center stands anywhere in the cell.",
    NOT_LOOKED_AT: "Imagery of the cell, or a visit: whether a data center stands anywhere in it.",
}
"""What settles the question of an empty cell, by stratum of the plan."""


_OF_THE_LIST = ("rank", "rank_low", "rank_high", "tie", "q_value")
"""Columns of the ledger that mean nothing off it."""


def almost_listed(almost: gpd.GeoDataFrame, plan: pd.DataFrame | None, judged: pd.DataFrame | None) -> gpd.GeoDataFrame:
    """Return the almost-listed sites that the plan visits or that have a finding, by entry_id; without a rank.

    Args:
        almost: table `almost_listed`.
        plan: place, visit; None if there is none.
        judged: findings, as of `dispositions.read_own`; None if there are none.
    """
    wanted = pd.Series(False, almost.index)
    if plan is not None:
        wanted |= almost["entry_id"].isin(plan["place"][plan["visit"]])
    if judged is not None:
        wanted |= place_of(almost).isin(place_of(judged))
    return almost[wanted.to_numpy(bool)].sort_values("entry_id", ignore_index=True).drop(columns=list(_OF_THE_LIST))


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


def lost_visits(entries: pd.Series, plan: pd.DataFrame) -> list[str]:
    """Return the places that the plan visits and that are neither cells nor among the given ids."""
    known = plan["place"].isin(entries) | plan["place"].str.startswith(CELL)
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
