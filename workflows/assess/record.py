"""What `overwatt record` does: findings on returned lists become rows of the run's append-only dispositions table.

In: a run folder, and lists of `overwatt export` as filled in. Out: the table with further rows; earlier rows stay as
they are. A fault in any row of any file means that nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.declared.parsing import as_text, decimal_mark
from overwatt.pipeline.inspection.candidates import CELL, cell_strata
from overwatt.workflows.io import dispositions, run_folder
from overwatt.workflows.io.filled_lists import TO_FILL, read_filled

COLUMNS = {
    "disposition_id": "string", "entry_id": "string", "entry_class": "string", "site_id": "string",
    "declared_id": "string", "time": "string", "finding": "string", "measured_mw": "float64", "chips": "Int64",
    "inspector": "string", "note": "string", "source": "string",
}  # fmt: skip
"""Columns of the table and their types; its geometry is the outline that an inspector drew or corrected."""
_AREAS = ("Polygon", "MultiPolygon")
SAME_DEGREES = 1e-6
"""Outlines that differ less are the same, some 0.1 m: files store coordinates in 7 digits; own choice."""


@dataclass
class _Read:
    """Findings in the order of the files, number of rows not filled in, notes, faults."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    blank: int = 0
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def run(
    path: Path, files: Sequence[Path], *, inspector: str | None = None, time: str | None = None
) -> dict[str, Any]:  # fmt: skip
    """Append the findings of returned lists to the dispositions of a run.

    Args:
        path: run folder, or its ledger.parquet.
        files: returned lists.
        inspector: name for rows that give none.
        time: ISO 8601, for rows that give none.

    Returns:
        `file` (the table), `recorded`, `already_there`, `blank` (rows without anything filled in), `findings` (number
        of each recorded), `notes`.

    Raises:
        ConfigError: there is no ledger, or another command writes into the folder.
        RegistryError: a file is unreadable, or a row cannot be recorded; then nothing is written.
    """
    folder = path if path.is_dir() else path.parent
    places = _places(folder / "ledger.parquet" if path.is_dir() else path)
    options = {"inspector": as_text(inspector), "time": dispositions.time_of(time, "--time")}
    read = _Read()
    for file in files:
        _read_list(file, places, options, read)
    if read.faults:
        more = f" (and {len(read.faults) - 1} more rows with faults)" if len(read.faults) > 1 else ""
        raise RegistryError(f"{read.faults[0]}{more}; nothing was recorded")
    with run_folder.locked(folder):
        table = folder / dispositions.RECORDED
        known = dispositions.read_own(folder)
        new = _new(read.findings, set() if known is None else set(known["disposition_id"]))
        if new:
            run_folder.write_parquet(folder, table.stem, _appended(table, new))
    return {
        "file": str(table), "recorded": len(new), "already_there": len(read.findings) - len(new), "blank": read.blank,
        "findings": {k: n for k in dispositions.FINDINGS if (n := Counter(r["finding"] for r in new)[k])},
        "notes": read.notes,
    }  # fmt: skip


def _places(ledger_file: Path) -> gpd.GeoDataFrame:
    """Return entry_class, site_id, declared_id, geometry of all entries and cells, by entry_id."""
    ledger = run_folder.read_table(ledger_file, "ledger").rename(columns={"class": "entry_class"})
    columns = ["entry_id", "entry_class", "site_id", "declared_id", "geometry"]
    parts = [ledger[columns]]
    if (file := ledger_file.with_name("looked_at.parquet")).is_file():
        cells = run_folder.read_table(file, "looked_at")
        parts.append(
            gpd.GeoDataFrame({
                "entry_id": CELL + cells["cell"], "entry_class": cell_strata(cells), "geometry": cells.geometry,
            }, crs=WGS84)
        )  # fmt: skip
    return (
        gpd.GeoDataFrame(pd.concat(parts, ignore_index=True), crs=WGS84)
        .drop_duplicates("entry_id")
        .set_index("entry_id")
    )


def _read_list(file: Path, places: gpd.GeoDataFrame, options: dict[str, Any], read: _Read) -> None:
    """Add the findings of a file to `read`."""
    frame = read_filled(file)
    filled = ~frame[list(TO_FILL)].map(lambda v: as_text(v) is None).all(axis=1)
    judged = set(frame["entry_id"][filled])
    read.blank += len(set(frame["entry_id"].dropna()) - judged)
    # a decimal comma shows in the coordinates even where a power does not tell
    mark = decimal_mark(v for k in ("lon", "lat", "measured_mw") for v in frame[k] if isinstance(v, str))
    outlines = _outlines(frame, places, read.faults)
    if unused := len(outlines.keys() - judged):
        read.notes.append(f"{file.name}: without a finding, so not recorded: {unused} changed outlines")
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in frame[filled].to_dict("records"):
        try:
            one = _finding(row, places, options, mark)
        except RegistryError as error:
            read.faults.append(str(error))
            continue
        first = found.setdefault((one["entry_id"], one["time"], one["inspector"]), one)
        if any(first[k] != one[k] for k in TO_FILL):
            read.faults.append(f"{one['where']}: filled in otherwise than in {first['where']}; keep one of them")
    read.findings += [{**one, "source": file.name, "geometry": outlines.get(one["entry_id"])} for one in found.values()]


