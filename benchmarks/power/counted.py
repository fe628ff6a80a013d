"""(d) Sites whose equipment can be counted from the text of Epoch AI's timelines, compared with Epoch AI's power.

Epoch AI derived its power of these sites from the same cooling equipment and its tables of machines: agreement is
circular and shows only that the two models agree. Power from a regulatory filing is listed separately.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.power.scores import summary
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence

FANS = "two fans a tower, as the text of Google Lincoln has ('2 more cooling towers (4 fans)')"
COUNTED: tuple[dict[str, Any], ...] = (
    {
        "site": "Colossus 2", "date": "2025-09-08", "evidence": {"chillers": 121}, "epoch_it_mw": 200.0,
        "quote": "121 air-cooled chillers installed, which could support 200 MW", "reading": "as counted",
    },
    {
        "site": "Google Papillion", "date": "2023-01-23", "epoch_it_mw": None,
        "evidence": {"cooling_tower_cells": 14, "cooling": "water", "operator": "Google"},
        "quote": "Building 2 4/7 cooling towers installed",
        "reading": f"building 1, alike building 2: 7 towers, {FANS}",
    },
    {
        "site": "Google Midlothian", "date": "2026-04-19", "epoch_it_mw": None,
        "evidence": {"cooling_tower_cells": 12, "cooling": "water", "operator": "Google"},
        "quote": "only expected to build 6 new cooling towers",
        "reading": f"the 6 towers of the permit, {FANS}; the text says that the row was extended since",
    },
)  # fmt: skip
FILED: tuple[dict[str, Any], ...] = (
    {"site": "Colossus 2", "date": "2025-10", "source": "S-1 filing as cited in the project's notes: 110,000 GB200, "
     "239 MW IT, 323 MW facility", "evidence": {"chillers": 121}, "it_mw": 239.0,
     "reading": "the 121 chillers a month before; more cooling may have come since"},
)  # fmt: skip
NOT_USED = (
    ("Google Omaha", "3 and 2 towers 'so far': the count is not complete at any date"),
    ("Google Lincoln", "what is missing is counted, not what is there"),
    ("Colossus 2, 2027", "'6x24 dry coolers': a plan, and of several buildings"),
    ("AWS Berwick", "'48 more' generators permitted: the number before is not stated"),
)


def measure(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return scores, each site with its text and our posterior of IT MW, and the filings separately."""
    timelines = pd.read_csv(folder / "epoch_data_center_timelines.csv")
    rows, missing = [], []
    for site in COUNTED:
        at = timelines[(timelines["Data center"] == site["site"]) & (timelines["Date"] == site["date"])]
        # the quoted text must still be in the table: a changed source is reported, not scored
        if at.empty or site["quote"] not in " ".join(at["Construction status"].astype(str)):
            missing.append(site["site"])
            continue
        truth = float(at["IT power (MW)"].iloc[0]) if site["epoch_it_mw"] is None else site["epoch_it_mw"]
        rows.append({**_posterior(site, seed), "quote": site["quote"], "epoch_it_mw": truth})
    filed = [{**_posterior(site, seed), "source": site["source"], "filed_it_mw": site["it_mw"]} for site in FILED]
    scores = _scores(rows, "epoch_it_mw", seed) if rows else {"n": 0}
    return {
        **scores,
        "circular": "Epoch's figures of these sites are made from the same equipment",
        "sites": rows,
        "filings": {**_scores(filed, "filed_it_mw", seed), "sites": filed},
        "not_used": [{"site": s, "reason": r} for s, r in NOT_USED],
        "text_not_found": missing,
    }


def _posterior(site: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return quantiles of our posterior of IT MW for one site."""
    year = int(site["date"][:4])
    evidence = SiteEvidence(site["site"], **site["evidence"])
    it_mw = posterior.estimate([evidence], year=year, seed=seed).it_mw[0].astype(float)
    low, median, high = np.quantile(it_mw, (0.1, 0.5, 0.9))
    return {
        "site": site["site"], "date": site["date"], "evidence": site["evidence"],
        "reading": site["reading"],
        "p10": round(float(low), 1), "p50": round(float(median), 1), "p90": round(float(high), 1),
        "ln_sd": round(float(np.log(it_mw).std()), 3),
    }  # fmt: skip


def _scores(rows: list[dict[str, Any]], truth: str, seed: int) -> dict[str, Any]:
    y, mu = np.log([r[truth] for r in rows]), np.log([r["p50"] for r in rows])
    return summary(y, mu, [r["ln_sd"] for r in rows], [r["site"] for r in rows], seed=seed)
