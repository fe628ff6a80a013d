"""Power of a chip with its host, network and cooling, from its thermal design power (TDP).

In: the tables models/reference/chips.csv and chip_power.csv. Out: `chips()`, and `law()`, a fitted regression

    ln(P / sum n TDP) = b0 + b1 ln(TDP / 400 W) + b2 dense + b3 facility + b4 unknown

(docs/methods.md, section 4.3). `dense` is the share of superchips, APUs and chips of which more than four share a
host, because such hosts add little power. `facility` is 1 for the power of a site, cooling included, and 0 for that
of a public machine, mostly a measured run. `unknown` is 1 where no chip is named and the TDP is taken from the year.
`fit_chip_power` makes both tables.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

FEATURES = ("constant", "ln_tdp_400", "dense", "facility", "unknown")
# chips whose host adds little power: superchips, APUs, wafers, many accelerators per host (own choice, by product name)
_DENSE = re.compile(r"\bG[HB]\d00\b|\bVR\d00\b|MI300A|Cerebras|\bMax 1\d50|PEZY|Trainium|Inferentia|TPU", re.IGNORECASE)


@dataclass(frozen=True)
class Chip:
    """One chip: thermal design power in W, dense TFLOP/s (16 bit, 8 bit, 4 bit; None if unknown), year of release."""

    chip: str
    tdp_w: float
    bf16_tflop_s: float | None
    fp8_tflop_s: float | None
    fp4_tflop_s: float | None
    release_year: int | None
    source: str

    @property
    def dense(self) -> bool:
        """Whether the host adds little power: a superchip, an APU, or a chip of which many share a host."""
        return bool(_DENSE.search(self.chip))


@dataclass(frozen=True)
class PowerLaw:
    """Coefficients in the order of `FEATURES`, their covariance (row-major), residual ln-sd, number of clusters."""

    coefficients: tuple[float, ...]
    covariance: tuple[float, ...]
    ln_sd: float
    n: int

    def predict(self, tdp_w: float, *, dense: float, facility: bool, unknown: bool = False) -> tuple[float, float]:
        """Return ln(power / total TDP) and its ln-sd.

        Args:
            tdp_w: mean TDP of one chip.
            dense: share of the TDP that is in dense chips, 0..1.
            facility: power of the site, cooling included; else of the machine.
            unknown: the chip is not named; `tdp_w` is the usual one of its year.
        """
        x = np.array([1.0, math.log(tdp_w / 400.0), dense, float(facility), float(unknown)])
        # variance of the next cluster: residual plus that of the fitted mean, x' Cov x
        leverage = float(x @ np.reshape(self.covariance, (len(x), len(x))) @ x)
        return float(x @ np.array(self.coefficients)), math.sqrt(self.ln_sd**2 + leverage)


@cache
def chips() -> Mapping[str, Chip]:
    """Return the chips of models/reference/chips.csv by name."""
    out = {}
    for r in _rows("chips.csv"):
        b, e, f = (float(r[k]) if r[k] else None for k in ("bf16_tflop_s", "fp8_tflop_s", "fp4_tflop_s"))
        year = int(r["release_year"]) if r["release_year"] else None
        out[r["chip"]] = Chip(r["chip"], float(r["tdp_w"]), b, e, f, year, r["source"])
    return out


@cache
def law() -> PowerLaw:
    """Return the law of models/reference/chip_power.csv."""
    rows = list(_rows("chip_power.csv"))
    covariance = tuple(float(v) for r in rows for v in r["covariance"].split())
    return PowerLaw(
        tuple(float(r["coefficient"]) for r in rows), covariance, float(rows[0]["ln_sd"]), int(rows[0]["n"])
    )


def _rows(name: str) -> csv.DictReader[str]:
    text = (files("overwatt.models.reference") / name).read_text(encoding="utf-8")
    return csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
