"""Compare FLOP thresholds of agreements with power and with the sites of a run.

In: table `sites`, days of training. Out: plain values for `overwatt thresholds`: the facility MW
that each threshold needs, whether imagery can verify it, and the probability that a site exceeds it.
Real models are in overwatt.pipeline.compute.ai_models, evasion in overwatt.pipeline.compute.evasion.

What imagery can verify follows from the MW alone: if the most efficient chip of `CHIPS` reaches a
threshold below the optical floor, a site that no image shows can exceed it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from overwatt.aoi.errors import ConfigError
from overwatt.models.reference import facts
from overwatt.pipeline.compute.training_compute import power_needed_mw
from overwatt.pipeline.quantiles import probability_above
from overwatt.pipeline.tables import QUANTILE_NAMES

THRESHOLDS_FLOP = (1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27)
"""Decades around the thresholds of agreements (docs/methods.md, section 5.3)."""
CHIPS = ("A100 SXM", "H100 SXM", "GB200 NVL72", "TPU v7", "Ascend 910C")
DAYS = (30.0, 90.0, 180.0)
OPTICAL_FLOOR_MW = (5.0, 10.0)
"""Smallest facility that can be found and measured in imagery of 1 m or finer (own choice; docs/methods.md,
section 2)."""
THERMAL_FLOOR_MW = 300.0
"""Smallest facility power whose heat shows in night surface temperatures at an unknown site (own choice;
docs/methods.md, section 3.3)."""
MAX_DAYS = 3650.0
"""Longest training run that is accepted: ten years; own choice."""


def power_table(
    days: float = 90.0, *, flops: Sequence[float] = THRESHOLDS_FLOP, chips: Sequence[str] = CHIPS
) -> list[dict[str, Any]]:
    """Return facility MW for each threshold, chip and 30, 90, 180 and `days` days (table of docs/methods.md 5.2).

    Raises:
        ConfigError: days is out of range, or a chip is unknown.
    """
    check_days(days)
    return [
        {"flop": f, "days": d, "chip": c, "facility_mw": power_needed_mw(f, d, c)}
        for f in flops
        for d in sorted({*DAYS, float(days)})
        for c in chips
    ]


def verdicts(days: float = 90.0) -> list[dict[str, Any]]:
    """Return what imagery can verify of each threshold; those that it cannot verify come first.

    Gap factors are floor over MW needed: low is the lowest floor over the MW of the least efficient chip,
    high the highest floor over the MW of the most efficient one. Above 1 the site is smaller than the floor.
    """
    check_days(days)
    rows = []
    for flop in THRESHOLDS_FLOP:
        mw = [power_needed_mw(flop, days, chip) for chip in CHIPS]
        verdict, words = _verdict(min(mw), max(mw))
        rows.append({"flop": flop, "verdict": verdict, "words": words, **_gaps(min(mw), max(mw))})
    order = {"cannot": 0, "partly": 1, "can": 2}
    return sorted(rows, key=lambda row: (order[row["verdict"]], row["flop"]))


def cluster_gap(h100e: float = 16.0) -> dict[str, float]:
    """Return facility kW of a cluster of `h100e` H100s and its gap factors to the floors (docs/methods.md, 2)."""
    mw = h100e * facts.accelerator("H100 SXM").facility_w / 1e6
    low, high = OPTICAL_FLOOR_MW
    return {
        "h100e": h100e, "kw": mw * 1e3, "optical_gap_low": low / mw, "optical_gap_high": high / mw,
        "thermal_gap": THERMAL_FLOOR_MW / mw,
    }  # fmt: skip


def sites_above(sites: pd.DataFrame, *, days: float = 90.0) -> pd.DataFrame:
    """Return for each site the probability that `days` days of training exceed each threshold.

    The probability is conditional on the site being a data center. Between quantiles ln FLOP is linear in
    the normal score, extrapolated beyond p025 and p975; next to a quantile of 0, FLOP itself is linear.

    Args:
        sites: table `sites` (site_id, p_data_center, flop_90d_p025 .. flop_90d_p975).
        days: length of the run; FLOP is scaled from 90 days in proportion.

    Returns:
        site_id, p_data_center, flop_p50 (FLOP in `days`), p_above_1e21 .. p_above_1e27; largest flop_p50 first. Sites
        without FLOP, whose power is not known, are left out.

    Raises:
        ConfigError: days is out of range, or the quantiles of a site are not finite and ascending.
    """
    check_days(days)
    # the site computes at a constant rate, so FLOP are proportional to days (docs/methods.md, section 5.2)
    columns_of_flop = [f"flop_90d_{name}" for name in QUANTILE_NAMES]
    sites = sites[sites[columns_of_flop].notna().any(axis=1)]
    q = sites[columns_of_flop].to_numpy(float) * (days / 90.0)
    bad = ~(np.isfinite(q).all(axis=1) & (q >= 0).all(axis=1) & (np.diff(q, axis=1) >= 0).all(axis=1))
    if bad.any():
        name = str(sites["site_id"].iloc[int(np.argmax(bad))])
        raise ConfigError(f"site {name[:60]}: quantiles of flop_90d must be finite, 0 or more, ascending; run again")
    p = sites["p_data_center"].to_numpy(float)
    if not ((p >= 0) & (p <= 1)).all():
        raise ConfigError("sites: p_data_center outside 0 to 1; run again")
    columns = {f"p_above_{f:.0e}".replace("+", ""): probability_above(q, f) for f in THRESHOLDS_FLOP}
    frame = pd.DataFrame({"site_id": sites["site_id"].astype(str).to_numpy(), "p_data_center": p, "flop_p50": q[:, 4]})
    frame = frame.assign(**columns)
    return frame.sort_values(["flop_p50", "site_id"], ascending=[False, True], kind="stable").reset_index(drop=True)


def sites_summary(
    above: pd.DataFrame, *, days: float = 90.0, limit: int = 1000, without_flop: int = 0
) -> dict[str, Any]:
    """Return how many sites exceed each threshold, as plain values; those that imagery cannot verify come first.

    Args:
        above: as `sites_above` returns it.
        days: the days it was made for.
        limit: largest number of sites listed.
        without_flop: number of sites left out of `above` because their power is not known.
    """
    names = [c for c in above.columns if c.startswith("p_above_")]
    column = dict(zip(THRESHOLDS_FLOP, names, strict=True))
    rows = []
    for verdict in verdicts(days):
        flop = verdict["flop"]
        p = above[column[flop]].to_numpy(float)
        rows.append(
            {
                "flop": flop,
                "verdict": verdict["verdict"],
                "words": verdict["words"],
                # P(more than F) = P(data center) P(more than F | data center)
                "expected_sites": float((p * above["p_data_center"].to_numpy(float)).sum()),
                "sites_p50": int((p >= 0.5).sum()),
                "sites_p05": int((p >= 0.05).sum()),
            }
        )
    listed = [
        {
            "site_id": row["site_id"], "p_data_center": row["p_data_center"], "flop_p50": row["flop_p50"],
            "p_above": [row[name] for name in names],
        }
        for row in above.head(limit).to_dict("records")
    ]  # fmt: skip
    left_out = [f"{without_flop:,} sites of unknown power are in none of the counts; each could exceed any F"]
    return {
        "sites_total": len(above) + without_flop,
        "sites_without_flop": without_flop,
        "thresholds": rows,
        "sites": listed,
        "notes": [
            "expected sites: sum of p(data center) times p(above), which is a count of found sites only; sites below "
            "the optical floor are not in it",
            "a site above F could do such a run; whether it did, imagery does not say",
            *(left_out if without_flop else []),
        ],
    }


def check_days(days: float) -> None:
    """Raise ConfigError if `days` is not a possible length of a training run."""
    if not (math.isfinite(days) and 1.0 <= days <= MAX_DAYS):
        raise ConfigError(f"days: {days:g} is out of range; give 1 to {MAX_DAYS:g}")


def _gaps(mw_low: float, mw_high: float) -> dict[str, float]:
    low, high = OPTICAL_FLOOR_MW
    return {
        "mw_low": mw_low,
        "mw_high": mw_high,
        "optical_gap_low": low / mw_high,
        "optical_gap_high": high / mw_low,
        "thermal_gap_low": THERMAL_FLOOR_MW / mw_high,
        "thermal_gap_high": THERMAL_FLOOR_MW / mw_low,
    }


def _verdict(mw_low: float, mw_high: float) -> tuple[str, str]:
    low, high = OPTICAL_FLOOR_MW
    # least and most efficient chip against the two ends of the optical floor (docs/methods.md, section 5.2)
    if mw_high < low:
        return "cannot", "cannot verify: below the optical floor with every chip"
    if mw_low < high:
        return "partly", "partly: at the optical floor, depends on the chip"
    if mw_high < THERMAL_FLOOR_MW:
        return "can", "can find and size such a site, not see its heat"
    heat = "and its heat" if mw_low >= THERMAL_FLOOR_MW else "its heat with some chips"
    return "can", f"can find and size such a site, {heat}"
