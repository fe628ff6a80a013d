"""Tables of any origin: column names are translated by aliases or a column map, and the kind of declaration is found.

In: CSV, GeoJSON, GeoPackage, Parquet or a JSON list of objects. Out: a frame with the column names of table `declared`
(and lon, lat) and unchanged cells. A table declares workloads if it states training FLOP and no power; chips if it
names a seller or buyer, or counts chips without stating power; power if it states only generators or a grid connection;
else facilities. A column `kind` overrides this row by row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pandas as pd

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.models.capacity.counted_units import unit_power
from overwatt.models.reference import facts
from overwatt.pipeline.declared.coordinates import degrees
from overwatt.pipeline.declared.parsing import texts
from overwatt.pipeline.declared.received import FAULT, Received
from overwatt.pipeline.declared.status import status_of
from overwatt.pipeline.declared.validation import RowValidator
from overwatt.pipeline.vocabulary import PLACELESS_KINDS, UNKNOWN_STATUS

_ALIASES = {
    "lon": ("lon", "longitude", "long", "lng", "x", "lon_deg", "faclong"),
    "lat": ("lat", "latitude", "y", "lat_deg", "faclat"),
    "geometry": ("geometry", "wkt", "geom", "the_geom"),
    "declared_id": ("declared_id", "id", "facility_id", "registry_id", "uid", "transfer_id", "run_id"),
    "name": ("name", "facility", "facility_name", "facility name", "site", "site_name", "site name", "project_name",
             "project name"),
    "operator": ("operator", "owner", "buyer", "purchaser", "importer", "consignee", "customer", "organization",
                 "organisation"),
    "counterparty": ("counterparty", "seller", "supplier", "vendor", "exporter"),
    "chip": ("chip", "chip_type", "chip type", "accelerator", "gpu", "training hardware", "hardware"),
    "chips": ("chips", "quantity", "qty", "chip_quantity", "number_of_chips", "hardware quantity"),
    "training_flop": ("training_flop", "flop", "training_compute", "training compute (flop)", "training compute"),
    "status": ("status", "project_status", "project status", "facility_status", "facility status", "current_status",
               "current status", "operational_status", "operational status"),
    "zone": ("zone", "grid_zone", "destination", "destination_country", "state", "country"),
}  # fmt: skip
_DATED = ("date", "delivery_date", "transfer_date", "shipped", "start_date", "publication_date", "publication date")
_MODEL = ("model", "model_name")
_SAME_NAME = ("kind", "it_mw", "facility_mw", "footprint_m2", "position_error_m", "valid_from", "valid_to",
              "source", "licence", "reliability", "also")  # fmt: skip
_RANGE = {
    f"{kind}_{end}": tuple(name for word in words for name in (f"{kind}_{word}", f"{word}_{kind}"))
    for kind in ("it_mw", "facility_mw")
    for end, words in (("low", ("low", "min", "lower", "minimum")), ("high", ("high", "max", "upper", "maximum")))
}
"""Ends of a range of power: it_mw_min, min_it_mw, ..."""
_POWER = {
    "grid_mw": ("grid_mw", "grid_connection_mw", "connection_mw", "permit_mw", "permitted_mw"),
    "generator_mw": ("generator_mw", "generators_mw", "generator_capacity_mw", "backup_mw"),
    "generators": ("generators", "generator_count", "n_generators"),
}
_NUMBERED = re.compile(r" \(#\d+\)$")  # the reader of KML tells folders of one name apart so
_BARE_POWER = tuple(
    name + end
    for end in ("", "_min", "_max", "_low", "_high")
    for name in ("mw", "power", "power_mw", "capacity_mw", "capacity")
)
_ONE_QUANTITY = ("lon", "lat", "grid_mw", "generator_mw", "generators", "chips", "training_flop")
"""Targets whose aliases all name the same quantity: two of them must not state different values."""
_PROJECTED = frozenset({"easting", "northing", "eastings", "northings", "utm_x", "utm_y", "x_utm", "y_utm", "utm_e",
                        "utm_n", "utm_easting", "utm_northing", "x_coord", "y_coord", "xcoord", "ycoord"})  # fmt: skip
TARGETS = (*_ALIASES, *_SAME_NAME, *_RANGE, *_POWER, "area_m2")
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
    lower = _by_name(given.name, frame)
    names = [n for n in lower if not n.startswith("\0")]
    column = _column_of(given.name, frame, lower, columns or {}, names)
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
    stated = {"it_mw", "facility_mw", *_RANGE, *_POWER} & column.keys()
    if not keep_all and not stated and (bare := [lower[b] for b in _BARE_POWER if b in lower]):
        raise RegistryError(
            f"registry '{given.name}', column '{bare[0]}': unclear whether IT or facility power; "
            "rename it to it_mw or facility_mw"
        )
    placed = "geometry" in column or {"lon", "lat"} <= column.keys()
    if not placed and (keep_all or not (kind in PLACELESS_KINDS or _has_placeless_rows(frame, column))):
        if len(_PROJECTED & set(names)) > 1:
            raise RegistryError(
                f"registry '{given.name}': columns {', '.join(sorted(_PROJECTED & set(names)))} are projected; give "
                "columns lon and lat in degrees, or a file that states its CRS (GeoPackage)"
            )
        raise RegistryError(
            f"registry '{given.name}' has no coordinates: it needs columns lon and lat, or geometry; "
            f"its columns are {', '.join(names) or 'none'}"
        )
    out = pd.DataFrame(index=frame.index)
    if keep_all:
        out = pd.DataFrame({n: frame[lower[n]] for n in names}, index=frame.index)
    for name, source in column.items():
        out[name] = frame[source]
    for axis in {"lon", "lat"} & column.keys():
        out[axis] = degrees(out[axis], axis)
    if "declared_id" in out:
        out["declared_id"] = _whole_ids(out["declared_id"])
    layer = texts(frame[lower["layer"]]) if "layer" in lower and not keep_all else np.zeros(0)
    if len(set(layer.tolist())) > 1:
        if "status" not in column:
            # folders and layers are often named by status; other names say nothing about it
            named = [_NUMBERED.sub("", str(v or "")) for v in layer.tolist()]
            out["status"] = [v if status_of(v) != UNKNOWN_STATUS else None for v in named]
        if "declared_id" in out:
            out["declared_id"] = _ids_by_layer(texts(out["declared_id"]), layer)
    out["row"] = np.arange(1, len(frame) + 1)
    if FAULT in frame:
        out["fault"] = frame[FAULT]
    if not keep_all:
        out = _facility_mw(out, given.name)
        own_kind = texts(out["kind"]) if "kind" in out else np.full(len(out), None, object)
        out["kind"] = [k or kind for k in own_kind]
    return out


def _by_name(name: str, frame: pd.DataFrame) -> dict[str, str]:
    """Return {column name in lower case: column}.

    Raises:
        RegistryError: two names differ by case or blanks only.
    """
    lower, plain = dict[str, str](), dict[str, str]()
    for column in map(str, frame.columns):
        if (twin := plain.setdefault("".join(column.casefold().split()), column)) != column:
            raise RegistryError(
                f"registry '{name}': columns '{twin}' and '{column}' differ by case or blanks only; rename or remove "
                "one"
            )
        lower[column.strip().lower()] = column
    return lower


def _column_of(
    name: str, frame: pd.DataFrame, lower: dict[str, str], given: Mapping[str, str], names: list[str]
) -> dict[str, str]:
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
                f"registry '{name}': column '{source}' given for '{target}' is missing: {nearest(str(source), names)}"
            )
        column[target] = lower[str(source).strip().lower()]
        taken.add(column[target])
    for target, aliases in {**_ALIASES, **_POWER, **_RANGE, **{s: (s,) for s in _SAME_NAME}}.items():
        if target not in column and (found := [lower[a] for a in aliases if a in lower and lower[a] not in taken]):
            column[target] = found[0]
            for other in found[1:] if target in _ONE_QUANTITY else []:
                _same(name, frame, target, found[0], other)
    if given and "geometry" not in given and {"lon", "lat"} <= given.keys():
        column.pop("geometry", None)
    return column


def _same(name: str, frame: pd.DataFrame, target: str, one: str, other: str) -> None:
    """Raise RegistryError if two columns of one meaning state different numbers in a row."""
    if target in ("lon", "lat") and {one.lower(), other.lower()} & {"x", "y"}:
        return  # often projected coordinates beside lon and lat
    both = [pd.to_numeric(pd.Series(texts(frame[c])), errors="coerce").to_numpy(float) for c in (one, other)]
    if len(rows := np.flatnonzero(np.abs(both[0] - both[1]) > 1e-6 * np.maximum(1.0, np.abs(both[0])))):
        raise RegistryError(
            f"registry '{name}', row {rows[0] + 1}: columns '{one}' and '{other}' both give {target} and differ "
            f"({both[0][rows[0]]:g}, {both[1][rows[0]]:g}); choose one with the column map, {target}={one}"
        )


def _whole_ids(ids: pd.Series) -> pd.Series:
    """Return ids as they are; where all are numbers such as 123.0, a table made of floats, without the decimal."""
    cells = texts(ids)
    stated = [c for c in cells.tolist() if c]
    floats = bool(stated) and all(c.endswith(".0") and c[:-2].isdigit() for c in stated)
    return pd.Series([c and c[:-2] for c in cells.tolist()], ids.index, dtype=object) if floats else ids


def _ids_by_layer(ids: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Return ids, those that several layers use as 'layer/id': each layer counts its rows anew."""
    layers_of = pd.Series(layer).groupby(ids).nunique()
    again = set(layers_of.index[layers_of > 1])
    return np.array(
        [f"{a}/{i}" if i in again else i for i, a in zip(ids.tolist(), layer.tolist(), strict=True)], object
    )


