"""Fit the law of chip power, and write the table of chips with their speeds.

In: Epoch AI's tables of GPU clusters and machine-learning hardware (epoch.ai/data, CC-BY 4.0). Out, by
`python -m overwatt.models.capacity.fit_chip_power --data DIR`: models/reference/chips.csv (one row per chip) and
models/reference/chip_power.csv (coefficients with covariance of the law in `chip_power`).

The rows are clusters with a reported power and a known number of chips. The fit is Huber's M-estimate with a weak
ridge, because some coefficients rest on few rows.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from overwatt.models.capacity.chip_power import FEATURES, Chip, PowerLaw

# (year, W), interpolated linearly; recalled
_TDP_OF_YEAR = (
    (2010, 238.0),
    (2012, 235.0),
    (2016, 250.0),
    (2018, 300.0),
    (2020, 400.0),
    (2023, 700.0),
    (2026, 1200.0),
)
_XMX_SOURCE = "Epoch AI (CC-BY 4.0); 16 bit: matrix engines, cores x 8 x 512 FLOP x clock, recalled"
_ADDED = (
    ("AMD Instinct MI210", 300.0, 181.0, 181.0, None, None, "recalled"),
    ("NVIDIA Tesla K40c", 235.0, None, None, None, None, "recalled"),
    ("NVIDIA Tesla K40m", 235.0, None, None, None, None, "recalled"),
    ("Amazon Trainium1", 200.0, 190.0, 420.0, None, 2022, "Speed, date: Epoch AI (CC-BY 4.0). TDP: our estimate"),
    ("Cerebras CS-1", 20_000.0, 3500.0, None, None, 2019, "W of the system: recalled. Speed: CS-2 by cores, estimate"),
    ("Cerebras CS-2", 23_000.0, 7500.0, None, None, 2021, "Speed: Epoch AI GPU clusters. W of the system: recalled"),
    ("Cerebras CS-3", 23_000.0, 15_000.0, None, None, 2024, "Speed: Epoch AI GPU clusters. W of the system: recalled"),
    ("Intel Data Center GPU Max 1100", 300.0, 356.0, None, None, 2023, _XMX_SOURCE),
    ("Intel Data Center GPU Max 1350", 450.0, 711.0, None, None, 2023, _XMX_SOURCE),
    ("Intel Data Center GPU Max 1550", 600.0, 839.0, None, None, 2023, _XMX_SOURCE),
    ("NVIDIA VR200", 1800.0, 4000.0, 17_500.0, 50_000.0, 2026, "recalled (Rubin; before delivery)"),
)
"""Chips of the cluster table that Epoch's hardware table lacks or describes incompletely; they replace its rows.

