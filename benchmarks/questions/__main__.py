"""Questions that a ledger asks about facilities that two true registries both have: none of them is real.

`python -m benchmarks.questions [--data FOLDER] [--json]` runs `overwatt reconcile` with one registry as table of
observed sites and the other as declarations: IM3 against EPA's air permits, OpenStreetMap and IM3 against Epoch AI's
data centers, and IM3 against a copy of itself with other positions, spellings and simulated power.

Registries do not cover the same facilities. So that a difference of coverage is no false question, only facilities that
both registries have are counted. Rules on names, codes and places tell these (`truth`), not the matcher. All other rows
stay in the tables, as rivals. A pair counts once if any entry of its declaration or of its sites asks something: power,
type, status, position, `undeclared` on the list, or `not_seen`. It makes no difference that one building of a campus is
matched if another is listed as undeclared.

JSON: pairs, false_questions, rate, by_cause (number of pairs by what is asked first), by_comparison, power (the pairs
with power on both sides, and questions on power alone), missing_files, and examples.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from benchmarks.questions.registers import FILES, Comparison, comparisons
from benchmarks.real_data import real_data
from overwatt.workflows.assess import reconcile

TARGET = 0.05
"""At most 1 in 20 pairs may be questioned."""
_TEXTS = ("class", "site_id", "declared_id", "evidence_for")
_POWER = ("above_declared", "below_declared")
_EXAMPLES = 3  # of each cause and comparison


def questions(comparison: Comparison, out: Path) -> pd.DataFrame:
    """Return one row per true pair: comparison, declared_id, cause ('' without a question), power (both known), ..."""
    reconcile.run(comparison.observed, comparison.declared, out, partial=True)
    ledger = gpd.read_parquet(out / "ledger.parquet").astype(dict.fromkeys(_TEXTS, object))
    of_site = {site: decl for decl, sites in comparison.partner.items() for site in sites}
    decl = ledger["declared_id"].where(ledger["declared_id"].isin(list(comparison.partner)))
    pair = decl.fillna(ledger["site_id"].map(of_site))
    asked = ledger.assign(pair=pair)[pair.notna() & (ledger["class"] != "matched")].drop_duplicates("pair")
    asked = asked.set_index("pair")[list(_TEXTS)].to_dict("index")
    both = ledger["declared_it_mw"].notna() & ledger["it_mw_p50"].notna()
    powered = set(pair[both & pair.notna()])
    met = set(pair[ledger["declared_id"].notna() & ledger["site_id"].notna() & decl.notna()])
    rows = [
        {"comparison": comparison.name, "declared_id": name, "power": name in powered,
         "cause": _cause(asked[name]["class"] if name in asked else "", name in met),
         "sites": sorted(comparison.partner[name]),
         "asked": [asked[name]["site_id"], asked[name]["declared_id"]] if name in asked else [],
         "evidence_for": asked[name]["evidence_for"] if name in asked else ""}
        for name in comparison.partner
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _cause(asked: str, met: bool) -> str:
    """Return what is asked of a pair; `met`: its declaration is matched to some site."""
    return f"{asked}, its declaration matched to another building" if asked == "undeclared" and met else asked


def measure(folder: Path, seed: int = 16) -> dict[str, Any]:
    """Return the figures of all comparisons that the files of a folder allow."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    with tempfile.TemporaryDirectory() as work:
        every = comparisons(folder, Path(work), seed)
        parts = [questions(c, Path(work) / f"out-{c.name}") for c in every if c.partner]
    if not parts:
        return {"pairs": 0, "false_questions": 0, "rate": None, "by_cause": {}, "missing_files": missing}
    rows = pd.concat(parts, ignore_index=True)
    asked = rows[rows["cause"] != ""]
    return {
        **_rate(rows),
        "target": TARGET,
        "missing_files": missing,
        "by_cause": dict(Counter(asked["cause"]).most_common()),
        "by_comparison": {
            name: {**_rate(part), "by_cause": dict(Counter(part.loc[part["cause"] != "", "cause"]).most_common())}
            for name, part in rows.groupby("comparison", sort=False)
        },
        "power": _rate(rows[rows["power"]].assign(cause=rows["cause"].where(rows["cause"].isin(_POWER), ""))),
        "examples": {
            str(cause): part.groupby("comparison")
            .head(_EXAMPLES // 2)
            .drop(columns=["power", "cause"])
            .to_dict("records")
            for cause, part in asked.groupby("cause")
        },
    }


def _rate(rows: pd.DataFrame) -> dict[str, Any]:
    false = int((rows["cause"] != "").sum())
    return {"pairs": len(rows), "false_questions": false, "rate": round(false / len(rows), 4) if len(rows) else None}


def main(argv: list[str] | None = None) -> int:
    """Print the results; return 0, or 2 if the registries are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of registry files [default: facilities of the shared data]")
    parser.add_argument("--seed", type=int, default=16, help="of the noise of the copy")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args(argv)
    folder = options.data or real_data() / "facilities"
    if not folder.is_dir():
        print(f"no registries at {folder}; give --data FOLDER or set OVERWATT_REAL_DATA", file=sys.stderr)
        return 2
    result = measure(folder, options.seed)
    for name, part in {**result.get("by_comparison", {}), "all": result}.items():
        print(f"{name:12s} {part['pairs']:5d} pairs {part['false_questions']:4d} questioned  {part['by_cause']}",
              file=sys.stderr)  # fmt: skip
    for cause, rows in result.get("examples", {}).items():
        for row in rows:
            print(f"  {cause} [{row['comparison']}] {row['declared_id']}: {row['evidence_for']}", file=sys.stderr)
    if options.json:
        print(json.dumps(result, ensure_ascii=False, default=str))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
