"""Power of a site per machine counted there, for machines of which only the number is known.

In: models/reference/counted_units.csv, sites with a count and a power, with the words that state them, and a typical
machine of the catalogues. Out: `unit_power`. The rows from Epoch AI (CC-BY 4.0) are circular: Epoch makes most of its
power from the same machines. A power per machine that comes from a site needs no derating.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_TYPICAL: Mapping[str, tuple[float, float]] = {
    # half of the capacity of Epoch AI's tables is in larger machines, times derate_net 0.78: 1.68 and 4.2 MW
    "air_chiller": (1.31, 0.35),
    "tower_cell": (3.28, 0.50),
    # 0.3-1 MW each (recalled, docs/methods.md 4.3), geometric mean, derated
    "dry_cooler": (0.43, 0.30),
    # 2.5 MW at the share of load of filings, 0.77
    "generator": (1.93, 0.30),
}
"""MW of a typical machine (IT; facility of a generator) and the ln-sd between sites (own choice)."""
_TYPICAL_SITES = 0.5  # weight of the catalogue, in sites: what is sold is not what stands at data centers; own choice


@dataclass(frozen=True)
class Counted:
    """One row: `units` machines at a site of `mw`, on the basis 'it' or 'facility'; `quote` states the count."""

    machine: str
    site: str
    date: str
    units: int
    mw: float
    basis: str
    quote: str
    reading: str
    source: str


@dataclass(frozen=True)
class UnitPower:
    """MW of one machine (IT; facility of a generator), ln-sd at the next site, and the number of sites behind it."""

    mw: float
    ln_sd: float
    sites: int


@cache
def counted_units() -> tuple[Counted, ...]:
    """Return the rows of models/reference/counted_units.csv."""
    text = (files("overwatt.models.reference") / "counted_units.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        Counted(r["machine"], r["site"], r["date"], int(r["units"]), float(r["mw"]),
                *(r[k] for k in ("basis", "quote", "reading", "source")))
        for r in rows
    )  # fmt: skip


@cache
def unit_power(machine: str, *, without: str | None = None) -> UnitPower:
    """Return the power per counted machine; `without`: name of a site whose rows are left out.

    A site counts once, with the mean of its rows. Mean of a normal with known spread between sites (Gelman et al.,
    Bayesian Data Analysis, section 2.5).

    Raises:
        KeyError: the kind of machine is not known (a bug, not user input).
    """
    typical, spread = _TYPICAL[machine]
    by_site = defaultdict(list)
    for row in counted_units():
        if row.machine == machine and row.site != without:
            by_site[row.site].append(math.log(row.mw / row.units))
    means = [sum(v) / len(v) for v in by_site.values()]
    weight = _TYPICAL_SITES + len(means)
    mean = (_TYPICAL_SITES * math.log(typical) + sum(means)) / weight
    # spread of the next site about an uncertain mean
    return UnitPower(math.exp(mean), spread * math.sqrt(1.0 + 1.0 / weight), len(means))
