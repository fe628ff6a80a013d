"""Any table of observed sites, brought to the table `sites`; rows that cannot be used are kept aside.

In: CSV, GeoJSON, GeoPackage or Parquet with geometry (or lon, lat); `it_mw_p50`, `it_mw_p10`, `it_mw_p90` or
`it_mw`, `p_data_center`, `building_area_m2`, `name`, `operator`, `zone` (State, country), `image_date`, `registry_id`
where known. Out: `sites`, labels,
and the rows kept aside with their reason. Where no power is given a wide guess stands: 20 MW, ln-sd 1.2.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from aoi.errors import RegistryError
from models import reference
from pipeline import compute, declared
from pipeline.coverage import centres
from pipeline.tables import QUANTILE_NAMES, QUANTILES, SCHEMAS, conform

_GUESS_MW, _GUESS_LN_SD = 20.0, 1.2  # power of a data center of unknown size; own choice
_LN_SD = 0.35  # of a stated IT power without quantiles; own choice
_P = 0.95  # of a row that somebody calls a site; own choice
_YEAR = 2026
_CELL_DEGREES = 1.0
_Z = np.array([-1.959964, -1.644854, -1.281552, -0.674490, 0.0, 0.674490, 1.281552, 1.644854, 1.959964])


def read(path: Path) -> tuple[gpd.GeoDataFrame, pd.DataFrame, pd.DataFrame]:
    """Return table `sites`, labels (site_id, name, operator, identifier), and rows kept aside (row, id, reason).

    Raises:
        RegistryError: the file cannot be read, has no coordinates, or no usable row.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: no such file; `overwatt run` writes sites.parquet")
    if path.suffix.lower() in (".parquet", ".geoparquet", ".pq"):
        try:
            frame = gpd.read_parquet(path)
        except Exception:
            frame = None
        if frame is not None and {c.name for c in SCHEMAS["sites"] if c.before is None} <= set(frame.columns):
            found = conform(frame, "sites")
            return found, pd.DataFrame({"site_id": found["site_id"]}), _aside([])
    aside: list[tuple[int, str, str]] = []
    rows = []
    seen: dict[str, int] = {}
    for record in declared.records(path):
        n = int(record["row"])
        name = declared.as_text(record.get("site_id")) or declared.as_text(record.get("declared_id")) or f"row-{n}"
        try:
            if name in seen:
                raise RegistryError(f"id '{name[:60]}' is already that of row {seen[name]}")
            rows.append(_row(record, name, path, n))
            seen[name] = n
        except RegistryError as error:
            aside.append((n, name, str(error)))
    if not rows:
        raise RegistryError(f"{path.name}: no usable row; the first: {aside[0][2] if aside else 'there is none'}")
    frame = pd.DataFrame(rows)
    labels = frame[["site_id", "name", "operator", "identifier", "zone", "plant_known"]]
    return _sites(frame), labels, _aside(aside)


def _row(record: dict[str, object], name: str, path: Path, n: int) -> dict[str, object]:
    geometry = declared.as_geometry(record, path, n)
    number = {k: declared.as_number(record.get(k), path, n, k) for k in _NUMBERS}
    p = number["p_data_center"]
    if p is not None and p > 1:
        raise RegistryError(f"column 'p_data_center': {p:g} is above 1")
    low, mid, high = (number[f"it_mw_{q}"] for q in ("p10", "p50", "p90"))
    mid = mid if mid is not None else number["it_mw"]
    if mid is None and number["facility_mw"] is not None:
        mid = number["facility_mw"] / reference.ratio("facility_per_it").median
    if mid is not None and mid <= 0:
        mid = None
    if mid is not None and low is not None and high is not None and not 0 < low <= mid <= high:
        raise RegistryError(f"it_mw_p10 {low:g}, p50 {mid:g}, p90 {high:g} are not in order")
    spread = _LN_SD
    if low and high and high > low:
        spread = math.log(high / low) / (2 * 1.2815515655446004)
    area = number["building_area_m2"] or number["footprint_m2"]
    if area is None:
        area = declared.outline_m2(geometry) if geometry.geom_type != "Point" else 0.0
    return {
        "site_id": name, "geometry": geometry, "mid": mid or _GUESS_MW, "spread": spread if mid else _GUESS_LN_SD,
        "p": _P if p is None else p, "area": area, "name": declared.as_text(record.get("name")),
        "operator": declared.as_text(record.get("operator")), "identifier": declared.as_text(record.get("registry_id")),
        "plant_known": number["cooling_objects"] is not None or number["cooling_area_m2"] is not None,
        "zone": declared.as_text(record.get("zone")) or declared.as_text(record.get("state")),
        "image_date": _date(record.get("image_date")),
        "cooling": number["cooling_objects"] or 0, "cooling_m2": number["cooling_area_m2"] or 0.0,
    }  # fmt: skip


