"""Schemas of the tables that pass between stages: the only place that defines columns.

In: nothing. Out: `SCHEMAS`, `empty`, `conform`. Every stage returns `conform(rows, "sites")` or
the like, so a missing column, a wrong dtype or an unknown name fails in the stage that made it.
The reference page docs/reference/tables.md is generated from this module.

Geometries are WGS84 longitude/latitude; units are part of the column names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.aoi.geodesy import WGS84

QUANTILES = (0.025, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.975)
QUANTILE_NAMES = ("p025", "p05", "p10", "p25", "p50", "p75", "p90", "p95", "p975")
LEDGER_CLASSES = (
    "matched",
    "undeclared",
    "above_declared",
    "below_declared",
    "not_seen",
    "type_mismatch",
    "status_mismatch",
    "position_mismatch",
)


@dataclass(frozen=True)
class Column:
    """One column: its name, pandas dtype, unit ('' if none), meaning, and whether it may be null.

    `before` is its value in tables written before the column existed; None: the column is required.
    """

    name: str
    dtype: str
    unit: str
    meaning: str
    nullable: bool = False
    before: bool | float | None = None


def _quantiles(stem: str, unit: str, what: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"{stem}_{name}", "float64", unit, f"{what}, {q:.1%} quantile", nullable=True)
        for name, q in zip(QUANTILE_NAMES, QUANTILES, strict=True)
    )


_S, _F, _I, _B = "string", "float64", "int64", "bool"

SCHEMAS: dict[str, tuple[Column, ...]] = {
    "footprints": (
        Column("object_id", _S, "", "stable id: class letter and position of the object's anchor"),
        Column("class", _S, "", "data_center, other_building, cooling_equipment, generator or substation"),
        Column("kind", _S, "", "kind of machines: chiller, tower, rooftop_unit or generator; null: not told", True),
        Column("score", _F, "1", "score of the class in the object's interior, computed as the model card says"),
        Column(
            "epistemic",
            _F,
            "1",
            "novelty relative to the real training areas: 1 as in those areas, at most 8; 0 unknown",
        ),
        Column("area_m2", _F, "m2", "geodesic area of the geometry"),
        Column("units", "Int64", "", "number of machines (cooling equipment, if pixels are 0.6 m or finer)", True),
        Column("on_border", _B, "", "touches the edge of the imagery: area and class are those of a part"),
        Column(
            "used_thermal",
            _B,
            "",
            "thermal bands cover more than half of it and were used for its score",
            before=False,
        ),
        Column("tile", _S, "", "tile that holds the object's anchor"),
        Column("scenes", _S, "", "image in which the object was seen"),
    ),
    "sites": (
        Column("site_id", _S, "", "id that is stable across reruns: position of the anchor building"),
        Column("p_data_center", _F, "1", "probability that the site is a data center, at the stated prior"),
        Column("prior", _F, "1", "assumed share of large roofs that are data centers; null if none is stated", True),
        Column("lon", _F, "degree", "longitude of the representative point"),
        Column("lat", _F, "degree", "latitude of the representative point"),
        Column("buildings", _I, "1", "number of data-center buildings"),
        Column("building_area_m2", _F, "m2", "footprint of these buildings, geodesic"),
        Column("cooling_objects", _I, "1", "number of cooling-equipment objects within reach of the buildings"),
        Column("cooling_area_m2", _F, "m2", "area of these objects, geodesic"),
        Column("on_border", _B, "", "part of the site lies outside the imagery: areas are lower bounds"),
        Column(
            "used_thermal",
            _B,
            "",
            "a building was detected with thermal bands: heat must not be counted again",
            before=False,
        ),
        Column("cooling_units", "Int64", "", "machines counted in these objects, if pixels are 0.6 m or finer", True),
        Column("storeys", _F, "1", "mean number of storeys of the buildings, from a file of buildings", True),
        Column("height_m", _F, "m", "mean height of the buildings, from a file of buildings", True),
        Column("generators", "Int64", "", "generators within reach of the buildings, from a file of power plant", True),
        Column("substation_mva", _F, "MVA", "stated capacity of substations within reach of the buildings", True),
        Column("country", _S, "", "ISO 3166 alpha-2 code of the country", True),
        *_quantiles("it_mw", "MW", "IT power that the site could carry, if known"),
        *_quantiles("facility_mw", "MW", "facility power (IT and cooling) at peak"),
        *_quantiles("h100e", "1", "H100 equivalents, dense BF16 basis"),
        *_quantiles("h100e_fp8", "1", "H100 equivalents, dense FP8 basis"),
        *_quantiles("flop_90d", "FLOP", "training FLOP in 90 days, over the kinds of site with their probabilities"),
        *_quantiles("flop_90d_ai", "FLOP", "training FLOP in 90 days if the whole load were AI (worst case)"),
        Column("flop_90d_mean", _F, "FLOP", "mean of training FLOP in 90 days over all draws", True),
        Column("site_type", _S, "", "most probable kind: ai, cloud, enterprise, colocation or mine", True),
        Column("p_ai", _F, "1", "probability that the site is for AI training, given that it is a data center", True),
        Column("p_cloud", _F, "1", "probability of a cloud site, as above", True),
        Column("p_enterprise", _F, "1", "probability of an enterprise site, as above", True),
        Column("p_colocation", _F, "1", "probability of a colocation site, as above", True),
        Column("p_mine", _F, "1", "probability of a cryptocurrency mine, as above", True),
        Column("evidence", _S, "", "kinds of evidence that the power rests on, joined by ', '", True),
        Column("seed", _I, "", "seed that reproduces the draws"),
        Column("assumptions", _S, "", "assumptions behind the figures, in words"),
        Column("image_date", _S, "", "ISO date of the image that shows the site", True),
    ),
    "thermal": (
        Column("site_id", _S, "", "id of the site"),
        Column("looks_used", _I, "1", "acquisitions with enough clear pixels on site and ring"),
        Column("looks_total", _I, "1", "acquisitions in the stack"),
        Column("lst_excess_k", _F, "K", "median over acquisitions of the surface temperature, site minus ring", True),
        Column(
            "robust_z", _F, "1", "median over acquisitions of excess divided by the ring's spread (MAD-based sd)", True
        ),
        Column("ring_sd_k", _F, "K", "median over acquisitions of the ring's robust spread", True),
        Column(
            "floor_mw",
            _F,
            "MW",
            "approximate 3-sigma detection floor of this channel at this site, facility power",
            True,
        ),
        Column(
            "excess_sigmas",
            _F,
            "1",
            "heat of the site above that of the ring, in standard errors; the floor is at 3",
            True,
        ),
        Column(
            "p_detect",
            _F,
            "1",
            "probability that the heat of the site's power would exceed three times the floor",
            True,
        ),
        Column(
            "likelihood_ratio",
            _F,
            "1",
            "ratio by which the odds of a data center were multiplied; empty: not used",
            True,
        ),
        Column("statement", _S, "", "what the anomaly does and does not show, in words"),
    ),
    "thermal_looks": (
        Column("site_id", _S, "", "id of the site"),
        Column("time", _S, "", "acquisition date, ISO 8601"),
        Column("used", _B, "", "whether the acquisition is used in the summary"),
        Column("reason", _S, "", "reason if it is not used"),
        Column("site_k", _F, "K", "mean surface temperature of the site", True),
        Column("ring_k", _F, "K", "median surface temperature of the background ring", True),
        Column("excess_k", _F, "K", "site minus ring", True),
        Column("robust_z", _F, "1", "excess divided by the ring's MAD-based sd", True),
        Column("ring_pixels", _I, "1", "pixels in the ring"),
    ),
    "declared": (
        Column("declared_id", _S, "", "id given by the source, else the row number"),
        Column("position_error_m", _F, "m", "1-sigma position error, as stated or by kind of source"),
        Column("name", _S, "", "name as declared", True),
        Column("operator", _S, "", "operator as declared", True),
        Column("kind", _S, "", "facility, power, chips or workload"),
        Column("it_mw", _F, "MW", "declared IT power", True),
        Column("it_mw_low", _F, "MW", "lower end of a declared range of IT power", True),
        Column("it_mw_high", _F, "MW", "upper end of a declared range of IT power", True),
        Column("facility_mw", _F, "MW", "declared facility power", True),
        Column("facility_mw_low", _F, "MW", "lower end of a declared range of facility power", True),
        Column("facility_mw_high", _F, "MW", "upper end of a declared range of facility power", True),
        Column("area_m2", _F, "m2", "geodesic area of a declared outline", True),
        Column("footprint_m2", _F, "m2", "declared footprint of the buildings", True),
        Column("status", _S, "", "operational, construction, planned, closed, cancelled or unknown, as declared", True),
        Column("status_stated", _S, "", "status in the words of the registry", True),
        Column("valid_from", _S, "", "ISO date from which the declaration holds", True),
        Column("valid_to", _S, "", "ISO date until which the declaration holds", True),
        Column("source", _S, "", "source of the row"),
        Column("licence", _S, "", "licence and attribution of the source", True),
        Column("looked_at", _F, "1", "share of the declared position (within its error) that was imaged", True),
        Column("zone", _S, "", "country, State or grid zone as declared", True),
        Column("chip", _S, "", "AI chip as declared", True),
        Column("chips", _F, "1", "number of chips declared, delivered or reported", True),
        Column("training_flop", _F, "FLOP", "reported training compute (kind workload)", True),
        Column("counterparty", _S, "", "other party of a transfer (the seller)", True),
        Column("reliability", _F, "1", "share of the source's rows with correct place and identity", True),
        Column("also", _S, "", "rows of other sources on the same facility: source:id, separated by ' | '", True),
    ),
    "ledger": (
        Column("entry_id", _S, "", "stable id of the entry"),
        Column("rank", _I, "", "priority rank, 1 = highest"),
        Column("class", _S, "", "one of the ledger classes"),
        Column("site_id", _S, "", "id of the observed site", True),
        Column("declared_id", _S, "", "id of the declared facility", True),
        Column("p_match", _F, "1", "probability that site and declaration are the same facility", True),
        Column("p_detect", _F, "1", "probability that it would have been seen, from coverage alone", True),
        Column("distance_m", _F, "m", "distance between site and declaration", True),
        Column("p_data_center", _F, "1", "probability that the site is a data center", True),
        Column("it_mw_p50", _F, "MW", "observed IT power, median", True),
        Column("declared_it_mw", _F, "MW", "declared IT power", True),
        Column("undeclared_flop_90d", _F, "FLOP", "expected undeclared training FLOP in 90 days"),
        Column(
            "undeclared_flop_90d_ai",
            _F,
            "FLOP",
            "expected undeclared training FLOP in 90 days if every site were all AI (worst case)",
            True,
        ),
        Column("ranked_by", _S, "", "what orders the list: expected, worst_case, or p_over and its FLOP", True),
        Column("evidence_for", _S, "", "evidence for the inconsistency"),
        Column("evidence_against", _S, "", "evidence against the inconsistency"),
        Column("settles", _S, "", "observation that would settle the question"),
        Column(
            "alternatives", _S, "", "JSON list of up to three other possible partners: id, p, distance_m, why", True
        ),
        Column(
            "status_check", _S, "", "declared status compared with the image: agrees, differs, or unknown and why", True
        ),
        Column("owner", _S, "", "operator as declared, or as known for the site", True),
        Column("zone", _S, "", "country, State or grid zone", True),
        Column("undeclared_flop_90d_p05", _F, "FLOP", "undeclared training FLOP in 90 days, 5% quantile", True),
        Column("undeclared_flop_90d_p50", _F, "FLOP", "undeclared training FLOP in 90 days, median", True),
        Column("undeclared_flop_90d_p95", _F, "FLOP", "undeclared training FLOP in 90 days, 95% quantile", True),
        Column("p_over_1e25", _F, "1", "P(more than 1e25 undeclared FLOP in 90 days)", True),
        Column("p_over_1e26", _F, "1", "P(more than 1e26 undeclared FLOP in 90 days)", True),
        Column("value_of_inspection", _F, "visits", "expected value of the next step, net of its cost", True),
        Column("next_step", _S, "", "step with the highest net value: visit, image or none", True),
        Column("q_value", _F, "1", "expected share of false entries in the list down to this row", True),
        Column("rank_low", "Int64", "", "rank, 5% quantile over resampled draws", True),
        Column("rank_high", "Int64", "", "rank, 95% quantile over resampled draws", True),
        Column("tie", "Int64", "", "group of entries whose ranks cannot be distinguished: rank of the first one", True),
    ),
    "looked_at": (
        Column("cell", _S, "", "name of the tile"),
        Column("imaged", _F, "1", "share of the ground asked for in the cell that was imaged"),
        Column("asked_km2", _F, "km2", "ground of the cell that was asked for", True),
        Column("clear_looks", _I, "1", "clear acquisitions used"),
        Column("screened", _B, "", "the detector ran on it"),
        Column("failed", _B, "", "the tile failed: nothing is known about it"),
        Column("reason", _S, "", "reason if it failed or was skipped"),
    ),
}

RANKING = (
    "rank", "undeclared_flop_90d", "undeclared_flop_90d_ai", "ranked_by", "undeclared_flop_90d_p05",
    "undeclared_flop_90d_p50", "undeclared_flop_90d_p95", "p_over_1e25", "p_over_1e26", "value_of_inspection",
    "next_step", "q_value", "rank_low", "rank_high", "tie",
)  # fmt: skip
"""Columns of the ledger that the ranking fills."""
SCHEMAS["entries"] = tuple(c for c in SCHEMAS["ledger"] if c.name not in RANKING)
SCHEMAS["almost_listed"] = (
    *SCHEMAS["ledger"],
    Column("left_out", _S, "", "why the site is not on the list: value or false_share"),
)
WITH_GEOMETRY = frozenset({"footprints", "sites", "declared", "entries", "ledger", "almost_listed", "looked_at"})


def empty(table: str) -> gpd.GeoDataFrame | pd.DataFrame:
    """Return the table without rows, with all its columns and dtypes."""
    return conform(pd.DataFrame(), table)


def conform(rows: pd.DataFrame | Sequence[dict[str, object]], table: str) -> gpd.GeoDataFrame | pd.DataFrame:
    """Return `rows` with exactly the columns of `table`, in order, with their dtypes.

    Args:
        rows: a frame or records; a `geometry` column where the table has one (WGS84 lon/lat).
        table: key of `SCHEMAS`.

    Raises:
        ValueError: a column is unknown, a required one is missing or null (a bug, not user input).
    """
    schema = SCHEMAS[table]
    frame = pd.DataFrame(rows).reset_index(drop=True)
    names = [c.name for c in schema]
    known = set(names) | ({"geometry"} if table in WITH_GEOMETRY else set())
    if unknown := sorted(set(frame.columns) - known):
        raise ValueError(f"table {table}: unknown column(s) {unknown}")
    out: dict[str, pd.Series] = {}
    for column in schema:
        if column.name in frame:
            series = frame[column.name]
        elif column.before is not None:
            series = pd.Series([column.before] * len(frame), index=frame.index, dtype="object")
        elif column.nullable or frame.empty:
            series = pd.Series([None] * len(frame), index=frame.index, dtype="object")
        else:
            raise ValueError(f"table {table}: column '{column.name}' is missing")
        # check before the cast: as bool a null would become True
        if not column.nullable and series.isna().any():
            raise ValueError(f"table {table}: column '{column.name}' has nulls")
        out[column.name] = series.astype(pd.api.types.pandas_dtype(column.dtype))
    result = pd.DataFrame(out, columns=names, index=frame.index)
    if table not in WITH_GEOMETRY:
        return result
    if "geometry" not in frame and len(frame):
        raise ValueError(f"table {table}: column 'geometry' is missing")
    geometry: Sequence[object] = list(frame["geometry"]) if "geometry" in frame else []
    return gpd.GeoDataFrame(result, geometry=gpd.GeoSeries(geometry, crs=WGS84, index=frame.index), crs=WGS84)


def iso_days(values: pd.Series, *, end: bool = False) -> np.ndarray:
    """Return ISO dates as (n,) datetime64[D], NaT if there is no date.

    Args:
        values: text; a year or a month stands for its first day, with `end` for its last.
        end: whether the dates are the ends of periods.
    """
    if not values.notna().any():
        return np.full(len(values), np.datetime64("NaT", "D"))
    text = values.astype("string").str.strip().str.slice(0, 10)
    start = pd.to_datetime(text, errors="coerce", format="ISO8601").to_numpy("datetime64[D]")
    if not end:
        return start
    # 4 characters are a year, 7 a month: the last day of it is the day before the next begins
    size = text.str.len().fillna(10).to_numpy(int)
    last = [(s.astype(f"datetime64[{u}]") + 1).astype("datetime64[D]") - 1 for s, u in ((start, "Y"), (start, "M"))]
    return np.where(size <= 4, last[0], np.where(size <= 7, last[1], start))
