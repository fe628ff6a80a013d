"""Tables of any origin: column names are translated by aliases or a column map, and the kind of declaration is found.

In: CSV, GeoJSON, GeoPackage, Parquet or a JSON list of objects. Out: a frame with the column names of table `declared`
(and lon, lat) and unchanged cells. A table declares workloads if it states training FLOP and no power; chips if it
names a seller or buyer, or counts chips without stating power; power if it states only generators or a grid connection;
else facilities. A column `kind` overrides this row by row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.pipeline.declared.parsing import texts
from overwatt.pipeline.declared.received import FAULT, Received
from overwatt.pipeline.declared.validation import RowValidator
from overwatt.pipeline.vocabulary import PLACELESS_KINDS

_ALIASES = {
    "lon": ("lon", "longitude", "long", "lng", "x", "lon_deg", "faclong"),
    "lat": ("lat", "latitude", "y", "lat_deg", "faclat"),
    "geometry": ("geometry", "wkt", "geom", "the_geom"),
    "declared_id": ("declared_id", "id", "facility_id", "registry_id", "uid", "transfer_id", "run_id"),
    "name": ("name", "facility", "facility_name", "site", "site_name"),
    "operator": ("operator", "owner", "buyer", "purchaser", "importer", "consignee", "customer", "organization",
                 "organisation"),
    "counterparty": ("counterparty", "seller", "supplier", "vendor", "exporter"),
    "chip": ("chip", "chip_type", "chip type", "accelerator", "gpu", "training hardware", "hardware"),
    "chips": ("chips", "quantity", "qty", "chip_quantity", "number_of_chips", "hardware quantity"),
    "training_flop": ("training_flop", "flop", "training_compute", "training compute (flop)", "training compute"),
    "zone": ("zone", "grid_zone", "destination", "destination_country", "state", "country"),
}  # fmt: skip
_DATED = ("date", "delivery_date", "transfer_date", "shipped", "start_date", "publication_date", "publication date")
_MODEL = ("model", "model_name")
_SAME_NAME = ("kind", "it_mw", "facility_mw", "footprint_m2", "status", "position_error_m", "valid_from", "valid_to",
              "source", "licence", "reliability", "also")  # fmt: skip
_POWER = {
    "grid_mw": ("grid_mw", "grid_connection_mw", "connection_mw", "permit_mw", "permitted_mw"),
    "generator_mw": ("generator_mw", "generators_mw", "generator_capacity_mw", "backup_mw"),
    "generators": ("generators", "generator_count", "n_generators"),
}
_BARE_POWER = ("mw", "power", "power_mw", "capacity_mw", "capacity")
_GENERATOR_MW, _GENERATOR_SHARE = 2.5, 0.7  # MW each, and facility share of nameplate (docs/methods.md, section 4.3)
TARGETS = (*_ALIASES, *_SAME_NAME, *_POWER, "area_m2")
"""Column names of Overwatt that a column map may use."""


def table(given: Received, columns: Mapping[str, str] | None = None, keep_all: bool = False) -> pd.DataFrame:
    """Return a received table with Overwatt's column names, one row per row of the file; `row` counts from 1.

    Args:
        given: the table.
        columns: column map {name in Overwatt: column of the file}, any case; overrides the aliases.
        keep_all: keep the other columns too, with names in lower case, and accept power that may be IT or facility.

    Raises:
        RegistryError: unknown name or missing column in the map, power that may be IT or facility power, or no
            coordinates in a table of facilities.
    """
    frame = given.table
    lower = {str(c).strip().lower(): c for c in frame.columns}
    names = [n for n in lower if not n.startswith("\0")]
    column = _column_of(given.name, lower, columns or {}, names)
    if "operator" in column and "counterparty" in column and not columns:
        # in a table of transfers the buyer holds the chips, so it counts as the operator
        column |= {"operator": next((lower[b] for b in ("buyer", "purchaser", "importer", "consignee", "customer")
                                     if b in lower), column["operator"])}  # fmt: skip
    kind = _kind(column, lower)
    if kind in PLACELESS_KINDS:
        if "valid_from" not in column and (dated := [lower[d] for d in _DATED if d in lower]):
            column["valid_from"] = dated[0]
        free = "chip" if kind == "chips" else "name"
        model = [lower[m] for m in _MODEL if m in lower and (free not in column or free == "name")]
        if model and not (columns and free in columns):
            column[free] = model[0]
    stated = {"it_mw", "facility_mw", *_POWER} & column.keys()
    if not keep_all and not stated and (bare := [lower[b] for b in _BARE_POWER if b in lower]):
        raise RegistryError(
            f"registry '{given.name}', column '{bare[0]}': unclear whether IT or facility power; "
            "rename it to it_mw or facility_mw"
        )
    placed = "geometry" in column or {"lon", "lat"} <= column.keys()
    if not placed and (keep_all or not (kind in PLACELESS_KINDS or _has_placeless_rows(frame, column))):
        raise RegistryError(
            f"registry '{given.name}' has no coordinates: it needs columns lon and lat, or geometry; "
            f"its columns are {', '.join(names) or 'none'}"
        )
    out = pd.DataFrame(index=frame.index)
    if keep_all:
        out = pd.DataFrame({n: frame[lower[n]] for n in names}, index=frame.index)
    for name, source in column.items():
        out[name] = frame[source]
    out["row"] = np.arange(1, len(frame) + 1)
    if FAULT in frame:
        out["fault"] = frame[FAULT]
    if not keep_all:
        out = _facility_mw(out, given.name)
        own_kind = texts(out["kind"]) if "kind" in out else np.full(len(out), None, object)
        out["kind"] = [k or kind for k in own_kind]
    return out


def _column_of(source: str, lower: dict[str, str], given: Mapping[str, str], names: list[str]) -> dict[str, str]:
    """Return {name in Overwatt: column of the file} from the map `given`, then from aliases."""
    column = {}
    taken = set()
    for target, source in given.items():
        if target not in TARGETS:
            raise RegistryError(
                f"columns: '{target}' is not a column name of Overwatt: {nearest(str(target), TARGETS)}"
            )
        if str(source).strip().lower() not in lower:
            raise RegistryError(
                f"registry '{source}': column '{source}' given for '{target}' is missing: {nearest(str(source), names)}"
            )
        column[target] = lower[str(source).strip().lower()]
        taken.add(column[target])
    for target, aliases in {**_ALIASES, **_POWER, **{s: (s,) for s in _SAME_NAME}}.items():
        if target not in column and (found := [lower[a] for a in aliases if a in lower and lower[a] not in taken]):
            column[target] = found[0]
    if given and "geometry" not in given and {"lon", "lat"} <= given.keys():
        column.pop("geometry", None)
    return column


def _kind(column: dict[str, str], lower: dict[str, str]) -> str:
    """Return what the rows of a table with these columns declare."""
    power = {"it_mw", "facility_mw"} & column.keys()
    if "training_flop" in column and not power:
        return "workload"
    if "counterparty" in column or "buyer" in lower or ("chips" in column and not power and "chip" in column):
        return "chips"
    return "power" if set(_POWER) & column.keys() and not power else "facility"


def _has_placeless_rows(frame: pd.DataFrame, column: dict[str, str]) -> bool:
    return "kind" in column and bool({str(k).strip().lower() for k in frame[column["kind"]].unique()} & PLACELESS_KINDS)


def _facility_mw(out: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return the frame with facility power for rows that state none, from grid connection, else from generators.

    A grid connection is used as it is, although it is an upper limit. Generators: n x 2.5 MW, or their nameplate, times
    0.7 for spares and derating, ln-sd 0.35 (docs/methods.md, section 4.3).
    """
    have = [c for c in _POWER if c in out]
    if not have:
        return out
    check = RowValidator(source, out["row"].to_numpy(), out["fault"].to_numpy() if "fault" in out else None)
    factor = {"grid_mw": 1.0, "generator_mw": _GENERATOR_SHARE, "generators": _GENERATOR_MW * _GENERATOR_SHARE}
    mw = pd.Series(np.nan, out.index)
    for name in have:
        mw = mw.fillna(pd.Series(check.numbers(out[name].to_numpy(), name) * factor[name], out.index))
    if "facility_mw" in out or "it_mw" in out:
        blank = np.ones(len(out), bool)
        for name in {"facility_mw", "it_mw"} & set(out):
            blank &= np.array([t is None for t in texts(out[name])])
        stated = out["facility_mw"].astype(object) if "facility_mw" in out else pd.Series(None, out.index, object)
        out["facility_mw"] = stated.where(~(blank & mw.notna()), mw)
    else:
        out["facility_mw"] = mw
    out["fault"] = check.reason
    return out.drop(columns=have)
