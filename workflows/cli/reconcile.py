"""`overwatt reconcile`: the ledger from any table of observed sites and any registries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow
import typer

from overwatt.aoi.errors import ConfigError, RegistryError, nearest
from overwatt.pipeline import coverage, tables
from overwatt.pipeline.balance import material_balance
from overwatt.pipeline.declared import registry
from overwatt.pipeline.inspection import rank_stability, ranking
from overwatt.pipeline.reconcile import ledger as ledgers
from overwatt.pipeline.reconcile import observed_sites as observations
from overwatt.workflows.io import registries, run_folder
from overwatt.workflows.io.tabular import read_csv
from overwatt.workflows.io.vectors import read_vector

_LISTED = 1000
"""Entries that the JSON holds; the ledger has all."""


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
) -> dict[str, Any]:
    """Make the ledger of any table of observed sites and any registries; rows that cannot be used are kept aside."""
    if format not in get_args(registry.Format):
        raise ConfigError(f"--format '{format}': {nearest(format, get_args(registry.Format))}")
    table, labels, aside = observations.read(observed)
    beside = observed.with_name("looked_at.parquet")
    assumed = looked_at is None and not beside.is_file()
    looked = observations.assumed_looked_at(table) if assumed else _table(looked_at or beside, "looked_at")
    assumed |= bool(looked["reason"].str.startswith("assumed").fillna(False).any())  # written by an earlier call
    areas = None if zones is None else read_zones(zones)
    facilities, rejected = registries.read(declared, also, format=format, columns=columns)
    ledger = ranking.rank(ledgers.reconcile(table, facilities, looked, labels=labels), table, facilities)
    if controls is not None:
        ledger = ranking.with_controls(ledger, table, read_controls(controls), screened)
    firm = rank_stability.stability(ledger, table, facilities)
    path = run_folder.write_table(out, "ledger", ledger)[0]
    seen = coverage.with_looked_at(facilities, looked)
    for name, frame in (("sites", table), ("declared", seen), ("looked_at", looked)):
        run_folder.write_parquet(out, name, frame)
    sums = material_balance.balances(ledger, table, facilities, zones=areas)
    sums_path = run_folder.write_table(out, "balances", sums)[1]
    kept = registries.write_kept(out, pd.concat([aside.assign(table="observed"), rejected], ignore_index=True))
    rows = ledger[["entry_id", "class", "declared_id", "site_id", "rank"]].head(_LISTED).to_dict("records")
    return {
        "ledger": str(path),
        "counts": {c: int((ledger["class"] == c).sum()) for c in tables.LEDGER_CLASSES},
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
        raise RegistryError(f"{path.name}: no column 'name' of the zones; it has {', '.join(lower) or 'no columns'}")
    usable = frame.geom_type.isin(["Polygon", "MultiPolygon"]) & frame[column].notna()
    if not usable.any():
        raise RegistryError(f"{path.name}: no outline with a name")
    return frame.loc[usable, [column, "geometry"]].rename(columns={column: "name"}).reset_index(drop=True)


def read_controls(path: Path) -> np.ndarray:
    """Return p_data_center of known negatives from a CSV, (n,) float64.

    Raises:
        RegistryError: no such file or column, or a value that is no number from 0 to 1.
    """
    if not path.is_file():
        raise RegistryError(f"{path}: no such file; a CSV with a column p_data_center")
    frame = read_csv(path)
    if "p_data_center" not in frame:
        raise RegistryError(f"{path.name}: no column 'p_data_center'; it has {', '.join(map(str, frame))[:200]}")
    value = pd.to_numeric(frame["p_data_center"], errors="coerce").to_numpy(float, na_value=np.nan)
    if not ((value >= 0) & (value <= 1)).all():
        row = int(np.flatnonzero(~((value >= 0) & (value <= 1)))[0]) + 1
        raise RegistryError(f"{path.name}, row {row}: p_data_center is no number from 0 to 1")
    return np.asarray(value)


def register(app: typer.Typer, show: Callable[[dict[str, Any], bool, list[str]], None]) -> None:
    """Add the command to `app`; `show` prints a result, as JSON or as lines."""

    @app.command()
    def reconcile(
        observed: Annotated[Path, typer.Argument(help="Observed sites: a run's sites.parquet, or any table.")],
        declared: Annotated[Path, typer.Argument(help="Registry of declared facilities.")],
        out: Annotated[Path, typer.Option("--out", help="Output folder.")],
        format: Annotated[str, typer.Option("--format", help="Layout of the registry.")] = "auto",
        also: Annotated[
            list[Path] | None,
            typer.Option("--also", help="A further registry (permits, chips, training runs); may be given often."),
        ] = None,
        column: Annotated[
            list[str] | None, typer.Option("--column", help="OUR_NAME=COLUMN of the registry; may be given often.")
        ] = None,
        looked_at: Annotated[
            Path | None,
            typer.Option("--looked-at", help="What was looked at (looked_at.parquet); beside OBSERVED if absent."),
        ] = None,
        zones: Annotated[
            Path | None, typer.Option("--zones", help="Outlines of States or grid zones with names, for the balances.")
        ] = None,
        controls: Annotated[
            Path | None,
            typer.Option("--controls", help="CSV with p_data_center of known negatives, for the q_value."),
        ] = None,
        screened: Annotated[
            int | None, typer.Option("--screened", min=1, help="With --controls: number of roofs screened.")
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")
        ] = False,
    ) -> None:
        """Make the ledger alone, from a table of sites and registries."""
        result = run(
            observed, declared, out, format=format, also=also or [], columns=_map(column),
            looked_at=looked_at, zones=zones, controls=controls, screened=screened,
        )  # fmt: skip
        counts = ", ".join(f"{n} {c}" for c, n in result["counts"].items() if n)
        lines = [f"{counts or 'no entries'}: {result['ledger']}", f"what was looked at: {result['looked_at']}"]
        sums = result["balances"]
        lines.append(f"balances: {len(sums['flagged'])} of {sums['compared']} past 3 sigma: {sums['path']}")
        lines += [f"  {sentence}" for sentence in sums["flagged"][:5]]
        if len(result["entries"]):
            lines.append(f"ranking: {result['ranking']['statement']}")
        kept = result["kept_aside"]
        if kept["observed"] + kept["declared"]:
            lines.append(f"kept aside: {kept['observed']} observed, {kept['declared']} declared rows: {kept['path']}")
        show(result, as_json, lines)


def _map(given: list[str] | None) -> dict[str, str] | None:
    parts = [g.partition("=") for g in given or []]
    for name, sign, column in parts:
        if not (name and sign and column):
            raise ConfigError(f"--column '{name}{sign}{column}': write OUR_NAME=COLUMN, for example it_mw=Leistung")
    return {name: column for name, _, column in parts} or None


def _table(path: Path, name: str) -> gpd.GeoDataFrame:
    if not path.is_file():
        raise RegistryError(f"{path}: no such file; `overwatt run` writes it")
    try:
        return tables.conform(gpd.read_parquet(path), name)
    except (ValueError, pyarrow.ArrowException, OSError) as error:
        raise RegistryError(f"{path.name}: not a table of {name} as `overwatt run` writes it") from error
