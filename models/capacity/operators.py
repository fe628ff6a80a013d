"""What the sites of one operator have in common: IT power per building, and peak facility power over IT power.

In: the fitted table models/reference/operators.csv. Out: `operator(name)`; 'any' stands for all operators together.
The values of an operator with few sites are close to those of 'any'. They rest on Epoch AI's own estimates, mostly made
from counted cooling, so they are no independent check of ours (docs/methods.md, sections 4.2 and 4.3).
`fit_operators` makes the table.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

ANY = "any"


@dataclass(frozen=True)
class Operator:
    """One operator, or all of them ('any').

    Attributes:
        operator: name, lower case.
        sites: number of sites that the values rest on.
        it_mw_per_building: median IT power of one finished building, MW.
        ln_sd: spread of that of the next site.
        facility_per_it: median of peak facility power over IT power.
        ratio_ln_sd: spread of ln(facility_per_it - 1) of the next site.
    """

    operator: str
    sites: int
    it_mw_per_building: float
    ln_sd: float
    facility_per_it: float
    ratio_ln_sd: float


@cache
def operators() -> dict[str, Operator]:
    """Return the operators by name in lower case; 'any' serves for an unknown operator."""
    text = (files("overwatt.models.reference") / "operators.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = [
        Operator(r["operator"], int(r["sites"]), *(float(r[k]) for k in list(Operator.__annotations__)[2:]))
        for r in rows
    ]
    return {o.operator: o for o in found}


def operator(name: str | None) -> Operator:
    """Return the operator whose name occurs in `name` as whole words, the longest first; else 'any'."""
    known = operators()
    for key in sorted(known, key=len, reverse=True):
        if name and key != ANY and re.search(rf"\b{re.escape(key)}\b", name.lower()):
            return known[key]
    return known[ANY]
