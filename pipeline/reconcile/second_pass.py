"""What matched declarations say of a site's operator, use and chips, for a second pass of the estimates.

In: table `entries` of the first pass, tables `sites` and `declared`. Out: a hint per site, with the probability of the
match as its weight. A hint sharpens the kind of a site, its mix of chips and its ratio of facility to IT power, and
never its IT power: that is what the declaration is to be checked against (docs/decisions/0018-two-passes.md).
"""

from __future__ import annotations

import geopandas as gpd

from overwatt.pipeline.compute.site_type import Hint
from overwatt.pipeline.declared.zones import country_of

_PLAIN_KINDS = frozenset({"facility", "power", "chips", "workload"})  # kinds of declaration that state no use


def hints(entries: gpd.GeoDataFrame, sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame) -> dict[int, Hint]:
    """Return the hint of each site that has a matched declaration, by the row of the site.

    Of several declarations of a site the likeliest one counts; of equally likely ones the first by id.

    Args:
        entries: table `entries` or `ledger`.
        sites: table `sites` that it was made from.
        declared: table `declared` that it was made from.
    """
    pairs = entries.loc[
        entries["site_id"].notna() & entries["declared_id"].notna() & (entries["p_match"].fillna(0.0) > 0),
        ["site_id", "declared_id", "p_match"],
    ].sort_values(["site_id", "p_match", "declared_id"], ascending=[True, False, True])
    best = pairs.drop_duplicates("site_id")
    row_of = {site: row for row, site in enumerate(sites["site_id"])}
    facts = declared.drop(columns="geometry").set_index("declared_id").loc[best["declared_id"]].reset_index()
    records = facts.astype(object).where(facts.notna(), None).to_dict("records")
    out = {}
    for site_id, p, stated in zip(best["site_id"], best["p_match"], records, strict=True):
        operator, use = _text(stated["operator"]), _text(stated["kind"])
        chips = {str(stated["chip"]): float(stated["chips"])} if stated["chip"] and stated["chips"] else {}
        hint = Hint(
            weight=float(p),
            operator=operator,
            use=None if use in _PLAIN_KINDS else use,
            country=country_of(stated["zone"]),
            chips=chips,
        )
        if hint.operator or hint.use or hint.country or hint.chips:
            out[row_of[site_id]] = hint
    return out


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