def _kind(column: dict[str, str], lower: dict[str, str]) -> str:
    """Return what the rows of a table with these columns declare."""
    power = {"it_mw", "facility_mw", *_RANGE} & column.keys()
    if "training_flop" in column and not power:
        return "workload"
    if "counterparty" in column or "buyer" in lower or ("chips" in column and not power and "chip" in column):
        return "chips"
    return "power" if set(_POWER) & column.keys() and not power else "facility"


def _has_placeless_rows(frame: pd.DataFrame, column: dict[str, str]) -> bool:
    return "kind" in column and bool({str(k).strip().lower() for k in frame[column["kind"]].unique()} & PLACELESS_KINDS)


def _facility_mw(out: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return the frame with facility power for rows that state none, from grid connection, else from generators.

    A grid connection is used as it is, although it is an upper limit. Generators: their nameplate times the share of it
    that is facility load, else their number times the facility load of one, as for observed ones (docs/methods.md,
    section 4.3).
    """
    have = [c for c in _POWER if c in out]
    if not have:
        return out
    check = RowValidator(source, out["row"].to_numpy(), out["fault"].to_numpy() if "fault" in out else None)
    share, of_one = facts.ratio("generator_share").median, unit_power("generator").mw
    factor = {"grid_mw": 1.0, "generator_mw": share, "generators": of_one}
    mw = np.full((3, len(out)), np.nan)  # power and the ends of its range
    for name in have:
        own = np.stack(check.powers(out[name].to_numpy(), name)) * factor[name]
        mw = np.where(np.isnan(mw[0]), own, mw)
    named = [c for c in ("facility_mw", "it_mw", *_RANGE) if c in out]
    blank = np.array([[t is None for t in texts(out[c])] for c in named]).all(axis=0) if named else True
    for name, values in zip(("facility_mw", "facility_mw_low", "facility_mw_high"), mw, strict=True):
        stated = out[name].astype(object) if name in out else pd.Series(None, out.index, object)
        out[name] = stated.where(~(blank & ~np.isnan(mw[0])), values)
    out["fault"] = check.reason
    return out.drop(columns=have)
