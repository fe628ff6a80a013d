"""From any table of observed sites to the table `sites`; rows that cannot be used are rejected with a reason.

In: CSV, GeoJSON, GeoPackage or Parquet with geometry (or lon, lat) and, if known, `it_mw_p50`, `it_mw_p10`,
`it_mw_p90` or `it_mw`, `p_data_center`, `building_area_m2`, `name`, `operator`, `zone` (State, country), `image_date`,
`registry_id`. Out: table `sites`, labels, and the rejected rows with their reasons. A site without a stated power gets
a wide default: 20 MW, ln-sd 1.2.
"""

from __future__ import annotations

from functools import lru_cache

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84, centres, outline_m2
from overwatt.models.reference import facts
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.declared import generic
from overwatt.pipeline.declared.parsing import texts
from overwatt.pipeline.declared.received import Received
from overwatt.pipeline.declared.validation import RowValidator
from overwatt.pipeline.quantiles import SCORES, ln_sd_80
from overwatt.pipeline.tables import QUANTILE_NAMES, QUANTILES, SCHEMAS, conform

_GUESS_MW, _GUESS_LN_SD = 20.0, 1.2  # power of a data center of unknown size; own choice
_LN_SD = 0.35  # error of a stated IT power without quantiles; own choice
_P = 0.95  # p_data_center of a row without one: somebody lists it as a data center; own choice
_YEAR = 2026  # year of the chips from which compute is estimated


