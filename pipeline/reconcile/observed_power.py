"""Power and compute of rows of a table of observed sites: stated, from a footprint or equipment, or unknown.

In: one row per site with what its table states. Out: table `sites`. A stated power is a log-normal about its value; a
row with a footprint or counted equipment goes through the power model, with its own year, country and operator; the
columns of power and compute of other rows are null.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
from scipy.special import ndtri

from overwatt.aoi.errors import ConfigError
from overwatt.aoi.geodesy import WGS84, centres
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.compute.site_type import KINDS
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import YEARS, SiteEvidence
from overwatt.pipeline.power.evidence_models import facility_ratio
from overwatt.pipeline.power.posterior import PowerDraws
from overwatt.pipeline.quantiles import SCORES
from overwatt.pipeline.tables import QUANTILE_NAMES, conform

YEAR = 2026
"""Year of a row whose image has no date."""
DRAWS = 4096
COUNTS = ("chillers", "cooling_tower_cells", "dry_coolers", "generators")
"""Columns of counted equipment, named as in `SiteEvidence`."""
UNKNOWN = "Power not known: the table states neither a power nor a footprint nor equipment."
_MEASURES = ("storeys", "height_m", "substation_mva")
_CHUNK = 2000  # rows at a time: 2,000 x 4,096 draws x 7 arrays are about 230 MB
_BIN = 10.0  # stated powers are grouped to a tenth in ln; within a group compute is proportional to power
_STEMS = ("it_mw", "facility_mw", "h100e", "h100e_fp8", "flop_90d", "flop_90d_ai")
POWER_COLUMNS = (*(f"{stem}_{q}" for stem in _STEMS for q in QUANTILE_NAMES), "flop_90d_mean", "site_type",
                 *(f"p_{kind}" for kind in KINDS))  # fmt: skip
"""Columns of the table `sites` that are null where the power is not known."""


def sites_from_rows(frame: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return table `sites`.

    Args:
        frame: columns site_id, geometry (lon/lat), p (probability of a data center), mid (median of the stated power,
            MW; NaN: not stated), spread (its ln-sd), area and cooling_m2 (m2), cooling (number of machines); if known,
            of_facility (`mid` is facility power), image_date, year, country, operator, buildings, storeys, height_m,
            substation_mva and the columns `COUNTS`.
    """
    frame = frame.reset_index(drop=True)
    n = len(frame)
    shapes = frame["geometry"].to_numpy(object)
    middle = centres(shapes) if n else np.zeros((0, 2))
    nothing = np.full(n, np.nan)
    cooling = frame["cooling"].astype(int)
    columns: dict[str, object] = {
        "site_id": frame["site_id"], "p_data_center": frame["p"], "prior": nothing, "lon": middle[:, 0],
        "lat": middle[:, 1], "buildings": _stated(frame, "buildings", 1.0).astype(int),
        "building_area_m2": frame["area"], "cooling_objects": cooling,
        "cooling_area_m2": frame.get("cooling_m2", 0.0), "on_border": False, "used_thermal": False, "seed": 0,
        "cooling_units": pd.array([pd.NA] * n, dtype="Int64"), "country": frame.get("country"),
        "generators": pd.array(_stated(frame, "generators"), dtype="Int64"),
        **{c: _stated(frame, c) for c in _MEASURES}, "assumptions": UNKNOWN, "image_date": frame.get("image_date"),
        "evidence": pd.array([pd.NA] * n, dtype="string"), "geometry": shapes,
    }  # fmt: skip
    table = gpd.GeoDataFrame(columns, geometry="geometry", crs=WGS84)
    parts = [*_of_stated(table, frame), *_of_evidence(table, frame)]
    power = pd.DataFrame(np.nan, table.index, list(POWER_COLUMNS)).astype({"site_type": object})
    for rows, found in parts:
        found.index = pd.Index(rows)
    if parts:
        found = pd.concat([found for _, found in parts])
        power = found[list(POWER_COLUMNS)].reindex(table.index)
        table.loc[found.index, ["seed", "assumptions", "evidence"]] = found[["seed", "assumptions", "evidence"]]
    return conform(gpd.GeoDataFrame(pd.concat([table, power], axis=1), geometry="geometry", crs=WGS84), "sites")


