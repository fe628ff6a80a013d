"""What `overwatt inspect` does: a randomised plan of visits from a run's ledger, and its audit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.inspection import plan as plans
from overwatt.pipeline.inspection.candidates import inspection_candidates
from overwatt.pipeline.inspection.settings import InspectionSettings
from overwatt.pipeline.report.figures import inspection_plan
from overwatt.workflows.config.assess import assessment
from overwatt.workflows.io import run_folder
from overwatt.workflows.io.run_folder import read_table


def candidates(folder: Path, settings: InspectionSettings) -> pd.DataFrame:
    """Return the places that a run leaves to inspect, as `inspection_candidates` does.

    Raises:
        ConfigError: there is no ledger, or it is not one.
    """
    file = folder / "ledger.parquet" if folder.is_dir() else folder
    ledger = read_table(file, "ledger")
    sites, looked = (
        read_table(path, name) if (path := file.with_name(f"{name}.parquet")).is_file() else None
        for name in ("sites", "looked_at")
    )
    return inspection_candidates(ledger, sites, looked, settings)


def settings_of(folder: Path, assignments: Sequence[str] = ()) -> InspectionSettings:
    """Return the settings of the run's own workflow, or the defaults, with `inspection.key=value` overrides.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    file = (folder if folder.is_dir() else folder.parent) / "manifest.json"
    try:
        own = json.loads(file.read_text(encoding="utf-8"))["parameters"]["inspection"]
    except (OSError, ValueError, KeyError, TypeError):  # a ledger of `overwatt reconcile`, or of an earlier version
        own = {}
    return assessment(assignments, {"inspection": own} if isinstance(own, dict) else {}).inspection


def run(
    folder: Path, budget: float, *, floor: float, seed: int, out: Path | None, assignments: Sequence[str] = ()
) -> dict[str, Any]:
    """Make the plan, draw, and write plan.csv, plan.json and the plot of the trade-off, trade.svg and trade.png."""
    settings = settings_of(folder, assignments)
    found_at = candidates(folder, settings)
    of = plans.Places.of(found_at)
    found = plans.plan(of, budget, floor=floor)
    visits = plans.draw(of, found.q, seed)
    target = out or (folder if folder.is_dir() else folder.parent) / "inspection"
    table = plans.with_draw(found_at, found, visits)
    with run_folder.written(target / "plan.csv") as part:
        run_folder.defuse(table).to_csv(part, index=False)
    trade = inspection_plan.trade(of, budget, floor=floor)
    with run_folder.written(target / "trade.png") as part:
        part.write_bytes(inspection_plan.png(of, found, trade))
    run_folder.write_text(target / "trade.svg", inspection_plan.svg(of, found, trade))
    result: dict[str, Any] = {
        "plan": str(target / "plan.csv"), "plot": str(target / "trade.svg"), "visits": visits, "seed": seed,
        "digest": plans.digest(of),
        "budget": budget, "floor": floor, "settings": settings.model_dump(), "places": len(of.place_id),
        "worst_case_detection": round(found.worst_case, 6), "optimum": round(found.optimum, 6),
        "without_naive_condition": round(found.free_optimum, 6), "uniform_worst_case": round(found.uniform, 6),
        "naive_detection": round(found.naive, 6), "list_naive_detection": round(found.naive_top, 6),
    }  # fmt: skip
    with run_folder.written(target / "plan.json") as part:
        part.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def audit(folder: Path, plan_file: Path) -> dict[str, Any]:
    """Make a plan again from the ledger and the seed in plan.json, and say whether it is the same."""
    try:
        old = json.loads(plan_file.read_text(encoding="utf-8"))
        budget, floor, seed = float(old["budget"]), float(old["floor"]), int(old["seed"])
        stated, visits = str(old["digest"]), list(old["visits"])
        settings = InspectionSettings(**old.get("settings", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{plan_file}: cannot be read as a plan ({type(error).__name__})") from error
    of = plans.Places.of(candidates(folder, settings))
    again = plans.draw(of, plans.plan(of, budget, floor=floor).q, seed)
    return {"same_ledger": plans.digest(of) == stated, "same_draw": again == visits}
