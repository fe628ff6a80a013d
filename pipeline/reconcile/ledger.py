"""Observed sites against declared facilities: who is who, and what does not agree.

In: tables `sites`, `declared`, `looked_at`. Out: table `ledger`, one row per matched pair,
per unmatched site that is probably a data center, and per unmatched declaration whose place
was looked at. Declarations whose place was not looked at get no row (`not_looked_at`).

Why this way. Nearest-neighbour matching fails in both places that matter: in a dense district
it invents agreements, in the open it turns one wrong coordinate into a hidden site and a ghost.
So each pair gets a log-odds `gain` of "the same facility" over "unrelated site, missed
declaration" (Fellegi-Sunter with a spatial Poisson background, docs/methods.md, section 6.1):

    gain = ln p(distance) - ln(site density) + ln LR(power) + ln LR(area) + ln LR(names) + ln LR(use) + overlap
           + ln p_data_center + ln P(seen at the image's date | declared)
           - ln P(site unrelated to the registry) - ln P(missed | declared)

p(distance) mixes a Gaussian about the site's outline with a gross error within some km. The
assignment that maximises the sum of gains, one to one with everyone free to stay alone, is
exact, `p_match` the marginal over all assignments (overwatt.pipeline.reconcile.assignment).

One to many: an unassigned declaration that lies on a matched site becomes a member of that
match when this beats "missed" in the same currency; an unassigned site at least half inside
the declared outline of a match joins it too. Powers are compared between the sums.
"""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.pipeline.coverage import looked_shares
from overwatt.pipeline.reconcile import entries, linkage
from overwatt.pipeline.reconcile.entries import entry_id
from overwatt.pipeline.reconcile.records import declared_of, sites_of
from overwatt.pipeline.reconcile.settings import DEFAULTS, ReconcileSettings
from overwatt.pipeline.tables import conform, empty

__all__ = ["DEFAULTS", "ReconcileSettings", "entry_id", "not_looked_at", "reconcile"]


def reconcile(
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame,
    looked_at: gpd.GeoDataFrame,
    settings: ReconcileSettings = DEFAULTS,
    labels: pd.DataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return table `entries`: `sites` compared with `declared`; independent of the order of their rows.

    The entries are in canonical order, by site and declaration; `rank_discrepancies` ranks them.

    Args:
        sites: table `sites`.
        declared: table `declared`; chips, workloads and rows without a place are left to `balance`.
        looked_at: table `looked_at`.
        settings: priors and limits.
        labels: site_id and any of name, operator, identifier (a declared_id), zone, where sites have them.

    Raises:
        RegistryError: a declared_id occurs twice (two registries were joined without renaming).
    """
    s, d = sites_of(sites, labels), declared_of(declared, looked_at, settings)
    pairs = linkage.candidates(s, d, settings)
    found = linkage.match(pairs, s, d, settings)
    alone = s.p >= settings.min_p_data_center
    alone[pairs.site[found.pair]] = alone[found.more_sites[:, 1]] = False
    unseen = d.looked >= settings.min_p_detect
    unseen[pairs.decl[found.pair]] = unseen[found.more_decls[:, 1]] = False
    parts = [
        entries.matched(found, pairs, s, d, settings),
        entries.joined(found, pairs, s, d),
        entries.undeclared(np.flatnonzero(alone), pairs, s, d, settings),
        entries.not_seen(np.flatnonzero(unseen), pairs, s, d),
    ]
    return _table(parts)


def not_looked_at(
    declared: gpd.GeoDataFrame,
    looked_at: gpd.GeoDataFrame,
    settings: ReconcileSettings = DEFAULTS,
    ledger: gpd.GeoDataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return the declarations on which nothing can be said: too little of their place was looked at.

    Their column `looked_at` holds the share. With `ledger`, those that were matched all the
    same (seen at the edge of the imagery) are left out, so that ledger and this are complements.
    """
    share = looked_shares(declared.geometry.to_numpy(), declared["position_error_m"].to_numpy(float), looked_at)
    keep = share < settings.min_p_detect
    if ledger is not None:
        keep &= ~declared["declared_id"].isin(ledger["declared_id"].dropna()).to_numpy(bool)
    return declared.assign(looked_at=share)[keep].reset_index(drop=True)


def _table(parts: list[entries.Columns]) -> gpd.GeoDataFrame:
    """The parts as one table in canonical order: by site, then declaration, those without last."""
    parts = [p for p in parts if len(p["entry_id"])]
    if not parts:
        return empty("entries")
    order = np.lexsort([np.concatenate([p[k] for p in parts]) for k in ("_decl", "_site")])
    columns = {}
    for name in sorted({k for p in parts for k in p} - {"_decl", "_site"}):
        whole = np.concatenate([_column(p.get(name), len(p["entry_id"])) for p in parts])[order]
        columns[name] = pd.Series(whole, dtype=whole.dtype)  # objects stay so: texts are made Arrow's once, at the end
    return conform(pd.DataFrame(columns), "entries")


def _column(values: object, n: int) -> np.ndarray:
    """Values, a scalar or nothing as (n,) float64 or objects."""
    if isinstance(values, np.ndarray):
        return values
    if not isinstance(values, list):
        return np.full(n, values, object if values is None else float)
    out = np.empty(n, object)
    out[:] = values
    return out
