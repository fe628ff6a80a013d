"""Kinds of data-center sites: how many there are, how large, how dense, how cooled, whose, and where.

In: the tables models/reference/site_kinds.csv, site_operators.csv and site_countries.csv, each row with its source.
Out: `kinds()` and the likelihood ratios of an operator and a country. They describe US sites as a population, so that
the kind of one site follows by Bayes' rule (docs/methods.md, section 5.2).
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

KINDS = ("ai", "cloud", "enterprise", "colocation", "mine")
"""ai: built for training and serving large models; cloud: campus of a hyperscale company; colocation: leased halls;
enterprise: a company's or agency's own; mine: of cryptocurrency."""


@dataclass(frozen=True)
class SiteKind:
    """One kind of site in the United States.

    Attributes:
        kind: one of `KINDS`.
        sites: year -> number of sites.
        it_mw: year -> median IT power of a site, MW.
        ln_sd: spread of that.
        kw_per_m2, kw_ln_sd: facility power per m2 of footprint, and its spread.
        cooling: kind of cooling -> share of sites.
    """

    kind: str
    sites: dict[int, float]
    it_mw: dict[int, float]
    ln_sd: float
    kw_per_m2: float
    kw_ln_sd: float
    cooling: dict[str, float]

    def in_year(self, year: int) -> tuple[float, float]:
        """Return the number of sites and their median IT power; log-linear between the years of the table."""
        years = sorted(self.sites)
        # outside the table: the nearest year
        sites, it_mw = (
            float(np.exp(np.interp(year, years, [math.log(column[y]) for y in years])))
            for column in (self.sites, self.it_mw)
        )
        return sites, it_mw


@cache
def kinds() -> tuple[SiteKind, ...]:
    """Return the kinds in the order of `KINDS`."""
    rows = {r["kind"]: r for r in _rows("site_kinds.csv")}

    def by_year(row: dict[str, str], start: str) -> dict[int, float]:
        return {int(k.removeprefix(start)): float(v) for k, v in row.items() if re.fullmatch(start + r"\d{4}", k)}

    return tuple(
        SiteKind(
            kind,
            by_year(rows[kind], "sites_"),
            by_year(rows[kind], "it_mw_"),
            float(rows[kind]["ln_sd"]),
            float(rows[kind]["kw_per_m2"]),
            float(rows[kind]["kw_ln_sd"]),
            {c: float(rows[kind][c]) for c in ("air_chiller", "water", "direct_air", "liquid")},
        )
        for kind in KINDS
    )


@cache
def operators() -> dict[str, tuple[float, ...]]:
    """Return operator in lower case -> relative frequency of its name among the sites of each kind."""
    return {r["operator"]: tuple(float(r[kind]) for kind in KINDS) for r in _rows("site_operators.csv")}


def operator(name: str | None) -> str | None:
    """Return the operator of the table whose name occurs in `name` as whole words, the longest first; else None."""
    text = (name or "").lower()
    found = [key for key in operators() if key in text and re.search(rf"\b{re.escape(key)}\b", text)]
    return max(found, key=len) if found else None


@cache
def ai_odds(country: str | None) -> float:
    """Return the odds of an AI site in a country relative to the United States; None is taken as these."""
    table = {r["country"]: float(r["ai_odds"]) for r in _rows("site_countries.csv")}
    return table.get((country or "US").upper(), table["other"])


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    text = (files("overwatt.models.reference") / name).read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines(), strict=True))
