"""100,000 sites × 4,096 draws, in blocks, compared with drawing as many log-normal numbers with numpy."""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np

from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.power import posterior
from overwatt.pipeline.power.evidence import SiteEvidence
from overwatt.pipeline.quantiles import quantile_columns

BLOCK = 64
"""Sites per block: their four arrays of draws (4 MB) stay in the processor's cache."""


def measure(sites: int = 100_000, draws: int = 4096, seed: int = 0) -> dict[str, Any]:
    """Return the seconds of both, and peak memory; they alternate in tenths, so that other load affects both.

    The sites are simulated: half have only a footprint, half also outlined cooling equipment. Ours gives quantiles of
    IT and facility power, H100 equivalents and FLOP; numpy only draws one log-normal number per site and draw.
    """
    ours = theirs = 0.0
    checked = 0.0
    for part in range(10):
        n = sites // 10
        rng = np.random.default_rng((seed, part))
        area, cooling = rng.uniform(2e3, 5e4, n), rng.uniform(100, 2000, n) * (np.arange(n) % 2)
        start = time.perf_counter()
        for k in range(0, n, BLOCK):
            stop = min(k + BLOCK, n)
            evidence = [SiteEvidence(f"{part}-{i}", area[i], cooling[i], gsd_m=1.0) for i in range(k, stop)]
            # the sum shows that both the work was done and the result stays the same
            checked += float(quantiles(evidence, draws, seed)["it_mw_p50"].sum())
        ours += time.perf_counter() - start
        start = time.perf_counter()
        for k in range(0, n, BLOCK):
            rng.lognormal(0.0, 1.0, (min(BLOCK, n - k), draws))
        theirs += time.perf_counter() - start
    return {
        "sites": sites, "draws": draws, "seconds": round(ours, 2), "numpy_lognormal_seconds": round(theirs, 2),
        "ratio": round(ours / theirs, 3), "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "sum_of_median_it_mw": round(checked, 1), "simulated": True,
    }  # fmt: skip


def quantiles(evidence: list[SiteEvidence], draws: int, seed: int) -> dict[str, np.ndarray]:
    """Return the quantile columns of one block of sites."""
    found = posterior.estimate(evidence, year=2026, seed=seed, draws=draws, words=False)
    done = training_compute.estimate(found, year=2026, words=False)
    stems = {"it_mw": found.it_mw, "facility_mw": found.facility_mw, "h100e": done.h100e, "flop": done.flop}
    return {k: v for stem, array in stems.items() for k, v in quantile_columns(stem, array).items()}