def _finding(
    row: dict[Any, Any], places: gpd.GeoDataFrame, options: dict[str, Any], mark: str | None
) -> dict[str, Any]:
    where, entry = str(row["where"]), row["entry_id"]
    if entry is None:
        raise RegistryError(f"{where}: filled in, but without entry_id; copy it from the list")
    if entry not in places.index:
        raise RegistryError(
            f"{where}: entry_id '{entry[:60]}' is not in the ledger or its cells; is it of another run?"
        )
    where += f", {entry}"
    if as_text(row["finding"]) is None:
        filled = next(k for k in TO_FILL if as_text(row[k]) is not None)
        raise RegistryError(
            f"{where}: '{filled}' is filled in, but finding is empty; give one of {', '.join(dispositions.FINDINGS)}"
        )
    inspector = as_text(row["inspector"]) or options["inspector"]
    time = dispositions.time_of(row["time"], where) or options["time"]
    if inspector is None or time is None:
        lacks, option = ("inspector", "--inspector NAME") if inspector is None else ("time", "--time 2026-05-04")
        raise RegistryError(f"{where}: finding '{row['finding']}' has no {lacks}; fill it in, or give {option}")
    place = places.loc[entry]
    return {
        "where": where, "entry_id": entry,
        **{k: None if pd.isna(place[k]) else str(place[k]) for k in ("entry_class", "site_id", "declared_id")},
        "time": time.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "finding": dispositions.finding_of(row["finding"], where),
        "measured_mw": dispositions.power_of(row["measured_mw"], where, mark),
        "chips": dispositions.chips_of(row["chips"], where, mark),
        "inspector": inspector, "note": as_text(row["note"]),
    }  # fmt: skip


def _outlines(frame: pd.DataFrame, places: gpd.GeoDataFrame, faults: list[str]) -> dict[str, shapely.Geometry]:
    """Return, by entry, the outlines that differ from the listed ones."""
    out: dict[str, shapely.Geometry] = {}
    for row in frame[frame["geometry"].notna() & frame["entry_id"].isin(places.index)].to_dict("records"):
        entry, shape = row["entry_id"], row["geometry"]
        if shape.geom_type not in _AREAS or _same(shape, places.geometry[entry]):
            continue
        try:
            valid = dispositions.outline_of(shape, row["where"])
            if valid is not None and not _same(valid, out.setdefault(entry, valid)):
                raise RegistryError(f"{row['where']}: entry '{entry}' has two changed outlines; keep one of them")
        except RegistryError as error:
            faults.append(str(error))
    return out


def _same(one: shapely.Geometry, other: shapely.Geometry | None) -> bool:
    if other is None or other.is_empty or other.geom_type not in _AREAS:
        return False
    return bool(shapely.hausdorff_distance(one, other) <= SAME_DEGREES)


def _new(findings: list[dict[str, Any]], ids: set[str]) -> list[dict[str, Any]]:
    """Return the findings that are not in the table, with their ids; a list without outlines repeats one with them."""
    contents = {i.partition("+")[0] for i in ids}
    out = []
    for one in findings:
        content = f"D-{run_folder.key(one['entry_id'], *(one[k] for k in TO_FILL))[:12]}"
        shape = one["geometry"]
        drawn = "" if shape is None else shapely.to_wkt(shapely.normalize(shape), rounding_precision=6)
        own = f"{content}+{run_folder.key(drawn)[:6]}" if drawn else content
        if own not in ids and (drawn or content not in contents):
            out.append({**one, "disposition_id": own})
        ids.add(own)
        contents.add(content)
    return out


def _appended(table: Path, new: list[dict[str, Any]]) -> gpd.GeoDataFrame:
    """Return the table with further rows."""
    rows = pd.DataFrame(new)[[*COLUMNS, "geometry"]].astype(COLUMNS)
    frame = gpd.GeoDataFrame(rows, geometry=gpd.GeoSeries(list(rows["geometry"]), crs=WGS84), crs=WGS84)
    if not table.is_file():
        return frame
    old = dispositions.stored(table)
    if missing := [c for c in COLUMNS if c not in old]:
        raise RegistryError(
            f"{table}: no column '{missing[0]}', so `overwatt record` did not write it; store it as dispositions.gpkg, "
            "which is read as well"
        )
    return gpd.GeoDataFrame(pd.concat([old, frame], ignore_index=True), crs=WGS84)