def normalize(given: Received) -> tuple[gpd.GeoDataFrame, pd.DataFrame, pd.DataFrame]:
    """Return table `sites`, labels, and rejected rows (row, id, reason).

    A table that already has the columns of `sites` is returned as it is. Labels: site_id, name, operator, identifier,
    zone, plant_known (whether the table states cooling equipment).

    Raises:
        RegistryError: no coordinates, or no usable row.
    """
    own = given.frame
    needed = {c.name for c in SCHEMAS["sites"] if c.before is None and not c.nullable}
    if isinstance(own, gpd.GeoDataFrame) and needed <= set(own.columns):
        found = conform(own.drop(columns="layer", errors="ignore"), "sites")  # the reader adds the layer
        return found, pd.DataFrame({"site_id": found["site_id"]}), _rejected_table([])
    frame = generic.table(given, keep_all=True)
    n = len(frame)
    rows = RowValidator(given.name, frame["row"].to_numpy(), frame["fault"].to_numpy() if "fault" in frame else None)

    def words(*names: str) -> np.ndarray:
        """Return for each row the text of the first of these columns that is not empty, else None."""
        out = np.full(n, None, object)
        for name in names:
            if name in frame:
                out = np.where(pd.isna(out), texts(frame[name].to_numpy(object)), out)
        return out

    shape = rows.places(frame, np.zeros(n, bool))
    rows.swapped(shape, words("zone", "state", "country"))
    number = {k: rows.numbers(frame[k].to_numpy(), k) if k in frame else np.full(n, np.nan) for k in _NUMBERS}
    p, low, high = number["p_data_center"], number["it_mw_p10"], number["it_mw_p90"]
    for k in np.flatnonzero(p > 1):
        rows.note(int(k), f"column 'p_data_center': {p[k]:g} is above 1")
    mid = np.where(np.isnan(number["it_mw_p50"]), number["it_mw"], number["it_mw_p50"])
    # facility over IT power at peak: median of models/reference/ratios.csv (docs/methods.md, section 4.3)
    mid = np.where(np.isnan(mid), number["facility_mw"] / facts.ratio("facility_per_it").median, mid)
    mid = np.where(mid > 0, mid, np.nan)
    both = ~np.isnan(mid) & ~np.isnan(low) & ~np.isnan(high)
    for k in np.flatnonzero(both & ~((low > 0) & (low <= mid) & (mid <= high))):
        rows.note(int(k), f"it_mw_p10 {low[k]:g}, p50 {mid[k]:g}, p90 {high[k]:g} are not in order")
    date = rows.dates(frame["image_date"].to_numpy(object), "image_date") if "image_date" in frame else None
    name = words("site_id", "declared_id")
    for k in np.flatnonzero(pd.isna(name)):
        name[k] = f"row-{k + 1}"
    twice = np.flatnonzero(pd.Index(name).duplicated(keep=False))
    first: dict[str, int] = {}
    for k in twice:
        if (before := first.setdefault(name[k], int(k))) != k:
            rows.note(int(k), f"id '{name[k][:60]}' is already used in row {frame['row'].iloc[before]}")
    usable = pd.isna(rows.reason)
    good, bad = np.flatnonzero(usable), np.flatnonzero(~usable)
    rejected = _rejected_table([(int(frame["row"].iloc[k]), str(name[k]), str(rows.reason[k])) for k in bad])
    if not len(good):
        raise RegistryError(
            f"{given.name}: no usable row; the first: {'; '.join(rejected['reason'][:1]) or 'there is none'}"
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        # p10 and p90 of a log-normal lie 2 x 1.2816 ln-sd apart
        stated = ln_sd_80(low, high)
    spread = np.where((low > 0) & (high > low), stated, _LN_SD)
    area = np.where(number["building_area_m2"] > 0, number["building_area_m2"], number["footprint_m2"])
    outline = np.flatnonzero(np.isnan(area) & usable & (shapely.get_type_id(shape) > 0))
    area[outline] = [outline_m2(g) for g in shape[outline]]
    table = pd.DataFrame({
        "site_id": name, "geometry": shape, "mid": np.where(np.isnan(mid), _GUESS_MW, mid),
        "spread": np.where(np.isnan(mid), _GUESS_LN_SD, spread), "p": np.where(np.isnan(p), _P, p),
        "area": np.nan_to_num(area), "cooling": np.nan_to_num(number["cooling_objects"]),
        "cooling_m2": np.nan_to_num(number["cooling_area_m2"]), "image_date": date, "name": words("name"),
        "operator": words("operator"), "identifier": words("registry_id"), "zone": words("zone", "state", "country"),
        "plant_known": ~np.isnan(number["cooling_objects"]) | ~np.isnan(number["cooling_area_m2"]),
    }).iloc[good].reset_index(drop=True)  # fmt: skip
    labels = table[["site_id", "name", "operator", "identifier", "zone", "plant_known"]]
    return sites_from_rows(table), labels, rejected


_NUMBERS = ("it_mw_p10", "it_mw_p50", "it_mw_p90", "it_mw", "facility_mw", "p_data_center", "building_area_m2",
            "footprint_m2", "cooling_objects", "cooling_area_m2")  # fmt: skip


def sites_from_rows(frame: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return table `sites` for rows whose power is log-normal.

    Args:
        frame: columns site_id, geometry (lon/lat), mid (median IT power, MW), spread (its ln-sd), p (probability of a
            data center), area and cooling_m2 (m2), cooling (number of machines), and image_date if known.
    """
    shapes = frame["geometry"].to_numpy(object)
    middle = centres(shapes)
    mid, spread = frame["mid"].to_numpy(float), np.round(frame["spread"].to_numpy(float), 2)
    it = mid[:, None] * np.exp(np.maximum(spread, 0.01)[:, None] * SCORES)
    columns: dict[str, object] = {
        "site_id": frame["site_id"], "p_data_center": frame["p"], "prior": np.nan, "lon": middle[:, 0],
        "lat": middle[:, 1], "buildings": 1, "building_area_m2": frame["area"],
        "cooling_objects": frame["cooling"].astype(int),
        "cooling_area_m2": frame.get("cooling_m2", 0.0), "on_border": False, "used_thermal": False, "seed": 0,
        "assumptions": "Read from a table of observed sites; year 2026, kind of site unknown.",
        "image_date": frame.get("image_date"), "geometry": shapes,
    }  # fmt: skip
    factors = np.stack([_factors(float(s)) for s in spread])  # (site, 2, quantile)
    ratio = facts.ratio("facility_per_it").median
    for k, q in enumerate(QUANTILE_NAMES):
        columns[f"it_mw_{q}"] = it[:, k]
        columns[f"facility_mw_{q}"] = it[:, k] * ratio
        columns[f"h100e_{q}"] = mid * factors[:, 0, k]
        columns[f"flop_90d_{q}"] = mid * factors[:, 1, k]
    return conform(gpd.GeoDataFrame(columns, geometry="geometry", crs=WGS84), "sites")


@lru_cache(maxsize=1024)
def _factors(spread: float) -> np.ndarray:
    """Return quantiles of H100 equivalents and of FLOP in 90 days for a site of median 1 MW IT, (2, quantile)."""
    h100e, flop = training_compute.per_it_mw(_YEAR)
    # fixed seed: the same table gives the same bits; compute scales with the median power
    it = np.exp(spread * np.random.default_rng(11).standard_normal(len(h100e)))
    return np.stack([np.quantile(it * h100e, QUANTILES), np.quantile(it * flop * 90.0, QUANTILES)])


def _rejected_table(rows: list[tuple[int, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["row", "id", "reason"])