def evidence_of(frame: pd.DataFrame) -> dict[int, SiteEvidence]:
    """Return row -> evidence on power, of the rows that state no power but a footprint or equipment.

    The number of buildings is no evidence: its law is one of finished halls of large operators.
    """
    seen = np.stack([_stated(frame, c, 0.0) > 0 for c in ("area", "cooling_m2", *COUNTS)]).any(axis=0)
    known = seen & ~(frame["mid"].to_numpy(float) > 0)
    number = {c: _stated(frame, c) for c in (*COUNTS, *_MEASURES)}
    ids, operator, country, year = (_column(frame, c) for c in ("site_id", "operator", "country", "year"))
    area, cooling = (_stated(frame, c, 0.0) for c in ("area", "cooling_m2"))
    out = {}
    for k in np.flatnonzero(known).tolist():
        more: dict[str, Any] = {c: (int(v[k]) if c in COUNTS else float(v[k])) for c, v in number.items() if v[k] > 0}
        out[k] = replace(SiteEvidence(
            str(ids[k]), building_area_m2=float(area[k]), cooling_area_m2=float(cooling[k]),
            operator=_text(operator[k]), country=_text(country[k]), year=_year(year[k]),
        ), **more)  # fmt: skip
    return out


def fault(site: SiteEvidence) -> str | None:
    """Return why the power model refuses the evidence of a site, None if it does not."""
    try:
        posterior.estimate([site], year=site.year or YEAR, draws=1, words=False)
    except ConfigError as error:
        return str(error)
    return None


def _of_evidence(table: gpd.GeoDataFrame, frame: pd.DataFrame) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Yield rows that the power model can judge, and their columns of power and compute."""
    sites, read = evidence_of(frame), _read(frame)
    key = pd.DataFrame({"year": [s.year or YEAR for s in sites.values()],
                        "country": [s.country or "" for s in sites.values()]}, index=list(sites))  # fmt: skip
    for _, part in key.groupby(["year", "country"]):
        year = int(part["year"].iloc[0])
        for start in range(0, len(part), _CHUNK):
            rows = part.index[start : start + _CHUNK].to_numpy(int)
            own = [sites[k] for k in rows]
            drawn = posterior.estimate(own, year=year, draws=DRAWS)
            found = _columns(table.iloc[rows], drawn, own)
            yield rows, found.assign(assumptions=read[rows] + " " + found["assumptions"].to_numpy(object))


def _of_stated(table: gpd.GeoDataFrame, frame: pd.DataFrame) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Yield rows that state their power, and their columns of power and compute.

    Rows of about the same power, spread, year, country and operator share their draws, which each scales to its own
    power: a million rows take seconds.
    """
    mid, read = frame["mid"].to_numpy(float), _read(frame)
    rows = np.flatnonzero(mid > 0)
    key = pd.DataFrame({
        "year": [_year(y) or YEAR for y in _column(frame, "year")[rows]],
        "country": [_text(c) or "" for c in _column(frame, "country")[rows]],
        "operator": [_text(o) or "" for o in _column(frame, "operator")[rows]],
        "whole": pd.Series(_column(frame, "of_facility")[rows]).eq(True),
        "spread": np.round(np.maximum(frame["spread"].to_numpy(float)[rows], 0.01), 2),
        "unit_mw": np.exp(np.round(_BIN * np.log(mid[rows])) / _BIN),
    })  # fmt: skip
    for _, part in key.groupby(["year", "country"]):
        year, country = int(part["year"].iloc[0]), str(part["country"].iloc[0])
        number = part.groupby([*key.columns], sort=False).ngroup().to_numpy(int)
        heads = part.drop_duplicates()
        for start in range(0, len(heads), _CHUNK):
            few = heads.iloc[start : start + _CHUNK]
            own = [SiteEvidence(f"stated {start + k}", operator=name or None, country=country or None, year=year)
                   for k, name in enumerate(few["operator"])]  # fmt: skip
            of_heads = _columns(table.iloc[[0] * len(own)], _stated_draws(own, few), own)
            member = np.flatnonzero((number >= start) & (number < start + len(few)))
            found = of_heads.iloc[number[member] - start].reset_index(drop=True)
            mine, at = part.iloc[member], rows[part.index[member]]
            scaled = [c for c in POWER_COLUMNS if c.startswith(("it_mw_", "facility_mw_", "h100e_", "flop_"))]
            found[scaled] = found[scaled].mul((mid[at] / mine["unit_mw"]).to_numpy(), axis=0)
            exact = np.flatnonzero(~mine["whole"].to_numpy(bool))
            for q, score in zip(QUANTILE_NAMES, SCORES, strict=True):
                found.loc[exact, f"it_mw_{q}"] = (mid[at] * np.exp(mine["spread"].to_numpy() * score))[exact]
            stated = [f" Stated: {value:,.3g} MW of {'facility power' if whole else 'IT'}, ln-sd {spread:.2f}. "
                      for value, whole, spread in zip(mid[at], mine["whole"], mine["spread"], strict=True)]  # fmt: skip
            texts = read[at] + np.array(stated, object) + found["assumptions"].to_numpy(object)
            yield at, found.assign(seed=0, evidence="stated", assumptions=texts)


