"""Record linkage of observed sites with declared facilities, and the inconsistencies between them.

In: tables `sites`, `declared`, `looked_at`. Out: table `entries`, one row per matched pair, per unmatched site, and per
unmatched declaration whose place was observed. Declarations whose place was not observed get no row (`not_looked_at`).
Which of the unmatched sites are worth a question is decided later (overwatt.pipeline.inspection.listing).

Why this way. Nearest-neighbour matching fails in both important cases: in a dense district it invents agreements, and
in open country it turns one wrong coordinate into an undeclared site and a facility that does not exist. So each pair
gets a log-odds `gain` of "same facility" over "unrelated site, missed declaration" (Fellegi-Sunter with a spatial
Poisson background, docs/methods.md, section 6.1):

    gain = ln p(distance) - ln(site density) + ln LR(power) + ln LR(area) + ln LR(names) + ln LR(use) + overlap
           + ln p_data_center + ln P(seen at the image's date | declared)
           - ln P(site unrelated to the registry) - ln P(missed | declared)

p(distance) is a mixture of a Gaussian about the site's outline and a gross error of some km. The shares of missing
records, gross errors and labels that agree are estimated from the two tables (`shares`). The one-to-one assignment with
the largest sum of gains is exact, and every record may stay without a partner. `p_match` is the marginal over all
assignments (overwatt.pipeline.reconcile.assignment).

One to many: where one side lists a campus as a whole and the other in parts, the parts join its match and their
probabilities are summed (`campuses`). Powers are compared as sums over all records of a match.
"""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd

from overwatt.pipeline.coverage import looked_shares
from overwatt.pipeline.reconcile import entries, linkage
from overwatt.pipeline.reconcile.records import declared_of, sites_of
from overwatt.pipeline.reconcile.settings import DEFAULTS, ReconcileSettings
from overwatt.pipeline.reconcile.shares import Shares
from overwatt.pipeline.tables import conform, empty


@dataclass(frozen=True)
class Comparison:
    """Table `entries`, and the shares of missing records and wrong coordinates that its probabilities rest on."""

    entries: gpd.GeoDataFrame
    shares: Shares


def reconcile(
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame,
    looked_at: gpd.GeoDataFrame,
    settings: ReconcileSettings = DEFAULTS,
    labels: pd.DataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return table `entries` alone; arguments and errors as in `compare`."""
    return compare(sites, declared, looked_at, settings, labels).entries


def compare(
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame,
    looked_at: gpd.GeoDataFrame,
    settings: ReconcileSettings = DEFAULTS,
    labels: pd.DataFrame | None = None,
) -> Comparison:
    """Return `sites` compared with `declared`, and the shares used; independent of the order of their rows.

    The entries are in canonical order, by site and declaration; `rank_discrepancies` ranks them.

    Args:
        sites: table `sites`.
        declared: table `declared`; chips, workloads and rows without a place are ignored, only `balance` uses them.
        looked_at: table `looked_at`.
        settings: priors and limits.
        labels: site_id and any of name, operator, identifier (a declared_id), zone, plant_known, if sites have them.

    Raises:
        RegistryError: a declared_id occurs twice (two registries were concatenated without renaming).
    """
    site_records, decl_records = sites_of(sites, labels), declared_of(declared, looked_at, settings)
    pairs, found, shares = linkage.link(site_records, decl_records, settings)
    alone = np.ones(len(site_records), bool)
    alone[pairs.site[found.pair]] = alone[found.more_sites[:, 1]] = False
    unseen = decl_records.looked >= settings.min_p_detect
    unseen[pairs.decl[found.pair]] = unseen[found.more_decls[:, 1]] = False
    parts = [
        entries.matched(found, pairs, site_records, decl_records, settings),
        entries.joined(found, pairs, site_records, decl_records),
        entries.undeclared(np.flatnonzero(alone), pairs, site_records, decl_records, settings),
        entries.not_seen(np.flatnonzero(unseen), pairs, site_records, decl_records),
    ]
    return Comparison(_table(parts), shares)


def not_looked_at(
    declared: gpd.GeoDataFrame,
    looked_at: gpd.GeoDataFrame,
    settings: ReconcileSettings = DEFAULTS,
    ledger: gpd.GeoDataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return the declarations that cannot be checked, because too little of their place was observed.

    Column `looked_at` holds the observed share. With `ledger`, declarations that were matched nevertheless (seen at the
    edge of the imagery) are left out, so that this table and the ledger are complements.
    """
    share = looked_shares(declared.geometry.to_numpy(), declared["position_error_m"].to_numpy(float), looked_at)
    keep = share < settings.min_p_detect
    if ledger is not None:
        keep &= ~declared["declared_id"].isin(ledger["declared_id"].dropna()).to_numpy(bool)
    return declared.assign(looked_at=share)[keep].reset_index(drop=True)


def _table(parts: list[entries.Columns]) -> gpd.GeoDataFrame:
    """Return the parts as one table, ordered by site, then by declaration; entries without one come last."""
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
    """Return values, a scalar or None as a column, (n,) float64 or object."""
    if isinstance(values, np.ndarray):
        return values
    if not isinstance(values, list):
        return np.full(n, values, object if values is None else float)
    out = np.empty(n, object)
    out[:] = values
    return out
