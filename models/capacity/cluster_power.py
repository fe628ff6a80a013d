"""Clusters with a stated number of chips and a stated power, by how independent the two are of each other.

In: Epoch AI's table of GPU clusters (epoch.ai/data, CC-BY 4.0). Out: one row per cluster with its class:

- `metered`: the draw of a benchmark run from the TOP500 list. The table's figure is not that draw but the draw times
  PUE / 0.67, 1.67 to 1.93: divided by it, 4 of 10 such rows are whole kilowatts, as in the list, where chance would
  give 1 in 17. Here the division is made.
- `reported`: a statement on the power of the cluster by its operator, its owner or the press.
- `computed`: the notes say that chips or power were estimated from the other, or power per chip is a round number.
- `rounded`: both have one significant digit, so that their ratio carries no information (anonymised rows).

The first two are independent evidence on the power of a chip, the others are not. The rules use the words and columns
of a row only, never its name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from overwatt.models.capacity import hardware_table
from overwatt.models.capacity.chip_power import is_dense
from overwatt.models.reference import facts
from overwatt.models.reference.facts import Accelerator

CLASSES = ("metered", "reported", "computed", "rounded")
INDEPENDENT = ("metered", "reported")
LIST_SHARE = 0.67
"""Mean draw of a benchmark run over peak draw in the table's figures (found by division, see the header)."""
# PUE of the table's figures by year of first operation (derived: calculated power / (chips x TDP x 1.82))
_PUE = ((2017, 1.29), (2018, 1.26), (2019, 1.22), (2020, 1.20), (2021, 1.18), (2022, 1.17), (2023, 1.14), (2024, 1.12),
        (2025, 1.10))  # fmt: skip
# (year, W), interpolated linearly; recalled
_TDP_OF_YEAR = ((2010, 238.0), (2012, 235.0), (2016, 250.0), (2018, 300.0), (2020, 400.0), (2023, 700.0),
                (2026, 1200.0))  # fmt: skip
_TEXTS = ("Note", "Hardware note", "Quote", "Certainty Note", *(f"Source {k}" for k in range(1, 6)))
_GUESS = (
    r"(?:estimat|extrapolat|calculat|inferr|deriv|scal|guess|assum|based on|equivalent|correspond|translat|impl(?:y|ie)"
    r"|equat|back(?:ed|ing)? ?-?out)"
)
_POWER = r"(?:power|capacit|megawatt|\b[kMG]W\b|\d[kMG]W\b)"
_CHIPS = r"(?:chip|GPU|accelerator|H100|H200|[GB]?B[23]00|TPU|Trainium)"
_GAP = r"(?:[^.]|\.(?=\d)){0,80}"
# an estimate of chips from power, or of power from chips: the three words within one sentence, in any order
_COMPUTED = re.compile(
    "|".join(f"{a}{_GAP}{b}{_GAP}{c}" for a, b, c in itertools.permutations((_GUESS, _POWER, _CHIPS))), re.IGNORECASE
)
_COLUMNS = {
    "n": "Chip quantity (primary)", "n2": "Chip quantity (secondary)", "mw": "Reported Power Capacity (MW)",
    "calculated": "Calculated Power Capacity (MW)",
}  # fmt: skip

_OPTIONAL = (*_TEXTS, "Status", "Owner", "First Operational Date", "Chip type (secondary)", *_COLUMNS.values())


def usual_tdp(year: float) -> float:
    """Return the TDP in W of a usual accelerator of a year, for clusters whose chip is not named; recalled."""
    years, tdp = zip(*_TDP_OF_YEAR, strict=True)
    return float(np.interp(year, years, tdp))


def table_pue(year: float) -> float:
    """Return the PUE in the table's figures for a cluster of this year."""
    years, pue = zip(*_PUE, strict=True)
    return float(np.interp(year, years, pue))


