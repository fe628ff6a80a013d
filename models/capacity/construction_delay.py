"""How long data centers take from a stage of construction to operation, from Epoch AI's timelines.

In: epoch_data_center_timelines.csv (epoch.ai/data, CC-BY 4.0), whose text says what was seen of which
building on which date. Out: models/reference/construction.csv, by `python -m models.capacity.construction_delay --data
DIR`: the wait from the date on which a stage was first seen to operation, log-normal, by maximum
posterior with right censoring of what was not in operation by `LATEST`, with the covariance.

Stages: land (clearing), roof (complete), equipment (cooling or generators being installed or in place).
A stage is seen when an image is, mostly later than it began, so the wait is that of an observer, as
ours will be. Priors on median and spread matter, as early waits are mostly censored. Dates of operation
are partly Epoch's estimates ("roof complete plus 5 to 7 months"); how many is said by
`python -m benchmarks.power`. Texts were read in summer 2026 and may have hindsight.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import norm

from overwatt.models.capacity.operators import LATEST

STAGES = ("land", "roof", "equipment")
DAYS_PER_MONTH = 30.4375
_WORDS = {
    "land": re.compile(
        r"land clear|land is cleared|clearing (?:of land )?begin|construction (?:starts|start|begins)", re.IGNORECASE
    ),
    "roof": re.compile(
        r"roof\w*(?: \w+)? (?:is |are |was |were )?(?:complet|finish)|fully roofed|roofs? completed", re.IGNORECASE
    ),
    "equipment": re.compile(
        r"(?:chiller|cooling|generator|fans?\b)[^.]{0,80}(?:install|in place|complet|underway|progress)"
        r"|looks? (?:almost |mostly |nearly )?(?:complete|finished)|close to being operational",
        re.IGNORECASE,
    ),
}
_NOT_YET = re.compile(
    r"roof[^.]{0,20}(?:almost|nearly|partly|partially|mostly|not|half)|(?:almost|nearly|partly) [^.]{0,12}roof",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"[Bb]uildings?\s+(\d{1,2})(?:\s*(?:-|–|to)\s*(\d{1,2}))?(?:\s*(?:,|and|&)\s*(\d{1,2})(?!\d))?")
_PRIOR_MONTHS = {"land": 24.0, "roof": 6.0, "equipment": 5.0}
"""Prior medians: Epoch AI's mean build time of two years and roof to operation in 5-7 months; equipment our own."""
_PRIOR_LN_SD = 0.25  # of the median; own choice
_SPREAD, _SPREAD_LN_SD = 0.45, 0.4  # prior of sigma; own choice: a stage of few rows stays sane


@dataclass(frozen=True)
class Wait:
    """One wait: site, building (0: the whole site), stage, days from its first sighting, and whether it ended."""

    site: str
    building: int
    stage: str
    seen: pd.Timestamp
    days: float
    ended: bool


@dataclass(frozen=True)
class Hazard:
    """Wait from a stage to operation: ln months ~ N(mu, sigma²); covariance of (mu, ln sigma); numbers."""

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
    """Return the fitted waits by stage."""
    text = (files("overwatt.models.reference") / "construction.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        r["stage"]: Hazard(
            r["stage"], float(r["mu"]), float(r["sigma"]), float(r["var_mu"]), float(r["cov"]),
            float(r["var_ln_sigma"]), int(r["waits"]), int(r["censored"]),
        )
        for r in rows
    }  # fmt: skip


def waits(timelines: pd.DataFrame, until: str = LATEST) -> list[Wait]:
    """Return every wait that the rows dated before `until` show, those without end until then as censored.

    Args:
        timelines: Epoch's table.
        until: ISO date of the reader: nothing later is used.
    """
    end = pd.Timestamp(until)
    rows = timelines.assign(when=pd.to_datetime(timelines["Date"], errors="coerce"))
    rows = rows[rows["when"] < end].sort_values(["Data center", "when"], kind="stable")
    out = []
    for site, own in rows.groupby("Data center", sort=True):
        opened = _opened(own)
        seen: dict[tuple[str, int], pd.Timestamp] = {}
        for when, text in zip(own["when"], own["Construction status"].astype("string").fillna(""), strict=True):
            for stage, building in _stages(str(text)):
                seen.setdefault((stage, building), when)
        for (stage, building), when in sorted(seen.items()):
            done = opened.get(max(building, 1))
            if done is not None and done <= when:
                continue
            days = ((done if done is not None else end) - when).days
            if days > 0:
                out.append(Wait(str(site), building, stage, when, float(days), done is not None))
    return out


