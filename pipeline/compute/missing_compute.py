"""Models without a figure of their training compute: how many of them could reach each threshold.

In: models with and without a figure. Out: how many are missing, and the expected number at or above each threshold.
About half of the models in Epoch AI's list have no figure (docs/methods.md, section 5.3). Whether they are like the
others nobody knows, so the answer is a range: none of them, all of them, and a middle under an assumption.

The middle: where hardware, quantity and hours are stated, FLOP follow from them. Else a model is like those with a
figure from its organisation and from its year; an organisation counts in full from `PSEUDO_MODELS` models on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

from overwatt.aoi.errors import ConfigError
from overwatt.models.reference import facts
from overwatt.pipeline.power.accelerators import find_chip

COLUMNS = ("Training hardware", "Hardware quantity", "Training time (hours)", "Hardware utilization (MFU)")
"""Columns of Epoch AI's table that are used where they are there."""
HARDWARE_LN_SD = 1.0
"""Spread of ln FLOP from hardware, quantity and hours: half-width of the central 80% of the error on the 142 models of
Epoch AI's table that have them and a figure, over its normal value. The median error is 0.06."""
PSEUDO_MODELS = 5.0
"""Models that weigh as much as those of the organisation; own choice."""
YEARS_APART = 1
"""Models of this many years before or after count as of the same year; own choice."""


def flop_by_hardware(cells: pd.DataFrame) -> pd.Series:
    """Return training FLOP from hardware, quantity and hours, float64, NaN where one of them is not usable.

    Args:
        cells: those of `COLUMNS` that the table has, as text.
    """
    if not set(COLUMNS[:3]) <= set(cells.columns):
        return pd.Series(np.nan, cells.index, dtype=float)
    quantity, hours = (pd.to_numeric(cells[c], errors="coerce") for c in COLUMNS[1:3])
    mfu = pd.to_numeric(cells[COLUMNS[3]], errors="coerce") if COLUMNS[3] in cells else pd.Series(np.nan, cells.index)
    mfu = mfu.where((mfu > 0) & (mfu <= 1), facts.ratio("mfu").median)
    # several kinds are separated by commas; the first is the one that the quantity is of
    first = cells[COLUMNS[0]].str.split(",").str[0].str.strip()
    speed = first.map({name: _flop_per_s(name) for name in first.unique()}).astype(float)
    flop = speed * quantity.where(quantity > 0) * hours.where(hours > 0) * 3600.0 * mfu
    return flop.astype(float)


def totals(known: int, unknown: int) -> dict[str, Any]:
    """Return the number of models without a figure that is to be assumed, and a sentence on it.

    A table without any such model is a selection, not a world without them: as many as have a figure are assumed.
    """
    assumed = known if not unknown else 0
    words = (
        f"{unknown:,} models have no figure of compute: from none to all of them could reach a threshold; the middle "
        "takes their hardware and hours where stated, else the models with a figure of their organisation and year"
        if unknown
        else f"the table has only models with a figure of compute; Epoch AI's full list has about as many without, so "
        f"{assumed:,} more are assumed: none to all of them could reach a threshold, the middle takes them as alike"
    )
    return {"without_compute_assumed": assumed, "without_compute_words": words}


def expected(known: pd.DataFrame, unknown: pd.DataFrame, assumed: int, flops: Sequence[float]) -> np.ndarray:
    """Return the expected number of models without a figure at or above each threshold, float64 (threshold,).

    Args:
        known: models with a figure, as of `ai_models.normalize_models`.
        unknown: those without.
        assumed: models that the table does not list; they are taken as alike the known ones.
        flops: thresholds.
    """
    steps = np.array(flops)
    if known.empty:
        return np.zeros(len(steps))
    reached = known["flop"].to_numpy(float)[:, None] >= steps[None, :]
    out = assumed * reached.mean(axis=0)
    if unknown.empty:
        return np.asarray(out)
    year, organisation = known["year"].to_numpy(int), known["organisation"].to_numpy(str)
    groups = unknown.groupby(["year", "organisation"])
    for (when, who), rows in groups:
        near = (np.abs(year - when) <= YEARS_APART) if when else np.ones(len(year), bool)
        of_year = reached[near].mean(axis=0) if near.any() else reached.mean(axis=0)
        own = near & (organisation == who) if who else np.zeros(len(year), bool)
        # share among those of the organisation, drawn towards that of the year
        share = (reached[own].sum(axis=0) + PSEUDO_MODELS * of_year) / (own.sum() + PSEUDO_MODELS)
        by_hardware = (
            rows["flop_by_hardware"].to_numpy(float) if "flop_by_hardware" in rows else np.full(len(rows), np.nan)
        )
        stated = by_hardware[np.isfinite(by_hardware) & (by_hardware > 0)]
        out = out + (len(rows) - len(stated)) * share
        out = out + ndtr((np.log(stated)[:, None] - np.log(steps)[None, :]) / HARDWARE_LN_SD).sum(axis=0)
    return np.asarray(out)


def _flop_per_s(name: str) -> float:
    try:
        chip = find_chip(name) if isinstance(name, str) and name else None
    except ConfigError:
        chip = None
    return float("nan") if chip is None or chip.bf16_tflop_s is None else chip.bf16_tflop_s * 1e12
