"""What a card says of a site's kind, worst case and evidence, and what the list says of its order.

In: rows of the tables `sites` and `ledger`. Out: plain values and sentences for the template; nothing here is HTML.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import ndtri

from overwatt.pipeline.inspection.settings import RankingSettings
from overwatt.pipeline.inspection.undeclared_compute import UNIT
from overwatt.pipeline.quantiles import curve
from overwatt.pipeline.report import wording
from overwatt.pipeline.tables import QUANTILE_NAMES, QUANTILES

Row = dict[str, Any]
KINDS = {"ai": "AI", "cloud": "cloud", "colocation": "colocation", "enterprise": "enterprise", "mine": "mine"}
"""Kinds of site by the columns p_... of the table `sites`, and their names."""
EVIDENCE = {
    "footprint": "footprint of the buildings",
    "storeys": "their storeys or height",
    "buildings": "number of buildings",
    "outlined": "area of outlined cooling equipment",
    "counted": "machines counted",
    "generators": "generators",
    "substation": "capacity of its substation (upper limit)",
    "turbines": "its own turbines (upper limit)",
    "stated": "power as stated in its table",
}
"""Evidence of the column `evidence`, in the words of a card; other names are shown as they are."""
_BAR_PX = 560.0
_SCORES = ndtri((np.arange(256) + 0.5) / 256)  # enough for a mean


def kinds(site: Row) -> Row | None:
    """Return the parts of a bar of the kinds, a sentence on them and one on the FLOP; None if they are not known."""
    share = {kind: site[f"p_{kind}"] for kind in KINDS}
    if any(p is None for p in share.values()):
        return None
    parts, at = [], 0.0
    for kind, p in share.items():
        parts.append((kind, round(at, 1), round(_BAR_PX * p, 1)))
        at += _BAR_PX * p
    ordered = sorted(share.items(), key=lambda item: -item[1])
    return {
        "parts": parts,
        "words": [(kind, f"{KINDS[kind]} {wording.share(p)}") for kind, p in ordered if p >= 0.005],
        "carried": _carried(site),
    }


def _carried(site: Row) -> str:
    """Sentence on the share of the expected FLOP that rests on the site being built for AI; '' if not known."""
    mean, p_ai = site["flop_90d_mean"], site["p_ai"]
    worst = _quantiles(site, "flop_90d_ai", UNIT)
    if worst is None or not mean:
        return ""
    part = min(1.0, p_ai * float(curve(worst, _SCORES).mean(dtype=float)) * UNIT / mean)
    return (
        f"About {wording.share(round(part, 2))} of the expected FLOP rest on its being an AI site, which is inferred."
    )


def none_or_some(site: Row) -> str:
    """Sentence on the number of accelerators if there are some; '' if there are some in all but 2.5% of the draws."""
    found = _quantiles(site, "h100e")
    # half a chip: a lower quantile is none
    if found is None or found[0, QUANTILE_NAMES.index("p05")] >= 0.5:
        return ""
    last = int(np.flatnonzero(found[0] < 0.5)[-1])
    if last + 1 >= len(QUANTILES):
        return "No AI accelerators are expected here."
    none = QUANTILES[last]
    # levels of 10% and 90% among the draws with accelerators
    low, high = curve(found, ndtri(np.array([none + 0.1 * (1 - none), none + 0.9 * (1 - none)])))[0].astype(float)
    return (
        f"No AI accelerators at all in {wording.share(none)} of the draws or more; if it has some, "
        f"{wording.count(max(low, 1.0))} to {wording.count(high)} H100 equivalents (80%)."
    )


def evidence(site: Row) -> str:
    """The evidence that a site's estimates rest on, in words; '' if the table does not say."""
    names = [n.strip() for n in (site["evidence"] or "").split(",") if n.strip()]
    return ", ".join(EVIDENCE.get(name, name) for name in names)


def order(ranked_by: object) -> Row:
    """Return how the list is ordered: a heading, a sentence, and the column that shows it."""
    by = RankingSettings.of(ranked_by)
    if by.by == "worst_case":
        return {
            "heading": "worst case: every site all AI",
            "words": "Ordered by the training compute, in FLOP of 90 days, that may stand here without being declared "
            "if every site were all AI: the average over all else that is uncertain.",
            "column": "undeclared_flop_90d_ai",
            "name": "Undeclared FLOP, worst case",
        }
    if by.by == "p_over":
        shown = {1e25: "p_over_1e25", 1e26: "p_over_1e26"}.get(by.flop)
        mantissa, exponent = wording.power_of_ten(by.flop)
        flop = f"{'' if mantissa == '1.0' else f'{mantissa} × '}10{exponent.translate(wording.SUPERSCRIPT)} FLOP"
        return {
            "heading": f"probability of more than {flop}",
            "words": f"Ordered by the probability that more than {flop} in 90 days may stand here without being "
            "declared.",
            "column": shown or "undeclared_flop_90d",
            "name": f"P(more than {flop})" if shown else "Expected undeclared FLOP",
        }
    return {
        "heading": "expected undeclared compute",
        "words": "Ordered by the training compute, in FLOP of 90 days, that may stand here without being declared: the "
        "average over all that is uncertain.",
        "column": "undeclared_flop_90d",
        "name": "Expected undeclared FLOP",
    }


def _quantiles(site: Row, stem: str, unit: float = 1.0) -> np.ndarray | None:
    """The nine quantiles of a row in `unit`, (1, 9) float32; None if they are not known."""
    values = [site[f"{stem}_{q}"] for q in QUANTILE_NAMES]
    return None if any(v is None for v in values) else (np.array([values]) / unit).astype(np.float32)
