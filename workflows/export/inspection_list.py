"""The inspection list in the formats that inspectors use: CSV, XLSX, GeoPackage, KML, GeoJSON.

In: a run folder or a ledger.parquet. Out: inspection_list.* and visits.html in a folder. The same input gives the same
bytes in all formats with the same versions of the libraries, because no file holds its time of creation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline import tables
from overwatt.pipeline.coverage import BASIS
from overwatt.pipeline.inspection.candidates import CELL
from overwatt.pipeline.report.wording import LIMITS
from overwatt.workflows.export import gis, kml, spreadsheet, visits
from overwatt.workflows.export import table as export_table
from overwatt.workflows.export.fields import FIELDS, FINDING_WORDS, OUTCOME, SOURCES, WORDING
from overwatt.workflows.export.kept import changed_files_kept
from overwatt.workflows.export.styles import LABELS
from overwatt.workflows.export.table import Inputs, clean

NAME = "inspection_list"
FORMATS = ("csv", "xlsx", "gpkg", "kml", "geojson")


def run(
    path: Path, out: Path | None = None, *, top: int | None = None, observed: Path | None = None,
    declared: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write the list in all formats.

    Args:
        path: run folder, or its ledger.parquet.
        out: output folder [default: `export` next to the ledger].
        top: write only this number of entries, those with the highest rank [default: all], and all drawn visits.
        observed: table of sites [default: sites.parquet next to the ledger].
        declared: registry [default: declared.parquet next to the ledger].

    Returns:
        `files` by format (`visits`: one page per visit), `entries` (number written), `of` (number in the ledger),
        `counts` of the entries by class, `drawn` (visits of the plan, all written), `cells` (those of them without an
        entry), `almost_listed` (sites off the list that are drawn or have a finding), `kept` (files that were changed
        since they were written, under their new names), `columns`, `left_out` (absent tables), `layers` of the
        GeoPackage, `warnings`.

    Raises:
        ConfigError: there is no ledger, a table next to it is invalid, `top` is below 1, or `out` is a file.
        RegistryError: dispositions, `observed` or `declared` cannot be used.
    """
    inputs = export_table.read(path, observed, declared)
    table = export_table.listing(inputs, top)
    fields = [f for f in export_table.fields(inputs) if f.name in table]
    target = out or (path if path.is_dir() else path.parent) / "export"
    if target.exists() and not target.is_dir():
        raise ConfigError(f"--out {target}: is a file; give a folder")
    files = {f: target / f"{NAME}.{f}" for f in FORMATS}
    entries = int(table["rank"].notna().sum())
    cells = int(table["entry_id"].str.startswith(CELL).sum())
    almost = len(table) - entries - cells
    about = words(inputs, entries, almost, cells)
    flat = table.drop(columns="geometry")
    pages = target / visits.NAME
    with changed_files_kept([*files.values(), pages]) as kept:
        spreadsheet.write_csv(files["csv"], flat)
        notes = spreadsheet.write_xlsx(files["xlsx"], flat, fields, about)
        layers = gis.write_geopackage(files["gpkg"], table, inputs, fields, about)
        kml.write_kml(files["kml"], table, about)
        gis.write_geojson(files["geojson"], table, about)
        visits.write(pages, inputs, table, FINDING_WORDS)
    return {
        "files": {f: str(p) for f, p in files.items()} | {"visits": str(pages)},
        "entries": entries, "of": len(inputs.ledger),
        "counts": {c: int((table["class"][table["rank"].notna()] == c).sum()) for c in tables.LEDGER_CLASSES},
        "drawn": int(table["drawn"].fillna(False).sum()) if "drawn" in table else 0, "cells": cells,
        "almost_listed": almost,
        "kept": [str(p) for p in kept],
        "columns": len(fields),
        "left_out": [SOURCES[s] for s in SOURCES if s not in inputs.tables],
        "layers": layers,
        "warnings": inputs.warnings + notes,
    }  # fmt: skip


def words(inputs: Inputs, listed: int, almost: int, cells: int) -> list[tuple[str, str]]:
    """Return the notes on the list as (subject, text): its basis, and what it can and cannot say.

    Args:
        inputs: tables of the list; absent tables are named.
        listed: number of entries written.
        almost: number of almost-listed sites written.
        cells: number of drawn cells written.
    """
    ledger, manifest = inputs.ledger, inputs.manifest
    parameters = manifest.get("parameters") if isinstance(manifest.get("parameters"), dict) else {}
    assert isinstance(parameters, dict)
    rows = [
        (
            "list",
            f"{listed} of {len(ledger)} entries of a ledger of data centers, declared against observed, by rank; "
            f"{almost} almost-listed sites; {cells} drawn cells",
        ),
        ("wording", "An entry is a question to be settled, not a finding. It rests on imagery and registries alone."),
        *((f"wording: {k}", v) for k, v in WORDING.items()),
    ]
    if parameters.get("simulated") is True:
        rows.insert(0, ("simulated", "Imagery, sites and declarations of this run are simulated."))
    counts = ledger["class"].value_counts()
    rows += [(f"class: {c}", f"{LABELS[c]}; in the ledger: {int(counts.get(c, 0))}") for c in tables.LEDGER_CLASSES]
    rows += [(f"used: {k}", f"{clean(name)}, sha256 {sha}") for k, (name, sha) in inputs.files.items()]
    absent = [s for s in SOURCES if s not in inputs.tables]
    for s in absent:
        names = ", ".join(f.name for f in FIELDS if f.source == s)
        rows.append((f"not there: {SOURCES[s]}", f"left out: {names or 'its layer'}"))
    if "sites" in inputs.tables:
        prior = sorted({f"{v:g}" for v in inputs.tables["sites"]["prior"].astype(float).dropna()})
        rows.append(("prior", f"share of large roofs taken to be data centers: {', '.join(prior[:5]) or 'not stated'}; "
                     "p_data_center holds at this prior"))  # fmt: skip
    else:
        rows.append(("prior", "not stated: sites.parquet is not there; p_data_center holds at the run's prior"))
    rows.append(("p_detect", f"rests on {BASIS}"))
    if "code" in manifest:
        rows.append(("code", clean(manifest["code"])))
    hashes = manifest.get("inputs")
    if isinstance(hashes, dict):
        rows += [(f"input: {clean(k)[:80]}", f"sha256 {clean(v)[:80]}") for k, v in sorted(hashes.items())]
    rows += [
        ("can say", "Optical imagery of about 1 m finds large buildings with cooling equipment and sizes them. "
         "Power and compute follow from size within the 5-95% intervals of each row, which are wide."),
        *(("cannot say", text) for text in LIMITS),
        *((f"finding: {k}", meaning) for k, meaning in FINDING_WORDS.items()),
        ("to fill in", f"{', '.join(f.name for f in OUTCOME)}: in the sheet form, in the CSV, in the layer ledger of "
         "the GeoPackage, in the KML or in the GeoJSON; `overwatt record` reads any of these files back"),
        ("visits", "drawn is true for the visits of the plan; after the entries stand almost-listed sites that are "
         "drawn or have a finding, then drawn cells; finding not_dc on a cell: no data center stands anywhere in it"),
    ]  # fmt: skip
    credit = parameters.get("attribution")
    rows += [("attribution", clean(v)) for v in credit if isinstance(v, str)] if isinstance(credit, list) else []
    if "declared" in inputs.tables:
        licences = sorted({clean(v) for v in inputs.tables["declared"]["licence"].dropna()} - {""})
        rows += [("attribution", v) for v in licences[:100]]
    rows += [("warning", v) for v in inputs.warnings]
    return rows
