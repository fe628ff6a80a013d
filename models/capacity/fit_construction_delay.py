"""Fit how long data centers take from a stage of construction to operation.

In: epoch_data_center_timelines.csv (Epoch AI, epoch.ai/data, CC-BY 4.0), whose texts say what was seen of which
building on which date. Out, by `python -m overwatt.models.capacity.fit_construction_delay --data DIR`:
models/reference/construction.csv, the table that `construction_delay` reads.

Each stage gets a log-normal wait by maximum posterior, right-censored at `LATEST` for buildings that were not in
operation by then. The priors on median and spread matter, because waits from early stages are mostly censored.
Some dates of operation are Epoch's estimates ("roof complete plus 5 to 7 months"); `python -m benchmarks.power` says
how many. The texts were read in summer 2026 and may contain hindsight.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import norm

from overwatt.models.capacity.construction_delay import DAYS_PER_MONTH, STAGES, Hazard
from overwatt.models.capacity.fit_operators import LATEST

# phrases of Epoch's "Construction status" that report a stage; own choice, from reading the table
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
# phrases that match "roof" although the roof is not complete
_NOT_YET = re.compile(
    r"roof[^.]{0,20}(?:almost|nearly|partly|partially|mostly|not|half)|(?:almost|nearly|partly) [^.]{0,12}roof",
    re.IGNORECASE,
)
# "building 3", "buildings 1-4", "buildings 1 to 3 and 5"
_NUMBERS = re.compile(r"[Bb]uildings?\s+(\d{1,2})(?:\s*(?:-|–|to)\s*(\d{1,2}))?(?:\s*(?:,|and|&)\s*(\d{1,2})(?!\d))?")
_PRIOR_MONTHS = {"land": 24.0, "roof": 6.0, "equipment": 5.0}
"""Prior medians: Epoch's mean build time of 2 years, its 5-7 months from roof (docs/methods.md 4.3); equipment: own
choice."""
_PRIOR_LN_SD = 0.25  # of the prior median; own choice: about +-25%
_SPREAD, _SPREAD_LN_SD = 0.45, 0.4  # prior median and ln-sd of sigma; own choice: keeps stages with few rows plausible


@dataclass(frozen=True)
class Wait:
    """One wait.

    Attributes:
        site: name of the site.
        building: its number; 0 for the whole site.
        stage: one of `STAGES`.
        seen: first date on which the stage was seen.
        days: from then to operation, or to the last date read.
        ended: whether operation was reached; else the wait is censored.
    """

    site: str
    building: int
    stage: str
    seen: pd.Timestamp
    days: float
    ended: bool


def waits(timelines: pd.DataFrame, until: str = LATEST) -> list[Wait]:
    """Return every wait that the rows dated before `until` show; waits that had not ended by then are censored.

    Args:
        timelines: Epoch's table.
        until: ISO date; later rows are ignored.
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
            # Epoch counts buildings in operation without naming them: building k is taken to open as the k-th
            done = opened.get(max(building, 1))
            if done is not None and done <= when:
                continue
            days = ((done if done is not None else end) - when).days
            if days > 0:
                out.append(Wait(str(site), building, stage, when, float(days), done is not None))
    return out


def fit(found: list[Wait]) -> dict[str, Hazard]:
    """Fit a right-censored log-normal to each stage that was seen: maximum posterior, priors on median and spread."""
    out = {}
    for stage in STAGES:
        own = [w for w in found if w.stage == stage]
        ended = np.array([w.ended for w in own], bool)
        if not own:
            continue
        # a wait under a week counts as a week: a lower limit before the logarithm (own choice)
        ln = np.log(np.maximum([w.days for w in own], 7.0) / DAYS_PER_MONTH)
        prior = math.log(_PRIOR_MONTHS[stage])

        def loss(theta: np.ndarray, ln: np.ndarray = ln, ended: np.ndarray = ended, prior: float = prior) -> float:
            z = (ln - theta[0]) / math.exp(theta[1])
            # ended: density of ln t; censored: probability of a longer wait
            likelihood = np.where(ended, norm.logpdf(z) - theta[1], norm.logsf(z)).sum()
            place = (theta[0] - prior) / _PRIOR_LN_SD
            return float(-likelihood + 0.5 * place**2 + 0.5 * ((theta[1] - math.log(_SPREAD)) / _SPREAD_LN_SD) ** 2)

        start = np.array([prior, math.log(_SPREAD)])
        best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8, "maxiter": 2000}).x
        covariance = np.linalg.inv(_hessian(loss, best))  # Laplace approximation at the maximum
        out[stage] = Hazard(
            stage, float(best[0]), float(math.exp(best[1])), float(covariance[0, 0]), float(covariance[0, 1]),
            float(covariance[1, 1]), int(ended.sum()), int((~ended).sum()),
        )  # fmt: skip
    return out


def _hessian(loss: object, at: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Second derivatives by central differences."""
    assert callable(loss)
    out = np.empty((2, 2))
    eye = np.eye(2) * step
    for i in range(2):
        for j in range(2):
            four = [loss(at + a * eye[i] + b * eye[j]) * a * b for a in (1, -1) for b in (1, -1)]
            out[i, j] = sum(four) / (4 * step * step)
    return out


def _opened(own: pd.DataFrame) -> dict[int, pd.Timestamp]:
    """Return, for each number of buildings, the first date on which that many were in operation."""
    out: dict[int, pd.Timestamp] = {}
    for when, count in zip(own["when"], own["Buildings operational"].fillna(0).astype(int), strict=True):
        for k in range(1, min(count, 100) + 1):
            out.setdefault(k, when)
    return out


def _stages(text: str) -> list[tuple[str, int]]:
    """Return the stages that a text reports, with the building numbers; 0 where no building is named."""
    out = []
    # drop link targets, then look at each clause alone, so that a number stays with its own stage
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
    # a longer range than 41 numbers is taken as misread (own choice)
    out = list(range(first, min(last, first + 40) + 1)) if last is not None and last >= first else [first]
    return [*out, extra] if extra is not None else out


def main() -> None:
    """Write construction.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with epoch_data_center_timelines.csv")
    found = fit(waits(pd.read_csv(parser.parse_args().data / "epoch_data_center_timelines.csv")))
    path = Path(__file__).parents[1] / "reference" / "construction.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/fit_construction_delay.py "
            "to Epoch AI's data-center timelines (CC-BY 4.0); ln months\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Hazard.__annotations__)
        for h in found.values():
            writer.writerow([h.stage, *(f"{v:.5g}" if isinstance(v, float) else v for v in list(vars(h).values())[1:])])


if __name__ == "__main__":
    main()
