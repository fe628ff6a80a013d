"""How much undeclared training compute an entry of the ledger could stand for, as a distribution.

In: tables `ledger`, `sites`, `declared`. Out: for each entry a weight w and a curve V: with probability w the entry
hides V FLOP in 90 days, else none. V is monotone in one standard normal score, so every figure is an integral over it
and no draw is needed: the mean is w mean(V), P(U > F) is w mean(V > F), and a quantile of U is one of V.

| class | w | V |
|---|---|---|
| undeclared | p_data_center (1 - p_match) | C |
| above_declared | 1 | (C_obs - C_decl)+ |
| position_mismatch | p_data_center (1 - p_match): it may be another facility after all | C |
| status_mismatch, type_mismatch | SHARE p_data_center: it may compute, and not as declared | C |
| below_declared | SHARE: what was declared here may stand elsewhere | (C_decl - C_obs)+ |
| not_seen | SHARE p_detect: likewise; 0 where declared as not operating | C_decl; the median declared MW where none |
| matched | 0 | |

C comes from the quantiles that `sites` holds: ln C is taken as piecewise linear in the normal score, the outer pieces
carried on beyond p025 and p975. That is exact for a log-normal (its far tail cut at 3 sigma) and close for anything
near one. A declared MW becomes FLOP at the FLOP per IT MW of its site, or, where there is no site, at the median of
all sites: chips are assumed alike. `p_data_center` holds at the prior of `sites.prior`; another prior gives another
list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import pandas as pd
from scipy.special import ndtri

from pipeline.reconcile_settings import NOT_OPERATING
from pipeline.tables import QUANTILE_NAMES, QUANTILES

SHARE = {"status_mismatch": 0.25, "type_mismatch": 0.5, "below_declared": 0.05, "not_seen": 0.05}
"""Base rates, judgements until dispositions exist to fit them. A building that is finished
before its declared date is usual (status lag 5-7 months, domain 4.3): 1 in 4. A declared other
use with data-center plant: even odds. A declaration not seen hides nothing by itself, its power
only must be somewhere; mostly it is a wrong coordinate or was never built: 1 in 20."""

FLOP_90D_PER_MW = 1e26 / 75.0
"""Where no site gives a ratio: 1e26 FLOP in 90 days need 75 MW of H100 (domain table 0, 7)."""

NODES = 400
_GRID = ndtri((np.arange(NODES) + 0.5) / NODES)  # normal scores of equally likely values
_SCORES = ndtri(np.array(QUANTILES))
_CHUNK = 20_000  # entries whose curves are held at a time: 64 MB


@dataclass(frozen=True)
class Entries:
    """What the ledger and its sites say of each entry, one element an entry.

    Attributes:
        klass: (n,) class.
        site: (n,) row in `it_mw` and `flop`, -1 without a site.
        weight: (n,) probability that there is undeclared compute at all.
        declared_mw: (n,) MW that all declarations of the entry's site come to; NaN where none is stated.
        observed_scale: (n,) observed MW of all sites of its declaration over the site's own.
        ratio: (n,) FLOP in 90 days per IT MW.
        it_mw: (site, quantile) MW.
        flop: (site, quantile) FLOP in 90 days.
    """

    klass: np.ndarray
    site: np.ndarray
    weight: np.ndarray
    declared_mw: np.ndarray
    observed_scale: np.ndarray
    ratio: np.ndarray
    it_mw: np.ndarray
    flop: np.ndarray

    def curves(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the entries (indices) that may hide something and their V, (entry, node) FLOP, chunk by chunk."""
        open_ = np.flatnonzero(self.weight > 0)
        for start in range(0, len(open_), _CHUNK):
            rows = open_[start : start + _CHUNK]
            yield rows, self.values(rows)

    def values(self, rows: np.ndarray) -> np.ndarray:
        """V of some entries, (entry, node) FLOP in 90 days."""
        out = np.zeros((len(rows), NODES))
        klass, site = self.klass[rows], self.site[rows]
        power = (klass == "above_declared") | (klass == "below_declared")
        whole = (site >= 0) & ~power
        out[whole] = curve(self.flop[site[whole]])
        alone = site < 0
        out[alone] = (self.declared_mw * self.ratio)[rows][alone, None]
        if power.any():
            of = rows[power]
            excess = curve(self.it_mw[self.site[of]]) * self.observed_scale[of, None] - self.declared_mw[of, None]
            sign = np.where(klass[power] == "above_declared", 1.0, -1.0)[:, None]
            out[power] = np.maximum(sign * excess, 0.0) * self.ratio[of, None]
        return out


