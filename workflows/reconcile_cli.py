"""`overwatt reconcile`: the ledger from any table of observed sites and any registries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import geopandas as gpd
import pandas as pd
import pyarrow
import typer

from aoi.errors import ConfigError, RegistryError, nearest
from pipeline import declared as registry
from pipeline import observed as observations
from pipeline import rank, tables
from pipeline import reconcile as ledgers
from workflows import store

_LISTED = 1000
"""Entries that the JSON holds; the ledger has all."""


def run(observed: Path, declared: Path, out: Path, *, format: str, looked_at: Path | None) -> dict[str, Any]:
    """Make the ledger of any table of observed sites and any registry; rows that cannot be used are kept aside."""
    if format not in get_args(registry.Format):
        raise ConfigError(f"--format '{format}': {nearest(format, get_args(registry.Format))}")
    table, labels, aside = observations.read(observed)
    beside = observed.with_name("looked_at.parquet")
    assumed = looked_at is None and not beside.is_file()
    looked = observations.assumed_looked_at(table) if assumed else _table(looked_at or beside, "looked_at")
    rejected: list[tuple[int, str, str]] = []
    facilities = registry.read(declared, cast(registry.Format, format), aside=rejected)
    ledger, order = rank.ranked(ledgers.reconcile(table, facilities, looked, labels=labels), table, facilities)
    path = store.write_table(out, "ledger", ledger)[0]
    kept = pd.DataFrame(rejected, columns=["row", "id", "reason"]).assign(table="declared")
    kept = pd.concat([aside.assign(table="observed"), kept], ignore_index=True)
    store.defuse(kept[["table", "row", "id", "reason"]]).to_csv(out / "kept_aside.csv", index=False)
    rows = ledger[["entry_id", "class", "declared_id", "site_id", "rank"]].head(_LISTED).to_dict("records")
    return {
        "ledger": str(path),
        "counts": {c: int((ledger["class"] == c).sum()) for c in tables.LEDGER_CLASSES},
        "kept_aside": {"observed": len(aside), "declared": len(rejected), "path": str(out / "kept_aside.csv")},
        "looked_at": "assumed: the neighbourhood of the observed sites" if assumed else str(looked_at or beside),
        "ranking": order,
        "observed": len(table),
        "declared": len(facilities),
        "entries": [{k: None if pd.isna(v) else v for k, v in row.items()} for row in rows],
    }


def register(app: typer.Typer, show: Callable[[dict[str, Any], bool, list[str]], None]) -> None:
    """Add the command to `app`; `show` prints a result, as JSON or as lines."""

    @app.command()
    def reconcile(
        observed: Annotated[Path, typer.Argument(help="Observed sites: a run's sites.parquet, or any table.")],
        declared: Annotated[Path, typer.Argument(help="Registry of declared facilities.")],
        out: Annotated[Path, typer.Option("--out", help="Output folder.")],
        format: Annotated[str, typer.Option("--format", help="Layout of the registry.")] = "auto",
        looked_at: Annotated[
            Path | None,
            typer.Option("--looked-at", help="What was looked at (looked_at.parquet); beside OBSERVED if absent."),
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")
        ] = False,
    ) -> None:
        """Make the ledger alone, from a table of sites and a registry."""
        result = run(observed, declared, out, format=format, looked_at=looked_at)
        counts = ", ".join(f"{n} {c}" for c, n in result["counts"].items() if n)
        lines = [f"{counts or 'no entries'}: {result['ledger']}", f"what was looked at: {result['looked_at']}"]
        if result["ranking"]:
            order = result["ranking"]
            lines.append(
                f"ranking: resampled draws keep {order['top10_kept']:.0%} of the top ten, {order['true_top10']:.0%} of them "
                f"are among the ten largest in truth; {order['false_in_top100']:.0%} of the first 100 are expected to be "
                f"false by {order['false_basis']}"
            )
        kept = result["kept_aside"]
        if kept["observed"] + kept["declared"]:
            lines.append(f"kept aside: {kept['observed']} observed, {kept['declared']} declared rows: {kept['path']}")
        show(result, as_json, lines)


def _table(path: Path, name: str) -> gpd.GeoDataFrame:
    if not path.is_file():
        raise RegistryError(f"{path}: no such file; `overwatt run` writes it")
    try:
        return tables.conform(gpd.read_parquet(path), name)
    except (ValueError, pyarrow.ArrowException, OSError) as error:
        raise RegistryError(f"{path.name}: not a table of {name} as `overwatt run` writes it") from error
