"""What `overwatt record` does: findings on returned lists become rows of the run's append-only dispositions table.

In: a run folder, and lists of `overwatt export` as filled in. Out: the table with further rows; earlier rows stay as
they are. A fault in any row of any file means that nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from overwatt.aoi.errors import RegistryError
from overwatt.aoi.geodesy import WGS84
from overwatt.pipeline.declared.parsing import as_text, decimal_mark
from overwatt.pipeline.inspection.candidates import CELL, cell_strata
from overwatt.workflows.assess import outlines
from overwatt.workflows.assess.outlines import SAME_M, moved_m
from overwatt.workflows.io import dispositions, run_folder
from overwatt.workflows.io.filled_lists import TO_FILL, read_filled

COLUMNS = {
    "disposition_id": "string", "entry_id": "string", "entry_class": "string", "site_id": "string",
    "declared_id": "string", "time": "string", "finding": "string", "measured_mw": "float64", "chips": "Int64",
    "inspector": "string", "note": "string", "source": "string",
}  # fmt: skip
"""Columns of the table and their types; its geometry is the outline that an inspector drew or corrected."""
_JUDGED = ("finding", "measured_mw", "chips", "note")
"""Columns of which one makes a row filled in."""
MAX_TEXT = 32_767
"""Characters of a name or a note: those of a cell (Excel specifications and limits)."""
FAR_M = 1000.0
"""Distance of the listed point from the place beyond which a list is of another run; own choice."""
CELL_M = 10.0
"""The same for cells, whose names repeat in every run: coordinates rounded to 4 digits; own choice."""
_NAMED = 5  # entries named in a note


@dataclass
class _Read:
    """Findings by entry, time and inspector; outlines of files that judge other entries; counts, notes, faults."""

    findings: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    outlines: dict[str, tuple[shapely.Geometry, str]] = field(default_factory=dict)
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
        `file` (the table), `recorded`, `already_there`, `blank` (rows without a finding or a measurement), `findings`
        (number of each recorded), `outlines` (entries recorded with an outline of the inspector's), `notes`.

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
    _match_outlines(read)
    if read.faults:
        more = f" (and {len(read.faults) - 1} more rows with faults)" if len(read.faults) > 1 else ""
        raise RegistryError(f"{read.faults[0]}{more}; nothing was recorded")
    with run_folder.locked(folder):
        table = folder / dispositions.RECORDED
        known, old = dispositions.read_own(folder), _recorded(table)
        new = _new(list(read.findings.values()), set() if known is None else set(known["disposition_id"]), old)
        if new:
            run_folder.write_parquet(folder, table.stem, _appended(old, new))
    return {
        "file": str(table), "recorded": len(new), "already_there": len(read.findings) - len(new), "blank": read.blank,
        "findings": {k: n for k in dispositions.FINDINGS if (n := Counter(r["finding"] for r in new)[k])},
        "outlines": [r["entry_id"] for r in new if r["geometry"] is not None], "notes": read.notes,
    }  # fmt: skip


def _places(ledger_file: Path) -> gpd.GeoDataFrame:
    """Return entry_class, site_id, declared_id, geometry of all entries, listed or almost, and cells, by entry_id."""
    ledger = run_folder.read_table(ledger_file, "ledger").rename(columns={"class": "entry_class"})
    columns = ["entry_id", "entry_class", "site_id", "declared_id", "geometry"]
    parts = [ledger[columns]]
    if (file := ledger_file.with_name("almost_listed.parquet")).is_file():  # entries move there as the prior changes
        parts.append(run_folder.read_table(file, "almost_listed").rename(columns={"class": "entry_class"})[columns])
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
    """Add the findings and outlines of a file to `read`."""
    frame = read_filled(file)
    # a name or a time that is filled down the column judges nothing
    filled = ~frame[list(_JUDGED)].map(lambda v: as_text(v) is None).all(axis=1)
    judged = set(frame["entry_id"][filled])
    read.blank += len(set(frame["entry_id"].dropna()) - judged)
    # a decimal comma shows in the coordinates even where a power does not tell; texts that tell nothing are ambiguous
    mark = decimal_mark(v for k in ("lon", "lat", "measured_mw") for v in frame[k] if isinstance(v, str)) or "?"
    off = moved_m(frame, places, mark)
    drawn = outlines.changed(file.name, frame, places, off)
    read.faults += drawn.faults
    read.notes += drawn.notes
    odd, older = [], []
    for row in frame[filled].to_dict("records"):
        try:
            one = _finding(row, places, options, mark)
            entry = one["entry_id"]
            _refuse_other_run(one["where"], entry, off.get(entry, 0.0))
            older += [entry] if off.get(entry, 0.0) > SAME_M else []
            odd += [entry] if one["finding"] in ("not_dc", "refused") and (one["measured_mw"] or one["chips"]) else []
            first = read.findings.setdefault((entry, one["time"], one["inspector"]), one | {"source": file.name})
            if any(first[k] != one[k] for k in TO_FILL):
                raise RegistryError(f"{one['where']}: filled in otherwise than in {first['where']}; keep one of them")
            if entry in drawn.shapes:
                _give(first, drawn.shapes[entry], one["where"])
        except RegistryError as error:
            read.faults.append(str(error))
    if odd:
        read.notes.append(
            f"{file.name}: not_dc or refused, yet with power or chips, recorded as it stands: {_some(odd)}"
        )
    if older:
        read.notes.append(
            f"{file.name}: listed elsewhere than now, so it is the list of an earlier state of this run; findings are "
            f"taken, outlines are not: {_some(older)}"
        )
    for entry in sorted(drawn.shapes.keys() - judged):
        other = read.outlines.setdefault(entry, (drawn.shapes[entry], file.name))
        if not outlines.same(drawn.shapes[entry], other[0]):
            read.faults.append(
                f"{file.name}: entry '{entry}' has another changed outline than in {other[1]}; keep one of them"
            )


def _match_outlines(read: _Read) -> None:
    """Give outlines to findings of other files on the same entry."""
    by_entry: dict[str, list[dict[str, Any]]] = {}
    for one in read.findings.values():
        by_entry.setdefault(one["entry_id"], []).append(one)
    unused: Counter[str] = Counter()
    for entry, (shape, file) in sorted(read.outlines.items()):
        found = by_entry.get(entry, [])
        unused[file] += not found
        for one in [f for f in found if f["geometry"] is None] or found:
            try:
                _give(one, shape, file)
            except RegistryError as error:
                read.faults.append(str(error))
    read.notes += [
        f"{file}: without a finding, so not recorded: {n} changed outlines" for file, n in unused.items() if n
    ]


def _give(one: dict[str, Any], shape: shapely.Geometry, where: str) -> None:
    if one["geometry"] is None:
        one["geometry"] = shape
    elif not outlines.same(shape, one["geometry"]):
        raise RegistryError(
            f"{where}: entry '{one['entry_id']}' has another changed outline than in {one['where']}; keep one of them"
        )


def _refuse_other_run(where: str, entry: str, off_m: float) -> None:
    if off_m > FAR_M or (entry.startswith(CELL) and off_m > CELL_M):
        far = f"{off_m / 1000:.1f} km" if off_m >= FAR_M else f"{off_m:.0f} m"
        raise RegistryError(f"{where}: lon and lat lie {far} from this place in the run; is the list of another run?")


def _some(entries: list[str]) -> str:
    return ", ".join(entries[:_NAMED]) + (f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else "")


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
        filled = next(k for k in _JUDGED if as_text(row[k]) is not None)
        raise RegistryError(
            f"{where}: '{filled}' is filled in, but finding is empty; give one of {', '.join(dispositions.FINDINGS)}"
        )
    inspector = as_text(row["inspector"]) or options["inspector"]
    time = dispositions.time_of(row["time"], where) or options["time"]
    if inspector is None or time is None:
        lacks, option = ("inspector", "--inspector NAME") if inspector is None else ("time", "--time 2026-05-04")
        raise RegistryError(f"{where}: finding '{row['finding']}' has no {lacks}; fill it in, or give {option}")
    note = as_text(row["note"])
    for name, text in (("inspector", inspector), ("note", note)):
        if text is not None and len(text) > MAX_TEXT:
            raise RegistryError(f"{where}: {name} has {len(text):,} characters, the limit is {MAX_TEXT:,}; shorten it")
    place = places.loc[entry]
    return {
        "where": where, "entry_id": entry,
        **{k: None if pd.isna(place[k]) else str(place[k]) for k in ("entry_class", "site_id", "declared_id")},
        "time": time.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "finding": dispositions.finding_of(row["finding"], where),
        "measured_mw": dispositions.power_of(row["measured_mw"], where, mark),
        "chips": dispositions.chips_of(row["chips"], where, mark),
        "inspector": inspector, "note": note, "geometry": None,
    }  # fmt: skip


def _recorded(table: Path) -> gpd.GeoDataFrame | None:
    """Return the table of earlier findings; None if there is none."""
    if not table.is_file():
        return None
    old = dispositions.stored(table)
    if missing := [c for c in COLUMNS if c not in old]:
        raise RegistryError(
            f"{table}: no column '{missing[0]}', so `overwatt record` did not write it; store it as dispositions.gpkg, "
            "which is read as well"
        )
    return old


def _new(findings: list[dict[str, Any]], ids: set[str], old: gpd.GeoDataFrame | None) -> list[dict[str, Any]]:
    """Return the findings that differ from the last one of their entry, time and inspector, with their ids.

    An id is CONTENT[+OUTLINE][.N], N from 2 where a finding returns to an earlier one.
    """
    last: dict[tuple[str, ...], str] = {}
    if old is not None:
        keys = zip(old["entry_id"], old["time"], old["inspector"], strict=True)
        last = dict(zip(keys, old["disposition_id"].astype(str), strict=True))
    out = []
    for one in findings:
        content = f"D-{run_folder.key(one['entry_id'], *(one[k] for k in TO_FILL))[:12]}"
        shape = one["geometry"]
        drawn = "" if shape is None else shapely.to_wkt(shapely.normalize(shape), rounding_precision=6)
        own = f"{content}+{run_folder.key(drawn)[:6]}" if drawn else content
        before = last.get((one["entry_id"], one["time"], one["inspector"]))
        # a list without outlines repeats a finding with one; an id of a table put there by hand is that finding
        if own in ids if before is None else (before.startswith(content) and (not drawn or before.startswith(own))):
            continue
        number = next(n for n in count(1) if (own if n == 1 else f"{own}.{n}") not in ids)
        ids.add(own := own if number == 1 else f"{own}.{number}")
        out.append({**one, "disposition_id": own})
    return out


def _appended(old: gpd.GeoDataFrame | None, new: list[dict[str, Any]]) -> gpd.GeoDataFrame:
    """Return the table with further rows."""
    rows = pd.DataFrame(new)[[*COLUMNS, "geometry"]].astype(COLUMNS)
    frame = gpd.GeoDataFrame(rows, geometry=gpd.GeoSeries(list(rows["geometry"]), crs=WGS84), crs=WGS84)
    return frame if old is None else gpd.GeoDataFrame(pd.concat([old, frame], ignore_index=True), crs=WGS84)
