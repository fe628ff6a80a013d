"""Sentences of material balances, in neutral words.

In: rows of a balance. Out: column `sentence`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

_UNIT = {"it_mw": "MW of IT", "it_mw_of_chips": "MW of IT for its chips", "h100e": "H100 equivalents",
         "flop": "training FLOP"}  # fmt: skip
_USED = ("level", "name", "quantity", "declared", "declared_sigma", "observed", "observed_sigma", "z", "flagged",
         "n_declared", "n_observed", "declared_unknown", "declared_not_operating", "n_power_unknown", "reason",
         "missed", "invented", "not_looked")  # fmt: skip
_LEVEL = {"site": "Site", "owner": "Owner", "zone": "Zone"}


def sentences(rows: pd.DataFrame) -> list[str]:
    """Return one text per row.

    Args:
        rows: columns of `material_balance.COLUMNS` up to `reason`, and missed, invented (amounts in the unit of the
            quantity) and not_looked (number of declarations whose place was not observed).
    """
    return [_sentence(*row) for row in zip(*(rows[c].tolist() for c in _USED), strict=True)]


def amount(value: float, quantity: str) -> str:
    """Return a number as readable text: 1.2e+26, 12,300, 45.6."""
    if quantity == "flop":
        return f"{value:.2g}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"


def _sentence(
    level: str, name: str, quantity: str, declared: float, declared_sd: float, observed: float, observed_sd: float,
    z: float, flagged: bool, n_declared: int, n_observed: int, unclear: float, pending: float, dark: int,
    reason: str, missed: float, invented: float, left: int,
) -> str:  # fmt: skip
    could = {"it_mw": "could carry", "it_mw_of_chips": "could carry", "h100e": "could hold", "flop": "could train"}
    text = (
        f"{_LEVEL[level]} {name}: {amount(declared, quantity)} (± {amount(declared_sd, quantity)}) {_UNIT[quantity]} "
        f"declared in {_number(n_declared, 'row')}; {_number(n_observed, 'site')} seen {could[quantity]} "
        f"{amount(observed, quantity)} (± {amount(observed_sd, quantity)})."
        if n_declared or n_observed
        else f"{_LEVEL[level]} {name}: no {_UNIT[quantity]} are declared as in operation."
    )
    if missed > 0 and observed < declared:
        text += (
            f" {amount(missed, quantity)} of it are declared where nothing need or could be seen, and kept out of z."
        )
    if invented > 0 and observed > declared:
        text += f" {amount(invented, quantity)} of it are sites that may be none, and kept out of z."
    if pending > 0:
        text += f" {amount(pending, quantity)} more are declared as planned or under construction, and not counted."
    if unclear > 0:
        text += f" {amount(unclear, quantity)} more are declared with a status that is not known, and not counted."
    if left:
        text += f" {_number(left, 'declared place')} not looked at, and left out."
    if dark:
        text += f" {_number(dark, 'seen site')} of unknown power, left out with what is declared there."
    if flagged:
        side = "more was seen than is declared" if z > 0 else "more is declared than was seen"
        return f"{text} Discrepancy of {abs(z):.1f} sigma: {side}; a question to the declaring party."
    if reason:
        return f"{text} No question: {reason}."
    if (missed > 0 and observed < declared) or (invented > 0 and observed > declared):
        return f"{text} What is left raises no question."
    return text + (f" They agree within {max(abs(z), 0.1):.1f} sigma." if np.isfinite(z) else "")


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
