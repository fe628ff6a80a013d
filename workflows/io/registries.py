"""Registry files: detect the layout, open the file, convert its rows to the table `declared`.

In: one or several files. Out: one table `declared`, with duplicates across sources merged, and the rejected rows with
their reasons. Read `read_all` first; `overwatt.pipeline.declared.registry.normalize_registry` interprets the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import pandas as pd

from overwatt.aoi.completeness import part_of
from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.declared import deduplication, registry
from overwatt.pipeline.declared.facility_formats import EPOCH_FILES
from overwatt.pipeline.declared.received import FAULT, Received
from overwatt.pipeline.reconcile import observed_sites
from overwatt.pipeline.vocabulary import UNKNOWN_STATUS
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.delimited import header_of, read_csv
from overwatt.workflows.io.tabular import (
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    is_vector,
    read_json,
    read_vector,
    refuse_markup,
    table_of,
)

KEPT = ("table", "row", "id", "reason")
"""Columns of the table of rejected rows."""
MAX_BYTES = 500 * 2**20
"""Larger files are refused: the largest open registry has under 2 MB, so a larger file is the wrong one."""

_JSON_ANSWERS = frozenset({"osm", "epa", "peeringdb", "cloud_regions"})  # answers of web services, not tables
_EPOCH = frozenset({"epoch", "gpu_clusters", "chip_quantities"})  # Epoch's other tables may lie in the same folder
_HEADERS = {
    "coord_precision": "epoch",
    "Current H100 equivalents": "epoch",
    "First Operational Date": "gpu_clusters",
    "Number of Units source": "chip_quantities",
    "Training compute (FLOP)": "workloads",
    "@lat": "osm",  # Overpass, [out:csv]
}
"""Layout of a CSV by a column that no other layout has."""
_OSM_ID = re.compile(r'"@?id"\s*:\s*"(node|way|relation)/\d')  # overpass-turbo and osmtogeojson
_HEAD_BYTES = 65_536  # read from a file to detect its layout


def read_all(
    path: Path,
    also: Sequence[Path] = (),
    *,
    format: str = "auto",
    position_error_m: float | None = None,
    columns: Mapping[str, str] | None = None,
    layer: str | None = None,
    partial: bool = False,
    notes: list[str] | None = None,
) -> tuple[gpd.GeoDataFrame, pd.DataFrame]:
    """Return the table `declared` of all files, with duplicates across sources merged, and the rejected rows.

    Args:
        path: the registry.
        also: further registries; their layout is detected from their content.
        format: layout of the first file.
        position_error_m: 1-sigma position error of rows that do not state one, metres.
        columns: {our name: column of the first file}, if it is a generic table.
        layer: the only layer or folder of the first file to read.
        partial: read registries that say that they are not whole; without it they are refused.
        notes: list that receives what a reader of the result must know: registries that are not whole, layers that
            were not read, words of statuses that are not known.

    Returns:
        Table `declared`; rejected rows with columns `KEPT`.

    Raises:
        RegistryError: a file cannot be read, is not whole or has no usable row.
    """
    found, kept = [], []
    notes = [] if notes is None else notes
    for k, file in enumerate((path, *also)):
        aside: list[tuple[int, str, str]] = []
        own = (format, columns, layer) if k == 0 else ("auto", None, None)
        found.append(read(file, own[0], position_error_m, aside, own[1], layer=own[2], partial=partial, notes=notes))
        kept.append(pd.DataFrame(aside, columns=["row", "id", "reason"]).assign(table=file.name))
    table = deduplication.merge_registries(found) if len(found) > 1 else found[0]
    if words := unknown_statuses(table):
        listed = ", ".join(f"'{word}' ({n})" for word, n in list(words.items())[:10])
        notes.append(f"{sum(words.values())} declarations have a status whose word is not known: {listed}")
    return table, pd.concat(kept, ignore_index=True)[list(KEPT)]


def unknown_statuses(declared: gpd.GeoDataFrame) -> dict[str, int]:
    """Return how often each word stands for a status that is not known, most frequent first."""
    words = declared.loc[declared["status"] == UNKNOWN_STATUS, "status_stated"].fillna("")
    return {str(word)[:60]: int(n) for word, n in words.value_counts(sort=True).items()}


def read(
    path: str | Path,
    format: str = "auto",
    default_position_error_m: float | None = None,
    aside: list[tuple[int, str, str]] | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    layer: str | None = None,
    partial: bool = False,
    notes: list[str] | None = None,
) -> gpd.GeoDataFrame:
    """Return one registry as the table `declared`.

    Args:
        path: the file; for `epoch` one of the two CSV files, with the other in the same folder.
        format: a layout, or `auto`.
        default_position_error_m: 1-sigma position error of rows that do not state one, metres.
        aside: list that receives the rejected rows: row, id, reason.
        columns: {our name: column of the file}.
        layer: the only layer or folder to read.
        partial: read a registry that says that it is not whole.
        notes: list that receives what was not read.

    Raises:
        RegistryError: the file is unreadable, empty, too large or not whole, or `normalize_registry` refuses it.
    """
    file = Path(path)
    layout = "generic" if columns and format == "auto" else format
    registry.check_request("generic" if layout == "auto" else layout, default_position_error_m, columns)
    _check_size(file)
    if layout == "auto":
        layout = guess(file)
    given = _whole(open_registry(file, layout, layer), partial)
    if notes is not None:
        notes.extend(given.notes)
    return registry.normalize_registry(given, layout, default_position_error_m, aside, columns, notes)


def read_observed(path: Path, *, partial: bool = False) -> tuple[gpd.GeoDataFrame, pd.DataFrame, pd.DataFrame]:
    """Read a table of observed sites; returns what `overwatt.pipeline.reconcile.observed_sites.normalize` returns.

    Raises:
        RegistryError: the file cannot be read, is not whole, or has no coordinates or no usable row.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: no such file; `overwatt run` writes sites.parquet")
    return observed_sites.normalize(_whole(open_registry(path), partial))


