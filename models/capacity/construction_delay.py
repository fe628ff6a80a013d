"""Time that a data center takes from a stage of construction to operation.

In: the fitted table models/reference/construction.csv. Out: `hazards()`, a log-normal wait in months for each stage,
with the covariance of its parameters. Stages: land (being cleared), roof (complete), equipment (cooling or generators
in place or being installed).

A wait starts when an image first shows the stage, which is mostly later than its true start. Our own images see a
stage in the same way, so these waits apply to them. `fit_construction_delay` makes the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

STAGES = ("land", "roof", "equipment")
DAYS_PER_MONTH = 30.4375  # 365.25 / 12


@dataclass(frozen=True)
class Hazard:
    """Wait from the first sight of a stage to operation: ln(months) ~ N(mu, sigma^2).

    Attributes:
        stage: one of `STAGES`.
        mu, sigma: mean and standard deviation of ln(months).
        var_mu, cov, var_ln_sigma: covariance of (mu, ln sigma).
        waits: number of waits that ended.
        censored: number of waits that had not ended at the date of reading.
    """

    stage: str
    mu: float
    sigma: float
    var_mu: float
    cov: float
    var_ln_sigma: float
    waits: int
    censored: int


@cache
def hazards() -> dict[str, Hazard]:
    """Return the waits of models/reference/construction.csv by stage."""
    text = (files("overwatt.models.reference") / "construction.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        r["stage"]: Hazard(
            r["stage"], float(r["mu"]), float(r["sigma"]), float(r["var_mu"]), float(r["cov"]),
            float(r["var_ln_sigma"]), int(r["waits"]), int(r["censored"]),
        )
        for r in rows
    }  # fmt: skip