def _stated_draws(sites: list[SiteEvidence], heads: pd.DataFrame) -> PowerDraws:
    """Return draws of stated powers, and of the other power from the ratio of facility to IT power at peak."""
    score, of_ratio = _scores()
    it_mw, facility_mw = (np.empty((len(sites), DRAWS), np.float32) for _ in range(2))
    rows = zip(sites, heads["unit_mw"], heads["spread"], heads["whole"], strict=True)
    for k, (site, unit_mw, spread, whole) in enumerate(rows):
        stated = unit_mw * np.exp(spread * score)
        median, ln_sd = facility_ratio(site.operator, site.cooling)
        ratio = 1.0 + (median - 1.0) * np.exp(ln_sd * of_ratio)
        it_mw[k] = stated / ratio if whole else stated
        facility_mw[k] = stated if whole else stated * ratio
    seeds = np.array([posterior.site_seed(0, s.site_id) for s in sites], np.int64)
    return PowerDraws(it_mw, facility_mw, seeds, ("",) * len(sites), tuple(s.site_id for s in sites))


def _columns(table: gpd.GeoDataFrame, drawn: PowerDraws, sites: list[SiteEvidence]) -> pd.DataFrame:
    """Return the columns of power and compute, seed, evidence and assumptions, one row per site of the draws."""
    year = min(max(sites[0].year or YEAR, training_compute.FIRST_YEAR), training_compute.LAST_YEAR)
    compute = training_compute.estimate(drawn, year=year, country=sites[0].country, evidence=sites)
    found = training_compute.attach(table.assign(site_id=list(drawn.site_ids)), drawn, compute)
    found["assumptions"] = found["assumptions"].str.strip()
    found["evidence"] = [", ".join(names) for names in drawn.evidence] or None
    return pd.DataFrame(found)[[*POWER_COLUMNS, "seed", "assumptions", "evidence"]]


@lru_cache(maxsize=1)
def _scores() -> tuple[np.ndarray, np.ndarray]:
    """Return two permutations of the same normal scores, (draw,) each: the quantiles of a stated power are exact."""
    rng = np.random.default_rng(11)
    scores = ndtri((np.arange(DRAWS) + 0.5) / DRAWS)
    return rng.permutation(scores), rng.permutation(scores)


def _column(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy(object) if name in frame else np.full(len(frame), None, object)


def _stated(frame: pd.DataFrame, name: str, default: float = np.nan) -> np.ndarray:
    """Return a column of numbers, (row,) float64; `default` where it is not stated."""
    values = pd.to_numeric(pd.Series(_column(frame, name)), errors="coerce").to_numpy(float, na_value=np.nan)
    return np.where(np.isnan(values), default, values)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _year(value: object) -> int | None:
    """Return a year within those of the power model, None if there is none."""
    return int(min(max(value, YEARS[0]), YEARS[1])) if isinstance(value, int | float) and value == value else None


def _read(frame: pd.DataFrame) -> np.ndarray:
    """Return how each row was read and the year of its estimate, (row,) object."""
    dated = _stated(frame, "year")
    return np.array([
        "Read from a table of observed sites; "
        + (f"no image date, taken as {YEAR}." if np.isnan(year) else f"year {_year(year)}.")
        for year in dated.tolist()
    ] + [None], object)[:-1]  # fmt: skip
