"""Wording of the report: names of the classes, formats of numbers, how each number could be wrong.

In: numbers and class names. Out: short plain texts (the template escapes them). The wording is neutral:
a row is an inconsistency that raises a question, until an answer or a visit settles it (docs/methods.md, section 2).
"""

from __future__ import annotations

import math
from typing import Any

CLASS_LABEL = {
    "undeclared": "Seen, not declared",
    "above_declared": "Larger than declared",
    "type_mismatch": "Declared as another use",
    "status_mismatch": "Status differs",
    "position_mismatch": "Position differs",
    "not_seen": "Declared, not seen",
    "below_declared": "Smaller than declared",
    "matched": "Seen and declared",
}
"""Ledger classes in words, in the order in which the report lists them."""

CLASS_MEANING = {
    "undeclared": "looks like a data center; no declaration fits it",
    "above_declared": "could carry more IT power than was declared",
    "type_mismatch": "declared as something else than a data center",
    "status_mismatch": "built and equipped, but declared as planned, unfinished, closed or cancelled",
    "position_mismatch": "fits a declaration that states another place",
    "not_seen": "declared, its place was looked at, no observed site was matched to it",
    "below_declared": "what was seen could carry less than was declared",
    "matched": "a site was seen where one is declared; no difference in what could be compared",
}

QUANTITIES = (
    (
        "IT power (MW)",
        "What the site could carry, from the area of its buildings and of the cooling equipment outlined "
        "next to or on them.",
        "It is a capacity, not a use. Equipment under a roof, behind a wall or underground is missed; an "
        "empty hall counts as full; wrong outlines are counted. The interval holds 80% of the draws and is "
        "based on facilities of known power, mostly in one country.",
    ),
    (
        "Facility power (MW)",
        "IT power times the ratio of facility to IT power at peak.",
        "The ratio depends on cooling type and climate; its usual range, 1.17 to 1.52, is in the draws.",
    ),
    (
        "H100 equivalents",
        "Number of accelerators that the IT power could feed, counted as H100 (dense BF16).",
        "The share of the power that feeds accelerators cannot be seen: it is near 0 in a cloud or mining "
        "hall and near 1 in a training hall. The mix of chips is that of the year, not of the site.",
    ),
    (
        "Training FLOP in 90 days",
        "H100 equivalents times utilisation and 90 days.",
        "Has all errors of the above and that of the utilisation of training. Training in FP8 or FP4 counts two "
        "to four times more FLOP per joule. One site is not one run: runs may span sites.",
    ),
    (
        "p (data center)",
        "Calibrated score of the site's most probable building, moved to the prior stated with it.",
        "It changes with the prior: where few large roofs are data centers, most alarms are false. The "
        "calibration holds for imagery like that of training.",
    ),
    (
        "p (match)",
        "Probability that site and declaration are the same facility, over all one-to-one assignments.",
        "Depends on stated position errors and powers. A registry whose coordinates are worse than stated "
        "gives pairs of an undeclared site and an unseen facility.",
    ),
    (
        "p (would have been seen)",
        "Share of the declared place that was imaged and screened.",
        "From coverage alone: size, haze, snow and the detector's own misses are not included.",
    ),
    (
        "Expected undeclared FLOP in 90 days",
        "Expected training FLOP that the declarations do not explain, over all of the above; it ranks the list.",
        "An expectation, not a finding: a small probability of a large site equals a certain small one. Some "
        "classes use base rates that are judgements until inspections fit them.",
    ),
    (
        "Surface temperature excess (K)",
        "Median over clear acquisitions of site minus surroundings.",
        "New roofs, bare ground and sun cause excesses of the same size. The absence of an excess at a site "
        "below the stated floor is no information.",
    ),
)
"""Quantity, what it is, how it could be wrong."""


def mw(value: float) -> str:
    """Megawatts: one decimal below 10, whole above, thousands separated."""
    if value < 0.095:  # limits are where the next shorter format would round up
        return "under 0.1"
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def count(value: float) -> str:
    """A count to two significant figures, thousands separated; whole below 100."""
    if value < 100:
        return f"{value:.0f}"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{round(value / step) * step:,.0f}"


def power_of_ten(value: float) -> tuple[str, str]:
    """Mantissa (one decimal) and exponent, such as ('1.3', '26'); ('0', '') if not above 0."""
    if not value > 0:
        return "0", ""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return mantissa, str(int(exponent))


def probability(value: float) -> str:
    """A probability with two decimals; never 0 or 1."""
    if value > 0.995:  # 0.00 and 1.00 would claim certainty
        return "> 0.99"
    return "< 0.01" if value < 0.005 else f"{value:.2f}"


def share(value: float) -> str:
    """A share in per cent: one significant figure below 1%, and 100% only for exactly all."""
    per_cent = 100 * value
    if 99.5 <= per_cent < 100:
        return f"{math.floor(10 * per_cent) / 10:.1f}%"
    return f"{per_cent:.0f}%" if per_cent >= 1 or per_cent == 0 else f"{per_cent:.1g}%"


def distance(metres: float) -> str:
    """A distance in metres below a kilometre, in kilometres above."""
    return f"{metres:,.0f} m" if metres < 995 else f"{metres / 1000:,.1f} km"


def first_sentence(text: str, longest: int = 220) -> str:
    """The first sentence of `text`, cut after a word if it is longer than `longest` characters."""
    end = text.find(". ")
    text = text if end < 0 else text[: end + 1]
    return text if len(text) <= longest else text[:longest].rsplit(" ", 1)[0] + " …"


def next_step(row: dict[str, Any]) -> str:
    """Sentence on the next step at an entry and on the range of its rank; '' if neither is known."""
    said = []
    if row.get("next_step") in ("visit", "image"):
        what = "a visit" if row["next_step"] == "visit" else "an image of 0.3 m"
        said.append(f"Next: {what}, worth {row['value_of_inspection']:.1f} visits net.")
    low, high = row.get("rank_low"), row.get("rank_high")
    if low is not None and high is not None and low < high:
        said.append(f"Rank {low} to {high} over resampled draws.")
    return " ".join(said)


LIMITS = (
    "Imagery can help police 1e26 FLOP and partly 1e25; below that it is blind: such a site needs less than "
    "10 MW and looks like any other building.",
    "A site that is not listed may still exist: in places without imagery, below the detector's size, under "
    "another roof, underground, or because the detector missed it. p_detect here rests on coverage alone.",
    "Power comes from footprint and cooling-equipment area. It is what the site could carry, not what it draws; "
    "empty halls look the same.",
    "Compute assumes a chip mix by year. Which share of the load is AI is not visible and dominates the spread.",
    "The class of a building is the detector's judgement, trained on simulated scenes and one district in Virginia.",
    "A discrepancy is a question, not a finding: registries err in position, date and naming "
    "more often than sites hide.",
)
"""How the numbers of a report could be wrong, and what imagery cannot verify; also on the exported list."""
