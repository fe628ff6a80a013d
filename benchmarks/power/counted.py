"""(d) Sites whose machines are counted in the text of Epoch AI's tables, compared with their power.

The rows, with their quotes, are those of models/reference/counted_units.csv. The power per machine of a site is taken
without that site's own rows. Epoch AI derived its power of most of these sites from the same machines and its tables of
machines: agreement is circular and shows only that the two models agree. Filings and a design that state both are
listed separately, and power from a regulatory filing too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.power.scores import summary
from overwatt.models.capacity.counted_units import Counted, counted_units, unit_power
from overwatt.models.capacity.fit_operators import LATEST
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.power.evidence_models import facility_ratio

_FIELDS = {"air_chiller": "chillers", "tower_cell": "cooling_tower_cells", "generator": "generators"}
_OPERATORS = ("Google", "Amazon", "Microsoft", "Meta")
_COOLING = {"air_chiller": "air_chiller", "tower_cell": "water", "generator": None}
FILED: tuple[dict[str, Any], ...] = (
    {"site": "Colossus 2", "machine": "air_chiller", "date": "2025-10-19", "units": 121, "it_mw": 239.0,
     "quote": "approximately 110,000 GB200 processors, approximately 210 megawatts of compute power",
     "reading": "the 121 chillers of a month before; more cooling may have come since; 239 MW is Epoch's reading "
     "of the filing's 210 MW of servers"},
)  # fmt: skip
NOT_USED = (
    ("Google Omaha", "3 and 2 towers 'so far': the count is not complete at any date"),
    ("Google Lincoln", "what is missing is counted ('2 more cooling towers (4 fans)'), not what is there"),
    ("Google Pryor (North)", "'half of the cooling towers', 'three cooling towers missing': no total"),
    ("Colossus 2, 2027", "'6x24 dry coolers': a plan, and of several buildings"),
    ("AWS Berwick", "'48 more' generators permitted: the number before is not stated"),
    ("OpenAI Stargate Abilene, Meta Prometheus, Meta Hyperion", "gas turbines and substations are counted: caps"),
    ("all others", "chillers, towers, fans and generators are named without a number"),
)


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return scores, each site with its text and our posterior of IT MW, and filings separately.

    `bias` is the median of ln(ours / stated), with a 95% bootstrap interval over sites.
    """
    columns = {"timelines": "Construction status", "chip_quantities": "Notes"}
    tables = {name: pd.read_csv(folder / f"epoch_data_center_{name}.csv") for name in columns}
    text = " ".join(" ".join(tables[n][c].dropna().astype(str)) for n, c in columns.items())
    timelines = tables["timelines"]
    rows, others, missing = [], [], []
    for row in counted_units():
        if not row.source.startswith("Epoch"):
            others.append(_scored(row, seed, _stated(row), "stated_it_mw"))
        elif not all(part in text for part in re.split(" … ", row.quote)):
            missing.append(row.site)  # the quoted text must still be in the table: a changed source is not scored
        else:
            at = timelines[(timelines["Data center"] == row.site) & (timelines["Date"] == row.date)]
            it_mw = float(at["IT power (MW)"].iloc[0]) if len(at) else 0.0
            rows.append(_scored(row, seed, it_mw if it_mw > 0 else _stated(row), "epoch_it_mw"))
    built = [r for r in rows if r["date"] < LATEST]
    filed = [
        _scored(Counted(f["machine"], f["site"], f["date"], f["units"], f["it_mw"], "it", f["quote"], f["reading"], ""),
                seed, f["it_mw"], "filed_it_mw")
        for f in FILED
    ]  # fmt: skip
    return {
        **_scores(built, seed),
        **_bias(built, seed),
        "bias_by_machine": {m: _bias([r for r in built if r["machine"] == m], seed) for m in _FIELDS},
        "circular": "Epoch's figures of these sites are made from the same equipment, except Microsoft-Nebius "
        "New Jersey, whose power is the developer's",
        "sites": built,
        "plans": [r for r in rows if r["date"] >= LATEST],
        "filings": {**_scores(filed, seed), **_bias(filed, seed), "sites": filed},
        "not_epoch": {**_bias(others, seed), "sites": others},
        "not_used": [{"site": s, "reason": r} for s, r in NOT_USED],
        "text_not_found": missing,
    }


def _stated(row: Counted) -> float:
    """Return the stated IT power; of a facility power, that at the ratio of all sites."""
    return row.mw if row.basis == "it" else row.mw / facility_ratio(None, None)[0]


def _scored(row: Counted, seed: int, it_mw: float, name: str) -> dict[str, Any]:
    """Return quantiles of our IT MW for one row, by the power per machine of the other sites; `name`: of `it_mw`."""
    who = next((o for o in _OPERATORS if o in row.site), None)
    evidence = SiteEvidence(row.site, operator=who, cooling=_COOLING[row.machine], **{_FIELDS[row.machine]: row.units})
    drawn = posterior.estimate([evidence], year=int(row.date[:4]), seed=seed).it_mw[0].astype(float)
    # a count alone is proportional to the power per machine
    rest = unit_power(row.machine, without=row.site)
    drawn *= rest.mw / unit_power(row.machine).mw
    low, median, high = np.quantile(drawn, (0.1, 0.5, 0.9))
    return {
        "site": row.site, "date": row.date, "machine": row.machine, "units": row.units, "operator": who,
        "quote": row.quote, "reading": row.reading, "other_sites": rest.sites,
        "p10": round(float(low), 1), "p50": round(float(median), 1), "p90": round(float(high), 1),
        "ln_sd": round(float(np.log(drawn).std()), 3), name: round(it_mw, 1),
        "ln_ratio": round(math.log(float(median) / it_mw), 3),
    }  # fmt: skip


def _scores(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    if not rows:
        return {"n": 0}
    mu = np.log([r["p50"] for r in rows])
    return summary(
        mu - [r["ln_ratio"] for r in rows], mu, [r["ln_sd"] for r in rows], [r["site"] for r in rows], seed=seed
    )


def _bias(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return the median of ln(ours / stated), its 95% bootstrap interval (None below two rows), and n."""
    ratio = np.array([r["ln_ratio"] for r in rows])
    if not len(ratio):
        return {"bias": None, "bias_95": None, "n": 0}
    drawn = np.random.default_rng(seed).choice(ratio, (1000, len(ratio)))
    interval = [round(float(v), 3) for v in np.quantile(np.median(drawn, axis=1), (0.025, 0.975))]
    return {
        "bias": round(float(np.median(ratio)), 3),
        "bias_95": interval if len(ratio) > 1 else None,
        "n": len(ratio),
    }
