"""Registries of declared facilities, power, chips and workloads, from any of several layouts to table `declared`.

In: `Received`. Out: table `declared`, and the rejected rows with their reasons.

Layouts: `generic` (any table with an outline or lon/lat columns, under usual names or a column map; `generic`), `osm`
(`osm`), `im3`, `epa`, `epoch`, `peeringdb`, `cloud_regions` (`facility_formats`), `gpu_clusters`, `chip_quantities` and
`workloads` (`chip_formats`). Each reader turns its layout into a frame with the column names of the table; one function
then validates all layouts the same way. Without `rejected` the first fault is an error with file, row and column,
because a registry read in part makes declared facilities appear undeclared. With `rejected`, rows that cannot be used
are added to that list with their reason.

Position errors are one sigma, by kind of source (docs/methods.md, section 6.1). A match depends on them more than on
anything else, so they are stated per row and are never zero. Outlines are kept. `valid_from` and `valid_to` give the
period of the declared status, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from shapely.geometry.base import BaseGeometry

from overwatt.aoi.errors import RegistryError, nearest
from overwatt.aoi.geodesy import DEGREE_EQUATOR_M, WGS84, centres, local_frame, outline_m2
from overwatt.pipeline.declared import chip_formats, facility_formats, generic, osm
from overwatt.pipeline.declared.parsing import CAMPUS_ERROR_SHARE, as_text, decimals, texts
from overwatt.pipeline.declared.parsing import stated as stated_cells
from overwatt.pipeline.declared.received import Received
from overwatt.pipeline.declared.status import status_of
from overwatt.pipeline.declared.validation import RowValidator
from overwatt.pipeline.tables import conform
from overwatt.pipeline.vocabulary import PLACELESS_KINDS, POSITION_ERROR_M

LAYOUTS: dict[str, Callable[[Received], pd.DataFrame]] = {
    "generic": generic.table,
    "im3": facility_formats.im3,
    "osm": osm.osm,
    "epa": facility_formats.epa,
    "epoch": facility_formats.epoch,
    "peeringdb": facility_formats.peeringdb,
    "cloud_regions": facility_formats.cloud_regions,
    "gpu_clusters": chip_formats.gpu_clusters,
    "chip_quantities": chip_formats.chip_quantities,
    "workloads": chip_formats.notable_models,
}
MAX_MW = 100_000
"""Largest power of one facility that is believed, MW; own choice: kW and W given as MW exceed it."""
_POWERS = ("it_mw", "facility_mw")
_NUMBERS = (
    "area_m2",
    "footprint_m2",
    "position_error_m",
    "chips",
    "training_flop",
    "reliability",
)


def normalize_registry(
    given: Received,
    layout: str,
    default_position_error_m: float | None = None,
    rejected: list[tuple[int, str, str]] | None = None,
    columns: Mapping[str, str] | None = None,
    notes: list[str] | None = None,
) -> gpd.GeoDataFrame:
    """Return a received registry as the table `declared`.

    Args:
        given: the registry, opened.
        layout: one of `LAYOUTS`.
        default_position_error_m: 1-sigma position error of rows that state none, m; without it the error follows from
            the source, the geometry and, for points, the digits of the coordinates.
        rejected: list to which rows that cannot be used are added as (row, id, reason); without it the first such row
            raises an error.
        columns: column map {name in Overwatt: column of the file} for the layout `generic`, any case.
        notes: list to which the reader of the layout adds what its rows do not show.

    Chips and workloads without a place get an empty point and an error of 25 km; they count in balances only.

    Raises:
        RegistryError: unknown layout; no rows; no usable row; missing coordinates or coordinates out of range; repeated
            id; non-numeric or negative value; invalid date.
    """
    check_request(layout, default_position_error_m, columns)
    frame = generic.table(given, columns) if layout == "generic" else LAYOUTS[layout](given)
    if not len(frame):
        raise RegistryError(f"registry '{given.name}' has no rows: nothing is declared in it")
    if notes is not None:
        notes.extend(frame.attrs.get("notes", ()))
    return _table(frame, given.name, default_position_error_m, rejected)


def check_request(layout: str, default_position_error_m: float | None, columns: Mapping[str, str] | None) -> None:
    """Check the arguments of `normalize_registry` that do not depend on the registry, before a file is opened.

    Raises:
        RegistryError: unknown layout, position error that is not a positive length, or a column map for another layout
            than `generic`.
    """
    if layout not in LAYOUTS:
        raise RegistryError(f"declared.format '{layout}' is unknown: {nearest(layout, ['auto', *LAYOUTS])}")
    if default_position_error_m is not None and not 0 < default_position_error_m < math.inf:
        raise RegistryError(
            f"default_position_error_m = {default_position_error_m}: must be a positive length in metres"
        )
    if columns and layout != "generic":
        raise RegistryError(f"columns: a column map is for format generic, not '{layout}'; use only one of them")


def within(declared: gpd.GeoDataFrame, area: BaseGeometry, margin_m: float = 0.0) -> gpd.GeoDataFrame:
    """Return the declarations whose geometry lies within `margin_m` (m) of `area` (lon/lat), in the same order.

    Position errors do not widen the selection; the caller chooses a margin that covers them. Rows without a place
    (empty points) are never selected.
    """
    declared = declared[~declared.geometry.is_empty].reset_index(drop=True)
    geometry = declared.geometry.to_numpy()
    if not len(geometry):
        return declared
    middle = centres(geometry)
    areas = np.full(len(geometry), area, dtype=object)
    if len(shapely.get_coordinates(area)) * len(geometry) > 5_000_000:
        areas = shapely.simplify(areas, 1e-5)  # about 1 m: bounds memory for outlines of coastlines
    gap_m = shapely.distance(
        local_frame(geometry, middle[:, 0], middle[:, 1]), local_frame(areas, middle[:, 0], middle[:, 1])
    )
    return declared[(gap_m <= margin_m) | shapely.intersects(geometry, area)].reset_index(drop=True)


def _table(
    frame: pd.DataFrame, source: str, default_error_m: float | None, rejected: list[tuple[int, str, str]] | None = None
) -> gpd.GeoDataFrame:
    """Return the frame of a reader as table `declared`: validated, with defaults for what its rows do not state."""
    if "left_out" in frame:
        out = frame["left_out"].notna()
        if rejected is not None:
            for n, name, why in zip(*(frame.loc[out, c] for c in ("row", "declared_id", "left_out")), strict=True):
                rejected.append((int(n), as_text(name) or "", f"registry '{source}', row {n}: left out: {why}"))
        frame = frame[~out].reset_index(drop=True)
    n = len(frame)
    row = frame["row"].to_numpy(int)
    check = RowValidator(source, row, frame["fault"].to_numpy(object) if "fault" in frame else None)
    blank = np.full(n, None, dtype=object)

    def text(name: str) -> np.ndarray:
        return texts(frame[name]) if name in frame else blank

    kind = _cased(text("kind"), "facility")
    shape = check.places(frame, np.isin(kind, list(PLACELESS_KINDS)))
    given = text("declared_id")
    ids = np.where(given == blank, row.astype(str).astype(object), given)
    number = {c: check.numbers(frame[c].to_numpy(), c) if c in frame else np.full(n, np.nan) for c in _NUMBERS}
    for c in _POWERS:
        number[c], number[f"{c}_low"], number[f"{c}_high"] = check.power_range(frame, c)
    for k in np.flatnonzero(number["position_error_m"] == 0).tolist():
        check.note(k, f"registry '{source}', row {row[k]}, column 'position_error_m': 0 is not possible; "
                      "leave it empty if unknown")  # fmt: skip
    for c in _POWERS:
        for k in np.flatnonzero(np.fmax(number[c], number[f"{c}_high"]) > MAX_MW).tolist():
            check.note(k, f"registry '{source}', row {row[k]}, column '{c}': {number[c][k]:g} MW is more than any "
                          f"facility could have ({MAX_MW:,} MW); is it in kW or W?")  # fmt: skip
    for k in np.flatnonzero(number["reliability"] > 1).tolist():
        check.note(k, f"registry '{source}', row {row[k]}, column 'reliability': "
                      f"{number['reliability'][k]:g} is above 1; give a share between 0 and 1")  # fmt: skip
    date = {c: check.dates(frame[c].to_numpy(object), c) if c in frame else blank for c in ("valid_from", "valid_to")}
    for k in np.flatnonzero((date["valid_from"] != blank) & (date["valid_to"] != blank)).tolist():
        first, last = date["valid_from"][k], date["valid_to"][k]
        if last < first[: len(last)]:  # compared at the coarser of the two: 2026 is not before 2026-08
            check.note(k, f"registry '{source}', row {row[k]}: valid_to {last} lies before valid_from {first}")
    zone = text("zone")
    # the checks above look at one row, the next two compare rows, so they come last
    check.swapped(shape, zone)
    _repeated(check, ids)
    bad = np.flatnonzero(check.reason != blank)
    if len(bad) and rejected is None:
        raise RegistryError(check.reason[bad[0]])
    if rejected is not None:
        rejected.extend((int(row[k]), given[k] or "", str(check.reason[k])) for k in bad.tolist())
    if len(bad) == n:
        raise RegistryError(f"registry '{source}' has no usable row; the first: {check.reason[0] if n else 'left out'}")
    ok = check.reason == blank
    status_stated = stated_cells(text("status"))
    usual = frame["usual_error_m"].to_numpy(float) if "usual_error_m" in frame else np.full(n, np.nan)
    outline = ok & np.isin(shapely.get_type_id(shape), (3, 6))  # Polygon, MultiPolygon
    outline_area_m2 = np.zeros(n)
    outline_area_m2[outline] = [outline_m2(g) for g in shape[outline]]
    usual = np.where(np.isnan(usual), _usual_error_m(frame, shape, outline, outline_area_m2), usual)
    usual = np.where(shapely.is_empty(shape), POSITION_ERROR_M["vague"], usual)
    stated = number.pop("position_error_m")
    area = number.pop("area_m2")
    table = pd.DataFrame(
        {
            "declared_id": ids,
            "position_error_m": np.maximum(
                np.where(np.isnan(stated), default_error_m or usual, stated), check.spread_m
            ),
            **number,
            **date,
            **{c: text(c) for c in ("name", "operator", "licence", "chip", "counterparty", "also")},
            "kind": kind,
            "area_m2": np.where((area > 0) | ~outline, area, outline_area_m2),
            "status": [status_of(s) if s else None for s in status_stated],
            "status_stated": status_stated,
            "zone": zone,
            "source": _or(text("source"), as_text(source) or "registry"),
            "geometry": shape,
        }
    )
    return conform(gpd.GeoDataFrame(table[ok].reset_index(drop=True), geometry="geometry", crs=WGS84), "declared")


def _cased(words: np.ndarray, default: str | None) -> np.ndarray:
    """Return words in lower case, (n,) object; `default` where empty."""
    return np.array([w.lower() if w else default for w in words.tolist()] + [None], dtype=object)[:-1]


def _or(words: np.ndarray, default: str) -> np.ndarray:
    return np.array([w or default for w in words.tolist()] + [None], dtype=object)[:-1]


def _repeated(check: RowValidator, ids: np.ndarray) -> None:
    """Reject every row whose id an earlier usable row has."""
    usable = np.flatnonzero([r is None for r in check.reason])
    code, _ = pd.factorize(ids[usable])
    first = np.full(code.max() + 1 if len(code) else 0, -1)
    first[code[::-1]] = usable[::-1]
    for k in usable[first[code] != usable].tolist():
        earlier = check.row[first[code[np.searchsorted(usable, k)]]]
        check.note(k, f"registry '{check.source}', row {check.row[k]}: id '{ids[k][:60]}' is already used by "
                      f"row {earlier}; ids must be unique")  # fmt: skip


def _usual_error_m(frame: pd.DataFrame, shape: np.ndarray, outline: np.ndarray, area_m2: np.ndarray) -> np.ndarray:
    """Return the 1-sigma position error of rows that state none, (n,), m (docs/methods.md, section 6.1).

    Outline: a tenth of its side, at least a rooftop. Point: one unit of the last digit shown, at least a parcel, as
    many digits do not mean high accuracy.
    """
    digits = np.zeros(len(shape), int)
    points = np.flatnonzero((shapely.get_type_id(shape) == 0) & ~shapely.is_empty(shape))
    xy = shapely.get_coordinates(shape[points])
    for k, name in enumerate(("lon", "lat")):
        shown = texts(frame[name])[points].tolist() if name in frame else [None] * len(points)
        if "geometry" in frame:
            has_geometry = frame["geometry"].notna().to_numpy(bool)[points].tolist()
            shown = [None if g else t for g, t in zip(has_geometry, shown, strict=True)]
        written = [t or repr(v) for t, v in zip(shown, xy[:, k].tolist(), strict=True)]
        digits[points] = np.maximum(digits[points], [decimals(t) for t in written])
    point_m = np.maximum(
        POSITION_ERROR_M["parcel"],
        np.minimum(DEGREE_EQUATOR_M * 10.0 ** -digits.astype(float), POSITION_ERROR_M["vague"]),
    )
    return np.where(outline, np.maximum(POSITION_ERROR_M["rooftop"], CAMPUS_ERROR_SHARE * np.sqrt(area_m2)), point_m)
