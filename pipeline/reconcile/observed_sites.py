"""From any table of observed sites to the table `sites`; rows that cannot be used are rejected with a reason.

In: CSV, GeoJSON, GeoPackage or Parquet with geometry (or lon, lat) and, if known, IT or facility power (`it_mw_p50`,
`it_mw_p10`, `it_mw_p90`; `it_mw`, `facility_mw`, also as a range or with `_low` and `_high`), what a power can be
estimated from (footprint, storeys, cooling and other equipment), `p_data_center`, `name`, `operator`, `zone` (State,
country), `image_date`, `registry_id`. Out: table `sites`, labels, and the rejected rows with their reasons. The power
of a site that states nothing of this is not known, and null.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import centres, outline_m2
from overwatt.pipeline.declared import generic
from overwatt.pipeline.declared.parsing import texts
from overwatt.pipeline.declared.received import Received
from overwatt.pipeline.declared.validation import RowValidator
from overwatt.pipeline.declared.zones import country_of, zone_name
from overwatt.pipeline.quantiles import Z80, ln_sd_80
from overwatt.pipeline.reconcile.observed_power import COUNTS, evidence_of, fault, sites_from_rows
from overwatt.pipeline.tables import SCHEMAS, conform

__all__ = ["normalize", "sites_from_rows"]

_LN_SD = 0.35  # error of a stated power without quantiles; own choice
_P = 0.95  # p_data_center of a row without one: somebody lists it as a data center; own choice
_ALIASES = {
    "storeys": ("storeys", "stories", "floors", "levels", "building:levels"), "height_m": ("height_m", "height"),
    "building_area_m2": ("building_area_m2", "footprint_m2"), "cooling_objects": ("cooling_objects",),
    "cooling_area_m2": ("cooling_area_m2",), "buildings": ("buildings", "n_buildings"),
    "substation_mva": ("substation_mva",), "p_data_center": ("p_data_center",), **{c: (c,) for c in COUNTS},
}  # fmt: skip
"""Columns of numbers, by the names that tables use."""


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
    number = {k: _first([rows.numbers(frame[c].to_numpy(), c) for c in cols if c in frame], n)
              for k, cols in _ALIASES.items()}  # fmt: skip
    p = number["p_data_center"]
    for k in np.flatnonzero(p > 1):
        rows.note(int(k), f"column 'p_data_center': {p[k]:g} is above 1")
    mid, spread, of_facility = _power(rows, frame, n)
    nothing = np.full(n, None, object)
    date = rows.dates(frame["image_date"].to_numpy(object), "image_date") if "image_date" in frame else nothing
    name = _ids(rows, shape, words("site_id", "declared_id"), words("name"))
    usable = pd.isna(rows.reason)
    area = number["building_area_m2"]
    outline = np.flatnonzero(~(area > 0) & usable & (shapely.get_type_id(shape) > 0))
    area[outline] = [outline_m2(g) for g in shape[outline]]
    zone = words("zone", "state", "country")
    own_country = words("country")
    table = pd.DataFrame({
        "site_id": name, "geometry": shape, "mid": mid, "spread": spread, "of_facility": of_facility,
        "p": np.where(np.isnan(p), _P, p), "area": np.nan_to_num(area),
        "cooling": np.nan_to_num(number["cooling_objects"]), "cooling_m2": np.nan_to_num(number["cooling_area_m2"]),
        "buildings": np.where(number["buildings"] >= 1, number["buildings"], np.nan),
        **{c: number[c] for c in ("storeys", "height_m", "substation_mva", *COUNTS)},
        "image_date": date, "year": [np.nan if d is None else float(d[:4]) for d in date],
        "country": [zone_name(c) if c and len(zone_name(c)) == 2 else country_of(z)
                    for c, z in zip(own_country, zone, strict=True)],
        "name": words("name"), "operator": words("operator"), "identifier": words("registry_id"), "zone": zone,
        "plant_known": ~np.isnan(number["cooling_objects"]) | ~np.isnan(number["cooling_area_m2"]),
    })  # fmt: skip
    at = np.flatnonzero(usable).tolist()
    for n_usable, site in evidence_of(table.iloc[at]).items():
        if why := fault(site):
            rows.note(at[n_usable], why)
    usable = pd.isna(rows.reason)
    good, bad = np.flatnonzero(usable), np.flatnonzero(~usable)
    rejected = _rejected_table([(int(frame["row"].iloc[k]), str(name[k]), str(rows.reason[k])) for k in bad])
    if not len(good):
        raise RegistryError(
            f"{given.name}: no usable row; the first: {'; '.join(rejected['reason'][:1]) or 'there is none'}"
        )
    table = table.iloc[good].reset_index(drop=True)
    labels = table[["site_id", "name", "operator", "identifier", "zone", "plant_known"]]
    return sites_from_rows(table), labels, rejected


def _first(columns: list[np.ndarray], n: int) -> np.ndarray:
    """Return for each row the first number above 0 of these columns, else the first number, (n,)."""
    out = np.full(n, np.nan)
    for values in columns:
        out = np.where(np.isnan(out) | ((out == 0) & (values > 0)), values, out)
    return out


def _power(rows: RowValidator, frame: pd.DataFrame, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return median of the stated power (MW, NaN: none), its ln-sd, and whether it is facility power, (n,) each.

    A stated range is the 80% interval of a log-normal. Where it is open on one side, its end is that quantile.
    """
    low, mid, high = (
        rows.numbers(frame[c].to_numpy(), c) if c in frame else np.full(n, np.nan)
        for c in ("it_mw_p10", "it_mw_p50", "it_mw_p90")
    )
    all_three = ~np.isnan(mid) & ~np.isnan(low) & ~np.isnan(high)
    for k in np.flatnonzero(all_three & ~((low > 0) & (low <= mid) & (mid <= high))):
        rows.note(int(k), f"it_mw_p10 {low[k]:g}, p50 {mid[k]:g}, p90 {high[k]:g} are not in order")
    of_facility = np.zeros(n, bool)
    for column in ("it_mw", "facility_mw"):
        value, least, most = rows.power_range(frame, column)
        take = ~(mid > 0) & (value > 0)
        both = take & (least > 0) & (most > least)
        low, high = np.where(both, least, low), np.where(both, most, high)
        # an end is the p10 or p90 of a power that is otherwise as uncertain as a stated one
        open_ended = np.where(np.isnan(most), np.where(np.isnan(least), 0.0, Z80), np.where(np.isnan(least), -Z80, 0.0))
        mid = np.where(take, value * np.exp(_LN_SD * open_ended), mid)
        of_facility |= take & (column == "facility_mw")
    mid = np.where(mid > 0, mid, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        stated = ln_sd_80(low, high)
    return mid, np.where((low > 0) & (high > low), stated, _LN_SD), of_facility


def _ids(rows: RowValidator, shape: np.ndarray, given: np.ndarray, name: np.ndarray) -> np.ndarray:
    """Return an id of each row that does not depend on the order of rows: as stated, the name if unique, the place.

    A row whose id or place an earlier row has is rejected.
    """
    named = pd.Series(name)
    own = np.where(pd.isna(given) & ~(named.isna() | named.duplicated(keep=False)).to_numpy(bool), name, given)
    out = own.copy()
    for k in np.flatnonzero(pd.isna(own) & pd.isna(rows.reason)):
        lon, lat = centres(shape[[k]])[0]
        out[k] = f"{'N' if lat >= 0 else 'S'}{abs(lat):07.4f}{'E' if lon >= 0 else 'W'}{abs(lon):08.4f}"
    first: dict[str, int] = {}
    for k in np.flatnonzero(~pd.isna(out)):
        if (before := first.setdefault(out[k], int(k))) != k:
            what = f"id '{out[k][:60]}' is already used in" if own[k] else "no id, and the place and name of"
            rows.note(int(k), f"{what} row {rows.row[before]}")
    return np.where(pd.isna(out), "", out)


def _rejected_table(rows: list[tuple[int, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["row", "id", "reason"])