def _whole(given: Received, partial: bool) -> Received:
    """Return a registry; if it is not whole, with a note about that.

    Raises:
        RegistryError: it is not whole and `partial` is false.
    """
    if not given.part:
        return given
    if not partial:
        raise RegistryError(
            f"registry '{given.name}' is not whole: {given.part}; or read the part with --partial, in a workflow "
            "declared.partial: true"
        )
    what = given.part.partition(";")[0]
    note = f"the registry '{given.name}' is not whole: {what}; what is called undeclared may be declared in the rest"
    return replace(given, notes=(note, *given.notes))


def open_registry(file: Path, layout: str = "generic", layer: str | None = None) -> Received:
    """Open a file with the reader of its layout: JSON, CSV or vector file.

    Raises:
        RegistryError: the file cannot be read.
    """
    _check_size(file)
    suffix = file.suffix.lower()
    refuse_markup(file)
    if layout in _JSON_ANSWERS and suffix not in TABLE_SUFFIXES:
        content = read_json(file)
        return Received(file.name, content=content, part=part_of(content))
    if suffix in TABLE_SUFFIXES or layout in _EPOCH or layout == "workloads":
        frame = read_csv(file)
        beside = {other.name: read_csv(other) for other in _other_epoch_files(file, layout)}
        cut = {name: t for name, t in {file.name: frame, **beside}.items() if t.attrs["cut_off"]}
        part = "; ".join(f"'{name}' ends within row {len(table):,}; download it again" for name, table in cut.items())
        said = {name: str(t.attrs["encoding"]) for name, t in {file.name: frame, **beside}.items()}
        lost = {name: int(t[FAULT].notna().sum()) for name, t in beside.items() if layout != "epoch"}  # told by site
        notes = [f"registry '{name}': {text}" for name, text in said.items() if text]
        notes += [
            f"registry '{file.name}': {n} rows of '{name}' cannot be read, not used" for name, n in lost.items() if n
        ]
        return Received(file.name, frame=frame, beside=beside, part=part, notes=tuple(notes))
    if not is_vector(file):
        content = read_json(file)
        return Received(file.name, frame=table_of(file, content), part=part_of(content))
    frame = read_vector(file, layer)
    missed = tuple(f"registry '{file.name}': {what}, not read" for what in frame.attrs.get("not_read", ()))
    return Received(file.name, frame=frame, part=frame.attrs.get("cut_short", ""), notes=missed)


def _other_epoch_files(file: Path, layout: str) -> list[Path]:
    """Return Epoch's files in the same folder that belong to a file: coordinates, and for its sites their power."""
    wanted = {"epoch": tuple(EPOCH_FILES.values())}.get(layout, (EPOCH_FILES["where"],)) if layout in _EPOCH else ()
    return [other for name in wanted if name != file.name and (other := file.with_name(name)).is_file()]


def _check_size(file: Path) -> None:
    if not file.is_file():
        what = "a folder; give one file in it" if file.is_dir() else "no such file; check declared.path"
        raise RegistryError(f"registry '{file}': {what}")
    if (size := file.stat().st_size) > MAX_BYTES:
        raise RegistryError(
            f"registry '{file.name}' has {size / 2**20:.0f} MB, the limit is {MAX_BYTES // 2**20} MB; "
            "reduce it to the area"
        )


def guess(file: Path) -> str:
    """Detect the layout of a file from its first 64 KiB; `generic` if no other layout fits."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES).decode("utf-8", errors="replace")
    suffix = file.suffix.lower()
    if suffix in TABLE_SUFFIXES:
        names = {c.casefold() for c in header_of(file)} if head.strip() else set()
        return next((format for name, format in _HEADERS.items() if name.casefold() in names), "generic")
    if suffix in JSON_SUFFIXES:
        if '"sqft"' in head and '"state_abb"' in head:
            return "im3"
        if '"FeatureCollection"' in head:
            return "osm" if _OSM_ID.search(head) else "generic"
        if '"elements"' in head or "Overpass" in head:
            return "osm"
        if '"RegistryID"' in head:
            return "epa"
        if '"org_name"' in head and '"latitude"' in head:
            return "peeringdb"
        if '"regions"' in head and '"provider"' in head:
            return "cloud_regions"
    return "generic"


def write_kept(folder: Path, kept: pd.DataFrame) -> Path:
    """Write the rejected rows to kept_aside.csv, also when there are none, and return its path."""
    path = folder / "kept_aside.csv"
    with run_folder.written(path) as part:
        run_folder.defuse(kept[list(KEPT)]).to_csv(part, index=False)
    return path
