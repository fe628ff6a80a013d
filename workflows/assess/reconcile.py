"""What `overwatt reconcile` does: the ledger from any table of observed sites and any registries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.aoi.errors import ConfigError, RegistryError, nearest
from overwatt.pipeline import coverage, tables
from overwatt.pipeline.balance import material_balance
from overwatt.pipeline.inspection import listing, rank_stability, ranking
from overwatt.pipeline.reconcile import ledger as ledgers
from overwatt.pipeline.vocabulary import RegistryFormat
from overwatt.workflows.config.assess import Assessment
from overwatt.workflows.io import registries, run_folder
from overwatt.workflows.io.delimited import read_csv
from overwatt.workflows.io.run_folder import read_table
from overwatt.workflows.io.vectors import read_vector

_LISTED = 1000
"""Number of entries in the JSON; the ledger has all."""


def run(
    observed: Path,
    declared: Path,
    out: Path,
    *,
    format: str = "auto",
    also: Sequence[Path] = (),
    columns: Mapping[str, str] | None = None,
    looked_at: Path | None = None,
    zones: Path | None = None,
    controls: Path | None = None,
    screened: int | None = None,
    settings: Assessment | None = None,
    layer: str | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """Make the ledger of a table of observed sites and any registries; unusable rows are rejected with reasons."""
    if format not in get_args(RegistryFormat):
        raise ConfigError(f"--format '{format}': {nearest(format, get_args(RegistryFormat))}")
    table, labels, aside = registries.read_observed(observed, partial=partial)
    beside = observed.with_name("looked_at.parquet")
    assumed = looked_at is None and not beside.is_file()
    looked = coverage.assumed_looked_at(table) if assumed else read_table(looked_at or beside, "looked_at")
    assumed |= bool(looked["reason"].str.startswith(coverage.ASSUMED).fillna(False).any())  # written by an earlier call
    areas = None if zones is None else read_zones(zones)
    notes = list[str]()
    facilities, rejected = registries.read_all(
        declared, also, format=format, columns=columns, layer=layer, partial=partial, notes=notes
    )
    settings = settings or Assessment()
    found = ledgers.compare(table, facilities, looked, settings.reconcile, labels)
    ledger, almost = listing.ranked_list(
        found.entries, table, facilities, settings.stakes, settings.listing, settings.ranking
    )
    if controls is not None:
        ledger = ranking.with_controls(ledger, table, read_controls(controls), screened)
    firm = rank_stability.stability(ledger, table, facilities)
    path = run_folder.write_table(out, "ledger", ledger)[0]
    run_folder.write_table(out, "almost_listed", almost)
    seen = coverage.looked_at_share(facilities, looked)
    for name, frame in (("sites", table), ("declared", seen), ("looked_at", looked)):
        run_folder.write_parquet(out, name, frame)
    sums = material_balance.material_balance(ledger, table, facilities, zones=areas, settings=settings.reconcile)
    sums_path = run_folder.write_table(out, "balances", sums)[1]
    kept = registries.write_kept(out, pd.concat([aside.assign(table="observed"), rejected], ignore_index=True))
    rows = ledger[["entry_id", "class", "declared_id", "site_id", "rank"]].head(_LISTED).to_dict("records")
    return {
        "ledger": str(path),
        "counts": {c: int((ledger["class"] == c).sum()) for c in tables.LEDGER_CLASSES},
        "almost_listed": (left_out := listing.left_out_counts(almost)),
        "left_out": listing.left_out_words(left_out, settings.stakes, settings.listing),
        "notes": notes,
        "shares": found.shares.as_dict(),
        "status_unknown": registries.unknown_statuses(facilities),
        "kept_aside": {"observed": len(aside), "declared": len(rejected), "path": str(kept)},
        "balances": {
            "path": str(sums_path),
            "compared": int(sums["z"].notna().sum()),
            "flagged": sums.loc[sums["flagged"], "sentence"].head(_LISTED).tolist(),
        },
        "ranking": firm,
        "false_discovery": "from the model's own probabilities" if controls is None else f"undeclared: {controls.name}",
        "looked_at": "assumed: the neighbourhood of the observed sites" if assumed else str(looked_at or beside),
        "observed": len(table),
        "declared": len(facilities),
        "entries": [{k: None if pd.isna(v) else v for k, v in row.items()} for row in rows],
    }


def read_zones(path: Path) -> gpd.GeoDataFrame:
    """Return polygons of States or grid zones: geometry and name (column name, NAME, zone, or the first text).

    Raises:
        RegistryError: the file cannot be read, has no polygons or no names.
    """
    frame = read_vector(path)
    lower = {str(c).lower(): c for c in frame.columns if c != "geometry"}
    column = next((lower[k] for k in ("name", "zone", "state", "iso", "code") if k in lower), None)
    if column is None:
        raise RegistryError(
            f"{path.name}: no column 'name' of the zones; its columns are: {', '.join(lower) or 'none'}"
        )
    usable = frame.geom_type.isin(["Polygon", "MultiPolygon"]) & frame[column].notna()
    if not usable.any():
        raise RegistryError(f"{path.name}: no named outline")
    return frame.loc[usable, [column, "geometry"]].rename(columns={column: "name"}).reset_index(drop=True)


def read_controls(path: Path) -> np.ndarray:
    """Return p_data_center of known negatives from a CSV, (n,) float64.

    Raises:
        RegistryError: no such file or column, or a value outside 0 to 1.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: no such file; give a CSV with a column p_data_center")
    frame = read_csv(path)
    if "p_data_center" not in frame:
        raise RegistryError(f"{path.name}: no column 'p_data_center'; it has {', '.join(map(str, frame))[:200]}")
    value = pd.to_numeric(frame["p_data_center"], errors="coerce").to_numpy(float, na_value=np.nan)
    if not ((value >= 0) & (value <= 1)).all():
        row = int(np.flatnonzero(~((value >= 0) & (value <= 1)))[0]) + 1
        raise RegistryError(f"{path.name}, row {row}: p_data_center must be a number from 0 to 1")
    return np.asarray(value)