def fit(found: list[Wait]) -> dict[str, Hazard]:
    """Fit each stage that was seen: maximum posterior, priors on median and spread."""
    out = {}
    for stage in STAGES:
        own = [w for w in found if w.stage == stage]
        ended = np.array([w.ended for w in own], bool)
        if not own:
            continue
        ln = np.log(np.maximum([w.days for w in own], 7.0) / DAYS_PER_MONTH)

        prior = math.log(_PRIOR_MONTHS[stage])

        def loss(theta: np.ndarray, ln: np.ndarray = ln, ended: np.ndarray = ended, prior: float = prior) -> float:
            z = (ln - theta[0]) / math.exp(theta[1])
            likelihood = np.where(ended, norm.logpdf(z) - theta[1], norm.logsf(z)).sum()
            place = (theta[0] - prior) / _PRIOR_LN_SD
            return float(-likelihood + 0.5 * place**2 + 0.5 * ((theta[1] - math.log(_SPREAD)) / _SPREAD_LN_SD) ** 2)

        start = np.array([prior, math.log(_SPREAD)])
        best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 2000}).x
        covariance = np.linalg.inv(_hessian(loss, best))
        out[stage] = Hazard(
            stage, float(best[0]), float(math.exp(best[1])), float(covariance[0, 0]), float(covariance[0, 1]),
            float(covariance[1, 1]), int(ended.sum()), int((~ended).sum()),
        )  # fmt: skip
    return out


def _hessian(loss: object, at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    assert callable(loss)
    out = np.empty((2, 2))
    eye = np.eye(2) * step
    for i in range(2):
        for j in range(2):
            four = [loss(at + a * eye[i] + b * eye[j]) * a * b for a in (1, -1) for b in (1, -1)]
            out[i, j] = sum(four) / (4 * step * step)
    return out


def _opened(own: pd.DataFrame) -> dict[int, pd.Timestamp]:
    """First date on which so many buildings were in operation."""
    out: dict[int, pd.Timestamp] = {}
    for when, count in zip(own["when"], own["Buildings operational"].fillna(0).astype(int), strict=True):
        for k in range(1, min(count, 100) + 1):
            out.setdefault(k, when)
    return out


def _stages(text: str) -> list[tuple[str, int]]:
    """Stages that a text reports, with the numbers of the buildings; 0 where none is named."""
    out = []
    plain = re.sub(r"\]\([^)]*\)", "]", text)
    for sentence in re.split(r"(?<=[.;])\s+|, (?=and|but|while|though)", plain):
        numbers = [_range(m) for m in _NUMBERS.finditer(sentence)]
        named = sorted({n for group in numbers for n in group}) or [0]
        for stage, words in _WORDS.items():
            if words.search(sentence) and not (stage == "roof" and _NOT_YET.search(sentence)):
                out += [(stage, n) for n in named]
    return out


def _range(match: re.Match[str]) -> list[int]:
    first, last, extra = (int(g) if g else None for g in match.groups())
    assert first is not None
    out = list(range(first, min(last, first + 40) + 1)) if last is not None and last >= first else [first]
    return [*out, extra] if extra is not None else out


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with Epoch's tables")
    found = fit(waits(pd.read_csv(parser.parse_args().data / "epoch_data_center_timelines.csv")))
    path = Path(__file__).parents[1] / "reference" / "construction.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/"
            "construction_delay.py to Epoch AI's data-center timelines (CC-BY 4.0); ln months\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Hazard.__annotations__)
        for h in found.values():
            writer.writerow([h.stage, *(f"{v:.5g}" if isinstance(v, float) else v for v in list(vars(h).values())[1:])])


if __name__ == "__main__":
    main()
