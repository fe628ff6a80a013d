"""`overwatt inspect`: a randomised inspection plan of a run, with its seed and what is needed to audit it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow
import typer

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline import tables
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.inspection import plan as inspection
from overwatt.pipeline.report.figures import inspection_plan
from overwatt.workflows.io import run_folder as store

FOUND = 0.9
"""Chance that imagery shows a site of a cell that was looked at: recall of comparable detectors, 0.87-0.95."""
FLOP = 1e26


def places(folder: Path) -> inspection.Places:
    """Return the entries of a run's ledger and the cells of what was looked at.

    An entry's value is the compute that it could host (p90) over 1e26 FLOP in 90 days, at most 1; a match
    counts by what it leaves open, 1 - p_match. Cells without an entry can host the whole.

    Raises:
        ConfigError: there is no ledger, or it is not one.
    """
    file = folder / "ledger.parquet" if folder.is_dir() else folder
    ledger = _read(file, "ledger")
    if ledger is None:
        raise ConfigError(f"{file}: no such file; `overwatt run` and `overwatt reconcile` write it")
    sites, looked = (
        _read(file.with_name("sites.parquet"), "sites"),
        _read(file.with_name("looked_at.parquet"), "looked_at"),
    )
    per_mw = float(np.quantile(training_compute.per_it_mw(2026)[1], 0.9)) * 90.0
    flop = np.nan_to_num(ledger[["it_mw_p50", "declared_it_mw"]].astype(float).max(axis=1).to_numpy()) * per_mw
    if sites is not None:
        known = ledger["site_id"].map(sites.set_index("site_id")["flop_90d_p90"]).to_numpy(float)
        flop = np.where(np.isfinite(known), known, flop)
    share = np.where(ledger["class"] == "matched", 1.0 - ledger["p_match"].fillna(0.0).to_numpy(float), 1.0)
    value = np.minimum(1.0, flop / FLOP) * share
    parts = {
        "id": ledger["entry_id"].tolist(), "score": ledger["undeclared_flop_90d"].to_numpy(float) / FLOP,
        "value": value, "seen": np.zeros(len(ledger)), "stratum": ledger["class"].tolist(),
    }  # fmt: skip
    if looked is not None and len(looked):
        usable = (looked["screened"] & ~looked["failed"]).to_numpy(bool)
        held = np.zeros(len(looked), bool)
        if len(ledger):
            points = gpd.GeoSeries(ledger.geometry.representative_point().to_numpy(), crs=looked.crs)
            held[np.unique(looked.sindex.query(points, predicate="intersects")[1])] = True
        empty = ~held
        parts["id"] += [f"cell {c}" for c in looked["cell"][empty]]
        parts["score"] = np.append(parts["score"], np.zeros(int(empty.sum())))
        parts["value"] = np.append(parts["value"], np.ones(int(empty.sum())))
        parts["seen"] = np.append(parts["seen"], np.where(usable, FOUND * looked["imaged"].to_numpy(float), 0.0)[empty])
        parts["stratum"] += np.where(usable, "nothing found", "not looked at")[empty].tolist()
    n = len(parts["id"])
    return inspection.Places(
        tuple(parts["id"]), np.asarray(parts["score"]), np.asarray(parts["value"]), np.asarray(parts["seen"]),
        np.ones(n), tuple(parts["stratum"]),
    )  # fmt: skip


def run(folder: Path, budget: float, *, floor: float, seed: int, out: Path | None) -> dict[str, Any]:
    """Make the plan, draw, and write plan.csv, plan.json and the plot of the trade, trade.svg and trade.png."""
    of = places(folder)
    found = inspection.plan(of, budget, floor=floor)
    visits = inspection.draw(of, found.q, seed)
    target = out or (folder if folder.is_dir() else folder.parent) / "inspection"
    target.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({
        "place": of.place_id, "stratum": of.stratum, "probability": np.round(found.q, 6), "score": of.score,
        "value": of.value, "visit": [p in set(visits) for p in of.place_id],
    }).astype({"place": "string", "stratum": "string"})  # fmt: skip
    table = table.sort_values(["probability", "place"], ascending=[False, True], kind="stable")
    with store.written(target / "plan.csv") as part:
        store.defuse(table).to_csv(part, index=False)
    trade = inspection_plan.trade(of, budget, floor=floor)
    with store.written(target / "trade.png") as part:
        part.write_bytes(inspection_plan.png(of, found, trade))
    store.write_text(target / "trade.svg", inspection_plan.svg(of, found, trade))
    result: dict[str, Any] = {
        "plan": str(target / "plan.csv"), "plot": str(target / "trade.svg"), "visits": visits, "seed": seed,
        "digest": inspection.digest(of),
        "budget": budget, "floor": floor, "places": len(of.place_id),
        "worst_case_detection": round(found.worst_case, 6), "optimum": round(found.optimum, 6),
        "without_naive_condition": round(found.free_optimum, 6), "uniform_worst_case": round(found.uniform, 6),
        "naive_detection": round(found.naive, 6), "list_naive_detection": round(found.naive_top, 6),
    }  # fmt: skip
    with store.written(target / "plan.json") as part:
        part.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def audit(folder: Path, plan_file: Path) -> dict[str, Any]:
    """Make a plan again from the ledger and the seed in plan.json, and say whether it is the same."""
    try:
        old = json.loads(plan_file.read_text(encoding="utf-8"))
        budget, floor, seed = float(old["budget"]), float(old["floor"]), int(old["seed"])
        stated, visits = str(old["digest"]), list(old["visits"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{plan_file}: cannot be read as a plan ({type(error).__name__})") from error
    of = places(folder)
    again = inspection.draw(of, inspection.plan(of, budget, floor=floor).q, seed)
    return {"same_ledger": inspection.digest(of) == stated, "same_draw": again == visits}


def register(app: typer.Typer, show: Callable[[dict[str, Any], bool, list[str]], None]) -> None:
    """Add the command to `app`; `show` prints a result, as JSON or as lines."""

    @app.command()
    def inspect(
        run_folder: Annotated[Path, typer.Argument(help="Run folder, or its ledger.parquet.")],
        budget: Annotated[float, typer.Option("--budget", help="Number of inspections.")] = 10.0,
        floor: Annotated[float, typer.Option("--floor", help="Least share of the budget for each stratum.")] = 0.02,
        seed: Annotated[int, typer.Option("--seed", help="Seed of the draw; announce it before the draw.")] = 0,
        check: Annotated[Path | None, typer.Option("--audit", help="plan.json to make again and compare.")] = None,
        out: Annotated[Path | None, typer.Option("--out", help="Output folder.")] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")
        ] = False,
    ) -> None:
        """Make a randomised inspection plan that an evader who knows it cannot turn to account."""
        if check is not None:
            verdict = audit(run_folder, check)
            show(verdict, as_json, [f"{k.replace('_', ' ')}: {'yes' if v else 'NO'}" for k, v in verdict.items()])
            return
        result = run(run_folder, budget, floor=floor, seed=seed, out=out)
        lines = [
            f"{len(result['visits'])} of {result['places']} places drawn with seed {seed}: {result['plan']}",
            *(f"  {p}" for p in result["visits"][:30]),
            f"worst case {result['worst_case_detection']:.2f}, of a uniform draw {result['uniform_worst_case']:.2f}, "
            f"without the condition on a naive evader {result['without_naive_condition']:.2f}",
            f"a naive evader is found with {result['naive_detection']:.2f}, by the list with "
            f"{result['list_naive_detection']:.2f}",
            f"what the condition costs: {result['plot']}",
        ]
        show(result, as_json, lines)


def _read(file: Path, name: str) -> gpd.GeoDataFrame | None:
    if not file.is_file():
        return None
    try:
        return tables.conform(gpd.read_parquet(file), name)
    except (ValueError, pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{file.name}: not a table of {name} as `overwatt run` writes it") from error
