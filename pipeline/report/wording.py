"""Wording of the report: names of the classes, formats of numbers, how each number could be wrong.

In: numbers, class names, texts of the ledger. Out: short plain texts (the template escapes them), for an inspector
who has read no other page. The wording is neutral: a row is an inconsistency that raises a question, until an answer
or a visit settles it (docs/methods.md, section 2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from overwatt.pipeline.compute.thresholds import THERMAL_FLOOR_MW, verdicts
from overwatt.pipeline.inspection.value_of_information import DEFAULTS

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

MAP_MARKS = {
    "none": "site seen, almost listed",
    "data_center": "building taken for a data center",
    "cooling_equipment": "cooling equipment and rooftop units",
    "generator": "generators",
    "substation": "substation",
    "other_building": "other large building",
    "declared_point": "declared place",
    "declared_error": "stated position error of a declared place (one standard deviation)",
    "declared_outline": "declared outline",
    "not_looked_at": "not looked at",
    "failed_tile": "tile that failed or was not screened",
}
"""Marks of the map besides the ledger classes, in the order of the legend; the script draws nothing else."""

LEFT_OUT = {
    "value": "Too improbable or too small: neither a visit nor an image would pay.",
    "false_share": "With it too many listed sites without a declaration would be expected to have an innocent answer.",
}
"""Why a site is almost listed, by the words of the table `almost_listed`."""

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
        "Number of accelerators that the IT power could feed, counted as H100 by dense BF16 or dense FP8 speed.",
        "The share of the power that feeds accelerators follows from the kind of the site, which is inferred and not "
        "seen. The mix of chips is that of the year and of the operator of a matched declaration, not of the site.",
    ),
    (
        "Training FLOP in 90 days",
        "H100 equivalents times utilisation and 90 days.",
        "Has all errors of the above and that of the utilisation of training. Training in FP8 or FP4 counts two "
        "to four times more FLOP per joule. One site is not one run: runs may span sites.",
    ),
    (
        "Probability of a data center",
        "Calibrated score of the site's most probable building, with the number of its buildings and machines, at the "
        "stated share of data centers among the large roofs of the area (the prior).",
        "It changes with that share, which is assumed: where few large roofs are data centers, most alarms are false. "
        "The calibration holds for imagery like that of training; elsewhere it has not been checked.",
    ),
    (
        "Probability of a match",
        "Probability that site and declaration are the same facility, over all one-to-one assignments.",
        "Depends on stated position errors and powers. A registry whose coordinates are worse than stated "
        "gives pairs of an undeclared site and an unseen facility.",
    ),
    (
        "Share of a declared place that was looked at",
        "Share that was imaged and screened; it stands for the probability that the facility would have been seen.",
        "Coverage alone: size, haze, snow and the detector's own misses are not included.",
    ),
    (
        "Expected undeclared FLOP in 90 days",
        "Expected training FLOP that the declarations do not explain, over all of the above; it ranks the list unless "
        "another order is set. Worst case: the same if every site were all AI.",
        "An expectation, not a finding: a small probability of a large site equals a certain small one. Some "
        "classes use base rates that are judgements until inspections fit them.",
    ),
    (
        "Worth of a visit or image",
        "How much better the decision on the entry is expected to be with it than without, with the cost of one visit "
        f"as the unit: to pursue an entry that hides more than 1e{math.log10(DEFAULTS.flop):.0f} FLOP counts "
        f"{DEFAULTS.find:g} visits, to pursue one that does not counts -{DEFAULTS.wrong:g}, unless the workflow file "
        "states other values (stakes).",
        "These values, and what a visit or image can show, are choices and not measurements.",
    ),
    (
        "Surface temperature excess (K)",
        "Median over clear acquisitions of site minus surroundings.",
        "New roofs, bare ground and sun cause excesses of the same size. The absence of an excess at a site "
        "below the stated floor is no information.",
    ),
)
"""Quantity, what it is, how it could be wrong."""


SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
"""Translates the digits of an exponent."""


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


def prior(value: float | None) -> str:
    """The share of data centers that was assumed for a site, in words."""
    return "prior not stated" if value is None else f"{share(value)} assumed before looking"


def priors(values: Collection[float | None]) -> str:
    """The shares of data centers that were assumed for all sites, in words."""
    known = sorted({v for v in values if v is not None})
    if not known:
        return "not stated" if values else "nothing: no site"
    stated = f"{', '.join(map(share, known))} of large roofs are data centers"
    return f"{stated}; not stated for some sites" if None in values else stated


def not_looked_at(rest: float, facilities: int) -> str:
    """Sentence on the part of the area, and the number of declared facilities, that were not looked at."""
    places = f"{facilities} declared facilit{'y' if facilities == 1 else 'ies'}"
    if rest > 0 and facilities:
        return f"Nothing can be said about {places} and {share(rest)} of the area, which were not looked at."
    if rest > 0:
        return f"Nothing can be said about {share(rest)} of the area, which was not looked at."
    if facilities:
        return f"All of the area was looked at. Nothing can be said about {places}: the place was not looked at."
    return "All of the area was looked at."


def innocent(chances: Sequence[float]) -> str:
    """Sentence on how many listed sites without a declaration are expected to have an innocent answer; '' without any.

    Args:
        chances: probability that the site is no data center, or a declared one, for each of these sites.
    """
    if not chances:
        return ""
    by = "by the program's own probabilities."
    if len(chances) == 1:
        chance = probability(chances[0])
        return f"The site seen without a declaration has an innocent answer with probability {chance}, {by}"
    expected = sum(chances)
    number = f"about {expected:.0f}" if expected >= 0.5 else "fewer than 1"
    verb = "is" if expected < 1.5 else "are"
    of = f"Of the {len(chances)} sites seen without a declaration"
    return f"{of} {number} {verb} expected to have an innocent answer, {by}"


def distance(metres: float) -> str:
    """A distance in metres below a kilometre, in kilometres above."""
    return f"{metres:,.0f} m" if metres < 995 else f"{metres / 1000:,.1f} km"


def first_sentence(text: str, longest: int = 220) -> str:
    """The first sentence of `text`, cut after a word if it is longer than `longest` characters."""
    end = text.find(". ")
    text = text if end < 0 else text[: end + 1]
    return text if len(text) <= longest else text[:longest].rsplit(" ", 1)[0] + " …"


def no_declaration(p_match: float | None) -> str:
    """What stands in place of a declaration at a site that was matched to none.

    Args:
        p_match: probability that the site is some declared facility, None if unknown.
    """
    # 0.1: own choice; below it no single declaration is worth naming
    return "nothing fits" if p_match is None or p_match < 0.1 else "no sure match"


def evidence(text: str | None) -> str:
    """A text of the ledger in plain words; says so if there is no evidence."""
    text = (text or "").strip()
    for start in ("None: ", "None of its own: "):
        if text.startswith(start):
            text = text.removeprefix(start)
            text = text[:1].upper() + text[1:]
    if text in ("", "None."):
        return "No evidence for it in this imagery."
    for short, plain in _PLAIN.items():
        text = text.replace(short, plain)
    text = re.sub(r"(?<![\d.,])1 (building|cooling object)s\b", r"1 \1", text)
    return areas(text)


def areas(text: str) -> str:
    """The text with m² for m2, and thousands separated in whole areas."""
    text = re.sub(r"(?<=\d )m2\b|(?<=/)m2\b", "m²", text)
    return re.sub(r"(?<![\d.,])\d{4,}(?= m²)", lambda number: f"{int(number[0]):,}", text)


_PLAIN = {
    "p_match": "probability of a match",
    " at a prior of ": " at an assumed share of ",
    "(p10-p90 ": "(80% interval ",
    "building(s)": "buildings",
    "cooling object(s)": "cooling objects",
}
"""Short forms in the texts of the ledger, and what the report says instead."""


def next_step(row: Mapping[str, Any]) -> str:
    """Sentence on the next step at an entry and on the range of its rank; '' if neither is known."""
    said = []
    worth, known = row.get("value_of_inspection"), row.get("next_step")
    if row.get("class") != "matched" and worth is not None:
        # the value is net, in visits: what a visit is worth is that plus its cost, which is 1 by definition of the unit
        if known == "visit":
            said.append(f"Next: a visit; it is worth {_times(worth + 1.0)} times its cost.")
        elif known == "image":
            gain = f"{_times(worth)} times the cost of a visit"
            said.append(f"Next: an image of 0.3 m; after its own cost it is worth {gain}.")
        elif known == "none":
            said.append("Next: nothing yet; at these odds neither a visit nor a finer image is worth its cost.")
    low, high = row.get("rank_low"), row.get("rank_high")
    if row.get("class") != "matched" and low is not None and high is not None and low < high:
        said.append(f"Its rank is uncertain: {low} to {high}.")
    return " ".join(said)


def _times(value: float) -> str:
    if value < 0.095:
        return "less than 0.1"
    return f"about {count(value) if value >= 9.95 else f'{value:.1f}'}"


def scores(card: Mapping[str, Any]) -> list[str]:
    """What the scores on a model card say, one sentence for each measurement; the last is on ground elsewhere.

    Args:
        card: `scores` of a `ModelCard`; what is absent or no number is left out.
    """
    said = []
    center = _part(_part(card, "independent_labels, unlabelled background"), "data_center")
    if found := _numbers(center, "dice", "object_f1"):
        said.append(
            "Cross-validation on one district, labels drawn by others: "
            f"Dice of data centers {found[0]:.2f}, F1 of their buildings {found[1]:.2f}."
        )
    said += [
        f"On simulated scenes that were not used in training: AUC {found[0]:.2f}."
        for name in ("held-out simulated scenes", "held-out simulated scenes, without heat")
        if (found := _numbers(_part(card, name), "auc"))
    ]
    elsewhere = _part(card, "elsewhere")
    away = _numbers(elsewhere, "recall_of_sites", "false_sites_per_large_roof", "sites", "places")
    if away and away[1] > 0:
        said.append(
            f"Away from its training ground ({away[2]:.0f} sites in {away[3]:.0f} places) the detector finds "
            f"{share(away[0])} of the sites{_interval(elsewhere)} at one false site in {1 / away[1]:.0f} large roofs."
        )
    else:
        said.append("How these weights do away from their training ground has not been measured.")
    return said


def _interval(values: Mapping[str, Any]) -> str:
    """The 95% interval of a share in brackets, nothing if it is not stated as two numbers."""
    pair = values.get("interval")
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return ""
    both = _numbers({"low": pair[0], "high": pair[1]}, "low", "high")
    return f" (95% interval {share(both[0])} to {share(both[1])})" if both else ""


def _part(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = values.get(name)
    return part if isinstance(part, Mapping) else {}


def _numbers(values: Mapping[str, Any], *names: str) -> list[float] | None:
    """The values of these names, None unless all are numbers."""
    found = [float(v) for v in map(values.get, names) if isinstance(v, int | float)]
    return found if len(found) == len(names) else None


def ladder() -> list[dict[str, Any]]:
    """What imagery can verify of 1e24 to 1e27 FLOP in 90 days, largest first.

    `exponent`, `mw` (facility MW over the chips of docs/methods.md, section 5.2, as text), `verdict` (`cannot`,
    `partly`, `can`) and `words`.
    """
    words = {"can": "yes, as one site", "partly": "partly", "cannot": "no: blind"}
    return [
        {
            "exponent": round(math.log10(row["flop"])),
            "mw": f"{mw(row['mw_low'])} to {mw(row['mw_high'])} MW",
            "verdict": row["verdict"],
            "words": words[row["verdict"]],
        }
        for row in sorted(verdicts(), key=lambda row: -row["flop"])
        if row["flop"] >= 1e24
    ]


_BLIND_MW = max(row["mw_high"] for row in verdicts() if row["flop"] == 1e24)
HEAT_MW = THERMAL_FLOOR_MW
"""Facility power from which public thermal imagery can support a site (docs/methods.md, section 3.3), MW."""

LIMITS = (
    "Imagery helps to verify 1e26 FLOP, partly 1e25, and is blind below: 1e24 in 90 days needs under "
    f"{math.ceil(10 * _BLIND_MW) / 10:.1f} MW, and such a site looks like any other building.",
    "A site that is not listed may still exist: in places without imagery, below the detector's size, under "
    "another roof, underground, or because the detector missed it. That a place was looked at does not mean that "
    "a site there would have been found.",
    "Power comes from footprint and cooling-equipment area. It is what the site could carry, not what it draws; "
    "empty halls look the same.",
    "Compute assumes a chip mix by year. The kind of a site, and so the share of its load that is AI, is inferred from "
    "size, year and matched declarations; it is not visible and dominates the spread.",
    "The class of a building is the detector's judgement. The bundled weights learned from simulated scenes and from "
    "one real district, in Virginia.",
    "A discrepancy is a question, not a finding: registries err in position, date and naming "
    "more often than sites hide.",
)
"""How the numbers of a report could be wrong, and what imagery cannot verify; also on the exported list."""
