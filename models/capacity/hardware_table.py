"""Chips of Epoch AI's table of machine-learning hardware (epoch.ai/data, CC-BY 4.0), with our own rows over them.

In: epoch_ml_hardware.csv and models/reference/chips.csv. Out: chips by name; `w_it` of Epoch's rows is left to the law.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from overwatt.models.reference import facts
from overwatt.models.reference.facts import Accelerator

EPOCH = "Epoch AI, machine-learning hardware (CC-BY 4.0)"
FILE = "epoch_ml_hardware.csv"


def read_chips(folder: Path) -> dict[str, Accelerator]:
    """Return the chips of Epoch's hardware table that state a TDP, with our own rows over them, by name."""
    h = pd.read_csv(folder / FILE)

    def tera(name: str) -> pd.Series:
        return pd.to_numeric(h[name], errors="coerce") / 1e12

    # 16 bit: tensor cores, else vector units, else 32 bit; 8 bit: FP8 or INT8, whichever is faster
    bf16 = tera("Tensor-FP16/BF16 performance (FLOP/s)").fillna(tera("FP16 (half precision) performance (FLOP/s)"))
    bf16 = bf16.fillna(tera("FP32 (single precision) performance (FLOP/s)"))
    fp8 = pd.concat([tera("FP8 performance (FLOP/s)"), tera("INT8 performance (OP/s)")], axis=1).max(axis=1)
    fp4 = tera("FP4 performance (FLOP/s)")
    year = pd.to_datetime(h["Release date"], errors="coerce").dt.year
    out = {}
    for k in h.index[pd.to_numeric(h["TDP (W)"], errors="coerce") > 0]:
        b, e, f = (None if pd.isna(v[k]) else float(v[k]) for v in (bf16, fp8, fp4))
        when = None if pd.isna(year[k]) else int(year[k])
        name, tdp = str(h["Hardware name"][k]).strip(), float(h["TDP (W)"][k])
        out[name] = Accelerator(name, (), tdp, b, e, f, when, float("nan"), float("nan"), "law", None, EPOCH)
    own = {c.chip: c for c in facts.accelerators().values() if c.aliases or c.source != EPOCH}
    return dict(sorted({**out, **own}.items()))