def _date(value: object) -> str | None:
    text = declared.as_text(value)
    if text is None:
        return None
    try:
        return str(pd.Timestamp(text).date().isoformat())
    except (ValueError, TypeError) as error:
        raise RegistryError(f"column 'image_date': '{text[:40]}' is no date; write 2026-08-31") from error


_NUMBERS = ("it_mw_p10", "it_mw_p50", "it_mw_p90", "it_mw", "facility_mw", "p_data_center", "building_area_m2",
            "footprint_m2", "cooling_objects", "cooling_area_m2")  # fmt: skip


def _sites(frame: pd.DataFrame) -> gpd.GeoDataFrame:
    shapes = frame["geometry"].to_numpy(object)
    middle = centres(shapes)
    mid, spread = frame["mid"].to_numpy(float), np.round(frame["spread"].to_numpy(float), 2)
    it = mid[:, None] * np.exp(np.maximum(spread, 0.01)[:, None] * _Z)
    columns: dict[str, object] = {
        "site_id": frame["site_id"], "p_data_center": frame["p"], "prior": _P, "lon": middle[:, 0], "lat": middle[:, 1],
        "buildings": 1, "building_area_m2": frame["area"], "cooling_objects": frame["cooling"].astype(int),
        "cooling_area_m2": frame["cooling_m2"], "on_border": False, "used_thermal": False, "seed": 0,
        "assumptions": "Read from a table of observed sites; year 2026, kind of site unknown.",
        "image_date": frame.get("image_date"), "geometry": shapes,
    }  # fmt: skip
    factors = np.stack([_factors(float(s)) for s in spread])  # (site, 2, quantile)
    ratio = reference.ratio("facility_per_it").median
    for k, q in enumerate(QUANTILE_NAMES):
        columns[f"it_mw_{q}"] = it[:, k]
        columns[f"facility_mw_{q}"] = it[:, k] * ratio
        columns[f"h100e_{q}"] = mid * factors[:, 0, k]
        columns[f"flop_90d_{q}"] = mid * factors[:, 1, k]
    return conform(gpd.GeoDataFrame(columns, geometry="geometry", crs="OGC:CRS84"), "sites")


@lru_cache(maxsize=1024)
def _factors(spread: float) -> np.ndarray:
    """Quantiles of H100 equivalents and of FLOP in 90 days of a site of median 1 MW IT, (2, quantile)."""
    h100e, flop = compute.per_it_mw(_YEAR)
    it = np.exp(spread * np.random.default_rng(11).standard_normal(len(h100e)))
    return np.stack([np.quantile(it * h100e, QUANTILES), np.quantile(it * flop * 90.0, QUANTILES)])


def _aside(rows: list[tuple[int, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["row", "id", "reason"])


def assumed_looked_at(sites: gpd.GeoDataFrame, margin_degrees: float = 0.05) -> gpd.GeoDataFrame:
    """Return table `looked_at` that takes the neighbourhood of the observed sites as looked at, in cells.

    An assumption for tables that come without one: the hull of all sites with a margin of some 5 km. It
    makes 'not seen' evidence where it may not be: whoever uses it must say so.
    """
    hull = shapely.convex_hull(shapely.multipoints(centres(sites.geometry.to_numpy()))).buffer(margin_degrees)
    hull = shapely.intersection(hull, shapely.box(-180.0, -90.0, 180.0, 90.0))
    west, south, east, north = shapely.bounds(hull)
    step = max(_CELL_DEGREES, (east - west) / 200, (north - south) / 200)
    lon, lat = (a.ravel() for a in np.meshgrid(np.arange(west, east, step), np.arange(south, north, step)))
    cells = shapely.intersection(shapely.box(lon, lat, lon + step, lat + step), hull)
    cells = cells[shapely.area(cells) > 0]
    rows = pd.DataFrame({"cell": [f"assumed-{k}" for k in range(len(cells))], "imaged": 1.0, "clear_looks": 1,
                         "screened": True, "failed": False,
                         "reason": "assumed: no table of what was looked at was given"})  # fmt: skip
    return conform(gpd.GeoDataFrame(rows, geometry=cells, crs="OGC:CRS84"), "looked_at")
