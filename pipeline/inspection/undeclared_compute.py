"""Distribution of the undeclared training compute of ledger entries, as equally likely draws.

In: tables `ledger`, `sites`, `declared`. Out: a `Basis` (columns, canonical order) and, a few rows at a time, the
draws.

The undeclared FLOP of an entry is X = B Y. B is 1 with the entry's weight (table in `ranking`), else 0; Y is
compute, given that the entry is what its class says:

| class | Y, FLOP in 90 days |
|---|---|
| undeclared, position_mismatch, status_mismatch, type_mismatch | C, the FLOP of the site |
| above_declared | C (k - D / P)+ |
| below_declared | C (D / P - k)+ |
| not_seen | D times FLOP per MW, log-normal |

P: IT power of the site, k: power of all sites under the declaration over that of this one, D: declared IT MW.
C and P come from the nine quantiles of `sites`: ln C is piecewise linear in the normal score, the outer pieces
extrapolated beyond p025 and p975 (exact for a log-normal, its tail cut at 3.7 sigma); between a quantile of 0 and the
next, C itself is linear. Their dependence is that of log-normals C = P r whose FLOP per MW, r, does not depend on P: a
Gaussian copula with correlation sd(ln P) / sd(ln C), rounded to 0.05.

`DRAWS` = 4,181 points of the Fibonacci lattice (Niederreiter 1992, 5.1) replace random draws: equally likely, the same
for all entries, without a seed. B is not drawn; its weight is applied to the result.

All sites share a part of the error: that of the power model (ln-sd 0.20) and of FLOP per MW (0.30; docs/methods.md,
section 4.4). It moves all entries in the same direction and does not change the columns of a single entry; `shared`
gives the correlation that `rank_stability` uses. Whether a site is a data center or undeclared (B) is taken as
independent between sites.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import geopandas as gpd
import numpy as np
import pandas as pd
from scipy.special import ndtri

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.compute import training_compute
from overwatt.pipeline.quantiles import SCORES, curve, ln_sd, quantiles_of
from overwatt.pipeline.tables import QUANTILE_NAMES, QUANTILES
from overwatt.pipeline.vocabulary import NOT_SAID_TO_OPERATE

SHARE = {"status_mismatch": 0.25, "type_mismatch": 0.5, "below_declared": 0.05, "not_seen": 0.05}
"""Base rates, own choices until inspection results exist to fit them (docs/methods.md, section 6.2). A building that is
finished before its declared date is common (status lag 5-7 months, docs/methods.md, section 4.3): 1 in 4. Another
declared use, with data-center plant: even odds. A declaration that was not seen hides nothing at its own place, but its
power may be elsewhere; mostly its coordinate is wrong or it was never built: 1 in 20."""
FLOP_90D_PER_MW = 1e26 / 75.0
"""Used if there are no sites: 1e26 FLOP in 90 days need 75 MW of H100 (docs/methods.md, section 0, number 7)."""
UNIT = 1e24
"""FLOP per unit of the draws, so that their squares stay within the range of float32."""
DRAWS, _STEP = 4181, 2584  # consecutive Fibonacci numbers
SHARED_LN_SD = math.hypot(0.20, 0.30)
"""Error that all sites share: of the power model and of MFU (docs/methods.md, section 4.4)."""
RATIO_LN_SD = math.hypot(0.32, 0.30)
"""ln-sd of FLOP per declared MW: chip mix 0.22-0.42 and MFU 0.3 (docs/methods.md, section 4.4)."""
ASSUMED_IT_MW, ASSUMED_LN_SD = 5.6, 1.4
"""IT power of a site whose power is not known, as that of US data centers in general. Mean draw 11.8 MW per site
(21,918 MW over 1,853 mapped sites: Helios us-data-center-observatory, after LBNL 2024), over 1.3 facility per IT power
and a load of 0.6 (own choice): mean 15 MW. ln-sd: that of the areas of 1,149 sites in IM3; so the median is 5.6 MW."""
ASSUMED_WORDS = (
    f"The power of the site is not known: for the rank it is taken as that of US data centers in general, "
    f"{ASSUMED_IT_MW:g} MW of IT in the median, 90% interval {ASSUMED_IT_MW * math.exp(-1.645 * ASSUMED_LN_SD):.2g} to "
    f"{ASSUMED_IT_MW * math.exp(1.645 * ASSUMED_LN_SD):.2g} MW."
)
YEAR = 2026
"""Year of the chips where a table of sites holds power and no compute."""
CLASSES = (
    "undeclared",
    "above_declared",
    "type_mismatch",
    "status_mismatch",
    "position_mismatch",
    "not_seen",
    "below_declared",
    "matched",
)
"""Classes in the order in which ties are listed."""
_UNDECLARED, _ABOVE, _TYPE, _STATUS, _POSITION, _NOT_SEEN, _BELOW, _MATCHED = range(8)
_CHUNK = 64  # rows at a time: their draws (1 MB) fit the cache of a core
_LEVELS = 20  # correlations are rounded to 1 / 20: rows of one level share their order of draws
_U = (np.arange(DRAWS) + 0.5) / DRAWS
LATTICE = np.stack([ndtri(_U), ndtri((np.arange(DRAWS) * _STEP % DRAWS + 0.5) / DRAWS)])
"""Normal scores of the Fibonacci lattice, (2, draw), the first row ascending."""
_COARSE = ndtri((np.arange(256) + 0.5) / 256)  # enough for a mean per site


@dataclass(frozen=True)
class Basis:
    """Columns from which the draws are made; entries sorted by id, whatever the order of the ledger.

    Attributes:
        row: (entry,) int64, row of the ledger.
        entry_id: (entry,) object.
        klass: (entry,) int8, index into `CLASSES`.
        p: (entry,) float64, p_data_center, 0 where there is no site.
        weight: (entry,) float64, probability that B is 1.
        site: (entry,) int64, row of `flop` and `it_mw`, -1 without a site.
        flop: (site, quantile) float32, in `UNIT`.
        it_mw: (site, quantile) float32, MW.
        declared_mw: (entry,) float64, MW, sum over all declarations of the site; not_seen: its own or the median.
        whole: (entry,) float64, power of all sites of the declaration over that of this site.
        usual: FLOP in 90 days per declared MW, in `UNIT`.
    """

    row: np.ndarray
    entry_id: np.ndarray
    klass: np.ndarray
    p: np.ndarray
    weight: np.ndarray
    site: np.ndarray
    flop: np.ndarray
    it_mw: np.ndarray
    declared_mw: np.ndarray
    whole: np.ndarray
    usual: float

    def __len__(self) -> int:
        return len(self.row)


def basis(
    ledger: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    declared: gpd.GeoDataFrame | None = None,
    *,
    worst_case: bool = False,
) -> Basis:
    """Return the columns from which the draws are made.

    Args:
        ledger: table `ledger`.
        sites: table `sites` that it was made from.
        declared: table `declared`; with it, a not_seen row whose declaration is planned, under construction, closed,
            cancelled or of unknown status has weight 0: it does not claim to operate.
        worst_case: whether every site is taken as all AI.

    Raises:
        RegistryError: an entry names a site that `sites` does not have.
    """
    # sorted by id: the same draws for the same entry in whatever order the ledger comes
    ids = ledger["entry_id"].to_numpy(object)
    klass = ledger["class"].map({c: n for n, c in enumerate(CLASSES)}).to_numpy(float)
    row = np.lexsort((klass, ids)) if len(ids) else np.empty(0, np.int64)
    ids, klass = ids[row], klass[row].astype(np.int8)

    def number(name: str) -> np.ndarray:
        return ledger[name].to_numpy(float, na_value=np.nan)[row]

    known = pd.Index(sites["site_id"].to_numpy(object))
    site_ids, decl_ids = (ledger[c].to_numpy(object, na_value=None)[row] for c in ("site_id", "declared_id"))
    named = ~pd.isna(site_ids)
    site = np.full(len(row), -1)
    keep = ~known.duplicated(keep="last")  # of sites with one id the last counts
    at = known[keep].get_indexer(site_ids[named])
    site[named] = np.append(np.flatnonzero(keep), -1)[at]
    missing = named & (site < 0)
    if missing.any():
        name = "".join(c for c in str(site_ids[missing][0])[:60] if c.isprintable())
        raise RegistryError(f"ledger: site_id '{name}' is not in the table of sites; give the sites of the same run")
    flop, it_mw = compute_and_power(sites, worst_case=worst_case)
    own_mw, seen_mw = number("declared_it_mw"), number("it_mw_p50")
    stated = own_mw[~np.isnan(own_mw)]
    middle = QUANTILE_NAMES.index("p50")
    usual_mw = float(np.median(stated)) if len(stated) else float(np.median(it_mw[:, middle])) if len(it_mw) else 0.0
    whole = _sums(decl_ids, seen_mw) / np.where(seen_mw > 0, seen_mw, np.nan)
    declared_mw = np.where(klass == _NOT_SEEN, np.where(np.isnan(own_mw), usual_mw, own_mw), _sums(site_ids, own_mw))
    alone = np.nan_to_num(1.0 - np.nan_to_num(number("p_match")))
    p = np.nan_to_num(number("p_data_center"))
    seen = np.nan_to_num(number("p_detect"))
    if declared is not None:
        idle = declared.loc[declared["status"].isin(NOT_SAID_TO_OPERATE), "declared_id"].to_numpy(object)
        seen[pd.Index(decl_ids).isin(idle)] = 0.0
    weight = np.select(
        [klass == k for k in range(8)],
        [alone * p, np.ones(len(row)), SHARE["type_mismatch"] * p, SHARE["status_mismatch"] * p, alone * p,
         SHARE["not_seen"] * seen, np.full(len(row), SHARE["below_declared"]), np.zeros(len(row))],
    )  # fmt: skip
    return Basis(
        row, ids, klass, p, np.clip(weight, 0.0, 1.0), site, flop, it_mw, np.clip(np.nan_to_num(declared_mw), 0.0, 1e9),
        np.clip(np.where(np.isnan(whole), 1.0, whole), 0.0, 1e3), _usual(flop, it_mw),
    )  # fmt: skip


def compute_and_power(sites: gpd.GeoDataFrame, *, worst_case: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantiles of FLOP in 90 days, in `UNIT`, and of IT power, MW, each (site, quantile) float32.

    A site of unknown power has the power of US data centers in general (`ASSUMED_IT_MW`). Compute that the table does
    not hold is its power times FLOP per MW in `YEAR`.
    """
    stem, kind = ("flop_90d_ai", "ai") if worst_case else ("flop_90d", "unknown")
    it_mw, flop = quantiles_of(sites, "it_mw"), quantiles_of(sites, stem, UNIT)
    it_mw[sites["it_mw_p50"].isna().to_numpy(bool)] = ASSUMED_IT_MW * np.exp(ASSUMED_LN_SD * SCORES)
    missing = np.flatnonzero(sites[f"{stem}_p50"].isna().to_numpy(bool))
    if len(missing):
        spread = np.round(ln_sd(it_mw[missing]), 1)
        median = it_mw[missing, QUANTILE_NAMES.index("p50")]
        for sd in np.unique(spread):
            flop[missing[spread == sd]] = median[spread == sd, None] * _per_mw(kind, float(sd))
    return flop, it_mw