def classify(mw: float, chips: float, texts: str, *, planned: bool) -> str:
    """Return one of `CLASSES` for a stated power in MW and number of chips, with the notes of the row."""
    if _COMPUTED.search(texts):
        return "computed"
    # the list states kilowatts; statements are rounded to 10 kW or more, where the row names the list to 100 kW
    step = 10.0 if re.search(r"top\s?500", texts, re.IGNORECASE) else 100.0
    if not planned and abs(mw * step - round(mw * step)) > 1e-6:
        return "metered"
    if _digits(mw) == 1 and _digits(chips) == 1:
        return "rounded"
    watts = mw * 1e6 / chips
    return "computed" if watts >= 100.0 and abs(watts / 100.0 - round(watts / 100.0)) < 1e-6 else "reported"


def read_clusters(folder: Path) -> pd.DataFrame:
    """Return the clusters with a stated power and number of chips.

    Args:
        folder: holds epoch_gpu_clusters.csv; chips that we do not list are taken from epoch_ml_hardware.csv, if there.

    Returns:
        Columns name, owner, basis (one of `CLASSES`), chip, n, w_it (W of all chips by chips.csv, NaN where one of
        them has no `w_it` but the law's), w_it_ln_sd, tdp_w (W of all chips), mean_tdp_w, dense (share of the TDP),
        unknown, mw (metered: of the run), stated_mw (as in the table), calculated_mw (Epoch's own, NaN where absent).
    """
    g = pd.read_csv(folder / "epoch_gpu_clusters.csv")
    g = g.reindex(columns=[*g.columns, *(c for c in _OPTIONAL if c not in g)])
    number = {k: pd.to_numeric(g[c], errors="coerce") for k, c in _COLUMNS.items()}
    # a cluster without a date counts as 2025, the year before the tables were read; own choice
    year = pd.to_datetime(g["First Operational Date"], errors="coerce").dt.year.fillna(2025.0)
    has_hardware = (folder / hardware_table.FILE).is_file()
    table = hardware_table.read_chips(folder) if has_hardware else facts.accelerators()
    out = []
    for k in g.index[(number["n"] > 0) & (number["mw"] > 0)]:
        first, second = (_chip(g[f"Chip type ({which})"][k], table) for which in ("primary", "secondary"))
        one = first.tdp_w if first else usual_tdp(float(year[k]))
        n, n2 = float(number["n"][k]), float(np.nan_to_num(number["n2"][k]))
        parts = [(n, one, first), *([(n2, second.tdp_w if second else one, second)] if n2 else [])]
        total = sum(m * w for m, w, _ in parts)
        known = [c for _, _, c in parts if c is not None and c.w_it_basis != "law"]
        texts = " . ".join(str(g[c][k]) for c in _TEXTS if isinstance(g[c][k], str))
        mw = float(number["mw"][k])
        basis = classify(mw, n + n2, texts, planned=g["Status"][k] == "Planned")
        name = str(g["Name"][k])
        out.append({
            "name": name, "owner": str(g["Owner"][k]) if isinstance(g["Owner"][k], str) else name, "basis": basis,
            "chip": first.chip if first else "not named", "n": n + n2,
            "w_it": sum(m * c.w_it for m, _, c in parts if c) if len(known) == len(parts) else float("nan"),
            "w_it_ln_sd": max((c.w_it_ln_sd for c in known), default=float("nan")),
            "tdp_w": total, "mean_tdp_w": total / (n + n2),
            "dense": sum(m * w for m, w, c in parts if c is not None and is_dense(c.chip)) / total,
            "unknown": first is None, "stated_mw": mw,
            "mw": mw * LIST_SHARE / table_pue(float(year[k])) if basis == "metered" else mw,
            "calculated_mw": float(number["calculated"][k]),
        })  # fmt: skip
    return pd.DataFrame(out)


def _chip(name: object, table: Mapping[str, Accelerator]) -> Accelerator | None:
    return table.get(facts.accelerator_aliases().get(str(name).lower(), str(name)))


def _digits(value: float) -> int:
    """Number of significant digits."""
    return len(f"{value:.6g}".replace(".", "").split("e")[0].strip("0"))