def entries_of(
    ledger: gpd.GeoDataFrame, sites: gpd.GeoDataFrame, declared: gpd.GeoDataFrame | None = None
) -> Entries:
    """Return the entries' weights and what their curves are made of.

    Args:
        ledger: table `ledger` from `reconcile`.
        sites: table `sites` that it was made from.
        declared: table `declared`; with it, a not_seen entry whose declaration is planned, under
            construction or closed weighs 0: it claims nothing in operation.
    """
    it_mw, flop = (sites[[f"{stem}_{q}" for q in QUANTILE_NAMES]].to_numpy(float) for stem in ("it_mw", "flop_90d"))
    klass = ledger["class"].to_numpy(object).astype(str)
    site = _rows(sites["site_id"], ledger["site_id"])
    columns = ("p_match", "p_detect", "p_data_center", "declared_it_mw", "it_mw_p50")
    number = {c: ledger[c].to_numpy(float) for c in columns}
    per_mw = _ratios(it_mw, flop)
    usual = float(np.median(per_mw)) if len(per_mw) else FLOP_90D_PER_MW
    ratio = np.where(site >= 0, per_mw[site] if len(per_mw) else usual, usual)
    known = number["declared_it_mw"][~np.isnan(number["declared_it_mw"])]
    fallback = known if len(known) else it_mw[:, QUANTILES.index(0.5)]
    usual_mw = float(np.median(fallback)) if len(fallback) else 0.0
    of_site = ledger.groupby("site_id")["declared_it_mw"].sum(min_count=1)
    of_decl = ledger.groupby("declared_id")["it_mw_p50"].sum(min_count=1)
    declared_mw = ledger["site_id"].map(of_site).to_numpy(float, na_value=np.nan)
    own = np.where(np.isnan(number["declared_it_mw"]), usual_mw, number["declared_it_mw"])
    declared_mw = np.where(site >= 0, declared_mw, own)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = ledger["declared_id"].map(of_decl).to_numpy(float, na_value=np.nan) / number["it_mw_p50"]
    share = np.array([SHARE.get(c, 1.0) for c in klass])
    p, alone = np.nan_to_num(number["p_data_center"]), 1.0 - np.nan_to_num(number["p_match"])
    weight = np.select(
        [klass == "matched", np.isin(klass, ("undeclared", "position_mismatch")), klass == "not_seen",
         np.isin(klass, ("status_mismatch", "type_mismatch"))],
        [0.0, p * alone, share * np.nan_to_num(number["p_detect"]), share * p],
        share,
    )  # fmt: skip
    if declared is not None:
        idle = declared.loc[declared["status"].isin(NOT_OPERATING), "declared_id"]
        weight = np.where((klass == "not_seen") & ledger["declared_id"].isin(idle).to_numpy(bool), 0.0, weight)
    return Entries(klass, site, weight, declared_mw, np.where(np.isfinite(scale), scale, 1.0), ratio, it_mw, flop)


def curve(quantiles: np.ndarray) -> np.ndarray:
    """Return `NODES` equally likely values, ascending, from nine quantiles, (n, 9) -> (n, NODES)."""
    if not len(quantiles):
        return np.zeros((0, NODES))
    plain = quantiles[:, 0] <= 0  # no logarithm: linear within, constant beyond
    with np.errstate(divide="ignore"):
        value = np.where(plain[:, None], quantiles, np.log(np.maximum(quantiles, 1e-300)))
    piece = np.clip(np.searchsorted(_SCORES, _GRID) - 1, 0, len(_SCORES) - 2)
    step = (_GRID - _SCORES[piece]) / (_SCORES[piece + 1] - _SCORES[piece])
    inner = np.clip(step, 0.0, 1.0)
    low, rise = value[:, piece], value[:, piece + 1] - value[:, piece]
    out = low + rise * np.where(plain[:, None], inner, step)
    np.exp(out, out=out, where=~plain[:, None])
    return out


def _ratios(it_mw: np.ndarray, flop: np.ndarray) -> np.ndarray:
    """Training FLOP in 90 days per IT MW of each site: ratio of the means."""
    out = np.full(len(it_mw), FLOP_90D_PER_MW)
    for start in range(0, len(it_mw), _CHUNK):
        part = slice(start, start + _CHUNK)
        mw = curve(it_mw[part]).mean(1)
        out[part] = np.where(mw > 0, curve(flop[part]).mean(1) / np.where(mw > 0, mw, 1.0), FLOP_90D_PER_MW)
    return out


def _rows(names: pd.Series, wanted: pd.Series) -> np.ndarray:
    """Row of each wanted name, -1 where it is missing or unknown."""
    found = pd.Index(names.to_numpy(object)).get_indexer(wanted.to_numpy(object))
    return np.asarray(np.where(wanted.isna().to_numpy(bool), -1, found))
