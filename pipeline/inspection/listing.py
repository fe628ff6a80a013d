"""Which sites without a declaration are questions on the list, and which are almost listed.

In: table `entries` of `reconcile`, which has a row for every unmatched site however improbable. Out: the ranked ledger,
and the ranked table `almost_listed` of the sites that were left out, each with its reason.

A fixed least probability would list nothing where data centers are rare: at a prior of 3 in 1,000 even strong evidence
leaves a site improbable, and still worth a look if it could hide much. So a site is listed if

1. *value*: a visit, or an image first, is worth its cost (`value_of_information`); or the site is more likely than not
   an undeclared data center, whatever its size; and
2. *false_share*: of the sites that pass, the surest first, the expected share of false entries stays at or below
   `ListSettings.max_false_share`: the mean of 1 - p (Bayesian false-discovery rate, Efron 2008).

p = p_data_center (1 - p_match), as in `ranking`. Entries with a declaration are always listed: each declaration whose
place was looked at is accounted for.
"""

from __future__ import annotations

from collections.abc import Mapping

import geopandas as gpd
import numpy as np

from overwatt.pipeline.inspection import value_of_information
from overwatt.pipeline.inspection.false_discovery import running_share
from overwatt.pipeline.inspection.ranking import p_over, rank_discrepancies
from overwatt.pipeline.inspection.settings import ListSettings, RankingSettings
from overwatt.pipeline.tables import conform, empty

LIKELY = 0.5
"""From this probability on a question is more likely right than wrong, and listed whatever the size of the site."""


def ranked_list(
    entries: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame | None = None,
    stakes: value_of_information.Stakes = value_of_information.DEFAULTS,
    settings: ListSettings | None = None,
    ranking: RankingSettings | None = None,
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Return table `ledger`, ranked, and table `almost_listed`, ranked by itself.

    Args:
        entries: table `entries` from `reconcile`.
        sites: table `sites` that it was made from.
        declared: table `declared`, as for `rank_discrepancies`.
        stakes: values of a find and of a wrong entry, costs of a visit and of an image.
        settings: limit of the list; the default if None.
        ranking: what orders the list; in the worst case a visit must be worth its cost if every site were all AI.

    Raises:
        RegistryError: an entry names a site that `sites` does not have.
    """
    limit = (settings or ListSettings()).max_false_share
    alone = np.flatnonzero(entries["class"] == "undeclared")
    worst_case = ranking is not None and ranking.by == "worst_case"
    reason = why_left_out(entries.iloc[alone], sites, declared, stakes, limit, worst_case=worst_case)
    out = np.zeros(len(entries), bool)
    out[alone[reason != ""]] = True
    ledger = rank_discrepancies(entries[~out], sites, declared, stakes, ranking)
    if not out.any():
        return ledger, empty("almost_listed")
    almost = rank_discrepancies(entries[out], sites, declared, stakes, ranking)
    why = dict(zip(entries["entry_id"].to_numpy(object)[alone], reason, strict=True))
    return ledger, conform(almost.assign(left_out=almost["entry_id"].map(why)), "almost_listed")


def why_left_out(
    alone: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame | None,
    stakes: value_of_information.Stakes,
    limit: float,
    *,
    worst_case: bool = False,
) -> np.ndarray:
    """Return why each site without a declaration is left out, (n,) object: value, false_share, or '' if it is not.

    Args:
        alone: the entries of class undeclared.
        sites: as for `ranked_list`.
        declared: likewise.
        stakes: likewise.
        limit: largest expected share of false entries.
        worst_case: whether every site is taken as all AI.
    """
    reason = np.full(len(alone), "", object)
    if not len(alone):
        return reason
    p = alone["p_data_center"].to_numpy(float) * (1.0 - alone["p_match"].fillna(0.0).to_numpy(float))
    step, _ = value_of_information.next_step(
        p_over(alone, sites, stakes.flop, declared=declared, worst_case=worst_case),
        alone["class"].to_numpy(object),
        stakes,
    )
    reason[(step == "none") & (p < LIKELY)] = "value"
    rest = np.flatnonzero(reason == "")
    rest = rest[np.lexsort((alone["entry_id"].to_numpy(object)[rest].astype(str), -p[rest]))]
    # the mean rises down the list, so what is within the limit is its beginning
    within = int(np.count_nonzero(running_share(1.0 - p[rest]) <= limit))
    reason[rest[within:]] = "false_share"
    return reason


def left_out_counts(almost: gpd.GeoDataFrame) -> dict[str, int]:
    """Return the number of sites of table `almost_listed` by reason, without reasons that left out none."""
    return {str(k): int(n) for k, n in almost["left_out"].value_counts(sort=False).sort_index().items()}


def left_out_words(counts: Mapping[str, int], stakes: value_of_information.Stakes, settings: ListSettings) -> list[str]:
    """Return `left_out_counts` in words, a text for each reason."""
    flop = f"{stakes.flop:.3g}".replace("+", "")
    words = {
        "value": f"too improbable or too small to pay for a visit or an image at {flop} FLOP in 90 days",
        "false_share": f"too improbable for the list: with them more than {settings.max_false_share:.0%} of the "
        "listed sites without a declaration would be expected to be false",
    }
    return [f"{counts[k]} {words[k]}" for k in counts]
