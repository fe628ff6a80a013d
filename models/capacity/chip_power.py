"""Power of a chip with its host and network, from its thermal design power (TDP).

In: models/reference/chip_power.csv. Out: `law()`, a fitted regression

    ln(P / sum n TDP) = b0 + b1 ln(TDP / 400 W) + b2 dense + b3 stated + b4 run

(docs/methods.md, section 4.3). Without `stated` and `run`, P is the IT power at the design peak, `w_it` of chips.csv.
`stated` is 1 for the power that operators state of a cluster, `run` for the mean draw in a benchmark run (TOP500).
`dense` is the share of superchips, APUs and chips of which more than four share a host, because such hosts add little
power. `fit_chip_power` makes both tables.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

FEATURES = ("constant", "ln_tdp_400", "dense", "stated", "run")
# chips whose host adds little power: superchips, APUs, wafers, many accelerators per host (own choice, by product name)
_DENSE = re.compile(
    r"\bG[HB]\d00\b|\bVR\d00\b|MI300A|Cerebras|\bMax 1\d50|PEZY|Trainium|Inferentia|TPU|Ascend 9(?:10C|[2-9]\d)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class PowerLaw:
    """Coefficients in the order of `FEATURES`, their covariance (row-major), residual ln-sd, number of rows."""

    coefficients: tuple[float, ...]
    covariance: tuple[float, ...]
    ln_sd: float
    n: int

    def predict(self, x: np.ndarray) -> tuple[float, float]:
        """Return the logarithm at the features `x`, as of `features`, and the ln-sd of the next row there."""
        # variance of the next cluster: residual plus that of the fitted mean, x' Cov x
        leverage = float(x @ np.reshape(self.covariance, (len(x), len(x))) @ x)
        return float(x @ np.array(self.coefficients)), math.sqrt(self.ln_sd**2 + leverage)


def features(tdp_w: float, *, dense: float, stated: bool = False, run: bool = False) -> np.ndarray:
    """Return the features of a row, float64 in the order of `FEATURES`.

    Args:
        tdp_w: mean TDP of one chip.
        dense: share of the TDP that is in dense chips, 0..1.
        stated: power as operators state it.
        run: mean draw in a benchmark run.
    """
    return np.array([1.0, math.log(tdp_w / 400.0), dense, float(stated), float(run)])


def is_dense(chip: str) -> bool:
    """Whether the host of this chip adds little power: a superchip, an APU, or a chip of which many share a host."""
    return bool(_DENSE.search(chip))


@cache
def law() -> PowerLaw:
    """Return the law of models/reference/chip_power.csv."""
    text = (files("overwatt.models.reference") / "chip_power.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    covariance = tuple(float(v) for r in rows for v in r["covariance"].split())
    return PowerLaw(
        tuple(float(r["coefficient"]) for r in rows), covariance, float(rows[0]["ln_sd"]), int(rows[0]["n"])
    )