Name, TDP in W, dense 16-bit, 8-bit and 4-bit TFLOP/s, year, source."""


def usual_tdp(year: float) -> float:
    """Return the TDP in W of a usual accelerator of a year, for clusters whose chip is not named; recalled."""
    years, tdp = zip(*_TDP_OF_YEAR, strict=True)
    return float(np.interp(year, years, tdp))


def read_clusters(folder: Path, table: Mapping[str, Chip]) -> pd.DataFrame:
    """Return the clusters with a reported power and a number of chips.

    Args:
        folder: holds epoch_gpu_clusters.csv.
        table: chips by name, as of `chip_power.chips`.

    Returns:
        Columns name, owner, chip, n, tdp_w (W, all chips), mean_tdp_w (W per chip), dense (share of the TDP), facility,
        unknown, mw (reported), calculated_mw (Epoch's own, NaN where absent).
    """
    g = pd.read_csv(folder / "epoch_gpu_clusters.csv")
    number = {k: pd.to_numeric(g[c], errors="coerce") for k, c in (
        ("n", "Chip quantity (primary)"), ("n2", "Chip quantity (secondary)"), ("mw", "Reported Power Capacity (MW)"),
        ("calculated", "Calculated Power Capacity (MW)"),
    )}  # fmt: skip
    # a cluster without a date counts as 2025, the year before the tables were read; own choice
    year = pd.to_datetime(g["First Operational Date"], errors="coerce").dt.year.fillna(2025.0)
    out = []
    for k in g.index[(number["n"] > 0) & (number["mw"] > 0)]:
        first, second = table.get(str(g["Chip type (primary)"][k])), table.get(str(g["Chip type (secondary)"][k]))
        one = first.tdp_w if first else usual_tdp(float(year[k]))
        n, n2 = float(number["n"][k]), float(np.nan_to_num(number["n2"][k]))
        parts = [(n, one, first), (n2, second.tdp_w if second else one, second)]
        total = sum(m * w for m, w, _ in parts)
        name = str(g["Name"][k])
        out.append({
            "name": name, "owner": str(g["Owner"][k]) if isinstance(g["Owner"][k], str) else name,
            "chip": first.chip if first else "not named", "n": n + n2, "tdp_w": total, "mean_tdp_w": total / (n + n2),
            "dense": sum(m * w for m, w, c in parts if c is not None and c.dense) / total,
            # power of private sites is that of the site; public machines report a measured run (own reading)
            "facility": g["Sector"][k] != "Public", "unknown": first is None,
            "mw": float(number["mw"][k]), "calculated_mw": float(number["calculated"][k]),
        })  # fmt: skip
    return pd.DataFrame(out)


def fit(rows: pd.DataFrame) -> PowerLaw:
    """Fit the law to rows as of `read_clusters`: Huber's M-estimate by iteratively reweighted least squares."""
    x = np.column_stack([
        np.ones(len(rows)), np.log(rows["mean_tdp_w"] / 400.0), rows["dense"].astype(float),
        rows["facility"].astype(float), rows["unknown"].astype(float),
    ])  # fmt: skip
    y = np.log(rows["mw"].to_numpy(float) * 1e6 / rows["tdp_w"].to_numpy(float))
    # one pseudo-observation of 0 on all coefficients but the constant; own choice, as some rest on few rows
    ridge = np.diag([1e-6, 1.0, 1.0, 1.0, 1.0])
    weight = np.ones(len(y))
    for _ in range(200):
        b = np.linalg.solve((x * weight[:, None]).T @ x + ridge, (x * weight[:, None]).T @ y)
        r = y - x @ b
        scale = 1.4826 * float(np.median(np.abs(r))) + 1e-9  # MAD to sigma of a normal distribution
        # Huber (1964), k = 1 (own choice)
        new_weight = np.minimum(1.0, scale / np.maximum(np.abs(r), 1e-12))
        if np.abs(new_weight - weight).max() < 1e-9:
            break
        weight = new_weight
    ln_sd = float(np.quantile(np.abs(r), 0.8) / 1.2816)  # half-width of the central 80% over its normal value
    covariance = np.linalg.inv((x * weight[:, None]).T @ x + ridge) * ln_sd**2
    return PowerLaw(tuple(b.tolist()), tuple(covariance.ravel().tolist()), ln_sd, len(y))


def read_chips(folder: Path) -> list[Chip]:
    """Return the chips of Epoch's hardware table that state a TDP, and those of `_ADDED`, by name."""
    h = pd.read_csv(folder / "epoch_ml_hardware.csv")

    def tera(name: str) -> pd.Series:
        return pd.to_numeric(h[name], errors="coerce") / 1e12

    # 16 bit: tensor cores, else vector units, else 32 bit; 8 bit: FP8, else INT8
    bf16 = tera("Tensor-FP16/BF16 performance (FLOP/s)").fillna(tera("FP16 (half precision) performance (FLOP/s)"))
    bf16 = bf16.fillna(tera("FP32 (single precision) performance (FLOP/s)"))
    fp8 = tera("FP8 performance (FLOP/s)").fillna(tera("INT8 performance (OP/s)"))
    fp4 = tera("FP4 performance (FLOP/s)")
    year = pd.to_datetime(h["Release date"], errors="coerce").dt.year
    source = "Epoch AI, machine-learning hardware (CC-BY 4.0)"
    out = []
    for k in h.index[pd.to_numeric(h["TDP (W)"], errors="coerce") > 0]:
        b, e, f = (None if pd.isna(v[k]) else float(v[k]) for v in (bf16, fp8, fp4))
        when = None if pd.isna(year[k]) else int(year[k])
        out.append(Chip(str(h["Hardware name"][k]).strip(), float(h["TDP (W)"][k]), b, e, f, when, source))
    out += [Chip(*row) for row in _ADDED]
    return sorted({c.chip: c for c in out}.values(), key=lambda c: c.chip)


def main() -> None:
    """Write chips.csv and chip_power.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with epoch_gpu_clusters.csv and epoch_ml_hardware.csv"
    )
    folder = parser.parse_args().data
    table = read_chips(folder)
    target = Path(__file__).parents[1] / "reference"
    with (target / "chips.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# By models/capacity/fit_chip_power.py; dense speeds without sparsity in TFLOP/s; 16 bit: FP16 or BF16\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Chip.__annotations__)
        for c in table:
            speeds = ("" if v is None else f"{v:.6g}" for v in (c.bf16_tflop_s, c.fp8_tflop_s, c.fp4_tflop_s))
            writer.writerow([c.chip, f"{c.tdp_w:g}", *speeds, c.release_year or "", c.source])
    found = fit(read_clusters(folder, {c.chip: c for c in table}))
    size = len(FEATURES)
    with (target / "chip_power.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(
            "# Fitted by models/capacity/fit_chip_power.py to Epoch AI's GPU clusters with reported power (CC-BY 4.0)\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("feature", "coefficient", "covariance", "ln_sd", "n"))
        for k, name in enumerate(FEATURES):
            covariance = " ".join(f"{v:.6g}" for v in found.covariance[k * size : (k + 1) * size])
            row = [name, f"{found.coefficients[k]:.6g}", covariance, f"{found.ln_sd:.4g}", found.n]
            writer.writerow(row)


if __name__ == "__main__":
    main()
