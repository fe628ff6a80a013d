"""Ways to evade a FLOP threshold, in numbers: splitting, declared inference, better algorithms.

In: thresholds, days. Out: plain values for `overwatt thresholds`. Power is facility MW of one chip
(GB200 NVL72 by default), MFU 0.35, availability 0.9, all power for AI chips: the least that a site needs
(docs/methods.md, section 5.2).
"""

from __future__ import annotations

import math
from typing import Any

from overwatt.aoi.errors import ConfigError
from overwatt.pipeline.compute.thresholds import OPTICAL_FLOOR_MW, THRESHOLDS_FLOP, check_days
from overwatt.pipeline.compute.training_compute import power_needed_mw

CHIP = "GB200 NVL72"
JUST_BELOW = 0.95
"""Share of the threshold that each site of a split run uses; own choice."""
SITE_COUNTS = (2, 5, 10, 50)
TRAINING_SHARES = (1.0, 0.5, 0.2, 0.1)
MONTHS = (0, 12, 24, 36, 60)
DOUBLING_MONTHS = 8.0
"""Compute for a fixed capability of language models halves in about 8 months, 95% 5-14: Ho et al.
2024, arXiv 2403.05812, recalled (docs/methods.md, section 2)."""
CHIP_GAIN_PER_YEAR = 1.4
"""FLOP per joule of leading hardware, +40% a year: docs/methods.md, section 5.1; recalled from Epoch AI."""


def gaming(days: float = 90.0, *, doubling_months: float = DOUBLING_MONTHS, chip: str = CHIP) -> dict[str, Any]:
    """Return figures on three ways to evade each threshold.

    `split`: total FLOP of N sites at 95% of F, MW of one site and whether imagery finds it, and the number
    of sites of 5 MW (the optical floor) that together reach F. `inference`: MW of a site whose training
    share alone reaches F. `algorithms`: FLOP that give today's capability of F after m months, and the
    months until F needs less than 5 MW; 0 if it does today.

    Raises:
        ConfigError: days or doubling_months is out of range, or the chip is unknown.
    """
    check_days(days)
    if not (math.isfinite(doubling_months) and 0.1 <= doubling_months <= 1200):
        raise ConfigError(f"doubling_months: {doubling_months:g} is out of range; give 0.1 to 1200 months")
    floor, surely = OPTICAL_FLOOR_MW
    split, inference, algorithms = [], [], []
    for flop in THRESHOLDS_FLOP:
        needed = power_needed_mw(flop, days, chip)
        one = JUST_BELOW * needed
        split.append(
            {
                "flop": flop,
                "mw_of_one": one,
                "words": "below the floor" if one < floor else "at the floor" if one < surely else "above the floor",
                "totals": [n * JUST_BELOW * flop for n in SITE_COUNTS],
                # 1e-9: a whole number of sites must not be rounded up by a float error
                "hidden_sites": max(1, math.ceil(needed / floor - 1e-9)),
            }
        )
        inference.append({"flop": flop, "facility_mw": [needed / share for share in TRAINING_SHARES]})
        algorithms.append(
            {
                "flop": flop,
                # F halves every `doubling_months`
                "physical_flop": [flop * 2.0 ** (-m / doubling_months) for m in MONTHS],
                "months_to_floor": _months(needed / floor, 1.0 / doubling_months),
                # halvings per month of algorithms and of watts per FLOP add up
                "months_to_floor_with_chips": _months(
                    needed / floor, 1.0 / doubling_months + math.log2(CHIP_GAIN_PER_YEAR) / 12.0
                ),
            }
        )
    return {
        "chip": chip,
        "days": float(days),
        "floor_mw": floor,
        "just_below": JUST_BELOW,
        "site_counts": list(SITE_COUNTS),
        "split": split,
        "training_shares": list(TRAINING_SHARES),
        "headroom": [1.0 / share for share in TRAINING_SHARES],
        "inference": inference,
        "doubling_months": float(doubling_months),
        "months": list(MONTHS),
        "algorithms": algorithms,
        "notes": [
            "a limit per site says nothing about the sum over sites of one owner or network; the sum has to be "
            "counted, by owner",
            "with inference counted a site is over F at 100% trains; not counted, use has to be declared and checked "
            "on site: from above both look alike",
            "better algorithms lower the FLOP of a given capability, so a fixed F admits more capability each year",
        ],
    }


def _months(ratio: float, halvings_per_month: float) -> float:
    """Months until `ratio` has fallen to 1; 0 if it is there already."""
    return max(0.0, math.log2(ratio) / halvings_per_month)