@lru_cache(maxsize=256)
def _per_mw(kind: str, spread: float) -> np.ndarray:
    """Quantiles of FLOP in 90 days, in `UNIT`, of a site of median 1 MW with this ln-sd, (quantile,)."""
    draws = training_compute.per_it_mw(YEAR, kind)[1] * (90.0 / UNIT)
    # fixed seed: the same table gives the same bits
    it_mw = np.exp(spread * np.random.default_rng(11).standard_normal(len(draws)))
    return np.quantile(it_mw * draws, QUANTILES)


def conditional(b: Basis, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (rows, draws of Y in `UNIT`, P(the difference is real)) for a few rows at a time.

    The numbers of a row depend on that row alone.

    Args:
        b: from `basis`.
        rows: (n,) int, of `b`; those of class matched have no draws and are skipped.

    Yields:
        rows (k,) int; draws (k, DRAWS) float32, ascending; real (k,) float64: 1, and for above and below_declared
        the probability that the power is above, or below, the declared.
    """
    klass = b.klass[rows]
    both = (klass == _ABOVE) | (klass == _BELOW)
    for part in _chunks(rows[~both & (klass != _NOT_SEEN) & (klass != _MATCHED)]):
        yield part, curve(b.flop[b.site[part]], LATTICE[0]), np.ones(len(part))
    ratio = np.exp(RATIO_LN_SD * LATTICE[0])
    for part in _chunks(rows[klass == _NOT_SEEN]):
        mean = b.declared_mw[part] * b.usual
        # a log-normal with the mean D times FLOP per MW
        yield part, (mean[:, None] * (ratio / ratio.mean())).astype(np.float32), np.ones(len(part))
    rows = rows[both]
    level = _copula(b, rows)
    for n in np.unique(level):
        rho = n / _LEVELS
        # second coordinate of the Gaussian copula with correlation rho
        scores = rho * LATTICE[0] + math.sqrt(1.0 - rho**2) * LATTICE[1]
        order = np.argsort(scores, kind="stable")
        for part in _chunks(rows[level == n]):
            it_mw = np.maximum(curve(b.it_mw[b.site[part]], LATTICE[0]), np.float32(1e-6))
            sign = np.where(b.klass[part] == _ABOVE, 1.0, -1.0)
            whole, stated = ((sign * v).astype(np.float32)[:, None] for v in (b.whole[part], b.declared_mw[part]))
            excess = np.maximum(whole - stated / it_mw, 0.0)
            real = (excess > 0).mean(axis=1)
            draws = excess[:, order]
            draws *= curve(b.flop[b.site[part]], scores[order])
            draws.sort(axis=1)
            yield part, draws, real


def shared(b: Basis, rows: np.ndarray) -> np.ndarray:
    """Return the correlation of each entry's normal score with the error shared by all sites, (n,) float64.

    Its square is the shared part of the variance of ln C: SHARED_LN_SD squared over the entry's variance, at most 1.
    """
    sd = np.full(len(rows), RATIO_LN_SD)
    on = b.site[rows] >= 0
    sd[on] = ln_sd(b.flop[b.site[rows][on]])
    return np.minimum(1.0, SHARED_LN_SD / np.maximum(sd, 1e-9))


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _sums(key: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum of the known values over the rows of the same key, (n,); NaN if none is known or the key is None."""
    code = pd.factorize(key)[0]
    ok = (code >= 0) & ~np.isnan(values)
    size = int(code.max(initial=-1)) + 1
    total = np.bincount(code[ok], values[ok], size).astype(float)  # bincount of nothing returns integers
    total[np.bincount(code[ok], minlength=size) == 0] = np.nan
    out = np.full(len(key), np.nan)
    out[code >= 0] = total[code[code >= 0]]
    return out


def _usual(flop: np.ndarray, it_mw: np.ndarray) -> float:
    """Median over the sites of mean FLOP over mean IT power, in `UNIT` per MW."""
    ratios = []
    for start in range(0, len(flop), 4096):
        at = slice(start, start + 4096)
        compute, power = (curve(q[at], _COARSE).mean(axis=1, dtype=float) for q in (flop, it_mw))
        ratios.append(np.where(power > 0, compute / np.maximum(power, 1e-12), FLOP_90D_PER_MW / UNIT))
    return float(np.median(np.concatenate(ratios))) if ratios else FLOP_90D_PER_MW / UNIT


def _copula(b: Basis, rows: np.ndarray) -> np.ndarray:
    """Correlation of ln P and ln C at each row's site, in steps of 1 / _LEVELS, (n,) int64."""
    power, compute = ln_sd(b.it_mw[b.site[rows]]), ln_sd(b.flop[b.site[rows]])
    return np.rint(_LEVELS * np.clip(power / np.maximum(compute, 1e-9), 0.0, 1.0)).astype(np.int64)
